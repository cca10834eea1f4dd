"""Which disks burst together: the correlation of their counts in windows of 10 ms, 100 ms, 1 s and 10 s.

When a window closes, the products of the counts of every two disks that had arrivals in it are added up. A table of all
pairs must have an end: it takes the first 256 disks that appear, among which the busy ones are, and the 64 busiest of
them are looked at.

The correlation of independent disks over W windows has standard error 1/√W. A pair is reported when its correlation is
beyond what one of all the pairs looked at would show by chance once in a hundred traces (Bonferroni), and 0.1 at least.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numba import njit

from qtheory.traces.statistics.dispersion import LEAST_WINDOWS
from qtheory.traces.statistics.streams import NANO, Floats, Ints

SCALES = (10_000_000, 100_000_000, 1_000_000_000, 10_000_000_000)  # ns
PAIRED = 256
SHOWN = 64
CHANCE = 0.01
MATTERS = 0.1


class Correlations(NamedTuple):
    """Correlation matrix of the counts of some disks in `windows` windows [s]; NaN where a disk's never vary."""

    window: float
    windows: int
    disks: tuple[int, ...]
    matrix: Floats


class Together:
    """Tally of the products of counts."""

    def __init__(self) -> None:
        scales = len(SCALES)
        self.window, self.touched = np.zeros(scales, dtype=np.int64), np.zeros(scales, dtype=np.int64)
        self.count, self.who = (np.zeros((scales, PAIRED), dtype=np.int64) for _ in range(2))
        self.products = np.zeros((scales, PAIRED, PAIRED), dtype=np.int64)

    def add(self, clock: Ints, disk: Ints) -> None:
        """Enter a block: arrival times [ns] and disks."""
        _add(clock, disk, np.array(SCALES), self.window, self.count, self.who, self.touched, self.products)

    def correlations(self, requests: Ints, span: int, resolution: int) -> tuple[Correlations, ...]:
        """At every scale of which `span` [ns] holds enough windows; `requests` is how many each disk had."""
        busiest = np.argsort(-requests[:PAIRED], kind="stable")[:SHOWN]
        found = []
        for s, width in enumerate(SCALES):
            windows = span // width
            if windows < LEAST_WINDOWS or width < resolution or len(busiest) < 2:
                continue
            # Whole numbers of any size: no digit is lost in the difference.
            total = (requests[:PAIRED] - self.count[: s + 1, : len(requests)].sum(axis=0))[busiest].astype(object)
            products = (self.products[s] + self.products[s].T)[np.ix_(busiest, busiest)].astype(object)
            products[np.diag_indices(len(busiest))] //= 2
            covariance = (windows * products - np.outer(total, total)).astype(float)
            scale = np.sqrt(np.diag(covariance))
            scale[scale == 0.0] = np.nan
            matrix = covariance / scale[:, None] / scale
            found.append(Correlations(width / NANO, windows, tuple(map(int, busiest)), matrix))
        return tuple(found)


def chance(correlations: tuple[Correlations, ...]) -> float:
    """How many standard errors a correlation must have to be no accident, among all pairs at all scales."""
    pairs = sum(len(c.disks) * (len(c.disks) - 1) // 2 for c in correlations)
    return NormalDist().inv_cdf(1.0 - CHANCE / 2.0 / max(pairs, 1))


def bursting_together(correlations: tuple[Correlations, ...]) -> tuple[tuple[int, int, float, float], ...]:
    """Disks a, b, their correlation and the window [s]: pairs above chance, where they are most so, most first."""
    least = chance(correlations)
    best: dict[tuple[int, int], tuple[float, float]] = {}
    for c in correlations:
        for i, j in zip(*np.triu_indices(len(c.disks), 1), strict=True):
            value = float(c.matrix[i, j])
            pair = (min(c.disks[i], c.disks[j]), max(c.disks[i], c.disks[j]))
            if value > max(least / math.sqrt(c.windows), MATTERS, best.get(pair, (0.0, 0.0))[0]):
                best[pair] = (value, c.window)
    ranked = sorted(best.items(), key=lambda item: -item[1][0])
    return tuple((a, b, value, window) for (a, b), (value, window) in ranked)


@njit(cache=True, nogil=True)
def _add(clock, disk, widths, window, count, who, touched, products):  # type: ignore[no-untyped-def]
    """Count arrivals in the shortest windows; on the way into the next window close those that have ended."""
    end = (window[0] + 1) * widths[0]
    for i in range(len(clock)):
        if clock[i] >= end:
            for s in range(len(widths)):
                if clock[i] < (window[s] + 1) * widths[s]:
                    break
                for x in range(touched[s]):
                    a = who[s, x]
                    n, row = count[s, a], products[s, a]
                    for y in range(x + 1):
                        row[who[s, y]] += n * count[s, who[s, y]]
                for x in range(touched[s]):
                    a = who[s, x]
                    if s + 1 < len(widths):
                        if count[s + 1, a] == 0:
                            who[s + 1, touched[s + 1]] = a
                            touched[s + 1] += 1
                        count[s + 1, a] += count[s, a]
                    count[s, a] = 0
                touched[s] = 0
                window[s] = clock[i] // widths[s]
            end = (window[0] + 1) * widths[0]
        d = disk[i]
        if d < PAIRED:
            if count[0, d] == 0:
                who[0, touched[0]] = d
                touched[0] += 1
            count[0, d] += 1
