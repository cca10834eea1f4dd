"""Disks that share nothing: each is an engine of its own, and the whole is what they add up to.

With a device for each disk, or caps that keep the servers of a shared one apart, and no line for slots between them,
every disk is solved alone by whichever method covers it. Independent numbers add up by convolution. Disks that burst
together are not independent, though each by itself is as it would be alone: the means are right, the law of the total
is not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from qtheory.engine import Device, Engine
from qtheory.solve.population import independent_total, total_blocking
from qtheory.solve.separate_devices import stations, tied_by
from qtheory.solve.sojourn import Sojourn
from qtheory.solve.steady_state import QUANTITIES, SteadyState

Answer = TypeVar("Answer")
TOGETHER = "in_system_pmf takes the disks as independent, but some of them burst together"


def refusal(engine: Engine) -> str | None:
    """Why this method cannot answer for `engine`, or None."""
    if len(engine.disks) == 1:
        return "there is one disk only"
    if engine.most < sum(disk.most for disk in engine.disks):
        return "requests are refused at Q"
    reason = tied_by(engine)
    if reason is not None:
        return reason
    from qtheory.solve import choose

    engines = apart(engine)
    for alone in dict.fromkeys(engines):
        try:
            choose(alone)
        except ValueError as error:
            return f"disks[{engines.index(alone)}]: {error}"
    return None


def solve(engine: Engine) -> SteadyState:
    """Solve an engine whose disks share nothing."""
    from qtheory.solve import answer

    parts = each(engine, answer)
    throughput = sum(part.throughput for part in parts)
    mean = sum(part.mean_in_system for part in parts)
    sojourns: list[tuple[float, Sojourn]] = []
    unknown = [part._sojourns for part in parts if isinstance(part._sojourns, str)]
    for part in parts:
        if not isinstance(part._sojourns, str):
            sojourns += [(weight * part.throughput / throughput, law) for weight, law in part._sojourns]
    disks = tuple(part.disks[0] for part in parts)
    # Of a shared device each has as many servers as its cap.
    servers = [alone.devices[0].servers or 1 for alone in apart(engine)] if engine.shared else [1] * len(parts)
    all_servers = (engine.devices[0].servers or 1) if engine.shared else len(parts)
    warnings = [warning for part in parts for warning in part.warnings]
    if bursts_together(engine):
        warnings.append(TOGETHER)
    names = dict.fromkeys(name for part in parts for name in part.error_bounds)
    return SteadyState(
        method="disk_by_disk",
        exact=all(part.exact for part in parts) and not bursts_together(engine),
        error_bounds={name: max(part.error_bounds.get(name, 0.0) for part in parts) for name in (*QUANTITIES, *names)},
        warnings=tuple(dict.fromkeys(warnings)),
        throughput=throughput,
        blocking=total_blocking(engine.disks, disks),
        mean_wait=sum(part.throughput * part.mean_wait for part in parts) / throughput,
        mean_response=mean / throughput,
        mean_in_system=mean,
        mean_in_flight=sum(part.mean_in_flight for part in parts),
        utilization=sum(part.utilization * own for part, own in zip(parts, servers, strict=True)) / all_servers,
        in_system_pmf=independent_total([part.in_system_pmf for part in parts]),
        disks=disks,
        _sojourns=unknown[0] if unknown else tuple(sojourns),
    )


def shares_nothing(engine: Engine) -> bool:
    """Whether no disk's requests ever wait for another's."""
    return engine.most == sum(disk.most for disk in engine.disks) and tied_by(engine) is None


def bursts_together(engine: Engine) -> bool:
    """Whether one process brings requests to several disks."""
    return any(len(stream.disks) > 1 for stream in engine.streams)


def apart(engine: Engine) -> list[Engine]:
    """Each disk with what it has to itself."""
    engines = []
    for station in stations(engine):
        device = station.device
        if engine.shared and device.servers is not None:
            device = Device(servers=min(device.servers, station.slots), service=device.service)
        hold = "engine" if engine.hold == "refuse" else engine.hold
        disk = replace(station.disk, device=None, service=None, operations=None)
        engines.append(Engine([disk], device, station.slots, hold))
    return engines


def each(engine: Engine, ask: Callable[[Engine], Answer]) -> list[Answer]:
    """The answer for each disk alone, asked once for equal ones."""
    engines = apart(engine)
    found = {alone: ask(alone) for alone in dict.fromkeys(engines)}
    return [found[alone] for alone in engines]
