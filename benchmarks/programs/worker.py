"""What runs in a peer's own environment, `python worker.py PROGRAM`: a question a line, an answer a line, both in JSON.

The programs beside it say how each peer is asked; they, and this, know nothing of qtheory. `timed` is how everything is
timed that is compared, here and there: processor seconds, which another process's load does not add to, those of
processes that were waited for included (a solver may be one).
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable

LEAST = 0.05
"""Seconds that one timing takes at least."""


def spent() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def timed(work: Callable[[int], float], first: int, least: float = LEAST) -> tuple[float, float]:
    """Seconds of one of the calls work(first), work(first + 1), ..., and the answer of the first."""
    began = spent()
    answer = work(first)
    calls = 1
    while (seconds := spent() - began) < least:
        work(first + calls)
        calls += 1
    return seconds / calls, answer


def main() -> None:
    program = importlib.import_module(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the peer prints is not an answer
    for line in sys.stdin:
        question = json.loads(line)
        work = getattr(program, question["task"])
        try:
            answer = timed(lambda k: float(work(k, **question["arguments"])), question["first"])  # noqa: B023
        except Exception as trouble:
            answer = f"{type(trouble).__name__}: {trouble}"
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
