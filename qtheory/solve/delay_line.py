"""One device a disk behind a FIFO line for Q slots: the line is taken as a delay that is the same for all.

The numbers present are those of `disks_behind_line.py`, exact in its limits: many disks, slots for all, saturated
guests. Devices whose service is not exponential are given rates at which they behave alike (`isolated_device.py`),
found again from what the numbers say comes to them until both agree. One disk alone is an engine with a shared device,
and is solved as such.

Nothing in this makes each disk complete what is accepted of it. Among alike disks it does, and nearly so among many; of
few disks that are very unlike some would be given several times what they ask for. That is refused.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from qtheory.arrivals import Closed, Poisson
from qtheory.engine import Engine
from qtheory.markov.sojourn import PhaseServers, Servers
from qtheory.solve import isolated_device
from qtheory.solve.disks_behind_line import Kind, Numbers, numbers
from qtheory.solve.fitted_service import told
from qtheory.solve.isolated_device import general
from qtheory.solve.population import disk_state, total_blocking
from qtheory.solve.sojourn import LineThenDevice, Sojourn
from qtheory.solve.steady_state import QUANTITIES, SteadyState

Floats = NDArray[np.float64]
ROUNDS = 100
AGREEMENT = 3e-4
"""Of the devices' rates from one round to the next, at numbers more likely than this."""
FALLS = 0.7
"""Part of a change that the next may have, or else steps are halved."""
STUCK = 0.5
"""Part of the throughput with exponential service below which the rounds went astray, to all slots behind one slow
request; right ones were 0.8 of it and more in all cells of the atlas."""
UNBALANCED = 0.05
"""Part of what a disk completes, or of a closed guest's requests, by which flow or Little's law may be missed; where
errors were measured it is 0.007."""
MOST_KINDS = 256
"""Different disks that are solved: the work grows with them, and some seconds are enough."""
MOST_SLOTS = 1 << 16
"""Slots up to which the numbers at the devices are merged, again and again where a length is searched."""
FEW_REQUESTS = 32
"""Below, what varies in a line of given delay counts, and no error is stated; `joint_chain` solves most of them."""
LEAST = {"blocking": 0.01, "mean_wait": 0.05, "wait_quantile": 0.05}
"""What the bounds hold above; waits in mean service times."""
MEASURED: dict[str, dict[str, float]] = {
    "equal": {
        "throughput": 0.008,
        "blocking": 0.016,
        "mean_wait": 0.031,
        "mean_response": 0.025,
        "mean_in_system": 0.027,
        "mean_in_flight": 0.011,
        "utilization": 0.008,
        "wait_quantile": 0.071,
        "response_quantile": 0.065,
        "disks.throughput": 0.036,
    },
    "different": {
        "throughput": 0.012,
        "blocking": 0.041,
        "mean_wait": 0.032,
        "mean_response": 0.023,
        "mean_in_system": 0.023,
        "mean_in_flight": 0.023,
        "utilization": 0.008,
        "wait_quantile": 0.068,
        "response_quantile": 0.065,
        "disks.throughput": 0.053,
    },
    "closed": {
        "throughput": 0.007,
        "blocking": 0.0,
        "mean_wait": 0.033,
        "mean_response": 0.015,
        "mean_in_system": 0.015,
        "mean_in_flight": 0.01,
        "utilization": 0.006,
        "wait_quantile": 0.045,
        "response_quantile": 0.033,
        "disks.throughput": 0.027,
    },
    "regular": {
        "throughput": 0.087,
        "blocking": 0.118,
        "mean_wait": 0.101,
        "mean_response": 0.199,
        "mean_in_system": 0.201,
        "mean_in_flight": 0.048,
        "utilization": 0.086,
        "wait_quantile": 0.337,
        "response_quantile": 0.324,
        "disks.throughput": 0.087,
    },
    "irregular": {
        "throughput": 0.074,
        "blocking": 0.575,
        "mean_wait": 0.128,
        "mean_response": 0.079,
        "mean_in_system": 0.051,
        "mean_in_flight": 0.025,
        "utilization": 0.07,
        "wait_quantile": 0.213,
        "response_quantile": 0.185,
        "disks.throughput": 0.076,
    },
    "heavy": {
        "throughput": 0.065,
        "blocking": 0.203,
        "mean_wait": 0.129,
        "mean_response": 0.109,
        "mean_in_system": 0.155,
        "mean_in_flight": 0.072,
        "utilization": 0.059,
        "wait_quantile": 0.392,
        "response_quantile": 0.329,
        "disks.throughput": 0.083,
    },
}
"""Largest relative error against simulation over the cells of `validation/delay_line.py`, half-widths below 3 %
included; set on the even cells, the odd ones held out, and the larger stated. Equal Poisson disks, two kinds whose
rates and buffers differ by up to 4 times, and guests that think, with exponential service; equal disks, Poisson or
saturated, with service of scv 0 to 1 (regular), 1 to 4 (irregular) and 4 to 10 (heavy). 2 to 64 disks, buffers of 4 to
64, 1 to 4 servers a disk, utilization 0.5 to 1.3, half a slot to eight slots a server. Where the atlas found larger
ones (`validation/atlas`), as of blocking by irregular service where it is a few percent, these."""


def refusal(engine: Engine) -> str | None:
    """Why this method cannot answer for `engine`, or None."""
    if engine.shared:
        return "one device serves all disks"
    if engine.caps is not None:
        return "the slots are divided by caps"
    if engine.hold == "refuse" or engine.queue_length is None or engine.queue_length >= engine.most:
        return "nothing waits for a slot"
    for i, disk in enumerate(engine.disks):
        if disk.bursty:
            return f"the arrivals of disks[{i}] are not Poisson"
        if disk.guest_waits and not disk.saturated:
            return f"disks[{i}] makes its guest wait for room in the buffer"
    if len(engine.disks) == 1:
        return _alone_refusal(engine)
    if engine.queue_length > MOST_SLOTS:
        return f"{engine.queue_length} slots are more than {MOST_SLOTS}"
    kinds = len(set(zip(engine.disks, engine.devices, strict=True)))
    if kinds > MOST_KINDS:
        return f"{kinds} different disks are more than {MOST_KINDS}"
    for device, most in dict.fromkeys(zip(engine.devices, [disk.most for disk in engine.disks], strict=True)):
        reason = isolated_device.refusal(device, min(most, engine.queue_length))
        if reason is not None:
            return reason
    return None


def _alone_refusal(engine: Engine) -> str | None:
    from qtheory.solve import choose

    try:
        choose(as_shared(engine))
    except ValueError as error:
        return str(error)
    return None


def solve(engine: Engine) -> SteadyState:
    """Solve separate devices behind one line for Q slots."""
    if len(engine.disks) == 1:
        from qtheory.solve import answer

        return answer(as_shared(engine))
    found = solved(engine)
    states, used = {}, {}
    for i, kind in enumerate(found.kinds):
        law, throughput = found.in_system(i), min(float(found.completed(i).sum()), kind.device.capacity)
        if not isinstance(kind.disk.arrivals, Closed):
            throughput = min(throughput, float(law[:-1] @ kind.coming))  # no more than it was given
        mean = float(law @ np.arange(len(law)))
        service = kind.device.service
        waiting = found.in_line(i) if service is None else max(mean - throughput * service.mean, 0.0)
        own = kind.disk, kind.device
        states[own] = disk_state(kind.disk, law, np.zeros(len(law)), law * (waiting / mean), throughput)
        used[own] = throughput / kind.device.capacity
    each = list(zip(engine.disks, engine.devices, strict=True))
    disks = tuple(states[own] for own in each)
    throughput = sum(disk.throughput for disk in disks)
    totals = np.arange(len(found.pmf))
    mean = float(totals @ found.pmf)
    bounds, warnings = measured(engine)
    return SteadyState(
        method="delay_line",
        exact=False,
        error_bounds=bounds,
        warnings=warnings,
        throughput=throughput,
        blocking=total_blocking(engine.disks, disks),
        mean_wait=sum(disk.throughput * disk.mean_wait for disk in disks) / throughput,
        mean_response=mean / throughput,
        mean_in_system=mean,
        mean_in_flight=float(np.minimum(totals, found.slots) @ found.pmf),
        utilization=sum(used[own] for own in each) / len(each),
        in_system_pmf=found.pmf,
        disks=disks,
        _sojourns=_sojourn(found),
    )


def throughput(engine: Engine) -> float:
    """Throughput alone."""
    if len(engine.disks) == 1:
        return solve(engine).throughput
    return min(solved(engine).throughput, sum(device.capacity for device in engine.devices))


def as_shared(engine: Engine) -> Engine:
    """A single disk with its device as the engine's, which is the same."""
    (disk,) = engine.disks
    return Engine([replace(disk, device=None)], disk.device, engine.queue_length, engine.hold)


@lru_cache(maxsize=8)
def solved(engine: Engine) -> Numbers:
    """The numbers present, with rates of the devices that agree with what comes to them.

    Raises ValueError where they do not agree, a disk completes what it has not been given, or one keeps all slots.
    """
    found = _settled(engine)
    for i, kind in enumerate(found.kinds):
        arrivals, completed = kind.disk.arrivals, float(found.completed(i).sum())
        off = abs(float(found.in_system(i)[:-1] @ kind.coming) - completed)
        if isinstance(arrivals, Closed):  # requests too many or too few, of those that circulate
            off *= 0.0 if kind.disk.saturated else arrivals.think_time / arrivals.outstanding
        else:
            off /= completed
        if off > UNBALANCED:
            at = list(zip(engine.disks, engine.devices, strict=True)).index((kind.disk, kind.device))
            raise ValueError(
                f"delay_line does not hold for this engine: what disks[{at}] would complete is off what is accepted of "
                f"it by {off:.0%}; use qt.simulate"
            )
    return found


def _settled(engine: Engine) -> Numbers:
    slots = engine.queue_length
    assert slots is not None
    kinds = [
        Kind(disk, device, copies, device.rates(disk.most), None)
        for (disk, device), copies in Counter(zip(engine.disks, engine.devices, strict=True)).items()
    ]
    before, halved, exponential = math.inf, False, 0.0
    for _ in range(ROUNDS):
        found = numbers(list(kinds), slots)
        exponential = exponential or found.throughput
        if found.throughput < STUCK * exponential:
            raise ValueError("delay_line does not hold for this engine: slots end behind one disk; use qt.simulate")
        change = 0.0
        for i, kind in enumerate(kinds):
            if general(kind.device):
                law = found.at_device(i)
                chain, rates = isolated_device.isolated(kind.device, kind.rates, law, min(kind.disk.most, slots))
                full, flow = float(found.in_system(i)[-1]), float(found.completed(i).sum())
                rates = isolated_device.enlarged(kind.device, chain, rates, full, flow)
                off = np.abs(rates / kind.rates - 1.0)[law[1:] > AGREEMENT]
                change = max(change, float(np.max(off, initial=0.0)))
                kinds[i] = kind._replace(rates=np.sqrt(rates * kind.rates) if halved else rates, chain=chain)
        if change < AGREEMENT:
            found.kinds[:] = [old._replace(chain=new.chain) for old, new in zip(found.kinds, kinds, strict=True)]
            return found
        halved |= change > FALLS * before
        before = change
    raise ValueError(f"delay_line did not settle in {ROUNDS} rounds for this engine; use qt.simulate")


def _sojourn(found: Numbers) -> tuple[tuple[float, Sojourn], ...] | str:
    """Sojourn law, approximately: the line moves at its mean rate, and the devices do not remember it.

    What departures leave behind at a device, arrivals find there, those that found a slot free and those from the line.
    """
    if any(kind.device.service is None for kind in found.kinds):
        return "the time at a device given by a rate curve is not followed behind a line; use qt.simulate"
    at_once: list[tuple[float, Sojourn]] = []
    after_line: list[tuple[float, Sojourn]] = []
    for i, kind in enumerate(found.kinds):
        free = found.free[i]
        direct = kind.coming * free[:-1]
        if kind.disk.saturated:
            direct[-1] = kind.rates[-1] * free[-1]
        later = np.maximum(found.completed(i) - direct, 0.0)
        for parts, flow in ((at_once, direct), (after_line, later)):
            if flow.any():
                parts.append((kind.copies * float(flow.sum()), _at_device(kind, flow / flow.sum())))
    # Of requests that find the line L long, and of those of saturated disks, which leave it so, as they complete.
    waiting = found.pmf[found.slots :]
    lengths = [node.length for node in found.nodes]
    up, down, completed = (
        np.interp(np.arange(len(waiting)), lengths, rates)
        for rates in zip(*((node.up, node.down, node.completions) for node in found.nodes), strict=True)
    )
    joining = up * waiting
    joining[:-1] += ((completed - down) * waiting)[1:]
    line = np.append(sum(flow for flow, _ in at_once), joining)
    # Where all slots are hardly ever taken nobody waits, and the line moves as it would.
    moving = float(completed @ waiting) / float(waiting.sum()) if waiting.any() else float(completed[0])
    return ((1.0, LineThenDevice(line / line.sum(), moving, _weighted(at_once), _weighted(after_line))),)


def _weighted(parts: list[tuple[float, Sojourn]]) -> list[tuple[float, Sojourn]]:
    """The same with weights that sum to 1."""
    total = sum(flow for flow, _ in parts)
    return [(flow / total, law) for flow, law in parts]


def _at_device(kind: Kind, found: Floats) -> Sojourn:
    """Time at the device for requests that find 0, 1, ... others there with the probabilities `found`."""
    service, chain = kind.device.service, kind.chain
    assert service is not None
    assert kind.device.servers is not None
    if chain is None:
        return Servers(found, kind.device.servers, 1.0 / service.mean)
    line = np.zeros((max(len(chain.levels) - chain.servers, 1), chain.most))
    for n, level in enumerate(chain.levels[: len(found)]):
        if n >= chain.servers and found[n] > 0.0:
            line[n - chain.servers] = found[n] * level / level.sum()
    stay, leaving = chain.internals[chain.servers], chain.counts.leaving(chain.servers)
    return PhaseServers(line, stay, chain.succeed, leaving, chain.law.alpha, chain.law.T)


def measured(engine: Engine) -> tuple[dict[str, float], tuple[str, ...]]:
    """Error bounds, as measured, and what to warn of."""
    group = region(engine)
    warnings = []
    for device, most in dict.fromkeys(zip(engine.devices, [disk.most for disk in engine.disks], strict=True)):
        if general(device):
            warnings.append(told(isolated_device.fit(device, min(most, engine.queue_length or most))))
    if group is None:
        return dict.fromkeys(QUANTITIES, math.inf), tuple(warnings)
    return MEASURED[group] | {"mean_guest_wait": 0.0}, tuple(warnings)


def region(engine: Engine) -> str | None:
    """Under which name in MEASURED the errors of such an engine are, or None."""
    disks, devices, slots = engine.disks, engine.devices, engine.queue_length or engine.most
    device, law = devices[0], devices[0].service
    if law is None or device.servers is None or any(other != device for other in devices):
        return None
    equal = all(disk == disks[0] for disk in disks)
    buffers, servers = [disk.most for disk in disks], device.servers
    inside = (
        2 <= len(disks) <= 64
        and max(buffers) >= 4
        and engine.most >= FEW_REQUESTS
        and max(buffers) <= 64 * (1 if equal else 4)
    )
    per_server = slots / (servers * len(disks))
    if not inside or servers > 4 or not 0.4 <= per_server <= 8.1 or max(buffers) > 4.5 * min(buffers):
        return None
    saturated = all(disk.saturated for disk in disks)
    if saturated or all(isinstance(disk.arrivals, Poisson) for disk in disks):
        loads = [1.0 if saturated else float(disk.arrival_rates()[0]) * law.mean / servers for disk in disks]
        if min(loads) < (0.49 if equal else 0.12) or max(loads) > (1.31 if equal else 5.3):
            return None
        if general(device):
            regions = (("regular", 1.0), ("irregular", 4.0), ("heavy", 10.0))
            return next((name for name, scv in regions if law.scv <= scv * (1.0 + 1e-9)), None) if equal else None
        if saturated:
            return None
        return "equal" if equal else "different"
    arrivals = disks[0].arrivals
    if not equal or general(device) or not isinstance(arrivals, Closed):
        return None
    load = arrivals.outstanding / arrivals.think_time * law.mean / servers
    return "closed" if 0.4 <= load <= 6.5 else None
