"""Drain of a shared device with phase-type service: the chain of totals and phases, with the arrivals off.

The stop finds the stationary law of `solve/phase_type.py`, or of `solve/markovian_arrivals.py` where requests come in
bursts, phases of the busy servers included. From then on requests only finish: from m present, one finishes at the
rate that the phases give, and the next in line takes its server.
With D_m the rates from level m to m − 1, W_m those within and A_m = diag(what leaves) − W_m, the mean and the second
moment of the time to empty from level m are, state by state,

    t_m = A_m^{-1} (1 + D_m t_{m−1}),    s_m = A_m^{-1} (2 t_m + D_m s_{m−1}),

and the law comes by uniformization. When requests beyond Q are left in the guests' rings, a drain waits for at most Q:
higher levels count as level Q, in the phases in which they are.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import block_array, csr_array, diags_array
from scipy.sparse.linalg import splu

from qtheory.drain.drain_law import DrainTime
from qtheory.drain.throttle import DepthLimit
from qtheory.engine import Engine
from qtheory.markov.phase_counts import PhaseCounts
from qtheory.markov.uniformization import at_ticks, poisson_window
from qtheory.solve import markovian_arrivals, phase_type
from qtheory.solve.markovian_arrivals import BurstyChain
from qtheory.solve.phase_type import is_exact, solved_chain

Floats = NDArray[np.float64]
TAIL = 1e-18
ROUNDING = 1e-10


def refusal(engine: Engine) -> str | None:
    """Why this method cannot answer for `engine`, or None."""
    return markovian_arrivals.refusal(engine) if engine.streams else phase_type.refusal(engine)


def drain(engine: Engine, throttle: DepthLimit | None, present: tuple[int, ...] | None) -> DrainTime:
    """Drain of an engine that these methods cover, under a limit over all disks or none.

    Raises ValueError when `present` is a number that the engine practically never has.
    """
    limit = None if throttle is None else throttle.limit
    chain = BurstyChain.of(engine, limit).whole if engine.streams else solved_chain(engine, limit)[0]
    exact = is_exact(engine)
    levels = chain.levels
    if present is not None:
        levels = given(chain.levels, sum(present))
    if throttle is not None or engine.hold == "ring":
        levels = taken(levels, chain.slots)
    death = Death(chain, levels)
    mean, variance = death.moments
    bound = ROUNDING if exact else math.inf
    return DrainTime(
        method="phase_type",
        exact=exact,
        error_bounds=dict.fromkeys(("mean", "variance", "sf"), bound),
        warnings=() if exact else ("how the disks share the line is approximated, and the error not measured yet",),
        mean=mean,
        variance=variance,
        population_pmf=np.array([level.sum() for level in levels]),
        _sf=death.sf,
    )


def given(levels: list[Floats], present: int) -> list[Floats]:
    """Levels when so many are present, in the phases in which the stationary chain is then."""
    if present >= len(levels) or not levels[present].sum() > 0.0:
        raise ValueError(f"population must be a number that the engine has at times, not {present}")
    empty = [np.zeros(len(level)) for level in levels[:present]]
    return [*empty, levels[present] / levels[present].sum()]


def taken(levels: list[Floats], slots: int) -> list[Floats]:
    """Levels of min(n, slots)."""
    if len(levels) <= slots + 1:
        return levels
    return [*levels[:slots], np.sum(levels[slots:], axis=0)]


class Serving(Protocol):
    """What is followed of a chain when nothing more arrives; see `PhaseChain`."""

    @property
    def servers(self) -> int: ...

    @property
    def counts(self) -> PhaseCounts: ...

    @property
    def internals(self) -> list[csr_array]: ...

    @property
    def finishes(self) -> list[csr_array]: ...

    @property
    def succeed(self) -> csr_array: ...


class Death:
    """The chain without arrivals, from the law `levels` over levels and phases."""

    def __init__(self, chain: Serving, levels: list[Floats]) -> None:
        self.chain, self.levels = chain, levels
        self._clock = chain.servers * chain.counts.fastest
        self._alive: Floats | None = None

    @property
    def moments(self) -> tuple[float, float]:
        """Mean and variance of the time until nothing is present."""
        mean, square = self.raw_moments
        return mean, max(square - mean * mean, 0.0)

    @property
    def raw_moments(self) -> tuple[float, float]:
        """E[T] and E[T²] of that time."""
        first, second = np.zeros(1), np.zeros(1)
        mean = square = 0.0
        for m, level in enumerate(self.levels):
            if m > 0:
                if m <= self.chain.servers:
                    busy = diags_array(self.chain.counts.leaving(m)) - self.chain.internals[m]
                    solver = splu(csr_array(busy).tocsc())
                below = self._down(m)
                first = solver.solve(np.ones(len(level)) + below @ first)
                second = solver.solve(2.0 * first + below @ second)
            mean += float(level @ first)
            square += float(level @ second)
        return mean, square

    def sf(self, t: float) -> float:
        """P(something is left after t [s])."""
        if self._alive is None:
            self._alive = self._ticks()
        return at_ticks(self._clock * t, self._alive)

    def _down(self, m: int) -> csr_array:
        return self.chain.finishes[m] if m <= self.chain.servers else self.chain.succeed

    def _ticks(self) -> Floats:
        """Probability that something is left after 0, 1, 2, ... ticks."""
        if len(self.levels) == 1:
            return np.zeros(1)
        tick = csr_array(self.tick[1].T)
        x = np.concatenate(self.levels[1:])
        alive = [float(x.sum())]
        while alive[-1] > TAIL:
            x = tick @ x
            alive.append(float(x.sum()))
        return np.array(alive)

    def overruns(self, t: float) -> list[Floats]:
        """P(something is left after t [s]) from each state of each level."""
        sizes = [len(level) for level in self.levels[1:]]
        if not sizes:
            return [np.zeros(1)]
        _, tick = self.tick
        first, weights = poisson_window(self._clock * t)
        left, total = np.ones(sum(sizes)), np.zeros(sum(sizes))
        for k in range(first + len(weights)):
            if k >= first:
                total += weights[k - first] * left
            left = tick @ left
        return [np.zeros(1), *np.split(total, np.cumsum(sizes)[:-1])]

    @property
    def tick(self) -> tuple[float, csr_array]:
        """The rate of a clock, and the chain's step at its tick, among the states in which something is left."""
        counts, servers = self.chain.counts, self.chain.servers
        top = len(self.levels) - 1
        blocks: list[list[csr_array | None]] = [[None] * top for _ in range(top)]
        for m in range(1, top + 1):
            busy = min(m, servers)
            stay = self.chain.internals[busy] / self._clock + diags_array(1.0 - counts.leaving(busy) / self._clock)
            blocks[m - 1][m - 1] = csr_array(stay)
            if m > 1:
                blocks[m - 1][m - 2] = csr_array(self._down(m) / self._clock)
        return self._clock, csr_array(block_array(blocks))
