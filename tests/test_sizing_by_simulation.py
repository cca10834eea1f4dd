"""The table of optimal queue lengths beside simulated ones: of the stated grid, as good as stated, and up to date."""

from __future__ import annotations

import math

import pytest

import qtheory as qt
from qtheory.sizing.closed_forms import one_line
from validation import sizing_by_simulation as grid

FOUND = grid.read(grid.RESULTS)
ASKED = {
    (cell.kind, cell.case, question.asked, f"{question.limit:g}"): (cell.engine, question)
    for cell in grid.cells()
    for question in cell.questions
}
QUICK = {"product_form", "separate_devices", "disk_by_disk"}


def test_every_row_is_of_the_grid_and_there_once() -> None:
    keys = [grid.key(row) for row in FOUND]
    assert len(keys) == len(set(keys))
    assert set(keys) <= set(ASKED)
    assert {row["kind"] for row in FOUND} <= {cell.kind for cell in grid.cells()}


@pytest.mark.skipif(len(FOUND) < len(ASKED), reason=f"of the grid {len(FOUND)} of {len(ASKED)} rows are simulated")
def test_ends_are_as_near_as_stated() -> None:
    binding = [row for row in FOUND if row["natural"] == "0"]
    for loss in (True, False):
        rows = [row for row in binding if (row["asked"] == "throughput loss") == loss]
        ends = [(int(row["theory"]), int(row["simulated"])) for row in rows]
        near = [abs(a - b) <= max(1.0, 0.05 * b) for a, b in ends]
        assert near == [row["within"] == "1" for row in rows]
        assert sum(near) >= grid.LEAST_WITHIN["loss" if loss else "other"] * len(near)
    assert grid.report(FOUND)


def test_no_throughput_is_lost_beyond_the_limit_and_a_hundredth() -> None:
    losses = [row for row in FOUND if row["asked"] == "throughput loss" and row["value_at_theory"]]
    assert max(float(row["value_at_theory"]) - float(row["limit"]) for row in losses) <= 0.01


@pytest.mark.parametrize("kind", sorted({cell.kind for cell in grid.cells()}))
def test_theory_still_answers_what_the_table_says(kind: str) -> None:
    rows = [row for row in FOUND if row["kind"] == kind and row["value_at_theory"]]
    for row in sorted(rows, key=lambda row: (row["method"].split(",")[0] not in QUICK, int(row["theory"])))[:3]:
        engine, question = ASKED[grid.key(row)]
        best = qt.optimal_queue_length(engine, **question.limits())
        assert (best.upper if row["end"] == "upper" else best.lower) == int(row["theory"]), row


def test_the_closed_form_of_one_line_holds_for_any_service() -> None:
    """Within a slot or 13 % of the simulated lower ends, 27 of 30 within 7 %, service of scv 1/4 to 4."""
    rows = [row for row in FOUND if row["closed"]]
    assert rows
    for row in rows:
        engine, question = ASKED[grid.key(row)]
        assert grid.closed_form(engine, question) == int(row["closed"])
        assert abs(int(row["closed"]) - int(row["simulated"])) <= max(1.0, 0.13 * int(row["simulated"])), row


@pytest.mark.parametrize("requests", [2, 32, 2048, None])
def test_one_line_goes_to_the_slots_in_service_as_service_becomes_regular(requests: int | None) -> None:
    found = [one_line(disks=8, requests=requests, loss=0.05, scv=scv) for scv in (1e-9, 0.01, 0.3, 1.0)]
    assert found == sorted(found)
    assert found[0] == pytest.approx(8 * 0.95, rel=1e-6)
    assert found[3] == pytest.approx(one_line(disks=8, requests=requests, loss=0.05))
    for scv in (0.0, math.nan, *(() if requests is None else (requests / 2,) if requests > 2 else (1.1,))):
        with pytest.raises(ValueError, match="scv must be"):
            one_line(disks=8, requests=requests, loss=0.05, scv=scv)
