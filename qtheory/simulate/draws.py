"""What a run draws: arrivals, service times, think times, stop times, each from its own stream.

Everything is drawn with numpy in blocks, outside the kernels, from streams split off one seed: a seed reproduces a run
bit for bit, and a service law needs nothing but its `sample`. All Poisson disks together are one Poisson process of
the total rate whose requests pick their disk by Walker's alias method (Walker, 1977): one exponential and one uniform
number each, however many disks there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from qtheory.arrivals import Poisson
from qtheory.engine import Engine
from qtheory.laws import Law

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Stretch = tuple[Floats, NDArray[np.int32], Floats | None]


class Recorded(Protocol):
    """What the simulator reads of a trace: when each request came, to which disk, and how long its service took."""

    @property
    def arrival(self) -> NDArray[np.float64]:
        """Arrival times [s], in order."""

    @property
    def disk(self) -> NDArray[np.integer]:
        """Index of each request's disk."""

    @property
    def disks(self) -> tuple[str, ...]:
        """Names of the disks."""

    @property
    def service(self) -> NDArray[np.float64] | None:
        """Service times [s], None where they were not recorded."""


@runtime_checkable
class Streamed(Protocol):
    """A trace that is not in memory."""

    def __len__(self) -> int:
        """Requests."""

    @property
    def disks(self) -> tuple[str, ...]:
        """Names of the disks."""

    @property
    def has_service(self) -> bool:
        """Whether service times were recorded."""

    def arrivals(self) -> Iterator[Stretch]:
        """Arrival times, disks and service times, a stretch at a time; valid, and in order."""


class Arrivals(NamedTuple):
    """Open arrivals in order of time, each with its disk and its service requirement."""

    time: Floats
    disk: NDArray[np.int32]
    service: Floats

    def part(self, which: slice) -> Arrivals:
        """Some of them."""
        return Arrivals(self.time[which], self.disk[which], self.service[which])


NONE = Arrivals(np.empty(0), np.empty(0, np.int32), np.empty(0))


class Draws:
    """Random streams of a run of `engine`; Poisson disks make the open arrivals."""

    def __init__(self, engine: Engine, seed: int) -> None:
        streams = np.random.SeedSequence(seed).spawn(5)
        self._arrivals, self._picks, self._service, self._think, self._stops = (
            np.random.Generator(np.random.SFC64(stream)) for stream in streams
        )
        self.laws, self.law_of = _distinct_laws(engine)
        rates = np.array([d.arrivals.rate if isinstance(d.arrivals, Poisson) else 0.0 for d in engine.disks])
        self._total = float(rates.sum())
        self._keep, self._alias = alias_table(rates / self._total if self._total else rates)
        self._now = 0.0

    def open(self, size: int) -> Arrivals:
        """The next `size` open arrivals; fewer only when there are no more."""
        if self._total == 0.0:
            return NONE
        time = self._arrivals.standard_exponential(size)
        time *= 1.0 / self._total
        np.cumsum(time, out=time)
        time += self._now
        self._now = float(time[-1])
        disk = np.zeros(size, np.int32)
        if len(self._keep) > 1:
            from qtheory.simulate.alias import choose

            choose(self._picks.random(size), self._keep, self._alias, disk)
        return Arrivals(time, disk, self.services(disk))

    def services(self, disk: NDArray[np.int32]) -> Floats:
        """A service requirement for each request, from the law of its disk's device."""
        if len(self.laws) == 1:
            return self.service(0, len(disk))
        law = self.law_of[disk]
        order = np.argsort(law, kind="stable")
        needed = np.bincount(law, minlength=len(self.laws))
        service = np.empty(len(disk))
        service[order] = np.concatenate([self.service(row, int(n)) for row, n in enumerate(needed)])
        return service

    def service(self, law: int, size: int) -> Floats:
        """`size` service requirements of one law: times [s], or exponential work of mean 1 for a rate curve."""
        given = self.laws[law]
        drawn = self._service.standard_exponential(size) if given is None else given.sample(self._service, size)
        return np.asarray(drawn, dtype=np.float64)

    def think(self, size: int) -> Floats:
        """Exponential numbers of mean 1, for think times."""
        return self._think.standard_exponential(size)

    def gap(self, size: int) -> Floats:
        """Exponential numbers of mean 1, for the times between stops."""
        return self._stops.standard_exponential(size)


class Replay(Draws):
    """The same, with the open arrivals of a trace, a stretch at a time.

    `stretches` yields arrival times, disks and service times (None: drawn from the devices' laws) in order.
    """

    def __init__(self, engine: Engine, seed: int, stretches: Iterator[Stretch]) -> None:
        super().__init__(engine, seed)
        self._stretches = stretches
        self._rest = NONE

    def open(self, size: int) -> Arrivals:
        """The next `size` requests of the trace."""
        parts = [self._rest]
        missing = size - len(self._rest.time)
        while missing > 0 and (stretch := next(self._stretches, None)) is not None:
            time, disk, service = stretch
            parts.append(Arrivals(time, disk, self.services(disk) if service is None else service))
            missing -= len(time)
        whole = Arrivals(*map(np.concatenate, zip(*parts, strict=True))) if len(parts) > 1 else self._rest
        self._rest = whole.part(slice(size, None))
        return whole.part(slice(size))


def alias_table(probabilities: Floats) -> tuple[Floats, Ints]:
    """Walker's alias table: column i is kept with probability keep[i], otherwise it stands for alias[i].

    >>> keep, alias = alias_table(np.array([0.25, 0.75]))
    >>> keep.tolist(), alias.tolist()
    ([0.5, 1.0], [1, 1])
    """
    n = len(probabilities)
    keep = probabilities * n
    alias = np.arange(n)
    small = [i for i in range(n) if keep[i] < 1.0]
    large = [i for i in range(n) if keep[i] >= 1.0]
    while small and large:
        lack, rich = small.pop(), large[-1]
        alias[lack] = rich
        keep[rich] -= 1.0 - keep[lack]
        if keep[rich] < 1.0:
            small.append(large.pop())
    keep[small + large] = 1.0  # what rounding left over
    return keep, alias


def _distinct_laws(engine: Engine) -> tuple[list[Law | None], NDArray[np.int64]]:
    """The laws that are not the same object, None for a rate curve's exponential work; and each disk's."""
    rows: dict[int, int] = {}
    laws: list[Law | None] = []
    of = []
    for device in engine.devices:
        key = id(device.service)
        if key not in rows:
            rows[key] = len(laws)
            laws.append(device.service)
        of.append(rows[key])
    return laws, np.array(of, dtype=np.int64)
