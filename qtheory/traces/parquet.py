"""The project's own format as Parquet: the columns of `qtheory.traces.own`, null where nothing is recorded.

The file's metadata hold the version under `qtheory-trace`, the comments, a line each, under `comments`, what its time
0 is on another clock under `origin`, and under `checksum` the CRC-32 of everything before the footer, in eight
hexadecimal digits: Parquet readers check little, so a damaged file would give wrong numbers, or end the whole process
where a length is damaged. A file that another program wrote without these entries is read by its columns alone,
without that protection. "Lines" in errors count rows from 1.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from qtheory.arguments import real
from qtheory.traces.file import TraceFile
from qtheory.traces.own import KINDS, REQUIRED, VERSION

if TYPE_CHECKING:
    import polars as pl

TICKS_PER_SECOND = 1
ROWS = 1 << 18  # read at a time, and in a row group
PIECE = 1 << 20  # bytes
VERSION_KEY = "qtheory-trace"
COMMENTS_KEY = "comments"
ORIGIN_KEY = "origin"
CHECKSUM_KEY = "checksum"
UNKNOWN = "crc32:--------"  # holds the place until the bytes are there


def sniff(head: bytes) -> bool:
    """Whether the content starts like a Parquet file."""
    return head.startswith(b"PAR1")


def records(file: TraceFile) -> Iterator[pl.DataFrame]:
    """The records in the file; raises TraceError as the package's text says."""
    import polars as pl

    if not sniff(file.head):
        raise file.error("not a Parquet file")
    unpacked = file.content() if file.packed else None
    try:
        metadata = pl.read_parquet_metadata(file.path if unpacked is None else io.BytesIO(unpacked))
        if (version := metadata.get(VERSION_KEY, VERSION)) != VERSION:
            raise file.error(f"version {version!r} of the format is not known, only {VERSION}")
        ours = VERSION_KEY in metadata or CHECKSUM_KEY in metadata
        if ours:
            with open(file.path, "rb") if unpacked is None else io.BytesIO(unpacked) as content:
                if metadata.get(CHECKSUM_KEY) != _checksum(content):
                    raise file.error("the Parquet data are damaged (the checksum differs)")
        file.comments.extend(metadata[COMMENTS_KEY].split("\n") if metadata.get(COMMENTS_KEY) else ())
        file.origin = _origin(file, metadata.get(ORIGIN_KEY, "0"))
        table = pl.scan_parquet(file.path if unpacked is None else io.BytesIO(unpacked), glob=False)
        _check(file, table.collect_schema())
        for start in range(0, int(table.select(pl.len()).collect().item()), ROWS):
            frame = table.slice(start, ROWS).collect()
            file.text_of = _shown(frame, start)
            yield _typed(frame, start)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as broken:
        raise file.error(f"the Parquet data are cut short or damaged ({str(broken).splitlines()[0]})") from None


def write(path: Path, frames: Iterable[pl.DataFrame], origin: float, comments: Sequence[str]) -> None:
    """Write frames of these columns to `path`."""
    from polars.io.plugins import register_io_source

    metadata = {CHECKSUM_KEY: UNKNOWN, VERSION_KEY: VERSION, COMMENTS_KEY: "\n".join(comments)}
    if origin:
        metadata[ORIGIN_KEY] = repr(origin)
    coming = iter(frames)
    first = next(coming)
    table = register_io_source(lambda *_: chain([first], coming), schema=first.schema)
    table.sink_parquet(path, metadata=metadata, maintain_order=True, row_group_size=ROWS)
    with open(path, "r+b") as file:
        # in the footer the value follows its key, with the value's type and length, a byte each, between them
        key = re.compile(f"{CHECKSUM_KEY}..(?={UNKNOWN})".encode(), re.DOTALL)
        footer = file.seek(_footer(file))
        found = key.search(file.read())
        assert found is not None
        checksum = _checksum(file).encode()
        file.seek(footer + found.end())
        file.write(checksum)


def _footer(content: BinaryIO) -> int:
    """Where the footer starts: its length stands before the closing magic."""
    end = content.seek(-8, io.SEEK_END)
    return end - int.from_bytes(content.read(4), "little")


def _checksum(content: BinaryIO) -> str:
    """Of all before the footer, read in pieces: mapped, the whole file would be resident."""
    left = _footer(content)
    content.seek(0)
    crc = 0
    while left > 0 and (piece := content.read(min(left, PIECE))):
        crc = zlib.crc32(piece, crc)
        left -= len(piece)
    return f"crc32:{crc:08x}"


def _origin(file: TraceFile, text: str) -> float:
    try:
        return real(ORIGIN_KEY, float(text))
    except ValueError:
        raise file.error(f"{ORIGIN_KEY} must be a number, not {text!r}") from None


def _check(file: TraceFile, schema: pl.Schema) -> None:
    """Refuse columns that `qtheory.traces.own` does not have, or of another kind."""
    for name in REQUIRED:
        if name not in schema:
            raise file.error(f"the column {name!r} is missing")
    for name, kind in schema.items():
        if name not in KINDS:
            raise file.error(f"unknown column {name!r}, not one of {', '.join(KINDS)}")
        if KINDS[name] == "decimal" and not kind.is_numeric():
            raise file.error(f"the column {name!r} must hold numbers, not {kind}")
        if KINDS[name] == "whole" and not kind.is_integer():
            raise file.error(f"the column {name!r} must hold whole numbers, not {kind}")


def _typed(frame: pl.DataFrame, start: int) -> pl.DataFrame:
    """The columns as records have them."""
    import polars as pl

    types = {"decimal": pl.Float64, "whole": pl.Int64, "text": pl.String}
    typed = frame.select(pl.col(name).cast(types[KINDS[name]]) for name in frame.columns)
    op = pl.col("op").fill_null("other") if "op" in frame.columns else pl.lit("other")
    return typed.with_columns(line=pl.int_range(start + 1, start + len(frame) + 1, dtype=pl.Int64), op=op)


def _shown(frame: pl.DataFrame, start: int) -> Callable[[int], str]:
    """The text of a row, by its number."""
    return lambda row: ",".join("" if value is None else str(value) for value in frame.row(row - start - 1))
