"""A recorded request stream: what every reader returns and what fits, plots and simulations take.

Requests stand in order of arrival, one element of every array each. The clock starts at the first arrival of the
recording; a part cut out with `select` keeps that clock.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory.arguments import choice, positive, real

if TYPE_CHECKING:
    import polars as pl

    from qtheory.laws import Law
    from qtheory.traces.summary import TraceSummary

OPERATIONS = ("read", "write", "flush", "discard", "other")
LONGEST = 4e9  # s, until 2096: a longer time is in another unit, and all sums still fit in 64 bits of nanoseconds
NOT_IN_NAMES = r'[,"\r\n]'


def is_name(text: str) -> bool:
    """Whether a disk may be called so."""
    return text != "" and re.search(NOT_IN_NAMES, text) is None


class Block(NamedTuple):
    """A stretch of a trace, for those who go through it once; the arrays as in `Trace`.

    Disks are numbered in the order in which they first appear.
    """

    arrival: NDArray[np.float64]
    disk: NDArray[np.int64]
    op: NDArray[np.int8]
    offset: NDArray[np.int64]
    size: NDArray[np.int64]
    response: NDArray[np.float64] | None
    service: NDArray[np.float64] | None

    def take(self, which: Any) -> Block:
        """Some of its requests, by slice, mask or index."""
        return Block(*(None if column is None else column[which] for column in self))  # type: ignore[arg-type]


def operation_counts(disk: NDArray[np.int64], op: NDArray[np.int8], disks: int) -> NDArray[np.int64]:
    """Requests of each disk, a row, by operation."""
    cell = disk * len(OPERATIONS) + op
    return np.bincount(cell, minlength=disks * len(OPERATIONS)).reshape(disks, len(OPERATIONS))


def operation_shares(counts: NDArray[np.int64]) -> tuple[dict[str, float], ...]:
    """The shares of the operations that occur, for each disk."""
    return tuple(
        {op: number / sum(row) for op, number in zip(OPERATIONS, row, strict=True) if number} for row in counts.tolist()
    )


def joined(blocks: Sequence[Block]) -> Block:
    """One block of several."""
    columns = zip(*blocks, strict=True)
    return Block(*(None if column[0] is None else np.concatenate(column) for column in columns))  # type: ignore[arg-type]


class Selection(NamedTuple):
    """Which requests: of these disks and operations (None: all), arriving in `start` <= t < `stop` [s]."""

    disks: tuple[str, ...] | None
    start: float
    stop: float
    operations: tuple[str, ...] | None

    @classmethod
    def of(
        cls,
        disks: str | Sequence[str] | None = None,
        start: float | None = None,
        stop: float | None = None,
        operations: str | Sequence[str] | None = None,
    ) -> Selection:
        """Check what a user asks for."""
        names = (disks,) if isinstance(disks, str) else None if disks is None else tuple(disks)
        ops = (operations,) if isinstance(operations, str) else None if operations is None else tuple(operations)
        for op in ops or ():
            choice("operations", op, OPERATIONS)
        begin, end = (-math.inf if start is None else start), (math.inf if stop is None else stop)
        if not begin < end:
            raise ValueError(f"stop must be later than start={start!r}, not {stop!r}")
        return cls(names, begin, end, ops)

    def mask(self, block: Block, disks: Sequence[str]) -> NDArray[np.bool_]:
        """Which requests of the block they are; its `disk` counts in `disks`."""
        chosen = (block.arrival >= self.start) & (block.arrival < self.stop)
        if self.disks is not None:
            chosen &= np.isin(block.disk, [i for i, name in enumerate(disks) if name in self.disks])
        if self.operations is not None:
            chosen &= np.isin(block.op, [OPERATIONS.index(op) for op in self.operations])
        return chosen

    def __str__(self) -> str:
        given = {name: value for name, value in self._asdict().items() if value not in (None, -math.inf, math.inf)}
        return ", ".join(f"{name}={value!r}" for name, value in given.items())


@dataclass(frozen=True, eq=False, kw_only=True)
class Trace:
    """Requests of one or more disks, in order of arrival.

    Parameters
    ----------
    arrival : array of float
        Arrival times [s], rising (equal ones allowed), >= 0.
    disk : array of int
        Whose request it is: an index into `disks`.
    disks : sequence of str
        The disks' names, each with at least one request.
    op : array of int
        What it is: an index into `OPERATIONS`.
    offset, size : array of int
        Where on the disk and how long [bytes]; −1: not recorded.
    response : array of float or None
        From arrival to completion [s]; None: not recorded.
    service : array of float or None
        From the start of service to completion [s]; None: not recorded.
    origin : float
        Time 0 of `arrival` on the recording's own clock [s], such as the Unix epoch's; 0 where that is not known.
    source : str
        Where the trace comes from.
    comments : sequence of str
        What the recording says about itself, a line each.
    warnings : sequence of str
        What reading it had to leave out or put right, with counts.

    Arrays are read-only. Raises ValueError naming the argument that does not fit.

    Examples
    --------
    >>> trace = Trace(arrival=[0.0, 0.5, 2.0], disk=[0, 1, 0], disks=["a", "b"], op=[0, 0, 1],
    ...               offset=[0, 0, 4096], size=[4096, 4096, 512], response=[0.1, 0.1, 0.2])
    >>> len(trace), trace.span, trace.select(disks="a").size
    (3, 2.0, array([4096,  512]))
    """

    arrival: NDArray[np.float64]
    disk: NDArray[np.int64]
    disks: tuple[str, ...]
    op: NDArray[np.int8]
    offset: NDArray[np.int64]
    size: NDArray[np.int64]
    response: NDArray[np.float64] | None = None
    service: NDArray[np.float64] | None = None
    origin: float = 0.0
    source: str = ""
    comments: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __init__(
        self,
        *,
        arrival: ArrayLike,
        disk: ArrayLike,
        disks: Sequence[str],
        op: ArrayLike,
        offset: ArrayLike,
        size: ArrayLike,
        response: ArrayLike | None = None,
        service: ArrayLike | None = None,
        origin: float = 0.0,
        source: str = "",
        comments: Sequence[str] = (),
        warnings: Sequence[str] = (),
    ) -> None:
        put = object.__setattr__
        put(self, "arrival", _times("arrival", arrival))
        n = len(self.arrival)
        if n == 0:
            raise ValueError("arrival must have at least one request")
        if np.any(np.diff(self.arrival) < 0):
            raise ValueError("arrival must be in order")
        put(self, "disks", tuple(disks))
        put(self, "disk", _whole("disk", disk, n, np.int64, range(len(self.disks))))
        put(self, "op", _whole("op", op, n, np.int8, range(len(OPERATIONS))))
        put(self, "offset", _whole("offset", offset, n, np.int64))
        put(self, "size", _whole("size", size, n, np.int64))
        put(self, "response", None if response is None else _times("response", response, n))
        put(self, "service", None if service is None else _times("service", service, n))
        put(self, "origin", real("origin", origin))
        put(self, "source", source)
        put(self, "comments", tuple(comments))
        put(self, "warnings", tuple(warnings))
        if len(set(self.disks)) < len(self.disks):
            raise ValueError(f"disks must have different names, not {self.disks}")
        for i, name in enumerate(self.disks):
            if not is_name(name):
                raise ValueError(f"disks[{i}] must be a name without commas, quotes and line ends, not {name!r}")
        idle = np.flatnonzero(np.bincount(self.disk, minlength=len(self.disks)) == 0)
        if len(idle):
            raise ValueError(f"disks[{idle[0]}] ({self.disks[idle[0]]!r}) must have at least one request")
        for i, comment in enumerate(self.comments):
            if "\n" in comment or "\r" in comment:
                raise ValueError(f"comments[{i}] must be one line, not {comment!r}")

    def __len__(self) -> int:
        return len(self.arrival)

    def __repr__(self) -> str:
        return f"Trace({self.source!r}, {len(self)} requests of {len(self.disks)} disk(s) in {self.span:.6g} s)"

    @property
    def span(self) -> float:
        """Time from the first to the last arrival [s]."""
        return float(self.arrival[-1] - self.arrival[0])

    @property
    def rates(self) -> NDArray[np.float64]:
        """Requests per second of each disk, over the span of all; ValueError when that is 0."""
        if self.span == 0.0:
            raise ValueError(f"{self.source or 'trace'}: arrivals must span some time to have a rate")
        return np.asarray(np.bincount(self.disk, minlength=len(self.disks)) / self.span)

    @property
    def operations(self) -> tuple[dict[str, float], ...]:
        """How often each disk asks for which operation, as `Disk(operations=)` takes it."""
        return operation_shares(operation_counts(self.disk, self.op, len(self.disks)))

    def select(
        self,
        disks: str | Sequence[str] | None = None,
        start: float | None = None,
        stop: float | None = None,
        operations: str | Sequence[str] | None = None,
    ) -> Trace:
        """The requests of some disks and operations that arrive in `start` <= t < `stop` [s], on the same clock.

        Disks without a request among them are left out. Raises ValueError when a disk or an operation is unknown or
        nothing is left.
        """
        selection = Selection.of(disks, start, stop, operations)
        for name in selection.disks or ():
            if name not in self.disks:
                raise ValueError(f"disks must be among {', '.join(self.disks)}, not {name!r}")
        chosen = selection.mask(self.block, self.disks)
        if not chosen.any():
            raise ValueError(f"no request is selected by {selection}")
        return self._with(self.block.take(chosen), self.disks)

    def merged(self, *others: Trace) -> Trace:
        """This trace and others on one clock, as their origins say; a disk that several have is the same disk.

        Traces without an origin (0) are taken to begin at the same moment. Raises ValueError when some have an origin
        and others have not.
        """
        traces = (self, *others)
        unknown = [trace for trace in traces if trace.origin == 0.0]
        if 0 < len(unknown) < len(traces):
            raise ValueError(f"others must all have an origin or none: {unknown[0].source or 'one'} has none")
        for name in ("response", "service"):
            missing = [trace for trace in traces if getattr(trace, name) is None]
            if 0 < len(missing) < len(traces):
                raise ValueError(f"others must all have {name} times or none: {missing[0].source or 'one'} has none")
        zero = min(trace.origin for trace in traces)
        disks = list(dict.fromkeys(name for trace in traces for name in trace.disks))
        blocks = [
            trace.block._replace(
                arrival=trace.arrival + (trace.origin - zero),
                disk=np.array([disks.index(name) for name in trace.disks])[trace.disk],
            )
            for trace in traces
        ]
        whole = joined(blocks)
        return replace(
            self._with(whole.take(np.argsort(whole.arrival, kind="stable")), disks),
            origin=zero,
            source=" + ".join(trace.source for trace in traces),
            comments=tuple(comment for trace in traces for comment in trace.comments),
            warnings=tuple(warning for trace in traces for warning in trace.warnings),
        )

    def scaled(self, factor: float) -> Trace:
        """The same requests with all arrival times multiplied by `factor`: 0.5 for twice the rate.

        Response and service times stay: they say what the device did. Raises ValueError for a factor that is not
        positive.
        """
        return replace(self, arrival=self.arrival * positive("factor", factor))

    def _with(self, block: Block, disks: Sequence[str]) -> Trace:
        """These requests instead, whose `disk` counts in `disks`, of which those without a request go."""
        present, disk = np.unique(block.disk, return_inverse=True)
        return replace(self, **block._replace(disk=disk)._asdict(), disks=tuple(disks[i] for i in present))

    def write(self, path: str | PathLike[str]) -> None:
        """Write the trace in the project's own format: `.csv`, `.csv.gz` or `.parquet`, told by the name's end.

        The same trace makes the same bytes; reading them gives the same trace, its clock from the first arrival.
        Warnings are not written: they are about how this trace was read. Raises ValueError for another suffix.
        """
        from qtheory.traces.own import frame

        write_frames(path, [frame(self.block, self.disks)], self.origin, self.comments)

    @property
    def block(self) -> Block:
        """All of it as one block."""
        return Block(*(getattr(self, name) for name in Block._fields))

    def summary(self, service: Law | None = None) -> TraceSummary:
        """Rates, variability, sizes, responses and burstiness, by disk and in total; `print` shows a table.

        `service` is the law of service times whose peakedness the verdict tells; None: the recorded one, if any.
        """
        from qtheory.traces.summary import summarize

        return summarize(self, service)


def write_frames(
    path: str | PathLike[str], frames: Iterable[pl.DataFrame], origin: float, comments: Sequence[str]
) -> None:
    """Write frames in the columns of the project's own format to the file whose kind the name's end tells."""
    from qtheory.traces import own, parquet

    target = Path(path)
    if target.name.endswith((".csv", ".csv.gz")):
        own.write(target, frames, origin, comments)
    elif target.name.endswith(".parquet"):
        parquet.write(target, frames, origin, comments)
    else:
        raise ValueError(f"path must end in .csv, .csv.gz or .parquet, not {str(path)!r}")


def _times(name: str, values: ArrayLike, n: int | None = None) -> NDArray[np.float64]:
    """Read-only times [s]; refuse what cannot be one."""
    times = np.array(values, dtype=np.float64)
    _shaped(name, times, n)
    bad = np.flatnonzero(~((times >= 0) & (times < LONGEST)))
    if len(bad):
        raise ValueError(f"{name}[{bad[0]}] must be a time in seconds from 0 to {LONGEST:.0e}, not {times[bad[0]]!r}")
    times.flags.writeable = False
    return times


def _whole(name: str, values: ArrayLike, n: int, dtype: Any, allowed: range | None = None) -> NDArray[Any]:
    """Read-only whole numbers, indexes within `allowed` or sizes from −1; refuse others."""
    given = np.asarray(values)
    _shaped(name, given, n)
    if not np.issubdtype(given.dtype, np.integer):
        raise ValueError(f"{name} must hold whole numbers, not {given.dtype}")
    least, most = (allowed.start, allowed.stop - 1) if allowed is not None else (-1, np.iinfo(np.int64).max)
    bad = np.flatnonzero((given < least) | (given > most))
    if len(bad):
        raise ValueError(f"{name}[{bad[0]}] must be from {least} to {most}, not {given[bad[0]]}")
    numbers = given.astype(dtype)  # a copy: the caller keeps his own
    numbers.flags.writeable = False
    return numbers


def _shaped(name: str, values: NDArray[Any], n: int | None) -> None:
    if values.ndim != 1 or (n is not None and len(values) != n):
        raise ValueError(f"{name} must have one value for each request, not shape {values.shape}")
