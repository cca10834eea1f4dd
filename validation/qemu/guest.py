"""A throw-away Linux guest, put together at run time from Debian packages.

Nothing binary is kept in the repository: the kernel is Debian's cloud kernel, fetched with apt,
and the initramfs holds busybox, the programs asked for with their libraries, and an init script.
"""

import fcntl
import gzip
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

MODULES = (  # in the order their dependencies ask for; everything else is built into the kernel
    "virtio/virtio_ring",
    "virtio/virtio",
    "virtio/virtio_pci_modern_dev",
    "virtio/virtio_pci_legacy_dev",
    "virtio/virtio_pci",
    "block/virtio_blk",
)

INIT_HEAD = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
exec </dev/console >/dev/console 2>&1
for module in {modules}; do insmod /modules/$module.ko; done
"""


class BenchError(Exception):
    """Something the bench needs is missing or did not work; the text is one line for the user."""


@dataclass(frozen=True)
class Guest:
    """What QEMU boots."""

    release: str
    kernel: Path
    initrd: Path


def tool(name: str, package: str) -> Path:
    """The path of a program, or an error that names the package it comes in."""
    # /usr/sbin is not on every user's PATH, yet mke2fs lives there
    found = shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")
    if found is None:
        raise BenchError(f"{name} is not installed (Debian package {package})")
    return Path(found)


def run(*command: str | Path, cwd: Path | None = None, stdin: str | None = None) -> str:
    """Run a program to its end and return what it printed."""
    done = subprocess.run(
        command, cwd=cwd, input=stdin, stdin=None if stdin else subprocess.DEVNULL,
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise BenchError(f"{Path(command[0]).name} failed: {last_words(done.stderr)}")
    return done.stdout


def last_words(said: str, silent: str = "no message") -> str:
    """The last line that a program has printed, `silent` if it has not.

    >>> last_words("warning\\nno such file\\n\\n"), last_words("")
    ('no such file', 'no message')
    """
    return (said.strip().splitlines() or [silent])[-1].strip()


def until(holds: Callable[[], bool], limit: float) -> bool:
    """Wait until something holds, at most `limit` seconds; whether it does."""
    deadline = time.monotonic() + limit
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def fetch_kernel(work: Path) -> Path:
    """The folder of Debian's current cloud kernel, fetched unless an earlier run did."""
    root = work / "kernel"
    if root.is_dir():
        return root
    apt_get, apt_cache = tool("apt-get", "apt"), tool("apt-cache", "apt")
    # the metapackage depends on whichever kernel is current
    depends = run(apt_cache, "depends", "linux-image-cloud-amd64")
    current = re.search(r"Depends: (linux-image-\S+-cloud-amd64)", depends)
    if current is None:
        raise BenchError("apt knows no linux-image-cloud-amd64 (run apt-get update first)")
    with tempfile.TemporaryDirectory(dir=work) as scratch:
        run(apt_get, "download", current[1], cwd=Path(scratch))
        unpacked = Path(scratch, "kernel")
        run(tool("dpkg", "dpkg"), "-x", *Path(scratch).glob("*.deb"), unpacked)
        unpacked.rename(root)  # a folder of this name is therefore always complete
    return root


def libraries(program: Path) -> list[Path]:
    """The shared libraries a program needs, its loader included; none for a static one."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
    if "not found" in listed:
        raise BenchError(f"{program.name} lacks a shared library")
    return [Path(path) for path in re.findall(r"(/\S+) \(0x", listed)]


def build(
    work: Path,
    init: str,
    programs: Sequence[tuple[str, str]] = (),
    files: Mapping[str, str] | None = None,
) -> Guest:
    """Make the guest: `init` goes on after the modules are loaded, and `files` lie in its root.

    `programs` are (name, Debian package) pairs.
    """
    contents = [tool("busybox", "busybox-static"), *(tool(*program) for program in programs)]
    if libraries(contents[0]):
        raise BenchError("busybox is not static (Debian package busybox-static)")
    cpio = tool("cpio", "cpio")
    root = fetch_kernel(work)
    kernels = list(root.glob("boot/vmlinuz-*"))
    if len(kernels) != 1:
        raise BenchError(f"no kernel under {root} (remove that folder to fetch it again)")
    release = kernels[0].name.removeprefix("vmlinuz-")

    initrd = work / "initrd.gz"
    with tempfile.TemporaryDirectory(dir=work) as scratch:
        stage = Path(scratch)
        for folder in ("bin", "dev", "proc", "sys", "tmp", "mnt", "modules"):
            (stage / folder).mkdir()
        for program in contents:
            shutil.copy(program, stage / "bin")
            for library in libraries(program):
                place = stage / library.relative_to("/")
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(library, place)
        for module in MODULES:
            found = root / f"lib/modules/{release}/kernel/drivers/{module}.ko"
            if not found.is_file():
                raise BenchError(f"kernel {release} has no module {module}.ko")
            shutil.copy(found, stage / "modules")
        for name, text in (files or {}).items():
            (stage / name).write_text(text)
        names = " ".join(Path(module).name for module in MODULES)
        (stage / "init").write_text(INIT_HEAD.format(modules=names) + init)
        (stage / "init").chmod(0o755)
        members = "\n".join(sorted(str(path.relative_to(stage)) for path in stage.rglob("*")))
        archive = stage.with_suffix(".cpio")
        try:
            run(cpio, "-o", "-H", "newc", "-R", "0:0", "-F", archive, cwd=stage, stdin=members)
            with archive.open("rb") as plain, gzip.open(initrd, "wb", compresslevel=1) as packed:
                shutil.copyfileobj(plain, packed)
        finally:
            archive.unlink(missing_ok=True)
    return Guest(release, kernels[0], initrd)


@contextmanager
def child(command: Sequence[str | Path], stderr: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is gone when the block is left, however it is left."""
    with stderr.open("wb") as errors:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=errors, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def work_folder(path: Path) -> Iterator[Path]:
    """The folder for everything made, held by one run at a time."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise BenchError(f"work folder {path}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BenchError(f"work folder {path} is in use by another run") from error
    else:
        yield path
    finally:
        os.close(lock)


def default_work_dir() -> Path:
    """A cache folder, so that the kernel is fetched once."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "qtheory-qemu"


def exit_status(main: Callable[[], None]) -> int:
    """Run a script's main: 0, or one line on stderr and 2 for an error, 130 for an interrupt."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)  # so that `finally` blocks clean up here as well
    try:
        main()
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error.filename or 'system'}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0
