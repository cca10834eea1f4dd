"""Fluid limit of drains of large devices after a depth schedule: python -m validation.fluid

Against the exact chain where that can be followed (one disk, or saturated disks; 16 and 32 servers of 1 ms, utilization
0.8 to 1.3, scv 1/2 to 2, limits below and above the servers and none taken at all), and against simulated stops where
it cannot: 10^5 of 4 disks on 16 servers; 50 000, 2000 in overload, of 64 disks of 256 on 64 servers. Writes
results/fluid.csv, whose committed rows are those against the chain; exits with status 1 when an error, half-width
added, exceeds what `qtheory.drain.fluid.MEASURED` states; where fewer than two requests are left at the stop it states
nothing. Some minutes.
"""

from __future__ import annotations

import csv
import itertools
import math
import sys
from pathlib import Path

import qtheory as qt
from qtheory.drain import fluid

RESULTS = Path(__file__).parent / "results" / "fluid.csv"
LAWS = {
    "exponential": qt.Exponential(mean=1e-3),
    "Erlang-2": qt.Erlang(phases=2, mean=1e-3),
    "H2, scv 2": qt.Hyperexponential.balanced(mean=1e-3, scv=2.0),
}
SCHEDULES = ([(-4e-3, 40), (-2e-3, 6)], [(-4e-3, 8), (-1e-3, 24)], [(-2e-3, 0)])
SATURATED = 0.0
EXACT = [
    *itertools.product(LAWS, [1], [96], [16], (0.8, 0.9, 1.0, 1.1, 1.3, SATURATED)),
    *itertools.product(LAWS, [1], [96], [32], (0.9, 1.1, SATURATED)),
]
SIMULATED = [
    *((law, 4, 32, 16, 0.9, 100_000) for law in LAWS),
    *((law, 64, 256, 64, 0.9, 50_000) for law in ("exponential", "H2, scv 2")),
    ("H2, scv 2", 64, 256, 64, 1.3, 2_000),
]


def main() -> None:
    """Run the grid."""
    rows: list[dict[str, object]] = []
    worst = dict.fromkeys(("mean", "quantile"), 0.0)
    for law, disks, buffer, servers, load, *simulated in [*EXACT, *SIMULATED]:
        guest = qt.Poisson(load * servers * 1e3 / disks) if load else qt.Closed(buffer)
        engine = qt.Engine([qt.Disk(guest, buffer=buffer)] * disks, qt.Device(servers, LAWS[law]))
        for steps in SCHEDULES:
            schedule = qt.DepthSchedule(steps)
            theory = fluid.drain(engine, schedule)
            if simulated:
                settle = 0.03 if load < 1.0 else 2.0 * engine.most / (servers * 1e3)
                run = qt.simulate_stops(engine, schedule, simulated[0], settle=settle)
                truths = {"mean": run.mean, "quantile": run.quantile(0.99)}
            else:
                chain = qt.drain_time(engine, schedule)
                assert chain.exact
                truths = {"mean": qt.Estimate(chain.mean, 0.0), "quantile": qt.Estimate(chain.quantile(0.99), 0.0)}
            row: dict[str, object] = {
                "law": law, "disks": disks, "buffer": buffer, "servers": servers, "load": load or "saturated",
                "schedule": steps, "against": f"{simulated[0]} stops" if simulated else "the chain",
            }  # fmt: skip
            for name, answer in (("mean", theory.mean), ("quantile", theory.quantile(0.99))):
                truth = truths[name]
                error, half_width = answer / truth.value - 1.0, truth.half_width / truth.value
                if theory.error_bounds[name] < math.inf:
                    worst[name] = max(worst[name], abs(error) + half_width)
                row |= {f"{name} [ms]": f"{1e3 * truth.value:.4g}", f"{name} error": f"{error:.4f}",
                        f"{name} half-width": f"{half_width:.4f}"}  # fmt: skip
            rows.append(row)
            print(*row.values(), sep="  ", flush=True)
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print("at worst, half-widths added: " + ", ".join(f"{name} {value:.1%}" for name, value in worst.items()))
    sys.exit(any(worst[name] > fluid.MEASURED[name] for name in worst))


if __name__ == "__main__":
    main()
