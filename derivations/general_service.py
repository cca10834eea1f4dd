r"""Service that is not exponential: the total and the phases as a chain, exact but for how a total splits.

With phase-type service the total present and the numbers of busy servers in each phase form a chain, once the arrival
rate at each of its states is known. It depends on how the total splits over the disks; taken from the product form it
is exact where the split does not matter or does not depend on the phases, and an approximation elsewhere. For two
disks of one slot each before one server both answers are known in closed form for any law, and so is the error.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import sympy as sp
from numpy.typing import NDArray

import qtheory as qt
from derivations import blocking
from derivations.derivation import CLOSE, SEED, Check, Derivation, Step, relative, upright
from qtheory.solve.steady_state import SteadyState

n = sp.Symbol("n", integer=True, nonnegative=True)
lam_1, lam_2, lam, mu, p, S, theta = sp.symbols("lambda_1 lambda_2 lambda mu p S theta", positive=True)
d = sp.Symbol("d", real=True)
a, A, A_1, A_2, h = sp.symbols("a A A_1 A_2 h", positive=True)
G = blocking.G
psi = sp.Function("psi")

arrival_rate = blocking.arrival_rate

# Two disks with room for one request each, one server; all weights relative to the empty system's, π_0 = 1.
# Disk 1 in service in a phase of rate μ, alone: a; sums over phases A_1; with the other waiting, B_1.
alone = sp.solve(sp.Eq(a * (lam_2 + mu), p * (lam_1 + lam_1 * A_2)), a)[0]
summed = sp.factor(alone.subs(p / (lam_2 + mu), psi(lam_2)))
both = alone * lam_2 / mu
# Σ p/(μ(θ + μ)) from ψ(θ) = Σ p/(θ + μ) and S = Σ p/μ.
partial = sp.apart(1 / (mu * (theta + mu)), mu)
residual = partial.subs({1 / (mu + theta): psi(theta), 1 / mu: S})
held = lam_1 * lam_2 * (1 + A_2) * residual.subs(theta, lam_2) + lam_1 * lam_2 * (1 + A_1) * residual.subs(theta, lam_1)
swap = {lam_1: lam_2, lam_2: lam_1, A_2: A_1}
sums = sp.solve([A_1 - summed, A_2 - summed.subs(swap, simultaneous=True)], [A_1, A_2])
few = {S: 1.0, **{symbol: 0.1 for rate in (lam_1, lam_2, h) for symbol in (rate, psi(rate))}}
exact = upright(sp.factor(1 + (A_1 + A_2 + held).subs(sums)), few)

# The same with the arrival rate h of the product form at one present, whichever disk it is.
total = lam_1 + lam_2
series = [sp.Integer(1), total, lam_1 * lam_2]
one_present = sp.factor(arrival_rate.subs(n, 1).subs({G[1]: series[1], G[2]: series[2]}))
one_sum = sp.solve(sp.Eq(A, (total + h * A) * psi(h)), A)[0]
aggregate = upright(sp.factor(1 + one_sum + h * (total + h * one_sum) * residual.subs(theta, h)), few)
error = exact - aggregate.subs(h, one_present)
apart = error.subs({lam_1: lam * (1 + d), lam_2: lam * (1 - d)})
first_order = sp.simplify(sp.diff(apart, d).subs(d, 0).doit())
second_order = sp.factor(sp.simplify(sp.diff(apart, d, 2).subs(d, 0).doit() / 2))
psi_0, psi_1, psi_2 = sp.symbols(r"\psi{} \psi'{} \psi''{}")
in_short = {sp.diff(psi(lam), lam, 2): psi_2, sp.diff(psi(lam), lam): psi_1, psi(lam): psi_0}


@dataclass(frozen=True)
class TwoPhases:
    """Phase 1 with probability `start`, after it phase 2 with probability `onward`; else phase 2 only."""

    start: float
    onward: float
    rates: tuple[float, float]

    @property
    def law(self) -> qt.PhaseType:
        first, second = self.rates
        return qt.PhaseType([self.start, 1 - self.start], [[-first, self.onward * first], [0.0, -second]])

    def transform(self, argument: float) -> float:
        """ψ(θ) = (1 − E e^{−θS})/θ, by its phases."""
        first, second = self.rates
        after = 1 / (argument + second)
        return self.start * (1 + self.onward * first * after) / (argument + first) + (1 - self.start) * after

    @staticmethod
    def irregular(scv: float) -> TwoPhases:
        """Hyperexponential of mean 1 with balanced means."""
        start = (1 + ((scv - 1) / (scv + 1)) ** 0.5) / 2
        return TwoPhases(start, 0.0, (2 * start, 2 - 2 * start))


REGULAR = TwoPhases(1.0, 1.0, (2.0, 2.0))
"""Erlang's law of two phases, mean 1."""


def aggregated(arrivals: Sequence[float], servers: int, service: TwoPhases) -> NDArray[np.float64]:
    """Law of the total, of the chain of totals and of servers in phase 1, with these arrival rates by the total."""
    states = [(present, j) for present in range(len(arrivals) + 1) for j in range(min(present, servers) + 1)]
    place = {state: row for row, state in enumerate(states)}
    flow = np.zeros((len(states), len(states)))
    for (present, j), row in place.items():
        busy = min(present, servers)
        if present < len(arrivals):
            for begins, chance in ((1, service.start), (0, 1 - service.start)) if present < servers else ((0, 1.0),):
                flow[row, place[present + 1, j + begins]] += arrivals[present] * chance
        leaving = ((1, j * service.rates[0] * (1 - service.onward)), (0, (busy - j) * service.rates[1]))
        for ended, rate in leaving:
            for begins, chance in ((1, service.start), (0, 1 - service.start)) if present > servers else ((0, 1.0),):
                if rate > 0 and chance > 0:
                    flow[row, place[present - 1, j - ended + begins]] += rate * chance
        if j > 0:
            flow[row, place[present, j - 1]] += j * service.rates[0] * service.onward
    balance = (flow - np.diag(flow.sum(axis=1))).T
    balance[0] = 1.0
    law = np.linalg.solve(balance, np.eye(len(states))[0])
    return np.array([sum(law[place[m, j]] for j in range(min(m, servers) + 1)) for m in range(len(arrivals) + 1)])


def rates_by_total(derivation: Derivation, disks: Sequence[Sequence[float]]) -> list[float]:
    """Λ(0), Λ(1), ... of the product form, for disks with these arrival rates by their own number."""
    whole = [sp.Integer(1)]
    for rates in disks:
        whole = blocking.times(whole, blocking.series([sp.Rational(rate) for rate in rates]))
    formula = derivation.lambdified("arrival_rate", n, G)
    return [float(formula(present, whole)) for present in range(len(whole) - 1)]


def solved(disks: Sequence[qt.Disk], servers: int, service: TwoPhases) -> SteadyState:
    """State by state, with every order of the line."""
    return qt.solve(qt.Engine(disks, qt.Device(servers, service.law)), method="joint_chain")


def by_total(
    derivation: Derivation, disks: Sequence[qt.Disk], servers: int, service: TwoPhases
) -> tuple[NDArray[np.float64], float, float]:
    """Law of the total, throughput and mean wait of the aggregated chain."""
    rates = rates_by_total(derivation, [disk.arrival_rates().tolist() for disk in disks])
    law = aggregated(rates, servers, service)
    throughput = float(law[:-1] @ rates)
    return law, throughput, float(np.maximum(np.arange(len(law)) - servers, 0) @ law) / throughput


def exact_cases(derivation: Derivation) -> Iterator[float]:
    """The law of the total by the aggregated chain, against the solver's, state by state."""
    rng = random.Random(SEED)
    irregular = TwoPhases.irregular(4.0)

    def disk(buffer: int) -> qt.Disk:
        return qt.Disk(qt.Poisson(rng.uniform(0.2, 1.5)), buffer=buffer)

    def guest(outstanding: int) -> qt.Disk:
        return qt.Disk(qt.Closed(outstanding, think_time=1.3), buffer=outstanding)

    cases = (
        ([disk(8)], 2, irregular),
        ([guest(3), guest(1), guest(2)], 2, REGULAR),
        ([guest(2), guest(2)], 1, irregular),
        ([disk(2), disk(1)], 3, irregular),
        ([disk(1)] * 4, 2, irregular),
        ([disk(3), disk(2)], 2, TwoPhases(0.3, 0.0, (1.0, 1.0))),
    )
    for disks, servers, service in cases:
        law, throughput, _ = by_total(derivation, disks, servers, service)
        state = solved(disks, servers, service)
        yield relative(law, state.in_system_pmf)
        yield relative(throughput, state.throughput)


def two_disks(derivation: Derivation) -> Iterator[float]:
    """Both closed forms, against the solver state by state and the aggregated chain."""
    rng = random.Random(SEED)
    for service in (TwoPhases.irregular(4.0), TwoPhases.irregular(16.0), REGULAR):
        first, second = rng.uniform(0.1, 2.0), rng.uniform(0.1, 2.0)
        between = 2 * first * second / (first + second)
        disks = [qt.Disk(qt.Poisson(rate), buffer=1) for rate in (first, second)]
        values = {S: 1, lam_1: first, lam_2: second, h: between}
        values |= {psi(rate): service.transform(values[rate]) for rate in (lam_1, lam_2, h)}
        yield relative(1 / solved(disks, 1, service).in_system_pmf[0], float(derivation["exact"].subs(values)))
        law, *_ = by_total(derivation, disks, 1, service)
        yield relative(1 / law[0], float(derivation["aggregate"].subs(values)))


def errors_vanish(derivation: Derivation) -> Iterator[sp.Expr]:
    """The error for exponential service and for equal disks; its second order for a law of two phases."""
    difference = derivation["exact"] - derivation["aggregate"].subs(h, one_present)
    yield difference.replace(psi, lambda argument: 1 / (argument + 1 / S))
    yield difference.subs(lam_2, lam_1)
    yield first_order
    for start, fast, slow in ((1, 4, 1), (2, 3, 1), (1, 1, 2)):

        def mixture(argument: sp.Expr, start: int = start, fast: int = fast, slow: int = slow) -> sp.Expr:
            return (sp.Rational(start, 3) / (argument + fast)) + (1 - sp.Rational(start, 3)) / (argument + slow)

        mean = mixture(sp.Integer(0))
        chosen = difference.subs({lam_1: 1 + d, lam_2: 1 - d, S: mean}).replace(psi, mixture)
        expected = derivation["second_order"].subs(S, mean).replace(psi, mixture).doit().subs(lam, 1)
        yield sp.cancel(sp.together(chosen) / d**2).subs(d, 0) - expected


def measured(different: bool) -> Callable[[Derivation], Iterator[float]]:
    """Relative errors of blocking and mean wait where the aggregated chain is not exact."""

    def errors(derivation: Derivation) -> Iterator[float]:
        sizes = ((3, 2, 1), (4, 2, 1), (3, 2, 2), (4, 2, 2)) if different else ((2, 2, 1), (4, 4, 1), (3, 3, 2))
        for service in (TwoPhases.irregular(4.0), REGULAR):
            for load in (0.7, 1.1):
                for one, other, servers in sizes:
                    parts = (0.25, 0.75) if different else (0.5, 0.5)
                    rates = [load * servers * part for part in parts]
                    disks = [qt.Disk(qt.Poisson(r), buffer=room) for r, room in zip(rates, (one, other), strict=True)]
                    _, throughput, wait = by_total(derivation, disks, servers, service)
                    state = solved(disks, servers, service)
                    yield relative(1 - throughput / sum(rates), state.blocking)
                    yield relative(wait, state.mean_wait)

    return errors


DERIVATION = Derivation(
    name="general_service",
    title="General service: total and phases as a chain",
    statement=r"""
        Let service be of phase type, the same for all disks, before $c$ servers and one line. The total $n$ and the
        numbers $\mathbf j$ of busy servers in each phase have the stationary law of a chain whose arrival rate at
        $(n,\mathbf j)$ is $\Lambda(n,\mathbf j)=\sum_iE[\lambda_i(n_i)\mid n,\mathbf j]$. With $\Lambda(n)$ of the
        product form in its place, the aggregation, this law is exact for one disk; for exponential service; for closed
        guests of one think time, with room for all their requests; for equal disks of one slot; and where there is a
        server for every request. Elsewhere it is an approximation.
    """,
    symbols={
        n: "requests present, of all disks",
        G: "coefficients of the product of the disks' series",
        lam_1: "arrival rate of the first of two disks [1/s]",
        lam_2: "arrival rate of the second [1/s]",
        lam: "mean of the two [1/s]",
        d: r"relative distance of the two from their mean, $\lambda_{1,2}=\lambda(1\pm d)$",
        h: "arrival rate with one present, by the product form [1/s]",
        S: "mean service time [s]",
        mu: "rate of a phase [1/s]",
        p: "probability to be served in that phase",
        theta: "argument of transforms [1/s]",
        psi: r"$\psi(\theta)=\sum_jp_j/(\theta+\mu_j)=(1-E[e^{-\theta S}])/\theta$ for service $S$ [s]",
        a: "weight of disk 1 alone, in service in that phase",
        A: "weight of one present, in the aggregation",
        A_1: "weight of disk 1 alone",
        A_2: "weight of disk 2 alone",
    },
    assumptions=(
        "Poisson or closed arrivals, a buffer for each disk; first come, first served.",
        "Closed forms: two disks of one slot each, one server; weights are relative to the empty system's.",
    ),
    steps=(
        Step(
            r"""
            \emph{What is exact.} Let the state be the order of the line with the phases of the servers. Services and
            phase changes have rates that depend on $(n,\mathbf j)$ only, and a request's law does not depend on its
            disk. Sum the balance equations over all states with the same $(n,\mathbf j)$: all terms are those of a
            chain on $(n,\mathbf j)$, the arrivals with the mean of their rate given $(n,\mathbf j)$. That is
            $\Lambda(n,\mathbf j)$. The aggregation takes it from the product form,
            """,
            arrival_rate,
        ),
        Step(
            r"""
            \emph{Where $\Lambda(n,\mathbf j)$ is that.} With one disk $n_1=n$. With exponential service there is one
            phase, and the product form holds. For closed guests $\sum_i(M_i-n_i)/Z=(\sum_iM_i-n)/Z$ however $n$
            splits, and equal disks of one slot are such guests, $M_i=1$ and $Z=1/\lambda$. With a server for every
            request each disk is a loss system by itself, where given $n_i$ the phases are independent and of the law
            of the residual service, the same for all disks; hence the split is independent of them given $n$, and the
            numbers are insensitive to the law of service.

            \emph{Where it is not,} in the smallest case. Balance the weight $a$ of disk 1 alone in service in a phase
            of rate $\mu$: it is left at rate $\lambda_2+\mu$, entered from the empty system by arrivals, and from disk
            2 in service before disk 1 at the rate at which those states are entered, $\lambda_1A_2$. So
            """,
            sp.Eq(a, alone),
        ),
        Step("and summed over the phases", sp.Eq(A_1, summed)),
        Step(
            r"""
            $A_2$ likewise. Disk 1 in service with disk 2 waiting has the weight $a\lambda_2/\mu$. Summed over the
            phases, of the fraction
            """,
            partial,
        ),
        Step("there remains", residual),
        Step(
            r"""
            All weights added up, with $A_1$ and $A_2$ from their two equations, are one over the probability that the
            system is empty:
            """,
            sp.Eq(1 / sp.Symbol(r"\pi_{0}"), exact),
        ),
        Step(
            r"""
            The aggregation has one equation instead of two, with the rate $h$ when one is present:
            """,
            sp.Eq(h, one_present),
            sp.Eq(A, (total + h * A) * psi(h)),
            sp.Eq(1 / sp.Symbol(r"\pi_{0}"), aggregate),
        ),
        Step(
            r"""
            These are equal for equal disks, where $h=\lambda$, and for exponential service. For rates $\lambda(1\pm
            d)$ the difference has no term of the first order in $d$, and that of the second order is $d^2$ times (with
            $\psi$ and its derivatives at $\lambda$)
            """,
            second_order.subs(in_short),
        ),
        Step(
            r"""
            For more requests the error is measured, below. The solver follows the split together with the phases where
            disks differ.
            """
        ),
    ),
    formulas={"arrival_rate": arrival_rate, "exact": exact, "aggregate": aggregate, "second_order": second_order},
    checks=(
        Check(
            r"""The closed forms differ neither for exponential service, nor for equal disks, nor to first order; the
            second order is that of three laws of two phases.""",
            errors_vanish,
        ),
        Check(
            r"""Two disks: exact, against the solver state by state (\texttt{joint\_chain}), and aggregated, against the
            chain; hyperexponential (scv 4 and 16) and Erlang-2.""",
            two_disks,
            CLOSE,
        ),
        Check("In each case named as exact, law of the total and throughput are the solver's.", exact_cases, CLOSE),
        Check(
            r"""Error of blocking and mean wait, two equal disks of 2 to 4 slots, 1 and 2 servers, loads 0.7 and 1.1,
            hyperexponential (scv 4) and Erlang-2, relative.""",
            measured(different=False),
            0.02,
        ),
        Check(
            "The same for two disks of which one has three times the rate, and buffers of 3 or 4 and of 2.",
            measured(different=True),
            0.08,
        ),
    ),
)
