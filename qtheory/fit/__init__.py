"""From a trace to an engine: arrivals, service law and servers, how well they fit, and how sure the answers are.

>>> import qtheory as qt
>>> rng = np.random.default_rng(1)
>>> arrival = np.cumsum(rng.exponential(1e-3, 4000))
>>> none = np.zeros(4000, dtype=int)
>>> trace = qt.Trace(arrival=arrival, disk=none, disks=["vda"], op=none, offset=none, size=none,
...                  response=rng.exponential(0.5e-3, 4000))
>>> fit = fit_engine(trace, servers=8)
>>> fit.engine.disks[0].arrivals, fit.engine.device.servers
(Poisson(rate=1011.0006143532382), 8)
>>> answer = fit.uncertainty(lambda engine: engine.offered_load)
>>> answer.low < 0.5 < answer.high
True
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qtheory.arguments import choice, count
from qtheory.arrivals import Arrivals, FittedMAP, Marked, Poisson
from qtheory.arrivals.fit import BLOCKS, Matched
from qtheory.engine import Device, Disk, Engine
from qtheory.fit.answer import Answer
from qtheory.fit.device import FoundDevice, found_device
from qtheory.fit.streams import Processes, Stream, arrivals, streams
from qtheory.laws import Empirical, Law, PhaseType, Scaled, law_of
from qtheory.laws.fitting import PhaseTypeFit, fit_phase_type
from qtheory.result import Result
from qtheory.traces.trace import OPERATIONS, Trace

if TYPE_CHECKING:
    from qtheory.traces.summary import TraceSummary

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

POINTS = 1000
NEAR = 0.05
"""Kolmogorov–Smirnov distance below which the phase-type law stands for the recorded service times."""
MOST_STATES, MOST_PHASES = 500, 12
SAMPLED = 200_000
LEVELS = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
POOR = 0.1


@dataclass(frozen=True, kw_only=True)
class FittedEngine(Result):
    """An engine fitted to a trace, and how well it fits.

    Parameters
    ----------
    engine : Engine
        The disks in the order of the trace's, on one device. Its service law is the fitted phase-type law where that is
        within 0.05 (Kolmogorov–Smirnov) of the recorded times, else a thousand quantiles of these.
    servers : (int, int, int or None)
        The servers, and the least and most that fit as well; None: there is no telling an upper end.
    service : PhaseTypeFit or None
        How the law was fitted to the `service_times`; None where it was given.
    operations : (operation, share, mean [s], scv)
        Of the requests whose service time is known.
    streams : (disks, FittedMAP or None)
        Which disks share a process; None: Poisson.
    replayed : name to Matched
        Responses [s] of the recorded arrivals, served anew by the fitted device: mean, quantiles. Empty where the trace
        has none.
    modelled : name to Matched
        The same of arrivals drawn from the fitted processes.
    peakedness : Matched or None
        That of the recorded arrivals for the service law, and of the process where one brings them all; None where the
        trace does not tell it.
    distance : float or None
        By which the servers were chosen (`fit/device.py`): how much service times depend on the number found
        outstanding, or how far replayed responses are off given that number.

    `error_bounds` has the relative error of the modelled mean response and its 99 % quantile, `inf` without responses;
    buffers are taken as never full there.
    """

    engine: Engine
    servers: tuple[int, int, int | None]
    service: PhaseTypeFit | None
    operations: tuple[tuple[str, float, float, float], ...]
    replayed: Mapping[str, Matched]
    modelled: Mapping[str, Matched]
    peakedness: Matched | None
    distance: float | None
    _trace: Trace = field(repr=False, compare=False)
    _streams: tuple[Stream, ...] = field(repr=False, compare=False)
    _device: FoundDevice | None = field(repr=False, compare=False)

    @property
    def streams(self) -> tuple[tuple[tuple[str, ...], FittedMAP | None], ...]:
        """Names of the disks that share a process, and its fit."""
        return tuple((tuple(self._trace.disks[d] for d in stream.disks), stream.fit) for stream in self._streams)

    @property
    def service_times(self) -> Empirical | None:
        """The recorded service times."""
        return None if self._device is None else Empirical(self._device.services)

    @property
    def phase_type_engine(self) -> Engine:
        """The engine with the fitted phase-type law, however far that is off: what a chain can follow."""
        device = self.engine.device
        if self.service is None or device is None:
            return self.engine
        return Engine(self.engine.disks, Device(servers=device.servers, service=self.service.law))

    def resampled(self, number: int = 20, seed: int = 1) -> Iterator[Engine]:
        """Engines refitted to block-bootstrap resamplings of the trace.

        Blocks of a twentieth of the trace are drawn with replacement and put in a row (Künsch 1989). Anew are the
        rates, the disks' shares, the means and moves of a process's states, and the mean service time; kept are the
        states themselves and their calibration, the shape of the service law, and the servers.
        """
        rng, size = np.random.default_rng(seed), len(self._trace)
        length = max(size // BLOCKS, 1)
        for _ in range(count("number", number)):
            begin = rng.integers(0, size, BLOCKS)
            which = (begin[:, None] + np.arange(length)).ravel() % size
            disks = [
                replace(disk, arrivals=source)
                for disk, source in zip(self.engine.disks, arrivals(self._trace, self._streams, which), strict=True)
            ]
            yield Engine(disks, self._device_of(which))

    def _device_of(self, which: Ints) -> Device:
        device = self.engine.device
        assert device is not None
        if self._device is None or device.service is None:
            return device
        known = np.full(len(self._trace), np.nan)
        known[self._device.chosen] = self._device.services
        mean = float(np.nanmean(known[which])) / float(self._device.services.mean())
        law = device.service
        scaled = PhaseType(law.alpha, law.T / mean) if isinstance(law, PhaseType) else Scaled(law, mean)
        return Device(servers=device.servers, service=scaled)

    def uncertainty(self, question: Callable[[Engine], float], resamples: int = 20, seed: int = 1) -> Answer:
        """The answer to a question about the engine, with the interval over refitted engines (`resampled`).

        Parameters
        ----------
        question : function of an Engine
            Such as `lambda engine: qt.solve(engine).mean_wait`.
        resamples : int
            Refitted engines that are asked; with twenty the ends are nearly the least and the largest.
        seed : int
            The same seed gives the same engines.
        """
        return Answer.over(question(self.engine), [question(engine) for engine in self.resampled(resamples, seed)])

    def answers(self, resamples: int = 20, seed: int = 1, requests: int = SAMPLED) -> dict[str, Answer]:
        """The engine's steady state, simulated, each number with its interval over `resamples` refitted engines.

        All are simulated with the same seed and so many requests, or as many as the trace has; what the interval holds
        of chance in the simulation is small beside the rest, unless bursts are few.
        """
        size = max(requests, len(self._trace))
        found = [_simulated(engine, size, seed) for engine in (self.engine, *self.resampled(resamples, seed))]
        return {name: Answer.over(value, [one[name] for one in found[1:]]) for name, value in found[0].items()}

    def to_dict(self) -> dict[str, Any]:
        """As plain values; of the engine its processes, each once, and the law's mean and scv."""
        shown = super().to_dict()
        device = self.engine.device
        assert device is not None
        shown["engine"] = {
            "servers": device.servers,
            "service": None if device.service is None else {"mean": device.service.mean, "scv": device.service.scv},
            "buffer": self.engine.disks[0].buffer,
            "arrivals": [
                {
                    "disks": [self._trace.disks[d] for d in stream.disks],
                    "rates": [self.engine.disks[d].arrivals.rate for d in stream.disks],  # type: ignore[union-attr]
                    "process": None if stream.fit is None else stream.fit.to_dict(),
                }
                for stream in self._streams
            ],
        }
        return shown

    def __str__(self) -> str:
        text = io.StringIO()
        trace, device = self._trace, self.engine.device
        assert device is not None
        print(f"{trace.source or 'trace'}: {len(trace)} requests of {len(trace.disks)} disk(s)", file=text)
        for names, fit in self.streams:
            of = [disk.arrivals for disk, name in zip(self.engine.disks, trace.disks, strict=True) if name in names]
            print(f"arrivals of {', '.join(names)}: {_words(of, fit)}", file=text)
        c, least, most = self.servers
        alike = (
            "" if least == most else f"; {least} to {most} fit as well" if most else f"; {least} or more fit as well"
        )
        print(f"servers: {c}{alike}", file=text)
        if device.service is not None:
            print(f"service: {_law_words(device.service, self.service)}", file=text)
        for operation, share, mean, scv in self.operations:
            print(f"  {operation}: {share:.1%} of requests, mean {mean:.4g} s, scv {scv:.3g}", file=text)
        for title, figures in (("replayed", self.replayed), ("modelled", self.modelled)):
            for name, pair in figures.items():
                print(
                    f"response {name:5} recorded {pair.target:.4g} s, {title} {pair.fitted:.4g} s ({pair.error:+.1%})",
                    file=text,
                )
        if self.peakedness is not None:
            print(
                f"peakedness: recorded {self.peakedness.target:.4g}, process {self.peakedness.fitted:.4g}",
                file=text,
            )
        if self.distance is not None:
            print(
                f"device from {self.method}: distance {self.distance:.3f} given the number found outstanding", file=text
            )
        for warning in self.warnings:
            print(f"warning: {warning}", file=text)
        return text.getvalue().rstrip("\n")


def fit_engine(
    trace: Trace,
    *,
    servers: int | None = None,
    service: Law | None = None,
    device: Device | None = None,
    processes: Processes = "auto",
    buffer: int = 256,
    order: int = 64,
    seed: int = 1,
) -> FittedEngine:
    """Fit an engine to a trace: its disks' arrivals, the service law, and how many requests are served at once.

    Parameters
    ----------
    trace : Trace
        With service times, with responses only, or with neither where the device is given.
    servers : int, optional
        Requests served at once, where that is known; otherwise it is found from the trace.
    service : Law, optional
        The service law, where that is known.
    device : Device, optional
        The whole device, as from `Device.from_fio`, in place of both.
    processes : "auto", "poisson", "common" or "own"
        "auto": Poisson for disks where it is tenable, one common Markovian process for all others, each disk with its
        share. Or all Poisson, one process for all, one for each.
    buffer : int
        Of each disk; the trace does not tell.
    order : int
        Most phases of a process.
    seed : int
        For what is drawn; the same seed gives the same fit.

    Takes some fifteen seconds for fifty thousand bursty requests. Raises ValueError when the trace is too short, or
    does not tell the device and it is not given.
    """
    from qtheory.traces.verdict import closed_loop  # numba loads here

    if not isinstance(trace, Trace):
        raise TypeError(f"trace must be a qt.Trace, not {trace!r}")
    choice("processes", processes, ("auto", "poisson", "common", "own"))
    size, rng = count("buffer", buffer), np.random.default_rng(seed)
    if trace.span == 0.0:
        raise ValueError(f"trace must span some time, not be all at one instant: {trace!r}")
    if device is not None and (servers is not None or service is not None):
        raise ValueError("device must stand alone: leave out servers and service")
    given = None if servers is None else count("servers", servers)
    found, fitted, known = None, None, device
    if known is None and given is not None and service is not None:
        known = Device(servers=given, service=service)
    if known is None:
        found = found_device(trace, given, rng)
        law = _recorded(found) if service is None else law_of(service, "service")
        known = Device(servers=found.servers, service=law)
    summary = trace.summary()
    c = known.servers or len(known.curve or ())
    parts = streams(trace, summary, processes, c, float(trace.rates.sum()) / known.capacity, order)
    if found is not None and service is None:
        phases = _affordable(found.servers, math.prod(part.fit.process.order for part in parts if part.fit is not None))
        fitted = fit_phase_type(_recorded(found), phases)
        if fitted.kolmogorov_smirnov < NEAR:
            known = Device(servers=found.servers, service=fitted.law)
    engine = Engine([Disk(source, size) for source in arrivals(trace, parts)], known)
    replayed, modelled = _responses(trace, engine, rng)
    warnings = [
        *trace.warnings,
        *closed_loop(summary.disks),
        *_doubts(trace, engine, parts, processes, replayed, summary.total.max_outstanding),
    ]
    return FittedEngine(
        method=found.method if found is not None else "device as given",
        exact=False,
        error_bounds={
            name: abs(modelled[of].error) if of in modelled else np.inf
            for name, of in (("mean_response", "mean"), ("response_quantile", "p99"))
        },
        warnings=tuple(warnings),
        engine=engine,
        servers=(found.servers, found.least, found.most) if found is not None else (c, c, c),
        service=fitted,
        operations=_operations(trace, found) if found is not None else (),
        replayed=replayed,
        modelled=modelled,
        peakedness=_peakedness(summary, parts, known.service),
        distance=None if found is None else found.distance,
        _trace=trace,
        _streams=parts,
        _device=found if service is None else None,
    )


def _peakedness(summary: TraceSummary, parts: tuple[Stream, ...], law: Law | None) -> Matched | None:
    """Of all arrivals together."""
    if law is None or len(parts) != 1:
        return None
    process = parts[0].fit.process if parts[0].fit is not None else None
    with suppress(ValueError):  # too short a trace, or too coarse a clock
        return Matched(summary.total.peakedness(law), 1.0 if process is None else process.peakedness(law))
    return None


def _simulated(engine: Engine, requests: int, seed: int) -> dict[str, float]:
    from qtheory.simulate import simulate

    run = simulate(engine, requests, seed)
    return {
        "throughput": run.throughput.value,
        "utilization": run.utilization.value,
        "blocking": run.blocking.value,
        "mean_wait": run.mean_wait.value,
        "mean_response": run.mean_response.value,
        "response_quantile": run.response_quantile(0.99).value,
    }


def _recorded(found: FoundDevice) -> Empirical:
    """The recorded service times, `POINTS` quantiles of them with their mean."""
    times = np.quantile(found.services, (np.arange(POINTS) + 0.5) / POINTS)
    return Empirical(times * (found.services.mean() / times.mean()))


def _affordable(servers: int, order: int) -> int:
    """Most phases of service with which a chain of so many phases of arrivals is followed fast; at least 2."""
    phases = 2
    while phases < MOST_PHASES and order * math.comb(servers + phases, phases) <= MOST_STATES:
        phases += 1
    return phases


def _operations(trace: Trace, found: FoundDevice) -> tuple[tuple[str, float, float, float], ...]:
    """Share of the requests, mean and scv of the service times, by operation."""
    rows = []
    for op in np.unique(trace.op):
        times = found.services[trace.op[found.chosen] == op]
        if len(times) and times.mean() > 0.0:
            share, mean = float(np.mean(trace.op == op)), float(times.mean())
            rows.append((OPERATIONS[op], share, mean, float(times.var()) / mean**2))
    return tuple(rows)


def _responses(trace: Trace, engine: Engine, rng: np.random.Generator) -> tuple[dict[str, Matched], dict[str, Matched]]:
    """Responses of the recorded arrivals and of drawn ones, behind the fitted device, against the recorded."""
    device = engine.device
    if trace.response is None or device is None or device.service is None or device.servers is None:
        return {}, {}
    from qtheory.arrivals.first_come import waits  # numba loads here

    law, c, compared = device.service, device.servers, []
    for arrival in (trace.arrival, _drawn(engine, rng)):
        drawn = law.sample(rng, len(arrival))
        compared.append(waits(arrival, drawn, c) + drawn)
    return tuple(  # type: ignore[return-value]  # two of them
        {
            "mean": Matched(float(trace.response.mean()), float(other.mean())),
            **{
                name: Matched(float(np.quantile(trace.response, p)), float(np.quantile(other, p)))
                for name, p in LEVELS.items()
            },
        }
        for other in compared
    )


def _drawn(engine: Engine, rng: np.random.Generator) -> Floats:
    """Arrivals of all disks together."""
    poisson = sum(disk.arrivals.rate for disk in engine.disks if isinstance(disk.arrivals, Poisson))
    total = poisson + sum(stream.process.rate for stream in engine.streams)
    rows = [np.sort(rng.uniform(0.0, SAMPLED / total, rng.poisson(SAMPLED * poisson / total)))]
    for stream in engine.streams:
        times = stream.process.sample(rng, round(SAMPLED * stream.process.rate / total))
        rows.append(times[times < SAMPLED / total])
    return np.sort(np.concatenate(rows))


def _doubts(
    trace: Trace,
    engine: Engine,
    parts: tuple[Stream, ...],
    processes: Processes,
    replayed: Mapping[str, Matched],
    most: int | None,
) -> Iterator[str]:
    """Warnings."""
    for stream in parts:
        names = ", ".join(trace.disks[d] for d in stream.disks)
        for warning in stream.fit.warnings if stream.fit is not None else ():
            yield f"arrivals of {names}: {warning}"
        if len(stream.disks) > 1 and processes == "auto":
            yield (
                f"{names} share one process, each request dealt out by the shares: right for the device that they "
                "share, but bursts of one disk alone fill its buffer more"
            )
    for name, pair in replayed.items():
        if abs(pair.error) > POOR:
            yield (
                f"the device does not give the recorded responses: replayed, their {name} is off by {pair.error:+.0%}. "
                "Service may depend on how many are outstanding, or not be first come, first served"
            )
            break
    if most is not None and most > engine.disks[0].buffer:
        yield f"up to {most} requests were outstanding: more than one buffer of {engine.disks[0].buffer} holds"
    if engine.device is not None and engine.device.service is not None:
        load = engine.offered_load / (engine.device.servers or 1)
        if load >= 1.0:
            yield f"the device is overloaded: utilization {load:.3g}. Only buffers keep it stable"


def _words(of: Sequence[Arrivals], fit: FittedMAP | None) -> str:
    """What the arrivals of a stream are."""
    rates = [source.rate for source in of if isinstance(source, (Poisson, Marked))]
    if fit is None:
        return f"Poisson, {rates[0]:.6g}/s"
    shares = f", shares {', '.join(f'{rate / fit.process.rate:.3f}' for rate in rates)}" if rates else ""
    return (
        f"Markovian, {fit.process.rate:.6g}/s, {fit.process.order} phases{shares}; "
        f"{sum(wait.inside for wait in fit.waits)} of {len(fit.waits)} waits at trial queues inside their 95 % interval"
    )


def _law_words(law: Law, fit: PhaseTypeFit | None) -> str:
    words = f"mean {law.mean:.4g} s, scv {law.scv:.3g}"
    if fit is None:
        return f"{type(law).__name__}, {words} (given)"
    phases = f"{len(fit.law.alpha)} phases: Kolmogorov–Smirnov distance {fit.kolmogorov_smirnov:.3f}"
    return f"{words}; phase-type of {phases}" if law is fit.law else f"as recorded, {words}; phase-type of {phases}"
