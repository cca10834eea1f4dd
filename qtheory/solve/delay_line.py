"""One device a disk behind a FIFO line for Q slots: the line taken as a delay that is the same for all.

Of disk i's n_i = d_i + l_i requests d_i are at its device and l_i in the line. Were the line a pure delay W for every
request, then with arrival rates λ_i(k), k present, and completion rates μ_i(j), each disk alone would have

    P(d_i, l_i) ∝ Π_{k<d_i+l_i} λ_i(k) · W^{l_i}/l_i! / Π_{j<=d_i} μ_i(j),    d_i + l_i <= K_i,

whatever the law of W (delays are insensitive: Baskett, Chandy, Muntz and Palacios 1975). So it is among many disks. Among
few, W is not given, but the numbers are: Σ d_i = Q and Σ l_i = L once anything waits. So take the product of these
laws given Σ d_i = Q, with the W for which E[Σ l_i] = L, and let the total n = Q + L be a birth-death chain with

    up at  Λ(n) = Σ_i E[λ_i(n_i) | n],    down at  M(n) = Σ_i E[μ_i(d_i) | n].

For n < Q no one waits, and the product form is that of separate devices. The chain is exact for one disk, as
Q → ∞, and where buffers do not bind the conditional law is that of a closed network (Norton's theorem, as Chandy, Herzog
and Woo 1975 use it). Saturated disks, n_i = K_i at all times, have W^{K_i−d_i}/(K_i−d_i)!: the exact law of
`saturated_line.py`. In between it is an approximation: a long line remembers by which disks it was filled, and the
total is no chain by itself.

Service that is not exponential changes how the number at a device falls off. Its rates are replaced by those of
exponential service with the same law of the number (Marie 1979): with the rate ν_i(k) at which requests come to the
device when k are there, from the chain above, the number at ν(k)/PH/c has a law p, and μ_i(k) = ν_i(k−1) p(k−1)/p(k).
Iterate until these agree. Laws that are not phase-type are fitted first (`laws/fitting/`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.optimize import brentq

from qtheory.arrivals import Poisson
from qtheory.engine import Device, Disk, Engine
from qtheory.laws import Exponential, Law
from qtheory.laws.fitting import PhaseTypeFit, fit_phase_type
from qtheory.markov.merging import merge_all, split_all
from qtheory.markov.sojourn import PhaseServers, Servers
from qtheory.solve import phase_type
from qtheory.solve.phase_type import PhaseChain
from qtheory.solve.population import disk_state, total_blocking
from qtheory.solve.sojourn import LineThenDevice, Sojourn, WaitThenService
from qtheory.solve.steady_state import QUANTITIES, SteadyState

Floats = NDArray[np.float64]
FEW_DISKS = 16
FIRST_NODES = 25
"""Delays that are looked at first."""
TOLERANCE = 2e-4
"""Of Λ and M, relative to M, halfway between two delays."""
UNLIKELY = 1e-7
"""Totals with less probability need no more delays between them."""
SHORTEST, LONGEST = 1e-6, 1e3
"""A delay in which next to nothing arrives, and one in which all arrive that fit many times over."""
LARGE = 1e200
ROUNDS = 100
AGREEMENT = 1e-5
"""Of the rates of the devices from one round to the next, where a number is this likely."""
LEAST = 1e-20
"""Probabilities below this have no digits."""
RARE = 1e-200

MEASURED = dict.fromkeys(QUANTITIES, math.inf)


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
    if all(disk.saturated for disk in engine.disks) and not any(_general(device) for device in engine.devices):
        return "every guest is saturated"
    for device, disk in dict.fromkeys(zip(engine.devices, engine.disks, strict=True)):
        if _general(device):
            reason = phase_type.refusal(_alone(device, min(disk.most, engine.queue_length)))
            if reason is not None:
                return reason
    return None


def _general(device: Device) -> bool:
    """Whether its service is not exponential."""
    return device.service is not None and not isinstance(device.service, Exponential)


@lru_cache(maxsize=64)
def _alone(device: Device, most: int) -> Engine:
    """The device by itself, with a law of few phases for its service, and room for so many requests."""
    assert device.service is not None
    assert device.servers is not None
    law = _fit(device.service, min(device.servers, most)).law
    return Engine([Disk(Poisson(1.0 / law.mean), buffer=most)], Device(device.servers, law))


@lru_cache(maxsize=32)
def _fit(law: Law, servers: int) -> PhaseTypeFit:
    return fit_phase_type(law, servers=servers)


def solve(engine: Engine) -> SteadyState:
    """Solve separate devices behind one line for Q slots."""
    line = solved(engine)
    states, used = {}, {}
    for i, kind in enumerate(line.kinds):
        own = kind.disk, kind.device
        law, completed = line.in_system(i), float(line.completed(i).sum())
        throughput = completed if kind.disk.saturated else float(law[:-1] @ kind.coming)
        mean = float(law @ np.arange(len(law)))
        if kind.device.service is None:
            wait = line.in_line(i)
        else:
            wait = max(mean - throughput * kind.device.service.mean, 0.0)
        states[own] = disk_state(kind.disk, law, np.zeros(len(law)), law * (wait / mean), throughput)
        used[own] = throughput / kind.device.capacity
    disks = tuple(states[own] for own in zip(engine.disks, engine.devices, strict=True))
    throughput = sum(disk.throughput for disk in disks)
    totals = np.arange(len(line.pmf))
    mean = float(totals @ line.pmf)
    return SteadyState(
        method="delay_line",
        exact=False,
        error_bounds=MEASURED,
        warnings=(),
        throughput=throughput,
        blocking=total_blocking(engine.disks, disks),
        mean_wait=sum(disk.throughput * disk.mean_wait for disk in disks) / throughput,
        mean_response=mean / throughput,
        mean_in_system=mean,
        mean_in_flight=float(np.minimum(totals, line.slots) @ line.pmf),
        utilization=sum(used[own] for own in zip(engine.disks, engine.devices, strict=True)) / len(disks),
        in_system_pmf=line.pmf,
        disks=disks,
        _sojourns=_sojourn(line),
    )


def throughput(engine: Engine) -> float:
    """Throughput alone."""
    return solved(engine).throughput


@lru_cache(maxsize=8)
def solved(engine: Engine) -> DelayLine:
    """The numbers present, with devices whose rates agree with what comes to them."""
    slots = engine.queue_length
    assert slots is not None
    kinds = [
        Kind(disk, device, copies, device.rates(disk.most), None)
        for (disk, device), copies in Counter(zip(engine.disks, engine.devices, strict=True)).items()
    ]
    for _ in range(ROUNDS):
        line = delay_line(kinds, slots)
        change = 0.0
        for i, kind in enumerate(kinds):
            if not _general(kind.device):
                continue
            chain, rates = _device(kind, line.at_device(i), slots)
            likely = line.at_device(i)[1:] > AGREEMENT
            change = max(change, float(np.max(np.abs(rates / kind.rates - 1.0)[likely], initial=0.0)))
            kinds[i] = kind._replace(rates=rates, chain=chain)
        if change < AGREEMENT:
            return line
    raise ValueError(f"delay_line did not settle in {ROUNDS} rounds for this engine; use qt.simulate")


def _device(kind: Kind, law: Floats, slots: int) -> tuple[PhaseChain, Floats]:
    """A device by itself, to which requests come as they do in the chain, and the rates at which it completes them."""
    most = min(kind.disk.most, slots)
    known = np.flatnonzero(law[: most + 1] > LEAST * law.max())
    first, last = int(known[0]), int(known[-1])
    between = kind.rates[first:last] * law[first + 1 : last + 1] / law[first:last]
    coming = between[np.clip(np.arange(most) - first, 0, last - first - 1)]
    chain = PhaseChain.unsolved(_alone(kind.device, most), None, lambda *_: None)
    chain = chain.solved([np.full(len(at), rate) for at, rate in zip(chain.accepting, coming, strict=True)])
    pmf = chain.pmf
    rates = chain.finishing[1:] / np.maximum(pmf[1:], RARE)
    known = np.flatnonzero(pmf[1:] > RARE)
    return chain, rates[np.clip(np.arange(kind.disk.most), known[0], known[-1])]


def _sojourn(line: DelayLine) -> tuple[tuple[float, Sojourn], ...] | str:
    """Sojourn law, approximately: the line moves at its mean rate, and the devices do not remember it.

    What departures leave behind at a device, arrivals there find.
    """
    if any(kind.device.service is None for kind in line.kinds):
        return "the time at a device given by a rate curve is not followed behind a line; use qt.simulate"
    slots, total = line.slots, line.throughput
    at_once: list[tuple[float, Sojourn]] = []
    after_line: list[tuple[float, Sojourn]] = []
    for i, kind in enumerate(line.kinds):
        leaving = line.completed(i)
        free = line.free[i]
        direct = np.append(np.zeros(len(free) - 2), kind.rates[-1] * free[-1])
        if not kind.disk.saturated:
            direct = kind.coming * free[:-1]
        delayed = np.maximum(leaving - direct, 0.0)
        for parts, found in ((at_once, direct), (after_line, delayed)):
            if found.any():
                parts.append((kind.copies * float(found.sum()), _at_device(kind, found / found.sum(), slots)))
    waiting = line.pmf[slots:]
    lengths = np.array([node.length for node in line.nodes])
    rates = np.interp(np.arange(len(waiting)), lengths, [node.completions for node in line.nodes])
    joining = np.interp(np.arange(len(waiting)), lengths, [node.up for node in line.nodes]) * waiting
    joining[:-1] += (rates - np.interp(np.arange(len(waiting)), lengths, [node.down for node in line.nodes]))[1:] * waiting[1:]
    passing = float(rates @ waiting) / float(waiting.sum())
    queue = np.append(sum(weight for weight, _ in at_once), joining)
    return (
        (
            1.0,
            LineThenDevice(queue / queue.sum(), passing, _normalized(at_once), _normalized(after_line)),
        ),
    )


def _normalized(parts: list[tuple[float, Sojourn]]) -> list[tuple[float, Sojourn]]:
    total = sum(weight for weight, _ in parts)
    return [(weight / total, law) for weight, law in parts]


def _at_device(kind: Kind, found: Floats, slots: int) -> Sojourn:
    """Time at the device for requests that find so many others there."""
    service, servers = kind.device.service, kind.device.servers
    assert service is not None
    assert servers is not None
    if kind.chain is None:
        return Servers(found, servers, 1.0 / service.mean)
    chain = kind.chain
    servers = chain.servers
    line = np.zeros((max(len(chain.levels) - servers, 1), chain.most))
    for n, level in enumerate(chain.levels[: len(found)]):
        if n >= servers and found[n] > 0.0:
            line[n - servers] = found[n] * level / level.sum()
    stay, leaving = chain.internals[servers], chain.counts.leaving(servers)
    return WaitThenService(PhaseServers(line, stay, chain.succeed, leaving, chain.law.alpha, chain.law.T), service)


class Kind(NamedTuple):
    """Equal disks at equal devices, with the rates at which the device completes 1, 2, ... requests."""

    disk: Disk
    device: Device
    copies: int
    rates: Floats
    chain: PhaseChain | None
    """Of the device by itself, where its service is not exponential."""

    @property
    def coming(self) -> Floats:
        """Arrival rates; a saturated disk's requests are always there."""
        return np.zeros(self.disk.most) if self.disk.saturated else self.disk.arrival_rates()


@dataclass(frozen=True, eq=False)
class Node:
    """The disks when all slots are taken and the line takes `delay`, by kind.

    `series` are the ratios of each disk's law of d_i, `at_device` that law given Σ d_i = Q, `in_line` E[l_i | d_i],
    `length` the mean of Σ l_i; `up` and `down` the rates Λ and M, `completions` M with what saturated disks complete.
    """

    delay: float
    series: list[Floats]
    at_device: list[Floats]
    in_line: list[Floats]
    length: float
    up: float
    down: float
    completions: float


@dataclass(frozen=True, eq=False)
class DelayLine:
    """Numbers present: `pmf` of the total; `free[i]` the law of kind i's d_i = n_i on n < Q; beyond, nodes by weight."""

    kinds: list[Kind]
    slots: int
    pmf: Floats
    free: list[Floats]
    nodes: list[Node]
    weights: Floats

    @property
    def throughput(self) -> float:
        """Completions a second."""
        return sum(kind.copies * float(self.completed(i).sum()) for i, kind in enumerate(self.kinds))

    def at_device(self, i: int) -> Floats:
        """P(d_i = k) of a disk of kind i."""
        return self.free[i] + sum(w * node.at_device[i] for w, node in zip(self.weights, self.nodes, strict=True))

    def completed(self, i: int) -> Floats:
        """μ_i(k + 1) P(d_i = k + 1): how often a request of the disk leaves k others behind at its device."""
        return self.kinds[i].rates * self.at_device(i)[1:]

    def in_line(self, i: int) -> float:
        """E[l_i] of a disk of kind i."""
        return sum(
            float(w * (node.at_device[i] @ node.in_line[i])) for w, node in zip(self.weights, self.nodes, strict=True)
        )

    def in_system(self, i: int) -> Floats:
        """P(n_i = k) of a disk of kind i."""
        kind = self.kinds[i]
        law = self.free[i].copy()
        if kind.disk.saturated:
            law[-1] = 1.0
            return law
        for w, node in zip(self.weights, self.nodes, strict=True):
            if w > 0.0:
                _add_line(kind.coming, node.delay, w * node.at_device[i], law)
        return law


def delay_line(kinds: list[Kind], slots: int) -> DelayLine:
    """Numbers present of these disks, not all saturated, behind one line for fewer slots than they can have present."""
    constant = sum(kind.copies * kind.disk.most for kind in kinds if kind.disk.saturated)
    most = sum(kind.copies * kind.disk.most for kind in kinds)
    rates = np.concatenate([kind.coming for kind in kinds if not kind.disk.saturated])
    total = sum(kind.copies * float(kind.coming.max()) for kind in kinds)
    # Free slots: the product form of separate devices.
    open_kinds = [i for i, kind in enumerate(kinds) if not kind.disk.saturated]
    series = [kinds[i].coming / kinds[i].rates for i in open_kinds]
    room = slots - constant
    root, numbers = (
        merge_all([s for i, s in zip(open_kinds, series, strict=True) for _ in range(kinds[i].copies)], room)
        if room > 0
        else (None, [])
    )
    below = np.log(root.ratios[:room]) if root is not None else np.zeros(0)

    first, last = math.log(SHORTEST / total), math.log(LONGEST * most / float(rates.min()))
    nodes = [_node(kinds, slots, math.exp(x)) for x in np.linspace(first, last, FIRST_NODES)]
    settled = [False] * (len(nodes) - 1)
    lengths = np.arange(max(-room, 0), most - slots + 1)
    while True:
        found = np.array([node.length for node in nodes])
        up = np.interp(lengths, found, [node.up for node in nodes])
        down = np.interp(lengths, found, [node.down for node in nodes])
        with np.errstate(divide="ignore"):
            height = np.concatenate([[0.0], np.cumsum(np.concatenate([below, np.log(up[:-1] / down[1:])]))])
        law = np.exp(height - height.max())
        law /= law.sum()
        waiting = law[len(below) :]
        beyond = np.concatenate([[0.0], np.cumsum(waiting)])
        inside = np.diff(beyond[np.searchsorted(lengths, found)])
        wide = [not done and inside[j] > UNLIKELY and found[j + 1] - found[j] > 1.0 for j, done in enumerate(settled)]
        if not any(wide):
            break
        finer, marks = [nodes[0]], []
        for j, split in enumerate(wide):
            a, b = nodes[j], nodes[j + 1]
            if split:
                middle = _node(kinds, slots, math.sqrt(a.delay * b.delay))
                close = _between(a, middle, b) < TOLERANCE
                finer.append(middle)
                marks += [close, close]
            else:
                marks.append(settled[j])
            finer.append(b)
        nodes, settled = finer, marks
    # Each total is shared by the two nodes around it, which keeps the mean length of the line.
    j = np.clip(np.searchsorted(found, lengths) - 1, 0, len(nodes) - 2)
    upper = np.clip((lengths - found[j]) / np.maximum(found[j + 1] - found[j], 1e-300), 0.0, 1.0)
    weights = np.bincount(j, waiting * (1.0 - upper), len(nodes)) + np.bincount(j + 1, waiting * upper, len(nodes))
    free = [np.zeros(kind.disk.most + 1) for kind in kinds]
    if root is not None:
        parts = split_all(root, np.append(law[:room], 0.0))
        first_of = dict(zip(open_kinds, np.cumsum([0, *(kinds[i].copies for i in open_kinds)]), strict=False))
        for i, kind in enumerate(kinds):
            if kind.disk.saturated:
                free[i][-1] = law[:room].sum()
            else:
                part = parts[numbers[first_of[i]]]
                free[i][: len(part)] = part
    return DelayLine(kinds, slots, np.concatenate([np.zeros(constant), law]), free, nodes, weights)


def _node(kinds: Sequence[Kind], slots: int, delay: float) -> Node:
    """The disks when all slots are taken and the line takes `delay`."""
    series, in_line, admitted = [], [], []
    for kind in kinds:
        most = kind.disk.most
        if kind.disk.saturated:
            behind = np.arange(most, 0.0, -1.0) / delay
            in_line.append(np.arange(most, -1.0, -1.0))
            admitted.append(np.zeros(most + 1))
        else:
            behind, line, rate = _behind(kind.coming, delay)
            in_line.append(line)
            admitted.append(rate)
        ratios = behind / kind.rates
        if np.all(np.diff(kind.coming) <= 0.0) and np.all(np.diff(kind.rates) >= 0.0):
            # Then these never rise, but for rounding: sums of log-concave sequences against each other are log-concave.
            ratios = np.minimum.accumulate(ratios)
        series.append(ratios)
    laws = _given_total(series, [kind.copies for kind in kinds], slots)
    length = up = down = completions = 0.0
    for kind, law, line, rate in zip(kinds, laws, in_line, admitted, strict=True):
        length += kind.copies * float(law @ line)
        up += kind.copies * float(law @ rate)
        flow = kind.copies * float(law[1:] @ kind.rates)
        completions += flow
        # What a saturated disk completes it submits again: the total stays.
        down += 0.0 if kind.disk.saturated else flow
    return Node(delay, series, laws, in_line, length, up, down, completions)


def _given_total(series: Sequence[Floats], copies: Sequence[int], total: int) -> list[Floats]:
    """Laws of d_i given Σ d_i = total, by kind; the others' sum is nearly normal where they are many."""
    if sum(copies) <= FEW_DISKS:
        root, numbers = merge_all([s for s, n in zip(series, copies, strict=True) for _ in range(n)], total)
        parts = split_all(root, np.eye(1, total + 1, total)[0])
        firsts = np.cumsum([0, *copies])
        return [np.pad(parts[numbers[i]], (0, len(s) + 1 - len(parts[numbers[i]]))) for i, s in zip(firsts, series, strict=False)]
    heights = [np.concatenate([[0.0], np.cumsum(np.log(s))]) for s in series]
    counts = [np.arange(len(height)) for height in heights]

    def tilted(tilt: float) -> list[Floats]:
        found = []
        for height, count in zip(heights, counts, strict=True):
            law = np.exp(height + tilt * count - np.max(height + tilt * count))
            found.append(law / law.sum())
        return found

    def excess(tilt: float) -> float:
        means = (n * float(law @ count) for n, law, count in zip(copies, tilted(tilt), counts, strict=True))
        return sum(means) - total

    for _ in range(2):
        low = high = 0.0
        step = 1.0
        while excess(low) > 0.0:
            low, step = low - step, 2.0 * step
        step = 1.0
        while excess(high) < 0.0:
            high, step = high + step, 2.0 * step
        tilt = brentq(excess, low, high, xtol=1e-12) if low < high else 0.0
        laws = tilted(tilt)
        if _ == 0:
            means = [float(law @ count) for law, count in zip(laws, counts, strict=True)]
            variances = [float(law @ (count - m) ** 2) for law, count, m in zip(laws, counts, means, strict=True)]
            whole = sum(n * v for n, v in zip(copies, variances, strict=True))
            heights = [
                height + tilt * count - (count - m) ** 2 / (2.0 * (whole - v))
                for height, count, m, v in zip(heights, counts, means, variances, strict=True)
            ]
    return laws


def _between(a: Node, middle: Node, b: Node) -> float:
    """How far Λ and M of the middle node are from the line between its neighbours, relative to M."""
    part = (middle.length - a.length) / (b.length - a.length)
    off = (abs(getattr(a, x) * (1.0 - part) + getattr(b, x) * part - getattr(middle, x)) for x in ("up", "down"))
    return max(off) / middle.down


@njit(cache=True)
def _behind(coming, delay):  # type: ignore[no-untyped-def]
    """Of T[d] = Σ_l Π_{d<=k<d+l} λ(k) · W^l/l!: λ(d) T[d+1]/T[d]; the mean of l; and that of λ(d + l)."""
    most = len(coming)
    ratios, mean, rate = np.empty(most), np.zeros(most + 1), np.zeros(most + 1)
    before = 0.0
    for d in range(most, -1, -1):
        term, total, height = 1.0, 1.0, 0.0
        line, admitted = 0.0, coming[d] if d < most else 0.0
        for l in range(1, most - d + 1):
            term *= coming[d + l - 1] * delay / l
            total += term
            line += l * term
            if d + l < most:
                admitted += term * coming[d + l]
            if total > LARGE:
                term, total, line, admitted = term / LARGE, total / LARGE, line / LARGE, admitted / LARGE
                height += math.log(LARGE)
        here = math.log(total) + height
        if d < most:
            ratios[d] = coming[d] * math.exp(before - here)
        before = here
        mean[d], rate[d] = line / total, admitted / total
    return ratios, mean, rate


@njit(cache=True)
def _add_line(coming, delay, at_device, law):  # type: ignore[no-untyped-def]
    """Add to `law` the law of d + l, with d of law `at_device` and l as in `_behind`."""
    most = len(coming)
    terms = np.empty(most + 1)
    for d in range(most + 1):
        if at_device[d] == 0.0:
            continue
        terms[0] = total = 1.0
        for l in range(1, most - d + 1):
            terms[l] = terms[l - 1] * coming[d + l - 1] * delay / l
            total += terms[l]
            if total > LARGE:
                for k in range(l + 1):
                    terms[k] /= LARGE
                total /= LARGE
        for l in range(most - d + 1):
            law[d + l] += at_device[d] * terms[l] / total
