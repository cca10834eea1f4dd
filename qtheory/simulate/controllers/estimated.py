"""The integer rule with what an engine can measure of itself: completions and latencies.

A rule Q' = f(X · latency), f(a) about g a + ⅓ √(g a) with a gain g, is a map from Q to Q', because the rate X and the
latency R depend on Q. In the mean, for saturated guests on one device with completion rates μ(n), which never fall
while μ(n)/n never rises: X = μ(Q), R = Q/μ(Q) by Little's law, and a request that does not wait takes S = 1/μ(1).

**The mean latency fulfils itself.** X R = Q, whatever the device: with f(a) = a every Q is a fixed point and noise
makes Q a random walk; with a margin Q' > Q always: √Q grows by ⅙ a period with the margin ⅓ √Q, Q by the factor g with
a gain. It winds up to the cap and says nothing about the device.

**The latency without waiting does not.** a(Q) = μ(Q) S rises with Q, up to C = S max μ, so Q' = f(a(Q)) is a monotone
map bounded by f(C). On C servers a(Q) = min(Q, C): above C the next Q is f(C), in one step, with derivative 0; below
it Q' = f(Q) > Q wherever f(Q) > Q, so that f(C) is the only fixed point, reached after log(C/Q)/log g periods. Without
a gain f(Q) = Q for Q < 9, where ⅓ √Q is less than a slot, and such a Q fulfils itself: the gain is needed.

**A latency that is too small by the factor θ** gives Q' = f(θ min(Q, C)). With θ g > 1 that still grows, to f(θ C).
**With θ g < 1 it collapses**: Q' < Q where √Q > ⅓ √(θ g)/(1 − θ g), down to a few slots, whatever C. So a least latency
that is kept for ever is fatal when the device slows down by more than g, and its window must end.

**But a window that ends is the mean latency again**: at a constant Q > C the least of the means in it is R(Q), and Q
winds up as before, by f in a window. The way out is to look: in one period of so many let Q be φ Q. For φ Q <= C that
shows S and leads to f(C); for φ Q > C it shows φ Q/max μ and leads to f(φ Q), which is less than Q, by a factor next
to g φ, where g φ + ⅓ √(g φ/Q) < 1. So g φ < 1 brings Q back to f(C) from anywhere, by a factor a look; and g must
exceed what the least of several noisy means is too small by, about √(2 ln w) times its coefficient of variation in a
window of w. Looking costs at most 1 − φ of a period's throughput; it takes the time to shrink to φ Q and then the
latencies looked for, so a period should last several R(Q), and the first half of a look does not count. The congestion
control BBR rests on the same three things: the greatest recent rate, the least recent delay, and a probe for it
(Cardwell et al., 2016).

**What the guests do not ask for says nothing of the device.** At a low load X is the load, and a Q that follows it down
makes the next burst wait while Q grows back by the factor g a period. So Q shrinks only by what was seen while it was
full. **With a device each** the latency at φ Q has a wait in it whatever φ: requests spread unevenly, and R(m) =
S (m + N − 1)/N for m in flight at N single servers (arrival theorem). A look at one slot a disk shows at most 2 S; what
the rule adds for the line, 12 slots a disk for rings of 256, is the larger part.

`mean_field` is this map, for any controller; `validation/resizing.py` measures it with noise.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from qtheory.arguments import count, nonnegative, positive, real, sequence
from qtheory.simulate.controllers.known import ruled
from qtheory.simulate.resizing import Controller, Observation

LIMITING = 0.9
"""Part of Q in flight beyond which Q is what limits the rate."""


@dataclass
class Estimated:
    """The integer rule with estimates: the greatest recent rate, the least recent mean latency, and a look at it.

    Parameters
    ----------
    gain : float
        By which the rate is multiplied, at least 1: how fast Q grows while it is what limits the rate.
    window : int
        Calls over which the least mean latency is kept.
    probe, every : float, int
        Once in `every` calls Q is set to `probe` of what it would be, for a period; 1: never. Not needed, and not done,
        while less is in flight; done again at once when it led to a shorter queue.
    hold : int
        Calls over which the greatest rate is kept: Q grows at once and shrinks after as many. Calls in which Q limited
        nothing do not count, and do not shrink it.
    dead_band : float
        Q is not shrunk by less than this fraction.
    separate : bool
        Whether each disk has a device of its own; a look is then one slot a disk.
    budget : float, optional
        What a drain may take with probability 99 % [s].
    start : int
        The first Q.
    samples : int
        Completions that a call must have seen to count.

    The cap is the sum of the attached rings.

    Examples
    --------
    Saturated guests on eight servers: the least latency, looked for, finds them from either side; the mean latency
    winds up to the rings.

    >>> rates = [1e3 * min(n, 8) for n in range(1, 1025)]
    >>> mean_field(Estimated(start=2, dead_band=0.0), rates, 40)[-1], mean_field(Estimated(start=1024), rates, 400)[-1]
    (11, 11)
    >>> mean_field(Estimated(gain=1.0, window=1, probe=1.0, hold=1), rates, 200)[-1]
    1024
    """

    gain: float = 1.25
    window: int = 33
    probe: float = 0.5
    every: int = 32
    hold: int = 8
    dead_band: float = 0.1
    separate: bool = False
    budget: float | None = None
    start: int = 32
    samples: int = 32
    _rates: deque[float] = field(init=False, repr=False)
    _latencies: deque[float] = field(init=False, repr=False)
    _length: int = field(init=False, repr=False)
    _since: int = field(default=0, init=False, repr=False)
    """Calls since the last look, or the last time that less was in flight than a look would allow."""
    _probing: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        if real("gain", self.gain) < 1.0:
            raise ValueError(f"gain must be at least 1, not {self.gain!r}")
        if not 0.0 < real("probe", self.probe) <= 1.0:
            raise ValueError(f"probe must be above 0 and at most 1, not {self.probe!r}")
        if nonnegative("dead_band", self.dead_band) >= 1.0:
            raise ValueError(f"dead_band must be less than 1, not {self.dead_band!r}")
        if self.budget is not None:
            positive("budget", self.budget)
        for name in ("window", "every", "hold", "start", "samples"):
            setattr(self, name, count(name, getattr(self, name)))
        self._rates, self._latencies = deque(maxlen=self.hold), deque(maxlen=self.window)
        self._length = self.start

    def __call__(self, seen: Observation) -> int:
        """Q."""
        looked, self._probing = self._probing, False
        limiting = looked or seen.in_flight > LIMITING * self._length
        if seen.completions >= self.samples:
            # at the start of a look there are still those that were submitted before it
            settled = seen.latencies[len(seen.latencies) // 2 :] if looked else seen.latencies
            self._latencies.append(float(settled.mean()))
            rate = seen.completions / seen.duration
            if not looked and (limiting or rate > max(self._rates, default=0.0)):
                self._rates.append(rate)
        self._since = 0 if looked or seen.in_flight <= self.probe * self._length else self._since + 1
        if self._rates:
            length = self._needed(seen, max(self._rates), min(self._latencies))
            if length > self._length or (limiting and length < (1.0 - self.dead_band) * self._length):
                if looked and length < self._length:
                    self._since = self.every
                self._length = length
        if self.probe < 1.0 and self._since >= self.every:
            self._probing = True
            look = int(self.probe * self._length)
            return max(min(look, sum(seen.attached)) if self.separate else look, 1)
        return self._length

    def _needed(self, seen: Observation, rate: float, latency: float) -> int:
        """The rule; a budget that binds needs no gain."""
        length = ruled(seen, latency, self.gain * rate, separate=self.separate, budget=None)
        if self.budget is None:
            return length
        within = ruled(seen, latency, rate, separate=self.separate, budget=self.budget)
        free = ruled(seen, latency, rate, separate=self.separate, budget=None)
        return within if within < free else length


def mean_field(controller: Controller, rates: Sequence[float], steps: int, *, period: float = 0.1) -> list[int]:
    """Q after 0, 1, ..., `steps` periods [s] when saturated guests keep len(rates) outstanding, without any noise.

    `rates[n−1]` is the completion rate [1/s] with n in flight; every request takes n/rates[n−1]. The controller is used
    up. ValueError when it returns None, and for arguments out of range.
    """
    steps, period = count("steps", steps), positive("period", period)
    speeds = [positive(f"rates[{n}]", rate) for n, rate in enumerate(sequence("rates", rates))]
    if not speeds:
        raise ValueError("rates must have at least one rate")
    most = len(speeds)
    lengths: list[int] = []
    in_flight = 0
    for step in range(steps + 1):
        completed = round(speeds[in_flight - 1] * period) if step else 0
        latencies = np.full(completed, in_flight / speeds[in_flight - 1] if step else 0.0)
        whole = latencies * most / max(in_flight, 1)
        passed, before = (period, lengths[-1]) if step else (0.0, None)
        seen = Observation(
            step * period, passed, before, float(in_flight), most - in_flight, (True,), (most,), latencies, whole
        )
        length = controller(seen)
        if length is None:
            raise ValueError("controller must return a queue length, not None")
        lengths.append(length)
        in_flight = min(length, most)
    return lengths
