"""How many of a total wait in their guests: two groups of disks beside each other, group by group.

Count a disk's requests from their arrival on: M of them, of which the oldest min(M, K) are in the engine and the rest
wait in the guest. A group of disks is known to others by the number M of its requests, all told, through its arrival
rate and the law of its number n in the engine, both given M; of a single disk both are certain. Two groups A and B with
numbers (a, b) that complete requests at the total rate d, one of A's with probability n_A/(n_A + n_B) (every order of
the line as likely as any other, as it is when no guest waits), make a Markov chain, and its law of a given a + b makes
a group of the two. So groups are merged pairwise, equal disks by doubling, as in `markov/merging.py`, where the same is
done for product forms. What a pair's completion rate is within a larger group comes from above: the chain of the pair
it belongs to says how fast its part completes requests given their number. Down and up the tree a few times, until
nothing changes, as flow-equivalent stations are used (Chandy, Herzog and Woo, 1975).

There is no product form: with one guest waiting and another not, taking one of each out in one order or the other
gives different rates as soon as anything waits for a server, since then n/μ(n) is not constant.

**The line remembers.** A request that leaves a disk whose guest waits is followed by another at the tail of the line.
So such a disk's departures are more regular than if every order were equally likely: with one request of each of two
disks in the engine they alternate. To be as regular, a departure of A's takes m steps, taken with probability m n_A/n
at each completion, with 1 <= m <= 2 and on average

    1/m = n_A/n + c(c − 1)/(2n²) · min(scv, 1),

n being all in the line and at the servers: at one server all of m − 1 is due to the line; service by many servers
undoes it. (The half is fitted: the other terms follow from a geometric number of completions until the own departure
when in service, and n − c before.) Where only a part of A's requests in the engine have others waiting behind them, m
− 1 is that part of it. This makes two disks of one request at one server exact; what it is worth otherwise,
`validation/guests_that_wait.py` measured.

Each chain is solved by Gauss-Seidel sweeps and an exact solution for the totals in turn (Takahashi, 1975).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from qtheory.markov.birth_death import stationary
from qtheory.markov.sweeps import gauss_seidel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
CLOSE = 1e-6
"""Sweeps end when they change the probabilities by no more than this in all."""
SWEEPS = 8
"""Between two exact solutions for the totals."""
MOST_TURNS = 25
"""In a round; what is left to do is done in the next."""
SETTLED = 1e-5
"""Rounds end when the mean number in the engine changes by less, relatively."""
MOST_ROUNDS = 60
NEGLIGIBLE = 1e-9
"""Numbers of a group that are less likely to be exceeded are left out."""
MOST_STATES = 200_000
TINY = 1e-300
SLOWEST = 1e-6
"""Least completion rate, of the largest: where a number is too unlikely for its rate to be known."""


class TooLargeError(ValueError):
    """The chains of the groups are too large, or take too long to settle; the text says which."""


@dataclass(eq=False)
class Group:
    """Disks as others see them, by the number M of their requests, 0, 1, ..., `top`."""

    disks: int
    rate: Floats
    """Arrival rate given M."""
    law: Floats
    """law[M, n] = P(n in the engine | M)."""
    regular: Floats
    """Part of those in the engine whose departures the line makes regular, as the group's own pair sees it."""
    behind: Floats
    """Part of those in the engine that have others waiting behind them in the guest."""
    weights: Floats
    """Of each M, in a product form that would have the disks independent, logarithms: a first guess."""
    left: Group | None = None
    right: Group | None = None
    given: list[Floats] = field(default_factory=list)
    """Law of the left part's M given the group's, M by M."""
    pace: Floats = field(default_factory=lambda: np.empty(0))
    """Completions per second given M."""
    line: Floats = field(default_factory=lambda: np.empty(0))
    """Mean number in the whole engine given M."""

    @property
    def top(self) -> int:
        return len(self.rate) - 1

    @property
    def mean(self) -> Floats:
        """Mean number in the engine given M."""
        return np.asarray(self.law @ np.arange(self.law.shape[1]))


def single(rate: Floats, buffer: int, ratios: Floats) -> Group:
    """One disk: arrival rates with 0, 1, ... of its requests, and the ratios of its weights, one less."""
    numbers = np.arange(len(rate))
    law = np.zeros((len(rate), min(buffer, len(rate) - 1) + 1))
    law[numbers, np.minimum(numbers, buffer)] = 1.0
    waits = len(rate) - 1 > buffer
    regular = np.asarray((numbers >= buffer) & waits, dtype=np.float64)
    behind = np.asarray(numbers > buffer, dtype=np.float64)
    return Group(1, rate, law, regular, behind, np.concatenate([[0.0], np.cumsum(np.log(ratios))]))


def _beside(a: Floats, b: Floats, n: int) -> Floats:
    """Logarithms of the weights of a total n, for each number of the left part that it allows."""
    low, high = max(0, n - len(b) + 1), min(n, len(a) - 1)
    return np.asarray(a[low : high + 1] + b[n - high : n - low + 1][::-1])


def tree(leaves: Sequence[tuple[Group, int]], top: int) -> list[Group]:
    """Groups of all disks, parts before wholes, with up to `top` requests; `leaves` are the kinds of disks, counted."""
    made: list[Group] = []

    def join(a: Group, b: Group) -> Group:
        most = min(top, a.top + b.top)
        weights = np.array([np.logaddexp.reduce(_beside(a.weights, b.weights, n)) for n in range(most + 1)])
        empty = np.zeros(len(weights))
        law = np.zeros((len(weights), 1))
        made.append(Group(a.disks + b.disks, empty, law, empty, empty, weights, a, b))
        return made[-1]

    wholes = []
    for leaf, copies in leaves:
        made.append(leaf)
        powers = {1: leaf}

        def power(n: int, powers: dict[int, Group] = powers) -> Group:
            if n not in powers:
                powers[n] = join(power(n // 2), power(n - n // 2))
            return powers[n]

        wholes.append(power(copies))
    while len(wholes) > 1:
        wholes = [join(*wholes[i : i + 2]) if i + 1 < len(wholes) else wholes[i] for i in range(0, len(wholes), 2)]
    return made


def settle(
    made: list[Group],
    total: Floats,
    servers: int,
    scv: float,
    rates: Floats | None,
    again: Callable[[Floats], tuple[Floats, Floats]] | None,
) -> Floats:
    """Find the groups' laws; returns that of the total.

    `total` is a first guess of P(M in all). The engine completes requests at rates[n] with n in it; or, where `rates`
    is None, `again` gives for the arrival rates at each total the law of the total and the completion rate at each.
    Raises TooLargeError where that takes more than MOST_ROUNDS.
    """
    root = made[-1]
    _first_guess(made, total)
    mean = 0.0
    for _ in range(MOST_ROUNDS):
        if rates is None and again is not None:
            total, root.pace = again(root.rate)
        else:
            root.pace, root.line = np.empty(0), np.empty(0)
        for group in reversed(made):
            if group.left is not None:
                _look_down(group, total if group is root else None, rates)
        for group in made:
            if group.left is not None:
                law = _solve(group, servers, scv, rates if group is root and len(group.pace) == 0 else None)
                _summarize(group)
                if group is root and rates is not None:
                    total = law
        before, mean = mean, float(total @ root.mean)
        if abs(mean - before) <= SETTLED * mean:
            return total
    raise TooLargeError(f"how many requests wait in the guests has not settled in {MOST_ROUNDS} rounds")


def numbers(made: list[Group], total: Floats) -> dict[int, Floats]:
    """Law of the number of each kind's disk, guest and engine, by the identity of its leaf."""
    weights = {id(group): np.zeros(group.top + 1) for group in made}
    weights[id(made[-1])] = total.copy()
    for group in reversed(made):
        if group.left is None or group.right is None:
            continue
        law = weights[id(group)]
        for n, given in enumerate(group.given):
            low, high = _range(group, n)
            weights[id(group.left)][low : high + 1] += law[n] * given
            weights[id(group.right)][n - high : n - low + 1] += law[n] * given[::-1]
    return {id(group): weights[id(group)] / weights[id(group)].sum() for group in made if group.left is None}


def _range(group: Group, n: int) -> tuple[int, int]:
    """Least and largest number of the left part when the group has n."""
    assert group.left is not None
    assert group.right is not None
    return max(0, n - group.right.top), min(n, group.left.top)


def _first_guess(made: list[Group], total: Floats) -> None:
    """Conditional laws by the product form of independent disks; numbers out of reach are cut off."""
    root = made[-1]
    total = total[: len(root.weights)]
    laws = {id(group): np.zeros(len(group.weights)) for group in made}
    laws[id(root)] = total
    for group in reversed(made):
        law = laws[id(group)]
        tail = np.cumsum(law[::-1])[::-1]
        far = int(np.flatnonzero(tail > NEGLIGIBLE * tail[0])[-1]) + 1
        top = len(total) - 1 if group is root else min(len(law) - 1, far)
        group.rate, group.weights = group.rate[: top + 1], group.weights[: top + 1]
        group.law = group.law[: top + 1, : top + 1]  # no more in the engine than in all
        group.regular, group.behind = group.regular[: top + 1], group.behind[: top + 1]
        if group.left is None or group.right is None:
            continue
        for n in range(top + 1):
            logs = _beside(group.left.weights, group.right.weights, n)
            given = np.exp(logs - logs.max())
            given *= law[n] / given.sum()
            low = max(0, n - group.right.top)
            laws[id(group.left)][low : low + len(given)] += given
            laws[id(group.right)][n - low - len(given) + 1 : n - low + 1] += given[::-1]
    for group in made:
        if group.left is None or group.right is None:
            continue
        group.rate = group.rate[: group.left.top + group.right.top + 1]
        group.weights = group.weights[: group.top + 1]
        states = 2 * sum(high - low + 1 for low, high in (_range(group, n) for n in range(group.top + 1)))
        if states > MOST_STATES:
            raise TooLargeError(f"two groups of disks have {states} states, more than {MOST_STATES}")
        for n in range(group.top + 1):
            logs = _beside(group.left.weights, group.right.weights, n)
            given = np.exp(logs - logs.max())
            group.given.append(given / given.sum())
        _summarize(group)


def _summarize(group: Group) -> None:
    """The group as others see it, from its parts and the law of the left one given its own number."""
    a, b = group.left, group.right
    assert a is not None
    assert b is not None
    size = min(a.law.shape[1] + b.law.shape[1] - 1, group.top + 1)  # no more in the engine than in all
    of_a, of_b = np.fft.rfft(a.law, size, axis=1), np.fft.rfft(b.law, size, axis=1)
    mean_a, mean_b = a.mean, b.mean
    law = np.empty((group.top + 1, of_a.shape[1]), dtype=complex)
    rate, behind = np.empty(group.top + 1), np.empty(group.top + 1)
    for n, given in enumerate(group.given):
        low, high = _range(group, n)
        there, rest = slice(low, high + 1), np.arange(n - low, n - high - 1, -1)
        law[n] = np.einsum("i,ij,ij->j", given, of_a[there], of_b[rest])
        rate[n] = given @ (a.rate[there] + b.rate[rest])
        waiting = given @ (a.behind[there] * mean_a[there] + b.behind[rest] * mean_b[rest])
        behind[n] = waiting / max(float(given @ (mean_a[there] + mean_b[rest])), TINY)
    group.law = np.maximum(np.fft.irfft(law, size, axis=1), 0.0)
    group.law /= group.law.sum(axis=1, keepdims=True)
    group.rate, group.behind, group.regular = rate, behind, behind


def _look_down(group: Group, total: Floats | None, rates: Floats | None) -> None:
    """What the group's parts need to know: how fast each completes requests, and the whole engine's number."""
    a, b = group.left, group.right
    assert a is not None
    assert b is not None
    states = _States(group)
    if total is None:
        total = stationary(group.rate[:-1], np.maximum(group.pace[1:], TINY))
    share, line, pace = _completing(group, states, rates)
    mass = total[states.n] * np.concatenate(group.given)
    for part, number, own in ((a, states.a, share), (b, states.n - states.a, 1.0 - share)):
        if part.left is not None:
            held = np.maximum(np.bincount(number, mass, part.top + 1), TINY)
            part.pace = np.bincount(number, mass * pace * own, part.top + 1) / held
            part.pace[1:] = np.maximum(part.pace[1:], SLOWEST * part.pace.max())
            part.line = np.bincount(number, mass * line, part.top + 1) / held


class _States:
    """The states (n, a) of a pair, level by level."""

    def __init__(self, group: Group) -> None:
        ranges = [_range(group, n) for n in range(group.top + 1)]
        self.low = np.array([low for low, _ in ranges])
        self.high = np.array([high for _, high in ranges])
        sizes = self.high - self.low + 1
        self.start = np.concatenate([[0], np.cumsum(sizes)])
        self.n = np.repeat(np.arange(group.top + 1), sizes)
        self.a = np.arange(len(self.n)) - self.start[self.n] + self.low[self.n]

    def at(self, n: Ints, a: Ints) -> Ints:
        """Their places."""
        return np.asarray(self.start[n] + a - self.low[n])


def _completing(group: Group, states: _States, rates: Floats | None) -> tuple[Floats, Floats, Floats]:
    """In each state: A's part of what is in the engine, the whole engine's number, completions per second."""
    a, b = group.left, group.right
    assert a is not None
    assert b is not None
    of_a, of_b = (np.arange(part.law.shape[1]) for part in (a, b))
    together = of_a[:, None] + of_b[None, :]
    parts = of_a[:, None] / np.maximum(together, 1)
    here, there = states.a, states.n - states.a
    share = (a.law @ parts @ b.law.T)[here, there]
    line = group.line[states.n] if len(group.line) else a.mean[here] + b.mean[there]
    if len(group.pace):
        return share, line, group.pace[states.n]
    assert rates is not None
    return share, line, (a.law @ rates[together] @ b.law.T)[here, there]


def _solve(group: Group, servers: int, scv: float, rates: Floats | None) -> Floats:
    """Solve the pair's chain, which gives the law of the left part given the total; returns that of the total."""
    a, b = group.left, group.right
    assert a is not None
    assert b is not None
    states = _States(group)
    n, k = states.n, states.a
    rest = n - k
    share, line, pace = _completing(group, states, rates)
    overtaking = 0.5 * servers * (servers - 1) / np.maximum(line, max(servers, 1)) ** 2 * min(scv, 1.0)
    overtaking = np.where(line > servers, overtaking, 1.0)
    wanted = np.clip(1.0 / np.maximum(overtaking + share, 0.5), 1.0, 2.0)
    steps = np.where((k > 0) & (rest > 0), 1.0 + a.regular[k] * (wanted - 1.0), 1.0)
    chance = np.minimum(steps * share, 1.0)
    size = len(n)

    # States of the second half have one more step to go before A's next departure.
    rows: list[Ints] = []
    columns: list[Ints] = []
    values: list[Floats] = []

    def enter(mask: NDArray[np.bool_], later: bool, to: Ints, to_later: bool, value: Floats) -> None:
        at = np.flatnonzero(mask & (value > 0.0))
        rows.append(at + size * later)
        columns.append(to[at] + size * to_later)
        values.append(value[at])

    def place(mask: NDArray[np.bool_], to_n: Ints, to_a: Ints) -> Ints:
        return np.where(mask, states.at(np.where(mask, to_n, 0), np.where(mask, to_a, 0)), 0)

    below = n < group.top
    arrives = below & (k < states.high[np.minimum(n + 1, group.top)])
    to = place(arrives, n + 1, k + 1)
    rate = a.rate[k]
    more = np.where(k == 0, steps[to] - 1.0, np.clip(steps[to] - steps, 0.0, 1.0))
    enter(arrives, False, to, False, rate * (1.0 - more))
    enter(arrives, False, to, True, rate * more)
    enter(arrives, True, to, True, rate)
    arrives = below & (k >= states.low[np.minimum(n + 1, group.top)])
    to = place(arrives, n + 1, k)
    enter(arrives, False, to, False, b.rate[rest])
    enter(arrives, True, to, True, b.rate[rest])

    leaves = (k > 0) & (k - 1 >= states.low[np.maximum(n - 1, 0)])
    to = place(leaves, n - 1, k - 1)
    more = np.where(k > 1, steps[to] - 1.0, 0.0)
    enter(leaves, False, to, False, pace * chance * (1.0 - more))
    enter(leaves, False, to, True, pace * chance * more)
    leaves = (rest > 0) & (k <= states.high[np.maximum(n - 1, 0)])
    to = place(leaves, n - 1, k)
    enter(leaves, False, to, False, pace * (1.0 - chance))
    last = leaves & (rest == 1)
    enter(leaves, True, to, False, pace * np.where(last, 1.0, chance))
    enter(leaves & ~last, True, to, True, pace * (1.0 - chance))

    shape = (2 * size, 2 * size)
    matrix = csr_array((np.concatenate(values), (np.concatenate(columns), np.concatenate(rows))), shape=shape)
    leaving: Floats = np.bincount(np.concatenate(rows), np.concatenate(values), 2 * size).astype(np.float64)
    matrix, leaving, kept = _reachable(matrix, leaving, size)

    n_of, k_of = np.tile(n, 2)[kept], np.tile(k, 2)[kept]
    pace_of, rate_of = np.tile(pace, 2)[kept], (a.rate[k_of] + b.rate[n_of - k_of])
    top = group.top + 1
    given = np.concatenate(group.given)
    split = np.concatenate([given * (2.0 - steps), given * (steps - 1.0)])[kept]
    x = split / np.maximum(np.bincount(n_of, split, top), TINY)[n_of]
    law = np.ones(top)
    for _ in range(MOST_TURNS):
        held = np.maximum(np.bincount(n_of, x, top), TINY)
        up, down = (np.bincount(n_of, x * r, top) / held for r in (rate_of, pace_of))
        law = stationary(up[:-1], np.maximum(down[1:], TINY))
        x *= (law / held)[n_of]
        x = np.maximum(x, TINY)  # what is out of a float's reach stays where it is
        before = x.copy()
        for _ in range(SWEEPS):
            gauss_seidel(x, matrix.indptr, matrix.indices, matrix.data, leaving)
        if np.abs(x - before).sum() < CLOSE * x.sum():
            break
    joint = np.bincount(np.concatenate([np.arange(size)] * 2)[kept], x, size)
    for level in range(top):
        part = joint[states.start[level] : states.start[level + 1]]
        whole = float(part.sum())
        if whole > TINY:
            group.given[level] = part / whole
    return law


def _reachable(matrix: csr_array, leaving: Floats, size: int) -> tuple[csr_array, Floats, NDArray[np.int64]]:
    """The chain without the states that nothing enters."""
    entered = np.asarray(matrix.sum(axis=1)).ravel() > 0.0
    entered[size:] &= leaving[size:] > 0.0
    entered[0] = True
    kept = np.flatnonzero(entered)
    return csr_array(matrix[kept][:, kept]), leaving[kept], kept
