"""Bounds of a drain from latencies alone, against drains whose law is known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import qtheory as qt

LATENCIES = st.lists(st.tuples(st.floats(0.0, 9.99), st.integers(1, 1000)), min_size=1, max_size=12)
EDGES = st.lists(st.floats(0.01, 9.9), min_size=1, max_size=8, unique=True).map(sorted)
ULP = 1e-9


def excess(values, counts, t):
    """E(L − t)^+ of a discrete law."""
    return float(np.maximum(values - t, 0.0) @ counts / counts.sum())


@given(latencies=LATENCIES, inner=EDGES, rate=st.floats(0.01, 50.0), confidence=st.sampled_from([None, 0.5, 0.99]))
def test_no_drain_of_infinitely_many_servers_is_outside(latencies, inner, rate, confidence):
    """M/G/∞ of every law that the histogram allows: P(T > t) = 1 − exp(−λ E(L − t)^+), and no limit on how many."""
    values, counts = (np.array(column, dtype=float) for column in zip(*latencies, strict=True))
    edges = [0.0, *inner, math.inf]
    bins = np.histogram(values, [*edges[:-1], 1e9], weights=counts)[0].astype(int)
    bounds = qt.histogram_bounds(edges, bins, rate=rate, maximum=10.0, confidence=confidence)
    for t in np.linspace(0.0, 10.0, 41):
        low, high = bounds.sf(float(t))
        true = -math.expm1(-rate * excess(values, counts, t))
        assert low == 0.0  # nothing is known of how many there are at most
        assert true <= high + ULP
    assert bounds.mean[1] <= 10.0 * (1 + 1e-12)
    rest = 1.0 - bounds.drain_probability
    beyond = bounds.quantile[1] * (1 + 1e-9)
    assert -math.expm1(-rate * excess(values, counts, beyond)) <= rest + ULP


@given(latencies=LATENCIES, inner=EDGES, load=st.floats(0.01, 1.0), most=st.integers(1, 9))
def test_alternating_renewal_is_inside(latencies, inner, load, most):
    """`most` requests at a time or none, all of the same latency: P(T > t) = λ E(L − t)^+ / most, the lower bound."""
    values, counts = (np.array(column, dtype=float) for column in zip(*latencies, strict=True))
    values += 0.01
    edges = [0.0, *inner, 10.1]
    bins = np.histogram(values, edges, weights=counts)[0].astype(int)
    mean = excess(values, counts, 0.0)
    rate = most * load / mean  # the mean number outstanding is most · load
    bounds = qt.histogram_bounds(edges, bins, rate=rate, most=most, confidence=None)
    previous = (1.0, 1.0)
    for t in np.linspace(0.0, 10.1, 41):
        low, high = bounds.sf(float(t))
        assert low - ULP <= rate * excess(values, counts, t) / most <= high + ULP
        assert low <= previous[0]
        assert high <= previous[1]
        previous = low, high
    area = rate / most * float((values**2) @ counts / counts.sum()) / 2.0
    assert bounds.mean[0] - ULP <= area <= bounds.mean[1] + ULP


@given(latencies=LATENCIES, inner=EDGES, n=st.integers(1, 100))
def test_always_outstanding_are_inside(latencies, inner, n):
    """n that are always outstanding, independent of each other, or all in step: both are such systems."""
    values, counts = (np.array(column, dtype=float) for column in zip(*latencies, strict=True))
    values += 0.01
    edges = [0.0, *inner, 10.1]
    bins = np.histogram(values, edges, weights=counts)[0].astype(int)
    bounds = qt.histogram_bounds(edges, bins, outstanding=n, confidence=None)
    mean = excess(values, counts, 0.0)
    for t in np.linspace(0.0, 10.1, 41):
        low, high = bounds.sf(float(t))
        one = excess(values, counts, t) / mean
        for true in (one, 1.0 - (1.0 - one) ** n):
            assert low - ULP <= true <= high + ULP


# M/M/1: the bound is P(T > t)/(1 − ρ), twice as much, which makes it 2 log 2 longer than 7.8; the bins add 3 %
@pytest.mark.parametrize(("servers", "load", "price"), [(1, 0.5, 1.22), (4, 0.8, 1.2), (16, 0.9, 1.2)])
def test_first_come_first_served(servers, load, price):
    """M/M/c: the drain that `drain_time` finds exactly, bounded by its own responses in narrow bins."""
    rate = load * servers
    engine = qt.Engine([qt.Disk(qt.Poisson(rate), buffer=1024)], qt.Device(servers, qt.Exponential(mean=1.0)))
    drain, state = qt.drain_time(engine), qt.stations.mmc(arrival_rate=rate, service_rate=1.0, servers=servers)
    levels = np.concatenate([np.linspace(0.01, 0.99, 99), 1.0 - np.logspace(-2.1, -5, 30)])
    edges = np.array([0.0, *(state.response_quantile(p) for p in levels), 60.0])
    shares = np.diff([0.0, *levels, 1.0])
    bounds = qt.histogram_bounds(edges, np.rint(shares * 1e9).astype(int), rate=rate, confidence=None)
    for t in np.linspace(0.0, edges[-2], 50):
        assert drain.sf(float(t)) <= bounds.sf(float(t))[1] + 1e-6
    assert drain.quantile(0.99) <= bounds.quantile[1]
    assert bounds.quantile[1] <= price * drain.quantile(0.99)
    assert drain.mean <= bounds.mean[1]


def test_tight_where_requests_overlap_freely():
    """M/M/∞: 0.5 % of the chance above it, which is 0.005 means of the latency."""
    edges = np.linspace(0.0, 30.0, 30_001)
    counts = np.rint(-np.diff(np.exp(-edges)) * 1e12).astype(int)
    bounds = qt.histogram_bounds(edges, counts, rate=5.0, confidence=None)
    t = -math.log(-math.log(0.99) / 5.0)
    assert t <= bounds.quantile[1] <= t + 0.005 + 0.0011


@pytest.mark.parametrize("total", [200, 20_000])
def test_counts_hold_as_often_as_they_say(total):
    """Of 200 samples: how often P(T > t) at the widest is beyond its bound, for laws at the bounds' own corners."""
    rng = np.random.default_rng(1)
    values, weights = np.array([0.999, 1.999, 4.999]), np.array([0.9, 0.09, 0.01])
    rate, runs, missed = 2.0, 200, 0
    for _ in range(runs):
        counts = rng.multinomial(total, weights)
        bounds = qt.histogram_bounds([0.0, 1.0, 2.0, 5.0], counts, rate=rate, most=64, confidence=0.9)
        times = np.linspace(0.0, 5.0, 51)
        true = [rate * float(np.maximum(values - t, 0.0) @ weights) for t in times]
        found = [bounds.sf(float(t)) for t in times]
        missed += any(
            x > high + 1e-12 or x / 64 < low - 1e-12
            for x, (low, high) in zip(np.minimum(true, 1.0), found, strict=True)
        )
    assert missed / runs <= 0.1


def test_rule_of_three():
    """No latency of 3000 beyond 1 s, and a timeout of 30 s: one in a thousand may be that long, at 95 %."""
    bounds = qt.histogram_bounds([0.0, 1.0, math.inf], [3000, 0], rate=1.0, maximum=30.0, confidence=0.90)
    # two bounds share the doubt of 10 %
    assert bounds.sf(1.0)[1] == pytest.approx(29.0 * (1.0 - 0.05 ** (1 / 3000)), rel=1e-9)
    sure = qt.histogram_bounds([0.0, 1.0, math.inf], [3000, 0], rate=1.0, maximum=30.0, confidence=None)
    assert sure.quantile[1] == pytest.approx(0.99, rel=1e-9)
    assert sure.confidence == 1.0


def test_more_counts_narrow_it():
    found = [
        qt.histogram_bounds([0.0, 1e-3, 2e-3, 5e-3], [60 * k, 30 * k, 10 * k], outstanding=32).quantile
        for k in (1, 10, 100, 1000)
    ]
    assert all(a[0] <= b[0] and b[1] <= a[1] for a, b in itertools.pairwise(found))


@given(mean=st.floats(1e-4, 1.0), scv=st.floats(0.0, 50.0), rate=st.floats(0.1, 1e4), room=st.floats(1.0, 50.0))
def test_moments(mean, scv, rate, room):
    """Two-point laws and M/G/∞; more knowledge is never worse."""
    maximum = mean * (1.0 + scv) * room
    most = math.ceil(rate * mean * (1 + 1e-9))
    by_both = qt.little_bounds(rate=rate, mean=mean, scv=scv, maximum=maximum, most=most)
    by_scv = qt.little_bounds(rate=rate, mean=mean, scv=scv, most=most)
    by_maximum = qt.little_bounds(rate=rate, mean=mean, maximum=maximum, most=most)
    high = mean * (1.0 + scv)  # 0 or this: has the mean and the scv
    chance = 1.0 / (1.0 + scv)
    for t in (0.0, mean / 2, mean, high / 2, high):
        late = rate * chance * max(high - t, 0.0)
        for bounds in (by_both, by_scv, by_maximum):
            assert -math.expm1(-late) <= bounds.sf(t)[1] + ULP
            assert bounds.sf(t)[0] <= late / most + ULP
    assert by_both.quantile[1] <= min(by_scv.quantile[1], by_maximum.quantile[1]) * (1 + 1e-9)
    assert by_both.mean[0] <= by_both.mean[1] * (1 + 1e-9)


def test_the_chord_is_reached():
    """A latency of 0 or the maximum: λ E(L − t)^+ is the bound, so none can be lower."""
    bounds = qt.little_bounds(rate=0.5, mean=0.2, maximum=1.0, most=1)
    for t in (0.0, 0.3, 0.9):
        assert bounds.sf(t)[1] == pytest.approx(0.5 * 0.2 * (1.0 - t), rel=1e-12)


@pytest.mark.parametrize(("more", "message"), [
    ({}, "rate or outstanding must be given"),
    ({"rate": 1.0, "outstanding": 3}, "outstanding must stand alone"),
    ({"rate": -1.0}, "rate must be a positive"),
    ({"rate": 1.0, "edges": [0.0, 1.0, math.inf]}, "maximum must be given where the last bin is open"),
    ({"rate": 1.0, "edges": [0.0, 2.0, 1.0]}, "edges must be at least two, rising"),
    ({"rate": 1.0, "counts": [1, 2, 3]}, "counts must be one for each of the 2 bins, not 3"),
    ({"rate": 1.0, "counts": [0, 0]}, "counts must not all be 0"),
    ({"rate": 1.0, "counts": [0.5, 1]}, r"counts\[0\] must be a whole number"),
    ({"rate": 1.0, "maximum": 0.5}, "maximum must be at least 1"),
    ({"rate": 1.0, "confidence": 1.0}, "confidence must lie"),
    ({"rate": 1.0, "drain_probability": 0.0}, "drain_probability must lie"),
    ({"rate": 100.0, "most": 2}, "most must be at least"),
])  # fmt: skip
def test_bad_input(more, message):
    arguments = {"edges": [0.0, 1.0, 2.0], "counts": [5, 5], **more}
    with pytest.raises(ValueError, match=message):
        qt.histogram_bounds(**arguments)


@pytest.mark.parametrize(("more", "message"), [
    ({}, "scv or maximum must be given"),
    ({"maximum": 0.5}, "maximum must be at least"),
    ({"scv": 1.0, "maximum": 1.5}, "maximum must be at least"),
    ({"scv": -1.0}, "scv must be a finite number >= 0"),
    ({"maximum": 9.0, "most": 1}, "most must be at least 2"),
])  # fmt: skip
def test_bad_moments(more, message):
    with pytest.raises(ValueError, match=message):
        qt.little_bounds(rate=2.0, mean=1.0, **more)
