r"""
Drain of a saturated guest with constant service: whole services, and the time of one that has begun.

Servers that are never idle and whose services are all S long complete in the same order for ever, each in turn: the
last of n requests is done when its server has done so many services, and what is left of its first is one of c uniform
times in order.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import sympy as sp

import qtheory as qt
from derivations import kiefer_wolfowitz_drain
from derivations.derivation import CLOSE, SEED, Check, Derivation, Step, relative, upright

n, c, r = sp.symbols("n c r", integer=True, positive=True)
k = sp.Symbol("k", integer=True, nonnegative=True)
S, N = sp.Symbol("S", positive=True), sp.Symbol("N", integer=True, positive=True)
u, p = sp.symbols("u p", positive=True)

# n = kc + r, 1 <= r <= c: the last request is the r-th to come free with k services to do, and S k passes.
whole = sp.ceiling(n / c) - 1
rank = n - whole * c
beta_density = u ** (r - 1) * (1 - u) ** (c - r) * sp.factorial(c) / sp.factorial(r - 1) / sp.factorial(c - r)


def moment(order: int) -> sp.Expr:
    """E[U_(r)^order] of c uniform times in order, from Euler's integral of the first kind."""
    raised = sp.gamma(r + order) * sp.gamma(c - r + 1) / sp.gamma(c + order + 1)
    return sp.gammasimp(sp.combsimp(raised * sp.simplify(beta_density / (u ** (r - 1) * (1 - u) ** (c - r)))))


first, second = moment(1), moment(2)
spread = upright(sp.factor(S**2 * (second - first**2)), {c: 3, r: 1, S: 1})
mean = S * (whole + first.subs(r, rank))
variance = spread.subs(r, rank)
(half,) = sp.solve(sp.Eq(u ** (c * N), sp.Rational(1, 2)), u)
median = S * (n / c - 1 + half)

# Of the straight line (n − c)S/c the mean differs by this, for each r and averaged over r.
constant = sp.simplify((mean.subs(whole, k) - S * (n - c) / c).subs(n, k * c + r) / S)
averaged = sp.factor(sp.summation(constant, (r, 1, c)) / c)


def times_in_order(of: Derivation) -> Iterator[sp.Expr]:
    """The moments by integration, for some c and r, and with two whole services those of the drain."""
    for servers, place in ((1, 1), (2, 1), (4, 3), (5, 5)):
        at = {c: servers, r: place}
        one, two = (sp.integrate((beta_density * u**order).subs(at), (u, 0, 1)) for order in (1, 2))
        yield from (one - first.subs(at), two - second.subs(at))
        yield of["mean"].subs({n: 2 * servers + place, c: servers}) - S * (2 + one)
        yield of["variance"].subs({n: 2 * servers + place, c: servers}) - S**2 * (two - one**2)


def mixed(of: Derivation) -> Iterator[sp.Expr]:
    yield of["median"].subs(N, 1).subs(n, c) / S - 1 - (sp.Rational(1, 2) ** (1 / c) - 1)
    # two servers, whatever the law: 3/2 of the mean residual service, which is S/2
    yield of["averaged"].subs(c, 2) - sp.Rational(3, 2) / 2
    yield sp.limit(of["averaged"], c, sp.oo) - 1


def recursion(of: Derivation) -> Iterator[float]:
    """The Kiefer–Wolfowitz recursion from uniform residual times, n − c services S inserted."""
    rng = np.random.default_rng(SEED)
    workloads = kiefer_wolfowitz_drain
    insert = workloads.DERIVATION.lambdified("inserted", workloads.first, workloads.S, workloads.here, workloads.after)
    finish = workloads.DERIVATION.lambdified("drain", workloads.first, workloads.S, workloads.last)
    for servers in (1, 2, 3, 8):
        for waits in (0, 1, servers, 2 * servers + 1, 5 * servers + 3):
            began = np.sort(rng.random(servers))
            v = began.tolist()
            for _ in range(waits):
                v = [*(insert(v[0], 1.0, v[j], v[j + 1]) for j in range(servers - 1)), finish(v[0], 1.0, v[-1])]
            services, place = (int(one.subs({n: servers + waits, c: servers})) for one in (whole, rank))
            yield relative(float(v[-1]), services + began[place - 1])


def drawn(of: Derivation) -> Iterator[float]:
    """Mean and variance of drains so simulated, in standard errors, 20,000 each."""
    rng = np.random.default_rng(SEED)
    mean_of, variance_of = of.lambdified("mean", n, c, S), of.lambdified("variance", n, c, S)
    median_of = of.lambdified("median", n, c, S, N)
    for servers, present in ((1, 5), (4, 32), (4, 30), (8, 21)):
        services, place = (int(one.subs({n: present, c: servers})) for one in (whole, rank))
        drains = services + np.sort(rng.random((20_000, servers)), axis=1)[:, place - 1]
        yield (drains.mean() - float(mean_of(present, servers, 1.0))) / (drains.std() / np.sqrt(20_000))
        yield (drains.var() / float(variance_of(present, servers, 1.0)) - 1.0) * np.sqrt(20_000 / 2)
    drains = 31 + rng.random((20_000, 3, 8)).max(axis=(1, 2))
    below = np.mean(drains < float(median_of(256, 8, 1.0, 3)))
    yield (below - 0.5) * 2 * np.sqrt(20_000)


def solver(of: Derivation) -> Iterator[float]:
    """The mean of the solver, which takes times on a grid."""
    rng = random.Random(SEED)
    mean_of = of.lambdified("mean", n, c, S)
    for servers, present in ((1, 6), (2, 9), (4, 18)):
        service = qt.Deterministic(rng.uniform(1e-3, 1.0))
        engine = qt.Engine([qt.Disk(qt.Closed(present), buffer=present)], qt.Device(servers, service))
        yield relative(qt.drain_time(engine).mean, float(mean_of(present, servers, service.value)))


DERIVATION = Derivation(
    name="drain_constant_service",
    title="Drain of saturated guests with constant service",
    statement=r"""
        Let $c$ servers that are never idle serve requests in the constant time $S$ each, begun at independent times,
        and let $n=kc+r$ requests be present, $k\ge1$, $1\le r\le c$. The drain time is $S(k+U_{(r)})$, $U_{(r)}$ the
        $r$-th smallest of $c$ independent uniform times in $(0,1)$: its mean is $S(k+r/(c+1))$, and for $N$ equal disks
        with such devices, all independent, and $n$ a multiple of $c$, its median is $S(n/c-1+2^{-1/(cN)})$; for disks
        in phase, that of one.
    """,
    symbols={
        n: "requests present at each device",
        c: "servers of a device",
        k: r"services that the last to be done has to wait for, $\lceil n/c\rceil-1$",
        r: "$n-kc$: the place of the server that does it",
        S: "service time [s]",
        N: "disks with a device of their own",
        u: "part of a service that is left",
    },
    assumptions=(
        "The device is never idle before the stop: guests are saturated.",
        "Services began at independent times; the stop looks at none of them.",
    ),
    steps=(
        Step(
            r"""
            What is left of the services in progress at the stop is uniform on $(0,S)$, and independent. Let the servers
            be in the order of it, $U_{(1)}<\dots<U_{(c)}<1$, times $S$. As all services are equally long this remains
            the order for ever, and requests that wait are taken in turn: of $n-c=(k-1)c+r$ that wait, the first $r$
            servers do $k$ and the others $k-1$. The first group ends last, at $S(U_{(r)}+k)$, since
            $U_{(r)}+1>U_{(c)}$. In terms of $n$, $k$ and $r$ are
            """,
            sp.Eq(k, whole),
            sp.Eq(r, rank),
        ),
        Step(
            "The density of $U_{(r)}$ is what follows; Euler's integral gives its first two moments:",
            beta_density,
            first,
            second,
        ),
        Step("and so the variance of the drain,", spread),
        Step(
            r"""
            If $n$ is a multiple of $c$, the drain of $N$ independent disks ends with the largest of $cN$ uniform times,
            whose median is
            """,
            half,
        ),
        Step(
            r"""
            Of the straight line $(n-c)S/c$ the mean differs, in services, by what follows, and on average over $r$; for
            two servers that is $3/4$, or $3/2$ of the mean residual service, as for every other law
            (section~\ref{derivation:drain_phase_type}):
            """,
            constant,
            averaged,
        ),
    ),
    formulas={"mean": mean, "variance": variance, "median": median, "averaged": averaged},
    checks=(
        Check("The moments of uniform times in order, by integration.", times_in_order),
        Check("The median of one disk, and the constant for two servers and for many.", mixed),
        Check("The drain is that of the Kiefer--Wolfowitz recursion, for any times left.", recursion, CLOSE),
        Check("The mean is the solver's, which is on a grid.", solver, 2e-3),
        Check("Means, variances and a median of drawn drains, in standard errors.", drawn, 4.0),
    ),
)
