"""How far the package goes, and in what memory: python -m validation.scale [RUN [TRACE]]

* Engines of 10 000 equal and of 1000 different disks: each question is answered, or refused in one line, within a
  minute of processor time. `off` is the largest relative error of what every answer must keep: the disks' throughputs
  add up, and Little's law, but where a run says itself that it is not stationary.
* Runs of up to RUN requests (10⁹), each in a process of its own; `off` is how many half-widths the mean wait is from
  the exact one.
* Traces of up to TRACE requests (10⁸; 4.8 GB), read in passing and replayed, made in a temporary folder.

Memory is the most that the process had resident. The table, results/scale.csv, grows cell by cell: remove it to begin
anew. Exits with status 1 when a question took longer, when an answer is off, or when the memory of the largest run or
trace is over that of one a hundred times smaller by half.
"""

from __future__ import annotations

import itertools
import math
import multiprocessing
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import qtheory as qt
from benchmarks.measure import resident
from validation import tables

RESULT = tables.RESULTS / "scale.csv"
COLUMNS = "cell,answer,resident_mb,off"
RUN, TRACE, SMALLEST = 10**9, 10**8, 10**6
REQUESTS = 100_000
MINUTE = 60
MEAN = 400e-6
DEVICE = qt.Device(servers=8, service=qt.Exponential(mean=MEAN))
LONG_TAIL = qt.Device(servers=8, service=qt.Hyperexponential.balanced(mean=MEAN, scv=4.0))
WIDE = qt.Device(servers=1000, service=qt.Exponential(mean=MEAN))
ALLOWED_OFF = {"solve": 1e-9, "simulate": 0.01, "run": 3.0}
ALLOWED_GROWTH = 1.5
Checked = tuple[str, float]


def engine(kind: str, n: int, *, differ: bool) -> qt.Engine:
    """An engine of this kind with n disks."""

    def between(i: int, low: float, high: float) -> float:
        return low + (high - low) * (i * 0.6180339887 % 1.0) if differ else (low + high) / 2.0

    def disk(i: int) -> qt.Disk:
        load = 0.8 * 8 / MEAN / n * between(i, 0.5, 1.5)
        buffer = int(between(i, 16, 256))
        match kind:
            case "overload":
                return qt.Disk(qt.Poisson(2.0 * load), buffer=buffer)
            case "bursty":
                return qt.Disk(qt.MMPP([2.0 * load, 0.0], [[-50.0, 50.0], [50.0, -50.0]]), buffer=buffer)
            case "closed":
                think = between(i, 0.5, 1.5) * n * 1e-3
                return qt.Disk(qt.Closed(outstanding=int(between(i, 1, 31)), think_time=think), buffer=buffer)
            case "guests wait":
                return qt.Disk(qt.Poisson(load), buffer=buffer, full="wait")
            case "own devices":
                own = qt.Device(servers=1, service=qt.Exponential(mean=between(i, 0.5e-3, 1.5e-3)))
                return qt.Disk(qt.Poisson(between(i, 200.0, 800.0)), buffer=buffer, device=own)
            case "c = 1000, K = 1024":
                return qt.Disk(qt.Poisson(load * 1000 / 8), buffer=1024)
            case _:
                return qt.Disk(qt.Poisson(load), buffer=buffer)

    disks = [disk(i) for i in range(n)] if differ else [disk(0)] * n
    if kind == "own devices":
        return qt.Engine(disks)
    if kind == "equal shares":
        return qt.Engine(disks, DEVICE, queue_length=4 * n, shares="equal")
    if kind == "c = 1000, K = 1024":
        return qt.Engine(disks, WIDE, queue_length=1024)
    return qt.Engine(disks, LONG_TAIL if kind == "phase type" else DEVICE, queue_length=64)


KINDS = (
    "exponential", "overload", "phase type", "bursty", "own devices", "equal shares", "closed", "guests wait",
    "c = 1000, K = 1024",
)  # fmt: skip


def solved(asked: qt.Engine) -> Checked:
    s = qt.solve(asked)
    return s.method, _off(s.throughput, s.mean_response, s.mean_in_system, [d.throughput for d in s.disks])


def drained(asked: qt.Engine) -> Checked:
    d = qt.drain_time(asked)
    return d.method, 0.0 if 0.0 < d.mean <= d.quantile(0.999) < math.inf else math.inf


def sized(asked: qt.Engine) -> Checked:
    z = qt.optimal_queue_length(asked, max_throughput_loss=0.01)
    return f"{z.lower} to {z.upper}", 0.0 if 1 <= z.lower <= z.upper else math.inf


def simulated(asked: qt.Engine) -> Checked:
    r = qt.simulate(asked, requests=REQUESTS, seed=1)
    each = [disk.throughput.value for disk in r.disks]
    if any("not stationary" in warning for warning in r.warnings):
        return f"{r.method}; says that it is not stationary", abs(math.fsum(each) / r.throughput.value - 1.0)
    return r.method, _off(r.throughput.value, r.mean_response.value, r.mean_in_system.value, each)


QUESTIONS = {"solve": solved, "drain": drained, "size": sized, "simulate": simulated}


def _off(throughput: float, response: float, present: float, each: list[float]) -> float:
    return max(abs(math.fsum(each) / throughput - 1.0), abs(throughput * response / present - 1.0))


def run(requests: int) -> Checked:
    """A run of so many requests against the exact answer."""
    asked = qt.Engine([qt.Disk(qt.Poisson(2000.0), buffer=64)] * 8, DEVICE, queue_length=64)
    wait = qt.simulate(asked, requests=requests, seed=1).mean_wait
    off = abs(wait.value - qt.solve(asked).mean_wait) / wait.half_width
    return f"half-width {wait.half_width / wait.value:.1g} of the mean wait", off


def read(path: Path) -> Checked:
    """The summary of a trace."""
    qt.scan_trace(path).summary()
    return "summary", 0.0


def replayed(path: Path) -> Checked:
    """A trace replayed from its file."""
    trace = qt.scan_trace(path)
    asked = qt.Engine([qt.Disk(qt.Poisson(1.0))] * len(trace.disks), DEVICE)
    return f"{qt.simulate(asked, trace=trace).requests} requests", 0.0


def made(path: Path, rows: int) -> None:
    """A trace of so many rows."""
    from benchmarks.traces import frames
    from qtheory.traces import own, parquet

    (own if path.suffix == ".csv" else parquet).write(path, frames(rows), 0.0, [])


def _child(
    work: Callable[..., Checked], arguments: tuple[object, ...], seconds: int | None, answer: Connection
) -> None:
    if seconds is not None:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    try:
        found, off = work(*arguments)
    except ValueError as error:
        found, off = "refused: " + str(error).split(":")[0].split("(")[0].strip(), 0.0
    answer.send((found, resident() >> 20, off))


def measured(work: Callable[..., Checked], *arguments: object, seconds: int | None = None) -> tuple[str, int, float]:
    """Its answer, the most it had resident [MB], and how far it is off, in a process of its own."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(work, arguments, seconds, there))
    process.start()
    there.close()
    try:
        return here.recv()
    except EOFError:
        return "ended: too long", 0, math.inf
    finally:
        process.join()


def cells(largest_run: int, largest_trace: int) -> Iterator[tuple[str, Callable[[], list[list[str]]]]]:
    """All cells: a name, and what makes their row."""

    def cell(name: str, work: Callable[..., Checked], *arguments: object, seconds: int | None = None):  # type: ignore[no-untyped-def]
        def row() -> list[list[str]]:
            answer, resident, off = measured(work, *arguments, seconds=seconds)
            return [[name, answer, str(resident), f"{off:.2g}"]]

        return name, row

    for (n, differ), kind in itertools.product(((10_000, False), (1000, True)), KINDS):
        asked = engine(kind, n, differ=differ)
        for question, work in QUESTIONS.items():
            yield cell(f"{question}: {n} {'different' if differ else 'equal'}: {kind}", work, asked, seconds=MINUTE)
    for size in sizes(largest_run):
        yield cell(f"run: {size}", run, size)
    for suffix, size in itertools.product(("csv", "parquet"), sizes(largest_trace)):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"trace.{suffix}")

            def trace(name: str, work: Callable[..., Checked], path: Path = path, size: int = size):  # type: ignore[no-untyped-def]
                def row() -> list[list[str]]:
                    if not path.exists():
                        # not here: a fork beside the threads of polars hangs
                        maker = multiprocessing.get_context("fork").Process(target=made, args=(path, size))
                        maker.start()
                        maker.join()
                    return cell(name, work, path)[1]()

                return name, row

            yield trace(f"read {suffix}: {size}", read)
            yield trace(f"replay {suffix}: {size}", replayed)


def sizes(largest: int) -> Iterator[int]:
    size = SMALLEST
    while size <= largest:
        yield size
        size *= 10


def failures(rows: list[dict[str, str]]) -> list[str]:
    """What is not as it should be."""
    found = []
    memory: dict[str, dict[int, int]] = {}
    for row in rows:
        kind, _, rest = row["cell"].partition(": ")
        if float(row["off"]) > ALLOWED_OFF.get(kind, 0.0):
            found.append(f"{row['cell']}: off by {row['off']} ({row['answer']})")
        if rest.isdigit():
            memory.setdefault(kind, {})[int(rest)] = int(row["resident_mb"])
    for kind, by_size in memory.items():
        for size, most in by_size.items():
            if size // 100 in by_size and most > ALLOWED_GROWTH * by_size[size // 100]:
                found.append(f"{kind}: {most} MB at {size}, {by_size[size // 100]} MB at {size // 100}")
    return found


def main() -> None:
    largest_run, largest_trace = (int(float(a)) for a in (sys.argv[1:] + [str(RUN), str(TRACE)][len(sys.argv) - 1 :]))
    for rows in tables.grown(RESULT, COLUMNS, cells(largest_run, largest_trace), math.inf):
        print(*rows[0], sep="; ", flush=True)
    wrong = failures(tables.read(RESULT))
    if wrong:
        print("\n".join(wrong), file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
