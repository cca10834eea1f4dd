"""Committed results beside what the library gives today: a sample of each table that theory alone can make again.

Simulations are not repeated here (`make results` does); their theory is, where it is fast. A table that says something
else than the library is stale, and stops the build. `UNSAMPLED` says which tables the paper reads have nothing to make
again here, and why. Files that no script of validation/ writes, or two, stop it as well.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import qtheory as qt
import validation
from paper.results import optimal_control, rows, table
from qtheory.sizing.closed_forms import drain_limited, one_line
from qtheory.sizing.sweep import with_queue_length
from qtheory.stations.square_root import square_root_staffing
from validation import drain, phase_type, service_laws, shares, sizing, sizing_by_simulation
from validation import optimal_control as control
from validation.__main__ import PRINTED
from validation.tables import RESULTS, WRITES

SAMPLE = 12
"""About so many cells of each grid."""
FEW = 4
"""Where each takes longer."""
QUICK = 0.2
"""[s] Only such as were solved so fast."""
SEED = 1
UNSAMPLED = {
    "fio_constants": "needs measured sweeps that are not kept here",
    "fio_prediction": "needs measured sweeps that are not kept here",
    "map_fit": "needs recordings that are not kept here",
    "real_drains": "needs recordings that are not kept here",
    "resizing": "simulations only",
    "throttles": "simulations only",
}
"""Tables that the paper reads, and why none of their rows is made again."""

Sampled = TypeVar("Sampled")

Difference = tuple[str, float, float]


def stale() -> list[str]:
    """Sentences about results that the library does not give any more."""
    found = list(orphans())
    for part in PARTS:
        compared = list(part())
        if not compared:
            found.append(f"nothing is left to compare in paper.stale.{part.__name__}")
        for what, committed, now in compared:
            if abs(now - committed) > 2e-3 * abs(committed) + 1e-6:
                found.append(f"{what} is {committed:g} in validation/results, and {now:g} today")
    return found


def sample(of: Sequence[Sampled], number: int) -> list[Sampled]:
    """So many of them at random, the same every time."""
    return random.Random(SEED).sample(of, min(number, len(of)))


def orphans() -> Iterator[str]:
    """Sentences about results that are not written by one script, and about scripts that do not write them."""
    folder = Path(str(validation.__file__)).parent
    named = [file for files in WRITES.values() for file in files]
    for file in sorted({path.name for path in RESULTS.iterdir()} ^ set(named)):
        yield f"validation/results/{file} is not there, or not written by any script (`validation.tables.WRITES`)"
    for file in sorted({file for file in named if named.count(file) > 1}):
        yield f"validation/results/{file} is written by more than one script (`validation.tables.WRITES`)"
    for script, files in WRITES.items():
        source = (folder / f"{script.replace('.', '/')}.py").read_text(encoding="utf-8")
        for file in files:
            if f'"{file}"' not in source and not (script in PRINTED and file == f"{script}.txt"):
                yield f"validation/{script.replace('.', '/')}.py does not write {file}"


def divisions() -> Iterator[Difference]:
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


def closed_forms() -> Iterator[Difference]:
    """Closed forms, and the optimum beside one of them where it is found soon."""
    for row in sample(rows("sizing_closed_forms"), 4 * SAMPLE):
        at = {name: float(value) for name, value in re.findall(r"(\w+)=([\d.]+)", row["case"])}
        name = f"sizing_closed_forms.csv: {row['form']}, {row['case']}"
        if row["form"].startswith("one line"):
            disks, requests = int(at["N"]), int(at["K"])
            now = one_line(disks=disks, requests=requests, loss=at["loss"])
            if disks * requests <= 128:
                best = qt.optimal_queue_length(sizing.saturated(disks, requests), max_throughput_loss=at["loss"])
                yield f"{name}, numerically,", float(row["numeric"]), best.lower
        elif row["form"] == "square root":
            now = square_root_staffing(load=at["a"], delay_probability=at["delay"])
        elif row["form"] == "drain limited":
            budget = at["D"] * sizing.SERVICE
            now = drain_limited(
                servers=int(at["c"]), service_mean=sizing.SERVICE, budget=budget, probability=sizing.PROBABILITY
            )
        else:
            continue
        yield name, float(row["closed"]), float(math.ceil(now))


def rules() -> Iterator[Difference]:
    """The integer rule's queue lengths: what they lose, and their drains."""
    engines = {name: engine for name, engine, _ in sizing.rule_cases()}
    chosen = [row for row in table("sizing_rule") if row["case"].startswith(("shared N=1 ", "shared N=4 "))]
    for row in sample(chosen, 4 * SAMPLE):
        engine = engines[row["case"]]
        at = with_queue_length(engine, int(row["rule"]))
        full = qt.solve(with_queue_length(engine, None)).throughput
        name = f"sizing_rule.csv: {row['case']}, budget {row['budget_ms'] or 'none'}"
        yield f"loss of {name}", 1.0 - float(row["loss"]), 1.0 - round(1.0 - qt.solve(at).throughput / full, 4)
        yield f"drain of {name}", float(row["drain_ms"]), 1e3 * qt.drain_time(at).quantile(sizing.PROBABILITY)


def unsaturated() -> Iterator[Difference]:
    """Optima before which disks have lines of their own, the smallest."""
    engines = dict(sizing.unsaturated_engines())
    for row in sample([row for row in table("sizing_unsaturated_line") if row["case"].startswith("N=4 K=8 ")], FEW):
        now = qt.optimal_queue_length(engines[row["case"]], max_throughput_loss=sizing.LOSS).lower
        yield f"sizing_unsaturated_line.csv: {row['case']}", float(row["optimum"]), now


def sized() -> Iterator[Difference]:
    """Ends of queue lengths by theory, of shared devices."""
    cells = {(cell.case, question.asked, f"{question.limit:g}"): (cell.engine, question)
             for cell in sizing_by_simulation.cells() if cell.engine.shared and cell.kind.startswith("shared")
             for question in cell.questions}  # fmt: skip
    found = [row for row in table("sizing_by_simulation") if (row["case"], row["asked"], row["limit"]) in cells]
    for row in sample([row for row in found if not row["method"].startswith("refused")], SAMPLE):
        engine, question = cells[row["case"], row["asked"], row["limit"]]
        best = qt.optimal_queue_length(engine, **question.limits())
        now = best.upper if question.rises(engine) else best.lower
        yield f"sizing_by_simulation.csv: {row['case']}, {row['asked']}", float(row["theory"]), now


def disciplines() -> Iterator[Difference]:
    """What the first disk and all get of a divided queue; and of two devices."""
    cases = {name: (disks, device, slots) for name, disks, device, slots, _ in shares.cases()}
    exact = [row for row in rows("shares_disciplines", exact="True") if not row["shares"].startswith("weights")]
    for row in sample(exact, SAMPLE):
        disks, device, slots = cases[row["engine"]]
        state = qt.solve(qt.Engine(disks, device, slots, "ring", row["shares"]))  # type: ignore[arg-type]
        name = f"shares_disciplines.csv: {row['engine']}, {row['shares']}"
        yield f"rate of {name}", float(row["shallow_rate"]), round(state.disks[0].throughput, 1)
        yield f"total of {name}", float(row["total"]), round(state.throughput, 1)
    disks = [shares.own(qt.Closed(2048), 2048, 64, mean) for mean in (1e-3, 0.1)]
    for row in table("shares_two_devices"):
        divided = {"to the head of one line": "fifo", "equal shares, or Linux's": "equal"}.get(row["freed slot"])
        if divided:
            engine = qt.Engine(disks, queue_length=64, hold="ring", shares=divided)  # type: ignore[arg-type]
            for column, disk in zip(("fast", "slow"), qt.solve(engine).disks, strict=True):
                yield f"shares_two_devices.csv: {column}, {row['freed slot']}", float(row[column]), disk.throughput


def phases() -> Iterator[Difference]:
    """Throughput and waits of small engines of phase-type service."""
    engines = dict(phase_type.cells())
    found = [row for row in rows("phase_type", split="equal") if row["cell"].startswith(("N=2 ", "N=4 "))]
    for row in sample([row for row in found if row["quantity"] in ("throughput", "mean_wait")], SAMPLE):
        now = getattr(qt.solve(engines[row["cell"]], "phase_type"), row["quantity"])
        yield f"phase_type.csv: {row['quantity']} of {row['cell']}", float(row["answer"]), now


def limits() -> Iterator[Difference]:
    """Drains under depth limits, of the frontier; and the least that a best policy turns away."""
    service = qt.Exponential(mean=0.010)
    guests = qt.Engine([qt.Disk(qt.Closed(outstanding=32))] * 4, qt.Device(servers=16, service=service))
    for row in sample([row for row in table("drain_frontier") if row["way"].startswith("q = ")], SAMPLE):
        now = qt.drain_time(guests, qt.DepthLimit(int(row["way"].removeprefix("q = ")))).quantile(0.99)
        yield f"drain_frontier.csv: drain of {row['way']}", float(row["drain_99_ms"]), 1e3 * now
    engine = qt.Engine([qt.Disk(qt.Poisson(720.0), buffer=128)], qt.Device(servers=8, service=service))
    for row in sample(table("drain_turned_away"), 1):
        now = qt.optimal_limits(engine, drain_budget=1e-3 * float(row["budget_ms"])).refused
        yield f"drain_turned_away.csv: best of {row['budget_ms']} ms", float(row["best"]), now


def hosts() -> Iterator[Difference]:
    """What hosts of guests of four disks want."""
    for row in rows("host_budget", guests="100: 4 disks"):
        now = 100 * qt.optimal_queue_length(sizing.saturated(4, 256), max_throughput_loss=0.01).lower
        yield f"host_budget.csv: wanted by {row['guests']}, {row['slots']}", float(row["wanted"]), now


def bench() -> Iterator[Difference]:
    """What was predicted of the bench's stops, in the table that compares it; a migration does more than stop."""
    predicted = {row["cell"]: row for row in table("qemu_predictions")}
    columns = {"iops_predicted": "iops", "median_predicted": "stop_median", "90_predicted": "stop_90"}
    for row in table("qemu"):
        if row["question"] == "migration":
            continue
        for column, source in columns.items():
            if row[column] and row["cell"] in predicted and predicted[row["cell"]][source]:
                name = f"qemu.csv: {column} of {row['cell']}, in qemu_predictions.csv,"
                yield name, float(row[column]), float(predicted[row["cell"]][source])


PARTS = (
    divisions,
    drains,
    steady_states,
    policies,
    closed_forms,
    rules,
    unsaturated,
    sized,
    disciplines,
    phases,
    limits,
    hosts,
    bench,
)
