"""Laplace transform of the time in which a chain falls through its levels, for many s at once.

From a state of level m the chain moves within the level with the rates W, leaves each state at the rate in a, and falls
to the level below with the rates D. If v(s) holds the transform of when it comes, by the states in which it comes into
the level, then it falls on with

    v(s) (sI + diag(a) − W)^{-1} D.

Where W leads only to later states this is one sweep over them. So a line of n levels costs n sweeps for each s, however
long the levels take, and however fast their clock would have to tick (Neuts, 1981, for the recursion).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_array

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]


def fall(
    s: Complexes, coming: Complexes, line: Floats, leaving: Floats, within: csr_array, down: csr_array
) -> Complexes:
    """Transforms of when the chain falls below the last level of `line`, by the states in which it does.

    Parameters
    ----------
    s : ndarray
        Where; right of −min(leaving).
    coming : ndarray, states × len(s)
        Transforms of when it comes into the highest level.
    line : ndarray, levels × states
        Probabilities that it starts there, lowest level first.
    leaving, within, down : ndarray, sparse matrices
        The rates of each level; `within` upper triangular. Of several levels they are the same.

    Examples
    --------
    Two exponential stages of rate 3: (3/(3 + s))².

    >>> none, line, rate = np.zeros((1, 1), dtype=complex), np.array([[0.0], [1.0]]), csr_array([[3.0]])
    >>> fall(np.array([3.0 + 0j]), none, line, np.array([3.0]), csr_array((1, 1)), rate)
    array([[0.25+0.j]])
    """
    inverse = 1.0 / (s + leaving[:, None])
    real, imag = _fall(
        line, coming.real.copy(), coming.imag.copy(), inverse.real.copy(), inverse.imag.copy(),
        within.indptr, within.indices, within.data, down.indptr, down.indices, down.data, down.shape[1],
    )  # fmt: skip
    return np.asarray(real + 1j * imag)


@njit(cache=True)
def _fall(
    line: Any, re: Any, im: Any, inverse_re: Any, inverse_im: Any,
    stay_row: Any, stay_to: Any, stay_rate: Any, down_row: Any, down_to: Any, down_rate: Any, below: int,
) -> Any:  # fmt: skip
    states, points = re.shape
    at_re, at_im = np.empty(points), np.empty(points)
    for n in range(line.shape[0] - 1, -1, -1):
        next_re, next_im = np.zeros((below, points)), np.zeros((below, points))
        for i in range(states):
            starts = line[n, i]
            for k in range(points):
                x, y = re[i, k] + starts, im[i, k]
                at_re[k] = x * inverse_re[i, k] - y * inverse_im[i, k]
                at_im[k] = x * inverse_im[i, k] + y * inverse_re[i, k]
            for e in range(stay_row[i], stay_row[i + 1]):
                j, rate = stay_to[e], stay_rate[e]
                for k in range(points):
                    re[j, k] += rate * at_re[k]
                    im[j, k] += rate * at_im[k]
            for e in range(down_row[i], down_row[i + 1]):
                j, rate = down_to[e], down_rate[e]
                for k in range(points):
                    next_re[j, k] += rate * at_re[k]
                    next_im[j, k] += rate * at_im[k]
        re, im = next_re, next_im
    return re, im
