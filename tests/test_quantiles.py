"""Laws of wait and response against one tagged request, followed in the generator of the ordered state.

Twin: the stationary law of the ordered content (`generator.brute_force`), what an accepted request finds there, and
then the same chain with that request marked until it starts or leaves, by matrix exponential. The library's quantile t
for p must leave P(T > t) = 1 − p there. Both are good to some 1e-12 (lstsq, expm_multiply): 1e-9 of
1 − p >= 0.01 is asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import mpmath as mp
import numpy as np
import pytest
from generator import State, brute_force, service_rates
from scipy.optimize import brentq
from scipy.sparse import csr_array
from scipy.sparse.linalg import expm_multiply
from test_solve import CURVE, ENGINES, EXP, SHARED, closed, disk

import qtheory as qt

LEVELS = (0.05, 0.3, 0.5, 0.9, 0.99)


@dataclass(frozen=True)
class Tagged:
    """P(T > t) = start · exp(inner t) · 1 over the states where the tagged request still waits, or still is there."""

    start: np.ndarray
    inner: np.ndarray

    def sf(self, t: float) -> float:
        if len(self.start) == 0:
            return 0.0
        return float(expm_multiply(csr_array(self.inner.T * t), self.start).sum())


def follow(engine: qt.Engine) -> tuple[Tagged, Tagged]:
    """Law of the wait and of the response of an accepted request, over all disks.

    The tagged request of disk i is written i + N in the ordered state.
    """
    n_disks = len(engine.disks)
    q = engine.queue_length or 10**6
    caps = engine.caps or (10**6,) * n_disks

    def whose(state: State) -> list[int]:
        return [d % n_disks for part in state for d in part]

    def rates_in(state: State) -> list[float]:
        return service_rates(engine, tuple(d % n_disks for d in state[0]))

    def fill(submitted: tuple[int, ...], line: tuple[int, ...]) -> State:
        """The oldest in the line whose disk is below its cap goes first."""
        for j, d in enumerate(line):
            used = sum(1 for other in submitted if other % n_disks == d % n_disks)
            if len(submitted) < q and used < caps[d % n_disks]:
                return fill((*submitted, d), line[:j] + line[j + 1 :])
        return submitted, line

    def arrive(state: State, d: int) -> State | None:
        present = whose(state)
        if present.count(d % n_disks) >= engine.disks[d % n_disks].most:
            return None
        if engine.hold == "refuse" and len(present) >= q:
            return None
        return fill(state[0], (*state[1], d))

    def arrival_rate(state: State, i: int) -> float:
        arrivals = engine.disks[i].arrivals
        if isinstance(arrivals, qt.Poisson):
            return arrivals.rate
        if engine.disks[i].saturated:
            return 0.0
        return (arrivals.outstanding - whose(state).count(i)) / arrivals.think_time

    def moves(state: State) -> list[tuple[State, float, int | None]]:
        """Next states, at which rates, and the disk whose completion it is."""
        found: list[tuple[State, float, int | None]] = []
        for i in range(n_disks):
            after = arrive(state, i)
            if after is not None and arrival_rate(state, i) > 0.0:
                found.append((after, arrival_rate(state, i), None))
        for j, rate in enumerate(rates_in(state)):
            if rate > 0.0:
                found.append((fill(state[0][:j] + state[0][j + 1 :], state[1]), rate, state[0][j]))
        return found

    b = brute_force(engine)
    entering: dict[State, float] = {}
    for state, p in zip(b.states, b.probabilities, strict=True):
        for i in range(n_disks):
            after = arrive(state, i + n_disks)
            if after is not None:
                entering[after] = entering.get(after, 0.0) + p * arrival_rate(state, i)
        for left, rate, i in moves(state):
            # A saturated guest's request comes again at once.
            if i is not None and engine.disks[i].saturated:
                after = arrive(left, i + n_disks)
                assert after is not None
                entering[after] = entering.get(after, 0.0) + p * rate

    index: dict[State, int] = {}
    flows: list[tuple[State, State | None, float]] = []
    todo = list(entering)
    while todo:
        state = todo.pop()
        if state in index:
            continue
        index[state] = len(index)
        for after, rate, i in moves(state):
            if i is not None and i >= n_disks:
                flows.append((state, None, rate))
                continue
            if i is not None and engine.disks[i].saturated:
                after = arrive(after, i) or after
            flows.append((state, after, rate))
            todo.append(after)
    inner = np.zeros((len(index), len(index)))
    for state, after, rate in flows:
        inner[index[state], index[state]] -= rate
        if after is not None:
            inner[index[state], index[after]] += rate
    start = np.array([entering.get(state, 0.0) for state in index])
    start /= start.sum()

    def waits(state: State) -> bool:
        if any(d >= n_disks for d in state[1]):
            return True
        j = next(j for j, d in enumerate(state[0]) if d >= n_disks)
        return rates_in(state)[j] == 0.0

    line = np.array([k for state, k in index.items() if waits(state)], dtype=int)
    return Tagged(start[line], inner[np.ix_(line, line)]), Tagged(start, inner)


def check(quantile: Callable[[float], float], tagged: Tagged, levels: tuple[float, ...] = LEVELS) -> None:
    for p in levels:
        t = quantile(p)
        if t == 0.0:
            assert tagged.sf(0.0) <= (1.0 - p) * (1.0 + 1e-9)
        else:
            assert tagged.sf(t) == pytest.approx(1.0 - p, rel=1e-9), f"p = {p}, t = {t}"


SEVERAL_AT_A_CURVE = {"rate curve", "rate curve behind Q"}
"""Response taken to depend on the total present only: an approximation, and the answer says so."""

LEFT_OUT = {"saturated line, equal", "saturated line, different", "separate, refused at Q"}
"""No quantiles there; the last only because its ordered states are too many."""

EXACT = {
    # which do not know caps at which requests are refused: the same engines without
    **{n: e.with_buffers_for_caps for n, e in ENGINES.items() if n not in LEFT_OUT | SEVERAL_AT_A_CURVE},
    "three disks, c = 3": qt.Engine([disk(0.9, 1), disk(1.5, 1), disk(0.2, 2)], qt.Device(servers=3, service=EXP)),
    "Q above c, refused": qt.Engine([disk(1.5, 2), disk(1.2, 3)], SHARED, queue_length=4, hold="refuse"),
    "Q below c, refused": qt.Engine([disk(1.5, 2), closed(3, 0.4)], SHARED, queue_length=1, hold="refuse"),
    "Q below c, engine": qt.Engine([disk(1.5, 2), disk(1.2, 3)], qt.Device(servers=4, service=EXP), queue_length=2),
    "one disk at a curve": qt.Engine([disk(1.3, 6)], CURVE),
    "one disk at a curve behind Q": qt.Engine([disk(1.3, 7)], CURVE, queue_length=3),
    "one disk at a curve behind Q = 1": qt.Engine([disk(1.3, 7)], CURVE, queue_length=1, hold="ring"),
    "one disk at a curve, refused": qt.Engine([disk(1.3, 7)], CURVE, queue_length=3, hold="refuse"),
    "closed at a curve behind Q": qt.Engine([closed(6, 1.5)], CURVE, queue_length=2),
    "saturated at a curve behind Q": qt.Engine([closed(4, 0.0), closed(2, 0.0)], CURVE, queue_length=3),
    "separate mixture": qt.Engine(
        [
            disk(0.5, 3, device=SHARED),
            disk(1.1, 1, device=CURVE),
            disk(0.7, 1, device=qt.Device(1, qt.Exponential(0.4))),
        ]
    ),
    "separate, refused at Q, curve": qt.Engine(
        [disk(0.5, 2, device=SHARED), disk(2.5, 3, device=CURVE)], queue_length=3, hold="refuse"
    ),
    "separate, refused at Q, servers": qt.Engine(
        [disk(1.5, 3, device=SHARED), disk(2.5, 3, device=qt.Device(1, qt.Exponential(0.4)))],
        queue_length=4,
        hold="refuse",
    ),
}

LATER_ARRIVALS = "separate, refused at Q, curve"
"""A rate curve whose later arrivals the other disks hold off at Q."""


@pytest.mark.parametrize("name", EXACT)
def test_wait(name: str) -> None:
    s = qt.solve(EXACT[name])
    assert s.exact
    check(s.wait_quantile, follow(EXACT[name])[0])


@pytest.mark.parametrize("name", [name for name in EXACT if name != LATER_ARRIVALS])
def test_response(name: str) -> None:
    s = qt.solve(EXACT[name])
    assert s.warnings == ()
    check(s.response_quantile, follow(EXACT[name])[1])


@pytest.mark.parametrize("name", [*sorted(SEVERAL_AT_A_CURVE), LATER_ARRIVALS])
def test_several_disks_at_a_curve(name: str) -> None:
    """The wait for a slot is exact. The response is said to be approximate: small buffers, so within 5 % here."""
    engine = {**ENGINES, **EXACT}[name]
    s = qt.solve(engine)
    wait, response = follow(engine)
    check(s.wait_quantile, wait)
    assert s.warnings
    for p in LEVELS:
        exact = brentq(lambda t, p=p: response.sf(t) - (1.0 - p), 1e-6, 100.0)
        assert s.response_quantile(p) == pytest.approx(exact, rel=0.05)


def test_disks_alike_in_steady_state_only() -> None:
    """Poisson at a flat curve and closed at a falling one: same pmf and throughput, not the same response."""
    members = [
        disk(1.5, 2, device=qt.Device(curve=(1.5, 1.5))),
        closed(2, 1.0, device=qt.Device(curve=(2.0, 1.0))),
    ]
    engine = qt.Engine(members)
    check(qt.solve(engine).response_quantile, follow(engine)[1])


def test_saturated_guest_and_others_at_a_curve_are_refused() -> None:
    s = qt.solve(qt.Engine([disk(0.5, 3), closed(1, 0.0)], CURVE))
    with pytest.raises(ValueError, match="response_quantile is not available from method 'product_form'"):
        s.response_quantile(0.9)


# Closed forms.


@pytest.mark.parametrize(("servers", "rho"), [(1, 0.5), (4, 0.7), (16, 0.9)])
def test_wait_of_mmc(servers: int, rho: float) -> None:
    """P(W > t) = C e^{−cμ(1−ρ)t}; what the buffer cuts off is ρ^1200 < 1e-54, so rounding is all."""
    mean = 0.003
    s = qt.solve(qt.Engine([disk(servers * rho / mean, 1200 + servers)], qt.Device(servers, qt.Exponential(mean))))
    a = mp.mpf(servers * rho)
    erlang_b = a**servers / mp.factorial(servers) / mp.fsum(a**k / mp.factorial(k) for k in range(servers + 1))
    erlang_c = float(erlang_b / (1 - rho * (1 - erlang_b)))
    for p in (0.1, 0.5, 0.9, 0.999, 1.0 - 1e-6, 1.0 - 1e-9):
        exact = max(math.log(erlang_c / (1.0 - p)) * mean / (servers * (1.0 - rho)), 0.0)
        assert s.wait_quantile(p) == pytest.approx(exact, rel=1e-9)


def test_response_of_mm1_is_exponential() -> None:
    """Mean 1/(μ − λ); by servers, and by a rate curve of one point, which only follows the request another way."""
    for device, buffer, rel in ((qt.Device(1, EXP), 800, 1e-10), (qt.Device(curve=(1.0,)), 60, 1e-7)):
        s = qt.solve(qt.Engine([disk(0.5, buffer)], device, queue_length=1))
        for p in (0.01, 0.5, 0.99, 0.99999):
            assert s.response_quantile(p) == pytest.approx(-math.log1p(-p) / 0.5, rel=rel)


def test_response_without_a_wait_is_the_service_time() -> None:
    s = qt.solve(qt.Engine([disk(0.5, 3), disk(1.0, 4)], qt.Device(7, qt.Exponential(0.2))))
    for p in LEVELS:
        assert s.wait_quantile(p) == 0.0
        assert s.response_quantile(p) == pytest.approx(-0.2 * math.log1p(-p), rel=1e-12)


def test_a_curve_in_proportion_is_as_many_servers() -> None:
    """μ(n) = n for n <= 5 then 5, Q = 5: sharing and five servers are the same process, followed in two ways."""
    by_servers = qt.solve(qt.Engine([disk(4.0, 40)], qt.Device(5, EXP)))
    by_curve = qt.solve(qt.Engine([disk(4.0, 40)], qt.Device(curve=(1.0, 2.0, 3.0, 4.0, 5.0)), queue_length=5))
    for p in LEVELS:
        assert by_curve.response_quantile(p) == pytest.approx(by_servers.response_quantile(p), rel=1e-9)
        assert by_curve.wait_quantile(p) == pytest.approx(by_servers.wait_quantile(p), rel=1e-10, abs=1e-15)


@pytest.mark.parametrize("name", ["different disks", "open and closed", "separate", "separate, one saturated"])
def test_mean_is_the_integral_of_the_law(name: str) -> None:
    """E T = ∫ quantile(p) dp: Gauss-Legendre on p = 1 − e^{−u}, u <= 35; quantiles grow like u, so 1e-4 is ample."""
    s = qt.solve(ENGINES[name])
    nodes, weight = np.polynomial.legendre.leggauss(60)
    u = 17.5 * (nodes + 1.0)
    mean = sum(w * 17.5 * math.exp(-x) * s.response_quantile(-math.expm1(-x)) for x, w in zip(u, weight, strict=True))
    assert mean == pytest.approx(s.mean_response, rel=1e-4)
