"""Peak memory of simulations and solutions: what a process had resident at most (as Linux tells it).

Each work runs in a process of its own, first a small one, for what imports and compiled kernels take, and then the
large one. Beside the simulation stand the arrays that a recursion over all its requests would need.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import numpy as np

import qtheory as qt
from benchmarks.measure import Row, resident
from benchmarks.scaling import BASE, EXPONENTIAL, HYPEREXPONENTIAL, best, drained_surely, engine, solved
from benchmarks.simulation import ENDLESS, SERVERS, kiefer_wolfowitz
from benchmarks.simulation import engine as station

MIB = 2.0**20


def recursion(requests: int) -> None:
    draw = np.random.default_rng(1)
    arrival = np.cumsum(draw.standard_exponential(requests))
    kiefer_wolfowitz(arrival, draw.standard_exponential(requests), np.zeros(SERVERS), ENDLESS)


def simulation(requests: int) -> None:
    qt.simulate(station(EXPONENTIAL, ENDLESS), requests)


def disks(question: Callable[[qt.Engine], float], law: qt.laws.Law, different: bool = False) -> Callable[[int], None]:
    """A question about so many disks."""
    return lambda n: print(question(engine(law, different, 0.0, **BASE | {"N": n})), file=sys.stderr)


WORKS: dict[str, tuple[Callable[[int], None], int, tuple[int, ...], str]] = {
    "bare numba recursion, M/M/8": (recursion, 10_000, (1_000_000, 10_000_000), "requests"),
    "simulate, M/M/8": (simulation, 10_000, (1_000_000, 10_000_000), "requests"),
    "solve, exponential": (disks(solved, EXPONENTIAL), 4, (64, 1024), "disks of 64"),
    "solve, exponential, all disks different": (disks(solved, EXPONENTIAL, True), 4, (64, 256), "disks of 64"),
    "solve, H2": (disks(solved, HYPEREXPONENTIAL), 4, (64, 1024), "disks of 64"),
    "drain, 99 %, H2": (disks(drained_surely, HYPEREXPONENTIAL), 4, (64, 1024), "disks of 64"),
    "optimal queue length, exponential": (disks(best, EXPONENTIAL), 4, (64, 1024), "disks of 64"),
}
"""By name: the work, the size of the small one, the sizes of the large ones, and of what."""


def grown(module: str, *arguments: object) -> list[int]:
    """What a new process that runs this module prints: bytes resident at most, after one work and the next."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    told = subprocess.run(command, check=True, capture_output=True, text=True)
    return [int(line) for line in told.stdout.split()]


def rows() -> Iterator[Row]:
    for case, (_, small, sizes, what) in WORKS.items():
        for size in sizes:
            first, last = grown("benchmarks.memory", case, small, size)
            note = f"{size} {what}, beyond {first / MIB:.0f} MiB after {small}"
            contender = "bare kernel" if "bare" in case else "qtheory"
            yield Row("peak memory", case, contender, peak_mib=(last - first) / MIB, note=note)


if __name__ == "__main__":
    for size in sys.argv[2:]:
        WORKS[sys.argv[1]][0](int(size))
        print(resident())
