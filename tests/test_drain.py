"""Drain time against first passage on the ordered state, closed forms and mpmath."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from generator import State, brute_force, service_rates
from scipy.linalg import expm
from test_solve import CURVE, ENGINES, EXP, SHARED, closed, disk

import qtheory as qt


def first_passage(engine: qt.Engine, limit: int | None, t: float) -> tuple[float, float]:
    """E[T] and P(T <= t) from the stationary law, by brute force: no arrivals, ring content left where it is."""
    b = brute_force(engine)
    caps = engine.caps or (10**6,) * len(engine.disks)
    q = engine.queue_length or 10**6
    index: dict[State, int] = {}
    moves: list[tuple[State, State, float]] = []

    def visit(state: State) -> None:
        if state in index:
            return
        index[state] = len(index)
        for j, rate in enumerate(service_rates(engine, state[0])):
            submitted = list(state[0][:j] + state[0][j + 1 :])
            line = list(state[1])
            for d in list(line):
                if len(submitted) < q and submitted.count(d) < caps[d]:
                    line.remove(d)
                    submitted.append(d)
            after = (tuple(submitted), tuple(line))
            visit(after)
            if rate > 0:
                moves.append((state, after, rate))

    starts = []
    for state, p in zip(b.states, b.probabilities, strict=True):
        start = (state[0], ()) if engine.hold == "ring" else state
        visit(start)
        starts.append((start, p))
    generator = np.zeros((len(index), len(index)))
    for a, to, rate in moves:
        generator[index[a], index[to]] += rate
        generator[index[a], index[a]] -= rate
    law = np.zeros(len(index))
    for start, p in starts:
        law[index[start]] += p
    empty = index[((), ())]
    keep = [i for i in range(len(index)) if i != empty]
    inner = generator[np.ix_(keep, keep)]
    mean = -law[keep] @ np.linalg.solve(inner, np.ones(len(keep)))
    return float(mean), float(1.0 - law[keep] @ expm(inner * t) @ np.ones(len(keep)))


DRAINS = {
    **{name: engine for name, engine in ENGINES.items() if not name.startswith("saturated line")},
    "saturated line, ring": qt.Engine(
        [
            closed(2, 0.0, device=SHARED),
            closed(3, 0.0, device=qt.Device(servers=1, service=qt.Exponential(0.3))),
            closed(2, 0.0, device=CURVE),
        ],
        queue_length=3,
        hold="ring",
    ),
    "separate, equal shares, ring": qt.Engine(
        [disk(0.5, 3, device=SHARED), disk(2.5, 3, device=SHARED)], queue_length=2, shares="equal", hold="ring"
    ),
}


@pytest.mark.parametrize("name", DRAINS)
def test_first_passage(name: str) -> None:
    engine = DRAINS[name]
    d = qt.drain_time(engine)
    assert d.exact
    for t in (0.3, 2.0):
        mean, cdf = first_passage(engine, None, t)
        assert d.mean == pytest.approx(mean, rel=1e-8)
        assert d.cdf(t) == pytest.approx(cdf, abs=1e-9)


@pytest.mark.parametrize(
    ("engine", "limit"),
    [
        (qt.Engine([disk(0.5, 3), disk(1.5, 2)], SHARED), qt.DepthLimit(1)),
        (qt.Engine([disk(0.5, 3), disk(1.5, 2)], CURVE, queue_length=3), qt.DepthLimit(2)),
        (qt.Engine([disk(0.5, 3), disk(1.5, 2)], SHARED), qt.DepthLimit(1, per="disk")),
        (qt.Engine([disk(0.5, 3, device=CURVE), disk(1.5, 2, device=SHARED)]), qt.DepthLimit(2, per="disk")),
    ],
)
def test_depth_limit_is_a_shorter_queue_left_in_the_ring(engine: qt.Engine, limit: qt.DepthLimit) -> None:
    if limit.per == "engine":
        limited = qt.Engine(engine.disks, engine.device, limit.limit, "ring")
    else:
        limited = qt.Engine(engine.disks, engine.device, None, "ring", (limit.limit,) * len(engine.disks))
    d = qt.drain_time(engine, limit)
    mean, cdf = first_passage(limited, None, 1.0)
    assert d.mean == pytest.approx(mean, rel=1e-8)
    assert d.cdf(1.0) == pytest.approx(cdf, abs=1e-9)


def test_one_at_a_time_is_one_service() -> None:
    engine = qt.Engine([disk(50.0, 32)], qt.Device(servers=8, service=EXP))
    d = qt.drain_time(engine, qt.DepthLimit(1), population=20)
    assert d.mean == pytest.approx(1.0, rel=1e-12)
    assert d.sf(3.0) == pytest.approx(np.exp(-3.0), rel=1e-12)
    assert list(d.population_pmf) == [0.0, 1.0]


def test_given_population_against_mpmath() -> None:
    """P(T > t) for n = 40, c = 8 by partial fractions at 60 digits, down to 1e-15, in relative terms."""
    engine = qt.Engine([disk(1.0, 64)], qt.Device(servers=8, service=EXP))
    d = qt.drain_time(engine, population=40)
    with mp.workdps(60):
        # Laplace transform (8/(8+s))^32 Π_{j<=8} j/(j+s); inverted by Talbot at 60 digits.
        def transform(s: mp.mpf) -> mp.mpf:
            product = mp.mpf(1)
            for j in range(1, 9):
                product *= mp.mpf(j) / (j + s)
            return (1 - (mp.mpf(8) / (8 + s)) ** 32 * product) / s

        for t in (2.0, 6.0, 12.0, 40.0):
            exact = float(mp.invertlaplace(transform, t, method="dehoog", degree=60))
            assert d.sf(t) == pytest.approx(exact, rel=1e-9)
    assert d.mean == pytest.approx(32 / 8 + sum(1 / j for j in range(1, 9)), rel=1e-13)
    assert d.variance == pytest.approx(32 / 64 + sum(1 / j**2 for j in range(1, 9)), rel=1e-13)


def test_quantile_inverts_cdf() -> None:
    d = qt.drain_time(qt.Engine([disk(1.5, 16)] * 2, SHARED))
    for p in (0.2, 0.5, 0.99, 1 - 1e-9):
        assert d.cdf(d.quantile(p)) == pytest.approx(p, rel=1e-10)
    idle = qt.drain_time(qt.Engine([disk(0.001, 4)], SHARED))
    assert idle.quantile(0.5) == 0.0


def test_infinitely_many_servers_drain_as_their_maximum() -> None:
    """M/G/∞: P(T <= t) = exp(−λ ∫_t^∞ P(S > u) du), here exp(−a e^{−t})."""
    d = qt.drain_time(qt.engines.io_uring([disk(5.0, 200)], qt.Device(servers=200, service=EXP)))
    for t in (0.0, 1.0, 5.0):
        assert d.cdf(t) == pytest.approx(np.exp(-5.0 * np.exp(-t)), rel=1e-12)


def test_large() -> None:
    """c = 1000, K = 1024: right, not NaN."""
    engine = qt.Engine([disk(10_000.0, 1024)] * 4, qt.Device(servers=1000, service=EXP))
    d = qt.drain_time(engine, population=4096)
    assert d.mean == pytest.approx(3096 / 1000 + sum(1 / j for j in range(1, 1001)), rel=1e-12)
    assert d.cdf(d.quantile(0.99)) == pytest.approx(0.99, rel=1e-9)


@pytest.mark.parametrize(
    ("engine", "more", "message"),
    [
        (qt.Engine([disk(1.0, 2)], SHARED), {"population": -1}, "population must be a whole number >= 0, not -1"),
        (qt.Engine([disk(1.0, 2)], SHARED), {"population": 3}, "population must be at most 2"),
        (qt.Engine([disk(1.0, 2)], SHARED), {"population": [1, 2]}, "each of the 1 disks"),
        (qt.Engine([disk(1.0, 2, device=SHARED)] * 2), {"population": 3}, "each of the 2 disks"),
        (qt.Engine([disk(1e6, 2, full="wait")], SHARED), {}, "without end"),
    ],
)
def test_refusals(engine: qt.Engine, more: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        qt.drain_time(engine, **more)  # type: ignore[arg-type]
