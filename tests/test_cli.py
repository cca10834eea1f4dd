"""The command line: what it prints is what the library says; what a user gets wrong is one line and status 2."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import qtheory as qt

DISKS = ["--disk", "rate=2000,buffer=16,count=4"]
DEVICE = ["--servers", "8", "--service-mean", "400e-6"]


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "qtheory", *arguments], capture_output=True, text=True, cwd=cwd)


def test_solve_prints_the_library_numbers() -> None:
    done = run("solve", *DISKS, *DEVICE, "--queue-length", "6", "--json")
    shown = json.loads(done.stdout)
    disk = qt.Disk(qt.Poisson(2000.0), buffer=16)
    state = qt.solve(qt.Engine([disk] * 4, qt.Device(servers=8, service=qt.Exponential(mean=400e-6)), queue_length=6))
    assert shown["throughput"] == state.throughput
    assert shown["mean_wait"] == state.mean_wait
    assert shown["wait 99%"] == state.wait_quantile(0.99)
    assert shown["method"] == "product_form"
    assert shown["exact"] is True
    assert len(shown["disks"]) == 4


def test_drain_with_a_limit() -> None:
    done = run("drain", *DISKS, *DEVICE, "--depth-limit", "1", "--population", "9", "--json")
    assert json.loads(done.stdout)["mean"] == pytest.approx(400e-6)


def test_size_shows_a_row_for_each_queue_length() -> None:
    done = run("size", *DISKS, *DEVICE, "--from", "1", "--to", "8", "--json")
    rows = json.loads(done.stdout)
    assert [row["queue_length"] for row in rows] == [1, 2, 3, 4, 5, 6, 7, 8]
    throughputs = [row["throughput"] for row in rows]
    assert throughputs == sorted(throughputs)
    text = run("size", *DISKS, *DEVICE, "--from", "1", "--to", "8").stdout
    assert "throughput [1/s]" in text


def test_simulate_reproduces() -> None:
    arguments = ("simulate", *DISKS, *DEVICE, "--requests", "20000", "--seed", "3", "--json")
    first, second = run(*arguments), run(*arguments)
    assert first.stdout == second.stdout
    assert json.loads(first.stdout)["seed"] == 3


def test_own_devices_closed_disks_and_shares() -> None:
    done = run(
        "solve", "--disk", "outstanding=4,think=0.01,count=2", "--own-devices", *DEVICE, "--queue-length", "4",
        "--shares", "equal", "--json",
    )  # fmt: skip
    assert json.loads(done.stdout)["method"] == "separate_devices"


@pytest.mark.parametrize("command", ["report", "solve", "size", "drain", "simulate", "trace"])
def test_help_shows_an_example(command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == 0
    assert f"Example: qtheory {command}" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["solve", "--disk", "rate=-1", *DEVICE], "rate must be a positive finite number, not -1.0"),
        (["solve", "--disk", "rate=x", *DEVICE], "--disk rate must be a number, not 'x'"),
        (["solve", "--disk", "buffer=3", *DEVICE], "--disk must have either rate or outstanding"),
        (["solve", "--disk", "speed=3", *DEVICE], "--disk must be KEY=VALUE"),
        (["solve", "--disk", "rate=1,count=0", *DEVICE], "--disk count must be a whole number >= 1"),
        (["solve", *DISKS, "--servers", "0", "--service-mean", "1"], "servers must be a whole number >= 1, not 0"),
        (["solve", *DISKS], "the device is needed"),
        (["solve", *DEVICE], "at least one disk is needed"),
        (["solve", *DISKS, *DEVICE, "--queue-length", "0"], "queue_length must be a whole number >= 1, not 0"),
        (["solve", *DISKS, *DEVICE, "--hold", "guest"], "hold must be one of 'ring', 'engine', 'refuse', not 'guest'"),
        (["solve", *DISKS, *DEVICE, "--shares", "1,2"], "shares must have one cap for each of the 4 disks, not 2"),
        (["solve", *DISKS, *DEVICE, "--shares", "1,b"], "--shares must be fifo, equal, or whole numbers"),
        (["solve", *DISKS, *DEVICE, "--method", "magic"], "method must be one of 'auto'"),
        (["size", *DISKS, *DEVICE, "--from", "9", "--to", "3"], "--from must be at least 1"),
        (["drain", *DISKS, *DEVICE, "--per-disk"], "--per-disk needs --depth-limit"),
        (["trace", "no-such-file"], "no-such-file: no such file"),
        (["report", "--fio", "x", "--servers", "3"], "--fio gives the whole device"),
        (["report", "--output", "/no/such/folder/report.html", "--requests", "20000"], "cannot be written"),
        (["trace", "README.md", "--format", "msrx"], "format must be"),
    ],
)
def test_errors_are_one_line(arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert message in done.stderr


def test_a_bad_row_is_named_and_can_be_skipped(tmp_path: Path) -> None:
    rows = [f"{i * 0.001:.3f},vda,read,0,4096,0.0005" for i in range(2000)]
    rows[9] = "0.009,vda,read,0,4096,soon"
    bad = tmp_path / "bad.csv"
    bad.write_text("# qtheory-trace 1\narrival,disk,op,offset,size,response\n" + "\n".join(rows) + "\n")
    done = run("trace", str(bad))
    assert done.returncode == 2
    assert f"{bad}:12:" in done.stderr
    assert "soon" in done.stderr
    done = run("trace", str(bad), "--skip-bad-rows")
    assert done.returncode == 0
    assert "1 bad row" in done.stdout


def test_a_report_of_almost_nothing_is_refused(tmp_path: Path) -> None:
    short = tmp_path / "short.csv"
    short.write_text("# qtheory-trace 1\narrival,disk\n0.0,a\n0.5,b\n")
    done = run("report", str(short), "--output", str(tmp_path / "r.html"))
    assert done.returncode == 2
    assert "a report needs at least 100 requests over some time, not 2 in 0.5 s" in done.stderr


def test_report_is_one_self_contained_page(tmp_path: Path) -> None:
    target = tmp_path / "r.html"
    done = run("report", "--output", str(target), "--requests", "50000", "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    page = target.read_text(encoding="utf-8")
    assert page.count("<svg") == 4
    assert "http-equiv" not in page
    assert 'src="' not in page
    assert "<link" not in page
    assert "the model is off by a factor of" in page, "the bundled recording is bursty, and the report must say so"
    by_disks = shown["by_disks"]
    assert [point["disks"] for point in by_disks][:2] == [4, 8]
    assert all(point["exact"] for point in by_disks)
    assert any("bursty" in sentence for sentence in shown["fit"])
