"""Queue lengths set while the engine runs, what each loses and how it follows: python -m validation.resizing

`resizing.csv`: scenarios × controllers, the same guests for all. In each the device needs about as many slots as it has
servers; hold="ring", so that a drain waits for what is in flight. Columns: throughput lost against the unlimited
engine; 99 % response; the worst moment's drain (95 % quantile over the runs at each moment, the largest); the mean Q of
the last part; periods until Q is, and stays, within a quarter of where it ends, after the worst of the changes (looks
of one period left out); standard deviation over mean of Q in the last part; changes of Q a second.

`resizing_curve.csv`: where kyber's rule, the latency target and the estimates settle against the number of disks,
beside the optimum, and what that gives. `resizing.svg`: Q of one run of the device that slows down.

What follows (10 runs a cell, of the trace 2):

* On a shared device a short queue costs nothing: with 8 slots (known) or 16 for 8 servers no throughput is lost in any
  scenario, and a stop at the worst moment waits 8 to 15 ms instead of 19 to 80. That the device becomes twice as slow
  changes nothing either, for it needs as many slots as before. Before a device for each disk 16 slots lose 36 %; what
  is known and follows the disks loses 3.8 %, with two thirds of the unlimited drain.
* Which estimate: rate × mean latency is at the cap (256, 128) within 0.7 s and then drains like no limit. The least
  latency kept for ever is as good as what is known until the device slows down: then most of what it can do is lost
  (14 % of the run). The least of a window with looks loses 0.9 %, all of it by looking, with 12 slots for 8 servers.
  Looks also cost waits at a high load: 99 % of the responses within 30 ms instead of 12; called every 40 ms instead of
  every 100 ms it is 15 ms, but then 2.2 % is lost to a device that slows down. So a call should last 40 to 100 service
  times.
* Which hysteresis: the greatest rate of 8 calls, and no shrinking by less than 10 %. Without them Q changes 4 times a
  second instead of once in two, and 6 % is lost instead of 0.9 %. Without the gain of 1.25 it is 24 %: the least of
  noisy means is too small.
* With a device each the estimates have nothing to add to the number of disks: 31 to 32 slots where 26 were enough for
  4 disks, with 2 to 3 % lost. Follow the disks.
* kyber's rule never leaves its cap of 256: too long for a shared device (40 ms of drain for 7), and too short for 64
  devices (13 % lost). The latency target oscillates by a third to a half of Q and loses 34 % before a device each.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import qtheory as qt
from qtheory.simulate.controllers import Constant, Estimated, Known, Kyber, LatencyTarget, SumOfRings, settled
from qtheory.simulate.resizing import Controller, Resizing
from qtheory.sizing.sweep import with_disks, with_queue_length
from qtheory.traces.cloning import cloned

RESULTS = Path(__file__).parent / "results"
SERVICE = qt.Exponential(mean=1e-3)
RUNS = 10
TRACE_RUNS = 2
Scenario = Callable[[Controller, int, float], Resizing]
SHORT = 0.04
"""Period [s] of `short calls`; the others are called every 100 ms."""


def load_step(controller: Controller, seed: int, period: float = 0.1) -> Resizing:
    """8 Poisson disks on 8 servers, from 0.3 to 0.95 of what they can do and back."""
    engine = qt.Engine([qt.Disk(qt.Poisson(300.0), buffer=64)] * 8, qt.Device(8, SERVICE), hold="ring")
    changes = [qt.Change(10.0, arrivals=qt.Poisson(950.0)), qt.Change(20.0, arrivals=qt.Poisson(300.0))]
    return qt.simulate_resizing(engine, controller, changes, horizon=30.0, period=period, seed=seed)


def slow_device(controller: Controller, seed: int, period: float = 0.1) -> Resizing:
    """8 saturated disks on 8 servers that become twice as slow, and recover."""
    engine = qt.Engine([qt.Disk(qt.Closed(32), buffer=32)] * 8, qt.Device(8, SERVICE), hold="ring")
    changes = [qt.Change(10.0, slowdown=2.0), qt.Change(20.0, slowdown=1.0)]
    return qt.simulate_resizing(engine, controller, changes, horizon=30.0, period=period, seed=seed)


def burst(controller: Controller, seed: int, period: float = 0.1) -> Resizing:
    """8 Poisson disks on 8 servers at half load; for a second, twice what the device can do."""
    engine = qt.Engine([qt.Disk(qt.Poisson(500.0), buffer=64)] * 8, qt.Device(8, SERVICE), hold="ring")
    changes = [qt.Change(10.0, arrivals=qt.Poisson(2000.0)), qt.Change(11.0, arrivals=qt.Poisson(500.0))]
    return qt.simulate_resizing(engine, controller, changes, horizon=20.0, period=period, seed=seed)


def own_devices(controller: Controller, seed: int, period: float = 0.1) -> Resizing:
    """Saturated disks with a device of one server each, behind one line: 4, then 16, then 4."""
    disk = qt.Disk(qt.Closed(32), buffer=32, device=qt.Device(1, SERVICE))
    later = range(4, 16)
    changes = [qt.Change(0.0, later, attached=False), qt.Change(10.0, later, attached=True),
               qt.Change(20.0, later, attached=False)]  # fmt: skip
    return qt.simulate_resizing(
        qt.Engine([disk] * 16, hold="ring"), controller, changes, horizon=30.0, period=period, seed=seed
    )


def trace(controller: Controller, seed: int, period: float = 0.1) -> Resizing:
    """The bundled trace, 4 disks, with 12 copies of them for a third of its two minutes; 5 servers, 0.82 busy then."""
    engine = qt.Engine([qt.Disk(qt.Poisson(1.0))] * 16, qt.Device(5, SERVICE), hold="ring")
    later = range(4, 16)
    changes = [qt.Change(0.0, later, attached=False), qt.Change(40.0, later, attached=True),
               qt.Change(80.0, later, attached=False)]  # fmt: skip
    recorded = cloned(qt.bundled_trace(), 4, seed + 1)
    return qt.simulate_resizing(engine, controller, changes, period=period, seed=seed, trace=recorded)


SCENARIOS: dict[str, tuple[Scenario, Sequence[float], float, float, bool]] = {
    # its changes, a device's latency and rate, whether each disk has one
    "load step": (load_step, (0.0, 10.0, 20.0), 1e-3, 8e3, False),
    "slow device": (slow_device, (0.0, 10.0, 20.0), 1e-3, 8e3, False),
    "burst": (burst, (0.0, 11.0), 1e-3, 8e3, False),
    "own devices": (own_devices, (0.0, 10.0, 20.0), 1e-3, 1e3, True),
    "trace": (trace, (0.0, 40.0, 80.0), 1e-3, 5e3, False),
}


def controllers(latency: float, rate: float, separate: bool) -> dict[str, Controller]:
    """By name; what is known is that of the undisturbed device."""
    return {
        "constant 1024": Constant(1024),
        "constant 16": Constant(16),
        "sum of rings": SumOfRings(),
        "known": Known(latency, rate, separate),
        "estimated": Estimated(separate=separate),
        "short calls": Estimated(separate=separate, every=80, window=81, hold=20),
        "no hysteresis": Estimated(separate=separate, hold=1, dead_band=0.0),
        "no gain": Estimated(separate=separate, gain=1.0),
        "mean latency": Estimated(separate=separate, window=1, probe=1.0),
        "least kept": Estimated(separate=separate, window=10**6, probe=1.0, start=4),
        "kyber": Kyber(),
        "latency target": LatencyTarget(5e-3),
    }


def figures(runs: Sequence[Resizing], unlimited: Sequence[Resizing], changes: Sequence[float]) -> dict[str, Any]:
    """What the table has of some runs."""
    done, full = (sum(int(run.completed.sum()) for run in some) for some in (runs, unlimited))
    settling, deviation, last, changed = [], [], [], []
    for run in runs:
        middle = np.median([np.roll(run.queue_length, 1), run.queue_length, np.roll(run.queue_length, -1)], axis=0)
        for start, end in zip(changes, [*changes[1:], math.inf], strict=True):
            part = np.flatnonzero((run.time > start + 1e-9) & (run.time <= end + 1e-9))
            final = np.median(middle[part[2 * len(part) // 3 :]])
            off = np.flatnonzero(np.abs(middle[part] / final - 1.0) > 0.25)
            settling.append((start, float(run.time[part][off[-1]]) - start if len(off) else 0.0))
        tail = run.between(changes[-1] + (run.time[-1] - changes[-1]) / 2.0)
        last.append(tail.queue_length)
        deviation.append(tail.queue_length_deviation / tail.queue_length)
        changed.append(tail.changes)
    worst = max(np.median([after for at, after in settling if at == start]) for start in changes)
    drains = np.quantile([run.drain for run in runs], 0.95, axis=0)
    return {
        "lost": round(1.0 - done / full, 4),
        "response_99_ms": round(1e3 * float(np.mean([run.between().response_quantile(0.99) for run in runs])), 2),
        "worst_drain_ms": round(1e3 * float(drains.max()), 1),
        "last_queue_length": round(float(np.mean(last)), 1),
        "settled_after_s": round(float(worst), 2),
        "oscillation": round(float(np.mean(deviation)), 3),
        "changes_per_second": round(float(np.mean(changed)), 2),
    }


def table() -> Iterator[dict[str, Any]]:
    """Scenarios × controllers."""
    for name, (scenario, changes, latency, rate, separate) in SCENARIOS.items():
        seeds = range(TRACE_RUNS if scenario is trace else RUNS)
        unlimited = [scenario(Constant(None), seed, 0.1) for seed in seeds]
        row = figures([_finite(run) for run in unlimited], unlimited, changes)
        yield {"scenario": name, "controller": "unlimited", **row, "last_queue_length": ""}
        for label, controller in controllers(latency, rate, separate).items():
            runs = [scenario(controller, seed, SHORT if label == "short calls" else 0.1) for seed in seeds]
            yield {"scenario": name, "controller": label, **figures(runs, unlimited, changes)}


def _finite(run: Resizing) -> Resizing:
    from dataclasses import replace

    return replace(run, queue_length=np.ones(len(run.time)))


def curve() -> Iterator[dict[str, Any]]:
    """Where the controllers settle against the number of disks."""
    shared = qt.Engine([qt.Disk(qt.Closed(32), buffer=32)], qt.Device(8, SERVICE), hold="ring")
    own = qt.Engine([qt.Disk(qt.Closed(32), buffer=32, device=qt.Device(1, SERVICE))], hold="ring")
    for name, engine, separate in (("shared, 8 servers", shared, False), ("own, 1 server each", own, True)):
        asked: dict[str, Controller] = {
            "estimated": Estimated(separate=separate),
            "kyber": Kyber(),
            "latency target": LatencyTarget(5e-3),
        }
        rules = {label: settled(controller, horizon=40.0) for label, controller in asked.items()}
        counts = (1, 4, 16, 64)
        found = qt.sizing_curve(engine, counts, rules=rules, max_throughput_loss=0.05)
        known = {n: Known(1e-3, 1e3 if separate else 8e3, separate) for n in counts}
        for i, n in enumerate(counts):
            at_n = with_disks(engine, n)
            full = qt.solve(with_queue_length(at_n, None)).throughput
            lengths = {"optimum": found.points[i].lower, "known": settled(known[n], horizon=0.2)(at_n)}
            lengths |= {label: found.rules[label][i] for label in rules}
            for label, q in lengths.items():
                assert q is not None
                state, drain = qt.solve(with_queue_length(at_n, q)), qt.drain_time(with_queue_length(at_n, q))
                yield {
                    "devices": name, "disks": n, "rule": label, "queue_length": q,
                    "lost": round(1.0 - state.throughput / full, 4),
                    "response_ms": round(1e3 * state.mean_response, 2),
                    "latency_ms": round(1e3 * state.mean_in_flight / state.throughput, 2),
                    "drain_99_ms": round(1e3 * drain.quantile(0.99), 2),
                }  # fmt: skip


def picture() -> None:
    """Q against time while the device slows down and recovers."""
    from matplotlib.figure import Figure

    ax = Figure(figsize=(8.0, 4.0), layout="constrained").add_subplot()
    shown = ("known", "estimated", "mean latency", "least kept", "kyber", "latency target")
    chosen = controllers(1e-3, 8e3, False)
    for label, style in zip(shown, ("-", "-", "--", "-.", ":", "-"), strict=True):
        run = slow_device(chosen[label], 0)
        ax.step(run.time, run.queue_length, style, where="pre", linewidth=1.0, label=label)
    ax.axvspan(10.0, 20.0, color="0.93")
    ax.set(xlabel="time [s]; grey: the device takes twice as long", ylabel="queue length Q", yscale="log")
    ax.figure.legend(loc="outside upper center", fontsize=8, frameon=False, ncols=6)
    ax.figure.savefig(RESULTS / "resizing.svg", metadata={"Date": None})


def main() -> None:
    """Write the tables and the picture."""
    picture()
    for name, rows in (("resizing_curve.csv", curve()), ("resizing.csv", table())):
        with (RESULTS / name).open("w", newline="", encoding="utf-8") as file:
            writer: csv.DictWriter[str] | None = None
            for row in rows:
                if writer is None:
                    writer = csv.DictWriter(file, row)
                    writer.writeheader()
                writer.writerow(row)
                print(row, flush=True)


if __name__ == "__main__":
    main()
