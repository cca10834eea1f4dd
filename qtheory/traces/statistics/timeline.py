"""Rate over time, for any length of trace: bins that double in width when the next arrival lies beyond the last.

At first there are 1000 bins of 1 ms. When an arrival lies beyond, each two neighbours become one, until it fits: there
are always between 500 and 1000 bins once the trace is longer than half a second.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from qtheory.traces.statistics.streams import NANO, Floats, Streams, grown

BINS = 1000
FIRST_WIDTH = 1_000_000  # ns


class Timeline:
    """Arrivals of each stream in bins of `width` [ns], and the time that requests spent outstanding in each [ns]."""

    def __init__(self) -> None:
        self.width = FIRST_WIDTH
        self.counts = np.zeros((1, BINS), dtype=np.int64)
        self.area = np.zeros(BINS)

    def add(self, streams: Streams) -> None:
        """Enter a block's arrivals; the bins then reach to its last one."""
        rows = len(streams.bounds) - 1
        self.counts = grown(self.counts, rows)
        while streams.clock[streams.bounds[1] - 1] >= BINS * self.width:
            self.width *= 2
            for row in self.counts:
                row[: BINS // 2], row[BINS // 2 :] = row[0::2] + row[1::2], 0
            self.area[: BINS // 2], self.area[BINS // 2 :] = self.area[0::2] + self.area[1::2], 0.0
        _add(streams.clock, streams.bounds, self.width, self.counts)

    def rates(self, span: int) -> Floats:
        """Arrivals per second of each stream in each bin, shape (streams, bins); a bin cut by the end is left out."""
        return self.counts[:, : span // self.width] / (self.width / NANO)

    def outstanding(self, span: int) -> Floats:
        """Mean number of outstanding requests in each bin."""
        return self.area[: span // self.width] / self.width


@njit(cache=True, nogil=True)
def _add(clock, bounds, width, counts):  # type: ignore[no-untyped-def]
    for r in range(len(bounds) - 1):
        k, end, n = 0, 0, 0
        for i in range(bounds[r], bounds[r + 1]):
            if clock[i] >= end:
                counts[r, k] += n
                k, n = clock[i] // width, 0
                end = (k + 1) * width
            n += 1
        counts[r, k] += n
