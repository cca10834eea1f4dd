"""M/PH/c and M/PH/c/K: Poisson arrivals, phase-type service, c servers, one line, first come first served; exactly.

The number present and how many of the busy servers are in each phase are a chain over levels (`solve/phase_type.py`,
where a disk with a buffer of K is the same station). Without a limit the levels are followed until what is left is
below 1e-40 of the largest.
"""

from __future__ import annotations

from qtheory.arguments import count, positive
from qtheory.arrivals import Poisson
from qtheory.engine import Device, Disk, Engine
from qtheory.laws import Law, law_of
from qtheory.stations.erlang import stable
from qtheory.stations.station import LAWS, MEANS, Station

ROUNDING = 1e-10
MOST_LEVELS = 1_000_000


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
    from qtheory.solve.phase_type import reach

    c, rate, law = count("servers", servers), positive("arrival_rate", arrival_rate), law_of(service, "service")
    stable(c, rate * law.mean)
    return _station("mphc", rate, law, c, reach(rate, law.phase_type(), c))


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
    c, k = count("servers", servers), count("capacity", capacity)
    return _station("mphck", positive("arrival_rate", arrival_rate), law_of(service, "service"), c, k)


def _station(method: str, rate: float, law: Law, servers: int, room: int | None) -> Station:
    from qtheory.solve import phase_type
    from qtheory.solve.sojourn import PhaseServers

    if room is None or room > MOST_LEVELS:
        rho = rate * law.mean / servers
        raise ValueError(f"{method} follows at most {MOST_LEVELS} requests present, too few here: rho = {rho:.6g}")
    engine = Engine([Disk(Poisson(rate), buffer=room)], Device(servers=servers, service=law))
    if reason := phase_type.refusal(engine):
        raise ValueError(f"{method} cannot be solved: {reason}")
    state = phase_type.solve(engine)
    assert not isinstance(state._sojourns, str)
    ((_, sojourn),) = state._sojourns
    assert isinstance(sojourn, PhaseServers)
    return Station(
        method=method,
        exact=True,
        error_bounds=dict.fromkeys((*MEANS, *LAWS), ROUNDING),
        throughput=state.throughput,
        blocking=state.blocking,
        delay_probability=float(sojourn.line.sum()),
        mean_wait=state.mean_wait,
        mean_response=state.mean_response,
        mean_in_system=state.mean_in_system,
        mean_in_queue=state.mean_wait * state.throughput,
        utilization=state.utilization,
        _wait=lambda t: sojourn.sf("wait", t),
        _response=lambda t: sojourn.sf("response", t),
        _pmf=lambda: state.in_system_pmf,
    )
