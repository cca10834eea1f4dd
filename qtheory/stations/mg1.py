"""M/G/1: Poisson arrivals, any service law, one server, first come first served.

A request waits for what is left of the service in progress, with probability ρ, and for what a geometric number of such
pieces add up to (Pollaczek 1930; Khinchine 1932; Beneš 1957): with R the residual service,

    E[e^{−sW}] = 1 − ρ + ρ G(s),        G(s) = (1 − ρ) R(s) / (1 − ρ R(s)).

Moments follow from Takács' recursion (1962): E[W^n] = λ/(1 − ρ) Σ_{i=1}^{n} C(n, i) E[S^{i+1}]/(i + 1) E[W^{n−i}].
The law of W, by what the service is:

* of phase type: a geometric sum of such is of phase type again, with rates that lead from each exit back to the phases
  of R with probability ρ (Neuts 1981, theorem 3.2.1): exact far into the tail;
* deterministic: M/D/c with one server (`mdc.py`);
* any other: inversion of the transform (`inversion.py`) after its first, roughest term is split off,
  G = (1 − ρ) R + ρ R·G, to about 3e-8.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qtheory.arguments import count, positive
from qtheory.laws import Deterministic, Law, PhaseType, law_of
from qtheory.stations.inversion import RESOLVED, survival
from qtheory.stations.line import line
from qtheory.stations.mdc import mdc
from qtheory.stations.station import LAWS, LEFT_OUT, MEANS, ROUNDING, Floats, Station, Survival

MOST_LEVELS = 1 << 13
INVERTED = 1e-4
"""Relative error stated for quantiles from inverted transforms: 1e-7 in P(W > t), which the tests allow, is 1e-3 of the
smallest resolved, and moves an exponential tail of ln 1e4 by 1e-4 of its quantile."""


def mg1(*, arrival_rate: float, service: Law) -> Station:
    """M/G/1 without a limit, exactly.

    Parameters
    ----------
    arrival_rate : float
        Of all arrivals [1/s].
    service : Law
        Law of the service time.

    Raises ValueError for arguments out of range and for ρ = arrival_rate · E[S] >= 1; a law raises ArithmeticError when
    it is asked for and the service law is too rough to invert its transform.

    Examples
    --------
    >>> from qtheory.laws import Lognormal
    >>> s = mg1(arrival_rate=0.5, service=Lognormal(mean=1.0, scv=2.0))
    >>> round(s.mean_in_system, 12), round(s.wait_quantile(0.9), 4)
    (1.25, 4.5641)
    """
    lam, law = positive("arrival_rate", arrival_rate), law_of(service)
    rho = below_one(lam * law.mean)
    if isinstance(law, Deterministic):
        return mdc(arrival_rate=lam, service=law.value, servers=1)
    wait = mg1_wait_moments(arrival_rate=lam, service=law, order=1)[0]
    waiting, responding = laws(lam, law)
    phases = _phases(law) is not None
    rounding = 32.0 * ROUNDING / (1.0 - rho)
    return Station(
        method="mg1",
        exact=True,
        error_bounds={
            **dict.fromkeys(MEANS, rounding),
            **dict.fromkeys(LAWS, 100.0 * rounding if phases else INVERTED),
        },
        throughput=lam,
        blocking=0.0,
        delay_probability=rho,
        mean_wait=wait,
        mean_response=wait + law.mean,
        mean_in_system=lam * wait + rho,
        mean_in_queue=lam * wait,
        utilization=rho,
        _wait=waiting,
        _response=responding,
        _pmf=lambda: _pmf(lam, law),
        _resolved=0.0 if phases else RESOLVED,
    )


def mg1_wait_moments(*, arrival_rate: float, service: Law, order: int) -> tuple[float, ...]:
    """E[W], E[W²], ..., E[W^order] of M/G/1 [s, s², ...], by Takács' recursion; arguments as for `mg1`.

    Examples
    --------
    >>> from qtheory.laws import Exponential
    >>> mg1_wait_moments(arrival_rate=0.5, service=Exponential(mean=1.0), order=3)
    (1.0, 4.0, 24.0)
    """
    lam, law = positive("arrival_rate", arrival_rate), law_of(service)
    rho = below_one(lam * law.mean)
    found = [1.0]
    for n in range(1, count("order", order) + 1):
        terms = (math.comb(n, i) * law.moment(i + 1) / (i + 1) * found[n - i] for i in range(1, n + 1))
        found.append(lam / (1.0 - rho) * math.fsum(terms))
    return tuple(found[1:])


def below_one(rho: float) -> float:
    """Refuse what grows without bound."""
    if rho >= 1.0:
        raise ValueError(f"arrival_rate must keep rho below 1 in a system without limit, not rho = {rho:.6g}")
    return rho


def laws(lam: float, law: Law) -> tuple[Survival, Survival]:
    """t -> P(wait > t) and P(response > t)."""
    rho = lam * law.mean
    phases = _phases(law)
    if phases is not None:
        found = phases.residual().alpha
        back = phases.T + rho * np.outer(phases._exit, found)
        delayed = PhaseType(found, back)
        n = len(found)
        both = np.block([[back, (1.0 - rho) * np.outer(phases._exit, phases.alpha)], [np.zeros((n, n)), phases.T]])
        stay = PhaseType(np.concatenate([rho * found, (1.0 - rho) * phases.alpha]), both)
        return lambda t: rho * float(delayed.sf(t)), lambda t: float(stay.sf(t))
    residual, mean = law.residual(), law.mean

    def pieces(s: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """R(s), from that of the service where that is a closed form and the difference from 1 is not small."""
        if type(law).lst is Law.lst:
            return np.asarray(residual.lst(s))
        near = np.abs(s) * mean < 0.01
        value = np.empty_like(s)
        value[near] = residual.lst(s[near])
        value[~near] = (1.0 - law.lst(s[~near])) / (s[~near] * mean)
        return value

    def wait(t: float) -> float:
        if t == 0.0:
            return rho
        return rho * ((1.0 - rho) * float(residual.sf(t)) + rho * survival(two_or_more, t))

    def response(t: float) -> float:
        if t == 0.0:
            return 1.0
        return (1.0 - rho) * float(law.sf(t)) + rho * survival(delayed_and_served, t)

    def two_or_more(s: NDArray[np.complex128]) -> NDArray[np.complex128]:
        one = pieces(s)
        return np.asarray((1.0 - rho) * one * one / (1.0 - rho * one))

    def delayed_and_served(s: NDArray[np.complex128]) -> NDArray[np.complex128]:
        one = pieces(s)
        return np.asarray((1.0 - s * mean * one) * (1.0 - rho) * one / (1.0 - rho * one))

    return wait, response


def _phases(law: Law) -> PhaseType | None:
    """The law as phases, where it is of phase type."""
    try:
        return law.phase_type()
    except TypeError:
        return None


def _pmf(lam: float, law: Law) -> Floats:
    """Law of the number in the unbounded system, by more and more levels."""
    rho, levels = lam * law.mean, 64
    while levels <= MOST_LEVELS:
        pmf = (1.0 - rho) * line(law, 1, lam, levels, top=False)
        if 1.0 - pmf.sum() < 1e-15 or pmf[-1] < LEFT_OUT * (1.0 - rho):
            return np.asarray(pmf)
        levels *= 4
    raise ValueError(f"in_system_pmf would have more than {MOST_LEVELS} entries: rho = {rho:.6g} is too close to 1")
