"""The shared engine with bursty arrivals: total, phases of the arrival processes and phases of the servers as a chain.

A Markovian arrival process (`arrivals/map.py`) is in a phase of its own whatever the engine does, so the chain of
`phase_type.py` gets those phases beside the counts of its busy servers. With D0 and D1 the matrices of all processes
together, a level up is D1 ⊗ (one more starts), and within the level the processes move by D0. An arrival of process s
that finds n present is accepted with

    a_s(n) = Σ_i share_i P(n_i < K_i | n),

its disks i chosen by their shares; otherwise its process moves on all the same. How a total splits over the disks is
taken from a product form. Where all disks get the requests of one process by independent choice, as `Marked` ones do,
it is that of Poisson arrivals. Where some burst apart from others, it also depends on their phases, and the weights are
matched to the disks' own chains (`bursty_disks.py`); the processes of equal disks are then counted by phase. With one
disk there is nothing to split, and the answer is exact.

A disk's wait is what its arrivals find, which its bursts decide. The queue's tail decays as η^n, where a level up and a
level down balance: χ_A(1/η) + c χ_S(η) = 0, χ_A(z) the largest eigenvalue of D0 + z D1, χ_S(z) that of T + z t α of
one server (Neuts and Takahashi, 1981). It says how long the chain must be.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.sparse import csr_array, eye_array, kron

from qtheory.arrivals import MAP, Closed
from qtheory.arrivals.map import counted
from qtheory.engine import Disk, Engine
from qtheory.laws import PhaseType
from qtheory.markov.level_chain import SMALL, Rates, stationary
from qtheory.markov.sojourn import PhaseServers
from qtheory.solve import phase_type
from qtheory.solve.bursty_disks import Split
from qtheory.solve.phase_type import ALIKE, OUT_OF_REACH, PhaseChain
from qtheory.solve.population import population, total_blocking
from qtheory.solve.steady_state import QUANTITIES, DiskState, SteadyState

Floats = NDArray[np.float64]
MOST_STATES = 3000
"""Largest number of states at a level."""
MOST_WORK, MOST_NUMBERS = 3e12, 4e8
"""Cubes of the numbers of states, added over the levels, and squares: what the chain costs, and what it holds."""
FEW_LEVELS = 50
"""Levels that are alike are settled after about so many."""
CLOSE = 1e-5
"""The split is matched until the probabilities of the totals change by no more than this in all."""
MOST_ROUNDS = 40
ROUNDING = 1e-10
NEARLY = 1e-6
"""By which the decay of a tail that can be cut off is below 1, at the least."""

MEASURED = {
    "together": {
        "throughput": 0.047,
        "blocking": 0.035,
        "mean_wait": 0.046,
        "mean_response": 0.041,
        "mean_in_system": 0.039,
        "mean_in_flight": 0.039,
        "utilization": 0.047,
        "wait_quantile": 0.048,
        "response_quantile": 0.048,
        "disks.blocking": 0.15,
        "disks.mean_wait": 0.056,
    },
    "apart": {
        "throughput": 0.024,
        "blocking": 0.28,
        "mean_wait": 0.144,
        "mean_response": 0.115,
        "mean_in_system": 0.129,
        "mean_in_flight": 0.129,
        "utilization": 0.024,
        "wait_quantile": 0.157,
        "response_quantile": 0.148,
        "disks.blocking": 0.284,
        "disks.mean_wait": 0.144,
    },
}
"""Largest relative error over the cells of `validation/markovian_arrivals.py`, half-widths included where those are
below 3 %, by whether the disks burst together or some apart from others; blocking above 1e-3, waits above 0.05 mean
service times. The medians are 0.2 to 5 %. Of the errors in one half of the cells 96 % are below the largest in the
other."""
APART = "disks that burst apart from others share a total as an approximation has it, which is worst for blocking"
UNSETTLED = "the split of the disks was not settled when the rounds were over: compare with qt.simulate"


def bursts_of(engine: Engine) -> str:
    """Whether all disks burst together or some apart from others."""
    return "together" if len(engine.streams) == 1 and all(disk.bursty for disk in engine.disks) else "apart"


def refusal(engine: Engine) -> str | None:
    """Why this method cannot answer for `engine`, or None."""
    if not engine.streams:
        return "no disk has a Markovian arrival process"
    reason = phase_type.station_refusal(engine)
    if reason is not None:
        return reason
    chain = PhaseChain.unsolved(engine, None, lambda *_: 1)
    order = math.prod(part.order for part in superposed(engine))
    states = order * chain.most
    if states > MOST_STATES:
        phases = str(order) if order <= MOST_NUMBERS else f"more than {MOST_NUMBERS:.0e}"
        return f"{phases} phases of arrivals times {chain.most} of the servers are more than {MOST_STATES} states"
    longest = reach(engine, chain.law, chain.servers) or engine.most
    levels = chain.servers + max(min(longest, engine.most) - min(disk.most for disk in engine.disks), FEW_LEVELS)
    if levels * states**3 > MOST_WORK or levels * states**2 > MOST_NUMBERS:
        return f"{levels} totals of {states} phases of arrivals and servers are too many"
    return None


@dataclass(frozen=True, eq=False)
class Superposed:
    """A process of the chain: `copies` of one of the engine's, counted by phase."""

    one: MAP
    copies: int
    dealt: tuple[tuple[int, float], ...]
    """Its disks, and the probability that an arrival is a disk's."""

    @property
    def order(self) -> int:
        """Number of phases."""
        return math.comb(self.copies + self.one.order - 1, self.one.order - 1)

    @cached_property
    def process(self) -> MAP:
        """The copies as one process."""
        return self.one.copies(self.copies) if self.copies > 1 else self.one

    def arriving(self) -> list[csr_array]:
        """Moves with an arrival, by the phase of the process that it comes from."""
        rows = [np.where(np.arange(self.one.order) == j, self.one.D1.T, 0.0).T for j in range(self.one.order)]
        return [csr_array(counted(moves, self.copies)) for moves in rows]


class Flow(NamedTuple):
    """Arrivals of process `part` of the chain that come from its `phase`."""

    moves: Rates
    part: int
    phase: int


def superposed(engine: Engine) -> list[Superposed]:
    """The engine's arrival processes, equal ones of single disks taken together."""
    alone: dict[MAP, list[int]] = {}
    for stream in engine.streams:
        if len(stream.disks) == 1:
            alone.setdefault(stream.process, []).append(stream.disks[0])
    parts = [Superposed(one, len(disks), tuple((i, 1.0 / len(disks)) for i in disks)) for one, disks in alone.items()]
    for stream in engine.streams:
        if len(stream.disks) > 1:
            parts.append(Superposed(stream.process, 1, tuple(zip(stream.disks, stream.shares, strict=True))))
    return parts


@dataclass(frozen=True, eq=False)
class BurstyChain:
    """The chain of an engine; `levels[n]` is P(n present, phase of the arrivals, phases of the busy servers)."""

    engine: Engine
    servers: PhaseChain
    """What does not depend on how requests come."""
    split: Split
    levels: list[Floats]
    settled: bool = True
    """Whether the split is matched to the disks' own chains."""

    @classmethod
    def of(cls, engine: Engine, limit: int | None = None, beyond: int = 0) -> BurstyChain:
        """Solve the chain of an engine that is not refused, with at most `limit` slots; totals `beyond` all likely."""

        def farther(engine: Engine, law: PhaseType, servers: int) -> int | None:
            longest = reach(engine, law, servers)
            return None if longest is None else longest + beyond

        servers = PhaseChain.unsolved(engine, limit, farther)
        together = bursts_of(engine) == "together"
        chain = cls(engine, servers, Split.of(engine.disks, len(servers.number.ratios), together=together), []).solved()
        if together:
            return chain
        for _ in range(MOST_ROUNDS):
            before, chain = chain, chain.matched().solved()
            if np.abs(chain.whole.pmf - before.whole.pmf).sum() < CLOSE:
                return chain
        return replace(chain, settled=False)

    def matched(self) -> BurstyChain:
        """The chain, not solved, with the split matched to what the disks' own chains make of this one's."""
        whole = self.whole
        each = whole.finishing / np.maximum(np.arange(len(whole.levels)), 1)
        members = dict(zip(self.engine.disks, range(len(self.engine.disks)), strict=True))
        laws, shares = whole.number.split(whole.pmf), whole.number.split(each)
        split = self.split.matched(
            {disk: laws[i] for disk, i in members.items() if not disk.saturated},
            {disk: shares[i] * np.arange(disk.most + 1) for disk, i in members.items() if not disk.saturated},
        )
        series = [split.weights[disk].series for disk in self.engine.disks if not disk.saturated]
        number = population(self.engine.disks, series, np.ones(split.most), split.most)
        return BurstyChain(self.engine, replace(self.servers, number=number), split, [])

    def solved(self) -> BurstyChain:
        """The chain with its stationary law."""
        bottom = self.servers.number.constant
        found = stationary(bottom, bottom + self.split.most, self.up, self.within, self.down, self.alike)
        empty = [np.zeros((self.order, self.servers.counts.size(min(n, self.servers.servers)))) for n in range(bottom)]
        return replace(self, levels=empty + [level.reshape(self.order, -1) for level in found])

    def up(self, n: int) -> Rates:
        at = n - self.servers.number.constant
        arriving = self.calm[at] * self.still
        for flow, accepted in zip(self.flows, self.accepting, strict=True):
            arriving = arriving + accepted[at] * flow.moves
        starts = self.servers.starts[n] if n < self.servers.servers else csr_array(eye_array(self.servers.most))
        return _kron(arriving, starts)

    def within(self, n: int) -> Rates:
        """Changes of phase, and arrivals that are refused."""
        at = n - self.servers.number.constant
        moving = self.silent
        for flow, accepted in zip(self.flows, self.accepting, strict=True):
            moving = moving + (1.0 - accepted[at]) * flow.moves
        serving = self.servers.within(n)
        return _kron(moving, csr_array(eye_array(serving.shape[0]))) + _kron(self.still, serving)

    def down(self, n: int) -> Rates:
        return _kron(self.still, self.servers.down(n))

    def alike(self, n: int) -> int:
        """The lowest level from which on all is as at level n."""
        if n <= self.servers.servers or self.servers.number.constant:
            return n
        return max(self.servers.servers + 1, int(self._run[n]) + 1)

    @property
    def top(self) -> int:
        """Largest total that is followed."""
        return self.servers.number.constant + self.split.most

    @cached_property
    def whole(self) -> PhaseChain:
        """The totals and phases of the servers, whatever the phase of the arrivals."""
        return replace(self.servers, levels=[level.sum(axis=0) for level in self.levels])

    @cached_property
    def superposed(self) -> list[Superposed]:
        return superposed(self.engine)

    @cached_property
    def order(self) -> int:
        """Number of phases of all arrival processes together."""
        return math.prod(part.order for part in self.superposed)

    @cached_property
    def still(self) -> Rates:
        return _compact(eye_array(self.order))

    @cached_property
    def silent(self) -> Rates:
        """Moves of the processes without an arrival."""
        moves = 0.0 * self.still
        for s, part in enumerate(self.superposed):
            moves = moves + self._among(s, csr_array(part.process.D0 - np.diag(np.diag(part.process.D0))))
        return moves

    @cached_property
    def flows(self) -> list[Flow]:
        """Arrivals, by the process that brings them and, where the split asks for it, the phase of it."""
        found = []
        for s, part in enumerate(self.superposed):
            if bursts_of(self.engine) == "together":
                found.append(Flow(self._among(s, csr_array(part.process.D1)), s, 0))
            else:
                found += [Flow(self._among(s, moves), s, j) for j, moves in enumerate(part.arriving())]
        return found

    def _among(self, s: int, moves: csr_array) -> Rates:
        """Moves of process s as moves of them all."""
        orders = [part.order for part in self.superposed]
        before, after = math.prod(orders[:s]), math.prod(orders[s + 1 :])
        return _compact(kron(kron(eye_array(before), moves), eye_array(after)))

    @cached_property
    def welcome(self) -> dict[Disk, Floats]:
        """Of each kind of disk, by its phase and the total."""
        return {disk: self.split.welcome(disk) for disk in self.split.kinds}

    @cached_property
    def calm(self) -> Floats:
        """By level: the rate of all arrivals but the bursts."""
        rates = np.zeros(self.split.most + 1)
        for disk, copies in self.split.kinds.items():
            if not disk.bursty:
                rates += copies * disk.arrival_rates()[0] * self.welcome[disk][0]
        return rates

    @cached_property
    def accepting(self) -> list[Floats]:
        """By flow and level: the part that is accepted."""
        parts = self.superposed
        return [
            sum(
                (share * self.welcome[self.engine.disks[i]][flow.phase] for i, share in parts[flow.part].dealt),
                np.zeros(self.split.most + 1),
            )
            for flow in self.flows
        ]

    @cached_property
    def _run(self) -> NDArray[np.int64]:
        """For each level, the lowest from which on arrivals are accepted as there."""
        rates = np.array([self.calm, *self.accepting])
        same = np.all(np.abs(np.diff(rates)) <= ALIKE * rates[:, :-1], axis=0)
        return np.maximum.accumulate(np.append(0, np.where(same, 0, np.arange(1, rates.shape[1]))))

    def found(self, i: int) -> list[Floats]:
        """Accepted requests of disk i per second, by how many others they find and the phases of the servers then."""
        disk, constant = self.engine.disks[i], self.servers.number.constant
        if disk.saturated:  # its request comes when another has finished
            levels = self.whole.levels
            return [levels[n] @ self.servers.succeeding(n) * (disk.most / n) for n in range(1, len(levels))]
        open_levels = self.levels[constant:]
        found = [np.zeros(level.shape[1]) for level in self.levels]
        if not disk.bursty:
            rates = [(self.welcome[disk][0], np.full(self.order, disk.arrival_rates()[0]))]
        else:
            rates = [
                (self.welcome[disk][flow.phase], flow.moves.sum(axis=1) * share)
                for flow in self.flows
                for j, share in self.superposed[flow.part].dealt
                if j == i
            ]
        for welcome, rate in rates:
            for n, level in enumerate(open_levels):
                found[constant + n] += welcome[n] * (rate @ level)
        return found

    def states(self) -> tuple[tuple[DiskState, ...], PhaseServers]:
        """Each disk's quantities, and the sojourn law over all."""
        chain = self.whole
        c, waits = chain.servers, chain.mean_waits()
        laws = chain.number.split(chain.pmf)
        line = np.zeros((max(len(chain.levels) - c, 1), chain.most))
        states = []
        for i, (disk, law) in enumerate(zip(self.engine.disks, laws, strict=True)):
            found = self.found(i)
            throughput = float(sum(x.sum() for x in found))
            wait = sum(float(x @ w) for x, w in zip(found[c:], waits[c:], strict=False)) / throughput
            response = wait + chain.law.mean
            closed = isinstance(disk.arrivals, Closed)
            states.append(
                DiskState(
                    throughput=throughput,
                    blocking=0.0 if closed else max(1.0 - throughput / disk.arrival_rates()[0], 0.0),
                    mean_wait=wait,
                    mean_response=response,
                    mean_in_system=throughput * response,
                    pmf=law,
                    mean_guest_wait=disk.always_in_guest / throughput,
                )
            )
            for j, x in enumerate(found[c:]):
                line[j] += x
        accepted = sum(state.throughput for state in states)
        stay, leaving = chain.internals[c], chain.counts.leaving(c)
        return tuple(states), PhaseServers(line / accepted, stay, chain.succeed, leaving, chain.law.alpha, chain.law.T)


def solve(engine: Engine) -> SteadyState:
    """Solve an engine with one shared device of phase-type service, one FIFO line and bursty arrivals."""
    bursty = BurstyChain.of(engine)
    states, sojourn = bursty.states()
    chain = bursty.whole
    pmf, totals = chain.pmf, np.arange(len(chain.levels))
    throughput, mean = float(chain.finishing.sum()), float(totals @ pmf)
    exact = len(engine.disks) == 1
    bounds, warnings = (dict.fromkeys(QUANTITIES, ROUNDING), ()) if exact else measured(engine, settled=bursty.settled)
    device = engine.devices[0]
    return SteadyState(
        method="markovian_arrivals",
        exact=exact,
        error_bounds=bounds,
        warnings=warnings,
        throughput=throughput,
        blocking=total_blocking(engine.disks, states),
        mean_wait=float(np.maximum(totals - chain.servers, 0) @ pmf) / throughput,
        mean_response=mean / throughput,
        mean_in_system=mean,
        mean_in_flight=float(np.minimum(totals, chain.slots) @ pmf),
        utilization=float(np.minimum(totals, chain.servers) @ pmf) / (device.servers or 1),
        in_system_pmf=pmf,
        disks=states,
        _sojourns=((1.0, sojourn),),
    )


def measured(engine: Engine, *, settled: bool) -> tuple[dict[str, float], tuple[str, ...]]:
    """Error bounds of the approximation, as measured, and what to warn of."""
    if not settled:
        return dict.fromkeys(QUANTITIES, math.inf), (UNSETTLED,)
    device, disks = engine.devices[0], engine.disks
    assert device.service is not None
    assert device.servers is not None
    bursts = bursts_of(engine)
    rates = [float(disk.arrival_rates()[0]) for disk in disks]
    length = max(float(-1.0 / np.diag(s.process.D0 + s.process.D1).max()) for s in engine.streams)
    within = (
        len(disks) <= (32 if bursts == "together" else 8)
        and not any(isinstance(disk.arrivals, Closed) for disk in disks)
        and max(rates) <= 8.0 * min(rates)
        and 4 <= min(disk.most for disk in disks) == max(disk.most for disk in disks) <= 256
        and device.servers <= min(16, engine.queue_length or 16)
        and 0.3 <= sum(rates) * device.service.mean / device.servers <= 1.1
        and length <= 1000.0 * device.service.mean
        and 0.5 <= device.service.scv * (1.0 + ALIKE) <= 4.0 * (1.0 + 2.0 * ALIKE)
        and engine.most == sum(disk.most for disk in disks)
    )
    if within:
        return MEASURED[bursts] | {"mean_guest_wait": 0.0}, () if bursts == "together" else (APART,)
    return dict.fromkeys(QUANTITIES, math.inf), ()


def _kron(arrivals: Rates, servers: csr_array) -> Rates:
    """Moves of the arrivals' phases beside moves of the servers'."""
    if arrivals.shape[0] * servers.shape[0] < SMALL:
        return np.kron(_compact(arrivals), servers.toarray())
    return csr_array(kron(arrivals, servers))


def _compact(matrix: Any) -> Rates:
    """Dense where that is faster."""
    if matrix.shape[0] >= SMALL:
        return csr_array(matrix)
    return matrix if isinstance(matrix, np.ndarray) else np.asarray(matrix.toarray())


def reach(engine: Engine, law: PhaseType, servers: int) -> int | None:
    """Largest total that can matter; None: all."""
    if any(disk.saturated for disk in engine.disks):
        return None
    calm = sum(float(disk.arrival_rates().max()) for disk in engine.disks if not disk.bursty)
    start = np.outer(-law.T.sum(axis=1), law.alpha)

    def surplus(decay: float) -> float:
        """χ_A(1/η) + c χ_S(η): below 0 between the tail's decay and 1."""
        arrivals = calm * (1.0 / decay - 1.0)
        for stream in engine.streams:
            arrivals += _growth(stream.process.D0 + stream.process.D1 / decay)
        return arrivals + servers * _growth(law.T + decay * start)

    high = 1.0 - NEARLY
    if surplus(high) >= 0.0:
        return None
    low = high
    while surplus(low) < 0.0:
        low /= 2.0
    decay = brentq(surplus, low, high, xtol=1e-12)
    return servers + math.ceil(math.log(OUT_OF_REACH) / math.log(decay))


def _growth(matrix: Floats) -> float:
    """Largest real part of the eigenvalues."""
    return float(np.linalg.eigvals(matrix).real.max())
