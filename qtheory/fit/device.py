"""How many requests a recorded device serves at once, and how long each takes.

**Where service times are recorded** they are the samples, and with the responses they say how many are in service at
any moment: a request is, during the last `service` of its response. The servers are the most at once, moments that make
up less than a thousandth of the busy time left out.

**Where only responses are recorded**, first come first served with c servers is put to the test for each c.

* Were it so, a request would begin when fewer than c of those before it are left, so its completion tells its service
  time, all of them exactly. With fewer servers than there are, some times come out negative; with more, waits are taken
  for service, and what depends on the number found outstanding is then the service. So: the fewest servers with which
  hardly any is negative, provided that the law of the service given the number found (in classes 0, 1, 2–3, 4–7, ...)
  is that of all, by the mean Kolmogorov–Smirnov distance (`allowed`).
* A single server that takes requests in any order, as a disk does: it begins one when the last is done, or when it
  comes. So completions tell the service times again; they must not depend on the number present, and those of requests
  that found nobody outstanding must have the same law, all within `ALIKE`.
* Other devices that reorder requests fail these tests. Then a request that finds fewer than c outstanding is still
  served at once, so that its response is a service time, and the arrivals are replayed through c servers with services
  drawn from these. The distance is that of the responses given the number found, as above, and half the logarithm of
  the ratio of their means. The least distance decides; of those within `NOISE` of it, the fewest servers.

Where requests hardly ever wait, more servers cannot be told from enough.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qtheory.traces.trace import Trace

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

RARE = 1e-3
NOISE = 0.01
INDEPENDENT, ALIKE = 0.05, 0.1
LEAST_SAMPLES = 100
LEAST_IN_CLASS = 20
GRID = 16
MOST_SERVERS = 1024
ENDS = 8
IN_TURN = "completions, first come first served"
IN_ANY_ORDER = "completions, one at a time in any order"
AT_ONCE = "responses of requests served at once"


class FoundDevice(NamedTuple):
    """Servers, and which requests tell the service law.

    `least` to `most` servers cannot be told apart (None: no end). `chosen` are the requests whose service time is
    known, `services` [s] those times. `distance` is that by which the servers were chosen, None where responses
    are not recorded.
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
            distance = Responses(trace, response).distance(servers, trace.service, rng)
        if servers is None:
            raise ValueError("servers must be given: the trace has service times but no responses, which would tell")
        everyone = np.arange(len(trace))
        return FoundDevice(servers, servers, servers, everyone, trace.service, distance, "recorded service times")
    if trace.response is None:
        raise ValueError("service and servers must be given: the trace has neither responses nor service times")
    if not trace.response.any():
        raise ValueError("trace must have responses that are not all 0, or servers and service must be given")
    responses = Responses(trace, trace.response)
    if servers is None:
        return responses.in_turn() or responses.one_at_a_time() or responses.best(rng)
    consistent = responses.possible(servers) and responses.dependence(servers) <= responses.allowed
    return responses.taken_in_turn(servers) if consistent else responses.with_servers(servers, rng)


class Responses:
    """The recorded responses, and what each request found outstanding."""

    def __init__(self, trace: Trace, response: Floats) -> None:
        self.arrival, self.response = trace.arrival, response
        self.found = _outstanding(trace.arrival, response)
        self.top = min(int(self.found.max()) + 1, MOST_SERVERS)

    def services(self, servers: int) -> Floats:
        """Service times if served first come, first served by so many."""
        from qtheory.arrivals.first_come import services  # numba loads here

        return np.asarray(services(self.arrival, self.arrival + self.response, servers))

    def possible(self, servers: int) -> bool:
        """Whether hardly any of these is negative."""
        return float(np.mean(self.services(servers) < -RARE * self.response.mean())) <= RARE

    @property
    def allowed(self) -> float:
        """Distance up to which services do not depend on the number found: `INDEPENDENT` and what chance adds."""
        return INDEPENDENT + math.sqrt(len(np.unique(np.frexp(self.found)[1])) / len(self.found))

    def dependence(self, servers: int) -> float:
        """Distance of their laws given the number found outstanding from that of all."""
        services = self.services(servers)
        return _given(self.found, services, lambda k: services)

    def distance(self, servers: int, services: Floats, rng: np.random.Generator) -> float:
        """Of the responses replayed with services drawn from these, given the number found, and of their mean."""
        from qtheory.arrivals.first_come import waits

        drawn = rng.choice(services, len(self.arrival))
        replayed = waits(self.arrival, drawn, servers) + drawn
        others = np.frexp(_outstanding(self.arrival, replayed))[1]
        given = _given(self.found, self.response, lambda k: replayed[others == k])
        return given + 0.5 * abs(math.log(float(replayed.mean()) / float(self.response.mean())))

    def in_turn(self) -> FoundDevice | None:
        """The device, if it serves first come, first served."""
        few, enough = 0, self.top
        while enough - few > 1:  # negative times become fewer with each server
            middle = (few + enough) // 2
            few, enough = (few, middle) if self.possible(middle) else (middle, enough)
        least = self.dependence(enough)
        if not self.possible(enough) or least > self.allowed:
            return None
        more = np.unique(np.geomspace(enough, self.top, GRID).round().astype(np.int64))
        alike = [int(c) for c in more if self.dependence(int(c)) <= least + NOISE]
        return self.taken_in_turn(enough)._replace(most=None if self.top in alike else max(alike))

    def one_at_a_time(self) -> FoundDevice | None:
        """The device, if it is a single server that takes requests in any order."""
        done = self.arrival + self.response
        order = np.argsort(done, kind="stable")
        start = np.maximum(np.append(-np.inf, done[order][:-1]), self.arrival[order])
        services = done[order] - start
        present = np.searchsorted(self.arrival, start, side="right") - np.arange(len(start))
        alone = _ks(services, self.response[self.found == 0])
        distance = max(_given(present, services, lambda k: services), alone)
        return FoundDevice(1, 1, 1, order, services, distance, IN_ANY_ORDER) if distance <= ALIKE else None

    def taken_in_turn(self, servers: int) -> FoundDevice:
        """So many servers, all service times from the completions."""
        services = np.maximum(self.services(servers), 0.0)
        everyone, distance = np.arange(len(self.arrival)), self.dependence(servers)
        return FoundDevice(servers, servers, servers, everyone, services, distance, IN_TURN)

    def with_servers(self, servers: int, rng: np.random.Generator) -> FoundDevice:
        """So many servers, service times from the requests that found one free."""
        at_once = np.flatnonzero(self.found < servers)
        if len(at_once) < LEAST_SAMPLES:
            raise ValueError(
                f"servers must be so many that at least {LEAST_SAMPLES} requests find one free: with {servers} it is "
                f"{len(at_once)}"
            )
        services = self.response[at_once]
        return FoundDevice(servers, servers, servers, at_once, services, self.distance(servers, services, rng), AT_ONCE)

    def best(self, rng: np.random.Generator) -> FoundDevice:
        """By replaying: on a grid, then between the neighbours of its best; then the smallest that is as good."""
        tried: dict[int, FoundDevice] = {}

        def look(numbers: Ints) -> None:
            for c in set(numbers.tolist()) - set(tried):
                if np.count_nonzero(self.found < c) >= LEAST_SAMPLES:
                    tried[c] = self.with_servers(c, rng)

        look(np.unique(np.geomspace(1, self.top, GRID).round().astype(np.int64)))
        if not tried:
            raise ValueError(f"the trace must have at least {LEAST_SAMPLES} requests to tell its servers")
        for _ in range(2):
            ranked = sorted(tried)
            at = ranked.index(min(ranked, key=lambda c: _distance(tried[c])))
            low, high = ranked[max(at - 1, 0)], ranked[min(at + 1, len(ranked) - 1)]
            look(np.unique(np.linspace(low, high, ENDS).round().astype(np.int64)))
        least = min(_distance(one) for one in tried.values())
        alike = sorted(c for c, one in tried.items() if _distance(one) <= least + NOISE)
        most = None if alike[-1] == self.top else alike[-1]
        return tried[alike[0]]._replace(least=alike[0], most=most)


def _distance(found: FoundDevice) -> float:
    assert found.distance is not None
    return found.distance


def _outstanding(arrival: Floats, response: Floats) -> Ints:
    """How many of the earlier requests have not completed when each arrives."""
    done = np.sort(arrival + response)
    return np.asarray(np.maximum(np.arange(len(arrival)) - np.searchsorted(done, arrival, side="right"), 0))


def _given(found: Ints, times: Floats, other: Callable[[int], Floats]) -> float:
    """Mean Kolmogorov–Smirnov distance, over classes of the number found, of these times from the class's others."""
    kind = np.frexp(found)[1]
    return sum(float(np.mean(kind == k)) * _ks(times[kind == k], other(k)) for k in np.unique(kind))


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
