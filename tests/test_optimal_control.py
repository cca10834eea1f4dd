"""The best approach to a stop: against matrix exponentials, all policies of a small engine, and other limits."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.linalg import expm

import qtheory as qt
from qtheory import optimal_limits, random_stop_limit
from qtheory.drain.optimal_control import held
from qtheory.drain.optimal_kernel import best as best_costs
from qtheory.drain.optimal_kernel import under


def engine(rate, servers, buffer, mean=0.01):
    return qt.Engine([qt.Disk(qt.Poisson(rate), buffer=buffer)], qt.Device(servers, qt.Exponential(mean)))


def test_costs_of_a_limit_by_matrix_exponentials():
    """Refusals are counted by a state that is entered at the rate λ and never left, beside the chain itself."""
    rates, arrival, limit, t = np.array([1.0, 2.0, 2.0, 2.0]), 1.7, 3, 2.0
    start, late = np.array([0.1, 0.2, 0.3, 0.2, 0.2]), np.array([0.0, 0.01, 0.05, 0.3, 0.6])
    g = np.zeros((6, 6))
    for n in range(5):
        if n:
            g[n, n - 1] = rates[n - 1]
        if n < limit:
            g[n, n + 1] = arrival
        g[n, n] = -g[n].sum()
        g[n, 5] = 0.0 if n < limit else arrival  # additive functional: its row sum is not 0
    exact = np.append(start, 0.0) @ expm(g * t)
    steps = 400
    refused, overrun = under(np.full(steps, limit), rates, arrival, late, start, t / steps)
    assert refused[-1] == pytest.approx(exact[5], rel=1e-4)
    assert overrun[-1] == pytest.approx(exact[:5] @ late, rel=1e-4)


def test_no_limits_cost_less_than_the_best():
    rates, arrival = np.minimum(np.arange(1, 13), 2) * 1.0, 1.8
    late = 1.0 - np.exp(-((np.arange(13) / 7.0) ** 4))
    start = np.full(13, 1.0 / 13.0)
    rng = np.random.default_rng(1)
    steps, step = 300, 0.05
    for weight in (2.0, 10.0, 50.0):
        refused, overrun, *_ = best_costs(rates, arrival, late, weight, start, step, steps)
        best = refused + weight * overrun
        for _ in range(40):
            limits = np.sort(rng.integers(0, 13, steps)) if rng.random() < 0.5 else np.full(steps, rng.integers(0, 13))
            r, o = under(limits, rates, arrival, late, start, step)
            assert r[-1] + weight * o[-1] >= best * (1.0 - 1e-4)


def test_when_the_stop_has_no_memory_a_constant_limit_is_best():
    """Of all 2^6 sets of numbers at which requests are taken, a limit is the best, at every weight tried."""
    rates, arrival, rate = np.minimum(np.arange(1, 7), 2) * 1.0, 1.5, 0.3
    late = np.array([0.0, 0.001, 0.004, 0.02, 0.06, 0.13, 0.23])
    costs = {}
    for takes in itertools.product((False, True), repeat=6):
        up = np.append(np.where(takes, arrival, 0.0), 0.0)
        a = np.diag(rate + up + np.append(0.0, rates)) - np.diag(up[:-1], 1) - np.diag(rates, -1)
        costs[takes] = np.linalg.solve(a, np.stack([np.where(up > 0, 0.0, arrival), rate * late], axis=1))
    for limit in range(7):
        found = np.stack(held(limit, rates, arrival, late, rate), axis=1)
        np.testing.assert_allclose(found, costs[tuple(n < limit for n in range(6))], rtol=1e-10, atol=1e-13)
    chosen = set()
    for weight in np.geomspace(1.0, 1e4, 30):
        best = min(costs, key=lambda takes: (costs[takes] @ [1.0, weight]).sum())
        assert list(best) == sorted(best, reverse=True)
        chosen.add(sum(best))
    assert len(chosen) > 3


def test_the_price_of_simplicity():
    best = optimal_limits(engine(80.0, 1, 32), drain_budget=0.05)
    assert best.two_limits == 1.0
    assert best.overrun <= 0.01
    assert list(best.times) == sorted(best.times)
    assert list(best.lower) == sorted(best.lower, reverse=True)
    assert set(best.policies) == {"stop accepting", "one at a time", "step", "ramp"}
    for policy in best.policies.values():
        assert policy.overrun <= 0.01
        assert policy.refused >= best.refused * (1.0 - best.error_bounds["refused"])
    assert best.policies["ramp"].refused < 1.02 * best.refused
    assert best.policies["step"].refused > 1.5 * best.refused


def test_nothing_to_do_and_nothing_that_helps():
    idle = optimal_limits(engine(10.0, 8, 16), drain_budget=0.1)
    assert (idle.refused, len(idle.times), idle.policies) == (0.0, 0, {})
    with pytest.raises(ValueError, match=r"horizon must be longer than 0\.01 s"):
        optimal_limits(engine(720.0, 8, 64), drain_budget=0.06, horizon=0.01)
    with pytest.raises(ValueError, match="its disks are not all Poisson"):
        optimal_limits(qt.Engine([qt.Disk(qt.Closed(4))], qt.Device(2, qt.Exponential(0.01))), drain_budget=0.1)


def test_a_random_stop_needs_the_limit_from_the_beginning():
    e = engine(720.0, 8, 64)
    limit, policy = random_stop_limit(e, drain_budget=0.06, stop_rate=1.0)
    assert limit is not None
    assert policy.overrun <= 0.01
    known = optimal_limits(e, drain_budget=0.06)
    assert policy.refused > 10.0 * known.refused
    assert random_stop_limit(engine(10.0, 8, 16), drain_budget=0.1, stop_rate=1.0)[0] is None
