"""Lognormal law: log S is normal. The usual fit to storage latencies with a moderate tail.

With σ² = log(1 + scv) and μ = log(mean) − σ²/2, E[S^k] = mean^k (1 + scv)^{k(k−1)/2} (Johnson, Kotz, Balakrishnan,
Continuous Univariate Distributions 1, 1994, chapter 14). The transform has no closed form (`law.py` integrates).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory.arguments import count, positive
from qtheory.laws.law import Law, in_units, levels

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Lognormal(Law):
    """Lognormal law with the given mean [s] and squared coefficient of variation, both positive; ValueError otherwise.

    Examples
    --------
    >>> law = Lognormal(mean=400e-6, scv=2.0)
    >>> round(float(law.quantile(0.5)) / law.mean, 12) == round(1 / 3**0.5, 12)
    True
    """

    rounding = 0.0
    mean: float = field()
    scv: float = field()

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", positive("mean", self.mean))
        object.__setattr__(self, "scv", positive("scv", self.scv))

    @property
    def sigma(self) -> float:
        """Standard deviation of log S."""
        return math.sqrt(math.log1p(self.scv))

    def moment(self, k: int) -> float:
        """mean^k (1 + scv)^{k(k−1)/2}."""
        return self.mean ** count("k", k) * (1.0 + self.scv) ** (k * (k - 1) // 2)

    def sf(self, t: ArrayLike) -> Floats:
        """Φ((μ − log t)/σ)."""
        from scipy.special import ndtr

        return np.asarray(ndtr(-self._standard(t)))

    def cdf(self, t: ArrayLike) -> Floats:
        """Φ((log t − μ)/σ)."""
        from scipy.special import ndtr

        return np.asarray(ndtr(self._standard(t)))

    def quantile(self, p: ArrayLike) -> Floats:
        """e^{μ + σ Φ^{−1}(p)}."""
        from scipy.special import ndtri

        p = levels(p)
        z = np.where(p > 0.5, -ndtri(1.0 - p), ndtri(p))
        return np.asarray(self.mean * np.exp(self.sigma * (z - self.sigma / 2.0)))

    def sample(self, rng: np.random.Generator, size: int) -> Floats:
        """Draw `size` independent service times [s]."""
        return self.mean * rng.lognormal(-(self.sigma**2) / 2.0, self.sigma, size)

    def _standard(self, t: ArrayLike) -> Floats:
        """(log t − μ)/σ."""
        with np.errstate(divide="ignore"):
            return np.log(in_units(t, self.mean)) / self.sigma + self.sigma / 2.0
