"""Depth limits that begin before the stop: against the whole generator, the steady limit, and simulated stops."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import expm

import qtheory as qt
from qtheory.drain import depth_schedule
from qtheory.markov.gth import gth

EXP = qt.Exponential(mean=0.5)
H2 = qt.Hyperexponential.balanced(mean=0.5, scv=4.0)


def engine(law, *disks, servers=2, queue_length=None, hold="engine"):
    return qt.Engine(list(disks), qt.Device(servers=servers, service=law), queue_length, hold)


def by_generator(servers, buffer, rate, mean_service, steps, t):
    """Exponential service, one disk, everything taken without a limit: states (taken, present), dense exponentials."""
    states = [(p, n) for n in range(buffer + 1) for p in range(n + 1)]
    at = {state: i for i, state in enumerate(states)}

    def generator(limit, arriving=True):
        g = np.zeros((len(states), len(states)))
        for (p, n), i in at.items():
            done = min(p, servers) / mean_service
            moves = [((max(p - 1, min(n - 1, limit)), n - 1), done)] if p else []
            if arriving and n < buffer:
                moves.append(((max(p, min(n + 1, limit)), n + 1), rate))
            for to, r in moves:
                g[i, at[to]] += r
                g[i, i] -= r
        return g

    free = generator(buffer)
    proper = [at[n, n] for n in range(buffer + 1)]
    inner = free[np.ix_(proper, proper)]
    x = np.zeros(len(states))
    x[proper] = gth(inner)
    for (when, limit), end in zip(steps, [*(s[0] for s in steps[1:]), 0.0], strict=True):
        q = buffer if limit is None else limit
        jumped = np.zeros_like(x)
        for (p, n), i in at.items():
            jumped[at[max(p, min(n, q)), n]] += x[i]
        x = jumped @ expm(generator(q) * (end - when))
    taken = np.zeros(buffer + 1)
    for (p, _), i in at.items():
        taken[p] += x[i]
    death = np.zeros((buffer + 1, buffer + 1))
    for p in range(1, buffer + 1):
        death[p, p - 1] = min(p, servers) / mean_service
        death[p, p] = -death[p, p - 1]
    return taken, 1.0 - (taken @ expm(death * t))[0]


@pytest.mark.parametrize(
    "steps",
    [
        [(-0.4, 1)],
        [(-2.0, 3), (-0.3, 1)],
        [(-1.0, 1), (-0.5, 4)],
        [(-1.5, 2), (-0.2, None)],
        [(0.0, 2)],
        [(-0.6, 0)],
        [(-0.9, 0), (-0.4, 2)],
    ],
)
def test_against_the_whole_generator(steps):
    taken, late = by_generator(2, 7, 3.5, 0.5, steps, 0.8)
    found = qt.drain_time(engine(EXP, qt.Disk(qt.Poisson(3.5), buffer=7)), qt.DepthSchedule(steps))
    assert found.exact
    np.testing.assert_allclose(found.population_pmf, taken, atol=1e-11)
    assert found.sf(0.8) == pytest.approx(late, abs=1e-11)


DISKS = [(qt.Disk(qt.Poisson(3.6), buffer=12),), (qt.Disk(qt.Closed(9, 0.0)), qt.Disk(qt.Closed(4, 0.0)))]


@pytest.mark.parametrize("law", [EXP, H2], ids=["exponential", "H2"])
@pytest.mark.parametrize("disks", DISKS, ids=["open", "saturated"])
@pytest.mark.parametrize(("queue_length", "hold"), [(None, "engine"), (6, "engine"), (6, "ring")])
def test_limits_of_a_schedule(law, disks, queue_length, hold):
    e = engine(law, *disks, queue_length=queue_length, hold=hold)
    natural, steady = qt.drain_time(e), qt.drain_time(e, qt.DepthLimit(3))
    for steps, same in (([(0.0, 3)], natural), ([(-400.0, 3)], steady), ([(-500.0, 3), (-400.0, None)], natural)):
        found = qt.drain_time(e, qt.DepthSchedule(steps))
        assert found.mean == pytest.approx(same.mean, rel=1e-8)
        assert found.quantile(0.99) == pytest.approx(same.quantile(0.99), rel=1e-8)


def test_a_saturated_backlog_leaves_at_the_device_rate():
    """All servers busy throughout: 13 taken less a Poisson number, never below the limit."""
    e = engine(EXP, qt.Disk(qt.Closed(13, 0.0)))
    pmf = qt.drain_time(e, qt.DepthSchedule([(-1.0, 4)])).population_pmf
    k = np.arange(9)
    gone = np.exp(-4.0) * np.cumprod(np.concatenate([[1.0], 4.0 / k[1:]]))
    np.testing.assert_allclose(pmf[13:4:-1], gone, rtol=1e-10)


def test_the_lead_is_where_the_overrun_is_allowed():
    e = engine(H2, qt.Disk(qt.Poisson(3.6), buffer=24))
    budget = 3.0
    steady = qt.drain_time(e, qt.DepthLimit(2)).sf(budget)
    natural = qt.drain_time(e).sf(budget)
    allowed = 0.7 * steady + 0.3 * natural
    t = depth_schedule.lead(e, 2, budget, allowed, 100.0)
    assert t > 0.0
    assert qt.drain_time(e, qt.DepthSchedule([(-t, 2)])).sf(budget) == pytest.approx(allowed, rel=1e-6)
    assert depth_schedule.lead(e, 2, budget, natural, 100.0) == 0.0
    assert depth_schedule.lead(e, 2, budget, 0.1 * steady, 100.0) is None


@pytest.mark.parametrize("e", [
    engine(qt.Exponential(0.01), qt.Disk(qt.Poisson(300.0), buffer=32), servers=4),
    engine(qt.Hyperexponential.balanced(mean=0.01, scv=4.0), *[qt.Disk(qt.Closed(16, 0.0))] * 2, servers=4),
    engine(qt.Erlang(phases=3, mean=0.01), *[qt.Disk(qt.Poisson(75.0), buffer=12)] * 4, servers=4),
], ids=["open", "saturated", "four"])  # fmt: skip
def test_against_simulated_stops(e):
    """Mean within 1 %, 99 % within 2 %, and two half-widths, which are below 1 and 2 %."""
    schedule = qt.DepthSchedule([(-0.2, 12), (-0.04, 3)])
    theory, run = qt.drain_time(e, schedule), qt.simulate_stops(e, schedule, 80_000, settle=0.15)
    q = run.quantile(0.99)
    assert run.mean.half_width < 0.01 * run.mean.value
    assert q.half_width < 0.02 * q.value
    assert abs(theory.mean - run.mean.value) < 0.01 * run.mean.value + 2 * run.mean.half_width
    assert abs(theory.quantile(0.99) - q.value) < 0.02 * q.value + 2 * q.half_width


@pytest.mark.parametrize("throttle", [None, qt.DepthLimit(3)])
def test_simulated_stops_without_a_schedule(throttle):
    e = engine(EXP, qt.Disk(qt.Poisson(3.0), buffer=8), qt.Disk(qt.Closed(3, 0.7)))
    run = qt.simulate_stops(e, throttle, 40_000, seed=3)
    assert run.mean.covers(qt.drain_time(e, throttle).mean, half_widths=2.0)


def test_other_laws_by_a_fit():
    e = engine(qt.Lognormal(mean=0.5, scv=2.0), qt.Disk(qt.Poisson(3.0), buffer=8))
    schedule = qt.DepthSchedule([(-0.5, 2)])
    found = qt.drain_time(e, schedule)
    assert (found.method, found.exact) == ("fitted_service", False)
    run = qt.simulate_stops(e, schedule, 40_000)
    assert abs(found.mean - run.mean.value) < 0.02 * run.mean.value + 2 * run.mean.half_width


@pytest.mark.parametrize(("steps", "message"), [
    ([], "at least one step"),
    ([(-1.0, 4), (-2.0, 2)], "rise strictly"),
    ([(0.1, 4)], "finite time before the stop"),
    ([(float("-inf"), 4)], "finite time before the stop"),
    ([(-1.0, -1)], r"steps\[0\]\[1\] must be a whole number >= 0, not -1"),
    ([(-1.0,)], "must be a pair"),
])  # fmt: skip
def test_schedules_refused(steps, message):
    with pytest.raises(ValueError, match=message):
        qt.DepthSchedule(steps)


def test_engines_refused():
    schedule = qt.DepthSchedule([(-1.0, 2)])
    own = qt.Engine([qt.Disk(qt.Poisson(1.0), buffer=40, device=qt.Device(1, EXP))] * 8)
    with pytest.raises(ValueError, match="each disk has its own device; state by state: it has more than 3000 states"):
        qt.drain_time(own, schedule)
    with pytest.raises(ValueError, match="population must be None"):
        qt.drain_time(engine(EXP, qt.Disk(qt.Poisson(1.0))), schedule, population=3)
    with pytest.raises(ValueError, match="more than"):
        qt.drain_time(engine(EXP, qt.Disk(qt.Poisson(3.0))), qt.DepthSchedule([(-1e9, 2)]))
