"""What is expected around a stop: requests taken, and completions a second, under a schedule of depth limits.

Both are means over the law that `depth_schedule.py` follows; after the stop, over that of the drain, in which nothing
is taken any more.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from qtheory.drain.depth_schedule import MOST_WORK, Transient
from qtheory.drain.phase_type import TAIL, Death
from qtheory.drain.throttle import DepthSchedule
from qtheory.engine import Engine
from qtheory.markov.uniformization import at_ticks

Floats = NDArray[np.float64]


def in_flight(engine: Engine, schedule: DepthSchedule, times: Floats) -> tuple[Floats, Floats]:
    """Mean number taken, and mean completions a second, at `times` [s], 0 being the stop; completions 0 after it.

    Raises ValueError, as `depth_schedule.drain`, for an engine that it does not cover.

    Examples
    --------
    Of 32 requests that a saturated guest keeps at 4 servers, 28 wait; they are taken no more, then drained.

    >>> import qtheory as qt
    >>> engine = qt.Engine([qt.Disk(qt.Closed(32))], qt.Device(servers=4, service=qt.Exponential(mean=0.01)))
    >>> taken, rate = in_flight(engine, qt.DepthSchedule([(-0.05, 2)]), np.array([-1.0, -0.04, -0.02, 0.0, 0.02]))
    >>> taken.round(1), rate.round(0)
    (array([32., 28., 20., 12.,  5.]), array([400., 400., 400.,   0.,   0.]))
    """
    starts = [at for at, _ in schedule.steps]
    transient = Transient.of(engine, -starts[0])
    chain = transient.chain
    busy = [min(p, chain.servers) for p in range(transient.most + 1)]
    finishing = [
        np.asarray(chain.finishes[n].sum(axis=1)).ravel() if n else np.zeros(1) for n in range(chain.servers + 1)
    ]
    rewards = (
        [np.full(transient.size(p), float(p)) for p in range(transient.most + 1)],
        [finishing[n] for n in busy],
    )
    law = transient.stationary
    usual = [sum(float(level @ r) for level, r in zip(law.taken, reward, strict=True)) for reward in rewards]
    found = np.zeros((2, len(times)))
    found[:, times < starts[0]] = np.array(usual)[:, None]
    for (at, limit), end in zip(schedule.steps, [*starts[1:], 0.0], strict=True):
        law = transient.under(limit, law)
        if end == at:
            continue
        law.check(end - at, MOST_WORK)
        inside = (times >= at) & (times < end)
        for i, reward in enumerate(rewards):
            mean = law.followed(reward, end - at)
            found[i, inside] = [mean(t - at) for t in times[inside].tolist()]
        law = law.after(end - at)
    stopped = times >= 0.0
    found[0, stopped] = _left(Death(chain, law.taken), times[stopped])
    return found[0], found[1]


def _left(death: Death, times: Floats) -> Floats:
    """Mean number left after each of `times` [s] of a drain."""
    top = len(death.levels) - 1
    tick = csr_array(death.tick(top).T)
    numbers = np.repeat(np.arange(1.0, top + 1), [len(level) for level in death.levels[1:]])
    x = np.concatenate(death.levels[1:])
    mean = [float(numbers @ x)]
    while mean[-1] > TAIL:
        x = tick @ x
        mean.append(float(numbers @ x))
    return np.array([at_ticks(death.clock * t, np.array(mean)) for t in times.tolist()])
