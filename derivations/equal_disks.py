r"""Equal disks: the power of one series, its recurrence and its limits.

The total of N equal disks needs the coefficients of G(x) = g(x)^N. They follow from each other at the cost of one
series (Euler's recurrence for powers), disks of closed guests with room for all their requests are one large guest,
and buffers of one slot make it a finite source (Engset 1918).
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import mpmath
import sympy as sp

import qtheory as qt
from derivations.derivation import CLOSE, SEED, Check, Derivation, Step, relative, upright
from qtheory.stations import finite_source

N = sp.Symbol("N", integer=True, positive=True)
K = sp.Symbol("K", integer=True, positive=True)
n = sp.Symbol("n", integer=True, nonnegative=True)
k = sp.Symbol("k", integer=True, nonnegative=True)
x, lam, Z, Lam = sp.symbols("x lambda Z Lambda", positive=True)
g = sp.IndexedBase("g", positive=True)
H = sp.IndexedBase("H", positive=True)
G = sp.IndexedBase("G", positive=True)
function = sp.Function("g")(x)

# g G' = N g' G, whatever g.
identity = sp.simplify(function * sp.diff(function**N, x) - N * sp.diff(function, x) * function**N)

# Its coefficient of x^n: the term k of the one side and of the other, solved for the newest coefficient.
left = (n + 1 - k) * g[k] * G[n + 1 - k]
right = N * k * g[k] * G[n + 1 - k]
newest = sp.Symbol("newest")
others = sp.Sum(sp.factor(right - left), (k, 1, sp.Min(K, n + 1)))
next_coefficient = sp.solve(sp.Eq(left.subs(k, 0).subs(G[n + 1], newest), others), newest)[0]

# Poisson arrivals: each term of the series but the last comes back, λ times, in the derivative.
term = (lam * x) ** k / sp.factorial(k)
back = sp.combsimp(sp.gammasimp(sp.diff(term, x) / term.subs(k, k - 1)))
full = g[K] * H[n - K] / G[n]
open_rate = sp.factor(N * back * (1 - full))

# Buffers without end, buffers of one slot, and many disks that share a rate.
endless = sp.powsimp(sp.summation((lam * x) ** k / sp.factorial(k), (k, 0, sp.oo)) ** N)
few = sp.summation((lam * x) ** k / sp.factorial(k), (k, 0, 1)) ** N
one_slot = sp.binomial(N, n) * lam**n
one_slot_rate = upright(sp.combsimp((n + 1) * one_slot.subs(n, n + 1) / one_slot), {n: 0, N: 1})
many_least = sp.limit(few.subs(lam, Lam / N), N, sp.oo)
many_most = sp.simplify(endless.subs(lam, Lam / N))

# Closed guests of K requests each, that think for Z and have room for all.
closed = sp.combsimp(sp.gammasimp(sp.ff(K, k) / Z**k / sp.factorial(k)))
one_guest = sp.summation(closed * x**k, (k, 0, K)).args[0].expr
pooled = sp.binomial(N * K, n) / Z**n
closed_rate = upright(sp.combsimp((n + 1) * pooled.subs(n, n + 1) / pooled), {n: 0, N: 1, K: 1})


def powers(d: Derivation) -> Iterator[sp.Expr]:
    """Coefficients of the expanded power, with all g_k symbols."""
    for disks, room in ((2, 2), (3, 2), (4, 1), (2, 3)):
        coefficients = {g[m]: sp.Symbol(f"g_{m}", positive=True) for m in range(room + 1)}
        expanded = sp.Poly(sum(value * x**m for m, value in enumerate(coefficients.values())) ** disks, x)
        found = expanded.all_coeffs()[::-1]
        values = coefficients | {G[m]: value for m, value in enumerate(found)}
        for present in range(len(found) - 1):
            formula = d["next_coefficient"].subs({N: disks, K: room, n: present}).doit()
            yield sp.cancel(formula.subs(values) - found[present + 1])


def pools(d: Derivation) -> Iterator[sp.Expr]:
    """Closed guests together, as a power of one's series and as one large guest's."""
    for disks, room in ((2, 2), (3, 2), (2, 5)):
        power = sp.Poly(sum(closed.subs({K: room, k: m}) * x**m for m in range(room + 1)) ** disks, x)
        found = power.all_coeffs()[::-1]
        for present in range(disks * room):
            rate = (present + 1) * found[present + 1] / found[present]
            yield sp.cancel(rate - d["closed_rate"].subs({N: disks, K: room, n: present}))
    for disks in (1, 2, 5):
        found = sp.Poly(few.subs(N, disks), x).all_coeffs()[::-1]
        for present in range(disks):
            rate = (present + 1) * found[present + 1] / found[present]
            yield sp.cancel(rate - d["one_slot_rate"].subs({N: disks, n: present}))


def open_rates(d: Derivation) -> Iterator[sp.Expr]:
    for disks, room in ((2, 2), (3, 2), (2, 3)):
        one = sp.Poly(sum(term.subs({k: m}) for m in range(room + 1)), x)
        coefficients = [(one**m).all_coeffs()[::-1] for m in (1, disks - 1, disks)]
        own, rest, whole = coefficients
        for present in range(disks * room):
            others = rest[present - room] if 0 <= present - room < len(rest) else 0
            values = {g[K]: own[room], H[n - K]: others, G[n]: whole[present], N: disks}
            yield sp.cancel((present + 1) * whole[present + 1] / whole[present] - d["open_rate"].subs(values))


def library(d: Derivation) -> Iterator[float]:
    """Laws of the total: from the recurrence, in 60 digits since its terms change sign, and by the solver."""
    rng = random.Random(SEED)
    following = d.lambdified("next_coefficient", n, N, K, g, G)
    for disks, room in ((2, 40), (7, 9), (16, 4), (48, 1)):
        rate, servers = rng.uniform(0.5, 1.5), rng.randint(1, disks)
        disk = qt.Disk(qt.Poisson(rate), buffer=room)
        device = qt.Device(servers=servers, service=qt.Exponential(mean=rng.uniform(0.6, 1.4) * servers / rate / disks))
        solved = qt.solve(qt.Engine([disk] * disks, device), method="product_form")
        assert device.service is not None
        with mpmath.workdps(60):
            load = mpmath.mpf(rate) * mpmath.mpf(device.service.mean)
            one = [load**m / mpmath.factorial(m) for m in range(room + 1)]
            power = [mpmath.mpf(1)]
            law = [mpmath.mpf(1)]
            for present in range(disks * room):
                power.append(following(present, disks, room, one, power))
                ratio = (present + 1) / mpmath.mpf(min(present + 1, servers))
                law.append(law[-1] * ratio * power[-1] / power[-2])
            everything = mpmath.fsum(law)
            known = [m for m, weight in enumerate(law) if weight > 1e-20 * everything]
            yield relative(solved.in_system_pmf[known], [float(law[m] / everything) for m in known])


def finite_sources(d: Derivation) -> Iterator[float]:
    """Closed guests and buffers of one slot by the solver, against the library's finite source at these rates."""
    rng = random.Random(SEED)
    for formula, own in (("closed_rate", 5), ("one_slot_rate", 1)):
        rate = d.lambdified(formula, n, N, K, Z, lam)
        for disks in (2, 6, 30):
            think, servers = rng.uniform(0.5, 2.0), rng.randint(1, 4)
            arrivals = qt.Closed(own, think_time=think) if own > 1 else qt.Poisson(1 / think)
            device = qt.Device(servers=servers, service=qt.Exponential(mean=1.0))
            solved = qt.solve(qt.Engine([qt.Disk(arrivals, buffer=own)] * disks, device), method="product_form")
            station = finite_source(sources=own * disks, arrival_rate=1 / think, service_rate=1.0, servers=servers)
            yield relative(solved.throughput, station.throughput)
            law = solved.in_system_pmf
            accepted = sum(law[m] * float(rate(m, disks, own, think, 1 / think)) for m in range(len(law)))
            yield relative(solved.throughput, accepted)


DERIVATION = Derivation(
    name="equal_disks",
    title="Equal disks",
    statement=r"""
        For $N$ equal disks of series $g(x)$ the generating function of the product form is $G(x)=g(x)^N$, whose
        coefficients follow from each other at $K$ operations each. Closed guests that have room for all their requests
        are together one guest, whatever their number; open disks with buffers of one slot are a finite source of $N$;
        and many open disks that share a rate become Poisson, whatever their buffers.
    """,
    symbols={
        N: "disks",
        K: "buffer of each; outstanding requests of a closed guest",
        n: "requests present, of all disks",
        k: "requests present, of one disk",
        x: "argument of the generating functions",
        g: "coefficients of one disk's series",
        G: "coefficients of its power $N$",
        H: "coefficients of its power $N-1$",
        lam: r"arrival rate of one disk [1/s]",
        Lam: r"arrival rate of all disks, $N\lambda$ [1/s]",
        Z: "mean think time of a closed guest [s]",
    },
    assumptions=("Those of the product form; all disks have the same arrivals and the same buffer.",),
    steps=(
        Step(
            r"""
            \emph{Euler's recurrence.} Since $G=g^N$, the expression
            """,
            function * sp.Derivative(sp.Function("G")(x), x) - N * sp.Derivative(function, x) * sp.Function("G")(x),
        ),
        Step("vanishes, whatever $g$. Its coefficient of $x^n$ is the sum over $k$ of", left - right),
        Step(
            r"""
            with $k\le K$ and $k\le n+1$. Solved for $G_{n+1}$, which only the term $k=0$ has,
            """,
            sp.Eq(G[n + 1], next_coefficient),
        ),
        Step(r"\emph{Poisson arrivals.} The derivative of the term $k$ of $g$, over the term $k-1$, is", back),
        Step(
            r"""
            so that $g'(x)=\lambda\,(g(x)-g_Kx^K)$ and $G'=N\lambda\,(G-g_Kx^Kg^{N-1})$: the arrival rate
            $(n+1)G_{n+1}/G_n$ is that of all disks, times the probability that a disk is not full given $n$,
            """,
            open_rate,
        ),
        Step(r"Without an end to the buffers, $g^N$ is", endless),
        Step("one Poisson stream of the rate of all. With buffers of one slot it is", few),
        Step(
            r"""
            whose coefficients are binomial, and whose arrival rate with $n$ present is that of a finite source,
            """,
            one_slot_rate,
        ),
        Step(
            r"""
            The coefficients of $g^N$ for any buffer lie between these two. Let $\lambda=\Lambda/N$: then the one
            without end to the buffers is $e^{\Lambda x}$ for every $N$, and of the other
            """,
            sp.Eq(sp.Limit(few.subs(lam, Lam / N), N, sp.oo), many_least),
        ),
        Step(
            r"""
            the limit is the same: many disks that share a rate are one Poisson stream, whatever their buffers.
            \emph{Closed guests} have $\lambda(k)=(K-k)/Z$, so that $g_k$ and $g(x)$ are
            """,
            closed,
            one_guest,
        ),
        Step(
            r"""
            whose power $N$ is the series of one guest of $NK$ requests. Its arrival rate with $n$ present is
            """,
            closed_rate,
        ),
    ),
    formulas={
        "next_coefficient": next_coefficient,
        "open_rate": open_rate,
        "one_slot_rate": one_slot_rate,
        "closed_rate": closed_rate,
    },
    checks=(
        Check("The expression of Euler's recurrence vanishes.", lambda d: [identity]),
        Check("The recurrence gives the coefficients of expanded powers, with all $g_k$ as symbols.", powers),
        Check("The arrival rate of open disks, from expanded powers.", open_rates),
        Check("Those of closed guests and of buffers of one slot, from expanded powers.", pools),
        Check("The two limits for many disks are one.", lambda d: [many_least - many_most]),
        Check(
            "Law of the total from the recurrence, and by the solver, for 2 to 48 disks.",
            library,
            CLOSE,
        ),
        Check(
            r"Throughput of 2 to 30 disks by the solver, from these rates, and of \texttt{finite\_source}.",
            finite_sources,
            CLOSE,
        ),
    ),
)
