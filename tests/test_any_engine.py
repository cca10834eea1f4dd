"""Any engine that can be described is solved and drained sensibly, or refused with a reason: never NaN or nonsense."""

import math
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import qtheory as qt

LAWS = [
    qt.Exponential(mean=1.0),
    qt.Erlang(phases=3, mean=0.7),
    qt.Hyperexponential.balanced(mean=1.0, scv=4.0),
    qt.Hyperexponential.balanced(mean=2.0, scv=20.0),
    qt.Deterministic(1.0),
    qt.Lognormal(mean=1.0, scv=2.0),
    qt.Weibull(mean=0.5, scv=0.3),
]
BURSTS = qt.IPP(rate=3.0, on=1.0, off=2.0)
TWO_RATES = qt.mmpp2(rates=(2.0, 0.2), stays=(5.0, 5.0))


@st.composite
def engines(draw):
    """Two or three disks of any kind of arrivals, on a shared device or their own."""
    shared = draw(st.booleans())
    curved = draw(st.integers(0, 9)) == 0

    def device():
        if curved:
            return qt.Device(curve=draw(st.sampled_from([(1.0, 1.8, 2.1), (2.0, 1.5, 3.0)])))
        return qt.Device(draw(st.integers(1, 4)), draw(st.sampled_from(LAWS)))

    def disk():
        kind = draw(st.sampled_from(["poisson", "poisson", "map", "marked", "closed", "saturated"]))
        rate = draw(st.sampled_from([0.05, 0.4, 1.0, 3.0]))
        arrivals = {
            "poisson": lambda: qt.Poisson(rate),
            "map": lambda: TWO_RATES.scaled(1.0 / rate),
            "marked": lambda: qt.Marked(BURSTS, 0.25),
            "closed": lambda: qt.Closed(draw(st.integers(1, 5)), 1.0 / rate),
            "saturated": lambda: qt.Closed(draw(st.integers(1, 5))),
        }[kind]()
        own = draw(st.sampled_from([None, None, None, *LAWS[:3]])) if shared and not curved else None
        full = "wait" if draw(st.integers(0, 4)) == 0 else "lost"
        return qt.Disk(arrivals, draw(st.integers(1, 6)), full, None if shared else device(), own)

    disks = [disk() for _ in range(draw(st.integers(1, 3)))]
    slots = draw(st.sampled_from([None, None, 1, 3, 8]))
    hold = draw(st.sampled_from(["engine", "ring", "refuse"]))
    shares = draw(st.sampled_from(["fifo", "fifo", "fifo", "equal", "rings", "linux"]))
    try:
        return qt.Engine(disks, device() if shared else None, slots, hold, shares)
    except ValueError:  # saturated guests refused at Q, shares of nothing
        return qt.Engine(disks, device() if shared else None, slots, "ring", "fifo")


def check_state(engine, s):
    assert 0.0 < s.throughput < math.inf
    assert -1e-12 <= s.blocking <= 1.0
    assert np.all(s.in_system_pmf >= 0.0)
    assert s.in_system_pmf.sum() == pytest.approx(1.0, rel=1e-6)
    assert 0.0 <= s.mean_wait <= s.mean_response < math.inf
    assert s.mean_guest_wait >= 0.0
    assert s.mean_in_system == pytest.approx(s.throughput * s.mean_response, rel=1e-6)
    assert 0.0 <= s.utilization <= 1.0 + 1e-9
    assert s.mean_in_flight <= s.mean_in_system * (1.0 + 1e-9)
    assert sum(d.throughput for d in s.disks) == pytest.approx(s.throughput, rel=0.05)
    for disk, state in zip(engine.disks, s.disks, strict=True):
        assert state.throughput > 0.0
        assert -1e-12 <= state.blocking <= 1.0
        assert np.all(state.pmf >= 0.0)
        assert state.pmf.sum() == pytest.approx(1.0, rel=1e-5)
        if not isinstance(disk.arrivals, qt.Closed):
            assert state.throughput <= disk.arrivals.rate * (1.0 + 1e-6)
    assert all(bound >= 0.0 for bound in s.error_bounds.values())
    if not s.exact and s.error_bound == math.inf:
        assert s.warnings
    try:
        waits, responses = ([f(p) for p in (0.1, 0.6, 0.99)] for f in (s.wait_quantile, s.response_quantile))
    except ValueError:
        return
    for times in (waits, responses):
        assert 0.0 <= times[0] <= times[1] <= times[2] < math.inf
    assert all(w <= r * (1.0 + 1e-9) for w, r in zip(waits, responses, strict=True))


def check_drain(d):
    assert d.population_pmf.sum() == pytest.approx(1.0, rel=1e-5)
    assert np.all(d.population_pmf >= -1e-12)
    assert d.sf(0.0) == pytest.approx(1.0 - d.population_pmf[0], abs=1e-4)
    assert 0.0 <= d.mean < math.inf
    assert 0.0 <= d.variance < math.inf
    times = [d.quantile(p) for p in (0.1, 0.6, 0.99)]
    assert 0.0 <= times[0] <= times[1] <= times[2] < math.inf
    # Markov's inequality, and a mean below all of the law
    assert d.sf(3.0 * d.mean) <= 1.0 / 3.0 + 1e-6
    assert d.mean >= times[1] * 0.4 * (1.0 - 1e-6)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(engines())
def test_any_engine(engine):
    with suppress(ValueError):  # refused
        check_state(engine, qt.solve(engine))
    for throttle in (None, qt.DepthLimit(2), qt.DepthLimit(1, per="disk"), qt.DepthSchedule([(-0.5, 1)])):
        with suppress(ValueError):
            check_drain(qt.drain_time(engine, throttle))
