"""One device a disk behind a FIFO line for Q slots, approximately: a flow-equivalent station (Norton's theorem).

Replace the devices by one station whose completion rate with m requests in flight is the throughput of the closed
network in which exactly m requests circulate over the devices and go to disk i's with probability p_i,

    X(m) = G[m−1] / G[m],   G the product of the series Π_{j<=k} p_i/μ_i(j)

(Chandy, Herzog and Woo 1975), and solve one shared station with the rates X(min(n, Q)). The p_i are the disks' shares
of the throughput, found by iteration, since a full buffer or a closed guest makes them depend on the answer. Exact as
Q → ∞ while buffers do not bind; otherwise an approximation: which disks' requests fill the slots depends on what waits
behind them, and the station forgets that.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from qtheory.arrivals import Poisson
from qtheory.engine import Device, Engine
from qtheory.markov.merging import Group, merge_all, split_all
from qtheory.markov.sojourn import Servers
from qtheory.solve.product_form import common_refusal, continued, solve_station, station_population
from qtheory.solve.sojourn import LineThenDevice, Sojourn
from qtheory.solve.steady_state import QUANTITIES, SteadyState

AGREEMENT = 1e-10
ROUNDS = 200
TINY = np.finfo(float).tiny
"""A free slot may be so rare that its probability is 0: then what is found there does not matter."""

MEASURED = {
    "throughput": 0.17,
    "blocking": 1.20,
    "mean_wait": 1.10,
    "mean_response": 0.45,
    "mean_in_system": 0.45,
    "mean_in_flight": 0.10,
    "utilization": 0.17,
    "wait_quantile": 0.45,
    "response_quantile": 0.40,
}
"""Largest relative error against simulation over the grid of `validation/flow_equivalent.py`, half-widths included:
2 to 16 equal Poisson disks, buffers 4 and 32, 1 and 4 servers a disk, utilization 0.5 to 1.3, 0.5 to 2 slots a server;
blocking where above 1e-3."""


def refusal(engine: Engine) -> str | None:
    """Why this method cannot answer for `engine`, or None."""
    if engine.shared:
        return "one device serves all disks"
    if engine.caps is not None:
        return "the slots are divided by caps"
    if engine.hold == "refuse" or engine.queue_length is None:
        return "nothing waits for a slot"
    for i, disk in enumerate(engine.disks):
        if disk.saturated:
            return f"disks[{i}] is saturated"
    return common_refusal(engine)


def solve(engine: Engine) -> SteadyState:
    """Solve separate devices behind one line for Q slots by a flow-equivalent station."""
    slots = min(engine.queue_length or engine.most, engine.most)
    shares = np.array([disk.arrival_rates()[0] for disk in engine.disks])
    shares /= shares.sum()
    for _ in range(ROUNDS):
        rates = equivalent_rates(engine, shares, slots)
        state = solve_station(
            engine.disks,
            continued(rates, engine.most),
            slots,
            None,
            refused=False,
        )
        found = np.array([disk.throughput for disk in state.disks]) / state.throughput
        change, shares = float(np.max(np.abs(found / shares - 1.0))), found
        if change < AGREEMENT:
            break
    else:
        raise ValueError(f"flow_equivalent did not settle in {ROUNDS} rounds for this engine; use qt.simulate")
    disks = tuple(
        disk if device.service is None else replace(disk, mean_wait=max(disk.mean_response - device.service.mean, 0.0))
        for disk, device in zip(state.disks, engine.devices, strict=True)
    )
    used = [disk.throughput / device.capacity for disk, device in zip(disks, engine.devices, strict=True)]
    return replace(
        state,
        method="flow_equivalent",
        exact=False,
        error_bounds=MEASURED if measured(engine) else dict.fromkeys(QUANTITIES, math.inf),
        warnings=(
            "the slots are taken to be filled by the disks in proportion to their throughput; "
            + ("errors are large where buffers are short" if measured(engine) else "no error was measured here")
            + ": compare with qt.simulate",
        ),
        mean_wait=sum(disk.throughput * disk.mean_wait for disk in disks) / state.throughput,
        utilization=sum(used) / len(used),
        disks=disks,
        _sojourns=_sojourn(engine, shares, rates, state.in_system_pmf),
    )


def station(engine: Engine) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Shares, rates X(1), ..., X(slots) and law of the number present; equal disks take no iteration."""
    slots = min(engine.queue_length or engine.most, engine.most)
    if any(disk != engine.disks[0] for disk in engine.disks):
        state = solve(engine)
        shares = np.array([disk.throughput for disk in state.disks]) / state.throughput
        return shares, equivalent_rates(engine, shares, slots), state.in_system_pmf
    shares = np.full(len(engine.disks), 1.0 / len(engine.disks))
    rates = equivalent_rates(engine, shares, slots)
    return shares, rates, station_population(engine.disks, continued(rates, engine.most)).pmf


def throughput(engine: Engine) -> float:
    """Throughput alone."""
    _, rates, pmf = station(engine)
    return float(pmf[1:] @ rates[np.minimum(np.arange(len(pmf) - 1), len(rates) - 1)])


def _sojourn(
    engine: Engine, shares: NDArray[np.float64], rates: NDArray[np.float64], pmf: NDArray[np.float64]
) -> tuple[tuple[float, Sojourn], ...] | str:
    """Sojourn law: what departures leave behind arrivals find, in all and, with m others, at the devices."""
    if any(device.service is None for device in engine.devices):
        return "the time at a device given by a rate curve is not followed behind a line; use qt.simulate"
    slots = len(rates)
    completion = rates[np.minimum(np.arange(len(pmf) - 1), slots - 1)]
    found = pmf[1:] * completion
    found /= found.sum()
    line = np.concatenate([[found[:slots].sum()], found[slots:]])
    root, kinds = _network(engine, shares, slots)

    def devices(others: NDArray[np.float64]) -> list[tuple[float, Servers]]:
        laws = split_all(root, others / max(others.sum(), TINY))
        weights: dict[tuple[int, Device], float] = {}
        for kind, device, share in zip(kinds, engine.devices, shares, strict=True):
            weights[kind, device] = weights.get((kind, device), 0.0) + float(share)
        return [
            (weight, Servers(laws[kind], device.servers, 1.0 / device.service.mean))
            for (kind, device), weight in weights.items()
            if device.servers is not None and device.service is not None
        ]

    behind_line = np.zeros(slots)
    behind_line[-1] = 1.0
    return ((1.0, LineThenDevice(line, float(rates[-1]), devices(found[:slots]), devices(behind_line))),)


def measured(engine: Engine) -> bool:
    """Whether `engine` lies within the grid that MEASURED was measured on."""
    disk, slots = engine.disks[0], engine.queue_length
    if any(other != disk for other in engine.disks) or not isinstance(disk.arrivals, Poisson) or slots is None:
        return False
    servers, law = engine.devices[0].servers, engine.laws[0]
    if servers is None or law is None:
        return False
    utilization = disk.arrivals.rate * law.mean / servers
    return (
        2 <= len(engine.disks) <= 16
        and 4 <= disk.buffer <= 32
        and 1 <= servers <= 4
        and 0.5 <= utilization <= 1.3
        and 0.5 <= slots / (servers * len(engine.disks)) <= 2.0
    )


def equivalent_rates(engine: Engine, shares: NDArray[np.float64], slots: int) -> NDArray[np.float64]:
    """X(1), ..., X(slots): throughput of the closed network of the devices with 1, 2, ... requests."""
    return 1.0 / _network(engine, shares, slots)[0].ratios


def _network(engine: Engine, shares: NDArray[np.float64], slots: int) -> tuple[Group, list[int]]:
    """The devices as a closed network of up to `slots` requests that go to disk i's with probability shares[i]."""
    series = [
        share / device.rates(min(slots, disk.most))
        for share, disk, device in zip(shares, engine.disks, engine.devices, strict=True)
    ]
    return merge_all(series, slots)
