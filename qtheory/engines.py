"""QEMU's three AIO engines as presets, with QEMU's own constants and behaviour when full.

=========== ================================================= =============================== =========================
engine      at most submitted                                 beyond that                     when a guest ring is full
=========== ================================================= =============================== =========================
Linux AIO   1024 for each AioContext, however many disks      one unbounded FIFO list in QEMU the guest waits
thread pool 64 worker threads for each AioContext             one unbounded FIFO list in QEMU the guest waits
io_uring    no limit: its 128 entries only gather submissions nothing is held back            the guest waits
=========== ================================================= =============================== =========================

QEMU pops everything a kicked ring holds, so requests beyond the limit are held in the engine and a drain waits for
them (`hold="engine"`). A virtio-blk ring has 256 entries for each queue by default: that is a disk's `buffer`.
Source: QEMU 10.2, block/linux-aio.c (MAX_EVENTS), util/thread-pool.c (THREAD_POOL_MAX_THREADS_DEFAULT),
block/io_uring.c and util/fdmon-io_uring.c, hw/block/virtio-blk.c (queue-size).
"""

from __future__ import annotations

from collections.abc import Sequence

from qtheory.arguments import count
from qtheory.engine import Device, Disk, Engine

LINUX_AIO_MAX_EVENTS = 1024
THREAD_POOL_MAX_THREADS = 64
IO_URING_ENTRIES = 128
VIRTQUEUE_SIZE = 256


def linux_aio(disks: Sequence[Disk], device: Device | None = None, *, max_events: int = LINUX_AIO_MAX_EVENTS) -> Engine:
    """Linux AIO as QEMU runs it: at most `max_events` submitted, the rest in one FIFO line inside QEMU.

    Examples
    --------
    >>> import qtheory as qt
    >>> disk = qt.Disk(arrivals=qt.Poisson(100.0))
    >>> engine = qt.engines.linux_aio([disk], qt.Device(servers=4, service=qt.Exponential(mean=0.01)))
    >>> engine.queue_length, engine.hold
    (1024, 'engine')
    """
    return Engine(
        disks=disks, device=device, queue_length=count("max_events", max_events), hold="engine", shares="fifo"
    )


def thread_pool(
    disks: Sequence[Disk], device: Device | None = None, *, max_threads: int = THREAD_POOL_MAX_THREADS
) -> Engine:
    """QEMU's thread pool: each of at most `max_threads` workers blocks in one request; the rest in one FIFO line.

    Examples
    --------
    >>> import qtheory as qt
    >>> disk = qt.Disk(arrivals=qt.Poisson(100.0))
    >>> qt.engines.thread_pool([disk], qt.Device(servers=4, service=qt.Exponential(mean=0.01))).queue_length
    64
    """
    return Engine(
        disks=disks, device=device, queue_length=count("max_threads", max_threads), hold="engine", shares="fifo"
    )


def io_uring(disks: Sequence[Disk], device: Device | None = None) -> Engine:
    """io_uring as QEMU runs it: no limit at all on requests in flight (128 entries are a batch, not a cap).

    Examples
    --------
    >>> import qtheory as qt
    >>> disk = qt.Disk(arrivals=qt.Poisson(100.0))
    >>> qt.engines.io_uring([disk], qt.Device(servers=4, service=qt.Exponential(mean=0.01))).queue_length is None
    True
    """
    return Engine(disks=disks, device=device, queue_length=None, hold="engine", shares="fifo")
