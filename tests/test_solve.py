"""Exact solvers against the brute-force generator of the ordered state."""

from __future__ import annotations

import numpy as np
import pytest
from generator import brute_force

import qtheory as qt
from qtheory.solve.population import _merged

EXP = qt.Exponential(mean=1.0)
P = qt.Poisson

SHARED = qt.Device(servers=2, service=EXP)
CURVE = qt.Device.from_depth_sweep([1, 2, 4], [1.0, 1.7, 1.6])


def disk(rate: float, buffer: int, **more: object) -> qt.Disk:
    return qt.Disk(arrivals=P(rate), buffer=buffer, **more)


def closed(outstanding: int, think: float, buffer: int = 8, **more: object) -> qt.Disk:
    return qt.Disk(arrivals=qt.Closed(outstanding, think), buffer=buffer, **more)


ENGINES = {
    "different disks": qt.Engine([disk(0.5, 3), disk(1.5, 1), disk(0.2, 2)], SHARED),
    "equal disks": qt.Engine([disk(0.7, 2)] * 3, SHARED),
    "one disk": qt.Engine([disk(3.0, 4)], SHARED),
    "open and closed": qt.Engine([disk(0.5, 2), closed(2, 1.5), disk(1.0, 2)], SHARED),
    "Q below the servers, ring": qt.Engine([disk(0.5, 3), disk(1.5, 2)], SHARED, queue_length=1, hold="ring"),
    "Q above the servers, engine": qt.Engine([disk(0.5, 3), disk(1.5, 2)], SHARED, queue_length=3),
    "refused at Q": qt.Engine([disk(0.5, 3), disk(1.5, 2), closed(2, 1.0)], SHARED, queue_length=3, hold="refuse"),
    "rate curve": qt.Engine([disk(0.5, 3), disk(1.5, 2)], CURVE),
    "rate curve behind Q": qt.Engine([disk(0.5, 3), disk(1.5, 2)], CURVE, queue_length=2, hold="ring"),
    "saturated with others": qt.Engine([disk(0.5, 3), closed(2, 0.0)], SHARED),
    "saturated beyond the buffer": qt.Engine([closed(9, 0.0, buffer=2), closed(2, 0.0), disk(0.4, 2)], SHARED),
    "all saturated": qt.Engine([closed(3, 0.0), closed(1, 0.0)], SHARED),
    "separate": qt.Engine([disk(0.5, 3, device=SHARED), closed(2, 0.7, device=CURVE)]),
    "separate, refused at Q": qt.Engine(
        [disk(0.5, 3, device=SHARED), disk(2.5, 3, device=CURVE), closed(2, 0.7, device=SHARED)],
        queue_length=4,
        hold="refuse",
    ),
    "separate, equal shares": qt.Engine(
        [disk(0.5, 3, device=SHARED), disk(2.5, 3, device=SHARED)], queue_length=2, shares="equal"
    ),
    "separate, one saturated": qt.Engine([disk(0.5, 3, device=SHARED), closed(3, 0.0, device=SHARED)]),
    "caps within the servers": qt.Engine(
        [disk(0.5, 3), disk(2.5, 3)], qt.Device(servers=3, service=EXP), queue_length=3, shares=(1, 2)
    ),
    "refused at caps": qt.Engine(
        [disk(1.5, 4), disk(2.5, 3), closed(1, 0.5)], SHARED, queue_length=6, hold="refuse", shares=(2, 1, 3)
    ),
    "refused at caps and at Q": qt.Engine(
        [disk(1.5, 4), disk(2.5, 3)], SHARED, queue_length=3, hold="refuse", shares=(2, 2)
    ),
    "refused at caps, separate": qt.Engine(
        [disk(0.5, 3, device=SHARED), disk(2.5, 3, device=CURVE)], queue_length=4, hold="refuse", shares="equal"
    ),
    "saturated line, equal": qt.Engine([closed(3, 0.0, device=qt.Device(servers=1, service=EXP))] * 3, queue_length=4),
    "saturated line, different": qt.Engine(
        [
            closed(2, 0.0, device=SHARED),
            closed(3, 0.0, device=qt.Device(servers=1, service=qt.Exponential(0.3))),
            closed(2, 0.0, device=CURVE),
        ],
        queue_length=3,
    ),
}


@pytest.mark.parametrize("name", ENGINES)
def test_brute_force(name: str) -> None:
    engine = ENGINES[name]
    s, b = qt.solve(engine), brute_force(engine)
    assert s.exact
    for quantity in ("throughput", "blocking", "mean_wait", "mean_response", "mean_in_system", "mean_in_flight"):
        assert getattr(s, quantity) == pytest.approx(getattr(b, quantity), rel=1e-9, abs=1e-13), quantity
    short = len(s.in_system_pmf)
    np.testing.assert_allclose(s.in_system_pmf, b.in_system_pmf[:short], atol=1e-12)
    assert b.in_system_pmf[short:].sum() == pytest.approx(0.0, abs=1e-12)
    for i, d in enumerate(s.disks):
        assert d.throughput == pytest.approx(b.disk_throughput[i], rel=1e-9)
        assert d.blocking == pytest.approx(b.disk_blocking[i], rel=1e-9, abs=1e-13)
        assert d.mean_wait == pytest.approx(b.disk_mean_wait[i], rel=1e-9, abs=1e-13)
        np.testing.assert_allclose(d.pmf, b.disk_pmf[i], atol=1e-12)


def test_disks_merged_before_are_the_same() -> None:
    """Longer queues reach fewer totals, and find the disks merged for more by a shorter one: to the last digit."""
    engines = [
        qt.Engine([disk(0.1, 40)] * 3 + [closed(8, 30.0)], qt.Device(servers=8, service=EXP), queue_length=q)
        for q in (1, 2, 8)
    ]
    fresh = []
    for engine in engines:
        _merged.cache_clear()
        fresh.append(qt.solve(engine))
    for engine, state in zip(engines, fresh, strict=True):
        again = qt.solve(engine)
        assert (again.throughput, again.mean_wait, again.blocking) == (
            state.throughput,
            state.mean_wait,
            state.blocking,
        )
        np.testing.assert_array_equal(again.in_system_pmf, state.in_system_pmf)
