"""How far a fitted law is from the one it stands for, as far as a queue can tell.

With infinitely many servers and Poisson arrivals the number in service has the autocovariance a P(S_e > t), where S_e
is the residual service time, P(S_e > t) = ∫_t^∞ P(S > u) du / E[S] (Beneš 1957). So what congestion feels of a law,
beyond its mean, is its residual law; and with few servers and a long line, the mean of that, E[S_e] = E[S] (1 + scv)/2,
which alone decides the mean wait of a single server (Pollaczek, Khinchine). The distance d of a fit S' is

    d² = mean of (P(S_e > t) − P(S'_e > t))² + ((E[S'_e]/E[S_e] − 1) / (2 · servers))²,

the mean over four times t an octave, from the mean/200 to beyond the 99.95 % point of the residual law: every decade
counts alike. The largest difference instead would look at corners that no queue feels, such as a smallest service time.
`validation/phase_type_fits.py` compares it with the errors that it makes in queues.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qtheory.laws.law import Law
from qtheory.laws.phase_type import PhaseType

Floats = NDArray[np.float64]

PER_OCTAVE = 4
FIRST = 1.0 / 200.0
"""The first time of the grid, in mean service times."""
BEYOND = 0.9995
MOST_STATES = 300
"""States of the servers' phases with which a chain is still solved fast."""
MOST_PHASES = 12


class Target(NamedTuple):
    """What is looked at of a law: mean [s], scv, and P(S_e > t) at times t [s] that double every PER_OCTAVE steps."""

    mean: float
    scv: float
    times: Floats
    residual: Floats

    @classmethod
    def of(cls, law: Law) -> Target:
        """What a fit to `law` is compared with."""
        residual = law.residual()
        last = max(1.5 * float(residual.quantile(BEYOND)) / law.mean, 4.0)
        times = law.mean * FIRST * 2.0 ** (np.arange(math.ceil(math.log2(last / FIRST) * PER_OCTAVE)) / PER_OCTAVE)
        return cls(law.mean, law.scv, times, np.asarray(residual.sf(times)))

    def distance(self, fitted: PhaseType, servers: int = 1) -> float:
        """The distance of a law of the same mean."""
        body = np.mean((fitted.residual().sf(self.times) - self.residual) ** 2)
        return math.hypot(math.sqrt(body), (fitted.scv - self.scv) / (1.0 + self.scv) / (2.0 * servers))


def kolmogorov_smirnov(law: Law, fitted: Law, points: int = 1000) -> float:
    """sup_t |P(S <= t) − P(S' <= t)|, over as many quantiles of `law`, on either side of each."""
    t = law.quantile((np.arange(points) + 0.5) / points)
    before = np.nextafter(t, 0.0)
    gaps = [np.abs(law.cdf(x) - fitted.cdf(x)).max() for x in (t, before)]
    return float(max(gaps))


def affordable(servers: int) -> int:
    """Most phases with which the states C(c+m−1, m−1) of so many servers stay below MOST_STATES; at least 2."""
    phases = 2
    while phases < MOST_PHASES and math.comb(servers + phases, phases) <= MOST_STATES:
        phases += 1
    return phases
