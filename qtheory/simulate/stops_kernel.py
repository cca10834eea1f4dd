"""Kernel of `stops.py`: rings and a throttle before what the event kernel moves.

A request passes: guest (where the disk's buffer is full and the guest waits) → its disk's ring → **taken**, when the
throttle lets it → (QEMU's rate limit: the disk's bucket) → the lines, slots and devices of `events.py`. All that was
taken is waited for at a stop. Of the rings' heads that may be taken the oldest goes first.

Time is cut into stages that end at given times before the next stop, each with its limits. At a stop the drain is
worked out on a copy; then the run goes on as if there had been none.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qtheory.simulate.compiled import compiled, inlined
from qtheory.simulate.events import (
    DONE,
    MORE_ARRIVALS,
    MORE_ROOM,
    MORE_SERVICE,
    MORE_THINK,
    _complete,
    _copied,
    _drain,
    _place,
    _send,
    _think,
)
from qtheory.simulate.heaps import enter, pop, winner
from qtheory.simulate.histogram import FIRST, SHIFT

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Gate(NamedTuple):
    """What lets requests be taken; nothing in it changes."""

    ends: Floats
    """End of each stage, from where the timeline begins; the last is the stop."""
    limits: Ints
    """Requests taken at most, by stage."""
    caps: Ints
    """The same for each disk, by stage and disk."""
    acts: Ints
    """Whether what follows holds, by stage."""
    budget: float
    """Time after the stop by which a request must be done; inf where that is not asked."""
    z: float
    """Quantile of the normal law for the probability at which it is asked."""
    sized: int
    """Whether service times are known."""
    mean: Floats
    variance: Floats
    """Of each disk's service time."""
    rest: Floats
    """Its quantile at which that is asked, less the mean."""
    target: float
    """Latency that a tenth may exceed; 0 where there is no target."""
    spacing: float
    most: int
    rate: float
    """Of each disk's bucket; 0 without."""
    burst: float


class Rings(NamedTuple):
    """What is before and in the gate."""

    head: Ints
    tail: Ints
    """Each disk's ring."""
    taken: Ints
    """By disk."""
    counts: Ints
    """[taken in all, stage, stops made, depth of the latency target, late and all requests in its window, stop that the
    last window belongs to]"""
    times: Floats
    """[where the timeline began, next look at latencies, begin and end of the last window]"""
    present: Ints
    mean: Floats
    variance: Floats
    """Taken by device, and the sums of the means and variances of their service."""
    free: Floats
    """When each server will be free, by device and server, as far as known."""
    held_head: Ints
    held_tail: Ints
    level: Floats
    since: Floats
    release: Floats
    """Each disk's bucket: what it holds, its level and when that was read, and when the next passes."""
    turn_head: Ints
    turn_release: Floats
    left: Ints
    """Copies for a drain disk after disk."""


class StopBooks(NamedTuple):
    """What is kept, by batch of stops."""

    drains: Floats
    later: Floats
    """What is added to each time between stops."""
    before: Ints
    """Completions in the second half of the first stage."""
    within: Ints
    """Completions in the others, the window."""
    responses: Floats
    """Response times of the requests that came in the window: their sum and number."""
    bins: NDArray[np.int32]
    one: Floats
    bits: Ints
    """The same memory."""


@inlined
def _admits(gate, rings, rules, disk, work, now):  # type: ignore[no-untyped-def]
    """Whether a request of the disk may be taken now, whose service takes `work`."""
    stage = rings.counts[1]
    acts = gate.acts[stage]
    limit = gate.limits[stage]
    if acts and gate.target > 0.0:
        limit = min(limit, rings.counts[3])
    if rings.counts[0] >= limit or rings.taken[disk] >= gate.caps[stage, disk]:
        return False
    if not acts or gate.budget == math.inf:
        return True
    end = rings.times[0] + gate.ends[-1] + gate.budget
    d = rules.device[disk]
    if gate.sized:
        return max(_first_free(rings.free[d]), now) + work <= end
    p = rings.present[d]
    c = min(rules.servers[d], rules.slots)
    needed, away = gate.mean[disk], gate.rest[disk]
    if p >= c:
        share = (p - c + 1) / (p * c)
        mean, variance = rings.mean[d] * share, rings.variance[d] * share / c
        needed += mean
        if variance > 0.0:
            v = variance / (9.0 * mean * mean)
            away = math.hypot(away, mean * (max(1.0 - v + gate.z * math.sqrt(v), 0.0) ** 3 - 1.0))
    return now + needed + away <= end


@inlined
def _first_free(free):  # type: ignore[no-untyped-def]
    least = free[0]
    for s in range(1, len(free)):
        least = min(least, free[s])
    return least


@inlined
def _next(heads, tails, requests, disk):  # type: ignore[no-untyped-def]
    """The first in the disk's ring, or bucket, which holds it no more."""
    place = heads[disk]
    heads[disk] = requests.link[place] if place != tails[disk] else -1
    return place


@compiled
def take(gate, rings, rules, flight, requests, guests):  # type: ignore[no-untyped-def]
    """Take what may be taken, the oldest first."""
    now = flight.clock[0]
    while rings.counts[0] < gate.limits[rings.counts[1]]:
        chosen = -1
        for disk in range(len(rings.head)):
            place = rings.head[disk]
            older = place >= 0 and (chosen < 0 or requests.number[place] < requests.number[rings.head[chosen]])
            if older and _admits(gate, rings, rules, disk, requests.work[place], now):
                chosen = disk
        if chosen < 0:
            break
        place = _next(rings.head, rings.tail, requests, chosen)
        # what was taken first goes first
        requests.number[place] = guests.numbers[1]
        guests.numbers[1] += 1
        d = rules.device[chosen]
        rings.counts[0] += 1
        rings.taken[chosen] += 1
        rings.present[d] += 1
        rings.mean[d] += gate.mean[chosen]
        rings.variance[d] += gate.variance[chosen]
        if gate.sized:
            free = rings.free[d]
            first = 0
            for s in range(1, len(free)):
                if free[s] < free[first]:
                    first = s
            free[first] = max(free[first], now) + requests.work[place]
        if gate.rate > 0.0 and gate.acts[rings.counts[1]]:
            level = max(rings.level[chosen] - gate.rate * (now - rings.since[chosen]), 0.0)
            if rings.held_head[chosen] < 0 and level <= gate.burst:
                rings.level[chosen], rings.since[chosen] = level + 1.0, now
                _send(rules, flight, requests, place)
            elif rings.held_head[chosen] < 0:
                rings.held_head[chosen] = rings.held_tail[chosen] = place
                rings.release[chosen] = now + (level - gate.burst) / gate.rate
            else:
                requests.link[rings.held_tail[chosen]] = place
                rings.held_tail[chosen] = place
        else:
            _send(rules, flight, requests, place)


@compiled
def _drain_in_turn(gate, rings, rules, flight, copy, requests):  # type: ignore[no-untyped-def]
    """Time until the last disk is done when each is drained in its turn, which lifts its rate limit."""
    _copied(rules, flight, copy, True)
    disks = len(rings.head)
    for disk in range(disks):
        rings.turn_head[disk], rings.turn_release[disk] = rings.held_head[disk], rings.release[disk]
        rings.left[disk] = rings.taken[disk]
    for turn in range(disks):
        while rings.turn_head[turn] >= 0:
            _send(rules, copy, requests, _next(rings.turn_head, rings.held_tail, requests, turn))
        rings.turn_release[turn] = math.inf
        while rings.left[turn] > 0:
            passing = turn
            for disk in range(turn + 1, disks):
                if rings.turn_release[disk] < rings.turn_release[passing]:
                    passing = disk
            if rings.turn_release[passing] < copy.next_event[1]:
                copy.clock[0] = rings.turn_release[passing]
                _send(rules, copy, requests, _next(rings.turn_head, rings.held_tail, requests, passing))
                more = rings.turn_head[passing] >= 0
                rings.turn_release[passing] = copy.clock[0] + 1.0 / gate.rate if more else math.inf
            else:
                copy.clock[0] = copy.next_event[1]
                place = _complete(rules, copy, requests, winner(copy.next_event))
                rings.left[requests.disk[place]] -= 1
    return copy.clock[0] - flight.clock[0]


@inlined
def _join(rings, requests, guests, place):  # type: ignore[no-untyped-def]
    """The request is accepted: it joins its disk's ring."""
    disk = requests.disk[place]
    guests.present[disk] += 1
    guests.numbers[0] += 1
    requests.number[place] = guests.numbers[1]
    guests.numbers[1] += 1
    if rings.head[disk] < 0:
        rings.head[disk] = place
    else:
        requests.link[rings.tail[disk]] = place
    rings.tail[disk] = place


@compiled
def submit(rules, flight, requests, guests, rings, disk, service_pool):  # type: ignore[no-untyped-def]
    """A closed guest submits a request that its buffer has room for."""
    row = rules.law[disk]
    place = _place(requests, guests, disk, service_pool[row, guests.taken[row]])
    guests.taken[row] += 1
    requests.accepted[place] = flight.clock[0]
    _join(rings, requests, guests, place)


@compiled
def run(  # type: ignore[no-untyped-def]
    gate, rings, books, rules, flight, copy, requests, guests, time, arrival_disk, arrival_work, exhausted,
    service_pool, think_pool,
):  # fmt: skip
    """Run until all stops are made or something runs out; return why."""
    devices, disks = len(rules.servers), len(rules.device)
    stops, batches = len(books.drains), len(books.before)
    while rings.counts[2] < stops:
        cursor = guests.numbers[3]
        if cursor == len(time) and not exhausted:
            return MORE_ARRIVALS
        if guests.numbers[2] < 0:
            return MORE_ROOM
        arrives = time[cursor] if cursor < len(time) else math.inf
        event = flight.next_event[1]
        now = min(arrives, event)
        stage = rings.counts[1]
        edge = rings.times[0] + gate.ends[stage]
        look = rings.times[1] if gate.acts[stage] else math.inf
        passing = 0
        if gate.rate > 0.0:
            for disk in range(1, disks):
                if rings.release[disk] < rings.release[passing]:
                    passing = disk
        released = rings.release[passing]

        if edge <= min(now, look, released):
            flight.clock[0] = edge
            rings.counts[1] = stage + 1
            if stage == 0:
                rings.times[2], rings.times[3] = edge, math.inf
                rings.counts[6] = rings.counts[2]
                if not gate.acts[0] and gate.target > 0.0:
                    rings.counts[3], rings.counts[4], rings.counts[5] = gate.most, 0, 0
                    rings.times[1] = edge + gate.spacing
                if not gate.acts[0]:
                    for disk in range(disks):
                        rings.level[disk] = 0.0
            if stage + 1 == len(gate.ends):
                k = rings.counts[2]
                if gate.rate > 0.0:
                    books.drains[k] = _drain_in_turn(gate, rings, rules, flight, copy, requests)
                else:
                    books.drains[k] = _drain(rules, flight, copy, requests, True)
                rings.counts[1], rings.counts[2] = 0, k + 1
                rings.times[3] = edge
                rings.times[0] = edge + books.later[k]
                if not gate.acts[0]:
                    for disk in range(disks):
                        while rings.held_head[disk] >= 0:
                            _send(rules, flight, requests, _next(rings.held_head, rings.held_tail, requests, disk))
                        rings.release[disk] = math.inf
            take(gate, rings, rules, flight, requests, guests)
            continue
        if look <= min(now, released):
            flight.clock[0] = look
            rings.times[1] = look + gate.spacing
            if rings.counts[5] > 0:
                if 10 * rings.counts[4] > rings.counts[5]:
                    rings.counts[3] = max(rings.counts[3] // 2, 1)
                else:
                    rings.counts[3] = min(rings.counts[3] + max(gate.most // 16, 1), gate.most)
                rings.counts[4], rings.counts[5] = 0, 0
            take(gate, rings, rules, flight, requests, guests)
            continue
        if released < now:
            flight.clock[0] = released
            rings.level[passing], rings.since[passing] = gate.burst + 1.0, released
            _send(rules, flight, requests, _next(rings.held_head, rings.held_tail, requests, passing))
            rings.release[passing] = released + 1.0 / gate.rate if rings.held_head[passing] >= 0 else math.inf
            continue

        leaf = winner(flight.next_event) if now == event else -1
        if leaf >= 0:
            disk = leaf - devices if leaf >= devices else requests.disk[flight.item[rules.service_base[leaf]]]
            if rules.think[disk] >= 0.0:
                if guests.numbers[4] == len(think_pool):
                    return MORE_THINK
                if guests.taken[rules.law[disk]] == service_pool.shape[1]:
                    return MORE_SERVICE
        flight.clock[0] = now
        if leaf >= devices:  # a closed request has thought
            base = rules.think_base[disk]
            pop(guests.think_key, guests.think_item, base, guests.thinking[disk], guests.think_item)
            guests.thinking[disk] -= 1
            enter(flight.next_event, leaf, guests.think_key[base] if guests.thinking[disk] > 0 else math.inf)
            work = service_pool[rules.law[disk], guests.taken[rules.law[disk]]]
            if guests.present[disk] >= rules.buffer[disk]:
                guests.waiting[disk] += 1
            elif rules.refuse and not _admits(gate, rings, rules, disk, work, now):
                _think(rules, flight, guests, disk, think_pool)
            else:
                submit(rules, flight, requests, guests, rings, disk, service_pool)
        elif leaf >= 0:  # a completion
            place = _complete(rules, flight, requests, leaf)
            d = rules.device[disk]
            rings.counts[0] -= 1
            rings.taken[disk] -= 1
            rings.present[d] -= 1
            # exactly 0 when nothing is left: rounding does not add up
            rings.mean[d] = rings.mean[d] - gate.mean[disk] if rings.present[d] else 0.0
            rings.variance[d] = rings.variance[d] - gate.variance[disk] if rings.present[d] else 0.0
            rings.counts[4] += now - flight.submitted[place] > gate.target
            rings.counts[5] += 1
            batch = rings.counts[2] * batches // stops
            if stage > 0:
                books.within[batch] += 1
            elif now > rings.times[0] + 0.5 * gate.ends[0]:
                books.before[batch] += 1
            came = requests.accepted[place]
            if rings.times[2] <= came < rings.times[3]:
                batch = rings.counts[6] * batches // stops
                books.one[0] = now - came
                books.responses[batch, 0] += books.one[0]
                books.responses[batch, 1] += 1.0
                books.bins[batch, min(max((books.bits[0] >> SHIFT) - FIRST, 0), books.bins.shape[1] - 1)] += 1
            guests.present[disk] -= 1
            guests.numbers[0] -= 1
            requests.link[place] = guests.numbers[2]
            guests.numbers[2] = place
            if rules.think[disk] < 0.0:
                first = guests.head[disk]
                if first >= 0:
                    guests.head[disk] = requests.link[first] if first != guests.tail[disk] else -1
                    _join(rings, requests, guests, first)
            elif rules.think[disk] == 0.0:
                submit(rules, flight, requests, guests, rings, disk, service_pool)
            else:
                _think(rules, flight, guests, disk, think_pool)
                if guests.waiting[disk] > 0:
                    guests.waiting[disk] -= 1
                    submit(rules, flight, requests, guests, rings, disk, service_pool)
        else:
            guests.numbers[3] = cursor + 1
            disk = arrival_disk[cursor]
            full = guests.present[disk] >= rules.buffer[disk]
            if full and not rules.guest_waits[disk]:
                continue
            if not full and rules.refuse and not _admits(gate, rings, rules, disk, arrival_work[cursor], now):
                continue
            place = _place(requests, guests, disk, arrival_work[cursor])
            requests.accepted[place] = now
            if full:
                if guests.head[disk] < 0:
                    guests.head[disk] = place
                else:
                    requests.link[guests.tail[disk]] = place
                guests.tail[disk] = place
            else:
                _join(rings, requests, guests, place)
        take(gate, rings, rules, flight, requests, guests)
    return DONE
