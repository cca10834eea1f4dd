"""The shared engine with any service law: a phase-type law is fitted to it, and that is solved.

The fit (`laws/fitting/`) has the exact mean and as many phases as so many servers afford. Where these cannot be as
regular as the law, the totals are corrected for the rest (`interpolated.py`). A request's own service follows the law
itself: few phases cannot follow its tail, which is what long responses are made of where waits are short.

How far the answers are off was measured (`validation/service_laws.py`), by how the law is stood in for: a fit "near"
the law, one "far" from it, by distance, or "interpolated"; and for guests that think (`validation/closed_guests.py`).
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from types import ModuleType

from qtheory.arrivals import Closed
from qtheory.engine import Device, Engine
from qtheory.laws import Law
from qtheory.laws.fitting import PhaseTypeFit, fit_phase_type
from qtheory.solve import interpolated, markovian_arrivals, phase_type
from qtheory.solve.sojourn import WaitThenService
from qtheory.solve.steady_state import SteadyState

MEASURED: dict[str, dict[str, float]] = {
    "near": {
        "throughput": 0.003,
        "blocking": 0.01,
        "mean_wait": 0.018,
        "mean_response": 0.01,
        "mean_in_system": 0.01,
        "mean_in_flight": 0.01,
        "utilization": 0.003,
        "wait_quantile": 0.106,
        "response_quantile": 0.106,
        "disks.blocking": 0.032,
        "disks.mean_wait": 0.02,
    },
    "far": {
        "throughput": 0.635,
        "blocking": 2.809,
        "mean_wait": 1.851,
        "mean_response": 1.639,
        "mean_in_system": 1.042,
        "mean_in_flight": 1.042,
        "utilization": 0.288,
        "wait_quantile": 3.54,
        "response_quantile": 1.193,
        "disks.blocking": 2.809,
        "disks.mean_wait": 1.851,
    },
    "interpolated": {
        "throughput": 0.003,
        "blocking": 0.009,
        "mean_wait": 0.024,
        "mean_response": 0.018,
        "mean_in_system": 0.02,
        "mean_in_flight": 0.02,
        "utilization": 0.003,
        "wait_quantile": 0.08,
        "response_quantile": 0.062,
        "disks.blocking": 0.042,
        "disks.mean_wait": 0.037,
    },
}
"""Largest relative error over the cells of `validation/service_laws.py` that may set bounds, half-widths (below 1 %)
included; for a fit far from the law, for each unit of distance. The range is that of `phase_type.MEASURED`, for
lognormal, Weibull and constant service, and Erlang laws of many phases; the largest are of constant service before one
server. Those of quantiles near the law are of lognormal service of scv 4 to 10 before one server, against M/G/1, which
is exact (`tests/test_fitted_service.py`)."""
MEASURED_CLOSED = {
    "throughput": 0.008,
    "blocking": 0.0,
    "mean_wait": 0.057,
    "mean_guest_wait": 0.0,
    "mean_response": 0.011,
    "mean_in_system": 0.008,
    "mean_in_flight": 0.008,
    "utilization": 0.008,
    "wait_quantile": 0.39,
    "response_quantile": 0.122,
    "disks.mean_wait": 0.057,
}
"""Largest relative error over the cells of `validation/closed_guests.py`, half-widths (below 1 %) included: guests that
think, and service of scv below 1. The largest are of constant service, and of hardly more requests than servers."""
IN_STEP = 0.99
"""Utilization from which on servers with constant service keep their order, and long waits depend on how they began."""
LONG_WAITS = "servers with constant service are hardly ever idle: long waits depend on the order in which they began"
INTERPOLATED = "between the scv of these phases and that of the law itself, the totals are interpolated"
CLOSE = 0.005
"""Distance of a fit whose queue is hardly told from the law's own."""


def refusal(engine: Engine) -> str | None:
    """Why this method cannot answer for `engine`, or None."""
    if not engine.shared:
        return "each disk has its own device"
    if engine.devices[0].service is None:
        return "the device is a rate curve"
    if not engine.one_law:
        return "the disks have different service laws at one device"
    reason: str | None = _method(engine).refusal(fitted(engine)[0])
    return reason


def solve(engine: Engine) -> SteadyState:
    """Solve an engine with one shared device and one FIFO line."""
    same, fit = fitted(engine)
    law = engine.devices[0].service
    assert law is not None
    how = way(engine)
    of_law = {name: x * fit.distance if how == "far" else x for name, x in MEASURED[how].items()}
    if engine.streams:
        state = markovian_arrivals.solve(same)
        # What the law and what the bursts add was measured apart.
        bounds = {name: x + of_law.get(name, 0.0) for name, x in state.error_bounds.items()}
        warnings = state.warnings
    else:
        chain, kinds, parts = phase_type.solved_chain(same)
        factors, constant = None, 0.0
        if how == "interpolated":
            factors = interpolated.factors(same, law, fit.law, chain, bool(parts))
            # Given what a request finds, the variance of its wait is about linear in the scv.
            constant = 1.0 - min(law.scv / fit.law.scv, 1.0)
        state = phase_type.answer(same, chain, kinds, parts, factors, constant)
        of_split, warnings = phase_type.measured(engine, parts, least_scv=0.0)
        bounds = {name: max(x, of_law.get(name, 0.0)) for name, x in of_split.items()}
        if closed(engine) and how != "far":
            bounds, warnings = MEASURED_CLOSED, ()
        if in_step(law, state.utilization):
            bounds = bounds | {"wait_quantile": math.inf, "response_quantile": math.inf}
            warnings = (*warnings, LONG_WAITS)
    assert not isinstance(state._sojourns, str)
    return replace(
        state,
        method="fitted_service",
        exact=False,
        error_bounds=bounds,
        warnings=(*warnings, told(fit), *((INTERPOLATED,) if how == "interpolated" else ())),
        _sojourns=tuple((weight, WaitThenService(wait, law)) for weight, wait in state._sojourns),
    )


def closed(engine: Engine) -> bool:
    """Whether `engine` is as those on which MEASURED_CLOSED was measured."""
    device, law = engine.devices[0], engine.devices[0].service
    guests = {(disk.arrivals, disk.most) for disk in engine.disks}
    thinks = [disk.arrivals.think_time for disk in engine.disks if isinstance(disk.arrivals, Closed)]
    servers = device.servers or 1
    return (
        law is not None
        and law.scv < 1.0
        and len(thinks) == len(engine.disks)
        and 1e-3 * law.mean <= min(thinks)
        and max(thinks) <= 16.0 * min(100.0 * law.mean, min(thinks))
        and (len(guests) == 1 or len(engine.disks) == 2)
        and len(engine.disks) <= 4
        and servers <= min(64, engine.queue_length or 64)
        and servers < engine.most <= 17 * servers
    )


def in_step(law: Law, utilization: float) -> bool:
    """Whether nothing ever puts the servers out of the order in which they began."""
    return law.scv == 0.0 and utilization > IN_STEP


def fitted(engine: Engine) -> tuple[Engine, PhaseTypeFit]:
    """The engine with a phase-type law in place of its own, and how that was fitted."""
    device = engine.devices[0]
    assert device.service is not None
    assert device.servers is not None
    servers = min(device.servers, engine.queue_length or engine.most, engine.most)
    fit = _fit(device.service, servers)
    return with_law(engine, fit.law), fit


def with_law(engine: Engine, law: Law) -> Engine:
    """The engine with this law for all requests at its shared device."""
    disks = [replace(disk, service=None, operations=None) for disk in engine.disks]
    return Engine(disks, Device(engine.devices[0].servers, law), engine.queue_length, engine.hold, engine.shares)


def way(engine: Engine) -> str:
    """How the law is stood in for, in the words of MEASURED."""
    fit = fitted(engine)[1]
    law = engine.devices[0].service
    assert law is not None
    if not engine.streams and interpolated.refusal(engine, law, fit.law) is None:
        return "interpolated"
    return "near" if fit.distance <= CLOSE else "far"


def of_fit(fit: PhaseTypeFit, quantity: str) -> float:
    """What a fit says of its own error in a quantity."""
    if quantity.endswith("quantile"):
        return fit.error_bounds["response_quantile"]
    if quantity in ("throughput", "utilization", "blocking", "disks.blocking"):
        return fit.error_bounds["blocking"]
    return max(fit.error_bounds["blocking"], fit.error_bounds["mean_wait"])


def told(fit: PhaseTypeFit) -> str:
    """The warning that names the fit."""
    return (
        f"the service law is replaced by {len(fit.law.alpha)} phases ({fit.method}), whose distance from it is "
        f"{fit.distance:.2g} (qt.fit_phase_type tells more)"
    )


def _method(engine: Engine) -> ModuleType:
    """What solves the engine with phase-type service."""
    return markovian_arrivals if engine.streams else phase_type


@lru_cache(maxsize=32)
def _fit(law: Law, servers: int) -> PhaseTypeFit:
    return fit_phase_type(law, servers=servers)
