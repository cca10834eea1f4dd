"""Disks behind one line taken as a delay: exact limits, brute force and simulation within the measured error."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from generator import brute_force
from scipy.integrate import quad
from scipy.stats import gamma
from test_solve import CURVE, EXP, SHARED, closed, disk

import qtheory as qt
from qtheory.drain.delay_line import MEASURED as MEASURED_DRAIN
from qtheory.solve.disks_behind_line import Kind, given_sum, numbers

ONE = qt.Device(servers=1, service=EXP)
NAMES = ("throughput", "blocking", "mean_wait", "mean_response", "mean_in_system", "mean_in_flight")


def test_without_a_binding_limit_it_is_the_separate_devices() -> None:
    """Q so long that nothing waits for a slot, buffers so long that none is full: the line is never used."""
    disks = [disk(0.5, 60, device=ONE), disk(0.9, 60, device=SHARED), disk(0.2, 60, device=ONE)]
    limited = qt.solve(qt.Engine(disks, queue_length=150, hold="ring"))
    free = qt.solve(qt.Engine(disks))
    assert limited.method == "delay_line"
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


def test_one_disk_is_its_own_station() -> None:
    """One disk behind Q slots before c > Q servers is M/M/Q/K."""
    device = qt.Device(servers=4, service=EXP)
    state = qt.solve(qt.Engine([disk(1.7, 9, device=device)], queue_length=2, hold="ring"), "delay_line")
    alone = qt.solve(qt.Engine([disk(1.7, 9)], device, queue_length=2, hold="ring"), "product_form")
    for name in NAMES:
        assert getattr(state, name) == pytest.approx(getattr(alone, name), rel=1e-6), name
    np.testing.assert_allclose(state.in_system_pmf, alone.in_system_pmf, rtol=1e-5)


def test_hardly_thinking_guests_are_saturated() -> None:
    busy = qt.Engine([closed(6, 1e-7, device=ONE), closed(3, 1e-7, device=SHARED)], queue_length=4, hold="ring")
    full = qt.Engine([closed(6, 0.0, device=ONE), closed(3, 0.0, device=SHARED)], queue_length=4, hold="ring")
    state, exact = qt.solve(busy, "delay_line"), qt.solve(full, "saturated_line")
    for i in range(2):
        assert state.disks[i].throughput == pytest.approx(exact.disks[i].throughput, rel=1e-5)
    again = qt.solve(full, "delay_line")
    assert again.throughput == pytest.approx(exact.throughput, rel=1e-12)
    assert again.in_system_pmf[-1] == 1.0


@pytest.mark.parametrize("slots", [1, 2, 3, 5])
@pytest.mark.parametrize("rate", [0.5, 0.9, 1.3])
def test_two_disks_by_brute_force(slots: int, rate: float) -> None:
    """Two disks of buffer 4 on single-server devices, where few requests make it worst, by the generator."""
    engine = qt.Engine([disk(rate, 4, device=ONE)] * 2, queue_length=slots, hold="ring")
    state, truth = qt.solve(engine, "delay_line"), brute_force(engine)
    for name in NAMES:
        most = 0.015 if name in ("throughput", "mean_in_flight") else 0.09
        assert abs(getattr(state, name) / getattr(truth, name) - 1.0) <= most, name


def test_disks_that_differ_by_brute_force() -> None:
    """Rates, buffers and devices differ, one guest is saturated; the flow of each disk is right as well."""
    devices = ONE, SHARED, ONE
    disks = [disk(0.8, 3, device=devices[0]), closed(4, 2.0, device=devices[1]), closed(2, 0.0, device=devices[2])]
    engine = qt.Engine(disks, queue_length=4, hold="ring")
    state, truth = qt.solve(engine, "delay_line"), qt.solve(engine, "joint_chain")
    assert state.throughput == pytest.approx(truth.throughput, rel=0.02)
    assert state.mean_in_system == pytest.approx(truth.mean_in_system, rel=0.02)
    for own, true in zip(state.disks, truth.disks, strict=True):
        assert own.throughput == pytest.approx(true.throughput, rel=0.03)
        assert own.pmf.sum() == pytest.approx(1.0, abs=1e-12)
    assert sum(own.throughput for own in state.disks) == pytest.approx(state.throughput, rel=1e-12)


def test_what_comes_goes() -> None:
    """Accepted and completed flows agree, and so do the disks' numbers and the total's."""
    kinds = [Kind(disk(0.9, 16, device=ONE), ONE, 5, ONE.rates(16), None)]
    kinds += [Kind(closed(8, 6.0, device=SHARED), SHARED, 3, SHARED.rates(8), None)]
    found = numbers(kinds, 12)
    accepted = sum(kind.copies * found.in_system(i)[:-1] @ kind.coming for i, kind in enumerate(kinds))
    assert accepted == pytest.approx(found.throughput, rel=1e-5)
    mean = sum(k.copies * found.in_system(i) @ np.arange(k.disk.most + 1) for i, k in enumerate(kinds))
    assert mean == pytest.approx(found.pmf @ np.arange(len(found.pmf)), rel=1e-5)


def test_many_disks_are_nearly_normal(monkeypatch: pytest.MonkeyPatch) -> None:
    series, copies = [np.full(12, 0.8), 2.0 / np.arange(1.0, 9.0)], [12, 8]
    module = importlib.import_module("qtheory.solve.disks_behind_line")
    normal = given_sum(series, copies, 60)
    monkeypatch.setattr(module, "FEW_DISKS", 20)
    for law, exact in zip(normal, given_sum(series, copies, 60), strict=True):
        np.testing.assert_allclose(law, exact, atol=1e-3)


def test_large_engines() -> None:
    """A thousand disks: few arrive at a full buffer, and the line is as long as a delay of Little's law makes it."""
    engine = qt.Engine([disk(0.9, 256, device=ONE)] * 1000, queue_length=9500, hold="ring")
    state = qt.solve(engine)
    assert state.method == "delay_line"
    assert 0.0 < state.blocking < 0.05
    assert state.throughput * state.mean_response == pytest.approx(state.mean_in_system, rel=1e-9)


@pytest.mark.parametrize("law", [
    qt.Deterministic(1.0),
    qt.Hyperexponential.balanced(mean=1.0, scv=4.0),
    qt.Lognormal(mean=1.0, scv=2.0),
])  # fmt: skip
def test_general_service_against_simulation(law: qt.Law) -> None:
    device = qt.Device(servers=1, service=law)
    engine = qt.Engine([disk(0.9, 16, device=device)] * 8, queue_length=24, hold="ring")
    state, run = qt.solve(engine), qt.simulate(engine, 200_000, seed=3)
    assert state.method == "delay_line"
    for name in ("throughput", "mean_in_system", "mean_in_flight"):
        truth = getattr(run, name)
        assert abs(getattr(state, name) - truth.value) <= truth.half_width + state.error_bounds[name] * truth.value, (
            name
        )
    drain = qt.drain_time(engine)
    truth = run.drain.quantile(0.99)
    assert abs(drain.quantile(0.99) - truth.value) <= truth.half_width + drain.error_bounds["quantile"] * truth.value


def test_more_servers_than_are_ever_busy() -> None:
    """Buffers far beyond what the device can have: how many are likely must not decide how many rates there are."""
    laws = EXP, qt.Erlang(phases=1, mean=EXP.mean)
    one, same = (
        qt.solve(qt.Engine([disk(40.0, 200, device=qt.Device(servers=64, service=law))] * 2, queue_length=90))
        for law in laws
    )
    assert same.method == "delay_line"
    assert same.throughput == pytest.approx(one.throughput, rel=1e-4)
    assert same.mean_wait == pytest.approx(one.mean_wait, rel=1e-2)


def test_exponential_phases_are_exponential_service() -> None:
    """Erlang of one phase is not of the class Exponential: the isolated device must give the same rates."""
    laws = EXP, qt.Erlang(phases=1, mean=EXP.mean)
    one, same = (
        qt.solve(qt.Engine([disk(0.9, 12, device=qt.Device(servers=2, service=law))] * 3, queue_length=5), "delay_line")
        for law in laws
    )
    assert same.throughput == pytest.approx(one.throughput, rel=1e-4)
    assert same.response_quantile(0.9) == pytest.approx(one.response_quantile(0.9), rel=1e-3)


def test_drain_against_simulation() -> None:
    for disks, slots in ((3, 6), (20, 60)):
        engine = qt.Engine([disk(0.9, 16, device=ONE)] * disks, queue_length=slots, hold="ring")
        drain, run = qt.drain_time(engine), qt.simulate(engine, 300_000, seed=2).drain
        assert drain.method == "delay_line"
        assert drain.error_bounds["mean"] == MEASURED_DRAIN["equal"]
        for value, truth in ((drain.mean, run.mean), (drain.quantile(0.99), run.quantile(0.99))):
            assert abs(value - truth.value) <= truth.half_width + MEASURED_DRAIN["equal"] * truth.value


def test_drain_by_phases_is_that_by_rates() -> None:
    laws = EXP, qt.Erlang(phases=1, mean=EXP.mean)
    one, same = (
        qt.drain_time(
            qt.Engine([disk(0.9, 40, device=qt.Device(servers=2, service=law))] * 3, queue_length=5, hold="ring")
        )
        for law in laws
    )
    assert same.mean == pytest.approx(one.mean, rel=1e-3)
    assert same.quantile(0.99) == pytest.approx(one.quantile(0.99), rel=1e-3)


def test_law_agrees_with_mean() -> None:
    """∫ P(R > t) dt = mean response, where buffers do not bind."""
    state = qt.solve(qt.Engine([disk(0.5, 200, device=ONE)] * 4, queue_length=4, hold="ring"))
    (weight, law), *others = state._sojourns  # type: ignore[misc]
    assert weight == 1.0
    assert not others
    for quantity, mean in (("wait", state.mean_wait), ("response", state.mean_response)):
        area, _ = quad(lambda t, q=quantity: law.sf(q, t), 0.0, 200.0, limit=200)
        assert area == pytest.approx(mean, rel=1e-4)


def test_rounds_that_go_astray_are_refused() -> None:
    """Found by the atlas: the throughput of saturated disks of lognormal service fell to 8 % of what it is."""
    law = qt.Lognormal(mean=1.0, scv=1.03)
    disks = [qt.Disk(qt.Closed(k), buffer=k, device=qt.Device(1, law)) for k in (114, 88, 68, 52) * 12][:47]
    engine = qt.Engine(disks, queue_length=68, hold="ring")
    with pytest.raises(ValueError, match="slots end behind one disk"):
        qt.solve(engine)


def test_unmeasured_engines_say_so() -> None:
    engine = qt.Engine([disk(0.5, 8, device=CURVE), closed(3, 2.0, device=ONE)], queue_length=2, hold="ring")
    state = qt.solve(engine, "delay_line")
    assert state.error_bound == np.inf
    assert any("was measured here" in warning for warning in state.warnings)
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


def test_a_line_that_is_never_reached() -> None:
    # The probability that all slots are taken is below the least number: it was divided by.
    disk = qt.Disk(qt.Closed(64, think_time=300.0), 64, device=qt.Device(5, qt.Deterministic(1.0)))
    behind = qt.solve(qt.Engine([disk] * 8, queue_length=400), "delay_line")
    alone = qt.solve(qt.Engine([disk] * 8))
    assert behind.in_system_pmf[400:].sum() == 0.0
    assert behind.throughput == pytest.approx(alone.throughput, rel=1e-6)
    assert behind.response_quantile(0.5) == pytest.approx(alone.response_quantile(0.5), rel=0.25)
