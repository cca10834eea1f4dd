"""Bounded Pareto law: density proportional to t^{−a−1} between a lowest and a highest time.

The model of heavy-tailed work that is still finite (Harchol-Balter, Performance Modeling and Design of Computer
Systems, 2013, chapter 20). With ℓ = log(high/low) and ε(x) = (e^x − 1)/x, also where k = a,

    E[S^k] = low^k ε((k − a)ℓ) / ε(−aℓ).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory.arguments import count, positive
from qtheory.laws.law import Law, levels, times

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BoundedPareto(Law):
    """Bounded Pareto law.

    Parameters
    ----------
    shape : float
        The tail index a, positive.
    low, high : float
        Smallest and largest time [s], 0 < low < high. ValueError otherwise.

    Examples
    --------
    >>> law = BoundedPareto(shape=1.0, low=1.0, high=4.0)
    >>> float(law.sf(2.0)), law.mean == 4 / 3 * math.log(4)
    (0.3333333333333333, True)
    """

    rounding = 0.0
    shape: float
    low: float
    high: float

    def __post_init__(self) -> None:
        for name in ("shape", "low", "high"):
            object.__setattr__(self, name, positive(name, getattr(self, name)))
        if self.low >= self.high:
            raise ValueError(f"high must exceed low = {self.low}, not be {self.high}")

    @property
    def support(self) -> tuple[float, float]:
        """Lowest and highest."""
        return self.low, self.high

    @property
    def _width(self) -> float:
        """log(high/low)."""
        return math.log1p((self.high - self.low) / self.low)

    def moment(self, k: int) -> float:
        """low^k ε((k − a)ℓ) / ε(−aℓ)."""
        from scipy.special import exprel

        width = self._width
        return float(self.low ** count("k", k) * exprel((k - self.shape) * width) / exprel(-self.shape * width))

    def sf(self, t: ArrayLike) -> Floats:
        """((low/t)^a − (low/high)^a) / (1 − (low/high)^a)."""
        t = np.clip(times(t), self.low, self.high)
        # (low/t)^a · (1 − (t/high)^a): no difference of powers near the upper end
        tail = -np.expm1(-self.shape * np.log1p((self.high - t) / t))
        within = (self.low / t) ** self.shape * tail / -math.expm1(-self.shape * self._width)
        return np.where(t == self.low, 1.0, within)

    def cdf(self, t: ArrayLike) -> Floats:
        """(1 − (low/t)^a) / (1 − (low/high)^a)."""
        t = np.clip(times(t), self.low, self.high)
        head = -np.expm1(-self.shape * np.log1p((t - self.low) / self.low))
        return np.where(t == self.high, 1.0, head / -math.expm1(-self.shape * self._width))

    def quantile(self, p: ArrayLike) -> Floats:
        """low · (1 − p (1 − (low/high)^a))^{−1/a}."""
        p = levels(p)
        least, spread = math.exp(-self.shape * self._width), -math.expm1(-self.shape * self._width)
        log = np.where(p > 0.5, np.log((1.0 - p) * spread + least), np.log1p(-np.minimum(p, 0.5) * spread))
        return np.where(p == 1.0, self.high, np.clip(self.low * np.exp(-log / self.shape), self.low, self.high))

    def sample(self, rng: np.random.Generator, size: int) -> Floats:
        """Draw `size` independent service times [s], by inversion."""
        return self.quantile(rng.random(size))
