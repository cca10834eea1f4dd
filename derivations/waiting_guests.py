r"""
Guests that wait for room: how many requests there are does not depend on the buffers, so long as each fills the device.

While a request waits in a guest, its buffer is full, and holds as many as there are servers; so no server is idle while
anybody waits anywhere. What is present, guests included, is then one line for all: M/G/c.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import product

import sympy as sp

import qtheory as qt
from derivations.derivation import CLOSE, SEED, Check, Derivation, Step, relative, upright

lam, mu, a, m, m2, z = sp.symbols("lambda mu a m m_2 z", positive=True)
rho = sp.Symbol("rho", positive=True)
c, K = sp.symbols("c K", integer=True, positive=True)
n, j = sp.symbols("n j", integer=True, nonnegative=True)

# Exponential service: the flow up from n equals that down from n + 1, below and from c on.
p = sp.Function("p")
below = sp.solve(sp.Eq(lam * p(n), (n + 1) * mu * p(n + 1)), p(n + 1))[0] / p(n)
beyond = sp.solve(sp.Eq(lam * p(n), c * mu * p(n + 1)), p(n + 1))[0] / p(n)
few = sp.simplify(sp.product(below.subs({n: j, lam: a * mu}), (j, 0, n - 1)).rewrite(sp.factorial))
often = sp.simplify(beyond.subs(lam, rho * c * mu))


def geometric(term: sp.Expr, first: sp.Expr) -> sp.Expr:
    """Sum of term over j from `first` on, for ρ < 1."""
    found = sp.summation(term.subs(j, j + first), (j, 0, sp.oo)).replace(sp.Piecewise, lambda *cases: cases[0][0])
    return upright(sp.factor(sp.simplify(found)), {rho: 0.5})


# The weights with a server free, a sum, and with none, which is geometric.
free = sp.summation(a**j / sp.factorial(j), (j, 0, c - 1)).subs(sp.lowergamma(c, a), sp.gamma(c) - sp.uppergamma(c, a))
free = sp.gammasimp(sp.expand(free.rewrite(sp.gamma)))
busy = few.subs(n, c) * geometric(often**j, sp.Integer(0))
waits = busy / (free + busy)
delayed = sp.Symbol("C", positive=True)
line = delayed * geometric(j * (1 - often) * often**j, sp.Integer(0))
present = line + a
in_guest = delayed * geometric((j - (K - c)) * (1 - often) * often**j, K - c)

# One server, any law: the transform of the number that a request leaves behind, and its mean.
beta = 1 - m * lam * (1 - z) + m2 * (lam * (1 - z)) ** 2 / 2  # E e^{−sS} to second order in s = λ(1 − z)
number = (1 - lam * m) * (1 - z) * beta / (beta - z)
left_behind = sp.limit(sp.diff(sp.cancel(number), z), z, 1)
single = sum(upright(sp.factor(term), {lam: 0.5, m: 1}) for term in sp.Add.make_args(sp.apart(left_behind, m2)))


State = tuple[tuple[int, ...], tuple[int, ...]]


def completions(state: State, servers: int) -> Iterator[State]:
    """Where each of the services in progress leads that ends: the order in the engine, how many wait in each guest."""
    order, guests = state
    for at, disk in enumerate(order[:servers]):
        rest, waiting = list(order[:at] + order[at + 1 :]), list(guests)
        if waiting[disk]:
            waiting[disk] -= 1
            rest.append(disk)
        yield tuple(rest), tuple(waiting)


def arrival(state: State, disk: int, buffers: tuple[int, ...]) -> State:
    order, guests = state
    if order.count(disk) < buffers[disk]:
        return (*order, disk), guests
    return order, tuple(g + (i == disk) for i, g in enumerate(guests))


def states(buffers: tuple[int, ...], servers: int, most: int) -> list[set[State]]:
    """What up to so many arrivals, and completions, lead to, by the total."""
    empty: State = (), tuple(0 for _ in buffers)
    found: list[set[State]] = [{empty}, *(set() for _ in range(most))]
    fresh = [empty]
    while fresh:
        state = fresh.pop()
        total = len(state[0]) + sum(state[1])
        reached = list(completions(state, servers))
        if total < most:
            reached += [arrival(state, disk, buffers) for disk in range(len(buffers))]
        for one in reached:
            level = found[len(one[0]) + sum(one[1])]
            if one not in level:
                level.add(one)
                fresh.append(one)
    return found


def lumped(_: Derivation) -> Iterator[sp.Expr]:
    """From every state of every total the total falls at the same rate, min(T, c)μ; with K < c from some at less."""
    small: tuple[tuple[tuple[int, ...], int], ...] = (
        ((1, 1), 1),
        ((1, 2), 1),
        ((2, 2), 2),
        ((2, 3), 2),
        ((1, 1, 2), 1),
        ((2, 2, 2), 2),
    )
    for buffers, servers in small:
        for total, level in enumerate(states(buffers, servers, 5)):
            yield sum((len(list(completions(state, servers))) * mu - min(total, servers) * mu) ** 2 for state in level)
    short = [len(list(completions(state, 2))) for state in states((1, 2), 2, 4)[3]]
    yield sp.Integer(min(short) - 1)
    # min(Σ min(n_i, K_i), c) = min(Σ n_i, c) for K_i >= c
    for servers in (1, 2, 3):
        for buffers in product(range(servers, servers + 3), repeat=2):
            for numbers in product(range(8), repeat=2):
                taken = sum(map(min, numbers, buffers))
                yield sp.Integer(min(taken, servers) - min(sum(numbers), servers))


def summed(of: Derivation) -> Iterator[sp.Expr]:
    """Erlang's delay formula, the line and what waits in the guest, with all terms written out for few servers."""
    for servers in (1, 2, 3):
        at = {a: servers * rho, c: servers}
        weights = [(servers * rho) ** k / sp.factorial(k) for k in range(servers)]
        last = (servers * rho) ** servers / sp.factorial(servers)  # of c, then ρ times as much each
        total = sum(weights) + last / (1 - rho)
        yield sp.simplify(sp.expand_func(of["waits"].subs(at)) - last / (1 - rho) / total)
        mean = sum(k * one for k, one in enumerate(weights)) + last * (servers + rho / (1 - rho)) / (1 - rho)
        yield sp.simplify(sp.expand_func(of["present"].subs(at)) - mean / total)
        for room in (servers, servers + 1, servers + 4):
            # from K on the number in the guest is as the line is from 0 on
            guest = last * rho ** (room - servers) * rho / (1 - rho) ** 2
            yield sp.simplify(sp.expand_func(of["in_guest"].subs(at).subs(K, room)) - guest / total)
    # with one server and exponential service both theories say the same
    exponential = of["single"].subs({m2: 2 * m**2, lam: rho / m})
    yield sp.simplify(sp.expand_func(of["present"].subs({c: 1, a: rho})) - exponential)


def total(engine: qt.Engine) -> tuple[float, float]:
    """How many are present, guests included; and how many of them in guests."""
    state = qt.solve(engine)
    in_guests = sum(disk.throughput * disk.mean_guest_wait for disk in state.disks)
    return state.mean_in_system + in_guests, in_guests


def solver(of: Derivation) -> Iterator[float]:
    """One disk, whose split is exact."""
    rng = random.Random(SEED)
    present_of, guest_of = of.lambdified("present", a, rho, c), of.lambdified("in_guest", a, rho, c, K)
    single_of = of.lambdified("single", lam, m, m2)
    for _ in range(4):
        servers, load, mean = rng.randint(1, 8), rng.uniform(0.2, 0.85), rng.uniform(1e-4, 1.0)
        room = servers + rng.randint(0, 8)
        disk = qt.Disk(qt.Poisson(load * servers / mean), buffer=room, full="wait")
        found = total(qt.Engine([disk], qt.Device(servers, qt.Exponential(mean))))
        offered = load * servers
        expected = present_of(offered, load, servers), guest_of(offered, load, servers, room)
        yield relative(found, [float(one) for one in expected])
    for room in (1, 2, 5):
        load, service = rng.uniform(0.2, 0.85), qt.Hyperexponential.balanced(mean=1.0, scv=rng.uniform(1.5, 4.0))
        disk = qt.Disk(qt.Poisson(load), buffer=room, full="wait")
        found = total(qt.Engine([disk], qt.Device(1, service)))
        yield relative(found[0], float(single_of(load, 1.0, 1.0 + service.scv)))


def several(of: Derivation) -> Iterator[float]:
    """Two disks: their total, whatever the solver makes of the split."""
    rng = random.Random(SEED)
    present_of = of.lambdified("present", a, rho, c)
    for rooms in ((2, 2), (2, 5), (4, 3)):
        load, share = rng.uniform(0.2, 0.8), rng.uniform(0.3, 0.7)
        rates = 2.0 * load * share, 2.0 * load * (1.0 - share)
        disks = [qt.Disk(qt.Poisson(r), buffer=k, full="wait") for r, k in zip(rates, rooms, strict=True)]
        found, _ = total(qt.Engine(disks, qt.Device(2, qt.Exponential(1.0))))
        yield relative(found, float(present_of(2.0 * load, load, 2)))


DERIVATION = Derivation(
    name="waiting_guests",
    title="Guests that wait for room",
    statement=r"""
        Let arrivals be Poisson, one device have $c$ servers and one service law for all disks, and $K_i\ge c$. Guests
        keep what finds the ring full, and hand over the oldest as soon as there is room. Then all requests that are
        there, in the guests too, have the law of the number in M/G/$c$, whatever the $K_i$.
    """,
    symbols={
        lam: "arrival rate of all disks together [1/s]",
        mu: "service rate of a server [1/s]",
        a: r"offered load $\lambda/\mu$",
        rho: r"utilization $a/c<1$",
        c: "servers",
        K: "buffer of a disk",
        n: "requests present, those in guests included",
        j: "index of sums",
        p: "law of the number present",
        delayed: "probability that a request finds no server free",
        m: "mean service time [s]",
        m2: "second moment of the service time [s$^2$]",
        z: "argument of the generating function",
    },
    assumptions=(
        "Arrivals are Poisson and independent of each other; service times are independent, of one law.",
        r"$K_i\ge c$, no rate limit, and no limit on requests in flight below $c$; $\rho<1$.",
        "Whom a free server takes does not depend on service times.",
    ),
    steps=(
        Step(
            r"""
            Let disk $i$ have $\bar n_i$ requests, $n_i=\min(\bar n_i,K_i)$ of them in the engine. If $\bar n_i\le K_i$
            for all $i$, all are in the engine. Otherwise some $n_i=K_i\ge c$. In both cases
            $\min(\sum_in_i,c)=\min(\sum_i\bar n_i,c)$: as many servers work as if all stood in one line. A server that
            becomes free takes a request whose service time does not depend on anything before; so the sequence of
            service times that begin is as in one line, and Poisson arrivals of all disks together are Poisson. By
            induction over arrivals and completions the total is that of M/G/$c$ with the same arrivals and the same
            service times in order of their beginnings.

            With exponential service the flow between $n$ and $n+1$ is the same both ways. Up to $c$, and from there,
            one more has the factor
            """,
            sp.Eq(p(n + 1) / p(n), below),
            sp.Eq(p(n + 1) / p(n), beyond),
        ),
        Step(r"so that with $a=\lambda/\mu$, $\rho=a/c$ the weights of $n\le c$ are", few),
        Step("and what finds a server free, and what does not, weigh", free, busy),
        Step("So a request waits with Erlang's probability", sp.Eq(delayed, waits)),
        Step("and those in line, a geometric number where no server is free, and all are on average", line, present),
        Step(
            r"\emph{One disk.} In its guest is all beyond $K$:",
            in_guest,
        ),
        Step(
            r"""
            \emph{One server, any law.} What a request leaves behind came while it was there, and satisfies
            $P(z)=(1-\rho)(1-z)B/(B-z)$, $B=E\,e^{-\lambda(1-z)S}$. To the second order at $z=1$,
            """,
            sp.Eq(sp.Symbol("B"), beta),
        ),
        Step(r"and the mean, the derivative there, is, for every $K\ge1$,", single),
    ),
    formulas={
        "waits": waits,
        "present": present.subs(delayed, waits),
        "in_guest": in_guest.subs(delayed, waits),
        "single": single,
    },
    checks=(
        Check("One disk: all present, and those in its guest, are the solver's.", solver, CLOSE),
        Check(
            r"In every state of order and guests the total falls at rate $\min(T,c)\mu$, for up to three disks and "
            r"five requests, and with $K_1<c$ in some more slowly.",
            lumped,
        ),
        Check("The sums, written out for one to three servers.", summed),
        Check("Two disks: all present are the solver's, up to where it cuts the total off.", several, 1e-6),
    ),
)
