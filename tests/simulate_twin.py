"""The simulator again, slow and obvious: plain Python, one event list, the same inputs in the same order.

It returns what happened to each request, and the drain that would follow if arrivals stopped at each given moment,
which it finds by running a deep copy of itself with the arrivals off.
"""

from __future__ import annotations

import copy
import heapq
import math
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from qtheory import Closed, Engine
from qtheory.simulate.draws import NONE, Arrivals


class Script:
    """Inputs fixed beforehand, with the interface of `Draws`: the twin and the kernels read the same numbers."""

    def __init__(self, arrivals=NONE, services=None, thinks=(1.0,), gaps=(1.0,), law_of=None):
        self.arrivals = Arrivals(*(np.asarray(a, t) for a, t in zip(arrivals, (float, np.int32, float), strict=True)))
        self.pools = [np.asarray(s, float) for s in services or [[1.0]]]
        self.laws = [None] * len(self.pools)
        n = 1 if law_of is None else len(law_of)
        self.law_of = np.zeros(n, np.int64) if law_of is None else np.asarray(law_of, np.int64)
        self.thinks, self.gaps = np.asarray(thinks, float), np.asarray(gaps, float)
        self.at = {}

    def _next(self, name, array, size):
        at = self.at.get(name, 0)
        self.at[name] = at + size
        return np.take(array, np.arange(at, at + size), mode="wrap")

    def open(self, size):
        at = self.at.get("open", 0)
        self.at["open"] = at + size
        return Arrivals(*(a[at : at + size] for a in self.arrivals))

    def service(self, law, size):
        return self._next(("service", law), self.pools[law], size)

    def think(self, size):
        return self._next("think", self.thinks, size)

    def gap(self, size):
        return self._next("gap", self.gaps, size)


@dataclass
class Request:
    disk: int
    work: float | None
    accepted: float = math.nan
    number: int = -1
    submitted: float = math.nan
    start: float = math.nan
    completion: float = math.nan
    left: float = math.nan


@dataclass
class Station:
    servers: int | None
    curve: tuple[float, ...] | None
    serving: list[Request] = field(default_factory=list)
    waiting: deque[Request] = field(default_factory=deque)
    slowdown: float = 1.0

    def rate(self):
        return self.curve[min(len(self.serving), len(self.curve)) - 1] / self.slowdown / len(self.serving)


class Twin:
    def __init__(self, engine: Engine, script: Script):
        self.engine, self.script = engine, script
        n = len(engine.disks)
        devices = [engine.device] if engine.shared else list(engine.devices)
        self.stations = [Station(d.servers, d.curve) for d in devices]
        self.now = 0.0
        self.slots = engine.queue_length or math.inf
        self.caps = engine.caps or [math.inf] * n
        self.submitted = [0] * n
        self.count = [0] * n
        self.line: list[Request] = []
        self.guest = [deque() for _ in range(n)]
        self.waited = np.zeros(n)
        self.thinking = [[] for _ in range(n)]
        self.accepted = 0
        self.pools = [iter(_cycle(pool)) for pool in script.pools]
        self.thinks = iter(_cycle(script.thinks))
        self.arrivals = deque(zip(*(a.tolist() for a in script.arrivals), strict=True))
        self.done: list[Request] = []
        self.silent = [False] * n
        self.start(range(n))

    def __deepcopy__(self, memo):  # inputs are not copied: a drain reads none
        twin = object.__new__(Twin)
        kept = {"engine", "script", "pools", "thinks", "arrivals", "done", "guest", "thinking"}
        for name, value in vars(self).items():
            setattr(twin, name, value if name in kept else copy.deepcopy(value, memo))
        return twin

    def start(self, disks):
        """Requests of closed disks that are not in the system begin to think, or come, disk by disk in turn."""
        left = {
            i: self.engine.disks[i].arrivals.outstanding - self.count[i]
            for i in sorted(disks)
            if isinstance(self.engine.disks[i].arrivals, Closed)
        }
        for turn in range(max(left.values(), default=0)):
            for i in left:
                if left[i] > turn:
                    if self.engine.disks[i].arrivals.think_time > 0.0:
                        self.think(i)
                    else:
                        self.arrive_closed(i)

    def attach(self, disks, attached):
        """Closed disks come, or go: then what thinks or waits in the guest is gone, and completions bring nothing."""
        changing = [
            i for i in disks if self.silent[i] == attached and isinstance(self.engine.disks[i].arrivals, Closed)
        ]
        for i in changing:
            self.silent[i] = not attached
            if not attached:
                self.thinking[i].clear()
                self.guest[i].clear()
        if attached:
            self.start(changing)

    def station(self, disk):
        return self.stations[0 if self.engine.shared else disk]

    def think(self, disk):
        heapq.heappush(self.thinking[disk], self.now + self.engine.disks[disk].arrivals.think_time * next(self.thinks))

    def refused(self, disk):
        if self.engine.hold != "refuse":
            return False
        return sum(self.count) >= self.slots or self.submitted[disk] >= self.caps[disk]

    def arrive_closed(self, disk):
        if self.count[disk] >= self.engine.disks[disk].buffer:
            self.guest[disk].append(Request(disk, None))
        elif self.refused(disk):
            self.think(disk)
        else:
            self.accept(Request(disk, None))

    def arrive_open(self, disk, work):
        request = Request(disk, work, accepted=self.now)
        full = self.count[disk] >= self.engine.disks[disk].buffer
        if full and self.engine.disks[disk].full == "wait":
            self.guest[disk].append(request)
        elif full or self.refused(disk):
            self.done.append(request)
        else:
            self.accept(request)

    def accept(self, request):
        if request.work is None:
            request.work = next(self.pools[self.script.law_of[request.disk]])
        request.accepted, request.number = self.now, self.accepted
        self.accepted += 1
        self.count[request.disk] += 1
        self.line.append(request)
        self.submit()

    def submit(self):
        """Give slots to the oldest requests whose disks are below their caps."""
        for request in list(self.line):
            if sum(self.submitted) < self.slots and self.submitted[request.disk] < self.caps[request.disk]:
                self.line.remove(request)
                request.submitted = self.now
                self.submitted[request.disk] += 1
                self.station(request.disk).waiting.append(request)
                self.serve()

    def serve(self):
        for station in self.stations:
            while station.waiting and (station.curve or len(station.serving) < station.servers):
                request = station.waiting.popleft()
                request.start, request.left = self.now, request.work
                request.completion = self.now + request.work * station.slowdown
                station.serving.append(request)

    def next_completion(self, station):
        """(time, request) of the station's next completion."""
        if not station.serving:
            return math.inf, None
        if station.curve:
            request = min(station.serving, key=lambda r: (r.left, r.number))
            return self.now + request.left / station.rate(), request
        request = min(station.serving, key=lambda r: (r.completion, r.number))
        return request.completion, request

    def pass_until(self, time):
        for station in self.stations:
            if station.curve and station.serving:
                rate = station.rate()
                for request in station.serving:
                    request.left -= (time - self.now) * rate
        self.waited += [len(waiting) * (time - self.now) for waiting in self.guest]
        self.now = time

    def step(self, until=math.inf, *, draining=False):
        """Do what comes next, if it comes by `until`; False if it does not."""
        completions = [(*self.next_completion(s), s) for s in self.stations]
        at, request, station = min(completions, key=lambda c: c[0])
        ends = [h[0] if h else math.inf for h in self.thinking]
        thought = math.inf if draining else min(ends)
        arrives = math.inf if draining or not self.arrivals else self.arrivals[0][0]
        time = min(at, thought, arrives)
        if time > until or time == math.inf:
            return False
        self.pass_until(time)
        if at == time:
            station.serving.remove(request)
            request.completion = time
            disk = request.disk
            self.submitted[disk] -= 1
            self.count[disk] -= 1
            self.serve()
            self.submit()
            if not draining:
                self.done.append(request)
                self.after(disk)
        elif thought == time:
            disk = ends.index(thought)
            heapq.heappop(self.thinking[disk])
            self.arrive_closed(disk)
        else:
            _, disk, work = self.arrivals.popleft()
            self.arrive_open(disk, work)
        return True

    def after(self, disk):
        """What a disk's guest does when one of its requests is complete."""
        arrivals = self.engine.disks[disk].arrivals
        if isinstance(arrivals, Closed) and not self.silent[disk]:
            if arrivals.think_time > 0.0:
                self.think(disk)
            else:
                self.guest[disk].append(Request(disk, None))
        if self.guest[disk]:
            self.accept(self.guest[disk].popleft())

    def drain(self):
        """Time until what a drain waits for is complete, were arrivals to stop now."""
        twin = copy.deepcopy(self)
        if self.engine.hold == "ring":
            twin.line.clear()
        while twin.step(draining=True):
            pass
        busy = any(s.serving for s in self.stations)
        return twin.now - self.now if busy else 0.0


def _cycle(array):
    while True:
        yield from np.asarray(array).tolist()


def play(engine, script, ended, stops=(), waited=None):
    """Requests in the order in which they end (refused ones included), and the drain at each stop.

    `waited` gets the seconds that each disk's requests have waited in the guest.
    """
    twin, drains, due = Twin(engine, script), [], deque(stops)
    while len(twin.done) < ended:
        before = len(twin.done)
        if due and not twin.step(until=due[0]):
            twin.pass_until(due.popleft())
            drains.append(twin.drain())
            continue
        if not due and not twin.step():
            break
        assert len(twin.done) - before <= 1
    if waited is not None:
        waited[:] = twin.waited
    return twin.done, drains


def play_resized(engine, script, moments):
    """Requests in the order in which they end, the drain and what is in flight at each moment, before it changes.

    A moment is (time, Q from then on, disks, whether they are attached, slowdown of the first device).
    """
    twin, drains, in_flight = Twin(engine, script), [], []
    for time, queue_length, disks, attached, slowdown in moments:
        while twin.step(until=time):
            pass
        twin.pass_until(time)
        drains.append(twin.drain())
        in_flight.append(sum(twin.submitted))
        twin.attach(disks, attached)
        twin.stations[0].slowdown = slowdown
        twin.slots = queue_length
        twin.submit()
    return twin.done, drains, in_flight
