"""Reader of the Alibaba block traces: 1000 virtual disks of a cloud, January 2020.

    17,W,1048576,4096,1577900000000000
    204,R,81920,16384,1577900000000750

`device_id,opcode,offset,length,timestamp`, with or without these words as a header: the virtual disk, R or W, bytes,
bytes, and the request's time stamp, in microseconds of Unix time. Device 17 is called `device17`.

Li, Wang, Lee & Shi, An in-depth analysis of cloud block storage workloads in large-scale production, IISWC 2020;
described with the traces (project alibaba/block-traces).
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

TICKS_PER_SECOND = 1_000_000
HEADER = b"device_id,opcode,offset,length,timestamp"
COLUMNS: dict[str, Kind | None] = {
    "disk": "whole",
    "op": "text",
    "offset": "whole",
    "size": "whole",
    "arrival": "whole",
}
OPERATIONS = {"R": "read", "W": "write"}
ROW = rb"[0-9]+,[RrWw],[0-9]+,[0-9]+,[0-9]+"


def sniff(head: bytes) -> bool:
    """Whether the content starts like this format."""
    first = first_line(head)
    return first == HEADER or re.fullmatch(ROW, first) is not None


def records(file: TraceFile) -> Iterator[pl.DataFrame]:
    """The records in the file; raises TraceError as the package's text says."""
    file.assume("time stamps are microseconds of Unix time")
    yield from table(file, COLUMNS, OPERATIONS, "R or W", disk="device", header=HEADER)
