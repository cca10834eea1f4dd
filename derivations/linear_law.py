r"""One line before saturated devices: Q for a loss ε is linear in N, with a slope that K and ε decide.

The numbers at the devices are independent variables given their sum (`saturated_line.py`), so a local central limit
theorem gives the loss, and Q to the order of a constant. Endless rings have the slope (1 − ε)/ε; finite rings, by the
law of a truncated normal variable, the slope √K (t + ε√K) where t solves φ(t)/Φ(t) = ε√K.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import mpmath
import sympy as sp

import qtheory as qt
from derivations import saturated_line
from derivations.derivation import CLOSE, SEED, Check, Derivation, Step, relative, upright
from qtheory.sizing.closed_forms import one_line

N = sp.Symbol("N", integer=True, positive=True)
K = sp.Symbol("K", integer=True, positive=True)
m, v = sp.symbols("m v", positive=True)
kappa, excess, delta = sp.symbols("kappa kappa_4 delta", real=True)
h = sp.Symbol("h", positive=True)
y, epsilon, s, scv = sp.symbols("y varepsilon s c_s^2", positive=True)
t = sp.Symbol("t", real=True)
z = sp.Symbol("z", positive=True)


def log_density(distance: sp.Expr, one_over: sp.Expr) -> sp.Expr:
    """log of Edgeworth's density of a sum of 1/`one_over` copies at this distance from its mean, times √(2πv/h)."""
    u = distance * sp.sqrt(h / v)
    skewness, kurtosis = kappa / v ** sp.Rational(3, 2), excess / v**2
    third, fourth, sixth = (sp.hermite_prob(order, u) for order in (3, 4, 6))
    series = 1 + sp.sqrt(h) * skewness * third / 6 + h * (kurtosis * fourth / 24 + skewness**2 * sixth / 72)
    return (-(u**2) / 2 + sp.log(sp.expand(series))).subs(h, one_over)


# P(0 | sum of N is Nm + δ)/p(0): the density of N − 1 copies there over that of N, to the first order in h = 1/N.
quotient = log_density(delta + m, h / (1 - h)) - log_density(delta, h) - sp.log(1 - h) / 2
first_order = sp.expand(sp.diff(quotient, h).subs(h, 0))
offset = sp.expand(sp.solve(first_order, delta)[0])
queue_length = N * m + offset

# K without end: p is geometric, and its cumulants are the derivatives of the logarithm of its transform.
transform = sp.log((1 - y) / (1 - y * sp.exp(s)))
typical = {N: 2, epsilon: 0.5, scv: 1.0}
geometric = [
    upright(sp.factor(sp.diff(transform, s, order).subs(s, 0).subs(y, 1 - epsilon)), typical) for order in (1, 2, 3)
]
endless = upright(sp.factor(queue_length.subs(dict(zip((m, v, kappa), geometric, strict=True)))), typical)

# K large: n = z√K, and the weights become those of a normal law, tilted by t and cut off at 0.
exponent = sp.limit(-(z * sp.sqrt(K)) * (z * sp.sqrt(K) - 1) / (2 * K), K, sp.oo)
integral = sp.simplify(sp.integrate(sp.exp(t * z + exponent), (z, 0, sp.oo)))
at_zero = 1 / (sp.sqrt(K) * integral)
whole = sp.Symbol("I", positive=True)
derivative = sp.simplify(sp.diff(integral, t) - t * integral) + t * whole
(whole_at_loss,) = sp.solve(sp.Eq(1 / (sp.sqrt(K) * whole), epsilon), whole)
slope = sp.sqrt(K) * sp.expand(derivative / whole).subs(whole, whole_at_loss)
half_normal = sp.simplify(slope.subs(t, 0).subs(epsilon, at_zero.subs(t, 0)))

# Less regular service: what waits beyond those in service, and the room for it, on the scale of exponential service.
served = N * (1 - epsilon)
scaled = upright(sp.factor(served + scv * (endless - served)), typical)


def limits(d: Derivation) -> Iterator[sp.Expr]:
    """What the formulas become where they are known otherwise."""
    yield first_order.subs(delta, d["queue_length"] - N * m)
    yield d["endless"] - saturated_line.needed.subs({saturated_line.N: N, saturated_line.epsilon: epsilon})
    yield d["scaled"].subs(scv, 1) - d["endless"]
    # Small rings, or rather a small loss, against a large one: half a normal law between them.
    yield d["slope"].subs(t, 0).subs(epsilon, d["at_zero"].subs(t, 0)) - sp.sqrt(2 * K / sp.pi)
    found = d["slope"].subs(epsilon, d["at_zero"]) * d["at_zero"]
    yield sp.limit(sp.simplify(found.subs(K, 1)), t, -sp.oo) - 1


def cumulants(requests: int, loss: float) -> list[mpmath.mpf]:
    """The first three of p(n) ∝ y^n K!/(K − n)!, with y such that p(0) is the loss."""
    weights = [mpmath.mpf(1)]
    for present in range(requests):
        weights.append(weights[-1] * (requests - present))
    # Newton's method for log(1/p(0)) as a function of log y, which is convex, from above: K y < 1/p(0).
    tilt, step = (1 / mpmath.mpf(loss) - 1) / requests, mpmath.mpf(1)
    while step > mpmath.mpf(2) ** (3 - mpmath.mp.prec):
        value, derivative = mpmath.polyval(weights[::-1], tilt, derivative=True)
        step = mpmath.log(value * loss) * value / (tilt * derivative)
        tilt *= mpmath.exp(-step)
    law = [weight * tilt**present * loss for present, weight in enumerate(weights)]
    mean = mpmath.fsum(present * part for present, part in enumerate(law))
    return [mean, *(mpmath.fsum((present - mean) ** r * part for present, part in enumerate(law)) for r in (2, 3))]


def library(d: Derivation) -> Iterator[float]:
    rng = random.Random(SEED)
    formula = d.lambdified("queue_length", N, m, v, kappa)
    without_end = d.lambdified("scaled", N, epsilon, scv)
    with mpmath.workdps(50):
        for _ in range(10):
            disks, requests, loss = rng.randint(2, 64), rng.randint(8, 64), rng.uniform(0.01, 0.2)
            expected = formula(disks, *cumulants(requests, loss))
            yield relative(one_line(disks=disks, requests=requests, loss=loss), float(expected))
            variability = rng.uniform(0.1, 4.0)
            found = one_line(disks=disks, requests=None, loss=loss, scv=variability)
            yield relative(found, float(without_end(disks, loss, variability)))


def smallest(d: Derivation) -> Iterator[sp.Expr]:
    """The formula rounded up, against the least whole Q with which the solver loses at most the fraction."""
    formula = d.lambdified("queue_length", N, m, v, kappa)
    for disks, requests, loss in ((4, 256, 0.05), (8, 256, 0.05), (16, 256, 0.05), (16, 64, 0.01), (64, 32, 0.05)):
        disk = qt.Disk(qt.Closed(requests), buffer=requests, device=qt.Device(1, qt.Exponential(mean=1.0)))
        with mpmath.workdps(50):
            expected = math.ceil(formula(disks, *cumulants(requests, loss)))
        for slots, enough in ((expected - 1, False), (expected, True)):
            solved = qt.solve(qt.Engine([disk] * disks, queue_length=slots), method="saturated_line")
            yield sp.Integer((solved.throughput >= (1 - loss) * disks) != enough)


def order_of_error(d: Derivation) -> Iterator[float]:
    """With Q in proportion to N the formula, at the loss the solver gives, is as much less off as N is larger."""
    formula = d.lambdified("queue_length", N, m, v, kappa)
    for requests, each in ((16, 4), (32, 6)):
        off = []
        for disks in (16, 32, 64):
            disk = qt.Disk(qt.Closed(requests), buffer=requests, device=qt.Device(1, qt.Exponential(mean=1.0)))
            solved = qt.solve(qt.Engine([disk] * disks, queue_length=each * disks), method="saturated_line")
            with mpmath.workdps(50):
                loss = 1 - mpmath.mpf(solved.throughput) / disks
                off.append(float(formula(disks, *cumulants(requests, loss)) - each * disks))
        yield off[1] / off[0] - 0.5
        yield off[2] / off[1] - 0.5


def order_of_slope(d: Derivation) -> Iterator[float]:
    """At a fixed ε√K the slope's error, as a fraction of it, halves with four times the requests."""
    formula = d.lambdified("slope", K, t, epsilon)
    lost = d.lambdified("at_zero", K, t)
    for tilt in (-1.0, 0.0, 1.0):
        off = []
        for requests in (256, 1024):
            loss = lost(requests, tilt)
            with mpmath.workdps(30):
                mean = cumulants(requests, loss)[0]
            off.append(float(formula(requests, tilt, loss) / mean - 1))
        yield off[1] / off[0] - 0.5


DERIVATION = Derivation(
    name="linear_law",
    title="The linear law",
    statement=r"""
        Let $p(n)\propto y^nK!/(K-n)!$, $0\le n\le K$, with $y$ such that $p(0)=\varepsilon$, and $m$, $v$, $\kappa$
        its first three cumulants. Behind one line, $N$ saturated devices of one server lose the fraction $\varepsilon$
        of their throughput at $Q=Nm+\frac{v}{2m}-\frac m2-\frac{\kappa}{2v}+O(1/N)$. The slope $m$ is
        $(1-\varepsilon)/\varepsilon$ as $K\to\infty$ with $\varepsilon$ fixed, and asymptotically $\sqrt
        K\,(t+\varepsilon\sqrt K)$ as $K\to\infty$ with $\varepsilon\sqrt K$ fixed, where $t$ solves
        $\varphi(t)/\Phi(t)=\varepsilon\sqrt K$.
    """,
    symbols={
        N: "disks",
        K: "requests that each disk keeps outstanding",
        epsilon: "fraction of the throughput that is lost",
        y: "tilt of the law of one disk's requests at its device",
        m: "mean of that law",
        v: "its variance",
        kappa: "its third cumulant",
        excess: "its fourth cumulant",
        delta: r"distance of $Q$ from $Nm$",
        h: "$1/N$",
        s: "argument of transforms",
        z: r"requests over $\sqrt K$",
        t: r"tilt over $\sqrt K$",
        whole: "the integral over the cut-off normal law",
        scv: "squared coefficient of variation of service times",
    },
    assumptions=(
        "Those of the saturated line, with equal devices of one server.",
        r"The local central limit theorem with its expansion by Edgeworth holds for $p$, whose moments are all finite.",
        r"Service that is not exponential: an approximation, by the scale of Brownian motion in heavy traffic.",
    ),
    steps=(
        Step(
            r"""
            The numbers at the devices are independent with the law $p$, given that they add up to $Q$, and so for any
            $y$. A device idles with probability $p(0)\,P(S_{N-1}=Q)/P(S_N=Q)$, where $S_r$ is the sum of $r$ of them.
            Let $p(0)=\varepsilon$: then the loss is $\varepsilon$ if the quotient is 1. By Edgeworth's expansion at
            $Q=Nm+\delta$, the logarithm of the quotient vanishes as $h=1/N\to0$; its derivative by $h$ is there
            """,
            first_order,
        ),
        Step(
            r"""
            free of the fourth cumulant, which both densities share to this order. It vanishes as well, and the
            quotient is $1+O(1/N^2)$, at
            """,
            sp.Eq(delta, offset),
        ),
        Step("so that", queue_length),
        Step(
            r"""
            \emph{Without end to the requests} $p(n)=\varepsilon(1-\varepsilon)^n$ is geometric, with the cumulants
            """,
            *(sp.Eq(symbol, value) for symbol, value in zip((m, v, kappa), geometric, strict=True)),
        ),
        Step("from its transform. Then the expansion is", endless),
        Step(
            r"""
            which is the exact value. \emph{Many requests, $\varepsilon\sqrt K$ fixed.} With $n=z\sqrt K$, the
            logarithm of $\prod_{j<n}(1-j/K)$ is $-n(n-1)/(2K)+O(n^3/K^2)$, which tends to
            """,
            exponent,
        ),
        Step(
            r"""
            Tilted by $t$, and the sum replaced by $\sqrt K$ times an integral, the weights add up to $\sqrt K\,I(t)$
            with
            """,
            sp.Eq(whole, integral),
        ),
        Step(
            r"""
            (which is $\Phi(t)/\varphi(t)$), so that the loss is $\varepsilon=1/(\sqrt K\,I)$. The mean is $\sqrt
            K\,I'/I$ with
            """,
            sp.Eq(sp.Derivative(sp.Function("I")(t), t), derivative),
        ),
        Step("and $I$ eliminated by the loss,", sp.Eq(m, slope)),
        Step(
            r"""
            With $t=0$ the law is half a normal one and the slope is
            """,
            half_normal,
        ),
        Step(
            r"""
            As $\varepsilon\sqrt K\to\infty$, $t\to-\infty$ and the slope tends to $1/\varepsilon$; as
            $\varepsilon\sqrt K\to0$, it grows without end, as $\sqrt{2K\log(1/(\varepsilon\sqrt{2\pi K}))}$.

            \emph{Other service, approximately.} Near saturation the number at a device moves like Brownian motion,
            reflected where it idles, whose variance grows with $c_s^2$ (Harrison and Reiman 1981): in numbers $c_s^2$
            times as large it is that of exponential service. A disk has $Q/N-(1-\varepsilon)$ waiting at its device.
            Scaled by $c_s^2$, the answer without end to the requests is
            """,
            scaled,
        ),
    ),
    formulas={
        "queue_length": queue_length,
        "endless": endless,
        "at_zero": at_zero,
        "slope": slope,
        "scaled": scaled,
    },
    checks=(
        Check(
            r"""The expansion vanishes to first order; without end to the requests it is the exact value; $t=0$ and
            $t\to-\infty$ give the slopes $\sqrt{2K/\pi}$ and $1/\varepsilon$.""",
            limits,
        ),
        Check(r"\texttt{one\_line} is this $Q$, for finite rings, endless ones, and other service.", library, CLOSE),
        Check(
            """Rounded up, for 4 to 64 disks, it is the least $Q$ with which the solver loses no more: enough, and one
            less is not.""",
            smallest,
        ),
        Check(
            """The error of the expansion, at the loss by the solver with 16, 32 and 64 disks, halves as they
            double.""",
            order_of_error,
            0.03,
        ),
        Check(
            r"""The relative error of the slope, at $\varepsilon\sqrt K$ fixed and $K=256$ and 1024, halves as $K$
            grows fourfold.""",
            order_of_slope,
            0.03,
        ),
    ),
)
