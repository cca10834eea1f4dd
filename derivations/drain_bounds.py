r"""
Bounds of the drain without the law of the service: from its mean and variance, and its largest value where known.

The work present bounds the drain, but for the request that ends last. Each part is bounded but with a probability by an
inequality that is the best possible for two moments: some law attains it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import sympy as sp

import qtheory as qt
from derivations.derivation import CLOSE, SEED, Check, Derivation, Step, relative
from qtheory.drain import bounds

m, sigma, b, x, u, delta, L, v = sp.symbols("m sigma b x u delta L v", positive=True)
n, k = sp.symbols("n k", integer=True, positive=True)
y = sp.Symbol("y", real=True)

# Cantelli: Markov's inequality for (X − m + u)², at the best u; solved for x at the probability δ.
markov = (v + u**2) / (x + u) ** 2
(shift,) = sp.solve(sp.numer(sp.together(sp.diff(markov, u))), u)
cantelli = sp.simplify(markov.subs(u, shift))
(reach,) = sp.solve(sp.Eq(cantelli, delta), x)
work = n * m + reach.subs(v, n * sigma**2)
longest = m + reach.subs({v: sigma**2, delta: delta / n})

# Scarf: E(S − x)^+ = (E|S − x| + m − x)/2, and E|S − x| is at most the root of the second moment, with y = x − m.
excess = (sp.sqrt(sigma**2 + y**2) - y) / 2
(beyond,) = sp.solve(sp.Eq(excess / m, delta), y)
rest = sp.expand(m + beyond.subs(delta, delta / k))

# Bernstein: the exponent −ux + v u²/(2(1 − ub/3)) at u = x/(v + bx/3); solved for x where it is −L.
exponent = -u * x + v * u**2 / (2 * (1 - u * b / 3))
at_best = sp.factor(sp.simplify(exponent.subs(u, x / (v + b * x / 3))))
bernstein = max(sp.solve(sp.Eq(at_best, -L), x), key=lambda root: root.subs({L: 1, b: 1, v: 1}))
bounded_work = n * m + bernstein.subs({v: n * sigma**2, b: b - m, L: -sp.log(delta)}, simultaneous=True)


def attained(of: Derivation) -> Iterator[sp.Expr]:
    """Laws of two points that attain Cantelli's and Scarf's inequalities: their moments, and what they attain."""
    # 0 and x above and v/x below the mean
    above = cantelli
    points = ((x, above), (-v / x, 1 - above))
    yield sp.simplify(sum(p * value for value, p in points))
    yield sp.simplify(sum(p * value**2 for value, p in points) - v)
    # x and the same distance on either side of it
    d = sp.sqrt(sigma**2 + y**2)
    points = ((y + d, sp.Rational(1, 2) - y / (2 * d)), (y - d, sp.Rational(1, 2) + y / (2 * d)))
    yield sp.simplify(sum(p * value for value, p in points))
    yield sp.simplify(sum(p * value**2 for value, p in points) - sigma**2)
    yield sp.simplify(points[0][1] * (points[0][0] - y) - excess)


def solved(of: Derivation) -> Iterator[sp.Expr]:
    yield sp.simplify(cantelli.subs(x, of["work"] - n * m).subs(v, n * sigma**2) - delta)
    yield sp.simplify(n * cantelli.subs({x: of["longest"] - m, v: sigma**2}) - delta)
    yield sp.simplify(sp.sqrtdenest(sp.sqrt(sp.factor(sigma**2 + beyond**2))) - beyond - 2 * m * delta)
    yield sp.expand(of["rest"] - m - beyond.subs(delta, delta / k))
    yield sp.simplify(at_best.subs(x, bernstein) + L)
    yield sp.simplify(sp.diff(markov, u, 2).subs(u, shift) - 2 * x**4 / (v + x**2) ** 3)  # a minimum


def series(_: Derivation) -> Iterator[sp.Expr]:
    """Bernstein's series: 2/j! is at most 1/3^{j−2}, by induction: it falls by 1/(j + 1), a third at most."""
    j = sp.Symbol("j", integer=True, positive=True)
    yield 2 / sp.factorial(2) - 1
    ratio = sp.combsimp((2 / sp.factorial(j + 1)) / (2 / sp.factorial(j)))
    yield sp.Min(sp.Rational(1, 3) - ratio.subs(j, 2), 0)
    yield sp.simplify(ratio - 1 / (j + 1))


def library(of: Derivation) -> Iterator[float]:
    rng = random.Random(SEED)
    work_of, longest_of = (of.lambdified(name, n, m, sigma, delta) for name in ("work", "longest"))
    rest_of, bounded_of = (
        of.lambdified("rest", k, m, sigma, delta),
        of.lambdified("bounded_work", n, m, sigma, b, delta),
    )
    for _ in range(20):
        several, mean, spread = rng.randint(1, 500), rng.uniform(1e-4, 1.0), rng.uniform(0.2, 3.0)
        deviation, spare, most = spread * mean, rng.uniform(1e-4, 0.05), (2.0 + 2.0 * spread**2) * mean
        given = several, mean, deviation
        yield relative(bounds._work(*given, np.inf, spare), float(work_of(*given, spare)))
        yield relative(bounds._longest(*given, np.inf, spare), float(longest_of(*given, spare)))
        yield relative(bounds._rest(*given, np.inf, spare), float(rest_of(*given, spare)))
        both = min(float(work_of(*given, spare)), float(bounded_of(*given, most, spare)), several * most)
        yield relative(bounds._work(*given, most, spare), both)


def never_too_short(_: Derivation) -> Iterator[float]:
    """How far exact quantiles of saturated guests' drains are above the library's bound."""
    rng = random.Random(SEED)
    for service in (
        qt.Exponential(mean=rng.uniform(1e-3, 1.0)),
        qt.Erlang(phases=3, mean=rng.uniform(1e-3, 1.0)),
        qt.Hyperexponential.balanced(mean=rng.uniform(1e-3, 1.0), scv=6.0),
    ):
        for servers, present in ((1, 1), (3, 3), (4, 40)):
            engine = qt.Engine([qt.Disk(qt.Closed(present), buffer=present)], qt.Device(servers, service))
            bound = qt.drain_bound(present, servers=servers, mean=service.mean, scv=service.scv).quantile
            yield max(qt.drain_time(engine).quantile(0.99) / bound - 1.0, 0.0)


DERIVATION = Derivation(
    name="drain_bounds",
    title="Bounds of the drain without the law of the service",
    statement=r"""
        Let $n$ requests be present, $k$ of them in service, $W$ what is left of all services and $R$ of that which ends
        last. Whatever the law of the service, $T\le W/c+(1-1/c)R$. With mean $m$ and variance $\sigma^2$ of the service
        time, and but for a probability $\delta$ each: the work of $n$ services is at most
        $nm+\sigma\sqrt{n(1/\delta-1)}$, the longest of them at most $m+\sigma\sqrt{n/\delta-1}$, and the longest of $k$
        residual services at most $m+\frac{k\sigma^2}{4m\delta}-\frac{m\delta}k$. If no service is longer than $b$, the
        work is also at most $nm$ and the larger root of $x^2=2L(n\sigma^2+(b-m)x/3)$, $L=\log1/\delta$.
    """,
    symbols={
        n: "services",
        k: "requests in service",
        m: "mean service time [s]",
        sigma: "standard deviation of the service time [s]",
        b: "bound: largest service time, or how far it may be above its mean [s]",
        v: "variance of a sum [s$^2$]",
        delta: "probability with which a bound may be exceeded",
        L: r"$-\log\delta$",
        x: "distance from the mean [s]",
        y: "the same, of either sign [s]",
        u: "parameter of an inequality",
    },
    assumptions=(
        "Service times are independent, of one law with two moments; first come, first served.",
        "Servers were never idle, or a largest service time is known: a residual service has then the residual law.",
    ),
    steps=(
        Step(
            r"""
            Until the request that ends last begins no server is idle, nor while it waits; so by $T-R$ the servers have
            done $c(T-R)$ of the work other than its own: $c(T-R)\le W-R$ (Graham, 1966). The parts of $W/c+(1-1/c)R$
            are bounded each with a probability, and these add up.

            \emph{A sum} $X$ of variance $v$, $E[X]=0$: for every $u\ge0$, $P(X\ge x)\le E[(X+u)^2]/(x+u)^2$ (Markov).
            The bound, its least value in $u$, and the $x$ at which that is $\delta$ (Cantelli, 1928), are
            """,
            markov,
            cantelli,
            reach,
        ),
        Step(
            r"""
            With $v=n\sigma^2$ this bounds the work of $n$ services, and with $\delta/n$ for each the longest of them:
            """,
            work,
            longest,
        ),
        Step(
            r"""
            \emph{A residual service} exceeds $x$ with probability $E[(S-x)^+]/m$. As $(S-x)^+$ is half of $|S-x|+S-x$,
            and $E|S-x|\le\sqrt{E[(S-x)^2]}$, with $y=x-m$ its mean is at most (Scarf, 1958) the first below, and the
            probability $\delta$ at
            """,
            excess,
            sp.Eq(y, beyond),
        ),
        Step(
            r"""
            \emph{Services of at most} $b$ above the mean: as $(e^z-1-z)/z^2$ grows with $z$, each has $E[e^{uX}]\le
            1+\sigma^2(e^{ub}-1-ub)/b^2$, so that their sum has $E[e^{uX}]\le\exp(v\sum_{j\ge2}u^jb^{j-2}/j!)$, and
            $2/j!\le3^{2-j}$. So $P(X\ge x)$ is at most the exponential of the first below; at $u=x/(v+bx/3)$ that is
            the second, and $-L$ at the third (Bernstein, 1924):
            """,
            exponent,
            at_best,
            bernstein,
        ),
    ),
    formulas={"work": work, "longest": longest, "rest": rest, "bounded_work": bounded_work},
    checks=(
        Check("Cantelli's and Scarf's inequalities are attained, by laws of two points.", attained),
        Check("What was solved for holds.", solved),
        Check("Bernstein's series is bounded term by term.", series),
        Check("The library's bounds of the parts are these.", library, CLOSE),
        Check("No exact quantile of a saturated guest's drain is beyond the library's bound.", never_too_short, CLOSE),
    ),
)
