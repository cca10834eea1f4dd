"""A Markovian arrival process fitted to recorded arrivals, by the waits behind them.

What arrivals make requests wait depends on how long bursts last, how strong and how regular they are, from below a
service time to the longest busy period. No few statistics decide it: a rare strong burst and frequent weak ones may
have the same index of dispersion in every window. So the waits themselves are the measure:

1. **Trial queues.** The recorded arrivals are replayed at 1, 4 and 16 exponential servers, at utilizations 0.3, 0.5 and
   0.8, or such as are asked for; mean and 99 % quantile of the wait are what a process has to have. How well the trace
   tells each is found by block bootstrap (Künsch 1989): gaps resampled in blocks of a twentieth of the trace. The same
   waits behind a process are exact (`trial_queue.py`). All differences are of logarithms, in standard deviations of the
   bootstrap, upwards and downwards. Where the replayed trace is outside what eight in ten of its resamplings give, a
   process is asked for the end of that range.
2. **States.** If one state, a renewal process, has all waits inside their 95 % intervals, that is all. Otherwise the
   arrivals are sorted into states of a chain in some eighty ways (`states.py`); each makes a process: the gap that
   follows a state is Erlang, with the mean and as far as allowed the variability seen, and the next state comes by the
   counted moves. The nearest of each kind, by mean squared difference, go on; each phase has to earn its keep.
3. **Calibration.** They are adjusted by Gauss–Newton in eleven numbers: how the gaps of a state and how long it lasts
   change with its features (gap, rate around it, backlogs), as factors that are held near 1.

The process is scaled to the trace's rate exactly. It is stationary: a trend becomes slow random change. A check of it
against waits of the same trace is not an independent one, so `validation/map_fit.py` also fits to one half of a trace
and checks with the other, and at trial queues with other service laws. Measured there on five traces, 1 to 16 servers,
utilization 0.3 to 0.8, mean and 99 % wait: fitted to the whole trace all 90 are inside the 95 % interval of the
replayed trace and nearer to it than Poisson arrivals; fitted to every other twentieth and compared with the rest 89 are
inside (the fitted half itself, replayed: 81) and 90 nearer; with deterministic and hyperexponential service, to which
nothing was fitted, 36 of 40 and 39 of 40 are inside, all nearer. What is not matched is the index of dispersion in
windows far longer than the busy periods at these loads: a trend over seconds (WebSearch) hardly shows in the waits and
is left out, and a timer of Erlang stages loses its step after a few periods where the recorded one (the bundled trace)
never does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory.arguments import count, probability, sequence
from qtheory.arrivals.map import MAP
from qtheory.arrivals.states import FEATURES, LOADS, Labels, Surroundings
from qtheory.arrivals.trial_queue import Case, exact, replayed
from qtheory.result import Result

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEAST_ARRIVALS = 500
LEAST_ORDER = 16
SERVERS = (1, 4, 16)
UTILIZATIONS = (0.3, 0.5, 0.8)
DRAWS = 5
"""Replays of the trace, with other service times."""
RESAMPLINGS, BLOCKS = 40, 20
CENTRAL = (0.1, 0.9)
LEAST_DEVIATION = 0.03
BEYOND = 1e300
SMALLEST = 1e-3
"""Waits are told apart from this on [mean gaps]."""
KEEP = 1e-3
"""Squared difference that a phase has to save."""
FACTORS = 2 * FEATURES + 1
HELD = 0.3
"""Standard deviation that the calibration allows to the logarithms of its factors."""
TRIAL_STEPS, STEPS = 2, 6
LONGEST_STEP = 0.5
TELLING = 0.1
"""Waits above it count for the error bounds [mean gaps]."""
DIFFERENCE = 1e-3
ENOUGH = 0.02
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


class TrialWait(NamedTuple):
    """The wait at a trial queue, in mean times between arrivals.

    `quantity` is "mean_wait" or "wait_quantile" (99 %), `target` that of the trace, `low` and `high` its 95 % interval
    by block bootstrap, `fitted` that of the process.
    """

    servers: int
    utilization: float
    quantity: str
    target: float
    low: float
    high: float
    fitted: float

    @property
    def inside(self) -> bool:
        """Whether the process is within what the trace can tell."""
        return self.low <= self.fitted <= self.high


@dataclass(frozen=True, kw_only=True)
class FittedMAP(Result):
    """A fitted process and how well it matches.

    Parameters
    ----------
    process : MAP
        The fitted process; its rate is the trace's.
    waits : TrialWait
        Every one that the process was fitted to.
    dispersion : (window [s], Matched)
        Index of dispersion of counts, of the process exact.
    figures : name to Matched
        `scv` and `autocorrelation` (lag 1) of the times between arrivals, exact.

    `error_bounds` has the largest relative error of the trial queues' `mean_wait` and `wait_quantile` where they are
    above a tenth of a mean gap, of the dispersion over its windows, and of each figure. `warnings` says what is not
    matched.
    """

    process: MAP
    waits: tuple[TrialWait, ...] = field(repr=False)
    dispersion: tuple[tuple[float, Matched], ...] = field(repr=False)
    figures: dict[str, Matched] = field(repr=False)
    _counted: Counted = field(repr=False, compare=False)

    def recounted(self, which: Ints) -> MAP:
        """The process with the same states and calibration, counted in some of the recorded gaps: for a bootstrap.

        `which` holds indices of the gaps between arrivals, in the order in which they are to follow each other; the
        rate is that of these gaps.
        """
        gap = float(self._counted.gaps[which].mean()) / self.process.rate
        return self._counted.again(which).scaled(gap)


def fit_map(
    arrivals: Recorded | ArrayLike,
    *,
    servers: Sequence[int] = SERVERS,
    utilizations: Sequence[float] = UTILIZATIONS,
    order: int = 64,
) -> FittedMAP:
    """Fit a Markovian arrival process to a trace or to arrival times [s] in order.

    Parameters
    ----------
    arrivals : Trace or array-like
        All requests of the trace together: select one disk for a process of its own.
    servers, utilizations : sequences
        The trial queues, each number of servers at each utilization: those for which the waits are to be right.
    order : int
        Most phases of the process, at least 16. More match more: 128 take some five times as long as 64.

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
    order = count("order", order, least=LEAST_ORDER)
    cases = _cases(servers, utilizations)
    busy = [case.utilization for case in cases]
    loads = LOADS if min(busy) >= LOADS[0] else np.geomspace(min(busy) / 3.0, min(3.0 * max(busy), LOADS[-1]), 5)
    gap = float(times[-1] - times[0]) / (len(times) - 1)
    gaps = np.diff(times) / gap
    target = Target.of(gaps, cases)
    apart = np.maximum(gaps, SHORTEST_GAP * min(float(gaps[gaps > 0.0].min()), 1.0))
    around = Surroundings(apart, tuple(map(float, loads)))
    ways = around.labels(order)
    best = target.tried(around, next(ways), order)  # one state
    if not target.holds(best):
        tried = [best, *(target.tried(around, labels, order) for labels in ways)]
        tried.sort(key=lambda x: -x.distance)
        nearest = {x.labels.way: x for x in tried}.values()  # of each way
        best = min((_calibrated(x, target, TRIAL_STEPS) for x in nearest), key=lambda x: x.distance)
        best = _calibrated(best, target, STEPS)
    return _reported(best, times, gap, target)


class Target(NamedTuple):
    """The waits that a process is to have.

    Of each case mean and quantile in mean gaps: of the trace, their 95 % interval, the logarithms asked for, and the
    standard deviations in which differences are measured, downwards and upwards.
    """

    cases: tuple[Case, ...]
    waits: Floats
    low: Floats
    high: Floats
    logarithms: Floats
    down: Floats
    up: Floats

    @classmethod
    def of(cls, gaps: Floats, cases: tuple[Case, ...]) -> Target:
        """By replaying and resampling the trace."""
        arrival, rng = np.concatenate([[0.0], np.cumsum(gaps)]), np.random.default_rng(0)
        found = np.mean([replayed(arrival, rng, cases) for _ in range(DRAWS)], axis=0)
        others = np.array([replayed(np.cumsum(x), rng, cases) for x in resampled(gaps, rng, RESAMPLINGS)])
        low, least, most, high = np.quantile(others, [0.025, *CENTRAL, 0.975], axis=0)
        asked = _log(np.clip(found, least, most))
        down, up = (np.maximum(x / 1.96, LEAST_DEVIATION) for x in (asked - _log(low), _log(high) - asked))
        return cls(cases, found, low, high, asked, down, up)

    def differences(self, process: MAP) -> tuple[Floats, Floats]:
        """Waits of the process, and how far they are off, in standard deviations."""
        try:
            waits = exact(process, self.cases)
        except ArithmeticError:  # rates too far apart for floats
            waits = np.full(self.waits.shape, BEYOND)
        off = _log(waits) - self.logarithms
        return waits, np.where(off > 0.0, off / self.up, off / self.down).ravel()

    def holds(self, found: Tried) -> bool:
        """Whether all waits are inside their intervals."""
        return bool(np.all((self.low <= found.waits) & (found.waits <= self.high)))

    def tried(self, around: Surroundings, labels: Labels, order: int) -> Tried:
        """A candidate."""
        counted = Counted(around.gaps, labels, order, around.features(labels.state), np.zeros(FACTORS))
        return self.of_counted(counted)

    def of_counted(self, counted: Counted) -> Tried:
        """The waits behind a process, and how far they are off."""
        process = counted.process()
        waits, off = self.differences(process)
        return Tried(counted, waits, float(off @ off) / len(off) + KEEP * process.order)


class Chain(NamedTuple):
    """States entered at arrivals: means and Erlang stages of the gaps that follow, in mean gaps, and P."""

    means: Floats
    stages: Ints
    P: Floats

    @classmethod
    def of(cls, gaps: Floats, labels: Labels, order: int) -> Chain:
        """Means, stages and moves of the states as they were seen; stages all together at most `order`."""
        state = labels.state
        visits = np.bincount(state)
        means = np.bincount(state, gaps) / visits
        # Minka's approximation (2002) to the shape of a gamma law from log E X − E log X
        s = np.maximum(np.log(means) - np.bincount(state, np.log(gaps)) / visits, 1e-3)
        shape = np.floor((3.0 - s + np.sqrt((s - 3.0) ** 2 + 24.0 * s)) / (12.0 * s) + 0.3)
        most = order
        while (stages := np.clip(shape, 1, np.minimum(labels.stages, most)).astype(np.int64)).sum() > order:
            most -= 1
        P = np.zeros((len(visits), len(visits)))
        np.add.at(P, (state, np.roll(state, -1)), 1.0)  # the last is followed by the first: every state within reach
        return cls(means, stages, P / P.sum(axis=1, keepdims=True))

    def adjusted(self, features: Floats, factors: Floats) -> Chain:
        """With other means, and other chances to leave a state: by `factors`, logarithms for each feature."""
        k = features.shape[1]
        means = self.means * np.exp(features @ factors[:k])
        leave = 1.0 - np.diag(self.P)
        odds = leave * np.exp(features @ factors[k : 2 * k] + factors[2 * k])
        left = odds / (1.0 - leave + odds)
        P = self.P * (left / leave if len(self.P) > 1 else left)[:, None]
        np.fill_diagonal(P, 1.0 - left)
        return Chain(means, self.stages, P)

    def process(self) -> MAP:
        """The same as a MAP of rate 1, one phase for each stage."""
        first = np.cumsum(self.stages) - self.stages
        last = first + self.stages - 1
        clock = np.repeat(self.stages / self.means, self.stages)
        D0, D1 = np.diag(-clock), np.zeros((len(clock), len(clock)))
        inner = np.setdiff1d(np.arange(len(clock)), last)
        D0[inner, inner + 1] = clock[inner]
        D1[np.ix_(last, first)] = self.P * clock[last, None]
        D0[last, last] = -D1[last].sum(axis=1)
        raw = MAP(D0, D1)
        return raw.scaled(raw.rate)


class Counted(NamedTuple):
    """A process as it was made: counted in labelled gaps (in mean gaps) and adjusted by factors."""

    gaps: Floats
    labels: Labels
    order: int
    features: Floats
    factors: Floats

    def process(self) -> MAP:
        """Of rate 1."""
        return Chain.of(self.gaps, self.labels, self.order).adjusted(self.features, self.factors).process()

    def again(self, which: Ints) -> MAP:
        """The same states, allowed stages and factors, but means and moves counted in the gaps `which`, in order."""
        used, state = np.unique(self.labels.state[which], return_inverse=True)
        labels = self.labels._replace(state=state, stages=self.labels.stages[used])
        return self._replace(gaps=self.gaps[which], labels=labels, features=self.features[used]).process()


class Tried(NamedTuple):
    """A candidate: how it was made, the waits behind it, and how far they are from those asked for."""

    counted: Counted
    waits: Floats
    distance: float

    @property
    def labels(self) -> Labels:
        """The states."""
        return self.counted.labels


def _log(waits: Floats) -> Floats:
    return np.asarray(np.log(waits + SMALLEST))


def resampled(gaps: Floats, rng: np.random.Generator, number: int) -> Iterator[Floats]:
    """Gaps in blocks of a twentieth, drawn with replacement, round the end (circular block bootstrap)."""
    length = len(gaps) // BLOCKS
    for _ in range(number):
        begin = rng.integers(0, len(gaps), BLOCKS)
        yield gaps[(begin[:, None] + np.arange(length)).ravel() % len(gaps)]


def _calibrated(start: Tried, target: Target, steps: int) -> Tried:
    """Gauss–Newton on the differences, the factors' logarithms held near 0."""
    counted = start.counted
    chain = Chain.of(counted.gaps, counted.labels, counted.order)

    def off(factors: Floats) -> Floats:
        process = chain.adjusted(counted.features, factors).process()
        return np.concatenate([target.differences(process)[1], factors / HELD])

    factors = counted.factors
    now = off(factors)
    for _ in range(steps):
        slopes = np.column_stack([(off(factors + DIFFERENCE * one) - now) / DIFFERENCE for one in np.eye(FACTORS)])
        step = np.linalg.lstsq(slopes, -now, rcond=None)[0]
        step *= LONGEST_STEP / max(float(np.abs(step).max()), LONGEST_STEP)
        for shorter in (1.0, 0.4, 0.15, 0.05):
            following = off(factors + shorter * step)
            if following @ following < now @ now:
                break
        else:
            break
        saved = 1.0 - float(following @ following) / float(now @ now)
        factors, now = factors + shorter * step, following
        if saved < ENOUGH:
            break
    return target.of_counted(counted._replace(factors=factors))


def _reported(best: Tried, times: Floats, gap: float, target: Target) -> FittedMAP:
    """The winner, and what it matches."""
    process, gaps = best.counted.process().scaled(gap), np.diff(times)
    steps = max(2, round(WINDOWS_PER_DECADE * math.log10(len(times) / LEAST_WINDOWS)) + 1)
    windows = np.geomspace(gap, (len(times) - 1) * gap / LEAST_WINDOWS, steps)
    recorded = (_index(_counts(times, window)) for window in windows)
    dispersion = tuple(map(Matched, recorded, process.dispersion(windows).tolist()))
    centred = gaps - gap
    variance = float(centred @ centred) / len(gaps)
    lagged = float(centred[1:] @ centred[:-1]) / len(gaps) / variance if variance else 0.0
    figures = {
        "scv": Matched(variance / gap**2, process.scv),
        "autocorrelation": Matched(lagged, process.autocorrelation(1)),
    }
    waits = tuple(
        TrialWait(*case, quantity, *(float(x[i, j]) for x in (target.waits, target.low, target.high, best.waits)))
        for i, case in enumerate(target.cases)
        for j, quantity in enumerate(("mean_wait", "wait_quantile"))
    )
    off = [(w.quantity, abs(w.fitted / w.target - 1.0)) for w in waits if w.target > TELLING]
    bounds = {
        **{name: max((x for of, x in off if of == name), default=0.0) for name in ("mean_wait", "wait_quantile")},
        "dispersion": max(abs(pair.error) for pair in dispersion),
        **{name: abs(pair.error) for name, pair in figures.items()},
    }
    return FittedMAP(
        method=f"calibrated to waits: {best.labels.name}",
        exact=False,
        error_bounds=bounds,
        warnings=tuple(_doubts(times, windows, dispersion, waits)),
        process=process,
        waits=waits,
        dispersion=tuple(zip(windows.tolist(), dispersion, strict=True)),
        figures=figures,
        _counted=best.counted,
    )


def _doubts(
    times: Floats, windows: Floats, dispersion: tuple[Matched, ...], waits: tuple[TrialWait, ...]
) -> Iterator[str]:
    """Warnings."""
    poor = [window for window, pair in zip(windows, dispersion, strict=True) if abs(pair.error) > POOR]
    if poor:
        yield (
            f"the index of dispersion is more than {POOR:.0%} off in {len(poor)} of {len(windows)} windows, between "
            f"{min(poor):.3g} and {max(poor):.3g} s"
        )
    outside = [wait for wait in waits if not wait.inside]
    if outside:
        worst = max(outside, key=lambda w: abs(math.log((w.fitted + SMALLEST) / (w.target + SMALLEST))))
        yield (
            f"{len(outside)} of {len(waits)} waits at the trial queues are outside their 95 % interval; farthest the "
            f"{worst.quantity} of {worst.servers} servers at {worst.utilization:g}: {worst.fitted:.4g} mean gaps for "
            f"{worst.target:.4g}"
        )
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


def _cases(servers: Sequence[int], utilizations: Sequence[float]) -> tuple[Case, ...]:
    numbers = sorted({count(f"servers[{i}]", c) for i, c in enumerate(sequence("servers", servers))})
    busy = sorted({probability(f"utilizations[{i}]", u) for i, u in enumerate(sequence("utilizations", utilizations))})
    if not numbers or not busy:
        raise ValueError(f"servers and utilizations must have at least one each, not {servers!r} and {utilizations!r}")
    return tuple(Case(c, u) for c in numbers for u in busy)


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
