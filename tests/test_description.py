"""Bad input is refused where it is written, by a sentence naming argument and value; large input is solved."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

import qtheory as qt

NAN, INF = float("nan"), float("inf")
EXP = qt.Exponential(mean=0.001)
DEVICE = qt.Device(servers=2, service=EXP)
DISK = qt.Disk(qt.Poisson(100.0), 8)
OWNER = qt.Disk(qt.Poisson(100.0), 8, device=DEVICE)
SATURATED = qt.Disk(qt.Closed(4))
ENGINE = qt.Engine([DISK], DEVICE)

NOT_POSITIVE = (0, 0.0, -1, -2.5, NAN, INF, -INF)
NOT_A_COUNT = (0, -1, 2.5, NAN, INF)
NOT_A_NUMBER = ("5", True, None, 1 + 2j, [1.0], b"1")

Maker = Callable[[object], object]

POSITIVE: dict[str, tuple[str, Maker]] = {
    "Poisson": ("rate", lambda x: qt.Poisson(x)),
    "Exponential": ("mean", lambda x: qt.Exponential(mean=x)),
    "curve": (r"curve\[1\]", lambda x: qt.Device(curve=(1.0, x))),
    "throughputs": (r"throughputs\[1\]", lambda x: qt.Device.from_depth_sweep([1, 2], [1.0, x])),
}
COUNT: dict[str, tuple[str, Maker]] = {
    "outstanding": ("outstanding", lambda x: qt.Closed(x)),
    "buffer": ("buffer", lambda x: qt.Disk(qt.Poisson(1.0), x)),
    "servers": ("servers", lambda x: qt.Device(servers=x, service=EXP)),
    "queue_length": ("queue_length", lambda x: qt.Engine([DISK], DEVICE, queue_length=x)),
    "shares": (r"shares\[0\]", lambda x: qt.Engine([DISK], DEVICE, 4, shares=(x,))),
    "depths": (r"depths\[0\]", lambda x: qt.Device.from_depth_sweep([x, 9], [1.0, 2.0])),
    "DepthLimit": ("limit", lambda x: qt.DepthLimit(x)),
}
MAY_BE_NONE = {"queue_length", "servers"}
"""No limit; servers not given, which has a sentence of its own."""


def pairs(makers: dict[str, tuple[str, Maker]], values: tuple[object, ...]) -> list[object]:
    return [
        pytest.param(*makers[name], value, id=f"{name}={value!r}")
        for name in makers
        for value in values
        if value is not None or name not in MAY_BE_NONE
    ]


@pytest.mark.parametrize(("name", "make", "value"), [*pairs(POSITIVE, NOT_POSITIVE), *pairs(COUNT, NOT_A_COUNT)])
def test_wrong_value(name: str, make: Maker, value: float) -> None:
    """The message has the name first and the value last (NaN by its own name)."""
    shown = "(nan|NaN)" if value != value else re.escape(repr(value))
    with pytest.raises(ValueError, match=rf"^{name} must be .*not {shown}$"):
        make(value)


@pytest.mark.parametrize(("name", "make", "value"), pairs(POSITIVE | COUNT, NOT_A_NUMBER))
def test_wrong_type(name: str, make: Maker, value: object) -> None:
    with pytest.raises(TypeError, match=rf"^{name} must be a number, not {re.escape(repr(value))}$"):
        make(value)


@pytest.mark.parametrize("value", [-1e-9, NAN, INF])
def test_think_time(value: float) -> None:
    with pytest.raises(ValueError, match=r"^think_time must be a"):
        qt.Closed(2, value)


BURSTS = qt.IPP(rate=100.0, on=0.1, off=0.9)

REFUSED: dict[str, tuple[type[Exception], str, Callable[[], object]]] = {
    "arrivals": (TypeError, r"arrivals must be .* not 100\.0", lambda: qt.Disk(100.0)),
    "full": (
        ValueError,
        "full must be one of 'lost', 'wait', not 'drop'",
        lambda: qt.Disk(qt.Poisson(1.0), full="drop"),
    ),
    "full list": (ValueError, r"full .* not \['lost'\]", lambda: qt.Disk(qt.Poisson(1.0), full=["lost"])),
    "disk's device": (TypeError, "device must be a qt.Device, not 5", lambda: qt.Disk(qt.Poisson(1.0), device=5)),
    "service class": (TypeError, "service must be a law", lambda: qt.Device(2, qt.Exponential)),
    "service number": (TypeError, r"service must be a law .* not 0\.1", lambda: qt.Device(2, 0.1)),
    "no service": (ValueError, "servers and service", lambda: qt.Device(servers=2)),
    "no servers": (ValueError, "servers and service", lambda: qt.Device(service=EXP)),
    "curve and servers": (ValueError, "curve must stand alone", lambda: qt.Device(2, EXP, (1.0,))),
    "empty curve": (ValueError, "curve must have at least one", lambda: qt.Device(curve=())),
    "uneven sweep": (ValueError, "throughputs must have one .* 2 depths, not 1", lambda: sweep([1, 2], [1.0])),
    "empty sweep": (ValueError, "depths must have at least one", lambda: sweep([], [])),
    "falling sweep": (ValueError, r"depths must rise strictly, not \[2, 1\]", lambda: sweep([2, 1], [1.0, 2.0])),
    "repeated depth": (ValueError, r"depths must rise strictly, not \[2, 2\]", lambda: sweep([2, 2], [1.0, 2.0])),
    "no disks": (ValueError, "disks must have at least one disk", lambda: qt.Engine([], DEVICE)),
    "not a disk": (TypeError, r"disks\[1\] must be a qt.Disk, not 'sda'", lambda: qt.Engine([DISK, "sda"], DEVICE)),
    "both devices": (ValueError, r"device must be None .* disks\[1\]", lambda: qt.Engine([DISK, OWNER], DEVICE)),
    "no device": (ValueError, r"device must be given.* disks\[0\] has none", lambda: qt.Engine([DISK, OWNER])),
    "engine's device": (TypeError, "device must be a qt.Device, not 5", lambda: qt.Engine([DISK], 5)),
    "hold": (ValueError, "hold must be one of .* not 'guest'", lambda: qt.Engine([DISK], DEVICE, hold="guest")),
    "hold None": (ValueError, "hold must be one of .* not None", lambda: qt.Engine([DISK], DEVICE, hold=None)),
    "saturated, refused": (
        ValueError,
        r"hold must not be 'refuse' .* disks\[0\]",
        lambda: qt.Engine([SATURATED], DEVICE, 2, "refuse"),
    ),
    "shares": (ValueError, "shares must be one of .* not 'fair'", lambda: qt.Engine([DISK], DEVICE, 4, shares="fair")),
    "too few shares": (ValueError, "shares must have one .* 2 disks, not 1", lambda: shares(2, 4, (4,))),
    "too many shares": (ValueError, "shares must have one .* 2 disks, not 3", lambda: shares(2, 4, (4, 4, 4))),
    "equal shares of nothing": (ValueError, "shares 'equal' needs a queue_length", lambda: shares(2, None, "equal")),
    "equal shares of too little": (ValueError, "shares 'equal' needs .* 3, not 2", lambda: shares(3, 2, "equal")),
    "process": (TypeError, "process must be a qt.MAP, not 5", lambda: qt.Marked(5, 0.5)),
    "share": (ValueError, r"share must be a probability above 0, not 0\.0", lambda: qt.Marked(BURSTS, 0.0)),
    "shares of a process": (
        ValueError,
        r"disks must have shares of one process that add up to at most 1: those of \(0, 1\) make 1\.2",
        lambda: qt.Engine([qt.Disk(qt.Marked(BURSTS, 0.6))] * 2, DEVICE),
    ),
    "per": (ValueError, "per must be one of .* not 'guest'", lambda: qt.DepthLimit(1, per="guest")),
    "solve": (TypeError, "engine must be a qt.Engine, not 5", lambda: qt.solve(5)),
    "method": (ValueError, "method must be one of .* not 'magic'", lambda: qt.solve(ENGINE, method="magic")),
    "method that does not cover": (ValueError, "saturated_line: ", lambda: qt.solve(ENGINE, method="saturated_line")),
    "throttle": (TypeError, "throttle must be .* not 5", lambda: qt.drain_time(ENGINE, 5)),
    "population": (TypeError, "population must be a number, not True", lambda: qt.drain_time(ENGINE, population=True)),
    "p = 1": (ValueError, r"p must lie strictly .* not 1\.0", lambda: qt.solve(ENGINE).wait_quantile(1.0)),
    "p = NaN": (ValueError, "p must be a number, not NaN", lambda: qt.solve(ENGINE).response_quantile(NAN)),
    "t": (ValueError, "t must be a finite number >= 0, not -1", lambda: qt.drain_time(ENGINE).cdf(-1)),
    "io_uring": (ValueError, "disks must have at least one", lambda: qt.engines.io_uring([], DEVICE)),
    "linux_aio": (ValueError, "device must be given", lambda: qt.engines.linux_aio([DISK])),
    "thread_pool": (TypeError, "device must be a qt.Device", lambda: qt.engines.thread_pool([DISK], 0.1)),
}


def sweep(depths: list[int], throughputs: list[float]) -> qt.Device:
    return qt.Device.from_depth_sweep(depths, throughputs)


def shares(n: int, slots: int | None, value: object) -> qt.Engine:
    return qt.Engine([DISK] * n, DEVICE, slots, shares=value)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    error, message, make = REFUSED[name]
    with pytest.raises(error, match=f"^.*{message}"):
        make()


UNNAMED: dict[str, tuple[str, Callable[[], object]]] = {
    "disks is a disk": ("disks must be", lambda: qt.Engine(DISK, DEVICE)),
    "disks None": ("disks must be", lambda: qt.Engine(None, DEVICE)),
    "shares number": ("shares must be", lambda: qt.Engine([DISK], DEVICE, 4, shares=5)),
    "shares None": ("shares must be", lambda: qt.Engine([DISK], DEVICE, 4, shares=None)),
    "curve number": ("curve must be", lambda: qt.Device(curve=5.0)),
    "depths number": ("depths must be", lambda: qt.Device.from_depth_sweep(5, [1.0])),
    "rate beyond float": ("rate must be", lambda: qt.Poisson(10**400)),
    "buffer beyond float": ("buffer must be", lambda: qt.Disk(qt.Poisson(1.0), 10**400)),
    "max_events": ("max_events must be", lambda: qt.engines.linux_aio([DISK], DEVICE, max_events=0)),
    "shares in a set": ("shares must be", lambda: qt.Engine([DISK] * 2, DEVICE, 8, "ring", {1, 2})),
    "max_threads": ("max_threads must be", lambda: qt.engines.thread_pool([DISK], DEVICE, max_threads=-3)),
}


@pytest.mark.parametrize("name", UNNAMED)
def test_refused_by_name(name: str) -> None:
    message, make = UNNAMED[name]
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_numbers_of_other_kinds_are_taken() -> None:
    """numpy numbers and whole floats come from arrays and JSON; they are stored as plain Python numbers."""
    disk = qt.Disk(qt.Poisson(np.float32(2.0)), buffer=np.int64(8))
    engine = qt.Engine([disk], qt.Device(servers=4.0, service=qt.Exponential(np.float64(0.5))), queue_length=16.0)
    assert engine == qt.Engine([qt.Disk(qt.Poisson(2.0), 8)], qt.Device(4, qt.Exponential(0.5)), 16)
    assert [type(x) for x in (disk.arrivals.rate, disk.buffer, engine.queue_length)] == [float, int, int]
    assert hash(engine.device) == hash(qt.Device(4, qt.Exponential(0.5)))


def test_descriptions_are_frozen() -> None:
    for thing, name in (
        (DISK, "buffer"),
        (DEVICE, "servers"),
        (ENGINE, "hold"),
        (EXP, "mean"),
        (qt.Closed(1), "outstanding"),
    ):
        with pytest.raises(AttributeError, match=name):
            setattr(thing, name, 1)


def load(rho: float, servers: int, n_disks: int, buffer: int) -> qt.Engine:
    """`n_disks` equal disks that load `servers` servers to ρ."""
    rate = rho * servers / 0.001 / n_disks
    return qt.Engine([qt.Disk(qt.Poisson(rate), buffer)] * n_disks, qt.Device(servers, EXP))


@pytest.mark.parametrize("rho", [1e-9, 0.3, 0.999999, 1.0, 5.0, 1e6])
@pytest.mark.parametrize(("servers", "n_disks", "buffer"), [(1000, 2, 1024), (64, 1000, 3), (1, 1, 1024), (1024, 1, 1)])
def test_large(rho: float, servers: int, n_disks: int, buffer: int) -> None:
    """Finite, no RuntimeWarning (an error here), a stated error below 1e-9, throughput at most what is there."""
    engine = load(rho, servers, n_disks, buffer)
    s = qt.solve(engine)
    offered = rho * servers / 0.001
    assert s.exact
    assert s.error_bound < 1e-9
    for value in (s.throughput, s.blocking, s.mean_wait, s.mean_response, s.mean_in_system, s.utilization):
        assert np.isfinite(value)
        assert value >= 0.0
    assert s.throughput <= min(offered, servers / 0.001) * (1 + 1e-11)
    assert s.throughput == pytest.approx(offered * (1.0 - s.blocking), abs=1e-11 * offered)
    assert s.in_system_pmf.sum() == pytest.approx(1.0, rel=1e-11)
    median, far = s.response_quantile(0.5), s.response_quantile(0.9999)
    assert 0.0 < median < far < np.inf


@pytest.mark.parametrize("rho", [0.999999, 5.0])
def test_large_and_separate(rho: float) -> None:
    """1000 disks that differ, each with its own device, refused at Q."""
    disks = [qt.Disk(qt.Poisson(rho * (1.0 + i / 1e4) / 0.001), 3, device=qt.Device(1, EXP)) for i in range(1000)]
    s = qt.solve(qt.Engine(disks, queue_length=1200, hold="refuse"))
    assert np.isfinite([s.throughput, s.blocking, s.mean_wait, s.mean_response]).all()
    assert s.mean_in_system <= 1200.0
    assert sum(d.throughput for d in s.disks) == pytest.approx(s.throughput, rel=1e-11)


def test_import_is_light() -> None:
    """What draws, compiles, reads or derives is loaded when first used."""
    heavy = ("numba", "sympy", "matplotlib", "polars", "pandas")
    code = f"import sys, qtheory; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""
