"""A function at many cells of a grid, on whatever executor there is: this machine's cores, Dask's workers, MPI's ranks.

`concurrent.futures` is Python's one interface to all of these, so there is nothing here that moves work about. What is
added is what a run of hours needs: a seed for each cell, records of what is done, and failures that are kept as such.

A cell's seed is a hash of the sweep's seed and of the cell itself (its JSON text with sorted keys; SHA-256), not of its
place: it is the same on every executor, in every order, and when cells are added later.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from multiprocessing import get_context
from os import PathLike
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

from qtheory.arguments import count

VERSION = 1
AHEAD = 1000
"""Cells that are submitted and not done, at most: a million of them would fill the executor's memory."""

Function = Callable[[Any, int], Any]


@dataclass(frozen=True)
class Failure:
    """A cell whose function raised: `error` in one line, `traceback` as Python prints it."""

    cell: Any
    error: str
    traceback: str


@dataclass(frozen=True)
class Sweep:
    """What a sweep found.

    Attributes
    ----------
    cells : tuple
        As they were given.
    values : tuple
        The function's values, in the order of the cells; None where it failed.
    failures : tuple of Failure
        In the order of the cells.
    """

    cells: tuple[Any, ...]
    values: tuple[Any, ...]
    failures: tuple[Failure, ...]


class _Outcome(NamedTuple):
    """A value, or what was raised instead."""

    value: Any = None
    error: str | None = None
    traceback: str = ""


def sweep(
    function: Function,
    cells: Iterable[Any],
    *,
    executor: Executor | None = None,
    results: str | PathLike[str] | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Sweep:
    """Compute `function(cell, seed)` for each cell.

    Parameters
    ----------
    function : callable
        Takes a cell and its seed. Processes import it by its name: it must be defined in a module, not in another
        function. An exception that it raises is recorded, and the other cells go on.
    cells : iterable
        Different JSON values (mappings of names, say), from which the function makes what it needs.
    executor : concurrent.futures.Executor, optional
        `Client.get_executor()` of Dask, `MPIPoolExecutor` of mpi4py, or any other; it is not shut down. None: one
        process for each core of this machine.
    results : path, optional
        File to which each cell's value is appended when it is there, as a line of JSON; values must then be JSON values
        too, without NaN. A sweep that was interrupted, even in the middle of a line, goes on with the cells that are
        not there, and tries those again that failed.
    seed : int
        From which the seeds of the cells are made.
    progress : bool
        Show a progress bar when it takes longer than two seconds.

    Returns
    -------
    Sweep

    Raises
    ------
    TypeError
        When a cell, or with `results` a value, is not a JSON value.
    ValueError
        When two cells are equal, or `results` holds those of another function or seed, or is damaged.
    RuntimeError
        When the executor breaks, as when a process is killed. What was done is kept.

    Examples
    --------
    >>> import qtheory as qt
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> def loss(cell, seed):
    ...     disk = qt.Disk(qt.Poisson(cell["rate"]), buffer=8)
    ...     return qt.solve(qt.Engine([disk], qt.Device(servers=1, service=qt.Exponential(mean=1.0)))).blocking
    >>> with ThreadPoolExecutor() as threads:
    ...     found = qt.sweep(loss, [{"rate": 0.5}, {"rate": 1.0}, {"rate": -1.0}], executor=threads)
    >>> [round(x, 4) for x in found.values[:2]], found.failures[0].error
    ([0.002, 0.1111], 'ValueError: rate must be a positive finite number, not -1.0')
    """
    every = tuple(cells)
    seed = count("seed", seed, least=0)
    keys = [_key(i, cell) for i, cell in enumerate(every)]
    places = {key: i for i, key in enumerate(keys)}
    if len(places) < len(keys):
        again = next(i for i, key in enumerate(keys) if places[key] != i)
        raise ValueError(
            f"cells must be different: cells[{again}] and cells[{places[keys[again]]}] are {every[again]!r}"
        )
    outcomes: dict[int, _Outcome] = {}
    with ExitStack() as stack:
        record = None
        if results is not None:
            record = _Record(Path(results), function, seed)
            outcomes = {places[key]: _Outcome(value) for key, value in record.done.items() if key in places}
            stack.callback(record.close)
        if executor is None:
            # Not forked: threads of numba and polars do not survive that.
            executor = ProcessPoolExecutor(mp_context=get_context("spawn"), initializer=_leave_interrupts)
            stack.callback(executor.shutdown, cancel_futures=True)
        todo = [i for i in range(len(every)) if i not in outcomes]
        steps = _outcomes(executor, function, ((i, every[i], seed_of(seed, keys[i])) for i in todo))
        if progress:
            from qtheory.progress import watched

            steps = watched(steps, "sweep", total=len(every), done=lambda _: len(outcomes) + 1)
        try:
            for i, outcome in steps:
                outcomes[i] = outcome if record is None else record.keep(every[i], outcome)
        except BrokenExecutor as broken:
            kept = "without results nothing is kept" if record is None else f"finished cells are kept in {record.path}"
            raise RuntimeError(f"the executor broke ({broken}): {kept}") from broken
    failures = [Failure(every[i], x.error, x.traceback) for i, x in sorted(outcomes.items()) if x.error is not None]
    return Sweep(every, tuple(outcomes[i].value for i in range(len(every))), tuple(failures))


def seed_of(seed: int, key: str) -> int:
    """The seed of a cell, below 2⁶³, from the sweep's and the cell's JSON text.

    >>> seed_of(0, '{"rate":0.5}')
    2936183253716058275
    """
    return int.from_bytes(sha256(f"{seed} {key}".encode()).digest()[:8], "big") >> 1


def _key(i: int, cell: Any) -> str:
    """The cell's JSON text."""
    try:
        return json.dumps(cell, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as wrong:
        raise TypeError(f"cells[{i}] must be a JSON value ({wrong}), not {cell!r}") from None


def _outcomes(
    executor: Executor, function: Function, jobs: Iterator[tuple[int, Any, int]]
) -> Iterator[tuple[int, _Outcome]]:
    """What each job (place, cell, seed) gives, as it is done."""
    finished: SimpleQueue[Future[_Outcome]] = SimpleQueue()
    running: dict[Future[_Outcome], int] = {}

    def submit(more: int) -> None:
        for i, cell, own_seed in islice(jobs, more):
            future = executor.submit(_attempt, function, cell, own_seed)
            running[future] = i
            future.add_done_callback(finished.put)

    try:
        submit(AHEAD)
        while running:
            future = finished.get()
            i = running.pop(future)
            try:
                outcome = future.result()
            except BrokenExecutor:
                raise
            except Exception as lost:  # the function or its value could not travel, or its worker was lost
                outcome = _Outcome(None, _line(lost), traceback.format_exc())
            yield i, outcome
            submit(1)
    finally:
        for future in running:
            future.cancel()


def _attempt(function: Function, cell: Any, seed: int) -> _Outcome:
    """The function's value or what it raises, which could not always be pickled."""
    try:
        return _Outcome(function(cell, seed))
    except Exception as raised:
        return _Outcome(None, _line(raised), traceback.format_exc())


def _line(raised: Exception) -> str:
    return " ".join(f"{type(raised).__name__}: {raised}".split())


def _leave_interrupts() -> None:
    """Ctrl-C is for the process that waits for the others, and ends them."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)


class _Record:
    """The file of results: a line that says whose they are, then one for each cell."""

    def __init__(self, path: Path, function: Function, seed: int) -> None:
        head = {"sweep": VERSION, "function": f"{function.__module__}.{function.__qualname__}", "seed": seed}
        self.path = path
        self.done: dict[str, Any] = {}
        whole = 0
        if path.exists():
            whole = self._read(path.read_bytes(), head)
        self._file = path.open("r+b" if path.exists() else "wb")
        self._file.truncate(whole)
        self._file.seek(whole)
        if not whole:
            self._write(head)

    def _read(self, content: bytes, head: dict[str, Any]) -> int:
        """Take over what is done; the length of the lines that are whole."""
        whole = content.rfind(b"\n") + 1
        if not whole and not json.dumps(head).encode().startswith(content):
            raise ValueError(f"{self.path}:1: not a line of a sweep's results: {content[:80]!r}")
        for number, line in enumerate(content[:whole].splitlines(), start=1):
            try:
                found = json.loads(line)
                if number > 1 and "error" not in found:
                    self.done[_key(0, found["cell"])] = found["value"]
            except (ValueError, KeyError, TypeError):
                raise ValueError(f"{self.path}:{number}: not a line of a sweep's results: {line[:80]!r}") from None
            if number == 1 and found != head:
                raise ValueError(f"{self.path}:1: the results are of another sweep: {found!r}, not {head!r}")
        return whole

    def keep(self, cell: Any, outcome: _Outcome) -> _Outcome:
        """Append the cell's outcome; it, as it will be read again."""
        if outcome.error is None:
            try:
                text = json.dumps(outcome.value, allow_nan=False)
            except TypeError as wrong:
                raise TypeError(f"function must return a JSON value ({wrong}) where results are kept") from None
            except ValueError:
                outcome = _Outcome(None, f"ValueError: the value must not hold NaN or infinity: {outcome.value!r}")
            else:
                outcome = _Outcome(json.loads(text))
        found = {"value": outcome.value} if outcome.error is None else outcome._asdict()
        self._write({"cell": cell, **found})
        return outcome

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()
