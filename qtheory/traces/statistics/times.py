"""The laws of recorded times, responses or services: exact mean, variance and maximum, and a histogram of 0.1 % bins.

The bins are those of the simulator's histogram: 1024 an octave, numbered by a double's leading bits. Each disk has its
own, of the octaves that occur: an octave is a page in a common pool, taken when its first time comes. A quantile is the
middle of its bin, right to 0.05 %, and never outside what was recorded. The variance is summed from deviations from a
value near the mean, the mean of the disk's first block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike

from qtheory.simulate.histogram import FIRST, LOWEST_EXPONENT, PER_OCTAVE, SHIFT, edges
from qtheory.traces.statistics.streams import Floats, Ints, grown

OCTAVES = 32 - LOWEST_EXPONENT + 1
"""Below 2⁻³⁰ s, then one after another up to 2³² s: every time that a trace may have."""
LAST_BELOW = PER_OCTAVE - 1
"""Where bin 0 of the simulator's histogram, all below 2⁻³⁰ s, stands here: it ends the first octave."""
FIRST_PAGES = 64
QUANTILE_ERROR = 0.5 / PER_OCTAVE


@dataclass(frozen=True, eq=False)
class RecordedTimes:
    """The law of recorded times, as far as a histogram keeps it.

    Parameters
    ----------
    edges : array of float
        Edges of the bins [s], one more than bins.
    counts : array of int
        How many times lie in each bin, its lower edge included.
    mean, scv : float
        Mean [s] and variance / mean² (0 where the mean is) of the times themselves, not of the bins.
    least, most : float
        Smallest and largest of them [s].
    """

    edges: Floats
    counts: Ints
    mean: float
    scv: float
    least: float
    most: float

    def quantile(self, p: ArrayLike) -> Floats:
        """Smallest time with at least share `p` at or below it [s], right to `QUANTILE_ERROR`."""
        below = np.cumsum(self.counts)
        # An ulp or two less: 0.07 · 100 is 7.000000000000001, and the 7th of a hundred is meant.
        needed = np.ceil(np.asarray(p, dtype=float) * below[-1] * (1.0 - 4e-16))
        at = np.minimum(np.searchsorted(below, needed), len(below) - 1)
        middle = np.where(self.edges[at] > 0.0, (self.edges[at] + self.edges[at + 1]) / 2.0, 0.0)
        return np.asarray(np.clip(middle, self.least, self.most))

    def sf(self, t: ArrayLike) -> Floats:
        """Share of the times that are longer than `t` [s], linear inside a bin."""
        above = np.concatenate([np.cumsum(self.counts[::-1])[::-1], [0]]) / self.counts.sum()
        return np.asarray(np.interp(np.asarray(t, dtype=float), self.edges, above, left=1.0, right=0.0))


class Times:
    """Tally of the times of each disk."""

    def __init__(self) -> None:
        self.number = np.zeros(0, dtype=np.int64)
        self.near, self.sum, self.squares, self.least, self.most = (np.zeros(0) for _ in range(5))
        self.page = np.zeros((0, OCTAVES), dtype=np.int64)  # of each disk's octaves; 0: none
        self.pages = np.zeros((FIRST_PAGES, PER_OCTAVE), dtype=np.int64)
        self.used = 1

    @property
    def size(self) -> int:
        """How many times were entered."""
        return int(self.number.sum())

    def add(self, values: Floats, bounds: Ints) -> None:
        """Enter the times [s] of a block, those of disk d in `values[bounds[d]:bounds[d + 1]]`."""
        disks, done = len(bounds) - 1, 0
        for name in ("number", "near", "sum", "squares", "least", "most", "page"):
            setattr(self, name, grown(getattr(self, name), disks))
        while True:
            done, self.used = _add(
                done, values, bounds, self.number, self.near, self.sum, self.squares, self.least, self.most,
                self.page, self.pages, self.used,
            )  # fmt: skip
            if done == len(values):
                return
            self.pages = grown(self.pages, self.used + 1)

    def law(self, disks: Ints) -> RecordedTimes:
        """The law of the times of some disks together."""
        counts = np.concatenate([self.pages[page[page > 0]].sum(axis=0) for page in self.page[disks].T])
        used = np.flatnonzero(counts)
        number = self.number[disks]
        off = self.sum[disks] / number
        means = self.near[disks] + off
        mean = float(np.average(means, weights=number))
        within = np.maximum(self.squares[disks] / number - off * off, 0.0)
        deviation = math.sqrt(float(np.average(within + (means - mean) ** 2, weights=number)))
        return RecordedTimes(
            edges=edges(np.arange(used[0], used[-1] + 2) - LAST_BELOW),
            counts=counts[used[0] : used[-1] + 1],
            mean=mean,
            scv=(deviation / mean) ** 2 if mean > 0.0 else 0.0,
            least=float(self.least[disks].min()),
            most=float(self.most[disks].max()),
        )


@njit(cache=True, nogil=True)
def _add(  # type: ignore[no-untyped-def]
    begin, values, bounds, number, near, sums, squares, least, most, page, pages, used
):
    """Enter times from `begin` on; return how far it came before the pages were used up, and the pages used."""
    bits = values.view(np.int64)
    for d in range(len(bounds) - 1):
        if bounds[d + 1] <= begin:
            continue
        first = max(bounds[d], begin)
        if number[d] == 0:
            near[d], least[d] = values[first : bounds[d + 1]].mean(), np.inf
        middle, total, square, low, high = near[d], 0.0, 0.0, least[d], most[d]
        reached = bounds[d + 1]
        for i in range(first, bounds[d + 1]):
            at = max((bits[i] >> SHIFT) - FIRST, 0) + LAST_BELOW
            octave = at // PER_OCTAVE
            if page[d, octave] == 0:
                if used == len(pages):
                    reached = i
                    break
                page[d, octave] = used
                used += 1
            pages[page[d, octave], at % PER_OCTAVE] += 1
            off = values[i] - middle
            total += off
            square += off * off
            low, high = min(low, values[i]), max(high, values[i])
        number[d] += reached - first
        sums[d] += total
        squares[d] += square
        least[d], most[d] = low, high
        if reached < bounds[d + 1]:
            return reached, used
    return len(values), used
