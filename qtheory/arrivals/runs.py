"""Recorded arrivals cut into runs of constant rate.

n gaps of total length T have the log-likelihood −n log(T/n) − n under their best constant rate, so to join two
neighbouring runs loses

    (n₁ + n₂) log((T₁ + T₂) / (n₁ + n₂)) − n₁ log(T₁/n₁) − n₂ log(T₂/n₂) >= 0.

From runs of one gap on, the two neighbours that lose least are joined, again and again (agglomeration, Ward 1963, with
the likelihood in place of squares). All runs that are apart at some loss are a partition of the trace, coarser for a
larger loss: one pass gives all of them.
"""

from __future__ import annotations

import heapq

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def losses(gaps: Floats) -> Floats:
    """For each gap > 0 the loss at which the run that it begins is joined to the one before; the first: inf.

    >>> losses(np.array([1.0, 1.0, 9.0, 9.0])).round(2)
    array([ inf, 0.  , 2.04, 0.  ])
    """
    return np.asarray(_losses(gaps))


@njit(cache=True, nogil=True)
def _total(n, T):  # type: ignore[no-untyped-def]
    return n * np.log(T / n)


@njit(cache=True, nogil=True)
def _losses(gaps):  # type: ignore[no-untyped-def]
    size = len(gaps)
    left, right = np.arange(-1, size - 1), np.arange(1, size + 1)
    number, length = np.ones(size), gaps.copy()
    alive, version = np.ones(size, np.bool_), np.zeros(size, np.int64)
    loss, highest = np.full(size, np.inf), 0.0
    heap = [(_total(2.0, gaps[i] + gaps[i + 1]) - np.log(gaps[i]) - np.log(gaps[i + 1]), i, 0) for i in range(size - 1)]
    heapq.heapify(heap)
    while len(heap):
        least, i, seen = heapq.heappop(heap)
        if not alive[i] or seen != version[i]:
            continue
        j = right[i]
        highest = max(highest, least)  # what is joined later is apart at every smaller loss
        loss[j] = highest
        number[i] += number[j]
        length[i] += length[j]
        alive[j] = False
        right[i] = right[j]
        if right[i] < size:
            left[right[i]] = i
        for first in (left[i], i):
            second = right[first] if first >= 0 else size
            if second < size:
                version[first] += 1
                together = _total(number[first] + number[second], length[first] + length[second])
                apart = _total(number[first], length[first]) + _total(number[second], length[second])
                heapq.heappush(heap, (together - apart, first, version[first]))
            elif first >= 0:
                version[first] += 1  # the last run has no neighbour any more
    return loss
