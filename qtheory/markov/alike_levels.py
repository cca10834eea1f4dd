"""Chains whose levels are all alike: the rate matrix by cyclic reduction.

From every level the chain goes up with the rates `up` (a matrix over the states of a level), down with `down`, within
the level with `within`, whose diagonal is minus all that leaves the state. The stationary law of level n + 1 is that of
level n times R, the smallest solution of

    up + R within + R² down = 0                                                            (Neuts 1981).

Leave out every other level: the rest is a chain of the same kind. Each reduction doubles the distance between the
levels that remain, so the probability to reach a neighbour falls as the square of what it was, and a few dozen
reductions do whatever the load. What is kept beside, the moves of level 0 seen only while it is there or below, gives
G, the law of the state in which the level below is first reached, and with it R (Bini and Meini 1996).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MOST_REDUCTIONS = 60
NEGLIGIBLE = 1e-16


def rate_matrix(up: Floats, within: Floats, down: Floats) -> Floats:
    """R; the chain must drift down, or R has an eigenvalue 1.

    >>> rate_matrix(np.array([[1.0]]), np.array([[-3.0]]), np.array([[2.0]]))
    array([[0.5]])
    """
    n, fastest = len(within), np.abs(within).max()
    rise, stay, fall, at_bottom = up, within, down, within
    for _ in range(MOST_REDUCTIONS):
        solved = np.linalg.solve(-stay, np.hstack([rise, fall]))
        above, below = solved[:, :n], solved[:, n:]
        at_bottom = at_bottom + rise @ below
        stay = stay + rise @ below + fall @ above
        rise, fall = rise @ above, fall @ below
        if min(rise.max(), fall.max()) < NEGLIGIBLE * fastest:
            break
    G = np.linalg.solve(-at_bottom, down)
    return np.asarray(np.linalg.solve(-(within + up @ G).T, up.T).T)
