"""A closed guest: a fixed number of requests circulate, each thinking for an exponential time before it comes again.

This is what a benchmark with a fixed I/O depth does (think time 0: the disk is saturated), and what a database with a
fixed number of workers does.
"""

from __future__ import annotations

from dataclasses import dataclass

from qtheory.arguments import count, nonnegative


@dataclass(frozen=True)
class Closed:
    """A fixed number of circulating requests.

    Parameters
    ----------
    outstanding : int
        Requests that circulate, at least 1. Where it exceeds the disk's buffer the rest wait in the guest.
    think_time : float
        Mean of the exponential time between a completion and the next submission of the same request [s]; 0 means
        that the guest submits again at once.

    Examples
    --------
    >>> Closed(outstanding=32, think_time=0.001)
    Closed(outstanding=32, think_time=0.001)
    """

    outstanding: int
    think_time: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "outstanding", count("outstanding", self.outstanding))
        object.__setattr__(self, "think_time", nonnegative("think_time", self.think_time))
