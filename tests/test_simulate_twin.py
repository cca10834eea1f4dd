"""Both kernels follow the plain-Python twin request by request, over random small engines."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from simulate_twin import Script, play

from qtheory import Closed, Device, Disk, Engine, Exponential, Poisson
from qtheory.simulate.draws import NONE

ENDED = 120


class Recorder:
    """A tally that keeps everything."""

    def __init__(self, engine):
        most = [d.most for d in engine.disks]
        self.pmf = np.zeros(sum(most) + 1)
        self.disk_pmf = np.zeros(sum(m + 1 for m in most))
        self.disk_area = np.zeros(len(most))
        self.guest_area = np.zeros(len(most))
        self.response = [np.zeros(len(most))]
        self.segment = 0
        self.in_system = self.in_flight = 0.0
        self.rows, self.drains = [], []

    def add(self, disk, accepted, start, completion, drain):
        self.rows += zip(disk.tolist(), accepted.tolist(), start.tolist(), completion.tolist(), strict=True)
        self.drains += drain.tolist()
        return float(np.nansum(completion - accepted))


def engines(*, fast):
    """Small engines; `fast`: those that the fast kernel takes."""

    @st.composite
    def build(draw):
        n = draw(st.integers(1, 4))
        separate = not fast and draw(st.booleans())
        curved = not fast and draw(st.booleans())
        lattice = not curved and draw(st.booleans())
        slots = draw(st.one_of(st.none(), st.integers(1, 7)))
        hold = draw(st.sampled_from(["ring", "engine", "refuse"]))
        law = Exponential(1.0)

        def device():
            if curved and draw(st.booleans()):
                return Device(curve=tuple(draw(st.lists(st.floats(0.5, 4.0), min_size=1, max_size=5))))
            return Device(servers=draw(st.integers(1, 4)), service=law)

        disks = []
        for _ in range(n):
            arrivals = Poisson(1.0)
            if not fast and draw(st.booleans()):
                think = draw(st.sampled_from([0.0, 0.7, 3.0]))
                if hold == "refuse" and think == 0.0:
                    think = 1.3
                arrivals = Closed(outstanding=draw(st.integers(1, 7)), think_time=think)
            full = "lost" if fast else draw(st.sampled_from(["lost", "wait"]))
            buffer = draw(st.integers(1, 6))
            disks.append(Disk(arrivals, buffer=buffer, full=full, device=device() if separate else None))
        shares = "fifo"
        if not fast and draw(st.booleans()):
            shares = tuple(draw(st.integers(1, 4)) for _ in range(n))
        engine = Engine(disks, None if separate else device(), slots, hold, shares)
        return engine, draw(st.integers(0, 2**32)), lattice

    return build()


def script_for(engine, seed, lattice):
    """Inputs at a load that keeps buffers busy; a lattice makes ties frequent."""
    rng = np.random.default_rng(seed)
    numbers = (lambda k: rng.integers(1, 4, k) / 2.0) if lattice else (lambda k: rng.exponential(1.0, k))
    n = len(engine.disks)
    open_ = [i for i, d in enumerate(engine.disks) if isinstance(d.arrivals, Poisson)]
    arrivals = NONE
    if open_:
        gaps = rng.integers(0, 3, 2 * ENDED) / 4.0 if lattice else rng.exponential(0.4, 2 * ENDED)
        arrivals = (np.cumsum(gaps), rng.choice(open_, 2 * ENDED), numbers(2 * ENDED))
    services = [numbers(257) for _ in range(n)]
    thinks, gaps = numbers(1000), rng.exponential(1.0, 1024)
    return lambda: Script(arrivals, services, thinks, gaps, np.arange(n))


def check_rows(found, expected):
    assert len(found) == len(expected)
    for row, request in zip(found, expected, strict=True):
        assert row[0] == request.disk
        assert row[1:] == pytest.approx((request.accepted, request.start, request.completion), rel=1e-9, nan_ok=True)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(engines(fast=False))
def test_event_kernel_follows_the_twin(case):
    from qtheory.simulate.events import EventRun

    engine, seed, lattice = case
    script = script_for(engine, seed, lattice)
    run, tally = EventRun(engine, script()), Recorder(engine)
    run.stop_every(2.0)
    while len(tally.rows) < ENDED and run.advance(min(50, ENDED - len(tally.rows)), tally):
        pass  # three blocks
    waited = np.zeros(len(engine.disks))
    done, drains = play(engine, script(), ENDED, np.cumsum(2.0 * script().gaps).tolist(), waited)
    assert tally.guest_area == pytest.approx(waited, rel=1e-9, abs=1e-9)
    check_rows(tally.rows, done)
    assert tally.drains == pytest.approx(drains, rel=1e-9, abs=1e-9)
    assert tally.pmf.sum() == pytest.approx(run.now)
    assert tally.pmf @ np.arange(len(tally.pmf)) == pytest.approx(tally.in_system)
    assert tally.disk_area.sum() == pytest.approx(tally.in_system)
    assert tally.disk_pmf.sum() == pytest.approx(run.now * len(engine.disks))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(engines(fast=True))
def test_fcfs_kernel_follows_the_twin(case):
    from qtheory.simulate.fcfs import FcfsRun

    engine, seed, lattice = case
    assert FcfsRun.serves(engine)
    script = script_for(engine, seed, lattice)
    times = script().arrivals.time
    run, tally = FcfsRun(engine, script(), stopped=True), Recorder(engine)
    run._every = 1  # occupancy in every block
    run.stop_every(2.0)
    done = 0
    while done < len(times):
        done += run.advance(min(60, len(times) - done), tally)
    run.finish(tally)
    done, drains = play(engine, script(), len(times), np.cumsum(2.0 * script().gaps).tolist())
    found = [row for row in tally.rows if row[0] >= 0]
    expected = [(r.disk, r.accepted, r.start, r.completion) for r in done]
    assert sorted(map(str, found)) == sorted(map(str, expected))  # to the last bit
    assert len(tally.drains) <= len(drains)
    assert tally.drains == pytest.approx(drains[: len(tally.drains)], rel=1e-12, abs=1e-12)
    assert tally.pmf.sum() == pytest.approx(run.now)
    assert tally.pmf @ np.arange(len(tally.pmf)) == pytest.approx(tally.in_system)
    assert tally.disk_pmf.sum() == pytest.approx(run.now * len(engine.disks))


def test_guests_that_wait_make_the_event_kernel_grow():
    from qtheory.simulate.events import EventRun

    engine = Engine([Disk(Poisson(1.0), buffer=1, full="wait")], Device(servers=1, service=Exponential(1.0)))
    burst = (np.zeros(500), np.zeros(500), np.ones(500))
    run, tally = EventRun(engine, Script(burst)), Recorder(engine)
    assert run.advance(500, tally) == 500
    assert [row[3] for row in tally.rows] == list(range(1, 501))
    assert tally.in_system == pytest.approx(500.0)
