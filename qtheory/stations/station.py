"""What every station function returns: one type, the same names for all stations."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory.arguments import probability
from qtheory.result import Result

Floats = NDArray[np.float64]
T = TypeVar("T")
Survival = Callable[[float], float]
"""t [s] -> P(time > t), t >= 0."""

ROUNDING = 2.0**-52
LEFT_OUT = 1e-18
"""Probability left out at the end of the law of the number in an unbounded system."""
MOST_LEVELS = 10_000_000
"""Longest law of the number in system that is written out."""
MEANS = (
    "throughput",
    "blocking",
    "delay_probability",
    "mean_wait",
    "mean_response",
    "mean_in_system",
    "mean_in_queue",
    "utilization",
)
"""What every station has."""
LAWS = ("wait_quantile", "response_quantile")


@dataclass(frozen=True, kw_only=True)
class Station(Result):
    """One station in steady state; SI units. With `precision` the numbers are mpmath's.

    Attributes
    ----------
    throughput : float
        Accepted requests [1/s].
    blocking : float
        Fraction of arrivals refused.
    delay_probability : float
        Fraction of accepted requests that wait.
    mean_wait, mean_response : float
        From acceptance to start of service, and to completion, of accepted requests [s].
    mean_in_system, mean_in_queue : float
        Mean number in the system; of these, waiting.
    utilization : float
        Mean fraction of busy servers; 0 where there are infinitely many.

    Where a method does not give a law, asking for it raises ValueError with the reason.
    """

    throughput: float
    blocking: float
    delay_probability: float
    mean_wait: float
    mean_response: float
    mean_in_system: float
    mean_in_queue: float
    utilization: float
    _wait: Survival | str = field(repr=False, compare=False)
    _response: Survival | str = field(repr=False, compare=False)
    _pmf: Callable[[], Floats] | str = field(repr=False, compare=False)
    _resolved: float = field(default=0.0, repr=False, compare=False)
    """Smallest P(time > t) that the laws resolve."""

    @property
    def in_system_pmf(self) -> Floats:
        """P(n requests in the system), n = 0, 1, ...; of an unbounded system up to where 1e-18 is left."""
        return self._given("in_system_pmf", self._pmf)()

    def wait_sf(self, t: ArrayLike) -> Floats:
        """P(wait > t) of accepted requests, t in seconds."""
        return _everywhere(self._given("wait_sf", self._wait), t)

    def response_sf(self, t: ArrayLike) -> Floats:
        """P(response > t) of accepted requests, t in seconds."""
        return _everywhere(self._given("response_sf", self._response), t)

    def wait_quantile(self, p: float) -> float:
        """Smallest t [s] with P(wait <= t) >= p; 0 < p < 1."""
        return self._quantile(self._given("wait_quantile", self._wait), p)

    def response_quantile(self, p: float) -> float:
        """Smallest t [s] with P(response <= t) >= p; 0 < p < 1."""
        return self._quantile(self._given("response_quantile", self._response), p)

    def _quantile(self, law: Survival, p: float) -> float:
        """Quantile of a law, or a refusal where it does not resolve p."""
        level = 1.0 - probability("p", p)
        if level < self._resolved * (1.0 - 1e-9):
            raise ValueError(f"p must be at most 1 - {self._resolved:g} with method {self.method!r}, not {p}")
        return quantile(law, level, float(self.mean_response), smooth=self._resolved > 0.0)

    def _given(self, asked: str, law: T | str) -> T:
        if isinstance(law, str):
            raise ValueError(f"{asked} is not available from method {self.method!r}: {law}")
        return law


def quantile(sf: Survival, level: float, start: float, *, smooth: bool) -> float:
    """Smallest t with sf(t) <= level, bracketed from `start`; by bisection where the law may jump, else by Brent."""
    if sf(0.0) <= level:
        return 0.0
    high = start
    if sf(high) > level:
        while sf(high) > level:
            high *= 2.0
        low = high / 2.0
    else:
        low = high / 2.0
        while sf(low) <= level:
            high, low = low, low / 2.0
    if smooth:
        from scipy.optimize import brentq

        return float(brentq(lambda t: sf(t) - level, low, high, rtol=1e-9))
    while high - low > 4.0 * ROUNDING * high:
        middle = (low + high) / 2.0
        if sf(middle) <= level:
            high = middle
        else:
            low = middle
    return high


def levels_for(tail: float, ratio: float) -> int:
    """Levels after which a tail that starts at `tail` and falls by `ratio` a level is below LEFT_OUT."""
    if tail <= LEFT_OUT:
        return 0
    levels = math.ceil(math.log(LEFT_OUT / tail) / math.log(ratio))
    if levels > MOST_LEVELS:
        raise ValueError(f"in_system_pmf would have {levels} entries: the load is too close to 1 to write it out")
    return levels


def _everywhere(sf: Survival, t: ArrayLike) -> Floats:
    """`sf` at each t; 1 for negative t."""
    t = np.asarray(t, dtype=float)
    if np.isnan(t).any():
        raise ValueError(f"t must be a time in seconds, not {t!r}")
    values = [1.0 if x < 0.0 else 0.0 if math.isinf(x) else sf(x) for x in t.ravel().tolist()]
    return np.array(values).reshape(t.shape)
