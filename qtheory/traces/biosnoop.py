"""Reader of biosnoop's output: block I/O of a Linux host, a row for each completion.

bcc's tool (`biosnoop`, `biosnoop -Q -P`; Python and libbpf versions), the latter with all its options here:

    TIME(s)     COMM           PID     DISK      T SECTOR     BYTES  P QUE(ms) LAT(ms)
    0.000000    kworker/u72:1  13379   nvme1n1   W 1142400    4096   R    0.01    0.55
    5.332998    xfsaild/nvme1n 1061    nvme1n1   W 545728     16384  S    0.02    0.61

and bpftrace's (`biosnoop.bt`), to which the columns DISK, or DISK ID (two numbers, under MAJOR MINOR) were added later:

    TIME(ms)     DISK             COMM             PID    LAT(ms)
    611          nvme0n1          bash             4179        10

The fields are: time of completion since the first row's (bcc) or the start (bpftrace), the process and its number,
the disk, what it is (R, W, or the letters of `qtheory.traces.blkparse`), the first sector, bytes, whether it is
sequential (S) or random (R), milliseconds from queueing to issue, and from issue to completion. bpftrace times from
queueing, in whole milliseconds. Sectors are 512 bytes. A process name may hold blanks, so rows are read from the right.
Source: `tools/biosnoop.py`, `libbpf-tools/biosnoop.c` of github.com/iovisor/bcc (B. Gregg, 2015; W. Zhang, 2020) and
`tools/biosnoop.bt` of github.com/bpftrace/bpftrace.

A request arrives LAT, and QUE if known, before it completes; with QUE, LAT is its service time. The first row's time
being 0, arrivals lie before it: the clock is set back by an hour, and LAT and QUE must not exceed half of it. Lines
before the header and blank ones are passed over, and so are biosnoop's own reports of lost samples, which are counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from qtheory.traces.blkparse import MOST, SECTOR, operation
from qtheory.traces.completed import by_arrival
from qtheory.traces.file import TraceFile
from qtheory.traces.trace import LONGEST

if TYPE_CHECKING:
    import polars as pl

TICKS_PER_SECOND = 1_000_000
MILLISECOND = TICKS_PER_SECOND // 1000
EARLIER = 3600  # s, before the log's own zero
HEADER = re.compile(
    r"(?m)^TIME\((?P<unit>s|ms)\)[ \t]+(?:(?P<disk>DISK)(?P<id> ID)?[ \t]+)?COMM[ \t]+PID[ \t]+"
    r"(?P<where>DISK[ \t]+T[ \t]+SECTOR[ \t]+BYTES[ \t]+(?P<pattern>P[ \t]+)?(?P<queued>QUE\(ms\)[ \t]+)?)?"
    r"LAT\(ms\)\s*$"
)
NUMBER = r"-?[0-9]+(?:\.[0-9]+)?"
LOST = r"^(?:Possibly lost|lost) ([0-9]+) (?:samples|events)"


def sniff(head: bytes) -> bool:
    """Whether there is a header among the first lines."""
    return HEADER.search(head.decode("utf-8", "replace")) is not None


def records(file: TraceFile) -> Iterator[pl.DataFrame]:
    """The requests, in order of arrival; raises TraceError as the package's text says."""
    text = file.head.decode("utf-8-sig", "replace")
    header = HEADER.search(text)
    if header is None:
        raise file.error("there is no header 'TIME(s) COMM PID DISK T SECTOR BYTES LAT(ms)' or 'TIME(ms) ...' in it")
    file.origin = -EARLIER
    if header["where"]:
        file.assume("sectors are 512 bytes")
        if not header["queued"]:
            file.assume("requests arrive when they are issued to the disk: the time in the queue (-Q) is not recorded")
    else:
        file.assume("times and latencies are cut to whole milliseconds")
        if not header["disk"]:
            file.assume("all requests are of one disk")
    first = text[: header.start()].count("\n") + 1 + bool(header["id"])
    yield from by_arrival(_rows(file, header, first), TICKS_PER_SECOND)


def _rows(file: TraceFile, header: re.Match[str], skip: int) -> Iterator[pl.DataFrame]:
    """Sifted records in the order of the file."""
    import polars as pl

    row, pattern = pl.col("row"), _pattern(header)
    disk = pl.col("disk") if "(?<disk>" in pattern else pl.lit("disk")
    per_unit = TICKS_PER_SECOND if header["unit"] == "s" else MILLISECOND
    numbers = {"time": pl.Float64, "latency": pl.Float64, "queued": pl.Float64, "sector": pl.Int64, "bytes": pl.Int64}
    sector, size, latency, queued = (pl.col(name) for name in ("sector", "bytes", "latency", "queued"))
    took = latency + queued.fill_null(0.0)
    lost = 0
    for rows in file.rows():
        rows = rows.filter((pl.col("line") > skip) & ~row.str.contains(r"^\s*$"))
        lost += rows.select(row.str.extract(LOST).cast(pl.Int64, strict=False).sum()).item()
        frame = rows.filter(~row.str.contains(LOST)).select("line", row.str.extract_groups(pattern)).unnest("row")
        absent = [pl.lit(None, pl.String).alias(name) for name in (*numbers, "letters") if name not in frame.columns]
        frame = frame.with_columns(absent)
        frame = frame.with_columns(pl.col(name).cast(kind, strict=False) for name, kind in numbers.items())
        yield file.sift(frame, _rules(header)).select(
            "line",
            arrival=EARLIER * TICKS_PER_SECOND
            + (pl.col("time") * per_unit).round().cast(pl.Int64)
            - (took * MILLISECOND).round().cast(pl.Int64),
            disk=disk.str.replace(r"[ \t]+", ":"),
            op=operation(pl.col("letters").fill_null("N"), size.fill_null(1)),
            offset=pl.when(size > 0).then(sector * SECTOR),
            size=pl.when(size > 0).then(size),
            response=took / 1000,
            service=pl.when(queued.is_not_null()).then(latency / 1000),
        )
    file.warn_of(lost, "sample", "lost by biosnoop itself")


def _pattern(header: re.Match[str]) -> str:
    """What a row under this header looks like."""
    before = f"^(?<time>{NUMBER})"
    process = r"[ \t]+.*[ \t]+(?<pid>[0-9]+)[ \t]+"
    after = rf"(?<latency>{NUMBER})\s*$"
    if header["where"]:
        place = r"(?<disk>\S+)[ \t]+(?<letters>[A-Z]+)[ \t]+(?<sector>-?[0-9]+)[ \t]+(?<bytes>[0-9]+)"
        place += r"[ \t]*[SR?][ \t]+" if header["pattern"] else r"[ \t]+"
        place += rf"(?<queued>{NUMBER})[ \t]+" if header["queued"] else ""
        return before + process + place + after
    disk = r"[0-9]+[ \t]+[0-9]+" if header["id"] else r"\S+"
    return before + (rf"[ \t]+(?<disk>{disk})" if header["disk"] else "") + process + after


def _rules(header: re.Match[str]) -> dict[str, pl.Expr]:
    """What rows must keep."""
    import polars as pl

    time, latency, queued, sector, size = (pl.col(name) for name in ("time", "latency", "queued", "sector", "bytes"))
    rules = {f"the row must be '{' '.join(header[0].split())}'": pl.col("pid").is_not_null()}
    most = LONGEST if header["unit"] == "s" else LONGEST * 1000
    rules[f"TIME must be from 0 to {LONGEST:.0e} s"] = time.is_between(0, most, closed="left")
    rules["LAT must be from 0 to half an hour"] = latency.is_between(0, EARLIER * 1000 / 2)
    if header["queued"]:
        rules["QUE is -1: not known"] = queued != -1
        rules["QUE must be from 0 to half an hour"] = queued.is_between(0, EARLIER * 1000 / 2)
    if header["where"]:
        rules["T must tell R, W, D, F or N"] = pl.col("letters").str.contains("^(F?[RWDN]|F)")
        rules["BYTES must be below 2^63"] = size.is_not_null()
        rules[f"SECTOR must be from 0 to {MOST}"] = (size == 0) | sector.is_between(0, MOST, closed="left")
    return rules
