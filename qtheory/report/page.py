"""The report as one self-contained HTML file, and its tables as text; a plain sentence goes with every picture."""

from __future__ import annotations

import io
from collections.abc import Sequence

from qtheory.report import figures
from qtheory.report.study import Study, burstiness
from qtheory.result import Estimate

WORKLOAD_HEADER = (
    "disk",
    "requests",
    "rate [1/s]",
    "interarrival scv",
    "reads",
    "mean size [KiB]",
    "mean response [ms]",
)
DISKS_HEADER = (
    "disks",
    "throughput [1/s]",
    "simulated",
    "lost",
    "mean wait [ms]",
    "simulated",
    "replayed",
    "drain mean [ms]",
    "drain 99 % [ms]",
)


def workload_rows(study: Study) -> list[list[str]]:
    """A row for each disk and one for all, under WORKLOAD_HEADER."""
    return [
        [
            row.disk,
            str(row.requests),
            _number(row.rate),
            _number(row.interarrival_scv),
            f"{row.read_share:.0%}",
            _number(row.size_mean, 1 / 1024),
            _number(row.response_mean, 1e3),
        ]
        for row in (*study.summary.disks, study.summary.total)
    ]


def disks_rows(study: Study) -> list[list[str]]:
    """A row for each number of disks, under DISKS_HEADER."""
    return [
        [
            str(point.disks),
            f"{point.throughput:.5g}",
            _estimate(model.throughput),
            f"{point.blocking:.3g}",
            f"{point.mean_wait * 1e3:.4g}",
            _estimate(model.mean_wait, 1e3),
            "-" if replay is None else _estimate(replay.mean_wait, 1e3),
            _number(point.drain_mean, 1e3),
            _number(point.drain_quantile, 1e3),
        ]
        for point, model, replay in zip(study.by_disks, study.by_disks_model, study.by_disks_replay, strict=True)
    ]


def html(study: Study) -> str:
    """The whole report as HTML text."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("qtheory.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("page.html.jinja").render(
        title=f"Workload report: {study.trace.source.rsplit('/', 1)[-1]}",
        requests=f"{len(study.trace):,}",
        disks=len(study.trace.disks),
        span=f"{study.trace.span:.4g}",
        device=study.device_words,
        fit=list(burstiness(study)),
        workload_header=WORKLOAD_HEADER,
        workload=workload_rows(study),
        rate_figure=figures.rate_over_time(study),
        rate_sentence=_rate_sentence(study),
        disks_figure=figures.by_disks(study),
        disks_sentence=disks_sentence(study),
        disks_header=DISKS_HEADER,
        disks_rows=disks_rows(study),
        busy_disks=len(study.busy.disks),
        queue_figure=figures.by_queue_length(study),
        queue_sentence=queue_sentence(study),
        drain_figure=figures.drain_law(study),
        drain_sentence=drain_sentence(study),
        provenance=_provenance(study),
    )


def disks_sentence(study: Study) -> str:
    """What adding disks does."""
    first, last = study.by_disks[0], study.by_disks[-1]
    outside = sum(
        not model.mean_wait.covers(point.mean_wait, half_widths=2.0)
        for point, model in zip(study.by_disks, study.by_disks_model, strict=True)
    )
    if first is last:
        sentence = (
            f"With {first.disks} disks the mean wait is {first.mean_wait * 1e3:.3g} ms and the 99 % drain "
            f"{_number(first.drain_quantile, 1e3)} ms"
        )
    else:
        sentence = (
            f"From {first.disks} to {last.disks} disks the mean wait grows from {first.mean_wait * 1e3:.3g} to "
            f"{last.mean_wait * 1e3:.3g} ms and the 99 % drain from {_number(first.drain_quantile, 1e3)} to "
            f"{_number(last.drain_quantile, 1e3)} ms"
        )
    sentence += f", and {last.blocking:.1%} of the requests are lost. " if last.blocking >= 5e-4 else ". "
    return sentence + (
        f"Theory lies within two half-widths of the simulated mean wait at {len(study.by_disks) - outside} of "
        f"{len(study.by_disks)} numbers of disks."
    )


def queue_sentence(study: Study) -> str:
    """Which queue length is enough, and what a longer one costs."""
    enough = next(point for point in study.by_queue_ring if point.throughput_loss <= 0.01)
    same = study.by_queue_engine[study.by_queue_ring.index(enough)]
    longest = study.by_queue_ring[-1]
    quick = next(point for point in study.by_queue_ring if point.mean_wait <= 1.01 * longest.mean_wait)
    return (
        f"{enough.queue_length} slots carry at least 99 % of the throughput. A stop then waits "
        f"{_number(enough.drain_quantile, 1e3)} ms (99 %) when the rest is left in the guest's ring, and "
        f"{_number(same.drain_quantile, 1e3)} ms when the engine has taken it, as QEMU does. More slots buy no "
        f"throughput, beyond {quick.queue_length} no shorter wait either; only a limit before the requests are taken "
        "shortens the drain."
    )


def drain_sentence(study: Study) -> str:
    """How long a stop waits."""
    sentence = (
        f"Half of the drains end within {study.drain.quantile(0.5) * 1e3:.3g} ms and 99 % within "
        f"{study.drain.quantile(0.99) * 1e3:.3g} ms; the simulated 99 % point is "
        f"{_estimate(study.drain_model.drain.quantile(0.99), 1e3)} ms."
    )
    if study.drain_replay is not None:
        replayed = study.drain_replay.drain.quantile(0.99)
        sentence += f" With the recorded arrivals it is {_estimate(replayed, 1e3)} ms."
    return sentence


def _rate_sentence(study: Study) -> str:
    busiest = max(study.summary.disks, key=lambda row: row.requests)
    return (
        f"Arrivals of each disk over time. The busiest, {busiest.disk}, sends "
        f"{busiest.requests / study.summary.total.requests:.0%} of all requests."
    )


def _provenance(study: Study) -> list[str]:
    bound = max((point.error_bound for point in study.by_disks), default=0.0)
    lines = [
        f"Theory: method {study.busy_point.method}, exact for Poisson arrivals and exponential service "
        f"(numerical error at most {bound:.1g}, relative); drain: {study.drain.method}.",
        f"Simulation: {study.drain_model.method}, at least {study.drain_model.requests:,} requests a point, seed "
        f"{study.drain_model.seed}, 95 % confidence intervals by batch means.",
        "Replay: copies of the recorded disks, each turned by an independent random time, with service times drawn "
        "from the device's law where the trace has none.",
    ]
    lines += [f"Simulation of {doubt}." for doubt in study.doubts]
    lines += [f"Trace: {warning}." for warning in study.trace.warnings]
    return lines


def _number(value: float | None, scale: float = 1.0) -> str:
    return "-" if value is None else f"{value * scale:.4g}"


def _estimate(value: Estimate, scale: float = 1.0) -> str:
    return f"{value.value * scale:.4g} ± {value.half_width * scale:.2g}"


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for the terminal."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(*map(escape, header), box=box.SIMPLE)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*map(escape, row))
    console = Console(file=io.StringIO(), width=160)
    console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]
