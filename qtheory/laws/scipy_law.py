"""Frozen distributions of scipy.stats as laws: `law_of(scipy.stats.invgauss(0.5))`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory.arguments import count
from qtheory.laws.law import Law, levels, times

Floats = NDArray[np.float64]


def law_of(x: object, argument: str = "x") -> Law:
    """`x` itself when it is a law; a frozen continuous distribution of scipy.stats as a law.

    Raises TypeError for anything else, naming the `argument`, and ValueError when the distribution may be negative or
    has no finite mean and variance, which it names.

    Examples
    --------
    >>> import scipy.stats
    >>> law_of(scipy.stats.uniform(0.0, 2.0)).mean
    1.0
    """
    if isinstance(x, Law):
        return x
    import scipy.stats

    name = getattr(getattr(x, "dist", None), "name", None)
    if not isinstance(getattr(x, "dist", None), scipy.stats.rv_continuous):
        raise TypeError(
            f"{argument} must be a law such as qt.Exponential(mean=...), or a frozen continuous distribution of "
            f"scipy.stats, not {x!r}"
        )
    low, _ = x.support()  # type: ignore[attr-defined]
    if not low >= 0.0:
        raise ValueError(f"the law {name} must not be negative, but its support starts at {low}")
    mean, variance = x.stats("mv")  # type: ignore[attr-defined]
    if not (0.0 < mean < math.inf and 0.0 <= variance < math.inf):
        raise ValueError(f"the law {name} must have a finite mean and variance, not {mean} and {variance}")
    return ScipyLaw(x)


@dataclass(frozen=True, eq=False)
class ScipyLaw(Law):
    """A frozen continuous distribution of scipy.stats, as accurate as scipy is. Made by `law_of`."""

    rounding = 1e-13
    frozen: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ScipyLaw) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[object, ...]:
        return self.frozen.dist.name, self.frozen.args, tuple(sorted(self.frozen.kwds.items()))

    @property
    def support(self) -> tuple[float, float]:
        """scipy's."""
        low, high = self.frozen.support()
        return float(low), float(high)

    def moment(self, k: int) -> float:
        """scipy's; inf where it does not exist."""
        return float(self.frozen.moment(count("k", k)))

    def sf(self, t: ArrayLike) -> Floats:
        """scipy's."""
        return self._asked(self.frozen.sf, times(t), 0.0)

    def cdf(self, t: ArrayLike) -> Floats:
        """scipy's."""
        return self._asked(self.frozen.cdf, times(t), 1.0)

    def quantile(self, p: ArrayLike) -> Floats:
        """scipy's inverse of the nearer tail."""
        p = levels(p)
        return np.asarray(np.where(p > 0.5, self.frozen.isf(1.0 - p), self.frozen.ppf(p)))

    def sample(self, rng: np.random.Generator, size: int) -> Floats:
        """Draw `size` independent service times [s]."""
        return np.asarray(self.frozen.rvs(size=size, random_state=rng), dtype=np.float64)

    def _asked(self, function: Callable[[Floats], ArrayLike], t: Floats, end: float) -> Floats:
        """What scipy says; `end` where it overflows so far out that, by Chebyshev, 1e-14 times the scv is left."""
        with np.errstate(all="ignore"):  # scipy takes logarithms of 0 on its way to the right answer
            values = np.asarray(function(t))
        values = np.where(np.isnan(values) & (t > 1e7 * self.mean), end, values)
        if np.isnan(values).any():
            raise ArithmeticError(f"scipy.stats has no value of {self.frozen.dist.name} at {t[np.isnan(values)][0]}")
        return values
