"""What the bench has measured against what was predicted: python -m validation.qemu.compare [--data FOLDER]

Reads the data that are kept and the predictions that were made before, and needs no QEMU. Writes to validation/results

`qemu.csv`
    a row for each cell: throughput of each disk, response time, median and 90 % quantile of the stop, predicted and
    measured, with the relative errors and intervals of the measured quantiles that hold with 95 % whatever the law (two
    order statistics); the parts of the stop; and whether each is as near as was asked: throughput within 5 %, the
    median within 10 %, the 90 % quantile within 15 %; and whether the prediction is in the interval. The downtime of
    a migration stands for its stop; predicted is that of the idle guest, measured, and the drain.
`qemu_questions.md`
    what follows for the questions that the bench was made for;
`qemu.png`
    stops against what was varied.

and prints the errors, and in how many of the cells with service times of 5 ms and more they are small enough.
"""

import argparse
import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from validation.tables import RESULTS, write

from . import recordings
from .cells import CELLS, MIGRATIONS, Cell
from .recordings import Column, column

WITHIN = {"iops": 0.05, "median": 0.10, "90": 0.15}
LEAST_SERVICE = 0.005
COVERAGE = 0.95
DIGITS = 5

Row = dict[str, Any]
Numbers = dict[str, dict[str, float]]
"""What is known of each cell, by name; what is not known is left out."""


def interval(values: Column, p: float) -> tuple[float, float]:
    """Two of the values between which the p-quantile of their law lies with probability `COVERAGE`, inf for none.

    Of n values as many as a binomial number are below the quantile.

    >>> interval(np.arange(1.0, 101.0), 0.5)
    (40.0, 61.0)
    >>> interval(np.arange(1.0, 11.0), 0.9)
    (7.0, inf)
    """
    from scipy.stats import binom

    ordered, n = np.sort(values), len(values)
    low = int(binom.ppf((1.0 - COVERAGE) / 2.0, n, p))
    high = int(binom.ppf((1.0 + COVERAGE) / 2.0, n, p)) + 1
    return float(ordered[low - 1]) if low else 0.0, float(ordered[high - 1]) if high <= n else np.inf


def read(path: Path) -> Numbers:
    """A table with one row for each cell."""
    with path.open(newline="", encoding="utf-8") as file:
        return {
            row["cell"]: {name: x for name in row if (x := _number(row[name])) is not None}
            for row in csv.DictReader(file)
        }


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def measured(folder: Path) -> Numbers:
    """What was seen of each cell."""
    found: Numbers = {}
    stops, seconds, migrations = (recordings.table(name, folder) for name in ("stops", "seconds", "migrations"))
    for name, rows in (stops | migrations).items():
        total = column(rows, "downtime" if name in migrations else "took")
        found[name] = {"stops": len(rows)}
        for quantile, p in (("median", 0.5), ("90", 0.9)):
            low, high = interval(total, p)
            found[name] |= {quantile: float(np.quantile(total, p)), f"{quantile}_low": low, f"{quantile}_high": high}
        for part in ("vcpus", "disks", "flush"):
            found[name][part] = float(np.median(column(rows, part)))
        if rows[0].get("completed"):
            found[name]["completed"] = float(column(rows, "completed").mean())
            found[name]["lead"] = float(column(rows, "lead").mean())
        if name in seconds:
            requests = column(seconds[name], "requests").sum()
            found[name]["iops"] = float(requests / column(seconds[name], "elapsed").sum())
            found[name]["response"] = float(column(seconds[name], "response").sum() / requests)
    return found


def compared(folder: Path, predictions: Numbers) -> list[Row]:
    """A row for each cell that was measured, but calibrations."""
    seen = measured(folder)
    rows = []
    for cell in (*CELLS.values(), *MIGRATIONS.values()):
        if cell.question != "calibration" and cell.name in seen:
            said = predictions.get(cell.name, {})
            if cell.question == "migration":
                said = _downtime(said, seen.get("migration-idle"))
            rows.append(_row(cell, said, seen[cell.name]))
    return rows


def _downtime(said: dict[str, float], idle: dict[str, float] | None) -> dict[str, float]:
    """The downtime of a migration from that of an idle guest, and the drain."""
    if not said or idle is None:
        return {}
    return {"flush": said["flush"]} | {f"stop_{q}": idle["median"] + said[f"drain_{q}"] for q in ("median", "90")}


COLUMNS = (
    "cell", "question", "stops",
    "iops_predicted", "iops_measured", "iops_error",
    "response_predicted", "response_measured", "response_error",
    "median_predicted", "median_measured", "median_low", "median_high", "median_error",
    "90_predicted", "90_measured", "90_low", "90_high", "90_error",
    "pause_predicted", "pause_measured", "drain_predicted", "drain_measured", "flush_predicted", "flush_measured",
    "flush_share_predicted", "flush_share_measured",
    "completed_predicted", "completed_measured",
    "stationary_median_error", "stationary_90_error", "cycle_median_error", "cycle_90_error", "cycle_iops_error",
    "iops_within", "median_within", "90_within", "median_covered", "90_covered",
)  # fmt: skip


def _row(cell: Cell, said: dict[str, float], seen: dict[str, float]) -> Row:
    row: Row = {"cell": cell.name, "question": cell.question, "stops": int(seen["stops"])}

    def put(name: str, predicted: float | None, was: float | None) -> None:
        row[f"{name}_predicted"], row[f"{name}_measured"] = predicted, was
        if predicted is not None and was:
            row[f"{name}_error"] = predicted / was - 1.0

    put("iops", said.get("iops"), seen.get("iops"))
    put("response", said.get("response"), seen.get("response"))
    for name in ("median", "90"):
        put(name, said.get(f"stop_{name}"), seen[name])
        row |= {f"{name}_{end}": seen[f"{name}_{end}"] for end in ("low", "high")}
        for law in ("stationary", "cycle"):
            if f"{law}_{name}" in said and cell.question != "migration":
                row[f"{law}_{name}_error"] = said[f"{law}_{name}"] / seen[name] - 1.0
    if "cycle_iops" in said and "iops" in seen:
        row["cycle_iops_error"] = said["cycle_iops"] / seen["iops"] - 1.0
    put("pause", said.get("pause"), seen["vcpus"])
    put("drain", said.get("drain_median"), seen["disks"])
    put("flush", said.get("flush"), seen["flush"])
    put("completed", said.get("completed"), seen.get("completed"))
    row["flush_share_measured"] = seen["flush"] / seen["median"]
    if said:
        row["flush_share_predicted"] = said["flush"] / said["stop_median"]
    for name, most in WITHIN.items():
        if f"{name}_error" in row:
            row[f"{name}_within"] = int(abs(row[f"{name}_error"]) <= most)
    for name in ("median", "90"):
        if (predicted := row[f"{name}_predicted"]) is not None:
            row[f"{name}_covered"] = int(row[f"{name}_low"] <= predicted <= row[f"{name}_high"])
    return {name: _shown(row.get(name)) for name in COLUMNS}


def _shown(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.{DIGITS}g}" if np.isfinite(value) else ""
    return "" if value is None else value


def counted(rows: Sequence[Row]) -> dict[str, tuple[int, int]]:
    """In how many of the cells whose service is known, and long, each error is small enough."""
    which = [row for row in rows if row["cell"] in CELLS and row["median_error"] != ""]
    which = [row for row in which if CELLS[row["cell"]].service.mean >= LEAST_SERVICE]
    met: dict[str, Callable[[Row], bool]] = {
        "throughput within 5 %": lambda row: bool(row["iops_within"]),
        "median within 10 %": lambda row: bool(row["median_within"]),
        "90 % quantile within 15 %": lambda row: bool(row["90_within"]),
        "both quantiles": lambda row: bool(row["median_within"] and row["90_within"]),
        "median in the measured interval": lambda row: bool(row["median_covered"]),
    }
    return {what: (sum(map(is_met, which)), len(which)) for what, is_met in met.items()}


def ms(seconds: float) -> str:
    """A time for reading.

    >>> ms(0.03661), ms(0.487)
    ('36.6', '487')
    """
    return f"{1000 * seconds:.3g}"


class Answers:
    """The questions, answered from the table of cells that was written."""

    def __init__(self, cells: Numbers, turns: dict[str, Column], counts: dict[str, tuple[int, int]]) -> None:
        self.cells = cells
        self.turns = turns
        self.counts = counts
        self.lines: list[str] = []

    def have(self, *names: str) -> bool:
        """Whether all of these cells were measured."""
        return all(name in self.cells for name in names)

    def stop(self, name: str) -> str:
        """The median stop of a cell [ms], with its interval."""
        cell = self.cells[name]
        return f"{ms(cell['median_measured'])} ({ms(cell['median_low'])}–{ms(cell.get('median_high', np.inf))})"

    def ratio(self, name: str, to: str, what: str = "median_measured") -> float:
        """Of one cell to another."""
        return self.cells[name][what] / self.cells[to][what]

    def head(self, title: str, *columns: str) -> None:
        """Begin the answer to a question, with a table."""
        self.lines += ["", f"## {title}", "", "| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]

    def row(self, *entries: object) -> None:
        """Add to the table."""
        self.lines.append("| " + " | ".join(map(str, entries)) + " |")

    def say(self, text: str) -> None:
        """Say what follows from it."""
        self.lines += ["", text]

    def compared(self, *names: str) -> None:
        """Rows of throughput, and stops measured and predicted."""
        for name in names:
            if name in self.cells:
                cell = self.cells[name]
                said = [ms(cell[f"{q}_predicted"]) if f"{q}_predicted" in cell else "–" for q in ("median", "90")]
                self.row(name, f"{cell['iops_measured']:.1f}", self.stop(name), said[0],
                         ms(cell["90_measured"]), said[1])  # fmt: skip

    def all(self) -> str:
        """The text."""
        self.lines = [
            "# What the QEMU bench says", "",
            "By `python -m validation.qemu.compare`. Times in ms, medians with 95 % intervals; IOPS of each disk.",
        ]  # fmt: skip
        for answer in (self.depth, self.rate, self.guest_limit, self.lead, self.engine, self.disks, self.flush,
                       self.migration, self.accuracy):  # fmt: skip
            begin = len(self.lines)
            answer()
            if self.lines[-1].startswith("|---"):  # nothing of it was measured
                del self.lines[begin:]
        return "\n".join(self.lines) + "\n"

    STOPS = ("cell", "IOPS", "stop, median", "predicted", "90 %", "predicted")

    def depth(self) -> None:
        """(a) Stop time against depth."""
        self.head("(a) Stop time against depth", *self.STOPS)
        self.compared(*(name for name in self.cells if name in CELLS and CELLS[name].question == "depth"))
        for kind, low, high in (("delay", 8, 64), ("exponential", 8, 32), ("scv4", 8, 32)):
            first, last = f"{kind}-{low}", f"{kind}-{high}"
            if self.have(first, last):
                service = CELLS[first]
                slope = (self.cells[last]["median_measured"] - self.cells[first]["median_measured"]) / (high - low)
                self.say(
                    f"{kind}: from depth {low} to {high} the throughput changes by "
                    f"{self.ratio(last, first, 'iops_measured') - 1.0:+.1%} and the stop is "
                    f"{self.ratio(last, first):.1f} times as long: {ms(slope)} ms for each request of a disk's, "
                    f"S/c = {ms(service.service.mean / (service.servers or 1))} ms."
                )
        names = [f"delay-{n}" for n in (1, 2, 4) if self.have(f"delay-{n}")]
        if names:
            said = []
            for name in names:
                step, alone = (self.cells[name][f"{law}_median_error"] for law in ("cycle", "stationary"))
                said.append(f"{name} {step:+.0%} and {alone:+.0%}")
            self.say(
                "Are the disks in step? Error of the predicted median when they are, and when they are independent: "
                f"{'; '.join(said)}."
            )

    def rate(self) -> None:
        """(b) A rate limit."""
        self.head("(b) QEMU's rate limit", *self.STOPS)
        names = [name for name in self.cells if name in CELLS and CELLS[name].rate_limit]
        self.compared("delay-32", *names)
        for name in names:
            turns = ", ".join(f"{1000.0 * turn:.0f}" for turn in self.turns.get(name, ()))
            factor = (
                f"{self.ratio(name, 'delay-32'):.2f} times the stop without a limit; " if self.have("delay-32") else ""
            )
            self.say(f"{name}: {factor}the disks' turns begin at {turns} ms (medians).")

    def guest_limit(self) -> None:
        """(c) A limit before QEMU takes requests."""
        self.head("(c) A limit in the guest", *self.STOPS)
        names = [name for name in self.cells if name in CELLS and CELLS[name].question == "guest limit"]
        self.compared("delay-64", *names)
        if self.have("delay-64"):
            for name in names:
                self.say(
                    f"{name}: {self.ratio(name, 'delay-64'):.1%} of the stop, "
                    f"{self.ratio(name, 'delay-64', 'iops_measured'):.1%} of the throughput."
                )

    def lead(self) -> None:
        """(d) How far in advance."""
        self.head("(d) How far in advance", "lead", "stop, median", "predicted", "library's limit",
                  "full drain less lead", "completed", "predicted", "throughput lost")  # fmt: skip
        names = [name for name in self.cells if name in CELLS and CELLS[name].question == "lead"]
        full = self.cells.get("delay-64", {})
        enough = None
        for name in names:
            cell, known = self.cells[name], CELLS[name]
            lead = known.lead or 0.0
            usual = cell["iops_measured"] * known.disks * lead
            left = ms(max(full["median_measured"] - lead, 0.0)) if full else "–"
            done, said = cell["completed_measured"], cell["completed_predicted"]
            library = cell["median_measured"] * (1.0 + cell["stationary_median_error"])
            self.row(ms(lead), self.stop(name), ms(cell["median_predicted"]), ms(library), left, f"{done:.0f}",
                     f"{said:.0f}", f"{1.0 - done / usual:.1%}")  # fmt: skip
            limited = self.cells.get("guest-limit-8", {}).get("median_measured")
            if enough is None and limited is not None and cell["median_measured"] <= 1.1 * limited:
                enough = lead
        if names:
            self.say(
                "Predicted is a limit as nr_requests sets it: the queue is frozen until what is outstanding has "
                "completed. The library's takes the next request as soon as fewer than the limit are outstanding."
            )
        if enough is not None and full:
            self.say(
                f"The first lead whose stop is at most a tenth longer than under a limit that always holds is "
                f"{ms(enough)} ms; the queues that it has to outlast take {ms(full['median_measured'])} ms."
            )

    def engine(self) -> None:
        """(e) Engines."""
        self.head("(e) linux-aio, io_uring, threads", *self.STOPS)
        names = [name for name in self.cells if name in CELLS and CELLS[name].question == "engine"]
        self.compared(*names)
        for kind, native in (("shared", "disks-4"), ("disk", "disk-native")):
            three = [native, f"{kind}-io_uring", f"{kind}-threads"]
            if self.have(*three):
                medians, iops = (
                    [self.cells[name][what] for name in three] for what in ("median_measured", "iops_measured")
                )
                self.say(
                    f"{kind}: the three engines' stops differ by {max(medians) / min(medians) - 1.0:.0%}, "
                    f"their throughputs by {max(iops) / min(iops) - 1.0:.0%}."
                )
        if self.have("threads-8", "threads-64"):
            self.say(
                f"Eight times the threads: {self.ratio('threads-64', 'threads-8', 'iops_measured'):.1f} times the "
                f"throughput, {self.ratio('threads-64', 'threads-8'):.2f} times the stop. What waits for a thread is "
                "waited for at a stop."
            )

    def disks(self) -> None:
        """(f) Disks on one engine."""
        self.head("(f) Disks on one engine and one device", *self.STOPS)
        names = [name for name in self.cells if name in CELLS and CELLS[name].question == "disks"]
        self.compared(*names)
        if self.have("disks-1", "disks-8"):
            total = 8.0 * self.ratio("disks-8", "disks-1", "iops_measured")
            self.say(
                f"Eight disks instead of one: {total:.2f} times the throughput of all, "
                f"{self.ratio('disks-8', 'disks-1'):.1f} times the stop."
            )
        if self.have("disks-4", "two-iothreads"):
            self.say(
                f"A second iothread: {self.ratio('two-iothreads', 'disks-4', 'iops_measured'):.2f} times the "
                f"throughput, {self.ratio('two-iothreads', 'disks-4'):.2f} times the stop."
            )

    def flush(self) -> None:
        """Flushes."""
        self.head("Flush", "cell", "flush, median", "predicted", "share of the stop", "predicted")
        for name in self.cells:
            if name in CELLS and CELLS[name].question == "flush":
                cell = self.cells[name]
                self.row(name, ms(cell["flush_measured"]), ms(cell["flush_predicted"]),
                         f"{cell['flush_share_measured']:.0%}", f"{cell['flush_share_predicted']:.0%}")  # fmt: skip

    def migration(self) -> None:
        """Live migrations."""
        names = [name for name in self.cells if name in MIGRATIONS]
        if names:
            self.head(
                "Live migration", "cell", "downtime, median", "predicted", "drain, median", "share of the downtime"
            )
            for name in names:
                cell = self.cells[name]
                said = ms(cell["median_predicted"]) if "median_predicted" in cell else "–"
                share = cell["drain_measured"] / cell["median_measured"]
                self.row(name, self.stop(name), said, ms(cell["drain_measured"]), f"{share:.0%}")

    def accuracy(self) -> None:
        """How near the predictions were."""
        self.head("Accuracy, cells with service times of 5 ms and more", "", "cells")
        for what, (met, of) in self.counts.items():
            self.row(what, f"{met} of {of}")
        missed = [
            f"{name} ({self.cells[name][f'{what}_error']:+.0%} {told})"
            for name in self.cells
            if name in CELLS
            for what, told in (("iops", "throughput"), ("median", "median"), ("90", "90 %"))
            if self.cells[name].get(f"{what}_within") == 0.0
        ]
        if missed:
            self.say(f"Missed: {', '.join(missed)}.")


def turns(folder: Path) -> dict[str, Column]:
    """When the turn of each disk came [s], medians."""
    found = {}
    for name, rows in recordings.table("stops", folder).items():
        each = [[float(turn) for turn in row["turns"].split(";") if turn] for row in rows]
        if len({len(one) for one in each}) == 1 and each[0]:
            found[name] = np.median(np.array(each), axis=0)
    return found


def picture(cells: Numbers, path: Path) -> None:
    """Six panels: stops against what was varied, measured and predicted."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 6.2), layout="constrained")
    panels: list[tuple[str, str, list[tuple[str, list[tuple[Any, str]]]]]] = [
        ("depth of each disk", "(a) depth", [
            ("20 ms constant", [(n, f"delay-{n}") for n in (1, 2, 4, 8, 16, 32, 64)]),
            ("10 ms exponential", [(n, f"exponential-{n}") for n in (1, 2, 4, 8, 32)]),
            ("10 ms, scv 4", [(n, f"scv4-{n}") for n in (2, 8, 32)]),
        ]),
        ("rate limit of each disk [1/s]", "(b) QEMU's rate limit, depth 32", [
            ("", [(50, "rate-50"), (100, "rate-100"), (150, "rate-150"), ("none", "delay-32")]),
        ]),
        ("limit in the guest", "(c) limit in the guest, depth 64", [
            ("", [(4, "guest-limit-4"), (8, "guest-limit-8"), (16, "guest-limit-16"), ("none", "delay-64")]),
        ]),
        ("lead [ms]", "(d) limit of 8 set so long before", [
            ("", [(0, "delay-64"), *((n, f"lead-{n}ms") for n in (100, 200, 400, 600))]),
        ]),
        ("", "(e) engines", [
            ("", [(n.replace("threads-", "thr. ").replace("shared-", "sh. ").replace("disk-", "disk "), n) for n in (
                "threads-8", "threads-16", "threads-64", "disks-4", "shared-io_uring", "shared-threads",
                "disk-native", "disk-io_uring", "disk-threads", "disk-threads-4")]),
        ]),
        ("disks on one device", "(f) disks", [
            ("", [(n, f"disks-{n}") for n in (1, 2, 4, 8)]),
        ]),
    ]  # fmt: skip
    for ax, (label, title, series) in zip(figure.subplots(2, 3).flat, panels, strict=True):
        for (what, points), shade in zip(series, ("black", "0.35", "0.6"), strict=False):
            here = [(x, cells[name]) for x, name in points if name in cells]
            if not here:
                continue
            named = any(isinstance(x, str) for x, _ in points)
            at = np.arange(len(here)) if named else np.array([x for x, _ in here], float)
            if named:
                ax.set_xticks(at, [str(x) for x, _ in here], rotation=60 if len(here) > 5 else 0)
            for quantile, marker, line, face in (("median", "o", "-", shade), ("90", "^", ":", "white")):
                said = np.array([1e3 * cell.get(f"{quantile}_predicted", np.nan) for _, cell in here])
                seen = np.array([1e3 * cell[f"{quantile}_measured"] for _, cell in here])
                ends = [[1e3 * cell.get(f"{quantile}_{end}", np.nan) for _, cell in here] for end in ("low", "high")]
                away = np.abs(np.array(ends) - seen)
                ax.plot(at, said, color=shade, linestyle="" if title.startswith("(e)") else line, linewidth=1.0,
                        marker="_" if title.startswith("(e)") else "", markersize=14)  # fmt: skip
                ax.errorbar(at, seen, np.nan_to_num(away), color=shade, linestyle="", marker=marker, markersize=4,
                            markerfacecolor=face, elinewidth=0.8, capsize=2,
                            label=what if quantile == "median" and what else None)  # fmt: skip
        ax.set(title=title, xlabel=label, ylabel="stop [ms]")
        if title.startswith(("(a)", "(f)")):
            ax.set_xscale("log", base=2)
            ax.xaxis.set_major_formatter("{x:g}")
        if title.startswith(("(a)", "(e)")):
            ax.set_yscale("log")
            ax.yaxis.set_major_formatter("{x:g}")
            ax.yaxis.set_minor_formatter("")
        if ax.get_legend_handles_labels()[0]:
            ax.legend(fontsize=7, frameon=False)
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25)
    figure.suptitle(
        "measured with 95 % intervals: median (●), 90 % (△); predicted: median (solid), 90 % (dotted), in (e) bars",
        fontsize=9,
    )
    figure.savefig(path, dpi=95)


def main() -> None:
    """Compare, and print it."""
    parser = argparse.ArgumentParser(description="compare what the bench has measured with what was predicted")
    parser.add_argument("--data", type=Path, default=recordings.FOLDER, help="folder of what was measured")
    folder = parser.parse_args().data
    if not (folder / "stops.csv.gz").exists():
        raise SystemExit(f"error: {folder} has no stops.csv.gz: measure first")
    if not (RESULTS / "qemu_predictions.csv").exists():
        raise SystemExit("error: there is no qemu_predictions.csv: predict first")
    rows = write("qemu.csv", compared(folder, read(RESULTS / "qemu_predictions.csv")))
    cells = read(RESULTS / "qemu.csv")
    (RESULTS / "qemu_questions.md").write_text(Answers(cells, turns(folder), counted(rows)).all(), encoding="utf-8")
    picture(cells, RESULTS / "qemu.png")

    print(f"{'cell':22} {'IOPS':>18} {'median [ms]':>20} {'90 % [ms]':>20}")
    for name, cell in cells.items():
        parts = [f"{name:22}"]
        for what, scale in (("iops", 1.0), ("median", 1e3), ("90", 1e3)):
            was, error = cell.get(f"{what}_measured"), cell.get(f"{what}_error")
            told = f"{error:+7.1%}{' ' if cell[f'{what}_within'] else '!'}" if error is not None else " " * 8
            parts.append(f"{scale * was:10.4g} {told}" if was is not None else " " * 19)
        print(" ".join(parts))
    for what, (met, of) in counted(rows).items():
        print(f"{what}: {met} of {of} cells ({met / max(of, 1):.0%})")


if __name__ == "__main__":
    main()
