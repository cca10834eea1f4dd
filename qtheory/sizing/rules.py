"""The rules that are deployed, or were proposed, for the length of a shared queue, to compare the optimum with.

| rule | queue length | source |
|---|---|---|
| `constant` | 1024, or 128, however many disks | QEMU's Linux AIO and io_uring; Firecracker's io_uring |
| `sum_of_rings` | Σ K_i | one slot for each request that can be outstanding |
| `linux_shares` | N · max(⌈depth/N⌉, 4): the sum of what each may use | Linux, block/blk-mq.h, hctx_may_queue |
| `one_engine_per_disk` | Σ Q_i, each the optimum of the disk by itself | Firecracker, cloud-hypervisor |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from qtheory.arguments import count
from qtheory.engine import Engine, Shares
from qtheory.shares import follow_length, linux_share


def constant(engine: Engine, length: int) -> int:
    """`length`, whatever the engine."""
    return count("length", length)


def sum_of_rings(engine: Engine) -> int:
    """A slot for every request that can be outstanding."""
    return sum(disk.buffer for disk in engine.disks)


def linux_shares(engine: Engine, depth: int) -> int:
    """What the disks may use together under Linux's share rule; more than `depth` where the least share binds."""
    return linux_share(depth, len(engine.disks)) * len(engine.disks)


def one_engine_per_disk(engine: Engine, optimum: Callable[[Engine], int | None]) -> int | None:
    """Sum of the optima of engines with one disk each; None when one of them has none."""
    total = 0
    caps: Sequence[Shares] = ["fifo"] * len(engine.disks)
    if engine.caps is not None and not follow_length(engine.shares):
        caps = [(cap,) for cap in engine.caps]
    for (disk, cap), copies in Counter(zip(engine.disks, caps, strict=True)).items():
        length = optimum(Engine([disk], engine.device, None, engine.hold, cap))
        if length is None:
            return None
        total += copies * length
    return total
