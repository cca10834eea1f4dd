"""Integration of the costs of `optimal_control.py`, by Heun's method.

Each loop goes over states that are treated alike, without a branch, so that it is compiled to vector instructions.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def _slope(rates, arrival, v, limit, each, out):  # type: ignore[no-untyped-def]
    """Right side of the equation below `limit`; from there on a request that comes costs `each`."""
    more, rest = v[1 : limit + 1], out[limit:]
    for n in range(limit):
        out[n] = arrival * (more[n] - v[n])
    for n in range(len(rest)):
        rest[n] = arrival * each
    _completions(rates, v, out)


@njit(cache=True)
def _best_slopes(rates, arrival, value, overrun, value_out, overrun_out):  # type: ignore[no-untyped-def]
    """Right sides of the least cost and of its overrun: a request is taken where that costs less than 1."""
    last = len(value) - 1
    more, later = value[1:], overrun[1:]
    for n in range(last):
        dearer, riskier = more[n] - value[n], later[n] - overrun[n]
        value_out[n] = arrival * (dearer if dearer < 1.0 else 1.0)
        overrun_out[n] = arrival * (riskier if dearer < 1.0 else 0.0)
    value_out[last], overrun_out[last] = arrival, 0.0
    _completions(rates, value, value_out)
    _completions(rates, overrun, overrun_out)


@njit(cache=True)
def _completions(rates, v, out):  # type: ignore[no-untyped-def]
    """Add what completions change."""
    here, into = v[1:], out[1:]
    for n in range(len(rates)):
        into[n] += rates[n] * (v[n] - here[n])


@njit(cache=True)
def _mean(start, v):  # type: ignore[no-untyped-def]
    """Eight partial sums, as wide as a vector instruction."""
    parts = np.zeros(8)
    whole = len(v) // 8 * 8
    for n in range(0, whole, 8):
        for i in range(8):
            parts[i] += start[n + i] * v[n + i]
    total = parts.sum()
    for n in range(whole, len(v)):
        total += start[n] * v[n]
    return total


@njit(cache=True)
def _ahead(v, step, slope, out):  # type: ignore[no-untyped-def]
    for n in range(len(v)):
        out[n] = v[n] + step * slope[n]


@njit(cache=True)
def _advance(v, step, slope, later):  # type: ignore[no-untyped-def]
    for n in range(len(v)):
        v[n] += 0.5 * step * (slope[n] + later[n])


@njit(cache=True)
def best(rates, arrival, late, weight, start, step, steps):  # type: ignore[no-untyped-def]
    """Refused and overrun of the best policy, its two limits at each step before the stop, and whether it had two."""
    size = len(late)
    value, overrun = weight * late, late.copy()
    ahead, slopes = np.empty((2, size)), np.empty((4, size))
    lower, upper = np.full(steps, size - 1), np.full(steps, size)
    two_limits = 0
    for k in range(steps):
        changes = 0
        took = True
        for n in range(size - 1):
            takes = value[n + 1] - value[n] < 1.0
            if takes != took or (n == 0 and not takes):
                if n > 0:
                    changes += 1
                if not takes and lower[k] == size - 1:
                    lower[k] = n
                if takes and upper[k] == size:
                    upper[k] = n
                took = takes
        if changes < 2 or (changes == 2 and value[1] - value[0] < 1.0):
            two_limits += 1
        _best_slopes(rates, arrival, value, overrun, slopes[0], slopes[1])
        _ahead(value, step, slopes[0], ahead[0])
        _ahead(overrun, step, slopes[1], ahead[1])
        _best_slopes(rates, arrival, ahead[0], ahead[1], slopes[2], slopes[3])
        _advance(value, step, slopes[0], slopes[2])
        _advance(overrun, step, slopes[1], slopes[3])
    late_in_all = (start * overrun).sum()
    return (start * value).sum() - weight * late_in_all, late_in_all, lower, upper, two_limits / steps


@njit(cache=True)
def under(limits, rates, arrival, late, start, step, enough=-1.0):  # type: ignore[no-untyped-def]
    """Refused and overrun from each time to the stop on, where at most `limits[k]` are taken k steps before it.

    Times from which the overrun is at most `enough` end it.
    """
    size, steps = len(late), len(limits)
    turned, left = np.zeros(size), late.copy()
    ahead, slopes = np.empty((2, size)), np.empty((4, size))
    refused, overrun = np.zeros(steps + 1), np.zeros(steps + 1)
    overrun[0] = (start * late).sum()
    for k in range(steps):
        limit = min(limits[k], size - 1)
        _slope(rates, arrival, turned, limit, 1.0, slopes[0])
        _slope(rates, arrival, left, limit, 0.0, slopes[1])
        _ahead(turned, step, slopes[0], ahead[0])
        _ahead(left, step, slopes[1], ahead[1])
        _slope(rates, arrival, ahead[0], limit, 1.0, slopes[2])
        _slope(rates, arrival, ahead[1], limit, 0.0, slopes[3])
        _advance(turned, step, slopes[0], slopes[2])
        _advance(left, step, slopes[1], slopes[3])
        refused[k + 1], overrun[k + 1] = _mean(start, turned), _mean(start, left)
        if overrun[k + 1] <= enough:
            return refused[: k + 2], overrun[: k + 2]
    return refused, overrun
