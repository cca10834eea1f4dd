"""Recorded request streams: `read_trace` finds the format and returns a `Trace`.

One file for each format. A reader is a module with `sniff(head)`, whether a file's first bytes are in its format,
`records(file)`, which yields what is in it a frame at a time (`qtheory.traces.records` says in which columns), and
`TICKS_PER_SECOND` of its arrival times; it is entered in `READERS` below, and that is all.

A trace is never half-read without a word. What cannot be used raises `TraceError`, one line with file, line number,
what is wrong, and the row; records out of order are sorted, incomplete ones left out, and bad ones skipped if the
user asks for it, each with a count in the trace's `warnings`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import resources
from os import PathLike
from typing import TYPE_CHECKING, Protocol

from qtheory.arguments import choice
from qtheory.traces import (
    alibaba,
    biosnoop,
    blkparse,
    cloudphysics,
    fio_iolog,
    fio_latency,
    msr,
    own,
    parquet,
    qemu,
    spc,
    ssdsim,
    systor17,
    tencent,
)
from qtheory.traces.file import TraceError, TraceFile
from qtheory.traces.records import Records, gather
from qtheory.traces.stream import TraceStream
from qtheory.traces.trace import OPERATIONS, Selection, Trace

if TYPE_CHECKING:
    import polars as pl

__all__ = ["OPERATIONS", "READERS", "Trace", "TraceError", "TraceStream", "bundled_trace", "read_trace", "scan_trace"]


class Reader(Protocol):
    """What a format's module has."""

    def sniff(self, head: bytes, /) -> bool:
        """Whether a file that starts with `head` is in this format."""

    def records(self, file: TraceFile, /) -> Iterator[pl.DataFrame]:
        """The records in the file; see `qtheory.traces.records`."""

    @property
    def TICKS_PER_SECOND(self) -> int:
        """Ticks of the arrival times in a second: 1 where they are in seconds."""


READERS: dict[str, Reader] = {
    "qtheory": own,
    "parquet": parquet,
    "qemu": qemu,
    "msr": msr,
    "spc": spc,
    "ssdsim": ssdsim,
    "systor17": systor17,
    "alibaba": alibaba,
    "tencent": tencent,
    "cloudphysics": cloudphysics,
    "blkparse": blkparse,
    "biosnoop": biosnoop,
    "fio-latency": fio_latency,
    "fio-iolog": fio_iolog,
}


def read_trace(path: str | PathLike[str], format: str | None = None, *, skip_bad_rows: bool = False) -> Trace:
    """Read a trace; gzip, bzip2, xz (and zstd, from Python 3.14) are unpacked on the way.

    Parameters
    ----------
    path : path
        The file.
    format : str, optional
        One of `READERS`, each of which is documented in the module of its name. By default it is found from the
        content.
    skip_bad_rows : bool
        Leave malformed rows out and count them in the trace's `warnings`, instead of refusing the file.

    Raises TraceError (a ValueError) when the file cannot be used, and ValueError for an unknown format's name.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "guest.csv")
    ...     _ = path.write_text("# qtheory-trace 1\\narrival,disk,op\\n0,vda,read\\n0.2,vda,wrote\\n0.5,vda,write\\n")
    ...     trace = read_trace(path, skip_bad_rows=True)
    >>> trace.arrival, trace.disks
    (array([0. , 0.5]), ('vda',))
    >>> trace.warnings
    ('1 bad row skipped: op must be one of read, write, flush, discard, other (first at line 4)',)
    """
    if format is not None:
        choice("format", format, READERS)
    return gather(_records(TraceFile(path, skip_bad_rows=skip_bad_rows), format))


def scan_trace(
    path: str | PathLike[str],
    format: str | None = None,
    *,
    disks: str | Sequence[str] | None = None,
    start: float | None = None,
    stop: float | None = None,
    operations: str | Sequence[str] | None = None,
    skip_bad_rows: bool = False,
    progress: bool = False,
) -> TraceStream:
    """A trace that stays in its file, however large: to be summarized, converted or replayed in constant memory.

    Parameters
    ----------
    path, format, skip_bad_rows
        As in `read_trace`.
    disks, start, stop, operations
        Take only these requests, as `Trace.select` does.
    progress : bool
        Show a progress bar when a pass over the file takes longer than two seconds.

    Raises TraceError and ValueError as `read_trace`, but for what is in the rows only when they are read.

    Examples
    --------
    >>> with resources.as_file(resources.files("qtheory.traces") / "bundled" / "guest4.csv.gz") as path:
    ...     stream = scan_trace(path, operations="read", stop=1.0)
    ...     sum(len(block.arrival) for block in stream), len(stream), len(stream.disks)
    (582, 582, 3)
    """
    if format is not None:
        choice("format", format, READERS)
    TraceFile(path)  # refuses what is not a file now, not at the first pass
    selection = Selection.of(disks, start, stop, operations)
    return TraceStream(
        path, lambda file: _records(file, format), selection, skip_bad_rows=skip_bad_rows, progress=progress
    )


def _records(file: TraceFile, format: str | None) -> Records:
    """What the reader of this format, or of the one that the content shows, finds in the file."""
    for name, reader in READERS.items():
        if format == name or (format is None and reader.sniff(file.head)):
            return Records(file, reader.records(file), reader.TICKS_PER_SECOND)
    first = file.head.split(b"\n", 1)[0].decode("utf-8", "replace")
    raise file.error(f"the content is in none of the known formats ({', '.join(READERS)})", 1, first)


def bundled_trace() -> Trace:
    """The trace that comes with the package: four disks of a guest under QEMU 7.2, with response times."""
    with resources.as_file(resources.files("qtheory.traces") / "bundled" / "guest4.csv.gz") as path:
        return read_trace(path, format="qtheory")
