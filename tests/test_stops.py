"""Simulated stops of every kind of engine, every throttle, what it costs; taking only what is finished in time."""

from __future__ import annotations

import pytest

import qtheory as qt
from qtheory.simulate.controllers import LatencyTarget

EXP = qt.Exponential(mean=0.5)
OPEN = qt.Disk(qt.Poisson(1.5), buffer=6)
SHARED = qt.Device(2, EXP)


def own(servers, arrivals=OPEN.arrivals, buffer=6):
    return qt.Disk(arrivals, buffer=buffer, device=qt.Device(servers, EXP))


ENGINES = {
    "own devices": qt.Engine([own(1), own(2), own(1, qt.Closed(4, 1.0))]),
    "own devices, one queue": qt.Engine([own(1), own(2)], queue_length=3),
    "caps": qt.Engine([OPEN, OPEN], SHARED, 3, "ring", (1, 2)),
    "caps in the engine": qt.Engine([OPEN, OPEN], SHARED, 3, "engine", (1, 2)),
    "rate curve": qt.Engine([OPEN, OPEN], qt.Device(curve=(2.0, 3.0, 3.5))),
    "refuses": qt.Engine([OPEN, OPEN], SHARED, 3, "refuse"),
    "bursts": qt.Engine([qt.Disk(qt.IPP(12.0, 0.2, 1.0), buffer=6), OPEN], SHARED),
    "guests wait": qt.Engine([qt.Disk(qt.Poisson(1.4), buffer=2, full="wait")] * 2, SHARED),
    "two laws": qt.Engine([OPEN, qt.Disk(qt.Poisson(0.5), buffer=6, service=qt.Deterministic(1.0))], SHARED),
    "closed guests wait": qt.Engine([qt.Disk(qt.Closed(6, 1.0), buffer=2), OPEN], SHARED),
}


@pytest.mark.parametrize("name", ENGINES)
def test_without_a_throttle_as_the_steady_run(name):
    """Against the event kernel's stops in a steady run; half-widths of both are below 5 %."""
    engine = ENGINES[name]
    run, steady = qt.simulate_stops(engine, None, 10_000, settle=30.0), qt.simulate(engine, 300_000, stops=5.0)
    for found, truth in (
        (run.mean, steady.drain.mean),
        (run.quantile(0.99), steady.drain.quantile(0.99)),
        (run.throughput, steady.throughput),
        (run.mean_response, steady.mean_response),
    ):
        if found is run.mean_response and "wait" in name:
            continue  # there it counts from the guest's submission
        assert max(found.half_width, truth.half_width) < 0.05 * truth.value
        assert abs(found.value - truth.value) < 1.5 * (found.half_width + truth.half_width) + 0.001 * truth.value


def test_a_wait_in_the_guest_is_part_of_the_response():
    engine = ENGINES["guests wait"]
    run, steady = qt.simulate_stops(engine, None, 15_000, settle=12.0), qt.simulate(engine, 300_000)
    whole = steady.mean_response.value + steady.mean_guest_wait.value
    half = steady.mean_response.half_width + steady.mean_guest_wait.half_width
    assert abs(run.mean_response.value - whole) < 1.5 * (run.mean_response.half_width + half)


def test_limits_for_each_disk():
    engine, limit = ENGINES["own devices"], qt.DepthLimit(2, per="disk")
    run = qt.simulate_stops(engine, limit, 10_000, settle=12.0)
    assert run.mean.half_width < 0.025 * run.mean.value
    assert run.mean.covers(qt.drain_time(engine, limit).mean, half_widths=2.0)


def test_what_refuses_refuses_at_a_limit():
    run = qt.simulate_stops(qt.Engine([OPEN, OPEN], SHARED, 8, "refuse"), qt.DepthLimit(3), 15_000, settle=12.0)
    steady = qt.simulate(ENGINES["refuses"], 300_000, stops=5.0)
    assert abs(run.mean.value - steady.drain.mean.value) < 2.0 * (run.mean.half_width + steady.drain.mean.half_width)
    assert abs(run.throughput.value - steady.throughput.value) < 0.02 * steady.throughput.value


def test_rate_limit_as_measured():
    """theory.md 6: 4 disks of 4 servers of 20 ms, depth 32, 50 a second: 160 + 120 + 100 + 80 ms, turn after turn."""
    guest = qt.Disk(qt.Closed(32), device=qt.Device(4, qt.Deterministic(0.020)))
    engine, throttle = qt.Engine([guest] * 4), qt.RateLimit(50.0)
    run, theory = qt.simulate_stops(engine, throttle, 1000, settle=3.0), qt.drain_time(engine, throttle)
    assert abs(run.mean.value / theory.mean - 1.0) < 0.08  # what the theory states
    assert abs(run.quantile(0.5).value - 0.460) < 0.03
    late = qt.simulate_stops(engine, throttle, 500, lead=1.0, settle=3.0)
    assert late.throughput_loss is not None
    # what was taken before, the rate, the burst
    assert late.throughput_loss.value == pytest.approx(1.0 - (128 + 4 * (50 + 5)) / 800, abs=0.01)


def test_what_a_window_costs():
    """Nothing without a limit; a saturated guest whose taking stops completes what it has, then nothing."""
    engine = qt.Engine([qt.Disk(qt.Poisson(3.0), buffer=8)], SHARED)
    steady = qt.solve(engine)
    idle = qt.simulate_stops(engine, qt.DepthSchedule([(-5.0, None)]), 15_000, settle=12.0)
    assert idle.throughput.covers(steady.throughput, half_widths=2.0)
    assert idle.throughput_loss is not None
    assert idle.throughput_loss.covers(0.0, half_widths=2.0)
    assert idle.mean_response.covers(steady.mean_response, half_widths=2.0)
    q = idle.response_quantile(0.999)
    assert abs(q.value - steady.response_quantile(0.999)) < 2.0 * q.half_width + 0.01 * q.value
    guest = qt.Engine([qt.Disk(qt.Closed(6), buffer=6)], qt.Device(2, qt.Deterministic(0.01)))
    stopped = qt.simulate_stops(guest, qt.DepthSchedule([(-0.1, 0)]), 500)
    assert stopped.throughput.value == pytest.approx(6 / 0.1, rel=1e-12)
    assert stopped.quantile(0.99).value == 0.0


@pytest.mark.parametrize(("target", "depth"), [(1e-9, 1), (1e9, 5)])
def test_a_latency_target_ends_at_its_bounds(target, depth):
    engine = qt.Engine([qt.Disk(qt.Closed(9), buffer=9)], SHARED)
    run = qt.simulate_stops(engine, LatencyTarget(target, most=5, spacing=0.5), 10_000, lead=10.0, settle=12.0)
    truth = qt.drain_time(engine, qt.DepthLimit(depth))
    assert run.mean.half_width < 0.03 * run.mean.value
    # a window without a completion changes nothing: with 2 servers of 0.5 s some have none
    assert abs(run.mean.value - truth.mean) < 2.0 * run.mean.half_width + 0.01 * truth.mean


MIXED = qt.Engine(
    [qt.Disk(qt.Poisson(400.0), buffer=32, service=qt.Erlang(2, mean=1e-3)),
     qt.Disk(qt.Poisson(120.0), buffer=32, service=qt.Erlang(2, mean=10e-3))],
    qt.Device(2, EXP),
)  # fmt: skip


def test_known_sizes_keep_the_budget_always():
    run = qt.simulate_stops(MIXED, qt.FinishInTime(0.02, knows="request"), 15_000, settle=0.2)
    assert float(run.cdf(0.02 * 1.001)) == 1.0
    assert float(qt.simulate_stops(MIXED, None, 5_000, settle=0.2).cdf(0.02)) < 0.95


def test_known_disks_cost_less_than_a_ramp():
    """Reads go on when no write is taken any more; the three keep the budget of 20 ms."""
    window = 0.08
    falling = [step for step in qt.finish_in_time(MIXED, 0.02).steps if step[0] > -window]
    ramp = qt.DepthSchedule([(-window, None), *falling])
    blind = qt.simulate_stops(MIXED, ramp, 10_000, settle=0.15)
    by_disk = qt.simulate_stops(MIXED, qt.FinishInTime(0.02), 10_000, lead=window, settle=0.15)
    sized = qt.simulate_stops(MIXED, qt.FinishInTime(0.02, knows="request"), 10_000, lead=window, settle=0.15)
    for run in (blind, by_disk, sized):
        assert float(run.cdf(0.02)) > 0.97
    lost = [run.throughput_loss for run in (blind, by_disk, sized)]
    assert all(loss is not None and loss.half_width < 0.02 for loss in lost)
    # by disk even more is completed than without a throttle: the short requests
    assert lost[0].value > max(lost[1].value, lost[2].value) + 0.05


@pytest.mark.parametrize("servers", [1, 4])
def test_the_ramp_keeps_the_budget(servers):
    """Each request keeps it with 99 %; that any of them does not is about twice as likely."""
    engine = qt.Engine([qt.Disk(qt.Poisson(92.0 * servers), buffer=28)], qt.Device(servers, qt.Exponential(0.01)))
    assert qt.drain_time(engine).sf(0.08) > 0.03
    ramp = qt.finish_in_time(engine, 0.08)
    assert qt.drain_time(engine, ramp).sf(0.08) < 0.025
    depths = [q for _, q in ramp.steps]
    assert depths == sorted(depths, reverse=True)
    assert qt.finish_in_time(engine, 60.0).steps == ((0.0, None),)


def test_refusals():
    curve = ENGINES["rate curve"]
    with pytest.raises(ValueError, match="rate curve"):
        qt.simulate_stops(curve, qt.FinishInTime(1.0), 100)
    with pytest.raises(ValueError, match="divided by caps"):
        qt.simulate_stops(ENGINES["caps in the engine"], qt.FinishInTime(1.0, knows="request"), 100)
    with pytest.raises(ValueError, match="lead must be None"):
        qt.simulate_stops(curve, qt.DepthSchedule([(-1.0, 2)]), 100, lead=1.0)
    with pytest.raises(TypeError, match="throttle must be"):
        qt.simulate_stops(curve, 3, 100)
    with pytest.raises(ValueError, match="one shared device"):
        qt.finish_in_time(ENGINES["own devices"], 1.0)
    for wrong in ({"budget": 0.0}, {"budget": 1.0, "probability": 1.0}, {"budget": 1.0, "knows": "all"}):
        with pytest.raises(ValueError, match=list(wrong)[-1]):
            qt.FinishInTime(**wrong)
