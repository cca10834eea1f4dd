"""Confidence intervals from one long run: batch means, for ratios.

Every quantity here is a ratio of two sums over the run: waits over requests, requests over seconds. Cut the run into k
long batches with sums (Xᵢ, Yᵢ). The estimate is r = ΣX/ΣY, and since the batches are nearly independent

    half-width = t(k−1, 97.5 %) · √( k/(k−1) · Σ (Xᵢ − r Yᵢ)² ) / ΣY

(delta method). It holds when a batch is much longer than the memory of the system; batches that still lean on each
other give themselves away by a correlation between neighbours.

Source: Schmeiser (1982), "Batch size effects in the analysis of simulation output"; Asmussen and Glynn (2007),
"Stochastic Simulation", III.4 and IV.4.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory.result import Estimate


def ratio(numerator: ArrayLike, denominator: ArrayLike) -> Estimate:
    """Estimate ΣX/ΣY from the batches' sums.

    The half-width is inf where nothing is known of it: with one batch, and (value 0) where all denominators are 0.

    >>> ratio([2.0, 4.0, 3.0], [1.0, 1.0, 1.0])
    Estimate(value=3.0, half_width=2.484...)
    """
    x, y = np.asarray(numerator, dtype=float), np.asarray(denominator, dtype=float)
    total = float(y.sum())
    if total == 0.0:
        return Estimate(0.0, math.inf)
    value = float(x.sum()) / total
    k = len(x)
    if k < 2:
        return Estimate(value, math.inf)
    from scipy.special import stdtrit

    spread = math.sqrt(k / (k - 1) * float(np.sum((x - value * y) ** 2)))
    return Estimate(value, float(stdtrit(k - 1, 0.975)) * spread / total)


def neighbour_correlation(means: NDArray[np.float64]) -> float:
    """Lag-1 correlation of the batch means; 0 where they do not vary.

    >>> neighbour_correlation(np.array([1.0, -1.0, 1.0, -1.0]))
    -0.75
    """
    centred = means - means.mean()
    total = float(centred @ centred)
    return float(centred[1:] @ centred[:-1]) / total if total > 0.0 else 0.0
