"""The simulator beside others: one station of eight servers at load 0.8, by its mean wait.

The limit is the bare Kiefer–Wolfowitz recursion compiled by numba: no disks, no drains, no statistics but the sum of
all waits, on arrays drawn beforehand. qtheory's own kernel runs on the same arrays. Costs are per request; the others,
hundreds of times as slow, simulate fewer of them, and what error their number allows stands beside theirs. LINE tells
the mean response, of which the mean service is taken away, and with it scatters what the services drawn were: how many
requests of ours one of its `samples` is worth is measured over SEEDS seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import mpmath as mp
import numpy as np
from numba import njit

import qtheory as qt
from benchmarks.forty_digits import DIGITS, mean_line
from benchmarks.measure import Contender, Row, Run, here, race
from benchmarks.peers import CIW, LINE, MOST_QUEUE, SIMPY, NoAnswerError
from qtheory.laws import Law
from qtheory.simulate.draws import Draws
from qtheory.simulate.events import EventRun
from qtheory.simulate.fcfs import UNLIMITED, serve
from qtheory.simulate.tally import Tally

SUBJECT = "simulation, mean wait"
SERVERS, RATE = 8, 6.4
EXPONENTIAL = qt.Exponential(1.0)
HYPEREXPONENTIAL = qt.Hyperexponential.balanced(mean=1.0, scv=4.0)
ROOM = 12
ENDLESS = 4096
"""Requests that never are present at once."""
REQUESTS, MANY = 1_000_000, 10_000_000
PEERS = ((SIMPY, 20_000), (CIW, 20_000), (MOST_QUEUE, 20_000), (LINE, REQUESTS))
SEEDS, FEW = 60, 20_000
EVERYTHING = "qtheory, four disks with buffers"


@njit(cache=True)
def kiefer_wolfowitz(arrival, service, free, room):
    """Mean wait at servers that become free at the times in `free`, kept sorted, in a line with room for so many."""
    start = np.empty(len(arrival))
    served = started = 0
    waited = 0.0
    for k in range(len(arrival)):
        now = arrival[k]
        if free[0] > now:
            while started < served and start[started] <= now:
                started += 1
            if served - started >= room:
                continue
        begins = max(now, free[0])
        waited += begins - now
        start[served] = begins
        served += 1
        ends = begins + service[k]
        i = 0
        while i + 1 < len(free) and free[i + 1] < ends:
            free[i] = free[i + 1]
            i += 1
        free[i] = ends
    return waited / served


def engine(law: Law, room: int, disks: int = 1, **options: object) -> qt.Engine:
    """These disks with buffers for `room` requests each."""
    return qt.Engine([qt.Disk(qt.Poisson(RATE / disks), buffer=room)] * disks, qt.Device(SERVERS, law), **options)


def kernel(law: Law, room: int, requests: int = REQUESTS) -> tuple[Callable[[int], float], Callable[[int], float]]:
    """The bare recursion and qtheory's kernel, over the same arrays, too long to be known by heart."""
    arrivals = Draws(engine(law, room), 1).open(requests)
    start, completion, drain = (np.empty(requests) for _ in range(3))
    size = requests + SERVERS + room + 1
    departure, owner, peak = np.full(size, -np.inf), np.zeros(size, np.int32), np.full(size, -np.inf)
    buffer = np.array([room], np.uint64)

    def bare(k: int) -> float:
        return kiefer_wolfowitz(arrivals.time, arrivals.service, np.zeros(SERVERS), room - SERVERS)

    def own(k: int) -> float:
        departure[:SERVERS] = -np.inf
        peak[:SERVERS] = -np.inf
        serve(
            *arrivals, SERVERS, UNLIMITED, UNLIMITED, False, buffer, np.zeros(1, np.uint64), departure, owner, peak,
            SERVERS, start, completion, drain,
        )  # fmt: skip
        return float(np.nanmean(start - arrivals.time)) if k == 0 else 0.0

    return bare, own


def by_events(described: qt.Engine, requests: int) -> Callable[[int], float]:
    """The kernel that takes any engine, its draws and books included."""

    def run(k: int) -> float:
        events, tally, done = EventRun(described, Draws(described, 1 + k)), Tally(described, requests), 0
        while done < requests:
            done += events.advance(requests - done, tally)
        return float(tally.wait.sum() / tally.finished.sum())

    return run


def contenders(law: Law, room: int, requests: int = REQUESTS) -> tuple[list[Contender], float]:
    """Ours, and the relative half-width that its number of requests allows."""
    described = engine(law, room)
    once = qt.simulate(described, requests, seed=1).mean_wait
    allowed = once.half_width / once.value
    bare, own = kernel(law, room, requests)
    few = requests // 2
    return [
        Contender("bare numba recursion", here(bare), requests, allowed, f"{requests} requests"),
        Contender("qtheory's kernel, same arrays", here(own), requests, allowed, "disks, buffers, drains"),
        Contender(
            "qtheory", here(lambda k: qt.simulate(described, requests, seed=1 + k).mean_wait.value), requests, allowed,
            "draws, statistics, laws, drains",
        ),
        Contender(
            "qtheory's event kernel", here(by_events(described, few)), few, allowed * (requests / few) ** 0.5,
            "takes any engine",
        ),
    ], allowed  # fmt: skip


def worth(run: Run, described: qt.Engine) -> float:
    """Of how many requests of ours a run of FEW has the variance, a part of FEW; nan where the peer does not answer."""
    try:
        theirs = [run(k)[1] for k in range(SEEDS)]
    except NoAnswerError:
        return math.nan
    ours = [qt.simulate(described, FEW, seed=1 + k).mean_wait.value for k in range(SEEDS)]
    return float(np.var(ours) / np.var(theirs))


def rows() -> Iterator[Row]:
    with mp.workdps(DIGITS):
        poisson = qt.MAP([[-RATE]], [[RATE]])
        exact = float(mean_line(poisson, HYPEREXPONENTIAL.phase_type(), SERVERS) / mp.mpf(RATE))
    markov = {"arrival_rate": RATE, "service_rate": 1.0, "servers": SERVERS, "precision": DIGITS}
    cases = (
        ("M/M/8", EXPONENTIAL, ENDLESS, float(qt.stations.mmc(**markov).mean_wait)),
        ("M/G/8: H2, scv 4", HYPEREXPONENTIAL, ENDLESS, exact),
        (f"M/M/8/{ROOM}", EXPONENTIAL, ROOM, float(qt.stations.mmck(**markov, capacity=ROOM).mean_wait)),
    )
    for case, law, room, wait in cases:
        ours, allowed = contenders(law, room)
        if case == "M/M/8":
            many = engine(law, ENDLESS // 4, disks=4)
            ours.append(
                Contender(
                    EVERYTHING, here(lambda k, e=many: qt.simulate(e, MANY, seed=1 + k).mean_wait.value), MANY,
                    allowed * (REQUESTS / MANY) ** 0.5, f"{MANY} requests",
                )
            )  # fmt: skip
        phases = law.phase_type()
        arguments = {
            "rate": RATE,
            "probabilities": phases.alpha.tolist(),
            "means": (-1.0 / np.diag(phases.T)).tolist(),
            "servers": SERVERS,
            "capacity": None if room == ENDLESS else room,
        }
        part = worth(LINE.task("simulate", **arguments, requests=FEW), engine(law, room))
        theirs = [
            Contender(
                peer.name, peer.task("simulate", **arguments, requests=n), n,
                allowed * (REQUESTS / n / (part if peer is LINE else 1.0)) ** 0.5,
                f"{peer.requirement}, {n} requests" if peer is not LINE else
                f"{peer.requirement}, {n} samples, worth {part:.2g} requests each",
            )
            for peer, n in PEERS
        ]  # fmt: skip
        yield from race(SUBJECT, case, ours + theirs, exact=wait, limit="bare numba recursion", rounds=2)
