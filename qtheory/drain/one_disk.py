"""One disk by itself: its own device is a shared one, and a buffer for which its guest waits is a longer ring.

What the guest holds back while the buffer is full and what waits in the ring beyond a limit are taken in the same way,
the oldest first, as soon as there is room. So a guest that waits for a buffer of K is one that never waits, with a ring
so long that nothing is lost, behind a limit of K that always holds. The engine's own line for Q slots is then the
device's, of which no more than Q servers work. That makes every drain of such a disk, under bursts and limits that
change as well, one that is known.
"""

from __future__ import annotations

import math
from dataclasses import replace

from qtheory.arrivals import Closed
from qtheory.engine import Device, Engine
from qtheory.laws import Exponential
from qtheory.solve.fitted_service import fitted
from qtheory.solve.markovian_arrivals import reach
from qtheory.solve.phase_type import OUT_OF_REACH

LONGEST = 4000
BEYOND = 1e-16
"""Probability of a longer ring."""


def alone(engine: Engine) -> Engine:
    """The engine of one disk as one whose device is shared, and with a ring longer than the guest ever fills.

    Raises ValueError where the guest waits nearly without end.
    """
    device, slots = engine.devices[0], engine.queue_length
    if engine.caps is not None:
        slots = min(slots or engine.caps[0], engine.caps[0])
    disk = replace(engine.disks[0], device=None, service=None, operations=None)
    same = Engine([disk], device, slots, engine.hold)
    if not disk.guest_waits or disk.saturated:
        return same
    if engine.hold == "refuse" and slots is not None and slots < disk.buffer:  # the buffer is never full
        return Engine([replace(disk, full="lost")], device, slots, "refuse")
    if engine.hold != "ring" and slots is not None:
        device, slots = _first_servers(device, slots), None
    room = min(disk.buffer, slots or disk.buffer)
    if isinstance(disk.arrivals, Closed):
        ring = disk.arrivals.outstanding
    else:
        ring = _longest_line(same, _first_servers(device, room))
    return Engine([replace(disk, buffer=ring, full="lost")], device, room, "ring")


def _first_servers(device: Device, slots: int) -> Device:
    """The device when so many are at it at most."""
    if device.curve is not None:
        return Device(curve=device.curve[:slots])
    assert device.servers is not None
    return Device(min(device.servers, slots), device.service)


def _longest_line(engine: Engine, device: Device) -> int:
    """How many requests an open guest has at most that waits for this device, but for a part that does not matter."""
    endless = Engine([replace(engine.disks[0], buffer=LONGEST, full="lost")], device)
    if device.service is None:
        law, servers = Exponential(1.0 / float(device.rates(LONGEST)[-1])).phase_type(), 1
    else:
        try:
            law = device.service.phase_type()
        except TypeError:
            law = fitted(endless)[1].law
        servers = device.servers or 1
    found = reach(endless, law, servers)
    if found is not None:  # the tail is geometric
        found = servers + math.ceil((found - servers) * math.log(BEYOND) / math.log(OUT_OF_REACH))
    if found is None or found > LONGEST:
        raise ValueError(f"disks[0] must not wait for room nearly without end: more than {LONGEST} requests at times")
    return max(found, engine.disks[0].buffer)
