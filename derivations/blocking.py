r"""Blocking, throughput and waits, from the product form.

With g_i(x) = Σ_k x^k Π_{j<k} λ_i(j)/k! the series of a disk and G = Π g_i, the total has the law of a birth-death
chain with births (n+1) G[n+1]/G[n]; blocking is P(n_i = K_i) since Poisson arrivals see time averages (Wolff 1982),
and waits follow from Little's law. One disk gives the textbook's stations: M/M/1/K, M/M/c/K, Erlang's loss system.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import sympy as sp

import qtheory as qt
from derivations.derivation import CLOSE, SEED, Check, Derivation, Step, relative, upright
from qtheory.stations import erlang_b, mmck

K = sp.Symbol("K", integer=True, positive=True)
n = sp.Symbol("n", integer=True, nonnegative=True)
k = sp.Symbol("k", integer=True, nonnegative=True)
x = sp.Symbol("x", positive=True)
rho = sp.Symbol("rho", positive=True)
a = sp.Symbol("a", positive=True)
lam = sp.IndexedBase("lambda", positive=True)
mu = sp.IndexedBase("mu", positive=True)
G = sp.IndexedBase("G", positive=True)
P = sp.IndexedBase("P", positive=True)
c = sp.Symbol("c", integer=True, positive=True)
X, S = sp.symbols("X S", positive=True)
M = sp.Symbol("M", integer=True, positive=True)
g = sp.IndexedBase("g", positive=True)
H = sp.IndexedBase("H", positive=True)
g1, g2, g3 = (sp.Function(f"g_{m}")(x) for m in (1, 2, 3))

# Arrivals of disk i at series g_i: λ_i(k) g_i[k] = (k+1) g_i[k+1], the coefficients of the derivative of g_i.
merged = sp.expand(sp.diff(g1 * g2 * g3, x))
derivative = sp.powsimp(sp.diff(G[n + 1] * x ** (n + 1), x) / x**n)
arrival_rate = derivative / G[n]
# The total: P(n+1)/P(n) = F(n+1) G[n+1] / (F(n) G[n]) with F(n) = n!/Π μ(j).
step = sp.simplify(sp.factorial(n + 1) / sp.factorial(n)) / mu[n + 1] * G[n + 1] / G[n]
throughput = sp.Sum(P[n] * arrival_rate, (n, 0, M - 1))
occupancy = g[k] * H[n - k] / G[n]
blocking = sp.Sum(P[n] * occupancy.subs(k, K), (n, K, M))
response = sp.Sum(n * P[n], (n, 0, M)) / throughput
# Who is accepted with n present finds n: a flow P(n) Λ(n), which the chain's balance makes P(n+1) μ(n+1).
found = sp.simplify(P[n] * arrival_rate).subs(P[n], P[n + 1] / step) / X
wait = sp.Sum(found * (n - c + 1) * S / c, (n, c, M - 1))

# One disk before one server: its weights are ρ^n, added up to ρ^K.
geometric = sp.summation(rho**n, (n, 0, K)).args[1].expr
one_server = upright(sp.factor(rho**K / geometric), {rho: 0.5, K: 1})
# One disk with a server for each request: its weights are a^n/n!.
loss = (a**K / sp.factorial(K)) / sp.Sum(a**n / sp.factorial(n), (n, 0, K))
weights = sp.Symbol("W", positive=True)
B = sp.Symbol("B", positive=True)
previous = sp.solve(sp.Eq(B, a ** (K - 1) / sp.factorial(K - 1) / weights), weights)[0]
recursion = sp.combsimp(a**K / sp.factorial(K) / (previous + a**K / sp.factorial(K)))


def series(rates: Sequence[sp.Expr]) -> list[sp.Expr]:
    """g[0], ..., g[K] of a disk with these arrival rates."""
    found = [sp.Integer(1)]
    for present, rate in enumerate(rates, 1):
        found.append(found[-1] * rate / present)
    return found


def times(one: Sequence[sp.Expr], other: Sequence[sp.Expr]) -> list[sp.Expr]:
    """Coefficients of the product of two series."""
    found = [sp.Integer(0)] * (len(one) + len(other) - 1)
    for l, u in enumerate(one):
        for m, v in enumerate(other):
            found[l + m] += u * v
    return found


DISKS = [[sp.Symbol(f"lambda_{i}_{m}", positive=True) for m in range(most)] for i, most in enumerate((3, 2, 1), 1)]


def product_rule(d: Derivation) -> Iterator[sp.Expr]:
    """Arrival rates of three disks given the total, added up, against the formula: all rates symbols."""
    each = [series(rates) for rates in DISKS]
    whole = times(times(each[0], each[1]), each[2])
    for total in range(len(whole) - 1):
        flow = sp.Integer(0)
        for disk, rates in enumerate(DISKS):
            one, other = (each[m] for m in range(3) if m != disk)
            others = times(one, other)
            flow += sum(
                rate * each[disk][own] * others[total - own]
                for own, rate in enumerate(rates)
                if 0 <= total - own < len(others)
            )
        formula = d["arrival_rate"].subs({G[n]: whole[total], G[n + 1]: whole[total + 1]}).subs(n, total)
        yield sp.expand(flow - sp.cancel(formula * whole[total]))


def recursions(d: Derivation) -> Iterator[sp.Expr]:
    for servers in range(1, 6):
        before = d["loss"].subs(K, servers - 1).doit()
        yield sp.cancel(d["loss"].subs(K, servers).doit() - d["recursion"].subs({B: before, K: servers}))
        yield sp.cancel(d["one_server"].subs(K, servers) - rho**servers / sum(rho**m for m in range(servers + 1)))
    yield sp.limit(d["one_server"], rho, 1) - 1 / (K + 1)


def stations(d: Derivation) -> Iterator[float]:
    """The textbook's stations, as the library has them."""
    rng = random.Random(SEED)
    full, lost = d.lambdified("one_server", K, rho), d.lambdified("loss", K, a)
    for _ in range(20):
        room, load = rng.randint(1, 100), rng.uniform(0.2, 3.0)
        one = mmck(arrival_rate=load, service_rate=1.0, servers=1, capacity=room)
        yield relative(one.blocking, float(full(room, load)))
        yield relative(erlang_b(servers=room, load=load * room), float(lost(room, load * room)))


def library(d: Derivation) -> Iterator[float]:
    """Three different disks before servers of exponential service."""
    rng = random.Random(SEED)
    in_system = d.lambdified("response", M, P, G)
    waiting = d.lambdified("wait", c, S, M, P, mu, X)
    finding = d.lambdified("found", n, P, mu, X)
    flow = d.lambdified("throughput", M, P, G)
    full = d.lambdified("blocking", K, M, P, g, H, G)
    for servers in (1, 2, 5):
        rates = [rng.uniform(0.2, 3.0) for _ in range(3)]
        buffers = [rng.randint(2, 12) for _ in range(3)]
        most = sum(buffers)
        disks = [qt.Disk(qt.Poisson(rate), buffer=room) for rate, room in zip(rates, buffers, strict=True)]
        device = qt.Device(servers=servers, service=qt.Exponential(mean=1.0))
        solved = qt.solve(qt.Engine(disks, device), method="product_form")
        each = [series([sp.Rational(rate)] * room) for rate, room in zip(rates, buffers, strict=True)]
        whole = times(times(each[0], each[1]), each[2])
        law = [sp.Integer(1)]
        for present in range(most):
            law.append(
                law[-1]
                * step.subs({G[n]: whole[present], G[n + 1]: whole[present + 1], mu[n + 1]: 1}).subs(n, present)
                / min(present + 1, servers)
            )
        law = [weight / sum(law) for weight in law]
        yield relative(solved.in_system_pmf, [float(probability) for probability in law])
        yield relative(solved.throughput, float(flow(most, law, whole)))
        yield relative(solved.mean_response, float(in_system(most, law, whole)))
        serve = [float(min(present, servers)) for present in range(most + 1)]
        yield relative(solved.mean_wait, float(waiting(servers, 1.0, most, law, serve, solved.throughput)))
        late = sum(finding(present, law, serve, solved.throughput) for present in range(servers, most))
        yield relative(solved.delay_probability, float(late))
        for disk, state in enumerate(solved.disks):
            one, other = (each[m] for m in range(3) if m != disk)
            others = times(one, other) + [sp.Integer(0)] * buffers[disk]
            yield relative(state.blocking, float(full(buffers[disk], most, law, each[disk], others, whole)))


DERIVATION = Derivation(
    name="blocking",
    title="Blocking, throughput and waits",
    statement=r"""
        In the product form let $g_{i,k}=\prod_{j<k}\lambda_i(j)/k!$ and let $G$ be the convolution of $g_1,\dots,g_N$.
        The total present has the law of a birth--death chain with births $(n+1)G_{n+1}/G_n$ and deaths $\mu(n)$,
        given which disk $i$ has $k$ present with probability $g_{i,k}H_{i,n-k}/G_n$, where $H_i$ is the convolution of
        the others. Blocking of an open disk is the probability that its buffer is full.
    """,
    symbols={
        n: "requests present, of all disks",
        k: "requests present, of one disk",
        K: "buffer of that disk",
        M: r"most requests present, $\sum_i K_i$, or $Q$ where the rest is refused",
        x: "argument of the generating functions",
        g: r"coefficients of the disk's series $g(x)=\sum_k g_k x^k$",
        G: "coefficients of the product of all disks' series",
        H: "the same without that disk",
        P: r"law of the total, $P_n$",
        mu: r"completion rate with $n$ present, $\mu_n$ [1/s]",
        X: "throughput [1/s]",
        c: "servers",
        S: "mean service time of one of them [s]",
        rho: "offered load of one server",
        a: "offered load of many [erlangs]",
        B: "blocking with one server less",
    },
    assumptions=(
        "Those of the product form.",
        "Open disks have Poisson arrivals; what finds its buffer full is lost.",
    ),
    steps=(
        Step(
            r"""
            Summed over all $n_i$ with the same total, the product form is $P_n\propto\frac{n!}{\prod_{j\le
            n}\mu_j}G_n$, the product of the series being the generating function of the sums. Hence the total has
            the law of a chain of births and deaths with
            """,
            sp.Eq(P[n + 1] / P[n], step, evaluate=False),
        ),
        Step(
            r"""
            Given $n$ present, the arrival rate is $\sum_i\sum_k\lambda_i(k)\,g_{i,k}H_{i,n-k}/G_n$, and
            $\lambda_i(k)\,g_{i,k}=(k+1)g_{i,k+1}$ by the definition of $g_i$: the coefficients of $g_i'(x)$. So the
            sum over the disks has the generating function (written for three)
            """,
            merged,
        ),
        Step(
            r"""
            which is $G'(x)$, by the product rule for any number of disks. The derivative of $G_{n+1}x^{n+1}$ is the
            term of $x^n$ in it, so that the arrival rate with $n$ present is
            """,
            arrival_rate,
        ),
        Step("in agreement with the ratio above. What is accepted is the throughput,", throughput),
        Step(
            r"""
            and by Little's law the mean response is the mean number present over that,
            """,
            response,
        ),
        Step(
            r"""
            A request that is accepted with $n$ present comes with the flow $P_n(n+1)G_{n+1}/G_n$, which by the ratio
            above is that of the departures to $n$. As a fraction of all,
            """,
            found,
        ),
        Step(
            r"""
            is the law of what accepted requests find, and departing ones leave behind. With $c$ servers of mean
            service time $S$ one that finds $n\ge c$ waits for $n-c+1$ completions at rate $c/S$, on average
            """,
            wait,
        ),
        Step(r"One disk has $k$ of the $n$ that are present with probability", occupancy),
        Step(
            r"""
            and since Poisson arrivals see time averages, the fraction of its arrivals that is lost is $P(n_i=K)$:
            """,
            blocking,
        ),
        Step(
            r"""
            A single disk recovers the textbook's stations. With one server the weights are $\rho^n$, and blocking is
            """,
            one_server,
        ),
        Step("With a server for each request they are $a^n/n!$, and blocking is Erlang's", loss),
        Step(
            r"""
            whose sum has one term more than that for $K-1$: eliminated by the blocking $B$ there, it leaves Erlang's
            recursion
            """,
            recursion,
        ),
    ),
    formulas={
        "arrival_rate": arrival_rate,
        "throughput": throughput,
        "response": response,
        "found": found,
        "wait": wait,
        "blocking": blocking,
        "one_server": one_server,
        "loss": loss,
        "recursion": recursion,
    },
    checks=(
        Check(
            r"""The arrival rate from $G$ is that added up over three disks of buffers 3, 2 and 1, with all
            $\lambda_i(k)$ as symbols.""",
            product_rule,
        ),
        Check(
            "Throughput counts what leaves as well as what is accepted: the terms are equal one by one.",
            lambda d: [P[n] * d["arrival_rate"] - P[n] * step * mu[n + 1]],
        ),
        Check(
            r"Blocking of single disks: recursions and, for $\rho\to1$, $1/(K+1)$.",
            recursions,
        ),
        Check(r"\texttt{mmck} and \texttt{erlang\_b} at random loads.", stations, CLOSE),
        Check(
            """Law of the total, throughput, response, wait, probability of a wait, and blocking of each of three
            different disks, by the solver.""",
            library,
            CLOSE,
        ),
    ),
)
