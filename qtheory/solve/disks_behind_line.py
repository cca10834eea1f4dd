"""How many requests are present, at the devices and in the line, where each disk has its device behind one FIFO line.

Of disk i's n_i = d_i + l_i requests d_i are at its device and l_i in the line. Were the line a pure delay W for every
request, then with arrival rates λ_i(k), k present, and completion rates μ_i(j), each disk alone would have

    P(d_i, l_i) ∝ Π_{k<d_i+l_i} λ_i(k) · W^{l_i}/l_i! / Π_{j<=d_i} μ_i(j),    d_i + l_i <= K_i,

whatever the law of W (Baskett, Chandy, Muntz and Palacios 1975). Among many disks a FIFO line is such a delay. Among
few, what is known is the numbers: Σ d_i = Q and Σ l_i = L once anything waits. So take the product of these laws given
Σ d_i = Q, with the W for which E[Σ l_i] = L, and let the total n = Q + L be a birth-death chain,

    up at Λ(n) = Σ_i E[λ_i(n_i) | n],    down at M(n) = Σ_i E[μ_i(d_i) | n].

For n < Q no one waits, and the product form is that of separate devices. This is exact for many disks (N → ∞),
where no one waits (Q → ∞), and for saturated disks, n_i = K_i at all times, where W^{K_i−d_i}/(K_i−d_i)! makes it the
law of `saturated_line.py`. In between it is an approximation: given W, L still varies,
a line remembers by whom it was filled, and the total is no chain by itself.

The law of d_i given Σ d_i = Q comes from merging series (`markov/merging.py`) up to FEW_DISKS disks. Beyond, what the
other disks have is close to normal, which bends the law of each disk's own number by exp(−(d − E d_i)²/(2 Σ_{j≠i} Var
d_j)), apart from a tilt x^d by which the means add up to Q.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.optimize import brentq

from qtheory.engine import Device, Disk
from qtheory.markov.merging import Group, merge_all, split_all
from qtheory.solve.phase_type import PhaseChain

Floats = NDArray[np.float64]
FEW_DISKS = 16
"""Up to which numbers given their sum are exact. Against that the normal form is 1e-4 of the throughput off here."""
FIRST_DELAYS = 25
"""Delays that are looked at first."""
TOLERANCE = 2e-4
"""By which Λ and M may miss a straight line halfway between two delays, relative to M."""
UNLIKELY = 1e-7
"""Totals with less probability need no more delays between them."""
SHORTEST, LONGEST = 1e-6, 1e3
"""In the first next to nothing comes; in the second, many times what fits."""
NEGLIGIBLE = 1e-25
"""Probability of a number at the device below which the line behind it is not looked at."""
LARGE = 1e200
TINY = np.finfo(float).tiny


class Kind(NamedTuple):
    """Equal disks at equal devices, with the rates at which a device completes 1, 2, ... requests."""

    disk: Disk
    device: Device
    copies: int
    rates: Floats
    chain: PhaseChain | None
    """Of the device by itself, where its service is not exponential."""

    @property
    def coming(self) -> Floats:
        """Arrival rates; what a saturated disk submits has never left."""
        return np.zeros(self.disk.most) if self.disk.saturated else self.disk.arrival_rates()


@dataclass(frozen=True, eq=False)
class Node:
    """The disks when all slots are taken and the line takes `delay` [s]; lists have an entry for each kind.

    `series` are the ratios of each disk's law of d_i, `at_device` that law given Σ d_i = Q, `in_line` E[l_i | d_i].
    `length` is the mean of Σ l_i, `up` Λ, `down` M, and `completions` M with what saturated disks complete.
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
class Numbers:
    """Numbers present: `pmf` of the total; the `nodes` by their `weights`, which sum to P(n >= Q).

    `free[i]` is P(d_i = n_i = k, n < Q) of a disk of kind i.
    """

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
        law = self.free[i].copy()
        for weight, node in zip(self.weights, self.nodes, strict=True):
            law += weight * node.at_device[i]
        return law

    def completed(self, i: int) -> Floats:
        """How often a request of a disk of kind i leaves 0, 1, ... others behind at its device [1/s]."""
        return self.kinds[i].rates * self.at_device(i)[1:]

    def in_line(self, i: int) -> float:
        """E[l_i] of a disk of kind i."""
        return sum(float(w * (n.at_device[i] @ n.in_line[i])) for w, n in zip(self.weights, self.nodes, strict=True))

    def in_system(self, i: int) -> Floats:
        """P(n_i = k) of a disk of kind i."""
        kind = self.kinds[i]
        if kind.disk.saturated:
            return np.asarray(np.eye(1, kind.disk.most + 1, kind.disk.most)[0])
        law = self.free[i].copy()
        for weight, node in zip(self.weights, self.nodes, strict=True):
            if weight > 0.0:
                _add_line(kind.coming, node.delay, weight * node.at_device[i], law)
        return law


def numbers(kinds: list[Kind], slots: int) -> Numbers:
    """Numbers present of these disks behind one line for fewer slots than they can have present."""
    constant = sum(kind.copies * kind.disk.most for kind in kinds if kind.disk.saturated)
    most = sum(kind.copies * kind.disk.most for kind in kinds)
    unsaturated = [kind for kind in kinds if not kind.disk.saturated]
    if not unsaturated:
        nothing = [np.zeros(kind.disk.most + 1) for kind in kinds]
        always: Floats = np.eye(1, most + 1, most)[0]
        return Numbers(kinds, slots, always, nothing, [_node(kinds, slots, 1.0)], np.ones(1))
    room = max(slots - constant, 0)
    root, which = _free(unsaturated, room)
    lengths = np.arange(max(constant - slots, 0), most - slots + 1)

    def law(nodes: Sequence[Node]) -> Floats:
        """Of the total, from `constant` on."""
        found = [node.length for node in nodes]
        up, down = (np.interp(lengths, found, rates) for rates in ([n.up for n in nodes], [n.down for n in nodes]))
        steps = np.concatenate([root.ratios[:room] if root else [], up[:-1] / down[1:]])
        height = np.concatenate([[0.0], np.cumsum(np.log(np.maximum(steps, TINY)))])
        pmf = np.exp(height - height.max())
        return np.asarray(pmf / pmf.sum())

    coming = np.concatenate([kind.coming for kind in unsaturated])
    whole = sum(kind.copies * float(kind.coming.max()) for kind in unsaturated)
    ends = math.log(SHORTEST / whole), math.log(LONGEST * most / float(coming.min()))
    nodes = [_node(kinds, slots, math.exp(x)) for x in np.linspace(*ends, FIRST_DELAYS)]
    straight = [False] * (len(nodes) - 1)
    while True:
        pmf = law(nodes)
        found = np.array([node.length for node in nodes])
        below = np.concatenate([[0.0], np.cumsum(pmf[room:])])[np.searchsorted(lengths, found)]
        wanted = (np.diff(below) > UNLIKELY) & (np.diff(found) > 1.0) & ~np.array(straight)
        if not wanted.any():
            break
        nodes, straight = _finer(kinds, slots, nodes, straight, wanted)
    # Each total is shared between the two nodes around it, which keeps the mean length of the line.
    before = np.clip(np.searchsorted(found, lengths) - 1, 0, len(nodes) - 2)
    part = np.clip((lengths - found[before]) / np.maximum(found[before + 1] - found[before], TINY), 0.0, 1.0)
    weights: Floats = np.zeros(len(nodes))
    np.add.at(weights, before, pmf[room:] * (1.0 - part))
    np.add.at(weights, before + 1, pmf[room:] * part)
    parts = {} if root is None else split_all(root, np.append(pmf[:room], 0.0))
    free = []
    for kind in kinds:
        alone = np.zeros(kind.disk.most + 1)
        if kind.disk.saturated:
            alone[-1] = pmf[:room].sum()
        elif parts:
            found_part = parts[which[unsaturated.index(kind)]]
            alone[: len(found_part)] = found_part
        free.append(alone)
    return Numbers(kinds, slots, np.concatenate([np.zeros(constant), pmf]), free, nodes, weights)


def _free(kinds: Sequence[Kind], room: int) -> tuple[Group | None, list[int]]:
    """The product form of separate devices up to a total of `room`, and under which number each kind is found in it."""
    if room == 0:
        return None, []
    return _merged([kind.coming / kind.rates for kind in kinds], [kind.copies for kind in kinds], room)


def _merged(series: Sequence[Floats], copies: Sequence[int], most: int) -> tuple[Group, list[int]]:
    """The series of all disks merged, and under which number each kind is found in the group."""
    root, found = merge_all([s for s, n in zip(series, copies, strict=True) for _ in range(n)], most)
    return root, [found[first] for first in np.cumsum([0, *copies[:-1]])]


def _node(kinds: Sequence[Kind], slots: int, delay: float) -> Node:
    series, in_line, admitted = [], [], []
    for kind in kinds:
        most = kind.disk.most
        if kind.disk.saturated:
            behind, line, rate = np.arange(most, 0.0, -1.0) / delay, np.arange(most, -1.0, -1.0), np.zeros(most + 1)
        else:
            behind, line, rate = _behind(kind.coming, delay)
        ratios = behind / kind.rates
        if np.all(np.diff(kind.coming) <= 0.0) and np.all(np.diff(kind.rates) >= 0.0):
            # Then they never rise, but for rounding: sums of one log-concave sequence against another are log-concave.
            ratios = np.minimum.accumulate(ratios)
        series.append(ratios)
        in_line.append(line)
        admitted.append(rate)
    laws = given_sum(series, [kind.copies for kind in kinds], slots)
    length = up = down = completions = 0.0
    for kind, law, line, rate in zip(kinds, laws, in_line, admitted, strict=True):
        length += kind.copies * float(law @ line)
        up += kind.copies * float(law @ rate)
        completed = kind.copies * float(law[1:] @ kind.rates)
        completions += completed
        # What a saturated disk completes it submits again: the total stays.
        down += 0.0 if kind.disk.saturated else completed
    return Node(delay, series, laws, in_line, length, up, down, completions)


def _finer(
    kinds: Sequence[Kind], slots: int, nodes: list[Node], straight: list[bool], wanted: NDArray[np.bool_]
) -> tuple[list[Node], list[bool]]:
    """The nodes with others halfway in the intervals that are wanted, and which intervals are straight enough."""
    finer, marks = [nodes[0]], []
    for a, b, known, split in zip(nodes, nodes[1:], straight, wanted, strict=False):
        if split:
            middle = _node(kinds, slots, math.sqrt(a.delay * b.delay))
            part = (middle.length - a.length) / (b.length - a.length)
            off_up = abs(a.up * (1.0 - part) + b.up * part - middle.up)
            off_down = abs(a.down * (1.0 - part) + b.down * part - middle.down)
            finer.append(middle)
            marks += [max(off_up, off_down) < TOLERANCE * middle.down] * 2
        else:
            marks.append(known)
        finer.append(b)
    return finer, marks


def given_sum(series: Sequence[Floats], copies: Sequence[int], total: int) -> list[Floats]:
    """Laws of a disk's number given that all add up to `total`, by kind; `series` are the ratios of the laws without.

    >>> [law.round(12) for law in given_sum([np.array([0.5, 0.5])], [2], 2)]
    [array([0.33333333, 0.33333333, 0.33333333])]
    """
    if sum(copies) <= FEW_DISKS:
        root, which = _merged(series, copies, total)
        parts = split_all(root, np.eye(1, total + 1, total)[0])
        return [np.pad(parts[k], (0, len(s) + 1 - len(parts[k]))) for k, s in zip(which, series, strict=True)]
    heights = [np.concatenate([[0.0], np.cumsum(np.log(s[:total]))]) for s in series]
    laws = _tilted(heights, copies, total)
    means = [float(law @ np.arange(len(law))) for law in laws]
    variances = [float(law @ (np.arange(len(law)) - m) ** 2) for law, m in zip(laws, means, strict=True)]
    whole = sum(n * v for n, v in zip(copies, variances, strict=True))
    bent = [
        np.log(np.maximum(law, TINY)) - (np.arange(len(law)) - m) ** 2 / (2.0 * (whole - v))
        for law, m, v in zip(laws, means, variances, strict=True)
    ]
    found = _tilted(bent, copies, total)
    return [np.pad(law, (0, len(s) + 1 - len(law))) for law, s in zip(found, series, strict=True)]


def _tilted(heights: Sequence[Floats], copies: Sequence[int], total: int) -> list[Floats]:
    """Laws ∝ x^d e^{heights[d]}, by kind, with the x for which the means add up to `total`."""
    # In one array, padded with what has no weight: a call for each kind takes longer than its sums.
    raised = np.full((len(heights), max(map(len, heights))), -np.inf)
    for row, height in zip(raised, heights, strict=True):
        row[: len(height)] = height
    count, each = np.arange(raised.shape[1]), np.array(copies)

    def laws(tilt: float) -> Floats:
        tilted = raised + tilt * count
        weights = np.exp(tilted - tilted.max(axis=1, keepdims=True))
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))

    def excess(tilt: float) -> float:
        return float(each @ (laws(tilt) @ count)) - total

    low, high, step = -1.0, 1.0, 1.0
    while excess(low) > 0.0:
        low, step = low - step, 2.0 * step
    while excess(high) < 0.0:
        high, step = high + step, 2.0 * step
    found = laws(float(brentq(excess, low, high, xtol=1e-13)))
    return [law[: len(height)] for law, height in zip(found, heights, strict=True)]


@njit(cache=True)
def _behind(coming, delay):  # type: ignore[no-untyped-def]
    """Of T[d] = Σ_l Π_{d<=k<d+l} λ(k) · W^l/l!: λ(d) T[d+1]/T[d]; the mean of l; and that of λ(d + l)."""
    most = len(coming)
    ratios, mean, rate = np.empty(most), np.zeros(most + 1), np.zeros(most + 1)
    before = 0.0
    for d in range(most, -1, -1):
        term, total, height = 1.0, 1.0, 0.0
        line, admitted = 0.0, coming[d] if d < most else 0.0
        for k in range(d + 1, most + 1):
            term *= coming[k - 1] * delay / (k - d)
            total += term
            line += (k - d) * term
            if k < most:
                admitted += term * coming[k]
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
    """Add to `law` the law of d + l, where d has the law `at_device` and l is as in `_behind`."""
    most = len(coming)
    terms = np.empty(most + 1)
    for d in range(most + 1):
        if at_device[d] < NEGLIGIBLE:
            continue
        terms[d] = total = 1.0
        for k in range(d + 1, most + 1):
            terms[k] = terms[k - 1] * coming[k - 1] * delay / (k - d)
            total += terms[k]
            if total > LARGE:
                terms[d : k + 1] /= LARGE
                total /= LARGE
        for k in range(d, most + 1):
            law[k] += at_device[d] * terms[k] / total
