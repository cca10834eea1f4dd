"""Real drains against predicted ones: python -m validation.real_drains

**Batches** (outside data, flashnet): recorded volumes replayed on an NVMe device through 64 worker threads, n requests
at once each second. A batch is a drain from an observed population. Predicted is its makespan, from what single
requests do; makespans are not looked at:

* a request's latency with all workers busy, by operation and size, and what a worker loses between two, give the
  completion rate with 64 or more left; it differs from batch to batch with its reads and bytes;
* the gaps between completions when j < 64 are left give the rates there;
* the drain is then that of a device with this rate curve, `qt.drain_time(engine, population=n)`;
* all latencies of a batch are longer or shorter by a common factor, whose law is that over the fitted batches. It makes
  the interval.

One of three traces is there request by request. Its batches are predicted from its other batches (ten parts), those of
the other two from all of it. The competitor is fitted on makespans: least absolute deviations on n, reads and bytes,
cross-validated on the same parts, and for the other two traces on their own makespans, which the prediction has never
seen. Least squares on n and bytes, the usual regression, is shown beside it.

**A single server** (outside data, hplajw): a week of two disks. The unfinished work at a random moment is what a drain
takes. Predicted from the arrivals and service times of the recording, all of it: Poisson arrivals
(Pollaczek–Khinchine), and the Markovian arrivals of `qt.fit_engine`. Busy periods are compared with Takács' and with
those of arrivals drawn from the fitted process. Recorded arrivals with the services in random order tell how much of a
difference is that services depend on the queue, which no model here knows. Beside them stands what
`qt.histogram_bounds` makes of the recorded latencies, without any model.

Writes validation/results/real_drains.csv; exits with status 1 when a stated figure is not met. Half a minute of
processor time.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

import qtheory as qt
from qtheory.drain.drain_law import DrainTime

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
RESULTS = Path(__file__).parent / "results"
WORKERS = 64
PARTS = 10
ROUNDS = 5
LEVELS = np.array([0.05, 0.5, 0.95])
DRAWN = 400_000
BINS = 64
INNER = (np.arange(20) + 0.5) / 20.0
TRACE = "rw_60_40.490"
STATED_RATIO, STATED_COVERAGE = 1.5, (0.80, 0.97)
"""Median absolute error over that of the regression; share of the batches inside the 90 % interval."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Batches(NamedTuple):
    """What is known of batches before they run: requests, reads among them, bytes."""

    requests: Ints
    reads: Ints
    size: Floats

    def of(self, which: NDArray[Any]) -> Batches:
        """Some of them."""
        return Batches(*(column[which] for column in self))

    @property
    def columns(self) -> Floats:
        """Regressors: 1, requests, bytes, reads."""
        return np.stack([np.ones(len(self.requests)), self.requests, self.size, self.reads], axis=1)


class Requests(NamedTuple):
    """Single requests: batch, whether a read, bytes, begin and end [s]."""

    batch: Ints
    read: NDArray[np.bool_]
    size: Floats
    start: Floats
    end: Floats

    @property
    def batches(self) -> Batches:
        """Their batches."""
        number = [np.bincount(self.batch, weight) for weight in (None, self.read, self.size)]
        return Batches(number[0], np.rint(number[1]).astype(np.int64), number[2])

    @property
    def makespans(self) -> Floats:
        """From the first begin to the last end of each batch [s]."""
        order = np.argsort(self.batch, kind="stable")
        edges = np.searchsorted(self.batch[order], np.arange(int(self.batch.max()) + 1))
        return np.maximum.reduceat(self.end[order], edges) - np.minimum.reduceat(self.start[order], edges)


class Fitted(NamedTuple):
    """What single requests do.

    `latency` are coefficients of a latency: reads, writes [s], bytes of reads, of writes [s/byte]; `turnaround` [s] is
    what a worker loses between two; `gaps[j-1]` [s] is the mean time with j left; `factors` are those of the batches.
    """

    latency: Floats
    turnaround: float
    gaps: Floats
    factors: Floats

    def drain(self, requests: int, reads: int, size: float) -> DrainTime:
        """Drain of a batch whose factor is 1."""
        mean = size / requests
        mix = np.array([reads, requests - reads, reads * mean, (requests - reads) * mean]) / requests
        full = WORKERS / (float(mix @ self.latency) + self.turnaround)
        device = qt.Device(curve=[*(1.0 / self.gaps), full])
        engine = qt.Engine([qt.Disk(qt.Closed(requests), buffer=requests)], device)
        return qt.drain_time(engine, population=requests)

    def quantiles(self, batches: Batches) -> Floats:
        """5, 50 and 95 % points of each batch's makespan [s], over the factors."""
        found = []
        for n, reads, size in zip(*batches, strict=True):
            drain = self.drain(int(n), int(reads), float(size))
            times = np.outer(self.factors, [drain.quantile(p) for p in INNER])
            found.append(np.quantile(times, LEVELS))
        return np.array(found)


def fitted(requests: Requests, batches: Ints) -> Fitted:
    """Fit to the requests of some batches, with at least one of more than `WORKERS` requests among them."""
    chosen = requests.batch[np.isin(requests.batch, batches)]
    read, size, start, end = (column[np.isin(requests.batch, batches)] for column in requests[1:])
    of = np.searchsorted(batches, chosen)
    taken = end - start
    columns = np.stack([read, ~read, size * read, size * ~read], axis=1)
    factors = np.ones(len(batches))
    for _ in range(ROUNDS):  # least squares for the latencies given the factors, and the factors given them
        latency = np.linalg.lstsq(columns * factors[of, None], taken, rcond=None)[0]
        factors = np.bincount(of, taken) / np.bincount(of, columns @ latency)
        scale = float(np.exp(np.log(factors).mean()))
        factors, latency = factors / scale, latency * scale
    idle, between, spent, seen = 0.0, 0, np.zeros(WORKERS - 1), np.zeros(WORKERS - 1)
    for j in range(len(batches)):
        begins, ends = start[of == j], np.sort(end[of == j])
        last = begins.max()
        if len(begins) > WORKERS:
            busy = np.minimum(end[of == j], last) - begins
            idle += (WORKERS * (last - begins.min()) - float(busy.sum())) / factors[j]
            between += len(begins) - WORKERS
        gaps = np.diff(ends[-WORKERS:])[::-1] / factors[j]
        spent[: len(gaps)] += gaps
        seen[: len(gaps)] += 1.0
    return Fitted(latency, idle / between, np.maximum(spent / seen, 1e-9), factors)


def regression(columns: Floats, makespans: Floats) -> Floats:
    """Coefficients of least absolute deviations."""
    n, p = columns.shape
    scale = np.abs(columns).max(axis=0)
    found = linprog(
        np.concatenate([np.zeros(p), np.ones(2 * n)]),
        A_eq=np.hstack([columns / scale, np.eye(n), -np.eye(n)]),
        b_eq=makespans,
        bounds=[(None, None)] * p + [(0.0, None)] * (2 * n),
    )
    return np.asarray(found.x[:p] / scale)


def least_squares(columns: Floats, makespans: Floats) -> Floats:
    """Coefficients of least squares on requests and bytes."""
    return np.append(np.linalg.lstsq(columns[:, :3], makespans, rcond=None)[0], 0.0)


def parts(number: int) -> Ints:
    """Which of `PARTS` each of so many batches belongs to, at random."""
    return np.random.default_rng(1).permutation(number) % PARTS


def held_out(batches: Batches, makespans: Floats, fit: Callable[[Floats, Floats], Floats]) -> Floats:
    """Makespans by regression, each from the other parts."""
    part, found = parts(len(makespans)), np.empty(len(makespans))
    for k in range(PARTS):
        beta = fit(batches.of(part != k).columns, makespans[part != k])
        found[part == k] = batches.of(part == k).columns @ beta
    return found


def held_out_drains(requests: Requests) -> Floats:
    """Quantiles of each batch's makespan from the requests of the other parts."""
    batches = requests.batches
    part, found = parts(len(batches.requests)), np.empty((len(batches.requests), len(LEVELS)))
    for k in range(PARTS):
        found[part == k] = fitted(requests, np.flatnonzero(part != k)).quantiles(batches.of(part == k))
    return found


def compared(quantiles: Floats, batches: Batches, makespans: Floats, told: Floats | None = None) -> dict[str, float]:
    """Median absolute errors [s] of prediction and regressions, and how many are inside the interval.

    `told` are the makespans by the regression that was fitted where the prediction was; None: the same as held out.
    """
    error = _missed(quantiles[:, 1], makespans)
    other = _missed(held_out(batches, makespans, regression), makespans)
    usual = _missed(held_out(batches, makespans, least_squares), makespans)
    inside = (quantiles[:, 0] <= makespans) & (makespans <= quantiles[:, 2])
    return {
        "median error": error,
        "median error of the regression": other,
        "ratio": error / other,
        "ratio, regression fitted where the prediction was": error
        / (other if told is None else _missed(told, makespans)),
        "median error of least squares": usual,
        "median relative error": float(np.median(np.abs(quantiles[:, 1] / makespans - 1.0))),
        "inside the 90 % interval": float(inside.mean()),
        "median ratio predicted/measured": float(np.median(quantiles[:, 1] / makespans)),
    }


def _missed(predicted: Floats, makespans: Floats) -> float:
    """Median absolute error [s]."""
    return float(np.median(np.abs(predicted - makespans)))


def flashnet() -> Requests:
    """The trace that is there request by request: submit, latency [µs], 1 = read, bytes, ..., submitted [ms]."""
    import polars as pl

    rows = pl.read_csv(DATA / "flashnet" / f"flashnet_tencent_nvme.{TRACE}.trace.gz", has_header=False).to_numpy()
    batch = np.unique(rows[:, 0], return_inverse=True)[1]
    start = rows[:, 5] * 1e-3
    return Requests(batch, rows[:, 2] == 1, rows[:, 3].astype(float), start, start + rows[:, 1] * 1e-6)


def other_batches() -> Iterator[tuple[str, Batches, Floats]]:
    """Name, batches and makespans [s] of the other traces."""
    import polars as pl

    frame = pl.read_csv(DATA / "flashnet" / "batch_drains.csv")
    for name in sorted(frame["trace"].unique()):
        if name != TRACE:
            one = frame.filter(pl.col("trace") == name)
            n, reads, size, makespan = (one[c].to_numpy() for c in ("n_io", "n_reads", "bytes", "makespan_us"))
            yield name, Batches(n, reads, size.astype(float)), makespan * 1e-6


class Work(NamedTuple):
    """Unfinished work of a single server: just after each arrival [s], and the time to the next one [s]."""

    after: Floats
    gap: Floats

    @classmethod
    def of(cls, arrival: Floats, service: Floats) -> Work:
        """Of recorded arrivals and services, whatever the order of service."""
        gap = np.diff(arrival)
        idle = np.minimum(np.append(0.0, np.cumsum(service[:-1] - gap)), 0.0)
        left = np.cumsum(service) - np.append(0.0, np.cumsum(gap)) - np.minimum.accumulate(idle)
        return cls(left[:-1], gap)

    def sf(self, t: float) -> float:
        """Fraction of the time with more than t [s] to do."""
        return float(np.clip(self.after - t, 0.0, self.gap).sum() / self.gap.sum())

    @property
    def mean(self) -> float:
        """Mean over time [s]."""
        spent = np.minimum(self.after, self.gap)
        return float((self.after * spent - spent**2 / 2.0).sum() / self.gap.sum())

    @property
    def busy_periods(self) -> Floats:
        """Their lengths [s]."""
        ends = np.flatnonzero(self.after <= self.gap)
        total = np.append(0.0, np.cumsum(np.minimum(self.after, self.gap)))[ends + 1]
        return np.diff(total, prepend=0.0)


def single_servers() -> Iterator[tuple[str, qt.Trace]]:
    """Name and requests of the two disks, with their service times."""
    import polars as pl

    frame = pl.read_csv(DATA / "hplajw" / "hplajw_1992_2disks.csv.gz")
    for disk in (0, 1):
        one = frame.filter(pl.col("disk") == disk).sort("t_enqueue_s")
        none = np.zeros(len(one), dtype=np.int64)
        yield (
            f"disk {disk}",
            qt.Trace(
                arrival=one["t_enqueue_s"].to_numpy(),
                disk=none,
                disks=[f"disk {disk}"],
                op=(one["op"] == "W").to_numpy().astype(np.int8),
                offset=one["sectno"].to_numpy() * 512,
                size=one["size_bytes"].to_numpy(),
                response=one["stop_us"].to_numpy() * 1e-6,
                service=(one["stop_us"] - one["start_us"]).to_numpy() * 1e-6,
            ),
        )


def workloads(trace: qt.Trace) -> Iterator[tuple[str | float, ...]]:
    """Quantity; as recorded; services drawn anew; fitted arrivals; Poisson arrivals; at most, by the latencies."""
    service = trace.service
    assert service is not None
    engine = qt.fit_engine(trace, servers=1).phase_type_engine
    bursty = engine.disks[0].arrivals
    assert engine.device is not None
    assert isinstance(bursty, qt.MAP)
    rate, law = len(trace) / float(trace.arrival[-1] - trace.arrival[0]), engine.device.service
    assert law is not None
    rng = np.random.default_rng(1)
    work = Work.of(trace.arrival, service)
    redrawn = Work.of(trace.arrival, rng.permutation(service))
    fit, poisson = (qt.drain_time(one) for one in (engine, qt.Engine([qt.Disk(qt.Poisson(rate))], engine.device)))
    assert trace.response is not None
    edges = np.append(0.0, np.geomspace(1e-4, float(trace.response.max()) * 1.001, BINS))
    bounds = qt.histogram_bounds(edges, np.histogram(trace.response, edges)[0], rate=rate)
    yield "drain mean [s]", work.mean, redrawn.mean, fit.mean, poisson.mean, bounds.mean[1]
    for t in (0.0, 0.01, 0.03, 0.1, 0.3, 1.0):
        yield f"P(drain > {t:g} s)", work.sf(t), redrawn.sf(t), fit.sf(t), poisson.sf(t), bounds.sf(t)[1]
    of_fit = Work.of(bursty.sample(rng, DRAWN), law.sample(rng, DRAWN))
    busy = [one.busy_periods for one in (work, redrawn, of_fit)]
    takacs = qt.stations.busy_period(arrival_rate=rate, service=law)
    a, b, c = (float(periods.mean()) for periods in busy)
    yield "busy period mean [s]", a, b, c, takacs.mean, ""
    for t in (0.03, 0.1, 0.3, 1.0):
        a, b, c = (float(np.mean(periods > t)) for periods in busy)
        yield f"P(busy period > {t:g} s)", a, b, c, takacs.sf(t), ""
    a, b, c = (float(np.sum(periods**2) / np.sum(periods)) for periods in busy)
    yield "busy period met at a busy moment, mean [s]", a, b, c, takacs.moment(2) / takacs.mean, ""


def main() -> None:
    """Write the table; status 1 when a stated figure is not met."""
    requests = flashnet()
    found = {TRACE: compared(held_out_drains(requests), requests.batches, requests.makespans)}
    everything = fitted(requests, np.arange(len(requests.batches.requests)))
    beta = regression(requests.batches.columns, requests.makespans)
    for name, batches, makespans in other_batches():
        found[name] = compared(everything.quantiles(batches), batches, makespans, batches.columns @ beta)
    rows: list[tuple[str | float, ...]] = []
    failed = False
    for name, row in found.items():
        rows += [(name, quantity, value, *[""] * 4) for quantity, value in row.items()]
        low, high = STATED_COVERAGE
        failed |= row["ratio"] > STATED_RATIO or not low <= row["inside the 90 % interval"] <= high
    for name, trace in single_servers():
        rows += [(name, *numbers) for numbers in workloads(trace)]
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / "real_drains.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            (
                "recording",
                "quantity",
                "measured or found",
                "services drawn",
                "markovian arrivals",
                "poisson",
                "at most, by latencies",
            )
        )
        for line in rows:
            shown = [f"{x:.4g}" if isinstance(x, float) else x for x in line]
            writer.writerow(shown)
            print(*shown, sep=", ")
    sys.exit(failed)


if __name__ == "__main__":
    main()
