"""Any small engine, exactly: every state it can be in, one by one.

A state says who is where: requests in the engine's line and in each device's line, by disk and in their order; those
in service, by disk and phase; those that wait in the guest for room in their buffer; and the phases of the arrival
processes. From the empty engine the chain is explored until no new state turns up, and its stationary law found by
sparse elimination. This covers what the other methods leave out or approximate: caps, phase-type service of unlike
disks, devices of their own behind a line, bursty disks, closed guests with more requests than their buffer holds. But
the orders of a line are many, so it must be short.

Where open guests wait for room there is no end to the states. Then arrivals that find a total of M, guests included,
are left out, and M is raised, by how fast the total's law falls off, until they are fewer than `CUT` of all: what is
left out is stated in the error bounds.

The rules are the simulator's. An accepted request joins the engine's line; the oldest there whose disk is below its cap
takes a free slot and joins its device's line; the oldest there takes a free server. A saturated guest
submits again as soon as one of its requests has finished and its successor has been served.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array
from scipy.sparse.linalg import splu

from qtheory.arrivals import Closed, Poisson
from qtheory.engine import Disk, Engine
from qtheory.solve.population import total_blocking
from qtheory.solve.steady_state import QUANTITIES, DiskState, SteadyState

MOST_STATES = 20_000
CUT = 1e-9
"""Part of the arrivals that may be left out."""
FIRST_CUT = 16
ROUNDING = 1e-10
FOLLOWED = 200
"""Steps of the chain that find a likely state."""


class State(NamedTuple):
    """Where the requests are."""

    guest: tuple[int, ...]
    """Of each disk, waiting in the guest."""
    line: tuple[int, ...]
    """Disks of the requests in the engine's line, oldest first."""
    queues: tuple[tuple[int, ...], ...]
    """The same for each device's line."""
    served: tuple[tuple[tuple[int, int], ...], ...]
    """Disk and phase of the requests in service at each device, sorted."""
    bursts: tuple[int, ...]
    """Phase of each Markovian arrival process."""


def refusal(engine: Engine, states_at_most: int = MOST_STATES) -> str | None:
    """Why this method cannot answer for `engine`, or None."""
    for i, (disk, device) in enumerate(zip(engine.disks, engine.devices, strict=True)):
        if waits_without_end(disk) and engine.hold == "refuse":
            return f"disks[{i}] makes its guest wait for room beside refusals at queue_length"
        if device.service is None:
            return "a device is a rate curve"
        try:
            device.service.phase_type()
        except TypeError as error:
            return str(error)
    endless = sum(waits_without_end(disk) for disk in engine.disks)
    if math.comb(FIRST_CUT + endless, endless) > states_at_most:
        return f"it has more than {states_at_most} states"
    if _orders(engine) > MOST_STATES or stationary_states(engine, states_at_most) is None:
        return f"it has more than {states_at_most} states"
    return None


def solve(engine: Engine) -> SteadyState:
    """Solve an engine that has few states."""
    found = stationary_states(engine)
    assert found is not None
    states, pi, most, cut = found
    from qtheory.solve.joint_sojourn import JointSojourn  # which follows a request by the moves below

    disks = engine.disks
    total = np.zeros(engine.most + 1)
    laws = [np.zeros(disk.most + 1) for disk in disks]
    flow, offered, lost, waiting, in_guest = (np.zeros(len(disks)) for _ in range(5))
    devices = [engine.device] if engine.device else engine.devices
    flight, busy = 0.0, np.zeros(len(devices))
    phases = _phases(engine)
    for p, state in zip(pi, states, strict=True):
        present = number_of_each(state, len(disks))
        total[sum(present)] += p
        for i, n in enumerate(present):
            laws[i][n] += p
        for i in (*state.line, *(i for queue in state.queues for i in queue)):
            waiting[i] += p
        in_guest += p * np.array(state.guest)
        flight += p * (sum(map(len, state.queues)) + sum(map(len, state.served)))
        busy += p * np.array([len(serving) for serving in state.served])
        for i, phase in (request for serving in state.served for request in serving):
            flow[i] += p * phases[i][2][phase]
        for i, rate in _coming(engine, state):
            offered[i] += p * rate
            lost[i] += p * rate * (not _room(engine, i, present) and not disks[i].guest_waits)
    members = tuple(
        DiskState(
            throughput=float(flow[i]),
            blocking=float(lost[i] / offered[i]) if offered[i] else 0.0,
            mean_wait=float(waiting[i] / flow[i]),
            mean_response=float(laws[i] @ np.arange(len(laws[i])) / flow[i]),
            mean_in_system=float(laws[i] @ np.arange(len(laws[i]))),
            pmf=laws[i],
            mean_guest_wait=float((in_guest[i] + disks[i].always_in_guest) / flow[i]),
        )
        for i in range(len(disks))
    )
    throughput, mean = float(flow.sum()), float(total @ np.arange(len(total)))
    return SteadyState(
        method="joint_chain",
        exact=True,
        error_bounds=dict.fromkeys(QUANTITIES, ROUNDING + cut),
        warnings=(),
        throughput=throughput,
        blocking=total_blocking(disks, members),
        mean_wait=float(waiting.sum()) / throughput,
        mean_response=mean / throughput,
        mean_in_system=mean,
        mean_in_flight=float(flight),
        utilization=float(np.mean(busy / [device.servers or 1 for device in devices])),
        in_system_pmf=total,
        disks=members,
        _sojourns=((1.0, JointSojourn(engine, states, pi, most)),),
    )


@lru_cache(maxsize=4)
def stationary_states(
    engine: Engine, states_at_most: int = MOST_STATES
) -> tuple[list[State], NDArray[np.float64], float, float] | None:
    """All states that can be reached, their stationary law, the largest total, and what was left out; None: too many.

    The part of the arrivals left out, times the largest total, bounds what they would add to a mean, nearly: beyond
    that total the law falls off geometrically.
    """
    without_end = any(waits_without_end(disk) for disk in engine.disks)
    most = max(FIRST_CUT, 2 * engine.most) if without_end else math.inf
    while True:
        found = explored(engine, most, [_at_first(engine)], states_at_most)
        if found is None:
            return None
        states, rows, columns, rates = found
        pi = _stationary(len(states), rows, columns, rates)
        total = np.array([sum(number_of_each(state, len(engine.disks))) + sum(state.guest) for state in states])
        left_out = float(pi[total == most].sum())
        if left_out <= CUT:
            mean = float(pi @ total)
            return states, pi, most, left_out * most / mean if without_end else 0.0
        before = float(pi[total == most - 1].sum())
        decay = min(left_out / before, 0.99)
        most += max(2, math.ceil(math.log(0.5 * CUT / left_out) / math.log(decay)))


Explored = tuple[list[State], list[int], list[int], list[float]]


def explored(engine: Engine, most: float, first: Sequence[State], states_at_most: int) -> Explored | None:
    """All states that are reached from the first, with up to `most` requests, and the rates between them; None if they
    are too many."""
    states = list(first)
    number = {state: at for at, state in enumerate(states)}
    rows: list[int] = []
    columns: list[int] = []
    rates: list[float] = []

    def enter(state: State) -> int:
        if state not in number:
            number[state] = len(states)
            states.append(state)
        return number[state]

    for at in range(len(engine.disks) * 10**9):  # the list grows while it is walked
        if at == len(states):
            return states, rows, columns, rates
        if len(states) > states_at_most:
            return None
        for rate, after in moves(engine, states[at], most):
            rows.append(at)
            columns.append(enter(after))
            rates.append(rate)
    raise AssertionError("unreachable")


def _at_first(engine: Engine) -> State:
    """A state that the engine comes back to: empty, but for the requests of saturated disks."""
    devices = 1 if engine.shared else len(engine.disks)
    state = State((0,) * len(engine.disks), (), ((),) * devices, ((),) * devices, (0,) * len(engine.streams))
    for i, disk in enumerate(engine.disks):
        for _ in range(_circulating(disk) if disk.saturated else 0):
            state = next(after for _, after in _submit(engine, state, i))
    return state


def moves(engine: Engine, state: State, most: float) -> Iterator[tuple[float, State]]:
    """What can happen next, at which rate."""
    present = number_of_each(state, len(engine.disks))
    full = sum(present) + sum(state.guest) >= most
    for i, disk in enumerate(engine.disks):
        rate = 0.0 if full else _arrival_rate(disk, present[i] + state.guest[i])
        if rate > 0.0 and (_room(engine, i, present) or _waits(disk, present[i])):
            for p, after in _submit(engine, state, i):
                yield rate * p, after
    for s, stream in enumerate(engine.streams):
        j = state.bursts[s]
        for k, (silent, arriving) in enumerate(zip(stream.process.D0[j], stream.process.D1[j], strict=True)):
            on = state._replace(bursts=_put(state.bursts, s, k))
            if k != j and silent > 0.0:
                yield float(silent), on
            for i, share in zip(stream.disks, stream.shares, strict=True):
                taken = not full and (_room(engine, i, present) or _waits(engine.disks[i], present[i]))
                if arriving > 0.0 and taken:
                    for p, after in _submit(engine, on, i):
                        yield float(arriving) * share * p, after
                elif arriving > 0.0 and k != j:
                    yield float(arriving) * share, on
    for rate, after, finished in servings(engine, state):
        if finished is None:
            yield rate, after
        else:
            for p, again in _finished(engine, after, finished):
                yield rate * p, again


def servings(engine: Engine, state: State) -> Iterator[tuple[float, State, int | None]]:
    """What the servers do next, at which rate: a change of phase, or a request of the disk named leaves its server."""
    phases = _phases(engine)
    for d, serving in enumerate(state.served):
        for (i, phase), copies in Counter(serving).items():
            _, change, leave = phases[i % len(phases)]
            rest = list(serving)
            rest.remove((i, phase))
            for to in np.flatnonzero(change[phase]):
                moved = tuple(sorted((*rest, (i, int(to)))))
                yield copies * float(change[phase, to]), state._replace(served=_put(state.served, d, moved)), None
            if leave[phase] > 0.0:
                freed = state._replace(served=_put(state.served, d, tuple(rest)))
                yield copies * float(leave[phase]), freed, i % len(phases)


def joins(engine: Engine, state: State, most: float) -> Iterator[tuple[float, State]]:
    """How a request can be accepted next, marked by a code beyond those of the disks, at which rate."""
    disks = len(engine.disks)
    present = number_of_each(state, disks)
    full = sum(present) + sum(state.guest) >= most

    def accept(state: State, i: int) -> Iterator[tuple[float, State]]:
        return settle(engine, state._replace(line=(*state.line, i + disks)))

    for i, disk in enumerate(engine.disks):
        rate = _arrival_rate(disk, present[i] + state.guest[i])
        if rate > 0.0 and not full and _room(engine, i, present):
            for p, after in accept(state, i):
                yield rate * p, after
    for s, stream in enumerate(engine.streams):
        for k, arriving in enumerate(stream.process.D1[state.bursts[s]]):
            on = state._replace(bursts=_put(state.bursts, s, k))
            for i, share in zip(stream.disks, stream.shares, strict=True):
                if arriving > 0.0 and not full and _room(engine, i, present):
                    for p, after in accept(on, i):
                        yield float(arriving) * share * p, after
    for d, serving in enumerate(state.served):
        for (i, phase), copies in Counter(serving).items():
            leave = float(_phases(engine)[i][2][phase])
            rest = list(serving)
            rest.remove((i, phase))
            if leave > 0.0:
                for p, settled in settle(engine, state._replace(served=_put(state.served, d, tuple(rest)))):
                    if _submits_again(engine, settled, i):
                        for q, after in _submit_again(engine, settled, i, i + disks):
                            yield copies * leave * p * q, after


def _finished(engine: Engine, state: State, i: int) -> Iterator[tuple[float, State]]:
    """After a request of disk i has left: successors start, and its guest may submit again."""
    for p, settled in settle(engine, state):
        if not _submits_again(engine, settled, i):
            yield p, settled
            continue
        for q, after in _submit_again(engine, settled, i, i):
            yield p * q, after


def _submits_again(engine: Engine, state: State, i: int) -> bool:
    """Whether disk i's guest has a request to submit at once when one has left."""
    return state.guest[i] > 0 or engine.disks[i].saturated


def _submit_again(engine: Engine, state: State, i: int, code: int) -> Iterator[tuple[float, State]]:
    """The guest of disk i submits what it has held back; the request goes by `code`."""
    taken = state._replace(guest=_put(state.guest, i, max(state.guest[i] - 1, 0)))
    yield from settle(engine, taken._replace(line=(*taken.line, code)))


def _submit(engine: Engine, state: State, i: int) -> Iterator[tuple[float, State]]:
    """A request of disk i comes: into the line, or to wait in the guest while the buffer is full."""
    if number_of_each(state, len(engine.disks))[i] >= engine.disks[i].buffer:
        yield 1.0, state._replace(guest=_put(state.guest, i, state.guest[i] + 1))
    else:
        yield from settle(engine, state._replace(line=(*state.line, i)))


def settle(engine: Engine, state: State) -> Iterator[tuple[float, State]]:
    """Free slots and servers are taken; each way in which the phases may fall, with its probability."""
    disks = len(engine.disks)
    in_flight = Counter(code % disks for queue in state.queues for code in queue)
    in_flight.update(code % disks for serving in state.served for code, _ in serving)
    slots = engine.queue_length or math.inf
    for place, code in enumerate(state.line):
        i = code % disks
        if sum(in_flight.values()) < slots and (engine.caps is None or in_flight[i] < engine.caps[i]):
            d = 0 if engine.shared else i
            queues = _put(state.queues, d, (*state.queues[d], code))
            line = state.line[:place] + state.line[place + 1 :]
            yield from settle(engine, state._replace(line=line, queues=queues))
            return
    for d, queue in enumerate(state.queues):
        device = engine.device or engine.devices[d]
        if queue and len(state.served[d]) < (device.servers or 0):
            alpha = _phases(engine)[queue[0] % disks][0]
            for phase in np.flatnonzero(alpha):
                serving = tuple(sorted((*state.served[d], (queue[0], int(phase)))))
                started = state._replace(queues=_put(state.queues, d, queue[1:]), served=_put(state.served, d, serving))
                for p, after in settle(engine, started):
                    yield float(alpha[phase]) * p, after
            return
    yield 1.0, state


def _room(engine: Engine, i: int, present: list[int]) -> bool:
    """Whether a request of disk i is accepted."""
    room = engine.disks[i].buffer
    if engine.hold == "refuse":
        room = min(room, room if engine.caps is None else engine.caps[i], engine.most - sum(present) + present[i])
    return present[i] < room


def _waits(disk: Disk, present: int) -> bool:
    """Whether a request waits in the guest."""
    return disk.guest_waits and present >= disk.buffer


def _arrival_rate(disk: Disk, out: int) -> float:
    """Arrival rate with `out` of the disk's requests in the system or waiting in the guest; of bursts 0."""
    if isinstance(disk.arrivals, Poisson):
        return disk.arrivals.rate
    if disk.bursty or disk.saturated:
        return 0.0
    assert isinstance(disk.arrivals, Closed)
    return (disk.arrivals.outstanding - out) / disk.arrivals.think_time


def _coming(engine: Engine, state: State) -> Iterator[tuple[int, float]]:
    """Open disks and the rates at which their requests come."""
    for i, disk in enumerate(engine.disks):
        if isinstance(disk.arrivals, Poisson):
            yield i, disk.arrivals.rate
    for stream, j in zip(engine.streams, state.bursts, strict=True):
        for i, share in zip(stream.disks, stream.shares, strict=True):
            yield i, share * float(stream.process.D1[j].sum())


def waits_without_end(disk: Disk) -> bool:
    """Whether any number of the disk's requests may wait in its guest."""
    return not isinstance(disk.arrivals, Closed) and disk.full == "wait"


def _circulating(disk: Disk) -> int:
    return disk.arrivals.outstanding if isinstance(disk.arrivals, Closed) else 0


def number_of_each(state: State, disks: int) -> list[int]:
    """Requests of each disk in the system."""
    present = [0] * disks
    for code in (*state.line, *(code for queue in state.queues for code in queue)):
        present[code % disks] += 1
    for code, _ in (request for serving in state.served for request in serving):
        present[code % disks] += 1
    return present


@lru_cache(maxsize=4)
def _phases(engine: Engine) -> tuple[tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]], ...]:
    """Of each disk's service: initial phases, rates between phases, rates of leaving."""
    found = []
    for device in engine.devices:
        assert device.service is not None
        law = device.service.phase_type()
        found.append((law.alpha, law.T - np.diag(np.diag(law.T)), np.maximum(-law.T.sum(axis=1), 0.0)))
    return tuple(found)


def _put(values: tuple, at: int, value: object) -> tuple:  # type: ignore[type-arg]
    return (*values[:at], value, *values[at + 1 :])


def _orders(engine: Engine) -> float:
    """In how many orders the requests can stand, those in service left out: a lower bound on the states, nearly."""
    slack = sum(device.servers or 0 for device in ([engine.device] if engine.device else engine.devices))
    longest = min(max(engine.most - slack, 0), 149)
    factorials = np.array([float(math.factorial(k)) for k in range(longest + 1)])
    words, counted = np.ones(1), 1.0
    for disk in engine.disks:
        words = np.convolve(words, 1.0 / factorials[: disk.most + 1])[: longest + 1]
        counted = float(factorials[: len(words)] @ words)
        if counted > MOST_STATES:
            break
    return counted


def _stationary(n: int, rows: list[int], columns: list[int], rates: list[float]) -> NDArray[np.float64]:
    """Stationary law: balance in every state but one, whose probability is set to 1 until all is normalized.

    That is a likely state, found by following the chain for a while: where it begins may be next to impossible later.
    """
    q = csc_array((rates, (rows, columns)), shape=(n, n))
    q.setdiag(q.diagonal() - np.asarray(q.sum(axis=1)).ravel())
    if n == 1:
        return np.ones(1)
    balance = csc_array(q.T)
    law, step = np.eye(1, n)[0], 1.0 / float(-q.diagonal().min())
    for _ in range(FOLLOWED):
        law = law + step * (balance @ law)
    one = int(np.argmax(law))
    others = np.delete(np.arange(n), one)
    rest = splu(csc_array(balance[others][:, others])).solve(-balance[others][:, [one]].toarray().ravel())
    pi = np.insert(np.maximum(rest, 0.0), one, 1.0)
    return np.asarray(pi / pi.sum())
