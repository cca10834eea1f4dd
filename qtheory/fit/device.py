"""How many requests a recorded device serves at once, and how long each takes.

**Where service times are recorded** they are the samples, and with the responses they say how many are in service at
any moment: a request is, during the last `service` of its response. The servers are the most at once, moments that make
up less than a thousandth of the busy time left out.

**Where only responses are recorded**, first come first served with c servers is put to the test for each c. A request
that finds fewer than c outstanding starts at once, so its response is a service time: those are the samples. Then the
arrivals are replayed through c servers with services drawn from the samples, and the responses are compared, given the
number found outstanding: the Kolmogorov–Smirnov distance in classes of that number (0, 1, 2–3, 4–7, ...), weighted by
how many requests are in each. Too few servers make waits too long; too many take waits for service, which the bare law
of the response would not show (with more servers than were ever outstanding it is reproduced to the letter) but the
law given the number found does. Of the c whose distance is within `NOISE` of the least, the smallest is taken: where
requests hardly ever wait, more servers cannot be told from enough.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qtheory.arrivals.trial_queue import waits
from qtheory.traces.trace import Trace

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

RARE = 1e-3
NOISE = 0.01
LEAST_SAMPLES = 100
LEAST_IN_CLASS = 20
GRID = 16
MOST_SERVERS = 1024
ENDS = 8


class FoundDevice(NamedTuple):
    """Servers, and which requests tell the service law.

    `least` to `most` servers cannot be told apart (None: no end). `chosen` are the requests whose service time is
    known, `services` [s] those times. `distance` is that of the replayed responses, None where responses are not
    recorded.
    """

    servers: int
    least: int
    most: int | None
    chosen: Ints
    services: Floats
    distance: float | None
    method: str


def found_device(trace: Trace, servers: int | None, rng: np.random.Generator) -> FoundDevice:
    """The device of a trace; `servers` where they are known.

    Raises ValueError when the trace does not tell.
    """
    if trace.service is not None:
        response, distance = trace.response, None
        if response is not None:
            servers = servers or _most_in_service(trace.arrival + response - trace.service, trace.service)
            distance = Replay(trace, response).distance(servers, trace.service, rng)
        if servers is None:
            raise ValueError("servers must be given: the trace has service times but no responses, which would tell")
        everyone = np.arange(len(trace))
        return FoundDevice(servers, servers, servers, everyone, trace.service, distance, "recorded service times")
    if trace.response is None:
        raise ValueError("service and servers must be given: the trace has neither responses nor service times")
    replay = Replay(trace, trace.response)
    return replay.best(rng) if servers is None else replay.with_servers(servers, rng)


class Replay:
    """The recorded responses, and what each request found outstanding."""

    def __init__(self, trace: Trace, response: Floats) -> None:
        self.arrival, self.response = trace.arrival, response
        self.found = _outstanding(trace.arrival, response)

    def distance(self, servers: int, services: Floats, rng: np.random.Generator) -> float:
        """Of the responses replayed with services drawn from these, given the number found, and of their mean."""
        drawn = rng.choice(services, len(self.arrival))
        replayed = waits(self.arrival, drawn, servers) + drawn
        recorded, others = np.frexp(self.found)[1], np.frexp(_outstanding(self.arrival, replayed))[1]
        given = sum(
            float(np.mean(recorded == k)) * _ks(self.response[recorded == k], replayed[others == k])
            for k in np.unique(recorded)
        )
        return given + 0.5 * abs(math.log(float(replayed.mean()) / float(self.response.mean())))

    def with_servers(self, servers: int, rng: np.random.Generator) -> FoundDevice:
        """The device with so many."""
        at_once = np.flatnonzero(self.found < servers)
        if len(at_once) < LEAST_SAMPLES:
            raise ValueError(
                f"servers must be so many that at least {LEAST_SAMPLES} requests find one free: with {servers} it is "
                f"{len(at_once)}"
            )
        services = self.response[at_once]
        distance = self.distance(servers, services, rng)
        return FoundDevice(
            servers, servers, servers, at_once, services, distance, "responses of requests at once served"
        )

    def best(self, rng: np.random.Generator) -> FoundDevice:
        """On a grid, then between the neighbours of its best; then the smallest that is as good."""
        top = min(int(self.found.max()) + 1, MOST_SERVERS)
        tried: dict[int, FoundDevice] = {}

        def look(numbers: Ints) -> None:
            for c in set(numbers.tolist()) - set(tried):
                if np.count_nonzero(self.found < c) >= LEAST_SAMPLES:
                    tried[c] = self.with_servers(c, rng)

        look(np.unique(np.geomspace(1, top, GRID).round().astype(np.int64)))
        if not tried:
            raise ValueError(f"the trace must have at least {LEAST_SAMPLES} requests to tell its servers")
        for _ in range(2):
            ranked = sorted(tried)
            at = ranked.index(min(ranked, key=lambda c: _distance(tried[c])))
            low, high = ranked[max(at - 1, 0)], ranked[min(at + 1, len(ranked) - 1)]
            look(np.unique(np.linspace(low, high, ENDS).round().astype(np.int64)))
        least = min(_distance(one) for one in tried.values())
        alike = sorted(c for c, one in tried.items() if _distance(one) <= least + NOISE)
        most = None if alike[-1] == top else alike[-1]
        return tried[alike[0]]._replace(least=alike[0], most=most)


def _distance(found: FoundDevice) -> float:
    assert found.distance is not None
    return found.distance


def _outstanding(arrival: Floats, response: Floats) -> Ints:
    """How many of the earlier requests have not completed when each arrives."""
    done = np.sort(arrival + response)
    return np.asarray(np.maximum(np.arange(len(arrival)) - np.searchsorted(done, arrival, side="right"), 0))


def _ks(one: Floats, other: Floats) -> float:
    """Largest difference of two empirical distribution functions; 1 when there is too little to compare with."""
    if len(other) < LEAST_IN_CLASS:
        return 1.0
    at = np.concatenate([one, other])
    shares = (np.searchsorted(np.sort(x), at, side="right") / len(x) for x in (one, other))
    return float(np.abs(np.subtract(*shares)).max())


def _most_in_service(start: Floats, service: Floats) -> int:
    """Most in service at once, but for a rare moment."""
    times = np.concatenate([start, start + service])
    change = np.concatenate([np.ones(len(start)), -np.ones(len(start))]).astype(np.int64)
    order = np.lexsort((change, times))  # at a tie the one that ends goes first
    level, lasts = np.cumsum(change[order])[:-1], np.diff(times[order])
    spent = np.bincount(np.maximum(level, 0), lasts)
    spent[0] = 0.0
    beyond = np.cumsum(spent[::-1])[::-1] - spent
    return max(int(np.argmax(beyond <= RARE * spent.sum())), 1)
