"""Stationary law of a birth-death chain, by ratios from its largest probability outwards.

    P(n+1) / P(n) = birth(n) / death(n+1)

Logarithms find the largest probability; the values themselves come from products of ratios that start there with 1,
so nothing overflows, nothing is subtracted, and every probability above the smallest positive float has a relative
error of a few units in the last place for each step away from the mode.

>>> stationary([0.5] * 3, [1.0] * 3).tolist()
[0.5333333333333333, 0.26666666666666666, 0.13333333333333333, 0.06666666666666667]
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def stationary(birth: ArrayLike, death: ArrayLike) -> NDArray[np.float64]:
    """Return P(0), ..., P(M) of the chain with birth rates birth[0..M−1] and death rates death[0..M−1] = d(1..M).

    Only ratios matter, so both may be in any common unit. Births must be finite and >= 0, deaths finite and > 0.
    """
    ratios = np.asarray(birth, dtype=float) / np.asarray(death, dtype=float)
    with np.errstate(divide="ignore"):
        mode = int(np.argmax(np.concatenate([[0.0], np.cumsum(np.log(ratios))])))
    with np.errstate(divide="ignore", under="ignore"):
        up = np.cumprod(ratios[mode:])
        down = np.cumprod(1.0 / ratios[:mode][::-1])[::-1]
    pmf = np.concatenate([down, [1.0], up])
    return np.asarray(pmf / pmf.sum())
