"""How far `qt.solve` is off for a shared device of any service law: python -m validation.service_laws [MINUTES [PATH]]

A Latin hypercube over 1 to 64 disks, buffers of 1 to 64, 1 to 64 servers (at most 4/5
of what may be present), utilization 0.3 to 1.5 and scv 0.1 to 10, in
which every other cell has a phase-type law (Erlang, hyperexponential, mixtures of two Erlang laws), the others
lognormal, Weibull and deterministic ones in turn. In every other pair of cells the disks are equal, in the others of
two to four kinds, whose rates and buffers differ by up to 16 times. Each cell is solved with method "auto" and
simulated, which takes a second or two.

Then come cells with buffers of 64 to 1024 and utilization 0.02 to 1.2, and some whose guests are all saturated.

A cell's rows are appended to PATH (default: validation/results/service_laws.csv) as it is done, and cells that have
theirs are not done again: a run may be cut, or stopped after MINUTES, and taken up later. The cells are two halves.
Bounds (`qtheory.solve.phase_type.MEASURED`, `qtheory.solve.fitted_service.MEASURED`) may be set by those of the first
half only; those of the second are held out. Printed are, for laws and numbers of servers, the median, 90 % and largest
error, half-widths added, and for each half the share of errors within the bounds; the script exits with status 1 when
that is below 95 % of the half that is held out, or below 100 % of the other.
"""

from __future__ import annotations

import itertools
import math
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import qmc

import qtheory as qt
from qtheory.solve import fitted_service, phase_type
from qtheory.solve.steady_state import SteadyState
from validation.phase_type import compare, split_of
from validation.tables import arguments, grown, read

CELLS, WIDE, SATURATED = 240, 48, 24
SEED = 4
REQUESTS = 16_000_000
RESOLVED = 0.01
"""Half-widths above this part of the value say little about an error."""
COVERED = 0.95
RESULTS = Path(__file__).with_name("results") / "service_laws.csv"
COLUMNS = "cell,half,family,law,servers,disks,way,quantity,answer,truth,half_width,relative_error,distance,seconds"
SHOWN = ("blocking", "mean_wait", "response_quantile")
BANDS = ((1, 3), (4, 15), (16, 31), (32, 64))


class Cell(NamedTuple):
    """A point of the grid."""

    name: str
    half: str
    family: str
    law: str
    engine: qt.Engine


def cells() -> Iterator[Cell]:
    """The grid; the mean service time is 1 s."""
    points = np.vstack([qmc.LatinHypercube(9, seed=SEED + j).random(n) for j, n in enumerate((CELLS, WIDE, SATURATED))])
    for i, (a, b, c, d, e, f, g, h, k) in enumerate(points):
        wide, saturated = i >= CELLS, i >= CELLS + WIDE
        different = 2 + int(3 * f) if i // 2 % 2 else 1
        disks = max(different, round(64**a))
        least, most_room = (64, 1024) if wide and not saturated else (1, 64)
        buffer = round(least * (most_room / least) ** e)
        spread = np.linspace(0.0, 1.0, different) if different > 1 else np.zeros(1)
        rates = 16.0 ** (g * spread)
        buffers = [min(max(1, round(buffer * 16.0**x)), most_room) for x in (2.0 * h - 1.0) * spread]
        members = [j % different for j in range(disks)]
        most = sum(buffers[j] for j in members)
        if most == 1:
            members, most = members * 2, 2
        servers = min(max(1, round(64**b)), max(1, int(0.8 * most)))
        rho = 0.02 + 1.18 * c if wide else 0.3 + 1.2 * c
        share = rho * servers / sum(rates[j] for j in members)
        kinds = [qt.Disk(qt.Poisson(share * rate), buffer=size) for rate, size in zip(rates, buffers, strict=True)]
        if saturated:
            kinds = [qt.Disk(qt.Closed(size), buffer=size) for size in buffers]
        scv = 10.0 ** (2.0 * d - 1.0)
        family, name, law = _phase_type(scv, k) if i % 2 == 0 else _other(scv, i // 2 % 3)
        label = f"{i}: N={len(members)} kinds={different} K={'/'.join(map(str, sorted(set(buffers))))} c={servers} "
        label += f"{'saturated' if saturated else f'rho={rho:.2f}'} {name} scv={law.scv:.2f}"
        half = "set" if i // 4 % 2 == 0 else "held out"
        yield Cell(label, half, family, name, qt.Engine([kinds[j] for j in members], qt.Device(servers, law)))


def _phase_type(scv: float, k: float) -> tuple[str, str, qt.Law]:
    if scv <= 1.0:
        return "phase-type", "Erlang", qt.Erlang(phases=max(2, round(1.0 / scv)), mean=1.0)
    if k < 0.6:
        return "phase-type", "hyperexponential", qt.Hyperexponential.balanced(mean=1.0, scv=scv)
    # Hits of scv 1/2 and mean 1 − x, misses of scv 1/2 and mean 1 + 9x, ten times as rare: scv = 1/2 + 13.5 x².
    x = min(math.sqrt((scv - 0.5) / 13.5), 0.95)
    parts = [qt.Erlang(phases=2, mean=1.0 - x), qt.Erlang(phases=2, mean=1.0 + 9.0 * x)]
    return "phase-type", "mixture", qt.Mixture(parts, [0.9, 0.1])


def _other(scv: float, which: int) -> tuple[str, str, qt.Law]:
    if which == 0:
        return "other", "lognormal", qt.Lognormal(mean=1.0, scv=scv)
    if which == 1:
        return "other", "Weibull", qt.Weibull(mean=1.0, scv=scv)
    return "other", "deterministic", qt.Deterministic(1.0)


def way(engine: qt.Engine, state: SteadyState) -> str:
    """How the totals were split and, where the law was fitted, how good that is; in the words of both MEASURED."""
    split = "exact" if phase_type.is_exact(engine) else split_of(engine, state)
    return split if state.method != "fitted_service" else f"{split}, {fitted_service.way(engine)}"


def stated(row: dict[str, str]) -> float:
    """The bound of a row's quantity, as the package states it now."""
    split, _, how = row["way"].partition(", ")
    bounds = [phase_type.MEASURED["equal" if split == "exact" else split].get(row["quantity"], 0.0)]
    if how:
        bound = fitted_service.MEASURED[how].get(row["quantity"], 0.0)
        bounds.append(bound * float(row["distance"]) if how == "far" else bound)
    return max(bounds)


def rows(cell: Cell, seed: int) -> Iterator[list[str]]:
    """A row for each quantity."""
    start = time.perf_counter()
    state = qt.solve(cell.engine)
    seconds = time.perf_counter() - start
    fit = state.method == "fitted_service"
    distance = fitted_service.fitted(cell.engine)[1].distance if fit else 0.0
    run = qt.simulate(cell.engine, REQUESTS, seed=seed)
    for quantity, answer, truth in compare(cell.engine, state, run):
        numbers = (answer, truth.value, truth.half_width, answer / truth.value - 1.0)
        yield [
            cell.name,
            cell.half,
            cell.family,
            cell.law,
            str(cell.engine.devices[0].servers),
            str(len(cell.engine.disks)),
            way(cell.engine, state),
            quantity,
            *(f"{x:.6g}" for x in numbers),
            f"{distance:.4g}",
            f"{seconds:.1f}",
        ]


def error(row: dict[str, str]) -> tuple[float, float]:
    """A row's relative error and half-width."""
    return abs(float(row["relative_error"])), float(row["half_width"]) / float(row["truth"])


def report(found: list[dict[str, str]]) -> bool:
    """Print the distribution of errors; whether enough of them are within the bounds."""
    resolved = [row for row in found if error(row)[1] <= RESOLVED]
    groups = {law: [r for r in resolved if r["law"] == law] for law in sorted({r["law"] for r in resolved})}
    for family, (low, high) in itertools.product(("phase-type", "other"), BANDS):
        members = [r for r in resolved if r["family"] == family and low <= int(r["servers"]) <= high]
        groups[f"{family}, c = {low} to {high}"] = members
    print(f"{'errors, half-widths added':28}" + "".join(f"{x:>34}" for x in SHOWN))
    for title, members in groups.items():
        shown = []
        for quantity in SHOWN:
            errors = [sum(error(r)) for r in members if r["quantity"] == quantity]
            text = "-"
            if errors:
                middle, most = np.quantile(errors, [0.5, 0.9])
                text = f"{len(errors)}: {middle:.1%} {most:.1%} {max(errors):.1%}"
            shown.append(f"{text:>34}")
        print(f"{title:28}" + "".join(shown))
    approximate = [row for row in resolved if row["way"] != "exact"]
    worst: dict[tuple[str, str], float] = defaultdict(float)
    for row in approximate:
        if row["half"] == "set":
            key = row["way"].rpartition(", ")[2], row["quantity"]
            scale = float(row["distance"]) if key[0] == "far" else 1.0
            worst[key] = max(worst[key], sum(error(row)) / scale)
    print("largest of the first half: " + "; ".join(f"{a}, {b} {x:.3f}" for (a, b), x in sorted(worst.items())))
    exact = [row for row in resolved if row["way"] == "exact"]
    share = float(np.mean([error(row)[0] <= error(row)[1] for row in exact])) if exact else 1.0
    print(f"exact: {share:.1%} of {len(exact)} errors within the half-width of 95 %")
    enough = True
    for half, wanted in (("set", 1.0), ("held out", COVERED)):
        outside = [row for row in approximate if row["half"] == half and sum(error(row)) > stated(row)]
        of = sum(row["half"] == half for row in approximate)
        share = 1.0 - len(outside) / max(of, 1)
        print(f"{half}: {share:.1%} of {of} errors within the bounds")
        for row in outside:
            print(f"    {row['cell']}, {row['way']}, {row['quantity']}: {sum(error(row)):.2%}, not {stated(row):.2%}")
        enough &= share >= wanted
    return enough


def main() -> None:
    """Do the cells that are not done, for so long; then report."""
    minutes, path = arguments(RESULTS)
    todo = ((cell.name, partial(rows, cell, seed=1000 + i)) for i, cell in enumerate(cells()))
    for new in grown(path, COLUMNS, todo, minutes):
        errors = {row[7]: f"{float(row[11]):+.2%} ± {float(row[10]) / float(row[9]):.2%}" for row in new}
        shown = " ".join(f"{name} {errors.get(name, '-')}" for name in SHOWN)
        print(f"{new[0][0]:60} {new[0][6]:40} {new[0][13]:>5} s {shown}", flush=True)
    if not report(read(path)):
        sys.exit(1)


if __name__ == "__main__":
    main()
