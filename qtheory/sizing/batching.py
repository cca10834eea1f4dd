"""Submission batches: what a system call for many requests gains, and what gathering them costs.

One thread serves the rings of a guest: it pops requests, hands them to the kernel in batches of at most b by one system
call each, and reaps completions. It spends t on a request, s on a call, and κ on a request for each other in its batch,
whose data they push out of the caches. With n requests in the rings a sweep finds enough for batches of A = min(b, n),
and the thread spends on a request

    h(A) = t + s/A + κ A,    least at A* = √(s/κ),    h(f A*) − h(A*) = √(s κ) (f + 1/f − 2) :

the economic lot (Harris 1913), and as flat: a batch twice or half as long costs √(s κ)/2 more. Around a small number of
requests stands the round trip L of one alone: at least h + L/n each.

With several queues on one engine, submission ends when the sweep over all of them ends, unless a batch fills before.
Half of the thread's work on a request comes before its submission. In a round of n requests the device, which takes d a
request, is idle until the first A have been handed to it, A h/2; then it is busy for n d, while the thread goes on for
n h − A h/2. So

    1/X = max( h(A) + L/n,   d + [queues > 1] · h(A) A/(2n) ).

Unlimited, A = n: the device is idle while the thread works, and the thread while the device does. With one queue the
thread finds what completed since its last sweep and no more, so a device that is slower keeps its batches short.

What the model takes from measurement and does not derive: that the cost grows linearly, and that all of n gather where
no batch fills. With κ = 0 longer batches would only gain for the thread.

The five costs were fitted to the table published for QEMU's limit (`validation/host.py`: 60 rates, blocks of 4 and
16 KiB, 16 jobs of depth 1 to 128, 1 and 4 queues, batches of 8 to 64 or not limited). Root mean square error 3.8 %,
largest 11 %; of held-out rows and columns 4.3 % and 13 %; the table's own spread between neighbours is 3.6 %. The model
explains what an unlimited batch loses, 4 queues up to 35 %, 1 queue up to 17 % of 4 KiB and nothing of 16 KiB, that
depth 1 is insensitive, and that 32 is near a flat optimum. It does not explain why batches of 8 lose 10 % at depth 1
with one queue and nothing with four, nor rates of 16 KiB that are 6 % above the others' at 32 only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qtheory import arguments
from qtheory.arguments import count, nonnegative, positive
from qtheory.result import Result

PUBLISHED_ERROR = 0.12
"""Largest relative error of the throughput over the published table, costs fitted to it."""
HELD = 0.5
"""Part of the thread's time on a request that comes before its submission."""


@dataclass(frozen=True, kw_only=True)
class BatchCosts:
    """What requests cost the thread and the device; seconds.

    Attributes
    ----------
    request : float
        The thread's time on one request whatever the batch (t).
    call : float
        Its time on a system call (s).
    growth : float
        What a request takes longer for each in its batch (κ).
    latency : float
        Round trip of a request that is alone, without the thread's time (L).
    device : float
        1 / the largest rate of the device (d).
    """

    request: float
    call: float
    growth: float
    latency: float
    device: float

    def __post_init__(self) -> None:
        positive("request", self.request)
        positive("device", self.device)
        for name in ("call", "growth", "latency"):
            nonnegative(name, getattr(self, name))

    @property
    def best_batch(self) -> float:
        """Batch of the least time of the thread, A* = √(s/κ), a real number; infinite without growth."""
        return math.sqrt(self.call / self.growth) if self.growth > 0.0 else math.inf


@dataclass(frozen=True, kw_only=True)
class OptimalBatch(Result):
    """The batch limit of the largest throughput; rates per second.

    Attributes
    ----------
    batch : int
        The smallest of the best.
    lower, upper : int
        Between them every limit loses at most `tolerance`; upper is `outstanding` where no limit does as well.
    throughput, unlimited_throughput : float
        With that batch and without a limit.
    binds : str
        "thread" or "device": which of them sets the throughput at the best batch.
    """

    batch: int
    lower: int
    upper: int
    tolerance: float
    throughput: float
    unlimited_throughput: float
    binds: str


def batch_throughput(costs: BatchCosts, *, outstanding: int, batch: int | None = None, queues: int = 1) -> float:
    """Requests a second when `outstanding` of them circulate through `queues` rings of one thread.

    Parameters
    ----------
    outstanding : int
        In the rings: at most ring size × queues.
    batch : int or None
        Most requests in one system call; None: no limit.

    Raises ValueError for arguments out of range.

    Examples
    --------
    >>> costs = BatchCosts(request=3.6e-6, call=1.3e-6, growth=1.6e-9, latency=20e-6, device=7.5e-6)
    >>> [round(batch_throughput(costs, outstanding=1024, batch=b, queues=4) / 1e3) for b in (8, 32, None)]
    [133, 132, 99]
    """
    n, most = _given(costs, outstanding, queues), outstanding if batch is None else count("batch", batch)
    return float(1.0 / np.maximum(*_times(costs, np.array([min(most, n)]), n, queues))[0])


def optimal_batch(costs: BatchCosts, *, outstanding: int, queues: int = 1, tolerance: float = 0.01) -> OptimalBatch:
    """The batch limit with the largest throughput, and those that lose at most the fraction `tolerance` of it.

    Arguments as for `batch_throughput`; ValueError for those out of range.

    Examples
    --------
    A faster device, so that the thread sets the pace: 29, and anything from 12 to 68 is within 1 %.

    >>> costs = BatchCosts(request=3.6e-6, call=1.3e-6, growth=1.6e-9, latency=20e-6, device=2e-6)
    >>> z = optimal_batch(costs, outstanding=1024, queues=4)
    >>> z.batch, (z.lower, z.upper), round(costs.best_batch, 1), z.binds
    (29, (12, 68), 28.5, 'thread')
    >>> print(f"{1.0 - z.unlimited_throughput / z.throughput:.0%} lost without a limit")
    29% lost without a limit
    """
    n, tolerated = _given(costs, outstanding, queues), arguments.probability("tolerance", tolerance)
    thread, device = _times(costs, np.arange(1, n + 1), n, queues)
    times = np.maximum(thread, device)
    best = int(times.argmin())
    good = np.flatnonzero(times[best] >= (1.0 - tolerated) * times)
    return OptimalBatch(
        method="economic lot",
        exact=False,
        error_bounds={"throughput": PUBLISHED_ERROR},
        warnings=("the error bound is that over one published table, of one machine, by costs fitted to it",),
        batch=best + 1,
        lower=int(good[0]) + 1,
        upper=int(good[-1]) + 1,
        tolerance=tolerated,
        throughput=float(1.0 / times[best]),
        unlimited_throughput=float(1.0 / times[-1]),
        binds="thread" if thread[best] >= device[best] else "device",
    )


def _times(
    costs: BatchCosts, batches: NDArray[np.int64], outstanding: int, queues: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Time a request at the thread and at the device."""
    thread = costs.request + costs.call / batches + costs.growth * batches
    idle = HELD * thread * batches / outstanding if queues > 1 else np.zeros(len(batches))
    return thread + costs.latency / outstanding, costs.device + idle


def _given(costs: BatchCosts, outstanding: int, queues: int) -> int:
    if not isinstance(costs, BatchCosts):
        raise TypeError(f"costs must be BatchCosts, not {costs!r}")
    count("queues", queues)
    return count("outstanding", outstanding)
