"""The bench on real QEMU where something is missing or goes wrong, and its device against a plain model.

That it works is seen by `make smoke`, on a real QEMU. Here stand-ins take QEMU's place.
"""

import ctypes
import heapq
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from qtheory.traces import read_trace
from validation.qemu import convert, devices, guest, machine, measure, recordings
from validation.qemu.cells import CELLS
from validation.qemu.guest import BenchError, Guest

SYSTEM = Guest("6.1", Path("kernel"), Path("initrd"))

# Makes the sockets that it is told to make, greets at the monitor's, and does what WORDS say.
STAND_IN = """\
import json, os, re, socket, sys, threading
open(os.environ["PIDS"], "a").write(f"{os.getpid()}\\n")
def made(path):
    server = socket.socket(socket.AF_UNIX); server.bind(path); server.listen()
    return server
line = " ".join(sys.argv)
shell = made(re.search(r"id=shell,path=([^,]+)", line)[1])
monitor = made(re.search(r"-qmp unix:([^,]+)", line)[1])
console = re.search(r"file:(\\S+)", line)[1]
open(console, "w").write(os.environ["CONSOLE"])
kept = shell.accept()
while True:
    talk, _ = monitor.accept()
    try:
        if os.environ["CONSOLE"] != "mute":
            talk.send(b'{"QMP": {"version": {}, "capabilities": []}}\\n')
        while said := talk.recv(65536):
            if b"stop" in said:
                sys.exit("disk on fire")
            known = {key: word for key, word in json.loads(said).items() if key == "id"}
            talk.send(json.dumps({"return": {}} | known).encode() + b"\\n")
    except (BrokenPipeError, ConnectionResetError):
        pass
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Puts a program under a name, alone on the PATH."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("PIDS", str(tmp_path / "pids"))
    monkeypatch.setenv("CONSOLE", "bench: ready\n")

    def put(name, text, interpreter=sys.executable):
        path = programs / name
        path.write_text(f"#!{interpreter}\n{text}")
        path.chmod(0o755)

    return put


@pytest.fixture
def folder():
    # a socket's path must be short
    with machine.place(Path("/tmp")) as path:
        yield path


def start(folder, **options):
    with machine.started(SYSTEM, folder, [], "tcg", **options) as running:
        return running.execute("stop")


def alive(pids: Path) -> list[int]:
    return [int(pid) for pid in pids.read_text().split() if Path(f"/proc/{pid}").exists()]


def test_programs_that_are_missing_are_named_with_their_package(stand_in, folder, tmp_path):
    with pytest.raises(BenchError, match=r"^qemu-system-x86_64 is not installed \(Debian package qemu-system-x86\)$"):
        start(folder)
    with (
        pytest.raises(BenchError, match=r"^nbdkit is not installed \(Debian package nbdkit\)$"),
        devices.started(CELLS["delay-8"], tmp_path, tmp_path, 1),
    ):
        pass
    with pytest.raises(BenchError, match=r"^gcc is not installed"):
        devices.build(tmp_path)
    with pytest.raises(BenchError, match=r"^busybox is not installed \(Debian package busybox-static\)$"):
        guest.build(tmp_path, "")


def test_the_command_line_says_one_line(stand_in, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "validation.qemu.measure", "--smoke", "--work-dir", str(tmp_path / "work")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: busybox is not installed (Debian package busybox-static)\n"


def test_a_cell_that_is_not_there(stand_in, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "validation.qemu.measure", "delay-3", "--work-dir", str(tmp_path / "work")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: no cell is called delay-3; there are calibration-guest, ")
    assert len(done.stderr.splitlines()) == 1


def test_an_nbdkit_that_does_not_start(stand_in, tmp_path):
    stand_in("nbdkit", "echo 'nbdkit: error: no such filter'; exit 1", "/bin/sh")
    with (
        pytest.raises(BenchError, match=r"^nbdkit did not start: nbdkit: error: no such filter$"),
        devices.started(CELLS["delay-8"], tmp_path, tmp_path, 1),
    ):
        pass


def test_a_qemu_that_does_not_start(stand_in, folder):
    stand_in("qemu-system-x86_64", "echo 'unknown machine type' >&2; exit 1", "/bin/sh")
    with pytest.raises(BenchError, match=r"^QEMU did not start: unknown machine type$"):
        start(folder)


def test_a_qemu_that_makes_no_socket_is_ended(stand_in, folder, tmp_path):
    stand_in("qemu-system-x86_64", 'echo $$ >"$PIDS"; exec /bin/sleep 60', "/bin/sh")
    with pytest.raises(BenchError, match=r"^QEMU made no socket within 1 s$"):
        start(folder, boot_limit=1.0)
    assert alive(tmp_path / "pids") == []


def test_a_guest_that_does_not_boot(stand_in, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("CONSOLE", "Linux\nKernel panic\n")
    stand_in("qemu-system-x86_64", STAND_IN)
    with pytest.raises(BenchError, match=r"^the guest did not boot within 2 s, its last words: Kernel panic$"):
        start(folder, boot_limit=2.0)
    assert alive(tmp_path / "pids") == []


def test_a_monitor_that_dies(stand_in, folder, tmp_path):
    stand_in("qemu-system-x86_64", STAND_IN)
    with pytest.raises(BenchError, match=r"^QEMU stopped with status 1: disk on fire$"):
        start(folder)
    assert alive(tmp_path / "pids") == []


def test_a_monitor_that_says_nothing(stand_in, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "ANSWER_LIMIT", 1.0)
    monkeypatch.setenv("CONSOLE", "mute")
    stand_in("qemu-system-x86_64", STAND_IN)
    with pytest.raises(BenchError, match=r"^no connection to QEMU's monitor: no answer within 1 s$"):
        start(folder)
    assert alive(tmp_path / "pids") == []


def test_too_little_memory(stand_in, folder, monkeypatch):
    monkeypatch.setattr(machine, "_free_memory", lambda: 100)
    with pytest.raises(BenchError, match=r"^the guest needs 640 MiB of memory, 100 are free$"):
        start(folder)


def test_a_path_too_long_for_a_socket(tmp_path):
    with pytest.raises(BenchError, match=r"is too long a path for a socket \(at most 107 bytes\)$"):
        start(tmp_path / ("x" * 100))


def test_kvm_is_taken_only_where_a_guest_runs_under_it(stand_in, monkeypatch, folder):
    monkeypatch.setattr(machine, "KVM_LIMIT", 1.0)
    monkeypatch.setattr(os, "access", lambda path, mode: path != "/dev/kvm")
    assert machine.accelerator(SYSTEM, folder) == ("tcg,thread=multi", "no access to /dev/kvm")
    monkeypatch.setattr(os, "access", lambda path, mode: True)
    stand_in("qemu-system-x86_64", STAND_IN)
    assert machine.accelerator(SYSTEM, folder)[0] == "kvm"
    monkeypatch.setenv("CONSOLE", "")
    assert machine.accelerator(SYSTEM, folder) == (
        "tcg,thread=multi",
        "under KVM: the guest did not boot within 1 s, it said nothing",
    )


INTERRUPTED = """\
import sys, time
from pathlib import Path
from validation.qemu import guest, machine
def main():
    with machine.place(Path(sys.argv[1])) as folder:
        with machine.started(guest.Guest("6.1", Path("kernel"), Path("initrd")), folder, [], "tcg"):
            print("up", flush=True)
            time.sleep(60)
sys.exit(guest.exit_status(main))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing_behind(stand_in, folder, tmp_path, number):
    stand_in("qemu-system-x86_64", STAND_IN)
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "up\n"
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (130, "interrupted\n")
    assert alive(tmp_path / "pids") == []
    assert list(folder.iterdir()) == []


def test_a_stop_that_the_log_does_not_show():
    with pytest.raises(BenchError, match="does not show the stop"):
        measure.parts(1.0, [])
    with pytest.raises(BenchError, match="not its end"):
        measure.parts(1.0, [machine.Event(1.1, "vm_state_notify", "running 0 reason 4 (paused)")])


def test_a_cell_measured_again_takes_the_place_of_what_was_there(tmp_path):
    recordings.keep("a", {"stops": [{"cell": "a", "took": 1}, {"cell": "a", "took": 2}]}, tmp_path)
    recordings.keep("b", {"stops": [{"cell": "b", "took": 3}]}, tmp_path)
    recordings.keep("a", {"stops": [{"cell": "a", "took": 4}]}, tmp_path)
    kept = recordings.table("stops", tmp_path)
    assert [row for rows in kept.values() for row in rows] == [{"cell": "b", "took": "3"}, {"cell": "a", "took": "4"}]
    assert recordings.table("seconds", tmp_path) == {}


# ---------------------------------------------------------------------------------------------------- recorded traces


def recorded(folder, marks=convert.MARKS):
    """A log as record.py leaves it: a page that all disks read, their marks, a request each 10 ms for 4 s."""
    disks = ["0xc", "0xa", "0xd", "0xb"]
    reads = [(disk, 0) for disk in sorted(disks)] + list(zip(disks, marks, strict=True))
    reads += [(disks[number % 4], marks[number % 3]) for number in range(400)]
    lines = []
    for number, (disk, sector) in enumerate(reads):
        now = f"7@{1000 + number // 100}.{number % 100:02d}"
        lines.append(f"{now}0000:virtio_blk_handle_read vdev {disk} req 0x1 sector {sector} nsectors {number + 1}\n")
        lines.append(f"{now}0250:virtio_blk_rw_complete vdev {disk} req 0x1 ret 0\n")
    log = folder / "trace.log"
    log.write_text("".join(lines))
    (folder / "recording.json").write_text('{"guest": "made up"}')
    return log


@pytest.fixture
def converting(monkeypatch, tmp_path):
    def convert_it(log, *options):
        monkeypatch.setattr(sys, "argv", ["convert", str(log), "--out", str(tmp_path / "t.csv.gz"), *options])
        convert.main()

    return convert_it


def test_a_recording_becomes_a_trace_with_the_disks_that_the_guest_marked(tmp_path, converting):
    converting(recorded(tmp_path), "--skip", "1", "--span", "2", "--sample", str(tmp_path / "sample"))
    trace = read_trace(tmp_path / "t.csv.gz")
    assert trace.disks == ("disk0", "disk1", "disk2", "disk3")
    # the marks are requests 4 to 7, so the first one kept is 107: the 100th of the work, on the disk marked first
    assert trace.size.tolist() == [512 * (number + 1) for number in range(107, 307)]
    assert trace.disk.tolist() == [(number - 8) % 4 for number in range(107, 307)]
    np.testing.assert_array_equal(trace.arrival, np.arange(200) / 100)
    assert set(trace.response) == {0.00025}
    assert trace.comments[0] == "guest: made up"
    assert trace.comments[-2:] == (
        "kept: 200 requests that arrived in the 2 s after the first 1 s of the workload; 208 others left out",
        "whole log: every submission has its completion, and no request failed",
    )
    assert len((tmp_path / "sample").read_text().splitlines()) == 200
    assert len(read_trace(tmp_path / "sample")) == 100


def test_recordings_that_cannot_be_converted(tmp_path, converting):
    with pytest.raises(BenchError, match=r"^the log is shorter than 130 s$"):
        converting(recorded(tmp_path))
    with pytest.raises(BenchError, match=r"^the log does not hold the reads that tell which disk is which$"):
        converting(recorded(tmp_path, (*convert.MARKS[:3], convert.MARKS[0])))
    (tmp_path / "trace.log").write_text("qemu: warning\n")
    with pytest.raises(BenchError, match=r"trace.log: there are no virtio_blk_handle_read"):
        converting(tmp_path / "trace.log")


SHIM = """\
#include "pool.h"
struct pool *made(size_t servers, const char *times) {
    struct pool *pool = malloc(sizeof *pool);
    pool_init(pool, servers, times, 1, 4);
    return pool;
}
int64_t served(struct pool *pool, int64_t now) { return pool_served_by(pool, now); }
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
@pytest.mark.parametrize("servers", [0, 1, 2, 5, 64])
def test_the_device_is_a_queue_with_so_many_servers(tmp_path, servers):
    """The heap of the device against the plain recursion: the next request begins when the first server is free."""
    (tmp_path / "shim.c").write_text(SHIM)
    library = tmp_path / "shim.so"
    guest.run("gcc", "-shared", "-fPIC", "-I", devices.SOURCES, tmp_path / "shim.c", "-o", library)
    pool = ctypes.CDLL(str(library))
    pool.made.argtypes, pool.made.restype = [ctypes.c_size_t, ctypes.c_char_p], ctypes.c_void_p
    pool.served.argtypes, pool.served.restype = [ctypes.c_void_p, ctypes.c_int64], ctypes.c_int64
    rng = np.random.default_rng(servers)
    services = rng.exponential(0.01, 700)  # fewer than requests: they begin again
    (tmp_path / "times").write_bytes(services.tobytes())
    arrivals = np.cumsum(rng.exponential(1e7 / max(servers, 1) * 1.05, 2000)).astype(np.int64)
    made = pool.made(servers, str(tmp_path / "times").encode())
    free = [0] * servers
    for number, now in enumerate(arrivals.tolist()):
        begin = max(now, heapq.heappop(free)) if servers else now
        end = begin + int(services[(number + 175) % 700] * 1e9)  # from the second quarter on
        if servers:
            heapq.heappush(free, end)
        assert pool.served(made, now) == end
