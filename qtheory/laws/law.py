"""What the solvers and the simulator may ask of a service-time law.

A law is the distribution of one request's service time S, in seconds. Callers use only what stands here, so a new law
comes in without changing them; a solver that needs more (a closed form for one family) asks for that family by type
and refuses the others by name.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray


@runtime_checkable
class Law(Protocol):
    """Distribution of a positive service time, in seconds."""

    @property
    def mean(self) -> float:
        """E[S] [s]."""

    @property
    def scv(self) -> float:
        """Squared coefficient of variation, Var[S] / E[S]²: 0 deterministic, 1 exponential."""

    def sf(self, t: ArrayLike) -> NDArray[np.float64]:
        """P(S > t)."""

    def quantile(self, p: ArrayLike) -> NDArray[np.float64]:
        """Smallest t with P(S <= t) >= p."""

    def sample(self, rng: np.random.Generator, size: int) -> NDArray[np.float64]:
        """Draw `size` independent service times [s]."""
