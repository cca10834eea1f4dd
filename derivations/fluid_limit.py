r"""
Throttling a large system before the stop: the fluid limit, and the means and covariances of a normal law around it.

n requests are present and y left of those taken before the limit q began; the servers work on min(p, c) of p = max(y,
min(n, q)). For large systems n and y follow ordinary differential equations; the expected minimum of a normal number
rounds their corners off.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import product

import numpy as np
import sympy as sp

import qtheory as qt
from derivations.derivation import CLOSE, SEED, Check, Derivation, Step, relative
from qtheory.drain import fluid

m, x, z = sp.symbols("m x z", real=True)
sigma, a, c, mu, t, y0 = sp.symbols("sigma a c mu t y_0", positive=True)
Y = sp.Function("y")

# X = m + σz; parts of its moments beyond a = m + σx, from those of the standard normal law.
normal = sp.exp(-(z**2) / 2) / sp.sqrt(2 * sp.pi)
tails = [sp.simplify(sp.integrate(z**power * normal, (z, x, sp.oo))) for power in (0, 1, 2)]


def beyond(of: sp.Expr) -> sp.Expr:
    """The integral over z > x of a polynomial in z, weighted by the density."""
    return sum(coefficient * tails[power] for (power,), coefficient in sp.Poly(of, z).terms())


excess = sp.collect(sp.expand(beyond(m + sigma * z - a).subs(a, m + sigma * x)), tails[0])
excess_square = sp.expand(beyond(sp.expand((m + sigma * z) ** 2 - a**2)).subs(a, m + sigma * x))
minimum = m - excess
below = 1 - tails[0]

# Saturated guests under a lower limit, or a drain: all servers busy down to c, and from there as many as are left.
line = sp.dsolve(Y(t).diff(t) + c * mu, Y(t), ics={Y(0): y0}).rhs
free = sp.dsolve(Y(t).diff(t) + mu * Y(t), Y(t), ics={Y(0): c}).rhs
until_free, until_one = (sp.solve(sp.Eq(found, left), t)[0] for found, left in ((line, c), (free, 1)))
fluid_drain = sp.expand(until_free) + until_one
rounded = sp.limit(sp.harmonic(c) - sp.log(c), c, sp.oo)


def corners(_: Derivation) -> Iterator[sp.Expr]:
    """min(p, c) in terms of n and y alone, in all small cases: how many differ."""
    wrong = 0
    for n, y, q, servers in product(range(9), range(9), range(7), range(1, 7)):
        if y <= n:
            taken, least = max(y, min(n, q)), min(q, servers)
            wrong += min(taken, servers) != min(n, least) + max(y - least, 0) - max(y - servers, 0)
    yield sp.Integer(wrong)


def derivatives(of: Derivation) -> Iterator[sp.Expr]:
    """In a, the excess falls with P(X > a), and E(X² − a²)^+ with 2a P(X > a); Stein's lemma by parts."""
    at = (a - m) / sigma
    yield sp.simplify(sp.diff(of["excess"].subs(x, at), a) + tails[0].subs(x, at))
    yield sp.simplify(sp.diff(of["excess_square"].subs(x, at), a) + 2 * a * tails[0].subs(x, at))
    yield sp.limit(of["excess"], x, sp.oo)
    yield sp.simplify(sp.diff(normal, z) + z * normal)
    # Cov(X, min(X, a)) by integration, and as it should be
    slope = sp.expand(sigma * (1 - tails[2] + x * tails[1]) * sigma)
    yield sp.simplify(slope - sigma**2 * below)


def paths(of: Derivation) -> Iterator[sp.Expr]:
    yield line.subs(t, until_free) - c
    yield sp.simplify(free.subs(t, until_one) - 1)
    yield sp.simplify(sp.diff(of["fluid_drain"], y0) - 1 / (c * mu))
    yield of["fluid_drain"].subs(y0, c) - sp.log(c) / mu


def library(of: Derivation) -> Iterator[float]:
    rng = random.Random(SEED)
    excess_of, square_of = (of.lambdified(name, m, sigma, x) for name in ("excess", "excess_square"))
    for _ in range(20):
        mean, spread, at = rng.uniform(-5.0, 50.0), rng.uniform(0.1, 10.0), rng.uniform(-3.0, 3.0)
        level = mean + spread * at
        given = np.array(mean), np.array(spread), level
        yield relative(fluid.excess(*given), float(excess_of(mean, spread, at)))
        # the library has it as a sum, whose rounding is relative to the terms
        scale = mean**2 + spread**2 + level**2
        yield relative(fluid.excess_square(*given) / scale + 1.0, float(square_of(mean, spread, at)) / scale + 1.0)


def large(of: Derivation) -> Iterator[float]:
    """Exact mean drains over the fluid's, less the constant by which they differ, for many servers."""
    fluid_of = of.lambdified("fluid_drain", y0, c, mu)
    for servers, present in ((64, 256), (256, 256), (1024, 4096)):
        engine = qt.Engine([qt.Disk(qt.Poisson(1.0), buffer=present)], qt.Device(servers, qt.Exponential(1.0)))
        exact = qt.drain_time(engine, population=present).mean
        yield (exact - float(rounded)) / float(fluid_of(present, servers, 1.0)) - 1.0


DERIVATION = Derivation(
    name="fluid_limit",
    title="Throttling a large system: the fluid limit and its normal correction",
    statement=r"""
        Let $n$ requests be present, and $y\le n$ of those taken before a limit $q$ began. Then $p=\max(y,\min(n,q))$
        are taken, and $\min(p,c)=\min(n,a)+(y-a)^+-(y-c)^+$ in service, $a=\min(q,c)$. Of a normal $X$ with mean $m$
        and variance $\sigma^2$, $E(X-a)^+$ and $E(X^2-a^2)^+$ are closed forms, and
        $\operatorname{Cov}(X,\min(X,a))=\sigma^2P(X<a)$ (Stein). The fluid drain takes $(y-c)/(c\mu)+\log c/\mu$: $\log
        c$ where the mean of the drain has $H_c$, Euler's constant more.
    """,
    symbols={
        m: "mean of a normal number of requests",
        sigma: "its standard deviation",
        a: "level, $m+\\sigma x$",
        x: "the level, standardized",
        z: "a standard normal number",
        Y: "requests taken and not yet completed, as a fluid",
        y0: "their number at first",
        c: "servers",
        mu: "service rate of a server [1/s]",
        t: "time from then on [s]",
    },
    assumptions=(
        r"""
        Large systems, whose numbers are nearly normal (Kurtz, 1970, 1971), with exponential service in the fluid drain.
        """,
    ),
    steps=(
        Step(
            r"""
            Under the limit $q$ requests taken beyond it only leave, and below it $p=\min(n,q)$. If $y\le a$ then
            $\min(p,c)=\min(n,a)$; and if $a<y\le n$ it is $\min(y,c)$, $a$ being $\min(n,a)$ and $\min(y,c)-a$ the
            difference of the excesses. So expected numbers in service need only the laws of $n$ and of $y$. Of the
            standard normal law the parts beyond $x$ of the moments of order 0, 1, 2 are
            """,
            *tails,
        ),
        Step(
            r"with which, at $a=m+\sigma x$, $E(X-a)^+$ and $E(X^2-a^2)^+$ are",
            excess,
            excess_square,
        ),
        Step(
            r"""
            As $z\varphi(z)=-\varphi'(z)$, $E[z\,h(m+\sigma z)]$ is by parts $\sigma E[h'(m+\sigma z)]$: with
            $h(X)=\min(X,a)$, $\operatorname{Cov}(X,\min(X,a))=\sigma^2P(X<a)$, where
            """,
            sp.Eq(sp.Symbol("P(X<a)"), below),
        ),
        Step(
            r"""
            As a fluid, what is taken falls at the rate $c\mu$ while it is more than $c$, and then at its own rate $\mu
            y$:
            """,
            sp.Eq(Y(t), line),
            sp.Eq(Y(t), free),
        ),
        Step(
            "until one is left, which takes",
            fluid_drain,
        ),
        Step(
            r"""
            The mean of the drain has the harmonic number for the logarithm
            (section~\ref{derivation:drain_exponential}); for many servers they differ by
            """,
            rounded,
        ),
    ),
    formulas={"excess": excess, "excess_square": excess_square, "fluid_drain": fluid_drain},
    checks=(
        Check("What is in service, in terms of $n$ and $y$, in all cases with up to 8 requests.", corners),
        Check("Derivatives in the level, limits, and the covariance by integration.", derivatives),
        Check("The fluid passes $c$ and 1 when it should.", paths),
        Check("The library's fluid limit computes with these.", library, CLOSE),
        Check(
            "Exact mean drains, less Euler's constant, are within 1 percent of the fluid's, from 64 servers on.",
            large,
            0.01,
        ),
    ),
)
