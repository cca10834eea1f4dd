"""Flush after the drain: when the last request is done, each disk's cache is flushed, one disk after another.

QEMU does so at a stop (bdrv_drain_all, then bdrv_flush_all). With N disks whose flushes take independent times of one
law, independent of the drain,

    T + G,   G = F_1 + … + F_N:   P(T + G > t) = P(G > t) + ∫_[0,t] P(T > t − x) dP(G <= x).

Mean and variance add up; constant flushes only shift the drain. Other laws are found on a grid of step h: a flush
rounded to the nearest point moves by h/2 at most, so T + G and each of its quantiles by Nh/2. Fourier transforms make
the N-fold sum and the integral. A flush longer than b, which one is with probability `BEYOND`, counts as b; then G
exceeds its mean by more than bL/3 + √((bL/3)² + 2 Var[G] L) with probability e^{−L} at most (Bernstein, 1924), and the
grid ends there. The drain's law, which may be costly, is asked for at few points, twice as many each time until a
monotone cubic (Fritsch and Carlson, 1980) through every other one meets those between.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from qtheory.drain.drain_law import DrainTime
from qtheory.laws import Law

Floats = NDArray[np.float64]
STEP, MOST = 1e-4, 1 << 21
"""By which part of the mean a quantile may be moved, where so many points reach as far."""
BEYOND = 1e-8
"""Probability of a flush, of a drain and of all flushes, beyond which it counts as that long."""
FIRST, LAST = 128, 2048
"""Points at which the drain's law is looked at."""
AGREED = 1e-7


def flushed(drain: DrainTime, flush: Law, disks: int) -> DrainTime:
    """The drain, and then a flush of each of so many disks.

    Examples
    --------
    >>> import qtheory as qt
    >>> disk = qt.Disk(qt.Closed(outstanding=1), buffer=1)
    >>> engine = qt.Engine([disk], qt.Device(servers=1, service=qt.Exponential(mean=0.01)))
    >>> both = qt.drain_time(engine, flush=qt.Exponential(mean=0.01))
    >>> erlang = qt.Erlang(phases=2, mean=0.02)
    >>> abs(both.quantile(0.99) / float(erlang.quantile(0.99)) - 1.0) < 1e-6
    True
    """
    mean, spread = disks * flush.mean, disks * flush.scv * flush.mean**2
    low, high = flush.support
    moved = missed = 0.0
    sf = _after(drain, disks * low)
    if low < high:
        sf, moved, missed = _summed(drain, flush, disks)
    bounds = dict(drain.error_bounds)
    bounds["sf"] += missed
    bounds["quantile"] = bounds.get("quantile", bounds["sf"]) + moved / (drain.mean + mean)
    return replace(drain, error_bounds=bounds, mean=drain.mean + mean, variance=drain.variance + spread, _sf=sf)


def _after(drain: DrainTime, delay: float) -> Callable[[float], float]:
    """P(T + delay > t)."""
    return lambda t: drain.sf(t - delay) if t >= delay else 1.0


def _summed(drain: DrainTime, flush: Law, disks: int) -> tuple[Callable[[float], float], float, float]:
    """P(T + G > t), by how much a quantile may be moved [s], and how far off the probability may be beside that."""
    from scipy.fft import irfft, next_fast_len, rfft

    left, end, missed = _followed(drain)
    longest = float(flush.quantile(1.0 - BEYOND))
    mean, variance = disks * flush.mean, disks * flush.scv * flush.mean**2
    jump = longest * math.log(1.0 / BEYOND) / 3.0
    farthest = min(
        disks * longest, max(mean + jump + math.sqrt(jump**2 + 6.0 * variance * jump / longest), 2.0 * longest)
    )
    step = max((end + farthest) / MOST, 2.0 * STEP / disks * (drain.mean + mean))
    points = math.ceil(longest / step) + 1
    late: Floats = np.append(np.asarray(flush.sf((np.arange(points - 1) + 0.5) * step)), 0.0)
    size = math.ceil(farthest / step) + math.ceil(end / step) + disks + 2
    length = next_fast_len(size, real=True)
    total = rfft(-np.diff(late, prepend=1.0), length) ** disks
    # with G rounded to the point itself a drain of nothing is over half of the times
    remaining = np.asarray(left(np.arange(math.ceil(end / step) + 1, dtype=np.float64) * step))
    remaining[0] = (1.0 + remaining[0]) / 2.0
    mass = np.maximum(irfft(total, length)[:size], 0.0)
    after = np.append(np.cumsum(mass[::-1])[::-1][1:], 0.0)
    survival = after + irfft(total * rfft(remaining, length), length)[:size]
    survival = np.minimum.accumulate(np.clip(survival, 0.0, 1.0))
    at = np.arange(size) * step
    return lambda t: float(np.interp(t, at, survival, right=0.0)), disks * step / 2.0, missed + (disks + 1) * BEYOND


def _followed(drain: DrainTime) -> tuple[Callable[[Floats], Floats], float, float]:
    """P(T > t) for arrays of t, where it ends [s], and how far off it was at the points between."""
    from scipy.interpolate import PchipInterpolator

    if drain.sf(0.0) <= BEYOND:
        return lambda t: np.zeros_like(t), 0.0, BEYOND
    end = max(drain.mean, 1e-300)
    while drain.sf(end) > BEYOND:
        end *= 1.25
    points = FIRST
    values: Floats = np.array([drain.sf(t) for t in np.linspace(0.0, end, points + 1).tolist()])
    while True:
        at = np.linspace(0.0, end, points + 1)
        between = np.array([drain.sf(t) for t in ((at[1:] + at[:-1]) / 2.0).tolist()])
        missed = float(np.abs(PchipInterpolator(at, values)((at[1:] + at[:-1]) / 2.0) - between).max())
        values = np.insert(between, np.arange(points + 1), values)
        points *= 2
        if missed <= AGREED or points >= LAST:
            return PchipInterpolator(np.linspace(0.0, end, points + 1), values), end, missed + BEYOND
