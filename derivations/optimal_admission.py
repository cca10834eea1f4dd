r"""
When to stop taking requests before a stop: dynamic programming, and why limits are best.

A request that comes is taken or turned away, at a cost of 1; at the stop P(T_n > D) costs w. The best decision compares
what one request more would cost later with 1. Where the cost of the stop is convex in the number taken, that difference
grows with the number, so that a limit is best; the drain's law says where it is convex.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import numpy as np
import sympy as sp

import qtheory as qt
from derivations import drain_exponential as of_number
from derivations.derivation import CLOSE, SEED, Check, Derivation, Step, relative
from qtheory.drain.optimal_control import held
from qtheory.drain.optimal_kernel import best, under
from qtheory.markov.pure_death import done_by

n = sp.Symbol("n", integer=True, nonnegative=True)
lam, mu, nu, w, D, s, h, u, delta = sp.symbols("lambda mu nu w D s h u delta", positive=True)
mu1, mu2, rate, here, less, more = sp.symbols("mu_1 mu_2 mu_n V(n) V(n-1) V(n+1)", positive=True)
lowest, middle, highest = sp.symbols(r"\Delta_{n-1} \Delta_n \Delta_{n+1}", nonnegative=True)
p0, p1, p2 = sp.symbols("p_n p_{n+1} p_{n+2}", nonnegative=True)
F = sp.Symbol("F", positive=True)

# A short time h earlier a request comes, of which a part u is taken, or one is completed, or nothing happens.
earlier = (1 - (lam + rate) * h) * here + rate * h * less + lam * h * (u * more + (1 - u) * (here + 1))
change = sp.diff(earlier, h)
switch = sp.factor(sp.diff(change, u))

# With Δ_n = V(n + 1) − V(n) and p_n = μ_n h: V(n), V(n + 1), V(n + 2) after a possible completion, less V(n); bent.
completed = [-p0 * lowest, middle - p1 * middle, middle + highest - p2 * highest]
bend = sp.expand(completed[2] - 2 * completed[1] + completed[0])
parts = (1 - p2) * (highest - middle) + p0 * (middle - lowest) + middle * (2 * p1 - p0 - p2)

# The same after a possible arrival: V(n) + min(1, Δ_n), whose difference from n to n + 1 is
offered = middle + sp.Min(1, highest) - sp.Min(1, middle)

# The cost of the stop. Up to c it is 1 − F^n; before one server, one request more adds a Poisson probability.
free_bend = sp.factor(sp.expand((1 - F ** (n + 2)) - 2 * (1 - F ** (n + 1)) + (1 - F**n)))
one_more = sp.exp(-mu * D) * (mu * D) ** n / sp.factorial(n)
ratio = sp.combsimp(one_more.subs(n, n + 1) / one_more)
turning = sp.solve(sp.Eq(ratio, 1), n)[0]

# One slot: Δ = V(1) − V(0) falls while requests are turned away, until it is 1; that is before the last moments.
Delta = sp.Function("Delta")
falling = sp.dsolve(Delta(s).diff(s) + mu * Delta(s), Delta(s), ics={Delta(0): w * sp.exp(-mu * D)}).rhs
lead = sp.expand(sp.expand_log(sp.solve(sp.Eq(falling, 1), s)[0]))
accepting = sp.Eq(Delta(s).diff(s), lam - (lam + mu) * Delta(s))
settled = sp.simplify(sp.dsolve(accepting, Delta(s), ics={Delta(lead): 1}).rhs)

# Nothing taken from s before the stop on, one server: the drain has begun by then.
late = of_number.stationary_cdf.subs({of_number.c: 1, of_number.a: lam / mu, of_number.mu: mu}).doit()
late = sp.simplify(1 - late.subs(of_number.t, D + s))
nothing_lead = sp.expand(sp.solve(sp.Eq(late, delta), s)[0] * (mu - lam))
logarithm = sp.factor(sp.logcombine(nothing_lead.subs(D, 0)))
nothing_lead = logarithm / (mu - lam) + sp.cancel(nothing_lead.coeff(D) / (mu - lam)) * D
nothing_refused = lam * nothing_lead

# A stop without memory, at most two taken: the overrun from 0, 1 and 2 taken.
costs = sp.symbols("g_0 g_1 g_2", nonnegative=True)
values = sp.symbols("h_0 h_1 h_2")
equations = [
    nu * (costs[0] - values[0]) + lam * (values[1] - values[0]),
    nu * (costs[1] - values[1]) + mu1 * (values[0] - values[1]) + lam * (values[2] - values[1]),
    nu * (costs[2] - values[2]) + mu2 * (values[1] - values[2]),
]
solution = sp.solve(equations, values, dict=True)[0]
overrun = sp.factor(solution[values[0]].subs(costs[0], 0))


def convex(_: Derivation) -> Iterator[sp.Expr]:
    """The second difference after a completion; and after an arrival, whatever is on which side of 1."""
    yield sp.expand(bend - parts)
    low, up = sp.symbols("low up", nonnegative=True)
    inside = low / (1 + low)  # between 0 and 1
    for first, second in ((inside, inside + (1 - inside) * up / (1 + up)), (inside, 1 + up), (1 + low, 1 + low + up)):
        at = {middle: first, highest: second}
        yield sp.simplify(offered.subs(at) - (sp.Max(first, 1) - 1 + sp.Min(second, 1)))


def terminal(of: Derivation) -> Iterator[sp.Expr]:
    """Second differences of P(T_n > D) by the law of drain_exponential.py: −f'/r² beyond c, f the density of n + 2."""
    t, law = of_number.t, of_number
    at = {law.mu: mu}
    for servers in (1, 2, 3):
        laws = [law.free.subs(law.m, servers - 1), law.free.subs(law.m, servers)]
        laws += [law.cdf.subs({law.c: servers, law.k: waits}).doit() for waits in (1, 2, 3)]
        laws = [sp.expand(sp.expand_func(one.subs(at))) for one in laws]
        for before, there, beyond in zip(laws[1:], laws[2:], laws[3:], strict=False):
            second = -(beyond - 2 * there + before)
            yield sp.expand(second + sp.diff(beyond, t, 2) / (servers * mu) ** 2)
        yield sp.expand(laws[1] - laws[0] + (1 - sp.exp(-mu * t)) ** (servers - 1) * sp.exp(-mu * t))
    for few in range(4):
        before, there = (1 - sum(one_more.subs(n, k) for k in range(m)) for m in (few, few + 1))
        yield sp.expand(before - there - of["one_more"].subs(n, few))
    yield sp.simplify(ratio.subs(n, turning) - 1)


def one_slot(of: Derivation) -> Iterator[sp.Expr]:
    """Continuity where requests begin to be turned away, and that Δ stays below 1 before."""
    yield sp.simplify(falling.subs(s, of["lead"]) - 1)
    yield sp.simplify(settled.subs(s, of["lead"]) - 1)
    yield sp.limit(settled, s, sp.oo) - lam / (lam + mu)
    yield sp.simplify(sp.diff(settled, s) - lam + (lam + mu) * settled)
    yield sp.simplify(late.subs(s, of["nothing_lead"]) - delta)
    yield sp.expand(lam * of["nothing_lead"] - of["nothing_refused"])


def memoryless(of: Derivation) -> Iterator[float]:
    """The library's banded solution for a limit of two."""
    rng = random.Random(SEED)
    overrun_of = of.lambdified("overrun", lam, mu1, mu2, nu, *costs[1:])
    for _ in range(10):
        arrival, one, two, stops = (rng.uniform(0.1, 10.0) for _ in range(4))
        costs_at = sorted(rng.random() for _ in range(2))
        found = held(2, np.array([one, two, two]), arrival, np.array([0.0, *costs_at, 1.0]), stops)[1]
        yield relative(found[0], float(overrun_of(arrival, one, two, stops, *costs_at)))


def scheduled(of: Derivation) -> Iterator[float]:
    """The solver's drain when nothing is taken from the lead on overruns as often as allowed."""
    rng = random.Random(SEED)
    lead_of = of.lambdified("nothing_lead", lam, mu, D, delta)
    for _ in range(3):
        service_rate = rng.uniform(1.0, 1e4)
        arrival, budget, allowed = rng.uniform(0.4, 0.65) * service_rate, rng.uniform(1.0, 4.0) / service_rate, 0.01
        engine = qt.Engine([qt.Disk(qt.Poisson(arrival), buffer=100)], qt.Device(1, qt.Exponential(1 / service_rate)))
        before = float(lead_of(arrival, service_rate, budget, allowed))
        yield relative(qt.drain_time(engine, qt.DepthSchedule([(-before, 0)])).sf(budget), allowed)


def integrated(of: Derivation) -> Iterator[float]:
    """Leads and requests turned away, by the library's integration in time, over those that are exact."""
    arrival, budget, weight, step = 1.7, 0.8, 40.0, 1e-3
    steps = 6000
    overruns = np.array([0.0, math.exp(-budget)])
    lower = best(np.array([1.0]), arrival, overruns, weight, np.array([0.5, 0.5]), step, steps)[2]
    turned_away = np.count_nonzero(lower == 0) * step
    exact = float(of.lambdified("lead", mu, D, w)(1.0, budget, weight))
    yield turned_away / exact - 1.0
    # nothing taken, from the stationary number of one server on, most of it by far below 100
    start = 0.2 * 0.8 ** np.arange(101)
    overruns = 1.0 - done_by(budget, np.ones(100))
    refused, overrun_from = under(np.zeros(steps, np.int64), np.ones(100), 0.8, overruns, start, 5 * step)
    enough = int(np.flatnonzero(overrun_from <= 0.1)[0])
    for name, found in (("nothing_lead", 5 * step * enough), ("nothing_refused", refused[enough])):
        yield found / float(of.lambdified(name, lam, mu, D, delta)(0.8, 1.0, budget, 0.1)) - 1.0


DERIVATION = Derivation(
    name="optimal_admission",
    title="When to stop taking requests before a stop",
    statement=r"""
        Requests come at the rate $\lambda$ and are completed at the rate $\mu_n$ with $n$ taken; one turned away costs
        1, and a drain longer than $D$ costs $w$. With $s$ to go until the stop the least expected cost satisfies
        $V_s'(n)=\mu_n(V_s(n-1)-V_s(n))+\lambda\min(V_s(n+1)-V_s(n),1)$, $V_0(n)=w\,P(T_n>D)$, and the best is to take a
        request where $V_s(n+1)-V_s(n)<1$: all or nothing at each moment. \emph{If $V_0$ is convex and not falling,
        and $\mu_n$ concave and not falling, the best is a limit}: take requests while fewer than $q_s$ are taken.
        $P(T_n>D)$ is convex beyond $c$ where the density of $T_{n+2}$ is past its mode at $D$, and concave before, up
        to $c$ and near 1: there is then a second limit above which nothing is gained by turning more away.
    """,
    symbols={
        n: "requests taken",
        lam: "arrival rate [1/s]",
        rate: "rate at which requests are completed with $n$ taken [1/s]",
        mu: "service rate of a server [1/s]",
        mu1: "completions with one taken [1/s]",
        mu2: "completions with two taken [1/s]",
        here: "$V_s(n)$, least expected cost from now on",
        less: "the same with one taken less",
        more: "the same with one taken more",
        w: "cost of an overrun, in requests turned away",
        D: "budget: what the drain may take [s]",
        s: "time until the stop [s]",
        h: "a short time [s]",
        u: "part of the requests that is taken, 0 to 1",
        lowest: "$V(n)-V(n-1)$",
        middle: "$V(n+1)-V(n)$",
        highest: "$V(n+2)-V(n+1)$",
        p0: r"$\mu_nh$, probability of a completion in $h$",
        p1: r"$\mu_{n+1}h$",
        p2: r"$\mu_{n+2}h$",
        F: r"$1-e^{-\mu D}$",
        Delta: "$V_s(1)-V_s(0)$, where there is one slot",
        delta: "probability with which a drain may overrun",
        nu: "rate of a stop without memory [1/s]",
        costs[1]: "P(overrun) of a stop with one taken",
        costs[2]: "P(overrun) of a stop with two taken",
    },
    assumptions=(
        r"""
        Requests come as a Poisson process; service is exponential; the moment of the stop is known, or has no memory.
        """,
        "A request turned away is lost: in a guest it waits until the migration is over.",
    ),
    steps=(
        Step(
            r"""
            A short time $h$ earlier the cost is, but for $o(h)$, what follows; its derivative in $h$ is the change of
            $V$ with $s$:
            """,
            earlier,
            change,
        ),
        Step(
            r"""
            It is linear in $u$, with the slope below, so that the least cost has $u=1$ where $V(n+1)-V(n)<1$ and $u=0$
            elsewhere:
            """,
            switch,
        ),
        Step(
            r"""
            \emph{Limits.} With steps of $h$, small enough, $V_{s+h}$ is a mixture of $V_s(n)$ after a possible
            completion and after a possible arrival. Let $V_s$ be convex and not falling. After a completion its second
            difference is, in terms of differences and of $p_n=\mu_nh$,
            """,
            parts,
        ),
        Step(
            r"""
            Each part is not negative, if $p_n$ is concave in $n$ ($\min(n,c)\mu$ is, and every rate that grows less and
            less). After an arrival $V$ is $V(n)+\min(1,\Delta_n)$, and its first difference
            """,
            offered,
        ),
        Step(
            r"""
            is $(\Delta_n-1)^++\min(1,\Delta_{n+1})$, which does not fall with $n$ if $\Delta_n$ does not. So $V_{s+h}$
            is convex, by induction for all $s$, $\Delta_n$ passes 1 once, and the best is a limit. The same holds for a
            stop without memory, whose $V$ is the limit of such steps with a part $\nu h$ of $V_0$ mixed in each time.
            """
        ),
        Step(
            r"""
            \emph{The cost of the stop.} By section~\ref{derivation:drain_depth_limit} one request more adds to
            $P(T_n>D)$ the density over the rate $r$ of its completion. Beyond $c$, where $f_{n}'=r(f_{n-1}-f_{n})$, the
            second difference is $-f_{n+2}'(D)/r^2$: \emph{convex where the density of $T_{n+2}$ falls at $D$}, that is,
            for depths whose drain is likely to be done, and concave beyond. Up to $c$ it is concave throughout:
            """,
            free_bend,
        ),
        Step(
            r"""
            though hardly bent while $e^{-\mu D}$ is small. Before one server, where one request more adds a Poisson
            probability, it bends at the $n$ where these no longer grow:
            """,
            one_more,
            sp.Eq(n, turning),
        ),
        Step(
            r"""
            \emph{One slot.} Let at most one be taken, $\Delta=V_s(1)-V_s(0)$. Where requests are turned away
            $\Delta'=-\mu\Delta$ from $we^{-\mu D}$ on, and they are until it is 1, with so much to go; before, requests
            are taken, and $\Delta$ settles below 1:
            """,
            sp.Eq(Delta(s), falling),
            sp.Eq(s, lead),
            accepting,
            sp.Eq(Delta(s), settled),
        ),
        Step(
            r"""
            \emph{Nothing taken} from $s$ before the stop on: the drain is over by $D$ if it is by $D+s$ from the moment
            at which it began. One server, $\lambda<\mu$: with the stationary law it overruns with the probability
            below, which is $\delta$ with so much to go, while so many requests come:
            """,
            late,
            sp.Eq(s, nothing_lead),
            nothing_refused,
        ),
        Step(
            r"""
            \emph{A stop without memory}, at the rate $\nu$, with at most two taken: three linear equations, whose
            solution from an empty engine is
            """,
            overrun,
        ),
    ),
    formulas={
        "one_more": one_more,
        "lead": lead,
        "nothing_lead": nothing_lead,
        "nothing_refused": nothing_refused,
        "overrun": overrun,
    },
    checks=(
        Check("Second differences after completions and arrivals, whatever is on which side of 1.", convex),
        Check(r"$P(T_n>D)$ bends as stated, for $c\le3$, and by Poisson probabilities for one server.", terminal),
        Check("One slot: what is solved for holds, and joins where it must.", one_slot),
        Check("A stop without memory overruns as the library says.", memoryless, CLOSE),
        Check("With nothing taken from the lead on the solver's drain overruns as allowed.", scheduled, CLOSE),
        Check("Leads and requests turned away are those of the library's integration in time.", integrated, 0.01),
    ),
)
