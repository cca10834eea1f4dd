"""The cells of the bench: what is measured, and which question each settles."""

from dataclasses import dataclass, replace
from typing import Literal

import qtheory as qt

TWENTY = qt.Deterministic(0.02)
"""20 ms, always."""


@dataclass(frozen=True)
class Cell:
    """One guest on one kind of storage, stopped again and again.

    Parameters
    ----------
    name : str
        What rows of data are known by.
    question : str
        What the cell is there to settle.
    device : "none", "delay", "nbd", "files" or "disk"
        One that takes no time; nbdkit's delay filter; a pool behind nbdkit; a pool behind files; this machine's disk.
    service : Law
        Of one request at the device [s]; unknown for the machine's own disk, and not looked at.
    servers : int, optional
        Of each disk's device, or of the one they share; None: as many as there are requests.
    disks, depth : int
        How many disks, and requests that the guest keeps outstanding on each.
    shared : bool
        Whether one device serves all disks.
    aio : str, optional
        QEMU's engine: "threads", "native" or "io_uring"; files and the machine's disk only.
    threads : int, optional
        thread-pool-max, set on the running machine.
    writes : float
        Share of writes; only after writes has QEMU something to flush.
    flush : float
        What a flush takes at the device [s].
    rate_limit : float, optional
        QEMU's iops for each disk, set on the running machine.
    requests : int, optional
        The guest's nr_requests for each disk, a limit before QEMU takes requests.
    lead : float, optional
        How long before each stop that limit is set [s]; None: it always holds.
    iothreads : int
        Among which the disks are dealt.
    """

    name: str
    question: str
    device: Literal["none", "delay", "nbd", "files", "disk"]
    service: qt.Law = TWENTY
    servers: int | None = 4
    disks: int = 4
    depth: int = 8
    shared: bool = False
    aio: Literal["threads", "native", "io_uring"] | None = None
    threads: int | None = None
    writes: float = 0.0
    flush: float = 0.0
    rate_limit: float | None = None
    requests: int | None = None
    lead: float | None = None
    iothreads: int = 1
    stops: int = 100


def _cells() -> list[Cell]:
    cells: list[Cell] = []
    add = cells.append

    # What a request costs the guest's processor where it has nothing else to do but requests.
    add(Cell("calibration-guest", "calibration", "none", depth=8, stops=30))

    # What a request costs beside its service: one disk, one request at a time.
    for name, device, aio in (
        ("calibration-delay", "delay", None),
        ("calibration-nbd", "nbd", None),
        ("calibration-threads", "files", "threads"),
        ("calibration-native", "files", "native"),
        ("calibration-io_uring", "files", "io_uring"),
    ):
        add(Cell(name, "calibration", device, disks=1, depth=1, aio=aio, stops=30))  # type: ignore[arg-type]

    # (a) Stop time against depth; each disk has four servers of 20 ms.
    for depth in (1, 2, 4, 8, 16, 32, 64):
        add(Cell(f"delay-{depth}", "depth", "delay", depth=depth))
    exponential, bursty = qt.Exponential(mean=0.01), qt.Hyperexponential.balanced(mean=0.01, scv=4.0)
    for depth in (1, 2, 4, 8, 32):
        add(Cell(f"exponential-{depth}", "depth", "files", exponential, depth=depth, aio="native"))
    for depth in (2, 8, 32):
        add(Cell(f"scv4-{depth}", "depth", "files", bursty, depth=depth, aio="native"))
    add(Cell("lognormal-8", "depth", "files", qt.Lognormal(mean=0.01, scv=1.0), depth=8, aio="native"))

    # The same behind QEMU's NBD client, where answers that overtake others come late.
    for depth in (4, 32):
        add(Cell(f"nbd-{depth}", "overtaking", "nbd", exponential, depth=depth))

    # (b) QEMU's rate limit, for each disk.
    for rate in (50.0, 100.0, 150.0):
        add(Cell(f"rate-{rate:g}", "rate limit", "delay", depth=32, rate_limit=rate))

    # (c) A limit in the guest, before QEMU takes requests.
    for requests in (16, 8, 4):
        add(Cell(f"guest-limit-{requests}", "guest limit", "delay", depth=64, requests=requests))

    # (d) The same limit, set shortly before each stop.
    for lead in (0.1, 0.2, 0.4, 0.6):
        add(Cell(f"lead-{lead * 1000:g}ms", "lead", "delay", depth=64, requests=8, lead=lead))

    # (e) QEMU's engines: over a device without a limit of its own, so that the engine's is seen; over a shared device;
    # over this machine's disk.
    for threads in (8, 16, 64):
        add(Cell(f"threads-{threads}", "engine", "files", exponential, None, depth=32, aio="threads", threads=threads))
    for aio in ("io_uring", "threads"):  # and native below, as disks-4
        add(Cell(f"shared-{aio}", "engine", "files", exponential, 8, depth=16, shared=True, aio=aio))  # type: ignore[arg-type]
    for aio in ("native", "io_uring", "threads"):
        add(Cell(f"disk-{aio}", "engine", "disk", depth=32, aio=aio))  # type: ignore[arg-type]
    add(Cell("disk-threads-4", "engine", "disk", depth=32, aio="threads", threads=4))

    # (f) Disks on one engine and one device.
    for disks in (1, 2, 4, 8):
        add(Cell(f"disks-{disks}", "disks", "files", exponential, 8, disks, 16, shared=True, aio="native"))
    add(Cell("two-iothreads", "disks", "files", exponential, 8, 4, 16, shared=True, aio="native", iothreads=2))

    # Flushes: after writes each disk is flushed, one after another.
    for depth in (8, 32):
        add(Cell(f"flush-{depth}", "flush", "files", exponential, depth=depth, aio="native", writes=0.5, flush=0.015))
    return cells


CELLS = {cell.name: cell for cell in _cells()}

MIGRATIONS = {
    "migration-idle": Cell("migration-idle", "migration", "delay", depth=0, stops=10),
    "migration-64": Cell("migration-64", "migration", "delay", depth=64, stops=10),
    "migration-limited": Cell("migration-limited", "migration", "delay", depth=64, requests=8, lead=1.0, stops=10),
}
"""Local live migrations: with nothing to drain, with full queues, and with the guest's depth reduced before."""

SMOKE = replace(CELLS["exponential-8"], name="smoke", stops=3)
"""What CI runs, to see the bench work."""
