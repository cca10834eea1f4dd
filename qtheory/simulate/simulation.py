"""The answer of a simulation: the names of a steady state, each number with its confidence interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory.arguments import nonnegative
from qtheory.arrivals import Closed
from qtheory.engine import Disk, Engine
from qtheory.result import Estimate, Result
from qtheory.simulate.batch_means import neighbour_correlation, ratio
from qtheory.simulate.histogram import Histogram

FEW_REQUESTS = 100
"""Requests in a batch below which a warning says that the intervals are not to be trusted."""
UNEVEN = 0.01
"""Relative difference in Little's law from which a warning says that the run was no stationary one."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class DiskSimulation:
    """One disk's share of a simulation; the names and units are those of `Simulation`."""

    throughput: Estimate
    blocking: Estimate
    mean_wait: Estimate
    mean_guest_wait: Estimate
    mean_response: Estimate
    mean_in_system: Estimate
    pmf: Floats
    """P(n of the disk's requests in the system), n = 0 .. most, by time."""


@dataclass(frozen=True, kw_only=True)
class DrainSample(Result):
    """Sampled law of the drain time [s]; `method` says at which instants it was sampled.

    Attributes
    ----------
    mean : Estimate
        Mean [s].
    samples : int
        Instants at which it was looked at.
    """

    mean: Estimate
    samples: int
    _histogram: Histogram = field(repr=False, compare=False)

    def cdf(self, t: ArrayLike) -> Floats:
        """P(drain <= t), t in seconds."""
        return self._histogram.cdf(t)

    def sf(self, t: float) -> Estimate:
        """Fraction of the drains that take longer than t [s]."""
        return self._histogram.sf(nonnegative("t", t))

    def quantile(self, p: float) -> Estimate:
        """Time within which a fraction p of the drains end [s]; ValueError unless 0 < p < 1."""
        return self._histogram.quantile(p)


@dataclass(frozen=True, kw_only=True)
class Simulation(Result):
    """What one run measured: each number an `Estimate` with the half-width of its 95 % confidence interval.

    Times in seconds, rates per second. `blocking` is the fraction of arrivals refused, `mean_wait` the time from
    acceptance to the start of service (with a rate curve: to submission), `mean_response` to completion, over the
    accepted; `mean_guest_wait` from arrival to acceptance, the mean number waiting in the guests over the throughput.
    `mean_in_system` counts the accepted, `mean_in_flight` the submitted; `utilization` is the fraction of servers
    that are busy, in the mean over the devices (with a rate curve: throughput over the largest rate).
    `in_system_pmf[n]` is the fraction of the time with n in the system. `disks` has the same of each disk, `drain` the
    drains of stops at random. `error_bounds` are relative half-widths.
    """

    throughput: Estimate
    blocking: Estimate
    mean_wait: Estimate
    mean_guest_wait: Estimate
    mean_response: Estimate
    mean_in_system: Estimate
    mean_in_flight: Estimate
    utilization: Estimate
    in_system_pmf: Floats = field(repr=False)
    disks: tuple[DiskSimulation, ...] = field(repr=False)
    drain: DrainSample = field(repr=False)
    requests: int
    """Requests simulated, those of the warm-up included."""
    seed: int
    warmup: int
    """Requests deleted at the start."""
    simulated_time: float
    """Length of the run that was kept [s]."""
    _wait: Histogram = field(repr=False, compare=False)
    _response: Histogram = field(repr=False, compare=False)

    def wait_quantile(self, p: float) -> Estimate:
        """Wait [s] that a fraction p of the accepted requests do not exceed; ValueError unless 0 < p < 1."""
        return self._wait.quantile(p)

    def response_quantile(self, p: float) -> Estimate:
        """Response time [s] that a fraction p of the accepted requests do not exceed; ValueError unless 0 < p < 1."""
        return self._response.quantile(p)


@dataclass(frozen=True, kw_only=True)
class Books:
    """What is left of a tally when the warm-up is deleted: one row for each batch."""

    finished: NDArray[np.int64]
    refused: NDArray[np.int64]
    wait: Floats
    response: Floats
    disk_areas: Floats
    guest_areas: Floats
    areas: Floats
    duration: Floats
    drains: Floats
    histograms: dict[str, NDArray[np.int32]]
    pmf: Floats
    disk_pmfs: Sequence[Floats]


def answer(
    engine: Engine, books: Books, *, method: str, sampling: str, requests: int, seed: int, warmup: int,
    warnings: Sequence[str],
) -> Simulation:  # fmt: skip
    """The estimates that the books of a run give."""
    finished, refused = books.finished.sum(axis=1), books.refused.sum(axis=1)
    response = books.response.sum(axis=1)
    refusable = [_refusable(engine, disk) for disk in engine.disks]
    values = {
        "throughput": ratio(finished, books.duration),
        "blocking": _blocking(refused, finished, any(refusable)),
        "mean_wait": ratio(books.wait.sum(axis=1), finished),
        "mean_guest_wait": ratio(books.guest_areas.sum(axis=1), finished),
        "mean_response": ratio(response, finished),
        "mean_in_system": ratio(books.areas[:, 0], books.duration),
        "mean_in_flight": ratio(books.areas[:, 1], books.duration),
        "utilization": ratio(_busy(engine, books), books.duration),
    }
    disks = tuple(
        DiskSimulation(
            throughput=ratio(books.finished[:, i], books.duration),
            blocking=_blocking(books.refused[:, i], books.finished[:, i], refusable[i]),
            mean_wait=ratio(books.wait[:, i], books.finished[:, i]),
            mean_guest_wait=ratio(books.guest_areas[:, i], books.finished[:, i]),
            mean_response=ratio(books.response[:, i], books.finished[:, i]),
            mean_in_system=ratio(books.disk_areas[:, i], books.duration),
            pmf=_normalized(pmf),
        )
        for i, pmf in enumerate(books.disk_pmfs)
    )
    drain_mean = ratio(books.drains[:, 1], books.drains[:, 0])
    drain = DrainSample(
        method=sampling,
        exact=False,
        error_bounds={"mean": _relative(drain_mean)},
        mean=drain_mean,
        samples=int(books.drains[:, 0].sum()),
        _histogram=Histogram(books.histograms["drain"]),
    )
    return Simulation(
        method=method,
        exact=False,
        # No request refused, say: 0 has no relative error, and its half-width says how far it can be trusted.
        error_bounds={name: _relative(estimate) for name, estimate in values.items() if estimate.value != 0.0},
        warnings=(
            *warnings,
            *_uneven(float(books.areas[:, 0].sum()), float(response.sum())),
            *_doubts(response, finished, len(books.duration), drain.samples),
        ),
        **values,
        in_system_pmf=_normalized(books.pmf),
        disks=disks,
        drain=drain,
        requests=requests,
        seed=seed,
        warmup=warmup,
        simulated_time=float(books.duration.sum()),
        _wait=Histogram(books.histograms["wait"]),
        _response=Histogram(books.histograms["response"]),
    )


def _busy(engine: Engine, books: Books) -> Floats:
    """Fraction of the servers busy × seconds, by batch, in the mean over the devices."""
    weights = 1.0 if engine.shared else 1.0 / len(engine.disks)
    total = np.zeros(len(books.duration))
    for i, device in enumerate(engine.devices):
        if device.curve is not None:
            total += weights * books.finished[:, i] / max(device.curve)
        else:
            assert device.servers is not None
            total += weights * (books.response[:, i] - books.wait[:, i]) / device.servers
    return total


def _refusable(engine: Engine, disk: Disk) -> bool:
    """Whether a request of the disk can be lost at all; closed guests and those that wait for room lose none."""
    return not isinstance(disk.arrivals, Closed) and (disk.full == "lost" or engine.hold == "refuse")


def _blocking(refused: NDArray[np.int64], finished: NDArray[np.int64], refusable: bool) -> Estimate:
    """Refused over arrivals; where none of n was refused, 3/n bounds it with 95 % confidence (rule of three)."""
    estimate = ratio(refused, refused + finished)
    if estimate.value == 0.0 and refusable and (seen := int(finished.sum())):
        return Estimate(0.0, min(3.0 / seen, 1.0))
    return estimate


def _uneven(area: float, responses: float) -> list[str]:
    """A warning where requests present at the ends of the run count for much.

    The time spent in the system during the run is the responses of those that finished in it, more the ages of those
    present at its end, less the ages of those present at its start: Little's law but for the two last. (The FCFS
    kernel counts a request whole when it comes, so that there nothing is left over.)
    """
    off = responses / area - 1.0 if area else 0.0
    if abs(off) <= UNEVEN:
        return []
    return [
        f"requests present at the start and the end of the run make throughput x mean_response {off:+.1%} off "
        "mean_in_system: the run is not stationary, simulate more requests"
    ]


def _doubts(response: Floats, finished: NDArray[np.int64], batches: int, drains: int) -> list[str]:
    """Warnings about the intervals."""
    doubts = []
    if drains == 0:
        doubts.append("no drain was sampled: simulate more requests, or set stops")
    if finished.sum() < FEW_REQUESTS * batches:
        doubts.append(
            f"few requests: {int(finished.sum())} finished in {batches} batches; the half-widths are not to be trusted"
        )
    if (finished > 0).all():
        correlation = neighbour_correlation(response / finished)
        if correlation > 2.0 / math.sqrt(batches):
            doubts.append(
                f"batches lean on each other (lag-1 correlation {correlation:.2f}): the half-widths are too small, "
                "simulate more requests"
            )
    return doubts


def _normalized(times: Floats) -> Floats:
    total = float(times.sum())
    if total == 0.0:
        raise ValueError("requests must be more: the run has kept no time to average over")
    return times / total


def _relative(estimate: Estimate) -> float:
    """Relative half-width; inf for a value of 0 that is not certain."""
    if estimate.half_width == 0.0:
        return 0.0
    return estimate.half_width / abs(estimate.value) if estimate.value else math.inf
