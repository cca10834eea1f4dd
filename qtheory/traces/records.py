"""From a reader's typed rows to a `Trace`: the checks that every format shares, the order, the zero of time.

A reader hands over frames with the columns

    line, row       where the record stands, for errors
    arrival         Float64 [s], or Int64 ticks where the format has them: epochs need more digits than a float has
    disk            String
    op              String, one of OPERATIONS
    offset, size    Int64 [bytes], null: not recorded                    (optional columns)
    response        Float64 [s], null: not recorded                      (optional column)
    service         Float64 [s], null: not recorded                      (optional column)

A response (or service) time is recorded for all requests or for none: a row without one, where others have it, is a
bad row. Means over the recorded half would be about other requests than the rates.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from qtheory.traces.file import TraceFile
from qtheory.traces.trace import LONGEST, NOT_IN_NAMES, OPERATIONS, Trace

if TYPE_CHECKING:
    import polars as pl


def gather(file: TraceFile, frames: Iterable[pl.DataFrame], *, ticks_per_second: int = 1) -> Trace:
    """The trace of all records; its clock starts at the first arrival, its disks are in the order of their names.

    Raises TraceError for a bad row that is not to be skipped, and when no record is left.
    """
    import polars as pl

    names: dict[str, int] = {}
    kept = []
    for frame in frames:
        good = file.sift(frame, _rules(frame, ticks_per_second))
        for name in good["disk"].unique(maintain_order=True):
            names.setdefault(name, len(names))
        kept.append(_compact(good, names))
    records = pl.concat(kept) if kept else pl.DataFrame()
    for name in ("response", "service"):
        if name in records.columns and 0 < records[name].null_count() < len(records):
            missing = f"{name} is not recorded here, but in other rows: it must be in all or in none"
            records = file.sift(records, {missing: pl.col(name).is_not_null()})
    if records.is_empty():
        raise file.error("; ".join(("there are no requests in it", *file.warnings)))

    arrival = records["arrival"].to_numpy()
    late = int(np.count_nonzero(arrival < np.maximum.accumulate(arrival)))
    if late:
        file.warn_of(late, "record", "out of order, sorted by arrival")
        records = records.sort("arrival", maintain_order=True)
        arrival = records["arrival"].to_numpy()
    present = set(records["disk"].unique())
    disks = sorted((name for name, number in names.items() if number in present), key=_natural)
    places = {names[name]: place for place, name in enumerate(disks)}
    times = {
        name: records[name].to_numpy()
        for name in ("response", "service")
        if name in records.columns and not records[name].null_count()
    }
    return Trace(
        arrival=(arrival - arrival[0]) / ticks_per_second,
        disk=records["disk"].replace_strict(places).to_numpy(),
        disks=disks,
        op=records["op"].to_numpy(),
        offset=records["offset"].to_numpy(),
        size=records["size"].to_numpy(),
        **times,
        source=file.path,
        comments=[comment.replace("\r", " ") for comment in file.comments],  # one line each
        warnings=file.warnings,
    )


def _natural(name: str) -> list[tuple[int, str]]:
    """Key that sorts disk2 before disk10: every second part is digits, of which the longer are the larger."""
    return [(len(part) * (i % 2), part) for i, part in enumerate(re.split("0*([0-9]+)", name))]


def _rules(frame: pl.DataFrame, ticks_per_second: int) -> dict[str, pl.Expr]:
    """What every record must keep, whatever its format."""
    import polars as pl

    arrival = pl.col("arrival")
    rules = {
        "arrival is empty": arrival.is_not_null(),
        "arrival must be finite": arrival.is_finite(),
        "arrival must not be negative": arrival >= 0,
        f"arrival must be below {LONGEST:.0e} s, or its unit is wrong": arrival < LONGEST * ticks_per_second,
        "disk is empty": pl.col("disk") != "",
        "disk's name must not hold commas, quotes or line ends": ~pl.col("disk").str.contains(NOT_IN_NAMES),
        f"op must be one of {', '.join(OPERATIONS)}": pl.col("op").is_in(OPERATIONS),
    }
    for name in ("offset", "size"):
        if name in frame.columns:
            rules[f"{name} must not be negative"] = pl.col(name).is_null() | (pl.col(name) >= 0)
    for name in ("response", "service"):
        if name in frame.columns:
            time = pl.col(name)
            rules[f"{name} must be finite"] = time.is_null() | time.is_finite()
            rules[f"{name} must not be negative"] = time.is_null() | (time >= 0)
            rules[f"{name} must be below {LONGEST:.0e} s, or its unit is wrong"] = time.is_null() | (time < LONGEST)
    return rules


def _compact(records: pl.DataFrame, names: dict[str, int]) -> pl.DataFrame:
    """Records as numbers; of the text only the rows that may still turn out bad."""
    import polars as pl

    times = [name for name in ("response", "service") if name in records.columns]
    unsure = pl.any_horizontal(pl.col(name).is_null() for name in times) if times else pl.lit(False)
    whole = [
        (pl.col(name).fill_null(-1) if name in records.columns else pl.lit(-1)).cast(pl.Int64).alias(name)
        for name in ("offset", "size")
    ]
    return records.select(
        "line",
        pl.when(unsure).then("row").alias("row"),
        "arrival",
        pl.col("disk").replace_strict(names, return_dtype=pl.Int64),
        pl.col("op").replace_strict({op: i for i, op in enumerate(OPERATIONS)}, return_dtype=pl.Int8),
        *whole,
        *times,
    )
