"""A phase-type law with given moments: two or three of them, in as few phases as the rules here find.

Two moments. With c² = scv, above 1 a hyperexponential of balanced means; below, k or k − 1 phases of one rate, where
k = ⌈1/c²⌉ (Tijms, A First Course in Stochastic Models, 2003, appendix B): k − 1 with probability

    p = (k c² − √(k (1 + c²) − k² c²)) / (1 + c²),      at the rate (k − p)/mean.

No law of k phases has an scv below 1/k (Aldous and Shepp 1987).

Three moments. With r_i = E[S^i]/(i! E[S]^i) two phases in a row, of means u >= v, the first of them skipped with
probability 1 − p, have

    u + v = (r₃ − r₂)/(r₂ − 1),   u v = u + v − r₂,   p = (1 − v)/u,

the canonical acyclic law of order 2. It reaches (Telek and Heindl 2002; Bobbio, Horváth and Telek 2005), in terms of
m = E[S³]/E[S]³,

    c² > 1:          m > 3/2 (1 + c²)², as a hyperexponential
    c² = 1:          m = 6, the exponential
    1/2 <= c² < 1:   3 (3c² − 1 + √2 (1 − c²)^{3/2}) <= m <= 6 c².

Beyond, two ways, and the one with fewer phases is taken: k equal phases before two such (as Osogami and Harchol-Balter
2006, who let the two be Coxian), which takes cumulants away from those two; or a mixture of two Erlang laws of the same
k phases each (Johnson and Taaffe 1989). E[S^i]/(k (k+1) ... (k+i−1)) are then the moments of a law on the two phase
means, so that every scv above 1/k and E[S] E[S³]/E[S²]² above (k + 2)/(k + 1) can be had: with k large, whatever
any law can have.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qtheory.arguments import count, positive
from qtheory.laws.hyperexponential import Hyperexponential
from qtheory.laws.phase_type import PhaseType

Floats = NDArray[np.float64]

TRIED = 2001
"""Parts of the mean that are tried for the equal phases."""
SAME = 1e-12
"""Moments that differ by less, relative, are taken as the same."""


def two_moments(mean: float, scv: float, *, most: int = 100) -> PhaseType:
    """The phase-type law of this mean [s] and scv, with at most `most` phases.

    Raises ValueError for arguments that are not positive, and where `most` is too few: for an scv below 1/most, or
    above 1 with one phase.

    Examples
    --------
    >>> law = two_moments(1e-3, 0.4)
    >>> len(law.alpha), round(law.mean, 12), round(law.scv, 12)
    (3, 0.001, 0.4)
    """
    mean, scv, most = positive("mean", mean), positive("scv", scv), count("most", most)
    if scv > 1.0:
        if most == 1:
            raise ValueError(f"most must be at least 2 for an scv of {scv}, not 1")
        return Hyperexponential.balanced(mean, scv).phase_type()
    k = math.ceil(1.0 / scv - 1e-12)
    if k > most:
        raise ValueError(f"scv must be at least 1/most = {1.0 / most:g} with {most} phases, not {scv}")
    short = max(0.0, (k * scv - math.sqrt(max(0.0, k * (1.0 + scv) - k * k * scv))) / (1.0 + scv))
    return row(mean * k / (k - short), k, short)


def three_moments(m1: float, m2: float, m3: float, *, most: int = 200) -> PhaseType:
    """The phase-type law with these moments E[S^i] [s^i], with at most `most` phases.

    Raises ValueError, naming the bound, for moments that no phase-type law has, which must keep m2 > m1² and
    m1 m3 > m2²; and for those which would take more phases.

    Examples
    --------
    >>> law = three_moments(1.0, 1.8, 4.7)
    >>> len(law.alpha), round(law.moment(3), 12)
    (2, 4.7)
    >>> len(three_moments(1.0, 1.25, 1.95).alpha)  # nearly those of a lognormal law of scv 1/4
    6
    """
    m1, m2, m3, most = positive("m1", m1), positive("m2", m2), positive("m3", m3), count("most", most)
    if m2 <= m1 * m1:
        raise ValueError(f"m2 must exceed m1² = {m1 * m1}, not be {m2}")
    if m3 <= m2 * m2 / m1:
        raise ValueError(f"m3 must exceed m2²/m1 = {m2 * m2 / m1} with this m1 and m2, not be {m3}")
    n2, n3 = m2 / m1 / m1, m3 / m1 / m1 / m1
    for phases in range(1, most + 1):
        law = _of_order(phases, n2, n3)
        if law is not None:
            return PhaseType(law.alpha, law.T / m1)
    raise ValueError(
        f"m2 and m3 must be farther from their bounds m1² and m2²/m1 to be had with {most} phases, "
        f"not {n2:.6g} times m1² and {n3 / n2 / n2:.6g} times m2²/m1"
    )


def row(mean: float, phases: int, short: float = 0.0) -> PhaseType:
    """Equal phases one after the other, of this mean in all; with probability `short` the first is skipped."""
    rate = phases / mean
    start = np.eye(1, phases)[0]
    if short > 0.0:
        start[:2] = 1.0 - short, short
    return PhaseType(start, np.diag(np.full(phases, -rate)) + np.diag(np.full(phases - 1, rate), 1))


def _of_order(phases: int, n2: float, n3: float) -> PhaseType | None:
    """A law of so many phases with the moments 1, n2, n3; None when there is none of these forms."""
    erlang = 1.0 + 1.0 / phases, (1.0 + 1.0 / phases) * (1.0 + 2.0 / phases)
    if np.allclose((n2, n3), erlang, rtol=SAME, atol=0.0):
        return row(1.0, phases)
    if phases == 1 or n2 < erlang[0]:
        return None
    if phases == 2:
        return _two(n2, n3)
    return _row_and_two(phases - 2, n2, n3) or (_two_rows(phases // 2, n2, n3) if phases % 2 == 0 else None)


def _two(n2: float, n3: float) -> PhaseType | None:
    """Two phases with the moments 1, n2, n3, the first of which may be skipped."""
    found, long, brief, both = (x[0] for x in _canonical(np.array([1.0]), np.array([n2]), np.array([n3])))
    return _in_row([long, brief], both) if found else None


def _row_and_two(k: int, n2: float, n3: float) -> PhaseType | None:
    """k equal phases before two; of the parts of the mean that they may have, the middle one."""
    part = np.linspace(0.0, 1.0, TRIED)[1:-1]
    mean, variance = 1.0 - part, n2 - 1.0 - part**2 / k
    third = n3 - 3.0 * n2 + 2.0 - 2.0 * part**3 / k**2  # central
    found, long, brief, both = _canonical(mean, variance + mean**2, third + 3.0 * mean * variance + mean**3)
    if not found.any():
        return None
    i = np.flatnonzero(found)[found.sum() // 2]
    return _in_row([*[part[i] / k] * k, long[i], brief[i]], both[i])


def _two_rows(k: int, n2: float, n3: float) -> PhaseType | None:
    """A mixture of two Erlang laws of k phases each."""
    from scipy.linalg import block_diag

    m2, m3 = n2 * k / (k + 1), n3 * k * k / (k + 1) / (k + 2)
    spread = m2 - 1.0
    if spread <= SAME or m3 - m2 * m2 <= SAME * m3:
        return None
    total, product = (m3 - m2) / spread, (m3 - m2 * m2) / spread
    long = (total + math.sqrt(total * total - 4.0 * product)) / 2.0
    below = spread / (long - 1.0)  # 1 − brief, which may be tiny: the variance is (long − 1)(1 − brief)
    brief = 1.0 - below
    p = below / (long - brief)
    parts = row(long, k), row(brief, k)
    alpha = np.concatenate([p * parts[0].alpha, (1.0 - p) * parts[1].alpha])
    return PhaseType(alpha, block_diag(*(part.T for part in parts)))


def _canonical(m1: Floats, m2: Floats, m3: Floats) -> tuple[NDArray[np.bool_], Floats, Floats, Floats]:
    """Whether two phases have these moments, their means, the longer first, and the probability to pass both."""
    with np.errstate(all="ignore"):  # what comes of moments that no law has is not taken
        r2, r3 = m2 / m1**2 / 2.0, m3 / m1**3 / 6.0
        total = (r3 - r2) / (r2 - 1.0)
        product = total - r2
        square = total**2 / 4.0 - product
        root = np.sqrt(np.where(np.abs(square) < SAME * total**2, 0.0, square))
        long = total / 2.0 + root
        below = np.where(r2 > 1.0, (r2 - 1.0) / (long - 1.0), 1.0 - product / long)  # r2 − 1 = (long − 1)(1 − brief)
        brief, both = 1.0 - below, below / long
        found = (r2 > 0.5) & (np.abs(r2 - 1.0) > SAME) & (brief > 0.0) & (both >= 0.0) & (both <= 1.0)
    return found, m1 * long, m1 * brief, both


def _in_row(means: list[float], both: float) -> PhaseType:
    """Phases of these means one after the other, the last but one of which is skipped with probability 1 − both."""
    rates, n = 1.0 / np.array(means), len(means)
    T = np.diag(-rates) + np.diag(rates[:-1], 1)
    if n == 2:
        return PhaseType([both, 1.0 - both], T)
    T[n - 3, n - 2 :] = rates[n - 3] * np.array([both, 1.0 - both])
    return PhaseType(np.eye(1, n)[0], T)
