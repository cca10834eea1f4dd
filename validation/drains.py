"""How far drains that start from an approximate stationary law are from simulation: python -m validation.drains [FILE]

The engines are those on which the stationary answers were measured: guests that wait for room, several disks before
servers of phases, bursts. Mean, median and 99 % quantile of the drain against that of stops in a simulation,
half-widths added where those are below RESOLVED; small engines against the chain of all their states. The even cells
set the bounds that the package states (`MEASURED` in `drain/guests_that_wait.py` and `drain/phase_type.py`), the odd
ones are held out, and the larger is stated. Exits with status 1 when one is exceeded. A few minutes.
"""

from __future__ import annotations

import csv
import itertools
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import qtheory as qt
from qtheory.drain import guests_that_wait, joint_chain, phase_type
from qtheory.drain.drain_law import DrainTime
from qtheory.simulate.batch_means import Estimate
from validation import guests_that_wait as waiting_cells
from validation import markovian_arrivals as bursty_cells
from validation import phase_type as phase_cells

REQUESTS = 400_000
RESOLVED = 0.03
EVERY = {"several disks": 3, "together": 5, "apart": 5}
"""Of the cells of these kinds, each so manieth."""
PROBABILITIES = (0.5, 0.99)
RESULTS = Path(__file__).with_name("results") / "drains.csv"
STATED = {"guests that wait": guests_that_wait.MEASURED, **phase_type.MEASURED}


def cells() -> Iterator[tuple[str, str, qt.Engine]]:
    """Kind, name and engine."""
    for _, label, engine in itertools.chain(waiting_cells.cells(), waiting_cells.small()):
        yield "guests that wait", label, engine
    for i, (label, engine) in enumerate(itertools.chain(phase_cells.cells(), phase_cells.corners())):
        if i % EVERY["several disks"] == 0:
            yield "several disks", label, engine
    for i, (label, engine) in enumerate(bursty_cells.cells()):
        kind = bursty_cells.bursts_of(engine)
        if i % EVERY[kind] == 0:
            yield kind, label, engine


def compare(found: DrainTime, engine: qt.Engine, seed: int) -> Iterator[tuple[str, float, Estimate]]:
    """Each quantity: its name, the answer and the truth."""
    if joint_chain.refusal(engine) is None:
        exact = joint_chain.drain(engine, None)
        yield "mean", found.mean, Estimate(exact.mean, 0.0)
        for p in PROBABILITIES:
            yield f"quantile {p:g}", found.quantile(p), Estimate(exact.quantile(p), 0.0)
        return
    run = qt.simulate(engine, REQUESTS, seed=seed).drain
    yield "mean", found.mean, run.mean
    for p in PROBABILITIES:
        yield f"quantile {p:g}", found.quantile(p), run.quantile(p)


def main() -> None:
    """Run the cells, write the rows, print the errors and the worst of each kind."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS
    worst: dict[tuple[str, str], list[float]] = {}
    begun = time.time()
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["kind", "cell", "held_out", "quantity", "answer", "truth", "half_width", "relative_error"])
        for i, (kind, label, engine) in enumerate(cells()):
            found = qt.drain_time(engine)
            if found.exact or found.method == "fitted_service":
                continue
            shown = []
            for name, answer, truth in compare(found, engine, i + 1):
                if not truth.value > 0.0:
                    continue
                error, width = answer / truth.value - 1.0, truth.half_width / truth.value
                figures = (f"{answer:.6g}", f"{truth.value:.6g}", f"{truth.half_width:.2g}", f"{error:.5f}")
                rows.writerow([kind, label, i % 2, name, *figures])
                shown.append(f"{name} {error:+.2%} ± {width:.2%}")
                if width <= RESOLVED:
                    largest = worst.setdefault((kind, "mean" if name == "mean" else "quantile"), [0.0, 0.0])
                    largest[i % 2] = max(largest[i % 2], abs(error) + width)
            file.flush()
            print(f"{time.time() - begun:5.0f} {kind:17} {label:56} " + " ".join(shown), flush=True)
    over = False
    for (kind, name), (even, odd) in sorted(worst.items()):
        stated = STATED.get(kind, {}).get(name, math.inf)
        over |= max(even, odd) > stated
        print(f"{kind:17} {name:10} set on {even:.2%}, held out {odd:.2%}, stated {stated:.2%}")
    sys.exit(over)


if __name__ == "__main__":
    main()
