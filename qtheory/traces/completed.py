"""Logs that are written as requests complete, put in the order in which the requests arrived.

Rows come in order of completion. A request that is still to come completes no earlier than the latest one so far, so
it arrives no earlier than that time less its response. Rows are therefore held until the latest completion, less the
longest response so far, has passed their arrival: then all of them are in order, but for those that arrive before a
response longer than any other before it. Those are sorted downstream, and counted there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from qtheory.traces.records import HELD

if TYPE_CHECKING:
    import polars as pl


def by_arrival(frames: Iterable[pl.DataFrame], ticks_per_second: int) -> Iterator[pl.DataFrame]:
    """The same rows in order of `arrival` (Int64 ticks); at most HELD of them wait for the next frame.

    `response` [s] is not null, and rows are sifted already: sorted, the first bad one would not be the file's first.

    Examples
    --------
    >>> import polars as pl
    >>> rows = pl.DataFrame({"arrival": [5, 0, 7, 2], "response": [1.0, 8.0, 2.0, 8.0]})
    >>> [frame["arrival"].to_list() for frame in by_arrival([rows[:2], rows[2:]], ticks_per_second=1)]
    [[], [0], [2, 5, 7]]
    """
    import polars as pl

    held: list[pl.DataFrame] = []
    latest, longest = 0, 0
    for frame in frames:
        if frame.is_empty():
            continue
        took = np.ceil(frame["response"].to_numpy() * ticks_per_second).astype(np.int64)
        latest = max(latest, int((frame["arrival"].to_numpy() + took).max()))
        longest = max(longest, int(took.max()))
        pending = pl.concat([*held, frame]).sort("arrival", maintain_order=True)
        settled = int(pending["arrival"].search_sorted(latest - longest))
        cut = max(settled, len(pending) - HELD)
        yield pending[:cut]
        held = [pending[cut:]]
    yield from held
