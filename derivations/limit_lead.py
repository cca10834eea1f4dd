r"""
How long before the stop a depth limit must begin: until what exceeds it has been served, and it costs nothing
meanwhile.

Saturated guests keep all servers busy, under every limit that is not below their number. So completions are a Poisson
process all the time, and what is taken at the stop is what was taken before less a Poisson number, or the limit.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import mpmath
import sympy as sp

import qtheory as qt
from derivations import drain_exponential as of_number
from derivations.derivation import CLOSE, SEED, Check, Derivation, Step, relative
from qtheory.drain import limited as limited_engine

K, q, c = sp.symbols("K q c", integer=True, positive=True)
j = sp.Symbol("j", integer=True, nonnegative=True)
mu, tau, D, x, z, delta = sp.symbols("mu tau D x z delta", positive=True)

# J completions, x expected: K − J requests exceed the limit at the stop, if that is positive.
completions = sp.exp(-x) * x**j / sp.factorial(j)
summed = sp.summation((K - j) * completions, (j, 0, K - 1))
lower = (sp.lowergamma(K, x) + x ** (K - 1) * sp.exp(-x)) / (K - 1)  # γ(K, x) = (K − 1) γ(K − 1, x) − x^{K−1} e^{−x}
summed = summed.subs(sp.lowergamma(K - 1, x), lower).subs(sp.lowergamma(K, x), sp.gamma(K) - sp.uppergamma(K, x))
excess = sp.collect(sp.expand(sp.gammasimp(sp.simplify(summed))), sp.uppergamma(K, x))

# The drain waits for q and what exceeds it.
limited = (q - c) / (c * mu) + sp.harmonic(c) / mu
mean = limited + excess.subs(x, c * mu * tau) / (c * mu)

# Few are left where K lies z standard deviations below x; and how fast what exceeds the limit falls.
root = max(sp.solve(sp.Eq(x**2 - z * x, K), x), key=lambda one: one.subs({z: 1, K: 1}))
lead = sp.expand(root**2) / (c * mu)
fall = sp.simplify(sp.diff(excess, x))

# A limit below c holds servers idle: completions per second that it costs.
lost = sp.factor(c * mu - sp.Min(q, c) * mu)


def sums(of: Derivation) -> Iterator[sp.Expr]:
    """The mean excess term by term; one more adds P(no more than K completions)."""
    for few in range(1, 6):
        found = sum((few - k) * completions.subs(j, k) for k in range(few))
        yield sp.expand(sp.expand_func(excess.subs(K, few)) - found)
        mean_of = limited + found.subs(x, c * mu * tau) / (c * mu)
        yield sp.simplify(sp.expand_func(of["mean"].subs(K, few)) - mean_of)
    yield sp.limit(excess.subs(K, 3), x, sp.oo)
    yield sp.limit(excess.subs(K, 3), x, 0) - 3
    yield sp.simplify(fall + sp.uppergamma(K, x) / sp.gamma(K))
    yield sp.expand(root**2 - z * root - K)
    yield sp.expand(of["lead"] * c * mu - root**2)


def overrun(servers: int, taken: int, limit: int, rate: float, before: float, budget: float) -> tuple[float, float]:
    """P(T > D) with the limit from τ before the stop on, and P(T_q > D), from the laws of numbers present."""
    law = of_number
    beyond, none_waits = (
        sp.lambdify((law.c, law.k, law.mu, law.t), law.cdf, "mpmath"),
        sp.lambdify((law.m, law.mu, law.t), law.free, "mpmath"),
    )

    def late(present: int) -> mpmath.mpf:
        at = mpmath.mpf(rate), mpmath.mpf(budget)
        return 1 - (beyond(servers, present - servers, *at) if present > servers else none_waits(present, *at))

    with mpmath.workdps(50):
        expected = servers * mpmath.mpf(rate) * mpmath.mpf(before)
        ends = [mpmath.exp(-expected) * expected**k / mpmath.factorial(k) for k in range(taken - limit)]
        found = sum(one * late(taken - k) for k, one in enumerate(ends)) + (1 - sum(ends)) * late(limit)
        return float(found), float(late(limit))


def solver(of: Derivation) -> Iterator[float]:
    rng = random.Random(SEED)
    mean_of = of.lambdified("mean", K, q, c, mu, tau)
    for _ in range(5):
        servers, rate = rng.randint(1, 6), rng.uniform(1.0, 1e3)
        limit = servers + rng.randint(0, 8)
        taken = limit + rng.randint(1, 20)
        before, budget = (rng.uniform(0.3, 1.5) * span / (servers * rate) for span in (taken - limit, limit + servers))
        engine = qt.Engine([qt.Disk(qt.Closed(taken), buffer=taken)], qt.Device(servers, qt.Exponential(1 / rate)))
        found = qt.drain_time(engine, qt.DepthSchedule([(-before, limit)]))
        yield relative(found.mean, float(mean_of(taken - limit, limit, servers, rate, before)))
        yield relative(found.sf(budget), overrun(servers, taken, limit, rate, before, budget)[0])


def throughput(of: Derivation) -> Iterator[float]:
    """What the solver loses under the limit."""
    rng = random.Random(SEED)
    lost_of = of.lambdified("lost", q, c, mu)
    for _ in range(6):
        servers, limit, rate = rng.randint(2, 20), rng.randint(1, 25), rng.uniform(1.0, 1e3)
        engine = qt.Engine([qt.Disk(qt.Closed(40), buffer=40)], qt.Device(servers, qt.Exponential(1 / rate)))
        held = qt.solve(limited_engine(engine, qt.DepthLimit(limit))).throughput
        yield relative(qt.solve(engine).throughput - held, float(lost_of(limit, servers, rate)))


def enough(of: Derivation) -> Iterator[float]:
    """With the lead for δ, by how much P(T > D) exceeds that of a limit held for long and δ, relative to δ."""
    lead_of = of.lambdified("lead", K, z, c, mu)
    for servers, taken, limit in ((1, 30, 5), (4, 60, 12), (8, 200, 40)):
        for spare in (0.01, 0.001):
            quantile = mpmath.sqrt(2) * mpmath.erfinv(1 - 2 * mpmath.mpf(spare))
            before = float(lead_of(taken - limit, quantile, servers, 1.0))
            found, held = overrun(servers, taken, limit, 1.0, before, 1.5 * limit / servers)
            yield max(found - held - spare, 0.0) / spare
            yield max(held - found, 0.0)


DERIVATION = Derivation(
    name="limit_lead",
    title="How long before the stop a depth limit must begin",
    statement=r"""
        Let saturated guests have $q+K$ requests taken before $c\le q$ servers of rate $\mu$, and let no more be taken
        from $\tau$ before the stop on while more than $q$ are. The number taken at the stop is $\max(q+K-J,q)$, $J$
        Poisson with mean $x=c\mu\tau$, so that $P(T_q>D)\le P(T>D)\le P(T_q>D)+P(J<K)$; the mean drain is longer than
        that of $q$ by $E(K-J)^+$ over $c\mu$, and $\tau=(K+z^2/2+z\sqrt{K+z^2/4})/(c\mu)$ is enough for $P(J<K)$ to be
        about the normal probability beyond $z$. \emph{No throughput is lost meanwhile}, however early the limit begins.
    """,
    symbols={
        K: "requests taken beyond the limit when it begins",
        q: "limit",
        c: "servers",
        mu: "service rate of a server [1/s]",
        tau: "time from the beginning of the limit until the stop [s]",
        D: "budget: what the drain may take [s]",
        x: r"completions expected in $\tau$, $c\mu\tau$",
        j: "completions",
        z: "normal quantile",
        delta: "probability that the limit has not been reached by the stop",
    },
    assumptions=(
        r"Service is exponential, guests are saturated, and $q\ge c$.",
        "A limit stops the taking, not what was taken.",
    ),
    steps=(
        Step(
            r"""
            Under the limit as before it, all $c$ servers are busy until the stop, for $q\ge c$: completions come at the
            constant rate $c\mu$, a Poisson process, and the throughput is that without a limit. The number taken falls
            by each of them until it is $q$, where it stays. So it is $\max(q+K-J,q)$: a drain from it is never shorter
            than one from $q$, and is that where $J\ge K$.

            Of $K$ requests $K-J$ are left over, if that is positive. The mean, summed over $j<K$ with
            $\gamma(K,x)=(K-1)\gamma(K-1,x)-x^{K-1}e^{-x}$, is
            """,
            excess,
        ),
        Step(r"whose derivative in $x$ is $-P(J<K)$:", fall),
        Step(
            r"Each of them takes $1/(c\mu)$ more, all servers being busy (section~\ref{derivation:drain_exponential}):",
            mean,
        ),
        Step(
            r"""
            $J$ is nearly normal with mean and variance $x$: $K=x-z\sqrt x$ is a quadratic equation in $\sqrt x$. Its
            positive root, and the lead,
            """,
            sp.Eq(sp.sqrt(x), root),
            sp.Eq(tau, lead),
        ),
        Step(
            r"""
            If the moment of the stop is not known, the limit must begin so long before the earliest, and holds for
            longer. With $q\ge c$ that costs nothing. A limit below $c$, such as one request at a time, costs each
            second that it holds, requests
            """,
            lost,
        ),
    ),
    formulas={"mean": mean, "lead": lead, "lost": lost},
    checks=(
        Check(r"The mean excess, term by term for $K\le5$, its limits and how it falls; and the lead.", sums),
        Check("Mean and law are the solver's, for a limit that begins so long before the stop.", solver, CLOSE),
        Check("A limit costs so much of the solver's throughput, below $c$ and not below.", throughput, CLOSE),
        Check(r"With the lead $P(T>D)$ is at most $P(T_q>D)+\delta$, in the cases tried.", enough, 1e-9),
    ),
)
