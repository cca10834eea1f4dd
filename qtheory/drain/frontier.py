"""Throughput against drain: what each depth limit gives, and where other ways of approaching a stop lie.

With at most q requests taken from the rings an engine completes X(q) requests a second and a drain has the quantile
T(q): as q rises from 1, the points (T(q), X(q)) are the frontier of limits that always hold, with the guest's 99.9 %
response beside them. A limit that begins shortly before the stop costs throughput then only. So that all ways can be
drawn together, each is held against the others by what is completed in the mean over the last `window` seconds before
the stop: the time that the step needs to settle (`largest_depth.py`), unless another is given.

The ways, where they are covered: no limit; one request at a time; with a drain budget the largest depth limit that
keeps it, the same as a step that begins only in time, and a ramp, which begins at twice that time and falls in STEPS
steps to half that depth, as steeply as the budget allows, but no faster than the device completes; for saturated disks
with devices of their own a rate limit that halves their throughput.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qtheory.arguments import positive, probability
from qtheory.drain import DepthLimit, DepthSchedule, RateLimit, drain_time, limited
from qtheory.drain.drain_law import DrainTime
from qtheory.drain.largest_depth import kind, largest_depth, lead, most, phased
from qtheory.engine import Engine
from qtheory.laws import Law
from qtheory.result import Result
from qtheory.solve import solve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
Throttle = DepthLimit | DepthSchedule | RateLimit | None
POINTS = 16
"""Depths of the frontier, about evenly spaced on a logarithmic axis."""
STEPS, SLOPES = 8, 16
MOMENTS = 129
"""Moments of the window at which the rate of completions is taken."""
LATENCY = 0.999
RARE = 1e-3
"""Probability that more are taken without a limit than the deepest limit drawn."""
LEAST_SF = 1e-4
STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
MARKERS = "os^DvPX*"


class FrontierPoint(NamedTuple):
    """What one way of approaching a stop gives: SI units."""

    throttle: Throttle
    throughput: float
    """Completions a second, in the mean over the window before the stop."""
    drain_quantile: float
    overrun: float | None
    """P(drain > drain_budget); None without one."""
    latency: float | None
    """99.9 % of the guests' responses are no longer [s], where a limit holds for long; None where it is not known."""


@dataclass(frozen=True, kw_only=True)
class DrainFrontier(Result):
    """Throughput against drain under depth limits, and the policies beside them.

    Attributes
    ----------
    depths : tuple of int
        Limits, for all disks together or, `per` "disk", for each.
    points : tuple of FrontierPoint
        One for each, held for long.
    policies : mapping from name to FrontierPoint
        The ways of the module's text, and those that were asked for.
    left_out : mapping from name to str
        Ways that are not covered for this engine, and why.
    window : float
        Over which throughput is taken [s]; 0 where all limits hold for long.
    """

    per: str
    depths: tuple[int, ...]
    points: tuple[FrontierPoint, ...] = field(repr=False)
    policies: Mapping[str, FrontierPoint]
    left_out: Mapping[str, str]
    drain_budget: float | None
    drain_probability: float
    window: float
    _laws: Mapping[str, DrainTime] = field(repr=False, compare=False)

    def plot(self) -> Figure:
        """Draw the law of the drain under each policy, throughput against drain, and guest latency against drain."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(13.5, 4.2), layout="constrained")
        law, throughput, latency = figure.subplots(1, 3)
        self.plot_laws(law)
        self.plot_throughput(throughput)
        self._against(latency, [point.latency for point in self.points], "latency", 1e3)
        latency.set(ylabel=f"guest latency, {LATENCY:.1%} [ms]", yscale="log")
        handles, labels = throughput.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False, fontsize=8)
        return figure

    def plot_laws(self, ax: Axes) -> None:
        """Draw P(T > t) under each policy on `ax`."""
        longest = max(law.quantile(1.0 - LEAST_SF) for law in self._laws.values())
        t = np.linspace(0.0, longest, 300)
        for style, (name, law) in zip(STYLES * len(self._laws), self._laws.items(), strict=False):
            ax.plot(1e3 * t, [law.sf(x) for x in t.tolist()], linestyle=style, linewidth=1.3, label=name)
        ax.axhline(1.0 - self.drain_probability, color="0.6", linewidth=0.8)
        ax.set(xlabel="t [ms]", ylabel="P(drain > t)", yscale="log", ylim=(LEAST_SF, 1.2))
        ax.legend(frameon=False, fontsize=8)
        self._framed(ax)

    def plot_throughput(self, ax: Axes) -> None:
        """Draw throughput against the drain on `ax`."""
        self._against(ax, [point.throughput for point in self.points], "throughput", 1.0)
        ax.set(ylabel="throughput before the stop [1/s]")
        ax.set_ylim(bottom=0.0)

    def _against(self, ax: Axes, values: Sequence[float | None], name: str, scale: float) -> None:
        """A quantity against the drain's quantile: the frontier, its depths, and the policies."""
        line = [(1e3 * p.drain_quantile, scale * y, q)
                for p, y, q in zip(self.points, values, self.depths, strict=True) if y is not None]  # fmt: skip
        if line:
            x, y, _ = zip(*line, strict=True)
            ax.plot(
                x, y, ".-", color="0.45", linewidth=1.2, label=f"depth limit q{' a disk' if self.per == 'disk' else ''}"
            )
            shown = {round(i * (len(line) - 1) / 5) for i in range(6)}
            for i in sorted(shown):
                ax.annotate(f"{line[i][2]}", line[i][:2], textcoords="offset points", xytext=(4, -10), fontsize=8)
        for marker, (label, point) in zip(MARKERS * len(self.policies), self.policies.items(), strict=False):
            at = getattr(point, name)
            if at is not None:
                ax.plot(1e3 * point.drain_quantile, scale * at, marker, markersize=6, linestyle="none", label=label)
        ax.set(xlabel=f"drain, {self.drain_probability:.4g} quantile [ms]")
        self._framed(ax)

    def _framed(self, ax: Axes) -> None:
        if self.drain_budget is not None:
            ax.axvline(1e3 * self.drain_budget, color="tab:red", linewidth=1.0, linestyle="--", label="budget")
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25)


def drain_frontier(
    engine: Engine,
    *,
    drain_budget: float | None = None,
    drain_probability: float = 0.99,
    throttles: Mapping[str, Throttle] | None = None,
    flush: Law | None = None,
    window: float | None = None,
) -> DrainFrontier:
    """Throughput against drain of an engine under depth limits, and the policies beside them.

    Parameters
    ----------
    engine : Engine
        As for `drain_time`.
    drain_budget, drain_probability : float
        P(T <= drain_budget) is to be at least drain_probability; None: no policy is fitted to a budget.
    throttles : mapping from name to throttle, optional
        More ways to draw.
    flush : Law, optional
        As for `drain_time`.
    window : float, optional
        Over which throughput is taken [s]. None: the time that the step needs.

    Raises ValueError where neither the drain nor the throughput under a depth limit is known, and as `drain_time` for
    the throttles given.

    Examples
    --------
    Depth beyond saturation buys no throughput; one at a time costs nearly all of it.

    >>> import qtheory as qt
    >>> guest = qt.Disk(qt.Closed(outstanding=16))
    >>> engine = qt.Engine([guest] * 4, qt.Device(servers=4, service=qt.Exponential(mean=0.010)))
    >>> found = qt.drain_frontier(engine, drain_budget=0.1)
    >>> for name, point in found.policies.items():
    ...     print(f"{name:17} {point.throughput:4.0f}/s, drain {point.drain_quantile * 1e3:3.0f} ms")
    no limit           400/s, drain 230 ms
    one at a time      100/s, drain  46 ms
    depth limit 17     400/s, drain  97 ms
    step to 17         400/s, drain 100 ms
    ramp to 8          400/s, drain  91 ms
    rate limit 50/s a disk  200/s, drain 247 ms
    """
    if not isinstance(engine, Engine):
        raise TypeError(f"engine must be a qt.Engine, not {engine!r}")
    p = probability("drain_probability", drain_probability)
    budget = None if drain_budget is None else positive("drain_budget", drain_budget)
    window = None if window is None else positive("window", window)
    per = kind(engine)

    def drained(throttle: Throttle) -> DrainTime:
        return drain_time(engine, throttle, flush=flush)

    ways: dict[str, Throttle] = {"no limit": None, "one at a time": DepthLimit(1, per=per)}
    left_out: dict[str, str] = {}
    natural = drained(None)
    if budget is not None:
        ways |= _within(engine, natural, budget, 1.0 - p, drained, left_out)
    from qtheory.drain import rate_limit  # numba loads here

    if rate_limit.refusal(engine, RateLimit(1e-9)) is None:
        half = solve(engine).throughput / len(engine.disks) / 2.0
        ways[f"rate limit {half:.4g}/s a disk"] = RateLimit(half)
    ways |= throttles or {}

    if window is None:
        window = max((-way.steps[0][0] for way in ways.values() if isinstance(way, DepthSchedule)), default=0.0)
    laws: dict[str, DrainTime] = {}
    policies: dict[str, FrontierPoint] = {}
    for name, way in ways.items():
        try:
            laws[name] = natural if way is None else drained(way)
            policies[name] = _point(engine, way, laws[name], window, budget, p)
        except ValueError as error:
            if throttles and name in throttles:
                raise
            laws.pop(name, None)
            left_out[name] = str(error)
    depths = _depths(engine, natural)
    limits = [DepthLimit(q, per=per) for q in depths]
    frontier = [drained(limit) for limit in limits]
    everything = [*laws.values(), *frontier]
    return DrainFrontier(
        method="; ".join(dict.fromkeys(law.method for law in everything)),
        exact=all(law.exact for law in everything),
        error_bounds={
            "drain_quantile": max(law.error_bounds.get("quantile", law.error_bounds["sf"]) for law in everything)
        },
        warnings=tuple(dict.fromkeys(w for law in everything for w in law.warnings)),
        per=per,
        depths=depths,
        points=tuple(_point(engine, limit, law, 0.0, budget, p) for limit, law in zip(limits, frontier, strict=True)),
        policies=policies,
        left_out=left_out,
        drain_budget=budget,
        drain_probability=p,
        window=window,
        _laws=laws,
    )


def ramp(last: int, rate: float, length: float, steps: int = STEPS) -> DepthSchedule:
    """A depth that falls to `last` at the stop, at `rate` [1/s], from `length` [s] before it on, in equal steps.

    >>> ramp(2, 100.0, 0.08, 4).steps
    ((-0.08, 8), (-0.06, 6), (-0.04, 4), (-0.02, 2))
    """
    left = [length * (steps - i) / steps for i in range(steps)]
    return DepthSchedule([(-s, last + math.floor(rate * (s - length / steps) + 1e-9)) for s in left])


def _within(
    engine: Engine,
    natural: DrainTime,
    budget: float,
    allowed: float,
    drained: Callable[[Throttle], DrainTime],
    left_out: dict[str, str],
) -> dict[str, Throttle]:
    """The policies that keep the budget."""
    if natural.sf(budget) <= allowed:
        return {}
    per = kind(engine)
    depth = largest_depth(most(engine), lambda q: drained(DepthLimit(q, per=per)).sf(budget), allowed)
    if depth is None:
        left_out["depth limit"] = f"even one at a time drains longer than {budget:.4g} s too often"
        return {}
    limit = DepthLimit(depth, per=per)
    ways: dict[str, Throttle] = {f"depth limit {depth}": limit}
    begin, bound = lead(engine, limit, natural, budget, allowed)
    if per == "disk":
        left_out["step"] = left_out["ramp"] = "each disk has a limit of its own"
        return ways
    if bound is not None:
        left_out["step"] = left_out["ramp"] = bound
        return ways
    ways[f"step to {depth}"] = DepthSchedule([(-begin, depth)])
    last, fastest = max(depth // 2, 1), engine.devices[0].capacity / SLOPES

    def falling(slope: int) -> DepthSchedule:
        return ramp(last, slope * fastest, 2.0 * begin)

    try:
        slope = largest_depth(SLOPES, lambda k: drained(falling(k)).sf(budget), allowed)
    except ValueError as error:
        left_out["ramp"] = str(error)
    else:
        if slope is None:
            left_out["ramp"] = f"a fall to {last} at {fastest:.4g}/s is too steep"
        else:
            ways[f"ramp to {last}"] = falling(slope)
    return ways


def _point(
    engine: Engine, way: Throttle, law: DrainTime, window: float, budget: float | None, p: float
) -> FrontierPoint:
    latency = None
    if isinstance(way, DepthSchedule):
        throughput = _before(engine, way, window)
    elif isinstance(way, RateLimit):
        throughput = way.rate * len(engine.disks)
    else:
        state = solve(engine if way is None else limited(engine, way))
        throughput = state.throughput
        try:
            latency = state.response_quantile(LATENCY)
        except ValueError:
            latency = None
    return FrontierPoint(way, throughput, law.quantile(p), None if budget is None else law.sf(budget), latency)


def _before(engine: Engine, schedule: DepthSchedule, window: float) -> float:
    """Completions a second in the mean over the window before the stop."""
    followed = phased(engine)
    if isinstance(followed, str):
        raise ValueError(followed)
    from qtheory.drain.in_flight import in_flight

    times = np.linspace(-window, 0.0, MOMENTS)
    times[-1] = -1e-9 * window
    rates = in_flight(followed, schedule, times)[1]
    return float(np.trapezoid(rates, times) / window)


def _depths(engine: Engine, natural: DrainTime) -> tuple[int, ...]:
    """Depths from 1 on to where a limit changes next to nothing."""
    top = most(engine)
    if kind(engine) == "engine":
        above = 1.0 - np.cumsum(natural.population_pmf)
        top = max(int(np.argmax(above <= RARE)), 1)
    return tuple(sorted({round(top ** (i / (POINTS - 1))) for i in range(POINTS)}))
