"""Outstanding requests: how many are between arrival and completion, in the mean and at most, and over time.

Completions to come wait in a heap; before each arrival those that are due leave it. A completion goes before an arrival
at the same instant, and a request that completes as it arrives is never outstanding. The heap holds no more than what
is outstanding. The mean is from the first arrival to the last completion, by Little's law: the sum of the responses
over that time.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from qtheory.simulate.compiled import inlined
from qtheory.traces.statistics.streams import Ints, grown
from qtheory.traces.statistics.timeline import Timeline


class Outstanding:
    """Tally of completions; row 0 of `most` and `latest` [ns] is for all disks, row d + 1 for disk d."""

    def __init__(self) -> None:
        self.completion, self.owner = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        self.present = np.zeros(1, dtype=np.int64)
        self.most, self.latest = np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64)
        self.now = 0

    def add(self, clock: Ints, disk: Ints, response: Ints, disks: int, timeline: Timeline) -> None:
        """Enter a block's arrivals and responses [ns], whose bins `timeline` has already."""
        self.present, self.most = grown(self.present, disks + 1), grown(self.most, disks + 1)
        self.latest = grown(self.latest, disks + 1)
        room = np.empty(len(clock), dtype=np.int64)
        completion, owner = np.concatenate([self.completion, room]), np.concatenate([self.owner, room])
        _add(
            clock, disk, response, completion, owner, self.present, self.most, self.latest, self.now,
            timeline.area, timeline.width,
        )  # fmt: skip
        size = int(self.present[0])
        self.completion, self.owner = completion[:size].copy(), owner[:size].copy()
        self.now = int(clock[-1])


@njit(cache=True, nogil=True)
def _add(  # type: ignore[no-untyped-def]
    clock, disk, response, completion, owner, present, most, latest, now, area, width
):
    size = present[0]
    k = now // width
    end = (k + 1) * width
    for i in range(len(clock)):
        arrives = clock[i]
        leaves = True
        while leaves:
            leaves = size > 0 and completion[0] <= arrives
            at = completion[0] if leaves else arrives
            while at >= end:
                area[k] += size * (end - now)
                now, k, end = end, k + 1, end + width
            area[k] += size * (at - now)
            now = at
            if leaves:
                present[owner[0] + 1] -= 1
                size -= 1
                _take_first(completion, owner, size)
        d = disk[i]
        done = arrives + response[i]
        latest[0] = max(latest[0], done)
        latest[d + 1] = max(latest[d + 1], done)
        if response[i] > 0:
            _put(completion, owner, size, done, d)
            size += 1
            present[d + 1] += 1
            most[0] = max(most[0], size)
            most[d + 1] = max(most[d + 1], present[d + 1])
    present[0] = size


@inlined
def _put(key, item, at, new_key, new_item):  # type: ignore[no-untyped-def]
    """Put an entry at place `at` of a binary heap, or above, where it belongs."""
    at = np.uint64(at)
    while at > 0:
        above = (at - np.uint64(1)) >> np.uint64(1)
        if key[above] <= new_key:
            break
        key[at], item[at] = key[above], item[above]
        at = above
    key[at], item[at] = new_key, new_item


@inlined
def _take_first(key, item, last):  # type: ignore[no-untyped-def]
    """Take the least entry out of a heap that ends with place `last`, which is free then.

    The gap goes down to the bottom, as the last entry mostly belongs there, and the last entry up from it.
    """
    one, last = np.uint64(1), np.uint64(last)
    at, child = np.uint64(0), one
    while child < last:
        child += np.uint64(key[child + one] < key[child])
        key[at], item[at] = key[child], item[child]
        at, child = child, child + child + one
    _put(key, item, at, key[last], item[last])
