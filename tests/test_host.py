"""The limits of a host against every division, every partition, and simulation."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qtheory as qt
from qtheory.sizing import BatchCosts, batch_throughput, optimal_batch
from qtheory.sizing.batching import PUBLISHED_ERROR
from qtheory.sizing.host_budget import hull
from qtheory.sizing.iothreads import SERIES_ERROR
from qtheory.sizing.optimum import throughput
from qtheory.sizing.sweep import with_queue_length

RESULTS = Path(__file__).resolve().parents[1] / "validation" / "results"


def own(disks: int, requests: int, mean: float = 1e-3, servers: int = 1, shares: Any = "fifo") -> qt.Engine:
    """Saturated disks with a device each."""
    device = qt.Device(servers=servers, service=qt.Exponential(mean=mean))
    disk = qt.Disk(qt.Closed(requests), buffer=requests, device=device)
    return qt.Engine([disk] * disks, queue_length=disks * requests, shares=shares)


def divisions(engines: Sequence[qt.Engine], slots: int) -> tuple[float, float]:
    """Largest total throughput and least worst loss of all divisions, by dynamic programming over the engines."""
    total, worst = np.zeros(slots + 1), np.zeros(slots + 1)
    for engine in engines:
        first = len(engine.disks) if engine.shares == "equal" else 1
        rates = np.full(slots + 1, -math.inf)
        most = sum(disk.most for disk in engine.disks)
        for q in range(first, slots + 1):
            rates[q] = throughput(with_queue_length(engine, min(q, most)))
        losses = 1.0 - rates / throughput(with_queue_length(engine, None))
        total = np.array([max(total[b - q] + rates[q] for q in range(b + 1)) for b in range(slots + 1)])
        worst = np.array([min(max(worst[b - q], losses[q]) for q in range(b + 1)) for b in range(slots + 1)])
    return float(total[slots]), float(worst[slots])


ENGINES = [own(4, 8), own(2, 16, mean=1e-4), own(3, 6, servers=2, mean=2e-3), own(4, 8)]
DIPS = qt.Engine([qt.Disk(qt.Closed(12), buffer=12)], qt.Device(curve=[100.0, 110.0, 400.0, 410.0, 900.0, 1000.0]))


@pytest.mark.parametrize("slots", [4, 5, 9, 17, 30])
@pytest.mark.parametrize("engines", [ENGINES, [*ENGINES, DIPS], [own(3, 4, shares="equal"), DIPS, own(2, 5)]],
                         ids=["concave", "convex parts", "equal shares"])  # fmt: skip
def test_division_against_every_division(engines: list[qt.Engine], slots: int) -> None:
    best, least_worst = divisions(engines, slots)
    loss = {"max_throughput_loss": 1e-6}
    h = qt.host_budget(engines, slots=slots, **loss)
    fair = qt.host_budget(engines, slots=slots, **loss, when_short="fairness")
    if not math.isfinite(best):
        assert h.queue_lengths is fair.queue_lengths is None
        assert not h.sufficient
        assert "not even one" in h.warnings[0]
        return
    assert h.queue_lengths is not None
    assert fair.queue_lengths is not None
    total = sum(throughput(with_queue_length(e, q)) for e, q in zip(engines, h.queue_lengths, strict=True))
    assert total <= best * (1.0 + 1e-12)
    assert best <= total * (1.0 + h.error_bounds["total_throughput"] + 1e-12)
    assert not h.exact or total == pytest.approx(best, rel=1e-12)
    if engines is ENGINES:
        assert h.exact
    assert max(fair.throughput_losses) == pytest.approx(least_worst, rel=1e-9, abs=1e-12)
    for division in (h, fair):
        assert division.queue_lengths is not None
        assert sum(division.queue_lengths) <= slots
        assert division.sufficient == (sum(division.wanted) <= slots)


@pytest.mark.parametrize("slots", [1, 8, 20, 30])
def test_division_with_thread_pools_against_every_division(slots: int) -> None:
    """Six workers for an engine without slots: from 0 on the throughput with six, then that with more."""
    engines = [own(4, 8), own(3, 6, servers=2, mean=2e-3), own(2, 16, mean=1e-4), own(4, 2)]
    total, worst = np.zeros(slots + 1), np.zeros(slots + 1)
    for engine in engines:
        q = [max(q, 6) for q in range(slots + 1)]
        rates = np.array([throughput(with_queue_length(engine, x)) for x in q])
        losses = 1.0 - rates / throughput(with_queue_length(engine, None))
        total = np.array([max(total[b - q] + rates[q] for q in range(b + 1)) for b in range(slots + 1)])
        worst = np.array([min(max(worst[b - q], losses[q]) for q in range(b + 1)) for b in range(slots + 1)])
    least = qt.host_budget(engines, slots=slots, max_throughput_loss=1e-6, thread_pool=6)
    fair = qt.host_budget(engines, slots=slots, max_throughput_loss=1e-6, thread_pool=6, when_short="fairness")
    assert least.queue_lengths is not None
    assert fair.queue_lengths is not None
    for division in (least.queue_lengths, fair.queue_lengths):
        assert sum(division) <= slots
        assert all(q == 0 or q > 6 for q in division)
    found = sum(throughput(with_queue_length(e, max(q, 6))) for e, q in zip(engines, least.queue_lengths, strict=True))
    assert found <= total[slots] * (1.0 + 1e-12)
    assert total[slots] <= found * (1.0 + least.error_bounds["total_throughput"] + 1e-12)
    assert least.error_bounds["total_throughput"] < 0.02
    assert max(fair.throughput_losses) == pytest.approx(worst[slots], rel=1e-9, abs=1e-12)


def test_the_constant_is_not_better_than_a_division_with_thread_pools() -> None:
    """Too few slots: 1024 for two engines and pools for 38 beat slots for all, but not slots where they count."""
    engines = [own(16, 32), own(6, 32, servers=4)] * 20
    short = qt.host_budget(engines, slots=2048, max_throughput_loss=0.02)
    assert short.throughput_loss is not None
    assert short.throughput_loss > short.constant_loss
    assert any("see thread_pool" in warning for warning in short.warnings)
    pools = qt.host_budget(engines, slots=2048, max_throughput_loss=0.02, thread_pool=64)
    assert pools.throughput_loss is not None
    assert pools.throughput_loss < 0.8 * pools.constant_loss
    assert qt.host_budget([own(2, 8)] * 3, slots=1, thread_pool=64).most_engines is None
    # Five disks with equal shares need five slots, or none.
    few = qt.host_budget([own(5, 8, shares="equal")] * 2, slots=8, thread_pool=2)
    assert few.queue_lengths == (5, 0)


def test_steps_beyond_the_resolution_are_bounded() -> None:
    """Where queue lengths are skipped, the division is within its own bound of the best, one slot after the other."""
    engines = [own(8, 32), own(6, 64, mean=5e-4)]
    h = qt.host_budget(engines, slots=200, max_throughput_loss=1e-3)
    rates = [{q: throughput(with_queue_length(e, q)) for q in range(60, 141)} for e in engines]
    best = max(rates[0][q] + rates[1][200 - q] for q in range(60, 141))
    assert h.queue_lengths is not None
    assert sum(h.queue_lengths) == 200
    total = sum(rate[q] for rate, q in zip(rates, h.queue_lengths, strict=True))
    assert total <= best <= total * (1.0 + h.error_bounds["total_throughput"])
    assert 0.0 <= h.error_bounds["total_throughput"] < 1e-3


@settings(max_examples=15)
@given(
    kinds=st.lists(
        st.tuples(st.integers(1, 4), st.integers(1, 8), st.sampled_from([1e-3, 3e-4])), min_size=1, max_size=3
    ),
    copies=st.integers(1, 5),
    slots=st.integers(1, 120),
    rule=st.sampled_from(["throughput", "fairness"]),
)
def test_properties_of_any_division(kinds: list[tuple[int, int, float]], copies: int, slots: int, rule: Any) -> None:
    engines = [own(n, k, mean) for n, k, mean in kinds] * copies
    h = qt.host_budget(engines, slots=slots, max_throughput_loss=0.02, when_short=rule)
    assert h.sufficient == (sum(h.wanted) <= slots) == (h.most_engines >= len(engines))
    if h.queue_lengths is None:
        assert slots < len(engines)
        return
    assert sum(h.queue_lengths) <= slots
    assert min(h.queue_lengths) >= 1
    for engine in set(engines):
        same = [q for e, q in zip(engines, h.queue_lengths, strict=True) if e == engine]
        assert max(same) - min(same) <= 1
    more = qt.host_budget(engines, slots=slots + 7, max_throughput_loss=0.02, when_short=rule)
    assert h.throughput_loss is not None
    assert more.throughput_loss is not None
    if rule == "throughput":
        assert more.throughput_loss <= h.throughput_loss + 1e-9 or more.sufficient
    else:
        assert max(more.throughput_losses) <= max(h.throughput_losses) + 1e-9 or more.sufficient
    if h.sufficient:
        assert h.queue_lengths == h.wanted
        assert max(h.throughput_losses) <= 0.02 + 1e-9


def test_fit_of_engines_and_the_constant() -> None:
    engines = [own(4, 64), own(8, 64)]
    h = qt.host_budget(engines * 40, slots=4096, max_throughput_loss=0.05)
    assert h.constant_engines == 4
    assert h.constant_losses[:4] == pytest.approx([0.0] * 4, abs=1e-12)
    at_64 = throughput(with_queue_length(engines[1], 64)) / 8000.0
    assert h.constant_losses[5] == pytest.approx(1.0 - at_64)
    fits = qt.host_budget((engines * 60)[: h.most_engines], slots=4096, max_throughput_loss=0.05)
    over = qt.host_budget((engines * 60)[: h.most_engines + 1], slots=4096, max_throughput_loss=0.05)
    assert fits.sufficient
    assert not over.sufficient


def test_a_device_with_less_throughput_at_more_slots_is_told() -> None:
    dip = qt.Engine([qt.Disk(qt.Closed(12), buffer=12)], qt.Device(curve=[100.0, 200.0, 150.0, 300.0]))
    h = qt.host_budget([dip] * 3, slots=8, max_throughput_loss=0.01)
    assert not h.exact
    assert h.error_bound == math.inf
    assert any("less throughput with more slots" in warning for warning in h.warnings)


def test_hull_is_the_least_concave_function_above() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        points = [(q, float(x)) for q, x in enumerate(rng.random(12))]
        found = hull(points)
        slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in itertools.pairwise(found)]
        assert all(a > b > 0.0 for a, b in itertools.pairwise([*slopes, 1e-300]))
        high = np.interp(np.arange(12), *zip(*found, strict=True))
        assert all(x <= high[q] + 1e-12 for q, x in points)
        assert set(found) <= set(points)


def test_bad_budgets_are_refused() -> None:
    with pytest.raises(ValueError, match="engines must have at least one"):
        qt.host_budget([])
    with pytest.raises(TypeError, match=r"engines\[1\] must be a qt.Engine"):
        qt.host_budget([own(2, 4), 3])  # type: ignore[list-item]
    for wrong in ({"slots": 0}, {"slots": 1.5}, {"max_throughput_loss": 0.0}, {"when_short": "luck"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            qt.host_budget([own(2, 4)], **wrong)  # type: ignore[arg-type]


def split(engine: qt.Engine, members: Sequence[int]) -> qt.Engine:
    return qt.Engine([engine.disks[i] for i in members], None, engine.queue_length, engine.hold, engine.shares)


def every_assignment(engine: qt.Engine, laws: Sequence[qt.Law], threads: int, minimize: str, most: float) -> float:
    """The least value over all threads^disks assignments, by the textbook station and the front door."""
    n = len(engine.disks)
    rates = [qt.solve(split(engine, [i])).throughput for i in range(n)]

    @cache
    def responses(members: tuple[int, ...]) -> list[float]:
        total = sum(rates[i] for i in members)
        service = qt.Mixture([laws[i] for i in members], [rates[i] for i in members])
        wait = qt.stations.mg1(arrival_rate=total, service=service).mean_wait
        state = qt.solve(split(engine, members))
        return [wait + laws[i].mean + disk.mean_response for i, disk in zip(members, state.disks, strict=True)]

    alone = [responses((i,))[0] for i in range(n)]
    best = math.inf
    for assignment in itertools.product(range(threads), repeat=n):
        parts = [tuple(i for i in range(n) if assignment[i] == t) for t in range(threads)]
        loads = [sum(rates[i] * laws[i].mean for i in part) for part in parts]
        if max(loads) > most or max(loads) >= 1.0:
            continue
        if minimize == "utilization":
            best = min(best, max(loads))
            continue
        seen = {i: r for part in parts if part for i, r in zip(part, responses(part), strict=True)}
        if minimize == "response":
            best = min(best, sum(rates[i] * seen[i] for i in range(n)) / sum(rates))
        else:
            best = min(best, max(seen[i] / alone[i] for i in range(n)))
    return best


def guest(rates: Sequence[float], slots: int | None = None) -> qt.Engine:
    """Open disks with a device each."""
    device = qt.Device(servers=8, service=qt.Exponential(mean=100e-6))
    return qt.Engine([qt.Disk(qt.Poisson(rate), buffer=64, device=device) for rate in rates], queue_length=slots)


UNEQUAL = (30e3, 22e3, 18e3, 9e3, 9e3)
CPU = (
    qt.Exponential(mean=8e-6),
    qt.Deterministic(12e-6),
    qt.Gamma(mean=10e-6, scv=4.0),
    *[qt.Erlang(2, mean=20e-6)] * 2,
)


@pytest.mark.parametrize("minimize", ["response", "slowdown", "utilization"])
@pytest.mark.parametrize(("threads", "most"), [(1, 1.0), (2, 1.0), (3, 1.0), (3, 0.45), (5, 1.0)])
def test_assignment_against_every_assignment(minimize: Any, threads: int, most: float) -> None:
    best = every_assignment(guest(UNEQUAL), CPU, threads, minimize, most)
    limits = {"max_utilization": most} if most < 1.0 else {}
    a = qt.assign_iothreads(guest(UNEQUAL), cpu_time=CPU, threads=threads, minimize=minimize, **limits)
    assert a.feasible == math.isfinite(best)
    assert a.value == pytest.approx(best, rel=1e-9)
    if a.feasible:
        assert a.proved
        assert not a.exact
        assert a.lower_bound == a.value
        assert len(a.assignment) == 5
        assert set(a.assignment) <= set(range(threads))
        assert len(a.utilizations) == len(a.mean_waits) == threads
    else:
        assert (a.fewest, a.assignment) == (None, ())
        assert "no assignment" in a.warnings[0]


def test_assignment_behind_a_line_against_every_assignment() -> None:
    device = qt.Device(servers=2, service=qt.Exponential(mean=1e-3))
    deep, shallow = (qt.Disk(qt.Closed(k), buffer=k, device=device) for k in (24, 2))
    engine = qt.Engine([deep, shallow, deep, shallow], queue_length=8)
    cpu = [qt.Exponential(mean=50e-6)] * 4
    for minimize in ("response", "slowdown"):
        a = qt.assign_iothreads(engine, cpu_time=cpu[0], threads=2, minimize=minimize)  # type: ignore[arg-type]
        assert a.value == pytest.approx(every_assignment(engine, cpu, 2, minimize, 1.0), rel=1e-9)
    # Deep disks together, shallow ones together: the line of a deep disk is not for a shallow one.
    assert a.assignment[0] == a.assignment[2] != a.assignment[1] == a.assignment[3]
    assert max(a.slowdowns) < 2.5
    mixed = qt.solve(qt.Engine([deep, shallow], queue_length=8)).disks[1]
    apart = qt.solve(qt.Engine([shallow, shallow], queue_length=8)).disks[0]
    assert mixed.mean_response > 2.0 * apart.mean_response


@settings(max_examples=20)
@given(
    rates=st.lists(st.floats(100.0, 60e3), min_size=1, max_size=7),
    threads=st.integers(1, 4),
    minimize=st.sampled_from(["response", "utilization"]),
)
def test_search_is_within_its_bounds(rates: list[float], threads: int, minimize: Any) -> None:
    """What is found beyond the exact method's reach, on cases within it."""
    from qtheory.sizing import iothreads

    cpu = qt.Exponential(mean=10e-6)
    exact = qt.assign_iothreads(guest(rates), cpu_time=cpu, threads=threads, minimize=minimize)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(iothreads, "WORK", 0)
        found = qt.assign_iothreads(guest(rates), cpu_time=cpu, threads=threads, minimize=minimize)
    if not found.feasible:
        assert min(1.0, sum(exact.utilizations)) > 0.7 or not exact.feasible
        return
    assert exact.feasible
    assert exact.proved
    assert not found.proved
    assert found.lower_bound * (1.0 - 1e-9) <= exact.value <= found.value * (1.0 + 1e-9)
    assert found.value <= exact.value * (1.0 + found.error_bounds["value"] + 1e-9)
    if minimize == "utilization":
        assert found.error_bounds["value"] <= 1.0 / 3.0
    more = qt.assign_iothreads(guest(rates), cpu_time=cpu, threads=threads + 1, minimize=minimize)
    assert more.value <= exact.value * (1.0 + 1e-12)
    loads = [
        sum(rate * 10e-6 for rate, t in zip(rates, found.assignment, strict=True) if t == u) for u in range(threads)
    ]
    assert found.utilizations == pytest.approx(loads, rel=1e-3)


def test_fewest_threads() -> None:
    """Sixteen disks of 0.2 of a thread each: five on a thread would be full, four are 0.8."""
    engine, cpu = guest([20e3] * 16), qt.Deterministic(10e-6)
    assert qt.assign_iothreads(engine, cpu_time=cpu).fewest == 4
    assert qt.assign_iothreads(engine, cpu_time=cpu, max_utilization=0.65).fewest == 6
    a = qt.assign_iothreads(engine, cpu_time=cpu, max_wait_quantile=(0.99, 40e-6))
    assert a.fewest is not None
    assert a.fewest == a.threads > 4
    heaviest = 20e3 * max(a.assignment.count(t) for t in range(a.threads))
    assert qt.stations.mg1(arrival_rate=heaviest, service=cpu).wait_quantile(0.99) <= 40e-6
    fuller = 20e3 * -(-16 // (a.threads - 1))
    assert fuller * 10e-6 >= 1.0 or qt.stations.mg1(arrival_rate=fuller, service=cpu).wait_quantile(0.99) > 40e-6
    spare = qt.assign_iothreads(engine, cpu_time=cpu, threads=20)
    assert (len(spare.utilizations), spare.fewest) == (20, 4)
    assert sorted(spare.assignment) == sorted(set(spare.assignment))


def test_a_limit_of_the_wait_for_disks_that_differ() -> None:
    engine = guest([30e3, 10e3, 5e3, 5e3])
    cpu = [qt.Exponential(mean=10e-6), *[qt.Deterministic(20e-6)] * 3]
    a = qt.assign_iothreads(engine, cpu_time=cpu, max_wait_quantile=(0.99, 60e-6), minimize="utilization")
    assert a.feasible
    assert a.fewest is not None
    for t in range(a.threads):
        members = [i for i in range(4) if a.assignment[i] == t]
        rates = [(30e3, 10e3, 5e3, 5e3)[i] for i in members]
        service = qt.Mixture([cpu[i] for i in members], rates)
        assert qt.stations.mg1(arrival_rate=sum(rates), service=service).wait_quantile(0.99) <= 60e-6 * (1 + 1e-6)
    assert not qt.assign_iothreads(engine, cpu_time=cpu, max_wait_quantile=(0.99, 1e-6), threads=4).feasible


def test_exact_is_said_of_what_has_product_form() -> None:
    cpu = qt.Exponential(mean=10e-6)
    assert qt.assign_iothreads(guest([20e3] * 3), cpu_time=cpu, threads=2).exact
    for a in (
        qt.assign_iothreads(guest([20e3] * 3), cpu_time=qt.Deterministic(10e-6), threads=2),
        qt.assign_iothreads(guest([20e3] * 3, slots=16), cpu_time=cpu, threads=2),
        qt.assign_iothreads(guest([90e3] * 1), cpu_time=cpu, threads=2),
    ):
        assert a.proved
        assert not a.exact
        assert a.error_bounds["mean_response"] >= 0.08


def test_disks_of_one_device_and_a_rate_of_closed_guests() -> None:
    disk = qt.Disk(qt.Closed(16), buffer=16)
    engine = qt.Engine([disk] * 4, qt.Device(servers=4, service=qt.Exponential(mean=1e-3)), 64)
    a = qt.assign_iothreads(engine, cpu_time=qt.Exponential(mean=20e-6), threads=2)
    assert a.utilizations == pytest.approx((0.04, 0.04))
    assert a.mean_responses == pytest.approx([16e-3 + 20e-6 + a.mean_waits[0]] * 4)
    assert any("not modelled" in warning for warning in a.warnings)


def test_bad_assignments_are_refused() -> None:
    engine, cpu = guest([1e3, 2e3]), qt.Exponential(mean=1e-6)
    for wrong, words in (
        ({"threads": 0}, "threads"),
        ({"minimize": "luck"}, "minimize"),
        ({"max_utilization": 1.0}, "max_utilization"),
        ({"max_wait_quantile": (0.9,)}, "max_wait_quantile"),
        ({"max_wait_quantile": (0.9, -1.0)}, "max_wait_quantile"),
        ({"cpu_time": [cpu]}, "cpu_time"),
    ):
        with pytest.raises(ValueError, match=words):
            qt.assign_iothreads(engine, **({"cpu_time": cpu} | wrong))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="cpu_time"):
        qt.assign_iothreads(engine, cpu_time=1e-6)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="engine"):
        qt.assign_iothreads(3, cpu_time=cpu)  # type: ignore[arg-type]


COSTS = st.builds(
    BatchCosts,
    request=st.floats(1e-7, 1e-4),
    call=st.floats(0.0, 1e-4),
    growth=st.floats(0.0, 1e-7),
    latency=st.floats(0.0, 1e-3),
    device=st.floats(1e-7, 1e-4),
)


def round_by_round(costs: BatchCosts, outstanding: int, batch: int) -> float:
    """Requests a second of a thread that pops all in batches, then reaps what the device completes one by one."""
    work = costs.request + costs.call / batch + costs.growth * batch
    now, device, completed = 0.0, 0.0, []
    for popped in range(1, outstanding + 1):
        now += work / 2.0
        if popped % batch == 0 or popped == outstanding:
            for _ in range(len(completed), popped):
                device = max(device, now) + costs.device
                completed.append(device)
    for done in completed:
        now = max(now, done) + work / 2.0
    return outstanding / now


@pytest.mark.parametrize("device", [1e-6, 2e-6, 4e-6, 8e-6])
@pytest.mark.parametrize("batch", [1, 8, 32, 128, 512])
def test_batches_against_a_thread_followed_round_by_round(device: float, batch: int) -> None:
    costs = BatchCosts(request=3.6e-6, call=1.3e-6, growth=1.6e-9, latency=0.0, device=device)
    held = batch_throughput(costs, outstanding=512, batch=batch, queues=4)
    assert held == pytest.approx(round_by_round(costs, 512, batch), rel=0.005)
    assert held <= batch_throughput(costs, outstanding=512, batch=batch, queues=1)


@given(costs=COSTS, outstanding=st.integers(1, 600), queues=st.integers(1, 3))
def test_properties_of_batches(costs: BatchCosts, outstanding: int, queues: int) -> None:
    rates = [
        batch_throughput(costs, outstanding=outstanding, batch=b, queues=queues) for b in range(1, outstanding + 1)
    ]
    z = optimal_batch(costs, outstanding=outstanding, queues=queues)
    assert z.throughput == pytest.approx(max(rates), rel=1e-12)
    assert z.lower <= z.batch <= z.upper <= outstanding
    for b, rate in enumerate(rates, 1):
        assert rate <= min(1.0 / costs.device, 1.0 / costs.request) * (1.0 + 1e-12)
        assert not z.lower <= b <= z.upper or rate >= 0.99 * max(rates) * (1.0 - 1e-12)
    assert batch_throughput(costs, outstanding=outstanding, queues=queues) == z.unlimited_throughput == rates[-1]
    more = optimal_batch(costs, outstanding=outstanding + 50, queues=queues)
    assert more.throughput >= z.throughput * (1.0 - 1e-12)


@given(costs=COSTS, factor=st.floats(0.1, 10.0))
def test_the_economic_lot_and_how_flat_it_is(costs: BatchCosts, factor: float) -> None:
    best = costs.best_batch
    if not 0.0 < best < math.inf:
        return

    def work(batch: float) -> float:
        return costs.request + costs.call / batch + costs.growth * batch

    off = math.sqrt(costs.call * costs.growth) * (factor + 1.0 / factor - 2.0)
    assert work(factor * best) - work(best) == pytest.approx(off, abs=1e-9 * work(factor * best))
    if 2.0 < best < 1e4:
        fast = BatchCosts(request=1e-5, call=costs.call, growth=costs.growth, latency=0.0, device=1e-9)
        found = optimal_batch(fast, outstanding=math.ceil(best) + 10)
        assert found.binds == "thread"
        assert abs(found.batch - best) <= 1.0


def test_the_published_batches() -> None:
    """The committed costs give the committed rates, and are those of the published table."""
    host = pytest.importorskip("validation.host", reason="validation is in the repository only")
    with (RESULTS / "host_batch_costs.csv").open(encoding="utf-8") as file:
        shown = next(csv.DictReader(file))
    costs = BatchCosts(**{f.name: float(shown[f"{f.name}_us"]) * 1e-6 for f in fields(BatchCosts)})
    with (RESULTS / "host_batches.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    table = host.published()
    assert len(table) == len(rows) == 60
    off = []
    for row, cell in zip(rows, table, strict=True):
        assert all(int(row[key]) == cell[key] for key in cell)
        assert host.modelled(costs, cell) == pytest.approx(float(row["fitted"]), rel=2e-3)
        off.append(math.log(float(row["fitted"]) / cell["kiops"]))
    assert max(map(abs, off)) < PUBLISHED_ERROR
    refitted = host.fitted(table)
    assert 25.0 < refitted.best_batch < 32.0
    assert refitted.request == pytest.approx(costs.request, rel=2e-3)
    # What the limit is for: four queues, 32 against none.
    for block, depth in ((4, 64), (4, 128), (16, 64), (16, 128)):
        cell = {"block_kib": block, "iodepth": depth, "queues": 4}
        assert 1.25 < host.modelled(costs, {**cell, "batch": 32}) / host.modelled(costs, {**cell, "batch": 0}) < 1.6


def test_bad_batches_are_refused() -> None:
    costs = BatchCosts(request=1e-6, call=1e-6, growth=1e-9, latency=0.0, device=1e-6)
    with pytest.raises(ValueError, match="call"):
        BatchCosts(request=1e-6, call=-1e-6, growth=1e-9, latency=0.0, device=1e-6)
    with pytest.raises(ValueError, match="request"):
        BatchCosts(request=0.0, call=1e-6, growth=1e-9, latency=0.0, device=1e-6)
    for wrong in ({"outstanding": 0}, {"outstanding": 4, "batch": 0}, {"outstanding": 4, "queues": 0}):
        with pytest.raises(ValueError, match=list(wrong)[-1]):
            batch_throughput(costs, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="tolerance"):
        optimal_batch(costs, outstanding=4, tolerance=1.0)
    with pytest.raises(TypeError, match="costs must be BatchCosts"):
        optimal_batch(3, outstanding=4)  # type: ignore[arg-type]


def test_committed_assignments_are_within_the_stated_error() -> None:
    with (RESULTS / "host_iothreads.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["off"]]
    assert len(rows) > 50
    for row in rows:
        model, simulated, half = (float(row[name]) for name in ("model_us", "simulated_us", "half_width_us"))
        assert abs(model - simulated) - half <= SERIES_ERROR * simulated


@pytest.mark.parametrize("shares", ["rings", qt.Weights([1.0, 1.0, 1.0])])
def test_proportional_shares_of_equal_disks_are_equal_shares(shares: Any) -> None:
    for slots in (8, 11, 40):
        divided, equal = (qt.host_budget([own(3, 4, shares=s)] * 3, slots=slots) for s in (shares, "equal"))
        assert divided.queue_lengths == equal.queue_lengths


def test_weights_go_with_their_disks() -> None:
    device = qt.Device(servers=4, service=qt.Exponential(mean=1e-3))
    disks = [qt.Disk(qt.Poisson(500.0), buffer=32, device=device)] * 3
    engine = qt.Engine(disks, queue_length=6, shares=qt.Weights([1.0, 4.0, 1.0]))
    a = qt.assign_iothreads(engine, cpu_time=qt.Exponential(mean=1e-4), threads=1)
    assert engine.caps == (1, 4, 1)
    assert a.mean_responses[0] == pytest.approx(a.mean_responses[2])
    assert a.mean_responses[1] < a.mean_responses[0]
