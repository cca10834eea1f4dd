"""Simulated stops: the drain of an engine that is throttled before each stop, and what the throttling costs.

The steady run samples drains where it stands. A throttle that begins before a stop belongs to it, so here the run goes
from stop to stop: without it for `settle` seconds, then the **window** in which it acts, and at time 0 the drain of
what was taken is worked out on the side; then it is lifted and the run goes on. What the window costs is seen beside
the drain: completions a second in it against those in the second half of `settle`, and the response times of the
requests that come in it, as they are when the guest goes on at the stop.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qtheory.arguments import count, positive
from qtheory.arrivals import Closed
from qtheory.drain.throttle import DepthLimit, DepthSchedule, FinishInTime, RateLimit
from qtheory.engine import Engine
from qtheory.laws import Law, law_of
from qtheory.result import Estimate
from qtheory.simulate.batch_means import ratio
from qtheory.simulate.draws import Draws
from qtheory.simulate.histogram import BINS, FIRST, SHIFT, Histogram
from qtheory.simulate.simulation import DrainSample
from qtheory.stability import check_stable

if TYPE_CHECKING:
    from qtheory.simulate.controllers import LatencyTarget

Floats = NDArray[np.float64]
BATCHES = 20
UNLIMITED = 1 << 40
JITTER = 0.1
"""Mean of what is added to `settle`, exponential, over it: stops must not keep step with constant service times."""


@dataclass(frozen=True, kw_only=True)
class StopSample(DrainSample):
    """Sampled drains, and what the window before the stops cost; times in seconds, rates per second.

    Attributes
    ----------
    window : float
        How long the throttle acts before each stop; of one that always holds, the part that is looked at.
    throughput : Estimate
        Completions per second in the window.
    throughput_loss : Estimate or None
        What this is less than before the window, relative to it; None where the throttle always holds.
    mean_response : Estimate
        Of the requests that come in the window, from the guest's submission (of those of closed guests, from the ring)
        to completion, as if the guest went on at the stop.
    """

    window: float
    throughput: Estimate
    throughput_loss: Estimate | None
    mean_response: Estimate
    _response: Histogram = field(repr=False, compare=False)

    def response_quantile(self, p: float) -> Estimate:
        """Response time [s] that a fraction p of those do not exceed; ValueError unless 0 < p < 1, and without any."""
        return self._response.quantile(p)


def simulate_stops(
    engine: Engine,
    throttle: DepthLimit | DepthSchedule | FinishInTime | LatencyTarget | RateLimit | None = None,
    stops: int = 100_000,
    seed: int = 1,
    *,
    lead: float | None = None,
    settle: float | None = None,
    flush: Law | None = None,
) -> StopSample:
    """Simulate stops of an engine, each after a throttle.

    Parameters
    ----------
    engine : Engine
        Any engine that can be described. With `hold="refuse"` what the throttle does not let through is refused.
    throttle : DepthLimit, DepthSchedule, FinishInTime, RateLimit or qt.controllers.LatencyTarget, optional
        What reduces I/O before each stop. A latency target sets the depth.
    stops : int
        How many, at least 20.
    seed : int
        The same seed gives the same stops, and the same open arrivals whatever the throttle.
    lead : float, optional
        How long before each stop the throttle begins [s]. None: a schedule says so itself, others hold all the time.
    settle : float, optional
        Time [s] from each stop to the next window, to forget the last; response times that last longer than that are
        not counted. None: what the devices need to serve all
        buffers four times over, 50 mean service times, and three relaxation times of the queues and the arrivals.
    flush : Law, optional
        Time [s] of a disk's flush: each drain is followed by one of every disk, one after another.

    Raises ValueError for an argument out of range, guests that would wait without end, and a `FinishInTime` for an
    engine of which it is not known when a request will be done.

    Examples
    --------
    >>> import qtheory as qt
    >>> guest = qt.Disk(qt.Closed(outstanding=16), buffer=16)
    >>> engine = qt.Engine([guest], qt.Device(servers=2, service=qt.Deterministic(0.01)))
    >>> late, early = (qt.simulate_stops(engine, qt.DepthSchedule([(t, 2)]), 1000) for t in (-0.03, -0.1))
    >>> print(f"{late.quantile(0.99).value:.2f} s, {early.quantile(0.99).value:.2f} s")
    0.05 s, 0.01 s
    >>> stopped = qt.simulate_stops(engine, qt.DepthSchedule([(-0.1, 0)]), 1000)
    >>> print(f"{stopped.mean.value:.2f} s, throughput lost {stopped.throughput_loss.value:.0%}")
    0.00 s, throughput lost 20%
    """
    # its package imports this one
    from qtheory.simulate.controllers import LatencyTarget

    if not isinstance(engine, Engine):
        raise TypeError(f"engine must be a qt.Engine, not {engine!r}")
    kinds = (DepthLimit, DepthSchedule, FinishInTime, LatencyTarget, RateLimit)
    if throttle is not None and not isinstance(throttle, kinds):
        raise TypeError(f"throttle must be a {', '.join(kind.__name__ for kind in kinds)} or None, not {throttle!r}")
    stops = count("stops", stops, least=BATCHES)
    seed = count("seed", seed, least=0)
    check_stable(engine)
    if isinstance(throttle, FinishInTime):
        reason = _unforeseen(engine, throttle)
        if reason is not None:
            raise ValueError(f"throttle must not be a qt.FinishInTime for this engine: {reason}")
    if isinstance(throttle, DepthSchedule):
        if lead is not None:
            raise ValueError(f"lead must be None with a qt.DepthSchedule, which has its own times, not {lead!r}")
        steps = list(throttle.steps)
    elif lead is not None:
        steps = [(-positive("lead", lead), None)]
    else:
        steps = []
    settle = positive("settle", _settling(engine) if settle is None else settle)
    flushes = None if flush is None else law_of(flush, "flush")

    # numba loads here
    from qtheory.simulate.stops_kernel import Gate, StopBooks
    from qtheory.simulate.stops_run import StopsRun

    always = not steps
    if always:
        steps = [(-0.5 * settle, None)]
        settle *= 0.5
    times = [at for at, _ in steps]
    window = -times[0]
    acts = np.array([int(always), *(1 for _ in steps)])
    slots = UNLIMITED if engine.queue_length is None or engine.hold == "engine" else engine.queue_length
    caps = engine.caps if engine.caps is not None and engine.hold != "engine" else (UNLIMITED,) * len(engine.disks)
    limits = np.array([slots, *(slots if q is None else min(q, slots) for _, q in steps)])
    each = np.tile(np.array(caps), (len(limits), 1))
    if isinstance(throttle, DepthLimit) and throttle.per == "disk":
        each = np.where(acts[:, None] > 0, np.minimum(each, throttle.limit), each)
    elif isinstance(throttle, DepthLimit):
        limits = np.where(acts > 0, np.minimum(limits, throttle.limit), limits)
    budget, z, sized = math.inf, 0.0, False
    laws = engine.laws
    rest = np.zeros(len(laws))
    if isinstance(throttle, FinishInTime):
        from scipy.special import ndtri

        devices = engine.devices[:1] if engine.shared else engine.devices
        served = min(sum(device.servers or 0 for device in devices), engine.queue_length or UNLIMITED)
        late = (1.0 - throttle.probability) / served
        budget, z = throttle.budget, -float(ndtri(late))
        rest = np.array([0.0 if law is None else float(law.quantile(1.0 - late)) - law.mean for law in laws])
        sized = throttle.knows == "request"
    target = throttle if isinstance(throttle, LatencyTarget) else None
    bucket = throttle if isinstance(throttle, RateLimit) else None
    gate = Gate(
        ends=np.array([settle, *(settle + at - times[0] for at in times[1:]), settle + window]),
        limits=limits,
        caps=each,
        acts=acts,
        budget=budget,
        z=z,
        sized=int(sized),
        mean=np.array([0.0 if law is None else law.mean for law in laws]),
        variance=np.array([0.0 if law is None else law.scv * law.mean**2 for law in laws]),
        rest=rest,
        target=0.0 if target is None else target.target,
        spacing=math.inf if target is None else target.spacing,
        most=0 if target is None else target.most,
        rate=0.0 if bucket is None else bucket.rate,
        burst=0.0 if bucket is None or bucket.burst is None else bucket.burst,
    )
    rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence((seed, 1))))
    one = np.zeros(1)
    books = StopBooks(
        drains=np.empty(stops),
        later=JITTER * settle * rng.standard_exponential(stops),
        before=np.zeros(BATCHES, np.int64),
        within=np.zeros(BATCHES, np.int64),
        responses=np.zeros((BATCHES, 2)),
        bins=np.zeros((BATCHES, BINS), np.int32),
        one=one,
        bits=one.view(np.int64),
    )
    StopsRun(engine, Draws(engine, seed), gate).make(books)

    drains = books.drains
    if flushes is not None:
        drains += sum(np.asarray(flushes.sample(rng, stops)) for _ in engine.disks)
    batch = np.arange(stops) * BATCHES // stops
    made = np.bincount(batch)
    histogram = np.zeros((BATCHES, BINS), dtype=np.int32)
    np.add.at(histogram, (batch, np.clip((drains.view(np.int64) >> SHIFT) - FIRST, 0, BINS - 1)), 1)
    mean = ratio(np.bincount(batch, drains), made)
    expected = books.before * (window / (0.5 * settle))
    return StopSample(
        method="stops, simulated one after another",
        exact=False,
        error_bounds={"mean": mean.half_width / mean.value if mean.value else math.inf},
        mean=mean,
        samples=stops,
        window=window,
        throughput=ratio(books.within, made * window),
        throughput_loss=None if always else ratio(expected - books.within, expected),
        mean_response=ratio(*books.responses.T),
        _response=Histogram(books.bins),
        _histogram=Histogram(histogram),
    )


def _settling(engine: Engine) -> float:
    """Time [s] in which a stop is forgotten."""
    longest = 0.0
    for i, device in enumerate(engine.devices):
        disks = engine.disks if engine.shared else engine.disks[i : i + 1]
        laws = engine.laws if engine.shared else engine.laws[i : i + 1]
        capacity = device.capacity
        most = sum(disk.most for disk in disks)
        mean = max(1.0 / capacity if law is None else law.mean for law in laws)
        rate = sum(disk.arrivals.rate for disk in disks if not isinstance(disk.arrivals, Closed))
        # of a reflected walk with the open disks' rates on as many states, at most
        endless = (1.0 - math.sqrt(rate / capacity)) ** 2
        relaxation = 1.0 / (capacity * max(endless, (math.pi / most) ** 2)) if rate else 0.0
        longest = max(longest, 4.0 * most / capacity + 50.0 * mean + 3.0 * relaxation)
    for stream in engine.streams:
        decays = np.sort(-np.linalg.eigvals(stream.process.D0 + stream.process.D1).real)
        if len(decays) > 1:
            longest += 3.0 / float(decays[1])
    return longest


def _unforeseen(engine: Engine, throttle: FinishInTime) -> str | None:
    """Why it is not known when a request will be done."""
    if any(law is None for law in engine.laws):
        return "its device is a rate curve"
    if throttle.knows == "request":
        if engine.hold == "engine" and engine.caps is not None:
            return "its slots are divided by caps, so that requests are not served in the order in which they come"
        if engine.queue_length is not None and not engine.shared:
            return "its disks have devices of their own and share a queue_length"
    return None
