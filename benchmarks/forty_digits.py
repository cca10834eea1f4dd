"""The mean line of MAP/PH/c with 40 digits, from definitions and logarithmic reduction, in mpmath's numbers.

It shares nothing with qtheory but the order of the states. The tests hold `qtheory.stations.mapphc` against it, the
benchmarks all others.
"""

from __future__ import annotations

import mpmath as mp
import numpy as np

from qtheory.markov.phase_counts import PhaseCounts

DIGITS = 40


def matrix(values):
    return mp.matrix(np.asarray(values).tolist())


def row_sums(a):
    return [mp.fsum(a[i, j] for j in range(a.cols)) for i in range(a.rows)]


def m_matrix(between, out):
    between = between.copy()
    for i in range(between.rows):
        between[i, i] = 0
    return mp.diag([a + b for a, b in zip(row_sums(between), out, strict=True)]) - between


def kron(a, b):
    return mp.matrix(
        [
            [a[i, j] * b[k, m] for j in range(a.cols) for m in range(b.cols)]
            for i in range(a.rows)
            for k in range(b.rows)
        ]
    )


def counted(law, busy, what):
    """The matrices of PhaseCounts from their definition, in mpmath's numbers."""
    counts = PhaseCounts(law.alpha, law.T)
    alpha, T, phases = matrix(law.alpha), matrix(law.T), range(len(law.alpha))
    alpha = alpha / mp.fsum(alpha)
    out = [-x for x in row_sums(T)]
    rows = [tuple(row) for row in counts.states(busy).tolist()]
    after = {"finish": busy - 1, "start": busy + 1, "internal": busy}[what]
    place = {tuple(row): k for k, row in enumerate(counts.states(after).tolist())}
    found = mp.zeros(len(rows), len(place))

    def add(r, state, i, j, rate):
        moved = list(state)
        for phase, by in ((i, -1), (j, 1)):
            if phase is not None:
                moved[phase] += by
        found[r, place[tuple(moved)]] += rate

    for r, state in enumerate(rows):
        for i in phases:
            if what == "start":
                add(r, state, None, i, alpha[i])
            elif state[i] and what == "finish":
                add(r, state, i, None, state[i] * out[i])
            elif state[i]:
                for j in phases:
                    if j != i:
                        add(r, state, i, j, state[i] * T[i, j])
    return found


def reduced(up, within, down):
    """Logarithmic reduction with DIGITS digits."""
    out = [a + b for a, b in zip(row_sums(up), row_sums(down), strict=True)]
    whole = m_matrix(within, out)
    start = whole**-1
    higher, lower, one = start * up, start * down, mp.eye(up.rows)
    back, away = lower.copy(), higher.copy()
    while max(abs(x) for x in away) > mp.mpf(10) ** -DIGITS:
        start = (one - higher * lower - lower * higher) ** -1
        higher, lower = start * higher * higher, start * lower * lower
        back, away = back + away * lower, away * higher
    return up * (whole - up * back) ** -1


def mean_line(process, law, servers):
    """Mean number waiting, with DIGITS digits."""
    c, one = servers, mp.eye(process.order)
    D0, D1 = matrix(process.D0), matrix(process.D1)
    full = counted(law, c, "finish").rows
    up = [kron(D1, counted(law, n, "start") if n < c else mp.eye(full)) for n in range(c + 1)]
    within = [
        kron(D0, mp.eye(counted(law, n, "internal").rows)) + kron(one, counted(law, n, "internal"))
        for n in range(c + 1)
    ]
    down = [None] + [kron(one, counted(law, n, "finish")) for n in range(1, c + 1)]
    again = kron(one, counted(law, c, "finish") * counted(law, c - 1, "start"))
    ratio = reduced(up[c], within[c], again)
    ratios, back = {}, ratio * again
    for n in range(c, 0, -1):
        ratios[n] = up[n - 1] * m_matrix(within[n] + back, row_sums(down[n])) ** -1
        back = ratios[n] * down[n]
    balance = m_matrix(within[0] + back, [0] * process.order).T
    for j in range(process.order):
        balance[0, j] = 1
    law_now = mp.lu_solve(balance, matrix([[1]] + [[0]] * (process.order - 1))).T
    total = mp.fsum(law_now)
    for n in range(1, c):
        law_now = law_now * ratios[n]
        total += mp.fsum(law_now)
    beyond = (mp.eye(ratio.rows) - ratio) ** -1
    every = law_now * ratios[c] * beyond
    return mp.fsum(every * ratio * beyond) / (total + mp.fsum(every))
