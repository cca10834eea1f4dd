"""The project's own trace format, version 1: a CSV file that people and programs can write without help.

    # qtheory-trace 1
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

An empty field (not of the required ones) means: not recorded; a missing op reads as `other`. Response and service
are recorded for all rows or for none. The file may be packed with gzip, bzip2, xz or zstd. `qtheory.traces.parquet`
holds the same columns.

Rows are parsed by polars, as text first, because its own CSV reader drops or pads some malformed rows without a word.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from qtheory.traces.file import TraceFile
from qtheory.traces.records import gather
from qtheory.traces.trace import Trace

if TYPE_CHECKING:
    import polars as pl

MAGIC = "# qtheory-trace"
VERSION = "1"
REQUIRED = ("arrival", "disk")
COLUMNS = (*REQUIRED, "op", "offset", "size", "response", "service")
TIMES = ("arrival", "response", "service")
BYTES = ("offset", "size")


def sniff(head: bytes) -> bool:
    """Whether the content starts like this format."""
    return head.removeprefix(b"\xef\xbb\xbf").startswith(MAGIC.encode())


def read(file: TraceFile) -> Trace:
    """Read the file; raises TraceError as the package's text says."""
    first = file.head.decode("utf-8-sig", "replace").split("\n", 1)[0].rstrip("\r")
    if not first.startswith(MAGIC):
        raise file.error(f"the first line must be '{MAGIC} {VERSION}'", 1, first)
    if (version := first.removeprefix(MAGIC).strip()) != VERSION:
        raise file.error(f"version {version!r} of the format is not known, only {VERSION}", 1, first)
    frames = file.rows()
    (line, header), body = _heading(file, next(frames))
    columns = _columns(file, line, header)

    def typed() -> Iterator[pl.DataFrame]:
        yield _typed(file, body, columns)
        for frame in frames:
            yield _typed(file, frame, columns)

    return gather(file, typed())


def write(trace: Trace, path: Path) -> None:
    """Write the trace to `path`, packed when its name ends in `.gz`; the same trace makes the same bytes."""
    heading = "".join(f"# {comment}\n" for comment in trace.comments)
    content = f"{MAGIC} {VERSION}\n{heading}{trace.to_polars().write_csv()}".encode()
    path.write_bytes(gzip.compress(content, 6, mtime=0) if path.suffix == ".gz" else content)


def _heading(file: TraceFile, frame: pl.DataFrame) -> tuple[tuple[int, str], pl.DataFrame]:
    """The header with its line number, and the rows after it; the comments before it are noted."""
    for at, (line, row) in enumerate(frame.iter_rows()):
        if not row.startswith("#"):
            return (line, row), frame.slice(at + 1)
        if line > 1:
            file.comments.append(row.removeprefix("#").removeprefix(" "))
    raise file.error("the file ends before the header that names the columns")


def _columns(file: TraceFile, line: int, header: str) -> list[str]:
    """The columns that the header names."""
    columns = [name.strip() for name in header.split(",")]
    for name in REQUIRED:
        if name not in columns:
            raise file.error(f"the header lacks the column {name!r}", line, header)
    for i, name in enumerate(columns):
        if name not in COLUMNS:
            raise file.error(
                f"the header has an unknown column {name!r}, not one of {', '.join(COLUMNS)}", line, header
            )
        if name in columns[:i]:
            raise file.error(f"the header has the column {name!r} twice", line, header)
    return columns


def _typed(file: TraceFile, rows: pl.DataFrame, columns: list[str]) -> pl.DataFrame:
    """The rows with their fields as numbers; malformed ones are refused."""
    import polars as pl

    commas = pl.col("row").str.count_matches(",", literal=True)
    wrong_width = f"the row must have {len(columns)} fields, as the header"
    rows = file.sift(rows, {wrong_width: commas == len(columns) - 1})
    fields = pl.col("row").str.split_exact(",", len(columns) - 1).struct.rename_fields(columns)
    texts = rows.with_columns(fields.alias("fields")).unnest("fields")

    rules, numbers = {}, []
    for names, kind, what in ((TIMES, pl.Float64, "a number"), (BYTES, pl.Int64, "a whole number")):
        for name in (name for name in names if name in columns):
            number = pl.col(name).cast(kind, strict=False)
            numbers.append(number)
            rules[f"{name} must be {what}"] = (pl.col(name) == "") | number.is_not_null()
    op = pl.when(pl.col("op") == "").then(pl.lit("other")).otherwise("op") if "op" in columns else pl.lit("other")
    return file.sift(texts, rules).with_columns(*numbers, op=op)
