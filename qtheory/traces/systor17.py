"""Reader of the SYSTOR '17 traces: six volumes behind the virtual desktops of an enterprise, early in 2016.

    Timestamp,Response,IOType,LUN,Offset,Size
    1456100000.000250000,0.000500000,R,0,1048576,4096
    1456100000.001125000,0.002250000,W,4,81920,16384

The time stamp is when the request was issued, in seconds of Unix time. It has nine decimals, of which by the authors'
description six hold: it is rounded to microseconds, which a float of 64 bits tells apart until the year 2096. Response
is in seconds, offset and size are in bytes, LUN 0 is called `lun0`. IOType is R, W or empty: the traces were recorded
at a mirrored switch port, and where that missed the response message the type is not known (it is read as `other`).
Requests without a response time are left out, counted in the warnings.

Lee et al., Understanding storage traffic characteristics on enterprise virtual desktop infrastructure, SYSTOR 2017;
SNIA IOTTA repository, set 4928, with a description.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from qtheory.traces.fields import Kind
from qtheory.traces.file import TraceFile
from qtheory.traces.table import first_line, table
from qtheory.traces.trace import LONGEST

if TYPE_CHECKING:
    import polars as pl

TICKS_PER_SECOND = 1_000_000
HEADER = b"Timestamp,Response,IOType,LUN,Offset,Size"
COLUMNS: dict[str, Kind | None] = {
    "arrival": "decimal",
    "response": "decimal",
    "op": "text",
    "disk": "whole",
    "offset": "whole",
    "size": "whole",
}
OPERATIONS = {"R": "read", "W": "write", "": "other"}
ROW = rb"[0-9]+\.[0-9]+,([0-9]+\.[0-9]+)?,[RrWw]?,[0-9]+,[0-9]+,[0-9]+"


def sniff(head: bytes) -> bool:
    """Whether the content starts like this format."""
    first = first_line(head)
    return first == HEADER or re.fullmatch(ROW, first) is not None


def records(file: TraceFile) -> Iterator[pl.DataFrame]:
    """The records in the file; raises TraceError as the package's text says."""
    import polars as pl

    file.assume("time stamps are Unix time, exact to a microsecond")
    unanswered = 0
    arrival = pl.col("arrival")
    unix = {"arrival must be a Unix time in seconds": (arrival >= 0) & (arrival < LONGEST)}
    for frame in table(file, COLUMNS, OPERATIONS, "R, W or empty", disk="lun", header=HEADER, optional=("response",)):
        timed = file.sift(frame, unix)
        answered = timed.drop_nulls("response")
        unanswered += len(timed) - len(answered)
        yield answered.with_columns(arrival=(arrival * TICKS_PER_SECOND).round().cast(pl.Int64))
    file.warn_of(unanswered, "request", "without a response time, left out")
