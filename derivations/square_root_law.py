r"""Below saturation: Q = a + β √(a z), the square-root law (Halfin and Whitt 1981).

With a highly parallel device slots are servers. Erlang's B, as an integral, gives its own limit at a + β √a servers;
C follows, and with it the delay probability that β decides. N disks together need β √(N a) of margin, apart N β √a.
Peaked arrivals are taken z at a time (Hayward's approximation, Fredericks 1980), which makes the margin √z as large.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import sympy as sp

import qtheory as qt
from derivations import blocking
from derivations.derivation import CLOSE, SEED, Check, Derivation, Step, relative
from qtheory.stations import erlang_b, erlang_c, halfin_whitt, hayward, square_root_staffing

N = sp.Symbol("N", integer=True, positive=True)
K = sp.Symbol("K", integer=True, positive=True)
c = sp.Symbol("c", integer=True, positive=True)
k = sp.Symbol("k", integer=True, nonnegative=True)
a, u, r, beta, Q, z, B = sp.symbols("a u r beta Q z B", positive=True)
t = sp.Symbol("t", positive=True)

# 1/B = Σ_k c!/(c−k)! a^{−k}: each term as an integral, and their sum by the binomial theorem.
one_term = sp.simplify(sp.integrate(a * sp.exp(-a * t) * t**k, (t, 0, sp.oo)))
binomial = sp.summation(sp.binomial(c, k) * t**k, (k, 0, c)).args[0].expr

# The integrand at c = a + β√a, with t = u/√a: r stands for √a.
exponent = sp.limit(-r * u + (r**2 + beta * r) * sp.log(1 + u / r), r, sp.oo)
integral = sp.simplify(sp.integrate(sp.exp(exponent), (u, 0, sp.oo)))

# M/M/c: weights up to c add up to w/B, those from c on to w/(1 − ρ).
w = sp.Symbol("w", positive=True)
rho = a / c
delay = sp.factor(sp.cancel((w / (1 - rho)) / (w / B - w + w / (1 - rho))))
whole = sp.Symbol("I", positive=True)
inverse = sp.limit(1 / delay.subs(B, 1 / (r * whole)).subs(a, r**2).subs(c, r**2 + beta * r), r, sp.oo)
delay_limit = 1 / sp.expand(inverse).subs(whole, integral)

alone = a + beta * sp.sqrt(a)
together = alone.subs(a, N * a)
wasted = sp.factor(N * alone - together)
margin_share = sp.simplify((together - N * a) / (N * (alone - a)))
rings = sp.simplify((N * K - N * a) / (together - N * a))
(peaked,) = sp.solve(sp.Eq(Q / z, alone.subs(a, a / z)), Q)
peaked = sp.expand(peaked)


def erlang(d: Derivation) -> Iterator[sp.Expr]:
    """The integral for whole numbers of servers, against the sum, and C from the weights of M/M/c."""
    for servers in range(1, 6):
        found = sp.integrate(sp.expand(a * sp.exp(-a * t) * binomial.subs(c, servers)), (t, 0, sp.oo))
        lost = blocking.DERIVATION["loss"].subs({blocking.K: servers, blocking.a: a}).doit()
        yield sp.cancel(1 / found - lost)
        busy = a**servers / sp.factorial(servers) / (1 - a / servers)
        weights = sum(a**m / sp.factorial(m) for m in range(servers)) + busy
        yield sp.cancel(busy / weights - d["delay"].subs(B, lost).subs(c, servers))


def margins(d: Derivation) -> Iterator[sp.Expr]:
    yield d["peaked"].subs(z, 1) - alone
    yield d["wasted"] - (N * d["peaked"] - d["peaked"].subs(a, N * a)).subs(z, 1)
    yield d["wasted"] / (N * (alone - a)) - (1 - 1 / sp.sqrt(N))
    yield a + d["rings"] * beta * sp.sqrt(a / N) - K
    yield sp.limit(d["delay_limit"], beta, 0) - 1
    yield sp.limit(d["delay_limit"], beta, sp.oo)


def library(d: Derivation) -> Iterator[float]:
    rng = random.Random(SEED)
    exact, in_limit = d.lambdified("delay", B, c, a), d.lambdified("delay_limit", beta)
    slots = d.lambdified("peaked", a, beta, z)
    for _ in range(20):
        load, margin, variability = rng.uniform(1.0, 200.0), rng.uniform(0.05, 3.0), rng.uniform(0.5, 8.0)
        servers = math.ceil(load + margin * math.sqrt(load))
        lost = erlang_b(servers=servers, load=load)
        yield relative(erlang_c(servers=servers, load=load), float(exact(lost, servers, load)))
        alpha = float(in_limit(margin))
        yield relative(halfin_whitt(margin), alpha)
        found = square_root_staffing(load=load, delay_probability=alpha, peakedness=variability)
        yield relative(found, float(slots(load, margin, variability)))
        half = hayward(servers=found, load=load, peakedness=variability)
        whole = found / variability
        yield relative(half, erlang_b(servers=whole, load=load / variability))


def engine(d: Derivation) -> Iterator[float]:
    """Disks before one device with buffers that hardly ever fill: P(wait > 0) by the solver."""
    rng = random.Random(SEED)
    exact, lost = d.lambdified("delay", B, c, a), blocking.DERIVATION.lambdified("loss", blocking.K, blocking.a)
    for _ in range(5):
        disks, servers = rng.randint(1, 6), rng.randint(1, 12)
        load = servers * rng.uniform(0.3, 0.7)
        disk = qt.Disk(qt.Poisson(load / disks), buffer=150)
        solved = qt.solve(qt.Engine([disk] * disks, qt.Device(servers, qt.Exponential(mean=1.0))))
        yield relative(solved.delay_probability, float(exact(lost(servers, load), servers, load)))


def order_of_error(d: Derivation) -> Iterator[float]:
    """C at a + β√a, from its limit: how much less off with four times the load."""
    for margin in (0.25, 1.0, 2.0):
        target = float(d.lambdified("delay_limit", beta)(margin))
        off = [
            erlang_c(servers=load + margin * math.sqrt(load), load=load) - target for load in (400.0, 1600.0, 6400.0)
        ]
        yield off[1] / off[0] - 0.5
        yield off[2] / off[1] - 0.5


DERIVATION = Derivation(
    name="square_root_law",
    title="The square-root law",
    statement=r"""
        Let requests of total load $a$ find $Q$ slots, each a server. With $Q=a+\beta\sqrt a$ and $a\to\infty$, the
        probability of a wait tends to $1/(1+\beta\,\Phi(\beta)/\varphi(\beta))$, $\beta>0$. So for the same delay
        probability $N$ equal disks need a margin of $\beta\sqrt{Na}$ together and of $N\beta\sqrt a$ apart: the margin
        of each shrinks as $1/\sqrt N$. Arrivals of peakedness $z$ need, approximately, $\sqrt z$ times the margin.
    """,
    symbols={
        N: "disks",
        a: "offered load of one disk, arrival rate times mean service time [erlangs]",
        K: "ring of a disk, the requests it may have outstanding",
        c: "servers: the slots $Q$",
        Q: "slots",
        beta: r"margin above the load, in units of $\sqrt a$",
        B: "Erlang's B, the blocking with $c$ servers and no room to wait",
        z: "peakedness: variance over mean of the number in service, were there servers without end",
        whole: r"the limit of $1/(rB)$",
        w: "weight $a^c/c!$ of all servers busy and nothing waiting",
        k: "requests in service",
        t: "argument of the integral",
        u: r"the same, $t\sqrt a$",
        r: r"$\sqrt a$",
    },
    assumptions=(
        "Poisson arrivals, exponential service, buffers that do not fill; a device that serves all slots at once.",
        r"""Peaked arrivals: Hayward's approximation, by which $Q$ servers offered the load $a$ at peakedness $z$ are
        $Q/z$ servers offered $a/z$ by a Poisson stream.""",
    ),
    steps=(
        Step(
            r"""
            With $c$ servers $1/B=\sum_{k\le c}\frac{c!}{(c-k)!}a^{-k}$, by Erlang's formula. The factor $k!\,a^{-k}$
            in each term is an integral,
            """,
            sp.Eq(sp.Integral(a * sp.exp(-a * t) * t**k, (t, 0, sp.oo)), one_term),
        ),
        Step(r"and $\sum_k\binom ckt^k$ is", binomial),
        Step(
            r"""
            so that $1/B=a\int_0^\infty e^{-at}(1+t)^c\,dt$, which is B for real $c$ also. Let $c=a+\beta\sqrt a$,
            $t=u/r$ with $r=\sqrt a$: then $1/(rB)$ is the integral over $u$ of the exponential of $-ru+(r^2+\beta
            r)\log(1+u/r)$, which tends to
            """,
            exponent,
        ),
        Step(
            r"""
            For $\beta\ge0$ it is at most $\beta u-u^2/(2(1+u/r))$, as $\log(1+x)\le x-x^2/(2(1+x))$; that falls as $r$
            grows and from $r>2\beta$ on has an integrable exponential, so the integrals converge to that of the limit:
            """,
            sp.Eq(sp.Limit(1 / (sp.sqrt(a) * B), a, sp.oo), integral),
        ),
        Step(
            r"""
            This is $\Phi(\beta)/\varphi(\beta)$. Where requests may wait, the weights of up to $c$ present add up to
            $w/B$, and those of $c$ and more to $w/(1-a/c)$. The probability of the latter is Erlang's C,
            """,
            delay,
        ),
        Step(r"With B from its limit and $c=a+\beta\sqrt a$ this tends to", delay_limit),
        Step(
            r"""
            The limit falls from 1 to 0 as $\beta$ grows, so that a delay probability decides $\beta$. One disk needs
            the first number of slots, $N$ disks together the second, and dividing the queue wastes the third:
            """,
            alone,
            together,
            wasted,
        ),
        Step("The margin together, as a fraction of the margins apart, is", margin_share),
        Step(
            r"""
            The sum of the rings, $NK$, has a margin above the load that is larger than the one together by the factor
            """,
            rings,
        ),
        Step(
            r"""
            without bound as disks are added. \emph{Peaked arrivals,} by Hayward's approximation:
            """,
            sp.Eq(Q / z, alone.subs(a, a / z), evaluate=False),
            sp.Eq(Q, peaked),
        ),
    ),
    formulas={"delay": delay, "delay_limit": delay_limit, "peaked": peaked, "wasted": wasted, "rings": rings},
    checks=(
        Check("The integral is Erlang's sum, and C has the weights of M/M/$c$, for up to 5 servers.", erlang),
        Check(
            r"Poisson arrivals; $1-1/\sqrt N$ of the margins is wasted; the rings; $\beta\to0$ and $\beta\to\infty$.",
            margins,
        ),
        Check(
            r"""\texttt{erlang\_c}, \texttt{halfin\_whitt}, \texttt{square\_root\_staffing} and \texttt{hayward} at
            random loads.""",
            library,
            CLOSE,
        ),
        Check("Delay probability of up to 6 disks by the solver, with buffers of 150.", engine, CLOSE),
        Check(
            "The error of the limit halves as the load grows fourfold, from 400 to 6400 erlangs.", order_of_error, 0.05
        ),
    ),
)
