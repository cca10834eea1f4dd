r"""A slot is held longer than the device works: c + X δ slots, the bandwidth-delay product of a storage queue.

A slot is taken from the submission until its completion has been handled, δ longer than the device works on it. By
Little's law the slots in use are X (S + δ) on average, so that c servers kept busy hold c + X δ of them. That many are
necessary; with constant times they are enough, and with exponential service the loss there is known in closed form.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import sympy as sp

import qtheory as qt
from derivations import blocking, saturated_line, square_root_law
from derivations.derivation import CLOSE, SEED, Check, Derivation, Step, relative
from derivations.square_root_law import integral
from qtheory.sizing.closed_forms import own_share

N = sp.Symbol("N", integer=True, positive=True)
Q = sp.Symbol("Q", integer=True, positive=True)
c = sp.Symbol("c", integer=True, positive=True)
n = sp.Symbol("n", integer=True, nonnegative=True)
X, S, delta, A = sp.symbols("X S delta A", positive=True)

# Little's law at the slots and at the servers.
held = sp.expand(X * (S + delta))
full_rate = sp.solve(sp.Eq(X * S, c), X)[0]
slots = held.subs(X * S, c)
knee = sp.factor(slots.subs(X, full_rate))
divided = N * knee
bound = sp.Min(sp.solve(sp.Eq(held, Q), X)[0], full_rate)

# Exponential service: the law of the number n at the device, whose weights change form at c.
turning = delta ** (Q - n) / sp.factorial(Q - n)
below, above = S**n / sp.factorial(n) * turning, S**n / (sp.factorial(c) * c ** (n - c)) * turning
weights = sp.Sum(below, (n, 0, c)) + sp.Sum(above, (n, c + 1, Q))
busy = sp.Sum(n * below, (n, 0, c)) + c * sp.Sum(above, (n, c + 1, Q))
throughput = busy / weights / S

# One server idles when all slots turn around: P(Q in turnaround) is Erlang's B.
one_server = 1 - blocking.loss.subs({blocking.K: Q, blocking.a: A})
margin_loss = 1 / (sp.sqrt(A) * integral)


def one(d: Derivation) -> Iterator[sp.Expr]:
    """Few slots, written out: never a wait up to c, one server as Erlang's B, and Little's law at the knee."""
    for limit in range(1, 6):
        few = sum(above.subs({c: 1, n: m, Q: limit}) for m in range(1, limit + 1)) / S
        everything = few * S + below.subs({n: 0, Q: limit})
        yield sp.cancel(few / everything - (d["one_server"].subs(Q, limit).doit().subs(A, delta / S)) / S)
        free = sp.Sum(n * below, (n, 0, limit)) / sp.Sum(below, (n, 0, limit)) / S
        yield sp.cancel(free.subs(Q, limit).doit() - limit / (S + delta))
    yield d["slots"].subs(X, full_rate) - d["knee"]
    yield d["bound"].subs(Q, d["knee"]) - full_rate
    yield d["margin_loss"].subs(square_root_law.beta, 0) - sp.sqrt(2 / (sp.pi * A))


def constant_times(d: Derivation) -> Iterator[sp.Expr]:
    """Starts of service with constant times, one by one, until they repeat: against the bound."""
    for servers, limit, service, turnaround in ((1, 3, 2, 5), (4, 4, 20, 2), (4, 5, 20, 2), (3, 7, 4, 7), (2, 9, 3, 5)):
        starts: list[sp.Expr] = []
        for request in range(60 * limit):
            after_server = starts[request - servers] + service if request >= servers else 0
            after_slot = starts[request - limit] + service + turnaround if request >= limit else 0
            starts.append(max(sp.Integer(after_server), sp.Integer(after_slot)))
        period = servers * limit
        rate = period / (starts[-1] - starts[-1 - period])
        yield rate - d["bound"].subs({Q: limit, c: servers, S: service, delta: turnaround})


def library(d: Derivation) -> Iterator[float]:
    rng = random.Random(SEED)
    needed = d.lambdified("slots", c, X, delta)
    apart = d.lambdified("divided", N, c, S, delta)
    rate = d.lambdified("throughput", Q, c, S, delta)
    for _ in range(20):
        servers, service = rng.randint(1, 16), rng.uniform(1e-5, 1e-2)
        turnaround, limit = service * rng.uniform(0.01, 3.0), rng.randint(servers + 1, 80)
        guest = qt.Disk(qt.Closed(limit, think_time=turnaround), buffer=limit)
        solved = qt.solve(qt.Engine([guest], qt.Device(servers, qt.Exponential(mean=service))))
        yield relative(solved.throughput, float(rate(limit, servers, service, turnaround)))
        share = own_share(servers=servers, throughput=solved.throughput, turnaround=turnaround)
        yield relative(share, float(needed(servers, solved.throughput, turnaround)))
        share = own_share(servers=servers, throughput=servers / service, turnaround=turnaround)
        yield relative(7 * share, float(apart(7, servers, service, turnaround)))


def order_of_error(d: Derivation) -> Iterator[float]:
    """Loss of one server at Q = A + β√A, over its limit: how much nearer to 1 with four times the turnaround."""
    limit = d.lambdified("margin_loss", A, square_root_law.beta)
    lost = d.lambdified("one_server", Q, A)
    for margin in (0, 1, 2):
        off = [(1 - lost(root**2 + margin * root, root**2)) / limit(root**2, margin) - 1 for root in (10, 20, 40)]
        yield float(off[1] / off[0] - 0.5)
        yield float(off[2] / off[1] - 0.5)


DERIVATION = Derivation(
    name="bandwidth_delay",
    title="The bandwidth-delay product of a storage queue",
    statement=r"""
        Let each of $Q$ slots be held by a request for the time of its service, mean $S$, at one of $c$ servers, for
        its wait there, and for a turnaround of mean $\delta$, and be taken again at once. The throughput is at most
        $\min(Q/(S+\delta),c/S)$, so that no less than $c+X\delta$ slots keep the servers busy, $X=c/S$. With constant
        times that many, rounded up, do. With exponential service one server loses the fraction $B(Q,\delta/S)$, $B$
        being Erlang's, which is of the order of $\sqrt{S/\delta}$ at $Q=X\delta$ and decided by a margin of a multiple
        of $\sqrt{X\delta}$.
    """,
    symbols={
        N: "disks with a device and slots of their own",
        Q: "slots",
        c: "servers",
        X: "throughput [1/s]",
        S: "mean service time [s]",
        delta: "mean turnaround: time that a slot is held beyond wait and service [s]",
        A: r"turnaround over service time, $\delta/S$; for one server $X\delta$",
        n: "requests at the device",
        saturated_line.epsilon: "fraction of the throughput that is lost",
        square_root_law.beta: r"margin above $A$, in units of $\sqrt A$",
    },
    assumptions=(
        "There is always a request to take a free slot (saturated guests).",
        "First come, first served; for the closed forms exponential service and a turnaround of any law.",
    ),
    steps=(
        Step(
            r"""
            By Little's law the slots that are held by requests in service or turned around are, on average,
            """,
            held,
        ),
        Step(
            r"""
            which is at most $Q$; and the busy servers, $XS$, are at most $c$. Hence
            """,
            sp.LessThan(X, bound),
        ),
        Step(
            r"""
            All servers are always busy, $XS=c$, only if $Q$ is at least the first of these, which with $X=c/S$ is the
            second:
            """,
            slots,
            knee,
        ),
        Step(
            r"""
            So $N$ disks, each with such a device and with slots of its own, need
            """,
            divided,
        ),
        Step(
            r"""
            which for single servers is $1+\delta/S$ a disk. Behind one line they need, even with no turnaround, for a
            loss of $\varepsilon$ (section~\ref{derivation:saturated_line})
            """,
            saturated_line.slope,
        ),
        Step(
            r"""
            a disk: to divide the slots does more than to add some. \emph{Constant times.} No request overtakes
            another, so the start $s_m$ of the $m$-th service is $\max(s_{m-c}+S,\,s_{m-Q}+S+\delta)$: a timed event
            graph of two circuits, whose rate is the least of tokens over time, $c/S$ and $Q/(S+\delta)$ (Baccelli,
            Cohen, Olsder and Quadrat 1992). The bound is attained.

            \emph{Exponential service.} A closed network of the device and of the turnaround, which is a station with a
            server for each: $n\le Q$ are at the device with a probability in proportion to
            """,
            sp.Piecewise((below, n <= c), (above, True)),
        ),
        Step(
            r"""
            whatever the law of the turnaround. With up to $c$ slots nobody waits, and the bound $Q/(S+\delta)$ is
            attained. With more, the throughput is the mean number of busy servers over $S$,
            """,
            throughput,
        ),
        Step(
            r"""
            For one server the weights are, in the number $k=Q-n$ that is turned around and up to a factor, $A^k/k!$.
            It idles with all $Q$ there; so it is busy a fraction
            """,
            one_server,
        ),
        Step(
            r"""
            of time. By the limit of Erlang's B (section~\ref{derivation:square_root_law}), at $Q=A+\beta\sqrt A$ the
            loss is, as $A\to\infty$, asymptotically
            """,
            margin_loss,
        ),
        Step("which with no margin is", sp.simplify(margin_loss.subs(square_root_law.beta, 0))),
    ),
    formulas={
        "slots": slots,
        "knee": knee,
        "divided": divided,
        "bound": bound,
        "throughput": throughput,
        "one_server": one_server,
        "margin_loss": margin_loss,
    },
    checks=(
        Check("Closed forms for up to $c$ slots and for one server, from the weights; the knee; no margin.", one),
        Check("Constant times, service by service in whole numbers, until they repeat: the bound.", constant_times),
        Check(
            r"""Throughput of a closed guest by the solver, 1 to 16 servers and up to 80 slots; \texttt{own\_share} is
            $c+X\delta$.""",
            library,
            CLOSE,
        ),
        Check(
            r"The relative error of the limit for one server halves as $A$ grows fourfold, from 100 to 1600.",
            order_of_error,
            0.06,
        ),
    ),
)
