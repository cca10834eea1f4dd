"""How Q slots are divided over N disks: rules that make a cap for each disk, and follow Q as it changes.

| shares | cap of disk i |
|---|---|
| `"equal"` | Q/N |
| `"rings"` | in proportion to its buffer |
| `"load"` | in proportion to its offered load, arrival rate × mean service time |
| `Weights(w)` | in proportion to w_i |
| `"linux"` | max(⌈Q/N⌉, 4) for each, together perhaps more than Q (Linux, block/blk-mq.h, hctx_may_queue) |

Slots are whole, so a proportion must be rounded, and the parts must add up to Q: the apportionment of seats to states.
Hamilton's largest remainders can take a slot from a disk as Q grows (the Alabama paradox), which a queue resized as it
runs must not do. Divisor methods cannot: slots are dealt out one by one, the next to the disk with the largest
w_i / d(s_i), s_i being what it has (Balinski and Young 1982). Webster's d(s) = s + 1/2 is the one that favours neither
large nor small weights, and the only one where no slot can be moved so that both disks come nearer to their proportion
w_i Q / Σ w. Every disk first gets one slot: without any it would never be served.

Equal weights get parts that differ by one, the first disks the larger ones. Most slots are dealt out at once: at
priority λ every disk holds w_i/λ − 1/2 rounded up, but at least one, and for λ = Σ w / (Q − N) these are at most Q.

>>> apportioned(10, (6.0, 3.0, 1.0)), apportioned(11, (6.0, 3.0, 1.0)), apportioned(4, (100.0, 1.0, 1.0))
((6, 3, 1), (7, 3, 1), (2, 1, 1))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heapreplace

from qtheory.arguments import count, positive, sequence

RULES = ("fifo", "equal", "rings", "load", "linux")
LEAST_OF_LINUX = 4


@dataclass(frozen=True, init=False)
class Weights:
    """Slots divided in proportion to a weight for each disk, at least one slot a disk.

    Raises ValueError for weights that are not positive finite numbers.

    Examples
    --------
    >>> import qtheory as qt
    >>> disk = qt.Disk(arrivals=qt.Poisson(2000.0), buffer=256)
    >>> device = qt.Device(servers=8, service=qt.Exponential(mean=400e-6))
    >>> qt.Engine([disk, disk], device, queue_length=16, hold="ring", shares=qt.Weights([3.0, 1.0])).caps
    (12, 4)
    """

    weights: tuple[float, ...]

    def __init__(self, weights: Sequence[float]) -> None:
        given = tuple(positive(f"weights[{i}]", weight) for i, weight in enumerate(sequence("weights", weights)))
        if not given:
            raise ValueError("weights must have at least one value")
        object.__setattr__(self, "weights", given)


def follow_length(shares: object) -> bool:
    """Whether the caps are worked out from the queue length, and change with it."""
    return isinstance(shares, Weights) or (isinstance(shares, str) and shares != "fifo")


def shortest(shares: object, disks: int) -> int:
    """The shortest queue that can be divided: a slot for each disk; Linux's rule promises more than there are."""
    return disks if follow_length(shares) and shares != "linux" else 1


def apportioned(slots: int, weights: Sequence[float]) -> tuple[int, ...]:
    """`slots` divided in proportion to positive `weights`, at least one each; needs as many slots as weights."""
    n, total = len(weights), sum(weights)
    held = [max(1, int(w / total * (slots - n) - 0.5)) for w in weights]
    line = [(-w / (2 * s + 1), i) for i, (w, s) in enumerate(zip(weights, held, strict=True))]
    heapify(line)
    for _ in range(slots - sum(held)):
        i = line[0][1]
        held[i] += 1
        heapreplace(line, (-weights[i] / (2 * held[i] + 1), i))
    return tuple(held)


def linux_share(depth: int, users: int) -> int:
    """Tags that each of `users` of a shared set of `depth` may use.

    >>> [linux_share(1024, users) for users in (2, 3, 8, 64, 256, 1000)]
    [512, 342, 128, 16, 4, 4]
    """
    depth, users = count("depth", depth), count("users", users)
    return depth if users == 1 else max(-(-depth // users), LEAST_OF_LINUX)
