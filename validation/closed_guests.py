"""How far `qt.solve` and `qt.drain_time` are off for guests that think.

    python -m validation.closed_guests [MINUTES [PATH]]

A Latin hypercube over 1 to 64 servers of a shared device, 1.05 to 16 guests' requests a server, think times of 1e-3 to
100 mean service times (in every other pair of cells such that guests which never wait would ask for a quarter to four
times of what there is), and service laws more regular than exponential: constant, Erlang of 10 phases, uniform between
half and one and a half of the mean, in turn; after those lognormal ones of scv 0.3 and 0.7. The requests are one
disk's, those of four equal disks, or those of two kinds of disks whose think times differ by up to 16 times. Each cell
is solved, drained and simulated, which takes a second or two; a device for each disk is the same as one disk, and is
compared in every eighth cell.

Rows are appended to PATH (default: validation/results/closed_guests.csv); cells that have theirs are not done again.
Bounds (`MEASURED_CLOSED` of `qtheory.solve.fitted_service` and `qtheory.drain.fitted_service`) may be set by the even
cells only; the odd ones are held out, and what is stated is the larger. The script exits with status 1 when an error
exceeds what is stated, or an answer breaks a law that needs no measurement: no more is completed than the servers can,
or than guests that never wait would ask for.
"""

from __future__ import annotations

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
from qtheory.drain import fitted_service as drained
from qtheory.result import Estimate
from qtheory.solve import fitted_service
from qtheory.solve.conservation import BEYOND
from validation.phase_type import compare
from validation.tables import arguments, grown, read

CELLS, MORE, SEED = 192, 32, 7
REQUESTS = 4_000_000
RESOLVED = 0.01
"""Half-widths above this part of the value say little about an error."""
LEAST = 0.05
"""Mean drain, in service times, above which errors are looked at."""
RESULTS = Path(__file__).with_name("results") / "closed_guests.csv"
COLUMNS = "cell,disks,law,method,quantity,answer,truth,half_width,relative_error,seconds"
LAWS = {
    "constant": qt.Deterministic(1.0),
    "Erlang": qt.Erlang(phases=10, mean=1.0),
    "uniform": qt.Histogram([0.5, 1.5], [1.0]),
}
OTHERS = {f"lognormal {scv}": qt.Lognormal(mean=1.0, scv=scv) for scv in (0.3, 0.7)}


class Cell(NamedTuple):
    """A point of the grid; the mean service time is 1 s."""

    name: str
    kind: str
    law: str
    engine: qt.Engine


def cells() -> Iterator[Cell]:
    """The grid."""
    points = [qmc.LatinHypercube(4, seed=SEED + j).random(n) for j, n in enumerate((CELLS, MORE))]
    for i, (a, b, c, d) in enumerate(np.vstack(points)):
        servers = round(64.0**a)
        requests = max(servers + 1, round(servers * 1.05 * (16.0 / 1.05) ** b))
        think = 10.0 ** (5.0 * c - 3.0) if i // 2 % 2 else max(1e-3, requests / servers / 4.0 ** (2.0 * c - 1.0) - 1.0)
        laws = LAWS if i < CELLS else OTHERS
        law = list(laws)[i // 4 % len(laws)]
        device = qt.Device(servers, laws[law])
        kind = "apart" if i % 8 == 5 else ("one", "equal", "two kinds")[i // 12 % 3]
        label = f"{i}: c={servers} n={requests} z={think:.3g} {law}"
        if kind == "equal":
            part = max(1, requests // 4)
            disks = [qt.Disk(qt.Closed(part, think), buffer=part)] * 4
        elif kind == "two kinds" and requests > 1:
            part, other = requests // 2, think * 16.0**d
            label += f"/{other:.3g}"
            disks = [qt.Disk(qt.Closed(n, z), buffer=n) for n, z in ((part, think), (requests - part, other))]
        else:
            disks = [qt.Disk(qt.Closed(requests, think), buffer=requests)]
        if kind == "apart":
            disks = [qt.Disk(disk.arrivals, disk.buffer, device=device) for disk in disks * 2]
        yield Cell(label, kind, law, qt.Engine(disks, None if kind == "apart" else device))


def rows(cell: Cell, seed: int) -> Iterator[list[str]]:
    """A row for each quantity."""
    start = time.perf_counter()
    state, drain = qt.solve(cell.engine), qt.drain_time(cell.engine)
    seconds = time.perf_counter() - start
    run = qt.simulate(cell.engine, REQUESTS, seed=seed)
    found = list(compare(cell.engine, state, run))
    if run.drain.mean.value > LEAST:
        found.append(("drain.mean", drain.mean, run.drain.mean))
        found.append(("drain.quantile", drain.quantile(0.99), run.drain.quantile(0.99)))
    found.append(("most", state.throughput, Estimate(limit(cell.engine), 0.0)))
    law = cell.engine.devices[0].service
    if law is not None and fitted_service.in_step(law, run.utilization.value):
        # for as long as is simulated: when a drain ends, and which waits are long, depends on how they began
        found = [one for one in found if not one[0].startswith("drain") and not one[0].endswith("quantile")]
    for quantity, answer, truth in found:
        numbers = (answer, truth.value, truth.half_width, answer / truth.value - 1.0)
        yield [
            cell.name, cell.kind, cell.law, state.method, quantity, *(f"{x:.6g}" for x in numbers), f"{seconds:.1f}"
        ]  # fmt: skip


def limit(engine: qt.Engine) -> float:
    """What no throughput exceeds."""
    asked = 0.0
    for disk in engine.disks:
        assert isinstance(disk.arrivals, qt.Closed)
        asked += disk.arrivals.outstanding / (disk.arrivals.think_time + 1.0)
    devices = (engine.devices[0],) if engine.shared else engine.devices
    return min(asked, sum(device.servers or 1 for device in devices))


def report(found: list[dict[str, str]]) -> bool:
    """Print the errors; whether all are within what is stated."""
    stated = fitted_service.MEASURED_CLOSED | {f"drain.{name}": x for name, x in drained.MEASURED_CLOSED.items()}
    worst: dict[tuple[str, str], list[tuple[float, str]]] = defaultdict(list)
    good = True
    for row in found:
        if row["quantity"] == "most":
            good &= float(row["relative_error"]) <= BEYOND
        elif row["method"] != "enough_servers":
            width = float(row["half_width"]) / float(row["truth"])
            if width <= RESOLVED:
                half = "held out" if int(row["cell"].partition(":")[0]) % 2 else "set"
                worst[row["quantity"], half].append((abs(float(row["relative_error"])) + width, row["cell"]))
    for (quantity, half), errors in sorted(worst.items()):
        largest, cell = max(errors)
        print(f"{quantity:20} {half:9} {len(errors):4} cells, largest {largest:.2%} of {stated[quantity]:.1%}: {cell}")
        good &= largest <= stated[quantity]
    return good


def main() -> None:
    """Do the cells that are not done, for so long; then report."""
    minutes, path = arguments(RESULTS)
    todo = ((cell.name, partial(rows, cell, seed=2000 + i)) for i, cell in enumerate(cells()))
    for new in grown(path, COLUMNS, todo, minutes):
        errors = " ".join(f"{row[4]} {float(row[8]):+.2%}" for row in new if row[4] in ("throughput", "mean_wait"))
        name, kind, _, method, *_, seconds = new[0]
        print(f"{name:50} {kind:9} {method:15} {seconds:>5} s {errors}", flush=True)
    if not report(read(path)):
        sys.exit(1)


if __name__ == "__main__":
    main()
