"""Reader of the CloudPhysics traces as CSV: SCSI commands of a virtual machine's disk, recorded in VMware ESX.

    version,time,op,size,lbn
    1,900100,2a,4096,81920
    1,900101,28,16384,4096

The traces come as binary records (version 1 or 2) of which these are the fields: the time in whole seconds of the
host's clock; the SCSI operation code in hexadecimal, here WRITE(10) and READ(10); the number of bytes; and the first
logical block, of 512 bytes. The binary records have microseconds, of which the CSV has kept the seconds. Nothing names
the disk: it is called `disk0`. Operation codes are those of the SCSI block commands (T10, SBC-3); one that moves no
data of the user's is `other`.

Waldspurger, Park, Garthwaite & Ahmad, Efficient MRC construction with SHARDS, FAST 2015 (106 virtual machines, one
week each); the CSV is the one of the cache simulator libCacheSim, whose documentation gives the units of time and size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qtheory.traces.fields import Kind
from qtheory.traces.file import TraceFile
from qtheory.traces.table import first_line, table

if TYPE_CHECKING:
    import polars as pl

TICKS_PER_SECOND = 1
HEADER = b"version,time,op,size,lbn"
COLUMNS: dict[str, Kind | None] = {
    "version": "whole",
    "arrival": "whole",
    "op": "text",
    "size": "whole",
    "offset": "whole",
}
READ = (0x08, 0x28, 0xA8, 0x88)  # READ(6), (10), (12), (16)
WRITE = (0x0A, 0x2A, 0xAA, 0x8A, 0x2E, 0xAE, 0x8E, 0x41, 0x93)  # WRITE the same, WRITE AND VERIFY, WRITE SAME
FLUSH = (0x35, 0x91)  # SYNCHRONIZE CACHE
DISCARD = (0x42,)  # UNMAP
OPERATIONS = {f"{code:x}": "other" for code in range(256)} | {
    f"{code:x}": op
    for op, codes in (("read", READ), ("write", WRITE), ("flush", FLUSH), ("discard", DISCARD))
    for code in codes
}


def sniff(head: bytes) -> bool:
    """Whether the content starts like this format."""
    return first_line(head) == HEADER


def records(file: TraceFile) -> Iterator[pl.DataFrame]:
    """The records in the file; raises TraceError as the package's text says."""
    import polars as pl

    file.assume("time is in whole seconds, blocks are 512 bytes, all rows are of one disk")
    file.warn("arrivals are recorded in whole seconds: shorter times between them are not known")
    known = {"version must be 1 or 2": pl.col("version").is_between(1, 2)}
    for frame in table(
        file, COLUMNS, OPERATIONS, "a SCSI operation code in hexadecimal", header=HEADER, sectors=("offset",)
    ):
        yield file.sift(frame, known).with_columns(disk=pl.lit("disk0"))
