"""Counts in windows: the index of dispersion at time scales from 1 µs to the length of the trace.

    I(w) = Var N(w) / E N(w),     N(w) the number of arrivals in a window of length w.

Poisson: 1 at every w. Where I grows with w there is burstiness on that time scale; where it falls below 1 the arrivals
are more regular than Poisson's (Cox & Lewis 1966, §4.5). Under Poisson arrivals I of W windows has standard error
√(2/W), as W·I is χ² with W − 1 degrees of freedom.

The windows are 1, 2, 10, 20, 100, ... µs, so that each holds a whole number of the ones before. A cascade counts them
all: an arrival goes into its window of 1 µs; when a window closes, the square of its count is added up and the count
goes into the next longer window. Windows without arrivals are never touched: how many windows there are follows from
the span. A window that the end of the trace cuts is left out. All is in whole numbers, so I is correctly rounded.

If I(w) ~ w^(2H−1), the arrivals are bursty at all scales and H is their Hurst exponent: Poisson 1/2, long-range
dependent above (Leland et al. 1994; H from the slope of log I, the index-of-dispersion form of the variance-time plot).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from qtheory.traces.statistics.streams import NANO, Streams, grown

FINEST = 1000
WINDOWS = tuple(FINEST * m * 10**k for k in range(15) for m in (1, 2))
"""Lengths in nanoseconds, in steps of 2 and 5 in turn; the longest suits the longest trace, 4·10⁹ s."""
LEAST_WINDOWS = 20

HURST_GAPS = 10
HURST_WINDOWS = 4
HURST_RANGE = 10**1.5

Moments = tuple[int, int, int, int]
"""Of the counts in one length of window [ns]: the length, windows, sum of the counts, sum of their squares."""


class Counts:
    """Tally of the counts of each stream in the windows of the chain."""

    def __init__(self) -> None:
        self.window, self.count, self.squares = (np.zeros((1, len(WINDOWS)), dtype=np.int64) for _ in range(3))

    def add(self, streams: Streams) -> None:
        """Enter a block."""
        rows = len(streams.bounds) - 1
        self.window, self.count = grown(self.window, rows), grown(self.count, rows)
        self.squares = grown(self.squares, rows)
        room = np.empty((2, int(streams.bounds[1])), dtype=np.int64)
        _add(streams.clock, streams.bounds, self.window, self.count, self.squares, room[0], room[1])

    def moments(self, row: int, arrivals: int, span: int) -> list[Moments]:
        """The moments at every window of which `span` [ns] holds enough, of a stream of `arrivals` arrivals."""
        found: list[Moments] = []
        passed: list[tuple[int, int]] = []  # what the shorter windows still hold at the end, in order
        for level, width in enumerate(WINDOWS):
            windows = span // width
            if windows < LEAST_WINDOWS:
                break
            step = width // WINDOWS[max(level - 1, 0)]
            at, count, squares = (int(x[row, level]) for x in (self.window, self.count, self.squares))
            closed = []
            for window, more in passed:
                if window // step == at:
                    count += more
                else:
                    closed.append((at, count))
                    squares += count * count
                    at, count = window // step, more
            passed = [*closed, (at, count)]
            complete = at < windows
            found.append((width, windows, arrivals - (0 if complete else count), squares + complete * count * count))
        return found


def dispersion(moments: list[Moments]) -> tuple[tuple[float, float], ...]:
    """Pairs of window [s] and index of dispersion, from `Counts.moments`; windows without any arrival left out.

    >>> dispersion([(10**9, 4, 8, 30)])  # counts 1, 2, 0, 5
    ((1.0, 1.75),)
    """
    return tuple(
        (width / NANO, (windows * squares - total * total) / (windows * total))
        for width, windows, total, squares in moments
        if total > 0
    )


def variance_ratio(total: list[Moments], disks: list[list[Moments]]) -> tuple[tuple[float, float], ...]:
    """Pairs of window [s] and variance of all counts over the sum of the disks' variances; where these vary.

    >>> variance_ratio([(10**9, 2, 4, 16)], [[(10**9, 2, 2, 4)]] * 2)  # both have 2 and 0
    ((1.0, 2.0),)
    """

    def variance(moments: Moments) -> int:
        _, windows, count, squares = moments
        return windows * squares - count * count

    found = []
    for level, of_all in enumerate(total):
        apart = sum(variance(of_disk[level]) for of_disk in disks)
        if apart > 0:
            found.append((of_all[0] / NANO, variance(of_all) / apart))
    return tuple(found)


def hurst(pairs: tuple[tuple[float, float], ...], mean_gap: float | None) -> float | None:
    """Hurst exponent (1 + slope) / 2, slope of log I on log w by least squares.

    Over windows of ten mean gaps [s] and more; None unless there are four, over a decade and a half.

    >>> round(hurst(tuple((w, 3 * w**0.6) for w in (1.0, 2.0, 10.0, 20.0, 100.0)), 0.01), 12)
    0.8
    """
    used = [(w, index) for w, index in pairs if mean_gap is not None and w >= HURST_GAPS * mean_gap]
    if len(used) < HURST_WINDOWS or used[-1][0] < HURST_RANGE * used[0][0] or min(index for _, index in used) <= 0.0:
        return None
    x, y = np.log(used).T
    return float(1.0 + np.polynomial.polynomial.polyfit(x, y, 1)[1]) / 2.0


def standard_error(windows: int) -> float:
    """Of the index of dispersion of Poisson arrivals."""
    return math.sqrt(2.0 / windows)


@njit(cache=True, nogil=True)
def _add(clock, bounds, window, count, squares, at, held):  # type: ignore[no-untyped-def]
    """The cascade, level by level: each reads the windows that the one before closed; `at`, `held` are room for them.

    Unsigned numbers divide by a constant faster.
    """
    two, five, finest = np.uint64(2), np.uint64(5), np.uint64(FINEST)
    for r in range(len(bounds) - 1):
        m = bounds[r + 1] - bounds[r]
        for i in range(m):
            at[i] = np.uint64(clock[bounds[r] + i]) // finest
            held[i] = 1
        for level in range(window.shape[1]):
            if m == 0:
                break
            now, n, square, closed = window[r, level], count[r, level], 0, 0
            halves = level % 2 == 0
            for i in range(m):
                if at[i] == now:
                    n += held[i]
                else:
                    entering, k = at[i], held[i]
                    square += n * n
                    at[closed] = np.uint64(now) // two if halves else np.uint64(now) // five
                    held[closed] = n
                    closed += 1
                    now, n = entering, k
            window[r, level], count[r, level] = now, n
            squares[r, level] += square
            m = closed
