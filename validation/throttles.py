"""What each way of reducing I/O before a stop gives, and costs: python -m validation.throttles

Each policy is tuned, by bisection of its one setting on short runs, to let 1 % of the drains overrun the engine's
budget, and then measured at 10^5 simulated stops. All are looked at in the same window before the stop, so that what
they cost can be compared: throughput lost in the window, in part and in requests, and the mean and 99.9 % response
times of the requests that come in it, as if the guest went on at the stop. Overruns are those by more than the 0.1 %
to which the simulator keeps a drain. Writes results/throttles.csv; about a quarter of an hour.

Are smarter policies necessary? On one slow server (99 % drain 133 ms, 50 ms allowed) and on eight with a backlog (22.6
and 10 ms) they are not: one request at a time from 0.10 s or 13 ms before the stop, a constant depth limit, a ramp and
finishing in time all keep the budget and lose less than 0.1 % of the throughput in the window, nor is the 99.9 %
response longer. What costs is to stop accepting on one server (12 %), and a latency target on eight (14 %). Where short
reads share eight servers with long writes (41.7 and 20 ms) they are: one at a time loses 56 % in the window and does
not keep the budget, to stop accepting loses 23 %, a limit that falls but cannot tell the disks apart 19 %, with a mean
response of 7.9 ms instead of 4.7; one that knows the law of each disk loses 2.5 % (5.0 ms). Where service times are
known no drain overruns, and nothing is lost on any. QEMU's rate limit makes the drain of the slow server 375 ms. Of the
third engine the committed rows are those of the policies named here, and of the rate limit.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import qtheory as qt
from qtheory.simulate.controllers import LatencyTarget

STOPS = 100_000
TUNING = 4_000
HALVINGS = 6
OVERRUN = 0.01
RESULTS = Path(__file__).parent / "results" / "throttles.csv"


class Case(NamedTuple):
    """An engine, what its drains may take, the window that is looked at, the time to forget it [s]."""

    engine: qt.Engine
    budget: float
    window: float
    settle: float


class Policy(NamedTuple):
    """Throttle of a setting; the settings between which it is tuned, from the strictest to none; its lead."""

    of: Callable[[float], Any]
    strict: float
    loose: float
    lead: float | None = None


CASES = {
    "slow": Case(
        qt.Engine([qt.Disk(qt.Poisson(25.0), buffer=32)] * 4, qt.Device(1, qt.Lognormal(mean=8e-3, scv=0.5))),
        0.050, 0.6, 1.5,
    ),
    "parallel": Case(
        qt.Engine([qt.Disk(qt.Closed(32), buffer=32)] * 4, qt.Device(8, qt.Exponential(mean=1e-3))),
        0.010, 0.030, 0.015,
    ),
    "reads and writes": Case(
        qt.Engine(
            [qt.Disk(qt.Poisson(1600.0), buffer=64, service=qt.Gamma(mean=1e-3, scv=0.5)),
             qt.Disk(qt.Poisson(480.0), buffer=64, service=qt.Gamma(mean=10e-3, scv=0.5))],
            qt.Device(8, qt.Exponential(mean=1e-3)),
        ),
        0.020, 0.100, 0.100,
    ),
}  # fmt: skip


def main() -> None:
    """Tune and measure every policy on every engine."""
    rows = []
    for name, case in CASES.items():
        for policy, chosen in policies(case).items():
            throttle, setting = tuned(case, chosen)
            run = stops(case, throttle, chosen.lead, STOPS)
            assert run.throughput_loss is not None
            before = run.throughput.value / (1.0 - run.throughput_loss.value)
            row = {
                "engine": name,
                "policy": policy,
                "setting": setting,
                "drain 99 % [ms]": f"{1e3 * run.quantile(0.99).value:.2f}",
                "half-width": f"{1e3 * run.quantile(0.99).half_width:.2f}",
                "budget [ms]": f"{1e3 * case.budget:g}",
                "over budget": f"{1.0 - float(run.cdf(1.001 * case.budget)):.4f}",
                "over 10 ms": f"{1.0 - float(run.cdf(0.01001)):.4f}",
                "over 50 ms": f"{1.0 - float(run.cdf(0.05005)):.4f}",
                "throughput lost": f"{run.throughput_loss.value:.4f}",
                "± lost": f"{run.throughput_loss.half_width:.4f}",
                "requests lost": f"{run.throughput_loss.value * before * case.window:.2f}",
                "mean response [ms]": f"{1e3 * run.mean_response.value:.2f}",
                "response 99.9 % [ms]": f"{1e3 * run.response_quantile(0.999).value:.1f}",
            }
            rows.append(row)
            print(*row.values(), sep="  ", flush=True)
        with RESULTS.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def policies(case: Case) -> dict[str, Policy]:
    """The policies for a case, each with one setting."""
    engine, budget, window = case.engine, case.budget, case.window
    most = engine.most
    capacity = qt.simulate(engine, 50_000).throughput.value
    deep = max(int(capacity * budget), 1)

    def held(limit: int, lead: float) -> qt.DepthSchedule:
        return qt.DepthSchedule([(-window, None), (-lead, limit)])

    def ramp(lead: float) -> qt.DepthSchedule:
        last = max(deep // 2, 1)
        top = min(4 * deep, most)
        falling = [(-lead * (1.0 - k / 16), round(last + (top - last) * (1.0 - k / 16))) for k in range(17)]
        return qt.DepthSchedule([(-window, None), *falling])

    def blind(chance: float) -> qt.DepthSchedule:
        steps = qt.finish_in_time(engine, budget, 1.0 - chance).steps
        return qt.DepthSchedule([(-window, None), *(step for step in steps if step[0] > -window)])

    def target(latency: float) -> LatencyTarget:
        return LatencyTarget(latency, most=min(4 * deep, most), spacing=window / 32.0)

    return {
        "none": Policy(lambda _: qt.DepthSchedule([(-window, None)]), 0.0, 0.0),
        "rate limit, half the throughput": Policy(
            lambda _: qt.RateLimit(0.5 * capacity / len(engine.disks)), 0.0, 0.0, window
        ),
        "stop accepting": Policy(partial(held, 0), 0.98 * window, 1e-4),
        "one at a time": Policy(partial(held, 1), 0.98 * window, 1e-4),
        "depth limit, all the window": Policy(lambda q: held(int(q), 0.98 * window), 1.0, float(4 * deep)),
        "step, half the depth": Policy(partial(held, max(deep // 2, 1)), 0.98 * window, 1e-4),
        "ramp, linear": Policy(ramp, 0.98 * window, 1e-4),
        "latency target": Policy(target, 0.02 * budget, 2.0 * budget, window),
        "finish in time, class-blind": Policy(blind, 1e-5, 0.3),
        "finish in time, by disk": Policy(lambda x: qt.FinishInTime(budget, 1.0 - x), 1e-5, 0.5, window),
        "finish in time, by request": Policy(lambda _: qt.FinishInTime(budget, knows="request"), 0.0, 0.0, window),
    }


def tuned(case: Case, policy: Policy) -> tuple[Any, str]:
    """The policy at the loosest setting that keeps the overrun, or at its strictest; and the setting."""
    if policy.strict == policy.loose:
        return policy.of(policy.strict), ""

    def late(setting: float) -> float:
        run = stops(case, policy.of(setting), policy.lead, TUNING)
        return 1.0 - float(run.cdf(1.001 * case.budget))

    strict, loose = policy.strict, policy.loose
    for _ in range(HALVINGS):
        middle = math.sqrt(strict * loose)
        strict, loose = (middle, loose) if late(middle) <= OVERRUN else (strict, middle)
    return policy.of(strict), f"{strict:.3g}"


def stops(case: Case, throttle: Any, lead: float | None, number: int) -> Any:
    """Stops of the case's engine."""
    return qt.simulate_stops(case.engine, throttle, number, lead=lead, settle=case.settle)


if __name__ == "__main__":
    main()
