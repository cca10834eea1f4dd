"""How long an accepted request of an engine waits and stays, given the law of what it finds.

At equal servers that is `markov/sojourn.py`; here is what an engine adds. A device given by a rate curve serves n
requests each at rate μ(n)/n; the stay of a request then depends on later arrivals, and the chain followed is (requests
ahead in the line, requests present), the tagged one included.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from qtheory.laws import Law
from qtheory.markov.sojourn import TAIL, Quantity
from qtheory.markov.uniformization import at_ticks

LARGEST_WORK = 4e10
NODES, WEIGHTS = np.polynomial.legendre.leggauss(32)
FEW_NODES, FEW_WEIGHTS = np.polynomial.legendre.leggauss(12)
PANEL = 8.0
DENSITY = 1e-18


class Sojourn(Protocol):
    """Laws of one kind of request's wait and response."""

    def sf(self, quantity: Quantity, t: float) -> float:
        """P(wait > t) or P(response > t)."""


@dataclass(frozen=True, eq=False)
class Stretched:
    """A wait of the same form as another's, with the chance `delayed` of waiting and `longer` times the mean."""

    wait: Sojourn
    delayed: float
    longer: float

    def sf(self, quantity: Quantity, t: float) -> float:
        """P(wait > t)."""
        if quantity == "response":
            raise ValueError("what was stretched is a wait only")
        if self._before == 0.0:  # nobody waits, but for what is below TAIL
            return 0.0
        more = self.delayed / self._before
        return min(1.0, more * self.wait.sf("wait", t * more / self.longer))

    @cached_property
    def _before(self) -> float:
        return self.wait.sf("wait", 0.0)


@dataclass(frozen=True, eq=False)
class Slots:
    """Waits for c servers of a constant service time: `line[j]` = P(an accepted request finds c + j others).

    In each service time all c who are in service leave, those of now at times that are taken as uniform: so its wait is
    ⌊j/c⌋ service times and then the (j mod c + 1)-th of c uniform times, which is a Beta law.
    """

    line: NDArray[np.float64]
    servers: int
    service: float

    @property
    def mean(self) -> float:
        """Mean wait, of those who wait and those who do not."""
        slots, rank = np.divmod(np.arange(len(self.line)), self.servers)
        return self.service * float(self.line @ (slots + (rank + 1.0) / (self.servers + 1.0)))

    def sf(self, quantity: Quantity, t: float) -> float:
        """P(wait > t)."""
        from scipy.special import betainc

        if quantity == "response":
            raise ValueError("slots say how long a request waits only")
        slots, rest = divmod(t / self.service, 1.0)
        begin = int(slots) * self.servers
        now = self.line[begin : begin + self.servers]
        rank = np.arange(1.0, len(now) + 1.0)
        return float(now @ (1.0 - betainc(rank, self.servers + 1.0 - rank, rest)) + self.line[begin + len(now) :].sum())


@dataclass(frozen=True, eq=False)
class WaitThenService:
    """Sojourn of a wait and then a service of another law than the one that the wait was found with.

    The two are independent, so P(response > t) = P(S > t) + ∫ P(wait > t − q(p)) dp over p < P(S <= t), q(p) the
    quantiles of the service: smooth in p whatever the law, but for its end, towards which the panels narrow. That is
    good to 1e-5 of a quantile.
    """

    wait: Sojourn
    service: Law

    def sf(self, quantity: Quantity, t: float) -> float:
        """P(wait > t) or P(response > t)."""
        if quantity == "wait":
            return self.wait.sf("wait", t)
        served = float(self.service.cdf(t))
        edges = served * np.array([0.0, 0.3, 0.6, 0.8, 0.9, 0.97, 0.99, 0.999, 1.0])
        total = float(self.service.sf(t))
        for begin, end in pairwise(edges):
            p = 0.5 * (begin + end + (end - begin) * FEW_NODES)
            rest = np.maximum(t - self.service.quantile(p), 0.0)
            waits = np.array([self.wait.sf("wait", x) for x in rest.tolist()])
            total += 0.5 * (end - begin) * float(FEW_WEIGHTS @ waits)
        return total


@dataclass(frozen=True, eq=False)
class Curve:
    """Sojourn at a device given by a rate curve behind Q slots.

    `found[j]` = P(an accepted request finds j others); `birth[n]` total arrival rate with n present; `death[n−1]`
    total completion rate with n present (constant from Q on).
    """

    found: NDArray[np.float64]
    slots: int
    birth: NDArray[np.float64]
    death: NDArray[np.float64]

    def sf(self, quantity: Quantity, t: float) -> float:
        """P(wait > t) or P(response > t)."""
        waiting = np.cumsum(self.found[: self.slots - 1 : -1])[::-1]
        if quantity == "wait":
            return at_ticks(float(self.death[-1]) * t, waiting) if len(waiting) else 0.0
        clock, staying = self._staying
        return at_ticks(clock * t, staying)

    @cached_property
    def _staying(self) -> tuple[float, NDArray[np.float64]]:
        """Clock rate, and the probability of still being present after each tick."""
        from qtheory.solve.tagged import staying

        most = int(np.flatnonzero(self.found > TAIL * self.found.max())[-1]) + 1
        # Requests that come later matter too: keep all levels the chain reaches from there.
        top = min(len(self.death), most + max(64, most // 2))
        ahead = max(most - self.slots, 0) + 1
        clock = float(np.max(self.birth[:top] + self.death[:top]))
        drain = float(np.sum(1.0 / self.death[:top]))
        if clock * 40.0 * drain * top * ahead > LARGEST_WORK:
            raise ValueError(
                f"response_quantile of a rate-curve device needs a chain of {top} × {ahead} states, too many here: "
                "use qt.simulate"
            )
        return clock, staying(self.found[:most], self.slots, self.birth[:top], self.death[:top], clock, TAIL)


@dataclass(frozen=True, eq=False)
class LineThenDevice:
    """Sojourn in one line for a slot, then at one of several devices; the two taken as independent given a line.

    `line[j]` = P(an accepted request waits for j completions before it gets a slot), each at `rate`; `at_once` and
    `after_line` are the devices' laws, with weights that sum to 1, for requests that find a slot free and for others.
    """

    line: NDArray[np.float64]
    rate: float
    at_once: Sequence[tuple[float, Sojourn]]
    after_line: Sequence[tuple[float, Sojourn]]

    def sf(self, quantity: Quantity, t: float) -> float:
        """P(wait > t) or P(response > t)."""
        total = float(self.line[0]) * sum(weight * law.sf(quantity, t) for weight, law in self.at_once)
        if len(self.line) == 1:
            return total
        waiting = np.cumsum(self.line[:0:-1])[::-1]
        total += at_ticks(self.rate * t, waiting)
        # ∫ density of the line's wait at u × P(device's part > t − u) du, by Gauss-Legendre. A wait for j completions
        # is spread over √j of them, so that a panel of a few √(rate · t) completions sees a smooth density.
        edges = np.linspace(0.0, t, 1 + math.ceil(math.sqrt(self.rate * t) / PANEL))
        for begin, end in pairwise(edges):
            for node, weight in zip(NODES, WEIGHTS, strict=True):
                u = 0.5 * (begin + end + (end - begin) * node)
                density = self.rate * at_ticks(self.rate * u, self.line[1:])
                if density > DENSITY * self.rate:
                    later = sum(w * law.sf(quantity, t - u) for w, law in self.after_line)
                    total += 0.5 * (end - begin) * weight * density * later
        return float(total)


def quantile(laws: Sequence[tuple[float, Sojourn]], quantity: Quantity, p: float) -> float:
    """Quantile of a mixture of sojourn laws, by bracketing and Brent's method on the survival function."""

    def excess(t: float) -> float:
        return sum(weight * law.sf(quantity, t) for weight, law in laws) - (1.0 - p)

    if excess(0.0) <= 0.0:
        return 0.0
    high = 1.0
    while excess(high) > 0.0:
        high *= 2.0
    low = high / 2.0
    while excess(low) <= 0.0:
        high, low = low, low / 2.0
    return float(brentq(excess, low, high, xtol=1e-14 * low, rtol=1e-13))
