"""What the tests of `qt.sweep` compute, in a module so that other processes find it."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import qtheory as qt


def loss(cell: dict[str, Any], seed: int) -> dict[str, float]:
    """Blocking in theory and in a short simulation; a rate below 0 is refused."""
    disk = qt.Disk(qt.Poisson(cell["rate"]), buffer=4)
    engine = qt.Engine([disk], qt.Device(servers=1, service=qt.Exponential(mean=1.0)))
    return {
        "exact": qt.solve(engine).blocking,
        "simulated": qt.simulate(engine, 2000, seed=seed % 2**32).blocking.value,
    }


def seen(cell: Any, seed: int) -> list[Any]:
    """What a cell is called with."""
    return [cell, seed]


def slow(cell: int, seed: int) -> int:
    """A tenth of a second."""
    time.sleep(0.1)
    return cell


def deadly(cell: int, seed: int) -> int:
    """Kills its own process at cell 3."""
    if cell == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return cell


def undefined(cell: float, seed: int) -> float:
    """Infinity at 0."""
    return 1.0 / cell if cell else float("inf")
