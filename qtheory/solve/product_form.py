"""The shared engine, exactly: product form with a finite buffer for each disk.

Disk i sends requests at rate λ_i(k) when it has k < K_i in the system: λ_i for Poisson arrivals that are lost at a full
buffer, (M_i − k)/Z_i for a closed guest. All requests have exponential service of one rate, the device completes
requests at total rate μ(n) when n are present. Then

    P(n_1, ..., n_N) ∝ n! / Π_{j<=n} μ(j) · Π_i [ Π_{k<n_i} λ_i(k) / n_i! ],    n = Σ n_i,  n_i <= K_i,

for one line served first come, first served, or any order that does not look at the future, because the ordered state
has partial balance disk by disk: what a disk's arrivals take out of a state, its departures bring back (Kelly 1979,
theorem 3.1; the buffer limits cut the state space without breaking a balance). A limit Q on what is submitted makes
μ(n) = μ(min(n, Q)) when the rest waits, and cuts at n <= Q when the rest is refused.

Given n present, the total arrival rate is Λ(n) = (n+1) G[n+1]/G[n] with G the product of the disks' series. An accepted
request finds j others with probability P(j+1) μ(j+1) / X: what departures leave behind, arrivals find.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qtheory.engine import Device, Disk, Engine
from qtheory.laws import Exponential
from qtheory.markov.merging import arrival_rates
from qtheory.markov.sojourn import Servers
from qtheory.solve.population import Population, disk_state, population, total_blocking
from qtheory.solve.sojourn import Curve, Sojourn
from qtheory.solve.steady_state import QUANTITIES, SteadyState


def refusal(engine: Engine) -> str | None:
    """Why this method cannot answer for `engine`, or None."""
    if not engine.shared:
        return "each disk has its own device"
    if engine.caps is not None:
        return "the slots are divided by caps"
    if not engine.one_law:
        return "the disks have different service laws at one device"
    return common_refusal(engine)


def common_refusal(engine: Engine) -> str | None:
    """What no method here covers: guests that wait for room, bursty arrivals, and service that is not exponential."""
    for i, (disk, device) in enumerate(zip(engine.disks, engine.devices, strict=True)):
        if disk.bursty:
            return f"the arrivals of disks[{i}] are not Poisson"
        if disk.guest_waits and not disk.saturated:
            return f"disks[{i}] makes its guest wait for room in the buffer"
        if device.service is not None and not isinstance(device.service, Exponential):
            return f"the service law of disks[{i}] is not exponential"
    return None


def solve(engine: Engine) -> SteadyState:
    """Solve an engine with one shared exponential (or rate-curve) device and one FIFO line."""
    return solve_station(engine.disks, *station_rates(engine), engine.devices[0], refused=engine.hold == "refuse")


def station_rates(engine: Engine, limit: int | None = None) -> tuple[NDArray[np.float64], int]:
    """Completion rates with 1, 2, ..., most present, and the slots that can be used, at most `limit` of them."""
    slots = min(engine.queue_length or engine.most, engine.most, limit or engine.most)
    return continued(engine.devices[0].rates(slots), engine.most), slots


def continued(rates: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """The rates, the last of them kept up to `most` present: what is beyond the slots waits."""
    return np.concatenate([rates, np.full(most - len(rates), rates[-1])])


def station_population(disks: tuple[Disk, ...], rates: NDArray[np.float64], reach: int | None = None) -> Population:
    """Numbers present at one station with completion rates `rates[n−1]`, totals up to len(rates)."""
    free = [disk for disk in disks if not disk.saturated]
    series = [disk.arrival_rates() / np.arange(1, disk.most + 1) for disk in free]
    constant = sum(disk.most for disk in disks if disk.saturated)
    # F(n) = n! / Π μ(j)
    return population(disks, series, np.arange(constant + 1, len(rates) + 1) / rates[constant:], reach)


def throughput(engine: Engine) -> float:
    """Throughput alone, without the laws of the disks."""
    rates, _ = station_rates(engine)
    pmf = station_population(engine.disks, rates).pmf
    return float(pmf[1:] @ rates[: len(pmf) - 1])


def solve_station(
    disks: tuple[Disk, ...],
    rates: NDArray[np.float64],
    slots: int,
    device: Device | None,
    *,
    refused: bool,
) -> SteadyState:
    """Steady state of a station with completion rates `rates`; `device` None where the rates stand for several."""
    number = station_population(disks, rates)
    pmf = number.pmf
    totals = np.arange(len(pmf))
    death = rates[: len(pmf) - 1]
    flow = np.concatenate([[0.0], pmf[1:] * death])
    throughput = float(flow.sum())
    servers = None if device is None else device.servers
    starting = slots if servers is None else min(servers, slots)
    waiting = np.maximum(totals - starting, 0)

    # Given the numbers present every order of the line is equally likely, so a disk's part of what waits, or of what is
    # completed, is its part of what is present.
    present = np.maximum(totals, 1)
    full = np.where(totals == slots, pmf, 0.0) if refused else np.zeros(len(pmf))
    states = tuple(
        disk_state(disk, accepting, at_full, in_line, _throughput(disk, accepting, flow / present))
        for disk, accepting, at_full, in_line in zip(
            disks, number.split(pmf - full), number.split(full), number.split(pmf * waiting / present), strict=True
        )
    )
    mean = float(totals @ pmf)
    sojourn, warnings = _sojourn(number, flow[1:] / throughput, death, slots, device)
    return SteadyState(
        method="product_form",
        exact=True,
        error_bounds=dict.fromkeys(QUANTITIES, number.rounding),
        warnings=warnings,
        throughput=throughput,
        blocking=total_blocking(disks, states),
        mean_wait=float(waiting @ pmf) / throughput,
        mean_response=mean / throughput,
        mean_in_system=mean,
        mean_in_flight=float(np.minimum(totals, slots) @ pmf),
        utilization=throughput / (float(rates.max()) if device is None else device.capacity)
        if servers is None
        else float(np.minimum(totals, starting) @ pmf) / servers,
        in_system_pmf=pmf,
        disks=states,
        _sojourns=sojourn if isinstance(sojourn, str) else ((1.0, sojourn),),
    )


def _throughput(disk: Disk, accepting: NDArray[np.float64], shares: NDArray[np.float64]) -> float:
    """Arrivals accepted; of a saturated disk, whose rate is infinite, completions: its constant part of `shares`."""
    return disk.most * float(shares.sum()) if disk.saturated else float(accepting[:-1] @ disk.arrival_rates())


def _sojourn(
    number: Population, found: NDArray[np.float64], death: NDArray[np.float64], slots: int, device: Device | None
) -> tuple[Sojourn | str, tuple[str, ...]]:
    """Sojourn law over all disks, or why there is none; and what to warn of."""
    if device is not None and device.servers is not None and device.service is not None:
        return Servers(found, min(device.servers, slots), 1.0 / device.service.mean), ()
    if number.constant >= slots:
        # Never fewer than Q present: sharing the rate μ(Q) is the same as Q servers of rate μ(Q)/Q.
        return Servers(found, slots, float(death[-1]) / slots), ()
    if number.constant > 0:
        return "a rate curve shared by saturated and other guests is not followed request by request", ()
    birth = arrival_rates(number.ratios)
    alone = len(number.disks) == 1
    warnings = () if alone else ("response_quantile takes the arrival rate to depend on the total present only",)
    return Curve(found, slots, birth, death), warnings
