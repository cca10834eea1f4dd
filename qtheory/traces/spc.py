"""Reader of the SPC trace format, in which the UMass repository has Financial1 and 2 and WebSearch1 to 3.

    0,4096,2048,w,0.000000
    1,81920,512,R,0.013250

`ASU,LBA,Size,Opcode,Timestamp`, without a header: the application specific unit, its logical block, the number of
bytes, r or w (either case), and seconds from the start of the trace. The format allows more fields behind these, for
any use: they are passed over, and all rows must have as many as the first. It leaves the size of a block to the
trace's description; in all UMass traces it is 512 bytes, which is assumed. It also allows blanks beside a field; the
traces have none, and such rows are refused. Unit 0 is called `asu0`.

Storage Performance Council, SPC trace file format specification, revision 1.0.1, 2002; UMass Trace Repository,
OLTP and search engine I/O (by courtesy of Bates, McNutt and the council).
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

TICKS_PER_SECOND = 1
COLUMNS: dict[str, Kind | None] = {
    "disk": "whole",
    "offset": "whole",
    "size": "whole",
    "op": "text",
    "arrival": "decimal",
}
OPERATIONS = {"R": "read", "W": "write"}
ROW = rb"[0-9]+,[0-9]+,[0-9]+,[rRwW],[0-9]+(\.[0-9]+)?(,[^,\r\n]*)*"


def sniff(head: bytes) -> bool:
    """Whether the content starts like this format."""
    return re.fullmatch(ROW, first_line(head)) is not None


def records(file: TraceFile) -> Iterator[pl.DataFrame]:
    """The records in the file; raises TraceError as the package's text says."""
    file.assume("blocks are 512 bytes")
    more = range(len(COLUMNS), first_line(file.head).count(b",") + 1)
    columns = COLUMNS | {f"field {i + 1}": None for i in more}
    yield from table(file, columns, OPERATIONS, "R or W", disk="asu", sectors=("offset",))
