"""What validation/ found: the tables in validation/results, and how their numbers are written in LaTeX."""

from __future__ import annotations

import math
import re
from functools import cache
from pathlib import Path

from validation.tables import RESULTS, WRITES, read

GENERATED = Path(__file__).parent / "generated"

Row = dict[str, str]


@cache
def table(name: str) -> list[Row]:
    """The rows of a table in validation/results; none if it has not been made yet.

    LookupError for one that is not written by exactly one script of validation/.
    """
    path = written(f"{name}.csv")
    return read(path) if path.exists() else []


def written(file: str) -> Path:
    """This file of results; LookupError if not just one script of validation/ writes it."""
    scripts = [script for script, files in WRITES.items() if file in files]
    if len(scripts) != 1:
        raise LookupError(f"validation/results/{file} must be written by one script of validation/, not {scripts}")
    return RESULTS / file


def rows(name: str, **where: str) -> list[Row]:
    """Those rows of a table that have these values."""
    return [row for row in table(name) if all(row[column] == value for column, value in where.items())]


def cell(name: str, column: str, **where: str) -> float:
    """The number in the one row that has these values."""
    (row,) = rows(name, **where)
    return float(row[column])


def number(value: float, digits: int = 0) -> str:
    """In fixed point, thousands apart.

    >>> number(7503.41), number(-0.037, 2)
    ('7\\\\,503', '$-$0.04')
    """
    text = f"{abs(value):,.{digits}f}".replace(",", "\\,")
    return ("$-$" if value < 0 and float(f"{value:.{digits}f}") != 0 else "") + text


def percent(fraction: float, digits: int = 0) -> str:
    """As a percentage.

    >>> percent(0.3249), percent(0.0049, 1)
    ('32\\\\,\\\\%', '0.5\\\\,\\\\%')
    """
    return number(100.0 * fraction, digits) + "\\,\\%"


def significant(value: float, digits: int = 3) -> str:
    """With so many digits that count.

    >>> significant(2497.4), significant(0.00840123), significant(8.84)
    ('2\\\\,497', '0.00840', '8.84')
    """
    return number(value, max(0, digits - 1 - math.floor(math.log10(abs(value)))))


def error(row: Row, answer: str, truth: str) -> float:
    """Relative error, without its sign."""
    return abs(float(row[answer]) / float(row[truth]) - 1.0)


def quantile(values: list[float], p: float) -> float:
    """The smallest of the values that a fraction p of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(p * len(ordered) - 1e-9) - 1)]


@cache
def optimal_control() -> list[dict[str, float | None]]:
    """The cells of optimal_control.txt: requests turned away at the least, and how many more by each simple policy."""
    found = []
    for line in written("optimal_control.txt").read_text(encoding="utf-8").splitlines()[1:-1]:
        c, rho, budget, *rest = line.split()
        shared = {"c": float(c), "rho": float(rho), "D": float(budget)}
        if rest[:2] == ["nothing", "is"]:
            found.append({**shared, "optimum": None})
            continue
        names = ("optimum", "two limits", "stop accepting", "one at a time", "step", "ramp")
        values = [float(x.strip("%+")) / (100.0 if "%" in x else 1.0) for x in rest[: len(names)]]
        limit = re.search(r"q = (\d+)", line)
        found.append({**shared, **dict(zip(names, values, strict=True)), "q": float(limit[1]) if limit else None})
    return found


def simple_at_worst() -> float:
    """How many more requests the better of step and ramp turns away than the best policy, at worst."""
    last = (RESULTS / "optimal_control.txt").read_text(encoding="utf-8").splitlines()[-1]
    return float(last.rpartition(" ")[2].strip("%+")) / 100.0


def tabular(columns: str, head: list[str], body: list[list[str]], *, over: str = "") -> str:
    """A table in the paper's style: `over` is a row above the head, with its rules."""
    lines = [rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}", r"\toprule", *([over] if over else [])]
    lines += [" & ".join(head) + r" \\", r"\midrule"]
    lines += [r"\midrule" if row == ["-"] else " & ".join(row) + r" \\" for row in body]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"
