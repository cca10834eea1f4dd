"""Plans of a switchover: precopy by its rounds, the depth by its definition, what is said when nothing helps."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qtheory as qt

COPY = qt.Precopy(ram=8e9, dirty_rate=4e8, bandwidth=1.2e9)
EXP = qt.Exponential(mean=0.010)
BUSY = qt.Engine([qt.Disk(qt.Closed(32, 0.0))] * 4, qt.Device(16, EXP))


def plan(engine=BUSY, precopy=COPY, budget=0.3, **more):
    return qt.plan_switchover(engine, precopy=precopy, downtime_budget=budget, **more)


@settings(max_examples=60, deadline=None)
@given(
    ram=st.floats(1e6, 1e12), r=st.floats(0.0, 0.99), limit=st.floats(1e-3, 10.0), part=st.floats(0.01, 1.0),
)  # fmt: skip
def test_the_stop_is_the_end_of_the_rounds(ram, r, limit, part):
    copy = qt.Precopy(ram, r * 1e9, 1e9, working_set=part * ram)
    rounds, stop = copy.rounds(limit), copy.stop(limit)
    assert stop.expected == pytest.approx(sum(one.duration for one in rounds), rel=1e-9)
    assert stop.last_ram <= limit * (1 + 1e-9)
    assert all(one.volume > 1e9 * limit for one in rounds)
    if rounds:
        assert stop.last_ram == pytest.approx(min(r * rounds[-1].duration, part * ram / 1e9), rel=1e-9)


def test_the_law_of_the_stop_against_drawn_migrations():
    rng = np.random.default_rng(1)
    n, limit = 200_000, 0.1
    sigma = math.sqrt(math.log1p(0.01))
    ends = []
    d, b = (mean * np.exp(sigma * rng.standard_normal(n) - sigma**2 / 2) for mean in (4e8, 1.2e9))
    volume, at, going = np.full(n, 8e9), np.zeros(n), np.full(n, True)
    while going.any():
        going &= volume > b * limit
        at[going] += (volume / b)[going]
        volume = np.where(going, d * volume / b, volume)
    ends = np.sort(at)
    stop = COPY.stop(limit)
    half_width = 2.0 * ends.std() / math.sqrt(n)
    assert abs(stop.mean - ends.mean()) < half_width + 1e-3 * ends.mean()
    assert stop.standard_deviation == pytest.approx(ends.std(), rel=0.02)
    for p in (0.01, 0.5, 0.99):
        assert stop.quantile(p) == pytest.approx(float(np.quantile(ends, p)), rel=0.01)


def test_the_depth_is_the_largest_that_keeps_within_the_budget():
    for engine in (
        BUSY,
        qt.Engine([qt.Disk(qt.Poisson(390.0), buffer=64)] * 4, qt.Device(16, EXP)),
        qt.Engine([qt.Disk(qt.Closed(32, 0.0), device=qt.Device(4, EXP))] * 4),
    ):
        p = plan(engine)
        assert p.feasible
        assert p.depth_limit is not None
        assert p.parts.drain == pytest.approx((0.3 - 0.001 - 0.004 - 0.11) / 2)
        q, per = p.depth_limit.limit, p.depth_limit.per
        inside, outside = (qt.drain_time(engine, qt.DepthLimit(n, per)).sf(p.parts.drain) for n in (q, q + 1))
        assert inside <= 0.01 < outside
        assert p.overrun_probability == inside
        assert p.overrun_without > 0.01
        assert p.limit_from == pytest.approx(max(p.stop_earliest - p.lead, 0.0))
        json.dumps(p.to_dict())


def test_the_parts_add_up_to_the_budget():
    p = plan(budget=0.4, vcpu_stop=0.01, flush=0.002, device_state=0.02, destination=0.03)
    parts = p.parts
    spent = (parts.vcpu_stop, parts.drain, parts.flush, parts.last_ram, parts.device_state, parts.destination)
    assert sum(spent) == pytest.approx(0.4)
    assert parts.flush == pytest.approx(0.008)


def test_parts_that_are_assumed_are_said():
    assert "vcpu_stop 1 ms, flush 1 ms for each disk, device_state 55 ms, destination 55 ms" in plan().warnings[0]
    measured = {"vcpu_stop": 0.001, "flush": 0.001, "device_state": 0.055, "destination": 0.055}
    assert plan(**measured).warnings == ()
    assert plan(**measured).parts == plan().parts
    del measured["flush"]
    assert plan(**measured).warnings == ("assumed, not measured: flush 1 ms for each disk",)


def test_flushes_of_a_law_share_the_part_of_the_drain():
    law = qt.Lognormal(mean=0.002, scv=2.0)
    p = plan(flush=law)
    assert p.parts.flush == 0.0
    q = p.depth_limit.limit
    inside, outside = (qt.drain_time(BUSY, qt.DepthLimit(n), flush=law).sf(p.parts.drain) for n in (q, q + 1))
    assert inside == p.overrun_probability <= 0.01 < outside
    assert q < plan(flush=0.0).depth_limit.limit
    assert any("flushes follow the drain" in warning for warning in p.warnings)
    constant = plan(flush=qt.Deterministic(0.002), precopy=qt.Precopy(8e9, 4e8, 1.2e9, downtime_limit=0.09))
    fixed = plan(flush=0.002, precopy=qt.Precopy(8e9, 4e8, 1.2e9, downtime_limit=0.09))
    assert constant.depth_limit == fixed.depth_limit


def test_the_timeline(tmp_path):
    p = plan()
    above, below = p.plot().axes
    assert [bar.get_x() for bar in above.patches][: len(p.rounds)] == pytest.approx([one.start for one in p.rounds])
    free, limited = (line.get_ydata() for line in below.lines[:2])
    assert free[0] == pytest.approx(128.0)
    x = below.lines[1].get_xdata()
    at_stop = float(np.interp(1.0, x, limited))
    assert at_stop == pytest.approx(p.depth_limit.limit, rel=0.02)
    path = tmp_path / "plan.svg"
    p.plot().savefig(path)
    assert "last ram" in path.read_text() or path.stat().st_size > 10_000
    apart = plan(qt.Engine([qt.Disk(qt.Closed(32, 0.0), device=qt.Device(4, EXP))] * 4))
    assert "not followed" in apart.plot().axes[1].get_title(loc="left")
    assert plan(precopy=qt.Precopy(8e9, 2e9, 1.2e9)).plot().axes


def test_the_lead_is_enough_and_not_more():
    p = plan(qt.Engine([qt.Disk(qt.Poisson(1590.0), buffer=128)], qt.Device(16, EXP)), budget=0.25)
    q = p.depth_limit.limit
    e = qt.Engine([qt.Disk(qt.Poisson(1590.0), buffer=128)], qt.Device(16, EXP))
    enough, less = (qt.drain_time(e, qt.DepthSchedule([(-f * p.lead, q)])).sf(p.parts.drain) for f in (1.0, 0.9))
    assert enough == pytest.approx(0.01, rel=1e-4)
    assert less > 0.01


def test_costs_are_those_of_the_limited_engine():
    p = plan(qt.Engine([qt.Disk(qt.Poisson(390.0), buffer=64)] * 4, qt.Device(16, EXP)), budget=0.235)
    q = p.depth_limit.limit
    limited = qt.solve(qt.Engine([qt.Disk(qt.Poisson(390.0), buffer=64)] * 4, qt.Device(16, EXP), q, "ring"))
    assert p.limited_throughput == pytest.approx(limited.throughput)
    assert p.limited_latency.quantile_999 == pytest.approx(limited.response_quantile(0.999))
    assert p.latency.mean < p.limited_latency.mean
    assert p.requests_lost == pytest.approx((p.throughput - p.limited_throughput) * p.window)


def test_nothing_to_do():
    p = plan(qt.Engine([qt.Disk(qt.Poisson(10.0), buffer=64)], qt.Device(16, EXP)))
    assert p.feasible
    assert (p.depth_limit, p.lead, p.limit_from, p.nr_requests) == (None, 0.0, None, None)
    assert p.throughput_loss == 0.0
    assert not any("nr_requests" in line for line in p.commands)


@pytest.mark.parametrize(("more", "reason"), [
    ({"precopy": qt.Precopy(8e9, 2e9, 1.2e9)}, "does not converge: the guest dirties 1.67 times"),
    ({"budget": 0.1}, "use up the budget of 0.1 s"),
    ({"precopy": qt.Precopy(8e9, 4e8, 1.2e9, downtime_limit=0.3)}, "nothing is left for the drain"),
    ({"budget": 0.135}, "even one request at a time drains longer than 0.01 s with probability 0.368"),
])  # fmt: skip
def test_what_cannot_be_done_is_said(more, reason):
    p = plan(**more)
    assert not p.feasible
    assert reason in p.reason
    json.dumps(p.to_dict(), allow_nan=False)


def test_a_working_set_that_fits_converges_at_any_rate():
    p = plan(precopy=qt.Precopy(8e9, 2e9, 1.2e9, working_set=6e7))
    assert p.converges
    assert len(p.rounds) == 1


def test_commands():
    p = plan()
    assert p.nr_requests == p.depth_limit.limit // 4
    text = "\n".join(p.commands)
    assert f"echo {p.nr_requests} > /sys/block/$d/queue/nr_requests" in text
    assert "for d in vda vdb vdc vdd" in text
    assert '"downtime-limit": 92' in text
    assert "Do not use block_set_io_throttle" in text
    small = plan(budget=0.235)
    assert small.nr_requests == 4
    assert any("a depth of 16, not" in warning for warning in small.warnings)


def test_a_law_that_is_fitted_still_has_a_lead():
    p = plan(qt.Engine([qt.Disk(qt.Closed(32, 0.0))], qt.Device(2, qt.Lognormal(mean=0.01, scv=1.5))), budget=0.4)
    assert p.depth_limit is not None
    assert not p.exact
    assert not any("lead is a bound" in warning for warning in p.warnings)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: qt.Precopy(0.0, 1.0, 1.0), "ram must be a positive"),
    (lambda: qt.Precopy(1.0, -1.0, 1.0), "dirty_rate must be"),
    (lambda: qt.Precopy(1.0, 1.0, math.nan), "bandwidth must be a number"),
    (lambda: qt.Precopy(1.0, 1.0, 1.0, working_set=2.0), "working_set must be at most ram"),
    (lambda: plan(budget=-1.0), "downtime_budget must be"),
    (lambda: plan(drain_probability=1.0), "drain_probability must lie"),
    (lambda: plan(hardware_queues=0), "hardware_queues must be"),
])  # fmt: skip
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
