"""What a drain's quantile and the best limits before a stop cost beside their bare kernels.

Drains of 64 disks, K = 256, before 64 servers with H2 service of scv 4: the stationary state is known, and the moments
and the 99 % quantile are asked. The limit is one product of the chain's sparse matrix with a vector, that of SOME
levels scaled up to all; uniformization takes as many as there are ticks, and its answer, which shares nothing with the
inverted transform, is what the error is against where they are not more than MOST_TICKS. Then the best limits for 1000
requests, beside a step of integration of their equation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from scipy.optimize import brentq
from scipy.sparse import csr_array

import qtheory as qt
from benchmarks.measure import SOON, Contender, Row, here, race
from qtheory.drain.drain_law import DrainTime
from qtheory.drain.optimal_kernel import best
from qtheory.drain.phase_type import FAR, Death
from qtheory.markov.uniformization import at_ticks
from qtheory.solve.phase_type import solved_chain

SERVERS, DISKS, BUFFER, MEAN = 64, 64, 256, 0.010
LOADS = (0.9, 1.2)
SOME, LEFT = 500, 0.01
MOST_TICKS = 10_000
BUDGETS = {0.9: 0.06, 1.2: 0.1}
REQUESTS, STEPS = 1000, 2000


def law(death: Death) -> DrainTime:
    mean, variance = death.moments
    return DrainTime(
        method="", exact=True, error_bounds={}, warnings=(), mean=mean, variance=variance,
        population_pmf=np.array([level.sum() for level in death.levels]), _sf=death.sf,
    )  # fmt: skip


def quantile(load: float) -> list[Row]:
    """The 99 % quantile from a stationary state on."""
    service = qt.Hyperexponential.balanced(mean=MEAN, scv=4.0)
    disk = qt.Disk(qt.Poisson(load * SERVERS / MEAN / DISKS), buffer=BUFFER)
    chain = solved_chain(qt.Engine([disk] * DISKS, qt.Device(SERVERS, service)))[0]
    death = Death(chain, chain.levels)
    tick = csr_array(death.tick(SOME).T)
    x = np.ones(tick.shape[1])
    part = len(x) / sum(len(level) for level in death.levels)
    found = law(death)
    ticks = math.ceil(SERVERS * chain.counts.fastest * (found.mean + FAR * math.sqrt(found.variance)))
    exact = None
    if ticks <= MOST_TICKS:
        alive = death._ticks()
        exact = float(brentq(lambda t: at_ticks(death.clock * t, alive) - LEFT, 0.0, 10.0 * found.mean))
    product = here(lambda k: (tick @ x)[0] * math.nan)
    contenders = [
        Contender("one product", product, part),
        Contender("uniformization", product, part / ticks, note=f"{ticks} ticks"),
        Contender("qtheory", here(lambda k: law(Death(chain, chain.levels)).quantile(1.0 - LEFT + SOON * k))),
    ]
    return race("drain, 99 %", f"64 servers, H2, load {load}", contenders, exact=exact, limit="one product", rounds=2)


def limits(load: float) -> list[Row]:
    """The best limits before a stop."""
    rates = np.minimum(np.arange(1, REQUESTS + 1), SERVERS) / MEAN
    n = np.arange(REQUESTS + 1.0)

    def engine(k: int) -> qt.Engine:
        disk = qt.Disk(qt.Poisson(load * (1.0 + SOON * k) * SERVERS / MEAN), buffer=REQUESTS)
        return qt.Engine([disk], qt.Device(SERVERS, qt.Exponential(mean=MEAN)))

    def steps(k: int) -> float:
        best(rates, load * SERVERS / MEAN, n / REQUESTS, 10.0, n, 1e-5, STEPS)
        return math.nan

    def ours(k: int) -> float:
        qt.optimal_limits(engine(k), drain_budget=BUDGETS[load])
        return math.nan

    contenders = [Contender("one step of integration", here(steps), STEPS), Contender("qtheory", here(ours))]
    case = f"{REQUESTS} requests, load {load}"
    return race("best limits before a stop", case, contenders, limit=contenders[0].name, rounds=2)


def rows() -> Iterator[Row]:
    for load in LOADS:
        yield from quantile(load)
    for load in LOADS:
        yield from limits(load)
