"""From a reader's typed rows to requests: the checks that every format shares, the order, the zero of time.

A reader hands over frames with the columns

    line            where the record stands, for errors
    arrival         Float64 [s], or Int64 ticks where the format has them: epochs need more digits than a float has
    disk            String or Enum
    op              String or Enum, one of OPERATIONS
    offset, size    Int64 [bytes], null: not recorded                    (optional columns)
    response        Float64 [s], null: not recorded                      (optional column)
    service         Float64 [s], null: not recorded                      (optional column)

A response (or service) time is recorded for all requests or for none, as the first frame that has records says: a row
without one, where others have it, is a bad row. Means over the recorded half would be about other requests than the
rates.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qtheory.traces.file import TraceFile
from qtheory.traces.trace import LONGEST, OPERATIONS, Block, Trace, is_name, joined

if TYPE_CHECKING:
    import polars as pl

TIMES = ("response", "service")
HELD = 1 << 16  # records among which a stream finds the place of a late one


class Records:
    """The good records of a file, in its order, on its own clock; disks are numbered as they first appear.

    `names` has the disks found so far, `late` counts the records that came after a later one.
    """

    def __init__(self, file: TraceFile, frames: Iterable[pl.DataFrame], ticks_per_second: int) -> None:
        self.file, self.ticks_per_second = file, ticks_per_second
        self.names: list[str] = []
        self.late = 0
        self.origin = 0.0
        self._frames = frames
        self._timed: dict[str, bool] | None = None

    def __iter__(self) -> Iterator[Block]:
        """Blocks whose `arrival` is not yet in order, and not yet in seconds from the first."""
        latest: int | float = 0
        for frame in self._frames:
            if not _clean(frame, self.ticks_per_second):
                frame = self.file.sift(frame, _rules(frame, self.ticks_per_second))
            block = self._block(frame)
            if len(block.arrival):
                so_far = np.maximum.accumulate(np.maximum(block.arrival, latest))
                self.late += int(np.count_nonzero(block.arrival < so_far))
                latest = so_far[-1]
                yield block

    def close(self) -> None:
        """Say what is known only at the end; refuse a file without records."""
        if not self.names:
            raise self.file.error("; ".join(("there are no requests in it", *self.file.warnings)))
        self.file.warn_of(self.late, "record", "out of order, sorted by arrival")

    def seconds(self, arrival: NDArray[np.number], first: int | float) -> NDArray[np.float64]:
        """Seconds since the first arrival; keeps what that was on the file's own clock."""
        self.origin = self.file.origin + first / self.ticks_per_second
        return np.asarray((arrival - first) / self.ticks_per_second, dtype=np.float64)

    def _block(self, frame: pl.DataFrame) -> Block:
        import polars as pl

        if self._timed is None and len(frame):
            self._timed = {name: name in frame.columns and frame[name].null_count() < len(frame) for name in TIMES}
        timed = self._timed or {}
        rules = {}
        for name in (name for name in TIMES if name in frame.columns):
            if timed.get(name):
                wrong = f"{name} is not recorded here, but in other rows: it must be in all or in none"
                rules[wrong] = pl.col(name).is_not_null()
            elif timed:
                wrong = f"{name} is recorded here, but not in the rows before: it must be in all or in none"
                rules[wrong] = pl.col(name).is_null()
        frame = self.file.sift(frame, rules) if rules else frame

        def whole(name: str) -> NDArray[np.int64]:
            known = frame[name].fill_null(-1).cast(pl.Int64) if name in frame.columns else None
            return np.full(len(frame), -1) if known is None else known.to_numpy()

        return Block(
            arrival=frame["arrival"].to_numpy(),
            disk=_codes(frame["disk"], self.names, grow=True),
            op=_codes(frame["op"], list(OPERATIONS), grow=False).astype(np.int8),
            offset=whole("offset"),
            size=whole("size"),
            response=frame["response"].to_numpy() if timed.get("response") else None,
            service=frame["service"].to_numpy() if timed.get("service") else None,
        )


def gather(records: Records) -> Trace:
    """The trace of all records; its disks are in the order of their names.

    Raises TraceError for a bad row that is not to be skipped, and when no record is left.
    """
    blocks = list(records)
    records.close()
    whole = blocks[0] if len(blocks) == 1 else joined(blocks)
    if records.late:
        whole = whole.take(np.argsort(whole.arrival, kind="stable"))
    disks = sorted(records.names, key=natural)
    places = np.array([disks.index(name) for name in records.names])
    return Trace(
        arrival=records.seconds(whole.arrival, whole.arrival[0].item()),
        disk=places[whole.disk],
        disks=disks,
        op=whole.op,
        offset=whole.offset,
        size=whole.size,
        response=whole.response,
        service=whole.service,
        origin=records.origin,
        source=records.file.path,
        comments=comments(records.file),
        warnings=records.file.warnings,
    )


def in_order(records: Records) -> Iterator[Block]:
    """The records as they arrive, in seconds from the first, holding a few of them back to find late ones their place.

    Raises TraceError as `gather`, and when a record is late by more than HELD others.
    """
    held: Block | None = None
    first: int | float | None = None
    released: int | float = 0
    for block in records:
        pending = block if held is None else joined([held, block])
        if np.any(pending.arrival[1:] < pending.arrival[:-1]):
            pending = pending.take(np.argsort(pending.arrival, kind="stable"))
        earliest = pending.arrival[0].item()
        if first is not None and earliest < released:
            raise records.file.error(
                f"a record is out of order by more than {HELD} others, too far to be sorted while the file streams "
                "past: read it whole, or sort it first"
            )
        first = earliest if first is None else first
        cut = max(len(pending.arrival) - HELD, 0)
        if cut:
            ready, held = pending.take(slice(cut)), pending.take(slice(cut, None))
            released = ready.arrival[-1].item()
            yield ready._replace(arrival=records.seconds(ready.arrival, first))
        else:
            held = pending
    if held is not None and first is not None:
        yield held._replace(arrival=records.seconds(held.arrival, first))
    records.close()


def comments(file: TraceFile) -> list[str]:
    """What the file says about itself, one line each."""
    return [comment.replace("\r", " ") for comment in file.comments]


def natural(name: str) -> list[tuple[int, str]]:
    """Key that sorts disk2 before disk10: every second part is digits, of which the longer are the larger."""
    return [(len(part) * (i % 2), part) for i, part in enumerate(re.split("0*([0-9]+)", name))]


def _codes(names: pl.Series, known: list[str], *, grow: bool) -> NDArray[np.int64]:
    """Each name's place in `known`, to which new names are added."""
    import polars as pl

    if isinstance(names.dtype, pl.Enum):
        found, place = names.dtype.categories.to_list(), names.to_physical().to_numpy()
    else:
        unique = names.unique(maintain_order=True)
        found = unique.to_list()
        place = names.cast(pl.Enum(unique)).to_physical().to_numpy()
    number = {name: i for i, name in enumerate(known)}
    if grow and any(name not in number for name in found):
        for name, times in zip(found, np.bincount(place, minlength=len(found)), strict=True):
            if times and name not in number:
                number[name] = len(known)
                known.append(name)
    numbers = np.array([number.get(name, -1) for name in found], dtype=np.int64)
    return np.asarray(numbers[place])


def _clean(frame: pl.DataFrame, ticks_per_second: int) -> bool:
    """Whether a quick look at the extremes shows that all rows keep the rules below, as most frames do."""
    import polars as pl

    limits = {"arrival": LONGEST * ticks_per_second, "offset": math.inf, "size": math.inf}
    for name in (name for name in ("arrival", "offset", "size", *TIMES) if name in frame.columns):
        column = frame[name]
        if column.null_count() and name not in ("offset", "size"):
            return False
        extremes: list[Any] = [x for x in (column.min(), column.max()) if x is not None]  # they pass over NaN
        if not all(0 <= x < limits.get(name, LONGEST) for x in extremes):
            return False
        if column.dtype.is_float() and np.isnan(column.to_numpy().sum()):
            return False
    checks: tuple[tuple[str, Callable[[str], bool]], ...] = (("disk", is_name), ("op", OPERATIONS.__contains__))
    for name, good in checks:
        kind = frame[name].dtype
        if not (isinstance(kind, pl.Enum) and all(map(good, kind.categories))):
            return False
    return True


def _rules(frame: pl.DataFrame, ticks_per_second: int) -> dict[str, pl.Expr]:
    """What every record must keep, whatever its format."""
    import polars as pl

    arrival = pl.col("arrival")
    rules = {
        "arrival is empty": arrival.is_not_null(),
        "arrival must be finite": arrival.is_finite(),
        "arrival must not be negative": arrival >= 0,
        f"arrival must be below {LONGEST:.0e} s, or its unit is wrong": arrival < LONGEST * ticks_per_second,
        "disk is empty": _keeps(frame["disk"], bool),
        "disk's name must not hold commas, quotes or line ends": _keeps(
            frame["disk"], lambda name: not name or is_name(name)
        ),
        f"op must be one of {', '.join(OPERATIONS)}": _keeps(frame["op"], lambda name: name in OPERATIONS),
    }
    for name in ("offset", "size"):
        if name in frame.columns:
            rules[f"{name} must not be negative"] = pl.col(name).is_null() | (pl.col(name) >= 0)
    for name in TIMES:
        if name in frame.columns:
            time = pl.col(name)
            rules[f"{name} must be finite"] = time.is_null() | time.is_finite()
            rules[f"{name} must not be negative"] = time.is_null() | (time >= 0)
            rules[f"{name} must be below {LONGEST:.0e} s, or its unit is wrong"] = time.is_null() | (time < LONGEST)
    return rules


def _keeps(names: pl.Series, good: Callable[[str], bool]) -> pl.Expr:
    """Whether each row's name is good; asked of each different name once."""
    import polars as pl

    found = names.dtype.categories if isinstance(names.dtype, pl.Enum) else names.unique()
    bad = [name for name in found if name is not None and not good(name)]
    return ~pl.col(names.name).is_in(bad) if bad else pl.col(names.name).is_not_null()
