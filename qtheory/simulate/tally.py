"""What a run keeps: sums, histograms and times by segment, in memory that does not grow with the run.

The run is cut into `SEGMENTS` equal segments, which are the batches of the confidence intervals. Sums and histograms
are kept for each of them; the occupancy pmfs, which are large, for six stretches that end at the possible warm-ups:
nothing, 1, 2, 4, 8 or 20 of the 40 segments. MSER-5's answer is rounded up to one of these.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from qtheory.engine import Engine
from qtheory.simulate.histogram import BINS, FIRST, SHIFT

SEGMENTS = 40
WARMUPS = (0, 1, 2, 4, 8, 20)
MOST_COUNTED = SEGMENTS * (2**31 - 1)
"""Requests after which a bin of a segment's histogram could overflow."""
FINE = 1000
"""Small batches that MSER-5 looks at, at most."""

Floats = NDArray[np.float64]


@njit(cache=True, nogil=True)
def record(  # type: ignore[no-untyped-def]
    disk, accepted, start, completion, finished, refused, wait, response, wait_bins, response_bins, fine, done, width
):
    """Add finished and refused requests (NaN completion) to the sums; return requests finished and their responses."""
    responses = of_batch = 0.0
    batch, room = done // width, width - done % width
    one = np.empty(2)
    bits = one.view(np.int64)
    last = len(wait_bins) - 1
    for k in range(len(disk)):
        d = disk[k]
        if d < 0:
            continue
        if np.isnan(completion[k]):
            refused[d] += 1
            continue
        one[0] = start[k] - accepted[k]
        one[1] = completion[k] - accepted[k]
        finished[d] += 1
        wait[d] += one[0]
        response[d] += one[1]
        responses += one[1]
        wait_bins[min(max((bits[0] >> SHIFT) - FIRST, 0), last)] += 1
        response_bins[min(max((bits[1] >> SHIFT) - FIRST, 0), last)] += 1
        done += 1
        of_batch += one[1]
        room -= 1
        if room == 0:  # a small batch is full
            fine[batch] += of_batch
            batch, room, of_batch = batch + 1, width, 0.0
    fine[batch] += of_batch
    return done, responses


@njit(cache=True, nogil=True)
def record_drains(drain, bins):  # type: ignore[no-untyped-def]
    """Add drain times to the histogram; return their sum."""
    bits = drain.view(np.int64)
    total = 0.0
    for k in range(len(drain)):
        total += drain[k]
        bins[min(max((bits[k] >> SHIFT) - FIRST, 0), len(bins) - 1)] += 1
    return total


class Tally:
    """The books of a run; `segment` says which one is written to."""

    def __init__(self, engine: Engine, requests: int) -> None:
        disks = len(engine.disks)
        most = [disk.most for disk in engine.disks]
        self.finished = np.zeros((SEGMENTS, disks), dtype=np.int64)
        self.refused = np.zeros((SEGMENTS, disks), dtype=np.int64)
        self.wait = np.zeros((SEGMENTS, disks))
        self.response = np.zeros((SEGMENTS, disks))
        self.disk_areas = np.zeros((SEGMENTS, disks))
        self.guest_areas = np.zeros((SEGMENTS, disks))
        self.duration = np.zeros(SEGMENTS)
        self.areas = np.zeros((SEGMENTS, 2))
        self.drains = np.zeros((SEGMENTS, 2))
        self.histograms = {
            name: np.zeros((SEGMENTS, BINS), dtype=np.int32) for name in ("wait", "response", "drain")
        }  # untouched pages of zeros cost nothing
        self.pmfs = np.zeros((len(WARMUPS), sum(most) + 1))
        self.disk_offset = np.cumsum([0, *(m + 1 for m in most)])
        self.disk_pmfs = np.zeros((len(WARMUPS), int(self.disk_offset[-1])))
        self.width = max(5, -(-requests // FINE))
        self.fine = np.zeros(-(-requests // self.width) + 1)
        self.done = 0
        self.segment = 0
        self.in_system = 0.0
        self.in_flight = 0.0

    @property
    def pmf(self) -> Floats:
        """Seconds with n requests in the system, in the present stretch."""
        row: Floats = self.pmfs[self._stretch]
        return row

    @property
    def disk_pmf(self) -> Floats:
        """The same for each disk, one after another from `disk_offset`."""
        row: Floats = self.disk_pmfs[self._stretch]
        return row

    @property
    def disk_area(self) -> Floats:
        """Seconds spent in the system by each disk's requests, in this segment."""
        row: Floats = self.disk_areas[self.segment]
        return row

    @property
    def guest_area(self) -> Floats:
        """Seconds spent waiting in the guest by each disk's requests, in this segment."""
        row: Floats = self.guest_areas[self.segment]
        return row

    @property
    def _stretch(self) -> int:
        return sum(self.segment >= end for end in WARMUPS) - 1

    def add(
        self,
        disk: NDArray[np.int32],
        accepted: Floats,
        start: Floats,
        completion: Floats,
        drain: Floats,
    ) -> float:
        """Enter requests that ended (refused: NaN) and drain samples [s]; return the responses' sum [s]."""
        s = self.segment
        self.done, responses = record(
            disk, accepted, start, completion, self.finished[s], self.refused[s], self.wait[s], self.response[s],
            self.histograms["wait"][s], self.histograms["response"][s], self.fine, self.done, self.width,
        )  # fmt: skip
        self.drains[s] += len(drain), record_drains(drain, self.histograms["drain"][s])
        return float(responses)

    def close_segment(self, duration: float) -> None:
        """End the present segment, which lasted `duration` seconds."""
        self.duration[self.segment] += duration
        self.areas[self.segment] += self.in_system, self.in_flight
        self.in_system = self.in_flight = 0.0
        self.segment = min(self.segment + 1, SEGMENTS - 1)
