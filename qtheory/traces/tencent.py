"""Reader of the Tencent block storage traces: 5584 virtual volumes of a cloud, ten days of October 2018.

    1538400000,4096,8,0,1017
    1538400000,81920,16,1,1204

`Timestamp,Offset,Size,IOType,VolumeID`, without a header: the Unix time at which the request was issued, in whole
seconds; first sector and number of sectors, of 512 bytes; 0 for a read, 1 for a write; the virtual volume. Volume 1017
is called `volume1017`. Within a second the trace has the requests' order and nothing more: what depends on shorter
times, such as the variability of the times between arrivals, is not in it.

Zhang et al., OSCA: an online-model based cache allocation scheme in cloud block storage systems, ATC 2020; the traces
are in the SNIA IOTTA repository, with this description.
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
    "arrival": "whole",
    "offset": "whole",
    "size": "whole",
    "op": "text",
    "disk": "whole",
}
OPERATIONS = {"0": "read", "1": "write"}
ROW = rb"[0-9]{10},[0-9]+,[0-9]+,[01],[0-9]+"


def sniff(head: bytes) -> bool:
    """Whether the content starts like this format."""
    return re.fullmatch(ROW, first_line(head)) is not None


def records(file: TraceFile) -> Iterator[pl.DataFrame]:
    """The records in the file; raises TraceError as the package's text says."""
    file.assume("sectors are 512 bytes")
    file.warn("arrivals are recorded in whole seconds: shorter times between them are not known")
    yield from table(file, COLUMNS, OPERATIONS, "0 (read) or 1 (write)", disk="volume", sectors=("offset", "size"))
