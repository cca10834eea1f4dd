r"""
Drain before one server, M/G/1: the workload, by Pollaczek's and Khinchine's transform.

With one server the largest workload is the only one, and it is all the work present: what drains is what a request that
came now would wait.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import sympy as sp

import qtheory as qt
from derivations import drain_exponential as many
from derivations.derivation import CLOSE, SEED, Check, Derivation, Step, relative, upright
from qtheory.stations.mg1 import mg1_wait_moments

lam, m, m2, m3, mu, s, t, d, dt = sp.symbols("lambda m m_2 m_3 mu s t d epsilon", positive=True)
k = sp.Symbol("k", integer=True, nonnegative=True)
p, mu1, mu2 = sp.symbols("p mu_1 mu_2", positive=True)
phi, beta, empty, rho, residual = sp.symbols("varphi beta P_0 rho r", positive=True)

# A short time ε: no request comes, and what is left falls by ε unless there is nothing; or one comes.
later = (1 - lam * dt) * ((phi - empty) * sp.exp(s * dt) + empty) + lam * dt * phi * beta
balance = sp.diff(later, dt).subs(dt, 0)
(transform,) = sp.solve(balance, phi)

# P(empty) from φ(0) = 1, by the first terms of β; then the moments from the terms that follow.
series = 1 - m * s + m2 * s**2 / 2 - m3 * s**3 / 6
(found_empty,) = sp.solve(sp.limit(transform.subs(beta, series), s, 0) - 1, empty)
expanded = sp.series(transform.subs({beta: series, empty: found_empty}), s, 0, 3).removeO()
typical = {lam: 0.5, m: 1, m2: 2, m3: 6, rho: 0.5, residual: 0.5}
mean = upright(sp.factor(-expanded.coeff(s, 1)), typical)
square = upright(sp.factor(2 * expanded.coeff(s, 2)), typical)
variance = sp.factor(square - mean**2)
known = transform.subs(empty, found_empty)

# A geometric number of residual services: r = (1 − β)/(ms).
geometric = sp.factor(sp.simplify(known.subs(beta, 1 - m * s * residual)).subs(lam, rho / m))
geometric = upright(geometric, typical)
heavy = sp.limit(known.subs(beta, series).subs(lam, rho / m).subs(s, s * (1 - rho)), rho, 1)


def rational(service_transform: sp.Expr, service_mean: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """Numerator and denominator of the transform of P(T > t), (1 − φ)/s, where the service has a rational one."""
    of_time = (1 - known.subs({beta: service_transform, m: service_mean})) / s
    top, bottom = sp.fraction(sp.cancel(sp.together(of_time)))
    first = sp.Poly(bottom, s).LC()
    return sp.factor(top / first), sp.collect(sp.expand(bottom / first), s)


def inverted(top: sp.Expr, bottom: sp.Expr) -> sp.Expr:
    """The function with this rational transform, whose poles are simple."""
    change = sp.diff(bottom, s)
    return sum((top / change).subs(s, pole) * sp.exp(pole * t) for pole in sp.solve(bottom, s))


exponential = sp.simplify(inverted(*rational(mu / (mu + s), 1 / mu)))
hyper = rational(p * mu1 / (mu1 + s) + (1 - p) * mu2 / (mu2 + s), p / mu1 + (1 - p) / mu2)
hyperexponential = inverted(*hyper)

# Constant service: φ/s as a geometric series, term by term.
constant = sp.simplify((known / s).subs({beta: sp.exp(-s * d), m: d}))
shifted = (-lam) ** k / (s - lam) ** (k + 1)
unshifted = sp.laplace_transform(t**k * sp.exp(lam * t), t, s, noconds=True)
term = sp.simplify(shifted / unshifted) * (t**k * sp.exp(lam * t)).subs(t, t - k * d)
constant_cdf = (1 - lam * d) * sp.Sum(term, (k, 0, sp.floor(t / d)))


def summed(d_: Derivation) -> Iterator[sp.Expr]:
    """The geometric series whose terms are `shifted`, times e^{−skd}."""
    ratio = sp.simplify(shifted.subs(k, k + 1) / shifted) * sp.exp(-s * d)
    yield sp.simplify((1 - lam * d) * shifted.subs(k, 0) / (1 - ratio) - constant)


def crossings(of: Derivation) -> Iterator[sp.Expr]:
    """The level t is crossed downwards as often as upwards: the density there is λ E[...] of what jumps over it."""
    x = sp.Symbol("x", positive=True)
    for found, left, at in (
        (of["exponential"], sp.exp(-mu * t), {}),
        (
            of["hyperexponential"].subs({lam: sp.Rational(5, 6), p: sp.Rational(1, 2), mu1: 1, mu2: 3}),
            sp.exp(-t) / 2 + sp.exp(-3 * t) / 2,
            {lam: sp.Rational(5, 6)},
        ),
    ):
        density = sp.expand(-sp.diff(found, t))
        jumping = (1 - found.subs(t, 0)) * left
        jumping += sp.integrate(sp.expand(density.subs(t, x) * left.subs(t, t - x)), (x, 0, t))
        yield sp.simplify(sp.expand(density - lam.subs(at) * jumping))


def delays(of: Derivation) -> Iterator[sp.Expr]:
    """For constant service the crossings are F'(t) = λF(t) − λF(t − d), here term by term; and F(0) = 1 − ρ."""
    before = term.subs({k: k - 1, t: t - d}, simultaneous=True)
    change = (sp.diff(term, t) - lam * term + lam * before) / term
    yield sp.gammasimp(change.subs(t, s + k * d))
    yield sp.diff(term.subs(k, 0), t) - lam * term.subs(k, 0)
    yield of["constant_cdf"].subs(t, 0).doit() - (1 - lam * d)
    yield sp.simplify(term.subs(t, k * d)).subs(k, 3)  # a term begins at 0


def one_of_many(of: Derivation) -> Iterator[sp.Expr]:
    """The stationary drain of c servers, for one."""
    at = {many.c: 1, many.a: lam / mu, many.mu: mu, many.t: t}
    yield 1 - many.stationary_cdf.subs(at).doit() - of["exponential"]
    both = {m: 1 / mu, m2: 2 / mu**2, m3: 6 / mu**3}
    yield of["mean"].subs(both) - many.stationary_mean.subs(at).doit()
    yield of["square"].subs(both) - many.stationary_square.subs(at).doit()


def moments(of: Derivation) -> Iterator[float]:
    rng = random.Random(SEED)
    mean_of, square_of = of.lambdified("mean", lam, m, m2), of.lambdified("square", lam, m, m2, m3)
    for service in (
        qt.Lognormal(mean=rng.uniform(1e-4, 1.0), scv=4.0),
        qt.Weibull(mean=rng.uniform(1e-4, 1.0), scv=2.0),
        qt.Deterministic(rng.uniform(1e-4, 1.0)),
        qt.Gamma(mean=rng.uniform(1e-4, 1.0), scv=0.3),
    ):
        rate = rng.uniform(0.1, 0.95) / service.mean
        raw = [service.moment(order) for order in (1, 2, 3)]
        expected = mg1_wait_moments(arrival_rate=rate, service=service, order=2)
        yield relative([float(mean_of(rate, *raw[:2])), float(square_of(rate, *raw))], expected)


def solver(of: Derivation) -> Iterator[float]:
    """The drain of the engine, and the wait before a station without limit."""
    rng = random.Random(SEED)
    late_of = of.lambdified("hyperexponential", lam, p, mu1, mu2, t)
    mean_of, square_of = of.lambdified("mean", lam, m, m2), of.lambdified("square", lam, m, m2, m3)
    for _ in range(3):
        chance, means = rng.uniform(0.1, 0.9), [rng.uniform(1e-4, 1.0) for _ in range(2)]
        service = qt.Hyperexponential([chance, 1 - chance], means)
        rate = rng.uniform(0.1, 0.8) / service.mean
        found = qt.drain_time(qt.Engine([qt.Disk(qt.Poisson(rate), buffer=600)], qt.Device(1, service)))
        at = rng.uniform(0.3, 2.0) * found.mean
        expected = float(late_of(rate, chance, 1 / means[0], 1 / means[1], at))
        yield relative(found.sf(at), expected)
        yield relative(float(qt.stations.mg1(arrival_rate=rate, service=service).wait_sf(at)), expected)
        first = float(mean_of(rate, *(service.moment(order) for order in (1, 2))))
        second = float(square_of(rate, *(service.moment(order) for order in (1, 2, 3))))
        yield relative([found.mean, found.variance], [first, second - first**2])


def solver_constant(of: Derivation) -> Iterator[float]:
    rng = random.Random(SEED)
    for _ in range(4):
        each = rng.uniform(1e-4, 1.0)
        rate, at = rng.uniform(0.1, 0.9) / each, rng.uniform(0.1, 6.0) * each
        values = {lam: sp.Rational(rate), d: sp.Rational(each), t: sp.Rational(at)}
        expected = float(1 - sp.N(of["constant_cdf"].subs(values).doit(), 30))
        found = qt.stations.mg1(arrival_rate=rate, service=qt.Deterministic(each))
        yield relative(float(found.wait_sf(at)), expected)


DERIVATION = Derivation(
    name="drain_single_server",
    title="Drain before one server: M/G/1",
    statement=r"""
        Before one server the drain time is the workload, which is also the wait: in the stationary state its transform
        is $\varphi(s)=(1-\rho)s/(s-\lambda+\lambda\beta(s))$, $\beta$ that of the service time, $\rho=\lambda m<1$. Its
        mean is $\lambda m_2/(2(1-\rho))$, and $P(T>t)$ is a closed form for exponential, hyperexponential and constant
        service. As $\rho\to1$, $(1-\rho)T$ becomes exponential with mean $m_2/(2m)$.
    """,
    symbols={
        lam: "arrival rate [1/s]",
        m: "mean service time [s]",
        m2: "second moment of the service time [s$^2$]",
        m3: "third moment [s$^3$]",
        rho: r"utilization $\lambda m$",
        s: "argument of a transform [1/s]",
        phi: r"transform $E[e^{-sT}]$ of the drain time",
        beta: "transform of the service time",
        empty: "P(nothing is present)",
        residual: r"transform of the residual service time, $(1-\beta)/(ms)$",
        dt: "a short time [s]",
        t: "time after the stop [s]",
        mu: "service rate of exponential service [1/s]",
        p: "probability of the first of two exponentials",
        mu1: "its rate [1/s]",
        mu2: "rate of the second [1/s]",
        d: "constant service time [s]",
        k: "index of a series",
    },
    assumptions=(
        "Poisson arrivals; service times independent, of one law; nothing is lost.",
        r"""
        Any order of service that never idles: the workload does not depend on it. It is the wait if first come is first
        served.
        """,
    ),
    steps=(
        Step(
            r"""
            $E[e^{-sT}]$ a short time $\epsilon$ after a stationary moment is, if no request comes, that of what is left
            less $\epsilon$, or still nothing, and if one comes that of both together, but for $o(\epsilon)$:
            """,
            later,
        ),
        Step(
            r"It has not changed, so its derivative at $\epsilon=0$ is 0. That and, solved, the transform are",
            balance,
            transform,
        ),
        Step(
            r"""
            $\varphi(0)=1$ with $\beta=1-ms+m_2s^2/2-m_3s^3/6+\dots$ gives $P_0$ as the limit $s\to0$, and the terms
            that follow the mean and the second moment:
            """,
            sp.Eq(empty, found_empty),
            sp.Eq(sp.Symbol("E[T]"), mean),
            sp.Eq(sp.Symbol("E[T^{2}]"), square),
        ),
        Step(
            r"""
            In terms of the residual service it is that of a geometric number of residual services (Bene\v s, 1957), and
            with $s(1-\rho)$ for $s$ it tends to an exponential law's as $\rho\to1$:
            """,
            sp.Eq(phi, geometric),
            sp.Eq(sp.Limit(sp.Function("varphi")(s * (1 - rho)), rho, 1, "-"), sp.cancel(heavy)),
        ),
        Step(
            r"""
            Where $\beta$ is rational, so is $(1-\varphi)/s$, the transform of $P(T>t)$, which is then a sum of
            exponentials, one for each pole. For exponential service there is one, and $P(T>t)$ is
            """,
            exponential,
        ),
        Step("For two exponentials, mixed, there are two, the roots of", sp.Eq(hyper[1], 0)),
        Step(
            r"""
            For constant service $\varphi/s$, the transform of $P(T\le t)$, is what follows. As a geometric series it is
            $1-\lambda d$ times the sum over $k\ge0$ of the transforms below, each times $e^{-skd}$, a shift by $kd$;
            with the transform of $t^ke^{\lambda t}$ they are known:
            """,
            constant,
            shifted,
            unshifted,
        ),
        Step(r"So the law is (Erlang, 1909)", sp.Eq(sp.Symbol(r"P(T\leq t)"), constant_cdf)),
    ),
    formulas={
        "mean": mean,
        "square": square,
        "exponential": exponential,
        "hyperexponential": hyperexponential,
        "constant_cdf": constant_cdf,
    },
    checks=(
        Check("For one server the drain with exponential service is this one, with its moments.", one_of_many),
        Check(
            "Levels are crossed downwards as often as upwards, by exponential and hyperexponential service.",
            crossings,
        ),
        Check("The series of constant service has the sum that it should.", summed),
        Check("Its law solves the delay equation of the crossings, term by term.", delays),
        Check("The library's recursion gives the same moments, for service laws of four families.", moments, CLOSE),
        Check("Drain and wait are the solvers', for hyperexponential service.", solver, CLOSE),
        Check("So is the wait for constant service.", solver_constant, CLOSE),
    ),
)
