"""Markovian arrival process: a Markov chain runs in the background, and some of its moves bring a request.

D1[i, j] is the rate of moves from phase i to j with an arrival, D0[i, j] of those without; the diagonal of D0 makes the
rows of Q = D0 + D1 sum to 0 (Neuts 1979; Lucantoni, Meier-Hellstern & Neuts 1990). With π Q = 0, Σπ = 1, all of it
follows by linear algebra:

    rate                  λ = π D1 1
    time between arrivals phase-type: starts with φ = π D1 / λ, moves by D0;
                          Corr(X_0, X_k) = (λ π M P^k M 1 − 1) / (2λ π M 1 − 1),  M = (−D0)⁻¹,  P = M D1
    counts                V(t) = Var N(t) = λt + 2 ∫_0^t (t − u) π D1 e^{Qu} d du,  d = D1 1 − λ1
                          I(t) = V(t)/λt → 1 + 2 π D1 x / λ,  where −Q x = d and π x = 0

V is wanted from windows far below a gap to far above, where the usual closed form subtracts almost equal numbers. So

    A(t) = ∫_0^t e^{Qu} d du        A(s + h) = A(h) + e^{Qh} A(s)
    B(t) = ∫_0^t (t − u) e^{Qu} d du        B(s + h) = B(h) + s A(h) + e^{Qh} B(s)

are built up along the bits of t, from a power series for what is shorter than one tick of the fastest phase. e^{Qh}
is squared with its rows scaled to 1, and π A = π B = 0 is restored at each step, so nothing drifts.

π comes by elimination without subtraction (`markov/gth.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory.arguments import count, positive, real
from qtheory.arrivals.peakedness import ServiceTime, peakedness
from qtheory.laws.arrays import ByValue, store
from qtheory.laws.phase_type import PhaseType
from qtheory.markov.gth import gth
from qtheory.markov.phase_counts import PhaseCounts

Floats = NDArray[np.float64]

BLOCK = 1 << 16
ROUNDING = 1e-9
"""Largest row sum of D0 + D1 that is taken for rounding, relative to the row's rates."""
TERMS = 25
"""Of the power series over one tick: 1/25! is below 1e-25."""
PEAKEDNESS_STEPS = 50
"""Windows a decade."""


@dataclass(frozen=True, eq=False)
class MAP(ByValue):
    """Markovian arrival process with phase moves `D0` and, with an arrival, `D1` [1/s].

    Parameters
    ----------
    D0 : array-like, shape (n, n)
        Rates without an arrival: none negative off the diagonal, which is minus all that leaves the phase.
    D1 : array-like, shape (n, n)
        Rates with an arrival, none negative, not all 0.

    Raises ValueError naming the entry when a rate is negative or not finite, when a row of D0 + D1 does not sum to 0,
    and when some phase cannot be reached from another. Arrays are read-only.

    Examples
    --------
    Bursts at 100 requests a second for 0.1 s in the mean, then 0.9 s of silence:

    >>> process = MAP([[-110.0, 10.0], [1 / 0.9, -1 / 0.9]], [[100.0, 0.0], [0.0, 0.0]])
    >>> round(process.rate, 9), round(process.scv, 9)
    (10.0, 17.2)
    >>> process.dispersion([1e-9, 0.1, 1e3]).round(2)
    array([ 1.  ,  7.42, 17.2 ])
    """

    D0: Floats
    D1: Floats

    def __init__(self, D0: ArrayLike, D1: ArrayLike) -> None:
        silent, arriving = _rates("D0", D0), _rates("D1", D1)
        n = len(silent)
        if arriving.shape != silent.shape:
            raise ValueError(f"D1 must have the shape of D0, {silent.shape}, not {arriving.shape}")
        moves = silent - np.diag(np.diag(silent))
        for name, rates in (("D0", moves), ("D1", arriving)):
            for i, j in np.argwhere(rates < 0.0)[:1]:
                raise ValueError(f"{name}[{i}][{j}] must be a rate >= 0, not {rates[i, j]}")
        leaving = (moves + arriving).sum(axis=1)
        for i, out in enumerate(leaving):
            if abs(silent[i, i] + out) > ROUNDING * max(out, abs(silent[i, i])):
                raise ValueError(f"D0[{i}][{i}] must be minus the sum of the row's other rates, {-out}, as D0 + D1 has "
                                 f"rows that sum to 0, not {silent[i, i]}")  # fmt: skip
        if not arriving.any():
            raise ValueError("D1 must have a rate above 0: without one there are no arrivals")
        linked = moves + arriving > 0.0
        for links, words in ((linked, "is not reached from phase 0"), (linked.T, "does not reach phase 0")):
            reached = np.arange(n) == 0
            for _ in range(n):
                reached = reached | links[reached].any(axis=0)
            for i in np.flatnonzero(~reached)[:1]:
                raise ValueError(f"D0 + D1 must lead from every phase to every other: phase {i} {words}")
        store(self, D0=moves - np.diag(leaving), D1=arriving)

    @property
    def order(self) -> int:
        """Number of phases."""
        return len(self.D0)

    @cached_property
    def phases(self) -> Floats:
        """Share of the time spent in each phase, π."""
        return gth(self.D0 + self.D1)

    @cached_property
    def rate(self) -> float:
        """Arrivals per second."""
        return float(self._arriving.sum())

    @cached_property
    def interarrival(self) -> PhaseType:
        """Law of the time between an arrival and the next [s]."""
        start = self._arriving / self.rate
        return PhaseType(start / start.sum(), self.D0)

    @cached_property
    def scv(self) -> float:
        """Squared coefficient of variation of the time between arrivals; Poisson: 1."""
        return self.interarrival.scv

    def autocorrelation(self, lag: int) -> float:
        """Correlation of times between arrivals that are `lag` apart, 1 or more; Poisson: 0.

        >>> MAP([[-2.0]], [[2.0]]).autocorrelation(1)
        0.0
        """
        lag = count("lag", lag)
        mean = np.linalg.solve(-self.D0, np.ones(self.order))  # to the next arrival, by phase
        ahead = mean - 1.0 / self.rate
        for _ in range(lag):
            ahead = np.linalg.solve(-self.D0, self.D1 @ ahead)
        variance = 2.0 * float(self.phases @ mean) / self.rate - 1.0 / self.rate**2
        return float(self.phases @ ahead) / self.rate / variance

    def variance(self, t: ArrayLike) -> Floats:
        """Var N(t), N(t) the arrivals in a time t [s] >= 0; ValueError for a negative one."""
        t = _windows(t)
        return np.asarray(self.rate * t + 2.0 * (self._arriving @ self._twice_integrated(t.ravel())).reshape(t.shape))

    def dispersion(self, t: ArrayLike) -> Floats:
        """Index of dispersion of counts I(t) = Var N(t) / E N(t), 1 at t = 0; Poisson: 1 at every t.

        >>> MAP([[-2.0]], [[2.0]]).dispersion([0.0, 1.0, 1e6])
        array([1., 1., 1.])
        """
        t = _windows(t)
        mean = np.where(t > 0.0, self.rate * t, 1.0)
        return np.asarray(np.where(t > 0.0, self.variance(t) / mean, 1.0))

    @cached_property
    def limiting_dispersion(self) -> float:
        """I(t) for t → ∞."""
        return 1.0 + 2.0 * float(self._arriving @ self._solved(self._surplus)) / self.rate

    def peakedness(self, law: ServiceTime) -> float:
        """Peakedness z for a service law: variance / mean of the busy ones of infinitely many servers; Poisson: 1.

        By `qtheory.arrivals.peakedness` from I(t) at 50 windows a decade, to 1e-3 of z − 1.

        >>> from qtheory.laws import Exponential
        >>> round(MAP([[-2.0]], [[2.0]]).peakedness(Exponential(mean=0.1)), 6)
        1.0
        """
        longest = 1.01 * max(float(law.quantile(1.0 - 1e-15)), law.mean)
        shortest = 1e-7 * law.mean
        steps = math.ceil(PEAKEDNESS_STEPS * math.log10(longest / shortest))
        windows = np.geomspace(shortest, longest, steps)
        return peakedness(law, windows, self.dispersion(windows))

    def superposed(self, *others: MAP) -> MAP:
        """This process and others, independent of each other, as one: Kronecker sums.

        >>> MAP([[-2.0]], [[2.0]]).superposed(MAP([[-1.0]], [[1.0]])).rate
        3.0
        """
        D0, D1 = self.D0, self.D1
        for other in others:
            one, two = np.eye(len(D0)), np.eye(other.order)
            D0, D1 = np.kron(D0, two) + np.kron(one, other.D0), np.kron(D1, two) + np.kron(one, other.D1)
        return MAP(D0, D1)

    def copies(self, n: int) -> MAP:
        """`n` independent processes like this one, as one: its phases are how many of them are in each phase.

        Of order C(n + m − 1, m − 1) for m phases, where `superposed` has m^n.

        >>> IPP = MAP([[-11.0, 1.0], [2.0, -2.0]], [[10.0, 0.0], [0.0, 0.0]])
        >>> IPP.copies(20).order, bool(np.isclose(IPP.copies(20).rate, 20 * IPP.rate))
        (21, True)
        """
        n = count("n", n)
        D0, D1 = counted(self.D0 - np.diag(np.diag(self.D0)), n), counted(self.D1, n)
        return MAP(D0 - np.diag((D0 + D1).sum(axis=1)), D1)

    def thinned(self, p: float) -> MAP:
        """Each arrival kept with probability 0 < p <= 1, independently.

        >>> MAP([[-2.0]], [[2.0]]).thinned(0.25).rate
        0.5
        """
        kept = real("p", p)
        if not 0.0 < kept <= 1.0:
            raise ValueError(f"p must be a probability above 0, not {p!r}")
        return MAP(self.D0 + (1.0 - kept) * self.D1, kept * self.D1)

    def scaled(self, factor: float) -> MAP:
        """All arrival times multiplied by `factor`: 0.5 for twice the rate.

        >>> MAP([[-2.0]], [[2.0]]).scaled(0.5).rate
        4.0
        """
        factor = positive("factor", factor)
        return MAP(self.D0 / factor, self.D1 / factor)

    def sample(self, rng: np.random.Generator, n: int) -> Floats:
        """Draw the first `n` arrival times [s] after time 0, the phase at time 0 being stationary.

        >>> times = MAP([[-2.0]], [[2.0]]).sample(np.random.default_rng(1), 100_000)
        >>> bool(abs(len(times) / times[-1] - 2.0) < 0.02)
        True
        """
        return next(self.arrival_stream(rng, count("n", n)))

    def arrival_stream(self, rng: np.random.Generator, block: int = BLOCK) -> Iterator[Floats]:
        """Arrival times [s] without end, `block` at a time, each block continuing where the last one ended."""
        from qtheory.arrivals.walk import walk  # numba loads here

        block = count("block", block)
        moves = np.hstack([self.D0 - np.diag(np.diag(self.D0)), self.D1])
        ends = np.cumsum(moves, axis=1)
        ends /= ends[:, -1:]
        ends[ends >= 1.0] = np.inf  # no move beyond the last possible
        hold = -1.0 / np.diag(self.D0)
        phase, now = int(rng.choice(self.order, p=self.phases)), 0.0
        while True:
            times = np.empty(block)
            phase, now = walk(rng, ends, hold, phase, now, times)
            yield times

    @cached_property
    def _arriving(self) -> Floats:
        """π D1: arrivals per second into each phase."""
        return np.asarray(self.phases @ self.D1)

    @cached_property
    def _surplus(self) -> Floats:
        """d = D1 1 − λ1."""
        return self._centred(self.D1.sum(axis=1))

    def _centred(self, x: NDArray[np.floating]) -> Floats:
        """x less its mean over π."""
        return np.asarray(x - self.phases @ x, dtype=np.float64)

    def _solved(self, right: Floats) -> Floats:
        """x with −Q x = right and π x = 0, for π right = 0."""
        return self._centred(np.linalg.solve(self.phases * self._fastest - self.D0 - self.D1, right))

    @cached_property
    def _fastest(self) -> float:
        """Rate of the fastest phase's clock [1/s]."""
        return float(-np.diag(self.D0).min())

    def _twice_integrated(self, t: Floats) -> Floats:
        """B(t), a column for each t."""
        Q = self.D0 + self.D1
        tick = 2.0 ** -math.ceil(math.log2(self._fastest))
        powers = [self._surplus]
        for k in range(1, TERMS):
            powers.append(self._centred(Q @ powers[-1]) * tick / (k + 2))  # tick^k Q^k d · 2 / (k + 2)!
        once = np.array(powers) * (np.arange(TERMS)[:, None] + 2) / 2.0  # tick^k Q^k d / (k + 1)!
        twice = np.array(powers) / 2.0

        part = np.fmod(t, tick)
        share = (part / tick) ** np.arange(TERMS)[:, None]
        B, done = part**2 * (twice.T @ share), part
        move = _exponential(Q * tick)
        step, a, b = tick, tick * once.sum(axis=0), tick**2 * twice.sum(axis=0)
        while np.any(t >= step):
            bit = np.floor(t / step) % 2.0 == 1.0
            B[:, bit] = b[:, None] + np.outer(a, done[bit]) + move @ B[:, bit]
            B[:, bit] -= self.phases @ B[:, bit]
            done = np.where(bit, done + step, done)
            a, b = self._centred(a + move @ a), self._centred(b + step * a + move @ b)
            move = move @ move
            move /= move.sum(axis=1, keepdims=True)
            step *= 2.0
        return B


def counted(moves: Floats, n: int) -> Floats:
    """Rates of `n` chains that each move by the rates `moves`, as moves among the counts of chains in each phase."""
    counts = PhaseCounts(np.zeros(len(moves)), moves)
    return np.asarray(counts.internal(n).toarray() + np.diag(counts.states(n) @ np.diag(moves)))


def _exponential(generator: Floats) -> Floats:
    """e^{generator} for a generator whose clock ticks once at most, by uniformization: no term is negative."""
    jump = generator + np.eye(len(generator))
    weight, power = math.exp(-1.0), np.eye(len(generator))
    total = weight * power
    for k in range(1, TERMS):
        power, weight = power @ jump, weight / k
        total += weight * power
    return np.asarray(total / total.sum(axis=1, keepdims=True))


def _rates(name: str, values: ArrayLike) -> Floats:
    """A square matrix of finite numbers."""
    try:
        matrix = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a square matrix of rates, not {values!r}") from None
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.size == 0:
        raise ValueError(f"{name} must be a square matrix, not of shape {matrix.shape}")
    for i, j in np.argwhere(~np.isfinite(matrix))[:1]:
        raise ValueError(f"{name}[{i}][{j}] must be finite, not {matrix[i, j]}")
    return np.asarray(matrix + 0.0)  # −0 becomes 0: equal processes have equal bytes


def _windows(t: ArrayLike) -> Floats:
    array = np.asarray(t, dtype=np.float64)
    if not np.all((array >= 0.0) & (array < np.inf)):
        raise ValueError(f"t must be a finite time >= 0 [s], not {t!r}")
    return array
