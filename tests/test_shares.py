"""How slots are divided: what apportionment must keep, whatever the weights, and that caps follow the queue length."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import qtheory as qt
from qtheory.cli import app
from qtheory.shares import apportioned, linux_share
from qtheory.sizing.sweep import with_disks, with_queue_length

EXPONENTIAL = qt.Exponential(mean=1e-3)
DEVICE = qt.Device(servers=8, service=EXPONENTIAL)
weights = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=12)


def poisson(rate: float, buffer: int = 64, **more: Any) -> qt.Disk:
    return qt.Disk(qt.Poisson(rate), buffer=buffer, **more)


def dealt_out(slots: int, weights: list[float]) -> tuple[int, ...]:
    """The slow twin: one slot after another."""
    held = [1] * len(weights)
    for _ in range(slots - len(weights)):
        best = max(range(len(weights)), key=lambda i: (weights[i] / (2 * held[i] + 1), -i))
        held[best] += 1
    return tuple(held)


@settings(max_examples=60, deadline=None)
@given(weights, st.integers(0, 300))
def test_apportionment(weights: list[float], more: int) -> None:
    slots = len(weights) + more
    parts = apportioned(slots, weights)
    assert parts == dealt_out(slots, weights)
    assert sum(parts) == slots
    assert min(parts) >= 1
    grown = apportioned(slots + 1, weights)
    assert sorted(b - a for a, b in zip(parts, grown, strict=True)) == [0] * (len(weights) - 1) + [1]
    assert all(
        a >= b for a, v in zip(parts, weights, strict=True) for b, w in zip(parts, weights, strict=True) if v > w
    )
    if min(parts) > 1 and len(weights) <= 3:  # Webster's method stays within the quota of up to three (Balinski, Young)
        assert all(abs(a - slots * w / sum(weights)) < 1.0 for a, w in zip(parts, weights, strict=True))


@settings(max_examples=60, deadline=None)
@given(weights, st.integers(0, 300))
def test_no_slot_can_be_moved_so_that_both_come_nearer(weights: list[float], more: int) -> None:
    slots = len(weights) + more
    parts = apportioned(slots, weights)
    quota = [slots * w / sum(weights) for w in weights]
    for i, give in enumerate(parts):
        for j, take in enumerate(parts):
            if i != j and give > 1:
                nearer = abs(give - 1 - quota[i]) < abs(give - quota[i]) - 1e-9
                assert not (nearer and abs(take + 1 - quota[j]) < abs(take - quota[j]) - 1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 1000), st.integers(0, 10_000), st.floats(1e-9, 1e9))
def test_equal_weights_differ_by_one(disks: int, more: int, weight: float) -> None:
    part, rest = divmod(disks + more, disks)
    assert apportioned(disks + more, [weight] * disks) == tuple(part + (i < rest) for i in range(disks))


def test_hamilton_would_take_a_slot_away() -> None:
    """The Alabama paradox: with the weights 6, 6 and 2 largest remainders take one of the third disk's two slots."""

    def largest_remainders(slots: int) -> list[int]:
        quota = [slots * w / 14.0 for w in (6.0, 6.0, 2.0)]
        up = sorted(range(3), key=lambda i: int(quota[i]) - quota[i])[: slots - sum(map(int, quota))]
        return [int(x) + (i in up) for i, x in enumerate(quota)]

    assert [largest_remainders(q) for q in (10, 11)] == [[4, 4, 2], [5, 5, 1]]
    assert [apportioned(q, (6.0, 6.0, 2.0)) for q in (10, 11)] == [(5, 4, 1), (5, 5, 1)]


def test_rules_of_an_engine() -> None:
    fast, slow = poisson(3000.0, 96), poisson(1000.0, 32)
    caps = {
        shares: qt.Engine([fast, slow, slow], DEVICE, 20, "ring", shares).caps
        for shares in ("fifo", "equal", "rings", "load", "linux", qt.Weights([1, 1, 8]), (5, 6, 7))
    }
    assert list(caps.values()) == [None, (7, 7, 6), (12, 4, 4), (12, 4, 4), (7, 7, 7), (2, 2, 16), (5, 6, 7)]
    assert linux_share(20, 3) == 7
    slower = poisson(1000.0, service=qt.Exponential(mean=3e-3))
    assert qt.Engine([fast, slower], DEVICE, 10, "ring", "load").caps == (5, 5)
    curve = qt.Device.from_depth_sweep([1, 8], [1000.0, 4000.0])
    assert qt.Engine([fast, slow], curve, 8, "ring", "load").caps == (6, 2)


@pytest.mark.parametrize(("words", "ask"), [
    ("shares 'load' needs disks .* disks\\[1\\]",
     lambda: qt.Engine([poisson(1.0), qt.Disk(qt.Closed(4))], DEVICE, 8, "ring", "load")),
    ("one weight for each of the 2 disks, not 3",
     lambda: qt.Engine([poisson(1.0)] * 2, DEVICE, 8, "ring", qt.Weights([1, 2, 3]))),
    ("needs queue_length >= the number of disks, 3, not 2",
     lambda: qt.Engine([poisson(1.0)] * 3, DEVICE, 2, "ring", "rings")),
    ("needs a queue_length", lambda: qt.Engine([poisson(1.0)] * 3, DEVICE, None, "ring", "linux")),
    ("weights\\[1\\] must be a positive", lambda: qt.Weights([1.0, 0.0])),
    ("weights must have at least one", lambda: qt.Weights([])),
])  # fmt: skip
def test_what_cannot_be_divided_is_refused(words: str, ask: Any) -> None:
    with pytest.raises(ValueError, match=words):
        ask()


def test_caps_follow_disks_and_length() -> None:
    engine = qt.Engine([poisson(1.0), poisson(2.0)], DEVICE, 12, "ring", qt.Weights([2, 1]))
    assert engine.caps == (8, 4)
    assert with_queue_length(engine, 6).caps == (4, 2)
    assert with_disks(engine, 3, 15).caps == (6, 3, 6)
    assert with_queue_length(engine, None).caps is None


def own(rate: float, servers: int) -> qt.Disk:
    return poisson(rate, 32, device=qt.Device(servers=servers, service=EXPONENTIAL))


def test_the_optimum_under_each_rule() -> None:
    """Where slots go to the load, fewer do: shown by exhaustive search."""
    disks = [own(6400.0, 8), own(400.0, 1)]
    found = {}
    for shares in ("equal", "load", qt.Weights([1, 8])):
        engine = qt.Engine(disks, None, 2, "ring", shares)
        best = qt.optimal_queue_length(engine, max_throughput_loss=0.05)
        full = qt.solve(with_queue_length(engine, None)).throughput
        losses = {q: 1.0 - qt.solve(with_queue_length(engine, q)).throughput / full for q in range(2, 73)}
        assert best.queue_length == min(q for q, loss in losses.items() if loss <= 0.05)
        found[shares] = best.queue_length
    assert found["load"] < found["equal"] < found[qt.Weights([1, 8])]


def test_upper_end_is_where_every_disk_has_enough() -> None:
    engine = qt.Engine([own(100.0, 1), own(100.0, 1)], None, 2, "ring", qt.Weights([1, 3]))
    z = qt.optimal_queue_length(engine, max_throughput_loss=0.5)
    caps = [with_queue_length(engine, q).caps for q in (z.upper - 1, z.upper)]
    assert [caps[0] and min(caps[0]), caps[1] and min(caps[1])] == [31, 32]


def test_curve_with_shares() -> None:
    saturated = qt.Disk(qt.Closed(64), buffer=64, device=qt.Device(servers=1, service=EXPONENTIAL))
    for shares in ("rings", qt.Weights([5.0])):
        curve = qt.sizing_curve(qt.Engine([saturated], None, 1, "ring", shares), [1, 4, 16], max_throughput_loss=0.05)
        assert [p.queue_length for p in curve.points] == [1, 4, 16]


def test_simulated_as_solved() -> None:
    engine = qt.Engine([own(1500.0, 2), own(500.0, 2)], None, 4, "ring", "load")
    assert engine.caps == (3, 1)
    run, state = qt.simulate(engine, 200_000, seed=5), qt.solve(engine)
    for got, expected in zip(run.disks, state.disks, strict=True):
        assert got.mean_wait.covers(expected.mean_wait, half_widths=2.0)


@pytest.mark.parametrize(("shares", "caps"), [("load", (6, 2)), ("3:1", (6, 2)), ("linux", (4, 4)), ("2,5", (2, 5))])
def test_command_line(shares: str, caps: tuple[int, ...]) -> None:
    options = ["--disk", "rate=3000", "--disk", "rate=1000", "--servers", "8", "--service-mean", "1e-3"]
    options += ["--hold", "ring", "--shares", shares]

    def run(command: str, *more: str) -> Any:
        done = CliRunner().invoke(app, [command, *options, *more, "--json"])
        assert done.exit_code == 0, done.output
        return json.loads(done.output)

    disks = [poisson(3000.0, 256), poisson(1000.0, 256)]
    engine = qt.Engine(disks, DEVICE, 8, "ring", caps)
    assert math.isclose(run("solve", "--queue-length", "8")["mean_wait"], qt.solve(engine).mean_wait)
    assert math.isclose(run("drain", "--queue-length", "8")["mean"], qt.drain_time(engine).mean)
    run("simulate", "--queue-length", "8", "--requests", "5000")
    if shares != "2,5":
        assert run("size", "--max-loss", "0.05")["queue_length"] >= 2
        assert run("size", "--from", "8", "--to", "8")[0]["queue_length"] == 8


def test_shares_that_are_none_of_these() -> None:
    done = CliRunner().invoke(
        app, ["solve", "--disk", "rate=1", "--servers", "1", "--service-mean", "1", "--shares", "a"]
    )
    assert "--shares must be one of fifo, equal" in str(done.exception)


def test_what_linux_promises_before_own_devices_is_refused_in_words() -> None:
    device = qt.Device(servers=1, service=qt.Exponential(mean=1e-3))
    engine = qt.Engine([qt.Disk(qt.Closed(64), device=device)] * 4, queue_length=16, shares="linux")
    with pytest.raises(ValueError, match="shares 'linux' promise the disks more than Q slots together"):
        qt.optimal_queue_length(engine, max_throughput_loss=0.05)
