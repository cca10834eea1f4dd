"""One device for each disk, exactly: parallel stations, cut at Q when the rest is refused.

Disk i's own device completes its requests at rate μ_i(k) when k are present. Without a limit the disks do not see each
other; refusing at Q cuts the state space of reversible chains, which keeps the product form (Kelly 1979, corollary
1.10):

    P(n_1, ..., n_N) ∝ Π_i Π_{k<n_i} λ_i(k) / μ_i(k+1),   Σ n_i <= Q.

Caps q_i on each disk's slots make μ_i(k) = μ_i(min(k, q_i)); while they sum to no more than Q the disks stay
independent. One shared device with c equal servers is the same as separate ones when the caps sum to no more than c:
then nobody ever waits for another disk's request, and disk i has q_i servers to itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qtheory.engine import Device, Disk, Engine
from qtheory.markov.merging import MOST_MERGED
from qtheory.markov.sojourn import Servers
from qtheory.solve.population import Population, disk_state, population, total_blocking
from qtheory.solve.product_form import common_refusal
from qtheory.solve.sojourn import Curve, Sojourn
from qtheory.solve.steady_state import QUANTITIES, DiskState, SteadyState


@dataclass(frozen=True, eq=False)
class Station:
    """One disk at its own device: slots it can use, and completion rates with 1, 2, ..., most present."""

    disk: Disk
    device: Device
    slots: int
    rates: NDArray[np.float64]


def refusal(engine: Engine) -> str | None:
    """Why this method cannot answer for `engine`, or None."""
    reason = tied_by(engine) or common_refusal(engine)
    free = [disk.most for disk in engine.disks if not disk.saturated]
    if reason is None and len(free) > 1 and sum(free) > MOST_MERGED:
        return f"{len(free)} disks can have {sum(free)} requests present, more than {MOST_MERGED}"
    return reason


def tied_by(engine: Engine) -> str | None:
    """What the disks share but the room for Q requests, or None."""
    wanted = sum(_useful_caps(engine))
    limit = engine.queue_length
    if engine.shared:
        if engine.caps is None:
            return "one device serves all disks"
        if engine.devices[0].servers is None:
            return "one rate curve is shared by disks with caps"
        if wanted > engine.devices[0].servers:
            return f"the caps sum to {wanted}, more than the {engine.devices[0].servers} servers of the shared device"
    if limit is not None and limit < wanted and (engine.hold != "refuse" or engine.caps is not None):
        return f"the disks can use {wanted} slots together and wait for the {limit} there are"
    if engine.refuses_at_caps:
        return "requests are refused at caps"
    return None


def stations(engine: Engine) -> tuple[Station, ...]:
    """What each disk has to itself."""
    return tuple(
        Station(disk, device, cap, device.rates(cap)[np.minimum(np.arange(disk.most), cap - 1)])
        for disk, device, cap in zip(engine.disks, engine.devices, _useful_caps(engine), strict=True)
    )


def parallel_population(engine: Engine) -> Population:
    """Numbers present at parallel stations, totals up to what the engine admits."""
    free = [s for s in stations(engine) if not s.disk.saturated]
    series = [s.disk.arrival_rates() / s.rates for s in free]
    constant = sum(disk.most for disk in engine.disks if disk.saturated)
    return population(engine.disks, series, np.ones(engine.most - constant))


def solve(engine: Engine) -> SteadyState:
    """Solve an engine whose disks share nothing, or only the room for Q requests."""
    members = stations(engine)
    number = parallel_population(engine)
    pmf = number.pmf
    full = np.zeros(len(pmf))
    if len(pmf) == engine.most + 1 and engine.most < sum(disk.most for disk in engine.disks):
        full[-1] = pmf[-1]
    parts = [
        _solve_disk(station, accepting, refused)
        for station, accepting, refused in zip(members, number.split(pmf - full), number.split(full), strict=True)
    ]
    states = tuple(state for state, *_ in parts)
    throughput = sum(state.throughput for state in states)
    mean = sum(state.mean_in_system for state in states)
    shared_servers = engine.devices[0].servers if engine.shared else None
    return SteadyState(
        method="separate_devices",
        exact=True,
        error_bounds=dict.fromkeys(QUANTITIES, number.rounding),
        warnings=_warnings(engine, full),
        throughput=throughput,
        blocking=total_blocking(engine.disks, states),
        mean_wait=sum(state.throughput * state.mean_wait for state in states) / throughput,
        mean_response=mean / throughput,
        mean_in_system=mean,
        mean_in_flight=sum(in_flight for *_, in_flight, _, _ in parts),
        utilization=sum(busy for *_, busy, _ in parts) / shared_servers
        if shared_servers is not None
        else sum(busy / most for *_, busy, most in parts) / len(parts),
        in_system_pmf=pmf,
        disks=states,
        _sojourns=_mixture(
            [(member, state, sojourn) for member, (state, sojourn, *_) in zip(members, parts, strict=True)]
        ),
    )


def _useful_caps(engine: Engine) -> list[int]:
    """Most slots each disk can use: its cap, but never more than it can have present."""
    caps = engine.caps or tuple(disk.most for disk in engine.disks)
    return [min(cap, disk.most) for cap, disk in zip(caps, engine.disks, strict=True)]


def _solve_disk(
    station: Station, accepting: NDArray[np.float64], refused: NDArray[np.float64]
) -> tuple[DiskState, Sojourn, float, float, float]:
    """State and sojourn of one disk, requests in flight, and what of its device's capacity is used, of how much."""
    disk, device = station.disk, station.device
    present = np.arange(disk.most + 1)
    starting = station.slots if device.servers is None else min(device.servers, station.slots)
    law = accepting + refused
    waiting = law * np.maximum(present - starting, 0) / np.maximum(present, 1)
    if disk.saturated:
        flow = np.append(np.zeros(disk.most - 1), station.rates[-1])
    else:
        flow = accepting[:-1] * disk.arrival_rates()
    state = disk_state(disk, accepting, refused, waiting, float(flow.sum()))
    found = flow / state.throughput
    in_flight = float(np.minimum(present, station.slots) @ law)
    if device.servers is not None and device.service is not None:
        busy = float(np.minimum(present, starting) @ law)
        return state, Servers(found, starting, 1.0 / device.service.mean), in_flight, busy, float(device.servers)
    sojourn: Sojourn
    if disk.saturated:
        # Never fewer than its slots present: sharing their rate is the same as that many equal servers.
        sojourn = Servers(found, starting, float(station.rates[-1]) / starting)
    else:
        # Given its own number, a disk's arrivals are accepted this often.
        open_share = np.divide(accepting, law, out=np.ones(len(law)), where=law > 0.0)[:-1]
        sojourn = Curve(found, starting, np.append(disk.arrival_rates() * open_share, 0.0), station.rates)
    return state, sojourn, in_flight, state.throughput, device.capacity


def _warnings(engine: Engine, full: NDArray[np.float64]) -> tuple[str, ...]:
    """What is not exact: later arrivals matter at a rate curve, and refusals at Q tie them to the other disks."""
    if full.any() and len(engine.disks) > 1 and any(d.curve is not None for d in engine.devices):
        return ("response_quantile takes refusals at Q to depend on the disk's own number only",)
    return ()


def _mixture(parts: list[tuple[Station, DiskState, Sojourn]]) -> tuple[tuple[float, Sojourn], ...]:
    """Sojourn laws weighted by throughput, equal disks taken together."""
    throughput = sum(state.throughput for _, state, _ in parts)
    weights: dict[tuple[Disk, Device, int], tuple[float, Sojourn]] = {}
    for station, state, sojourn in parts:
        key = (station.disk, station.device, station.slots)
        weight, _ = weights.get(key, (0.0, sojourn))
        weights[key] = (weight + state.throughput / throughput, sojourn)
    return tuple(weights.values())
