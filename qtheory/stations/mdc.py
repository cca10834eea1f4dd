"""M/D/c: Poisson arrivals, constant service time D, c servers, exactly (Crommelin 1932, 1934).

Constant services end in the order in which they began, so every c-th request uses the same server: its wait follows
Lindley's recursion with steps X = D − Erlang(c, λ), and the number in line, seen every D, with steps Poisson(λD) − c.
By Spitzer (1956), with S_n the sum of n steps,

    ln P(W = 0) = −Σ P(S_n > 0)/n,    E[W] = Σ E[S_n⁺]/n,    ln E[z^L] = −Σ E[1 − z^{S_n⁺}]/n.

The sums need 1/(1 − ρ)² terms. Pollaczek's contour integrals (1957) do them at once: both walks have the transform

    M = exp(c (w − 1 − ln w + 1 − ρ + ln ρ)),    e^{θX}: θ = (c/D)(w − ρ),    z^{steps}: z = w/ρ,

and Σ M^n/n = −ln(1 − M). We integrate along the curve of steepest descent through the saddle w = 1, which is

    w = φ cot φ + iφ,  −π < φ < π:    ln M = −c [ Σ_k ζ(2k) (2 + 1/k) (φ/π)^{2k} − (1 − ρ) − ln ρ ],

real, below 0 and falling: 1 − M has no zero on it, nothing cancels, and the trapezoidal rule in φ = δ sinh u converges
exponentially for any load. So

    −ln P(W = 0) = (1/π) ∫_0^π −ln(1 − M) Im[w′ / (w − ρ)] dφ,
            E[W] = (D/c) (1/π) ∫_0^π −ln(1 − M) Im[w′ / (w − ρ)²] dφ,
             κ_m = (1/π) ∫_0^π −ln(1 − M) Im[w′ ρ^m / w^{m+1}] dφ,      ln E[z^L] = −Σ κ_m (1 − z^m),

and the law of the line L follows from κ by the recursion of Panjer (1981), all terms positive. Beyond the first levels
it is geometric: the next singularity of E[z^L] after the pole η is as far as the next root of M = 1, given by Lambert's
W. The wait comes from the line (Franx 2001; Tijms 2003, section 9.6.2): for (m − 1)D <= t < mD

    P(W > t) = P(L + Poisson(λ(mD − t)) >= mc).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtheory.arguments import count, positive
from qtheory.markov.uniformization import poisson_window
from qtheory.stations.erlang import stable
from qtheory.stations.station import LAWS, MEANS, ROUNDING, Floats, Station, levels_for

STEP = 1.0 / 64.0
"""Step of the trapezoidal rule in u; half of it changes nothing."""
FADED = 1e-18
"""What of the second singularity is left where the line's law is taken as geometric."""
TERMS = 30
"""Terms of the series in (φ/π)², used up to φ = π/2."""
CLOSE = 3.1
"""Where the curve ends: M is below 1e-30 there."""
RANGE = 745.0
"""Logarithm of what floats can hold."""
FEW_STEPS, MOST_STEPS = 41.0, 2000.0
"""Terms of a sum Σ M^n/n to rounding, times −ln M; sums longer than that are left to the contour."""


def mdc(*, arrival_rate: float, service: float, servers: int) -> Station:
    """M/D/c without a limit, exactly.

    Parameters
    ----------
    arrival_rate : float
        Of all arrivals [1/s].
    service : float
        The service time [s].
    servers : int
        At least 1.

    Raises ValueError for arguments out of range and for ρ = arrival_rate · service / servers >= 1.

    Examples
    --------
    >>> s = mdc(arrival_rate=6.4, service=1.0, servers=8)
    >>> round(s.mean_wait, 12), round(s.wait_quantile(0.99), 9)
    (0.151953802643, 1.169595459)
    """
    lam, d, c = positive("arrival_rate", arrival_rate), positive("service", service), count("servers", servers)
    stable(c, lam * d)
    walk = Walk(lam * d, c)
    delayed, wait = -math.expm1(-walk.integral(1)), d / c * walk.integral(2)

    def waiting(t: float) -> float:
        return walk.wait_beyond(t / d)

    def pmf() -> Floats:
        tail = levels_for(1.0, math.exp(-walk.decay))
        first, arrivals = poisson_window(lam * d)
        line = np.append(walk.line[:-1], walk.line[-1] * np.exp(-walk.decay * np.arange(tail)))
        return np.concatenate([np.zeros(first), np.convolve(line, arrivals)])

    bound = 64.0 * ROUNDING * (c + lam * d / (c - lam * d))
    return Station(
        method="mdc",
        exact=True,
        error_bounds=dict.fromkeys((*MEANS, *LAWS), bound),
        throughput=lam,
        blocking=0.0,
        delay_probability=delayed,
        mean_wait=wait,
        mean_response=wait + d,
        mean_in_system=lam * (wait + d),
        mean_in_queue=lam * wait,
        utilization=lam * d / c,
        _wait=waiting,
        _response=lambda t: 1.0 if t < d else waiting(t - d),
        _pmf=pmf,
    )


@dataclass(frozen=True)
class Walk:
    """The walk with steps Poisson(load) − servers, and the line L, its largest value."""

    load: float
    servers: int

    @property
    def idle(self) -> float:
        """1 − ρ."""
        return (self.servers - self.load) / self.servers

    @cached_property
    def rest(self) -> float:
        """−(1 − ρ) − ln ρ = Σ (1 − ρ)^k / k over k >= 2."""
        if self.idle > 0.1:
            return -self.idle - math.log(self.load / self.servers)
        return math.fsum(self.idle**k / k for k in range(2, 20))

    def integral(self, power: int) -> float:
        """(1/π) ∫_0^π −ln(1 − M) Im[w′ / (w − ρ)^power] dφ."""
        weight, above, slope = self._contour
        return float(weight @ np.imag(slope / above**power))

    def wait_beyond(self, x: float) -> float:
        """P(W > xD)."""
        from scipy.special import gammainc, gammaln

        m = math.floor(x) + 1
        y, target = self.load * (m - x), m * self.servers
        # the terms peak where the Poisson law times e^{decay · j} does
        peak = y * math.exp(min(self.decay, 50.0))
        last = int(min(target - 1, peak + 12.0 * math.sqrt(peak) + 60.0))
        j = np.arange(last + 1)
        arrivals = np.exp(j * math.log(y) - y - gammaln(j + 1.0))
        total = float(arrivals @ self._line_at_least(target - j))
        return min(1.0, total + float(gammainc(target, y)))

    @cached_property
    def decay(self) -> float:
        """ln η > 0 with M = 1 at z = η: ρ(η − 1) = ln η."""
        from scipy.optimize import brentq

        rho = self.load / self.servers

        def excess(x: float) -> float:
            """ρ (e^x − 1 − x)/x − (1 − ρ)."""
            excess_slope = math.fsum(x**k / math.factorial(k + 1) for k in range(1, 20)) if x < 1.0 else None
            return rho * (math.expm1(x) / x - 1.0 if excess_slope is None else excess_slope) - self.idle

        high = 2.0 * self.idle
        while excess(high) < 0.0:
            high *= 2.0
        return float(brentq(excess, self.idle, high, xtol=1e-18, rtol=4.0 * ROUNDING))

    @cached_property
    def line(self) -> Floats:
        """P(L = j), j = 0, 1, ..., J; from J on geometric with the ratio e^{−decay}."""
        faded = -math.log(FADED) / (math.log(self._second_root) - self.decay)
        levels = 8 + math.ceil(min(faded, RANGE / self.decay))
        m = np.arange(1, levels + 1)
        cumulants = m * self._cumulants(m)
        law = np.ones(levels + 1)
        for j in range(1, levels + 1):
            law[j] = cumulants[:j] @ law[j - 1 :: -1] / j
        return np.asarray(law / (law[:-1].sum() + law[-1] / -math.expm1(-self.decay)))

    @cached_property
    def _second_root(self) -> float:
        """|z| of the root of M = 1 that is next to η: all are −W(−ρ e^{−ρ} e^{2πij/c})/ρ on the branches of W."""
        from scipy.special import lambertw

        rho = self.load / self.servers
        turns = [(0, 1)] if self.servers == 1 else [(1, 1), (1, -1), (0, 1)]
        at = [-lambertw(-rho * np.exp(-rho + 2j * np.pi * j / self.servers), k) / rho for j, k in turns]
        return float(min(abs(z) for z in at))

    @cached_property
    def _line_beyond(self) -> Floats:
        """P(L >= 0), ..., P(L >= J)."""
        end = self.line[-1] / -math.expm1(-self.decay)
        return np.append(self.line[:-1], end)[::-1].cumsum()[::-1]

    def _line_at_least(self, k: NDArray[np.int64]) -> Floats:
        """P(L >= k)."""
        last = len(self.line) - 1
        return np.asarray(self._line_beyond[np.minimum(k, last)] * np.exp(-self.decay * np.maximum(k - last, 0)))

    def _cumulants(self, m: NDArray[np.int64]) -> Floats:
        """κ_m: by the contour where the load is high, else Σ_n P(S_n = m)/n, where the contour loses far terms."""
        steps = FEW_STEPS / (self.servers * self.rest)
        if steps > MOST_STEPS:
            weight, above, slope = self._contour
            w = above + self.load / self.servers
            # ρ^m w^{−m} by logarithms: both powers may leave the range of floats
            powers = np.exp(m[:, None] * (math.log(self.load / self.servers) - np.log(w)))
            return np.asarray(np.imag(powers * (slope / w)) @ weight)
        n = np.arange(1, math.ceil(steps) + 2)[:, None]
        return np.asarray((poisson_pmf(n * self.servers + m, n * self.load) / n).sum(axis=0))

    @cached_property
    def _contour(self) -> tuple[Floats, NDArray[Any], NDArray[Any]]:
        """At the nodes: −ln(1 − M) times the weight, w − ρ, and w′."""
        scale = min(self.idle, 1.0 / math.sqrt(self.servers))
        u = np.arange(0.0, math.asinh(math.pi / scale), STEP)
        phi = scale * np.sinh(u)
        u, phi = u[phi < CLOSE], phi[phi < CLOSE]
        real, slope, fall = _curve(phi)
        log_m = -self.servers * (fall + self.rest)
        steps = np.where(log_m > -1.0, -np.log(-np.expm1(log_m)), -np.log1p(-np.exp(np.minimum(log_m, -1.0))))
        weight = steps * scale * np.cosh(u) * STEP / math.pi
        weight[0] /= 2.0
        return weight, self.idle + real + 1j * phi, slope + 1j


def _curve(phi: Floats) -> tuple[Floats, Floats, Floats]:
    """φ cot φ − 1, its derivative, and 1 − φ cot φ + ln(φ / sin φ), without cancellation near 0."""
    from scipy.special import zeta

    k = np.arange(1, TERMS + 1)
    near = np.minimum(phi, math.pi / 2.0)
    powers = zeta(2.0 * k) * (near[:, None] / math.pi) ** (2 * k)
    one_less = zeta(2.0 * k) * (near[:, None] / math.pi) ** (2 * k - 1) / math.pi
    far = np.maximum(phi, math.pi / 2.0)
    sine, cosine = np.sin(far), np.cos(far)
    direct = far * cosine / sine - 1.0
    small = phi < math.pi / 2.0
    return (
        np.where(small, -2.0 * powers.sum(axis=1), direct),
        np.where(small, -4.0 * one_less @ k, cosine / sine - far / sine**2),
        np.where(small, powers @ (2.0 + 1.0 / k), np.log(far / sine) - direct),
    )


def poisson_pmf(k: NDArray[Any], mean: NDArray[Any]) -> Floats:
    """e^{−x} x^k / k! for k >= 1, to rounding times the logarithm (Loader 2000): no large terms that cancel."""
    k = np.asarray(k, dtype=float)
    r = (mean - k) / k
    # ln(1 + r) − r
    far = np.abs(r) > 0.1
    v = np.where(far, 0.0, r) / (2.0 + np.where(far, 0.0, r))
    square = v * v
    series = sum(square**i / (2 * i + 1) for i in range(1, 12))
    with np.errstate(divide="ignore", under="ignore"):
        log = np.where(far, np.log1p(r) - r, v * (2.0 * series - r))
        return np.asarray(np.exp(k * log - _stirling(k)) / np.sqrt(2.0 * math.pi * k))


def _stirling(k: NDArray[Any]) -> Floats:
    """ln k! − ln(√(2πk) k^k e^{−k})."""
    from scipy.special import gammaln

    inverse = 1.0 / k
    square = inverse * inverse
    series = inverse * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square * (1 / 1680 - square / 1188))))
    direct = gammaln(k + 1.0) - 0.5 * np.log(2.0 * math.pi * k) - k * np.log(k) + k
    return np.where(k > 15.0, series, direct)
