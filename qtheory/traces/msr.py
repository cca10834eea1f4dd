"""Reader of the MSR Cambridge block traces: 36 volumes of 13 servers of a research laboratory, one week in 2007.

    128166400000000000,web,0,Read,1048576,4096,21300
    128166400000012500,web,0,Write,8192,16384,4750

`Timestamp,Hostname,DiskNumber,Type,Offset,Size,ResponseTime`, without a header. The time stamp is when the request was
issued, as a Windows file time: ticks of 100 ns since 1601-01-01 UTC. Type is Read or Write. Offset and size are in
bytes, the response time is in ticks of 100 ns. A disk is called after host and number, as the traces' files are:
`web_0`.

Narayanan, Donnelly & Rowstron, Write off-loading: practical power management for enterprise storage, FAST 2008; the
traces are in the SNIA IOTTA repository, with this description.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from qtheory.traces.fields import Kind
from qtheory.traces.file import TraceFile
from qtheory.traces.table import first_line, table

if TYPE_CHECKING:
    import polars as pl

TICKS_PER_SECOND = 10_000_000
UNIX_EPOCH = 11_644_473_600 * TICKS_PER_SECOND  # 1970-01-01 as a Windows file time
COLUMNS: dict[str, Kind | None] = {
    "arrival": "whole",
    "host": "text",
    "disk": "whole",
    "op": "text",
    "offset": "whole",
    "size": "whole",
    "response": "whole",
}
OPERATIONS = {"Read": "read", "Write": "write"}
ROW = rb"[0-9]{17,19},[^,\r\n]+,[0-9]+,(?i:read|write),[0-9]+,[0-9]+,[0-9]+"


def sniff(head: bytes) -> bool:
    """Whether the content starts like this format."""
    return re.fullmatch(ROW, first_line(head)) is not None


def records(file: TraceFile) -> Iterator[pl.DataFrame]:
    """The records in the file; raises TraceError as the package's text says."""
    import polars as pl

    file.assume("time stamps are Windows file times (100 ns since 1601-01-01 UTC), response times count 100 ns")
    for frame in table(file, COLUMNS, OPERATIONS, "Read or Write", disk="_"):  # the host goes before the _
        recent = file.sift(frame, {"arrival must be a Windows file time after 1970": pl.col("arrival") >= UNIX_EPOCH})
        yield recent.with_columns(
            arrival=pl.col("arrival") - UNIX_EPOCH,
            disk=pl.concat_str(pl.col("host", "disk").cast(pl.String)),
            response=pl.col("response") / TICKS_PER_SECOND,
        )
