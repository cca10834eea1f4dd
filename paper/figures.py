"""The figures, in black and white: line styles and markers tell the curves apart, in print as well."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paper.numbers import LAWS, resolved
from paper.results import error, rows, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 6.4
"""Of the text [inches]."""

STYLE: dict[Any, Any] = {
    "font.family": "serif",
    "font.serif": ["STIXGeneral"],
    "mathtext.fontset": "stix",
    "font.size": 9,
    "axes.titlesize": 9,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "lines.linewidth": 1.0,
    "lines.color": "black",
    "lines.markersize": 4.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "qtheory",
    "pdf.fonttype": 42,
}


def draw(directory: Path) -> None:
    """Draw all figures whose results are there, as PDF."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        for figure in (queue_length, errors, drains, frontier, measured_stops):
            drawn = figure()
            if drawn is not None:
                drawn.savefig(directory / f"{figure.__name__}.pdf", metadata={"CreationDate": None})


def _axes(count: int, height: float) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, list(np.ravel(figure.subplots(1, count)))


def queue_length() -> Figure:
    """Slots for a loss of 5 %, and the drain that they make, against the number of disks."""
    figure, (left, right) = _axes(2, 2.5)
    found = rows("sizing_line_or_shares", requests="256")
    deep = rows("sizing_line_or_shares", requests="2048")
    n = [int(row["disks"]) for row in found]
    for axes, suffix, closed in ((left, "_slots", True), (right, "_drain_ms", False)):
        if closed:
            axes.plot(n, [int(row["line_slots_endless"]) for row in found], "k:", label=r"one line, $K\to\infty$")
        axes.plot(n, [float(row[f"line{suffix}"]) for row in deep], "k--s", mfc="white", label="one line, $K=2048$")
        axes.plot(n, [float(row[f"line{suffix}"]) for row in found], "k-o", label="one line, $K=256$")
        axes.plot(n, [float(row[f"share{suffix}"]) for row in found], "k-.^", mfc="white", label="equal shares")
        axes.set(xscale="log", yscale="log", xlabel="disks $N$", xticks=n, xticklabels=n)
        axes.minorticks_off()
    for constant in (64, 128, 1024):
        left.axhline(constant, color="0.6", linewidth=0.6)
        left.text(4, constant * 1.06, str(constant), fontsize=7, color="0.4")
    left.set(ylabel="slots $Q$ for a loss of 5 %")
    right.set(ylabel="drain, 99 % [ms]", ylim=(3, 300))
    left.legend(loc="lower right", handlelength=3.2)
    return figure


def errors() -> Figure:
    """How large the errors of the steady state are."""
    figure, axes = _axes(3, 2.3)
    groups = (
        ("phase-type laws", "k-", [r for r in rows("service_laws", family="phase-type") if r["way"] != "exact"]),
        ("fitted laws", "k--", [r for r in rows("service_laws", family="other") if "interpolated" not in r["way"]]),
        ("interpolated", "k:", [r for r in table("service_laws") if "interpolated" in r["way"]]),
    )
    titles = {"blocking": "blocking", "mean_wait": "mean wait", "response_quantile": "response, 99 %"}
    for ax, (quantity, title) in zip(axes, titles.items(), strict=True):
        for label, style, members in groups:
            found = sorted(
                abs(float(r["relative_error"])) for r in members if r["quantity"] == quantity and resolved(r)
            )
            above = 1.0 - np.arange(len(found)) / len(found)
            ax.step(np.maximum(found, 1e-5), above, style, where="post", label=label)
        ax.set(xscale="log", title=title, xlabel="relative error", xlim=(1e-4, 0.2), ylim=(0, 1))
    axes[0].set_ylabel("fraction of cells above")
    axes[2].legend(loc="upper right")
    return figure


MARKERS = {"exponential": "o", "Erlang-4": "s", "H2, scv 4": "^", "lognormal, scv 2": "D", "deterministic": "x"}


def drains() -> Figure:
    """Predicted drains over simulated ones."""
    figure, axes = _axes(2, 2.6)
    for ax, quantity, title in zip(axes, ("mean", "quantile"), ("mean", "99 % quantile"), strict=True):
        for law in LAWS:
            chosen = rows("drain", law=law)
            x = [1e3 * float(row[f"simulated_{quantity}"]) for row in chosen]
            off = [error(row, quantity, f"simulated_{quantity}") for row in chosen]
            ax.plot(x, np.maximum(off, 1e-5), MARKERS[law], color="black", mfc="none", mew=0.7, label=law)
        ax.axhline(0.01 if quantity == "mean" else 0.02, color="0.6", linewidth=0.6)
        ax.set(xscale="log", yscale="log", xlabel=f"simulated drain, {title} [ms]", ylabel="relative error")
        ax.set_ylim(8e-6, 0.5)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=5, handletextpad=0.2)
    return figure


def frontier() -> Figure:
    """Throughput against drain under limits, and what policies turn away."""
    figure, (left, right) = _axes(2, 3.0)
    found = table("drain_frontier")
    limits = [row for row in found if row["way"].startswith("q = ")]
    x = [float(row["drain_99_ms"]) for row in limits]
    y = [float(row["throughput"]) for row in limits]
    left.plot(x, y, "k.-", label="depth limit $q$, held for long")
    for i in (3, 6, 8, len(limits) - 1):
        left.annotate(limits[i]["way"][4:], (x[i], y[i]), textcoords="offset points", xytext=(4, -9), fontsize=7)
    for row, marker in zip([row for row in found if row not in limits], "osD^vP", strict=False):
        at = float(row["drain_99_ms"]), float(row["throughput"])
        left.plot(*at, f"k{marker}", mfc="white", markersize=6, linestyle="none", label=row["way"])
    left.set(xlabel="drain, 99 % [ms]", ylabel="throughput before the stop [1/s]", ylim=(0, 1750), xlim=(30, 260))
    left.set_xscale("log")
    left.set_xticks([40, 60, 100, 200], ["40", "60", "100", "200"])
    left.minorticks_off()
    left.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, handletextpad=0.4, columnspacing=0.8)
    policies = {"one at a time": "k:v", "step": "k-.s", "ramp": "k--^", "best": "k-o"}
    for name, style in policies.items():
        chosen = [row for row in table("drain_turned_away") if float(row["best"]) > 0.0]
        budget = [float(row["budget_ms"]) for row in chosen]
        right.plot(budget, [float(row[name]) for row in chosen], style, mfc="white", label=name)
    right.set(xlabel="drain budget $D$, 99 % [ms]", ylabel="requests turned away", yscale="log")
    right.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return figure


def measured_stops() -> Figure | None:
    """Stops of a real QEMU guest against their predictions, once they have been measured."""
    found = [row for row in table("qemu") if row["median_predicted"]]
    if not found:
        return None
    figure, axes = _axes(2, 2.9)
    questions = list(dict.fromkeys(row["question"] for row in found))
    for ax, key, title in zip(axes, ("median", "90"), ("median", "90 % quantile"), strict=True):
        for question, marker in zip(questions, "os^Dv<>P", strict=False):
            chosen = [row for row in found if row["question"] == question]
            x = [1e3 * float(row[f"{key}_predicted"]) for row in chosen]
            y = [1e3 * float(row[f"{key}_measured"]) for row in chosen]
            ax.plot(x, y, marker, color="black", mfc="none", mew=0.7, label=question)
            low, high = ([1e3 * float(row[f"{key}_{end}"] or "nan") for row in chosen] for end in ("low", "high"))
            ax.vlines(x, low, high, color="0.5", linewidth=0.6)
        values = [1e3 * float(row[f"{key}_{which}"]) for row in found for which in ("predicted", "measured")]
        ends = np.array([0.8 * min(values), 1.25 * max(values)])
        ax.plot(ends, ends, color="0.6", linewidth=0.6)
        ax.set(xscale="log", yscale="log", xlabel=f"predicted stop, {title} [ms]", ylabel="measured [ms]")
        ticks = [tick for tick in (5, 10, 20, 50, 100, 200, 500, 1000) if ends[0] <= tick <= ends[1]]
        ax.set_xticks(ticks, [str(tick) for tick in ticks])
        ax.set_yticks(ticks, [str(tick) for tick in ticks])
        ax.minorticks_off()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=8, handletextpad=0.2)
    return figure
