"""Bounds of a drain without its law, against laws chosen to come close."""

from __future__ import annotations

import heapq
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import qtheory as qt


def two_point(high, chance, mean=1.0):
    """`high` with this chance, and what keeps the mean otherwise."""
    low = (mean - chance * high) / (1.0 - chance)
    return np.array([low, high]), np.array([1.0 - chance, chance])


def drawn(values, weights, n, servers, stops, seed):
    """Drains with the in-service requests in equilibrium, by list scheduling."""
    rng = np.random.default_rng(seed)
    found = np.empty(stops)
    biased = values * weights / (values @ weights)
    for i in range(stops):
        k = min(n, servers)
        free = (rng.random(k) * rng.choice(values, k, p=biased)).tolist()
        heapq.heapify(free)
        last = max(free)
        for s in rng.choice(values, n - k, p=weights):
            end = heapq.heappop(free) + s
            heapq.heappush(free, end)
            last = max(last, end)
        found[i] = last
    return np.sort(found)


LAWS = {
    "constant": (np.array([1.0]), np.array([1.0])),
    "rare": two_point(30.0, 0.001),
    "half per cent": two_point(20.0, 0.005),
    "coin": two_point(1.9, 0.5),
    "many": two_point(5.0, 0.15),
    "tail": (np.arange(1, 40) / 3.0, np.arange(1, 40) ** -2.5 / (np.arange(1, 40) ** -2.5).sum()),
}


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize(("n", "servers"), [(3, 4), (12, 4), (60, 8), (40, 1)])
def test_no_law_exceeds_it(name, n, servers):
    values, weights = LAWS[name]
    mean = float(values @ weights)
    scv = float(values**2 @ weights) / mean**2 - 1.0
    stops = 3000
    run = drawn(values, weights, n, servers, stops, seed=1)
    for p in (0.9, 0.99):
        for maximum in (None, float(values.max())):
            moments = {"mean": mean, "scv": max(scv, 0.0), "maximum": maximum}
            bound = qt.drain_bound(n, servers=servers, **moments, drain_probability=p)
            late = float(np.mean(run > bound.quantile * (1 + 1e-12)))
            assert late <= 1.0 - p + 3.0 * math.sqrt(p * (1.0 - p) / stops)


def test_constant_service_is_bounded_by_its_rounds():
    assert qt.drain_bound(17, servers=4, mean=0.02, scv=0.0, maximum=0.02).quantile == pytest.approx(0.1, rel=3e-3)
    assert qt.drain_bound(16, servers=4, mean=0.02, scv=1.0, maximum=0.04).quantile <= 4 * 0.04


def test_scarf_is_reached():
    """P(R > x) by the two-point law that is worst for x: the bound of a single rest cannot be lower."""
    m, sigma, p = 1.0, 0.5, 0.75
    x = qt.drain_bound(1, servers=1, mean=m, scv=sigma**2, drain_probability=p).quantile
    d = x - m
    s = math.sqrt(sigma**2 + d * d)
    low, high = x - s, x + s  # equal distances from x; chances by the mean
    chance = (m - low) / (high - low)
    assert chance * high**2 + (1 - chance) * low**2 - m * m == pytest.approx(sigma**2)
    assert low >= 0.0
    assert chance * (high - x) / m == pytest.approx(1.0 - p)


@given(
    n=st.integers(0, 2000), servers=st.integers(1, 1000), mean=st.floats(1e-6, 10.0), scv=st.floats(0.0, 100.0),
    room=st.floats(1.0, 100.0), p=st.floats(0.01, 0.99999),
)  # fmt: skip
def test_properties(n, servers, mean, scv, room, p):
    maximum = mean * (1.0 + scv) * room
    with_maximum = qt.drain_bound(n, servers=servers, mean=mean, scv=scv, maximum=maximum, drain_probability=p).quantile
    without = qt.drain_bound(n, servers=servers, mean=mean, scv=scv, drain_probability=p).quantile
    assert 0.0 <= with_maximum <= min(without, math.ceil(n / servers) * maximum) * (1 + 1e-9)
    assert math.isfinite(without)
    assert with_maximum <= qt.drain_bound(
        n, servers=servers, mean=mean, scv=scv, maximum=2 * maximum, drain_probability=p
    ).quantile * (1 + 1e-9)


@pytest.mark.parametrize(("more", "message"), [
    ({"mean": 0.0}, "mean must be a positive"),
    ({"scv": -1.0}, "scv must be a finite number >= 0"),
    ({"maximum": 1.5}, r"maximum must be at least mean \(1 \+ scv\), 2, not 1.5"),
    ({"drain_probability": 0.0}, "drain_probability must lie"),
])  # fmt: skip
def test_bad_input(more, message):
    with pytest.raises(ValueError, match=message):
        qt.drain_bound(8, **{"servers": 2, "mean": 1.0, "scv": 1.0, **more})
