r"""
Drain with phase-type service: moments and law by recursion over the number left, linear in it for every law.

With more than c left all servers are busy, and only the phases of their services matter: the chain falls from level to
level, and what it has still to fall through is known from the level below.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from itertools import product

import numpy as np
import sympy as sp
from sympy.polys.matrices import DomainMatrix

import qtheory as qt
from derivations.derivation import CLOSE, SEED, Check, Derivation, Step, relative, upright
from qtheory.drain.phase_type import Death
from qtheory.solve.phase_type import PhaseChain

s = sp.Symbol("s", positive=True)
p = sp.Symbol("p", positive=True)
g = sp.Symbol("g", nonnegative=True)
nu1, nu2 = sp.symbols("nu_1 nu_2", positive=True)
c, n = sp.symbols("c n", integer=True, positive=True)
m = sp.Symbol("m", positive=True)

# The transform's equation, differentiated r times: with the signs of moments, A t_r = r t_{r−1} + D (t_r of below).
A, D = sp.symbols("A D", commutative=False)
above, below = sp.Function("f", commutative=False)(s), sp.Function("h", commutative=False)(s)
equation = (s + A) * above - D * below
derivatives = [sp.expand(sp.diff(equation, s, order).doit()) for order in (1, 2, 3)]

# Service of two phases: it begins in the first with p, and goes from there to the second with g.
alpha = sp.Matrix([[p, 1 - p]])
rates = sp.Matrix([[-nu1, g * nu1], [0, -nu2]])
mean_service = sp.factor((-alpha * rates.inv() * sp.ones(2, 1))[0])


def chain(servers: int) -> list[tuple[sp.Matrix, sp.Matrix]]:
    """A and D of the levels 1, ..., c + 1; states are how many of the busy servers are in the second phase."""
    found = []
    exits = -rates * sp.ones(2, 1)
    for level in range(1, servers + 2):
        busy, after = min(level, servers), min(level - 1, servers)
        leave, down = sp.zeros(busy + 1), sp.zeros(busy + 1, after + 1)
        for second in range(busy + 1):
            in_phase = (busy - second, second)
            leave[second, second] = -sum(in_phase[i] * rates[i, i] for i in (0, 1))
            if in_phase[0]:
                leave[second, second + 1] -= in_phase[0] * rates[0, 1]
            for i in (0, 1):
                if in_phase[i]:
                    left = second - i
                    for j, begins in ((0, alpha[0]), (1, alpha[1])) if level > servers else ((0, sp.Integer(1)),):
                        down[second, left + j] += in_phase[i] * exits[i] * begins
        found.append((leave, down))
    return found


def fresh(busy: int) -> sp.Matrix:
    """So many services that all begin now."""
    return sp.Matrix([[sp.binomial(busy, k) * alpha[0] ** (busy - k) * alpha[1] ** k for k in range(busy + 1)]])


def rational(matrix: sp.Matrix) -> DomainMatrix:
    """Its elements as rational functions, with which sympy computes faster than with expressions."""
    return DomainMatrix.from_Matrix(matrix).convert_to(sp.QQ.frac_field(p, g, nu1, nu2, s))


def solved(leave: sp.Matrix, right: sp.Matrix) -> sp.Matrix:
    """leave^{-1} right."""
    return rational(leave).lu_solve(rational(right)).to_Matrix()


def product_of(row: sp.Matrix, column: sp.Matrix) -> sp.Expr:
    return (rational(row) * rational(column)).to_Matrix()[0]


def moments(servers: int, present: int) -> tuple[sp.Expr, sp.Expr]:
    """E[T] and E[T²] when so many come at once to free servers."""
    levels = chain(servers)
    first, second = sp.zeros(1, 1), sp.zeros(1, 1)
    for level in range(1, present + 1):
        leave, down = levels[min(level, servers + 1) - 1]
        first = solved(leave, sp.ones(leave.rows, 1) + down * first)
        second = solved(leave, 2 * first + down * second)
    start = fresh(min(present, servers))
    return sp.factor(product_of(start, first)), sp.factor(product_of(start, second))


def transform(servers: int, present: int, at: Mapping[sp.Symbol, sp.Expr] | None = None) -> sp.Expr:
    """E[e^{−sT}] of the same, where the service is as given by `at`."""
    levels = [(leave.subs(at or {}), down.subs(at or {})) for leave, down in chain(servers)]
    f = sp.ones(1, 1)
    for level in range(1, present + 1):
        leave, down = levels[min(level, servers + 1) - 1]
        f = solved(leave + s * sp.eye(leave.rows), down * f)
    return product_of(fresh(min(present, servers)).subs(at or {}), f)


# Servers that are never idle: the law of one server's phase, and of the number in the second phase of all.
phase = -alpha * rates.inv()
phase = (phase / sum(phase)).applyfunc(sp.factor)


def saturated(busy: int) -> sp.Matrix:
    return sp.Matrix([[sp.binomial(busy, k) * phase[0] ** (busy - k) * phase[1] ** k for k in range(busy + 1)]])


def intercept(servers: int, start: sp.Matrix) -> sp.Expr:
    """The limit of E[T] − (n − c)m/c, with `start` the law of the phases when c are busy and n − c wait."""
    levels = chain(servers)
    leave, down = levels[-1]
    one = sp.ones(servers + 1, 1)
    at_completion = saturated(servers) * leave
    at_completion = (at_completion / sum(at_completion)).applyfunc(sp.cancel)
    longer = solved(leave, one) - mean_service / servers * one
    ahead = solved(sp.eye(servers + 1) - solved(leave, down) + one * at_completion, longer)
    none_waits = sp.zeros(1, 1)
    for leave, down in levels[:-1]:
        none_waits = solved(leave, sp.ones(leave.rows, 1) + down * none_waits)
    return sp.factor(product_of(start.row_join(at_completion), ahead.col_join(none_waits)))


two_mean, two_square = moments(2, 2)
three_mean, three_square = moments(2, 3)
fresh_intercept = intercept(2, fresh(2))
saturated_intercept = intercept(2, saturated(2))
residual_mean = intercept(1, saturated(1))

# Two servers, any law: Δ = V_2 − V_1 becomes |Δ − S|, and the residual law G(δ)/m, G(δ) = P(S > δ), stays as it is.
delta, x = sp.symbols("delta x", nonnegative=True)
G, density = sp.Function("G"), sp.Function("f")
flow = G(delta) * density(delta + x) + G(delta + x) * density(delta)
passed = -G(delta) * G(delta + x)


def universal(of: Derivation) -> Iterator[sp.Expr]:
    """What two servers take depends on the first two moments only; and the derivative of the product is the flow."""
    yield sp.cancel(of["saturated_intercept"] - sp.Rational(3, 2) * of["residual_mean"])
    yield sp.cancel(of["fresh_intercept"] - of["mean_service"] - of["residual_mean"] / 2)
    falling = flow.replace(density, lambda at: -sp.diff(G(delta), delta).subs(delta, at))
    yield sp.expand((sp.diff(passed, delta) - falling).doit())


def stationary(_: Derivation) -> Iterator[sp.Expr]:
    """The law of busy servers' phases is stationary, and one of them completes a request each m/c."""
    for servers in (1, 2, 3, 4):
        leave, down = chain(servers)[-1]
        law = saturated(servers)
        yield from (law * (leave - down)).applyfunc(sp.cancel)
        yield sp.cancel((law * down * sp.ones(servers + 1, 1))[0] - servers / mean_service)


def one_server(_: Derivation) -> Iterator[sp.Expr]:
    """One server does one service after another."""
    beta = transform(1, 1)
    mean, square = moments(1, 1)
    yield mean - mean_service
    for present in (2, 3):
        yield sp.cancel(transform(1, present) - beta**present)
        first, second = moments(1, present)
        yield sp.cancel(first - present * mean)
        yield sp.cancel(second - first**2 - present * (square - mean**2))


def transformed(of: Derivation) -> Iterator[sp.Expr]:
    """The moments are derivatives of the transform, at some rational rates."""
    rng = random.Random(SEED)
    for present, name in ((2, "two"), (3, "three")):
        at = {symbol: sp.Rational(rng.randint(1, 9), 10) for symbol in (p, g, nu1, nu2)}
        f = transform(2, present, at)
        yield -sp.diff(f, s).subs(s, 0) - of[f"{name}_mean"].subs(at)
        yield sp.diff(f, s, 2).subs(s, 0) - of[f"{name}_square"].subs(at)


def branches(of: Derivation) -> Iterator[sp.Expr]:
    """Two and three requests on two servers, each of one of two exponentials (g = 0), summed over which."""

    def longer(*both: sp.Expr) -> sp.Expr:
        return 1 / both[0] + 1 / both[1] - 1 / (both[0] + both[1])

    kinds = ((p, nu1), (1 - p, nu2))
    two = sum(pa * pb * longer(a, b) for (pa, a), (pb, b) in product(kinds, repeat=2))
    three = sum(
        pa * pb * pr * (1 / (a + b) + a / (a + b) * longer(b, r) + b / (a + b) * longer(a, r))
        for (pa, a), (pb, b), (pr, r) in product(kinds, repeat=3)
    )
    yield sp.cancel(of["two_mean"].subs(g, 0) - two)
    yield sp.cancel(of["three_mean"].subs(g, 0) - three)


def exponential(of: Derivation) -> Iterator[sp.Expr]:
    """With equal rates and g = 0: H_2/ν and H_2^{(2)}/ν², and 1/(2ν), 1/(2ν)² more for the third."""
    at = {g: 0, nu1: nu2}
    yield sp.cancel(of["two_mean"].subs(at) - sp.harmonic(2) / nu2)
    yield sp.cancel((of["two_square"] - of["two_mean"] ** 2).subs(at) - sp.harmonic(2, 2) / nu2**2)
    yield sp.cancel(of["three_mean"].subs(at) - sp.harmonic(2) / nu2 - 1 / (2 * nu2))
    spread = (of["three_square"] - of["three_mean"] ** 2).subs(at)
    yield sp.cancel(spread - (sp.harmonic(2, 2) + sp.Rational(1, 4)) / nu2**2)
    yield sp.cancel(of["fresh_intercept"].subs(at) - sp.harmonic(2) / nu2)
    yield sp.cancel(of["saturated_intercept"].subs(at) - sp.harmonic(2) / nu2)
    yield sp.cancel(of["residual_mean"] - moments(1, 1)[1] / (2 * mean_service))


def drawn(rng: random.Random) -> tuple[tuple[float, ...], qt.PhaseType]:
    values = rng.uniform(0.1, 0.9), rng.uniform(0.0, 0.9), rng.uniform(1.0, 100.0), rng.uniform(1.0, 100.0)
    chance, on, first, second = values
    return values, qt.PhaseType(np.array([chance, 1 - chance]), np.array([[-first, on * first], [0.0, -second]]))


def solver(of: Derivation) -> Iterator[float]:
    """Requests that come at once to two free servers, by the library's chain of counts."""
    rng = random.Random(SEED)
    arguments = p, g, nu1, nu2
    names = "mean_service", "two_mean", "two_square", "three_mean", "three_square", "fresh_intercept"
    mean_of, *few_of, limit_of = (of.lambdified(name, *arguments) for name in names)
    for _ in range(4):
        values, service = drawn(rng)
        few = [float(one(*values)) for one in few_of]
        yield relative(together(service, 2), few[:2])
        yield relative(together(service, 3), few[2:])
        line = 80
        expected = line * mean_of(*values) / 2 + limit_of(*values)
        yield relative(together(service, line + 2)[0], float(expected))


def together(service: qt.PhaseType, present: int) -> tuple[float, float]:
    engine = qt.Engine([qt.Disk(qt.Closed(present), buffer=present)], qt.Device(2, service))
    counts = PhaseChain.unsolved(engine, None, lambda *_: None)
    begun = np.ones(1)
    for busy in range(2):
        begun = begun @ counts.starts[busy]
    return Death(counts, [*(np.zeros(min(k, 2) + 1) for k in range(present)), begun]).raw_moments


def front_door(of: Derivation) -> Iterator[float]:
    """Saturated guests, whose servers are never idle, with 80 requests outstanding."""
    rng = random.Random(SEED)
    mean_of, *limits_of = (
        of.lambdified(name, p, g, nu1, nu2) for name in ("mean_service", "residual_mean", "saturated_intercept")
    )
    for _ in range(3):
        values, service = drawn(rng)
        for servers, limit_of in enumerate(limits_of, start=1):
            engine = qt.Engine([qt.Disk(qt.Closed(80), buffer=80)], qt.Device(servers, service))
            expected = (80 - servers) * mean_of(*values) / servers + limit_of(*values)
            yield relative(qt.drain_time(engine).mean, float(expected))


DERIVATION = Derivation(
    name="drain_phase_type",
    title="Drain with phase-type service",
    statement=r"""
        Let service be of phase type, and let a state be how many busy servers are in each phase. With $n$ requests
        left, $A_n$ the rates that leave its states less those within the level, $D_n$ those to the level below, the
        moments $t_n^{(r)}$ of the drain time, state by state, are
        $t_n^{(r)}=A_n^{-1}(r\,t_n^{(r-1)}+D_n\,t_{n-1}^{(r)})$, and its transforms $f_n=(sI+A_n)^{-1}D_nf_{n-1}$.
        \emph{For every law, one request more takes $m/c$ longer in the end}: the mean is $(n-c)m/c$ and a constant, but
        for what vanishes geometrically. For two servers that were never idle the constant is $\frac32m_2/(2m)$, for
        every law with a density and a second moment.
    """,
    symbols={
        n: "requests left",
        c: "servers",
        m: "mean service time [s]",
        s: "argument of a transform [1/s]",
        A: "rates that leave the states of a level, less those within it [1/s]",
        D: "rates to the level below [1/s]",
        above: "transforms of the drain time from the states of a level",
        below: "the same for the level below",
        p: "probability that a service begins in the first phase",
        g: "probability that the second phase follows the first",
        sp.Symbol("m_2", positive=True): "second moment of the service time [s$^2$]",
        delta: r"$V_2-V_1$, the difference of two workloads [s]",
        x: "its value after a request [s]",
        G: r"$G(\delta)=P(S>\delta)$",
        density: "density of the service time [1/s]",
        nu1: "rate at which the first phase ends [1/s]",
        nu2: "rate at which the second ends [1/s]",
    },
    assumptions=(
        "Service times are independent, of one law of phase type, however they began.",
        "First come, first served; nothing arrives after the stop.",
    ),
    steps=(
        Step(
            r"""
            From a state the chain stays in its level or falls to the next, after which it falls on as from there:
            $(sI+A)f=Dh$. Differentiated once, twice and three times, with 0 for the right side,
            """,
            *derivatives,
        ),
        Step(
            r"""
            and at $s=0$, with the signs of moments, $A\,t^{(r)}=r\,t^{(r-1)}+D\,t^{(r)}_{\text{below}}$, by induction
            for all $r$. All rows of $A$ and $D$ have the same sums, since a level is left downwards only: $P=A^{-1}D$
            is stochastic.

            Beyond $c$ the levels are alike, so that $t_n=A^{-1}1+Pt_{n-1}$. Let $\eta$ be the law of the phases of $c$
            servers that are never idle. Such servers are independent, one's phase having a law proportional to $-\alpha
            T^{-1}$, so $\eta$ is multinomial, $\eta(A-D)=0$ and $\eta D1=c/m$. Then $\pi=\eta A/(\eta A1)$ satisfies
            $\pi P=\eta D/(\eta D1)=\pi$, and $\pi A^{-1}1=1/(\eta D1)=m/c$: $\pi t_n$ grows by $m/c$ with each request.
            And $t_n-(n-c)\frac mc1\to y+\pi t_c1$ geometrically, $y$ being the solution of $(I-P+1\pi)y=A^{-1}1-\frac
            mc1$.

            For two phases $-\alpha T^{-1}$, made to sum to 1, and the mean service time are
            """,
            phase,
            sp.Eq(m, mean_service),
        ),
        Step(
            r"""
            The constants $y_0$, if servers were never idle, and $y_1$, if all begin at once, are rational functions.
            For one server $y_0$ is the mean residual service time $r=m_2/(2m)$, as it must be:
            """,
            residual_mean,
        ),
        Step(
            r"""
            For two servers that are never idle the constant is $3/2$ of that, and for two that begin at once with
            nothing served yet $m$ and a half of it, for all two-phase laws:
            """,
            sp.Eq(sp.Symbol(r"\frac{y_{0}}{r}"), sp.cancel(saturated_intercept / residual_mean)),
            sp.Eq(sp.Symbol(r"\frac{y_{1}-m}{r}"), sp.cancel((fresh_intercept - mean_service) / residual_mean)),
        ),
        Step(
            r"""
            \emph{This is so for every law with a density and a second moment.} Of two workloads $V_2=(W+\Delta)/2$,
            with $\Delta=V_2-V_1$, which becomes $|\Delta-S|$ with each request. Its law tends to that of the residual
            service, with density $G(\delta)/m$, $G(\delta)=P(S>\delta)$, which stays as it is: $|\Delta-S|$ has then,
            at $x$, a density that is $1/m$ times the integral over $\delta>0$ of the left side of
            """,
            sp.Eq(flow, sp.Derivative(passed, delta), evaluate=False),
        ),
        Step(
            r"""
            and so $G(x)/m$. And $W$ is known in the mean: $(n-2)m$ and two residual services of mean $m_2/(2m)$, or
            $nm$. So a stop that finds $n$ requests before two servers that were never idle takes
            $\frac{(n-2)m}2+\frac32\,\frac{m_2}{2m}$ on average, but for what vanishes as $n$ grows: the second moment
            of the service adds a constant, which does not grow with the line.
            """
        ),
        Step(
            "Two requests that begin at once on two servers, each of one of two exponentials, take on average",
            upright(two_mean.subs(g, 0), {p: 0.5, nu1: 1, nu2: 1}),
        ),
    ),
    formulas={
        "mean_service": mean_service,
        "residual_mean": residual_mean,
        "two_mean": two_mean,
        "two_square": two_square,
        "three_mean": three_mean,
        "three_square": three_square,
        "fresh_intercept": fresh_intercept,
        "saturated_intercept": saturated_intercept,
    },
    checks=(
        Check("For two servers the constants are those of every law, and the product has this derivative.", universal),
        Check("With equal rates all is as for exponential service.", exponential),
        Check(r"$\eta$ is stationary and completes $c/m$ requests a second, for $c\le4$.", stationary),
        Check("One server does one service after another.", one_server),
        Check("The moments are derivatives of the transforms.", transformed),
        Check("Two and three requests by cases, which of two exponentials each is.", branches),
        Check(
            "Moments are those of the library's chain, and the mean of 82 requests that of the straight line.",
            solver,
            CLOSE,
        ),
        Check("So is the solver's mean for saturated guests, on one server and on two.", front_door, CLOSE),
    ),
)
