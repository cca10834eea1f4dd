"""A trial queue: what arrivals wait behind servers that each take the same time, first come first served.

With constant service the k-th request starts when it has come and the one c before it is done:
start[k] = max(arrival[k], start[k − c] + service).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def waits(arrival: Floats, service: float, servers: int) -> Floats:
    """Wait [s] of each request, in order of arrival, for a constant `service` [s] at `servers` servers, empty at first.

    >>> waits(np.array([0.0, 1.0, 1.0]), 3.0, 1).tolist(), waits(np.array([0.0, 1.0, 1.0]), 3.0, 2).tolist()
    ([0.0, 2.0, 5.0], [0.0, 0.0, 2.0])
    """
    start = np.array(arrival, dtype=np.float64)
    _serve(start, service, servers)
    return start - arrival


@njit(cache=True, nogil=True)
def _serve(start, service, servers):  # type: ignore[no-untyped-def]
    for k in range(servers, len(start)):
        start[k] = max(start[k], start[k - servers] + service)
