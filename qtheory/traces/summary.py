"""What a trace looks like: the figures to read before a model is fitted to it.

For all requests together and for each disk:

rate                  requests per second; all: (n − 1) / span, one over the mean time between arrivals; a disk has
                      its share of that, so rates add up
interarrival_scv      squared coefficient of variation (variance / mean²) of the times between arrivals; Poisson: 1
dispersion            index of dispersion of counts, variance / mean of the number of arrivals in windows of 10 ms,
                      100 ms and 1 s (those of which the span holds at least 20); Poisson: 1 at every window; one that
                      grows with the window is burstiness on that time scale (Cox & Lewis 1966, §4.5)
response_*            of the recorded times; quantiles are recorded values, the smallest with at least that share at
                      or below it
mean_outstanding      requests between arrival and completion, averaged from the first arrival to the last completion
max_outstanding       the most of them at once; a completion goes before an arrival at the same instant

Variances are those of the recorded numbers (divided by n). A figure that the trace does not have is None. Times are
compared in whole nanoseconds, so that equal time stamps stay equal after subtraction.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtheory.result import Result
from qtheory.traces.trace import OPERATIONS, Trace

WINDOWS = (0.01, 0.1, 1.0)  # s
LEAST_WINDOWS = 20
COMMONEST = 5
NANO = 1e9


@dataclass(frozen=True)
class RequestFigures:
    """Figures of one disk, or of all (`disk` is then "all"); see the module's text. SI units; None: not recorded.

    `size_mix` holds the commonest sizes [bytes] with their share of the requests whose size is recorded.
    `dispersion` holds pairs of window [s] and index of dispersion.
    """

    disk: str
    requests: int
    rate: float | None
    interarrival_scv: float | None
    dispersion: tuple[tuple[float, float], ...]
    read_share: float
    size_mean: float | None
    size_p50: int | None
    size_p99: int | None
    size_mix: tuple[tuple[int, float], ...]
    response_mean: float | None
    response_scv: float | None
    response_p50: float | None
    response_p99: float | None
    service_mean: float | None
    service_scv: float | None
    mean_outstanding: float | None
    max_outstanding: int | None


@dataclass(frozen=True, kw_only=True)
class TraceSummary(Result):
    """Figures of a trace: `total` over all disks, and `disks`; `span` [s] from the first to the last arrival.

    `str()` of it is a plain table, a row for each disk and one for all.
    """

    source: str
    span: float
    total: RequestFigures
    disks: tuple[RequestFigures, ...]

    def __str__(self) -> str:
        from rich import box
        from rich.console import Console
        from rich.table import Table

        rows = (*self.disks, self.total) if len(self.disks) > 1 else self.disks
        windows = [window for window, _ in self.total.dispersion]
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        table.add_column("disk")
        headings = ["requests", "rate\n1/s", "scv", *(f"IDC\n{window:g} s" for window in windows), "reads\n%"]
        headings += ["size\nB", "response\ns", "\nscv", "\np50", "\np99", "outstanding\nmean", "\nmax"]
        for heading in headings:
            table.add_column(heading, justify="right")
        for row in rows:
            dispersion = dict(row.dispersion)
            figures = [row.rate, row.interarrival_scv, *(dispersion.get(w) for w in windows), 100 * row.read_share]
            figures += [row.size_mean, row.response_mean, row.response_scv, row.response_p50, row.response_p99]
            figures += [row.mean_outstanding]
            table.add_row(row.disk, str(row.requests), *map(_shown, figures), _shown(row.max_outstanding))
        text = io.StringIO()
        console = Console(file=text, width=250, color_system=None, markup=False, highlight=False, emoji=False)
        console.print(
            f"{self.source or 'trace'}: {self.total.requests} requests in {self.span:.6g} s\n", soft_wrap=True
        )
        console.print(table)
        if self.total.size_mix:
            mix = ", ".join(f"{size} B {share:.1%}" for size, share in self.total.size_mix)
            console.print(f"commonest sizes: {mix}")
        for warning in self.warnings:
            console.print(f"warning: {warning}", soft_wrap=True)
        return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def summarize(trace: Trace) -> TraceSummary:
    """The figures of a trace; what `Trace.summary()` calls.

    Examples
    --------
    >>> trace = Trace(arrival=[0.0, 1.0, 2.0, 4.0], disk=[0, 0, 0, 0], disks=["vda"], op=[0, 0, 1, 0],
    ...               offset=[0, 0, 0, 0], size=[512, 512, 4096, 512], response=[0.5, 1.5, 1.0, 1.0])
    >>> s = summarize(trace).total
    >>> s.rate, s.interarrival_scv, s.read_share, s.response_mean, s.mean_outstanding, s.max_outstanding
    (0.75, 0.125, 0.75, 1.0, 0.8, 2)
    """
    span = trace.span
    rate = (len(trace) - 1) / span if span > 0 else None
    by_disk = np.argsort(trace.disk, kind="stable")
    ends = np.cumsum(np.bincount(trace.disk))
    groups = np.split(by_disk, ends[:-1])
    clock = _nanoseconds(trace.arrival - trace.arrival[0])
    warnings = list(trace.warnings)
    unsized = int(np.count_nonzero(trace.size < 0))
    if 0 < unsized < len(trace):
        warnings.append(f"sizes are over the requests that have one: {unsized} of {len(trace)} have none")
    return TraceSummary(
        method="descriptive statistics",
        exact=True,
        error_bounds={},
        warnings=tuple(warnings),
        source=trace.source,
        span=span,
        total=_figures(trace, clock, "all", np.arange(len(trace)), rate),
        disks=tuple(_figures(trace, clock, name, group, rate) for name, group in zip(trace.disks, groups, strict=True)),
    )


def _figures(
    trace: Trace, clock: NDArray[np.int64], disk: str, chosen: NDArray[np.int64], total_rate: float | None
) -> RequestFigures:
    """Figures of the chosen requests; `clock` has the arrivals in nanoseconds from the first."""
    n = len(chosen)
    sizes = trace.size[chosen]
    sizes = sizes[sizes >= 0]
    values, counts = np.unique(sizes, return_counts=True)
    common = np.argsort(-counts, kind="stable")[:COMMONEST]
    response = None if trace.response is None else trace.response[chosen]
    service = None if trace.service is None else trace.service[chosen]
    mean_outstanding, most = (None, None) if response is None else _outstanding(clock[chosen], response)
    return RequestFigures(
        disk=disk,
        requests=n,
        rate=None if total_rate is None else total_rate * n / len(trace),
        interarrival_scv=_scv(np.diff(trace.arrival[chosen])),
        dispersion=_dispersion(clock[chosen], int(clock[-1])),
        read_share=float(np.mean(trace.op[chosen] == OPERATIONS.index("read"))),
        size_mean=_mean(sizes),
        size_p50=_quantile(sizes, 0.5),
        size_p99=_quantile(sizes, 0.99),
        size_mix=tuple((int(values[i]), float(counts[i] / len(sizes))) for i in common),
        response_mean=_mean(response),
        response_scv=_scv(response),
        response_p50=_quantile(response, 0.5),
        response_p99=_quantile(response, 0.99),
        service_mean=_mean(service),
        service_scv=_scv(service),
        mean_outstanding=mean_outstanding,
        max_outstanding=most,
    )


def _nanoseconds(times: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.rint(times * NANO).astype(np.int64)


def _mean(values: NDArray[Any] | None) -> float | None:
    return None if values is None or len(values) == 0 else float(np.mean(values))


def _scv(values: NDArray[np.float64] | None) -> float | None:
    """Variance / mean², of two values at least."""
    if values is None or len(values) < 2 or (mean := float(np.mean(values))) == 0.0:
        return None
    return float(np.mean((values / mean - 1.0) ** 2))  # scaled first: squares of tiny times would vanish


def _quantile(values: NDArray[Any] | None, probability: float) -> Any:
    """The smallest value with at least that share of all at or below it."""
    if values is None or len(values) == 0:
        return None
    return np.quantile(values, probability, method="inverted_cdf").item()


def _dispersion(arrival: NDArray[np.int64], span: int) -> tuple[tuple[float, float], ...]:
    """Variance / mean of the counts in windows; windows without arrivals need not be stored."""
    found = []
    for window in WINDOWS:
        width = int(window * NANO)
        windows = span // width
        if windows < LEAST_WINDOWS:
            continue
        counts = np.unique(arrival[arrival < windows * width] // width, return_counts=True)[1]
        mean = counts.sum() / windows
        if mean > 0:
            squares = np.sum((counts - mean) ** 2) + (windows - len(counts)) * mean**2
            found.append((window, float(squares / windows / mean)))
    return tuple(found)


def _outstanding(arrival: NDArray[np.int64], response: NDArray[np.float64]) -> tuple[float | None, int]:
    """Mean and largest number of requests between arrival and completion."""
    completion = np.sort(arrival + _nanoseconds(response))
    observed = float(completion[-1] - arrival[0]) / NANO
    there = np.arange(1, len(arrival) + 1) - np.searchsorted(completion, arrival, side="right")
    return (float(response.sum() / observed) if observed > 0 else None), int(there.max())


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
