"""Busy period of M/G/1: from the arrival that finds the server idle until it is idle again.

Each arrival during the first service starts a busy period of its own, so that (Takács 1962)

    B(s) = S(s + λ − λ B(s)),        B(s) = E[e^{−sB}], S that of the service.

Iteration from 0 converges for Re s >= 0 (Abate and Whitt 1992). For the moments, u = s + λ − λB(s) makes it

    s = u − λ (1 − S(u)),        B = 1 − (u − s)/λ,

a power series in u to be reverted. In v = −u, r = −s all its terms are positive: with m_j = E[S^j]

    (1 − λ m_1) v = r + λ Σ_{j>=2} m_j v^j / j!,

solved for the coefficients of v(r) one after the other; E[B^k]/k! = v_k/λ, and for k = 1 less 1/λ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtheory.arguments import count, nonnegative, positive
from qtheory.laws import Law, law_of
from qtheory.stations.inversion import survival
from qtheory.stations.mg1 import below_one

AGREED = 1e-15
MOST_ITERATIONS = 100_000


@dataclass(frozen=True)
class BusyPeriod:
    """Busy period of M/G/1; made by `busy_period`."""

    arrival_rate: float
    service: Law

    @property
    def mean(self) -> float:
        """E[S]/(1 − ρ) [s]."""
        return self.moment(1)

    def moment(self, k: int) -> float:
        """E[B^k] [s^k], exactly."""
        order, lam = count("k", k), self.arrival_rate
        idle = 1.0 - lam * self.service.mean
        scaled = [lam * self.service.moment(j) / math.factorial(j) for j in range(2, order + 1)]
        v = np.zeros(order + 1)
        for n in range(1, order + 1):
            known = v.copy()
            total, power = 1.0 if n == 1 else 0.0, known
            for moment in scaled[: n - 1]:
                power = np.convolve(power, known)[: order + 1]
                total += moment * power[n]
            v[n] = total / idle
        if order == 1:
            return self.service.mean / idle
        return math.factorial(order) * float(v[order]) / lam

    def sf(self, t: float) -> float:
        """P(B > t), t in seconds, to about 3e-8; ArithmeticError where the service law has atoms."""
        t = nonnegative("t", t)
        return survival(self._transform, t) if t > 0.0 else 1.0

    def _transform(self, s: NDArray[Any]) -> NDArray[Any]:
        """B(s) by iteration from 0."""
        value = np.zeros_like(s)
        for _ in range(MOST_ITERATIONS):
            last, value = value, self.service.lst(s + self.arrival_rate * (1.0 - value))
            if np.abs(value - last).max() <= AGREED:
                return value
        raise ArithmeticError("the transform of the busy period does not settle: rho is too close to 1")


def busy_period(*, arrival_rate: float, service: Law) -> BusyPeriod:
    """The busy period of M/G/1; ValueError for arguments out of range and for ρ >= 1.

    Examples
    --------
    >>> from qtheory.laws import Exponential
    >>> busy = busy_period(arrival_rate=0.5, service=Exponential(mean=1.0))
    >>> busy.mean, busy.moment(2)
    (2.0, 16.0)
    """
    lam, law = positive("arrival_rate", arrival_rate), law_of(service)
    below_one(lam * law.mean)
    return BusyPeriod(lam, law)
