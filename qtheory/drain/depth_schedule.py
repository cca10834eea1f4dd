"""Drain of a shared device whose depth limit changes before the stop: the transient, then the drain.

Let p be the requests taken from the rings and n those present, the rest, n − p, in the rings. Under the limit q the
chain (p, n, phases of the min(p, c) busy servers) moves so:

    a request comes, at the rate Λ(n)        n → n + 1, and p → p + 1 if p < q
    one is completed                         n → n − 1, and p → p − 1 if p > q or the rings are empty

so that requests taken beyond a new limit only leave, and below it p = min(n, q). A saturated guest submits again at
once, so with saturated disks n stays. The first step finds the stationary law (`solve/phase_type.py`); between steps
the law moves by uniformization (`markov/uniformization.py`); a step upwards takes requests at once. At the stop what
was taken is drained as in `drain/phase_type.py`.

As the law settles the ticks change it less and less, and never by more than before, for a stochastic matrix does not
lengthen a vector in the sum of absolute values. When what the last tick changed, times the ticks to come, is below
SETTLED, the rest of them is left out.

Λ(n) is exact for one disk and for saturated disks. For several it takes a total n to be split over them as in steady
state, which the change of the limit disturbs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.sparse import block_array, csr_array, diags_array, eye_array, kron

from qtheory.drain.drain_law import DrainTime
from qtheory.drain.phase_type import Death
from qtheory.drain.throttle import DepthSchedule
from qtheory.engine import Engine
from qtheory.markov.merging import arrival_rates
from qtheory.markov.uniformization import at_ticks, poisson_window
from qtheory.solve import phase_type
from qtheory.solve.phase_type import PhaseChain, is_exact, solved_chain
from qtheory.solve.product_form import station_population, station_rates

Floats = NDArray[np.float64]
ROUNDING = 1e-9
SETTLED = 1e-13
OUT_OF_REACH = 1e-14
"""Probability that more are present than are followed."""
MOST_STATES = 1_500_000
MOST_TICKS = 1_000_000
MOST_WORK = 1e10
"""States times ticks of a drain, minutes; of a lead, for which there is a bound, LEAD_WORK: seconds."""
LEAD_WORK = 3e8
MEASURED = {"mean": 0.025, "quantile": 0.035}
"""Largest relative errors for several open disks, the quantile's at 99 %, half-widths added, over the cells of
`validation/depth_schedule.py`: 2 to 4 disks on 4 servers at utilization 0.9 and 0.95, scv 1/3 to 4."""
SPLIT = (
    "a limit that changes disturbs how the disks share what is present; for 2 to 4 disks on 4 servers that put the "
    f"mean less than {MEASURED['mean']:.1%} off, elsewhere it was not measured"
)


class TooLargeError(ValueError):
    """The chain is too large, or the schedule too long, to be followed."""


def refusal(engine: Engine) -> str | None:
    """Why this method cannot answer for `engine`, or None."""
    if engine.streams:
        return f"the arrivals of disks[{engine.streams[0].disks[0]}] are not Poisson"
    if engine.hold == "refuse":
        return "it refuses at Q"
    saturated = [disk.saturated for disk in engine.disks]
    if any(saturated) and not all(saturated):
        return f"disks[{saturated.index(True)}] is saturated and disks[{saturated.index(False)}] is not"
    return phase_type.refusal(engine)


def drain(engine: Engine, schedule: DepthSchedule) -> DrainTime:
    """Drain of an engine that this method covers, stopped at time 0 of the schedule.

    Raises TooLargeError when the chain is too large, or the schedule too long, to be followed.
    """
    steps = schedule.steps
    transient = Transient.of(engine, -steps[0][0])
    law = transient.stationary
    for (at, limit), end in zip(steps, [*(at for at, _ in steps[1:]), 0.0], strict=True):
        if end > at:  # before the blocks are made: there may be too many
            Law(transient, transient.slots_under(limit), []).check(end - at, MOST_WORK)
        law = transient.under(limit, law).after(end - at)
    levels = law.taken
    death = Death(transient.chain, levels)
    mean, variance = death.moments
    exact = is_exact(engine)
    return DrainTime(
        method="depth_schedule",
        exact=exact,
        error_bounds={name: max(bound, ROUNDING) if exact else math.inf for name, bound in death.error_bounds.items()},
        warnings=death.warnings if exact else (SPLIT, *death.warnings),
        mean=mean,
        variance=variance,
        population_pmf=np.array([level.sum() for level in levels]),
        _sf=death.sf,
    )


def lead(engine: Engine, limit: int, budget: float, overrun: float, longest: float) -> float | None:
    """How long before the stop [s] the limit must begin for P(T > budget) to be at most `overrun`; 0 for no limit.

    None when `longest` is not enough.
    """
    transient = Transient.of(engine, longest)
    death = Death(transient.chain, transient.stationary.taken)
    late = death.overruns(budget)
    law = transient.under(limit, transient.stationary)
    law.check(longest, LEAD_WORK)
    chance = law.followed(late, longest)
    if chance(0.0) <= overrun:
        return 0.0
    if chance(longest) > overrun:
        return None
    return float(brentq(lambda t: chance(t) - overrun, 0.0, longest, xtol=1e-9 * longest))


@dataclass(frozen=True, eq=False)
class Transient:
    """The chain of (taken, present, phases) of an engine: `most` present at most, arriving at the rates `births[n]`."""

    chain: PhaseChain
    births: Floats
    most: int
    slots: int
    """Requests taken at most without a limit: Q where the rest stays in the rings."""

    @classmethod
    def of(cls, engine: Engine, longest: float) -> Transient:
        """The chain of an engine, for limits that hold for at most `longest` [s]."""
        chain = solved_chain(engine)[0]
        top = len(chain.levels) - 1
        if engine.disks[0].saturated:
            births, most = np.zeros(0), top
        else:
            fastest = float(sum(disk.arrival_rates().max() for disk in engine.disks))
            if fastest * longest > MOST_TICKS:
                raise TooLargeError(f"steps must not begin more than {MOST_TICKS / fastest:.3g} s before the stop")
            mean = fastest * longest
            # Chernoff: a Poisson number exceeds its mean by more than this with probability OUT_OF_REACH at most
            reach = -math.log(OUT_OF_REACH)
            coming = math.ceil(mean + math.sqrt(2.0 * mean * reach) + reach)
            most = min(engine.most, top + coming)
            births = arrival_rates(station_population(engine.disks, station_rates(engine)[0], most).ratios)[:most]
        return cls(chain, births, most, chain.slots if engine.hold == "ring" else most)

    @property
    def stationary(self) -> Law:
        """The law without a limit."""
        law = Law(self, self.slots, [])
        blocks = [np.zeros((law.rows(p), self.size(p))) for p in range(self.most + 1)]
        for n, level in enumerate(self.chain.levels):
            p = min(n, self.slots)
            if law.rows(p):
                blocks[p][0 if not len(self.births) else n - p] = level
        return replace(law, blocks=blocks)

    def size(self, taken: int) -> int:
        """States of the phases with so many taken."""
        return self.chain.counts.size(min(taken, self.chain.servers))

    def slots_under(self, limit: int | None) -> int:
        """Requests taken at most under the limit."""
        return self.slots if limit is None else min(limit, self.slots)

    def under(self, limit: int | None, law: Law) -> Law:
        """`law` at the moment when the limit becomes `limit`."""
        slots = self.slots_under(limit)
        here = Law(self, slots, [])
        blocks = [np.zeros((here.rows(p), self.size(p))) for p in range(self.most + 1)]
        for p, block in enumerate(law.blocks):
            for i, phases in enumerate(block):
                if phases.any():
                    n = p + i if len(self.births) else self.most
                    now = max(p, min(n, slots))
                    for busy in range(min(p, self.chain.servers), min(now, self.chain.servers)):
                        phases = phases @ self.chain.starts[busy]
                    blocks[now][n - now if len(self.births) else 0] += phases
        return replace(here, blocks=blocks)


@dataclass(frozen=True, eq=False)
class Law:
    """Law of the state while at most `slots` are taken: `blocks[p][i]`, i in the rings; one row where n is constant."""

    transient: Transient
    slots: int
    blocks: list[Floats] = field(repr=False)

    def rows(self, taken: int) -> int:
        """Numbers in the rings that occur with so many taken."""
        most = self.transient.most
        if not len(self.transient.births):
            return int(taken >= min(self.slots, most))
        return most - taken + 1 if taken >= self.slots else 1

    @property
    def taken(self) -> list[Floats]:
        """P(p taken, phases), what a drain starts from."""
        return [block.sum(axis=0) for block in self.blocks]

    def after(self, t: float) -> Law:
        """The law after t [s] under the same limit."""
        if t == 0.0:
            return self
        self.check(t, MOST_WORK)
        clock, step = self._step
        first, weights = poisson_window(clock * t)
        last = first + len(weights) - 1
        x = self._vector
        total = np.zeros_like(x)
        for k in range(last + 1):
            if k >= first:
                total += weights[k - first] * x
            moved = step @ x
            if float(np.abs(moved - x).sum()) * (last - k) < SETTLED:
                total += float(weights[max(k + 1 - first, 0) :].sum()) * moved
                break
            x = moved
        shapes = [block.shape for block in self.blocks]
        parts = np.split(total, np.cumsum([rows * size for rows, size in shapes])[:-1])
        return replace(self, blocks=[part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)])

    def followed(self, reward: list[Floats], longest: float) -> Followed:
        """E[reward(p, phases)] as a function of time, up to `longest` [s] from now."""
        clock, step = self._step
        first, weights = poisson_window(clock * longest)
        ticks = first + len(weights)
        values = np.concatenate([np.tile(r, len(block)) for r, block in zip(reward, self.blocks, strict=True)])
        x = self._vector
        seen = np.empty(ticks)
        for k in range(ticks):
            seen[k] = float(values @ x)
            moved = step @ x
            if float(np.abs(moved - x).sum()) * (ticks - k) < SETTLED:
                seen[k + 1 :] = float(values @ moved)
                break
            x = moved
        return Followed(clock, seen)

    def check(self, t: float, work: float) -> None:
        """Refuse to follow the chain for t [s] when that is too much work."""
        taken = range(self.transient.most + 1)
        states = sum(self.rows(p) * self.transient.size(p) for p in taken)
        if states > MOST_STATES:
            raise TooLargeError(f"the chain of this engine has {states} states, more than {MOST_STATES}")
        ticks = self._clock * t
        if ticks > MOST_TICKS or ticks * states > work:
            raise TooLargeError(f"the chain of this engine, {states} states, is too much to follow for {t:.3g} s")

    @property
    def _clock(self) -> float:
        """A rate at which no state is left faster."""
        chain, births = self.transient.chain, self.transient.births
        return chain.servers * chain.counts.fastest + (float(births.max()) if len(births) else 0.0)

    @property
    def _vector(self) -> Floats:
        return np.concatenate([block.ravel() for block in self.blocks])

    @cached_property
    def _step(self) -> tuple[float, csr_array]:
        """Rate of the clock, and the chain's step at its ticks, transposed."""
        chain, births, most = self.transient.chain, self.transient.births, self.transient.most
        shapes = [block.shape for block in self.blocks]
        clock = self._clock
        parts: list[list[csr_array | None]] = [[None] * (most + 1) for _ in range(most + 1)]
        for p, (rows, size) in enumerate(shapes):
            if rows == 0:
                continue
            busy = min(p, chain.servers)
            rates = kron(eye_array(rows), chain.internals[busy])
            leaving = np.tile(chain.counts.leaving(busy), rows)
            if len(births):
                coming = np.zeros(rows)
                there = births[p : p + rows]
                coming[: len(there)] = there
                leaving += np.repeat(coming, size)
                if p >= self.slots and rows > 1:
                    rates = rates + kron(diags_array(coming[:-1], offsets=1, shape=(rows, rows)), eye_array(size))
                elif p < self.slots and p < most:
                    enter = chain.starts[p] if p < chain.servers else eye_array(size)
                    into = csr_array(([coming[0]], ([0], [0])), shape=(1, shapes[p + 1][0]))
                    parts[p][p + 1] = csr_array(kron(into, enter) / clock)
            if p and p == min(self.slots, most):
                followed = chain.succeeding(p)
                if not len(births):
                    rates = rates + followed
                elif rows > 1:
                    rates = rates + kron(diags_array(np.ones(rows - 1), offsets=-1, shape=(rows, rows)), followed)
            if p and not (p == min(self.slots, most) and not len(births)):
                down = chain.finishes[p] if p <= chain.servers else chain.succeed
                below = shapes[p - 1][0]
                same = eye_array(rows, below) if p > self.slots else csr_array(([1.0], ([0], [0])), shape=(rows, below))
                parts[p][p - 1] = csr_array(kron(same, down) / clock)
            parts[p][p] = csr_array(rates / clock + diags_array(1.0 - leaving / clock))
        used = [p for p, (rows, _) in enumerate(shapes) if rows]
        step = block_array([[parts[p][to] for to in used] for p in used])
        return clock, csr_array(csr_array(step).T)


@dataclass(frozen=True, eq=False)
class Followed:
    """A mean as a function of time, known at the ticks of a clock."""

    clock: float
    seen: Floats

    def __call__(self, t: float) -> float:
        """Its value after t [s]."""
        return at_ticks(self.clock * t, self.seen)
