"""What an optimal queue length costs beside one solution at it: `python -m benchmarks.sizing`.

64 disks, K = 256. A search needs some solutions at other queue lengths, the engine without a limit among them, and
those just short of the load are the longest lines. Processor times of a warmed-up process, the best of REPEATS, each
with a rate that was not seen before; the ratio is what compares between machines. At last a curve to 256 disks.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator

import qtheory as qt
from qtheory.laws import Law
from qtheory.sizing.sweep import with_queue_length

DISKS, BUFFER, MEAN, LOAD = 64, 256, 1e-3, 0.9
REPEATS = 3
COUNTS = (1, 4, 16, 64, 256)
SOON = 1e-3
"""By how much the rate changes from one repeat to the next, a part of it."""
LAWS: dict[str, Law] = {
    "exponential": qt.Exponential(mean=MEAN),
    "hyperexponential": qt.Hyperexponential.balanced(mean=MEAN, scv=4.0),
    "Erlang of 4": qt.Erlang(phases=4, mean=MEAN),
    "constant": qt.Deterministic(MEAN),
}
LOSS = {"max_throughput_loss": 0.05}
DRAIN = LOSS | {"drain_budget": 0.05}

Engines = Iterator[qt.Engine]


def seconds(run: Callable[[], object]) -> float:
    began = time.process_time()
    run()
    return time.process_time() - began


def shared(law: Law, servers: int) -> Engines:
    """One device that all share."""
    for k in itertools.count():
        disk = qt.Disk(qt.Poisson(LOAD * (1.0 + k * SOON) * servers / MEAN / DISKS), buffer=BUFFER)
        yield qt.Engine([disk] * DISKS, qt.Device(servers, law), hold="ring")


def own(servers: int) -> Engines:
    """A device each behind one line, saturated."""
    for k in itertools.count():
        device = qt.Device(servers, qt.Exponential(mean=MEAN * (1.0 + k * SOON)))
        yield qt.Engine([qt.Disk(qt.Closed(BUFFER), buffer=BUFFER, device=device)] * DISKS, hold="ring")


def popped() -> Engines:
    """A rate curve, and a drain that waits for all that was popped: no queue length meets a budget."""
    rates = tuple(1e3 * min(n, 32) ** 0.8 for n in range(1, DISKS + 1))
    for k in itertools.count():
        disk = qt.Disk(qt.Poisson(200.0 * (1.0 + k * SOON)), buffer=BUFFER)
        yield qt.Engine([disk] * DISKS, qt.Device(curve=rates))


def compare(name: str, engines: Engines, limits: dict[str, float]) -> None:
    """Print what the optimum of one of these costs, and how many solutions that is."""
    qt.optimal_queue_length(next(engines), **limits)  # type: ignore[arg-type]
    spent, alone = [], []
    for engine in itertools.islice(engines, REPEATS):
        found: list[qt.OptimalQueueLength] = []
        spent.append(seconds(lambda e=engine, f=found: f.append(qt.optimal_queue_length(e, **limits))))  # type: ignore
        one = with_queue_length(next(engines), found[0].queue_length or found[0].upper)
        alone.append(seconds(lambda e=one: qt.solve(e)))  # type: ignore[misc]
    print(f"{name:<44}{min(spent):8.2f} s{min(spent) / min(alone):8.1f} solutions at it")


def main() -> None:
    for (name, law), servers in itertools.product(LAWS.items(), (4, 64)):
        for limits in (LOSS, DRAIN) if servers == 4 else (LOSS,):
            asked = "loss and drain" if "drain_budget" in limits else "loss"
            compare(f"{name}, {servers} servers, {asked}", shared(law, servers), limits)
    for servers in (1, 4):
        compare(f"a device of {servers} each, one line, loss", own(servers), LOSS)
    compare("a rate curve, drain of all popped", popped(), DRAIN | {"drain_budget": 5e-4})
    engine = next(own(1))
    print(f"curve to {COUNTS[-1]} disks, one line: {seconds(lambda: qt.sizing_curve(engine, COUNTS, **LOSS)):.1f} s")


if __name__ == "__main__":
    main()
