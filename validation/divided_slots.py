"""How far divided slots of a shared device are from simulation: python -m validation.divided_slots

Grid: N Poisson disks on a device of c exponential servers, Q slots divided equally or in proportion to the load; disks
alike, one disk of half the load ("deep"), or that beside caps that leave out who is deep. The largest relative errors,
half-widths added, are what `qtheory.solve.divided_slots` states, of the whole and of each disk's mean wait; blocking
where above 1e-3, waits where above a hundredth of a service. Written to validation/results/divided_slots.csv; exits
with status 1 when a new run exceeds what is stated. A few minutes.
"""

from __future__ import annotations

import csv
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import qtheory as qt
from qtheory.result import Estimate
from qtheory.solve.divided_slots import DRAIN_MEASURED, MEASURED

RESULTS = Path(__file__).parent / "results"
DISKS = (2, 8)
BUFFERS = (8, 64)
SERVERS = (1, 4, 16)
UTILIZATIONS = (0.5, 0.8, 0.95, 1.2)
SLOTS_PER_SERVER = (1.5, 4.0)
DIVISIONS = (("alike", "equal"), ("deep", "equal"), ("deep", "load"))
REQUESTS = 400_000
LEAST_BLOCKING = 1e-3
LEAST_WAIT = 1e-2
PROBABILITY = 0.99


def cells() -> Iterator[tuple[dict[str, object], qt.Engine]]:
    """The grid: what each cell is, and its engine."""
    device = {c: qt.Device(servers=c, service=qt.Exponential(mean=1.0)) for c in SERVERS}
    for n, k, c, rho, share, (kind, shares) in itertools.product(
        DISKS, BUFFERS, SERVERS, UTILIZATIONS, SLOTS_PER_SERVER, DIVISIONS
    ):
        q = max(n, round(share * c))
        if q <= c:
            continue
        loads = [1.0 / n] * n if kind == "alike" else [0.5, *[0.5 / (n - 1)] * (n - 1)]
        if kind == "deep" and n == 2:
            loads = [0.8, 0.2]
        disks = [qt.Disk(qt.Poisson(rho * c * part), buffer=k) for part in loads]
        cell = {"disks": n, "buffer": k, "servers": c, "load": rho, "slots": q, "kind": kind, "shares": shares}
        yield cell, qt.Engine(disks, device[c], q, "ring", shares)  # type: ignore[arg-type]  # a rule's name


def main() -> None:
    """Run the grid, write the errors, print the worst of each quantity."""
    worst = dict.fromkeys((*MEASURED, "drain"), 0.0)
    where: dict[str, dict[str, object]] = {}
    rows = []
    for cell, engine in cells():
        state, run = qt.solve(engine, "divided_slots"), qt.simulate(engine, REQUESTS, seed=1)
        drain = qt.drain_time(engine)
        assert run.drain is not None
        pairs: list[tuple[str, float, Estimate]] = [
            *((name, getattr(state, name), getattr(run, name)) for name in MEASURED if name != "disks.mean_wait"),
            *(("disks.mean_wait", a.mean_wait, b.mean_wait) for a, b in zip(state.disks, run.disks, strict=True)),
            ("drain", drain.mean, run.drain.mean),
            ("drain", drain.quantile(PROBABILITY), run.drain.quantile(PROBABILITY)),
        ]
        row = dict(cell)
        for name, answer, truth in pairs:
            least = {"blocking": LEAST_BLOCKING, "mean_wait": LEAST_WAIT, "disks.mean_wait": LEAST_WAIT}.get(name, 0.0)
            if truth.value <= least:
                row.setdefault(name, "")
                continue
            error = answer / truth.value - 1.0
            if abs(error) + truth.half_width / truth.value > worst[name]:
                worst[name], where[name] = abs(error) + truth.half_width / truth.value, cell
            row[name] = max(row.get(name) or 0.0, round(error, 4), key=abs)  # type: ignore[call-overload]
        rows.append(row)
    with (RESULTS / "divided_slots.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)
    for name, error in worst.items():
        print(f"{name}: {error:.1%} with half-width, at {where.get(name)}")
    stated = {**MEASURED, "drain": DRAIN_MEASURED}
    over = [name for name, error in worst.items() if error > stated[name]]
    if over:
        print(f"exceeds what the package states: {', '.join(over)}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
