"""How far disks with a device each behind one line are from simulation: python -m validation.delay_line [PATH]

Cells: a Latin hypercube over 2 to 64 disks, buffers of 4 to 64, devices of 1 to 4 servers, utilization 0.5 to 1.3,
half a slot to eight slots a server. Groups:

    equal       equal Poisson disks, exponential service
    different   two kinds, whose rates and buffers differ by up to 4 times, exponential service
    closed      guests that think, exponential service
    regular     equal disks, Poisson or saturated, service of scv 0 to 1: constant, Erlang, gamma
    irregular   the same, scv 1 to 4: hyperexponential and lognormal
    heavy       the same, scv 4 to 10

Bounds are set on the even cells and checked on the odd ones, which are held out. Writes a row for each cell and
quantity to PATH (default: validation/results/delay_line.csv); quantiles are those at 99 %, `disks.throughput` that of
the worst disk. Probabilities count above 0.01, waits above 0.05 mean service times. The script exits with status 1 when
an error, half-width added where that is below 3 %, exceeds what `qtheory.solve.delay_line.MEASURED` and
`qtheory.drain.delay_line.MEASURED` state. A few minutes.
"""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from scipy.stats import qmc

import qtheory as qt
from qtheory.drain import delay_line as drains
from qtheory.result import Estimate
from qtheory.solve.delay_line import LEAST, MEASURED

CELLS = 72
SEED = 1
REQUESTS = 600_000
PROBABILITY = 0.99
RESOLVED = 0.03
RESULTS = Path(__file__).with_name("results") / "delay_line.csv"
MEANS = ("throughput", "blocking", "mean_wait", "mean_response", "mean_in_system", "mean_in_flight", "utilization")
GROUPS = ("equal", "different", "closed", "regular", "irregular", "heavy")


def cells() -> Iterator[tuple[str, str, qt.Engine]]:
    """The grid: group, what a cell is, and its engine. The mean service time is 1 s."""
    for i, (a, b, c, d, e, f, g) in enumerate(qmc.LatinHypercube(7, seed=SEED).random(CELLS)):
        group = GROUPS[i // 2 % len(GROUPS)]
        n, k, servers, rho = round(2.0 * 32.0**a), round(4.0 * 16.0**b), (1, 1, 2, 4)[int(4 * c)], 0.5 + 0.8 * d
        q = max(1, min(round(n * servers * 0.5 * 16.0**e), round(0.9 * n * k)))
        law = _law(group, f, g)
        device = qt.Device(servers=servers, service=law)
        own = qt.Disk(qt.Poisson(rho * servers), buffer=k, device=device)
        disks = [own] * n
        if group == "different":
            other = qt.Poisson(rho * servers * 4.0 ** (2.0 * f - 1.0))
            disks[n // 2 :] = [qt.Disk(other, buffer=max(2, round(k * 4.0 ** (2.0 * g - 1.0))), device=device)] * (
                n - n // 2
            )
        elif group == "closed":
            think = k / (rho * servers) * (0.2 + f)
            disks = [qt.Disk(qt.Closed(k, think_time=think), buffer=k, device=device)] * n
        elif group in ("regular", "irregular", "heavy") and g < 0.2:
            disks = [qt.Disk(qt.Closed(k), buffer=k, device=device)] * n
        buffers = "/".join(str(x) for x in sorted({disk.buffer for disk in disks}))
        kind = "saturated" if disks[0].saturated else type(disks[0].arrivals).__name__
        label = f"N={n} K={buffers} c={servers} rho={rho:.2f} Q={q} {kind} {type(law).__name__}({law.scv:.2f})"
        yield group, label, qt.Engine(disks, queue_length=min(q, sum(x.most for x in disks) - 1), hold="ring")


def _law(group: str, f: float, g: float) -> qt.Law:
    if group == "regular":
        if f < 0.3:
            return qt.Deterministic(1.0)
        return qt.Erlang(phases=round(2 + 6 * f), mean=1.0) if g > 0.5 else qt.Gamma(mean=1.0, scv=f)
    if group in ("irregular", "heavy"):
        scv = 1.0 + 3.0 * f if group == "irregular" else 4.0 + 6.0 * f
        return qt.Lognormal(mean=1.0, scv=scv) if g > 0.6 else qt.Hyperexponential.balanced(mean=1.0, scv=scv)
    return qt.Exponential(mean=1.0)


def compare(engine: qt.Engine) -> Iterator[tuple[str, float, Estimate]]:
    """Each quantity that is large enough to ask for a relative error: name, answer, truth."""
    state, run = qt.solve(engine, "delay_line"), qt.simulate(engine, REQUESTS, seed=1)
    for name in MEANS:
        truth = getattr(run, name)
        if truth.value > LEAST.get(name, 0.0):
            yield name, getattr(state, name), truth
    for name in ("wait_quantile", "response_quantile"):
        truth = getattr(run, name)(PROBABILITY)
        if truth.value > LEAST.get(name, 0.0):
            yield name, getattr(state, name)(PROBABILITY), truth
    worst = max(
        ((x.throughput, y.throughput) for x, y in zip(state.disks, run.disks, strict=True)),
        key=lambda pair: abs(pair[0] / pair[1].value - 1.0) - pair[1].half_width / pair[1].value,
    )
    yield "disks.throughput", *worst
    drain = qt.drain_time(engine)
    if drain.method == "delay_line":
        yield "drain.mean", drain.mean, run.drain.mean
        yield "drain.quantile", drain.quantile(PROBABILITY), run.drain.quantile(PROBABILITY)


def stated(group: str, quantity: str) -> float:
    """What the package states."""
    if quantity.startswith("drain."):
        return drains.MEASURED[group]
    return MEASURED[group][quantity]


def main() -> None:
    """Run the grid, write the rows, print the errors and the worst of each group and quantity, set and held out."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS
    worst: dict[tuple[str, str], list[float]] = {}
    begun = time.time()
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["group", "cell", "held_out", "quantity", "answer", "truth", "half_width", "relative_error"])
        for i, (group, label, engine) in enumerate(cells()):
            shown = []
            for name, answer, truth in compare(engine):
                error, width = answer / truth.value - 1.0, truth.half_width / truth.value
                values = f"{answer:.6g}", f"{truth.value:.6g}", f"{truth.half_width:.2g}", f"{error:.5f}"
                rows.writerow([group, label, i % 2, name, *values])
                if width <= RESOLVED:
                    found = worst.setdefault((group, name), [0.0, 0.0])
                    found[i % 2] = max(found[i % 2], abs(error) + width)
                if name in ("throughput", "mean_in_system", "drain.quantile"):
                    shown.append(f"{name} {error:+.2%} ± {width:.2%}")
            file.flush()
            print(f"{time.time() - begun:5.0f} {group:10} {label:58} " + " ".join(shown), flush=True)
    over = False
    for (group, name), found in sorted(worst.items()):
        over |= max(found) > stated(group, name)
        print(f"{group:10} {name:18} set on {found[0]:.2%}, held out {found[1]:.2%}, stated {stated(group, name):.1%}")
    if over:
        print("exceeds what the package states", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
