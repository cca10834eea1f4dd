"""Engines resized while they run: against a plain twin, exact results, and what each controller must do."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from simulate_twin import play_resized
from test_simulate_twin import engines, script_for

import qtheory as qt
from qtheory.simulate.controllers import (
    Constant,
    Estimated,
    Known,
    Kyber,
    LatencyTarget,
    SumOfRings,
    mean_field,
    settled,
)
from qtheory.simulate.resizing import Observation
from qtheory.sizing import integer_rule, relaxation_time
from qtheory.sizing.sweep import with_queue_length

EXPONENTIAL = qt.Exponential(mean=1e-3)
FOUR = qt.Device(servers=4, service=EXPONENTIAL)
SATURATED = qt.Engine([qt.Disk(qt.Closed(64))], FOUR, hold="ring")
EIGHT_SERVERS = [1e3 * min(n, 8) for n in range(1, 1025)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(engines(fast=False), st.data())
def test_follows_the_twin(case: Any, data: st.DataObject) -> None:
    """Request by request, while Q, the closed disks that are attached and the first device's speed change."""
    from qtheory.simulate.resizing_run import ResizingRun

    engine, seed, lattice = case
    engine = qt.Engine(engine.disks, engine.device, None, engine.hold, engine.shares)
    disks = st.lists(st.integers(0, len(engine.disks) - 1), unique=True)
    gaps = st.integers(1, 8).map(lambda k: k / 2.0) if lattice else st.floats(0.01, 5.0)
    moments = data.draw(
        st.lists(st.tuples(gaps, st.integers(1, 6), disks, st.booleans(), st.sampled_from([0.5, 1.0, 2.0])), max_size=8)
    )
    times = list(itertools.accumulate(moment[0] for moment in moments))
    moments = [(time, *moment[1:]) for time, moment in zip(times, moments, strict=True)] + [(40.0, 1, [], True, 1.0)]
    script = script_for(engine, seed, lattice)
    expected, drains, in_flight = play_resized(engine, script(), moments)
    run = ResizingRun(engine, script(), [True] * len(engine.disks))
    run.begin()
    seen, found_drains, found_in_flight = [], [], []
    for time, queue_length, chosen, attached, slowdown in moments:
        run.until(time)
        seen.append(run.seen())
        found_drains.append(run.drain())
        found_in_flight.append(int(run._flight.used[0]))
        run.attach(sorted(chosen), attached)
        run.slow([0], slowdown)
        run.resize(queue_length)
    assert found_in_flight == in_flight
    assert found_drains == pytest.approx(drains, rel=1e-9, abs=1e-9)
    served = [request for request in expected if not math.isnan(request.completion)]
    assert sum(s.refused for s in seen) == len(expected) - len(served)
    for name, times_of in (("latencies", "submitted"), ("responses", "accepted")):
        found = np.concatenate([getattr(s, name) for s in seen])
        assert found == pytest.approx([r.completion - getattr(r, times_of) for r in served], rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("queue_length", [3, 6, None])
@pytest.mark.parametrize("hold", ["ring", "engine", "refuse"])
def test_constant_queue_is_solved(queue_length: int | None, hold: Any) -> None:
    """A controller that changes nothing gives the stationary engine: exact values within 1.5 half-widths."""
    if hold == "refuse" and queue_length is None:
        pytest.skip("nothing to refuse at")
    engine = qt.Engine([qt.Disk(qt.Poisson(800.0), buffer=16)] * 4, FOUR, queue_length, hold)
    exact = qt.solve(engine)
    span = qt.simulate_resizing(engine, Constant(queue_length), horizon=60.0, seed=3).between(5.0)
    assert span.throughput.covers(exact.throughput, half_widths=1.5)
    assert span.mean_in_flight.covers(exact.mean_in_flight, half_widths=1.5)
    assert span.mean_response.covers(exact.mean_response, half_widths=1.5)
    assert span.response_quantile(0.99) == pytest.approx(exact.response_quantile(0.99), rel=0.05)
    # 550 stops: the interval of a 90 % quantile is that of 0.9 ± 0.025
    drain = qt.drain_time(engine)
    assert drain.quantile(0.865) < span.drain_quantile(0.9) < drain.quantile(0.935)
    assert (span.changes, span.queue_length_deviation) == (0.0, 0.0)


def test_equal_shares_follow_the_disks() -> None:
    """One slot each keeps single servers busy; a share freed by a disk that goes is the others'."""
    device = qt.Device(servers=2, service=qt.Deterministic(1e-3))
    engine = qt.Engine([qt.Disk(qt.Closed(8), device=device)] * 4, None, 4, "ring", "equal")
    run = qt.simulate_resizing(engine, Constant(4), [qt.Change(1.0, [2, 3], attached=False)], horizon=2.0)
    # each of two servers a disk; one slot a disk, then two
    assert run.between(0.0, 1.0).throughput.value == pytest.approx(4000.0, rel=2e-3)
    assert run.between(1.1, 2.0).throughput.value == pytest.approx(4000.0, rel=2e-3)
    assert run.attached.tolist() == [4] * 10 + [2] * 10
    line = qt.Engine(engine.disks, None, 4, "ring")
    assert qt.simulate_resizing(line, Constant(4), horizon=2.0).between(0.5).throughput.value < 4000.0 * 1.001


@pytest.mark.parametrize("to", [20, 2])
def test_shrinking_takes_a_pure_death(to: int) -> None:
    """From 64 in flight: when what is in flight reaches Q, 100 times in one run, against the law."""
    law = qt.shrink_time(SATURATED, to)
    harmonic = sum(1.0 / j for j in range(to + 1, 5))
    assert law.mean == pytest.approx((64 - max(to, 4)) * 1e-3 / 4 + 1e-3 * harmonic, rel=1e-12)
    calls = itertools.count()
    run = qt.simulate_resizing(
        SATURATED, lambda seen: None if next(calls) % 40 == 0 else to, horizon=100 * 0.04, period=1e-3
    )
    # Periods with more than Q in flight in the mean, the first of each 40 without a limit; the last counts as half.
    longer = (run.in_flight > to * (1.0 + 1e-12)).reshape(100, 40)
    times = (longer.sum(axis=1) - 1.5) * 1e-3
    assert times.mean() == pytest.approx(law.mean, abs=3.0 * math.sqrt((law.variance + 1e-6 / 12) / 100))
    assert np.mean(times <= law.quantile(0.9)) == pytest.approx(0.9, abs=0.09)


def test_shrink_time_from_a_stationary_number() -> None:
    engine = qt.Engine([qt.Disk(qt.Poisson(900.0), buffer=16)] * 4, FOUR, 12, hold="ring")
    number = np.minimum(np.arange(65), 12)
    pmf = qt.solve(engine).in_system_pmf
    given_n = [max(n - 6, 0) / 4000.0 for n in number]
    law = qt.shrink_time(engine, 6)
    assert law.mean == pytest.approx(float(pmf @ given_n), rel=1e-12)
    assert law.population_pmf.sum() == pytest.approx(1.0, rel=1e-12)
    assert qt.shrink_time(engine, 12).mean == 0.0
    for in_flight in (12, 12.0):
        assert qt.shrink_time(engine, 6, in_flight=in_flight).mean == pytest.approx(6 / 4000.0, rel=1e-12)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="in_flight must be at most 12"):
        qt.shrink_time(engine, 6, in_flight=13)
    with pytest.raises(ValueError, match="simulate_resizing covers it"):
        qt.shrink_time(qt.Engine([qt.Disk(qt.Poisson(1.0), device=FOUR)]), 3)


@pytest.mark.parametrize("disks", [
    [qt.Disk(qt.Poisson(3500.0), buffer=24)],
    [qt.Disk(qt.Closed(12, think_time=4e-3))],
    [qt.Disk(qt.Closed(12, think_time=4e-3)), qt.Disk(qt.Closed(3))],
], ids=["open", "closed", "beside a saturated one"])  # fmt: skip
def test_relaxation_time_is_the_slowest_decay(disks: list[qt.Disk]) -> None:
    """Against the generator of (n) written out, and its exponential."""
    from scipy.linalg import expm

    engine = qt.Engine(disks, FOUR, 6, hold="ring")
    saturated = sum(disk.most for disk in disks if disk.saturated)
    births = next(disk for disk in disks if not disk.saturated).arrival_rates()
    deaths = [1e3 * min(n + saturated, 4) * n / (n + saturated) for n in range(1, len(births) + 1)]
    if saturated:
        # one line: given n a completion is the unsaturated disk's with probability n_1/n, only in equilibrium
        deaths = [1e3 * min(n + saturated, 4) for n in range(1, len(births) + 1)]
    generator = np.diag(births, 1) + np.diag(deaths, -1)
    generator -= np.diag(generator.sum(axis=1))
    rates = np.sort(-np.linalg.eigvals(generator).real)
    tau = relaxation_time(engine)
    if not saturated:
        assert tau == pytest.approx(1.0 / rates[1], rel=1e-9)
        start = np.eye(len(births) + 1)[0]
        late, later = (start @ expm(generator * t) @ np.arange(len(start)) for t in (8 * tau, 9 * tau))
        settled_at = float(start @ expm(generator * 60 * tau) @ np.arange(len(start)))
        assert (later - settled_at) / (late - settled_at) == pytest.approx(math.exp(-1.0), rel=0.01)
    assert tau > 0.0
    assert relaxation_time(SATURATED) == 0.0


def test_what_fulfils_itself() -> None:
    """The theory of `controllers/estimated.py`, in the mean field: eight servers, f(C) = 11."""
    never: dict[str, Any] = {"probe": 1.0, "hold": 1, "dead_band": 0.0}
    mean = mean_field(Estimated(gain=1.0, window=1, start=16, **never), EIGHT_SERVERS, 60)
    roots = np.sqrt(mean)
    assert (np.diff(mean) >= 1).all()
    # √Q grows by ⅙ a period; the rule's whole numbers lose less than a slot of it, near 1/(2 √Q)
    assert 60 / 6 - (1.0 / (2.0 * roots)).sum() <= roots[-1] - roots[0] <= 60 / 6
    for start in (1, 5, 12, 1000):
        least = mean_field(Estimated(window=10**6, start=start, **never), EIGHT_SERVERS, 60)
        if start <= 8:
            assert least[-1] == 11
            assert (np.diff(least) >= 0).all()
        else:  # what it has never seen without a wait, it does not know
            assert least[-1] >= start
        looked = mean_field(Estimated(start=start), EIGHT_SERVERS, 500)
        assert set(looked[-33:]) <= {11, 12, 5, 6}
    stuck = mean_field(Estimated(gain=1.0, window=10**6, start=2, **never), EIGHT_SERVERS, 60)
    assert set(stuck) == {2}


@pytest.mark.parametrize(("slowdown", "collapses"), [(1.15, False), (2.0, True)])
def test_a_least_latency_kept_for_ever_collapses(slowdown: float, collapses: bool) -> None:
    """θ g < 1: kept for ever it takes a part of the slots away again and again; a window that ends stops that."""
    rates = [1e3 * min(n, 64) for n in range(1, 513)]

    def after(**given: Any) -> int:
        controller = Estimated(start=64, hold=1, dead_band=0.0, **given)
        mean_field(controller, rates, 40)
        return max(mean_field(controller, [rate / slowdown for rate in rates], 400)[-2:])

    kept = after(window=10**6, probe=1.0)
    assert kept <= 5 if collapses else kept >= 64
    assert after() >= 64


@given(
    st.lists(st.floats(0.05, 1.0), min_size=2, max_size=40), st.integers(1, 2000), st.floats(1e3, 1e5),
    st.sampled_from([1.25, 1.6]),
)  # fmt: skip
@settings(max_examples=20, deadline=None)
def test_least_latency_is_bounded_whatever_the_device(gains: list[float], start: int, rate: float, gain: float) -> None:
    """Any concave rate curve that is full at n: Q ends at f(n) at most, or where f(φ Q) is hardly less than Q."""
    steps = np.sort(gains)[::-1] / max(gains)
    rates = np.concatenate([np.cumsum(steps), np.full(2200, steps.sum())]) * rate
    lengths = mean_field(Estimated(start=start, gain=gain), rates.tolist(), 400)

    def f(used: float) -> int:  # rounding may take a slot more
        return math.ceil(gain * used) + 1 + math.isqrt(math.ceil(gain * used) + 1) // 2

    stays = max(q for q in range(1, 2200) if f(int(q / 2)) >= 0.9 * q)
    assert min(lengths) >= 1
    assert max(lengths[-66:]) <= max(f(len(gains)), stays)


def test_estimated_finds_the_device_again() -> None:
    """Simulated: eight servers at 1 ms, twice as slow for a while; Q stays near f(C), loses nothing, drains in time."""
    device = qt.Device(servers=8, service=EXPONENTIAL)
    engine = qt.Engine([qt.Disk(qt.Closed(64), buffer=64)] * 4, device, hold="ring")
    changes = [qt.Change(10.0, slowdown=2.0), qt.Change(20.0, slowdown=1.0)]
    run = qt.simulate_resizing(engine, Estimated(start=256), changes, horizon=30.0)
    for start, end, rate in ((5.0, 10.0, 8000.0), (15.0, 20.0, 4000.0), (25.0, 30.0, 8000.0)):
        span = run.between(start, end)
        assert span.throughput.value > 0.96 * rate
        assert 8.0 <= span.queue_length <= 20.0
    wound = qt.simulate_resizing(engine, Estimated(window=1, probe=1.0), horizon=10.0)
    assert wound.queue_length[-1] == 256.0


def test_kyber_alone_only_grows() -> None:
    """Its rule with one domain: from 1 to its cap in a few seconds, and never down, at any target."""
    engine = qt.Engine([qt.Disk(qt.Closed(64), buffer=64)] * 8, FOUR, hold="ring")
    for target in (1e-3, 1e-2, 0.5):
        controller = Kyber(target)
        controller.queue_length = 1
        run = qt.simulate_resizing(engine, controller, horizon=10.0)
        assert (np.diff(run.queue_length) >= 0.0).all()
        assert run.queue_length[-1] == (256.0 if target < 0.1 else 1.0)


def kyber_seen(latencies: list[float], responses: list[float], time: float) -> Observation:
    return Observation(
        time, 0.1, 100, 1.0, 0, (True,), (256,), np.array(latencies), np.array(responses)
    )  # fmt: skip


def test_kyber_counts_as_linux_does() -> None:
    """Buckets of a quarter of 2 ms; 500 samples, or a second; depth (b + 1)/4 of the p99."""
    kyber = Kyber(2e-3)
    assert kyber(kyber_seen([1e-3] * 499, [3.9e-3] * 499, 0.1)) == 256
    kyber.queue_length = 100
    # p99 in (3.5, 4] ms is bucket 7: doubled; the device's p90 is good
    assert kyber(kyber_seen([1e-3], [3.9e-3], 0.2)) == 200
    # p99 in (2, 2.5] ms, bucket 4: 5/4, after a second with few samples
    assert kyber(kyber_seen([1e-3] * 3, [2.4e-3] * 3, 0.3)) == 200
    assert kyber(kyber_seen([1e-3] * 3, [2.4e-3] * 3, 1.2)) == 250
    # all is well: kept
    assert kyber(kyber_seen([1e-3] * 600, [1.9e-3] * 600, 1.3)) == 250


def test_latency_target_settles_where_a_tenth_is_late() -> None:
    engine = qt.Engine([qt.Disk(qt.Closed(64), buffer=64)] * 4, FOUR, hold="ring")
    run = qt.simulate_resizing(engine, LatencyTarget(10e-3), horizon=60.0)
    span = run.between(20.0)
    # 10 % of Gamma(Q − 3, 4 kHz) exceed 10 ms at Q about 35; a sawtooth of 16 up and a half down about it
    assert 15.0 < span.queue_length < 40.0
    assert span.queue_length_deviation > 4.0
    assert span.changes == pytest.approx(2.0, rel=0.1)


def test_controllers_follow_the_disks() -> None:
    device = qt.Device(servers=1, service=EXPONENTIAL)
    engine = qt.Engine([qt.Disk(qt.Closed(16), buffer=16, device=device)] * 6, hold="ring")
    changes = [qt.Change(0.0, [4, 5], attached=False), qt.Change(0.55, [4, 5], attached=True),
               qt.Change(1.25, range(6), attached=False)]  # fmt: skip
    rings = qt.simulate_resizing(engine, SumOfRings(), changes, horizon=2.0)
    known = qt.simulate_resizing(engine, Known(latency=1e-3, rate=1e3, separate=True), changes, horizon=2.0)
    four, six = (
        integer_rule(ring_sizes=16 * n, disks=n, devices=n, latency_ns=1_000_000, rate=1000 * n) for n in (4, 6)
    )
    for run, lengths in ((rings, (64.0, 96.0, 1.0)), (known, (four, six, 1.0))):
        for part, length in zip(((0.0, 0.55), (0.55, 1.25), (1.3, 2.0)), lengths, strict=True):
            span = run.between(*part)
            assert span.queue_length == length
        assert run.between(1.5).throughput.value == 0.0
    assert known.between(0.6, 1.2).throughput.value > 0.95 * 6e3 * 0.97
    assert settled(SumOfRings(), horizon=1.0)(engine) == 96
    assert settled(Constant(None), horizon=1.0)(engine) is None


def test_the_same_guests_whatever_the_controller() -> None:
    disks = [qt.Disk(qt.Poisson(300.0), buffer=8), qt.Disk(qt.IPP(2000.0, 0.01, 0.05), buffer=64)]
    engine = qt.Engine(disks, FOUR, hold="ring")
    changes = [qt.Change(1.0, [0], arrivals=qt.Poisson(3000.0)), qt.Change(2.0, [1], attached=False)]
    runs = [qt.simulate_resizing(engine, c, changes, horizon=4.0, seed=5) for c in (Constant(2), Constant(None))]
    totals = [run.completed.sum() + run.refused.sum() for run in runs]
    assert abs(totals[0] - totals[1]) <= engine.most
    again = qt.simulate_resizing(engine, Constant(2), changes, horizon=4.0, seed=5)
    assert again.completed.tolist() == runs[0].completed.tolist()
    offered = (runs[1].completed + runs[1].refused) / runs[1].duration
    assert offered[5:10].mean() == pytest.approx(300.0 + disks[1].arrivals.rate, rel=0.4)
    assert offered[25:].mean() == pytest.approx(3000.0, rel=0.05)


def test_disks_come_and_go_during_a_trace() -> None:
    """With nothing attached or detached a replay is `simulate`'s; a detached disk's requests are left out."""
    trace = qt.bundled_trace()
    constant = qt.Device(servers=4, service=qt.Deterministic(1e-3))
    engine = qt.Engine([qt.Disk(qt.Poisson(1.0))] * 4, constant, 8, hold="ring")
    span = float(trace.arrival[-1] - trace.arrival[0])
    whole = qt.simulate(engine, trace=trace)
    run = qt.simulate_resizing(engine, Constant(8), trace=trace, horizon=span + 1.0)
    assert run.completed.sum() + run.refused.sum() == len(trace)
    assert run.mean_response @ run.completed / run.completed.sum() == pytest.approx(whole.mean_response.value, rel=1e-9)
    half = span / 2
    gone = qt.simulate_resizing(engine, Constant(8), [qt.Change(half, [1, 2], attached=False)], trace=trace,
                                horizon=span + 1.0)  # fmt: skip
    start = trace.arrival - trace.arrival[0]
    kept = np.count_nonzero((start < half) | ((trace.disk != 1) & (trace.disk != 2)))
    assert gone.completed.sum() + gone.refused.sum() == kept


def test_curve_beside_a_controller() -> None:
    engine = qt.Engine([qt.Disk(qt.Closed(32), buffer=32)], FOUR, hold="ring")
    curve = qt.sizing_curve(engine, [1, 4], max_throughput_loss=0.05,
                            rules={"kyber": settled(Kyber(), horizon=2.0)})  # fmt: skip
    assert curve.rules["kyber"] == (256, 256)
    assert [text.get_text() for text in curve.plot().axes[0].get_legend().get_texts()][-1] == "kyber"


def test_plot_and_dict() -> None:
    run = qt.simulate_resizing(SATURATED, Constant(8), horizon=0.5)
    assert len(run.plot().axes) == 3
    assert run.to_dict()["queue_length"] == [8.0] * 5
    assert len(qt.simulate_resizing(SATURATED, Constant(None), horizon=0.5).plot().axes) == 3
    assert set(run.error_bounds) == {"throughput", "mean_in_flight", "mean_response"}
    assert 0.0 < run.error_bound < 0.2


@pytest.mark.parametrize(("given", "message"), [
    ({"controller": lambda seen: 0}, "what the controller returns must be a whole number >= 1"),
    ({"horizon": None}, "horizon must be given"),
    ({"period": 0.0}, "period must be a positive"),
    ({"changes": [qt.Change(1.0, [7], attached=True)]}, "changes\\[0\\] must have disks from 0 to 1, not \\(7,\\)"),
    ({"changes": [qt.Change(1.0, [1], slowdown=2.0)]}, "must slow down all disks"),
    ({"changes": [qt.Change(1.0, arrivals=qt.Poisson(1.0))]}, "must not have arrivals: those of disks\\[1\\]"),
    ({"service": "drawn"}, "service must be left out"),
    ({"engine": qt.Engine([qt.Disk(qt.Closed(4))], FOUR, 8, shares="linux")}, "shares must be 'fifo', 'equal' or caps"),
])  # fmt: skip
def test_bad_input_is_refused(given: dict[str, Any], message: str) -> None:
    engine = qt.Engine([qt.Disk(qt.Poisson(10.0)), qt.Disk(qt.Closed(4))], FOUR)
    with pytest.raises(ValueError, match=message):
        qt.simulate_resizing(**{"engine": engine, "controller": Constant(1), "horizon": 1.0, **given})


@pytest.mark.parametrize(("given", "message"), [
    ({}, "attached, arrivals or slowdown must be given"),
    ({"attached": True, "at": -1.0}, "at must be a finite number >= 0"),
    ({"slowdown": 0.0}, "slowdown must be a positive"),
])  # fmt: skip
def test_bad_changes_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        qt.Change(**{"at": 1.0, **given})


def test_unlimited_queue_is_the_steady_engine_without_one() -> None:
    engine = with_queue_length(SATURATED, None)
    run = qt.simulate_resizing(engine, lambda seen: None, horizon=1.0)
    assert run.in_flight == pytest.approx([64.0] * 10)
    assert run.between().queue_length == math.inf


def test_mean_field_needs_rates() -> None:
    with pytest.raises(ValueError, match="rates must have at least one rate"):
        mean_field(Constant(3), [], 4)
