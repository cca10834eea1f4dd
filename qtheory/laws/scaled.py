"""A law at another scale, or with a fixed time on top: the same device, slower, or behind a fixed overhead."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory.arguments import count, nonnegative, positive
from qtheory.laws.histogram import Histogram
from qtheory.laws.law import Law, levels, points
from qtheory.laws.mixture import Mixture
from qtheory.laws.phase_type import PhaseType
from qtheory.laws.scipy_law import law_of

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scaled(Law):
    """`factor` times a service time of `law`; the factor is positive, ValueError otherwise.

    Examples
    --------
    >>> from qtheory.laws import Exponential
    >>> Scaled(Exponential(mean=1e-3), 2.0).mean
    0.002
    """

    law: Law
    factor: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "law", law_of(self.law))
        object.__setattr__(self, "factor", positive("factor", self.factor))

    @cached_property
    def scv(self) -> float:
        """That of the law: it has no unit."""
        return self.law.scv

    @property
    def support(self) -> tuple[float, float]:
        """That of the law, scaled."""
        low, high = self.law.support
        return low * self.factor, high * self.factor

    def moment(self, k: int) -> float:
        """factor^k E[S^k]."""
        return self.factor ** count("k", k) * self.law.moment(k)

    def sf(self, t: ArrayLike) -> Floats:
        """P(S > t/factor)."""
        return self.law.sf(self._unscaled(t))

    def cdf(self, t: ArrayLike) -> Floats:
        """P(S <= t/factor)."""
        return self.law.cdf(self._unscaled(t))

    def quantile(self, p: ArrayLike) -> Floats:
        """That of the law, scaled."""
        return self.factor * self.law.quantile(p)

    def lst(self, s: ArrayLike) -> NDArray[Any]:
        """E[e^{−s·factor·S}]."""
        return self.law.lst(np.asarray(s) * self.factor)

    def residual(self) -> Scaled:
        """Residual law, scaled."""
        return Scaled(self.law.residual(), self.factor)

    def phase_type(self) -> PhaseType:
        """The same phases at other rates; TypeError when the law is not of phase type."""
        phases = self.law.phase_type()
        return PhaseType(phases.alpha, phases.T / self.factor)

    def sample(self, rng: np.random.Generator, size: int) -> Floats:
        """Draw `size` independent service times [s]."""
        return self.factor * self.law.sample(rng, size)

    def _knots(self) -> Floats:
        return self.factor * self.law._knots()

    def _unscaled(self, t: ArrayLike) -> Floats:
        """`t` in the law's own time; what is too long for a float is inf."""
        with np.errstate(over="ignore"):
            return np.asarray(np.asarray(t) / self.factor)


@dataclass(frozen=True)
class Shifted(Law):
    """A service time of `law` after a fixed time `by` [s], finite and not negative; ValueError otherwise.

    Examples
    --------
    >>> from qtheory.laws import Exponential
    >>> law = Shifted(Exponential(mean=1e-3), by=1e-3)
    >>> law.mean, law.scv
    (0.002, 0.25)
    """

    law: Law
    by: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "law", law_of(self.law))
        object.__setattr__(self, "by", nonnegative("by", self.by))

    @cached_property
    def scv(self) -> float:
        """The same variance over a larger mean²."""
        return self.law.scv * (self.law.mean / self.mean) ** 2

    @property
    def support(self) -> tuple[float, float]:
        """That of the law, shifted."""
        low, high = self.law.support
        return low + self.by, high + self.by

    def moment(self, k: int) -> float:
        """Binomial sum of the law's moments."""
        k = count("k", k)
        terms = (math.comb(k, j) * self.by ** (k - j) * self.law.moment(j) for j in range(1, k + 1))
        return self.by**k + math.fsum(terms)

    def sf(self, t: ArrayLike) -> Floats:
        """P(S > t − by)."""
        return self.law.sf(np.asarray(t) - self.by)

    def cdf(self, t: ArrayLike) -> Floats:
        """P(S <= t − by)."""
        return self.law.cdf(np.asarray(t) - self.by)

    def quantile(self, p: ArrayLike) -> Floats:
        """That of the law, shifted."""
        return self.by + self.law.quantile(levels(p))

    def lst(self, s: ArrayLike) -> NDArray[Any]:
        """e^{−s·by} E[e^{−sS}]."""
        return np.asarray(np.exp(-points(s) * self.by) * self.law.lst(s))

    def residual(self) -> Law:
        """In the fixed time, anywhere and all of the law to come; or in the law's own part."""
        if self.by == 0.0:
            return self.law.residual()
        return Mixture(
            [Histogram([0.0, self.by], [1.0]), Shifted(self.law.residual(), self.by)], [self.by, self.law.mean]
        )

    def sample(self, rng: np.random.Generator, size: int) -> Floats:
        """Draw `size` independent service times [s]."""
        return self.by + self.law.sample(rng, size)

    def _knots(self) -> Floats:
        return np.append(self.by + self.law._knots(), self.by)
