"""The tables of what is exact and what is not, read off the code and the atlas of errors as the pages are built.

The front doors `qtheory.solve` and `qtheory.drain` state their methods in a table in their docstrings. Where the errors
of one were measured stands in the files that have its name as its answers' `method`; what the atlas found of it, in
`validation/results/atlas.parquet`.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Literal, NamedTuple

import polars as pl

from validation.atlas.frame import answered
from validation.atlas.report import CERTAIN, WITHIN, by_answer, coverage, held_out, summary

Door = Literal["solve", "drain"]
PART = {"solve": "steady", "drain": "drain"}
"""What the atlas calls the answers of each door."""


class Method(NamedTuple):
    """A row of a front door's table."""

    name: str
    engine: str
    answer: str


def methods(door: Door) -> list[Method]:
    """The methods of a front door as its docstring states them.

    >>> methods("solve")[0]
    Method(name='product_form', engine='one shared device, one line', answer='exact')
    """
    text = importlib.import_module(f"qtheory.{door}").__doc__ or ""
    return [Method(*row) for row in re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \|$", text, re.MULTILINE)]


def files_of(door: Door, method: str) -> list[Path]:
    """The files behind the door that give answers of this name.

    >>> [path.name for path in files_of("drain", "pure_death")]
    ['shared_device.py']
    """
    folder = Path(importlib.import_module(f"qtheory.{door}").__file__ or "").parent
    files = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
    return [path for path in files if path.stem == method or f'"{method}"' in path.read_text(encoding="utf-8")]


def measured_by(door: Door, method: str) -> list[str]:
    """The scripts and tests that these files name as where their errors were measured.

    >>> measured_by("solve", "delay_line")
    ['validation/delay_line.py']
    """
    text = "".join(path.read_text(encoding="utf-8") for path in files_of(door, method))
    return sorted(set(re.findall(r"(?:validation|tests)/\w+\.py", text)))


def methods_table(door: Door) -> str:
    """The methods of a front door, in Markdown, with where their errors were measured."""
    rows = [
        f"| `{method.name}` | {method.engine} | {method.answer} | "
        f"{', '.join(f'`{script}`' for script in measured_by(door, method.name))} |"
        for method in methods(door)
    ]
    return "\n".join(["| method | engine | answer | measured by |", "|---|---|---|---|", *rows])


def atlas_table() -> str:
    """What the atlas found of each approximation, in Markdown."""
    door = {part: door for door, part in PART.items()}
    rows = [
        f"| `{door[row['part']]}` | `{row['method']}` | {row['cells']} | {row['median']:.2%} | {row['95 %']:.1%} | "
        f"{row['stated']:.0%} | {'' if row['within'] is None else format(row['within'], '.1%')} |"
        for row in summary(answered()).iter_rows(named=True)
    ]
    head = "| | method | engines | median error | 95 % of the errors below | with a bound | of those within it |"
    return "\n".join([head, "|---|---|---:|---:|---:|---:|---:|", *rows])


def atlas_words() -> str:
    """How often a bound that a method states holds, and how far off it is where it does not."""
    found = answered().filter(~pl.col("exact"))
    stated = found.filter(pl.col("stated").is_finite())
    beyond = stated.filter(~WITHIN)
    worst = beyond.select(CERTAIN.max()).item()
    return (
        f"Of {len(found)} quantities that are approximate {len(stated)} have a bound that the method states. It holds "
        f"for {1 - len(beyond) / len(stated):.1%} of these; of the others the furthest is off by {worst:.0%}."
    )


def atlas_held_out() -> str:
    """How good the bounds that are made of the atlas are for cells that they were not made of."""
    errors = held_out(answered())
    found, of_answers = coverage(errors, "table"), coverage(by_answer(errors, "table"), "table")
    return (
        f"On {errors['index'].n_unique()} cells that these bounds were not made of, {found['within']:.1%} of "
        f"{found['errors']} errors were within them. Half of the bounds are below {found['over_error']:.1f} times what "
        f"half of the errors are below, half-widths added; of "
        f"`error_bound`, one for each answer, below {of_answers['over_error']:.1f} times. "
        f"{1 - found['known']:.0%} of the errors are of engines outside of what their method answered in the atlas."
    )
