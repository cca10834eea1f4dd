"""A run of `stops_kernel.py`."""

from __future__ import annotations

import math

import numpy as np

from qtheory.engine import Engine
from qtheory.simulate.draws import Draws
from qtheory.simulate.events import DONE, EventRun
from qtheory.simulate.stops_kernel import Gate, Rings, StopBooks, run, submit, take


class StopsRun(EventRun):
    """The event kernel's engine, with rings and a throttle before it."""

    def __init__(self, engine: Engine, draws: Draws, gate: Gate) -> None:
        super().__init__(engine, draws, ())
        n, devices = len(engine.disks), len(self._rules.servers)
        most = max(min(int(servers), self._rules.slots) for servers in self._rules.servers)
        free = np.full((devices, max(most, 1)), math.inf)
        for d, servers in enumerate(self._rules.servers):
            free[d, : min(int(servers), self._rules.slots)] = 0.0
        self._gate = gate
        self._rings = Rings(
            head=np.full(n, -1),
            tail=np.full(n, -1),
            taken=np.zeros(n, np.int64),
            counts=np.array([0, 0, 0, gate.most, 0, 0, 0]),
            times=np.array([0.0, gate.spacing, math.inf, math.inf]),
            present=np.zeros(devices, np.int64),
            mean=np.zeros(devices),
            variance=np.zeros(devices),
            free=free,
            held_head=np.full(n, -1),
            held_tail=np.full(n, -1),
            level=np.zeros(n),
            since=np.zeros(n),
            release=np.full(n, math.inf),
            turn_head=np.full(n, -1),
            turn_release=np.full(n, math.inf),
            left=np.zeros(n, np.int64),
        )
        self._start_closed(range(n))
        take(gate, self._rings, self._rules, self._flight, self._requests, self._guests)

    def make(self, books: StopBooks) -> None:
        """Make the stops that the books have room for."""
        while True:
            why = run(
                self._gate, self._rings, books, self._rules, self._flight, self._copy, self._requests, self._guests,
                *self._open, self._exhausted, self._service_pool, self._think_pool,
            )  # fmt: skip
            if why == DONE:
                return
            self._refill(why)

    def _submit(self, disk: int) -> None:
        submit(self._rules, self._flight, self._requests, self._guests, self._rings, disk, self._service_pool)
