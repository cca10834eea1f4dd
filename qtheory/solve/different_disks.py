"""Different disks under phase-type service: how a total splits, together with the phases.

`phase_type.py` splits a total as under exponential service. For unlike disks that misses something: many servers in a
slow phase mean that the line has grown for a while, and that a disk with a small buffer has been full meanwhile, so
that the line is the other disks'. Were the completion rate a function of the total alone, the split would be that of
the product form, whatever the function: all that is missed is in the phases.

Followed here are, for one kind of equal disks, the number a of its requests, the total n and the phases. The kind's
arrivals come at the rate E[λ | a] of its own product form, the others' at theirs given n − a, and a completion is one
of the kind's with probability a/n: every order of the line is taken as equally likely. With two kinds one such chain
has them both; with more there is one for each, in which the other kinds are lumped.

The chain is too large to eliminate, but close to its first guess. Takahashi's method (1975; Koury, McAllister and
Stewart, 1984) alternates Gauss-Seidel sweeps, which put the split right, and an exact solution for total and phases
given the split, which puts right what sweeps would take long for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, eye_array, kron

Floats = NDArray[np.float64]
CLOSE = 1e-7
"""Rounds end when the probabilities change by no more than this in all."""
SWEEPS = 6
"""Of a round; then follows one exact solution."""
MOST_ROUNDS = 200
MOST_STATES = 400_000
MOST_WORK = 5e8
"""Of an exact solution: cubes of the numbers of states, added over the levels."""


class SplitError(ValueError):
    """The split cannot be followed within reason; the text says why."""


class Levels(NamedTuple):
    """Matrices of the chain of totals and phases; see `phase_type.PhaseChain`."""

    within: list[csr_array]
    up: list[csr_array]
    """Phases of the next level after an arrival, probabilities."""
    down: list[csr_array]


class Split:
    """The chain of (total n, number a of one kind, phases).

    `own[a]` and `others[m]` are arrival rates of the kind and of the rest with a and m of theirs present, the last 0.
    """

    def __init__(self, own: Floats, others: Floats, levels: Levels) -> None:
        self.own, self.others, self.levels = own, others, levels
        self.top = len(levels.within) - 1
        self.sizes = [matrix.shape[0] for matrix in levels.within]
        self.low = [max(0, n - (len(others) - 1)) for n in range(self.top + 1)]
        self.high = [min(n, len(own) - 1) for n in range(self.top + 1)]
        counts = [(high - low + 1) * size for low, high, size in zip(self.low, self.high, self.sizes, strict=True)]
        self.start = np.concatenate([[0], np.cumsum(counts)])
        if self.start[-1] > MOST_STATES:
            raise SplitError(f"the split of the disks has {self.start[-1]} states, more than {MOST_STATES}")
        if sum(float(size) ** 3 for size in self.sizes) > MOST_WORK:
            raise SplitError(f"the phases have up to {max(self.sizes)} states at each of {self.top} totals, too many")
        rates = self._rates()
        self._leaving = np.asarray(rates.sum(axis=1)).ravel()
        self._incoming = csr_array(rates.T)

    def numbers(self, n: int) -> NDArray[np.int64]:
        """The numbers a that a total of n allows."""
        return np.arange(self.low[n], self.high[n] + 1)

    def arrival_rates(self, n: int) -> Floats:
        """Total arrival rate with n present, for each number of the kind."""
        a = self.numbers(n)
        return np.asarray(self.own[a] + self.others[n - a])

    def level(self, x: Floats, n: int) -> Floats:
        """What `x` has for the total n: a row for each number a, a column for each state of the phases."""
        return x[self.start[n] : self.start[n + 1]].reshape(-1, self.sizes[n])

    def sweep(self, x: Floats) -> None:
        """One Gauss-Seidel sweep up the levels and one down, in place."""
        m = self._incoming
        sweep(x, m.indptr, m.indices, m.data, self._leaving)

    def _rates(self) -> csr_array:
        """All transition rates."""
        rows, columns, values = [], [], []

        def enter(at: int, to: int, block: Any) -> None:
            block = coo_array(block)
            rows.append(block.row + self.start[at])
            columns.append(block.col + self.start[to])
            values.append(block.data)

        for n in range(self.top + 1):
            a = self.numbers(n)
            enter(n, n, kron(eye_array(len(a)), self.levels.within[n]))
            if n < self.top:
                later = self.numbers(n + 1)
                for rate, to in ((self.own[a], a + 1), (self.others[n - a], a)):
                    enter(n, n + 1, kron(_moves(rate, to, later), self.levels.up[n]))
            if n > 0:
                before = self.numbers(n - 1)
                for share, to in ((a / n, a - 1), ((n - a) / n, a)):
                    enter(n, n - 1, kron(_moves(share, to, before), self.levels.down[n]))
        shape = (int(self.start[-1]),) * 2
        return csr_array((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=shape)


def _moves(weight: Floats, to: NDArray[np.int64], numbers: NDArray[np.int64]) -> coo_array:
    """Each row's weight in the column of the number it moves to, where that is allowed."""
    there = (to >= numbers[0]) & (to <= numbers[-1]) & (weight > 0.0)
    return coo_array((weight[there], (np.flatnonzero(there), to[there] - numbers[0])), shape=(len(to), len(numbers)))


@njit(cache=True)
def sweep(x: Any, begin: Any, source: Any, rate: Any, leaving: Any) -> None:
    n = len(x)
    for way in range(2):
        for k in range(n):
            i = k if way == 0 else n - 1 - k
            total = 0.0
            for e in range(begin[i], begin[i + 1]):
                if source[e] != i:
                    total += rate[e] * x[source[e]]
            x[i] = total / leaving[i]


def converge(split: Split, levels: list[Floats], solve: Callable[[list[Floats]], list[Floats]]) -> list[Floats]:
    """P(n, a, phases), a matrix for each level n: a row for each number of the kind, a column for each state.

    `levels` is a first guess of P(n, phases), and `solve` gives it for arrival rates that depend on n and phases.
    Raises SplitError when that takes too long.
    """
    x = np.concatenate([np.outer(_by_product_form(split, n), level).ravel() for n, level in enumerate(levels)])
    for _ in range(MOST_ROUNDS):
        before = x.copy()
        for _ in range(SWEEPS):
            split.sweep(x)
        parts = [split.level(x, n) for n in range(split.top + 1)]
        sums = [np.maximum(part.sum(axis=0), 1e-300) for part in parts]
        rates = [split.arrival_rates(n) @ part / total for n, (part, total) in enumerate(zip(parts, sums, strict=True))]
        for part, total, exact in zip(parts, sums, solve(rates), strict=True):
            part *= exact / total
        if np.abs(x - before).sum() < CLOSE:
            return parts
    raise SplitError(f"the split of the disks has not converged after {MOST_ROUNDS} rounds")


def _by_product_form(split: Split, n: int) -> Floats:
    """P(a | n) under exponential service."""
    a = split.numbers(n)
    with np.errstate(divide="ignore"):
        own, others = (
            np.concatenate([[0.0], np.cumsum(np.log(rates[:-1] / np.arange(1, len(rates))))])
            for rates in (split.own, split.others)
        )
    height = own[a] + others[n - a]
    weights = np.exp(height - height.max())
    return np.asarray(weights / weights.sum())
