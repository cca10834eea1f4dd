"""Ways of reducing I/O before a stop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from qtheory.arguments import choice, count, nonnegative, positive, probability, real, sequence


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


@dataclass(frozen=True, init=False)
class DepthSchedule:
    """A depth limit over all disks that changes in steps before the stop.

    Time 0 is the stop, and t is negative before it: `(-0.5, 8)` means that half a second before the stop, and until
    the next step, at most 8 requests are taken from the rings. None takes the limit off; 0 stops the taking. Before the
    first step the engine has run without a limit for long. A limit stops the taking, not what was taken: requests taken
    beyond a new limit are served as before, and the next is taken when fewer than the limit are left.

    Parameters
    ----------
    steps : sequence of (t, q)
        Times [s], rising and not after the stop; limits of at least 0, or None.

    Examples
    --------
    >>> DepthSchedule([(-0.5, 32), (-0.1, 4)]).steps
    ((-0.5, 32), (-0.1, 4))
    """

    steps: tuple[tuple[float, int | None], ...]

    def __init__(self, steps: Sequence[tuple[float, int | None]]) -> None:
        checked: list[tuple[float, int | None]] = []
        for i, step in enumerate(sequence("steps", steps)):
            if len(sequence(f"steps[{i}]", step)) != 2:
                raise ValueError(f"steps[{i}] must be a pair (t, q), not {step!r}")
            at = real(f"steps[{i}][0]", step[0])
            if not -math.inf < at <= 0.0:
                raise ValueError(f"steps[{i}][0] must be a finite time before the stop (t <= 0), not {step[0]!r}")
            checked.append((at, None if step[1] is None else count(f"steps[{i}][1]", step[1], least=0)))
        if not checked:
            raise ValueError("steps must have at least one step")
        if any(later[0] <= earlier[0] for earlier, later in pairwise(checked)):
            raise ValueError(f"steps must rise strictly in time, not {[at for at, _ in checked]}")
        object.__setattr__(self, "steps", tuple(checked))


@dataclass(frozen=True)
class FinishInTime:
    """Only requests are taken that will be done in time: within `budget` after a stop whose time is known.

    A request at the head of its disk's ring is taken if what was taken before it leaves it time. With
    `knows="request"` the service times are known at admission, by the size of the request, say, and so is when it will
    be done: no drain then exceeds the budget. With `knows="disk"` only the law of each disk's service is known: with p
    requests taken on c servers, M and V the sums of the means and the variances of their service, a request begins
    after a wait of

        mean M (p - c + 1)^+ / (p c)  and variance V (p - c + 1)^+ / (p c²),

    and it is taken if E[W] + √((w - E[W])² + (q - m)²) + m <= time left + budget, w the quantile of the gamma law with
    these moments (Wilson and Hilferty, 1931), q and m the quantile and mean of its service, both at 1 - probability
    over the servers of all devices: as many requests may be the late one. A ring is taken from in order, so that what
    waits holds back what is behind it in its ring, but no other disk.

    Parameters
    ----------
    budget : float
        What a drain may take [s].
    probability : float
        How often it is to take no more.
    knows : "disk" or "request"
        What is known of a request's service time.

    Examples
    --------
    >>> FinishInTime(0.010)
    FinishInTime(budget=0.01, probability=0.99, knows='disk')
    """

    budget: float
    probability: float = 0.99
    knows: Literal["disk", "request"] = "disk"

    def __post_init__(self) -> None:
        object.__setattr__(self, "budget", positive("budget", self.budget))
        object.__setattr__(self, "probability", probability("probability", self.probability))
        choice("knows", self.knows, ("disk", "request"))


@dataclass(frozen=True)
class RateLimit:
    """QEMU's rate limit: a leaky bucket for each disk, which holds requests back after they were taken.

    It does not bound a drain: what it has held back is pending, and is released at the stop.

    Parameters
    ----------
    rate : float
        Requests that pass per second, for each disk (QEMU's iops).
    burst : float, optional
        Size of the bucket [requests], iops_max × iops_max_length. None: QEMU's default, what passes in 100 ms.

    Examples
    --------
    >>> RateLimit(50.0).burst
    5.0
    """

    rate: float
    burst: float | None = None

    def __post_init__(self) -> None:
        rate = positive("rate", self.rate)
        object.__setattr__(self, "rate", rate)
        object.__setattr__(self, "burst", rate / 10.0 if self.burst is None else nonnegative("burst", self.burst))
