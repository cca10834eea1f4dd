"""Engines with service laws that are not of phase type: solved by a fit, which says so, and against simulation."""

import pytest

import qtheory as qt

LAWS = {
    "lognormal": qt.Lognormal(mean=1.0, scv=2.0),
    "Weibull": qt.Weibull(mean=1.0, scv=5.0),
    "gamma": qt.Gamma(mean=1.0, scv=0.4),
}


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("disks", [1, 4])
def test_a_fit_is_close_and_named(name, disks):
    disk = qt.Disk(qt.Poisson(3.6 / disks), buffer=24 // disks)
    engine = qt.Engine([disk] * disks, qt.Device(servers=4, service=LAWS[name]))
    state, run = qt.solve(engine), qt.simulate(engine, 1_000_000, seed=3)
    assert (state.method, state.exact) == ("fitted_service", False)
    assert "the service law is replaced by" in state.warnings[-1]
    for quantity in ("throughput", "mean_wait", "mean_response", "mean_in_system", "utilization"):
        estimate = getattr(run, quantity)
        # within 4 % and three half-widths
        assert abs(getattr(state, quantity) - estimate.value) <= 0.04 * estimate.value + 3 * estimate.half_width, (
            quantity
        )
    q = run.response_quantile(0.99)
    assert abs(state.response_quantile(0.99) - q.value) <= 0.04 * q.value + 3 * q.half_width
    assert state.error_bound < 0.5


def test_a_phase_type_law_is_not_fitted():
    engine = qt.Engine([qt.Disk(qt.Poisson(1.0), buffer=8)], qt.Device(2, qt.Erlang(phases=2, mean=1.0)))
    assert qt.solve(engine).method == "phase_type"
    assert qt.solve(engine, "fitted_service").mean_wait == pytest.approx(qt.solve(engine).mean_wait, rel=1e-12)


def test_what_it_cannot_do_is_named():
    own = [qt.Disk(qt.Poisson(1.0), device=qt.Device(1, LAWS["gamma"]))] * 2
    with pytest.raises(ValueError, match="fitted_service: each disk has its own device"):
        qt.solve(qt.Engine(own, queue_length=3))
