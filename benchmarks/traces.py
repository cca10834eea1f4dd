"""How fast a trace larger than memory is gone through, as ratios measured in one run: `python -m benchmarks.traces`.

The trace is in the project's own CSV, of as many rows as the argument says (10⁷ by default, 0.5 GB), made in a
temporary folder. The yardsticks are polars: counting the rows of the CSV, counting its line ends, and reading it with
known types. All are taken in turn, and the best of several repeats counts for each; absolute times are those of one
machine on one day and are not shown. Memory is the most that a process of its own had resident, first after a tenth of
the rows and then after all of them (as Linux tells it: what `resource` has includes the process that started it).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl

import qtheory as qt
from qtheory.traces import own, scan_trace

ROWS = 10_000_000
AT_ONCE = 1_000_000
REPEATS = 3
DISKS = ("vda", "vdb", "vdc", "vdd")
RATE = 10_000.0
TYPES = {
    "arrival": pl.Float64,
    "disk": pl.String,
    "op": pl.String,
    "offset": pl.Int64,
    "size": pl.Int64,
    "response": pl.Float64,
}


def frames(rows: int) -> Iterator[pl.DataFrame]:
    """Poisson arrivals on four disks, in whole microseconds, with lognormal responses."""
    draw, last = np.random.default_rng(1), 0.0
    for begin in range(0, rows, AT_ONCE):
        n = min(AT_ONCE, rows - begin)
        arrival = last + np.cumsum(draw.exponential(1.0 / RATE, n))
        last = arrival[-1]
        yield pl.DataFrame(
            {
                "arrival": arrival.round(6),
                "disk": pl.Series(DISKS).gather(draw.integers(0, len(DISKS), n)),
                "op": pl.Series(["read", "write"]).gather(draw.integers(0, 2, n)),
                "offset": draw.integers(0, 1 << 25, n) * 4096,
                "size": draw.choice([4096, 8192, 16384, 65536], n),
                "response": draw.lognormal(-8.0, 0.6, n).round(6),
            }
        )


def summarize(path: str) -> None:
    scan_trace(path).summary()


def replay(path: str) -> None:
    device = qt.Device(servers=8, service=qt.Exponential(mean=4e-4))
    qt.simulate(qt.Engine([qt.Disk(qt.Poisson(1.0))] * len(DISKS), device), trace=scan_trace(path))


def memory(work: str, path: Path, first: Path) -> tuple[int, int]:
    """Bytes that a new process had resident at most, with the first rows and then with all."""
    told = subprocess.run(
        [sys.executable, "-m", "benchmarks.traces", work, first, path], check=True, capture_output=True, text=True
    )
    few, all_rows = map(int, told.stdout.split())
    return few, all_rows


def main(rows: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, first = Path(folder, "trace.csv"), Path(folder, "first.csv")
        own.write(path, frames(rows), 0.0, [])
        with open(path, "rb") as whole:
            first.write_bytes(b"".join(islice(whole, rows // 10)))
        yardsticks: dict[str, Callable[[], object]] = {
            "polars counts rows": lambda: pl.scan_csv(path, comment_prefix="#").select(pl.len()).collect(),
            "polars counts lines": lambda: pl.scan_csv(path, skip_rows=1).select(pl.len()).collect(),
            "polars reads": lambda: pl.read_csv(path, comment_prefix="#", schema=TYPES).height,
        }
        works = {"summary": lambda: summarize(str(path)), **yardsticks}
        summarize(str(first))  # compiles
        took = dict.fromkeys(works, np.inf)
        for _ in range(REPEATS):
            for name, work in works.items():
                began = time.perf_counter()
                work()
                took[name] = min(took[name], time.perf_counter() - began)
        print(f"{rows} rows; time of a summary, as ratios")
        for name in yardsticks:
            print(f"{'to ' + name:<30}{took['summary'] / took[name]:>10.3g}")
        print(f"resident memory at most [GB]{'a tenth':>12}{'all':>10}")
        for work in ("summarize", "replay"):
            few, all_rows = memory(work, path, first)
            print(f"{work:<28}{few / 1e9:>12.3g}{all_rows / 1e9:>10.3g}")


def resident() -> int:
    """Bytes that this process had resident at most."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024


if __name__ == "__main__":
    if sys.argv[1:2] in (["summarize"], ["replay"]):
        for trace in sys.argv[2:]:
            (summarize if sys.argv[1] == "summarize" else replay)(trace)
            print(resident())
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS)
