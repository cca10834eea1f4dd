"""Measured latency laws: what fio and QEMU write instead of a request stream, histograms of times with their moments.

A histogram counts requests in bins [low, high). Where in its bin a time lies is not recorded, so nothing is
interpolated: a quantile and a mean are given as bounds that the recorded times are sure to keep. The last bin may be
open, its edge `inf`: a bound is then infinite unless the largest time was recorded too. A law of which only the
number of requests and the mean are known is one bin, from 0 to `inf`.

Some files round counts away. `misplaced` says how far the number of requests up to an edge may be off, and the
bounds allow for it.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtheory.arguments import choice, count, nonnegative, probability
from qtheory.result import Result
from qtheory.traces.file import TraceFile
from qtheory.traces.trace import LONGEST

MOST_REQUESTS = 1 << 53  # beyond it a float cannot tell neighbouring counts
ROUNDING = 1e-6  # relative, of means that a file prints with few digits


@dataclass(frozen=True, eq=False, kw_only=True)
class LatencyHistogram:
    """How long the requests of one kind took, counted in bins.

    Parameters
    ----------
    disk : str
        Whose requests: the drive or node of QEMU, the job of fio.
    op : str
        What they are: "read", "write", "flush", "discard", "zone_append"; "mixed" where they are counted together.
    quantity : str
        Which time: "response", from the request's creation to its completion; "completion", from its submission to
        the device on.
    edges : array of float, shape (n + 1,)
        Edges of the bins [s], >= 0 and rising; the last may be `inf`.
    counts : array of int, shape (n,)
        Requests in each bin [edges[i], edges[i + 1]); at least one request in all.
    mean, stddev, minimum, maximum : float, optional
        As recorded of the same requests [s]; None: not recorded. The variance is divided by requests − 1.
    misplaced : int
        Largest error of the number of requests up to an edge; 0: the counts are exact.

    Arrays are read-only. Raises ValueError naming the argument that does not fit, also where a recorded moment
    contradicts the bins.

    Examples
    --------
    >>> law = LatencyHistogram(disk="vda", op="read", quantity="response",
    ...                        edges=[0.0, 1e-3, 2e-3, float("inf")], counts=[50, 40, 10], maximum=5e-3)
    >>> law.requests, law.quantile_bounds(0.5), law.quantile_bounds(0.99)
    (100, (0.0, 0.001), (0.002, 0.005))
    >>> tuple(round(bound, 6) for bound in law.mean_bounds())
    (0.0006, 0.0018)
    """

    disk: str
    op: str
    quantity: str
    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    mean: float | None = None
    stddev: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    misplaced: int = 0

    def __post_init__(self) -> None:
        for name in ("disk", "op", "quantity"):
            printable(name, getattr(self, name))
        put = object.__setattr__
        edges = np.array(self.edges, dtype=float)
        if edges.ndim != 1 or len(edges) < 2 or not (edges[0] >= 0.0 and np.all(edges[1:] > edges[:-1])):
            raise ValueError(f"edges must be >= 0 and rising, two at least, not {_short(edges.tolist())}")
        if edges[-2] > LONGEST or LONGEST < edges[-1] < math.inf:
            raise ValueError(
                f"edges must be at most {LONGEST:g} s, the last one also inf, not {_short(edges.tolist())}"
            )
        counts = [count(f"counts[{i}]", n, least=0) for i, n in enumerate(self.counts)]
        if len(counts) != len(edges) - 1:
            raise ValueError(f"counts must have a bin between two edges each: {len(edges) - 1}, not {len(counts)}")
        if not 0 < sum(counts) <= MOST_REQUESTS:
            raise ValueError(f"counts must have between 1 and 2^53 requests in all, not {sum(counts)}")
        put(self, "edges", edges)
        put(self, "counts", np.array(counts, dtype=np.int64))
        edges.flags.writeable = self.counts.flags.writeable = False
        put(self, "misplaced", count("misplaced", self.misplaced, least=0))
        for name in ("mean", "stddev", "minimum", "maximum"):
            if (recorded := getattr(self, name)) is not None:
                put(self, name, value := nonnegative(name, recorded))
                if value > LONGEST:
                    raise ValueError(f"{name} must be at most {LONGEST:g} s, not {value!r}")
        self._check("minimum", self.minimum, *edges[self._first : self._first + 2].tolist())
        self._check("maximum", self.maximum, *edges[self._last : self._last + 2].tolist())
        self._check("mean", self.mean, *self._mean_within_bins())

    def _check(self, name: str, value: float | None, low: float, high: float) -> None:
        if value is not None and not low * (1.0 - ROUNDING) <= value <= high * (1.0 + ROUNDING):
            raise ValueError(f"{name} must lie where the bins have it, from {low:.6g} to {high:.6g} s, not {value:.6g}")

    @property
    def requests(self) -> int:
        """How many requests were measured."""
        return int(self.counts.sum())

    def quantile_bounds(self, p: float) -> tuple[float, float]:
        """Bounds [s] of the smallest time that at least the fraction `p` of the requests kept to.

        Raises ValueError unless 0 < p < 1.
        """
        p = probability("p", p)
        below = np.cumsum(self.counts)
        earliest = int(np.searchsorted((below + self.misplaced) / self.requests, p))
        latest = int(np.searchsorted((below - self.misplaced) / self.requests, p))
        lows, highs = self._bins()
        return float(lows[max(earliest, self._first)]), float(highs[min(latest, self._last)])

    def mean_bounds(self) -> tuple[float, float]:
        """Bounds [s] of the mean: both are the recorded mean where there is one."""
        return self._mean_within_bins() if self.mean is None else (self.mean, self.mean)

    def merge(self, other: LatencyHistogram) -> LatencyHistogram:
        """The requests of both together; moments that both have recorded are pooled.

        The disk is then "all" and the operation "mixed" where the two differ. Raises ValueError unless edges and
        quantity are the same.
        """
        if self.quantity != other.quantity:
            raise ValueError(f"other must measure the same quantity, {self.quantity!r}, not {other.quantity!r}")
        if not np.array_equal(self.edges, other.edges):
            raise ValueError("other must have the same edges")
        n, m = self.requests, other.requests
        mean = stddev = minimum = maximum = None
        if self.mean is not None and other.mean is not None:
            mean = self.mean + (other.mean - self.mean) * (m / (n + m))
            if self.stddev is not None and other.stddev is not None:
                squares = (n - 1) * self.stddev**2 + (m - 1) * other.stddev**2
                squares += (other.mean - self.mean) ** 2 * (n * (m / (n + m)))
                stddev = math.sqrt(squares / (n + m - 1))
        if self.minimum is not None and other.minimum is not None:
            minimum = min(self.minimum, other.minimum)
        if self.maximum is not None and other.maximum is not None:
            maximum = max(self.maximum, other.maximum)
        return dataclasses.replace(
            self,
            disk=self.disk if self.disk == other.disk else "all",
            op=self.op if self.op == other.op else "mixed",
            counts=self.counts + other.counts,
            mean=mean,
            stddev=stddev,
            minimum=minimum,
            maximum=maximum,
            misplaced=self.misplaced + other.misplaced,
        )

    @property
    def _first(self) -> int:
        """The first bin with a request in it: it has one in truth too, misplaced ones or not."""
        return int(np.flatnonzero(self.counts)[0])

    @property
    def _last(self) -> int:
        return int(np.flatnonzero(self.counts)[-1])

    def _bins(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper end of each bin, as narrow as the smallest and largest time make them."""
        least = 0.0 if self.minimum is None else self.minimum
        most = math.inf if self.maximum is None else self.maximum
        return np.maximum(self.edges[:-1], least), np.minimum(self.edges[1:], most)

    def _mean_within_bins(self) -> tuple[float, float]:
        """Every time at the lower, at the upper end of its bin; misplaced ones in the first, in the last bin."""
        used = slice(self._first, self._last + 1)
        lows, highs = (ends[used] for ends in self._bins())
        weights = self.counts[used] / self.requests
        astray = min(self.misplaced / self.requests, 1.0)
        low = float(weights @ lows) - astray * float(lows[-1] - lows[0])
        if math.isinf(highs[-1]):
            return max(low, float(lows[0])), math.inf
        high = float(weights @ highs) + astray * float(highs[-1] - highs[0])
        return max(low, float(lows[0])), min(high, float(highs[-1]))


@dataclass(frozen=True, eq=False, kw_only=True)
class Measurement(Result):
    """Measured latency laws from one file, and what is known of the load they were measured under.

    Parameters
    ----------
    source : str
        The file.
    histograms : tuple of LatencyHistogram
        At least one; each disk, operation and quantity once.
    throughput : mapping
        Completions per second by disk and operation, `throughput["job"]["read"]`, where they are recorded.
    comments : tuple of str
        What the reader took the numbers for.

    `exact` says whether all counts are; where not, `error_bounds["counts"]` is the largest relative error of a bin's
    count. The histograms' bounds hold all the same. `str()` of it is a plain table.

    Raises ValueError when there is no histogram, or the same one twice.
    """

    source: str
    histograms: tuple[LatencyHistogram, ...]
    throughput: Mapping[str, Mapping[str, float]]
    comments: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.histograms:
            raise ValueError("histograms must have at least one: nothing was measured")
        seen = set()
        for law in self.histograms:
            if (name := (law.disk, law.op, law.quantity)) in seen:
                raise ValueError(f"histograms must be different ones, not two of {law.disk!r} {law.op} {law.quantity}")
            seen.add(name)

    def __str__(self) -> str:
        from rich import box
        from rich.console import Console
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for heading in ("disk", "op", "time"):
            table.add_column(heading)
        for heading in ("requests", "rate\n1/s", "mean\ns", "p50\ns", "p99\ns", "p99.9\ns", "max\ns"):
            table.add_column(heading, justify="right")
        for law in self.histograms:
            rate = self.throughput.get(law.disk, {}).get(law.op)
            bounds = [law.mean_bounds(), *(law.quantile_bounds(p) for p in (0.5, 0.99, 0.999))]
            figures = [_number(rate), *map(_range, bounds), _number(law.maximum)]
            table.add_row(law.disk, law.op, law.quantity, str(law.requests), *figures)
        text = io.StringIO()
        console = Console(file=text, width=250, color_system=None, markup=False, highlight=False, emoji=False)
        console.print(f"{self.source}: latency measured by {self.method}\n", soft_wrap=True)
        console.print(table)
        for comment in self.comments:
            console.print(f"note: {comment}", soft_wrap=True)
        for warning in self.warnings:
            console.print(f"warning: {warning}", soft_wrap=True)
        return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def read_measurement(path: str | PathLike[str], format: str | None = None) -> Measurement:
    """Read measured latencies; gzip, bzip2, xz (and zstd, from Python 3.14) are unpacked on the way.

    Parameters
    ----------
    path : path
        The file.
    format : str, optional
        "fio" (its JSON result, `--output-format=json` or `json+`) or "blockstats" (QEMU's answer to the QMP command
        `query-blockstats`). By default it is found from the content.

    Raises TraceError (a ValueError) when the file cannot be used, and ValueError for an unknown format's name.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> answer = '''{"return": [{"device": "vda", "stats": {"rd_operations": 3, "rd_total_time_ns": 2400000,
    ...     "rd_latency_histogram": {"boundaries": [500000, 1000000], "bins": [1, 1, 1]}}}]}'''
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "stats.json")
    ...     _ = path.write_text(answer)
    ...     measured = read_measurement(path)
    >>> law, = measured.histograms
    >>> law.disk, law.op, law.requests, law.mean, law.quantile_bounds(0.5)
    ('vda', 'read', 3, 0.0008, (0.0005, 0.001))
    """
    readers = _readers()
    if format is not None:
        choice("format", format, readers)
    file = TraceFile(path)
    for name, reader in readers.items():
        if format == name or (format is None and reader.sniff(file.head)):
            measured: Measurement = reader.read(file)
            return measured
    raise file.error(f"the content is in none of the known formats ({', '.join(readers)})")


def is_measurement(path: str | PathLike[str], format: str | None = None) -> bool:
    """Whether the file is one for `read_measurement`, by the format's name if that is given, or else by its content."""
    readers = _readers()
    return format in readers if format is not None else any(r.sniff(TraceFile(path).head) for r in readers.values())


def _readers() -> dict[str, Any]:
    from qtheory.traces import blockstats, fio_json

    return {"fio": fio_json, "blockstats": blockstats}


def document(file: TraceFile, what: str) -> Any:
    """The JSON value in the file, passing over lines before it (programs warn there) and text after it."""
    text = file.text()
    start = re.search(r"^\s*[\[{]", text, re.MULTILINE)
    try:
        return json.JSONDecoder().raw_decode(text, start.end() - 1 if start else 0)[0]
    except (ValueError, RecursionError) as wrong:
        raise file.error(f"not {what} ({wrong})") from None


def members(name: str, value: object) -> Mapping[str, Any]:
    """Return `value`, which must be a JSON object; TypeError otherwise."""
    if not isinstance(value, dict):
        raise TypeError(f"{name} must be a JSON object, not {_short(value)}")
    return value


def printable(name: str, value: object) -> str:
    """Return `value`; refuse what is not a text of one line."""
    if not isinstance(value, str) or not value.isprintable() or not value:
        raise ValueError(f"{name} must be a text of one line, not {_short(value)}")
    return value


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:80] + "…"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _range(bounds: tuple[float, float]) -> str:
    low, high = map(_number, bounds)
    return low if low == high else f"{low} … {high}"
