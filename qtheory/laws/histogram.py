"""Latency histogram as a law: service times spread evenly within each bin.

This is what `query-blockstats` of QEMU and the latency bins of fio tell of a device. What they do not tell is where in
its bin a time lies, so the law is as good as the bins are narrow; an open last bin needs an end from elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory.arguments import count
from qtheory.laws.arrays import ByValue, floats, shares, store
from qtheory.laws.law import Law, levels, points, times

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Histogram(ByValue, Law):
    """`counts[i]` service times, evenly between `edges[i]` and `edges[i+1]`.

    Parameters
    ----------
    edges : array-like, shape (n + 1,)
        Bin edges [s], rising from 0 or later, all finite.
    counts : array-like, shape (n,)
        Counts or weights of the bins, none negative; stored as shares of their sum. ValueError otherwise.

    Examples
    --------
    >>> law = Histogram(edges=[0.0, 1e-3, 3e-3], counts=[30, 10])
    >>> law.mean, float(law.quantile(0.875))
    (0.000875, 0.002)
    """

    rounding = 0.0
    edges: Floats
    counts: Floats

    def __init__(self, edges: ArrayLike, counts: ArrayLike) -> None:
        ends = floats("edges", edges)
        if len(ends) < 2:
            raise ValueError(f"edges must be at least two, not {len(ends)}")
        falls = np.flatnonzero(np.diff(ends) <= 0.0)
        if len(falls):
            i = int(falls[0])
            raise ValueError(f"edges must rise: edges[{i + 1}] = {ends[i + 1]} comes after {ends[i]}")
        store(self, edges=ends, counts=shares("counts", counts, len(ends) - 1))

    @cached_property
    def scv(self) -> float:
        """Variance of the bins' centres and within the bins, over mean²."""
        centre, width = (self.edges[1:] + self.edges[:-1]) / 2.0, np.diff(self.edges)
        return float(self.counts @ ((centre / self.mean - 1.0) ** 2 + (width / self.mean) ** 2 / 12.0))

    @property
    def support(self) -> tuple[float, float]:
        """Ends of the first and the last bin that is not empty."""
        used = np.flatnonzero(self.counts)
        return float(self.edges[used[0]]), float(self.edges[used[-1] + 1])

    def moment(self, k: int) -> float:
        """Σ p (b^{k+1} − a^{k+1}) / ((k + 1)(b − a)) over bins [a, b], written as a sum."""
        a, b = self.edges[:-1], self.edges[1:]
        powers = sum(a**j * b ** (k - j) for j in range(count("k", k) + 1))
        return float(self.counts @ np.asarray(powers)) / (k + 1)

    def sf(self, t: ArrayLike) -> Floats:
        """Share of the bins beyond t and of the part of its own."""
        row, t = self._locate(t)
        return np.asarray(self._after[row + 1] + self._density[row] * (self.edges[row + 1] - t))

    def cdf(self, t: ArrayLike) -> Floats:
        """Share of the bins before t and of the part of its own."""
        row, t = self._locate(t)
        return np.asarray(self._before[row] + self._density[row] * (t - self.edges[row]))

    def quantile(self, p: ArrayLike) -> Floats:
        """Interpolated in the bin, from the nearer end of the law."""
        p = levels(p)
        low, high = self.support
        up = np.interp(p, self._before, self.edges)
        down = np.interp(1.0 - p, self._after[::-1], self.edges[::-1])
        return np.clip(np.where(p > 0.5, down, up), low, high)

    def lst(self, s: ArrayLike) -> NDArray[Any]:
        """Σ p e^{−sa} (1 − e^{−s(b − a)}) / (s(b − a)) over bins [a, b]."""
        from scipy.special import expm1

        s = points(s)[..., None]
        z = s * np.diff(self.edges)
        within = np.where(z == 0.0, 1.0, -expm1(-z) / np.where(z == 0.0, 1.0, z))
        return np.asarray((np.exp(-s * self.edges[:-1]) * within) @ self.counts)

    def sample(self, rng: np.random.Generator, size: int) -> Floats:
        """Draw `size` independent service times [s], by inversion."""
        return np.interp(rng.random(size), self._before, self.edges)

    @cached_property
    def _density(self) -> Floats:
        """Density in each bin [1/s]."""
        return self.counts / np.diff(self.edges)

    @cached_property
    def _before(self) -> Floats:
        """P(S <= edge)."""
        return np.asarray(np.minimum(np.concatenate([[0.0], np.cumsum(self.counts)]), 1.0))

    @cached_property
    def _after(self) -> Floats:
        """P(S > edge)."""
        return np.asarray(np.minimum(np.concatenate([np.cumsum(self.counts[::-1])[::-1], [0.0]]), 1.0))

    def _locate(self, t: ArrayLike) -> tuple[NDArray[np.intp], Floats]:
        """The bin of t, and t moved between the first and the last edge."""
        t = np.clip(times(t), self.edges[0], self.edges[-1])
        return np.clip(np.searchsorted(self.edges, t, side="right") - 1, 0, len(self.counts) - 1), t

    def _knots(self) -> Floats:
        return self.edges
