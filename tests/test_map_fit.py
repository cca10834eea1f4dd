"""Fits against known processes, and their parts against plain twins."""

import heapq
import itertools
import math

import numpy as np
import pytest
from scipy.special import gammaincc

from qtheory.arrivals import IPP, MAP, fit_dispersion, fit_map
from qtheory.arrivals.first_come import waits
from qtheory.arrivals.fit import Chain
from qtheory.arrivals.runs import losses
from qtheory.arrivals.states import Labels, Surroundings, _allotted, runs
from qtheory.arrivals.trial_queue import Case, exact, replayed
from qtheory.traces import Trace

KNOWN = IPP(rate=100.0, on=0.05, off=0.45).superposed(IPP(rate=30.0, on=4.0, off=4.0))
WINDOWS = np.geomspace(1e-3, 1e3, 25)


# ------------------------------------------------------------------------------------------------ the trial queue


@pytest.mark.parametrize("servers", [1, 2, 5])
def test_trial_queue_against_a_heap_of_servers(servers):
    rng = np.random.default_rng(1)
    arrival = KNOWN.sample(rng, 2000)
    service = rng.exponential(0.7 * servers / KNOWN.rate, 2000)
    free, expected = [0.0] * servers, []
    for now, served in zip(arrival, service, strict=True):
        begins = max(now, heapq.heappop(free))
        expected.append(begins - now)
        heapq.heappush(free, begins + served)
    np.testing.assert_allclose(waits(arrival, service, servers), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("servers", "busy"), [(1, 0.5), (3, 0.3), (3, 0.8)])
def test_exact_waits_against_a_cut_chain(servers, busy):
    """Levels 0 to 600 as one sparse chain, and Erlang waits summed over the levels found."""
    process = IPP(rate=3.0, on=2.0, off=3.0).superposed(MAP([[-2.0, 0.5], [0.0, -1.0]], [[1.0, 0.5], [1.0, 0.0]]))
    process = process.scaled(process.rate)
    n, levels, rate = process.order, 601, 1.0 / (servers * busy)
    down = rate * np.minimum(np.arange(levels), servers)
    up = np.eye(levels, k=1)
    chain = np.kron(up, process.D1) + np.kron(np.eye(levels, k=-1) * down[:, None], np.eye(n))
    chain += np.kron(np.eye(levels), process.D0) - np.kron(np.diag(down), np.eye(n))
    chain[-n:, -n:] += process.D1
    law = np.linalg.solve((chain + 1.0).T, np.ones(len(chain))).reshape(levels, n)
    found = law @ process.D1.sum(axis=1)
    behind = np.arange(levels - servers) + 1.0
    mean, quantile = exact(process, (Case(servers, busy),))[0]
    assert mean == pytest.approx(found[servers:] @ behind * busy, rel=1e-9)
    tail = gammaincc(behind, quantile / busy) @ found[servers:]
    assert tail == pytest.approx(0.01, rel=1e-6)


def test_exact_waits_of_any_number_of_servers_share_a_line():
    """M/M/c: delay probability by Erlang C, waits exponential; in one call for several."""
    from qtheory.stations import erlang_c

    cases = (Case(1, 0.9), Case(16, 0.9), Case(64, 0.9))
    for (servers, busy), (mean, quantile) in zip(cases, exact(MAP([[-7.0]], [[7.0]]), cases), strict=True):
        delayed, clear = erlang_c(servers=servers, load=servers * busy), 1.0 / busy - 1.0
        assert mean == pytest.approx(delayed / clear, rel=1e-10)
        assert quantile == pytest.approx(math.log(delayed / 0.01) / clear, rel=1e-10)


def test_replayed_sample_waits_as_the_process_does():
    process = KNOWN.scaled(KNOWN.rate)
    cases = (Case(1, 0.5), Case(4, 0.3))
    sampled = replayed(process.sample(np.random.default_rng(1), 1_000_000), np.random.default_rng(2), cases)
    np.testing.assert_allclose(sampled, exact(process, cases), rtol=0.05)


@pytest.mark.parametrize("case", [Case(4, 0.5), Case(2, 0.95)])
def test_exact_waits_are_those_of_the_station(case):
    from qtheory.laws import Exponential
    from qtheory.stations import mapphc

    process = KNOWN.scaled(KNOWN.rate)
    service = Exponential(mean=case.servers * case.utilization)
    station = mapphc(process=process, service=service, servers=case.servers)
    mean, quantile = exact(process, (case,))[0]
    assert mean == pytest.approx(station.mean_wait, rel=1e-8)
    assert quantile == pytest.approx(station.wait_quantile(0.99), rel=1e-5)


# --------------------------------------------------------------------------------------------- runs and states


def test_runs_against_joining_by_hand():
    gaps = np.random.default_rng(3).exponential(np.repeat([1.0, 0.1, 2.0], 8))
    total = lambda part: len(part) * math.log(part.sum() / len(part))  # noqa: E731
    parts, highest, expected = [gaps[i : i + 1] for i in range(24)], 0.0, np.full(24, np.inf)
    while len(parts) > 1:
        loss = [total(np.concatenate([a, b])) - total(a) - total(b) for a, b in itertools.pairwise(parts)]
        i = int(np.argmin(loss))
        highest = max(highest, loss[i])
        expected[sum(map(len, parts[: i + 1]))] = highest
        parts[i : i + 2] = [np.concatenate(parts[i : i + 2])]
    np.testing.assert_allclose(losses(gaps), expected, rtol=1e-9, atol=1e-12)


def test_runs_find_where_the_rate_changes():
    gaps = np.random.default_rng(4).exponential(np.repeat([1.0, 0.1, 2.0], [300, 500, 200]))
    starts = np.flatnonzero(np.diff(runs(losses(gaps), 20.0))) + 1
    assert len(starts) == 2
    np.testing.assert_allclose(starts, [300, 800], atol=10)


def test_stages_go_where_they_save_most():
    variance = np.array([9.0, 1.0, 4.0])
    best = min(
        (s for s in itertools.product(range(1, 9), repeat=3) if sum(s) == 10), key=lambda s: (variance / s).sum()
    )
    assert tuple(_allotted(variance, 10)) == best


def test_every_way_makes_a_process_of_the_allowed_order():
    gaps = np.diff(KNOWN.sample(np.random.default_rng(5), 3000)) * KNOWN.rate
    tried = list(Surroundings(gaps).labels(32))
    assert {labels.way for labels in tried} == {"clusters", "clusters in runs", "classes of runs", "runs in order"}
    for labels in tried:
        assert len(labels.state) == len(gaps)
        assert np.array_equal(np.unique(labels.state), np.arange(len(labels.stages)))
        process = Chain.of(gaps, labels, 32).process()
        assert process.order <= 32
        assert process.rate == pytest.approx(1.0, rel=1e-9)


# ------------------------------------------------------------------------------------------------------ the chain

MEANS, STAGES = np.array([0.2, 1.0, 3.0]), np.array([1, 2, 1])
P = np.array([[0.8, 0.1, 0.1], [0.3, 0.5, 0.2], [0.0, 0.4, 0.6]])


def test_chain_becomes_a_process_with_its_gaps():
    """Rate, scv and correlation of the gaps, from the chain's own stationary law."""
    process = Chain(MEANS, STAGES, P).process().scaled(0.2)
    system = np.vstack([P.T - np.eye(3), np.ones(3)])
    law = np.linalg.lstsq(system, np.array([0.0, 0.0, 0.0, 1.0]), rcond=None)[0]
    mean = law @ MEANS
    second = law @ (MEANS**2 * (1.0 + 1.0 / STAGES))
    assert process.order == 4
    assert process.rate == pytest.approx(5.0, rel=1e-12)
    assert process.scv == pytest.approx(second / mean**2 - 1.0, rel=1e-10)
    product = (law * MEANS) @ P @ MEANS
    assert process.autocorrelation(1) == pytest.approx((product - mean**2) / (second - mean**2), rel=1e-9)


def test_adjusted_chain_keeps_its_form():
    """Means by a factor; chances to stay by a factor of the odds; the other moves in proportion."""
    features = np.array([[1.0], [0.0], [-1.0]])
    chain = Chain(MEANS, STAGES, P).adjusted(features, np.array([0.5, 0.3, 0.1]))
    np.testing.assert_allclose(chain.means, MEANS * np.exp([0.5, 0.0, -0.5]))
    np.testing.assert_allclose(chain.P.sum(axis=1), 1.0)
    leave, left = 1.0 - np.diag(P), 1.0 - np.diag(chain.P)
    np.testing.assert_allclose(left / (1.0 - left), leave / (1.0 - leave) * np.exp([0.4, 0.1, -0.2]))
    np.testing.assert_allclose(chain.P[1, 0] / chain.P[1, 2], P[1, 0] / P[1, 2])
    same = Chain(MEANS, STAGES, P).adjusted(features, np.zeros(3))
    np.testing.assert_allclose(same.P, P)


def test_chain_counts_what_was_seen():
    labels = Labels.of("clusters", "by hand", np.array([7, 7, 3, 7, 3]), 4)
    chain = Chain.of(np.array([1.0, 2.0, 5.0, 3.0, 5.0]), labels, 16)
    np.testing.assert_allclose(chain.means, [5.0, 2.0])
    np.testing.assert_allclose(chain.P, [[0.0, 1.0], [2.0 / 3.0, 1.0 / 3.0]])
    assert chain.stages[0] == 4  # no variability: as many as allowed


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
    means = [float(exact(p, (Case(1, 0.5),))[0, 0]) for p in (mild, rare)]
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


def test_fit_is_within_what_the_arrivals_can_tell(fit):
    assert all(wait.low <= wait.target <= wait.high for wait in fit.waits)
    assert sum(wait.inside for wait in fit.waits) == len(fit.waits) == 18
    cases = tuple(Case(wait.servers, wait.utilization) for wait in fit.waits[::2])
    fitted = [(a.fitted, b.fitted) for a, b in zip(fit.waits[::2], fit.waits[1::2], strict=True)]
    np.testing.assert_allclose(exact(fit.process, cases), fitted, rtol=1e-6, atol=1e-9)


def test_a_timer_stays_regular():
    """Sixty requests a second all at once, as a flush brings them: waits, and counts that vary less in long windows."""
    rng = np.random.default_rng(9)
    bursts = [second + np.cumsum(rng.exponential(1e-3, rng.poisson(60))) for second in range(100)]
    fit = fit_map(np.concatenate(bursts))
    assert all(wait.inside for wait in fit.waits if wait.servers == 1)
    index = [matched.fitted for _, matched in fit.dispersion]
    assert index[-1] < 0.3 * max(index)


def test_poisson_arrivals_need_one_phase():
    fit = fit_map(np.cumsum(np.random.default_rng(10).exponential(size=5000)), order=16)
    assert fit.process.order == 1


def test_recounted_in_all_its_gaps_is_the_same(arrivals, fit):
    """And counted in the busier half, it is faster by as much."""
    gaps = np.diff(arrivals)
    same = fit.recounted(np.arange(len(gaps)))
    np.testing.assert_allclose(same.D1, fit.process.D1, rtol=1e-9)
    blocks = np.argsort([part.mean() for part in np.array_split(gaps, 20)])[:10]
    which = np.concatenate([np.array_split(np.arange(len(gaps)), 20)[k] for k in blocks])
    assert fit.recounted(which).rate == pytest.approx(1.0 / gaps[which].mean(), rel=1e-9)


def test_fit_takes_a_trace_and_is_the_same_every_time(arrivals, fit):
    none = np.zeros(len(arrivals), dtype=int)
    trace = Trace(arrival=arrivals, disk=none, disks=["vda"], op=none, offset=none, size=none)
    again = fit_map(trace, order=16)
    assert again.process == fit.process
    assert again.to_dict()["method"] == fit.method


@pytest.mark.parametrize(
    "times",
    [
        np.arange(1000.0),
        np.repeat(np.arange(100.0), 10),
        np.concatenate([np.zeros(600), np.ones(600)]),
        np.cumsum(10.0 ** np.random.default_rng(0).uniform(-9, 5, 2000)),
        np.cumsum(np.random.default_rng(0).exponential(np.linspace(1.0, 1e-3, 5000))),
    ],
    ids=["regular", "batches", "two instants", "fourteen decades", "trend"],
)
@pytest.mark.filterwarnings("error")
def test_odd_arrivals_are_fitted(times):
    fit = fit_map(times, order=16)
    assert fit.process.rate == pytest.approx((len(times) - 1) / (times[-1] - times[0]), rel=1e-6)
    assert all(math.isfinite(wait.fitted) for wait in fit.waits)


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
    with pytest.raises(ValueError, match=r"servers\[1\] must be a whole number"):
        fit_map(np.arange(1000.0), servers=[1, 0])
    with pytest.raises(ValueError, match="servers and utilizations must have at least one"):
        fit_map(np.arange(1000.0), servers=[])
