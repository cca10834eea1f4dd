"""What a drain's law and the best approach to a stop cost beside their bare kernels: `python -m benchmarks.drains`.

Drains of 64 disks, K = 256, before 64 servers with H2 service of scv 4: the stationary state is known, and what is
timed is the moments and the 99 % quantile. Beside it stands uniformization, reckoned as a product of its sparse matrix
with a vector, that of SOME levels scaled up to all, times the ticks it takes. Then the best limits for 1000 requests,
beside steps of integration of their equation. Processor times; ratios are what compares between machines.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
from scipy.sparse import csr_array

import qtheory as qt
from qtheory.drain.drain_law import DrainTime
from qtheory.drain.phase_type import FAR, Death
from qtheory.solve.phase_type import solved_chain

SERVERS, DISKS, BUFFER, MEAN = 64, 64, 256, 0.010
LOADS = (0.9, 1.2)
SOME = 500
BUDGETS = {0.9: 0.06, 1.2: 0.1}


def seconds(run: Callable[[], object]) -> float:
    began = time.process_time()
    run()
    return time.process_time() - began


def law(death: Death) -> DrainTime:
    mean, variance = death.moments
    return DrainTime(
        method="", exact=True, error_bounds={}, warnings=(), mean=mean, variance=variance,
        population_pmf=np.array([level.sum() for level in death.levels]), _sf=death.sf,
    )  # fmt: skip


def quantile(load: float) -> None:
    """Print what the 99 % quantile costs from a stationary state on, and what the ticks would."""
    service = qt.Hyperexponential.balanced(mean=MEAN, scv=4.0)
    disk = qt.Disk(qt.Poisson(load * SERVERS / MEAN / DISKS), buffer=BUFFER)
    chain = solved_chain(qt.Engine([disk] * DISKS, qt.Device(SERVERS, service)))[0]
    death = Death(chain, chain.levels)
    tick = csr_array(death._tick(SOME).T)
    x = np.ones(tick.shape[1])
    one = min(seconds(lambda: tick @ x) for _ in range(5)) * sum(len(level) for level in death.levels) / len(x)
    found = law(death)
    ticks = math.ceil(SERVERS * chain.counts.fastest * (found.mean + FAR * math.sqrt(found.variance)))
    spent = min(seconds(lambda: law(Death(chain, chain.levels)).quantile(0.99)) for _ in range(2))
    print(
        f"drain quantile, load {load}: {spent:.2f} s, {spent / one:.0f} products; {ticks} ticks would be "
        f"{ticks * one / spent:.0f} times that"
    )


def limits(load: float) -> None:
    """Print what the best limits cost, and how many integrations over the horizon that is."""
    from qtheory.drain.optimal_kernel import best

    disk = qt.Disk(qt.Poisson(load * SERVERS / MEAN), buffer=1000)
    engine = qt.Engine([disk], qt.Device(SERVERS, qt.Exponential(mean=MEAN)))
    rates = np.minimum(np.arange(1, 1001), SERVERS) / MEAN
    n = np.arange(1001.0)
    one = (
        min(seconds(lambda: best(rates, load * SERVERS / MEAN, n / 1000, 10.0, n, 1e-5, 2000)) for _ in range(3)) / 2000
    )
    spent = min(seconds(lambda: qt.optimal_limits(engine, drain_budget=BUDGETS[load])) for _ in range(2))
    print(f"best limits for 1000 requests, load {load}: {spent:.2f} s, {spent / one:.0f} steps of integration")


def main() -> None:
    for load in LOADS:
        quantile(load)
    for load in LOADS:
        limits(load)


if __name__ == "__main__":
    main()
