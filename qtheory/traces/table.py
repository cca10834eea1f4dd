"""Published traces in which every row is a request and every field is filled.

MSR Cambridge, SPC, SYSTOR '17, Alibaba, Tencent, CloudPhysics and SSDsim differ in the order of their columns, in
their words for read and write and in their units. What they share is here: a field may not be empty, no number is
negative, disks are numbered, and a header is there or not. The first line tells these formats apart: where one has a
letter another has a digit, so that no line is in two of them (`tests/test_table_formats.py` draws lines and looks).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from qtheory.traces.fields import Kind, fields
from qtheory.traces.file import TraceFile
from qtheory.traces.trace import OPERATIONS

if TYPE_CHECKING:
    import polars as pl

SECTOR = 512
MOST_SECTORS = 1 << 52  # so that bytes fit in 64 bits


def first_line(head: bytes) -> bytes:
    """The first line of the content, without byte order mark and line end."""
    return head.removeprefix(b"\xef\xbb\xbf").split(b"\n", 1)[0].removesuffix(b"\r")


def table(
    file: TraceFile,
    columns: Mapping[str, Kind | None],
    operations: Mapping[str, str],
    known: str,
    *,
    disk: str = "",
    separator: str = ",",
    header: bytes | None = None,
    sectors: Collection[str] = (),
    optional: Collection[str] = (),
) -> Iterator[pl.DataFrame]:
    """Frames of `line` and the columns, as `qtheory.traces.fields` has them, with `op` and `disk` in our words.

    `operations` translates the column `op`, in small or capital letters, and `known` says in an error what it holds.
    The number in the column `disk`, if there is one, gets the word `disk` in front. The columns `sectors` come in
    sectors of 512 bytes and leave in bytes. Rows with an empty field, other than in the columns `optional`, are
    refused.
    """
    import polars as pl

    rules = {}
    for name, kind in columns.items():
        if kind == "text" and name != "op":
            rules[f"{name} is empty"] = pl.col(name) != ""
        elif kind in ("whole", "decimal") and name not in optional:
            rules[f"{name} is empty"] = pl.col(name).is_not_null()
        if kind == "whole":
            rules[f"{name} must not be negative"] = pl.col(name) >= 0
    rules |= {f"{name} must be below 2^52 sectors": pl.col(name) < MOST_SECTORS for name in sectors}
    rules[f"op must be {known}"] = pl.col("op").is_not_null()
    spelled = {spelling: op for word, op in operations.items() for spelling in (word, word.lower(), word.upper())}
    op = pl.col("op").cast(pl.String).replace_strict(spelled, default=None, return_dtype=pl.Enum(OPERATIONS))
    in_bytes = [pl.col(name) * SECTOR for name in sectors]
    for frame in fields(file, columns, separator, skip=int(first_line(file.head) == header)):
        good = file.sift(frame.with_columns(op=op), rules).with_columns(in_bytes)
        if "disk" in columns:
            numbers = good["disk"].unique()
            names = pl.Series([f"{disk}{number}" for number in numbers], dtype=pl.String)
            named = pl.col("disk").replace_strict(numbers, names, return_dtype=pl.Enum(names))
            good = good.with_columns(disk=named)
        yield good
