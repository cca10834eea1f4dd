r"""
A rate limit does not bound the drain: each disk's backlog is released in turn, and the stop takes longer for it.

A saturated disk behind QEMU's leaky bucket passes one request each 1/r; all others that it has outstanding wait in the
bucket's queue, and are pending. A stop drains the disks one by one, and lifts the limit of each as its turn comes.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator

import sympy as sp

import qtheory as qt
from derivations.derivation import CLOSE, SEED, Check, Derivation, Step, relative, upright

M, N, c = sp.symbols("M N c", integer=True, positive=True)
i = sp.Symbol("i", integer=True, nonnegative=True)
n = sp.Symbol("n", integer=True, positive=True)
r, S, mu, rho, u = sp.symbols("r S mu rho u", positive=True)
b = sp.Symbol("b", nonnegative=True)
tau = sp.Function("tau")

# Turns: of disk i's M requests r τ_i are done before, the others take S/c each, and b in all besides.
turn = tau(i) + (M - r * tau(i)) * S / c + b
solved = sp.rsolve(sp.Eq(tau(i + 1), turn), tau(i), {tau(0): 0})
stop = sp.factor(sp.powsimp(sp.expand(sp.simplify(solved.subs(S, rho * c / r).subs(i, N) / (M / r + b / rho)))))
stop = (M / r + b / rho) * sp.simplify(stop.subs(rho, 1 - u)).subs(u, 1 - rho)

# Without a limit all devices work at once, and each does M requests.
unlimited = (M * S / c).subs(S, rho * c / r)
ratio = upright(sp.factor(sp.simplify(stop.subs(b, 0) / unlimited)), {rho: 0.5, N: 2})
few, many = sp.limit(ratio, rho, 0), sp.limit(stop.subs({b: 0, rho: sp.Rational(1, 4)}), N, sp.oo)

# What n >= c requests take beyond nS/c: whole services, with requests passed rounded down; exponential service.
rounded = sp.simplify((n + 1 + c - 1) * S / c - n * S / c)
exponential = sp.expand((n - c) / (c * mu) + sp.harmonic(c) / mu - n / (c * mu))


def induction(of: Derivation) -> Iterator[sp.Expr]:
    closed = of["stop"].subs(N, i)
    step = turn.subs(tau(i), closed).subs(S, rho * c / r)
    yield sp.simplify(sp.expand(sp.powsimp(sp.expand(closed.subs(i, i + 1) - step))))
    yield of["stop"].subs(N, 0)


def longer(of: Derivation) -> Iterator[sp.Expr]:
    """The ratio is a sum of powers from 1 on, so that it is at least 1 and at most N."""
    for disks in range(1, 7):
        yield sp.cancel(of["ratio"].subs(N, disks) - sum((1 - rho) ** k for k in range(disks)))


def by_definition(requests: int, disks: int, servers: int, rate: sp.Rational) -> sp.Rational:
    """The stop with constant service of 1, turn by turn, all that has passed counted as whole requests."""
    now = sp.Integer(0)
    for _ in range(disks):
        now += sp.ceiling((requests - sp.floor(rate * now)) / sp.Integer(servers))
    return now


def bounds(of: Derivation) -> Iterator[sp.Expr]:
    """How far the stop is below the closed form with b = 0, or above that with b = S."""
    rng = random.Random(SEED)
    for _ in range(40):
        requests, disks, servers = rng.randint(20, 200), rng.randint(1, 8), rng.randint(1, 16)
        rate = sp.Rational(rng.randint(1, 99) * servers, 100)
        exact = by_definition(requests, disks, servers, rate)
        at = {M: requests, N: disks, r: rate, rho: rate / servers}
        low, high = (of["stop"].subs(at).subs(b, besides) for besides in (0, 1))
        yield sp.Max(low - exact, exact - high, 0)


def saturated(requests: int, disks: int, servers: int, law: qt.Law) -> qt.Engine:
    return qt.Engine([qt.Disk(qt.Closed(requests), device=qt.Device(servers, law))] * disks)


def whole_services(of: Derivation) -> Iterator[float]:
    """Where all turns take whole services, with nothing left over, the solver's stop is the closed form with b = 0."""
    rng = random.Random(SEED)
    stop_of = of.lambdified("stop", M, N, r, rho, b)
    for _ in range(6):
        servers, disks = rng.randint(2, 4), rng.randint(2, 3)
        passing, requests = rng.randint(1, servers - 1), servers**disks * rng.randint(1, 4)
        each = rng.uniform(1e-3, 0.1)
        found = qt.drain_time(saturated(requests, disks, servers, qt.Deterministic(each)), qt.RateLimit(passing / each))
        yield relative(found.mean, float(stop_of(requests, disks, passing / each, passing / servers, 0.0)))


def whole_requests(_: Derivation) -> Iterator[float]:
    """Where r S is whole, the solver's stop is that by definition; among them the one measured on QEMU."""
    rng = random.Random(SEED)
    for requests, disks, servers, passing in (
        (32, 4, 4, 1),
        *((rng.randint(20, 99), rng.randint(2, 5), 5, rng.randint(1, 4)) for _ in range(5)),
    ):
        each = 0.02
        found = qt.drain_time(saturated(requests, disks, servers, qt.Deterministic(each)), qt.RateLimit(passing / each))
        yield relative(found.mean, each * float(by_definition(requests, disks, servers, sp.Integer(passing))))


def together(requests: int, disks: int, servers: int, rate: float, rng: random.Random) -> tuple[float, float]:
    """A stop of disks that share a device with constant service of 1, event by event, and the work at the stop."""
    free, ends = [-50.0] * servers, [[0.0] for _ in range(disks)]
    due = [-50.0 + rng.random() / rate for _ in range(disks)]

    def serve(passing: list[tuple[float, int]]) -> None:
        for at, disk in sorted(passing):
            ends[disk].append(max(at, heapq.heappop(free)) + 1.0)
            heapq.heappush(free, ends[disk][-1])

    def passed(until: float, which: range, left: list[int]) -> list[tuple[float, int]]:
        found = []
        for disk in which:
            while due[disk] < until and left[disk] > 0:
                found.append((due[disk], disk))
                due[disk] += 1.0 / rate
                left[disk] -= 1
        return found

    serve(passed(0.0, range(disks), [10**9] * disks))
    outstanding = [one for disk in ends for one in disk if one > 0.0]
    left = [requests - sum(one > 0.0 for one in disk) for disk in ends]
    work = sum(min(one, 1.0) for one in outstanding) + sum(left)
    now = 0.0
    for disk in range(disks):
        serve([(now, disk)] * left[disk])
        now = max(now, *ends[disk])
        serve(passed(now, range(disk + 1, disks), left))
    return now, work


def shared(_: Derivation) -> Iterator[float]:
    """How far the stop is outside of its bounds by the work, before a shared device."""
    rng = random.Random(SEED)
    for _case in range(60):
        disks, servers = rng.randint(1, 8), rng.randint(1, 12)
        requests = rng.randint(servers, 100)
        rate = rng.uniform(0.05, 0.95) * servers / disks
        stop_at, work = together(requests, disks, servers, rate, rng)
        most = work / servers + disks * (1.0 - 1.0 / servers)
        yield max(work / servers - stop_at, stop_at - most, 0.0)


def on_a_grid(of: Derivation) -> Iterator[float]:
    """Exponential service: the solver's mean, which is on a grid."""
    stop_of = of.lambdified("stop", M, N, r, rho, b)
    for requests, disks, servers, load in ((24, 2, 2, 0.5),):
        each = 0.01
        limit = load * servers / each
        besides = float(exponential.subs({mu: 1 / each, c: servers}))
        engine = saturated(requests, disks, servers, qt.Exponential(each))
        found = qt.drain_time(engine, qt.RateLimit(limit))
        yield relative(found.mean, float(stop_of(requests, disks, limit, load, besides)))


DERIVATION = Derivation(
    name="drain_rate_limit",
    title="A rate limit, its released backlog, and disks drained one by one",
    statement=r"""
        Let $N$ saturated disks, with $M$ requests outstanding each and devices of $c$ servers of their own, be limited
        to $r$ requests a second each, $\rho=rS/c<1$, by a bucket behind the pop. A stop that drains them one after
        another, each released when its turn comes, takes $\frac Mr(1-(1-\rho)^N)$, and rounding adds between 0 and $S$
        a turn. Without a limit it takes $MS/c$: \emph{the limit makes the stop longer, by the factor
        $(1-(1-\rho)^N)/\rho$, between 1 and $N$, and the more the lower it is}. Before a device that all disks share it
        makes the stop longer by less than a service a disk.
    """,
    symbols={
        M: "requests that each disk keeps outstanding",
        N: "disks",
        c: "servers of each disk's device",
        r: "limit: requests that pass per second, for each disk [1/s]",
        S: "mean service time [s]",
        rho: "what the limit leaves of the device: $rS/c$",
        tau: "moment of a disk's turn, from the stop on [s]",
        i: "disks that had their turn",
        b: "what a turn takes beyond the work of its requests over $c$ [s]",
        n: "requests outstanding as a turn comes",
        mu: "service rate of a server, where service is exponential [1/s]",
        u: r"$1-\rho$",
    },
    assumptions=(
        "Guests are saturated before the stop and send nothing after it; the limit binds, and has held for long.",
        "What the bucket holds back is pending; a drain releases it at once (QEMU).",
        r"""
        The bucket goes on passing requests of disks that wait for their turn, at moments that nothing else depends on.
        """,
    ),
    steps=(
        Step(
            r"""
            A saturated disk keeps its bucket full: one request passes each $1/r$, and $M-rS$ of its $M$ requests wait
            in the bucket's queue in the mean. From the stop until disk $i$'s turn, at $\tau_i$, $r\tau_i$ of its
            requests are completed in the mean: the bucket and the device go on as before, and $\tau_i$ does not depend
            on them. At its turn the others are released together on $c$ servers. The next turn comes at
            """,
            sp.Eq(tau(i + 1), turn),
        ),
        Step(
            r"a linear recursion from $\tau_0=0$, solved by, with $S=\rho c/r$ and after $N$ turns,",
            sp.Eq(tau(N), stop),
        ),
        Step(
            "Without a limit all devices drain at once, each $M$ requests. With $b=0$ the stop is longer by the factor",
            ratio,
        ),
        Step(
            r"""
            which is $\sum_{i<N}(1-\rho)^i$, each turn finding $1-\rho$ of the backlog of the one before. It falls with
            $\rho$ from $N$ on, its limit at $\rho=0$; and with many disks the stop takes as long as the buckets
            themselves would have taken:
            """,
            few,
            sp.Eq(sp.Limit(tau(N), N, sp.oo), many),
        ),
        Step(
            r"""
            Constant service takes $\lceil n/c\rceil$ services for $n$ requests, and whole requests pass, $\lfloor
            r\tau\rfloor$ at least. So a turn takes between nothing and, beyond $(M-r\tau)S/c$, with $n+1$ for $n$ and
            $c-1$ to round up,
            """,
            rounded,
        ),
        Step(
            r"""
            more. Since $\tau_i$ enters $\tau_{i+1}$ with the factor $1-\rho>0$, the stop is between the closed forms
            with $b=0$ and with $b=S$. With exponential service the mean is linear in $n\ge c$, so that the closed form
            is exact in the mean while at least $c$ are left as each turn comes, with $b$, by
            section~\ref{derivation:drain_exponential},
            """,
            sp.Eq(b, exponential),
        ),
        Step(
            r"""
            \emph{One device for all disks.} While the request that ends a turn waits no server is idle, so that a turn
            leaves servers idle for no more than $c-1$ times the service $S_i$ of that request. All pending work $W$ is
            done between the stop and the end of the last turn, and so it ends between $W/c$ and $W/c+(1-1/c)\sum_iS_i$.
            Without the limit the same $W$ is pending, and the stop takes between $W/c$ and $W/c+(1-1/c)\max_iS_i$:
            before a shared device the limit neither bounds the stop nor lengthens it by more than a service a disk.
            """
        ),
    ),
    formulas={"stop": stop, "ratio": ratio},
    checks=(
        Check("The closed form solves the recursion.", induction),
        Check("The factor is a sum of powers, and so between 1 and $N$.", longer),
        Check(r"Turn by turn, with whole requests and services, the stop is within the bounds.", bounds),
        Check("Where nothing is rounded the stop is the solver's.", whole_services, CLOSE),
        Check("Where $rS$ is whole the stop, turn by turn, is the solver's.", whole_requests, CLOSE),
        Check("Before a shared device stops, event by event, are within the bounds by the work.", shared, 1e-9),
        Check("For exponential service the mean is the solver's, which is on a grid.", on_a_grid, 1e-4),
    ),
)
