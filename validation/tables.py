"""Tables of what the scripts find, as they are kept in validation/results."""

from __future__ import annotations

import csv
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"

WRITES = {
    "atlas.__main__": ("atlas.jsonl", "atlas.parquet"),
    "atlas.report": ("atlas.png",),
    "closed_guests": ("closed_guests.csv",),
    "delay_line": ("delay_line.csv",),
    "depth_schedule": ("depth_schedule.txt",),
    "divided_slots": ("divided_slots.csv",),
    "drain": ("drain.csv",),
    "drain_picture": ("drain.png", "drain_frontier.csv", "drain_turned_away.csv"),
    "fio_sizing": ("fio_constants.csv", "fio_left_out.csv", "fio_prediction.csv", "fio_sizing.csv"),
    "fluid": ("fluid.csv",),
    "guests_that_wait": ("guests_that_wait.csv",),
    "guests_that_wait_drain": ("guests_that_wait_drain.csv",),
    "host": ("host_batch_costs.csv", "host_batches.csv", "host_budget.csv", "host_iothreads.csv", "host_search.csv"),
    "map_fit": ("map_fit.csv",),
    "markovian_arrivals": ("markovian_arrivals.csv",),
    "mixed_service": ("mixed_service.csv",),
    "optimal_control": ("optimal_control.txt",),
    "phase_type": ("phase_type.csv",),
    "qemu.compare": ("qemu.csv", "qemu.png", "qemu_questions.md"),
    "qemu.predict": ("qemu_predictions.csv",),
    "real_drains": ("real_drains.csv",),
    "resizing": ("resizing.csv", "resizing.svg", "resizing_curve.csv"),
    "scale": ("scale.csv",),
    "service_laws": ("service_laws.csv",),
    "shares": ("shares_disciplines.csv", "shares_nvme.csv", "shares_two_devices.csv"),
    "sizing": (
        "sizing_closed_forms.csv",
        "sizing_line_or_shares.csv",
        "sizing_rule.csv",
        "sizing_unsaturated_line.csv",
    ),
    "sizing_by_simulation": ("sizing_by_simulation.csv",),
    "sizing_picture": ("sizing.png",),
    "stations": ("stations.csv",),
    "throttles": ("throttles.csv",),
}
"""Which script writes which files of validation/results; the paper reads no others (`paper/results.py`)."""


def write(name: str, rows: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    """Write rows of the same columns to the table of this name, and return them."""
    with (RESULTS / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return rows


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a table."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def arguments(path: Path) -> tuple[float, Path]:
    """The arguments [MINUTES [PATH]] of a script whose table grows."""
    return float(sys.argv[1]) if len(sys.argv) > 1 else math.inf, Path(sys.argv[2]) if len(sys.argv) > 2 else path


def grown(
    path: Path, columns: str, cells: Iterable[tuple[str, Callable[[], Iterable[list[str]]]]], minutes: float
) -> Iterator[list[list[str]]]:
    """Append the rows of each cell that has none, and yield them, cell by cell, for so many minutes.

    Cells are a name, which stands in the column `cell`, and what makes their rows.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_text(columns + "\n", encoding="utf-8")
    done = {row["cell"] for row in read(path)}
    until = time.monotonic() + 60.0 * minutes
    for name, made in cells:
        if time.monotonic() > until:
            return
        if name not in done:
            new = list(made())
            with path.open("a", newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerows(new)
            yield new
