"""Committed results beside what the library gives today: a sample of each table that theory alone can make again.

Simulations are not repeated here (`make results` does); their theory is. A table that says something else than the
library is stale, and stops the build.
"""

from __future__ import annotations

from collections.abc import Iterator

import qtheory as qt
from paper.results import optimal_control, rows, table
from validation import drain, service_laws, sizing
from validation import optimal_control as control

SAMPLE = 12
"""About so many cells of each grid."""
QUICK = 0.2
"""[s] Only such as were solved so fast."""

Difference = tuple[str, float, float]


def stale() -> list[str]:
    """Sentences about results that the library does not give any more."""
    found = []
    for part in (shares, drains, steady_states, policies):
        for what, committed, now in part():
            if abs(now - committed) > 2e-3 * abs(committed) + 1e-6:
                found.append(f"{what} is {committed:g} in validation/results, and {now:g} today")
    return found


def shares() -> Iterator[Difference]:
    """Slots in one line and in shares."""
    for row in rows("sizing_line_or_shares", requests="256"):
        for column, divided in (("line_slots", "fifo"), ("share_slots", "equal")):
            engine = sizing.saturated(int(row["disks"]), int(row["requests"]), shares=divided)
            now = qt.optimal_queue_length(engine, max_throughput_loss=sizing.LOSS)
            yield f"sizing_line_or_shares.csv: {column} of {row['disks']} disks", float(row[column]), float(now.lower)


def drains() -> Iterator[Difference]:
    """Predicted drains."""
    found = {(row["kind"], row["law"], row["cell"]): row for row in table("drain")}
    cells = [cell for cell in drain.cells() if cell[1] == "exponential" or "c=1 " in cell[2]]
    for kind, law, label, engine, throttle in cells[:: max(1, len(cells) // SAMPLE)]:
        row = found[kind, law, label]
        answer = qt.drain_time(engine, throttle)
        yield f"drain.csv: mean of {kind}, {law}, {label}", float(row["mean"]), answer.mean
        yield f"drain.csv: quantile of {kind}, {law}, {label}", float(row["quantile"]), answer.quantile(drain.QUANTILE)


def steady_states() -> Iterator[Difference]:
    """Throughput and waits of any service."""
    found: dict[str, dict[str, float]] = {}
    for row in table("service_laws"):
        if float(row["seconds"]) <= QUICK:
            found.setdefault(row["cell"], {})[row["quantity"]] = float(row["answer"])
    cells = [cell for cell in service_laws.cells() if cell.name in found]
    for cell in cells[:: max(1, len(cells) // SAMPLE)]:
        state = qt.solve(cell.engine)
        for quantity in ("throughput", "mean_response"):
            if quantity in found[cell.name]:
                name = f"service_laws.csv: {quantity} of {cell.name}"
                yield name, found[cell.name][quantity], getattr(state, quantity)


def policies() -> Iterator[Difference]:
    """Requests turned away before a stop."""
    for row in optimal_control():
        if row["c"] == 1.0 and row["optimum"] is not None:
            disk = qt.Disk(qt.Poisson((row["rho"] or 0.0) * 100.0), buffer=control.BUFFER)
            engine = qt.Engine([disk], qt.Device(servers=1, service=qt.Exponential(mean=0.01)))
            now = round(qt.optimal_limits(engine, drain_budget=1e-3 * (row["D"] or 0.0)).refused, 2)
            yield f"optimal_control.txt: best of c = 1, rho = {row['rho']}, D = {row['D']} ms", row["optimum"], now
