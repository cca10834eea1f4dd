"""What a run draws: arrivals, service times, think times, stop times, each from its own stream.

Everything is drawn with numpy in blocks, outside the kernels, from streams split off one seed: a seed reproduces a run
bit for bit, and a service law needs nothing but its `sample`. All Poisson disks together are one Poisson process of
the total rate whose requests pick their disk by Walker's alias method (Walker, 1977): one exponential and one uniform
number each, however many disks there are. A Markovian arrival process does the same with its disks. Where there are
several processes, each is drawn ahead in blocks, and what all of them have reached is sorted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from qtheory.arrivals import MAP, Poisson
from qtheory.engine import Engine
from qtheory.laws import Law

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Stretch = tuple[Floats, NDArray[np.int32], Floats | None]
LEAST_DRAWN = 1 << 10
"""Arrivals of a process drawn at a time, at the least; fewer where there are hundreds of processes."""
DRAWN_AHEAD = 1 << 17
"""Arrivals that all processes together draw ahead, about."""


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
    """Random streams of a run of `engine`; its Poisson and bursty disks make the open arrivals."""

    def __init__(self, engine: Engine, seed: int) -> None:
        streams = np.random.SeedSequence(seed).spawn(5 + 2 * len(engine.streams))
        arrivals, picks, self._service, self._think, self._stops, *bursty = (
            np.random.Generator(np.random.SFC64(stream)) for stream in streams
        )
        self.laws, self.law_of = _distinct_laws(engine)
        rates = np.array([d.arrivals.rate if isinstance(d.arrivals, Poisson) else 0.0 for d in engine.disks])
        total = float(rates.sum())
        self._taken = 0.0
        self._sources = [Source(_poisson(arrivals, total), picks, rates / total, total)] if total else []
        self._least_drawn = min(LEAST_DRAWN, max(16, DRAWN_AHEAD // max(len(engine.streams), 1)))
        for stream, own, own_picks in zip(engine.streams, bursty[::2], bursty[1::2], strict=True):
            shares = np.zeros(len(engine.disks))
            shares[list(stream.disks)] = stream.shares
            draw = _markovian(own, stream.process, self._least_drawn)
            self._sources.append(Source(draw, own_picks, shares, stream.process.rate))

    def open(self, size: int) -> Arrivals:
        """The next `size` open arrivals; fewer only when there are no more."""
        if not self._sources:
            return NONE
        if len(self._sources) == 1:
            time, disk = self._sources[0].take(size)
        else:
            time, disk = self._merged(size)
        return Arrivals(time, disk, self.services(disk))

    def _merged(self, size: int) -> tuple[Floats, NDArray[np.int32]]:
        """The next `size` arrivals of all sources in order of time."""
        total = sum(source.rate for source in self._sources)
        reached = min(source.reached for source in self._sources)
        while True:
            # As far as all have been drawn, nothing can come in between any more.
            known = [source.known(reached) for source in self._sources]
            if (lacking := size - sum(known)) <= 0:
                break
            reached = max(reached, self._taken) + (lacking + 1) / total
            for source in self._sources:
                while source.reached < reached:
                    source.draw(max(self._least_drawn, math.ceil(size * source.rate / total)))
        time = np.concatenate([source.time[:n] for source, n in zip(self._sources, known, strict=True)])
        disk = np.concatenate([source.disk[:n] for source, n in zip(self._sources, known, strict=True)])
        source_of = np.repeat(np.arange(len(self._sources)), known)
        order = np.argsort(time, kind="stable")[:size]
        taken = np.bincount(source_of[order], minlength=len(self._sources))
        for source, number in zip(self._sources, taken.tolist(), strict=True):
            source.drop(number)
        self._taken = float(time[order[-1]])
        return time[order], disk[order]

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


class Source:
    """Arrivals of one process, drawn ahead of what was taken, and the disks they pick by `shares`."""

    def __init__(self, draw: Callable[[int], Floats], picks: np.random.Generator, shares: Floats, rate: float) -> None:
        self._draw, self._picks, self.rate = draw, picks, rate
        self._only = int(shares.argmax()) if np.count_nonzero(shares) == 1 else None
        if self._only is None:
            self._keep, self._alias = alias_table(shares)
        self.time, self.disk = np.empty(0), np.empty(0, np.int32)

    @property
    def reached(self) -> float:
        """Time up to which all arrivals are known."""
        return float(self.time[-1]) if len(self.time) else -math.inf

    def known(self, time: float) -> int:
        """How many of them are not later than `time`."""
        return int(self.time.searchsorted(time, side="right"))

    def take(self, size: int) -> tuple[Floats, NDArray[np.int32]]:
        """The next `size` arrivals and their disks."""
        time = self._draw(size)
        disk = np.full(size, self._only or 0, np.int32)
        if self._only is None:
            from qtheory.simulate.alias import choose

            choose(self._picks.random(size), self._keep, self._alias, disk)
        return time, disk

    def draw(self, size: int) -> None:
        """Draw `size` more."""
        time, disk = self.take(size)
        self.time, self.disk = np.append(self.time, time), np.append(self.disk, disk)

    def drop(self, taken: int) -> None:
        """Forget those that were taken."""
        self.time, self.disk = self.time[taken:], self.disk[taken:]


def _poisson(rng: np.random.Generator, rate: float) -> Callable[[int], Floats]:
    """Draws the next so many arrival times of a Poisson process."""
    now = 0.0

    def draw(size: int) -> Floats:
        nonlocal now
        time = rng.standard_exponential(size)
        time *= 1.0 / rate
        np.cumsum(time, out=time)
        time += now
        now = float(time[-1])
        return time

    return draw


def _markovian(rng: np.random.Generator, process: MAP, block: int) -> Callable[[int], Floats]:
    """Draws the next so many arrival times of a Markovian arrival process."""
    blocks = process.arrival_stream(rng, block)
    rest = np.empty(0)

    def draw(size: int) -> Floats:
        nonlocal rest
        parts = [rest]
        while sum(map(len, parts)) < size:
            parts.append(next(blocks))
        whole = np.concatenate(parts)
        rest = whole[size:]
        return whole[:size]

    return draw


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
