"""How far predicted drains are from simulated stops: python -m validation.drain [minutes]

Cells, each with at least STOPS simulated stops:

* shared: one device of 1, 4 or 16 servers, at utilization 0.5, 0.9, 1.2 and with saturated guests, five service laws,
  without a limit and with a `DepthLimit`; the numbers of disks, their buffers, what is held where, and the limit vary
  from cell to cell;
* apart: disks with a device each, of 1 or 4 servers, likewise, the limit being for each disk;
* before a stop: a `DepthSchedule` of one step and of two, for one disk, equal open disks and saturated ones.

Constant service of saturated guests keeps the order of the start for ever, in the simulator that of one moment, and is
left out.

For each cell the mean, the 99 % quantile, and how often the predicted quantile is exceeded, with 95 % half-widths, go
to results/drain.csv, a row for each cell; those that are there are not done again. Then it prints how many are within
the tolerance aimed at (TOLERANCE), by kind of cell and of law, and the worst. A cell is out when its error exceeds the
tolerance by more than the half-width, and open when the half-width exceeds the tolerance. Exits with status 1 when an
error exceeds what the answer itself states (`error_bounds`) by more than the half-width. Five minutes of one processor.
"""

from __future__ import annotations

import csv
import itertools
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import qtheory as qt
from qtheory.drain import limited
from validation.tables import read

RESULTS = Path(__file__).parent / "results" / "drain.csv"
STOPS = 100_000
REQUESTS, MORE = 4_000_000, 5
"""Of a steady run whose drains are seen at each arrival; and times STOPS, where they are seen once in a service time.
They depend on each other, so there are more of them."""
SERVICE = 0.01
LAWS: dict[str, qt.Law] = {
    "exponential": qt.Exponential(mean=SERVICE),
    "Erlang-4": qt.Erlang(phases=4, mean=SERVICE),
    "H2, scv 4": qt.Hyperexponential.balanced(mean=SERVICE, scv=4.0),
    "lognormal, scv 2": qt.Lognormal(mean=SERVICE, scv=2.0),
    "deterministic": qt.Deterministic(SERVICE),
}
PHASE_TYPE = ("exponential", "Erlang-4", "H2, scv 4")
LOADS = (0.5, 0.9, 1.2, None)
"""Utilization; None: saturated guests."""
SCHEDULES = ([(-0.03, 2)], [(-0.2, 8), (-0.05, 2)])
SETTLE = 1.5
QUANTILE = 0.99
TOLERANCE = {"steady": (0.01, 0.02, 0.04), "before a stop": (0.02, 0.02, 0.04)}
"""Of the mean, of the quantile for phase-type laws and for others."""
LEAST = 1e-3
"""Mean drains below this part of a service time are not compared."""

Throttle = qt.DepthLimit | qt.DepthSchedule | None


def cells() -> Iterator[tuple[str, str, str, qt.Engine, Throttle]]:
    """Kind, law, what else it is, engine and throttle."""
    for kind, law, label, disks, device, queue, hold, throttle in itertools.chain(shared(), apart(), before_a_stop()):
        if law == "deterministic" and disks[0].saturated:
            continue
        words = "no limit" if throttle is None else str(throttle).replace(", per='engine'", "")
        yield kind, law, f"{label} {words}", qt.Engine(disks, device, queue, hold), throttle


def shared() -> Iterator[tuple[Any, ...]]:
    """Disks that share one device."""
    turn = itertools.cycle(itertools.product((1, 2, 8), (8, 32), ("engine", "ring")))
    for c, load, law in itertools.product((1, 4, 16), LOADS, LAWS):
        n, k, hold = next(turn)
        queue = 2 * c if hold == "ring" else None
        for throttle in (None, qt.DepthLimit(max(1, c // 2 if k == 8 else 2 * c))):
            label = f"c={c} N={n} K={k} rho={load or 'saturated'} hold={hold} Q={queue}"
            yield "shared", law, label, _disks(n, k, load, c), qt.Device(c, LAWS[law]), queue, hold, throttle


def apart() -> Iterator[tuple[Any, ...]]:
    """A device for each disk."""
    turn = itertools.cycle(itertools.product((8, 32), (2, 8)))
    for c, load, law in itertools.product((1, 4), LOADS, LAWS):
        k, n = next(turn)
        device = qt.Device(c, LAWS[law])
        disks = [qt.Disk(disk.arrivals, k, device=device) for disk in _disks(1, k, load, c)] * n
        for throttle in (None, qt.DepthLimit(2, per="disk")):
            yield "apart", law, f"c={c} N={n} K={k} rho={load or 'saturated'}", disks, None, None, "engine", throttle


def before_a_stop() -> Iterator[tuple[Any, ...]]:
    """Limits that begin shortly before the stop."""
    for (n, k, load), law, steps in itertools.product(((1, 32, 0.95), (2, 16, None), (4, 8, 0.95)), LAWS, SCHEDULES):
        label = f"c=4 N={n} K={k} rho={load or 'saturated'}"
        disks = _disks(n, k, load, 4)
        yield "before a stop", law, label, disks, qt.Device(4, LAWS[law]), None, "engine", qt.DepthSchedule(steps)


def _disks(n: int, buffer: int, load: float | None, servers: int) -> list[qt.Disk]:
    if load is None:
        return [qt.Disk(qt.Closed(buffer), buffer=buffer)] * n
    return [qt.Disk(qt.Poisson(load * servers / SERVICE / n), buffer=buffer)] * n


def simulated(engine: qt.Engine, throttle: Throttle) -> Any:
    """At least STOPS drains."""
    if isinstance(throttle, qt.DepthSchedule):
        return qt.simulate_stops(engine, throttle, STOPS, settle=SETTLE)
    engine = engine if throttle is None else limited(engine, throttle)
    if engine.shared and not engine.disks[0].saturated and engine.caps is None:
        run = qt.simulate(engine, REQUESTS, seed=1).drain
        if run.samples >= STOPS:
            return run
    busy = sum(min(device.servers or 1, disk.most) for device, disk in zip(engine.devices, engine.disks, strict=False))
    return qt.simulate(engine, MORE * STOPS * busy, seed=1, stops=float(busy)).drain


def compared(kind: str, law: str, label: str, engine: qt.Engine, throttle: Throttle) -> dict[str, Any]:
    """A row of the table."""
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "")
    row.update(kind=kind, law=law, cell=label)
    try:
        answer = qt.drain_time(engine, throttle)
    except ValueError:
        return {**row, "method": "refused"}
    run = simulated(engine, throttle)
    at = answer.quantile(QUANTILE)
    truth, beyond = run.quantile(QUANTILE), run.sf(at)
    numbers = {
        "mean": answer.mean,
        "simulated_mean": run.mean.value,
        "mean_half_width": run.mean.half_width,
        "quantile": at,
        "simulated_quantile": truth.value,
        "quantile_half_width": truth.half_width,
        "exceeded": beyond.value,
        "exceeded_half_width": beyond.half_width,
        "stated_mean": answer.error_bounds["mean"],
        "stated_quantile": answer.error_bounds.get("quantile", math.inf),
    }
    row.update({name: f"{value:.6g}" for name, value in numbers.items()})
    return {**row, "method": answer.method, "exact": answer.exact, "stops": run.samples}


COLUMNS = (
    "kind", "law", "cell", "method", "exact", "stops", "mean", "simulated_mean", "mean_half_width", "quantile",
    "simulated_quantile", "quantile_half_width", "exceeded", "exceeded_half_width", "stated_mean", "stated_quantile",
)  # fmt: skip


def error(row: dict[str, str], name: str) -> tuple[float, float]:
    """Relative error and half-width of a quantity."""
    truth = float(row[f"simulated_{name}"])
    return float(row[name]) / truth - 1.0, float(row[f"{name}_half_width"]) / truth


def tolerance(row: dict[str, str], name: str) -> float:
    """What is aimed at."""
    mean, phase_type, other = TOLERANCE.get(row["kind"], TOLERANCE["steady"])
    return mean if name == "mean" else phase_type if row["law"] in PHASE_TYPE else other


def report(rows: list[dict[str, str]]) -> bool:
    """Print the counts and the worst cells; whether all errors are as stated."""
    print(f"refused: {sum(row['method'] == 'refused' for row in rows)} of {len(rows)}")
    rows = [row for row in rows if row["method"] != "refused" and float(row["simulated_mean"]) > LEAST * SERVICE]
    honest = True
    print("kind           law               quantity    cells  within  out  open   worst (± half-width)")
    for (kind, law), name in itertools.product(
        dict.fromkeys((row["kind"], row["law"]) for row in rows), ("mean", "quantile")
    ):
        chosen = [row for row in rows if (row["kind"], row["law"]) == (kind, law)]
        found = [(*error(row, name), tolerance(row, name), row) for row in chosen]
        within = sum(abs(e) <= t + h for e, h, t, _ in found)
        unresolved = sum(h > t for _, h, t, _ in found)
        e, h, _, row = max(found, key=lambda one: abs(one[0]) - one[1])
        print(
            f"{kind:14} {law:17} {name:10} {len(found):6} {within:7} {len(found) - within:4} {unresolved:5}   "
            f"{e:+.2%} (± {h:.2%})  {row['cell']}, {row['method']}"
        )
        for e, h, _, row in found:
            stated = float(row[f"stated_{name}"])
            if abs(e) - h > max(stated, 0.01):
                honest = False
                print(f"    off by {e:+.1%} (± {h:.1%}), stated {stated:.2g}: {row['cell']}, {row['method']}")
    claims = [row for row in rows if float(row["exceeded_half_width"]) > 0.0]
    for name, chosen in (("exact", [r for r in claims if r["exact"] == "True"]), ("all", claims)):
        late = [float(r["exceeded"]) - float(r["exceeded_half_width"]) for r in chosen]
        kept = sum(x <= 1.0 - QUANTILE for x in late)
        mean = sum(float(r["exceeded"]) for r in chosen) / max(len(chosen), 1)
        words = f"kept in {kept} of {len(chosen)}; exceeded by {mean:.3%} of the stops"
        print(f"99 % within the predicted quantile, {name}: {words}")
    return honest


def main() -> None:
    """Do the cells that are not done, for so long; then report."""
    until = time.monotonic() + 60.0 * (float(sys.argv[1]) if len(sys.argv) > 1 else math.inf)
    if not RESULTS.exists():
        RESULTS.write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
    done = {(row["kind"], row["law"], row["cell"]) for row in read(RESULTS)}
    for cell in cells():
        if cell[:3] in done or time.monotonic() > until:
            continue
        row = compared(*cell)
        with RESULTS.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, COLUMNS, lineterminator="\n").writerow(row)
        print(
            *cell[:3],
            row["method"],
            row["mean"],
            row["simulated_mean"],
            row["quantile"],
            row["simulated_quantile"],
            flush=True,
        )
    if not report(read(RESULTS)):
        print("exceeds what the package states", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
