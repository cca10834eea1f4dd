"""The frontier of throughput against drain: its ends, order, policies, and what is expected around a stop."""

from __future__ import annotations

import json

import numpy as np
import pytest

import qtheory as qt
from qtheory.drain.frontier import ramp
from qtheory.drain.in_flight import in_flight

EXP = qt.Exponential(mean=0.010)
SATURATED = qt.Engine([qt.Disk(qt.Closed(12))] * 2, qt.Device(8, EXP))
OPEN = qt.Engine([qt.Disk(qt.Poisson(720.0), buffer=64)], qt.Device(8, EXP))


@pytest.fixture(scope="module")
def frontier():
    return qt.drain_frontier(SATURATED, drain_budget=0.06)


def test_points_rise(frontier):
    assert (frontier.depths[0], frontier.depths[-1]) == (1, 24)
    for one, next_one in zip(frontier.points, frontier.points[1:], strict=False):
        assert next_one.throughput >= one.throughput * (1 - 1e-12)
        assert next_one.drain_quantile > one.drain_quantile
        assert next_one.latency <= one.latency * (1 + 1e-9)
    assert frontier.points[-1].drain_quantile == pytest.approx(qt.drain_time(SATURATED).quantile(0.99))
    assert frontier.points[0].throughput == pytest.approx(100.0)


def test_policies_keep_the_budget(frontier):
    names = ["no limit", "one at a time", "depth limit 4", "step to 4", "ramp to 2", "rate limit 200/s a disk"]
    assert list(frontier.policies) == names
    no_limit, single, limit, step, ramp, rate = frontier.policies.values()
    assert rate.drain_quantile > no_limit.drain_quantile
    assert no_limit.overrun > 0.01
    assert all(way.overrun <= 0.01 + 1e-9 for way in (single, limit, step, ramp))
    assert step.drain_quantile == pytest.approx(0.06, rel=1e-6)
    # what begins only in time costs less
    assert single.throughput < limit.throughput < step.throughput < no_limit.throughput
    assert frontier.window == pytest.approx(-ramp.throttle.steps[0][0])
    json.dumps(frontier.to_dict(), default=str)


def test_throughput_over_the_window_against_simulation_by_hand():
    """One step to 1: what a saturated device of four completes before it, while it settles, and after."""
    engine = qt.Engine([qt.Disk(qt.Closed(4))], qt.Device(4, EXP))
    step = qt.DepthSchedule([(-0.05, 1)])
    found = qt.drain_frontier(engine, throttles={"step": step}, window=0.1).policies["step"]
    rng, runs, done = np.random.default_rng(1), 4000, 0
    for _ in range(runs):
        # 400/s for 50 ms; then the four services end, and one more begins when one only would be left
        done += rng.poisson(20.0)
        ends = rng.exponential(0.01, 4)
        last = ends.max()
        done += int((ends < 0.05).sum())
        done += rng.poisson(100.0 * max(0.05 - last, 0.0))
    truth = done / runs / 0.1
    assert found.throughput == pytest.approx(truth, rel=0.01)


def test_no_budget_and_no_need():
    found = qt.drain_frontier(OPEN)
    assert list(found.policies) == ["no limit", "one at a time"]
    assert found.policies["no limit"].overrun is None
    assert list(qt.drain_frontier(OPEN, drain_budget=1.0).policies) == ["no limit", "one at a time"]


def test_disks_with_devices_of_their_own():
    engine = qt.Engine([qt.Disk(qt.Closed(16), device=qt.Device(1, EXP))] * 2)
    found = qt.drain_frontier(engine, drain_budget=0.12)
    assert found.per == "disk"
    assert list(found.policies) == ["no limit", "one at a time", "depth limit 4", "rate limit 50/s a disk"]
    limited = found.policies["rate limit 50/s a disk"]
    assert limited.throughput == pytest.approx(100.0)
    assert limited.drain_quantile > found.policies["no limit"].drain_quantile
    assert set(found.left_out) == {"step", "ramp"}


def test_a_budget_that_cannot_be_kept_is_said():
    found = qt.drain_frontier(SATURATED, drain_budget=0.03)
    assert "even one at a time drains longer than 0.03 s" in found.left_out["depth limit"]


def test_ramps():
    assert ramp(1, 0.0, 0.4, 2).steps == ((-0.4, 1), (-0.2, 1))


def test_what_is_expected_around_a_stop():
    schedule = qt.DepthSchedule([(-0.2, 8), (-0.05, 4)])
    times = np.array([-1.0, -0.2, -1e-9, 0.0, 0.01, 0.3])
    taken, rate = in_flight(OPEN, schedule, times)
    usual = qt.solve(OPEN)
    assert taken[0] == pytest.approx(usual.mean_in_system)
    assert rate[0] == pytest.approx(usual.throughput)
    drain = qt.drain_time(OPEN, schedule)
    assert taken[3] == pytest.approx(drain.population_pmf @ np.arange(len(drain.population_pmf)))
    assert taken[2] == pytest.approx(taken[3], rel=1e-5)
    # up to eight in service leave independently, each after an exponential time
    assert taken[4] == pytest.approx(taken[3] * np.exp(-1.0), rel=0.05)
    assert taken[5] < 1e-6
    assert (rate[3:] == 0.0).all()


def test_the_picture(frontier, tmp_path):
    path = tmp_path / "frontier.png"
    frontier.plot().savefig(path)
    assert path.stat().st_size > 10_000
    axes = frontier.plot().axes
    assert [line.get_label() for line in axes[0].lines][:6] == list(frontier.policies)
    x, y = axes[1].lines[0].get_data()
    np.testing.assert_allclose(x, [1e3 * p.drain_quantile for p in frontier.points])
    np.testing.assert_allclose(y, [p.throughput for p in frontier.points])


@pytest.mark.parametrize(("more", "message"), [
    ({"drain_budget": 0.0}, "drain_budget must be"),
    ({"drain_probability": 1.0}, "drain_probability must lie"),
    ({"window": -1.0}, "window must be"),
    ({"throttles": {"rate": qt.RateLimit(1e9)}}, "must not be a qt.RateLimit for this engine: the limit does not bind"),
])  # fmt: skip
def test_bad_input(more, message):
    with pytest.raises(ValueError, match=message):
        qt.drain_frontier(SATURATED, **more)
