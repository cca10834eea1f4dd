"""Measure the atlas: python -m validation.atlas [CELLS]

Of each grid its first cells, as many as CELLS says, or no more than the argument. Those that are done are in
results/atlas.jsonl and are not done again, so that a run may be interrupted, taken up, or made longer. Then what they
say is written to results/atlas.parquet, the table that ships is made of it (`table.py`), and it is reported
(`report.py`). Two to four seconds of one processor for a cell.
"""

from __future__ import annotations

import sys

import qtheory as qt
from validation.atlas import report, table
from validation.atlas.frame import frame
from validation.atlas.measure import measure
from validation.tables import RESULTS

CELLS = {"set": 4096, "held out": 1000}


def main(most: int) -> int:
    """Measure, and write the tables."""
    every = [{"grid": grid, "index": i} for grid, cells in CELLS.items() for i in range(min(cells, most))]
    found = qt.sweep(measure, every, results=RESULTS / "atlas.jsonl", progress=True)
    for failure in found.failures:
        print(f"{failure.cell}: {failure.error}", file=sys.stderr)
    done = [(cell, value) for cell, value in zip(found.cells, found.values, strict=True) if value is not None]
    frame(done).write_parquet(RESULTS / "atlas.parquet")
    table.main()
    return report.main() or bool(found.failures)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else max(CELLS.values())))
