"""Drains from residual services: exact cases, limits, and simulated stops where phases cannot follow the law."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qtheory as qt
from qtheory.drain import answer, phase_type
from qtheory.drain.fitted_service import drain as fitted_drain
from qtheory.drain.residual_services import GRID, TOO_LONG, Makespan


def alone(n):
    """All of n requests are pending."""
    return np.eye(1, n + 1, n)[0]


@pytest.mark.parametrize("law", [
    qt.Exponential(mean=0.01),
    qt.Erlang(phases=3, mean=0.01),
    qt.Hyperexponential.balanced(mean=0.01, scv=4.0),
    qt.Coxian(rates=(300.0, 90.0), continues=(0.6,)),
], ids=["exponential", "Erlang", "hyperexponential", "Coxian"])  # fmt: skip
@pytest.mark.parametrize(("servers", "present"), [(1, 9), (3, 3), (3, 4), (4, 16)])
def test_saturated_guests_are_exact(law, servers, present):
    """The chain of phases is another way to the same law."""
    engine = qt.Engine([qt.Disk(qt.Closed(present), buffer=present)], qt.Device(servers, law))
    chain = phase_type.drain(engine, None, None)
    found = Makespan(law, servers, alone(present))
    mean, variance = found.moments
    assert mean == pytest.approx(chain.mean, rel=GRID)
    assert variance == pytest.approx(chain.variance, rel=3 * GRID)
    for p in (0.1, 0.5, 0.9, 0.99, 0.999):
        t = chain.quantile(p)
        assert found.sf(t) == pytest.approx(chain.sf(t), abs=GRID * (1 - p) + 3e-4 * p)


@pytest.mark.parametrize(("servers", "present"), [(1, 1), (1, 5), (4, 4), (4, 6), (4, 8), (16, 40)])
def test_constant_services_against_order_statistics(servers, present):
    """Ends of services in progress are uniform; m waiting ones are a whole rounds and b more: T = a + 1 + U_(b)."""
    from scipy.stats import binom

    found = Makespan(qt.Deterministic(1.0), servers, alone(present))
    rounds, more = divmod(present - servers, servers)
    end, place = (rounds + 1, more) if more else (rounds, servers)
    for u in (0.1, 0.5, 0.9):
        # P(U_(place) > u): fewer than `place` of the servers' ends are before u
        assert found.sf(end + u) == pytest.approx(binom.cdf(place - 1, servers, u), abs=2e-3)
    assert found.moments[0] == pytest.approx(end + place / (servers + 1), rel=GRID)


@settings(max_examples=6, deadline=None)
@given(scv=st.floats(0.05, 6.0), servers=st.integers(1, 4), present=st.integers(1, 12))
def test_laws_fall_from_one_to_nothing_and_grow_with_what_is_present(scv, servers, present):
    law = qt.Weibull(mean=1.0, scv=scv)
    fewer, more = Makespan(law, servers, alone(present)), Makespan(law, servers, alone(present + 1))
    t = np.linspace(0.0, 5.0 + 3.0 * present / servers, 12)
    left = np.array([fewer.sf(x) for x in t.tolist()])
    assert left[0] == pytest.approx(1.0, abs=1e-9)
    assert (np.diff(left) <= 1e-3).all()
    assert ((left >= 0.0) & (left <= 1.0)).all()
    # one more of a heavy law may be over sooner than the last of those in service, but not in the mean
    assert more.moments[0] >= fewer.moments[0] - 2e-3 * fewer.moments[0]
    work = law.moment(2) / 2.0 * min(servers, present) + max(present - servers, 0)
    assert fewer.moments[0] >= work / servers * (1.0 - 2 * GRID)


def test_one_server_adds_up():
    """A residual service and then whole ones: means and variances add."""
    law = qt.Lognormal(mean=1.0, scv=0.6)
    mean, variance = Makespan(law, 1, alone(7)).moments
    left = law.residual()
    assert mean == pytest.approx(left.mean + 6.0, rel=1e-3)
    assert variance == pytest.approx(left.scv * left.mean**2 + 6.0 * 0.6, rel=5e-3)


@pytest.mark.parametrize("law", [qt.Lognormal(mean=0.01, scv=2.0), qt.Deterministic(0.01)], ids=["heavy", "constant"])
def test_many_servers_against_simulated_stops(law):
    """Sixteen servers afford too few phases: drains of the fitted law were off by 40 % and more."""
    engine = qt.Engine([qt.Disk(qt.Poisson(1500.0), buffer=64)], qt.Device(16, law), 32, "ring")
    found = qt.drain_time(engine)
    run = qt.simulate(engine, 1_000_000, seed=1).drain
    assert (found.method, found.exact) == ("residual_services", False)
    assert abs(found.mean - run.mean.value) <= 0.02 * run.mean.value + 2 * run.mean.half_width
    truth = run.quantile(0.99)
    assert abs(found.quantile(0.99) - truth.value) <= 0.02 * truth.value + 2 * truth.half_width
    fitted = phase_type.drain(fitted_of(engine), None, None)
    assert abs(fitted.quantile(0.99) / truth.value - 1.0) > 0.2


def fitted_of(engine):
    from qtheory.solve.fitted_service import fitted

    return fitted(engine)[0]


def test_saturated_guests_of_any_law_against_simulated_stops():
    law = qt.Lognormal(mean=0.01, scv=2.0)
    engine = qt.Engine([qt.Disk(qt.Closed(12))], qt.Device(4, law))
    found, run = qt.drain_time(engine), qt.simulate_stops(engine, None, 40_000, seed=3, settle=0.3)
    assert found.error_bounds["quantile"] == GRID
    assert found.warnings == ()
    assert abs(found.mean - run.mean.value) <= GRID * found.mean + 2 * run.mean.half_width
    truth = run.quantile(0.99)
    assert abs(found.quantile(0.99) - truth.value) <= GRID * truth.value + 2 * truth.half_width


def test_given_numbers_and_warnings():
    engine = qt.Engine([qt.Disk(qt.Poisson(300.0), buffer=32)], qt.Device(4, qt.Lognormal(mean=0.01, scv=2.0)))
    ten = qt.drain_time(engine, population=10)
    assert ten.population_pmf[10] == 1.0
    assert ten.mean == Makespan(qt.Lognormal(mean=0.01, scv=2.0), 4, alone(10)).moments[0]
    in_step = qt.Engine([qt.Disk(qt.Closed(8))], qt.Device(2, qt.Deterministic(0.01)))
    assert "keep their order for ever" in qt.drain_time(in_step).warnings[0]


def test_too_long_a_line_falls_back_on_the_fitted_law_and_says_so():
    law = qt.Lognormal(mean=0.01, scv=2.0)
    with pytest.raises(ValueError, match="too long"):
        Makespan(law, 2, alone(5000))
    engine = qt.Engine([qt.Disk(qt.Closed(3000), buffer=3000)], qt.Device(2, law))
    found = fitted_drain(engine, None, None)
    assert found.method == "fitted_service"
    assert found.warnings[-1] == TOO_LONG
    assert math.isfinite(found.mean)


def test_servers_that_keep_in_step_have_no_measured_error():
    """Found by the atlas: a depth limit in overload keeps constant service in step, and the mean is a third off."""
    disk = qt.Disk(qt.Poisson(3.25), buffer=5)
    engine = qt.Engine([disk] * 10, qt.Device(25, qt.Deterministic(1.0)))
    limited = qt.drain_time(engine, qt.DepthLimit(8))
    assert limited.method == "residual_services"
    stated = answer(engine, qt.DepthLimit(8)).error_bounds
    assert stated["mean"] == stated["quantile"] == math.inf
    assert qt.drain_time(engine, qt.DepthLimit(8), population=8).error_bounds["mean"] < 1.0
    assert any("keep their order for ever" in warning for warning in limited.warnings)
