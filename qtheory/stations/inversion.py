"""P(X > t) from the transform φ(s) = E[e^{−sX}] of a nonnegative X (Abate and Whitt 1992, 1995).

The trapezoidal rule on the Bromwich line Re s = A/2t makes of (1 − φ(s))/s an alternating series,

    P(X > t) ≈ e^{A/2}/t · ( F(A/2t)/2 + Σ_k (−1)^k Re F((A + 2πik)/2t) ),   F(s) = (1 − φ(s))/s,

whose error is Σ_k e^{−kA} P(X > (2k+1)t): relative to P(X > t) itself at most e^{−A}, as survival functions fall.
Euler's binomial averages sum the series, to twice as many terms until they agree. Rounding counts e^{A/2} times.
Where X has atoms or is not smooth near t the averages agree late or not at all: then ArithmeticError, not a guess.

>>> round(survival(lambda s: 1.0 / (1.0 + s), 2.0) / math.exp(-2.0), 7)
1.0
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Transform = Callable[[NDArray[Any]], NDArray[Any]]

A = 18.0
AVERAGED = 16
"""Partial sums that Euler's averages take."""
FIRST, LAST = 32, 1 << 12
"""Terms."""
AGREED = 2e-8
"""Difference between one sum and that with twice the terms at which we stop, absolute."""
RESOLVED = 1e-4
"""Smallest P(X > t) that inversion in floats still gives to three digits."""


def survival(transform: Transform, t: float) -> float:
    """P(X > t), t > 0, to about 3e-8."""
    weights = np.array([math.comb(AVERAGED, k) for k in range(AVERAGED + 1)]) / 2.0**AVERAGED
    terms, last, n = np.empty(0), math.inf, FIRST
    while n <= LAST:
        k = np.arange(len(terms), n + AVERAGED + 1)
        s = (A + 2j * np.pi * k) / (2.0 * t)
        new = (1.0 - 2.0 * (k % 2)) * np.real((1.0 - transform(s)) / s)
        new[k == 0] /= 2.0
        terms = np.concatenate([terms, new])
        value = math.exp(A / 2.0) / t * float(weights @ np.cumsum(terms)[n:])
        if abs(value - last) <= AGREED:
            return min(max(value, 0.0), 1.0)
        last, n = value, 2 * n
    raise ArithmeticError(f"P(X > {t:g}) cannot be found from the transform: the law is too rough there")
