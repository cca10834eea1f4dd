"""Bursty arrivals at a shared device: against every state written out, GI/M/1, Poisson, and laws that hold exactly."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

import qtheory as qt
from qtheory.solve import markovian_arrivals
from qtheory.solve.bursty_disks import Split
from qtheory.solve.markovian_arrivals import MEASURED, BurstyChain, bursts_of
from qtheory.solve.steady_state import QUANTITIES

EXPONENTIAL = qt.Exponential(mean=1.0)
H2 = qt.Hyperexponential.balanced(mean=1.0, scv=4.0)
E2 = qt.Erlang(phases=2, mean=1.0)
BURSTS = qt.IPP(rate=5.0, on=1.0, off=3.0)
TWO_RATES = qt.mmpp2(rates=(3.0, 0.5), stays=(2.0, 4.0))
DISK_QUANTITIES = ("throughput", "blocking", "mean_wait", "mean_response", "mean_in_system")

EXACT = {
    "one disk": qt.Engine([qt.Disk(BURSTS, buffer=6)], qt.Device(2, H2)),
    "short queue": qt.Engine([qt.Disk(BURSTS, buffer=6)], qt.Device(3, H2), 2, "ring"),
    "refused at Q": qt.Engine([qt.Disk(TWO_RATES, buffer=6)], qt.Device(2, E2), 4, "refuse"),
    "part of a process": qt.Engine([qt.Disk(qt.Marked(BURSTS, 0.3), buffer=5)], qt.Device(1, EXPONENTIAL)),
    "arrivals in every move": qt.Engine(
        [qt.Disk(qt.MAP([[-3.0, 1.0], [0.5, -1.0]], [[0.5, 1.5], [0.1, 0.4]]), buffer=5)], qt.Device(2, H2)
    ),
}


@pytest.mark.parametrize("name", EXACT)
def test_one_disk_is_exact(name):
    engine = EXACT[name]
    found, expected = qt.solve(engine), qt.solve(engine, "joint_chain")
    assert (found.method, found.exact) == ("markovian_arrivals", True)
    for quantity in QUANTITIES:
        assert getattr(found, quantity) == pytest.approx(getattr(expected, quantity), rel=1e-11), quantity
    assert found.in_system_pmf == pytest.approx(expected.in_system_pmf[: len(found.in_system_pmf)], abs=1e-12)
    for quantity in DISK_QUANTITIES:
        assert getattr(found.disks[0], quantity) == pytest.approx(getattr(expected.disks[0], quantity), rel=1e-11)
    assert found.disks[0].pmf == pytest.approx(expected.disks[0].pmf, abs=1e-12)


def test_renewal_arrivals_at_one_server():
    """GI/M/1: an arrival waits with probability σ = E e^{−μ(1−σ)A}, then for an exponential time of rate μ(1 − σ)."""
    bursts = qt.IPP(rate=4.0, on=2.0, off=6.0)
    gaps = bursts.interarrival
    sigma = brentq(lambda s: s - gaps.lst(1.0 / 0.6 * (1.0 - s)), 0.0, 1.0 - 1e-6, xtol=1e-15)
    s = qt.solve(qt.Engine([qt.Disk(bursts, buffer=2000)], qt.Device(1, qt.Exponential(mean=0.6))))
    assert s.exact
    assert s.mean_wait == pytest.approx(0.6 * sigma / (1.0 - sigma), rel=1e-9)
    assert s.wait_quantile(0.99) == pytest.approx(0.6 * math.log(sigma / 0.01) / (1.0 - sigma), rel=1e-9)
    assert s.response_quantile(0.99) == pytest.approx(0.6 * math.log(100.0) / (1.0 - sigma), rel=1e-9)
    assert s.in_system_pmf[0] == pytest.approx(1.0 - bursts.rate * 0.6, rel=1e-9)


CALM = qt.mmpp2(rates=(2.0, 2.0), stays=(1.0, 3.0))


@pytest.mark.parametrize("law", [EXPONENTIAL, H2, E2], ids=["M", "H2", "E2"])
def test_bursts_that_are_none(law):
    """Two phases of the same rate are a Poisson process, dealt out or alone."""
    poisson = qt.Engine([qt.Disk(qt.Poisson(0.6), buffer=4)] * 3, qt.Device(2, law))
    expected = qt.solve(poisson, "phase_type")
    dealt = qt.Engine([qt.Disk(qt.Marked(CALM, 0.3), buffer=4)] * 3, poisson.device)
    alone = qt.Engine([qt.Disk(CALM.thinned(0.3), buffer=4)] * 3, poisson.device)
    # Matching moves the split of a law that is not exponential, towards the truth or not.
    for engine, near in ((dealt, 1e-12), (alone, 1e-9 if law is EXPONENTIAL else 0.02)):
        found = qt.solve(engine, "markovian_arrivals")
        for quantity in QUANTITIES:
            assert getattr(found, quantity) == pytest.approx(getattr(expected, quantity), rel=near), quantity
        assert found.wait_quantile(0.9) == pytest.approx(expected.wait_quantile(0.9), rel=max(near, 1e-10))


TWO = qt.Device(2, EXPONENTIAL)
NEAR = {
    "together": qt.Engine([qt.Disk(qt.Marked(BURSTS, p), k) for p, k in ((0.5, 3), (0.25, 2))], qt.Device(2, E2)),
    "apart, long bursts": qt.Engine([qt.Disk(qt.IPP(3.0, 40.0, 80.0), buffer=5)] * 2, TWO),
    "beside Poisson": qt.Engine([qt.Disk(BURSTS, buffer=4), qt.Disk(qt.Poisson(1.0), buffer=4)], TWO),
    "beside a closed guest": qt.Engine([qt.Disk(BURSTS, buffer=4), qt.Disk(qt.Closed(3, 1.0), buffer=4)], TWO),
    "beside a saturated guest": qt.Engine([qt.Disk(BURSTS, buffer=4), qt.Disk(qt.Closed(3, 0.0), buffer=4)], TWO),
}


@pytest.mark.parametrize("name", NEAR)
def test_several_disks_are_near_the_chain_of_all_states(name):
    engine = NEAR[name]
    found, expected = qt.solve(engine, "markovian_arrivals"), qt.solve(engine, "joint_chain")
    bounds = MEASURED[bursts_of(engine)] | {"mean_guest_wait": 0.0}
    assert not found.exact
    for quantity in QUANTITIES:
        assert getattr(found, quantity) == pytest.approx(getattr(expected, quantity), rel=bounds[quantity]), quantity
    for a, b in zip(found.disks, expected.disks, strict=True):
        assert a.mean_wait == pytest.approx(b.mean_wait, rel=bounds["disks.mean_wait"])
        assert a.blocking == pytest.approx(b.blocking, rel=bounds["disks.blocking"])


def test_auto_takes_it_and_other_methods_name_the_bursts():
    engine = qt.Engine([qt.Disk(BURSTS, buffer=200)] * 3, qt.Device(2, qt.Lognormal(mean=0.3, scv=2.0)))
    assert qt.solve(engine).method == "fitted_service"
    for method in ("product_form", "phase_type", "separate_devices", "delay_line"):
        with pytest.raises(ValueError, match=r"arrivals of disks\[0\] are not Poisson|device"):
            qt.solve(engine, method)
    with pytest.raises(ValueError, match="no disk has a Markovian arrival process"):
        qt.solve(qt.Engine([qt.Disk(qt.Poisson(1.0))], qt.Device(1, EXPONENTIAL)), "markovian_arrivals")


def test_too_many_phases_are_refused_by_number():
    unlike = [qt.Disk(qt.IPP(rate=5.0 + i, on=1.0, off=3.0), buffer=8) for i in range(13)]
    with pytest.raises(ValueError, match="8192 phases of arrivals times 1 of the servers are more than 3000 states"):
        qt.solve(qt.Engine(unlike, qt.Device(4, EXPONENTIAL)), "markovian_arrivals")
    overloaded = qt.Device(30, qt.Erlang(phases=3, mean=3000.0))
    long = qt.Engine([qt.Disk(qt.Marked(BURSTS, 0.01), buffer=1000)] * 64, overloaded)
    with pytest.raises(ValueError, match=r"markovian_arrivals: \d+ totals of 992 phases of arrivals and servers"):
        qt.solve(long, "markovian_arrivals")


def test_equal_disks_are_counted_by_phase():
    engine = qt.Engine([qt.Disk(BURSTS.scaled(30.0), buffer=3)] * 30, qt.Device(1, qt.Exponential(mean=0.75)))
    s = qt.solve(engine, "markovian_arrivals")
    run = qt.simulate(engine, 600_000, seed=4)
    # the matched split misses blocking by up to MEASURED["apart"]
    assert s.blocking == pytest.approx(run.blocking.value, rel=MEASURED["apart"]["blocking"])
    assert s.throughput == pytest.approx(run.throughput.value, rel=MEASURED["apart"]["throughput"])


def test_the_matched_split_has_the_laws_of_the_disks_own_chains():
    engine = qt.Engine([qt.Disk(BURSTS, 4), qt.Disk(TWO_RATES, 3), qt.Disk(qt.Poisson(0.5), 2)], TWO)
    chain = BurstyChain.of(engine)
    again = chain.matched()
    for disk, weights in chain.split.weights.items():
        # a factor x^k common to all weights changes nothing
        ratio = again.split.weights[disk].series / weights.series
        assert ratio == pytest.approx(ratio[0], rel=1e-4)
        assert again.split.weights[disk].given == pytest.approx(weights.given, abs=1e-4)
    # where a disk's buffer is full, its burst is more likely to last than at other times
    assert chain.split.weights[engine.disks[0]].given[4, 0] > 2.0 * BURSTS.phases[0]


def test_a_split_without_bursts_is_the_product_form():
    disks = (qt.Disk(qt.Poisson(1.0), 3), qt.Disk(qt.Poisson(2.0), 2))
    welcome = Split.of(disks, 5, together=False).welcome(disks[0])[0]
    counts = [(a, n - a) for n in (3,) for a in range(4) if n - a <= 2]
    weight = {(a, b): 1.0**a / math.factorial(a) * 2.0**b / math.factorial(b) for a, b in counts}
    assert welcome[3] == pytest.approx(1.0 - weight[3, 0] / sum(weight.values()), rel=1e-14)
    assert welcome[[0, 5]].tolist() == [1.0, 0.0]


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["own", "common", "poisson", "closed"]), st.integers(1, 6)), max_size=4),
    st.integers(1, 4),
    st.floats(0.2, 3.0),
    st.sampled_from([EXPONENTIAL, H2, E2]),
)
def test_flow_is_conserved_and_littles_law_holds(members, servers, length, law):
    common = BURSTS.scaled(length)
    make = {
        "own": lambda: TWO_RATES.scaled(length),
        "common": lambda: qt.Marked(common, 0.25),
        "poisson": lambda: qt.Poisson(0.7),
        "closed": lambda: qt.Closed(1, 1.5),
    }
    disks = [qt.Disk(make["own"](), buffer=5), *(qt.Disk(make[kind](), buffer=buffer) for kind, buffer in members)]
    engine = qt.Engine(disks, qt.Device(servers, law))
    s = markovian_arrivals.solve(engine)  # also what `qt.solve` refuses
    assert sum(s.in_system_pmf) == pytest.approx(1.0, rel=1e-12)
    assert sum(d.throughput for d in s.disks) == pytest.approx(s.throughput, rel=1e-10)
    assert s.mean_in_system == pytest.approx(s.throughput * s.mean_response, rel=1e-10)
    assert sum(d.throughput * d.mean_wait for d in s.disks) == pytest.approx(s.throughput * s.mean_wait, rel=1e-8)
    assert s.utilization * servers == pytest.approx(s.throughput * law.mean, rel=1e-10)
    for disk, state in zip(disks, s.disks, strict=True):
        if not isinstance(disk.arrivals, qt.Closed):
            assert state.throughput == pytest.approx(disk.arrivals.rate * (1.0 - state.blocking), rel=1e-9)
        assert state.pmf.sum() == pytest.approx(1.0, rel=1e-9)
        assert 0.0 <= state.blocking < 1.0
        assert state.mean_wait >= 0.0


@pytest.mark.parametrize("law", [EXPONENTIAL, H2])
def test_more_room_blocks_less_and_longer_bursts_more(law):
    def blocking(buffer, length):
        bursts = qt.IPP(rate=5.0, on=length, off=3.0 * length)
        return qt.solve(qt.Engine([qt.Disk(bursts, buffer=buffer)], qt.Device(2, law))).blocking

    assert all(a > b for a, b in pairwise(blocking(k, 1.0) for k in (2, 4, 8, 16)))
    assert all(a < b for a, b in pairwise(blocking(8, length) for length in (0.1, 1.0, 10.0, 100.0)))


def test_drain_of_one_bursty_disk_by_its_population():
    """The stop finds n present; exponential service empties n from c servers in Σ 1/μ(j) on average."""
    engine = qt.Engine([qt.Disk(BURSTS, buffer=40)], qt.Device(3, EXPONENTIAL), 5, "ring")
    drain, state = qt.drain_time(engine), qt.solve(engine)
    waits_for = np.minimum(np.arange(len(state.in_system_pmf)), 5)
    steps = np.concatenate([[0.0], np.cumsum(1.0 / np.minimum(np.arange(1, 6), 3))])
    assert drain.exact
    assert drain.mean == pytest.approx(float(state.in_system_pmf @ steps[waits_for]), rel=1e-10)
    run = qt.simulate(engine, 400_000, seed=2)
    assert run.drain.mean.covers(drain.mean, half_widths=2)
    assert run.drain.quantile(0.9).covers(drain.quantile(0.9), half_widths=2)


def test_kinds_of_bursts():
    alone, dealt = qt.Disk(BURSTS, 4), qt.Disk(qt.Marked(BURSTS, 0.5), 4)
    device = qt.Device(1, EXPONENTIAL)
    assert bursts_of(qt.Engine([dealt, dealt], device)) == "together"
    assert bursts_of(qt.Engine([alone], device)) == "together"
    assert bursts_of(qt.Engine([alone, alone], device)) == "apart"
    assert bursts_of(qt.Engine([dealt, qt.Disk(qt.Poisson(1.0), 4)], device)) == "apart"
