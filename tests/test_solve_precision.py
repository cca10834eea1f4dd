"""Exact solvers against a twin at 50 digits: plain polynomial convolution, no merging, no ratios, no truncation.

All product forms here are P(n_1, ..., n_N) ∝ F(n) Π_i w_i[n_i], n = Σ n_i. The twin forms G_{−i} = Π_{j≠i} w_j for each
disk and from it the joint law of (n_i, n), from which every reported quantity is a plain sum. Inputs are the same
doubles the library gets. The tolerance everywhere is what the answer itself claims: its `error_bound`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qtheory as qt
from qtheory.markov.birth_death import stationary
from qtheory.markov.merging import Group, merge, merge_all, split_all
from qtheory.markov.pure_death import PureDeath, done_by
from qtheory.markov.uniformization import at_ticks, poisson_window
from qtheory.solve.saturated_line import at_devices
from qtheory.solve.steady_state import SteadyState

mp.mp.dps = 50

Series = list[mp.mpf]
SMALLEST = mp.mpf("1e-60")
"""Probabilities of the total below this are not compared."""
SMALLEST_OF_DISK = mp.mpf("1e-25")
"""Probabilities of one disk's number below this are not compared: `merging.NEGLIGIBLE` leaves 1e-30 of a peak out."""


def convolve(a: Series, b: Series) -> Series:
    """Coefficients of the product of two polynomials."""
    product = [mp.mpf(0)] * (len(a) + len(b) - 1)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            product[i + j] += x * y
    return product


def others(series: Sequence[Series]) -> list[Series]:
    """Product of all series but the i-th, for each i."""
    before, after = [[mp.mpf(1)]], [[mp.mpf(1)]]
    for w in series[:-1]:
        before.append(convolve(before[-1], w))
    for w in series[:0:-1]:
        after.append(convolve(after[-1], w))
    return [convolve(a, b) for a, b in zip(before, reversed(after), strict=True)]


def arrival_rate(disk: qt.Disk, k: int) -> mp.mpf:
    """Arrival rate with k of the disk's requests present."""
    if isinstance(disk.arrivals, qt.Poisson):
        return mp.mpf(disk.arrivals.rate)
    return (disk.arrivals.outstanding - k) / mp.mpf(disk.arrivals.think_time)


def completion_rate(device: qt.Device, n: int) -> mp.mpf:
    """Completion rate with n in flight."""
    if device.curve is not None:
        return mp.mpf(device.curve[min(n, len(device.curve)) - 1])
    return min(n, device.servers) / mp.mpf(device.service.mean)


def weights(disk: qt.Disk, per_step: Sequence[mp.mpf]) -> Series:
    """w[k] = Π_{j<k} λ(j) · per_step[j]; a saturated disk, λ → ∞, has its last term only."""
    w = [mp.mpf(1)]
    for k in range(disk.most):
        w.append(w[-1] * (1 if disk.saturated else arrival_rate(disk, k)) * per_step[k])
    return [mp.mpf(0)] * disk.most + w[-1:] if disk.saturated else w


@dataclass(frozen=True)
class Twin:
    """P(n_i = k, n) for each disk as `joint[i][k][n]`, normalized."""

    joint: list[list[Series]]

    @classmethod
    def of(cls, series: Sequence[Series], factor: Series) -> Twin:
        joint = []
        for w, rest in zip(series, others(series), strict=True):
            law = [
                [w[k] * rest[n - k] * factor[n] if 0 <= n - k < len(rest) else mp.mpf(0) for n in range(len(factor))]
                for k in range(len(w))
            ]
            norm = mp.fsum(mp.fsum(row) for row in law)
            joint.append([[p / norm for p in row] for row in law])
        return cls(joint)

    def total(self) -> Series:
        return [mp.fsum(row[n] for row in self.joint[0]) for n in range(len(self.joint[0][0]))]

    def mean(self, i: int, f: object) -> mp.mpf:
        """E f(n_i, n)."""
        return mp.fsum(p * f(k, n) for k, row in enumerate(self.joint[i]) for n, p in enumerate(row) if p)  # type: ignore[operator]


Pairs = Iterator[tuple[str, float, mp.mpf]]


def overall(engine: qt.Engine, s: SteadyState, parts: list[dict[str, mp.mpf]]) -> Pairs:
    """Totals from the disks' parts, and each disk's own quantities."""
    x = mp.fsum(part["throughput"] for part in parts)
    rates = [
        mp.mpf(d.arrivals.rate) if isinstance(d.arrivals, qt.Poisson) else part["throughput"]
        for d, part in zip(engine.disks, parts, strict=True)
    ]
    lost = mp.fsum(rate * part["blocking"] for rate, part in zip(rates, parts, strict=True))
    yield "throughput", s.throughput, x
    if lost == 0 or lost / mp.fsum(rates) >= SMALLEST_OF_DISK:
        yield "blocking", s.blocking, lost / mp.fsum(rates)
    yield "mean_wait", s.mean_wait, mp.fsum(part["waiting"] for part in parts) / x
    yield "mean_response", s.mean_response, mp.fsum(part["mean"] for part in parts) / x
    yield "mean_in_system", s.mean_in_system, mp.fsum(part["mean"] for part in parts)
    for i, (d, part) in enumerate(zip(s.disks, parts, strict=True)):
        yield f"disks[{i}].throughput", d.throughput, part["throughput"]
        if part["blocking"] == 0 or part["blocking"] >= SMALLEST_OF_DISK:
            yield f"disks[{i}].blocking", d.blocking, part["blocking"]
        yield f"disks[{i}].mean_wait", d.mean_wait, part["waiting"] / part["throughput"]
        yield f"disks[{i}].mean_response", d.mean_response, part["mean"] / part["throughput"]
        yield f"disks[{i}].mean_in_system", d.mean_in_system, part["mean"]


def pmfs(s: SteadyState, twin: Twin) -> Pairs:
    """Every probability that is not too small to count."""
    total = twin.total()
    for n, p in enumerate(total):
        if p >= SMALLEST:
            yield f"in_system_pmf[{n}]", s.in_system_pmf[n] if n < len(s.in_system_pmf) else 0.0, p
    for i, law in enumerate(twin.joint):
        for k, row in enumerate(law):
            if (p := mp.fsum(row)) >= SMALLEST_OF_DISK:
                yield f"disks[{i}].pmf[{k}]", s.disks[i].pmf[k], p


def shared(engine: qt.Engine, s: SteadyState) -> Pairs:
    """One device for all disks: F(n) = n!/Π μ(j), w_i[k] = Π λ_i(j) / k!."""
    device = engine.device
    slots = min(engine.queue_length or engine.most, engine.most)
    mu = [mp.mpf(0)] + [completion_rate(device, min(n, slots)) for n in range(1, engine.most + 1)]
    factor = [mp.mpf(1)]
    for n in range(1, engine.most + 1):
        factor.append(factor[-1] * n / mu[n])
    twin = Twin.of([weights(d, [mp.mpf(1) / (k + 1) for k in range(d.most)]) for d in engine.disks], factor)
    starting = slots if device.servers is None else min(device.servers, slots)
    last = engine.most if engine.hold == "refuse" else -1
    parts = []
    for i, disk in enumerate(engine.disks):
        # Every order of the line is equally likely: disk i has its part k/n of what waits and of what completes.
        parts.append(
            {
                "throughput": twin.mean(i, lambda k, n: mu[n] * k / n if n else 0),
                "blocking": twin.mean(i, lambda k, n, most=disk.most: k == most or n == last)
                if isinstance(disk.arrivals, qt.Poisson)
                else mp.mpf(0),
                "waiting": twin.mean(i, lambda k, n: mp.mpf(k) * max(n - starting, 0) / max(n, 1)),
                "mean": twin.mean(i, lambda k, n: k),
            }
        )
    yield from overall(engine, s, parts)
    yield from pmfs(s, twin)
    yield "mean_in_flight", s.mean_in_flight, twin.mean(0, lambda k, n: min(n, slots))
    capacity = mp.mpf(max(device.curve)) if device.servers is None else device.servers / mp.mpf(device.service.mean)
    yield "utilization", s.utilization, twin.mean(0, lambda k, n: mu[n]) / capacity


def separate(engine: qt.Engine, s: SteadyState) -> Pairs:
    """One device a disk, cut at Q: F = 1 up to Q, w_i[k] = Π λ_i(j)/μ_i(j+1)."""
    rates = [
        [completion_rate(device, k + 1) for k in range(disk.most)]
        for disk, device in zip(engine.disks, engine.devices, strict=True)
    ]
    series = [weights(disk, [1 / r for r in rate]) for disk, rate in zip(engine.disks, rates, strict=True)]
    twin = Twin.of(series, [mp.mpf(1)] * (engine.most + 1))
    last = engine.most if engine.hold == "refuse" else -1
    parts, used = [], []
    for i, (disk, device, rate) in enumerate(zip(engine.disks, engine.devices, rates, strict=True)):
        starting = disk.most if device.servers is None else min(device.servers, disk.most)
        x = twin.mean(i, lambda k, n, rate=rate: rate[k - 1] if k else 0)
        parts.append(
            {
                "throughput": x,
                "blocking": twin.mean(i, lambda k, n, most=disk.most: k == most or n == last)
                if isinstance(disk.arrivals, qt.Poisson)
                else mp.mpf(0),
                "waiting": twin.mean(i, lambda k, n, c=starting: max(k - c, 0)),
                "mean": twin.mean(i, lambda k, n: k),
            }
        )
        used.append(x / (max(device.curve) if device.curve else device.servers / mp.mpf(device.service.mean)))
    yield from overall(engine, s, parts)
    yield from pmfs(s, twin)
    yield "mean_in_flight", s.mean_in_flight, mp.fsum(part["mean"] for part in parts)
    yield "utilization", s.utilization, mp.fsum(used) / len(used)


def line(engine: qt.Engine, s: SteadyState) -> Pairs:
    """Saturated guests behind one line: Σ n_i = Q, w_i[k] = 1 / [(K_i − k)! Π_{j<=k} μ_i(j)], k at the device."""
    series = []
    for disk, device in zip(engine.disks, engine.devices, strict=True):
        w = [mp.mpf(1)]
        for k in range(1, disk.most + 1):
            w.append(w[-1] * (disk.most - k + 1) / completion_rate(device, k))
        series.append(w)
    q = engine.queue_length
    assert q is not None
    twin = Twin.of(series, [mp.mpf(n == q) for n in range(q + 1)])
    parts, used = [], []
    for i, (disk, device) in enumerate(zip(engine.disks, engine.devices, strict=True)):
        x = twin.mean(i, lambda k, n, d=device: completion_rate(d, k) if k else 0)
        busy = twin.mean(i, lambda k, n, d=device: k if d.servers is None else min(k, d.servers))
        parts.append({"throughput": x, "blocking": mp.mpf(0), "waiting": disk.most - busy, "mean": mp.mpf(disk.most)})
        used.append(busy / device.servers if device.servers is not None else x / max(device.curve))
        for k, row in enumerate(twin.joint[i]):
            if (p := mp.fsum(row)) >= SMALLEST_OF_DISK:
                yield f"at_devices[{i}][{k}]", at_devices(engine)[i][k], p
    yield from overall(engine, s, parts)
    yield "mean_in_flight", s.mean_in_flight, mp.mpf(q)
    yield "utilization", s.utilization, mp.fsum(used) / len(used)


def device(servers: int, mean: float) -> qt.Device:
    return qt.Device(servers=servers, service=qt.Exponential(mean))


def poisson(rate: float, buffer: int, **more: object) -> qt.Disk:
    return qt.Disk(qt.Poisson(rate), buffer, **more)  # type: ignore[arg-type]


def closed(outstanding: int, think: float, **more: object) -> qt.Disk:
    return qt.Disk(qt.Closed(outstanding, think), **more)  # type: ignore[arg-type]


DIFFERENT = [poisson(2.0, 40), poisson(130.0, 1), poisson(700.0, 17), poisson(2000.0, 25)]
MIXED = [poisson(300.0, 12), closed(20, 0.031), closed(3, 0.2), poisson(45.0, 30)]
DIP = qt.Device.from_depth_sweep([1, 2, 8, 16, 32], [900.0, 1500.0, 4100.0, 3300.0, 3900.0])

ENGINES = {
    "different, c = 1": (shared, qt.Engine(DIFFERENT, device(1, 1 / 3100))),
    "different, c = 8": (shared, qt.Engine(DIFFERENT, device(8, 1 / 450))),
    "different, overloaded": (shared, qt.Engine(DIFFERENT, device(8, 1 / 45))),
    "different, nearly idle": (shared, qt.Engine([poisson(1.0, 9), poisson(0.05, 4)], device(8, 0.1))),
    "mixed, c = 1": (shared, qt.Engine(MIXED, device(1, 1 / 1100))),
    "mixed, c = 8": (shared, qt.Engine(MIXED, device(8, 1 / 130))),
    "mixed, Q below c": (shared, qt.Engine(MIXED, device(8, 1 / 130), queue_length=5, hold="ring")),
    "mixed, refused at Q": (shared, qt.Engine(MIXED, device(8, 1 / 130), queue_length=21, hold="refuse")),
    "curve with a dip": (shared, qt.Engine([*DIFFERENT, closed(4, 0.01)], DIP)),
    "curve with a dip, behind Q": (shared, qt.Engine(DIFFERENT, DIP, queue_length=12)),
    "curve with a dip, refused at Q": (shared, qt.Engine(DIFFERENT, DIP, queue_length=20, hold="refuse")),
    "saturated with others": (
        shared,
        qt.Engine([poisson(300.0, 20), closed(5, 0.0), closed(9, 0.05)], device(8, 0.01)),
    ),
    "equal and different": (shared, qt.Engine([poisson(120.0, 7)] * 7 + [poisson(900.0, 20)], device(8, 1 / 300))),
    "separate": (
        separate,
        qt.Engine(
            [poisson(70.0, 40, device=device(1, 0.01)), closed(9, 0.01, device=DIP), poisson(2.0, 6, device=DIP)]
        ),
    ),
    "separate, refused at Q": (
        separate,
        qt.Engine(
            [
                poisson(70.0, 40, device=device(1, 0.01)),
                poisson(900.0, 30, device=device(8, 0.006)),
                closed(9, 0.01, device=device(2, 0.002)),
            ],
            queue_length=25,
            hold="refuse",
        ),
    ),
    "separate with a dip, refused at Q": (
        separate,
        qt.Engine(
            [
                poisson(3500.0, 40, device=DIP),
                poisson(2900.0, 30, device=DIP),
                closed(9, 0.01, device=device(2, 0.002)),
            ],
            queue_length=50,
            hold="refuse",
        ),
    ),
    "saturated line": (
        line,
        qt.Engine(
            [
                closed(32, 0.0, device=device(1, 0.01)),
                closed(8, 0.0, device=device(8, 0.003)),
                closed(24, 0.0, device=DIP),
                closed(3, 0.0, device=device(2, 0.05)),
            ],
            queue_length=40,
        ),
    ),
    "saturated line, equal": (line, qt.Engine([closed(32, 0.0, device=device(1, 0.01))] * 8, queue_length=64)),
}


def agree(pairs: Pairs, bound: float) -> int:
    """Check all pairs within `bound` in relative terms; how many were compared."""
    compared = 0
    for name, found, exact in pairs:
        assert abs(mp.mpf(float(found)) - exact) <= bound * exact, f"{name}: {float(found)!r}, not {mp.nstr(exact, 20)}"
        compared += 1
    return compared


@pytest.mark.parametrize("name", ENGINES)
def test_error_bound_holds_for_every_quantity(name: str) -> None:
    twin, engine = ENGINES[name]
    s = qt.solve(engine)
    assert s.exact
    assert s.error_bound < 1e-9
    assert agree(twin(engine, s), s.error_bound) > 20


def test_blocking_far_below_one_in_a_million_millions() -> None:
    """Buffers that are practically never full: 1e-12 and below keep all digits, down to SMALLEST_OF_DISK."""
    disks = [poisson(40.0, k) for k in (13, 17, 22, 27)] + [poisson(900.0, 40)]
    engine = qt.Engine(disks, device(8, 1 / 300))
    s = qt.solve(engine)
    assert agree(shared(engine, s), s.error_bound) > 100
    smallest = [d.blocking for d in s.disks[:4]]
    assert smallest[0] < 1e-8
    assert min(smallest) < 1e-20


def test_blocking_below_what_merging_leaves_out() -> None:
    """1.9e-108: far below 1e-25, the bound is absolute, as SteadyState says."""
    engine = ENGINES["different, c = 1"][1]
    s = qt.solve(engine)
    exact = Twin.of(
        [weights(d, [mp.mpf(1) / (k + 1) for k in range(d.most)]) for d in engine.disks],
        [mp.factorial(n) / (1 / mp.mpf(1 / 3100)) ** n for n in range(engine.most + 1)],
    ).mean(0, lambda k, n: k == 40)
    assert abs(s.disks[0].blocking - exact) <= 1e-28


def test_curve_that_collapses_beside_a_light_disk() -> None:
    """Independent disks: each must have the throughput it has alone."""
    steep = poisson(90.0, 256, device=qt.Device(curve=(10_000.0, 100.0)))
    light = poisson(200.0, 256, device=device(1, 1e-4))
    s = qt.solve(qt.Engine([steep, light]))
    for found, disk in zip(s.disks, (steep, light), strict=True):
        assert found.throughput == pytest.approx(qt.solve(qt.Engine([disk])).throughput, rel=1e-11)


@pytest.mark.parametrize("twin", [shared, separate])
def test_nearly_all_refused(twin: object) -> None:
    """Offered load 1e6 refused at Q = 2."""
    if twin is shared:
        engine = qt.Engine([poisson(1e6, 4), poisson(3e5, 4)], device(1, 1.0), queue_length=2, hold="refuse")
    else:
        own = device(1, 1.0)
        disks = [poisson(1e6, 4, device=own), poisson(3e5, 4, device=own)]
        engine = qt.Engine(disks, queue_length=2, hold="refuse")
    s = qt.solve(engine)
    assert agree(twin(engine, s), s.error_bound) > 10  # type: ignore[operator]


# Merging against exact rational convolution. Rounding: a few units in the last place for each term and each level.

UNIT = 2.0**-52


def series_of(ratios: Sequence[float]) -> list[Fraction]:
    series = [Fraction(1)]
    for r in ratios:
        series.append(series[-1] * Fraction(r))
    return series


def product(a: list[Fraction], b: list[Fraction]) -> list[Fraction]:
    c = [Fraction(0)] * (len(a) + len(b) - 1)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            c[i + j] += x * y
    return c


any_ratio = st.floats(1e-6, 1e6)
any_ratios = st.lists(any_ratio, min_size=1, max_size=12).map(np.array)
falling_ratios = any_ratios.map(lambda r: np.sort(r)[::-1].copy())
ratios = st.one_of(any_ratios, falling_ratios)


def close(found: float, exact: Fraction, units: float) -> bool:
    return abs(Fraction(found) - exact) <= Fraction(units * UNIT) * exact


def units(root: Group, concave: float) -> float:
    """Series other than log-concave go by logarithms, which lose as many units as they are large, at each level."""
    return concave + (0.0 if root.concave else 8.0 * root.depth * float(np.abs(np.cumsum(np.log(root.ratios))).max()))


@given(ratios, ratios, st.integers(1, 30))
@settings(max_examples=150, deadline=None)
def test_merge_is_convolution(a: np.ndarray, b: np.ndarray, most: int) -> None:
    exact = product(series_of(a), series_of(b))
    merged = merge(Group(a), Group(b), most)
    assert len(merged.ratios) == min(most, len(exact) - 1)
    for n, ratio in enumerate(merged.ratios):
        assert close(ratio, exact[n + 1] / exact[n], units(merged, 100))


@given(ratios, ratios, st.data())
@settings(max_examples=150, deadline=None)
def test_split_is_the_conditional_law(a: np.ndarray, b: np.ndarray, data: st.DataObject) -> None:
    """Weights of 1e-30 of a peak are left out between log-concave series: absolute, and relative above it."""
    of_a, of_b = series_of(a), series_of(b)
    both = product(of_a, of_b)
    size = len(both)
    law = data.draw(st.lists(st.floats(1e-3, 1.0), min_size=size, max_size=size).map(np.array))
    root = merge(Group(a, kind=0), Group(b, kind=1), size - 1)
    laws = split_all(root, law)
    for k in range(len(of_a)):
        exact = sum(
            (Fraction(law[n]) * of_a[k] * of_b[n - k] / both[n] for n in range(k, min(size, k + len(of_b)))),
            Fraction(0),
        )
        assert close(laws[0][k], exact, units(root, 200)) or abs(Fraction(laws[0][k]) - exact) < Fraction(1, 10**27)
    assert sum(laws[0]) == pytest.approx(law.sum(), rel=1e-13)
    assert sum(laws[1]) == pytest.approx(law.sum(), rel=1e-13)


@given(st.lists(ratios, min_size=1, max_size=6), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_merge_all_of_copies_and_others(members: list[np.ndarray], copies: int) -> None:
    everything = members + [members[0]] * (copies - 1)
    exact = [Fraction(1)]
    for member in everything:
        exact = product(exact, series_of(member))
    root, kinds = merge_all(everything, len(exact) - 1)
    assert len(kinds) == len(everything)
    for n, ratio in enumerate(root.ratios):
        assert close(ratio, exact[n + 1] / exact[n], units(root, 1000))


# Chains against mpmath.


@given(st.lists(st.tuples(st.floats(1e-8, 1e8), st.floats(1e-8, 1e8)), min_size=1, max_size=40))
@settings(max_examples=100, deadline=None)
def test_stationary_law_of_a_birth_death_chain(rates: list[tuple[float, float]]) -> None:
    """Two roundings a step from the mode, each at most a unit, above the smallest normal double."""
    pmf = stationary(*zip(*rates, strict=True))
    exact = [mp.mpf(1)]
    for up, down in rates:
        exact.append(exact[-1] * mp.mpf(up) / mp.mpf(down))
    norm = mp.fsum(exact)
    for found, p in zip(pmf, exact, strict=True):
        p /= norm
        assert abs(mp.mpf(float(found)) - p) <= (10 + 3 * len(rates)) * UNIT * p + mp.mpf("1e-300")


@pytest.mark.parametrize("mean", [1e-6, 0.3, 7.0, 450.0, 30_000.0])
def test_poisson_window(mean: float) -> None:
    """Each weight by ratios from the mode, √mean steps that count: 1e-13 where it matters; at most 1e-22 left out."""
    first, weight = poisson_window(mean)
    for k in range(0, len(weight), max(1, len(weight) // 40)):
        exact = mp.exp(-mp.mpf(mean) + (first + k) * mp.log(mean) - mp.loggamma(first + k + 1))
        assert abs(float(weight[k]) - exact) <= 4e-16 * (abs(first + k - mean) + 10) * exact + mp.mpf("1e-24")
    left_out = mp.gammainc(first + len(weight), 0, mean, regularized=True)
    if first > 0:
        left_out += mp.gammainc(first, mean, regularized=True)
    assert left_out < 2e-22


@pytest.mark.parametrize("x", [0.0, 1e-4, 2.0, 60.0, 2000.0])
def test_at_ticks_of_a_geometric_series(x: float) -> None:
    """Σ Poisson(k; x) z^k = e^{−x(1−z)}; what is left out is 1e-22, so where the sum is above 1e-8 digits are kept."""
    z = 1.0 - 2.0**-7
    values = z ** np.arange(200_000)
    assert at_ticks(x, values) == pytest.approx(float(mp.exp(-mp.mpf(x) * mp.mpf(2) ** -7)), rel=1e-12)


def hypoexponential(t: float, rates: Sequence[mp.mpf]) -> mp.mpf:
    """P(sum of exponentials of different rates > t), by partial fractions."""
    terms = []
    for i, r in enumerate(rates):
        weight = mp.mpf(1)
        for j, other in enumerate(rates):
            if j != i:
                weight *= other / (other - r)
        terms.append(weight * mp.exp(-r * t))
    return mp.fsum(terms)


@pytest.mark.parametrize(
    "rates",
    [
        [3.0, 5.0, 4.0, 4.5, 2.0, 6.0, 1.5],  # a curve with dips
        [1.0, 2.0, 3.0, 3.5, 3.75, 3.875],
        [float(j) for j in range(1, 9)],  # as many servers as requests: the largest of equal exponentials
        [7.0],
    ],
)
def test_pure_death(rates: list[float]) -> None:
    """Mean, variance and law against partial fractions; the law is kept above 1e-20: 1e-9 relative at 1e-10."""
    n = len(rates)
    exact = [mp.mpf(r) for r in rates]
    start = np.arange(1.0, n + 2) / np.arange(1.0, n + 2).sum()
    weight = [mp.mpf(float(p)) for p in start]
    chain = PureDeath(start, np.array(rates))
    mean = mp.fsum(w * mp.fsum(1 / r for r in exact[:k]) for k, w in enumerate(weight))
    second = mp.fsum(
        w * (mp.fsum(1 / r**2 for r in exact[:k]) + mp.fsum(1 / r for r in exact[:k]) ** 2)
        for k, w in enumerate(weight)
    )
    assert chain.mean == pytest.approx(float(mean), rel=1e-14)
    assert chain.variance == pytest.approx(float(second - mean**2), rel=1e-13)
    sf = chain.sf()
    assert sf(0.0) == pytest.approx(1.0 - start[0], rel=1e-15)
    for t in (1e-3, 0.2, 1.0, 4.0, 12.0):
        from_each = [mp.mpf(0)] + [hypoexponential(t, exact[:k]) for k in range(1, n + 1)]
        survival = mp.fsum(w * p for w, p in zip(weight, from_each, strict=True))
        if survival > 1e-10:
            assert sf(t) == pytest.approx(float(survival), rel=1e-10)
        np.testing.assert_allclose(done_by(t, np.array(rates)), [float(1 - p) for p in from_each], rtol=1e-12)
