r"""
How few requests any policy can turn away before a stop: what would be enough if the number at the stop were known.

A request turned away makes the number taken at the stop smaller by one at most. So no policy does better than one that
is told, when all is over, how many there would have been, and then takes off so many; that one is a closed form.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import product

import numpy as np
import sympy as sp
from sympy.concrete.gosper import gosper_sum

import qtheory as qt
from derivations import drain_exponential as many
from derivations import optimal_admission as admission
from derivations.derivation import CLOSE, SEED, Check, Derivation, Step, relative, upright
from qtheory.drain.optimal_control import DISCRETIZATION
from qtheory.markov.pure_death import done_by
from qtheory.solve.product_form import station_population, station_rates

l, h = sp.symbols("l h", integer=True, nonnegative=True)
x = sp.Symbol("x", integer=True, nonnegative=True)
rho, w, mu, D, delta = sp.symbols("rho w mu D delta", positive=True)

# One server: the number is geometric. What is turned away if all between l and h are brought down to l.
geometric = (1 - rho) * rho**x
typical = {rho: 0.5, l: 1, h: 4}
summed = sp.expand(gosper_sum(geometric * (x - l), (x, l + 1, h)))
inner = sp.collect(sp.expand(sp.cancel(summed * (1 - rho) / rho)), rho**h, sp.factor)
turned_away = rho / (1 - rho) * inner
all_of_them = upright(sp.factor(summed.subs(rho**h, 0)), typical)

# What the stop costs: P(T > D) of the stationary number, less what is saved; the last one taken costs 1.
late = many.stationary_cdf.subs({many.c: 1, many.a: rho, many.mu: mu, many.t: D}).doit()
late = sp.simplify(1 - late)
weight = sp.simplify(1 / admission.one_more.subs({admission.n: l, admission.mu: mu, admission.D: D}))


def never_below(_: Derivation) -> Iterator[sp.Expr]:
    """All sequences of 7 events and all choices of arrivals turned away: how often the number is out of its bounds.

    An event is an arrival, or a completion if the number is at least 1, 2 or 3: rates that grow up to three servers.
    """
    wrong = 0
    for events in product((0, 1, 2, 3), repeat=7):
        arrivals = events.count(0)
        for refused in product((False, True), repeat=arrivals):
            with_all = without = 2
            choice = iter(refused)
            for event in events:
                if event == 0:
                    with_all += 1
                    without += not next(choice)
                else:
                    with_all -= with_all >= event
                    without -= without >= event
            wrong += not with_all - sum(refused) <= without <= with_all
    yield sp.Integer(wrong)


def sums(of: Derivation) -> Iterator[sp.Expr]:
    for low, high in ((0, 1), (0, 4), (2, 3), (2, 6), (3, 3)):
        found = sum((1 - rho) * rho**n * (n - low) for n in range(low + 1, high + 1))
        yield sp.cancel(of["turned_away"].subs({l: low, h: high}) - found)
    yield sp.simplify(of["all_of_them"].subs(l, l + 1) - rho * of["all_of_them"])
    yield sp.limit(
        of["all_of_them"].subs(l, 2) - of["turned_away"].subs({l: 2, rho: sp.Rational(1, 2)}), h, sp.oo
    ).subs(rho, sp.Rational(1, 2))
    yield sp.simplify(of["weight"] * admission.one_more.subs({admission.n: l, admission.mu: mu, admission.D: D}) - 1)
    yield sp.simplify(of["late"] - rho * sp.exp(-(1 - rho) * mu * D))


def least(law: np.ndarray, overruns: np.ndarray, price: float) -> tuple[float, np.ndarray]:
    """E min_m (X − m + w g(m)) over m up to the number X, term by term, and the best m for each."""
    numbers = np.arange(len(law))
    costs = price * overruns - numbers
    best = np.array([int(np.argmin(costs[: number + 1])) for number in numbers])
    return float(law @ (numbers + costs[best])), best


def one_server(of: Derivation) -> Iterator[float]:
    """The least cost, term by term, against the closed forms with the limits that it shows."""
    rng = random.Random(SEED)
    away_of, late_of = of.lambdified("turned_away", rho, l, h), of.lambdified("late", rho, mu, D)
    weight_of = of.lambdified("weight", l, mu, D)
    for _ in range(6):
        load, budget, low = rng.uniform(0.3, 0.7), rng.uniform(4.0, 9.0), rng.randint(1, 3)
        price = 1.0001 * float(weight_of(low, 1.0, budget))  # so that `low` is the last that is not worth it
        numbers = np.arange(120)
        law, overruns = (1 - load) * load**numbers, 1.0 - done_by(budget, np.ones(119))
        cost, best = least(law, overruns, price)
        high = int(numbers[best < numbers].max())
        yield float(best[low + 1] - low)
        saved = law[low + 1 : high + 1] @ (overruns[low + 1 : high + 1] - overruns[low])
        closed = float(away_of(load, low, high)) + price * (float(late_of(load, 1.0, budget)) - saved)
        yield relative(cost, closed)


SYSTEMS = (
    (80.0, 1, 64, 0.05),
    (90.0, 1, 128, 0.05),
    (340.0, 4, 64, 0.06),
    (720.0, 8, 96, 0.06),
    (1500.0, 16, 128, 0.07),
)
"""Arrival rate, servers of rate 100, buffer, budget."""


def best_and_bound() -> Iterator[tuple[float, float]]:
    """What the library's best policy turns away for an overrun of 1 %, and the bound at the best price."""
    for rate, servers, buffer, budget in SYSTEMS:
        engine = qt.Engine([qt.Disk(qt.Poisson(rate), buffer=buffer)], qt.Device(servers, qt.Exponential(0.01)))
        rates = station_rates(engine)[0]
        law = station_population(engine.disks, rates).pmf
        overruns = 1.0 - done_by(budget, rates[: len(law) - 1])
        bound = max(least(law, overruns, price)[0] - 0.01 * price for price in np.geomspace(10.0, 1e4, 60).tolist())
        yield qt.optimal_limits(engine, drain_budget=budget).refused, bound


def a_bound(_: Derivation) -> Iterator[float]:
    for refused, bound in best_and_bound():
        yield max(bound / refused - 1.0, 0.0)


def close(_: Derivation) -> Iterator[float]:
    for refused, bound in best_and_bound():
        yield refused / bound - 1.0


DERIVATION = Derivation(
    name="hindsight_bound",
    title="How few requests any policy can turn away",
    statement=r"""
        Let requests come and be completed as without a stop, at rates that do not fall with the number taken, and let
        any policy turn away $R$ of them before the stop, which finds $X$ taken if none are turned away. Then $X-R$ are
        taken at least, and for every $w\ge0$ and every policy whose drain overruns with probability $\delta$ at most,
        \[E[R]\ge E\min_{m\le X}\{X-m+w\,P(T_m>D)\}-w\delta.\] The minimum leaves small $X$ as they are, brings those
        from $l$ up to some $h$ down to $l$, and leaves those beyond $h$, which are hopeless. Before one server,
        $\rho<1$, the first part is a closed form, at most $\rho^{l+1}/(1-\rho)$.
    """,
    symbols={
        x: "$X$, requests taken at the stop if none is turned away",
        l: "number to which more are brought down",
        h: "number beyond which nothing is gained",
        rho: r"utilization $\lambda/\mu$",
        w: "what an overrun costs, in requests",
        mu: "service rate [1/s]",
        D: "budget: what the drain may take [s]",
        delta: "probability with which it may take longer",
    },
    assumptions=(
        "The policy sees the past only, or anything: the bound holds for one that knows the future.",
        "Exponential service, Poisson arrivals; a request turned away does not come again before the stop.",
    ),
    steps=(
        Step(
            r"""
            \emph{Proof.} Follow the system with all requests and that of the policy together: the same arrivals, and at
            each tick of a common clock a completion where a uniform number is below the rate over the clock's. With
            $n'\le n$ taken the rate is not higher, so that $n'\le n$ remains, and $n-n'$ grows only with a request that
            is turned away: a completion in the one with fewer is one in the other. So at the stop $X-R\le n'\le X$, and
            path by path $R+w\,P(T_{n'}>D)\ge X-n'+w\,P(T_{n'}>D)$, where $n'$ is one of the $m$. The mean of the left
            side is at most $E[R]+w\delta$.

            One more costs 1, and $w$ times its share in the overrun: for one server that is a Poisson probability
            (section~\ref{derivation:optimal_admission}), and $l$ is where it is 1 while it grows, at the price
            """,
            sp.Eq(w, weight),
        ),
        Step(
            r"""
            It is less than 1 again beyond; from $h$ on it is better to leave all than to take off $X-l$. With a
            geometric number what is turned away is, summed over $l<x\le h$, and with nothing hopeless,
            """,
            turned_away,
            all_of_them,
        ),
        Step(
            "while the overrun would be as follows if none were turned away:",
            late,
        ),
    ),
    formulas={"turned_away": turned_away, "all_of_them": all_of_them, "late": late, "weight": weight},
    checks=(
        Check("Sums of the geometric law, one by one, and their limit.", sums),
        Check("The number is never below by more than were turned away: all sequences of 7 events.", never_below),
        Check("One server: the least cost, term by term, is that of the closed forms.", one_server, CLOSE),
        Check(
            "In five systems the library's best policy turns away no less, to its accuracy.",
            a_bound,
            DISCRETIZATION,
        ),
        Check("It turns away 1.3 times as many as the bound at most.", close, 0.3),
    ),
)
