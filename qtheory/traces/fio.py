"""Throughput against requests in flight, from fio's JSON results (`--output-format=json`): one run for each depth.

Requests in flight are iodepth × jobs. fio writes one entry of `jobs` for every job, and the entries' depths add up;
with `group_reporting` it writes one for each group, which then stands for `numjobs` jobs. So does an entry that is
the only one of its name: jobs written apart share theirs. A job's options go before the global ones; iodepth and
numjobs are 1 by default. An engine that waits for each request (sync, psync, mmap, ...) has one in flight whatever
its iodepth, as fio itself warns. Warnings before the JSON are passed over.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, NamedTuple

from qtheory.traces.file import TraceFile
from qtheory.traces.fio_json import jobs

SYNCHRONOUS = ("sync", "psync", "vsync", "pvsync", "pvsync2", "mmap")


class Run(NamedTuple):
    """One run: what it kept in flight and what came of it, over all jobs, reads and writes together."""

    depth: int
    throughput: float
    """Completions [1/s]."""
    latency: float | None
    """Mean from creation to completion [s]; None where the result does not have it."""
    standard_error: float | None
    """Of the throughput [1/s], from what fio sampled of it every so often, taken as independent; None likewise."""


def depth_sweep(paths: Sequence[str | PathLike[str]]) -> tuple[list[int], list[float]]:
    """Depths, rising, and the throughput [1/s] measured at each: read and write completions of all jobs.

    Raises ValueError naming the file when it is not fio JSON, has no jobs or no I/O, when a job failed or its options
    are missing, and when two runs have the same depth.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> run = '{"jobs": [{"job options": {"iodepth": "8"}, "read": {"iops": 700.0}, "write": {"iops": 300.0}}]}'
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "run.json")
    ...     _ = path.write_text(run)
    ...     depth_sweep([path])
    ([8], [1000.0])
    """
    found: dict[int, tuple[float, str]] = {}
    for path, run in zip(paths, runs(paths), strict=True):
        if run.depth in found:
            raise TraceFile(path).error(f"depth {run.depth} is measured twice, also in {found[run.depth][1]}")
        found[run.depth] = run.throughput, str(path)
    depths = sorted(found)
    return depths, [found[depth][0] for depth in depths]


def runs(paths: Sequence[str | PathLike[str]]) -> list[Run]:
    """The runs, in the order of the files; depths may repeat. Raises ValueError as `depth_sweep` otherwise."""
    if len(paths) == 0:
        raise ValueError("paths must have at least one fio result")
    return [_run(TraceFile(path)) for path in paths]


def _run(file: TraceFile) -> Run:
    result, entries = jobs(file)
    depth = 0
    parts: list[Run] = []
    for i, job in enumerate(entries):
        try:
            own = job.get("job options", {})
            options = {**result.get("global options", {}), **own}
            if not options:
                raise ValueError("it has no options, so its depth is unknown")
            if job.get("error", 0) != 0:
                raise ValueError(f"it failed with error {job['error']}")
            alone = [other.get("jobname") for other in entries].count(job.get("jobname")) == 1
            depth += _depth(options, alone)
            parts += [part for d in ("read", "write") if (part := _direction(job, d)).throughput > 0.0]
        except (ValueError, TypeError, AttributeError) as wrong:
            raise file.error(f"jobs[{i}]: {wrong}") from None
    if not parts:
        raise file.error("no I/O: no job has read or written")
    throughput = math.fsum(part.throughput for part in parts)
    times = [part.latency for part in parts if part.latency is not None]
    errors = [part.standard_error for part in parts if part.standard_error is not None]
    latency = error = None
    if len(times) == len(parts):
        latency = sum(part.throughput * time for part, time in zip(parts, times, strict=True)) / throughput
    if len(errors) == len(parts):
        error = math.hypot(*errors)
    return Run(depth, throughput, latency, error)


def _depth(options: Mapping[str, Any], alone: bool) -> int:
    """Requests in flight of one entry of `jobs`; `alone`: no other has its name."""
    iodepth = 1 if options.get("ioengine") in SYNCHRONOUS else int(options.get("iodepth", 1))
    grouped = alone or options.get("group_reporting", "0") != "0"
    members = int(options.get("numjobs", 1)) if grouped else 1
    if iodepth < 1 or members < 1:
        raise ValueError(f"iodepth and numjobs must be at least 1, not {iodepth} and {members}")
    return iodepth * members


def _direction(job: Mapping[str, Any], direction: str) -> Run:
    """What went in one direction. Of jobs taken together fio samples each, so its mean and deviation are one job's."""
    part = job.get(direction, {})
    rate = float(part.get("iops", 0.0))
    if not 0.0 <= rate < math.inf:
        raise ValueError(f"{direction} iops must be a finite number >= 0, not {rate}")
    latency = error = None
    for key, second in (("lat_ns", 1e9), ("lat", 1e6)):
        if latency is None and part.get(key, {}).get("mean", 0.0) > 0.0:
            latency = float(part[key]["mean"]) / second
    mean, deviation, number = (float(part.get(f"iops_{name}", 0.0)) for name in ("mean", "stddev", "samples"))
    if mean > 0.0 and deviation > 0.0 and number > 1.0:
        error = rate * deviation / mean / math.sqrt(number)
    return Run(0, rate, latency, error)
