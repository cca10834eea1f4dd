"""How far the answer for guests that wait is from simulation: python -m validation.guests_that_wait [PATH]

Cells: a Latin hypercube over 2 to 64 disks, buffers of 1 to 64, 1 to 64 servers, utilization 0.3 to 0.95, service of
scv 0.1 to 10 (exponential in half of the cells, so that buffers smaller than the servers occur; else Erlang,
hyperexponential, and lognormal laws, which are fitted). Groups:

    equal       equal disks, every buffer with room for as many as the servers
    different   two kinds, whose rates and buffers differ by up to 4 times
    short       equal disks, buffers smaller than the servers; exponential service
    mixed       beside the disks that wait as many that lose, or are closed; exponential service
    mixed phases  the same with other service
    small       two or three disks, few enough states for `joint_chain`, which is exact

Bounds are set on the even cells and checked on the odd ones, which are held out: the table shows both. Writes a row for
each cell and quantity to PATH (default: validation/results/guests_that_wait.csv). Per-disk quantities are those of the
worst kind of disk, quantiles those at 99 %; a mean guest wait counts where it is above 0.05 mean service times and a
probability of it (`waits_in_guest`) above 0.01. The script exits with status 1 when an error, half-width added where
that is below 1.5 %, exceeds what `qtheory.solve.guests_that_wait.MEASURED` states. Ten minutes.
"""

from __future__ import annotations

import csv
import itertools
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.stats import qmc

import qtheory as qt
from qtheory.result import Estimate
from qtheory.simulate.simulation import Simulation
from qtheory.solve.guests_that_wait import LEAST, MEASURED
from qtheory.solve.steady_state import SteadyState
from validation.phase_type import estimate, kinds

CELLS = 64
SEED = 1
REQUESTS = 4_000_000
PROBABILITY = 0.99
RESOLVED = 0.015
RESULTS = Path(__file__).with_name("results") / "guests_that_wait.csv"
QUANTITIES = ("throughput", "blocking", "mean_wait", "mean_guest_wait", "mean_response", "mean_in_system")
GROUPS = ("equal", "different", "short", "mixed")


def cells() -> Iterator[tuple[str, str, qt.Engine]]:
    """The grid: group, what a cell is, and its engine. The mean service time is 1 s."""
    points = qmc.LatinHypercube(7, seed=SEED).random(CELLS)
    for i, (a, b, c, d, e, f, g) in enumerate(points):
        group = GROUPS[i // 2 % 4]
        disks = max(2, round(64**a))
        rho = 0.3 + 0.65 * c
        # around the number at which a guest sees its buffer full at times
        buffer = min(64, max(1, round(64**e * (0.3 + 2.0 * b))))
        servers = max(1, min(64, round(buffer * f))) if group != "short" else min(64, buffer * 2 + round(4 * f))
        if group == "short":
            buffer = max(1, min(buffer, servers - 1))
            disks = max(disks, math.ceil(1.5 * servers / buffer))
        servers = max(1, min(servers, disks * buffer - 1))
        law: qt.Law = qt.Exponential(mean=1.0)
        if group != "short" and i % 3:
            servers = min(servers, 8)
            law = _law(10.0 ** (2.0 * d - 1.0), servers, lognormal=g > 0.75)
        share = rho * servers / disks
        wait = [qt.Disk(qt.Poisson(share), buffer=buffer, full="wait")] * disks
        if group == "different":
            ratio, other = 4.0 ** (2.0 * g - 1.0), min(64, buffer * (1 + round(3 * d)))
            one, two = disks - disks // 2, disks // 2
            rate = rho * servers / (one + two * ratio)
            wait = [qt.Disk(qt.Poisson(rate), buffer=buffer, full="wait")] * one
            wait += [qt.Disk(qt.Poisson(ratio * rate), buffer=other, full="wait")] * two
        if group == "mixed":
            half = max(1, disks // 2)
            wait = [qt.Disk(qt.Poisson(share), buffer=buffer, full="wait")] * half
            if i % 4 < 2:
                wait += [qt.Disk(qt.Poisson(share), buffer=buffer)] * half
            else:
                wait += [qt.Disk(qt.Closed(2 * buffer, 2 * buffer / share), buffer=buffer)] * half
        label = f"N={len(wait)} K={'/'.join(map(str, sorted({x.buffer for x in wait})))} c={servers} rho={rho:.2f} "
        if group == "mixed" and not isinstance(law, qt.Exponential):
            group = "mixed phases"
        yield group, label + f"{type(law).__name__}({law.scv:.2f})", qt.Engine(wait, qt.Device(servers, law))


def small() -> Iterator[tuple[str, str, qt.Engine]]:
    """Few enough states for `joint_chain`."""
    laws = (qt.Exponential(mean=1.0), qt.Erlang(phases=2, mean=1.0))
    for servers, rho, (k, m), ratio, law in itertools.product(
        (1, 2), (0.4, 0.6, 0.8), ((1, 1), (2, 2), (2, 1), (3, 2)), (1.0, 3.0), laws
    ):
        if k + m <= servers or (min(k, m) < servers and not isinstance(law, qt.Exponential)):
            continue
        rates = rho * servers / (1.0 + ratio) * np.array([1.0, ratio])
        disks = [qt.Disk(qt.Poisson(float(r)), buffer=x, full="wait") for r, x in zip(rates, (k, m), strict=True)]
        engine = qt.Engine(disks, qt.Device(servers, law))
        yield "small", f"rates 1:{ratio:g} K={k}/{m} c={servers} rho={rho:.2f} {type(law).__name__}", engine


def _law(scv: float, servers: int, *, lognormal: bool) -> qt.Law:
    if scv > 1.0:
        if lognormal:
            return qt.Lognormal(mean=1.0, scv=min(scv, 4.0))
        return qt.Hyperexponential.balanced(mean=1.0, scv=scv)
    return qt.Erlang(phases=min(max(2, round(1.0 / scv)), 10 if servers == 1 else 3), mean=1.0)


def compare(
    engine: qt.Engine, state: SteadyState, run: Simulation | SteadyState
) -> Iterator[tuple[str, float, Estimate]]:
    """Each quantity that is large enough to ask for a relative error: name, answer, truth."""
    for name in QUANTITIES:
        truth = estimate(getattr(run, name))
        if truth.value > LEAST.get(name, 0.0):
            yield name, getattr(state, name), truth
    if isinstance(run, Simulation):
        for name in ("wait_quantile", "response_quantile"):
            truth = getattr(run, name)(PROBABILITY)
            if truth.value > LEAST.get(name, 0.0):
                yield name, getattr(state, name)(PROBABILITY), truth
    worst: dict[str, tuple[float, Estimate]] = {}
    for members in kinds(engine):
        disk = engine.disks[members[0]]
        for name in ("mean_wait", "mean_guest_wait", "waits_in_guest"):
            if name == "waits_in_guest" and not (disk.guest_waits and isinstance(disk.arrivals, qt.Poisson)):
                continue
            values = [
                estimate(float(run.disks[i].pmf[-1]) if name == "waits_in_guest" else getattr(run.disks[i], name))
                for i in members
            ]
            value = float(np.mean([x.value for x in values]))
            width = float(np.mean([x.half_width for x in values])) / math.sqrt(len(values))
            if name == "waits_in_guest" and isinstance(run, Simulation):
                # as well known as the time spent there, at least
                width = value * max(run.mean_in_system.half_width / run.mean_in_system.value, 0.001)
            answer = state.disks[members[0]]
            found = float(answer.pmf[-1]) if name == "waits_in_guest" else float(getattr(answer, name))
            if value > LEAST[name] and abs(found / value - 1.0) >= abs(
                worst[name][0] / worst[name][1].value - 1.0 if name in worst else 0.0
            ):
                worst[name] = found, Estimate(value, width)
    for name, (found, truth) in worst.items():
        yield f"disks.{name}", found, truth


def main() -> None:
    """Run the grid, write the rows, print the errors and the worst of each group and quantity, set and held out."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS
    path.parent.mkdir(parents=True, exist_ok=True)
    worst: dict[tuple[str, str], list[float]] = {}
    begun = time.time()
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["group", "cell", "held_out", "quantity", "answer", "truth", "half_width", "relative_error"])
        for i, (group, label, engine) in enumerate(itertools.chain(cells(), small())):
            try:
                state = qt.solve(engine, "guests_that_wait")
                run = qt.solve(engine, "joint_chain") if group == "small" else qt.simulate(engine, REQUESTS, seed=i + 1)
            except ValueError as error:
                rows.writerow([group, label, i % 2, f"refused: {error}", "", "", "", ""])
                print(f"{group:12} {label}: {error}", flush=True)
                continue
            shown = []
            for name, answer, truth in compare(engine, state, run):
                error, width = answer / truth.value - 1.0, truth.half_width / truth.value
                rows.writerow(
                    [
                        *(group, label, i % 2, name),
                        *(f"{answer:.6g}", f"{truth.value:.6g}", f"{truth.half_width:.2g}", f"{error:.5f}"),
                    ]
                )
                if width <= RESOLVED:
                    found = worst.setdefault((group, name), [0.0, 0.0])
                    found[i % 2] = max(found[i % 2], abs(error) + width)
                if name in ("mean_wait", "mean_guest_wait", "response_quantile"):
                    shown.append(f"{name} {error:+.2%} ± {width:.2%}")
            file.flush()
            print(f"{time.time() - begun:5.0f} {group:12} {label:48} " + " ".join(shown), flush=True)
    over = False
    for (group, name), found in sorted(worst.items()):
        over |= max(found) > MEASURED.get(group, {}).get(name, math.inf)
        print(f"{group:12} {name:22} set on {found[0]:.2%}, held out {found[1]:.2%}")
    if over:
        print("exceeds what the package states", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
