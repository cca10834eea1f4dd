"""The chain of all states equals every exact method where they overlap, and the simulator where nothing else is."""

import pytest
from generator import brute_force

import qtheory as qt
from qtheory.solve.steady_state import QUANTITIES

EXPONENTIAL = qt.Exponential(mean=1.0)
H2 = qt.Hyperexponential.balanced(mean=1.0, scv=4.0)
E2 = qt.Erlang(phases=2, mean=1.0)


def disk(rate, buffer, device=None):
    return qt.Disk(qt.Poisson(rate), buffer=buffer, device=device)


def own(rate):
    return qt.Device(servers=1, service=qt.Exponential(mean=1 / rate))


EXACT = {
    "open": qt.Engine([disk(1.0, 3), disk(2.0, 2), disk(0.5, 1)], qt.Device(2, EXPONENTIAL)),
    "refuse": qt.Engine([disk(1.0, 3), disk(2.0, 3)], qt.Device(2, EXPONENTIAL), 4, "refuse"),
    "short queue": qt.Engine([disk(1.0, 3), disk(2.0, 3)], qt.Device(3, EXPONENTIAL), 2, "ring"),
    "closed": qt.Engine([qt.Disk(qt.Closed(3, 0.7)), disk(0.5, 2)], qt.Device(2, EXPONENTIAL)),
    "saturated": qt.Engine([qt.Disk(qt.Closed(3, 0.0)), qt.Disk(qt.Closed(2, 1.0))], qt.Device(2, EXPONENTIAL), 3),
    "own devices": qt.Engine([disk(1.0, 3, own(1.0)), disk(0.6, 4, own(0.5))], None, 4, "ring", (2, 2)),
    "saturated line": qt.Engine([qt.Disk(qt.Closed(3, 0.0), device=own(r)) for r in (1.0, 2.0)], None, 3),
    "one disk, H2": qt.Engine([disk(2.0, 12)], qt.Device(3, H2)),
    "one disk, E2, Q": qt.Engine([disk(2.0, 12)], qt.Device(3, E2), 2),
    "saturated, H2": qt.Engine([qt.Disk(qt.Closed(3, 0.0))] * 2, qt.Device(2, H2)),
}


@pytest.mark.parametrize("name", EXACT)
def test_it_agrees_with_the_exact_methods(name):
    engine = EXACT[name]
    found, expected = qt.solve(engine, "joint_chain"), qt.solve(engine)
    assert expected.exact
    assert expected.method != "joint_chain"
    for quantity in QUANTITIES:
        assert getattr(found, quantity) == pytest.approx(getattr(expected, quantity), rel=1e-10, abs=1e-12), quantity
    assert found.in_system_pmf[: len(expected.in_system_pmf)] == pytest.approx(expected.in_system_pmf, abs=1e-11)
    for a, b in zip(found.disks, expected.disks, strict=True):
        for quantity in ("throughput", "blocking", "mean_wait", "mean_response", "mean_in_system"):
            assert getattr(a, quantity) == pytest.approx(getattr(b, quantity), rel=1e-10, abs=1e-12), quantity
        assert a.pmf == pytest.approx(b.pmf, abs=1e-11)
    if expected.method != "saturated_line":  # whose quantiles are approximate
        for p in (0.4, 0.9, 0.999):
            assert found.wait_quantile(p) == pytest.approx(expected.wait_quantile(p), rel=1e-8, abs=1e-12), p
            assert found.response_quantile(p) == pytest.approx(expected.response_quantile(p), rel=1e-8), p


def test_a_closed_guest_is_refused_at_its_cap():
    engine = qt.Engine([disk(1.5, 3), qt.Disk(qt.Closed(3, 0.5))], qt.Device(2, EXPONENTIAL), 3, "refuse", (1, 2))
    found, expected = qt.solve(engine), brute_force(engine)
    assert found.method == "joint_chain"
    for quantity in ("throughput", "blocking", "mean_wait", "mean_response", "mean_in_system", "mean_in_flight"):
        assert getattr(found, quantity) == pytest.approx(getattr(expected, quantity), rel=1e-9, abs=1e-13), quantity


def test_a_guest_waits_only_at_its_full_buffer():
    guest = qt.Disk(qt.Closed(5, 1.0), buffer=4)
    engine = qt.Engine([guest, disk(1.0, 5)], qt.Device(2, qt.Erlang(3, mean=0.7)), 8, "refuse")
    found, run = qt.solve(engine), qt.simulate(engine, requests=400_000, seed=1)
    assert found.method == "joint_chain"
    for quantity in ("throughput", "mean_wait", "mean_response", "mean_in_system", "mean_guest_wait"):
        assert getattr(run, quantity).covers(getattr(found, quantity), half_widths=2), quantity


def test_a_queue_that_never_refuses_leaves_guests_waiting_without_end():
    waits = qt.Disk(qt.Poisson(3.0), buffer=3, full="wait")
    with pytest.raises(ValueError, match="utilization of 1 >= 1"):
        qt.solve(qt.Engine([waits], qt.Device(3, EXPONENTIAL), hold="refuse"))


BURSTS = qt.IPP(rate=5.0, on=1.0, off=3.0)
TWO_RATES = qt.mmpp2(rates=(3.0, 0.5), stays=(2.0, 4.0))
SHARED_BURSTS = [qt.Disk(qt.Marked(BURSTS, 0.5), 3), qt.Disk(qt.Marked(BURSTS, 0.25), 2)]

ALONE = {
    "a bursty disk": qt.Engine([qt.Disk(BURSTS, buffer=6)], qt.Device(2, EXPONENTIAL)),
    "disks that burst together": qt.Engine(SHARED_BURSTS, qt.Device(2, E2)),
    "disks that burst apart": qt.Engine([qt.Disk(BURSTS, 3), qt.Disk(TWO_RATES, 2), disk(0.3, 2)], qt.Device(1, H2)),
    "bursts that wait": qt.Engine([qt.Disk(TWO_RATES, 2, "wait"), disk(0.3, 2)], qt.Device(3, EXPONENTIAL)),
    "bursts refused at Q": qt.Engine([qt.Disk(BURSTS, 3), disk(0.5, 3)], qt.Device(2, H2), 4, "refuse"),
    "a guest that waits": qt.Engine([qt.Disk(qt.Closed(5, 1.0), buffer=2), disk(1.5, 2)], qt.Device(2, H2)),
    "caps on a shared device": qt.Engine([disk(1.5, 3), disk(0.5, 3)], qt.Device(2, H2), 2, "engine", (1, 2)),
    "one line for own devices": qt.Engine([disk(0.8, 3, qt.Device(1, E2)), disk(0.9, 3, own(1.0))], None, 2, "engine"),
    "refused at Q, H2": qt.Engine([disk(1.5, 3), disk(0.5, 3)], qt.Device(2, H2), 4, "refuse"),
}


@pytest.mark.parametrize("name", ALONE)
def test_it_agrees_with_the_simulator_where_nothing_else_does(name):
    engine = ALONE[name]
    found, run = qt.solve(engine, "joint_chain"), qt.simulate(engine, 400_000, seed=5)
    assert found.exact
    for quantity in ("throughput", "blocking", "mean_wait", "mean_response", "mean_in_system", "mean_in_flight"):
        estimate = getattr(run, quantity)
        assert estimate.covers(getattr(found, quantity), half_widths=3), (quantity, getattr(found, quantity), estimate)
    for a, b in zip(found.disks, run.disks, strict=True):
        for quantity in ("throughput", "blocking", "mean_wait"):
            assert getattr(b, quantity).covers(getattr(a, quantity), half_widths=3), quantity
    for p in (0.5, 0.99):
        assert run.wait_quantile(p).covers(found.wait_quantile(p), half_widths=3), p
        assert run.response_quantile(p).covers(found.response_quantile(p), half_widths=3), p
    # what is completed has been accepted, and what is present has arrived (Little)
    assert sum(d.throughput for d in found.disks) == pytest.approx(found.throughput, rel=1e-12)
    assert found.mean_in_system == pytest.approx(found.throughput * found.mean_response, rel=1e-12)


def test_what_it_cannot_do_is_named():
    long = qt.Engine([disk(1.0, 30)] * 3, qt.Device(2, EXPONENTIAL))
    with pytest.raises(ValueError, match="joint_chain: it has more than 20000 states"):
        qt.solve(long, "joint_chain")
    waits = qt.Engine([qt.Disk(qt.Poisson(1.0), buffer=2, full="wait")], qt.Device(2, EXPONENTIAL), 1, "refuse")
    with pytest.raises(ValueError, match=r"joint_chain: disks\[0\] makes its guest wait for room beside refusals"):
        qt.solve(waits, "joint_chain")
