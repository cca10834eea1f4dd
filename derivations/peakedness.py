r"""
Peakedness: how much more the number in service varies than under Poisson arrivals, were there always a server.

Arrivals enter through the variance of their counts only, and service through the law of S and of |S − S′|.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import sympy as sp

import qtheory as qt
from derivations.derivation import CLOSE, SEED, Check, Derivation, Step, relative
from qtheory.arrivals.peakedness import peakedness

t, u, x = sp.symbols("t u x", positive=True)
lam, mu, kappa, gamma = sp.symbols("lambda mu kappa gamma", positive=True)
V, rho = sp.Function("V"), sp.Function("rho")

# By parts twice: what is left at the ends, and the integral that has the derivatives of ρ.
once = V(u).diff(u) * rho(u) - V(u) * rho(u).diff(u)
remainder = sp.expand(sp.diff(once, u))


def correlated(tail: sp.Expr) -> sp.Expr:
    """ρ(u), of P(S > x)."""
    return sp.simplify(sp.integrate(sp.expand(tail * tail.subs(x, x + u)), (x, 0, sp.oo)))


def tails(phases: int) -> sp.Expr:
    """P(S > x) of so many exponential phases in a row, each of rate μ."""
    return sum((mu * x) ** i / sp.factorial(i) for i in range(phases)) * sp.exp(-mu * x)


def apart(phases: int) -> sp.Expr:
    """Density of |S − S′|, at u."""
    density = -sp.diff(tails(phases), x)
    return 2 * sp.simplify(sp.integrate(sp.expand(density * density.subs(x, x + u)), (x, 0, sp.oo)))


def mean(of: sp.Expr, density: sp.Expr) -> sp.Expr:
    return sp.integrate(sp.expand(of * density), (u, 0, sp.oo))


# Arrivals whose rate is random, with a covariance that decays: the variance of their counts, and J = V/(λt) − 1.
covariance = lam * kappa * sp.exp(-gamma * u)
variance = lam * t + 2 * sp.integrate((t - u) * covariance, (u, 0, t))
J = sp.simplify(variance / (lam * t) - 1)


def by_formula(phases: int, excess: sp.Expr) -> sp.Expr:
    """z − 1 where t J(t) is `excess`, at u."""
    density = -sp.diff(tails(phases), x).subs(x, u)
    services = mean(excess, density) - mean(excess, apart(phases)) / 2
    return sp.factor(sp.simplify(services / mean(u, density)))


def directly(phases: int) -> sp.Expr:
    """z − 1 of those arrivals: the number in service is Poisson, given the rate, and its mean varies."""
    return sp.factor(sp.simplify(2 * mean(covariance, correlated(tails(phases))) * mu / (lam * phases)))


growth = sp.expand(u * J.subs(t, u))
exponential, erlang = (1 + by_formula(phases, growth) for phases in (1, 2))
constant = 1 + J  # of services that all take t


def parts(of: Derivation) -> Iterator[sp.Expr]:
    """Twice by parts; and ρ″ is the density of S less half that of |S − S′|."""
    yield sp.expand(remainder - (V(u).diff(u, 2) * rho(u) - V(u) * rho(u).diff(u, 2)))
    for phases in (1, 2, 3):
        density = -sp.diff(tails(phases), x).subs(x, u)
        r = correlated(tails(phases))
        yield sp.simplify(sp.diff(r, u, 2) - density + apart(phases) / 2)
        yield sp.simplify(
            sp.integrate(sp.expand(tails(phases) * (1 - tails(phases))), (x, 0, sp.oo)) - mean(u, apart(phases)) / 2
        )
        # for V = λt + a t² + b t³: Var M − E M by the covariance of counts, V″/2, on both sides
        a, b = sp.symbols("a b")
        counts = a * u**2 + b * u**3
        found = 2 * mean(sp.diff(counts, u, 2) / 2, r)
        yield sp.simplify(found / (phases / mu) - by_formula(phases, counts))
    yield sp.simplify(of["constant"].subs(t, u) - 1 - growth / u)


def doubly(of: Derivation) -> Iterator[sp.Expr]:
    """Random rates: the same without the formula; and limits."""
    yield sp.simplify(of["exponential"] - 1 - directly(1))
    yield sp.simplify(of["erlang"] - 1 - directly(2))
    yield sp.simplify(sp.diff(lam * t * of["constant"], t, 2).subs(t, u) - 2 * covariance)
    yield sp.limit(of["exponential"], mu, sp.oo) - 1
    # Long services leave of J(∞) as much as 1 − ½ E|S − S′|/E S.
    ever = sp.limit(of["constant"], t, sp.oo) - 1
    for phases, name in ((1, "exponential"), (2, "erlang")):
        spread = mean(u, apart(phases)) / 2 / (phases / mu)
        yield sp.simplify(sp.limit(of[name], mu, 0) - 1 - ever * (1 - spread))


def drawn(rng: random.Random) -> tuple[qt.MAP, float, float, float]:
    """Two rates that alternate: the process, its mean rate, and κ and γ."""
    slow, fast = rng.uniform(0.5, 2.0), rng.uniform(2.0, 6.0)
    up, down = rng.uniform(0.2, 1.0), rng.uniform(0.2, 1.0)
    process = qt.MAP([[-slow - up, up], [down, -fast - down]], [[slow, 0.0], [0.0, fast]])
    chance = up / (up + down)
    rate = slow + chance * (fast - slow)
    return process, rate, chance * (1.0 - chance) * (fast - slow) ** 2 / rate, up + down


def solver(of: Derivation) -> Iterator[float]:
    """Index of dispersion of a Markovian process, and the number in service of as many servers as are ever needed."""
    rng = random.Random(SEED)
    constant_of = of.lambdified("constant", kappa, gamma, t)
    kinds = (1, of.lambdified("exponential", kappa, gamma, mu)), (2, of.lambdified("erlang", kappa, gamma, mu))
    for _ in range(2):
        process, rate, ratio, decay = drawn(rng)
        for at in (0.1, 1.0, 10.0):
            yield relative(process.dispersion(at), float(constant_of(ratio, decay, at)))
        for phases, z_of in kinds:
            load = rng.uniform(0.1, 0.2)
            of_phase = rate * phases / load
            service = qt.Exponential(1.0 / of_phase) if phases == 1 else qt.Erlang(2, 2.0 / of_phase)
            engine = qt.Engine([qt.Disk(process, buffer=16)], qt.Device(16, service))
            pmf = qt.solve(engine).in_system_pmf
            n = np.arange(len(pmf))
            first = float(pmf @ n)
            found = float(pmf @ (n - first) ** 2) / first
            yield relative(found, float(z_of(ratio, decay, of_phase)))


def quadrature(of: Derivation) -> Iterator[float]:
    """The library's integral over quantiles, of I(t) at windows; a constant service asks for I(t) at one."""
    rng = random.Random(SEED)
    for _ in range(3):
        process, _, ratio, decay = drawn(rng)
        per_phase = rng.uniform(0.5, 5.0)
        for name, phases in (("exponential", 1), ("erlang", 2)):
            expected = float(of.lambdified(name, kappa, gamma, mu)(ratio, decay, per_phase))
            service = qt.Exponential(1.0 / per_phase) if phases == 1 else qt.Erlang(2, 2.0 / per_phase)
            yield relative(process.peakedness(service) - 1.0, expected - 1.0)


def windows(of: Derivation) -> Iterator[float]:
    """Services of which each takes as long as a window."""
    rng = random.Random(SEED)
    constant_of = of.lambdified("constant", kappa, gamma, t)
    for _ in range(4):
        process, _, ratio, decay = drawn(rng)
        at = np.array([0.5, 1.0, 2.0])
        found = peakedness(qt.Deterministic(1.0), at, process.dispersion(at))
        yield relative(found, float(constant_of(ratio, decay, 1.0)))


DERIVATION = Derivation(
    name="peakedness",
    title="Peakedness",
    statement=r"""
        Let arrivals be stationary of rate $\lambda$, come singly and have counts of variance $V(t)=\lambda t\,I(t)$ in
        a time $t$; let every request be served at once for a time of its own, $S$, $S'$ independent of one law, and
        $M$ be how many are in service. With $J=I-1$,
        $z=\mathrm{Var}\,M/E\,M=1+\bigl(E[S\,J(S)]-\frac12E[|S-S'|\,J(|S-S'|)]\bigr)/E\,S$.
    """,
    symbols={
        lam: "arrival rate [1/s]",
        V: "variance of the number of arrivals in a time [1]",
        t: "length of a time [s]",
        x: "time since a request came [s]",
        u: "time between two arrivals [s]",
        rho: r"$\rho(u)=\int P(S>x)P(S>x+u)\,dx$ [s]",
        mu: "rate of an exponential service, or of each of two phases [1/s]",
        kappa: "variance of a random arrival rate over its mean [1/s]",
        gamma: "rate at which its covariance decays [1/s]",
    },
    assumptions=(
        r"Arrivals are stationary and orderly; $V$ and $V'$ grow at most like powers of $t$.",
        "Service times are independent of each other and of the arrivals, and have a second moment.",
        "There is always a server.",
    ),
    steps=(
        Step(
            r"""
            Given the arrivals, each is still there with probability $\bar F(x)=P(S>x)$ at age $x$. The variance of that
            adds up to $\lambda\int\bar F(1-\bar F)\,dx=\frac\lambda2E|S-S'|$. That of the conditional mean is
            $\int\!\!\int\bar F(x)\bar F(y)\,\mathrm{Cov}(dN(x),dN(y))$, where the covariance is the second derivative
            of $\frac12V(|x-y|)$, the kink at $0$ included. With $\rho$ that is, over $u=|x-y|$, the integral of
            $V''\rho$, and $V'(0)\rho(0)$ of the kink. Of
            """,
            once,
        ),
        Step("the derivative is", remainder),
        Step(
            r"""
            and it is $-V'(0)\rho(0)$ at $0$, for $V(0)=0$, and $0$ at the end: together they are $\int_0^\infty
            V\rho''\,du$. And $\rho(u)=E\min(S,S'-u)^+$, so that $\rho''$ is the density of $S$ less half that of
            $|S-S'|$. So $\mathrm{Var}\,M=\frac\lambda2E|S-S'|+E\,V(S)-\frac12E\,V(|S-S'|)$, and with $E\,M=\lambda
            E\,S$ the formula stated. For an exponential service $\rho$, and the density of $|S-S'|$,
            which is that of $S$, are
            """,
            correlated(tails(1)),
            apart(1),
        ),
        Step("and for two phases", correlated(tails(2)), apart(2)),
        Step(
            r"""
            \emph{Example.} Let a random rate have the covariance $\lambda\kappa e^{-\gamma u}$, as of two states that
            alternate. The variance of counts and $J$ are
            """,
            sp.Eq(V(t), variance),
            J,
        ),
        Step(r"For constant services $|S-S'|=0$ and $z=I(S)$. For exponential ones $z$ is", exponential),
        Step("and for two phases", erlang),
    ),
    formulas={"constant": constant, "exponential": exponential, "erlang": erlang},
    checks=(
        Check(
            "For two alternating rates these are the solver's dispersion, and variance over mean of busy servers.",
            solver,
            CLOSE,
        ),
        Check(r"\texttt{peakedness} of constant services is $I$.", windows, CLOSE),
        Check(
            r"By parts; $\rho''$ for one to three phases; and the formula for all $V$ of the third degree.",
            parts,
        ),
        Check("For the random rate the covariance of the conditional mean gives the same; limits.", doubly),
        Check(r"\texttt{MAP.peakedness} has $z-1$, by quadrature.", quadrature, 1e-3),
    ),
)
