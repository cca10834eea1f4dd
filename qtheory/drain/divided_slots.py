"""Drain of one shared device whose slots are divided, with the rest left in the rings: a pure death chain from what
has a slot, whose law `solve/divided_slots.py` gives; from given numbers of the disks it is known exactly. The error of
the drain was measured with that of the law (`validation/divided_slots.py`).
"""

from __future__ import annotations

import math

import numpy as np

from qtheory.drain.drain_law import DrainTime
from qtheory.drain.shared_device import ROUNDING, taken
from qtheory.engine import Engine
from qtheory.markov.pure_death import PureDeath
from qtheory.solve import divided_slots


def refusal(engine: Engine) -> str | None:
    """Why this method cannot answer for `engine`, or None."""
    if engine.hold != "ring":
        return "requests wait in the engine for a cap, and whose they are decides the drain"
    return divided_slots.refusal(engine)


def drain(engine: Engine, present: tuple[int, ...] | None) -> DrainTime:
    """Drain of an engine that `solve.divided_slots` covers."""
    assert engine.caps is not None
    if present is None:
        divided, _ = divided_slots.divide(engine)
        pmf, rounding = divided.number.pmf, divided.number.rounding
    else:
        held = sum(min(n, cap) for n, cap in zip(present, engine.caps, strict=True))
        pmf, rounding = np.eye(1, held + 1, held)[0], 0.0
    pmf = taken(pmf, engine.queue_length or len(pmf))
    death = PureDeath(pmf, engine.devices[0].rates(len(pmf) - 1))
    exact = present is not None or divided_slots.is_exact(engine)
    error = ROUNDING + rounding if exact else math.inf
    measured = divided_slots.DRAIN_MEASURED if not exact and divided_slots.measured(engine) else error
    return DrainTime(
        method="divided_slots",
        exact=exact,
        error_bounds={"mean": measured, "variance": error, "sf": error, "quantile": measured},
        warnings=() if exact else ("how many have a slot is approximate",),
        mean=death.mean,
        variance=death.variance,
        population_pmf=pmf,
        _sf=death.sf(),
    )
