"""Drain of a shared device with any service law: what is left of the services in progress has the residual law.

At the stop c servers are busy and m requests wait, or n <= c are served and none waits. Take what is left of each
service in progress to be independent of the others and of n, with the residual law F_e (`laws/residual.py`). Then

    P(T <= t | n <= c) = F_e(t)^n.

With m > 0 waiting, the servers complete like c renewal processes until the last of them starts, at τ, when they have
completed m together. It takes the law F, and all others must also be done by t. For a server whose k-th completion has
the law G_k = F_e * F^{*(k−1)}, the probability of k completions by s, and that its next is not later than t, is

    a_k(s, t) = G_k(s) − G_{k+1}(s) − ∫_[0,s] (1 − F(t − x)) dG_k(x),      a_0 = F_e(t) − G_1(s),

and with the generating functions A(x) = Σ a_k x^k and D(x) = Σ_{k>=1} x^k dG_k(s) of the others and of the one that
completes the m-th at s,

    P(T <= t | m + c) = ∫_[0,t] F(t − s) c [x^m] D(x) A(x)^{c−1}.

For saturated guests this is exact, whatever the law: their servers are independent and never idle; but constant
services keep their order for ever, so that there the law depends on how they began. So it is for exponential service,
and, while there is no line, for lost arrivals (Sevast'yanov, 1957). Elsewhere what is left of a service is not quite
independent of the number present.

The integrals are sums over a grid in s, events on the same point being split half and half; [x^m] is a sum over roots
of unity.
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft

from qtheory.laws import Law

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]
PER_SERVICE = 64
"""Points of the grid in a mean service time, where MOST_POINTS are enough."""
MOST_POINTS, LEAST_PER_SERVICE = 1 << 11, 8
BEYOND = 1e-6
"""Probability that is left out: of more waiting, of a later last start."""
TAIL = 1e-10
NODES, PANELS = 8, 16
"""Of Gauss's rule for the moments."""
GRID = 2e-3
"""Largest relative error by the grid, beside chains that are exact (`tests/test_residual_services.py`)."""
MOST_WORK = 3e6
"""Points times roots of unity, some tens of milliseconds for each t."""
TOO_LONG = "the line is too long, or the law's tail, for the services in it to be followed one by one"


class Makespan:
    """The time until c servers, all busy where some wait, have completed n requests, n with the law `pending`.

    Raises ValueError where that is too much work.

    Examples
    --------
    >>> from qtheory.laws import Exponential
    >>> three = Makespan(Exponential(mean=1.0), 2, np.array([0.0, 0.0, 0.0, 1.0]))
    >>> abs(three.moments[0] - (1 / 2 + 1 / 2 + 1)) < 2e-3
    True
    """

    def __init__(self, law: Law, servers: int, pending: Floats) -> None:
        self.law, self.servers, self.pending = law, servers, pending
        self.residual = law.residual()
        waiting = pending[servers + 1 :]
        more = np.cumsum(waiting[::-1])[::-1]
        self.waiting = waiting[: int(np.count_nonzero(more > BEYOND))]
        if len(self.waiting):
            points = self._grid[1].shape[1]
            if points * self._transformed[0] > MOST_WORK:
                raise ValueError(TOO_LONG)

    def sf(self, t: float) -> float:
        """P(T > t)."""
        if t == 0.0:  # a residual law has no atom there
            return float(self.pending[1:].sum())
        served = self.pending[: self.servers + 1]
        done = float(1.0 - self.residual.sf(t))
        late = float(served @ (1.0 - done ** np.arange(len(served))))
        if len(self.waiting):
            late += float(self.waiting.sum()) * max(1.0 - self._in_time(t) / self._ever, 0.0)
        return late

    @cached_property
    def moments(self) -> tuple[float, float]:
        """Mean and variance."""
        end = self.law.mean
        while self.sf(end) > TAIL:
            end *= 1.5
        x, weight = np.polynomial.legendre.leggauss(NODES)
        # panels as fine as the mean service time at first, longer where little is left
        edges = np.concatenate([[0.0], np.geomspace(min(self.law.mean, end) / 4.0, end, PANELS)])
        half, middle = np.diff(edges) / 2.0, (edges[1:] + edges[:-1]) / 2.0
        t = middle[:, None] + half[:, None] * x
        left = np.array([self.sf(value) for value in t.ravel().tolist()]).reshape(t.shape)
        first, second = (float((half[:, None] * weight * left * factor).sum()) for factor in (1.0, 2.0 * t))
        return first, max(second - first * first, 0.0)

    @cached_property
    def _grid(self) -> tuple[float, Floats, Floats]:
        """Step; mass of G_k at the points of the grid, k = 1, 2, ...; and P(k completions) there, k = 0, 1, ..."""
        each = len(self.waiting) / self.servers
        law, mean = self.law, self.law.mean
        end = mean * (each + 2.0 + 3.0 * math.sqrt((law.scv + 1.0) * (each + 1.0) / self.servers))
        while True:
            # a whole number of steps in a mean, so that a constant falls on a point
            parts = min(PER_SERVICE, math.floor(mean * MOST_POINTS / end))
            if parts < LEAST_PER_SERVICE:
                raise ValueError(TOO_LONG)
            step = mean / parts
            masses = self._completions(step, math.ceil(end / step) + 1)
            reached = np.cumsum(masses, axis=1) - masses / 2.0
            chances = np.maximum(np.vstack([1.0 - reached[:1], reached[:-1] - reached[1:], reached[-1:]]), 0.0)
            if self._completed(chances[:, -1])[: len(self.waiting)].sum() < BEYOND:
                return step, masses, chances
            end *= 1.25

    def _completions(self, step: float, points: int) -> Floats:
        edges = (np.arange(points) + 0.5) * step
        whole = -np.diff(np.asarray(self.law.sf(edges)), prepend=1.0)
        left = -np.diff(np.asarray(self.residual.sf(edges)), prepend=1.0)
        size = next_fast_len(2 * points, real=True)
        factor, found = rfft(whole, size), [left]
        while len(found) <= len(self.waiting) and float(found[-1].sum()) > BEYOND / self.servers:
            found.append(np.maximum(irfft(rfft(found[-1], size) * factor, size)[:points], 0.0))
        return np.array(found)

    def _completed(self, chances: Floats) -> Floats:
        """Law of the number that all servers have completed, from that of one."""
        size = next_fast_len(self.servers * len(chances), real=True)
        return np.asarray(irfft(_power(rfft(chances, size), self.servers), size))

    @cached_property
    def _transformed(self) -> tuple[int, Complexes, Complexes]:
        """Number of roots; D at each root and point; the weights of the sum over the roots."""
        _, masses, _ = self._grid
        size = next_fast_len(self.servers * (len(masses) + 1), real=True)
        one = rfft(np.vstack([np.zeros(masses.shape[1]), masses]), size, axis=0)
        weights = np.zeros(size)
        weights[1 : len(self.waiting) + 1] = self.waiting
        turned = rfft(weights).conj() / size * 2.0
        turned[0] /= 2.0
        if size % 2 == 0:
            turned[-1] /= 2.0
        return size, one, turned

    @cached_property
    def _ever(self) -> float:
        """What the sum over the grid makes of P(some wait)."""
        return self._in_time(math.inf)

    def _in_time(self, t: float) -> float:
        """P(T <= t, some wait)."""
        step, masses, chances = self._grid
        size, one, weights = self._transformed
        points = min(math.floor(min(t / step, masses.shape[1])) + 1, masses.shape[1])
        longer = self._longer(t - (np.arange(points + 1) - 0.5) * step, step)
        late = masses[:, :points] * longer
        late = np.cumsum(late, axis=1) - late / 2.0
        others = chances[:, :points].copy()
        others[1:] -= late
        others[0] -= float(self.residual.sf(t))
        powered = _power(rfft(np.maximum(others, 0.0), size, axis=0), self.servers - 1)
        last = self.servers * (1.0 - longer)
        return float(np.real(weights @ ((one[:, :points] * powered) @ last)))

    def _longer(self, edges: Floats, step: float) -> Floats:
        """P(S > t − s) on average in each cell of s, of the `edges` t − s; its area is the residual law."""
        area = np.where(edges < 0.0, edges, self.law.mean * (1.0 - np.asarray(self.residual.sf(edges))))
        return np.asarray(area[:-1] - area[1:]) / step


def _power(base: Complexes, n: int) -> Complexes:
    """base^n by squaring, which numpy does not do."""
    result = np.ones_like(base)
    while n:
        if n & 1:
            result = result * base
        base, n = (base * base if n > 1 else base), n >> 1
    return result
