"""The optimal queue length against the number of disks, beside the rules that are deployed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

from qtheory.arguments import count, sequence
from qtheory.engine import Engine
from qtheory.result import Result
from qtheory.shares import follow_length, shortest
from qtheory.sizing import rules as deployed
from qtheory.sizing.optimum import OptimalQueueLength, optimal_queue_length
from qtheory.sizing.sweep import with_disks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QEMU_LENGTH = 1024
FIRECRACKER_LENGTH = 128
STYLES = ("--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))


@dataclass(frozen=True, kw_only=True)
class SizingCurve(Result):
    """Optimal queue lengths, one for each number of disks, and what the deployed rules would give.

    Attributes
    ----------
    disk_counts : tuple of int
        As given.
    points : tuple of OptimalQueueLength
        One for each.
    rules : mapping from name to tuple of int or None
        Queue length by each deployed rule (`sizing/rules.py`) and each that was asked for; None where it has none.
    crossing : int or None
        The largest given number of disks with a feasible queue length; None when there is none.
    """

    disk_counts: tuple[int, ...]
    points: tuple[OptimalQueueLength, ...]
    rules: Mapping[str, tuple[int | None, ...]]
    crossing: int | None

    def plot(self, ax: Any = None) -> Figure:
        """Draw queue lengths against disks on logarithmic axes; on `ax`, or a new figure, which is returned."""
        from matplotlib.figure import Figure

        if ax is None:
            ax = Figure(figsize=(8.0, 5.0), layout="constrained").add_subplot()
        x = self.disk_counts
        lower, upper = [p.lower for p in self.points], [max(p.upper, 1) for p in self.points]
        ax.fill_between(x, lower, upper, where=[p.feasible for p in self.points], color="0.88", label="good enough")
        ax.plot(x, lower, color="black", linewidth=1.0, label=f"lower end: {_most(p.binds_lower for p in self.points)}")
        ax.plot(x, upper, color="0.5", linewidth=1.0, label=f"upper end: {_most(p.binds_upper for p in self.points)}")
        good = [(n, p.queue_length) for n, p in zip(x, self.points, strict=True) if p.queue_length is not None]
        if good:
            ax.plot(*zip(*good, strict=True), "o", color="black", markersize=5, label="optimum")
        for style, (name, lengths) in zip(cycle(STYLES), self.rules.items(), strict=False):
            given = [(n, q) for n, q in zip(x, lengths, strict=True) if q is not None]
            if given:
                ax.plot(*zip(*given, strict=True), linestyle=style, linewidth=1.3, label=name)
        ax.set(xlabel="disks N", ylabel="queue length Q", xscale="log", yscale="log")
        ax.set_xticks(x, [str(n) for n in x])
        ax.minorticks_off()
        ax.legend(fontsize=8, frameon=False)
        figure: Figure = ax.figure
        return figure


def sizing_curve(
    engine: Engine,
    disk_counts: Sequence[float],
    *,
    rules: Mapping[str, Callable[[Engine], int | None]] | None = None,
    **limits: Any,
) -> SizingCurve:
    """The optimal queue length for each number of disks, the engine's own repeated cyclically.

    A shared device stays as it is; devices of disks come with them. `rules` are further ones to compare with, by name:
    functions from an engine to a queue length, such as a controller that is simulated until it has settled
    (`qt.controllers.settled`). `limits` are those of `optimal_queue_length`.
    Raises ValueError for a count that is not at least 1, and as `optimal_queue_length`.

    Examples
    --------
    Saturated disks with a device each: one line needs nearly twelve slots a disk, so a constant is wrong twice.

    >>> import qtheory as qt
    >>> device = qt.Device(servers=1, service=qt.Exponential(mean=1e-3))
    >>> disk = qt.Disk(qt.Closed(outstanding=256), device=device)
    >>> k = qt.sizing_curve(qt.Engine([disk], hold="ring"), [1, 4, 16, 64], max_throughput_loss=0.05)
    >>> [point.queue_length for point in k.points]
    [1, 42, 187, 767]
    >>> k.rules["sum of rings"], k.rules["one engine a disk"]
    ((256, 1024, 4096, 16384), (1, 4, 16, 64))
    """
    counts = tuple(count(f"disk_counts[{i}]", n) for i, n in enumerate(sequence("disk_counts", disk_counts)))
    if not counts:
        raise ValueError("disk_counts must have at least one value")
    if not isinstance(engine, Engine):
        raise TypeError(f"engine must be a qt.Engine, not {engine!r}")
    divided = follow_length(engine.shares)
    engines = [with_disks(engine, n, shortest(engine.shares, n) if divided else engine.queue_length) for n in counts]
    points = tuple(optimal_queue_length(e, **limits) for e in engines)
    alone: dict[Engine, int | None] = {}

    def optimum(one: Engine) -> int | None:
        if one not in alone:
            alone[one] = optimal_queue_length(one, **limits).queue_length
        return alone[one]

    compared: dict[str, Callable[[Engine], int | None]] = {
        f"constant {QEMU_LENGTH}": lambda e: deployed.constant(e, QEMU_LENGTH),
        f"constant {FIRECRACKER_LENGTH}": lambda e: deployed.constant(e, FIRECRACKER_LENGTH),
        "sum of rings": deployed.sum_of_rings,
        f"Linux shares of {QEMU_LENGTH}": lambda e: deployed.linux_shares(e, QEMU_LENGTH),
        "one engine a disk": lambda e: deployed.one_engine_per_disk(e, optimum),
        **(rules or {}),
    }
    names = dict.fromkeys(name for p in points for name in p.error_bounds)
    return SizingCurve(
        method="; ".join(dict.fromkeys(p.method for p in points)),
        exact=all(p.exact for p in points),
        error_bounds={name: max(p.error_bounds.get(name, 0.0) for p in points) for name in names},
        warnings=tuple(dict.fromkeys(w for p in points for w in p.warnings)),
        disk_counts=counts,
        points=points,
        rules={name: tuple(map(rule, engines)) for name, rule in compared.items()},
        crossing=max((n for n, p in zip(counts, points, strict=True) if p.feasible), default=None),
    )


def _most(names: Any) -> str:
    """The different ones, in order."""
    return ", ".join(dict.fromkeys(names))
