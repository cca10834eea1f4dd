"""How costs are measured, and the one table that tells them.

Only ratios of costs within one run are told: a machine is faster or slower than another, and on another day than this.
Contenders take turns, and the least of several rounds counts for each, so that what else the machine does meets all of
them alike. The first round compiles and fills what is filled once; its answer is the one whose error is told. Costs
are processor seconds, threads and waited-for processes included.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np

from benchmarks.programs.worker import timed

ROUNDS = 3
APART = 10_000
"""Calls between rounds: call k takes an argument, or a seed, that no other takes, so that nothing is remembered."""
SOON = 1e-7
"""By how much a rate differs from one call to the next, a part of it."""

Run = Callable[[int], tuple[float, float]]
"""From which call on -> seconds a call, answer of the first; raises when there is none."""


@dataclass(frozen=True)
class Row:
    """A line of the table; None where there is nothing to tell."""

    subject: str
    case: str
    contender: str
    to_qtheory: float | None = None
    """Cost in that of qtheory's own contender."""
    to_limit: float | None = None
    """Cost in that of the bare kernel."""
    slope: float | None = None
    """Of log cost over log size."""
    peak_mib: float | None = None
    """Memory beyond what the imports and a small run took [MiB]."""
    error: float | None = None
    """Relative error of the answer."""
    allowed: float | None = None
    """The error that the contender states, or the half-width of a simulation of as many requests."""
    note: str = ""


@dataclass(frozen=True)
class Contender:
    name: str
    run: Run
    units: float = 1.0
    """Costs are told per unit: requests of a call, say."""
    allowed: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Measured:
    """What came of a contender: cost per unit and answer, or why not."""

    cost: float = math.inf
    answer: float = math.nan
    trouble: str = ""


def resident() -> int:
    """Bytes that this process had resident at most."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024


def here(work: Callable[[int], float]) -> Run:
    """Run in this process."""
    return lambda first: timed(work, first)


def measured(contenders: Sequence[Contender], rounds: int = ROUNDS) -> list[Measured]:
    """Costs and answers of contenders that take turns; who fails is asked no more, and keeps what it has."""
    found = [Measured() for _ in contenders]
    for k in range(rounds + 1):
        for i, contender in enumerate(contenders):
            if found[i].trouble:
                continue
            try:
                seconds, answer = contender.run(k * APART)
            except Exception as trouble:
                found[i] = replace(found[i], trouble=str(trouble).strip() or type(trouble).__name__)
            else:
                cost = min(found[i].cost, seconds / contender.units)
                found[i] = replace(found[i], cost=cost) if k else Measured(answer=answer)
    return found


def race(
    subject: str,
    case: str,
    contenders: Sequence[Contender],
    *,
    exact: float | None = None,
    qtheory: str | None = "qtheory",
    limit: str | None = None,
    rounds: int = ROUNDS,
) -> list[Row]:
    """A row for each contender, in the cost of those named `qtheory` and `limit`; errors are against `exact`."""
    found = measured(contenders, rounds)
    cost = {contender.name: m.cost for contender, m in zip(contenders, found, strict=True)}

    def ratio(m: Measured, name: str | None) -> float | None:
        return m.cost / cost[name] if name is not None and math.isfinite(m.cost) else None

    return [
        Row(
            subject,
            case,
            contender.name,
            to_qtheory=ratio(m, qtheory),
            to_limit=ratio(m, limit),
            error=None if exact is None or math.isnan(m.answer) else abs(m.answer / exact - 1.0),
            allowed=contender.allowed,
            note="; ".join(filter(None, (contender.note, m.trouble))),
        )
        for contender, m in zip(contenders, found, strict=True)
    ]


def slope(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Of the least-squares line through log cost over log size."""
    return float(np.polynomial.polynomial.polyfit(np.log(sizes), np.log(costs), 1)[1])


def scaling(subject: str, case: str, sizes: Sequence[int], runs: Sequence[Run], rounds: int = ROUNDS) -> Row:
    """How the cost of qtheory grows over these sizes, which take turns; and between which of them it grows most."""
    found = measured([Contender(str(n), run) for n, run in zip(sizes, runs, strict=True)], rounds)
    if trouble := next((m.trouble for m in found if m.trouble), ""):
        return Row(subject, case, "qtheory", note=trouble)
    costs = [m.cost for m in found]
    steps = np.diff(np.log(costs)) / np.diff(np.log(sizes))
    note = f"{sizes[0]} to {sizes[-1]}, the last step {steps[-1]:.2f}; {costs[-1] / costs[0]:.1f}× the cost in all"
    return Row(subject, case, "qtheory", slope=slope(sizes, costs), note=note)


def write(rows: Sequence[Row], folder: Path) -> None:
    """The table as table.csv, every digit, and as table.md, for readers."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    (folder / "table.md").write_text(markdown(rows), encoding="utf-8")


HEAD = ["subject", "case", "contender", "cost / qtheory", "cost / limit", "slope", "MiB", "error", "allowed", "note"]


def markdown(rows: Sequence[Row]) -> str:
    """The table in markdown."""
    lines = [HEAD, ["---"] * 3 + ["---:"] * 6 + ["---"], *map(_cells, rows)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def quoted(text: str, table: str) -> str:
    r"""A text with the lines that it quotes of the table as they stand there now: those of the same first three cells.

    >>> quoted("Ours is fast:\n| a | b | c | 3 |\n| x | y | z | 4 |\n", "| a | b | c | 2 |\n| a | b | d | 1 |\n")
    'Ours is fast:\n| a | b | c | 2 |\n| x | y | z | 4 |\n'
    """

    now = {tuple(line.split("|")[:4]): line for line in table.splitlines(keepends=True)}
    return "".join(now.get(tuple(line.split("|")[:4]), line) for line in text.splitlines(keepends=True))


def _cells(row: Row) -> list[str]:
    ratios = [_number(x, 3) for x in (row.to_qtheory, row.to_limit)]
    slope = "" if row.slope is None else f"{row.slope:.2f}"
    peak = "" if row.peak_mib is None else f"{row.peak_mib:.0f}"
    errors = [_number(x, 2) for x in (row.error, row.allowed)]
    note = " ".join(row.note.replace("|", "/").split())
    return [row.subject, row.case, row.contender, *ratios, slope, peak, *errors, note[:200]]


def _number(x: float | None, digits: int) -> str:
    """So many digits; without an exponent where that is short.

    >>> _number(1234.5, 3), _number(0.0123, 3), _number(4.5e-16, 2)
    ('1230', '0.0123', '4.5e-16')
    """
    if x is None:
        return ""
    short = f"{x:.{digits}g}"
    return f"{float(short):.0f}" if 1.0 <= abs(x) < 1e7 and "e" in short else short
