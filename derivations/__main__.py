"""`python -m derivations [NAME ...]`: derive, check, write paper/derivations/NAME.tex; exit code 1 if a check fails."""

from __future__ import annotations

import sys
from pathlib import Path

from derivations import NAMES, load
from derivations.page import page

PAGES = Path(__file__).parents[1] / "paper" / "derivations"


def main(names: list[str]) -> int:
    """Print a line for each check, and write the pages of the derivations that hold."""
    PAGES.mkdir(parents=True, exist_ok=True)
    failed = 0
    for derivation in load(names or NAMES):
        try:
            outcomes = derivation.verify()
        except ArithmeticError as error:
            print(f"FAILED {error}", file=sys.stderr)
            failed += 1
            continue
        for outcome in outcomes:
            print(f"{derivation.name}: {' '.join(outcome.check.claim.split())} {outcome}")
        (PAGES / f"{derivation.name}.tex").write_text(page(derivation, outcomes))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
