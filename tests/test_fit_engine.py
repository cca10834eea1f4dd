"""Engines from traces: known truth recovered, recordings matched, uncertainty that covers, refusals."""

import heapq
import json
from pathlib import Path

import numpy as np
import pytest

import qtheory as qt
from qtheory.arrivals.first_come import waits
from qtheory.fit import fit_engine
from qtheory.fit.device import _ks, _most_in_service, _outstanding, found_device
from qtheory.fit.streams import arrivals

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def trace_of(arrival, response=None, service=None, disk=None, names=("vda",)):
    none = np.zeros(len(arrival), dtype=int)
    return qt.Trace(
        arrival=arrival,
        disk=none if disk is None else disk,
        disks=names,
        op=none,
        offset=none,
        size=none,
        response=response,
        service=service,
    )


def recorded(law, servers, utilization, n=20_000, seed=5, service=False):
    """Poisson arrivals at a first come, first served device."""
    rng = np.random.default_rng(seed)
    arrival = np.cumsum(rng.exponential(law.mean / (servers * utilization), n))
    drawn = law.sample(rng, n)
    return trace_of(arrival, waits(arrival, drawn, servers) + drawn, drawn if service else None)


# ---------------------------------------------------------------------------------------------------- the device


@pytest.mark.parametrize(
    ("law", "servers", "utilization"),
    [
        (qt.Erlang(phases=8, mean=1.0), 1, 0.6),
        (qt.Lognormal(mean=1.0, scv=2.0), 4, 0.7),
        (qt.Exponential(mean=1.0), 16, 0.8),
        (qt.Hyperexponential.balanced(mean=1.0, scv=4.0), 8, 0.8),
    ],
)
def test_servers_and_law_are_found_from_responses(law, servers, utilization):
    found = found_device(recorded(law, servers, utilization), None, np.random.default_rng(1))
    assert found.servers == servers
    assert found.services.mean() == pytest.approx(law.mean, rel=0.05)
    assert found.services.var() / found.services.mean() ** 2 == pytest.approx(law.scv, rel=0.15)
    assert found.distance < 0.02


def test_service_times_are_recovered_one_by_one():
    trace = recorded(qt.Lognormal(mean=1.0, scv=2.0), 4, 0.7, service=True)
    found = found_device(trace_of(trace.arrival, trace.response), None, np.random.default_rng(1))
    np.testing.assert_allclose(found.services, trace.service, rtol=1e-6, atol=1e-9)


def in_any_order(servers, utilization, n=12_000, seed=7):
    """Arrivals, service times and responses where a free server takes any of those that wait."""
    rng = np.random.default_rng(seed)
    arrival, drawn = np.cumsum(rng.exponential(1.0 / (servers * utilization), n)), rng.exponential(size=n)
    done, waiting, free, k = np.empty(n), [], [0.0] * servers, 0
    while k < n or waiting:
        now = free[0] if waiting else max(free[0], arrival[k])
        while k < n and arrival[k] <= now:
            heapq.heappush(waiting, (rng.random(), k))
            k += 1
        _, which = heapq.heappop(waiting)
        done[which] = now + drawn[which]
        heapq.heapreplace(free, done[which])
    return arrival, drawn, done - arrival


def test_a_single_server_is_found_in_any_order():
    arrival, drawn, response = in_any_order(1, 0.85)
    found = found_device(trace_of(arrival, response), None, np.random.default_rng(1))
    assert (found.servers, found.method) == (1, "completions, one at a time in any order")
    np.testing.assert_allclose(found.services, drawn[found.chosen], rtol=1e-6, atol=1e-8)


def test_several_servers_that_reorder_are_told_by_replaying():
    """Within one or two: their order is not the replay's, and the distance says so."""
    arrival, _, response = in_any_order(4, 0.7)
    found = found_device(trace_of(arrival, response), None, np.random.default_rng(1))
    assert found.method == "responses of requests served at once"
    assert 3 <= found.servers <= 5
    assert found.distance > 0.02


def test_servers_that_hardly_matter_are_not_told_apart():
    found = found_device(recorded(qt.Exponential(mean=1.0), 8, 0.2), None, np.random.default_rng(1))
    assert found.servers <= 8
    assert found.most is None


def test_servers_from_service_times():
    """The most that overlap, however the responses came about."""
    found = found_device(recorded(qt.Exponential(mean=1.0), 3, 0.9, service=True), None, np.random.default_rng(1))
    assert (found.servers, found.least, found.most) == (3, 3, 3)
    assert len(found.services) == 20_000
    assert _most_in_service(np.array([0.0, 1.0, 1.5]), np.array([1.0, 1.0, 2.0])) == 2


def test_outstanding_against_counting():
    rng = np.random.default_rng(2)
    arrival, response = np.sort(rng.uniform(0, 10, 40)), rng.exponential(1.0, 40)
    expected = [sum(arrival[j] + response[j] > arrival[k] for j in range(k)) for k in range(40)]
    assert _outstanding(arrival, response).tolist() == expected


def test_ks_against_scipy():
    from scipy.stats import ks_2samp

    rng = np.random.default_rng(3)
    one, other = rng.exponential(size=300), rng.exponential(1.3, size=200).round(1)
    assert _ks(one, other) == pytest.approx(ks_2samp(one, other).statistic, rel=1e-12)


# ---------------------------------------------------------------------------------------------------- the engine


def test_poisson_disks_stay_poisson():
    rng = np.random.default_rng(4)
    arrival, disk = np.cumsum(rng.exponential(1e-3, 9000)), rng.choice(2, 9000, p=[0.25, 0.75])
    served = rng.exponential(1e-3, 9000)
    trace = trace_of(arrival, waits(arrival, served, 2) + served, disk=disk, names=("a", "b"))
    fit = fit_engine(trace)
    assert fit.engine.device.servers == 2
    assert all(isinstance(d.arrivals, qt.Poisson) for d in fit.engine.disks)
    np.testing.assert_allclose([d.arrivals.rate for d in fit.engine.disks], trace.rates)
    state = qt.solve(fit.engine)
    assert state.mean_response == pytest.approx(float(trace.response.mean()), rel=0.05)
    assert fit.error_bounds["mean_response"] < 0.05


BURSTS = qt.IPP(rate=4000.0, on=0.02, off=0.06)


@pytest.fixture(scope="module")
def shared():
    """Two disks that burst together, 3 to 1, at two exponential servers."""
    rng = np.random.default_rng(6)
    arrival, served = BURSTS.sample(rng, 12_000), rng.exponential(1e-3, 12_000)
    disk = rng.choice(2, 12_000, p=[0.75, 0.25])
    return trace_of(arrival, waits(arrival, served, 2) + served, disk=disk, names=("a", "b"))


@pytest.fixture(scope="module")
def fitted(shared):
    return fit_engine(shared, order=16)


def test_disks_that_burst_together_share_a_process(shared, fitted):
    one, two = (disk.arrivals for disk in fitted.engine.disks)
    assert isinstance(one, qt.Marked)
    assert one.process == two.process
    assert one.share == pytest.approx(np.mean(shared.disk == 0), rel=1e-12)
    assert fitted.engine.device.servers == 2
    assert fitted.engine.device.service.mean == pytest.approx(1e-3, rel=0.02)
    truth = qt.simulate(
        qt.Engine([qt.Disk(qt.Marked(BURSTS, share), buffer=4096) for share in (0.75, 0.25)],
                  qt.Device(servers=2, service=qt.Exponential(mean=1e-3))), 500_000,
    )  # fmt: skip
    answer = fitted.uncertainty(lambda e: qt.simulate(e, 100_000).mean_response.value, resamples=10)
    assert answer.low < truth.mean_response.value < answer.high
    assert answer.value == pytest.approx(truth.mean_response.value, rel=0.2)


def test_the_fitted_engine_can_be_solved(fitted):
    """As simulated, within the half-width and what the split over the disks leaves."""
    engine = fitted.phase_type_engine
    state, run = qt.solve(engine), qt.simulate(engine, 1_000_000)
    assert state.method == "markovian_arrivals"
    assert run.mean_response.covers(state.mean_response, half_widths=2.0)


def test_peakedness_is_compared(fitted):
    truth = BURSTS.peakedness(qt.Exponential(mean=1e-3))
    assert fitted.peakedness.target == pytest.approx(truth, rel=0.15)
    assert fitted.peakedness.fitted == pytest.approx(truth, rel=0.25)


def test_resampled_engines_differ_as_the_blocks_do(shared, fitted):
    """Rates of the refitted engines vary as the rates of drawn blocks; the same seed draws the same."""
    engines = list(fitted.resampled(30, seed=2))
    rates = np.array([sum(d.arrivals.rate for d in engine.disks) for engine in engines])
    means = [part.mean() for part in np.array_split(np.diff(shared.arrival), 20)]
    assert rates.std() / rates.mean() == pytest.approx(np.std(means) / np.mean(means) / np.sqrt(20), rel=0.5)
    assert next(fitted.resampled(1, seed=2)) == engines[0]
    everything = arrivals(shared, fitted._streams, np.arange(len(shared)))
    assert everything[0].rate == pytest.approx(fitted.engine.disks[0].arrivals.rate, rel=1e-3)


def test_processes_as_asked_for(shared):
    poisson = fit_engine(shared, processes="poisson")
    assert all(isinstance(d.arrivals, qt.Poisson) for d in poisson.engine.disks)
    own = fit_engine(shared, processes="own", order=16)
    assert [type(d.arrivals) for d in own.engine.disks] == [qt.MAP, qt.MAP]


def test_what_is_given_is_taken(shared):
    law = qt.Exponential(mean=1e-3)
    bare = trace_of(shared.arrival)
    fit = fit_engine(bare, servers=3, service=law, processes="poisson")
    assert fit.engine.device == qt.Device(servers=3, service=law)
    assert fit.service is None
    assert fit.error_bounds["mean_response"] == np.inf
    assert fit_engine(bare, device=qt.Device(curve=(10.0, 20.0)), processes="poisson").engine.device.curve == (
        10.0,
        20.0,
    )
    assert next(fit.resampled(1)).device == fit.engine.device


def test_text_and_json(fitted):
    text = str(fitted)
    for words in ("2 disk(s)", "Markovian", "shares 0.7", "servers: 2", "replayed", "modelled"):
        assert words in text
    shown = json.loads(json.dumps(fitted.to_dict()))
    assert shown["engine"]["arrivals"][0]["disks"] == ["a", "b"]
    assert shown["engine"]["servers"] == 2
    answers = fitted.answers(resamples=3, requests=100_000)
    assert answers["mean_response"].low <= answers["mean_response"].high
    assert answers["utilization"].value == pytest.approx(fitted.engine.offered_load / 2.0, rel=0.1)


def test_bundled_recording():
    """A guest of four disks, a quarter of it: responses of the fitted engine as recorded."""
    fit = fit_engine(qt.bundled_trace().select(stop=30.0), order=16)
    assert fit.modelled["mean"].error == pytest.approx(0.0, abs=0.1)
    assert fit.modelled["p99"].error == pytest.approx(0.0, abs=0.1)
    assert fit.distance > 0.1  # its device is no such thing, and that is told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "service and servers must be given"),
        ({"servers": 0}, "servers must be a whole number"),
        ({"processes": "all"}, "processes must be one of"),
        ({"device": qt.Device(curve=(1.0,)), "servers": 2}, "device must stand alone"),
        ({"servers": 2, "service": qt.Exponential(mean=1.0), "buffer": 0}, "buffer must be a whole number"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        fit_engine(trace_of(np.arange(1000.0)), **arguments)


def test_more_refusals():
    with pytest.raises(TypeError, match=r"trace must be a qt\.Trace"):
        fit_engine(np.arange(10.0))
    with pytest.raises(ValueError, match="trace must span some time"):
        fit_engine(trace_of(np.ones(600), np.ones(600)))
    with pytest.raises(ValueError, match="servers must be given: the trace has service times"):
        fit_engine(trace_of(np.arange(1000.0), service=np.ones(1000)))


# -------------------------------------------------------------------------------------------------- outside data


@pytest.mark.skipif(not DATA.exists(), reason="outside data is not there")
@pytest.mark.parametrize("service", [True, False])
def test_a_disk_is_a_single_server(service):
    """hplajw: service mean 25.4 ms, scv 0.13, whether it is recorded or found from the responses."""
    pl = pytest.importorskip("polars")
    rows = pl.read_csv(DATA / "hplajw" / "hplajw_1992_2disks.csv.gz").filter(pl.col("disk") == 0).sort("t_enqueue_s")
    arrival, start, stop = (rows[name].to_numpy() for name in ("t_enqueue_s", "start_us", "stop_us"))
    trace = trace_of(arrival, stop * 1e-6, (stop - start) * 1e-6 if service else None)
    found = found_device(trace, None, np.random.default_rng(1))
    assert found.servers == 1
    assert found.services.mean() == pytest.approx(25.4e-3, rel=0.02)
    assert found.services.var() / found.services.mean() ** 2 == pytest.approx(0.13, abs=0.02)
