"""Exponential service: P(S > t) = exp(−t / mean). No memory, so the number present is all a solver needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory.arguments import positive


@dataclass(frozen=True)
class Exponential:
    """Exponential law with the given mean.

    Parameters
    ----------
    mean : float
        E[S] in seconds, positive and finite; ValueError otherwise.

    Examples
    --------
    >>> law = Exponential(mean=400e-6)
    >>> law.scv, float(law.quantile(0.5)) / law.mean
    (1.0, 0.6931471805599453)
    """

    mean: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", positive("mean", self.mean))

    @property
    def scv(self) -> float:
        """Always 1."""
        return 1.0

    def sf(self, t: ArrayLike) -> NDArray[np.float64]:
        """P(S > t) = exp(−t/mean), 1 for negative t."""
        return np.asarray(np.exp(-np.maximum(np.asarray(t, dtype=float), 0.0) / self.mean))

    def quantile(self, p: ArrayLike) -> NDArray[np.float64]:
        """−mean · log(1 − p)."""
        return np.asarray(-self.mean * np.log1p(-np.asarray(p, dtype=float)))

    def sample(self, rng: np.random.Generator, size: int) -> NDArray[np.float64]:
        """Draw `size` independent service times [s]."""
        return rng.exponential(self.mean, size)
