"""How bad input is refused: one clear sentence that names the argument, its value and what it must be.

Every description and every front door calls these, so a wrong value is stopped where the user wrote it and not
three layers down as a NaN.

>>> positive("rate", -1.0)
Traceback (most recent call last):
    ...
ValueError: rate must be a positive finite number, not -1.0
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np


def real(name: str, value: object) -> float:
    """Return `value` as a float; refuse what is not a real number (TypeError) and NaN (ValueError)."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, not {value!r}")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(
            f"{name} must be a number that a float can hold, not one of {len(str(value))} digits"
        ) from None
    if math.isnan(number):
        raise ValueError(f"{name} must be a number, not NaN")
    return number


def positive(name: str, value: object) -> float:
    """Return `value` as a float; refuse what is not positive and finite."""
    number = real(name, value)
    if not 0.0 < number < math.inf:
        raise ValueError(f"{name} must be a positive finite number, not {value!r}")
    return number


def nonnegative(name: str, value: object) -> float:
    """Return `value` as a float; refuse what is negative or infinite."""
    number = real(name, value)
    if not 0.0 <= number < math.inf:
        raise ValueError(f"{name} must be a finite number >= 0, not {value!r}")
    return number


def probability(name: str, value: object) -> float:
    """Return `value` as a float; refuse what does not lie strictly between 0 and 1."""
    number = real(name, value)
    if not 0.0 < number < 1.0:
        raise ValueError(f"{name} must lie strictly between 0 and 1, not {value!r}")
    return number


def count(name: str, value: object, *, least: int = 1) -> int:
    """Return `value` as an int; refuse what is not a whole number of at least `least`."""
    number = real(name, value)
    if not (number.is_integer() and number >= least):
        raise ValueError(f"{name} must be a whole number >= {least}, not {value!r}")
    return int(number)


def sequence(name: str, value: object) -> Sequence[Any]:
    """Return `value`; refuse what is not an ordered collection, such as a set, a single item or a string."""
    if isinstance(value, str) or not isinstance(value, (Sequence, np.ndarray)):
        raise TypeError(f"{name} must be a list or a tuple, not {value!r}")
    return value  # type: ignore[return-value]  # a one-dimensional array serves as well


def choice(name: str, value: object, allowed: Collection[str]) -> str:
    """Return `value`; refuse what is not one of `allowed`."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, not {value!r}")
    return value
