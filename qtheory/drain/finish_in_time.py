"""Taking only what will be finished in time, seen as a depth limit that falls until the stop.

With s to go until the stop, a request is taken only if all that is then taken, itself included, will be done within s
plus the budget D. If all that is known of a request is that it is one, this is a limit on their number,

    q(s) = max {q : P(T_q > s + D) <= 1 − p},

T_q the time in which q requests are drained by a device that has been busy for long: the drain of a saturated guest
with q outstanding, from the front door. The limit falls in steps, each at the moment when its depth would be too much.
Each request is then in time with p; that all are is somewhat less likely, for the question is asked again and again: on
one or four servers at utilization 0.92 the drain overran up to 2.2 times as often as 1 − p (`tests/test_stops.py`).
It is the class-blind case of `FinishInTime`, which looks at the request as well and is simulated only.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from qtheory.arguments import positive, probability
from qtheory.arrivals import Closed
from qtheory.drain import drain_time
from qtheory.drain.drain_law import DrainTime
from qtheory.drain.throttle import DepthSchedule
from qtheory.engine import Device, Disk, Engine
from qtheory.laws import Mixture

STEPS = 32
NEVER = 1e-6
"""Probability of more than the depths that are limited."""


def finish_in_time(engine: Engine, budget: float, drain_probability: float = 0.99) -> DepthSchedule:
    """The limit that takes only what will be finished within the budget; `(0.0, None)` alone where none is needed.

    Parameters
    ----------
    engine : Engine
        One shared device, one line. Requests of different laws count as a mixture by their rates.
    budget : float
        What the drain may take after the stop [s].
    drain_probability : float
        How often it is to take no more.

    Raises ValueError for other engines, and where the drain of a saturated guest on the device is not known.

    Examples
    --------
    >>> import qtheory as qt
    >>> device = qt.Device(servers=1, service=qt.Exponential(mean=0.010))
    >>> engine = qt.Engine([qt.Disk(qt.Poisson(80.0), buffer=4)], device)
    >>> [(round(t, 3), q) for t, q in finish_in_time(engine, 0.060).steps]
    [(-0.04, 3), (-0.024, 2), (-0.006, 1)]
    """
    if not isinstance(engine, Engine):
        raise TypeError(f"engine must be a qt.Engine, not {engine!r}")
    budget, p = positive("budget", budget), probability("drain_probability", drain_probability)
    if not engine.shared or engine.caps is not None or engine.hold == "refuse":
        raise ValueError("engine must have one shared device, one line, and not refuse at Q")
    device = _device(engine)

    def time(depth: int) -> float:
        return _full(device, engine.queue_length, depth).quantile(p)

    top = _deepest(engine)
    if time(top) <= budget:
        return DepthSchedule([(0.0, None)])
    least, above = 0, top
    while above - least > 1:
        middle = (least + above) // 2
        least, above = (middle, above) if time(middle) <= budget else (least, middle)
    depths = np.unique(np.round(np.geomspace(above, top, STEPS)).astype(int)).tolist()
    limits = [least, *depths[:-1]]
    steps = {budget - time(depth): limit for depth, limit in zip(depths, limits, strict=True)}
    return DepthSchedule(sorted(steps.items()))


@lru_cache(maxsize=1024)
def _full(device: Device, queue_length: int | None, depth: int) -> DrainTime:
    """Drain of so many requests."""
    return drain_time(Engine([Disk(Closed(depth), buffer=depth)], device, queue_length))


def _device(engine: Engine) -> Device:
    """The device as one sees it who cannot tell the disks apart."""
    if engine.one_law:
        return engine.devices[0]
    rates = np.array([disk.arrival_rates()[0] for disk in engine.disks])
    if not np.isfinite(rates).all():
        rates = np.ones(len(rates))
    laws = [law for law in engine.laws if law is not None]
    return Device(engine.devices[0].servers, Mixture(laws, (rates / rates.sum()).tolist()))


def _deepest(engine: Engine) -> int:
    """More than so many are practically never taken."""
    try:
        reached = drain_time(engine).population_pmf
    except ValueError:
        return engine.most
    return max(int(np.searchsorted(np.cumsum(reached), 1.0 - NEVER)), 1)
