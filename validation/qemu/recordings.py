"""What the bench has measured, as it is kept."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FOLDER = Path(__file__).parent / "data"

Rows = list[dict[str, str]]
Column = NDArray[np.float64]


def table(name: str, folder: Path = FOLDER) -> dict[str, Rows]:
    """The rows of one table, by cell."""
    rows: dict[str, Rows] = {}
    with gzip.open(folder / f"{name}.csv.gz", "rt", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            rows.setdefault(row["cell"], []).append(row)
    return rows


def column(rows: Rows, name: str) -> Column:
    """One column as numbers."""
    return np.array([float(row[name]) for row in rows])


def about(folder: Path = FOLDER) -> dict[str, Any]:
    """When, where and with which versions it was measured."""
    found: dict[str, Any] = json.loads((folder / "bench.json").read_text(encoding="utf-8"))
    return found
