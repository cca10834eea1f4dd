"""The chain of a line shared by requests of different laws: who waits, and the phases of who is served.

The disks are parted into sides, each with one phase-type law. Followed are how many requests of each side wait in the
line and how many of the busy servers are in each phase (`markov/phase_counts.py`); the phases of the laws stand side by
side, so that they tell how many of each side are in service. A side with a requests present sends more at the rate
E[λ | a] of its own product form. When a server is free the next request is one of a side's with probability l/m, l of
the m in the line being its: every order of the line is taken as equally likely. That is all that is approximated where
the disks of a side are alike.

The chain is solved as in `different_disks.py`: Gauss-Seidel sweeps put right how the line is shared, given the total
and the phases; the exact solution for total and phases, given how the line is shared, does what sweeps would take long
for (Takahashi, 1975).

Of mean waits two estimates come out: the mean time through what arrivals find, and the mean number in the line over the
throughput (Little). They differ by what the assumed order of the line misses: while slow requests are served, those of
a fast disk crowd in at its head, and when its buffer is full, only the slow ones' still come. So the line's end, which
is what arrivals find, is told right of the slow ones, and the first estimate is used for all sides but the fastest; for
that the second is. On small engines, solved exactly, that is within 3 % where the other way round misses by 18 %.

For the law of a wait the line is not followed request by request: arrivals are parted by how much work a request of the
line has in the mean, and in each part the next is drawn by the part's shares.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import block_diag
from scipy.sparse import coo_array, csc_array, csr_array, diags_array, eye_array, kron
from scipy.sparse.linalg import splu
from scipy.special import gammaln

from qtheory.engine import Disk
from qtheory.laws import Law, PhaseType
from qtheory.markov.level_chain import stationary
from qtheory.markov.merging import arrival_rates, merge_all, split_all
from qtheory.markov.phase_counts import PhaseCounts
from qtheory.markov.sojourn import Quantity
from qtheory.markov.sweeps import gauss_seidel
from qtheory.markov.uniformization import at_ticks
from qtheory.solve.different_disks import CLOSE, MOST_ROUNDS, SWEEPS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
EDGES = (0.3, 0.6, 0.85, 0.96)
"""Between the parts of arrivals by the work in the line, as fractions of all."""
TAIL = 1e-12
LARGEST_WORK = 2e10
"""Of the law of a kind's wait: products of numbers, about a nanosecond each."""


class Kind(NamedTuple):
    """Equal disks with the same law."""

    members: tuple[int, ...]
    disk: Disk
    law: Law


class Side:
    """Kinds of disks taken to have one law, and to share the side's requests in product form.

    With a of them present `rates[k][a]` is the arrival rate of kind k, `birth[a]` of all, and G[a] = e^height[a].
    """

    def __init__(self, kinds: Sequence[Kind], law: PhaseType, top: int) -> None:
        self.kinds, self.law = tuple(kinds), law
        series = [k.disk.arrival_rates() / np.arange(1, k.disk.most + 1) for k in kinds for _ in k.members]
        self.group, of_disk = merge_all(series, top)
        self.leaves = [of_disk[i] for i in np.cumsum([0, *(len(kind.members) for kind in kinds[:-1])])]
        ratios = self.group.ratios[:top]
        self.most = len(ratios)
        self.birth = np.zeros(top + 1)
        self.birth[: self.most] = arrival_rates(ratios)[:-1]
        self.height = np.full(top + 1, -math.inf)
        self.height[: self.most + 1] = np.concatenate([[0.0], np.cumsum(np.log(ratios))])

    @cached_property
    def rates(self) -> Floats:
        rates = np.tile(self.birth, (len(self.kinds), 1))
        for a in range(self.most if len(self.kinds) > 1 else 0):
            split = split_all(self.group, np.eye(1, self.most + 1, a)[0])
            for k, (kind, leaf) in enumerate(zip(self.kinds, self.leaves, strict=True)):
                accepting = split[leaf][: kind.disk.most]
                rates[k, a] = len(kind.members) * (accepting @ kind.disk.arrival_rates()[: len(accepting)])
        return rates

    def disk_law(self, k: int, weights: Floats) -> Floats:
        """Law of the number present of a disk of kind k, for weights of the side's number."""
        law = np.zeros(self.kinds[k].disk.most + 1)
        if weights.any():
            found = split_all(self.group, weights[: self.most + 1])[self.leaves[k]]
            law[: len(found)] = found
        return law


class Part(NamedTuple):
    """A kind of disks in steady state."""

    kind: Kind
    throughput: float
    """Of all its disks [1/s]."""
    wait: float
    """Mean wait [s]."""
    accepting: Floats
    """P(a disk has k present), at totals where the engine accepts."""
    full: Floats
    """The same where it refuses all."""
    waits: Waits


@dataclass(frozen=True, eq=False)
class Waits:
    """Law of a kind's wait: which of the `steps` it sees, for how many completions, in which phases."""

    found: Floats
    """For each step, as `line` in `PhaseServers`."""
    stay: csr_array
    steps: Sequence[csr_array]
    leaving: Floats

    def sf(self, quantity: Quantity, t: float) -> float:
        """P(wait > t)."""
        clock, waiting = self._waiting
        return at_ticks(clock * t, waiting)

    @cached_property
    def _waiting(self) -> tuple[float, Floats]:
        """Clock rate; probability to be in the line after each tick."""
        from qtheory.markov.phase_line import follow

        clock = float(self.leaving.max())
        longest = max((len(np.flatnonzero(line.sum(axis=1) > TAIL)) for line in self.found), default=0)
        # until the tail is reached, some thirty of the slowest phases go by, and the line
        ticks = clock * (30.0 + longest) / float(self.leaving.min())
        work = ticks * longest * len(self.found) * (self.stay.nnz + max(step.nnz for step in self.steps))
        if work > LARGEST_WORK:
            raise ValueError(f"the waits take {ticks:.1e} steps of a chain to follow, too many here: use qt.simulate")
        stay = csr_array(self.stay / clock + diags_array(1.0 - self.leaving / clock))
        total = np.zeros(1)
        for line, step in zip(self.found, self.steps, strict=True):
            used = np.flatnonzero(line.sum(axis=1) > TAIL)
            if len(used):
                waiting, _ = follow(line[: int(used[-1]) + 1], stay, csr_array(step / clock), TAIL)
                longer = max(len(total), len(waiting))
                total = np.pad(total, (0, longer - len(total))) + np.pad(waiting, (0, longer - len(waiting)))
        return clock, total


class MixedChain:
    """The chain of the sides: `joint[n][row]` is P(n present, this many of each side's in the line, phases).

    `lines[m]` has a row for each way in which m requests in the line may be the sides'.
    """

    def __init__(self, sides: Sequence[Side], servers: int, top: int) -> None:
        self.sides, self.servers, self.top = tuple(sides), servers, top
        T = block_diag(*(side.law.T for side in sides))
        of_phase = np.repeat(np.arange(len(sides)), [len(side.law.alpha) for side in sides])
        alpha = np.concatenate([side.law.alpha for side in sides])
        by_side = [PhaseCounts(alpha * (of_phase == g), T) for g in range(len(sides))]
        self.counts = by_side[0]
        self.starts = [[side.start(n) for side in by_side] for n in range(servers)]
        self.finishes = [csr_array((1, 0)), *(self.counts.finish(n) for n in range(1, servers + 1))]
        self.internals = [self.counts.internal(n) for n in range(servers + 1)]
        self.succeed = [csr_array(self.finishes[servers] @ start) for start in self.starts[-1]]
        """Rates at which one of all servers finishes and a request of each side starts."""
        self._dense = [rates.toarray() for rates in self.succeed]
        member = of_phase == np.arange(len(sides))[:, None]
        self.served = [(self.counts.states(n) @ member.T).T for n in range(servers + 1)]
        """How many of each side's are in service, by state of the phases."""
        self.lines, self._joined = _lines([side.most for side in sides], max(top - servers, 0))
        self._leaving, self._incoming, self._begin = self._rates()
        self.joint = self._solved()

    def waiting(self, n: int) -> int:
        """Requests in the line with n present."""
        return max(n - self.servers, 0)

    def present(self, n: int) -> list[Ints]:
        """Requests of each side: rows for the line, columns for the phases."""
        busy = self.served[min(n, self.servers)]
        return [line[:, None] + served for line, served in zip(self.lines[self.waiting(n)].T, busy, strict=True)]

    def coming(self, n: int) -> list[Floats]:
        """Arrival rates of the sides with n present, likewise."""
        return [(n < self.top) * side.birth[a] for side, a in zip(self.sides, self.present(n), strict=True)]

    def heads(self, n: int) -> list[Floats]:
        """Chance that the next to start is each side's, for each row."""
        return list(self.lines[self.waiting(n)].T / max(self.waiting(n), 1))

    def _solved(self) -> list[Floats]:
        split = [self._by_product_form(n) for n in range(self.top + 1)]
        x = np.concatenate([(p * level).ravel() for p, level in zip(split, self._levels(split), strict=True)])
        parts = [
            x[self._begin[n] : self._begin[n + 1]].reshape(len(self.lines[self.waiting(n)]), -1)
            for n in range(self.top + 1)
        ]
        for _ in range(MOST_ROUNDS):
            before = x.copy()
            for _ in range(SWEEPS):
                gauss_seidel(x, self._incoming.indptr, self._incoming.indices, self._incoming.data, self._leaving)
            exact = self._levels([_shares(part) for part in parts])
            for part, level in zip(parts, exact, strict=True):
                part *= level / np.maximum(part.sum(axis=0), 1e-300)
            if np.abs(x - before).sum() < CLOSE:
                return parts
        raise ValueError(f"the split of the disks has not settled in {MOST_ROUNDS} rounds: use qt.simulate")

    def _by_product_form(self, n: int) -> Floats:
        """P(line | n, phases), were all laws one and exponential."""
        height = np.zeros(())
        for side, a, line in zip(self.sides, self.present(n), self.lines[self.waiting(n)].T, strict=True):
            height = height + gammaln(a + 1) - gammaln(line + 1)[:, None] + side.height[np.minimum(a, self.top)]
        peak = height.max(axis=0)
        return _shares(np.exp(height - np.where(np.isfinite(peak), peak, 0.0)))

    def _levels(self, split: list[Floats]) -> list[Floats]:
        """P(n, phases) for P(line | n, phases)."""
        rates = [[(rate * p).sum(axis=0) for rate in self.coming(n)] for n, p in enumerate(split)]
        heads = [[head @ p for head in self.heads(n)] for n, p in enumerate(split)]

        def up(n: int) -> Floats:
            if n >= self.servers:
                return np.diag(np.sum(rates[n], axis=0))
            return np.asarray(
                _sum(r[:, None] * start.toarray() for r, start in zip(rates[n], self.starts[n], strict=True))
            )

        def down(n: int) -> Floats | csr_array:
            if n <= self.servers:
                return self.finishes[n]
            return np.asarray(_sum(head[:, None] * dense for head, dense in zip(heads[n], self._dense, strict=True)))

        return stationary(0, self.top, up, lambda n: self.internals[min(n, self.servers)], down, lambda n: n)

    def _rates(self) -> tuple[Floats, csr_array, Ints]:
        """What leaves each state, the rates into it, and where each level begins."""
        c = self.servers
        sizes = [self.served[min(n, c)].shape[1] for n in range(self.top + 1)]
        begin = np.concatenate([[0], np.cumsum([len(self.lines[self.waiting(n)]) * s for n, s in enumerate(sizes)])])
        rows, columns, values = [], [], []

        def enter(at: int, to: int, rates: Any) -> None:
            block = coo_array(rates)
            rows.append(block.row + begin[at])
            columns.append(block.col + begin[to])
            values.append(block.data)

        for n, size in enumerate(sizes):
            m = self.waiting(n)
            enter(n, n, kron(eye_array(len(self.lines[m])), self.internals[min(n, c)]))
            if 0 < n <= c:
                enter(n, n - 1, self.finishes[n])
            for g, rate in enumerate(self.coming(n) if n < self.top else ()):
                if n < c:
                    enter(n, n + 1, diags_array(rate[0]) @ self.starts[n][g])
                else:
                    before, after = self._joined[m][g]
                    to = (after[:, None] * size + np.arange(size)).ravel()
                    at = (before[:, None] * size + np.arange(size)).ravel()
                    shape = (len(self.lines[m]) * size, len(self.lines[m + 1]) * size)
                    enter(n, n + 1, coo_array((rate[before].ravel(), (at, to)), shape=shape))
            for g, head in enumerate(self.heads(n) if m else ()):
                before, after = self._joined[m - 1][g]
                shape = (len(self.lines[m]), len(self.lines[m - 1]))
                enter(n, n - 1, kron(coo_array((head[after], (after, before)), shape=shape), self.succeed[g]))
        everything = np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))
        rates = csr_array(everything, shape=(int(begin[-1]),) * 2)
        rates.eliminate_zeros()
        return np.asarray(rates.sum(axis=1)).ravel(), csr_array(rates.T), begin

    def through(self) -> Iterator[Floats]:
        """Mean wait of a request that finds servers, servers + 1, ... present, by the line and the phases."""
        c = self.servers
        busy = splu(csc_array(diags_array(self.counts.leaving(c)) - self.internals[c]))
        times = np.zeros((0, self.served[c].shape[1]))
        for m in range(self.top - c + 1):
            later = np.ones((len(self.lines[m]), times.shape[1]))
            for g, head in enumerate(self.heads(m + c) if m else ()):
                before, after = self._joined[m - 1][g]
                later[after] += head[after, None] * (self.succeed[g] @ times[before].T).T
            times = busy.solve(later.T).T
            yield times

    def parts(self, *, refused: bool) -> list[Part]:
        """Each kind of disks; with `refused` the topmost total is one at which all arrivals are refused."""
        c = self.servers
        kinds = [(g, k) for g, side in enumerate(self.sides) for k in range(len(side.kinds))]
        flow, waits = np.zeros(len(kinds)), np.zeros(len(kinds))
        in_line, numbers = np.zeros(len(self.sides)), np.zeros((len(self.sides), 2, self.top + 1))
        bins, chances = self._bins()
        found = np.zeros((len(kinds), len(chances), max(self.top - c, 0) + 1, self.served[c].shape[1]))
        times = self.through()
        for n, part in enumerate(self.joint):
            present = self.present(n)
            in_line += part.sum(axis=1) @ self.lines[self.waiting(n)]
            for number, a in zip(numbers[:, int(refused and n == self.top)], present, strict=True):
                number += np.bincount(a.ravel(), weights=part.ravel(), minlength=self.top + 1)[: self.top + 1]
            if n == self.top:
                break
            through = next(times) if n >= c else None
            for i, (g, k) in enumerate(kinds):
                coming = self.sides[g].rates[k][present[g]] * part
                flow[i] += coming.sum()
                if through is not None:
                    waits[i] += float((coming * through).sum())
                    np.add.at(found[i, :, n - c], bins[n - c], coming)
        fastest = int(np.argmin([side.law.mean for side in self.sides]))
        of_side = np.array([g for g, _ in kinds])
        better = in_line[fastest] / waits[of_side == fastest].sum() if waits[of_side == fastest].any() else 1.0
        steps = [self._step(chance) for chance in chances]
        return [
            Part(
                self.sides[g].kinds[k],
                float(flow[i]),
                float(waits[i] / flow[i]) * (better if g == fastest else 1.0),
                self.sides[g].disk_law(k, numbers[g, 0]),
                self.sides[g].disk_law(k, numbers[g, 1]),
                Waits(found[i] / flow[i], self.internals[c], steps, self.counts.leaving(c)),
            )
            for i, (g, k) in enumerate(kinds)
        ]

    def _bins(self) -> tuple[list[Ints], Floats]:
        """For each length of the line, the bin of each row; for each bin, the chances of the sides to be next.

        As draws from its bin's chances a line of m varies more than it does: by the variance of m such draws. So the
        shares l/m are first moved towards their mean over the lines of this length until the variance is right.
        """
        means = np.array([side.law.mean for side in self.sides])
        lines = range(1, max(self.top - self.servers, 0) + 1)
        masses = [self.joint[self.servers + m].sum(axis=1) for m in lines]
        moved = []
        for m, mass in zip(lines, masses, strict=True):
            shares, weights = self.lines[m] / m, mass / max(float(mass.sum()), 1e-300)
            mean = weights @ shares
            drawn = float(mean @ (means - mean @ means) ** 2) / m  # no difference of squares: means may be equal
            spread = float(weights @ ((shares - mean) @ means) ** 2)
            moved.append(mean + math.sqrt(max(1.0 - drawn / spread, 0.0) if spread > 0.0 else 0.0) * (shares - mean))
        if not moved:
            return [np.zeros(1, dtype=np.int64)], np.eye(1, len(means))
        work, mass = np.concatenate(moved) @ means, np.concatenate(masses)
        order = np.argsort(work, kind="stable")
        below = np.cumsum(mass[order]) / mass.sum()
        edges = work[order][np.searchsorted(below, EDGES).clip(max=len(work) - 1)]
        bins = np.searchsorted(edges, work)
        chances = np.zeros((len(EDGES) + 1, len(means)))
        np.add.at(chances, bins, mass[:, None] * np.concatenate(moved))
        total = chances.sum(axis=1, keepdims=True)
        chances = np.where(total > 0.0, chances / np.maximum(total, 1e-300), 1.0 / len(means))
        ends = np.cumsum([len(x) for x in moved])[:-1]
        return [np.zeros(1, dtype=np.int64), *np.split(bins, ends)], chances

    def by_bin(self) -> list[tuple[list[Floats], csr_array]]:
        """For each bin of lines: P(n present, phases), and how finished requests are succeeded."""
        bins, chances = self._bins()
        found = []
        for b, chance in enumerate(chances):
            levels = [part[bins[self.waiting(n)] == b].sum(axis=0) for n, part in enumerate(self.joint)]
            found.append((levels, self._step(chance)))
        return found

    def _step(self, chances: Floats) -> csr_array:
        """Rates at which one of all servers finishes and is succeeded, the next drawn by these chances."""
        return csr_array(_sum(x * rates for x, rates in zip(chances, self.succeed, strict=True)))

    @property
    def pmf(self) -> Floats:
        """P(n present)."""
        return np.array([part.sum() for part in self.joint])


def _sum(terms: Iterable[Any]) -> Any:
    """Sum of matrices."""
    return reduce(operator.add, terms)


def _shares(part: Floats) -> Floats:
    """Each column divided by its sum; equal shares where nothing is."""
    total = part.sum(axis=0)
    return np.where(total > 0.0, part / np.where(total > 0.0, total, 1.0), 1.0 / len(part))


def _lines(most: Sequence[int], longest: int) -> tuple[list[Ints], list[list[tuple[Ints, Ints]]]]:
    """How the requests of a line may be shared by sides that have at most `most`; rows for 0, 1, ..., longest.

    And for each length and side which rows become which when one of the side's joins.
    """
    heads = np.indices([min(x, longest) + 1 for x in most[:-1]]).reshape(len(most) - 1, -1).T
    used = heads.sum(axis=1)
    lines = []
    for m in range(longest + 1):
        fits = heads[(used <= m) & (used >= m - most[-1])]
        lines.append(np.column_stack([fits, m - fits.sum(axis=1)]))
    strides = (longest + 2) ** np.arange(len(most))[::-1]
    joined: list[list[tuple[Ints, Ints]]] = []
    for line, longer in pairwise(lines):
        codes = longer @ strides
        joined.append([])
        for stride in strides:
            at = np.minimum(np.searchsorted(codes, line @ strides + stride), len(codes) - 1)
            before = np.flatnonzero(codes[at] == line @ strides + stride)
            joined[-1].append((before, at[before]))
    return lines, joined
