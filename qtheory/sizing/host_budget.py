"""AIO slots of a host, divided among the engines of all its guests.

Linux allows all processes together `fs.aio-max-nr` slots, 65536 by default. QEMU asks for 1024 for each engine, so the
65th engine gets none and runs on its thread pool of 64 workers. Instead: each engine gets the smallest queue length
that keeps its throughput loss within a limit, and when the sum of those exceeds the slots there are,

**the least total throughput is lost** by giving slots where they gain most. Maximizing Σ X_i(Q_i) over Σ Q_i <= B is
done by the greedy rule, next slot to the largest X_i(Q_i + 1) − X_i(Q_i), if every X_i is concave (Gross 1956; Fox
1966; Ibaraki and Katoh 1988). X is concave for saturated disks behind one line as K → ∞, N μ Q/(Q + N − 1); for
saturated disks at one device whose rates are; and for closed networks of such stations (Shanthikumar and Yao 1988).
A measured rate curve with dips, or equal shares, which only gain every N slots, are not. So the greedy rule follows the
concave hull of each X_i, which is X_i where that is concave, and what was missed is bounded by weak duality: for any
price ν per slot and any division

    Σ X_i(Q_i) <= Σ_i max_q [X_i(q) − ν q] + ν B.

X_i is solved at every q up to RESOLUTION and in steps of q/RESOLUTION beyond; in between it is at most what it is at
the next, as it only rises: the bound holds for all q, and is what `error_bound` reports. What an engine does beyond its
throughput without a limit is not counted. Equal engines end within one slot where that loses nothing.

An engine without slots runs on its thread pool. With `thread_pool` workers X_i(q) is X_i(max(q, workers)) from q = 0
on, which is convex at first: the hull knows which engines are better left without. What a worker costs the host is not
modelled, so this has to be asked for.

**The fairest division** has the least worst relative loss. Each loss falls with Q, so the slots needed for a worst loss
of ε fall with ε: bisection, then what is left slot by slot to the worst off. This is optimal without concavity.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Literal

from qtheory import arguments
from qtheory.arguments import choice, count, sequence
from qtheory.engine import Engine
from qtheory.engines import LINUX_AIO_MAX_EVENTS, THREAD_POOL_MAX_THREADS
from qtheory.result import Result
from qtheory.shares import shortest
from qtheory.sizing.optimum import ROUNDING, least, optimal_queue_length, throughput
from qtheory.sizing.sweep import with_queue_length

AIO_MAX_NR = 65536
"""fs.aio-max-nr of Linux by default."""
RESOLUTION = 64
HALVINGS = 40
"""Of the worst loss, from 1: to 1e-12."""


@dataclass(frozen=True, kw_only=True)
class HostBudget(Result):
    """AIO slots divided among engines, in the order in which these were given.

    Attributes
    ----------
    slots : int
        That there are.
    wanted : tuple of int
        Smallest queue length of each for the loss that was allowed.
    sufficient : bool
        Whether all get what they want.
    queue_lengths : tuple of int or None
        The division, 0 for a thread pool; None when there is not even a slot for each engine, or each disk where
        slots are divided.
    throughput_losses : tuple of float
        Of each engine at its queue length, relative to no limit; empty without a division.
    throughput_loss : float or None
        Of all together.
    most_engines : int or None
        How many engines, the given ones repeated cyclically, the slots are enough for; None when none wants any.
    constant_losses : tuple of float
        What each loses as QEMU does it: 1024 slots while they last, then a thread pool of 64; always one line.
    constant_loss : float
        Of all together.
    constant_engines : int
        How many engines 1024 slots each are enough for.
    """

    slots: int
    wanted: tuple[int, ...]
    sufficient: bool
    queue_lengths: tuple[int, ...] | None
    throughput_losses: tuple[float, ...]
    throughput_loss: float | None
    most_engines: int | None
    constant_losses: tuple[float, ...]
    constant_loss: float
    constant_engines: int


def host_budget(
    engines: Sequence[Engine],
    *,
    slots: int = AIO_MAX_NR,
    max_throughput_loss: float = 0.01,
    when_short: Literal["throughput", "fairness"] = "throughput",
    thread_pool: int = 0,
) -> HostBudget:
    """Divide `slots` AIO slots among the engines of a host; their own queue lengths are ignored.

    Parameters
    ----------
    engines : sequence of Engine
        Of all guests, at least one. Each is taken to have its devices to itself.
    slots : int
        `fs.aio-max-nr`.
    max_throughput_loss : float
        That each engine may lose to its queue length, a fraction.
    when_short : "throughput" or "fairness"
        When there are not slots enough for that: lose the least in total, or make the worst loss the least.
    thread_pool : int
        Workers of an engine that gets no slots, 64 in QEMU; 0: each engine must have slots.

    Returns
    -------
    HostBudget
        `error_bounds["total_throughput"]` bounds by how much the best division could exceed this one.

    Raises
    ------
    ValueError
        When an argument is out of range or an engine cannot be solved.

    Examples
    --------
    A hundred guests of 16 saturated disks with a device each. QEMU's constant leaves 36 of them to a thread pool:

    >>> import qtheory as qt
    >>> device = qt.Device(servers=1, service=qt.Exponential(mean=1e-3))
    >>> disk = qt.Disk(qt.Closed(outstanding=64), device=device)
    >>> h = qt.host_budget([qt.Engine([disk] * 16)] * 100, max_throughput_loss=0.01)
    >>> h.sufficient, h.queue_lengths[0], h.most_engines, h.constant_engines
    (True, 217, 302, 64)
    >>> print(f"{h.throughput_loss:.3f} {h.constant_loss:.3f} {h.constant_losses[99]:.3f}")
    0.010 0.056 0.154
    """
    members = sequence("engines", engines)
    if not members:
        raise ValueError("engines must have at least one engine")
    for i, engine in enumerate(members):
        if not isinstance(engine, Engine):
            raise TypeError(f"engines[{i}] must be a qt.Engine, not {engine!r}")
    budget, loss = count("slots", slots), arguments.probability("max_throughput_loss", max_throughput_loss)
    choice("when_short", when_short, ("throughput", "fairness"))
    workers = count("thread_pool", thread_pool, least=0)

    optima = {engine: optimal_queue_length(engine, max_throughput_loss=loss) for engine in dict.fromkeys(members)}
    kinds = {engine: Supply(engine, workers, optimum.upper) for engine, optimum in optima.items()}
    supplies = [kinds[engine] for engine in members]
    wanted = tuple(kinds[engine].used(optima[engine].lower) for engine in members)
    sufficient = sum(wanted) <= budget
    gap, method = 0.0, "smallest queue length of each"
    given: list[int] | None
    if sufficient:
        given = list(wanted)
    elif sum(supply.first for supply in supplies) > budget:
        given, method = None, "none"
    elif when_short == "throughput":
        given, gap = _most_throughput(supplies, budget)
        method = "greedy on concave hulls"
    else:
        given = _fairest(supplies, budget)
        method = "least worst loss by bisection"
    if given is not None:
        given = [supply.used(q) for supply, q in zip(supplies, given, strict=True)]
    constant_engines = budget // LINUX_AIO_MAX_EVENTS
    constant = [
        supply.one_line(LINUX_AIO_MAX_EVENTS if i < constant_engines else THREAD_POOL_MAX_THREADS)
        for i, supply in enumerate(supplies)
    ]
    full = sum(supply.full for supply in supplies)
    rates = [] if given is None else [supply.rate(q) for supply, q in zip(supplies, given, strict=True)]
    falling = sum(kind.falls for kind in kinds.values())
    bounds = {"throughput": max(z.error_bounds.get("throughput", 0.0) for z in optima.values())}
    if when_short == "throughput" and given is not None:
        bounds["total_throughput"] = math.inf if falling and not sufficient else gap
    warnings = [w for z in optima.values() for w in z.warnings]
    if not sufficient:
        warnings.insert(0, f"{budget} slots are fewer than the {sum(wanted)} wanted: " + (
            "not even one for each engine, or each disk where slots are divided" if given is None
            else "what is lost is more than what was allowed"
        ))  # fmt: skip
    if given is not None and not sufficient and sum(constant) > sum(rates) * (1.0 + ROUNDING):
        warnings.append("1024 slots each lose less, as the thread pools of the others need none: see thread_pool")
    if falling:
        warnings.append("an engine has less throughput with more slots: the division was looked for as if none had")
    return HostBudget(
        method=f"{method}; {', '.join(dict.fromkeys(z.method.split(',')[0] for z in optima.values()))}",
        exact=gap <= ROUNDING and not falling and all(z.exact for z in optima.values()),
        error_bounds=bounds,
        warnings=tuple(dict.fromkeys(warnings)),
        slots=budget,
        wanted=wanted,
        sufficient=sufficient,
        queue_lengths=None if given is None else tuple(given),
        throughput_losses=tuple(1.0 - x / supply.full for x, supply in zip(rates, supplies, strict=False)),
        throughput_loss=None if given is None else 1.0 - sum(rates) / full,
        most_engines=_most_engines(wanted, budget),
        constant_losses=tuple(1.0 - x / supply.full for x, supply in zip(constant, supplies, strict=True)),
        constant_loss=1.0 - sum(constant) / full,
        constant_engines=constant_engines,
    )


class Supply:
    """Throughput of one engine against its slots, up to `last`, the longest queue that makes a difference."""

    def __init__(self, engine: Engine, workers: int, last: int) -> None:
        self.engine, self.workers, self.last = engine, workers, last
        fewest = shortest(engine.shares, len(engine.disks))
        self.first = 0 if workers else fewest
        self.useless = max(workers, fewest - 1) if workers else 0
        self.solved: dict[int, float] = {}
        self.full = throughput(with_queue_length(engine, None))
        self.one_line = cache(self._one_line)

    def rate(self, q: int) -> float:
        """Throughput with q slots, or on the thread pool where that has more workers."""
        if q not in self.solved:
            pool = self.one_line(self.workers) if self.workers else 0.0
            self.solved[q] = pool if q <= self.useless else max(throughput(with_queue_length(self.engine, q)), pool)
        return self.solved[q]

    def used(self, q: int) -> int:
        """Of q slots those that are of use: none where they are no more than the thread pool's workers."""
        return q if q > self.useless else 0

    @property
    def falls(self) -> bool:
        """Whether more slots were seen to give less throughput."""
        rates = [rate for _, rate in sorted(self.solved.items())]
        return any(b < a * (1.0 - ROUNDING) for a, b in pairwise(rates))

    def _one_line(self, length: int) -> float:
        """Throughput with one line for `length` slots, as QEMU has it."""
        return throughput(Engine(self.engine.disks, self.engine.device, length, self.engine.hold, "fifo"))

    def points(self) -> list[tuple[int, float]]:
        """(q, X(q)) at every q up to RESOLUTION, in relative steps beyond, up to where nothing is lost."""
        found, q = [(self.first, self.rate(self.first))], self.first
        while q < self.last and found[-1][1] < self.full * (1.0 - ROUNDING):
            q = min(self.useless if q < self.useless else q + max(1, q // RESOLUTION), self.last)
            found.append((q, self.rate(q)))
        return found


def hull(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Vertices of the least concave function above the points, while it rises.

    >>> hull([(1, 1.0), (2, 1.2), (3, 3.0), (4, 3.5), (5, 3.4)])
    [(1, 1.0), (3, 3.0), (4, 3.5)]
    """
    found: list[tuple[int, float]] = []
    for q, x in points:
        while len(found) > 1 and _slope(found[-2], found[-1]) <= _slope(found[-2], (q, x)):
            found.pop()
        found.append((q, x))
    while len(found) > 1 and found[-1][1] <= found[-2][1]:
        found.pop()
    return found


def _slope(a: tuple[int, float], b: tuple[int, float]) -> float:
    return (b[1] - a[1]) / (b[0] - a[0])


def _most_throughput(supplies: Sequence[Supply], budget: int) -> tuple[list[int], float]:
    """The division by falling gain per slot, and by how much of its total throughput a better one could exceed it."""
    points = {supply: supply.points() for supply in dict.fromkeys(supplies)}
    hulls = {supply: hull(found) for supply, found in points.items()}
    pieces = [
        (_slope(a, b), b[0] - a[0], i) for i, supply in enumerate(supplies) for a, b in pairwise(hulls[supply])
    ]  # fmt: skip
    pieces.sort(key=lambda piece: -piece[0])
    given = [supply.first for supply in supplies]
    left, price = budget - sum(given), 0.0
    ended: set[int] = set()
    for slope, width, i in pieces:
        if i in ended:
            continue
        supply, part = supplies[i], min(width, left)
        if part < width:
            # The first that does not fit sets the price. Part of a convex piece may gain nothing: it is left to others.
            price = price or slope
            ended.add(i)
            part = part if supply.rate(given[i] + part) > supply.rate(given[i]) else 0
        given[i] += part
        left -= part
    _level(supplies, given)
    total = sum(supply.rate(q) for supply, q in zip(supplies, given, strict=True))
    worth = {
        supply: max(
            found[0][1] - price * found[0][0],
            *(b[1] - price * (a[0] + 1) for a, b in pairwise([*found, (found[-1][0] + 1, found[-1][1])])),
        )
        for supply, found in points.items()
    }
    most = sum(worth[supply] for supply in supplies) + price * budget
    return given, max(most / total - 1.0, 0.0)


def _level(supplies: Sequence[Supply], given: list[int]) -> None:
    """Make equal engines' slots equal to within one, where that loses nothing."""
    for supply, copies in Counter(supplies).items():
        where = [i for i, other in enumerate(supplies) if other is supply]
        part, rest = divmod(sum(given[i] for i in where), copies)
        even = rest * supply.rate(part + (rest > 0)) + (copies - rest) * supply.rate(part)
        if even >= sum(supply.rate(given[i]) for i in where) * (1.0 - ROUNDING):
            for n, i in enumerate(where):
                given[i] = part + (n < rest)


def _fairest(supplies: Sequence[Supply], budget: int) -> list[int]:
    """The division with the least worst relative loss."""

    def needed(loss: float) -> list[int]:
        lengths = {
            supply: min(
                least(lambda q, s=supply: s.rate(q) >= s.full * (1.0 - loss), supply.first, supply.last, supply.first),  # type: ignore[misc]
                supply.last,
            )
            for supply in dict.fromkeys(supplies)
        }
        return [lengths[supply] for supply in supplies]

    low, high = 0.0, 1.0
    given = needed(high)
    for _ in range(HALVINGS):
        middle = (low + high) / 2.0
        lengths = needed(middle)
        low, high, given = (low, middle, lengths) if sum(lengths) <= budget else (middle, high, given)
    for _ in range(budget - sum(given)):
        open_ = [i for i, supply in enumerate(supplies) if given[i] < supply.last]
        if not open_:
            break
        given[max(open_, key=lambda i: 1.0 - supplies[i].rate(given[i]) / supplies[i].full)] += 1
    return given


def _most_engines(wanted: Sequence[int], slots: int) -> int | None:
    """How many fit, repeated cyclically; None when any number does."""
    if not any(wanted):
        return None
    whole, rest = divmod(slots, sum(wanted))
    return whole * len(wanted) + sum(total <= rest for total in itertools.accumulate(wanted))
