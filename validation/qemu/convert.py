"""Convert a log of `validation.qemu.record` to a qtheory trace.

    python -m validation.qemu.convert DIR/trace.log --out guest4.csv.gz

The requests are read and paired by `qt.read_trace`; here they get the names of their disks.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

import qtheory as qt

from . import guest
from .guest import BenchError
from .record import DISKS, EVENTS, MARKS

SECTOR = 512
DIGITS = 6  # of the log's seconds


def marks(trace: qt.Trace) -> tuple[tuple[str, ...], float]:
    """The disks' names, by the reads with which the guest told them before its work, and the last one's arrival."""
    places = [mark * SECTOR for mark in MARKS]
    read = trace.op == qt.traces.OPERATIONS.index("read")
    told = np.flatnonzero(read & np.isin(trace.offset, places))
    # only the first of each disk: later on its work may read the same places, of any disk
    first = told[np.unique(trace.disk[told], return_index=True)[1]]
    numbers = [places.index(offset) for offset in trace.offset[first]]
    if len(trace.disks) != DISKS or sorted(numbers) != list(range(DISKS)):
        raise BenchError("the log does not hold the reads that tell which disk is which")
    return tuple(f"disk{number}" for number in numbers), float(trace.arrival[first].max())


def converted(log: Path, about: dict[str, str], skip: float, span: float) -> qt.Trace:
    """The requests that arrived in `span` seconds, `skip` seconds after the guest began, on a clock of their own.

    Raises ValueError when the log cannot be used.
    """
    trace = qt.read_trace(log, "qemu")
    names, begun = marks(trace)
    begin, end = (round(begun + after, DIGITS) for after in (skip, skip + span))
    if trace.span < end:
        raise BenchError(f"the log is shorter than {skip + span:g} s")
    kept = trace.select(start=begin, stop=end)
    comments = about | {
        "times": "as the device sees them: request taken from the virtqueue to its completion",
        "not traced": "flushes",
        "kept": f"{len(kept)} requests that arrived in the {span:g} s after the first {skip:g} s of the workload; "
        f"{len(trace) - len(kept)} others left out",
        "whole log": "; ".join(trace.warnings) or "every submission has its completion, and no request failed",
    }
    return replace(
        kept,
        arrival=np.round(kept.arrival - kept.arrival[0], DIGITS),
        origin=0.0,
        disks=tuple(names[trace.disks.index(disk)] for disk in kept.disks),
        comments=tuple(f"{key}: {value}" for key, value in comments.items()),
    )


def sample(lines: Sequence[str], count: int = 200) -> list[str]:
    """About `count` lines from the middle half of a log, with no request cut at either end.

    Of all such runs it is the one in which the most disks are seen and the most requests wait.
    """
    lines = [line for line in lines if any(event in line for event in EVENTS)]
    outstanding = [0]  # before each line
    for line in lines:
        outstanding.append(outstanding[-1] + (-1 if "complete" in line else 1))

    best: tuple[int, int, int] | None = None
    for start in range(len(lines) // 8 * 2, 3 * len(lines) // 4 - count, 2):
        # a request makes two lines, so every idle moment comes after an even number of them
        if outstanding[start] == 0 == outstanding[start + count]:
            disks = {line.partition("vdev ")[2].split()[0] for line in lines[start : start + count]}
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

    about = json.loads(options.log.with_name("recording.json").read_text())
    try:
        trace = converted(options.log, about, options.skip, options.span)
        trace.write(options.out)
    except ValueError as error:
        raise BenchError(str(error)) from error
    if options.sample:
        options.sample.write_text("".join(sample(options.log.read_text().splitlines(keepends=True))))
    print(f"{options.out}: {len(trace)} requests; {trace.comments[-1]}")


if __name__ == "__main__":
    raise SystemExit(guest.exit_status(main))
