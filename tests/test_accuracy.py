"""Bounds from the atlas: what ships is what the cells say, it holds for cells it has not seen, and is not idle."""

from __future__ import annotations

import json
import math

import numpy as np
import polars as pl
import pytest

import qtheory as qt
from qtheory.accuracy import COORDINATES, bounded, coordinates, neighbourhood
from qtheory.drain import answer as drained
from qtheory.solve import answer
from validation.atlas.frame import answered
from validation.atlas.report import HELD, by_answer, coverage, held_out
from validation.atlas.table import LEAST, LEVEL, TABLE, Cells, grown, table, text

BURSTS = qt.mmpp2((600.0, 100.0), (0.1, 0.2))  # load 1.3, where its method was not measured
BURSTY = qt.Engine([qt.Disk(BURSTS, buffer=16)] * 4, qt.Device(4, qt.Exponential(mean=5e-3)))


@pytest.fixture(scope="module")
def answers():
    return answered()


@pytest.fixture(scope="module")
def shipped():
    return json.loads(TABLE.read_text(encoding="utf-8"))


def leaves(node):
    return [node] if "factor" in node else [*leaves(node["below"]), *leaves(node["above"])]


def test_what_ships_is_what_the_cells_say(answers):
    assert text(table(answers.filter(pl.col("grid") == "set"))) == TABLE.read_text(encoding="utf-8")


def test_bounds_hold_for_cells_held_out_and_are_not_idle(answers):
    """95 % are stated. Errors are as measured; most are too small to be seen, so that half-widths are added below."""
    errors = held_out(answers)
    assert errors["index"].n_unique() >= 500
    by_error, of_answers = coverage(errors, "table"), coverage(by_answer(errors, "table"), "table")
    assert by_error["known"] > 0.9
    for of in (by_error, of_answers, coverage(errors, "given"), coverage(by_answer(errors, "given"), "given")):
        assert HELD[0] <= of["within"] <= HELD[1]
    assert by_error["over_error"] <= 3.0
    assert of_answers["over_error"] <= 3.0


def test_neighbourhoods_divide_the_cells_of_a_method(shipped):
    for name, of in shipped["methods"].items():
        assert sum(leaf["cells"] for leaf in leaves(of["tree"])) == of["cells"], name
        assert all(leaf["cells"] >= LEAST for leaf in leaves(of["tree"])), name
        assert list(of["range"]) == list(COORDINATES)


def test_a_bound_is_found_by_going_through_all_leaves(shipped):
    """The walk down a tree beside the one leaf whose every condition holds, at random places of the range."""

    def boxes(node, conditions=()):
        if "factor" in node:
            yield conditions, node
            return
        yield from boxes(node["below"], (*conditions, (node["of"], -math.inf, node["at"])))
        yield from boxes(node["above"], (*conditions, (node["of"], node["at"], math.inf)))

    rng = np.random.default_rng(1)
    for name, of in shipped["methods"].items():
        place = {c: float(rng.uniform(low, high)) for c, (low, high) in of["range"].items()}
        (leaf,) = [
            leaf for tests, leaf in boxes(of["tree"]) if all(low < place[c] <= high for c, low, high in tests)
        ]
        cells, bounds = neighbourhood(*name.split("/"), place)
        assert cells == leaf["cells"]
        assert bounds == {q: pytest.approx(x * leaf["factor"]) for q, x in of["typical"].items()}
        outside = place | {"disks": of["range"]["disks"][1] + 0.1}
        assert neighbourhood(*name.split("/"), outside) == (0, {})


def test_a_tree_finds_where_errors_are_large():
    """Errors ten times as large where a coordinate is above 1: found, and bounded by their own 95 % quantile."""
    rng = np.random.default_rng(2)
    places = rng.uniform(0.0, 2.0, (400, len(COORDINATES)))
    sizes = np.log(np.abs(rng.normal(size=400)) * np.where(places[:, 4] > 1.0, 10.0, 1.0))
    tree = grown(Cells(np.arange(400), places, sizes))
    assert tree["of"] == COORDINATES[4]
    assert tree["at"] == pytest.approx(1.0, abs=0.15)  # places to divide at are as far apart
    of_all = grown(Cells(np.arange(LEAST), places[:LEAST], sizes[:LEAST]))
    assert of_all == {"cells": LEAST, "factor": pytest.approx(math.exp(sizes[:LEAST].max()), rel=0.01)}
    assert np.mean(sizes[: LEAST * 10] <= Cells(np.arange(150), places[:150], sizes[:150]).bound) >= LEVEL


def test_an_answer_says_whose_bounds_it_has():
    own, found = answer(BURSTY), qt.solve(BURSTY)
    assert own.error_bound == math.inf
    assert 0.0 < found.error_bound < math.inf
    (told,) = [warning for warning in found.warnings if "engines like this" in warning]
    assert told.startswith("the error bounds of blocking, ")
    assert not any("was measured here" in warning for warning in found.warnings)
    drain = qt.drain_time(BURSTY)
    assert not drained(BURSTY).exact
    assert 0.0 < drain.error_bounds["mean"] == drain.error_bound < 1.0
    assert drain.error_bounds["sf"] == math.inf


def test_what_a_method_knows_goes_before():
    engine = qt.Engine([qt.Disk(qt.Poisson(100.0), buffer=16)] * 2, qt.Device(1, qt.Erlang(phases=2, mean=4e-3)))
    own, found = answer(engine), qt.solve(engine)
    assert own.error_bound < math.inf
    assert found.error_bounds == own.error_bounds
    exact = qt.solve(qt.Engine(engine.disks, qt.Device(1, qt.Exponential(mean=4e-3))))
    assert bounded(exact, "steady", engine) is exact


def test_where_nobody_measured_there_is_no_bound():
    crowd = qt.Engine([qt.Disk(BURSTS, buffer=16)] * 4, qt.Device(200, qt.Exponential(mean=5e-3)), 12)
    limited = qt.drain_time(BURSTY, qt.DepthSchedule([(-1e-3, 0)]))
    for found in (bounded(answer(BURSTY), "steady", crowd), limited):
        assert found.error_bound == math.inf
        assert any(warning.endswith("was measured here: compare with qt.simulate") for warning in found.warnings)


def test_nobody_is_refused_by_a_guest_that_thinks():
    guests = [qt.Disk(qt.Closed(8, 0.02), buffer=8)] * 2
    found = qt.solve(qt.Engine(guests, qt.Device(2, qt.Lognormal(mean=5e-3, scv=6.0))))
    assert not found.exact
    assert found.error_bounds["blocking"] == found.error_bounds["disks.blocking"] == 0.0
    assert found.error_bounds["mean_guest_wait"] == 0.0


def test_coordinates_know_no_rate_curve_and_no_depth_of_none():
    curve = qt.Device.from_depth_sweep([1, 2], [100.0, 150.0])
    engine = qt.Engine([qt.Disk(qt.Poisson(30.0), buffer=4, device=curve)] * 2, queue_length=3)
    found = qt.solve(engine)
    assert not found.exact
    assert found.error_bound == math.inf
    assert coordinates(BURSTY, 0.0)[-1] == -math.inf
