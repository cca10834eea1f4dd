"""The pictures of a report, as SVG text; theory is a line, simulation of the model circles, the replay crosses."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qtheory.report.study import Simulated, Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

THEORY: dict[str, Any] = {"color": "#1f4e79", "linewidth": 1.8, "label": "theory"}
MODEL: dict[str, Any] = {
    "color": "#c55a11",
    "fmt": "o",
    "markersize": 5,
    "capsize": 3,
    "label": "simulation of the model, 95 %",
}
REPLAY: dict[str, Any] = {
    "color": "#548235",
    "fmt": "x",
    "markersize": 7,
    "capsize": 3,
    "label": "recorded arrivals, replayed",
}
QUANTITIES = (
    ("throughput", "throughput [1/s]", 1.0),
    ("blocking", "lost", 1.0),
    ("mean_wait", "mean wait [ms]", 1e3),
)
"""What is plotted, its label and its scale."""


def by_disks(study: Study) -> str:
    """Throughput, loss and mean wait against the number of disks."""
    points = study.by_disks
    disks = [point.disks for point in points]
    figure, axes = _panels(3)
    for ax, (name, label, scale) in zip(axes, QUANTITIES, strict=True):
        ax.plot(disks, [scale * getattr(point, name) for point in points], **THEORY)
        _estimates(ax, disks, study.by_disks_model, name, scale, MODEL)
        _estimates(ax, disks, study.by_disks_replay, name, scale, REPLAY)
        ax.set(xlabel="disks", ylabel=label, xscale="log")
        ax.set_xticks(disks, [str(n) for n in disks])
        ax.minorticks_off()
    _shape(axes)
    return _svg(figure, axes[0])


def by_queue_length(study: Study) -> str:
    """Throughput, loss, mean wait and drain against the queue length."""
    lengths = [point.queue_length or 0 for point in study.by_queue_ring]
    some = study.by_queue_simulated
    figure, axes = _panels(4)
    for ax, (name, label, scale) in zip(axes, QUANTITIES, strict=False):
        ax.plot(lengths, [scale * getattr(point, name) for point in study.by_queue_ring], **THEORY)
        _estimates(ax, some, study.by_queue_ring_model, name, scale, MODEL)
        ax.set(xlabel="queue length Q", ylabel=label)
    _shape(axes)
    holds = (
        (study.by_queue_engine, study.by_queue_engine_model, "--", "rest held in the engine (QEMU)"),
        (study.by_queue_ring, study.by_queue_ring_model, "-", "rest left in the guest's ring"),
    )
    for points, runs, line, label in holds:
        drains = [1e3 * point.drain_quantile if point.drain_quantile is not None else np.nan for point in points]
        axes[3].plot(lengths, drains, color=THEORY["color"], linestyle=line, label=label)
        _estimates(axes[3], some, runs, "drain_quantile", 1e3, {**MODEL, "label": None})
    axes[3].set(xlabel="queue length Q", ylabel="drain, 99 % [ms]", yscale="log")
    axes[3].legend(frameon=False, fontsize=8)
    for ax in axes:
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter("{x:g}")
    return _svg(figure, axes[0])


def drain_law(study: Study) -> str:
    """P(drain <= t) at the busy engine."""
    figure, (ax,) = _panels(1)
    end = study.drain.quantile(0.9999)
    if study.drain_replay is not None:
        end = max(end, study.drain_replay.drain.quantile(0.99).value)
    t = np.linspace(0.0, end, 200)
    ax.plot(1e3 * t, [study.drain.cdf(x) for x in t], **THEORY)
    marks = np.linspace(0.0, end, 24)[1:]
    ax.plot(1e3 * marks, study.drain_model.drain.cdf(marks), "o", color=MODEL["color"], label="simulation of the model")
    if study.drain_replay is not None:
        ax.plot(1e3 * marks, study.drain_replay.drain.cdf(marks), "x", color=REPLAY["color"], label=REPLAY["label"])
    ax.set(xlabel="drain time t [ms]", ylabel="P(drain <= t)")
    ax.set_ylim(0.0, 1.02)
    return _svg(figure, ax)


def rate_over_time(study: Study) -> str:
    """Recorded arrivals of each disk, second by second."""
    trace = study.trace
    figure, (ax,) = _panels(1)
    bins = int(np.clip(trace.span, 20, 240))
    for i, name in enumerate(trace.disks[:12]):
        counts, edges = np.histogram(trace.arrival[trace.disk == i], bins=bins)
        ax.step(edges[:-1], counts / np.diff(edges), where="post", linewidth=0.9, label=name)
    ax.set(xlabel="time [s]", ylabel="arrivals [1/s]")
    ax.set_ylim(bottom=0.0)
    ax.legend(frameon=False, fontsize=8, ncols=4)
    return _svg(figure)


def _panels(columns: int) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5 if columns > 1 else 7.0, 3.0), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, columns))
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25)
    return figure, list(axes)


def _estimates(
    ax: Axes, x: Sequence[float], runs: Sequence[Simulated | None], name: str, scale: float, style: dict[str, Any]
) -> None:
    shown = [(at, getattr(run, name)) for at, run in zip(x, runs, strict=True) if run is not None]
    if shown:
        ax.errorbar(
            [at for at, _ in shown],
            [scale * estimate.value for _, estimate in shown],
            yerr=[scale * estimate.half_width for _, estimate in shown],
            **style,
        )


def _shape(axes: Sequence[Axes]) -> None:
    """Axes of QUANTITIES; waits span decades and may be 0: linear below 1 µs, logarithmic above."""
    throughput, lost, wait = axes[:3]
    throughput.set_ylim(bottom=0.0)
    lost.set_ylim(bottom=-0.02 * lost.get_ylim()[1])
    wait.set_yscale("symlog", linthresh=1e-3)
    wait.set_ylim(bottom=0.0)


def _svg(figure: Figure, keyed: Axes | None = None) -> str:
    """The figure as an SVG element, with the key of `keyed` above it."""
    if keyed is not None:
        handles, labels = keyed.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=3, frameon=False, fontsize=9)
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]
