"""The picture in the README, validation/results/sizing.png: python -m validation.sizing_picture

Queue lengths against disks that keep 256 requests each before a device of one server each, 1 ms, for 5 % loss and a
drain of at most 100 ms: the optimum, the integer rule, and what is deployed.
"""

from __future__ import annotations

from pathlib import Path

import qtheory as qt
from qtheory.sizing import integer_rule

COUNTS = [1, 2, 4, 8, 16, 32, 64, 128]
REQUESTS = 256
BUDGET = 0.1


def main() -> None:
    """Draw it."""
    from matplotlib.figure import Figure

    disk = qt.Disk(qt.Closed(REQUESTS), buffer=REQUESTS, device=qt.Device(servers=1, service=qt.Exponential(mean=1e-3)))
    curve = qt.sizing_curve(qt.Engine([disk], hold="ring"), COUNTS, max_throughput_loss=0.05, drain_budget=BUDGET)
    figure = Figure(figsize=(8.0, 3.8), layout="constrained")
    ax = figure.add_subplot()
    curve.plot(ax)
    rule = [
        integer_rule(
            ring_sizes=n * REQUESTS, disks=n, devices=n, latency_ns=10**6, rate=1000 * n, budget_ns=round(BUDGET * 1e9)
        )
        for n in COUNTS
    ]
    ax.plot(COUNTS, rule, "x", color="tab:red", markersize=8, label="integer rule")
    ax.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    path = Path(__file__).parent / "results" / "sizing.png"
    figure.savefig(path, dpi=90)
    print([(n, point.queue_length, q) for n, point, q in zip(COUNTS, curve.points, rule, strict=True)])


if __name__ == "__main__":
    main()
