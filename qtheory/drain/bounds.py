"""How long a drain takes at most, without the law of the service time: from its mean, scv and maximum.

n requests are present at the stop, k = min(n, c) of them in service, the rest wait; a free server takes the next. Let
R_i be what is left of a request's service (all of it, S_i, for those that wait), b the largest service time, and W = Σ
R_i.

**By the maximum.** T <= ⌈n/c⌉ b. For of m present at a time min(m, c) are in service, and all of these are gone b
later.

**By the work.** T <= (W − R)/c + R <= W/c + (1 − 1/c) max R_i, R the work of a request that ends last: until it begins
no server is idle (Graham, 1966). So T is bounded where the parts are, each but with a probability, which add up:

* the waiting work w = Σ S_i over n − k requests, but with δ_1: mean + σ √(n − k) √((1 − δ_1)/δ_1) (Cantelli, 1928), or
  with b known mean + t, t = bL/3 + √((bL/3)² + 2 (n − k) σ² L), L = log 1/δ_1, with b less the mean for b
  (Bernstein, 1924), whichever is less;
* the longest of those that wait, but with δ_2: m + σ √(1/δ − 1), δ = δ_2/(n − k) (Cantelli for each, added up);
* the longest rest in service, but with δ_3. A server that is always busy shows the residual law at a stop that does not
  look, P(R > x) = E(S − x)^+/m, and E(S − x)^+ <= (√(σ² + (x − m)²) − (x − m))/2 (Scarf, 1958). Set to δ = δ_3/k and
  solved: x = m + σ²/(4mδ) − mδ.

No rest is longer than b. The least of the bounds is taken, over how δ = 1 − p is divided. Kolmogorov's inequality would
bound all partial sums; only the last is needed here, for which Cantelli's is sharper.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from qtheory.arguments import count, nonnegative, positive, probability
from qtheory.result import Result

PARTS = 24
"""Parts in which the probability to spare is dealt out."""


@dataclass(frozen=True, kw_only=True)
class DrainBound(Result):
    """An upper bound of a drain's quantile; `method` says by what it was found.

    Attributes
    ----------
    quantile : float
        The bound [s].
    probability : float
        How often at least a drain takes no longer.
    """

    quantile: float
    probability: float


def drain_bound(
    population: int,
    *,
    servers: int,
    mean: float,
    scv: float,
    maximum: float | None = None,
    drain_probability: float = 0.99,
) -> DrainBound:
    """Bound the drain of `population` requests on `servers` equal servers, whatever the service law.

    Parameters
    ----------
    population : int
        Requests present at the stop, waiting and in service.
    servers : int
        Requests served at the same time.
    mean, scv : float
        Of the service time: mean [s], variance over squared mean.
    maximum : float, optional
        Largest service time [s], a timeout say. None: not known; the servers are then taken to have been busy for long.
    drain_probability : float
        P(T <= bound) is at least this.

    Raises ValueError for an argument out of range, and for moments that no law with this maximum has.

    Examples
    --------
    >>> import qtheory as qt
    >>> bound = qt.drain_bound(256, servers=16, mean=1e-3, scv=1.0, maximum=20e-3)
    >>> print(f"{bound.quantile * 1e3:.1f} ms by {bound.method}")
    59.0 ms by work and maximum
    """
    n, c = count("population", population, least=0), count("servers", servers)
    m, spread = positive("mean", mean), nonnegative("scv", scv)
    spare = 1.0 - probability("drain_probability", drain_probability)
    sigma = m * math.sqrt(spread)
    if maximum is not None:
        b = positive("maximum", maximum)
        # E[S²] <= b E[S] for 0 <= S <= b
        if b < m * (1.0 + spread) * (1.0 - 1e-12):
            raise ValueError(f"maximum must be at least mean (1 + scv), {m * (1.0 + spread):.6g}, not {maximum!r}")
    else:
        b = math.inf
    found = {"work": _by_work(n, c, m, sigma, b, spare)}
    if maximum is not None:
        found = {"work and maximum": found["work"], "maximum": math.ceil(n / c) * b}
    method = min(found, key=lambda name: found[name])
    return DrainBound(
        method=method,
        exact=False,
        error_bounds={},
        warnings=() if maximum is not None or n == 0 else ("the servers are taken to have been busy for long",),
        quantile=found[method],
        probability=drain_probability,
    )


def _by_work(n: int, c: int, m: float, sigma: float, b: float, spare: float) -> float:
    """The bound by the work, at its best division of `spare`."""
    if n == 0:
        return 0.0
    k = min(n, c)
    if n <= c:
        return _rest(k, m, sigma, b, spare)
    best = math.inf
    for first, second in itertools.product(range(1, PARTS), repeat=2):
        third = PARTS - first - second
        if third > 0:
            rest = _rest(k, m, sigma, b, spare * third / PARTS)
            longest = max(rest, _longest(n - k, m, sigma, b, spare * second / PARTS))
            work = _work(n - k, m, sigma, b, spare * first / PARTS) + k * rest
            best = min(best, work / c + (1.0 - 1.0 / c) * longest)
    if b < math.inf:
        best = min(best, (_work(n - k, m, sigma, b, spare) + k * b) / c + (1.0 - 1.0 / c) * b)
    return best


def _work(n: int, m: float, sigma: float, b: float, spare: float) -> float:
    """What n services together take longer than with probability `spare` at most."""
    cantelli = sigma * math.sqrt(n * (1.0 / spare - 1.0))
    if b == math.inf:
        return n * m + cantelli
    scale = (b - m) * math.log(1.0 / spare) / 3.0
    bernstein = scale + math.sqrt(scale * scale + 2.0 * n * sigma * sigma * math.log(1.0 / spare))
    return min(n * m + min(cantelli, bernstein), n * b)


def _longest(n: int, m: float, sigma: float, b: float, spare: float) -> float:
    """The same of the longest of n services."""
    return min(m + sigma * math.sqrt(n / spare - 1.0), b)


def _rest(k: int, m: float, sigma: float, b: float, spare: float) -> float:
    """The same of the longest of k residual services."""
    each = spare / k
    return min(max(m + sigma * sigma / (4.0 * m * each) - m * each, 0.0), b)
