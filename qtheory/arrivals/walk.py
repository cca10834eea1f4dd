"""The walk of a Markovian arrival process through its phases: hold for an exponential time, move, note the arrivals."""

from __future__ import annotations

from numba import njit


@njit(cache=True, nogil=True)
def walk(rng, ends, hold, phase, now, times):  # type: ignore[no-untyped-def]
    """Fill `times` with arrivals after `now` [s]; return the phase and the time of the last.

    `hold` has the mean time in each phase [s]; row i of `ends` the cumulative probabilities of the moves from i, to
    each phase without an arrival, then with one.
    """
    n = len(hold)
    for k in range(len(times)):
        while True:
            now += rng.standard_exponential() * hold[phase]
            u, low, high = rng.random(), 0, 2 * n - 1
            while low < high:  # the first end above u
                middle = (low + high) // 2
                if ends[phase, middle] > u:
                    high = middle
                else:
                    low = middle + 1
            phase = low % n
            if low >= n:
                break
        times[k] = now
    return phase, now
