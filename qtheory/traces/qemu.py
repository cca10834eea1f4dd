"""Reader of QEMU trace logs (`-trace 'virtio_blk_*' -msg timestamp=on`, log back end): virtio-blk requests.

Two time stamps are in use, wall clock both, microseconds. Up to QEMU 10.0 a line is `TID@SEC.USEC:event arguments`,
from 10.1 `YYYY-MM-DDThh:mm:ss.ffffffZ event arguments`:

    4711@1721976657.700972:virtio_blk_handle_read vdev 0x55d0c0 req 0x7f3a9c sector 2048 nsectors 8
    4711@1721976657.701214:virtio_blk_rw_complete vdev 0x55d0c0 req 0x7f3a9c ret 0

A request arrives when QEMU takes it from the virtqueue (`virtio_blk_handle_read`, `_write`) and completes with
`virtio_blk_rw_complete`, which knows it only by the pointer `req`. QEMU recycles these pointers, so each is a queue:
a completion belongs to the oldest request under its pointer that has none yet. Sectors are 512 bytes, whatever the
disk says. Disks are named `disk0`, `disk1`, ... as their `vdev` first appears; a comment keeps which is which.

All other events are passed over. Requests without completion (in flight when the log ends) and completions without
request (in flight when it starts) are left out, counted in the warnings. Flushes and discards have no such events.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from qtheory.traces.completed import by_arrival
from qtheory.traces.file import TraceFile

if TYPE_CHECKING:
    import polars as pl

SECTOR = 512
TICKS_PER_SECOND = 1_000_000
STAMP = r"(?:[0-9]+@([0-9]{1,10})\.([0-9]{6}):|([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6})Z )"
EVENT = r"virtio_blk_(?:handle_(read|write)|rw_complete)"
REQUEST = r"(vdev (\w+) req \w+)"
ARGUMENTS = r"(?:sector ([0-9]+) nsectors ([0-9]+)|ret (-?[0-9]+))"
GROUPS = ("seconds", "micros", "date", "op", "request", "vdev", "sector", "sectors", "ret")


def sniff(head: bytes) -> bool:
    """Whether one of the first lines is a trace event."""
    return re.search(rf"(?m)^({STAMP}[a-z]\w+ |{EVENT} )".encode(), head) is not None


def records(file: TraceFile) -> Iterator[pl.DataFrame]:
    """The paired requests, in the order of their submission; what stays single goes to the warnings.

    Raises TraceError as the package's text says.
    """
    yield from by_arrival(_completed(file), TICKS_PER_SECOND)


def _completed(file: TraceFile) -> Iterator[pl.DataFrame]:
    """The requests that complete in each frame of the file."""
    import polars as pl

    disks: dict[str, str] = {}  # name by vdev
    waiting: dict[str, deque[tuple[int, int, str, str, int, int]]] = {}  # by pointer, oldest first
    types = {"line": pl.Int64, "arrival": pl.Int64, "disk": pl.String, "op": pl.String, "offset": pl.Int64}
    found = orphans = shared = failed = 0
    for rows in file.rows():
        paired: list[tuple[int, int, str, str, int, int, float]] = []
        for line, now, op, request, vdev, sector, sectors, ret in _events(file, rows).iter_rows():
            queue = waiting.setdefault(request, deque())
            found += 1
            if op is not None:
                shared += bool(queue)
                name = disks.setdefault(vdev, f"disk{len(disks)}")
                queue.append((line, now, name, op, sector * SECTOR, sectors * SECTOR))
            elif queue:
                submitted = queue.popleft()
                failed += ret != "0"
                response = now - submitted[1]
                if response >= 0:
                    paired.append((*submitted, response / TICKS_PER_SECOND))
                else:
                    file.refuse("the completion is stamped before its request", line)
            else:
                orphans += 1
        yield pl.DataFrame(paired, types | {"size": pl.Int64, "response": pl.Float64}, orient="row")

    file.comments.extend(f"{name}: vdev {vdev}" for vdev, name in disks.items())
    if not found and not file.skipped:
        raise file.error("there are no virtio_blk_handle_read, _handle_write and _rw_complete events in it")
    file.warn_of(sum(map(len, waiting.values())), "request", "without a completion in the log, left out")
    file.warn_of(orphans, "completion", "without a request in the log, left out")
    file.warn_of(failed, "request", "failed (ret is not 0), kept")
    file.warn_of(
        shared, "request", "under a pointer still in flight: paired oldest first, with uncertain response times"
    )


def _events(file: TraceFile, rows: pl.DataFrame) -> pl.DataFrame:
    """The events that tell of requests; those whose text is malformed are refused."""
    import polars as pl

    events = rows.filter(pl.col("row").str.contains(f"{EVENT}( |$)"))
    parts = pl.col("row").str.extract_groups(rf"^{STAMP}{EVENT} {REQUEST} {ARGUMENTS}\s*$")
    events = events.with_columns(parts.struct.rename_fields(GROUPS).alias("parts")).unnest("parts")
    epoch = pl.col("seconds").cast(pl.Int64) * TICKS_PER_SECOND + pl.col("micros").cast(pl.Int64)
    dated = pl.col("date").str.to_datetime("%Y-%m-%dT%H:%M:%S%.6f", time_unit="us", strict=False).cast(pl.Int64)
    submits = pl.col("op").is_not_null()
    sector, sectors = (pl.col(name).cast(pl.Int64, strict=False) for name in ("sector", "sectors"))
    events = file.sift(
        events.with_columns(now=pl.coalesce(epoch, dated), sector=sector, sectors=sectors),
        {
            "malformed trace event (without time stamp?)": pl.col("request").is_not_null(),
            "no such date or time": pl.col("now").is_not_null(),
            "the arguments are another event's": submits == pl.col("ret").is_null(),
            "sector and nsectors must be below 2^52": ~submits | ((sector < 1 << 52) & (sectors < 1 << 52)),
        },
    )
    return events.select("line", "now", "op", "request", "vdev", "sector", "sectors", "ret")
