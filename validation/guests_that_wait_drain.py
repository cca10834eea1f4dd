"""How far drains of guests that wait for room are from simulation: python -m validation.guests_that_wait_drain [FILE]

The engines are those on which the stationary answers were measured. Mean, median and 99 % quantile of the drain against
that of stops in a simulation, half-widths added where those are below RESOLVED; small engines against the chain of all
their states. The even cells set the bounds that the package states (`drain/guests_that_wait.py`), the odd ones are held
out, and the larger is stated. Exits with status 1 when one is exceeded. Half a minute.
"""

from __future__ import annotations

import csv
import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import qtheory as qt
from qtheory.drain import joint_chain
from qtheory.drain.drain_law import DrainTime
from qtheory.drain.guests_that_wait import MEASURED
from qtheory.simulate.batch_means import Estimate
from validation.guests_that_wait import cells, small

EVERY = 2
"""Of those cells each so manieth."""
REQUESTS = 500_000
RESOLVED = 0.03
PROBABILITIES = (0.5, 0.99)
RESULTS = Path(__file__).with_name("results") / "guests_that_wait_drain.csv"


def compare(found: DrainTime, engine: qt.Engine, seed: int) -> Iterator[tuple[str, float, Estimate]]:
    """Each quantity: its name, the answer and the truth."""
    if len(engine.disks) <= 3 and joint_chain.refusal(engine) is None:
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
    worst = {name: [0.0, 0.0] for name in MEASURED}
    begun = time.time()
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["group", "cell", "held_out", "quantity", "answer", "truth", "half_width", "relative_error"])
        for i, (group, label, engine) in enumerate(itertools.islice(itertools.chain(cells(), small()), 0, None, EVERY)):
            try:
                found = qt.drain_time(engine)
            except ValueError as error:
                print(f"{group:12} {label}: {error}", flush=True)
                continue
            if found.exact or found.method != "guests_that_wait":
                continue
            shown = []
            for name, answer, truth in compare(found, engine, i + 1):
                if truth.value == 0.0:  # nothing to drain that often
                    continue
                error, width = answer / truth.value - 1.0, truth.half_width / truth.value
                figures = (f"{answer:.6g}", f"{truth.value:.6g}", f"{truth.half_width:.2g}", f"{error:.5f}")
                rows.writerow([group, label, i % 2, name, *figures])
                shown.append(f"{name} {error:+.2%} ± {width:.2%}")
                if width <= RESOLVED:
                    largest = worst[name.split()[0]]
                    largest[i % 2] = max(largest[i % 2], abs(error) + width)
            file.flush()
            print(f"{time.time() - begun:5.0f} {group:12} {label:56} " + " ".join(shown), flush=True)
    for name, (even, odd) in worst.items():
        print(f"{name:10} set on {even:.2%}, held out {odd:.2%}, stated {MEASURED[name]:.2%}")
    sys.exit(any(max(worst[name]) > MEASURED[name] for name in MEASURED))


if __name__ == "__main__":
    main()
