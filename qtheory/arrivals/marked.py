"""Disks that burst together: the arrivals of one process are dealt out among them, each independently of all others.

The whole guest brings requests, in bursts that a Markovian arrival process describes, and each request goes to disk i
with probability p_i. Disks whose `Marked` arrivals name equal processes share one; disks with a `MAP` each burst on
their own, whatever the others do.
"""

from __future__ import annotations

from dataclasses import dataclass

from qtheory.arguments import real
from qtheory.arrivals.map import MAP


@dataclass(frozen=True)
class Marked:
    """The arrivals of `process` that are this disk's: each with probability `share`.

    Parameters
    ----------
    process : MAP
        All arrivals; disks of an engine whose processes are equal share them, so their shares add up to at most 1.
    share : float
        Probability above 0, at most 1.

    Examples
    --------
    >>> from qtheory.arrivals.mmpp import IPP
    >>> guest = IPP(rate=100.0, on=0.1, off=0.9)
    >>> [Marked(guest, share).rate for share in (0.5, 0.3, 0.2)]
    [5.0, 3.0, 2.0]
    """

    process: MAP
    share: float

    def __post_init__(self) -> None:
        if not isinstance(self.process, MAP):
            raise TypeError(f"process must be a qt.MAP, not {self.process!r}")
        object.__setattr__(self, "share", real("share", self.share))
        if not 0.0 < self.share <= 1.0:
            raise ValueError(f"share must be a probability above 0, not {self.share!r}")

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.process.rate * self.share
