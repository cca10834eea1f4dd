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

import numpy as np
from numpy.typing import NDArray

from qtheory.engine import Engine
from qtheory.markov.merging import merge_all, split_all
from qtheory.solve.population import disk_state
from qtheory.solve.product_form import common_refusal
from qtheory.solve.steady_state import QUANTITIES, SteadyState


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
    slots = engine.queue_length
    assert slots is not None
    series = [
        (disk.most - np.arange(disk.most)) / device.rates(disk.most)
        for disk, device in zip(engine.disks, engine.devices, strict=True)
    ]
    root, kinds = merge_all(series, slots)
    total = np.zeros(slots + 1)
    total[slots] = 1.0
    laws = split_all(root, total)
    found = (laws[kind] for kind in kinds)
    return [np.pad(law, (0, disk.most + 1 - len(law))) for disk, law in zip(engine.disks, found, strict=True)]


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
        capacity.append(float(device.servers or max(device.curve or (0.0,))))
    throughput = sum(state.throughput for state in states)
    most = sum(disk.most for disk in engine.disks)
    pmf = np.zeros(most + 1)
    pmf[most] = 1.0
    rounding = 2.0**-52 * (16.0 + 32.0 * np.log2(len(states) + 1.0) * np.sqrt(slots))
    return SteadyState(
        method="saturated_line",
        exact=True,
        error_bounds=dict.fromkeys(QUANTITIES, float(rounding)),
        throughput=throughput,
        blocking=0.0,
        mean_wait=sum(s.throughput * s.mean_wait for s in states) / throughput,
        mean_response=most / throughput,
        mean_in_system=float(most),
        mean_in_flight=float(slots),
        utilization=sum(u / c for u, c in zip(used, capacity, strict=True)) / len(states),
        in_system_pmf=pmf,
        disks=tuple(states),
        _sojourns="the time through the line depends on how the devices' queues change meanwhile; use qt.simulate",
    )
