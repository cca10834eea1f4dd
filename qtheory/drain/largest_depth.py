"""The deepest limit that keeps a drain within a budget, and how long before the stop it must begin.

With at most q requests taken from the rings the drain is the shorter the smaller q, so the largest q with
P(T > D) <= 1 − p is found by bisection. The limit must begin some time before the stop: the time in which the law of
what was taken comes so close to the limit's that the same holds (`depth_schedule.py`); where that is not known, the
time in which all that was taken before the limit is drained but with a tenth of 1 − p.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from qtheory.drain import DepthLimit, drain_time
from qtheory.drain.drain_law import DrainTime
from qtheory.engine import Engine


def kind(engine: Engine) -> Literal["engine", "disk"]:
    """Whether limits hold for all disks together, or for each as the devices or slots are theirs."""
    return "engine" if engine.shared and engine.caps is None else "disk"


def most(engine: Engine) -> int:
    """The depth from which on a limit of its `kind` changes nothing."""
    return engine.most if kind(engine) == "engine" else max(disk.most for disk in engine.disks)


def largest_depth(most: int, overrun_at: Callable[[int], float], allowed: float) -> int | None:
    """The largest depth up to `most` with overrun_at(depth) <= allowed; None when it is not so even at 1.

    >>> largest_depth(64, lambda q: q / 100.0, 0.16)
    16
    """
    if overrun_at(1) > allowed:
        return None
    low, high = 1, most + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if overrun_at(middle) <= allowed else (low, middle)
    return low


def lead(
    engine: Engine, limit: DepthLimit, natural: DrainTime, budget: float, allowed: float
) -> tuple[float, str | None]:
    """How long before the stop [s] the limit must begin; and why that is a bound only, None where it is not.

    `natural` is the drain without a limit.
    """
    from qtheory.drain import depth_schedule  # numba loads here

    emptied = natural.quantile(1.0 - allowed / 10.0)
    if limit.per == "disk":
        return emptied, "each disk has a limit of its own"
    followed = phased(engine)
    if isinstance(followed, str):
        return emptied, followed
    if followed is not engine:
        # A fitted law has another overrun under the limit for good: the same multiple of it is asked for.
        allowed *= drain_time(followed, limit).sf(budget) / drain_time(engine, limit).sf(budget)
    try:
        found = depth_schedule.lead(followed, limit.limit, budget, allowed, 2.0 * emptied)
    except ValueError as error:
        return emptied, str(error)
    return (emptied, "the limit settles too slowly") if found is None else (found, None)


def phased(engine: Engine) -> Engine | str:
    """The engine whose transient `depth_schedule` can follow: itself, or with a fitted law; or why there is none."""
    from qtheory.drain import depth_schedule
    from qtheory.solve import fitted_service

    if depth_schedule.refusal(engine) is not None and fitted_service.refusal(engine) is None:
        engine = fitted_service.fitted(engine)[0]
    return depth_schedule.refusal(engine) or engine


def drained(engine: Engine, depth: int) -> DrainTime:
    """The drain under a limit of the engine's kind."""
    return drain_time(engine, DepthLimit(depth, per=kind(engine)))
