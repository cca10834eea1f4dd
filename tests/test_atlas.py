"""The atlas: its cells are what they say, and a sample of its answers is what the package gives today."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
import pytest

import qtheory as qt
from qtheory.accuracy import COORDINATES, coordinates
from qtheory.drain import depth_at_stop
from validation.atlas.cells import GRIDS, drawn
from validation.atlas.frame import answered
from validation.atlas.measure import measure
from validation.atlas.report import agreement, summary

SAMPLE = 8
SLOW = ("joint_chain", "markovian_arrivals")
"""Methods that may take a minute for a cell."""


@pytest.fixture(scope="module")
def answers():
    return answered()


def test_a_random_sample_of_cells_is_answered_as_in_the_atlas(answers):
    seed = random.SystemRandom().randrange(10**6)
    usual = answers.filter((pl.col("part") == "steady") & ~pl.col("method").is_in(SLOW))
    cells = sorted(usual.select("grid", "index").unique().iter_rows())
    for grid, index in random.Random(seed).sample(cells, SAMPLE):
        state = qt.solve(drawn(grid, index).engine)
        of_cell = usual.filter((pl.col("grid") == grid) & (pl.col("index") == index))
        for quantity, answer in of_cell.select("quantity", "answer").iter_rows():
            if not quantity.startswith("disks."):
                now = getattr(state, quantity)
                now = now(0.99) if quantity.endswith("quantile") else now
                assert now == pytest.approx(answer, rel=1e-6), (seed, grid, index, state.method, quantity)


def test_a_cell_is_measured_as_in_the_atlas(answers):
    """Seeds and all: bit for bit but for the last digits of other processors."""
    cell = {"grid": "set", "index": 5}
    with ThreadPoolExecutor(1) as thread:
        (seed,) = qt.sweep(_seed, [cell], executor=thread).values
    found = measure(cell, seed)
    rows = answers.filter((pl.col("grid") == "set") & (pl.col("index") == 5) & (pl.col("part") == "steady"))
    kept = {row["quantity"]: (row["error"], row["half_width"]) for row in rows.iter_rows(named=True)}
    assert set(kept) == set(found["steady"]["quantities"])
    for quantity, (error, half_width, *_) in found["steady"]["quantities"].items():
        assert (error, half_width) == pytest.approx(kept[quantity], rel=1e-6, abs=1e-9), quantity


def test_the_grid_fills_its_space():
    """Every coordinate takes values over its whole range, and no two are strongly tied."""
    cells = [drawn("set", i) for i in range(256)]
    places = np.array([coordinates(cell.engine, depth_at_stop(cell.engine, cell.throttle)) for cell in cells])
    assert np.isfinite(places).all()
    assert (places.std(axis=0) > 0.25).all(), dict(zip(COORDINATES, places.std(axis=0), strict=True))
    tied = np.corrcoef(places.T) - np.eye(len(COORDINATES))
    assert np.abs(tied).max() < 0.8


def test_grids_share_no_cell():
    first, second = ({drawn(grid, i).engine for i in range(64)} for grid in GRIDS)
    assert not first & second


def test_coordinates_tell_what_differs():
    disk = qt.Disk(qt.Poisson(1500.0), buffer=64)
    device = qt.Device(servers=8, service=qt.Exponential(mean=1e-3))
    plain = coordinates(qt.Engine([disk] * 4, device))
    bursty = coordinates(qt.Engine([qt.Disk(qt.mmpp2((3000.0, 0.0), (1.0, 1.0)), buffer=64)] * 4, device))
    changed = [name for name, a, b in zip(COORDINATES, plain, bursty, strict=True) if a != pytest.approx(b)]
    assert changed == ["dispersion"]
    heavy = coordinates(qt.Engine([disk] * 4, qt.Device(servers=8, service=qt.Lognormal(mean=1e-3, scv=1.0))))
    assert [name for name, a, b in zip(COORDINATES, plain, heavy, strict=True) if a != pytest.approx(b)] == ["shape"]
    limited = coordinates(qt.Engine([disk] * 4, device), depth=8)
    assert [name for name, a, b in zip(COORDINATES, plain, limited, strict=True) if a != b] == ["depth"]
    saturated = coordinates(qt.Engine([qt.Disk(qt.Closed(64), buffer=64)] * 4, device))
    assert dict(zip(COORDINATES, saturated, strict=True))["thinking"] == 1.0


def test_exact_answers_agree_and_stated_bounds_hold(answers):
    share, number = agreement(answers)
    assert number > 3000
    assert 0.93 <= share <= 0.97
    stated = summary(answers).filter(pl.col("within").is_not_null() & (pl.col("cells") >= 40))
    assert (stated["within"] >= 0.96).all()


def _seed(cell, seed):
    return seed
