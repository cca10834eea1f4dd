"""The project's own format as Parquet: the columns of `qtheory.traces.own`, null where nothing is recorded.

The file's metadata hold the version under `qtheory-trace`, the comments, a line each, under `comments`, and under
`checksum` the CRC-32 of everything before the footer, in eight hexadecimal digits: Parquet readers check little, so
a damaged file would give wrong numbers, or end the whole process where a length is damaged. A file that another
program wrote without these entries is read by its columns alone, without that protection. "Lines" in errors count
rows from 1.
"""

from __future__ import annotations

import io
import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from qtheory.traces.file import TraceFile
from qtheory.traces.own import BYTES, COLUMNS, REQUIRED, TIMES, VERSION
from qtheory.traces.records import gather
from qtheory.traces.trace import Trace

if TYPE_CHECKING:
    import polars as pl

VERSION_KEY = "qtheory-trace"
COMMENTS_KEY = "comments"
CHECKSUM_KEY = "checksum"
UNKNOWN = "crc32:--------"  # holds the place until the bytes are there


def sniff(head: bytes) -> bool:
    """Whether the content starts like a Parquet file."""
    return head.startswith(b"PAR1")


def read(file: TraceFile) -> Trace:
    """Read the file; raises TraceError as the package's text says."""
    import polars as pl

    if not sniff(file.head):
        raise file.error("not a Parquet file")
    content = file.content()
    try:
        metadata = pl.read_parquet_metadata(io.BytesIO(content))
        if (version := metadata.get(VERSION_KEY, VERSION)) != VERSION:
            raise file.error(f"version {version!r} of the format is not known, only {VERSION}")
        ours = VERSION_KEY in metadata or CHECKSUM_KEY in metadata
        if ours and metadata.get(CHECKSUM_KEY) != _checksum(content):
            raise file.error("the Parquet data are damaged (the checksum differs)")
        rows = _typed(file, pl.read_parquet(io.BytesIO(content)))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as broken:
        raise file.error(f"the Parquet data are cut short or damaged ({str(broken).splitlines()[0]})") from None
    file.comments.extend(metadata[COMMENTS_KEY].split("\n") if metadata.get(COMMENTS_KEY) else ())
    return gather(file, [rows])


def write(trace: Trace, path: Path) -> None:
    """Write the trace to `path`."""
    metadata = {CHECKSUM_KEY: UNKNOWN, VERSION_KEY: VERSION, COMMENTS_KEY: "\n".join(trace.comments)}
    buffer = io.BytesIO()
    trace.to_polars().write_parquet(buffer, metadata=metadata)
    content = buffer.getvalue()
    # in the footer the value follows its key, with the value's type and length, a byte each, between them
    key = re.compile(f"{CHECKSUM_KEY}..(?={UNKNOWN})".encode(), re.DOTALL)
    found = key.search(content, _footer(content))
    assert found is not None
    place = found.end()
    path.write_bytes(content[:place] + _checksum(content).encode() + content[place + len(UNKNOWN) :])


def _footer(content: bytes) -> int:
    """Where the footer starts: its length stands before the closing magic."""
    return len(content) - 8 - int.from_bytes(content[-8:-4], "little")


def _checksum(content: bytes) -> str:
    return f"crc32:{zlib.crc32(content[: _footer(content)]):08x}"


def _typed(file: TraceFile, frame: pl.DataFrame) -> pl.DataFrame:
    """The columns as `gather` wants them; others are refused."""
    import polars as pl

    for name in REQUIRED:
        if name not in frame.columns:
            raise file.error(f"the column {name!r} is missing")
    for name, kind in frame.schema.items():
        if name not in COLUMNS:
            raise file.error(f"unknown column {name!r}, not one of {', '.join(COLUMNS)}")
        if name in TIMES and not kind.is_numeric():
            raise file.error(f"the column {name!r} must hold numbers, not {kind}")
        if name in BYTES and not kind.is_integer():
            raise file.error(f"the column {name!r} must hold whole numbers, not {kind}")
    return frame.select(
        pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("line"),
        pl.concat_str(pl.all().cast(pl.String).fill_null(""), separator=",").alias("row"),
        *(pl.col(name).cast(pl.Float64) for name in TIMES if name in frame.columns),
        *(pl.col(name).cast(pl.Int64) for name in BYTES if name in frame.columns),
        pl.col("disk").cast(pl.String),
        (pl.col("op").cast(pl.String).fill_null("other") if "op" in frame.columns else pl.lit("other")).alias("op"),
    )
