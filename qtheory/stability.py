"""Guests that would wait without end: open disks with full="wait" that offer more than can be served.

What guests hold back is bounded only if the servers keep up with it: the utilization by the disks that wait must be
below 1, and that of each disk alone below what its own buffer lets it use, at most K requests at the servers.
"""

from __future__ import annotations

from functools import cache

from qtheory.arrivals import Closed
from qtheory.engine import Engine


def check_stable(engine: Engine) -> None:
    """Raise ValueError, naming the disk, where guests wait without end; what others take of the servers not counted.

    A disk that is refused before its buffer is full does not wait.
    """
    total = sum(disk.most for disk in engine.disks)
    if engine.refuses_at_caps or engine.most < total:
        return
    fastest = cache(lambda device, n: float(device.rates(n).max()))
    loads: dict[int, float] = {}
    for i, (disk, device) in enumerate(zip(engine.disks, engine.devices, strict=True)):
        if isinstance(disk.arrivals, Closed) or disk.full != "wait":
            continue
        at = 0 if engine.shared else i
        depth = total if engine.shared else disk.most
        slots = min(engine.queue_length or depth, device.servers or len(device.curve or ()))
        cap = engine.caps[i] if engine.caps is not None else slots
        loads[at] = loads.get(at, 0.0) + disk.arrivals.rate / fastest(device, min(depth, slots))
        alone = disk.arrivals.rate / fastest(device, min(disk.most, slots, cap))
        if max(loads[at], alone) >= 1.0:
            raise ValueError(
                f"disks[{i}] must not wait for room without end: full='wait' with a utilization of "
                f"{max(loads[at], alone):.4g} >= 1"
                + ("" if loads[at] >= 1.0 else f" of what its buffer {disk.buffer} allows")
            )
