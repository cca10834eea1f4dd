"""Gamma law, and Erlang's, which is a gamma law of whole shape: the sum of so many equal exponential phases.

With shape a = 1/scv and scale θ = mean · scv, P(S > t) = Γ(a, t/θ)/Γ(a), E[S^k] = θ^k a(a+1)...(a+k−1) and E[e^{−sS}] =
(1 + sθ)^{−a} (Johnson, Kotz, Balakrishnan, Continuous Univariate Distributions 1, 1994, chapter 17). An Erlang service
found in progress is in each of its phases with equal probability, so what is left is a mixture of shorter ones.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory.arguments import count, positive
from qtheory.laws.law import Law, in_units, levels, points
from qtheory.laws.mixture import Mixture
from qtheory.laws.phase_type import PhaseType

Floats = NDArray[np.float64]


class OfShape(Law):
    """What both have in common, in terms of shape and mean."""

    rounding = 0.0
    mean: float

    @property
    @abstractmethod
    def shape(self) -> float:
        """Shape parameter a."""

    @property
    def scale(self) -> float:
        """Scale parameter θ [s]."""
        return self.mean / self.shape

    def moment(self, k: int) -> float:
        """θ^k a(a+1)...(a+k−1)."""
        return math.prod(self.mean * (1.0 + i / self.shape) for i in range(count("k", k)))

    def sf(self, t: ArrayLike) -> Floats:
        """Γ(a, t/θ)/Γ(a)."""
        from scipy.special import gammaincc

        return np.asarray(gammaincc(self.shape, in_units(t, self.scale)))

    def cdf(self, t: ArrayLike) -> Floats:
        """γ(a, t/θ)/Γ(a)."""
        from scipy.special import gammainc

        return np.asarray(gammainc(self.shape, in_units(t, self.scale)))

    def quantile(self, p: ArrayLike) -> Floats:
        """The inverse of the nearer tail."""
        from scipy.special import gammainccinv, gammaincinv

        p = levels(p)
        return np.asarray(self.scale * np.where(p > 0.5, gammainccinv(self.shape, 1.0 - p), gammaincinv(self.shape, p)))

    def lst(self, s: ArrayLike) -> NDArray[Any]:
        """(1 + sθ)^{−a}."""
        from scipy.special import log1p

        return np.asarray(np.exp(-self.shape * log1p(points(s) * self.scale)))

    def sample(self, rng: np.random.Generator, size: int) -> Floats:
        """Draw `size` independent service times [s]."""
        return rng.gamma(self.shape, self.scale, size)


@dataclass(frozen=True)
class Gamma(OfShape):
    """Gamma law with the given mean [s] and squared coefficient of variation, both positive; ValueError otherwise.

    Examples
    --------
    >>> law = Gamma(mean=1e-3, scv=4.0)
    >>> law.shape, law.moment(2) == 5e-6
    (0.25, True)
    """

    mean: float = field()
    scv: float = field()

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", positive("mean", self.mean))
        object.__setattr__(self, "scv", positive("scv", self.scv))

    @property
    def shape(self) -> float:
        """1/scv."""
        return 1.0 / self.scv


@dataclass(frozen=True)
class Erlang(OfShape):
    """Sum of `phases` equal exponential phases, at least 1, with the given mean [s] in all; ValueError otherwise.

    Examples
    --------
    >>> law = Erlang(phases=4, mean=1e-3)
    >>> law.scv, law.phase_type().T.shape
    (0.25, (4, 4))
    """

    phases: int
    mean: float = field()

    def __post_init__(self) -> None:
        object.__setattr__(self, "phases", count("phases", self.phases))
        object.__setattr__(self, "mean", positive("mean", self.mean))

    @property
    def shape(self) -> float:
        """The number of phases."""
        return float(self.phases)

    @property
    def scv(self) -> float:
        """1/phases."""
        return 1.0 / self.phases

    def residual(self) -> Mixture:
        """As many phases to go as any other number up to all of them."""
        return Mixture([Erlang(j, self.scale * j) for j in range(1, self.phases + 1)], np.ones(self.phases))

    def phase_type(self) -> PhaseType:
        """The phases in a row."""
        rate = self.phases / self.mean
        T = np.diag(np.full(self.phases, -rate)) + np.diag(np.full(self.phases - 1, rate), 1)
        return PhaseType(np.eye(1, self.phases)[0], T)
