"""Drain of a device shared by disks of different service laws: the chain of `solve/mixed_service.py`, arrivals off.

The stop finds the stationary law of line and phases. How the line is shared is known then, and stays as it is in the
mean while it is served in a random order: so the stationary states are parted by the work in a line, and from each part
a chain of totals and phases drains (`phase_type.py`), in which who is next follows the part's shares.

Where a law is replaced by a fit, requests of which none waits are taken to have the residuals of the law itself,
independently, so that P(T <= t) = Π F_e(t) over them: exact where nobody ever waits (M/G/c/c is insensitive).

The errors were measured beside those of the stationary state (`validation/mixed_service.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from qtheory.drain import fitted_service, phase_type
from qtheory.drain.drain_law import DrainTime
from qtheory.drain.phase_type import Death, given, taken
from qtheory.drain.throttle import DepthLimit
from qtheory.engine import Engine
from qtheory.laws import Law
from qtheory.markov.phase_counts import PhaseCounts
from qtheory.solve.mixed_service import MIXTURE, Mixed, bounds_of, followed, refusal, settled_mixture
from qtheory.solve.sojourn import FEW_NODES, FEW_WEIGHTS

__all__ = ["drain", "refusal"]

Floats = NDArray[np.float64]
LEVELS = np.concatenate([np.linspace(0.05, 0.95, 19), 1.0 - np.logspace(-1.5, -14, 40)])
"""Quantiles between which moments are integrated."""


class Serving(NamedTuple):
    """A part's chain without arrivals."""

    servers: int
    counts: PhaseCounts
    internals: list[csr_array]
    finishes: list[csr_array]
    succeed: csr_array


def _drain_mixture(engine: Engine, present: tuple[int, ...] | None) -> DrainTime:
    """Drain with the mixture for all requests."""
    same, _ = settled_mixture(engine)
    exactly = phase_type.refusal(same) is None
    found = (phase_type.drain if exactly else fitted_service.drain)(same, None, present)
    return replace(
        found,
        method="mixed_service",
        exact=False,
        error_bounds=dict.fromkeys(found.error_bounds, math.inf),
        warnings=(*found.warnings, MIXTURE),
    )


class Residuals:
    """Drain of requests that are all in service: `weights[k]` is the probability that `busy[k]` are, of each law."""

    def __init__(self, busy: NDArray[np.int64], weights: Floats, laws: Sequence[Law]) -> None:
        self.busy, self.weights, self.laws = busy, weights, [law.residual() for law in laws]

    def sf(self, t: float) -> float:
        """P(something is left after t [s])."""
        return float(self._left(np.array([t]))[0])

    @property
    def raw_moments(self) -> tuple[float, float]:
        """E[T] and E[T²]: ∫ P(T > t) dt and ∫ 2t P(T > t) dt, between quantiles of the residual laws."""
        edges = np.unique(np.concatenate([[0.0], *(law.quantile(LEVELS) for law in self.laws)]))
        width = np.diff(edges)[:, None]
        t = edges[:-1, None] + width * 0.5 * (1.0 + FEW_NODES)
        left = 0.5 * width * FEW_WEIGHTS * self._left(t.ravel()).reshape(t.shape)
        return float(left.sum()), float((2.0 * t * left).sum())

    def _left(self, t: Floats) -> Floats:
        """Probability that something is left, with logarithms of what is done, so that small ones keep their digits."""
        with np.errstate(divide="ignore"):
            done = np.array([np.log1p(-np.asarray(law.sf(t))) for law in self.laws])
        total = np.zeros((len(self.busy), len(t)))
        for number, log in zip(self.busy.T, done, strict=True):
            total += np.where(number[:, None] > 0, number[:, None] * np.maximum(log, -1e9), 0.0)
        return np.asarray(self.weights @ -np.expm1(total))


def drain(engine: Engine, throttle: DepthLimit | None, present: tuple[int, ...] | None) -> DrainTime:
    """Drain of an engine that `solve.mixed_service` covers, under a limit over all disks or none.

    Raises ValueError when `present` is a number that the engine practically never has.
    """
    if throttle is not None:
        slots = min(engine.queue_length or throttle.limit, throttle.limit)
        engine = Engine(engine.disks, engine.device, slots, "ring", engine.shares)
    if not followed(engine):
        return _drain_mixture(engine, present)
    mixed = Mixed.of(engine)
    chain = mixed.chain
    number = [np.array([p]) for p in chain.pmf]
    weight = 1.0
    if present is not None:
        number = given(number, sum(present))
        weight = 1.0 / float(chain.pmf[sum(present)])
    parts: list[Death | Residuals] = []
    at_once: dict[tuple[int, ...], float] = {}
    for levels, succeed in chain.by_bin():
        part = [weight * level * (at > 0.0) for level, at in zip(levels, np.concatenate(number), strict=False)]
        part = taken(part, engine.queue_length or engine.most) if engine.hold == "ring" else part
        if not all(fit.exact for fit in mixed.fits):
            for n, level in enumerate(part[: chain.servers + 1]):
                for busy, p in zip(np.transpose(chain.served[n]).tolist(), level.tolist(), strict=True):
                    at_once[tuple(busy)] = at_once.get(tuple(busy), 0.0) + p
                part[n] = np.zeros(len(level))
        if sum(float(level.sum()) for level in part) > 0.0:
            serving = Serving(chain.servers, chain.counts, chain.internals, chain.finishes, succeed)
            parts.append(Death(serving, part))
    if at_once:
        parts.append(Residuals(np.array(list(at_once)), np.array(list(at_once.values())), mixed.laws))
    moments = np.sum([part.raw_moments for part in parts], axis=0)
    bounds, warnings = bounds_of(mixed)
    bounds = {name.removeprefix("drain."): bound for name, bound in bounds.items() if name.startswith("drain.")}
    pmf = np.concatenate(taken(number, engine.queue_length or engine.most) if engine.hold == "ring" else number)
    return DrainTime(
        method="mixed_service",
        exact=False,
        error_bounds=bounds,
        warnings=warnings,
        mean=float(moments[0]),
        variance=max(float(moments[1] - moments[0] ** 2), 0.0),
        population_pmf=pmf,
        _sf=lambda t: math.fsum(part.sf(t) for part in parts),
    )
