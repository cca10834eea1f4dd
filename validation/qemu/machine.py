"""A running QEMU: a guest that does what it is told, the monitor, and the log of what a stop is made of."""

import asyncio
import json
import os
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qemu.qmp import QMPClient, QMPError

from . import guest
from .guest import BenchError, Guest

QEMU = ("qemu-system-x86_64", "qemu-system-x86")
"""The program and its Debian package."""
BOOT_LIMIT = 120.0
"""Seconds that a guest may take to boot; under emulation it takes some 8."""
KVM_LIMIT = 20.0
"""The same under KVM, which may open and then never run the guest."""
ANSWER_LIMIT = 120.0
"""Seconds that the guest or the monitor may take for a command."""
EMULATION = "tcg,thread=multi"
MEMORY = 512
"""MiB; the initramfs alone takes some 100."""
LONGEST_SOCKET = 107

# The guest does what it reads from its second serial line.
INIT = """\
mount -t tmpfs tmp /tmp
stty -F /dev/ttyS1 raw -echo
echo "bench: ready"
while IFS= read -r line; do eval "$line"; done </dev/ttyS1 >/dev/ttyS1 2>&1
"""

EVENTS = (
    "vm_state_notify",
    "virtio_blk_data_plane_stop",
    "monitor_protocol_event_emit",
    "vm_stop_flush_all",
    "migration_thread_low_pending",
)
# up to QEMU 10.0 TID@SECONDS.MICROSECONDS:event arguments, later an ISO-8601 time before the event
LOGGED = re.compile(r"(?:\d+@(?P<seconds>\d+\.\d{6}):|(?P<iso>\d{4}-\d\d-\d\dT[\d:.]+)Z )(?P<event>\w+)(?P<rest>.*)")


@dataclass(frozen=True)
class Event:
    """One line of QEMU's trace."""

    time: float
    name: str
    arguments: str


def events(text: str) -> list[Event]:
    """The trace events in a part of a log; its other lines are left out.

    >>> events("7@12.000250:vm_state_notify running 0 reason 9 (paused)\\nqemu: warning\\n")
    [Event(time=12.00025, name='vm_state_notify', arguments='running 0 reason 9 (paused)')]
    >>> events("2026-02-01T00:00:01.500000Z vm_stop_flush_all ret 0\\n")[0].time
    1769904001.5
    """
    found = []
    for line in text.splitlines():
        if parts := LOGGED.match(line):
            seconds = parts["seconds"] or _epoch(parts["iso"])
            found.append(Event(float(seconds), parts["event"], parts["rest"].strip()))
    return found


def _epoch(iso: str) -> float:
    return datetime.fromisoformat(iso).replace(tzinfo=UTC).timestamp()


class Monitor:
    """QEMU's monitor, one command after another, each within a limit of time."""

    def __init__(self, path: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._client = QMPClient("bench")
        self._within(self._client.connect(str(path)))

    def execute(self, command: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """Have a command done, and return what it returns."""
        return self._within(self._client.execute(command, dict(arguments or {})))

    def close(self) -> None:
        """End the connection."""
        with suppress(Exception):  # QEMU may be gone, and what went wrong is on its way already
            self._within(self._client.disconnect())
        self._loop.close()

    def _within(self, what: Coroutine[Any, Any, Any]) -> Any:
        try:
            return self._loop.run_until_complete(asyncio.wait_for(what, ANSWER_LIMIT))
        except TimeoutError as error:
            raise TimeoutError(f"no answer within {ANSWER_LIMIT:g} s") from error


@dataclass
class Machine:
    """A guest that has booted."""

    process: "subprocess.Popen[bytes]"
    monitor: Monitor
    line: socket.socket
    log: Path
    errors: Path
    commands: int = 0
    read_to: int = 0
    _kept: bytes = field(default=b"", repr=False)

    def execute(self, command: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """Have QEMU's monitor do something."""
        try:
            return self.monitor.execute(command, arguments)
        except (QMPError, OSError, EOFError, TimeoutError) as error:
            raise BenchError(self._died(f"the monitor failed at {command}: {error}")) from error

    def ask(self, command: str) -> None:
        """Have the guest's shell begin something."""
        self.commands += 1
        try:
            self.line.sendall(f"{command}; echo =={self.commands} $?\n".encode())
        except OSError as error:
            raise BenchError(self._died(f"the guest's shell is gone: {error}")) from error

    def answer(self, limit: float = ANSWER_LIMIT) -> str:
        """What the command asked last printed, when it has ended, at most `limit` seconds from now."""
        mark = re.compile(rf"=={self.commands} (\d+)\r?\n".encode())
        deadline = time.monotonic() + limit
        while not (end := mark.search(self._kept)):
            self.line.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                more = self.line.recv(65536)
            except OSError as error:
                raise BenchError(self._died(f"the guest's shell did not answer: {error}")) from error
            if not more:
                raise BenchError(self._died("the guest's shell is gone"))
            self._kept += more
        said = self._kept[: end.start()].decode(errors="replace").strip()
        self._kept = self._kept[end.end() :]
        if end[1] != b"0":
            reason = guest.last_words(said, f"status {end[1].decode()}")
            raise BenchError(f"a command failed in the guest: {reason}")
        return said

    def shell(self, command: str, limit: float = ANSWER_LIMIT) -> str:
        """Have the guest's shell do something, and return what it printed."""
        self.ask(command)
        return self.answer(limit)

    def logged(self) -> list[Event]:
        """What QEMU has traced since the last time."""
        with self.log.open("rb") as log:
            log.seek(self.read_to)
            text = log.read()
        end = text.rfind(b"\n") + 1
        self.read_to += end
        return events(text[:end].decode(errors="replace"))

    def _died(self, what: str) -> str:
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(1)
        if self.process.poll() is None:
            return what
        said = guest.last_words(self.errors.read_text(errors="replace"), what)
        return f"QEMU stopped with status {self.process.returncode}: {said}"


def version() -> str:
    """What QEMU says that it is."""
    return guest.run(guest.tool(*QEMU), "--version").splitlines()[0]


def command(
    system: Guest,
    folder: Path,
    drives: Sequence[dict[str, Any]],
    accelerator: str,
    iothreads: int = 1,
    extra: Sequence[str] = (),
    cpus: int = 1,
    memory: int = MEMORY,
    traced: Sequence[str] = EVENTS,
) -> list[str | Path]:
    """QEMU with a virtio-blk disk on each drive, disk k on iothread k modulo their number."""
    line: list[str | Path] = [
        guest.tool(*QEMU), "-accel", accelerator, "-M", "q35", "-m", str(memory),
        "-smp", str(cpus), "-nodefaults", "-display", "none", "-no-reboot", "-serial", f"file:{folder / 'console'}",
        "-chardev", f"socket,id=shell,path={folder / 'shell'},server=on,wait=off", "-serial", "chardev:shell",
        "-qmp", f"unix:{folder / 'qmp'},server=on,wait=off",
        "-kernel", system.kernel, "-initrd", system.initrd, "-append", "console=ttyS0 quiet panic=-1",
        "-msg", "timestamp=on", "-D", folder / "log",
    ]  # fmt: skip
    for event in traced:
        line += ["-trace", event]
    for number in range(iothreads):
        line += ["-object", f"iothread,id=io{number}"]
    for number, drive in enumerate(drives):
        line += ["-blockdev", json.dumps({"node-name": f"d{number}"} | drive)]
        line += ["-device", f"virtio-blk-pci,drive=d{number},iothread=io{number % iothreads},id=q{number}"]
    return [*line, *extra]


def _connect(path: Path, process: "subprocess.Popen[bytes]", errors: Path, limit: float) -> socket.socket:
    """A connection to a socket that QEMU is about to make."""
    deadline = time.monotonic() + limit
    while True:
        line = socket.socket(socket.AF_UNIX)
        try:
            line.connect(str(path))
            return line
        except OSError:
            line.close()
        if process.poll() is not None:
            said = guest.last_words(errors.read_text(errors="replace"), f"status {process.returncode}")
            raise BenchError(f"QEMU did not start: {said}")
        if time.monotonic() > deadline:
            raise BenchError(f"QEMU made no socket within {limit:g} s")
        time.sleep(0.05)


@contextmanager
def started(
    system: Guest,
    folder: Path,
    drives: Sequence[dict[str, Any]],
    accelerator: str,
    iothreads: int = 1,
    boot_limit: float = BOOT_LIMIT,
    incoming: Path | None = None,
    cpus: int = 1,
    memory: int = MEMORY,
    traced: Sequence[str] = EVENTS,
) -> Iterator[Machine]:
    """A machine whose guest has booted or, with `incoming`, that waits for one; gone when the block is left.

    `folder` must be empty: a socket that was left behind would be taken for this machine's.
    """
    if len(str(folder / "shell")) > LONGEST_SOCKET:
        raise BenchError(f"{folder} is too long a path for a socket (at most {LONGEST_SOCKET} bytes)")
    if (free := _free_memory()) < memory + 128:
        raise BenchError(f"the guest needs {memory + 128} MiB of memory, {free} are free")
    extra = [] if incoming is None else ["-incoming", f"unix:{incoming}"]
    errors, console = folder / "errors", folder / "console"
    qemu = command(system, folder, drives, accelerator, iothreads, extra, cpus, memory, traced)
    with guest.child(qemu, errors) as process:
        line = _connect(folder / "shell", process, errors, boot_limit)
        _connect(folder / "qmp", process, errors, boot_limit).close()
        try:
            monitor = Monitor(folder / "qmp")
        except (QMPError, OSError, EOFError, TimeoutError) as error:
            line.close()
            raise BenchError(f"no connection to QEMU's monitor: {error}") from error
        try:
            machine = Machine(process, monitor, line, folder / "log", errors)
            deadline = time.monotonic() + boot_limit
            while incoming is None and b"bench: ready" not in _read(console):
                if process.poll() is not None:
                    raise BenchError(machine._died(f"the guest did not boot, see {console}"))
                if time.monotonic() > deadline:
                    said = _read(console).decode(errors="replace").strip()
                    last = f"its last words: {guest.last_words(said)}" if said else "it said nothing"
                    raise BenchError(f"the guest did not boot within {boot_limit:g} s, {last}")
                time.sleep(0.05)
            yield machine
        finally:
            line.close()
            monitor.close()


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _free_memory() -> int:
    """MiB that can be had without swapping."""
    found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    return int(found[1]) // 1024 if found else 1 << 30


@contextmanager
def place(work: Path) -> Iterator[Path]:
    """An empty folder for one machine or device, removed afterwards."""
    with tempfile.TemporaryDirectory(dir=work, prefix="m") as folder:
        yield Path(folder)


def accelerator(system: Guest, work: Path) -> tuple[str, str]:
    """KVM if a guest really runs under it, else emulation; and why."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return EMULATION, "no access to /dev/kvm"
    try:
        with place(work) as folder, started(system, folder, [], "kvm", boot_limit=KVM_LIMIT):
            return "kvm", "a guest boots under KVM"
    except BenchError as error:
        return EMULATION, f"under KVM: {error}"
