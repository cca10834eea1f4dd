"""Recorded arrivals sorted into the states of a Markov chain, in several ways.

A state is entered at an arrival and lasts until the next. What the waits behind the arrivals ask of the states is that
they tell how a burst goes on, and a chain forgets how long it has been where it is: lengths come out geometric, gaps
exponential, unless states say how far a burst has got. Rare bursts of recorded length become much longer ones with a
small probability, and a timer's regular bursts come at random: then the high quantiles of the wait are two or more
times too long. So states are

**clusters** of arrivals with like surroundings: the logarithms of the backlogs (Lindley 1952) that a server would have,
    at several loads, of what came before, and in the trace read backwards of what comes after; and the gap. Past and
    future tell where in a burst an arrival stands, as delays do for the state of a dynamical system (Takens 1981);
    with few clusters, separately in each of the few runs into which the trace falls first, so that a trend is kept;
**classes of runs**: runs of constant rate (`runs.py`), coarse or fine, clustered by their length and rate, those of
    their neighbours and the backlogs at their start. A run is divided into stages, by position; a run of one gap gets
    Erlang stages instead: lengths vary as little as recorded. Stages go where they do most, to the classes whose
    net input (work brought less time passed) would add most variance to the backlog. Within runs, arrivals may be told
    apart further by the gaps around them;
**the trace in order**: every run a class of its own, all of as many arrivals; the chain walks through the trace's load
    profile, which is the only one where the trace is little more than a few bursts.

Clusters are by k-means (Lloyd 1982).
"""

from __future__ import annotations

import heapq
import warnings
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CLUSTERED, COARSELY, CLASSED, ORDERED = "clusters", "clusters in runs", "classes of runs", "runs in order"

LOADS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Of the servers whose backlogs are looked at; that at `WEIGHED` says which runs matter."""
WEIGHED = 3
RUNS_APART = (8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
CLASSES = (4, 8, 16, 32, 64)
TELLING_APART = (1, 2, 4)
CLUSTERS = (16, 32, 64)
COARSE = (2, 4, 8)
IN_ORDER = (0.25, 0.5, 0.75)
"""Runs of the trace in order, as a share of the phases; the rest are stages."""
CLUSTER_STAGES = 8
SEEN_BY_KMEANS = 20_000
KMEANS_STEPS = 20
ALIKE = 1e-9
NEIGHBOUR, BACKLOG = 0.5, 0.4
"""Weights of a run's neighbours, and of the backlogs at its start."""
NEAR = 16
FEATURES = 5


def runs(loss: Floats, least: float) -> Ints:
    """Number of the run that each gap belongs to, runs being apart when to join them loses more than `least`.

    >>> runs(np.array([np.inf, 0.0, 2.04, 0.0]), 1.0)
    array([0, 0, 1, 1])
    """
    return np.cumsum(loss > least) - 1


class Labels(NamedTuple):
    """A state for each arrival but the last, 0, 1, 2, ... without a hole, and the most Erlang stages of its gaps.

    `way` says how in general, `name` how exactly.
    """

    way: str
    name: str
    state: Ints
    stages: Ints

    @classmethod
    def of(cls, way: str, name: str, state: Ints, stages: Ints | int) -> Labels:
        """States numbered anew; `stages` as allowed to each arrival."""
        used, state = np.unique(state, return_inverse=True)
        most = np.ones(len(used), dtype=np.int64)
        np.maximum.at(most, state, stages)
        return cls(way, name, state, most)


class Surroundings:
    """What is around each arrival, from the gaps that follow arrivals, in mean gaps, all > 0; and the five loads."""

    def __init__(self, gaps: Floats, loads: tuple[float, ...] = LOADS) -> None:
        self.gaps, self.loads = gaps, loads

    def labels(self, order: int) -> Iterator[Labels]:
        """All ways to sort the arrivals into states with at most so many phases."""
        yield Labels.of(CLUSTERED, "one state", np.zeros(len(self.gaps), dtype=np.int64), order)
        for clusters in CLUSTERS:
            if clusters <= order:
                yield Labels.of(CLUSTERED, f"{clusters} clusters", self._clusters(clusters), CLUSTER_STAGES)
        for parts in COARSE:
            run = runs(self.losses, float(np.partition(self.losses, -parts - 1)[-parts - 1]))
            name, cluster = f"{order // parts} clusters in {parts} runs", self._clusters(order // parts)
            yield Labels.of(COARSELY, name, run * order + cluster, CLUSTER_STAGES)
        told = {parts: self._told_apart(parts) for parts in TELLING_APART}
        for least in RUNS_APART:
            run = runs(self.losses, least)
            for parts, classes in ((p, c) for p in TELLING_APART for c in CLASSES if c * p <= order and c < run[-1]):
                state, stages = self._classes(run, classes, order // parts)
                name = f"{classes} classes of {run[-1] + 1} runs" + (f" in {parts} parts" if parts > 1 else "")
                yield Labels.of(CLASSED, name, state * parts + told[parts], stages)
        for share in IN_ORDER:
            number = int(share * order)
            run = np.arange(len(self.gaps)) * number // len(self.gaps)
            yield Labels.of(ORDERED, f"the trace in order, {number} runs", *self._classes(run, number, order))

    @cached_property
    def losses(self) -> Floats:
        """At which loss runs are joined."""
        from qtheory.arrivals.runs import losses  # numba loads here

        return losses(self.gaps)

    @cached_property
    def before(self) -> Floats:
        """Backlogs that each arrival finds, a row for each load."""
        from qtheory.arrivals.first_come import backlogs  # numba loads here

        return np.array([backlogs(self.gaps, load) for load in self.loads])

    @cached_property
    def described(self) -> Floats:
        """A row for each arrival: backlogs before and after at each load, and the gap."""
        from qtheory.arrivals.first_come import backlogs

        after = [backlogs(self.gaps[::-1], load)[::-1] for load in self.loads]
        return np.column_stack(
            [_standardized(np.log1p(x / self.loads[0] * LOADS[0])) for x in (*self.before, *after)] + [self.log_gap]
        )

    @cached_property
    def log_gap(self) -> Floats:
        """Logarithm of each gap, standardized."""
        return _standardized(np.log(self.gaps))

    def span(self, before: int, after: int) -> Floats:
        """Logarithm of the time of so many gaps before an arrival and after it, standardized; mirrored at the ends."""
        most = before + after
        until = np.concatenate([[0.0], np.cumsum(np.pad(self.gaps, most, mode="reflect"))])
        at = np.arange(len(self.gaps)) + most
        return _standardized(np.log(until[at + after] - until[at - before]))

    def features(self, state: Ints) -> Floats:
        """Of each state, a row: means of the gap, the time of `NEAR` gaps each way, and backlogs at three loads."""
        number, loads = np.bincount(state), len(self.loads)
        backlogs = [self.described[:, i] + self.described[:, loads + i] for i in (0, loads // 2, loads - 1)]
        columns = [self.log_gap, self.span(NEAR, NEAR), *map(_standardized, backlogs)]
        return np.column_stack([np.bincount(state, column) / number for column in columns])

    def _clusters(self, clusters: int) -> Ints:
        previous = 0.5 * np.roll(self.log_gap, 1)
        return _nearest(np.column_stack([self.described, previous]), clusters)

    def _told_apart(self, parts: int) -> Ints:
        """By the gaps around."""
        if parts == 1:
            return np.zeros(len(self.gaps), dtype=np.int64)
        spans = (self.span(0, 1), 0.7 * self.span(1, 0), 0.7 * self.span(0, 4), 0.5 * self.span(4, 0))
        return _nearest(np.column_stack(spans), parts)

    def _classes(self, run: Ints, classes: int, budget: int) -> tuple[Ints, Ints]:
        """Class and stage of each arrival, and the Erlang stages that its gap may have."""
        number, length = np.bincount(run), np.bincount(run, self.gaps)
        start = np.cumsum(number) - number
        if classes < len(number):
            shape = np.column_stack([_standardized(np.log(number)), _standardized(np.log(length / number))])
            around = [NEIGHBOUR * np.roll(shape, shift, axis=0) for shift in (1, -1)]
            kind = _nearest(np.column_stack([shape, *around, BACKLOG * self.described[start, :-1]]), classes)
        else:
            kind = np.arange(len(number))
        net, backlog = self.loads[WEIGHED] * number - length, self.before[WEIGHED][start]
        moved = np.where(net > 0.0, net, np.minimum(-net, backlog))
        stages = _allotted(np.bincount(kind, moved**2).astype(np.float64), budget)
        usual = np.array([np.median(number[kind == k]) for k in range(len(stages))]).astype(np.int64)
        positions = np.minimum(stages, np.maximum(usual, 1))
        at = (np.arange(len(run)) - start[run]) * positions[kind[run]] // number[run]
        return (np.cumsum(positions) - positions)[kind[run]] + at, (stages // positions)[kind[run]]


def _allotted(variance: Floats, budget: int) -> Ints:
    """Stages of each class that leave the least Σ variance/stages, `budget` in all and one at least."""
    stages = np.ones(len(variance), dtype=np.int64)
    gains = [(-x / 2.0, i) for i, x in enumerate(variance)]
    heapq.heapify(gains)
    for _ in range(budget - len(variance)):
        _, i = gains[0]
        stages[i] += 1
        heapq.heapreplace(gains, (-variance[i] / (stages[i] * (stages[i] + 1.0)), i))
    return stages


def _nearest(rows: Floats, clusters: int) -> Ints:
    """Cluster of each row, without a hole."""
    from scipy.cluster.vq import kmeans2, vq

    rng = np.random.default_rng(0)
    seen = rows[np.sort(rng.permutation(len(rows))[:SEEN_BY_KMEANS])]
    apart = seen + ALIKE * rng.standard_normal(seen.shape)  # where fewer differ than there are to be clusters
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an empty cluster is left out below
        centres, _ = kmeans2(apart, clusters, iter=KMEANS_STEPS, minit="++", rng=np.random.default_rng(0))
    return np.asarray(np.unique(vq(rows, centres)[0], return_inverse=True)[1], dtype=np.int64)


def _standardized(column: Floats) -> Floats:
    spread = float(column.std())
    return np.asarray((column - column.mean()) / (spread or 1.0))
