"""Measure cells of the bench on a real QEMU.

    python -m validation.qemu.measure [CELL ...]

measures the cells named, or all that have no data yet, and puts what it saw into validation/qemu/data: one row for each
stop, for each second of steady running, and for each migration. A cell that is measured again takes the place of what
was there. Nothing is worked out here; that is what `predict` and `compare` are for.
"""

import argparse
import json
import os
import platform
import random
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import median
from typing import Any

from . import devices, guest, machine, recordings
from .cells import CELLS, MIGRATIONS, SMOKE, Cell
from .cycle import SETTLE, SPREAD, settling
from .guest import BenchError, Guest
from .machine import Event, Machine

WARM_UP = 2.0
SECONDS = 10
SEED = 20261127
Row = dict[str, Any]
Rows = dict[str, list[Row]]
"""Rows by the name of their table."""


def fio(cell: Cell) -> str:
    """The guest's load: random requests of 4 KiB, always `depth` of them on each disk."""
    rw = "randread" if not cell.writes else f"randrw --rwmixread={100 * (1 - cell.writes):g}"
    jobs = " ".join(f"--name={disk} --filename=/dev/{disk}" for disk in names(cell))
    return (
        f"fio --direct=1 --ioengine=libaio --time_based --runtime=1000000 --norandommap --randrepeat=0 --thread "
        f"--rw={rw} --bs=4k --iodepth={cell.depth} {jobs}"
    )


def names(cell: Cell) -> list[str]:
    """The disks as the guest calls them."""
    return [f"vd{chr(ord('a') + number)}" for number in range(cell.disks)]


def limit(cell: Cell, requests: int) -> str:
    """The guest's shell command that limits every disk's requests, all disks at once."""
    return f"for d in {' '.join(names(cell))}; do echo {requests} >/sys/block/$d/queue/nr_requests & done; wait"


def set_up(cell: Cell, running: Machine) -> None:
    """Begin the cell's load under the cell's limits."""
    schedulers = "; ".join(f"echo none >/sys/block/{disk}/queue/scheduler" for disk in names(cell))
    running.shell(schedulers)
    if cell.threads is not None:
        for number in range(cell.iothreads):
            place = {"path": f"/objects/io{number}", "property": "thread-pool-max"}
            running.execute("qom-set", place | {"value": cell.threads})
    if cell.requests is not None and cell.lead is None:
        running.shell(limit(cell, cell.requests))
    if cell.depth:
        running.shell(f"({fio(cell)} >/tmp/fio 2>&1 &)")
    for number in range(cell.disks if cell.rate_limit is not None else 0):
        none = dict.fromkeys(("bps", "bps_rd", "bps_wr", "iops_rd", "iops_wr"), 0)
        disk = {"id": f"/machine/peripheral/q{number}/virtio-backend", "iops": round(cell.rate_limit or 0)}
        running.execute("block_set_io_throttle", disk | none)
    if cell.depth and not guest.until(lambda: min(requests for requests, _ in counts(running)) > 0, 60):
        said = guest.last_words(running.shell("cat /tmp/fio"), "fio said nothing")
        raise BenchError(f"the guest's load did not begin within 60 s: {said}")
    time.sleep(WARM_UP)


def counts(running: Machine) -> list[tuple[int, float]]:
    """Requests completed on each disk, and the sum of their response times [s], as QEMU accounts them."""
    stats = [block["stats"] for block in running.execute("query-blockstats")]
    return [
        (s["rd_operations"] + s["wr_operations"], (s["rd_total_time_ns"] + s["wr_total_time_ns"]) / 1e9) for s in stats
    ]


def steady(cell: Cell, running: Machine, seconds: int) -> Rows:
    """Throughput and response times, second by second, of QEMU and over all of them of the guest."""
    rows: Rows = {"seconds": [], "guest": []}
    stats = "; ".join(f"cat /sys/block/{disk}/stat" for disk in names(cell))

    def seen() -> tuple[float, list[list[int]]]:
        said = running.shell(stats)
        return time.monotonic(), [[int(word) for word in line.split()] for line in said.splitlines()]

    began, first = seen()
    then, before = time.monotonic(), counts(running)
    for second in range(seconds):
        time.sleep(max(0.0, then + 1.0 - time.monotonic()))
        now, after = time.monotonic(), counts(running)
        for disk, ((n, total), (n_before, total_before)) in enumerate(zip(after, before, strict=True)):
            rows["seconds"].append({
                "cell": cell.name, "second": second, "disk": disk, "elapsed": f"{now - then:.6f}",
                "requests": n - n_before, "response": f"{total - total_before:.6f}",
            })  # fmt: skip
        then, before = now, after
    ended, last = seen()
    for disk, (new, old) in enumerate(zip(last, first, strict=True)):
        # reads and their milliseconds are words 0 and 3 of a disk's stat, writes and theirs words 4 and 7
        requests, response = (sum(new[k] - old[k] for k in words) for words in ((0, 4), (3, 7)))
        rows["guest"].append({
            "cell": cell.name, "disk": disk, "elapsed": f"{ended - began:.6f}", "requests": requests,
            "response": f"{response / 1000:.3f}",
        })  # fmt: skip
    return rows


def parts(called: float, events: Sequence[Event]) -> Row:
    """What a stop was made of: the vCPUs' pause, the disks' drains and when the turn of each came, the flush.

    >>> log = [Event(10.001, "vm_state_notify", "running 0 reason 4 (paused)"),
    ...        Event(10.001, "virtio_blk_data_plane_stop", "dataplane 0xa"),
    ...        Event(10.021, "virtio_blk_data_plane_stop", "dataplane 0xb"),
    ...        Event(10.041, "monitor_protocol_event_emit", "event=3 data=0xc"),
    ...        Event(10.051, "vm_stop_flush_all", "ret 0")]
    >>> parts(10.0, log)
    {'vcpus': '0.001000', 'disks': '0.040000', 'flush': '0.010000', 'turns': '0.000000;0.020000'}
    """
    notified = [event.time for event in events if (event.name, event.arguments[:9]) == ("vm_state_notify", "running 0")]
    if not notified:
        raise BenchError("QEMU's log does not show the stop (its trace events are not those known)")
    later = [event for event in events if event.time >= notified[-1]]
    told = [event.time for event in later if event.name == "monitor_protocol_event_emit"]
    flushed = [event.time for event in later if event.name == "vm_stop_flush_all"]
    if not told or not flushed:
        raise BenchError("QEMU's log shows the begin of a stop but not its end")
    turns = [event.time - notified[-1] for event in later if event.name == "virtio_blk_data_plane_stop"]
    return {
        "vcpus": f"{notified[-1] - called:.6f}",
        "disks": f"{told[0] - notified[-1]:.6f}",
        "flush": f"{flushed[0] - told[0]:.6f}",
        "turns": ";".join(f"{turn:.6f}" for turn in turns),
    }


def settle(cell: Cell) -> float:
    """Seconds for the guest to fill its queues again and reach steady running."""
    return SETTLE if cell.device in ("disk", "none") else settling(cell)


def stops(cell: Cell, running: Machine, rng: random.Random) -> Rows:
    """The stops, at random moments: one in each of as many equal parts of `SPREAD`, in random order."""
    rows = []
    for number, part in enumerate(rng.sample(range(cell.stops), cell.stops)):
        pause = settle(cell) + SPREAD * (part + rng.random()) / cell.stops
        began = time.monotonic()
        time.sleep(pause)
        extra: Row = {"lead": "", "completed": ""}
        if cell.lead is not None and cell.requests is not None:
            before, limited = counts(running), time.monotonic()
            running.ask(limit(cell, cell.requests))
            time.sleep(max(0.0, limited + cell.lead - time.monotonic()))
            after = counts(running)
            extra["completed"] = sum(n for n, _ in after) - sum(n for n, _ in before)
            extra["lead"] = f"{time.monotonic() - limited:.6f}"
        pause = time.monotonic() - began
        running.logged()
        called, at = time.time(), time.monotonic()
        running.execute("stop")
        took = time.monotonic() - at
        row = {"cell": cell.name, "stop": number, "pause": f"{pause:.6f}", "took": f"{took:.6f}"}
        rows.append(row | parts(called, running.logged()) | extra)
        running.execute("cont")
        if cell.lead is not None:
            running.answer()
            running.shell(limit(cell, 256))
    return {"stops": rows}


def measure(cell: Cell, system: Guest, work: Path, accelerator: str, seconds: int = SECONDS) -> Rows:
    """One cell: a machine of its own, its steady running, its stops."""
    rng = random.Random(f"{SEED} {cell.name}")
    with ExitStack() as stack:
        folder, storage = (stack.enter_context(machine.place(work)) for _ in range(2))
        drives = stack.enter_context(devices.started(cell, work, storage, rng.getrandbits(32)))
        running = stack.enter_context(machine.started(system, folder, drives, accelerator, cell.iothreads))
        set_up(cell, running)
        return steady(cell, running, seconds) | stops(cell, running, rng)


def migrate(cell: Cell, system: Guest, work: Path, accelerator: str) -> Rows:
    """Live migrations from one QEMU to another on this machine, over a unix socket, the load going on."""
    rng = random.Random(f"{SEED} {cell.name}")
    rows = []
    with ExitStack() as stack:
        storage = stack.enter_context(machine.place(work))
        drives = stack.enter_context(devices.started(cell, work, storage, rng.getrandbits(32)))
        for run in range(cell.stops):
            with ExitStack() as both:
                folder, other = (both.enter_context(machine.place(work)) for _ in range(2))
                source = both.enter_context(machine.started(system, folder, drives, accelerator))
                way = other / "way"
                target = both.enter_context(machine.started(system, other, drives, accelerator, incoming=way))
                set_up(cell, source)
                time.sleep(rng.uniform(0, SPREAD))
                rows.append({"cell": cell.name, "run": run} | _migration(cell, source, target, way))
    return {"migrations": rows}


def _migration(cell: Cell, source: Machine, target: Machine, way: Path) -> Row:
    lead = ""
    if cell.lead is not None and cell.requests is not None:
        began = time.monotonic()
        source.shell(limit(cell, cell.requests))
        lead = f"{time.monotonic() - began:.6f}"
    source.execute("migrate-set-parameters", {"max-bandwidth": 1 << 30})
    source.logged()
    source.execute("migrate", {"uri": f"unix:{way}"})
    ends = ("completed", "failed", "cancelled")
    ended = guest.until(lambda: source.execute("query-migrate").get("status") in ends, machine.ANSWER_LIMIT)
    state = source.execute("query-migrate")
    if not ended:
        raise BenchError(f"a migration did not end within {machine.ANSWER_LIMIT:g} s: {state.get('status')}")
    if state["status"] != "completed":
        raise BenchError(f"a migration {state['status']}: {state.get('error-desc', 'no reason given')}")
    log = source.logged()
    ready = [event.time for event in log if event.name == "migration_thread_low_pending"]
    if not ready:
        raise BenchError("QEMU's log does not show the switchover (its trace events are not those known)")
    seen = parts(ready[-1], log)
    # the target goes on a little after the source has ended
    if not guest.until(lambda: target.execute("query-status")["status"] == "running", 10):
        raise BenchError("the guest does not run 10 s after its migration")
    return {
        "downtime": state["downtime"] / 1000, "total": state["total-time"] / 1000,
        "vcpus": seen["vcpus"], "disks": seen["disks"], "flush": seen["flush"], "lead": lead,
    }  # fmt: skip


def about(system: Guest, accelerator: str, why: str) -> Row:
    """What the bench ran on."""
    cpu = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model n" in line]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processors": f"{os.cpu_count()} x {cpu[0] if cpu else platform.machine()}",
        "host kernel": platform.release(),
        "guest kernel": system.release,
        "qemu": machine.version(),
        "nbdkit": guest.run(guest.tool("nbdkit", "nbdkit"), "--version").strip(),
        "fio": guest.run(guest.tool("fio", "fio"), "--version").strip(),
        "accelerator": f"{accelerator.split(',')[0]} ({why})",
        "guest": f"1 vCPU, {machine.MEMORY} MiB",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    option = parser.add_argument
    option("cells", nargs="*", metavar="CELL", help="names, or patterns of names (default: what has no data)")
    option("--work-dir", type=Path, default=guest.default_work_dir(), metavar="DIR",
           help="folder for everything made (default: %(default)s)")  # fmt: skip
    option("--smoke", action="store_true", help="one small cell, a few stops; nothing is kept")
    options = parser.parse_args()

    every = CELLS | MIGRATIONS
    if options.smoke:
        chosen = [SMOKE]
    elif options.cells:
        chosen = [cell for word in options.cells for cell in _named(word, every)]
    else:
        have = {name for table in ("stops", "migrations") for name in recordings.table(table)}
        chosen = [cell for cell in every.values() if cell.name not in have]
    with guest.work_folder(options.work_dir.resolve()) as work:
        system = guest.build(work, machine.INIT, programs=[("fio", "fio")])
        devices.build(work)
        accelerator, why = machine.accelerator(system, work)
        print(f"accelerator: {accelerator} ({why})")
        bench = json.dumps(about(system, accelerator, why), indent=1) + "\n"
        for number, cell in enumerate(chosen, 1):
            began = time.monotonic()
            if cell.name in MIGRATIONS:
                rows = migrate(cell, system, work, accelerator)
            else:
                rows = measure(cell, system, work, accelerator, 2 if options.smoke else SECONDS)
            if not options.smoke:
                recordings.keep(cell.name, rows)
                (recordings.FOLDER / "bench.json").write_text(bench)
            took = time.monotonic() - began
            print(f"{number}/{len(chosen)} {cell.name}: {summary(rows)}, in {took:.0f} s", flush=True)


def _named(word: str, every: dict[str, Cell]) -> list[Cell]:
    found = [cell for name, cell in every.items() if fnmatchcase(name, word)]
    if not found:
        raise BenchError(f"no cell is called {word}; there are {', '.join(every)}")
    return found


def summary(rows: Rows) -> str:
    """One line of what was seen."""
    said = []
    if seconds := rows.get("seconds"):
        disks = len({row["disk"] for row in seconds})
        elapsed = sum(float(row["elapsed"]) for row in seconds) / disks
        said.append(f"{sum(row['requests'] for row in seconds) / elapsed / disks:.1f} requests/s a disk")
    if taken := [float(row["took"]) for row in rows.get("stops", [])]:
        said.append(f"stops of {1000 * median(taken):.1f} ms (median)")
    if down := [float(row["downtime"]) for row in rows.get("migrations", [])]:
        said.append(f"downtimes of {1000 * median(down):.0f} ms (median)")
    return ", ".join(said)


if __name__ == "__main__":
    sys.exit(guest.exit_status(main))
