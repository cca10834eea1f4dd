"""Engine, throttle -> DrainTime: how long a stop waits for pending I/O. One front door; one file for each method.

The drain time runs from the moment no new request is taken until the last taken one completes. What it waits for
depends on `hold`: everything accepted for "engine" and "refuse", only what is submitted for "ring" and under a
`DepthLimit`. A flush of each disk may follow.

| method | engine | answer |
|---|---|---|
| `pure_death` | one shared device of exponential service or a rate curve, one line | exact |
| `phase_type` | one shared device, phase-type service or bursts | exact if one disk or saturated, else approximate |
| `residual_services` | one shared device of any service law, one line | approximate |
| `fitted_service` | the same behind one server, a schedule or a line too long to be followed | approximate |
| `mixed_service` | one shared device, one line, disks of different service laws | approximate |
| `independent_devices` | one device a disk, no limit or caps | exact |
| `tied_devices` | one device a disk, refused at Q, or behind a FIFO of Q slots with saturated guests | exact |
| `disk_by_disk` | one device a disk, nothing shared, any service and arrivals | as each disk alone |
| `guests_that_wait` | one shared device, one line, guests that wait for room | exact for one disk, else approximate |
| `joint_chain` | any small engine of phase-type service, state by state | exact |
| `divided_slots` | one shared device whose slots are divided by caps | exact if saturated, else approximate |
| `delay_line` | one device a disk behind a FIFO of Q slots, any service | approximate |
| `depth_schedule` | one shared device, limits from before the stop | exact if one disk or saturated, else approximate |
| `fluid` | the same with more states than can be followed | approximate |
| `rate_limit` | QEMU's rate limit | approximate |
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from qtheory.arguments import count
from qtheory.drain.throttle import DepthLimit, DepthSchedule, FinishInTime, RateLimit
from qtheory.engine import Engine
from qtheory.laws import Law, law_of

if TYPE_CHECKING:
    from qtheory.drain.drain_law import DrainTime

__all__ = ["DepthLimit", "DepthSchedule", "FinishInTime", "RateLimit", "drain_survival", "drain_time", "limited"]


def drain_time(
    engine: Engine,
    throttle: DepthLimit | DepthSchedule | RateLimit | None = None,
    *,
    population: int | Sequence[int] | None = None,
    flush: Law | None = None,
) -> DrainTime:
    """Law of the drain time of `engine`.

    Parameters
    ----------
    engine : Engine
        With any service law, or a rate curve.
    throttle : DepthLimit, DepthSchedule or RateLimit, optional
        A limit that has held for long when the stop comes; limits that begin at given times before it; or QEMU's rate
        limit, under which the disks are drained one after another.
    population : int or sequence of int, optional
        Requests present at the stop: in all, or for each disk (needed when disks have their own devices). None: the
        stationary number.
    flush : Law, optional
        Time [s] of a disk's flush: when the drain is over the disks are flushed, one after another, and that is waited
        for as well. None: nothing is flushed.

    Returns
    -------
    DrainTime
        `method` says how it was found, `exact` whether that is exact. Error bounds that the method does not know are
        those of the atlas (`qtheory/accuracy`).

    Raises
    ------
    ValueError
        When no exact method covers the engine; the message says why and `qt.simulate` does.

    Examples
    --------
    >>> import qtheory as qt
    >>> disk = qt.Disk(arrivals=qt.Poisson(100.0))
    >>> engine = qt.Engine([disk], qt.Device(servers=4, service=qt.Exponential(mean=0.010)))
    >>> full = qt.drain_time(engine, population=32)      # (32 − 4)/(4 · 100) + (1 + 1/2 + 1/3 + 1/4)/100
    >>> round(full.mean, 9)
    0.090833333
    >>> limited = qt.drain_time(engine, qt.DepthLimit(1), population=32)
    >>> round(limited.quantile(0.99), 6)                 # one request at a time: −log(0.01)/100
    0.046052
    >>> flushed = qt.drain_time(engine, population=32, flush=qt.Exponential(mean=0.005))
    >>> round(flushed.mean - full.mean, 9)
    0.005
    """
    if not isinstance(engine, Engine):
        raise TypeError(f"engine must be a qt.Engine, not {engine!r}")
    if throttle is not None and not isinstance(throttle, (DepthLimit, DepthSchedule, RateLimit)):
        raise TypeError(f"throttle must be a qt.DepthLimit, qt.DepthSchedule, qt.RateLimit or None, not {throttle!r}")
    law = None if flush is None else law_of(flush, "flush")
    found = answer(engine, throttle, population)
    if population is None:
        from qtheory.accuracy import bounded

        found = bounded(found, "drain", engine, depth_at_stop(engine, throttle))
    if law is None:
        return found

    from qtheory.drain.flush import flushed

    return flushed(found, law, len(engine.disks))


def answer(
    engine: Engine,
    throttle: DepthLimit | DepthSchedule | RateLimit | None = None,
    population: int | Sequence[int] | None = None,
) -> DrainTime:
    """What `drain_time` answers before the flush, with no other error bounds than those of the method."""
    present = _present(engine, population)
    if present is not None and isinstance(throttle, (DepthSchedule, RateLimit)):
        raise ValueError(f"population must be None with a {type(throttle).__name__}, not {population!r}")
    return _drained(engine.with_buffers_for_caps, throttle, present)


def depth_at_stop(engine: Engine, throttle: DepthLimit | DepthSchedule | RateLimit | None) -> float:
    """How many requests a throttle lets the device(s) have at the stop."""
    if isinstance(throttle, DepthLimit):
        return throttle.limit * (1 if throttle.per == "engine" else len(engine.disks))
    if isinstance(throttle, DepthSchedule):
        last = throttle.steps[-1][1]
        return math.inf if last is None else last
    return math.inf


def _drained(
    engine: Engine, throttle: DepthLimit | DepthSchedule | RateLimit | None, present: tuple[int, ...] | None
) -> DrainTime:
    """The drain by the method that covers the engine."""
    from qtheory.drain import (
        delay_line,
        depth_schedule,
        disk_by_disk,
        divided_slots,
        fitted_service,
        fluid,
        guests_that_wait,
        joint_chain,
        mixed_service,
        one_disk,
        phase_type,
        rate_limit,
        separate_devices,
        shared_device,
    )
    from qtheory.solve.fitted_service import fitted
    from qtheory.stability import check_stable

    if isinstance(throttle, RateLimit):
        reason = rate_limit.refusal(engine, throttle)
        if reason is not None:
            raise ValueError(f"throttle must not be a qt.RateLimit for this engine: {reason}")
        return rate_limit.drain(engine, throttle)
    if not isinstance(throttle, DepthLimit):
        check_stable(engine)
    elif len(engine.disks) == 1:
        throttle = DepthLimit(throttle.limit)
    endless = None
    if isinstance(throttle, DepthLimit) and engine.hold != "refuse":
        endless = guests_that_wait.lasting(limited(engine, throttle))
    if endless is not None:
        if present is not None and sum(present) < endless.most:
            raise ValueError(f"population must be None or at least {endless.most}: the limit is always reached")
        found = _drained(endless, None, None)
        return replace(found, warnings=(*found.warnings, guests_that_wait.ENDLESS))
    waits = engine.disks[0].guest_waits and not engine.disks[0].saturated
    if len(engine.disks) == 1 and (present is None or not waits):
        engine = one_disk.alone(engine)
    if isinstance(throttle, DepthSchedule):
        reason = depth_schedule.refusal(engine, [limit for _, limit in throttle.steps])
        if reason is None:
            try:
                return depth_schedule.drain(engine, throttle)
            except depth_schedule.TooLargeError:
                if fluid.refusal(engine) is not None:
                    raise
                return fluid.drain(engine, throttle)
        if not fitted_service.refusal(engine) and not depth_schedule.refusal(fitted(engine)[0]):
            return fitted_service.drain(engine, throttle, None)
        small = joint_chain.schedule_refusal(engine)
        if small is None:
            return joint_chain.scheduled(engine, throttle)
        raise ValueError(f"throttle must not be a qt.DepthSchedule for this engine: {reason}; state by state: {small}")
    reasons = []
    if throttle is None or throttle.per == "engine":
        for name, refusal, drain in (
            ("shared device", shared_device.refusal, shared_device.drain),
            ("phase type", phase_type.refusal, phase_type.drain),
            ("fitted service", fitted_service.refusal, fitted_service.drain),
            ("mixed service", mixed_service.refusal, mixed_service.drain),
        ):
            reason = refusal(engine)
            if reason is None:
                return drain(engine, throttle, present)
            reasons.append(f"{name}: {reason}")
    if throttle is not None:
        if engine.hold == "refuse":
            raise ValueError("throttle must be None for this engine: it refuses at Q; qt.simulate covers it")
        engine = limited(engine, throttle)
    for name, refuse, drain_disks in (
        ("separate devices", separate_devices.refusal, separate_devices.drain),
        ("disk by disk", disk_by_disk.refusal, disk_by_disk.drain),
        ("guests that wait", guests_that_wait.refusal, guests_that_wait.drain),
        ("joint chain", joint_chain.refusal, joint_chain.drain),
        ("divided slots", divided_slots.refusal, divided_slots.drain),
        ("delay line", delay_line.refusal, delay_line.drain),
    ):
        reason = refuse(engine)
        if reason is None:
            tied = name in ("guests that wait", "joint chain") and engine.shared
            if present is not None and len(present) != len(engine.disks) and not tied:
                raise ValueError(
                    f"population must give a number for each of the {len(engine.disks)} disks, not {present!r}"
                )
            return drain_disks(engine, present)
        reasons.append(f"{name}: {reason}")
    raise ValueError(f"the drain time of this engine is not known ({'; '.join(reasons)}); qt.simulate covers it")


def drain_survival(engine: Engine, t: float) -> float:
    """P(T > t) alone [t in s], without the moments, where they take most of the work; ValueError as `drain_time`.

    Examples
    --------
    >>> import qtheory as qt
    >>> device = qt.Device(servers=1, service=qt.Exponential(mean=1e-3))
    >>> disk = qt.Disk(qt.Closed(outstanding=8), buffer=8, device=device)
    >>> engine = qt.Engine([disk] * 4, queue_length=8, hold="ring")
    >>> abs(drain_survival(engine, 5e-3) - qt.drain_time(engine).sf(5e-3)) < 1e-15
    True
    """
    from qtheory.drain import delay_line, separate_devices
    from qtheory.solve.disk_by_disk import apart, shares_nothing

    engine = engine.with_buffers_for_caps
    if shares_nothing(engine):
        copies = Counter(apart(engine))
        return separate_devices.slowest([(n, answer(alone).sf(t)) for alone, n in copies.items()])
    tied = separate_devices.survival if separate_devices.refusal(engine) is None else None
    if separate_devices.refusal(engine) is not None and delay_line.refusal(engine) is None:
        tied = delay_line.survival
    law = None if tied is None else tied(engine)
    return answer(engine).sf(t) if law is None else law(t)


def _present(engine: Engine, population: int | Sequence[int] | None) -> tuple[int, ...] | None:
    """The given population as a tuple, checked: one number in all, or one for each disk."""
    if population is None:
        return None
    if isinstance(population, Sequence):
        if len(population) != len(engine.disks):
            raise ValueError(
                f"population must give a number for each of the {len(engine.disks)} disks, not {population!r}"
            )
        present = tuple(count(f"population[{i}]", n, least=0) for i, n in enumerate(population))
    else:
        present = (count("population", population, least=0),)
    if sum(present) > engine.most:
        raise ValueError(f"population must be at most {engine.most}, what the engine can hold, not {population!r}")
    return present


def limited(engine: Engine, throttle: DepthLimit) -> Engine:
    """The engine as it is under the limit, with what exceeds it left in the rings."""
    if throttle.per == "disk":
        caps = engine.caps or (throttle.limit,) * len(engine.disks)
        return Engine(
            engine.disks,
            engine.device,
            engine.queue_length,
            "ring",
            tuple(min(cap, throttle.limit) for cap in caps),
        )
    slots = min(engine.queue_length or throttle.limit, throttle.limit)
    return Engine(engine.disks, engine.device, slots, "ring", engine.shares)
