"""How far off an approximate answer is: the largest error that was measured near by.

An approximation has no error of its own that could be computed; but it was measured, on engines spread evenly over all
that may be described (`validation/atlas`), how far each method's answers are from long simulations. The bound of an
answer is the largest error of its method among the NEIGHBOURS engines that are most like the one in question. Were
these drawn from the same law as it, the chance that its own error exceeds all of theirs would be

    1 / (NEIGHBOURS + 1) = 5 %

whatever the law of the errors, by symmetry (Wilks 1941: a tolerance limit without a distribution; Lei & Wasserman 2014
for its use in a neighbourhood). How often it holds is counted on engines that were held out.

Engines are alike when their `coordinates` are: logarithms, so that twice as many disks is as far as twice as long a
buffer, whatever the numbers. Each coordinate is divided by its standard deviation over the atlas.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qtheory.arrivals import MAP, Closed, Marked
from qtheory.drain.throttle import DepthLimit, DepthSchedule, RateLimit
from qtheory.engine import Device, Disk, Engine

Floats = NDArray[np.float64]
Throttle = DepthLimit | DepthSchedule | RateLimit | None

NEIGHBOURS = 19
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
