"""The limits of a host: slots divided, disks on iothreads, submission batches: python -m validation.host

Five tables in validation/results:

* `host_budget.csv`: hosts of many guests. What they want for 1 % loss, how many fit, and what is lost by the division,
  by the fairest, by one that may leave guests to thread pools, and by QEMU's 1024 each, then thread pools;
* `host_iothreads.csv`: responses of disks on a thread by `assign_iothreads` beside a simulation of a thread that is
  visited once, or twice, by a request, with each disk's device and the engine's line behind it;
* `host_search.csv`: assignments that were searched for beside the best;
* `host_batches.csv`: the published table of batch limits (`validation/published/batch_limit.csv`) beside the model,
  fitted to all of it, and to all but the row or the column of the rate;
* `host_batch_costs.csv`: the costs so fitted.

Exits with status 1 when a worst case exceeds what is stated. A few minutes of processor time.
"""

from __future__ import annotations

import csv
import heapq
import itertools
import math
import random
import statistics
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import least_squares

import qtheory as qt
from qtheory.sizing import BatchCosts, batch_throughput, iothreads
from qtheory.sizing.batching import PUBLISHED_ERROR
from validation.sizing import saturated
from validation.tables import write

HERE = Path(__file__).parent
RING = 256
JOBS = 16
FAST_DEVICE = 1.8e-6
"""Seconds a request of 4 KiB at the device, by its data sheet (550 000 a second); it does not bind in the table."""
START = BatchCosts(request=3e-6, call=1e-6, growth=1e-9, latency=2e-5, device=7e-6)
REQUESTS = 100_000

Rate = dict[str, int]


def published() -> list[Rate]:
    """The table, a row for each rate."""
    with (HERE / "published" / "batch_limit.csv").open(encoding="utf-8") as file:
        return [
            {key: int(value) for key, value in row.items()}
            for row in csv.DictReader(line for line in file if not line.startswith("#"))
        ]


def modelled(costs: BatchCosts, row: Rate) -> float:
    """The model's rate for a cell [kIOPS]; `costs.device` is that of 16 KiB."""
    at = costs if row["block_kib"] == 16 else BatchCosts(**{**_fields(costs), "device": FAST_DEVICE})
    present = min(JOBS * row["iodepth"], RING * row["queues"])
    return batch_throughput(at, outstanding=present, batch=row["batch"] or None, queues=row["queues"]) / 1e3


def fitted(rows: Sequence[Rate]) -> BatchCosts:
    """Costs with the least sum of squares of the logarithms of the rates' ratios."""

    def costs(x: Sequence[float]) -> BatchCosts:
        return BatchCosts(**dict(zip(_fields(START), np.exp(x).tolist(), strict=True)))

    def off(x: Sequence[float]) -> list[float]:
        return [math.log(modelled(costs(x), row) / row["kiops"]) for row in rows]

    start = np.log(astuple(START))
    found = [least_squares(off, start + shift) for shift in (0.0, 0.3, -0.3)]
    return costs(min(found, key=lambda fit: fit.cost).x)


def batches() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The published table beside the model, and the costs."""
    table = published()
    everything = fitted(table)
    folds: dict[str, Callable[[Rate], Any]] = {
        "row": lambda row: (row["block_kib"], row["iodepth"]),
        "column": lambda row: row["batch"],
    }
    held: dict[str, dict[Any, BatchCosts]] = {
        name: {key: fitted([row for row in table if of(row) != key]) for key in dict.fromkeys(of(row) for row in table)}
        for name, of in folds.items()
    }
    rows = [
        {
            **row,
            "fitted": round(modelled(everything, row), 1),
            **{f"without_its_{name}": round(modelled(held[name][of(row)], row), 1) for name, of in folds.items()},
        }
        for row in table
    ]
    costs = [{"without": "", **_shown(everything)}]
    for name, found in held.items():
        costs += [{"without": f"{name} {key}", **_shown(one)} for key, one in found.items()]
    return rows, costs


def budgets() -> list[dict[str, Any]]:
    """Hosts of guests of four kinds."""
    kinds = {
        "4 disks": saturated(4, 256),
        "16 disks": saturated(16, 64),
        "8 disks of 4 servers": saturated(8, 128, 4),
        "4 light disks": qt.Engine(
            [qt.Disk(qt.Poisson(500.0), 64, device=qt.Device(servers=1, service=qt.Exponential(mean=1e-3)))] * 4
        ),
    }
    hosts: dict[str, list[qt.Engine]] = {name: [engine] * 100 for name, engine in kinds.items()}
    hosts["a quarter of each"] = [engine for engine in kinds.values() for _ in range(25)]
    rows = []
    for (name, engines), slots in itertools.product(hosts.items(), (65536, 8192, 2048)):
        least = qt.host_budget(engines, slots=slots)
        fair = qt.host_budget(engines, slots=slots, when_short="fairness")
        pools = qt.host_budget(engines, slots=slots, thread_pool=64)
        assert pools.queue_lengths is not None
        rows.append(
            {
                "guests": f"100: {name}",
                "slots": slots,
                "wanted": sum(least.wanted),
                "most_guests": least.most_engines,
                "loss": _round(least.throughput_loss),
                "worst_loss": _round(max(least.throughput_losses)),
                "bound": f"{least.error_bounds['total_throughput']:.1e}",
                "fair_loss": _round(fair.throughput_loss),
                "fair_worst_loss": _round(max(fair.throughput_losses)),
                "pools_loss": _round(pools.throughput_loss),
                "pools": pools.queue_lengths.count(0),
                "constant_guests": least.constant_engines,
                "constant_loss": _round(least.constant_loss),
                "constant_worst_loss": _round(max(least.constant_losses)),
            }
        )
    return rows


def thread_and_devices(
    engine: qt.Engine, cpu: Callable[[random.Random], tuple[float, ...]], requests: int, seed: int
) -> list[list[float]]:
    """Responses of each disk's requests, simulated: a thread, the engine's line, devices of exponential service.

    `cpu` gives the thread's time on a request at each of its visits: one before the device, perhaps one after.
    """
    rng = random.Random(seed)
    disks = engine.disks
    slots = math.inf if engine.queue_length is None else engine.queue_length
    servers, means = [], []
    for device in engine.devices:
        assert device.servers is not None
        assert device.service is not None
        servers.append(device.servers)
        means.append(device.service.mean)
    events: list[tuple[float, int, str, int, tuple[float, ...], float]] = []
    numbers = itertools.count()
    found: list[list[float]] = [[] for _ in disks]
    ready: deque[tuple[str, int, tuple[float, ...], float]] = deque()
    line: deque[tuple[int, tuple[float, ...], float]] = deque()
    waiting: list[deque[tuple[tuple[float, ...], float]]] = [deque() for _ in disks]
    busy, free, idle = [0] * len(disks), slots, True

    def at(t: float, what: str, disk: int, visits: tuple[float, ...], since: float) -> None:
        heapq.heappush(events, (t, next(numbers), what, disk, visits, since))

    def arrival(disk: int, now: float) -> None:
        source = disks[disk].arrivals
        mean = source.think_time if isinstance(source, qt.Closed) else 1.0 / source.rate  # type: ignore[attr-defined]
        at(now + rng.expovariate(1.0 / mean), "arrives", disk, (), 0.0)

    def served(disk: int, now: float, visits: tuple[float, ...], since: float) -> None:
        busy[disk] += 1
        at(now + rng.expovariate(1.0 / means[disk]), "served", disk, visits, since)

    for i, disk in enumerate(disks):
        for _ in range(disk.arrivals.outstanding if isinstance(disk.arrivals, qt.Closed) else 1):
            arrival(i, 0.0)
    done = 0
    while done < requests:
        now, _, what, i, visits, since = heapq.heappop(events)
        if what == "arrives":
            if not isinstance(disks[i].arrivals, qt.Closed):
                arrival(i, now)
            ready.append(("submitted", i, cpu(rng), now))
        elif what == "served":
            busy[i] -= 1
            free += 1
            if waiting[i]:
                served(i, now, *waiting[i].popleft())
            if visits:
                ready.append(("completed", i, visits, since))
            else:
                what = "completed"
        else:
            idle = True
            if what == "submitted":
                line.append((i, visits, since))
        while line and free > 0:
            free -= 1
            j, left, began = line.popleft()
            if busy[j] < servers[j]:
                served(j, now, left, began)
            else:
                waiting[j].append((left, began))
        if what == "completed":
            done += 1
            if done > requests // 10:
                found[i].append(now - since)
            if isinstance(disks[i].arrivals, qt.Closed):
                arrival(i, now)
        if idle and ready:
            what, j, left, began = ready.popleft()
            idle = False
            at(now + left[0], what, j, left[1:], began)
    return found


def _exponential(mean: float) -> Callable[[random.Random], tuple[float, ...]]:
    return lambda rng: (rng.expovariate(1.0 / mean),)


def _constant(*times: float) -> Callable[[random.Random], tuple[float, ...]]:
    return lambda rng: times


def responses() -> list[dict[str, Any]]:
    """Disks on one thread: the model beside simulation."""
    device = qt.Device(servers=4, service=qt.Exponential(mean=100e-6))
    cost = 10e-6
    cpus: dict[str, tuple[qt.Law, Callable[[random.Random], tuple[float, ...]]]] = {
        "exponential, one visit": (qt.Exponential(mean=cost), _exponential(cost)),
        "constant, one visit": (qt.Deterministic(cost), _constant(cost)),
        "constant, two equal visits": (qt.Deterministic(cost), _constant(cost / 2, cost / 2)),
        "constant, visits of 1/5 and 4/5": (qt.Deterministic(cost), _constant(cost / 5, 4 * cost / 5)),
    }
    guests: list[tuple[str, qt.Engine]] = []
    for rho in (0.3, 0.6, 0.9):
        disks = [qt.Disk(qt.Poisson(share * rho / cost), 256, device=device) for share in (0.4, 0.3, 0.2, 0.1)]
        guests.append((f"open, utilization {rho}", qt.Engine(disks)))
    for outstanding, think in ((8, 400e-6), (32, 1.2e-3), (32, 800e-6)):
        closed = qt.Disk(qt.Closed(outstanding, think), device=device)
        guests.append((f"2 closed disks, {outstanding} outstanding, think {think * 1e3:g} ms", qt.Engine([closed] * 2)))
    slow = qt.Device(servers=4, service=qt.Exponential(mean=400e-6))
    deep, shallow = qt.Disk(qt.Closed(128, 5e-3), device=slow), qt.Disk(qt.Poisson(1000.0), device=slow)
    for slots in (256, 64):
        engine = qt.Engine([deep, deep, deep, shallow], queue_length=slots)
        guests.append((f"3 deep, 1 shallow, {slots} slots", engine))
    cases = [(guest, cpu) for guest in guests for cpu in cpus.items()]
    deep, shallow = (qt.Disk(qt.Closed(k, 2e-3), device=slow) for k in (64, 4))
    busy, calm = (qt.Disk(qt.Poisson(rate), device=slow) for rate in (8000.0, 2000.0))
    lines = [
        (f"closed 64, 64, 4; {q} slots", qt.Engine([deep, deep, shallow], queue_length=q)) for q in (8, 16, 32, 64)
    ]
    lines += [(f"open 0.8, 0.8, 0.2; {q} slots", qt.Engine([busy, busy, calm], queue_length=q)) for q in (16, 32)]
    cases += [(guest, next(iter(cpus.items()))) for guest in lines]
    rows = []
    for (name, engine), (cpu, (law, draw)) in cases:
        model = qt.assign_iothreads(engine, cpu_time=law, threads=1)
        runs = thread_and_devices(engine, draw, REQUESTS, seed=1) if model.feasible else []
        for i in range(len(engine.disks)):
            if engine.disks[i] in engine.disks[:i]:
                continue
            row = {"guest": name, "cpu": cpu, "disk": i, "utilization": "", "model_us": "refused", "simulated_us": "",
                   "half_width_us": "", "off": "", "stated": ""}  # fmt: skip
            if model.feasible:
                same = [x for j, run in enumerate(runs) if engine.disks[j] == engine.disks[i] for x in run]
                batches = np.array_split(np.array(same), 20)
                mean = statistics.fmean(same)
                half = 2.1 * statistics.stdev(float(b.mean()) for b in batches) / math.sqrt(20.0)
                row |= {
                    "utilization": round(model.utilizations[0], 3),
                    "model_us": round(model.mean_responses[i] * 1e6, 2),
                    "simulated_us": round(mean * 1e6, 2),
                    "half_width_us": round(half * 1e6, 2),
                    "off": _round(model.mean_responses[i] / mean - 1.0),
                    "stated": f"{model.error_bounds['mean_response']:.2g}",
                }
            rows.append(row)
    return rows


def searches() -> list[dict[str, Any]]:
    """What moves and swaps find beside the best, over random disks."""
    rng = random.Random(1)
    device = qt.Device(servers=64, service=qt.Exponential(mean=100e-6))
    rows = []
    for minimize, threads in itertools.product(("utilization", "response"), (2, 3, 4)):
        off, stated, cases, longest = [], [], 40, qt.Exponential(mean=10e-6)
        for _ in range(cases):
            shares = [rng.paretovariate(1.2) for _ in range(8)]
            scale = 0.7 * threads / 10e-6 / sum(shares)
            # No disk is more than 0.9 of a thread by itself.
            rates = [min(share * scale, 90e3) for share in shares]
            engine = qt.Engine([qt.Disk(qt.Poisson(rate), 64, device=device) for rate in rates])
            best = qt.assign_iothreads(engine, cpu_time=longest, threads=threads, minimize=minimize)  # type: ignore[arg-type]
            work, iothreads.WORK = iothreads.WORK, 0
            found = qt.assign_iothreads(engine, cpu_time=longest, threads=threads, minimize=minimize)  # type: ignore[arg-type]
            iothreads.WORK = work
            assert best.exact
            assert found.feasible
            off.append(found.value / best.value - 1.0)
            stated.append(found.error_bounds["value"])
            assert off[-1] <= stated[-1] + 1e-9
        rows.append(
            {
                "minimize": minimize,
                "disks": 8,
                "threads": threads,
                "cases": cases,
                "the_best": sum(x < 1e-9 for x in off),
                "worst": _round(max(off)),
                "mean_bound": _round(statistics.fmean(stated)),
                "worst_bound": _round(max(stated)),
            }
        )
    return rows


def main() -> None:
    """Write the tables, print the worst cases."""
    failed = False
    rows, costs = batches()
    write("host_batches.csv", rows)
    for row in write("host_batch_costs.csv", costs):
        print(row)
    for column in ("fitted", "without_its_row", "without_its_column"):
        logs = [math.log(row[column] / row["kiops"]) for row in rows]
        worst = max(rows, key=lambda row: abs(math.log(row[column] / row["kiops"])))
        print(f"batches, {column}: root mean square {_rms(logs):.3f}, worst {worst}")
        failed |= column == "fitted" and max(map(abs, logs)) > PUBLISHED_ERROR
    rate = {(r["block_kib"], r["iodepth"], r["batch"], r["queues"]): r["kiops"] for r in rows}
    apart = [
        math.log(rate[block, depth, batch, q] / rate[block, depth, 2 * batch, q]) / math.sqrt(2.0)
        for (block, depth, batch, q) in rate
        if batch in (16, 32)
    ]
    print(f"the table's own spread, a cell from its neighbour of twice the batch, 16 to 64: {_rms(apart):.3f}")
    for row in [*write("host_budget.csv", budgets()), *write("host_search.csv", searches())]:
        print(row)
    for row in write("host_iothreads.csv", responses()):
        print(row)
        if row["off"] == "":
            continue
        beyond = abs(row["model_us"] - row["simulated_us"])
        failed |= beyond - row["half_width_us"] > (float(row["stated"]) + 0.001) * row["simulated_us"]
        if row["guest"].startswith("open") and row["cpu"] == "exponential, one visit":
            failed |= beyond > 2.0 * row["half_width_us"]
    sys.exit(failed)


def _rms(logs: Sequence[float]) -> float:
    return math.sqrt(statistics.fmean(x * x for x in logs))


def _fields(costs: BatchCosts) -> dict[str, float]:
    return {f.name: getattr(costs, f.name) for f in fields(costs)}


def _shown(costs: BatchCosts) -> dict[str, Any]:
    """Microseconds, and the best batch."""
    shown: dict[str, Any] = {f"{name}_us": float(f"{1e6 * value:.4g}") for name, value in _fields(costs).items()}
    return {**shown, "best_batch": round(costs.best_batch, 1)}


def _round(fraction: float | None) -> float:
    assert fraction is not None
    return round(fraction, 4)


if __name__ == "__main__":
    main()
