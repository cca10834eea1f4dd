"""The bench's own cycle, simulated: the guest goes on, for a while, and is stopped.

A drain is over when everything has completed, so the guest that goes on after it begins everything anew at one moment.
Constant service keeps what began together in step until the next stop, which no stationary law knows of. So that time
is followed here from one stop to the next.

    guest ──▶ (one at a time, `turn` each) ──▶ servers, first come first served ──▶ `path` ──▶ `interrupt` ──▶ guest

The guest has one processor: what its requests cost there is done one after another, and when it goes on it takes the
disks in turn. So requests that began together end up a `turn` apart, and disks of many requests further. A processor
that had nothing to do has to `wake` before. What each costs is taken as constant: a machine that is late is late for
all disks, and that keeps them in step.

A limit on the guest's queue (nr_requests) freezes the disk's queue: what is outstanding completes, and only then do as
many requests go on as the new limit allows.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush, heapreplace

import numpy as np
from numpy.typing import NDArray

import qtheory as qt

from .cells import Cell

Floats = NDArray[np.float64]
SETTLE, SPREAD = 0.25, 0.3
"""Seconds for which the guest goes on, beside the longest drain: at least, and more by a uniform time."""
BLOCK = 4096


@dataclass(frozen=True)
class Overhead:
    """What a request costs beside its service [s].

    Attributes
    ----------
    turn : float
        Of the guest's processor, from one request's completion to the next one's submission, while it is busy.
    wake : float
        Until it begins with that.
    path : float
        Between QEMU's taking it and its completing it; a drain waits for it.
    interrupt : float
        Between QEMU and the guest, both ways.
    """

    turn: float
    wake: float
    path: float
    interrupt: float

    @property
    def total(self) -> float:
        """Of one request at a time [s]."""
        return self.turn + self.wake + self.path + self.interrupt


@dataclass(frozen=True)
class Cycles:
    """What was seen, in order.

    Attributes
    ----------
    drains : ndarray
        From the stop of the guest's processor until all that was submitted has completed [s].
    completed : ndarray
        Requests of all disks completed between the setting of the limit and the stop; from `lead`, else empty.
    """

    drains: Floats
    completed: Floats


def devices(cell: Cell) -> tuple[int, list[int]]:
    """Servers of one device, and which device each disk has.

    >>> from validation.qemu.cells import CELLS
    >>> devices(CELLS["delay-1"]), devices(CELLS["disks-2"]), devices(CELLS["threads-16"])
    ((4, [0, 1, 2, 3]), (8, [0, 0]), (16, [0, 0, 0, 0]))
    """
    servers = cell.servers or cell.threads
    if servers is None:
        raise ValueError(f"{cell.name} has neither servers nor threads")
    alone = cell.servers is not None and not cell.shared
    return servers, [disk if alone else 0 for disk in range(cell.disks)]


def settling(cell: Cell) -> float:
    """How long the guest goes on at least before the limit is set, or the stop [s]."""
    servers, of = devices(cell)
    return SETTLE + cell.depth * (1 if len(set(of)) > 1 else cell.disks) * cell.service.mean / servers


def cycles(cell: Cell, overhead: Overhead, stops: int, seed: int = 1) -> Cycles:
    """Simulate so many stops of a cell that has no rate limit."""
    rng = np.random.default_rng(seed)
    guest = _Running(cell, overhead, rng)
    drains, completed = [], []
    for _ in range(stops):
        guest.go_on()
        last = settling(cell) + SPREAD * rng.random()
        guest.run(last)
        if cell.lead is not None:
            before = guest.completed
            guest.limit()
            last += cell.lead
            guest.run(last)
            completed.append(guest.completed - before)
        drains.append(guest.drained(last))
    return Cycles(np.array(drains), np.array(completed, float))


def throughput(cell: Cell, overhead: Overhead, seconds: float = 30.0, seed: int = 1) -> float:
    """Requests per second of each disk in the long run."""
    guest = _Running(cell, overhead, np.random.default_rng(seed))
    guest.go_on()
    guest.run(seconds / 3.0)
    before = guest.completed
    guest.run(seconds)
    return (guest.completed - before) / (seconds * 2.0 / 3.0 * cell.disks)


def _drawn(law: qt.Law, rng: np.random.Generator) -> Iterator[float]:
    while True:
        yield from np.asarray(law.sample(rng, BLOCK)).tolist()


class _Running:
    """A guest between two stops."""

    def __init__(self, cell: Cell, overhead: Overhead, rng: np.random.Generator) -> None:
        self.cell = cell
        self.servers, self.of = devices(cell)
        self.overhead = overhead
        self.service = _drawn(cell.service, rng)
        self.completed = 0

    def go_on(self) -> None:
        """Everything has completed: all disks submit again."""
        cell = self.cell
        always = cell.requests if cell.lead is None else None
        self.guest_free = 0.0
        self.free = [[0.0] * self.servers for _ in range(max(self.of) + 1)]
        self.outstanding = [0] * cell.disks
        self.frozen = [False] * cell.disks
        # (when, whether it comes to the device or is completed, disk); at equal times completed first
        self.events: list[tuple[float, bool, int]] = []
        for disk in range(cell.disks):
            for _ in range(min(cell.depth, always or cell.depth)):
                self._submit(0.0, disk)

    def limit(self) -> None:
        """Set the limit on the guest's queues, which freezes them first."""
        self.frozen = [True] * self.cell.disks

    def run(self, until: float) -> None:
        """Until then."""
        events = self.events
        while events and events[0][0] <= until:
            now, comes, disk = heappop(events)
            if comes:
                heappush(events, (self._served(now, disk), False, disk))
                continue
            self.completed += 1
            self.outstanding[disk] -= 1
            if not self.frozen[disk]:
                self._submit(now + self.overhead.interrupt, disk)
            elif self.outstanding[disk] == 0:
                self.frozen[disk] = False
                for _ in range(self.cell.requests or 0):
                    self._submit(now + self.overhead.interrupt, disk)

    def drained(self, stop: float) -> float:
        """How long after the stop the last of what was submitted completes."""
        last = stop
        while self.events:
            now, comes, _ = heappop(self.events)
            if not comes:  # what has not come to the device by now is still in the guest
                last = now
        return last - stop

    def _submit(self, now: float, disk: int) -> None:
        self.outstanding[disk] += 1
        self.guest_free = max(now + self.overhead.wake, self.guest_free) + self.overhead.turn
        heappush(self.events, (self.guest_free, True, disk))

    def _served(self, now: float, disk: int) -> float:
        free = self.free[self.of[disk]]
        end = max(now, free[0]) + next(self.service)
        heapreplace(free, end)
        return end + self.overhead.path
