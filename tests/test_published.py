"""Printed tables and other software's answers, digit by digit.

The tables are outside data and no part of the project: without them these tests are skipped. Rows with all digits, on
which two sources agree (verdict OK), must match to 1e-12; printed rows to one unit in the last printed digit (hand
computed examples are not all rounded correctly). `pytest -s` prints the digits matched, row by row.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import qtheory as qt
from qtheory.markov.merging import merge_all, split_all
from qtheory.solve.steady_state import SteadyState

TABLES = Path(__file__).resolve().parents[2] / "shared" / "tables"
Row = Mapping[str, str]
Answer = Callable[[str], float | None]
"""Quantity's name -> value, None when it is not one we answer."""


def rows(name: str) -> list[Row]:
    path = TABLES / name
    if not path.exists():
        pytest.skip(f"no {name}: outside data, not part of the project")
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def number(text: str) -> float:
    """A number, a quotient or a product of two: 0.25, 0.5/0.7, 0.3*1.5."""
    if "*" in text:
        return math.prod(number(part) for part in text.split("*"))
    return (
        float(Fraction(text))
        if re.fullmatch(r"\d+/\d+", text)
        else math.prod(float(part) if k == 0 else 1.0 / float(part) for k, part in enumerate(text.split("/")))
    )


def parameters(text: str) -> dict[str, str]:
    """name=value pairs, separated by blanks or semicolons; a value may be a list in round brackets."""
    return {name: value for name, value in re.findall(r"([\w-]+)=(\([^)]*\)|[^\s;\[]+)", text)}


def items(text: str) -> list[float]:
    """Values of a bracketed list, or of one that slashes separate (printed tables)."""
    inner = text.strip("()")
    return [number(part) for part in (inner.split(",") if "," in inner else inner.split("/"))]


def device(servers: float, rate: float) -> qt.Device:
    return qt.Device(servers=int(servers), service=qt.Exponential(mean=1.0 / rate))


def station(s: SteadyState, servers: int) -> Answer:
    """A single station's quantities in the words of the tables."""
    in_line = s.mean_in_system - s.utilization * servers
    values = {
        "L": s.mean_in_system,
        "mean at cpu": s.mean_in_system,
        "W": s.mean_response,
        "Wq": s.mean_wait,
        "Lq": s.mean_wait * s.throughput,
        "X": s.throughput,
        "throughput": s.throughput,
        "pK": s.blocking,
        "blocking": s.blocking,
        "P(wait)": float(s.in_system_pmf[servers:].sum()),
        "blocking (time congestion)": float(s.in_system_pmf[-1]),
        **{f"P(cpu={n})": float(p) for n, p in enumerate(s.in_system_pmf)},
    }
    assert in_line == pytest.approx(values["Lq"], rel=1e-9, abs=1e-12)
    return values.get


def open_station(load: float, rate: float, servers: int, capacity: int | None) -> Answer:
    """M/M/c/K; without a capacity one so large that what it cuts off, ρ^K < 1e-20, does not show."""
    if capacity is None:
        capacity = servers + math.ceil(46.0 / -math.log(load / servers))
    return station(qt.solve(qt.Engine([qt.Disk(qt.Poisson(load * rate), capacity)], device(servers, rate))), servers)


def closed_station(sources: int, think: float, rate: float, servers: int, capacity: int | None = None) -> Answer:
    """Finite source; requests beyond a capacity are refused and think again."""
    disk = qt.Disk(qt.Closed(sources, think), buffer=sources)
    hold = "engine" if capacity is None else "refuse"
    return station(qt.solve(qt.Engine([disk], device(servers, rate), capacity, hold)), servers)


@dataclass(frozen=True)
class Network:
    """A closed network of stations in which N circulate: the product of the series Π V/μ(j), which we merge."""

    visits: list[float]
    devices: list[qt.Device]
    circulating: int

    def answers(self) -> dict[str, list[float]]:
        """Throughput, mean number, response for a visit and utilization by station; throughput at one visit."""
        n = self.circulating
        series = [v / d.rates(n) for v, d in zip(self.visits, self.devices, strict=True)]
        root, kinds = merge_all(series, n)
        laws = split_all(root, np.eye(n + 1)[n])
        mean = [float(np.arange(len(laws[kind])) @ laws[kind]) for kind in kinds]
        x = [v / float(root.ratios[n - 1]) for v in self.visits]
        busy = [xi * d.service.mean / d.servers for xi, d in zip(x, self.devices, strict=True)]
        return {
            "X": [1.0 / float(root.ratios[n - 1])],
            "throughput": x,
            "queue length": mean,
            "response time": [m / xi for m, xi in zip(mean, x, strict=True)],
            "utilization": busy,
        }


def network(p: Mapping[str, str], *, rates: str | None = None, demands: str | None = None) -> dict[str, list[float]]:
    """Network from N, Z, V, servers (`servers` or `m`), and rates, or service times."""
    n = int(p["N"])
    times = [1.0 / r for r in items(rates)] if rates is not None else items(demands or p["S"])
    visits = items(p["V"]) if "V" in p else [1.0] * len(times)
    servers = [
        n if c in ("delay",) else int(c) for c in re.split("[/,]", p.get("servers", p.get("m", "")).strip("()")) if c
    ]
    devices = [device(c, 1.0 / t) for c, t in zip(servers or [1] * len(times), times, strict=True)]
    if float(p.get("Z", "0")) > 0.0:
        visits, devices = [*visits, 1.0], [*devices, device(n, 1.0 / float(p["Z"]))]
    return Network(visits, devices, n).answers()


def software(row: Row, text: str) -> float | None:
    """Our answer for a row of software.csv, or None."""
    p, model, quantity = parameters(text), row["model"], row["quantity"]
    if model in ("M/M/c/K", "M/M/1/K", "M/M/c/c", "M/M/c"):
        servers = int(p.get("c", "1"))
        capacity = {"M/M/c": None, "M/M/c/c": servers}.get(model, int(p.get("K", "0")))
        return open_station(number(p["lambda"]) / number(p["mu"]), number(p["mu"]), servers, capacity)(quantity)
    if model in ("Erlang B", "Erlang B (M/M/c/c)", "Erlang C"):
        servers = int(p["c"])
        return open_station(number(p["a"]), 1.0, servers, None if model == "Erlang C" else servers)(quantity)
    if model in ("M/M/c/K/K machine repair", "M/M/1/K/K"):
        return closed_station(int(p["K"]), 1.0 / number(p["lambda"]), number(p["mu"]), int(p.get("c", "1")))(quantity)
    if model == "M/M/c/K/m finite source + finite buffer":
        think = 1.0 / number(p["lambda"])
        return closed_station(int(p["m"]), think, number(p["mu"]), int(p["c"]), int(p["K"]))(quantity)
    if model == "Engset":
        return closed_station(int(p["N"]), 1.0 / number(p["offered-per-idle-source"]), 1.0, int(p["c"]), int(p["c"]))(
            quantity
        )
    if model.startswith("closed repairmen"):
        mean = number(p["S"] if "S" in p else p["D"])
        return closed_station(int(p["N"]), number(p["Z"]), 1.0 / mean, int(p["c"]))(quantity)
    if model.startswith("closed QN"):
        name, center = re.fullmatch(r"([A-Z])(\d?)", quantity).groups() if quantity != "G(3)" else ("G", "")
        key = {"X": "throughput" if center else "X", "L": "queue length", "Q": "queue length", "R": "response time"}
        return network(p)[key[name]][int(center or "1") - 1] if name in key else None
    return None


def printed(row: Row) -> float | None:
    """Our answer for a row of published.csv that holds an exact value, or None."""
    p, model, quantity = parameters(row["params"]), row["model"], row["quantity"]
    if model == "M/M/1":
        return open_station(number(p["lam"]) / number(p["mu"]), number(p["mu"]), 1, None)(quantity)
    if model == "M/M/2/2":
        return open_station(number(p["a"]), 1.0, int(p["c"]), int(p["c"]))(quantity)
    if model == "M/M/1//2":
        return closed_station(int(p["N"]), number(p["think"]), 1.0 / number(p["service"]), 1)(quantity)
    if model.startswith("closed multi-server"):
        return network(p, rates=p.get("mu"))[quantity][int(p["center"]) - 1]
    return None


def matched(found: float, value: float) -> float:
    """Digits in common."""
    return 17.0 if found == value else min(17.0, -math.log10(abs(found / value - 1.0)))


def test_other_software() -> None:
    used, text = 0, ""
    for row in rows("software.csv"):
        text = text if row["parameters"] == "same" else row["parameters"]
        found = software(row, text) if row["verdict"] == "OK" else None
        if found is None:
            continue
        used += 1
        value = float(row["value"])
        print(f"{matched(found, value):5.1f} digits  {row['model']}: {text}: {row['quantity']} = {row['value']}")
        assert found == pytest.approx(value, rel=1e-12), row
    print(f"{used} rows of software.csv")
    assert used >= 30


def test_printed_tables() -> None:
    used = 0
    for row in rows("published.csv"):
        found = printed(row)
        if found is None:
            continue
        used += 1
        text = row["value"]
        last = 10.0 ** -len(text.partition(".")[2])
        print(f"{matched(found, float(text)):5.1f} digits  {row['table']}: {row['params']}: {row['quantity']} = {text}")
        assert abs(found - float(text)) <= last * (1.0 + 1e-9), (row, found)
    print(f"{used} rows of published.csv")
    assert used >= 25


def test_printed_wait_probability() -> None:
    """Gross and Harris, M/M/1: P(W > 1) as printed, so 1 lies between the quantiles on either side of it."""
    found = [r for r in rows("published.csv") if r["model"] == "M/M/1" and r["quantity"] == "P(Wq>1)"]
    assert found
    for row in found:
        p = parameters(row["params"])
        s = qt.solve(qt.Engine([qt.Disk(qt.Poisson(number(p["lam"])), 600)], device(1, number(p["mu"]))))
        unit = 10.0 ** -len(row["value"].partition(".")[2])
        below, above = (s.wait_quantile(1.0 - float(row["value"]) + d) for d in (-unit, unit))
        assert below < 1.0 < above


def test_exact_throughput_within_printed_bounds() -> None:
    """Casale, Muntz and Serazzi's geometric bounds, Tables IV and V: they hold, to one unit in the last digit."""
    used = 0
    for row in rows("published.csv"):
        if not row["table"].startswith("Geometric bounds"):
            continue
        p = parameters(row["params"])
        x, bound = network(p, demands=p["D"])["X"][0], float(row["value"])
        assert x > bound - 1e-4 if "lower" in row["quantity"] else x < bound + 1e-4, (row, x)
        used += 1
    print(f"{used} rows of bounds")
    assert used >= 20
