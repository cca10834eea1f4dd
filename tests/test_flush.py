"""Flush after the drain, against closed forms and simulated stops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qtheory as qt

MEAN = 0.01


def single(disks=1):
    """The drain is one exponential service: saturated, one request, one server."""
    disk = qt.Disk(qt.Closed(1), buffer=1)
    return qt.Engine([disk] * disks, qt.Device(1, qt.Exponential(mean=MEAN)), queue_length=1, hold="ring")


def hypoexponential(rates):
    """P(sum of exponentials of these rates > t), as a phase-type law."""
    n = len(rates)
    T = -np.diag(rates) + np.diag(rates[:-1], 1)
    return qt.PhaseType(np.eye(n)[0], T)


@pytest.mark.parametrize("disks", [1, 2, 4, 32])
@pytest.mark.parametrize("flush", [0.001, 0.009, 0.05])
def test_exponential_flushes(disks, flush):
    found = qt.drain_time(single(disks), flush=qt.Exponential(mean=flush))
    law = hypoexponential([1.0 / MEAN] + [1.0 / flush] * disks)
    assert found.mean == pytest.approx(law.mean, rel=1e-9)
    assert found.variance == pytest.approx(law.scv * law.mean**2, rel=1e-8)
    for p in (0.01, 0.5, 0.9, 0.99, 0.999):
        t = float(law.quantile(p))
        assert found.sf(t) == pytest.approx(1.0 - p, abs=1e-6)
        assert found.quantile(p) == pytest.approx(t, rel=max(found.error_bounds["quantile"], 1e-5))


@pytest.mark.parametrize("disks", [1, 3])
def test_constant_flushes_shift(disks):
    alone = qt.drain_time(single(disks))
    found = qt.drain_time(single(disks), flush=qt.Deterministic(0.004))
    assert found.sf(0.004 * disks * 0.99) == 1.0
    for p in (0.1, 0.99):
        assert found.quantile(p) == pytest.approx(alone.quantile(p) + 0.004 * disks, rel=1e-12)
    assert found.variance == pytest.approx(alone.variance, rel=1e-12)


def test_nothing_to_drain_leaves_the_flushes():
    """Where the drain is 0 with some probability the flushes alone are the time."""
    law = qt.Lognormal(mean=0.003, scv=2.0)
    found = qt.drain_time(single(), population=0, flush=law)
    assert found.quantile(0.99) == pytest.approx(float(law.quantile(0.99)), rel=1e-5)
    disk = qt.Disk(qt.Poisson(20.0), buffer=8)
    engine = qt.Engine([disk], qt.Device(1, qt.Exponential(mean=MEAN)))
    alone, both = qt.drain_time(engine), qt.drain_time(engine, flush=qt.Exponential(mean=0.003))
    assert alone.sf(0.0) < 0.3
    drained = np.array([alone.quantile(p) for p in (np.arange(400) + 0.5) / 400.0])
    for t in (0.002, 0.02):
        other = float(np.mean(np.exp(-np.maximum(t - drained, 0.0) / 0.003)))
        assert both.sf(t) == pytest.approx(other, abs=2e-3)


LAWS = {
    "lognormal": qt.Lognormal(mean=0.003, scv=4.0),
    "constant": qt.Deterministic(0.003),
    "recorded": qt.Empirical([0.001, 0.001, 0.002, 0.02]),
}


@pytest.mark.parametrize("name", LAWS)
def test_against_simulated_stops(name):
    disk = qt.Disk(qt.Closed(8), buffer=8)
    engine = qt.Engine([disk] * 3, qt.Device(4, qt.Erlang(phases=2, mean=0.01)))
    throttle = qt.DepthLimit(6)
    found = qt.drain_time(engine, throttle, flush=LAWS[name])
    run = qt.simulate_stops(engine, throttle, 100_000, seed=1, settle=0.1, flush=LAWS[name])
    assert run.mean.half_width < 0.005 * run.mean.value
    assert run.mean.covers(found.mean, half_widths=2.0)
    for p in (0.5, 0.9, 0.99):
        seen = run.quantile(p)
        assert seen.half_width < 0.02 * seen.value
        # half a bin of the simulator's histogram is 1/512 or so
        assert abs(found.quantile(p) - seen.value) < 2.0 * seen.half_width + 0.003 * seen.value


@pytest.mark.parametrize("throttle", [None, qt.DepthSchedule([(-0.05, 2)]), qt.DepthLimit(1)])
def test_every_throttle(throttle):
    disk = qt.Disk(qt.Poisson(100.0), buffer=8)
    engine = qt.Engine([disk] * 2, qt.Device(2, qt.Exponential(mean=MEAN)))
    alone, both = qt.drain_time(engine, throttle), qt.drain_time(engine, throttle, flush=qt.Exponential(mean=0.002))
    assert both.mean == pytest.approx(alone.mean + 0.004, rel=1e-12)
    assert both.quantile(0.99) > alone.quantile(0.99)


def test_serial_order_under_a_rate_limit():
    """The backlogs are released disk after disk, then the disks are flushed one after another."""
    disk = qt.Disk(qt.Closed(32), device=qt.Device(4, qt.Deterministic(0.020)))
    alone = qt.drain_time(qt.Engine([disk] * 4), qt.RateLimit(50.0))
    both = qt.drain_time(qt.Engine([disk] * 4), qt.RateLimit(50.0), flush=qt.Deterministic(0.005))
    assert both.quantile(0.5) == pytest.approx(alone.quantile(0.5) + 0.020, rel=1e-9)


@settings(max_examples=8)
@given(mean=st.floats(1e-6, 10.0), scv=st.floats(0.01, 50.0), disks=st.integers(1, 6), p=st.floats(0.01, 0.999))
def test_properties(mean, scv, disks, p):
    """No shorter than either part, no longer than both at their quantiles of half the remaining probability."""
    law = qt.Gamma(mean=mean, scv=scv)
    alone, both = qt.drain_time(single(disks)), qt.drain_time(single(disks), flush=law)
    q, half = both.quantile(p), 1.0 - (1.0 - p) / (disks + 1)
    slack = 1.0 + both.error_bounds["quantile"] + 1e-4
    assert q * slack >= max(alone.quantile(p), float(law.quantile(p)))
    assert q <= (alone.quantile(half) + disks * float(law.quantile(half))) * slack + disks * mean * 1e-4
    assert math.isfinite(both.variance)


def test_bad_input():
    with pytest.raises(TypeError, match="flush must be"):
        qt.drain_time(single(), flush="slow")
    with pytest.raises(TypeError, match="flush must be"):
        qt.simulate_stops(single(), flush=3)
