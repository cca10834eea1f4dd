"""M/M/c and M/M/c/K: Poisson arrivals, exponential service, c servers, one line, first come first served.

Without a limit the line moves at the rate cμ while anyone waits, so a wait that is not 0 is exponential:

    P(W > t) = C(c, a) e^{−(cμ − λ)t},   C the Erlang C formula (Kleinrock, Queueing Systems 1, 1975, section 3.5).

With room for K requests the number in the system is a birth-death chain on 0, ..., K, and accepted requests find what
time averages show given that there is room (Wolff 1982). ρ may exceed 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtheory.arguments import count, positive
from qtheory.markov.birth_death import stationary
from qtheory.markov.sojourn import Servers
from qtheory.stations.erlang import GUARD, erlang_c, stable
from qtheory.stations.station import LAWS, MEANS, ROUNDING, Floats, Station, levels_for


def mmc(*, arrival_rate: float, service_rate: float, servers: int, precision: int | None = None) -> Station:
    """M/M/c without a limit, exactly.

    Parameters
    ----------
    arrival_rate, service_rate : float
        Of all arrivals, and of one server [1/s].
    servers : int
        At least 1.
    precision : int, optional
        Digits; the numbers are then mpmath's, and there are no laws.

    Raises ValueError for arguments out of range and for ρ = arrival_rate / (servers · service_rate) >= 1.

    Examples
    --------
    >>> s = mmc(arrival_rate=9.0, service_rate=5.0, servers=2)
    >>> round(s.mean_response, 12), round(s.wait_quantile(0.99), 6)
    (1.052631578947, 4.445742)
    >>> import mpmath
    >>> mpmath.nstr(mmc(arrival_rate=9, service_rate=5, servers=2, precision=30).mean_wait, 30)
    '0.852631578947368421052631578947'
    """
    c = count("servers", servers)
    lam, mu = positive("arrival_rate", arrival_rate), positive("service_rate", service_rate)
    stable(c, lam / mu)
    if precision is not None:
        import mpmath as mp

        digits = count("precision", precision)
        with mp.workdps(digits + GUARD):
            values = _without_limit(mp.mpmathify(arrival_rate), mp.mpmathify(service_rate), c, digits + GUARD)
        return in_digits("mmc", digits, values)
    values = _without_limit(lam, mu, c, None)
    delayed: float = values["delay_probability"]
    rate, rho = c * mu - lam, lam / (c * mu)

    def wait(t: float) -> float:
        return delayed * math.exp(-rate * t)

    def response(t: float) -> float:
        return (1.0 - delayed) * math.exp(-mu * t) + delayed * two_phases(min(rate, mu), max(rate, mu), t)

    def pmf() -> Floats:
        tail = np.full(levels_for(delayed, rho), rho)
        free = stationary([lam] * (c - 1), mu * np.arange(1.0, c)) * (1.0 - delayed)
        return np.concatenate([free, delayed * (1.0 - rho) * np.cumprod(tail) / rho])

    # λ and μ are rounded to begin with, and how far ρ is from 1 is all that counts
    bound = 8.0 * ROUNDING * (1.0 + lam / rate)
    return Station(
        method="mmc",
        exact=True,
        error_bounds=dict.fromkeys((*MEANS, *LAWS), bound),
        **values,
        _wait=wait,
        _response=response,
        _pmf=pmf,
    )


def mmck(
    *, arrival_rate: float, service_rate: float, servers: int, capacity: int, precision: int | None = None
) -> Station:
    """M/M/c/K with room for `capacity` requests, those in service included, exactly; others are refused.

    Parameters as for `mmc`, with capacity >= servers; any load.

    Examples
    --------
    >>> s = mmck(arrival_rate=8.0, service_rate=4.0, servers=5, capacity=12)
    >>> round(s.mean_in_system, 12), len(s.in_system_pmf)
    (2.039346064826, 13)
    """
    c, k = count("servers", servers), count("capacity", capacity)
    if k < c:
        raise ValueError(f"capacity must be at least the number of servers, {c}, not {capacity}")
    lam, mu = positive("arrival_rate", arrival_rate), positive("service_rate", service_rate)
    if precision is not None:
        import mpmath as mp

        digits = count("precision", precision)
        with mp.workdps(digits + GUARD):
            exact_lam, exact_mu = mp.mpmathify(arrival_rate), mp.mpmathify(service_rate)
            return level_station_in_digits("mmck", [exact_lam] * (k + 1), c, exact_mu, digits)
    return level_station("mmck", np.full(k + 1, lam), c, mu)


def level_station(method: str, arrivals: Floats, servers: int, rate: float) -> Station:
    """Station with exponential servers, from the arrival rate at 0, 1, ..., K in it; those at K are refused.

    A request that finds j >= c others waits for j − c + 1 completions at rate cμ.
    """
    room = len(arrivals) - 1
    pmf = stationary(arrivals[:-1], rate * np.minimum(np.arange(1, room + 1), servers))
    found = arrivals[:-1] * pmf[:-1]
    law = Servers(found / found.sum(), servers, rate)
    means: dict[str, Any] = {name: float(x) for name, x in level_means(pmf, arrivals, servers, rate).items()}
    return Station(
        method=method,
        exact=True,
        error_bounds=dict.fromkeys((*MEANS, *LAWS), 32.0 * ROUNDING * math.sqrt(room)),
        **means,
        _wait=lambda t: law.sf("wait", t),
        _response=lambda t: law.sf("response", t),
        _pmf=lambda: pmf,
    )


def level_station_in_digits(method: str, arrivals: Sequence[Any], servers: int, rate: Any, digits: int) -> Station:
    """The same in mpmath's numbers, with the chain solved term by term."""
    weights = [rate / rate]
    for n, arrival in enumerate(arrivals[:-1], 1):
        weights.append(weights[-1] * arrival / (min(n, servers) * rate))
    pmf = np.array(weights, dtype=object) / sum(weights)
    return in_digits(method, digits, level_means(pmf, np.array(arrivals, dtype=object), servers, rate))


def level_means(pmf: NDArray[Any], arrivals: NDArray[Any], servers: int, rate: Any) -> dict[str, Any]:
    """The means, in floats or in mpmath's numbers (arrays of objects); sums of positive terms only."""
    room = len(pmf) - 1
    present = np.arange(room + 1)
    flow = arrivals * pmf
    throughput = flow[:room].sum()
    waiting = ((present[servers + 1 :] - servers) * pmf[servers + 1 :]).sum()
    busy = (np.minimum(present, servers) * pmf).sum()
    return {
        "throughput": throughput,
        "blocking": flow[room] / (throughput + flow[room]),
        "delay_probability": flow[servers:room].sum() / throughput,
        "mean_wait": waiting / throughput,
        "mean_response": waiting / throughput + 1 / rate,
        "mean_in_system": busy + waiting,
        "mean_in_queue": waiting,
        "utilization": busy / servers,
    }


def in_digits(method: str, digits: int, values: Mapping[str, Any]) -> Station:
    """Station of mpmath's numbers, rounded to `digits`."""
    import mpmath as mp

    no_law = "laws are given in floats only, so without precision"
    with mp.workdps(digits):
        return Station(
            method=method,
            exact=True,
            error_bounds=dict.fromkeys(MEANS, 10.0**-digits),
            **{name: +mp.mpmathify(value) for name, value in values.items()},
            _wait=no_law,
            _response=no_law,
            _pmf=no_law,
        )


def _without_limit(lam: Any, mu: Any, servers: int, precision: int | None) -> dict[str, Any]:
    """The means of M/M/c, in floats or in mpmath's numbers."""
    load = lam / mu
    delayed = erlang_c(servers=servers, load=load, precision=precision)
    wait = delayed / (servers * mu - lam)
    return {
        "throughput": lam,
        "blocking": 0.0,
        "delay_probability": delayed,
        "mean_wait": wait,
        "mean_response": wait + 1 / mu,
        "mean_in_system": lam * wait + load,
        "mean_in_queue": lam * wait,
        "utilization": load / servers,
    }


def two_phases(slow: float, fast: float, t: float) -> float:
    """P(X + Y > t) for exponential X and Y of rates slow <= fast, equal or not."""
    apart = (fast - slow) * t
    ratio = -math.expm1(-apart) / apart if apart > 0.0 else 1.0
    return math.exp(-slow * t) * (1.0 + slow * t * ratio)
