"""The numbers of a report: one workload on one device, theory beside simulation, as disks and slots are added.

The trace gives every disk its arrival rate; the model takes the arrivals as Poisson and the service as exponential.
Copies of the trace's disks stand for more disks. Three views of each engine:

* theory: `solve` and `drain_time`;
* simulation of the same model, which must agree with the theory within its confidence interval;
* the recorded arrivals themselves, replayed through the same device: where they differ, the model does not fit the
  trace, and the report says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from qtheory.arrivals import Poisson
from qtheory.drain import drain_time
from qtheory.drain.drain_law import DrainTime
from qtheory.engine import Device, Disk, Engine, Hold
from qtheory.result import Estimate
from qtheory.simulate import simulate
from qtheory.simulate.simulation import Simulation
from qtheory.sizing import OperatingPoint, disk_count_sweep, queue_length_sweep, with_disks
from qtheory.solve import solve
from qtheory.traces.cloning import cloned
from qtheory.traces.stream import TraceStream
from qtheory.traces.summary import TraceSummary
from qtheory.traces.trace import Trace

DEFAULT_SERVERS = 4
DEFAULT_UTILIZATION = 0.5
BUSY = 0.8
"""The report's closer look is taken at the number of disks whose utilization is nearest to this, and at most CALM."""
CALM = 0.95
FEWEST = 100
MOST_REPLAYED = 4_000_000
COPIES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
OVERLOAD = 1.3
REQUESTS_PER_WAITING = 500.0


@dataclass(frozen=True)
class Simulated:
    """What the plots need of one run."""

    throughput: Estimate
    blocking: Estimate
    mean_wait: Estimate
    drain_quantile: Estimate

    @classmethod
    def of(cls, run: Simulation) -> Simulated:
        """Keep of a run what is shown; the drain at 99 %."""
        return cls(run.throughput, run.blocking, run.mean_wait, run.drain.quantile(0.99))


@dataclass(frozen=True)
class Study:
    """Everything a report shows; SI units."""

    trace: Trace
    summary: TraceSummary
    device_words: str
    engine: Engine
    by_disks: tuple[OperatingPoint, ...]
    by_disks_model: tuple[Simulated, ...]
    by_disks_replay: tuple[Simulated | None, ...]
    busy: Engine
    by_queue_ring: tuple[OperatingPoint, ...]
    by_queue_engine: tuple[OperatingPoint, ...]
    by_queue_simulated: tuple[int, ...]
    by_queue_ring_model: tuple[Simulated, ...]
    by_queue_engine_model: tuple[Simulated, ...]
    drain: DrainTime
    drain_model: Simulation
    drain_replay: Simulation | None
    doubts: tuple[str, ...]

    @property
    def busy_point(self) -> OperatingPoint:
        """The busy engine solved."""
        return next(point for point in self.by_disks if point.disks == len(self.busy.disks))


def device_of(trace: Trace) -> tuple[Device, str]:
    """The default device, and the words that state it: 4 servers, service mean as recorded.

    The mean is that of the recorded service times; without them, of the response of requests that found nothing
    outstanding, which did not wait; without responses, what makes the utilization 0.5.
    """
    from qtheory.laws import Exponential

    check_length(trace)
    servers = DEFAULT_SERVERS
    if trace.service is not None:
        mean, source = float(trace.service.mean()), "the mean of the recorded service times"
    elif trace.response is not None:
        completed = np.searchsorted(np.sort(trace.arrival + trace.response), trace.arrival, side="right")
        alone = np.arange(len(trace)) == completed
        mean = float(trace.response[alone].mean())
        source = "the mean response of the recorded requests that found nothing outstanding"
    else:
        mean = DEFAULT_UTILIZATION * servers * trace.span / max(len(trace) - 1, 1)
        source = f"chosen for a utilization of {DEFAULT_UTILIZATION:g}, since the trace has no response times"
    words = f"{servers} servers (assumed), exponential service of {mean * 1e3:.4g} ms ({source})"
    return Device(servers=servers, service=Exponential(mean=mean)), words


def engine_of(trace: Trace | TraceStream, device: Device, buffer: int = 256) -> Engine:
    """The trace's disks as Poisson sources of their recorded rates, and operations, on one shared device."""
    asked = repeat(None) if device.operations is None else trace.operations
    disks = [Disk(Poisson(float(rate)), buffer, operations=ops) for rate, ops in zip(trace.rates, asked, strict=False)]
    return Engine(disks, device)


def study(
    trace: Trace, device: Device, device_words: str, *, buffer: int = 256, requests: int = 300_000, seed: int = 1
) -> Study:
    """Work out a report's numbers for `trace` on `device`; ValueError for a trace too short to say anything."""
    check_length(trace)
    engine = engine_of(trace, device, buffer)
    base = len(engine.disks)
    load = _utilization(engine)
    copies = [k for k in COPIES if k == 1 or k * load <= OVERLOAD]
    points = disk_count_sweep(engine, [base * k for k in copies])
    models = tuple(simulate(with_disks(engine, point.disks), _enough(point, requests), seed=seed) for point in points)
    replays = tuple(_replay(trace, engine, k, seed) for k in copies)

    calm = [k for k in copies if k * load <= CALM] or [1]
    near = min(calm, key=lambda k: abs(k * load - BUSY))
    busy = with_disks(engine, base * near)
    lengths = _queue_lengths(busy)
    some = tuple(lengths[:: max(1, len(lengths) // 4)])
    return Study(
        trace=trace,
        summary=trace.summary(),
        device_words=device_words,
        engine=engine,
        by_disks=points,
        by_disks_model=tuple(map(Simulated.of, models)),
        by_disks_replay=tuple(None if run is None else Simulated.of(run) for run in replays),
        busy=busy,
        by_queue_ring=queue_length_sweep(Engine(busy.disks, busy.device, hold="ring"), lengths),
        by_queue_engine=queue_length_sweep(Engine(busy.disks, busy.device, hold="engine"), lengths),
        by_queue_simulated=some,
        by_queue_ring_model=tuple(_simulated(busy, q, "ring", requests, seed) for q in some),
        by_queue_engine_model=tuple(_simulated(busy, q, "engine", requests, seed) for q in some),
        drain=drain_time(busy),
        drain_model=models[copies.index(near)],
        drain_replay=replays[copies.index(near)],
        doubts=tuple(
            f"{p.disks} disks: {warning}" for p, run in zip(points, models, strict=True) for warning in run.warnings
        ),
    )


def check_length(trace: Trace) -> None:
    """Refuse a trace that says too little."""
    if len(trace) < FEWEST or trace.span == 0.0:
        raise ValueError(
            f"{trace.source}: a report needs at least {FEWEST} requests over some time, "
            f"not {len(trace)} in {trace.span:g} s"
        )


def burstiness(study: Study) -> Iterator[str]:
    """Plain sentences on how well the model's Poisson arrivals fit the trace."""
    yield from study.summary.verdict
    if study.drain_replay is not None:
        theory = study.busy_point.mean_wait
        replay = study.drain_replay.mean_wait.value
        if theory > 0.0 and replay > 0.0:
            yield (
                f"With {len(study.busy.disks)} disks the recorded arrivals wait {replay * 1e3:.3g} ms in the mean "
                f"where the model says {theory * 1e3:.3g} ms: {_times(replay / theory)}."
            )


def _times(factor: float) -> str:
    if 0.8 <= factor <= 1.25:
        return "the model fits within a quarter"
    off = max(factor, 1 / factor)
    return f"the model is off by a factor of {off:.3g}, and its waits are not to be used as they are"


def _utilization(engine: Engine) -> float:
    pairs = zip(engine.disks, engine.devices, strict=True)
    return sum(disk.arrivals.rate / device.capacity for disk, device in pairs if isinstance(disk.arrivals, Poisson))


def _enough(point: OperatingPoint, requests: int) -> int:
    """Requests to simulate: a long line takes long to build up, so more of them where it is long."""
    return max(requests, int(REQUESTS_PER_WAITING * point.throughput * point.mean_response))


def _simulated(engine: Engine, queue_length: int, hold: Hold, requests: int, seed: int) -> Simulated:
    return Simulated.of(simulate(Engine(engine.disks, engine.device, queue_length, hold), requests, seed=seed))


def _queue_lengths(engine: Engine) -> list[int]:
    """1, 2, 3, 4, 6, 8, 12, ... up to where a longer queue changes nothing, and some beyond."""
    pmf: NDArray[np.float64] = solve(engine).in_system_pmf
    far = int(np.flatnonzero(np.cumsum(pmf[::-1])[::-1] > 1e-6)[-1])
    device = engine.devices[0]
    top = max(far, 4 * max(device.servers or 0, len(device.curve or ())), 16)
    lengths, q = [], 1
    while q <= top:
        lengths += [q] if q < 2 or q + q // 2 > top else [q, q + q // 2]
        q *= 2
    return lengths


def _replay(trace: Trace, engine: Engine, copies: int, seed: int) -> Simulation | None:
    if copies * len(trace) > MOST_REPLAYED:
        return None
    return simulate(with_disks(engine, copies * len(engine.disks)), seed=seed, trace=cloned(trace, copies, seed))
