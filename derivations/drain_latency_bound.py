r"""
A drain without a model: the latencies that requests have before the stop bound it, from above and from below.

A request is one of those of which more than t is left for so long as its latency exceeds t. So Little's law gives their
mean number at the stop; and the drain is longer than t only if there is one.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import mpmath
import sympy as sp

import qtheory as qt
from derivations.derivation import CLOSE, SEED, Check, Derivation, Step, relative

lam, m, sigma, b, w, l = sp.symbols("lambda m sigma b w l", positive=True)
t, x = sp.symbols("t x", nonnegative=True)
epsilon, p, mu, rho = sp.symbols("varepsilon p mu rho", positive=True)
e1, e2 = sp.symbols("e_1 e_2", positive=True)
k, j = sp.symbols("k j", integer=True, nonnegative=True)
density = sp.Function("f")

# E(L − t)^+ falls in t as fast as P(L > t), and is 0 at the largest latency.
over = sp.Integral((l - t) * density(l), (l, t, b))
fall = sp.diff(over, t).doit()

# All of it: the mean of the bound over t.
whole = sp.Integral(sp.integrate(l - t, (t, 0, l)) * density(l), (l, 0, b))

# An infinite-server device has a Poisson number with more than t left: how far the bound is above, where ε is left.
infinite = 1 - sp.exp(-lam * x)
inverse = sp.solve(sp.Eq(1 - infinite, p), x)[0].subs(p, 1 - epsilon)
close = sp.simplify(lam * inverse / epsilon)
near = sp.series(close, epsilon, 0, 3).removeO()

# Moments. A parabola that touches max(l − t, 0) twice, its mean, and the narrowest; a chord.
parabola = (l - t + w) ** 2 / (4 * w)
above = sp.factor(parabola - (l - t))
mean_parabola = (sigma**2 + (m - t + w) ** 2) / (4 * w)
width = next(one for one in sp.solve(sp.diff(mean_parabola, w), w) if one.subs({sigma: 1, m: 1, t: 1}) > 0)
scarf = sp.cancel(mean_parabola.subs(sigma**2, w**2 - (t - m) ** 2)).subs(w, width)
slope = sp.Symbol("beta", real=True)
through = sp.solve(sp.Eq(slope * b, b - t), slope)[0]
chord = sp.expand(through * m)

# Two bins, all of each at its upper end.
binned = lam * (p * sp.Max(e1 - t, 0) + (1 - p) * sp.Max(e2 - t, 0))

# One server, first come, first served: the j-th in line has j services to go, and is there with probability ρ^j.
passed = sp.exp(-mu * t) * (mu * t) ** k / sp.factorial(k)
geometric = sp.summation(rho**j, (j, k + 1, sp.oo)).args[0].expr
counted = sp.simplify(sp.summation(sp.powsimp(passed * geometric), (k, 0, sp.oo)))
latency = sp.Symbol("theta", positive=True)
left = sp.integrate(x * latency * sp.exp(-latency * (t + x)), (x, 0, sp.oo))
single = lam * left.subs(latency, mu - lam)


def falls(of: Derivation) -> Iterator[sp.Expr]:
    """For a law of latencies up to b that has all coefficients."""
    coefficients = sp.symbols("a_0:4")
    law = sum(one * l**power for power, one in enumerate(coefficients))
    found = sp.integrate((l - t) * law, (l, t, b))
    yield sp.expand(sp.diff(found, t) + sp.integrate(law, (l, t, b)))
    yield found.subs(t, b)
    yield sp.expand(sp.integrate(found, (t, 0, b)) - sp.integrate(l**2 * law, (l, 0, b)) / 2)
    # All at ends.
    yield sp.piecewise_fold(of["binned"].subs({p: 1, t: 0})) - lam * e1


def moments(of: Derivation) -> Iterator[sp.Expr]:
    """The parabola is nowhere below, its mean is least there; and both bounds are met by a law of two points."""
    yield above - (l - t - w) ** 2 / (4 * w)
    yield sp.simplify(sp.diff(mean_parabola, w).subs(w, width))
    # Where it touches, l = t ± w, with the mean m: the variance is (m − t + w)(t + w − m).
    chance = sp.solve(sp.Eq(p * (t + w) + (1 - p) * (t - w), m), p)[0]
    spread = sp.expand(chance * (t + w) ** 2 + (1 - chance) * (t - w) ** 2 - m**2)
    d = sp.Symbol("d", real=True)
    attained = of["scarf"].subs(sigma, sp.sqrt(spread)).subs(m, t + d)
    yield sp.simplify(sp.expand(spread.subs(m, t + d)) + d**2 - w**2)
    yield sp.simplify(attained - chance.subs(m, t + d) * w)
    yield sp.expand(of["chord"] - (m / b) * (b - t))


def in_line(of: Derivation) -> Iterator[sp.Expr]:
    """The number with more than t to go, counted in the line, is what the latencies say."""
    yield sp.simplify((of["single"] - counted.subs(rho, lam / mu)) / sp.exp(-(mu - lam) * t))
    # That at least one has: the last in line, L's own law; not below the bound by the most, for any most.
    yield sp.limit(of["close"], epsilon, 0) - 1
    yield sp.simplify(of["infinite"].subs(x, inverse) - epsilon)
    yield sp.simplify(of["close"] * epsilon + sp.log(1 - epsilon))


def library(of: Derivation) -> Iterator[float]:
    """`little_bounds` and `histogram_bounds`."""
    rng = random.Random(SEED)
    scarf_of, chord_of = of.lambdified("scarf", m, sigma, t), of.lambdified("chord", m, b, t)
    binned_of = of.lambdified("binned", lam, p, e1, e2, t)
    for _ in range(8):
        rate, mean, scv = rng.uniform(0.01, 0.1), rng.uniform(0.5, 2.0), rng.uniform(0.2, 4.0)
        longest, at, most = mean * (1.0 + scv) * rng.uniform(2.0, 9.0), mean * rng.uniform(1.0, 3.0), rng.randint(1, 9)
        deviation = mean * mpmath.sqrt(scv)
        by_moments = qt.little_bounds(rate=rate, mean=mean, scv=scv, most=most)
        yield relative(by_moments.sf(at)[1], float(rate * scarf_of(mean, deviation, at)))
        at_most = rate * chord_of(mean, longest, at)
        yield relative(qt.little_bounds(rate=rate, mean=mean, maximum=longest).sf(at)[1], float(at_most))
        few, first, second = rng.randint(1, 99), mean, mean * rng.uniform(1.5, 3.0)
        found = qt.histogram_bounds([0.0, first, second], [few, 100 - few], rate=rate, most=most, confidence=None)
        before = mean * rng.uniform(0.2, 0.9)
        expected = binned_of(rate, few / 100, first, second, before)
        lower = binned_of(rate, few / 100, 0.0, first, before) / most
        yield relative(found.sf(before), [float(lower), float(expected)])


def solver(of: Derivation) -> Iterator[float]:
    """So many servers that none is ever missed."""
    rng = random.Random(SEED)
    infinite_of, left_of = of.lambdified("infinite", lam, x), sp.lambdify((latency, t), left, "mpmath")
    for _ in range(6):
        rate, mean, at = rng.uniform(1.0, 50.0), rng.uniform(0.1, 1.0), rng.uniform(0.1, 5.0)
        engine = qt.Engine([qt.Disk(qt.Poisson(rate), buffer=200)], qt.Device(200, qt.Exponential(mean)))
        yield relative(qt.drain_time(engine).sf(at), float(infinite_of(rate, left_of(1 / mean, at))))


def between(of: Derivation) -> Iterator[float]:
    """By how much the solver's P(T > t) leaves the bounds: one server, with room for 100."""
    rng = random.Random(SEED)
    single_of, most = of.lambdified("single", lam, mu, t), 100
    for _ in range(3):
        rate, load, at = rng.uniform(1.0, 100.0), rng.uniform(0.2, 0.8), rng.uniform(0.1, 5.0)
        engine = qt.Engine([qt.Disk(qt.Poisson(load * rate), buffer=most)], qt.Device(1, qt.Exponential(1 / rate)))
        found = qt.drain_time(engine).sf(at / rate)
        upper = float(single_of(load * rate, rate, at / rate))
        yield max(found - upper, 0.0)
        yield max(upper / most - found, 0.0)


DERIVATION = Derivation(
    name="drain_latency_bound",
    title="Drain from latencies",
    statement=r"""
        Let requests be taken at rate $\lambda$ in a stationary system, let $L$ be their latencies, $E\,L<\infty$, and
        let the stop not depend on the system. Requests of which more than $t$ is left are $\lambda E(L-t)^+$ on
        average, so that $P(T>t)\le\lambda E(L-t)^+$ if later requests never make an earlier one complete sooner; and
        $P(T>t)\ge\lambda E(L-t)^+/M$ if they do not delay it either and at most $M$ are present.
    """,
    symbols={
        lam: "rate at which requests are taken [1/s]",
        l: "a latency [s]",
        t: "time after the stop [s]",
        b: "largest latency [s]",
        density: "density of the latency [1/s]",
        m: "mean latency [s]",
        sigma: "standard deviation of the latency [s]",
        w: "half the distance of the points where a parabola touches [s]",
        x: r"$E(L-t)^+$ [s]",
        epsilon: "probability that the drain is longer",
        p: "fraction of the latencies in the first of two bins",
        e1: "upper end of the first bin [s]",
        e2: "upper end of the second bin [s]",
        mu: "service rate of one server [1/s]",
        rho: r"$\lambda/\mu$",
        k: "services completed in $t$",
        j: "place in the line",
    },
    assumptions=(
        "The system is stationary, and the stop does not look at it.",
        "For the upper bound: no request is completed sooner for one that is taken later.",
        "For the lower bound: none is completed later either, as with first come, first served at one device.",
    ),
    steps=(
        Step(
            r"""
            A request that is taken at $0$ has more than $t$ left while its age is below $L-t$, for the time $(L-t)^+$.
            By Little's law such requests are $N_t$ with $E\,N_t=\lambda E(L-t)^+$. Without those that would have come
            later, each of the requests at the stop is completed at least as soon. So $T>t$ implies $N_t\ge1$, and
            $P(N_t\ge1)\le E\,N_t$ (Markov). If later requests do not matter, $T>t$ and $N_t\ge1$ are the same event,
            and $N_t\le M$ gives $P(N_t\ge1)\ge E\,N_t/M$.

            With a density $f$ up to $b$, $E(L-t)^+$ and its derivative in $t$, which is $-P(L>t)$, are
            """,
            over,
            fall,
        ),
        Step(
            r"""
            So stochastic order of latencies is order of $E(L-t)^+$: mass that is moved to the upper ends of bins gives
            an upper bound, to the lower ends a lower. For two bins the former is
            """,
            binned,
        ),
        Step(r"The integral of $E(L-t)^+$ over $t$, which bounds the mean drain, is half the second moment:", whole),
        Step(
            r"""
            \emph{How close.} With infinitely many servers $N_t$ is Poisson. With $E\,N_t=\lambda x$, $P(T>t)$, the $x$
            at which it is $\varepsilon$, and the bound over $\varepsilon$ there, are
            """,
            infinite,
            sp.Eq(x, inverse),
            close,
            near,
        ),
        Step(
            r"""
            With one server, first come, first served, the $j$th in line has $j$ exponential services to go, more than
            $t$ if fewer than $j$ are completed in $t$, and is there with probability $\rho^j$. So with $k$ completed
            those beyond the $k$th count, and in the mean
            """,
            sp.Eq(sp.Sum(rho**j, (j, k + 1, sp.oo)), geometric),
            counted,
        ),
        Step(r"Latencies are exponential there, of rate $\mu-\lambda$, and $\lambda E(L-t)^+$ is the same:", single),
        Step(
            r"""
            \emph{From moments.} A parabola that is $0$ at $l=t-w$ exceeds $0$ everywhere, and $l-t$ by a square,
            """,
            sp.Eq(parabola - (l - t), above, evaluate=False),
        ),
        Step("so that its mean bounds $E(L-t)^+$. It is least, in $w$, at", sp.Eq(w, width), scarf),
        Step(
            r"""
            (Scarf, 1958.) If no latency exceeds $b$, the chord from $(0,0)$ to $(b,b-t)$ is above $(l-t)^+$, which is
            convex, and has the mean
            """,
            chord,
        ),
    ),
    formulas={
        "infinite": infinite,
        "close": close,
        "binned": binned,
        "single": single,
        "scarf": scarf,
        "chord": chord,
    },
    checks=(
        Check("$E(L-t)^+$, its derivative and its integral, for all densities of the third degree.", falls),
        Check("Scarf's parabola, its least mean, and that a law of two points attains it; the chord.", moments),
        Check("Requests with more than $t$ to go, counted in the line of one server; how close the bound is.", in_line),
        Check(r"The bounds are \texttt{little\_bounds}' and \texttt{histogram\_bounds}'.", library, CLOSE),
        Check(r"$P(T>t)$ with infinitely many servers is the solver's.", solver, CLOSE),
        Check("The solver's drain of one server lies between the bounds, in the cases tried.", between, CLOSE),
    ),
)
