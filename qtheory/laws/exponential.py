"""Exponential service: P(S > t) = exp(−t / mean). No memory, so the number present is all a solver needs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory.arguments import count, positive
from qtheory.laws.law import Law, in_units, levels, points
from qtheory.laws.phase_type import PhaseType

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Exponential(Law):
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

    mean: float = field()

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", positive("mean", self.mean))

    @property
    def scv(self) -> float:
        """Always 1."""
        return 1.0

    def moment(self, k: int) -> float:
        """k! mean^k."""
        return math.factorial(count("k", k)) * self.mean**k

    def sf(self, t: ArrayLike) -> Floats:
        """P(S > t) = exp(−t/mean), 1 for negative t."""
        return np.asarray(np.exp(-in_units(t, self.mean)))

    def cdf(self, t: ArrayLike) -> Floats:
        """1 − exp(−t/mean)."""
        return np.asarray(-np.expm1(-in_units(t, self.mean)))

    def quantile(self, p: ArrayLike) -> Floats:
        """−mean · log(1 − p)."""
        with np.errstate(divide="ignore"):
            return np.asarray(-self.mean * np.log1p(-levels(p)))

    def lst(self, s: ArrayLike) -> NDArray[Any]:
        """1 / (1 + s mean)."""
        return np.asarray(1.0 / (1.0 + points(s) * self.mean))

    def residual(self) -> Exponential:
        """The law itself: what is left does not depend on what is done."""
        return self

    def phase_type(self) -> PhaseType:
        """One phase."""
        return PhaseType([1.0], [[-1.0 / self.mean]])

    def sample(self, rng: np.random.Generator, size: int) -> Floats:
        """Draw `size` independent service times [s]."""
        return rng.exponential(self.mean, size)
