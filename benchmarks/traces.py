"""What going through a trace larger than memory costs, beside polars on the same file, and how much memory it takes.

The trace is in the project's own CSV, of ROWS rows, made in a temporary folder. The limit is that polars counts the
rows of the CSV; it counts its line ends, and reads it with known types, too. Memory is what a process had resident at
most, after a tenth of the rows and then after all of them.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl

import qtheory as qt
from benchmarks.measure import Contender, Row, here, race, resident
from benchmarks.memory import MIB, grown
from qtheory.traces import own, scan_trace

ROWS = 3_000_000
AT_ONCE = 1_000_000
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


def summarize(path: str) -> int:
    """How many requests the summary has."""
    return scan_trace(path).summary().total.requests


def replay(path: str) -> None:
    device = qt.Device(servers=8, service=qt.Exponential(mean=4e-4))
    qt.simulate(qt.Engine([qt.Disk(qt.Poisson(1.0))] * len(DISKS), device), trace=scan_trace(path))


def rows() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        path, first = Path(folder, "trace.csv"), Path(folder, "first.csv")
        own.write(path, frames(ROWS), 0.0, [])
        with open(path, "rb") as whole:
            first.write_bytes(b"".join(islice(whole, ROWS // 10)))
        works: dict[str, Callable[[], int]] = {
            "polars counts rows": lambda: pl.scan_csv(path, comment_prefix="#").select(pl.len()).collect().item(),
            "polars counts lines": lambda: pl.scan_csv(path, skip_rows=1).select(pl.len()).collect().item(),
            "polars reads": lambda: pl.read_csv(path, comment_prefix="#", schema=TYPES).height,
            "qtheory": lambda: summarize(str(path)),
        }
        contenders = [Contender(name, here(lambda k, w=work: float(w()))) for name, work in works.items()]
        case = f"CSV, {ROWS} rows, summary"
        yield from race("trace", case, contenders, exact=ROWS, limit="polars counts rows", rounds=2)
        for work in ("summarize", "replay"):
            tenth, whole_trace = grown("benchmarks.traces", work, first, path)
            note = f"{ROWS} rows, beyond {tenth / MIB:.0f} MiB after a tenth of them"
            yield Row("peak memory", f"trace, {work}", "qtheory", peak_mib=(whole_trace - tenth) / MIB, note=note)


if __name__ == "__main__":
    for trace in sys.argv[2:]:
        (summarize if sys.argv[1] == "summarize" else replay)(trace)
        print(resident())
