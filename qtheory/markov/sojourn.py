"""How long an accepted request waits and stays at c equal servers, given the law of what it finds.

First come, first served. Exponential servers of rate μ: a request that finds j others waits for j − c + 1 completions
when j >= c, and these come at the constant rate ν = cμ: its wait is Erlang(j − c + 1, ν). With a the law of what an
accepted request finds, after k ticks of a clock of rate ν

    P(still waiting) = P(a >= c + k),
    P(in service) = v[k],   v[0] = P(a < c),   v[k+1] = v[k] (1 − 1/c) + a[c + k],

so both laws are Poisson mixtures of known sequences, all terms positive. Phase-type servers: the same with the phases
of the busy servers followed (`phase_line.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from qtheory.markov.uniformization import at_ticks, poisson_window

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Quantity = Literal["wait", "response"]
TAIL = 1e-18


@dataclass(frozen=True, eq=False)
class Servers:
    """Sojourn at c equal exponential servers: `found[j]` = P(an accepted request finds j others), `rate` μ each."""

    found: NDArray[np.float64]
    servers: int
    rate: float

    def sf(self, quantity: Quantity, t: float) -> float:
        """P(wait > t) or P(response > t)."""
        if len(self.found) <= self.servers:
            return 0.0 if quantity == "wait" else float(np.exp(-self.rate * t))
        ticks = self.servers * self.rate * t
        waiting = at_ticks(ticks, self._waiting)
        return waiting if quantity == "wait" else waiting + at_ticks(ticks, self._in_service)

    @cached_property
    def _waiting(self) -> NDArray[np.float64]:
        return np.cumsum(self.found[: self.servers - 1 : -1])[::-1]

    @cached_property
    def _in_service(self) -> NDArray[np.float64]:
        from scipy.signal import lfilter

        entering = np.concatenate([[self.found[: self.servers].sum()], self.found[self.servers :]])
        # Once the line is empty each tick ends the stay with probability 1/c: 45 c ticks leave e^−45.
        entering = np.concatenate([entering, np.zeros(45 * self.servers)])
        return np.asarray(lfilter([1.0], [1.0, -(1.0 - 1.0 / self.servers)], entering))


@dataclass(frozen=True, eq=False)
class PhaseServers:
    """Sojourn at c equal phase-type servers.

    `line[k − 1]`: probability that an accepted request waits for k completions, by the phases of the busy servers;
    others start at once. `stay` and `step` are the rates from phases to phases without and with a completion while all
    servers are busy, `leaving` what leaves each; `alpha` and `T` the service law's.
    """

    line: NDArray[np.float64]
    stay: csr_array
    step: csr_array
    leaving: NDArray[np.float64]
    alpha: NDArray[np.float64]
    T: NDArray[np.float64]

    def sf(self, quantity: Quantity, t: float) -> float:
        """P(wait > t) or P(response > t)."""
        ticks = self._clock * t
        if quantity == "response":
            waiting, in_service = self._sequences
            return at_ticks(ticks, waiting) + at_ticks(ticks, in_service)
        first, weights = poisson_window(ticks)
        return at_ticks(ticks, self._waiting(first + len(weights)))

    def _waiting(self, ticks: int) -> NDArray[np.float64]:
        """Probability to be in the line after each tick, for so many ticks or more: a long line takes long to clear."""
        if not self._kept or ticks > self._kept[-1][0]:
            ticks = 1 << ticks.bit_length()
            self._kept.append((ticks, self._follow(ticks)[0]))
        return self._kept[-1][1]

    @cached_property
    def _kept(self) -> list[tuple[int, NDArray[np.float64]]]:
        return []

    @property
    def _clock(self) -> float:
        return max(float(self.leaving.max()), float(-np.diag(self.T).min()))

    def _follow(self, ticks: int | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Probability to be in the line after each tick, and to get through with each."""
        from scipy.sparse import csr_array, diags_array

        from qtheory.markov.phase_line import follow

        clock = self._clock
        stay = csr_array(self.stay / clock + diags_array(1.0 - self.leaving / clock))
        used = np.flatnonzero(self.line.sum(axis=1) > TAIL)
        line = self.line[: int(used[-1]) + 1 if len(used) else 0]
        return follow(line, stay, csr_array(self.step / clock), TAIL, ticks)

    @cached_property
    def _sequences(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Probability to be in the line, and in service, after each tick."""
        from qtheory.markov.phase_line import serve

        waiting, through = self._follow()
        entering = np.concatenate([[max(1.0 - float(self.line.sum()), 0.0)], through])
        return waiting, serve(entering, self.alpha, np.eye(len(self.T)) + self.T / self._clock, TAIL)
