"""Wait and response at the end of a line without end, behind servers with phase-type service.

A request that finds c + k − 1 present waits for k completions, and with the rate matrix of the line (`rate_matrix.py`)
the probability of that, by the phases of the busy servers, is

    w_k = π R^{k−1} Z,    Z = P at first,

π being the law of level c over the phases of arrivals and of servers, and P what of it an arrival finds. As one
completion moves w_{k+1} to w_k, the form stays: a tick of a clock ν that no state outruns makes of it

    Z ← Z (I + S/ν) + R Z F/ν,

S the rates among the phases without and F those with a completion. So a line of any length is one matrix. Still in line
is y Z 1, with y = π (I − R)^{-1}; through at the tick comes π Z F 1/ν, and nothing is subtracted.

After a while Z keeps its shape and shrinks by the same factor at each tick: what is left of the wait is exponential.
From there on wait and service together are a phase-type law with one phase more than the service, good for any t.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array

from qtheory.laws import PhaseType
from qtheory.markov.sojourn import TAIL, Quantity
from qtheory.markov.uniformization import at_ticks, poisson_window

Floats = NDArray[np.float64]
FIRST_TICKS = 64
SAME_SHAPE = 1e-12
"""Relative change of what Z holds over as many ticks again."""
MOST_WORK = 2e11
"""Multiplications."""


@dataclass(frozen=True, eq=False)
class EndlessLine:
    """Sojourn at c phase-type servers behind an endless line.

    `level` is π, `all_levels` y, `finding` P: probabilities to be accepted at level c, at c or above, and, for each
    state, what of the phases of the busy servers is found. `stay` and `step` are S without its diagonal and F,
    `leaving` what leaves each state; `alpha` and `T` the service law's.
    """

    level: Floats
    all_levels: Floats
    finding: Floats
    rate_matrix: Floats
    stay: csr_array
    step: csr_array
    leaving: Floats
    alpha: Floats
    T: Floats

    def sf(self, quantity: Quantity, t: float) -> float:
        """P(wait > t) or P(response > t)."""
        clock, waiting, in_service, begin, mass, rest = self._law
        if t <= begin:
            still = at_ticks(clock * t, waiting)
            return still if quantity == "wait" else still + at_ticks(clock * t, in_service)
        if quantity == "wait":
            return mass * float(rest.alpha[0]) * float(np.exp(rest.T[0, 0] * (t - begin)))
        return mass * float(rest.sf(t - begin))

    @cached_property
    def _law(self) -> tuple[float, Floats, Floats, float, float, PhaseType]:
        """Clock rate; probability to be in line, and in service, after each tick; the law from some time on."""
        clock = float(self.leaving.max())
        waiting, through = self._ticks(clock)
        shrink = 1.0 - through[-1] / waiting[-1]
        ticks = len(through) - 1
        first, weights = poisson_window(float(ticks))
        more = shrink ** np.arange(1, first + len(weights) - ticks)
        waiting = np.concatenate([waiting, waiting[-1] * more])
        through = np.concatenate([through, through[-1] * more])
        move = np.eye(len(self.T)) + self.T / clock
        served = np.empty((len(waiting), len(self.alpha)))
        served[0] = max(1.0 - waiting[0], 0.0) * self.alpha
        for k in range(1, len(served)):
            served[k] = served[k - 1] @ move + through[k - 1] * self.alpha
        taken = slice(first, first + len(weights))
        at_begin = np.concatenate([[weights @ waiting[taken]], weights @ served[taken]])
        slow = clock * (1.0 - shrink)
        T = np.block([[np.full((1, 1), -slow), slow * self.alpha[None]], [np.zeros((len(self.T), 1)), self.T]])
        mass = float(at_begin.sum())
        return clock, waiting, served.sum(axis=1), ticks / clock, mass, PhaseType(at_begin / mass, T)

    def _ticks(self, clock: float) -> tuple[Floats, Floats]:
        """P(in line) after each tick, and P(through) at the next, until the shape of Z lasts or little is left."""
        stay = csr_array(self.stay / clock + diags_array(1.0 - self.leaving / clock))
        step = csr_array(self.step / clock)
        exits = np.asarray(step.sum(axis=1)).ravel()
        z = np.array(self.finding)
        states = len(z)
        waiting = [np.array([self.all_levels @ z.sum(axis=1)])]
        through = [np.array([self.level @ (z @ exits)])]
        ticks = FIRST_TICKS
        while waiting[-1][-1] > TAIL:
            if 2.0 * states * z.size * ticks > MOST_WORK:
                raise ValueError(
                    f"the wait of {states} phases at a level takes more than {ticks} steps to follow: use qt.simulate"
                )
            before = z / z.sum()
            z, still, passed = _advance(
                z, self.rate_matrix, stay.indptr, stay.indices, stay.data, step.indptr, step.indices, step.data,
                self.level, self.all_levels, exits, ticks,
            )  # fmt: skip
            waiting.append(still)
            through.append(passed)
            if np.abs(z / z.sum() - before).max() <= SAME_SHAPE * before.max():
                break
            ticks *= 2
        return np.concatenate(waiting), np.concatenate(through)


@njit(cache=True)
def _advance(
    z: Any, rate_matrix: Any, stay_row: Any, stay_to: Any, stay_p: Any, step_row: Any, step_to: Any, step_p: Any,
    level: Any, all_levels: Any, exits: Any, ticks: int,
) -> Any:  # fmt: skip
    rows, states = z.shape
    waiting, through = np.empty(ticks), np.empty(ticks)
    stayed, stepped = np.empty_like(z), np.empty_like(z)
    for tick in range(ticks):
        stayed[:] = 0.0
        stepped[:] = 0.0
        for a in range(rows):
            for i in range(states):
                for e in range(stay_row[i], stay_row[i + 1]):
                    stayed[a, stay_to[e]] += z[a, i] * stay_p[e]
                for e in range(step_row[i], step_row[i + 1]):
                    stepped[a, step_to[e]] += z[a, i] * step_p[e]
        z = stayed + np.dot(rate_matrix, stepped)
        still = passed = 0.0
        for a in range(rows):
            for i in range(states):
                still += all_levels[a] * z[a, i]
                passed += level[a] * z[a, i] * exits[i]
        waiting[tick], through[tick] = still, passed
    return z, waiting, through
