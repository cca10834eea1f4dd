"""The simulator against closed forms, laws that hold whatever the model, and bad input.

Every seed is fixed. Comparisons allow `WIDE` half-widths of 95 % intervals: two are about four standard deviations.
"""

import json
import math
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import qtheory as qt
from qtheory.result import Estimate
from qtheory.simulate import simulate
from qtheory.simulate.batch_means import ratio
from qtheory.simulate.draws import Draws, alias_table
from qtheory.simulate.fcfs import FcfsRun
from qtheory.simulate.histogram import BINS, Histogram
from qtheory.simulate.mser import truncation

WIDE = 2.0


def birth_death(births, deaths):
    """Stationary pmf from birth rates b(0).. and death rates d(1)..."""
    weights = np.concatenate([[1.0], np.cumprod(np.asarray(births) / np.asarray(deaths))])
    return weights / weights.sum()


def station(rate, servers, buffer, *, mean=1.0, disks=1, **engine):
    members = [qt.Disk(qt.Poisson(rate / disks), buffer=buffer)] * disks
    return qt.Engine(members, qt.Device(servers=servers, service=qt.Exponential(mean)), **engine)


def rigid(engine):
    """The same engine, made for the event kernel: caps that never bind."""
    return qt.Engine(engine.disks, engine.device, engine.queue_length, engine.hold, (10**6,) * len(engine.disks))


def close(estimate, value, half_widths=WIDE):
    assert estimate.covers(value, half_widths=half_widths), f"{estimate} against {value}"


def harmonic(n):
    return sum(1.0 / k for k in range(1, n + 1))


@pytest.mark.parametrize("form", [lambda e: e, rigid], ids=["fcfs", "events"])
def test_mmck_closed_form(form):
    servers, load, room = 4, 3.4, 40
    engine = form(station(load, servers, room))
    run = simulate(engine, requests=4_000_000, seed=3)
    n = np.arange(room + 1)
    pmf = birth_death([load] * room, np.minimum(n[1:], servers))
    accepted = load * (1 - pmf[-1])
    mean = float(n @ pmf)
    close(run.blocking, pmf[-1])
    close(run.throughput, accepted)
    close(run.mean_in_system, mean)
    close(run.mean_in_flight, mean)
    close(run.mean_response, mean / accepted)
    close(run.mean_wait, mean / accepted - 1.0)
    close(run.utilization, accepted / servers)
    drains = np.array([max(k - servers, 0) / servers + harmonic(min(k, servers)) for k in n])
    close(run.drain.mean, float(drains @ pmf))
    assert np.abs(run.in_system_pmf - pmf).sum() < 0.03
    found = pmf[:-1] / pmf[:-1].sum()
    waits = 1.0 - found[:servers].sum()
    assert run.wait_quantile(0.9 * (1.0 - waits)).value == 0.0
    assert float(run.drain.cdf(0.0)) == pytest.approx(pmf[0], rel=0.1)
    median = run.drain.quantile(0.5).value
    assert float(run.drain.cdf(median)) == pytest.approx(0.5, abs=1e-6)


def test_wait_quantile_of_mm1():
    run = simulate(station(0.8, 1, 2000), requests=1_500_000, seed=5)
    close(run.response_quantile(0.99), -math.log(0.01) / 0.2)
    close(run.wait_quantile(0.9), -math.log(0.1 / 0.8) / 0.2)
    close(run.drain.quantile(0.9), -math.log(0.1 / 0.8) / 0.2)
    assert 0 < run.response_quantile(0.99).half_width < 3.0


@pytest.mark.parametrize("law", [qt.Exponential(1.0), qt.Deterministic(1.0)], ids=["exponential", "constant"])
@pytest.mark.parametrize("hold", ["lost", "refuse"])
def test_erlang_b_whatever_the_law(law, hold):
    """Ten servers, load 8, no room to wait; lost at the buffer or refused at Q."""
    disk = qt.Disk(qt.Poisson(8.0), buffer=10 if hold == "lost" else 50)
    options = {} if hold == "lost" else {"queue_length": 10, "hold": "refuse"}
    run = simulate(qt.Engine([disk], qt.Device(servers=10, service=law), **options), requests=400_000, seed=7)
    b = 1.0
    for k in range(1, 11):
        b = 8.0 * b / (k + 8.0 * b)
    close(run.blocking, b)
    assert run.mean_wait.value == 0.0


def test_machine_repair():
    """Closed(outstanding 6, think time 2) before 2 servers."""
    disk = qt.Disk(qt.Closed(outstanding=6, think_time=2.0))
    engine = qt.Engine([disk], qt.Device(servers=2, service=qt.Exponential(1.0)))
    run = simulate(engine, requests=300_000, seed=11)
    n = np.arange(7)
    pmf = birth_death((6 - n[:-1]) / 2.0, np.minimum(n[1:], 2))
    close(run.throughput, float(np.minimum(n, 2) @ pmf))
    close(run.mean_in_system, float(n @ pmf))
    close(run.utilization, float(np.minimum(n, 2) @ pmf) / 2)
    assert run.method == "simulation: event kernel"
    assert run.blocking.value == 0.0
    drains = np.array([max(k - 2, 0) / 2 + harmonic(min(k, 2)) for k in n])
    close(run.drain.mean, float(drains @ pmf))


def test_closed_guest_larger_than_its_buffer():
    """8 circulate, 3 fit: arrivals at rate min of the thinking, and those in the guest come in at completions."""
    disk = qt.Disk(qt.Closed(outstanding=8, think_time=4.0), buffer=3)
    run = simulate(qt.Engine([disk], qt.Device(servers=1, service=qt.Exponential(1.0))), requests=300_000, seed=12)
    n = np.arange(9)
    pmf = birth_death((8 - n[:-1]) / 4.0, np.ones(8))
    close(run.throughput, 1 - pmf[0])
    close(run.mean_in_system, float(np.minimum(n, 3) @ pmf))


def test_rate_curve():
    curve = (1.0, 1.6, 1.5, 2.4)
    engine = qt.Engine([qt.Disk(qt.Poisson(0.6), buffer=10)] * 2, qt.Device(curve=curve), queue_length=6)
    run = simulate(engine, requests=400_000, seed=13)
    n = np.arange(21)
    # product form: P(n) ∝ Λ-convolution; with room for 20 the buffers of 10 hardly bind
    pmf = birth_death([1.2] * 20, [curve[min(k, 4) - 1] for k in n[1:]])
    close(run.mean_in_system, float(n @ pmf), 3.0)
    close(run.mean_in_flight, float(np.minimum(n, 6) @ pmf), 3.0)
    drains = np.array([sum(1.0 / curve[min(j, 4) - 1] for j in range(1, k + 1)) for k in n])
    close(run.drain.mean, float(drains @ pmf), 3.0)
    close(run.utilization, 1.2 / 2.4, 3.0)


def test_one_fifo_line_before_separate_devices():
    """Saturated, N = 4 single-server devices, Q slots: X(Q)/X(∞) = Q/(Q + N − 1) as the buffers grow."""
    for q in (4, 12):
        disks = [qt.Disk(qt.Closed(400), buffer=400, device=qt.Device(servers=1, service=qt.Exponential(1.0)))] * 4
        engine = qt.Engine(disks, queue_length=q, hold="ring")
        run = simulate(engine, requests=400_000, seed=17)
        close(run.throughput, 4 * q / (q + 3), 3.0)  # buffers of 400 instead of infinite ones
        assert run.mean_in_flight.value == pytest.approx(q)
        assert run.mean_in_system.value == pytest.approx(1600)
    equal = simulate(qt.Engine(disks, queue_length=12, hold="ring", shares="equal"), requests=100_000, seed=17)
    close(equal.throughput, 4.0)


def test_two_saturated_disks_share_one_line():
    """Exact for saturated disks: n at the devices ∝ Π 1/(K − nᵢ)! on Σ nᵢ = Q, here K = 6 and Q = 5."""
    device = qt.Device(servers=1, service=qt.Exponential(1.0))
    disks = [qt.Disk(qt.Closed(6), buffer=6, device=device)] * 2
    run = simulate(qt.Engine(disks, queue_length=5), requests=300_000, seed=19)
    weights = np.array([1.0 / (math.factorial(6 - n) * math.factorial(6 - (5 - n))) for n in range(6)])
    pmf = weights / weights.sum()
    close(run.throughput, 2 * (1 - pmf[0]))


@pytest.mark.parametrize("hold", ["ring", "engine"])
def test_drain_of_held_requests(hold):
    """Saturated K = 20 at c = Q = 4 exponential servers: a drain waits for 4 or for 20."""
    engine = qt.Engine([qt.Disk(qt.Closed(20), buffer=20)], qt.Device(servers=4, service=qt.Exponential(1.0)), 4, hold)
    run = simulate(engine, requests=100_000, seed=23)
    close(run.drain.mean, harmonic(4) + (4.0 if hold == "engine" else 0.0))


def test_ring_drain_in_the_fast_kernel():
    """M/M/2 with Q = 3 slots: the drain waits for min(n, 3)."""
    run = simulate(station(1.6, 2, 200, queue_length=3, hold="ring"), requests=600_000, seed=29)
    assert run.method == "simulation: fcfs kernel"
    n = np.arange(201)
    pmf = birth_death([1.6] * 200, np.minimum(n[1:], 2))
    drains = np.array([max(min(k, 3) - 2, 0) / 2 + harmonic(min(k, 2)) for k in n])
    close(run.drain.mean, float(drains @ pmf))
    close(run.mean_in_flight, float(np.minimum(n, 3) @ pmf))


def test_kernels_agree():
    engine = station(6.0, 8, 5, disks=4)
    fast, general = simulate(engine, requests=200_000, seed=31), simulate(rigid(engine), requests=200_000, seed=31)
    assert fast.mean_wait.value == pytest.approx(general.mean_wait.value, rel=0.02)
    assert fast.blocking.value == pytest.approx(general.blocking.value, rel=0.05)


def test_little_and_flow_conservation():
    engine = qt.Engine(
        [qt.Disk(qt.Poisson(3.0), buffer=4), qt.Disk(qt.Poisson(1.0), buffer=9), qt.Disk(qt.Closed(3, 1.0))],
        qt.Device(servers=3, service=qt.Exponential(0.6)),
        queue_length=5,
        shares=(2, 3, 2),
    )
    run = simulate(engine, requests=200_000, seed=37, warmup=1000)
    assert run.mean_in_system.value == pytest.approx(run.throughput.value * run.mean_response.value, rel=1e-3)
    assert run.throughput.value == pytest.approx(sum(d.throughput.value for d in run.disks))
    assert run.mean_in_system.value == pytest.approx(sum(d.mean_in_system.value for d in run.disks))
    for disk in run.disks:
        assert disk.pmf.sum() == pytest.approx(1.0)
        assert disk.pmf @ np.arange(len(disk.pmf)) == pytest.approx(disk.mean_in_system.value)
        assert disk.mean_in_system.value == pytest.approx(disk.throughput.value * disk.mean_response.value, rel=1e-2)
    assert run.in_system_pmf @ np.arange(len(run.in_system_pmf)) == pytest.approx(run.mean_in_system.value)
    offered = run.disks[0].throughput.value / (1 - run.disks[0].blocking.value)
    assert offered == pytest.approx(3.0, rel=0.02)
    assert run.disks[2].blocking == Estimate(0.0, 0.0)
    assert run.warmup == 1000


def test_seeds_reproduce():
    for engine in (station(3.0, 4, 6, disks=3), rigid(station(3.0, 4, 6, disks=3))):
        one, same, other = (simulate(engine, requests=20_000, seed=s) for s in (1, 1, 2))
        assert json.dumps(one.to_dict()) == json.dumps(same.to_dict())
        assert one.mean_wait != other.mean_wait


def test_coverage_of_the_intervals():
    """Of 40 runs of M/M/2 about 95 % cover the mean wait: at least 33 with overwhelming probability."""
    n = np.arange(401)
    pmf = birth_death([1.0] * 400, np.minimum(n[1:], 2))
    wait = float(np.maximum(n - 2, 0) @ pmf)
    runs = [simulate(station(1.0, 2, 400), requests=40_000, seed=s) for s in range(40)]
    assert sum(r.mean_wait.covers(wait) for r in runs) >= 33
    drain = sum(p * (max(k - 2, 0) / 2 + harmonic(min(k, 2))) for k, p in enumerate(pmf))
    assert sum(r.drain.mean.covers(drain) for r in runs) >= 33


def trace_of(arrival, disk, names, service=None):
    return SimpleNamespace(arrival=arrival, disk=disk, disks=names, service=service)


def test_replay_of_a_trace():
    """Two requests a second each second, one server of 0.4 s: waits 0 and 0.4, at any speed that changes neither."""
    arrival = np.repeat(np.arange(1000.0) + 77.0, 2)
    trace = trace_of(arrival, np.tile([0, 1], 1000), ("a", "b"), np.full(2000, 0.4))
    engine = qt.Engine([qt.Disk(qt.Poisson(1.0))] * 2, qt.Device(servers=1, service=qt.Exponential(1.0)))
    for form in (engine, rigid(engine)):
        run = simulate(form, trace=trace)
        assert run.requests == 2000
        assert run.mean_wait.value == pytest.approx(0.2)
        assert run.disks[1].mean_wait.value == pytest.approx(0.4)
        assert run.simulated_time == pytest.approx(999.8)
        assert run.mean_in_system.value == pytest.approx(1.2 * 1000 / 999.8)
        assert run.wait_quantile(0.9).value == pytest.approx(0.4, rel=1e-3)
        assert any("recorded" in w for w in run.warnings)
        assert run.drain.samples > 50
        fast = simulate(form, trace=trace, speedup=2.0)
        assert fast.disks[1].mean_wait.value > 0.4
    drawn = simulate(engine, trace=trace, service="drawn")
    assert drawn.mean_wait.value > 0.4
    bare = simulate(engine, trace=trace_of(arrival, trace.disk, trace.disks))
    assert any("drawn" in w for w in bare.warnings)


def test_trace_drains_equal_time_average():
    """A trace that is Poisson: stops at random times see what arrivals see."""
    rng = np.random.default_rng(41)
    trace = trace_of(np.cumsum(rng.exponential(1.0, 200_000)), np.zeros(200_000, int), ("a",), None)
    run = simulate(station(1.0, 1, 400, mean=0.5), trace=trace, service="drawn", stops=1.0)
    close(run.drain.mean, 0.5, 3.0)


def test_guests_that_wait_lose_nothing():
    disk = qt.Disk(qt.Poisson(0.8), buffer=2, full="wait")
    run = simulate(qt.Engine([disk], qt.Device(servers=1, service=qt.Exponential(1.0))), requests=400_000, seed=43)
    assert run.blocking.value == 0.0
    close(run.throughput, 0.8)
    close(run.mean_in_system, 0.8 + 0.64)  # E min(n, 2) of M/M/1


def test_large_systems():
    """Thousands of servers, disks, places and slots: no step costs as much as there is of them."""
    many = [qt.Disk(qt.Poisson(1.0), buffer=1024)] * 1000
    device = qt.Device(servers=1000, service=qt.Exponential(0.9))
    assert simulate(qt.Engine(many, device), requests=100_000).blocking.value == 0.0
    engine = qt.Engine(many, device, queue_length=1024, shares="equal")
    assert simulate(engine, requests=100_000).method == "simulation: event kernel"
    own = [qt.Disk(qt.Closed(1024), 1024, device=qt.Device(servers=2, service=qt.Exponential(1.0)))] * 1000
    run = simulate(qt.Engine(own, queue_length=1024), requests=50_000)
    assert run.mean_in_flight.value == pytest.approx(1024)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"requests": 0}, "requests must be a whole number >= 1, not 0"),
        ({"requests": 1.5}, "requests must be"),
        ({"seed": -1}, "seed must be"),
        ({"speedup": 0.0}, "speedup must be"),
        ({"speedup": 2.0}, "speedup must be left out without a trace"),
        ({"service": "drawn"}, "service must be left out without a trace"),
        ({"stops": -3.0}, "stops must be"),
        ({"warmup": -1}, "warmup must be"),
        ({"requests": 10, "warmup": 10}, "warmup must be less than"),
        ({"trace": trace_of([0.0], [0], ("a", "b"))}, "it has 2, the engine 1"),
        ({"trace": trace_of([], [], ("a",))}, "trace must have at least one request"),
        ({"trace": trace_of([1.0, 0.5], [0, 0], ("a",))}, "arrival times in order"),
        ({"trace": trace_of([1.0, math.nan], [0, 0], ("a",))}, "finite arrival times"),
        ({"trace": trace_of([1.0, 2.0], [0, 1], ("a",))}, "disk index from 0 to 0"),
        ({"trace": trace_of([1.0], [0], ("a",), [-1.0])}, "finite service time"),
        ({"trace": trace_of([1.0], [0], ("a",)), "service": "recorded"}, "no service times"),
        ({"trace": trace_of([1.0], [0], ("a",)), "service": "x"}, "service must be one of"),
        ({"trace": trace_of([1.0], [0], ("a",)), "speedup": math.nan}, "speedup must be"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        simulate(station(0.5, 1, 10), **arguments)


def test_unstable_guests_and_wrong_types_are_refused():
    disk = qt.Disk(qt.Poisson(3.0), buffer=2, full="wait")
    with pytest.raises(ValueError, match=r"utilization of 1.5 >= 1"):
        simulate(qt.Engine([disk], qt.Device(servers=2, service=qt.Exponential(1.0))))
    with pytest.raises(TypeError, match="engine must be"):
        simulate("engine")


def test_rule_of_three_and_warnings():
    run = simulate(station(0.1, 4, 100), requests=1000)
    assert run.blocking.value == 0.0 < run.blocking.half_width < 0.01
    assert "blocking" not in run.error_bounds
    assert any("few requests" in w for w in run.warnings)
    assert "inf" not in json.dumps(run.to_dict()).lower()


def test_import_is_light():
    code = "import sys, qtheory.simulate; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_progress_bar_changes_nothing(monkeypatch):
    from qtheory import progress

    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    engine = station(0.5, 1, 10)
    assert simulate(engine, 10_000, progress=True).to_dict() == simulate(engine, 10_000).to_dict()


def test_ctrl_c_stops_between_blocks(monkeypatch):
    def interrupted(self, requests, tally):
        raise KeyboardInterrupt

    monkeypatch.setattr(FcfsRun, "advance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        simulate(station(0.5, 1, 10), 10_000)


def test_alias_table_keeps_the_probabilities():
    p = np.random.default_rng(1).dirichlet(np.ones(50) * 0.3)
    keep, alias = alias_table(p.copy())
    found = keep / 50 + np.bincount(alias, (1 - keep) / 50, minlength=50)
    assert found == pytest.approx(p, abs=1e-14)


def test_superposed_arrivals():
    engine = qt.Engine(
        [qt.Disk(qt.Poisson(3.0)), qt.Disk(qt.Closed(2, 1.0)), qt.Disk(qt.Poisson(1.0))],
        qt.Device(servers=1, service=qt.Exponential(1.0)),
    )
    arrivals = Draws(engine, 1).open(100_000)
    assert np.bincount(arrivals.disk, minlength=3) / arrivals.time[-1] == pytest.approx([3.0, 0.0, 1.0], rel=0.03)


def test_processes_drawn_ahead_are_merged_in_order():
    bursts, slow = qt.IPP(rate=100.0, on=0.1, off=0.9), qt.mmpp2(rates=(2.0, 0.1), stays=(5.0, 5.0))
    arrivals = [qt.Poisson(3.0), bursts, qt.Marked(slow, 0.5), qt.Poisson(1.0), qt.Marked(slow, 0.25)]
    engine = qt.Engine([qt.Disk(a, buffer=8) for a in arrivals], qt.Device(1, qt.Exponential(mean=1e-3)))
    draws = Draws(engine, seed=1)
    taken = [draws.open(size) for size in (1, 5000, 100_000, 300_000)]
    time, disk = (np.concatenate([getattr(part, name) for part in taken]) for name in ("time", "disk"))
    assert len(time) == 405_001
    assert (np.diff(time) >= 0.0).all()
    for i, a in enumerate(arrivals):
        own = time[disk == i]
        process = {qt.Marked: slow.thinned(0.5), qt.MAP: bursts}.get(type(a))
        z = 1.0 if process is None else process.dispersion(1e4)
        assert abs(len(own) - a.rate * time[-1]) < 3.0 * np.sqrt(z * a.rate * time[-1]), i
    # the process alone gives the same arrivals as among the others
    alone = Draws(qt.Engine([qt.Disk(bursts, buffer=8)], engine.device), seed=1).open(1000).time
    assert np.diff(alone).mean() == pytest.approx(1.0 / bursts.rate, rel=0.3)
    again = Draws(engine, seed=1)
    assert all((again.open(len(part.time)).time == part.time).all() for part in taken)


def test_laws_of_separate_devices_are_kept_apart():
    disks = [
        qt.Disk(qt.Poisson(1.0), device=qt.Device(servers=5, service=qt.Deterministic(m))) for m in (0.1, 0.2, 0.3)
    ]
    run = simulate(qt.Engine(disks), requests=30_000)
    assert [d.mean_response.value - d.mean_wait.value for d in run.disks] == pytest.approx([0.1, 0.2, 0.3])


def test_histogram():
    counts = np.zeros((4, BINS), np.int32)
    empty = Histogram(counts)
    for asked in (lambda: empty.quantile(0.5), lambda: empty.cdf(1.0)):
        with pytest.raises(ValueError, match="nothing was sampled"):
            asked()
    counts[:, 1 + 30 * 1024] = 10  # 1 s
    counts[:, 0] = 10
    law = Histogram(counts)
    assert law.quantile(0.4).value == 0.0
    assert law.quantile(0.75).value == pytest.approx(1.0, rel=1e-3)
    assert law.cdf([-1.0, 0.0, 0.5, 2.0]).tolist() == [0.0, 0.5, 0.5, 1.0]
    with pytest.raises(ValueError, match="p must lie"):
        law.quantile(1.0)


def test_ratio_of_one_or_no_batch():
    assert ratio([1.0], [2.0]).half_width == math.inf
    assert ratio([0.0, 0.0], [0.0, 0.0]) == qt.Estimate(0.0, math.inf)


def test_mser_finds_the_transient():
    rng = np.random.default_rng(3)
    z = rng.normal(0.0, 1.0, 1000) + 20.0 * np.exp(-np.arange(1000) / 30.0)
    assert 60 <= truncation(z) <= 250
    assert truncation(np.ones(3)) == 0


def test_a_slow_start_is_deleted():
    """2000 circulate, think 500 s, before 2 servers of 1 s: about 1000 queue up, but it takes thousands of requests."""
    disk = qt.Disk(qt.Closed(2000, 500.0), buffer=2000)
    engine = qt.Engine([disk], qt.Device(servers=2, service=qt.Exponential(1.0)))
    run = simulate(engine, requests=80_000, seed=2)
    assert run.warmup in {4000, 8000, 16_000}
    close(run.mean_in_system, 1000.0, 3.0)
    short = simulate(engine, requests=3000, seed=2)
    assert short.warmup == 1500
    assert any("warm-up used up half" in w for w in short.warnings)


def test_how_often_a_drain_is_exceeded_has_an_interval() -> None:
    engine = qt.Engine([qt.Disk(qt.Poisson(50.0))], qt.Device(servers=1, service=qt.Exponential(mean=0.01)))
    drain = qt.simulate(engine, 200_000, seed=4).drain
    for t in (0.0, 0.01, 0.05):
        assert drain.sf(t).value == pytest.approx(1.0 - float(drain.cdf(t)), abs=1e-12)
        assert drain.sf(t).covers(0.5 * math.exp(-50.0 * t), half_widths=2.0)
    assert drain.sf(1e6) == qt.Estimate(0.0, 0.0)
    with pytest.raises(ValueError, match="t must be"):
        drain.sf(-1.0)
