"""One picture of a trace: what `TraceSummary` knows, a panel for each question, readable in black and white."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qtheory.traces.statistics.dispersion import standard_error
from qtheory.traces.verdict import SHORTEST, STANDARD_ERRORS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from qtheory.traces.statistics.together import Correlations
    from qtheory.traces.summary import TraceSummary

INK = "black"
PALE = "0.55"
COLUMNS = 3
BARS = 5
LEAST_COUNTS = 100
NAMED = 16


def figure(summary: TraceSummary) -> Figure:
    """Rate and outstanding requests over time, dispersion, recorded times, sizes, and the disks' correlations.

    What the trace does not have is left out. Save it with the figure's `savefig`.

    Examples
    --------
    >>> import qtheory as qt
    >>> len(figure(qt.bundled_trace().summary()).axes)  # six panels and a colour scale
    7
    """
    from matplotlib.figure import Figure

    correlations = _most_telling(summary)
    panels: list[Callable[[Any], None]] = []
    if summary.rate_over_time:
        panels.append(lambda ax: _rate(ax, summary))
    if any(window >= SHORTEST for window, _ in summary.total.dispersion):
        panels.append(lambda ax: _dispersion(ax, summary))
    if summary.outstanding_over_time:
        panels.append(lambda ax: _outstanding(ax, summary))
    if summary.total.response_max or summary.total.service_max:
        panels.append(lambda ax: _times(ax, summary))
    if summary.total.size_mix:
        panels.append(lambda ax: _sizes(ax, summary))
    if correlations is not None:
        panels.append(lambda ax: _correlations(ax, summary, correlations))
    rows = -(-max(len(panels), 1) // COLUMNS)
    drawn = Figure(figsize=(13.0, 3.4 * rows + 0.4), layout="constrained")
    drawn.suptitle(
        f"{summary.source.rsplit('/', 1)[-1] or 'trace'}: {summary.total.requests:,} requests of "
        f"{len(summary.disks)} disk(s) in {summary.span:.4g} s",
        fontsize=11,
    )
    for place, panel in enumerate(panels):
        ax = drawn.add_subplot(rows, COLUMNS, place + 1)
        ax.spines[["top", "right"]].set_visible(False)
        panel(ax)
    return drawn


def _rate(ax: Axes, summary: TraceSummary) -> None:
    _over_time(ax, summary, summary.rate_over_time)
    ax.axhline(summary.total.rate or 0.0, color=PALE, linestyle="--", linewidth=1.0, label="mean")
    ax.set(xlabel="time [s]", ylabel="arrivals [1/s]", title=f"Rate, in bins of {summary.bin_width:g} s")
    ax.set_ylim(bottom=0.0)
    ax.legend(frameon=False, fontsize=8)


def _dispersion(ax: Axes, summary: TraceSummary) -> None:
    """The index of dispersion of all and of the busiest disk, and where Poisson's would be."""
    windows = np.array([window for window, _ in summary.total.dispersion if window >= SHORTEST])
    half = STANDARD_ERRORS * np.array([standard_error(int(summary.span / window)) for window in windows])
    low = np.maximum(1.0 - half, 0.1)  # on a logarithmic axis 0 is nowhere
    ax.fill_between(windows, low, 1.0 + half, color="0.85", label=f"Poisson, ± {STANDARD_ERRORS:g} standard errors")
    busiest = max(summary.disks, key=lambda row: row.requests)
    styles = [(summary.total, {"color": INK, "marker": "o", "label": "all"})]
    if len(summary.disks) > 1:
        styles.append((busiest, {"color": PALE, "marker": "s", "linestyle": "--", "label": busiest.disk}))
    for row, style in styles:
        shown = [(window, index) for window, index in row.dispersion if window >= SHORTEST and index > 0.0]
        if shown:
            ax.loglog(*zip(*shown, strict=True), markersize=3.5, linewidth=1.2, **style)
    ax.set(xlabel="window [s]", ylabel="variance / mean of counts", title="Index of dispersion", xscale="log")
    ax.set_yscale("log")
    ax.legend(frameon=False, fontsize=8)


def _outstanding(ax: Axes, summary: TraceSummary) -> None:
    _over_time(ax, summary, summary.outstanding_over_time or ())
    ax.set(
        xlabel="time [s]", ylabel="outstanding requests", title=f"Outstanding, at most {summary.total.max_outstanding}"
    )
    ax.set_ylim(bottom=0.0)


def _times(ax: Axes, summary: TraceSummary) -> None:
    for law, name, style in (
        (summary.response_times(), "response", {"color": INK, "linestyle": "-"}),
        (summary.service_times(), "service", {"color": PALE, "linestyle": "--"}),
    ):
        if law is not None and law.most > 0.0:
            t = law.edges[law.edges > 0.0]
            above = law.sf(t)
            ax.loglog(t[above > 0.0], above[above > 0.0], label=name, **style)
    ax.set(xlabel="t [s]", ylabel="share longer than t", title="Recorded times")
    ax.legend(frameon=False, fontsize=8)


def _sizes(ax: Axes, summary: TraceSummary) -> None:
    mix = summary.total.size_mix[:BARS]
    labels = [_bytes(size) for size, _ in mix]
    shares = [share for _, share in mix]
    if sum(shares) < 0.9995:
        labels, shares = [*labels, "others"], [*shares, 1.0 - sum(shares)]
    ax.bar(labels, shares, color=PALE, edgecolor=INK)
    ax.set(ylabel="share of requests", title=f"Sizes; {summary.total.read_share:.0%} reads")


def _correlations(ax: Axes, summary: TraceSummary, found: Correlations) -> None:
    order = np.argsort(found.disks)
    image = ax.imshow(found.matrix[np.ix_(order, order)], cmap="Greys", vmin=0.0, vmax=1.0)
    names = [summary.disks[found.disks[i]].disk for i in order]
    few = len(names) <= NAMED
    ax.set_xticks(range(len(names)) if few else [], names if few else [], rotation=90, fontsize=8)
    ax.set_yticks(range(len(names)) if few else [], names if few else [], fontsize=8)
    ax.set(title=f"Disks' correlation, windows of {found.window:g} s")
    ax.figure.colorbar(image, ax=ax, shrink=0.8)


def _most_telling(summary: TraceSummary) -> Correlations | None:
    """The longest windows of which there are enough."""
    enough = [found for found in summary._correlations if found.windows >= LEAST_COUNTS]
    return enough[-1] if enough else None


def _over_time(ax: Axes, summary: TraceSummary, values: Sequence[float]) -> None:
    edges = summary.bin_width * np.arange(len(values) + 1)
    ax.stairs(values, edges, color=INK, linewidth=0.8, baseline=None)


def _bytes(size: int) -> str:
    """A size in the largest unit that it is a whole number of.

    >>> _bytes(4096), _bytes(512), _bytes(0)
    ('4 KiB', '512 B', '0 B')
    """
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if size and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} B"
