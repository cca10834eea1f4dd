"""Where an engine stands among all engines: twelve numbers, by which the atlas tells where an approximation is good.

Logarithms, so that twice as many disks is as far as twice as long a buffer, whatever the numbers; N disks at servers of
their own count as one disk at its own.

| coordinate | what it is |
|---|---|
| disks | log₂ N |
| buffer | log₂ of the requests that a disk may have in the system, mean over disks |
| servers | log₂ of the servers at a device |
| load | erlangs a server |
| scv | log₂ of the squared coefficient of variation of the service time |
| shape | log₂ of the third moment of the service time over that of the gamma law of its mean and scv |
| dispersion | log₂ of variance over mean of the requests that come in a mean service time; 0 for Poisson |
| slots | log₂ of the queue length over the servers |
| spread | log₂ of the largest load of a disk over the smallest |
| thinking | part of the disks whose guests wait: closed, or for room |
| together | 1 where bursts come to several disks at once |
| depth | log₂ of the depth that a throttle leaves at the stop, over the servers |
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qtheory.arrivals import MAP, Closed, Marked
from qtheory.engine import Device, Disk, Engine

Floats = NDArray[np.float64]

COORDINATES = (
    "disks",
    "buffer",
    "servers",
    "load",
    "scv",
    "shape",
    "dispersion",
    "slots",
    "spread",
    "thinking",
    "together",
    "depth",
)
MOST_LOAD = 2.0
"""Loads above count as this, and so do saturated guests."""
LEAST_SCV = 0.05
WIDE = 6.0
"""log₂ of how many slots for a server count as no limit."""


def coordinates(engine: Engine, depth: float = math.inf) -> Floats:
    """Where an engine stands among all engines, shape (12,); in the order of COORDINATES.

    `depth` is the number of requests at the device that a throttle leaves at a stop. None of the devices may be a rate
    curve. What a law has no finite moments for is inf or NaN.

    Examples
    --------
    >>> import qtheory as qt
    >>> disk = qt.Disk(qt.Poisson(1500.0), buffer=64)
    >>> engine = qt.Engine([disk] * 4, qt.Device(servers=8, service=qt.Exponential(mean=1e-3)))
    >>> coordinates(engine).round(2).tolist()
    [2.0, 6.0, 3.0, 0.75, 0.0, 0.0, 0.0, 5.0, 0.0, 0.0, 0.0, 6.0]
    """
    n, shared = len(engine.disks), engine.shared
    pairs = list(zip(engine.disks, engine.devices, strict=True))
    seen = {pair: _seen(*pair) for pair in set(pairs)}
    servers, loads, scvs, shapes, dispersions, waits = np.array([seen[pair] for pair in pairs]).T
    every = servers[0] if shared else servers.sum()
    load = loads.sum() / every if shared else float(np.mean(loads / servers))
    open_loads = loads[np.isfinite(loads)]
    return np.array(
        [
            math.log2(n),
            math.log2(engine.most / n),
            math.log2(every if shared else every / n),
            min(load, MOST_LOAD),
            math.log2(max(scvs.mean(), LEAST_SCV)),
            math.log2(shapes.mean()),
            math.log2(dispersions.mean()),
            min(math.log2(min(engine.queue_length or engine.most, engine.most) / every), WIDE),
            math.log2(open_loads.max() / open_loads.min()) if len(open_loads) else 0.0,
            waits.mean(),
            float(any(isinstance(disk.arrivals, Marked) for disk, _ in seen)),
            min(math.log2(depth / every), WIDE) if depth else -math.inf,
        ]
    )


def _seen(disk: Disk, device: Device) -> tuple[float, ...]:
    """Servers, load [erlangs], scv and shape of service, dispersion of arrivals, 1 if the guest waits."""
    law, arrivals, scattered = device.service, disk.arrivals, 1.0
    assert law is not None
    if isinstance(arrivals, Closed):
        load = math.inf if disk.saturated else arrivals.outstanding * law.mean / (arrivals.think_time + law.mean)
    else:
        load = arrivals.rate * law.mean
    if isinstance(arrivals, (MAP, Marked)):
        process = arrivals if isinstance(arrivals, MAP) else arrivals.process
        scattered = float(process.dispersion(law.mean))
    waits = isinstance(arrivals, Closed) or disk.guest_waits
    shape = law.moment(3) / (law.mean**3 * (1.0 + law.scv) * (1.0 + 2.0 * law.scv))
    return float(device.servers or 1), load, law.scv, shape, scattered, float(waits)
