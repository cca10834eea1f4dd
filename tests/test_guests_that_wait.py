"""Guests that wait for room: exact where it is exact, Little's law in each part, limits, refusals."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qtheory as qt

EXPONENTIAL = qt.Exponential(mean=1.0)
H2 = qt.Hyperexponential.balanced(mean=1.0, scv=4.0)
E2 = qt.Erlang(phases=2, mean=1.0)


def waits(rate, buffer):
    return qt.Disk(qt.Poisson(rate), buffer=buffer, full="wait")


def engine(disks, servers, law=EXPONENTIAL, **options):
    return qt.Engine(disks, qt.Device(servers, law), **options)


def test_one_disk_is_mmc_whatever_its_buffer():
    rate, servers = 1.4, 2
    expected = qt.stations.mmc(arrival_rate=rate, service_rate=1.0, servers=servers)
    for buffer in (2, 5, 40):
        s = qt.solve(engine([waits(rate, buffer)], servers))
        assert s.method == "guests_that_wait"
        assert s.exact
        assert s.mean_wait + s.mean_guest_wait == pytest.approx(expected.mean_wait, rel=1e-10)
        # M/M/2: P(N >= k) = P(N >= 2) (rate/2)^(k − 2); mean number beyond the buffer is the sum of that
        there = qt.stations.erlang_c(servers=2, load=rate) * (rate / 2) ** (buffer - 2)
        assert s.disks[0].pmf[-1] == pytest.approx(there, rel=1e-9)
        assert s.mean_guest_wait * rate == pytest.approx(there * (rate / 2) / (1 - rate / 2), rel=1e-9)


def test_one_disk_shorter_than_the_servers_has_as_many_as_it_fills():
    s = qt.solve(engine([waits(1.4, 2)], 8))
    expected = qt.solve(engine([waits(1.4, 2)], 2))
    assert s.mean_guest_wait == pytest.approx(expected.mean_guest_wait, rel=1e-12)
    assert s.mean_wait == pytest.approx(0.0, abs=1e-12)
    assert s.utilization == pytest.approx(expected.utilization / 4)


def test_disks_that_cannot_fill_the_servers_are_by_themselves():
    s = qt.solve(engine([waits(0.8, 1), waits(1.2, 2), qt.Disk(qt.Poisson(1.0), buffer=1)], 4))
    assert s.exact
    assert s.mean_wait == 0.0
    assert s.disks[0].mean_guest_wait == pytest.approx(0.8 / 0.2)  # M/M/1
    assert s.disks[2].blocking == pytest.approx(0.5)  # M/M/1/1
    assert s.in_system_pmf.sum() == pytest.approx(1.0)
    assert s.response_quantile(0.5) == pytest.approx(math.log(2.0))


def test_two_disks_of_one_request_at_one_server_are_exact():
    for rates in ((0.25, 0.25), (0.15, 0.45)):
        both = engine([waits(rate, 1) for rate in rates], 1)
        s, expected = qt.solve(both, "guests_that_wait"), qt.solve(both, "joint_chain")
        assert expected.error_bound < 1e-7
        for name in ("throughput", "mean_wait", "mean_guest_wait", "mean_in_system"):
            assert getattr(s, name) == pytest.approx(getattr(expected, name), rel=2e-5), name
        for a, b in zip(s.disks, expected.disks, strict=True):
            assert a.pmf == pytest.approx(b.pmf, abs=1e-5)
            assert a.mean_guest_wait == pytest.approx(b.mean_guest_wait, rel=5e-5)


SMALL = {
    "equal": ([waits(0.3, 2)] * 2, 1, EXPONENTIAL, 0.005, 0.005),
    "phases": ([waits(0.6, 2)] * 2, 2, E2, 0.01, 0.01),
    "closed": ([qt.Disk(qt.Closed(4, 2.0), buffer=2)] * 2, 2, H2, 0.015, 0.015),
    "mixed": ([waits(0.3, 1), qt.Disk(qt.Poisson(0.5), buffer=2)], 1, EXPONENTIAL, 0.015, 0.04),
}


@pytest.mark.parametrize("name", SMALL)
def test_small_engines_against_all_their_states(name):
    disks, servers, law, wait, guest = SMALL[name]
    s, expected = (qt.solve(engine(disks, servers, law), m) for m in ("guests_that_wait", "joint_chain"))
    assert not s.exact
    assert s.mean_wait == pytest.approx(expected.mean_wait, rel=wait)
    assert s.mean_guest_wait == pytest.approx(expected.mean_guest_wait, rel=guest)
    assert s.throughput == pytest.approx(expected.throughput, rel=0.005)


def test_the_chain_of_all_states_is_cut_where_it_says():
    one = engine([waits(1.2, 3)], 2, H2)
    found, expected = qt.solve(one, "joint_chain"), qt.solve(one)
    assert expected.exact
    assert found.error_bound < 1e-6
    for name in ("mean_wait", "mean_guest_wait", "mean_in_system", "mean_in_flight"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-9 + 3 * found.error_bound), name


@pytest.mark.parametrize(
    "case",
    [
        engine([waits(0.4, 2)] * 4, 2),
        engine([waits(0.4, 3), waits(0.8, 2), waits(0.3, 4)], 2),
        engine([waits(0.3, 2)] * 3, 4, qt.Exponential(mean=1.5), queue_length=2, hold="ring"),
    ],
    ids=["equal", "different", "Q below c"],
)
def test_simulation_agrees(case):
    s, run = qt.solve(case), qt.simulate(case, 400_000, seed=7)
    for name in ("throughput", "mean_wait", "mean_guest_wait", "mean_in_system", "mean_in_flight", "utilization"):
        value, truth = getattr(s, name), getattr(run, name)
        assert abs(value - truth.value) <= 2.0 * truth.half_width + 0.02 * truth.value, name
    for p in (0.5, 0.99):
        truth = run.response_quantile(p)
        assert abs(s.response_quantile(p) - truth.value) <= 2.0 * truth.half_width + 0.02 * truth.value


disks = st.lists(st.tuples(st.floats(0.2, 1.0), st.integers(1, 5), st.booleans()), min_size=1, max_size=4)


@settings(max_examples=15, deadline=None)
@given(disks, st.integers(1, 3), st.floats(0.2, 0.8))
def test_littles_law_in_each_part(drawn, servers, rho):
    unit = rho * servers / sum(rate for rate, _, _ in drawn)
    members = [
        waits(unit * rate, max(buffer, servers)) if wait or i == 0 else qt.Disk(qt.Poisson(unit * rate), buffer=buffer)
        for i, (rate, buffer, wait) in enumerate(drawn)
    ]
    s = qt.solve(engine(members, servers), "guests_that_wait")
    assert s.mean_in_system == pytest.approx(s.throughput * s.mean_response, rel=1e-9)
    assert s.mean_in_system == pytest.approx(float(s.in_system_pmf @ np.arange(len(s.in_system_pmf))), rel=1e-6)
    assert s.mean_response == pytest.approx(s.mean_wait + 1.0, rel=1e-3)
    assert s.mean_guest_wait >= 0.0
    assert s.throughput == pytest.approx(sum(disk.throughput for disk in s.disks), rel=1e-9)
    for disk, member in zip(s.disks, members, strict=True):
        assert disk.pmf.sum() == pytest.approx(1.0)
        assert disk.mean_in_system == pytest.approx(disk.throughput * disk.mean_response)
        if member.full == "wait":
            assert disk.blocking == 0.0
            assert disk.throughput == member.arrivals.rate
    if all(member.full == "wait" for member in members):
        whole = qt.solve(engine([waits(sum(m.arrivals.rate for m in members), 400)], servers))
        assert s.mean_wait + s.mean_guest_wait == pytest.approx(whole.mean_wait + whole.mean_guest_wait, rel=1e-4)


def test_much_room_is_as_if_requests_were_lost():
    s = qt.solve(engine([waits(0.05, 1024)] * 1000, 64))
    assert s.mean_guest_wait == 0.0
    lost = qt.solve(engine([qt.Disk(qt.Poisson(1.6), buffer=256)] * 4, 8))
    s = qt.solve(engine([waits(1.6, 256)] * 4, 8))
    assert s.mean_wait == pytest.approx(lost.mean_wait, rel=1e-10)
    assert s.mean_guest_wait == 0.0


def test_saturated_guests_wait_for_what_is_beyond_their_buffer():
    disk = qt.Disk(qt.Closed(outstanding=7, think_time=0.0), buffer=2)
    case = engine([disk] * 2, 1)
    s, run = qt.solve(case), qt.simulate(case, 20_000, seed=1)
    assert s.mean_guest_wait == pytest.approx(10.0 / s.throughput)
    assert run.mean_guest_wait.covers(s.mean_guest_wait, half_widths=2)


def test_waiting_without_end_is_refused():
    with pytest.raises(ValueError, match=r"disks\[1\] must not wait for room without end: .*utilization of 1.2 >= 1"):
        qt.solve(engine([waits(0.6, 2)] * 2, 1))
    with pytest.raises(ValueError, match=r"disks\[0\] must not .* of what its buffer 1 allows"):
        qt.solve(engine([waits(1.5, 1), waits(0.1, 4)], 4))
    with pytest.raises(ValueError, match="no guest waits for room in its buffer"):
        qt.solve(engine([qt.Disk(qt.Poisson(0.5), buffer=1)], 1), "guests_that_wait")
    with pytest.raises(ValueError, match=r"disks\[0\] has a buffer of less than the 4 servers"):
        qt.solve(engine([waits(0.5, 2)] * 4, 4, H2), "guests_that_wait")
