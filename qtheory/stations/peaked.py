"""Blocking of peaked traffic: arrivals that come in bursts, such as what overflows from other servers.

Peakedness z = variance/mean of the number in service, were there servers enough; Poisson: 1. Two approximations:

* Hayward's (Fredericks 1980): B(c/z, a/z), Erlang's B with real numbers of servers, as if requests came z at a time;
* the equivalent random theory (Wilkinson 1956): the stream is taken as the overflow of n servers offered load A by a
  Poisson stream, whose mean and variance are known (Riordan 1956),

      a = A B(n, A),     z = 1 − a + A/(n + 1 + a − A),

  and is lost at c more servers, so that the blocking is A B(n + c, A)/a. Only for z >= 1.

Neither has a proven error. Both are exact for z = 1, and the second for a stream that is the overflow of Poisson.

>>> round(hayward(servers=10, load=5.0, peakedness=2.0), 6), round(equivalent_random(10, 5.0, 2.0), 6)
(0.069731, 0.079136)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from qtheory.arguments import nonnegative, positive
from qtheory.stations.erlang import erlang_b


@dataclass(frozen=True)
class Overflow:
    """What overflows from `servers` that a Poisson stream offers `load` [erlangs]: its own load and peakedness."""

    servers: float
    load: float

    @property
    def mean(self) -> float:
        """Load of the overflow [erlangs]."""
        return self.load * erlang_b(servers=self.servers, load=self.load)

    @property
    def peakedness(self) -> float:
        """Variance/mean of the overflow."""
        return 1.0 - self.mean + self.load / (self.servers + 1.0 + self.mean - self.load)


def hayward(*, servers: float, load: float, peakedness: float) -> float:
    """Blocking of `load` [erlangs] with this peakedness at `servers`; ValueError for arguments out of range."""
    z = positive("peakedness", peakedness)
    return erlang_b(servers=nonnegative("servers", servers) / z, load=positive("load", load) / z)


def equivalent_random(servers: float, load: float, peakedness: float) -> float:
    """The same by equivalent random theory; peakedness >= 1."""
    c, a, z = nonnegative("servers", servers), positive("load", load), positive("peakedness", peakedness)
    source = equivalent_source(load=a, peakedness=z)
    return source.load * erlang_b(servers=source.servers + c, load=source.load) / a


def equivalent_source(*, load: float, peakedness: float) -> Overflow:
    """Servers and Poisson load whose overflow has this load [erlangs] and peakedness >= 1, exactly.

    Rapp's (1964) approximation A = az + 3z(z − 1) is where the search starts.

    Examples
    --------
    >>> source = equivalent_source(load=5.0, peakedness=2.0)
    >>> round(source.mean, 9), round(source.peakedness, 9)
    (5.0, 2.0)
    """
    from scipy.optimize import brentq

    a, z = positive("load", load), positive("peakedness", peakedness)
    if z < 1.0:
        raise ValueError(f"peakedness must be at least 1 for what overflows, not {z}")
    if z == 1.0:
        return Overflow(0.0, a)

    def servers(offered: float) -> float:
        """n that gives the peakedness when the mean is a."""
        return offered * (a + z) / (a + z - 1.0) - a - 1.0

    def excess(offered: float) -> float:
        return math.log(offered * erlang_b(servers=max(servers(offered), 0.0), load=offered) / a)

    low = (a + 1.0) * (a + z - 1.0) / (a + z)  # n = 0
    high = a * z + 3.0 * z * (z - 1.0)
    while excess(high) > 0.0:
        high *= 2.0
    offered = low if excess(low) <= 0.0 else float(brentq(excess, low, high, xtol=1e-14 * low, rtol=1e-14))
    return Overflow(max(servers(offered), 0.0), offered)
