"""Reader of QEMU's block statistics: the answer to the QMP command `query-blockstats`, as JSON.

For each operation a drive has counters since QEMU started, `rd_operations` and `rd_total_time_ns`, and, once
`block-latency-histogram-set` asked for it (QEMU 4.0), `rd_latency_histogram`: `boundaries` b [ns], rising, and one
more `bins`, which count [0, b0), [b0, b1), ... and the last one all from the last boundary on (QEMU,
qapi/block-core.json, BlockLatencyHistogramInfo; block/accounting.c). Without it a law is one bin and its mean.

Times run from the moment when QEMU took the request from the virtqueue to its completion, so throttling and the
wait for the engine are in, the wait in the guest's ring is not: the response time of an engine with hold="engine".

Failed requests are in the histogram always, in the total time if `account_failed`, in the operations never. The mean
is kept only where histogram and counters are of equally many requests; a histogram set later, which restarts it,
covers fewer.

A drive is called by its `device`, else by its `node-name`, else (-blockdev) by the path `qdev`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtheory.arguments import count, nonnegative, sequence
from qtheory.traces.file import TraceFile
from qtheory.traces.measurement import LatencyHistogram, Measurement, document, members, printable

OPERATIONS = {"rd": "read", "wr": "write", "flush": "flush", "unmap": "discard", "zone_append": "zone_append"}
TICKS_PER_SECOND = 1_000_000_000


def sniff(head: bytes) -> bool:
    """Whether drives with their counters are in it."""
    return re.search(rb'"stats"\s*:', head) is not None and re.search(rb'"\w+_operations"\s*:', head) is not None


def read(file: TraceFile) -> Measurement:
    """Read the answer; raises TraceError when it is malformed or no drive has completed a request."""
    answer = document(file, "JSON of query-blockstats")
    drives = answer.get("return") if isinstance(answer, dict) else answer
    if not isinstance(drives, list):
        raise file.error("no list of drives in it: not an answer to query-blockstats")
    laws: list[LatencyHistogram] = []
    for i, drive in enumerate(drives):
        try:
            found = _drive(file, i, members("drive", drive))
        except (TypeError, ValueError) as wrong:
            raise file.error(f"drive {i}: {wrong}") from None
        if not found:
            file.comments.append(f"drive {i} has completed no request and is left out")
        laws += found
    if not laws:
        raise file.error("no drive has completed a request")
    file.comments += [
        "response times run from the virtqueue to completion: throttling is in, the wait in the guest's ring is not",
        "throughput is not recorded: the counters do not say since when",
    ]
    try:
        return Measurement(
            method="query-blockstats",
            exact=True,
            error_bounds={},
            warnings=file.warnings,
            source=file.path,
            histograms=tuple(laws),
            throughput={},
            comments=tuple(file.comments),
        )
    except ValueError as wrong:
        raise file.error(str(wrong)) from None


def _drive(file: TraceFile, i: int, drive: Mapping[str, Any]) -> list[LatencyHistogram]:
    """The laws of one drive, one for each operation that it has completed."""
    named = drive.get("device") or drive.get("node-name") or drive.get("qdev") or f"drive{i}"
    name = printable("name", named)
    stats = members("stats", drive.get("stats"))
    laws = []
    for prefix, op in OPERATIONS.items():
        timed = count(f"{prefix}_operations", stats.get(f"{prefix}_operations", 0), least=0)
        if stats.get("account_failed", True):
            failed = f"failed_{prefix}_operations"
            timed += count(failed, stats.get(failed, 0), least=0)
        total = nonnegative(f"{prefix}_total_time_ns", stats.get(f"{prefix}_total_time_ns", 0))
        mean = total / timed / TICKS_PER_SECOND if timed else None
        edges, bins = np.array([0.0, math.inf]), np.array([timed])
        if (recorded := stats.get(f"{prefix}_latency_histogram")) is not None:
            set_edges, set_bins = _bins(f"{prefix}_latency_histogram", recorded)
            if set_bins.any() or not timed:
                edges, bins = set_edges, set_bins
            if (binned := sum(set_bins.tolist())) != timed:
                file.warn(
                    f"{name} {op}: the histogram has {binned} requests and the counters {timed}, "
                    f"with a mean of {mean or 0.0:.6g} s: set later, or failed requests"
                )
        if bins.any():
            mean = mean if sum(bins.tolist()) == timed else None
            laws.append(LatencyHistogram(disk=name, op=op, quantity="response", edges=edges, counts=bins, mean=mean))
    return laws


def _bins(name: str, recorded: object) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Edges [s] and counts of a recorded histogram."""
    parts = members(name, recorded)
    boundaries = sequence(f"{name}.boundaries", parts.get("boundaries"))
    bins = sequence(f"{name}.bins", parts.get("bins"))
    if len(bins) != len(boundaries) + 1:
        raise ValueError(f"{name} must have one bin more than boundaries, not {len(bins)} and {len(boundaries)}")
    inner = [nonnegative(f"{name}.boundaries[{i}]", b) / TICKS_PER_SECOND for i, b in enumerate(boundaries)]
    return np.array([0.0, *inner, math.inf]), np.array(
        [count(f"{name}.bins[{i}]", n, least=0) for i, n in enumerate(bins)]
    )
