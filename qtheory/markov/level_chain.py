"""Chains that move at most one level at a time, by block elimination from the top level down.

Each level n has some states (phases). From them the chain goes up with the rates U_n (a matrix), down with D_n and
within the level with W_n. Above level n it makes excursions that come back to level n; seen only while it is at n or
below, it moves within level n with the rates W_n + R_{n+1} D_{n+1}, where

    R_{n+1} = U_n A_{n+1}^{-1},    A_n = diag(row sums of what leaves its state) − (W_n + R_{n+1} D_{n+1}),

and π_{n+1} = π_n R_{n+1}. So one sweep down gives all R, and one sweep up the stationary law. What leaves a state of
level n, seen from there, stays within the level or goes down, so the diagonal of A_n is a sum of positive rates and
never a difference: A_n is an M-matrix with known excess (`m_matrix.py`), and small probabilities keep their digits.
(Gaver, Jacobs and Latouche, 1984, for the elimination; Grassmann, Taksar and Heyman, 1985, for the diagonal.)

Where the levels are alike the R converge going down, to the rate matrix of the homogeneous chain (Neuts, 1981), and the
sweep jumps to where the levels change: a long line costs as much as a short one. Above the top there may be a line
without end, of which only what comes back matters: R D, with that rate matrix (`rate_matrix.py`).

Where a chain with one peak drifts up for long, low levels are hardly ever seen. With S_n = 1 + R_{n+1} S_{n+1}, what is
at level n and above is π_n S_n <= 1, so once each state of a level has more than 1/δ above it, that level, and all
below, have less than δ: the sweep may end there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from qtheory.markov.gth import gth
from qtheory.markov.m_matrix import inverse

Floats = NDArray[np.float64]
CONVERGED = 1e-15
MOST_BYTES = 4e9
SMALL = 200
"""Matrices with fewer rows are multiplied faster when dense."""

Rates: TypeAlias = NDArray[np.float64] | csr_array


def stationary(
    bottom: int,
    top: int,
    up: Callable[[int], Rates],
    within: Callable[[int], Rates],
    down: Callable[[int], Rates],
    alike: Callable[[int], int],
    above: Floats | None = None,
    negligible: float = 0.0,
) -> list[Floats]:
    """Stationary law over the levels `bottom`, ..., `top`, a vector over the states of each.

    Parameters
    ----------
    up, within, down : functions of the level
        Rates from its states to those one level up (asked below `top`), within (off the diagonal), one level down
        (asked above `bottom`); dense or sparse matrices, and what goes up without a change of state as a vector.
    alike : function of the level
        The lowest level from which on, up to this one, `within`, `down` and what comes `up` into it are the same.
    above : ndarray, optional
        Rates at which the chain comes back to the top level from what is above it, by the states before and after. The
        law is then that of the chain while it is not above.
    negligible : float
        Low levels with less than this are left out of a chain with one peak, and have 0; 0: none.

    Raises ValueError when the matrices would not fit in memory.

    Examples
    --------
    M/M/1 with three places, load 1/2: probabilities 8, 4, 2, 1 over 15.

    >>> one, two = np.array([[1.0]]), np.array([[2.0]])
    >>> levels = stationary(0, 3, lambda n: one, lambda n: 0 * one, lambda n: two, lambda n: n)
    >>> [round(15 * float(level[0]), 12) for level in levels]
    [8.0, 4.0, 2.0, 1.0]
    """
    ratios: list[Floats] = [np.empty(0)] * (top + 1)
    back: Floats | float = 0.0 if above is None else above  # what comes back to the level from excursions above it
    level, held, lowest = top, 0.0, bottom
    ahead = np.ones(within(top).shape[0])
    staying: Rates | None = None
    falling: Rates | None = None
    while level > lowest:
        if (given := within(level)) is not staying:
            staying, inside = given, dense(given)
        if (given := down(level)) is not falling:
            falling = given
            below = dense(given) if len(inside) < SMALL else given
            out = np.asarray(below.sum(axis=1)).ravel()
        ratio = _into(up(level - 1), inverse(inside + back, out))
        held += ratio.nbytes
        if held > MOST_BYTES:
            raise ValueError(
                f"the levels from {level} to {top} alone need more than {MOST_BYTES / 1e9:g} GB: use qt.simulate"
            )
        ratios[level] = ratio
        if negligible > 0.0:
            ahead = 1.0 + ratio @ ahead
            if negligible * ahead.min() > 1.0:
                lowest = level - 1
        first = max(alike(level), lowest + 1)
        higher = ratios[level + 1] if level < top else ratio[:0]
        if first < level and _converged(ratio, higher):
            ratios[first:level] = [ratio] * (level - first)
            level = first
        back = ratio @ below
        level -= 1
    here = dense(within(lowest)) + back
    law = [gth(here) if len(here) > 1 else np.ones(1)]
    scale = [0.0]
    for n in range(lowest + 1, top + 1):
        following = law[-1] @ ratios[n]
        size = float(following.sum())
        law.append(following / size if size > 0.0 else following)
        scale.append(scale[-1] + np.log(size) if size > 0.0 else -np.inf)
    weights = np.exp(np.array(scale) - max(scale))
    weights /= weights.sum()
    empty = [np.zeros(within(n).shape[0]) for n in range(bottom, lowest)]
    return [*empty, *(weight * level for weight, level in zip(weights, law, strict=True))]


def _into(rates: Rates, times: Floats) -> Floats:
    """Rates U into a level, or their diagonal, times the mean times spent there."""
    return np.asarray(rates[:, None] * times if rates.ndim == 1 else rates @ times)


def _converged(ratio: Floats, higher: Floats) -> bool:
    """Whether the two are the same, up to rounding; a first entry that still moves says no at once."""
    if higher.shape != ratio.shape or abs(ratio[0, 0] - higher[0, 0]) > CONVERGED * higher[0, 0]:
        return False
    return bool(np.all(np.abs(ratio - higher) <= CONVERGED * higher))


def dense(matrix: Rates) -> Floats:
    """The matrix with its zeros."""
    return matrix if isinstance(matrix, np.ndarray) else np.asarray(matrix.toarray())
