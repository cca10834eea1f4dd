"""From fio runs of real devices to queue lengths: python -m validation.fio_sizing GRID

GRID is a table of fio runs, iodepth × jobs at each of many devices, as CSV: device names in `dataset`, `rw` and
`rwmixread`, one row for each direction of a run (`source_path`), with `iops`, `lat_us_mean`, `lat_scv`,
`clat_p99_max` [µs] and `littles_XR`, throughput × latency. Four tables in validation/results, and a picture in build:

* `fio_left_out.csv`: each depth left out in turn, and what curves through the others make of it;
* `fio_prediction.csv`: from the runs of one job alone, throughput and latency of those of more jobs; and the 99 %
  latencies over the mean: ln 100 = 4.6 by a rate curve, where any of n requests may be the next to complete;
* `fio_sizing.csv`: queue lengths of real devices against the number of disks, with 95 % intervals;
* `fio_constants.csv`: what QEMU's constants lose there, and how long they drain.

Runs whose throughput × latency is not within 10 % of what fio kept outstanding are left out, and counted. Exits
with status 1 when another kind of curve comes nearer to the depths left out. A few minutes of processor time.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.optimize import isotonic_regression, nnls

import qtheory as qt
from qtheory.fit.answer import Answer
from qtheory.fit.depth_sweep import NEAR, FittedDevice
from qtheory.sizing.optimum import Limits, Search, throughput
from qtheory.sizing.sweep import with_queue_length

Floats = NDArray[np.float64]

RESULTS = Path(__file__).parent / "results"
BUILD = Path(__file__).parents[1] / "build"
RESAMPLES = 20
OUTSTANDING, BUFFER, LOAD = 64, 256, 0.7
COUNTS = (1, 4, 16, 64)
CONSTANTS = {"Linux AIO": 1024, "io_uring": 128, "threads": 64}

DEVICES = {
    "HDD, 7200 rpm, NCQ: read": ("HPMICROSERVERG10/SATA_AHCI_SAMSUNGF1_1TB_7K2RPM", "randread", None),
    "RAID 5 of 8 HDDs: read": ("SERVER/IBM_M1015/8x2TBRAID5MDADM", "randread", None),
    "RAID 5 of 8 HDDs: write": ("SERVER/IBM_M1015/8x2TBRAID5MDADM", "randwrite", None),
    "SATA SSD: read": ("HPMICROSERVERG10/SATA_AHCI_SAMSUNG_PM833_MZ7LH480HAHQ", "randread", None),
    "SATA SSD: read and write": ("NEW/P420i_INTEL_RW", "randrw", None),
    "Ceph RBD on SSDs: read": ("test-ceph-ssd", "randread", None),
    "NVMe: read": ("4096_sector/1x/4k", "randread", None),
    "NVMe: 65 % read": ("4096_sector/1x/randrw65/4k", "randrw", None),
    "NVMe, one submitter: read": ("4096_sector/1x/4k", "randread", 1),
    "SATA SSD, one submitter: read": ("HPMICROSERVERG10/SATA_AHCI_SAMSUNG_PM833_MZ7LH480HAHQ", "randread", 1),
}
"""Where the runs are, and the jobs they must have; an event loop of a virtual machine monitor is one submitter."""


class Run(NamedTuple):
    """One fio run, reads and writes together; times in seconds."""

    depth: int
    jobs: int
    rate: float
    latency: float
    p99: float | None
    scv: float | None


Sweeps = Mapping[tuple[str, str], Sequence[Run]]


def read(path: Path) -> tuple[Sweeps, int]:
    """The runs of each device and workload, and how many were left out."""
    directions = defaultdict(list)
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            directions[row["dataset"], row["rw"], row["source_path"]].append(row)
    sweeps, left_out = defaultdict(list), 0
    for (dataset, rw, _), rows in directions.items():
        depth = int(rows[0]["iodepth"]) * int(rows[0]["numjobs"])
        rate = sum(float(row["iops"]) for row in rows)
        in_flight = sum(float(row["littles_XR"]) for row in rows)
        if abs(in_flight / depth - 1.0) > NEAR:
            left_out += 1
            continue
        # Percentiles of several directions or jobs cannot be taken together.
        one = rows[0] if len(rows) == 1 and rows[0]["json_jobs"] == "1" else None
        sweeps[dataset, rw].append(
            Run(
                depth,
                int(rows[0]["numjobs"]),
                rate,
                in_flight / rate,
                float(one["clat_p99_max"]) / 1e6 if one and one["clat_p99_max"] else None,
                float(one["lat_scv"]) if one and one["lat_scv"] else None,
            )
        )
    return sweeps, left_out


# ------------------------------------------------------------------------------------------------- a depth left out

Curve = Callable[[Floats, Floats, float], float]


def straight(n: Floats, x: Floats, at: float, *, logarithmic: bool) -> float:
    """Straight lines between the points."""
    if logarithmic:
        return float(np.exp(np.interp(np.log(at), np.log(n), np.log(x))))
    return float(np.interp(at, n, x))


def cubic(n: Floats, x: Floats, at: float) -> float:
    """Monotone cubics on logarithmic axes."""
    return float(np.exp(PchipInterpolator(np.log(n), np.log(x))(np.log(at))))


def monotone(n: Floats, x: Floats) -> Floats:
    """Monotone regression of the logarithms."""
    return np.asarray(np.exp(isotonic_regression(np.log(x)).x))


def concave(n: Floats, x: Floats) -> Floats:
    """Monotone concave regression through the origin, by relative errors."""
    bends = np.minimum.outer(n, n)
    return np.asarray(bends @ nnls(bends / x[:, None], np.ones(len(x)))[0])


CURVES: dict[str, Curve] = {
    "straight lines": partial(straight, logarithmic=False),
    "straight lines, log axes": partial(straight, logarithmic=True),
    "cubics, log axes": cubic,
    "monotone regression, straight lines, log axes": lambda n, x, at: straight(n, monotone(n, x), at, logarithmic=True),
    "monotone regression, cubics, log axes": lambda n, x, at: cubic(n, monotone(n, x), at),
    "concave regression, straight lines": lambda n, x, at: straight(n, concave(n, x), at, logarithmic=False),
    "concave regression, straight lines, log axes": lambda n, x, at: straight(n, concave(n, x), at, logarithmic=True),
    "concave regression, cubics, log axes": lambda n, x, at: cubic(n, concave(n, x), at),
}


def left_out(sweeps: Sweeps) -> Iterator[dict[str, Any]]:
    """Log errors of each kind of curve, at inner depths, over all sweeps of at least five."""
    for name, chosen in (("all runs", None), ("runs of one job", 1)):
        errors: dict[str, list[float]] = defaultdict(list)
        of_sweeps: dict[str, list[float]] = defaultdict(list)
        for runs in sweeps.values():
            n, x = means([run for run in runs if chosen is None or run.jobs == chosen])
            if len(n) < 5:
                continue
            for kind, curve in CURVES.items():
                own = [np.log(curve(np.delete(n, i), np.delete(x, i), n[i]) / x[i]) for i in range(1, len(n) - 1)]
                errors[kind] += own
                of_sweeps[kind].append(float(np.sqrt(np.mean(np.square(own)))))
        for kind, off in errors.items():
            yield {
                "runs": name,
                "curve": kind,
                "sweeps": len(of_sweeps[kind]),
                "depths": len(off),
                "median_off": part(float(np.median(np.abs(off)))),
                "p90_off": part(float(np.quantile(np.abs(off), 0.9))),
                "rms_off": part(float(np.sqrt(np.mean(np.square(off))))),
                "median_rms_of_a_sweep": part(float(np.median(of_sweeps[kind]))),
            }


def means(runs: Sequence[Run]) -> tuple[Floats, Floats]:
    """Depths, and the geometric mean of the rates at each."""
    n, which = np.unique([run.depth for run in runs], return_inverse=True)
    logs = np.bincount(which, np.log([run.rate for run in runs])) / np.bincount(which)
    return n.astype(float), np.exp(logs)


# --------------------------------------------------------------------------------------------------------- prediction


def predictions(sweeps: Sweeps) -> Iterator[dict[str, Any]]:
    """Runs of more jobs, from the curve of those of one job; and 99 % latencies against exponential ones.

    The knee that parts the latencies is where the curve first has 90 % of its highest rate.
    """
    for (dataset, rw), runs in sorted(sweeps.items()):
        own = [run for run in runs if run.jobs == 1]
        if len({run.depth for run in own}) < 5:
            continue
        fit = fitted(own)
        others = [run for run in runs if run.jobs > 1 and run.depth <= fit.depths[-1]]
        if not others:
            continue
        model = np.array([fit.device.rates(run.depth)[-1] for run in others])
        rate, latency = (np.array([getattr(run, name) for run in others]) for name in ("rate", "latency"))
        depth = np.array([run.depth for run in others])
        curve = fit.device.rates(fit.depths[-1])
        knee = int(np.argmax(curve >= 0.9 * curve.max())) + 1
        row: dict[str, Any] = {"dataset": dataset, "rw": rw, "runs": len(others), "knee": knee}
        for name, off in (("rate", model / rate - 1.0), ("latency", depth / model / latency - 1.0)):
            row[f"{name}_median_off"] = part(float(np.median(np.abs(off))))
            row[f"{name}_p90_off"] = part(float(np.quantile(np.abs(off), 0.9)))
        for where, inside in (("below", lambda n, knee=knee: n < knee), ("beyond", lambda n, knee=knee: n >= knee)):
            known = [run for run in runs if run.p99 is not None and inside(run.depth)]
            ratio = [run.p99 / run.latency for run in known if run.p99 is not None]
            scv = [run.scv for run in known if run.scv is not None]
            row[f"p99_over_mean_{where}_knee"] = round(float(np.median(ratio)), 2) if ratio else ""
            row[f"scv_{where}_knee"] = round(float(np.median(scv)), 2) if scv else ""
        yield row


def fitted(runs: Sequence[Run]) -> FittedDevice:
    """The device of some runs."""
    return qt.fit_depth_sweep([run.depth for run in runs], [run.rate for run in runs], [run.latency for run in runs])


# ------------------------------------------------------------------------------------------------------ queue lengths


def engine(device: qt.Device, disks: int, guests: str) -> qt.Engine:
    """Disks on one device: saturated guests, or Poisson arrivals that offer a part of the highest rate."""
    if guests == "saturated":
        disk = qt.Disk(qt.Closed(OUTSTANDING), buffer=OUTSTANDING)
    else:
        disk = qt.Disk(qt.Poisson(LOAD * device.capacity / disks), buffer=BUFFER)
    return qt.Engine([disk] * disks, device, hold="ring")


QUESTIONS: dict[str, Callable[[qt.Engine, int | None], int]] = {
    "loss_1%": lambda e, guess: Search(e, Limits(max_throughput_loss=0.01), guess).lower,
    "loss_5%": lambda e, guess: Search(e, Limits(max_throughput_loss=0.05), guess).lower,
    "drain_10ms": lambda e, _: Search(e, Limits(drain_budget=0.010)).upper()[0],
    "drain_50ms": lambda e, _: Search(e, Limits(drain_budget=0.050)).upper()[0],
}


def queue_lengths(devices: Mapping[str, FittedDevice]) -> Iterator[dict[str, Any]]:
    """Shortest queue for each loss, longest for each drain, with intervals where the runs tell their spread.

    0: not even one request drains in time.
    """
    for name, fit in devices.items():
        for guests in ("saturated", f"Poisson, {LOAD:.0%}"):
            for disks in COUNTS:
                row: dict[str, Any] = {"device": name, "guests": guests, "disks": disks}
                resampled = fit.resampled(RESAMPLES) if fit.spread is not None else ()
                refits = [engine(device, disks, guests) for device in resampled]
                for question, ask in QUESTIONS.items():
                    value = ask(engine(fit.device, disks, guests), None)
                    row |= {question: value, f"{question}_low": "", f"{question}_high": ""}
                    if refits:
                        answer = Answer.over(value, [ask(refit, value) for refit in refits])
                        row |= {f"{question}_low": round(answer.low, 1), f"{question}_high": round(answer.high, 1)}
                yield row


def constants(devices: Mapping[str, FittedDevice]) -> Iterator[dict[str, Any]]:
    """16 saturated disks: throughput lost, against no limit and against the best, and the 99 % drain, to each constant.

    The drain is that of what was submitted. QEMU's waits for all that it has taken from the rings: `qemu_drain_ms`.
    """
    for name, fit in devices.items():
        whole = engine(fit.device, 16, "saturated")
        best = Search(whole, Limits(max_throughput_loss=0.05)).lower
        full = throughput(with_queue_length(whole, None))
        highest = fit.device.capacity
        everything = quantile(qt.Engine(whole.disks, fit.device, None, "engine"))
        for rule, length in (*CONSTANTS.items(), ("optimum for 5 %", best)):
            at = with_queue_length(whole, length)
            yield {
                "device": name,
                "rule": rule,
                "queue_length": length,
                "loss": part(1.0 - throughput(at) / full),
                "below_best_rate": part(1.0 - throughput(at) / highest),
                "drain_ms": ms(quantile(at)),
                "qemu_drain_ms": ms(everything),
            }


def quantile(whole: qt.Engine) -> float:
    """99 % of the drains [s]."""
    return qt.drain_time(whole).quantile(0.99)


def picture(rows: Sequence[Mapping[str, Any]], devices: Mapping[str, FittedDevice]) -> Figure:
    """Rate curves with their runs, and the shortest queues for 5 % loss against disks, with intervals."""
    figure = Figure(figsize=(11.0, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, fit in devices.items():
        curve = np.asarray(fit.device.curve)
        (line,) = left.loglog(np.arange(1, len(curve) + 1), curve / fit.saturation, linewidth=1.0, label=name)
        left.loglog(fit.depths, np.array(fit.throughputs) / fit.saturation, ".", color=line.get_color())
        own = [row for row in rows if row["device"] == name and row["guests"] == "saturated"]
        value = np.array([row["loss_5%"] for row in own], dtype=float)
        low, high = (np.array([row[f"loss_5%_{end}"] or row["loss_5%"] for row in own]) for end in ("low", "high"))
        ends = np.abs([low - value, high - value])
        right.errorbar([row["disks"] for row in own], value, ends, marker="o", markersize=3, linewidth=1.0, capsize=2)
    for rule, length in CONSTANTS.items():
        right.axhline(length, color="0.7", linewidth=0.8)
        right.annotate(f"{rule} {length}", (1, length), fontsize=7, va="bottom", color="0.4")
    left.set(xlabel="requests in flight", ylabel="throughput / highest")
    left.legend(fontsize=7, frameon=False)
    right.set(xlabel="disks, 64 outstanding each", ylabel="queue length for 5 % loss", xscale="log", yscale="log")
    right.set_xticks(COUNTS, [str(n) for n in COUNTS])
    return figure


# -------------------------------------------------------------------------------------------------------------- output


def part(fraction: float) -> float:
    """Four digits of a fraction."""
    return round(fraction, 4)


def ms(seconds: float) -> float:
    """Milliseconds."""
    return round(seconds * 1e3, 2)


def write(name: str, rows: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """Write the table and print it."""
    print(name)
    found = []
    for row in rows:
        found.append(row)
        print("  ", *row.values(), flush=True)
    with (RESULTS / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, found[0])
        writer.writeheader()
        writer.writerows(found)
    return found


def median(row: Mapping[str, Any]) -> float:
    """By which the curves of a row are off, in the median."""
    return float(row["median_off"])


def main(grid: Path) -> int:
    """Write the tables and the picture; 1 when another curve comes nearer to depths left out than the one in use."""
    sweeps, bad = read(grid)
    print(f"{sum(map(len, sweeps.values()))} runs of {len(sweeps)} sweeps; {bad} left out by Little's law")
    curves = write("fio_left_out.csv", left_out(sweeps))
    nearest = {min((row for row in curves if row["runs"] == r["runs"]), key=median)["curve"] for r in curves}
    write("fio_prediction.csv", predictions(sweeps))
    devices = {}
    for name, (end, rw, jobs) in DEVICES.items():
        (runs,) = (runs for (dataset, how), runs in sweeps.items() if dataset.endswith(end) and how == rw)
        devices[name] = fitted([run for run in runs if jobs is None or run.jobs == jobs])
        print(f"{name}\n{devices[name]}\n")
    write("fio_constants.csv", constants(devices))
    rows = write("fio_sizing.csv", queue_lengths(devices))
    BUILD.mkdir(exist_ok=True)
    picture(rows, devices).savefig(BUILD / "fio_sizing.png", dpi=100)
    return int(nearest != {"cubics, log axes"})


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m validation.fio_sizing GRID")
    sys.exit(main(Path(sys.argv[1])))
