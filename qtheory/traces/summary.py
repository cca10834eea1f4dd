"""What a trace looks like: the figures to read before a model is fitted to it, from one pass over its blocks.

For all requests together and for each disk:

rate                  requests per second; all: (n − 1) / span, one over the mean time between arrivals; a disk has
                      its share of that, so rates add up
interarrival_*        mean and squared coefficient of variation (variance / mean²) of the times between arrivals;
                      Poisson: scv 1. `autocorrelation` of these times; independent ones: 0
dispersion            index of dispersion of counts, variance / mean of the number of arrivals in windows from 1 µs up
                      (those of which the span holds at least 20); Poisson: 1 at every window; one that grows with the
                      window is burstiness on that time scale (Cox & Lewis 1966, §4.5); `hurst` is the law of its growth
peakedness()          what the dispersion means for a service law
response_*, service_* of the recorded times; mean, scv and maximum exact, quantiles from a histogram, to 0.05 %
mean_outstanding      requests between arrival and completion, averaged from the first arrival to the last completion
max_outstanding       the most of them at once; a completion goes before an arrival at the same instant

For all together also the rate and the outstanding requests over time, which disks burst together, and a verdict in
words. How each is reckoned stands in `qtheory.traces.statistics`, a file for each.

Variances are those of the recorded numbers (divided by n). A figure that the trace does not have is None. Windows
shorter than the clock's resolution are left out: a trace stamped in milliseconds tells nothing below one.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from qtheory.arrivals.peakedness import ServiceTime, peakedness
from qtheory.result import Result
from qtheory.traces.statistics.dispersion import Counts, Moments, dispersion, hurst, variance_ratio
from qtheory.traces.statistics.intervals import Intervals
from qtheory.traces.statistics.outstanding import Outstanding
from qtheory.traces.statistics.sizes import ALL_BITS, Sizes, mix, quantile
from qtheory.traces.statistics.streams import NANO, Floats, Ints, nanoseconds, streams
from qtheory.traces.statistics.timeline import Timeline
from qtheory.traces.statistics.times import QUANTILE_ERROR, RecordedTimes, Times
from qtheory.traces.statistics.together import PAIRED, SHOWN, Correlations, Together, bursting_together
from qtheory.traces.trace import OPERATIONS, Block, Trace
from qtheory.traces.verdict import verdict

if TYPE_CHECKING:
    from rich.table import Table

COMMONEST = 5
MOST_PAIRS = 5
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
COARSE_CLOCK = 1e-3  # s
SHOWN_WINDOWS = (1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3)
MOST_COLUMNS = 5
PIECE = 1 << 17
"""Requests taken at a time: their arrays fit in the processor's cache."""


@dataclass(frozen=True)
class RequestFigures:
    """Figures of one disk, or of all (`disk` is then "all"); see the module's text. SI units; None: not recorded.

    `dispersion` holds pairs of window [s] and index of dispersion, `autocorrelation` pairs of lag and autocorrelation,
    `op_shares` the operations with their share of the requests, and `size_mix` the commonest sizes [bytes] with their
    share of the requests whose size is recorded.
    """

    disk: str
    requests: int
    rate: float | None
    interarrival_mean: float | None
    interarrival_scv: float | None
    autocorrelation: tuple[tuple[int, float], ...]
    dispersion: tuple[tuple[float, float], ...]
    hurst: float | None
    read_share: float
    op_shares: tuple[tuple[str, float], ...]
    size_mean: float | None
    size_p50: int | None
    size_p99: int | None
    size_mix: tuple[tuple[int, float], ...]
    response_mean: float | None
    response_scv: float | None
    response_p50: float | None
    response_p90: float | None
    response_p99: float | None
    response_p999: float | None
    response_max: float | None
    service_mean: float | None
    service_scv: float | None
    service_p50: float | None
    service_p90: float | None
    service_p99: float | None
    service_p999: float | None
    service_max: float | None
    mean_outstanding: float | None
    max_outstanding: int | None

    def peakedness(self, law: ServiceTime) -> float:
        """Peakedness of these arrivals for a service law: variance / mean of the busy ones of infinitely many servers.

        Poisson: 1. Raises ValueError when the trace is too short, or its clock too coarse, for such services.
        """
        if len(self.dispersion) < 2:
            raise ValueError(f"{self.disk}: the trace is too short to tell its peakedness")
        return peakedness(law, *zip(*self.dispersion, strict=True))


@dataclass(frozen=True, kw_only=True)
class TraceSummary(Result):
    """Figures of a trace: `total` over all disks, and `disks`; `span` [s] from the first to the last arrival.

    Parameters
    ----------
    clock_resolution : float or None
        Greatest common divisor of all times between arrivals [s]; None when they are all 0.
    variance_ratio : pairs of window [s] and ratio
        Variance of all counts over the sum of the disks' variances: 1 for independent disks, their number when equal
        disks are all in step.
    together : (disk, disk, correlation, window [s])
        The disks whose counts are most correlated, above chance, at the window where they are most.
    bin_width : float
        Width of the bins of `rate_over_time` [requests/s] and `outstanding_over_time` (mean number; None: not
        recorded) [s]; the first begins at the first arrival.
    verdict : sentences
        Whether Poisson arrivals are tenable, at which time scale not, and what that means.

    `response_times` and `service_times` are the laws of the recorded times. `str()` of it is a plain table, a row for
    each disk and one for all, and the verdict.
    """

    source: str
    span: float
    clock_resolution: float | None
    total: RequestFigures
    disks: tuple[RequestFigures, ...]
    variance_ratio: tuple[tuple[float, float], ...]
    together: tuple[tuple[str, str, float, float], ...]
    bin_width: float
    rate_over_time: tuple[float, ...]
    outstanding_over_time: tuple[float, ...] | None
    verdict: tuple[str, ...]
    _rates: Floats = field(repr=False, compare=False)
    _correlations: tuple[Correlations, ...] = field(repr=False, compare=False)
    _responses: Times | None = field(repr=False, compare=False)
    _services: Times | None = field(repr=False, compare=False)

    def response_times(self, disk: str | None = None) -> RecordedTimes | None:
        """Law of the recorded responses of one disk, or of all; None without any. ValueError for an unknown disk."""
        return self._law(self._responses, disk)

    def service_times(self, disk: str | None = None) -> RecordedTimes | None:
        """Law of the recorded service times, likewise."""
        return self._law(self._services, disk)

    def disk_rates(self, disk: str) -> tuple[float, ...]:
        """As `rate_over_time`, of one disk; ValueError for an unknown one."""
        return tuple(self._rates[self._index(disk)].tolist())

    def _law(self, times: Times | None, disk: str | None) -> RecordedTimes | None:
        if times is None:
            return None
        return times.law(np.arange(len(self.disks)) if disk is None else np.array([self._index(disk)]))

    def _index(self, disk: str) -> int:
        names = [row.disk for row in self.disks]
        if disk not in names:
            raise ValueError(f"disk must be among {', '.join(names)}, not {disk!r}")
        return names.index(disk)

    def __str__(self) -> str:
        from rich.console import Console

        text = io.StringIO()
        console = Console(file=text, width=250, color_system=None, markup=False, highlight=False, emoji=False)
        console.print(
            f"{self.source or 'trace'}: {self.total.requests} requests in {self.span:.6g} s\n", soft_wrap=True
        )
        console.print(_table(self))
        if self.total.size_mix:
            mix = ", ".join(f"{size} B {share:.1%}" for size, share in self.total.size_mix)
            console.print(f"commonest sizes: {mix}")
        for a, b, correlation, window in self.together:
            console.print(f"burst together: {a} and {b}, correlation {correlation:.2f} in windows of {window:g} s")
        for sentence in self.verdict:
            console.print(sentence, soft_wrap=True)
        for warning in self.warnings:
            console.print(f"warning: {warning}", soft_wrap=True)
        return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def summarize(trace: Trace, service: ServiceTime | None = None) -> TraceSummary:
    """The figures of a trace; what `Trace.summary()` calls. `service` is as in `SummaryTally.summary`.

    Examples
    --------
    >>> trace = Trace(arrival=[0.0, 1.0, 2.0, 4.0], disk=[0, 0, 0, 0], disks=["vda"], op=[0, 0, 1, 0],
    ...               offset=[0, 0, 0, 0], size=[512, 512, 4096, 512], response=[0.5, 1.5, 1.0, 1.0])
    >>> s = summarize(trace).total
    >>> s.rate, s.interarrival_scv, s.read_share, s.response_mean, s.mean_outstanding, s.max_outstanding
    (0.75, 0.125, 0.75, 1.0, 0.8, 2)
    """
    tally = SummaryTally()
    tally.add(trace)
    return tally.summary(trace.disks, source=trace.source, warnings=trace.warnings, service=service)


class SummaryTally:
    """Gathers a trace's figures block by block, in memory that does not grow with its length.

    Examples
    --------
    >>> arrival, some = np.array([0.0, 1.0, 4.0]), np.zeros(3, dtype=int)
    >>> tally = SummaryTally()
    >>> for start in (0.0, 5.0):
    ...     tally.add(Block(start + arrival, some, some, some, some, response=None, service=None))
    >>> tally.summary(["vda"]).total.interarrival_mean
    1.8
    """

    def __init__(self) -> None:
        self.requests = np.zeros(0, dtype=np.int64)
        self._first: float | None = None
        self._intervals, self._counts, self._together = Intervals(), Counts(), Together()
        self._timeline, self._outstanding, self._sizes = Timeline(), Outstanding(), Sizes(len(OPERATIONS))
        self._responses, self._services = Times(), Times()

    def add(self, block: Block | Trace) -> None:
        """Enter the next block.

        Raises ValueError when its arrivals are not in order or before those entered, and when it records other times
        than the blocks before.
        """
        for begin in range(0, len(block.arrival), PIECE):
            piece = slice(begin, begin + PIECE)
            # The compiled loops take only arrays that may be written, of one type: a trace's own are copied.
            disk, op, size = (np.require(x[piece], np.int64, "W") for x in (block.disk, block.op, block.size))
            response, service = (
                None if x is None else np.require(x[piece], np.float64, "W") for x in (block.response, block.service)
            )
            self._add(block.arrival[piece], disk, op, size, response, service)

    def _add(
        self, arrival: Floats, disk: Ints, op: Ints, size: Ints, response: Floats | None, service: Floats | None
    ) -> None:
        if self._first is None:
            self._first = float(arrival[0])
        clock = nanoseconds(arrival - self._first)
        disks = max(len(self.requests), int(disk.max()) + 1)
        parted = streams(clock, disk, disks)
        of_disks = parted.bounds[1:] - parted.bounds[1]
        for times, values, name in ((self._responses, response, "response"), (self._services, service, "service")):
            if (values is None) != (times.size == 0) and len(self.requests):
                raise ValueError(f"blocks must all have {name} times, or none")
            if values is not None:
                times.add(values[parted.order], of_disks)
        self._intervals.add(parted)
        self._counts.add(parted)
        self._together.add(clock, disk)
        self._timeline.add(parted)
        self._sizes.add(disk, op, size, disks)
        if response is not None:
            self._outstanding.add(clock, disk, nanoseconds(response), disks, self._timeline)
        self.requests = np.diff(of_disks) + np.pad(self.requests, (0, disks - len(self.requests)))

    def summary(
        self,
        disks: Sequence[str],
        *,
        source: str = "",
        warnings: Sequence[str] = (),
        service: ServiceTime | None = None,
    ) -> TraceSummary:
        """The figures of what was entered.

        Parameters
        ----------
        disks : sequence of str
            The disks' names, in the order of their numbers.
        source : str
            Where the trace comes from.
        warnings : sequence of str
            What reading it had to leave out or put right.
        service : law, optional
            The service times for which the verdict gives the peakedness; by default the recorded ones, if any.

        Raises ValueError without requests, and when there is not one name for each disk.
        """
        if self._first is None:
            raise ValueError("a trace must have at least one request")
        if len(disks) != len(self.requests):
            raise ValueError(f"disks must have {len(self.requests)} names, one for each, not {len(disks)}")
        n = int(self.requests.sum())
        span, resolution = self._intervals.last_of_all, self._intervals.resolution
        sizes = _by_disk(self._sizes.entries(), len(disks))
        everyone = np.arange(len(disks))
        moments = [
            [pair for pair in self._counts.moments(row, count, span) if pair[0] >= resolution]
            for row, count in enumerate((n, *self.requests.tolist()))
        ]
        correlations = self._together.correlations(self.requests, span, resolution)
        total, *each = (
            self._figures(row, name, chosen, span, moments[row], sizes)
            for row, (name, chosen) in enumerate(
                [("all", everyone), *((name, everyone[d : d + 1]) for d, name in enumerate(disks))]
            )
        )
        rates = self._timeline.rates(span)
        responses, services = (times if times.size else None for times in (self._responses, self._services))
        recorded = services.law(everyone) if services is not None else None
        bounds = {
            "response_quantile": QUANTILE_ERROR if responses is not None else 0.0,
            "service_quantile": QUANTILE_ERROR if services is not None else 0.0,
            "size_quantile": 0.0 if self._sizes.bits == ALL_BITS else 2.0 ** (1 - self._sizes.bits),
        }
        return TraceSummary(
            method="descriptive statistics",
            exact=True,
            error_bounds={name: bound for name, bound in bounds.items() if bound > 0.0},
            warnings=(*warnings, *self._doubts(n, len(disks), resolution)),
            source=source,
            span=span / NANO,
            clock_resolution=resolution / NANO if resolution else None,
            total=total,
            disks=tuple(each),
            variance_ratio=variance_ratio(moments[0], moments[1:]),
            together=tuple((disks[a], disks[b], x, w) for a, b, x, w in bursting_together(correlations)[:MOST_PAIRS]),
            bin_width=self._timeline.width / NANO,
            rate_over_time=tuple(rates[0].tolist()),
            outstanding_over_time=tuple(self._timeline.outstanding(span).tolist()) if responses is not None else None,
            verdict=verdict(total, each, span / NANO, rates[0] * (self._timeline.width / NANO), service or recorded),
            _rates=rates[1:],
            _correlations=correlations,
            _responses=responses,
            _services=services,
        )

    def _doubts(self, requests: int, disks: int, resolution: int) -> Iterator[str]:
        sized = int(self._sizes.sized.sum())
        if 0 < sized < requests:
            yield f"sizes are over the requests that have one: {requests - sized} of {requests} have none"
        if self._sizes.bits < ALL_BITS:
            yield f"too many different sizes to keep: they are rounded down to {self._sizes.bits} leading bits"
        if resolution >= COARSE_CLOCK * NANO and requests > 2:
            yield f"all times between arrivals are multiples of {resolution / NANO:g} s: below, the trace tells nothing"
        if disks > SHOWN:
            yield f"which disks burst together is told of the {SHOWN} busiest of the first {PAIRED} only"

    def _figures(
        self, row: int, name: str, disks: Ints, span: int, moments: list[Moments], sizes: list[tuple[Ints, Ints]]
    ) -> RequestFigures:
        """Figures of stream `row`, which is that of `disks`."""
        n, everyone = int(self.requests[disks].sum()), int(self.requests.sum())
        values, counts = mix(*map(np.concatenate, zip(*(sizes[d] for d in disks), strict=True)))
        sized = int(self._sizes.sized[disks].sum())
        common = np.argsort(-counts, kind="stable")[:COMMONEST]
        operations = self._sizes.operations[disks].sum(axis=0) / n
        pairs, gap = dispersion(moments), self._intervals.mean(row)
        observed = (
            float(self._outstanding.latest[row] - self._intervals.first[row]) / NANO if self._responses.size else 0.0
        )
        response = self._responses.law(disks) if self._responses.size else None
        return RequestFigures(
            disk=name,
            requests=n,
            rate=(everyone - 1) * NANO / span * (n / everyone) if span else None,
            interarrival_mean=gap,
            interarrival_scv=self._intervals.scv(row),
            autocorrelation=self._intervals.autocorrelation(row),
            dispersion=pairs,
            hurst=hurst(pairs, gap),
            read_share=float(operations[OPERATIONS.index("read")]),
            op_shares=tuple((op, float(share)) for op, share in zip(OPERATIONS, operations, strict=True) if share),
            size_mean=float(self._sizes.bytes[disks].sum()) / sized if sized else None,
            size_p50=quantile(values, counts, 0.5) if sized else None,
            size_p99=quantile(values, counts, 0.99) if sized else None,
            size_mix=tuple((int(values[i]), float(counts[i] / sized)) for i in common),
            **_of_times("response", response),
            **_of_times("service", self._services.law(disks) if self._services.size else None),
            mean_outstanding=response.mean * n / observed if response is not None and observed > 0.0 else None,
            max_outstanding=int(self._outstanding.most[row]) if response is not None else None,
        )


def _by_disk(entries: tuple[Ints, Ints, Ints], disks: int) -> list[tuple[Ints, Ints]]:
    """Sizes and their numbers for each disk."""
    disk, size, times = (column[np.argsort(entries[0], kind="stable")] for column in entries)
    ends = np.searchsorted(disk, np.arange(1, disks))
    return list(zip(np.split(size, ends), np.split(times, ends), strict=True))


def _of_times(kind: str, law: RecordedTimes | None) -> dict[str, Any]:
    """The fields of `RequestFigures` about responses or services."""
    names = ("mean", "scv", *QUANTILES, "max")
    if law is None:
        return {f"{kind}_{name}": None for name in names}
    scv = law.scv if law.counts.sum() > 1 and law.mean > 0.0 else None
    values = (law.mean, scv, *law.quantile(list(QUANTILES.values())).tolist(), law.most)
    return {f"{kind}_{name}": value for name, value in zip(names, values, strict=True)}


def _table(summary: TraceSummary) -> Table:
    """A row for each disk and one for all; columns that the trace has nothing for are left out."""
    from rich import box
    from rich.table import Table

    total = summary.total
    rows = (*summary.disks, total) if len(summary.disks) > 1 else summary.disks
    known = {window for window, _ in total.dispersion}
    windows = [window for window in SHOWN_WINDOWS if window in known][-MOST_COLUMNS:]
    columns: list[tuple[str, Callable[[RequestFigures], float | None]]] = [
        ("requests", lambda row: row.requests),
        ("rate\n1/s", lambda row: row.rate),
        ("scv", lambda row: row.interarrival_scv),
        *((f"IDC\n{window:g} s", _dispersion_at(window)) for window in windows),
        ("reads\n%", lambda row: 100 * row.read_share),
        ("size\nB", lambda row: row.size_mean),
    ]
    for kind in ("response", "service"):
        if getattr(total, f"{kind}_mean") is not None:
            columns += [(f"{kind}\ns", attrgetter(f"{kind}_mean"))]
            columns += [(f"\n{name}", attrgetter(f"{kind}_{name}")) for name in ("scv", "p50", "p99")]
    if total.max_outstanding is not None:
        columns += [("outstanding\nmean", lambda row: row.mean_outstanding), ("\nmax", lambda row: row.max_outstanding)]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("disk")
    for heading, _ in columns:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(row.disk, *(_shown(figure(row)) for _, figure in columns))
    return table


def _dispersion_at(window: float) -> Callable[[RequestFigures], float | None]:
    return lambda row: dict(row.dispersion).get(window)


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
