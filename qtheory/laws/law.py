"""What a service-time law is, and what follows for any law from its survival function.

A law is the distribution of one request's service time S >= 0, in seconds. A new law needs three things: its survival
function `sf`, its moments and a sampler. The rest is derived here, and overridden where a closed form exists:

* the quantile, the smallest t with P(S <= t) >= p. Floats that are not negative are ordered as their bit patterns are,
  so bisection on the bits finds it to the last bit in 63 steps, over all magnitudes. By Markov's inequality it starts
  below mean/(1 − p). Above the median it looks at P(S > t), below at P(S <= t), so both tails are right;
* the transform E[e^{−sS}]. With m the median, and integrating by parts on either side of it,

      E[e^{−sS}] = e^{−sm} + s ∫_0^m e^{−st} P(S <= t) dt − s ∫_m^∞ e^{−st} P(S > t) dt,

  without cancellation for s >= 0 and convergent for Re s >= 0. `panels.py` integrates. The relative error is below
  1e-10 for real s; for complex s it is 1e-10 of E[e^{−Re(s) S}], times |Im s| · mean where that is large. Where the
  tails of a law are not right to the last (`rounding`), neither is its transform for large s;
* the residual law (`residual.py`), that of what is left of the service time in progress at a random moment.

Arguments are checked once, at the door: NaN, a probability outside [0, 1] and Re s < 0 are refused.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory.laws.panels import Panels

if TYPE_CHECKING:
    from qtheory.laws.phase_type import PhaseType

Floats = NDArray[np.float64]

TINY = 1e-307
"""Where the tail of a law is cut off."""


class Law(ABC):
    """Distribution of a service time that is not negative, in seconds.

    Examples
    --------
    A law of one's own: the larger of two exponentials of mean 1.

    >>> class Larger(Law):
    ...     def sf(self, t):
    ...         t = times(t)
    ...         return np.exp(-t) * (2.0 - np.exp(-t))
    ...     def moment(self, k):
    ...         return math.factorial(k) * (2.0 - 2.0**-k)
    ...     def sample(self, rng, size):
    ...         return rng.exponential(size=(2, size)).max(axis=0)
    >>> law = Larger()
    >>> law.mean, round(float(law.quantile(0.75)), 12) == round(-math.log(1 - math.sqrt(0.75)), 12)
    (1.5, True)
    >>> round(float(law.lst(1.0)), 12) == round(2.0 * (1 / 2 - 1 / 3), 12)
    True
    """

    rounding: ClassVar[float] = 1e-15
    """Absolute error of `sf` and `cdf`; 0 when their relative error is rounding, far into the tails."""

    @abstractmethod
    def sf(self, t: ArrayLike) -> Floats:
        """P(S > t); 1 for negative t."""

    @abstractmethod
    def moment(self, k: int) -> float:
        """E[S^k] [s^k], k = 1, 2, 3, ..."""

    @abstractmethod
    def sample(self, rng: np.random.Generator, size: int) -> Floats:
        """Draw `size` independent service times [s]."""

    # Cached, not plain properties: a law whose parameter the mean is stores it in their place.
    @cached_property
    def mean(self) -> float:
        """E[S] [s]."""
        return self.moment(1)

    @cached_property
    def scv(self) -> float:
        """Squared coefficient of variation, Var[S] / E[S]²: 0 deterministic, 1 exponential."""
        return self.moment(2) / self.mean / self.mean - 1.0

    @property
    def support(self) -> tuple[float, float]:
        """Smallest and largest service time [s]; the largest may be inf."""
        return 0.0, math.inf

    def cdf(self, t: ArrayLike) -> Floats:
        """P(S <= t); 0 for negative t."""
        return np.where(np.asarray(t) < 0.0, 0.0, 1.0 - np.asarray(self.sf(t)))

    def quantile(self, p: ArrayLike) -> Floats:
        """Smallest t [s] with P(S <= t) >= p, 0 <= p <= 1; the ends of the support at 0 and 1."""
        p = levels(p)
        low, high = self.support
        inside = (p > 0.0) & (p < 1.0)
        bound = np.minimum(np.where(inside, self.mean * 1.000001 / np.where(inside, 1.0 - p, 1.0), low), high)
        first, last = np.full(p.shape, low).view(np.int64), bound.view(np.int64)
        while np.any(first < last):
            middle = first + (last - first) // 2
            t = middle.view(np.float64)
            reached = np.where(p > 0.5, self.sf(t) <= 1.0 - p, self.cdf(t) >= p)
            first, last = np.where(reached, first, np.minimum(middle + 1, last)), np.where(reached, middle, last)
        return np.where(p == 1.0, high, last.view(np.float64))

    def lst(self, s: ArrayLike) -> NDArray[Any]:
        """Laplace–Stieltjes transform E[e^{−sS}], Re s >= 0 [1/s]; complex where s is.

        ArithmeticError when the survival function is too rough to integrate.
        """
        s = points(s)
        median, below, above = self._parts
        value = np.exp(-s * median) + s * (below.transform(s) - above.transform(s, start=median))
        return np.asarray(value if np.iscomplexobj(value) else np.maximum(value, 0.0))

    def residual(self) -> Law:
        """The equilibrium law, with density P(S > t)/mean: what is left of a service found in progress."""
        from qtheory.laws.residual import Residual

        return Residual(self)

    def phase_type(self) -> PhaseType:
        """The same law as a PhaseType; TypeError when it is not of phase type."""
        raise TypeError(f"{type(self).__name__} is not of phase type: fit one to it")

    @cached_property
    def _survival(self) -> Panels:
        """P(S > t) in panels."""
        _, high = self.support
        t = np.ldexp(self.mean, np.arange(-200, min(1000, 1000 - math.frexp(self.mean)[1])))
        t = t[: int(np.count_nonzero(self.sf(t) > TINY)) + 2]
        return Panels(
            self.sf, self._with_knots(np.concatenate([[0.0], t[t < high]]), 0.0, min(high, float(t[-1]))), self.rounding
        )

    @cached_property
    def _parts(self) -> tuple[float, Panels, Panels]:
        """The median, P(S <= t) in panels below it and P(S > t) in panels with an edge at it."""
        median = float(self.quantile(0.5)) or self.mean  # any point between does as well
        t = np.ldexp(median, np.arange(max(-1000, -1000 - math.frexp(median)[1]), 1))
        t = t[max(0, int(np.argmax(self.cdf(t) > TINY)) - 1) :]  # from where nothing is below
        below = Panels(self.cdf, self._with_knots(t, float(t[0]), median), self.rounding)
        survival = self._survival
        edges = np.append(survival.left, survival.right[-1])
        return median, below, Panels(self.sf, np.union1d(edges[edges > median], [median]), self.rounding)

    def _with_knots(self, edges: Floats, low: float, high: float) -> Floats:
        """`edges` and the points where the survival function is not smooth, between `low` and `high`."""
        knots = self._knots()
        return np.union1d(np.union1d(edges, [low, high]), knots[(knots > low) & (knots < high)])

    def _knots(self) -> Floats:
        """Points where the survival function is not smooth."""
        return np.array(self.support)


def times(t: ArrayLike) -> Floats:
    """`t` as an array of times, negative ones moved to 0; NaN is refused."""
    array = np.asarray(t, dtype=np.float64)
    if np.isnan(array).any():
        raise ValueError(f"t must be a time in seconds, not {t!r}")
    return np.maximum(array, 0.0)


def in_units(t: ArrayLike, unit: float | Floats) -> Floats:
    """`t` as an array of times in units of `unit` [s]; one too long for a float is inf."""
    with np.errstate(over="ignore"):
        return np.asarray(times(t) / unit)


def levels(p: ArrayLike) -> Floats:
    """`p` as an array of probabilities; what lies outside [0, 1] is refused."""
    array = np.asarray(p, dtype=np.float64)
    if not np.all((array >= 0.0) & (array <= 1.0)):
        raise ValueError(f"p must lie between 0 and 1, not {p!r}")
    return array


def points(s: ArrayLike) -> NDArray[Any]:
    """`s` as an array of floats or complex numbers with Re s >= 0; others are refused."""
    array = np.asarray(s)
    array = array.astype(np.complex128 if np.iscomplexobj(array) else np.float64)
    if not (np.all(np.isfinite(array)) and np.all(np.real(array) >= 0.0)):
        raise ValueError(f"s must be finite with a real part >= 0, not {s!r}")
    return array
