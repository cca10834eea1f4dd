"""What `drain_time` returns: the law of the time from the stop until the last taken request completes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from qtheory.arguments import nonnegative, probability
from qtheory.result import Result


@dataclass(frozen=True, kw_only=True)
class DrainTime(Result):
    """Law of the drain time; SI units.

    Attributes
    ----------
    mean, variance : float
        E[T] [s] and Var[T] [s²].
    population_pmf : ndarray
        population_pmf[m] = P(the drain waits for m requests).
    """

    mean: float
    variance: float
    population_pmf: NDArray[np.float64] = field(repr=False)
    _sf: Callable[[float], float] = field(repr=False, compare=False)

    def sf(self, t: float) -> float:
        """P(T > t), t >= 0 in seconds; computed as such, so small probabilities keep their digits."""
        return min(max(self._sf(nonnegative("t", t)), 0.0), 1.0)

    def cdf(self, t: float) -> float:
        """P(T <= t), t >= 0 in seconds."""
        return 1.0 - self.sf(t)

    def quantile(self, p: float) -> float:
        """Smallest t [s] with P(T <= t) >= p, 0 < p < 1; 0 when nothing is to be drained that often."""
        rest = 1.0 - probability("p", p)
        if self.sf(0.0) <= rest:
            return 0.0
        high = max(self.mean, 1e-300)
        while self.sf(high) > rest:
            high *= 2.0
        low = high / 2.0
        while self.sf(low) <= rest:
            high, low = low, low / 2.0
        return float(brentq(lambda t: self.sf(t) - rest, low, high, xtol=1e-14 * low, rtol=1e-13))
