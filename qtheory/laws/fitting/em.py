"""Phase-type laws of largest likelihood, by EM: from samples, weighted or censored, from histograms, and from laws.

**Hyper-Erlang** (Thümmler, Buchholz and Telek 2006). Branch j, an Erlang law of k_j phases and mean m_j, is taken with
probability p_j. Given the law, observation i is due to branch j with probability q_ij ∝ p_j f_j(i), where f_j(i) is the
density at a time, or the probability of a bin, of which one that is only known to be longer is the last. Then

    p_j ← Σ_i w_i q_ij / Σ_i w_i,      m_j ← Σ_i w_i q_ij E_j[S | i] / Σ_i w_i q_ij,

with P(S <= t) = γ(k, kt/m)/Γ(k) and E[S; S <= t] = m γ(k+1, kt/m)/Γ(k+1). All ways to divide the phases into branches
are tried for a few steps, in rising and in falling order; the best go on until they gain no more.

**General** (Asmussen, Nerman and Olsson 1996; Olsson 1996 for censored data). The chain of the law is what is not seen:
its first phase, the time Z_a in each phase, the moves N_ab, the phase of exit. With ν the exit rates for a time, 1 for
the probability to be longer, the integral

    ∫_0^t (e^{T(t−u)} ν)_a (α e^{Tu})_b du

that all of them need is a block of exp(t [[T, να], [0, T]]) (Van Loan 1978). Much slower.

The likelihood never falls. With exact times only, the mean of a hyper-Erlang law is that of the samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory.arguments import choice, count
from qtheory.laws.fitting.exponentials import exponentials
from qtheory.laws.fitting.moments import row
from qtheory.laws.fitting.observations import MANY, Observations
from qtheory.laws.law import Law
from qtheory.laws.phase_type import PhaseType

Floats = NDArray[np.float64]

GAIN = 1e-8
"""EM stops when a step gains less log-likelihood than this for each unit of weight."""
MOST_STEPS = 2000
TRIAL_STEPS, FINALISTS = 12, 3
MOST_BRANCHES, FEW_PHASES, FEW_BRANCHES = 5, 10, 3
"""At most 5 branches, or 3 for more than 10 phases."""
MANY_GENERAL = 200
"""More exact times than this are gathered for a general chain, whose steps are dear."""
RARE = 1e-280
"""A probability below this is taken from the density at the nearest time."""


class EMFit(NamedTuple):
    """A fitted law, and the log-likelihood after each step, weights divided by their sum."""

    law: PhaseType
    log_likelihood: Floats


def em(
    samples: Law | ArrayLike,
    weights: ArrayLike | None = None,
    censored: ArrayLike | None = None,
    *,
    phases: int,
    structure: str = "hyper-Erlang",
) -> EMFit:
    """Fit a phase-type law of `phases` phases by maximum likelihood.

    Parameters
    ----------
    samples : array-like or Law
        Service times [s], none negative: a time of 0 is one below the smallest other. Of a Histogram the bins are
        taken, of an Empirical law its samples, of any other law narrow bins.
    weights : array-like, optional
        Weight of each sample, none negative; all 1 by default.
    censored : array-like of bool, optional
        True where the service took longer than the sample, nobody knows how much.
    phases : int
        Number of phases in all.
    structure : "hyper-Erlang" or "general"
        Branches of equal phases in a row, or any chain.

    Deterministic. Raises ValueError for arguments out of range or of different lengths.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> fitted = em(rng.gamma(4.0, 0.25e-3, 2000), phases=4)
    >>> fitted.law.alpha.tolist(), round(fitted.law.scv, 12)
    ([1.0, 0.0, 0.0, 0.0], 0.25)
    """
    phases = count("phases", phases)
    choice("structure", structure, ("hyper-Erlang", "general"))
    seen = Observations.of(samples, weights, censored, MANY if structure == "hyper-Erlang" else MANY_GENERAL)
    unit = float(seen.weight @ seen.centre / seen.weight.sum())
    scaled = Observations(seen.low / unit, seen.high / unit, seen.weight / seen.weight.sum())
    found = _hyper_erlang(scaled, phases) if structure == "hyper-Erlang" else _general(scaled, phases)
    return EMFit(PhaseType(found.law.alpha, found.law.T / unit), found.log_likelihood - np.log(unit) * _exact(scaled))


def _exact(seen: Observations) -> float:
    """Weight of what is seen exactly: its density has a unit."""
    return float(seen.weight[seen.low == seen.high].sum())


class Branches(NamedTuple):
    """A hyper-Erlang law: orders, probabilities and means."""

    orders: tuple[int, ...]
    p: Floats
    means: Floats
    log_likelihood: tuple[float, ...] = ()

    def stepped(self, seen: Observations, steps: int) -> Branches:
        """After so many steps of EM, or fewer when they gain nothing."""
        from scipy.special import logsumexp

        p, means, history = self.p, self.means, list(self.log_likelihood)
        for _ in range(steps):
            each = [_branch(k, m, seen) for k, m in zip(self.orders, means, strict=True)]
            with np.errstate(divide="ignore"):  # a branch may die out
                logs = np.array([one for one, _ in each]) + np.log(p)[:, None]
            total = logsumexp(logs, axis=0)
            history.append(float(seen.weight @ total))
            shares = np.exp(logs - total) * seen.weight
            p = shares.sum(axis=1)
            work = (shares * np.array([mean for _, mean in each])).sum(axis=1)
            means = np.where(p > 0.0, work / np.where(p > 0.0, p, 1.0), means)
            p = p / p.sum()
            if len(history) > 1 and history[-1] - history[-2] < GAIN:
                break
        return Branches(self.orders, p, means, tuple(history))

    @property
    def law(self) -> PhaseType:
        """As a chain."""
        from scipy.linalg import block_diag

        rows = [row(m, k) for k, m in zip(self.orders, self.means, strict=True)]
        alpha = np.concatenate([p * one.alpha for p, one in zip(self.p, rows, strict=True)])
        return PhaseType(alpha / alpha.sum(), block_diag(*(one.T for one in rows)))


def _hyper_erlang(seen: Observations, phases: int) -> EMFit:
    most = MOST_BRANCHES if phases <= FEW_PHASES else FEW_BRANCHES
    starts = [way for parts in _partitions(phases, phases, most) for way in {parts, parts[::-1]}]
    tried = [_start(orders, seen).stepped(seen, TRIAL_STEPS) for orders in sorted(starts)]
    tried.sort(key=lambda one: -one.log_likelihood[-1])
    best = max((one.stepped(seen, MOST_STEPS) for one in tried[:FINALISTS]), key=lambda one: one.log_likelihood[-1])
    return EMFit(best.law, np.array(best.log_likelihood))


def _partitions(total: int, largest: int, most: int) -> Iterator[tuple[int, ...]]:
    """Ways to write `total` as a sum of at most `most` falling numbers up to `largest`."""
    if total == 0:
        yield ()
    elif most > 0:
        for first in range(min(total, largest), 0, -1):
            for rest in _partitions(total - first, first, most - 1):
                yield (first, *rest)


def _start(orders: tuple[int, ...], seen: Observations) -> Branches:
    """Means equally far apart on a logarithmic scale, from the body by number to the tail by work."""
    means = _spread(seen, len(orders))
    nearest = np.argmin(np.abs(np.log(np.maximum(seen.centre, 1e-300)) - np.log(means)[:, None]), axis=0)
    p = np.bincount(nearest, seen.weight, len(orders)) + 0.01
    return Branches(orders, p / p.sum(), means)


def _spread(seen: Observations, n: int) -> Floats:
    """n times over the range of the data; the mean, 1, for one."""
    order = np.argsort(seen.centre)
    t, number = seen.centre[order], np.cumsum(seen.weight[order])
    work = np.cumsum(seen.weight[order] * t)
    low = t[np.searchsorted(number, 0.25 * number[-1])]
    high = t[np.searchsorted(work, 0.85 * work[-1])]
    low = max(float(low), 1e-6)
    return np.geomspace(low, max(float(high), 1.1 * low), n) if n > 1 else np.ones(1)


def _branch(k: int, mean: float, seen: Observations) -> tuple[Floats, Floats]:
    """log of the density or probability of each observation, and the mean time given it, for one branch."""
    from scipy.special import gammainc, gammaincc, gammaln

    rate = k / mean
    low, high = rate * seen.low, rate * seen.high
    point = low == high

    def within(k: int) -> Floats:
        far = low > k
        lower, upper = (
            np.where(far, gammaincc(k, high), gammainc(k, low)),
            np.where(far, gammaincc(k, low), gammainc(k, high)),
        )
        return np.asarray(upper - lower)

    near = np.where(point, low, np.clip(float(k), low, high))  # near and probable
    with np.errstate(divide="ignore"):
        log_near = np.log(near)
    log_density = (k - 1.0) * np.where(near > 0.0, log_near, 0.0) - near - gammaln(k)
    chance = np.where(point, 0.0, within(k))
    good = chance > RARE
    safe = np.where(good, chance, 1.0)
    width = np.where(point, rate, np.minimum(np.where(point, 1.0, high - low), 1.0))
    logs = np.where(good, np.log(safe), log_density + np.log(width))
    return logs, np.where(good, mean * within(k + 1) / safe, near / rate)


def _general(seen: Observations, phases: int) -> EMFit:
    means = _spread(seen, phases)
    leave = 1.0 / means
    T = np.diag(-leave)
    if phases > 1:
        T = T + (leave[:, None] / 2.0 / (phases - 1)) * (1.0 - np.eye(phases))
    alpha, history = np.full(phases, 1.0 / phases), [-np.inf]
    law = PhaseType(alpha, T)
    for _ in range(MOST_STEPS):
        likelihood, following = _general_step(law, seen)
        if likelihood - history[-1] < GAIN:
            break
        history.append(likelihood)
        law = following
    return EMFit(law, np.array(history[1:]))


def _general_step(law: PhaseType, seen: Observations) -> tuple[float, PhaseType]:
    """log-likelihood of a law, and the law after one step."""
    alpha, T = law.alpha, law.T
    point = seen.low == seen.high
    exits = -T.sum(axis=1)
    chance = np.empty(len(point))
    n = len(alpha)
    start, last, passed = (np.zeros((len(point), *shape)) for shape in ((n,), (n,), (n, n)))
    if point.any():
        move, integral = _integrals(T, exits, alpha, seen.low[point])
        start[point], last[point], passed[point] = alpha * (move @ exits), (alpha @ move) * exits, integral
    if not point.all():
        ends = []
        for t in (seen.low[~point], seen.high[~point]):
            gone = np.isinf(t)
            move, integral = _integrals(T, np.ones(n), alpha, np.where(gone, 0.0, t))
            move[gone] = 0.0
            spent = (alpha - alpha @ move) @ np.linalg.inv(-T)
            ends.append((alpha * (1.0 - move.sum(axis=2)), spent * exits, spent[:, None, :] - integral))
        for place, below, upto in zip((start, last, passed), *ends, strict=True):
            place[~point] = upto - below
    chance = start.sum(axis=1)
    weight = seen.weight / chance
    time = weight @ np.diagonal(passed, axis1=1, axis2=2)
    moves = np.tensordot(weight, passed, 1).T * (T - np.diag(np.diag(T)))
    rates = moves / time[:, None]
    rates -= np.diag(rates.sum(axis=1) + weight @ last / time)
    begin = weight @ start
    return float(seen.weight @ np.log(chance)), PhaseType(begin / begin.sum(), rates)


def _integrals(T: Floats, to: Floats, alpha: Floats, t: Floats) -> tuple[Floats, Floats]:
    """e^{Tt} and ∫_0^t (e^{T(t−u)} to)_a (α e^{Tu})_b du for each t."""
    n = len(alpha)
    block = np.block([[T, np.outer(to, alpha)], [np.zeros((n, n)), T]])
    E = exponentials(block * t[:, None, None])
    return E[:, :n, :n], E[:, :n, n:]
