"""Drain of any small engine, exactly: every state of `solve/joint_chain.py`, with the arrivals off.

The stop finds the stationary law over the states. What waits in the guests is not taken, and neither is the engine's
line where `hold` leaves it in the rings: both are dropped. From then on the servers only finish, and what is still in a
line takes the slots and servers that come free. With R the rates among the states in which something is left, the
diagonal included, and x the law at the stop,

    E[T] = x (−R)^{-1} 1,    E[T²] = 2 x (−R)^{-2} 1,    P(T > t) = x e^{Rt} 1,

the last by uniformization.

**A schedule of limits.** Under a limit q the engine is one with q slots whose other requests stay in the rings, begun
in the states found: at a step more than q may be in flight, and then those only leave, for a slot is taken only while
fewer than q are. Each step's states are explored from those that the step before has left, and their law moves by
uniformization. Where the engine itself holds a line for Q slots of one device, the line is the device's and Q counts
as servers: the same for what is served, and all in flight is what was taken.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array, diags_array, eye_array
from scipy.sparse.linalg import splu

from qtheory.arrivals import Closed
from qtheory.drain import limited
from qtheory.drain.drain_law import DrainTime
from qtheory.drain.throttle import DepthLimit, DepthSchedule
from qtheory.engine import Device, Engine
from qtheory.markov.uniformization import at_ticks, poisson_window
from qtheory.solve import joint_chain
from qtheory.solve.joint_chain import State, explored, number_of_each, servings, settle, stationary_states

Floats = NDArray[np.float64]
Law = dict[State, float]
TAIL = 1e-18
ROUNDING = 1e-9
OUT_OF_REACH = 1e-14
"""Probability that more arrive during a schedule than are followed."""
MOST_STATES, MOST_DURING = 3_000, 20_000
"""At the stop, and during a schedule: a second or two, and ten."""
MOST_WORK = 3e9
"""States times ticks of a schedule: a minute."""


def refusal(engine: Engine) -> str | None:
    """Why this method cannot answer for `engine`, or None."""
    return joint_chain.refusal(engine, MOST_STATES)


def schedule_refusal(engine: Engine) -> str | None:
    """Why this method cannot answer for `engine` under a schedule, or None."""
    if engine.hold == "refuse" and engine.most < sum(disk.most for disk in engine.disks):
        return "it refuses at Q"
    if engine.hold == "engine" and (engine.caps is not None or (engine.queue_length is not None and not engine.shared)):
        return "requests are held in the engine for a slot after they were taken"
    return joint_chain.refusal(_all_taken(engine), MOST_STATES)


def drain(engine: Engine, present: tuple[int, ...] | None) -> DrainTime:
    """Drain of an engine of few states.

    Raises ValueError when `present` is what the engine never has.
    """
    found = stationary_states(engine, MOST_STATES)
    assert found is not None
    states, pi, _, cut = found
    law = dict(zip(states, pi.tolist(), strict=True))
    if present is not None:
        law = _given(engine, law, present)
    return _drained(engine, law, cut)


def scheduled(engine: Engine, schedule: DepthSchedule) -> DrainTime:
    """Drain of an engine of few states, stopped at time 0 of the schedule.

    Raises ValueError when the schedule is too long to be followed, or makes the states too many.
    """
    free = _all_taken(engine)
    found = stationary_states(free, MOST_STATES)
    assert found is not None
    states, pi, most, cut = found
    steps = schedule.steps
    coming = -steps[0][0] * sum(d.arrivals.rate for d in free.disks if not isinstance(d.arrivals, Closed))
    reach = -math.log(OUT_OF_REACH)
    most += math.ceil(coming + math.sqrt(2.0 * coming * reach) + reach)
    law = dict(zip(states, pi.tolist(), strict=True))
    for (at, limit), end in zip(steps, [*(at for at, _ in steps[1:]), 0.0], strict=True):
        under = free if limit is None else limited(free, DepthLimit(limit))
        law = _after(under, law, most, end - at)
    return _drained(free, law, cut)


def _all_taken(engine: Engine) -> Engine:
    """The engine with the line that it holds itself left to the device: all accepted or, from rings, in flight."""
    device, slots = engine.device, engine.queue_length
    if engine.hold == "engine":
        slots = None
        if engine.queue_length is not None and device is not None and device.servers is not None:
            law = device.service if device.service is not None else dict(device.operations or ())
            device = Device(min(device.servers, engine.queue_length), law)
    return Engine(engine.disks, device, slots, "ring", engine.shares)


def _given(engine: Engine, law: Law, present: tuple[int, ...]) -> Law:
    """The law when so many are present, in all or of each disk."""
    kept = {}
    for state, p in law.items():
        numbers = tuple(number_of_each(state, len(engine.disks)))
        if present in (numbers, (sum(numbers),)):
            kept[state] = p
    total = math.fsum(kept.values())
    if not total > 0.0:
        raise ValueError(f"population must be a number that the engine has at times, not {present}")
    return {state: p / total for state, p in kept.items()}


def _after(engine: Engine, law: Law, most: float, t: float) -> Law:
    """The law after t [s] in an engine whose limits begin now."""
    begun: Law = {}
    for state, p in law.items():
        if p > 0.0:
            for q, into in settle(engine, state):
                begun[into] = begun.get(into, 0.0) + p * q
    if t == 0.0:
        return begun
    found = explored(engine, most, list(begun), MOST_DURING)
    if found is None:
        raise ValueError(f"the schedule leads to more than {MOST_DURING} states")
    states, rows, columns, rates = found
    moves = csr_array((rates, (rows, columns)), shape=(len(states), len(states)))
    leaving = np.asarray(moves.sum(axis=1)).ravel() - moves.diagonal()
    clock = float(leaving.max()) or 1.0
    if clock * t * len(states) > MOST_WORK:
        raise ValueError(f"the chain of this engine, {len(states)} states, is too much to follow for {t:.3g} s")
    step = csr_array(((moves - diags_array(moves.diagonal() + leaving)) / clock + eye_array(len(states))).T)
    x = np.zeros(len(states))
    x[: len(begun)] = list(begun.values())
    first, weights = poisson_window(clock * t)
    total = np.zeros(len(states))
    for k in range(first + len(weights)):
        if k >= first:
            total += weights[k - first] * x
        x = step @ x
    return dict(zip(states, total.tolist(), strict=True))


def _drained(engine: Engine, law: Law, cut: float) -> DrainTime:
    """The drain from the law of the states at the stop."""
    first: Law = {}
    for state, p in law.items():
        waited_for = state._replace(
            guest=(0,) * len(state.guest),
            line=() if engine.hold == "ring" else state.line,
            bursts=(0,) * len(state.bursts),
        )
        first[waited_for] = first.get(waited_for, 0.0) + p
    rates, states = _finishing(engine, list(first))
    number = [sum(number_of_each(state, len(engine.disks))) for state in states]
    x = np.zeros(len(states))
    x[: len(first)] = list(first.values())
    left = np.array([n > 0 for n in number])
    among = csc_array(csr_array(rates - diags_array(np.asarray(rates.sum(axis=1)).ravel()))[left][:, left])
    start, mean, square = x[left], 0.0, 0.0
    alive = np.zeros(1)
    if len(start):
        solver = splu(-among)
        once = solver.solve(np.ones(len(start)))
        mean, square = float(start @ once), 2.0 * float(start @ solver.solve(once))
        clock = float(-among.diagonal().min())
        tick = csr_array((among / clock + eye_array(len(start))).T)
        passed, y = [float(start.sum())], start
        while passed[-1] > TAIL:
            y = tick @ y
            passed.append(float(y.sum()))
        alive = np.array(passed)
    return DrainTime(
        method="joint_chain",
        exact=True,
        error_bounds=dict.fromkeys(("mean", "variance", "sf"), ROUNDING + cut),
        mean=mean,
        variance=max(square - mean * mean, 0.0),
        population_pmf=np.bincount(number, x).astype(np.float64),
        _sf=lambda t: at_ticks(clock * t, alive) if len(start) else 0.0,
    )


def _finishing(engine: Engine, states: list[State]) -> tuple[csr_array, list[State]]:
    """Rates among all states that are reached when nothing arrives, those given first."""
    number = {state: at for at, state in enumerate(states)}
    rows, columns, rates = [], [], []
    for at, state in enumerate(states):  # the list grows while it is walked
        for rate, after, finished in servings(engine, state):
            for p, into in ((1.0, after),) if finished is None else settle(engine, after):
                if into not in number:
                    number[into] = len(states)
                    states.append(into)
                rows.append(at)
                columns.append(number[into])
                rates.append(rate * p)
    return csr_array((rates, (rows, columns)), shape=(len(states), len(states))), states
