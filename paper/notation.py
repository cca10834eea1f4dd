"""The table of notation: one place for the paper's symbols, what they mean, and the library's names for the same.

Each name is looked up when the table is made, so that a name that the library no longer has stops the build.
"""

from __future__ import annotations

import importlib
import inspect
import re
from dataclasses import fields, is_dataclass
from typing import NamedTuple

from paper.results import tabular


class Symbol(NamedTuple):
    """A symbol in LaTeX, its meaning and unit; the library's name or none: module:name, an argument in brackets."""

    symbol: str
    meaning: str
    unit: str
    name: str


NOTATION = (
    Symbol("N", "disks that share the engine", "", "qtheory:Engine.disks"),
    Symbol("K_i", "buffer: requests that disk $i$ may have in the system", "", "qtheory:Disk.buffer"),
    Symbol(r"\lambda_i(k)", "rate at which disk $i$ sends, $k$ requests present", "1/s", "qtheory:Disk.arrivals"),
    Symbol("M_i", "requests that a closed guest keeps outstanding", "", "qtheory:Closed.outstanding"),
    Symbol("Q", "queue length: requests submitted to the devices at once", "", "qtheory:Engine.queue_length"),
    Symbol("q_i", "share of disk $i$, where slots are divided", "", "qtheory:Engine.shares"),
    Symbol("c", "servers: requests that a device serves at once", "", "qtheory:Device.servers"),
    Symbol("S,\\ F", "service time of one request, and its law", "s", "qtheory:Device.service"),
    Symbol(r"\mu(n)", "rate at which a device completes requests, $n$ present", "1/s", "qtheory:Device.rates"),
    Symbol("c_s^2", "squared coefficient of variation of $S$", "", "qtheory:Law.scv"),
    Symbol("X", "throughput", "1/s", "qtheory.solve.steady_state:SteadyState.throughput"),
    Symbol("B_i", "blocking: fraction of disk $i$'s arrivals refused", "",
           "qtheory.solve.steady_state:SteadyState.blocking"),
    Symbol("n", "requests in the system", "", "qtheory.solve.steady_state:SteadyState.in_system_pmf"),
    Symbol(r"\ell", "requests that wait in the engine's line", "", ""),
    Symbol("V_j", "workload: what server $j$ has left to do, in ascending order", "s", ""),
    Symbol("W", "work present, of all servers together", "s", ""),
    Symbol("L", "latency: from when a request is taken until it is completed", "s", ""),
    Symbol("m", "requests that a drain waits for", "", ""),
    Symbol("T", "drain time", "s", "qtheory:drain_time"),
    Symbol("D", "drain budget", "s", "qtheory:optimal_queue_length(drain_budget)"),
    Symbol("p", "probability with which a drain keeps it", "", "qtheory:optimal_queue_length(drain_probability)"),
    Symbol(r"\varepsilon", "fraction of throughput that may be lost", "",
           "qtheory:optimal_queue_length(max_throughput_loss)"),
    Symbol(r"\alpha", "delay probability", "", "qtheory.solve.steady_state:SteadyState.delay_probability"),
    Symbol("q", "depth limit: requests taken from the rings at once", "", "qtheory:DepthLimit.limit"),
    Symbol("r", "rate limit of a disk", "1/s", "qtheory:RateLimit.rate"),
    Symbol("z", "peakedness of arrivals", "", "qtheory.stations.square_root:square_root_staffing(peakedness)"),
    Symbol(r"\delta", "turnaround: how much longer than its service a slot is held", "s",
           "qtheory.sizing.closed_forms:own_share(turnaround)"),
)  # fmt: skip


def exists(name: str) -> bool:
    """Whether the library has this name.

    >>> exists("qtheory:Disk.buffer"), exists("qtheory:drain_time(throttle)"), exists("qtheory:Disk.bufer")
    (True, True, False)
    """
    module, _, rest = name.rstrip(")").partition(":")
    path, _, argument = rest.partition("(")
    found: object = importlib.import_module(module)
    for part in path.split("."):
        if is_dataclass(found) and part in {field.name for field in fields(found)}:
            return not argument
        if not hasattr(found, part):
            return False
        found = getattr(found, part)
    return not argument or (callable(found) and argument in inspect.signature(found).parameters)


def notation() -> str:
    """The table, in LaTeX; of an argument its name."""
    body = []
    symbols = [symbol.symbol for symbol in NOTATION]
    for symbol in {symbol for symbol in symbols if symbols.count(symbol) > 1}:
        raise ValueError(f"the table of notation has {symbol} twice")
    for symbol, meaning, unit, name in NOTATION:
        if name and not exists(name):
            raise NameError(f"the table of notation has {name}, which the library does not have")
        shown = re.split("[:(]", name.rstrip(")"))[-1].replace("_", "\\_")
        body.append([f"${symbol}$", meaning, unit, rf"\code{{{shown}}}" if name else ""])
    return tabular("llll", ["symbol", "meaning", "unit", "in the library"], body)
