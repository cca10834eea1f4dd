"""One cell measured: what the package answers, what it says of its error, and what a simulation finds.

A simulation is made longer, up to MOST times, until its half-widths say how large the errors are: until they are below
RESOLVED of the value or a third of the error.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

import qtheory as qt
from qtheory.drain import answer as drained
from qtheory.drain import limited
from qtheory.simulate import Simulation
from qtheory.solve import answer as solved
from qtheory.solve.phase_type import LEAST
from qtheory.solve.steady_state import SteadyState
from validation.atlas.cells import Cell, drawn
from validation.phase_type import compare

REQUESTS, STOPS, LEAST_STOPS = 500_000, 20_000, 200
TIMES = 3
MOST = 9
RESOLVED = 0.004
PATIENCE = 60.0
"""Seconds that an answer may take."""
LEAST_DRAIN = 0.01
"""Mean drains below this many service times are not compared."""
PROBABILITY = 0.99
FULLY = 1000
"""Cells of a grid from here on serve the bounds alone: their exact answers are not simulated."""
NOT_SIMULATED = "answered exactly, and not simulated"

Row = dict[str, Any]
Found = tuple[str, float, qt.Estimate]


def measure(cell: Mapping[str, Any], seed: int) -> Row:
    """The rows of a cell {"grid", "index"}: of its steady state, and of its drain under its throttle."""
    at = drawn(cell["grid"], cell["index"])
    return {"steady": _steady(at, seed), "drain": _drain(at, seed)}


def _steady(cell: Cell, seed: int) -> Row:
    try:
        with patience():
            state = solved(cell.engine)
    except (ValueError, TimeoutError) as refused:
        return {"refused": str(refused)}
    if state.exact and cell.index >= FULLY:
        return {"refused": NOT_SIMULATED}
    found = resolved(lambda times: _states(cell, state, qt.simulate(cell.engine, times * REQUESTS, seed=seed)))
    return {"method": state.method, "exact": state.exact, **_rows(found, state.error_bounds)}


def _states(cell: Cell, state: SteadyState, run: Simulation) -> list[Found]:
    """What is compared of a steady state, and of guests that wait for room how long they do."""
    found = list(compare(cell.engine, state, run))
    if run.mean_guest_wait.value > LEAST["mean_wait"]:
        found.append(("mean_guest_wait", state.mean_guest_wait, run.mean_guest_wait))
    return found


def _drain(cell: Cell, seed: int) -> Row:
    try:
        with patience():
            answer = drained(cell.engine, cell.throttle)
            figures = {"mean": answer.mean, "quantile": answer.quantile(PROBABILITY)}
    except (ValueError, TimeoutError) as refused:
        return {"refused": str(refused)}
    if figures["mean"] < LEAST_DRAIN:
        return {"refused": "hardly ever anything to wait for"}
    if answer.exact and cell.index >= FULLY:
        return {"refused": NOT_SIMULATED}
    try:
        found = resolved(lambda times: _compared(figures, simulated(cell, times, seed)))
    except ValueError as refused:
        return {"refused": f"answered, but not simulated: {refused}"}
    return {"method": answer.method, "exact": answer.exact, **_rows(found, answer.error_bounds)}


def simulated(cell: Cell, times: int, seed: int) -> Any:
    """Drains of the cell's engine under its throttle."""
    if isinstance(cell.throttle, qt.DepthSchedule | qt.RateLimit):
        # Between two stops all that may be present is served several times over.
        stops = min(STOPS, max(LEAST_STOPS, REQUESTS // (8 * cell.engine.most)))
        return qt.simulate_stops(cell.engine, cell.throttle, times * stops, seed=seed)
    engine = cell.engine if cell.throttle is None else limited(cell.engine, cell.throttle)
    return qt.simulate(engine, times * REQUESTS, seed=seed).drain


def _compared(figures: dict[str, float], run: Any) -> list[Found]:
    return [("mean", figures["mean"], run.mean), ("quantile", figures["quantile"], run.quantile(PROBABILITY))]


def resolved(compared: Callable[[int], list[Found]]) -> list[Found]:
    """What is found by a simulation that is long enough, or MOST times as long."""
    times, found = 1, compared(1)
    while times < MOST and not all(map(seen, found)):
        times *= TIMES
        found = compared(times)
    return found


def seen(found: Found) -> bool:
    """Whether the half-width says how large the error is."""
    _, answer, truth = found
    return truth.half_width <= max(RESOLVED * truth.value, abs(answer - truth.value) / 3.0)


def _rows(found: list[Found], bounds: Mapping[str, float]) -> Row:
    """By quantity: the relative error, the half-width over the value, the bound that the method states, the answer."""
    rows = {}
    for name, answer, truth in found:
        bound = bounds.get(name, math.inf)
        stated = bound if math.isfinite(bound) else None
        rows[name] = [answer / truth.value - 1.0, truth.half_width / truth.value, stated, answer]
    return {"quantities": rows}


@contextmanager
def patience() -> Iterator[None]:
    """Raise TimeoutError when the block takes longer than PATIENCE; in the main thread of a process."""

    def late(_: int, __: FrameType | None) -> None:
        raise TimeoutError(f"no answer within {PATIENCE:.0f} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
