"""Thousands of disks, equal and different, and memory that does not grow with the run or the trace."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import qtheory as qt
from qtheory.simulate.draws import Draws
from qtheory.traces import file, own

MEAN = 400e-6
DEVICE = qt.Device(servers=8, service=qt.Exponential(mean=MEAN))
TOTAL = 0.8 * 8 / MEAN


def peak(work: Callable[[], object]) -> int:
    """Bytes allocated at most."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_ten_thousand_equal_disks_are_one_stream_where_no_buffer_fills() -> None:
    one_by_one = [qt.Disk(qt.Poisson(TOTAL / 10_000), buffer=64) for _ in range(10_000)]
    s = qt.solve(qt.Engine(one_by_one, DEVICE, queue_length=64))
    station = qt.stations.mmc(arrival_rate=TOTAL, service_rate=1.0 / MEAN, servers=8)
    assert s.mean_wait == pytest.approx(station.mean_wait, rel=1e-10)
    assert s.mean_in_system == pytest.approx(station.mean_in_system, rel=1e-10)
    assert s.disks[0].mean_in_system * 10_000 == pytest.approx(station.mean_in_system, rel=1e-9)
    listed = qt.solve(qt.Engine([one_by_one[0]] * 10_000, DEVICE, queue_length=64))
    assert (s.mean_wait, s.disks[-1].mean_wait) == (listed.mean_wait, listed.disks[0].mean_wait)


def test_a_thousand_different_disks_each_get_what_they_ask_for() -> None:
    shares = 0.5 + (np.arange(1000) * 0.6180339887) % 1.0
    rates = TOTAL * shares / shares.sum()
    disks = [qt.Disk(qt.Poisson(rate), buffer=16 + i % 100) for i, rate in enumerate(rates)]
    s = qt.solve(qt.Engine(disks, DEVICE, queue_length=64))
    station = qt.stations.mmc(arrival_rate=TOTAL, service_rate=1.0 / MEAN, servers=8)
    assert s.mean_wait == pytest.approx(station.mean_wait, rel=1e-9)
    np.testing.assert_allclose([d.throughput for d in s.disks], rates, rtol=1e-9)
    # the same mean response for all, by Poisson arrivals
    np.testing.assert_allclose([d.mean_in_system for d in s.disks], rates * station.mean_response, rtol=1e-8)


def test_ten_thousand_disks_take_memory_in_proportion_to_them() -> None:
    disk = qt.Disk(qt.Poisson(TOTAL / 10_000), buffer=64)
    engine = qt.Engine([disk] * 10_000, DEVICE, queue_length=64)
    assert peak(lambda: qt.solve(engine)) < 10_000**2  # bytes: an eighth of one array of N x N numbers


def test_overload_beyond_what_is_merged_is_refused_at_once() -> None:
    engine = qt.Engine([qt.Disk(qt.Poisson(10.0), buffer=256)] * 10_000, DEVICE, queue_length=64)
    with pytest.raises(ValueError, match=r"10000 disks have up to 2560000: give them smaller buffers, or simulate it"):
        qt.solve(engine)
    with pytest.raises(ValueError, match="simulate it"):
        qt.drain_time(engine)


def test_ten_thousand_disks_with_devices_of_their_own_are_each_alone() -> None:
    device = qt.Device(servers=1, service=qt.Exponential(mean=1e-3))
    disk = qt.Disk(qt.Poisson(500.0), buffer=128, device=device)
    alone, all_of_them = qt.Engine([disk]), qt.Engine([disk] * 10_000)
    one, s = qt.solve(alone), qt.solve(all_of_them)
    assert s.exact
    assert s.mean_in_system == pytest.approx(10_000 * one.mean_in_system, rel=1e-12)
    assert s.in_system_pmf.sum() == pytest.approx(1.0, rel=1e-10)
    assert s.in_system_pmf @ np.arange(len(s.in_system_pmf)) == pytest.approx(s.mean_in_system, rel=1e-9)
    first, last = qt.drain_time(alone), qt.drain_time(all_of_them)
    for t in (0.005, 0.02, 0.03):
        assert last.sf(t) == pytest.approx(-math.expm1(10_000 * math.log1p(-first.sf(t))), rel=1e-9)


def test_many_bursty_disks_send_what_each_sends_alone() -> None:
    disks = [qt.Disk(qt.MMPP([2.0 * r, 0.0], [[-5.0, 5.0], [5.0, -5.0]]), buffer=8) for r in range(1, 41)]
    engine = qt.Engine([*disks, qt.Disk(qt.Poisson(3.0), buffer=8)], DEVICE)
    drawn, alone = Draws(engine, seed=3), Draws(engine, seed=3)
    blocks = [drawn.open(500) for _ in range(8)]
    for source in alone._sources:
        while source.reached < blocks[-1].time[-1]:
            source.draw(1024)
    time = np.concatenate([source.time for source in alone._sources])
    disk = np.concatenate([source.disk for source in alone._sources])
    order = np.argsort(time, kind="stable")[:4000]
    np.testing.assert_allclose(np.concatenate([block.time for block in blocks]), time[order], rtol=1e-13)
    np.testing.assert_array_equal(np.concatenate([block.disk for block in blocks]), disk[order])


def test_a_run_may_leave_disks_without_a_request() -> None:
    engine = qt.Engine([qt.Disk(qt.Poisson(TOTAL / 3000), buffer=64)] * 3000, DEVICE)
    run = qt.simulate(engine, requests=3000, seed=1)
    idle = [disk for disk in run.disks if disk.throughput.value == 0.0]
    assert idle
    assert all(disk.blocking == qt.Estimate(0.0, math.inf) for disk in idle)
    assert math.fsum(disk.throughput.value for disk in run.disks) == pytest.approx(run.throughput.value, rel=1e-12)


def test_a_thousand_bursty_disks_keep_little_s_law() -> None:
    process = qt.MMPP([2.0 * TOTAL / 1000, 0.0], [[-50.0, 50.0], [50.0, -50.0]])
    run = qt.simulate(qt.Engine([qt.Disk(process, buffer=64)] * 1000, DEVICE), requests=50_000, seed=1)
    assert run.throughput.covers(TOTAL, half_widths=3)
    present = run.throughput.value * run.mean_response.value
    assert run.mean_in_system.value == pytest.approx(present, rel=0.01)


def test_a_run_ten_times_as_long_takes_the_same_memory() -> None:
    engine = qt.Engine([qt.Disk(qt.Poisson(2000.0), buffer=64)] * 8, DEVICE, queue_length=64)
    qt.simulate(engine, requests=1000)  # compiles
    short, long = (peak(lambda n=n: qt.simulate(engine, requests=n)) for n in (200_000, 2_000_000))
    assert long < 1.1 * short


def test_more_requests_than_the_counters_hold_are_refused() -> None:
    engine = qt.Engine([qt.Disk(qt.Poisson(2000.0))], DEVICE)
    with pytest.raises(ValueError, match="requests must be at most 85899345880"):
        qt.simulate(engine, requests=10**11)


def test_sums_of_a_segment_keep_twelve_digits() -> None:
    from qtheory.simulate.tally import Tally

    engine = qt.Engine([qt.Disk(qt.Poisson(1.0))], DEVICE)
    tally = Tally(engine, 40 * 10**6)
    draw = np.random.default_rng(1)
    blocks = [draw.lognormal(-8.0, 2.0, 1 << 16) for _ in range(32)]
    zeros = np.zeros(1 << 16)
    for block in blocks:
        tally.add(zeros.astype(np.int32), zeros, zeros, block, np.empty(0))
    assert tally.response[0, 0] == pytest.approx(math.fsum(np.concatenate(blocks)), rel=1e-12)
    assert tally.finished[0, 0] == len(blocks) << 16


def test_a_trace_read_in_passing_five_times_as_long_takes_the_same_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file, "BLOCK", 1 << 18)
    engine = qt.Engine([qt.Disk(qt.Poisson(1.0))], DEVICE)
    frame = pl.DataFrame({"arrival": np.arange(60_000) * 1e-4, "disk": "vda", "op": "read", "size": 4096})

    def most(parts: int) -> int:
        path = tmp_path / f"{parts}.csv"
        own.write(path, (frame.with_columns(pl.col("arrival") + 6.0 * i) for i in range(parts)), 0.0, [])
        return peak(lambda: qt.simulate(engine, trace=qt.scan_trace(path)))

    assert most(5) < 1.25 * most(1)


def test_a_thousand_different_guests_that_wait_share_as_many_as_there_are() -> None:
    shares = 0.5 + (np.arange(1000) * 0.6180339887) % 1.0
    rates = TOTAL * shares / shares.sum()
    disks = [qt.Disk(qt.Poisson(rate), buffer=16 + i % 240, full="wait") for i, rate in enumerate(rates)]
    engine = qt.Engine(disks, DEVICE, queue_length=64)
    s = qt.solve(engine)
    # no server is idle while anybody waits
    station = qt.stations.mmc(arrival_rate=TOTAL, service_rate=1.0 / MEAN, servers=8)
    assert s.mean_in_system == pytest.approx(station.mean_in_system, rel=1e-5)
    assert math.fsum(d.mean_in_system for d in s.disks) == pytest.approx(s.mean_in_system, rel=1e-4)
    assert qt.drain_time(engine).mean > MEAN


def test_a_thousand_different_guests_that_wait_lose_or_think_are_followed_as_far_as_they_come() -> None:
    shares = 0.5 + (np.arange(1000) * 0.6180339887) % 1.0
    rates = TOTAL * shares / shares.sum()
    mixed = [qt.Disk(qt.Poisson(rate), 16 + i % 240, full=("wait", "lost")[i % 2]) for i, rate in enumerate(rates)]
    station = qt.stations.mmc(arrival_rate=TOTAL, service_rate=1.0 / MEAN, servers=8)
    # nobody's buffer fills
    s = qt.solve(qt.Engine(mixed, DEVICE, queue_length=64))
    assert s.mean_in_system == pytest.approx(station.mean_in_system, rel=1e-5)
    thinks = 20.0 / rates
    thinking = [qt.Disk(qt.Closed(20 + i % 9, think_time=t * 1.4), buffer=16) for i, t in enumerate(thinks)]
    s = qt.solve(qt.Engine(thinking, DEVICE, queue_length=64))
    for i, state in enumerate(s.disks):
        cycle = thinks[i] * 1.4 + state.mean_guest_wait + state.mean_response
        assert state.throughput * cycle == pytest.approx(20 + i % 9, rel=1e-6)
    assert s.mean_in_system < station.mean_in_system


def test_a_run_that_is_not_stationary_says_how_far_it_is_from_little_s_law() -> None:
    device = qt.Device(servers=1, service=qt.Exponential(mean=1e-3))
    # overloaded, of which a buffer holds more than comes in the run
    filling = qt.Engine([qt.Disk(qt.Poisson(3000.0), buffer=100_000, device=device)] * 2)
    run = qt.simulate(filling, requests=20_000, seed=1)
    off = run.throughput.value * run.mean_response.value / run.mean_in_system.value - 1.0
    assert off < -0.1
    assert any(f"throughput x mean_response {off:+.1%} off mean_in_system" in warning for warning in run.warnings)
    settled = qt.simulate(qt.Engine([qt.Disk(qt.Poisson(500.0), device=device)] * 2), requests=20_000, seed=1)
    assert not any("not stationary" in warning for warning in settled.warnings)


def test_parquet_is_written_in_row_groups_of_bounded_size_and_its_checksum_is_read_in_pieces(tmp_path: Path) -> None:
    from qtheory.traces import parquet

    frame = pl.DataFrame({"arrival": np.random.default_rng(1).random(600_000).cumsum(), "disk": "vda", "size": 4096})
    path = tmp_path / "one.parquet"
    parquet.write(path, iter([frame]), 0.0, [])
    assert path.stat().st_size > 4 * parquet.PIECE
    assert len(qt.scan_trace(path)) == len(frame)
    with path.open("rb") as content:
        assert peak(lambda: parquet._checksum(content)) < 3 * parquet.PIECE
        # the metadata of a group repeat its columns' names
        content.seek(parquet._footer(content))
        assert content.read().count(b"arrival") > len(frame) // parquet.ROWS
