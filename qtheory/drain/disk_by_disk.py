"""Drain of disks that share nothing: the slowest of the disks' own drains.

    P(T <= t) = Π_i P(T_i <= t),

each disk drained alone by whichever method covers it (`solve/disk_by_disk.py`).
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

from qtheory.drain.drain_law import DrainTime
from qtheory.drain.separate_devices import integrated, slowest
from qtheory.engine import Engine
from qtheory.solve.disk_by_disk import apart, bursts_together, refusal
from qtheory.solve.population import independent_total

__all__ = ["drain", "refusal"]

TOGETHER = "the disks are taken as independent at the stop, but some of them burst together"


def drain(engine: Engine, present: tuple[int, ...] | None) -> DrainTime:
    """Drain of an engine that `solve.disk_by_disk` covers."""
    from qtheory.drain import answer

    asked = [(alone, None if present is None else present[i]) for i, alone in enumerate(apart(engine))]
    parts = {key: answer(key[0], population=key[1]) for key in dict.fromkeys(asked)}
    copies = Counter(asked)

    def sf(t: float) -> float:
        return slowest([(n, parts[key].sf(t)) for key, n in copies.items()])

    together = present is None and bursts_together(engine)
    exact = all(part.exact for part in parts.values()) and not together
    warnings = [warning for part in parts.values() for warning in part.warnings] + [TOGETHER] * together
    longest = sum(parts[key].mean * n for key, n in copies.items())
    total = independent_total([parts[key].population_pmf for key in asked])
    # How errors of approximate drains add up to that of the slowest was not measured.
    error = max(part.error_bounds["sf"] for part in parts.values()) if exact else math.inf
    return replace(
        integrated("disk_by_disk", sf, longest, total, error),
        exact=exact,
        warnings=tuple(dict.fromkeys(warnings)),
    )
