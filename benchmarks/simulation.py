"""How fast the simulator is, as ratios measured in one run: `python -m benchmarks.simulation`.

M/M/8 at load 0.8 from four disks with buffers of 64. The yardstick is the bare Kiefer–Wolfowitz recursion compiled by
numba: no disks, no buffers, no drain, arrays drawn beforehand. The best of several repeats counts for each; absolute
times are those of one machine on one day and are not shown.
"""

from __future__ import annotations

import importlib.util
import random
import time
from collections.abc import Callable

import numpy as np
from numba import njit

import qtheory as qt
from qtheory.simulate import simulate
from qtheory.simulate.draws import Draws
from qtheory.simulate.events import EventRun
from qtheory.simulate.fcfs import UNLIMITED, serve
from qtheory.simulate.tally import Tally

SERVERS, LOAD, DISKS, BUFFER = 8, 0.8, 4, 64
SLOW_REQUESTS = 20_000
REQUESTS = 1_000_000


@njit(cache=True)
def kiefer_wolfowitz(arrival, service, free, start):
    """Start of each service at servers that become free at the times in `free`, kept sorted."""
    for k in range(len(arrival)):
        begins = max(arrival[k], free[0])
        start[k] = begins
        ends = begins + service[k]
        i = 0
        while i + 1 < len(free) and free[i + 1] < ends:
            free[i] = free[i + 1]
            i += 1
        free[i] = ends


def engine(shares="fifo", disks=DISKS) -> qt.Engine:
    disk = qt.Disk(qt.Poisson(SERVERS * LOAD / disks), buffer=BUFFER * DISKS // disks)
    return qt.Engine([disk] * disks, qt.Device(servers=SERVERS, service=qt.Exponential(1.0)), shares=shares)


def best(work: Callable[[], int], repeats: int) -> float:
    """Most requests per second of some repeats, after one that compiles."""
    work()
    speeds = []
    for _ in range(repeats):
        began = time.perf_counter()
        requests = work()
        speeds.append(requests / (time.perf_counter() - began))
    return max(speeds)


def bare_and_fast() -> tuple[float, float]:
    """Both recursions over the same arrays, too long for the processor to learn their branches by heart."""
    arrivals = Draws(engine(), 1).open(REQUESTS)
    start, completion, drain = (np.empty(REQUESTS) for _ in range(3))

    def bare() -> int:
        kiefer_wolfowitz(arrivals.time, arrivals.service, np.zeros(SERVERS), start)
        return REQUESTS

    size = REQUESTS + SERVERS + DISKS * BUFFER + 1
    departure, owner, peak = np.full(size, -np.inf), np.zeros(size, np.int32), np.full(size, -np.inf)
    buffer = np.full(DISKS, BUFFER, np.uint64)

    def fast() -> int:
        count = np.zeros(DISKS, np.uint64)
        serve(
            *arrivals, SERVERS, UNLIMITED, UNLIMITED, False, buffer, count, departure, owner, peak, SERVERS, start,
            completion, drain,
        )  # fmt: skip
        return REQUESTS

    bare()
    expected = start.copy()
    fast()
    assert np.allclose(start, expected), "the two recursions disagree"
    return best(bare, 20), best(fast, 20)


def event_kernel() -> int:
    """The event kernel on the same engine, its draws and books included."""
    run, tally = EventRun(engine(), Draws(engine(), 1)), Tally(engine(), REQUESTS // 2)
    done = 0
    while done < REQUESTS // 2:
        done += run.advance(REQUESTS // 2 - done, tally)
    return done


def with_simpy() -> int:
    import simpy

    draw = random.Random(1)
    env = simpy.Environment()
    servers = simpy.Resource(env, SERVERS)
    waits = []

    def request():
        came = env.now
        with servers.request() as turn:
            yield turn
            waits.append(env.now - came)
            yield env.timeout(draw.expovariate(1.0))

    def source():
        for _ in range(SLOW_REQUESTS):
            yield env.timeout(draw.expovariate(SERVERS * LOAD))
            env.process(request())

    env.process(source())
    env.run()
    return len(waits)


def with_ciw() -> int:
    import ciw

    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Exponential(SERVERS * LOAD)],
        service_distributions=[ciw.dists.Exponential(1.0)],
        number_of_servers=[SERVERS],
    )
    ciw.seed(1)
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_customers(SLOW_REQUESTS)
    return SLOW_REQUESTS


def main() -> None:
    bare, fast = bare_and_fast()
    rows = [
        ("Kiefer–Wolfowitz, numba, bare recursion", bare),
        ("fcfs kernel, disks with buffers, drains", fast),
        ("simulate, end to end (10⁷ requests)", best(lambda: simulate(engine(), 10 * REQUESTS).requests, 4)),
        ("simulate, end to end (10⁶ requests)", best(lambda: simulate(engine(), REQUESTS).requests, 10)),
        ("the same with one disk (10⁷ requests)", best(lambda: simulate(engine(disks=1), 10 * REQUESTS).requests, 4)),
        ("event kernel, draws and books included", best(event_kernel, 3)),
        (
            "simulate on the event kernel (10⁶ requests)",
            best(lambda: simulate(engine((SERVERS * BUFFER,) * DISKS), REQUESTS).requests, 2),
        ),
    ]
    slow = {}
    for name, work in (("SimPy", with_simpy), ("Ciw", with_ciw)):
        if importlib.util.find_spec(name.lower()) is None:
            print(f"{name} is not installed: skipped")
        else:
            slow[name] = best(work, 2)
    print(f"{'requests per second, as ratios':<46}" + "".join(f"{f'to {name}':>12}" for name in ("bare KW", *slow)))
    for name, speed in [*rows, *slow.items()]:
        print(f"{name:<46}{speed / bare:>12.3g}" + "".join(f"{speed / other:>12.3g}" for other in slow.values()))


if __name__ == "__main__":
    main()
