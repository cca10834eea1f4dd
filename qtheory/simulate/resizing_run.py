"""A run of the event kernel that is stopped at given times, to be looked at and changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qtheory.engine import Engine
from qtheory.simulate.draws import Draws
from qtheory.simulate.events import (
    DONE,
    MORE_GAPS,
    UNLIMITED,
    EventRun,
    _drain,
    _fill,
    _rate,
    _see_device,
    _see_line,
    run,
)
from qtheory.simulate.heaps import enter

Floats = NDArray[np.float64]
BLOCK = 1 << 12


class Seen(NamedTuple):
    """What was completed since the last look, in order of completion, and what was there, integrated over time."""

    latencies: Floats
    responses: Floats
    refused: int
    in_system: float
    in_flight: float


class ResizingRun(EventRun):
    """The run; its queue length, attached disks and slowdowns may be changed at the present time."""

    def __init__(self, engine: Engine, draws: Draws, attached: Sequence[bool]) -> None:
        """A run in which nothing has been sent: set what holds at time 0, then `begin`."""
        shares = "fifo" if engine.shares == "equal" else engine.shares
        unlimited = Engine(engine.disks, engine.device, None, engine.hold, shares)
        super().__init__(unlimited, draws, ())
        self.attached = list(attached)
        self._divided = engine.shares == "equal"
        self._thinks = self._rules.think.copy()
        for disk in np.flatnonzero(np.logical_not(attached)).tolist():
            self._silence(disk)
        self._ended: list[tuple[Floats, Floats]] = []
        self._refused = 0
        self._areas = np.zeros(2)
        self._pmf = np.zeros(unlimited.most + 1)

    def begin(self) -> None:
        """The closed disks that are attached begin."""
        self._start_closed(np.flatnonzero(self.attached).tolist())

    def until(self, time: float) -> None:
        """Run until `time`; what happens at that moment has happened."""
        self._guests.stop[0] = time
        nothing = np.empty(0)
        disk = np.empty(BLOCK, np.int32)
        accepted, submitted, start, completion = (np.empty(BLOCK) for _ in range(4))
        area, disk_pmf = self._scratch
        while True:
            # without room for what a stop would note, the kernel returns before the first event after it
            why, ended, _ = run(
                self._rules, self._flight, self._copy, self._requests, self._guests, *self._open, self._exhausted,
                self._service_pool, self._think_pool, nothing, self._with_lines, 0, BLOCK, disk, accepted, submitted,
                start, completion, nothing, 0, self._areas, area, area, self._pmf, disk_pmf,
            )  # fmt: skip
            if ended:
                served = completion[:ended] >= 0.0  # refused ones have NaN
                done = completion[:ended][served]
                self._ended.append((done - submitted[:ended][served], done - accepted[:ended][served]))
                self._refused += int(ended) - len(done)
            if why == MORE_GAPS or (why == DONE and ended < BLOCK):
                break
            if why != DONE:
                self._refill(why)
        passed = time - self.now
        self._areas += self._guests.numbers[0] * passed, self._flight.used[0] * passed
        self._flight.clock[0] = time

    def seen(self) -> Seen:
        """What happened since it was last asked."""
        parts = self._ended or [(np.empty(0), np.empty(0))]
        latencies, responses = (np.concatenate(column) for column in zip(*parts, strict=True))
        seen = Seen(latencies, responses, self._refused, *self._areas.tolist())
        self._ended, self._refused = [], 0
        self._areas[:] = 0.0
        return seen

    @property
    def pending(self) -> int:
        """Accepted, and not submitted."""
        return int(self._guests.numbers[0] - self._flight.used[0])

    def drain(self) -> float:
        """How long a stop now would wait."""
        return float(_drain(self._rules, self._flight, self._copy, self._requests, self._with_lines))

    def resize(self, queue_length: int | None) -> None:
        """From now on at most `queue_length` are submitted."""
        slots = queue_length or UNLIMITED
        self._rules = self._rules._replace(slots=slots)
        if self._divided:
            part, rest = divmod(slots, max(sum(self.attached), 1))
            turn = 0
            for disk, there in enumerate(self.attached):
                # what a detached disk has left is served one at a time
                self._rules.cap[disk] = max(part + (turn < rest), 1) if there else 1
                turn += there
                _see_line(self._rules, self._flight, self._requests, disk)
        _fill(self._rules, self._flight, self._requests)

    def attach(self, disks: Sequence[int], attached: bool) -> None:
        """Attach disks, or detach them."""
        changing = [disk for disk in dict.fromkeys(disks) if self.attached[disk] != attached]
        for disk in changing:
            self.attached[disk] = attached
            if not attached:
                self._silence(disk)
            elif self._closed[disk] is not None:
                self._rules.think[disk] = self._thinks[disk]
                self._guests.waiting[disk] = self._always_waiting[disk]
        if attached:
            self._start_closed(changing)

    def _silence(self, disk: int) -> None:
        """A closed disk sends no more: what thinks, or waits in the guest, is gone, and completions bring nothing."""
        if self._rules.think[disk] >= 0.0:
            self._rules.think[disk] = -1.0
            self._guests.thinking[disk] = self._guests.waiting[disk] = 0
            enter(self._flight.next_event, len(self._rules.servers) + disk, math.inf)

    def slow(self, disks: Sequence[int], slowdown: float) -> None:
        """Service that begins at these disks' devices takes `slowdown` times what is drawn; a rate curve is divided."""
        rules, flight = self._rules, self._flight
        for d in dict.fromkeys(rules.device[list(disks)].tolist()):
            if rules.servers[d] == 0:
                now, n = self.now, flight.busy[d]
                if n:
                    flight.work_done[d] += (now - flight.work_time[d]) * _rate(rules, d, n) / n
                flight.work_time[d] = now
                curve = slice(rules.curve_base[d], rules.curve_base[d + 1])
                rules.curve[curve] *= rules.slowdown[d] / slowdown
                _see_device(rules, flight, d)
            rules.slowdown[d] = slowdown
