"""A Markovian arrival process whose phase changes at arrivals: its likelihood, and one step of EM towards more of it.

In hidden state j the time to the next arrival is Erlang with k_j stages and mean m_j; then the state moves by P. That
is a hidden Markov chain seen through the times between arrivals (Horváth & Okamura 2013), so the Baum–Welch algorithm
(Baum et al. 1970) raises its likelihood: forwards the state's law given the past, backwards the likelihood of the
future, both scaled at each arrival.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def em_step(gaps: Floats, means: Floats, stages: Floats, P: Floats) -> tuple[Floats, Floats, float]:
    """Better `means` [s] and transition matrix `P` for these `gaps` [s] > 0, and the log-likelihood of the old ones.

    >>> gaps, one = np.array([1.0, 3.0]), np.ones(1)
    >>> em_step(gaps, one, one, np.ones((1, 1)))
    (array([2.]), array([[1.]]), -4.0)
    """
    factorials = np.array([math.lgamma(k) for k in stages])
    moves, visits, time, likelihood = _expected(gaps, stages / means, stages, factorials, P)
    seen = visits > 1e-6  # a state that nothing falls to stays as it is
    better = P * moves
    better[~seen] = P[~seen]
    total = better.sum(axis=1, keepdims=True)
    return np.where(seen, time / np.where(seen, visits, 1.0), means), better / total, likelihood


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _expected(gaps, rate, stages, factorials, P):  # type: ignore[no-untyped-def]
    """Expected moves (over P), visits to each state and time in it, given the gaps; and their log-likelihood."""
    size, n = len(gaps), len(rate)
    alpha, density, scale = np.empty((size, n)), np.empty((size, n)), np.empty(size)
    likelihood = 0.0
    for t in range(size):
        log, most = np.log(gaps[t]), -np.inf
        for j in range(n):
            density[t, j] = stages[j] * np.log(rate[j]) + (stages[j] - 1.0) * log - rate[j] * gaps[t] - factorials[j]
            most = max(most, density[t, j])
        for j in range(n):
            density[t, j] = np.exp(density[t, j] - most)
            alpha[t, j] = 1.0 / n if t == 0 else 0.0
        if t > 0:
            now, before = alpha[t], alpha[t - 1]
            for i in range(n):
                weight, row = before[i], P[i]
                for j in range(n):
                    now[j] += weight * row[j]
        total = 0.0
        for j in range(n):
            alpha[t, j] = alpha[t, j] * density[t, j] + 1e-300
            total += alpha[t, j]
        for j in range(n):
            alpha[t, j] /= total
        scale[t] = total
        likelihood += np.log(total) + most
    moves, visits, time = np.zeros((n, n)), np.zeros(n), np.zeros(n)
    beta, ahead, back = np.ones(n), np.empty(n), P.T.copy()
    for t in range(size - 1, -1, -1):
        for j in range(n):
            visits[j] += alpha[t, j] * beta[j]
            time[j] += alpha[t, j] * beta[j] * gaps[t]
            ahead[j] = density[t, j] * beta[j] / scale[t]
        if t == 0:
            break
        beta[:] = 0.0
        before = alpha[t - 1]
        for j in range(n):
            weight, row, into = ahead[j], back[j], moves[j]
            for i in range(n):
                into[i] += before[i] * weight
                beta[i] += row[i] * weight
    return moves.T, visits, time, likelihood
