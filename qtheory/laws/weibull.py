"""Weibull law: P(S > t) = exp(−(t/λ)^a). Stretched tails for a < 1, exponential at a = 1, nearly fixed times beyond.

E[S^k] = λ^k Γ(1 + k/a), so the scv alone decides the shape a: log Γ(1 + 2x) − 2 log Γ(1 + x) = log(1 + scv), x = 1/a,
which rises with x and is solved in log x by Brent's method (1973). For small x the left side is a difference of almost
equal numbers, so it is summed as a power series, Σ (−1)^n ζ(n) (2^n − 2) x^n / n over n >= 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory.arguments import count, positive
from qtheory.laws.law import Law, in_units, levels

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Weibull(Law):
    """Weibull law with the given mean [s], positive, and scv from 1e-4 to 1e4; ValueError otherwise.

    Examples
    --------
    >>> round(Weibull(mean=1.0, scv=1.0).shape, 12), round(Weibull(mean=1.0, scv=5.0).shape, 12)
    (1.0, 0.5)
    """

    rounding = 0.0
    mean: float = field()
    scv: float = field()

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", positive("mean", self.mean))
        object.__setattr__(self, "scv", positive("scv", self.scv))
        if not 1e-4 <= self.scv <= 1e4:
            raise ValueError(f"scv must lie between 1e-4 and 1e4 for a Weibull law, not {self.scv}")

    @cached_property
    def shape(self) -> float:
        """The shape a."""
        from scipy.optimize import brentq
        from scipy.special import zeta

        order = np.arange(2, 60)
        series = (-1.0) ** order * zeta(order) * (2.0**order - 2.0) / order

        def excess(log_x: float) -> float:
            x = math.exp(log_x)
            if x < 0.25:
                return float(series @ x**order) - math.log1p(self.scv)
            return math.lgamma(1.0 + 2.0 * x) - 2.0 * math.lgamma(1.0 + x) - math.log1p(self.scv)

        return math.exp(-brentq(excess, math.log(1e-3), math.log(100.0), xtol=1e-15, rtol=1e-15))

    @cached_property
    def scale(self) -> float:
        """The scale λ [s]."""
        return self.mean / math.gamma(1.0 + 1.0 / self.shape)

    def moment(self, k: int) -> float:
        """λ^k Γ(1 + k/a)."""
        return self.scale ** count("k", k) * math.gamma(1.0 + k / self.shape)

    def sf(self, t: ArrayLike) -> Floats:
        """exp(−(t/λ)^a)."""
        return np.asarray(np.exp(-self._hazard(t)))

    def cdf(self, t: ArrayLike) -> Floats:
        """1 − exp(−(t/λ)^a)."""
        return np.asarray(-np.expm1(-self._hazard(t)))

    def quantile(self, p: ArrayLike) -> Floats:
        """λ (−log(1 − p))^{1/a}."""
        with np.errstate(divide="ignore"):
            return np.asarray(self.scale * (-np.log1p(-levels(p))) ** (1.0 / self.shape))

    def sample(self, rng: np.random.Generator, size: int) -> Floats:
        """Draw `size` independent service times [s]."""
        return self.scale * rng.weibull(self.shape, size)

    def _hazard(self, t: ArrayLike) -> Floats:
        """(t/λ)^a."""
        with np.errstate(over="ignore"):
            return np.asarray(in_units(t, self.scale) ** self.shape)
