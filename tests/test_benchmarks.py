"""The benchmarks' table: contenders that take turns, ratios, failures, slopes; nothing of how fast this machine is."""

import csv
import subprocess
import sys
from pathlib import Path

import mpmath as mp
import numpy as np
import pytest

import qtheory as qt
from benchmarks import peers, same_accuracy, simulation, stations
from benchmarks.__main__ import README, RESULTS, SUBJECTS
from benchmarks.forty_digits import DIGITS, mean_line
from benchmarks.measure import APART, HEAD, Contender, Row, here, markdown, measured, quoted, race, slope, write
from benchmarks.measure import scaling as growth
from qtheory.markov.phase_counts import PhaseCounts


def costing(costs, answer):
    """A contender's run whose calls cost these seconds, one after the other, the first of them to warm up."""
    told = iter(costs)
    return lambda first: (next(told), answer + first)


def test_least_of_the_rounds_counts_and_the_answer_is_of_the_first():
    fast = Contender("fast", costing([9.0, 2.0, 1.0, 3.0], 0.5))
    slow = Contender("slow", costing([0.0, 8.0, 9.0, 6.0], 0.25), units=2.0)
    assert [(m.cost, m.answer, m.trouble) for m in measured([fast, slow])] == [(1.0, 0.5, ""), (3.0, 0.25, "")]


def test_contenders_take_turns_and_no_call_is_asked_twice():
    asked = []

    def run(name):
        return lambda first: (asked.append((name, first)), (1.0, 0.0))[1]

    measured([Contender(name, run(name)) for name in "AB"], rounds=2)
    assert asked == [(name, k * APART) for k in range(3) for name in "AB"]


def test_race_tells_ratios_errors_and_who_failed():
    def absent(first):
        raise ValueError("cannot be installed: no such\npackage | here")

    def fails_later(first):
        if first:
            raise OverflowError("too large")
        return 1.0, 2.0

    rows = race(
        "a subject", "a case",
        [
            Contender("kernel", costing([0.0, 1.0], np.nan)),
            Contender("qtheory", costing([0.0, 2.0], 1.0), allowed=1e-9),
            Contender("peer", costing([0.0, 8.0], 1.1), note="peer==1"),
            Contender("absent", absent),
            Contender("fragile", fails_later),
        ],
        exact=1.0, limit="kernel", rounds=1,
    )  # fmt: skip
    kernel, ours, peer, missing, fragile = rows
    assert (kernel.to_qtheory, kernel.to_limit, kernel.error) == (0.5, 1.0, None)
    assert (ours.to_qtheory, ours.to_limit, ours.error, ours.allowed) == (1.0, 2.0, 0.0, 1e-9)
    assert (peer.to_qtheory, peer.to_limit, peer.note) == (4.0, 8.0, "peer==1")
    assert peer.error == pytest.approx(0.1)
    assert (missing.to_qtheory, missing.error) == (None, None)
    assert (fragile.to_qtheory, fragile.error, fragile.note) == (None, 1.0, "too large")
    lines = markdown(rows).splitlines()
    assert {line.count("|") for line in lines} == {len(HEAD) + 1}
    assert (
        lines[2 + 3]
        == "| a subject | a case | absent |  |  |  |  |  |  | cannot be installed: no such package / here |"
    )


def test_table_is_kept_in_both_forms(tmp_path):
    rows = [Row("s", "c", "qtheory", to_qtheory=1234.56, slope=1.004, peak_mib=0.4), Row("s", "c", "peer", error=1e-12)]
    write(rows, tmp_path)
    with (tmp_path / "table.csv").open(encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    assert (float(first["to_qtheory"]), first["error"], float(second["error"])) == (1234.56, "", 1e-12)
    assert (tmp_path / "table.md").read_text(encoding="utf-8").splitlines()[2] == (
        "| s | c | qtheory | 1230 |  | 1.00 | 0 |  |  |  |"
    )


def test_slope_of_a_power():
    sizes = np.array([3.0, 10.0, 50.0])
    assert slope(sizes, 7.0 * sizes**1.5) == pytest.approx(1.5)


def test_scaling_tells_the_range_and_the_last_step():
    row = growth("scaling", "a case", (2, 4, 8), [costing([0.0, n**2.0], 0.0) for n in (2, 4, 8)], rounds=1)
    assert row.slope == pytest.approx(2.0)
    assert row.note == "2 to 8, the last step 2.00; 16.0× the cost in all"


def test_a_peer_answers_from_its_own_process(tmp_path, monkeypatch):
    (tmp_path / "program.py").write_text(
        "def half(k, x):\n    print('not an answer')\n    return x / 2 + k\n\ndef none(k):\n    return 1 / 0\n"
    )
    worker = tmp_path / "worker.py"
    worker.write_text(peers.WORKER.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(peers, "WORKER", worker)
    monkeypatch.setattr(peers, "environment", lambda name, requirement: Path(sys.executable))
    peer = peers.Peer("peer", "peer==1", "program")
    try:
        seconds, answer = peer.task("half", x=3.0)(10)
        assert seconds > 0.0
        assert answer == 11.5
        with pytest.raises(peers.NoAnswerError, match="ZeroDivisionError"):
            peer.task("none")(0)
        assert peer.task("half", x=1.0)(0)[1] == 0.5  # it goes on after a failure
    finally:
        peer.close()


def test_a_peer_that_cannot_be_installed_says_so(monkeypatch):
    def environment(name, requirement):
        raise subprocess.CalledProcessError(1, "pip", stderr="Looking\nERROR: no such package\n")

    monkeypatch.setattr(peers, "environment", environment)
    peer = peers.Peer("peer", "peer==1", "program")
    (row,) = race("s", "c", [Contender("peer", peer.task("half", x=1.0))], qtheory=None)
    assert row.note == "cannot be installed: ERROR: no such package"


def test_a_real_ratio_and_a_right_answer():
    station = {"arrival_rate": 4.0, "service_rate": 1.0, "servers": 5, "capacity": 12}
    exact = float(qt.stations.mmck(**station, precision=DIGITS).mean_wait)
    contenders = [
        Contender("numpy", here(stations.by_logarithms(4.0, 5, 12))),
        Contender("qtheory", here(lambda k: qt.stations.mmck(**station).mean_wait)),
    ]
    rows = race("s", "c", contenders, exact=exact, limit="numpy", rounds=1)
    assert all(row.error < 1e-13 and row.to_limit > 0.0 for row in rows)


def test_kernels_on_the_same_arrays_agree():
    for law, room in ((simulation.EXPONENTIAL, simulation.ROOM), (simulation.HYPEREXPONENTIAL, simulation.ENDLESS)):
        bare, own = simulation.kernel(law, room, 20_000)
        assert bare(0) == pytest.approx(own(0), rel=1e-12)


def test_numpy_matches_forty_digits_where_it_is_the_limit():
    for servers, capacity, load in stations.ROOMS:
        found = stations.by_logarithms(load * servers, servers, capacity)(0)
        exact = qt.stations.mmck(
            arrival_rate=load * servers, service_rate=1.0, servers=servers, capacity=capacity, precision=DIGITS
        ).mean_wait
        assert found == pytest.approx(float(exact), rel=1e-11)


def test_forty_digits_of_one_server_are_pollaczek_khinchines():
    law = qt.Hyperexponential.balanced(mean=1.0, scv=4.0)
    with mp.workdps(DIGITS):
        waiting = mean_line(qt.MAP([[-0.5]], [[0.5]]), law.phase_type(), 1)
    assert float(waiting) == pytest.approx(0.5**2 * (1 + 4.0) / 2 / (1 - 0.5), rel=1e-14)


def test_more_requests_are_needed_for_the_drain_than_for_the_throughput():
    case, engine = next(iter(same_accuracy.CASES.items()))
    rows = {row.contender: row for row in same_accuracy.compare(case, engine, 20_000)}
    assert rows["simulation, throughput"].error < rows["simulation, throughput"].allowed
    needed = [
        float(rows[f"simulation, {name}"].note.split("; ")[1].split()[0]) for name in ("throughput", "mean drain")
    ]
    assert needed[0] < needed[1]


def test_matrices_of_one_pattern_have_their_own_rates():
    alpha, T = np.array([0.5, 0.5]), np.array([[-1.0, 0.0], [0.0, -3.0]])
    once, doubled = PhaseCounts(alpha, T).finish(3), PhaseCounts(alpha, 2.0 * T).finish(3)
    once.data[:] = 0.0
    assert np.array_equal(doubled.toarray(), 2.0 * PhaseCounts(alpha, T).finish(3).toarray())


def test_readme_quotes_the_table():
    table, text = (path.read_text(encoding="utf-8") for path in (RESULTS / "table.md", README))
    lines = [line for line in text.splitlines() if line.startswith("| ") and line.count("|") == len(HEAD) + 1]
    assert len(lines) > 5
    assert set(lines) <= set(table.splitlines())
    assert quoted(text, table) == text


def test_every_subject_is_a_module_of_rows_and_is_listed():
    found = {path.stem for path in Path(peers.__file__).parent.glob("*.py")} - {
        "__init__", "__main__", "measure", "peers", "forty_digits"
    }  # fmt: skip
    assert found == set(SUBJECTS)
