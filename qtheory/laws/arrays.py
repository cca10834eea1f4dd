"""Laws that hold arrays: the arrays are checked once, made read-only, and compared by value."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Floats = NDArray[np.float64]


def floats(name: str, values: ArrayLike, *, least: float = 0.0) -> Floats:
    """A new one-dimensional array of finite numbers >= `least`; ValueError names the first that is not."""
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be numbers in one row, not {values!r}") from None
    if array.ndim != 1 or len(array) == 0:
        raise ValueError(f"{name} must be at least one number in one row, not an array of shape {array.shape}")
    bad = np.flatnonzero(~(np.isfinite(array) & (array >= least)))
    if len(bad):
        raise ValueError(f"{name}[{bad[0]}] must be a finite number >= {least:g}, not {array[bad[0]]}")
    return np.asarray(array + 0.0)  # −0 becomes 0: equal laws have equal bytes


def shares(name: str, values: ArrayLike, count: int) -> Floats:
    """`count` weights, divided by their sum; ValueError when one is negative or all are 0."""
    weights = floats(name, values)
    if len(weights) != count:
        raise ValueError(f"{name} must have {count} values, not {len(weights)}")
    if not 0.0 < weights.sum() < np.inf:
        raise ValueError(f"{name} must have a positive finite sum, not {weights.sum()}")
    return np.asarray(weights / weights.sum())


def probabilities(name: str, values: ArrayLike) -> Floats:
    """Probabilities that sum to 1, to rounding; ValueError otherwise."""
    array = floats(name, values)
    if abs(array.sum() - 1.0) > 1e-12 * len(array):
        raise ValueError(f"{name} must sum to 1, not {array.sum()}")
    return array


def store(law: object, **fields: object) -> None:
    """Set the fields of a frozen law under construction; arrays become read-only."""
    for name, value in fields.items():
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
        object.__setattr__(law, name, value)


class ByValue:
    """Equality and hash of dataclasses that hold arrays."""

    def _key(self: DataclassInstance) -> tuple[object, ...]:
        values = (getattr(self, field.name) for field in dataclasses.fields(self))
        return tuple((x.shape, x.tobytes()) if isinstance(x, np.ndarray) else x for x in values)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._key() == other._key()  # type: ignore[misc]

    def __hash__(self) -> int:
        return hash((type(self), self._key()))  # type: ignore[misc]
