"""Poisson arrivals: requests come one by one, independently, at a constant rate, whatever the engine does."""

from __future__ import annotations

from dataclasses import dataclass

from qtheory.arguments import positive


@dataclass(frozen=True)
class Poisson:
    """Poisson arrivals.

    Parameters
    ----------
    rate : float
        Requests per second, positive and finite; ValueError otherwise.

    Examples
    --------
    >>> Poisson(2000.0)
    Poisson(rate=2000.0)
    """

    rate: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate", positive("rate", self.rate))
