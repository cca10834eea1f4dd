r"""
Drain with exponential service: logarithmic in the number present while servers are free, linear beyond.

With n present the completions follow each other at the rates min(j, c)μ, j = n, n − 1, ..., 1, whatever came before:
the drain is the sum of (n − c)^+ exponentials of rate cμ and the longest of min(n, c) exponentials of rate μ.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import mpmath
import sympy as sp

import qtheory as qt
from derivations import kiefer_wolfowitz_drain
from derivations.derivation import CLOSE, SEED, Check, Derivation, Step, relative

n, m, b, i = sp.symbols("n m b i", integer=True, nonnegative=True)
c, j, k = sp.symbols("c j k", integer=True, positive=True)
mu, lam, a, s, t, x, theta, rate, p = sp.symbols("mu lambda a s t x theta r p", positive=True)
y, omega, apart = sp.symbols("y omega delta", real=True, nonzero=True)
many = sp.Symbol("kappa", positive=True)

# Cumulants of a completion's time at the rate jμ, from the log of its transform, and their sums.
log_transform = sp.log(j * mu / (j * mu + s))
mean_of_one, variance_of_one = (sp.simplify((-1) ** r * sp.diff(log_transform, s, r).subs(s, 0)) for r in (1, 2))
mean_free, variance_free = (sp.summation(one, (j, 1, m)) for one in (mean_of_one, variance_of_one))
waiting, busy = sp.Max(n - c, 0), sp.Min(n, c)
mean = waiting * mean_of_one.subs(j, c) + mean_free.subs(m, busy)
variance = waiting * variance_of_one.subs(j, c) + variance_free.rewrite(sp.polygamma).subs(m, busy)

# The longest of m exponentials, its quantile, and its limit.
free = (1 - sp.exp(-mu * t)) ** m
free_quantile = sp.solve(sp.Eq(sp.exp(-mu * t), x), t)[0].subs(x, 1 - p ** (1 / m))
gumbel = sp.limit((1 - sp.exp(-y) / many) ** many, many, sp.oo)
euler = sp.limit(sp.harmonic(m) - sp.log(m), m, sp.oo)
normal = sp.limit(-many * sp.log(1 - sp.I * omega / sp.sqrt(many)) - sp.I * omega * sp.sqrt(many), many, sp.oo)

# k completions at the rate cμ end at x; then come the longest of c, its binomial series term by term.
gamma_density = (c * mu) ** k * x ** (k - 1) / sp.factorial(k - 1) * sp.exp(-c * mu * x)
weight = sp.binomial(c, i) * (-1) ** i
of_x = x ** (k - 1) * sp.exp(-rate * x)
factor = sp.simplify(gamma_density * sp.exp(-i * mu * (t - x)) / of_x.subs(rate, (c - i) * mu))
integral = sp.integrate(of_x, (x, 0, t)).subs(sp.gamma(k + 1), k * sp.gamma(k))
term = sp.powsimp(factor * integral.subs(rate, (c - i) * mu)).subs(sp.factorial(k - 1), sp.gamma(k))
last = sp.gammasimp(factor.subs(i, c) * sp.integrate(x ** (k - 1), (x, 0, t)))
cdf = sp.Sum(weight * term, (i, 0, c - 1)) + (-1) ** c * last

# Stationary, all servers busy: a geometric number wait, each for a completion at the rate cμ.
g = sp.Symbol("g")
completion = c * mu / (c * mu + s)
(geometric,) = sp.solve(sp.Eq(g, 1 - lam / (c * mu) + lam / (c * mu) * completion * g), g)
until_last_starts = sp.factor(sp.simplify(geometric * completion))
spare = (c - a) * mu
busy_mean = 1 / spare + mean_free.subs(m, c - 1)
busy_square = 1 / spare**2 + variance_free.rewrite(sp.polygamma).subs(m, c - 1) + busy_mean**2
late_term = (
    theta * sp.exp(-i * mu * t) * sp.factor(sp.integrate(sp.exp(-apart * x), (x, 0, t))).subs(apart, theta - i * mu)
)
busy_cdf = sp.Sum(weight.subs(c, c - 1) * late_term.subs(theta, spare), (i, 0, c - 1))
all_busy = kiefer_wolfowitz_drain.all_busy.subs({kiefer_wolfowitz_drain.c: c, kiefer_wolfowitz_drain.a: a})


def averaged(of_free: sp.Expr, of_busy: sp.Expr) -> sp.Expr:
    """The stationary mean of what is `of_free` with m busy of c, and `of_busy` in the mean with all busy."""
    fewer = a**b / sp.factorial(b)
    total = sp.Sum(fewer, (b, 0, c - 1)) + all_busy
    return (sp.Sum(fewer * of_free.subs(m, b), (b, 0, c - 1)) + all_busy * of_busy) / total


stationary_mean = averaged(mean_free, busy_mean)
stationary_square = averaged(variance_free.rewrite(sp.polygamma) + mean_free**2, busy_square)
stationary_cdf = averaged(free, busy_cdf)


def forward_free(d: Derivation) -> Iterator[sp.Expr]:
    """P(T_m <= t) starts from 0 and changes at the rate mμ towards P(T_{m−1} <= t)."""
    found = d["free"].subs(m, m + 1)
    yield sp.diff(found, t) - (m + 1) * mu * (found.subs(m, m - 1) - found)
    yield d["free"].subs(m, 0) - 1
    yield sp.limit(d["free"].subs(m, 3), t, 0)
    yield sp.limit(d["free"].subs(m, 3), t, sp.oo) - 1


def forward(d: Derivation) -> Iterator[sp.Expr]:
    """The same beyond c, term by term for all k, c and i, and summed for few."""
    at = (c - i) * mu * t
    # γ(k, z) = (k − 1) γ(k − 1, z) − z^{k−1} e^{−z}
    lower = (k - 1) * sp.lowergamma(k - 1, at) - at ** (k - 1) * sp.exp(-at)
    for found in (term, last):
        change = sp.diff(found, t) - c * mu * (found.subs(k, k - 1) - found)
        yield sp.gammasimp(sp.expand(change.subs(sp.lowergamma(k, at), lower)))
    for servers in (1, 2, 3, 4):
        before = d["free"].subs(m, servers)
        for waits in (1, 2, 3):
            found = d["cdf"].subs({c: servers, k: waits}).doit()
            yield sp.expand(sp.expand_func(sp.diff(found, t) - servers * mu * (before - found)))
            before = found


def moments(d: Derivation) -> Iterator[sp.Expr]:
    """Integrals of P(T > t) and 2t P(T > t)."""
    for servers, present in ((1, 1), (2, 2), (4, 4), (1, 3), (2, 4), (3, 5)):
        if present <= servers:
            found = d["free"].subs(m, present)
        else:
            found = d["cdf"].subs({c: servers, k: present - servers}).doit()
        late = sp.expand(1 - sp.expand_func(found))
        first, second = (sp.integrate(sp.expand(weight * late), (t, 0, sp.oo)) for weight in (1, 2 * t))
        at = {n: present, c: servers}
        yield first - d["mean"].subs(at)
        yield second - first**2 - d["variance"].subs(at)


def workloads(_: Derivation) -> Iterator[sp.Expr]:
    """The transform of the largest workload by their density, integrated over the differences of workloads."""
    of = kiefer_wolfowitz_drain
    for servers in (1, 2, 3, 4):
        v, f = of.face(of.DERIVATION, servers, servers)
        gaps = sp.symbols(f"gap_1:{servers + 1}", positive=True)
        at = {one: sum(gaps[: place + 1]) for place, one in enumerate(v)}
        exponent = sp.expand_log(sp.log(f / of.lam**servers), force=True) - s * v[-1]
        exponent = sp.expand(exponent.subs(of.lam, servers * mu - theta).subs(at))
        found = sp.cancel(sp.prod([sp.integrate(sp.exp(exponent.coeff(gap) * gap), (gap, 0, sp.oo)) for gap in gaps]))
        expected = until_last_starts.subs({c: servers, lam: servers * mu - theta})
        expected *= sp.prod([j * mu / (j * mu + s) for j in range(1, servers)])
        yield sp.simplify(found / found.subs(s, 0) - expected)


def drained(d: Derivation) -> Iterator[float]:
    """Mean, variance, law and quantile of so many present."""
    rng = random.Random(SEED)
    mean_of, variance_of = (d.lambdified(name, n, c, mu) for name in ("mean", "variance"))
    quantile_of = d.lambdified("free_quantile", m, mu, p)
    free_of, cdf_of = d.lambdified("free", m, mu, t), d.lambdified("cdf", c, k, mu, t)
    for _ in range(4):
        servers, waits, service_rate = rng.randint(1, 12), rng.randint(1, 30), rng.uniform(1.0, 1e4)
        for present in (servers + waits, rng.randint(1, servers)):
            found = qt.drain_time(engine(servers, service_rate), population=present)
            yield relative(found.mean, float(mean_of(present, servers, service_rate)))
            yield relative(found.variance, float(variance_of(present, servers, service_rate)))
            at = mpmath.mpf(service_rate), mpmath.mpf(rng.uniform(0.5, 2.0) * found.mean)
            with mpmath.workdps(60):  # the terms cancel
                law = cdf_of(servers, waits, *at) if present > servers else free_of(present, *at)
                yield relative(found.sf(float(at[1])), float(1 - law))
            if present <= servers:
                yield relative(found.quantile(0.99), float(quantile_of(present, service_rate, 0.99)))


def stopped(d: Derivation) -> Iterator[float]:
    """The stationary drain; the library's disk has a buffer that is practically never full."""
    rng = random.Random(SEED)
    for _ in range(3):
        servers, service_rate = rng.randint(1, 10), rng.uniform(1.0, 1e4)
        load = servers * rng.uniform(0.2, 0.9)
        found = qt.drain_time(engine(servers, service_rate, load * service_rate))
        at = {
            c: servers,
            a: sp.Rational(load),
            mu: sp.Rational(service_rate),
            t: sp.Rational(rng.uniform(0.5, 3.0) * found.mean),
        }
        first, second, law = (
            sp.N(d[name].subs(at).doit(), 30) for name in ("stationary_mean", "stationary_square", "stationary_cdf")
        )
        yield relative(found.mean, float(first))
        yield relative(found.variance, float(second - first**2))
        yield relative(found.sf(float(at[t])), float(1 - law))


def engine(servers: int, service_rate: float, arrival_rate: float = 1.0) -> qt.Engine:
    return qt.Engine(
        [qt.Disk(qt.Poisson(arrival_rate), buffer=2000)], qt.Device(servers, qt.Exponential(1 / service_rate))
    )


DERIVATION = Derivation(
    name="drain_exponential",
    title="Drain with exponential service",
    statement=r"""
        Let $n$ requests be present at $c$ servers of rate $\mu$ when the stop comes. The mean drain time is
        $(n-c)^+/(c\mu)+H_{\min(n,c)}/\mu$ and its variance $(n-c)^+/(c\mu)^2+H^{(2)}_{\min(n,c)}/\mu^2$, with
        $H^{(r)}_m=\sum_{j\le m}j^{-r}$: \emph{logarithmic in the number present while servers are free, linear beyond}.
        Its law is $(1-e^{-\mu t})^n$ for $n\le c$, and otherwise the sum below. If requests come as a Poisson process
        of rate $\lambda<c\mu$ the stationary drain, with all servers busy, is the sum of an exponential of rate
        $c\mu-\lambda$ and of the longest of $c-1$ services.
    """,
    symbols={
        n: "requests present",
        c: "servers",
        m: "requests in service, where none waits",
        k: "requests that wait",
        b: "busy servers",
        i: "index of the binomial series",
        j: "requests left",
        mu: "service rate of a server [1/s]",
        lam: "arrival rate [1/s]",
        a: r"offered load $\lambda/\mu$",
        theta: r"$c\mu-\lambda$ [1/s]",
        s: "argument of a transform [1/s]",
        t: "time after the stop [s]",
        p: "a probability",
    },
    assumptions=(
        "Service is exponential, one rate for all; first come, first served.",
        "The number present is that of all requests the drain waits for.",
    ),
    steps=(
        Step(
            r"""
            With $j\le c$ left the next completion comes after an exponential time of rate $j\mu$, and with more than
            $c$ of rate $c\mu$, independent of all before. Its transform is $j\mu/(j\mu+s)$; the first two derivatives
            of the log of that at $s=0$, with their signs, are its mean and variance,
            """,
            mean_of_one,
            variance_of_one,
        ),
        Step("Times are independent, so both add up; over $j=1,\\dots,m$ they are", mean_free, variance_free),
        Step(r"and with the $(n-c)^+$ completions at the rate $c\mu$ before, the mean is", mean),
        Step(
            r"""
            As $\kappa$ grows the harmonic numbers are logarithmic, the log of the standardized transform of $\kappa$
            exponentials of one rate, at $s=-\mathrm i\omega$, is that of the normal law, and the longest of $\kappa$
            exponentials, less $\log\kappa$ of their means, has a law that no longer depends on $\kappa$:
            """,
            sp.Eq(sp.Limit(sp.harmonic(many) - sp.log(many), many, sp.oo), euler),
            normal,
            sp.Eq(sp.Limit((1 - sp.exp(-y) / many) ** many, many, sp.oo), gumbel),
        ),
        Step(
            r"""
            For $m\le c$ in service and none waiting the drain is the longest of $m$ exponentials; solved for $t$, its
            quantile at $p$ follows:
            """,
            free,
            sp.Eq(t, free_quantile),
        ),
        Step(
            r"""
            With $k$ waiting the servers are all busy until the $k$-th completion, at $x$, and what is left is the
            longest of $c$. Of $(1-e^{-\mu(t-x)})^c$ take the term $\binom ci(-1)^ie^{-i\mu(t-x)}$ times the density of
            $x$ and integrate over $0<x<t$: but for $\binom ci(-1)^i$ it gives, for $i<c$ and for $i=c$,
            """,
            term,
            last,
        ),
        Step(
            r"""
            In the stationary state, all servers busy, one more waits with probability $\lambda/(c\mu)$, whatever the
            number. So the transform $g$ of the time until none waits satisfies
            $g=1-\frac\lambda{c\mu}+\frac\lambda{c\mu}\frac{c\mu}{c\mu+s}\,g$. Solved, and with one completion more, it
            is
            """,
            sp.factor(geometric),
            until_last_starts,
        ),
        Step(
            r"""
            an exponential time, as for the workload $V_1$ of section~\ref{derivation:kiefer_wolfowitz_drain}; the
            longest of the $c-1$ services left is independent of it. Its binomial series, the $i$-th term without
            $\binom{c-1}i(-1)^i$, gives the law, and the cumulants the mean:
            """,
            late_term,
            sp.simplify(busy_mean.subs(a, c - theta / mu)),
        ),
    ),
    formulas={
        "mean": mean,
        "variance": variance,
        "free": free,
        "free_quantile": free_quantile,
        "cdf": cdf,
        "stationary_mean": stationary_mean,
        "stationary_square": stationary_square,
        "stationary_cdf": stationary_cdf,
    },
    checks=(
        Check(r"$(1-e^{-\mu t})^m$ solves the equations of the number left, for all $m$.", forward_free),
        Check(r"Mean and variance are the integrals of $P(T>t)$ and $2t\,P(T>t)$, for $n\le5$.", moments),
        Check("Mean, variance, law and quantile are the solver's for given numbers.", drained, CLOSE),
        Check("Stationary mean, variance and law are the solver's.", stopped, CLOSE),
        Check(
            r"So does the law beyond $c$, term by term for all $c$, $k$, $i$, and summed for $c\le4$, $k\le3$.", forward
        ),
        Check(
            r"The stationary drain, all servers busy, has the transform of the largest workload, for $c\le4$.",
            workloads,
        ),
    ),
)
