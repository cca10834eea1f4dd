"""Empirical law: service times as they were recorded, each with its weight."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory.arguments import count, positive
from qtheory.laws.arrays import ByValue, floats, shares, store
from qtheory.laws.histogram import Histogram
from qtheory.laws.law import Law, levels, points, times

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Empirical(ByValue, Law):
    """One of the samples, each as likely as its weight.

    Parameters
    ----------
    samples : array-like
        Recorded service times [s], none negative and not all 0; stored sorted, ties merged.
    weights : array-like, optional
        Weight of each sample, none negative; stored as shares of their sum. All equal by default. ValueError otherwise.

    Examples
    --------
    >>> law = Empirical([1e-3, 3e-3, 1e-3])
    >>> law.samples.tolist(), float(law.sf(1e-3))
    ([0.001, 0.003], 0.3333333333333333)
    """

    samples: Floats
    weights: Floats

    def __init__(self, samples: ArrayLike, weights: ArrayLike | None = None) -> None:
        given = floats("samples", samples)
        weight = shares("weights", np.ones(len(given)) if weights is None else weights, len(given))
        values, index = np.unique(given, return_inverse=True)
        merged = np.bincount(index, weight)
        store(self, samples=values[merged > 0.0], weights=merged[merged > 0.0])
        positive("mean of the samples", self.mean)

    @cached_property
    def scv(self) -> float:
        """Weighted squared deviations over mean²."""
        return float(self.weights @ (self.samples / self.mean - 1.0) ** 2)

    @property
    def support(self) -> tuple[float, float]:
        """Smallest and largest sample."""
        return float(self.samples[0]), float(self.samples[-1])

    def moment(self, k: int) -> float:
        """Weighted sum of the k-th powers."""
        return float(self.weights @ self.samples ** count("k", k))

    def sf(self, t: ArrayLike) -> Floats:
        """Weight of the samples above t."""
        return np.asarray(self._after[np.searchsorted(self.samples, _signed(t), side="right")])

    def cdf(self, t: ArrayLike) -> Floats:
        """Weight of the samples up to t."""
        return np.asarray(self._upto[np.searchsorted(self.samples, _signed(t), side="right")])

    def quantile(self, p: ArrayLike) -> Floats:
        """Smallest sample with at least the weight p up to it, to rounding."""
        p = levels(p)
        up = np.searchsorted(self._upto[1:] * (1.0 + 1e-15), p)
        down = len(self.samples) - np.searchsorted(self._after[::-1], (1.0 - p) * (1.0 + 1e-15), side="right")
        return np.asarray(self.samples[np.clip(np.where(p > 0.5, down, up), 0, len(self.samples) - 1)])

    def lst(self, s: ArrayLike) -> NDArray[Any]:
        """Weighted sum of e^{−s·sample}."""
        s = points(s)
        one_by_one = [np.exp(-x * self.samples) @ self.weights for x in s.ravel()]  # samples may be millions
        return np.array(one_by_one, dtype=s.dtype).reshape(s.shape)

    def residual(self) -> Histogram:
        """Density in steps, one at each sample."""
        edges = np.union1d([0.0], self.samples)
        return Histogram(edges, self.sf(edges[:-1]) * np.diff(edges))

    def sample(self, rng: np.random.Generator, size: int) -> Floats:
        """Draw `size` of the samples [s], with replacement."""
        return self.samples[np.searchsorted(self._upto[1:-1], rng.random(size), side="right")]

    @cached_property
    def _upto(self) -> Floats:
        """Weight of the first 0, 1, 2, ... samples."""
        return np.asarray(np.minimum(np.concatenate([[0.0], np.cumsum(self.weights)]), 1.0))

    @cached_property
    def _after(self) -> Floats:
        """Weight of all but the first 0, 1, 2, ... samples."""
        return np.asarray(np.minimum(np.concatenate([np.cumsum(self.weights[::-1])[::-1], [0.0]]), 1.0))


def _signed(t: ArrayLike) -> Floats:
    """`t` as times, but −1 for those before 0: a sample may be 0."""
    return np.where(np.asarray(t, dtype=np.float64) < 0.0, -1.0, times(t))
