"""Tables of what the scripts find, as they are kept in validation/results."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def write(name: str, rows: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    """Write rows of the same columns to the table of this name, and return them."""
    with (RESULTS / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return rows
