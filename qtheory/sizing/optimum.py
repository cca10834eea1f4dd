"""The optimal queue length: the smallest Q that meets what bounds it from below, if it also meets what bounds it above.

    throughput loss against no limit       falls with Q    a lower end
    delay probability, wait quantile       fall with Q     a lower end (with hold="refuse" they rise: an upper end)
    P(drain time > budget)                 rises with Q    an upper end (with hold="engine" Q does not bound it)

Each end is found by doubling and bisection on the solved engine, so its neighbour on the wrong side has been solved
and fails; Q − 1 and Q + 1 of the answer are solved as well. What bisection takes for granted, that a quantity only
rises or falls with Q, is checked on all that was solved, and a breach is told.

Within [lower, upper] the rule is: **the smallest Q**. It has the shortest drain, holds the least in flight, and leaves
most to the guests' own schedulers. Another rule may be given: `maximize="power"` takes the Q with the largest X²/L,
throughput over time in flight (Kleinrock 1979: keep the pipe just full), a function of the steady state any other
trade-off.

Where not to look: Q slots carry at most Q/S requests a second (Little's law), so no Q below (1 − ε) X S loses less than
ε. Before one shared device, slots beyond its servers change no throughput and no wait. And Q beyond the requests that
can be outstanding changes nothing, which is where every search ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from qtheory.arguments import positive, probability, real, sequence
from qtheory.drain import drain_survival, drain_time
from qtheory.engine import Engine
from qtheory.laws import Exponential
from qtheory.result import Result
from qtheory.shares import follow_length, shortest
from qtheory.sizing.closed_forms import one_line
from qtheory.sizing.sensitivity import Sensitivity, sensitivity
from qtheory.sizing.sweep import with_disks, with_queue_length
from qtheory.solve import choose, solve
from qtheory.stability import check_stable

if TYPE_CHECKING:
    from qtheory.drain.drain_law import DrainTime
    from qtheory.solve.steady_state import SteadyState

Objective: TypeAlias = "Literal['power'] | Callable[[SteadyState], float]"
ROUNDING = 1e-9
"""By which a quantity may miss its limit, or move against its direction, and be taken not to."""
UNSOLVED = "servers: beyond them, divided slots of a shared device are not solved for this service"
UNSATURATED_LINE = {"exponential": (-0.02, 0.07), "other": (-0.11, 1.55)}
"""How far a lower end by `delay_line` was from the simulated one for 1 and 5 % loss, as a fraction of that, where it
was more than a slot off, over the grids of `validation/sizing.py` and `sizing_by_simulation.py`: 4 to 64 Poisson or
saturated disks, buffers 8 to 64, devices of 1 and 4 servers; other service of scv 0 to 4 with up to 16 disks, saturated
guests at 1 % loss the furthest off. The loss at that end was at most 1.1 % beyond the limit, mostly below it."""
INVERSE_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a queue length must meet; see `optimal_queue_length`."""

    max_throughput_loss: float | None = None
    max_delay_probability: float | None = None
    max_wait_quantile: tuple[float, float] | None = None
    drain_budget: float | None = None
    drain_probability: float = 0.99

    def __post_init__(self) -> None:
        if self.max_throughput_loss is not None:
            probability("max_throughput_loss", self.max_throughput_loss)
        if self.max_delay_probability is not None:
            probability("max_delay_probability", self.max_delay_probability)
        if self.max_wait_quantile is not None:
            if len(sequence("max_wait_quantile", self.max_wait_quantile)) != 2:
                raise ValueError(
                    f"max_wait_quantile must be a pair (probability, seconds), not {self.max_wait_quantile!r}"
                )
            probability("max_wait_quantile[0]", self.max_wait_quantile[0])
            positive("max_wait_quantile[1]", self.max_wait_quantile[1])
        if self.drain_budget is not None:
            positive("drain_budget", self.drain_budget)
        probability("drain_probability", self.drain_probability)


@dataclass(frozen=True, kw_only=True)
class OptimalQueueLength(Result):
    """The optimal queue length and the interval of those that are good enough; SI units.

    Attributes
    ----------
    queue_length : int or None
        The smallest in the interval, unless another objective was given; None when no queue length meets all limits.
    lower, upper : int
        The smallest Q that meets what bounds it from below, the largest that meets what bounds it from above.
        Infeasible: lower > upper. Lower is one more than the requests that can be outstanding when no Q is enough,
        upper one less than the smallest possible Q when every Q is too much.
    binds_lower, binds_upper : str
        What binds there: "throughput loss", "delay probability", "wait quantile", "drain", "power", or the natural ends
        "one request", "a slot for each disk", "guests that would wait without end", "requests outstanding", and
        UNSOLVED where no longer queue was tried.
    feasible : bool
        Whether lower <= upper.
    most_disks : int
        The largest number of disks (the given ones repeated cyclically) that has a feasible queue length; that of the
        engine when it is feasible itself, 0 when no number is.
    throughput_loss : float or None
        At the answer, relative to `queue_length=None`.
    steady : SteadyState or None
        The engine at the answer.
    drain : DrainTime or None
        Its drain; None when infeasible, or not asked for and not known.
    verified : bool
        Whether the neighbours of the answer and all else that was solved bear out what bisection takes for granted. No
        where a shorter queue could not be solved and was taken to be too short, which `warnings` tell.
    """

    queue_length: int | None
    lower: int
    upper: int
    binds_lower: str
    binds_upper: str
    feasible: bool
    most_disks: int
    throughput_loss: float | None
    steady: SteadyState | None = field(repr=False)
    drain: DrainTime | None = field(repr=False)
    verified: bool
    _engine: Engine = field(repr=False, compare=False)
    _again: Callable[[Engine], int | None] = field(repr=False, compare=False)

    def sensitivity(self, step: float = 0.05) -> tuple[Sensitivity, ...]:
        """The answer with load, service mean, service scv and peakedness changed by -step and +step, each solved again.

        ValueError when there is no answer to change.
        """
        if self.queue_length is None:
            raise ValueError("sensitivity is that of a queue length, and none is feasible")
        return sensitivity(self._engine, self.queue_length, self._again, step)


def optimal_queue_length(
    engine: Engine,
    *,
    max_throughput_loss: float | None = None,
    max_delay_probability: float | None = None,
    max_wait_quantile: tuple[float, float] | None = None,
    drain_budget: float | None = None,
    drain_probability: float = 0.99,
    maximize: Objective | None = None,
) -> OptimalQueueLength:
    """The smallest queue length that meets all limits.

    Parameters
    ----------
    engine : Engine
        Its own queue length is ignored. Shares that follow it ("equal", "rings", "load", `Weights`) give every disk
        at least one slot.
    max_throughput_loss : float, optional
        Most of the throughput without a limit that may be lost to Q, a fraction.
    max_delay_probability : float, optional
        Largest P(wait > 0) of an accepted request.
    max_wait_quantile : (p, x), optional
        The p-quantile of the wait may be at most x seconds.
    drain_budget : float, optional
        P(drain time <= drain_budget [s]) must be at least `drain_probability`. It bounds Q with hold="ring" and
        "refuse" only; with "engine" the warnings say which limit bounds the drain.
    maximize : "power" or a function of the SteadyState, optional
        Take the best of the interval by this instead of the smallest. It is taken to rise to one peak.

    Returns
    -------
    OptimalQueueLength
        `method`, `exact`, `error_bounds` and `warnings` are those of the solutions that it rests on.

    Raises
    ------
    ValueError
        When nothing is asked for, an argument is out of range, or the engine cannot be solved.

    Examples
    --------
    Saturated disks with a device each, behind one line: losing at most 5 % takes 42 slots for 4 disks.

    >>> import qtheory as qt
    >>> device = qt.Device(servers=1, service=qt.Exponential(mean=1e-3))
    >>> disk = qt.Disk(qt.Closed(outstanding=256), device=device)
    >>> z = qt.optimal_queue_length(qt.Engine([disk] * 4, hold="ring"), max_throughput_loss=0.05)
    >>> z.queue_length, z.binds_lower, z.exact
    (42, 'throughput loss', True)

    A drain budget of 30 ms is too short for that; two disks would do.

    >>> z = qt.optimal_queue_length(qt.Engine([disk] * 4, hold="ring"), max_throughput_loss=0.05, drain_budget=0.030)
    >>> z.feasible, z.queue_length, z.lower, z.upper, z.most_disks
    (False, None, 42, 29, 2)
    """
    if not isinstance(engine, Engine):
        raise TypeError(f"engine must be a qt.Engine, not {engine!r}")
    limits = Limits(
        max_throughput_loss=max_throughput_loss,
        max_delay_probability=max_delay_probability,
        max_wait_quantile=max_wait_quantile,
        drain_budget=drain_budget,
        drain_probability=drain_probability,
    )
    if maximize is not None and maximize != "power" and not callable(maximize):
        raise TypeError(f'maximize must be "power" or a function of a SteadyState, not {maximize!r}')
    asked = (max_throughput_loss, max_delay_probability, max_wait_quantile, drain_budget, maximize)
    if all(limit is None for limit in asked):
        raise ValueError("max_throughput_loss, max_delay_probability, max_wait_quantile, drain_budget or maximize "
                         "must be given: without any, every queue length will do")  # fmt: skip
    try:
        return _answer(engine, limits, maximize)
    except ValueError as error:
        if engine.shares != "linux" or engine.shared:
            raise
        raise ValueError(
            "shares 'linux' promise the disks more than Q slots together, unless N divides Q and Q >= 4 N, and who "
            "gets them is not solved before a device each: take shares='equal', or qt.simulate at each Q"
        ) from error


@dataclass(frozen=True)
class Constraint:
    """A quantity of Q that must not exceed its limit; it rises with Q or falls."""

    name: str
    rises: bool
    limit: float
    value: Callable[[int], float]

    def holds(self, q: int) -> bool:
        """Whether it is met at Q = q."""
        return self.value(q) <= self.limit + ROUNDING * min(self.limit, 1.0)


class Search:
    """The interval of queue lengths of one engine, and every value that was looked at on the way."""

    def __init__(self, engine: Engine, limits: Limits, guess: int | None = None) -> None:
        self.engine = engine
        self.limits = limits
        self.seen: dict[str, dict[int, float]] = {}
        self.first = shortest(engine.shares, len(engine.disks))
        self.last, self.end = self._solved(max(self._enough(), self.first))
        self.natural = "a slot for each disk" if follow_length(engine.shares) else "one request"
        check_stable(with_queue_length(engine, None))
        stable = least(self._stable, self.first, self.last, self.first)
        if stable > self.first:
            self.first, self.natural = stable, "guests that would wait without end"
        self.unsolved: dict[int, str] = {}
        self.solve = cache(solve)
        self.unlimited = cache(lambda: throughput(with_queue_length(engine, None), self.solve))
        waits = engine.shared and engine.caps is None and not follow_length(engine.shares) and engine.hold != "refuse"
        self.enough = (engine.devices[0].servers or self.last) if waits else self.last
        self.floor = self._floor()
        self.constraints = self._constraints()
        self.lower, self.binds_lower = self._lower(guess or _guess(engine, limits))
        self.feasible = self.lower <= self.last and all(c.holds(self.lower) for c in self.constraints if c.rises)

    def at(self, q: int) -> Engine:
        """The engine with Q = q."""
        return with_queue_length(self.engine, q)

    def _stable(self, q: int) -> bool:
        try:
            check_stable(self.at(q))
        except ValueError:
            return False
        return True

    def state(self, q: int) -> SteadyState:
        """The engine with Q = q, solved."""
        return self.solve(self.at(q))

    def loss(self, q: int) -> float:
        """Throughput lost to Q = q."""
        return 1.0 - throughput(self.at(q), self.solve) / self.unlimited()

    def _constraints(self) -> list[Constraint]:
        limits, refuse = self.limits, self.engine.hold == "refuse"
        found = []
        if limits.max_throughput_loss is not None:
            found.append(self._constraint("throughput loss", False, limits.max_throughput_loss, self.loss))
        if limits.max_delay_probability is not None:
            found.append(
                self._constraint(
                    "delay probability", refuse, limits.max_delay_probability, lambda q: self.state(q).delay_probability
                )
            )
        if limits.max_wait_quantile is not None:
            p, longest = limits.max_wait_quantile
            found.append(
                self._constraint("wait quantile", refuse, 1.0 - p, lambda q: self.state(q).wait_survival(longest))
            )
        if limits.drain_budget is not None:
            budget = limits.drain_budget
            found.append(
                self._constraint(
                    "drain",
                    self.engine.hold != "engine",
                    1.0 - limits.drain_probability,
                    lambda q: drain_survival(self.at(q), budget),
                )
            )
        return found

    def _constraint(self, name: str, rises: bool, limit: float, ask: Callable[[int], float]) -> Constraint:
        values = self.seen.setdefault(name, {})

        def value(q: int) -> float:
            q = q if name == "drain" else min(q, self.enough)
            if q not in values:
                try:
                    values[q] = ask(q)
                except ValueError as error:
                    # Shorter than one that is solved: servers are missing, and what overloads the rest takes longest.
                    if rises or not any(solved > q for solved in values):
                        raise
                    self.unsolved[q] = str(error)
                    return math.inf
            return values[q]

        return Constraint(name, rises, limit, value)

    def _enough(self) -> int:
        """The queue length that gives every disk a slot for each request that it can have."""
        total = sum(disk.most for disk in self.engine.disks)
        if not follow_length(self.engine.shares):
            return total

        def enough(q: int) -> bool:
            caps = self.at(q).caps
            return caps is None or all(cap >= d.most for cap, d in zip(caps, self.engine.disks, strict=True))

        last = max(total, self.first)
        while not enough(last):
            last *= 2
        return least(enough, max(total, self.first), last, last)

    def _solved(self, last: int) -> tuple[int, str]:
        """Where to end; divided slots of other than exponential servers are solved up to their number, unless few."""
        device = self.engine.device
        if follow_length(self.engine.shares) and device is not None and device.servers is not None:
            try:
                choose(self.at(last))
            except ValueError:
                return max(min(device.servers, last), self.first), UNSOLVED
        return last, "requests outstanding"

    def _floor(self) -> int:
        """No shorter queue can carry what is asked for, whatever the laws."""
        means = [device.service.mean for device in self.engine.devices if device.service is not None]
        if self.limits.max_throughput_loss is None or len(means) < len(self.engine.devices):
            return self.first
        least_part = 1.0 - self.limits.max_throughput_loss - 2.0 * ROUNDING
        return min(max(math.ceil(least_part * self.unlimited() * min(means)), self.first), self.last)

    def _lower(self, guess: int) -> tuple[int, str]:
        lower, binds = self.first, self.natural
        for c in self.constraints:
            # A drain that waits for all that was popped: too long at the end, it is too long everywhere.
            if c.name == "drain" and not c.rises and not c.holds(self.last):
                return self.last + 1, c.name
        for c in self.constraints:
            if not c.rises:
                start = self.floor if c.name == "throughput loss" and self.enough < self.last else guess
                q = least(c.holds, self.floor, self.last, max(start, lower))
                if q > lower:
                    lower, binds = q, c.name
        return lower, binds

    def upper(self) -> tuple[int, str]:
        """The upper end and what binds there."""
        upper, binds = self.last, self.end
        start = min(self.lower, self.last)
        for c in self.constraints:
            if not c.rises:
                continue
            met = c.holds(start)
            first, last = (start + 1, self.last) if met else (self.first, start)
            if met and c.name == "drain" and self._ever(c, start):
                continue
            q = least(lambda q, c=c: not c.holds(q), first, last, start + 1) - 1  # type: ignore[misc]
            if q < upper:
                upper, binds = q, c.name
        return upper, binds

    def _ever(self, drain: Constraint, start: int) -> bool:
        """Whether the drain is met by every queue from `start` on, if that is soon told.

        Where what is present does not depend on Q, a drain is longer behind a longer queue only if more than Q are
        present: P(T > t) rises by no more than P(n > Q).
        """
        device, budget = self.engine.devices[0], self.limits.drain_budget
        if self.enough == self.last or device.service is None or device.servers is None or budget is None:
            return False
        beyond = 1.0 - np.cumsum(self.state(self.enough).in_system_pmf)
        few = np.flatnonzero(beyond <= 1e-3 * drain.limit)
        q = max(int(few[0]), start, self.enough)
        # What takes longer on average will not be met, and takes long to find.
        if q * device.service.mean > 2.0 * budget * device.servers:
            return False
        return drain.value(q) + max(float(beyond[min(q, len(beyond) - 1)]), 0.0) <= drain.limit

    def _turns(self) -> list[int]:
        """Queue lengths at which the rate curve of a shared device is highest, and lowest from there on."""
        curve = (self.engine.device.curve if self.engine.device is not None else None) or ()
        if not curve:
            return []
        peak = int(np.argmax(curve))
        turns = [peak + 1, peak + 1 + int(np.argmin(curve[peak:]))]
        return [q for q in turns if self.first <= q <= self.last]

    def against(self) -> list[str]:
        """What was taken for granted and not borne out, in words: solutions, and the directions of the constraints."""
        breaches = [
            f"a queue length of {q} could not be solved and is taken to be too short ({error})"
            for q, error in sorted(self.unsolved.items())
        ]
        for c in self.constraints:
            if c.name == "throughput loss":
                for q in self._turns():
                    c.value(q)
            values = [value for _, value in sorted(self.seen[c.name].items())]
            steps = [b - a if c.rises else a - b for a, b in pairwise(values)]
            if any(step < -ROUNDING for step in steps):
                breaches.append(
                    f"the {c.name} does not only {'rise' if c.rises else 'fall'} with the queue length: the ends are "
                    "right next to them, but the limits may be met outside, or missed inside"
                )
        return breaches


def least(holds: Callable[[int], bool], first: int, last: int, guess: int) -> int:
    """Smallest q in first..last with holds(q), for one that stays true; last + 1 when there is none.

    By doubling the distance from a guess, then bisection: q − 1 and q have been asked.

    >>> [least(lambda q: q >= 37, 1, last, guess) for last, guess in ((100, 1), (100, 90), (36, 5))]
    [37, 37, 37]
    """
    if first > last:
        return last + 1
    guess = min(max(guess, first), last)
    step = 1
    if holds(guess):
        above = below = guess
        while below > first:
            below = max(guess - step, first)
            if not holds(below):
                break
            above, step = below, 2 * step
        else:
            return first
        if below == above:
            return first
    else:
        below = above = guess
        while above < last:
            above = min(guess + step, last)
            if holds(above):
                break
            below, step = above, 2 * step
        else:
            return last + 1
    while above - below > 1:
        middle = (above + below) // 2
        above, below = (middle, below) if holds(middle) else (above, middle)
    return above


def best(value: Callable[[int], float], first: int, last: int) -> int:
    """Where a function with one peak is largest on first..last, the smallest such; by golden section.

    >>> best(lambda q: -abs(q - 37.4), 1, 1000)
    37
    """
    while last - first > 3:
        part = max(1, round((1.0 - INVERSE_GOLDEN) * (last - first)))
        left, right = first + part, last - part
        if left >= right:
            right = left + 1
        if value(left) < value(right):
            first = left + 1
        else:
            last = right if value(left) == value(right) else right - 1
    return max(range(first, last + 1), key=lambda q: (value(q), -q))


def power(state: SteadyState) -> float:
    """Kleinrock's power X/T with T the time in flight: X²/L by Little's law [1/s²]."""
    return state.throughput**2 / state.mean_in_flight


def throughput(engine: Engine, solve: Callable[[Engine], SteadyState] = solve) -> float:
    """Throughput alone, by the method that `solve` takes, without what else it works out, where that is quicker."""
    from qtheory.solve import delay_line, phase_type, product_form  # numba loads here: not before it is asked
    from qtheory.solve.disk_by_disk import each, shares_nothing

    if shares_nothing(engine):
        return sum(state.throughput for state in each(engine, solve))
    name, _ = choose(engine)
    if name == "product_form":
        return product_form.throughput(engine)
    if name == "phase_type":
        return phase_type.throughput(engine)
    if name == "delay_line":
        return delay_line.throughput(engine)
    return solve(engine).throughput


def _guess(engine: Engine, limits: Limits) -> int:
    """Where to begin: in closed form behind one line, else at what the device or devices can serve at once."""
    if limits.max_throughput_loss is not None and not engine.shared and engine.shares == "fifo":
        # Deeper rings have what they have more than the smallest at their devices.
        requests, n = min(disk.most for disk in engine.disks), len(engine.disks)
        deeper = sum(disk.most for disk in engine.disks) - n * requests
        return math.ceil(one_line(disks=n, requests=requests, loss=limits.max_throughput_loss)) + deeper
    devices = {engine.device: engine.device} if engine.device is not None else dict(enumerate(engine.devices))
    return sum(d.servers or len(d.curve or ()) for d in devices.values() if d is not None)


def _answer(engine: Engine, limits: Limits, maximize: Objective | None) -> OptimalQueueLength:
    search = Search(engine, limits)
    upper, binds_upper = search.upper()

    def again(changed: Engine) -> int | None:
        return _answer(changed, limits, maximize).queue_length

    if not search.feasible:
        return _infeasible(search, upper, binds_upper, again)
    n, q = len(engine.disks), search.lower
    if maximize is not None:
        objective = power if maximize == "power" else maximize
        assert callable(objective)
        q = best(lambda q: real("maximize(state)", objective(search.state(q))), search.lower, upper)
    neighbours = [x for x in (q - 1, q + 1) if search.floor <= x <= search.last]
    met = {x: all(c.holds(x) for c in search.constraints) for x in (*neighbours, q)}
    breaches = search.against()
    if any(ok != (search.lower <= x <= upper) for x, ok in met.items()) and not breaches:
        breaches = [f"the limits are not met around {q} as bisection found"]
    state = search.state(q)
    warnings = [*state.warnings]
    drain, drain_warning = _drain(search, q)
    bounds = dict(state.error_bounds)
    method, exact = state.method, state.exact
    if drain is not None:
        bounds |= {f"drain_{name}": bound for name, bound in drain.error_bounds.items()}
        warnings += [*drain.warnings]
        method = f"{method}, drain {drain.method}"
        exact = exact and drain.exact
    if not state.exact and limits.max_throughput_loss is not None:
        warnings.append(
            f"throughput is approximate (error bound {state.error_bounds['throughput']:.2g}): a lower end set by the "
            "throughput loss is no better"
        )
    if state.method == "delay_line" and search.binds_lower == "throughput loss":
        plain = all(isinstance(law, Exponential) for law in search.engine.laws)
        short, long = UNSATURATED_LINE["exponential" if plain else "other"]
        warnings.append(
            "behind one line with a device a disk, lower ends for 1 and 5 % loss were within a slot of the simulated "
            f"ones, or from {-short:.0%} too short to {long:.0%} too long"
        )
    warnings += [*drain_warning, *_popped(engine, limits), *breaches]
    return OptimalQueueLength(
        method=method,
        exact=exact,
        error_bounds=bounds,
        warnings=tuple(dict.fromkeys(warnings)),
        queue_length=q,
        lower=search.lower,
        upper=upper,
        binds_lower=search.binds_lower,
        binds_upper=binds_upper,
        feasible=True,
        most_disks=n,
        throughput_loss=search.loss(q),
        steady=state,
        drain=drain,
        verified=not breaches,
        _engine=search.engine,
        _again=again,
    )


def _infeasible(
    search: Search, upper: int, binds_upper: str, again: Callable[[Engine], int | None]
) -> OptimalQueueLength:
    """What can be said when no queue length meets all limits."""
    shown = min(search.lower, search.last)
    state = search.state(shown)
    breaches = search.against()
    exact = state.exact
    bounds: Mapping[str, float] = state.error_bounds
    n, most_disks = len(search.engine.disks), _most_disks(search)
    words = (
        f"no queue length meets all limits: it must be at least {search.lower} ({search.binds_lower})"
        if search.lower <= search.last
        else f"no queue length up to {search.last} ({search.end}) is long enough for the {search.binds_lower}"
    )
    if upper < search.last:
        words += f", and at most {upper} ({binds_upper})"
    return OptimalQueueLength(
        method=state.method,
        exact=exact,
        error_bounds=bounds,
        warnings=(
            f"{words}; of {n} disks {most_disks} would do",
            *state.warnings,
            *_popped(search.engine, search.limits),
            *breaches,
        ),
        queue_length=None,
        lower=search.lower,
        upper=upper,
        binds_lower=search.binds_lower,
        binds_upper=binds_upper,
        feasible=False,
        most_disks=most_disks,
        throughput_loss=None,
        steady=None,
        drain=None,
        verified=not breaches,
        _engine=search.engine,
        _again=again,
    )


def _most_disks(search: Search) -> int:
    """Largest number of disks below the engine's with a feasible queue length, more being taken to be harder."""
    engine, n = search.engine, len(search.engine.disks)

    def infeasible(disks: int) -> bool:
        divided = follow_length(engine.shares)
        fewer = with_disks(engine, disks, shortest(engine.shares, disks) if divided else engine.queue_length)
        return not Search(fewer, search.limits, max(1, search.lower * disks // n)).feasible

    return least(infeasible, 1, n - 1, n // 2) - 1


def _drain(search: Search, q: int) -> tuple[DrainTime | None, tuple[str, ...]]:
    """The drain at the answer; where none was asked for it may be unknown."""
    try:
        return drain_time(search.at(q)), ()
    except ValueError as error:
        if search.limits.drain_budget is not None:
            raise
        return None, (str(error),)


def _popped(engine: Engine, limits: Limits) -> tuple[str, ...]:
    """With requests held in the engine a drain waits for all of them: what would bound it instead."""
    if engine.hold != "engine" or limits.drain_budget is None:
        return ()
    ring = Engine(engine.disks, engine.device, engine.queue_length, "ring", engine.shares)
    search = Search(ring, Limits(drain_budget=limits.drain_budget, drain_probability=limits.drain_probability))
    upper, _ = search.upper()
    before = f"at most {upper}" if search.feasible else "one request at a time, which is not enough either"
    return (
        "with hold='engine' the queue length does not bound the drain, which waits for all that was popped: a limit "
        f"before the pop would, qt.DepthLimit of {before}, or hold='ring'",
    )
