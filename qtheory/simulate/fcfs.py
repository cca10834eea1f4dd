"""Fast kernel: one shared device of c servers, one line, open arrivals, buffers for each disk.

Keep the departure times yet to come of all accepted requests in one sorted array. First come first served, a new
request starts when all but c − 1 of those before it are gone:

    start = max(now, departure[c-th last]),   completion = start + service,

and the completion is inserted from the back, past at most c − 1 others. This is the Kiefer–Wolfowitz recursion (1955)
with absolute times, in the form that also knows who leaves: a prefix of the array holds the departures in order. A
queue length Q below c makes it c; otherwise Q changes nothing but what a drain waits for.

* Blocking. Whether a disk's buffer is full matters only when as many were accepted as fit and none is known to have
  left, so departures are counted off lazily, at that moment: the common path is the bare recursion.
* Drain. The request accepted j-th is drained by the largest completion among the first j, a running maximum. A drain
  that waits for everything reads it at the last request; one that leaves all beyond Q in the ring reads it n − Q
  requests earlier (the submitted ones are the first accepted).
* Occupancy. Arrivals and departures are both sorted, so a merge gives the time averages. It costs as much as the
  recursion itself, so that it looks at one block out of `THINNING`; the means do not depend on it (Little's law).
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit
from numpy.typing import NDArray

from qtheory.arrivals import Closed
from qtheory.engine import Engine
from qtheory.simulate.draws import NONE, Draws
from qtheory.simulate.tally import Tally

BLOCK = 1 << 15
THINNING = 8
UNLIMITED = 1 << 40
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@njit(cache=True, nogil=True)
def serve(  # type: ignore[no-untyped-def]
    arrival, disk, service, servers, waits_for, most, exact, buffer, count, departure, owner, peak, tail,
    start, completion, drain,
):  # fmt: skip
    """Serve one block; write start, completion (NaN: refused) and what a drain would take just before each arrival.

    `departure[:servers]` is −inf, then come the departures left over from the block before, up to `tail`; `count` is
    what each disk has among them. Returns the range (head, tail) of what is left at the last arrival. Indices are
    unsigned, which spares numba the test for negative ones. A disk −1 is a moment looked at, not a request.
    """
    one, zero = np.uint64(1), np.uint64(0)
    servers, waits_for, most = np.uint64(servers), np.uint64(waits_for), np.uint64(most)
    head, tail = servers, np.uint64(tail)
    highest = peak[tail - one]
    for index in range(len(arrival)):
        k = np.uint64(index)
        now = arrival[k]
        drain[k] = max(0.0, highest - now)
        if disk[k] < 0:
            d, full = zero, True
        else:
            d = np.uint64(disk[k])
            full = count[d] >= buffer[d] or tail - head >= most
        if full or exact:
            while head < tail and departure[head] <= now:
                count[np.uint64(owner[head])] -= one
                head += one
            present = tail - head
            if present > waits_for:
                drain[k] = max(0.0, peak[tail - one - (present - waits_for)] - now)
            if disk[k] < 0 or count[d] >= buffer[d] or present >= most:
                start[k] = completion[k] = np.nan
                continue
        begins = max(now, departure[tail - servers])
        ends = begins + service[k]
        start[k], completion[k] = begins, ends
        i = tail
        while departure[i - one] > ends:
            departure[i], owner[i] = departure[i - one], owner[i - one]
            i -= one
        departure[i], owner[i] = ends, d
        highest = max(highest, ends)
        peak[tail] = highest
        tail += one
        count[d] += one
    now = arrival[-1]
    while head < tail and departure[head] <= now:
        count[np.uint64(owner[head])] -= one
        head += one
    return head, tail


@njit(cache=True, nogil=True)
def occupancy(  # type: ignore[no-untyped-def]
    arrival, disk, completion, departure, owner, head, tail, now, slots, count, offset, pmf, disk_pmf
):
    """Add to the pmfs the time spent in each state, from `now` to the last arrival; return ∫ min(n, slots) dt.

    Merges arrivals with the departures in `departure[head:tail]`; `count` is each disk's number at `now`.
    """
    one = np.uint64(1)
    present = np.uint64(count.sum())
    last = np.full(len(count), now)
    k, last_k = np.uint64(0), np.uint64(len(arrival))
    head, tail = np.uint64(head), np.uint64(tail)
    flight = 0.0
    while k < last_k:
        leaves = head < tail and departure[head] <= arrival[k]
        at = departure[head] if leaves else arrival[k]
        pmf[present] += at - now
        flight += min(np.float64(present), slots) * (at - now)
        now = at
        if leaves:
            d = np.uint64(owner[head])
            head += one
        else:
            k += one
            if np.isnan(completion[k - one]):
                continue
            d = np.uint64(disk[k - one])
        disk_pmf[np.uint64(offset[d] + count[d])] += now - last[d]
        last[d] = now
        if leaves:
            count[d] -= 1
            present -= one
        else:
            count[d] += 1
            present += one
    for i in range(len(count)):
        disk_pmf[offset[i] + count[i]] += now - last[i]
    return flight


class FcfsRun:
    """A run of the fast kernel, block by block."""

    method = "simulation: fcfs kernel"
    least_spacing = 2.0
    """Stops may follow each other every so many requests: a look costs as much as a request."""

    def __init__(self, engine: Engine, draws: Draws, *, stopped: bool) -> None:
        device = engine.device
        assert device is not None
        assert device.servers is not None
        limit = engine.queue_length or UNLIMITED
        total = sum(disk.buffer for disk in engine.disks)
        self._draws = draws
        self._stopped = stopped
        self._servers = min(device.servers, limit)
        self._most = limit if engine.hold == "refuse" else UNLIMITED
        self._slots = float(limit)
        binds = limit < total and engine.hold != "refuse"
        self._waits_for = limit if binds and engine.hold == "ring" else UNLIMITED
        self._exact = binds and engine.hold == "ring"
        self._every = 1 if binds else THINNING  # where Q does not bind, all that is in the system is in flight
        self._buffer = np.array([disk.buffer for disk in engine.disks], dtype=np.uint64)
        self._count = np.zeros(len(engine.disks), dtype=np.uint64)
        self._offset = np.cumsum([0, *(disk.most + 1 for disk in engine.disks)])[:-1]
        # one block beyond what can be in the system, with one look at the end and as many stops as requests
        size = self._servers + total + 2 * BLOCK + 1
        self._departure = np.full(size, -math.inf)
        self._owner = np.zeros(size, dtype=np.int32)
        self._peak = np.full(size, -math.inf)
        self._tail = self._servers
        self._blocks = 0
        self._gap = math.inf
        self._stops = np.array([math.inf])
        self.now = 0.0
        # Drawing costs nearly as much as serving, so the next block is drawn meanwhile; numpy and the kernels both
        # let go of the interpreter. Nothing else takes from the streams of arrivals and service, so that the draws
        # do not depend on who is first.
        self._drawer = ThreadPoolExecutor(1)
        self._next = self._drawer.submit(draws.open, BLOCK)
        self._drawn = NONE

    @staticmethod
    def serves(engine: Engine) -> bool:
        """Whether this kernel can run the engine."""
        lost = all(not isinstance(disk.arrivals, Closed) and disk.full == "lost" for disk in engine.disks)
        return lost and engine.caps is None and engine.device is not None and engine.device.servers is not None

    def stop_every(self, gap: float) -> None:
        """Look at the drain at the times of a Poisson process with this mean gap [s]."""
        self._gap = gap
        self._stops = self.now + gap * np.cumsum(self._draws.gap(1024))

    def advance(self, requests: int, tally: Tally) -> int:
        """Run at most a block of the next `requests` requests into the tally; return how many."""
        if len(self._drawn.time) == 0:
            self._drawn = self._next.result()
            self._next = self._drawer.submit(self._draws.open, BLOCK)
        taken = min(requests, len(self._drawn.time))
        time, disk, service = self._drawn.part(slice(taken))
        self._drawn = self._drawn.part(slice(taken, None))
        if taken == 0:
            return 0
        if self._stops[0] < time[-1]:
            stops = self._stops_until(float(time[-1]))
            at = np.searchsorted(time, stops)
            time, disk, service = np.insert(time, at, stops), np.insert(disk, at, -1), np.insert(service, at, 0.0)
        self._run(time, disk, service, tally, keep=True)
        return taken

    def finish(self, tally: Tally) -> None:
        """After the last arrival of a trace: go on until everything is served."""
        end = float(self._peak[self._tail - 1])
        if end > self.now:
            self._run(np.array([end]), np.array([-1], np.int32), np.zeros(1), tally, keep=False)

    def _run(self, time: Floats, disk: NDArray[np.int32], service: Floats, tally: Tally, *, keep: bool) -> None:
        """One call of the kernel, and what it says to the tally."""
        size, first = len(time), self._servers
        if size > 2 * BLOCK:  # a trace's pause, full of stops
            for part in np.array_split(np.arange(size), -(-size // BLOCK)):
                self._run(time[part], disk[part], service[part], tally, keep=keep)
            return
        start, completion, drain = np.empty(size), np.empty(size), np.empty(size)
        count = self._count.astype(np.int64)
        head, tail = serve(
            time, disk, service, self._servers, self._waits_for, self._most, self._exact, self._buffer, self._count,
            self._departure, self._owner, self._peak, self._tail, start, completion, drain,
        )  # fmt: skip
        looked_at = drain[disk < 0] if self._stopped else drain
        responses = tally.add(disk, time, start, completion, looked_at if keep else looked_at[:0])
        if self._blocks % self._every == 0:
            area = occupancy(
                time, disk, completion, self._departure, self._owner, first, tail, self.now, self._slots, count,
                self._offset, tally.pmf, tally.disk_pmf,
            )  # fmt: skip
            if self._every == 1:
                tally.in_flight += area
        tally.in_system += responses  # Little's law: all seconds that requests spend in the system
        tally.disk_area[:] = tally.response[tally.segment]
        if self._every != 1:
            tally.in_flight += responses
        self._blocks += 1
        self.now = float(time[-1])
        left = int(tail - head)
        for array in (self._departure, self._owner, self._peak):
            array[first : first + left] = array[head:tail].copy()
        self._tail = first + left

    def _stops_until(self, end: float) -> Floats:
        """The stop times before `end`; those after it are kept for later."""
        while self._stops[-1] < end:
            more = self._stops[-1] + np.cumsum(self._gap * self._draws.gap(1024))
            self._stops = np.concatenate([self._stops, more])
        due = int(np.searchsorted(self._stops, end))
        taken, self._stops = self._stops[:due], self._stops[due:]
        return taken
