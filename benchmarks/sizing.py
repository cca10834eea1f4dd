"""What an optimal queue length costs beside one solution at it, which is its limit.

64 disks, K = 256. A search needs some solutions at other queue lengths, the engine without a limit among them, and
those just short of the load are the longest lines. Each repeat has a rate that was not seen before. Where only the
loss is limited the answer is checked by two solutions: it is enough, and one less is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import qtheory as qt
from benchmarks.measure import SOON, Contender, Row, here, race
from qtheory.laws import Law
from qtheory.sizing.sweep import with_queue_length

DISKS, BUFFER, MEAN, LOAD = 64, 256, 1e-3, 0.9
LAWS: dict[str, Law] = {
    "exponential": qt.Exponential(mean=MEAN),
    "hyperexponential": qt.Hyperexponential.balanced(mean=MEAN, scv=4.0),
    "Erlang of 4": qt.Erlang(phases=4, mean=MEAN),
    "constant": qt.Deterministic(MEAN),
}
LOSS = {"max_throughput_loss": 0.05}
DRAIN = LOSS | {"drain_budget": 0.05}

Engine = Callable[[float], qt.Engine]
"""Part by which a rate is greater -> engine."""


def shared(law: Law, servers: int) -> Engine:
    """One device that all share."""

    def engine(more: float) -> qt.Engine:
        disk = qt.Disk(qt.Poisson(LOAD * (1.0 + more) * servers / MEAN / DISKS), buffer=BUFFER)
        return qt.Engine([disk] * DISKS, qt.Device(servers, law), hold="ring")

    return engine


def own(servers: int) -> Engine:
    """A device each behind one line, saturated."""

    def engine(more: float) -> qt.Engine:
        device = qt.Device(servers, qt.Exponential(mean=MEAN * (1.0 + more)))
        return qt.Engine([qt.Disk(qt.Closed(BUFFER), buffer=BUFFER, device=device)] * DISKS, hold="ring")

    return engine


def popped(more: float) -> qt.Engine:
    """A rate curve, and a drain that waits for all that was popped: no queue length meets a budget."""
    rates = tuple(1e3 * min(n, 32) ** 0.8 for n in range(1, DISKS + 1))
    disk = qt.Disk(qt.Poisson(200.0 * (1.0 + more)), buffer=BUFFER)
    return qt.Engine([disk] * DISKS, qt.Device(curve=rates))


def checked(engine: qt.Engine, length: int) -> str:
    """What solutions at the answer and one below say of it."""
    least = (1.0 - LOSS["max_throughput_loss"]) * qt.solve(engine).throughput
    try:
        enough = [qt.solve(with_queue_length(engine, q)).throughput >= least for q in (length - 1, length)]
    except ValueError:
        return "one less is not solved"
    return "one less is too few" if enough == [False, True] else f"WRONG: one less, and this, enough: {enough}"


def compare(case: str, engine: Engine, limits: dict[str, float]) -> list[Row]:
    """The optimum beside a solution at it."""
    found = qt.optimal_queue_length(engine(0.0), **limits)  # type: ignore[arg-type]
    length = found.queue_length or found.upper
    note = f"{length} of {DISKS * BUFFER}"
    if limits is LOSS:
        note += f", {checked(engine(0.0), length)}"

    def optimum(k: int) -> float:
        qt.optimal_queue_length(engine(SOON * k), **limits)  # type: ignore[arg-type]
        return math.nan

    def solution(k: int) -> float:
        qt.solve(with_queue_length(engine(SOON * (k + 0.5)), length))
        return math.nan

    contenders = [Contender("one solution at it", here(solution)), Contender("qtheory", here(optimum), note=note)]
    return race("optimal queue length", case, contenders, limit="one solution at it", rounds=2)


def rows() -> Iterator[Row]:
    for name, law in LAWS.items():
        for servers, limits in ((4, LOSS), (4, DRAIN), (64, LOSS)):
            asked = "loss and drain" if "drain_budget" in limits else "loss"
            yield from compare(f"{name}, {servers} servers, {asked}", shared(law, servers), limits)
    for servers in (1, 4):
        yield from compare(f"a device of {servers} each, one line, loss", own(servers), LOSS)
    yield from compare("a rate curve, drain of all popped", popped, DRAIN | {"drain_budget": 5e-4})
