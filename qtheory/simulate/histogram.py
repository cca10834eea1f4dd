"""A law kept in constant memory: a histogram whose bins are 0.1 % wide at every scale.

A double's leading bits are its exponent and the first digits of its mantissa, so `bits >> 42` numbers bins with 2¹⁰ of
them in each octave: no logarithm is taken. Bin 0 holds everything below 2⁻³⁰ s (0.93 ns), above all the waits of
exactly 0; the last bin everything beyond 2²⁰ s (12 days).

The interval of a quantile is Woodruff's (1952): the interval p ± h of the distribution function there, from batch
means, read backwards through the same distribution function.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory.arguments import probability
from qtheory.result import Estimate
from qtheory.simulate.batch_means import ratio

PER_OCTAVE = 1024
LOWEST_EXPONENT = -30
HIGHEST_EXPONENT = 20
BINS = (HIGHEST_EXPONENT - LOWEST_EXPONENT) * PER_OCTAVE + 1
SHIFT = 42
"""Bits dropped: 52 of the mantissa less the 10 that number the bins of an octave."""
FIRST = ((1023 + LOWEST_EXPONENT) << 10) - 1
"""What `bits >> SHIFT` is for bin 0."""


def edges(bins: NDArray[np.int64]) -> NDArray[np.float64]:
    """Lower edge [s] of each bin, 0 for bin 0.

    >>> edges(np.array([0, 1, 1 + 30 * PER_OCTAVE, 2 + 30 * PER_OCTAVE])).tolist()
    [0.0, 9.313225746154785e-10, 1.0, 1.0009765625]
    """
    octave, step = np.divmod(bins - 1, PER_OCTAVE)
    return np.where(bins > 0, np.ldexp(1.0 + step / PER_OCTAVE, octave + LOWEST_EXPONENT), 0.0)


class Histogram:
    """Law of a time [s] from counts by batch, shape (batches, BINS); values are right to 0.1 %."""

    def __init__(self, counts: NDArray[np.integer]) -> None:
        used = np.flatnonzero(counts.any(axis=0))
        first, last = (int(used[0]), int(used[-1])) if len(used) else (0, 0)
        self._counts = counts[:, first : last + 1].copy()
        self._edges = edges(np.arange(first, last + 2))
        below = np.cumsum(self._counts.sum(axis=0, dtype=np.int64))
        self.size = int(below[-1])
        self._cdf = below / max(self.size, 1)

    def cdf(self, t: ArrayLike) -> NDArray[np.float64]:
        """Fraction of the samples that are <= t, linear inside a bin; ValueError without samples."""
        at = np.asarray(t, dtype=float)
        self._check_sampled()
        below = np.concatenate([[0.0], self._cdf])
        if self._edges[0] == 0.0:
            below[0] = self._cdf[0]
        return np.asarray(np.where(at < 0.0, 0.0, np.interp(at, self._edges, below, left=0.0, right=1.0)))

    def sf(self, t: float) -> Estimate:
        """Fraction of the samples that are > t [s], linear inside a bin; ValueError without samples."""
        self._check_sampled()
        at = int(np.clip(np.searchsorted(self._edges, t, side="right") - 1, -1, len(self._cdf) - 1))
        if at < 0:
            return ratio(self._counts.sum(axis=1), self._counts.sum(axis=1))
        low, high = self._edges[at], self._edges[at + 1]
        inside = 0.0 if low == 0.0 else max(1.0 - (t - low) / (high - low), 0.0)
        above = self._counts[:, at + 1 :].sum(axis=1) + inside * self._counts[:, at]
        return ratio(above, self._counts.sum(axis=1))

    def quantile(self, p: float) -> Estimate:
        """Smallest t with P(T <= t) >= p [s]; ValueError unless 0 < p < 1, and without samples."""
        p = probability("p", p)
        self._check_sampled()
        at = int(np.searchsorted(self._cdf, p))
        below = self._counts[:, : at + 1].sum(axis=1)
        fraction = ratio(below, self._counts.sum(axis=1)).half_width
        low, high = self._inverse(max(p - fraction, 0.0)), self._inverse(min(p + fraction, 1.0))
        return Estimate(self._inverse(p), (high - low) / 2.0)

    def _inverse(self, p: float) -> float:
        """Smallest t with cdf >= p, linear inside a bin; 0 inside bin 0."""
        at = min(int(np.searchsorted(self._cdf, p)), len(self._cdf) - 1)
        if self._edges[at] == 0.0:
            return 0.0
        before = self._cdf[at - 1] if at else 0.0
        inside = (p - before) / (self._cdf[at] - before) if self._cdf[at] > before else 1.0
        return float(self._edges[at] + inside * (self._edges[at + 1] - self._edges[at]))

    def _check_sampled(self) -> None:
        if self.size == 0:
            raise ValueError("nothing was sampled in this run: simulate more requests")
