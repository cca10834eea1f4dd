"""The best way to approach a stop: dynamic programming on (requests taken, time to the stop).

Requests come at the total rate λ, n of them are taken and complete at the rate μ(n) (exponential service). At each
moment a request that comes is taken or turned away, which costs 1: it waits in the guest until the migration is over.
At the stop, P(T_n > D) of a drain of n costs w. With time s to the stop the least expected cost V_s(n) satisfies

    dV_s(n)/ds = μ(n) (V_s(n − 1) − V_s(n)) + λ min(V_s(n + 1) − V_s(n), 1),     V_0(n) = w P(T_n > D),

and a request is taken where V_s(n + 1) − V_s(n) < 1. P(T_n > D) is convex in n beyond the servers while small, and
concave when near 1, so there are two limits, as in the closing-time problem (J. Appl. Prob. 9, 1972): requests are
turned away while lower(s) <= n < upper(s), to make the drain short; below there is room, and above the drain will be
late whatever is done, so that nothing is gained by turning more away. For how much of the time this is so is reported,
not assumed: up to c taken P(T_n > D) is nearly linear, and in the last moments the few states there may differ. w is
found such that the overrun is the one allowed: then no policy with this overrun turns away fewer.

When the stop comes at a random time without memory, at the rate ν, V does not depend on time:

    ν (w P(T_n > D) − V(n)) + μ(n) (V(n − 1) − V(n)) + λ min(V(n + 1) − V(n), 1) = 0,

and the best policy is a constant limit, a `DepthLimit` held from the beginning.

The equation is integrated by Heun's method (1900) in steps of 1/PER_EVENT of the mean time between events.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qtheory.arguments import positive, probability
from qtheory.arrivals import Poisson
from qtheory.engine import Engine
from qtheory.result import Result

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
PER_EVENT = 4
PATIENCE = 4
"""Depths tried after the best so far."""
HALVINGS = 20
SLOPES = 10
"""Halvings that find a ramp's slope."""
MOST_WEIGHT = 1e9
DISCRETIZATION = 5e-3
"""Relative error of the costs by the step of integration, as seen when it is halved."""


class Policy(NamedTuple):
    """What a policy costs: requests turned away because of it, P(T > D), how long before the stop it begins [s]."""

    refused: float
    overrun: float
    lead: float
    setting: str


@dataclass(frozen=True, kw_only=True)
class OptimalLimits(Result):
    """The best policy for a stop at a known time, and what simpler ones cost beside it.

    Attributes
    ----------
    times, lower, upper : ndarray
        From times[i] [s, negative: before the stop] on, requests are turned away while lower[i] <= n < upper[i]; upper
        is the number of states where nothing is hopeless. Before the first, all are taken.
    two_limits : float
        For which part of the horizon the best policy has this form.
    refused, overrun : float
        Requests that it turns away, P(T > drain_budget).
    policies : dict of Policy
        The best of each kind with the overrun allowed: "stop accepting", "one at a time", "step" (one depth from one
        moment on), "ramp" (a depth that falls linearly). A kind that cannot keep the overrun is left out.
    """

    times: Floats = field(repr=False)
    lower: Ints = field(repr=False)
    upper: Ints = field(repr=False)
    two_limits: float
    refused: float
    overrun: float
    policies: dict[str, Policy]


def optimal_limits(
    engine: Engine, *, drain_budget: float, drain_probability: float = 0.99, horizon: float | None = None
) -> OptimalLimits:
    """The best limits before a stop at a known time.

    Parameters
    ----------
    engine : Engine
        One shared device with exponential service or a rate curve, Poisson disks; all is taken that is not limited.
    drain_budget, drain_probability : float
        P(T <= drain_budget) must be at least drain_probability.
    horizon : float, optional
        How long before the stop limits may begin [s]. None: twice the time in which a full engine drains.

    Raises ValueError for other engines, and where even stopping to accept at the horizon is not enough.

    Examples
    --------
    >>> import qtheory as qt
    >>> disk = qt.Disk(qt.Poisson(720.0), buffer=64)
    >>> engine = qt.Engine([disk], qt.Device(servers=8, service=qt.Exponential(mean=0.010)))
    >>> best = qt.optimal_limits(engine, drain_budget=0.060)
    >>> print(f"{best.refused:.1f} requests turned away")
    10.5 requests turned away
    >>> for name, policy in best.policies.items():
    ...     print(f"{name:14} {policy.refused:5.1f}  {policy.lead * 1e3:3.0f} ms  {policy.setting.split('/')[0]}")
    stop accepting  19.7   27 ms  at most 0
    one at a time   19.7   28 ms  at most 1
    step            19.7   27 ms  at most 0
    ramp            10.7   83 ms  2 + 748.4
    """
    # numba loads here
    from qtheory.drain.optimal_kernel import best, under
    from qtheory.markov.pure_death import PureDeath

    arrival, rates, start, late = _problem(engine, drain_budget)
    allowed = 1.0 - probability("drain_probability", drain_probability)
    if horizon is None:
        full = np.zeros(len(start))
        full[-1] = 1.0
        death = PureDeath(full, rates)
        horizon = 2.0 * (death.mean + 4.0 * math.sqrt(death.variance))
    horizon = positive("horizon", horizon)
    step = 1.0 / (PER_EVENT * (arrival + float(rates.max())))
    steps = math.ceil(horizon / step)
    usual = arrival * float(start[-1]) * step * np.arange(steps + 1)

    def cost(limits: Ints, enough: float = -1.0) -> tuple[Floats, Floats]:
        """Refused beside the usual, and overrun, if the limits held from each time to the stop on."""
        refused, overrun = under(limits, rates, arrival, late, start, step, enough)
        return refused - usual[: len(refused)], overrun

    if float(start @ late) <= allowed:
        none = np.zeros(0, np.int64)
        return _answer(np.zeros(0), none, none, 1.0, 0.0, float(start @ late), {})
    closed = _earliest(*cost(np.zeros(steps, dtype=np.int64), allowed), allowed, step, 0)
    if closed is None:
        raise ValueError(f"horizon must be longer than {horizon:.4g} s, or drain_budget: no policy keeps the overrun")

    low, high = 0.0, math.log(MOST_WEIGHT)
    for _ in range(HALVINGS):
        middle = (low + high) / 2.0
        overrun = best(rates, arrival, late, math.exp(middle), start, step, steps)[1]
        low, high = (low, middle) if overrun <= allowed else (middle, high)
    refused, overrun, lower, upper, two_limits = best(rates, arrival, late, math.exp(high), start, step, steps)

    policies = {"stop accepting": closed}
    single = _earliest(*cost(np.ones(steps, dtype=np.int64), allowed), allowed, step, 1)
    if single is not None:
        policies["one at a time"] = single
    depths, steepest = range(len(start)), 2.0 * float(rates.max())
    for name, found in (
        ("step", (_earliest(*cost(np.full(steps, q), allowed), allowed, step, q) for q in depths)),
        ("ramp", (_ramp(cost, q, steps, step, len(start) - 1, steepest, allowed) for q in depths)),
    ):
        cheapest = _cheapest(found)
        if cheapest is not None:
            policies[name] = cheapest
    # limits with index k hold from (k + 1) to k steps before the stop
    first = np.flatnonzero((np.diff(lower, append=-1) != 0) | (np.diff(upper, append=-1) != 0))[::-1]
    first = first[np.cumsum(lower[first] < len(start) - 1) > 0]
    times = np.asarray(-(first + 1) * step, dtype=np.float64)
    return _answer(times, lower[first], upper[first], two_limits, refused - float(usual[-1]), overrun, policies)


def random_stop_limit(
    engine: Engine, *, drain_budget: float, stop_rate: float, drain_probability: float = 0.99
) -> tuple[int | None, Policy]:
    """The best constant limit when the stop comes without memory at `stop_rate` [1/s]; None: no limit is needed.

    The limit is the largest with the overrun allowed, from the usual state on; its Policy counts what is turned away
    until the stop, in the mean. Raises ValueError for engines that `optimal_limits` does not cover, and where none is
    enough.
    """
    arrival, rates, start, late = _problem(engine, drain_budget)
    allowed = 1.0 - probability("drain_probability", drain_probability)
    rate = positive("stop_rate", stop_rate)
    usual = arrival * float(start[-1]) / rate
    for limit in range(len(start) - 1, -1, -1):
        refused, overrun = held(limit, rates, arrival, late, rate)
        if float(start @ overrun) <= allowed:
            policy = Policy(float(start @ refused) - usual, float(start @ overrun), math.inf, f"at most {limit}")
            return (None if limit == len(start) - 1 else limit), policy
    raise ValueError(f"stop_rate must be lower than {stop_rate!r}, or drain_budget longer: no limit keeps the overrun")


def held(limit: int, rates: Floats, arrival: float, late: Floats, stop_rate: float) -> tuple[Floats, Floats]:
    """Requests turned away until a stop without memory, and the overrun, under a constant limit, from each number."""
    from scipy.linalg import solve_banded

    n = np.arange(len(late))
    down = np.concatenate([[0.0], rates])
    up = np.where(n < min(limit, len(late) - 1), arrival, 0.0)
    banded = np.zeros((3, len(late)))
    banded[0, 1:] = -up[:-1]
    banded[1] = stop_rate + down + up
    banded[2, :-1] = -down[1:]
    found = solve_banded((1, 1), banded, np.stack([np.where(up > 0.0, 0.0, arrival), stop_rate * late], axis=1))
    return found[:, 0], found[:, 1]


def _problem(engine: Engine, drain_budget: float) -> tuple[float, Floats, Floats, Floats]:
    """Arrival rate; completion rates with 1, 2, ... taken; the usual law of the number; P(T_n > budget)."""
    from qtheory.markov.pure_death import done_by
    from qtheory.solve import product_form
    from qtheory.solve.product_form import station_population, station_rates

    if not isinstance(engine, Engine):
        raise TypeError(f"engine must be a qt.Engine, not {engine!r}")
    budget = positive("drain_budget", drain_budget)
    reason = product_form.refusal(engine)
    if reason is None and engine.hold == "refuse":
        reason = "it refuses at Q"
    if reason is None and not all(isinstance(disk.arrivals, Poisson) for disk in engine.disks):
        reason = "its disks are not all Poisson"
    if reason is not None:
        raise ValueError(f"the best policy is not known for this engine: {reason}")
    rates, _ = station_rates(engine)
    start = station_population(engine.disks, rates).pmf
    rates = rates[: len(start) - 1]
    arrival = sum(disk.arrivals.rate for disk in engine.disks if isinstance(disk.arrivals, Poisson))
    return arrival, rates, start, np.maximum(1.0 - done_by(budget, rates), 0.0)


def _answer(
    times: Floats,
    lower: Ints,
    upper: Ints,
    two_limits: float,
    refused: float,
    overrun: float,
    policies: dict[str, Policy],
) -> OptimalLimits:
    return OptimalLimits(
        method="dynamic_programming",
        exact=False,
        error_bounds={"refused": DISCRETIZATION, "overrun": DISCRETIZATION},
        warnings=("requests turned away are lost here; in a guest they wait until the migration is over",),
        times=times,
        lower=lower,
        upper=upper,
        two_limits=two_limits,
        refused=refused,
        overrun=overrun,
        policies=policies,
    )


def _cheapest(found: Iterator[Policy | None]) -> Policy | None:
    """The policy that turns away fewest, of those of rising depths; those after PATIENCE worse ones are not tried."""
    best: Policy | None = None
    worse = 0
    for policy in found:
        if policy is not None and (best is None or policy.refused < best.refused):
            best, worse = policy, 0
        else:
            worse += 1
        if worse == PATIENCE:
            break
    return best


def _earliest(refused: Floats, overrun: Floats, allowed: float, step: float, depth: int) -> Policy | None:
    """The shortest lead with the overrun allowed."""
    enough = np.flatnonzero(overrun <= allowed)
    if len(enough) == 0:
        return None
    k = int(enough[0])
    return Policy(float(refused[k]), float(overrun[k]), k * step, f"at most {depth}")


def _ramp(
    cost: Callable[[Ints], tuple[Floats, Floats]],
    last: int,
    steps: int,
    step: float,
    most: int,
    steepest: float,
    allowed: float,
) -> Policy | None:
    """The steepest depth that falls linearly to `last` at the stop with the overrun allowed."""
    left = (np.arange(steps) + 0.5) * step
    low, high = 0.0, steepest
    found: Policy | None = None
    for _ in range(SLOPES):
        slope = (low + high) / 2.0
        limits = np.minimum(np.floor(last + slope * left), most).astype(np.int64)
        # Before the limit binds nothing changes: the number is as usual.
        refused, overrun = cost(limits[: np.count_nonzero(limits < most)])
        if overrun[-1] <= allowed:
            low = slope
            lead = float(left[limits < most][-1]) if (limits < most).any() else 0.0
            found = Policy(float(refused[-1]), float(overrun[-1]), lead, f"{last} + {slope:.4g}/s")
        else:
            high = slope
    return found
