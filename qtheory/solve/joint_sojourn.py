"""One request followed through the chain of all states: how long it waits and stays.

An accepted request is marked: it goes by a code of its own, which the rules of `joint_chain.py` take for its disk. What
it finds is given by the stationary law and the rate at which each state accepts a request; from there the chain of all
states goes on, arrivals after it included, until it has left. Uniformized, that gives the laws of its wait and of its
stay, whatever the order in which requests are served.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array

from qtheory.engine import Engine
from qtheory.markov.sojourn import Quantity
from qtheory.markov.uniformization import at_ticks
from qtheory.solve import joint_chain
from qtheory.solve.joint_chain import State

Floats = NDArray[np.float64]
MOST_STATES = 100_000
TAIL = 1e-18


@dataclass(frozen=True, eq=False)
class JointSojourn:
    """Sojourn of an accepted request, given the stationary law of all states with up to `most` requests."""

    engine: Engine
    states: Sequence[State]
    law: Floats
    most: float

    def sf(self, quantity: Quantity, t: float) -> float:
        """P(wait > t) or P(response > t)."""
        clock, waiting, staying = self._sequences
        return at_ticks(clock * t, waiting if quantity == "wait" else staying)

    @cached_property
    def _sequences(self) -> tuple[float, Floats, Floats]:
        """Clock rate; probability to wait, and to be present, after each tick."""
        number: dict[State, int] = {}
        found: list[State] = []
        start: list[float] = []

        def enter(state: State) -> int:
            if state not in number:
                if len(found) == MOST_STATES:
                    raise ValueError(
                        f"to follow a request of this engine takes more than {MOST_STATES} states: use qt.simulate"
                    )
                number[state] = len(found)
                found.append(state)
                start.append(0.0)
            return number[state]

        for probability, state in zip(self.law, self.states, strict=True):
            for rate, after in joint_chain.joins(self.engine, state, self.most):
                start[enter(after)] += probability * rate
        rows, columns, rates = [], [], []
        leaving: list[float] = []
        for at, state in enumerate(found):  # the list grows while it is walked
            leaving.append(0.0)
            for rate, after in joint_chain.moves(self.engine, state, self.most):
                leaving[at] += rate
                if self._present(after):
                    rows.append(at)
                    columns.append(enter(after))
                    rates.append(rate)
        size, out = len(found), np.array(leaving)
        clock = float(out.max())
        tick = csr_array((np.array(rates) / clock, (columns, rows)), shape=(size, size))
        tick = csr_array(tick + diags_array(1.0 - out / clock))
        waits = np.array([self._waits(state) for state in found])
        x = np.append(np.array(start), np.zeros(size - len(start))) / sum(start)
        waiting, staying = [float(x[waits].sum())], [1.0]
        while staying[-1] > TAIL:
            x = tick @ x
            waiting.append(float(x[waits].sum()))
            staying.append(float(x.sum()))
        return clock, np.array(waiting), np.array(staying)

    def _waits(self, state: State) -> bool:
        disks = len(self.engine.disks)
        return any(code >= disks for line in (state.line, *state.queues) for code in line)

    def _present(self, state: State) -> bool:
        disks = len(self.engine.disks)
        return self._waits(state) or any(code >= disks for serving in state.served for code, _ in serving)
