"""Exact stations beside others: M/H2/c of scv 4, and M/M/c/K, by the mean wait; errors are against 40 digits.

The limits: for M/H2/c, a solution with the dense matrix of each level below c, by numpy, which no method that goes
level by level is spared; for M/M/c/K, the probabilities by a cumulated sum of logarithms and their weighted sum, by
numpy too. Each solution has another arrival rate than the last, and a law of its own;
only LINE's `qsys_mapphc` is given the same again, for its reduction overflows at most others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import mpmath as mp
import numpy as np

import qtheory as qt
from benchmarks.forty_digits import DIGITS, mean_line
from benchmarks.measure import SOON, Contender, Row, here, race
from benchmarks.peers import LINE, MOST_QUEUE

SCV = 4.0
SERVERS, LOADS = (4, 8, 16), (0.8, 0.93)
ROOMS = ((5, 12, 0.8), (64, 1064, 0.95), (200, 400, 0.95))


def law() -> qt.Hyperexponential:
    return qt.Hyperexponential.balanced(mean=1.0, scv=SCV)


def by_levels(servers: int) -> Callable[[int], float]:
    """Dense solutions of the sizes that levels 1 to c have."""
    draw = np.random.default_rng(1)
    levels = [draw.random((n + 1, n + 1)) + n * np.eye(n + 1) for n in range(1, servers + 1)]

    def run(k: int) -> float:
        for level in levels:
            np.linalg.solve(level, level)
        return np.nan

    return run


def by_logarithms(rate: float, servers: int, capacity: int) -> Callable[[int], float]:
    """The mean wait of M/M/c/K by numpy."""
    served = np.log(np.minimum(np.arange(1.0, capacity + 1), servers))
    line = np.maximum(np.arange(capacity + 1.0) - servers, 0.0)

    def run(k: int) -> float:
        lam = rate * (1.0 + SOON * k)
        logs = np.zeros(capacity + 1)
        np.cumsum(np.log(lam) - served, out=logs[1:])
        pmf = np.exp(logs - logs.max())
        return float(line @ pmf / (lam * pmf[:-1].sum()))

    return run


def mphc(servers: int, load: float) -> list[Row]:
    rate, phases = load * servers, law().phase_type()
    with mp.workdps(DIGITS):
        exact = float(mean_line(qt.MAP([[-rate]], [[rate]]), phases, servers) / mp.mpf(rate))

    def ours(k: int) -> float:
        return qt.stations.mphc(arrival_rate=rate * (1.0 + SOON * k), service=law(), servers=servers).mean_wait

    stated = qt.stations.mphc(arrival_rate=rate, service=law(), servers=servers).error_bound
    arguments = {
        "rate": rate,
        "soon": SOON,
        "probabilities": phases.alpha.tolist(),
        "means": (-1.0 / np.diag(phases.T)).tolist(),
        "servers": servers,
    }
    contenders = [
        Contender("numpy, each level once", here(by_levels(servers))),
        Contender("qtheory", here(ours), allowed=stated),
        Contender(MOST_QUEUE.name, MOST_QUEUE.task("mphc", **arguments), note="MapPhCCalc"),
        Contender(LINE.name, LINE.task("mphc", **arguments | {"soon": 0.0}), note="qsys_mapphc, at one rate only"),
        Contender(f"{LINE.name} MAM", LINE.task("mam", **arguments), note="of a model"),
    ]
    return race("M/PH/c, mean wait", f"M/H2/{servers}, load {load}", contenders, exact=exact, limit=contenders[0].name)


def mmck(servers: int, capacity: int, load: float) -> list[Row]:
    station = {"service_rate": 1.0, "servers": servers, "capacity": capacity}
    rate = load * servers
    exact = float(qt.stations.mmck(arrival_rate=rate, **station, precision=DIGITS).mean_wait)

    def ours(k: int) -> float:
        return qt.stations.mmck(arrival_rate=rate * (1.0 + SOON * k), **station).mean_wait

    arguments = {"rate": rate, "soon": SOON, "servers": servers, "capacity": capacity}
    contenders = [
        Contender("numpy, pmf alone", here(by_logarithms(rate, servers, capacity))),
        Contender("qtheory", here(ours), allowed=qt.stations.mmck(arrival_rate=rate, **station).error_bound),
        Contender(MOST_QUEUE.name, MOST_QUEUE.task("mmck", **arguments), note="MMnrCalc"),
        Contender(LINE.name, LINE.task("mmck", **arguments), note="qsys_mmck"),
    ]
    case = f"M/M/{servers}/{capacity}, load {load}"
    return race("M/M/c/K, mean wait", case, contenders, exact=exact, limit=contenders[0].name)


def rows() -> Iterator[Row]:
    for servers in SERVERS:
        for load in LOADS:
            yield from mphc(servers, load)
    for case in ROOMS:
        yield from mmck(*case)
