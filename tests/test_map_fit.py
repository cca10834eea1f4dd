"""Fits against known processes, and their parts against plain twins."""

import heapq
import itertools
import math

import numpy as np
import pytest

from qtheory.arrivals import IPP, MAP, fit_dispersion, fit_map
from qtheory.arrivals.fit import Chain
from qtheory.arrivals.hidden_chain import em_step
from qtheory.arrivals.trial_queue import waits
from qtheory.traces import Trace

KNOWN = IPP(rate=100.0, on=0.05, off=0.45).superposed(IPP(rate=30.0, on=4.0, off=4.0))
WINDOWS = np.geomspace(1e-3, 1e3, 25)


# ------------------------------------------------------------------------------------------------ the trial queue


@pytest.mark.parametrize("servers", [1, 2, 5])
def test_trial_queue_against_a_heap_of_servers(servers):
    arrival = KNOWN.sample(np.random.default_rng(1), 2000)
    service = 0.7 * servers / KNOWN.rate
    free, expected = [0.0] * servers, []
    for now in arrival:
        begins = max(now, heapq.heappop(free))
        expected.append(begins - now)
        heapq.heappush(free, begins + service)
    np.testing.assert_allclose(waits(arrival, service, servers), expected, rtol=1e-12, atol=1e-12)


# ---------------------------------------------------------------------------------------------- the hidden chain

MEANS, STAGES = np.array([0.2, 1.0, 3.0]), np.array([1.0, 2.0, 1.0])
P = np.array([[0.8, 0.1, 0.1], [0.3, 0.5, 0.2], [0.0, 0.4, 0.6]])
GAPS = np.array([0.1, 0.4, 2.0, 0.05, 1.1])


def densities(gap):
    rate = STAGES / MEANS
    return rate**STAGES * gap ** (STAGES - 1.0) * np.exp(-rate * gap) / np.array([math.gamma(k) for k in STAGES])


def test_em_step_sums_over_all_paths():
    """Likelihood, visits and moves from every one of the 3⁵ paths of states."""
    weight, visits, time, moves = 0.0, np.zeros(3), np.zeros(3), np.zeros((3, 3))
    for path in itertools.product(range(3), repeat=len(GAPS)):
        p = 1.0 / 3.0
        for a, b in itertools.pairwise(path):
            p *= P[a, b]
        for state, gap in zip(path, GAPS, strict=True):
            p *= densities(gap)[state]
        weight += p
        for state, gap in zip(path, GAPS, strict=True):
            visits[state] += p
            time[state] += p * gap
        for a, b in itertools.pairwise(path):
            moves[a, b] += p
    means, better, likelihood = em_step(GAPS, MEANS, STAGES, P)
    assert likelihood == pytest.approx(math.log(weight), rel=1e-12)
    np.testing.assert_allclose(means, time / visits, rtol=1e-10)
    np.testing.assert_allclose(better, moves / moves.sum(axis=1, keepdims=True), rtol=1e-10)


def test_em_never_lowers_the_likelihood():
    gaps = np.diff(KNOWN.sample(np.random.default_rng(2), 3000))
    means, chain, found = MEANS / 10.0, np.full((3, 3), 1.0 / 3.0) + 0.3 * (np.eye(3) - 1.0 / 3.0), []
    for _ in range(15):
        means, chain, likelihood = em_step(gaps, means, STAGES, chain)
        found.append(likelihood)
    assert np.all(np.diff(found) > -1e-9 * abs(found[0]))
    assert found[-1] > found[0] + 100.0


def test_chain_becomes_a_process_with_its_gaps():
    """Rate, scv and correlation of the gaps, from the chain's own stationary law."""
    process = Chain(MEANS, STAGES.astype(int), P, "").process(5.0)
    system = np.vstack([P.T - np.eye(3), np.ones(3)])
    law = np.linalg.lstsq(system, np.array([0.0, 0.0, 0.0, 1.0]), rcond=None)[0]
    mean = law @ MEANS
    second = law @ (MEANS**2 * (1.0 + 1.0 / STAGES))
    assert process.order == 4
    assert process.rate == pytest.approx(5.0, rel=1e-12)
    assert process.scv == pytest.approx(second / mean**2 - 1.0, rel=1e-10)
    product = (law * MEANS) @ P @ MEANS
    assert process.autocorrelation(1) == pytest.approx((product - mean**2) / (second - mean**2), rel=1e-9)


# -------------------------------------------------------------------------------------------- fit of a dispersion


def test_dispersion_round_trip():
    fit = fit_dispersion(WINDOWS, KNOWN.dispersion(WINDOWS), KNOWN.rate)
    assert fit.rate == pytest.approx(KNOWN.rate, rel=1e-12)
    assert fit.order <= 2**5
    np.testing.assert_allclose(fit.dispersion(WINDOWS), KNOWN.dispersion(WINDOWS), rtol=0.02)


def test_rarer_bursts_have_the_same_dispersion_and_longer_waits():
    index = KNOWN.dispersion(WINDOWS)
    mild, rare = (fit_dispersion(WINDOWS, index, KNOWN.rate, on=on) for on in (None, 0.02))
    np.testing.assert_allclose(rare.dispersion(WINDOWS), mild.dispersion(WINDOWS), rtol=1e-8)
    service = 0.5 / KNOWN.rate
    means = [waits(p.sample(np.random.default_rng(3), 400_000), service, 1).mean() for p in (mild, rare)]
    assert means[1] > 1.5 * means[0]


def test_poisson_dispersion_gives_poisson():
    fit = fit_dispersion([0.1, 1.0, 10.0], [1.0, 1.0, 1.0], 4.0)
    assert fit == MAP([[-4.0]], [[4.0]])


def test_fewer_parts_make_a_smaller_process():
    index = 1.0 + WINDOWS**0.5 * 3.0  # long-range dependent: every scale counts
    orders = [fit_dispersion(WINDOWS, index, 10.0, parts=parts).order for parts in (1, 2, 4)]
    assert orders == sorted(orders)
    assert orders[0] <= 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 2.0], [1.5, 0.5], 1.0), r"dispersion\[1\] must be at least 0.9, not 0.5"),
        (([2.0, 1.0], [1.5, 1.5], 1.0), "windows must be two or more times that rise"),
        (([1.0, 2.0], [1.5], 1.0), "dispersion must have a finite number for each window"),
        (([1.0, 2.0], [1.5, math.nan], 1.0), "dispersion must have a finite number"),
        (([1.0, 2.0], [1.5, 1.5], 0.0), "rate must be a positive"),
    ],
)
def test_refused_dispersions(arguments, message):
    with pytest.raises(ValueError, match=message):
        fit_dispersion(*arguments)


def test_refused_options():
    with pytest.raises(ValueError, match="on must be at most"):
        fit_dispersion(WINDOWS, KNOWN.dispersion(WINDOWS), KNOWN.rate, on=0.99)
    with pytest.raises(ValueError, match="parts must be at most 6"):
        fit_dispersion(WINDOWS, KNOWN.dispersion(WINDOWS), KNOWN.rate, parts=7)


# ------------------------------------------------------------------------------------------------ fit of arrivals


@pytest.fixture(scope="module")
def arrivals():
    return KNOWN.sample(np.random.default_rng(5), 6000)


@pytest.fixture(scope="module")
def fit(arrivals):
    return fit_map(arrivals, order=16)


def test_fit_matches_what_it_says(arrivals, fit):
    """Rate exact; scv and dispersion as reported, from the process and from the arrivals, counted anew."""
    process = fit.process
    assert process.rate == pytest.approx((len(arrivals) - 1) / (arrivals[-1] - arrivals[0]), rel=1e-9)
    assert process.order <= 16
    gaps = np.diff(arrivals)
    assert fit.figures["scv"].target == pytest.approx(gaps.var() / gaps.mean() ** 2, rel=1e-9)
    assert fit.figures["scv"].fitted == process.scv
    assert fit.figures["autocorrelation"].target == pytest.approx(np.corrcoef(gaps[1:], gaps[:-1])[0, 1], rel=0.01)
    window, matched = fit.dispersion[2]
    edges = arrivals[0] + window * np.arange(int((arrivals[-1] - arrivals[0]) // window) + 1)
    counts = np.histogram(arrivals, edges)[0]
    assert matched.target == pytest.approx(counts.var() / counts.mean(), rel=1e-3)
    assert matched.fitted == pytest.approx(float(process.dispersion(window)), rel=1e-12)
    assert fit.error_bounds["dispersion"] == max(abs(pair.error) for _, pair in fit.dispersion)
    assert fit.exact is False


def test_fit_of_a_known_process_waits_like_its_arrivals(arrivals, fit):
    """Within 30 % for exponential service at half load, where Poisson is less than a third of it."""
    service = 0.5 / fit.process.rate

    def mean_wait(times):
        rng = np.random.default_rng(6)
        wait, total = 0.0, 0.0
        gaps = np.diff(times)
        for gap, served in zip(gaps, rng.exponential(service, len(gaps)), strict=True):
            total += wait
            wait = max(0.0, wait + served - gap)
        return total / len(gaps)

    recorded = mean_wait(arrivals)
    assert mean_wait(fit.process.sample(np.random.default_rng(7), 300_000)) == pytest.approx(recorded, rel=0.3)
    assert service < recorded / 3.0  # M/M/1 at load 1/2 waits one service time


def test_fit_takes_a_trace_and_is_the_same_every_time(arrivals, fit):
    none = np.zeros(len(arrivals), dtype=int)
    trace = Trace(arrival=arrivals, disk=none, disks=["vda"], op=none, offset=none, size=none)
    again = fit_map(trace, order=16)
    assert again.process == fit.process
    assert again.to_dict()["method"] == fit.method


def test_simultaneous_arrivals_and_a_trend_are_told():
    """Batches stamped alike, and a rate that falls to a third: a process all the same, with a warning."""
    rng = np.random.default_rng(8)
    batches = np.cumsum(np.concatenate([rng.exponential(0.1, 600), rng.exponential(0.3, 400)]))
    fit = fit_map(np.repeat(batches, 2), order=16)
    assert any("rate is not constant" in warning for warning in fit.warnings)
    assert fit.process.rate == pytest.approx(1999 / (batches[-1] - batches[0]), rel=1e-9)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (np.arange(100.0), "arrivals must be at least 500 times"),
        (np.zeros((1000, 2)), "arrivals must be at least 500 times"),
        (np.zeros(1000), "arrivals must span some time"),
        (np.arange(1000.0)[::-1], r"arrivals must be in order, but arrivals\[1\]"),
        (np.where(np.arange(1000) == 7, np.nan, np.arange(1000.0)), r"arrivals\[7\] must be finite"),
    ],
)
def test_refused_arrivals(times, message):
    with pytest.raises(ValueError, match=message):
        fit_map(times)


def test_refused_fit_options():
    with pytest.raises(ValueError, match="order must be a whole number >= 16"):
        fit_map(np.arange(1000.0), order=4)
    with pytest.raises(ValueError, match="service_scale must be a positive"):
        fit_map(np.arange(1000.0), service_scale=0.0)
