"""Residual law: what is left of a service that is found in progress at a random moment.

Its density is P(S > t)/E[S] (the inspection paradox: long services are found more often; Cox, Renewal Theory, 1962,
section 5.2), so with the panels of P(S > t) of `panels.py` its survival function and cdf are sums, and

    E[R^k] = E[S^{k+1}] / ((k + 1) E[S]),   E[e^{−sR}] = ∫ e^{−st} P(S > t) dt / E[S].

P(S > t) falls, so a step function through the panels' left ends lies above it: sampling draws from the step function
and keeps t with the probability P(S > t) / step. That is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory.arguments import count
from qtheory.laws.histogram import Histogram
from qtheory.laws.law import Law, points, times

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Residual(Law):
    """Residual law of `law`, for laws whose own is not a closed form. Made by `law.residual()`.

    The survival function and the transform are right to 1e-10, out to where `law.sf` is 1e-290.

    Parameters
    ----------
    law : Law
        Law of the whole service time.

    Examples
    --------
    >>> from qtheory.laws import Lognormal
    >>> left = Lognormal(mean=1.0, scv=3.0).residual()
    >>> left.mean
    2.0
    """

    law: Law

    @property
    def rounding(self) -> float:  # type: ignore[override]
        """That of the law."""
        return self.law.rounding

    def moment(self, k: int) -> float:
        """E[S^{k+1}] / ((k + 1) E[S])."""
        k = count("k", k)
        return self.law.moment(k + 1) / self.law.mean / (k + 1)

    @property
    def support(self) -> tuple[float, float]:
        """From 0 to the largest service time."""
        return 0.0, self.law.support[1]

    def sf(self, t: ArrayLike) -> Floats:
        """∫_t^∞ P(S > u) du / E[S]."""
        survival = self.law._survival
        return survival.beyond(times(t)) / survival.total

    def cdf(self, t: ArrayLike) -> Floats:
        """∫_0^t P(S > u) du / E[S]."""
        survival = self.law._survival
        return survival.before(times(t)) / survival.total

    def lst(self, s: ArrayLike) -> NDArray[Any]:
        """∫ e^{−st} P(S > t) dt / E[S]."""
        survival = self.law._survival
        return survival.transform(points(s)) / survival.total

    def sample(self, rng: np.random.Generator, size: int) -> Floats:
        """Draw `size` independent residual times [s]."""
        survival = self.law._survival
        step = self.law.sf(survival.left)
        above = Histogram(np.append(survival.left, survival.right[-1]), step * (survival.right - survival.left))
        kept = [np.empty(0)]
        while (lacking := size - sum(map(len, kept))) > 0:
            t = above.sample(rng, 2 * lacking + 16)
            height = step[np.searchsorted(survival.left, t, side="right") - 1]
            kept.append(t[rng.random(len(t)) * height < self.law.sf(t)])
        return np.concatenate(kept)[:size]

    def _knots(self) -> Floats:
        return self.law._knots()
