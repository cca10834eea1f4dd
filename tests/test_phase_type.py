"""Phase-type service on a shared device: against every state written out, printed values, laws that hold exactly."""

from __future__ import annotations

import csv
import math
from collections import deque
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array, csc_array, csr_array
from scipy.sparse.linalg import expm_multiply, splu
from test_level_chain import random_law

import qtheory as qt
from qtheory.markov.phase_line import follow
from qtheory.solve import answer, different_disks
from qtheory.solve.phase_type import MEASURED, PLAIN, PhaseChain, _solved
from qtheory.solve.steady_state import QUANTITIES

TABLES = Path(__file__).resolve().parents[2] / "shared" / "tables"
RESULTS = Path(__file__).resolve().parents[1] / "validation" / "results" / "phase_type.csv"
LEVELS = (0.3, 0.5, 0.9, 0.99)
TAGGED = 1000
"""Added to the disk of the request that is followed."""


def poisson(rate, buffer):
    return qt.Disk(qt.Poisson(rate), buffer=buffer)


def closed(outstanding, think):
    return qt.Disk(qt.Closed(outstanding, think), buffer=outstanding)


def h2(scv, mean=1.0):
    return qt.Hyperexponential.balanced(mean=mean, scv=scv)


def erlang(phases, mean=1.0):
    return qt.Erlang(phases=phases, mean=mean)


def station(rate, servers, law, most, **more):
    """M/PH/c/K: one disk."""
    return qt.Engine([poisson(rate, most)], qt.Device(servers, law), **more)


def solve(engine):
    return qt.solve(engine, "phase_type")


# The twin: who is in line, in which order, and the disk and phase of everyone in service.


class Twin:
    """The chain over (disks in line, oldest first; sorted disk and phase of those in service), and what follows."""

    def __init__(self, engine):
        device = engine.device
        law = device.service.phase_type()
        self.engine, self.law, self.exit = engine, law, -law.T.sum(axis=1)
        self.slots = engine.queue_length or 10**9
        self.servers = min(device.servers, self.slots)
        start = ((), ())
        for i, disk in enumerate(engine.disks):
            if disk.saturated:
                for _ in range(disk.most):
                    start = self.join(start, i)[0][1]
        self.states, moves = self.explore([start])
        self.pi = stationary(len(self.states), moves)

    def start_service(self, line, served):
        """The oldest in line take free servers, in each phase with its probability."""
        if not line or len(served) >= self.servers:
            return [(1.0, (line, tuple(sorted(served))))]
        return [
            (p * q, state)
            for phase, p in enumerate(self.law.alpha)
            if p > 0.0
            for q, state in self.start_service(line[1:], (*served, (line[0], phase)))
        ]

    def join(self, state, i):
        return self.start_service((*state[0], i), state[1])

    def present(self, state):
        return [i % TAGGED for i in (*state[0], *(i for i, _ in state[1]))]

    def room(self, state, i):
        present = self.present(state)
        refused = self.engine.hold == "refuse" and len(present) >= self.slots
        return present.count(i) < self.engine.disks[i].most and not refused

    def arrival_rate(self, state, i):
        arrivals = self.engine.disks[i].arrivals
        if isinstance(arrivals, qt.Poisson):
            return arrivals.rate
        idle = arrivals.outstanding - self.present(state).count(i)
        return idle / arrivals.think_time if arrivals.think_time > 0.0 else 0.0

    def completions(self, state):
        """Rate, who it is, and the line and servers that it leaves."""
        for k, (i, phase) in enumerate(state[1]):
            if self.exit[phase] > 0.0:
                yield self.exit[phase], i, (state[0], state[1][:k] + state[1][k + 1 :])

    def successors(self, state, i):
        """After i has left: its saturated guest submits again, and the next in line starts."""
        line = (*state[0], i) if i < TAGGED and self.engine.disks[i].saturated else state[0]
        return self.start_service(line, state[1])

    def moves(self, state):
        for i in range(len(self.engine.disks)):
            if self.arrival_rate(state, i) > 0.0 and self.room(state, i):
                for p, after in self.join(state, i):
                    yield p * self.arrival_rate(state, i), after
        for k, (i, phase) in enumerate(state[1]):
            for to, rate in enumerate(self.law.T[phase]):
                if to != phase and rate > 0.0:
                    yield rate, (state[0], tuple(sorted((*state[1][:k], (i, to), *state[1][k + 1 :]))))
        for rate, i, left in self.completions(state):
            if i >= TAGGED:
                yield rate, None
                continue
            for p, after in self.successors(left, i):
                yield rate * p, after

    def explore(self, first):
        index = dict.fromkeys(first)
        index = {state: k for k, state in enumerate(index)}
        todo, moves = deque(index), []
        while todo:
            state = todo.popleft()
            for rate, after in self.moves(state):
                if after is not None and after not in index:
                    index[after] = len(index)
                    todo.append(after)
                moves.append((index[state], None if after is None else index[after], rate))
        return index, moves

    def answers(self):
        engine, disks = self.engine, self.engine.disks
        total = np.zeros(sum(disk.most for disk in disks) + 1)
        pmfs = [np.zeros(disk.most + 1) for disk in disks]
        flow, offered, lost, waiting = (np.zeros(len(disks)) for _ in range(4))
        busy = flight = 0.0
        for state, k in self.states.items():
            p, present = self.pi[k], self.present(state)
            total[len(present)] += p
            busy += p * len(state[1])
            flight += p * min(len(present), self.slots)
            for i in state[0]:
                waiting[i] += p
            for rate, i, _ in self.completions(state):
                flow[i] += p * rate
            for i, disk in enumerate(disks):
                pmfs[i][present.count(i)] += p
                if isinstance(disk.arrivals, qt.Poisson):
                    offered[i] += p * disk.arrivals.rate
                    lost[i] += p * disk.arrivals.rate * (not self.room(state, i))
        mean = total @ np.arange(len(total))
        return {
            "mean_guest_wait": 0.0,
            "throughput": flow.sum(),
            "blocking": lost.sum() / (flow.sum() + lost.sum()),
            "mean_wait": waiting.sum() / flow.sum(),
            "mean_response": mean / flow.sum(),
            "mean_in_system": mean,
            "mean_in_flight": flight,
            "utilization": busy / engine.device.servers,
            "pmf": total,
            "disks": [
                (flow[i], lost[i] / offered[i] if offered[i] else 0.0, waiting[i] / flow[i], pmfs[i])
                for i in range(len(disks))
            ],
        }

    def tagged(self):
        """P(wait > t) and P(response > t) of an accepted request, from what it finds, by matrix exponential."""
        entering = {}

        def enter(state, i, rate):
            for p, after in self.join(state, i + TAGGED):
                entering[after] = entering.get(after, 0.0) + rate * p

        for state, k in self.states.items():
            for i, disk in enumerate(self.engine.disks):
                if not disk.saturated and self.room(state, i):
                    enter(state, i, self.pi[k] * self.arrival_rate(state, i))
            for rate, i, left in self.completions(state):
                if self.engine.disks[i].saturated:
                    enter(left, i, self.pi[k] * rate)
        index, moves = self.explore(entering)
        n = len(index)
        start = np.array([entering.get(state, 0.0) for state in index])
        start /= start.sum()
        rows, columns, rates = zip(*((a, b, rate) for a, b, rate in moves if b is not None), strict=True)
        inner = csr_array(coo_array((rates, (rows, columns)), shape=(n, n)))
        out = np.zeros(n)
        for a, _, rate in moves:
            out[a] += rate
        inner.setdiag(inner.diagonal() - out)
        inner = csr_array(inner)
        line = np.array([k for state, k in index.items() if any(i >= TAGGED for i in state[0])], dtype=int)

        def left(t, those):
            if len(those) == 0:
                return 0.0
            return float(expm_multiply(csr_array(inner[those][:, those].T) * t, start[those]).sum())

        return lambda t: left(t, line), lambda t: left(t, np.arange(n))


def stationary(n, moves):
    """π Q = 0 with π_0 = 1, then normalized, by sparse elimination."""
    if n == 1:
        return np.ones(1)
    a, b, rates = (np.array(column) for column in zip(*moves, strict=True))
    q = csc_array(coo_array((rates, (b, a)), shape=(n, n)))
    q = csc_array(q - coo_array((np.bincount(a, rates, n), (range(n), range(n)))))
    rest = splu(csc_array(q[1:, 1:])).solve(-q[1:, [0]].toarray().ravel())
    pi = np.concatenate([[1.0], rest])
    return pi / pi.sum()


COXIAN = qt.PhaseType([1.0, 0.0], [[-3.0, 1.2], [0.0, -0.7]])
RANDOM = random_law(3, np.random.default_rng(5))
BACKWARDS = qt.PhaseType([0.0, 0.6, 0.4], [[-2.0, 0.0, 0.0], [1.5, -4.0, 0.0], [0.0, 2.5, -2.5]])
UNUSED = qt.PhaseType([0.0, 0.7, 0.3], [[-0.01, 0.0, 0.0], [0.0, -2.0, 0.0], [0.0, 0.5, -1.0]])

EXACT = {
    "M/H2/2/9": station(1.9, 2, h2(5.0), 9),
    "M/E3/2/8": station(2.3, 2, erlang(3), 8),
    "M/E10/1/9": station(0.9, 1, erlang(10), 9),
    "M/Cox/3/9": station(4.0, 3, COXIAN, 9),
    "M/PH/3/8": station(2.0, 3, RANDOM, 8),
    "M/PH/2/8, phases in a loop backwards": station(2.0, 2, BACKWARDS, 8),
    "M/PH/2/8, a phase that nobody enters": station(2.0, 2, UNUSED, 8),
    "M/H2/4/4, no line": station(3.0, 4, h2(3.0), 4),
    "M/H2/9/5, more servers than room": station(3.0, 9, h2(3.0), 5),
    "Q below the servers, ring": station(1.5, 3, h2(4.0), 8, queue_length=2, hold="ring"),
    "Q above the servers, engine": station(1.5, 2, h2(4.0), 8, queue_length=5),
    "refused at Q": station(1.8, 2, erlang(2), 8, queue_length=5, hold="refuse"),
    "refused at Q below the servers": station(1.8, 4, h2(4.0), 8, queue_length=3, hold="refuse"),
    "closed, H2": qt.Engine([closed(8, 2.5)], qt.Device(2, h2(6.0))),
    "closed, Cox, refused at Q": qt.Engine([closed(7, 1.0)], qt.Device(2, COXIAN), 4, "refuse"),
    "saturated": qt.Engine([closed(5, 0.0)], qt.Device(2, RANDOM)),
    "saturated behind Q": qt.Engine([closed(6, 0.0)], qt.Device(4, h2(4.0)), 3, "ring"),
    "saturated, fewer than servers": qt.Engine([closed(2, 0.0)], qt.Device(3, h2(4.0))),
    "saturated, a phase that nobody enters": qt.Engine([closed(3, 0.0)], qt.Device(2, UNUSED)),
    "several saturated": qt.Engine([closed(3, 0.0), closed(1, 0.0), closed(2, 0.0)], qt.Device(2, h2(4.0))),
    "several saturated, Erlang": qt.Engine([closed(2, 0.0), closed(3, 0.0)], qt.Device(2, erlang(3))),
}


@pytest.mark.parametrize("name", EXACT)
def test_every_state_written_out(name):
    s, b = solve(EXACT[name]), Twin(EXACT[name]).answers()
    assert s.exact
    assert s.warnings == ()
    for quantity in QUANTITIES:
        assert getattr(s, quantity) == pytest.approx(b[quantity], rel=1e-10, abs=1e-14), quantity
    short = len(s.in_system_pmf)
    assert s.in_system_pmf == pytest.approx(b["pmf"][:short], abs=1e-12)
    assert b["pmf"][short:].sum() == pytest.approx(0.0, abs=1e-12)
    for disk, (flow, blocking, wait, pmf) in zip(s.disks, b["disks"], strict=True):
        assert disk.throughput == pytest.approx(flow, rel=1e-10)
        assert disk.blocking == pytest.approx(blocking, rel=1e-10, abs=1e-14)
        assert disk.mean_wait == pytest.approx(wait, rel=1e-10, abs=1e-14)
        assert disk.pmf == pytest.approx(pmf, abs=1e-12)


@pytest.mark.parametrize("name", EXACT)
def test_quantiles_against_a_request_that_is_followed(name):
    s = solve(EXACT[name])
    for quantile, left in zip((s.wait_quantile, s.response_quantile), Twin(EXACT[name]).tagged(), strict=True):
        for p in LEVELS:
            t = quantile(p)
            if t == 0.0:
                assert left(0.0) <= (1.0 - p) * (1.0 + 1e-9)
            else:
                assert left(t) == pytest.approx(1.0 - p, rel=1e-9)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_random_laws_against_every_state(seed):
    rng = np.random.default_rng(seed)
    law = random_law(int(rng.integers(1, 4)), rng)
    servers, most = int(rng.integers(1, 4)), int(rng.integers(1, 9))
    engine = station(float(rng.uniform(0.3, 2.0)) * servers / law.mean, servers, law, most)
    s, b = solve(engine), Twin(engine).answers()
    for quantity in QUANTITIES:
        assert getattr(s, quantity) == pytest.approx(b[quantity], rel=1e-10, abs=1e-13), quantity


# Exponential service is solved in another way.

EXPONENTIAL = {
    "one disk": station(7.0, 8, qt.Exponential(1.0), 60),
    "equal disks": qt.Engine([poisson(0.3, 5)] * 12, qt.Device(4, qt.Exponential(1.0))),
    "different disks": qt.Engine(
        [poisson(0.5, 9), poisson(2.0, 3), poisson(1.0, 6)], qt.Device(3, qt.Exponential(1.0))
    ),
    "different disks, refused": qt.Engine(
        [poisson(0.5, 9), poisson(2.0, 3)], qt.Device(2, qt.Exponential(1.0)), 7, "refuse"
    ),
    "open and closed": qt.Engine([poisson(0.5, 6), closed(5, 2.0), closed(3, 0.7)], qt.Device(3, qt.Exponential(1.0))),
    "saturated among others": qt.Engine([poisson(0.5, 6), closed(2, 0.0)], qt.Device(3, qt.Exponential(1.0))),
    "milliseconds": qt.Engine([poisson(900.0, 30)] * 3, qt.Device(2, qt.Exponential(0.7e-3)), 20, "ring"),
}


@pytest.mark.parametrize("name", EXPONENTIAL)
def test_exponential_service_is_the_product_form(name):
    engine = EXPONENTIAL[name]
    s, e = solve(engine), qt.solve(engine, "product_form")
    # Different disks are followed until the probabilities change by less than 1e-7, and to totals of 1e-13.
    rel = 1e-7 if name.startswith("different") or name == "open and closed" else 1e-10
    for quantity in QUANTITIES:
        assert getattr(s, quantity) == pytest.approx(getattr(e, quantity), rel=rel, abs=1e-14), quantity
    for a, b in zip(s.disks, e.disks, strict=True):
        for quantity in ("throughput", "blocking", "mean_wait", "mean_response", "mean_in_system"):
            assert getattr(a, quantity) == pytest.approx(getattr(b, quantity), rel=rel, abs=1e-10), quantity
        assert a.pmf == pytest.approx(b.pmf, abs=rel)
    for p in LEVELS:
        assert s.wait_quantile(p) == pytest.approx(e.wait_quantile(p), rel=10 * rel, abs=1e-12)
        assert s.response_quantile(p) == pytest.approx(e.response_quantile(p), rel=10 * rel)


# Published and other software's values.


def table(name):
    path = TABLES / name
    if not path.exists():
        pytest.skip(f"no {name}: outside data, not part of the project")
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("rate", "servers", "most", "quantity", "value"),
    [
        (4.0, 5, 12, "mean_response", "1.35870"),
        (4.0, 5, 12, "blocking", "0.05013"),
        (12.8, 16, 900, "mean_wait", "0.18944"),
        (51.2, 64, 900, "mean_wait", "0.0067216"),
    ],
)
def test_values_on_which_others_agree(rate, servers, most, quantity, value):
    """M/H2/c and M/H2/c/K of mean 1 and scv 4, to the last printed digit."""
    found = getattr(solve(station(rate, servers, h2(4.0), most)), quantity)
    assert abs(found - float(value)) <= 0.5000001 * 10.0 ** -len(value.partition(".")[2])


def test_response_quantile_of_m_h2_8():
    """11.83 was simulated with 4e7 arrivals: 4e5 responses are longer, each with others in a busy period, so that its
    standard error is some 0.1 % of 4.4 s, the mean excess. 0.3 % of the value are allowed."""
    assert solve(station(6.4, 8, h2(4.0), 600)).response_quantile(0.99) == pytest.approx(11.83, rel=3e-3)


def test_other_software():
    used = 0
    for row in table("software.csv"):
        model, text = row["model"], row["parameters"]
        if model not in ("M/PH/c", "M/PH/c/K", "M/G/1/K"):
            continue
        rate = 51.2 if "0.8*64" in text else float(text.split("lambda=")[1].split()[0])
        servers = int(text.split("c=")[1].split()[0]) if "c=" in text else 1
        most = int(text.split("K=")[1].split()[0]) if model.endswith("K") else 2000
        s = solve(station(rate, servers, h2(4.0), most))
        quantity, value = row["quantity"], float(row["value"])
        if quantity.startswith("P(Wq>"):
            t, digits = float(quantity[5:-1]), len(row["value"].partition(".")[2])
            for slack, sign in ((-1.0, 1), (1.0, -1)):
                assert sign * (s.wait_quantile(1.0 - value + slack * 10.0**-digits) - t) < 0.0, row
        else:
            found = {
                "Wq": s.mean_wait,
                "P(wait)": float(s.in_system_pmf[servers:].sum()),
                "pK": s.blocking,
                "loss": s.blocking,
                "L": s.mean_in_system,
                "X": s.throughput,
            }[quantity]
            # The value for 64 servers is good to 2.6e-12, says its row.
            assert found == pytest.approx(value, rel=3e-12 if servers == 64 else 1e-12), row
        used += 1
    assert used == 10


def test_printed_tables():
    """Tijms: rejection in M/E2/c/c+N and wait percentiles in M/E2/c, given a wait, to a unit in the last digit."""
    used = 0
    for row in table("published.csv"):
        if row["model"] not in ("M/E2/c/c+N", "M/E2/c") or not row["quantity"].endswith("exact"):
            continue
        p = dict(part.split("=") for part in row["params"].split(";"))
        servers, unit = int(p["c"]), 10.0 ** -len(row["value"].partition(".")[2])
        most = servers + int(p.get("N", "1200"))
        s = solve(station(float(p["rho"]) * servers, servers, erlang(2), most))
        if "P_rej" in row["quantity"]:
            found = s.blocking
        else:
            waits = float(s.in_system_pmf[servers:].sum())
            found = s.wait_quantile(1.0 - waits * (1.0 - float(p["p"])))
        assert abs(found - float(row["value"])) <= unit, (row, found)
        used += 1
    assert used >= 14


# What must hold.


def limits(s, engine):
    """Little's law, flow balance, and numbers in their range."""
    assert s.mean_in_system == pytest.approx(s.throughput * s.mean_response, rel=1e-10)
    mean = engine.device.service.mean
    assert s.utilization * engine.device.servers == pytest.approx(s.throughput * mean, rel=1e-9)
    assert s.mean_response == pytest.approx(s.mean_wait + mean, rel=1e-9)
    assert s.in_system_pmf.sum() == pytest.approx(1.0, abs=1e-12)
    assert (s.in_system_pmf >= 0.0).all()
    assert 0.0 <= s.blocking < 1.0
    for disk, described in zip(s.disks, engine.disks, strict=True):
        assert disk.mean_in_system == pytest.approx(disk.throughput * disk.mean_response, rel=1e-6)
        assert disk.pmf.sum() == pytest.approx(1.0, abs=1e-9)
        if isinstance(described.arrivals, qt.Poisson):
            assert disk.throughput == pytest.approx(described.arrivals.rate * (1.0 - disk.blocking), rel=1e-6)
    assert sum(disk.throughput for disk in s.disks) == pytest.approx(s.throughput, rel=1e-6)


@st.composite
def described(draw):
    law = draw(st.sampled_from([h2(4.0), h2(1.3), erlang(2), erlang(4), COXIAN, RANDOM]))
    servers = draw(st.integers(1, 5))
    load = draw(st.floats(0.2, 3.0)) * servers / law.mean
    hold = draw(st.sampled_from(["ring", "engine", "refuse"]))
    limit = draw(st.none() | st.integers(1, 12))
    return law, servers, load, draw(st.integers(1, 12)), draw(st.integers(1, 6)), limit, hold


@given(described())
@settings(max_examples=40, deadline=None)
def test_little_and_what_comes_in_goes_out(drawn):
    law, servers, load, buffer, disks, limit, hold = drawn
    engine = qt.Engine([poisson(load / disks, buffer)] * disks, qt.Device(servers, law), limit, hold)
    limits(solve(engine), engine)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=8, deadline=None)
def test_the_same_for_different_disks(seed):
    rng = np.random.default_rng(seed)
    disks = [poisson(float(rng.uniform(0.1, 1.5)), int(rng.integers(1, 9))) for _ in range(int(rng.integers(2, 4)))]
    engine = qt.Engine(disks, qt.Device(int(rng.integers(1, 4)), [h2(4.0), erlang(2)][seed % 2]))
    limits(solve(engine), engine)


@given(described())
@settings(max_examples=25, deadline=None)
def test_more_load_room_or_servers(drawn):
    """One disk: throughput grows with each of them, blocking with the load, and falls with room and servers."""
    law, servers, load, buffer, _, _, _ = drawn
    base, busier = solve(station(load, servers, law, buffer)), solve(station(1.1 * load, servers, law, buffer))
    assert busier.throughput >= base.throughput * (1.0 - 1e-12)
    assert busier.blocking >= base.blocking * (1.0 - 1e-12)
    for better in (station(load, servers, law, buffer + 1), station(load, servers + 1, law, buffer)):
        s = solve(better)
        assert s.throughput >= base.throughput * (1.0 - 1e-12)
        assert s.blocking <= base.blocking * (1.0 + 1e-12)
    behind = [solve(station(load, servers + 2, law, buffer, queue_length=q)).throughput for q in range(1, servers + 3)]
    assert all(b >= a * (1.0 - 1e-12) for a, b in pairwise(behind))


@pytest.mark.parametrize("law", [h2(9.0), erlang(5), COXIAN, RANDOM])
def test_without_a_line_only_the_mean_counts(law):
    """Erlang's loss formula: M/PH/c/c is insensitive, P(n) ∝ aⁿ/n!."""
    load, servers = 4.0, 6
    s = solve(station(load / law.mean, servers, law, servers))
    expected = np.cumprod([1.0, *(load / n for n in range(1, servers + 1))])
    assert s.in_system_pmf == pytest.approx(expected / expected.sum(), rel=1e-11)
    assert s.mean_wait == 0.0


@pytest.mark.parametrize("law", [h2(9.0), erlang(5), COXIAN, RANDOM])
def test_one_server_is_pollaczek_khinchine(law):
    """M/PH/1: mean wait λ E[S²] / 2(1 − ρ), when the room is ample."""
    rate = 0.6 / law.mean
    s = solve(station(rate, 1, law, 3000))
    assert s.mean_wait == pytest.approx(rate * law.moment(2) / (2.0 * 0.4), rel=1e-11)
    assert s.in_system_pmf[0] == pytest.approx(0.4, rel=1e-11)


def test_a_law_that_becomes_exponential():
    engine = [station(7.0, 8, law, 30) for law in (h2(1.0 + 1e-7), qt.Exponential(1.0))]
    near, at = solve(engine[0]), qt.solve(engine[1], "product_form")
    for quantity in QUANTITIES:
        # d(wait)/d(scv) is about half the wait
        assert getattr(near, quantity) == pytest.approx(getattr(at, quantity), rel=1e-6), quantity


def test_levels_out_of_reach_do_not_matter():
    """A line of 300 and one of 30000 differ by what is above 300."""
    short, long = (solve(station(3.2, 4, h2(4.0), most)) for most in (900, 30_000))
    assert long.mean_wait == pytest.approx(short.mean_wait, rel=1e-12)
    assert long.wait_quantile(0.999) == pytest.approx(short.wait_quantile(0.999), rel=1e-11)


# Sizes.


@pytest.mark.parametrize("rho", [0.9, 0.999999, 1.0, 5.0])
def test_many_disks_and_servers(rho):
    """64 disks of 16, 64 servers of two phases: finite, balanced, at any load."""
    engine = qt.Engine([poisson(rho, 16)] * 64, qt.Device(64, h2(4.0)))
    s = solve(engine)
    limits(s, engine)
    assert np.isfinite([getattr(s, quantity) for quantity in QUANTITIES]).all()
    if rho == 5.0:
        assert s.throughput == pytest.approx(64.0, rel=1e-9)


@pytest.mark.parametrize(
    "engine",
    [
        station(0.9, 1, erlang(100), 120),
        station(0.999999, 1, h2(4.0), 5000),
        station(3.6, 4, h2(100.0), 2000),
        station(400.0, 8, h2(4.0), 3000),
        station(1e-6, 8, h2(4.0), 3000),
        station(0.9e9, 1, h2(4.0, mean=1e-9), 300),
    ],
    ids=["Erlang 100", "nearly full", "scv 100", "overload 50", "hardly any load", "nanoseconds"],
)
def test_extremes_are_finite_and_balanced(engine):
    s = solve(engine)
    limits(s, engine)
    assert s.response_quantile(0.99) >= s.wait_quantile(0.99) >= 0.0
    assert math.isfinite(s.response_quantile(0.99))


def test_a_line_that_does_not_fit_in_memory_is_refused(monkeypatch):
    monkeypatch.setattr("qtheory.markov.level_chain.MOST_BYTES", 1e4)
    with pytest.raises(ValueError, match=r"levels from \d+ to 99 alone need more than 1e-05 GB: use qt\.simulate"):
        solve(station(9.0, 8, h2(4.0), 99))


def test_too_many_phases_are_refused_by_name():
    with pytest.raises(ValueError, match=r"2 servers of 100 phases have 5050 states, more than 3000.*qt\.simulate"):
        solve(station(1.0, 2, erlang(100), 40))
    assert qt.solve(station(1.0, 2, erlang(100), 40)).method == "fitted_service"


def test_a_law_without_phases_is_refused_by_name():
    with pytest.raises(ValueError, match=r"phase_type: Deterministic is not of phase type"):
        solve(qt.Engine([poisson(1.0, 4)], qt.Device(1, qt.Deterministic(1.0))))


# The approximation.

DIFFERENT = qt.Engine([poisson(0.9, 16), poisson(2.7, 4)], qt.Device(4, h2(4.0)))


def test_it_says_when_the_split_is_that_of_exponential_service(monkeypatch):
    followed = solve(DIFFERENT)
    monkeypatch.setattr(different_disks, "MOST_STATES", 100)
    _solved.cache_clear()
    plain = solve(DIFFERENT)
    _solved.cache_clear()
    assert PLAIN not in followed.warnings
    assert PLAIN in plain.warnings
    nobody_waits = {"mean_guest_wait": 0.0}
    assert plain.error_bounds == MEASURED["plain"] | nobody_waits
    assert followed.error_bounds == MEASURED["followed"] | nobody_waits
    # Simulated with 24 million requests: 0.2154 ± 0.0010.
    assert followed.mean_wait == pytest.approx(0.2154, rel=0.02)
    assert plain.mean_wait > 1.05 * 0.2154


def test_bounds_are_infinite_where_nobody_measured():
    pair = solve(qt.Engine([poisson(0.5, 4)] * 2, qt.Device(1, h2(4.0))))
    assert pair.error_bounds == MEASURED["equal"] | {"mean_guest_wait": 0.0}
    for engine in (
        qt.Engine([poisson(0.5, 4)] * 2, qt.Device(1, h2(40.0))),
        qt.Engine([poisson(5.0, 4)] * 2, qt.Device(1, h2(4.0))),
        qt.Engine([poisson(0.5, 4), closed(2, 0.0)], qt.Device(1, h2(4.0))),
        qt.Engine([poisson(0.001, 4), poisson(0.5, 4)], qt.Device(1, h2(4.0))),
    ):
        assert math.isinf(answer(engine).error_bound)


@pytest.mark.parametrize(
    "engine",
    [
        qt.Engine([poisson(1.1, 2)] * 2, qt.Device(2, h2(4.0))),
        qt.Engine([poisson(0.5, 3)] * 2, qt.Device(1, erlang(3))),
        qt.Engine([poisson(0.4, 5), poisson(0.5, 2)], qt.Device(1, h2(4.0))),
        qt.Engine([poisson(0.3, 3), poisson(0.3, 1), poisson(0.6, 1)], qt.Device(1, h2(4.0))),
        qt.Engine([poisson(1.4, 2), poisson(0.7, 4)], qt.Device(2, erlang(2))),
    ],
    ids=["equal, H2", "equal, E3", "different, H2", "three different, H2", "different, E2"],
)
def test_small_engines_of_several_disks_keep_to_the_measured_bounds(engine):
    s, b = solve(engine), Twin(engine).answers()
    for quantity in QUANTITIES:
        assert getattr(s, quantity) == pytest.approx(b[quantity], rel=s.error_bounds[quantity]), quantity
    for disk, (_, blocking, wait, _) in zip(s.disks, b["disks"], strict=True):
        assert disk.blocking == pytest.approx(blocking, rel=s.error_bounds["disks.blocking"])
        assert disk.mean_wait == pytest.approx(wait, rel=s.error_bounds["disks.mean_wait"])


def test_stated_bounds_are_those_of_the_results():
    """MEASURED is the largest error of the validations' rows, half-widths added where below 1 %, rounded up.

    Of `service_laws` that is the half that may set bounds, where the law is not fitted.
    """
    worst = {}
    for path in (RESULTS, RESULTS.with_name("service_laws.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                width = float(row["half_width"]) / float(row["truth"])
                key = row.get("split") or row["way"], row["quantity"]
                if width <= 0.01 and key[0] in MEASURED and row.get("half") != "held out":
                    worst[key] = max(worst.get(key, 0.0), abs(float(row["relative_error"])) + width)
    assert {(split, quantity) for split, bounds in MEASURED.items() for quantity in bounds} == set(worst)
    for (split, quantity), error in worst.items():
        bound = MEASURED[split][quantity]
        assert error <= bound <= error + (0.001 if error < 0.1 else 0.01), (split, quantity)


# Parts.


def test_a_long_line_is_followed_where_the_request_is():
    """k completions of one exponential server, a tick each with probability one half: negative binomial."""
    line = np.zeros((400, 1))
    line[-1] = 1.0
    half = csr_array([[0.5]])
    waiting, through = follow(line, half, half, 1e-18)
    ticks = np.arange(400, 700)
    logs = [math.lgamma(n) - math.lgamma(400) - math.lgamma(n - 399) - n * math.log(2.0) for n in ticks]
    assert through[399:699] == pytest.approx(np.exp(logs), rel=1e-9, abs=1e-15)
    assert waiting[0] == 1.0
    assert waiting[-1] <= 1e-18


def test_mean_wait_by_position_is_littles():
    """What an arrival finds, and how long that takes on the average, gives the mean wait that the line gives."""
    for engine in (station(1.9, 2, h2(5.0), 9), station(4.0, 3, COXIAN, 30), station(2.3, 2, erlang(3), 8)):
        chain, s = PhaseChain.of(engine), solve(engine)
        found = sum(
            float((rate * level) @ wait)
            for rate, level, wait in zip(chain.accepting, chain.levels, chain.mean_waits(), strict=False)
        )
        assert found / s.throughput == pytest.approx(s.mean_wait, rel=1e-11)
