"""The command line: the same view as the Python one, a command for each question.

It only reads options, calls the library and prints. Everything a user can get wrong ends in one line on standard error
and exit status 2.
"""

from __future__ import annotations

import errno
import functools
import inspect
import json
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer

import qtheory as qt
from qtheory.arguments import positive
from qtheory.engine import Device, Disk, Engine
from qtheory.result import Result
from qtheory.shares import RULES, follow_length, shortest
from qtheory.sizing import OptimalQueueLength
from qtheory.traces import Trace, TraceStream

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Queueing theory for shared AIO engines: how long a queue should be, and how long a drain takes.",
)

DiskOption = Annotated[
    list[str] | None,
    typer.Option(
        "--disk",
        help="A disk, as KEY=VALUE,...: rate (Poisson, 1/s; with on and off, s, in bursts of these mean lengths), or "
        "outstanding and think (closed, s); buffer, full (lost|wait), count; operations, where the device has a law "
        "for each: operations=read:0.7/write:0.3; service, a law of its own: service=lognormal/mean=400e-6/scv=2. May "
        "be given several times.",
    ),
]
ServersOption = Annotated[int | None, typer.Option("--servers", help="Requests the device serves at the same time.")]
ServiceOption = Annotated[float | None, typer.Option("--service-mean", help="Mean exponential service time [s].")]
LawOption = Annotated[
    list[str] | None,
    typer.Option(
        "--service",
        help="Service law, as NAME,KEY=VALUE,...: lognormal,mean=400e-6,scv=2; also exponential (mean), deterministic "
        "(value), erlang (phases, mean), gamma, hyperexponential, weibull (mean, scv), bounded-pareto (shape, low, "
        "high). Given several times, one for each operation: read=lognormal,... write=...",
    ),
]
FioOption = Annotated[
    list[Path] | None,
    typer.Option("--fio", help="fio JSON result, one or more runs a depth: the device's measured rate curve."),
]
OwnOption = Annotated[bool, typer.Option("--own-devices", help="Each disk has a device of its own.")]
QueueOption = Annotated[int | None, typer.Option("--queue-length", help="Requests submitted at once; none: no limit.")]
HoldOption = Annotated[str, typer.Option("--hold", help="Where the rest is: ring, engine or refuse.")]
SharesOption = Annotated[
    str, typer.Option("--shares", help="fifo, equal, rings, load, linux, weights as 3:1, or caps as 4,4,8.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
FormatOption = Annotated[str | None, typer.Option("--format", help="The trace's format; none: found from its content.")]
SkipOption = Annotated[bool, typer.Option("--skip-bad-rows", help="Leave out rows that cannot be read; say how many.")]
BufferOption = Annotated[int, typer.Option("--buffer", help="Requests each of the trace's disks may have outstanding.")]
SeedOption = Annotated[int, typer.Option("--seed", help="The same seed gives the same run.")]
RequestsOption = Annotated[int | None, typer.Option("--requests", help="Requests to simulate; none: 1 000 000.")]

REFITS = 20
"""Devices refitted to resampled fio runs, behind the intervals of a queue length."""
ENGINE_EXAMPLE = "--disk rate=2000,buffer=256,count=4 --servers 8 --service-mean 400e-6"


@app.command(epilog="Example: qtheory report guest.csv --servers 8 --service-mean 400e-6 --output report.html")
def report(
    trace: Annotated[Path | None, typer.Argument(help="Recorded requests; none: the bundled recording.")] = None,
    output: Annotated[Path, typer.Option(help="The HTML file to write.")] = Path("report.html"),
    servers: ServersOption = None,
    service_mean: ServiceOption = None,
    service: LawOption = None,
    fio: FioOption = None,
    buffer: BufferOption = 256,
    requests: Annotated[int, typer.Option(help="Requests to simulate for each point.")] = 300_000,
    seed: SeedOption = 1,
    format: FormatOption = None,
    skip_bad_rows: SkipOption = False,
    as_json: JsonOption = False,
) -> None:
    """Report on a recorded workload: theory, simulation and replay as disks and slots are added.

    Without a device given: 4 servers, and a service mean taken from the trace; the report states it.
    """
    from qtheory.report import page
    from qtheory.report.study import burstiness, device_of, study

    recorded = _trace(trace, format, skip_bad_rows)
    if servers is None and service_mean is None and not service and not fio:
        device, words = device_of(recorded)
    else:
        device = _device(servers, service_mean, service, fio)
        words = f"{device.servers} servers, exponential service" if fio is None else "rate curve measured by fio"
        words = words if service_mean is None else f"{words} of {service_mean * 1e3:.4g} ms"
        words = f"{device.servers} servers, service {'; '.join(service)}" if service else words
    found = study(recorded, device, words, buffer=buffer, requests=requests, seed=seed)
    output.write_text(page.html(found), encoding="utf-8")
    if as_json:
        _print_json(
            {
                "trace": found.summary.to_dict(),
                "device": words,
                "fit": list(burstiness(found)),
                "by_disks": [point.to_dict() for point in found.by_disks],
                "by_queue_length": [point.to_dict() for point in found.by_queue_ring],
                "report": str(output),
            }
        )
        return
    print(recorded)
    print(f"Device: {words}.")
    print(page.text_table(page.WORKLOAD_HEADER, page.workload_rows(found)))
    print(page.text_table(page.DISKS_HEADER, page.disks_rows(found)))
    for sentence in (
        *burstiness(found),
        page.disks_sentence(found),
        page.queue_sentence(found),
        page.drain_sentence(found),
    ):
        print(sentence)
    print(f"Wrote {output}.")


@app.command(epilog=f"Example: qtheory solve {ENGINE_EXAMPLE} --queue-length 64 --hold ring")
def solve(
    disk: DiskOption = None,
    servers: ServersOption = None,
    service_mean: ServiceOption = None,
    service: LawOption = None,
    fio: FioOption = None,
    own_devices: OwnOption = False,
    queue_length: QueueOption = None,
    hold: HoldOption = "engine",
    shares: SharesOption = "fifo",
    method: Annotated[str, typer.Option(help="auto, or a method's name.")] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Steady state of an engine."""
    engine = _engine(disk, _device(servers, service_mean, service, fio), own_devices, queue_length, hold, shares)
    state = qt.solve(engine, method)
    quantiles = {}
    try:
        for p in (0.5, 0.99):
            quantiles[f"wait {p:.0%}"] = state.wait_quantile(p)
            quantiles[f"response {p:.0%}"] = state.response_quantile(p)
    except ValueError as error:
        quantiles = {"quantiles": str(error)}  # type: ignore[dict-item]
    _print_result(state, as_json, quantiles)
    if not as_json:
        for reason in state.passed_over:
            print(f"not {reason}")


@app.command(epilog=f"Example: qtheory size {ENGINE_EXAMPLE} --max-loss 0.01 --drain-budget 0.01 --picture size.png")
def size(
    disk: DiskOption = None,
    servers: ServersOption = None,
    service_mean: ServiceOption = None,
    service: LawOption = None,
    fio: FioOption = None,
    own_devices: OwnOption = False,
    hold: HoldOption = "ring",
    shares: SharesOption = "fifo",
    max_loss: Annotated[float | None, typer.Option(help="Most throughput that may be lost to Q, a fraction.")] = None,
    max_delay: Annotated[float | None, typer.Option(help="Largest probability of waiting.")] = None,
    max_wait: Annotated[str | None, typer.Option(help="PROBABILITY,SECONDS: a quantile of the wait, at most.")] = None,
    drain_budget: Annotated[float | None, typer.Option(help="What a drain may take [s].")] = None,
    drain_probability: Annotated[float, typer.Option(help="With which probability; which quantile to show.")] = 0.99,
    counts: Annotated[str, typer.Option(help="Numbers of disks of the picture.")] = "1,2,4,8,16,32,64",
    picture: Annotated[Path | None, typer.Option(help="Draw Q against the number of disks (png, pdf, svg).")] = None,
    first: Annotated[int, typer.Option("--from", help="Shortest queue length of the table.")] = 1,
    last: Annotated[int, typer.Option("--to", help="Longest queue length of the table.")] = 64,
    as_json: JsonOption = False,
) -> None:
    """The optimal queue length, and with --picture its curve; without limits, a table over queue lengths."""
    from qtheory.report.page import text_table

    if first < 1 or last < first:
        raise ValueError(f"--from must be at least 1 and --to no less than it, not {first} and {last}")
    limits: dict[str, Any] = {
        "max_throughput_loss": max_loss,
        "max_delay_probability": max_delay,
        "max_wait_quantile": None if max_wait is None else _pair("--max-wait", max_wait),
        "drain_budget": drain_budget,
    }
    asked = any(limit is not None for limit in limits.values())
    if picture is not None and not asked:
        raise ValueError("--picture needs a limit, such as --max-loss 0.01")
    _check_picture(picture)
    if asked:
        limits["drain_probability"] = drain_probability
        disk_counts = _numbers("--counts", counts)

        def engine_on(device: Device) -> Engine:
            own = _engine(disk, device, own_devices, None, hold, "fifo")
            divided = _shares(shares)
            least = shortest(divided, len(own.disks)) if follow_length(divided) else None
            return Engine(own.disks, own.device, least, own.hold, divided)

        @cache
        def optimum(device: Device) -> OptimalQueueLength:
            return qt.optimal_queue_length(engine_on(device), **limits)

        device = _device(servers, service_mean, service, fio)
        intervals = {}
        if fio and (measured := qt.fit_fio(fio)).spread is not None:
            intervals["lower 95%"] = measured.uncertainty(lambda refit: optimum(refit).lower, REFITS)[1:]
            intervals["upper 95%"] = measured.uncertainty(lambda refit: optimum(refit).upper, REFITS)[1:]
        _print_optimum(optimum(device), as_json, intervals)
        engine = engine_on(device)
        if picture is not None:
            curve = qt.sizing_curve(engine, disk_counts, **limits)
            curve.plot().savefig(picture)
        return
    engine = _engine(disk, _device(servers, service_mean, service, fio), own_devices, None, hold, "fifo")
    lengths = sorted({round(first * (last / first) ** (i / 24)) for i in range(25)})
    if shares != "fifo":
        divided = _shares(shares)
        least = shortest(divided, len(engine.disks))
        if last < least:
            raise ValueError(f"--to must be at least {least}, a slot for each disk, not {last}")
        lengths = [q for q in lengths if q >= least]
        engine = Engine(engine.disks, engine.device, last, engine.hold, divided)
    points = qt.queue_length_sweep(engine, lengths, drain_probability=drain_probability)
    if as_json:
        _print_json([point.to_dict() for point in points])
        return
    header = (
        "Q", "throughput [1/s]", "lost to Q", "blocking", "mean wait [ms]", "mean response [ms]", "drain mean [ms]",
        f"drain {drain_probability:.4g} [ms]",
    )  # fmt: skip
    rows = [
        [
            str(point.queue_length),
            f"{point.throughput:.6g}",
            f"{max(point.throughput_loss, 0.0):.2%}",
            f"{point.blocking:.3g}",
            f"{point.mean_wait * 1e3:.4g}",
            f"{point.mean_response * 1e3:.4g}",
            "-" if point.drain_mean is None else f"{point.drain_mean * 1e3:.4g}",
            "-" if point.drain_quantile is None else f"{point.drain_quantile * 1e3:.4g}",
        ]
        for point in points
    ]
    print(text_table(header, rows))
    for warning in dict.fromkeys(w for point in points for w in point.warnings):
        print(f"warning: {warning}")
    methods = ", ".join(dict.fromkeys(point.method for point in points))
    print(f"method {methods}, exact: {all(point.exact for point in points)}")


@app.command(epilog=f"Example: qtheory drain {ENGINE_EXAMPLE} --depth-limit 1")
def drain(
    disk: DiskOption = None,
    servers: ServersOption = None,
    service_mean: ServiceOption = None,
    service: LawOption = None,
    fio: FioOption = None,
    own_devices: OwnOption = False,
    queue_length: QueueOption = None,
    hold: HoldOption = "engine",
    shares: SharesOption = "fifo",
    depth_limit: Annotated[int | None, typer.Option(help="At most so many requests taken from the rings.")] = None,
    per_disk: Annotated[bool, typer.Option("--per-disk", help="The depth limit holds for each disk.")] = False,
    schedule: Annotated[
        str | None, typer.Option(help="Depth limits before the stop, T:Q,...: -0.5:32,-0.1:0; Q none lifts it.")
    ] = None,
    in_time: Annotated[
        float | None, typer.Option("--finish-in-time", help="Take only what will be done so long after the stop [s].")
    ] = None,
    rate_limit: Annotated[float | None, typer.Option(help="QEMU's iops limit, for each disk [1/s].")] = None,
    population: Annotated[int | None, typer.Option(help="Requests present at the stop; none: stationary.")] = None,
    flush: Annotated[
        str | None, typer.Option(help="Law of a disk's flush, one after another after the drain: as for --service.")
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(help="Draw the drain under each policy, and throughput and latency against it (png, pdf, svg)."),
    ] = None,
    drain_budget: Annotated[float | None, typer.Option(help="What a drain may take, for the picture [s].")] = None,
    drain_probability: Annotated[float, typer.Option(help="With which probability, for the picture.")] = 0.99,
    as_json: JsonOption = False,
) -> None:
    """How long a stop waits for pending I/O; with --picture, what each way of reducing it before the stop gives."""
    engine = _engine(disk, _device(servers, service_mean, service, fio), own_devices, queue_length, hold, shares)
    if per_disk and depth_limit is None:
        raise ValueError("--per-disk needs --depth-limit")
    if sum(given is not None for given in (depth_limit, schedule, in_time, rate_limit)) > 1:
        raise ValueError("--depth-limit, --schedule, --finish-in-time and --rate-limit exclude each other")
    if picture is not None and population is not None:
        raise ValueError("--picture is of stationary stops: leave out --population")
    _check_picture(picture)
    throttle: qt.DepthLimit | qt.DepthSchedule | qt.RateLimit | None = None
    if depth_limit is not None:
        throttle = qt.DepthLimit(depth_limit, per="disk" if per_disk else "engine")
    elif schedule is not None:
        throttle = _schedule(schedule)
    elif in_time is not None:
        throttle = qt.finish_in_time(engine, in_time)
    elif rate_limit is not None:
        throttle = qt.RateLimit(rate_limit)
    law = None if flush is None else _law(flush, "--flush")
    found = qt.drain_time(engine, throttle, population=population, flush=law)
    if picture is not None:
        asked = {} if throttle is None else {"as asked": throttle}
        qt.drain_frontier(
            engine, drain_budget=drain_budget, drain_probability=drain_probability, throttles=asked, flush=law
        ).plot().savefig(picture)
    quantiles = {f"quantile {p:g}": found.quantile(p) for p in (0.5, 0.9, 0.99, 0.999)}
    _print_result(found, as_json, quantiles)


@app.command(epilog="Example: qtheory bounds blockstats.json --rate 2000 --maximum 30")
def bounds(
    latencies: Annotated[Path, typer.Argument(help="Latency histograms: QEMU's query-blockstats, or fio's JSON.")],
    rate: Annotated[float | None, typer.Option(help="Requests taken per second, all together.")] = None,
    outstanding: Annotated[int | None, typer.Option(help="Instead: requests outstanding at any time.")] = None,
    most: Annotated[int | None, typer.Option(help="Most outstanding at once; none: no lower bounds.")] = None,
    maximum: Annotated[float | None, typer.Option(help="Longest latency that there can be, a timeout [s].")] = None,
    confidence: Annotated[float, typer.Option(help="That the bounds hold, given the counts.")] = 0.95,
    drain_probability: Annotated[float, typer.Option(help="Of the quantile.")] = 0.99,
    format: FormatOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bound a drain by measured latencies alone, without a model."""
    measured = qt.read_measurement(latencies, format)
    laws = [law for law in measured.histograms if law.quantity == "response"] or list(measured.histograms)
    together = functools.reduce(qt.LatencyHistogram.merge, laws)
    if together.misplaced:
        raise ValueError(f"{latencies} has rounded counts, which no bound can be made of")
    found = qt.histogram_bounds(
        together.edges,
        together.counts,
        rate=rate,
        outstanding=outstanding,
        most=most,
        maximum=maximum,
        confidence=confidence,
        drain_probability=drain_probability,
    )
    sides = {
        f"{name} at {side}": pair[i]
        for name, pair in (("mean", found.mean), (f"quantile {drain_probability:g}", found.quantile))
        for i, side in enumerate(("least", "most"))
    }
    _print_result(found, as_json, {} if as_json else sides)


@app.command(epilog=f"Example: qtheory plan {ENGINE_EXAMPLE} --ram 8e9 --dirty-rate 4e8 --bandwidth 1.2e9 --budget 0.3")
def plan(
    ram: Annotated[float | None, typer.Option(help="RAM to copy [bytes].")] = None,
    dirty_rate: Annotated[float | None, typer.Option(help="What the guest dirties [bytes/s].")] = None,
    bandwidth: Annotated[float | None, typer.Option(help="What the link carries [bytes/s].")] = None,
    budget: Annotated[float | None, typer.Option(help="Longest pause of the guest [s].")] = None,
    disk: DiskOption = None,
    servers: ServersOption = None,
    service_mean: ServiceOption = None,
    service: LawOption = None,
    fio: FioOption = None,
    own_devices: OwnOption = False,
    queue_length: QueueOption = None,
    hold: HoldOption = "engine",
    shares: SharesOption = "fifo",
    downtime_limit: Annotated[float | None, typer.Option(help="QEMU's downtime-limit [s]; none: planned.")] = None,
    working_set: Annotated[float | None, typer.Option(help="Most that can be dirty [bytes]; none: all RAM.")] = None,
    drain_probability: Annotated[float, typer.Option(help="How often the drain must keep within its part.")] = 0.99,
    hardware_queues: Annotated[int, typer.Option(help="Queues of each disk in the guest.")] = 1,
    vcpu_stop: Annotated[float | None, typer.Option(help="Part of the downtime: the vCPUs stop [s].")] = None,
    flush: Annotated[
        str | None, typer.Option(help="A disk's flush, one after another: seconds, or a law as for --service.")
    ] = None,
    device_state: Annotated[float | None, typer.Option(help="Device state is sent [s].")] = None,
    destination: Annotated[float | None, typer.Option(help="The destination loads [s].")] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the switchover's timeline (png, pdf, svg).")] = None,
    as_json: JsonOption = False,
) -> None:
    """Plan a switchover: when it comes, how the downtime is spent, how deep I/O may be, and what to run."""
    if ram is None or dirty_rate is None or bandwidth is None or budget is None:
        raise ValueError("--ram, --dirty-rate, --bandwidth and --budget are all needed")
    _check_picture(picture)
    engine = _engine(disk, _device(servers, service_mean, service, fio), own_devices, queue_length, hold, shares)
    found = qt.plan_switchover(
        engine,
        precopy=qt.Precopy(ram, dirty_rate, bandwidth, downtime_limit, working_set),
        downtime_budget=budget,
        drain_probability=drain_probability,
        hardware_queues=hardware_queues,
        vcpu_stop=vcpu_stop,
        flush=None if flush is None else _seconds_or_law(flush, "--flush"),
        device_state=device_state,
        destination=destination,
    )
    if picture is not None:
        found.plot().savefig(picture)
    parts = {f"part {name}": seconds for name, seconds in vars(found.parts).items()}
    depth = "none" if found.depth_limit is None else f"{found.depth_limit.limit} per {found.depth_limit.per}"
    latencies = {
        f"{when} latency {name}": value
        for when, latency in (("usual", found.latency), ("limited", found.limited_latency))
        if latency is not None
        for name, value in vars(latency).items()
    }
    _print_result(found, as_json, {} if as_json else {"depth limit": depth, **parts, **latencies})
    if not as_json:
        print("\nWhat to do on an unmodified QEMU:")
        for number, line in enumerate(found.commands, 1):
            print(f"{number}. {line}")


@app.command(epilog=f"Example: qtheory simulate {ENGINE_EXAMPLE} --requests 1000000 --seed 1")
def simulate(
    disk: DiskOption = None,
    servers: ServersOption = None,
    service_mean: ServiceOption = None,
    service: LawOption = None,
    fio: FioOption = None,
    own_devices: OwnOption = False,
    queue_length: QueueOption = None,
    hold: HoldOption = "engine",
    shares: SharesOption = "fifo",
    trace: Annotated[Path | None, typer.Option(help="Replay these recorded arrivals instead of drawing them.")] = None,
    speedup: Annotated[float, typer.Option(help="Divides the trace's arrival times.")] = 1.0,
    buffer: BufferOption = 256,
    requests: RequestsOption = None,
    seed: SeedOption = 1,
    format: FormatOption = None,
    skip_bad_rows: SkipOption = False,
    as_json: JsonOption = False,
) -> None:
    """Simulate an engine, or replay a trace through it."""
    from qtheory.report.study import engine_of

    device = _device(servers, service_mean, service, fio)
    progress = sys.stderr.isatty()
    recorded = None
    if trace is not None:
        recorded = qt.scan_trace(trace, format, skip_bad_rows=skip_bad_rows, progress=progress)
    if recorded is not None and not disk:
        base = engine_of(recorded, device, buffer)
        engine = Engine(base.disks, device, queue_length, hold, _shares(shares))  # type: ignore[arg-type]  # checked there
    else:
        engine = _engine(disk, device, own_devices, queue_length, hold, shares)
    run = qt.simulate(engine, requests, seed, trace=recorded, speedup=speedup, progress=progress)
    more: dict[str, Any] = {f"response {p:.0%}": run.response_quantile(p) for p in (0.5, 0.99)}
    more["drain mean"] = run.drain.mean
    more["drain 99%"] = run.drain.quantile(0.99)
    _print_result(run, as_json, more)


@app.command(epilog="Example: qtheory trace guest.csv --service-mean 400e-6 --picture guest.png")
def trace(
    traces: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Recorded requests, several on one clock; none: the bundled recording. Or latencies "
            "measured by fio (JSON) or QEMU (query-blockstats)."
        ),
    ] = None,
    format: FormatOption = None,
    skip_bad_rows: SkipOption = False,
    disk: Annotated[list[str] | None, typer.Option(help="Take this disk only. May be given several times.")] = None,
    operation: Annotated[list[str] | None, typer.Option(help="Take this operation only, likewise.")] = None,
    start: Annotated[float | None, typer.Option("--from", help="Take arrivals from here on [s].")] = None,
    stop: Annotated[float | None, typer.Option("--to", help="Take arrivals before this [s].")] = None,
    scale: Annotated[float, typer.Option(help="Multiply all arrival times: 0.5 doubles the rate.")] = 1.0,
    clone: Annotated[int, typer.Option(help="So many copies of each disk, each shifted by a random time.")] = 1,
    seed: SeedOption = 1,
    whole: Annotated[bool, typer.Option("--whole", help="Read all into memory: for records far out of order.")] = False,
    service_mean: Annotated[
        float | None, typer.Option(help="Mean exponential service time for the peakedness [s]; none: as recorded.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Also draw it here (png, pdf, svg).")] = None,
    write: Annotated[Path | None, typer.Option(help="Also write it here (csv, csv.gz, parquet).")] = None,
    as_json: JsonOption = False,
) -> None:
    """What recorded requests look like: rates, burstiness, sizes, responses, and whether Poisson arrivals are tenable.

    A file is read in passing, however large; several files, --scale, --clone and --whole read it into memory.
    """
    from qtheory.traces.cloning import cloned
    from qtheory.traces.measurement import is_measurement
    from qtheory.traces.picture import figure

    if traces and is_measurement(traces[0], format):
        if (
            len(traces) > 1
            or skip_bad_rows
            or disk
            or operation
            or whole
            or write
            or picture
            or (scale, clone) != (1, 1)
        ):
            raise ValueError(
                f"{traces[0]} holds measured latencies, not requests: only --format and --json apply to it"
            )
        measured = qt.read_measurement(traces[0], format)
        if as_json:
            _print_json(measured.to_dict())
        else:
            print(measured)
        return
    service = None if service_mean is None else qt.Exponential(mean=service_mean)
    selected: Any = {"disks": disk, "operations": operation, "start": start, "stop": stop}
    recorded: Trace | TraceStream
    if traces and len(traces) == 1 and scale == 1.0 and clone == 1 and not whole:
        progress = sys.stderr.isatty()
        recorded = qt.scan_trace(traces[0], format, **selected, skip_bad_rows=skip_bad_rows, progress=progress)
    else:
        paths: list[Path | None] = [*traces] if traces else [None]
        first, *others = (_trace(path, format, skip_bad_rows) for path in paths)
        recorded = first.merged(*others) if others else first
        if any(part is not None for part in selected.values()):
            recorded = recorded.select(**selected)
        recorded = recorded.scaled(scale) if scale != 1.0 else recorded
        recorded = cloned(recorded, clone, seed) if clone != 1 else recorded
    summary = recorded.summary(service)
    if write is not None:
        recorded.write(write)
    if picture is not None:
        figure(summary).savefig(picture)
    if as_json:
        _print_json(summary.to_dict())
    else:
        print(summary)


@app.command(epilog="Example: qtheory fit guest.csv --servers 8")
def fit(
    trace: Annotated[Path | None, typer.Argument(help="Recorded requests; none: the bundled recording.")] = None,
    servers: Annotated[int | None, typer.Option(help="Requests served at the same time; none: found.")] = None,
    service_mean: ServiceOption = None,
    service: LawOption = None,
    fio: FioOption = None,
    processes: Annotated[str, typer.Option(help="auto, poisson, common (one for all disks) or own.")] = "auto",
    buffer: BufferOption = 256,
    order: Annotated[int, typer.Option(help="Most phases of a Markovian arrival process.")] = 64,
    resamples: Annotated[int, typer.Option(help="Refitted engines behind the intervals.")] = 20,
    seed: SeedOption = 1,
    format: FormatOption = None,
    skip_bad_rows: SkipOption = False,
    as_json: JsonOption = False,
) -> None:
    """Fit an engine to recorded requests: arrivals, service law and servers, and what they make of waits.

    The answers are simulated; their 95 % intervals are over engines refitted to resampled blocks of the trace.
    """
    if service_mean is not None and service is not None:
        raise ValueError("--service-mean and --service both give the law: leave one out")
    law = _service(service) if service else None if service_mean is None else qt.Exponential(mean=service_mean)
    if isinstance(law, dict):
        raise ValueError("--service must be one law for all operations, as the servers are fitted to all requests")
    device = _device(servers, service_mean, service, fio) if fio else None
    recorded = _trace(trace, format, skip_bad_rows)
    found = qt.fit_engine(
        recorded,
        servers=servers,
        service=law,
        device=device,
        processes=processes,  # type: ignore[arg-type]  # checked there
        buffer=buffer,
        order=order,
        seed=seed,
    )
    answers = found.answers(resamples, seed)
    if as_json:
        _print_json({**found.to_dict(), "answers": {name: answer._asdict() for name, answer in answers.items()}})
        return
    print(found)
    print("\nAnswers, with 95 % intervals over resampled blocks of the trace:")
    for name, answer in answers.items():
        print(f"{name:18} {answer}")
    source = "qt.bundled_trace()" if trace is None else f"qt.read_trace({str(trace)!r})"
    given = {
        "servers": servers if device is None else None,
        "service": law,
        "device": device,
        "processes": processes if processes != "auto" else None,
        "buffer": buffer if buffer != 256 else None,
        "order": order if order != 64 else None,
    }
    options = "".join(f", {name}={_code(value)}" for name, value in given.items() if value is not None)
    print(f"\nThe same in Python:\n    fit = qt.fit_engine({source}{options})")
    print("    fit.engine, fit.answers(), fit.uncertainty(lambda engine: qt.simulate(engine).mean_wait.value)")


def _code(value: object) -> str:
    return f"qt.{value!r}" if isinstance(value, (qt.Law, Device)) else repr(value)


def main() -> None:
    """Run the command line; what a user got wrong is one line and exit status 2."""
    try:
        app()
    except (ValueError, TypeError) as error:
        print(f"qtheory: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(f"qtheory: {error.filename}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("qtheory: interrupted", file=sys.stderr)
        sys.exit(130)


def _trace(path: Path | None, format: str | None, skip_bad_rows: bool) -> Trace:
    return qt.bundled_trace() if path is None else qt.read_trace(path, format, skip_bad_rows=skip_bad_rows)


def _device(
    servers: int | None, service_mean: float | None, service: list[str] | None, fio: list[Path] | None
) -> Device:
    if fio:
        if servers is not None or service_mean is not None or service:
            raise ValueError("--fio gives the whole device: leave out --servers, --service-mean and --service")
        measured = qt.fit_fio(fio)
        for warning in measured.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        return measured.device
    if servers is None or (service_mean is None) == (not service):
        raise ValueError("the device is needed: --servers and one of --service-mean and --service, or --fio")
    return Device(servers=servers, service=_service(service) if service else qt.Exponential(mean=service_mean or 0.0))


def _service(texts: list[str]) -> qt.Law | dict[str, qt.Law]:
    """The law of all requests, or of each operation: 'read=lognormal,mean=400e-6,scv=2', 'write=...'."""
    given = [text.split(",")[0].rpartition("=")[0] for text in texts]
    if given == [""]:
        return _law(texts[0])
    if "" in given or len(set(given)) < len(given):
        raise ValueError(f"--service must be given once, or once for each operation as NAME=LAW, not {' '.join(texts)}")
    return {name: _law(text.removeprefix(f"{name}=")) for name, text in zip(given, texts, strict=True)}


LAWS: dict[str, Callable[..., qt.Law]] = {
    "exponential": qt.Exponential,
    "deterministic": qt.Deterministic,
    "erlang": qt.Erlang,
    "gamma": qt.Gamma,
    "hyperexponential": qt.Hyperexponential.balanced,
    "lognormal": qt.Lognormal,
    "weibull": qt.Weibull,
    "bounded-pareto": qt.BoundedPareto,
}


def _law(text: str, option: str = "--service") -> qt.Law:
    """Law from 'lognormal,mean=400e-6,scv=2'."""
    name, *parts = text.split(",")
    if name not in LAWS:
        raise ValueError(f"{option} must name one of {', '.join(LAWS)}, not {name!r}")
    given = {}
    for part in parts:
        key, _, value = part.partition("=")
        try:
            given[key] = float(value)
        except ValueError:
            raise ValueError(f"{option} must be NAME,KEY=VALUE,... with numbers, not {text!r}") from None
    try:
        return LAWS[name](**given)
    except TypeError:
        known = ", ".join(inspect.signature(LAWS[name]).parameters)
        raise ValueError(f"{option} {name} takes {known}, not {text!r}") from None


def _check_picture(path: Path | None) -> None:
    """Refuse a picture that could not be written, before the work for it."""
    if path is None:
        return
    from matplotlib.backend_bases import FigureCanvasBase

    if path.suffix.removeprefix(".").lower() not in FigureCanvasBase.get_supported_filetypes():
        raise ValueError(f"--picture must end in .png, .pdf, .svg or the like, not {str(path)!r}")
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))


def _seconds_or_law(text: str, option: str) -> float | qt.Law:
    """0.002, or 'lognormal,mean=2e-3,scv=2'."""
    try:
        return float(text)
    except ValueError:
        return _law(text, option)


def _engine(
    disks: list[str] | None, device: Device, own_devices: bool, queue_length: int | None, hold: str, shares: str
) -> Engine:
    if not disks:
        raise ValueError("at least one disk is needed, such as --disk rate=2000,buffer=256,count=4")
    members = [d for text in disks for d in _disks(text, device if own_devices else None)]
    shared = None if own_devices else device
    return Engine(members, shared, queue_length, hold, _shares(shares))  # type: ignore[arg-type]  # checked there


DISK_KEYS = ("rate", "on", "off", "outstanding", "think", "buffer", "full", "count", "operations", "service")


def _disks(text: str, device: Device | None) -> list[Disk]:
    """Disks from 'rate=2000,buffer=256,count=4', 'rate=2000,on=0.1,off=0.9' or 'outstanding=32,think=0.001'."""
    given = {}
    for part in text.split(","):
        key, equals, value = part.strip().partition("=")
        if not equals or key not in DISK_KEYS or key in given:
            raise ValueError(f"--disk must be KEY=VALUE,... of {', '.join(DISK_KEYS)}, not {text!r}")
        given[key] = value

    def number(key: str, default: float | None = None) -> float:
        try:
            return float(given[key]) if key in given or default is None else default
        except ValueError:
            raise ValueError(f"--disk {key} must be a number, not {given[key]!r} in {text!r}") from None

    if ("rate" in given) == ("outstanding" in given):
        raise ValueError(f"--disk must have either rate or outstanding, not {text!r}")
    if "rate" in given and "think" in given:
        raise ValueError(f"--disk think goes with outstanding, not with rate: {text!r}")
    if ("on" in given) != ("off" in given) or ("on" in given and "outstanding" in given):
        raise ValueError(f"--disk on and off go together, and with rate: {text!r}")
    arrivals: qt.Poisson | qt.MAP | qt.Closed
    if "on" in given:
        on, off = (positive(f"--disk {key}", number(key)) for key in ("on", "off"))
        arrivals = qt.IPP(rate=number("rate") * (on + off) / on, on=on, off=off)
    elif "rate" in given:
        arrivals = qt.Poisson(number("rate"))
    else:
        arrivals = qt.Closed(number("outstanding"), number("think", 0.0))  # type: ignore[arg-type]  # checked there
    operations = _operations(given["operations"]) if "operations" in given else None
    law = _law(given["service"].replace("/", ",")) if "service" in given else None
    one = Disk(arrivals, number("buffer", 256), given.get("full", "lost"), device, law, operations)  # type: ignore[arg-type]  # checked there
    copies = number("count", 1.0)
    if not (copies.is_integer() and copies >= 1):
        raise ValueError(f"--disk count must be a whole number >= 1, not {given['count']!r} in {text!r}")
    return [one] * int(copies)


def _operations(text: str) -> dict[str, float]:
    """Shares of operations from 'read:0.7/write:0.3'."""
    pairs = [part.partition(":")[::2] for part in text.split("/")]
    try:
        return {name: float(share) for name, share in pairs}
    except ValueError:
        raise ValueError(f"--disk operations must be NAME:SHARE/... such as read:0.7/write:0.3, not {text!r}") from None


def _shares(text: str) -> Any:
    """The name of a rule, weights separated by colons, or caps by commas; the engine checks them."""
    if text in RULES:
        return text
    try:
        return (
            qt.Weights([float(part) for part in text.split(":")])
            if ":" in text
            else [int(part) for part in text.split(",")]
        )
    except ValueError:
        raise ValueError(
            f"--shares must be one of {', '.join(RULES)}, weights such as 3:1 or caps such as 4,4,8, not {text!r}"
        ) from None


def _numbers(option: str, text: str) -> list[float]:
    """Numbers from '1,2,4'."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"{option} must be numbers separated by commas, not {text!r}") from None


def _pair(option: str, text: str) -> tuple[float, float]:
    """Two numbers from '0.99,0.001'."""
    numbers = _numbers(option, text)
    if len(numbers) != 2:
        raise ValueError(f"{option} must be PROBABILITY,SECONDS, not {text!r}")
    return numbers[0], numbers[1]


def _print_optimum(found: OptimalQueueLength, as_json: bool, intervals: dict[str, tuple[float, float]]) -> None:
    more: dict[str, Any] = dict(intervals) if as_json else {name: _span(*ends) for name, ends in intervals.items()}
    if found.steady is not None:
        more |= {"throughput": found.steady.throughput, "mean_wait": found.steady.mean_wait}
    if found.drain is not None:
        more["drain 99%"] = found.drain.quantile(0.99)
    _print_result(found, as_json, more)


def _span(low: float, high: float) -> str:
    return f"{low:.4g} to {high:.4g}"


def _schedule(text: str) -> qt.DepthSchedule:
    """Schedule from '-0.5:32,-0.1:4'."""
    try:
        pairs = [part.split(":") for part in text.split(",")]
        steps = [(float(t), None if q == "none" else int(q)) for t, q in pairs]
    except ValueError:
        raise ValueError(f"--schedule must be T:Q,... such as -0.5:32,-0.1:4, not {text!r}") from None
    return qt.DepthSchedule(steps)


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2))


def _print_result(result: Result, as_json: bool, more: dict[str, Any]) -> None:
    """Print a result's scalars, one a line, and what was asked for beside them."""
    shown = result.to_dict()
    if as_json:
        extra = {key: x.value if isinstance(x, qt.Estimate) else x for key, x in more.items()}
        _print_json({**shown, **extra})
        return
    for name in vars(result):
        value = getattr(result, name)
        if isinstance(value, (bool, int, float, str, qt.Estimate)):
            print(f"{name:16} {_shown(value)}")
    for name, value in more.items():
        print(f"{name:16} {_shown(value)}")
    print(f"{'error_bound':16} {result.error_bound:.2g}")
    for warning in result.warnings:
        print(f"warning: {warning}")


def _shown(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
