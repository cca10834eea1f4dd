"""Mixture: a request follows one of several laws, picked at random: reads and writes, or disks that differ.

Everything is a weighted sum. A request found in progress follows a law as often as the law has a share of the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory.arguments import count, sequence
from qtheory.laws.arrays import ByValue, shares, store
from qtheory.laws.law import Law
from qtheory.laws.phase_type import PhaseType
from qtheory.laws.scipy_law import law_of

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Mixture(ByValue, Law):
    """Law `laws[i]` with probability `weights[i]`.

    Parameters
    ----------
    laws : sequence of Law
        At least one; frozen scipy.stats distributions are taken as well.
    weights : array-like
        One for each law, none negative; stored as shares of their sum. ValueError otherwise.

    Examples
    --------
    Two reads of 100 µs for each write of 400 µs.

    >>> from qtheory.laws import Deterministic, Exponential
    >>> Mixture([Deterministic(100e-6), Exponential(mean=400e-6)], weights=[2, 1]).mean
    0.0002
    """

    laws: tuple[Law, ...]
    weights: Floats

    def __init__(self, laws: Sequence[Law], weights: ArrayLike) -> None:
        members = tuple(law_of(law) for law in sequence("laws", laws))
        share = shares("weights", weights, len(members))
        used = share > 0.0
        store(self, laws=tuple(law for law, x in zip(members, used, strict=True) if x), weights=share[used])

    @cached_property
    def scv(self) -> float:
        """Variance within the laws and between their means, over mean²."""
        ratio = np.array([law.mean for law in self.laws]) / self.mean
        return float(self.weights @ (np.array([law.scv for law in self.laws]) * ratio**2 + (ratio - 1.0) ** 2))

    @property
    def support(self) -> tuple[float, float]:
        """Smallest and largest over the laws."""
        low, high = zip(*(law.support for law in self.laws), strict=True)
        return min(low), max(high)

    def moment(self, k: int) -> float:
        """Weighted sum of the laws' moments."""
        return float(self.weights @ [law.moment(count("k", k)) for law in self.laws])

    def sf(self, t: ArrayLike) -> Floats:
        """Weighted sum of the laws' P(S > t)."""
        return self._sum([law.sf(t) for law in self.laws]).clip(0.0, 1.0)

    def cdf(self, t: ArrayLike) -> Floats:
        """Weighted sum of the laws' P(S <= t)."""
        return self._sum([law.cdf(t) for law in self.laws]).clip(0.0, 1.0)

    def lst(self, s: ArrayLike) -> NDArray[Any]:
        """Weighted sum of the laws' transforms."""
        return self._sum([law.lst(s) for law in self.laws])

    def residual(self) -> Mixture:
        """Mixture of the residual laws, weighted by the work."""
        return Mixture([law.residual() for law in self.laws], self.weights * [law.mean for law in self.laws])

    def phase_type(self) -> PhaseType:
        """The laws' phases side by side; TypeError when one is not of phase type."""
        from scipy.linalg import block_diag

        parts = [law.phase_type() for law in self.laws]
        alpha = np.concatenate([w * part.alpha for w, part in zip(self.weights, parts, strict=True)])
        return PhaseType(alpha, block_diag(*(part.T for part in parts)))

    def sample(self, rng: np.random.Generator, size: int) -> Floats:
        """Draw `size` independent service times [s]."""
        which = np.searchsorted(np.cumsum(self.weights)[:-1], rng.random(size), side="right")
        drawn = np.empty(size)
        for i, law in enumerate(self.laws):
            drawn[which == i] = law.sample(rng, int(np.count_nonzero(which == i)))
        return drawn

    def _knots(self) -> Floats:
        return np.unique(np.concatenate([law._knots() for law in self.laws]))

    def _sum(self, values: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Weighted sum over the laws."""
        return np.asarray(np.tensordot(self.weights, np.array(values), 1))
