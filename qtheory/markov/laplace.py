"""P(T > t) from the Laplace transform of the law of T, for laws of which the transform is cheap and time is not.

With f(s) = E[e^{−sT}], P(T <= t) has the transform f(s)/s, and by Poisson's summation formula

    Σ_{j>=0} P(T <= t + jP) e^{−ajP} = e^{at}/P · Σ_k e^{ikht} f(s_k)/s_k,    s_k = a + ikh,  h = 2π/P

(Abate and Whitt, 1992). The terms j >= 1, which are not wanted, are about e^{−aP} together. With P = 4u the points s_k
serve for all t in (u/2, u]: there 1/|1 − e^{iht}| <= 1.31, and the end of the series is summed by Euler's method,

    Σ_{k>=K} c_k r^k = r^K Σ_p Δ^p c_K r^p / (1 − r)^{p+1},

which is good once the c_k change slowly with k. They do, or have vanished, after as many points as u has standard
deviations of T, times a few: some hundreds for a sum of 10^4 exponentials, which takes as many ticks of a clock.

Far out, where a Chernoff bound is below NOTHING, P(T > t) is taken as 0.

>>> law = FromTransform(lambda s: 1.0 / (1.0 + s), mean=1.0, slowest=1.0)
>>> all(abs(law.sf(t) - np.exp(-t)) < ERROR for t in (0.001, 0.5, 1.0, 20.0, 1000.0))
True
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Complexes = NDArray[np.complex128]
ALIASING = 32.0
"""aP: probabilities beyond the period are mixed in with a weight below e^{−32}."""
BLOCK = 64
"""Points taken at a time."""
ORDER = 8
"""Of the differences in Euler's sum."""
LARGEST = 1.31
"""1/|1 − e^{iht}|."""
CONVERGED = 1e-13
ERROR = 1e-11
"""What P(T > t) may be off: by CONVERGED, and by the rounding of the transform times e^{at} <= e^8."""
NOTHING = 1e-16
AT_ONCE = 1e-100
"""Part of its mean before which T never ends."""


class FromTransform:
    """P(T > t) for T > 0, from E[e^{−sT}] at an array of s; `mean` is E[T], and E[e^{sT}] exists for s < `slowest`."""

    def __init__(self, transform: Callable[[Complexes], Complexes], mean: float, slowest: float) -> None:
        self.transform, self.mean, self.slowest = transform, mean, slowest
        self._terms: dict[int, Complexes] = {}

    def sf(self, t: float) -> float:
        """P(T > t), to within ERROR."""
        if t <= AT_ONCE * self.mean:
            return 1.0
        theta, growth = self._growth
        if growth - theta * t < math.log(NOTHING):
            return 0.0
        octave = math.ceil(math.log2(t / self.mean))
        u = self.mean * 2.0**octave
        if octave not in self._terms:
            self._terms[octave] = self._until_slow(u)
        terms = self._terms[octave]
        plain, late = terms[: -ORDER - 1], terms[-ORDER - 1 :]
        angle = 0.5 * math.pi * t / u
        r = cmath.exp(1j * angle)
        rest = sum(difference * (r / (1.0 - r)) ** p for p, difference in enumerate(_differences(late)))
        total = np.exp(1j * angle * np.arange(len(plain))) @ plain + r ** len(plain) / (1.0 - r) * rest
        # The terms of −k are the conjugates of those of k.
        return 1.0 - math.exp(0.25 * ALIASING * t / u) / (4.0 * u) * float((2.0 * total - terms[0]).real)

    @cached_property
    def _growth(self) -> tuple[float, float]:
        """θ and log E[e^{θT}], for Chernoff's bound."""
        theta = min(0.5 * self.slowest, 30.0 / self.mean)
        return theta, math.log(self.transform(np.array([-theta + 0j])).real[0])

    def _until_slow(self, u: float) -> Complexes:
        """f(s_k)/s_k for k = 0, 1, ..., up to where differences give the rest."""
        terms = np.empty(0, dtype=np.complex128)
        while True:
            k = np.arange(len(terms), len(terms) + BLOCK)
            s = np.asarray(0.25 * ALIASING / u + 0.5j * math.pi / u * k, dtype=np.complex128)
            terms = np.concatenate([terms, self.transform(s) / s])
            # Two orders, for one may be small by chance.
            last = [LARGEST ** (p + 1) * abs(d) for p, d in enumerate(_differences(terms[-ORDER - 1 :]))][-2:]
            if max(last) * math.exp(0.25 * ALIASING) / (2.0 * u) < CONVERGED:
                return terms


def _differences(terms: Complexes) -> list[complex]:
    """Δ^p at the first term, p = 0, 1, ..."""
    return [complex(np.diff(terms, p)[0]) for p in range(len(terms))]
