"""How far phase-type service on a shared device is from simulation: python -m validation.phase_type [MINUTES [PATH]]

Cells: a Latin hypercube over 2 to 64 disks, buffers of 1 to 64, 1 to 32 servers, utilization 0.3 to 1.5, service of scv
0.1 to 10 (Erlang, hyperexponential, and mixtures of two Erlang laws). In every other cell the disks are equal, in the
others of two to four kinds, whose rates and buffers differ by up to 16 times. In a seventh of the cells requests are
refused at Q, in another seventh the guests are closed. Different disks with more than 20 000 states are solved twice:
with the split followed together with the phases, and as under exponential service, which is done from 400 000 states.

After these come corners, in which errors are larger, crowds, and small engines, solved exactly instead of simulated.
Appends a row for each cell, split and quantity to PATH (default: validation/results/phase_type.csv); cells that have
theirs are not done again, so that a run may be cut, or stopped after MINUTES, and taken up later. Per-disk quantities
are those of the worst kind of disk, quantiles those at 99 %. The largest errors, half-widths added, where the
half-width is below 1 % of the value, are what `qtheory.solve.phase_type.MEASURED` states; the script exits with status
1 when one exceeds them. `validation/service_laws.py` has cells that these bounds were not set by. A quarter of an hour.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
from scipy.stats import qmc

import qtheory as qt
from qtheory.markov.phase_counts import PhaseCounts
from qtheory.result import Estimate
from qtheory.simulate.simulation import Simulation
from qtheory.solve.phase_type import LEAST, MEASURED, PLAIN
from qtheory.solve.steady_state import SteadyState
from validation.tables import arguments, grown, read

CELLS = 96
SEED = 1
REQUESTS = 16_000_000
PROBABILITY = 0.99
RESOLVED = 0.01
LARGE = 20_000
MOST_STATES = 250
RESULTS = Path(__file__).with_name("results") / "phase_type.csv"
COLUMNS = "cell,split,quantity,answer,truth,half_width,relative_error"
QUANTITIES = ("throughput", "blocking", "mean_wait", "mean_response", "mean_in_system", "mean_in_flight", "utilization")


def cells() -> Iterator[tuple[str, qt.Engine]]:
    """The grid: what a cell is, and its engine. The mean service time is 1 s."""
    points = qmc.LatinHypercube(9, seed=SEED).random(CELLS)
    for i, (a, b, c, d, e, f, g, h, k) in enumerate(points):
        different = 1 if i % 2 == 0 else 2 + int(3 * f)
        disks = max(different, 2, round(64**a))
        servers = max(1, min(round(32**b), disks * 16))
        rho, scv = 0.3 + 1.2 * c, 10.0 ** (2.0 * d - 1.0)
        law, name = _law(scv, servers, mixed=k > 0.7)
        buffer = round(64**e)
        spread = np.linspace(0.0, 1.0, different) if different > 1 else np.zeros(1)
        rates = 16.0 ** (g * spread)
        buffers = [min(max(1, round(buffer * 16.0**x)), 64) for x in (2.0 * h - 1.0) * spread]
        members = [j % different for j in range(disks)]
        share = rho * servers / sum(rates[j] for j in members)
        hold, slots = "engine", None
        if i % 7 == 3:
            hold, slots = "refuse", max(servers, round(0.5 * sum(buffers[j] for j in members)))
        drawn = [
            qt.Disk(qt.Closed(buffers[j], buffers[j] / (share * rates[j])), buffer=buffers[j])
            if i % 7 == 5
            else qt.Disk(qt.Poisson(share * rates[j]), buffer=buffers[j])
            for j in members
        ]
        if sum(disk.most for disk in drawn) <= servers:
            servers = max(1, sum(disk.most for disk in drawn) // 2)
            law, name = _law(scv, servers, mixed=k > 0.7)
        label = f"N={disks} kinds={different} K={'/'.join(map(str, sorted(set(d.most for d in drawn))))} c={servers} "
        label += f"rho={rho:.2f} {name}" + (f" Q={slots}" if slots else "") + (" closed" if i % 7 == 5 else "")
        yield label, qt.Engine(drawn, qt.Device(servers, law), slots, hold)


def corners() -> Iterator[tuple[str, qt.Engine]]:
    """Where errors are largest: few servers, a fast disk with a short buffer beside a slow one with a long, or two."""
    for servers, rho, scv, spread in itertools.product((1, 2, 4), (0.6, 0.9, 1.3), (0.25, 4.0, 10.0), (4, 16)):
        law, name = _law(scv, servers, mixed=False)
        slow = rho * servers / (1 + spread)
        disks = [qt.Disk(qt.Poisson(slow), buffer=2 * spread), qt.Disk(qt.Poisson(spread * slow), buffer=2)]
        yield (
            f"corner: rates 1:{spread} K={2 * spread}/2 c={servers} rho={rho:.2f} {name}",
            qt.Engine(disks, qt.Device(servers, law)),
        )
    for servers, rho, scv, buffer in itertools.product((1, 2), (0.7, 1.2), (0.25, 10.0), (1, 4)):
        law, name = _law(scv, servers, mixed=False)
        disk = qt.Disk(qt.Poisson(rho * servers / 2), buffer=buffer)
        if 2 * buffer > servers:
            label = f"corner: N=2 K={buffer} c={servers} rho={rho:.2f} {name}"
            yield label, qt.Engine([disk] * 2, qt.Device(servers, law))


def crowds() -> Iterator[tuple[str, qt.Engine]]:
    """The same with many disks, of which the split is not followed unless one waits for it."""
    for rho, scv, spread in itertools.product((0.7, 0.9, 1.2), (4.0, 10.0), (4, 16)):
        law, name = _law(scv, 8, mixed=False)
        slow = rho * 8 / 8 / (1 + spread)
        disks = [qt.Disk(qt.Poisson(slow), buffer=64), qt.Disk(qt.Poisson(spread * slow), buffer=4)] * 8
        yield f"crowd: N=16 rates 1:{spread} K=64/4 c=8 rho={rho:.2f} {name}", qt.Engine(disks, qt.Device(8, law))


def small() -> Iterator[tuple[str, qt.Engine]]:
    """Two disks and one or two servers, few enough states for `joint_chain`, which is exact."""
    buffers = ((5, 2), (4, 4), (6, 1), (3, 2), (2, 2))
    for servers, rho, scv, most, ratio in itertools.product(
        (1, 2), (0.4, 0.8, 1.3), (0.25, 4.0, 10.0), buffers, (0.25, 1.0, 4.0, 16.0)
    ):
        law, name = _law(scv, servers, mixed=False)
        rates = rho * servers / (1.0 + ratio) * np.array([1.0, ratio])
        disks = [qt.Disk(qt.Poisson(float(rate)), buffer=k) for rate, k in zip(rates, most, strict=True)]
        label = f"small: rates 1:{ratio:g} K={most[0]}/{most[1]} c={servers} rho={rho:.2f} {name}"
        yield label, qt.Engine(disks, qt.Device(servers, law))


def _law(scv: float, servers: int, *, mixed: bool) -> tuple[qt.Law, str]:
    """A law of this scv, or of the next above that keeps the states of the servers' phases within reason."""
    phases = max(2, round(1.0 / scv))
    while phases > 2 and PhaseCounts(np.ones(phases), -np.eye(phases)).size(servers) > MOST_STATES:
        phases -= 1
    if scv > 1.0:
        if mixed and PhaseCounts(np.ones(4), -np.eye(4)).size(servers) <= MOST_STATES:
            # Hits of scv 1/2 and mean 1 − x, misses of scv 1/2 and mean 1 + 9x, ten times as rare: scv = 1/2 + 13.5 x².
            x = min(math.sqrt((scv - 0.5) / 13.5), 0.95)
            law = qt.Mixture([qt.Erlang(phases=2, mean=1.0 - x), qt.Erlang(phases=2, mean=1.0 + 9.0 * x)], [0.9, 0.1])
            return law, f"mixture({law.scv:.2f})"
        return qt.Hyperexponential.balanced(mean=1.0, scv=scv), f"H2({scv:.2f})"
    return qt.Erlang(phases=phases, mean=1.0), f"E{phases}"


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
                with suppress(ValueError):  # too long to follow
                    yield name, getattr(state, name)(PROBABILITY), truth
    for name in ("blocking", "mean_wait"):
        overall = estimate(getattr(run, name))
        found = []
        for members in kinds(engine):
            runs = [estimate(getattr(run.disks[i], name)) for i in members]
            value, width = (float(np.mean([getattr(x, part) for x in runs])) for part in ("value", "half_width"))
            if value > LEAST[f"disks.{name}"]:
                # Equal disks share the line, so that what is common to all of them does not cancel.
                width = max(width / math.sqrt(len(members)), value * overall.half_width / overall.value)
                found.append((getattr(state.disks[members[0]], name), Estimate(value, width)))
        if found:
            answer, truth = max(found, key=lambda pair: abs(pair[0] / pair[1].value - 1.0))
            yield f"disks.{name}", answer, truth


def estimate(value: Estimate | float) -> Estimate:
    """An exact value has no half-width."""
    return value if isinstance(value, Estimate) else Estimate(value, 0.0)


def kinds(engine: qt.Engine) -> list[list[int]]:
    """Indices of equal disks, as many slots of the queue being theirs."""
    found: dict[tuple[qt.Disk, int | None], list[int]] = {}
    for i, key in enumerate(zip(engine.disks, engine.caps or [None] * len(engine.disks), strict=True)):
        found.setdefault(key, []).append(i)
    return list(found.values())


def split_of(engine: qt.Engine, state: SteadyState) -> str:
    """How the totals were split, in the words of MEASURED."""
    if len(kinds(engine)) == 1:
        return "equal"
    return "plain" if PLAIN in state.warnings else "followed"


def rows(label: str, engine: qt.Engine, seed: int) -> Iterator[list[str]]:
    """A row for each way to split and quantity."""
    small = label.startswith("small")
    run = qt.solve(engine, "joint_chain") if small else qt.simulate(engine, REQUESTS, seed=seed)
    states = [qt.solve(engine, "phase_type")]
    if split_of(engine, states[0]) == "followed":
        with mock.patch("qtheory.solve.different_disks.MOST_STATES", LARGE):
            again = qt.solve(engine, "phase_type")
        if split_of(engine, again) == "plain":
            states.append(again)
    for state in states:
        for name, answer, truth in compare(engine, state, run):
            numbers = (f"{answer:.6g}", f"{truth.value:.6g}", f"{truth.half_width:.2g}")
            yield [label, split_of(engine, state), name, *numbers, f"{answer / truth.value - 1.0:.5f}"]


def main() -> None:
    """Do the cells that are not done, for so long; then print the worst of each split and quantity."""
    minutes, path = arguments(RESULTS)
    every = itertools.chain(cells(), corners(), crowds(), small())
    todo = ((label, partial(rows, label, engine, seed=100 + i)) for i, (label, engine) in enumerate(every))
    for new in grown(path, COLUMNS, todo, minutes):
        errors = {row[2]: f"{float(row[6]):+.2%} ± {float(row[5]) / float(row[4]):.2%}" for row in new}
        shown = ("blocking", "mean_wait", "response_quantile")
        print(f"{new[0][0]:60} {new[0][1]:11} " + " ".join(f"{n} {errors.get(n, '-')}" for n in shown), flush=True)
    worst: dict[tuple[str, str], tuple[float, str]] = {}
    for row in read(path):
        key, width = (row["split"], row["quantity"]), float(row["half_width"]) / float(row["truth"])
        if width <= RESOLVED:
            worst[key] = max(worst.get(key, (0.0, "")), (abs(float(row["relative_error"])) + width, row["cell"]))
    for (split, name), (error, label) in sorted(worst.items()):
        print(f"{split:11} {name:20} {error:.2%}  {label}")
    if any(error > MEASURED[split].get(name, math.inf) for (split, name), (error, _) in worst.items()):
        print("exceeds what the package states", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
