"""A trace too large for memory: it stays in its file and is read again, a block at a time, at each pass.

`summary` needs one pass; a replay and `write` need two, of which the first finds how many requests and disks there
are, and that nothing in the file would stop the second half-way. What holds a pass up is the parsing, so the next
block is parsed while this one is used.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from os import PathLike
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qtheory.progress import watched
from qtheory.traces.file import TraceFile
from qtheory.traces.records import Records, comments, in_order, natural
from qtheory.traces.trace import OPERATIONS, Block, Selection, operation_counts, operation_shares, write_frames

if TYPE_CHECKING:
    from qtheory.laws import Law
    from qtheory.traces.summary import TraceSummary


class Survey(NamedTuple):
    """What one pass finds."""

    requests: int
    names: list[str]
    """Disks in the order of the blocks' numbers."""
    counts: NDArray[np.int64]
    """Requests of each of them, by operation."""
    recorded: tuple[str, ...]
    """Which of response and service."""
    span: float
    origin: float
    comments: list[str]
    warnings: tuple[str, ...]


class TraceStream:
    """A trace in a file; `scan_trace` makes one.

    Iterating over it is a pass: a `Block` after the other, in order of arrival, with disks numbered as they are found.

    Raises TraceError as `read_trace`; and when a record is out of order by more than 65 536 others, too far to be put
    right in passing.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        records: Callable[[TraceFile], Records],
        selection: Selection,
        *,
        skip_bad_rows: bool,
        progress: bool,
    ) -> None:
        self.source = os.fspath(path)
        self._records, self._selection = records, selection
        self._skip_bad_rows, self._progress = skip_bad_rows, progress
        self._survey: Survey | None = None

    def __iter__(self) -> Iterator[Block]:
        file = TraceFile(self.source, skip_bad_rows=self._skip_bad_rows)
        records = self._records(file)
        number, counts = np.empty(0, np.int64), np.empty((0, len(OPERATIONS)), np.int64)
        names: list[str] = []
        requests, first, last = 0, 0.0, 0.0
        recorded: tuple[str, ...] = ()
        blocks: Iterator[Block] = _ahead(in_order(records))
        if self._progress:
            size = os.path.getsize(self.source)
            blocks = watched(blocks, f"read {os.path.basename(self.source)}", size, lambda _: file.position)
        for block in blocks:
            if self._selection != Selection.of():
                block = block.take(self._selection.mask(block, records.names))
            if len(block.arrival) == 0:
                continue
            number = np.append(number, np.full(len(records.names) - len(number), -1))
            here = operation_counts(block.disk, block.op, len(number))
            seen = here.any(axis=1)
            for found in np.flatnonzero(seen & (number < 0)):
                number[found] = len(names)
                names.append(records.names[found])
            counts = np.pad(counts, ((0, len(names) - len(counts)), (0, 0)))
            counts[number[seen]] += here[seen]
            first, last = (first if requests else float(block.arrival[0])), float(block.arrival[-1])
            requests += len(block.arrival)
            recorded = tuple(name for name in ("response", "service") if getattr(block, name) is not None)
            yield block._replace(disk=number[block.disk])
        if not requests:
            raise file.error(f"no request is selected by {self._selection}")
        self._survey = Survey(
            requests, names, counts, recorded, last - first, records.origin, comments(file), file.warnings
        )

    def __len__(self) -> int:
        return self.survey.requests

    def __repr__(self) -> str:
        return f"TraceStream({self.source!r})"

    @property
    def survey(self) -> Survey:
        """What the last pass found; makes one if there was none."""
        if self._survey is None:
            for _ in self:
                pass
        assert self._survey is not None
        return self._survey

    @property
    def disks(self) -> tuple[str, ...]:
        """Names of the disks, in their order."""
        return tuple(sorted(self.survey.names, key=natural))

    @property
    def rates(self) -> NDArray[np.float64]:
        """Requests per second of each disk, over the span of all."""
        survey = self.survey
        place = [self.disks.index(name) for name in survey.names]
        if survey.span == 0.0:
            raise ValueError(f"{self.source}: arrivals must span some time to have a rate")
        rates = np.empty(len(place))
        rates[place] = survey.counts.sum(axis=1) / survey.span
        return rates

    @property
    def operations(self) -> tuple[dict[str, float], ...]:
        """How often each disk asks for which operation, as `Disk(operations=)` takes it."""
        survey = self.survey
        return operation_shares(survey.counts[[survey.names.index(name) for name in self.disks]])

    @property
    def has_service(self) -> bool:
        """Whether service times were recorded."""
        return "service" in self.survey.recorded

    @property
    def warnings(self) -> tuple[str, ...]:
        """What reading it had to leave out or put right, with counts."""
        return self.survey.warnings

    def arrivals(self) -> Iterator[tuple[NDArray[np.float64], NDArray[np.int32], NDArray[np.float64] | None]]:
        """Arrival times, disks (counted in `disks`) and service times, a block at a time: what a replay needs."""
        place = np.array([self.disks.index(name) for name in self.survey.names], np.int32)
        for block in self:
            yield block.arrival, place[block.disk], block.service

    def write(self, path: str | PathLike[str]) -> None:
        """Write it in the project's own format, as `Trace.write` does."""
        from qtheory.traces.own import frame

        survey = self.survey
        write_frames(path, (frame(block, survey.names) for block in self), survey.origin, survey.comments)

    def summary(self, service: Law | None = None) -> TraceSummary:
        """Figures of the trace, in one pass; see `Trace.summary`."""
        from qtheory.traces.summary import SummaryTally

        tally = SummaryTally()
        for block in self:
            tally.add(block)
        survey = self.survey
        return tally.summary(survey.names, source=self.source, warnings=survey.warnings, service=service)


def _ahead(blocks: Iterator[Block]) -> Iterator[Block]:
    """The same blocks, the next one made in a thread meanwhile: polars and the kernels let go of the interpreter."""
    with ThreadPoolExecutor(1) as maker:
        coming = maker.submit(next, blocks, None)
        while (block := coming.result()) is not None:
            coming = maker.submit(next, blocks, None)
            yield block
