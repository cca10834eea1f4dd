"""Times between arrivals: their mean, squared coefficient of variation and autocorrelation, and the clock's resolution.

The variance and the autocorrelation at lag k of n gaps g with mean m are

    Σ (g_i − m)² / n,          r_k = Σ (g_i − m)(g_{i+k} − m) / Σ (g_i − m)²           (Cox & Lewis 1966, §4.3, §5.2).

The mean is known at the end only, so what is summed are the deviations d from a value near it (the mean gap of the
stream's first block, in whole nanoseconds) and their products; the shift is taken out at the end, for which the first
and the last 100 deviations are kept. As the value is a mean of recorded gaps, cancellation costs few digits.

The clock's resolution is the greatest common divisor of all gaps: a trace stamped in milliseconds has 1 000 000 ns.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from qtheory.traces.statistics.streams import NANO, Streams, grown

LAGS = (1, 2, 5, 10, 20, 50, 100)
MOST = LAGS[-1]
LEAST_PAIRS = 20
SMALL = 1 << 32


class Intervals:
    """Tally of the gaps of each stream."""

    def __init__(self) -> None:
        self.resolution = 0  # [ns]; 0 until two arrivals differ
        self.last_of_all = 0  # [ns]
        self.arrivals = np.zeros(1, dtype=np.int64)
        self.first, self.last, self.shift = (np.zeros(1, dtype=np.int64) for _ in range(3))
        self.sum, self.squares = np.zeros(1), np.zeros(1)
        self.products = np.zeros((1, len(LAGS)))
        self.early, self.recent = np.zeros((1, MOST)), np.zeros((1, MOST))

    def add(self, streams: Streams) -> None:
        """Enter a block; ValueError when its arrivals are not in order."""
        rows = len(streams.bounds) - 1
        for name in ("arrivals", "first", "last", "shift", "sum", "squares", "products", "early", "recent"):
            setattr(self, name, grown(getattr(self, name), rows))
        n = streams.bounds[1]
        resolution = _common_divisor(streams.clock[:n], self.last_of_all, self.resolution)
        if resolution < 0:
            raise ValueError("blocks must have their arrivals in order")
        self.resolution, self.last_of_all = resolution, int(streams.clock[n - 1])
        _add(
            streams.clock, streams.bounds, self.arrivals, self.first, self.last, self.shift, self.sum, self.squares,
            self.products, self.early, self.recent, np.empty(n + MOST),
        )  # fmt: skip

    def mean(self, row: int) -> float | None:
        """Mean time between arrivals [s] of a stream; None below two arrivals."""
        gaps = int(self.arrivals[row]) - 1
        return float(self.last[row] - self.first[row]) / NANO / gaps if gaps > 0 else None

    def scv(self, row: int) -> float | None:
        """Variance / mean² of two gaps at least; None where the mean is 0."""
        gaps = int(self.arrivals[row]) - 1
        mean = self.mean(row)
        if gaps < 2 or not mean:
            return None
        return max(self._variance(row), 0.0) / (mean * NANO) ** 2

    def autocorrelation(self, row: int) -> tuple[tuple[int, float], ...]:
        """Pairs of lag and autocorrelation, for the lags with `LEAST_PAIRS` pairs of gaps at least."""
        gaps = int(self.arrivals[row]) - 1
        variance = self._variance(row) if gaps > 0 else 0.0
        if variance <= 0.0:
            return ()
        total, off, found = self.sum[row], self.sum[row] / gaps, []
        for lag, product in zip(LAGS, self.products[row], strict=True):
            if gaps - lag >= LEAST_PAIRS:
                both = 2 * total - self.early[row, :lag].sum() - self.recent[row, -lag:].sum()
                found.append((lag, float(product - off * both + (gaps - lag) * off * off) / gaps / variance))
        return tuple(found)

    def _variance(self, row: int) -> float:
        """Variance of the gaps [ns²]."""
        gaps = int(self.arrivals[row]) - 1
        return float(self.squares[row] / gaps - math.pow(self.sum[row] / gaps, 2))


@njit(cache=True, nogil=True)
def _common_divisor(clock, last, divisor):  # type: ignore[no-untyped-def]
    """Greatest common divisor of `divisor` and all gaps; −1 when one is negative."""
    for now in clock:
        gap = now - last
        last = now
        if gap < 0:
            return -1
        if divisor == 1 or gap == 0:
            continue
        if 0 < divisor < SMALL and gap < SMALL and np.uint32(gap) % np.uint32(divisor) == 0:
            continue  # 32-bit division is the faster one
        a, b = gap, divisor
        while b:
            a, b = b, a % b
        divisor = a
    return divisor


# Sums may be taken in any order, so that the processor adds several terms at once.
@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _add(  # type: ignore[no-untyped-def]
    clock, bounds, arrivals, first, last, shift, sums, squares, products, early, recent, deviation
):
    """Enter the gaps of each stream; `deviation` is room for a stream's, behind the last ones before."""
    for r in range(len(bounds) - 1):
        begin, end = bounds[r], bounds[r + 1]
        if begin == end:
            continue
        known = arrivals[r] - 1  # gaps
        arrivals[r] += end - begin
        if known < 0:
            first[r] = last[r] = clock[begin]
            begin, known = begin + 1, 0
        m = end - begin
        if m == 0:
            continue
        if known == 0:
            shift[r] = (clock[end - 1] - last[r]) // m
        deviation[:MOST] = recent[r]
        deviation[MOST] = clock[begin] - last[r] - shift[r]
        near = shift[r]
        for i in range(1, m):
            deviation[MOST + i] = clock[begin + i] - clock[begin + i - 1] - near
        new = deviation[MOST : MOST + m]
        total = square = 0.0
        for i in range(m):
            total += new[i]
            square += new[i] * new[i]
        sums[r] += total
        squares[r] += square
        for j, lag in enumerate(LAGS):  # gaps before the first count as 0
            before = deviation[MOST - lag : MOST - lag + m]
            product = 0.0
            for i in range(m):
                product += new[i] * before[i]
            products[r, j] += product
        for i in range(known, min(MOST, known + m)):
            early[r, i] = new[i - known]
        recent[r] = deviation[m : m + MOST]
        last[r] = clock[end - 1]
