"""A progress bar that appears when a run has lasted two seconds, for those who ask for it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

PATIENCE = 2.0
"""Seconds before the bar appears."""


def watched(steps: Iterable[int], total: int) -> Iterator[int]:
    """Pass on `steps`, the work done by each, under a bar that fills up at `total`.

    >>> list(watched([1, 2], total=3))
    [1, 2]
    """
    from rich.progress import Progress

    began, done = time.monotonic(), 0
    bar = Progress(transient=True)
    task = bar.add_task("simulate", total=total)
    shown = False
    try:
        for step in steps:
            done += step
            if not shown and time.monotonic() - began > PATIENCE:
                bar.start()
                shown = True
            bar.update(task, completed=done)
            yield step
    finally:
        if shown:
            bar.stop()
