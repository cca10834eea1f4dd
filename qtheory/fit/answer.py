"""The answer to a question about what was fitted, with its interval over refits to resampled measurements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from qtheory.arguments import real


class Answer(NamedTuple):
    """A value with its 95 % interval over the resampled fits (2.5 and 97.5 % points, interpolated)."""

    value: float
    low: float
    high: float

    @classmethod
    def over(cls, value: float, others: Sequence[float]) -> Answer:
        """The value of the fit itself, and the interval that those of the resampled ones span.

        TypeError and ValueError for what is not a number, such as the queue length where none is feasible.
        """
        answers = [real("what the question answers", one) for one in (value, *others)]
        low, high = np.quantile(answers[1:], [0.025, 0.975])
        return cls(answers[0], float(low), float(high))

    def __str__(self) -> str:
        return f"{self.value:.6g} ({self.low:.4g} to {self.high:.4g})"
