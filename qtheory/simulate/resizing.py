"""An engine whose queue length is changed while it runs, and whose disks come, go and change their load.

A controller is called at the end of every period, and whenever a disk is attached or detached, with what an engine can
see at run time, and says how many requests may be submitted from now on. A longer queue takes effect at once. A shorter
one waits for completions: no slot is revoked, and nothing is submitted until fewer than Q are in flight. How long that
is, `qtheory/sizing/shrinking.py` says.

The requests are moved by the event kernel (`events.py`), which is stopped at the end of each period by its own stops,
so that each period also has the drain that a stop at its end would have waited for. Open arrivals and what they ask
for are drawn without regard to the controller: two controllers with the same seed see the same guests. Where a change
concerns arrivals, all open processes start anew: nothing is forgotten for Poisson arrivals, and bursty ones restart.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from qtheory.arguments import count, nonnegative, positive, probability, real, sequence
from qtheory.arrivals import MAP, Closed, Poisson
from qtheory.engine import Engine
from qtheory.result import Estimate, Result
from qtheory.shares import follow_length
from qtheory.simulate.batch_means import ratio
from qtheory.simulate.draws import Draws, Recorded, Replay, Streamed, Stretch
from qtheory.simulate.replay import replayed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
BLOCK = 1 << 12
BATCHES = 40
NEVER = 1e-9
"""Fraction of a period that is not worth a period of its own."""


@dataclass(frozen=True)
class Change:
    """What holds from a time on.

    Parameters
    ----------
    at : float
        Time [s]; changes at 0 hold from the start.
    disks : sequence of int, optional
        Indices of the disks concerned; None: all.
    attached : bool, optional
        Whether they are attached. A detached disk sends no more requests; those it has sent are served.
    arrivals : Poisson or MAP, optional
        How the requests of these open disks come.
    slowdown : float, optional
        By which all service times that begin from now on are multiplied at the devices of these disks (those drawn
        from their laws, not what they were before: 1 ends it). A rate curve is divided by it.

    Examples
    --------
    >>> Change(2.0, disks=[1, 2], attached=False).disks
    (1, 2)
    """

    at: float
    disks: tuple[int, ...] | None
    attached: bool | None
    arrivals: Poisson | MAP | None
    slowdown: float | None

    def __init__(
        self,
        at: float,
        disks: Sequence[int] | None = None,
        *,
        attached: bool | None = None,
        arrivals: Poisson | MAP | None = None,
        slowdown: float | None = None,
    ) -> None:
        chosen = None
        if disks is not None:
            given = sequence("disks", disks)
            chosen = tuple(count(f"disks[{i}]", disk, least=0) for i, disk in enumerate(given))
        if attached is not None and not isinstance(attached, bool):
            raise TypeError(f"attached must be True, False or None, not {attached!r}")
        if arrivals is not None and not isinstance(arrivals, (Poisson, MAP)):
            raise TypeError(f"arrivals must be qt.Poisson or qt.MAP, not {arrivals!r}")
        if attached is None and arrivals is None and slowdown is None:
            raise ValueError("attached, arrivals or slowdown must be given: a change must change something")
        object.__setattr__(self, "at", nonnegative("at", at))
        object.__setattr__(self, "disks", chosen)
        object.__setattr__(self, "attached", attached)
        object.__setattr__(self, "arrivals", arrivals)
        object.__setattr__(self, "slowdown", None if slowdown is None else positive("slowdown", slowdown))


@dataclass(frozen=True, eq=False)
class Observation:
    """What an engine sees of itself since it was last asked; SI units."""

    time: float
    duration: float
    """Since the controller was last called; 0 at the start."""
    queue_length: int | None
    """Q in force; None: no limit, and what the engine was described with at the start."""
    in_flight: float
    """Mean number submitted."""
    pending: int
    """Accepted and not submitted, now."""
    attached: tuple[bool, ...]
    ring_sizes: tuple[int, ...]
    latencies: Floats
    """From submission to completion, of each request completed."""
    responses: Floats
    """From acceptance to completion, of the same."""

    @property
    def completions(self) -> int:
        """Requests completed."""
        return len(self.latencies)

    @property
    def rings(self) -> int:
        """Sum of the attached disks' ring sizes."""
        return sum(size for size, there in zip(self.ring_sizes, self.attached, strict=True) if there)


Controller = Callable[[Observation], int | None]


@dataclass(frozen=True, kw_only=True)
class Resizing(Result):
    """What a run measured, period by period; SI units. `error_bounds` are relative half-widths over the whole run.

    Attributes
    ----------
    time, duration : ndarray
        End and length of each period [s]; a period also ends where a disk is attached or detached.
    queue_length : ndarray
        Q in force in the period; inf without a limit.
    attached : ndarray
        Number of disks attached in it.
    completed, refused : ndarray
        Requests.
    in_flight, in_system : ndarray
        Mean number submitted, and accepted.
    mean_latency, mean_response : ndarray
        From submission and from acceptance to completion, means over the requests completed; 0 where none was.
    response_99 : ndarray
        99 % quantile of the response times of the requests completed; 0 where none was.
    drain : ndarray
        How long a stop at the end of the period would have waited.
    """

    time: Floats = field(repr=False)
    duration: Floats = field(repr=False)
    queue_length: Floats = field(repr=False)
    attached: NDArray[np.int64] = field(repr=False)
    completed: NDArray[np.int64] = field(repr=False)
    refused: NDArray[np.int64] = field(repr=False)
    in_flight: Floats = field(repr=False)
    in_system: Floats = field(repr=False)
    mean_latency: Floats = field(repr=False)
    mean_response: Floats = field(repr=False)
    response_99: Floats = field(repr=False)
    drain: Floats = field(repr=False)
    seed: int
    _responses: Floats = field(repr=False, compare=False)

    @property
    def throughput(self) -> Floats:
        """Completions a second in each period [1/s]."""
        return np.asarray(self.completed / self.duration)

    def between(self, start: float = 0.0, end: float = math.inf) -> Span:
        """What happened in the periods that lie within `start` and `end` [s]; ValueError when none does."""
        slack = NEVER * float(self.duration.max())
        begins = self.time - self.duration
        within = np.flatnonzero((begins >= real("start", start) - slack) & (self.time <= real("end", end) + slack))
        if len(within) == 0:
            raise ValueError(f"start and end must have a period between them, not {start!r} and {end!r}")
        part = slice(int(within[0]), int(within[-1]) + 1)
        ends = np.cumsum(self.completed)
        first = int(ends[part][0] - self.completed[part][0])
        duration, length = self.duration[part], self.queue_length[part]

        def mean(amounts: Floats, weights: Any) -> Estimate:
            batches = min(BATCHES, len(amounts))
            return ratio(
                [x.sum() for x in np.array_split(amounts, batches)],
                [x.sum() for x in np.array_split(weights, batches)],
            )

        finite = bool(np.isfinite(length).all())
        average = float(length[0] + (length - length[0]) @ duration / duration.sum()) if finite else math.inf
        spread = math.sqrt(float((length - average) ** 2 @ duration / duration.sum())) if finite else 0.0
        return Span(
            throughput=mean(self.completed[part].astype(float), duration),
            mean_in_flight=mean(self.in_flight[part] * duration, duration),
            mean_response=mean(self.mean_response[part] * self.completed[part], self.completed[part]),
            queue_length=average,
            queue_length_deviation=spread,
            changes=float(np.count_nonzero(length[1:] != length[:-1]) / duration.sum()),
            _responses=self._responses[first : int(ends[part][-1])],
            _drains=self.drain[part],
        )

    def plot(self, axes: Any = None) -> Figure:
        """Draw Q and what is in flight, throughput, and the 99 % response with the drain, against time.

        On three `axes`, or a new figure, which is returned.
        """
        from matplotlib.figure import Figure

        if axes is None:
            axes = Figure(figsize=(8.0, 7.0), layout="constrained").subplots(3, 1, sharex=True)
        length, throughput, response = axes
        if np.isfinite(self.queue_length).any():
            length.step(self.time, self.queue_length, color="black", linewidth=1.3, label="queue length Q", where="pre")
        length.plot(self.time, self.in_flight, color="0.6", linewidth=1.0, label="in flight")
        length.set(ylabel="requests", yscale="log")
        length.legend(frameon=False, fontsize=8)
        throughput.step(self.time, self.throughput, color="black", linewidth=1.0, where="pre")
        throughput.set(ylabel="throughput [1/s]")
        throughput.set_ylim(bottom=0.0)
        response.plot(self.time, 1e3 * self.response_99, color="black", linewidth=1.0, label="response, 99 %")
        response.plot(self.time, 1e3 * self.drain, color="#c55a11", linewidth=0.8, label="drain")
        response.set(ylabel="ms", xlabel="time [s]", yscale="symlog")
        response.set_ylim(bottom=0.0)
        response.legend(frameon=False, fontsize=8)
        for ax in axes:
            ax.grid(alpha=0.25)
        figure: Figure = length.figure
        return figure


@dataclass(frozen=True, kw_only=True)
class Span:
    """A part of a run; half-widths are from batches of periods, and hold where the run is stationary there."""

    throughput: Estimate
    mean_in_flight: Estimate
    mean_response: Estimate
    queue_length: float
    """Mean over time; inf without a limit."""
    queue_length_deviation: float
    """Standard deviation over time: how much it oscillates."""
    changes: float
    """Changes of the queue length a second."""
    _responses: Floats = field(repr=False, compare=False)
    _drains: Floats = field(repr=False, compare=False)

    def response_quantile(self, p: float) -> float:
        """Response time [s] that a fraction p of the requests completed do not exceed; ValueError if there are none."""
        if len(self._responses) == 0:
            raise ValueError("no request was completed between start and end")
        return float(np.quantile(self._responses, probability("p", p)))

    def drain_quantile(self, p: float) -> float:
        """Drain [s] that stops at the ends of a fraction p of the periods do not exceed."""
        return float(np.quantile(self._drains, probability("p", p)))


def simulate_resizing(
    engine: Engine,
    controller: Controller,
    changes: Sequence[Change] = (),
    *,
    horizon: float | None = None,
    period: float = 0.1,
    seed: int = 1,
    trace: Recorded | Streamed | None = None,
    speedup: float = 1.0,
    service: Literal["recorded", "drawn"] | None = None,
) -> Resizing:
    """Simulate an engine whose queue length a controller sets while it runs.

    Parameters
    ----------
    engine : Engine
        Any engine that can be described. Its `queue_length` is only what the first observation shows; shares "equal"
        are equal parts of Q for the attached disks.
    controller : function of an Observation
        Returns Q, a whole number of at least 1, or None for no limit. Called at time 0, every `period`, and whenever
        a disk is attached or detached. A controller that keeps a state is copied first, so that runs do not mix.
    changes : sequence of Change
        What happens to the disks and the devices, in any order.
    horizon : float, optional
        Length of the run [s]; None: that of the trace.
    period : float
        Time between calls [s].
    seed : int
        The same seed gives the same run, and the same open arrivals whatever the controller.
    trace, speedup, service
        Recorded arrivals, as for `qt.simulate`; what a detached disk recorded is left out.

    Raises ValueError for an argument out of range, other shares that follow Q, a change that does not fit the engine,
    and a controller that returns no queue length.

    Examples
    --------
    Four saturated disks with a device each and a queue of 4; after a second twelve more come, and Q follows them.

    >>> import qtheory as qt
    >>> device = qt.Device(servers=1, service=qt.Exponential(mean=1e-3))
    >>> engine = qt.Engine([qt.Disk(qt.Closed(16), buffer=16, device=device)] * 16, hold="ring", shares="fifo")
    >>> later = [qt.Change(0.0, range(4, 16), attached=False), qt.Change(1.0, range(4, 16), attached=True)]
    >>> run = qt.simulate_resizing(engine, lambda seen: 12 * sum(seen.attached), later, horizon=2.0)
    >>> [run.between(*part).queue_length for part in ((0.0, 1.0), (1.0, 2.0))]
    [48.0, 192.0]
    """
    if not isinstance(engine, Engine):
        raise TypeError(f"engine must be a qt.Engine, not {engine!r}")
    if not callable(controller):
        raise TypeError(f"controller must be a function of an Observation, not {controller!r}")
    if engine.shares != "equal" and follow_length(engine.shares):
        raise ValueError(f"shares must be 'fifo', 'equal' or caps where a controller sets Q, not {engine.shares!r}")
    period, seed = positive("period", period), count("seed", seed, least=0)
    plan = _checked(engine, changes)
    warnings: list[str] = []
    if trace is None:
        if horizon is None:
            raise ValueError("horizon must be given without a trace")
        if service is not None:
            raise ValueError(f"service must be left out without a trace, not {service!r}")
        if positive("speedup", speedup) != 1.0:
            raise ValueError(f"speedup must be left out without a trace, not {speedup!r}")
        end = positive("horizon", horizon)
        stretches = _drawn(engine, plan, end, seed)
    else:
        if any(change.arrivals is not None for change in plan):
            raise ValueError("changes must not have arrivals with a trace, which has its own")
        if horizon is None:
            if isinstance(trace, Streamed):
                raise ValueError("horizon must be given with a trace that is not in memory")
            horizon = (float(trace.arrival[-1]) - float(trace.arrival[0])) / positive("speedup", speedup)
        end = positive("horizon", horizon)
        engine, recorded, _ = replayed(engine, trace, None, speedup, service, warnings)
        stretches = _attached_only(recorded, plan, len(engine.disks), end)

    # numba loads here
    from qtheory.simulate.resizing_run import ResizingRun

    attached = _states(plan, len(engine.disks), 0.0)
    run = ResizingRun(engine, Replay(engine, seed, stretches), attached)
    controller = copy.deepcopy(controller)
    rings = tuple(disk.buffer for disk in engine.disks)
    nothing = np.empty(0)

    def ask(seen: Observation) -> int | None:
        answer = controller(seen)
        return None if answer is None else count("what the controller returns", answer)

    queue_length = ask(Observation(0.0, 0.0, engine.queue_length, 0.0, 0, tuple(attached), rings, nothing, nothing))
    run.resize(queue_length)
    for change in plan:
        if change.at == 0.0 and change.slowdown is not None:
            run.slow(_concerned(change, engine), change.slowdown)
    run.begin()

    rows: list[tuple[float, ...]] = []
    responses: list[Floats] = []
    began = 0.0
    for at, now_changing, asked in _timeline(plan, period, end):
        run.until(at)
        if asked:
            seen = run.seen()
            duration = at - began
            attached_now = run.attached
            rows.append(
                (
                    at, duration, math.inf if queue_length is None else queue_length, sum(attached_now),
                    len(seen.responses), seen.refused, seen.in_flight / duration, seen.in_system / duration,
                    float(seen.latencies.mean()) if len(seen.latencies) else 0.0,
                    float(seen.responses.mean()) if len(seen.responses) else 0.0,
                    float(np.quantile(seen.responses, 0.99)) if len(seen.responses) else 0.0,
                    run.drain(),
                )
            )  # fmt: skip
            responses.append(seen.responses)
            began = at
        for change in now_changing:
            if change.attached is not None:
                run.attach(_concerned(change, engine), change.attached)
            if change.slowdown is not None:
                run.slow(_concerned(change, engine), change.slowdown)
        if asked and at < end:
            observation = Observation(
                at, duration, queue_length, seen.in_flight / duration, run.pending, tuple(run.attached), rings,
                seen.latencies, seen.responses,
            )  # fmt: skip
            queue_length = ask(observation)
            run.resize(queue_length)
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    (
        time, durations, lengths, disks, completed, refused, in_flight, in_system, mean_latency, mean_response,
        response_99, drain,
    ) = columns  # fmt: skip
    result = Resizing(
        method="simulation: event kernel, resized between calls",
        exact=False,
        error_bounds={},
        warnings=tuple(warnings),
        time=time,
        duration=durations,
        queue_length=lengths,
        attached=disks,
        completed=completed,
        refused=refused,
        in_flight=in_flight,
        in_system=in_system,
        mean_latency=mean_latency,
        mean_response=mean_response,
        response_99=response_99,
        drain=drain,
        seed=seed,
        _responses=np.concatenate(responses),
    )
    whole = result.between()
    estimates = {name: getattr(whole, name) for name in ("throughput", "mean_in_flight", "mean_response")}
    bounds = {name: e.half_width / e.value if e.value else math.inf for name, e in estimates.items()}
    return replace(result, error_bounds=bounds)


def _checked(engine: Engine, changes: Sequence[Change]) -> list[Change]:
    """The changes in order of time, after checking that they fit the engine."""
    n = len(engine.disks)
    for i, change in enumerate(sequence("changes", changes)):
        if not isinstance(change, Change):
            raise TypeError(f"changes[{i}] must be a qt.Change, not {change!r}")
        disks = _concerned(change, engine)
        if any(disk >= n for disk in disks):
            raise ValueError(f"changes[{i}] must have disks from 0 to {n - 1}, not {change.disks}")
        if change.slowdown is not None and engine.shared and len(set(disks)) < n:
            raise ValueError(f"changes[{i}] must slow down all disks, which share one device, not {change.disks}")
        if change.arrivals is not None:
            for disk in disks:
                if not isinstance(engine.disks[disk].arrivals, (Poisson, MAP)):
                    raise ValueError(
                        f"changes[{i}] must not have arrivals: those of disks[{disk}] are neither Poisson nor a MAP"
                    )
    return sorted(changes, key=lambda change: change.at)


def _concerned(change: Change, engine: Engine) -> Sequence[int]:
    return range(len(engine.disks)) if change.disks is None else change.disks


def _states(plan: Sequence[Change], n: int, time: float) -> list[bool]:
    """Which disks are attached at a time."""
    attached = [True] * n
    for change in plan:
        if change.at <= time and change.attached is not None:
            for disk in range(n) if change.disks is None else change.disks:
                attached[disk] = change.attached
    return attached


def _timeline(plan: Sequence[Change], period: float, end: float) -> Iterator[tuple[float, list[Change], bool]]:
    """Times at which something is to be done, what changes then, and whether the controller is asked."""
    moves = {change.at for change in plan if change.attached is not None and 0.0 < change.at < end}
    regular = [k * period for k in range(1, math.ceil(end / period * (1.0 - NEVER)))]
    asked = {end, *moves, *(at for at in regular if all(abs(at - move) > NEVER * period for move in moves))}
    for at in sorted({*asked, *(change.at for change in plan if 0.0 < change.at < end)}):
        yield at, [change for change in plan if change.at == at], at in asked


def _drawn(engine: Engine, plan: Sequence[Change], end: float, seed: int) -> Iterator[Stretch]:
    """The arrivals of the open disks: between two changes those of the engine with the disks that are attached."""
    n = len(engine.disks)
    starts = sorted({0.0, *(c.at for c in plan if c.at < end and (c.attached is not None or c.arrivals is not None))})
    seeds = np.random.SeedSequence(seed).spawn(len(starts))
    arrivals = [disk.arrivals for disk in engine.disks]
    for start, stop, own in zip(starts, [*starts[1:], end], seeds, strict=True):
        for change in plan:
            if change.at == start and change.arrivals is not None:
                for disk in _concerned(change, engine):
                    arrivals[disk] = change.arrivals
        attached = _states(plan, n, start)
        there = [i for i in range(n) if attached[i] and not isinstance(arrivals[i], Closed)]
        if not there:
            continue
        disks = [replace(engine.disks[i], arrivals=arrivals[i]) for i in there]
        draws = Draws(Engine(disks, engine.device), int(own.generate_state(1, np.uint64)[0]))
        index = np.array(there, dtype=np.int32)
        while True:
            drawn = draws.open(BLOCK)
            within = slice(int(np.searchsorted(drawn.time, stop - start)))
            yield start + drawn.time[within], index[drawn.disk[within]], drawn.service[within]
            if drawn.time[-1] >= stop - start:
                break


def _attached_only(stretches: Iterator[Stretch], plan: Sequence[Change], n: int, end: float) -> Iterator[Stretch]:
    """What the disks recorded while they are attached, up to the end."""
    times = sorted({0.0, *(change.at for change in plan if change.attached is not None)})
    table = np.array([_states(plan, n, time) for time in times])
    for arrival, disk, service in stretches:
        kept = table[np.searchsorted(times, arrival, side="right") - 1, disk] & (arrival <= end)
        yield arrival[kept], disk[kept], None if service is None else service[kept]
        if arrival[-1] > end:
            return
