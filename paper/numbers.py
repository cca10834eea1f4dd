"""The numbers of the text: \\result{name} in a section is what is computed here from validation/results.

QEMU's constants come from the library's presets of its engines.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import qtheory as qt
from paper.results import cell, error, number, optimal_control, percent, quantile, rows, simple_at_worst, table
from qtheory.engines import LINUX_AIO_MAX_EVENTS, THREAD_POOL_MAX_THREADS
from qtheory.sizing.closed_forms import one_line
from qtheory.sizing.host_budget import AIO_MAX_NR
from validation.sizing import LOSS, SERVICE

Named = tuple[str, str]

RESOLVED = 0.01
"""Half-widths above this part of the value say little about an error."""


def numbers() -> dict[str, str]:
    """All of them, by name."""
    found: dict[str, str] = {}
    for part in (constants, sizing, closed_forms, shares, host, service_laws, drains, throttles, ways, control, devices,
                 recorded_drains, traces, simulated_optima, qemu):  # fmt: skip
        for name, text in part():
            if name in found:
                raise ValueError(f"two numbers are called {name}")
            found[name] = text
    return found


def macros() -> str:
    """The numbers as LaTeX macros; and the section on a real QEMU's stops, if they have been measured."""
    named = "".join(rf"\newresult{{{name}}}{{{text}}}" + "\n" for name, text in numbers().items())
    measured = {name: rf"\input{{sections/qemu_{name}}}" if table("qemu") else "" for name in ("results", "table")}
    return named + "".join(rf"\newcommand{{\qemu{name}}}{{{text}}}" + "\n" for name, text in measured.items())


def constants() -> Iterator[Named]:
    """What QEMU's engines are, by the library's presets, and what is asked of a queue length."""
    yield "ring", number(inspect.signature(qt.Disk).parameters["buffer"].default)
    yield "p", percent(inspect.signature(qt.optimal_queue_length).parameters["drain_probability"].default)
    yield "eps", percent(LOSS)
    yield "sizing.service", number(1e3 * SERVICE)
    slots = [one_line(disks=n, requests=None, loss=LOSS) for n in (2, 3)]
    yield "slope", number(slots[1] - slots[0])
    yield "qemu.aio", number(LINUX_AIO_MAX_EVENTS)
    yield "qemu.threads", number(THREAD_POOL_MAX_THREADS)


def sizing() -> Iterator[Named]:
    """One line and equal shares before saturated disks with a device each."""
    name = "sizing_line_or_shares"
    for n, k in ((64, 256), (16, 256), (4, 256), (64, 2048)):
        where = {"disks": str(n), "requests": str(k)}
        yield f"line.{n}.{k}", number(cell(name, "line_slots", **where))
        yield f"line.endless.{n}.{k}", number(cell(name, "line_slots_endless", **where))
        yield f"shares.{n}.{k}", number(cell(name, "share_slots", **where))
        yield f"line.drain.{n}.{k}", number(cell(name, "line_drain_ms", **where))
        yield f"shares.drain.{n}.{k}", number(cell(name, "share_drain_ms", **where))
        yield f"line.loss128.{n}.{k}", percent(cell(name, "line_loss_at_128", **where))
        yield f"line.lossn.{n}.{k}", percent(cell(name, "line_loss_at_share_slots", **where))
        yield f"shallow.line.{n}.{k}", number(cell(name, "shallow_rate_line", **where))
        yield f"shallow.shares.{n}.{k}", number(cell(name, "shallow_rate_shares", **where))
        yield f"deep.line.{n}.{k}", number(cell(name, "deep_rate_line", **where))
    yield "sizing.last", table(name)[-1]["disks"]
    yield "rule.cases", number(len(table("sizing_rule")))
    for column, key in (("loss_regret", "loss"), ("drain_regret", "drain"), ("over_budget", "over")):
        yield f"rule.{key}", percent(max(float(row[column]) for row in table("sizing_rule") if row[column]), 1)
    open_line = table("sizing_unsaturated_line")
    yield "open.cases", number(len(open_line))
    yield "open.within", number(sum(row["within"] == "1" for row in open_line))
    yield "open.loss", percent(max(float(row["loss_at_optimum"]) for row in open_line), 1)


def closed_forms() -> Iterator[Named]:
    """How many slots each closed form is off."""
    for form, key in (("one line", "line"), ("square root", "root"), ("drain limited", "drain"), ("own share", "own")):
        off = [abs(float(row["closed"]) - float(row["numeric"])) for row in rows("sizing_closed_forms", form=form)]
        yield f"form.{key}.cases", number(len(off))
        yield f"form.{key}.off", number(max(off))


def shares() -> Iterator[Named]:
    """What a shallow disk gets, and two devices that share tags."""
    where = {"engine": "own, 4 beside seven of 256", "slots": "64"}
    for key in ("fifo", "equal"):
        yield f"eight.shallow.{key}", number(cell("shares_disciplines", "shallow_rate", shares=key, **where))
        yield f"eight.drain.{key}", number(cell("shares_disciplines", "simulated_drain_99_ms", shares=key, **where))
    yield "tags.line", number(cell("shares_two_devices", "fast", **{"freed slot": "to a disk at random"}))
    for speed in ("fast", "slow"):
        yield (
            f"tags.{speed}.shares",
            number(cell("shares_two_devices", speed, **{"freed slot": "equal shares, or Linux's"})),
        )


def host() -> Iterator[Named]:
    """A host's AIO slots."""
    where = {"guests": "100: 4 disks", "slots": str(AIO_MAX_NR)}
    yield "host.slots", number(AIO_MAX_NR)
    yield "host.most", number(cell("host_budget", "most_guests", **where))
    yield "host.constant", number(cell("host_budget", "constant_guests", **where))


def resolved(row: dict[str, str]) -> bool:
    """Whether the simulation tells the row's error."""
    return float(row["half_width"]) <= RESOLVED * abs(float(row["truth"]))


def span(found: list[dict[str, str]], letter: str) -> str:
    """From the least to the largest value of a letter in the names of cells."""
    values = [float(x) for row in found for text in re.findall(rf"\b{letter}=([\d./]+)", row["cell"])
              for x in text.split("/")]  # fmt: skip
    return f"{min(values):g} to {max(values):g}"


def service_laws() -> Iterator[Named]:
    """Steady states against simulation."""
    every = table("service_laws")
    yield "resolved", percent(RESOLVED)
    yield "laws.cells", number(len({row["cell"] for row in every}))
    for key, pattern in (("disks", "N"), ("servers", "c"), ("scvs", "scv")):
        yield f"laws.{key}", span(every, pattern)
    yield "laws.buffers", span(every, "K")
    for key, family in (("ph", "phase-type"), ("other", "other")):
        for quantity in ("throughput", "blocking", "mean_wait", "response_quantile"):
            errors = [
                abs(float(row["relative_error"]))
                for row in rows("service_laws", family=family, quantity=quantity)
                if row["way"] != "exact" and resolved(row)
            ]
            short = {"mean_wait": "wait", "response_quantile": "response"}.get(quantity, quantity)
            yield f"laws.{key}.{short}.median", percent(quantile(errors, 0.5), 2)
            yield f"laws.{key}.{short}.most", percent(max(errors), 1)
    exact = [row for row in rows("service_laws", way="exact") if resolved(row)]
    within = [row for row in exact if abs(float(row["answer"]) - float(row["truth"])) <= float(row["half_width"])]
    yield "laws.exact.cases", number(len(exact))
    yield "laws.exact.within", percent(len(within) / len(exact))
    yield "chain.cells", number(len({row["cell"] for row in table("phase_type")}))
    for split in ("equal", "followed", "plain"):
        errors = [
            abs(float(row["relative_error"])) for row in rows("phase_type", split=split, quantity="mean_wait")
            if resolved(row)
        ]  # fmt: skip
        yield f"chain.{split}.median", percent(quantile(errors, 0.5), 1)
        yield f"chain.{split}.most", percent(max(errors), 1)


PHASE_TYPE = ("exponential", "Erlang-4", "H2, scv 4")
LAWS = (*PHASE_TYPE, "lognormal, scv 2", "deterministic")


def drains() -> Iterator[Named]:
    """Drains against simulated stops."""
    every = table("drain")
    yield "drain.engines", number(len(every))
    yield "drain.stops", number(min(float(row["stops"]) for row in every))
    yield "drain.servers", span(every, "c")
    loads = sorted({float(x) for row in every for x in re.findall(r"rho=([\d.]+)", row["cell"])})
    yield "drain.loads", ", ".join(f"{x:g}" for x in loads[:-1]) + f" and {loads[-1]:g}"
    for key, laws in (("ph", PHASE_TYPE), ("lognormal", ("lognormal, scv 2",)), ("constant", ("deterministic",))):
        chosen = [row for row in every if row["law"] in laws]
        yield f"drain.{key}.cases", number(len(chosen))
        for quantity in ("mean", "quantile"):
            errors = [error(row, quantity, f"simulated_{quantity}") for row in chosen]
            yield f"drain.{key}.{quantity}.median", percent(quantile(errors, 0.5), 1)
            yield f"drain.{key}.{quantity}.most", percent(max(errors), 1)
    exact = [float(row["exceeded"]) for row in every if row["exact"] == "True"]
    yield "drain.exact.cases", number(len(exact))
    yield "drain.exceeded", percent(sum(exact) / len(exact), 3)


def throttles() -> Iterator[Named]:
    """Ways of reducing I/O before a stop."""
    for engine, key in (("slow", "slow"), ("parallel", "parallel"), ("reads and writes", "mixed")):
        for policy, short in (
            ("none", "none"),
            ("rate limit, half the throughput", "rate"),
            ("stop accepting", "stop"),
            ("one at a time", "one"),
            ("finish in time, class-blind", "blind"),
            ("finish in time, by disk", "disk"),
            ("finish in time, by request", "request"),
            ("latency target", "target"),
        ):
            for row in rows("throttles", engine=engine, policy=policy):
                yield f"throttle.{key}.{short}.drain", number(float(row["drain 99 % [ms]"]))
                yield f"throttle.{key}.{short}.lost", percent(float(row["throughput lost"]), 1)
                yield f"throttle.{key}.{short}.over", percent(float(row["over budget"]), 1)
        yield f"throttle.{key}.budget", number(float(rows("throttles", engine=engine)[0]["budget [ms]"]))
    none, limited = (
        cell("throttles", "drain 99 % [ms]", engine="slow", policy=policy)
        for policy in ("none", "rate limit, half the throughput")
    )
    yield "throttle.rate.factor", number(limited / none, 1)


def control() -> Iterator[Named]:
    """The best policy before a stop at a known time, and simple ones."""
    found = optimal_control()
    needed = [row for row in found if row["optimum"] is not None]
    yield "control.cells", number(len(found))
    yield "control.nothing", number(len(found) - len(needed))
    yield "control.needed", number(len(needed))
    one = [row["one at a time"] or 0.0 for row in needed]
    yield "control.one.least", number(100.0 * min(one))
    yield "control.one.most", percent(max(one))
    overload = [row["one at a time"] or 0.0 for row in needed if (row["rho"] or 0.0) > 1.0]
    yield "control.one.overload", percent(max(overload))
    yield "control.simple", percent(simple_at_worst(), 1)
    yield "control.limits", percent(min(row["two limits"] or 0.0 for row in needed), 1)


def ways() -> Iterator[Named]:
    """The frontier of depth limits, and policies beside it."""
    yield "frontier.window", number(float(table("drain_frontier")[0]["window_ms"]))
    for key, way in (("all", "no limit"), ("one", "one at a time")):
        yield f"frontier.{key}", number(cell("drain_frontier", "throughput", way=way))
        yield f"frontier.{key}.response", number(cell("drain_frontier", "response_999_ms", way=way))
    (step,) = (row for row in table("drain_frontier") if row["way"].startswith("step to "))
    yield "frontier.step.depth", step["way"].removeprefix("step to ")
    yield "frontier.step", number(float(step["throughput"]))


DEVICES = {
    "hdd": "HDD, 7200 rpm, NCQ: read",
    "raid": "RAID 5 of 8 HDDs: read",
    "ssd": "SATA SSD: read",
    "nvme": "NVMe: read",
}


def devices() -> Iterator[Named]:
    """QEMU's constants on real devices."""
    for key, device in DEVICES.items():
        drain = cell("fio_constants", "drain_ms", device=device, rule="Linux AIO")
        yield f"fio.{key}.drain", number(drain) if drain >= 10.0 else number(drain, 1)
        yield f"fio.{key}.loss", percent(cell("fio_constants", "loss", device=device, rule="threads"))
        yield f"fio.{key}.optimum", number(cell("fio_constants", "queue_length", device=device, rule="optimum for 5 %"))
    yield "fio.hdd.seconds", number(cell("fio_constants", "drain_ms", device=DEVICES["hdd"], rule="Linux AIO") / 1e3, 1)
    tails = [float(row[c]) for row in table("fio_prediction") if row[c := "p99_over_mean_beyond_knee"]]
    yield "tail.least", number(quantile(tails, 0.1), 1)
    yield "tail.most", number(quantile(tails, 0.9), 1)
    yield "fio.devices", number(len({row["device"] for row in table("fio_constants")}))


RECORDINGS = ("rw_60_40.490", "most_rand_iops.537", "rw_75_25.379")


def recorded_drains() -> Iterator[Named]:
    """Recorded drains of a thread pool, predicted."""
    found = [
        {row["quantity"]: float(row["measured or found"]) for row in rows("real_drains", recording=recording)}
        for recording in RECORDINGS
    ]
    ratio = [one["ratio"] for one in found]
    inside = [one["inside the 90 % interval"] for one in found]
    off = [one["median relative error"] for one in found]
    yield "real.ratio.least", number(min(ratio), 2)
    yield "real.ratio.most", number(max(ratio), 2)
    yield "real.inside.least", number(100.0 * min(inside))
    yield "real.inside.most", percent(max(inside))
    yield "real.off.least", number(100.0 * min(off))
    yield "real.off.most", percent(max(off))


def traces() -> Iterator[Named]:
    """Recorded arrivals beside Poisson ones."""
    one = {"trace": "financial1", "part": "whole", "quantity": "mean_wait", "service": "exponential"}
    for servers in ("4", "16"):
        where = {**one, "servers": servers, "utilization": "0.5"}
        ratio = cell("map_fit", "replayed", **where) / cell("map_fit", "poisson", **where)
        yield f"trace.financial.{servers}", number(ratio)
    burstiest = {**one, "trace": "hplajw", "servers": "4", "utilization": "0.5"}
    yield "trace.hplajw.fitted", percent(cell("map_fit", "map", **burstiest) / cell("map_fit", "replayed", **burstiest))
    held = [row for row in rows("map_fit", part="held out") if row["service"] == "exponential"]
    yield "trace.held.cases", number(len(held))
    yield "trace.held.inside", number(sum(row["inside"] == "1" for row in held))
    yield "trace.count", number(len({row["trace"] for row in table("map_fit")}))


def simulated_optima() -> Iterator[Named]:
    """Optimal queue lengths beside those by simulation."""
    every = table("sizing_by_simulation")
    yield "optima.engines", number(len({(row["kind"], row["case"]) for row in every}))
    yield "optima.ends", number(len(every))
    yield "optima.within", percent(sum(row["within"] == "1" for row in every) / len(every))
    for key, kind in (("shared", "shared"), ("line", "line, saturated"), ("open", "line, open"), ("shares", "shares")):
        chosen = rows("sizing_by_simulation", kind=kind)
        yield f"optima.{key}", percent(sum(row["within"] == "1" for row in chosen) / len(chosen))
    yield "optima.refused", number(sum(row["method"].startswith("refused") for row in every))
    yield "optima.monotone", percent(sum(row["monotone"] == "1" for row in every) / len(every), 1)


QEMU_WITHIN = 0.10
"""Of the median stop."""


def qemu() -> Iterator[Named]:
    """Stops of a real QEMU guest, once they have been measured."""
    every = table("qemu")
    if not every:
        return
    known = [row for row in every if row["median_error"] and row["question"] != "migration"]
    yield "qemu.cells", number(len(every))
    yield "qemu.known", number(len(known))
    yield "qemu.stops", number(sum(float(row["stops"]) for row in every))
    yield "qemu.asked", percent(QEMU_WITHIN)
    for key in ("iops", "median", "90"):
        off = [abs(float(row[f"{key}_error"])) for row in known if row[f"{key}_error"]]
        yield f"qemu.{key}.median", percent(quantile(off, 0.5), 1)
        yield f"qemu.{key}.most", percent(max(off))
    yield "qemu.within", number(sum(abs(float(row["median_error"])) <= QEMU_WITHIN for row in known))
    found = {row["cell"]: row for row in every}
    for name, row in found.items():
        yield f"qemu.{name}.stop", number(1e3 * float(row["median_measured"]))
        if row["median_predicted"]:
            yield f"qemu.{name}.said", number(1e3 * float(row["median_predicted"]))
        if row["iops_measured"]:
            yield f"qemu.{name}.iops", number(float(row["iops_measured"]))
    for name, to in (("rate-50", "delay-32"), ("delay-64", "guest-limit-8"), ("delay-64", "delay-8")):
        if name in found and to in found:
            ratio = float(found[name]["median_measured"]) / float(found[to]["median_measured"])
            yield f"qemu.{name}.over.{to}", number(ratio, 1)
