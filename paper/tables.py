"""The tables of results."""

from __future__ import annotations

from collections.abc import Callable

from paper.notation import notation
from paper.numbers import LAWS, RECORDINGS, resolved
from paper.results import (
    Row,
    cell,
    error,
    number,
    optimal_control,
    percent,
    quantile,
    rows,
    significant,
    table,
    tabular,
)


def tables() -> dict[str, str]:
    """All of them, by name; those for which there are no results are left out."""
    made: tuple[Callable[[], str], ...] = (
        notation, line_or_shares, steady_state, drain_errors, best_policy, throttles, constants, recorded_drains,
        traces, simulated_optima, resizing, qemu,
    )  # fmt: skip
    return {make.__name__: text for make in made if (text := make())}


def line_or_shares() -> str:
    """Slots and drains of one line and of equal shares."""
    body = []
    for row in rows("sizing_line_or_shares", requests="256"):
        deep = rows("sizing_line_or_shares", requests="2048", disks=row["disks"])[0]
        body.append(
            [
                row["disks"],
                number(float(row["line_slots"])),
                number(float(deep["line_slots"])),
                number(float(row["line_slots_endless"])),
                row["share_slots"],
                number(float(row["line_drain_ms"]), 1),
                number(float(row["share_drain_ms"]), 1),
                percent(float(row["line_loss_at_128"]), 1),
                number(float(row["shallow_rate_line"])),
                number(float(row["shallow_rate_shares"])),
            ]
        )
    over = (
        r" & \multicolumn{3}{c}{$Q$, one line, $K=$} & $Q$, & \multicolumn{2}{c}{drain [ms]} & loss at & "
        r"\multicolumn{2}{c}{shallow disk [1/s]} \\ \cmidrule(lr){2-4}\cmidrule(lr){6-7}\cmidrule(l){9-10}"
    )
    head = ["$N$", "256", "2048", r"$\infty$", "shares", "line", "shares", "$Q=128$", "line", "shares"]
    return tabular("rrrrrrrrrr", head, body, over=over)


QUANTITIES = {
    "throughput": "throughput",
    "blocking": "blocking",
    "mean_wait": "mean wait",
    "response_quantile": r"response, 99\,\%",
}


def steady_state() -> str:
    """Errors of the steady state by what is approximated."""
    every = [row for row in table("service_laws") if resolved(row)]
    groups: dict[str, Callable[[Row], bool]] = {
        "phase-type, equal disks": lambda r: r["way"] == "equal",
        "phase-type, unlike disks": lambda r: r["way"] in ("followed", "plain"),
        "fitted, near the law": lambda r: r["way"].endswith(", near"),
        "fitted, far from it": lambda r: r["way"].endswith(", far"),
        "interpolated": lambda r: r["way"].endswith(", interpolated"),
    }
    body = []
    for title, chosen in groups.items():
        shown = [title]
        for quantity in QUANTITIES:
            off = [abs(float(r["relative_error"])) for r in every if chosen(r) and r["quantity"] == quantity]
            shown += [number(100 * quantile(off, p), 2) for p in (0.5, 0.9, 1.0)]
        body.append(shown)
    over = "".join(rf" & \multicolumn{{3}}{{c}}{{{title}}}" for title in QUANTITIES.values()) + r" \\ "
    over += "".join(rf"\cmidrule(l){{{2 + 3 * i}-{4 + 3 * i}}}" for i in range(len(QUANTITIES)))
    head = ["", *(["med.", r"90\,\%", "max."] * len(QUANTITIES))]
    return tabular("l" + "rrr" * len(QUANTITIES), head, body, over=over)


def drain_errors() -> str:
    """Errors of drains by kind and law."""
    body: list[list[str]] = []
    kinds = {"shared": "one device", "apart": "a device each", "before a stop": "depth schedule"}
    for kind, title in kinds.items():
        body += [["-"]] if body else []
        for law in LAWS:
            chosen = rows("drain", kind=kind, law=law)
            shown = [title if law == LAWS[0] else "", law, str(len(chosen))]
            shown.append(str(sum(row["exact"] == "True" for row in chosen)))
            for quantity in ("mean", "quantile"):
                off = [error(row, quantity, f"simulated_{quantity}") for row in chosen]
                shown += [percent(quantile(off, 0.5), 2), percent(max(off), 1)]
            shown.append(percent(sum(float(row["exceeded"]) for row in chosen) / len(chosen), 2))
            body.append(shown)
    over = (
        r" & & & & \multicolumn{2}{c}{mean} & \multicolumn{2}{c}{99\,\% quantile} & \\"
        r" \cmidrule(lr){5-6}\cmidrule(lr){7-8}"
    )
    head = ["", "service", "cells", "exact", "median", "largest", "median", "largest", "exceeded"]
    return tabular("llrrrrrrr", head, body, over=over)


def best_policy() -> str:
    """The fewest requests to turn away, and how many more by simple policies."""
    body = []
    for row in optimal_control():
        first = [number(row["c"] or 0.0), number(row["rho"] or 0.0, 1), number(row["D"] or 0.0)]
        if row["optimum"] is None:
            body.append([*first, r"\multicolumn{5}{l}{\quad nothing is needed}"])
            continue
        more = (
            rf"$+${100 * value:.0f}\,\%" if (value := row[name] or 0.0) >= 0.0 else rf"{100 * value:.0f}\,\%"
            for name in ("stop accepting", "one at a time", "step", "ramp")
        )
        body.append([*first, number(row["optimum"], 1), *more])
    head = ["$c$", r"$\rho$", "$D$ [ms]", "best", "stop accepting", "one at a time", "step", "ramp"]
    return tabular("rrrrrrrr", head, body)


POLICIES = {
    "none": "none",
    "rate limit, half the throughput": "rate limit, half",
    "stop accepting": "stop accepting",
    "one at a time": "one at a time",
    "depth limit, all the window": "depth limit",
    "ramp, linear": "ramp",
    "latency target": "latency target",
    "finish in time, class-blind": "in time, by count",
    "finish in time, by disk": "in time, by disk",
    "finish in time, by request": "in time, by request",
}


def throttles() -> str:
    """What ways of reducing I/O give, and cost."""
    engines = ("slow", "parallel", "reads and writes")
    body = []
    for policy, title in POLICIES.items():
        shown = [title]
        for engine in engines:
            found = rows("throttles", engine=engine, policy=policy)
            if found:
                late, lost = float(found[0]["over budget"]), float(found[0]["throughput lost"])
                shown += [number(float(found[0]["drain 99 % [ms]"]), 1), percent(late, 1), percent(lost, 1)]
            else:
                shown += ["--", "--", "--"]
        body.append(shown)
    budgets = [number(float(rows("throttles", engine=engine)[0]["budget [ms]"])) for engine in engines]
    titles = [
        rf"{name}, $D={budget}$\,ms"
        for name, budget in zip(("one slow server", "eight servers", "reads and writes"), budgets, strict=True)
    ]
    over = "".join(rf" & \multicolumn{{3}}{{c}}{{{title}}}" for title in titles)
    over += r" \\ \cmidrule(lr){2-4}\cmidrule(lr){5-7}\cmidrule(l){8-10}"
    return tabular("lrrrrrrrrr", ["policy", *(["drain", "late", "lost"] * 3)], body, over=over)


def constants() -> str:
    """QEMU's constants on real devices."""
    body = []
    for device in dict.fromkeys(row["device"] for row in table("fio_constants")):
        shown = [device.replace("%", r"\,\%").replace(" \\,", "\\,")]
        for rule in ("Linux AIO", "threads", "optimum for 5 %"):
            where = {"device": device, "rule": rule}
            drain = cell("fio_constants", "drain_ms", **where)
            loss = percent(cell("fio_constants", "loss", **where))
            if rule.startswith("optimum"):
                shown.append(number(cell("fio_constants", "queue_length", **where)))
            elif rule == "threads":
                shown.append(loss)
            shown.append(number(drain, 1))
        body.append(shown)
    over = (
        r" & $Q=1024$ & \multicolumn{2}{c}{$Q=64$} & \multicolumn{2}{c}{$Q$ for 5\,\%} \\"
        r" \cmidrule(lr){2-2}\cmidrule(lr){3-4}\cmidrule(l){5-6}"
    )
    return tabular("lrrrrr", ["device", "drain", "loss", "drain", "$Q$", "drain"], body, over=over)


def recorded_drains() -> str:
    """Recorded drains of a worker pool, predicted."""
    body = []
    for recording in RECORDINGS:
        found = {row["quantity"]: float(row["measured or found"]) for row in rows("real_drains", recording=recording)}
        body.append(
            [
                rf"\code{{{recording}}}".replace("_", "\\_"),
                percent(found["median relative error"], 1),
                number(1e3 * found["median error"], 2),
                number(1e3 * found["median error of the regression"], 2),
                number(found["ratio"], 2),
                percent(found["inside the 90 % interval"]),
                number(found["median ratio predicted/measured"], 3),
            ]
        )
    head = ["recording", "relative", "theory [ms]", "regression [ms]", "ratio", "in interval", "predicted/measured"]
    return tabular("lrrrrrr", head, body, over=r" & \multicolumn{3}{c}{median error} & & & \\ \cmidrule(lr){2-4}")


TRACES = {
    "financial1": "Financial1",
    "websearch": "WebSearch",
    "hplajw": "hplajw",
    "flashnet": "FlashNet",
    "bundled": "QEMU guest",
}


def traces() -> str:
    """Waits under recorded arrivals, under fitted ones, and under Poisson ones."""
    body = []
    for trace, title in TRACES.items():
        shown = [title]
        for servers in ("1", "4", "16"):
            where = {"trace": trace, "part": "whole", "servers": servers, "utilization": "0.5",
                     "quantity": "mean_wait", "service": "exponential"}  # fmt: skip
            (row,) = rows("map_fit", **where)
            shown += [significant(float(row[column])) for column in ("replayed", "map", "poisson")]
        body.append(shown)
    over = "".join(rf" & \multicolumn{{3}}{{c}}{{$c={c}$}}" for c in (1, 4, 16)) + r" \\ "
    over += r"\cmidrule(lr){2-4}\cmidrule(lr){5-7}\cmidrule(l){8-10}"
    return tabular("lrrrrrrrrr", ["trace", *(["trace", "MAP", "Poisson"] * 3)], body, over=over)


def simulated_optima() -> str:
    """Optimal queue lengths beside simulated ones."""
    titles = {
        "shared": "one device, one line",
        "bursty": "the same, bursty arrivals",
        "waiting": "guests that wait for room",
        "refused": r"refused at $Q$",
        "shares": "slots divided",
        "line, saturated": "a device each behind one line, saturated",
        "line, open": "the same, open arrivals",
    }
    body = []
    for kind, title in titles.items():
        chosen = rows("sizing_by_simulation", kind=kind)
        over = [
            max(0.0, float(row["value_at_theory"]) - float(row["limit"]))
            for row in chosen
            if row["asked"] == "throughput loss" and row["value_at_theory"]
        ]
        within = sum(row["within"] == "1" for row in chosen)
        body.append([title, str(len(chosen)), percent(within / len(chosen)), percent(max(over), 2)])
    return tabular("lrrr", ["engine", "ends", r"within a slot or 5\,\%", "most loss beyond the allowed"], body)


CONTROLLERS = {
    "unlimited": "no limit",
    "constant 16": "constant, 16",
    "known": "latency and rate known",
    "mean latency": "rate times mean latency",
    "least kept": "rate times least latency, kept",
    "estimated": "the same, of a window with looks",
    "kyber": "kyber's rule",
    "latency target": "latency target",
}


def resizing() -> str:
    """Queue lengths that are set while the engine runs."""
    body = []
    for controller, title in CONTROLLERS.items():
        shown = [title]
        for scenario in ("slow device", "own devices"):
            where = {"scenario": scenario, "controller": controller}
            (row,) = rows("resizing", **where)
            shown.append(number(float(row["last_queue_length"])) if row["last_queue_length"] else "--")
            shown.append(percent(float(row["lost"]), 1))
            shown.append(number(float(row["worst_drain_ms"]), 1))
        body.append(shown)
    over = (
        r" & \multicolumn{3}{c}{one device, slower for a while} & "
        r"\multicolumn{3}{c}{a device each, more disks for a while} \\ "
        r"\cmidrule(lr){2-4}\cmidrule(l){5-7}"
    )
    head = ["queue length", *(["$Q$", "lost", "drain [ms]"] * 2)]
    return tabular("lrrrrrr", head, body, over=over)


QUESTIONS = {
    "depth": "depth",
    "rate limit": "QEMU's rate limit",
    "guest limit": "limit in the guest",
    "lead": "the same, set before the stop",
    "engine": "engines",
    "disks": "disks on one device",
    "flush": "flushes",
    "migration": "migration",
}


def qemu() -> str:
    """Stops of a real QEMU guest, measured and predicted; nothing as long as there are none."""
    if not table("qemu"):
        return ""
    body: list[list[str]] = []
    for question, title in QUESTIONS.items():
        found = rows("qemu", question=question)
        body += [[rf"\emph{{{title}}}", *[""] * 8]] if found else []
        body += [[rf"\quad \code{{{row['cell']}}}".replace("_", "\\_"), *_measured(row)] for row in found]
    over = (
        r" & \multicolumn{2}{c}{requests/s of a disk} & \multicolumn{3}{c}{stop, median [ms]} & "
        r"\multicolumn{3}{c}{stop, 90\,\% [ms]} \\ \cmidrule(lr){2-3}\cmidrule(lr){4-6}\cmidrule(l){7-9}"
    )
    head = ["cell", "theory", "measured", "theory", "measured", "error", "theory", "measured", "error"]
    return tabular("lrrrrrrrr", head, body, over=over)


def _measured(row: Row) -> list[str]:
    shown = []
    for key, scale, digits in (("iops", 1.0, 0), ("median", 1e3, 1), ("90", 1e3, 1)):
        for which in ("predicted", "measured"):
            value = row[f"{key}_{which}"]
            shown.append(number(scale * float(value), digits) if value else "--")
        if key != "iops":
            shown.append(percent(float(row[f"{key}_error"])) if row[f"{key}_error"] else "--")
    return shown
