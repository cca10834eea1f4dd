"""Ways of reducing I/O before a stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from qtheory.arguments import choice, count


@dataclass(frozen=True)
class DepthLimit:
    """At most `limit` requests taken from the guests' rings at once; the rest wait in the rings, before the pop.

    Whatever the engine's `hold`: stationary under the limit, the device serves at most `limit`, and a drain waits for
    those only. `DepthLimit(1)` is "one request at a time".

    Parameters
    ----------
    limit : int
        At least 1.
    per : "engine" or "disk"
        Whether the limit holds for all disks together or for each.

    Examples
    --------
    >>> DepthLimit(8)
    DepthLimit(limit=8, per='engine')
    """

    limit: int
    per: Literal["engine", "disk"] = "engine"

    def __post_init__(self) -> None:
        object.__setattr__(self, "limit", count("limit", self.limit))
        choice("per", self.per, ("engine", "disk"))
