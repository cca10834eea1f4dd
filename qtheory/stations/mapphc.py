"""MAP/PH/c, with and without a limit: Markovian arrivals, phase-type service, c servers, one line, exactly.

The number present, the phase of the arrivals, and how many of the busy servers are in each phase of their service
(`markov/phase_counts.py`) are a chain over levels. From level c on all levels are alike: without a limit they are
summed up by their rate matrix R (`markov/rate_matrix.py`),

    π_{c+k} = π_c R^k,    P(all servers busy) = y 1,  y = π_c (I − R)^{-1},    mean line = y R (I − R)^{-1} 1,

and the levels below are eliminated from c down (`markov/level_chain.py`), as are all of them where there is a limit.
Arrivals that find it full are lost. An arrival finds the phases that lead to arrivals, not time averages.

Near ρ = 1 an error in R, or in λ and T themselves, counts 1/(1 − ρ) times, and times the arrivals during the slowest
phase. The error bound says so: 16 roundings of that, the largest that was found against 40 digits being 1.2
(tests/test_mapphc.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from qtheory.arguments import count
from qtheory.arrivals import MAP, Poisson
from qtheory.laws import Law, law_of
from qtheory.stations.erlang import stable
from qtheory.stations.station import LAWS, LEFT_OUT, MEANS, ROUNDING, Floats, Station, levels_for

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from qtheory.markov.level_chain import Rates
    from qtheory.markov.phase_counts import PhaseCounts

MOST_WORK = 200_000_000_000
"""Multiplications that a solution may take."""
MOST_LEVELS = 1_000_000
REDUCTION = 200
"""Products of matrices that R takes, nearly: some 15 steps."""
ACCURACY = 16.0 * ROUNDING
WORST = 1e-3
"""Largest error bound that is still an answer."""
SAME_SHAPE = 1e-14


def mapphc(*, process: MAP | Poisson, service: Law, servers: int, capacity: int | None = None) -> Station:
    """MAP/PH/c, or MAP/PH/c/K with room for `capacity` requests, those in service included; others are lost.

    Parameters
    ----------
    process : MAP or Poisson
        The arrivals.
    service : Law
        Of phase type (`service.phase_type()` must give it); TypeError otherwise.
    servers : int
        At least 1.
    capacity : int, optional
        At least 1; then the load may be any.

    Raises ValueError for arguments out of range, for ρ >= 1 without a capacity, and, at once, where the phases of so
    many servers have too many states.

    Examples
    --------
    Bursts at 20 requests a second, half of the time, against as many requests at random:

    >>> import qtheory as qt
    >>> bursts = qt.mmpp2(rates=(20.0, 0.0), stays=(0.5, 0.5))
    >>> law = qt.Hyperexponential.balanced(mean=0.4, scv=4.0)
    >>> for process in (bursts, qt.Poisson(10.0)):
    ...     s = mapphc(process=process, service=law, servers=8)
    ...     print(f"{s.mean_wait:.3f} {s.delay_probability:.3f} {s.wait_quantile(0.99):.2f}")
    0.063 0.252 1.00
    0.010 0.062 0.27
    """
    c = count("servers", servers)
    room = None if capacity is None else count("capacity", capacity)
    return station("mapphc", as_map(process), law_of(service, "service"), c, room)


def as_map(process: MAP | Poisson) -> MAP:
    """Poisson arrivals as a process of one phase; TypeError for what is neither."""
    if isinstance(process, Poisson):
        return MAP([[-process.rate]], [[process.rate]])
    if not isinstance(process, MAP):
        raise TypeError(f"process must be a qt.MAP or qt.Poisson, not {process!r}")
    return process


def station(method: str, process: MAP, law: Law, servers: int, capacity: int | None) -> Station:
    """The station by the name of `method`."""
    phases = law.phase_type()
    if capacity is None:
        stable(servers, process.rate * law.mean)
    elif capacity > MOST_LEVELS:
        raise ValueError(f"{method} follows at most {MOST_LEVELS} requests present: capacity is {capacity}")
    from qtheory.markov.phase_counts import PhaseCounts

    busy = servers if capacity is None else min(servers, capacity)
    chain = _Chain(process, PhaseCounts(phases.alpha, phases.T), busy, capacity)
    if reason := chain.refusal():
        raise ValueError(f"{method} cannot be solved: {reason}; use qt.simulate")
    return _without_limit(method, chain, law) if capacity is None else _with_room(method, chain, law, servers)


@dataclass(frozen=True, eq=False)
class _Chain:
    """Rates between levels; the states of a level are (phase of the arrivals, phases of the busy servers)."""

    process: MAP
    counts: PhaseCounts
    servers: int
    capacity: int | None

    def refusal(self) -> str | None:
        """Why the chain is too large, or None."""
        most = self.process.order * self.counts.size(self.servers)
        work = REDUCTION * most**3  # whole numbers: it may be more than a float holds
        if work <= MOST_WORK:
            work += 2 * sum((self.process.order * self.counts.size(n)) ** 3 for n in range(self.servers))
        if work <= MOST_WORK:
            return None
        return (
            f"{self.servers} servers of {self.counts.phases} phases and arrivals of {self.process.order} have "
            f"{most} states, too many"
        )

    def up(self, n: int) -> Rates:
        started = self.counts.start(n) if n < self.servers else _eye(self.counts.size(self.servers))
        return _both(self.process.D1, started)

    def within(self, n: int) -> Rates:
        """Changes of phase, of the diagonal only what does not matter; arrivals too when they are lost."""
        changes = self.counts.internal(min(n, self.servers))
        if self.process.order == 1:
            return changes
        moves = self.process.D0 + self.process.D1 if n == self.capacity else self.process.D0
        return _both(self._eye, changes) + _both(moves, _eye(changes.shape[0]))

    def down(self, n: int) -> Rates:
        return _both(self._eye, self.counts.finish(n) if n <= self.servers else self.succeed)

    def alike(self, n: int) -> int:
        """The lowest level from which on all is as at level n."""
        return n if n <= self.servers or n == self.capacity else self.servers + 1

    @cached_property
    def succeed(self) -> csr_array:
        return self.counts.succeed(self.servers)

    @cached_property
    def finding(self) -> Floats:
        """Share of all arrivals that each state has while it is there, by what they find: the phases of the servers."""
        rates = self.process.D1.sum(axis=1) / self.process.rate
        return np.kron(rates[:, None], np.eye(self.counts.size(self.servers)))

    @cached_property
    def _eye(self) -> Floats:
        return np.eye(self.process.order)


def _both(of_arrivals: Floats, of_servers: csr_array) -> Rates:
    """Rates over the pairs of phases."""
    from scipy.sparse import csr_array, kron

    from qtheory.markov.level_chain import SMALL

    small = of_servers.shape[0] < SMALL
    servers: Rates = of_servers.toarray() if small else of_servers
    if len(of_arrivals) == 1:
        return servers * of_arrivals[0, 0]
    return np.kron(of_arrivals, servers) if small else csr_array(kron(of_arrivals, servers))


@lru_cache(maxsize=16)
def _eye(n: int) -> csr_array:
    from scipy.sparse import csr_array, eye_array

    return csr_array(eye_array(n))


def _slowest(chain: _Chain) -> float:
    """How long the phases remember [s]: the longest service still to come, or phase of the arrivals."""
    service = float(np.linalg.solve(-chain.counts.T, np.ones(chain.counts.phases)).max())
    leaving = -np.diag(chain.process.D0 + chain.process.D1)
    return max(service, chain.process.order / float(leaving.min())) if chain.process.order > 1 else service


def _without_limit(method: str, chain: _Chain, law: Law) -> Station:
    from qtheory.markov.level_chain import dense, stationary
    from qtheory.markov.rate_matrix import rate_matrix, summed
    from qtheory.stations.endless_line import EndlessLine

    c, lam = chain.servers, chain.process.rate
    down = chain.down(c + 1)
    ratio = rate_matrix(dense(chain.up(c)), dense(chain.within(c + 1)), dense(down))
    levels = stationary(0, c, chain.up, chain.within, chain.down, chain.alike, ratio @ down)
    every, beyond = summed(ratio, levels[c])
    total = sum(float(level.sum()) for level in levels[:c]) + float(every.sum())
    levels = [level / total for level in levels]
    every /= total
    in_line = float((every @ ratio) @ beyond)
    finding = chain.finding
    sojourn = EndlessLine(
        levels[c], every, finding, ratio, chain.counts.internal(c), chain.succeed, chain.counts.leaving(c),
        chain.counts.alpha, chain.counts.T,
    )  # fmt: skip
    rho = lam * law.mean / c
    error = ACCURACY * (c + (1.0 + lam * _slowest(chain)) / (1.0 - rho))
    if error > WORST:
        raise ValueError(f"{method} is off by up to {error:.0%} where rho is so close to 1: rho = {rho:.16g}")

    def pmf() -> Floats:
        at, found = levels[c], [float(level.sum()) for level in levels]
        while (left := float(at @ beyond)) > LEFT_OUT:
            after = at @ ratio
            fall = 1.0 - found[-1] / left
            if np.abs(after - fall * at).max() <= SAME_SHAPE * after.max():
                return np.concatenate([found, found[-1] * fall ** np.arange(1.0, levels_for(left, fall))])
            at = after
            found.append(float(at.sum()))
        return np.array(found)

    return Station(
        method=method,
        exact=True,
        error_bounds=dict.fromkeys((*MEANS, *LAWS), error),
        throughput=lam,
        blocking=0.0,
        delay_probability=float((every @ finding).sum()),
        mean_wait=in_line / lam,
        mean_response=in_line / lam + law.mean,
        mean_in_system=in_line + lam * law.mean,
        mean_in_queue=in_line,
        utilization=rho,
        _wait=lambda t: sojourn.sf("wait", t),
        _response=lambda t: sojourn.sf("response", t),
        _pmf=pmf,
    )


def _with_room(method: str, chain: _Chain, law: Law, servers: int) -> Station:
    from qtheory.markov.level_chain import stationary
    from qtheory.markov.sojourn import PhaseServers

    c, room, lam = chain.servers, chain.capacity, chain.process.rate
    assert room is not None
    levels = stationary(0, room, chain.up, chain.within, chain.down, chain.alike)
    pmf = np.array([level.sum() for level in levels])
    arriving = chain.process.D1.sum(axis=1) / lam
    lost = float(arriving @ levels[room].reshape(len(arriving), -1).sum(axis=1))
    throughput = lam * (1.0 - lost)
    line = np.zeros((max(room - c, 1), chain.counts.size(c)))
    for k, level in enumerate(levels[c:room]):
        line[k] = arriving @ level.reshape(len(arriving), -1) / (1.0 - lost)
    sojourn = PhaseServers(
        line, chain.counts.internal(c), chain.succeed, chain.counts.leaving(c), chain.counts.alpha, chain.counts.T
    )
    waiting = float(np.maximum(np.arange(room + 1) - c, 0) @ pmf)
    return Station(
        method=method,
        exact=True,
        error_bounds=dict.fromkeys((*MEANS, *LAWS), ACCURACY * (room + 1)),
        throughput=throughput,
        blocking=lost,
        delay_probability=float(line.sum()),
        mean_wait=waiting / throughput,
        mean_response=waiting / throughput + law.mean,
        mean_in_system=waiting + throughput * law.mean,
        mean_in_queue=waiting,
        utilization=throughput * law.mean / servers,
        _wait=lambda t: sojourn.sf("wait", t),
        _response=lambda t: sojourn.sf("response", t),
        _pmf=lambda: pmf,
    )
