"""The appendix: the derivations that `python -m derivations` has written."""

from __future__ import annotations

from pathlib import Path

from derivations import NAMES

PAGES = Path(__file__).parent / "derivations"


def written() -> list[str]:
    """Their names, in order; ones left over from files that are gone are not among them."""
    return [name for name in NAMES if (PAGES / f"{name}.tex").exists()]


def appendix() -> str:
    """LaTeX that reads them in."""
    return "".join(rf"\input{{derivations/{name}}}" + "\n" for name in written())


def known() -> str:
    """LaTeX that says which there are, so that the text can point to them."""
    return "".join(rf"\newderivation{{{name}}}" + "\n" for name in written())
