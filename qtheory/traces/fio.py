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
from typing import Any

from qtheory.traces.file import TraceFile
from qtheory.traces.fio_json import jobs

SYNCHRONOUS = ("sync", "psync", "vsync", "pvsync", "pvsync2", "mmap")


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
    if len(paths) == 0:
        raise ValueError("paths must have at least one fio result")
    runs: dict[int, tuple[float, str]] = {}
    for path in paths:
        file = TraceFile(path)
        depth, throughput = _run(file)
        if depth in runs:
            raise file.error(f"depth {depth} is measured twice, also in {runs[depth][1]}")
        runs[depth] = throughput, file.path
    depths = sorted(runs)
    return depths, [runs[depth][0] for depth in depths]


def _run(file: TraceFile) -> tuple[int, float]:
    """Depth and throughput of one run."""
    result, entries = jobs(file)
    depth, throughput = 0, 0.0
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
            throughput += _rate(job, "read") + _rate(job, "write")
        except (ValueError, TypeError, AttributeError) as wrong:
            raise file.error(f"jobs[{i}]: {wrong}") from None
    if throughput == 0.0:
        raise file.error("no I/O: no job has read or written")
    return depth, throughput


def _depth(options: Mapping[str, Any], alone: bool) -> int:
    """Requests in flight of one entry of `jobs`; `alone`: no other has its name."""
    iodepth = 1 if options.get("ioengine") in SYNCHRONOUS else int(options.get("iodepth", 1))
    grouped = alone or options.get("group_reporting", "0") != "0"
    members = int(options.get("numjobs", 1)) if grouped else 1
    if iodepth < 1 or members < 1:
        raise ValueError(f"iodepth and numjobs must be at least 1, not {iodepth} and {members}")
    return iodepth * members


def _rate(job: Mapping[str, Any], direction: str) -> float:
    """Completions per second in one direction."""
    rate = float(job.get(direction, {}).get("iops", 0.0))
    if not 0.0 <= rate < math.inf:
        raise ValueError(f"{direction} iops must be a finite number >= 0, not {rate}")
    return rate
