"""Disks that share nothing, with any service and arrivals: against the exact methods, all states, and the simulator."""

import pytest

import qtheory as qt
from qtheory.solve.disk_by_disk import TOGETHER
from qtheory.solve.steady_state import QUANTITIES

H2 = qt.Hyperexponential.balanced(mean=1.0, scv=4.0)
E2 = qt.Erlang(phases=2, mean=0.5)
BURSTS = qt.IPP(rate=5.0, on=1.0, off=3.0)
DISK_QUANTITIES = ("throughput", "blocking", "mean_wait", "mean_response", "mean_in_system")


def own(service, servers=1):
    return qt.Device(servers, service)


def exponential(hold="engine"):
    one, two = own(qt.Exponential(mean=1.0), 2), own(qt.Exponential(mean=0.5))
    disks = [qt.Disk(qt.Poisson(1.5), 5, device=one), qt.Disk(qt.Closed(4, 1.0), 4, device=two)]
    return qt.Engine([*disks, disks[0]], hold=hold)


ENGINES = {
    "exponential": exponential(),
    "a cap each": qt.Engine(
        [qt.Disk(qt.Poisson(1.0), 4), qt.Disk(qt.Poisson(2.0), 6)], own(qt.Exponential(mean=1.0), 5), 5, "ring", (2, 3)
    ),
}


@pytest.mark.parametrize("name", ENGINES)
def test_it_agrees_with_separate_devices(name):
    engine = ENGINES[name]
    found, expected = qt.solve(engine, "disk_by_disk"), qt.solve(engine)
    assert expected.method == "separate_devices"
    assert found.exact
    for quantity in QUANTITIES:
        assert getattr(found, quantity) == pytest.approx(getattr(expected, quantity), rel=1e-12), quantity
    assert found.in_system_pmf == pytest.approx(expected.in_system_pmf, abs=1e-14)
    assert found.wait_quantile(0.95) == pytest.approx(expected.wait_quantile(0.95), rel=1e-9)
    assert found.response_quantile(0.95) == pytest.approx(expected.response_quantile(0.95), rel=1e-9)


def test_any_service_and_bursts_against_all_states():
    disks = [qt.Disk(BURSTS, 4, device=own(H2, 2)), qt.Disk(qt.Poisson(1.0), 3, device=own(E2))]
    engine = qt.Engine(disks)
    found, expected = qt.solve(engine), qt.solve(engine, "joint_chain")
    assert (found.method, found.exact) == ("disk_by_disk", True)
    for quantity in QUANTITIES:
        assert getattr(found, quantity) == pytest.approx(getattr(expected, quantity), rel=1e-9), quantity
    for a, b in zip(found.disks, expected.disks, strict=True):
        for quantity in DISK_QUANTITIES:
            assert getattr(a, quantity) == pytest.approx(getattr(b, quantity), rel=1e-9), quantity
    assert found.in_system_pmf == pytest.approx(expected.in_system_pmf, abs=1e-10)


def test_a_large_engine_against_the_simulator():
    device = own(H2, 4)
    engine = qt.Engine([qt.Disk(qt.Poisson(3.2), 64, device=device)] * 8)
    s, run = qt.solve(engine), qt.simulate(engine, 1_500_000, seed=3)
    assert s.method == "disk_by_disk"
    assert s.exact
    assert run.mean_wait.covers(s.mean_wait, half_widths=2)
    assert run.wait_quantile(0.99).covers(s.wait_quantile(0.99), half_widths=2)
    drain = qt.drain_time(engine)
    assert (drain.method, drain.exact) == ("disk_by_disk", True)
    assert run.drain.mean.covers(drain.mean, half_widths=2)
    assert run.drain.quantile(0.99).covers(drain.quantile(0.99), half_widths=2)


def test_drain_is_the_slowest_disks():
    engine = exponential()
    from qtheory.drain import disk_by_disk

    found, expected = disk_by_disk.drain(engine, None), qt.drain_time(engine)
    assert found.mean == pytest.approx(expected.mean, rel=1e-9)
    assert found.variance == pytest.approx(expected.variance, rel=1e-7)
    assert found.quantile(0.99) == pytest.approx(expected.quantile(0.99), rel=1e-9)
    given = disk_by_disk.drain(engine, (3, 2, 0))
    assert given.mean == pytest.approx(qt.drain_time(engine, population=(3, 2, 0)).mean, rel=1e-9)


def test_disks_that_burst_together_on_their_own_devices():
    engine = qt.Engine([qt.Disk(qt.Marked(BURSTS, 0.5), 6, device=own(E2))] * 2)
    s, run = qt.solve(engine), qt.simulate(engine, 600_000, seed=7)
    assert not s.exact
    assert TOGETHER in s.warnings
    assert run.mean_wait.covers(s.mean_wait, half_widths=2)
    assert run.blocking.covers(s.blocking, half_widths=2)
    assert any("burst together" in w for w in qt.drain_time(engine).warnings)


def test_what_ties_the_disks_is_named():
    disks = [qt.Disk(BURSTS, 4, device=own(H2)), qt.Disk(qt.Poisson(1.0), 3, device=own(H2))]
    with pytest.raises(ValueError, match="disk_by_disk: requests are refused at Q"):
        qt.solve(qt.Engine(disks, None, 4, "refuse"), "disk_by_disk")
    with pytest.raises(ValueError, match="disk_by_disk: the disks can use 7 slots together and wait for the 4"):
        qt.solve(qt.Engine(disks, None, 4), "disk_by_disk")
    with pytest.raises(ValueError, match=r"disk_by_disk: disks\[0\]: engine cannot be solved"):
        qt.solve(qt.Engine([qt.Disk(BURSTS, 4, device=qt.Device(curve=(1.0, 2.0)))] * 2), "disk_by_disk")
