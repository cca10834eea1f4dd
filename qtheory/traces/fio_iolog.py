"""Reader of the I/O logs that fio writes and replays (`write_iolog`, `read_iolog`), versions 3 and 2.

Version 3 (fio 3.31 and later) stamps each row with the microseconds since the start:

    fio version 3 iolog
    22 /dev/vda add
    123 /dev/vda open
    127 /dev/vda read 61440 4096
    811 /dev/vda sync 954368 0

The fields are: time, file, action, and for actions that are requests offset and length [bytes]. Version 2 has no
times but in rows of their own, `FILE wait MICROSECONDS 0`, each relative to the `wait` before it: here the clock is
their sum, and the rows between two of them arrive at once. (fio replays waits below 100 as none; they count here.)
Source: "Trace file format v2", "v3" in fio's HOWTO; that the unit of version 3 is microseconds is in its source only
(`log_io_u` in `iolog.c`).

A request arrives when fio issues it; completions are not in the log. `read`, `write`, `trim` (discard), and `sync`,
`datasync`, `sync_file_range`, `syncfs` (flush: of no place and size, whatever the row says) are requests. `add`,
`open` and `close` are of files: passed over, with a comment that counts them. A disk is a file. Names have no blanks.

fio appends to a log that exists. A second heading within the file would start the clock again: that is refused, as
is a version 2 log without a `wait`, which tells no times at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from qtheory.traces.file import TraceFile
from qtheory.traces.trace import LONGEST

if TYPE_CHECKING:
    import polars as pl

TICKS_PER_SECOND = 1_000_000
HEADING = re.compile(r"fio version ([0-9]+) iolog\s*")
OPERATION = {
    "read": "read",
    "write": "write",
    "trim": "discard",
    "sync": "flush",
    "datasync": "flush",
    "sync_file_range": "flush",
    "syncfs": "flush",
}
FLUSHES = [action for action, op in OPERATION.items() if op == "flush"]
OF_FILES = ("add", "open", "close")
WAIT = "wait"
MOST = int(LONGEST) * TICKS_PER_SECOND
GROUPS = ("time", "file", "action", "offset", "length")
ROW = {
    2: r"^()(\S+)[ \t]+(\S+)(?:[ \t]+([0-9]+)[ \t]+([0-9]+))?[ \t]*$",
    3: r"^([0-9]+)[ \t]+(\S+)[ \t]+(\S+)(?:[ \t]+([0-9]+)[ \t]+([0-9]+))?[ \t]*$",
}
FIELDS = {2: "FILE ACTION [OFFSET LENGTH]", 3: "TIME FILE ACTION [OFFSET LENGTH]"}


def sniff(head: bytes) -> bool:
    """Whether the content starts with the heading."""
    return HEADING.fullmatch(_first(head)) is not None


def records(file: TraceFile) -> Iterator[pl.DataFrame]:
    """The requests, in the order of the file; raises TraceError as the package's text says."""
    import polars as pl

    first = _first(file.head)
    heading = HEADING.fullmatch(first)
    if heading is None:
        raise file.error("the first line must be 'fio version 3 iolog' or 'fio version 2 iolog'", 1, first)
    if (version := int(heading[1])) not in ROW:
        raise file.error(f"version {version} of fio's iolog is not known, only 2 and 3", 1, first)
    flush = pl.col("action").is_in(FLUSHES)
    waited = waits = of_files = 0
    for rows in file.rows():
        frame = _actions(file, rows.filter(pl.col("line") > 1), version)
        if version == 2:
            wait = pl.when(pl.col("action") == WAIT).then("offset").otherwise(0)
            if len(frame) and frame.select(wait.cast(pl.Float64).sum()).item() + waited > MOST:
                raise file.error(f"the waits add up to more than {LONGEST:.0e} s")
            frame = frame.with_columns(time=waited + wait.cum_sum())
            waited = int(frame["time"].max() or waited)  # type: ignore[arg-type]
            waits += frame.select((pl.col("action") == WAIT).sum()).item()
        of_files += frame.select(pl.col("action").is_in(OF_FILES).sum()).item()
        yield frame.filter(pl.col("action").is_in(list(OPERATION))).select(
            "line",
            arrival="time",
            disk="file",
            op=pl.col("action").replace_strict(OPERATION, default=None, return_dtype=pl.String),
            offset=pl.when(~flush).then("offset"),
            size=pl.when(~flush).then("length"),
        )
    if version == 2 and not waits:
        raise file.error("a version 2 log without a 'wait' tells no times")
    file.comments.append(f"passed over: {of_files} rows of {', '.join(OF_FILES)}")


def _first(head: bytes) -> str:
    return head.split(b"\n", 1)[0].decode("utf-8-sig", "replace").rstrip("\r")


def _actions(file: TraceFile, rows: pl.DataFrame, version: int) -> pl.DataFrame:
    """The columns `line` and GROUPS of the good rows."""
    import polars as pl

    again = rows.filter(pl.col("row").str.contains(f"^{HEADING.pattern}$"))
    if len(again):
        line, row = again.row(0)
        raise file.error("a second log begins here (fio appends to a log), and with it the clock: part them", line, row)
    parts = pl.col("row").str.extract_groups(ROW[version]).struct.rename_fields(list(GROUPS))
    texts = rows.select("line", parts.alias("parts")).unnest("parts")
    numbers = {name: pl.col(name).cast(pl.Int64, strict=False) for name in ("time", "offset", "length")}
    action, time, offset, length = (pl.col(name) for name in ("action", "time", "offset", "length"))
    of_file = action.is_in(OF_FILES)
    known = [*OF_FILES, *OPERATION, *[WAIT] * (version == 2)]
    placed = texts["offset"].is_not_null()
    return file.sift(
        texts.with_columns(**numbers, placed=placed),
        {
            f"the row must be {FIELDS[version]}": action.is_not_null(),
            f"action must be one of {', '.join(known)}": action.is_in(known),
            f"{', '.join(OF_FILES)} have no offset and length, other actions have": of_file != pl.col("placed"),
            f"time must be below {LONGEST:.0e} s": (time < MOST) | pl.lit(version == 2),
            "offset must be below 2^63": of_file | offset.is_not_null(),
            "length must be below 2^63": of_file | length.is_not_null(),
        },
    )
