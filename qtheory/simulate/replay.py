"""A trace in place of the engine's own arrivals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from qtheory.arguments import choice, count, positive
from qtheory.arrivals import Poisson
from qtheory.engine import Engine
from qtheory.simulate.draws import Recorded, Streamed, Stretch

STRETCH = 1 << 16
"""Requests of a trace in memory handed on at a time."""


def replayed(
    engine: Engine,
    trace: Recorded | Streamed,
    requests: int | None,
    speedup: float,
    service: str | None,
    warnings: list[str],
) -> tuple[Engine, Iterator[Stretch], int]:
    """The engine with open disks, the trace's first requests from time 0 on, and how many they are.

    Raises ValueError for a trace that does not match the engine, and appends to `warnings` what is to be said.
    """
    speedup = positive("speedup", speedup)
    if len(trace.disks) != len(engine.disks):
        raise ValueError(
            f"trace must have as many disks as the engine: it has {len(trace.disks)}, the engine {len(engine.disks)}"
        )
    if isinstance(trace, Streamed):
        length, timed, stretches = len(trace), trace.has_service, trace.arrivals()
    else:
        length, timed, stretches = *_checked(trace, len(engine.disks)), _stretches(trace)
    if service is not None:
        choice("service", service, ("recorded", "drawn"))
    curved = any(device.curve is not None for device in engine.devices)
    if service == "recorded" and not timed:
        raise ValueError("service must not be 'recorded' with a trace that has no service times")
    if service == "recorded" and curved:
        raise ValueError("service must not be 'recorded' with a rate curve, which has no service times")
    if service is None and (not timed or curved):
        warnings.append("the trace has no service times that the device can use: they are drawn from the device's law")
    drawn = service == "drawn" or curved
    warnings.append("arrivals are recorded, not stationary: the intervals hold for traces that go on like this one")
    taken = length if requests is None else min(count("requests", requests), length)
    # any Poisson law: it says that these disks are open, and is not drawn from
    disks = [replace(disk, arrivals=Poisson(1.0)) for disk in engine.disks]
    opened = Engine(disks, engine.device, engine.queue_length, engine.hold, engine.shares)
    return opened, _on_clock(stretches, taken, speedup, drawn), taken


def _checked(trace: Recorded, disks: int) -> tuple[int, bool]:
    """How many requests the trace has, and whether service times; refuses what cannot be replayed."""
    arrival, disk = np.asarray(trace.arrival), np.asarray(trace.disk)
    if len(arrival) == 0:
        raise ValueError("trace must have at least one request, not none")
    if not np.isfinite(arrival).all() or (np.diff(arrival) < 0.0).any():
        raise ValueError("trace must have finite arrival times in order, not as they are")
    if len(disk) != len(arrival) or disk.min() < 0 or disk.max() >= disks:
        raise ValueError(f"trace must have a disk index from 0 to {disks - 1} for each arrival")
    if trace.service is not None:
        service = np.asarray(trace.service, float)
        if len(service) != len(arrival) or not ((service >= 0.0) & (service < np.inf)).all():
            raise ValueError("trace must have a finite service time >= 0 for each arrival")
    return len(arrival), trace.service is not None


def _stretches(trace: Recorded) -> Iterator[Stretch]:
    """A trace in memory, a stretch at a time."""
    for start in range(0, len(trace.arrival), STRETCH):
        part = slice(start, start + STRETCH)
        service = None if trace.service is None else np.asarray(trace.service[part], dtype=np.float64)
        yield np.asarray(trace.arrival[part], dtype=np.float64), np.asarray(trace.disk[part], dtype=np.int32), service


def _on_clock(stretches: Iterator[Stretch], requests: int, speedup: float, drawn: bool) -> Iterator[Stretch]:
    """The first `requests` of them, from time 0 on; without their service times where these are to be drawn."""
    first: float | None = None
    for arrival, disk, service in stretches:
        first = float(arrival[0]) if first is None else first
        part = slice(requests)
        yield (arrival[part] - first) / speedup, disk[part], None if drawn or service is None else service[part]
        requests -= len(arrival)
        if requests <= 0:
            return
