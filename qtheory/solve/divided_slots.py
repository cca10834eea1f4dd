"""One shared device whose slots are divided by caps, approximately: what waits for a cap is folded into a full share.

Disk i has n_i requests, of which m_i = min(n_i, q_i) have a slot, m = Σ m_i, and the device completes disk i's at rate
μ(min(m, Q)) m_i/m: in the device's line its requests are one as likely as another. Caps that together leave no more
slots than servers part the disks (`separate_devices.py`); otherwise the numbers have no product form. Three steps:

1. **What has a slot** (after Lazowska and Zahorjan 1982, for networks whose classes each have a memory limit). Seen by
   the device, disk i comes at λ_i(m_i) while m_i < q_i, and its m_i stays at q_i for as long as others wait behind. Let
   ψ_i be the rate at which the device completes disk i's while m_i = q_i, taken as constant: n_i − q_i is then a
   birth-death chain with births λ_i(n_i) and deaths ψ_i, and lengthens the stay at q_i to h_i = 1/P(n_i = q_i | n_i >=
   q_i) times. So the m_i have the product form of `product_form.py`, with buffers q_i and the last weight times h_i,
   and ψ_i is read off it: a fixed point, found by iteration from h_i = 1.
2. **How many there are in all.** In step 1 nobody's backlog knows of the others', though all wait while the device is
   busy. The total t is nearly a chain by itself: deaths μ(E[m | t]), births as they come, both with the disks' numbers
   given t by the weights Π λ_i(k)/min(k + 1, q_i). Where every cap is at least c its deaths are exact, as in one line.
3. **Together.** Where the chain of step 2 has a larger mean, all ψ_i are lowered by one factor until both agree.

Without a disk that can wait for its cap it is the product form, exact; so it is if those that can are saturated and no
two disks wait for the same slot: a saturated disk always has q_i.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from qtheory.arrivals import Closed, Poisson
from qtheory.engine import Engine
from qtheory.markov.birth_death import stationary
from qtheory.solve.population import OUT_OF_REACH, Population, population, total_blocking
from qtheory.solve.product_form import common_refusal, continued
from qtheory.solve.steady_state import QUANTITIES, DiskState, SteadyState

Floats = NDArray[np.float64]
AGREEMENT = 1e-10
ROUNDS = 1000
AGREEMENT_OF_MEANS = 1e-4
LEAST_STEP = 1e-4
"""Of the factor of step 3. Below some factor backlogs may feed each other; then the lowest before is taken."""
MEASURED = {
    "throughput": 0.03,
    "blocking": 0.75,
    "mean_wait": 0.27,
    "mean_guest_wait": 0.0,
    "mean_response": 0.18,
    "mean_in_system": 0.18,
    "mean_in_flight": 0.11,
    "utilization": 0.03,
    "disks.mean_wait": 0.60,
}
"""Largest relative error against simulation over the grid of `validation/divided_slots.py`, half-widths included: 2 and
8 Poisson disks, buffers 8 and 64, 1 to 16 servers, utilization 0.5 to 1.2, 1.5 to 8 slots a server divided equally or
by load; blocking where above 1e-3; "disks.mean_wait" is the mean wait of each disk. Half of the errors of the mean
wait are below 1.5 %, of a disk's below 5 %."""
DRAIN_MEASURED = 0.14
"""The same for the mean and the 99 % quantile of the drain."""
LEAST = 1e-100
"""P(n_i = q_i | n_i >= q_i) below which a disk may as well be saturated."""
APART = "the slots are divided: what waits for a cap is taken to wait by itself"


def refusal(engine: Engine) -> str | None:
    """Why this method cannot answer for `engine`, or None."""
    if not engine.shared:
        return "each disk has its own device"
    if engine.caps is None:
        return "the slots are not divided"
    if engine.hold == "refuse":
        return "requests are refused at caps"
    if not engine.one_law:
        return "the disks have different service laws at one device"
    return common_refusal(engine)


@dataclass(frozen=True, eq=False)
class Divided:
    """Step 1 at one factor: who has a slot, of the disks as the device sees them, and the disks' own numbers."""

    number: Population
    rates: Floats
    laws: tuple[Floats, ...]

    @property
    def mean(self) -> float:
        """Mean number in the system."""
        return sum(float(law @ np.arange(len(law))) for law in self.laws)


def solve(engine: Engine) -> SteadyState:
    """Solve a shared device whose slots are divided."""
    divided, total = divide(engine)
    rates, pmf = divided.rates, divided.number.pmf
    numbers = np.arange(len(pmf))
    device, slots = engine.devices[0], _slots(engine)
    completions = np.zeros(len(pmf))
    completions[1:] = pmf[1:] * rates[: len(pmf) - 1] / numbers[1:]
    flown = np.zeros(len(pmf))
    flown[1:] = pmf[1:] * np.minimum(numbers[1:], slots) / numbers[1:]
    flows, flights = divided.number.split(completions), divided.number.split(flown)
    disks = []
    for disk, law, flow, flight in zip(engine.disks, divided.laws, flows, flights, strict=True):
        slot = np.arange(len(flow))
        throughput = float(flow @ slot) if disk.saturated else float(law[:-1] @ disk.arrival_rates())
        mean = float(law @ np.arange(len(law)))
        served = throughput * device.service.mean if device.service is not None else float(flight @ slot)
        disks.append(
            DiskState(
                throughput=throughput,
                blocking=0.0 if isinstance(disk.arrivals, Closed) else float(law[-1]),
                mean_wait=max(mean - served, 0.0) / throughput,
                mean_response=mean / throughput,
                mean_in_system=mean,
                pmf=law,
                mean_guest_wait=disk.always_in_guest / throughput,
            )
        )
    states = tuple(disks)
    throughput = sum(state.throughput for state in states)
    exact = is_exact(engine)
    error = divided.number.rounding
    bounds = MEASURED if measured(engine) else dict.fromkeys(MEASURED, math.inf)
    return SteadyState(
        method="divided_slots",
        exact=exact,
        error_bounds=dict.fromkeys(QUANTITIES, error) if exact else bounds,
        warnings=() if exact else (APART,),
        throughput=throughput,
        blocking=total_blocking(engine.disks, states),
        mean_wait=sum(state.throughput * state.mean_wait for state in states) / throughput,
        mean_response=divided.mean / throughput,
        mean_in_system=divided.mean,
        mean_in_flight=float(np.minimum(numbers, slots) @ pmf),
        utilization=throughput / device.capacity,
        in_system_pmf=total,
        disks=states,
        _sojourns="what a request waits for its cap is known in the mean only",
    )


@lru_cache(maxsize=4)
def divide(engine: Engine) -> tuple[Divided, Floats]:
    """All three steps: who has a slot and how many each disk has, and the law of the total."""
    first = slotted(engine, 1.0)
    total = totals(engine, first)
    mean = float(total @ np.arange(len(total)))
    best, low, high = first, 0.0, 1.0
    while best.mean < (1.0 - AGREEMENT_OF_MEANS) * mean and high - low > LEAST_STEP and not is_exact(engine):
        factor = (low + high) / 2.0
        try:
            found = slotted(engine, factor)
        except ValueError:  # too slow to settle: too low
            low = factor
            continue
        if found.mean > mean:
            low = factor
        else:
            best, high = found, factor
    return best, total


def is_exact(engine: Engine) -> bool:
    """Whether this is the product form."""
    assert engine.caps is not None
    capped = [disk for disk, cap in zip(engine.disks, engine.caps, strict=True) if disk.most > cap]
    return all(disk.saturated for disk in capped) and (not capped or sum(_caps(engine)) <= _slots(engine))


def measured(engine: Engine) -> bool:
    """Whether `engine` lies within the grid that MEASURED was measured on."""
    device, slots = engine.devices[0], engine.queue_length
    if engine.shares not in ("equal", "load") or device.servers is None or slots is None:
        return False
    return (
        2 <= len(engine.disks) <= 8
        and all(isinstance(disk.arrivals, Poisson) and 8 <= disk.buffer <= 64 for disk in engine.disks)
        and device.servers <= 16
        and 0.5 <= engine.offered_load / device.servers <= 1.2
        and 1.5 <= slots / device.servers <= 8.0
    )


def slotted(engine: Engine, factor: float) -> Divided:
    """Step 1, with the ψ_i times `factor`."""
    caps = _caps(engine)
    inside = tuple(replace(disk, buffer=cap) for disk, cap in zip(engine.disks, caps, strict=True))
    most = sum(disk.most for disk in inside)
    constant = sum(disk.most for disk in inside if disk.saturated)
    rates = continued(engine.devices[0].rates(_slots(engine)), most)
    free = [i for i, disk in enumerate(inside) if not disk.saturated]
    kind = [(disk, cap) for disk, cap in zip(engine.disks, caps, strict=True)]
    first = {kind[i]: i for i in reversed(free)}  # equal disks are looked at once
    arrivals = {key: engine.disks[i].arrival_rates() for key, i in first.items()}
    behind = {key: np.eye(1, key[0].most - key[1] + 1)[0] for key in first}
    before: Floats | None = None
    for _ in range(ROUNDS):
        series = {}
        for (disk, cap), rate in arrivals.items():
            weights = rate[:cap] / np.arange(1, cap + 1)
            weights[-1] /= max(float(behind[disk, cap][0]), LEAST)
            series[disk, cap] = weights
        number = population(
            inside, [series[kind[i]] for i in free], np.arange(constant + 1, most + 1) / rates[constant:]
        )
        pmf = number.pmf
        shares = np.zeros(len(pmf))
        shares[1:] = pmf[1:] * rates[: len(pmf) - 1] / np.arange(1, len(pmf))
        laws, flows = number.split(pmf), number.split(shares)
        # A full share that is never seen says nothing; there any rate will do.
        held = np.array([laws[i][-1] for i in first.values()])
        speed = np.array([cap * flows[i][-1] for (_, cap), i in first.items()])
        speed = np.divide(speed, held, out=np.full(len(first), float(rates[-1])), where=held > 0.0)
        if not free or (before is not None and float(np.max(np.abs(speed / before - 1.0))) < AGREEMENT):
            break
        before = speed
        for (key, i), slow in zip(first.items(), factor * speed, strict=True):
            waiting = arrivals[key][caps[i] :]
            behind[key] = stationary(waiting, np.full(len(waiting), slow))
    else:
        raise ValueError(f"engine cannot be solved: its shares do not settle in {ROUNDS} rounds; qt.simulate covers it")
    whole = {key: np.append(laws[i][:-1], laws[i][-1] * behind[key]) for key, i in first.items()}
    kept = [whole[key] if key in whole else np.eye(1, key[0].most + 1, key[0].most)[0] for key in kind]
    return Divided(number, rates, tuple(kept))


def totals(engine: Engine, first: Divided) -> Floats:
    """Step 2: law of the total, by the chain with deaths μ(E[m | t]).

    With w_i[k] the weights of disk i's number and G their product, E[m | t] = G'[t]/G[t], where G' has each disk's
    weights in turn times min(k, q_i). The series are tilted so that their means are those of step 1.
    """
    caps = _caps(engine)
    constant = sum(disk.most for disk in engine.disks if disk.saturated)
    held = sum(cap for cap, disk in zip(caps, engine.disks, strict=True) if disk.saturated)
    logs = {}
    for disk, cap in zip(engine.disks, caps, strict=True):
        if not disk.saturated:
            ratios = disk.arrival_rates() / np.minimum(np.arange(1, disk.most + 1), cap)
            logs[disk, cap] = np.concatenate([[0.0], np.cumsum(np.log(ratios))])

    def tilted(tilt: float) -> dict[object, Floats]:
        heights = {key: log + tilt * np.arange(len(log)) for key, log in logs.items()}
        return {key: _normal(np.exp(height - height.max())) for key, height in heights.items()}

    kinds = [(d, cap) for d, cap in zip(engine.disks, caps, strict=True) if not d.saturated]
    if not kinds:
        return np.asarray(np.eye(1, constant + 1, constant)[0])
    goal = first.mean - constant
    goal = min(max(goal, 1e-3), sum(d.most for d, _ in kinds) - 1e-3)

    def excess(tilt: float) -> float:
        laws = tilted(tilt)
        return sum(float(laws[key] @ np.arange(len(laws[key]))) for key in kinds) - goal

    reach = 1.0
    while excess(-reach) > 0.0 or excess(reach) < 0.0:
        reach *= 2.0
    tilt = float(brentq(excess, -reach, reach))
    laws = tilted(tilt)
    parts = [_reached(laws[key], laws[key] * np.minimum(np.arange(len(laws[key])), key[1])) for key in kinds]
    while len(parts) > 1:
        paired = list(zip(parts[::2], parts[1::2], strict=False))
        rest = parts[len(parts) - 1 :] if len(parts) % 2 else []
        parts = [
            _reached(np.convolve(p, q), np.convolve(p_held, q) + np.convolve(p, q_held))
            for (p, p_held), (q, q_held) in paired
        ] + rest
    whole, in_slots = parts[0]
    seen = np.flatnonzero(whole > 0.0)
    whole, in_slots = whole[seen], held + in_slots[seen] / whole[seen]
    deaths = np.interp(in_slots, np.arange(len(first.rates) + 1), np.concatenate([[0.0], first.rates]))
    # P(t) ∝ G[t] Π E[m | j]/μ(E[m | j]), and the tilt taken back
    steps = np.log(in_slots[1:] / deaths[1:]) - tilt
    height = np.log(whole) + np.concatenate([[0.0], np.cumsum(steps)])
    law = np.zeros(constant + sum(d.most for d, _ in kinds) + 1)
    law[constant + seen] = _normal(np.exp(height - height.max()))
    return law


def _caps(engine: Engine) -> list[int]:
    """Most slots each disk can use."""
    assert engine.caps is not None
    return [min(cap, disk.most) for cap, disk in zip(engine.caps, engine.disks, strict=True)]


def _slots(engine: Engine) -> int:
    """Most slots that can be used together."""
    wanted = sum(_caps(engine))
    return min(engine.queue_length or wanted, wanted)


def _reached(law: Floats, held: Floats) -> tuple[Floats, Floats]:
    """Both, as far as the law is not out of reach."""
    end = int(np.flatnonzero(law > OUT_OF_REACH * law.max())[-1]) + 1
    return law[:end], held[:end]


def _normal(weights: Floats) -> Floats:
    return np.asarray(weights / weights.sum())
