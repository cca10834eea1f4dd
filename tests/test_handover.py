"""Slots handed on from disk to disk: closed forms against a simulation that moves every slot, and published rates."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qtheory as qt
from qtheory.sizing.handover import in_batches, relaxation, returning, throughputs, turnaround, wandering

SERVICES = [1e-3, 4e-3]
SLOTS = 16
Handed = Callable[[random.Random, int, list[int]], list[int]]
"""Disks that take slots when disk i has freed one, given the disks' numbers; more later, when it returns none."""


def simulated(
    start: list[int], handed: Handed, seconds: float, seed: int, law: str = "exponential"
) -> tuple[list[float], list[int]]:
    """Completions [1/s] of each disk, and how many slots each holds at the end."""
    rng = random.Random(seed)
    held, done = [0] * len(start), [0] * len(start)
    ends: list[tuple[float, int]] = []

    def take(now: float, disk: int) -> None:
        held[disk] += 1
        service = rng.expovariate(1.0 / SERVICES[disk]) if law == "exponential" else SERVICES[disk]
        heapq.heappush(ends, (now + service, disk))

    for disk, number in enumerate(start):
        for _ in range(number):
            take(-rng.random() * SERVICES[disk] if law != "exponential" else 0.0, disk)
    while ends[0][0] < seconds:
        now, disk = heapq.heappop(ends)
        held[disk] -= 1
        done[disk] += 1
        for other in handed(rng, disk, held):
            take(now, other)
    return [n / seconds for n in done], held


def by_routing(routing: np.ndarray) -> Handed:
    rows = routing.tolist()
    return lambda rng, disk, held: rng.choices(range(len(rows)), rows[disk])


@pytest.mark.parametrize("law", ["exponential", "constant"])
@pytest.mark.parametrize("routing", [
    returning(0.0, [0.5, 0.5]), returning(0.9, [0.5, 0.5]), returning(0.5, [0.2, 0.8]),
    np.array([[0.9, 0.1], [0.3, 0.7]]),
], ids=["random disk", "mostly back", "by weights", "any"])  # fmt: skip
def test_routing_against_simulation_of_any_law(routing: np.ndarray, law: str) -> None:
    seconds = 20.0
    rates, _ = simulated([8, 8], by_routing(routing), seconds, 1, law)
    expected = throughputs(SLOTS, SERVICES, routing)
    # Three standard errors (of 16 rates): of a binomial number that forgets itself as it relaxes, and of a count.
    part = expected[0] * SERVICES[0] / SLOTS
    split = 2.0 * relaxation(SERVICES, routing) / seconds * part * (1.0 - part) / SLOTS
    for got, rate, share in zip(rates, expected, (part, 1.0 - part), strict=True):
        assert abs(got / rate - 1.0) < 3.0 * math.sqrt(split / share**2 + 1.0 / (rate * seconds))


def test_returning_slots_keep_the_split() -> None:
    rates, held = simulated([5, 11], by_routing(returning(1.0, [0.5, 0.5])), 20.0, 2)
    assert held == [5, 11]
    assert rates == pytest.approx([5 / 1e-3, 11 / 4e-3], rel=0.02)
    with pytest.raises(ValueError, match="routing must let slots of every disk reach"):
        throughputs(SLOTS, SERVICES, returning(1.0, [0.5, 0.5]))


def test_how_soon_completions_balance() -> None:
    """The mean split on its way, over many runs: e times nearer after one relaxation time."""
    routing = returning(0.99, [0.5, 0.5])
    time = relaxation(SERVICES, routing)
    assert time == pytest.approx(1.0 / (0.005 / 1e-3 + 0.005 / 4e-3))
    limit = throughputs(SLOTS, SERVICES, routing)[0] * SERVICES[0]
    ends = [simulated([16, 0], by_routing(routing), time, seed)[1][0] for seed in range(200)]
    expected = limit + (16.0 - limit) / math.e
    assert abs(np.mean(ends) - expected) < 2.0 * np.std(ends) / math.sqrt(len(ends))


def test_next_to_complete_hardly_drifts() -> None:
    """The mean split stays near where it began, its variance grows as stated, whoever completes more often."""
    left = 0.02

    def run(seed: int) -> int:
        lying = 0

        def handed(rng: random.Random, disk: int, held: list[int]) -> list[int]:
            nonlocal lying
            taken, lying = lying, 0
            if rng.random() < left:
                lying = 1
                return [disk] * taken
            return [disk] * (taken + 1)

        return simulated([8, 8], handed, 0.1, seed)[1][0]

    ends = [run(seed) for seed in range(1500)]
    drift, growth = wandering([8, 8], SERVICES, left)
    error = np.std(ends) / math.sqrt(len(ends))
    assert abs(np.mean(ends) - (8.0 + drift * 0.1)) < 2.0 * error
    assert np.var(ends) / (growth * 0.1) == pytest.approx(1.0, abs=0.15)  # the rate moves with the split


def test_batches_against_simulation() -> None:
    batch, free = 4, 0

    def handed(rng: random.Random, disk: int, held: list[int]) -> list[int]:
        nonlocal free
        free = (free + 1) % batch
        return rng.choices([0, 1], k=batch) if free == 0 else []

    rates, _ = simulated([8, 8], handed, 40.0, 3)
    expected, idle = in_batches(SLOTS, SERVICES, batch)
    assert rates == pytest.approx(expected, rel=0.02)
    assert expected @ SERVICES + idle == pytest.approx(SLOTS, rel=1e-12)
    assert expected[0] == pytest.approx(expected[1], rel=1e-12)
    one, none = in_batches(SLOTS, SERVICES, 1)
    assert none == 0.0
    assert one == pytest.approx(throughputs(SLOTS, SERVICES, returning(0.0, [0.5, 0.5])), rel=1e-12)


def test_one_line_of_requests_is_by_what_waits() -> None:
    """X_i in proportion to K_i − E[n_i] with one slot less: the ratio that routing needs, from the product form."""
    disks = [
        qt.Disk(qt.Closed(k), buffer=k, device=qt.Device(64, qt.Exponential(mean=s)))
        for k, s in zip((40, 100), SERVICES, strict=True)
    ]
    full, less = (qt.solve(qt.Engine(disks, queue_length=q, hold="ring")) for q in (SLOTS, SLOTS - 1))
    waits = [k - d.throughput * s for k, d, s in zip((40, 100), less.disks, SERVICES, strict=True)]
    routing = returning(0.0, [w / sum(waits) for w in waits])
    assert throughputs(SLOTS, SERVICES, routing) == pytest.approx([d.throughput for d in full.disks], rel=1e-9)


def test_published_shared_tags() -> None:
    """29 859/s and 318/s: no routing that leaks alike comes near; equal shares held 78 µs longer give both."""
    leaking = throughputs(64, [1e-3, 0.1], returning(0.999, [0.5, 0.5]))
    assert leaking == pytest.approx([64 / 0.101] * 2)
    delta = turnaround(64, [1e-3, 0.1], [29859.0, 318.0])
    assert [32 / (s + delta) for s in (1e-3, 0.1)] == pytest.approx([29859.0, 318.0], rel=0.01)
    device = [qt.Device(64, qt.Exponential(mean=s + delta)) for s in (1e-3, 0.1)]
    disks = [qt.Disk(qt.Closed(256), buffer=256, device=d) for d in device]
    shares = qt.solve(qt.Engine(disks, queue_length=64, hold="ring", shares="linux"))
    assert [d.throughput for d in shares.disks] == pytest.approx([29859.0, 318.0], rel=0.01)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(1e-6, 10.0), st.floats(0.01, 1.0)), min_size=1, max_size=6), st.floats(0.0, 0.999))
def test_all_slots_are_held(disks: list[tuple[float, float]], stay: float) -> None:
    services, turn = [s for s, _ in disks], np.array([u for _, u in disks])
    routing = returning(stay, (turn / turn.sum()).tolist())
    rates = throughputs(SLOTS, services, routing)
    assert rates @ services == pytest.approx(SLOTS, rel=1e-9)
    assert rates / rates.sum() == pytest.approx(turn / turn.sum(), rel=1e-6)
    assert turnaround(SLOTS, services, (0.5 * rates).tolist()) == pytest.approx(SLOTS / rates.sum(), rel=1e-9)


@pytest.mark.parametrize(("words", "ask"), [
    ("routing must be a square", lambda: throughputs(4, SERVICES, np.eye(3))),
    ("stay must be at most 1", lambda: returning(1.5, [1.0])),
    ("slots >= batch", lambda: in_batches(4, SERVICES, 5)),
    ("no more than the 4 slots", lambda: turnaround(4, SERVICES, [5000.0, 1.0])),
    (r"routing\[0\] must sum to 1", lambda: throughputs(4, SERVICES, [[0.5, 0.4], [0.5, 0.5]])),
    ("routing must be a square with a row for each", lambda: throughputs(4, SERVICES, 0.5)),
    ("held must have one number for each of the 2 disks", lambda: wandering([4], SERVICES, 0.1)),
    ("held must be at least two slots", lambda: wandering([1, 0], SERVICES, 0.1)),
    ("left must lie strictly between 0 and 1", lambda: wandering([2, 2], SERVICES, 2.0)),
    ("completions must have one rate for each", lambda: turnaround(4, SERVICES, [1.0])),
])  # fmt: skip
def test_bad_input(words: str, ask: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=words):
        ask()
