"""Where an engine stands among all engines: ten numbers, against which errors are drawn.

Logarithms, so that twice as many disks is as far as twice as long a buffer, whatever the numbers.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qtheory.arrivals import MAP, Closed, Marked
from qtheory.drain.throttle import DepthLimit, DepthSchedule
from qtheory.engine import Device, Disk, Engine
from validation.atlas.cells import Throttle

Floats = NDArray[np.float64]

COORDINATES = ("disks", "buffer", "servers", "load", "scv", "dispersion", "slots", "spread", "thinking", "depth")
MOST_LOAD = 2.0
"""Loads above count as this, and so do saturated guests."""
LEAST_SCV = 0.05
WIDE = 6.0
"""log₂ of how many slots for a server count as no limit."""


def coordinates(engine: Engine, throttle: Throttle = None) -> Floats:
    """Where an engine stands among all engines, shape (10,); in the order of COORDINATES.

    Examples
    --------
    >>> import qtheory as qt
    >>> disk = qt.Disk(qt.Poisson(1500.0), buffer=64)
    >>> engine = qt.Engine([disk] * 4, qt.Device(servers=8, service=qt.Exponential(mean=1e-3)))
    >>> coordinates(engine).tolist()
    [2.0, 6.0, 3.0, 0.75, 0.0, 0.0, 5.0, 0.0, 0.0, 6.0]
    """
    n, shared = len(engine.disks), engine.shared
    pairs = list(zip(engine.disks, engine.devices, strict=True))
    seen = {pair: _seen(*pair) for pair in set(pairs)}
    servers, loads, scvs, dispersions, waits = (np.array(x) for x in zip(*(seen[pair] for pair in pairs), strict=True))
    every = int(servers[0]) if shared else int(servers.sum())
    load = loads.sum() / every if shared else float(np.mean(loads / servers))
    open_loads = loads[np.isfinite(loads)]
    depth: float = math.inf
    if isinstance(throttle, DepthLimit):
        depth = throttle.limit * (1 if throttle.per == "engine" else n)
    elif isinstance(throttle, DepthSchedule):
        depth = throttle.steps[-1][1] or math.inf
    return np.array(
        [
            math.log2(n),
            math.log2(engine.most / n),
            math.log2(every if shared else every / n),
            min(load, MOST_LOAD),
            math.log2(max(float(scvs.mean()), LEAST_SCV)),
            math.log2(float(dispersions.mean())),
            min(math.log2(min(engine.queue_length or engine.most, engine.most) / every), WIDE),
            math.log2(open_loads.max() / open_loads.min()) if len(open_loads) else 0.0,
            float(waits.mean()),
            min(math.log2(depth / every), WIDE) if math.isfinite(depth) else WIDE,
        ]
    )


def _seen(disk: Disk, device: Device) -> tuple[int, float, float, float, bool]:
    """Servers, load [erlangs], scv of service, dispersion of arrivals in a service time, whether the guest waits."""
    assert device.service is not None
    arrivals, service, scattered = disk.arrivals, device.service, 1.0
    if isinstance(arrivals, Closed):
        load = arrivals.outstanding * service.mean / (arrivals.think_time + service.mean)
        if disk.saturated:
            load = math.inf
    else:
        load = arrivals.rate * service.mean
    if isinstance(arrivals, (MAP, Marked)):
        process = arrivals if isinstance(arrivals, MAP) else arrivals.process
        scattered = float(process.dispersion(service.mean))
    return device.servers or 1, load, service.scv, scattered, isinstance(arrivals, Closed) or disk.guest_waits
