"""Record the block I/O of a QEMU guest with four differently loaded disks on one iothread.

    python -m validation.qemu.record --work-dir DIR

leaves DIR/trace.log (QEMU's own trace of the requests) and DIR/recording.json (how it was made) for
`validation.qemu.convert`, and DIR/fio.txt (what fio saw in the guest).
"""

import argparse
import json
import os
import random
import shutil
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from . import devices, guest, machine
from .guest import BenchError

MIB = 1 << 20
DEVICES = ("vda", "vdb", "vdc", "vdd")  # as the guest calls disk0 to disk3
DISKS = len(DEVICES)
DISK_SIZE = 512 * MIB
CPUS, MEMORY = 2, 768  # MiB
EVENTS = ("virtio_blk_handle_read", "virtio_blk_handle_write", "virtio_blk_rw_complete")
SEED = 20261123

# QEMU's trace names a disk by a pointer only. Before its work the guest reads one page of each
# disk, the page at MARKS[k] of disk k: that tells which pointer is which.
MARKS = tuple(65536 + 8 * number for number in range(DISKS))

WORKLOAD = {
    "disk0": "SQLite, rollback journal, on ext4: short transactions and index look-ups, exponential pauses",
    "disk1": "fio, sequential log: 16k-64k writes, bursts of 4 at depth 4, then 25 ms of pause",
    "disk2": "fio, random 4k reads, depth up to 8, Poisson submissions at 350/s",
    "disk3": "fio, random 70:30 reads and writes of 4k-64k: bursts of 32 at depth 16 then 150 ms "
    "of pause, and bursts of 250 at depth 32 then 2 s of pause",
}

FIO_JOBS = """\
[global]
ioengine=libaio
direct=1
thread=1
time_based=1
runtime={seconds}
norandommap=1

[log]
filename=/dev/vdb
rw=write
bssplit=16k/50:32k/30:64k/20
iodepth=4
thinktime=25000
thinktime_blocks=4

[reads]
filename=/dev/vdc
rw=randread
bs=4k
iodepth=8
rate_iops=350
rate_process=poisson

[bursts]
filename=/dev/vdd
rw=randrw
rwmixread=70
bssplit=4k/60:16k/30:64k/10
iodepth=16
thinktime=150000
thinktime_blocks=32

[floods]
filename=/dev/vdd
rw=randrw
rwmixread=70
bssplit=4k/60:16k/30:64k/10
iodepth=32
thinktime=2000000
thinktime_blocks=250
"""

LOAD = """\
set -e
mount -t ext4 -o noatime /dev/vda /mnt
(while :; do
  while read -r pause sql; do echo "$sql"; usleep $pause; done </transactions
done) | sqlite3 /mnt/shop.db >/dev/null &
fio --eta=never /jobs.fio
ps | grep -q '[s]qlite3 /mnt' || { echo "sqlite3 did not live until the end"; exit 1; }
"""

ORDERS, CUSTOMERS, ITEMS = 600_000, 40_000, 5_000
SCHEMA = """
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INT, item INT, amount INT, note BLOB);
CREATE INDEX by_customer ON orders (customer);
CREATE TABLE stock (item INTEGER PRIMARY KEY, left INT);
"""


def transactions(rng: random.Random, count: int) -> Iterator[str]:
    """Lines of "pause_in_microseconds sql" for the guest's database client."""
    for _ in range(count):
        pause = round(rng.expovariate(1 / 40_000))
        customer = rng.randrange(CUSTOMERS)
        if rng.random() < 0.4:
            sql = f"SELECT sum(amount), max(length(note)) FROM orders WHERE customer={customer};"
        else:
            items = [rng.randrange(ITEMS) for _ in range(1 + int(rng.expovariate(0.5)))]
            buy = "".join(
                f"INSERT INTO orders VALUES (NULL,{customer},{item},1,randomblob(300));"
                f"UPDATE stock SET left=left-1 WHERE item={item};"
                for item in items
            )
            sql = f"BEGIN;{buy}COMMIT;"
        yield f"{pause} {sql}\n"


def make_database(path: Path, rng: random.Random) -> None:
    """A shop's database, larger than what its client and the guest cache of it soon."""
    rows = ((rng.randrange(CUSTOMERS), rng.randrange(ITEMS), 1, rng.randbytes(300)) for _ in range(ORDERS))
    database = sqlite3.connect(path)
    try:
        database.executescript(SCHEMA)
        with database:
            database.executemany("INSERT INTO orders VALUES (NULL,?,?,?,?)", rows)
            database.executemany("INSERT INTO stock VALUES (?,1000)", ((item,) for item in range(ITEMS)))
    finally:
        database.close()


def disks(folder: Path, rng: random.Random) -> list[Path]:
    """The four raw images."""
    mke2fs = guest.tool("mke2fs", "e2fsprogs")
    if shutil.disk_usage(folder).free < (DISKS + 2) * DISK_SIZE:
        raise BenchError(f"{folder.parent} has less than {(DISKS + 2) * DISK_SIZE // MIB} MiB free")
    images = [folder / f"disk{number}.raw" for number in range(DISKS)]
    (folder / "content").mkdir()
    make_database(folder / "content" / "shop.db", rng)
    guest.run(
        mke2fs, "-q", "-t", "ext4", "-E", "lazy_itable_init=0,lazy_journal_init=0",
        "-d", folder / "content", folder / "sparse.raw", f"{DISK_SIZE // MIB}M",
    )  # fmt: skip
    # Holes would be answered without I/O, and filled by allocating: every block is written.
    with (folder / "sparse.raw").open("rb") as sparse, images[0].open("wb") as image:
        while block := sparse.read(MIB):
            image.write(block)
    for path in images[1:]:
        with path.open("wb") as image:
            for _ in range(DISK_SIZE // MIB):
                image.write(rng.randbytes(MIB))
    (folder / "sparse.raw").unlink()
    os.sync()
    return images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    option = parser.add_argument
    option("--work-dir", type=Path, default=guest.default_work_dir(), metavar="DIR",
           help="folder for everything made (default: %(default)s)")  # fmt: skip
    option("--seconds", type=int, default=140, help="length of the workload (default: %(default)s)")
    option("--boot-limit", type=float, default=120, metavar="SECONDS",
           help="how long the guest may take to boot (default: %(default)s)")  # fmt: skip
    options = parser.parse_args()

    rng = random.Random(SEED)
    with guest.work_folder(options.work_dir.resolve()) as work:
        system = guest.build(
            work,
            machine.INIT,
            programs=[("fio", "fio"), ("sqlite3", "sqlite3")],
            files={
                "load": LOAD,
                "jobs.fio": FIO_JOBS.format(seconds=options.seconds),
                "transactions": "".join(transactions(rng, 5000)),
            },
        )
        recorded = datetime.now(UTC).date().isoformat()
        with machine.place(work) as folder, machine.place(work) as storage:
            # all disks on one iothread, so that they share one Linux AIO context
            drives = [devices.file(image, "native") for image in disks(storage, rng)]
            with machine.started(
                system, folder, drives, machine.EMULATION,
                boot_limit=options.boot_limit, cpus=CPUS, memory=MEMORY, traced=EVENTS,
            ) as running:  # fmt: skip
                for device, mark in zip(DEVICES, MARKS, strict=True):
                    running.shell(f"dd if=/dev/{device} of=/dev/null bs=512 count=1 skip={mark} status=none")
                seen = running.shell("sh /load", options.seconds + 60)
            log = (folder / "log").replace(work / "trace.log")  # complete, as QEMU has ended
        (work / "fio.txt").write_text(seen + "\n")
        provenance = {
            "recorded": f"{recorded}, by validation/qemu/record.py",
            "qemu": machine.version().removeprefix("QEMU emulator "),
            "guest": f"Linux {system.release}, TCG, {CPUS} vCPUs, {MEMORY} MiB",
            "storage": "four virtio-blk disks on one iothread; raw files, O_DIRECT, Linux AIO",
            **WORKLOAD,
        }
        (work / "recording.json").write_text(json.dumps(provenance, indent=1) + "\n")
        print(f"{log}: {log.stat().st_size} bytes")


if __name__ == "__main__":
    raise SystemExit(guest.exit_status(main))
