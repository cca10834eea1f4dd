r"""One device for each disk, and room for Q requests in all: truncated product form.

Parallel stations without a limit are independent birth-death chains; refusing what would be more than Q cuts a
reversible chain, whose law is only restricted (Kelly 1979, corollary 1.10). For equal devices of one server the
restricted law sums up: at balanced load ρ = 1 the throughput is the fraction Q/(Q + N) of capacity, and as the load
grows Q/(Q + N − 1), the same as behind one line (`saturated_line.py`).
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from itertools import product

import sympy as sp

import qtheory as qt
from derivations.derivation import CLOSE, SEED, Check, Derivation, Step, relative

N = sp.Symbol("N", integer=True, positive=True)
Q = sp.Symbol("Q", integer=True, positive=True)
n = sp.Symbol("n", integer=True, nonnegative=True)
k = sp.Symbol("k", integer=True, nonnegative=True)
m = sp.Symbol("m", integer=True, positive=True)
newest = sp.Symbol("newest")
G = sp.IndexedBase("G", positive=True)
x, rho = sp.symbols("x rho", positive=True)

Symbols = tuple[sp.Symbol, ...]

# Two neighbouring states: the flow up and the flow down between them.
pi, lam_i, mu_i = (sp.Symbol(name, positive=True) for name in ("pi", r"\lambda_{i}(n_{i})", r"\mu_{i}(n_{i}+1)"))
neighbour = pi * lam_i / mu_i
down = neighbour * mu_i

# One device of one server has the series of ρ^k. The power N of it, by G'(x) (1 − ρx) = Nρ G(x).
one = sp.summation((rho * x) ** k, (k, 0, sp.oo)).args[0].expr
power = one**N
equation = sp.simplify(sp.diff(power, x) / power * (1 - rho * x))
following = sp.solve(sp.Eq((n + 1) * newest - rho * n * G[n], equation * G[n]), newest)[0]
ratio = sp.factor(following / G[n])
coefficient = sp.combsimp(sp.Product(ratio, (n, 0, m - 1)).doit()).subs(m, n)
share = rho * sp.Sum(coefficient, (n, 0, Q - 1)) / sp.Sum(coefficient, (n, 0, Q))

states = sp.combsimp(sp.summation(coefficient.subs(rho, 1), (n, 0, Q)))
balanced = sp.combsimp(states.subs(Q, Q - 1) / states)
overloaded = sp.combsimp(rho * coefficient.subs(n, Q - 1) / coefficient.subs(n, Q))


def detailed_balance(d: Derivation) -> Iterator[sp.Expr]:
    """Flows up and down between all neighbours that the limit leaves, with all rates as symbols."""
    for buffers, limit in (((3, 2), 4), ((2, 2, 2), 4), ((1, 3, 1), 3)):
        arrive = [sp.symbols(f"lambda_{i}_:{most}", positive=True) for i, most in enumerate(buffers)]
        serve = [sp.symbols(f"mu_{i}_:{most}", positive=True) for i, most in enumerate(buffers)]

        def weight(state: tuple[int, ...], arrive: list[Symbols] = arrive, serve: list[Symbols] = serve) -> sp.Expr:
            return sp.prod([arrive[i][j] / serve[i][j] for i, own in enumerate(state) for j in range(own)])

        for state in product(*(range(most + 1) for most in buffers)):
            for i, own in enumerate(state):
                if sum(state) < limit and own < buffers[i]:
                    above = (*state[:i], own + 1, *state[i + 1 :])
                    flow = down.subs({pi: weight(state), lam_i: arrive[i][own], mu_i: serve[i][own]})
                    yield weight(state) * arrive[i][own] - weight(above) * serve[i][own]
                    yield flow - weight(above) * serve[i][own]
    yield from (
        d["coefficient"].subs(n, j) - sp.expand_func(power.series(x, 0, 5).removeO().coeff(x, j)) for j in range(5)
    )


def sums(d: Derivation) -> Iterator[sp.Expr]:
    """The closed forms from the sums, for few disks and any load."""
    for disks, limit in ((1, 4), (2, 3), (3, 2), (4, 5)):
        few = d["share"].subs({N: disks, Q: limit}).doit()
        yield few.subs(rho, 1) - d["balanced"].subs({N: disks, Q: limit})
        yield sp.limit(few, rho, sp.oo) - d["overloaded"].subs({N: disks, Q: limit})
    yield sp.combsimp(states - states.subs(Q, Q - 1) - d["coefficient"].subs(rho, 1).subs(n, Q))
    yield states.subs(Q, 0) - 1


def equal_devices(d: Derivation) -> Iterator[float]:
    """Throughput by the solver, at random loads and at ρ = 1."""
    rng = random.Random(SEED)
    formula, at_one = d.lambdified("share", N, Q, rho), d.lambdified("balanced", N, Q)
    for _ in range(10):
        disks, limit, rate = rng.randint(1, 20), rng.randint(1, 60), rng.uniform(10.0, 1e4)
        load = rng.uniform(0.1, 4.0)
        yield relative(_share(disks, limit, rate, load), float(formula(disks, limit, load)))
        yield relative(_share(disks, limit, rate, 1.0), float(at_one(disks, limit)))


def _share(disks: int, limit: int, rate: float, load: float) -> float:
    disk = qt.Disk(qt.Poisson(rate), buffer=limit, device=qt.Device(1, qt.Exponential(mean=load / rate)))
    engine = qt.Engine([disk] * disks, queue_length=limit, hold="refuse")
    return qt.solve(engine, method="separate_devices").throughput * load / rate / disks


def different_devices(_: Derivation) -> Iterator[float]:
    """Law of the total, by the solver and from the weights, for three different disks."""
    rng = random.Random(SEED)
    for limit in (3, 6, 9):
        buffers, rates = (3, 2, 4), [rng.uniform(0.2, 3.0) for _ in range(3)]
        curves = [[rng.uniform(0.5, 2.0) for _ in range(most)] for most in buffers]
        disks = [
            qt.Disk(qt.Poisson(rate), buffer=most, device=qt.Device(curve=curve))
            for rate, most, curve in zip(rates, buffers, curves, strict=True)
        ]
        solved = qt.solve(qt.Engine(disks, queue_length=limit, hold="refuse"), method="separate_devices")
        law = [0.0] * (limit + 1)
        for state in product(*(range(most + 1) for most in buffers)):
            if sum(state) <= limit:
                parts = [rates[i] / curves[i][j] for i, own in enumerate(state) for j in range(own)]
                law[sum(state)] += math.prod(parts)
        yield relative(solved.in_system_pmf, [weight / sum(law) for weight in law])


DERIVATION = Derivation(
    name="separate_devices",
    title="A device for each disk, refused at $Q$",
    statement=r"""
        Let disk $i$ send requests at rate $\lambda_i(k)$ to a device of its own with completion rates $\mu_i(k)$, and
        let what would be more than $Q$ requests in all be refused. Then
        $P(n_1,\dots,n_N)\propto\prod_i\prod_{k<n_i}\lambda_i(k)/\mu_i(k+1)$ on $\sum_in_i\le Q$. With $N$ equal
        devices of one server, Poisson arrivals of load $\rho$ each and buffers of at least $Q$, the throughput is the
        fraction $Q/(Q+N)$ of capacity at $\rho=1$ and tends to $Q/(Q+N-1)$ as $\rho\to\infty$.
    """,
    symbols={
        N: "disks",
        Q: "most requests in the system",
        n: "requests present, of all disks",
        k: "requests of one disk",
        rho: "load of one device, arrival rate times mean service time",
        x: "argument of the generating functions",
        G: "coefficients of the generating function of all disks",
        pi: "weight of a state",
    },
    assumptions=(
        "Service is exponential, or of any law where each device has a server for each of its requests.",
        "Requests that find their buffer full, or $Q$ requests in the system, are lost.",
    ),
    steps=(
        Step(
            r"""
            \emph{Detailed balance.} Let $\pi$ be the weight of a state, and add one request of disk $i$. By the
            product the weight of that state is
            """,
            neighbour,
        ),
        Step("and the flow back from it, at rate $\\mu_i(n_i+1)$, is", down),
        Step(
            r"""
            the flow up. So all pairs of neighbours balance. A limit takes both flows of a pair away, or none: the law
            on what is left is the same, normalized anew. For a server for each request the law of service does not
            matter, as in Erlang's loss system.

            \emph{Equal devices of one server} have the weights $\rho^k$, whose series is
            """,
            one,
        ),
        Step(
            r"""
            and $G(x)$, its power $N$, has $(1-\rho x)\,G'(x)/G(x)$ equal to
            """,
            equation,
        ),
        Step(
            "The coefficients of $x^n$ on both sides, solved for the newest, give",
            sp.Eq(G[n + 1] / G[n], ratio, evaluate=False),
        ),
        Step("whose product from $G_0=1$ is", sp.Eq(G[n], coefficient)),
        Step(
            r"""
            An arrival is accepted with fewer than $Q$ present. As a fraction of the capacity, which is $1/\rho$ of
            what is offered, the throughput is
            """,
            share,
        ),
        Step(r"At $\rho=1$ the sum up to $Q$ telescopes to", states),
        Step("and the fraction of capacity that is used is", balanced),
        Step(
            r"""
            As $\rho\to\infty$ the last terms of both sums outgrow the others, and the fraction tends to $\rho$ times
            their quotient:
            """,
            overloaded,
        ),
        Step(
            r"""
            This is the same as behind one line before which guests wait without end: with $Q$ always taken, a freed
            slot goes to a disk at random in both.
            """
        ),
    ),
    formulas={"coefficient": coefficient, "share": share, "balanced": balanced, "overloaded": overloaded},
    checks=(
        Check(
            """All neighbours of up to three disks balance, with all rates as symbols, cut at $Q$; and the coefficients
            are those of the expanded power.""",
            detailed_balance,
        ),
        Check(r"The sums for few disks give both fractions; the sum to $Q$ by induction.", sums),
        Check("Throughput of up to 20 equal disks, by the solver.", equal_devices, CLOSE),
        Check("Law of the total of three different disks with rate curves, by the solver.", different_devices, CLOSE),
    ),
)
