"""The flow-equivalent station: exact limits, brute force within the measured error, its own consistency."""

from __future__ import annotations

import numpy as np
import pytest
from generator import brute_force
from qtheory.solve.flow_equivalent import MEASURED
from scipy.integrate import quad
from scipy.stats import gamma
from test_solve import CURVE, EXP, SHARED, closed, disk

import qtheory as qt

ONE = qt.Device(servers=1, service=EXP)


def test_without_a_binding_limit_it_is_the_separate_devices() -> None:
    """Q so long that nothing waits for a slot, buffers so long that none is full: Norton's theorem is exact."""
    disks = [disk(0.5, 60, device=ONE), disk(0.9, 60, device=SHARED), disk(0.2, 60, device=ONE)]
    limited = qt.solve(qt.Engine(disks, queue_length=150, hold="ring"))
    free = qt.solve(qt.Engine(disks))
    assert limited.method == "flow_equivalent"
    assert not limited.exact
    for name in ("throughput", "mean_wait", "mean_response", "mean_in_system", "mean_in_flight", "utilization"):
        assert getattr(limited, name) == pytest.approx(getattr(free, name), rel=1e-9), name
    for p in (0.5, 0.9, 0.99):
        assert limited.wait_quantile(p) == pytest.approx(free.wait_quantile(p), rel=1e-6, abs=1e-9)
        assert limited.response_quantile(p) == pytest.approx(free.response_quantile(p), rel=1e-6)


def test_one_slot_is_one_server() -> None:
    """Q = 1: every request is served alone, so the engine is M/M/1 with the mixture of the services."""
    engine = qt.Engine([disk(0.3, 80, device=ONE)] * 2, queue_length=1, hold="ring")
    state = qt.solve(engine)
    assert state.mean_response == pytest.approx(1.0 / (1.0 - 0.6), rel=1e-6)
    assert state.response_quantile(0.99) == pytest.approx(-np.log(0.01) / 0.4, rel=1e-6)


@pytest.mark.parametrize("slots", [1, 2, 3])
@pytest.mark.parametrize("rate", [0.5, 0.9, 1.3])
def test_within_the_measured_error(slots: int, rate: float) -> None:
    """Two disks of buffer 4 on single-server devices: the generator of the ordered state is the truth."""
    engine = qt.Engine([disk(rate, 4, device=ONE)] * 2, queue_length=slots, hold="ring")
    state, truth = qt.solve(engine, "flow_equivalent"), brute_force(engine)
    assert state.error_bounds == MEASURED
    for name in ("throughput", "blocking", "mean_wait", "mean_response", "mean_in_system", "mean_in_flight"):
        assert abs(getattr(state, name) / getattr(truth, name) - 1.0) <= MEASURED[name], name


def test_law_agrees_with_mean() -> None:
    """∫ P(R > t) dt = mean response, where buffers do not bind."""
    state = qt.solve(qt.Engine([disk(0.5, 200, device=ONE)] * 4, queue_length=4, hold="ring"))
    (weight, law), *others = state._sojourns  # type: ignore[misc]
    assert weight == 1.0
    assert not others
    for quantity, mean in (("wait", state.mean_wait), ("response", state.mean_response)):
        area, _ = quad(lambda t, q=quantity: law.sf(q, t), 0.0, 200.0, limit=200)
        assert area == pytest.approx(mean, rel=1e-4)


def test_unmeasured_engines_say_so() -> None:
    engine = qt.Engine([disk(0.5, 8, device=CURVE), closed(3, 2.0, device=ONE)], queue_length=2, hold="ring")
    state = qt.solve(engine)
    assert state.error_bound == np.inf
    assert any("no error was measured" in warning for warning in state.warnings)
    assert sum(d.throughput for d in state.disks) == pytest.approx(state.throughput, rel=1e-9)
    with pytest.raises(ValueError, match="response_quantile is not available"):
        state.response_quantile(0.9)


def test_quantiles_behind_a_saturated_line() -> None:
    """One slot: a cycle of N K services, so the response is Erlang(N K); the approximation is exact there."""
    engine = qt.Engine([closed(2, 0.0, device=ONE)] * 3, queue_length=1)
    state = qt.solve(engine)
    assert state.method == "saturated_line"
    assert state.wait_quantile(0.99) == pytest.approx(gamma(5).ppf(0.99), rel=1e-8)
    assert state.response_quantile(0.5) == pytest.approx(gamma(6).ppf(0.5), rel=1e-8)
    assert state.error_bound < 1e-9
    assert any("quantiles are approximate" in warning for warning in state.warnings)


def test_quantiles_behind_a_saturated_line_against_simulation() -> None:
    """Within the stated error, which is measured over a grid."""
    engine = qt.Engine([closed(8, 0.0, device=SHARED)] * 4, queue_length=12)
    state, run = qt.solve(engine), qt.simulate(engine, 300_000, seed=5)
    for p in (0.5, 0.99):
        assert state.response_quantile(p) == pytest.approx(
            run.response_quantile(p).value, rel=state.error_bounds["response_quantile"]
        )
