"""Guests that think, under any method: no more is completed than can be, Little's law holds, or it is refused."""

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import qtheory as qt
from qtheory.drain import fitted_service as drained
from qtheory.solve import METHODS, delay_line, fitted_service
from qtheory.solve.conservation import BEYOND, MISSED, broken
from qtheory.solve.slotted import MET, UnbalancedError, completion_rates

RESULTS = Path(__file__).resolve().parents[1] / "validation" / "results" / "closed_guests.csv"
EXACT = 1e-8
CONSTANT = qt.Deterministic(1.0)
LAWS = [
    qt.Exponential(1.0),
    CONSTANT,
    qt.Erlang(phases=3, mean=0.7),
    qt.Lognormal(mean=1.0, scv=0.1),
    qt.Lognormal(mean=1.0, scv=2.0),
    qt.Hyperexponential.balanced(mean=1.0, scv=4.0),
]
BURSTS = qt.mmpp2(rates=(2.0, 0.2), stays=(5.0, 5.0))
thinks = st.one_of(st.just(0.0), st.floats(-3.0, 2.0).map(lambda x: 10.0**x))
laws = st.sampled_from(LAWS)
own_devices = st.builds(qt.Device, st.integers(1, 5), laws)


def closed(requests, think, servers, law, **engine):
    return qt.Engine([qt.Disk(qt.Closed(requests, think), buffer=requests)], qt.Device(servers, law), **engine)


@st.composite
def engines(draw):
    """At least one guest that thinks; other disks closed, saturated, Poisson or bursty; of any law and device."""
    kind = draw(st.sampled_from(["shared", "shared", "mixed", "own"]))

    def disk(guest):
        own = {"device": draw(own_devices)} if kind == "own" else {"service": draw(laws)} if kind == "mixed" else {}
        if guest or draw(st.booleans()):
            requests = draw(st.integers(1, 6))
            return qt.Disk(qt.Closed(requests, draw(thinks)), draw(st.integers(max(1, requests - 2), 8)), **own)
        arrivals = draw(
            st.sampled_from([qt.Poisson(0.5), qt.Poisson(2.0), qt.mmpp2(rates=(2.0, 0.2), stays=(5.0, 5.0))])
        )
        return qt.Disk(arrivals, draw(st.integers(1, 6)), **own)

    disks = [disk(i == 0) for i in range(draw(st.integers(1, 3)))]
    slots, hold = draw(st.sampled_from([None, None, 1, 2, 4, 8])), draw(st.sampled_from(["ring", "engine", "refuse"]))
    shares = draw(st.sampled_from(["fifo", "fifo", "equal"]))
    try:
        return qt.Engine(disks, None if kind == "own" else draw(own_devices), slots, hold, shares)
    except ValueError:  # no slots to divide, saturated guests refused
        assume(False)


def check(engine, state):
    beyond, missed = (EXACT, EXACT) if state.exact else (BEYOND, MISSED)
    asked = 0.0
    limits = [min(device.servers, engine.queue_length or math.inf) / device.service.mean for device in engine.devices]
    for disk, device, found, most in zip(engine.disks, engine.devices, state.disks, limits, strict=True):
        mean, arrivals = device.service.mean, disk.arrivals
        assert found.throughput <= most * (1.0 + beyond) or (engine.shared and not state.exact)
        if not isinstance(arrivals, qt.Closed):
            asked += arrivals.rate
            continue
        asked += arrivals.outstanding / (arrivals.think_time + mean)
        assert found.throughput * (arrivals.think_time + mean) <= arrivals.outstanding * (1.0 + beyond)
        if engine.hold != "refuse":
            cycle = arrivals.think_time + found.mean_response + found.mean_guest_wait
            assert found.throughput * cycle == pytest.approx(arrivals.outstanding, rel=missed)
    assert state.throughput <= asked * (1.0 + beyond)
    assert sum(found.throughput for found in state.disks) == pytest.approx(state.throughput, rel=missed)
    if engine.shared:
        assert state.throughput <= max(limits) * (1.0 + beyond)
        assert state.utilization <= 1.0 + beyond
        if engine.one_law:
            busy = state.throughput * engine.laws[0].mean / engine.devices[0].servers
            assert state.utilization == pytest.approx(busy, rel=EXACT if state.exact else MET)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(engines())
def test_no_answer_breaks_what_none_may(engine):
    try:
        state = qt.solve(engine)
    except ValueError:
        return
    check(engine, state)


@pytest.mark.parametrize("method", METHODS)
def test_neither_does_any_method(method):
    """The same for each method that takes one of these."""
    one, two = qt.Closed(3, 0.05), qt.Closed(5, 2.0)
    answered = 0
    for law in (qt.Exponential(1.0), qt.Erlang(phases=3, mean=1.0), CONSTANT):
        device = qt.Device(2, law)
        alike, room = [qt.Disk(one, buffer=3)] * 2, [qt.Disk(one, buffer=2), qt.Disk(two, buffer=3)]
        unlike = [qt.Disk(one, buffer=3), qt.Disk(two, buffer=5)]
        apart = [replace(disk, device=device) for disk in unlike]
        found = [
            qt.Engine(alike, device),
            qt.Engine(unlike, device),
            qt.Engine(room, device),
            qt.Engine(unlike, qt.Device(8, law)),
            qt.Engine([*alike, qt.Disk(BURSTS, buffer=6)], device),
            qt.Engine([alike[0], replace(unlike[1], service=qt.Lognormal(mean=0.3, scv=0.5))], device),
            qt.Engine(unlike, device, 4, shares="equal"),
            qt.Engine(apart),
            qt.Engine(apart, queue_length=3, hold="ring"),
            qt.Engine([replace(disk, arrivals=qt.Closed(3)) for disk in apart], queue_length=3, hold="ring"),
        ]
        for engine in found:
            try:
                state = qt.solve(engine, method)
            except ValueError:
                continue
            answered += 1
            check(engine, state)
    assert answered > 0


@pytest.mark.parametrize("law", [CONSTANT, qt.Erlang(phases=10, mean=1.0), qt.Histogram([0.5, 1.5], [1.0])])
@pytest.mark.parametrize(("servers", "requests", "think"), [(4, 8, 0.04), (4, 5, 0.05), (8, 16, 0.05), (16, 20, 0.05)])
def test_guests_that_hardly_think_keep_the_servers_busy(law, servers, requests, think):
    """Completions at up to twice what servers can do were answered here."""
    engine = closed(requests, think, servers, law)
    state, run = qt.solve(engine), qt.simulate(engine, 400_000, seed=1)
    assert abs(state.throughput / run.throughput.value - 1.0) <= 0.008 + run.throughput.half_width / servers
    assert abs(state.mean_wait / run.mean_wait.value - 1.0) <= 0.057 + run.mean_wait.half_width / run.mean_wait.value
    assert state.throughput <= servers * (1.0 + 1e-12)
    assert state.throughput * (think + state.mean_response) == pytest.approx(requests, rel=1e-9)
    assert state.error_bound <= 0.057
    pending = qt.drain_time(engine).population_pmf
    assert pending @ np.arange(len(pending)) == pytest.approx(state.mean_in_system, rel=1e-9)


@pytest.mark.parametrize("think", [1e-9, 1e-6, 1e-4])
def test_less_and_less_thought_is_saturation(think):
    state, always = qt.solve(closed(6, think, 3, CONSTANT)), qt.solve(closed(6, 0.0, 3, CONSTANT))
    assert state.throughput == pytest.approx(always.throughput, rel=1e-3)
    assert state.mean_wait == pytest.approx(always.mean_wait, abs=2.0 * think + 1e-3)


def test_slots_that_are_too_long_are_refused():
    arrivals = (8.0 - np.arange(8.0)) / 0.04
    exponential = np.cumprod(np.append(1.0, arrivals / np.minimum(np.arange(1.0, 9.0), 4.0)))
    with pytest.raises(UnbalancedError):
        completion_rates(arrivals, 4, exponential / exponential.sum())


@pytest.mark.parametrize("law", [CONSTANT, qt.Lognormal(mean=1.0, scv=2.0), qt.Erlang(phases=3, mean=1.0)])
def test_a_server_for_every_request(law):
    """Nobody waits: n/(z + E[S]), and Erlang's formula for any law."""
    disks = [qt.Disk(qt.Closed(4, 0.3), buffer=4), qt.Disk(qt.Poisson(2.0), buffer=3)]
    state = qt.solve(qt.Engine(disks, qt.Device(8, law)))
    assert (state.method, state.exact) == ("enough_servers", True)
    assert state.disks[0].throughput == pytest.approx(4.0 / 1.3, rel=1e-12)
    assert state.blocking == pytest.approx(
        qt.stations.erlang_b(servers=3, load=2.0) * 2.0 / (2.0 + 4.0 / 1.3), rel=1e-12
    )
    assert state.mean_wait == state.wait_quantile(0.99) == state.delay_probability == 0.0
    assert state.response_quantile(0.9) == pytest.approx(law.quantile(0.9), rel=1e-9)
    assert state.utilization == pytest.approx(state.mean_in_system / 8.0, rel=1e-12)


def test_a_server_for_every_request_of_its_own_law_refused_at_q():
    laws = qt.Weibull(mean=0.5, scv=0.3), CONSTANT
    disks = [qt.Disk(qt.Poisson(2.0), buffer=3, service=law) for law in laws]
    engine = qt.Engine(disks, qt.Device(4, CONSTANT), 4, "refuse")
    state, run = qt.solve(engine), qt.simulate(engine, 500_000, seed=1)
    assert state.method == "enough_servers"
    for name in ("throughput", "blocking", "utilization", "mean_in_system", "mean_response"):
        assert getattr(run, name).covers(getattr(state, name), half_widths=2.0), name


def test_a_drain_with_a_server_for_every_request():
    engine = closed(4, 0.5, 4, CONSTANT)
    drain, run = qt.drain_time(engine), qt.simulate(engine, 400_000, seed=1).drain
    assert drain.error_bounds["mean"] <= 0.002
    assert drain.mean == pytest.approx(run.mean.value, abs=2.0 * run.mean.half_width)


def test_disks_that_a_line_would_give_what_they_did_not_ask_for_are_refused():
    quiet = qt.Disk(qt.Closed(5, 50.0), buffer=5, device=qt.Device(2, qt.Exponential(0.5)))
    busy = qt.Disk(qt.Closed(2, 0.02), buffer=2, device=qt.Device(1, qt.Exponential(1.0)))
    engine = qt.Engine([quiet, busy, busy], queue_length=2)
    assert delay_line.refusal(engine) is None
    with pytest.raises(ValueError, match="off what is accepted"):
        qt.solve(engine, "delay_line")
    check(engine, qt.solve(engine))  # state by state


def test_a_chain_that_begins_where_it_never_returns():
    device = qt.Device(6, qt.Hyperexponential.balanced(mean=1.0, scv=4.0))
    engine = qt.Engine([qt.Disk(qt.Closed(8, 1e-4), buffer=6, device=device)], queue_length=2, hold="ring")
    state = qt.solve(engine, "joint_chain")
    assert state.throughput == pytest.approx(2.0, rel=1e-6)
    check(engine, state)


@pytest.mark.parametrize("law", [qt.Erlang(phases=3, mean=1.0), CONSTANT, None])
def test_unlike_guests_by_what_their_requests_find(law):
    """By the number present, as it splits under exponential service, one of them would be 15 % off."""
    disks = [qt.Disk(qt.Closed(2, 0.8), buffer=2), qt.Disk(qt.Closed(1, 0.004), buffer=1)]
    if law is None:
        law = qt.Exponential(1.0)
        disks[1] = replace(disks[1], service=qt.Lognormal(mean=0.7, scv=0.3))
    engine = qt.Engine(disks, qt.Device(1, law))
    method = "mixed_service" if disks[1].service else "phase_type" if law.scv else "fitted_service"
    state, run = qt.solve(engine, method), qt.simulate(engine, 400_000, seed=1)
    for found, truth in zip(state.disks, run.disks, strict=True):
        assert found.throughput == pytest.approx(truth.throughput.value, rel=0.03)
    assert sum(found.throughput for found in state.disks) == pytest.approx(state.throughput, rel=0.01)
    check(engine, state)


def test_what_is_broken_is_named():
    engine = closed(5, 1.0, 4, qt.Exponential(1.0))
    state = qt.solve(engine)
    assert broken(engine, state) is None
    for factor, told in ((2.0, "more than its guest"), (1.2, "more than its guest"), (0.8, "Little")):
        wrong = replace(state, disks=(replace(state.disks[0], throughput=factor * 2.4),))
        assert told in (broken(engine, wrong) or "")
    assert "not 4.5" in (broken(engine, replace(state, throughput=4.5)) or "")
    many = closed(50, 1.0, 4, qt.Exponential(1.0))
    right = qt.solve(many)
    disks = (replace(right.disks[0], throughput=5.0, mean_response=9.0),)
    assert "of at most 4" in (broken(many, replace(right, throughput=5.0, disks=disks)) or "")


def test_stated_bounds_are_those_of_all_cells():
    stated = fitted_service.MEASURED_CLOSED | {f"drain.{name}": x for name, x in drained.MEASURED_CLOSED.items()}
    worst = {}
    with RESULTS.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            error, truth = abs(float(row["relative_error"])), float(row["truth"])
            width = float(row["half_width"]) / truth if truth else 0.0
            if row["quantity"] == "most":
                assert float(row["relative_error"]) <= BEYOND
            elif row["method"] != "enough_servers" and width <= 0.01:
                worst[row["quantity"]] = max(worst.get(row["quantity"], 0.0), error + width)
    assert len(worst) >= 10
    for quantity, largest in worst.items():
        assert largest <= stated[quantity] <= 1.05 * largest + 0.001, quantity
