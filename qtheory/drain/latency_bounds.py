"""How long a drain takes at most, and at least, from the latencies that requests have before the stop.

An operator who has no model has a rate and latencies: `query-blockstats` counts them in bins. Let L be the time from
when a request is taken until it completes, λ the rate at which requests are taken, N_t the number of those taken before
the stop of which more than t is left at the stop. If the stop does not look at the requests,

    E[N_t] = λ ∫_t^∞ P(L > x) dx = λ E(L − t)^+

(Little's law for the requests that have still t to go; Campbell's theorem). It needs no independence, no Poisson
arrivals, no law of service, no number of servers. If nothing that comes after a request delays it, as where the device
is first come, first served, the drain is longer than t if and only if N_t >= 1, so that for N_t <= most

    λ E(L − t)^+ / most  <=  P(T > t)  <=  λ E(L − t)^+.

If later requests did delay it, without them it is done sooner, and the upper bound holds all the same. Both are met
with equality where at most one request is outstanding. M/G/∞ has P(T > t) = 1 − exp(−λ E(L − t)^+): at its 99 %
quantile the upper bound is 0.5 % above P(T > t). Where n requests are outstanding always, λ = n/E[L], by Little.

**From a histogram** of N latencies. P(L >= e) at an edge e lies, with the confidence asked for at all edges together,
between the bounds of Clopper and Pearson (1934), each with an equal part of the doubt (Bonferroni). Between edges
P(L > x) falls: it is at most what P(L >= e) is at the edge before, at least what it is at the edge after. So

    P(L_low > x) <= P(L > x) <= P(L_up > x)  for every x,

which is stochastic order: L_up has the mass of each bin at its upper end, L_low at its lower end (and both move what
the counts do not settle). E(L − t)^+ is an integral of P(L > x), and so lies between those of L_low and L_up, for every
t. With n outstanding the bound is n E(L − t)^+/E[L] = n b/(a + b), a = ∫_0^t P(L > x) dx and b that from t on: it rises
in b and falls in a, so the upper bound takes b of L_up and a of L_low, the lower one the other way round. An open last
bin needs a largest latency, a timeout: else a single request may take any time.

**From moments.** E(L − t)^+ is at least m − t (Jensen), and at most

    m (1 − t/b) for 0 <= L <= b (the chord of a convex function);   (√(σ² + (t − m)²) − (t − m))/2 (Scarf, 1958).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory.arguments import count, nonnegative, positive, probability
from qtheory.result import Result

Floats = NDArray[np.float64]
Bound = Callable[[Floats], Floats]
CELLS = 64
"""In each bin, in which the mean is summed up, from above and from below."""
TINY = 1e-300
DOUBT = "the confidence takes the latencies as independent: where they come in bursts, it is less"


@dataclass(frozen=True, kw_only=True)
class LatencyBounds(Result):
    """Between what a drain's mean, quantile and law lie; times in seconds.

    `quantile` is that at `drain_probability`, `mean` that of the drain, each (lower, upper). `confidence` is the
    probability that counts as these give bounds that hold, 1 without sampling.
    """

    mean: tuple[float, float]
    quantile: tuple[float, float]
    drain_probability: float
    confidence: float
    _lower: Bound = field(repr=False, compare=False)
    _upper: Bound = field(repr=False, compare=False)

    def sf(self, t: float) -> tuple[float, float]:
        """Bounds of P(T > t), t >= 0 in seconds."""
        at = np.array(nonnegative("t", t))
        return float(self._lower(at)), float(self._upper(at))


def histogram_bounds(
    edges: ArrayLike,
    counts: ArrayLike,
    *,
    rate: float | None = None,
    outstanding: int | None = None,
    most: int | None = None,
    maximum: float | None = None,
    confidence: float | None = 0.95,
    drain_probability: float = 0.99,
) -> LatencyBounds:
    """Bound a drain by a latency histogram and a rate, or the number of requests that are always outstanding.

    Parameters
    ----------
    edges : array-like, shape (n + 1,)
        Of the bins [s], rising from 0 or later; the last may be inf.
    counts : array-like, shape (n,)
        Latencies in [edges[i], edges[i + 1]); one at least in all.
    rate, outstanding : float, int
        One of the two: requests taken per second, or how many are outstanding at any time (saturated guests).
    most : int, optional
        With `rate`: most that are outstanding at once. None: not known, and then there is no lower bound.
    maximum : float, optional
        Longest latency that there can be [s]. None: the last edge; needed where that is inf.
    confidence : float, optional
        That all bounds hold, given that the latencies are an independent sample. None: the counts are exact shares.
    drain_probability : float
        Of the quantile.

    Raises ValueError for an argument out of range or that contradicts the counts.

    Examples
    --------
    >>> edges, counts = [0.0, 1e-3, 2e-3, 5e-3, float("inf")], [60_000, 30_000, 10_000, 0]
    >>> bounds = histogram_bounds(edges, counts, outstanding=32, maximum=10e-3)
    >>> print(" to ".join(f"{t * 1e3:.2f} ms" for t in bounds.quantile))
    1.86 ms to 6.77 ms

    Of what QEMU measured: `h = qt.read_measurement("blockstats.json").histograms[0]`, then `h.edges` and `h.counts`.
    """
    at, numbers = _histogram(edges, counts)
    if confidence is not None:
        probability("confidence", confidence)
    finite = at[np.isfinite(at)]
    longest = float(finite[-1]) if maximum is None else positive("maximum", maximum)
    if maximum is None and len(finite) < len(at):
        raise ValueError("maximum must be given where the last bin is open: how long a latency can be is not known")
    seen = float(at[np.flatnonzero(numbers)[-1]])
    if longest < seen:
        raise ValueError(f"maximum must be at least {seen:g}, as latencies from there on were counted, not {maximum!r}")
    tails = np.append(np.cumsum(numbers[::-1])[::-1], 0)[: len(finite)]
    below, above = _clopper_pearson(tails, int(numbers.sum()), finite > 0.0, confidence)
    # between 0, the edges and the end: what P(L > x) is at most and at least
    knots = np.minimum(np.concatenate([[0.0], finite, [longest]]), longest)
    at_most, at_least = np.append(1.0, above), np.append(below, 0.0)
    upper, lower = (np.append(0.0, np.cumsum(np.diff(knots) * part)) for part in (at_most, at_least))

    def before(integral: Floats, t: Floats) -> Floats:
        return np.interp(t, knots, integral)

    def least_after(t: Floats) -> Floats:
        return np.asarray(lower[-1] - before(lower, t))

    def most_after(t: Floats) -> Floats:
        return np.asarray(upper[-1] - before(upper, t))

    if outstanding is None:
        if rate is None:
            raise ValueError("rate or outstanding must be given")
        low, high = _little(rate, most, least_after, most_after)
    elif rate is not None or most is not None:
        raise ValueError("outstanding must stand alone: rate and most follow from it")
    else:
        n = count("outstanding", outstanding)

        def high(t: Floats) -> Floats:
            late = most_after(t)
            return np.minimum(n * late / (before(lower, t) + np.maximum(late, TINY)), 1.0)

        def low(t: Floats) -> Floats:
            late = least_after(t)
            return np.asarray(late / (before(upper, t) + np.maximum(late, TINY)))

    points = np.unique(np.linspace(knots[:-1], knots[1:], CELLS + 1))
    mean = (_sum(low, points, 1), _sum(high, points, 0))
    return _result("histogram", low, high, mean, longest, drain_probability, confidence)


def little_bounds(
    *,
    rate: float,
    mean: float,
    scv: float | None = None,
    maximum: float | None = None,
    most: int | None = None,
    drain_probability: float = 0.99,
) -> LatencyBounds:
    """Bound a drain by the rate and the moments of the latency.

    Parameters
    ----------
    rate : float
        Requests taken per second.
    mean : float
        Mean latency [s].
    scv, maximum : float, optional
        Variance over squared mean of the latency; longest latency that there can be [s]. One of the two at least.
    most, drain_probability
        As for `histogram_bounds`.

    Raises ValueError for an argument out of range, and for moments that no law has together.

    Examples
    --------
    >>> bounds = little_bounds(rate=1000.0, mean=2e-3, scv=1.0, maximum=50e-3, most=64)
    >>> print(" to ".join(f"{t * 1e3:.2f} ms" for t in bounds.quantile))
    1.36 ms to 49.75 ms
    """
    m = positive("mean", mean)
    probability("drain_probability", drain_probability)
    if scv is None and maximum is None:
        raise ValueError("scv or maximum must be given: with the mean alone a latency may take any time")
    sigma = math.inf if scv is None else m * math.sqrt(nonnegative("scv", scv))
    b = math.inf if maximum is None else positive("maximum", maximum)
    if b < m * (1.0 if scv is None else 1.0 + scv) * (1.0 - 1e-12):
        raise ValueError(f"maximum must be at least mean (1 + scv), {m * (1.0 + (scv or 0.0)):.6g}, not {maximum!r}")

    def most_after(t: Floats) -> Floats:
        chord = np.maximum(m * (1.0 - t / b), 0.0)
        if sigma == math.inf:
            return chord
        d = t - m
        root = np.hypot(sigma, d)
        # (root − d)/2, beyond the mean without cancellation
        scarf = np.where(d > 0.0, sigma**2 / np.maximum(root + d, TINY), root - d) / 2.0
        return np.minimum(np.minimum(chord, scarf), m)

    low, high = _little(rate, most, lambda t: np.maximum(m - t, 0.0), most_after)
    # ∫ λ E(L − t)^+ dt = λ E[L²]/2, what is left of all that is present together
    half = rate * m * m / 2.0
    least = half * (1.0 + (scv or 0.0)) / most if most is not None else 0.0
    greatest = half * (1.0 + scv if scv is not None else b / m)
    end = b
    if b < math.inf:
        greatest = min(greatest, _sum(high, np.append(0.0, np.geomspace(m / CELLS, b, CELLS * CELLS)), 0))
    else:
        end = m
        while high(np.array(end)) > 1.0 - drain_probability:
            end *= 2.0
    return _result("moments", low, high, (least, greatest), end, drain_probability, None)


def _histogram(edges: ArrayLike, counts: ArrayLike) -> tuple[Floats, NDArray[np.int64]]:
    """Edges and counts, checked."""
    at = np.asarray(edges, dtype=np.float64)
    if at.ndim != 1 or len(at) < 2 or not (0.0 <= at[0] < math.inf and np.all(np.diff(at) > 0.0)):
        raise ValueError(f"edges must be at least two, rising from 0 or later, not {edges!r}")
    numbers = np.array([count(f"counts[{i}]", n, least=0) for i, n in enumerate(np.asarray(counts).tolist())])
    if len(numbers) != len(at) - 1:
        raise ValueError(f"counts must be one for each of the {len(at) - 1} bins, not {len(numbers)}")
    if not numbers.any():
        raise ValueError("counts must not all be 0")
    return at, numbers


def _clopper_pearson(
    tails: NDArray[np.int64], total: int, uncertain: NDArray[np.bool_], confidence: float | None
) -> tuple[Floats, Floats]:
    """Bounds of the probabilities of which `tails` of `total` were seen; those not `uncertain` are 1."""
    if confidence is None:
        return tails / total, tails / total
    from scipy.special import betaincinv

    doubt = (1.0 - confidence) / max(2 * int(uncertain.sum()), 1)
    k = tails.astype(np.float64)
    low = np.where(k > 0, betaincinv(np.maximum(k, 1.0), total - k + 1.0, doubt), 0.0)
    high = np.where(k < total, betaincinv(k + 1.0, np.maximum(total - k, 1.0), 1.0 - doubt), 1.0)
    return np.where(uncertain, low, 1.0), np.where(uncertain, high, 1.0)


def _little(rate: float, most: int | None, least_after: Bound, most_after: Bound) -> tuple[Bound, Bound]:
    """λ E(L − t)^+ over the most that are outstanding, and itself."""
    lam = positive("rate", rate)
    share = 0.0 if most is None else lam / count("most", most)
    least = lam * float(least_after(np.zeros(())))
    if most is not None and least > most * (1.0 + 1e-9):
        raise ValueError(
            f"most must be at least {least:.6g}, the mean number outstanding by Little's law, not {most!r}"
        )
    return lambda t: np.minimum(share * least_after(t), 1.0), lambda t: np.minimum(lam * most_after(t), 1.0)


def _sum(falling: Bound, points: Floats, side: int) -> float:
    """Integral from above, by values at the left ends of cells (side 0), or from below, at the right ends (side 1)."""
    values = falling(points)
    return float(np.diff(points) @ (values[1:] if side else values[:-1]))


def _result(
    method: str,
    low: Bound,
    high: Bound,
    mean: tuple[float, float],
    end: float,
    drain_probability: float,
    confidence: float | None,
) -> LatencyBounds:
    """Assemble; by `end` the upper bound is below what a quantile leaves."""
    rest = 1.0 - probability("drain_probability", drain_probability)
    return LatencyBounds(
        method=method,
        exact=False,
        error_bounds={},
        warnings=() if confidence is None else (DOUBT,),
        mean=mean,
        quantile=(_crossing(low, rest, end)[0], _crossing(high, rest, end)[1]),
        drain_probability=drain_probability,
        confidence=1.0 if confidence is None else confidence,
        _lower=low,
        _upper=high,
    )


def _crossing(bound: Bound, rest: float, end: float) -> tuple[float, float]:
    """Where a falling bound comes down to `rest`, from below and from above."""
    if bound(np.zeros(())) <= rest:
        return 0.0, 0.0
    low, high = 0.0, end
    while high - low > 1e-14 * high:
        middle = (low + high) / 2.0
        if not low < middle < high:
            break
        low, high = (middle, high) if bound(np.array(middle)) > rest else (low, middle)
    return low, high
