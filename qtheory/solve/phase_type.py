"""The shared engine with phase-type service: total and phases as a chain, the disks by how a total splits.

With service that is not exponential one would have to follow the number of each disk's requests, their order in the
line and the phases of the servers. What is followed here is the total n and how many of the busy servers are in each
phase (`markov/phase_counts.py`): a chain over levels n, solved by `markov/level_chain.py`. It needs the arrival rate at
each level,

    Λ(n) = Σ_i E[λ_i(n_i) | n],

and takes it from the product form of exponential service (`product_form.py`), in which the split of a total over the
disks does not depend on how fast the engine is: P(n_1, ..., n_N | n) ∝ Π_i Π_{k<n_i} λ_i(k) / n_i!. With one disk, and
with saturated disks only, there is nothing to split, and the answer is exact. Otherwise it is an approximation, close
where the disks are alike.

A saturated disk submits again at once: when one of its requests finishes, the total stays. It has its share of what is
present, and so of what finishes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.sparse import csr_array, eye_array

from qtheory.engine import Disk, Engine
from qtheory.laws import PhaseType
from qtheory.markov.level_chain import stationary
from qtheory.markov.phase_counts import PhaseCounts
from qtheory.solve.population import Population, disk_state, total_blocking
from qtheory.solve.product_form import station_population, station_rates
from qtheory.solve.sojourn import PhaseServers
from qtheory.solve.steady_state import QUANTITIES, SteadyState

Floats = NDArray[np.float64]
MOST_STATES = 3000
"""Largest number of states at a level: its cube is what a level costs."""
OUT_OF_REACH = 1e-40
"""Levels whose probability is below this fraction of the largest are left out."""
ALIKE = 1e-13
"""Arrival rates that differ by less are taken as the same."""


def refusal(engine: Engine) -> str | None:
    """Why this method cannot answer for `engine`, or None."""
    if not engine.shared:
        return "each disk has its own device"
    if engine.caps is not None:
        return "the slots are divided by caps"
    for i, disk in enumerate(engine.disks):
        if disk.guest_waits and not disk.saturated:
            return f"disks[{i}] makes its guest wait for room in the buffer"
    device = engine.devices[0]
    if device.service is None or device.servers is None:
        return "the device is a rate curve"
    try:
        law = device.service.phase_type()
    except TypeError as error:
        return str(error)
    servers = min(device.servers, engine.queue_length or engine.most, engine.most)
    states = PhaseCounts(law.alpha, law.T).size(servers)
    if states > MOST_STATES:
        return f"{servers} servers of {len(law.alpha)} phases have {states} states, more than {MOST_STATES}"
    return None


@dataclass(frozen=True, eq=False)
class PhaseChain:
    """The stationary chain of an engine; `levels[n]` is P(n present, phases of the busy servers)."""

    disks: tuple[Disk, ...]
    law: PhaseType
    counts: PhaseCounts
    servers: int
    slots: int
    number: Population
    birth: Floats
    levels: list[Floats]

    @classmethod
    def of(cls, engine: Engine, limit: int | None = None) -> PhaseChain:
        """Solve the chain of an engine that is not refused, with at most `limit` slots."""
        device = engine.devices[0]
        assert device.service is not None
        assert device.servers is not None
        rates, slots = station_rates(engine, limit)
        servers = min(device.servers, slots)
        law = device.service.phase_type()
        constant = sum(disk.most for disk in engine.disks if disk.saturated)
        number = station_population(engine.disks, rates, _reach(engine.disks, law, servers))
        birth = number.ratios * np.arange(1, len(number.ratios) + 1)
        chain = cls(engine.disks, law, PhaseCounts(law.alpha, law.T), servers, slots, number, birth, [])
        top = constant + len(birth)
        solved = stationary(constant, top, chain._up, chain._within, chain._down, chain._alike)
        chain.levels.extend([np.zeros(chain.counts.size(min(n, servers))) for n in range(constant)] + solved)
        return chain

    def _up(self, n: int) -> csr_array:
        rate = self.birth[n - self.number.constant]
        return csr_array(self._starts[n] * rate if n < self.servers else eye_array(self._most) * rate)

    def _within(self, n: int) -> csr_array:
        """Changes of phase; and requests of saturated disks that finish and come again."""
        busy = min(n, self.servers)
        if self.number.constant == 0:
            return self._internals[busy]
        return csr_array(self._internals[busy] + self._succeeding(n) * (self.number.constant / n))

    def _down(self, n: int) -> csr_array:
        rates = self._finishes[n] if n <= self.servers else self.succeed
        return csr_array(rates * ((n - self.number.constant) / n))

    def _alike(self, n: int) -> int:
        """The lowest level from which on all is as at level n."""
        if n <= self.servers or self.number.constant:
            return n
        return max(self.servers + 1, int(self._run[n - 1]) + 1)

    def _succeeding(self, n: int) -> csr_array:
        return self.succeed if n >= self.servers else self.counts.succeed(n)

    @cached_property
    def succeed(self) -> csr_array:
        """Rates at which one of all servers finishes and the next starts."""
        return self.counts.succeed(self.servers)

    @cached_property
    def _run(self) -> NDArray[np.int64]:
        """For each level, the lowest from which on the arrival rate is the same."""
        first = np.zeros(len(self.birth), dtype=np.int64)
        for n in range(1, len(self.birth)):
            start = first[n - 1]
            first[n] = start if abs(self.birth[n] - self.birth[start]) <= ALIKE * self.birth[start] else n
        return first

    @cached_property
    def _most(self) -> int:
        return self.counts.size(self.servers)

    @cached_property
    def _internals(self) -> list[csr_array]:
        return [self.counts.internal(n) for n in range(self.servers + 1)]

    @cached_property
    def _finishes(self) -> list[csr_array]:
        return [csr_array((1, 0)), *(self.counts.finish(n) for n in range(1, self.servers + 1))]

    @cached_property
    def _starts(self) -> list[csr_array]:
        return [self.counts.start(n) for n in range(self.servers)]

    @property
    def pmf(self) -> Floats:
        """P(n present)."""
        return np.array([level.sum() for level in self.levels])

    @property
    def finishing(self) -> Floats:
        """Completions per second while n are present, times P(n present)."""
        exits = [self.counts.states(n) @ self.counts.exit for n in range(self.servers + 1)]
        return np.array([level @ exits[min(n, self.servers)] for n, level in enumerate(self.levels)])

    def sojourn(self) -> PhaseServers:
        """How long an accepted request waits and stays.

        A Poisson request finds the stationary phases. One of a saturated disk comes when another of its requests
        finishes, and finds what that leaves behind.
        """
        c, constant = self.servers, self.number.constant
        line = np.zeros((max(len(self.levels) - c, 1), self._most))
        accepted = 0.0
        for n, level in enumerate(self.levels):
            if n - constant >= 0 and n - constant < len(self.birth):
                rate = self.birth[n - constant]
                accepted += rate * float(level.sum())
                if n >= c:
                    line[n - c] += rate * level
            if constant and n:
                again = level @ self._succeeding(n) * (constant / n)
                accepted += float(again.sum())
                if n > c:
                    line[n - c - 1] += again
        stay, leaving = self._internals[c], self.counts.leaving(c)
        return PhaseServers(line / accepted, stay, self.succeed, leaving, self.law.alpha, self.law.T)


def solve(engine: Engine) -> SteadyState:
    """Solve an engine with one shared device of phase-type service and one FIFO line."""
    chain = PhaseChain.of(engine)
    number, pmf, slots = chain.number, chain.pmf, chain.slots
    totals = np.arange(len(pmf))
    finishing = chain.finishing
    throughput = float(finishing.sum())
    waiting = np.maximum(totals - chain.servers, 0)
    present = np.maximum(totals, 1)
    full = np.where(totals == slots, pmf, 0.0) if engine.hold == "refuse" else np.zeros(len(pmf))
    states = tuple(
        disk_state(disk, accepting, at_full, in_line, _throughput(disk, accepting, finishing / present))
        for disk, accepting, at_full, in_line in zip(
            engine.disks,
            number.split(pmf - full),
            number.split(full),
            number.split(pmf * waiting / present),
            strict=True,
        )
    )
    device = engine.devices[0]
    mean = float(totals @ pmf)
    exact = len(engine.disks) == 1 or all(disk.saturated for disk in engine.disks)
    bounds, warnings = (dict.fromkeys(QUANTITIES, 1e-11), ()) if exact else measured(engine)
    return SteadyState(
        method="phase_type",
        exact=exact,
        error_bounds=bounds,
        warnings=warnings,
        throughput=throughput,
        blocking=total_blocking(engine.disks, states),
        mean_wait=float(waiting @ pmf) / throughput,
        mean_response=mean / throughput,
        mean_in_system=mean,
        mean_in_flight=float(np.minimum(totals, slots) @ pmf),
        utilization=float(np.minimum(totals, chain.servers) @ pmf) / (device.servers or 1),
        in_system_pmf=pmf,
        disks=states,
        _sojourns=((1.0, chain.sojourn()),),
    )


def measured(engine: Engine) -> tuple[dict[str, float], tuple[str, ...]]:
    """Error bounds of the approximation, as measured, and what to warn of."""
    return dict.fromkeys(QUANTITIES, math.inf), ("its error is not measured yet",)


def _throughput(disk: Disk, accepting: Floats, shares: Floats) -> float:
    """Arrivals accepted; of a saturated disk, whose rate is infinite, its constant part of what finishes."""
    return disk.most * float(shares.sum()) if disk.saturated else float(accepting[:-1] @ disk.arrival_rates())


def _reach(disks: Sequence[Disk], law: PhaseType, servers: int) -> int | None:
    """Largest total of unsaturated disks that can matter; None: all.

    The tail of the queue is geometric with the ratio λ/(λ + θ), where E[e^{θS/c}] = 1 + θ/λ (Takahashi, 1981); with λ
    the largest total rate it decays no slower.
    """
    if any(disk.saturated for disk in disks):
        return None
    rate = sum(float(disk.arrival_rates().max()) for disk in disks)
    if rate * law.mean >= servers:
        return sum(disk.most for disk in disks)
    exit = -law.T.sum(axis=1)
    slowest = float(-np.linalg.eigvals(law.T).real.max())

    def excess(theta: float) -> float:
        return (
            float(law.alpha @ np.linalg.solve(-law.T - theta / servers * np.eye(len(law.T)), exit)) - 1.0 - theta / rate
        )

    high = slowest * servers
    theta = brentq(excess, 1e-12 * high, high * (1.0 - 1e-12))
    return servers + math.ceil(math.log(OUT_OF_REACH) / math.log(rate / (rate + theta)))
