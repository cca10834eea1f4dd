"""The mix of operations and sizes: how often each size of each disk occurs, in an open-addressing hash table.

Traces have few different sizes, and then every figure is exact. When there are more than a million (disk, size) pairs,
sizes are rounded down to as many leading bits as it takes to have fewer; the mean stays exact.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from qtheory.traces.statistics.streams import Ints, grown

MOST_ENTRIES = 1 << 20
ALL_BITS = 63
COARSE_BITS = 10
LEAST_SLOTS = 1 << 12


class Sizes:
    """Tally of operations and sizes of each disk; `bits` is how many leading bits of a size are kept."""

    def __init__(self, operations: int) -> None:
        self.operations = np.zeros((0, operations), dtype=np.int64)
        self.sized, self.bytes = np.zeros(0, dtype=np.int64), np.zeros(0)
        self.bits = ALL_BITS
        self._table = _table(LEAST_SLOTS)
        self._used = 0

    def add(self, disk: Ints, op: Ints, size: Ints, disks: int) -> None:
        """Enter a block; sizes below 0 are not recorded."""
        self.operations = grown(self.operations, disks)
        self.sized, self.bytes = grown(self.sized, disks), grown(self.bytes, disks)
        _count(disk, op, size, self.operations, self.sized, self.bytes)
        self._enter(disk, size, np.ones(len(size), dtype=np.int64))

    def _enter(self, disk: Ints, size: Ints, times: Ints) -> None:
        done = 0
        while True:
            done, self._used = _enter(done, disk, size, times, self.bits, *self._table, self._used, MOST_ENTRIES)
            if done == len(disk):
                return
            slots = len(self._table[0])
            if self._used >= MOST_ENTRIES and self.bits > 1:
                self.bits = COARSE_BITS if self.bits == ALL_BITS else self.bits - 1
            else:
                slots *= 2
            old, self._used, self._table = self.entries(), 0, _table(slots)
            self._enter(*old)

    def entries(self) -> tuple[Ints, Ints, Ints]:
        """Disk, size and number of requests of each pair, in no order."""
        taken = self._table[2] > 0
        return self._table[0][taken], self._table[1][taken], self._table[2][taken]


def mix(size: Ints, times: Ints) -> tuple[Ints, Ints]:
    """Different sizes, rising, and how often each occurs, from entries of several disks.

    >>> mix(np.array([512, 4096, 512]), np.array([3, 1, 2]))
    (array([ 512, 4096]), array([5, 1]))
    """
    values, which = np.unique(size, return_inverse=True)
    counts = np.zeros(len(values), dtype=np.int64)
    np.add.at(counts, which, times)
    return values, counts


def quantile(values: Ints, counts: Ints, p: float) -> int:
    """Smallest of the values, rising, with at least share p of the counts at or below it."""
    below = np.cumsum(counts)
    return int(values[np.searchsorted(below, np.ceil(p * below[-1] * (1.0 - 4e-16)))])


def _table(slots: int) -> tuple[Ints, Ints, Ints]:
    """Empty slots: disk, size, number of requests."""
    return np.zeros(slots, dtype=np.int64), np.zeros(slots, dtype=np.int64), np.zeros(slots, dtype=np.int64)


@njit(cache=True, nogil=True)
def _count(disk, op, size, operations, sized, volume):  # type: ignore[no-untyped-def]
    for i in range(len(disk)):
        operations[disk[i], op[i]] += 1
        if size[i] >= 0:
            sized[disk[i]] += 1
            volume[disk[i]] += size[i]


@njit(cache=True, nogil=True)
def _enter(begin, disk, size, times, bits, disks, sizes, counts, used, most):  # type: ignore[no-untyped-def]
    """Enter pairs from `begin` on; return how far it came before the table was full, and the slots used."""
    mask = np.uint64(len(counts) - 1)
    for i in range(begin, len(disk)):
        d, s = disk[i], size[i]
        if s < 0:
            continue
        if bits < ALL_BITS:
            drop = 0
            while s >> drop >= 1 << bits:
                drop += 1
            s = s >> drop << drop
        key = (np.uint64(s) + np.uint64(d) * np.uint64(0xD1B54A32D192ED03)) * np.uint64(0x9E3779B97F4A7C15)
        slot = (key ^ (key >> np.uint64(32))) & mask
        while counts[slot] != 0 and not (sizes[slot] == s and disks[slot] == d):
            slot = (slot + np.uint64(1)) & mask
        if counts[slot] == 0:
            if 2 * used >= len(counts) or (used >= most and bits > 1):
                return i, used
            disks[slot], sizes[slot] = d, s
            used += 1
        counts[slot] += times[i]
    return len(disk), used
