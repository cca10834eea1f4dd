"""How fast and how right M/H2/c is solved, beside two other packages in one run: `python -m benchmarks.solvers`.

The mean wait, with balanced-means hyperexponential service of scv 4: by LINE's `qsys_mapphc` (line-solver) and
most-queue's `MapPhCCalc`, exact methods both. Each solve has another arrival rate than the last, and a law of its own.
The best of several repeats counts; absolute times are those of one machine on one day and are not shown. Beside the
speed stands in how many digits the answers at loads 0.8 to 0.95 agree with qtheory's, which tests/test_mapphc.py holds
against 40 digits; LINE's reduction overflows at some loads, and it is timed at the others.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import math
import time
import warnings
from collections.abc import Callable, Iterable

import numpy as np

import qtheory as qt

SERVERS = (4, 8, 16)
LOAD, SCV = 0.8, 4.0
SECONDS = 0.6
REPEATS = 5
CHECKED = 16
MeanWait = Callable[[float, int], float]
"""Arrival rate and servers -> mean wait."""


def law() -> qt.Hyperexponential:
    return qt.Hyperexponential.balanced(mean=1.0, scv=SCV)


def with_qtheory(rate: float, servers: int) -> float:
    return qt.stations.mphc(arrival_rate=rate, service=law(), servers=servers).mean_wait


def with_line(rate: float, servers: int) -> float:
    from line_solver.api.qsys.mapphc import qsys_mapphc

    phases = law().phase_type()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # it overflows before it fails
        found = qsys_mapphc(np.array([[-rate]]), np.array([[rate]]), phases.alpha, phases.T, servers)
    return float(found.meanWaitingTime)


def with_most_queue(rate: float, servers: int) -> float:
    from most_queue.random.map_ph import MAPParams, PHParams
    from most_queue.theory.matrix.map_phc import MapPhCCalc

    phases = law().phase_type()
    queue = MapPhCCalc(n=servers)
    queue.set_sources(MAPParams(D0=np.array([[-rate]]), D1=np.array([[rate]])))
    queue.set_servers(PHParams(alpha=phases.alpha, T=phases.T))
    return float(queue.run().w[0])


def answers(solve: MeanWait, servers: int) -> dict[float, float]:
    """Mean waits at CHECKED arrival rates from load LOAD on, without those where there is none."""
    found = {}
    for k in range(CHECKED):
        rate = (LOAD + 0.01 * k) * servers
        with contextlib.suppress(ValueError):
            found[rate] = solve(rate, servers)
    return found


def speed(solve: MeanWait, servers: int, rates: Iterable[float]) -> float:
    """Solves per second, at one of these rates after the other; the best of REPEATS runs of SECONDS in all."""
    again, best = itertools.cycle(rates), 0.0
    for _ in range(REPEATS):
        done, began = 0, time.perf_counter()
        while (spent := time.perf_counter() - began) < SECONDS / REPEATS or done == 0:
            solve(next(again), servers)
            done += 1
        best = max(best, done / spent)
    return best


def agreed(theirs: dict[float, float], ours: dict[float, float]) -> str:
    """In how many digits the answers agree at least, and how often there is none."""
    apart = max((abs(x / ours[rate] - 1.0) for rate, x in theirs.items()), default=math.nan)
    missing = CHECKED - len(theirs)
    return f"{-math.log10(max(apart, 1e-17)):.0f}" + (f", {missing} of {CHECKED} fail" if missing else "")


def main() -> None:
    """Print, for each number of servers, how often qtheory solves while another package solves once."""
    others: dict[str, MeanWait] = {}
    for name, module, solve in (("LINE", "line_solver", with_line), ("most-queue", "most_queue", with_most_queue)):
        if importlib.util.find_spec(module) is None:
            print(f"{name} is not installed: skipped")
        else:
            others[name] = solve
    print(f"{'M/H2/c, loads 0.8 to 0.95':<28}" + "".join(f"{name:>38}" for name in others))
    print(f"{'servers':<28}" + f"{'faster by':>15}{'digits agreed':>23}" * len(others))
    for servers in SERVERS:
        ours = answers(with_qtheory, servers)
        mine = speed(with_qtheory, servers, ours)
        line = f"{servers:<28}"
        for solve in others.values():
            theirs = answers(solve, servers)
            ratio = f"{mine / speed(solve, servers, theirs):.1f}×" if theirs else ""
            line += f"{ratio:>15}{agreed(theirs, ours):>23}"
        print(line)


if __name__ == "__main__":
    main()
