"""Drain of a shared device, exactly: a pure death chain from the stationary number present.

The stop comes at a moment that does not look at the engine, so it finds the stationary law. With n present a drain
waits for m of them: all n when the engine holds them (QEMU), min(n, Q) when those beyond Q stay in the guests' rings.
Exponential service has no memory, so the time is that of a pure death chain from m with rates μ(min(j, Q)):

    E[T | m] = Σ_{j<=m} 1/μ(min(j, Q)),   for c servers  (m − c)^+ / (cμ) + H_{min(m, c)} / μ:

logarithmic in the queue length while servers are free, linear beyond.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qtheory.drain.drain_law import DrainTime
from qtheory.drain.throttle import DepthLimit
from qtheory.engine import Engine
from qtheory.markov.pure_death import PureDeath
from qtheory.solve.product_form import refusal, station_population, station_rates

__all__ = ["drain", "refusal"]

ROUNDING = 1e-12


def drain(engine: Engine, throttle: DepthLimit | None, present: tuple[int, ...] | None) -> DrainTime:
    """Drain of an engine that `solve.product_form` covers, under a limit over all disks or none."""
    rates, slots = station_rates(engine, None if throttle is None else throttle.limit)
    error = ROUNDING
    if present is None:
        number = station_population(engine.disks, rates)
        pmf, error = number.pmf, ROUNDING + number.rounding
    else:
        pmf = np.zeros(sum(present) + 1)
        pmf[-1] = 1.0
    if throttle is not None or engine.hold == "ring":
        pmf = taken(pmf, slots)
    death = PureDeath(pmf, rates[: len(pmf) - 1])
    return DrainTime(
        method="pure_death",
        exact=True,
        error_bounds={"mean": error, "variance": error, "sf": error},
        mean=death.mean,
        variance=death.variance,
        population_pmf=pmf,
        _sf=death.sf(),
    )


def taken(pmf: NDArray[np.float64], slots: int) -> NDArray[np.float64]:
    """Law of min(n, slots)."""
    if len(pmf) <= slots + 1:
        return pmf
    return np.append(pmf[:slots], pmf[slots:].sum())
