"""The rate matrix of an endless line of levels that are all alike (Neuts, 1981).

From each level the chain goes up with the rates U, down with D and within the level with W. R holds the mean time spent
in the states of the next level before the return, for each unit of time in those of this one, so that
π_{n+1} = π_n R. With G the phases in which a level is first reached from the one above,

    R = U (diag(what leaves) − W − U G)^{-1},    D + W G + U G² = diag(what leaves) G.

G comes by logarithmic reduction (Latouche and Ramaswami, 1993): the chain is looked at only when it has moved by 1, 2,
4, 8, ... levels. With H and L the probabilities to have moved up and down,

    H ← (I − HL − LH)^{-1} H²,    L ← (I − HL − LH)^{-1} L²,    G = L_0 + H_0 L_1 + H_0 H_1 L_2 + ...

As H + L is stochastic, what I − HL − LH loses of a row is what H² + L² has there: an M-matrix with known excess, and
no subtraction anywhere (`m_matrix.py`). So nothing overflows, and G and R keep their digits when up and down are almost
in balance, where there are some log2(1/(1 − ρ)) steps.

M/M/1:

>>> rate_matrix(np.array([[0.9]]), np.array([[0.0]]), np.array([[1.0]]))
array([[0.9]])
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qtheory.markov.m_matrix import inverse

Floats = NDArray[np.float64]
NEGLIGIBLE = 1e-18
"""Probability never to have come back, at which we stop."""
MOST_STEPS = 64


def rate_matrix(up: Floats, within: Floats, down: Floats) -> Floats:
    """R for these rates; the diagonal of `within` is ignored.

    Raises ArithmeticError when the chain does not drift down.
    """
    start = inverse(within, up.sum(axis=1) + down.sum(axis=1))
    higher, lower = start @ up, start @ down
    back, away = lower, higher
    for _ in range(MOST_STEPS):
        once, twice = higher @ higher, lower @ lower
        start = inverse(higher @ lower + lower @ higher, once.sum(axis=1) + twice.sum(axis=1))
        higher, lower = start @ once, start @ twice
        back = back + away @ lower
        away = away @ higher
        if away.sum(axis=1).max() <= NEGLIGIBLE:
            return up @ inverse(within + up @ back, down.sum(axis=1))
    raise ArithmeticError("the levels must drift down: they go up as fast or faster")


def summed(ratio: Floats, level: Floats) -> tuple[Floats, Floats]:
    """π (I − R)^{-1} for `level` π, and (I − R)^{-1} 1: over this level and all above, (I + R)(I + R²)(I + R⁴)...

    No term is negative, but what R lost in rounding counts as often as the chain goes on.

    >>> total, ahead = summed(np.array([[0.9]]), np.array([0.1]))
    >>> round(float(total[0]), 12), round(float(ahead[0]), 12)
    (1.0, 10.0)
    """
    total, ahead = level, np.ones(len(level))
    while ratio.sum(axis=1).max() > NEGLIGIBLE:
        total, ahead = total + total @ ratio, ahead + ratio @ ahead
        ratio = ratio @ ratio
    return total, ahead
