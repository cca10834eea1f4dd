"""Drain of a shared device whose depth limit changes before the stop: the transient, then the drain.

Let p be the requests taken from the rings and n those present, the rest, n − p, in the rings. Under the limit q the
chain (p, n, phases of the min(p, c) busy servers) moves so:

    a request comes, at the rate Λ(n)        n → n + 1, and p → p + 1 if p < q
    one is completed                         n → n − 1, and p → p − 1 if p > q or the rings are empty

so that requests taken beyond a new limit only leave, and below it p = min(n, q). A saturated guest submits again at
once: of the completions those of saturated disks, as many as are theirs of what is present, leave n as it is. Bursts
add the phase of their arrivals to the state, as in `solve/markovian_arrivals.py`. At a rate curve a request has one
phase. Where guests wait for room, n counts what they hold back (`solve/guests_that_wait.py`): under a limit that no
buffer is smaller than, p = min(n, q) all the same. The first step finds the stationary law (`solve/phase_type.py`);
between steps the law moves by uniformization (`markov/uniformization.py`); a step upwards takes requests at once. At
the stop what was taken is drained as in `drain/phase_type.py`.

As the law settles the ticks change it less and less, and never by more than before, for a stochastic matrix does not
lengthen a vector in the sum of absolute values. When what the last tick changed, times the ticks to come, is below
SETTLED, the rest of them is left out.

Λ(n) is exact for one disk and for saturated disks. For several it takes a total n to be split over them as in steady
state, which the change of the limit disturbs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.sparse import block_array, csr_array, diags_array, eye_array, kron

from qtheory.arrivals import MAP, Closed, Marked
from qtheory.drain.drain_law import DrainTime
from qtheory.drain.phase_type import Death
from qtheory.drain.throttle import DepthSchedule
from qtheory.engine import Disk, Engine
from qtheory.laws import Exponential
from qtheory.markov.merging import arrival_rates
from qtheory.markov.phase_counts import PhaseCounts
from qtheory.markov.uniformization import at_ticks, poisson_window
from qtheory.solve import guests_that_wait, markovian_arrivals, phase_type, product_form
from qtheory.solve.guests_that_wait import Totals, shared
from qtheory.solve.markovian_arrivals import BurstyChain
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
    f"mean less than {MEASURED['mean']:.1%} off"
)


class TooLargeError(ValueError):
    """The chain is too large, or the schedule too long, to be followed."""


def refusal(engine: Engine, limits: Sequence[int | None] = ()) -> str | None:
    """Why this method cannot answer for `engine`, with these limits, or None."""
    if _guests_wait(engine):
        reason = guests_that_wait.refusal(engine)
        if reason is not None:
            return reason
        if len(engine.disks) > 1 and guests_that_wait.independent(engine):
            return "its disks cannot fill the servers together"
        if any(limit is None or limit > _room(engine) for limit in limits):
            return f"guests wait for a buffer of {_room(engine)}, less than a limit"
        return None
    if engine.devices[0].service is None:
        return product_form.refusal(engine)
    return markovian_arrivals.refusal(engine) if engine.streams else phase_type.refusal(engine)


def _guests_wait(engine: Engine) -> bool:
    return any(disk.guest_waits and not disk.saturated for disk in engine.disks)


def _room(engine: Engine) -> int:
    """The smallest buffer for which a guest waits."""
    return min(disk.buffer for disk in engine.disks if disk.guest_waits)


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
    exact = is_exact(engine) and not _guests_wait(engine)
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


class Flow(NamedTuple):
    """Arrivals by the number present, n: taken in at `coming[n]` and refused at `refused[n]` times `moves`."""

    coming: Floats
    refused: Floats
    moves: csr_array
    """Among the phases of the arrivals."""


@dataclass(frozen=True, eq=False)
class Transient:
    """The chain of (taken, present, phases) of an engine, from `least` to `most` present."""

    chain: PhaseChain
    natural: list[tuple[int, int, Floats]]
    """Taken, present, and P(both, phase of the arrivals, phases of the busy servers), without a limit."""
    flows: list[Flow]
    silent: csr_array
    """Moves of the phases of the arrivals without one."""
    least: int
    """Requests of saturated disks, which are always present."""
    most: int
    slots: int
    """Requests taken at most without a limit: Q where the rest stays in the rings."""

    @classmethod
    def of(cls, engine: Engine, longest: float) -> Transient:
        """The chain of an engine, for limits that hold for at most `longest` [s]."""
        fastest = sum(_fastest(disk) for disk in engine.disks if not disk.saturated)
        if fastest * longest > MOST_TICKS:
            raise TooLargeError(f"steps must not begin more than {MOST_TICKS / fastest:.3g} s before the stop")
        mean = fastest * longest
        # Chernoff: a Poisson number exceeds its mean by more than this with probability OUT_OF_REACH at most
        reach = -math.log(OUT_OF_REACH)
        coming = math.ceil(mean + math.sqrt(2.0 * mean * reach) + reach)
        least = sum(disk.most for disk in engine.disks if disk.saturated)
        if _guests_wait(engine):
            return cls._with_guests(engine, coming)
        if engine.streams:
            bursty = BurstyChain.of(engine, beyond=coming)
            flows = [Flow(_from(least, bursty.calm), np.zeros(least + len(bursty.calm)), csr_array(bursty.still))]
            for flow, accepted in zip(bursty.flows, bursty.accepting, strict=True):
                flows.append(Flow(_from(least, accepted), _from(least, 1.0 - accepted), csr_array(flow.moves)))
            chain, present, silent, most = bursty.servers, bursty.levels, csr_array(bursty.silent), bursty.top
        else:
            chain = _curve_chain(engine) if engine.devices[0].service is None else solved_chain(engine)[0]
            present, silent = [level[None] for level in chain.levels], csr_array((1, 1))
            most = min(engine.most, len(present) - 1 + coming)
            number = station_population(engine.disks, station_rates(engine)[0][:most], most - least)
            births = arrival_rates(number.ratios)[:-1] if most > least else np.zeros(0)
            births = np.append(births, np.zeros(most - least - len(births) + 1))
            flows = [Flow(_from(least, births), np.zeros(most + 1), csr_array(np.ones((1, 1))))]
        slots = chain.slots if engine.hold == "ring" else most
        natural = [(min(n, slots), n, level) for n, level in enumerate(present) if n >= least]
        return cls(chain, natural, flows, silent, least, most, slots)

    @classmethod
    def _with_guests(cls, engine: Engine, coming: int) -> Transient:
        """The same with what waits in the guests counted as present, for limits that no buffer is smaller than."""
        server, _, made, total, chain = shared(engine)
        root, levels = made[-1], [np.array([p]) for p in total]
        if chain is None:
            assert server.rates is not None
            counts = _CurveCounts(server.rates[1 : server.servers + 1])
            chain = replace(Totals(Exponential(1.0).phase_type(), server.servers).chain, counts=counts)
        else:
            levels = chain.levels[: len(total)]
        most, rates = len(total) - 1, root.rate[: len(total)]
        if any(disk.full == "wait" and not isinstance(disk.arrivals, Closed) for disk in engine.disks):
            most, rates = most + coming, np.append(rates, np.full(coming, rates[-1]))
        slots = engine.queue_length if engine.hold == "ring" and engine.queue_length else most
        natural = []
        for t, level in enumerate(levels):
            for n in range(min(t, _room(engine)), min(t, root.law.shape[1] - 1) + 1):
                natural.append((min(n, slots), t, root.law[t, n] * level[None]))
        flows = [Flow(rates, np.zeros(most + 1), csr_array(np.ones((1, 1))))]
        return cls(chain, natural, flows, csr_array((1, 1)), 0, most, min(slots, _room(engine)))

    @property
    def order(self) -> int:
        """Number of phases of the arrivals."""
        return int(self.silent.shape[0])

    @property
    def stationary(self) -> Law:
        """The law without a limit."""
        law = Law(self, self.slots, [])
        blocks = law.empty()
        for p, n, level in self.natural:
            if level.any():
                blocks[p][n - law.lowest(p)] += level
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
        blocks = here.empty()
        for p, block in enumerate(law.blocks):
            for n, phases in enumerate(block, start=law.lowest(p)):
                if phases.any():
                    now = max(p, min(n, slots))
                    for busy in range(min(p, self.chain.servers), min(now, self.chain.servers)):
                        phases = phases @ self.chain.starts[busy]
                    blocks[now][n - here.lowest(now)] += phases
        return replace(here, blocks=blocks)


@dataclass(frozen=True, eq=False)
class Law:
    """Law of the state while at most `slots` are taken: `blocks[p][i, j]`, i the number present from the lowest on that
    goes with p taken, and j the phase of the arrivals."""

    transient: Transient
    slots: int
    blocks: list[Floats] = field(repr=False)

    def lowest(self, taken: int) -> int:
        """Least number present with so many taken."""
        return max(taken, self.transient.least)

    def rows(self, taken: int) -> int:
        """Numbers present that occur with so many taken."""
        highest = self.transient.most if taken >= self.slots else taken
        return max(highest - self.lowest(taken) + 1, 0)

    def empty(self) -> list[Floats]:
        """Blocks of nothing."""
        order, size = self.transient.order, self.transient.size
        return [np.zeros((self.rows(p), order, size(p))) for p in range(self.transient.most + 1)]

    @property
    def taken(self) -> list[Floats]:
        """P(p taken, phases), what a drain starts from."""
        return [block.sum(axis=(0, 1)) for block in self.blocks]

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
        parts = np.split(total, np.cumsum([block.size for block in self.blocks])[:-1])
        return replace(self, blocks=[part.reshape(block.shape) for part, block in zip(parts, self.blocks, strict=True)])

    def followed(self, reward: list[Floats], longest: float) -> Followed:
        """E[reward(p, phases)] as a function of time, up to `longest` [s] from now."""
        clock, step = self._step
        first, weights = poisson_window(clock * longest)
        ticks = first + len(weights)
        order = self.transient.order
        values = np.concatenate([np.tile(r, len(block) * order) for r, block in zip(reward, self.blocks, strict=True)])
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
        states = sum(self.rows(p) * self.transient.order * self.transient.size(p) for p in taken)
        if states > MOST_STATES:
            raise TooLargeError(f"the chain of this engine has {states} states, more than {MOST_STATES}")
        ticks = self._clock * t
        if ticks > MOST_TICKS or ticks * states > work:
            raise TooLargeError(f"the chain of this engine, {states} states, is too much to follow for {t:.3g} s")

    @property
    def _clock(self) -> float:
        """A rate at which no state is left faster."""
        chain = self.transient.chain
        arriving = self.transient.silent.sum(axis=1)
        for flow in self.transient.flows:
            arriving = arriving + float((flow.coming + flow.refused).max()) * flow.moves.sum(axis=1)
        return chain.servers * chain.counts.fastest + float(np.max(arriving))

    @property
    def _vector(self) -> Floats:
        return np.concatenate([block.ravel() for block in self.blocks])

    @cached_property
    def _step(self) -> tuple[float, csr_array]:
        """Rate of the clock, and the chain's step at its ticks, transposed."""
        chain, least, most = self.transient.chain, self.transient.least, self.transient.most
        still = eye_array(self.transient.order)
        clock = self._clock
        used = [p for p in range(most + 1) if self.rows(p)]
        parts: dict[tuple[int, int], csr_array] = {}

        def move(p: int, to: int, change: int, rates: Floats, arrivals: csr_array, servers: csr_array) -> None:
            """From p taken to `to`, by so many present more; `rates` by the number present."""
            here = np.flatnonzero(rates) + self.lowest(p)
            rows = (here - self.lowest(p), here + change - self.lowest(to))
            if len(here):
                numbers = csr_array((rates[rows[0]], rows), shape=(self.rows(p), self.rows(to)))
                rate = csr_array(kron(kron(numbers, arrivals), servers) / clock)
                parts[p, to] = parts[p, to] + rate if (p, to) in parts else rate

        for p in used:
            present = np.arange(self.rows(p)) + self.lowest(p)
            same = eye_array(self.transient.size(p))
            always = np.ones(len(present))
            move(p, p, 0, always, still, chain.internals[min(p, chain.servers)])
            move(p, p, 0, always, self.transient.silent, same)
            for flow in self.transient.flows:
                coming = np.where(present < most, flow.coming[present], 0.0)
                move(p, p, 0, flow.refused[present], flow.moves, same)
                if p < self.slots and p < most:
                    move(p, p + 1, 1, coming, flow.moves, chain.starts[p] if p < chain.servers else same)
                else:
                    move(p, p, 1, coming, flow.moves, same)
            if p == 0:
                continue
            again = least / present  # a saturated disk's, which submits anew
            down = chain.finishes[p] if p <= chain.servers else chain.succeed
            for change, part in ((0, again), (-1, 1.0 - again)):
                followed = (present + change >= p) & (p <= self.slots)
                move(p, p, change, np.where(followed, part, 0.0), still, chain.succeeding(p))
                if p > least or p > self.slots:
                    move(p, p - 1, change, np.where(followed, 0.0, part), still, down)
        for p in used:
            leaving = sum((parts[p, to].sum(axis=1) for to in used if (p, to) in parts), np.zeros(self._states(p)))
            stay = csr_array(diags_array(1.0 - leaving))
            parts[p, p] = parts[p, p] + stay if (p, p) in parts else stay
        step = block_array([[parts.get((p, to)) for to in used] for p in used])
        return clock, csr_array(csr_array(step).T)

    def _states(self, taken: int) -> int:
        return self.rows(taken) * self.transient.order * self.transient.size(taken)


def _from(least: int, values: Floats) -> Floats:
    """Values by the number present, given from the least on."""
    return np.concatenate([np.zeros(least), values])


def _fastest(disk: Disk) -> float:
    """Highest rate at which the disk's requests come."""
    if isinstance(disk.arrivals, MAP):
        return float(disk.arrivals.D1.sum(axis=1).max())
    if isinstance(disk.arrivals, Marked):
        return disk.arrivals.share * float(disk.arrivals.process.D1.sum(axis=1).max())
    return float(disk.arrival_rates().max())


class _CurveCounts(PhaseCounts):
    """Requests at a rate curve as servers of one phase that finish at its rates."""

    def __init__(self, rates: Floats) -> None:
        super().__init__(np.ones(1), np.array([[-float(rates.max()) / len(rates)]]))
        self.rates = np.append(0.0, rates)

    def finish(self, busy: int) -> csr_array:
        """Rates from `busy` requests to one less."""
        return csr_array(np.array([[self.rates[busy]]]))

    def leaving(self, busy: int) -> Floats:
        """Rate at which one of `busy` requests finishes."""
        return self.rates[busy : busy + 1]


def _curve_chain(engine: Engine) -> PhaseChain:
    """The chain of an engine whose device is a rate curve."""
    rates, slots = station_rates(engine)
    number = station_population(engine.disks, rates)
    servers = min(slots, len(engine.devices[0].curve or ()))
    levels = [np.array([p]) for p in number.pmf]
    law = Exponential(1.0 / float(rates.max())).phase_type()
    return PhaseChain(engine.disks, law, _CurveCounts(rates[:servers]), servers, slots, number, [], levels)


@dataclass(frozen=True, eq=False)
class Followed:
    """A mean as a function of time, known at the ticks of a clock."""

    clock: float
    seen: Floats

    def __call__(self, t: float) -> float:
        """Its value after t [s]."""
        return at_ticks(self.clock * t, self.seen)
