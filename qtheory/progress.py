"""A progress bar that appears when a job has lasted two seconds, for those who ask for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

PATIENCE = 2.0
"""Seconds before the bar appears."""

Step = TypeVar("Step")


def watched(steps: Iterable[Step], title: str, total: int, done: Callable[[Step], int]) -> Iterator[Step]:
    """Pass on `steps` under a bar that fills up at `total`; `done` says after each step how much is done so far.

    >>> list(watched([1, 2], "count", total=2, done=lambda step: step))
    [1, 2]
    """
    from rich.progress import Progress

    began = time.monotonic()
    bar = Progress(transient=True)
    task = bar.add_task(title, total=total)
    shown = False
    try:
        for step in steps:
            if not shown and time.monotonic() - began > PATIENCE:
                bar.start()
                shown = True
            bar.update(task, completed=done(step))
            yield step
    finally:
        if shown:
            bar.stop()
