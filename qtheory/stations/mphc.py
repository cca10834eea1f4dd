"""M/PH/c and M/PH/c/K: Poisson arrivals, phase-type service, c servers, one line, first come first served; exactly.

This is `mapphc.py` with one phase of arrivals.
"""

from __future__ import annotations

from qtheory.arguments import count, positive
from qtheory.arrivals import Poisson
from qtheory.laws import Law, law_of
from qtheory.stations.mapphc import as_map, station
from qtheory.stations.station import Station


def mphc(*, arrival_rate: float, service: Law, servers: int) -> Station:
    """M/PH/c without a limit.

    Parameters
    ----------
    arrival_rate : float
        Of all arrivals [1/s].
    service : Law
        Of phase type (`service.phase_type()` must give it); TypeError otherwise.
    servers : int
        At least 1.

    Raises ValueError for arguments out of range, for ρ >= 1 and too close to it, and where the phases of so many
    servers have too many states.

    Examples
    --------
    >>> import qtheory as qt
    >>> s = mphc(arrival_rate=12.8, service=qt.Hyperexponential.balanced(mean=1.0, scv=4.0), servers=16)
    >>> round(s.mean_wait, 6)
    0.189439
    """
    c, rate = count("servers", servers), positive("arrival_rate", arrival_rate)
    return station("mphc", as_map(Poisson(rate)), law_of(service, "service"), c, None)


def mphck(*, arrival_rate: float, service: Law, servers: int, capacity: int) -> Station:
    """M/PH/c/K with room for `capacity` requests, those in service included; others are refused.

    Parameters as for `mphc`, with capacity >= 1; any load.

    Examples
    --------
    >>> import qtheory as qt
    >>> law = qt.Hyperexponential.balanced(mean=1.0, scv=4.0)
    >>> s = mphck(arrival_rate=4.0, service=law, servers=5, capacity=12)
    >>> round(s.mean_response, 5), round(s.blocking, 5)
    (1.3587, 0.05013)
    """
    c, k, rate = count("servers", servers), count("capacity", capacity), positive("arrival_rate", arrival_rate)
    return station("mphck", as_map(Poisson(rate)), law_of(service, "service"), c, k)
