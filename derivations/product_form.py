r"""Disks that share one station: product form with a buffer for each disk.

Disk i sends requests at rate λ_i(k) with k of them present, up to K_i; the station completes requests at rate μ(n) with
n present, whosever they are. The ordered line has partial balance disk by disk, so that the buffers cut the states
without breaking a balance (Kelly 1979, section 3.1), and the law of the numbers is the sum over the orders:

    P(n_1, ..., n_N) ∝ n! / Π_{j<=n} μ(j) · Π_i [ Π_{k<n_i} λ_i(k) / n_i! ],    n = Σ n_i,  n_i <= K_i.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import accumulate, product

import sympy as sp

import qtheory as qt
from derivations.derivation import CLOSE, SEED, Check, Derivation, Step, relative

N = sp.Symbol("N", integer=True, positive=True)
i = sp.Symbol("i", integer=True, positive=True)
j = sp.Symbol("j", integer=True, positive=True)
k = sp.Symbol("k", integer=True, nonnegative=True)
p = sp.Symbol("p", integer=True, positive=True)
lam = sp.IndexedBase("lambda", positive=True)
mu = sp.IndexedBase("mu", positive=True)
n = sp.IndexedBase("n", integer=True, nonnegative=True)
gamma = sp.Function("gamma", positive=True)
total = sp.Sum(n[i], (i, 1, N))

# One order of the line, and its neighbours: without its last request, and with one more of disk i somewhere.
pi = sp.Symbol("pi", positive=True)
lam_last, lam_more, mu_now, mu_more = (
    sp.Symbol(name, positive=True) for name in (r"\lambda_{d}(n_{d}-1)", r"\lambda_{i}(n_{i})", r"\mu(n)", r"\mu(n+1)")
)
present = sp.Symbol("n", integer=True, nonnegative=True)
without_last = pi * mu_now / lam_last
with_more = pi * lam_more / mu_more
entering = sp.simplify(without_last * lam_last)
leaving = sp.Sum(with_more * mu_more * gamma(p), (p, 1, present + 1))
one_leaves = sp.Sum(gamma(p), (p, 1, present + 1))
returning = sp.factor(leaving).subs(one_leaves, 1)

ordered = sp.Product(sp.Product(lam[i, k], (k, 0, n[i] - 1)), (i, 1, N)) / sp.Product(mu[j], (j, 1, total))
orders = sp.factorial(total) / sp.Product(sp.factorial(n[i]), (i, 1, N))
weight = orders * ordered


@cache
def at(formula: sp.Expr, numbers: tuple[int, ...]) -> sp.Expr:
    """The formula for these n_1, n_2, ..., all products written out."""

    def over_disks(whole: sp.Product) -> sp.Expr:
        *inner, _ = whole.limits
        part = sp.Product(whole.function, *inner) if inner else whole.function
        return sp.prod([part.subs(i, disk).subs(n[disk], number).doit() for disk, number in enumerate(numbers, 1)])

    few = formula.subs(total, sum(numbers))
    return few.replace(lambda e: isinstance(e, sp.Product) and e.limits[-1][0] == i, over_disks).doit()


def words(buffers: Sequence[int]) -> list[tuple[int, ...]]:
    """All orders of the line: which disk the first request belongs to, the second, ..."""
    found: list[tuple[int, ...]] = [()]
    for word in found:
        found += [(*word, disk) for disk, most in enumerate(buffers, 1) if word.count(disk) < most]
    return found


def numbers_in(word: Sequence[int], disks: int) -> tuple[int, ...]:
    return tuple(word.count(disk) for disk in range(1, disks + 1))


SIZES = ((3,), (2, 1), (2, 2), (3, 2), (1, 1, 1), (2, 1, 1))


def partial_balance(d: Derivation) -> Iterator[sp.Expr]:
    """For each order and disk: what the disk's arrivals take out, less what departures of its requests bring in."""
    for buffers in SIZES:
        states = {word: at(d["ordered"], numbers_in(word, len(buffers))) for word in words(buffers)}
        for word, weight_here in states.items():
            # The parts of the service rate that the places in line get: any, that add up to 1.
            parts = sp.symbols(f"gamma_1:{len(word) + 1}", positive=True)
            parts = (*parts, 1 - sum(parts))
            for disk, most in enumerate(buffers, 1):
                own = word.count(disk)
                if own < most:
                    back = sum(
                        states[(*word[:place], disk, *word[place:])] * mu[len(word) + 1] * part
                        for place, part in enumerate(parts)
                    )
                    yield sp.expand(weight_here * lam[disk, own] - back)
            if word:
                last = word[-1]
                yield weight_here * mu[len(word)] - states[word[:-1]] * lam[last, word.count(last) - 1]


def counted(d: Derivation) -> Iterator[sp.Expr]:
    """The orders added up."""
    for buffers in SIZES:
        sums: dict[tuple[int, ...], sp.Expr] = defaultdict(lambda: sp.Integer(0))
        for word in words(buffers):
            numbers = numbers_in(word, len(buffers))
            sums[numbers] += at(d["ordered"], numbers)
        yield from (at(d["weight"], numbers) - found for numbers, found in sums.items())


def library(d: Derivation) -> Iterator[float]:
    """All laws that the solver gives, for open and closed disks, servers and rate curves, waiting and refused."""
    rng = random.Random(SEED)
    for hold in ("engine", "refuse"):
        for servers in (1, 2, None):
            buffers, limit = (3, 2, 4), 5
            think, rates = rng.uniform(0.5, 2.0), [rng.uniform(0.2, 3.0) for _ in buffers]
            disks = [
                qt.Disk(qt.Poisson(rates[0]), buffer=buffers[0]),
                qt.Disk(qt.Closed(outstanding=buffers[1], think_time=think), buffer=buffers[1]),
                qt.Disk(qt.Poisson(rates[2]), buffer=buffers[2]),
            ]
            curve = list(accumulate(rng.uniform(0.1, 1.0) for _ in range(limit)))
            device = qt.Device(servers=servers, service=qt.Exponential(mean=1.0)) if servers else qt.Device(curve=curve)
            solved = qt.solve(qt.Engine(disks, device, queue_length=limit, hold=hold), method="product_form")
            most = limit if hold == "refuse" else sum(buffers)
            values = {mu[m]: min(m, servers) if servers else curve[min(m, limit) - 1] for m in range(1, most + 1)}
            values |= {lam[disk, m]: rates[disk - 1] for disk in (1, 3) for m in range(buffers[disk - 1])}
            values |= {lam[2, m]: (buffers[1] - m) / think for m in range(buffers[1])}
            law = {
                numbers: float(at(d["weight"], numbers).subs(values))
                for numbers in product(*(range(most_here + 1) for most_here in buffers))
                if sum(numbers) <= most
            }
            everything = sum(law.values())
            for m in range(most + 1):
                yield relative(solved.in_system_pmf[m], sum(w for s, w in law.items() if sum(s) == m) / everything)
            for disk, state in enumerate(solved.disks):
                for m, found in enumerate(state.pmf):
                    yield relative(found, sum(w for s, w in law.items() if s[disk] == m) / everything)


DERIVATION = Derivation(
    name="product_form",
    title="Product form with a buffer for each disk",
    statement=r"""
        Let $N$ disks share one station. Disk $i$ sends requests at rate $\lambda_i(k)$ while it has $k<K_i$ of them
        present, and none with $K_i$; with $n$ present the station completes requests at rate $\mu(n)$. Then the
        stationary law of the numbers present is $P(n_1,\dots,n_N)\propto\frac{n!}{\prod_{j\le
        n}\mu(j)}\prod_i\frac{\prod_{k<n_i}\lambda_i(k)}{n_i!}$ with $n=\sum_i n_i$ and $n_i\le K_i$.
    """,
    symbols={
        N: "disks",
        n: "requests of disk $i$ present, $n_i$, those in service included",
        lam: r"rate at which disk $i$ sends requests with $k$ present, $\lambda_{i,k}=\lambda_i(k)$ [1/s]",
        mu: r"rate at which the station completes requests with $j$ present, $\mu_j=\mu(j)$ [1/s]",
        gamma: r"part $\gamma(p)$ of that rate which goes to place $p$ in line",
        pi: "weight of one order of the line",
    },
    assumptions=(
        r"Service is exponential, of one mean for the requests of all disks; $\mu(n)>0$ may otherwise be any curve.",
        """New requests join the tail. Which requests are served may depend on their places in line and on their number,
        not on whose they are or on what comes: first come first served with $c$ servers has
        $\\gamma(p)=1/\\min(n,c)$ for $p\\le\\min(n,c)$.""",
        r"Open disks that lose have $\lambda_i(k)=\lambda_i$, closed ones $\lambda_i(k)=(M_i-k)/Z_i$.",
    ),
    steps=(
        Step(
            r"""
            Let the state be the order $d_1\dots d_n$ of the disks whose requests are present, and try the weight
            """,
            sp.Eq(pi, ordered),
        ),
        Step(
            r"""
            \emph{What departures take out, arrivals bring in.} The state is entered by an arrival, of disk $d=d_n$,
            from the same line without its last request. That has the weight $\pi\,\mu(n)/\lambda_d(n_d-1)$, so the
            flow is
            """,
            entering,
        ),
        Step(r"which is the flow $\pi\,\mu(n)$ of all departures out of the state."),
        Step(
            r"""
            \emph{What arrivals of disk $i$ take out, departures of disk $i$ bring in,} if $n_i<K_i$: the state is
            entered by a departure of disk $i$ from the same line with one more request of $i$, at any place
            $p=1,\dots,n+1$. Whichever the place, that line has the weight $\pi\,\lambda_i(n_i)/\mu(n+1)$; together the
            flow is
            """,
            leaving,
        ),
        Step(r"and since the parts $\gamma(p)$ of the places add up to 1, this is", returning),
        Step(
            r"""
            the flow of arrivals of disk $i$ out of the state. If $n_i=K_i$ there are no such arrivals, and no such
            states to come from: the balance of disk $i$ is empty, and that of the others is not touched. Likewise
            where all are refused at $n=Q$. The sum of these partial balances is the balance of the state. By
            irreducibility $\pi$ is, normalized, the only stationary law. All orders with the same numbers have the
            same weight; there are
            """,
            orders,
        ),
        Step("of them, so that the weight of the numbers is", weight),
        Step(
            r"""
            where $\mu(n)=\min(n,c)\,\mu$ for $c$ servers, and $\mu(\min(n,Q))$ where all but $Q$ requests wait
            unsubmitted.
            """
        ),
    ),
    formulas={"ordered": ordered, "weight": weight},
    checks=(
        Check(
            "The weight of the empty line is 1, to which all others are relative.",
            lambda d: [at(d["weight"], (0,)) - 1],
        ),
        Check(
            r"""The partial balance of every order and every disk, of up to 3 disks and 5 requests, with all rates and
            all parts $\gamma$ as symbols.""",
            partial_balance,
        ),
        Check("Added up over the orders, the weights are those of the numbers.", counted),
        Check(
            r"""Laws of the total and of each disk from the weights, and from the solver (\texttt{product\_form}): 1 and
            2 servers and a rate curve, open and closed disks, the rest waiting or refused at $Q$.""",
            library,
            CLOSE,
        ),
    ),
)
