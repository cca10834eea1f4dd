"""Hyperexponential law: an exponential whose mean is picked at random. More variable than exponential, scv >= 1.

P(S > t) = Σ p_i e^{−t/m_i}. Two phases can be fitted to a mean and an scv with balanced means, p₁m₁ = p₂m₂ (Allen,
Probability, Statistics, and Queueing Theory, 1978; Tijms, A First Course in Stochastic Models, 2003, appendix B),
or to three moments (Whitt, Approximating a point process by a renewal process I, 1982): with r_k = E[S^k]/k! the phase
means are the roots of x² − ax + b, a = (r₃ − r₁r₂)/(r₂ − r₁²), b = (r₁r₃ − r₂²)/(r₂ − r₁²).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory.arguments import count, positive
from qtheory.laws import arrays
from qtheory.laws.arrays import ByValue, floats, store
from qtheory.laws.law import Law, in_units, points
from qtheory.laws.phase_type import PhaseType

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Hyperexponential(ByValue, Law):
    """Exponential of mean `means[i]` [s] with probability `probabilities[i]`.

    Parameters
    ----------
    probabilities, means : array-like
        Equally many; probabilities sum to 1, means are positive. ValueError otherwise.

    Examples
    --------
    >>> law = Hyperexponential.balanced(mean=1e-3, scv=4.0)
    >>> round(law.scv, 12), law.means.round(6).tolist()
    (4.0, [0.000564, 0.004436])
    """

    probabilities: Floats
    means: Floats

    def __init__(self, probabilities: ArrayLike, means: ArrayLike) -> None:
        p, m = arrays.probabilities("probabilities", probabilities), floats("means", means)
        if len(p) != len(m):
            raise ValueError(f"means must have one value for each of the {len(p)} probabilities, not {len(m)}")
        for i, mean in enumerate(m):
            positive(f"means[{i}]", float(mean))
        store(self, probabilities=p, means=m)

    @classmethod
    def balanced(cls, mean: float, scv: float) -> Hyperexponential:
        """Two phases with the same share of the work and this mean [s] and scv >= 1; ValueError otherwise."""
        mean, scv = positive("mean", mean), positive("scv", scv)
        if scv < 1.0:
            raise ValueError(f"scv must be at least 1 for a hyperexponential law, not {scv}")
        root = math.sqrt((scv - 1.0) / (scv + 1.0))
        p = np.array([(1.0 + root) / 2.0, 1.0 / ((scv + 1.0) * (1.0 + root))])  # the second is (1 − root)/2
        return cls(p, mean / (2.0 * p))

    @classmethod
    def from_moments(cls, m1: float, m2: float, m3: float) -> Hyperexponential:
        """Two phases with these moments E[S^k] [s^k].

        They exist when m2 > 2 m1² (scv above 1) and m3 > 1.5 m2²/m1; ValueError otherwise. At equality one phase
        would have the mean 0.

        Examples
        --------
        >>> law = Hyperexponential.from_moments(1.0, 3.0, 20.0)
        >>> round(law.moment(3), 9)
        20.0
        """
        m1, m2, m3 = positive("m1", m1), positive("m2", m2), positive("m3", m3)
        r2, r3 = m2 / m1 / m1 / 2.0, m3 / m1 / m1 / m1 / 6.0
        if r2 <= 1.0:
            raise ValueError(f"m2 must exceed 2 m1² = {2.0 * m1 * m1} for a hyperexponential law, not {m2}")
        if r3 <= r2 * r2:
            raise ValueError(f"m3 must exceed 1.5 m2²/m1 = {1.5 * m2 * m2 / m1} with this m1 and m2, not {m3}")
        a, b = (r3 - r2) / (r2 - 1.0), (r3 - r2 * r2) / (r2 - 1.0)
        long = (a + math.sqrt(a * a - 4.0 * b)) / 2.0
        short = b / long
        p = np.array([long - 1.0, 1.0 - short]) / (long - short)
        return cls(p / p.sum(), [short * m1, long * m1])

    @cached_property
    def scv(self) -> float:
        """2 Σ p_i m_i² / mean² − 1, as the variance of the phase means."""
        spread = self.probabilities @ (self.means / self.mean - 1.0) ** 2
        return 1.0 + 2.0 * float(spread)

    def moment(self, k: int) -> float:
        """k! Σ p_i m_i^k."""
        return math.factorial(count("k", k)) * float(self.probabilities @ self.means**k)

    def sf(self, t: ArrayLike) -> Floats:
        """Σ p_i e^{−t/m_i}."""
        return np.minimum(np.exp(-in_units(np.asarray(t)[..., None], self.means)) @ self.probabilities, 1.0)

    def cdf(self, t: ArrayLike) -> Floats:
        """Σ p_i (1 − e^{−t/m_i})."""
        return np.minimum(-np.expm1(-in_units(np.asarray(t)[..., None], self.means)) @ self.probabilities, 1.0)

    def lst(self, s: ArrayLike) -> NDArray[Any]:
        """Σ p_i / (1 + s m_i)."""
        return np.asarray((1.0 / (1.0 + points(s)[..., None] * self.means)) @ self.probabilities)

    def residual(self) -> Hyperexponential:
        """The same phases, weighted by their share of the work."""
        work = self.probabilities * self.means
        return Hyperexponential(work / work.sum(), self.means)

    def phase_type(self) -> PhaseType:
        """The phases side by side."""
        return PhaseType(self.probabilities, np.diag(-1.0 / self.means))

    def sample(self, rng: np.random.Generator, size: int) -> Floats:
        """Draw `size` independent service times [s]."""
        phase = np.searchsorted(np.cumsum(self.probabilities)[:-1], rng.random(size), side="right")
        return rng.standard_exponential(size) * self.means[phase]
