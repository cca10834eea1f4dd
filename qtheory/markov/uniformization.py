"""Uniformization: a chain in continuous time is a chain in steps, taken at the ticks of a Poisson clock.

If no state is left faster than `rate`, let a clock tick at that rate and let the chain move, or stay, at each tick.
A quantity that has the value v[k] after k ticks has at time t the value

    Σ_k e^{−x} x^k / k! · v[k],   x = rate · t.

All terms are positive, and v does not depend on t: it is computed once for a whole law (Jensen 1953; Grassmann 1977).
The Poisson weights are formed by ratios from their mode and normalized by their sum, as in Fox and Glynn (1988).

>>> round(float(at_ticks(3.0, 0.5 ** np.arange(200))), 12) == round(float(np.exp(-1.5)), 12)
True
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

TRUNCATION = 1e-22
"""Poisson mass left out on either side, by the Chernoff bound that sets the window."""


def poisson_window(mean: float) -> tuple[int, NDArray[np.float64]]:
    """First index and weights of the Poisson law with this mean, but for a mass below TRUNCATION on either side."""
    if mean == 0.0:
        return 0, np.ones(1)
    reach = math.log(1.0 / TRUNCATION)
    first = max(0, math.floor(mean - math.sqrt(2.0 * mean * reach)))
    last = math.ceil(mean + math.sqrt(2.0 * mean * reach) + reach)
    mode = min(max(math.floor(mean), first), last)
    with np.errstate(under="ignore"):
        up = np.cumprod(mean / np.arange(mode + 1, last + 1))
        down = np.cumprod(np.arange(mode, first, -1) / mean)[::-1]
    weights = np.concatenate([down, [1.0], up])
    return first, weights / weights.sum()


def at_ticks(x: float, values: NDArray[np.float64]) -> float:
    """Σ_k Poisson(k; x) · values[k], values beyond the end being 0."""
    first, weights = poisson_window(x)
    taken = values[first : first + len(weights)]
    return float(weights[: len(taken)] @ taken)
