"""MAP/PH/c: the endless line against 40 digits and against long lines with a limit, those against whole generators."""

import csv
import math
import re
from itertools import pairwise
from pathlib import Path

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_level_chain import null_vector, random_law

import qtheory as qt
from benchmarks.forty_digits import DIGITS, m_matrix, matrix, mean_line
from qtheory import stations
from qtheory.markov.m_matrix import SMALL, _inverse, inverse
from qtheory.markov.phase_counts import PhaseCounts
from qtheory.markov.rate_matrix import rate_matrix

H2 = qt.Hyperexponential.balanced(mean=1.0, scv=4.0)
POISSON = qt.MAP([[-1.0]], [[1.0]])
BURSTS = qt.mmpp2(rates=(3.0, 0.1), stays=(2.0, 5.0))
ERRATIC = qt.MAP([[-3.0, 1.0], [0.5, -2.0]], [[0.5, 1.5], [1.0, 0.5]])
STIFF = qt.PhaseType([0.5, 0.5, 0.0], [[-1e3, 5.0, 0.0], [0.0, -1.0, 1e-3], [0.0, 0.0, -1e-3]])
NAMES = ("throughput", "blocking", "delay_probability", "mean_wait", "mean_response", "mean_in_system", "mean_in_queue",
         "utilization")  # fmt: skip
TABLES = Path(__file__).resolve().parents[2] / "shared" / "tables"


def at_load(process, law, servers, rho):
    return process.scaled(process.rate * law.mean / (rho * servers))


@pytest.mark.parametrize("rho", [0.3, 0.999999])
@pytest.mark.parametrize("process", [POISSON, BURSTS], ids=["poisson", "bursts"])
@pytest.mark.parametrize(
    ("law", "servers"),
    [(H2, 2), (qt.Hyperexponential.balanced(mean=1.0, scv=100.0), 2), (qt.Erlang(phases=2, mean=1.0), 3), (STIFF, 2)],
    ids=["H2", "scv100", "E2", "stiff"],
)
def test_error_bound_holds_against_forty_digits(law, servers, process, rho):
    process = at_load(process, law, servers, rho)
    found = stations.mapphc(process=process, service=law, servers=servers)
    with mp.workdps(DIGITS + 20):
        exact = mean_line(process, law.phase_type(), servers)
        error = abs(found.mean_in_queue / exact - 1)
    assert error < 0.25 * found.error_bound
    assert found.error_bound < 1e-4


@given(st.integers(1, 7), st.integers(0, 2**32 - 1), st.floats(0, 12))
@settings(max_examples=30, deadline=None)
def test_inverse_against_forty_digits(n, seed, decades):
    rng = np.random.default_rng(seed)
    between = 10.0 ** rng.uniform(-decades, decades, (n, n)) * (rng.random((n, n)) < 0.7)
    out = 10.0 ** rng.uniform(-decades - 6, decades, n)
    with mp.workdps(60):
        exact = m_matrix(matrix(between), [mp.mpf(x) for x in out.tolist()]) ** -1
        exact = np.array(exact.tolist(), dtype=float)
    assert inverse(between, out) == pytest.approx(exact, rel=1e-13)


def test_inverse_by_halves_is_the_same():
    rng = np.random.default_rng(1)
    n = 3 * SMALL
    between, out = rng.exponential(size=(n, n)) ** 4, 1e-9 * rng.random(n)
    assert inverse(between, out) == pytest.approx(_inverse(between.copy(), out.copy()), rel=1e-12)


@pytest.mark.parametrize("servers", [12, 40])
@pytest.mark.parametrize("rho", [0.5, 0.999999])
def test_rate_matrix_balances_the_line(servers, rho):
    law = H2.phase_type()
    counts = PhaseCounts(law.alpha, law.T)
    up = rho * servers * np.eye(counts.size(servers))
    within, down = counts.internal(servers).toarray(), counts.succeed(servers).toarray()
    ratio = rate_matrix(up, within, down)
    out = np.diag(up.sum(axis=1) + within.sum(axis=1) + down.sum(axis=1))
    assert up + ratio @ within + ratio @ ratio @ down == pytest.approx(ratio @ out, rel=1e-12)
    assert ratio @ down.sum(axis=1) == pytest.approx(up.sum(axis=1), rel=1e-12)


def test_levels_that_do_not_drift_down_are_refused():
    with pytest.raises(ArithmeticError, match="drift down"):
        rate_matrix(np.array([[2.0]]), np.array([[0.0]]), np.array([[1.0]]))


@pytest.mark.parametrize("process", [POISSON, BURSTS, ERRATIC], ids=["poisson", "bursts", "erratic"])
@pytest.mark.parametrize(("servers", "capacity", "rho"), [(2, 7, 0.3), (3, 3, 1.0), (3, 2, 0.7), (2, 9, 3.0)])
def test_room_against_the_whole_generator(process, servers, capacity, rho):
    law = random_law(2, np.random.default_rng(servers))
    process = at_load(process, law, servers, rho)
    counts, arrivals, busy = PhaseCounts(law.alpha, law.T), process.order, min(servers, capacity)
    sizes = [arrivals * counts.size(min(n, busy)) for n in range(capacity + 1)]
    ends = np.concatenate([[0], np.cumsum(sizes)])
    rates = np.zeros((ends[-1], ends[-1]))
    for n in range(capacity + 1):
        here, one = slice(ends[n], ends[n + 1]), np.eye(counts.size(min(n, busy)))
        rates[here, here] = np.kron(process.D0, one) + np.kron(
            np.eye(arrivals), counts.internal(min(n, busy)).toarray()
        )
        if n < capacity:
            started = counts.start(n).toarray() if n < busy else one
            rates[here, ends[n + 1] : ends[n + 2]] = np.kron(process.D1, started)
        else:
            rates[here, here] += np.kron(process.D1, one)
        if n > 0:
            done = counts.finish(n) if n <= busy else counts.succeed(busy)
            rates[here, ends[n - 1] : ends[n]] = np.kron(np.eye(arrivals), done.toarray())
    np.fill_diagonal(rates, 0.0)
    whole = null_vector(rates)
    levels = [whole[a:b].reshape(arrivals, -1) for a, b in pairwise(ends)]
    arriving = process.D1.sum(axis=1)
    found = stations.mapphc(process=process, service=law, servers=servers, capacity=capacity)
    assert found.in_system_pmf == pytest.approx([level.sum() for level in levels], rel=found.error_bound)
    lost = float(arriving @ levels[-1].sum(axis=1))
    assert found.blocking == pytest.approx(lost / process.rate, rel=found.error_bound)
    waits = sum(float(arriving @ level.sum(axis=1)) for level in levels[servers:-1])
    assert found.delay_probability == pytest.approx(waits / (process.rate - lost), rel=1e-12, abs=1e-300)
    line = sum((n - servers) * level.sum() for n, level in enumerate(levels) if n > servers)
    assert found.mean_wait == pytest.approx(line / (process.rate - lost), rel=1e-12, abs=1e-300)


@pytest.mark.parametrize("law", [H2, qt.Erlang(phases=3, mean=1.0)], ids=["H2", "E3"])
@pytest.mark.parametrize("process", [POISSON, BURSTS, ERRATIC], ids=["poisson", "bursts", "erratic"])
def test_endless_line_is_a_long_one(process, law):
    process = at_load(process, law, 3, 0.7)
    endless = stations.mapphc(process=process, service=law, servers=3)
    long = stations.mapphc(process=process, service=law, servers=3, capacity=1200)
    assert long.blocking < 1e-20
    for name in NAMES:
        assert getattr(endless, name) == pytest.approx(getattr(long, name), rel=1e-11, abs=1e-20), name
    pmf = endless.in_system_pmf
    assert pmf == pytest.approx(long.in_system_pmf[: len(pmf)], rel=1e-10)
    assert pmf.sum() == pytest.approx(1.0, abs=1e-12)
    t = np.array([0.0, 0.1, 1.0, 10.0, 40.0, 150.0])
    assert endless.wait_sf(t) == pytest.approx(long.wait_sf(t), rel=1e-8, abs=1e-16)
    assert endless.response_sf(t) == pytest.approx(long.response_sf(t), rel=1e-8, abs=1e-16)
    x = np.linspace(0.0, 400.0, 20_001)
    assert np.trapezoid(endless.wait_sf(x), x) == pytest.approx(endless.mean_wait, rel=1e-3)


def test_far_tails_and_loads_next_to_one():
    rho = 0.999999
    exact = stations.mmc(arrival_rate=8 * rho, service_rate=1.0, servers=8)
    found = stations.mphc(arrival_rate=8 * rho, service=qt.Exponential(1.0), servers=8)
    for t in (1e-3, 1.0, 1e4, 1e6, 5e6):
        assert found.wait_sf(t) == pytest.approx(exact.wait_sf(t), rel=5e-9)
        assert found.response_sf(t) == pytest.approx(exact.response_sf(t), rel=5e-9)
    exact = stations.mg1(arrival_rate=0.8, service=H2)
    found = stations.mphc(arrival_rate=0.8, service=H2, servers=1)
    for t in (1e-3, 1.0, 100.0, 2000.0):
        assert found.wait_sf(t) == pytest.approx(exact.wait_sf(t), rel=1e-10)
        assert found.response_sf(t) == pytest.approx(exact.response_sf(t), rel=1e-10)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 5), st.floats(0.05, 0.95), st.integers(0, 2**32 - 1))
def test_same_arrivals_by_other_phases(servers, rho, seed):
    """Phases that do not change the rate, and a renewal process of exponential times, are Poisson arrivals."""
    law = random_law(2, np.random.default_rng(seed))
    lam = rho * servers / law.mean
    poisson = stations.mphc(arrival_rate=lam, service=law, servers=servers)
    two = stations.mapphc(process=qt.mmpp2(rates=(lam, lam), stays=(0.3, 2.0)), service=law, servers=servers)
    for name in NAMES:
        assert getattr(two, name) == pytest.approx(getattr(poisson, name), rel=1e-10), name
    assert two.response_quantile(0.99) == pytest.approx(poisson.response_quantile(0.99), rel=1e-9)


def test_burstier_arrivals_wait_longer():
    found = [
        stations.mapphc(process=qt.mmpp2(rates=(8.0 * x, 8.0 * (2 - x)), stays=(5.0, 5.0)), service=H2, servers=10)
        for x in (1.0, 1.4, 1.8)
    ]
    waits = [s.mean_wait for s in found]
    assert waits == sorted(waits)
    assert waits[-1] > 3 * waits[0]
    assert all(s.mean_in_system == pytest.approx(s.throughput * s.mean_response) for s in found)


def test_bad_input_is_named_at_once():
    with pytest.raises(TypeError, match=r"process must be a qt\.MAP or qt\.Poisson, not 3"):
        stations.mapphc(process=3, service=H2, servers=2)
    with pytest.raises(ValueError, match="load must be less than servers"):
        stations.mapphc(process=POISSON, service=H2, servers=1)
    with pytest.raises(ValueError, match=r"mphc cannot be solved: 1000 servers of 2 phases .* 1001 states, too many"):
        stations.mphc(arrival_rate=800.0, service=H2, servers=1000)
    with pytest.raises(ValueError, match=r"mphc cannot be solved: 1000 servers of 200 phases"):
        stations.mphc(arrival_rate=800.0, service=qt.Erlang(phases=200, mean=1.0), servers=1000)
    with pytest.raises(ValueError, match=r"mphc is off by up to .* rho is so close to 1"):
        stations.mphc(arrival_rate=4.0 * (1 - 1e-15), service=H2, servers=4)
    with pytest.raises(ValueError, match="mphck follows at most 1000000 requests present: capacity is 1000000000"):
        stations.mphck(arrival_rate=1.0, service=H2, servers=4, capacity=10**9)


# --- printed tables and other software


def rows(name):
    path = TABLES / name
    if not path.exists():
        pytest.skip(f"no {name}: outside data, not part of the project")
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def renewal(law):
    """Arrivals whose times between follow a phase-type law."""
    return qt.MAP(law.T, np.outer(-law.T.sum(axis=1), law.alpha))


def digits(found, value):
    return 17.0 if found == value else min(17.0, -math.log10(abs(found / value - 1.0)))


def of_software(row):
    text, model = row["parameters"], row["model"]
    if model == "PH/PH/c":
        arrivals, third = renewal(qt.Erlang(phases=2, mean=1 / 6).phase_type()), 1 / 3
        law = qt.Hyperexponential([third, 0.5, 1 / 6], [0.5, 1.0, 1 / 6])
        return stations.mapphc(process=arrivals, service=law, servers=5)
    if model in ("M/PH/c", "M/PH/c/K"):
        p = {name: value for name, value in re.findall(r"(\w+)=([\w.*]+)", text)}
        rate = math.prod(float(x) for x in p["lambda"].split("*"))
        if model == "M/PH/c":
            return stations.mphc(arrival_rate=rate, service=H2, servers=int(p["c"]))
        return stations.mphck(arrival_rate=rate, service=H2, servers=int(p["c"]), capacity=int(p["K"]))
    return None


def test_other_software():
    used = 0
    for row in rows("software.csv"):
        s, quantity, value = of_software(row), row["quantity"], float(row["independent_value"] or row["value"])
        if s is None:
            continue
        used += 1
        names = {"Wq": "mean_wait", "P(wait)": "delay_probability", "pK": "blocking", "L": "mean_in_system",
                 "X": "throughput"}  # fmt: skip
        if quantity in names:
            found, bound = getattr(s, names[quantity]), 3e-14
        else:
            found, bound = float(s.wait_sf(float(quantity[5:-1]))), 2e-7  # 8 digits are printed
        print(f"{digits(found, value):5.1f} digits  {row['model']}: {row['parameters']}: {quantity} = {value}")
        assert found == pytest.approx(value, rel=bound), row
    assert used == 10


def printed(row):
    """Our answer for a row that holds an exact value, or None."""
    p = dict(re.findall(r"([\w-]+)=([^\s;]+)", row["params"]))
    table, quantity, e2 = row["table"], row["quantity"], qt.Erlang(phases=2, mean=1.0)
    if not table.startswith(("Tijms", "Whitt")) or "exact" not in quantity or "approx" in quantity:
        return None
    rho, c = float(p["rho"]), int(p.get("c") or p["m"])
    if table == "Tijms 9.8.1":
        return stations.mphck(arrival_rate=c * rho, service=e2, servers=c, capacity=c + int(p["N"])).blocking
    if table == "Tijms 9.6.2":
        s = stations.mphc(arrival_rate=c * rho, service=e2, servers=c)
        return s.wait_quantile(1.0 - s.delay_probability * (1.0 - float(p["p"])))
    if table == "Tijms 9.7.1":
        process = renewal(qt.Erlang(phases=10, mean=1.0 / (c * rho)).phase_type())
        s = stations.mapphc(process=process, service=e2, servers=c)
        if quantity == "Lq exact":
            return s.mean_in_queue
        share = float(re.search(r"0\.\d+", quantity)[0])
        return s.wait_quantile(1.0 - s.delay_probability * (1.0 - share))
    if table == "Whitt 1993 Table 16":
        between = qt.Hyperexponential.balanced(mean=1.0 / (c * rho), scv=float(p["ca2"]))
        s = stations.mapphc(process=renewal(between.phase_type()), service=qt.Exponential(1.0), servers=c)
        return s.delay_probability
    if table == "Whitt 1993 Table 29":
        s = stations.mphc(arrival_rate=c * rho, service=e2, servers=c)
        return float(s.in_system_pmf[: c + 1].sum())
    return None


def test_printed_tables():
    used = 0
    for row in rows("published.csv"):
        found = printed(row)
        if found is None:
            continue
        used += 1
        text = row["value"]
        print(f"{digits(found, float(text)):5.1f} digits  {row['table']}: {row['params']}: {row['quantity']} = {text}")
        last = 10.0 ** -len(text.partition(".")[2])
        assert abs(found - float(text)) <= last, (row, found)
    print(f"{used} rows of published.csv")
    assert used == 38
