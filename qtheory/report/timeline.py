"""The picture of a switchover: the migration's rounds, and the moments around the stop.

Above, what each round of precopy sends, the law of the stop (its 1 to 99 % range), and the window of the limit. Below,
around the stop, the requests in flight that are expected without and with the limit, set in time (`drain/in_flight.py`,
where the transient is known), and the parts of the downtime, each as long as it may take, one after another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qtheory.drain import DepthSchedule
from qtheory.drain.in_flight import in_flight
from qtheory.drain.largest_depth import phased
from qtheory.engine import Engine

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from qtheory.switchover import SwitchoverPlan

Floats = NDArray[np.float64]
POINTS = 121
COLOR = "#1f4e79"
LIMIT = "#c55a11"
PARTS = ("0.75", LIMIT, "#bf9000", "#548235", "#7f6084", "0.5")


def timeline(plan: SwitchoverPlan, engine: Engine) -> Figure:
    """The figure of a plan for `engine`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 6.0), layout="constrained")
    above, below = figure.subplots(2, 1)
    _migration(above, plan)
    _stop(below, plan, engine)
    for ax in (above, below):
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25)
    return figure


def _migration(ax: Axes, plan: SwitchoverPlan) -> None:
    """Rounds of precopy."""
    starts, durations, volumes = (np.array([one[i] for one in plan.rounds]) for i in range(3))
    ax.bar(
        starts, volumes / 1e9, width=durations, align="edge", color=COLOR, alpha=0.35, edgecolor=COLOR,
        label="sent in a round of precopy",
    )  # fmt: skip
    if plan.converges:
        ax.axvspan(plan.stop_earliest, plan.stop_latest, color="0.85", label="stop, 1 to 99 %")
        ax.axvline(plan.stop_time, color="black", linewidth=1.2, label="stop, mean")
    if plan.limit_from is not None:
        ax.axvline(plan.limit_from, color=LIMIT, linewidth=1.2, linestyle="--", label="limit set")
    ax.set(xlabel="since the migration began [s]", ylabel="RAM [GB]")
    ax.set_xlim(left=0.0)
    ax.set_title(plan.reason or f"downtime-limit {plan.downtime_limit * 1e3:.0f} ms", fontsize=9, loc="left")
    ax.legend(frameon=False, fontsize=8)


def _stop(ax: Axes, plan: SwitchoverPlan, engine: Engine) -> None:
    """Requests in flight around the stop, and the parts of the downtime."""
    before = max(1.5 * plan.lead, 0.3 * plan.downtime_budget)
    after = max(plan.downtime_budget, plan.drain_quantile or 0.0)
    limit = None if plan.depth_limit is None else plan.depth_limit.limit
    followed = phased(engine)
    if isinstance(followed, str):
        ax.set_title(f"requests in flight are not followed: {followed}", fontsize=9, loc="left")
    else:
        vcpu = plan.parts.vcpu_stop
        times = np.unique(np.concatenate([np.linspace(-before, 0.0, POINTS), np.linspace(0.0, after, POINTS)]))
        lines: tuple[tuple[str, str, DepthSchedule], ...] = (
            ("in flight, without a limit", "0.45", DepthSchedule([(0.0, None)])),
        )
        if limit is not None:
            lines += ((f"in flight, at most {limit} from the lead on", COLOR, DepthSchedule([(-plan.lead, limit)])),)
        for label, color, schedule in lines:
            try:
                taken = in_flight(followed, schedule, times)[0]
            except ValueError as error:
                ax.set_title(f"requests in flight are not followed: {error}", fontsize=9, loc="left")
                break
            ax.plot(1e3 * (times + vcpu), taken, color=color, linewidth=1.6, label=label)
    if plan.depth_limit is not None:
        ax.axvline(
            1e3 * (plan.parts.vcpu_stop - plan.lead),
            color=LIMIT,
            linewidth=1.2,
            linestyle="--",
            label="limit must hold",
        )
    ax.axvline(0.0, color="black", linewidth=1.2)
    if plan.drain_quantile is not None:
        ax.axvline(
            1e3 * (plan.parts.vcpu_stop + plan.drain_quantile), color=LIMIT, linewidth=1.0, linestyle=":",
            label=f"drained with probability {plan.drain_probability:.4g}",
        )  # fmt: skip
    ax.set_ylim(bottom=0.0)
    _parts(ax, plan)
    ax.set(xlabel="since the stop [ms]", ylabel="requests in flight")
    ax.legend(frameon=False, fontsize=8, loc="upper right")


def _parts(ax: Axes, plan: SwitchoverPlan) -> None:
    """The parts of the downtime as a bar below the axis of time."""
    low, high = ax.get_ylim()
    height = 0.12 * (high - low)
    start = 0.0
    for color, (name, seconds) in zip(PARTS, vars(plan.parts).items(), strict=True):
        if seconds > 0.0:
            ax.barh(-height, 1e3 * seconds, height, 1e3 * start, color=color, alpha=0.6, edgecolor="white")
            if seconds > 0.05 * plan.downtime_budget:
                words = f"{name.replace('_', ' ')} {seconds * 1e3:.0f}"
                ax.text(1e3 * (start + seconds / 2.0), -height, words, ha="center", va="center", fontsize=7)
            start += seconds
    ax.set_ylim(-1.6 * height, high)
