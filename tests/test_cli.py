"""The command line: what it prints is what the library says; what a user gets wrong is one line and status 2."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
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


def test_bursts() -> None:
    done = run("solve", "--disk", "rate=20,on=0.1,off=0.9,buffer=16", "--servers", "2", "--service-mean", "0.03")
    bursts = qt.IPP(rate=200.0, on=0.1, off=0.9)
    state = qt.solve(qt.Engine([qt.Disk(bursts, buffer=16)], qt.Device(2, qt.Exponential(mean=0.03))))
    assert f"blocking         {state.blocking:.6g}" in done.stdout
    assert "not phase_type: the arrivals of disks[0] are not Poisson" in done.stdout


def test_other_service_laws() -> None:
    disk = ["--disk", "rate=2000,buffer=16", "--servers", "2"]
    done = run("solve", *disk, "--service", "hyperexponential,mean=900e-6,scv=4", "--json")
    shown = json.loads(done.stdout)
    law = qt.Hyperexponential.balanced(mean=900e-6, scv=4)
    state = qt.solve(qt.Engine([qt.Disk(qt.Poisson(2000.0), buffer=16)], qt.Device(servers=2, service=law)))
    assert (shown["method"], shown["exact"], shown["mean_wait"]) == ("phase_type", True, state.mean_wait)
    assert json.loads(run("drain", *disk, "--service", "erlang,phases=2,mean=9e-4", "--json").stdout)["exact"] is True


def test_laws_of_operations_and_of_disks() -> None:
    options = [
        *("--disk", "rate=400,buffer=8,operations=read:0.75/write:0.25"),
        *("--disk", "rate=50,buffer=4,service=erlang/phases=2/mean=0.01,count=2"),
        *("--servers", "2", "--service", "read=exponential,mean=1e-3", "--service", "write=exponential,mean=4e-3"),
    ]
    device = qt.Device(2, {"read": qt.Exponential(mean=1e-3), "write": qt.Exponential(mean=4e-3)})
    mixed = qt.Disk(qt.Poisson(400.0), buffer=8, operations={"read": 0.75, "write": 0.25})
    own = qt.Disk(qt.Poisson(50.0), buffer=4, service=qt.Erlang(phases=2, mean=0.01))
    engine = qt.Engine([mixed, own, own], device)
    shown = json.loads(run("solve", *options, "--json").stdout)
    assert (shown["method"], shown["mean_wait"]) == ("mixed_service", qt.solve(engine).mean_wait)
    assert json.loads(run("drain", *options, "--json").stdout)["mean"] == qt.drain_time(engine).mean
    simulated = json.loads(run("simulate", *options, "--requests", "20000", "--json").stdout)
    assert simulated["mean_wait"]["value"] == qt.simulate(engine, 20_000, seed=1).mean_wait.value
    sized = json.loads(run("size", *options, "--from", "2", "--to", "3", "--json").stdout)
    assert [point["queue_length"] for point in sized] == [2, 3]
    assert sized[0]["method"] == "mixed_service"


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
    assert "method product_form, exact: True" in text
    divided = run("size", *DISKS, *DEVICE, "--from", "8", "--to", "9", "--shares", "equal").stdout
    assert "method separate_devices, divided_slots, exact: False" in divided


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


def test_drain_with_flushes() -> None:
    done = run("drain", *DISKS, *DEVICE, "--flush", "deterministic,value=0.001", "--json")
    alone = run("drain", *DISKS, *DEVICE, "--json")
    shown, without = (json.loads(one.stdout) for one in (done, alone))
    disks = int(DISKS[1].partition("count=")[2] or 1)
    assert shown["mean"] == pytest.approx(without["mean"] + 0.001 * disks)


def test_bounds_from_blockstats(tmp_path) -> None:
    """Of reads and writes together."""

    def counted(bins):
        return {"boundaries": [1_000_000, 2_000_000, 5_000_000], "bins": bins}

    stats = {"rd_operations": 0, "rd_latency_histogram": counted([600, 300, 90, 0])}
    stats |= {"wr_operations": 0, "wr_latency_histogram": counted([0, 0, 10, 0])}
    path = tmp_path / "blockstats.json"
    path.write_text(json.dumps({"return": [{"device": "vda", "stats": stats}]}))
    done = run("bounds", str(path), "--outstanding", "32", "--maximum", "0.01", "--json")
    shown = json.loads(done.stdout)
    edges, counts = [0.0, 1e-3, 2e-3, 5e-3, math.inf], [600, 300, 100, 0]
    assert shown["quantile"] == list(qt.histogram_bounds(edges, counts, outstanding=32, maximum=0.01).quantile)
    assert "quantile 0.99 at most" in run("bounds", str(path), "--rate", "9", "--maximum", "0.01").stdout
    assert "maximum must be given where the last bin is open" in run("bounds", str(path), "--rate", "9").stderr


@pytest.mark.parametrize("command", ["report", "solve", "size", "drain", "bounds", "simulate", "trace", "fit"])
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
        (["solve", "--disk", "rate=3,on=1", *DEVICE], "--disk on and off go together, and with rate"),
        (["solve", "--disk", "rate=3,on=0,off=1", *DEVICE], "--disk on must be a positive finite number, not 0.0"),
        (["solve", "--disk", "speed=3", *DEVICE], "--disk must be KEY=VALUE"),
        (["solve", "--disk", "rate=1,count=0", *DEVICE], "--disk count must be a whole number >= 1"),
        (["solve", *DISKS, "--servers", "0", "--service-mean", "1"], "servers must be a whole number >= 1, not 0"),
        (["solve", *DISKS], "the device is needed"),
        (["solve", *DEVICE], "at least one disk is needed"),
        (["solve", *DISKS, *DEVICE, "--service", "gamma,mean=1,scv=2"], "one of --service-mean and --service"),
        (["solve", *DISKS, "--servers", "2", "--service", "normal,mean=1"], "--service must name one of exponential"),
        (["solve", *DISKS, "--servers", "2", "--service", "gamma,mean=x"], "--service must be NAME,KEY=VALUE,..."),
        (["solve", *DISKS, "--servers", "2", "--service", "gamma,mean=1"], "--service gamma takes mean, scv"),
        (["solve", *DISKS, "--servers", "2", "--service", "read=exponential,mean=1"], "disks[0] must have operations"),
        (
            [
                "solve",
                *DISKS,
                "--servers",
                "2",
                "--service",
                "gamma,mean=1,scv=1",
                "--service",
                "read=gamma,mean=1,scv=1",
            ],
            "--service must be given once, or once for each operation as NAME=LAW",
        ),
        (["solve", "--disk", "rate=1,operations=read", *DEVICE], "--disk operations must be NAME:SHARE/..."),
        (["solve", "--disk", "rate=1,operations=read:1", *DEVICE], "disks[0] must not have operations"),
        (["solve", "--disk", "rate=1,service=gamma/mean=1", *DEVICE], "--service gamma takes mean, scv"),
        (["solve", *DISKS, *DEVICE, "--queue-length", "0"], "queue_length must be a whole number >= 1, not 0"),
        (["solve", *DISKS, *DEVICE, "--hold", "guest"], "hold must be one of 'ring', 'engine', 'refuse', not 'guest'"),
        (["solve", *DISKS, *DEVICE, "--shares", "1,2"], "shares must have one cap for each of the 4 disks, not 2"),
        (["solve", *DISKS, *DEVICE, "--shares", "1,b"], "--shares must be one of fifo, equal, rings, load, linux"),
        (["solve", *DISKS, *DEVICE, "--method", "magic"], "method must be one of 'auto'"),
        (["size", *DISKS, *DEVICE, "--from", "9", "--to", "3"], "--from must be at least 1"),
        (["drain", *DISKS, *DEVICE, "--per-disk"], "--per-disk needs --depth-limit"),
        (["drain", *DISKS, *DEVICE, "--flush", "slow"], "--flush must name one of"),
        (["trace", "no-such-file"], "no-such-file: no such file"),
        (["report", "--fio", "x", "--servers", "3"], "--fio gives the whole device"),
        (
            ["report", "--output", "/no/such/folder/report.html", "--requests", "20000"],
            "/no/such/folder/report.html: No such",
        ),
        (["trace", "--picture", "/no/such/folder/x.png"], "/no/such/folder/x.png: No such"),
        (["trace", "--picture", "x.docx"], "docx"),
        (["trace", "--write", "x.docx"], "path must end in .csv, .csv.gz or .parquet, not 'x.docx'"),
        (["trace", "--operation", "reed"], "operations must be one of 'read', 'write'"),
        (["trace", "--disk", "sdz"], "disks must be among disk0, disk1, disk2, disk3, not 'sdz'"),
        (["trace", "--from", "5", "--to", "2"], "stop must be later than start=5.0, not 2.0"),
        (["trace", "--scale", "0"], "factor must be a positive finite number, not 0.0"),
        (["trace", "--clone", "0"], "copies must be a whole number >= 1, not 0"),
        (["trace", "--service-mean", "-1"], "mean must be a positive finite number, not -1.0"),
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


def trace_file(path: Path, disk: str, origin: float) -> str:
    rows = [f"{i * 0.01:.2f},{disk},{'read' if i % 2 else 'write'},{4096 * i},4096,0.001" for i in range(300)]
    head = ["# qtheory-trace 1", f"# origin: {origin}", "arrival,disk,op,offset,size,response"]
    path.write_text("\n".join([*head, *rows, ""]))
    return str(path)


def test_trace_selects_merges_scales_clones_draws_and_writes(tmp_path: Path) -> None:
    a, b = trace_file(tmp_path / "a.csv", "vda", 100.0), trace_file(tmp_path / "b.csv", "vdb", 101.0)
    picture, written = tmp_path / "both.png", tmp_path / "both.csv.gz"
    done = run("trace", a, b, "--scale", "0.5", "--clone", "2", "--picture", str(picture), "--write", str(written))
    assert done.returncode == 0, done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")
    both = qt.read_trace(written)
    assert both.disks == ("vda.0", "vda.1", "vdb.0", "vdb.1")
    assert len(both) == 1200
    shown = json.loads(run("trace", a, "--operation", "read", "--from", "1", "--to", "2", "--json").stdout)
    assert shown["total"]["requests"] == 50
    assert shown["total"]["read_share"] == 1.0
    whole = json.loads(run("trace", a, "--whole", "--json").stdout)
    assert whole == json.loads(run("trace", a, "--json").stdout)


def test_trace_shows_measured_latencies(tmp_path: Path) -> None:
    histogram = {"boundaries": [500000, 1000000], "bins": [1, 2, 1]}
    stats = {"rd_operations": 4, "rd_total_time_ns": 3200000, "rd_latency_histogram": histogram}
    path = tmp_path / "stats.json"
    path.write_text(json.dumps({"return": [{"device": "vda", "stats": stats}]}))
    done = run("trace", str(path))
    assert done.returncode == 0, done.stderr
    assert "0.0008" in done.stdout
    assert json.loads(run("trace", str(path), "--json").stdout)["histograms"][0]["counts"] == [1, 2, 1]
    refused = run("trace", str(path), "--skip-bad-rows")
    assert refused.returncode == 2
    assert "holds measured latencies, not requests" in refused.stderr


def test_a_recorded_file_is_replayed_from_where_it_is(tmp_path: Path) -> None:
    path = trace_file(tmp_path / "a.csv", "vda", 100.0)
    done = run("simulate", "--trace", path, *DEVICE, "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    disk = qt.Disk(qt.Poisson(1.0), buffer=256)
    engine = qt.Engine([disk], qt.Device(servers=8, service=qt.Exponential(mean=400e-6)))
    assert shown["mean_response"] == qt.simulate(engine, trace=qt.read_trace(path)).to_dict()["mean_response"]


def test_fit_prints_the_engine_and_its_answers(tmp_path: Path) -> None:
    """A Poisson stream at a deterministic server: found from the responses."""
    rows, free, now = [], 0.0, 0.0
    rng = np.random.default_rng(1)
    for gap in rng.exponential(1e-3, 3000).tolist():
        now += gap
        free = max(free, now) + 5e-4
        rows.append(f"{now!r},vda,read,0,4096,{free - now!r}")
    path = tmp_path / "a.csv"
    path.write_text("# qtheory-trace 1\narrival,disk,op,offset,size,response\n" + "\n".join(rows) + "\n")
    done = run("fit", str(path), "--resamples", "3")
    assert done.returncode == 0, done.stderr
    assert "arrivals of vda: Poisson" in done.stdout
    assert "servers: 1\n" in done.stdout
    assert f"fit = qt.fit_engine(qt.read_trace({str(path)!r}))" in done.stdout
    shown = json.loads(run("fit", str(path), "--resamples", "3", "--json").stdout)
    assert shown["engine"]["service"]["mean"] == pytest.approx(5e-4, rel=1e-3)
    answer = shown["answers"]["utilization"]
    assert answer["low"] <= answer["value"] == pytest.approx(0.5, rel=0.05)
    assert "--service-mean and --service both" in run("fit", "--service-mean", "1", "--service", "x").stderr


def test_size_prints_the_optimum(tmp_path: Path) -> None:
    limits = ("--max-loss", "0.01", "--drain-budget", "0.01")
    picture = tmp_path / "size.png"
    done = run("size", *DISKS, *DEVICE, *limits, "--counts", "1,4", "--picture", str(picture), "--json")
    shown = json.loads(done.stdout)
    disk = qt.Disk(qt.Poisson(2000.0), buffer=16)
    engine = qt.Engine([disk] * 4, qt.Device(servers=8, service=qt.Exponential(mean=400e-6)), hold="ring")
    z = qt.optimal_queue_length(engine, max_throughput_loss=0.01, drain_budget=0.01)
    assert (shown["queue_length"], shown["lower"], shown["upper"]) == (z.queue_length, z.lower, z.upper)
    assert picture.stat().st_size > 10_000
    text = run("size", *DISKS, *DEVICE, *limits).stdout
    assert f"queue_length     {z.queue_length}" in text


@pytest.mark.parametrize(("wrong", "words"), [
    (("--picture", "x.png"), "--picture needs a limit"),
    (("--max-loss", "2"), "max_throughput_loss must lie"),
    (("--max-wait", "0.99"), "--max-wait must be PROBABILITY,SECONDS"),
    (("--max-loss", "0.1", "--counts", "a"), "--counts must be numbers separated by commas"),
    (("--shares", "equal", "--to", "3"), "--to must be at least 4, a slot for each disk"),
])  # fmt: skip
def test_size_refuses_in_one_line(wrong: tuple[str, ...], words: str) -> None:
    done = run("size", *DISKS, *DEVICE, *wrong)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


PLAN = ["--ram", "8e9", "--dirty-rate", "4e8", "--bandwidth", "1.2e9", "--budget", "0.3"]
SATURATED = ["--disk", "outstanding=32,count=4", "--servers", "16", "--service-mean", "0.01"]


def test_plan_prints_the_library_numbers() -> None:
    shown = json.loads(run("plan", *SATURATED, *PLAN, "--json").stdout)
    device = qt.Device(servers=16, service=qt.Exponential(mean=0.01))
    engine = qt.Engine([qt.Disk(qt.Closed(32))] * 4, device)
    plan = qt.plan_switchover(engine, precopy=qt.Precopy(8e9, 4e8, 1.2e9), downtime_budget=0.3)
    assert shown == json.loads(json.dumps(plan.to_dict()))
    text = run("plan", *SATURATED, *PLAN).stdout
    assert f"depth limit      {plan.depth_limit.limit} per engine" in text  # type: ignore[union-attr]
    assert all(line in text for line in plan.commands)


def test_pictures_of_a_drain_and_of_a_plan(tmp_path: Path) -> None:
    drained, planned = tmp_path / "drain.png", tmp_path / "plan.png"
    options = ("--drain-budget", "0.06", "--schedule=-0.1:8", "--picture", str(drained))
    few = ("--disk", "outstanding=12", "--servers", "4", "--service-mean", "0.01")
    assert "quantile 0.99" in run("drain", *few, *options).stdout
    done = run("plan", *SATURATED, *PLAN, "--flush", "exponential,mean=0.001", "--picture", str(planned))
    assert "What to do on an unmodified QEMU:\n1. QMP, before migrate" in done.stdout
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (drained, planned))


def test_drain_under_other_throttles() -> None:
    device = qt.Device(servers=16, service=qt.Exponential(mean=0.01))
    engine = qt.Engine([qt.Disk(qt.Closed(32))] * 4, device)
    shown = json.loads(run("drain", *SATURATED, "--schedule=-0.1:8,-0.01:none", "--json").stdout)
    assert shown["mean"] == qt.drain_time(engine, qt.DepthSchedule([(-0.1, 8), (-0.01, None)])).mean


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plan", *SATURATED], "--ram, --dirty-rate, --bandwidth and --budget are all needed"),
        (["plan", *SATURATED, *PLAN, "--ram=-1"], "ram must be a positive finite number, not -1.0"),
        (["drain", *SATURATED, "--schedule=-0.1"], "--schedule must be T:Q,... such as -0.5:32,-0.1:4, not '-0.1'"),
        (["drain", *SATURATED, "--schedule=-1:4", "--rate-limit=5"], "exclude each other"),
        (["drain", *SATURATED, "--picture", "x.docx"], "docx"),
        (["drain", *SATURATED, "--picture", "x.png", "--population", "4"], "leave out --population"),
        (["plan", *SATURATED, *PLAN, "--picture", "/no/such/folder/x.png"], "/no/such/folder/x.png: No such"),
        (["plan", *SATURATED, *PLAN, "--flush", "slow"], "--flush must name one of"),
    ],
)
def test_what_is_wrong_with_a_plan_is_one_line(arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
