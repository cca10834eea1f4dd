r"""
How many disks one queue length can serve: throughput bounds Q from below, the drain from above, and N where they meet.

Saturated disks with devices of their own behind one line for Q slots lose ε at Q = (N − 1)(1 − ε)/ε. The number at each
device is then geometric, the drain of each disk exponential but for an atom, and that of all the longest of them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from itertools import product

import mpmath
import numpy as np
import sympy as sp
from scipy.optimize import brentq

import qtheory as qt
from derivations.derivation import CLOSE, SEED, Check, Derivation, Step, relative, upright

N, Q, K = sp.symbols("N Q K", integer=True, positive=True)
k, j = sp.symbols("k j", integer=True, nonnegative=True)
mu, t, D, epsilon, p, x, g = sp.symbols("mu t D varepsilon p x g", positive=True)
y = sp.Symbol("y", positive=True)

# Σ_k x^k P(k services last beyond t): that many do if no more than j < k of them could end by t, j Poisson.
typical = {x: 0.5, mu: 1.0, t: 1.0, N: 4, Q: 4, k: 1, p: 0.5, epsilon: 0.5}
tail = upright(sp.factor(sp.solve(sp.Eq(g, x ** (j + 1) + x * g), g)[0]), typical)
ended = sp.exp(-mu * t) * (mu * t) ** j / sp.factorial(j)
beyond = upright(sp.simplify(sp.summation(sp.powsimp(ended * tail), (j, 0, sp.oo))), typical)
done = upright(sp.simplify(1 / (1 - x) - beyond), typical)

# Compositions of Q, all equally likely: that of which a part is k, for k + 1 over for k; Q for the loss ε, N large.
ways = sp.binomial(Q + N - 1, N - 1)
with_part = ways.subs({N: N - 1, Q: Q - k}, simultaneous=True)
following = upright(sp.factor(sp.combsimp(with_part.subs(k, k + 1) / with_part)), typical)
needed = (N - 1) * (1 - epsilon) / epsilon
ratio = sp.limit(following.subs(Q, needed), N, sp.oo)
idle = sp.factor(sp.simplify(sp.combsimp(with_part.subs(k, 0) / ways).subs(Q, needed)))

# One disk's drain among many: its number is k with probability ε(1 − ε)^k.
among_many = sp.simplify(1 - idle * done.subs(x, ratio))

# Among N: P(n_1 >= k) = Π_{i<N} (Q − k + i)/(Q + i), of which each factor has a limit for k = yQ; k = μt, Q = N/ε.
factor_limit = sp.limit((Q - y * Q + k) / (Q + k), Q, sp.oo)
late = (1 - epsilon) * (factor_limit ** (N - 1)).subs(y, epsilon * mu * t / (N - 1))
with_many = sp.limit(late.subs(N, K + 1), K, sp.oo)

# All disks: P(T > D) <= N P(T_1 > D), which is to be 1 − p.
chance = sp.Symbol("chance", positive=True)
part_late = sp.solve(sp.Eq((1 - y) ** (N - 1), chance), y)[0].subs(chance, (1 - p) / (N * (1 - epsilon)))
budget = sp.solve(sp.Eq(g, epsilon * mu * D / (N - 1)), D)[0].subs(g, part_late)
disks = upright(sp.solve(sp.Eq(N * with_many.subs(t, D), 1 - p), N)[0], typical)

# One slot a disk: no device idles, and one service each is drained.
shared_cdf = (1 - sp.exp(-mu * t)) ** N
shared_budget = sp.solve(sp.Eq(sp.exp(-mu * D), g), D)[0].subs(g, 1 - p ** (1 / N))


def coefficients(of: Derivation) -> Iterator[sp.Expr]:
    """P(k services end by t) is the coefficient of x^k."""
    series = sp.series(of["done"], x, 0, 6).removeO()
    for several in range(6):
        ends = 1 - sum(ended.subs(j, fewer) for fewer in range(several))
        yield sp.expand(series.coeff(x, several) - ends)


def counted(of: Derivation) -> Iterator[sp.Expr]:
    """All compositions one by one, for few disks and slots, against the coefficient of x^Q in the power."""
    for few, slots in ((2, 3), (3, 2), (3, 4)):
        late = [1 - sum(ended.subs(j, fewer) for fewer in range(several)) for several in range(slots + 1)]
        parts = [part for part in product(range(slots + 1), repeat=few) if sum(part) == slots]
        mean = sum(sp.prod([late[n] for n in part]) for part in parts) / len(parts)
        series = sp.series(of["done"], x, 0, slots + 1).removeO()
        power = sp.Poly(sp.expand(series**few), x).coeff_monomial(x**slots)
        yield sp.expand(power / ways.subs({N: few, Q: slots}) - mean)


def tight(of: Derivation) -> Iterator[sp.Expr]:
    at = {N: 5, p: sp.Rational(9, 10)}
    yield sp.simplify(5 * late.subs(t, of["budget"]).subs(at) - sp.Rational(1, 10))
    yield sp.simplify(of["disks"] * with_many.subs(t, D) - 1 + p)
    yield sp.simplify(of["shared_cdf"].subs(t, of["shared_budget"]) - p)
    # both laws of one disk agree, and an ε-th of the time does with one slot, but for the atom
    yield sp.simplify(with_many - among_many)
    yield sp.simplify(with_many / (1 - epsilon) - (1 - of["shared_cdf"].subs(N, 1).subs(t, epsilon * t)))


def product_of_factors(_: Derivation) -> Iterator[sp.Expr]:
    """P(n_1 >= k), by counting compositions of Q − k, is the product."""
    for few in (2, 3, 5):
        chance = ways.subs(Q, Q - k).subs(N, few) / ways.subs(N, few)
        yield sp.combsimp(chance - sp.prod([(Q - k + i) / (Q + i) for i in range(1, few)]))


def solver(_: Derivation) -> Iterator[float]:
    """With K requests a disk compositions have the weights Π K!/(K − n_i)!; of few disks, one by one."""
    rng = random.Random(SEED)
    for few, slots in ((2, 4), (3, 5), (4, 6)):
        requests, rate = rng.randint(slots, 60), rng.uniform(1.0, 1e4)
        disk = qt.Disk(qt.Closed(requests), buffer=requests, device=qt.Device(1, qt.Exponential(1 / rate)))
        found = qt.drain_time(qt.Engine([disk] * few, queue_length=slots, hold="ring"))
        at = rng.uniform(0.5, 3.0) * found.mean
        ends = [sp.N(ended.subs({mu: sp.Rational(rate), t: sp.Rational(at)}).subs(j, n), 30) for n in range(slots)]
        weights = [sp.ff(requests, n) * (1 - sum(ends[:n])) for n in range(slots + 1)]
        parts = [part for part in product(range(slots + 1), repeat=few) if sum(part) == slots]
        both = [
            sum(sp.prod([of[n] for n in part]) for part in parts)
            for of in (weights, [sp.ff(requests, n) for n in range(slots + 1)])
        ]
        yield relative(found.sf(at), float(1 - both[0] / both[1]))


def shares(of: Derivation) -> Iterator[float]:
    rng = random.Random(SEED)
    cdf_of = of.lambdified("shared_cdf", N, mu, t)
    for _ in range(4):
        many, rate = rng.randint(1, 40), rng.uniform(1.0, 1e4)
        disk = qt.Disk(qt.Closed(64), buffer=64, device=qt.Device(1, qt.Exponential(1 / rate)))
        engine = qt.Engine([disk] * many, queue_length=many, hold="ring", shares="equal")
        at = rng.uniform(0.5, 3.0) / rate
        yield relative(qt.drain_time(engine).sf(at), float(1 - cdf_of(many, rate, at)))


def late_exactly(many: int, slots: int, at: float) -> float:
    """P(T > t) of so many disks, a power of two, with rate 1, from coefficients of x^Q in floats."""
    number, scale = np.arange(slots), 1 / (1 + (many - 1) / slots)
    ends = np.exp(number * np.log(at) - at - np.cumsum(np.log(np.maximum(number, 1))))
    ones = (1 - scale) * scale ** np.arange(slots + 1)
    numerator = ones * (1.0 - np.concatenate([[0.0], np.cumsum(ends)]))
    for _ in range(many.bit_length() - 1):
        numerator, ones = (np.convolve(one, one)[: slots + 1] for one in (numerator, ones))
    return float(1.0 - numerator[slots] / ones[slots])


def good_enough(of: Derivation) -> Iterator[float]:
    """The budget by the formula over the one that is needed."""
    budget_of = of.lambdified("budget", N, epsilon, mu, p)
    for many, loss in ((8, 0.05), (16, 0.05), (64, 0.05), (128, 0.05), (32, 0.02)):
        slots = round((many - 1) * (1 - loss) / loss)
        taken = float(budget_of(many, loss, 1.0, 0.99))
        late_by = partial(late_exactly, many, slots)
        exact = brentq(lambda at, of=late_by: of(at) - 0.01, 0.5 * taken, 2 * taken, rtol=1e-4)
        yield taken / exact - 1.0


def many_disks(of: Derivation) -> Iterator[float]:
    """The number of disks for a long line, from the limit, in the budget of so many."""
    disks_of, budget_of = of.lambdified("disks", epsilon, mu, D, p), of.lambdified("budget", N, epsilon, mu, p)
    for many in (1e6, 1e7):
        yield float(mpmath.log(disks_of(0.05, 1.0, budget_of(many, 0.05, 1.0, 0.99), 0.99)) / mpmath.log(many)) - 1.0


DERIVATION = Derivation(
    name="feasible_disks",
    title="How many disks one queue length serves",
    statement=r"""
        Let $N$ saturated disks, each with a device of one server of rate $\mu$, share one line for $Q$ slots, and let
        what waits for a slot stay in the rings. At the least $Q$ that loses at most $\varepsilon$ of the throughput, a
        drain keeps within $D$ with probability $p$ if $D$ is about
        $\frac{N-1}{\varepsilon\mu}[1-(\frac{1-p}{N(1-\varepsilon)})^{1/(N-1)}]$ or more, for many disks
        $\log(N(1-\varepsilon)/(1-p))/(\varepsilon\mu)$: a budget allows about $(1-p)e^{\varepsilon\mu D}$ disks, beyond
        which no constant $Q$ serves both. \emph{With one slot for each disk nothing is lost, and the time scale is
        $1/\mu$}, not $1/(\varepsilon\mu)$.
    """,
    symbols={
        N: "disks",
        Q: "slots: requests at the devices, over all disks",
        K: "requests that a disk keeps outstanding, and a large number",
        k: "requests at one device",
        j: "services that end by $t$ before a device that is never idle",
        mu: "service rate of a device [1/s]",
        t: "time after the stop [s]",
        D: "budget: what the drain may take [s]",
        epsilon: "fraction of the throughput that is lost",
        p: "probability with which the budget must be kept",
        x: "argument of a generating function",
        g: "a geometric sum",
        y: "fraction of the slots that one disk has",
    },
    assumptions=(
        "Service is exponential. Disks keep requests without end outstanding.",
        r"""
        $N$ and $Q$ are large for the law of the drain; for every $N$, $Q$ and $K$ it is a coefficient of a power
        series.
        """,
    ),
    steps=(
        Step(
            r"""
            $k$ services last beyond $t$ if fewer than $k$ would end by then, a Poisson number. Summed over $k$ with
            $x^k$ first, for each $j<k$, and then over $j$,
            """,
            tail,
            beyond,
        ),
        Step(r"so that $\sum_kx^kP(k\text{ services end by }t)$ is", done),
        Step(
            r"""
            By section~\ref{derivation:saturated_line} all compositions $n_1+\dots+n_N=Q$ are equally likely, so that
            $P(T\le t)$ is the coefficient of $x^Q$ in the $N$-th power of that, over $\binom{Q+N-1}{N-1}$. A part is
            $k+1$ in so many compositions for each in which it is $k$, in the limit at
            $Q=(N-1)(1-\varepsilon)/\varepsilon$, and is 0 with probability
            """,
            following,
            sp.Eq(sp.Limit(following, N, sp.oo), ratio, evaluate=False),
            idle,
        ),
        Step(
            "So in the limit a disk, of many, is not done by $t$ with probability",
            among_many,
        ),
        Step(
            r"""
            Of fewer disks the total binds the largest part. As many compositions have $n_1\ge k$ as there are of $Q-k$,
            so that $P(n_1\ge k)=\prod_{i<N}(Q-k+i)/(Q+i)$; the limit of a factor for $k=yQ$, and so, $k$ services
            taking about $k/\mu$ and $Q$ being about $(N-1)/\varepsilon$, the probability of not being done, with that
            of having nothing to do, are
            """,
            factor_limit,
            late,
        ),
        Step(r"with the limit, for many disks, that was found before,", with_many),
        Step(
            r"""
            One of the disks is late with $N$ times that probability at most, and nearly so where it is small. Set to
            $1-p$ at $D$, the budget that is needed is, and for many disks the number that a budget allows,
            """,
            sp.Eq(D, budget),
            sp.Eq(N, disks),
        ),
        Step(
            r"""
            With one slot for each disk, $Q=N$ divided equally, no device is ever idle and a drain waits for one service
            of each: the law is $(1-e^{-\mu t})^N$, the budget
            """,
            sp.Eq(D, shared_budget),
        ),
    ),
    formulas={
        "done": done,
        "budget": budget,
        "disks": disks,
        "shared_cdf": shared_cdf,
        "shared_budget": shared_budget,
    },
    checks=(
        Check("Coefficients of the generating function are the laws of sums of services.", coefficients),
        Check("All compositions, one by one, have the mean that is the coefficient of the power.", counted),
        Check("$P(n_1\\ge k)$ is the product, for some $N$.", product_of_factors),
        Check("Budgets and numbers are tight, and the laws of one disk agree where both hold.", tight),
        Check("With $K$ requests a disk and the weights $K!/(K-n_i)!$ it is the solver's drain.", solver, CLOSE),
        Check("So is the drain with one slot for each disk.", shares, CLOSE),
        Check("For 8 to 128 disks the budget is within 5 percent of what the coefficients need.", good_enough, 0.05),
        Check("For a million disks the number is right in its logarithm.", many_disks, 1e-3),
    ),
)
