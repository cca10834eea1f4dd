"""Integration of the costs of `optimal_control.py`, by Heun's method."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def _slope(rates, arrival, v, takes, each, out):  # type: ignore[no-untyped-def]
    """Right side of the equation: where nothing is taken a request that comes costs `each`."""
    for n in range(len(v)):
        change = rates[n - 1] * (v[n - 1] - v[n]) if n > 0 else 0.0
        out[n] = change + (arrival * (v[n + 1] - v[n]) if takes[n] else arrival * each)


@njit(cache=True)
def best(rates, arrival, late, weight, start, step, steps):  # type: ignore[no-untyped-def]
    """Refused and overrun of the best policy, its two limits at each step before the stop, and whether it had two."""
    size = len(late)
    value, refused, overrun = weight * late, np.zeros(size), late.copy()
    takes = np.zeros(size, dtype=np.bool_)
    slopes = np.zeros((6, size))
    lower, upper = np.zeros(steps, dtype=np.int64), np.zeros(steps, dtype=np.int64)
    two_limits = 0
    for k in range(steps):
        for n in range(size - 1):
            takes[n] = value[n + 1] - value[n] < 1.0
        changes = 0
        lower[k], upper[k] = size - 1, size
        for n in range(size - 1):
            if not takes[n] and lower[k] == size - 1:
                lower[k] = n
            if n > 0 and takes[n] != takes[n - 1]:
                changes += 1
                if takes[n] and upper[k] == size:
                    upper[k] = n
        if changes < 2 or (changes == 2 and takes[0]):
            two_limits += 1
        _slope(rates, arrival, value, takes, 1.0, slopes[0])
        _slope(rates, arrival, refused, takes, 1.0, slopes[1])
        _slope(rates, arrival, overrun, takes, 0.0, slopes[2])
        ahead = value + step * slopes[0]
        for n in range(size - 1):
            takes[n] = ahead[n + 1] - ahead[n] < 1.0
        _slope(rates, arrival, ahead, takes, 1.0, slopes[3])
        _slope(rates, arrival, refused + step * slopes[1], takes, 1.0, slopes[4])
        _slope(rates, arrival, overrun + step * slopes[2], takes, 0.0, slopes[5])
        value += 0.5 * step * (slopes[0] + slopes[3])
        refused += 0.5 * step * (slopes[1] + slopes[4])
        overrun += 0.5 * step * (slopes[2] + slopes[5])
    return (start * refused).sum(), (start * overrun).sum(), lower, upper, two_limits / steps


@njit(cache=True)
def under(limits, rates, arrival, late, start, step):  # type: ignore[no-untyped-def]
    """Refused and overrun from each time to the stop on, where at most `limits[k]` are taken k steps before it."""
    size, steps = len(late), len(limits)
    turned, left = np.zeros(size), late.copy()
    takes = np.zeros(size, dtype=np.bool_)
    slopes = np.zeros((4, size))
    refused, overrun = np.zeros(steps + 1), np.zeros(steps + 1)
    overrun[0] = (start * late).sum()
    for k in range(steps):
        takes[:] = np.arange(size) < min(limits[k], size - 1)
        _slope(rates, arrival, turned, takes, 1.0, slopes[0])
        _slope(rates, arrival, left, takes, 0.0, slopes[1])
        _slope(rates, arrival, turned + step * slopes[0], takes, 1.0, slopes[2])
        _slope(rates, arrival, left + step * slopes[1], takes, 0.0, slopes[3])
        turned += 0.5 * step * (slopes[0] + slopes[2])
        left += 0.5 * step * (slopes[1] + slopes[3])
        refused[k + 1], overrun[k + 1] = (start * turned).sum(), (start * left).sum()
    return refused, overrun
