"""Divided slots of a shared device: exact where it is said to be, near the exact chain and simulation elsewhere."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from generator import brute_force
from hypothesis import given, settings
from hypothesis import strategies as st

import qtheory as qt
from qtheory.sizing.sweep import with_queue_length
from qtheory.solve import answer
from qtheory.solve.divided_slots import DRAIN_MEASURED, MEASURED

ONE = qt.Exponential(mean=1.0)


def poisson(rate: float, buffer: int) -> qt.Disk:
    return qt.Disk(qt.Poisson(rate), buffer=buffer)


def closed(outstanding: int, think: float = 0.0) -> qt.Disk:
    return qt.Disk(qt.Closed(outstanding, think), buffer=outstanding)


def divided(disks: list[qt.Disk], servers: int, slots: int, shares: Any, hold: Any = "ring") -> qt.Engine:
    return qt.Engine(disks, qt.Device(servers, ONE), slots, hold, shares)


@pytest.mark.parametrize("engine", [
    divided([closed(5), closed(3)], 2, 5, (3, 2)),
    divided([closed(5), poisson(0.4, 2)], 2, 5, (3, 2)),
    divided([closed(4), closed(2, 1.5), closed(3)], 1, 6, (2, 2, 2)),
    divided([poisson(0.9, 3), closed(2, 0.5)], 1, 4, (3, 2)),
    qt.Engine([closed(4), poisson(0.5, 2)], qt.Device.from_depth_sweep([1, 3], [1.0, 1.7]), 4, "ring", (2, 2)),
], ids=["saturated", "saturated and open", "saturated and closed", "caps that do not bind", "curve"])  # fmt: skip
def test_exact_where_only_saturated_disks_are_held_back(engine: qt.Engine) -> None:
    state, truth = qt.solve(engine, "divided_slots"), brute_force(engine)
    assert state.exact
    assert state.throughput == pytest.approx(truth.throughput, rel=1e-9)
    assert state.mean_in_flight == pytest.approx(truth.mean_in_flight, rel=1e-9)
    assert state.in_system_pmf == pytest.approx(truth.in_system_pmf, rel=1e-8, abs=1e-12)
    for disk, rate, wait, pmf in zip(
        state.disks, truth.disk_throughput, truth.disk_mean_wait, truth.disk_pmf, strict=True
    ):
        assert disk.throughput == pytest.approx(rate, rel=1e-9)
        assert disk.pmf == pytest.approx(pmf, rel=1e-9, abs=1e-12)
        if engine.devices[0].servers is not None:
            assert disk.mean_wait == pytest.approx(wait, rel=1e-8)


@pytest.mark.parametrize("engine", [
    divided([poisson(0.45, 5), poisson(0.45, 5)], 1, 4, (2, 2)),
    divided([poisson(0.7, 5), poisson(0.2, 5)], 1, 4, (2, 2)),
    divided([poisson(2.4, 5), poisson(0.4, 5)], 2, 4, (2, 2)),
    divided([poisson(1.8, 5), poisson(0.6, 5)], 3, 4, (2, 2)),
    divided([closed(5, 3.0), closed(3, 3.0)], 1, 4, (2, 2)),
    divided([closed(4), poisson(0.3, 5)], 1, 4, (2, 2)),
    divided([poisson(0.7, 4), poisson(0.2, 4)], 1, 3, (2, 2)),
], ids=["alike", "different", "overloaded", "caps below the servers", "closed", "saturated and open",
        "fewer slots"])  # fmt: skip
def test_near_the_exact_chain(engine: qt.Engine) -> None:
    """Two disks of few requests, where what waits behind a cap knows most of the other: rates to 2 %, waits to 15 %."""
    state, truth = qt.solve(engine, "divided_slots"), brute_force(engine)
    assert not state.exact
    assert state.in_system_pmf.sum() == pytest.approx(1.0, rel=1e-9)
    for disk, rate, wait in zip(state.disks, truth.disk_throughput, truth.disk_mean_wait, strict=True):
        assert disk.throughput == pytest.approx(rate, rel=0.02)
        assert disk.mean_wait == pytest.approx(wait, rel=0.15)


def test_total_is_that_of_one_line_when_caps_keep_all_servers_busy() -> None:
    """Whoever is served, a device that never idles beside a request has the total of one line, but for blocking."""
    disks = [poisson(0.8, 64)] * 4
    caps, line = divided(disks, 4, 16, "equal"), divided(disks, 4, 16, "fifo")
    assert qt.solve(caps).mean_in_system == pytest.approx(qt.solve(line).mean_in_system, rel=1e-3)


def test_a_shallow_disk_is_kept_from_a_deep_one() -> None:
    deep, shallow = poisson(5.0, 64), poisson(0.2, 64)
    engine = divided([deep, deep, shallow], 4, 12, "equal")
    state, run = qt.solve(engine), qt.simulate(engine, 200_000, seed=2)
    assert state.method == "divided_slots"
    assert answer(engine).error_bounds["mean_wait"] == math.inf  # overloaded beyond what the method was measured for
    for disk, seen in zip(state.disks, run.disks, strict=True):
        assert (
            abs(disk.mean_wait / seen.mean_wait.value - 1.0) < 0.03 + seen.mean_wait.half_width / seen.mean_wait.value
        )
    line = qt.solve(divided([deep, deep, shallow], 4, 12, "fifo"))
    assert state.disks[2].mean_wait < 0.05 * line.disks[2].mean_wait


def test_drain_of_what_has_a_slot() -> None:
    engine = divided([poisson(1.0, 64)] * 4, 4, 16, "equal")
    drain, run = qt.drain_time(engine), qt.simulate(engine, 300_000, seed=3)
    assert run.drain is not None
    assert (drain.method, drain.exact) == ("divided_slots", False)
    assert drain.mean == pytest.approx(run.drain.mean.value, rel=0.05)
    assert drain.error_bounds["mean"] == DRAIN_MEASURED
    assert answer(engine).error_bounds == MEASURED
    given_all = qt.drain_time(engine, population=[64, 1, 0, 2])  # 4 + 1 + 2 have a slot
    assert (given_all.exact, given_all.mean) == (True, pytest.approx(3 / 4 + 1 + 1 / 2 + 1 / 3 + 1 / 4))
    with pytest.raises(ValueError, match="wait in the engine for a cap"):
        qt.drain_time(divided([poisson(1.0, 64)] * 4, 4, 16, "equal", "engine"))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(1e-3, 10.0), st.sampled_from([1, 3, 40, 1024]), st.integers(1, 20)), min_size=1, max_size=5
    ),
    st.sampled_from([1, 4, 1000]),
    st.sampled_from([1, 7, 1000]),
)  # fmt: skip
def test_any_engine_is_solved_sensibly(disks: list[tuple[float, int, int]], servers: int, slots: int) -> None:
    caps = tuple(cap for *_, cap in disks)
    engine = divided([poisson(rate * servers, buffer) for rate, buffer, _ in disks], servers, slots, caps)
    state = qt.solve(engine, "divided_slots")
    assert 0.0 < state.throughput <= engine.offered_load * (1.0 + 1e-9)
    assert state.throughput <= servers * (1.0 + 0.05)
    assert state.in_system_pmf.sum() == pytest.approx(1.0, rel=1e-9)
    assert math.isfinite(state.mean_wait)
    assert state.mean_in_system == pytest.approx(state.throughput * state.mean_response, rel=1e-9)
    for disk in state.disks:
        assert np.all(disk.pmf >= 0.0)
        assert disk.pmf.sum() == pytest.approx(1.0, rel=1e-9)


def test_optimum_beyond_the_servers() -> None:
    """A deep disk needs nearly all servers, so equal shares need nearly twice as many slots."""
    engine = divided([poisson(12.0, 64), poisson(0.5, 64)], 16, 4, "equal")
    z = qt.optimal_queue_length(engine, max_throughput_loss=1e-3, drain_budget=8.0)
    assert z.queue_length is not None
    assert 24 <= z.queue_length <= 32
    full = qt.solve(with_queue_length(engine, None)).throughput
    losses = [1.0 - qt.solve(with_queue_length(engine, q)).throughput / full for q in (z.lower - 1, z.lower)]
    assert losses[1] <= 1e-3 < losses[0]
    assert z.upper > 32
    by_load = qt.optimal_queue_length(
        qt.Engine(engine.disks, engine.device, 4, "ring", "load"), max_throughput_loss=1e-3
    )
    assert by_load.queue_length is not None
    assert by_load.queue_length < z.queue_length
