"""How a total splits over disks that burst apart from each other.

Of n requests present, how many are disk i's, and in which phase is its arrival process? Taken is the form

    P(n_1, j_1, ..., n_N, j_N | n) ∝ Π_i w_i(n_i, j_i),     Σ n_i = n,

with which Poisson disks at a station of exponential service split exactly, w_i(k) = λ_i^k / k! for k <= K_i. A disk
that bursts has more of the total while its burst lasts, and for a while after, and its weights are not known
beforehand. But its own chain is: in phase j it has arrivals by its D0 and D1, up to K_i requests, and each of its k
requests is completed at the rate at which one of all that are present is,

    δ(k) = k E[f(n)/n | n_i = k],     f(n) the completion rate with n present.

So the weights are matched: the split and the law of the total give δ, the disk's chain with it the law of (n_i, j_i),
and the weights are multiplied by that law over the one that the split has made of them, as in the iterative
proportional fitting of a table to its margins (Deming and Stephan, 1940), until both agree. Then a burst that fills a
disk's buffer and stays is as the disk's own chain has it, whatever the others do.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qtheory.arrivals import MAP, Marked
from qtheory.engine import Disk
from qtheory.markov.level_chain import stationary
from qtheory.markov.merging import merge_all

Floats = NDArray[np.float64]
Logarithms = NDArray[np.longdouble]


class Weights(NamedTuple):
    """w(k, j) of one kind of disk."""

    series: Floats
    """Ratios of Σ_j w(k + 1, j) to Σ_j w(k, j)."""
    given: Floats
    """w(k, j) over its sum over j: row k, column j. One column where the phase does not matter."""


@dataclass(frozen=True, eq=False)
class Split:
    """The weights of each kind of disk, for totals up to `most`."""

    kinds: dict[Disk, int]
    """How many there are of each kind; saturated ones, whose number is constant, are not among them."""
    weights: dict[Disk, Weights]
    most: int

    @classmethod
    def of(cls, disks: tuple[Disk, ...], most: int, *, together: bool) -> Split:
        """The split of Poisson arrivals of the same rates; exact marks when all disks burst `together`."""
        kinds = Counter(disk for disk in disks if not disk.saturated)
        weights = {}
        for disk in kinds:
            process = None if together else own_process(disk)
            phases = np.ones(1) if process is None else process.phases
            series = disk.arrival_rates() / np.arange(1, disk.most + 1)
            weights[disk] = Weights(series, np.tile(phases, (disk.most + 1, 1)))
        return cls(dict(kinds), weights, most)

    def welcome(self, disk: Disk) -> Floats:
        """Mean arrival rate given the total, over that with nobody present: a row for each phase, 0 at the top."""
        series, given = self.weights[disk]
        others = [self.weights[kind].series for kind, n in self.kinds.items() for _ in range(n - (kind == disk))]
        own = logarithms(series)
        rest = logarithms(merge_all(others, self.most)[0].ratios if others else np.empty(0))
        accepts = np.append(disk.arrival_rates(), 0.0) / disk.arrival_rates()[0]
        height = np.full(self.most + 1, -np.inf)  # the largest term for each total
        for k in range(disk.most + 1):
            part = rest[: max(self.most + 1 - k, 0)]
            height[k : k + len(part)] = np.maximum(height[k : k + len(part)], (own[k] + part).astype(float))
        taken, whole = np.zeros((2, given.shape[1], self.most + 1))
        for k in range(disk.most + 1):
            part = rest[: max(self.most + 1 - k, 0)]
            at = slice(k, k + len(part))
            terms = given[k][:, None] * np.exp((own[k] + part).astype(float) - height[at])
            whole[:, at] += terms
            taken[:, at] += (1.0 - accepts[k]) * terms
        welcome = 1.0 - np.divide(taken, whole, out=np.zeros_like(taken), where=whole > 0.0)
        welcome[:, -1] = 0.0  # the line ends here, be it by refusal at Q
        return np.asarray(welcome)

    def matched(self, laws: dict[Disk, Floats], completions: dict[Disk, Floats]) -> Split:
        """The split that has the laws of (n_i, j_i) which the disks' own chains have.

        `laws[disk][k]` is P(n_i = k) as the split has it, `completions[disk][k]` its completions per second then, times
        that probability.
        """
        weights = {}
        for disk, (series, given) in self.weights.items():
            law = laws[disk]
            rates = np.divide(completions[disk], law, out=np.zeros_like(law), where=law > 0.0)
            reached = int(np.flatnonzero((law > 0.0) & (rates > 0.0))[-1])
            own = _own_chain(disk, rates[: reached + 1], given.shape[1])
            sums = own.sum(axis=1)
            factor = sums / law[: reached + 1]
            changed = series.copy()
            changed[:reached] *= factor[1:] / factor[:-1]
            phases = given.copy()
            phases[: reached + 1] = own / sums[:, None]
            weights[disk] = Weights(changed, phases)
        return replace(self, weights=weights)


def own_process(disk: Disk) -> MAP | None:
    """The process of the disk's own requests, None where it has none."""
    if isinstance(disk.arrivals, Marked):
        return disk.arrivals.process.thinned(disk.arrivals.share)
    return disk.arrivals if isinstance(disk.arrivals, MAP) else None


def _own_chain(disk: Disk, rates: Floats, phases: int) -> Floats:
    """P(k requests, phase j) of one disk, completing at `rates`[k] with k present: a row for each k."""
    top, still = len(rates) - 1, np.eye(phases)
    process = own_process(disk)
    if process is None:
        coming = [np.array([[rate]]) for rate in disk.arrival_rates()]
        silent, refused = np.zeros((1, 1)), np.zeros((1, 1))
    else:
        coming, silent, refused = [process.D1] * disk.most, process.D0, process.D1
    levels = stationary(
        0,
        top,
        lambda k: coming[k],
        lambda k: silent + refused if k == top else silent,
        lambda k: rates[k] * still,
        lambda k: k,
    )
    return np.array(levels)


def logarithms(ratios: Floats) -> Logarithms:
    """Logarithms of the coefficients of a series whose first is 1."""
    return np.append(np.longdouble(0.0), np.cumsum(np.log(ratios.astype(np.longdouble))))
