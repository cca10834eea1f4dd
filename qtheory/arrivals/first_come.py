"""What arrivals find before them, first come first served: one pass, compiled."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def waits(arrival, service, servers):  # type: ignore[no-untyped-def]
    """Wait of each request in order of arrival; `free` holds when each server is free, rising (Kiefer & Wolfowitz)."""
    free, wait = np.zeros(servers), np.empty(len(arrival))
    for k in range(len(arrival)):
        begins = max(arrival[k], free[0])
        wait[k] = begins - arrival[k]
        ends, i = begins + service[k], 1
        while i < servers and free[i] < ends:
            free[i - 1] = free[i]
            i += 1
        free[i - 1] = ends
    return wait


@njit(cache=True, nogil=True)
def backlogs(gaps, work):  # type: ignore[no-untyped-def]
    """Backlog that each arrival finds when each brings the same work."""
    found, backlog = np.empty(len(gaps)), 0.0
    for k in range(len(gaps)):
        found[k] = backlog
        backlog = max(0.0, backlog + work - gaps[k])
    return found


@njit(cache=True, nogil=True)
def services(arrival, done, servers):  # type: ignore[no-untyped-def]
    """What was left for service of the time from each arrival until it was done: negative where it cannot be so."""
    free, service = np.zeros(servers), np.empty(len(arrival))
    for k in range(len(arrival)):
        service[k] = done[k] - max(arrival[k], free[0])
        ends, i = done[k], 1
        if ends > free[0]:  # `free` holds the latest completions, rising
            while i < servers and free[i] < ends:
                free[i - 1] = free[i]
                i += 1
            free[i - 1] = ends
    return service
