"""Run the benchmarks, all or those named, and print their one table: `python -m benchmarks [SUBJECT ...]`.

When all were run the table is kept in benchmarks/results, and replaces what stood there and what README quotes of it.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from benchmarks.measure import markdown, quoted, write
from benchmarks.peers import PEERS

SUBJECTS = ("simulation", "stations", "same_accuracy", "scaling", "drains", "sizing", "traces", "memory")
RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parents[1] / "README.md"


def main(subjects: list[str]) -> None:
    if unknown := set(subjects) - set(SUBJECTS):
        sys.exit(f"subjects are {', '.join(SUBJECTS)}, not {', '.join(sorted(unknown))}")
    rows = []
    try:
        for subject in subjects or SUBJECTS:
            print(f"{subject} ...", file=sys.stderr, flush=True)
            rows += import_module(f"benchmarks.{subject}").rows()
    finally:
        for peer in PEERS:
            peer.close()
    print(markdown(rows), end="")
    if not subjects:
        write(rows, RESULTS)
        README.write_text(quoted(README.read_text(encoding="utf-8"), markdown(rows)), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
