"""No waiting: M/G/∞, and M/G/c/c, where a request that finds all servers busy is lost.

Both are insensitive: the number in service depends on the service law through its mean only. With a = λE[S] it is
Poisson(a) with infinitely many servers, and the same law cut off at c with c of them (Palm 1938; Sevastyanov 1957), so
that the blocking is Erlang's B. The response is the service itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qtheory.arguments import count, positive
from qtheory.laws import Law, law_of
from qtheory.markov.birth_death import stationary
from qtheory.markov.uniformization import poisson_window
from qtheory.stations.erlang import GUARD, erlang_b
from qtheory.stations.mmc import in_digits
from qtheory.stations.station import LAWS, MEANS, ROUNDING, Floats, Station


def mginf(*, arrival_rate: float, service: Law) -> Station:
    """M/G/∞ with arrivals of rate `arrival_rate` [1/s] and any service law; ValueError for arguments out of range.

    Examples
    --------
    >>> from qtheory.laws import Deterministic
    >>> s = mginf(arrival_rate=300.0, service=Deterministic(0.01))
    >>> s.mean_in_system, round(float(s.in_system_pmf[0]), 12) == round(float(np.exp(-3.0)), 12)
    (3.0, True)
    """
    lam, law = positive("arrival_rate", arrival_rate), law_of(service)
    load = lam * law.mean

    def pmf() -> Floats:
        first, weights = poisson_window(load)
        return np.concatenate([np.zeros(first), weights])

    return Station(
        method="mginf",
        exact=True,
        error_bounds=dict.fromkeys((*MEANS, *LAWS), 8.0 * ROUNDING),
        throughput=lam,
        blocking=0.0,
        delay_probability=0.0,
        mean_wait=0.0,
        mean_response=law.mean,
        mean_in_system=load,
        mean_in_queue=0.0,
        utilization=0.0,
        _wait=lambda t: 0.0,
        _response=lambda t: float(law.sf(t)),
        _pmf=pmf,
    )


def mgcc(*, arrival_rate: float, service: Law, servers: int, precision: int | None = None) -> Station:
    """M/G/c/c, Erlang's loss system, with any service law and any load.

    Parameters
    ----------
    arrival_rate : float
        Of all arrivals [1/s].
    service : Law
        Law of the service time.
    servers : int
        At least 1.
    precision : int, optional
        Digits; the numbers are then mpmath's, and there are no laws.

    Examples
    --------
    >>> from qtheory.laws import Lognormal
    >>> s = mgcc(arrival_rate=1.0, service=Lognormal(mean=1.0, scv=9.0), servers=2)
    >>> round(s.blocking, 12), round(s.throughput, 12)
    (0.2, 0.8)
    """
    lam, law, c = positive("arrival_rate", arrival_rate), law_of(service), count("servers", servers)
    mean: float = law.mean
    if precision is not None:
        import mpmath as mp

        digits = count("precision", precision)
        with mp.workdps(digits + GUARD):
            exact_lam, exact_mean = mp.mpmathify(arrival_rate), mp.mpf(mean)
            lost = erlang_b(servers=c, load=exact_lam * exact_mean, precision=digits + GUARD)
            return in_digits("mgcc", digits, _means(exact_lam, exact_mean, c, lost))
    return Station(
        method="mgcc",
        exact=True,
        error_bounds=dict.fromkeys((*MEANS, *LAWS), 1e-13),
        **_means(lam, mean, c, erlang_b(servers=c, load=lam * mean)),
        _wait=lambda t: 0.0,
        _response=lambda t: float(law.sf(t)),
        _pmf=lambda: stationary(np.full(c, lam * mean), np.arange(1.0, c + 1.0)),
    )


def _means(lam: float, mean: float, servers: int, lost: float) -> dict[str, Any]:
    """The means, in floats or in mpmath's numbers."""
    accepted = lam * (1 - lost)
    return {
        "throughput": accepted,
        "blocking": lost,
        "delay_probability": 0.0,
        "mean_wait": 0.0,
        "mean_response": mean,
        "mean_in_system": accepted * mean,
        "mean_in_queue": 0.0,
        "utilization": accepted * mean / servers,
    }
