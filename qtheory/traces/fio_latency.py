"""Reader of fio's latency logs (`write_lat_log=NAME`: `NAME_lat.1.log`, `NAME_clat.1.log`), one row a request:

    0, 212990, 0, 4096, 61440, 0
    0, 102942, 1, 4096, 774144, 0
    3, 815400, 0, 8192, 4096, 0

The fields are: time [ms], latency [ns], direction (0 read, 1 write, 2 trim), block size [bytes], and then, according
to fio's version and options: offset [bytes] (`log_offset=1`), priority (0 or 1; 0x... with `log_prio=1`), issue time
[ns] (`log_issue_time=1`). Which of these a file has, its first rows show: a priority is 0, 1 or 0x... in all of them.
Source: "Log File Formats" in fio's HOWTO, and `flush_samples` in its `iolog.c` (versions 2.2 to 3.42).

A row is written when its request completes, and that is its time, cut to whole milliseconds: it stands here for the
end of its millisecond. A request arrives a latency earlier. So arrivals are known to a millisecond only, unless the
file has issue times (in `clat` logs: elsewhere they are 0). `log_unix_epoch` only sets another zero of time.

fio 2 wrote latencies in microseconds, and nothing in the file tells: they are taken for nanoseconds, with a warning
when that makes half of the first ones shorter than a microsecond. `lat` is from the start of the submission to
completion, `clat` from its end. Submission latencies (`slat`), bandwidths and IOPS look the same but are not response
times: the file's name tells, and they are refused. So are averages over time (`log_avg_msec`), whose block size is 0.

The disk is called after the file: NAME.1 for `NAME_lat.1.log`, `fio` when the name is another. A log is one job's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePath
from typing import TYPE_CHECKING

from qtheory.traces.completed import by_arrival
from qtheory.traces.fields import Kind, as_text
from qtheory.traces.file import TraceFile
from qtheory.traces.trace import LONGEST, is_name

if TYPE_CHECKING:
    import polars as pl

TICKS_PER_SECOND = 1_000_000_000
MILLISECOND = TICKS_PER_SECOND // 1000
SEPARATOR = ", "
ROW = re.compile(rb"[0-9]+, -?[0-9]+, [0-9], [0-9]+(, [0-9]+)?(, (0x[0-9a-f]+|[0-9]+)(, [0-9]+)?)?\r?")
NAME = re.compile(r"(.+)_(lat|clat|slat|bw|iops)(\.[0-9]+)?\.log")
ALWAYS = ("time", "latency", "direction", "block size")
OPERATION = {0: "read", 1: "write", 2: "discard"}
FIRST = 1000  # rows
SHORTEST = 1000  # ns, a latency that a microsecond is more likely to be meant by


def sniff(head: bytes) -> bool:
    """Whether most of the first rows look like a log's."""
    rows = head.split(b"\n")[:20][:-1]
    return 2 * sum(ROW.fullmatch(row) is not None for row in rows) > len(rows)


def records(file: TraceFile) -> Iterator[pl.DataFrame]:
    """The requests, in order of arrival; raises TraceError as the package's text says."""
    disk, kind = _disk_and_kind(file)
    if kind in ("slat", "bw", "iops"):
        raise file.error(f"fio's {kind} log, by its name: response times are in the lat and clat logs")
    if kind == "clat":
        file.assume("completion latencies (clat) are response times: they leave out the submission")
    file.assume("latencies are nanoseconds, as fio 3 writes them (fio 2: microseconds)")
    yield from by_arrival(_rows(file, disk), TICKS_PER_SECOND)


def _disk_and_kind(file: TraceFile) -> tuple[str, str | None]:
    """The disk's name and what the log is about, both from the file's name."""
    found = NAME.match(PurePath(file.path).name)
    if found is None or not is_name(found[1]):
        return "fio", None if found is None else found[2]
    return found[1] + (found[3] or ""), found[2]


def _rows(file: TraceFile, disk: str) -> Iterator[pl.DataFrame]:
    """Sifted records in the order of the file."""
    import polars as pl

    columns = _columns(file)
    if "issue time" in columns:
        arrival = pl.col("issue time")
    else:
        arrival = (pl.col("time") + 1) * MILLISECOND - pl.col("latency")
        file.assume("time stamps are cut to whole milliseconds: arrivals are known to a millisecond only")
    for rows in file.rows():
        yield file.sift(as_text(file, rows, columns, SEPARATOR), _rules(columns)).select(
            "line",
            arrival=arrival,
            disk=pl.lit(disk),
            op=pl.col("direction").replace_strict(OPERATION, return_dtype=pl.String),
            offset=pl.col("offset") if "offset" in columns else pl.lit(None, pl.Int64),
            size=pl.col("block size"),
            response=pl.col("latency") / TICKS_PER_SECOND,
        )


def _columns(file: TraceFile) -> dict[str, Kind | None]:
    """What the fields are, as the first rows show; they also hint at the unit of the latencies."""
    import polars as pl

    rows = pl.Series(file.head.decode("utf-8-sig", "replace").split("\n")[:FIRST]).str.strip_chars_end("\r")
    parts = rows.str.split(SEPARATOR)
    width = int(parts.list.len().mode().max())  # type: ignore[arg-type]
    if not len(ALWAYS) <= width <= len(ALWAYS) + 3:
        raise file.error(f"the rows of a latency log have {len(ALWAYS)} to {len(ALWAYS) + 3} fields", 1, rows[0])
    columns = [parts.filter(parts.list.len() == width).list.get(i) for i in range(width)]
    median = columns[1].cast(pl.Int64, strict=False).median()
    if isinstance(median, float) and 0 < median < SHORTEST:
        file.warn(f"half of the first latencies are below {SHORTEST} ns: are they microseconds, as fio 2 wrote them?")
    priority = [bool((column.is_in(["0", "1"]) | column.str.starts_with("0x")).all()) for column in columns[4:]]
    if width == 4:
        more = []
    elif width == 5:
        more = ["priority" if priority[0] else "offset"]
    elif width == 6 and not (priority[0] and not priority[1]):
        more = ["offset", "priority"]
    else:
        more = ["offset", "priority", "issue time"][7 - width :]
        if (columns[-1] == "0").all():
            more[-1] = "no issue time"
    kinds: dict[str, Kind | None] = {"priority": None, "no issue time": None}
    return {name: kinds.get(name, "whole") for name in (*ALWAYS, *more)}


def _rules(columns: dict[str, Kind | None]) -> dict[str, pl.Expr]:
    """What rows must keep."""
    import polars as pl

    most = int(LONGEST) * TICKS_PER_SECOND
    time, latency, direction, size = (pl.col(name) for name in ALWAYS)
    rules = {
        f"{name} is empty": pl.col(name).is_not_null() for name, kind in columns.items() if kind is not None
    } | {
        "time must not be negative": time >= 0,
        f"time must be below {LONGEST:.0e} s, or its unit is not ms": time < most // MILLISECOND,
        f"latency must be from 0 to {LONGEST:.0e} s": latency.is_between(0, most),
        "direction must be 0 (read), 1 (write) or 2 (trim)": direction.is_in(list(OPERATION)),
        "block size is 0: an average over time (log_avg_msec), not a request": size != 0,
        "block size must not be negative": size > 0,
    }  # fmt: skip
    if "offset" in columns:
        rules["offset must not be negative"] = pl.col("offset") >= 0
    if "issue time" in columns:
        rules[f"issue time must be from 1 ns to {LONGEST:.0e} s"] = pl.col("issue time").is_between(1, most)
    else:
        reach = latency <= (time + 1) * MILLISECOND
        rules["latency is longer than the time since the log's start: its unit may not be ns"] = reach
    return rules
