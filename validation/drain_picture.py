"""The picture in the README, validation/results/drain.png, and its numbers: python -m validation.drain_picture

Left: the drain of four saturated guests of 32 requests each before 16 servers of 10 ms, and what each way of
approaching the stop leaves of their throughput over the last moments, for a drain of at most 60 ms with probability
99 %. Right: requests turned away before a stop at a known time, by the best policy and by simple ones, as the budget
grows: one disk of Poisson requests at utilization 0.9 before 8 servers of 10 ms. The same as tables in
validation/results: `drain_frontier.csv`, each depth limit and each way, and `drain_turned_away.csv`.
"""

from __future__ import annotations

import numpy as np

import qtheory as qt
from validation.tables import RESULTS, write

BUDGET = 0.06
BUDGETS = np.linspace(0.05, 0.09, 9)
STYLES = {"best": "-", "ramp": "--", "step": "-.", "one at a time": ":"}


def main() -> None:
    """Draw it, and print its numbers."""
    from matplotlib.figure import Figure

    service = qt.Exponential(mean=0.010)
    guests = qt.Engine([qt.Disk(qt.Closed(outstanding=32))] * 4, qt.Device(servers=16, service=service))
    found = qt.drain_frontier(guests, drain_budget=BUDGET)
    print(f"throughput over the last {found.window * 1e3:.0f} ms:")
    for name, point in found.policies.items():
        latency = "" if point.latency is None else f", 99.9 % of responses within {point.latency * 1e3:.0f} ms"
        print(
            f"{name:15} {point.throughput:5.0f}/s, 99 % of drains within {point.drain_quantile * 1e3:.0f} ms{latency}"
        )
    limits = [(f"q = {q}", point) for q, point in zip(found.depths, found.points, strict=True)]
    write(
        "drain_frontier.csv",
        [
            {
                "way": name,
                "throughput": f"{point.throughput:.6g}",
                "drain_99_ms": f"{point.drain_quantile * 1e3:.6g}",
                "response_999_ms": "" if point.latency is None else f"{point.latency * 1e3:.6g}",
                "overrun": f"{point.overrun:.6g}",
                "window_ms": f"{found.window * 1e3:.6g}",
            }
            for name, point in (*limits, *found.policies.items())
        ],
    )
    open_disk = qt.Disk(qt.Poisson(720.0), buffer=128)
    engine = qt.Engine([open_disk], qt.Device(servers=8, service=service))
    refused: dict[str, list[float]] = {name: [] for name in STYLES}
    for budget in BUDGETS:
        best = qt.optimal_limits(engine, drain_budget=float(budget))
        for name, counts in refused.items():
            policy = best.policies.get(name)
            counts.append(best.refused if name == "best" else policy.refused if policy else np.nan)
        print(
            f"D = {budget * 1e3:.0f} ms: " + ", ".join(f"{name} {counts[-1]:.2f}" for name, counts in refused.items())
        )

    columns = [{"budget_ms": f"{1e3 * budget:.6g}"} for budget in BUDGETS]
    for name, counts in refused.items():
        for row, count in zip(columns, counts, strict=True):
            row[name] = f"{count:.6g}"
    write("drain_turned_away.csv", columns)

    figure = Figure(figsize=(9.0, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    found.plot_throughput(left)
    left.legend(fontsize=7, frameon=False, loc="lower right")
    for name, counts in refused.items():
        right.plot(1e3 * BUDGETS, counts, linestyle=STYLES[name], linewidth=1.5, label=name)
    right.set(xlabel="drain budget, 99 % [ms]", ylabel="requests turned away", yscale="log")
    right.spines[["top", "right"]].set_visible(False)
    right.grid(alpha=0.25)
    right.legend(fontsize=8, frameon=False)
    figure.savefig(RESULTS / "drain.png", dpi=85)


if __name__ == "__main__":
    main()
