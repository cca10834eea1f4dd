"""Walker's alias method, compiled: one uniform number picks one of n with any probabilities, in constant time."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def choose(
    uniform: NDArray[np.float64], keep: NDArray[np.float64], alias: NDArray[np.int64], out: NDArray[np.int32]
) -> None:
    """Write into `out` a choice for each uniform number: its whole part picks a column, its fraction keeps it."""
    n = len(keep)
    for k in range(len(uniform)):
        scaled = uniform[k] * n
        column = int(scaled)
        out[k] = column if scaled - column < keep[column] else alias[column]
