r"""Saturated disks with their own devices behind one line for Q slots: X(Q)/X(∞) = Q/(Q + N − 1).

Each of N disks always has K requests outstanding, n_i of them at its device, the others in one first-come-first-served
line for Q slots. The numbers at the devices have the law Π 1/(K − n_i)! on Σ n_i = Q, since every order of the line is
equally likely; with K without end all ways to divide Q are equally likely, and the rest is counting.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import permutations, product

import sympy as sp

import qtheory as qt
from derivations.derivation import CLOSE, SEED, Check, Derivation, Step, relative, upright
from qtheory.sizing.closed_forms import one_line

N = sp.Symbol("N", integer=True, positive=True)
Q = sp.Symbol("Q", integer=True, positive=True)
K = sp.Symbol("K", integer=True, positive=True)
n = sp.Symbol("n", integer=True, nonnegative=True)
j = sp.Symbol("j", integer=True, nonnegative=True)
epsilon = sp.Symbol("varepsilon", positive=True)

# The weight K!/(K − n)! of n requests at a device, over K^n to stay finite as K grows, and the limit of its factors.
weight = sp.Product(1 - j / K, (j, 0, n - 1))
factor_limit = sp.limit(1 - j / K, K, sp.oo)

# All compositions of Q into N parts, the same with the first part 0, and their ratio.
ways = sp.binomial(Q + N - 1, N - 1)
idle = sp.combsimp(ways.subs(N, N - 1) / ways)
share = sp.factor(1 - idle)
needed = upright(sp.factor(sp.solve(sp.Eq(share, 1 - epsilon), Q)[0]), {N: 2, epsilon: 0.5})
slope = sp.simplify(sp.diff(needed, N))


def idle_of_few(disks: int, slots: int) -> sp.Expr:
    """P(n_1 = 0) for so few disks and slots that it is summed term by term, as a rational function of K."""
    parts = [p for p in product(range(slots + 1), repeat=disks) if sum(p) == slots]
    weights = {p: sp.prod([sp.ff(K, k) for k in p]) for p in parts}
    return sp.cancel(sum(w for p, w in weights.items() if p[0] == 0) / sum(weights.values()))


def balance(_: Derivation) -> Iterator[sp.Expr]:
    """Flow out of every order of the line, less the flow into it, with rates μ_i(k) that are all symbols."""
    for disks, requests, slots in ((2, 2, 2), (2, 3, 4), (3, 2, 3), (3, 2, 4)):
        rates = [[sp.Symbol(f"mu_{i}_{k}", positive=True) for k in range(1, requests + 1)] for i in range(disks)]
        waiting = disks * requests - slots
        lines = set(permutations([i for i in range(disks) for _ in range(requests)], waiting))
        at = {line: [requests - line.count(i) for i in range(disks)] for line in lines}
        pi = {line: 1 / sp.prod([rate for i in range(disks) for rate in rates[i][: at[line][i]]]) for line in lines}
        balances = dict.fromkeys(lines, sp.Integer(0))
        for line in lines:
            for i, present in enumerate(at[line]):
                if present > 0:
                    # The head goes to its device as disk i's request completes and its next one joins the tail.
                    flow = pi[line] * rates[i][present - 1]
                    balances[line] += flow
                    balances[(*line[1:], i)] -= flow
        yield from balances.values()


def compositions(d: Derivation) -> Iterator[sp.Expr]:
    """The induction over N, as one over Q: with one more disk, Q is divided by giving it 0, ..., Q."""
    found = d["compositions"]
    yield found.subs(N, 1) - 1
    yield sp.combsimp(found - found.subs(Q, Q - 1) - found.subs(N, N - 1))
    yield sp.combsimp(found.subs(Q, 0) - 1)


def limits(d: Derivation) -> Iterator[sp.Expr]:
    for disks, slots in ((2, 3), (3, 2), (3, 4), (4, 3)):
        yield sp.limit(1 - idle_of_few(disks, slots), K, sp.oo) - d["share"].subs({N: disks, Q: slots})


def finite(_: Derivation) -> Iterator[float]:
    """Throughput of saturated disks by the library's solver against P(n_1 > 0) as a function of K."""
    rng = random.Random(SEED)
    for disks, slots in ((2, 3), (3, 2), (3, 4), (4, 3)):
        requests, rate = rng.randint(4, 300), rng.uniform(10.0, 1e5)
        device = qt.Device(servers=1, service=qt.Exponential(mean=1 / rate))
        disk = qt.Disk(qt.Closed(outstanding=requests, think_time=0.0), buffer=requests, device=device)
        solved = qt.solve(qt.Engine([disk] * disks, queue_length=slots), method="saturated_line")
        yield relative(solved.throughput / (disks * rate), float(1 - idle_of_few(disks, slots).subs(K, requests)))


def library(d: Derivation) -> Iterator[float]:
    rng = random.Random(SEED)
    formula = d.lambdified("queue_length", N, epsilon)
    for _ in range(20):
        disks, loss = rng.randint(2, 1000), rng.uniform(0.001, 0.3)
        yield relative(one_line(disks=disks, requests=None, loss=loss), float(formula(disks, loss)))


DERIVATION = Derivation(
    name="saturated_line",
    title="One line before separate devices",
    statement=r"""
        Let $N$ saturated disks, each with a device of its own, share one first-come-first-served line for $Q$ slots.
        The numbers at the devices have the law $P(n_1,\dots,n_N)\propto\prod_i 1/[(K_i-n_i)!\prod_{j\le n_i}\mu_i(j)]$
        on $\sum_i n_i=Q$. With equal devices of one server and requests without end, the throughput is the fraction
        $Q/(Q+N-1)$ of what the devices can do, and the $Q$ for a given loss is linear in $N$.
    """,
    symbols={
        N: "disks",
        Q: "slots: requests at the devices, over all disks",
        K: "requests that each disk keeps outstanding",
        n: "requests of one disk at its device",
        epsilon: "fraction of the throughput that is lost",
    },
    assumptions=(
        r"Service is exponential; device $i$ completes requests at rate $\mu_i(k)$ with $k$ at it.",
        "A completed request is at once followed by another of its disk, at the tail of the line.",
    ),
    steps=(
        Step(
            r"""
            Let the state be the ordered line $l_1\dots l_L$, $L=\sum_i K_i-Q$, of the disks whose requests wait; it
            decides $n_i$. Try $\pi=\prod_i 1/\prod_{j\le n_i}\mu_i(j)$. The line is left at rate $\sum_i\mu_i(n_i)$.
            It is entered from every line $h\,l_1\dots l_{L-1}$ by a completion of disk $l_L$, before which disk $h$
            had one less at its device and disk $l_L$ one more: the flow is $\pi\,\mu_h(n_h)$ for each $h$. Summed over
            $h$ both are equal. From two slots on all lines communicate, so that $\pi$ is, normalized, the only
            stationary law; with one the cyclic order is kept for ever, and the numbers have the same law in any. There
            are $L!/\prod_i(K_i-n_i)!$ lines with given numbers, each with the same probability, which is the law
            stated. For equal single servers its weights are, but for a constant factor, the product over the disks of
            $K!/(K-n_i)!\,K^{-n_i}$, which is
            """,
            weight,
        ),
        Step(r"Each of its factors has the limit", sp.Eq(sp.Limit(1 - j / K, K, sp.oo), factor_limit)),
        Step(
            r"""
            so that in the limit all compositions $n_1+\dots+n_N=Q$ are equally likely. Their number follows by
            induction: one more disk has $0,\dots,Q$ of them, and the sum over these telescopes. It is
            """,
            ways,
        ),
        Step("A device idles in the compositions where its part is 0:", sp.Eq(sp.Symbol("P(n_{1}=0)"), idle)),
        Step("The throughput, as a fraction of that of devices that never idle, is", share),
        Step(r"This is $1-\varepsilon$ at", sp.Eq(Q, needed)),
        Step(
            r"and every disk more needs as many slots more; for a loss of 5\,\%",
            sp.Eq(sp.Derivative(Q, N), slope),
            sp.Eq(sp.Derivative(Q, N), slope.subs(epsilon, sp.Rational(1, 20))),
        ),
    ),
    formulas={"compositions": ways, "share": share, "queue_length": needed, "slope": slope},
    checks=(
        Check(r"$\pi$ balances every order of the line, for up to 3 disks and all rates $\mu_i(k)$.", balance),
        Check("The compositions are counted: start and step of the induction.", compositions),
        Check(r"$P(n_1>0)$ summed term by term for finite $K$ tends to the share as $K\to\infty$.", limits),
        Check("The slope is what one disk more needs.", lambda d: [sp.diff(d["queue_length"], N) - d["slope"]]),
        Check("For finite $K$ the same sums are the solver's throughput.", finite, CLOSE),
        Check(r"\texttt{one\_line} is this $Q$.", library, CLOSE),
    ),
)
