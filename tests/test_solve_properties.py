"""What must hold whatever the numbers: conservation, Little's law, monotonicity, symmetry, limits.

Tolerances: identities between sums of positive terms hold to rounding, 1e-11 for the sizes drawn here; equalities
between two ways of saying the same engine are asked to the last digit where the arithmetic is the same.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import qtheory as qt
from qtheory.solve.steady_state import SteadyState

ROUNDING = 1e-11
few = settings(max_examples=60, deadline=None)

rates = st.floats(0.01, 20.0)
open_disks = st.builds(lambda rate, buffer: qt.Disk(qt.Poisson(rate), buffer), rates, st.integers(1, 12))
closed_disks = st.builds(
    lambda n, think: qt.Disk(qt.Closed(n, think), buffer=n),
    st.integers(1, 8),
    st.one_of(st.just(0.0), st.floats(0.01, 9.0)),
)
disks = st.lists(st.one_of(open_disks, closed_disks), min_size=1, max_size=5)
several_open = st.lists(open_disks, min_size=1, max_size=5)
servers = st.builds(lambda c, mean: qt.Device(c, qt.Exponential(mean)), st.integers(1, 12), st.floats(0.05, 3.0))
curves = st.builds(
    lambda points: qt.Device(curve=tuple(points)), st.lists(st.floats(0.3, 9.0), min_size=1, max_size=12)
)
devices = st.one_of(servers, curves)
lengths = st.one_of(st.none(), st.integers(1, 20))


@st.composite
def engines(draw: st.DrawFn) -> qt.Engine:
    """One shared device, or one a disk, with or without a limit, in every way that is solved exactly."""
    members = draw(disks)
    hold = draw(st.sampled_from(["ring", "engine", "refuse"]))
    if hold == "refuse":
        members = [d for d in members if not d.saturated]
        assume(members)
    slots = draw(lengths)
    if draw(st.booleans()):
        return qt.Engine(members, draw(devices), slots, hold)
    own = [replace(d, device=draw(devices)) for d in members]
    return qt.Engine(own, None, slots if hold == "refuse" else None, hold)


@given(engines())
@few
def test_flow_is_conserved(engine: qt.Engine) -> None:
    s = qt.solve(engine)
    assert sum(d.throughput for d in s.disks) == pytest.approx(s.throughput, rel=ROUNDING)
    for disk, d in zip(engine.disks, s.disks, strict=True):
        assert 0.0 <= d.blocking <= 1.0
        if isinstance(disk.arrivals, qt.Poisson):
            # 1 − blocking loses digits where nearly all is refused: absolute to the offered rate.
            assert d.throughput == pytest.approx(
                disk.arrivals.rate * (1.0 - d.blocking), abs=ROUNDING * disk.arrivals.rate
            )
        else:
            assert d.blocking == 0.0
    if all(isinstance(disk.arrivals, qt.Poisson) for disk in engine.disks):
        offered = sum(disk.arrivals.rate for disk in engine.disks)
        assert s.throughput == pytest.approx(offered * (1.0 - s.blocking), abs=ROUNDING * offered)


@given(engines())
@few
def test_closed_guests_answer_completions(engine: qt.Engine) -> None:
    """A circulating request comes once a think time and a response: X (Z + R) = outstanding."""
    s = qt.solve(engine)
    for disk, d in zip(engine.disks, s.disks, strict=True):
        if isinstance(disk.arrivals, qt.Closed) and engine.hold != "refuse":
            cycle = disk.arrivals.think_time + d.mean_response
            assert d.throughput * cycle == pytest.approx(disk.arrivals.outstanding, rel=ROUNDING)


@given(engines())
@few
def test_littles_law(engine: qt.Engine) -> None:
    """L = X R as a whole and disk by disk, from the laws themselves; so for those in line and those in service."""
    s = qt.solve(engine)
    assert s.mean_in_system == pytest.approx(np.arange(len(s.in_system_pmf)) @ s.in_system_pmf, rel=ROUNDING)
    assert s.mean_in_system == pytest.approx(s.throughput * s.mean_response, rel=ROUNDING)
    assert s.mean_in_system == pytest.approx(sum(d.mean_in_system for d in s.disks), rel=ROUNDING)
    assert s.mean_wait == pytest.approx(sum(d.throughput * d.mean_wait for d in s.disks) / s.throughput, rel=ROUNDING)
    for d, device in zip(s.disks, engine.devices, strict=True):
        assert d.mean_in_system == pytest.approx(np.arange(len(d.pmf)) @ d.pmf, rel=ROUNDING)
        assert d.mean_in_system == pytest.approx(d.throughput * d.mean_response, rel=ROUNDING)
        if device.service is not None:
            # Either part may be next to nothing beside the other.
            assert d.mean_response == pytest.approx(d.mean_wait + device.service.mean, rel=ROUNDING)
    if engine.device is not None and engine.device.servers is not None:
        busy = s.utilization * engine.device.servers
        assert busy == pytest.approx(s.throughput * engine.device.service.mean, rel=ROUNDING)
        assert busy <= s.mean_in_flight * (1 + ROUNDING)
    limit = math.inf if engine.queue_length is None else engine.queue_length
    assert s.mean_in_flight <= min(s.mean_in_system, limit) * (1 + ROUNDING)


@given(engines())
@few
def test_probabilities(engine: qt.Engine) -> None:
    s = qt.solve(engine)
    for pmf in (s.in_system_pmf, *(d.pmf for d in s.disks)):
        assert np.all(pmf >= 0.0)
        assert pmf.sum() == pytest.approx(1.0, rel=ROUNDING)


def same(a: SteadyState, b: SteadyState, rel: float) -> None:
    for name in (
        "throughput",
        "blocking",
        "mean_wait",
        "mean_response",
        "mean_in_system",
        "mean_in_flight",
        "utilization",
    ):
        assert getattr(a, name) == pytest.approx(getattr(b, name), rel=rel, abs=1e-300), name
    np.testing.assert_allclose(a.in_system_pmf, b.in_system_pmf, rtol=rel, atol=1e-30)
    for x, y in zip(a.disks, b.disks, strict=True):
        np.testing.assert_allclose(x.pmf, y.pmf, rtol=rel, atol=1e-25)
        assert x.throughput == pytest.approx(y.throughput, rel=rel)
        assert x.mean_wait == pytest.approx(y.mean_wait, rel=rel, abs=1e-300)


# Monotone: more of one thing, all else equal. Product form with log-concave series: the total arrival rate given n
# rises with each λ_i and K_i, and a birth-death chain with higher births or deaths completes more.


@given(several_open, servers, lengths, st.sampled_from(["ring", "refuse"]), st.data())
@few
def test_more_brings_more(
    members: list[qt.Disk], device: qt.Device, slots: int | None, hold: str, data: st.DataObject
) -> None:
    base = qt.solve(qt.Engine(members, device, slots, hold))
    i = data.draw(st.integers(0, len(members) - 1))
    disk = members[i]

    def with_disk(changed: qt.Disk) -> SteadyState:
        return qt.solve(qt.Engine([*members[:i], changed, *members[i + 1 :]], device, slots, hold))

    louder = with_disk(replace(disk, arrivals=qt.Poisson(disk.arrivals.rate * 1.5)))
    assert louder.throughput >= base.throughput * (1 - ROUNDING)
    longer = [
        with_disk(replace(disk, buffer=disk.buffer + 1)),
        qt.solve(qt.Engine(members, replace(device, servers=device.servers + 1), slots, hold)),
    ]
    if slots is not None:
        longer.append(qt.solve(qt.Engine(members, device, slots + 1, hold)))
    for more in longer:
        assert more.throughput >= base.throughput * (1 - ROUNDING)
        assert more.blocking <= base.blocking * (1 + ROUNDING) + 1e-28


# The same engine said in two ways.


@given(st.lists(st.one_of(open_disks, closed_disks), min_size=1, max_size=4), devices, st.integers(0, 3))
@few
def test_a_limit_that_cannot_bind(members: list[qt.Disk], device: qt.Device, beyond: int) -> None:
    most = sum(d.most for d in members)
    same(qt.solve(qt.Engine(members, device, most + beyond)), qt.solve(qt.Engine(members, device)), 0.0)


@given(disks, devices, lengths)
@few
def test_ring_and_engine_are_the_same_in_steady_state(members: list[qt.Disk], device: qt.Device, q: int | None) -> None:
    same(qt.solve(qt.Engine(members, device, q, "ring")), qt.solve(qt.Engine(members, device, q, "engine")), 0.0)


@given(open_disks, st.integers(2, 9), devices, lengths)
@few
def test_equal_disks_may_be_different_objects(disk: qt.Disk, copies: int, device: qt.Device, q: int | None) -> None:
    """Rates apart by one unit in the last place are merged as different disks, one object as copies."""
    nearly = [qt.Disk(qt.Poisson(disk.arrivals.rate * (1.0 + k * 2.0**-52)), disk.buffer) for k in range(copies)]
    different = [replace(disk) for _ in range(copies)]
    one = qt.solve(qt.Engine([disk] * copies, device, q))
    same(one, qt.solve(qt.Engine(different, device, q)), 0.0)
    same(one, qt.solve(qt.Engine(nearly, device, q)), ROUNDING)


@given(engines(), st.randoms(use_true_random=False))
@few
def test_order_of_disks_permutes_the_answers(engine: qt.Engine, random: object) -> None:
    order = list(range(len(engine.disks)))
    random.shuffle(order)  # type: ignore[attr-defined]
    moved = qt.Engine([engine.disks[i] for i in order], engine.device, engine.queue_length, engine.hold)
    s = qt.solve(engine)
    same(qt.solve(moved), replace(s, disks=tuple(s.disks[i] for i in order)), ROUNDING)


@given(engines(), st.sampled_from([1e-6, 0.37, 1e5]))
@few
def test_time_has_no_unit(engine: qt.Engine, scale: float) -> None:
    """All rates × s, all means / s: probabilities stay, rates × s, times / s."""

    def faster_device(device: qt.Device | None) -> qt.Device | None:
        if device is None:
            return None
        if device.curve is not None:
            return qt.Device(curve=tuple(r * scale for r in device.curve))
        return qt.Device(device.servers, qt.Exponential(device.service.mean / scale))

    def faster(disk: qt.Disk) -> qt.Disk:
        a = disk.arrivals
        changed = (
            qt.Poisson(a.rate * scale) if isinstance(a, qt.Poisson) else replace(a, think_time=a.think_time / scale)
        )
        return replace(disk, arrivals=changed, device=faster_device(disk.device))

    s = qt.solve(engine)
    members = [faster(d) for d in engine.disks]
    t = qt.solve(qt.Engine(members, faster_device(engine.device), engine.queue_length, engine.hold))
    back = replace(
        t,
        throughput=t.throughput / scale,
        mean_wait=t.mean_wait * scale,
        mean_response=t.mean_response * scale,
        disks=tuple(replace(d, throughput=d.throughput / scale, mean_wait=d.mean_wait * scale) for d in t.disks),
    )
    same(s, back, 1e-10)


# Limits.


@given(rates, st.integers(1, 12), st.integers(1, 40), st.floats(0.05, 3.0))
@few
def test_one_disk_is_mmck(rate: float, c: int, capacity: int, mean: float) -> None:
    """P(n) ∝ a^n/n! up to c, then times a/c a step; exact sums."""
    a = rate * mean
    weight = [1.0]
    for n in range(1, capacity + 1):
        weight.append(weight[-1] * a / min(n, c))
    norm = math.fsum(weight)
    s = qt.solve(qt.Engine([qt.Disk(qt.Poisson(rate), capacity)], qt.Device(c, qt.Exponential(mean))))
    assert s.blocking == pytest.approx(weight[-1] / norm, rel=ROUNDING)
    assert s.mean_in_system == pytest.approx(math.fsum(n * w for n, w in enumerate(weight)) / norm, rel=ROUNDING)
    line = math.fsum((n - c) * w for n, w in enumerate(weight) if n > c) / norm
    assert s.mean_wait == pytest.approx(line / (rate * (1.0 - weight[-1] / norm)), rel=ROUNDING)


def erlang_c(c: int, a: float) -> float:
    """By the recursion of Erlang's B."""
    b = 1.0
    for n in range(1, c + 1):
        b = a * b / (n + a * b)
    return b / (1.0 - a / c * (1.0 - b))


@given(st.integers(1, 40), st.floats(0.05, 0.95))
@few
def test_a_large_buffer_is_erlang_c(c: int, rho: float) -> None:
    """ρ^900 < 1e-20 is cut off."""
    s = qt.solve(qt.Engine([qt.Disk(qt.Poisson(c * rho), c + 900)], qt.Device(c, qt.Exponential(1.0))))
    wait = erlang_c(c, c * rho)
    assert s.mean_wait == pytest.approx(wait / (c * (1.0 - rho)), rel=1e-10, abs=1e-60)
    assert s.throughput == pytest.approx(c * rho, rel=1e-12)


def test_many_small_disks_are_one_large_source() -> None:
    """N sources of total load 0.8 c with one request each: a finite source, so the error falls like 1/N."""
    c, errors = 4, []
    for n in (4000, 8000, 16_000):
        s = qt.solve(qt.Engine([qt.Disk(qt.Poisson(0.8 * c / n), 1)] * n, qt.Device(c, qt.Exponential(1.0))))
        errors.append(1.0 - s.mean_wait / (erlang_c(c, 0.8 * c) / (c * 0.2)))
    assert 0.0 < errors[2] < 0.01
    assert errors[0] / errors[1] == pytest.approx(2.0, rel=0.03)
    assert errors[1] / errors[2] == pytest.approx(2.0, rel=0.03)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), devices, lengths, st.booleans())
@few
def test_no_time_to_think_is_saturated(numbers: list[int], device: qt.Device, q: int | None, own: bool) -> None:
    """Think time Z → 0; what is missing is of order Z · μ, below 100 Z here."""

    def engine(think: float) -> qt.Engine:
        guests = [qt.Disk(qt.Closed(n, think), buffer=n, device=device if own else None) for n in numbers]
        return qt.Engine(guests, None if own else device, None if own else q)

    a, b = qt.solve(engine(1e-9)), qt.solve(engine(0.0))
    assert a.throughput == pytest.approx(b.throughput, rel=1e-6)
    assert a.mean_wait == pytest.approx(b.mean_wait, rel=1e-6, abs=1e-6)
    for x, y in zip(a.disks, b.disks, strict=True):
        assert x.throughput == pytest.approx(y.throughput, rel=1e-6)


@pytest.mark.parametrize(("n_disks", "slots"), [(2, 3), (4, 8), (16, 40)])
def test_saturated_line_of_equal_devices(n_disks: int, slots: int) -> None:
    """X(Q)/X(∞) = Q/(Q + N − 1) as K → ∞; the error is of order Q²/K."""
    own = qt.Device(1, qt.Exponential(0.01))
    s = qt.solve(qt.Engine([qt.Disk(qt.Closed(200_000), buffer=200_000, device=own)] * n_disks, queue_length=slots))
    assert s.method == "saturated_line"
    assert s.throughput == pytest.approx(n_disks * 100.0 * slots / (slots + n_disks - 1), rel=1e-2 * slots / 40)
