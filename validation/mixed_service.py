"""How far disks of different service laws on one shared device are from simulation: python -m validation.mixed_service

Cells: a Latin hypercube over 2 to 16 disks, buffers of 1 to 32, 1 to 32 servers, utilization 0.3 to 1.2, mean service
times up to 100 times apart, scv 0.1 to 10. In half of the cells the disks are of two or three kinds, in the other half
of 4 to 16, there with exponential laws in every other cell. Two thirds of the other laws are Erlang or
hyperexponential, the rest lognormal. Before these come small engines, solved exactly instead of simulated. Drains are
compared as well.

Writes a row for each cell and quantity to validation/results/mixed_service.csv (or the path given): the answer, the
truth and its half-width, the relative error, and what the fits in place of laws add to the bound. The largest error
with its half-width, less the fits' part where laws are not pooled, is what `qtheory.solve.mixed_service.MEASURED`
states. Printed as well: the bounds that one half of the cells sets, and how many errors of the other half they hold.
Errors count where the half-width is below 2 %, with pooled laws 5 %. Ten minutes.
"""

from __future__ import annotations

import csv
import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.stats import qmc

import qtheory as qt
from qtheory.simulate.simulation import Simulation
from qtheory.solve.mixed_service import Mixed, of_fits, refusal
from validation.phase_type import compare

CELLS = 44
SEED = 7
REQUESTS = 8_000_000
RESOLVED = {"parted": 0.02, "pooled": 0.05}
STIFF = 5_000
"""Steps of the chain in the longest phase, beyond which the law of the drain takes minutes."""
RESULTS = Path(__file__).with_name("results") / "mixed_service.csv"


def cells() -> Iterator[tuple[str, qt.Engine]]:
    """The grid: what a cell is, and its engine. The smallest mean service time is 1 s."""
    points = qmc.LatinHypercube(8, seed=SEED).random(CELLS)
    rng = np.random.default_rng(SEED)
    for i, (a, b, c, d, e, f, g, h) in enumerate(points):
        n = round(2.0 * 8.0**a)
        kinds = min(n, 2 + int(2 * f)) if i % 2 == 0 else min(max(n, 4), 4 + int(12 * f))
        n = max(n, kinds)
        servers = round(32.0**b)
        means = np.concatenate([[1.0], 100.0 ** (d * np.sort(rng.random(kinds - 2))), [100.0**d]])
        laws = [
            _law(float(mean), 10.0 ** (2.0 * x - 1.0) if i % 4 != 3 else 1.0, rng.random() * (i % 4 != 3))
            for mean, x in zip(means, rng.random(kinds), strict=True)
        ]
        loads = 4.0 ** (g * rng.random(kinds))
        buffers = np.maximum(1, np.round(32.0**e * 4.0 ** (h * (rng.random(kinds) - 0.5)))).astype(int).clip(1, 32)
        members = np.arange(n) % kinds
        copies = np.bincount(members, minlength=kinds)
        rho = 0.3 + 0.9 * c
        rates = rho * servers * loads / loads.sum() / means / copies
        if buffers[members].sum() <= servers:
            servers = max(1, int(buffers[members].sum()) // 2)
            rates = rho * servers * loads / loads.sum() / means / copies
        disks = [qt.Disk(qt.Poisson(float(rates[k])), buffer=int(buffers[k]), service=laws[k]) for k in members]
        label = f"N={n} kinds={kinds} K={'/'.join(map(str, buffers[:3]))} c={servers} rho={rho:.2f} r={means[-1]:.3g} "
        label += "/".join(f"{type(law).__name__[0]}{law.scv:.2g}" for law in laws[:3])
        yield label, qt.Engine(disks, qt.Device(servers, qt.Exponential(mean=1.0)))


def small() -> Iterator[tuple[str, qt.Engine]]:
    """Two or three disks, few enough states for `joint_chain`, which is exact."""
    buffers = ((4, 4), (5, 2), (2, 3, 3))
    for servers, rho, most, ratio, scv in itertools.product((1, 2), (0.5, 1.2), buffers, (3.0, 100.0), (0.5, 4.0)):
        means = ratio ** (np.arange(len(most)) / (len(most) - 1))
        laws = [_law(float(mean), scv, 0.0) for mean in means]
        disks = [
            qt.Disk(qt.Poisson(rho * servers / len(most) / law.mean), buffer=k, service=law)
            for law, k in zip(laws, most, strict=True)
        ]
        label = f"small: K={'/'.join(map(str, most))} c={servers} rho={rho:.2f} r={ratio:g} scv={scv:g}"
        yield label, qt.Engine(disks, qt.Device(servers, qt.Exponential(mean=1.0)))


def _law(mean: float, scv: float, pick: float) -> qt.Law:
    if pick > 2.0 / 3.0:
        return qt.Lognormal(mean=mean, scv=scv)
    if scv > 1.0:
        return qt.Hyperexponential.balanced(mean=mean, scv=scv)
    return qt.Erlang(phases=max(1, round(1.0 / scv)), mean=mean)


def rows_of(engine: qt.Engine, run: Simulation | qt.SteadyState) -> Iterator[tuple[str, float, float, float, float]]:
    """Quantity, answer, truth, half-width, and the fits' part of the bound."""
    mixed = Mixed.of(engine)
    for name, answer, truth in compare(engine, qt.solve(engine, "mixed_service"), run):
        yield name, answer, truth.value, truth.half_width, of_fits(mixed, name)
    if isinstance(run, Simulation):
        found = qt.drain_time(engine)
        yield "drain.mean", found.mean, run.drain.mean.value, run.drain.mean.half_width, of_fits(mixed, "drain.mean")
        slowest = min(float(-fit.law.T.diagonal().max()) for fit in mixed.fits)
        if mixed.chain.servers * mixed.chain.counts.fastest / slowest > STIFF:
            return
        at = run.drain.quantile(0.99)
        yield "drain.quantile", found.quantile(0.99), at.value, at.half_width, of_fits(mixed, "drain.quantile")
        for p in (0.5, 0.9):
            at = run.drain.quantile(p)
            width = abs(found.sf(max(at.value - at.half_width, 0.0)) - found.sf(at.value))
            yield "drain.sf", found.sf(at.value), 1.0 - p, width, of_fits(mixed, "drain.sf")


def main() -> None:
    """Run the cells, write the rows, print the bounds that they set and how the others keep them."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS
    setting: dict[str, dict[str, tuple[float, str]]] = {}
    held: list[tuple[str, str, str, float, float]] = []
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["cell", "region", "set", "quantity", "answer", "truth", "half_width", "relative_error", "fit"])
        for i, (label, engine) in enumerate(itertools.chain(small(), cells())):
            if (reason := refusal(engine)) is not None:
                print(f"{label:70} {reason}", flush=True)
                continue
            started = time.time()
            exactly = label.startswith("small")
            run = qt.solve(engine, "joint_chain") if exactly else qt.simulate(engine, REQUESTS, seed=100 + i)
            region = Mixed.of(engine).region
            part = "bounds" if (i // 2) % 2 == 0 else "held out"
            shown = {}
            for name, answer, truth, width, fit in rows_of(engine, run):
                error, width = answer / truth - 1.0, width / truth
                rows.writerow(
                    [
                        label,
                        region,
                        part,
                        name,
                        f"{answer:.6g}",
                        f"{truth:.6g}",
                        f"{width * truth:.2g}",
                        f"{error:.5f}",
                        f"{fit:.4g}",
                    ]
                )
                shown[name] = f"{error:+.1%}±{width:.1%}"
                if width > RESOLVED[region]:
                    continue
                if part == "bounds":
                    found = setting.setdefault(region, {})
                    found[name] = max(
                        found.get(name, (0.0, "")), (abs(error) + width - fit * (region == "parted"), label)
                    )
                else:
                    held.append((region, name, label, abs(error), fit + width))
            file.flush()
            keys = ("blocking", "mean_wait", "disks.mean_wait", "wait_quantile", "response_quantile", "drain.mean")
            print(
                f"{label:70} {region:7}",
                *(f"{k} {shown.get(k, '-')}" for k in keys),
                f"{time.time() - started:.0f}s",
                flush=True,
            )
    for region, found in setting.items():
        for name, (error, label) in found.items():
            kept = [(e, f, cell) for r, q, cell, e, f in held if (r, q) == (region, name)]
            inside = [e <= max(error, 0.0) + f for e, f, _ in kept]
            worst = max(kept, default=(0.0, 0.0, ""))
            print(
                f"{region:8} {name:20} {max(error, 0.0):.2%} ({label}); "
                f"held out {sum(inside)} of {len(inside)}, worst {worst[0]:.2%} ({worst[2]})"
            )


if __name__ == "__main__":
    main()
