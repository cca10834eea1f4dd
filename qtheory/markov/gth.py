"""Stationary law of a small chain, without a subtraction (Grassmann, Taksar and Heyman, 1985).

States are eliminated from the last to the first: what goes through state k is redirected to where k leads. The diagonal
is never used, only the sum of what is left of a row, so that nothing cancels and every probability, however small, has
nearly full relative accuracy (O'Cinneide, 1993).

>>> gth(np.array([[0.0, 2.0], [1.0, 0.0]]))
array([0.33333333, 0.66666667])
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def gth(rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Stationary law of the chain with these transition rates (or probabilities); the diagonal is ignored.

    Raises ValueError when some state cannot reach those before it: the chain must have a single closed class, which
    holds state 0.
    """
    left = np.array(rates, dtype=float)
    n = len(left)
    through = np.zeros(n)
    for k in range(n - 1, 0, -1):
        through[k] = left[k, :k].sum()
        if not through[k] > 0.0:
            raise ValueError(f"rates must lead from state {k} to an earlier one, be it through later ones")
        left[:k, :k] += np.outer(left[:k, k], left[k, :k] / through[k])
    law = np.zeros(n)
    law[0] = 1.0
    for k in range(1, n):
        law[k] = law[:k] @ left[:k, k] / through[k]
        if law[k] > 1e200:  # probabilities may rise by more than a double holds
            law[: k + 1] /= law[k]
    return np.asarray(law / law.sum())
