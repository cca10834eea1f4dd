"""How much of the run's start to delete: MSER-5.

The run starts empty, so its first requests see less than the stationary queue. With the observations averaged over
small batches z₁..z_m (of five; here of more where the run is long, so that memory stays constant), delete the d that
minimizes the squared standard error of the mean of what is left,

    MSER(d) = Σ_{i>d} (zᵢ − z̄_d)² / (m − d)²,   d ≤ m/2.

A minimum at the very end of that range says that the run is too short to tell.

Source: White (1997), "An effective truncation heuristic for bias reduction in simulation output", Simulation 69;
White, Cobb and Spratt (2000), "A comparison of five steady-state truncation heuristics for simulation".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def truncation(means: NDArray[np.float64]) -> int:
    """Number of leading batches to delete, at most half of them.

    >>> truncation(np.array([0.0, 5.0, 9.0, 10.0, 11.0, 10.0, 9.0, 10.0, 11.0, 10.0]))
    3
    """
    m = len(means)
    if m < 4:
        return 0
    centred = means - means.mean()
    left = np.arange(m, 0, -1)
    total = np.cumsum(centred[::-1])[::-1]
    squares = np.cumsum(centred[::-1] ** 2)[::-1]
    error = (squares - total**2 / left) / left**2
    return int(np.argmin(error[: m // 2 + 1]))
