"""Drain of a shared device with any service law: what is present from a fitted phase-type law, how long from the law.

How many requests are waited for is that of `solve/fitted_service.py`; how long they take is worked out with the law
itself (`residual_services.py`). With a server for every request both are exact (`solve/enough_servers.py`). Behind one
server, and under a schedule, the number goes with how far the services are, which only the chain of the fitted law
follows: that is drained where the fit is close. Where it is not, the chain of `depth_schedule.py` gives the number at
least.

Where a line is too long to be followed service by service, the fitted law is drained. Of the error of a drained fit
that of its response quantiles is said, for want of a measured one.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from qtheory.arrivals import Closed
from qtheory.drain import depth_schedule, limited, phase_type
from qtheory.drain.drain_law import DrainTime
from qtheory.drain.residual_services import GRID, Makespan
from qtheory.drain.shared_device import taken
from qtheory.drain.throttle import DepthLimit, DepthSchedule
from qtheory.engine import Engine
from qtheory.laws.fitting import PhaseTypeFit
from qtheory.solve import enough_servers, fitted_service
from qtheory.solve.fitted_service import CLOSE, fitted, refusal, told

__all__ = ["drain", "refusal"]

MEASURED = {"mean": 0.05, "quantile": 0.131}
MEASURED_SCHEDULE = {"mean": 0.12, "quantile": 0.10}
"""Largest relative errors, the quantile's at 99 %, over the cells of `validation/drain.py` that are drained so, the
latter constant service; but for the cells of IN_STEP. The atlas found the first quantile, of constant service too."""
MEASURED_CLOSED = {"mean": 0.022, "quantile": 0.153}
"""The same for guests that think, over the cells of `validation/closed_guests.py`."""
UNKNOWN = {"mean": math.inf, "quantile": math.inf}
IN_STEP = (
    "servers with constant service that are never idle keep their order for ever: this is for servers that began at "
    "random moments"
)


def drain(engine: Engine, throttle: DepthLimit | DepthSchedule | None, present: tuple[int, ...] | None) -> DrainTime:
    """Drain of an engine that `solve.fitted_service` covers, under a limit over all disks, a schedule or none."""
    if isinstance(throttle, DepthLimit):
        engine = limited(engine, throttle)
    same, fit = fitted(engine)
    law = engine.devices[0].service
    assert law is not None
    servers = min(engine.devices[0].servers or 1, engine.queue_length or engine.most, engine.most)
    if isinstance(throttle, DepthSchedule):
        found = depth_schedule.drain(same, throttle)
        if fit.distance <= CLOSE:
            return _of_fit(found, fit)
        pending, bounds, warnings = found.population_pmf, MEASURED_SCHEDULE, [told(fit)]
    else:
        pending, bounds, warnings = _pending(engine, present), MEASURED, [told(fit)]
        busy = float(np.minimum(np.arange(len(pending)), servers) @ pending) / servers
        in_step = present is None and fitted_service.in_step(law, busy)
        if all(disk.saturated for disk in engine.disks) or enough_servers.refusal(engine) is None:
            bounds, warnings = {"mean": GRID, "quantile": GRID}, []
        elif servers == 1 and fit.distance <= CLOSE and len(pending) > 2:
            return _of_fit(phase_type.drain(same, None, present), fit)
        elif any(isinstance(disk.arrivals, Closed) for disk in engine.disks):
            measured = fitted_service.closed(engine) and present is None and not in_step
            bounds = MEASURED_CLOSED if measured else UNKNOWN
        if in_step and servers > 1:
            bounds = UNKNOWN
    try:
        left = Makespan(law, servers, pending)
    except ValueError as error:
        if not isinstance(throttle, DepthSchedule):
            found = phase_type.drain(same, None, present)
        return _of_fit(found, fit, str(error))
    if law.scv == 0.0 and servers > 1:
        warnings.append(IN_STEP)
    mean, variance = left.moments
    return DrainTime(
        method="residual_services",
        exact=False,
        error_bounds={"variance": math.inf, "sf": math.inf, **bounds},
        warnings=tuple(warnings),
        mean=mean,
        variance=variance,
        population_pmf=pending,
        _sf=left.sf,
    )


def _of_fit(found: DrainTime, fit: PhaseTypeFit, *why: str) -> DrainTime:
    """The drain of the fitted law for that of the law."""
    of_fit = fit.error_bounds["response_quantile"]
    return replace(
        found,
        method="fitted_service",
        exact=False,
        error_bounds={name: bound + of_fit for name, bound in found.error_bounds.items()},
        warnings=(*found.warnings, told(fit), *why),
    )


def _pending(engine: Engine, present: tuple[int, ...] | None) -> NDArray[np.float64]:
    """Law of the number that a drain waits for, with `present` at the stop."""
    if present is None:
        method = fitted_service if enough_servers.refusal(engine) else enough_servers
        number = np.asarray(method.solve(engine).in_system_pmf)
    else:
        number = np.eye(1, sum(present) + 1, sum(present))[0]
    return taken(number, engine.queue_length) if engine.hold == "ring" and engine.queue_length else number
