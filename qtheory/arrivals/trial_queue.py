"""Trial queues: what arrivals wait behind a few exponential servers, first come first served.

Recorded arrivals are replayed, with drawn service times. For a MAP the same is exact: the number present and the phase
are a chain over levels, alike from c on (MAP/M/c). With π_n the stationary law of level n, π_{n+1} = π_n R_{n+1} by
elimination from above, and R_{n+1} = R from level c on (`markov/rate_matrix.py`). An arrival that finds c + k present
waits for k + 1 completions at rate cμ, so

    P(W > t) = π_c e^{−cμt (I − R)} (I − R)⁻¹ D1 1 / λ,        E W = π_c (I − R)⁻² D1 1 / (λ cμ)

(Neuts 1981, §3.9). R knows of c only by cμ: at the same utilization it is the same for any number of servers. A
quantile is found along the bits of t, with e^{−x(I − R)} = e^{−x} e^{xR} for x = 2^k, which has no negative term, so
nothing cancels. `qt.stations.mapphc` is the same for any phase-type service, and takes its time for more digits.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qtheory.arrivals.map import MAP

Floats = NDArray[np.float64]

LEVEL = 0.99
SHORTEST = 2.0**-10
"""Last step to a quantile, in services of all servers together; the rest is taken as exponential."""


class Case(NamedTuple):
    """A trial queue: how many servers, and how busy."""

    servers: int
    utilization: float


def replayed(arrival: Floats, rng: np.random.Generator, cases: tuple[Case, ...]) -> Floats:
    """Mean and 99 % quantile of the waits of these arrivals, a row for each case; rate 1, empty at first.

    >>> replayed(np.arange(1.0, 2001.0), np.random.default_rng(1), (Case(1, 0.5),)).round(1)
    array([[0.1, 2.3]])
    """
    from qtheory.arrivals.first_come import waits  # numba loads here

    drawn, last, found = rng.exponential(size=len(arrival)), len(arrival) * 99 // 100, []
    for servers, utilization in cases:
        wait = waits(arrival, drawn * (servers * utilization), servers)
        found.append((wait.mean(), np.partition(wait, last)[last]))
    return np.array(found)


def exact(process: MAP, cases: tuple[Case, ...]) -> Floats:
    """Mean and 99 % quantile of the wait of a process's arrivals, in mean times between them, a row for each case.

    >>> exact(MAP([[-3.0]], [[3.0]]), (Case(1, 0.5),)).round(10)  # M/M/1: P(W > t) = e^{−t} / 2, log 50 = 3.912
    array([[0.5       , 3.91202301]])
    """
    D0, D1 = process.D0 / process.rate, process.D1 / process.rate
    lines = {busy: Line(D0, D1, 1.0 / busy) for busy in {case.utilization for case in cases}}
    return np.array([lines[busy].wait(servers) for servers, busy in cases])


class Line:
    """The line behind busy servers that complete `clock` requests in a mean gap all together, however many they are."""

    def __init__(self, D0: Floats, D1: Floats, clock: float) -> None:
        from qtheory.markov.rate_matrix import rate_matrix  # numba loads here

        self.D0, self.D1, self.clock, self.one = D0, D1, clock, np.eye(len(D0))
        self.R = rate_matrix(D1, D0, clock * self.one)
        self.arriving = np.linalg.solve(self.one - self.R, D1.sum(axis=1))
        self.powers: list[Floats] = []

    def wait(self, servers: int) -> tuple[float, float]:
        """Mean and quantile."""
        ratios: list[Floats] = []
        ratio, back = self.R, self.clock
        for busy in range(servers, 0, -1):
            served = busy / servers * self.clock
            ratio = np.asarray(np.linalg.solve(-(self.D0 - served * self.one + back * ratio).T, self.D1.T).T)
            ratios.append(ratio)
            back = served
        here = self.D0 + back * ratio  # level 0's moves, seen only while there; some may be too small for a float
        level = np.linalg.solve((here + 1.0).T, np.ones(len(here)))  # π here = 0, with Σ π = 1 added to each
        total = 0.0
        for ratio in reversed(ratios):
            total += float(level.sum())
            level = np.asarray(level @ ratio)
        onward = np.linalg.solve((self.one - self.R).T, level)  # Σ_k π_{c+k}
        total += float(onward.sum())
        mean, quantile = float(onward @ self.arriving) / total, self._quantile(np.asarray(level / total))
        return mean / self.clock, quantile / self.clock

    def _quantile(self, level: Floats) -> float:
        """t with level e^{−t(I − R)} arriving = 1 − LEVEL; 0 where there is none."""
        now = float(level @ self.arriving)
        if now <= 1.0 - LEVEL:
            return 0.0
        bits = 0
        while level @ self._power(bits) @ self.arriving > 1.0 - LEVEL:
            bits += 1
        t = 0.0
        for bit in reversed(range(bits)):
            ahead = level @ self._power(bit)
            if ahead @ self.arriving > 1.0 - LEVEL:
                level, t = ahead, t + SHORTEST * 2.0**bit
        now, soon = float(level @ self.arriving), float(level @ self._power(0) @ self.arriving)
        return t + SHORTEST * math.log(now / (1.0 - LEVEL)) / math.log(now / soon)

    def _power(self, k: int) -> Floats:
        """e^{−t(I − R)} at t = 2^k SHORTEST."""
        from scipy.linalg import expm

        if not self.powers:
            self.powers.append(math.exp(-SHORTEST) * expm(SHORTEST * self.R))
        while len(self.powers) <= k:
            self.powers.append(self.powers[-1] @ self.powers[-1])
        return self.powers[k]
