"""Solvers beside simulation to the same accuracy: the requests that a simulation needs, and what they cost.

A simulation of n requests has a half-width h, which falls as 1/√n; n (h/ε)² requests have the half-width ε. For ε
stands the error bound that the solver states, and ONE_IN_A_THOUSAND where that is less: nobody would simulate to twelve
digits. The error is against the simulation, and allowed is the stated bound and twice the half-width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import qtheory as qt
from benchmarks.measure import SOON, Contender, Row, here, measured

REQUESTS = 1_000_000
ONE_IN_A_THOUSAND = 1e-3
SEEN = 0.5
"""Half-width, a part of the value, up to which a simulation is said to have seen it."""
MEAN = 1e-3

Engine = Callable[[float], qt.Engine]
"""Part by which a rate is greater -> engine."""


def shared(disks: int, buffer: int, servers: int, law: qt.laws.Law, load: float) -> Engine:
    """Disks that share a device."""

    def engine(more: float) -> qt.Engine:
        rate = load * (1.0 + more) * servers / law.mean / disks
        return qt.Engine([qt.Disk(qt.Poisson(rate), buffer=buffer)] * disks, qt.Device(servers, law))

    return engine


def behind_line(disks: int, buffer: int, limit: int) -> Engine:
    """A device each behind one line of saturated guests."""

    def engine(more: float) -> qt.Engine:
        device = qt.Device(1, qt.Exponential(mean=MEAN * (1.0 + more)))
        return qt.Engine(
            [qt.Disk(qt.Closed(buffer), buffer=buffer, device=device)] * disks, queue_length=limit, hold="ring"
        )

    return engine


H2 = qt.Hyperexponential.balanced(mean=MEAN, scv=4.0)
CASES = {
    "8 disks share 8 exponential servers, load 0.9": shared(8, 32, 8, qt.Exponential(mean=MEAN), 0.9),
    "8 disks share 8 servers, H2, load 0.9": shared(8, 32, 8, H2, 0.9),
    "64 disks share 16 servers, H2, load 1.2": shared(64, 64, 16, H2, 1.2),
    "8 disks share 8 servers, lognormal, load 0.9": shared(8, 32, 8, qt.Lognormal(mean=MEAN, scv=2.0), 0.9),
    "16 saturated devices behind a line of 32": behind_line(16, 32, 32),
}


def rows(requests: int = REQUESTS) -> Iterator[Row]:
    for case, engine in CASES.items():
        yield from compare(case, engine, requests)


def compare(case: str, engine: Engine, requests: int) -> list[Row]:
    """What a simulation costs in solutions, by the quantity that is asked."""
    solved, drained, run = qt.solve(engine(0.0)), qt.drain_time(engine(0.0)), qt.simulate(engine(0.0), requests)
    once, drain, each = measured(
        [
            Contender("solve", here(lambda k: qt.solve(engine(SOON * k)).throughput)),
            Contender("drain_time", here(lambda k: qt.drain_time(engine(SOON * (k + 0.5))).quantile(0.99))),
            Contender(
                "simulate", here(lambda k: qt.simulate(engine(0.0), requests, seed=1 + k).throughput.value), requests
            ),
        ],
        rounds=2,
    )
    asked: list[tuple[str, Any, float, Any, float]] = [
        ("throughput", solved, solved.throughput, run.throughput, once.cost),
        ("mean response", solved, solved.mean_response, run.mean_response, once.cost),
        ("blocking", solved, solved.blocking, run.blocking, once.cost),
        ("mean drain", drained, drained.mean, run.drain.mean, drain.cost),
        ("drain, 99 %", drained, drained.quantile(0.99), run.drain.quantile(0.99), drain.cost),
    ]
    found = []
    for name, answer, value, estimate, cost in asked:
        if not 0.0 < estimate.half_width < SEEN * estimate.value:
            continue
        bound, half = answer.error_bound, estimate.half_width / estimate.value
        accuracy = max(ONE_IN_A_THOUSAND, bound) if bound < 1.0 else ONE_IN_A_THOUSAND
        needed = requests * (half / accuracy) ** 2
        stated = "no bound stated" if bound >= 1.0 else "exact" if answer.exact else f"bound {bound:.2g}"
        found.append(
            Row(
                "solver beside simulation to the same accuracy",
                case,
                f"simulation, {name}",
                to_qtheory=needed * each.cost / cost,
                error=abs(value / estimate.value - 1.0),
                allowed=2.0 * half + (bound if bound < 1.0 else 0.0),
                note=f"{answer.method}, {stated}; {needed:.2g} requests for ±{accuracy:.2g}",
            )
        )
    return found
