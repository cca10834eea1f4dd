"""Engine -> SteadyState. One front door; one file for each method, named after it.

| method | engine | answer |
|---|---|---|
| `product_form` | one shared device, one line | exact |
| `separate_devices` | one device a disk, no limit, caps, or refused at Q | exact |
| `saturated_line` | one device a disk behind a FIFO of Q slots, all guests saturated | exact |
| `enough_servers` | one shared device with a server for every request, any service | exact |
| `phase_type` | one shared device of phase-type service, one line | exact if one disk or saturated, else approximate |
| `markovian_arrivals` | the same with bursty arrivals | exact for one disk, else approximate |
| `disk_by_disk` | one device a disk, nothing shared, any service and arrivals | as each disk alone |
| `guests_that_wait` | one shared device, one line, guests that wait for room | exact for one disk, else approximate |
| `joint_chain` | any small engine of phase-type service, state by state | exact |
| `divided_slots` | one shared device whose slots are divided by caps | exact if saturated, else approximate |
| `fitted_service` | one shared device of any service law, one line | approximate |
| `mixed_service` | one shared device, one line, disks of different service laws | approximate |
| `delay_line` | one device a disk behind a FIFO of Q slots, any service | approximate |
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np

from qtheory.arguments import choice
from qtheory.arrivals import Closed
from qtheory.engine import Disk, Engine
from qtheory.stability import check_stable

if TYPE_CHECKING:
    from qtheory.solve.steady_state import DiskState, SteadyState

METHODS = (
    "product_form",
    "separate_devices",
    "saturated_line",
    "enough_servers",
    "phase_type",
    "markovian_arrivals",
    "disk_by_disk",
    "guests_that_wait",
    "joint_chain",
    "divided_slots",
    "fitted_service",
    "mixed_service",
    "delay_line",
)
"""In the order in which `method="auto"` asks them."""


def solve(engine: Engine, method: str = "auto") -> SteadyState:
    """Solve `engine` for its steady state.

    Parameters
    ----------
    engine : Engine
        What to solve.
    method : str
        "auto" takes the first of METHODS that covers the engine; a method's name takes that one or raises.

    Returns
    -------
    SteadyState
        Its `method` says which was taken, its `passed_over` why none of those before it in METHODS. Error bounds that
        the method does not know are those of the atlas (`qtheory/accuracy`).

    Raises
    ------
    ValueError
        When the named method, or every method, does not cover the engine; the message says why. When the answer of an
        approximation breaks what no answer may (`conservation.py`). When guests would wait without end because their
        arrivals exceed what can be served.

    Examples
    --------
    >>> import qtheory as qt
    >>> disk = qt.Disk(arrivals=qt.Poisson(1000.0), buffer=4)
    >>> engine = qt.Engine(disks=[disk] * 4, device=qt.Device(servers=4, service=qt.Exponential(mean=0.0008)))
    >>> s = qt.solve(engine)
    >>> print(f"{s.blocking:.4f} {s.throughput:.1f} {s.method} {s.exact}")
    0.0355 3858.2 product_form True
    >>> unlike = qt.Engine([disk] * 4, qt.Device(servers=4, service=qt.Erlang(phases=2, mean=0.0008)))
    >>> qt.solve(unlike).passed_over[0]
    'product_form: the service law of disks[0] is not exponential'
    """
    if not isinstance(engine, Engine):
        raise TypeError(f"engine must be a qt.Engine, not {engine!r}")
    choice("method", method, ("auto", *METHODS))
    from qtheory.accuracy import bounded  # imports scipy: not before it is asked

    return bounded(answer(engine, method), "steady", engine)


def answer(engine: Engine, method: str = "auto") -> SteadyState:
    """What `solve` answers, with no other error bounds than those of the method."""
    from qtheory.solve.conservation import broken

    name, passed_over = choose(engine, method)
    state: SteadyState = import_module(f"qtheory.solve.{name}").solve(engine.with_buffers_for_caps)
    if engine.refuses_at_caps:
        state = replace(state, disks=tuple(map(_up_to_buffer, engine.disks, state.disks)))
    reason = broken(engine, state)
    if reason is not None:
        raise ValueError(f"engine cannot be solved ({name}: {reason}); qt.simulate covers it")
    if not state.exact:
        state = replace(state, error_bounds={**state.error_bounds, **dict.fromkeys(_absent(engine), 0.0)})
    return replace(state, passed_over=passed_over)


def _absent(engine: Engine) -> list[str]:
    """What is 0 in this engine, whatever the method: waits of guests where none waits, blocking where all do."""
    loses = any(disk.full == "lost" and not isinstance(disk.arrivals, Closed) for disk in engine.disks)
    waits = any(disk.guest_waits for disk in engine.disks)
    return [*(["mean_guest_wait"] if not waits else []), *(["blocking", "disks.blocking"] if not loses else [])]


def _up_to_buffer(disk: Disk, state: DiskState) -> DiskState:
    """The state with its law as long as the disk's buffer, of which a cap leaves a part without probability."""
    return replace(state, pmf=np.pad(state.pmf, (0, disk.most + 1 - len(state.pmf))))


def choose(engine: Engine, method: str = "auto") -> tuple[str, tuple[str, ...]]:
    """The name of the method that `solve` takes, and why not those before it; ValueError when none is left."""
    check_stable(engine)
    engine = engine.with_buffers_for_caps
    reasons: list[str] = []
    for name in METHODS if method == "auto" else (method,):
        reason = import_module(f"qtheory.solve.{name}").refusal(engine)
        if reason is None:
            return name, tuple(reasons)
        reasons.append(f"{name}: {reason}")
    raise ValueError(f"engine cannot be solved ({'; '.join(reasons)}); qt.simulate covers it")
