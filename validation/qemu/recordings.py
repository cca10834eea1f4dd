"""What the bench has measured, as it is kept."""

import csv
import gzip
import io
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FOLDER = Path(__file__).parent / "data"

Rows = list[dict[str, str]]
Column = NDArray[np.float64]


def table(name: str, folder: Path = FOLDER) -> dict[str, Rows]:
    """The rows of one table, by cell; none if nothing of it was measured."""
    rows: dict[str, Rows] = {}
    if not (folder / f"{name}.csv.gz").exists():
        return rows
    with gzip.open(folder / f"{name}.csv.gz", "rt", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            rows.setdefault(row["cell"], []).append(row)
    return rows


def column(rows: Rows, name: str) -> Column:
    """One column as numbers."""
    return np.array([float(row[name]) for row in rows])


def keep(cell: str, found: Mapping[str, Sequence[Mapping[str, Any]]], folder: Path = FOLDER) -> None:
    """Put a cell's rows, by table, where those of an earlier run of it were."""
    folder.mkdir(exist_ok=True)
    for name, new in found.items():
        kept = table(name, folder)
        kept.pop(cell, None)
        text = io.StringIO()
        writer = csv.DictWriter(text, new[0], lineterminator="\n")
        writer.writeheader()
        for rows in (*kept.values(), new):
            writer.writerows(rows)
        path = folder / f"{name}.csv.gz"
        with tempfile.TemporaryDirectory(dir=folder) as scratch:  # an interrupt leaves the old table or the new one
            fresh = Path(scratch, path.name)
            fresh.write_bytes(gzip.compress(text.getvalue().encode(), 9, mtime=0))
            fresh.replace(path)
