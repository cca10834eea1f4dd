"""Drains of guests that wait, small engines state by state, and schedules with bursts: against each other, the whole
chain and simulation."""

from __future__ import annotations

import numpy as np
import pytest

import qtheory as qt
from qtheory.drain import guests_that_wait, joint_chain, limited

EXP = qt.Exponential(mean=0.5)
E2 = qt.Erlang(phases=2, mean=0.5)
H2 = qt.Hyperexponential.balanced(mean=0.5, scv=4.0)
LITTLE = qt.Hyperexponential.balanced(mean=0.5, scv=1.5)
BURSTS = qt.mmpp2(rates=(5.0, 0.5), stays=(2.0, 3.0))
STEPS = qt.DepthSchedule([(-1.5, 2), (-0.6, 1), (-0.2, 3)])
PLACES = [(None, "engine"), (3, "engine"), (3, "ring")]


def engine(disks, law, queue_length=None, hold="engine", servers=2):
    return qt.Engine(disks, qt.Device(servers, law), queue_length, hold)


def open_disk(rate, buffer, full="lost", **other):
    return qt.Disk(qt.Poisson(rate), buffer, full, **other)


OWN = open_disk(1.0, 2, device=qt.Device(1, E2))


def same(found, expected, error):
    assert found.mean == pytest.approx(expected.mean, rel=error)
    assert found.variance == pytest.approx(expected.variance, rel=error)
    for p in (0.5, 0.99):
        assert found.quantile(p) == pytest.approx(expected.quantile(p), rel=error)


@pytest.mark.parametrize(("queue_length", "hold"), PLACES)
@pytest.mark.parametrize("law", [E2, H2], ids=["E2", "H2"])
@pytest.mark.parametrize("disks", [[open_disk(3.0, 4)], [qt.Disk(qt.Closed(3), 3), qt.Disk(qt.Closed(2), 2)]])
def test_state_by_state_as_by_totals_and_phases(disks, law, queue_length, hold):
    e = engine(disks, law, queue_length, hold)
    same(joint_chain.drain(e, None), qt.drain_time(e), 1e-10)
    same(joint_chain.scheduled(e, STEPS), qt.drain_time(e, STEPS), 1e-10)
    present = (2,) if len(disks) == 1 else (5,)
    if queue_length is None:
        same(joint_chain.drain(e, present), qt.drain_time(e, population=present[0]), 1e-10)


@pytest.mark.parametrize("e", [
    qt.Engine([open_disk(1.6, 3), qt.Disk(qt.Closed(3), 3)], qt.Device(2, E2), 3, "ring", (2, 2)),
    qt.Engine([open_disk(1.2, 3, service=E2), open_disk(1.2, 3, "lost", service=LITTLE)], qt.Device(2, EXP)),
    qt.Engine([open_disk(2.0, 2, device=qt.Device(1, E2)), open_disk(1.0, 2, device=qt.Device(1, LITTLE))], None, 2),
    qt.Engine([qt.Disk(BURSTS, 2, device=qt.Device(1, E2)), OWN], None, 2, "ring"),
], ids=["caps", "unlike", "line of the engine", "bursts behind a line"])  # fmt: skip
def test_state_by_state_against_simulation(e):
    """Mean and 99 % quantile within three half-widths, which are below 2 % and 4 %."""
    found, run = joint_chain.drain(e, None), qt.simulate(e, 400_000, seed=4, stops=4.0).drain
    q = run.quantile(0.99)
    assert run.mean.half_width < 0.02 * run.mean.value
    assert q.half_width < 0.04 * q.value
    assert abs(found.mean - run.mean.value) < 3 * run.mean.half_width
    assert abs(found.quantile(0.99) - q.value) < 3 * q.half_width


def test_a_schedule_of_separate_devices_settles_at_the_limit():
    own = [open_disk(2.0, 3, device=qt.Device(1, E2)), qt.Disk(qt.Closed(2, 0.3), 2, device=qt.Device(1, EXP))]
    e = qt.Engine(own)
    same(qt.drain_time(e, qt.DepthSchedule([(-200.0, 2)])), joint_chain.drain(limited(e, qt.DepthLimit(2)), None), 1e-8)
    same(qt.drain_time(e, qt.DepthSchedule([(0.0, 2)])), qt.drain_time(e), 1e-8)


WAITING = {
    "open": open_disk(2.4, 4, "wait"),
    "buffer of the servers": open_disk(2.4, 2, "wait"),
    "closed": qt.Disk(qt.Closed(6, 2.0), 3),
    "bursts": qt.Disk(qt.mmpp2(rates=(4.0, 0.5), stays=(1.0, 2.0)), 3, "wait"),
}


@pytest.mark.parametrize(
    ("name", "queue_length", "hold"),
    [(name, *place) for name in WAITING for place in PLACES[:: 2 - (name == "closed")]],
)
def test_one_guest_that_waits_is_exact(name, queue_length, hold):
    e = engine([WAITING[name]], EXP if name == "bursts" else E2, queue_length, hold)
    for throttle in (None, qt.DepthLimit(2), qt.DepthSchedule([(-1.0, 2), (-0.4, 1)])):
        if isinstance(throttle, qt.DepthSchedule):
            expected = joint_chain.scheduled(e, throttle)
        else:
            expected = joint_chain.drain(e if throttle is None else limited(e, throttle), None)
        found = qt.drain_time(e, throttle)
        assert found.exact
        same(found, expected, 3e-9)  # the joint chain leaves out 1e-9 of the arrivals


@pytest.mark.parametrize("law", [EXP, E2], ids=["exponential", "E2"])
def test_a_given_population_of_a_guest_that_waits(law):
    e = engine([WAITING["open"]], law)
    for n in (1, 4):
        same(qt.drain_time(e, population=n), joint_chain.drain(e, (n,)), 1e-8)
    with pytest.raises(ValueError, match="population must be at most 4"):
        qt.drain_time(e, population=5)


def test_what_never_fills_the_buffer_is_as_without_a_guest():
    for throttle in (None, qt.DepthLimit(3), STEPS):
        waits, loses = (qt.drain_time(engine([open_disk(2.0, 60, full)], E2), throttle) for full in ("wait", "lost"))
        same(waits, loses, 1e-9)


SEVERAL = {
    "equal": [open_disk(0.8, 2, "wait")] * 2,
    "beside losses": [open_disk(0.8, 2, "wait"), open_disk(0.8, 3)],
    "closed": [qt.Disk(qt.Closed(5, 1.5), 2)] * 2,
    "side by side": [open_disk(0.6, 1, "wait")] * 2,
}


@pytest.mark.parametrize("name", SEVERAL)
@pytest.mark.parametrize("law", [EXP, E2], ids=["exponential", "E2"])
def test_several_guests_that_wait(name, law):
    """Within 0.5 % of the whole chain, where the stationary split is approximate."""
    e = engine(SEVERAL[name], law)
    found = qt.drain_time(e)
    assert found.method in ("guests_that_wait", "disk_by_disk")
    same(found, joint_chain.drain(e, None), 5e-3 if found.method == "guests_that_wait" else 1e-7)
    assert found.exact == (found.method == "disk_by_disk")
    assert found.exact or found.warnings
    if name in ("beside losses", "closed"):
        schedule = qt.DepthSchedule([(-1.5, 2), (-0.6, 1)])
        found = qt.drain_time(e, schedule)
        assert found.method == "depth_schedule"
        same(found, joint_chain.scheduled(e, schedule), 5e-3)


def test_guests_that_wait_against_simulation():
    """A fitted law, four disks: mean within 2 %, 99 % within 3 %, and two half-widths."""
    e = engine([open_disk(1.8, 5, "wait")] * 4, qt.Lognormal(mean=0.5, scv=2.0), 12, "ring", servers=4)
    found, run = qt.drain_time(e), qt.simulate(e, 300_000, seed=2).drain
    assert (found.method, found.exact) == ("guests_that_wait", False)
    assert abs(found.mean - run.mean.value) < 0.02 * run.mean.value + 2 * run.mean.half_width
    q = run.quantile(0.99)
    assert abs(found.quantile(0.99) - q.value) < 0.03 * q.value + 2 * q.half_width


def test_a_limit_that_binds_for_good():
    """More comes than one at a time lets through: always one is taken, and its residual service is waited for."""
    for disks in ([open_disk(2.4, 4, "wait")], [open_disk(1.2, 3, "wait")] * 2, [WAITING["open"], open_disk(1.0, 2)]):
        found = qt.drain_time(engine(disks, H2), qt.DepthLimit(1))
        assert guests_that_wait.ENDLESS in found.warnings
        assert found.mean == pytest.approx(H2.residual().mean, rel=1e-10)
    held = qt.drain_time(engine([open_disk(2.4, 4, "wait")], E2), qt.DepthSchedule([(-120.0, 1)]))
    assert held.mean == pytest.approx(E2.residual().mean, rel=1e-3)
    own = qt.Engine([open_disk(2.4, 3, "wait", device=qt.Device(2, EXP)), open_disk(0.5, 3, device=qt.Device(2, EXP))])
    found = qt.drain_time(own, qt.DepthLimit(1, per="disk"))
    busy = qt.solve(qt.Engine(own.disks[1:], None, 1, "ring")).mean_in_flight  # one at most
    assert found.sf(0.3) == pytest.approx(1 - (1 - np.exp(-0.6)) * (1 - busy * np.exp(-0.6)), rel=1e-9)
    with pytest.raises(ValueError, match="without end"):
        qt.drain_time(engine([open_disk(4.4, 4, "wait")], EXP))


@pytest.mark.parametrize(("disks", "exact"), [
    ([qt.Disk(BURSTS, 5)], True),
    ([qt.Disk(qt.Marked(BURSTS, 0.5), 3)] * 2, False),
    ([qt.Disk(BURSTS, 3), open_disk(1.0, 3)], False),
    ([qt.Disk(qt.Closed(2), 2), open_disk(1.5, 4)], False),
    ([qt.Disk(qt.Closed(2), 2), qt.Disk(BURSTS, 3)], False),
], ids=["one", "together", "apart", "saturated and open", "saturated and bursts"])  # fmt: skip
@pytest.mark.parametrize(("queue_length", "hold"), PLACES)
def test_schedules_of_bursts_and_of_mixed_disks(disks, exact, queue_length, hold):
    """Exact for one disk; for several within 1 % of the whole chain, disks that burst apart within 3 %."""
    e = engine(disks, E2, queue_length, hold)
    found = qt.drain_time(e, STEPS)
    assert (found.method, found.exact) == ("depth_schedule", exact)
    assert exact or found.warnings
    same(found, joint_chain.scheduled(e, STEPS), 1e-10 if exact else 0.03 if disks[0].bursty else 0.01)


@pytest.mark.parametrize(("queue_length", "hold"), [*PLACES, (3, "refuse")])
def test_schedules_of_rate_curves(queue_length, hold):
    disks = [open_disk(3.6, 6), qt.Disk(qt.Closed(3, 1.0), 3)]
    straight = qt.Engine(disks, qt.Device(curve=(2.0, 4.0)), queue_length, hold)
    same(qt.drain_time(straight, STEPS), qt.drain_time(engine(disks, EXP, queue_length, hold), STEPS), 1e-10)
    bent = qt.Engine(disks, qt.Device(curve=(2.0, 5.0, 3.0)), queue_length, hold)
    for steps, steady in (([(-300.0, 2)], qt.DepthLimit(2)), ([(0.0, 2)], None), ([(-300.0, 1), (-200.0, None)], None)):
        same(qt.drain_time(bent, qt.DepthSchedule(steps)), qt.drain_time(bent, steady), 1e-8)
