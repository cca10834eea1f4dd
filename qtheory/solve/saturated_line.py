"""Saturated guests, one device a disk, behind one FIFO line for Q slots, exactly.

Every disk always has K_i requests: n_i at its device, the other K_i − n_i in the line, Σ n_i = Q. A completion sends
its request to the tail of the line, and the head of the line goes to its disk's device. With completion rates μ_i(k)

    P(n_1, ..., n_N) ∝ Π_i 1 / [ (K_i − n_i)! Π_{j<=n_i} μ_i(j) ],    Σ n_i = Q,

because every order of the line is equally likely. Proof: let the state be the ordered line l_1 ... l_L, which decides
the n_i, and try π(line) = Π_i 1/Π_{j<=n_i} μ_i(j). The line is left at rate Σ_i μ_i(n_i). It is entered from every line
h l_1 ... l_{L−1} by a completion of disk l_L, where disk h had one less and disk l_L one more at its device: at rate
π · μ_h(n_h) each. Summed over h both sides are equal. The number of orders with given n_i is L! / Π (K_i − n_i)!.

For N equal single-server devices and K → ∞ this is X(Q)/X(∞) = Q/(Q + N − 1): losing at most a fraction ε needs
Q >= (N − 1)(1 − ε)/ε, linear in the number of disks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qtheory.engine import Disk, Engine
from qtheory.markov.merging import merge_all, split_all
from qtheory.markov.sojourn import Servers
from qtheory.solve.population import disk_state
from qtheory.solve.product_form import common_refusal
from qtheory.solve.sojourn import LineThenDevice, Sojourn
from qtheory.solve.steady_state import QUANTITIES, SteadyState

QUANTILE_ERROR = 0.08
"""Largest relative error of the median and the 99 % quantile over the grid of `validation/saturated_line.py`: 2 to 16
equal disks of 2 to 32 requests, 1 and 4 servers each, a quarter to nine tenths of the requests submitted."""


def refusal(engine: Engine) -> str | None:
    """Why this method cannot answer for `engine`, or None."""
    if engine.shared:
        return "one device serves all disks"
    if engine.caps is not None:
        return "the slots are divided by caps"
    if not all(disk.saturated for disk in engine.disks):
        return "not every guest is saturated"
    if engine.queue_length is None or engine.queue_length >= engine.most:
        return "there is a slot for every request, so no line"
    return common_refusal(engine)


def at_devices(engine: Engine) -> list[NDArray[np.float64]]:
    """P(n_i = k at its device), k = 0..K_i, for each disk."""
    assert engine.queue_length is not None
    return _at_devices(engine, [disk.most for disk in engine.disks], engine.queue_length)


def line_series(engine: Engine, requests: Sequence[int]) -> list[NDArray[np.float64]]:
    """Ratios of the disks' series 1/[(K − n)! Π μ(j)] when disk i has K = requests[i]."""
    return [(k - np.arange(k)) / device.rates(k) for k, device in zip(requests, engine.devices, strict=True)]


def _at_devices(engine: Engine, requests: Sequence[int], slots: int) -> list[NDArray[np.float64]]:
    """P(n_i = k at its device) when disk i has requests[i] and `slots` of all are submitted."""
    root, kinds = merge_all(line_series(engine, requests), slots)
    total = np.zeros(slots + 1)
    total[slots] = 1.0
    laws = split_all(root, total)
    found = (laws[kind] for kind in kinds)
    return [np.pad(law, (0, k + 1 - len(law))) for k, law in zip(requests, found, strict=True)]


def solve(engine: Engine) -> SteadyState:
    """Solve saturated disks with their own devices behind one line for Q slots."""
    slots = engine.queue_length
    assert slots is not None
    states, used, capacity = [], [], []
    for disk, device, law in zip(engine.disks, engine.devices, at_devices(engine), strict=True):
        present = np.arange(disk.most + 1)
        rates = np.concatenate([[0.0], device.rates(disk.most)])
        throughput = float(rates @ law)
        busy = float(np.minimum(present, device.servers) @ law) if device.servers is not None else float(present @ law)
        all_present = np.zeros(disk.most + 1)
        all_present[-1] = 1.0
        # All wait but those in service.
        waiting = all_present * (disk.most - busy) / disk.most
        states.append(disk_state(disk, all_present, np.zeros(disk.most + 1), waiting, throughput))
        used.append(busy if device.servers is not None else throughput)
        capacity.append(float(device.servers or device.capacity))
    throughput = sum(state.throughput for state in states)
    most = sum(disk.most for disk in engine.disks)
    pmf = np.zeros(most + 1)
    pmf[most] = 1.0
    rounding = 2.0**-52 * (16.0 + 32.0 * np.log2(len(states) + 1.0) * np.sqrt(slots))
    sojourn = _sojourn(engine, [state.throughput for state in states])
    approximate = not isinstance(sojourn, str)
    return SteadyState(
        method="saturated_line",
        exact=True,
        error_bounds={
            **dict.fromkeys(QUANTITIES, float(rounding)),
            **dict.fromkeys(("wait_quantile", "response_quantile") if approximate else (), _quantile_error(engine)),
        },
        warnings=("quantiles are approximate: the line is taken to move at its mean rate",) if approximate else (),
        throughput=throughput,
        blocking=0.0,
        mean_wait=sum(s.throughput * s.mean_wait for s in states) / throughput,
        mean_response=most / throughput,
        mean_in_system=float(most),
        mean_in_flight=float(slots),
        utilization=sum(u / c for u, c in zip(used, capacity, strict=True)) / len(states),
        in_system_pmf=pmf,
        disks=tuple(states),
        _sojourns=sojourn,
    )


def _sojourn(engine: Engine, throughputs: list[float]) -> tuple[tuple[float, Sojourn], ...] | str:
    """Sojourn law, approximately: the line moves at the mean throughput X, and the devices do not remember it.

    A request that comes back joins a line that it leaves with the L-th completion, L = Σ K_i − Q. At its device it
    finds what Q − 1 others do in an engine where its own disk has one request less, as in a closed network.
    """
    if any(device.service is None for device in engine.devices):
        return "the time at a device given by a rate curve is not followed behind a line; use qt.simulate"
    total = sum(throughputs)
    line = np.zeros(engine.most - (engine.queue_length or 0) + 1)
    line[-1] = 1.0
    weights: dict[Disk, float] = {}
    for disk, throughput in zip(engine.disks, throughputs, strict=True):
        weights[disk] = weights.get(disk, 0.0) + throughput / total
    devices = []
    for i, (disk, device) in enumerate(zip(engine.disks, engine.devices, strict=True)):
        if disk in weights and device.servers is not None and device.service is not None:
            law = _found(engine, i)
            devices.append((weights.pop(disk), Servers(law, device.servers, 1.0 / device.service.mean)))
    return ((1.0, LineThenDevice(line, total, devices, devices)),)


def _quantile_error(engine: Engine) -> float:
    """What was measured, or inf."""
    disk, slots = engine.disks[0], engine.queue_length or 0
    alike = all(other == disk for other in engine.disks)
    servers = disk.device.servers if disk.device is not None else None
    inside = 2 <= len(engine.disks) <= 16 and 2 <= disk.most <= 32 and servers is not None and servers <= 4
    return QUANTILE_ERROR if alike and inside and 0.25 <= slots / engine.most <= 0.9 else math.inf


def _found(engine: Engine, own: int) -> NDArray[np.float64]:
    """Law of the others that a request of disk `own` finds at its device."""
    assert engine.queue_length is not None
    others = [disk.most - (i == own) for i, disk in enumerate(engine.disks)]
    return _at_devices(engine, others, engine.queue_length - 1)[own]
