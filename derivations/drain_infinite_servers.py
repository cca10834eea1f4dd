r"""
Drain without waiting, M/G/∞: P(T <= t) = exp(−λ ∫_t^∞ P(S > u) du).

Requests never wait for each other, so each of a Poisson process of arrivals is still there t after the stop, or not,
independently: those that are there are Poisson, and the drain is over when they are none.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import sympy as sp

import qtheory as qt
from derivations.derivation import CLOSE, SEED, Check, Derivation, Step, relative

lam, m, mu, a, t, u, h, q = sp.symbols("lambda m mu a t u h q", positive=True)
n = sp.Symbol("n", integer=True, nonnegative=True)
c, r = sp.symbols("c r", integer=True, positive=True)
y = sp.Symbol("y", real=True)
left = sp.Symbol("R", nonnegative=True)

# n arrivals in the last h before the stop, each of which is there at t after it with probability q/h.
arrived = sp.exp(-lam * h) * (lam * h) ** n / sp.factorial(n)
none_left = sp.simplify(sp.summation(arrived * (1 - q / h) ** n, (n, 0, sp.oo)))
cdf = none_left.subs(q, left)

# The same from the number in service, of whom each has the residual law; with c servers the number is cut off.
number = sp.exp(-a) * a**n / sp.factorial(n)
by_number = sp.simplify(sp.summation(number * (1 - left / m) ** n, (n, 0, sp.oo)))
weight = a**n / sp.factorial(n)
lost = sp.Sum(weight * (1 - left / m) ** n, (n, 0, c)) / sp.Sum(weight, (n, 0, c))

# R(t) = ∫_t^∞ P(S > u) du of some laws.
LAWS = {
    "exponential": sp.exp(-u / m),
    "deterministic": sp.Piecewise((1, u < m), (0, True)),
    "Erlang, two phases": sp.exp(-2 * u / m) * (1 + 2 * u / m),
    "uniform to $2m$": sp.Piecewise((1 - u / (2 * m), u < 2 * m), (0, True)),
}
remaining = {name: sp.factor(sp.simplify(sp.integrate(late, (u, t, sp.oo)))) for name, late in LAWS.items()}

# Exponential service: P(T > t) as a series, its integrals term by term, and the mean as a function of the load.
exponential = cdf.subs(left, remaining["exponential"].subs(m, 1 / mu)).subs(lam, a * mu)
late = -((-a * sp.exp(-mu * t)) ** r) / sp.factorial(r)
mean_term, square_term = (sp.simplify(sp.integrate(sp.powsimp(w * late), (t, 0, sp.oo))) for w in (1, 2 * t))
growth = sp.simplify(sp.summation(sp.simplify(sp.diff(mean_term, a)), (r, 1, sp.oo)))
grown = sp.integrate(sp.expand(growth), a)
mean = sp.factor((grown - sp.limit(grown, a, 0)).replace(sp.Ei, lambda _: -sp.expint(1, a)))
square = sp.simplify(sp.summation(square_term, (r, 1, sp.oo)))
limit = sp.simplify(exponential.subs(t, (sp.log(a) + y) / mu))


def laws(_: Derivation) -> Iterator[sp.Expr]:
    """R falls at the rate P(S > t), from the mean; on both sides of where a law ends."""
    for name, late in LAWS.items():
        for at in (m / 2, 3 * m / 2, 5 * m / 2):
            yield sp.diff(remaining[name], t).subs(t, at) + late.subs(u, at)
        yield sp.simplify(remaining[name].subs(t, 0) - m)


def moments(d: Derivation) -> Iterator[sp.Expr]:
    """Start and growth of the mean in the load; the second moment grows by twice the mean over aμ, term by term."""
    yield sp.limit(d["mean"], a, 0)
    yield sp.simplify(sp.expand(sp.diff(d["mean"], a) - growth))
    yield sp.simplify(sp.diff(square_term, a) - 2 * mean_term / (a * mu))
    yield d["square"].subs(a, 0)


def solver(d: Derivation) -> Iterator[float]:
    """Engines with so many servers that none is ever busy in vain."""
    rng = random.Random(SEED)
    cdf_of, mean_of, square_of = (d.lambdified(*of) for of in (("cdf", lam, left), ("mean", a, mu), ("square", a, mu)))
    for service in (
        qt.Exponential(mean=rng.uniform(1e-4, 1.0)),
        qt.Erlang(phases=2, mean=rng.uniform(1e-4, 1.0)),
        qt.Hyperexponential.balanced(mean=rng.uniform(1e-4, 1.0), scv=4.0),
    ):
        load = rng.uniform(0.3, 1.0)
        found = qt.drain_time(engine(service, load, 24))
        for _ in range(3):
            at = rng.uniform(0.2, 4.0) * service.mean
            expected = 1 - cdf_of(load / service.mean, service.mean * float(service.residual().sf(at)))
            yield relative(found.sf(at), float(expected))
        if isinstance(service, qt.Exponential):
            first, second = (float(of(load, 1 / service.mean)) for of in (mean_of, square_of))
            yield relative(found.mean, first)
            yield relative(found.variance, second - first**2)


def solver_with_losses(d: Derivation) -> Iterator[float]:
    rng = random.Random(SEED)
    for service in (
        qt.Erlang(phases=3, mean=rng.uniform(1e-4, 1.0)),
        qt.Hyperexponential.balanced(mean=rng.uniform(1e-4, 1.0), scv=9.0),
    ):
        for servers in (1, 2, 5):
            load = servers * rng.uniform(0.5, 2.0)
            found, at = qt.drain_time(engine(service, load, servers)), rng.uniform(0.2, 3.0) * service.mean
            values = {a: load, c: servers, m: service.mean, left: service.mean * float(service.residual().sf(at))}
            yield relative(found.sf(at), float(1 - d["lost"].subs(values).doit()))


def engine(service: qt.Law, load: float, servers: int) -> qt.Engine:
    return qt.Engine([qt.Disk(qt.Poisson(load / service.mean), buffer=servers)], qt.Device(servers, service))


DERIVATION = Derivation(
    name="drain_infinite_servers",
    title="Drain without waiting: M/G/$\\infty$",
    statement=r"""
        Let requests come as a Poisson process of rate $\lambda$, be served at once, for times of any law with mean $m$,
        and let $R(t)=\int_t^\infty P(S>u)\,du$. The stationary drain time has the law $P(T\le t)=e^{-\lambda R(t)}$. If
        requests that find all of $c$ servers busy are lost, it is $\sum_{n\le
        c}\frac{a^n}{n!}(1-R(t)/m)^n\big/\sum_{n\le c}\frac{a^n}{n!}$. For exponential service $\mu T-\log a$ has the
        law $e^{-e^{-y}}$, $y>-\log a$, whatever the load: the drain grows with the logarithm of the load.
    """,
    symbols={
        lam: "arrival rate [1/s]",
        m: "mean service time [s]",
        mu: "service rate where service is exponential [1/s]",
        a: r"offered load $\lambda m$",
        t: "time after the stop [s]",
        left: r"$\int_t^\infty P(S>u)\,du$ [s]",
        u: "time before the stop at which a request came [s]",
        h: "time before the stop at which arrivals began [s]",
        q: r"$\int_0^hP(S>u+t)\,du$ [s]",
        n: "requests in service",
        c: "servers, where there are only so many",
        r: "index of a series",
        y: r"$\mu t-\log a$",
    },
    assumptions=(
        "Service times are independent of each other and of the arrivals, of any law with a mean.",
        "No request waits: there are always free servers, or requests that find none are lost.",
    ),
    steps=(
        Step(
            r"""
            Let arrivals begin $h$ before the stop. Given their number $n$, which is Poisson with mean $\lambda h$,
            their times are independent and uniform, so that each is in service $t$ after the stop with probability
            $\frac1h\int_0^hP(S>u+t)\,du=q/h$, independently. None is with probability $\sum_nP(n)(1-q/h)^n$,
            """,
            none_left,
        ),
        Step(r"and as $h\to\infty$, $q\to R(t)$: the law is", cdf),
        Step(
            r"""
            The number in service is Poisson, each with what is left of the residual law $R(t)/m$, for this gives the
            same when summed:
            """,
            by_number,
        ),
        Step(
            r"""
            With $c$ servers and losses, the number and what is left of each have the same joint law given that no more
            than $c$ are there (Sevast'yanov, 1957), which cuts both sums off at $c$. Of some laws $R(t)$ is:
            exponential, deterministic, Erlang with two phases, uniform up to $2m$,
            """,
            *remaining.values(),
        ),
        Step(
            r"For exponential service $P(T\le t)$ is what follows, and at $t=(\log a+y)/\mu$ the load cancels:",
            exponential,
            limit,
        ),
        Step(
            r"""
            As a series, $P(T>t)$ has the terms below, $r\ge1$, whose integrals, by themselves and times $2t$, are those
            of the two moments:
            """,
            late,
            mean_term,
            square_term,
        ),
        Step(
            "The derivative of the first in $a$, summed over $r$, is",
            sp.Eq(
                sp.Derivative(
                    sp.Symbol("E[T]"),
                    a,
                ),
                growth,
            ),
        ),
        Step(
            r"""
            which, integrated from $0$ at $a=0$, with $E_1(a)=\int_a^\infty e^{-z}dz/z$, gives the mean; the second
            moment is a hypergeometric series:
            """,
            sp.Eq(sp.Symbol("E[T]"), mean),
            sp.Eq(sp.Symbol("E[T^{2}]"), square),
        ),
    ),
    formulas={"cdf": cdf, "lost": lost, "mean": mean, "square": square},
    checks=(
        Check(r"$R$ falls at the rate $P(S>t)$ from $m$, for the laws shown.", laws),
        Check("Start and growth of both moments in the load.", moments),
        Check("Law and moments are the solver's, for exponential, Erlang and hyperexponential service.", solver, CLOSE),
        Check("So are the laws with losses, found from the chain of phases.", solver_with_losses, CLOSE),
    ),
)
