"""Drain of a shared device with any service law: a phase-type law is fitted to it, and that is drained.

What the fit adds to the error of a drain has not been measured by itself; that of the response quantiles stands for it,
which the same tails decide.
"""

from __future__ import annotations

from dataclasses import replace

from qtheory.drain import depth_schedule, phase_type
from qtheory.drain.drain_law import DrainTime
from qtheory.drain.throttle import DepthLimit, DepthSchedule
from qtheory.engine import Engine
from qtheory.solve.fitted_service import fitted, refusal, told

__all__ = ["drain", "refusal"]


def drain(engine: Engine, throttle: DepthLimit | DepthSchedule | None, present: tuple[int, ...] | None) -> DrainTime:
    """Drain of an engine that `solve.fitted_service` covers, under a limit over all disks, a schedule or none."""
    same, fit = fitted(engine)
    if isinstance(throttle, DepthSchedule):
        found = depth_schedule.drain(same, throttle)
    else:
        found = phase_type.drain(same, throttle, present)
    of_fit = fit.error_bounds["response_quantile"]
    return replace(
        found,
        method="fitted_service",
        exact=False,
        error_bounds={name: bound + of_fit for name, bound in found.error_bounds.items()},
        warnings=(*found.warnings, told(fit)),
    )
