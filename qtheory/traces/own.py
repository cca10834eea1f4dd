"""The project's own trace format, version 1: a CSV file that people and programs can write without help.

    # qtheory-trace 1
    # origin: 1721976657.700972
    # host: any comment, as many as wanted
    arrival,disk,op,offset,size,response
    0.000000,vda,read,1048576,4096,0.000213
    0.000087,vdb,flush,,,0.001920

UTF-8, one row a request, fields parted by commas and never quoted. After the first line and the comments comes the
header, which names the columns that the file has, in any order:

    arrival     seconds, decimal, >= 0, from any zero (an epoch costs digits), in order    required
    disk        a name without commas, quotes and line ends                                required
    op          read, write, flush, discard or other
    offset      bytes from the disk's start, a whole number
    size        bytes, a whole number
    response    seconds from arrival to completion
    service     seconds from the start of service to completion

The comment `origin`, where there is one, tells what the file's time 0 is on a clock outside it, in seconds.
An empty field (not of the required ones) means: not recorded; a missing op reads as `other`. Response and service
are recorded for all rows or for none. The file may be packed with gzip, bzip2, xz or zstd. `qtheory.traces.parquet`
holds the same columns.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtheory.traces.fields import Kind, fields
from qtheory.traces.file import TraceFile
from qtheory.traces.trace import OPERATIONS, Block

if TYPE_CHECKING:
    import polars as pl

TICKS_PER_SECOND = 1
MAGIC = "# qtheory-trace"
VERSION = "1"
ORIGIN = "origin: "
KINDS: dict[str, Kind] = {
    "arrival": "decimal",
    "disk": "text",
    "op": "text",
    "offset": "whole",
    "size": "whole",
    "response": "decimal",
    "service": "decimal",
}
REQUIRED = ("arrival", "disk")


def sniff(head: bytes) -> bool:
    """Whether the content starts like this format."""
    return head.removeprefix(b"\xef\xbb\xbf").startswith(MAGIC.encode())


def records(file: TraceFile) -> Iterator[pl.DataFrame]:
    """The records in the file; raises TraceError as the package's text says."""
    import polars as pl

    first = file.head.decode("utf-8-sig", "replace").split("\n", 1)[0].rstrip("\r")
    if not first.startswith(MAGIC):
        raise file.error(f"the first line must be '{MAGIC} {VERSION}'", 1, first)
    if (version := first.removeprefix(MAGIC).strip()) != VERSION:
        raise file.error(f"version {version!r} of the format is not known, only {VERSION}", 1, first)
    line, header = _heading(file)
    columns = _columns(file, line, header)
    no_op = pl.lit("other", pl.Enum(OPERATIONS))
    for frame in fields(file, {name: KINDS[name] for name in columns}, skip=line):
        if "op" not in columns:
            frame = frame.with_columns(op=no_op)
        elif (frame["op"] == "").any():
            frame = frame.with_columns(op=pl.col("op").cast(pl.String).replace("", "other"))
        yield frame


def write(path: Path, frames: Iterable[pl.DataFrame], origin: float, comments: Sequence[str]) -> None:
    """Write frames of these columns to `path`, packed when its name ends in `.gz`; the same make the same bytes."""
    heading = [f"{MAGIC} {VERSION}", *([f"# {ORIGIN}{origin!r}"] if origin else []), *(f"# {c}" for c in comments)]
    with open(path, "wb") as file:
        packed = gzip.GzipFile("", "wb", 6, file, mtime=0) if path.suffix == ".gz" else None
        target = packed or file
        target.write("".join(f"{line}\n" for line in heading).encode())
        for i, frame in enumerate(frames):
            target.write(frame.write_csv(include_header=i == 0).encode())
        if packed is not None:
            packed.close()


def frame(block: Block, disks: Sequence[str]) -> pl.DataFrame:
    """A stretch of a trace in the columns of this format, null where nothing is recorded."""
    import polars as pl

    columns: dict[str, Any] = {
        "arrival": block.arrival,
        "disk": pl.Series(disks).gather(block.disk),
        "op": pl.Series(OPERATIONS).gather(block.op),
        "offset": block.offset,
        "size": block.size,
        **({} if block.response is None else {"response": block.response}),
        **({} if block.service is None else {"service": block.service}),
    }
    known = [pl.when(pl.col(name) >= 0).then(name).alias(name) for name in ("offset", "size")]
    return pl.DataFrame(columns).with_columns(known)


def _heading(file: TraceFile) -> tuple[int, str]:
    """The header with its line number; the comments before it are noted."""
    for line, raw in enumerate(file.heading(b"#"), 1):
        try:
            row = raw.decode("utf-8-sig" if line == 1 else "utf-8")
        except UnicodeDecodeError:
            file.refuse("not UTF-8 text", line)
            continue
        comment = row.removeprefix("#").removeprefix(" ")
        if not row.startswith("#"):
            return line, row
        if line == 2 and re.fullmatch(ORIGIN + r"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?", comment):
            file.origin = float(comment.removeprefix(ORIGIN))
        elif line > 1:
            file.comments.append(comment)
    raise file.error("the file ends before the header that names the columns")


def _columns(file: TraceFile, line: int, header: str) -> list[str]:
    """The columns that the header names."""
    columns = [name.strip() for name in header.split(",")]
    for name in REQUIRED:
        if name not in columns:
            raise file.error(f"the header lacks the column {name!r}", line, header)
    for i, name in enumerate(columns):
        if name not in KINDS:
            raise file.error(f"the header has an unknown column {name!r}, not one of {', '.join(KINDS)}", line, header)
        if name in columns[:i]:
            raise file.error(f"the header has the column {name!r} twice", line, header)
    return columns
