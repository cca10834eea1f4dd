"""A recorded request stream: what every reader returns and what fits, plots and simulations take.

Requests stand in order of arrival, one element of every array each. The clock starts at the first arrival of the
recording; a part cut out with `select` keeps that clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory.arguments import real

if TYPE_CHECKING:
    import polars as pl

    from qtheory.traces.summary import TraceSummary

OPERATIONS = ("read", "write", "flush", "discard", "other")
LONGEST = 4e9  # s, until 2096: a longer time is in another unit, and all sums still fit in 64 bits of nanoseconds
NOT_IN_NAMES = r'[,"\r\n]'


class Block(NamedTuple):
    """A stretch of a trace, for those who go through it once; the arrays as in `Trace`.

    Disks are numbered in the order in which they first appear.
    """

    arrival: NDArray[np.float64]
    disk: NDArray[np.int64]
    op: NDArray[np.int8]
    offset: NDArray[np.int64]
    size: NDArray[np.int64]
    response: NDArray[np.float64] | None
    service: NDArray[np.float64] | None

    def take(self, which: Any) -> Block:
        """Some of its requests, by slice, mask or index."""
        return Block(*(None if column is None else column[which] for column in self))  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False, kw_only=True)
class Trace:
    """Requests of one or more disks, in order of arrival.

    Parameters
    ----------
    arrival : array of float
        Arrival times [s], rising (equal ones allowed), >= 0.
    disk : array of int
        Whose request it is: an index into `disks`.
    disks : sequence of str
        The disks' names, each with at least one request.
    op : array of int
        What it is: an index into `OPERATIONS`.
    offset, size : array of int
        Where on the disk and how long [bytes]; −1: not recorded.
    response : array of float or None
        From arrival to completion [s]; None: not recorded.
    service : array of float or None
        From the start of service to completion [s]; None: not recorded.
    origin : float
        Time 0 of `arrival` on the recording's own clock [s], such as the Unix epoch's; 0 where that is not known.
    source : str
        Where the trace comes from.
    comments : sequence of str
        What the recording says about itself, a line each.
    warnings : sequence of str
        What reading it had to leave out or put right, with counts.

    Arrays are read-only. Raises ValueError naming the argument that does not fit.

    Examples
    --------
    >>> trace = Trace(arrival=[0.0, 0.5, 2.0], disk=[0, 1, 0], disks=["a", "b"], op=[0, 0, 1],
    ...               offset=[0, 0, 4096], size=[4096, 4096, 512], response=[0.1, 0.1, 0.2])
    >>> len(trace), trace.span, trace.select(disks="a").size
    (3, 2.0, array([4096,  512]))
    """

    arrival: NDArray[np.float64]
    disk: NDArray[np.int64]
    disks: tuple[str, ...]
    op: NDArray[np.int8]
    offset: NDArray[np.int64]
    size: NDArray[np.int64]
    response: NDArray[np.float64] | None = None
    service: NDArray[np.float64] | None = None
    origin: float = 0.0
    source: str = ""
    comments: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __init__(
        self,
        *,
        arrival: ArrayLike,
        disk: ArrayLike,
        disks: Sequence[str],
        op: ArrayLike,
        offset: ArrayLike,
        size: ArrayLike,
        response: ArrayLike | None = None,
        service: ArrayLike | None = None,
        origin: float = 0.0,
        source: str = "",
        comments: Sequence[str] = (),
        warnings: Sequence[str] = (),
    ) -> None:
        put = object.__setattr__
        put(self, "arrival", _times("arrival", arrival))
        n = len(self.arrival)
        if n == 0:
            raise ValueError("arrival must have at least one request")
        if np.any(np.diff(self.arrival) < 0):
            raise ValueError("arrival must be in order")
        put(self, "disks", tuple(disks))
        put(self, "disk", _whole("disk", disk, n, np.int64, range(len(self.disks))))
        put(self, "op", _whole("op", op, n, np.int8, range(len(OPERATIONS))))
        put(self, "offset", _whole("offset", offset, n, np.int64))
        put(self, "size", _whole("size", size, n, np.int64))
        put(self, "response", None if response is None else _times("response", response, n))
        put(self, "service", None if service is None else _times("service", service, n))
        put(self, "origin", real("origin", origin))
        put(self, "source", source)
        put(self, "comments", tuple(comments))
        put(self, "warnings", tuple(warnings))
        if len(set(self.disks)) < len(self.disks):
            raise ValueError(f"disks must have different names, not {self.disks}")
        for i, name in enumerate(self.disks):
            if not name or any(letter in name for letter in ',"\r\n'):
                raise ValueError(f"disks[{i}] must be a name without commas, quotes and line ends, not {name!r}")
        idle = np.flatnonzero(np.bincount(self.disk, minlength=len(self.disks)) == 0)
        if len(idle):
            raise ValueError(f"disks[{idle[0]}] ({self.disks[idle[0]]!r}) must have at least one request")
        for i, comment in enumerate(self.comments):
            if "\n" in comment or "\r" in comment:
                raise ValueError(f"comments[{i}] must be one line, not {comment!r}")

    def __len__(self) -> int:
        return len(self.arrival)

    def __repr__(self) -> str:
        return f"Trace({self.source!r}, {len(self)} requests of {len(self.disks)} disk(s) in {self.span:.6g} s)"

    @property
    def span(self) -> float:
        """Time from the first to the last arrival [s]."""
        return float(self.arrival[-1] - self.arrival[0])

    def select(
        self, disks: str | Sequence[str] | None = None, start: float | None = None, stop: float | None = None
    ) -> Trace:
        """The requests of some disks that arrive in `start` <= t < `stop` [s], on the same clock.

        Disks without a request among them are left out. Raises ValueError when a disk is unknown or none is left.
        """
        chosen = np.ones(len(self), dtype=bool)
        if disks is not None:
            names = (disks,) if isinstance(disks, str) else tuple(disks)
            for name in names:
                if name not in self.disks:
                    raise ValueError(f"disks must be among {', '.join(self.disks)}, not {name!r}")
            chosen &= np.isin(self.disk, [self.disks.index(name) for name in names])
        if start is not None:
            chosen &= self.arrival >= start
        if stop is not None:
            chosen &= self.arrival < stop
        if not chosen.any():
            raise ValueError(f"no request of disks={disks!r} arrives between start={start!r} and stop={stop!r}")
        present, disk = np.unique(self.disk[chosen], return_inverse=True)
        return Trace(
            arrival=self.arrival[chosen],
            disk=disk,
            disks=[self.disks[i] for i in present],
            op=self.op[chosen],
            offset=self.offset[chosen],
            size=self.size[chosen],
            response=None if self.response is None else self.response[chosen],
            service=None if self.service is None else self.service[chosen],
            origin=self.origin,
            source=self.source,
            comments=self.comments,
            warnings=self.warnings,
        )

    def write(self, path: str | PathLike[str]) -> None:
        """Write the trace in the project's own format: `.csv`, `.csv.gz` or `.parquet`, told by the name's end.

        The same trace makes the same bytes; reading them gives the same trace, its clock from the first arrival.
        Warnings are not written: they are about how this trace was read. Raises ValueError for another suffix.
        """
        from qtheory.traces import own, parquet

        target = Path(path)
        if target.name.endswith((".csv", ".csv.gz")):
            own.write(self, target)
        elif target.name.endswith(".parquet"):
            parquet.write(self, target)
        else:
            raise ValueError(f"path must end in .csv, .csv.gz or .parquet, not {str(path)!r}")

    def to_polars(self) -> pl.DataFrame:
        """The columns of the project's own format as a polars frame, null where nothing is recorded."""
        import polars as pl

        columns: dict[str, Any] = {
            "arrival": self.arrival,
            "disk": pl.Series(self.disks).gather(self.disk),
            "op": pl.Series(OPERATIONS).gather(self.op),
            "offset": self.offset,
            "size": self.size,
            **({} if self.response is None else {"response": self.response}),
            **({} if self.service is None else {"service": self.service}),
        }
        known = [pl.when(pl.col(name) >= 0).then(name).alias(name) for name in ("offset", "size")]
        return pl.DataFrame(columns).with_columns(known)

    def summary(self) -> TraceSummary:
        """Rates, variability, sizes, responses and burstiness, by disk and in total; `print` shows a table."""
        from qtheory.traces.summary import summarize

        return summarize(self)


def _times(name: str, values: ArrayLike, n: int | None = None) -> NDArray[np.float64]:
    """Read-only times [s]; refuse what cannot be one."""
    times = np.array(values, dtype=np.float64)
    _shaped(name, times, n)
    bad = np.flatnonzero(~((times >= 0) & (times < LONGEST)))
    if len(bad):
        raise ValueError(f"{name}[{bad[0]}] must be a time in seconds from 0 to {LONGEST:.0e}, not {times[bad[0]]!r}")
    times.flags.writeable = False
    return times


def _whole(name: str, values: ArrayLike, n: int, dtype: Any, allowed: range | None = None) -> NDArray[Any]:
    """Read-only whole numbers, indexes within `allowed` or sizes from −1; refuse others."""
    given = np.asarray(values)
    _shaped(name, given, n)
    if not np.issubdtype(given.dtype, np.integer):
        raise ValueError(f"{name} must hold whole numbers, not {given.dtype}")
    least, most = (allowed.start, allowed.stop - 1) if allowed is not None else (-1, np.iinfo(np.int64).max)
    bad = np.flatnonzero((given < least) | (given > most))
    if len(bad):
        raise ValueError(f"{name}[{bad[0]}] must be from {least} to {most}, not {given[bad[0]]}")
    numbers = given.astype(dtype)  # a copy: the caller keeps his own
    numbers.flags.writeable = False
    return numbers


def _shaped(name: str, values: NDArray[Any], n: int | None) -> None:
    if values.ndim != 1 or (n is not None and len(values) != n):
        raise ValueError(f"{name} must have one value for each request, not shape {values.shape}")
