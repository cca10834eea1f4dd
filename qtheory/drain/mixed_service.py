"""Drain of a device shared by disks of different service laws: the chain of `solve/mixed_service.py`, arrivals off.

The stop finds the stationary law of line and phases. How the line is shared is known then, and stays as it is in the
mean while it is served in a random order: so the stationary states are parted by the work in a line, and from each part
a chain of totals and phases drains (`phase_type.py`), in which who is next follows the part's shares.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from qtheory.drain.drain_law import DrainTime
from qtheory.drain.phase_type import Death, given, taken
from qtheory.drain.throttle import DepthLimit
from qtheory.engine import Engine
from qtheory.markov.phase_counts import PhaseCounts
from qtheory.solve.mixed_service import DRAIN, Mixed, bounds_of, refusal

__all__ = ["drain", "refusal"]


class Serving(NamedTuple):
    """A part's chain without arrivals."""

    servers: int
    counts: PhaseCounts
    internals: list[csr_array]
    finishes: list[csr_array]
    succeed: csr_array


def drain(engine: Engine, throttle: DepthLimit | None, present: tuple[int, ...] | None) -> DrainTime:
    """Drain of an engine that `solve.mixed_service` covers, under a limit over all disks or none.

    Raises ValueError when `present` is a number that the engine practically never has.
    """
    if throttle is not None:
        slots = min(engine.queue_length or throttle.limit, throttle.limit)
        engine = Engine(engine.disks, engine.device, slots, "ring", engine.shares)
    mixed = Mixed.of(engine)
    chain = mixed.chain
    number = [np.array([p]) for p in chain.pmf]
    weight = 1.0
    if present is not None:
        number = given(number, sum(present))
        weight = 1.0 / float(chain.pmf[sum(present)])
    deaths = []
    for levels, succeed in chain.by_bin():
        part = [weight * level * (at > 0.0) for level, at in zip(levels, np.concatenate(number), strict=False)]
        part = taken(part, engine.queue_length or engine.most) if engine.hold == "ring" else part
        if sum(float(level.sum()) for level in part) > 0.0:
            serving = Serving(chain.servers, chain.counts, chain.internals, chain.finishes, succeed)
            deaths.append(Death(serving, part))
    moments = np.sum([death.raw_moments for death in deaths], axis=0)
    bounds, warnings = bounds_of(mixed, DRAIN)
    pmf = np.concatenate(taken(number, engine.queue_length or engine.most) if engine.hold == "ring" else number)
    return DrainTime(
        method="mixed_service",
        exact=False,
        error_bounds=bounds,
        warnings=warnings,
        mean=float(moments[0]),
        variance=max(float(moments[1] - moments[0] ** 2), 0.0),
        population_pmf=pmf,
        _sf=lambda t: math.fsum(death.sf(t) for death in deaths),
    )
