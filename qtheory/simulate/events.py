"""General kernel: any engine that can be described, event by event.

A request passes: guest (where the disk's buffer is full and the guest waits) → accepted, in its disk's line → one of
the Q slots → its device's servers, or the line before them → gone. Of the lines' heads, the oldest whose disk is
below its cap of slots goes first; one line for all is the same thing without caps. A device with a rate curve has no
line: its n requests are served at rate curve(n)/n each, and each needs an exponential amount of work of mean 1. Its
clock runs in work done per request, so that a request's end is known when it comes, and the order of ends never
changes.

What comes next is the winner of a tournament over the devices (next completion) and the closed disks (next think time
that ends); open arrivals come from an ordered array. At equal times completions come first, by device, then think
times, by disk, then arrivals. An event costs O(log) of what there is of devices, disks and requests.

Drains are computed where a stop falls, at the times of a Poisson process: the state of the slots is copied, arrivals
are off, and the copy runs until it is empty, by the functions that also move the run itself.

With `hold="refuse"` nothing is held beyond the slots: a request is refused when Q are in the system or when its disk
has used up its cap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qtheory.arrivals import Closed
from qtheory.engine import Engine
from qtheory.simulate.compiled import compiled, inlined
from qtheory.simulate.draws import NONE, Draws
from qtheory.simulate.heaps import enter, pop, push, tournament, winner
from qtheory.simulate.tally import Tally

BLOCK = 1 << 14
POOL = 1 << 15
UNLIMITED = 1 << 40

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DONE, MORE_ARRIVALS, MORE_SERVICE, MORE_THINK, MORE_GAPS, MORE_ROOM = range(6)
"""Why the kernel returned."""


class Rules(NamedTuple):
    """The engine as the kernel reads it; nothing in it changes."""

    device: Ints
    """Each disk's device."""
    law: Ints
    """Each disk's row in the pool of service requirements."""
    buffer: Ints
    guest_waits: Ints
    """1 where an open request waits for room in its disk's buffer."""
    think: Floats
    """Mean think time [s] of closed disks, −1 for open ones."""
    cap: Ints
    """Slots that each disk may use."""
    slots: int
    refuse: int
    """Whether requests beyond the slots are refused."""
    servers: Ints
    """0 for a rate curve."""
    curve: Floats
    curve_base: Ints
    """Where each device's rates begin in `curve`, with the end of the last."""
    service_base: Ints
    """Where each device's heap begins."""
    think_base: Ints
    """Where each closed disk's heap begins."""
    offset: Ints
    """Where each disk's pmf begins."""
    slowdown: Floats
    """By which service times that begin now are multiplied, by device; a rate curve is divided instead."""


class Flight(NamedTuple):
    """The part of the state that a drain goes on with: lines, slots, devices."""

    clock: Floats
    """[now]"""
    used: Ints
    """[slots used]"""
    disk_used: Ints
    line_head: Ints
    line_tail: Ints
    oldest: Floats
    """Tournament of the disks: number of the line's head, inf where there is none or the cap is reached."""
    next_event: Floats
    """Tournament of the devices and then the disks: time of the next completion or end of thinking."""
    key: Floats
    item: Ints
    """Heaps of the devices: the ends of what is being served, on the device's own clock."""
    busy: Ints
    """Requests being served, by device."""
    device_head: Ints
    device_tail: Ints
    device_link: Ints
    """Lines before the servers."""
    work_done: Floats
    work_time: Floats
    """A rate curve's clock (work done per request), and when it was read."""
    submitted: Floats
    """When each request got its slot, and when its service began."""
    start: Floats


class Requests(NamedTuple):
    """One place for each request in the system, or waiting in the guest of an open disk."""

    disk: Ints
    work: Floats
    accepted: Floats
    number: Ints
    """Order of acceptance."""
    link: Ints
    """Next in the same line, or next free place."""


class Guests(NamedTuple):
    """The part of the state that only a run has."""

    present: Ints
    """Requests in the system, by disk."""
    head: Ints
    tail: Ints
    """Requests of open disks that wait for room."""
    waiting: Ints
    """How many requests of the disk wait for room."""
    waiting_since: Floats
    """When that last changed."""
    think_key: Floats
    think_item: Ints
    thinking: Ints
    last: Floats
    """When the disk's number last changed."""
    numbers: Ints
    """[requests in the system, accepted so far, first free place, next arrival, next think, next gap]"""
    stop: Floats
    """[next stop, mean gap between stops]"""
    taken: Ints
    """Service requirements taken from each law's pool."""


@inlined
def _see_device(rules, flight, d):  # type: ignore[no-untyped-def]
    """Enter when the device completes its next request."""
    n = flight.busy[d]
    if n == 0:
        at = math.inf
    else:
        at = flight.key[rules.service_base[d]]
        if rules.servers[d] == 0:
            at = flight.work_time[d] + max(at - flight.work_done[d], 0.0) * n / _rate(rules, d, n)
    enter(flight.next_event, d, at)


@inlined
def _rate(rules, d, n):  # type: ignore[no-untyped-def]
    return rules.curve[min(rules.curve_base[d] + n, rules.curve_base[d + 1]) - 1]


@inlined
def _see_line(rules, flight, requests, disk):  # type: ignore[no-untyped-def]
    """Enter the number of the disk's oldest waiting request, if it may go."""
    head = flight.line_head[disk]
    may = head >= 0 and flight.disk_used[disk] < rules.cap[disk]
    enter(flight.oldest, disk, float(requests.number[head]) if may else math.inf)


@inlined
def _begin(rules, flight, requests, d, place):  # type: ignore[no-untyped-def]
    """Begin to serve a request at device d."""
    now = flight.clock[0]
    flight.start[place] = now
    n = flight.busy[d]
    if rules.servers[d] > 0:
        end = now + requests.work[place] * rules.slowdown[d]
    else:
        if n == 0:
            flight.work_done[d] = 0.0
        else:
            flight.work_done[d] += (now - flight.work_time[d]) * _rate(rules, d, n) / n
        flight.work_time[d] = now
        end = flight.work_done[d] + requests.work[place]
    push(flight.key, flight.item, rules.service_base[d], n, end, place, requests.number)
    flight.busy[d] = n + 1


@compiled
def _fill(rules, flight, requests):  # type: ignore[no-untyped-def]
    """Give free slots to the oldest requests that may have one."""
    while flight.used[0] < rules.slots and flight.oldest[1] < math.inf:
        disk = winner(flight.oldest)
        place = flight.line_head[disk]
        flight.line_head[disk] = requests.link[place] if place != flight.line_tail[disk] else -1
        flight.submitted[place] = flight.clock[0]
        flight.used[0] += 1
        flight.disk_used[disk] += 1
        _see_line(rules, flight, requests, disk)
        d = rules.device[disk]
        if rules.servers[d] == 0 or flight.busy[d] < rules.servers[d]:
            _begin(rules, flight, requests, d, place)
            _see_device(rules, flight, d)
        else:
            if flight.device_head[d] < 0:
                flight.device_head[d] = place
            else:
                flight.device_link[flight.device_tail[d]] = place
            flight.device_tail[d] = place


@inlined
def _complete(rules, flight, requests, d):  # type: ignore[no-untyped-def]
    """Device d completes its next request now: its server and its slot go on to others. Returns the request."""
    base, n = rules.service_base[d], flight.busy[d]
    if rules.servers[d] == 0:
        flight.work_done[d], flight.work_time[d] = flight.key[base], flight.clock[0]
    place = pop(flight.key, flight.item, base, n, requests.number)
    flight.busy[d] = n - 1
    head = flight.device_head[d]
    if head >= 0:
        flight.device_head[d] = flight.device_link[head] if head != flight.device_tail[d] else -1
        _begin(rules, flight, requests, d, head)
    _see_device(rules, flight, d)
    disk = requests.disk[place]
    flight.used[0] -= 1
    flight.disk_used[disk] -= 1
    _see_line(rules, flight, requests, disk)
    _fill(rules, flight, requests)
    return place


@compiled
def _copied(rules, flight, copy, with_lines):  # type: ignore[no-untyped-def]
    """Copy the slots and devices, and the lines where `with_lines`, to go on with when nothing more is accepted."""
    copy.clock[0] = flight.clock[0]
    copy.used[0] = flight.used[0]
    devices = len(rules.servers)
    for disk in range(len(rules.device)):
        copy.disk_used[disk] = flight.disk_used[disk]
        copy.line_head[disk] = flight.line_head[disk] if with_lines else -1
        copy.line_tail[disk] = flight.line_tail[disk]
    for i in range(len(copy.oldest)):
        copy.oldest[i] = flight.oldest[i] if with_lines else math.inf
    for i in range(len(copy.next_event)):
        copy.next_event[i] = math.inf
    for d in range(devices):
        copy.busy[d] = flight.busy[d]
        base = rules.service_base[d]
        for i in range(base, base + flight.busy[d]):
            copy.key[i], copy.item[i] = flight.key[i], flight.item[i]
        copy.work_done[d], copy.work_time[d] = flight.work_done[d], flight.work_time[d]
        copy.device_head[d], copy.device_tail[d] = flight.device_head[d], flight.device_tail[d]
        place = flight.device_head[d]
        while place >= 0 and place != flight.device_tail[d]:
            copy.device_link[place] = flight.device_link[place]
            place = flight.device_link[place]
        if copy.busy[d] > 0:
            _see_device(rules, copy, d)


@compiled
def _drain(rules, flight, copy, requests, with_lines):  # type: ignore[no-untyped-def]
    """Time until the slots are empty, and the lines too where `with_lines`, when nothing more is accepted."""
    _copied(rules, flight, copy, with_lines)
    while copy.next_event[1] < math.inf:
        copy.clock[0] = copy.next_event[1]
        _complete(rules, copy, requests, winner(copy.next_event))
    return copy.clock[0] - flight.clock[0]


@inlined
def _spend(rules, guests, disk, now, area, disk_pmf):  # type: ignore[no-untyped-def]
    """Book the time that the disk has had its present number of requests."""
    since = now - guests.last[disk]
    n = guests.present[disk]
    disk_pmf[rules.offset[disk] + n] += since
    area[disk] += n * since
    guests.last[disk] = now


@inlined
def _wait_in_guest(guests, disk, change, now, guest_area):  # type: ignore[no-untyped-def]
    """One request more or less waits in the disk's guest: book the time that so many have waited."""
    guest_area[disk] += guests.waiting[disk] * (now - guests.waiting_since[disk])
    guests.waiting_since[disk] = now
    guests.waiting[disk] += change


@inlined
def _send(rules, flight, requests, place):  # type: ignore[no-untyped-def]
    """The request joins its disk's line, and goes on if it may."""
    disk = requests.disk[place]
    if flight.line_head[disk] < 0:
        flight.line_head[disk] = place
        _see_line(rules, flight, requests, disk)
    else:
        requests.link[flight.line_tail[disk]] = place
    flight.line_tail[disk] = place
    _fill(rules, flight, requests)


@inlined
def _accept(rules, flight, requests, guests, place, area, disk_pmf):  # type: ignore[no-untyped-def]
    """Accept the request in this place: it joins its disk's line, and goes on if it may."""
    disk = requests.disk[place]
    _spend(rules, guests, disk, flight.clock[0], area, disk_pmf)
    guests.present[disk] += 1
    guests.numbers[0] += 1
    requests.accepted[place] = flight.clock[0]
    requests.number[place] = guests.numbers[1]
    guests.numbers[1] += 1
    _send(rules, flight, requests, place)


@inlined
def _place(requests, guests, disk, work):  # type: ignore[no-untyped-def]
    """A free place for a new request."""
    place = guests.numbers[2]
    guests.numbers[2] = requests.link[place]
    requests.disk[place] = disk
    requests.work[place] = work
    return place


@inlined
def _think(rules, flight, guests, disk, think_pool):  # type: ignore[no-untyped-def]
    """A request of a closed disk begins to think."""
    end = flight.clock[0] + rules.think[disk] * think_pool[guests.numbers[4]]
    guests.numbers[4] += 1
    n = guests.thinking[disk]
    push(guests.think_key, guests.think_item, rules.think_base[disk], n, end, 0, guests.think_item)
    guests.thinking[disk] = n + 1
    enter(flight.next_event, len(rules.servers) + disk, guests.think_key[rules.think_base[disk]])


@inlined
def _submit_closed(rules, flight, requests, guests, disk, service_pool, area, disk_pmf):  # type: ignore[no-untyped-def]
    """A closed guest submits a request that its buffer and its engine have room for."""
    row = rules.law[disk]
    place = _place(requests, guests, disk, service_pool[row, guests.taken[row]])
    guests.taken[row] += 1
    _accept(rules, flight, requests, guests, place, area, disk_pmf)


@inlined
def _refused(rules, flight, guests, disk):  # type: ignore[no-untyped-def]
    """Whether the engine takes no more from this disk."""
    return rules.refuse and (guests.numbers[0] >= rules.slots or flight.disk_used[disk] >= rules.cap[disk])


@compiled
def run(  # type: ignore[no-untyped-def]
    rules, flight, copy, requests, guests, time, arrival_disk, arrival_work, exhausted, service_pool, think_pool,
    gap_pool, with_lines, ended, limit, out_disk, out_accepted, out_submitted, out_start, out_completion, out_drain,
    drains, areas, area, guest_area, pmf, disk_pmf,
):  # fmt: skip
    """Run until `limit` requests have ended or something runs out; return why, requests ended, drains looked at."""
    devices = len(rules.servers)
    while ended < limit:
        cursor = guests.numbers[3]
        if cursor == len(time) and not exhausted:
            return MORE_ARRIVALS, ended, drains
        if guests.numbers[2] < 0:
            return MORE_ROOM, ended, drains
        arrives = time[cursor] if cursor < len(time) else math.inf
        event = flight.next_event[1]
        now = min(arrives, event)
        if now == math.inf:
            break
        if guests.stop[0] < now:
            now = guests.stop[0]
            if guests.numbers[5] == len(gap_pool) or drains == len(out_drain):
                return MORE_GAPS, ended, drains
        leaf = winner(flight.next_event) if now == event else -1
        if leaf >= 0:
            disk = leaf - devices if leaf >= devices else requests.disk[flight.item[rules.service_base[leaf]]]
            if rules.think[disk] >= 0.0:
                if guests.numbers[4] == len(think_pool):
                    return MORE_THINK, ended, drains
                if guests.taken[rules.law[disk]] == service_pool.shape[1]:
                    return MORE_SERVICE, ended, drains
        present = guests.numbers[0]
        passed = now - flight.clock[0]
        pmf[present] += passed
        areas[0] += present * passed
        areas[1] += flight.used[0] * passed
        flight.clock[0] = now

        if leaf >= devices:  # a closed request has thought
            base = rules.think_base[disk]
            pop(guests.think_key, guests.think_item, base, guests.thinking[disk], guests.think_item)
            guests.thinking[disk] -= 1
            enter(flight.next_event, leaf, guests.think_key[base] if guests.thinking[disk] > 0 else math.inf)
            if guests.present[disk] >= rules.buffer[disk]:
                _wait_in_guest(guests, disk, 1, now, guest_area)
            elif _refused(rules, flight, guests, disk):
                _think(rules, flight, guests, disk, think_pool)
            else:
                _submit_closed(rules, flight, requests, guests, disk, service_pool, area, disk_pmf)
        elif leaf >= 0:  # a completion
            place = _complete(rules, flight, requests, leaf)
            out_disk[ended], out_accepted[ended] = disk, requests.accepted[place]
            out_submitted[ended] = flight.submitted[place]
            out_start[ended], out_completion[ended] = flight.start[place], now
            ended += 1
            _spend(rules, guests, disk, now, area, disk_pmf)
            guests.present[disk] -= 1
            guests.numbers[0] -= 1
            requests.link[place] = guests.numbers[2]
            guests.numbers[2] = place
            if rules.think[disk] < 0.0:
                first = guests.head[disk]
                if first >= 0:
                    guests.head[disk] = requests.link[first] if first != guests.tail[disk] else -1
                    _wait_in_guest(guests, disk, -1, now, guest_area)
                    _accept(rules, flight, requests, guests, first, area, disk_pmf)
            elif rules.think[disk] == 0.0:
                _submit_closed(rules, flight, requests, guests, disk, service_pool, area, disk_pmf)
            else:
                _think(rules, flight, guests, disk, think_pool)
                if guests.waiting[disk] > 0:
                    _wait_in_guest(guests, disk, -1, now, guest_area)
                    _submit_closed(rules, flight, requests, guests, disk, service_pool, area, disk_pmf)
        elif now == arrives:
            guests.numbers[3] = cursor + 1
            disk = arrival_disk[cursor]
            full = guests.present[disk] >= rules.buffer[disk]
            if full and rules.guest_waits[disk]:
                place = _place(requests, guests, disk, arrival_work[cursor])
                if guests.head[disk] < 0:
                    guests.head[disk] = place
                else:
                    requests.link[guests.tail[disk]] = place
                guests.tail[disk] = place
                _wait_in_guest(guests, disk, 1, now, guest_area)
            elif full or _refused(rules, flight, guests, disk):
                out_disk[ended], out_accepted[ended] = disk, now
                out_submitted[ended] = out_start[ended] = out_completion[ended] = math.nan
                ended += 1
            else:
                place = _place(requests, guests, disk, arrival_work[cursor])
                _accept(rules, flight, requests, guests, place, area, disk_pmf)
        else:  # a stop
            out_drain[drains] = _drain(rules, flight, copy, requests, with_lines)
            drains += 1
            guests.stop[0] = now + guests.stop[1] * gap_pool[guests.numbers[5]]
            guests.numbers[5] += 1
    for disk in range(len(rules.device)):
        _spend(rules, guests, disk, flight.clock[0], area, disk_pmf)
        _wait_in_guest(guests, disk, 0, flight.clock[0], guest_area)
    return DONE, ended, drains


class EventRun:
    """A run of the general kernel, block by block."""

    method = "simulation: event kernel"
    least_spacing = 20.0
    """Least mean number of requests between two stops."""

    def __init__(self, engine: Engine, draws: Draws, attached: Sequence[int] | None = None) -> None:
        """A run from time 0 on; of the closed disks `attached` begin (None: all)."""
        disks = engine.disks
        n = len(disks)
        devices = (engine.device,) if engine.device is not None else engine.devices
        self._closed = closed = [d.arrivals if isinstance(d.arrivals, Closed) else None for d in disks]
        most = [d.most for d in disks]
        slots = engine.queue_length or UNLIMITED
        total = sum(most)
        shared = engine.shared
        at_once = [
            min(device.servers or UNLIMITED, slots, total if shared else most[d]) for d, device in enumerate(devices)
        ]
        curves = [device.curve or () for device in devices]
        thinkers = [c.outstanding if c is not None and c.think_time > 0.0 else 0 for c in closed]
        self._draws = draws
        self._with_lines = engine.hold != "ring"
        self._rules = Rules(
            device=np.zeros(n, np.int64) if shared else np.arange(n),
            law=draws.law_of,
            buffer=np.array([d.buffer for d in disks]),
            guest_waits=np.array([int(c is None and d.full == "wait") for d, c in zip(disks, closed, strict=True)]),
            think=np.array([-1.0 if c is None else c.think_time for c in closed]),
            cap=np.array(engine.caps if engine.caps is not None else [UNLIMITED] * n),
            slots=slots,
            refuse=int(engine.hold == "refuse"),
            servers=np.array([device.servers or 0 for device in devices]),
            curve=np.array([rate for curve in curves for rate in curve] or [0.0]),
            curve_base=np.cumsum([0, *map(len, curves)]),
            service_base=np.cumsum([0, *at_once])[:-1],
            think_base=np.cumsum([0, *thinkers])[:-1],
            offset=np.cumsum([0, *(m + 1 for m in most)])[:-1],
            slowdown=np.ones(len(devices)),
        )
        self._flight, self._copy = (self._empty_flight(n, len(devices), sum(at_once), total) for _ in range(2))
        self._requests = Requests(
            disk=np.zeros(total + 1, np.int64),
            work=np.zeros(total + 1),
            accepted=np.zeros(total + 1),
            number=np.zeros(total + 1, np.int64),
            link=np.append(np.arange(1, total + 1), -1),
        )
        self._guests = Guests(
            present=np.zeros(n, np.int64),
            head=np.full(n, -1),
            tail=np.full(n, -1),
            waiting=np.array([d.always_in_guest for d in disks]),
            waiting_since=np.zeros(n),
            think_key=np.zeros(sum(thinkers) + 1),
            think_item=np.zeros(sum(thinkers) + 1, np.int64),
            thinking=np.zeros(n, np.int64),
            last=np.zeros(n),
            numbers=np.zeros(6, np.int64),
            stop=np.array([math.inf, math.inf]),
            taken=np.zeros(len(draws.laws), np.int64),
        )
        self._always_waiting = self._guests.waiting.copy()
        self._open = NONE
        self._exhausted = False
        rows = len(draws.laws)
        self._service_pool = np.array([draws.service(row, max(256, POOL // rows)) for row in range(rows)])
        self._think_pool = draws.think(POOL)
        self._gap_pool = np.empty(0)
        self._scratch = np.zeros(n), np.zeros(sum(m + 1 for m in most))
        self._start_closed(range(n) if attached is None else attached)

    @staticmethod
    def _empty_flight(disks: int, devices: int, at_once: int, places: int) -> Flight:
        return Flight(
            clock=np.zeros(1),
            used=np.zeros(1, np.int64),
            disk_used=np.zeros(disks, np.int64),
            line_head=np.full(disks, -1),
            line_tail=np.full(disks, -1),
            oldest=tournament(disks),
            next_event=tournament(devices + disks),
            key=np.zeros(at_once),
            item=np.zeros(at_once, np.int64),
            busy=np.zeros(devices, np.int64),
            device_head=np.full(devices, -1),
            device_tail=np.full(devices, -1),
            device_link=np.zeros(places + 1, np.int64),
            work_done=np.zeros(devices),
            work_time=np.zeros(devices),
            submitted=np.zeros(places + 1),
            start=np.zeros(places + 1),
        )

    def _start_closed(self, disks: Sequence[int]) -> None:
        """Closed requests that are not in the system begin to think; saturated guests submit them, disk by disk."""
        guests, rules = self._guests, self._rules
        left = np.zeros(len(self._closed), np.int64)
        for disk in disks:
            closed = self._closed[disk]
            left[disk] = 0 if closed is None else closed.outstanding - guests.present[disk]
        turn = 0
        while (left > turn).any():
            for disk in np.flatnonzero(left > turn).tolist():
                if rules.think[disk] > 0.0:
                    if guests.numbers[4] == len(self._think_pool):
                        self._more_think()
                    _think(rules, self._flight, guests, disk, self._think_pool)
                elif guests.present[disk] < rules.buffer[disk]:
                    if guests.taken[rules.law[disk]] == self._service_pool.shape[1]:
                        self._more_service()
                    self._submit(disk)
            turn += 1

    def _submit(self, disk: int) -> None:
        """A saturated guest submits a request."""
        _submit_closed(
            self._rules, self._flight, self._requests, self._guests, disk, self._service_pool, *self._scratch
        )

    @property
    def now(self) -> float:
        """Simulated time [s]."""
        return float(self._flight.clock[0])

    def stop_every(self, gap: float) -> None:
        """Look at the drain at the times of a Poisson process with this mean gap [s]."""
        self._gap_pool = self._draws.gap(POOL)
        self._guests.stop[:] = self.now + gap * self._gap_pool[0], gap
        self._guests.numbers[5] = 1

    def advance(self, requests: int, tally: Tally) -> int:
        """Run until at most a block of the next `requests` requests have ended; return how many."""
        limit = min(requests, BLOCK)
        disk = np.empty(limit, np.int32)
        accepted, submitted, start, completion = (np.empty(limit) for _ in range(4))
        drain = np.empty(limit + 1024)
        areas = np.zeros(2)
        ended = drains = 0
        while True:
            why, ended, drains = run(
                self._rules, self._flight, self._copy, self._requests, self._guests, *self._open, self._exhausted,
                self._service_pool, self._think_pool, self._gap_pool, self._with_lines, ended, limit, disk, accepted,
                submitted, start, completion, drain, drains, areas, tally.disk_area, tally.guest_area, tally.pmf,
                tally.disk_pmf,
            )  # fmt: skip
            if why == DONE:
                break
            if why == MORE_GAPS and drains == len(drain):
                drain = np.concatenate([drain, np.empty(len(drain))])
            elif why == MORE_GAPS:
                self._gap_pool = self._draws.gap(POOL)
                self._guests.numbers[5] = 0
            else:
                self._refill(why)
        tally.in_system += areas[0]
        tally.in_flight += areas[1]
        tally.add(disk[:ended], accepted[:ended], start[:ended], completion[:ended], drain[:drains])
        return int(ended)

    def finish(self, tally: Tally) -> None:
        """After the last request of a trace: nothing, since a run goes on until as many have ended."""

    def _refill(self, why: int) -> None:
        """What the kernel ran out of."""
        if why == MORE_ARRIVALS:
            self._open = self._draws.open(BLOCK)
            self._exhausted = len(self._open.time) == 0
            self._guests.numbers[3] = 0
        elif why == MORE_SERVICE:
            self._more_service()
        elif why == MORE_THINK:
            self._more_think()
        else:
            self._more_room()

    def _more_service(self) -> None:
        """Fill up the pools of service requirements; what is left of each stays in front."""
        width = self._service_pool.shape[1]
        for row, taken in enumerate(self._guests.taken.tolist()):
            if taken > width // 2:
                left = self._service_pool[row, taken:].copy()
                self._service_pool[row] = np.concatenate([left, self._draws.service(row, taken)])
                self._guests.taken[row] = 0

    def _more_think(self) -> None:
        """Refill the used up pool of think times."""
        self._think_pool = self._draws.think(POOL)
        self._guests.numbers[4] = 0

    def _more_room(self) -> None:
        """Double the places for requests: more than ever wait in the guests of open disks."""
        places = len(self._requests.disk)
        grown = {name: np.concatenate([old, np.zeros_like(old)]) for name, old in self._requests._asdict().items()}
        grown["link"][places:] = np.append(np.arange(places + 1, 2 * places), -1)
        self._requests = Requests(**grown)
        self._flight, self._copy = (
            part._replace(
                device_link=np.append(part.device_link, np.zeros(places, np.int64)),
                submitted=np.append(part.submitted, np.zeros(places)),
                start=np.append(part.start, np.zeros(places)),
            )
            for part in (self._flight, self._copy)
        )
        self._guests.numbers[2] = places
