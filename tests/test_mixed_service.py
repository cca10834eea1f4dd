"""Disks and operations of different service laws: the description, the simulator, the solver, drains."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

import qtheory as qt
from qtheory.solve.mixed_service import MEASURED, Mixed, kinds_of
from qtheory.solve.steady_state import QUANTITIES

READ, WRITE, FLUSH = qt.Lognormal(mean=1.0, scv=2.0), qt.Erlang(phases=2, mean=4.0), qt.Deterministic(10.0)
PER_OPERATION = qt.Device(2, {"read": READ, "write": WRITE, "flush": FLUSH})


def exponential(mean):
    return qt.Exponential(mean=mean)


def h2(mean, scv=4.0):
    return qt.Hyperexponential.balanced(mean=mean, scv=scv)


def engine_of(laws, buffers, servers, load, **rest):
    """A disk for each law, with equal shares of the load."""
    rates = [load * servers / len(laws) / law.mean for law in laws]
    disks = [qt.Disk(qt.Poisson(r), k, service=law) for r, k, law in zip(rates, buffers, laws, strict=True)]
    return qt.Engine(disks, qt.Device(servers, exponential(1.0)), **rest)


# The description


def test_laws_of_operations_and_of_disks():
    disks = [
        qt.Disk(qt.Poisson(1.0), operations={"write": 0.25, "read": 0.75}),
        qt.Disk(qt.Poisson(1.0), operations={"flush": 1.0}),
        qt.Disk(qt.Poisson(1.0), service=exponential(3.0)),
    ]
    engine = qt.Engine(disks, PER_OPERATION)
    assert engine.laws == (qt.Mixture([READ, WRITE], [0.75, 0.25]), FLUSH, exponential(3.0))
    assert engine.offered_load == pytest.approx(1.75 + 10.0 + 3.0)
    assert [device.capacity for device in engine.devices] == pytest.approx([2 / 1.75, 0.2, 2 / 3])
    assert not engine.one_law
    assert engine == qt.Engine(disks, qt.Device(2, {"flush": FLUSH, "write": WRITE, "read": READ}))
    assert len({engine, qt.Engine(disks, PER_OPERATION)}) == 1
    assert qt.Engine([disks[0]] * 3, PER_OPERATION).one_law


def test_nothing_changes_with_one_law():
    disk, device = qt.Disk(qt.Poisson(1.0), 4), qt.Device(2, exponential(1.0))
    plain = qt.Engine([disk] * 2, device)
    assert plain.devices == (device, device)
    assert plain.laws == (exponential(1.0),) * 2
    named = qt.Engine(
        [qt.Disk(qt.Poisson(1.0), 4, operations={"read": 1.0})] * 2, qt.Device(2, {"read": exponential(1.0)})
    )
    own = qt.Engine([qt.Disk(qt.Poisson(1.0), 4, service=exponential(1.0))] * 2, qt.Device(2, FLUSH))
    for other in (named, own):
        state = qt.solve(other)
        assert (state.method, state.exact) == ("product_form", True)
        assert state.mean_wait == qt.solve(plain).mean_wait
        assert qt.drain_time(other).mean == qt.drain_time(plain).mean


BAD = {
    "no shares": (
        lambda: qt.Engine([qt.Disk(qt.Poisson(1.0))], PER_OPERATION),
        "must have operations, a share of each",
    ),
    "no such operation": (
        lambda: qt.Engine([qt.Disk(qt.Poisson(1.0), operations={"trim": 1.0})], PER_OPERATION),
        r"operations of disks\[0\] must be one of 'flush', 'read', 'write', not 'trim'",
    ),
    "one law": (
        lambda: qt.Engine([qt.Disk(qt.Poisson(1.0), operations={"read": 1.0})], qt.Device(1, READ)),
        r"disks\[0\] must not have operations",
    ),
    "curve": (
        lambda: qt.Engine([qt.Disk(qt.Poisson(1.0), service=READ)], qt.Device(curve=(1.0,))),
        r"disks\[0\] must not have a service law of its own: its device is a rate curve",
    ),
    "shares": (lambda: qt.Disk(qt.Poisson(1.0), operations={"read": 0.5}), "operations must sum to 1, not 0.5"),
    "negative share": (lambda: qt.Disk(qt.Poisson(1.0), operations={"a": 1.5, "b": -0.5}), "must be a finite number"),
    "both": (lambda: qt.Disk(qt.Poisson(1.0), service=READ, operations={"read": 1.0}), "operations must be None where"),
    "empty": (lambda: qt.Device(1, {}), "service must have a law for at least one operation"),
    "rates": (lambda: PER_OPERATION.rates(2), "depend on the disk"),
    "capacity": (lambda: PER_OPERATION.capacity, "depend on the disk"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_descriptions_are_refused(name):
    make, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        make()


def test_a_law_must_be_one():
    with pytest.raises(TypeError, match=r"service\['read'\]"):
        qt.Device(1, {"read": 3.0})
    with pytest.raises(TypeError, match="service"):
        qt.Disk(qt.Poisson(1.0), service=3.0)


def test_the_operations_of_a_trace(tmp_path):
    trace = qt.bundled_trace()
    trace.write(tmp_path / "guest.csv")
    device = qt.Device(4, {op: exponential(1e-3) for op in ("read", "write", "flush", "discard", "other")})
    for found in (trace, qt.scan_trace(tmp_path / "guest.csv")):
        assert found.operations == trace.operations
        disks = [qt.Disk(qt.Poisson(r), operations=ops) for r, ops in zip(found.rates, found.operations, strict=True)]
        assert qt.Engine(disks, device).offered_load == pytest.approx(sum(trace.rates) * 1e-3)


# Other methods


def test_product_form_refuses_unlike_exponentials_at_one_station():
    engine = engine_of([exponential(1.0), exponential(2.0)], (3, 3), 2, 0.8)
    for method in ("product_form", "phase_type", "fitted_service"):
        with pytest.raises(ValueError, match="the disks have different service laws at one device"):
            qt.solve(engine, method)


def test_separate_devices_keep_each_disk_s_law():
    laws = [exponential(1.0), exponential(3.0)]
    given_ = [qt.Disk(qt.Poisson(0.6), 4, device=qt.Device(2, law)) for law in laws]
    device = qt.Device(2, dict(zip("ab", laws, strict=True)))
    asked = [qt.Disk(qt.Poisson(0.6), 4, device=device, operations={op: 1.0}) for op in "ab"]
    capped = qt.Engine(
        [qt.Disk(qt.Poisson(0.6), 4, operations={op: 1.0}) for op in "ab"],
        qt.Device(4, device.operations and dict(device.operations)),
        shares=(2, 2),
    )
    expected = qt.solve(qt.Engine(given_))
    for engine in (qt.Engine(asked), capped):
        state = qt.solve(engine)
        assert (state.method, state.exact) == ("separate_devices", True)
        assert [d.mean_wait for d in state.disks] == pytest.approx([d.mean_wait for d in expected.disks], rel=1e-12)
        assert state.response_quantile(0.99) == pytest.approx(expected.response_quantile(0.99), rel=1e-12)


# The simulator


def pollaczek_khinchine(rate, law):
    return rate * law.moment(2) / (2.0 * (1.0 - rate * law.mean))


def test_simulated_operations_wait_as_in_mg1():
    device = qt.Device(1, dict(PER_OPERATION.operations))
    disk = qt.Disk(qt.Poisson(0.2), 4000, operations={"read": 0.7, "write": 0.2, "flush": 0.1})
    engine = qt.Engine([disk], device)
    run = qt.simulate(engine, 400_000, seed=3)
    assert run.mean_wait.covers(pollaczek_khinchine(0.2, engine.laws[0]), half_widths=2)
    assert (run.mean_response.value - run.mean_wait.value) == pytest.approx(2.5, rel=0.02)


@pytest.mark.parametrize("kernel", ["fcfs", "events"])
def test_simulated_disks_keep_their_laws(kernel):
    laws = [READ, WRITE, qt.Mixture([READ, FLUSH], [0.9, 0.1])]
    disks = [qt.Disk(qt.Poisson(0.1), 4000, service=law) for law in laws]
    shares = "fifo" if kernel == "fcfs" else (4000,) * 3
    engine = qt.Engine(disks, qt.Device(1, exponential(1.0)), shares=shares)
    run = qt.simulate(engine, 300_000, seed=4)
    assert kernel in run.method or kernel == "events"
    expected = pollaczek_khinchine(0.3, qt.Mixture(laws, np.ones(3)))
    for disk, law in zip(run.disks, laws, strict=True):
        assert disk.mean_wait.covers(expected, half_widths=3)
        assert disk.mean_response.value - disk.mean_wait.value == pytest.approx(law.mean, rel=0.02)


# The chain of sides


def test_the_same_law_twice_is_the_product_form():
    # equal distributions, unequal objects; different buffers and rates
    twice = qt.Hyperexponential(probabilities=[0.5, 0.5], means=[1.0, 1.0])
    disks = [qt.Disk(qt.Poisson(1.0), 3, service=exponential(1.0)), qt.Disk(qt.Poisson(0.5), 6, service=twice)]
    for rest in ({}, {"queue_length": 4, "hold": "refuse"}, {"queue_length": 1, "hold": "ring"}):
        found = qt.solve(qt.Engine(disks, qt.Device(2, exponential(1.0)), **rest), "mixed_service")
        plain = [qt.Disk(disk.arrivals, disk.buffer) for disk in disks]
        exact = qt.solve(qt.Engine(plain, qt.Device(2, exponential(1.0)), **rest))
        assert exact.method == "product_form"
        for quantity in QUANTITIES:
            assert getattr(found, quantity) == pytest.approx(getattr(exact, quantity), rel=1e-6), quantity
        for a, b in zip(found.disks, exact.disks, strict=True):
            assert (a.blocking, a.mean_wait) == pytest.approx((b.blocking, b.mean_wait), rel=1e-6)
            assert a.pmf == pytest.approx(b.pmf, abs=1e-6)
        for p in (0.5, 0.9, 0.99):
            assert found.wait_quantile(p) == pytest.approx(exact.wait_quantile(p), rel=1e-5, abs=1e-9)
            assert found.response_quantile(p) == pytest.approx(exact.response_quantile(p), rel=1e-4)
        drain = qt.drain_time(qt.Engine(disks, qt.Device(2, exponential(1.0)), **rest))
        expected = qt.drain_time(qt.Engine(plain, qt.Device(2, exponential(1.0)), **rest))
        assert drain.method == "mixed_service"
        assert (drain.mean, drain.variance) == pytest.approx((expected.mean, expected.variance), rel=1e-5)
        assert drain.quantile(0.99) == pytest.approx(expected.quantile(0.99), rel=1e-5)


def test_with_unlimited_room_it_is_the_mixture():
    laws = [exponential(1.0), qt.Erlang(phases=3, mean=6.0)]
    engine = engine_of(laws, (200, 200), 1, 0.6)
    rates = [disk.arrivals.rate for disk in engine.disks]
    expected = pollaczek_khinchine(sum(rates), qt.Mixture(laws, rates))
    found = qt.solve(engine)
    assert found.method == "mixed_service"
    assert found.mean_wait == pytest.approx(expected, rel=1e-3)
    for disk in found.disks:
        assert disk.mean_wait == pytest.approx(expected, rel=2e-3)


SMALL = {
    "exponential, 3 times": engine_of([exponential(3.0), exponential(1.0)], (4, 4), 2, 0.9),
    "exponential, 100 times": engine_of([exponential(100.0), exponential(1.0)], (3, 5), 1, 1.2),
    "H2 and E2": engine_of([h2(10.0), qt.Erlang(phases=2, mean=1.0)], (4, 4), 2, 0.6),
    "three kinds": engine_of([exponential(1.0), exponential(3.0), exponential(10.0)], (3, 3, 3), 2, 0.9),
    "short queue": engine_of([exponential(1.0), exponential(5.0)], (4, 4), 3, 0.9, queue_length=2),
}


@pytest.mark.parametrize("name", SMALL)
def test_small_engines_against_all_states(name):
    found, exact = qt.solve(SMALL[name], "mixed_service"), qt.solve(SMALL[name], "joint_chain")
    assert exact.exact
    for quantity in QUANTITIES:
        assert getattr(found, quantity) == pytest.approx(getattr(exact, quantity), rel=0.02), quantity
    for a, b in zip(found.disks, exact.disks, strict=True):
        assert a.blocking == pytest.approx(b.blocking, rel=0.035, abs=1e-4)
        assert a.mean_wait == pytest.approx(b.mean_wait, rel=0.03)
        assert a.pmf == pytest.approx(b.pmf, abs=0.02)


def test_closed_guests_are_farther_and_not_measured():
    disks = [
        qt.Disk(qt.Closed(4, 2.0), service=exponential(5.0)),
        qt.Disk(qt.Poisson(0.5), 4, service=exponential(1.0)),
    ]
    engine = qt.Engine(disks, qt.Device(2, exponential(1.0)))
    found, exact = qt.solve(engine, "mixed_service"), qt.solve(engine, "joint_chain")
    assert found.error_bound == math.inf
    for quantity in QUANTITIES:
        assert getattr(found, quantity) == pytest.approx(getattr(exact, quantity), rel=0.05), quantity


def test_larger_engines_against_simulation():
    disks = [qt.Disk(qt.Poisson(0.09), 8, service=exponential(10.0)), qt.Disk(qt.Poisson(0.9), 8, service=h2(1.0))] * 4
    engine = qt.Engine(disks, qt.Device(8, exponential(1.0)))
    found, run = qt.solve(engine), qt.simulate(engine, 1_000_000, seed=2)
    assert found.method == "mixed_service"
    pairs = [(getattr(found, q), getattr(run, q)) for q in QUANTITIES]
    pairs += [(found.disks[i].mean_wait, run.disks[i].mean_wait) for i in (0, 1)]
    pairs += [(found.wait_quantile(0.99), run.wait_quantile(0.99))]
    pairs += [(found.response_quantile(0.99), run.response_quantile(0.99))]
    drain = qt.drain_time(engine)
    pairs += [(drain.mean, run.drain.mean), (drain.quantile(0.99), run.drain.quantile(0.99))]
    for answer, truth in pairs:
        # within 5 % and two half-widths
        assert abs(answer - truth.value) <= 0.05 * truth.value + 2 * truth.half_width


def test_many_kinds_share_sides():
    laws = [exponential(mean) for mean in (1.0, 1.2, 20.0, 5.0)]
    engine = engine_of(laws, (4,) * 4, 2, 0.8)
    mixed = Mixed.of(engine)
    assert len(kinds_of(engine)) == 4
    assert [[kind.law.mean for kind in group] for group in mixed.groups] == [[1.0, 1.2], [5.0], [20.0]]
    state = qt.solve(engine)
    assert state.throughput == pytest.approx(sum(disk.throughput for disk in state.disks), rel=1e-12)
    assert state.error_bounds["mean_wait"] == MEASURED["pooled"]["mean_wait"]


def test_a_drain_where_nobody_waits_is_the_slowest_residual():
    # three disks of one request each at three servers: each is busy a/(1 + a) of the time, whatever its law
    laws = [qt.Lognormal(mean=1.0, scv=0.3), qt.Weibull(mean=5.0, scv=3.0), qt.Deterministic(2.0)]
    disks = [qt.Disk(qt.Poisson(0.4), 1, service=law) for law in laws]
    drain = qt.drain_time(qt.Engine(disks, qt.Device(3, exponential(1.0))))
    for t in (0.0, 0.3, 1.0, 1.99, 5.0, 40.0):
        shares = [0.4 * law.mean / (1.0 + 0.4 * law.mean) for law in laws]
        done = math.prod(1.0 - a * float(law.residual().sf(t)) for a, law in zip(shares, laws, strict=True))
        assert drain.cdf(t) == pytest.approx(done, abs=1e-6)
    assert drain.mean == pytest.approx(quad(drain.sf, 0.0, 400.0, points=[2.0], limit=200, epsrel=1e-6)[0], rel=1e-4)


def test_a_population_drains_as_exponentials_do():
    twice = qt.Hyperexponential(probabilities=[0.5, 0.5], means=[1.0, 1.0])
    disks = [qt.Disk(qt.Poisson(1.0), 6, service=law) for law in (exponential(1.0), twice)]
    found = qt.drain_time(qt.Engine(disks, qt.Device(2, exponential(1.0))), population=5)
    assert found.mean == pytest.approx(3 / 2 + 1.5, rel=1e-9)
    with pytest.raises(ValueError, match="population"):
        qt.drain_time(qt.Engine(disks, qt.Device(2, exponential(1.0))), population=13)


def test_a_line_too_long_to_follow_is_the_mixture_s():
    laws = [exponential(1.0), qt.Erlang(phases=2, mean=4.0)]
    engine = engine_of(laws, (1000, 1000), 2, 0.97)
    state, drain = qt.solve(engine), qt.drain_time(engine)
    rates = [disk.arrivals.rate for disk in engine.disks]
    alone = qt.Engine([qt.Disk(qt.Poisson(sum(rates)), 2000)], qt.Device(2, qt.Mixture(laws, rates)))
    exact = qt.solve(alone)
    assert exact.exact
    assert (state.method, state.exact, state.error_bound) == ("mixed_service", False, math.inf)
    assert any("too long to follow" in warning for warning in state.warnings)
    assert "was measured here" in state.warnings[-1]
    assert state.mean_wait == pytest.approx(exact.mean_wait, rel=1e-3)
    assert state.wait_quantile(0.99) == pytest.approx(exact.wait_quantile(0.99), rel=1e-3)
    assert [d.mean_response - d.mean_wait for d in state.disks] == pytest.approx([1.0, 4.0])
    assert (drain.method, drain.error_bound) == ("mixed_service", math.inf)
    assert drain.mean == pytest.approx(qt.drain_time(alone).mean, rel=1e-3)


REFUSED = {
    "saturated": (
        [qt.Disk(qt.Closed(4, 0.0), service=READ), qt.Disk(qt.Poisson(1.0), service=WRITE)],
        {},
        r"mixed_service: disks\[0\] is saturated",
    ),
    "waiting guests": (
        [qt.Disk(qt.Poisson(0.1), full="wait", service=READ), qt.Disk(qt.Poisson(0.1), service=WRITE)],
        {},
        r"mixed_service: disks\[0\] makes its guest wait",
    ),
    "caps": ([qt.Disk(qt.Poisson(1.0), service=law) for law in (READ, WRITE)], {"shares": (2, 2)}, "divided by caps"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_cannot_do_is_named(name):
    disks, rest, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        qt.solve(qt.Engine(disks, qt.Device(2, exponential(1.0)), **rest))


@settings(max_examples=8, deadline=None)
@given(
    means=st.lists(st.floats(0.1, 50.0), min_size=2, max_size=3, unique=True),
    buffers=st.lists(st.integers(1, 6), min_size=3, max_size=3),
    servers=st.integers(1, 5),
    load=st.floats(0.2, 3.0),
    scv=st.sampled_from([0.5, 1.0, 5.0]),
)
def test_flows_are_conserved(means, buffers, servers, load, scv):
    laws = [h2(m, scv) if scv > 1 else qt.Erlang(phases=round(1 / scv), mean=m) for m in means]
    engine = engine_of(laws, buffers[: len(laws)], servers, load)
    state = qt.solve(engine, "mixed_service")
    for disk, described in zip(state.disks, engine.disks, strict=True):
        assert 0.0 <= disk.blocking <= 1.0
        assert disk.throughput == pytest.approx(described.arrivals.rate * (1.0 - disk.blocking), rel=1e-6)
        assert disk.mean_in_system == pytest.approx(disk.throughput * disk.mean_response, rel=1e-9)
        assert disk.pmf.sum() == pytest.approx(1.0, abs=1e-9)
        assert disk.mean_wait >= 0.0
    assert state.in_system_pmf.sum() == pytest.approx(1.0, abs=1e-9)
    assert state.mean_in_system == pytest.approx(state.throughput * state.mean_response, rel=1e-9)
    # what is in service by the chain is what the accepted work keeps busy
    busy = float(np.minimum(np.arange(len(state.in_system_pmf)), servers) @ state.in_system_pmf) / servers
    assert state.utilization == pytest.approx(busy, rel=0.02)


def test_disks_that_share_nothing_keep_their_laws():
    laws = [h2(1.0), qt.Erlang(phases=2, mean=2.0)]
    device = qt.Device(1, {"a": laws[0], "b": laws[1]})
    found = qt.solve(qt.Engine([qt.Disk(qt.Poisson(0.3), 6, device=device, operations={op: 1.0}) for op in "ab"]))
    capped = [qt.Disk(qt.Poisson(0.3), 6, service=law) for law in laws]
    shared = qt.solve(qt.Engine(capped, qt.Device(2, exponential(1.0)), shares=(1, 1)))
    for state in (found, shared):
        assert (state.method, state.exact) == ("disk_by_disk", True)
        for disk, law in zip(state.disks, laws, strict=True):
            alone = qt.solve(qt.Engine([qt.Disk(qt.Poisson(0.3), 6)], qt.Device(1, law)))
            assert disk.mean_wait == pytest.approx(alone.mean_wait, rel=1e-10)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0.5, 1.0, 1.0, 4.0]), st.sampled_from([1.0, 4.0])), min_size=2, max_size=3),
    st.integers(1, 3),
    st.floats(0.3, 1.3),
)
def test_drains_are_laws(kinds, servers, load):
    """Of any means and shapes, equal ones too: a positive mean, the integral of a survival that falls from P(N > 0)."""
    laws = [exponential(mean) if scv == 1.0 else h2(mean, scv) for mean, scv in kinds]
    engine = engine_of(laws, [4] * len(laws), servers, load)
    assume(not engine.one_law)
    drain, state = qt.drain_time(engine), qt.solve(engine, "mixed_service")
    assert drain.sf(0.0) == pytest.approx(1.0 - state.in_system_pmf[0], rel=1e-6)
    end = drain.quantile(1.0 - 1e-9)
    area, _ = quad(drain.sf, 0.0, end, limit=200, points=[drain.quantile(p) for p in (0.9, 0.99, 0.999)])
    assert drain.mean == pytest.approx(area, rel=1e-4)
    times = np.linspace(0.0, end, 9)
    assert np.all(np.diff([drain.sf(t) for t in times]) < 0.0)


def test_a_drain_of_equal_means_and_unlike_shapes():
    engine = engine_of([h2(1.0, 2.0), exponential(1.0)], [8, 8], 4, 0.5)
    drain, run = qt.drain_time(engine), qt.simulate(engine, 1_000_000, seed=3)
    bound = drain.error_bounds["mean"]
    assert abs(drain.mean - run.drain.mean.value) <= bound * run.drain.mean.value + 2 * run.drain.mean.half_width
