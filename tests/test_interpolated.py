"""Regular service laws before many servers: constant service from slot to slot, and the totals between the nodes."""

import csv
from pathlib import Path

import numpy as np
import pytest

import qtheory as qt
from qtheory.solve import phase_type
from qtheory.solve.fitted_service import MEASURED
from qtheory.solve.interpolated import factors, refusal
from qtheory.solve.phase_type import PhaseChain
from qtheory.solve.slotted import balanced, completion_rates
from qtheory.stations import mdc

RESULTS = Path(__file__).resolve().parents[1] / "validation" / "results" / "service_laws.csv"


def engine(law, servers, rho, buffer, disks=1):
    return qt.Engine([qt.Disk(qt.Poisson(rho * servers / disks), buffer=buffer)] * disks, qt.Device(servers, law))


def chain(law, *place):
    return PhaseChain.of(engine(law.phase_type(), *place))


def totals(arrivals, rates):
    """A birth-death chain."""
    height = np.concatenate([[0.0], np.cumsum(np.log(arrivals / rates))])
    law = np.exp(height - height.max())
    return law / law.sum()


@pytest.mark.parametrize(("servers", "rho"), [(1, 0.5), (4, 0.8), (16, 0.8), (48, 0.7)])
def test_a_constant_service_with_room_is_crommelins(servers, rho):
    exact = mdc(arrival_rate=rho * servers, service=1.0, servers=servers).in_system_pmf
    arrivals = np.full(len(exact) - 1, rho * servers)
    exponential = totals(arrivals, np.minimum(np.arange(1.0, len(exact)), servers))
    found = totals(arrivals, completion_rates(arrivals, servers, exponential))
    likely = exact > 1e-9
    assert found[likely] == pytest.approx(exact[likely], rel=1e-6)


def embedded(rho, room):
    """M/D/1/K: the number left behind by a departure (Markov), and from it the fraction blocked."""
    terms = np.cumprod(np.concatenate([[np.exp(-rho)], rho / np.arange(1.0, room)]))
    moves = np.zeros((room, room))
    for n in range(room):
        start = max(n - 1, 0)
        moves[n, start : room - 1] = terms[: room - 1 - start]
        moves[n, room - 1] = 1.0 - moves[n].sum()
    law = np.linalg.solve((moves.T - np.eye(room) + np.ones((room, room))), np.ones(room))
    return 1.0 - 1.0 / (law[0] + rho)


@pytest.mark.parametrize(("rho", "room"), [(0.6, 2), (0.6, 4), (0.9, 2), (0.9, 8), (1.2, 4), (1.2, 8)])
def test_a_full_buffer_before_one_server(rho, room):
    truth = embedded(rho, room)
    state = qt.solve(engine(qt.Deterministic(1.0), 1, rho, room))
    assert state.blocking == pytest.approx(truth, rel=0.005)


def test_rates_keep_the_servers_busy_as_long_as_little_asks():
    place = (8, 1.1, 4, 4)
    exponential = chain(qt.Exponential(1.0), *place)
    arrivals = np.array([level[0] for level in exponential.accepting])
    law = totals(arrivals, completion_rates(arrivals, 8, exponential.pmf))
    assert law[:-1] @ arrivals == pytest.approx(law @ np.minimum(np.arange(len(law)), 8), rel=1e-10)


def test_balancing_leaves_a_balanced_law():
    law = np.array([1.0, 2.0, 2.0]) / 5.0
    assert balanced(law, np.array([2.0, 2.0, 0.0]), np.array([0.0, 1.0, 2.0])) == pytest.approx(law, rel=1e-14)


def test_at_a_node_the_step_is_exact():
    place = (6, 0.9, 4, 3)  # more servers than few
    wanted = qt.Erlang(phases=2, mean=1.0)
    before, after = chain(qt.Exponential(1.0), *place), chain(wanted, *place)
    found = before.pmf * factors(engine(wanted, *place), wanted, before.law, before, followed=False)
    assert found == pytest.approx(after.pmf, rel=1e-9)


def test_what_it_says_nothing_about():
    constant, exponential = qt.Deterministic(1.0), qt.Exponential(1.0)
    place = engine(constant, 4, 0.8, 8)
    assert refusal(place, constant, exponential) is None
    assert "as regular" in refusal(place, exponential, exponential)
    assert "129 servers" in refusal(engine(constant, 129, 0.8, 200), constant, exponential)
    saturated = qt.Engine([qt.Disk(qt.Closed(4, 0.0), buffer=4)] * 2, qt.Device(4, constant))
    assert "saturated" in refusal(saturated, constant, exponential)


@pytest.mark.parametrize(
    ("law", "place"),
    [
        (qt.Deterministic(1.0), (16, 0.95, 4, 16)),
        (qt.Deterministic(1.0), (16, 0.95, 30, 1)),
        (qt.Lognormal(mean=1.0, scv=0.25), (32, 0.95, 8, 8)),
        (qt.Weibull(mean=1.0, scv=0.1), (8, 0.9, 12, 2)),
        (qt.Erlang(phases=10, mean=1.0), (64, 1.0, 24, 4)),
    ],
    ids=["constant", "constant, one disk", "lognormal", "Weibull", "Erlang"],
)
def test_regular_laws_before_many_servers(law, place):
    run = qt.simulate(engine(law, *place), 2_000_000, seed=5)
    state = qt.solve(engine(law, *place))
    assert state.method == "fitted_service"
    assert any("interpolated" in warning for warning in state.warnings)
    for name in ("blocking", "mean_wait", "throughput", "utilization"):
        truth = getattr(run, name)
        assert abs(getattr(state, name) - truth.value) <= 0.04 * truth.value + 1.5 * truth.half_width, name
    truth = run.response_quantile(0.99)
    assert abs(state.response_quantile(0.99) - truth.value) <= 0.04 * truth.value + truth.half_width
    assert state.mean_response == pytest.approx(state.mean_wait + 1.0, rel=1e-9)
    assert state.mean_wait * state.throughput == pytest.approx(
        np.maximum(np.arange(len(state.in_system_pmf)) - place[0], 0) @ state.in_system_pmf, rel=1e-12
    )
    assert state.wait_quantile(0.5) <= state.wait_quantile(0.99) <= state.wait_quantile(0.9999)


def test_different_disks_share_what_is_interpolated():
    disks = [qt.Disk(qt.Poisson(4.0), buffer=16), qt.Disk(qt.Poisson(10.0), buffer=6)]
    place = qt.Engine(disks, qt.Device(16, qt.Deterministic(1.0)))
    state, run = qt.solve(place), qt.simulate(place, 2_000_000, seed=5)
    assert sum(d.throughput for d in state.disks) == pytest.approx(state.throughput, rel=2e-3)
    for disk, truth in zip(state.disks, run.disks, strict=True):
        for name in ("throughput", "blocking", "mean_in_system"):
            estimate = getattr(truth, name)
            assert abs(getattr(disk, name) - estimate.value) <= 0.05 * estimate.value + 2 * estimate.half_width, name


def test_where_hardly_anybody_waits():
    state = qt.solve(engine(qt.Deterministic(1.0), 36, 0.04, 41, 13))
    assert 0.0 <= state.mean_wait < 1e-18
    assert state.wait_quantile(0.9999) == 0.0
    assert state.response_quantile(0.99) == pytest.approx(1.0, rel=1e-9)


def test_stated_bounds_are_those_of_the_first_half():
    """Set by the cells that may set them, rounded up; the other half is within them as often as it should be."""
    worst, held_out = {}, []
    with RESULTS.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            split, _, how = row["way"].partition(", ")
            quantity, width = row["quantity"], float(row["half_width"]) / float(row["truth"])
            if row["way"] == "exact" or width > 0.01:
                continue
            error, scale = abs(float(row["relative_error"])) + width, float(row["distance"]) if how == "far" else 1.0
            if row["half"] == "held out":
                of_split = phase_type.MEASURED["equal" if split == "exact" else split].get(quantity, 0.0)
                held_out.append(error <= max(of_split, MEASURED[how].get(quantity, 0.0) * scale if how else 0.0))
            elif how:
                worst[how, quantity] = max(worst.get((how, quantity), 0.0), error / scale)
    assert {(how, quantity) for how, bounds in MEASURED.items() for quantity in bounds} == set(worst)
    for (how, quantity), largest in worst.items():
        if (how, quantity[-8:]) == ("near", "quantile"):  # set by M/G/1, where simulations are not sharp enough
            assert largest <= MEASURED[how][quantity]
            continue
        assert largest <= MEASURED[how][quantity] <= 1.05 * largest + 0.001, (how, quantity)
    assert len(held_out) > 300
    assert np.mean(held_out) >= 0.95
