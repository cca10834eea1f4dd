"""The optimal queue length against exhaustive search, published cases and what must hold for any engine."""

from __future__ import annotations

import csv
import ctypes
import itertools
import math
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import qtheory as qt
from qtheory import arguments
from qtheory.drain import drain_survival
from qtheory.sizing import integer_rule
from qtheory.sizing.closed_forms import drain_limited, one_line
from qtheory.sizing.sweep import with_queue_length

integer_rule_module = sys.modules["qtheory.sizing.integer_rule"]
optimum = sys.modules["qtheory.sizing.optimum"]
EXPONENTIAL = qt.Exponential(mean=1e-3)
DEVICE = qt.Device(servers=1, service=EXPONENTIAL)


def saturated(disks: int, outstanding: int, hold: Any = "ring", shares: Any = "fifo") -> qt.Engine:
    disk = qt.Disk(qt.Closed(outstanding), buffer=outstanding, device=DEVICE)
    return qt.Engine([disk] * disks, queue_length=disks * outstanding, hold=hold, shares=shares)


def shared(disks: int, load: float, servers: int, buffer: int, hold: Any = "ring") -> qt.Engine:
    disk = qt.Disk(qt.Poisson(load * servers * 1e3 / disks), buffer=buffer)
    return qt.Engine([disk] * disks, qt.Device(servers=servers, service=EXPONENTIAL), hold=hold)


def exhaustive(engine: qt.Engine, loss: float, budget: float | None, p: float) -> list[int]:
    """Every queue length that meets the limits."""
    unlimited = qt.solve(with_queue_length(engine, None)).throughput
    found = []
    for q in range(1, sum(disk.most for disk in engine.disks) + 1):
        at = with_queue_length(engine, q)
        lost = 1.0 - qt.solve(at).throughput / unlimited
        if lost <= loss and (budget is None or qt.drain_time(at).cdf(budget) >= p):
            found.append(q)
    return found


@pytest.mark.parametrize(("disks", "requests", "length"), [
    (4, 256, 42), (8, 256, 90), (16, 256, 187), (4, 2048, 54), (8, 2048, 121), (16, 2048, 255),
])  # fmt: skip
def test_one_line_before_saturated_devices(disks: int, requests: int, length: int) -> None:
    """The smallest Q for 5 %, worked out independently."""
    z = qt.optimal_queue_length(saturated(disks, requests), max_throughput_loss=0.05)
    assert (z.queue_length, z.lower, z.exact, z.verified) == (length, length, True, True)
    assert z.upper == disks * requests
    assert (z.binds_lower, z.binds_upper) == ("throughput loss", "requests outstanding")


@pytest.mark.parametrize("engine", [
    saturated(3, 6), shared(3, 0.8, 4, 4), shared(3, 0.2, 4, 8), shared(2, 1.4, 3, 5), shared(3, 0.9, 4, 4, "refuse"),
], ids=["saturated", "shared", "light", "overloaded", "refuse"])  # fmt: skip
@pytest.mark.parametrize("loss", [0.2, 0.05, 0.001])
@pytest.mark.parametrize("budget", [None, 4e-3, 8e-3])
def test_against_every_queue_length(engine: qt.Engine, loss: float, budget: float | None) -> None:
    good = exhaustive(engine, loss, budget, 0.95)
    z = qt.optimal_queue_length(engine, max_throughput_loss=loss, drain_budget=budget, drain_probability=0.95)
    assert z.feasible == bool(good)
    if good:
        assert z.queue_length == z.lower == good[0]
        assert set(range(z.lower, z.upper + 1)) <= set(good)
        assert z.upper + 1 not in good
        assert z.steady is not None
        assert z.throughput_loss is not None
        assert z.throughput_loss <= loss + 1e-9
    else:
        assert z.queue_length is None
        assert z.lower > z.upper
        assert 0 <= z.most_disks < len(engine.disks)


def test_infeasible_names_the_disks_that_would_do() -> None:
    limits: dict[str, Any] = {"max_throughput_loss": 0.05, "drain_budget": 0.03}
    z = qt.optimal_queue_length(saturated(4, 256), **limits)
    assert (z.feasible, z.queue_length, z.lower, z.upper, z.most_disks) == (False, None, 42, 29, 2)
    assert "of 4 disks 2 would do" in z.warnings[0]
    assert qt.optimal_queue_length(saturated(2, 256), **limits).feasible
    assert not qt.optimal_queue_length(saturated(3, 256), **limits).feasible


def test_equal_shares_need_one_slot_a_disk() -> None:
    """A single server is busy with one slot: dividing the queue takes Q = N where one line takes 12 N."""
    z = qt.optimal_queue_length(saturated(16, 256, shares="equal"), max_throughput_loss=0.05, drain_budget=0.02)
    assert (z.queue_length, z.binds_lower, z.exact) == (16, "a slot for each disk", True)
    assert z.throughput_loss == pytest.approx(0.0, abs=1e-12)


def test_a_drain_of_what_was_popped_is_not_bounded_by_the_queue() -> None:
    z = qt.optimal_queue_length(shared(4, 1.2, 4, 32, "engine"), max_throughput_loss=0.01, drain_budget=0.01)
    assert not z.feasible
    assert any("qt.DepthLimit of at most" in warning for warning in z.warnings)
    ring = qt.optimal_queue_length(shared(4, 1.2, 4, 32), max_throughput_loss=0.01, drain_budget=0.01)
    assert ring.feasible
    assert f"at most {ring.upper}," in next(w for w in z.warnings if "DepthLimit" in w)


def test_waits() -> None:
    """With more servers than are wanted, a slot is a server: Erlang's C in its finite room."""
    engine = shared(4, 0.5, 64, 64)
    z = qt.optimal_queue_length(engine, max_delay_probability=0.2)
    assert z.steady is not None
    assert z.steady.delay_probability <= 0.2
    assert qt.solve(with_queue_length(engine, z.lower - 1)).delay_probability > 0.2
    assert z.steady.delay_probability == pytest.approx(qt.stations.erlang_c(servers=z.lower, load=32.0), rel=1e-6)
    y = qt.optimal_queue_length(engine, max_wait_quantile=(0.99, 1e-4))
    assert y.steady is not None
    assert y.steady.wait_quantile(0.99) <= 1e-4
    assert qt.solve(with_queue_length(engine, y.lower - 1)).wait_quantile(0.99) > 1e-4


def test_waits_are_followed_as_long_as_asked() -> None:
    """A wait's survival is the same whether its law was followed to the end before, or only so far."""
    service = qt.Hyperexponential.balanced(mean=1e-3, scv=4.0)
    engine = qt.Engine([qt.Disk(qt.Poisson(1400.0), buffer=64)] * 2, qt.Device(servers=3, service=service))
    whole, part = qt.solve(engine), qt.solve(engine)
    for p in (0.5, 0.9, 0.99):
        t = whole.wait_quantile(p)
        assert part.wait_survival(t) == pytest.approx(1.0 - p, rel=1e-9)
        assert part.wait_survival(t) == pytest.approx(whole.wait_survival(t), rel=1e-13)


def test_nothing_is_solved_where_theory_forbids(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Q that could not carry the load, and above the servers none twice."""
    asked: list[int | None] = []
    throughput = optimum.throughput

    def counted(engine: qt.Engine, *how: Any) -> float:
        asked.append(engine.queue_length)
        return float(throughput(engine, *how))

    monkeypatch.setattr(optimum, "throughput", counted)
    z = qt.optimal_queue_length(shared(4, 0.9, 16, 64), max_throughput_loss=0.01)
    assert z.lower == 15
    assert set(asked) <= {None, 15, 16}


def test_power_of_a_saturated_device_is_where_it_is_just_full() -> None:
    disk = qt.Disk(qt.Closed(32), buffer=32)
    engine = qt.Engine([disk] * 4, qt.Device(servers=8, service=EXPONENTIAL), hold="ring")
    assert qt.optimal_queue_length(engine, maximize="power").queue_length == 8
    most = qt.optimal_queue_length(engine, max_throughput_loss=0.5, maximize=lambda s: -s.throughput)
    assert most.queue_length == 4


@settings(max_examples=25, deadline=None)
@given(
    disks=st.integers(1, 5),
    load=st.floats(0.05, 3.0),
    servers=st.integers(1, 6),
    buffer=st.integers(1, 8),
    loss=st.floats(1e-4, 0.5),
    tighter=st.floats(0.1, 1.0),
)
def test_tighter_limits_never_shorten_the_queue(
    disks: int, load: float, servers: int, buffer: int, loss: float, tighter: float
) -> None:
    engine = shared(disks, load, servers, buffer)
    loose = qt.optimal_queue_length(engine, max_throughput_loss=loss)
    tight = qt.optimal_queue_length(engine, max_throughput_loss=loss * tighter)
    assert loose.feasible
    assert tight.feasible
    assert 1 <= loose.lower <= tight.lower <= tight.upper == disks * buffer


def test_survival_alone_is_that_of_the_drain() -> None:
    poisson = qt.Disk(qt.Poisson(800.0), buffer=8, device=DEVICE)
    for engine in (
        saturated(3, 6, shares="equal"),
        with_queue_length(saturated(3, 6), 5),
        qt.Engine([poisson] * 3, queue_length=5, hold="ring"),
        qt.Engine([poisson] * 3, queue_length=5, hold="refuse"),
        shared(3, 0.8, 4, 4),
    ):
        for t in (0.0, 1e-3, 5e-3):
            assert math.isclose(drain_survival(engine, t), qt.drain_time(engine).sf(t), rel_tol=1e-9, abs_tol=1e-15)


def test_drain_behind_a_line_is_near_simulation() -> None:
    poisson = qt.Disk(qt.Poisson(900.0), buffer=32, device=DEVICE)
    engine = qt.Engine([poisson] * 2, queue_length=2, hold="ring")
    drain, run = qt.drain_time(engine), qt.simulate(engine, 200_000, seed=1).drain
    assert drain.method == "delay_line"
    assert not drain.exact
    assert drain.mean == pytest.approx(run.mean.value, rel=drain.error_bounds["mean"])


@pytest.mark.parametrize(("limits", "words"), [
    ({}, "must be given"),
    ({"max_throughput_loss": 0.0}, "max_throughput_loss must lie strictly between 0 and 1"),
    ({"max_wait_quantile": (1.2, 1.0)}, r"max_wait_quantile\[0\]"),
    ({"max_wait_quantile": (0.9, 1.0, 2.0)}, "max_wait_quantile must be a pair"),
    ({"drain_budget": -1.0}, "drain_budget must be a positive"),
    ({"drain_budget": 1.0, "drain_probability": 1.0}, "drain_probability"),
])  # fmt: skip
def test_bad_limits(limits: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        qt.optimal_queue_length(shared(2, 0.5, 2, 4), **limits)


def test_bad_types() -> None:
    with pytest.raises(TypeError, match="engine must be"):
        qt.optimal_queue_length(3, max_throughput_loss=0.1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="max_wait_quantile must be a list or a tuple"):
        qt.optimal_queue_length(shared(2, 0.5, 2, 4), max_wait_quantile=0.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="maximize must be"):
        qt.optimal_queue_length(shared(2, 0.5, 2, 4), maximize="speed")  # type: ignore[arg-type]


@pytest.mark.parametrize("disks", [3, 4, 16, 64])
@pytest.mark.parametrize("requests", [2, 32, 256])
@pytest.mark.parametrize("loss", [0.2, 0.05])
def test_one_line_in_closed_form(disks: int, requests: int, loss: float) -> None:
    numeric = qt.optimal_queue_length(saturated(disks, requests), max_throughput_loss=loss).lower
    assert abs(math.ceil(one_line(disks=disks, requests=requests, loss=loss)) - numeric) <= 1


def test_one_line_in_the_limits() -> None:
    for disks, loss in ((4, 0.05), (64, 0.2)):
        endless = one_line(disks=disks, requests=None, loss=loss)
        assert endless == pytest.approx((disks - 1) * (1.0 - loss) / loss)
        assert one_line(disks=disks, requests=1_000_000, loss=loss) == pytest.approx(endless, rel=2e-3)
        assert one_line(disks=disks, requests=1, loss=loss) == pytest.approx(disks * (1.0 - loss))
    assert one_line(disks=1, requests=7, loss=0.05) == 1.0


def test_slots_that_the_drain_allows() -> None:
    for servers, budget in ((1, 6.0), (1, 100.0), (4, 10.0), (16, 6.0), (64, 30.0)):
        disk = qt.Disk(qt.Closed(4096), buffer=4096)
        engine = qt.Engine([disk], qt.Device(servers=servers, service=EXPONENTIAL), hold="ring")
        numeric = qt.optimal_queue_length(engine, drain_budget=budget * 1e-3).upper
        form = drain_limited(servers=servers, service_mean=1e-3, budget=budget * 1e-3)
        assert abs(form - numeric) <= max(2, 0.005 * numeric)
    assert drain_limited(servers=4, service_mean=1e-3, budget=1e-3) == 0


def test_integer_rule_is_whole_and_bounded() -> None:
    rule = partial(integer_rule, ring_sizes=4096, disks=16, latency_ns=1_000_000, rate=16_000)
    assert rule(devices=16) == 194
    assert rule(devices=1) == 17
    assert rule(devices=1, budget_ns=1) == 1
    previous = 0
    for budget in range(1, 200_000_000, 1_000_003):
        now = rule(devices=16, budget_ns=budget)
        assert isinstance(now, int)
        assert 1 <= previous <= now <= 4096 or previous == 0
        previous = now
    assert integer_rule(ring_sizes=8, disks=4, devices=4, latency_ns=10**9, rate=10**6) == 8
    assert rule(devices=16, smallest_ring=256, largest_ring=256) == 194
    with pytest.raises(ValueError, match="latency_ns must be a whole number >= 1"):
        integer_rule(ring_sizes=8, disks=4, devices=4, latency_ns=0, rate=10**6)
    with pytest.raises(ValueError, match="smallest_ring must be at most ring_sizes / disks, not 257"):
        rule(devices=16, smallest_ring=257)
    with pytest.raises(ValueError, match="largest_ring must be at least ring_sizes / disks, not 255"):
        rule(devices=16, largest_ring=255)


@pytest.mark.parametrize("deep", [1, 2, 3])
def test_integer_rule_behind_one_line_before_rings_of_two_sizes(deep: int) -> None:
    """As deep rings take the slots first: at most 5 % lost, a drain at most 10 % longer than the optimum's."""
    rings = [16] * (4 - deep) + [64] * deep
    device = qt.Device(servers=1, service=EXPONENTIAL)
    disks = [qt.Disk(qt.Closed(k), buffer=k, device=device) for k in rings]
    best = qt.optimal_queue_length(qt.Engine(disks, hold="ring"), max_throughput_loss=0.05)
    q = integer_rule(
        ring_sizes=sum(rings), disks=4, devices=4, latency_ns=1_000_000, rate=4000, smallest_ring=16, largest_ring=64
    )
    state = qt.solve(qt.Engine(disks, queue_length=q, hold="ring"))
    assert state.throughput >= 0.95 * 4000
    assert best.drain is not None
    drain = qt.drain_time(qt.Engine(disks, queue_length=q, hold="ring"))
    assert drain.quantile(0.99) <= 1.1 * best.drain.quantile(0.99)


class Int64(int):
    """A whole number that does not exceed 64 bits with its sign, nor does any that comes of it."""

    def __new__(cls, value: int) -> Int64:
        assert -(2**63) <= value < 2**63, f"{value} overflows"
        return super().__new__(cls, value)


def _checked(operation: str) -> Any:
    of = getattr(int, operation)
    return lambda a, b: Int64(of(a, b))


for _operation in ("add", "sub", "mul", "floordiv", "mod", "lshift"):
    for _name in (f"__{_operation}__", f"__r{_operation}__"):
        setattr(Int64, _name, _checked(_name))


@settings(max_examples=500, deadline=None)
@given(
    rings=st.integers(1, 2**20), disks=st.integers(1, 2**20), own=st.booleans(), latency=st.integers(10**3, 10**10),
    rate=st.integers(1, 10**7), budget=st.integers(1, 10**11), apart=st.floats(0.0, 1.0),
)  # fmt: skip
@example(rings=2**20, disks=1, own=False, latency=10**10, rate=10**7, budget=10**11, apart=0.0)
@example(rings=2**20, disks=2, own=True, latency=10**10, rate=10**7, budget=10**11, apart=0.5)
@example(rings=2**20, disks=2**20, own=True, latency=10**10, rate=10**7, budget=10**11, apart=0.0)
@example(rings=2**20, disks=2**10, own=True, latency=10**10, rate=10**7, budget=10**11, apart=1.0)
def test_integer_rule_fits_64_bits(
    rings: int, disks: int, own: bool, latency: int, rate: int, budget: int, apart: float
) -> None:
    """No number on the way overflows. A longer budget never shortens the queue, and none is longer than without."""

    rings = max(rings, disks)
    mean = rings // disks
    smallest, largest = max(round(mean * (1.0 - apart)), 1), mean + round((rings - mean) * apart)

    def rule(budget: int | None) -> int:
        def checked(name: str, value: int) -> Int64:
            return Int64(arguments.count(name, value))

        with (
            mock.patch.object(integer_rule_module, "count", checked),
            mock.patch.object(integer_rule_module, "isqrt", lambda n: Int64(math.isqrt(n))),
        ):
            return integer_rule(
                ring_sizes=rings, disks=disks, devices=disks if own else 1, latency_ns=latency, rate=rate,
                budget_ns=budget, smallest_ring=smallest, largest_ring=largest,
            )  # fmt: skip

    assert 1 <= rule(budget) <= rule(2 * budget if budget <= 5 * 10**10 else 10**11) <= rule(None) <= rings


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_integer_rule_in_c_is_the_same(tmp_path: Path) -> None:
    source = Path(__file__).parents[1] / "validation" / "integer_rule.c"
    library = tmp_path / "integer_rule.so"
    flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run(["cc", *flags, "-o", library, source], check=True)
    in_c = ctypes.CDLL(str(library)).queue_length
    in_c.argtypes, in_c.restype = [ctypes.c_int64] * 8, ctypes.c_int64
    high = np.log([2**20, 2**12, 10**10, 10**7, 10**11, 64, 64])
    low = np.log([1, 1, 10**3, 1, 1, 1, 1])
    cases = np.exp(np.random.default_rng(1).uniform(low, high, (5_000, 7))).astype(int).tolist()
    for rings, disks, latency, rate, budget, shallower, deeper in cases:
        rings = max(rings, disks)
        smallest, largest = max(rings // disks // shallower, 1), rings // disks * deeper
        for devices, limit in itertools.product((1, disks), (0, budget)):
            rule = integer_rule(
                ring_sizes=rings, disks=disks, devices=devices, latency_ns=latency, rate=rate, budget_ns=limit or None,
                smallest_ring=smallest, largest_ring=largest,
            )  # fmt: skip
            assert in_c(rings, disks, devices, latency, rate, limit, smallest, largest) == rule


def test_curve_of_mixed_disks_and_its_picture(tmp_path: Path) -> None:
    mixed = qt.Engine(
        [qt.Disk(qt.Poisson(1000.0), buffer=64), qt.Disk(qt.Closed(8, think_time=0.01), buffer=32)],
        qt.Device(servers=8, service=EXPONENTIAL), hold="ring",
    )  # fmt: skip
    k = qt.sizing_curve(mixed, [1, 2, 5], max_throughput_loss=0.01, drain_budget=0.02)
    for n, point in zip(k.disk_counts, k.points, strict=True):
        alone = qt.optimal_queue_length(
            qt.Engine([mixed.disks[i % 2] for i in range(n)], mixed.device, hold="ring"),
            max_throughput_loss=0.01, drain_budget=0.02,
        )  # fmt: skip
        assert (point.queue_length, point.lower, point.upper) == (alone.queue_length, alone.lower, alone.upper)
    assert k.rules["sum of rings"] == (64, 96, 64 * 3 + 32 * 2)
    assert k.rules["Linux shares of 1024"] == (1024, 1024, 205 * 5)
    each = [qt.optimal_queue_length(
        qt.Engine([disk], mixed.device, hold="ring"), max_throughput_loss=0.01, drain_budget=0.02
    ).queue_length or 0 for disk in mixed.disks]  # fmt: skip
    assert k.rules["one engine a disk"] == (each[0], sum(each), 3 * each[0] + 2 * each[1])
    assert k.crossing == 5
    assert (k.exact, k.to_dict()["disk_counts"]) == (True, [1, 2, 5])
    k.plot().savefig(tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 10_000


def test_curve_finds_the_most_disks_for_a_drain_budget() -> None:
    k = qt.sizing_curve(saturated(1, 64), [1, 2, 4, 8, 16], max_throughput_loss=0.05, drain_budget=0.03)
    assert [p.feasible for p in k.points] == sorted((p.feasible for p in k.points), reverse=True)
    assert k.crossing is not None
    assert all(p.most_disks >= k.crossing for p in k.points[k.disk_counts.index(k.crossing) :])
    k.plot()
    equal = qt.sizing_curve(saturated(1, 64, shares="equal"), [1, 4, 16], max_throughput_loss=0.05, drain_budget=0.03)
    assert [p.queue_length for p in equal.points] == [1, 4, 16]


def test_sensitivity_solves_again() -> None:
    engine = shared(4, 0.5, 32, 32)
    z = qt.optimal_queue_length(engine, max_delay_probability=0.1)
    load, service, _, peaked = z.sensitivity(0.1)
    for change, factor in ((load, 0.9), (service, 0.9)):
        again = qt.optimal_queue_length(shared(4, 0.5 * factor, 32, 32), max_delay_probability=0.1)
        assert change.lower == again.queue_length
    assert load.lower is not None
    assert load.higher is not None
    assert z.queue_length is not None
    assert load.lower < z.queue_length < load.higher
    assert peaked.note == "by the square-root law, not solved"
    infeasible = qt.optimal_queue_length(saturated(4, 256), max_throughput_loss=0.05, drain_budget=0.01)
    with pytest.raises(ValueError, match="none is feasible"):
        infeasible.sensitivity()
    assert "saturated" in qt.optimal_queue_length(saturated(2, 8), max_throughput_loss=0.1).sensitivity()[0].note


def test_starved_disk_behind_one_line() -> None:
    """Saturated guests behind one line get slots as they keep requests; equal shares give each its device."""
    shallow = qt.Disk(qt.Closed(4), buffer=4, device=DEVICE)
    deep = qt.Disk(qt.Closed(256), buffer=256, device=DEVICE)
    line = qt.solve(qt.Engine([shallow, deep, deep, deep], queue_length=42, hold="ring"))
    share = qt.solve(qt.Engine([shallow, deep, deep, deep], queue_length=4, hold="ring", shares="equal"))
    assert line.disks[0].throughput < 0.02 * share.disks[0].throughput
    run = qt.simulate(qt.Engine([shallow, deep, deep, deep], queue_length=42, hold="ring"), 300_000, seed=1)
    assert run.disks[0].throughput.covers(line.disks[0].throughput, half_widths=2.0)


def test_committed_validation_is_of_this_rule() -> None:
    """The table in validation/results was written by the rule as it is: its first column of answers is recomputed."""
    with (Path(__file__).parents[1] / "validation" / "results" / "sizing_rule.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["case"].startswith("own")]
    assert rows
    for row in rows:
        numbers = {key: int(value) for key, value in (part.split("=") for part in row["case"].split()[1:4])}
        n, k, c = numbers["N"], numbers["K"], numbers["c"]
        budget = int(row["budget_ms"]) * 1_000_000 if row["budget_ms"] else None
        rule = integer_rule(
            ring_sizes=n * k, disks=n, devices=n, latency_ns=1_000_000, rate=1000 * n * c, budget_ns=budget
        )
        assert rule == int(row["rule"])


def test_a_shorter_queue_that_cannot_be_solved_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is taken to be too short; one longer than any that was solved is refused."""
    solve = optimum.solve
    least_solved = 0

    def partly(engine: qt.Engine) -> Any:
        if engine.queue_length is not None and engine.queue_length < least_solved:
            raise ValueError(f"no solution for {engine.queue_length}")
        return solve(engine)

    monkeypatch.setattr(optimum, "solve", partly)
    limits: dict[str, Any] = {"max_wait_quantile": (0.99, 0.02)}
    engine = shared(4, 0.9, 16, 8)
    whole = qt.optimal_queue_length(engine, **limits)
    assert whole.verified
    least_solved = whole.lower
    z = qt.optimal_queue_length(engine, **limits)
    assert z.lower == whole.lower
    assert not z.verified
    assert any(f"queue length of {z.lower - 1} could not be solved" in warning for warning in z.warnings)
    least_solved = 1000
    with pytest.raises(ValueError, match="no solution for"):
        qt.optimal_queue_length(engine, **limits)


def test_equal_shares_of_a_shared_device_end_where_they_are_solved() -> None:
    """At all requests that can be outstanding, but for other than exponential service at the servers."""
    disk = qt.Disk(qt.Poisson(600.0), buffer=64)
    for service, upper, binds in ((EXPONENTIAL, 256, "requests"), (qt.Erlang(2, mean=1e-3), 16, "not solved")):
        engine = qt.Engine([disk] * 4, qt.Device(servers=16, service=service), 4, "ring", "equal")
        z = qt.optimal_queue_length(engine, max_throughput_loss=0.01, drain_budget=0.02)
        assert (z.queue_length, z.upper, z.exact) == (4, upper, True)
        assert binds in z.binds_upper
    tight = qt.optimal_queue_length(engine, max_delay_probability=1e-4)
    assert tight.queue_length is None or tight.queue_length > 4


def test_simulation_has_the_last_word() -> None:
    """At the optimum the loss is what was asked for, and eight slots fewer lose more."""
    engine = saturated(8, 64)
    z = qt.optimal_queue_length(engine, max_throughput_loss=0.05)
    losses = []
    for q in (z.lower, z.lower - 8):
        run = qt.simulate(with_queue_length(engine, q), 400_000, seed=1)
        assert run.throughput.half_width < 0.004 * 8000.0
        losses.append(1.0 - run.throughput.value / 8000.0)
    assert losses[0] < 0.05 + 0.005
    assert losses[1] > 0.05


def test_a_rate_curve_that_falls_is_not_verified() -> None:
    device = qt.Device(curve=(1000.0, 1900.0, 1500.0, 1700.0, 900.0, 1500.0, 1600.0))
    engine = qt.Engine([qt.Disk(qt.Closed(16), buffer=16)], device, hold="ring")
    z = qt.optimal_queue_length(engine, max_throughput_loss=0.05)
    assert not z.verified
    assert any("does not only fall" in warning for warning in z.warnings)


def test_guests_that_wait_bound_the_queue_from_below() -> None:
    engine = qt.Engine([qt.Disk(qt.Poisson(2.0), 16, "wait")], qt.Device(4, qt.Exponential(mean=1.0)), hold="ring")
    z = qt.optimal_queue_length(engine, max_throughput_loss=0.05)
    assert (z.queue_length, z.binds_lower, z.verified) == (3, "guests that would wait without end", True)


@pytest.mark.parametrize(("value", "error"), [(math.nan, ValueError), ("x", TypeError)])
def test_what_is_maximized_must_be_a_number(value: object, error: type[Exception]) -> None:
    engine = qt.Engine([qt.Disk(qt.Poisson(2.0), 16)], qt.Device(4, qt.Exponential(mean=1.0)), hold="ring")
    with pytest.raises(error, match=r"maximize\(state\) must be a number"):
        qt.optimal_queue_length(engine, maximize=lambda state: value)  # type: ignore[arg-type, return-value]
