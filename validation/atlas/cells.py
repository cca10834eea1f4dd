"""The grid: engines and throttles, spread evenly over everything that a user may describe.

A cell is a point of a scrambled Sobol sequence (Sobol 1967, Owen 1995), which fills its space evenly however many of
its points are taken; two scrambles of the same sequence are two grids that share no point, one to measure by and one to
hold out. The coordinates are, in this order, those of RANGES and of the choices below; the mean service time is 1 s.

>>> cell = drawn("set", 5)
>>> cell.engine == drawn("set", 5).engine, len(cell.engine.disks) <= 64
(True, True)
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

import qtheory as qt
from qtheory.arrivals import Arrivals

GRIDS = {"set": 11, "held out": 12}
"""The seed of each scramble."""
POINTS = 4096
RANGES = {
    "disks": (1.0, 64.0),
    "buffer": (1.0, 256.0),
    "servers": (1.0, 64.0),
    "utilization": (0.1, 1.5),
    "scv": (0.1, 10.0),
    "burst": (0.3, 100.0),
    "spread": (1.0, 16.0),
    "room": (0.5, 8.0),
    "idle": (0.01, 1.0),
}
"""Least and most; all in logarithmic steps. `burst` is how long bursts last, `room` the queue length over the
servers below it, `spread` the ratio of the fastest disk's rate to the slowest's."""
SHARINGS = (("line", 0.5), ("slots", 0.12), ("own behind a line", 0.3), ("own", 0.08))
ARRIVALS = (
    ("Poisson", 0.45),
    ("saturated", 0.15),
    ("thinking", 0.15),
    ("bursts apart", 0.15),
    ("bursts together", 0.1),
)
SERVICES = (
    ("exponential", 0.2),
    ("phase-type", 0.28),
    ("lognormal", 0.17),
    ("Weibull", 0.15),
    ("constant", 0.08),
    ("mixed", 0.12),
)
THROTTLES = (("none", 0.5), ("depth", 0.2), ("depth of a disk", 0.1), ("schedule", 0.15), ("rate", 0.05))
REFUSING = tuple(("line", name) for name, _ in ARRIVALS if name != "saturated")
"""Sharings and arrivals of engines that may refuse at Q: saturated guests would retry without end."""
DIMENSIONS = len(RANGES) + 8

Throttle = qt.DepthLimit | qt.DepthSchedule | qt.RateLimit | None


class Cell(NamedTuple):
    """A point of the grid, what was chosen there by name, and what it makes."""

    grid: str
    index: int
    chosen: dict[str, str]
    engine: qt.Engine
    throttle: Throttle


@cache
def _points(grid: str) -> NDArray[np.float64]:
    return np.asarray(qmc.Sobol(DIMENSIONS, seed=GRIDS[grid]).random(POINTS))


def drawn(grid: str, index: int) -> Cell:
    """Cell `index` of a grid, 0 to POINTS − 1."""
    numbers = iter(_points(grid)[index])
    x = {name: low * (high / low) ** next(numbers) for name, (low, high) in RANGES.items()}
    names = ("sharing", "arrivals", "service", "throttle")
    tables = (SHARINGS, ARRIVALS, SERVICES, THROTTLES)
    chosen = {name: _chosen(table, next(numbers)) for name, table in zip(names, tables, strict=True)}
    if chosen["sharing"] == "slots":  # of which the package answers for few: no points are spent on the others
        chosen["service"] = "exponential" if chosen["service"] in ("lognormal", "Weibull") else chosen["service"]
        chosen["arrivals"] = "Poisson" if chosen["arrivals"].startswith("bursts") else chosen["arrivals"]
    different, waits, limited, hold = (next(numbers) for _ in range(4))
    disks, own = round(x["disks"]), chosen["sharing"].startswith("own")
    kinds = min(disks, 1 + int(8.0 * max(0.0, different - 0.5)))  # half of the cells have equal disks
    if chosen["service"] == "mixed":
        kinds = max(kinds, min(disks, 2))
    spread = np.linspace(0.0, 1.0, kinds) if kinds > 1 else np.zeros(1)
    members = np.arange(disks) % kinds
    buffers = np.maximum(1, np.round(x["buffer"] * x["spread"] ** (-0.5 * spread))).astype(int)[members].tolist()
    servers = max(1, min(round(x["servers"]), (min(buffers) if own else sum(buffers)) // 2))
    rates = (x["spread"] ** spread)[members]
    rates *= x["utilization"] * servers / (rates.mean() if own else rates.sum())
    laws = _laws(chosen["service"], x["scv"], kinds)
    patient = waits < 0.2 and x["utilization"] < 0.95 and chosen["arrivals"] not in ("saturated", "thinking")
    full: qt.engine.Full = "wait" if patient else "lost"
    made = []
    for j, buffer, rate in zip(members.tolist(), buffers, rates.tolist(), strict=True):
        arrivals, law = _arrivals(chosen["arrivals"], rate, float(rates.sum()), x, buffer), laws[j % len(laws)]
        if own:
            made.append(qt.Disk(arrivals, buffer, full, qt.Device(servers, law)))
        else:
            made.append(qt.Disk(arrivals, buffer, full, service=law if len(laws) > 1 else None))
    queue: int | None = max(1, round(x["room"] * servers * (disks if own else 1)))
    if chosen["sharing"] == "slots":
        queue = max(queue or 1, disks)
    elif chosen["sharing"] == "own" or (chosen["sharing"] == "line" and (limited < 0.4 or x["room"] < 1.0)):
        queue = None
    held: qt.engine.Hold = "ring" if hold < 0.45 else "engine"
    if hold > 0.9 and queue is not None and not patient and (chosen["sharing"], chosen["arrivals"]) in REFUSING:
        held = "refuse"
    chosen |= {"alike": "equal" if kinds == 1 else "different", "full": full, "hold": held}
    rule: qt.engine.Rule = "equal" if chosen["sharing"] == "slots" else "fifo"
    engine = qt.Engine(made, None if own else qt.Device(servers, laws[0]), queue, held, rule)
    return Cell(grid, index, chosen, engine, _throttle(chosen["throttle"], x, servers, float(rates.mean()), limited))


def _chosen(table: tuple[tuple[str, float], ...], u: float) -> str:
    places = np.cumsum([weight for _, weight in table])
    return table[int(np.searchsorted(places, u * places[-1], side="right").clip(max=len(table) - 1))][0]


def _laws(name: str, scv: float, kinds: int) -> list[qt.Law]:
    if name == "exponential":
        return [qt.Exponential(mean=1.0)]
    if name == "constant":
        return [qt.Deterministic(1.0)]
    if name == "lognormal":
        return [qt.Lognormal(mean=1.0, scv=scv)]
    if name == "Weibull":
        return [qt.Weibull(mean=1.0, scv=scv)]
    if name == "mixed" and kinds > 1:  # disks of fast and of slow requests
        return [qt.Exponential(mean=0.5), _phase_type(scv)]
    return [_phase_type(scv)]


def _phase_type(scv: float) -> qt.Law:
    if scv > 1.0:
        return qt.Hyperexponential.balanced(mean=1.0, scv=scv)
    return qt.Erlang(phases=max(2, round(1.0 / scv)), mean=1.0)


def _arrivals(name: str, rate: float, total: float, x: dict[str, float], buffer: int) -> Arrivals:
    if name == "Poisson":
        return qt.Poisson(rate)
    if name == "saturated":
        return qt.Closed(buffer)
    if name == "thinking":
        return qt.Closed(buffer, buffer / rate)
    on = 0.1 + 0.4 * x["idle"]  # part of the time, in which 4/5 of the requests come
    lengths = (x["burst"], x["burst"] * (1.0 - on) / on)
    if name == "bursts apart":
        return qt.mmpp2((0.8 * rate / on, 0.2 * rate / (1.0 - on)), lengths)
    return qt.Marked(qt.mmpp2((0.8 * total / on, 0.2 * total / (1.0 - on)), lengths), rate / total)


def _throttle(name: str, x: dict[str, float], servers: int, rate: float, u: float) -> Throttle:
    depth = max(1, round(x["room"] * servers / 2.0))
    if name == "depth":
        return qt.DepthLimit(depth)
    if name == "depth of a disk":
        return qt.DepthLimit(max(1, round(4.0 * u)), per="disk")
    if name == "schedule":
        return qt.DepthSchedule([(-4.0 * u, depth)])
    if name == "rate":
        return qt.RateLimit(rate * (0.3 + 0.6 * u), burst=1.0)
    return None
