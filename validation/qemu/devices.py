"""Storage with known servers and a known law of service, and what QEMU has to be told to use it.

Servers are known in two ways that share nothing: nbdkit's own delay filter, a thread for each server; and a pool in
virtual time (`devices/pool.h`), which plays service times drawn here from any law, behind nbdkit or as files. QEMU's
NBD client has at most 16 requests in flight at a server and keeps the others.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from . import guest
from .cells import Cell
from .guest import BenchError

SOURCES = Path(__file__).parent / "devices"
SIZE = 256 << 20
DRAWS = 1 << 17
"""Service times that a pool has before it begins again."""
NBD_WINDOW = 16


def build(work: Path) -> None:
    """Compile the devices."""
    compiler, configure = guest.tool("gcc", "gcc"), guest.tool("pkg-config", "pkg-config")
    try:
        flags = [guest.run(configure, kind, "fuse3").split() for kind in ("--cflags", "--libs")]
        guest.run(configure, "--exists", "nbdkit")
    except BenchError as error:
        raise BenchError(f"{error} (Debian packages libfuse3-dev and nbdkit-plugin-dev)") from error
    common = (compiler, "-O2", "-pthread")
    guest.run(*common, "-shared", "-fPIC", SOURCES / "nbd.c", "-o", work / "nbd.so")
    guest.run(*common, *flags[0], SOURCES / "files.c", "-o", work / "files", *flags[1])


@contextmanager
def started(cell: Cell, work: Path, folder: Path, seed: int) -> Iterator[list[dict[str, Any]]]:
    """The drives of a cell's disks, as QEMU's -blockdev takes them; their servers are gone when the block is left."""
    kind = {"none": _nothing, "delay": _delays, "nbd": _pools, "files": _files, "disk": _images}[cell.device]
    if cell.device in ("nbd", "files"):
        draws = cell.service.sample(np.random.default_rng(seed), DRAWS)
        (folder / "times").write_bytes(np.asarray(draws, float).tobytes())
    with kind(cell, work, folder) as drives:
        yield drives


def file(path: Path, aio: str | None) -> dict[str, Any]:
    """A raw image as a drive, through one of QEMU's engines and past this machine's cache."""
    return {"driver": "raw", "file": {"driver": "file", "filename": str(path), "aio": aio, "cache": {"direct": True}}}


@contextmanager
def _servers(folder: Path, commands: list[list[str | Path]]) -> Iterator[list[dict[str, Any]]]:
    """One nbdkit for each command, on sockets of its own."""
    nbdkit = guest.tool("nbdkit", "nbdkit")
    with ExitStack() as stack:
        drives = []
        for number, command in enumerate(commands):
            path, errors = folder / f"nbd{number}", folder / f"nbd{number}.errors"
            process = stack.enter_context(guest.child([nbdkit, "-f", "-U", path, *command], errors))
            _appear(path, process, errors, "nbdkit did not start")
            drives.append({"driver": "nbd", "server": {"type": "unix", "path": str(path)}})
        yield drives


def _appear(path: Path, process: "subprocess.Popen[bytes]", errors: Path, failed: str) -> None:
    """Wait for what a process makes."""
    guest.until(lambda: path.exists() or process.poll() is not None, 10)
    if not path.exists():
        raise BenchError(f"{failed}: {guest.last_words(errors.read_text(errors='replace'))}")


@contextmanager
def _nothing(cell: Cell, work: Path, folder: Path) -> Iterator[list[dict[str, Any]]]:
    """QEMU's own device that takes no time."""
    yield [{"driver": "null-co", "size": SIZE, "read-zeroes": True}] * cell.disks


@contextmanager
def _delays(cell: Cell, work: Path, folder: Path) -> Iterator[list[dict[str, Any]]]:
    """For each disk nbdkit with as many threads as the disk has servers, each of which sleeps for a request."""
    seconds = f"{cell.service.mean * 1000:g}ms"
    command: list[str | Path] = [
        "--threads", str(cell.servers), "--filter=delay", "memory", str(SIZE), f"rdelay={seconds}", f"wdelay={seconds}"
    ]  # fmt: skip
    with _servers(folder, [command] * cell.disks) as drives:
        yield drives


@contextmanager
def _pools(cell: Cell, work: Path, folder: Path) -> Iterator[list[dict[str, Any]]]:
    """nbdkit with a pool for each disk, or with one for all."""
    pools = 1 if cell.shared else cell.disks
    commands: list[list[str | Path]] = [
        ["--threads", str(NBD_WINDOW), work / "nbd.so", f"size={SIZE}", f"servers={cell.servers or 0}",
         f"times={folder / 'times'}", f"part={pool}", f"parts={pools}", f"flush={cell.flush:g}"]
        for pool in range(pools)
    ]  # fmt: skip
    with _servers(folder, commands) as drives:
        yield drives * cell.disks if cell.shared else drives


@contextmanager
def _files(cell: Cell, work: Path, folder: Path) -> Iterator[list[dict[str, Any]]]:
    """Files of pools, through FUSE."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        raise BenchError("no access to /dev/fuse")
    mount, errors = folder / "files", folder / "files.errors"
    mount.mkdir()
    command: list[str | Path] = [
        work / "files", mount, str(cell.disks), str(SIZE), str(cell.servers or 0), "shared" if cell.shared else "own",
        folder / "times", f"{cell.flush:g}",
    ]  # fmt: skip
    with guest.child(command, errors) as process:
        _appear(mount / "disk0", process, errors, "the files did not appear")
        yield [file(mount / f"disk{number}", cell.aio) for number in range(cell.disks)]


@contextmanager
def _images(cell: Cell, work: Path, folder: Path) -> Iterator[list[dict[str, Any]]]:
    """Written files on this machine's own disk: holes would be answered without it."""
    drives = []
    for number in range(cell.disks):
        path = folder / f"disk{number}"
        with path.open("wb") as image:
            for _ in range(SIZE >> 20):
                image.write(os.urandom(1 << 20))
            os.fsync(image.fileno())
        drives.append(file(path, cell.aio))
    yield drives
