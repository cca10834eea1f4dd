"""Who bursts, and with whom: the arrivals of a trace's disks as Poisson, as Markovian processes, or as shares of one.

A disk is Poisson where its index of dispersion allows it (`qtheory.traces.verdict`). Disks that burst together, or
several that burst each on its own, are one Markovian process, dealt out by their shares: the stream that a shared
device sees is then right, whatever the disks do to each other, and an engine has one process to be solved with. What is
lost is which disk bursts: with processes of their own (`processes="own"`) each disk's buffer fills as it should, but
disks that burst together no longer do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qtheory.arrivals import MAP, Arrivals, FittedMAP, Marked, Poisson, fit_map
from qtheory.arrivals.fit import LEAST_ARRIVALS
from qtheory.traces.trace import Trace

if TYPE_CHECKING:
    from qtheory.traces.summary import TraceSummary

Ints = NDArray[np.int64]
BUSIEST = 0.9
Processes = Literal["auto", "poisson", "common", "own"]


class Stream(NamedTuple):
    """Some disks of a trace and their requests' indices; `fit` is None where they are Poisson."""

    disks: tuple[int, ...]
    requests: Ints
    fit: FittedMAP | None


def streams(
    trace: Trace, summary: TraceSummary, processes: Processes, servers: int, utilization: float, order: int
) -> tuple[Stream, ...]:
    """The disks, parted by the processes that bring their requests, each fitted to waits at the device as it is used.

    That is its servers at half, once and twice its utilization, as far as these are below 0.9.
    """
    from qtheory.traces.verdict import poisson_tenable  # numba loads here

    everyone = range(len(trace.disks))
    if processes == "auto":
        bursty = [d for d in everyone if poisson_tenable(summary.disks[d], summary.span) is False]
        burst_at_all = len(trace.disks) > 1 and poisson_tenable(summary.total, summary.span) is False
        if burst_at_all and not bursty:  # none by itself: then together
            bursty = [*everyone]
        parts = [bursty] if bursty else []
    else:
        parts = {"poisson": [], "common": [[*everyone]], "own": [[d] for d in everyone]}[processes]
    busy = [min(factor * utilization, BUSIEST) for factor in (0.5, 1.0, 2.0)]
    found = []
    for part in parts:
        requests = np.flatnonzero(np.isin(trace.disk, part))
        times = trace.arrival[requests]
        if len(times) >= LEAST_ARRIVALS:
            found.append(
                Stream(tuple(part), requests, fit_map(times, servers=[servers], utilizations=busy, order=order))
            )
    bursting = {d for stream in found for d in stream.disks}
    found += [Stream((d,), np.flatnonzero(trace.disk == d), None) for d in everyone if d not in bursting]
    return tuple(sorted(found))


def arrivals(trace: Trace, parts: tuple[Stream, ...], which: Ints | None = None) -> tuple[Arrivals, ...]:
    """Arrivals of each disk; with `which`, of a resampling that has these requests in this order.

    A resampled process keeps its states and calibration (`FittedMAP.recounted`); rates and shares are counted anew. A
    request stands for the gap to the next one, so the last of the trace stands for none.
    """
    of: dict[int, Arrivals] = {}
    taken = np.arange(len(trace)) if which is None else which
    gaps = np.append(np.diff(trace.arrival), 0.0)
    span = float(gaps[taken].sum())
    number = np.bincount(trace.disk[taken], minlength=len(trace.disks))
    for stream in parts:
        here = number[list(stream.disks)]
        if stream.fit is None:
            of[stream.disks[0]] = Poisson(max(int(here[0]), 1) / span)
            continue
        process = stream.fit.process
        if which is not None:
            place = np.full(len(trace), -1)
            place[stream.requests[:-1]] = np.arange(len(stream.requests) - 1)
            own = place[taken]
            if np.any(own >= 0):  # otherwise no block has any of its requests
                process = stream.fit.recounted(own[own >= 0])
        of.update(_dealt(process, stream.disks, here))
    return tuple(of[d] for d in range(len(trace.disks)))


def _dealt(process: MAP, disks: tuple[int, ...], number: Ints) -> Iterator[tuple[int, Arrivals]]:
    if len(disks) == 1:
        yield disks[0], process
        return
    counted = np.maximum(number, 1)  # a disk that a resampling misses keeps a request
    for disk, share in zip(disks, counted / counted.sum(), strict=True):
        yield disk, Marked(process, float(share))
