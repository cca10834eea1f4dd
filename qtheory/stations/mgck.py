"""M/G/c/K: Poisson arrivals, any service law, c servers, room for K requests, approximately. Any load.

    "tijms"    the levels of `line.py` up to the top: Tijms, van Hoorn and Federgruen 1981; Tijms 2003, theorem 9.8.1.
               Needs the whole law; exact for c = 1 and for exponential service.
    "hokstad"  the same, with a line that starts as a single server's: Hokstad 1978, with room for K as in Miyazawa
               1986. Its mean wait for K = ∞ is that of Lee and Longton. Exact for c = 1 and for exponential service.
    "kimura"   below c as in M/M/c, from c on geometric with the ratio ζ = ρF/(1 − ρ + ρF), F = W_G/W_M by the factor
               of `mgc`; the top from λ(1 − p_K)E[S] = mean number of busy servers: after Kimura 1996 and Miyazawa
               1986, who also match the mean line of the infinite system. Only for ρ < 1.
    "smith"    M/M/c with the K − c waiting places divided by (2 + √ρ (k² − 1))/2, k² the squared coefficient of
               variation (MacGregor Smith 2003). He gives the blocking; we stretch the line by the same factor.

How far each is off was measured against exact M/E_2/c/K and M/H_2/c/K by `validation/stations.py`.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np

from qtheory.arguments import choice, count, positive
from qtheory.laws import Law, law_of
from qtheory.markov.birth_death import stationary
from qtheory.stations.erlang import erlang_b
from qtheory.stations.line import line
from qtheory.stations.mg1k import limited_station
from qtheory.stations.mgc import FACTORS, OUTSIDE, row
from qtheory.stations.station import Floats, Station

Approximation = Literal["tijms", "hokstad", "kimura", "smith"]
"""Names of the approximations."""

MEASURED = {
    "tijms": {
        "blocking": (0.19, 0.73, 1.52, 2.28),
        "delay_probability": (0.11, 0.12, 0.24, 0.34),
        "mean_wait": (0.08, 0.17, 0.47, 0.97),
    },
    "hokstad": {
        "blocking": (0.26, 1.15, 2.71, 4.45),
        "delay_probability": (0.2, 0.2, 0.34, 0.51),
        "mean_wait": (0.16, 0.39, 1.08, 2.2),
    },
    "kimura": {
        "blocking": (0.19, 0.2, 0.85, 0.96),
        "delay_probability": (0.24, 0.28, 0.53, 0.73),
        "mean_wait": (0.06, 0.12, 0.24, 0.37),
    },
    "smith": {
        "blocking": (0.17, 0.9, 2.55, 5.19),
        "delay_probability": (0.25, 0.35, 0.62, 0.82),
        "mean_wait": (0.19, 0.26, 0.74, 1.66),
    },
}
"""Largest relative errors in the measured region, for service laws with scv up to each of `mgc.SCV_LIMITS`; of the
blocking where it is above 1e-4. `validation/results/stations.csv` has them case by case."""
MOST_LOAD = 1.2
"""Largest ρ of the measured region; its other limits are those of `mgc`."""


def mgck(
    *, arrival_rate: float, service: Law, servers: int, capacity: int, approximation: Approximation = "tijms"
) -> Station:
    """M/G/c/K with room for `capacity` requests, those in service included, by one of the approximations above.

    Parameters
    ----------
    arrival_rate : float
        Of all arrivals [1/s].
    service : Law
        Law of the service time.
    servers, capacity : int
        At least 1; capacity >= servers.
    approximation : str
        One of the names above.

    Raises ValueError for arguments out of range, and for "kimura" with ρ >= 1.

    Examples
    --------
    >>> from qtheory.laws import Erlang
    >>> s = mgck(arrival_rate=4.0, service=Erlang(phases=2, mean=1.0), servers=5, capacity=6)
    >>> round(s.blocking, 4)
    0.1306
    """
    lam, law = positive("arrival_rate", arrival_rate), law_of(service)
    c, k = count("servers", servers), count("capacity", capacity)
    if k < c:
        raise ValueError(f"capacity must be at least the number of servers, {c}, not {capacity}")
    name = choice("approximation", approximation, get_args(Approximation))
    rho = lam * law.mean / c
    if name == "kimura" and rho >= 1.0:
        raise ValueError(f"approximation must not be 'kimura' for rho >= 1, not {rho:.6g}: it starts from K = infinity")
    place = row(law, rho, c, MOST_LOAD)
    errors = {quantity: math.inf if place is None else x[place] for quantity, x in MEASURED[name].items()}
    bounds = {
        **dict.fromkeys(("throughput", "blocking", "utilization"), errors["blocking"]),
        **dict.fromkeys(("mean_wait", "mean_in_queue", "mean_response", "mean_in_system"), errors["mean_wait"]),
        "delay_probability": errors["delay_probability"],
    }
    warnings = (OUTSIDE,) if place is None else ()
    if name == "smith":
        return _smith(lam, law, c, k, bounds, warnings)
    pmf = _geometric(lam, law, c, k) if name == "kimura" else _levels(lam, law, c, k, single=name == "hokstad")
    reason = "it depends on the age of the services in progress; use qt.simulate"
    return limited_station(name, lam, law, c, pmf, exact=False, bounds=bounds, warnings=warnings, laws=(reason, reason))


def mgck_side_by_side(*, arrival_rate: float, service: Law, servers: int, capacity: int) -> dict[str, Station]:
    """All approximations of `mgck` that take this load, by name.

    Examples
    --------
    >>> from qtheory.laws import Hyperexponential
    >>> law = Hyperexponential.balanced(mean=1.0, scv=4.0)
    >>> found = mgck_side_by_side(arrival_rate=4.0, service=law, servers=5, capacity=12)
    >>> sorted(found)
    ['hokstad', 'kimura', 'smith', 'tijms']
    """
    names: tuple[Approximation, ...] = get_args(Approximation)
    return {
        name: mgck(arrival_rate=arrival_rate, service=service, servers=servers, capacity=capacity, approximation=name)
        for name in names
        if name != "kimura" or arrival_rate * law_of(service).mean < servers
    }


def _levels(lam: float, law: Law, c: int, k: int, *, single: bool) -> Floats:
    """The law of the number in the system by the levels of the line."""
    a = lam * law.mean
    below = stationary(np.full(c, a), np.arange(1.0, c + 1.0))[:c]
    if k == c:
        return stationary(np.full(c, a), np.arange(1.0, c + 1.0))
    upper = line(law, c, lam, k - c + 1, top=True, single=single)
    # both hold p_{c−1}: join them where it is, on the scale of the larger part
    share = below[-1] / below.sum()
    joined = np.concatenate([below[:-1] / below.sum() * upper[0], upper * share])
    return np.asarray(joined / joined.sum())


def _geometric(lam: float, law: Law, c: int, k: int) -> Floats:
    """Geometric from c on, the top by the balance of accepted work and busy servers."""
    a = lam * law.mean
    rho = a / c
    factor = FACTORS["kimura"](law, a, c)
    ratio = rho * factor / (1.0 - rho + rho * factor)
    start = stationary(np.full(c, a), np.arange(1.0, c + 1.0))
    # in the infinite system p_c + p_{c+1} + ... = C as in M/M/c
    first = start[c] * (1.0 - ratio) / (1.0 - rho)
    pmf = np.concatenate([start[:c], first * ratio ** np.arange(k - c)])
    # the balance leaves p_K = p_c′ ratio^{K−c}, p_c′ that of M/M/c: what differs in between cancels
    pmf = np.append(pmf, start[c] * ratio ** (k - c))
    return np.asarray(pmf / pmf.sum())


def _smith(lam: float, law: Law, c: int, k: int, bounds: dict[str, float], warnings: tuple[str, ...]) -> Station:
    """M/M/c with x = (K − c)/stretch waiting places, x real."""
    a: float = lam * law.mean
    rho, full = a / c, erlang_b(servers=c, load=a)
    stretch = (2.0 + math.sqrt(rho) * (law.scv - 1.0)) / 2.0
    if stretch <= 0.0:
        raise ValueError(f"approximation must not be 'smith' for rho >= 4 and scv near 0, not {rho:.6g}, {law.scv:.6g}")
    places = (k - c) / stretch
    log = math.log(rho)
    # ρ + ... + ρ^x over ρ^x, or over 1, whichever is less
    fall = math.exp(-places * abs(log))
    series = places if log == 0.0 else (1.0 - fall) / (1.0 - min(rho, 1.0 / rho)) * min(rho, 1.0)
    blocking = full / (fall + full * series) if log > 0.0 else full * fall / (1.0 + full * series)
    less, more = math.floor(places), math.ceil(places)
    (line_less, delayed_less), (line_more, delayed_more) = _with_places(rho, full, less), _with_places(rho, full, more)
    part = places - less
    waiting = stretch * (line_less + part * (line_more - line_less))
    throughput = lam * (1.0 - blocking)
    reason = "it is an approximation of means"
    return Station(
        method="smith",
        exact=False,
        error_bounds=bounds,
        warnings=warnings,
        throughput=throughput,
        blocking=blocking,
        delay_probability=delayed_less + part * (delayed_more - delayed_less),
        mean_wait=waiting / throughput,
        mean_response=waiting / throughput + law.mean,
        mean_in_system=waiting + throughput * law.mean,
        mean_in_queue=waiting,
        utilization=throughput * law.mean / c,
        _wait=reason,
        _response=reason,
        _pmf=reason,
    )


def _with_places(rho: float, full: float, places: int) -> tuple[float, float]:
    """Mean line of M/M/c with so many places, and the fraction of accepted requests that wait."""
    pmf = stationary([full * rho, *[rho] * (places - 1)] if places else [], np.ones(places))
    # level 0 are all states with nobody waiting; of these, `full` have all servers busy
    return float(np.arange(places + 1) @ pmf), float(pmf[0] * full + pmf[1:-1].sum()) / float(pmf[:-1].sum()) if (
        places
    ) else 0.0
