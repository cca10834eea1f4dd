"""The line behind busy servers: how many arrive during what is left of a service, and what that makes of the line.

With c servers, all busy, and Poisson arrivals of rate λ, take the system as a single server that works c times as fast,
and let the first such service start with what is left until the first of c residual services ends (Tijms, van Hoorn and
Federgruen 1981; Tijms 2003, theorems 9.6.1 and 9.8.1). By up and down crossings, for j >= c,

    p_j = ρ ι_{j−c} p_{c−1} + ρ Σ_{k=c}^{j} α_{j−k} p_k,        α_n = P(Poisson(λR/c) = n),  ι_n = P(Poisson(λI) = n),

R the residual service and I the smallest of c independent ones; below c, p_j ∝ a^j/j!. Hokstad (1978) has the first
service start as a single server's would, with I = R/c. Both are what Miyazawa (1986) calls assumptions about residual
services in one set of basic equations, which hold with room for K as well. With room for K, p_K takes all
that arrives on top: the same sum with the tails of α and ι. This is exact for c = 1, where it is the embedded chain of
M/G/1/K (Keilson 1966; Takagi 1993), and for exponential service; otherwise an approximation.
All terms are positive, so nothing cancels.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qtheory.laws import Histogram, Law
from qtheory.stations.mdc import poisson_pmf

Floats = NDArray[np.float64]

NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)
LARGE = 1e200


class Residuals:
    """Quadrature for E[f(R)] and E[f(I)], R the residual of `law` and I the smallest of `servers` of them.

    f may be as narrow as a Poisson probability with the mean rate · t, up to `most` of them. There is an edge at E[S].
    """

    def __init__(self, law: Law, servers: int, rate: float, most: float) -> None:
        residual = law.residual()
        if isinstance(residual, Histogram):
            edges = residual.edges
        else:
            edges = np.append(law._survival.left, law._survival.right[-1])
        far = (most + 12.0 * math.sqrt(most) + 60.0) / rate
        # the Poisson probabilities are as narrow as √(rate · t)
        steps = np.arange(0.0, 2.0 * math.sqrt(rate * min(far, float(edges[-1]))) + 2.0)
        edges = np.union1d(edges, np.minimum(steps**2 / (4.0 * rate), edges[-1]))
        edges = np.union1d(edges, law.mean * 2.0 ** -np.arange(40.0))
        half = np.diff(edges)[:, None] / 2.0
        self.t = (edges[:-1, None] + half * (1.0 + NODES)).ravel()
        self.length = (half * WEIGHTS).ravel()
        weight = self.length * law.sf(self.t)
        self.weight = weight / weight.sum()
        smallest = self.weight * residual.sf(self.t) ** (servers - 1)
        self.first = smallest / smallest.sum()

    def arrivals(self, rate: float, most: int, weight: Floats) -> tuple[Floats, Floats]:
        """P(n arrive) and P(at least n arrive) during the time, n = 0, ..., most."""
        from scipy.special import gammainc

        mean = rate * self.t
        counted = np.exp(-mean) @ weight
        rows = [np.array([counted])]
        for start in range(1, most + 1, BLOCK):
            n = np.arange(start, min(start + BLOCK, most + 1))[:, None]
            rows.append(poisson_pmf(n, mean) @ weight)
        pmf = np.concatenate(rows)
        tail = np.append(pmf, gammainc(most + 1.0, mean) @ weight)[::-1].cumsum()[::-1]
        return pmf, tail[:-1]


BLOCK = 64
"""Rows of a table of Poisson probabilities made at once."""


def line(law: Law, servers: int, arrival_rate: float, levels: int, *, top: bool, single: bool = False) -> Floats:
    """p_{c−1}, p_c, ..., p_{c−1+levels} in common proportion; with `top` the last one is that of a full system.

    `single` starts the line as that of a single server, I = R/c.
    """
    a = arrival_rate * law.mean
    rho = a / servers
    slow = arrival_rate / servers
    later = Residuals(law, 1, slow, levels)
    each, each_tail = later.arrivals(slow, levels, later.weight)
    if single or servers == 1:
        first, first_tail = each, each_tail
    else:
        at_first = Residuals(law, servers, arrival_rate, levels)
        first, first_tail = at_first.arrivals(arrival_rate, levels, at_first.first)
    # 1 − ρ α_0 = E[e^{−λS/c}], which may be tiny
    stay = float(np.real(law.lst(slow)))
    p = np.zeros(levels + 1)
    p[0] = 1.0
    for j in range(1, levels + (not top)):
        p[j] = rho * (first[j - 1] * p[0] + each[j - 1 : 0 : -1] @ p[1:j]) / stay
        if p[j] > LARGE:
            p[: j + 1] /= LARGE
    if top:
        k = levels
        p[k] = rho * (first_tail[k - 1] * p[0] + each_tail[k - 1 : 0 : -1] @ p[1:k])
    return p
