"""The validation against real drains, on synthetic ones of which all is known, and on recorded ones."""

from __future__ import annotations

import heapq

import numpy as np
import pytest

import qtheory as qt

real_drains = pytest.importorskip("validation.real_drains", reason="validation/ is in the repository only")

TURNAROUND = 20e-6


def synthetic(batches, seed):
    """Batches through 64 workers: latencies of a shape, by operation and size, and a factor for each batch."""
    rng = np.random.default_rng(seed)
    rows = []
    for batch, factor in enumerate(np.exp(0.25 * rng.standard_normal(batches))):
        n = int(rng.integers(100, 500))
        read = rng.random(n) < rng.uniform(0.3, 0.8)
        size = 4096.0 * rng.integers(1, 9, n)
        latency = factor * (np.where(read, 1.5e-3, 0.5e-3) + 5e-8 * size) * rng.gamma(4.0, 0.25, n)
        free = [0.0] * real_drains.WORKERS
        for r, s, taken in zip(read, size, latency, strict=True):
            start = heapq.heappop(free)
            rows.append((batch, r, s, start, start + taken))
            heapq.heappush(free, start + taken + factor * TURNAROUND)
    batch, read, size, start, end = (np.array(column) for column in zip(*rows, strict=True))
    return real_drains.Requests(batch, read, size, start, end)


@pytest.fixture(scope="module")
def requests():
    return synthetic(80, seed=1)


def test_single_requests_are_found_again(requests):
    """In the mean of four, whose standard error is 2 % where it is largest."""
    fits = [real_drains.fitted(one, np.arange(80)) for one in (requests, *(synthetic(80, seed) for seed in (2, 3, 4)))]
    assert np.mean([fit.latency for fit in fits], axis=0) == pytest.approx([1.5e-3, 0.5e-3, 5e-8, 5e-8], rel=0.05)
    assert np.mean([fit.turnaround for fit in fits]) == pytest.approx(TURNAROUND, rel=0.05)
    assert np.mean([np.log(fit.factors).std() for fit in fits]) == pytest.approx(0.25, rel=0.15)
    assert np.log(fits[0].factors).mean() == pytest.approx(0.0, abs=1e-12)


def test_synthetic_drains_are_predicted(requests):
    """From other batches, as in the validation: all that it states holds here."""
    fit = real_drains.fitted(requests, np.arange(0, 80, 2))
    odd = np.arange(1, 80, 2)
    batches, makespans = requests.batches.of(odd), requests.makespans[odd]
    row = real_drains.compared(fit.quantiles(batches), batches, makespans)
    assert row["ratio"] <= real_drains.STATED_RATIO
    assert 0.8 <= row["inside the 90 % interval"] <= 1.0
    assert row["median ratio predicted/measured"] == pytest.approx(1.0, abs=0.1)


def test_makespans_and_batches_are_those_of_the_rows(requests):
    inside = requests.batch == 7
    assert requests.makespans[7] == requests.end[inside].max() - requests.start[inside].min()
    assert requests.batches.requests[7] == inside.sum()
    assert requests.batches.reads[7] == requests.read[inside].sum()


def test_least_absolute_deviations():
    """An outlier does not move it."""
    x = np.arange(20.0)
    columns = np.stack([np.ones(20), x], axis=1)
    y = 3.0 + 2.0 * x
    y[4] = 1e6
    assert real_drains.regression(columns, y) == pytest.approx([3.0, 2.0], rel=1e-6)


def test_work_of_a_single_server():
    """Against the recursion in plain Python, and M/M/1's drain."""
    rng = np.random.default_rng(2)
    arrival, service = np.cumsum(rng.exponential(1.0, 40_000)), rng.exponential(0.5, 40_000)
    work = real_drains.Work.of(arrival, service)
    left, periods, begun = 0.0, [], 0.0
    for i in range(len(arrival) - 1):
        left += service[i]
        assert work.after[i] == pytest.approx(left, abs=1e-9)
        gap = arrival[i + 1] - arrival[i]
        begun += min(left, gap)
        left = max(left - gap, 0.0)
        if left == 0.0:
            periods.append(begun)
            begun = 0.0
    assert work.busy_periods == pytest.approx(periods, abs=1e-9)
    engine = qt.Engine([qt.Disk(qt.Poisson(1.0))], qt.Device(1, qt.Exponential(mean=0.5)))
    drain = qt.drain_time(engine)
    assert work.mean == pytest.approx(drain.mean, rel=0.06)  # three standard errors
    assert work.sf(1.0) == pytest.approx(drain.sf(1.0), rel=0.06)
    assert np.mean(periods) == pytest.approx(1.0, rel=0.05)


@pytest.mark.skipif(not real_drains.DATA.exists(), reason="outside data are not there")
def test_recorded_drains():
    """The batches of a trace that is not there request by request, from one that is."""
    requests = real_drains.flashnet()
    fit = real_drains.fitted(requests, np.arange(len(requests.batches.requests)))
    name, batches, makespans = next(real_drains.other_batches())
    assert (name, len(makespans)) == ("most_rand_iops.537", 55)
    row = real_drains.compared(fit.quantiles(batches), batches, makespans)
    low, high = real_drains.STATED_COVERAGE
    assert row["ratio"] <= real_drains.STATED_RATIO
    assert low <= row["inside the 90 % interval"] <= high
