"""Drain of separate devices behind one FIFO line for Q slots, approximately.

The number in flight is that of the flow-equivalent station (`solve/flow_equivalent.py`). Given m in flight, the numbers
at the devices are taken as those of the closed network in which m requests circulate, a product form, and from there
each device drains by itself, exactly (`separate_devices.py`). What waits in the guests' rings is not waited for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from qtheory.drain.drain_law import DrainTime
from qtheory.drain.separate_devices import ROUNDING, integrated, longest, tied
from qtheory.drain.shared_device import taken
from qtheory.engine import Engine
from qtheory.solve import flow_equivalent

Floats = NDArray[np.float64]
MEASURED = 0.21
"""Largest relative error of the mean, the median and the 99 % quantile against simulation, half-widths included, over
the grid of `validation/flow_equivalent_drain.py`: 2 and 8 equal Poisson disks, buffers 8 and 32, 1 and 4 servers a
disk, utilization 0.5 to 1.3, 0.5 to 2 slots a server. Longer than simulated by up to that, shorter by at most 8 %."""
MOST_DISKS = 8


def refusal(engine: Engine) -> str | None:
    """Why this method cannot answer for `engine`, or None."""
    if engine.hold != "ring":
        return "requests wait in the engine for a slot, and where they go decides the drain"
    return flow_equivalent.refusal(engine)


def drain(engine: Engine, present: tuple[int, ...] | None) -> DrainTime:
    """Drain of an engine that `solve.flow_equivalent` covers, with the rest left in the rings."""
    if present is not None:
        raise ValueError("population must be None for this engine: which requests wait for a slot is not known")
    series, rates, total = _network(engine)
    error = MEASURED if flow_equivalent.measured(engine) and len(engine.disks) <= MOST_DISKS else math.inf
    law = integrated("flow_equivalent", tied(series, rates, total), longest(rates, total), total, ROUNDING)
    told = "mostly too long where slots are plenty" if error < math.inf else "no error was measured here"
    return replace(
        law,
        exact=False,
        error_bounds={"mean": error, "variance": math.inf, "sf": math.inf, "quantile": error},
        warnings=(f"the drain is approximate: {told}, compare with qt.simulate",),
    )


def survival(engine: Engine) -> Callable[[float], float]:
    """P(T > t) alone."""
    return tied(*_network(engine))


def _network(engine: Engine) -> tuple[list[Floats], list[Floats], Floats]:
    """The disks' series and rates, and the law of the number in flight."""
    shares, equivalent, pmf = flow_equivalent.station(engine)
    slots = len(equivalent)
    rates = [device.rates(min(slots, disk.most)) for disk, device in zip(engine.disks, engine.devices, strict=True)]
    return [share / rate for share, rate in zip(shares, rates, strict=True)], rates, taken(pmf, slots)
