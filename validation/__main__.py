"""All results anew, half a day of one processor: python -m validation [GRID]

Each script of this directory in turn, GRID being the table of fio runs that `fio_sizing` reads, which is left out
without it. Tables to which rows are only added are begun anew. Some scripts need recordings of others, and leave them
out where they are not there. Exits with status 1 when a script finds more than is stated.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
ADDED_TO = ("drain", "phase_type", "scale", "service_laws", "sizing_by_simulation")
PRINTED = ("depth_schedule", "optimal_control")
"""Scripts whose result is what they print."""


def main(grid: list[str]) -> int:
    """Run them all."""
    failed = []
    (RESULTS / "atlas.jsonl").unlink(missing_ok=True)
    for script in sorted(Path(__file__).parent.glob("*.py")):
        name = script.stem
        if name.startswith("__") or name == "tables" or (name == "fio_sizing" and not grid):
            continue
        if name in ADDED_TO:
            (RESULTS / f"{name}.csv").unlink(missing_ok=True)
        print(f"== {name}", flush=True)
        command = [sys.executable, "-m", f"validation.{name}", *(grid if name == "fio_sizing" else [])]
        run = subprocess.run(command, stdout=subprocess.PIPE if name in PRINTED else None, text=True)
        if name in PRINTED:
            (RESULTS / f"{name}.txt").write_text(run.stdout, encoding="utf-8")
        if run.returncode:
            failed.append(name)
    for name in ("atlas", "atlas.report"):
        print(f"== {name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"validation.{name}"]).returncode:
            failed.append(name)
    if failed:
        print("more than is stated:", ", ".join(failed), file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
