"""Live migration's switchover: when the guest stops, how the downtime is spent, and how deep its I/O may be then.

**Precopy.** Round 1 sends all RAM, V_1; while a round of length V_k/B is sent the guest dirties

    V_{k+1} = min(D · V_k/B, W),

to be sent in the next: volumes shrink by r = D/B a round (Clark et al., 2005). The guest is stopped after the first
round that leaves at most L = B · downtime-limit to send. So with r < 1 it stops after 1 + ⌈log(L/V_2)/log r⌉ rounds;
with r >= 1 only if what is ever dirtied, W, fits. That each round's end is exactly where the next
begins is the model's; a real one checks in between. D and B are not known exactly: each is taken as lognormal with a
coefficient of variation, constant during one migration, and the law of the moment of the stop follows.

**Downtime.** Its parts follow one after another: the vCPUs stop, pending I/O is drained, each disk is flushed, the last
RAM, then the device state, are sent, the destination loads. QEMU's downtime-limit bounds the last RAM only. The drain
gets what the others leave of the budget.

**Depth.** The largest with which the drain keeps within its part, and how long before the stop it must hold:
`drain/largest_depth.py`. Flushes of a given law follow the drain, one of each disk, and share its part.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qtheory.arguments import count, nonnegative, positive, probability
from qtheory.drain import DepthLimit, drain_time, limited
from qtheory.drain.largest_depth import kind, largest_depth, lead, most
from qtheory.engine import Engine
from qtheory.laws import Law
from qtheory.result import Result
from qtheory.solve import solve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
POINTS = 400
"""Values of the dirty rate, and of the bandwidth, that stand for their laws: midpoints of equal probability."""
SHOWN_ROUNDS = 1000
EARLY = 0.01
"""Probability that the stop comes before the moment for which the limit is planned."""
LEAST_NR_REQUESTS = 4
"""Linux raises smaller values to this (BLKDEV_MIN_RQ)."""
ASSUMED = {"vcpu_stop": 0.001, "flush": 0.001, "device_state": 0.055, "destination": 0.055}
"""[s] Parts of the downtime that are not given. On QEMU 7.2 stops at depth 1 took no longer than their drain, so that
the vCPUs' stop is short there. A flush, of each disk, of a host cache with much to write takes longer. The last two add
up to what a published migration needed beside its stop and its downtime-limit (483 − 74 − 300 ms, qemu-devel,
2024-07-26); the halving is assumed."""


@dataclass(frozen=True)
class Precopy:
    """Precopy of a guest's RAM.

    Parameters
    ----------
    ram : float
        What the first round sends [bytes].
    dirty_rate, bandwidth : float
        What the guest dirties and what the link carries [bytes/s].
    downtime_limit : float, optional
        QEMU's downtime-limit [s]: the last RAM takes no longer. None: the plan takes half of what the fixed parts
        leave of the budget (QEMU's own default is 0.3).
    working_set : float, optional
        Most that can be dirty [bytes]. None: `ram`.
    dirty_rate_cv, bandwidth_cv : float
        Standard deviation over mean of either, from one migration to another; 0.1 is an assumption.

    Examples
    --------
    >>> copy = Precopy(ram=8e9, dirty_rate=4e8, bandwidth=1.2e9)
    >>> [round(r.duration, 3) for r in copy.rounds(0.3)]
    [6.667, 2.222, 0.741]
    """

    ram: float
    dirty_rate: float
    bandwidth: float
    downtime_limit: float | None = None
    working_set: float | None = None
    dirty_rate_cv: float = 0.1
    bandwidth_cv: float = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(self, "ram", positive("ram", self.ram))
        object.__setattr__(self, "dirty_rate", nonnegative("dirty_rate", self.dirty_rate))
        object.__setattr__(self, "bandwidth", positive("bandwidth", self.bandwidth))
        for name in ("downtime_limit", "working_set"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, positive(name, getattr(self, name)))
        if self.working_set is not None and self.working_set > self.ram:
            raise ValueError(f"working_set must be at most ram, {self.ram!r}, not {self.working_set!r}")
        for name in ("dirty_rate_cv", "bandwidth_cv"):
            object.__setattr__(self, name, nonnegative(name, getattr(self, name)))

    def rounds(self, downtime_limit: float) -> tuple[Round, ...]:
        """The rounds before the stop, at the mean rates, at most SHOWN_ROUNDS of them; those of none that converges."""
        made: list[Round] = []
        volume, start = self.ram, 0.0
        while volume > self.bandwidth * downtime_limit and len(made) < SHOWN_ROUNDS:
            duration = volume / self.bandwidth
            made.append(Round(start, duration, volume))
            start += duration
            left = min(self.dirty_rate * duration, self.working_set or self.ram)
            if left >= volume and left > self.bandwidth * downtime_limit and len(made) > 1:
                break
            volume = left
        return tuple(made)

    def stop(self, downtime_limit: float) -> StopTime:
        """When the guest stops, from the beginning of the migration."""
        at, left = _stopped(
            self.ram, np.array([self.dirty_rate]), np.array([self.bandwidth]), self.working_set, downtime_limit
        )
        dirty = _lognormal(self.dirty_rate, self.dirty_rate_cv)
        band = _lognormal(self.bandwidth, self.bandwidth_cv)
        pairs = np.meshgrid(dirty, band)
        times = _stopped(self.ram, pairs[0].ravel(), pairs[1].ravel(), self.working_set, downtime_limit)[0]
        ends = np.sort(times[np.isfinite(times)])
        return StopTime(float(at[0]), float(left[0]), len(ends) / len(times), ends)


class Round(NamedTuple):
    """One round of precopy: when it begins [s], how long it takes [s], what it sends [bytes]."""

    start: float
    duration: float
    volume: float


@dataclass(frozen=True, eq=False)
class StopTime:
    """The moment of the stop [s], counted from the beginning of the migration.

    `expected` and `last_ram` [s to send] hold at the mean rates, inf where precopy does not converge; `convergence` is
    the probability that it does. Mean, standard deviation and quantiles are of those that do, inf without any.
    """

    expected: float
    last_ram: float
    convergence: float
    _ends: Floats = field(repr=False)

    @property
    def mean(self) -> float:
        """Mean [s]."""
        return float(self._ends.mean()) if len(self._ends) else math.inf

    @property
    def standard_deviation(self) -> float:
        """Standard deviation [s]."""
        return float(self._ends.std()) if len(self._ends) else math.inf

    def quantile(self, p: float) -> float:
        """Smallest time [s] by which a fraction p has stopped."""
        at = math.ceil(probability("p", p) * len(self._ends)) - 1
        return float(self._ends[max(at, 0)]) if len(self._ends) else math.inf


@dataclass(frozen=True)
class DowntimeParts:
    """How the downtime budget is divided [s]: upper bounds of all parts, and what they leave to the drain.

    Flushes of a given law are in the drain's part; `flush` is 0 then.
    """

    vcpu_stop: float
    drain: float
    flush: float
    last_ram: float
    device_state: float
    destination: float


@dataclass(frozen=True)
class GuestLatency:
    """Response times [s] that the guest sees, from submission to completion; None where they are not known."""

    mean: float
    quantile_99: float | None
    quantile_999: float | None


@dataclass(frozen=True, kw_only=True)
class SwitchoverPlan(Result):
    """What to do before a switchover, and what it costs; SI units.

    Attributes
    ----------
    feasible : bool
        Whether the drain keeps within its part with the probability asked for. `reason` says why it does not.
    rounds, converges, stop_time, stop_time_sd, stop_earliest, stop_latest, convergence_probability
        Precopy at the mean rates; the stop's mean, standard deviation, and 1 and 99 % quantiles [s].
    parts : DowntimeParts
        The budget's division; `parts.drain` is what the drain may take.
    downtime_limit : float
        What QEMU's downtime-limit is to be set to [s].
    depth_limit : DepthLimit or None
        The largest that keeps the drain within its part; None where none is needed, or none is enough.
    lead, limit_from, window
        How long before the stop the limit must hold; when it is to be set, from the beginning of the migration, so
        that it holds even for the earliest stop; how long it then holds in the mean [s].
    drain_quantile, overrun_probability
        Drain [s] at the probability asked for and P(T > parts.drain), under the limit; `overrun_without` without it.
    throughput, limited_throughput, throughput_loss, requests_lost
        Completions per second, without and with the limit; relative loss; what is delayed or lost in the window.
    latency, limited_latency : GuestLatency or None
        What the guest sees, without and with the limit.
    nr_requests : int or None
        What each disk's queue in the guest is to be set to.
    commands : tuple of str
        What to run on an unmodified QEMU, in order, and what not to do.
    """

    feasible: bool
    reason: str | None
    rounds: tuple[Round, ...] = field(repr=False)
    converges: bool
    convergence_probability: float
    stop_time: float
    stop_time_sd: float
    stop_earliest: float
    stop_latest: float
    parts: DowntimeParts
    downtime_budget: float
    downtime_limit: float
    drain_probability: float
    depth_limit: DepthLimit | None
    lead: float
    limit_from: float | None
    window: float
    drain_quantile: float | None
    overrun_probability: float | None
    overrun_without: float | None
    throughput: float | None
    limited_throughput: float | None
    throughput_loss: float | None
    requests_lost: float | None
    latency: GuestLatency | None
    limited_latency: GuestLatency | None
    nr_requests: int | None
    commands: tuple[str, ...] = field(repr=False)
    _engine: Engine = field(repr=False, compare=False)

    def plot(self) -> Figure:
        """Draw the migration with its rounds, and the stop: requests in flight, and the parts of the downtime."""
        from qtheory.report.timeline import timeline

        return timeline(self, self._engine)


def plan_switchover(
    engine: Engine,
    *,
    precopy: Precopy,
    downtime_budget: float,
    drain_probability: float = 0.99,
    vcpu_stop: float | None = None,
    flush: float | Law | None = None,
    device_state: float | None = None,
    destination: float | None = None,
    hardware_queues: int = 1,
) -> SwitchoverPlan:
    """Plan the switchover of a guest whose disks are those of `engine`.

    Parameters
    ----------
    engine : Engine
        The disks and what serves them.
    precopy : Precopy
        How RAM is copied.
    downtime_budget : float
        Longest pause of the guest [s].
    drain_probability : float
        How often the drain must keep within its part.
    vcpu_stop, flush, device_state, destination : float, optional
        Fixed parts of the downtime [s]; `flush` is for each disk, one after another. Measure them: None takes the
        value that this module states with where it comes from, and a warning says so. A law of a disk's flush is
        taken with the drain: both must keep within the drain's part together.
    hardware_queues : int
        Queues of each disk in the guest (num-queues): the guest's nr_requests holds for each.

    Raises ValueError for an argument out of range, and where the drain under a limit is not known.

    Examples
    --------
    >>> import qtheory as qt
    >>> disk = qt.Disk(qt.Closed(outstanding=32, think_time=0.0), buffer=256)
    >>> engine = qt.Engine([disk] * 4, qt.Device(servers=16, service=qt.Exponential(mean=0.010)))
    >>> copy = qt.Precopy(ram=8e9, dirty_rate=4e8, bandwidth=1.2e9)
    >>> plan = qt.plan_switchover(engine, precopy=copy, downtime_budget=0.3)
    >>> plan.feasible, plan.depth_limit, round(plan.parts.drain, 4), plan.nr_requests
    (True, DepthLimit(limit=45, per='engine'), 0.0925, 11)
    >>> print(f"stop at {plan.stop_time:.1f} s, limit {plan.lead * 1e3:.0f} ms before, overruns without it "
    ...       f"{plan.overrun_without:.0%}, throughput lost {plan.throughput_loss:.1%}")
    stop at 10.2 s, limit 64 ms before, overruns without it 79%, throughput lost 0.0%
    """
    if not isinstance(engine, Engine):
        raise TypeError(f"engine must be a qt.Engine, not {engine!r}")
    if not isinstance(precopy, Precopy):
        raise TypeError(f"precopy must be a qt.Precopy, not {precopy!r}")
    budget = positive("downtime_budget", downtime_budget)
    overrun = 1.0 - probability("drain_probability", drain_probability)
    queues = count("hardware_queues", hardware_queues)
    warnings: list[str] = []
    law = flush if isinstance(flush, Law) else None
    given = {"vcpu_stop": vcpu_stop, "flush": flush, "device_state": device_state, "destination": destination}
    assumed = {name: ASSUMED[name] for name, value in given.items() if value is None}
    if assumed:
        each = {"flush": " for each disk"}
        values = ", ".join(f"{name} {value * 1e3:g} ms{each.get(name, '')}" for name, value in assumed.items())
        warnings.append(f"assumed, not measured: {values}")
    seconds = {n: assumed.get(n, 0.0) if v is None or v is law else nonnegative(n, v) for n, v in given.items()}
    fixed = [seconds["vcpu_stop"], seconds["flush"] * len(engine.disks), seconds["device_state"]]
    fixed.append(seconds["destination"])
    rest = budget - sum(fixed)
    limit_time = precopy.downtime_limit or max(rest, 0.0) / 2.0
    parts = DowntimeParts(fixed[0], rest - limit_time, fixed[1], limit_time, fixed[2], fixed[3])
    reasons: list[str] = []

    rounds = precopy.rounds(limit_time) if limit_time else ()
    stop = precopy.stop(limit_time) if limit_time else StopTime(math.inf, math.inf, 0.0, np.zeros(0))
    if rest <= 0.0:
        reasons.append(f"the fixed parts of the downtime, {sum(fixed):.4g} s, use up the budget of {budget:.4g} s")
    elif parts.drain <= 0.0:
        reasons.append(
            f"the last RAM may take the downtime-limit, {limit_time:.4g} s: of the budget of {budget:.4g} s nothing is "
            "left for the drain"
        )
    converges = math.isfinite(stop.expected)
    if not converges and limit_time:
        ratio = precopy.dirty_rate / precopy.bandwidth
        dirtied = (precopy.working_set or precopy.ram) / precopy.bandwidth
        reasons.append(
            f"precopy does not converge: the guest dirties {ratio:.3g} times what the link carries, and {dirtied:.3g} "
            f"s of RAM are never sent within {limit_time:.3g} s"
        )
    elif stop.convergence < 1.0 and limit_time:
        warnings.append(f"precopy converges with probability {stop.convergence:.3f} only; the stop's law is of those")

    depth = _Depth(engine, parts.drain, overrun, law, warnings)
    if parts.drain > 0.0 and not depth.feasible:
        reasons.append(
            f"even one request at a time{' for each disk' if depth.per == 'disk' else ''} drains longer than "
            f"{parts.drain:.4g} s with probability {depth.overrun_at(1):.3g}"
        )
    depth_limit = depth.limit
    limit_lead = depth.lead() if depth_limit else 0.0
    limit_from = None
    window = 0.0
    if depth_limit and converges:
        limit_from = max(stop.quantile(EARLY) - limit_lead, 0.0)
        window = stop.mean - limit_from
        if limit_lead > stop.quantile(EARLY):
            warnings.append(
                f"the limit should begin {limit_lead:.3g} s before a stop that may come sooner: set it at once"
            )
    before, after = _costs(engine, depth_limit, warnings)
    loss = None if before is None or after is None else max(1.0 - after.throughput / before.throughput, 0.0)
    nr_requests = depth.nr_requests(queues)
    return SwitchoverPlan(
        method=depth.method,
        exact=depth.exact,
        error_bounds=depth.error_bounds,
        warnings=tuple(dict.fromkeys(warnings)),
        feasible=not reasons,
        reason="; ".join(reasons) or None,
        rounds=rounds,
        converges=converges,
        convergence_probability=stop.convergence,
        stop_time=stop.mean if converges else math.inf,
        stop_time_sd=stop.standard_deviation if converges else math.inf,
        stop_earliest=stop.quantile(EARLY) if converges else math.inf,
        stop_latest=stop.quantile(1.0 - EARLY) if converges else math.inf,
        parts=parts,
        downtime_budget=budget,
        downtime_limit=limit_time,
        drain_probability=drain_probability,
        depth_limit=depth_limit,
        lead=limit_lead,
        limit_from=limit_from,
        window=window,
        drain_quantile=depth.quantile,
        overrun_probability=depth.overrun,
        overrun_without=depth.overrun_without,
        throughput=None if before is None else before.throughput,
        limited_throughput=None if after is None else after.throughput,
        throughput_loss=loss,
        requests_lost=None if before is None or loss is None else loss * before.throughput * window,
        latency=None if before is None else before.latency,
        limited_latency=None if after is None else after.latency,
        nr_requests=nr_requests,
        commands=_commands(engine, limit_time, nr_requests, limit_from, limit_lead),
        _engine=engine,
    )


class _Depth:
    """The largest depth limit under which drain and `flush` keep within `budget` but with probability `overrun`."""

    def __init__(self, engine: Engine, budget: float, overrun: float, flush: Law | None, warnings: list[str]) -> None:
        self.engine, self.budget, self.allowed, self.flush, self.warnings = engine, budget, overrun, flush, warnings
        self.per = kind(engine)
        self.limit: DepthLimit | None = None
        self.natural = None
        try:
            self.natural = drain_time(engine, flush=flush)
        except ValueError as error:
            warnings.append(f"without a limit: {error}")
        self.overrun_without = None if self.natural is None or budget <= 0.0 else self.natural.sf(budget)
        self.feasible = budget > 0.0
        drain = self.natural
        if self.feasible and (self.overrun_without is None or self.overrun_without > overrun):
            depth = largest_depth(most(engine), self.overrun_at, overrun)
            self.feasible = depth is not None
            self.limit = None if depth is None else self.of(depth)
            drain = drain_time(engine, self.limit or self.of(1), flush=flush)
        self.method = "none" if drain is None else drain.method
        self.exact = drain is not None and drain.exact
        self.error_bounds = {} if drain is None else {"overrun_probability": drain.error_bounds["sf"]}
        if drain is not None:
            warnings.extend(drain.warnings)
        self.quantile = None if drain is None else drain.quantile(1.0 - overrun)
        self.overrun = None if drain is None or budget <= 0.0 else drain.sf(budget)

    def of(self, depth: int) -> DepthLimit:
        return DepthLimit(depth, per=self.per)

    def overrun_at(self, depth: int) -> float:
        """P(T > budget) under the limit."""
        return drain_time(self.engine, self.of(depth), flush=self.flush).sf(self.budget)

    def lead(self) -> float:
        """How long before the stop the limit must begin [s]."""
        assert self.limit is not None
        if self.natural is None:
            raise ValueError("the lead is not known where the drain without a limit is not")
        if self.flush is None:
            found, bound = lead(self.engine, self.limit, self.natural, self.budget, self.allowed)
        else:
            found, bound = self.natural.quantile(1.0 - self.allowed / 10.0), "flushes follow the drain"
        if bound is not None:
            self.warnings.append(f"the lead is a bound, the time to drain what was taken before the limit: {bound}")
        return found

    def nr_requests(self, queues: int) -> int | None:
        """What to set in the guest for each disk, or None where nothing is to be set."""
        if self.limit is None:
            return None
        parts = queues * (len(self.engine.disks) if self.per == "engine" else 1)
        each = self.limit.limit // parts
        if each < LEAST_NR_REQUESTS:
            reached = LEAST_NR_REQUESTS * parts
            self.warnings.append(
                f"a guest's nr_requests is at least {LEAST_NR_REQUESTS} for each of its queues: that leaves a depth of "
                f"{reached}, not {self.limit.limit}, and the drain overruns with probability "
                f"{self.overrun_at(reached):.3g}"
            )
            return LEAST_NR_REQUESTS
        return each


class _Cost(NamedTuple):
    throughput: float
    latency: GuestLatency


def _costs(engine: Engine, limit: DepthLimit | None, warnings: list[str]) -> tuple[_Cost | None, _Cost | None]:
    """Throughput and latency without and with the limit."""
    found: list[_Cost | None] = []
    for one in (engine, engine if limit is None else limited(engine, limit)):
        try:
            state = solve(one)
        except ValueError as error:
            warnings.append(f"throughput and latency: {error}")
            found.append(None)
            continue
        quantiles: list[float | None] = []
        for p in (0.99, 0.999):
            try:
                quantiles.append(state.response_quantile(p))
            except ValueError as error:
                warnings.append(f"latency: {error}")
                quantiles.append(None)
        warnings.extend(state.warnings)
        found.append(_Cost(state.throughput, GuestLatency(state.mean_response, *quantiles)))
    return found[0], found[1]


def _stopped(
    ram: float, dirty: Floats, bandwidth: Floats, working_set: float | None, limit: float
) -> tuple[Floats, Floats]:
    """When the guest stops [s], inf for never, and how long the last RAM then takes [s]."""
    r = dirty / bandwidth
    first = np.full(r.shape, ram) / bandwidth
    second = np.minimum(r * first, (working_set or ram) / bandwidth)
    shrinks = (r < 1.0) & (r > 0.0)
    safe = np.where(shrinks, r, 0.5)
    more = np.where(second <= limit, 0.0, np.ceil(np.log(limit / np.maximum(second, 1e-300)) / np.log(safe) - 1e-12))
    left = second * safe**more
    at = first + second * (1.0 - safe**more) / (1.0 - safe)
    ends = shrinks | (second <= limit)
    at, left = np.where(ends, at, math.inf), np.where(ends, left, math.inf)
    at_once = ram <= bandwidth * limit
    return np.where(at_once, 0.0, at), np.where(at_once, first, left)


def _lognormal(mean: float, cv: float) -> Floats:
    """Midpoints of equal probability of the lognormal law."""
    if mean == 0.0 or cv == 0.0:
        return np.array([mean])
    from scipy.special import ndtri

    sigma = math.sqrt(math.log1p(cv * cv))
    return np.asarray(mean * np.exp(sigma * ndtri((np.arange(POINTS) + 0.5) / POINTS) - sigma * sigma / 2.0))


def _commands(
    engine: Engine, downtime_limit: float, nr_requests: int | None, limit_from: float | None, lead: float
) -> tuple[str, ...]:
    """What to run today."""
    lines = [
        "QMP, before migrate: "
        + json.dumps(
            {"execute": "migrate-set-parameters", "arguments": {"downtime-limit": math.floor(downtime_limit * 1e3)}}
        )
    ]
    if nr_requests is not None:
        names = [_name(i) for i in range(len(engine.disks))]
        at = "as soon as it is clear when the stop comes" if limit_from is None else f"{limit_from:.3g} s after migrate"
        # /run is in the guest's RAM and moves with it
        each, own, kept = f"for d in {' '.join(names)}", "/sys/block/$d/queue/nr_requests", "/run/nr_requests.$d"
        lines += [
            f"Guest agent, {at}, at least {lead * 1e3:.3g} ms before the stop: "
            + _agent(f"{each}; do cat {own} > {kept}; echo {nr_requests} > {own}; done"),
            "Guest agent, on the destination after RESUME, or on the source if the migration fails: "
            + _agent(f"{each}; do cat {kept} > {own}; done"),
            "Watch query-migrate (ram.remaining, ram.dirty-pages-rate) and MIGRATION_PASS; set the limit earlier when "
            "the rounds shrink faster than planned. pause-before-switchover comes after the drain and does not help.",
        ]
    lines.append(
        "Do not use block_set_io_throttle or a throttle group to prepare the stop: a drain releases their backlog at "
        "once, one disk after another, and takes longer. thread-pool-max does not shorten the backlog either."
    )
    return tuple(lines)


def _agent(script: str) -> str:
    """A shell script through the guest agent."""
    return json.dumps({"execute": "guest-exec", "arguments": {"path": "/bin/sh", "arg": ["-c", script]}})


def _name(disk: int) -> str:
    """vda, vdb, ..., vdz, vdaa, ..."""
    letters = ""
    disk += 1
    while disk:
        disk, letter = divmod(disk - 1, 26)
        letters = chr(ord("a") + letter) + letters
    return f"vd{letters}"
