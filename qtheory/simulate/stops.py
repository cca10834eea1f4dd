"""Simulated stops: the drain of a shared device whose depth limit changes before each stop.

The steady run samples drains where it stands. A schedule of limits belongs to a stop, so here the run goes from stop
to stop: without a limit for `settle` seconds, through the steps of the schedule, and at time 0 the drain of what was
taken is worked out on the side, with service times of its own; then the limit is lifted and the run goes on.

The state is the FIFO of all waiting requests, each the index of its disk, of which the first `taken` − busy were taken
from the rings; and when each busy server ends. Arrivals have the rates λ_i(n_i), memoryless, so after each event the
next one is drawn anew.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qtheory.arguments import count, positive
from qtheory.arrivals import Poisson
from qtheory.drain.throttle import DepthLimit, DepthSchedule
from qtheory.engine import Engine
from qtheory.laws import Law, law_of
from qtheory.simulate.batch_means import ratio
from qtheory.simulate.histogram import BINS, FIRST, SHIFT, Histogram
from qtheory.simulate.simulation import DrainSample

Floats = NDArray[np.float64]
POOL = 1 << 18
BATCHES = 20
UNLIMITED = 1 << 40
JITTER = 0.1
"""Mean of what is added to `settle`, exponential, over it: stops must not keep step with constant service times."""


def simulate_stops(
    engine: Engine,
    throttle: DepthLimit | DepthSchedule | None = None,
    stops: int = 100_000,
    seed: int = 1,
    *,
    settle: float | None = None,
    flush: Law | None = None,
) -> DrainSample:
    """Simulate stops of an engine with one shared device, each after the throttle's steps.

    Parameters
    ----------
    engine : Engine
        One shared device with a service law, one line; Poisson disks that lose, or closed ones.
    throttle : DepthLimit or DepthSchedule, optional
        A limit over all disks that always holds, or one that changes in steps before each stop.
    stops : int
        How many, at least 20.
    seed : int
        The same seed gives the same stops.
    settle : float, optional
        Time [s] from each stop to the next one's schedule, to forget it. None: what the device needs to serve all
        buffers four times over, 50 mean service times, and three relaxation times of the queue.
    flush : Law, optional
        Time [s] of a disk's flush: each drain is followed by one of every disk, one after another.

    Raises ValueError for what it does not cover, saying why.

    Examples
    --------
    >>> import qtheory as qt
    >>> guest = qt.Disk(qt.Closed(outstanding=16), buffer=16)
    >>> engine = qt.Engine([guest], qt.Device(servers=2, service=qt.Deterministic(0.01)))
    >>> late, early = (qt.simulate_stops(engine, qt.DepthSchedule([(t, 2)]), 1000) for t in (-0.03, -0.1))
    >>> print(f"{late.quantile(0.99).value:.2f} s, {early.quantile(0.99).value:.2f} s")
    0.05 s, 0.01 s
    """
    if not isinstance(engine, Engine):
        raise TypeError(f"engine must be a qt.Engine, not {engine!r}")
    if throttle is not None and not isinstance(throttle, (DepthLimit, DepthSchedule)):
        raise TypeError(f"throttle must be a qt.DepthLimit, a qt.DepthSchedule or None, not {throttle!r}")
    stops = count("stops", stops, least=BATCHES)
    seed = count("seed", seed, least=0)
    reason = _refusal(engine, throttle)
    if reason is not None:
        raise ValueError(f"simulate_stops does not cover this engine: {reason}; qt.simulate may")
    device = engine.devices[0]
    assert device.service is not None
    assert device.servers is not None
    if settle is None:
        settle = 4.0 * engine.most / device.capacity + 50.0 * device.service.mean + 3.0 * _relaxation(engine)
    settle = positive("settle", settle)
    law = None if flush is None else law_of(flush, "flush")

    # numba loads here
    from qtheory.simulate.stops_kernel import run

    slots = engine.queue_length or UNLIMITED
    base = slots if engine.hold == "ring" else UNLIMITED
    if isinstance(throttle, DepthSchedule):
        times = [at for at, _ in throttle.steps]
        ends = np.array([settle, *(settle + at - times[0] for at in times[1:]), settle - times[0]])
        limits = np.array([base, *(min(q or base, base) for _, q in throttle.steps)])
    else:
        ends, limits = np.array([settle]), np.array([base if throttle is None else min(throttle.limit, base)])

    most = np.array([disk.most for disk in engine.disks])
    rates = np.zeros((len(most), int(most.max()) + 1))
    for i, disk in enumerate(engine.disks):
        if not disk.saturated:
            rates[i, : disk.most] = disk.arrival_rates()
    saturated = np.array([disk.saturated for disk in engine.disks])
    servers = min(device.servers, slots, int(most.sum()))
    waiting = np.zeros(int(most.sum()) + 1, dtype=np.int64)
    start = np.repeat(np.arange(len(most)), np.where(saturated, most, 0))
    waiting[: len(start)] = start
    present = np.where(saturated, most, 0)
    # stage, taken, busy, first of the line, its length, stops so far
    numbers = np.array([0, 0, 0, 0, len(start), 0])
    clock = np.zeros(1)
    end, served = np.full(servers, math.inf), np.zeros(servers, dtype=np.int64)

    rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed)))
    drains = np.empty(stops)
    while numbers[5] < stops:
        run(
            ends, limits, JITTER * settle, rates, saturated, waiting, present, numbers, clock, end, served,
            np.asarray(device.service.sample(rng, POOL), dtype=float), rng.standard_exponential(POOL),
            rng.random(POOL), drains,
        )  # fmt: skip
    if law is not None:
        drains += sum(np.asarray(law.sample(rng, stops)) for _ in engine.disks)
    batch = np.arange(stops) * BATCHES // stops
    histogram = np.zeros((BATCHES, BINS), dtype=np.int32)
    np.add.at(histogram, (batch, np.clip((drains.view(np.int64) >> SHIFT) - FIRST, 0, BINS - 1)), 1)
    mean = ratio(np.bincount(batch, drains), np.bincount(batch))
    return DrainSample(
        method="at stops that end a schedule",
        exact=False,
        error_bounds={"mean": mean.half_width / mean.value if mean.value else math.inf},
        mean=mean,
        samples=stops,
        _histogram=Histogram(histogram),
    )


def _relaxation(engine: Engine) -> float:
    """Relaxation time [s] of a reflected walk with the open disks' rates on as many states, at most; 0 without any."""
    rate = sum(disk.arrivals.rate for disk in engine.disks if isinstance(disk.arrivals, Poisson))
    if rate == 0.0:
        return 0.0
    capacity = engine.devices[0].capacity
    endless = (1.0 - math.sqrt(rate / capacity)) ** 2
    return 1.0 / (capacity * max(endless, (math.pi / engine.most) ** 2))


def _refusal(engine: Engine, throttle: DepthLimit | DepthSchedule | None) -> str | None:
    if not engine.shared:
        return "each disk has its own device"
    if engine.caps is not None:
        return "the slots are divided by caps"
    if engine.hold == "refuse":
        return "it refuses at Q"
    if isinstance(throttle, DepthLimit) and throttle.per == "disk":
        return "the limit is for each disk"
    if engine.devices[0].service is None:
        return "the device is a rate curve"
    for i, disk in enumerate(engine.disks):
        if disk.bursty:
            return f"the arrivals of disks[{i}] are not Poisson"
        if disk.guest_waits and not disk.saturated:
            return f"disks[{i}] makes its guest wait for room in the buffer"
    return None
