"""Inverse of an M-matrix from what it is made of, without a subtraction.

A chain that leaves its states for good has rates `between` them and rates `out` of them all. They make the M-matrix

    M = diag(row sums of between + out) − between,

and M^{-1} holds the mean times spent in each state. Eliminated as in `gth`, each pivot is the sum of what leaves a
state, never a difference, and every entry of the inverse, however small, has nearly full relative accuracy (Grassmann,
Taksar and Heyman, 1985; Alfa, Xue and Ye, 2002). The matrix itself, with its diagonal rounded, does not determine
them. Large matrices are taken by halves: with the second half left out,

    between_11 + between_12 M_22^{-1} between_21,    out_1 + between_12 M_22^{-1} out_2

are rates of the same kind, so that nearly all the work is in products of matrices.

>>> inverse(np.array([[0.0, 1.0], [3.0, 0.0]]), np.array([1e-20, 0.0])) * 1e-20
array([[1.        , 0.33333333],
       [1.        , 0.33333333]])
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SMALL = 64
"""Rows up to which the elimination goes state by state."""


def inverse(between: Floats, out: Floats) -> Floats:
    """The inverse, none of whose entries is negative; the diagonal of `between` is ignored.

    Every state must lead out, be it through others; ZeroDivisionError when one found at the end does not.
    """
    n = len(out)
    if n <= SMALL:
        return np.asarray(_inverse(np.array(between), np.array(out)))
    a = n // 2
    first, there, back = between[:a, :a], between[:a, a:], between[a:, :a]
    late = inverse(between[a:, a:], out[a:] + back.sum(axis=1))
    over = there @ late
    early = inverse(first + over @ back, out[:a] + over @ out[a:])
    found = np.empty((n, n))
    found[:a, :a] = early
    np.matmul(early, over, out=found[:a, a:])
    returning = np.matmul(late, back @ early, out=found[a:, :a])
    np.add(late, returning @ over, out=found[a:, a:])
    return found


@njit(cache=True)
def _inverse(flow, out):  # type: ignore[no-untyped-def]
    n = len(out)
    x = np.eye(n)
    pivot = np.empty(n)
    for k in range(n - 1, -1, -1):  # leave out state k: who went there goes on to where it leads
        total = out[k]
        for j in range(k):
            total += flow[k, j]
        pivot[k] = total
        for i in range(k):
            share = flow[i, k] / total
            if share > 0.0:
                for j in range(k):
                    flow[i, j] += share * flow[k, j]
                out[i] += share * out[k]
                for j in range(k, n):
                    x[i, j] += share * x[k, j]
    for k in range(n):
        for i in range(k):
            if flow[k, i] > 0.0:
                for j in range(n):
                    x[k, j] += flow[k, i] * x[i, j]
        for j in range(n):
            x[k, j] /= pivot[k]
    return x
