"""What no answer may break, whatever the method: no more is completed than can be served, or than guests can ask for.

A closed guest with n requests that think for z sends no more than n/(z + E[S]) requests a second, and by Little's law
n = X (z + R + G) with its response R and its wait G for room; servers are not busier than there are of them, and disks
add up to the whole. An exact answer meets all that to rounding. An approximation need not: it misses the bounds by what
is lost when rounds end, the sums by as much as numbers that were found in two ways differ. Where these are far apart
neither is worth stating.
"""

from __future__ import annotations

import math

from qtheory.arrivals import Closed
from qtheory.engine import Engine
from qtheory.solve.steady_state import SteadyState

BEYOND = 1e-3
"""Part by which a bound may be exceeded."""
MISSED = 0.05
"""Part of a guest's requests by which Little's law may be missed, and of the whole by which the disks' sum may."""


def broken(engine: Engine, state: SteadyState) -> str | None:
    """What the answer breaks, or None."""
    together = 0.0
    for i, (disk, device, found) in enumerate(zip(engine.disks, engine.devices, state.disks, strict=True)):
        mean = 0.0 if device.service is None else device.service.mean
        together += found.throughput
        if not engine.shared and found.throughput > _most(engine, i) * (1.0 + BEYOND):
            return f"disks[{i}] would complete more than its device can"
        if isinstance(disk.arrivals, Closed):
            requests, think = disk.arrivals.outstanding, disk.arrivals.think_time
            if found.throughput * (think + mean) > requests * (1.0 + BEYOND):
                return f"disks[{i}] would complete more than its guest can ask for"
            seen = found.throughput * (think + found.mean_response + found.mean_guest_wait)
            # A request that is refused is thought about again, which is not in this.
            if engine.hold != "refuse" and abs(seen - requests) > MISSED * requests:
                return f"by Little's law {seen:.4g} requests would circulate at disks[{i}], not {requests}"
        elif found.throughput > disk.arrivals.rate * (1.0 + BEYOND):
            return f"disks[{i}] would complete {found.throughput:.4g} requests a second, of {disk.arrivals.rate:.4g}"
    if abs(together - state.throughput) > MISSED * state.throughput:
        return f"the disks would complete {together:.4g} requests a second, not {state.throughput:.4g}"
    most = max(_most(engine, i) for i in range(len(engine.disks))) if engine.shared else math.inf
    if state.throughput > most * (1.0 + BEYOND):
        return f"{state.throughput:.4g} requests a second would be completed, of at most {most:.4g}"
    return None


def _most(engine: Engine, i: int) -> float:
    """Most completions a second of disk i's requests at its device."""
    device = engine.devices[i]
    if device.servers is None or device.service is None:
        return device.capacity
    return min(device.servers, engine.queue_length or math.inf) / device.service.mean
