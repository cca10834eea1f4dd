"""A line behind servers with phase-type service, followed tick by tick: how many completions are still to come.

Row k − 1 of `line` holds, by the phases of the busy servers, the probability that k more completions are awaited. While
they are, all servers stay busy: whoever finishes is followed by the next in line. Uniformized with a clock that no
state outruns, a tick keeps row k by (within the level) and hands it to row k − 1 (a completion), and what row 0 hands
on has got through.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_array

Floats = NDArray[np.float64]
NEGLIGIBLE = 1e-27
"""Probabilities below this are dropped, so that a long line is followed only where the request can be."""


def follow(
    line: Floats, stay: csr_array, step: csr_array, tail: float, ticks: int | None = None
) -> tuple[Floats, Floats]:
    """Probability to be still in line after 0, 1, 2, ... ticks, until below `tail`; and to get through at each tick.

    At most `ticks` are followed if given. `stay` and `step` hold the probabilities of a tick within a row and to the
    row below.

    Examples
    --------
    One exponential server, two completions to come, a tick each:

    >>> one, none = csr_array([[1.0]]), csr_array((1, 1))
    >>> follow(np.array([[0.0], [1.0]]), none, one, 1e-18)
    (array([1., 1., 0.]), array([0., 1.]))
    """
    waiting, through = _follow(
        line.copy(), stay.indptr, stay.indices, stay.data, step.indptr, step.indices, step.data, tail, NEGLIGIBLE,
        -1 if ticks is None else ticks,
    )  # fmt: skip
    return np.asarray(waiting), np.asarray(through)


@njit(cache=True)
def _follow(
    line: Any, stay_row: Any, stay_to: Any, stay_p: Any, step_row: Any, step_to: Any, step_p: Any,
    tail: float, negligible: float, ticks: int,
) -> Any:  # fmt: skip
    first, rows, states = 0, line.shape[0], line.shape[1]
    waiting = [line.sum()]
    through = [0.0][:0]
    following = np.zeros(states)
    while waiting[-1] > tail and len(through) != ticks:
        while rows > first + 1 and line[rows - 1].max() < negligible:
            rows -= 1
        while first < rows - 1 and line[first].max() < negligible:
            first += 1
        passed = 0.0
        left = 0.0
        for k in range(first, rows):
            following[:] = 0.0
            for i in range(states):
                mass = line[k, i]
                if mass < negligible:
                    continue
                for e in range(stay_row[i], stay_row[i + 1]):
                    following[stay_to[e]] += mass * stay_p[e]
                for e in range(step_row[i], step_row[i + 1]):
                    if k == 0:
                        passed += mass * step_p[e]
                    else:
                        line[k - 1, step_to[e]] += mass * step_p[e]
                        left += mass * step_p[e]
            for i in range(states):
                line[k, i] = following[i]
                left += following[i]
        first = max(first - 1, 0)
        through.append(passed)
        waiting.append(left)
    return np.array(waiting), np.array(through)


def serve(entering: Floats, alpha: Floats, tick: Floats, tail: float) -> Floats:
    """Probability to be in service after 0, 1, 2, ... ticks, when entering[k] comes into service with the k-th.

    `tick` has the probabilities of a tick from phase to phase; goes on until below `tail`.

    >>> serve(np.array([1.0]), np.array([1.0]), np.array([[0.5]]), 0.1)
    array([1.    , 0.5   , 0.25  , 0.125 , 0.0625])
    """
    return np.asarray(_serve(entering, alpha, tick, tail))


@njit(cache=True)
def _serve(entering: Any, alpha: Any, tick: Any, tail: float) -> Any:
    phase = np.zeros(len(alpha))
    served = [0.0][:0]
    k = 0
    while True:
        if k > 0:
            phase = phase @ tick
        if k < len(entering):
            phase = phase + entering[k] * alpha
        inside = phase.sum()
        served.append(inside)
        k += 1
        if k >= len(entering) and inside <= tail:
            return np.array(served)
