"""The simulator: the same engine in, the same quantities out, each with a confidence interval.

It has the last word on the theory, and replays traces. A run passes five ideas, one file each: what is drawn
(`draws`), a kernel that moves the requests (`fcfs`, the fast one, or `events`, which takes any engine), what is kept
in constant memory (`tally`, `histogram`), how much of the start to delete (`mser`), and what the batches say about the
error (`batch_means`). numba compiles the kernels when the first run starts.

**Drains.** Let V be the time until the last accepted request would complete if arrivals stopped now. In the fast
kernel V is known before each arrival, and Poisson arrivals see time averages (Wolff, 1982), so that each of them is a
drain sample. Otherwise drains are looked at at the times of a Poisson process of stops.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from qtheory.arguments import count, positive
from qtheory.engine import Engine
from qtheory.result import Estimate
from qtheory.simulate.draws import Draws, Recorded, Replay, Streamed
from qtheory.simulate.mser import truncation
from qtheory.simulate.replay import replayed
from qtheory.simulate.simulation import Books, DiskSimulation, DrainSample, Simulation, answer
from qtheory.simulate.stops import StopSample, simulate_stops
from qtheory.stability import check_stable

if TYPE_CHECKING:
    from qtheory.simulate.events import EventRun
    from qtheory.simulate.fcfs import FcfsRun
    from qtheory.simulate.tally import Tally

__all__ = ["DiskSimulation", "DrainSample", "Estimate", "Simulation", "StopSample", "simulate", "simulate_stops"]

REQUESTS = 1_000_000


def simulate(
    engine: Engine,
    requests: int | None = None,
    seed: int = 1,
    *,
    trace: Recorded | Streamed | None = None,
    speedup: float = 1.0,
    service: Literal["recorded", "drawn"] | None = None,
    warmup: int | None = None,
    stops: float | None = None,
    progress: bool = False,
) -> Simulation:
    """Simulate an engine, or replay a trace through it.

    Parameters
    ----------
    engine : Engine
        Any engine that can be described. A request of a device with a rate curve needs an exponential amount of work.
    requests : int, optional
        Requests to simulate, refused ones and those of the warm-up included: 1 000 000, or all of the trace.
    seed : int
        The same seed gives the same run bit for bit.
    trace : Trace or TraceStream, optional
        Recorded arrivals: the trace's disk i feeds `engine.disks[i]`, whose own arrivals are ignored.
    speedup : float
        Divides the trace's arrival times.
    service : "recorded" or "drawn", optional
        Service times from the trace, or from the devices' laws; None: recorded where the trace has them.
    warmup : int, optional
        Requests to delete at the start. None: found by MSER-5, none of a trace.
    stops : float, optional
        Look at the drain at the times of a Poisson process, every so many requests in the mean. None: at each arrival
        where that is right, otherwise every 20 requests, or more where many are in the system.
    progress : bool
        Show a progress bar when the run takes longer than two seconds.

    Raises ValueError for an argument out of range, for a trace whose disks do not match the engine's, and for guests
    that would wait without end because their arrivals exceed what the device can do.

    Examples
    --------
    M/M/1 at load 0.5: mean wait 1 ms, and a drain takes as long as a wait.

    >>> import qtheory as qt
    >>> disk = qt.Disk(arrivals=qt.Poisson(500.0))
    >>> engine = qt.Engine(disks=[disk], device=qt.Device(servers=1, service=qt.Exponential(mean=0.001)))
    >>> run = simulate(engine, requests=200_000, seed=1)
    >>> run.method, run.mean_wait.covers(0.001, half_widths=2), run.drain.mean.covers(0.001, half_widths=2)
    ('simulation: fcfs kernel', True, True)
    """
    if not isinstance(engine, Engine):
        raise TypeError(f"engine must be a qt.Engine, not {engine!r}")
    seed = count("seed", seed, least=0)
    if stops is not None:
        stops = positive("stops", stops)
    warnings: list[str] = []
    if trace is None:
        if service is not None:
            raise ValueError(f"service must be left out without a trace, not {service!r}")
        if positive("speedup", speedup) != 1.0:
            raise ValueError(f"speedup must be left out without a trace, not {speedup!r}")
        requests = count("requests", REQUESTS if requests is None else requests)
        check_stable(engine)
        draws = Draws(engine, seed)
    else:
        engine, stretches, requests = replayed(engine, trace, requests, speedup, service, warnings)
        draws = Replay(engine, seed, stretches)
        warmup = warmup or 0
    if warmup is not None:
        warmup = count("warmup", warmup, least=0)
        if warmup >= requests:
            raise ValueError(f"warmup must be less than the {requests} requests, not {warmup}")

    # numba loads here: those who do not simulate do not wait for it
    from qtheory.simulate.events import EventRun
    from qtheory.simulate.fcfs import FcfsRun
    from qtheory.simulate.tally import MOST_COUNTED, SEGMENTS, Tally

    if requests > MOST_COUNTED:
        raise ValueError(f"requests must be at most {MOST_COUNTED}, which the counters hold, not {requests}")
    sampled_at_arrivals = trace is None and stops is None and not engine.streams and FcfsRun.serves(engine)
    run: FcfsRun | EventRun = (
        FcfsRun(engine, draws, stopped=not sampled_at_arrivals) if FcfsRun.serves(engine) else EventRun(engine, draws)
    )
    pilot = Tally(engine, warmup or 1)
    tally = Tally(engine, requests - (warmup or 0))
    plan = _plan(requests, warmup, SEGMENTS)
    pace = None if sampled_at_arrivals else (stops or 0.0, len(engine.disks))
    steps = _run(run, plan, pilot, tally, ends=trace is not None, stops=pace)
    if progress:
        from qtheory.progress import watched

        steps = watched(accumulate(steps), "simulate", requests, lambda done: done)
    for _ in steps:
        pass

    deleted = 0 if warmup is not None else _warmup(tally, warnings)
    return answer(
        engine,
        _books(tally, deleted),
        method=run.method,
        sampling="before each Poisson arrival" if sampled_at_arrivals else "at the times of a Poisson process of stops",
        requests=requests,
        seed=seed,
        warmup=warmup or int((tally.finished + tally.refused)[:deleted].sum()),
        warnings=warnings,
    )


def _plan(requests: int, warmup: int | None, segments: int) -> list[int]:
    """Requests of the warm-up (0: none asked for), then of each segment."""
    begin = warmup or 0
    ends = begin + np.arange(1, segments + 1) * (requests - begin) // segments
    return [begin, *np.diff([begin, *ends.tolist()]).tolist()]


def _run(
    run: FcfsRun | EventRun, plan: list[int], pilot: Tally, tally: Tally, *, ends: bool, stops: tuple[float, int] | None
) -> Iterator[int]:
    """Run segment by segment, yielding the requests of each block; stops begin when their pace is known."""
    waiting = stops is not None
    for number, planned in enumerate(plan):
        book = pilot if number == 0 else tally
        began, left = run.now, planned
        while left > 0:
            done = run.advance(left, book)
            left -= done
            yield done
        if number == len(plan) - 1 and ends:
            run.finish(book)
        passed = run.now - began
        in_system = book.in_system
        book.close_segment(passed)
        if waiting and passed > 0.0 and stops is not None:
            waiting = False
            spacing = stops[0] or max(run.least_spacing, (in_system / passed + stops[1]) / 2.0)
            run.stop_every(spacing * passed / planned)


def _warmup(tally: Tally, warnings: list[str]) -> int:
    """Segments to delete at the start, by MSER-5."""
    from qtheory.simulate.tally import SEGMENTS, WARMUPS

    full = tally.done // tally.width
    if full == 0:
        return 0
    share = truncation(tally.fine[:full] / tally.width) / full
    deleted = next(w for w in WARMUPS if w >= share * SEGMENTS)
    if deleted == WARMUPS[-1]:
        warnings.append("the warm-up used up half the run: simulate more requests")
    return deleted


def _books(tally: Tally, deleted: int) -> Books:
    """The tally without its first `deleted` segments."""
    from qtheory.simulate.tally import WARMUPS

    stretch = WARMUPS.index(deleted)
    disk_pmf: NDArray[np.float64] = tally.disk_pmfs[stretch:].sum(axis=0)
    return Books(
        finished=tally.finished[deleted:],
        refused=tally.refused[deleted:],
        wait=tally.wait[deleted:],
        response=tally.response[deleted:],
        disk_areas=tally.disk_areas[deleted:],
        guest_areas=tally.guest_areas[deleted:],
        areas=tally.areas[deleted:],
        duration=tally.duration[deleted:],
        drains=tally.drains[deleted:],
        histograms={name: counts[deleted:] for name, counts in tally.histograms.items()},
        pmf=tally.pmfs[stretch:].sum(axis=0),
        disk_pmfs=np.split(disk_pmf, tally.disk_offset[1:-1]),
    )
