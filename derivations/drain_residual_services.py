r"""
Drain of saturated guests with any service law: what is left of the services in progress has the residual law.

The servers of saturated guests are never idle, so their completions are independent stationary renewal processes; the
drain ends when the last waiting request, started at a completion, and all services beside it are done.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache

import numpy as np
import sympy as sp

import qtheory as qt
from derivations.derivation import CLOSE, SEED, Check, Derivation, Step, relative
from qtheory.drain.residual_services import GRID, Makespan

s, t, y = sp.symbols("s t y", nonnegative=True)
c, k, w = sp.symbols("c k w", integer=True, positive=True)
x = sp.Symbol("x")
F, G = sp.Function("F"), sp.Function("G")

# In general: of k completions by s, those of which the next is later than t are taken off.
exactly = G(k, s) - G(k + 1, s)
later = sp.Integral((1 - F(t - y)) * sp.Derivative(G(k, y), y), (y, 0, s))
in_time = exactly - later

# One server and one waiting request: integrated by parts, this is the law of the sum.
alone = sp.Integral(F(t - s) * sp.Derivative(G(1, s), s), (s, 0, t))


def service(phases: int) -> sp.Expr:
    """Density of so many exponential phases in a row, of rate 1."""
    return y ** (phases - 1) * sp.exp(-y) / sp.factorial(phases - 1)


def integral(density: sp.Expr, variable: sp.Symbol, end: sp.Expr) -> sp.Expr:
    """From 0 on, of polynomials times exponentials of the variable: by parts until none is left."""
    parts: dict[sp.Expr, sp.Expr] = {}
    for term in sp.Add.make_args(sp.expand(density)):
        polynomial, rest = term.as_independent(sp.exp)
        exponent = sum(factor.as_base_exp()[1] for factor in sp.Mul.make_args(rest) if factor != 1)
        parts[sp.expand(exponent)] = parts.get(sp.expand(exponent), sp.Integer(0)) + polynomial
    total = sp.Integer(0)
    for exponent, polynomial in parts.items():
        rate = -sp.diff(exponent, variable)
        if rate == 0:
            antiderivative = sp.integrate(sp.expand(polynomial), variable)
        else:
            found, left = sp.Integer(0), sp.expand(polynomial)
            for order in range(1, sp.degree(left, variable) + 2):
                found, left = found - left / rate**order, sp.diff(left, variable)
            antiderivative = found
        at_end = sp.Integer(0) if end == sp.oo else (antiderivative * sp.exp(exponent)).subs(variable, end)
        total += at_end - (antiderivative * sp.exp(exponent)).subs(variable, 0)
    return sp.expand(total)


@cache
def law(phases: int) -> sp.Expr:
    """F."""
    return integral(service(phases), y, s)


@cache
def completed(phases: int, number: int) -> sp.Expr:
    """Density of the number-th completion of a server: the residual law's, convolved with the service law's."""
    if number == 1:
        return sp.expand((1 - law(phases)) / phases)
    before = completed(phases, number - 1).subs(s, y)
    return integral(before * service(phases).subs(y, s - y), y, s)


@cache
def by(phases: int, number: int) -> sp.Expr:
    """G_k(s)."""
    return integral(completed(phases, number).subs(s, y), y, s)


@cache
def chance(phases: int, number: int) -> sp.Expr:
    """a_k(s, t)."""
    if number == 0:
        return sp.expand(by(phases, 1).subs(s, t) - by(phases, 1))
    stays = (1 - law(phases)).subs(s, t - y)
    after = integral(stays * completed(phases, number).subs(s, y), y, s)
    return sp.expand(by(phases, number) - by(phases, number + 1) - after)


@cache
def drained(phases: int, servers: int, waiting: int) -> sp.Expr:
    """P(T <= t) with so many servers and requests waiting."""
    if waiting == 0:
        return sp.expand(by(phases, 1).subs(s, t) ** servers)
    others = sum(chance(phases, number) * x**number for number in range(waiting))
    one = sum(completed(phases, number) * x**number for number in range(1, waiting + 1))
    coefficient = sp.expand(one * others ** (servers - 1)).coeff(x, waiting)
    return integral(servers * law(phases).subs(s, t - s) * coefficient, s, t)


def mean(distribution: sp.Expr) -> sp.Expr:
    """E[T], the integral of P(T > t)."""
    return integral(1 - distribution, t, sp.oo)


none_waits = sp.expand(by(2, 1).subs(s, t))
one_waits = drained(2, 2, 1)
two_wait = drained(2, 2, 2)
three_servers = drained(2, 3, 1)
DRAINS = {"one_waits": (2, 1, one_waits), "two_wait": (2, 2, two_wait), "three_servers": (3, 1, three_servers)}


def alike(of: Derivation) -> Iterator[sp.Expr]:
    """A law goes from 0 to 1; of one server it is that of the sum of what is left and what waits."""
    for name in DRAINS:
        found = of[name]
        yield found.subs(t, 0)
        yield sp.limit(found, t, sp.oo) - 1
        yield mean(found) - of[f"{name}_mean"]
    for waiting in (1, 2, 3):
        yield sp.expand(drained(2, 1, waiting) - by(2, waiting + 1).subs(s, t))


def exponential(_: Derivation) -> Iterator[sp.Expr]:
    """For exponential service the mean is m/c and the harmonic number, and the law that of the phases."""
    for servers, waiting in ((1, 2), (2, 1), (2, 2), (3, 1)):
        found = drained(1, servers, waiting)
        yield mean(found) - sp.Rational(waiting, servers) - sp.harmonic(servers)
        last = (1 - sp.exp(-y)) ** servers
        line = (servers * (t - y)) ** (waiting - 1) * sp.exp(-servers * (t - y)) * servers / sp.factorial(waiting - 1)
        yield sp.expand(found - integral(last * line, y, t))


def counted(_: Derivation) -> Iterator[sp.Expr]:
    """Without a limit for the next completion a_k is P(k by s); and k are completed on average s/m."""
    for number in (1, 2):
        yield sp.limit(chance(2, number), t, sp.oo) - sp.expand(by(2, number) - by(2, number + 1))
    # of Erlang-2: the densities of all completions are those of every second phase, begun in either
    fresh = [y ** (i - 1) * sp.exp(-y) / sp.factorial(i - 1) for i in range(1, 8)]
    for number in (1, 2, 3):
        expected = (fresh[2 * number - 2] + fresh[2 * number - 1]) / 2
        yield sp.expand(completed(2, number) - expected.subs(y, s))


def saturated(servers: int, waiting: int, law_of: qt.Law) -> qt.Engine:
    present = servers + waiting
    return qt.Engine([qt.Disk(qt.Closed(present), buffer=present)], qt.Device(servers, law_of))


def solver(of: Derivation) -> Iterator[float]:
    """The solver's chain of phases, for guests that keep so many outstanding."""
    rng = random.Random(SEED)
    for name, (servers, waiting, _) in DRAINS.items():
        cdf, mean_of = of.lambdified(name, t), of.lambdified(f"{name}_mean")
        for _ in range(3):
            rate, at = rng.uniform(1.0, 1e3), rng.uniform(1.0, 8.0)
            answer = qt.drain_time(saturated(servers, waiting, qt.Erlang(phases=2, mean=2.0 / rate)))
            yield relative(answer.sf(at / rate), float(1 - cdf(at)))
            yield relative(answer.mean, float(mean_of() / rate))
    cdf = of.lambdified("none_waits", t)
    for servers in (1, 2, 5, 9):
        rate, at = rng.uniform(1.0, 1e3), rng.uniform(1.0, 8.0)
        answer = qt.drain_time(saturated(servers, 0, qt.Erlang(phases=2, mean=2.0 / rate)))
        yield relative(answer.sf(at / rate), float(1 - cdf(at) ** servers))
        pending = np.eye(servers + 1)[servers]
        yield relative(
            Makespan(qt.Erlang(2, 2.0 / rate), servers, pending).sf(at / rate), float(1 - cdf(at) ** servers)
        )


def grid(of: Derivation) -> Iterator[float]:
    """The sums over a grid by which the library evaluates the formula for laws that are not of phase type."""
    for name, (servers, waiting, _) in DRAINS.items():
        cdf = of.lambdified(name, t)
        pending = np.eye(servers + waiting + 1)[servers + waiting]
        makespan = Makespan(qt.Erlang(2, 2.0), servers, pending)
        yield from (relative(makespan.sf(at), float(1 - cdf(at))) for at in (1.5, 3.0, 6.0))


DERIVATION = Derivation(
    name="drain_residual_services",
    title="Drain with any service law",
    statement=r"""
        Let the guests be saturated, $c$ requests in service and $w$ waiting, service of law $F$, not a lattice law, and
        $F_e$ its residual law, $G_k=F_e*F^{*(k-1)}$. With the probabilities $a_k(s,t)$ that a server completes $k$ by
        $s$ and its next by $t$, $A(x)=\sum_ka_kx^k$ and $C(x)=\sum_{k\ge1}x^k\,dG_k(s)$,
        $P(T\le t)=\int_{[0,t]}F(t-s)\,c\,[x^w]\,C(x)A(x)^{c-1}$; and $F_e(t)^c$ if none waits.
    """,
    symbols={
        t: "time after the stop; in the examples in mean phases [s]",
        s: "when the last waiting request starts [s]",
        y: "when a server completes its $k$th request [s]",
        c: "servers",
        w: "waiting requests",
        k: "completions of one server",
        F: "service law",
        G: "law of the $k$th completion of a server",
        x: "argument of generating functions",
    },
    assumptions=(
        "Service times are independent, of one law, not lattice, with a finite mean.",
        "Guests have been saturated for long, so that no server was ever idle.",
        "First come, first served; nothing arrives after the stop.",
    ),
    steps=(
        Step(
            r"""
            A server that is never idle completes requests as a renewal process, which is stationary after a long time:
            its first completion after the stop has the law $F_e$, the $k$th $G_k$. Servers do not depend on each other:
            which request a free server takes does not matter, as all have the same law. With the probability
            that the $k$th completion is at $y\le s$ and the next after $t\ge s$,
            """,
            sp.Eq(sp.Symbol("a_k"), in_time),
        ),
        Step(
            r"""
            and $a_0=F_e(t)-F_e(s)$. After the stop this goes on while requests wait: until $s$, the time of the $w$th
            completion of all, which one of $c$ servers, each as likely as the others, completes as its $k$th, when the
            others have completed $w-k$. It then serves the last for a time of law $F$, and all others complete what
            they are serving by $t$. One takes the coefficient of $x^w$ in $C(x)A(x)^{c-1}$. With one server and one
            waiting request it is
            """,
            alone,
        ),
        Step(
            r"""
            the law of a sum. For example, let service be two exponential phases of rate $1$ in a row. $F$, the
            densities of the first and second completion, by convolution, and $a_0$ and $a_1$ are
            """,
            law(2),
            completed(2, 1),
            completed(2, 2),
            chance(2, 0),
            chance(2, 1),
        ),
        Step("With two servers and one request waiting the law and the mean are", one_waits, mean(one_waits)),
        Step("with two waiting, and with three servers and one, the means are", mean(two_wait), mean(three_servers)),
    ),
    formulas={
        "none_waits": none_waits,
        **{name: found for name, (_, _, found) in DRAINS.items()},
        **{f"{name}_mean": mean(found) for name, (_, _, found) in DRAINS.items()},
    },
    checks=(
        Check("Laws and means are those of the solver's chain of phases.", solver, CLOSE),
        Check("The examples are laws with these means; with one server they are those of sums.", alike),
        Check("For exponential service they are the laws of section~\\ref{derivation:drain_exponential}.", exponential),
        Check("$a_k$ is $P(k\\text{ by }s)$ for large $t$; and $G_k$ phase by phase.", counted),
        Check(r"\texttt{Makespan} comes as close to them as its grid is said to.", grid, GRID),
    ),
)
