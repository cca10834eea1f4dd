"""How the costs of solving, draining and finding the optimum grow with disks N, buffers K and servers c.

Slopes of log cost over log size: 1 is in proportion, 0 not at all. The other two of N, K, c stay at BASE; alike disks
are solved as one kind, disks that all differ are not. Each call has another rate than the last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import qtheory as qt
from benchmarks.measure import SOON, Row, Run, here, scaling

BASE = {"N": 16, "K": 64, "c": 8}
SIZES = {"N": (16, 64, 256, 1024), "K": (16, 64, 256, 1024), "c": (2, 8, 32, 128)}
FEWER = {"N": (8, 16, 32, 64), "K": (16, 64, 256, 1024), "c": (2, 8, 32, 128)}
MEAN, LOAD, SPREAD = 1e-3, 0.9, 1.0

EXPONENTIAL = qt.Exponential(mean=MEAN)
HYPEREXPONENTIAL = qt.Hyperexponential.balanced(mean=MEAN, scv=4.0)
Question = Callable[[qt.Engine], float]


def solved(engine: qt.Engine) -> float:
    return qt.solve(engine).throughput


def drained(engine: qt.Engine) -> float:
    return qt.drain_time(engine).mean


def drained_surely(engine: qt.Engine) -> float:
    return qt.drain_time(engine).quantile(0.99)


def best(engine: qt.Engine) -> float:
    return float(qt.optimal_queue_length(engine, max_throughput_loss=0.05).queue_length or 0)


def engine(law: qt.laws.Law, different: bool, more: float, N: int, K: int, c: int) -> qt.Engine:
    """N disks of buffer K before c servers at LOAD; different ones have rates up to 1 + SPREAD apart."""
    weights = [1.0 + SPREAD * i / N if different else 1.0 for i in range(N)]
    rate = LOAD * (1.0 + more) * c / MEAN / sum(weights)
    disks = (
        [qt.Disk(qt.Poisson(rate * w), buffer=K) for w in weights]
        if different
        else [qt.Disk(qt.Poisson(rate), buffer=K)] * N
    )
    return qt.Engine(disks, qt.Device(c, law), hold="ring")


def run(asked: int, sizes: dict[str, int]) -> Run:
    """One of ASKED; no other has an engine like its, so that nothing found for one serves another."""
    _, question, law, different = ASKED[asked]
    return here(lambda k: question(engine(law, different, SOON * (k + asked / len(ASKED)), **sizes)))


ASKED = (
    ("solve, exponential", solved, EXPONENTIAL, False),
    ("solve, exponential, all disks different", solved, EXPONENTIAL, True),
    ("solve, H2", solved, HYPEREXPONENTIAL, False),
    ("mean drain, exponential", drained, EXPONENTIAL, False),
    ("mean drain, H2", drained, HYPEREXPONENTIAL, False),
    ("drain, 99 %, H2", drained_surely, HYPEREXPONENTIAL, False),
    ("optimal queue length, exponential", best, EXPONENTIAL, False),
)


def rows() -> Iterator[Row]:
    for asked, (case, _, _, different) in enumerate(ASKED):
        for letter, sizes in (FEWER if different else SIZES).items():
            runs = [run(asked, BASE | {letter: n}) for n in sizes]
            yield scaling("scaling", f"{case}, with {letter}", sizes, runs, rounds=2)
