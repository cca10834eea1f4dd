"""The limits of a host against every division, every partition, and simulation."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qtheory as qt
from qtheory.sizing.host_budget import hull
from qtheory.sizing.optimum import throughput
from qtheory.sizing.sweep import with_queue_length


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
