"""Deterministic service: every request takes the same time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory.arguments import count, positive
from qtheory.laws.histogram import Histogram
from qtheory.laws.law import Law, levels, points, times

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Deterministic(Law):
    """Every request takes `value` seconds, positive and finite; ValueError otherwise.

    Examples
    --------
    >>> law = Deterministic(100e-6)
    >>> law.scv, law.residual().mean
    (0.0, 5e-05)
    """

    value: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", positive("value", self.value))

    @property
    def scv(self) -> float:
        """Always 0."""
        return 0.0

    @property
    def support(self) -> tuple[float, float]:
        """The value, twice."""
        return self.value, self.value

    def moment(self, k: int) -> float:
        """value^k."""
        return self.value ** count("k", k)

    def sf(self, t: ArrayLike) -> Floats:
        """1 before the value, 0 from it on."""
        return np.where(times(t) < self.value, 1.0, 0.0)

    def quantile(self, p: ArrayLike) -> Floats:
        """The value, for every p."""
        return np.full(levels(p).shape, self.value)

    def lst(self, s: ArrayLike) -> NDArray[Any]:
        """e^{−s value}."""
        return np.asarray(np.exp(-points(s) * self.value))

    def residual(self) -> Histogram:
        """Uniform between 0 and the value."""
        return Histogram([0.0, self.value], [1.0])

    def sample(self, rng: np.random.Generator, size: int) -> Floats:
        """`size` times the value [s]."""
        return np.full(size, self.value)
