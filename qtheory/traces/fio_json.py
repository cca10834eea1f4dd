"""Reader of the latencies in fio's JSON result (`--output-format=json` or `json+`); `fio` has its depth sweep.

fio takes three times of each request: `lat` from its creation to its completion, which is the response time, `slat`
from there to its submission, `clat` from submission to completion. Of each it keeps mean, min, max and stddev (n − 1),
and of some of them fine bins, which only `json+` prints: of `clat` by default, of `lat` with `lat_percentiles=1`. So
a direction gives its response time, as one bin if need be, and where that has no fine bins its completion time too.

Fine bins (fio, stat.h, FIO_IO_U_PLAT_BITS = 6): times below 64 ticks have a bin each, every octave above has 64 of
equal width. The last bin is open. A bin's key is its lower edge plus half its width, rounded down, and before
fio 2.20 its number.

Coarse bins, `latency_ns`, `_us` and `_ms`, are there without `json+`: of the completion times of all directions of
the job together. "50" counts times from the edge before it to below 50 units, ">=2000" the rest (io_u.c). They are
shares in percent of all requests, and a share below 0.01 is shown as 0.01: what the other bins leave is divided
evenly among these, and the histogram says how many requests may be misplaced.

The tick is 1 ns from fio 3 on, 1 µs before (keys without `_ns`), times rounded down. fio before 3.18 does not
count the samples (`N`), so that the direction's requests are taken for it. Flushes (`sync`) are timed from their
submission. Jobs of the same name are taken together.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtheory.arguments import count, nonnegative
from qtheory.traces.file import TraceFile
from qtheory.traces.measurement import MOST_REQUESTS, LatencyHistogram, Measurement, document, members, printable

DIRECTIONS = {"read": "read", "write": "write", "trim": "discard", "mixed": "mixed"}
NANO, MICRO = 1_000_000_000, 1_000_000  # ticks per second of fio 3, of fio 2
OCTAVES = {NANO: 29, MICRO: 19}
PER_OCTAVE = 64
COARSE = {"latency_ns": 1, "latency_us": 1_000, "latency_ms": 1_000_000}  # unit in ns
LEAST_SHARE = 0.01  # %, shown for any smaller one


def sniff(head: bytes) -> bool:
    """Whether it names fio's version or has a list of jobs."""
    return re.search(rb'"fio version"\s*:|"jobs"\s*:\s*\[', head) is not None


def jobs(file: TraceFile) -> tuple[Mapping[str, Any], list[Any]]:
    """The whole result, and the entries of its jobs."""
    result = document(file, "fio JSON")
    found = result.get("jobs") if isinstance(result, dict) else None
    if not isinstance(found, list) or not found:
        raise file.error("no 'jobs' in it: not a fio result")
    return result, found


def read(file: TraceFile) -> Measurement:
    """Read the result; raises TraceError when it is malformed, a job failed or nothing was timed."""
    result, entries = jobs(file)
    try:
        version = printable("fio version", result.get("fio version", "fio"))
    except ValueError as wrong:
        raise file.error(str(wrong)) from None
    laws: dict[tuple[str, str, str], LatencyHistogram] = {}
    throughput: dict[str, dict[str, float]] = {}
    for i, entry in enumerate(entries):
        try:
            job = members("job", entry)
            if job.get("error", 0) != 0:
                raise ValueError(f"it failed with error {job['error']!r}")
            name = printable("jobname", job.get("jobname") or "job")
            for law in _laws(file, name, job):
                key = law.disk, law.op, law.quantity
                laws[key] = laws[key].merge(law) if key in laws else law
            rates = throughput.setdefault(name, {})
            for op, direction in _directions(job).items():
                rate = nonnegative(f"{op} iops", direction.get("iops", 0.0))
                rates[op] = nonnegative(f"{op} iops of all jobs of its name", rates.get(op, 0.0) + rate)
        except (TypeError, ValueError) as wrong:
            raise file.error(f"jobs[{i}]: {wrong}") from None
    if not laws:
        raise file.error("no latencies: no job has timed a request")
    if len(throughput) < len(entries):
        file.comments.append(f"{len(entries)} entries of {len(throughput)} jobs: those of the same name are one disk")
    if any(law.quantity == "completion" for law in laws.values()):
        file.comments.append("completion times run from submission: fio keeps no bins of response times by default")
    if any("clat" in direction or "lat" in direction for job in entries for direction in _directions(job).values()):
        file.comments.append("times without unit in their names are taken for whole microseconds (fio 2), rounded down")
    misplaced = max(law.misplaced for law in laws.values())
    if misplaced:
        file.warn(f"shares in % do not tell small counts: up to {misplaced} requests of a law may be in other bins")
    return Measurement(
        method=version,
        exact=not misplaced,
        error_bounds={"counts": float(misplaced)} if misplaced else {},
        warnings=file.warnings,
        source=file.path,
        histograms=tuple(laws.values()),
        throughput=throughput,
        comments=tuple(file.comments),
    )


def _directions(job: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """By operation, what the job did; "mixed" only where reads and writes are not reported apart."""
    found = {op: members(key, job[key]) for key, op in DIRECTIONS.items() if key in job}
    active = {op: direction for op, direction in found.items() if direction.get("total_ios", 0) != 0}
    if len(active) > 1:
        active.pop("mixed", None)
    return active


def _laws(file: TraceFile, name: str, job: Mapping[str, Any]) -> list[LatencyHistogram]:
    """The laws of one entry, in the order in which they are shown."""
    responses: list[LatencyHistogram] = []
    completions: list[LatencyHistogram] = []
    total = 0
    for op, direction in _directions(job).items():
        requests = count(f"{op} total_ios", direction.get("total_ios"), least=0)
        total += requests
        responses += _law(file, name, op, "response", _times(direction, "lat"), requests)
        completions += _law(file, name, op, "completion", _times(direction, "clat"), requests)
    binned = {law.op for law in responses if len(law.counts) > 1}
    fine = binned or any(len(law.counts) > 1 for law in completions)
    if completions and not fine and (coarse := _coarse(job, total)):
        completions = [_rebinned(file, functools.reduce(LatencyHistogram.merge, completions), *coarse)]
    sync = members("sync", job.get("sync", {}))
    flushes = count("sync total_ios", sync.get("total_ios", 0), least=0)
    flush = _law(file, name, "flush", "completion", _times(sync, "lat"), flushes)
    return [*responses, *(law for law in completions if law.op not in binned), *flush]


def _rebinned(
    file: TraceFile, law: LatencyHistogram, edges: NDArray[np.float64], counts: NDArray[np.int64], misplaced: int
) -> LatencyHistogram:
    """The law of one bin, in more bins of the same requests."""
    if (binned := sum(counts.tolist())) != law.requests:
        _warn_of_moments(file, law.disk, law.op, binned, law.requests)
        law = dataclasses.replace(law, mean=None, stddev=None, minimum=None, maximum=None)
    return dataclasses.replace(law, edges=edges, counts=counts, misplaced=misplaced)


def _times(direction: Mapping[str, Any], key: str) -> tuple[Mapping[str, Any], int]:
    """What is recorded of one of the three times, with its ticks per second."""
    if f"{key}_ns" in direction:
        return members(f"{key}_ns", direction[f"{key}_ns"]), NANO
    return members(key, direction.get(key, {})), MICRO


def _law(
    file: TraceFile, disk: str, op: str, quantity: str, recorded: tuple[Mapping[str, Any], int], requests: int
) -> list[LatencyHistogram]:
    """One law, in fine bins or in one; none when nothing was timed."""
    times, ticks = recorded
    names = {"mean": "mean", "stddev": "stddev", "minimum": "min", "maximum": "max"}
    moments: dict[str, Any] = {
        name: nonnegative(f"{op} {key}", times[key]) / ticks for name, key in names.items() if key in times
    }
    samples = count(f"{op} N", times.get("N", requests if any(moments.values()) else 0), least=0)
    edges, counts = np.array([0.0, math.inf]), np.array([samples])
    if bins := members("bins", times.get("bins", {})):
        edges, counts = _fine(bins, ticks)
        if (binned := sum(counts.tolist())) != samples:
            # A ramp time does this to flushes: fio then clears their bins and keeps the moments.
            _warn_of_moments(file, disk, op, binned, samples)
            moments = {}
    if not counts.any():
        return []
    return [LatencyHistogram(disk=disk, op=op, quantity=quantity, edges=edges, counts=counts, **moments)]


def _warn_of_moments(file: TraceFile, disk: str, op: str, binned: int, samples: int) -> None:
    file.warn(f"{disk} {op}: the bins have {binned} requests and the moments {samples}: moments left out")


def _fine(bins: Mapping[str, Any], ticks: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Edges [s] and counts of all of fio's bins, from those that have requests."""
    lows, middles = _layout(OCTAVES[ticks])
    numbered = "FIO_IO_U_PLAT_NR" in bins
    place = {str(key): i for i, key in enumerate(range(len(lows)) if numbered else middles)}
    counts = [0] * len(lows)
    for key, n in bins.items():
        if key in place:
            counts[place[key]] = count(f"bins[{key!r}]", n, least=0)
        elif not key.startswith("FIO_IO_U_PLAT_"):
            raise ValueError(f"bins must have keys of fio's bins, not {key!r}")
    return np.array([*(low / ticks for low in lows), math.inf]), np.array(counts)


@functools.cache
def _layout(octaves: int) -> tuple[list[int], list[int]]:
    """Lower edge and middle of each bin, in ticks.

    >>> lows, middles = _layout(29)
    >>> len(lows), lows[127:131], middles[127:131], lows[-1]
    (1856, [127, 128, 130, 132], [127, 129, 131, 133], 17045651456)
    """
    widths = [1] * PER_OCTAVE + [1 << shift for shift in range(octaves - 1) for _ in range(PER_OCTAVE)]
    lows = [0, *itertools.accumulate(widths[:-1])]
    return lows, [low + width // 2 for low, width in zip(lows, widths, strict=True)]


def _coarse(job: Mapping[str, Any], total: int) -> tuple[NDArray[np.float64], NDArray[np.int64], int] | None:
    """Edges [s], counts and misplaced requests of the coarse bins; None when the job has none."""
    shares: dict[float, float] = {}  # by upper edge [ns]
    for key, unit in COARSE.items():
        for label, share in members(key, job.get(key, {})).items():
            if not (number := re.fullmatch(r"(>=)?([0-9]{1,9})", label)):
                raise ValueError(f"{key} must have keys such as '50' and '>=2000', not {label!r}")
            edge = math.inf if number[1] else int(number[2]) * unit
            shares[edge] = nonnegative(f"{key}[{label!r}]", share)
            if shares[edge] > 100.0:
                raise ValueError(f"{key}[{label!r}] must be at most 100 %, not {share!r}")
    if not any(shares.values()) or total > MOST_REQUESTS:
        return None
    uppers = sorted(shares)
    counts, misplaced = _counted([shares[edge] for edge in uppers], total)
    return np.array([0.0, *(edge / NANO for edge in uppers)]), counts, misplaced


def _counted(shares: Sequence[float], total: int) -> tuple[NDArray[np.int64], int]:
    """Requests in each bin from the shares [%] of `total`, and how many of them may be in other bins.

    >>> _counted([0.0, 0.01, 60.001, 39.989, 0.01], 100_000)
    (array([    0,     5, 60001, 39989,     5]), 10)
    """
    digits = max(2, *(-int(Decimal(repr(share)).as_tuple().exponent) for share in shares))
    half_digit = 0.5 * 10.0**-digits
    counts = [max(1, round(share * total / 100)) if share > LEAST_SHARE else 0 for share in shares]
    least = [i for i, share in enumerate(shares) if 0.0 < share <= LEAST_SHARE]
    known = sum(n > 0 for n in counts)
    slack = known * math.floor(half_digit * total / 100 + 0.5)
    left = total - sum(counts)
    most = len(least) * max(1, math.floor((LEAST_SHARE + half_digit) * total / 100))
    if not len(least) - slack <= left <= most + slack:
        raise ValueError(f"latency shares must add up to all {total} requests, not to {sum(shares):.6g} %")
    for rank, i in enumerate(least):
        counts[i] = max(1, left // len(least) + (rank < left % len(least)))
    counts[counts.index(max(counts))] += total - sum(counts)
    spread = max(left - len(least), 0) if len(least) > 1 else 0
    return np.array(counts), (slack if known + len(least) > 1 else 0) + spread
