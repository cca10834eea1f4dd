"""Drain of a shared device whose guests wait for room: of what is in the buffers, none of what the guests hold back.

The stop finds the stationary law of `solve/guests_that_wait.py`: a total T, guests included, of which n are in the
engine with probability P(n | T), and the phases of the busy servers, which go with the total. So a drain starts with n
in the phases of Σ_T P(T, phases) P(n | T), and goes on as any other (`phase_type.py`, `shared_device.py`). With one
disk n = min(T, K): exact. Disks that cannot fill the servers together drain side by side.

**Limits that bind for good.** Where what comes exceeds what a limit lets through, the guests' backlog grows without
end, and in the long run as many as the limit allows are always taken: the drain is that of a saturated guest.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from qtheory.arrivals import Closed
from qtheory.drain import disk_by_disk
from qtheory.drain.drain_law import DrainTime
from qtheory.drain.phase_type import Death, given, taken
from qtheory.engine import Disk, Engine
from qtheory.markov.pure_death import PureDeath
from qtheory.solve import fitted_service, guests_that_wait
from qtheory.solve.disk_by_disk import apart
from qtheory.solve.guests_that_wait import independent, never_full, shared
from qtheory.solve.separate_devices import tied_by
from qtheory.stability import check_stable

Floats = NDArray[np.float64]
ROUNDING = 1e-10
ENDLESS = "the limit lets less through than comes: in the long run the guests' backlog grows without end"
MEASURED = {"mean": 0.05, "quantile": 0.08}
"""Largest relative errors, of the median and the 99 % quantile the larger, over the cells of
`validation/guests_that_wait_drain.py`, half-widths (below 3 %) included: for engines that are as those on which the
stationary answers were measured, without a limit."""
APPROXIMATE = "how many of all requests wait in the guests is approximate"


def refusal(engine: Engine) -> str | None:
    """Why this method cannot answer for `engine`, or None."""
    return guests_that_wait.refusal(engine)


def drain(engine: Engine, present: tuple[int, ...] | None) -> DrainTime:
    """Drain of an engine that `solve.guests_that_wait` covers.

    Raises ValueError when `present` is a number that the engine practically never has.
    """
    from qtheory.drain import answer

    if len(engine.disks) > 1 and independent(engine):
        return disk_by_disk.drain(Engine([replace(disk, device=engine.device) for disk in engine.disks]), present)
    same = never_full(engine)
    if same is not None:
        return answer(same, population=present if present is None or len(present) > 1 else present[0])
    server, _, made, total, chain = shared(engine)
    law = made[-1].law
    slots = min(engine.queue_length or engine.most, engine.most) if engine.hold == "ring" else engine.most
    if chain is None:
        assert server.rates is not None
        levels = [np.array([p]) for p in total @ law]
    else:
        levels = [np.zeros(chain.counts.size(min(n, chain.servers))) for n in range(law.shape[1])]
        for t, level in enumerate(chain.levels[: len(total)]):
            for n in range(min(t, chain.servers), min(t, law.shape[1] - 1) + 1):
                levels[n] += law[t, n] * level
    levels = taken(given(levels, sum(present)) if present is not None else levels, slots)
    pmf = np.array([level.sum() for level in levels])
    exact = len(engine.disks) == 1 and server.fitted is None
    of_fit = server.fitted.error_bounds["response_quantile"] if server.fitted else 0.0
    warnings: tuple[str, ...] = () if len(engine.disks) == 1 else (APPROXIMATE,)
    sf: Callable[[float], float]
    if chain is None:
        assert server.rates is not None
        pure = PureDeath(pmf, server.rates[1 : len(pmf)])
        mean, variance, sf = pure.mean, pure.variance, pure.sf()
    else:
        death = Death(chain, levels)
        mean, variance = death.moments
        sf = death.sf
    bounds = dict.fromkeys(("mean", "variance", "sf"), ROUNDING if len(engine.disks) == 1 else math.inf)
    if warnings and slots == engine.most and guests_that_wait.measured(engine)[0]["mean_in_system"] < math.inf:
        bounds |= MEASURED
    if chain is not None:
        warnings += death.warnings
    return DrainTime(
        method="guests_that_wait",
        exact=exact,
        error_bounds={name: bound + of_fit for name, bound in bounds.items()},
        warnings=(*warnings, *((fitted_service.told(server.fitted),) if server.fitted else ())),
        mean=mean,
        variance=variance,
        population_pmf=pmf,
        _sf=sf,
    )


def lasting(engine: Engine) -> Engine | None:
    """The engine as it is in the long run where its limits let less through than comes; None where they do not.

    Raises ValueError, naming the disk, where the long run is not known.
    """
    if not engine.shared and tied_by(engine) is None:
        waits = [_without_end(one) for one in apart(engine)]
        disks = [
            replace(disk, arrivals=Closed(disk.buffer)) if endless else disk
            for disk, endless in zip(engine.disks, waits, strict=True)
        ]
        return replace(engine, disks=tuple(disks)) if any(waits) else None
    if not _without_end(engine):
        return None
    slots = min(engine.queue_length or engine.most, engine.most)
    room = min(disk.buffer for disk in engine.disks if disk.full == "wait")
    if not engine.shared or engine.caps is not None or not engine.one_law or room < slots:
        check_stable(engine)
    return Engine([Disk(Closed(slots), slots)], engine.devices[0])


def _without_end(engine: Engine) -> bool:
    """Whether guests wait without end."""
    try:
        check_stable(engine)
    except ValueError:
        return True
    return False
