"""Reader of the ASCII traces of the SSD simulators SSDsim and MQSim.

    125000 0 4096 8 0
    310500 1 81920 16 1

Time in nanoseconds, device, first sector, number of sectors, and 1 for a read or 0 for a write, with blanks between
them and no header. Sectors are 512 bytes. Device 0 is called `unit0`. DiskSim's ASCII traces have the same columns,
but milliseconds with a decimal point, which are refused.

Hu et al., Performance impact and interplay of SSD parallelism through advanced commands, allocation strategy and data
granularity, ICS 2011 (SSDsim); Tavakkol et al., MQSim, FAST 2018, whose documentation describes the columns; Bucy et
al., The DiskSim simulation environment version 4.0 reference manual, 2008, §3.
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

TICKS_PER_SECOND = 1_000_000_000
COLUMNS: dict[str, Kind | None] = {
    "arrival": "whole",
    "disk": "whole",
    "offset": "whole",
    "size": "whole",
    "op": "text",
}
OPERATIONS = {"1": "read", "0": "write"}
ROW = rb"[ \t]*[0-9]+([ \t]+[0-9]+){3}[ \t]+[01][ \t]*"


def sniff(head: bytes) -> bool:
    """Whether the content starts like this format."""
    return re.fullmatch(ROW, first_line(head)) is not None


def records(file: TraceFile) -> Iterator[pl.DataFrame]:
    """The records in the file; raises TraceError as the package's text says."""
    file.assume("time is in nanoseconds, sectors are 512 bytes")
    yield from table(
        file,
        COLUMNS,
        OPERATIONS,
        "1 (read) or 0 (write)",
        disk="unit",
        separator=" ",
        sectors=("offset", "size"),
    )
