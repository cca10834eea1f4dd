"""The analysis of the QEMU bench, without QEMU: on synthetic data, against known laws, and on what is kept."""

import csv
import gzip
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

import qtheory as qt

pytest.importorskip("validation.qemu", reason="validation/ is in the repository only")
from validation.qemu import compare, cycle, predict, recordings
from validation.qemu.cells import CELLS, Cell
from validation.qemu.cycle import Overhead, cycles
from validation.tables import RESULTS

NONE = Overhead(turn=1e-9, wake=0.0, path=0.0, interrupt=0.0)
SOME = Overhead(turn=0.0001, wake=0.0002, path=0.0004, interrupt=0.0002)
KEPT = (recordings.FOLDER / "stops.csv.gz").exists() and (RESULTS / "qemu.csv").exists()


def kept(name: str, rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """Write a table as the bench does."""
    with gzip.open(folder / f"{name}.csv.gz", "wt", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def stop(name: str, number: int, took: float, disks: float, flush: float = 1e-4, completed: str = "") -> dict[str, Any]:
    return {
        "cell": name, "stop": number, "pause": 0.4, "took": took, "vcpus": 5e-4, "disks": disks, "flush": flush,
        "turns": "0.000000", "lead": 0.1 if completed else "", "completed": completed,
    }  # fmt: skip


def calibration(name: str, folder: Path, overhead: Overhead, service: float = 0.02) -> None:
    """Data of a calibration in which all is as the model says."""
    seconds, each = 20, service + overhead.total
    n = round(1.0 / each)
    kept("stops", [stop(name, k, disks + 8e-4, disks) for k, disks in enumerate(np.linspace(0.0, 0.02, 11))], folder)
    rows = [
        {"cell": name, "second": k, "disk": 0, "elapsed": n * each, "requests": n,
         "response": n * (service + overhead.path)}
        for k in range(seconds)
    ]  # fmt: skip
    free = {"cell": predict.FREE.name, "second": 0, "elapsed": 1.0, "response": 0.0}
    rows += [free | {"disk": disk, "requests": 2500} for disk in range(4)]  # 10 000/s in all: a turn of 0.1 ms
    kept("seconds", rows, folder)
    inside = seconds * n * (service + overhead.path + overhead.interrupt)
    row = {"cell": name, "disk": 0, "elapsed": seconds * n * each, "requests": seconds * n, "response": inside}
    kept("guest", [row], folder)


def test_calibration_finds_the_overhead(tmp_path: Path) -> None:
    """Its four parts, and what a stop takes beside drain and flush."""
    calibration("calibration-delay", tmp_path, SOME)
    found = predict.calibrated(CELLS["calibration-delay"], tmp_path)
    for part in ("turn", "wake", "path", "interrupt"):
        assert getattr(found.overhead, part) == pytest.approx(getattr(SOME, part), rel=1e-6)
    assert found.pause == pytest.approx(7e-4)
    assert found.flush == pytest.approx(1e-4)


def test_calibration_that_cannot_be_is_refused(tmp_path: Path) -> None:
    """QEMU cannot answer faster than the device."""
    calibration("calibration-delay", tmp_path, SOME, service=0.019)
    with pytest.raises(SystemExit, match="calibration-delay: a request must take some time everywhere"):
        predict.calibrated(CELLS["calibration-delay"], tmp_path)


@pytest.mark.parametrize("name", ["exponential-2", "exponential-8", "disks-2", "threads-16"])
def test_cycle_without_overhead_is_the_stationary_law(name: str) -> None:
    """Exponential service forgets how it began: exact drains. Kolmogorov's distance has its 99.9 % point."""
    stops = 400
    drains = np.sort(cycles(CELLS[name], NONE, stops, seed=7).drains)
    law = qt.drain_time(predict.engine(CELLS[name], 0.0))
    below = np.array([law.cdf(t) for t in drains])
    at = np.arange(stops + 1) / stops
    assert max(np.max(at[1:] - below), np.max(below - at[:-1])) < 1.95 / np.sqrt(stops)


def test_disks_that_begin_together_stay_in_step() -> None:
    """Four disks of one request: a drain is uniform over one service, not the largest of four such."""
    drains = cycles(CELLS["delay-1"], NONE, 2000).drains
    assert np.median(drains) == pytest.approx(0.01, abs=3 * 0.01 / np.sqrt(2000))
    assert np.quantile(drains, 0.9) == pytest.approx(0.018, abs=4 * 0.006 / np.sqrt(2000))
    assert drains.max() <= 0.02


def test_cycle_throughput() -> None:
    """One request at a time takes all its parts; servers and the guest's processor do no more than they can."""
    one = replace(CELLS["delay-1"], disks=1)
    assert cycle.throughput(one, SOME, 90.0) == pytest.approx(1.0 / (0.02 + SOME.total), rel=1e-3)
    assert cycle.throughput(CELLS["delay-8"], SOME) == pytest.approx(200.0, rel=1e-2)
    slow = Overhead(turn=0.002, wake=0.0, path=0.0, interrupt=0.0)
    assert cycle.throughput(CELLS["delay-8"], slow) == pytest.approx(1.0 / 0.002 / 4, rel=1e-2)


@pytest.mark.parametrize(("lead", "low", "high"), [(0.05, 0.25, 0.27), (0.2, 0.1, 0.12), (0.45, 0.02, 0.04)])
def test_limit_freezes_the_queue_first(lead: float, low: float, high: float) -> None:
    """What was outstanding when the limit was set, 16 services of each server, completes before anything else begins:
    the drain is the rest of it, and afterwards that of 8 requests on 4 servers. No server is idle meanwhile."""
    seen = cycles(replace(CELLS["lead-100ms"], lead=lead), NONE, 200)
    assert low - 1e-4 <= seen.drains.min()
    assert seen.drains.max() <= high + 1e-4
    assert np.abs(seen.completed - 4 * 200 * lead).max() <= 16


def test_which_law_predicts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stationary one, but with constant service, and where it asks too much of the guest's processor."""
    monkeypatch.setattr(predict, "STOPS", 40)
    known = predict.Calibration(SOME, pause=1e-3, flush=1e-4)
    row = predict.predicted(CELLS["flush-8"], known)
    assert row["flush"] == pytest.approx(4 * (0.015 + 1e-4))
    assert row["stop_median"] == pytest.approx(row["pause"] + row["drain_median"] + row["flush"])
    assert row["law"] == "stationary"
    assert predict.predicted(CELLS["delay-1"], known)["law"] == "cycle"
    # 4 × 1600 requests/s of 0.3 ms each are more than one processor can do
    slow = replace(SOME, turn=0.0003)
    busy = predict.predicted(CELLS["threads-64"], replace(known, overhead=slow))
    assert busy["law"] == "cycle"
    assert busy["iops"] == pytest.approx(1.0 / slow.turn / 4, rel=1e-2)


@pytest.mark.parametrize("p", [0.5, 0.9])
@pytest.mark.parametrize("n", [60, 100])
def test_interval_holds_whatever_the_law(p: float, n: int) -> None:
    """A quantile lies between the values of these ranks when the number of values below it is in between."""
    low, high = compare.interval(np.arange(1.0, n + 1.0), p)
    covered = binom.cdf(high - 1.0, n, p) - binom.cdf(low - 1.0, n, p)
    assert covered >= 0.95
    narrower = binom.cdf(high - 2.0, n, p) - binom.cdf(low, n, p)
    assert narrower < 0.95


def synthetic(cell: Cell, folder: Path, error: float) -> compare.Numbers:
    """Stops whose quantiles are known, and a prediction that is too large by `error`."""
    took = np.linspace(0.04, 0.14, 101)
    kept("stops", [stop(cell.name, k, t, t - 0.001) for k, t in enumerate(took)], folder)
    row = {"cell": cell.name, "second": 0, "disk": 0, "elapsed": 2.0, "requests": 400, "response": 16.0}
    kept("seconds", [row], folder)
    said = {"stop_median": 0.09, "stop_90": 0.13, "iops": 200.0, "response": 0.04, "flush": 0.0, "pause": 5e-4}
    said["drain_median"] = 0.089
    return {cell.name: {name: x * (1.0 + error) for name, x in said.items()}}


@pytest.mark.parametrize(("error", "met"), [(0.0, (1, 1, 1)), (-0.08, (0, 1, 1)), (0.12, (0, 0, 1)), (0.2, (0, 0, 0))])
def test_errors_are_counted(error: float, met: tuple[int, int, int], tmp_path: Path) -> None:
    """Each against its own limit."""
    predictions = synthetic(CELLS["delay-8"], tmp_path, error)
    (row,) = compare.compared(tmp_path, predictions)
    assert (row["iops_within"], row["median_within"], row["90_within"]) == met
    assert float(row["median_error"] or 0.0) == pytest.approx(error)
    assert compare.counted([row])["both quantiles"] == (int(met[1] and met[2]), 1)
    assert float(row["iops_measured"]) == 200.0
    assert float(row["response_measured"]) == 0.04


def numbers(row: dict[str, Any]) -> dict[str, Any]:
    """Entries of a table, as numbers where they are."""
    found: dict[str, Any] = {}
    for name, text in row.items():
        try:
            found[name] = pytest.approx(float(text), rel=1e-3, abs=1e-4)
        except ValueError:
            found[name] = text
    return found


@pytest.mark.skipif(not KEPT, reason="the bench has no data yet")
def test_committed_comparison_is_of_the_committed_data() -> None:
    """The table of results and the answers are what the data and the predictions give."""
    with (RESULTS / "qemu.csv").open(newline="", encoding="utf-8") as file:
        committed = list(csv.DictReader(file))
    rows = compare.compared(recordings.FOLDER, compare.read(RESULTS / "qemu_predictions.csv"))
    assert [row["cell"] for row in rows] == [row["cell"] for row in committed]
    for row, was in zip(rows, committed, strict=True):
        assert {name: float(x) if isinstance(numbers(was)[name], type(pytest.approx(1.0))) else x
                for name, x in row.items()} == numbers(was)  # fmt: skip
    answers = compare.Answers(
        compare.read(RESULTS / "qemu.csv"), compare.turns(recordings.FOLDER), compare.counted(rows)
    ).all()
    assert answers == (RESULTS / "qemu_questions.md").read_text(encoding="utf-8")


@pytest.mark.skipif(not KEPT, reason="the bench has no data yet")
@pytest.mark.parametrize("name", ["delay-1", "rate-100", "disks-4"])
def test_committed_predictions_are_of_the_committed_calibration(name: str) -> None:
    """They can be made again from the calibration cells alone."""
    cell = CELLS[name]
    row = predict.predicted(cell, predict.calibrated(CELLS[predict.kind(cell)], recordings.FOLDER))
    was = compare.read(RESULTS / "qemu_predictions.csv")[name]
    for quantity in ("iops", "response", "stop_median", "stop_90"):
        assert row[quantity] == pytest.approx(was[quantity], rel=1e-3)
