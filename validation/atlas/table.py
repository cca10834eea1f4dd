"""The table that ships: python -m validation.atlas.table

Of the cells of the grid "set", those that a method answers are divided into neighbourhoods, again and again in two, at
the coordinate and the place that lower the sum over all errors of the logarithm of their bound most; until there are
MOST neighbourhoods, or none can be divided into parts of LEAST cells. Written to qtheory/accuracy/atlas.json; what it
means is said in `qtheory/accuracy`. How good it is, the grid "held out" says: `report.py`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

import qtheory
from qtheory.accuracy import COORDINATES
from validation.atlas.frame import answered

TABLE = Path(qtheory.__file__).parent / "accuracy" / "atlas.json"
VERSION = 1
LEVEL = 0.95
LEAST, MOST = 25, 40
"""By four parts of the grid "set", each held out in turn: 15 cells made 92 % of the bounds hold, 25 93 %, 60 94 %, with
median bounds 2.6, 2.9 and 4.1 times the median error."""
FEWEST = 25
"""Cells of a method below which nothing is said of it."""
PLACES = np.linspace(0.05, 0.95, 13)
"""Quantiles of a coordinate at which to divide."""
SMALLEST = 1e-4
"""Errors below count as this."""
MARGIN = 0.01
"""How far beyond the cells' own range of a coordinate a method's range reaches."""

Floats = NDArray[np.float64]


class Cells(NamedTuple):
    """Errors of a method: the number of each error's cell, where it stands, the logarithm of its size."""

    number: NDArray[np.int64]
    places: Floats
    sizes: Floats

    def part(self, which: NDArray[np.bool_]) -> Cells:
        return Cells(self.number[which], self.places[which], self.sizes[which])

    @property
    def bound(self) -> float:
        """The size that the next error exceeds with probability 1 − LEVEL at most."""
        n = len(self.sizes)
        return float(np.sort(self.sizes)[min(math.ceil(LEVEL * (n + 1)), n) - 1])

    @property
    def count(self) -> int:
        return len(np.unique(self.number))


class Split(NamedTuple):
    """Where cells are divided, and by how much that lowers the sum of the logarithms of their bounds."""

    gain: float
    coordinate: int
    at: float


def table(answers: pl.DataFrame) -> dict[str, Any]:
    """What ships, from the measured answers of a grid."""
    size = pl.max_horizontal(pl.col("error").abs(), SMALLEST).log()
    errors = answers.filter(~pl.col("exact")).with_columns(size.alias("size"))
    methods = {}
    for (part, method), found in sorted(errors.group_by("part", "method")):
        if found["index"].n_unique() >= FEWEST:
            methods[f"{part}/{method}"] = _of_method(found)
    return {"version": VERSION, "level": LEVEL, "cells": answers["index"].n_unique(), "methods": methods}


def _of_method(errors: pl.DataFrame) -> dict[str, Any]:
    typical = errors.group_by("quantity").agg(pl.col("size").median().alias("typical")).sort("quantity")
    errors = errors.join(typical, on="quantity", maintain_order="left")
    places = errors.select(COORDINATES).to_numpy().astype(float)
    cells = Cells(errors["index"].to_numpy(), places, (errors["size"] - errors["typical"]).to_numpy())
    return {
        "cells": cells.count,
        "range": {
            name: [round(float(x.min()) - MARGIN, 3), round(float(x.max()) + MARGIN, 3)]
            for name, x in zip(COORDINATES, places.T, strict=True)
        },
        "typical": {name: _rounded(math.exp(x)) for name, x in typical.iter_rows()},
        "tree": grown(cells),
    }


def grown(cells: Cells) -> dict[str, Any]:
    """The tree of neighbourhoods: the leaf or the division whose gain is largest is divided next."""
    root: dict[str, Any] = {}
    leaves = [(root, cells, best(cells))]
    while len(leaves) < MOST:
        node, of, split = max(leaves, key=lambda leaf: leaf[2].gain)
        if split.gain <= 0.0:
            break
        leaves = [leaf for leaf in leaves if leaf[0] is not node]
        below = of.places[:, split.coordinate] <= split.at
        node |= {"of": COORDINATES[split.coordinate], "at": split.at, "below": {}, "above": {}}
        for name, which in (("below", below), ("above", ~below)):
            side = of.part(which)
            leaves.append((node[name], side, best(side)))
    for node, of, _ in leaves:
        node |= {"cells": of.count, "factor": _rounded(math.exp(of.bound))}
    return root


def best(cells: Cells) -> Split:
    """The division into parts of LEAST cells that gains most; none gains 0."""
    whole = len(cells.sizes) * cells.bound
    found = Split(0.0, 0, 0.0)
    for coordinate, at in _candidates(cells.places):
        below = cells.places[:, coordinate] <= at
        parts = [cells.part(below), cells.part(~below)]
        if min(part.count for part in parts) >= LEAST:
            gain = whole - sum(len(part.sizes) * part.bound for part in parts)
            found = max(found, Split(gain, coordinate, at))
    return found


def _candidates(places: Floats) -> Iterator[tuple[int, float]]:
    for coordinate, x in enumerate(places.T):
        for at in np.unique(np.quantile(x, PLACES).round(3)):
            yield coordinate, float(at)


def _rounded(x: float) -> float:
    """Three digits, upwards."""
    unit = 10.0 ** (math.floor(math.log10(x)) - 2)
    return float(f"{math.ceil(x / unit - 1e-9) * unit:.3g}")


def text(made: dict[str, Any]) -> str:
    """As it is kept: a line for each method."""
    lines = [f"  {json.dumps(name)}: {json.dumps(of)}" for name, of in made["methods"].items()]
    head = ", ".join(f"{json.dumps(name)}: {json.dumps(made[name])}" for name in ("version", "level", "cells"))
    return "{" + head + ', "methods": {\n' + ",\n".join(lines) + "\n}}\n"


def main() -> None:
    """Write the table."""
    TABLE.write_text(text(table(answered().filter(pl.col("grid") == "set"))), encoding="utf-8")


if __name__ == "__main__":
    main()
