"""Convert a log of `validation.qemu.record` to a qtheory trace.

    python -m validation.qemu.convert DIR/trace.log --out guest4.csv.gz

Reads the log format of QEMU up to 10.0 (`TID@SECONDS:event arguments`).
"""

import argparse
import gzip
import json
import re
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import guest
from .guest import BenchError
from .record import DISKS, MARKS

SECTOR = 512
MICRO = 1_000_000

SUBMIT = re.compile(
    r"\d+@(\d+)\.(\d{6}):virtio_blk_handle_(read|write) "
    r"vdev (\w+) req (\w+) sector (\d+) nsectors (\d+)"
)
COMPLETE = re.compile(r"\d+@(\d+)\.(\d{6}):virtio_blk_rw_complete vdev (\w+) req (\w+) ret (-?\d+)")


@dataclass(frozen=True)
class Request:
    """One request, in the units of the log: microseconds and 512-byte sectors."""

    arrival: int
    vdev: str
    op: str
    sector: int
    sectors: int
    response: int


@dataclass(frozen=True)
class Pairs:
    """The requests in order of arrival, and what had no partner."""

    requests: list[Request]
    submitted_only: int
    completed_only: int
    failed: int


def pair(lines: Iterable[str]) -> Pairs:
    """Pair submissions with completions by device and request pointer.

    QEMU recycles the pointers, so each is a queue: its oldest submission completes first.

    >>> pair([
    ...     "7@10.000000:virtio_blk_handle_read vdev 0xa req 0xb sector 8 nsectors 16",
    ...     "7@10.000250:virtio_blk_rw_complete vdev 0xa req 0xb ret 0",
    ... ]).requests
    [Request(arrival=10000000, vdev='0xa', op='read', sector=8, sectors=16, response=250)]
    """
    waiting: dict[tuple[str, str], deque[tuple[int, str, int, int]]] = {}
    requests: list[Request] = []
    completed_only = failed = 0
    for line in lines:
        if found := SUBMIT.match(line):
            seconds, fraction, op, vdev, req, sector, sectors = found.groups()
            now = int(seconds) * MICRO + int(fraction)
            entry = (now, op, int(sector), int(sectors))
            waiting.setdefault((vdev, req), deque()).append(entry)
        elif found := COMPLETE.match(line):
            seconds, fraction, vdev, req, ret = found.groups()
            now = int(seconds) * MICRO + int(fraction)
            queue = waiting.get((vdev, req))
            if not queue:
                completed_only += 1
                continue
            arrival, op, first, length = queue.popleft()
            failed += ret != "0"
            requests.append(Request(arrival, vdev, op, first, length, now - arrival))
    requests.sort(key=lambda request: request.arrival)
    return Pairs(requests, sum(map(len, waiting.values())), completed_only, failed)


def marks(requests: Iterable[Request]) -> dict[str, Request]:
    """For each disk the read by which the guest told, before its work, which pointer it is."""
    # later on its work may read the same places, of any disk
    first: dict[str, Request] = {}
    for request in requests:
        if request.op == "read" and request.sector in MARKS:
            first.setdefault(request.vdev, request)
    found = {f"disk{MARKS.index(request.sector)}": request for request in first.values()}
    if len(first) != DISKS or len(found) != DISKS:
        raise BenchError("the log does not hold the reads that tell which disk is which")
    return found


def window(requests: Sequence[Request], start: int, span: int) -> list[Request]:
    """The requests that arrived in `span` microseconds from `start`."""
    return [request for request in requests if start <= request.arrival < start + span]


def to_csv(requests: Sequence[Request], names: dict[str, str], comments: dict[str, str]) -> Iterable[str]:
    """The lines of the trace, version 1."""
    yield "# qtheory-trace 1\n"
    for key, value in comments.items():
        yield f"# {key}: {value}\n"
    yield "arrival,disk,op,offset,size,response\n"
    origin = requests[0].arrival
    for request in requests:
        yield (
            f"{(request.arrival - origin) / MICRO:.6f},{names[request.vdev]},{request.op},"
            f"{request.sector * SECTOR},{request.sectors * SECTOR},{request.response / MICRO:.6f}\n"
        )


def sample(lines: Sequence[str], count: int = 200) -> list[str]:
    """About `count` lines from the middle half of a log, with no request cut at either end.

    Of all such runs it is the one in which the most disks are seen and the most requests wait.
    """
    lines = [line for line in lines if SUBMIT.match(line) or COMPLETE.match(line)]
    outstanding = [0]  # before each line
    for line in lines:
        outstanding.append(outstanding[-1] + (1 if SUBMIT.match(line) else -1))

    best: tuple[int, int, int] | None = None
    for start in range(len(lines) // 8 * 2, 3 * len(lines) // 4 - count, 2):
        # a request makes two lines, so every idle moment comes after an even number of them
        if outstanding[start] == 0 == outstanding[start + count]:
            disks = {line.split()[2] for line in lines[start : start + count]}
            score = (len(disks), max(outstanding[start : start + count]), start)
            best = max(best, score) if best else score
    if best is None:
        raise BenchError(f"the log has no {count} lines between two idle moments")
    return list(lines[best[2] : best[2] + count])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    option = parser.add_argument
    option("log", type=Path, help="trace.log, with its recording.json next to it")
    option("--out", type=Path, required=True, metavar="FILE", help="the trace, a .csv.gz file")
    option("--sample", type=Path, metavar="FILE", help="also keep 200 lines of the log here")
    option("--skip", type=float, default=10, metavar="SECONDS",
           help="leave out the start-up of the workload (default: %(default)s)")  # fmt: skip
    option("--span", type=float, default=120, metavar="SECONDS",
           help="length of the trace (default: %(default)s)")  # fmt: skip
    options = parser.parse_args()

    lines = options.log.read_text().splitlines(keepends=True)
    comments: dict[str, str] = json.loads(options.log.with_name("recording.json").read_text())
    pairs = pair(lines)
    if not pairs.requests:
        raise BenchError(f"{options.log} holds no requests in the log format of QEMU up to 10.0")
    named = marks(pairs.requests)
    begin = max(mark.arrival for mark in named.values()) + round(options.skip * MICRO)
    kept = window(pairs.requests, begin, round(options.span * MICRO))
    if not kept or pairs.requests[-1].arrival < begin + options.span * MICRO:
        raise BenchError(f"the log is shorter than {options.skip + options.span:g} s")
    comments |= {
        "times": "as the device sees them: request taken from the virtqueue to its completion",
        "not traced": "flushes",
        "kept": f"{len(kept)} requests that arrived in the {options.span:g} s after the first "
        f"{options.skip:g} s of the workload; {len(pairs.requests) - len(kept)} others left out",
        "unpaired": f"{pairs.submitted_only} submissions, {pairs.completed_only} completions in the whole log",
        "failed": f"{pairs.failed} requests in the whole log",
    }
    names = {mark.vdev: disk for disk, mark in named.items()}
    text = "".join(to_csv(kept, names, comments))
    # no time stamp inside: the same log makes the same file
    options.out.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    if options.sample:
        options.sample.write_text("".join(sample(lines)))
    print(f"{options.out}: {len(kept)} requests; unpaired: {comments['unpaired']}")


if __name__ == "__main__":
    raise SystemExit(guest.exit_status(main))
