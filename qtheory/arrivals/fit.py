"""A Markovian arrival process fitted to recorded arrivals, over all time scales at once.

The mean wait behind bursty arrivals depends on how long bursts last and how strong they are, from below a service time
to the longest busy period. The index of dispersion I(w) does not decide it: a rare strong burst and frequent weak ones
may have the same I(w) at every w. So the states of the process are learned from the arrivals themselves:

1. **Surroundings.** Every arrival is described by what is around it on several time scales, each way: by the numbers of
   arrivals within a distance (their square roots, whose noise does not depend on the level, Anscombe 1948; or their
   logarithms, which look closer at the ends of a burst), or by the logarithms of the times to the k-th next and since
   the k-th last. Past and future together say where in a burst it stands, as delays do for the state of a dynamical
   system (Takens 1981). The gap to the next arrival counts `weight`-fold.
2. **States.** k-means (Lloyd 1982) gathers the arrivals into clusters, each with the mean of its gaps, a number of
   Erlang stages from their variability, and P, the counted moves from cluster to cluster.
3. **Choice.** How many clusters, which description and weight differs from trace to trace. Each combination is tried
   and the nearest is taken: its arrivals, sampled, shall wait at a trial queue as the recorded ones do (constant
   service, utilizations 0.3, 0.55, 0.8, means and 99 % quantiles), and their index of dispersion shall be that of the
   recorded ones from a mean gap to a twentieth of the trace. That is a fit to waits, so a check of the result against
   waits of the same trace is not an independent one.
4. **EM.** The nearer third is tried again after a few steps of Baum–Welch (`hidden_chain.py`), which sharpen the short
   scales and wear off the long ones, as the likelihood hardly feels them: no more than three.

The process is scaled to the trace's rate exactly. It is stationary: a trend becomes slow random change.

Measured on five traces (`validation/map_fit.py`; exponential service, 1 to 16 servers, utilization 0.3 to 0.8): fitted
to the whole trace, the mean wait is inside the 95 % block-bootstrap interval of the replayed trace in 33 of 45 cases,
the 99 % wait in 23; fitted to every other twentieth and compared with the rest, in 40 and 29. The worst: a 99 % wait
2.3 to 3.1 times too long (hplajw), 16 servers at utilization 0.3 and 0.5 whose mean wait is 5 and 2 times too long
(WebSearch), and an index of dispersion in windows of seconds that is 5 times too large (the bundled trace) or a third
of what it should be (WebSearch). Why is not known.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory.arguments import count, positive
from qtheory.arrivals.map import MAP
from qtheory.result import Result

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEAST_ARRIVALS = 500
ARRIVALS_PER_STATE = 30
DESCRIPTIONS = ("square roots of counts", "logarithms of counts", "spans")
SCALES = 5
LONGEST = 60
"""The longest scale is this part of the trace."""
SEEN_BY_KMEANS = 20_000
KMEANS_STEPS = 15
CLUSTERS = (16, 32, 64)
WEIGHTS = (0.5, 1.0, 2.0)
EM_STEPS = 3
MOST_STAGES = 8
UTILIZATIONS = (0.3, 0.55, 0.8)
BUSIEST = 0.55
TESTED, FINALISTS, RETESTED = 200_000, 6, 1_000_000
"""Arrivals of every candidate that the trial queue serves, then of those that come nearest."""
SHORTEST_GAP = 0.01
LEAST_WINDOWS = 20
WINDOWS_PER_DECADE = 2
POOR = 0.25
TREND = 0.25


@runtime_checkable
class Recorded(Protocol):
    """What is read of a trace."""

    @property
    def arrival(self) -> Floats:
        """Arrival times [s], in order."""


class Matched(NamedTuple):
    """A figure of the trace, and the same of the fitted process."""

    target: float
    fitted: float

    @property
    def error(self) -> float:
        """fitted / target − 1."""
        return self.fitted / self.target - 1.0 if self.target else math.inf


@dataclass(frozen=True, kw_only=True)
class FittedMAP(Result):
    """A fitted process and how well it matches.

    Parameters
    ----------
    process : MAP
        The fitted process; its rate is the trace's.
    dispersion : (window [s], Matched)
        Index of dispersion of counts, of the process exact.
    figures : name to Matched
        `scv` and `autocorrelation` (lag 1) of the times between arrivals, exact; `skewness` of the counts in windows of
        ten mean gaps and, in mean gaps, `mean_wait` and `wait_quantile` (99 %) of the trial queue at utilization 0.55,
        of a sample of the process.

    `error_bounds` has the largest relative error of the dispersion over its windows, of each figure, and of the test
    queue's waits over all utilizations. `warnings` says what is not matched.
    """

    process: MAP
    dispersion: tuple[tuple[float, Matched], ...]
    figures: dict[str, Matched] = field(repr=False)


def fit_map(arrivals: Recorded | ArrayLike, *, service_scale: float | None = None, order: int = 256) -> FittedMAP:
    """Fit a Markovian arrival process to a trace or to arrival times [s] in order.

    Parameters
    ----------
    arrivals : Trace or array-like
        All requests of the trace together: select one disk for a process of its own.
    service_scale : float, optional
        Mean service time [s] for which the waits are to be right: the trial queue then has as many servers as such
        services need at a utilization of 0.55. By default it has one.
    order : int
        Most phases of the process, at least 16. Fewer match fewer time scales.

    Takes some ten seconds for fifty thousand arrivals, in proportion for more. Raises ValueError for fewer than 500
    arrivals, for times that are not finite and in order, and when they span no time.

    Examples
    --------
    >>> from qtheory.arrivals.mmpp import IPP
    >>> times = IPP(rate=100.0, on=0.1, off=0.9).sample(np.random.default_rng(1), 3000)
    >>> fit = fit_map(times, order=16)
    >>> bool(np.isclose(fit.process.rate, 2999 / (times[-1] - times[0]))), fit.process.order <= 16
    (True, True)
    """
    times = _times(arrivals.arrival if isinstance(arrivals, Recorded) else arrivals)
    order = count("order", order, least=CLUSTERS[0])
    gap = float(times[-1] - times[0]) / (len(times) - 1)
    load = BUSIEST if service_scale is None else positive("service_scale", service_scale) / gap
    target = Target.of(times, gap, max(1, round(load / BUSIEST)))
    tried = sorted((target.tried(chain, TESTED) for chain in _chains(times, gap, order)), key=lambda x: x.distance)
    tried += [target.tried(_sharpened(x.chain, times, gap), TESTED) for x in tried[: len(tried) // 3]]
    nearest = sorted(tried, key=lambda x: x.distance)[:FINALISTS]
    return _reported(min((target.tried(x.chain, RETESTED) for x in nearest), key=lambda x: x.distance), times, target)


class Traits(NamedTuple):
    """What arrivals are compared by: `waits` at the trial queue, in mean gaps, (mean, 99 % quantile) for each
    utilization; and the index of dispersion of counts `dispersion` in some windows."""

    waits: Floats
    dispersion: Floats

    @classmethod
    def of(cls, times: Floats, gap: float, servers: int, windows: Floats) -> Traits:
        """Traits of these arrivals, whose mean gap is `gap` [s], with `windows` in seconds."""
        from qtheory.arrivals.trial_queue import waits

        rows = []
        for utilization in UTILIZATIONS:
            wait = waits(times, utilization * servers * gap, servers) / gap
            rows.append([wait.mean(), np.quantile(wait, 0.99)])
        return cls(np.array(rows), np.array([_index(_counts(times, window)) for window in windows]))

    def wait_errors(self, other: Traits) -> Floats:
        """Logarithms of the ratio of its waits to another's; what is below a thousandth of a gap counts as that."""
        return np.asarray(np.log(np.maximum(self.waits, 1e-3) / np.maximum(other.waits, 1e-3)))

    def distance(self, other: Traits) -> float:
        """The largest error of a wait and the mean error of the index, both as logarithms of ratios."""
        index = np.log(np.maximum(self.dispersion, 1e-3) / np.maximum(other.dispersion, 1e-3))
        return float(np.abs(self.wait_errors(other)).max() + np.abs(index).mean())


class Target(NamedTuple):
    """The recorded arrivals: their mean gap [s], their traits, and how these are taken."""

    gap: float
    servers: int
    windows: Floats
    traits: Traits

    @classmethod
    def of(cls, times: Floats, gap: float, servers: int) -> Target:
        """From a mean gap to a twentieth of the trace, two windows a decade."""
        steps = max(2, round(WINDOWS_PER_DECADE * math.log10(len(times) / LEAST_WINDOWS)) + 1)
        windows = np.geomspace(gap, (len(times) - 1) * gap / LEAST_WINDOWS, steps)
        return cls(gap, servers, windows, Traits.of(times, gap, servers, windows))

    def tried(self, chain: Chain, size: int) -> Tried:
        """A candidate, by a sample of so many arrivals."""
        process = chain.process(1.0 / self.gap)
        sample = process.sample(np.random.default_rng(0), size)
        traits = Traits.of(sample, self.gap, self.servers, self.windows)
        return Tried(chain, process, sample, traits, traits.distance(self.traits))


class Chain(NamedTuple):
    """States entered at arrivals: means [s] and Erlang stages of the gaps that follow, and P."""

    means: Floats
    stages: Ints
    P: Floats
    name: str

    def process(self, rate: float) -> MAP:
        """The same as a MAP, one phase for each stage, scaled to this rate [1/s]."""
        first = np.cumsum(self.stages) - self.stages
        last = first + self.stages - 1
        clock = np.repeat(self.stages / self.means, self.stages)
        D0, D1 = np.diag(-clock), np.zeros((len(clock), len(clock)))
        inner = np.setdiff1d(np.arange(len(clock)), last)
        D0[inner, inner + 1] = clock[inner]
        D1[np.ix_(last, first)] = self.P * clock[last, None]
        D0[last, last] = -D1[last].sum(axis=1)
        raw = MAP(D0, D1)
        return raw.scaled(raw.rate / rate)


class Tried(NamedTuple):
    """A candidate: its process, a sample of it, the sample's traits, and how far they are from the trace's."""

    chain: Chain
    process: MAP
    sample: Floats
    traits: Traits
    distance: float


def _gaps(times: Floats, gap: float) -> Floats:
    """Times between arrivals; those at the same tick of the clock get a small one."""
    gaps = np.diff(times)
    return np.maximum(gaps, SHORTEST_GAP * min(float(gaps[gaps > 0.0].min()), gap))


def _chains(times: Floats, gap: float, order: int) -> Iterator[Chain]:
    """The candidates, by clustering."""
    from scipy.cluster.vq import kmeans2, vq

    gaps = _gaps(times, gap)
    seen = np.sort(np.random.default_rng(0).permutation(len(gaps))[:SEEN_BY_KMEANS])
    most = min(order, max(len(gaps) // ARRIVALS_PER_STATE, CLUSTERS[0]))
    for description, weight in itertools.product(DESCRIPTIONS, WEIGHTS):
        described = _described(description, times, gaps, weight)
        for clusters in (n for n in CLUSTERS if n <= most):
            centres, _ = kmeans2(described[seen], clusters, iter=KMEANS_STEPS, minit="++", rng=np.random.default_rng(0))
            _, state = np.unique(vq(described, centres)[0], return_inverse=True)
            yield _counted(gaps, state, order)._replace(name=f"{description}, {clusters} clusters, weight {weight:g}")


def _sharpened(chain: Chain, times: Floats, gap: float) -> Chain:
    """The same after a few steps of EM."""
    from qtheory.arrivals.hidden_chain import em_step

    gaps = _gaps(times, gap)
    means, P = chain.means, chain.P
    for _ in range(EM_STEPS):
        means, P, _ = em_step(gaps, means, chain.stages.astype(float), P)
        means = np.maximum(means, gaps.min())
    # EM may lose a move altogether; a trace of the counted ones keeps every state within reach.
    P = (1.0 - 1e-9) * P + 1e-9 * chain.P
    return Chain(means, chain.stages, P, f"{chain.name}, {EM_STEPS} EM steps")


def _described(description: str, times: Floats, gaps: Floats, weight: float) -> Floats:
    """The surroundings of each arrival but the last, a row each; see the module's text."""
    if description == "spans":
        return _spans(gaps, weight)
    return _within(times, gaps, weight, np.sqrt if description == "square roots of counts" else np.log1p)


def _within(times: Floats, gaps: Floats, weight: float, transform: Callable[[Floats], Floats]) -> Floats:
    """Numbers of arrivals within each of several distances, after and before, transformed; and the gap."""
    at, number = times[:-1], np.arange(len(gaps))
    span = times[-1] - times[0]
    columns = []
    for distance in np.geomspace(3.0 * span / len(gaps), span / LONGEST, SCALES):
        columns.append(transform(np.searchsorted(times, at + distance, side="right") - number - 1.0))
        columns.append(transform(number - np.searchsorted(times, at - distance, side="left") + 0.0))
    log = _standardized(np.log(gaps))
    return np.column_stack([*map(_standardized, columns), weight * log, weight / 2.0 * np.roll(log, 1)])


def _spans(gaps: Floats, weight: float) -> Floats:
    """Logarithms of the times to the k-th next and since the k-th last arrival, the trace mirrored at its ends."""
    steps = np.unique(np.geomspace(1, len(gaps) // LONGEST, SCALES + 2).round().astype(np.int64))
    most, number = int(steps[-1]), np.arange(len(gaps))
    around = np.concatenate([[0.0], np.cumsum(np.pad(gaps, most, mode="reflect"))])
    columns = []
    for k in steps:
        for begin, importance in ((most, weight), (most - k, weight / 2.0)):
            span = around[number + begin + k] - around[number + begin]
            columns.append((importance if k == 1 else 1.0) * _standardized(np.log(span)))
    return np.column_stack(columns)


def _standardized(column: Floats) -> Floats:
    spread = float(column.std())
    return np.asarray((column - column.mean()) / (spread or 1.0))


def _counted(gaps: Floats, state: Ints, order: int) -> Chain:
    """Means, stages and moves of the states as they were seen; stages all together at most `order`."""
    visits = np.bincount(state)
    means = np.bincount(state, gaps) / visits
    # Minka's approximation (2002) to the shape of a gamma law from log E X − E log X
    s = np.maximum(np.log(means) - np.bincount(state, np.log(gaps)) / visits, 1e-3)
    shape = (3.0 - s + np.sqrt((s - 3.0) ** 2 + 24.0 * s)) / (12.0 * s)
    most = MOST_STAGES
    while (stages := np.clip(np.floor(shape + 0.3), 1, most).astype(np.int64)).sum() > order:
        most -= 1
    P = np.zeros((len(visits), len(visits)))
    np.add.at(P, (state, np.roll(state, -1)), 1.0)  # the last is followed by the first: every state is within reach
    return Chain(means, stages, P / P.sum(axis=1, keepdims=True), "")


def _reported(best: Tried, times: Floats, target: Target) -> FittedMAP:
    """The winner, and what it matches."""
    gaps, process, gap, windows = np.diff(times), best.process, target.gap, target.windows
    dispersion = tuple(map(Matched, target.traits.dispersion.tolist(), process.dispersion(windows).tolist()))
    centred = gaps - gap
    variance = float(centred @ centred) / len(gaps)
    middle = UTILIZATIONS.index(BUSIEST)
    figures = {
        "scv": Matched(variance / gap**2, process.scv),
        "autocorrelation": Matched(
            float(centred[1:] @ centred[:-1]) / len(gaps) / variance if variance else 0.0, process.autocorrelation(1)
        ),
        "skewness": Matched(*(_skewness(_counts(x, 10.0 * gap)) for x in (times, best.sample))),
        "mean_wait": Matched(float(target.traits.waits[middle, 0]), float(best.traits.waits[middle, 0])),
        "wait_quantile": Matched(float(target.traits.waits[middle, 1]), float(best.traits.waits[middle, 1])),
    }
    off = np.abs(np.expm1(best.traits.wait_errors(target.traits))).max(axis=0)
    bounds = {
        "dispersion": max(abs(pair.error) for pair in dispersion),
        **{name: abs(pair.error) for name, pair in figures.items()},
        "mean_wait": float(off[0]),
        "wait_quantile": float(off[1]),
    }
    return FittedMAP(
        method=f"clustered surroundings: {best.chain.name}",
        exact=False,
        error_bounds=bounds,
        warnings=tuple(_doubts(times, windows, dispersion, bounds)),
        process=process,
        dispersion=tuple(zip(windows.tolist(), dispersion, strict=True)),
        figures=figures,
    )


def _doubts(times: Floats, windows: Floats, dispersion: tuple[Matched, ...], bounds: dict[str, float]) -> Iterator[str]:
    """Warnings."""
    poor = [window for window, pair in zip(windows, dispersion, strict=True) if abs(pair.error) > POOR]
    if poor:
        yield (
            f"the index of dispersion is more than {POOR:.0%} off in {len(poor)} of {len(windows)} windows, between "
            f"{min(poor):.3g} and {max(poor):.3g} s"
        )
    for name, words in (("mean_wait", "mean wait"), ("wait_quantile", "99 % wait")):
        if bounds[name] > POOR:
            yield f"the {words} of the trial queue is off by up to {bounds[name]:.0%}"
    half = int(np.searchsorted(times, (times[0] + times[-1]) / 2.0)) / len(times)
    if abs(half - 0.5) > TREND / 2.0:
        yield (
            f"the rate is not constant: {half:.0%} of the arrivals are in the first half. The process is stationary, a "
            "trend in it is slow random change"
        )


def _counts(times: Floats, window: float) -> Ints:
    """Arrivals in each whole window."""
    at = ((times - times[0]) / window).astype(np.int64)
    whole = int((times[-1] - times[0]) // window)
    return np.bincount(at[at < whole], minlength=whole)


def _index(counts: Ints) -> float:
    return float(counts.var() / counts.mean())


def _skewness(counts: Ints) -> float:
    off = counts - counts.mean()
    spread = float((off**2).mean())
    return float((off**3).mean()) / spread**1.5 if spread > 0.0 else 0.0


def _times(values: ArrayLike) -> Floats:
    times = np.asarray(values, dtype=np.float64)
    if times.ndim != 1 or len(times) < LEAST_ARRIVALS:
        raise ValueError(f"arrivals must be at least {LEAST_ARRIVALS} times in one row, not of shape {times.shape}")
    bad = np.flatnonzero(~np.isfinite(times))
    if len(bad):
        raise ValueError(f"arrivals[{bad[0]}] must be finite, not {times[bad[0]]}")
    back = np.flatnonzero(np.diff(times) < 0.0)
    if len(back):
        raise ValueError(f"arrivals must be in order, but arrivals[{back[0] + 1}] is before the one in front of it")
    if times[-1] == times[0]:
        raise ValueError(f"arrivals must span some time, not all be at {times[0]} s")
    return times
