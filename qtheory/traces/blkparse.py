"""Reader of blkparse's text output (blktrace, Linux): the events of each request in the block layer.

      8,0    1       10     0.000102344  1071  Q   W 2048 + 8 [fio]
      8,0    1       11     0.000104101  1071  G   W 2048 + 8 [fio]
      8,0    1       12     0.000110752   212  D   W 2048 + 8 [kworker/1:1H]
      8,0    1       13     0.000187008     0  C   W 2048 + 8 [0]

The fields are: device (major,minor), CPU, sequence number, time [s] from the first event, process, action, what the
request is (letters below), first sector + sectors (of 512 bytes), and the process's name or the error. Source: the
blktrace User Guide (A. D. Brunelle, 2007) and `blkparse_fmt.c`. Times of `blkparse -t` in parentheses are passed over.

Letters: R read, W write, D discard, N none of them; F before: flush first, F after: write through (FUA); A, S, M, B:
read-ahead, synchronous, metadata, barrier. A request of no sectors is a flush; one of N and no sectors, other.

Actions. Q: queued, the request's arrival. D: issued to the driver, the start of its service. C: completed. The block
layer merges, splits and requeues requests between Q and C, so what is followed is stretches of sectors, by device, kind
and first sector, oldest first: D and C take all queued stretches that lie one after the other in their range (merges),
X ("sector / where") cuts one, R puts back what D took. A request completes with its last stretch. Service runs from its
first D (after the last R). Other actions (G, I, M, F, P, U, A, ...) tell nothing more, and are passed over, as are
commands that are none of these (SG_IO: bytes or nothing instead of sectors) and the summary at the end. A comment
counts the rows of each kind.

Flushes have no sectors. The caller's is Q FWS and C WS (or FWS), the device's own command D FN and C FN, which serves
all flushes that wait: they complete with C FN, or one at a time with C FWS if the device has no C FN. The flushes
before and after a write (FWFS) are not part of the write.

Which event is the arrival depends on what was traced: Q, or else D, or else C, as the file's first block shows. There
are responses if there are C besides; service times, if all devices that complete requests issue them too (device mapper
and others that pass requests on do not). Requests without C and C without requests are left out, counted in warnings.

A disk is called MAJOR:MINOR. A device above another shows the same requests: choose one (`Trace.select`).
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from qtheory.traces.completed import by_arrival
from qtheory.traces.file import TraceFile
from qtheory.traces.trace import LONGEST

if TYPE_CHECKING:
    import polars as pl

SECTOR = 512
TICKS_PER_SECOND = 1_000_000_000
FOLLOWED = ("Q", "D", "C", "R", "X")
PASSED = ("G", "I", "M", "F", "S", "P", "U", "UT", "T", "A", "B", "m")
MOST = 1 << 52  # sectors, and the end of a stretch: bytes still fit in 64 bits
EVENT = (
    r"^\s*(?<major>[0-9]+),(?<minor>[0-9]+)\s+[0-9]+\s+[0-9]+\s+(?<seconds>[0-9]{1,10})\.(?<nanos>[0-9]{9})"
    r"\s+[0-9]+\s+(?<action>[A-Z]{1,2}|m)\s+(?<letters>[A-Z]+)(?:\s(?<what>.*))?$"
)
WHAT = (
    r"^\s*(?:(?<sector>[0-9]{1,20})(?: (?<sign>[+/]) (?<number>[0-9]{1,10}))?\s)?\s*"
    r"(?:\((?<more>[ 0-9a-f.]+)\) )?\[(?<ending>.*)\]\s*$"
)
SUMMARY = (
    r"^\s*$|^(CPU[0-9]+|Total) \(.*\):$|^\S.* \([0-9]+(, \.\.\.)?\)$|^Throughput \(R/W\): |^Events \(|^Skips: "
    r"|^ +(PC )?(Reads?|Writes?) [A-Zdm]|^ +(IO|Timer) unplugs: |^ +(Allocation|Dispatch|Completion) wait: "
    r"|^Input file \S+ added$"
)


def sniff(head: bytes) -> bool:
    """Whether one of the first lines is an event."""
    pattern = rb"(?m)^ *[0-9]+,[0-9]+ +[0-9]+ +[0-9]+ +[0-9]+\.[0-9]{9} +[0-9]+ +(m|[A-Z]{1,2}) +[A-Z]+( |$)"
    return re.search(pattern, head) is not None


def operation(letters: pl.Expr, size: pl.Expr) -> pl.Expr:
    """What a request is, from its letters; of no size: a flush if there is an F or a W."""
    import polars as pl

    names = {"R": "read", "W": "write", "D": "discard"}
    flush = (size == 0) & letters.str.contains("^[FW]")
    sized = letters.str.extract("^F?(.)").replace_strict(names, default="other", return_dtype=pl.String)
    return pl.when(flush).then(pl.lit("flush")).otherwise(sized)


def records(file: TraceFile) -> Iterator[pl.DataFrame]:
    """The requests, in order of arrival; raises TraceError as the package's text says."""
    counts: Counter[str] = Counter()
    frames = (found for rows in file.rows() if len(found := _events(file, rows, counts)))
    first = next(frames, None)
    seen = [] if first is None else first.select("action", "device").unique().rows()
    devices = {arrival: {device for action, device in seen if action == arrival} for arrival in "QDC"}
    arrives = next((action for action, of in devices.items() if of), None)
    if first is None or arrives is None:
        raise file.error("; ".join(("there are no Q, D or C events of requests in it", *file.warnings)))
    events = chain([first], frames)
    if arrives != "Q":
        what = {"D": "issued (D)", "C": "completed (C)"}[arrives]
        file.assume(f"requests arrive when they are {what}: the earlier events are not in the log")
    if arrives != "C" and devices["C"]:
        pairing = _Pairing(file, arrives, served=devices["C"] <= devices["D"])
        yield from by_arrival(map(pairing.completed, events), TICKS_PER_SECOND)
        pairing.close()
    else:
        yield from _alone(file, events, arrives)
    file.comments.append("rows: " + ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())))


def _events(file: TraceFile, rows: pl.DataFrame, counts: Counter[str]) -> pl.DataFrame:
    """The good events of requests; `counts` counts all good rows by what they are."""
    import polars as pl

    row, action, what = pl.col("row"), pl.col("action"), pl.col("what")
    frame = rows.with_columns(row.str.extract_groups(EVENT).alias("event")).unnest("event")
    seconds = pl.col("seconds").cast(pl.Int64)
    event = action.is_not_null()
    frame = file.sift(
        frame,
        {
            "not an event of blkparse, nor a line of its summary": event | row.str.contains(SUMMARY),
            f"action must be one of {', '.join((*FOLLOWED, *PASSED))}": ~event | action.is_in([*FOLLOWED, *PASSED]),
            f"time must be below {LONGEST:.0e} s": ~event | (seconds < int(LONGEST)),
        },
    )
    _count(counts, frame.filter(~action.is_in(FOLLOWED).fill_null(False))["action"].fill_null("summary"))
    frame = (
        frame.filter(action.is_in(FOLLOWED))
        .with_columns(what.fill_null("").str.extract_groups(WHAT).alias("parts"))
        .unnest("parts")
    )
    sector = pl.col("sector").cast(pl.Int64, strict=False)
    number = pl.col("number").cast(pl.Int64)
    sized = (number > 0) | (action == "X")
    frame = file.sift(
        frame,
        {
            "the letters must tell R, W, D, F or N": pl.col("letters").str.contains("^(F?[RWDN]|F)"),
            "Q, D, C and R need 'sector + sectors [...]', X 'sector / sector [...]'": pl.col("ending").is_not_null()
            & ((pl.col("sign").fill_null("+") == "/") == (action == "X")),
            f"sector and sectors must be below {MOST}": ~sized.fill_null(False) | (sector < MOST),
        },
    )
    completes = action.is_in(["C", "R"])
    op = operation(pl.col("letters"), number.fill_null(0))
    command = (pl.col("sign").is_null() & (sector.is_null() == completes)) | ((op != "flush") & ~sized.fill_null(False))
    _count(counts, frame.select(pl.when(command).then(pl.lit("command")).otherwise(action)).to_series())
    where = sector + (number - sector + MOST) % (1 << 32)  # X tells the lower 32 bits
    return frame.filter(~command).select(
        "line",
        "action",
        now=pl.col("seconds").cast(pl.Int64) * TICKS_PER_SECOND + pl.col("nanos").cast(pl.Int64),
        device=pl.col("major") + ":" + pl.col("minor"),
        op=op,
        own=pl.col("letters").str.contains("^F?N"),
        start=pl.when(sized).then(sector),
        stop=pl.when(sized).then(pl.when(action == "X").then(where).otherwise(sector + number)),
        failed=(action == "C") & (pl.col("ending") != "0"),
    )


def _count(counts: Counter[str], kinds: pl.Series) -> None:
    counts.update(dict(kinds.value_counts().iter_rows()))


def _alone(file: TraceFile, events: Iterable[pl.DataFrame], arrives: str) -> Iterator[pl.DataFrame]:
    """One kind of event as the arrivals of requests of which no more is known."""
    import polars as pl

    start, stop, arrival = pl.col("start"), pl.col("stop"), pl.col("action") == arrives
    completions = ends = 0
    for frame in events:
        if arrives == "C":
            ends += frame.select((arrival & start.is_null()).sum()).item()
            frame = frame.filter(start.is_not_null())
        else:
            completions += frame.select((pl.col("action") == "C").sum()).item()
        place = {"offset": start * SECTOR, "size": (stop - start) * SECTOR}
        yield frame.filter(arrival).select("line", "op", arrival="now", disk="device", **place)
    file.warn_of(ends, "completion", "of no sectors left out: flushes and ends of writes cannot be told apart")
    file.warn_of(completions, "completion", "passed over: there was none at the start of the file")


@dataclass(slots=True, eq=False)
class _Request:
    line: int
    arrival: int
    device: str
    op: str
    start: int | None
    sectors: int
    left: int  # sectors not yet completed
    issued: int | None = None


class _Stretches:
    """Stretches of sectors and whose request they are, found by device, kind and first sector."""

    def __init__(self) -> None:
        self._at: dict[tuple[str, str, int], deque[tuple[int, _Request]]] = {}

    def __contains__(self, place: tuple[str, str, int]) -> bool:
        return place in self._at

    def put(self, start: int, stop: int, request: _Request) -> None:
        self._at.setdefault((request.device, request.op, start), deque()).append((stop, request))

    def take(self, device: str, op: str, start: int, stop: int) -> Iterator[tuple[int, int, _Request]]:
        """Those that follow each other from `start` to `stop`, as far as they do; the last one is cut there."""
        while start < stop and (queue := self._at.get((device, op, start))):
            end, request = queue.popleft()
            if not queue:
                del self._at[device, op, start]
            if end > stop:
                self.put(stop, end, request)
                end = stop
            yield start, end, request
            start = end


class _Pairing:
    """Requests under way; `arrives` is the event that starts them, `served`: completed ones must have been issued."""

    def __init__(self, file: TraceFile, arrives: str, *, served: bool) -> None:
        self.file, self.arrives, self.served = file, arrives, served
        self.queued, self.issued = _Stretches(), _Stretches()
        self.flushes: dict[str, list[_Request]] = {}  # under way, by device
        self.issuing: set[str] = set()  # devices that have had a D
        self.flushing: set[str] = set()  # devices that complete flushes with C FN
        self.done: list[tuple[object, ...]] = []
        self.begun = self.ended = self.orphans = self.shared = self.unissued = self.failed = 0

    def completed(self, events: pl.DataFrame) -> pl.DataFrame:
        """The requests that complete in these events."""
        import polars as pl

        for line, action, now, device, op, own, start, stop, failed in events.iter_rows():
            self.failed += failed
            if start is None:
                self._flush(line, action, now, device, own)
            else:
                self._step(line, action, now, device, op, start, stop)
        columns = {"line": pl.Int64, "arrival": pl.Int64, "disk": pl.String, "op": pl.String}
        columns |= {"offset": pl.Int64, "size": pl.Int64, "response": pl.Float64, "service": pl.Float64}
        frame = pl.DataFrame(self.done, columns, orient="row")
        self.done = []
        return frame

    def close(self) -> None:
        """Say what was left out."""
        warn = self.file.warn_of
        warn(self.begun - self.ended, "request", "without a completion in the log, left out")
        warn(self.orphans, "completion", "without a request in the log, left out")
        warn(self.unissued, "request", "completed without having been issued in the log, left out")
        warn(self.failed, "completion", "failed (error is not 0), kept")
        warn(self.shared, "request", "at a place still in flight: paired oldest first, with uncertain response times")

    def _step(self, line: int, action: str, now: int, device: str, op: str, start: int, stop: int) -> None:
        """One event of sectors from `start` to `stop`."""
        if action == self.arrives:
            self.shared += (device, op, start) in self.queued or (device, op, start) in self.issued
            self.queued.put(start, stop, _Request(line, now, device, op, start, stop - start, stop - start))
            self.begun += 1
        if action == "D":
            self.issuing.add(device)
            for first, end, request in self.queued.take(device, op, start, stop):
                request.issued = now if request.issued is None else request.issued
                self.issued.put(first, end, request)
        elif action == "C":
            end = start
            under_way = self.issued if device in self.issuing else self.queued
            for first, end, request in under_way.take(device, op, start, stop):
                request.left -= end - first
                if request.left == 0:
                    self._complete(line, now, request)
            self.orphans += end == start
        elif action == "R":
            for first, end, request in list(self.issued.take(device, op, start, stop)):
                request.issued = None
                self.queued.put(first, end, request)
        elif action == "X":
            for first, end, request in list(self.queued.take(device, op, start, stop)):
                self.queued.put(first, end, request)

    def _flush(self, line: int, action: str, now: int, device: str, own: bool) -> None:
        """One event of no sectors; `own`: of the device's own command."""
        waiting = self.flushes.setdefault(device, [])
        if action == self.arrives:
            waiting.append(_Request(line, now, device, "flush", None, 0, 0))
            self.begun += 1
        if action == "D":
            self.issuing.add(device)
            for request in waiting:
                request.issued = now if request.issued is None else request.issued
        elif action == "C" and own:
            self.flushing.add(device)
            self.flushes[device] = []
            for request in waiting:
                if request.issued is not None or device not in self.issuing:
                    self._complete(line, now, request)
                else:
                    self.flushes[device].append(request)
        elif action == "C" and waiting and device not in self.flushing:
            self._complete(line, now, waiting.pop(0))

    def _complete(self, line: int, now: int, request: _Request) -> None:
        self.ended += 1
        if now < request.arrival:
            self.file.refuse("the completion is stamped before its request", line)
        elif self.served and request.issued is None:
            self.unissued += 1
        else:
            place = (None, None) if request.start is None else (request.start * SECTOR, request.sectors * SECTOR)
            response = (now - request.arrival) / TICKS_PER_SECOND
            service = (now - request.issued) / TICKS_PER_SECOND if self.served and request.issued is not None else None
            self.done.append((request.line, request.arrival, request.device, request.op, *place, response, service))
