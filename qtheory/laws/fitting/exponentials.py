"""e^X of many small matrices at once: a series for X/2^s, then s squarings (Moler and Van Loan 2003, method 3).

Each has its own s. Only products are needed, so nothing waits for threads, as it may where each is solved with.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TERMS = 12
"""Of the series, for rows of X/2^s that sum to at most 1/4: the next is below 1e-15."""


def exponentials(X: Floats) -> Floats:
    """e^X for a stack of matrices, shape (k, n, n)."""
    size = np.abs(X).sum(axis=2).max(axis=1)
    halvings = np.maximum(np.ceil(np.log2(np.maximum(size, 1e-300) * 4.0)), 0.0).astype(int)
    X = X / 2.0 ** halvings[:, None, None]
    power = E = np.broadcast_to(np.eye(X.shape[1]), X.shape)
    for k in range(1, TERMS + 1):
        power = power @ X / k
        E = E + power
    for done in range(int(halvings.max(initial=0))):
        left = halvings > done
        E[left] = E[left] @ E[left]
    return E
