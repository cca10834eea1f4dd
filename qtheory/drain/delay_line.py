"""Drain of separate devices behind one FIFO line for Q slots, approximately.

The numbers are those of `solve/delay_line.py`: with fewer than Q present the product form of separate devices; with
more, given the delay of the line, the product form of the d_i given Σ d_i = Q. Given the numbers at the devices, each
drains by itself (`separate_devices.py`), one with general service from the phases that it has with so many present.
Delays are taken together in a few groups of equal probability. What waits in the guests' rings is not waited for.

Beyond FEW_DISKS disks the d_i are taken as independent given the delay: what they know of each other through their
sum is of the order of one over their number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from qtheory.drain.drain_law import DrainTime
from qtheory.drain.phase_type import Death
from qtheory.drain.separate_devices import ROUNDING, Done, exponential, integrated, slowest, tied
from qtheory.drain.shared_device import taken
from qtheory.engine import Engine
from qtheory.markov.uniformization import poisson_window
from qtheory.solve import delay_line
from qtheory.solve.disks_behind_line import Node, Numbers
from qtheory.solve.phase_type import PhaseChain

Floats = NDArray[np.float64]
MEASURED = {"equal": 0.105, "different": 0.073, "closed": 0.064, "regular": 0.953, "irregular": 0.065, "heavy": 0.086}
"""Largest relative error of the mean and the 99 % quantile, as `solve.delay_line.MEASURED`, over the cells of
`validation/delay_line.py`. Regular service is far off: a device that serves in step with what comes to it has hardly a
queue, and the longest of them is too long here."""
FEW_DISKS = 4
GROUPS = 8
TAIL = 1e-17
RARE = 1e-300
Item = TypeVar("Item")


def refusal(engine: Engine) -> str | None:
    """Why this method cannot answer for `engine`, or None."""
    if engine.hold != "ring":
        return "requests wait in the engine for a slot, and where they go decides the drain"
    return delay_line.refusal(engine)


def drain(engine: Engine, present: tuple[int, ...] | None) -> DrainTime:
    """Drain of an engine that `solve.delay_line` covers, with the rest left in the rings."""
    if present is not None:
        raise ValueError("population must be None for this engine: which requests wait for a slot is not known")
    if len(engine.disks) == 1:
        from qtheory.drain import answer

        return answer(delay_line.as_shared(engine))
    found = delay_line.solved(engine)
    total = taken(found.pmf, found.slots)
    alone = (found.at_device(i)[1:] @ np.cumsum(1.0 / kind.rates) for i, kind in enumerate(found.kinds))
    law = integrated("delay_line", _survival(found), float(max(alone)), total, ROUNDING)
    group = delay_line.region(engine)
    error = math.inf if group is None else MEASURED[group]
    return replace(
        law,
        exact=False,
        error_bounds={"mean": error, "variance": math.inf, "sf": math.inf, "quantile": error},
        warnings=("where the requests before the devices stand at the stop is approximate",),
    )


def survival(engine: Engine) -> Callable[[float], float]:
    """P(T > t) alone."""
    if len(engine.disks) == 1:
        return drain(engine, None).sf
    return _survival(delay_line.solved(engine))


def _survival(found: Numbers) -> Callable[[float], float]:
    """P(T > t), the parts of the numbers weighted."""
    copies = [kind.copies for kind in found.kinds]
    done = [exponential(kind.rates) if kind.chain is None else _phases(kind.chain) for kind in found.kinds]
    many = sum(copies) > FEW_DISKS
    parts: list[tuple[float, Callable[[float], float]]] = []
    free = float(found.pmf[: found.slots].sum())
    if free > 0.0:
        if many or any(kind.disk.saturated for kind in found.kinds):
            parts.append((free, _independent([law / free for law in found.free], done, copies)))
        else:
            series = _repeated([kind.coming / kind.rates for kind in found.kinds], copies)
            parts.append((free, tied(series, _repeated(done, copies), found.pmf[: found.slots] / free)))
    full = np.eye(1, found.slots + 1, found.slots)[0]
    for weight, node in _groups(found):
        if many:
            parts.append((weight, _independent(node.at_device, done, copies)))
        else:
            parts.append((weight, tied(_repeated(node.series, copies), _repeated(done, copies), full)))

    def whole(t: float) -> float:
        left = sum(weight * sf(t) for weight, sf in parts)
        return left if left > ROUNDING else 0.0

    return whole


def _groups(found: Numbers) -> list[tuple[float, Node]]:
    """A few of the nodes, with the probability of what they stand for."""
    reached = np.cumsum(found.weights)
    total = float(reached[-1])
    middles = np.searchsorted(reached, total * (np.arange(GROUPS) + 0.5) / GROUPS)
    groups: dict[int, float] = {}
    for middle in middles.tolist():
        groups[middle] = groups.get(middle, 0.0) + total / GROUPS
    return [(weight, found.nodes[middle]) for middle, weight in groups.items()]


def _repeated(items: Sequence[Item], copies: Sequence[int]) -> list[Item]:
    """Each item as often as it has copies."""
    return [item for item, n in zip(items, copies, strict=True) for _ in range(n)]


def _independent(laws: Sequence[Floats], done: Sequence[Done], copies: Sequence[int]) -> Callable[[float], float]:
    """P(T > t) of disks whose numbers have these laws and are independent."""

    def sf(t: float) -> float:
        left = []
        for law, by, n in zip(laws, done, copies, strict=True):
            ready = by(t)
            left.append((n, min(max(1.0 - float(law[: len(ready)] @ ready[: len(law)]), 0.0), 1.0)))
        return slowest(left)

    return sf


def _phases(chain: PhaseChain) -> Done:
    """P(done by t) from each number, in the phases in which the device then is; by uniformization."""
    present = [level / max(float(level.sum()), RARE) for level in chain.levels]

    @cache
    def ticks() -> tuple[float, Floats]:
        """The clock, and P(something is left) after 0, 1, 2, ... ticks from each number."""
        death = Death(chain, chain.levels)
        clock, tick = death.clock, death.tick(len(chain.levels) - 1)
        starts = np.cumsum([0, *(len(level) for level in present[1:-1])])
        start = np.concatenate(present[1:])
        left = np.ones(len(start))
        rows: list[Floats] = []
        while not rows or rows[-1].max() > TAIL:
            rows.append(np.add.reduceat(start * left, starts))
            left = tick @ left
        return clock, np.array(rows)

    @lru_cache(maxsize=1)
    def done(t: float) -> Floats:
        if t <= 0.0 or len(present) == 1:
            return np.asarray(np.eye(1, len(present), 0)[0])
        clock, rows = ticks()
        first, weights = poisson_window(clock * t)
        late = weights[: max(len(rows) - first, 0)] @ rows[first : first + len(weights)]
        return np.concatenate([[1.0], np.clip(1.0 - late, 0.0, 1.0)])

    return done
