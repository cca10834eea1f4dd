"""More disks than were recorded: copies of a trace, each turned by an independent random time.

A copy starts at a random point of the recording and goes on from its beginning at the end, so each keeps its rate and
its burstiness and the copies are independent of each other. What disks of one recording do together stays together.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from qtheory.arguments import count
from qtheory.traces.trace import Block, Trace


def cloned(trace: Trace, copies: int, seed: int = 1) -> Trace:
    """`copies` copies of every disk of `trace` on one clock; copy j of disk d is called d.j.

    Examples
    --------
    >>> import qtheory as qt
    >>> one = qt.bundled_trace()
    >>> eight = cloned(one, 2)
    >>> len(eight) == 2 * len(one), eight.disks[:5]
    (True, ('disk0.0', 'disk1.0', 'disk2.0', 'disk3.0', 'disk0.1'))
    """
    copies = count("copies", copies)
    rng = np.random.default_rng(seed)
    # The gap after the last request is one mean time between arrivals.
    period = trace.span * (1.0 + 1.0 / max(len(trace) - 1, 1))
    start = trace.arrival - trace.arrival[0]
    shifts = rng.uniform(0.0, period, copies)
    arrival = np.concatenate([np.mod(start + shift, period) if period > 0.0 else start for shift in shifts])
    order = np.argsort(arrival, kind="stable")
    n = len(trace.disks)

    block = trace.block
    copied = Block(*(None if column is None else np.tile(column, copies)[order] for column in block))  # type: ignore[arg-type]
    disk = np.concatenate([trace.disk + j * n for j in range(copies)])[order]
    return replace(
        trace,
        **copied._replace(arrival=arrival[order], disk=disk)._asdict(),
        disks=tuple(f"{name}.{j}" for j in range(copies) for name in trace.disks),
        origin=0.0,
        source=f"{trace.source}, {copies} copies",
    )
