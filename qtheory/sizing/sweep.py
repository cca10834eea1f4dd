"""How an engine does as its queue length, or the number of disks that share it, changes.

Q, or the number of disks, runs over given values, and each is solved; `optimum.py` looks for the best.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Literal

from qtheory.arguments import count, probability
from qtheory.drain import drain_time
from qtheory.engine import Engine
from qtheory.result import Result
from qtheory.shares import Weights, follow_length
from qtheory.solve import solve


@dataclass(frozen=True, kw_only=True)
class OperatingPoint(Result):
    """One engine solved: what it does, and how long it drains; SI units.

    `disks` is their number, `throughput_loss` relative to the same engine with `queue_length=None`; `drain_quantile` is
    taken at `drain_probability`. The drain is None where its law is not known exactly; `warnings` then says why. All
    else is as in `SteadyState` and `DrainTime`.
    """

    disks: int
    queue_length: int | None
    throughput: float
    throughput_loss: float
    blocking: float
    mean_wait: float
    mean_response: float
    drain_mean: float | None
    drain_quantile: float | None
    drain_probability: float


def queue_length_sweep(
    engine: Engine, queue_lengths: Iterable[int | None], *, drain_probability: float = 0.99
) -> tuple[OperatingPoint, ...]:
    """Solve `engine` with each queue length.

    Raises ValueError for a queue length that is not at least 1, and for an engine that cannot be solved.

    Examples
    --------
    Four disks on eight servers: eight slots carry nearly all there is to carry, and more only lengthen the drain.

    >>> import qtheory as qt
    >>> disk = qt.Disk(arrivals=qt.Poisson(18.0), buffer=16)
    >>> device = qt.Device(servers=8, service=qt.Exponential(mean=0.1))
    >>> for row in qt.queue_length_sweep(qt.Engine([disk] * 4, device, hold="ring"), [4, 8, 16]):
    ...     print(f"{row.queue_length:2}  {row.throughput:.2f}/s  {row.drain_quantile * 1e3:.0f} ms")
     4  40.00/s  599 ms
     8  71.93/s  657 ms
    16  71.93/s  720 ms
    """
    engines = [with_queue_length(engine, q) for q in queue_lengths]
    unlimited = solve(with_queue_length(engine, None)).throughput
    return tuple(_point(e, unlimited, drain_probability) for e in engines)


def disk_count_sweep(
    engine: Engine, disk_counts: Iterable[int], *, drain_probability: float = 0.99
) -> tuple[OperatingPoint, ...]:
    """Solve the engine with each number of disks, its own repeated cyclically; a shared device stays as it is.

    Raises ValueError for a count that is not at least 1, and for an engine that cannot be solved.
    """
    rows = []
    for n in disk_counts:
        engine_n = with_disks(engine, n)
        unlimited = solve(with_queue_length(engine_n, None)).throughput
        rows.append(_point(engine_n, unlimited, drain_probability))
    return tuple(rows)


def with_disks(engine: Engine, disks: int, queue_length: int | Literal["same"] | None = "same") -> Engine:
    """The engine with `disks` disks, its own repeated cyclically; caps and weights are repeated with them."""
    n = count("disks", disks)
    shares = engine.shares
    if isinstance(shares, tuple):
        shares = tuple(islice(cycle(shares), n))
    elif isinstance(shares, Weights):
        shares = Weights(tuple(islice(cycle(shares.weights), n)))
    slots = engine.queue_length if queue_length == "same" else queue_length
    # Without a limit there is nothing to divide.
    shares = "fifo" if slots is None and follow_length(shares) else shares
    return Engine(tuple(islice(cycle(engine.disks), n)), engine.device, slots, engine.hold, shares)


def with_queue_length(engine: Engine, queue_length: int | None) -> Engine:
    """The engine with another queue length."""
    return with_disks(engine, len(engine.disks), queue_length)


def _point(engine: Engine, unlimited: float, drain_probability: float) -> OperatingPoint:
    probability("drain_probability", drain_probability)
    state = solve(engine)
    warnings = state.warnings
    drain_mean = drain_quantile = None
    bounds = dict(state.error_bounds)
    try:
        drain = drain_time(engine)
    except ValueError as error:
        warnings = (*warnings, str(error))
    else:
        drain_mean, drain_quantile = drain.mean, drain.quantile(drain_probability)
        bounds["drain_mean"] = drain.error_bounds["mean"]
    return OperatingPoint(
        method=state.method,
        exact=state.exact,
        error_bounds=bounds,
        warnings=warnings,
        disks=len(engine.disks),
        queue_length=engine.queue_length,
        throughput=state.throughput,
        throughput_loss=1.0 - state.throughput / unlimited,
        blocking=state.blocking,
        mean_wait=state.mean_wait,
        mean_response=state.mean_response,
        drain_mean=drain_mean,
        drain_quantile=drain_quantile,
        drain_probability=drain_probability,
    )
