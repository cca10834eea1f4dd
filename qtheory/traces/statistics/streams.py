"""The arrivals of a block as streams: of all disks together first, then of each disk.

What is asked of the whole trace is asked of each disk as well. So a block's arrival times are laid out twice in one
array, in order of time and then disk by disk (a counting sort), and every tally runs over the streams the same way.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

NANO = 1e9

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Streams(NamedTuple):
    """Stream r has the arrival times `clock[bounds[r]:bounds[r + 1]]` [ns]: r = 0 all disks, r = d + 1 disk d.

    `order` has the requests' places in the block, disk by disk, as in `clock[bounds[1]:]`.
    """

    clock: Ints
    bounds: Ints
    order: Ints


def streams(clock: Ints, disk: Ints, disks: int) -> Streams:
    """The streams of a block whose requests arrive at `clock` [ns], rising, on disks below `disks`.

    >>> streams(np.array([0, 10, 30]), np.array([1, 0, 1]), 2)
    Streams(clock=array([ 0, 10, 30, 10,  0, 30]), bounds=array([0, 3, 4, 6]), order=array([1, 0, 2]))
    """
    laid = np.empty(2 * len(clock), dtype=np.int64)
    bounds = np.zeros(disks + 2, dtype=np.int64)
    order = np.empty(len(clock), dtype=np.int64)
    _sort(clock, disk, laid, bounds, order)
    return Streams(laid, bounds, order)


@njit(cache=True, nogil=True)
def _sort(clock, disk, laid, bounds, order):  # type: ignore[no-untyped-def]
    n = len(clock)
    bounds[1] = n
    for d in disk:
        bounds[d + 2] += 1
    for r in range(2, len(bounds)):
        bounds[r] += bounds[r - 1]
    place = bounds[1:].copy()
    for i in range(n):
        p = place[disk[i]]
        place[disk[i]] = p + 1
        laid[i] = laid[p] = clock[i]
        order[p - n] = i


def nanoseconds(times: Floats) -> Ints:
    """Times [s] in whole nanoseconds."""
    return np.rint(times * NANO).astype(np.int64)


def grown(array: NDArray[Any], rows: int) -> NDArray[Any]:
    """The array with room for `rows` rows, new ones zero; doubled, so that growing one by one stays cheap."""
    if rows <= len(array):
        return array
    more = np.zeros((max(rows, 2 * len(array)), *array.shape[1:]), dtype=array.dtype)
    more[: len(array)] = array
    return more
