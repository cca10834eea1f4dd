"""M/G/c: Poisson arrivals, any service law, c servers, approximately.

With W_M the mean wait of M/M/c at the same load (`mmc.py`), W_D that of M/D/c (`mdc.py`, exact), k² the squared
coefficient of variation of the service time and a, ρ the load, each approximation is a factor on W_M; all agree with
M/M/c:

    "allen_cunneen"  (1 + k²)/2                                              Lee and Longton 1959; Allen and Cunneen
    "cosmetatos"     k² + (1 − k²) W_D′/W_M,  W_D′ his own M/D/c             Cosmetatos 1976
    "kimura"         (1 + k²) / (2 k² + (1 − k²) W_M/W_D)                    Kimura 1986, 1994
    "takahashi"      (E[S^α] / (E[S]^α Γ(α + 1)))^{1/(α − 1)}, α from W_D    Takahashi 1977
    "whitt"          (1 + k²)/2 · φ(ρ, 1, k², c)                             Whitt 1993
    "tijms"          (1 − ρ) c E[I]/E[S] + ρ (1 + k²)/2                      Tijms, van Hoorn, Federgruen 1981

The last needs the whole law, I being the smallest of c residual services: a request that waits, waits for I and for a
geometric number of residual services of a server c times as fast. It is exact for c = 1. The delay probability is
Erlang's C in all of them (for Poisson arrivals Whitt's is that too). The law of the wait of those delayed is taken as a
gamma law, with the mean of the approximation and the variation that "tijms" gives.

How far each is off was measured against exact M/D/c, M/E_2/c and M/H_2/c by `validation/stations.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, get_args

import numpy as np

from qtheory.arguments import choice, count, positive
from qtheory.laws import Law, law_of
from qtheory.stations.erlang import erlang_c, stable
from qtheory.stations.line import Residuals
from qtheory.stations.mdc import mdc
from qtheory.stations.station import LAWS, Station, Survival

Approximation = Literal["allen_cunneen", "cosmetatos", "kimura", "takahashi", "whitt", "tijms"]
"""Names of the approximations."""

SCV_LIMITS = (1.0, 2.0, 4.0, 9.0)
MEASURED = {
    "allen_cunneen": (0.39, 0.39, 1.13, 2.84),
    "cosmetatos": (0.03, 0.15, 0.4, 0.94),
    "kimura": (0.05, 0.05, 0.06, 0.24),
    "takahashi": (0.02, 0.04, 0.09, 0.16),
    "tijms": (0.14, 0.17, 0.5, 1.31),
    "whitt": (0.25, 0.25, 0.5, 1.34),
}
"""Largest relative error of the mean wait in the measured region, for service laws with scv up to each limit;
`validation/results/stations.csv` has them case by case."""
MEASURED_DELAY = (0.12, 0.12, 0.12, 0.12)
"""The same for the delay probability, which all approximations share."""
MOST_SERVERS, LEAST_LOAD, MOST_LOAD = 32, 0.5, 0.95
"""The measured region: up to so many servers, ρ between these; deterministic, E_2 and H_2 service."""
OUTSIDE = "outside the region that was measured: the error is not known"


def mgc(*, arrival_rate: float, service: Law, servers: int, approximation: Approximation = "takahashi") -> Station:
    """M/G/c without a limit, by one of the approximations above.

    Parameters
    ----------
    arrival_rate : float
        Of all arrivals [1/s].
    service : Law
        Law of the service time.
    servers : int
        At least 1.
    approximation : str
        One of the names above.

    Raises ValueError for arguments out of range and for ρ >= 1.

    Examples
    --------
    >>> from qtheory.laws import Erlang
    >>> s = mgc(arrival_rate=1.0, service=Erlang(phases=2, mean=1.0), servers=2)
    >>> s.exact, round(s.mean_wait, 4)
    (False, 0.2548)
    """
    lam, law, c = positive("arrival_rate", arrival_rate), law_of(service), count("servers", servers)
    name = choice("approximation", approximation, get_args(Approximation))
    a = lam * law.mean
    stable(c, a)
    delayed = erlang_c(servers=c, load=a)
    exponential = delayed * law.mean / (c - a)
    factor = FACTORS[name](law, a, c)
    wait = factor * exponential
    place = row(law, a / c, c, MOST_LOAD)
    error, delay_error = (math.inf, math.inf) if place is None else (MEASURED[name][place], MEASURED_DELAY[place])
    waiting, responding = _laws(law, a, c, delayed, wait)
    return Station(
        method=name,
        exact=False,
        error_bounds={
            **dict.fromkeys(("throughput", "blocking", "utilization"), 0.0),
            **dict.fromkeys(("mean_wait", "mean_in_queue", "mean_response", "mean_in_system"), error),
            "delay_probability": delay_error,
            **dict.fromkeys(LAWS, math.inf),
        },
        warnings=(OUTSIDE,) if place is None else (),
        throughput=lam,
        blocking=0.0,
        delay_probability=delayed,
        mean_wait=wait,
        mean_response=wait + law.mean,
        mean_in_system=lam * wait + a,
        mean_in_queue=lam * wait,
        utilization=a / c,
        _wait=waiting,
        _response=responding,
        _pmf="the approximation is one of waits",
    )


def mgc_side_by_side(*, arrival_rate: float, service: Law, servers: int) -> dict[str, Station]:
    """All approximations of `mgc`, by name.

    Examples
    --------
    The exact mean wait is 0.6195.

    >>> from qtheory.laws import Hyperexponential
    >>> law = Hyperexponential.balanced(mean=1.0, scv=4.0)
    >>> for name, s in mgc_side_by_side(arrival_rate=6.4, service=law, servers=8).items():
    ...     print(f"{name:14}{s.mean_wait:.4f}")
    allen_cunneen 0.7151
    cosmetatos    0.6879
    kimura        0.6078
    takahashi     0.6501
    whitt         0.6361
    tijms         0.6349
    """
    names: tuple[Approximation, ...] = get_args(Approximation)
    return {
        name: mgc(arrival_rate=arrival_rate, service=service, servers=servers, approximation=name) for name in names
    }


def row(law: Law, rho: float, servers: int, most_load: float) -> int | None:
    """Which of SCV_LIMITS holds, or None outside the measured region."""
    if not (servers <= MOST_SERVERS and LEAST_LOAD * (1 - 1e-9) <= rho <= most_load * (1 + 1e-9)):
        return None
    return next((i for i, limit in enumerate(SCV_LIMITS) if law.scv <= limit * (1 + 1e-9)), None)


def _laws(law: Law, a: float, c: int, delayed: float, wait: float) -> tuple[Survival, Survival]:
    """t -> P(wait > t) and P(response > t): the delayed wait for a gamma time, its variation that of I + Σ R/c."""
    from scipy.special import gammaincc, gammaincinv

    rho = a / c
    many = rho / (1.0 - rho)
    first, first_square = _smallest(law, c)
    piece, square = law.moment(2) / law.mean / (2.0 * c), law.moment(3) / law.mean / (3.0 * c * c)
    mean = first + many * piece
    variance = first_square - first**2 + many * square + (many * piece) ** 2
    shape = mean * mean / variance
    scale = wait / delayed / shape if delayed > 0.0 else 1.0
    x, weight = np.polynomial.legendre.leggauss(128)
    left = ((1.0 - x) / 2.0) ** 3  # nodes far into the tail
    waits, weight = scale * gammaincinv(shape, 1.0 - left), weight * 0.375 * (1.0 - x) ** 2

    def waiting(t: float) -> float:
        return delayed * float(gammaincc(shape, t / scale))

    def responding(t: float) -> float:
        return (1.0 - delayed) * float(law.sf(t)) + delayed * float(weight @ law.sf(t - waits))

    return waiting, responding


def _smallest(law: Law, c: int) -> tuple[float, float]:
    """E[I] and E[I²] of the smallest of c independent residual services."""
    parts = Residuals(law, c, 1.0 / law.mean, 0.0)
    return float(parts.t @ parts.first), float(parts.t**2 @ parts.first)


def _allen_cunneen(law: Law, a: float, c: int) -> float:
    return (1.0 + law.scv) / 2.0


def _cosmetatos(law: Law, a: float, c: int) -> float:
    return law.scv + (1.0 - law.scv) * cosmetatos_mdc(a, c)


def cosmetatos_mdc(a: float, c: int) -> float:
    """Cosmetatos's (1975) W_D/W_M: ½ (1 + (1 − ρ)(c − 1)(√(4 + 5c) − 2)/(16 ρ c))."""
    return 0.5 * (1.0 + (1.0 - a / c) * (c - 1) * (math.sqrt(4.0 + 5.0 * c) - 2.0) / (16.0 * a))


def _deterministic(a: float, c: int) -> float:
    """W_D/W_M; its limit c/(c + 1) where both are too small for floats."""
    exponential = erlang_c(servers=c, load=a) / (c - a)
    fixed = mdc(arrival_rate=a, service=1.0, servers=c).mean_wait
    return fixed / exponential if fixed > 1e-290 else c / (c + 1.0)


def _kimura(law: Law, a: float, c: int) -> float:
    return (1.0 + law.scv) / (2.0 * law.scv + (1.0 - law.scv) / _deterministic(a, c))


def _takahashi(law: Law, a: float, c: int) -> float:
    """α makes the factor W_D/W_M for constant service."""
    from scipy.optimize import brentq

    target = math.log(_deterministic(a, c))
    alpha = float(brentq(lambda x: -math.lgamma(_not_one(x) + 1.0) / (_not_one(x) - 1.0) - target, 1e-9, 2.5))
    alpha = _not_one(alpha)
    # E[S^α]/E[S]^α = 1 − α ∫_0^1 x^{α−1} P(S <= x E[S]) dx + α ∫_1^∞ x^{α−1} P(S > x E[S]) dx
    parts = Residuals(law, 1, 1.0 / law.mean, 0.0)
    x = parts.t / law.mean
    tails = np.where(x < 1.0, -law.cdf(parts.t), law.sf(parts.t))
    moment = 1.0 + alpha * float((parts.length / law.mean * x ** (alpha - 1.0)) @ tails)
    return math.exp((math.log(moment) - math.lgamma(alpha + 1.0)) / (alpha - 1.0))


def _not_one(alpha: float) -> float:
    """α, kept off 1, where the formula has a limit only."""
    return alpha if abs(alpha - 1.0) > 1e-6 else 1.0 + 1e-6


def _whitt(law: Law, a: float, c: int) -> float:
    """(1 + k²)/2 · φ with arrivals of variation 1."""
    rho, scv = a / c, law.scv
    gamma = min(0.24, (1.0 - rho) * (c - 1) * (math.sqrt(4.0 + 5.0 * c) - 2.0) / (16.0 * a))
    up, down = 1.0 + gamma, (1.0 - 4.0 * gamma) * math.exp(-2.0 * (1.0 - rho) / (3.0 * rho))
    if scv >= 1.0:
        phi = ((scv - 1.0) * down + scv + 3.0) / (2.0 + 2.0 * scv)
    else:
        middle = min(1.0, (up + down) / 2.0) ** (1.0 - scv)
        phi = (4.0 * (1.0 - scv) * up + scv * middle) / (4.0 - 3.0 * scv)
    return (1.0 + scv) / 2.0 * phi


def _tijms(law: Law, a: float, c: int) -> float:
    rho = a / c
    return (1.0 - rho) * c * _smallest(law, c)[0] / law.mean + rho * (1.0 + law.scv) / 2.0


FACTORS: dict[str, Callable[[Law, float, int], float]] = {
    "allen_cunneen": _allen_cunneen,
    "cosmetatos": _cosmetatos,
    "kimura": _kimura,
    "takahashi": _takahashi,
    "whitt": _whitt,
    "tijms": _tijms,
}
