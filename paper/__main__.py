"""`python -m paper [--quick]`: makes paper/paper.pdf of the committed results, and of the derivations that are written.

Exits with status 1 when a result is stale (not looked at with --quick), a number in the text is typed by hand, or TeX
complains.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from paper import appendix, proofread
from paper.figures import draw
from paper.numbers import macros
from paper.results import GENERATED, table
from paper.stale import stale
from paper.tables import tables

PAPER = Path(__file__).parent
SECTIONS = sorted(p for p in (PAPER / "sections").glob("*.tex") if not p.stem.startswith("qemu_") or table("qemu"))
"""Those that are read: those on a real QEMU's stops once they have been measured."""
RUNS = 4
"""Most runs of TeX until all references stand."""


def generate() -> None:
    """Write all that is not written by hand."""
    GENERATED.mkdir(exist_ok=True)
    texts = {**tables(), "numbers": macros(), "appendix": appendix.appendix(), "derivations": appendix.known()}
    for name, text in texts.items():
        (GENERATED / f"{name}.tex").write_text(text, encoding="utf-8")
    draw(GENERATED)


def misprints() -> list[str]:
    """What is wrong with the sections as they are written."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in SECTIONS}
    wrong = [
        f"sections/{name}:{line}: {value} is typed by hand"
        for name, text in texts.items()
        for line, value in proofread.typed(text)
    ]
    times = Counter(symbol for text in texts.values() for symbol in proofread.defined(text))
    return wrong + [f"sections: ${symbol}$ is defined {count} times" for symbol, count in times.items() if count > 1]


def typeset() -> list[str]:
    """Make the PDF; what TeX and BibTeX complain of."""
    log = GENERATED / "paper.log"
    for run in range(RUNS):
        tex = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-output-directory=generated", "paper.tex"]
        done = subprocess.run(tex, cwd=PAPER, capture_output=True, text=True, errors="replace")
        if done.returncode:
            return [line for line in done.stdout.splitlines() if re.match(r"!|l\.\d+", line)] or ["pdflatex failed"]
        if run == 0:
            subprocess.run(["bibtex", "-terse", "generated/paper"], cwd=PAPER, capture_output=True, text=True)
        if run > 1 and "Rerun to get" not in log.read_text(errors="replace"):
            break
    shutil.copy(GENERATED / "paper.pdf", PAPER / "paper.pdf")
    # TeX breaks the lines of its log at 79 characters.
    joined = re.sub(r"(?<=^.{79})\n", "", log.read_text(errors="replace"), flags=re.MULTILINE)
    pages = re.search(r"Output written on .*\((\d+) pages", joined)
    print(f"paper/paper.pdf, {pages[1] if pages else 'no'} pages, {len(appendix.written())} derivations")
    wrong = proofread.complaints(joined, (GENERATED / "paper.blg").read_text(errors="replace"))
    return wrong + proofread.too_long((GENERATED / "paper.aux").read_text(errors="replace"))


def main(arguments: list[str]) -> int:
    """Build the paper, and say what is wrong with it."""
    wrong = [] if "--quick" in arguments else stale()
    generate()
    wrong += misprints()
    wrong += typeset()
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
