"""Drain under QEMU's rate limit: disk after disk, each releasing what its limit has held back.

QEMU's leaky bucket (util/throttle.c) lets a request pass while its level is at most `burst`; the level falls by `rate`
a second and rises by one a request. A saturated guest keeps it at `burst`: one request passes each 1/rate, whatever the
burst, and all its other M − rate·E[S] or so requests wait in the throttle's queue. Those count as pending. A stop goes
through the disks one by one, waits for each, and lifts its limit when its turn comes: the backlog is released at once.
The disks after it go on at their rate meanwhile, so that of disk i, whose turn comes τ after the stop,

    n = M − (requests passed in τ, rate·τ rounded up or down by where the bucket stood)

are released together on c free servers, and the next turn comes T(n) later: the time of c servers for n requests, ⌈n/c⌉
services where they are constant, that of a pure death in phases otherwise (`drain/phase_type.py`). The law of the turns
is carried from disk to disk on a grid. Before a shared device the same n meet the line that the other disks' requests
have made meanwhile, and their requests in service: what came in the last turn beyond what its servers could do, in the
mean, is to be served as well. What is being served as the turn comes, rate·E[S] requests, is taken to begin
anew: an approximation, whose error, like that of the grid, was measured against simulated stops.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qtheory.arrivals import Closed
from qtheory.drain.drain_law import DrainTime
from qtheory.drain.phase_type import Death
from qtheory.drain.throttle import RateLimit
from qtheory.engine import Device, Disk, Engine
from qtheory.laws import Deterministic
from qtheory.solve.phase_type import PhaseChain

Floats = NDArray[np.float64]
PER_SERVICE = 64
"""Points of the grid in a constant service time."""
POINTS = 2048
"""Points of the grid over all disks' drains otherwise."""
FAR = 1e-9
NEGLIGIBLE = 1e-12
MEASURED = {
    "own": {"mean": 0.08, "variance": math.inf, "sf": math.inf, "quantile": 0.08},
    "shared": {"mean": 0.2, "variance": math.inf, "sf": math.inf, "quantile": 0.2},
}
"""Largest relative errors, quantile at 99 %, over the cells of `tests/test_rate_limit.py`, for devices of the disks'
own, and of the atlas for a shared one."""


def refusal(engine: Engine, throttle: RateLimit) -> str | None:
    """Why this method cannot answer for `engine`, or None."""
    if engine.caps is not None:
        return "the slots are divided by caps"
    if engine.queue_length is not None and not engine.shared:
        return "it has a queue_length, which the released backlogs would share"
    if engine.hold == "ring" and engine.queue_length is not None and engine.queue_length < engine.most:
        return "requests beyond queue_length are left in the rings, and the stop does not wait for them"
    if not engine.one_law and engine.shared:
        return "the disks have different service laws at one device"
    for i, (disk, device) in enumerate(zip(engine.disks, engine.devices, strict=True)):
        if not disk.saturated:
            return f"disks[{i}] is not saturated: how much its limit holds back is not known"
        if device.service is None or device.servers is None:
            return f"the device of disks[{i}] is a rate curve"
        together = len(engine.disks) if engine.shared else 1
        servers = min(device.servers, engine.queue_length or device.servers)
        if throttle.rate * together >= servers / device.service.mean:
            return (
                f"the limit does not bind: the device of disks[{i}] completes at most "
                f"{servers / device.service.mean:.6g}/s"
            )
        if not isinstance(device.service, Deterministic):
            try:
                device.service.phase_type()
            except TypeError as error:
                return str(error)
    return None


def drain(engine: Engine, throttle: RateLimit) -> DrainTime:
    """Drain of an engine that this method covers."""
    from scipy.signal import fftconvolve  # slow to load: not before it is needed

    times: dict[tuple[Device, int], Callable[[float], float]] = {}
    devices = [_with_slots(device, engine.queue_length) for device in engine.devices]

    def late(device: Device, n: int) -> Callable[[float], float]:
        """P(T(n) > t) as a function of t."""
        if (device, n) not in times:
            times[device, n] = _time(device, n)
        return times[device, n]

    laws = [device.service for device in devices]
    longest = sum(_longest(late(device, disk.most)) for disk, device in zip(engine.disks, devices, strict=True))
    constant = [law.mean for law in laws if isinstance(law, Deterministic)]
    step = min(constant) / PER_SERVICE if len(constant) == len(laws) else longest / POINTS
    points = math.ceil(longest / step) + 1
    at = np.arange(points) * step
    grids: dict[tuple[Device, int], Floats] = {}
    turn = np.zeros(points)
    turn[0] = 1.0
    before = Before(throttle.rate, len(engine.disks), 0.0)
    for disk, device in zip(engine.disks, devices, strict=True):
        more = before.ahead(disk, device) if engine.shared else 0.0
        begun = float(turn @ at)
        passed = throttle.rate * at - more
        whole = np.floor(passed + NEGLIGIBLE)
        up = np.maximum(passed - whole, 0.0)
        after = np.zeros(points)
        for gone in np.unique(np.concatenate([whole[turn > 0.0], whole[turn > 0.0] + 1.0])):
            part = turn * np.where(whole == gone, 1.0 - up, np.where(whole == gone - 1.0, up, 0.0))
            if part.sum() < NEGLIGIBLE:
                continue
            n = max(disk.most - int(gone), 0)
            if (device, n) not in grids:
                left = np.array([late(device, n)((k + 0.5) * step) for k in range(points)])
                grids[device, n] = -np.diff(left, prepend=1.0)
            after += np.maximum(fftconvolve(part, grids[device, n])[:points], 0.0)
        turn = np.where(after > NEGLIGIBLE * after.max(), after, 0.0)
        turn /= turn.sum()
        before = before.then(float(turn @ at) - begun, disk.most - throttle.rate * begun + more, device)
    mean = float(turn @ at)
    survival = np.append(1.0 - np.cumsum(turn), 0.0)
    present = np.zeros(engine.most + 1)
    present[-1] = 1.0
    return DrainTime(
        method="rate_limit",
        exact=False,
        error_bounds=MEASURED["shared" if engine.shared else "own"],
        warnings=("a rate limit does not bound the drain: its backlog is released at the stop, disk after disk",),
        mean=mean,
        variance=float(turn @ (at - mean) ** 2),
        population_pmf=present,
        _sf=lambda t: float(np.interp(t, np.append(at, at[-1] + step) + 0.5 * step, survival, left=1.0, right=0.0)),
    )


class Before(NamedTuple):
    """What the turn before has left to the next at a shared device."""

    rate: float
    disks: int
    """That have not had their turn."""
    line: float
    """Requests of theirs that wait at the device."""

    def ahead(self, disk: Disk, device: Device) -> float:
        """How many more must be served before the next disk's are: those in line, and those in service that leave
        fewer servers than it could use."""
        assert device.servers is not None
        assert device.service is not None
        others = (self.disks - 1) * self.rate * device.service.mean
        return self.line + max(min(disk.most, device.servers) + others - device.servers, 0.0)

    def then(self, lasted: float, served: float, device: Device) -> Before:
        """After a turn of this length in which so many were to be served."""
        assert device.servers is not None
        assert device.service is not None
        spare = max(device.servers * lasted / device.service.mean - served, 0.0)
        came = (self.disks - 1) * self.rate * lasted
        return Before(self.rate, self.disks - 1, max(came - spare, 0.0))


def _with_slots(device: Device, slots: int | None) -> Device:
    """The device when so many are at it at most."""
    assert device.servers is not None
    return device if slots is None or slots >= device.servers else Device(slots, device.service)


def _time(device: Device, n: int) -> Callable[[float], float]:
    """P(c free servers need more than t for n requests that come together)."""
    assert device.service is not None
    assert device.servers is not None
    if isinstance(device.service, Deterministic):
        needed = -(-n // device.servers) * device.service.mean
        return lambda t: float(t < needed)
    if n == 0:
        return lambda t: 0.0
    alone = Engine([Disk(Closed(n), buffer=n)], Device(device.servers, device.service))
    chain = PhaseChain.unsolved(alone, None, lambda *_: None)
    begun = np.ones(1)
    for busy in range(min(n, chain.servers)):
        begun = begun @ chain.starts[busy]
    levels = [np.zeros(chain.counts.size(min(m, chain.servers))) for m in range(n)]
    return Death(chain, [*levels, begun]).sf


def _longest(late: Callable[[float], float]) -> float:
    """A time that is exceeded with probability FAR at most."""
    end = 1e-9
    while late(end) > FAR:
        end *= 1.25
    return end
