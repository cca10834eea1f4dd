"""Drain of a shared device with phase-type service: the chain of totals and phases, with the arrivals off.

The stop finds the stationary law of `solve/phase_type.py`, or of `solve/markovian_arrivals.py` where requests come in
bursts, phases of the busy servers included. From then on requests only finish: from m present, one finishes at the
rate that the phases give, and the next in line takes its server.
With D_m the rates from level m to m − 1, W_m those within and A_m = diag(what leaves) − W_m, the mean and the second
moment of the time to empty from level m are, state by state,

    t_m = A_m^{-1} (1 + D_m t_{m−1}),    s_m = A_m^{-1} (2 t_m + D_m s_{m−1}),

and the law comes by uniformization, in which all terms are positive and small probabilities keep their digits. Where
that takes more than MOST_WORK, since the line is long, the clock has to tick for each completion in it, and each tick
moves all of it, the Laplace transform of the law is inverted instead: from level m it is

    f_m(s) = (sI + A_m)^{-1} D_m f_{m−1}(s),

at a few hundred s (`markov/descent.py`, `markov/laplace.py`). Probabilities are then right to within ERROR.

When requests beyond Q are left in the guests' rings, a drain waits for at most Q: higher levels count as level Q, in
the phases in which they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import block_array, csr_array, diags_array
from scipy.sparse.linalg import splu

from qtheory.drain.drain_law import DrainTime
from qtheory.drain.throttle import DepthLimit
from qtheory.engine import Engine
from qtheory.markov.descent import fall
from qtheory.markov.laplace import ERROR, FromTransform
from qtheory.markov.phase_counts import PhaseCounts
from qtheory.markov.uniformization import at_ticks, poisson_window
from qtheory.solve import markovian_arrivals, phase_type
from qtheory.solve.markovian_arrivals import BurstyChain
from qtheory.solve.phase_type import is_exact, solved_chain

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]
TAIL = 1e-18
ROUNDING = 1e-10
MOST_WORK = 1e8
"""States times ticks, half a second."""
FAR = 10.0
"""Standard deviations above its mean by which a drain is over."""
LEAST_SF = 1e-3
"""Down to which probability an inverted transform keeps its relative error."""
SHARED = "how the disks share the line is approximated"
ABSOLUTE = f"probabilities below {LEAST_SF:g} are right to within {ERROR:g} only, by inversion of a transform"


def refusal(engine: Engine) -> str | None:
    """Why this method cannot answer for `engine`, or None."""
    return markovian_arrivals.refusal(engine) if engine.streams else phase_type.refusal(engine)


def drain(engine: Engine, throttle: DepthLimit | None, present: tuple[int, ...] | None) -> DrainTime:
    """Drain of an engine that these methods cover, under a limit over all disks or none.

    Raises ValueError when `present` is a number that the engine practically never has.
    """
    limit = None if throttle is None else throttle.limit
    # A given number may be one that the engine hardly ever has.
    whole = present is not None
    chain = BurstyChain.of(engine, limit).whole if engine.streams else solved_chain(engine, limit, whole=whole)[0]
    exact = is_exact(engine)
    levels = chain.levels
    if present is not None:
        levels = given(chain.levels, sum(present))
    if throttle is not None or engine.hold == "ring":
        levels = taken(levels, chain.slots)
    death = Death(chain, levels)
    mean, variance = death.moments
    return DrainTime(
        method="phase_type",
        exact=exact,
        error_bounds=death.error_bounds if exact else dict.fromkeys(death.error_bounds, math.inf),
        warnings=death.warnings if exact else (SHARED, *death.warnings),
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
        self.clock = chain.servers * chain.counts.fastest

    @property
    def moments(self) -> tuple[float, float]:
        """Mean and variance of the time until nothing is present."""
        mean, square = self.raw_moments
        return mean, max(square - mean * mean, 0.0)

    @cached_property
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

    @cached_property
    def by_ticks(self) -> bool:
        """Whether the law comes by uniformization; otherwise, or where phases recur, from its transform."""
        states = sum(len(level) for level in self.levels)
        started = sum(float(level.sum()) for level in self.levels)
        mean, square = (moment / started for moment in self.raw_moments)
        ticks = self.clock * (mean + FAR * math.sqrt(max(square - mean * mean, 0.0)))
        return ticks * states <= MOST_WORK or bool(np.tril(self.chain.counts.change).any())

    @property
    def error_bounds(self) -> dict[str, float]:
        """Relative errors of an exact chain's moments and P(T > t)."""
        return {"mean": ROUNDING, "variance": ROUNDING, "sf": ROUNDING if self.by_ticks else ERROR / LEAST_SF}

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to know of P(T > t)."""
        return () if self.by_ticks else (ABSOLUTE,)

    def sf(self, t: float) -> float:
        """P(something is left after t [s])."""
        return self._survival(t)

    @cached_property
    def _survival(self) -> Callable[[float], float]:
        if self.by_ticks:
            alive = self._ticks()
            return lambda t: at_ticks(self.clock * t, alive)
        left = sum(float(level.sum()) for level in self.levels[1:])
        law = FromTransform(
            lambda s: self.transform(s) / left, self.raw_moments[0] / left, float(self.chain.counts.leaving(1).min())
        )
        return lambda t: left * law.sf(t)

    def transform(self, s: Complexes) -> Complexes:
        """E[e^{−sT}; something is there at first] at each s; of chains in which no phase recurs."""
        servers, counts, internals = self.chain.servers, self.chain.counts, self.chain.internals
        top = len(self.levels) - 1
        while not self.levels[top].sum() > TAIL:
            top -= 1
        coming = np.zeros((len(self.levels[top]), len(s)), dtype=np.complex128)
        if top > servers:
            line = np.array(self.levels[servers + 1 : top + 1])
            coming = fall(s, coming, line, counts.leaving(servers), internals[servers], self.chain.succeed)
        for m in range(min(top, servers), 0, -1):
            coming = fall(s, coming, self.levels[m][None], counts.leaving(m), internals[m], self.chain.finishes[m])
        return np.asarray(coming[0])

    def _down(self, m: int) -> csr_array:
        return self.chain.finishes[m] if m <= self.chain.servers else self.chain.succeed

    def _ticks(self) -> Floats:
        """Probability that something is left after 0, 1, 2, ... ticks."""
        if len(self.levels) == 1:
            return np.zeros(1)
        tick = csr_array(self.tick(len(self.levels) - 1).T)
        x = np.concatenate(self.levels[1:])
        alive = [float(x.sum())]
        while alive[-1] > TAIL:
            x = tick @ x
            alive.append(float(x.sum()))
        return np.array(alive)

    def overruns(self, t: float) -> list[Floats]:
        """P(something is left after t [s]) from each state of each level."""
        first, weights = poisson_window(self.clock * t)
        ticks = first + len(weights) - 1
        sizes = [len(level) for level in self.levels[1 : ticks + 1]]  # from higher up it takes more ticks
        higher = [np.ones(len(level)) for level in self.levels[len(sizes) + 1 :]]
        if not sizes:
            return [np.zeros(1), *higher]
        tick = self.tick(len(sizes))
        left, total = np.ones(sum(sizes)), np.zeros(sum(sizes))
        for k in range(ticks + 1):
            if k >= first:
                total += weights[k - first] * left
            left = tick @ left
        return [np.zeros(1), *np.split(total, np.cumsum(sizes)[:-1]), *higher]

    def tick(self, top: int) -> csr_array:
        """The chain's step at a tick of the clock, among the states of the levels 1, ..., `top`."""
        counts, servers = self.chain.counts, self.chain.servers
        blocks: list[list[csr_array | None]] = [[None] * top for _ in range(top)]
        for m in range(1, top + 1):
            busy = min(m, servers)
            stay = self.chain.internals[busy] / self.clock + diags_array(1.0 - counts.leaving(busy) / self.clock)
            blocks[m - 1][m - 1] = csr_array(stay)
            if m > 1:
                blocks[m - 1][m - 2] = csr_array(self._down(m) / self.clock)
        return csr_array(block_array(blocks))
