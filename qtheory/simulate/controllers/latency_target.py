"""What Linux does: queue lengths that follow a latency target.

**kyber** (block/kyber-iosched.c since 4.20) counts latencies in eight buckets, a quarter of the target wide, the last
without end: of the device (submission to completion) and in all (arrival to completion). Every 100 ms, once there are
500 samples or the first is a second old: a domain (reads, writes, ...) is bad when its device p90 is at or beyond the
target. If any is bad, or this domain's p99 in all is at or beyond the target,

    depth ← depth (b + 1)/4,   b the bucket of the p99 in all, 0..7; from 1 to the cap of the domain.

A domain alone never gives way: what a request takes at the device is part of what it takes in all, so when the device
is bad b >= 4 (p99 >= p90 >= target), and the factor is at least 5/4. **For one queue kyber's rule only grows**: it
takes slots from the domains that do well for those that do not, it does not find what the device needs.

**blk-iolatency** (block/blk-iolatency.c) looks at whether more than 10 % of the completions in a window of at least
100 ms exceeded the target, halves the depth of the groups with a looser one if so, and otherwise gives them 1/16 of the
cap back; at most every 500 ms. `LatencyTarget` is this rule turned on oneself: additive increase, multiplicative
decrease. It settles, oscillating, where a tenth of the requests takes longer than the target, and knows neither the
rate nor the number of disks: too short where the target is close to the service time, too long where it is generous.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qtheory.arguments import count, nonnegative, positive
from qtheory.simulate.resizing import Observation

BUCKETS, GOOD = 8, 4
SAMPLES, TIMEOUT = 500, 1.0


@dataclass
class Kyber:
    """Linux's kyber with one domain.

    Parameters
    ----------
    target : float
        Latency target [s]; Linux's for reads is 2 ms.
    most : int
        The cap, and the first Q; Linux's for reads is 256.

    Examples
    --------
    >>> from qtheory.simulate.controllers import mean_field
    >>> kyber = Kyber()
    >>> kyber.queue_length = 4
    >>> mean_field(kyber, [1e3 * min(n, 8) for n in range(1, 1025)], 40)[-1]
    256
    """

    target: float = 2e-3
    most: int = 256
    queue_length: int = field(init=False)
    _device: NDArray[np.int64] = field(init=False, repr=False)
    _whole: NDArray[np.int64] = field(init=False, repr=False)
    _first: float | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        positive("target", self.target)
        self.most = count("most", self.most)
        self.queue_length = self.most
        self._device, self._whole = np.zeros(BUCKETS, np.int64), np.zeros(BUCKETS, np.int64)

    def __call__(self, seen: Observation) -> int:
        """Q."""
        self._device += self._counted(seen.latencies)
        self._whole += self._counted(seen.responses)
        if seen.completions and self._first is None:
            self._first = seen.time - seen.duration
        samples = int(self._device.sum())
        if self._first is None or (samples < SAMPLES and seen.time < self._first + TIMEOUT):
            return self.queue_length
        bad = _percentile(self._device, 90) >= GOOD
        bucket = _percentile(self._whole, 99)
        self._device[:], self._whole[:], self._first = 0, 0, None
        if bad or bucket >= GOOD:
            self.queue_length = min(max(self.queue_length * (bucket + 1) // 4, 1), self.most)
        return self.queue_length

    def _counted(self, latencies: NDArray[np.float64]) -> NDArray[np.int64]:
        buckets = np.minimum(np.ceil(latencies * (GOOD / self.target)).astype(np.int64) - 1, BUCKETS - 1)
        return np.bincount(np.maximum(buckets, 0), minlength=BUCKETS)


def _percentile(buckets: NDArray[np.int64], percent: int) -> int:
    """Bucket of the percentile."""
    needed = -(-int(buckets.sum()) * percent // 100)
    return min(int(np.searchsorted(np.cumsum(buckets), needed)), BUCKETS - 1)


@dataclass
class LatencyTarget:
    """Linux's blk-iolatency turned on oneself: halved when a tenth exceeds the target, a step longer when not.

    Parameters
    ----------
    target : float
        Latency at the device that 90 % of the requests must not exceed [s].
    most : int
        The cap, and the first Q; a step is 1/16 of it.
    spacing : float
        Least time between two changes [s].

    Examples
    --------
    Without noise, saturated guests on eight servers of 1 ms and a target of 4 ms: never far from 32 in flight.

    >>> from qtheory.simulate.controllers import mean_field
    >>> lengths = mean_field(LatencyTarget(4e-3), [1e3 * min(n, 8) for n in range(1, 1025)], 400)
    >>> min(lengths[100:]), max(lengths[100:])
    (16, 48)
    """

    target: float
    most: int = 256
    spacing: float = 0.5
    queue_length: int = field(init=False)
    _changed: float = field(default=0.0, init=False, repr=False)
    _late: int = field(default=0, init=False, repr=False)
    _seen: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        positive("target", self.target)
        nonnegative("spacing", self.spacing)
        self.most = count("most", self.most)
        self.queue_length = self.most

    def __call__(self, seen: Observation) -> int:
        """Q."""
        self._late += int(np.count_nonzero(seen.latencies > self.target))
        self._seen += seen.completions
        if self._seen and seen.time >= self._changed + self.spacing:
            if 10 * self._late > self._seen:
                self.queue_length = max(self.queue_length // 2, 1)
            else:
                self.queue_length = min(self.queue_length + max(self.most // 16, 1), self.most)
            self._changed, self._late, self._seen = seen.time, 0, 0
        return self.queue_length
