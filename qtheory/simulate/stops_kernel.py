"""Kernel of `stops.py`."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def run(  # type: ignore[no-untyped-def]
    ends, limits, jitter, rates, saturated, waiting, present, numbers, clock, end, served, services, exponentials,
    uniforms, drains,
):  # fmt: skip
    """Run until all stops are made or a pool might not last for another event."""
    servers, disks, room = len(end), len(present), len(waiting)
    stage, taken, busy, head, length, stops = numbers
    now = clock[0]
    service = event = 0
    copy = np.empty(servers)
    while stops < len(drains) and service + room + servers < len(services) and event + 1 < len(exponentials):
        # Take what the limit allows, and begin what was taken.
        limit = limits[stage]
        taken = max(taken, min(limit, busy + length))
        while busy < servers and busy < taken:
            for s in range(servers):
                if end[s] == np.inf:
                    end[s] = now + services[service]
                    served[s] = waiting[head]
                    break
            service += 1
            head = (head + 1) % room
            length -= 1
            busy += 1
        first = 0
        for s in range(1, servers):
            if end[s] < end[first]:
                first = s
        total = 0.0
        for i in range(disks):
            total += rates[i, present[i]]
        arrival = now + exponentials[event] / total if total > 0.0 else np.inf
        pick = uniforms[event] * total
        event += 1
        if ends[stage] <= min(arrival, end[first]):
            now = ends[stage]
            stage += 1
            if stage == len(ends):
                last = 0.0
                for s in range(servers):
                    copy[s] = end[s] - now if end[s] < np.inf else 0.0
                    last = max(last, copy[s])
                for _ in range(taken - busy):
                    at = np.argmin(copy)
                    copy[at] += services[service]
                    service += 1
                    last = max(last, copy[at])
                drains[stops] = last
                stops += 1
                stage = 0
                later = jitter * exponentials[event]
                event += 1
                for s in range(servers):
                    end[s] -= now + later
                now = -later
        elif end[first] <= arrival:
            now = end[first]
            end[first] = np.inf
            busy -= 1
            taken -= 1
            disk = served[first]
            if saturated[disk]:
                waiting[(head + length) % room] = disk
                length += 1
            else:
                present[disk] -= 1
        else:
            now = arrival
            disk = 0
            while disk < disks - 1 and pick >= rates[disk, present[disk]]:
                pick -= rates[disk, present[disk]]
                disk += 1
            present[disk] += 1
            waiting[(head + length) % room] = disk
            length += 1
    numbers[:] = np.array([stage, taken, busy, head, length, stops])
    clock[0] = now
