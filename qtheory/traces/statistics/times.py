"""The laws of recorded times, responses or services: exact mean, variance and maximum, and a histogram of 0.1 % bins.

The histogram is that of the simulator (1024 bins an octave, numbered by a double's leading bits), one for each disk. A
quantile is the middle of its bin, right to 0.05 %, and never outside what was recorded. The variance is summed from
deviations from a value near the mean, the mean of the disk's first block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike

from qtheory.simulate.histogram import FIRST, LOWEST_EXPONENT, PER_OCTAVE, SHIFT, edges
from qtheory.traces.statistics.streams import Floats, Ints, grown

BINS = (32 - LOWEST_EXPONENT) * PER_OCTAVE + 1
"""Up to 2³² s: every time that a trace may have."""
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
        self.counts: list[Ints] = []  # untouched pages of zeros cost nothing
        self.number = np.zeros(0, dtype=np.int64)
        self.near, self.sum, self.squares, self.most = (np.zeros(0) for _ in range(4))
        self.least = np.zeros(0)

    @property
    def size(self) -> int:
        """How many times were entered."""
        return int(self.number.sum())

    def add(self, values: Floats, bounds: Ints) -> None:
        """Enter the times [s] of a block, those of disk d in `values[bounds[d]:bounds[d + 1]]`."""
        disks = len(bounds) - 1
        for name in ("number", "near", "sum", "squares", "least", "most"):
            setattr(self, name, grown(getattr(self, name), disks))
        while len(self.counts) < disks:
            self.counts.append(np.zeros(BINS, dtype=np.int64))
        for d in np.flatnonzero(np.diff(bounds)):
            part = values[bounds[d] : bounds[d + 1]]
            if self.number[d] == 0:
                self.near[d], self.least[d] = part.mean(), math.inf
            total, squares, least, most = _add(part, self.near[d], self.counts[d])
            self.number[d] += len(part)
            self.sum[d] += total
            self.squares[d] += squares
            self.least[d], self.most[d] = min(self.least[d], least), max(self.most[d], most)

    def law(self, disks: Ints) -> RecordedTimes:
        """The law of the times of some disks together."""
        counts = self.counts[disks[0]].copy()
        for d in disks[1:]:
            counts += self.counts[d]
        used = np.flatnonzero(counts)
        number = self.number[disks]
        off = self.sum[disks] / number
        means = self.near[disks] + off
        mean = float(np.average(means, weights=number))
        within = np.maximum(self.squares[disks] / number - off * off, 0.0)
        deviation = math.sqrt(float(np.average(within + (means - mean) ** 2, weights=number)))
        return RecordedTimes(
            edges=edges(np.arange(used[0], used[-1] + 2)),
            counts=counts[used[0] : used[-1] + 1],
            mean=mean,
            scv=(deviation / mean) ** 2 if mean > 0.0 else 0.0,
            least=float(self.least[disks].min()),
            most=float(self.most[disks].max()),
        )


@njit(cache=True, nogil=True)
def _add(values, near, counts):  # type: ignore[no-untyped-def]
    bits = values.view(np.int64)
    total = squares = most = 0.0
    least = np.inf
    for i in range(len(values)):
        off = values[i] - near
        total += off
        squares += off * off
        least, most = min(least, values[i]), max(most, values[i])
        counts[max((bits[i] >> SHIFT) - FIRST, 0)] += 1
    return total, squares, least, most
