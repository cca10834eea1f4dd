"""Measure the atlas: python -m validation.atlas [CELLS]

Of each grid the first CELLS cells (default: CELLS below); those that are done are in results/atlas.jsonl and are not
done again, so that a run may be interrupted, taken up, or made longer. Then what they say is written to
results/atlas.parquet, and reported by `report.py`. Two to four seconds of one processor for a cell.
"""

from __future__ import annotations

import sys

import qtheory as qt
from validation.atlas.cells import GRIDS
from validation.atlas.frame import frame
from validation.atlas.measure import measure
from validation.tables import RESULTS

CELLS = 1000


def main(cells: int) -> int:
    """Measure, and write the table."""
    every = [{"grid": grid, "index": i} for i in range(cells) for grid in GRIDS]
    found = qt.sweep(measure, every, results=RESULTS / "atlas.jsonl", progress=True)
    for failure in found.failures:
        print(f"{failure.cell}: {failure.error}", file=sys.stderr)
    done = [(cell, value) for cell, value in zip(found.cells, found.values, strict=True) if value is not None]
    frame(done).write_parquet(RESULTS / "atlas.parquet")
    return 1 if found.failures else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else CELLS))
