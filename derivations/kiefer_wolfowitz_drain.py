r"""
The drain time is the largest of the ordered workloads: V_1 is the wait, V_c the drain (Kiefer and Wolfowitz, 1955).

V_1 <= ... <= V_c are the times for which the c servers would still work if nothing more were accepted. One recursion
moves them; a request that comes reads its wait off the first, a stop its drain off the last. For Poisson arrivals and
exponential service the stationary law of the whole vector is a closed form, derived here from its forward equation.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import product

import numpy as np
import sympy as sp

from derivations.derivation import CLOSE, SEED, Check, Derivation, Step, relative
from qtheory.simulate.fcfs import serve
from qtheory.stations import erlang_c

c = sp.Symbol("c", integer=True, positive=True)
b = sp.Symbol("b", integer=True, nonnegative=True)
first, here, after, last = sp.symbols("V_1 V_j V_{j+1} V_c", nonnegative=True)
S = sp.Symbol("S", nonnegative=True)
work = sp.Symbol("W", nonnegative=True)
u = sp.Symbol("u", positive=True)
lam, mu, a = sp.symbols("lambda mu a", positive=True)

# V_1 + S put back in order among V_2 <= ... <= V_c: what it passes moves down by one place.
inserted = sp.Min(sp.Max(first + S, here), after)
drain = inserted.subs({here: last, after: sp.oo})

# Density of the ordered workloads of which b are positive, and so V_1 = 0 where b < c, over P(empty).
density = lam**b * sp.exp(lam * first - mu * work)
arriving = sp.simplify(density.subs({first: u, work: work - here + u}) * mu * sp.exp(-mu * (here - u)) / density)
through = sp.simplify(sp.integrate(arriving, (u, 0, first)))
idle = sp.simplify(density.subs({b: c - 1, first: 0, work: work - here}) * mu * sp.exp(-mu * here) / density.subs(b, c))
into = sp.simplify(lam * c * (through + idle))
moving = sp.simplify((sp.diff(density, first) + c * sp.diff(density, work)) / density)
all_busy = a**c / sp.factorial(c - 1) / (c - a)


def placed(servers: int) -> Iterator[tuple[list[sp.Expr], sp.Expr, list[sp.Expr]]]:
    """Ordered workloads, a service time, and the workloads then, for each place that V_1 + S may take.

    All are sums of symbols that are not negative, so that sympy decides every maximum and minimum of them.
    """
    under, over = sp.symbols("under over", nonnegative=True)
    for place in range(servers):
        v = [first]
        for j in range(1, servers):
            v.append(v[-1] + (under + over if j == place + 1 else sp.Symbol(f"gap_{j}", nonnegative=True)))
        service = v[place] - v[0] + under
        yield v, service, [*v[1 : place + 1], v[0] + service, *v[place + 1 :]]


def in_order(d: Derivation) -> Iterator[sp.Expr]:
    for servers in range(1, 5):
        for v, service, then in placed(servers):
            for j, expected in enumerate(then[:-1]):
                at = {first: v[0], S: service, here: v[j], after: v[j + 1]}
                yield sp.expand(d["inserted"].subs(at, simultaneous=True) - expected)
            yield sp.expand(d["drain"].subs({first: v[0], S: service, last: v[-1]}, simultaneous=True) - then[-1])


def spread(_: Derivation) -> Iterator[sp.Expr]:
    """What V_c − V_1 is below the larger of what it was and S, as far as that is negative."""
    for servers in range(1, 5):
        for v, service, then in placed(servers):
            below = sp.expand(sp.Max(v[-1] - v[0], service) - (then[-1] - then[0]))
            yield sp.Integer(0) if below.is_nonnegative else below


def by_definition(gaps: tuple[int, ...], services: tuple[int, ...], servers: int) -> Iterator[tuple[int, int]]:
    """Waits, and drains that would follow: a request starts when fewer than c of those before it are not done."""
    now, ends = 0, [0] * servers
    for gap, service in zip(gaps, services, strict=True):
        now += gap
        start = max(now, sorted(ends)[-servers])
        ends.append(start + service)
        yield start - now, max(ends) - now


def by_recursion(d: Derivation) -> Callable[[Sequence[float], Sequence[float], int], list[tuple[float, float]]]:
    """The same by the recursion of the workloads."""
    insert, finish = d.lambdified("inserted", first, S, here, after), d.lambdified("drain", first, S, last)

    def follow(gaps: Sequence[float], services: Sequence[float], servers: int) -> list[tuple[float, float]]:
        found, v = [], [0.0] * servers
        for gap, service in zip(gaps, services, strict=True):
            v = [max(one - gap, 0.0) for one in v]
            wait = v[0]
            lower = [insert(wait, service, v[j], v[j + 1]) for j in range(servers - 1)]
            v = [*lower, finish(wait, service, v[-1])]
            found.append((wait, v[-1]))
        return found

    return follow


def exhaustively(d: Derivation) -> Iterator[sp.Expr]:
    """How many of all sequences with gaps of 0, 1, 2 and services of 1, 2, 4, 7 differ."""
    follow = by_recursion(d)
    for servers, requests in ((1, 3), (2, 4), (3, 4)):
        wrong = 0
        for gaps in product((0, 1, 2), repeat=requests - 1):
            for services in product((1, 2, 4, 7), repeat=requests):
                of = ((0, *gaps), services, servers)
                wrong += follow(*of) != list(by_definition(*of))
        yield sp.Integer(wrong)


def simulator(d: Derivation) -> Iterator[float]:
    """The drain that the simulator's kernel finds at each arrival, in absolute times."""
    rng = np.random.default_rng(SEED)
    for servers in (1, 2, 5, 16):
        requests = 400
        gaps = rng.exponential(1.0, requests)
        services = rng.lognormal(0.0, 1.0, requests) * 0.55 * servers
        size = servers + requests
        departure, peak = np.full(size, -np.inf), np.full(size, -np.inf)
        start, completion, found = np.empty(requests), np.empty(requests), np.empty(requests)
        arrival = np.cumsum(gaps)
        one = np.array([requests], dtype=np.uint64)
        serve(
            arrival, np.zeros(requests, np.int32), services, servers, 1 << 40, 1 << 40, False, one, one * np.uint64(0),
            departure, np.zeros(size, np.int32), peak, servers, start, completion, found,
        )  # fmt: skip
        followed = by_recursion(d)(gaps.tolist(), services.tolist(), servers)
        waits, drains = np.array([[float(wait), float(left)] for wait, left in followed]).T
        scale = arrival[-1]  # of the absolute times, whose rounding this is
        yield relative((start - arrival + scale) / scale, (waits + scale) / scale)
        yield relative(found[1:] + scale, np.maximum(drains[:-1] - gaps[1:], 0.0) + scale)


def face(d: Derivation, servers: int, of: int) -> tuple[list[sp.Symbol], sp.Expr]:
    """The workloads of the `servers` that are busy of all, in order, and their density."""
    v = list(sp.symbols(f"v_1:{servers + 1}", positive=True))
    smallest = v[0] if servers == of else 0
    return v, d["density"].subs({b: servers, first: smallest, work: sum(v)}, simultaneous=True)


def forward(d: Derivation) -> Iterator[sp.Expr]:
    """What flows into each state: by the passing of time, from where one server more was busy, and by arrivals."""
    for of in (1, 2, 3):
        for servers in range(of + 1):
            v, f = face(d, servers, of)
            flow = sum((sp.diff(f, one) for one in v), sp.Integer(0)) - lam * f
            if servers < of:
                w, above = face(d, servers + 1, of)
                flow += above.subs(dict(zip(w, [0, *v], strict=True)), simultaneous=True)
            for j in range(servers):
                others = [*v[:j], *v[j + 1 :]]
                w, below = face(d, servers - 1, of)
                came = below.subs(dict(zip(w, others, strict=True)), simultaneous=True) * mu * sp.exp(-mu * v[j])
                if servers == of:
                    at = dict(zip(v, [u, *others], strict=True))
                    grown = f.subs(at, simultaneous=True) * mu * sp.exp(-mu * (v[j] - u))
                    came += sp.integrate(sp.powsimp(sp.expand(grown)), (u, 0, v[0]))
                flow += lam * came
            yield sp.simplify(sp.expand(flow / f))


def masses(d: Derivation) -> Iterator[sp.Expr]:
    """The density over 0 < v_1 < ... < v_b, integrated from the largest on."""
    spare = sp.Symbol("spare", positive=True)
    for of in (1, 2, 3):
        for servers in range(1, of + 1):
            v, f = face(d, servers, of)
            f = f.subs(lam, of * mu - spare) if servers == of else f
            for j in range(servers - 1, -1, -1):
                f = sp.integrate(sp.powsimp(sp.expand(f)), (v[j], v[j - 1] if j else 0, sp.oo))
            f = f.subs({spare: of * mu - lam}).subs(lam, a * mu)
            yield sp.cancel(f - (d["all_busy"].subs(c, of) if servers == of else a**servers / sp.factorial(servers)))


def delayed(d: Derivation) -> Iterator[float]:
    rng = random.Random(SEED)
    formula = d.lambdified("all_busy", c, a)
    for _ in range(10):
        servers = rng.randint(1, 60)
        load = servers * rng.uniform(0.1, 0.95)
        found = float(formula(servers, load))
        fewer = float(sum(sp.Float(load, 30) ** n / sp.factorial(n) for n in range(servers)))
        yield relative(found / (fewer + found), erlang_c(servers=servers, load=load))


DERIVATION = Derivation(
    name="kiefer_wolfowitz_drain",
    title="Drain time and the Kiefer--Wolfowitz workloads",
    statement=r"""
        Let $V_1(t)\le\dots\le V_c(t)$ be the times for which the $c$ servers would still work if no request were
        accepted after $t$. (i) A request accepted at $t$ waits $V_1(t)$, and with its service time $S$ the workloads
        become $\min\{\max(V_1+S,V_j),V_{j+1}\}$, $j<c$, and $\max(V_1+S,V_c)$. (ii) If nothing is accepted after $t$,
        the last request completes at $t+V_c(t)$: \emph{the drain time is $V_c$}. (iii) With $W=\sum_jV_j$, $W/c\le
        V_c\le W/c+(1-1/c)\,S_{\max}$, $S_{\max}$ the longest service accepted. (iv) If requests and stops come by
        independent Poisson processes, arrivals and stops find the same stationary law of $V$; if service is exponential
        with rate $\mu$ as well, and $\lambda<c\mu$, its density where $b$ workloads are positive is
        $P(\text{empty})\,\lambda^b e^{\lambda V_1-\mu W}$.
    """,
    symbols={
        first: "smallest workload: the wait of a request that comes now [s]",
        here: "$j$-th smallest workload [s]",
        after: "the next [s]",
        last: "largest workload: the drain time of a stop now [s]",
        S: "service time of the request accepted [s]",
        work: "all work present, the sum of the workloads [s]",
        c: "servers",
        b: "workloads that are positive: busy servers",
        u: r"smallest workload before the arrival [s]",
        lam: "arrival rate [1/s]",
        mu: "service rate of a server [1/s]",
        a: r"offered load $\lambda/\mu$",
    },
    assumptions=(
        "First come, first served, one line before equal servers, none idle while a request waits.",
        r"""
        What is accepted is counted wherever it waits. A limit $Q<c$ makes it $Q$ servers; where requests beyond $Q$
        stay in the rings, a drain waits for the first $Q$ accepted only, and (ii) holds for these.
        """,
        "Servers' rates do not depend on how many are busy. (i)--(iii) hold for any arrivals and any service times.",
    ),
    steps=(
        Step(
            r"""
            \emph{Proof of (i) and (ii).} Let $D_j$ be the time at which server $j$ has completed all that it was ever
            given. By induction over the requests, $V(t)$ is $(D_j-t)^+$ in order. A request that comes at $t$ starts
            after all before it, when the first server is free: at $\max(t,\min_jD_j)=t+V_1(t)$. That server's $D_j$
            becomes $t+V_1+S$, and no other changes. Between arrivals every $(D_j-t)^+$ falls at rate 1 until it is 0,
            which keeps their order. A server completes its requests in turn, so $D_j$ is the last of its completions,
            and $\max_jD_j$ the last of all: $V_c(t)$ is the time from $t$ until it. Put in order again,
            $V_1+S,V_2,\dots,V_c$ are, for $j<c$ and for $j=c$,
            """,
            inserted,
            drain,
        ),
        Step(
            r"""
            \emph{Proof of (iii).} No server works for longer than $V_c$, so $W\le cV_c$. And
            $cV_c-W=\sum_j(V_c-V_j)\le(c-1)(V_c-V_1)$, where $V_c-V_1$ starts from 0, does not grow between arrivals,
            and at an arrival becomes at most $\max(V_c-V_1,S)$.
            """
        ),
        Step(
            r"""
            \emph{Proof of (iv).} Poisson arrivals see time averages (Wolff, 1982), whether they are requests or stops.
            For the density let $f_b(v_1,\dots,v_b)$ be the candidate, over $P(\text{empty})$, on the states with $b$
            positive workloads. With $b<c$ three flows enter a state: time passes ($\sum_j\partial f_b/\partial
            v_j=-b\mu f_b$), the smallest of $b+1$ workloads reaches 0 ($f_{b+1}(0,v)=\lambda f_b$), and an arrival has
            made one of the $v_j$ ($\lambda\sum_jf_{b-1}(v\setminus v_j)\,\mu e^{-\mu v_j}=b\mu f_b$); arrivals take
            $\lambda f_b$ away. The sum is 0. With all $c$ busy, an arrival that made $v_j=u+S$ found the smallest
            workload at $u\le v_1$ and the others as they are. Its flow, over the density now, is
            """,
            arriving,
        ),
        Step(r"for each $u$, and over all $u>0$ and at $u=0$, where a server was idle, it is", through, idle),
        Step(r"so that all arrivals, with any of the $c$ workloads theirs, bring", into),
        Step(
            r"""
            while the passing of time brings what follows; with $-\lambda$, what arrivals take away, the sum is 0 again:
            """,
            moving,
        ),
        Step(
            r"""
            Integrated over $0<v_1<\dots<v_b$ the density gives $a^b/b!$ for $b<c$. In the differences $v_{j+1}-v_j$ the
            exponent is $-(c\mu-\lambda)v_1-\sum_j(c-j)\mu(v_{j+1}-v_j)$, so that with all servers busy \emph{$V_1$ and
            the differences are independent exponentials}, with rates $c\mu-\lambda$ and $(c-j)\mu$; the integral is
            there
            """,
            all_busy,
        ),
    ),
    formulas={"inserted": inserted, "drain": drain, "density": density, "all_busy": all_busy},
    checks=(
        Check(r"$V_1+S$ is put in order, wherever it falls among up to 4 workloads.", in_order),
        Check(r"The density has the integrals stated, for $c\le3$.", masses),
        Check(r"It solves its forward equation, for $c\le3$ and every number busy.", forward),
        Check(r"An arrival leaves $V_c-V_1$ at most the larger of it and $S$, among up to 4 workloads.", spread),
        Check(
            r"$V_1$ and $V_c$ are wait and last completion by the definition of first come, first served, in every "
            r"sequence of up to 4 requests with gaps from $\{0,1,2\}$ and service times from $\{1,2,4,7\}$, "
            r"$c\le3$.",
            exhaustively,
        ),
        Check("The simulator's waits and drains are those of the recursion.", simulator, CLOSE),
        Check(r"P(all servers busy) is the library's Erlang C.", delayed, CLOSE),
    ),
)
