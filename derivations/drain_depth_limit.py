r"""
Drain under a depth limit, and the largest limit for a budget: q grows with the budget as cμD, less a square root.

With at most q requests taken before the pop a drain waits for min(n, q) of them. Each one more makes it longer, by the
density of the drain over a rate, so there is a largest q that keeps within a budget; depth beyond the servers buys no
throughput.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import mpmath
import sympy as sp
from sympy.concrete.gosper import gosper_sum

import qtheory as qt
from derivations import drain_exponential as of_number
from derivations.derivation import CLOSE, SEED, Check, Derivation, Step, relative
from qtheory.drain.largest_depth import largest_depth

q, c, m, k = sp.symbols("q c m k", integer=True, positive=True)
mu, a, D, S, delta, z, p, s, r, epsilon = sp.symbols("mu a D S delta z p s r varepsilon", positive=True)
rho = sp.Symbol("rho", positive=True)
H, H2 = sp.symbols("H_c H_c^{(2)}", positive=True)
w = sp.Symbol("w", positive=True)

# One request more takes a completion at the rate r: with transforms f/(r + s) times r, and (1 − f)/s of P(T > t).
f = sp.Symbol("f", positive=True)
longer = sp.factor(sp.simplify((1 - f * r / (r + s)) / s - (1 - f) / s))

# Up to c: the longest of q within D with probability p.
within = (1 - sp.exp(-mu * D)) ** q
log_of_one = sp.Symbol("log_of_one")
free_depth = sp.solve(sp.log(p) - q * log_of_one, q)[0].subs(log_of_one, sp.log(1 - sp.exp(-mu * D)))
least_budget = sp.solve(sp.Eq(sp.exp(-mu * D), r), D)[0].subs(r, 1 - p)

# Beyond c: mean and z standard deviations are D; w wait.
mean, spread = w / (c * mu) + H / mu, w / (c * mu) ** 2 + H2 / mu**2
both = sp.solve(sp.Eq((D - mean) ** 2, z**2 * spread), w)
waiting = next(
    root for root in both if sp.simplify(root - root.subs(z, 0)).subs({D: 2, c: 1, mu: 1, H: 1, H2: 1, z: 1}) < 0
)
normal_depth = c + waiting
growth = sp.limit(sp.diff(normal_depth, D), D, sp.oo)
# The skewness moves a quantile by (z² − 1)/6 times the third cumulant over the second, those of w equal exponentials.
third, second = (sp.diff(-w * sp.log(1 - s / (c * mu)), s, order).subs(s, 0) for order in (3, 2))
moved = sp.simplify((z**2 - 1) / 6 * third / second)
depth = sp.expand(normal_depth.subs(D, D - moved))

# A request holds its slot for S and δ: Little's law below c/S; the depth for a loss ε, and the power X²/q.
throughput = q / (S + delta)
enough = sp.solve(sp.Eq(throughput, (1 - epsilon) * c / S), q)[0]
turnaround = sp.simplify(enough.subs(epsilon, 0) - c - c / S * delta)
power_below, power_above = throughput**2 / q, (c / S) ** 2 / q

# Open disks, q <= c: the limit leaves q servers to a line without end.
weight = a**m / sp.factorial(m)
full = a**q / sp.factorial(q - 1) / (q - a)
taken = 1 + sp.Sum(weight, (m, 1, q - 1)) + full
late = 1 - (1 - sp.exp(-mu * D)) ** m
open_overrun = (sp.Sum(weight * late, (m, 1, q - 1)) + full * late.subs(m, q)) / taken
# q >= c: the number is as without a limit, of which P(k or more wait) = ρ^k P(all busy), and q − c of them count.
counted = gosper_sum(rho**k, (k, 1, q - c))
all_busy = of_number.all_busy.subs({of_number.c: c, of_number.a: a})
fewer = sp.Sum(weight, (m, 0, c - 1))
busy_mean = (counted.subs(rho, a / c) / c + sp.harmonic(c)) / mu
open_mean = (sp.Sum(weight * sp.harmonic(m) / mu, (m, 1, c - 1)) + all_busy * busy_mean) / (fewer + all_busy)


def one_more(_: Derivation) -> Iterator[sp.Expr]:
    """The law of drain_exponential.py: P(T_n > t) − P(T_{n−1} > t) is the density over the last rate."""
    t = of_number.t
    for servers in (1, 2, 3):
        before = of_number.free.subs(of_number.m, servers)
        found = of_number.cdf.subs({of_number.c: servers, of_number.k: 1}).doit()
        yield sp.expand(sp.expand_func(before - found - sp.diff(found, t) / (servers * of_number.mu)))
    yield sp.simplify(longer - f * r / (r + s) / r)  # as transforms, for any rate


def quantile(of: Derivation) -> Iterator[sp.Expr]:
    """D is z standard deviations, and what the skewness adds, beyond the mean, for some z and rate."""
    for servers, present in ((1, 9), (3, 20), (8, 64)):
        at = {of_number.n: present, of_number.c: servers, of_number.mu: mu}
        budget = of_number.mean.subs(at) + z * sp.sqrt(of_number.variance.subs(at)) + moved.subs(c, servers)
        sums = {H: sp.harmonic(servers), H2: sp.harmonic(servers, 2), c: servers}
        found = of["depth"].subs(D, budget).subs(sums).subs({mu: sp.Rational(7, 2), z: sp.Rational(9, 4)})
        yield sp.nsimplify(sp.N(found - present, 40), tolerance=sp.Rational(1, 10**30))


def tightest(of: Derivation) -> Iterator[sp.Expr]:
    yield sp.expand_log(sp.log(within.subs(q, of["free_depth"])), force=True) - sp.log(p)
    yield sp.expand(within.subs(q, 1).subs(D, of["least_budget"]) - p)
    yield sp.simplify(throughput.subs(q, of["enough"]) - (1 - epsilon) * c / S)
    yield sp.simplify((power_below - power_above).subs(q, of["enough"].subs(epsilon, 0)))


def solver(of: Derivation) -> Iterator[float]:
    """P(T > D) and mean of the solver under a limit, the ring practically without end."""
    rng = random.Random(SEED)
    overrun_of, mean_of = of.lambdified("open_overrun", q, a, mu, D), of.lambdified("open_mean", q, c, a, mu)
    for _ in range(6):
        servers, rate = rng.randint(2, 10), rng.uniform(1.0, 1e4)
        for limit in (rng.randint(1, servers), rng.randint(servers + 1, servers + 30)):
            load = min(limit, servers) * rng.uniform(0.2, 0.85)
            disk = qt.Disk(qt.Poisson(load * rate), buffer=2000)
            found = qt.drain_time(qt.Engine([disk], qt.Device(servers, qt.Exponential(1 / rate))), qt.DepthLimit(limit))
            if limit <= servers:
                budget = rng.uniform(0.5, 3.0) / rate
                yield relative(found.sf(budget), float(overrun_of(limit, load, rate, budget)))
            else:
                yield relative(found.mean, float(mean_of(limit, servers, load, rate)))


def saturated(servers: int, rate: float, depth: int) -> qt.Engine:
    return qt.Engine([qt.Disk(qt.Closed(depth), buffer=depth)], qt.Device(servers, qt.Exponential(1 / rate)))


def deepest(engine: qt.Engine, budget: float, chance: float) -> int:
    """The largest depth that bisection over the solver's drains finds."""

    def overrun_at(depth: int) -> float:
        return qt.drain_time(engine, qt.DepthLimit(depth)).sf(budget)

    return largest_depth(engine.most, overrun_at, 1 - chance) or 0


def bisected(of: Derivation) -> Iterator[float]:
    """For saturated guests, and budgets that bind up to c."""
    rng = random.Random(SEED)
    depth_of, least_of = of.lambdified("free_depth", mu, D, p), of.lambdified("least_budget", mu, p)
    for _ in range(6):
        servers, rate, chance = 40, rng.uniform(1.0, 1e4), rng.choice((0.9, 0.99, 0.999))
        longest = -math.log(1 - chance ** (1 / servers)) / rate
        budget = rng.uniform(float(least_of(rate, chance)), longest)
        engine = saturated(servers, rate, 100)
        yield float(deepest(engine, budget, chance) - mpmath.floor(depth_of(rate, budget, chance)))
        late = qt.drain_time(engine, qt.DepthLimit(1)).quantile(chance)
        yield relative(late, float(least_of(rate, chance)))


def approximated(of: Derivation) -> Iterator[float]:
    """Beyond c, for lines much longer than c²."""
    depth_of, chance = of.lambdified("depth", c, mu, D, z, H, H2), 0.99
    normal_quantile = float(mpmath.sqrt(2) * mpmath.erfinv(2 * chance - 1))
    for servers, waits in ((1, 40), (1, 640), (4, 160), (4, 640), (8, 640), (16, 2560)):
        sums = [float(sp.harmonic(servers, order)) for order in (1, 2)]
        budget = waits / servers + sums[0] + 2.0
        found = float(mpmath.floor(depth_of(servers, 1.0, budget, normal_quantile, *sums)))
        yield found / deepest(saturated(servers, 1.0, 8000), budget, chance) - 1.0


DERIVATION = Derivation(
    name="drain_depth_limit",
    title="Drain under a depth limit, and the largest limit for a budget",
    statement=r"""
        Let at most $q$ requests be taken at a time, before $c$ servers of rate $\mu$. A drain from $q$ taken is longer,
        in law, the larger $q$, so that for a budget $D$ there is a largest $q$ with $P(T_q\le D)\ge p$: for saturated
        guests $\lfloor\log p/\log(1-e^{-\mu D})\rfloor$ while that is at most $c$, none at all for $D<-\log(1-p)/\mu$,
        and for lines much longer than $c^2$, with $D'=D-(z^2-1)/(3c\mu)$ and the normal quantile $z$ at $p$, about
        $c+c\mu D'-cH_c+z^2/2-z\sqrt{c\mu D'-cH_c+c^2H_c^{(2)}+z^2/4}$: \emph{$c\mu$ more for each second, less a square
        root}. To lose no more than $\varepsilon$ of the throughput it must be at least $(1-\varepsilon)c(1+\delta/S)$.
    """,
    symbols={
        q: "requests taken at most",
        c: "servers",
        m: "requests in service",
        k: "requests that wait",
        w: "$q-c$, requests taken that wait",
        mu: "service rate of a server [1/s]",
        a: r"offered load, arrival rate over $\mu$",
        rho: r"$a/c$",
        D: "budget: what the drain may take [s]",
        p: "probability with which it must keep within",
        z: "normal quantile at $p$",
        H: r"$\sum_{j\le c}1/j$",
        H2: r"$\sum_{j\le c}1/j^2$",
        S: "mean service time [s]",
        delta: "turnaround: what a request holds its slot beyond its service [s]",
        epsilon: "fraction of the throughput that may be lost",
        f: "transform of the drain time of the requests before",
        s: "argument of a transform [1/s]",
        r: "rate at which one more request is completed [1/s]",
    },
    assumptions=(
        r"""
        Service is exponential; the limit holds before the pop and has held for long: the drain waits for what is taken.
        """,
        r"""
        Saturated guests always have $q$ to take; open ones come as a Poisson process, $a<\min(q,c)$, and lose nothing.
        """,
    ),
    steps=(
        Step(
            r"""
            The drain of one request more is that of those before, with transform $f$, and an independent completion at
            the rate $r=\min(q,c)\mu$. As $(1-f)/s$ is the transform of $P(T>t)$, that of $P(T_q>t)-P(T_{q-1}>t)$ is
            """,
            longer,
        ),
        Step(
            r"""
            the transform of $T_q$'s density over $r$, which is not negative: $P(T_q>D)$ grows with $q$, bisection finds
            the largest $q$, and the price of one more is known. Up to $c$ the law is a power. Solved for $q$, and, with
            $q=1$, for the least budget that allows anything at all:
            """,
            sp.Eq(q, free_depth),
            sp.Eq(D, least_budget),
        ),
        Step(
            r"""
            Beyond $c$ the drain is a sum of $w=q-c$ equal parts and of the longest of $c$ services, nearly normal when
            the variance of the latter, $H_c^{(2)}/\mu^2$, is small beside that of the former, $w/(c\mu)^2$. $D$ is to
            be mean and $z$ standard deviations; of the two solutions of the square the one below the mean's is meant:
            """,
            sp.Eq(D - mean, z * sp.sqrt(spread)),
            sp.Eq(q, normal_depth),
        ),
        Step(
            r"""
            Cumulants are derivatives of the log of the transform; the skewness moves the quantile by $(z^2-1)/6$ times
            the third over the second (Cornish and Fisher, 1938), which leaves so much less of the budget:
            """,
            moved,
            sp.Eq(q, depth),
        ),
        Step(r"whose growth with the budget tends to the rate of the device,", growth),
        Step(
            r"""
            A request holds its slot for $S+\delta$, so with $q$ slots the throughput is at most $q/(S+\delta)$
            (Little), and at most $c/S$; section~\ref{derivation:bandwidth_delay} has how near to that it comes. A loss
            of at most $\varepsilon$ of the latter needs, and with $\varepsilon=0$ that is $c+X\delta$ at $X=c/S$, the
            bandwidth-delay product,
            """,
            sp.Eq(q, enough),
            sp.Eq(sp.Symbol("q") - c - c / S * delta, turnaround),
        ),
        Step(
            r"""
            Kleinrock's power, throughput over response time, is by Little's law $X^2/q$. By these bounds it grows up to
            the same $q$, and falls beyond:
            """,
            power_below,
            power_above,
        ),
        Step(
            r"""
            Guests that are not saturated: up to $c$, the limit leaves $q$ servers to a line without end, of which $q$
            are taken with Erlang's probability of waiting. Beyond $c$ the number is that without a limit; of those that
            wait $k$ or more are there with probability $\rho^k$, and the first $q-c$ are taken, in the mean
            """,
            counted,
        ),
    ),
    formulas={
        "free_depth": free_depth,
        "least_budget": least_budget,
        "depth": depth,
        "enough": enough,
        "open_overrun": open_overrun,
        "open_mean": open_mean,
    },
    checks=(
        Check(
            "One request more adds the density over the rate, also as the law of the number present has it.",
            one_more,
        ),
        Check("Depths and budgets are tight, and power is the same on both sides of its largest value.", tightest),
        Check(r"$D$ is the moved quantile of the depth found, with the moments of the number present.", quantile),
        Check("Law, up to $c$, and mean beyond are the solver's under a limit.", solver, CLOSE),
        Check(
            "The depth up to $c$ is what bisection over the solver finds, and the least budget its quantile.",
            bisected,
            CLOSE,
        ),
        Check(
            "Beyond $c$, for lines of ten times $c^2$, the depth is within 2 percent of what bisection finds.",
            approximated,
            0.02,
        ),
    ),
)
