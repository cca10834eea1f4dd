"""Queue lengths from what is known beforehand; all that is seen is which disks are attached."""

from __future__ import annotations

from dataclasses import dataclass

from qtheory.arguments import count, positive
from qtheory.simulate.resizing import Observation
from qtheory.sizing.integer_rule import BILLION, integer_rule


@dataclass(frozen=True)
class Constant:
    """Always the same Q; None: no limit."""

    queue_length: int | None

    def __post_init__(self) -> None:
        if self.queue_length is not None:
            object.__setattr__(self, "queue_length", count("queue_length", self.queue_length))

    def __call__(self, seen: Observation) -> int | None:
        """Q."""
        return self.queue_length


@dataclass(frozen=True)
class SumOfRings:
    """A slot for each request that the attached disks can have outstanding, but at most `most`."""

    most: int = 1 << 30

    def __post_init__(self) -> None:
        object.__setattr__(self, "most", count("most", self.most))

    def __call__(self, seen: Observation) -> int:
        """Q."""
        return max(min(seen.rings, self.most), 1)


@dataclass(frozen=True)
class Known:
    """The integer rule, told what a device does.

    Parameters
    ----------
    latency : float
        Mean latency of a request that does not wait [s].
    rate : float
        Completions a second of a device at full load [1/s].
    separate : bool
        Whether each disk has a device of its own: then what is known is followed by the number of disks.
    budget : float, optional
        What a drain may take with probability 99 % [s].

    Examples
    --------
    >>> import numpy as np
    >>> from qtheory.simulate.resizing import Observation
    >>> four = Observation(0.0, 0.0, None, 0.0, 0, (True,) * 4 + (False,) * 12, (256,) * 16, np.empty(0), np.empty(0))
    >>> Known(latency=1e-3, rate=1e3, separate=True)(four)
    42
    """

    latency: float
    rate: float
    separate: bool = False
    budget: float | None = None

    def __post_init__(self) -> None:
        positive("latency", self.latency)
        positive("rate", self.rate)
        if self.budget is not None:
            positive("budget", self.budget)

    def __call__(self, seen: Observation) -> int:
        """Q."""
        return ruled(seen, self.latency, self.rate * (sum(seen.attached) if self.separate else 1),
                     separate=self.separate, budget=self.budget)  # fmt: skip


def ruled(seen: Observation, latency: float, rate: float, *, separate: bool, budget: float | None) -> int:
    """The integer rule for the attached disks; 1 when there are none."""
    disks = sum(seen.attached)
    if disks == 0:
        return 1
    return integer_rule(
        ring_sizes=seen.rings,
        disks=disks,
        devices=disks if separate else 1,
        latency_ns=max(round(latency * BILLION), 1),
        rate=max(round(rate), 1),
        budget_ns=None if budget is None else max(round(budget * BILLION), 1),
    )
