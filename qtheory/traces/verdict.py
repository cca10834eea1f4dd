"""What a trace's figures mean, in words: are Poisson arrivals tenable, at which time scale not, and what it costs.

Under Poisson arrivals the index of dispersion of W windows is 1 with standard error √(2/W). Poisson is called untenable
at a window where it is four of them off and a tenth at least: in a long trace the slightest deviation is significant,
but not every one matters. Windows are looked at from 1 ms up, and only when chance alone would let ten pairs of
arrivals share one: with fewer, a handful of requests decides the index.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from qtheory.arrivals.peakedness import ServiceTime
from qtheory.traces.statistics.dispersion import standard_error
from qtheory.traces.statistics.streams import Floats

if TYPE_CHECKING:
    from qtheory.traces.summary import RequestFigures

SHORTEST = 1e-3  # s
LEAST_MEETINGS = 10
STANDARD_ERRORS = 4.0
MATTERS = 0.1
LONG_RANGE = 0.6
FINE_WINDOWS = 200
CONSTANT = 0.9
LEAST_REQUESTS = 100


def verdict(
    total: RequestFigures, disks: Sequence[RequestFigures], span: float, counts: Floats, service: ServiceTime | None
) -> tuple[str, ...]:
    """Sentences on a trace: figures of all and each disk, `span` [s], arrivals in equal bins, service law or None."""
    told = _told(total, span)
    if not told:
        return ("Too few arrivals to tell whether they are Poisson.", *closed_loop(disks))
    return (
        *_dispersion(told),
        *_long_range(total),
        *(() if service is None else _peakedness(total, service)),
        *_trend(told, counts),
        *closed_loop(disks),
    )


def poisson_tenable(figures: RequestFigures, span: float) -> bool | None:
    """Whether arrivals may be Poisson, by their index of dispersion over `span` [s]; None: too few to tell."""
    told = _told(figures, span)
    return not _untenable(told) if told else None


def _told(figures: RequestFigures, span: float) -> list[tuple[float, float, int]]:
    """Windows [s] that are looked at, with their index of dispersion and how many the span holds."""
    return [
        (window, index, windows)
        for window, index in figures.dispersion
        if window >= SHORTEST and figures.requests**2 / (2 * (windows := int(span / window))) >= LEAST_MEETINGS
    ]


def _untenable(told: list[tuple[float, float, int]]) -> list[tuple[float, float]]:
    """Where the index of dispersion leaves the band around 1."""
    return [
        (window, index)
        for window, index, windows in told
        if abs(index - 1.0) > max(STANDARD_ERRORS * standard_error(windows), MATTERS)
    ]


def _dispersion(told: list[tuple[float, float, int]]) -> Iterator[str]:
    """In words."""
    off = _untenable(told)
    if not off:
        least, most = min(index for _, index, _ in told), max(index for _, index, _ in told)
        yield (
            f"Poisson arrivals are tenable at all time scales from {duration(told[0][0])} to {duration(told[-1][0])}: "
            f"the index of dispersion is {least:.3g} to {most:.3g}."
        )
        return
    below = [window for window, _, _ in told if window < off[0][0]]
    yield f"Poisson arrivals are not tenable from {duration(off[0][0])} on" + (
        f"; they are from {duration(below[0])} to {duration(below[-1])}." if below else "."
    )
    bursty, regular = ([pair for pair in off if (pair[1] > 1.0) == more] for more in (True, False))
    for pairs, kind, extreme in ((bursty, "bursty", max), (regular, "more regular", min)):
        if pairs:
            (first, index), (worst, most) = pairs[0], extreme(pairs, key=lambda pair: pair[1])
            further = f", in windows of {duration(worst)} {most:.3g} times" if worst > first else ""
            yield (
                f"They are {kind}: in windows of {duration(first)} the counts vary {index:.3g} times as much as "
                f"Poisson's{further}."
            )


def _long_range(total: RequestFigures) -> Iterator[str]:
    if total.hurst is not None and total.hurst > LONG_RANGE:
        yield (
            f"The dispersion grows with the window (Hurst exponent about {total.hurst:.2f}; Poisson 0.5): they are "
            "bursty on many time scales, and a longer window would show more."
        )


def _peakedness(total: RequestFigures, service: ServiceTime) -> Iterator[str]:
    """What servers with these service times see of it."""
    try:
        z = total.peakedness(service)
    except ValueError as error:
        yield f"What that means for service times of {duration(service.mean)} the trace cannot tell: {error}."
        return
    sees = f"Servers with service times of {duration(service.mean)} see peakedness {z:.3g}"
    if abs(z - 1.0) <= MATTERS:
        yield f"{sees}: with servers enough, the load varies as under Poisson arrivals."
    elif z < 1.0:
        yield f"{sees}: a queue sized for Poisson arrivals is longer than needed, and waits are overestimated."
    else:
        yield (
            f"{sees}: a queue sized for Poisson arrivals at this rate is too short. Its margin above the offered load "
            f"must be {math.sqrt(z):.2g} times as large (Halfin–Whitt), and the wait is underestimated by a factor of "
            f"{z:.2g} or so, by far more where bursts longer than a service time overload the servers."
        )


def _trend(told: list[tuple[float, float, int]], counts: Floats) -> Iterator[str]:
    """Whether the two halves differ by more than the trace's own burstiness explains."""
    half = len(counts) // 2
    if half == 0:
        return
    first, second = float(counts[:half].sum()), float(counts[-half:].sum())
    fine = [index for _, index, windows in told if windows >= FINE_WINDOWS] or [told[0][1]]
    error = math.sqrt((first + second) * max(fine[-1], 1.0))
    if abs(second - first) > max(STANDARD_ERRORS * error, MATTERS * first):
        change = f"{second / first:.3g} times that of" if first > 0.0 else "not 0 as in"
        yield (
            f"The rate is not constant: in the second half it is {change} the first. Part of the dispersion in long "
            "windows is this trend."
        )


def closed_loop(disks: Sequence[RequestFigures]) -> Iterator[str]:
    """Disks whose outstanding requests stay near their maximum."""
    steady = [
        row
        for row in disks
        if row.mean_outstanding is not None
        and row.max_outstanding
        and row.requests >= LEAST_REQUESTS
        and row.mean_outstanding >= CONSTANT * row.max_outstanding
    ]
    if steady:
        who = "All disks look" if len(steady) == len(disks) else ", ".join(row.disk for row in steady[:5]) + " looks"
        who = steady[0].disk + " looks" if len(disks) == 1 else who
        yield (
            f"{who} closed-loop: the requests outstanding stay near their maximum, a new one comes when one "
            "completes. Rate and burstiness are then the device's answer, and closed arrivals the model."
        )


def duration(seconds: float) -> str:
    """A time with its unit.

    >>> duration(0.002), duration(1e-05), duration(20.0)
    ('2 ms', '10 µs', '20 s')
    """
    for unit, name in ((1.0, "s"), (1e-3, "ms")):
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds / 1e-6:.3g} µs"
