"""Controllers: what sets an engine's queue length while it runs (`simulate_resizing`).

    known.py           what is known beforehand: a constant, the rings, the integer rule told of the device
    estimated.py       the integer rule with what an engine can measure of itself, and when that is stable
    latency_target.py  what Linux does: kyber, and the rule of blk-iolatency turned on oneself

Each is a function of an `Observation`; any other function will do as well.
"""

from __future__ import annotations

from collections.abc import Callable

from qtheory.engine import Engine
from qtheory.simulate.controllers.estimated import Estimated, mean_field
from qtheory.simulate.controllers.known import Constant, Known, SumOfRings
from qtheory.simulate.controllers.latency_target import Kyber, LatencyTarget
from qtheory.simulate.resizing import Controller, simulate_resizing

__all__ = ["Constant", "Estimated", "Known", "Kyber", "LatencyTarget", "SumOfRings", "mean_field", "settled"]


def settled(
    controller: Controller, *, horizon: float, period: float = 0.1, seed: int = 1
) -> Callable[[Engine], int | None]:
    """The controller as a rule, for `qt.sizing_curve`: the mean Q [rounded] in the second half of a simulated run.

    None where it had set no limit at some time in that half. `horizon` and `period` in seconds.

    Examples
    --------
    >>> import qtheory as qt
    >>> engine = qt.Engine([qt.Disk(qt.Poisson(100.0))], qt.Device(servers=1, service=qt.Exponential(mean=1e-3)))
    >>> settled(SumOfRings(), horizon=1.0)(engine)
    256
    """

    def rule(engine: Engine) -> int | None:
        run = simulate_resizing(engine, controller, horizon=horizon, period=period, seed=seed)
        length = run.between(horizon / 2.0).queue_length
        return round(length) if length < float("inf") else None

    return rule
