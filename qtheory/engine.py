"""What a user describes: disks, each with a finite buffer, that share an AIO engine and the device below it.

    guest disks            engine                      device
    ───────────            ──────                      ──────
    Disk 0  [buffer K0]─┐
    Disk 1  [buffer K1]─┼─▶ at most Q submitted ─────▶ c servers (or a measured rate curve),
    Disk 2  [buffer K2]─┘    at once, over all disks    or one device for each disk

A disk's buffer counts its requests in the system, waiting and in service. The engine submits at most `queue_length` Q
of them to the device at once. `hold` says where accepted requests beyond Q are, which is what decides what a drain
waits for: `"ring"`, left in the guest's ring (a drain does not wait for them), `"engine"`, popped by the engine (it
does), `"refuse"`, there are none.

Units are SI throughout: seconds, requests per second.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from os import PathLike
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qtheory.arguments import choice, count, positive, sequence
from qtheory.arrivals import MAP, Arrivals, Closed, Marked
from qtheory.laws import Law, Mixture, law_of
from qtheory.laws.arrays import probabilities
from qtheory.shares import RULES, Weights, apportioned, follow_length, linux_share, shortest

Full = Literal["lost", "wait"]
Hold = Literal["ring", "engine", "refuse"]
Rule = Literal["fifo", "equal", "rings", "load", "linux"]
Shares = Rule | Weights | tuple[int, ...]
ROUNDING = 1e-12
"""By which shares may miss 1."""


@dataclass(frozen=True)
class Device:
    """What serves the requests: `servers` equal servers with a service law, or a measured rate curve.

    Parameters
    ----------
    servers : int
        Requests served at the same time, at least 1.
    service : Law, or mapping from operations to Law
        Law of one request's service time [s]; a frozen scipy.stats distribution does as well. A law for each operation
        is kept in `operations`, in the order of their names, and `service` is None: what a request takes depends on
        its disk, which says how often it asks for which.

    A device measured as throughput against requests in flight comes from `Device.from_depth_sweep` or
    `Device.from_fio`; then `curve[n-1]` is its completion rate [1/s] with n requests in flight, constant beyond the
    last, and `servers` and `service` are None.

    Examples
    --------
    >>> import qtheory as qt
    >>> qt.Device(servers=2, service=qt.Exponential(mean=0.001)).rates(4)
    array([1000., 2000., 2000., 2000.])
    """

    servers: int | None = None
    service: Law | None = None
    curve: tuple[float, ...] | None = None
    operations: tuple[tuple[str, Law], ...] | None = field(init=False, default=None)

    def __init__(
        self,
        servers: int | None = None,
        service: Law | Mapping[str, Law] | None = None,
        curve: Sequence[float] | None = None,
    ) -> None:
        laws = rates = one = None
        if curve is not None:
            if servers is not None or service is not None:
                raise ValueError("curve must stand alone: a device has servers and service, or a curve, not both")
            if len(sequence("curve", curve)) == 0:
                raise ValueError("curve must have at least one rate")
            rates = tuple(positive(f"curve[{n}]", rate) for n, rate in enumerate(curve))
        elif servers is None or service is None:
            raise ValueError("servers and service must both be given (or use Device.from_depth_sweep / from_fio)")
        elif isinstance(service, Mapping):
            if not service:
                raise ValueError("service must have a law for at least one operation")
            laws = tuple((name, law_of(service[name], f"service[{name!r}]")) for name in sorted(service))
        else:
            one = law_of(service, "service")
        object.__setattr__(self, "servers", None if servers is None else count("servers", servers))
        object.__setattr__(self, "service", one)
        object.__setattr__(self, "curve", rates)
        object.__setattr__(self, "operations", laws)

    @classmethod
    def from_depth_sweep(cls, depths: Sequence[int], throughputs: Sequence[float]) -> Device:
        """Device from a measured curve: throughput [1/s] at each number of requests kept in flight.

        Between measured depths the rate is interpolated linearly (from the origin up to the first), beyond the last
        it stays. Measured dips are kept: they are what the device did.

        Raises ValueError when the lists differ in length, are empty, or depths do not rise.

        Examples
        --------
        >>> Device.from_depth_sweep([1, 2, 4], [100.0, 180.0, 260.0]).curve
        (100.0, 180.0, 220.0, 260.0)
        """
        if len(sequence("depths", depths)) != len(sequence("throughputs", throughputs)):
            raise ValueError(
                f"throughputs must have one value for each of the {len(depths)} depths, not {len(throughputs)}"
            )
        if len(depths) == 0:
            raise ValueError("depths must have at least one value")
        whole = [count(f"depths[{i}]", d) for i, d in enumerate(depths)]
        if any(b <= a for a, b in pairwise(whole)):
            raise ValueError(f"depths must rise strictly, not {whole}")
        rates = [positive(f"throughputs[{i}]", x) for i, x in enumerate(throughputs)]
        filled = np.interp(np.arange(1, whole[-1] + 1), [0, *whole], [0.0, *rates])
        return cls(curve=tuple(filled.tolist()))

    @classmethod
    def from_fio(cls, paths: str | PathLike[str] | Sequence[str | PathLike[str]]) -> Device:
        """Device from fio JSON results: one run for each depth (iodepth × jobs), read and write rates added.

        Raises ValueError naming the file when it is not fio JSON, has no I/O, or when two runs have the same depth.
        """
        from qtheory.traces.fio import depth_sweep  # reads files: not needed by those who do not

        return cls.from_depth_sweep(*depth_sweep([paths] if isinstance(paths, (str, PathLike)) else paths))

    def __hash__(self) -> int:
        return hash((self.servers, self.service, self._curve_hash, self.operations))

    @cached_property
    def _curve_hash(self) -> int:
        # Worked out once: a curve is long, and engines ask for each of their disks. That of numbers is the same in
        # every process, so that it may be pickled along.
        return 0 if self.curve is None else hash(self.curve)

    def rates(self, depth: int) -> NDArray[np.float64]:
        """Completion rates [1/s] with 1, 2, ..., `depth` requests in flight (mean rates for a general law).

        Raises ValueError for a device with a law for each operation: see `Engine.devices`.
        """
        if self.curve is not None:
            return np.asarray(self.curve)[np.minimum(np.arange(depth), len(self.curve) - 1)]
        assert self.servers is not None
        if self.service is None:
            raise ValueError("the rates of a device with a law for each operation depend on the disk: Engine.devices")
        return np.minimum(np.arange(1, depth + 1), self.servers) / self.service.mean

    @property
    def capacity(self) -> float:
        """Largest completion rate [1/s]: servers / mean service time, or the curve's highest rate."""
        return float(self.rates(self.servers or len(self.curve or ())).max())


@dataclass(frozen=True)
class Disk:
    """A virtual disk: a request source with a finite buffer.

    Parameters
    ----------
    arrivals : Poisson, MAP, Marked or Closed
        How requests come. A MAP is the disk's own; disks whose Marked arrivals have equal processes share one.
    buffer : int
        Requests the disk may have outstanding, waiting and in service: virtqueue size × number of queues. The
        default is one virtqueue of QEMU's default size.
    full : "lost" or "wait"
        What happens to a request that finds the buffer full. Closed guests always wait.
    device : Device, optional
        The disk's own device, when each disk has one; otherwise the engine's device serves all.
    service : Law, optional
        Law of this disk's service times [s], in place of the device's: where disks that differ share servers.
    operations : mapping from operations to shares, optional
        How often the disk asks for each operation, to sum to 1; given exactly where the device has a law for each.
        Kept as pairs in the order of their names.

    Examples
    --------
    >>> import qtheory as qt
    >>> qt.Disk(arrivals=qt.Poisson(2000.0), buffer=256).full
    'lost'
    """

    arrivals: Arrivals
    buffer: int = 256
    full: Full = "lost"
    device: Device | None = None
    service: Law | None = None
    operations: Mapping[str, float] | tuple[tuple[str, float], ...] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.arrivals, Arrivals):
            raise TypeError(f"arrivals must be qt.Poisson, qt.MAP, qt.Marked or qt.Closed, not {self.arrivals!r}")
        object.__setattr__(self, "buffer", count("buffer", self.buffer))
        choice("full", self.full, ("lost", "wait"))
        if self.device is not None and not isinstance(self.device, Device):
            raise TypeError(f"device must be a qt.Device, not {self.device!r}")
        if self.service is not None:
            object.__setattr__(self, "service", law_of(self.service, "service"))
        if self.operations is not None:
            if self.service is not None:
                raise ValueError("operations must be None where the disk has a service law of its own")
            pairs = sorted(dict(self.operations).items())
            shares = probabilities("operations", [share for _, share in pairs]).tolist()
            object.__setattr__(self, "operations", tuple(zip((name for name, _ in pairs), shares, strict=True)))

    @property
    def most(self) -> int:
        """Most requests the disk can have in the system: its buffer, or what circulates if that is less."""
        if isinstance(self.arrivals, Closed):
            return min(self.buffer, self.arrivals.outstanding)
        return self.buffer

    @property
    def bursty(self) -> bool:
        """Whether requests come by a Markovian arrival process."""
        return isinstance(self.arrivals, (MAP, Marked))

    @property
    def saturated(self) -> bool:
        """Whether the guest submits again at once, so that the disk always has `most` requests in the system."""
        return isinstance(self.arrivals, Closed) and self.arrivals.think_time == 0.0

    @property
    def guest_waits(self) -> bool:
        """Whether requests may have to wait in the guest for room in the buffer."""
        if isinstance(self.arrivals, Closed):
            return self.arrivals.outstanding > self.buffer
        return self.full == "wait"

    @property
    def always_in_guest(self) -> int:
        """Requests that a saturated guest has waiting for room in the buffer, at all times."""
        return self.arrivals.outstanding - self.most if isinstance(self.arrivals, Closed) and self.saturated else 0

    def arrival_rates(self) -> NDArray[np.float64]:
        """Arrival rate [1/s] with 0, 1, ..., most − 1 of the disk's requests in the system; of bursts the mean."""
        if not isinstance(self.arrivals, Closed):
            return np.full(self.most, self.arrivals.rate)
        idle = self.arrivals.outstanding - np.arange(self.most)
        return idle / self.arrivals.think_time if not self.saturated else np.full(self.most, math.inf)


class Stream(NamedTuple):
    """Disks whose requests one Markovian arrival process brings."""

    process: MAP
    disks: tuple[int, ...]
    shares: tuple[float, ...]
    """Probability that an arrival is this disk's; they add up to 1."""


@dataclass(frozen=True)
class Engine:
    """Disks that share an AIO engine.

    Parameters
    ----------
    disks : sequence of Disk
        At least one. Either all have a device of their own or none has.
    device : Device, optional
        The shared device; None when each disk has its own.
    queue_length : int or None
        Requests submitted to the device(s) at once, over all disks (Q); None: no limit.
    hold : "ring", "engine" or "refuse"
        Where accepted requests beyond Q, or beyond their disk's cap, are. QEMU holds them in the engine.
    shares : "fifo", "equal", "rings", "load", "linux", Weights, or a cap for each disk
        How the Q slots are divided: one line; an equal part for each disk (parts differ by one where N does not
        divide Q); parts in proportion to the buffers, the offered loads or given weights; Linux's rule
        (`qtheory/shares.py`); or the most slots each disk may use, whatever Q. A freed slot goes to the oldest request
        whose disk is below its cap.

    Examples
    --------
    >>> import qtheory as qt
    >>> disk = qt.Disk(arrivals=qt.Poisson(2000.0), buffer=256)
    >>> device = qt.Device(servers=8, service=qt.Exponential(mean=400e-6))
    >>> engine = qt.Engine(disks=[disk] * 4, device=device, queue_length=64, hold="ring", shares="equal")
    >>> engine.offered_load, engine.caps
    (3.2, (16, 16, 16, 16))

    Reads take 100 µs and writes 400 µs, and a third of this disk's requests are writes:

    >>> device = qt.Device(servers=8, service={"read": qt.Erlang(4, mean=100e-6), "write": qt.Deterministic(400e-6)})
    >>> mixed = qt.Disk(qt.Poisson(2000.0), operations={"read": 2 / 3, "write": 1 / 3})
    >>> qt.Engine([mixed], device).laws[0].mean
    0.0002
    """

    disks: tuple[Disk, ...]
    device: Device | None = None
    queue_length: int | None = None
    hold: Hold = "engine"
    shares: Shares = "fifo"
    caps: tuple[int, ...] | None = field(init=False, repr=False, compare=False)
    streams: tuple[Stream, ...] = field(init=False, repr=False, compare=False)
    devices: tuple[Device, ...] = field(init=False, repr=False, compare=False)
    """The device of each disk as its requests see it: with the one law of their service."""

    def __init__(
        self,
        disks: Sequence[Disk],
        device: Device | None = None,
        queue_length: int | None = None,
        hold: Hold = "engine",
        shares: Rule | Weights | Sequence[int] = "fifo",
    ) -> None:
        members = tuple(sequence("disks", disks))
        if not members:
            raise ValueError("disks must have at least one disk")
        for i, disk in enumerate(members):
            if not isinstance(disk, Disk):
                raise TypeError(f"disks[{i}] must be a qt.Disk, not {disk!r}")
        owners = [i for i, disk in enumerate(members) if disk.device is not None]
        if device is not None and owners:
            raise ValueError(f"device must be None when disks have their own, as disks[{owners[0]}] has")
        if device is None and len(owners) < len(members):
            lacking = next(i for i, disk in enumerate(members) if disk.device is None)
            raise ValueError(f"device must be given, or one for every disk: disks[{lacking}] has none")
        if device is not None and not isinstance(device, Device):
            raise TypeError(f"device must be a qt.Device, not {device!r}")
        slots = None if queue_length is None else count("queue_length", queue_length)
        choice("hold", hold, ("ring", "engine", "refuse"))
        if hold == "refuse":
            for i, disk in enumerate(members):
                if disk.saturated:
                    raise ValueError(
                        f"hold must not be 'refuse' with a saturated guest: disks[{i}] has think_time 0 and would "
                        "retry infinitely often"
                    )
        if isinstance(shares, str):
            choice("shares", shares, RULES)
        elif not isinstance(shares, Weights):
            shares = tuple(count(f"shares[{i}]", cap) for i, cap in enumerate(sequence("shares", shares)))
        object.__setattr__(self, "disks", members)
        object.__setattr__(self, "device", device)
        object.__setattr__(self, "queue_length", slots)
        object.__setattr__(self, "hold", hold)
        object.__setattr__(self, "shares", shares)
        object.__setattr__(self, "streams", _streams(members))
        object.__setattr__(self, "devices", _devices(members, device))
        object.__setattr__(self, "caps", _caps(shares, slots, members, self.devices))

    @property
    def laws(self) -> tuple[Law | None, ...]:
        """Law of each disk's service times, where its operations differ a `Mixture`; None at a rate curve."""
        return tuple(device.service for device in self.devices)

    @property
    def one_law(self) -> bool:
        """Whether the requests of all disks have the same law."""
        return len(set(self.laws)) == 1

    @property
    def shared(self) -> bool:
        """Whether one device serves all disks."""
        return self.device is not None

    @property
    def most(self) -> int:
        """Most requests that can be in the system, guests' own waiting not counted."""
        total = sum(disk.most for disk in self.disks)
        return min(total, self.queue_length or total) if self.hold == "refuse" else total

    @property
    def refuses_at_caps(self) -> bool:
        """Whether a request is refused when its disk has used up its cap, and not only at Q or at a full buffer."""
        if self.hold != "refuse" or self.caps is None:
            return False
        return any(cap < disk.most for cap, disk in zip(self.caps, self.disks, strict=True))

    @property
    def with_buffers_for_caps(self) -> Engine:
        """Itself; where it refuses at caps, and only disks that lose requests meet theirs, the same without caps."""
        if not self.refuses_at_caps or self.caps is None:
            return self
        disks = []
        for cap, disk in zip(self.caps, self.disks, strict=True):
            if cap < disk.most:
                if isinstance(disk.arrivals, Closed) or disk.full == "wait":
                    return self
                disk = replace(disk, buffer=cap)
            disks.append(disk)
        return Engine(disks, self.device, self.queue_length, self.hold)

    @property
    def offered_load(self) -> float:
        """Offered load a [erlangs]: arrival rate × mean service time, over all disks.

        Raises ValueError for closed disks and rate curves, which have no offered load of their own.
        """
        load = 0.0
        for disk, device in zip(self.disks, self.devices, strict=True):
            if isinstance(disk.arrivals, Closed) or device.service is None:
                raise ValueError("offered_load needs disks that are not closed and devices with a service law")
            load += disk.arrivals.rate * device.service.mean
        return load


def _streams(disks: Sequence[Disk]) -> tuple[Stream, ...]:
    """The Markovian arrival processes, each with its disks."""
    streams = [Stream(d.arrivals, (i,), (1.0,)) for i, d in enumerate(disks) if isinstance(d.arrivals, MAP)]
    dealt: dict[MAP, dict[int, float]] = {}
    for i, disk in enumerate(disks):
        if isinstance(disk.arrivals, Marked):
            dealt.setdefault(disk.arrivals.process, {})[i] = disk.arrivals.share
    for process, shares in dealt.items():
        total = math.fsum(shares.values())
        if total > 1.0 + ROUNDING:
            raise ValueError(
                f"disks must have shares of one process that add up to at most 1: those of {tuple(shares)} make {total}"
            )
        kept = process.thinned(total) if total < 1.0 - ROUNDING else process
        streams.append(Stream(kept, tuple(shares), tuple(share / total for share in shares.values())))
    return tuple(streams)


def _devices(disks: Sequence[Disk], shared: Device | None) -> tuple[Device, ...]:
    """What each disk's requests see of their device; the same object for disks that see the same."""
    seen: dict[tuple[object, ...], Device] = {}
    for i, disk in enumerate(disks):
        device = disk.device or shared
        assert device is not None
        key = (device, disk.service, disk.operations)
        if key not in seen:
            seen[key] = _seen(device, disk, f"disks[{i}]")
    return tuple(seen[disk.device or shared, disk.service, disk.operations] for disk in disks)


def _seen(device: Device, disk: Disk, name: str) -> Device:
    """The device with the law of this disk's requests."""
    if disk.service is not None:
        if device.curve is not None:
            raise ValueError(f"{name} must not have a service law of its own: its device is a rate curve")
        return Device(device.servers, disk.service)
    if device.operations is None:
        if disk.operations is not None:
            raise ValueError(f"{name} must not have operations: its device does not have a law for each")
        return device
    laws = dict(device.operations)
    if disk.operations is None:
        raise ValueError(f"{name} must have operations, a share of each: its device has laws for {', '.join(laws)}")
    shares = {op: share for op, share in dict(disk.operations).items() if share > 0.0}
    for op in shares:
        choice(f"operations of {name}", op, laws)
    if len(shares) == 1:
        return Device(device.servers, laws[next(iter(shares))])
    return Device(device.servers, Mixture([laws[op] for op in shares], list(shares.values())))


def _caps(
    shares: Shares, slots: int | None, disks: Sequence[Disk], devices: Sequence[Device]
) -> tuple[int, ...] | None:
    """Most slots each disk may use, or None for one line."""
    n = len(disks)
    if shares == "fifo":
        return None
    if isinstance(shares, tuple):
        if len(shares) != n:
            raise ValueError(f"shares must have one cap for each of the {n} disks, not {len(shares)}")
        return shares
    assert follow_length(shares)
    if slots is None:
        raise ValueError(f"shares {shares!r} needs a queue_length to divide, not None")
    if slots < shortest(shares, n):
        raise ValueError(f"shares {shares!r} needs queue_length >= the number of disks, {n}, not {slots}")
    if shares == "linux":
        return (linux_share(slots, n),) * n
    if isinstance(shares, Weights) and len(shares.weights) != n:
        raise ValueError(f"shares must have one weight for each of the {n} disks, not {len(shares.weights)}")
    weights = shares.weights if isinstance(shares, Weights) else _weights(shares, disks, devices)
    return apportioned(slots, weights)


def _weights(rule: str, disks: Sequence[Disk], devices: Sequence[Device]) -> tuple[float, ...]:
    """What the disks' parts are in proportion to."""
    if rule == "equal":
        return (1.0,) * len(disks)
    if rule == "rings":
        return tuple(float(disk.buffer) for disk in disks)
    loads = []
    for i, (disk, device) in enumerate(zip(disks, devices, strict=True)):
        if isinstance(disk.arrivals, Closed):
            raise ValueError(f"shares 'load' needs disks with an offered load, which the closed disks[{i}] has not")
        mean = device.service.mean if device.service is not None else 1.0 / device.capacity
        loads.append(disk.arrivals.rate * mean)
    return tuple(loads)
