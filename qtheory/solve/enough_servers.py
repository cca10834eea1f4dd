"""A server for every request that can be present: nobody waits, and only the mean service times matter, exactly.

Without a line every request is served by itself, and each disk's rate of arrivals depends on the numbers present only.
Then P(n_1, ..., n_N) ∝ Π_i Π_{k<n_i} λ_i(k) E[S_i] / n_i!, whatever the service laws (Sevast'yanov, 1957; with guests
that think, Baskett, Chandy, Muntz and Palacios, 1975): that of separate devices with exponential service, also where
disks together are refused at Q. A closed guest completes n/(z + E[S]), the most there can be. A response is a service.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from qtheory.engine import Device, Engine
from qtheory.laws import Exponential, Law
from qtheory.markov.sojourn import Quantity
from qtheory.solve import separate_devices
from qtheory.solve.sojourn import Sojourn
from qtheory.solve.steady_state import SteadyState


@dataclass(frozen=True)
class ServiceOnly:
    """Sojourn of a request that never waits."""

    service: Law

    def sf(self, quantity: Quantity, t: float) -> float:
        """P(wait > t) or P(response > t)."""
        return 0.0 if quantity == "wait" else float(self.service.sf(t))


def refusal(engine: Engine) -> str | None:
    """Why this method cannot answer for `engine`, or None."""
    if not engine.shared:
        return "each disk has its own device"
    if engine.caps is not None:
        return "the slots are divided by caps"
    servers = engine.devices[0].servers
    if servers is None:
        return "the device is a rate curve"
    slots = min(servers, engine.queue_length or servers)
    if slots < engine.most:
        return f"{engine.most} requests can be present, more than the {slots} served at once"
    return separate_devices.refusal(_apart(engine))


def solve(engine: Engine) -> SteadyState:
    """Solve an engine with one shared device that has a server for every request."""
    state = separate_devices.solve(_apart(engine))
    weights: dict[Law, float] = {}
    disks = []
    for disk, law in zip(state.disks, engine.laws, strict=True):
        assert law is not None
        weights[law] = weights.get(law, 0.0) + disk.throughput / state.throughput
        disks.append(replace(disk, mean_wait=0.0))
    sojourns: list[tuple[float, Sojourn]] = [(weight, ServiceOnly(law)) for law, weight in weights.items()]
    return replace(
        state,
        method="enough_servers",
        mean_wait=0.0,
        utilization=state.mean_in_system / (engine.devices[0].servers or 1),
        disks=tuple(disks),
        _sojourns=tuple(sojourns),
    )


def _apart(engine: Engine) -> Engine:
    """The same numbers: every disk with servers of its own, whose service is exponential."""
    disks = []
    for disk, law in zip(engine.disks, engine.laws, strict=True):
        assert law is not None
        own = Device(disk.most, Exponential(law.mean))
        disks.append(replace(disk, device=own, service=None, operations=None))
    return Engine(disks, None, engine.queue_length, engine.hold)
