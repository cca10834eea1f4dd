"""Gauss-Seidel sweeps for the stationary law of a sparse chain: each state's balance in turn, forth and back.

A sweep sets right what is near; what is far takes many. So it is used beside an exact solution for some of the chain's
coordinates (Takahashi, 1975; Koury, McAllister and Stewart, 1984).
"""

from __future__ import annotations

from typing import Any

from numba import njit


@njit(cache=True)
def gauss_seidel(x: Any, begin: Any, source: Any, rate: Any, leaving: Any) -> None:
    """One sweep up the states and one down, in place; row i of the matrix holds the rates into state i."""
    n = len(x)
    for way in range(2):
        for k in range(n):
            i = k if way == 0 else n - 1 - k
            total = 0.0
            for e in range(begin[i], begin[i + 1]):
                if source[e] != i:
                    total += rate[e] * x[source[e]]
            x[i] = total / leaving[i]
