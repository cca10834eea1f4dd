"""The shared engine with phase-type service: total and phases as a chain, the disks by how a total splits.

With service that is not exponential one would have to follow the number of each disk's requests, their order in the
line and the phases of the servers. What is followed here is the total n and how many of the busy servers are in each
phase (`markov/phase_counts.py`): a chain over levels n, solved by `markov/level_chain.py`. It needs the arrival rate at
each level,

    Λ(n) = Σ_i E[λ_i(n_i) | n],

and takes it from the product form of exponential service (`product_form.py`), in which the split of a total over the
disks does not depend on how fast the engine is: P(n_1, ..., n_N | n) ∝ Π_i Π_{k<n_i} λ_i(k) / n_i!. With one disk, and
with saturated disks only, there is nothing to split, and the answer is exact. Otherwise it is an approximation, close
where the disks are alike. Where they are not, or are only two before few servers, the phases remember how the split
came about, and `different_disks.py` follows them together; where that takes too long for different disks, the answer
warns that the split is that of exponential service.

A saturated disk submits again at once: when one of its requests finishes, the total stays. It has its share of what is
present, and so of what finishes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array, diags_array, eye_array
from scipy.sparse.linalg import splu

from qtheory.engine import Disk, Engine
from qtheory.laws import PhaseType
from qtheory.markov.level_chain import stationary
from qtheory.markov.merging import Group, arrival_rates, merge_all, split_all
from qtheory.markov.phase_counts import PhaseCounts
from qtheory.markov.sojourn import PhaseServers
from qtheory.solve.different_disks import Levels, Split, SplitError, converge
from qtheory.solve.population import Population, disk_state, responding, total_blocking
from qtheory.solve.product_form import station_population, station_rates
from qtheory.solve.sojourn import Slots, Sojourn, Stretched
from qtheory.solve.steady_state import QUANTITIES, SteadyState

Floats = NDArray[np.float64]
MOST_STATES = 3000
"""Largest number of states at a level: its cube is what a level costs."""
MOST_WORK = 1e11
"""Cubes of the numbers of states, added over the levels, that an answer is worth: half a minute."""
OUT_OF_REACH = 1e-40
"""Levels whose probability is below this fraction of the largest are left out."""
SPLIT_REACH = 1e-13
"""The same where the split is followed together with the phases."""
HALVINGS = 50
"""That find how fast the tail decays."""
FEW_SERVERS = 4
"""Up to which the split of two equal disks is followed: among more of either it hardly matters."""
ALIKE = 1e-13
"""Arrival rates that differ by less are taken as the same."""

MEASURED = {
    "equal": {
        "throughput": 0.004,
        "blocking": 0.015,
        "mean_wait": 0.018,
        "mean_response": 0.016,
        "mean_in_system": 0.015,
        "mean_in_flight": 0.015,
        "utilization": 0.004,
        "wait_quantile": 0.018,
        "response_quantile": 0.013,
        "disks.blocking": 0.015,
        "disks.mean_wait": 0.018,
    },
    "followed": {
        "throughput": 0.007,
        "blocking": 0.014,
        "mean_wait": 0.047,
        "mean_response": 0.017,
        "mean_in_system": 0.02,
        "mean_in_flight": 0.02,
        "utilization": 0.007,
        "wait_quantile": 0.038,
        "response_quantile": 0.027,
        "disks.blocking": 0.148,
        "disks.mean_wait": 0.091,
    },
    "plain": {
        "throughput": 0.003,
        "blocking": 0.009,
        "mean_wait": 0.027,
        "mean_response": 0.019,
        "mean_in_system": 0.017,
        "mean_in_flight": 0.017,
        "utilization": 0.004,
        "wait_quantile": 0.037,
        "response_quantile": 0.012,
        "disks.blocking": 0.015,
        "disks.mean_wait": 0.051,
    },
}
"""Largest relative error over the cells of `validation/phase_type.py`, and those of `validation/service_laws.py` that
may set bounds, against simulation, half-widths included where those are below 1 %, and against `joint_chain`; by
whether the disks are equal, different with the split followed, or different and split as under exponential service
(more than 20 000 states only). 2 to 64 Poisson or closed disks of up to 4 kinds, whose rates and buffers differ by up
to 16 times, buffers 1 to 1024, 1 to 64 servers, utilization 0.02 to 1.5, scv 0.1 to 10; or saturated guests. The
largest belong to few disks at one or two servers. Of the errors in the cells of `service_laws` that are held out 97 %
are within the bounds."""
PLAIN = (
    "how different disks share a total is taken as under exponential service, not followed: among many disks that put "
    f"mean waits up to {MEASURED['plain']['mean_wait']:.0%} off, those of a disk up to "
    f"{MEASURED['plain']['disks.mean_wait']:.0%}; it is worse among few"
)
"""The warning where the split is not followed together with the phases."""
LEAST = {"blocking": 1e-3, "mean_wait": 0.05, "wait_quantile": 0.05, "disks.blocking": 0.01, "disks.mean_wait": 0.05}
"""What the bounds hold above; waits in mean service times."""


def refusal(engine: Engine) -> str | None:
    """Why this method cannot answer for `engine`, or None."""
    for stream in engine.streams:
        return f"the arrivals of disks[{stream.disks[0]}] are not Poisson"
    reason = station_refusal(engine)
    if reason is not None or is_exact(engine):
        return reason
    chain = PhaseChain.unsolved(engine, None, lambda *_: 1)
    levels = min(engine.most, _reach(engine, chain.law, chain.servers) or engine.most)
    if levels * float(chain.most) ** 3 > MOST_WORK:
        return (
            f"{chain.servers} servers of {len(chain.law.alpha)} phases have {chain.most} states at each of {levels} "
            "totals, too many"
        )
    return None


def station_refusal(engine: Engine) -> str | None:
    """Why no chain of totals and phases can be made for `engine`, whatever its arrivals, or None."""
    if not engine.shared:
        return "each disk has its own device"
    if engine.caps is not None:
        return "the slots are divided by caps"
    for i, disk in enumerate(engine.disks):
        if disk.guest_waits and not disk.saturated:
            return f"disks[{i}] makes its guest wait for room in the buffer"
    if not engine.one_law:
        return "the disks have different service laws at one device"
    device = engine.devices[0]
    if device.service is None or device.servers is None:
        return "the device is a rate curve"
    try:
        law = _entered(device.service.phase_type())
    except TypeError as error:
        return str(error)
    servers = min(device.servers, engine.queue_length or engine.most, engine.most)
    counts = PhaseCounts(law.alpha, law.T)
    states = counts.size(servers)
    if states > MOST_STATES:
        return f"{servers} servers of {len(law.alpha)} phases have {states} states, more than {MOST_STATES}"
    if sum(float(counts.size(n)) ** 3 for n in range(servers + 1)) > MOST_WORK:
        return f"{servers} servers of {len(law.alpha)} phases have up to {states} states at each of as many levels"
    return None


@dataclass(frozen=True, eq=False)
class PhaseChain:
    """The stationary chain of an engine; `levels[n]` is P(n present, phases of the busy servers)."""

    disks: tuple[Disk, ...]
    law: PhaseType
    counts: PhaseCounts
    servers: int
    slots: int
    number: Population
    accepting: list[Floats]
    """Λ at each level but the last, for each state of the phases; from the number of saturated disks' requests on."""
    levels: list[Floats]
    whole: bool = False
    """Whether low levels that are OUT_OF_REACH are solved nevertheless."""

    @classmethod
    def of(cls, engine: Engine, limit: int | None = None, *, whole: bool = False) -> PhaseChain:
        """Solve the chain of an engine that is not refused, with at most `limit` slots."""
        return replace(cls.unsolved(engine, limit, _reach), whole=whole).solved()

    @classmethod
    def unsolved(
        cls, engine: Engine, limit: int | None, reach: Callable[[Engine, PhaseType, int], int | None]
    ) -> PhaseChain:
        """The chain without its stationary law, with totals up to `reach` of the engine, law and servers."""
        device = engine.devices[0]
        assert device.service is not None
        assert device.servers is not None
        rates, slots = station_rates(engine, limit)
        servers = min(device.servers, slots)
        law = _entered(device.service.phase_type())
        constant = sum(disk.most for disk in engine.disks if disk.saturated)
        number = station_population(engine.disks, rates, reach(engine, law, servers))
        counts = PhaseCounts(law.alpha, law.T)
        birth = arrival_rates(number.ratios)[:-1]
        accepting = [np.full(counts.size(min(constant + f, servers)), rate) for f, rate in enumerate(birth)]
        return cls(engine.disks, law, counts, servers, slots, number, accepting, [])

    def solved(self, accepting: list[Floats] | None = None) -> PhaseChain:
        """The chain with its stationary law, at these arrival rates if any are given."""
        chain = self if accepting is None else replace(self, accepting=accepting)
        bottom = self.number.constant
        top = bottom + len(chain.accepting)
        negligible = 0.0 if self.whole else OUT_OF_REACH
        found = stationary(bottom, top, chain.up, chain.within, chain.down, chain.alike, negligible=negligible)
        return replace(chain, levels=[np.zeros(self.counts.size(min(n, self.servers))) for n in range(bottom)] + found)

    def up(self, n: int) -> Floats:
        rates = self.accepting[n - self.number.constant]
        return rates[:, None] * self.starts[n].toarray() if n < self.servers else rates

    def within(self, n: int) -> csr_array:
        """Changes of phase; and requests of saturated disks that finish and come again."""
        busy = min(n, self.servers)
        if self.number.constant == 0:
            return self.internals[busy]
        return csr_array(self.internals[busy] + self.succeeding(n) * (self.number.constant / n))

    def down(self, n: int) -> csr_array:
        rates = self.finishes[n] if n <= self.servers else self.succeed
        return csr_array(rates * ((n - self.number.constant) / n)) if self.number.constant else rates

    def alike(self, n: int) -> int:
        """The lowest level from which on all is as at level n."""
        if n <= self.servers or self.number.constant:
            return n
        return max(self.servers + 1, int(self._run[n - 1]) + 1)

    def succeeding(self, n: int) -> csr_array:
        return self.succeed if n >= self.servers else self.counts.succeed(n)

    @cached_property
    def succeed(self) -> csr_array:
        """Rates at which one of all servers finishes and the next starts."""
        return self.counts.succeed(self.servers)

    @cached_property
    def _run(self) -> NDArray[np.int64]:
        """For each level, the lowest from which on the arrival rates are the same."""
        first = np.zeros(len(self.accepting), dtype=np.int64)
        for n in range(1, len(self.accepting)):
            here, there = self.accepting[n], self.accepting[first[n - 1]]
            same = len(here) == len(there) and abs(here[0] - there[0]) <= ALIKE * there[0]
            same = same and np.all(np.abs(here - there) <= ALIKE * there)
            first[n] = first[n - 1] if same else n
        return first

    @cached_property
    def most(self) -> int:
        return self.counts.size(self.servers)

    @cached_property
    def internals(self) -> list[csr_array]:
        return [self.counts.internal(n) for n in range(self.servers + 1)]

    @cached_property
    def finishes(self) -> list[csr_array]:
        return [csr_array((1, 0)), *(self.counts.finish(n) for n in range(1, self.servers + 1))]

    @cached_property
    def starts(self) -> list[csr_array]:
        return [self.counts.start(n) for n in range(self.servers)]

    @property
    def pmf(self) -> Floats:
        """P(n present)."""
        return np.array([level.sum() for level in self.levels])

    @property
    def finishing(self) -> Floats:
        """Completions per second while n are present, times P(n present)."""
        exits = [self.counts.states(n) @ self.counts.exit for n in range(self.servers + 1)]
        return np.array([level @ exits[min(n, self.servers)] for n, level in enumerate(self.levels)])

    def mean_waits(self) -> list[Floats]:
        """Mean wait of a request that finds so many present, for each state of the phases."""
        c = self.servers
        busy = splu(csc_array(diags_array(self.counts.leaving(c)) - self.internals[c]))
        waits = [np.zeros(len(level)) for level in self.levels[:c]]
        through = np.zeros(self.most)
        for _ in self.levels[c:]:
            through = busy.solve(np.ones(self.most) + self.succeed @ through)
            waits.append(through)
        return waits

    def sojourn(self) -> PhaseServers:
        """How long an accepted request waits and stays.

        A Poisson request finds the stationary phases. One of a saturated disk comes when another of its requests
        finishes, and finds what that leaves behind.
        """
        c, constant = self.servers, self.number.constant
        line = np.zeros((max(len(self.levels) - c, 1), self.most))
        accepted = 0.0
        for n, level in enumerate(self.levels):
            if 0 <= n - constant < len(self.accepting):
                coming = self.accepting[n - constant] * level
                accepted += float(coming.sum())
                if n >= c:
                    line[n - c] += coming
            if constant and n:
                again = level @ self.succeeding(n) * (constant / n)
                accepted += float(again.sum())
                if n > c:
                    line[n - c - 1] += again
        stay, leaving = self.internals[c], self.counts.leaving(c)
        return PhaseServers(line / accepted, stay, self.succeed, leaving, self.law.alpha, self.law.T)


def is_exact(engine: Engine) -> bool:
    """Whether there is nothing to split."""
    return len(engine.disks) == 1 or all(disk.saturated for disk in engine.disks)


def solved_chain(
    engine: Engine, limit: int | None = None, *, whole: bool = False
) -> tuple[PhaseChain, list[list[int]], list[Part]]:
    """The stationary chain, with at most `limit` slots; the kinds of disks, and each one's part where it is followed.

    There are no parts where disks are alike, but for two before few servers, and where the split is that of exponential
    service: beside saturated disks, and where following it takes too long.
    """
    if engine.hold == "refuse":
        return _solved(engine, limit, whole)
    # More slots than servers only move where requests wait: the chain is the same, and kept from one to the next.
    _, slots = station_rates(engine, limit)
    busy = min(slots, engine.devices[0].servers or slots)
    chain, kinds, parts = _solved(Engine(engine.disks, engine.device, busy), None, whole)
    return replace(chain, slots=slots), kinds, parts


@lru_cache(maxsize=4)
def _solved(engine: Engine, limit: int | None, whole: bool) -> tuple[PhaseChain, list[list[int]], list[Part]]:
    chain = PhaseChain.of(engine, limit, whole=whole)
    kinds = _kinds(engine.disks)
    if len(engine.disks) == 2 and chain.servers <= FEW_SERVERS:
        kinds = [[0], [1]]
    if len(kinds) == 1 or chain.number.constant > 0:
        return chain, kinds, []
    try:
        chain, parts = unlike(chain, kinds)
    except SplitError:
        return chain, kinds, []
    return chain, kinds, parts


def solve(engine: Engine) -> SteadyState:
    """Solve an engine with one shared device of phase-type service and one FIFO line."""
    return answer(engine, *solved_chain(engine))


def throughput(engine: Engine) -> float:
    """Throughput alone, without the laws of the disks."""
    return float(solved_chain(engine)[0].finishing.sum())


def answer(
    engine: Engine,
    chain: PhaseChain,
    kinds: list[list[int]],
    parts: list[Part],
    factors: Floats | None = None,
    constant: float = 0.0,
) -> SteadyState:
    """What a solved chain says.

    With `factors` the probability of each total is multiplied by them, and the waits are as the totals ask for: a part
    `constant` of them has the form of constant service, the others the form they have in the chain.
    """
    alike = not parts
    factor = np.ones(len(chain.levels)) if factors is None else factors
    pmf, slots = chain.pmf * factor, chain.slots
    totals = np.arange(len(pmf))
    # Requests complete as often with n present as they are accepted with n − 1.
    finishing = chain.finishing if factors is None else chain.finishing * np.append(1.0, factor[:-1])
    throughput = float(finishing.sum())
    waiting = np.maximum(totals - chain.servers, 0)
    present = np.maximum(totals, 1)
    full = (totals == slots) & (engine.hold == "refuse")

    def laws(weights: Floats) -> list[Floats]:
        """Each disk's number, with the totals weighted so."""
        if alike:
            return chain.number.split(weights * pmf)
        most = [engine.disks[kind[0]].most for kind in kinds]
        return [part.split(weights * factor, k) for kind, part, k in zip(kinds, parts, most, strict=True) for _ in kind]

    order = range(len(engine.disks)) if alike else [i for kind in kinds for i in kind]
    found = dict(zip(order, zip(laws(~full), laws(full), laws(waiting / present), strict=True), strict=True))
    states = [
        disk_state(disk, *found[i], _throughput(disk, found[i][0], finishing / present))
        for i, disk in enumerate(engine.disks)
    ]
    mean_wait = float(waiting @ pmf) / throughput
    sojourns: list[tuple[float, Sojourn]] = [(1.0, chain.sojourn())]
    longer = 1.0
    before = float(waiting @ chain.pmf) / float(chain.finishing.sum())
    if factors is not None and min(mean_wait, before) > 0.0:
        longer = mean_wait / before
        regular = Slots(finishing[chain.servers + 1 :] / throughput, chain.servers, chain.law.mean)
        delayed = float(regular.line.sum())
        sojourns = [
            (1.0 - constant, Stretched(sojourns[0][1], delayed, longer)),
            (constant, Stretched(regular, delayed, mean_wait / regular.mean)),
        ]
    for kind, part in zip(kinds, parts, strict=False):
        for i in kind:
            wait, refused = part.mean_wait * longer, engine.hold == "refuse"
            states[i] = responding(engine.disks[i], states[i], wait, chain.law.mean, refused=refused)
    device = engine.devices[0]
    mean = float(totals @ pmf)
    exact = is_exact(engine)
    bounds, warnings = (dict.fromkeys(QUANTITIES, 1e-11), ()) if exact else measured(engine, parts)
    return SteadyState(
        method="phase_type",
        exact=exact,
        error_bounds=bounds,
        warnings=warnings,
        throughput=throughput,
        blocking=total_blocking(engine.disks, states),
        mean_wait=mean_wait,
        mean_response=mean / throughput,
        mean_in_system=mean,
        mean_in_flight=float(np.minimum(totals, slots) @ pmf),
        utilization=float(np.minimum(totals, chain.servers) @ pmf) / (device.servers or 1),
        in_system_pmf=pmf,
        disks=tuple(states),
        _sojourns=tuple(sojourns),
    )


class Conditional(NamedTuple):
    """One kind's number given the total n and the phases: `law[n]` has a row for each number from `low[n]` on."""

    group: Group
    birth: Floats
    """The kind's total arrival rate with 0, 1, ... of its requests present."""
    low: list[int]
    law: list[Floats]

    def mirrored(self, group: Group) -> Conditional:
        """The other kind's, of two: its number is the rest."""
        low = [n - (first + len(law) - 1) for n, (first, law) in enumerate(zip(self.low, self.law, strict=True))]
        return Conditional(group, arrival_rates(group.ratios), low, [law[::-1] for law in self.law])

    def rates(self, n: int) -> Floats:
        """The kind's mean arrival rate with n present, for each state of the phases."""
        return np.asarray(self.birth[self.low[n] : self.low[n] + len(self.law[n])] @ self.law[n])

    def joint(self, levels: list[Floats]) -> Floats:
        """P(n present, a of them the kind's)."""
        joint = np.zeros((len(levels), len(self.group.ratios) + 1))
        for n, (low, law) in enumerate(zip(self.low, self.law, strict=True)):
            joint[n, low : low + len(law)] = law @ levels[n]
        return joint


class Part(NamedTuple):
    """One kind of equal disks: `joint[n, a]` is P(n present, a of them the kind's)."""

    group: Group
    joint: Floats
    mean_wait: float
    """By what its requests find on arrival: their order in the line is known better than their share of it."""

    def split(self, weights: Floats, most: int) -> Floats:
        """The law of the number of each of the kind's disks, at most `most`, with the totals weighted so."""
        law = np.zeros(most + 1)
        of_kind = weights @ self.joint
        if of_kind.any():
            (found,) = split_all(self.group, of_kind[: len(self.group.ratios) + 1]).values()
            law[: len(found)] = found
        return law


def unlike(chain: PhaseChain, kinds: Sequence[Sequence[int]]) -> tuple[PhaseChain, list[Part]]:
    """The chain of disks of several kinds, and each kind's part in it; see `different_disks.py`."""
    pmf = chain.pmf
    top = int(np.flatnonzero(pmf > SPLIT_REACH * pmf.max())[-1])
    matrices = Levels(
        [chain.within(n) for n in range(top + 1)],
        [chain.starts[n] if n < chain.servers else csr_array(eye_array(chain.most)) for n in range(top)],
        [chain.down(n) if n else csr_array((1, 0)) for n in range(top + 1)],
    )
    series = [chain.disks[kind[0]].arrival_rates() / np.arange(1, chain.disks[kind[0]].most + 1) for kind in kinds]
    groups = [merge_all([own] * len(kind), top)[0] for own, kind in zip(series, kinds, strict=True)]
    given: list[Conditional] = []
    for i, group in enumerate(groups):
        if i == 1 and len(kinds) == 2:
            given.append(given[0].mirrored(group))
            break
        rest = merge_all([own for j, own in enumerate(series) if j != i for _ in kinds[j]], top)[0]
        split = Split(arrival_rates(group.ratios), arrival_rates(rest.ratios), matrices)
        joint = converge(split, chain.levels[: top + 1], lambda rates: chain.solved(rates[:-1]).levels)
        law = [level / np.maximum(level.sum(axis=0), 1e-300) for level in joint]
        given.append(Conditional(group, split.own, split.low, law))
    rates = [[part.rates(n) for n in range(top)] for part in given]
    chain = chain.solved([np.sum(level, axis=0) for level in zip(*rates, strict=True)])
    waits = chain.mean_waits()
    parts = []
    for part, own in zip(given, rates, strict=True):
        flow = [rate * level for rate, level in zip(own, chain.levels, strict=False)]
        wait = sum(float(x @ t) for x, t in zip(flow, waits, strict=False)) / sum(float(x.sum()) for x in flow)
        parts.append(Part(part.group, part.joint(chain.levels), wait))
    return chain, parts


def _kinds(disks: Sequence[Disk]) -> list[list[int]]:
    """Indices of equal disks, kind by kind."""
    kinds: dict[tuple[object, int], list[int]] = {}
    for i, disk in enumerate(disks):
        kinds.setdefault((disk.arrivals, disk.most), []).append(i)
    return list(kinds.values())


def measured(
    engine: Engine, parts: Sequence[Part], *, least_scv: float = 0.1
) -> tuple[dict[str, float], tuple[str, ...]]:
    """Error bounds of the approximation, as measured, and what to warn of."""
    split = "equal" if len(_kinds(engine.disks)) == 1 else "followed" if parts else "plain"
    warnings = (PLAIN,) if split == "plain" else ()
    if _within_grid(engine, least_scv):
        return MEASURED[split] | {"mean_guest_wait": 0.0}, warnings
    return dict.fromkeys(QUANTITIES, math.inf), warnings


def _within_grid(engine: Engine, least_scv: float) -> bool:
    """Whether `engine` is as those on which MEASURED was measured."""
    device, disks = engine.devices[0], engine.disks
    assert device.service is not None
    assert device.servers is not None
    if any(disk.saturated for disk in disks):
        return all(disk.saturated for disk in disks) and device.servers <= min(64, engine.queue_length or 64)
    rates = [float(disk.arrival_rates()[0]) for disk in disks]
    most = [disk.most for disk in disks]
    utilization = sum(rates) * device.service.mean / device.servers
    return (
        len(disks) <= 64
        and len(_kinds(disks)) <= 4
        and max(rates) <= 16.0 * (1.0 + ALIKE) * min(rates)
        and max(most) <= min(1024, 16 * min(most))
        and device.servers <= 64
        and device.servers <= (engine.queue_length or device.servers)
        and 0.02 <= utilization <= 1.5 * (1.0 + ALIKE)
        and least_scv <= device.service.scv * (1.0 + ALIKE)
        and device.service.scv <= 10.0 * (1.0 + ALIKE)
    )


def _throughput(disk: Disk, accepting: Floats, shares: Floats) -> float:
    """Arrivals accepted; of a saturated disk, whose rate is infinite, its constant part of what finishes."""
    return disk.most * float(shares.sum()) if disk.saturated else float(accepting[:-1] @ disk.arrival_rates())


def _reach(engine: Engine, law: PhaseType, servers: int) -> int | None:
    """Largest total that can matter; None: all. The tail decays no slower than with the disks' largest rates."""
    if any(disk.saturated for disk in engine.disks):
        return None
    return reach(sum(float(disk.arrival_rates().max()) for disk in engine.disks), law, servers)


def reach(rate: float, law: PhaseType, servers: int) -> int | None:
    """Largest number present that can matter when requests come at this rate without a limit; None: no such number.

    The tail of the queue is geometric with the ratio λ/(λ + θ), where E[e^{θS/c}] = 1 + θ/λ (Takahashi, 1981).
    """
    if rate * law.mean >= servers:
        return None
    exit = -law.T.sum(axis=1)

    def low_enough(theta: float) -> bool:
        """Whether E[e^{θS/c}] <= 1 + θ/λ; beyond the pole of the left side some E[e^{θS/c} | phase] is negative."""
        try:
            rest = np.linalg.solve(-law.T - theta / servers * np.eye(len(law.T)), exit)
        except np.linalg.LinAlgError:  # at a pole
            return False
        return bool(rest.min() > 0.0 and float(law.alpha @ rest) <= 1.0 + theta / rate)

    low, high = 0.0, servers * float(-np.diag(law.T).min())
    for _ in range(HALVINGS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if low_enough(middle) else (low, middle)
    return None if low == 0.0 else servers + math.ceil(math.log(OUT_OF_REACH) / -math.log1p(low / rate))


def _entered(law: PhaseType) -> PhaseType:
    """The law without the phases that no service enters: of them no server is ever in one."""
    entered = law.alpha > 0.0
    for _ in entered:
        entered = entered | (entered @ (law.T > 0.0))
    return law if entered.all() else PhaseType(law.alpha[entered], law.T[np.ix_(entered, entered)])
