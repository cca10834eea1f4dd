"""Coxian law: phases in a row, with a chance to be done after each (Cox 1955). Any scv from 1/n up can be had."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory.arguments import positive
from qtheory.laws.arrays import floats, store
from qtheory.laws.phase_type import PhaseType

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Coxian(PhaseType):
    """Exponential phases one after the other; phase i is followed by the next with probability `continues[i]`.

    Parameters
    ----------
    rates : array-like, shape (n,)
        Rate of each phase [1/s], positive.
    continues : array-like, shape (n − 1,)
        Probability to go on after each phase but the last, above 0 and at most 1. ValueError otherwise.

    Examples
    --------
    >>> law = Coxian(rates=[4.0, 0.5], continues=[0.25])
    >>> law.mean
    0.75
    """

    rates: Floats
    continues: Floats

    def __init__(self, rates: ArrayLike, continues: ArrayLike) -> None:
        speed = floats("rates", rates)
        for i, rate in enumerate(speed):
            positive(f"rates[{i}]", float(rate))
        chance = floats("continues", continues) if np.size(continues) else np.empty(0)
        if len(chance) != len(speed) - 1:
            raise ValueError(f"continues must have a value after each of the {len(speed)} rates but the last")
        for i, p in enumerate(chance):
            if not 0.0 < p <= 1.0:
                raise ValueError(f"continues[{i}] must be above 0 and at most 1, not {p}")
        store(self, rates=speed, continues=chance)
        super().__init__(np.eye(1, len(speed))[0], np.diag(-speed) + np.diag(speed[:-1] * chance, 1))
