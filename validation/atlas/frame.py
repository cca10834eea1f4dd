"""The measured cells as one table: a row for each quantity of each answer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from qtheory.accuracy import COORDINATES, coordinates
from qtheory.drain import depth_at_stop
from validation.atlas.cells import drawn
from validation.tables import RESULTS

SCHEMA = {
    "grid": pl.String,
    "index": pl.Int32,
    "part": pl.String,
    "method": pl.String,
    "exact": pl.Boolean,
    "refused": pl.String,
    "quantity": pl.String,
    "answer": pl.Float64,
    "error": pl.Float64,
    "half_width": pl.Float64,
    "stated": pl.Float64,
    **dict.fromkeys(COORDINATES, pl.Float32),
    **dict.fromkeys(("sharing", "arrivals", "service", "throttle", "alike", "full", "hold"), pl.String),
}
"""`error` and `half_width` are relative to the simulated value; `stated` is the bound that the answer came with."""


def frame(measured: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> pl.DataFrame:
    """The table of cells {"grid", "index"}, each with what `measure` found."""
    rows = []
    for cell, found in measured:
        at = drawn(cell["grid"], cell["index"])
        for part, throttle in (("steady", None), ("drain", at.throttle)):
            answer = found[part]
            place = coordinates(at.engine, depth_at_stop(at.engine, throttle)).tolist()
            common = {**cell, "part": part, **dict(zip(COORDINATES, place, strict=True)), **at.chosen}
            if "refused" in answer:
                rows.append({**common, "refused": answer["refused"]})
                continue
            common |= {"method": answer["method"], "exact": answer["exact"]}
            for quantity, (error, half_width, stated, value) in answer["quantities"].items():
                figures = {
                    "answer": value,
                    "error": error,
                    "half_width": half_width,
                    "stated": math.inf if stated is None else stated,
                }
                rows.append({**common, "quantity": quantity, **figures})
    return pl.DataFrame(rows, schema=SCHEMA)


def answered() -> pl.DataFrame:
    """The rows of the committed table that are a quantity of an answer, and no refusal."""
    return pl.read_parquet(RESULTS / "atlas.parquet").filter(pl.col("quantity").is_not_null())
