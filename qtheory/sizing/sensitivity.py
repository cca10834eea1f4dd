"""How the optimal queue length moves when what it rests on is not quite as stated.

Load, service mean and its squared coefficient of variation are changed by a few per cent, up and down, and the optimum
is looked for again. Another variability of an exponential law is a gamma law's below, balanced hyperexponential's
above. Peakedness is not solved again but scaled, Q = a + (Q − a) √z: the square-root law of `closed_forms.py`.
Markovian arrivals have no one parameter for it either: how long bursts last and how dense they are change it alike, and
each changes the queue in its own way.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from qtheory.arguments import probability
from qtheory.arrivals import MAP, Closed, Marked, Poisson
from qtheory.engine import Device, Disk, Engine
from qtheory.laws import Exponential, Gamma, Hyperexponential, Law, Scaled


@dataclass(frozen=True)
class Sensitivity:
    """Queue length with one input lower and higher by the step; None where infeasible or not solved: see `note`."""

    name: str
    lower: int | None
    higher: int | None
    note: str = ""


def sensitivity(
    engine: Engine, queue_length: int, optimum: Callable[[Engine], int | None], step: float
) -> tuple[Sensitivity, ...]:
    """How `optimum` of the engine, `queue_length`, moves as its inputs change by the fraction `step`."""
    width = probability("step", step)
    changes: tuple[tuple[str, Callable[[Engine, float], Engine | str]], ...] = (
        ("load", _loaded),
        ("service_mean", _slower),
        ("service_scv", _more_variable),
    )
    found = []
    for name, change in changes:
        lengths: list[int | None] = []
        notes: dict[str, None] = {}
        for factor in (1.0 - width, 1.0 + width):
            changed = change(engine, factor)
            try:
                lengths.append(None if isinstance(changed, str) else optimum(changed))
            except ValueError as error:
                changed = str(error)
                lengths.append(None)
            if isinstance(changed, str):
                notes[changed] = None
        lower, higher = lengths
        found.append(Sensitivity(name, lower, higher, "; ".join(notes)))
    return (*found, _peakier(engine, queue_length, width))


def _loaded(engine: Engine, factor: float) -> Engine | str:
    """Arrivals `factor` times as often; of closed guests, think times shorter."""
    if all(disk.saturated for disk in engine.disks):
        return "saturated guests have no load to change"

    def arrivals(disk: Disk) -> Any:
        given = disk.arrivals
        if isinstance(given, Closed):
            return replace(given, think_time=given.think_time / factor)
        if isinstance(given, Marked):
            return replace(given, process=given.process.scaled(1.0 / factor))
        return given.scaled(1.0 / factor) if isinstance(given, MAP) else Poisson(given.rate * factor)

    return _with(engine, disk=lambda disk: replace(disk, arrivals=arrivals(disk)))


def _slower(engine: Engine, factor: float) -> Engine:
    """Services `factor` times as long."""

    def device(given: Device) -> Device:
        if given.curve is not None:
            return Device(curve=tuple(rate / factor for rate in given.curve))
        assert given.service is not None
        service = given.service
        longer = Exponential(service.mean * factor) if isinstance(service, Exponential) else Scaled(service, factor)
        return Device(given.servers, longer)

    return _with(engine, device=device)


def _more_variable(engine: Engine, factor: float) -> Engine | str:
    """Services of `factor` times the squared coefficient of variation, of the same family where it has that number."""

    def law(given: Law) -> Law | None:
        if isinstance(given, Exponential):
            by = Gamma if factor < 1.0 else Hyperexponential.balanced
            return by(mean=given.mean, scv=factor)
        if "scv" in {f.name for f in fields(given)}:  # type: ignore[arg-type]  # laws are dataclasses
            return replace(given, scv=given.scv * factor)  # type: ignore[type-var]
        return None

    for device in engine.devices:
        if device.service is None:
            return "a rate curve has no variability to change"
        if law(device.service) is None:
            return f"the law {type(device.service).__name__} has no squared coefficient of variation to change"
    return _with(engine, device=lambda given: Device(given.servers, law(given.service)))  # type: ignore[arg-type]


def _peakier(engine: Engine, queue_length: int, step: float) -> Sensitivity:
    """The margin above the load is as √z, by the square-root law."""
    name, note = "peakedness", "by the square-root law, not solved"
    try:
        load = engine.offered_load
    except ValueError as error:
        return Sensitivity(name, None, None, str(error))
    if not engine.shared or queue_length <= load:
        return Sensitivity(name, None, None, "the square-root law is for one shared device and a margin above the load")
    lower, higher = (math.ceil(load + (queue_length - load) * math.sqrt(z)) for z in (1.0 - step, 1.0 + step))
    return Sensitivity(name, lower, higher, note)


def _with(
    engine: Engine,
    *,
    disk: Callable[[Disk], Disk] = lambda disk: disk,
    device: Callable[[Device], Device] = lambda device: device,
) -> Engine:
    """The engine with each disk and device changed."""

    def changed(given: Disk) -> Disk:
        return disk(given if given.device is None else replace(given, device=device(given.device)))

    shared = None if engine.device is None else device(engine.device)
    disks = [changed(given) for given in engine.disks]
    return Engine(disks, shared, engine.queue_length, engine.hold, engine.shares)
