"""M/G/1/K: Poisson arrivals, any service law, one server, room for K requests. Any load.

The number present is the embedded chain of `line.py`. How long an accepted request waits depends on what is left of the
service in progress as well, R while j are present. By supplementary variables (Cox 1955), with p_j the law of the
number, F(s) = E[e^{−sS}] and P_j(s) = E[e^{−sR}; j present],

    (λ − s) P_j(s) = λ P_{j−1}(s) + λ F(s) (p_j + [j = 1] p_0) − λ p_{j−1},      0 < j < K,  P_0 left out,

and an accepted request that finds j >= 1 waits for R and j − 1 services. Step by step these equations lose all digits.
But K is not in them: they are those of M/G/1 without a limit, up to a constant (Keilson 1966), so that with
Π(z) = Σ p_j z^j = p_0 (1 − z) F(λ − λz) / (F(λ − λz) − z)

    Σ_j P_j(s) z^j = λ [F(s) (Π(z) − p_0 + p_0 z) − z Π(z)] / (λ − s − λz),

analytic up to the smallest root of F(λ − λz) = z, even where ρ >= 1. Its coefficients come by a Fourier transform over
a circle within, and the law of the wait by inversion of the transform in s (`inversion.py`), to about 3e-8. Two kinds
of service need none of that:

* of phase type: `mapphc.py`, exact far into the tail;
* deterministic: who finds j waits between j − 1 and j services, and R > x means that j − i came in the D − x since the
  service began with i: Poisson probabilities.
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from qtheory.arguments import count, positive
from qtheory.arrivals import Poisson
from qtheory.laws import Deterministic, Law, law_of
from qtheory.stations.inversion import RESOLVED, survival
from qtheory.stations.line import line
from qtheory.stations.mapphc import as_map, station
from qtheory.stations.mg1 import INVERTED
from qtheory.stations.station import LAWS, MEANS, Floats, Station, Survival

NUMERIC = 1e-9
"""Relative error of what is integrated over the service law."""
MOST_PHASES = 64
"""Phases up to which a phase-type law is taken as such."""
ALIASED = 1e-14
NODES = 8
"""On the circle, for each request that there is room for."""
CLOSE = 1e-9


def mg1k(*, arrival_rate: float, service: Law, capacity: int) -> Station:
    """M/G/1/K with room for `capacity` requests, the one in service included, exactly; any load.

    Parameters
    ----------
    arrival_rate : float
        Of all arrivals [1/s].
    service : Law
        Law of the service time.
    capacity : int
        At least 1.

    Raises ValueError for arguments out of range; a law raises ArithmeticError when it is asked for and the service law
    is too rough to invert its transform.

    Examples
    --------
    >>> from qtheory.laws import Lognormal
    >>> s = mg1k(arrival_rate=0.8, service=Lognormal(mean=1.0, scv=2.0), capacity=10)
    >>> round(s.blocking, 6), round(s.wait_quantile(0.9), 4)
    (0.045783, 8.1268)
    """
    lam, law, k = positive("arrival_rate", arrival_rate), law_of(service), count("capacity", capacity)
    if _few_phases(law):
        return station("mg1k", as_map(Poisson(lam)), law, 1, k)
    weights = line(law, 1, lam, k, top=True)
    pmf = weights / weights.sum()
    fixed = isinstance(law, Deterministic)
    waiting, responding = _fixed(lam, law.mean, pmf) if fixed else _Inverted(lam, law, k).laws
    bounds = {**dict.fromkeys(MEANS, NUMERIC), **dict.fromkeys(LAWS, NUMERIC if fixed else INVERTED)}
    return limited_station(
        "mg1k", lam, law, 1, pmf, exact=True, bounds=bounds, laws=(waiting, responding),
        resolved=0.0 if fixed else RESOLVED,
    )  # fmt: skip


def limited_station(
    method: str, lam: float, law: Law, servers: int, pmf: Floats, *, exact: bool, bounds: dict[str, float],
    laws: tuple[Survival | str, Survival | str], warnings: tuple[str, ...] = (), resolved: float = 0.0,
) -> Station:  # fmt: skip
    """Station with room for K from the law of the number in it, and the laws of wait and response."""
    accepted = float(pmf[:-1].sum())
    present = np.arange(len(pmf))
    waiting = float(np.maximum(present - servers, 0) @ pmf)
    throughput = lam * accepted
    return Station(
        method=method,
        exact=exact,
        error_bounds=bounds,
        warnings=warnings,
        throughput=throughput,
        blocking=float(pmf[-1]),
        delay_probability=float(pmf[servers:-1].sum()) / accepted,
        mean_wait=waiting / throughput,
        mean_response=waiting / throughput + law.mean,
        mean_in_system=waiting + throughput * law.mean,
        mean_in_queue=waiting,
        utilization=throughput * law.mean / servers,
        _wait=laws[0],
        _response=laws[1],
        _pmf=lambda: pmf,
        _resolved=resolved,
    )


def _few_phases(law: Law) -> bool:
    try:
        return len(law.phase_type().alpha) <= MOST_PHASES
    except TypeError:
        return False


def _fixed(lam: float, service: float, pmf: Floats) -> tuple[Survival, Survival]:
    """P(wait > t) and P(response > t) where every service takes as long."""
    from scipy.special import gammainc

    found = pmf[:-1] / pmf[:-1].sum()
    begun = found.copy()
    begun[1:2] += found[0]

    def wait(t: float) -> float:
        j = math.floor(t / service) + 1
        if j >= len(found):
            return 0.0
        since = lam * max(j * service - t, 0.0)
        here = begun[1 : j + 1] @ gammainc(np.arange(j, 0, -1), since)
        return float(found[j + 1 :].sum() + here)

    return wait, lambda t: 1.0 if t < service else wait(t - service)


class _Inverted:
    """P(wait > t) and P(response > t) by their transforms."""

    def __init__(self, lam: float, law: Law, capacity: int) -> None:
        self.lam, self.law, self.room = lam, law, capacity

    @property
    def laws(self) -> tuple[Survival, Survival]:
        return self.wait, self.response

    def wait(self, t: float) -> float:
        delayed = 1.0 - self._idle
        return delayed * (survival(lambda s: self._delayed(s, 0) / delayed, t) if t > 0.0 else 1.0)

    def response(self, t: float) -> float:
        if t == 0.0:
            return 1.0
        delayed = 1.0 - self._idle
        at_once = self._idle * float(self.law.sf(t))
        return at_once + delayed * survival(lambda s: self._delayed(s, 1) / delayed, t)

    @cached_property
    def _circle(self) -> tuple[NDArray[np.complex128], NDArray[np.complex128], Floats]:
        """z on the circle, Π(z) with p_0 = 1, and radius^{K−1−j}, so that nothing overflows when all is normalized."""
        nodes = 1 << math.ceil(math.log2(max(NODES * self.room, 128)))
        radius = self._root() * ALIASED ** (1.0 / nodes)
        z = radius * np.exp(2j * np.pi * (np.arange(nodes) + 0.5) / nodes)
        half = self.law.lst(self.lam * (1.0 - z[: nodes // 2]))
        served = np.concatenate([half, np.conj(half[::-1])])
        return z, (1.0 - z) * served / (served - z), radius ** np.arange(self.room - 1.0, -1.0, -1.0)

    def _root(self) -> float:
        """The smallest z with F(λ − λz) = z: 1 for ρ <= 1, and taken as 1 where it is next to it."""
        from scipy.optimize import brentq

        def excess(z: float) -> float:
            return float(np.real(self.law.lst(self.lam * (1.0 - z)))) - z

        less = 0.5
        while self.lam * self.law.mean > 1.0 and less > CLOSE:
            if excess(1.0 - less) < 0.0:
                return float(brentq(excess, 0.0, 1.0 - less, xtol=CLOSE))
            less /= 2.0
        return 1.0

    def _coefficients(self, values: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """Of z^0, ..., z^{K−1} for a function with these values on the circle."""
        z, _, scale = self._circle
        turned = np.exp(-1j * np.pi * np.arange(self.room) / len(z))
        return np.asarray(np.fft.fft(values, axis=-1)[..., : self.room] / len(z) * scale * turned)

    @cached_property
    def _found(self) -> Floats:
        """p_0, ..., p_{K−1} in common proportion."""
        return np.real(self._coefficients(self._circle[1]))

    @property
    def _idle(self) -> float:
        """P(an accepted request finds nobody)."""
        return float(self._found[0] / self._found.sum())

    def _delayed(self, s: NDArray[np.complex128], more: int) -> NDArray[np.complex128]:
        """E[e^{−s(wait + `more` services)}; wait > 0]."""
        z, number, _ = self._circle
        s = s[:, None]
        served = self.law.lst(s)
        left = self.lam * (served * (number - 1.0 + z) - z * number) / (self.lam * (1.0 - z) - s)
        services = served ** np.arange(float(more), self.room - 1 + more)
        return np.asarray((self._coefficients(left)[:, 1:] * services).sum(axis=1) / self._found.sum())
