"""Which disks on which iothread, and how many threads.

An iothread spends processor time B_i on each request of disk i, one request after the other, and has an AIO engine of
its own. A request waits for the thread as in M/G/1: with rates x_i of the disks T on it,

    ρ = Σ x_i E[B_i],    W = Σ x_i E[B_i²] / (2(1 − ρ))    (Pollaczek 1930; Khinchine 1932)

and then meets its thread's engine and its device, which `solve` knows for the disks T. What is modelled, and what not:
* the two are taken one after the other as if independent, the thread's arrivals as Poisson. With exponential B_i of one
  mean, no line and open disks that lose nothing this is exact (Burke 1956; Jackson 1957);
* a request's time at the thread is one visit. In truth it is submitted and later reaped, two visits of S_1 + S_2 = B,
  each of which waits Σ x (E[S_1²] + E[S_2²])/(2(1 − ρ)): together the same if S_1 and S_2 are equal constants, and more
  when they are not, at most twice as much;
* x_i is the throughput that disk i has on a thread of its own. Guests that are closed send less when the thread makes
  them wait, and shared lines less still: utilization and waits are then too high, on the safe side.

What is least, and what bounds it from below for m threads, R = Σ x_i E[B_i]:
* "utilization", the largest of a thread: the scheduling problem P||C_max, at least the mean, R/m, the largest disk, and
  the m-th and (m + 1)-th largest together. Longest processing time first is within 4/3 − 1/(3m) of the best (Graham
  1969);
* "response", the mean of a request. Since (Σ x_i)(Σ x_i E[B_i²]) >= (Σ x_i √E[B_i²])² for any thread (Cauchy), and
  s²/(1 − ρ) is convex in (s, ρ), the mean wait is at least S²/(2(m − R) Σ x_i), S = Σ x_i √E[B_i²] over all disks;
* "slowdown", the largest of a disk: its response over that on a thread of its own, at least 1. It is the one that sees
  a shallow disk starve behind deep ones: that has few requests, so the mean does not.

Exact by dynamic programming over how many of each kind of disk are placed, a thread at a time. Beyond WORK steps,
longest first and then moves and swaps while they help, with the bound from below reported in `error_bound`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal, TypeAlias

from qtheory.arguments import choice, count, positive, probability, sequence
from qtheory.arrivals import Poisson
from qtheory.engine import Engine
from qtheory.laws import Exponential, Law, Mixture, law_of
from qtheory.result import Result
from qtheory.shares import Weights
from qtheory.sizing.optimum import ROUNDING
from qtheory.solve import solve
from qtheory.stations import mg1

if TYPE_CHECKING:
    from qtheory.solve.steady_state import SteadyState

SERIES_ERROR = 0.08
"""Largest relative error of a disk's mean response over the simulations of `validation/host.py`, half-widths left out:
one thread, utilization to 0.9, open and closed guests, one visit and two; 3 and 4 disks before a line of 8 to 256
slots."""
NOTHING = 1e-9
"""Blocking up to which a disk is taken to lose nothing."""
WORK = 100_000
"""Most threads × ways to split the disks that are left, for the exact method."""
Minimize: TypeAlias = Literal["response", "slowdown", "utilization"]
Counts: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class IothreadAssignment(Result):
    """Disks on iothreads; SI units.

    Attributes
    ----------
    proved : bool
        Whether no other assignment is better by the model.
    feasible : bool
        Whether an assignment was found; what follows is empty when not.
    threads : int
        How many there are, some perhaps without disks: those given, or the fewest that meet the limits.
    fewest : int or None
        The fewest that were found to meet the limits; None when no number does, up to those given or one for each disk.
    assignment : tuple of int
        The thread of each disk.
    utilizations, mean_waits : tuple of float
        Of each thread: the busy fraction, and the mean wait for it [s].
    mean_responses, slowdowns : tuple of float
        Of each disk: thread, engine and device together [s], and that over what it is on a thread of its own.
    value, lower_bound : float
        What was made the least, and what it cannot be below with these threads.
    """

    proved: bool
    feasible: bool
    threads: int
    fewest: int | None
    assignment: tuple[int, ...]
    utilizations: tuple[float, ...]
    mean_waits: tuple[float, ...]
    mean_responses: tuple[float, ...]
    slowdowns: tuple[float, ...]
    value: float
    lower_bound: float


def assign_iothreads(
    engine: Engine,
    *,
    cpu_time: Law | Sequence[Law],
    threads: int | None = None,
    minimize: Minimize = "response",
    max_utilization: float | None = None,
    max_wait_quantile: tuple[float, float] | None = None,
) -> IothreadAssignment:
    """Spread the disks of a guest over iothreads.

    Parameters
    ----------
    engine : Engine
        All disks; its queue length and shares are those of the engine of every thread. Disks that share a device are
        solved as if their threads had one line for that device and slots enough.
    cpu_time : Law, or one for each disk
        A thread's time on one request, submission and completion together [s].
    threads : int, optional
        How many; without it the fewest that meet the limits.
    minimize : "response", "slowdown" or "utilization"
    max_utilization : float, optional
        Of any thread; below 1 in any case.
    max_wait_quantile : (p, x), optional
        The p-quantile of the wait for a thread may be at most x seconds.

    Raises
    ------
    ValueError
        When an argument is out of range or an engine cannot be solved.

    Examples
    --------
    Three disks that keep 128 requests outstanding and one of 50 requests a second, which needs its latency. On one
    thread of 64 slots it would wait for their line; it gets one of two threads for itself.

    >>> import qtheory as qt
    >>> device = qt.Device(servers=4, service=qt.Exponential(mean=400e-6))
    >>> deep = qt.Disk(qt.Closed(outstanding=128, think_time=5e-3), device=device)
    >>> shallow = qt.Disk(qt.Poisson(50.0), device=device)
    >>> guest = qt.Engine([deep, deep, deep, shallow], queue_length=64)
    >>> cpu = qt.Exponential(mean=4e-6)
    >>> a = qt.assign_iothreads(guest, cpu_time=cpu, threads=2, minimize="slowdown")
    >>> a.assignment, a.proved
    ((0, 0, 0, 1), True)
    """
    if not isinstance(engine, Engine):
        raise TypeError(f"engine must be a qt.Engine, not {engine!r}")
    n = len(engine.disks)
    laws = tuple(law_of(law, f"cpu_time[{i}]") for i, law in enumerate(cpu_time)) if isinstance(
        cpu_time, Sequence
    ) else (law_of(cpu_time, "cpu_time"),) * n  # fmt: skip
    if len(laws) != n:
        raise ValueError(f"cpu_time must be a law, or one for each of the {n} disks, not {len(laws)}")
    choice("minimize", minimize, ("response", "slowdown", "utilization"))
    most = 1.0 if max_utilization is None else probability("max_utilization", max_utilization)
    if max_wait_quantile is not None:
        if len(sequence("max_wait_quantile", max_wait_quantile)) != 2:
            raise ValueError(f"max_wait_quantile must be a pair (probability, seconds), not {max_wait_quantile!r}")
        probability("max_wait_quantile[0]", max_wait_quantile[0])
        positive("max_wait_quantile[1]", max_wait_quantile[1])
    guest = Guest(engine, laws, minimize, most, max_wait_quantile)
    last = n if threads is None else count("threads", threads)
    fewest = next((m for m in range(1, min(last, n) + 1) if guest.best(m) is not None), None)
    return _answer(guest, fewest if threads is None else last, fewest)


class Guest:
    """The disks by kinds, and what a thread with so many of each kind does."""

    def __init__(
        self,
        engine: Engine,
        laws: Sequence[Law],
        minimize: Minimize,
        most: float,
        longest: tuple[float, float] | None,
    ) -> None:
        self.engine, self.minimize, self.most, self.longest = engine, minimize, most, longest
        shares = engine.shares.weights if isinstance(engine.shares, Weights) else engine.shares
        own = (0,) * len(engine.disks) if isinstance(shares, str) else shares
        disks = list(zip(engine.disks, laws, own, strict=True))
        self.kinds = list(dict.fromkeys(disks))
        self.kind_of = tuple(self.kinds.index(disk) for disk in disks)
        self.laws = tuple(law for _, law, _ in self.kinds)
        self.counts: Counts = tuple(self.kind_of.count(k) for k in range(len(self.kinds)))
        self.states: dict[Counts, SteadyState] = {}
        self.cost = cache(self._cost)
        self.best = cache(self._best)
        ones = [tuple(int(k == one) for k in range(len(self.kinds))) for one in range(len(self.kinds))]
        self.at_engine = tuple(self._solved(one)[k] for k, one in enumerate(ones))
        self.rates = tuple(rate for rate, _ in self.at_engine)
        self.loads = tuple(rate * law.mean for rate, law in zip(self.rates, self.laws, strict=True))
        self.alone = tuple(
            self.wait(one) + law.mean + self.at_engine[k][1] if self.loads[k] < 1.0 else math.inf
            for k, (one, law) in enumerate(zip(ones, self.laws, strict=True))
        )

    def _solved(self, counts: Counts) -> list[tuple[float, float]]:
        """Throughput, and response at engine and device, of a disk of each kind, with these on the thread."""
        shares, slots = self.engine.shares, self.engine.queue_length
        if self.engine.shared:
            counts, shares, slots = self.counts, "fifo", None
        first = list(itertools.accumulate(counts, initial=0))
        if counts not in self.states:
            chosen = [kind for kind, c in zip(self.kinds, counts, strict=True) for _ in range(c)]
            if isinstance(shares, Weights):
                shares = Weights([weight for *_, weight in chosen])
            elif not isinstance(shares, str):
                shares = tuple(int(cap) for *_, cap in chosen)
            at = Engine([disk for disk, *_ in chosen], self.engine.device, slots, self.engine.hold, shares)
            self.states[counts] = solve(at)
        state = self.states[counts]
        disks = [state.disks[i if c else 0] for i, c in zip(first, counts, strict=False)]
        return [(disk.throughput, disk.mean_response + disk.mean_guest_wait) for disk in disks]

    def responses(self, counts: Counts) -> list[float]:
        """Of a disk of each kind present, over all [s]; of the others anything."""
        at_engine = self.at_engine if self.apart(counts) else self._solved(counts)
        wait = self.wait(counts)
        return [wait + law.mean + response for law, (_, response) in zip(self.laws, at_engine, strict=True)]

    def utilization(self, counts: Counts) -> float:
        """Of a thread with these disks."""
        return math.fsum(c * load for c, load in zip(counts, self.loads, strict=True))

    def wait(self, counts: Counts) -> float:
        """Mean wait for it [s]."""
        second = (c * x * law.moment(2) for c, x, law in zip(counts, self.rates, self.laws, strict=True))
        return math.fsum(second) / (2.0 * (1.0 - self.utilization(counts)))

    def meets(self, counts: Counts) -> bool:
        """Whether the thread keeps within the limits."""
        rho = self.utilization(counts)
        if rho >= 1.0 or rho > self.most * (1.0 + ROUNDING):
            return False
        if self.longest is None or not any(counts):
            return True
        rates = [c * x for c, x in zip(counts, self.rates, strict=True)]
        p, longest = self.longest
        station = mg1(arrival_rate=math.fsum(rates), service=Mixture(self.laws, rates))
        return station.wait_quantile(p) <= longest * (1.0 + ROUNDING)

    def _cost(self, counts: Counts) -> float:
        """What a thread with these disks adds to what is minimized; infinite beyond the limits."""
        if not self.meets(counts):
            return math.inf
        if self.minimize == "utilization":
            return self.utilization(counts)
        responses = self.responses(counts)
        if self.minimize == "response":
            return math.fsum(c * x * r for c, x, r in zip(counts, self.rates, responses, strict=True))
        return max((r / alone for c, r, alone in zip(counts, responses, self.alone, strict=True) if c), default=0.0)

    def together(self, costs: Iterable[float]) -> float:
        """The cost of several threads: all, or the worst."""
        return math.fsum(costs) if self.minimize == "response" else max(costs, default=0.0)

    def proves(self, threads: int) -> bool:
        """Whether so many threads are within reach of dynamic programming."""
        return threads * math.prod((c + 1) * (c + 2) // 2 for c in self.counts) <= WORK

    def _best(self, threads: int) -> tuple[float, tuple[Counts, ...]] | None:
        """Least cost on at most so many threads, and the disks on each; None when none meets the limits."""
        found = self._placed(threads) if self.proves(threads) else self._searched(threads)
        return found if found[0] < math.inf else None

    def apart(self, counts: Counts) -> bool:
        """Whether these disks share nothing but the thread."""
        slots = self.engine.queue_length
        present = sum(c * disk.most for c, (disk, *_) in zip(counts, self.kinds, strict=True))
        return not self.engine.shared and self.engine.shares == "fifo" and (slots is None or slots >= present)

    @property
    def in_product_form(self) -> bool:
        """Whether thread and devices are known to be independent: Poisson, nothing lost, exponential, no line."""
        return (
            self.apart(self.counts)
            and len(set(self.laws)) == 1
            and isinstance(self.laws[0], Exponential)
            and all(isinstance(disk.arrivals, Poisson) for disk, *_ in self.kinds)
            and all(isinstance(law, Exponential) for law in self.engine.laws)
            and all(state.blocking < NOTHING for state in self.states.values())
        )

    def _placed(self, threads: int) -> tuple[float, tuple[Counts, ...]]:
        """By dynamic programming: the next thread takes some of the disks that are left, one of the first kind left."""

        @cache
        def place(left: Counts, threads: int) -> tuple[float, tuple[Counts, ...]]:
            if not any(left):
                return 0.0, ()
            if threads == 0:
                return math.inf, ()
            found: tuple[float, tuple[Counts, ...]] = (math.inf, ())
            first = next(k for k, c in enumerate(left) if c)
            for part in itertools.product(*(range(int(k == first), c + 1) for k, c in enumerate(left))):
                cost = self.cost(part)
                if cost < found[0]:
                    rest, parts = place(tuple(a - b for a, b in zip(left, part, strict=True)), threads - 1)
                    cost = self.together((cost, rest))
                    if cost < found[0]:
                        found = cost, (part, *parts)
            return found

        return place(self.counts, threads)

    def _searched(self, threads: int) -> tuple[float, tuple[Counts, ...]]:
        """Longest processing time first, then the first move or swap that helps until none does."""
        parts: list[Counts] = [(0,) * len(self.kinds)] * threads
        for k in sorted(self.kind_of, key=lambda k: -self.loads[k]):
            least = min(range(threads), key=lambda t: self.utilization(parts[t]))
            parts[least] = _changed(parts[least], k, 1)

        def measure(parts: Sequence[Counts]) -> tuple[float, float]:
            """Threads beyond the limits come first, then the cost, or their utilization while there are such."""
            costs = [self.cost(part) for part in parts]
            over = costs.count(math.inf)
            return over, max(map(self.utilization, parts)) if over else self.together(costs)

        value = measure(parts)
        improved = True
        while improved:
            improved = False
            for other in _neighbours(parts):
                now = measure(other)
                if now[0] < value[0] or (now[0] == value[0] and now[1] < value[1] * (1.0 - ROUNDING)):
                    parts, value, improved = other, now, True
                    break
        return (math.inf if value[0] else value[1]), tuple(parts)

    def least(self, threads: int) -> float:
        """What the cost cannot be below with so many threads."""
        load = self.utilization(self.counts)
        if self.minimize == "utilization":
            loads = sorted((self.loads[k] for k in self.kind_of), reverse=True)
            pair = loads[threads - 1] + loads[threads] if threads < len(loads) else 0.0
            return max(load / threads, loads[0], pair)
        if self.minimize == "slowdown":
            return 1.0
        roots, apart = 0.0, 0.0
        for c, x, law, (_, response) in zip(self.counts, self.rates, self.laws, self.at_engine, strict=True):
            roots += c * x * math.sqrt(law.moment(2))
            apart += c * x * (law.mean + response)
        return apart + roots**2 / (2.0 * (threads - load))


def _changed(part: Counts, kind: int, by: int) -> Counts:
    return (*part[:kind], part[kind] + by, *part[kind + 1 :])


def _neighbours(parts: Sequence[Counts]) -> Iterator[list[Counts]]:
    """All that one disk moved, or two exchanged, lead to."""
    kinds = range(len(parts[0]))
    for a, b in itertools.permutations(range(len(parts)), 2):
        for k in kinds:
            if not parts[a][k]:
                continue
            without, with_it = _changed(parts[a], k, -1), _changed(parts[b], k, 1)
            for back in (None, *(l for l in kinds if a < b and l != k and parts[b][l])):
                other = list(parts)
                other[a], other[b] = without, with_it
                if back is not None:
                    other[a], other[b] = _changed(without, back, 1), _changed(with_it, back, -1)
                yield other


def _answer(guest: Guest, threads: int | None, fewest: int | None) -> IothreadAssignment:
    states = guest.states.values()
    bounds = [state.error_bounds["mean_response"] for state in states]
    bound = max(x if x < math.inf else SERIES_ERROR for x in bounds)
    warnings = [w for state in states for w in state.warnings]
    if math.inf in bounds:
        warnings.append("the engine's line is approximate: measured for 3 and 4 disks only (validation/host.py)")
    if guest.engine.shared and guest.engine.queue_length is not None:
        warnings.append("the threads' own lines before the shared device are not modelled: slots are taken to suffice")
    exact = guest.in_product_form and all(state.exact for state in states)
    if not exact:
        bound = max(bound, SERIES_ERROR)
        warnings.append("thread and engine are taken as independent, and the thread's arrivals as Poisson")
    n = len(guest.kind_of)
    used = min(threads or n, n)
    proved = guest.proves(used)
    found = None if fewest is None else guest.best(used)
    if found is None:
        warnings.insert(0, f"no assignment to {used} threads {'meets the limits' if proved else 'was found that does'}")
        return IothreadAssignment(
            method="none", exact=False, error_bounds={"mean_response": bound}, warnings=tuple(dict.fromkeys(warnings)),
            proved=proved, feasible=False, threads=threads or n, fewest=None, assignment=(), utilizations=(),
            mean_waits=(), mean_responses=(), slowdowns=(), value=math.inf, lower_bound=math.inf,
        )  # fmt: skip
    cost, parts = found
    threads = used if threads is None else threads
    parts = (*parts, *((0,) * len(guest.kinds),) * (threads - len(parts)))
    members = [[t for t, part in enumerate(parts) for _ in range(part[k])] for k in range(len(guest.kinds))]
    assignment = tuple(members[k].pop(0) for k in guest.kind_of)
    responses = [guest.responses(part) if any(part) else [] for part in parts]
    seen = tuple(responses[t][k] for t, k in zip(assignment, guest.kind_of, strict=True))
    least, off = cost, 0.0
    if not proved:
        least = guest.least(used)
        off = cost / least - 1.0
        if guest.minimize == "utilization":
            off = min(off, 1.0 / 3.0 - 1.0 / (3.0 * used))
        warnings.append("the assignment was searched for, not proved best; fewer threads may do as well")
    scale = math.fsum(guest.rates[k] for k in guest.kind_of) if guest.minimize == "response" else 1.0
    return IothreadAssignment(
        method="dynamic programming" if proved else "longest first, moves and swaps",
        exact=exact and proved,
        error_bounds={"mean_response": bound, "value": off},
        warnings=tuple(dict.fromkeys(warnings)),
        proved=proved,
        feasible=True,
        threads=threads,
        fewest=fewest,
        assignment=assignment,
        utilizations=tuple(guest.utilization(part) for part in parts),
        mean_waits=tuple(guest.wait(part) for part in parts),
        mean_responses=seen,
        slowdowns=tuple(response / guest.alone[k] for response, k in zip(seen, guest.kind_of, strict=True)),
        value=cost / scale,
        lower_bound=least / scale,
    )
