"""What the bench will measure, said before it does: python -m validation.qemu.predict [--data FOLDER]

From the cells' parameters and the calibration alone (one disk, one request at a time, constant service, for each kind
of device; and a device that takes no time), the throughput, response time and stop of every cell; writes
validation/results/qemu_predictions.csv.
Nothing is predicted for this machine's own disk, of which nothing is known.

* **Overhead.** One request at a time takes 1/X from one to the next. The device takes S of it; QEMU sees R between
  taking and completing it, the guest's block layer sees G. So a request costs R − S on its path behind QEMU, G − R
  between QEMU and the guest, and 1/X − G until the guest submits again. Of this the device that takes no time, at which
  the guest's processor is all that limits, tells the processor's part; the rest is its waking. The library is told of
  the sum as a think time, a delay station; in the bench's own cycle (`cycle.py`) requests stand in line for the
  processor.
* **Throughput** of each disk by `qt.solve`, where that is exact, else by `qt.simulate`. By Little's law the response
  that QEMU sees is what is outstanding over it, less the time that is not QEMU's.
* **Stop**: pause of the processor (calibrated) + drain + a flush of each disk, one after another: what one takes that
  has nothing to flush (calibrated), and the device's time where there were writes. The drain by
  `qt.drain_time`, and the path of the last request back: the *stationary* columns. With constant service the guest that
  goes on after a stop begins everything at once and in step, so there the prediction is the law of that *cycle*. So it
  is, with its throughput, where a delay station would have the guest's one processor do more than it can. Elsewhere it
  is the stationary law, and the other is there to be compared.
* A rate limit is `qt.RateLimit`, a limit in the guest a smaller number of requests that circulate. One that is set
  shortly before the stop is followed in the cycle, for it freezes the disk's queue until what is outstanding has
  completed. The library's `qt.DepthLimit` with a `lead` takes the next request as soon as fewer than the limit are
  left: the stationary columns. Both say how many requests complete between the limit and the stop.

Of the migrations only the drain is predicted. The simulations have fixed seeds, so the same calibration gives the same
file.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import qtheory as qt
from validation.tables import write

from . import cycle, recordings
from .cells import CELLS, MIGRATIONS, Cell
from .cycle import Overhead
from .recordings import column

FREE = CELLS["calibration-guest"]
"""Where the guest's processor is all that takes time."""
STOPS = 1000
"""Simulated stops of a cell's cycle, and of the library's where it simulates."""


@dataclass(frozen=True)
class Calibration:
    """What one request at a time on one disk tells of a kind of device; seconds.

    Attributes
    ----------
    overhead : Overhead
        Of one request.
    pause : float
        Of a stop beside drain and flush: of the guest's processor, and the monitor's answer.
    flush : float
        Of one disk that has nothing to flush.
    """

    overhead: Overhead
    pause: float
    flush: float


def calibrated(cell: Cell, folder: Path) -> Calibration:
    """Read what a calibration cell has measured, and what the processor's turn is."""
    tables = [recordings.table(name, folder) for name in ("seconds", "guest", "stops")]
    seconds, guest, stops = (table[cell.name] for table in tables)
    free = tables[0][FREE.name]

    def each(rows: recordings.Rows, name: str) -> float:
        return float(column(rows, name).sum() / column(rows, "requests").sum())

    turn = float(column(free, "elapsed").sum() / column(free, "requests").sum()) / FREE.disks
    wake = each(guest, "elapsed") - each(guest, "response") - turn
    path = each(seconds, "response") - cell.service.mean
    interrupt = each(guest, "response") - each(seconds, "response")
    if not min(wake, path, interrupt) > 0.0:
        raise SystemExit(
            f"error: {cell.name}: a request must take some time everywhere, not {wake:g} s until the guest's processor "
            f"wakes, {interrupt:g} s between it and QEMU, and {path:g} s behind"
        )
    took, disks, flush = (column(stops, name) for name in ("took", "disks", "flush"))
    return Calibration(
        Overhead(turn, wake, path, interrupt),
        pause=float(np.median(took - disks - flush)),
        flush=float(np.median(flush)) / cell.disks,
    )


def kind(cell: Cell) -> str:
    """The calibration cell of a cell's device."""
    return f"calibration-{cell.aio or cell.device}"


def circulating(cell: Cell) -> int:
    """Requests of each disk that are not held back in the guest, in the long run.

    >>> circulating(CELLS["guest-limit-8"]), circulating(CELLS["lead-100ms"]), circulating(CELLS["delay-8"])
    (8, 64, 8)
    """
    return cell.depth if cell.lead is not None else min(cell.depth, cell.requests or cell.depth)


def engine(cell: Cell, think_time: float) -> qt.Engine:
    """The cell as the library is told of it; `think_time` [s] is what a request costs beside its service."""
    servers, of = cycle.devices(cell)
    device = qt.Device(servers, cell.service)
    own = device if len(set(of)) > 1 else None
    n = circulating(cell)
    disk = qt.Disk(qt.Closed(outstanding=n, think_time=think_time), buffer=n, device=own)
    return qt.Engine([disk] * cell.disks, None if own else device)


class Stationary(NamedTuple):
    """What the library says of a drain: its median and 90 % quantile [s], and how."""

    median: float
    ninety: float
    completed: float | None
    method: str
    exact: bool
    error: float | None


def stationary(cell: Cell, overhead: Overhead) -> Stationary:
    """The drain of a cell by the library."""
    if cell.lead is not None:
        limit = qt.DepthLimit(cell.requests or cell.depth, per="disk")
        seen = qt.simulate_stops(engine(cell, overhead.total), limit, STOPS, lead=cell.lead)
        halves = [seen.quantile(p) for p in (0.5, 0.9)]
        return Stationary(
            halves[0].value, halves[1].value, seen.throughput.value * cell.lead, "simulate_stops", False,
            max(half.half_width / half.value for half in halves if half.value),
        )  # fmt: skip
    if cell.rate_limit is not None:
        drain = qt.drain_time(engine(cell, 0.0), qt.RateLimit(cell.rate_limit))
    else:
        drain = qt.drain_time(engine(cell, overhead.total))
    error = drain.error_bounds.get("quantile", drain.error_bound)
    return Stationary(drain.quantile(0.5), drain.quantile(0.9), None, drain.method, drain.exact, _known(error))


def _known(error: float) -> float | None:
    return error if np.isfinite(error) else None


def throughput(cell: Cell, overhead: Overhead) -> tuple[float, str]:
    """Requests per second of each disk by the library, and how; with a rate limit, which binds, its rate."""
    if cell.rate_limit is not None:
        return cell.rate_limit, "rate limit"
    told = engine(cell, overhead.total)
    found = qt.solve(told)
    if found.exact:
        return found.throughput / cell.disks, found.method
    return qt.simulate(told, requests=200_000).throughput.value / cell.disks, "simulate"


def predicted(cell: Cell, known: Calibration) -> dict[str, Any]:
    """The row of one cell."""
    overhead, n = known.overhead, circulating(cell)
    iops, how = throughput(cell, overhead)
    law = stationary(cell, overhead)
    flush = cell.disks * (known.flush + (cell.flush if cell.writes else 0.0))
    fixed = known.pause + flush
    row: dict[str, Any] = {
        "cell": cell.name,
        "question": cell.question,
        "pause": known.pause,
        "flush": flush,
        "law": "stationary",
        "stationary_median": fixed + overhead.path + law.median,
        "stationary_90": fixed + overhead.path + law.ninety,
    }
    if cell.rate_limit is None:
        seen = cycle.cycles(cell, overhead, STOPS)
        row["cycle_median"], row["cycle_90"] = (fixed + np.quantile(seen.drains, [0.5, 0.9])).tolist()
        row["cycle_iops"] = cycle.throughput(cell, overhead)
        if cell.lead is not None:
            row["completed"], row["stationary_completed"] = float(seen.completed.mean()), law.completed
        too_much = iops * cell.disks * overhead.turn > 1.0
        if too_much or isinstance(cell.service, qt.Deterministic):
            row["law"] = "cycle"
        if too_much:
            iops, how = row["cycle_iops"], "cycle"
    for quantile in ("median", "90"):
        row[f"stop_{quantile}"] = row[f"{row['law']}_{quantile}"]
        row[f"drain_{quantile}"] = row[f"stop_{quantile}"] - fixed
    row["iops"], row["response"] = iops, n / iops - overhead.turn - overhead.wake - overhead.interrupt
    return row | {"iops_method": how, "drain_method": law.method, "exact": law.exact, "error_bound": law.error}


COLUMNS = (
    "cell", "question", "iops", "response", "stop_median", "stop_90", "pause", "drain_median", "drain_90", "flush",
    "law", "stationary_median", "stationary_90", "cycle_median", "cycle_90", "cycle_iops", "completed",
    "stationary_completed", "iops_method", "drain_method", "exact", "error_bound",
)  # fmt: skip
DIGITS = 5


def predictions(folder: Path) -> list[dict[str, Any]]:
    """A row for each cell that is not a calibration, and each migration."""
    known = {cell.name: calibrated(cell, folder) for cell in CELLS.values() if cell.depth == cell.disks == 1}
    rows = []
    for cell in (*CELLS.values(), *MIGRATIONS.values()):
        if cell.question == "calibration":
            continue
        row: dict[str, Any] = {"cell": cell.name, "question": cell.question}
        if cell.device != "disk" and cell.depth:
            row |= predicted(cell, known[kind(cell)])
        rows.append({name: _shown(row.get(name)) for name in COLUMNS})
    return rows


def _shown(value: Any) -> Any:
    return "" if value is None else f"{value:.{DIGITS}g}" if isinstance(value, float) else value


def main() -> None:
    """Predict, and print it."""
    parser = argparse.ArgumentParser(description="predict what the bench will measure, from its calibration")
    parser.add_argument("--data", type=Path, default=recordings.FOLDER, help="folder of what was measured")
    folder = parser.parse_args().data
    if not (folder / "stops.csv.gz").exists():
        raise SystemExit(f"error: {folder} has no stops.csv.gz: measure the calibration cells first")
    rows = write("qemu_predictions.csv", predictions(folder))
    for row in rows:
        print(
            f"{row['cell']:22} {row['iops']:>7} IOPS  stop {row['stop_median']:>8} {row['stop_90']:>8} s"
            f"  ({row['law']}; stationary {row['stationary_median']}, cycle {row['cycle_median']})"
        )


if __name__ == "__main__":
    main()
