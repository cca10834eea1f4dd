"""Phase-type law: the time a Markov chain with phases 1, ..., n takes to leave them for good.

It starts in phase i with probability α_i and moves by the generator T, whose row sums fall short of 0 by the exit rates
(Neuts, Matrix-Geometric Solutions, 1981, chapter 2): P(S > t) = α e^{Tt} 1, E[S^k] = k! α (−T)^{−k} 1.

Rates may differ by many decades, and the tails must be right to 1e-300, so nothing here subtracts:

* (sI − T) x = b is solved by elimination in which each pivot is the sum of what leaves the phase, to the other phases
  and out of all, never a difference (Grassmann, Taksar, Heyman 1985; Alfa, Xue, Ye 2002);
* e^{Tt} comes by uniformization for times h up to one tick of the fastest clock, e^{Th} = Σ e^{−x} x^k/k! P^k, and by
  products of e^{Th}, e^{2Th}, e^{4Th}, ..., one for each bit of t/h. Squaring would double the relative error of what
  is left at each step. So the probability a_i(t) to have left by t is kept as well, a(2t) = a(t) + e^{Tt} a(t), and
  while it is below one half each row is scaled to the sum 1 − a_i: errors do not build up before the law decays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory.arguments import count
from qtheory.laws.arrays import ByValue, probabilities, store
from qtheory.laws.law import Law, points, times

Floats = NDArray[np.float64]

TICKS = 25
"""Terms of uniformization for one tick of the clock: 1/25! is below 1e-25."""


@dataclass(frozen=True, eq=False)
class PhaseType(ByValue, Law):
    """Phase-type law with starting probabilities `alpha` and generator `T` [1/s].

    Parameters
    ----------
    alpha : array-like, shape (n,)
        Probability to start in each phase. They sum to 1: no atom at zero.
    T : array-like, shape (n, n)
        Rates between phases, none negative; the diagonal is negative, row sums are at most 0, and every phase reaches
        the exit. ValueError otherwise.

    Examples
    --------
    A cache hit takes one phase, a miss both.

    >>> law = PhaseType(alpha=[1.0, 0.0], T=[[-4.0, 1.0], [0.0, -0.5]])
    >>> law.mean, law.residual().mean == law.moment(2) / (2 * law.mean)
    (0.75, True)
    """

    alpha: Floats
    T: Floats

    def __init__(self, alpha: ArrayLike, T: ArrayLike) -> None:
        start, rates = probabilities("alpha", alpha), np.array(T, dtype=np.float64)
        n = len(start)
        if rates.shape != (n, n):
            raise ValueError(f"T must have a row and a column for each of the {n} phases, not the shape {rates.shape}")
        if not np.isfinite(rates).all():
            raise ValueError(f"T must be finite, not {rates.tolist()}")
        for i, row in enumerate(rates):
            if row[i] >= 0.0:
                raise ValueError(f"T[{i}][{i}] must be negative, not {row[i]}")
            if (off := np.delete(row, i)).size and off.min() < 0.0:
                raise ValueError(f"T[{i}] must not be negative off the diagonal, not {off.min()}")
            if math.fsum(row) > 1e-12 * -row[i]:
                raise ValueError(f"T[{i}] must have a sum of at most 0, not {math.fsum(row)}")
        store(self, alpha=start, T=rates)
        exits = self._exit > 0.0
        for _ in range(n):
            exits = exits | ((self._between @ exits) > 0.0)
        if not exits.all():
            raise ValueError(f"T must let every phase reach the exit: phase {int(np.argmin(exits))} does not")

    @cached_property
    def _exit(self) -> Floats:
        """Exit rates; a sum that is off by the rounding of T is 0."""
        sums = np.array([-math.fsum(row) for row in self.T])
        return np.where(sums > -1e-15 * np.diag(self.T), sums, 0.0)

    @cached_property
    def _between(self) -> Floats:
        """Rates between phases, without the diagonal."""
        return self.T - np.diag(np.diag(self.T))

    def moment(self, k: int) -> float:
        """k! α (−T)^{−k} 1."""
        power = np.ones(len(self.alpha))
        for _ in range(count("k", k)):
            power = self._visits @ power
        return math.factorial(k) * float(self.alpha @ power)

    def sf(self, t: ArrayLike) -> Floats:
        """α e^{Tt} 1."""
        return np.asarray(np.minimum(self._alive_and_gone(times(t))[0].sum(axis=-1), 1.0))

    def cdf(self, t: ArrayLike) -> Floats:
        """Probability to have left by t."""
        return np.minimum(self._alive_and_gone(times(t))[1], 1.0)

    def lst(self, s: ArrayLike) -> NDArray[Any]:
        """α (sI − T)^{−1} × exit rates."""
        s = points(s)
        right = np.broadcast_to(self._exit[:, None], (*s.shape, len(self.alpha), 1))
        return np.asarray(self._solve(s, right)[..., 0] @ self.alpha)

    def residual(self) -> PhaseType:
        """The same chain, started as it is found in progress: α (−T)^{−1} / mean."""
        found = self.alpha @ self._visits
        return PhaseType(found / found.sum(), self.T)

    def phase_type(self) -> PhaseType:
        """The law itself."""
        return self

    def sample(self, rng: np.random.Generator, size: int) -> Floats:
        """Draw `size` independent service times [s]: all chains walk at once, those that have left drop out."""
        n = len(self.alpha)
        total = np.zeros(size)
        walking = np.arange(size)
        phase = np.searchsorted(np.cumsum(self.alpha)[:-1], rng.random(size), side="right")
        hold = -1.0 / np.diag(self.T)
        moves = np.column_stack([self._between, self._exit])
        ends = np.cumsum(moves / moves.sum(axis=1, keepdims=True), axis=1)
        ends[:, -1] = 1.0
        ends = np.where(np.cumsum(moves[:, ::-1], axis=1)[:, ::-1] > 0.0, ends, 1.0)  # no move beyond the last possible
        rows = (np.arange(n)[:, None] + ends).ravel()
        while len(walking):
            total[walking] += rng.standard_exponential(len(walking)) * hold[phase]
            move = np.searchsorted(rows, phase + rng.random(len(walking)), side="right") - (n + 1) * phase
            stays = move < n
            walking, phase = walking[stays], move[stays]
        return total

    @cached_property
    def _visits(self) -> Floats:
        """(−T)^{−1}: mean time spent in each phase, by the first phase [s]."""
        return np.asarray(self._solve(np.zeros(()), np.eye(len(self.alpha))))

    def _solve(self, s: NDArray[Any], right: NDArray[Any]) -> NDArray[Any]:
        """x with (sI − T) x = right; s of any shape, right with the shape (*s.shape, n, columns)."""
        n = len(self.alpha)
        flow = np.array(np.broadcast_to(self._between, (*s.shape, n, n)), dtype=s.dtype)
        out = self._exit + s[..., None]
        x = np.array(right, dtype=s.dtype)
        pivot = np.empty_like(out)
        for k in range(n - 1, -1, -1):  # leave out phase k: who went there goes on to where it leads
            pivot[..., k] = out[..., k] + flow[..., k, :k].sum(axis=-1)
            share = flow[..., :k, k] / pivot[..., k, None]
            flow[..., :k, :k] += share[..., None] * flow[..., k, None, :k]
            flow[..., range(k), range(k)] = 0.0
            out[..., :k] += share * out[..., k, None]
            x[..., :k, :] += share[..., None] * x[..., k, None, :]
        for k in range(n):
            x[..., k, :] += (flow[..., k, None, :k] @ x[..., :k, :])[..., 0, :]
            x[..., k, :] /= pivot[..., k, None]
        return x

    def _alive_and_gone(self, t: Floats) -> tuple[Floats, Floats]:
        """Probabilities to be in each phase at t, shape (*t.shape, n), and to have left by t."""
        tick, ladder = self._ladder
        over = t >= tick * 2.0 ** len(ladder)
        t = np.where(over, 0.0, t)
        weights, (steps, left) = self._ticks(np.fmod(t, tick)), self._walk(self.alpha)
        alive, gone = np.asarray(weights @ steps), np.asarray(weights @ left)
        for rung, (move, leave) in enumerate(ladder):
            bit = np.floor(t / (tick * 2.0**rung)) % 2.0 == 1.0
            gone[bit] += alive[bit] @ leave
            alive[bit] = alive[bit] @ move
        alive[over], gone[over] = 0.0, 1.0
        return alive, gone

    def _ticks(self, t: Floats) -> Floats:
        """Poisson weights of 0, 1, ..., TICKS − 1 ticks by t."""
        x = -np.diag(self.T).min() * t[..., None]
        factorials = np.array([math.factorial(k) for k in range(TICKS)], dtype=float)
        return np.asarray(np.exp(-x) * x ** np.arange(TICKS) / factorials)

    def _walk(self, start: Floats) -> tuple[Floats, Floats]:
        """Where a chain from `start` is after 0, 1, ... ticks, and whether it has left."""
        clock = float(-np.diag(self.T).min())
        jump = self._between / clock + np.diag((clock + np.diag(self.T)) / clock)
        steps, left = [start], [np.zeros(start.shape[:-1])]
        for _ in range(TICKS - 1):
            left.append(left[-1] + steps[-1] @ self._exit / clock)
            steps.append(steps[-1] @ jump)
        return np.array(steps), np.array(left)

    @cached_property
    def _ladder(self) -> tuple[float, list[tuple[Floats, Floats]]]:
        """A time h of at most one tick, then e^{Tt} and P(left by t) for t = h, 2h, 4h, ... until all have."""
        tick = 2.0 ** -math.ceil(math.log2(float(-np.diag(self.T).min())))
        weights = self._ticks(np.array(tick))
        steps, left = self._walk(np.eye(len(self.alpha)))
        move, leave = np.tensordot(weights, steps, 1), weights @ left
        ladder = []
        while move.any():
            staying = leave < 0.5
            move[staying] *= ((1.0 - leave[staying]) / move[staying].sum(axis=1))[:, None]
            ladder.append((move, leave))
            move, leave = move @ move, leave + move @ leave
        return tick, ladder
