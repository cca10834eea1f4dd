"""The phase-type law of a given number of phases whose residual law is closest to that of a law.

Every acyclic phase-type law of m phases is a row of phases with rates λ₁ <= ... <= λ_m that starts in phase i with
probability α_i (Cumani 1982): hyperexponential, Erlang and Coxian laws and their mixtures are one family, for every
scv. With the rates given, E[S], E[S²] and

    E[S] P(S_e > t) = α (−T)^{−1} e^{Tt} 1

are linear in α. So α comes from linear least squares with α >= 0 (Lawson and Hanson 1974), the squares
being those of `distance.py`, the mean exact; and the rates, m numbers, from a search over what it leaves (variable
projection, Golub and Pereyra 1973). e^{Tt} at times that double is squared from the smallest time up.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qtheory.arguments import count
from qtheory.laws.fitting.distance import PER_OCTAVE, Target
from qtheory.laws.fitting.exponentials import exponentials
from qtheory.laws.law import Law
from qtheory.laws.phase_type import PhaseType

Floats = NDArray[np.float64]

EXACT = 1e4
"""Weight of what is to hold exactly; the rest of its error is taken out by scaling."""
RIDGE = 1e-6
"""Weight of Σ α², which decides where rates are so much alike that several α do as well."""
UNUSED = 1e-9
"""Starting probabilities below this are taken as 0."""


def closest(law: Law, phases: int, *, servers: int = 1) -> PhaseType:
    """The phase-type law of at most `phases` phases and the same mean closest to `law`, as `distance.py` has it.

    With more `servers` the scv counts less, and the body of the law more. A local minimum, the best from three starts.
    Raises ValueError unless `phases` and `servers` are positive whole numbers.

    Examples
    --------
    >>> from qtheory.laws import Lognormal
    >>> law = Lognormal(mean=1e-3, scv=9.0)
    >>> fitted = closest(law, 4)
    >>> abs(fitted.mean / law.mean - 1) < 1e-12, Target.of(law).distance(fitted) < 0.002
    (True, True)
    """
    return closest_to(Target.of(law), count("phases", phases), count("servers", servers))


def closest_to(target: Target, phases: int, servers: int) -> PhaseType:
    """The same, for a law of which only the target is known."""
    from scipy.optimize import least_squares

    scv, grid = target.scv, target.times / target.mean
    slow, fast = math.log(0.2 / grid[-1]), math.log(1.0 / grid[0])
    middle = np.interp(0.02, target.residual[::-1], grid[::-1])  # where the residual law ends, but for 2 %
    starts = [
        np.linspace(math.log(2.0 / middle), math.log(4.0), phases),
        np.linspace(math.log(0.5 / middle), math.log(30.0), phases),
        np.linspace(-0.3, 0.3, phases) + math.log(min(max(1.0 / scv if scv else math.inf, 1.0), phases)),
    ]
    residual = _Projection(grid, target.residual, scv, servers)
    found = [
        least_squares(
            lambda x: residual(x).left, np.clip(x, slow + 0.01, fast - 0.01), bounds=(slow, fast), max_nfev=40
        )
        for x in starts
    ]
    best = residual(min(found, key=lambda one: float(one.cost)).x)
    used = int(np.argmax(best.alpha > UNUSED))
    fitted = PhaseType(best.alpha[used:] / best.alpha[used:].sum(), best.T[used:, used:])
    return PhaseType(fitted.alpha, fitted.T * (fitted.mean / target.mean))


class _Found(NamedTuple):
    """The best starting probabilities for some rates, and what they leave of the errors."""

    alpha: Floats
    T: Floats
    left: Floats


class _Projection(NamedTuple):
    """Rates, as logarithms, to the best starting probabilities; in mean service times."""

    grid: Floats
    residual: Floats
    scv: float
    servers: int

    def __call__(self, logarithms: Floats) -> _Found:
        from scipy.optimize import nnls

        rates = np.sort(np.exp(logarithms))
        T = np.diag(-rates) + np.diag(rates[:-1], 1)
        visits = np.triu(np.ones(T.shape)) / rates  # (−T)^{−1}
        means = visits.sum(axis=1)
        beyond = survival(T, self.grid[0], len(self.grid)) @ visits.T
        even = math.sqrt(len(self.grid))
        matrix = np.vstack(
            [
                beyond / even,
                2.0 * visits @ means / (1.0 + self.scv) / (2.0 * self.servers),
                np.full(len(rates), EXACT),
                EXACT * means,
                RIDGE * np.eye(len(rates)),
            ]
        )
        wanted = np.concatenate([self.residual / even, [0.5 / self.servers, EXACT, EXACT], 0.0 * rates])
        alpha, _ = nnls(matrix, wanted, maxiter=100 * len(rates))
        return _Found(alpha, T, matrix @ alpha - wanted)


def survival(T: Floats, first: float, n: int) -> Floats:
    """e^{Tt} 1 at t = first · 2^{i/PER_OCTAVE}, i < n, a row each."""
    octave = first * 2.0 ** (np.arange(PER_OCTAVE) / PER_OCTAVE)
    E = exponentials(T * octave[:, None, None])
    rows = []
    for _ in range(0, n, PER_OCTAVE):
        rows.append(E.sum(axis=2))
        E = E @ E
    return np.concatenate(rows)[:n]
