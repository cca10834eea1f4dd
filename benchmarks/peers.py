"""Peers: other packages, each in an environment of its own beside the project, made the first time it is asked.

Their pins would not agree with ours, nor with one another's. A peer that cannot be installed, or that fails, says why
in its rows of the table.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measure import Run

ENVIRONMENTS = Path(__file__).parents[1] / ".venv-peers"
WORKER = Path(__file__).parent / "programs" / "worker.py"
PATIENCE = 60.0
"""Seconds that an answer may take."""


class NoAnswerError(Exception):
    """A peer cannot be installed, or does not answer."""


@dataclass(eq=False)
class Peer:
    name: str
    requirement: str
    program: str
    _process: subprocess.Popen[str] | None = field(default=None, init=False)
    _trouble: str = field(default="", init=False)

    def task(self, task: str, **arguments: Any) -> Run:
        """The run of this function of its program with these arguments."""

        def run(first: int) -> tuple[float, float]:
            answer = self._asked(json.dumps({"task": task, "first": first, "arguments": arguments}))
            if isinstance(answer, str):
                raise NoAnswerError(answer)
            seconds, value = answer
            return seconds, value

        return run

    def close(self) -> None:
        """End its process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _asked(self, question: str) -> Any:
        if self._process is None:
            self._process = self._started()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(question, file=self._process.stdin, flush=True)
            heard, _, _ = select.select([self._process.stdout], [], [], PATIENCE)
            answer = self._process.stdout.readline() if heard else ""
        except BrokenPipeError:
            answer = ""
        if not answer:
            self.close()
            raise NoAnswerError(f"no answer in {PATIENCE:.0f} s" if not heard else "its process ended")
        return json.loads(answer)

    def _started(self) -> subprocess.Popen[str]:
        if self._trouble:
            raise NoAnswerError(self._trouble)
        try:
            python = environment(self.name, self.requirement)
        except (OSError, subprocess.CalledProcessError) as trouble:
            said = (getattr(trouble, "stderr", "") or str(trouble)).strip().splitlines()[-1]
            self._trouble = f"cannot be installed: {said}"
            raise NoAnswerError(self._trouble) from trouble
        return subprocess.Popen(
            [python, WORKER, self.program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        )


def environment(name: str, requirement: str) -> Path:
    """The Python of the peer's environment, which is made where there is none that has just this."""
    folder = ENVIRONMENTS / name
    python, installed = folder / "bin" / "python", folder / "installed"
    if not installed.exists() or installed.read_text(encoding="utf-8") != requirement:
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True, capture_output=True, text=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement]
        subprocess.run(pip, check=True, capture_output=True, text=True)
        installed.write_text(requirement, encoding="utf-8")
    return python


SIMPY = Peer("SimPy", "simpy==4.1.2", "with_simpy")
CIW = Peer("Ciw", "ciw==3.2.7", "with_ciw")
MOST_QUEUE = Peer("most-queue", "most-queue==2.9", "with_most_queue")
LINE = Peer("line-solver", "line-solver==3.0.8.0", "with_line")
PEERS = (SIMPY, CIW, MOST_QUEUE, LINE)
