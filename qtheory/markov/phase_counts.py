"""Servers with phase-type service, as counts: how many of the busy ones are in each phase.

A phase-type law is the time until a chain with initial phases α and rates T among its m phases is absorbed; phase i
is left for good at rate t_i = −Σ_j T_ij. With n servers busy, all that matters of them is how many are in each phase:
C(n + m − 1, m − 1) states, against m^n for the servers one by one. From a state with k_i servers in phase i,

    one goes from i to j                  at rate k_i T_ij       (`internal`)
    one finishes, and is free             at rate k_i t_i        (`finish`)
    one becomes busy, in phase i          with probability α_i   (`start`)

States are in reverse lexicographic order: all n servers in the first phase come first. Neuts (1981), chapter 4, for
the idea; the counts are those of Ramaswami and Lucantoni (1985).

>>> counts = PhaseCounts(np.array([0.5, 0.5]), np.array([[-1.0, 0.0], [0.0, -3.0]]))
>>> counts.states(2)
array([[2, 0],
       [1, 1],
       [0, 2]])
>>> counts.finish(2).toarray()
array([[2., 0.],
       [3., 1.],
       [0., 6.]])
"""

from __future__ import annotations

from copy import copy
from functools import lru_cache
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
IDLE = -1
"""Where a server is that starts, and goes when it finishes."""


class PhaseCounts:
    """The matrices above for a law with initial phases `alpha` and rates `T`."""

    def __init__(self, alpha: Floats, T: Floats) -> None:
        self.alpha, self.T = np.asarray(alpha, dtype=float), np.asarray(T, dtype=float)
        self.phases = len(self.alpha)
        self.exit = np.maximum(-self.T.sum(axis=1), 0.0)
        self.change = self.T - np.diag(np.diag(self.T))
        self.fastest = float(-np.diag(self.T).min())

    def size(self, busy: int) -> int:
        """How many states `busy` servers have."""
        return comb(busy + self.phases - 1, self.phases - 1)

    def states(self, busy: int) -> Ints:
        """The states of `busy` servers, a row of counts each."""
        return _states(busy, self.phases)

    def internal(self, busy: int) -> csr_array:
        """Rates among the states of `busy` servers, without the diagonal."""
        moves = [(int(i), int(j)) for i, j in zip(*np.nonzero(self.change), strict=True)]
        return _matrix(busy, self.phases, moves, [self.change[move] for move in moves])

    def finish(self, busy: int) -> csr_array:
        """Rates from the states of `busy` servers to those of one less."""
        moves = [(int(i), IDLE) for i in np.flatnonzero(self.exit)]
        return _matrix(busy, self.phases, moves, [self.exit[i] for i, _ in moves])

    def start(self, busy: int) -> csr_array:
        """Probabilities from the states of `busy` servers to those of one more."""
        moves = [(IDLE, int(j)) for j in np.flatnonzero(self.alpha)]
        return _matrix(busy, self.phases, moves, [self.alpha[j] for _, j in moves])

    def succeed(self, busy: int) -> csr_array:
        """Rates among the states of `busy` servers when whoever finishes is followed at once by the next in line."""
        return csr_array(self.finish(busy) @ self.start(busy - 1))

    def leaving(self, busy: int) -> Floats:
        """Rate at which each state is left, through a change of phase or a finish."""
        return np.asarray(self.states(busy) @ -np.diag(self.T))


def _matrix(busy: int, phases: int, moves: list[tuple[int, int]], rates: list[float]) -> csr_array:
    """Rates of one server's `moves` from phase to phase, each at its rate times the number that may do so."""
    number, move = _structure(busy, phases, tuple(moves))
    found = copy(number)  # rows and columns are the same: scipy would check them again, and take longer than the rest
    found.data = number.data * np.array(rates)[move]
    return found


@lru_cache(maxsize=256)
def _structure(busy: int, phases: int, moves: tuple[tuple[int, int], ...]) -> tuple[csr_array, Ints]:
    """How many servers may make a move from the state of the row to that of the column; of each entry, which move."""
    states = _states(busy, phases)
    rows, columns, number, move = [np.empty(0, dtype=np.int64)], [], [np.empty(0)], []
    after = busy
    for which, (i, j) in enumerate(moves):
        at = np.arange(len(states)) if i == IDLE else np.flatnonzero(states[:, i] > 0)
        moved = states[at].copy()
        number.append(np.ones(len(at)) if i == IDLE else moved[:, i].astype(float))
        if i != IDLE:
            moved[:, i] -= 1
        if j != IDLE:
            moved[:, j] += 1
        after = busy + (i == IDLE) - (j == IDLE)
        rows.append(at)
        columns.append(_places(moved))
        move.append(np.full(len(at), which))
    shape = len(states), len(_states(after, phases))
    row = np.concatenate(rows)
    column, which_move = (np.concatenate([np.empty(0, dtype=np.int64), *parts]) for parts in (columns, move))
    order = np.lexsort((column, row))
    starts = np.searchsorted(row[order], np.arange(shape[0] + 1))
    found = csr_array((np.concatenate(number)[order], column[order], starts), shape=shape)
    found.has_canonical_format = True
    move_of_each = which_move[order]
    for array in (found.data, found.indices, found.indptr, move_of_each):
        array.flags.writeable = False
    return found, move_of_each


@lru_cache(maxsize=256)
def _states(busy: int, phases: int) -> Ints:
    """Stars and bars: phases − 1 bars among busy + phases − 1 places."""
    places = busy + phases - 1
    bars = np.array(list(combinations(range(places), phases - 1)), dtype=np.int64).reshape(
        comb(places, phases - 1), phases - 1
    )
    edges = np.hstack([np.full((len(bars), 1), -1), bars, np.full((len(bars), 1), places)])
    states = np.diff(edges, axis=1)[::-1] - 1
    states.flags.writeable = False
    return states


def _places(states: Ints) -> Ints:
    """Where each state stands in the order of `states`."""
    phases = states.shape[1]
    busy = int(states[0].sum()) if len(states) else 0
    table = np.array(
        [[comb(left + others - 1, others) if others else 0 for others in range(phases)] for left in range(busy + 1)]
    )
    # Before a state stand, phase by phase, those with the same counts so far and a larger one here: the servers that
    # are left for the later phases are then fewer.
    rest = busy - np.cumsum(states, axis=1)
    place = np.zeros(len(states), dtype=np.int64)
    for i in range(phases - 1):
        place += table[rest[:, i], phases - 1 - i]
    return place
