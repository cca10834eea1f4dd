"""`qt.sweep` against a plain loop: on every executor, interrupted anywhere, with cells that fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from shutil import which

import pytest
from hypothesis import given
from hypothesis import strategies as st

import qtheory as qt
from qtheory.sweep import AHEAD, seed_of
from tests.sweeps import deadly, loss, seen, slow, undefined

CELLS = [{"rate": 0.25 * i, "kind": ["a", i]} for i in range(1, 9)] + [{"rate": -1.0, "kind": None}]


class Backwards(Executor):
    """Runs what it is given at once, or when asked to, last first."""

    def __init__(self, at_once: int = 1) -> None:
        self.at_once = at_once
        self.waiting: list[tuple[Future, object, tuple]] = []
        self.most = 0

    def submit(self, function, /, *arguments):
        future: Future = Future()
        self.waiting.append((future, function, arguments))
        self.most = max(self.most, len(self.waiting))
        if len(self.waiting) >= self.at_once:
            while self.waiting:
                done, run, given_to = self.waiting.pop()
                done.set_result(run(*given_to))
        return future


def plain(cells, seed=0):
    """The loop that a sweep stands for."""
    values = []
    for cell in cells:
        try:
            values.append(loss(cell, seed_of(seed, json.dumps(cell, sort_keys=True, separators=(",", ":")))))
        except ValueError:
            values.append(None)
    return tuple(values)


@pytest.fixture(scope="module")
def expected():
    return plain(CELLS)


def check(found, expected):
    assert found.values == expected
    assert [failure.cell for failure in found.failures] == [CELLS[-1]]
    assert found.failures[0].error == "ValueError: rate must be a positive finite number, not -1.0"
    assert found.failures[0].traceback.startswith("Traceback")


def test_one_after_another_and_backwards(expected):
    check(qt.sweep(loss, CELLS, executor=Backwards()), expected)
    check(qt.sweep(loss, CELLS, executor=Backwards(at_once=3)), expected)


def test_threads(expected):
    with ThreadPoolExecutor(3) as threads:
        check(qt.sweep(loss, CELLS, executor=threads), expected)


def test_processes_of_this_machine(expected, tmp_path):
    check(qt.sweep(loss, CELLS, results=tmp_path / "r", progress=True), expected)


def test_dask_workers(expected, tmp_path):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=tmp_path
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        executor = client.get_executor()
        check(qt.sweep(loss, CELLS, executor=executor, results=tmp_path / "r"), expected)
        where = qt.sweep(worker, list(range(16)), executor=executor)
        assert len(set(where.values)) == 2


def worker(cell, seed):
    """Which process this is; what it does takes long enough for both to get some."""
    time.sleep(0.02)
    return os.getpid()


OVER_MPI = """
import json, qtheory as qt
from mpi4py.futures import MPIPoolExecutor
from tests.test_sweep import CELLS, loss
if __name__ == "__main__":
    with MPIPoolExecutor() as ranks:
        print(json.dumps(qt.sweep(loss, CELLS, executor=ranks).values))
"""


def test_mpi_ranks(tmp_path, expected):
    pytest.importorskip("mpi4py")
    launcher = which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if launcher is None:
        pytest.skip("no mpiexec")
    script = tmp_path / "over_mpi.py"
    script.write_text(OVER_MPI)
    ranks = [launcher, "--allow-run-as-root", "--oversubscribe", "-n", "3"]
    run = subprocess.run(
        [*ranks, sys.executable, "-m", "mpi4py.futures", script],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
        env=_path(),
    )
    assert run.returncode == 0, run.stderr
    assert tuple(json.loads(run.stdout.splitlines()[0])) == expected


@given(st.permutations(range(len(CELLS))), st.integers(0, 2**40))
def test_seeds_do_not_depend_on_order(order, seed):
    straight = qt.sweep(seen, CELLS, executor=Backwards(), seed=seed)
    mixed = qt.sweep(seen, [CELLS[i] for i in order], executor=Backwards(), seed=seed)
    assert [mixed.values[order.index(i)] for i in range(len(CELLS))] == list(straight.values)
    assert len({own for _, own in straight.values}) == len(CELLS)
    assert all(0 <= own < 2**63 for _, own in straight.values)


def test_no_more_are_submitted_than_is_bearable():
    executor = Backwards(at_once=AHEAD)
    found = qt.sweep(seen, range(3 * AHEAD), executor=executor)
    assert [cell for cell, _ in found.values] == list(range(3 * AHEAD))
    assert executor.most == AHEAD


@given(cut=st.integers(0, 400))
def test_goes_on_after_being_cut_anywhere(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("cut") / "r"
    whole = qt.sweep(seen, CELLS, executor=Backwards(), results=path, seed=5)
    content = path.read_bytes()
    head = content.index(b"\n") + 1
    path.write_bytes(content[: min(head + cut, len(content))])
    kept = path.read_bytes().count(b"\n") - 1
    called = []

    def counted(cell, seed):
        called.append(cell)
        return seen(cell, seed)

    counted.__module__, counted.__qualname__ = seen.__module__, seen.__qualname__
    assert qt.sweep(counted, CELLS, executor=Backwards(), results=path, seed=5) == whole
    assert len(called) == len(CELLS) - kept
    assert path.read_bytes() == content


def test_goes_on_after_being_killed(tmp_path):
    path = tmp_path / "r"
    run = _start(f"qt.sweep(slow, range(40), results={str(path)!r})")
    _until(lambda: path.exists() and path.read_bytes().count(b"\n") > 4)
    run.kill()
    run.wait()
    before = path.read_bytes().count(b"\n") - 1
    assert before < 40
    with ThreadPoolExecutor(8) as threads:
        assert qt.sweep(slow, range(40), executor=threads, results=path).values == tuple(range(40))
    assert path.read_bytes().count(b"\n") == 41


def test_control_c_ends_it_and_keeps_what_is_done(tmp_path):
    path = tmp_path / "r"
    run = _start(f"qt.sweep(slow, range(400), results={str(path)!r})", stderr=subprocess.PIPE, start_new_session=True)
    _until(lambda: path.exists() and path.read_bytes().count(b"\n") > 4)
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does: to all processes
    _, errors = run.communicate(timeout=20)
    assert run.returncode != 0
    assert errors.decode().rstrip().endswith("KeyboardInterrupt")
    assert errors.decode().count("Traceback") == 1
    lines = path.read_text().splitlines()
    assert 4 < len(lines) < 400
    assert all(json.loads(line) for line in lines)


def test_failed_cells_are_tried_again(tmp_path):
    path = tmp_path / "r"
    first = qt.sweep(loss, CELLS, executor=Backwards(), results=path)
    assert json.loads(path.read_text().splitlines()[-1])["error"] == first.failures[0].error
    again = qt.sweep(loss, CELLS, executor=Backwards(), results=path)
    assert again.values == first.values
    assert path.read_text().count('"error"') == 2


def test_more_cells_join_those_that_are_done(tmp_path):
    path = tmp_path / "r"
    qt.sweep(seen, CELLS[:3], executor=Backwards(), results=path)
    assert qt.sweep(seen, CELLS[::-1], executor=Backwards(), results=path).values[-1][0] == CELLS[0]
    assert path.read_text().count('"cell"') == len(CELLS)


def test_a_process_that_dies_is_told_of(tmp_path):
    path = tmp_path / "r"
    with (
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
        pytest.raises(RuntimeError, match=r"the executor broke .*: finished cells are kept in .*r$"),
    ):
        qt.sweep(deadly, range(8), executor=pool, results=path)
    assert [json.loads(line)["value"] for line in path.read_text().splitlines()[1:]] == [0, 1, 2]


def test_infinity_is_not_recorded(tmp_path):
    found = qt.sweep(undefined, [0.0, 2.0], executor=Backwards(), results=tmp_path / "r")
    assert found.values == (None, 0.5)
    assert found.failures[0].error == "ValueError: the value must not hold NaN or infinity: inf"


def test_what_cannot_be_recorded_is_refused(tmp_path):
    with pytest.raises(TypeError, match="function must return a JSON value"):
        qt.sweep(lambda cell, seed: object(), [1], executor=Backwards(), results=tmp_path / "r")


@pytest.mark.parametrize(
    ("cells", "wrong", "message"),
    [
        ([1, object], TypeError, r"cells\[1\] must be a JSON value"),
        ([float("nan")], TypeError, r"cells\[0\] must be a JSON value"),
        ([{"a": 1, "b": 2}, 3, {"b": 2, "a": 1}], ValueError, r"cells must be different: cells\[0\] and cells\[2\]"),
    ],
    ids=["no JSON", "NaN", "twice"],
)
def test_bad_cells_are_refused(cells, wrong, message):
    with pytest.raises(wrong, match=message):
        qt.sweep(seen, cells, executor=Backwards())


def test_results_of_others_are_refused(tmp_path):
    path = tmp_path / "r"
    qt.sweep(seen, [1], executor=Backwards(), results=path)
    with pytest.raises(ValueError, match=r"r:1: the results are of another sweep"):
        qt.sweep(seen, [1], executor=Backwards(), results=path, seed=1)
    with pytest.raises(ValueError, match=r"r:1: the results are of another sweep"):
        qt.sweep(slow, [1], executor=Backwards(), results=path)
    whole = path.read_text()
    for line in ("what", '{"cell": 1}', '{"value": 1}', "5"):
        path.write_text(f"{whole}{line}\n")
        with pytest.raises(ValueError, match=rf"r:3: not a line of a sweep's results: b'{line}'"):
            qt.sweep(seen, [1], executor=Backwards(), results=path)


def test_a_file_of_something_else_is_not_overwritten(tmp_path):
    path = tmp_path / "r"
    path.write_text("notes, without an end of line")
    with pytest.raises(ValueError, match=r"r:1: not a line of a sweep's results: b'notes"):
        qt.sweep(seen, [1], executor=Backwards(), results=path)
    assert path.read_text() == "notes, without an end of line"
    path.write_text('{"sweep": 1, "func')  # killed in the first line
    assert qt.sweep(seen, [1], executor=Backwards(), results=path).values[0][0] == 1


def test_nothing_to_do():
    assert qt.sweep(seen, []) == qt.Sweep((), (), ())


def _path():
    """The environment, by which other processes find the tests."""
    before = os.environ.get("PYTHONPATH", "")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), before])}


def _start(call, **more):
    lines = f"import qtheory as qt\nfrom tests.sweeps import slow\nif __name__ == '__main__':\n    {call}\n"
    script = ["-c", lines]
    return subprocess.Popen([sys.executable, *script], cwd=Path(__file__).parents[1], env=_path(), **more)


def _until(reached):
    end = time.monotonic() + 60.0
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.02)
