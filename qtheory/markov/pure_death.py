"""Pure death: n requests, nothing new, completions at rate r(j) while j are left. Time until none is left.

From n the time is a sum of independent exponentials, so mean and variance are sums of 1/r(j) and 1/r(j)². The law comes
by uniformization (`uniformization.py`) with a clock at the largest rate. Levels above the last one that is slower than
the clock lose exactly one request a tick, so they are a queue that feeds the others, and a tick costs only the levels
below. When n exponential clocks of equal rate run at once, r(j) = jμ, the time is their maximum, P(T <= t) =
(1 − e^{−μt})^n.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from qtheory.markov.uniformization import at_ticks, poisson_window

TAIL = 1e-20


@dataclass(frozen=True, eq=False)
class PureDeath:
    """Time to empty from the starting law `start[n]`, with rates `rates[j−1]` while j are left."""

    start: NDArray[np.float64]
    rates: NDArray[np.float64]

    @property
    def mean(self) -> float:
        """E[T] [s]."""
        return float(self.start @ np.concatenate([[0.0], np.cumsum(1.0 / self.rates)]))

    @property
    def variance(self) -> float:
        """Var[T] [s²]: of the sum given the start, and of its mean over the start."""
        given = np.concatenate([[0.0], np.cumsum(1.0 / self.rates)])
        within = float(self.start @ np.concatenate([[0.0], np.cumsum(1.0 / self.rates**2)]))
        return within + float(self.start @ (given - self.mean) ** 2)

    def sf(self) -> SurvivalFunction:
        """P(T > t) as a function of t >= 0."""
        used = np.flatnonzero(self.start > TAIL * self.start.max())
        start = self.start[: int(used[-1]) + 1]
        rates = self.rates[: len(start) - 1]
        if len(rates) == 0 or np.allclose(rates, rates[0] * np.arange(1, len(rates) + 1), rtol=1e-13, atol=0.0):
            return Maximum(start, float(rates[0]) if len(rates) else 1.0)
        clock = float(rates.max())
        slower = np.flatnonzero(rates < clock)
        levels = int(slower[-1]) + 1 if len(slower) else 0
        entering = start[levels + 1 :]
        above = np.cumsum(entering[::-1])[::-1]
        return Ticks(clock, _alive(start[: levels + 1].copy(), entering, above, rates / clock, TAIL))


@dataclass(frozen=True, eq=False)
class Maximum:
    """Survival function of the largest of n exponentials of one rate, n of law `start`."""

    start: NDArray[np.float64]
    rate: float

    def __call__(self, t: float) -> float:
        """P(T > t)."""
        if t <= 0.0:
            return float(self.start[1:].sum())
        numbers = np.arange(len(self.start))
        return float(self.start @ -np.expm1(numbers * np.log1p(-np.exp(-self.rate * t))))


@dataclass(frozen=True, eq=False)
class Ticks:
    """Survival function known at the ticks of a clock."""

    clock: float
    alive: NDArray[np.float64]

    def __call__(self, t: float) -> float:
        """P(T > t)."""
        return at_ticks(self.clock * max(t, 0.0), self.alive)


SurvivalFunction = Maximum | Ticks


def done_by(t: float, rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """P(T <= t) from each start 0, 1, ..., len(rates)."""
    clock = float(rates.max())
    first, weights = poisson_window(clock * t)
    return np.asarray(_done(rates / clock, first, weights))


@njit(cache=True)
def _alive(low, entering, above, chance, tail):  # type: ignore[no-untyped-def]
    """Probability that some request is left after 0, 1, 2, ... ticks; a tick completes one with `chance[j−1]`."""
    levels = len(low) - 1
    kept = []
    tick = 0
    while True:
        left = above[tick] if tick < len(above) else 0.0
        for j in range(levels, 0, -1):
            left += low[j]
        kept.append(left)
        if left <= tail:
            return np.array(kept)
        for j in range(1, levels + 1):
            leaving = low[j] * chance[j - 1]
            low[j] -= leaving
            low[j - 1] += leaving
        if tick < len(entering):
            low[levels] += entering[tick]
        tick += 1


@njit(cache=True)
def _done(chance, first, weights):  # type: ignore[no-untyped-def]
    """Poisson mixture of P(empty after k ticks) from each start."""
    size = len(chance) + 1
    empty = np.zeros(size)
    empty[0] = 1.0
    total = np.zeros(size)
    for tick in range(first + len(weights)):
        if tick >= first:
            for n in range(size):
                total[n] += weights[tick - first] * empty[n]
        for n in range(size - 1, 0, -1):
            empty[n] += chance[n - 1] * (empty[n - 1] - empty[n])
    return total
