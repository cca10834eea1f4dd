"""The slow, obvious twin of every exact solver: write down the generator of the chain, solve π Q = 0.

The state holds the ordered content of the engine, so nothing about the product form is assumed. For small engines only.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from qtheory import Closed, Engine, Poisson

State = tuple[tuple[int, ...], tuple[int, ...]]
"""Disks of the submitted requests in order of submission, disks of those waiting for a slot in order of arrival."""


@dataclass(frozen=True)
class Brute:
    """Stationary quantities by brute force, in the words of SteadyState."""

    throughput: float
    blocking: float
    mean_wait: float
    mean_response: float
    mean_in_system: float
    mean_in_flight: float
    in_system_pmf: np.ndarray
    disk_throughput: list[float]
    disk_blocking: list[float]
    disk_mean_wait: list[float]
    disk_pmf: list[np.ndarray]
    states: list[State]
    probabilities: np.ndarray


def service_rates(engine: Engine, submitted: tuple[int, ...]) -> list[float]:
    """Completion rate of each submitted request."""
    rates = [0.0] * len(submitted)
    groups = (
        [list(range(len(submitted)))]
        if engine.shared
        else [[j for j, d in enumerate(submitted) if d == i] for i in range(len(engine.disks))]
    )
    for i, group in enumerate(groups):
        if not group:
            continue
        device = engine.devices[i]
        total = float(device.rates(len(group))[-1])
        if device.servers is None:
            for j in group:
                rates[j] = total / len(group)
        else:
            for j in group[: device.servers]:
                rates[j] = 1.0 / device.service.mean
    return rates


def brute_force(engine: Engine) -> Brute:
    """Explore the reachable states from a start, solve, and average."""
    disks = engine.disks
    q = engine.queue_length if engine.queue_length is not None else sum(d.most for d in disks)
    caps = engine.caps or tuple(d.most for d in disks)

    def fill(submitted: tuple[int, ...], line: tuple[int, ...]) -> State:
        submitted_list, line_list = list(submitted), list(line)
        moved = True
        while moved and len(submitted_list) < q:
            moved = False
            for j, d in enumerate(line_list):
                if submitted_list.count(d) < caps[d]:
                    submitted_list.append(line_list.pop(j))
                    moved = True
                    break
        return tuple(submitted_list), tuple(line_list)

    def present(state: State, i: int) -> int:
        return state[0].count(i) + state[1].count(i)

    def arrive(state: State, i: int) -> State | None:
        if present(state, i) >= disks[i].buffer:
            return None
        if engine.hold == "refuse" and (len(state[0]) + len(state[1]) >= q or present(state, i) >= caps[i]):
            return None
        return fill(state[0], (*state[1], i))

    def rate_of_arrival(state: State, i: int) -> float:
        arrivals = disks[i].arrivals
        if isinstance(arrivals, Poisson):
            return arrivals.rate
        assert isinstance(arrivals, Closed)
        if arrivals.think_time == 0.0:
            return 0.0
        return (arrivals.outstanding - present(state, i)) / arrivals.think_time

    start: State = ((), ())
    for i, disk in enumerate(disks):
        if disk.saturated:
            for _ in range(disk.most):
                start = arrive(start, i) or start
    index = {start: 0}
    todo = deque([start])
    moves: list[tuple[int, int, float]] = []

    def visit(state: State) -> int:
        if state not in index:
            index[state] = len(index)
            todo.append(state)
        return index[state]

    while todo:
        state = todo.popleft()
        here = index[state]
        for i in range(len(disks)):
            rate = rate_of_arrival(state, i)
            after = arrive(state, i)
            if rate > 0.0 and after is not None:
                moves.append((here, visit(after), rate))
        for j, rate in enumerate(service_rates(engine, state[0])):
            if rate > 0.0:
                i = state[0][j]
                after = fill(state[0][:j] + state[0][j + 1 :], state[1])
                if disks[i].saturated:
                    after = arrive(after, i) or after
                moves.append((here, visit(after), rate))
    size = len(index)
    generator = np.zeros((size, size))
    for a, b, rate in moves:
        generator[a, b] += rate
        generator[a, a] -= rate
    system = np.vstack([generator.T, np.ones(size)])
    pi = np.linalg.lstsq(system, np.append(np.zeros(size), 1.0), rcond=None)[0]

    n_disks = len(disks)
    accepted, offered, refused = np.zeros(n_disks), np.zeros(n_disks), np.zeros(n_disks)
    mean, waiting, in_flight = np.zeros(n_disks), np.zeros(n_disks), 0.0
    total = np.zeros(sum(d.most for d in disks) + 1)
    pmfs = [np.zeros(d.most + 1) for d in disks]
    for state, k in index.items():
        rates = service_rates(engine, state[0])
        in_flight += pi[k] * len(state[0])
        total[len(state[0]) + len(state[1])] += pi[k]
        for i, disk in enumerate(disks):
            here = present(state, i)
            mean[i] += pi[k] * here
            pmfs[i][here] += pi[k]
            waiting[i] += pi[k] * state[1].count(i)
            if engine.devices[i].servers is not None:
                waiting[i] += pi[k] * sum(1 for j, d in enumerate(state[0]) if d == i and rates[j] == 0.0)
            accepted[i] += pi[k] * sum(r for j, r in enumerate(rates) if state[0][j] == i)
            if isinstance(disk.arrivals, Poisson):
                offered[i] += pi[k] * disk.arrivals.rate
                refused[i] += pi[k] * disk.arrivals.rate * (arrive(state, i) is None)
    lost = refused.sum()
    return Brute(
        throughput=accepted.sum(),
        blocking=lost / (accepted.sum() + lost),
        mean_wait=waiting.sum() / accepted.sum(),
        mean_response=mean.sum() / accepted.sum(),
        mean_in_system=mean.sum(),
        mean_in_flight=in_flight,
        in_system_pmf=total,
        disk_throughput=accepted.tolist(),
        disk_blocking=[r / o if o > 0 else 0.0 for r, o in zip(refused, offered, strict=True)],
        disk_mean_wait=(waiting / accepted).tolist(),
        disk_pmf=pmfs,
        states=list(index),
        probabilities=pi,
    )
