"""Finite source: a fixed number of sources, each idle for an exponential time before it sends its next request.

The machine repair model, M/M/c//N, and a benchmark with a fixed I/O depth. With n requests in the station N − n sources
are idle, so arrivals come at rate (N − n)ν; an arriving request finds what an outside observer of the system with one
source less would see (Sevcik and Mitrani 1981; Lavenberg and Reiser 1980). A refused request leaves its source idle.
With no room to wait this is Engset's model (Engset 1918), whose law any service law of that mean has (Cohen 1957).
"""

from __future__ import annotations

import numpy as np

from qtheory.arguments import count, positive
from qtheory.stations.erlang import GUARD
from qtheory.stations.mmc import level_station, level_station_in_digits
from qtheory.stations.station import Station


def finite_source(
    *,
    sources: int,
    arrival_rate: float,
    service_rate: float,
    servers: int,
    capacity: int | None = None,
    precision: int | None = None,
) -> Station:
    """M/M/c/K//N, exactly.

    Parameters
    ----------
    sources : int
        N, at least 1.
    arrival_rate, service_rate : float
        Of one idle source, 1 / mean think time, and of one server [1/s].
    servers : int
        At least 1.
    capacity : int, optional
        Most requests in the system, at least `servers`. None: room for all sources.
    precision : int, optional
        Digits; the numbers are then mpmath's, and there are no laws.

    `blocking` is the fraction of requests refused; `in_system_pmf[-1]` the fraction of time in which there is no room.
    Raises ValueError for arguments out of range.

    Examples
    --------
    Two sources that think for 2 s, one server of 1 s:

    >>> s = finite_source(sources=2, arrival_rate=0.5, service_rate=1.0, servers=1)
    >>> s.in_system_pmf.tolist(), round(s.throughput, 12)
    ([0.4, 0.4, 0.2], 0.6)
    """
    n, c = count("sources", sources), count("servers", servers)
    nu, mu = positive("arrival_rate", arrival_rate), positive("service_rate", service_rate)
    k = n if capacity is None else count("capacity", capacity)
    if k < c and capacity is not None:
        raise ValueError(f"capacity must be at least the number of servers, {c}, not {capacity}")
    return _solved("finite_source", n, nu, mu, c, min(k, n), precision)


def engset(
    *, sources: int, arrival_rate: float, service_rate: float, servers: int, precision: int | None = None
) -> Station:
    """Engset's loss model: a finite source without room to wait, whatever the service law. Parameters as above.

    Only the response law, which is the service law, is that of exponential service here.

    Examples
    --------
    >>> s = engset(sources=3, arrival_rate=0.5, service_rate=0.7, servers=2)
    >>> round(float(s.in_system_pmf[-1]), 12), round(s.blocking, 12)
    (0.327510917031, 0.173611111111)
    """
    n, c = count("sources", sources), count("servers", servers)
    nu, mu = positive("arrival_rate", arrival_rate), positive("service_rate", service_rate)
    return _solved("engset", n, nu, mu, c, min(c, n), precision)


def _solved(method: str, n: int, nu: float, mu: float, c: int, k: int, precision: int | None) -> Station:
    """The chain on 0, ..., k."""
    if precision is None:
        return level_station(method, nu * (n - np.arange(k + 1.0)), c, mu)
    import mpmath as mp

    digits = count("precision", precision)
    with mp.workdps(digits + GUARD):
        arrivals = [mp.mpf(nu) * (n - j) for j in range(k + 1)]
        return level_station_in_digits(method, arrivals, c, mp.mpf(mu), digits)
