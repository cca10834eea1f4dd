"""Drains after limits that begin before the stop, against simulated stops: python -m validation.depth_schedule

10^5 stops a cell. One disk and saturated disks are exact, so there the error is the simulation's; for several open
disks the largest errors, half-widths added, are what `qtheory.drain.depth_schedule.MEASURED` states. Exits with status
1 when a new run exceeds them. A few minutes.
"""

from __future__ import annotations

import itertools
import sys

import qtheory as qt
from qtheory.drain.depth_schedule import MEASURED

STOPS = 100_000
LAWS = {
    "exponential": qt.Exponential(mean=0.01),
    "Erlang-3": qt.Erlang(phases=3, mean=0.01),
    "H2, scv 4": qt.Hyperexponential.balanced(mean=0.01, scv=4.0),
}
DISKS = {
    "1 open": [qt.Disk(qt.Poisson(380.0), buffer=32)],
    "2 saturated": [qt.Disk(qt.Closed(16, 0.0))] * 2,
    "2 small": [qt.Disk(qt.Poisson(190.0), buffer=4)] * 2,
    "4 equal": [qt.Disk(qt.Poisson(95.0), buffer=8)] * 4,
    "2 different": [qt.Disk(qt.Poisson(300.0), buffer=4), qt.Disk(qt.Poisson(60.0), buffer=16)],
}
SCHEDULES = ([(-0.03, 2)], [(-0.2, 8), (-0.05, 2)])


def main() -> None:
    """Run the grid, print the errors and the worst of several open disks."""
    worst = dict.fromkeys(MEASURED, 0.0)
    print("law          disks        schedule                     mean  (± half-width)     99 %  (± half-width)")
    for (law_name, law), (name, disks), steps in itertools.product(LAWS.items(), DISKS.items(), SCHEDULES):
        engine = qt.Engine(disks, qt.Device(servers=4, service=law))
        schedule = qt.DepthSchedule(steps)
        theory, run = qt.drain_time(engine, schedule), qt.simulate_stops(engine, schedule, STOPS, settle=1.5)
        cells = []
        for quantity, answer, truth in (
            ("mean", theory.mean, run.mean),
            ("quantile", theory.quantile(0.99), run.quantile(0.99)),
        ):
            error, half_width = answer / truth.value - 1.0, truth.half_width / truth.value
            cells.append(f"{error:+8.2%}  (±{half_width:6.2%})")
            if not theory.exact:
                worst[quantity] = max(worst[quantity], abs(error) + half_width)
        print(f"{law_name:12} {name:12} {steps!s:26} " + "  ".join(cells), flush=True)
    print("several open disks, at worst with half-width: " + ", ".join(f"{k} {v:.1%}" for k, v in worst.items()))
    sys.exit(any(worst[quantity] > MEASURED[quantity] for quantity in MEASURED))


if __name__ == "__main__":
    main()
