"""How many requests are present, in all and of each disk, in any of the product forms.

All of them have P(n_1, ..., n_N) ∝ F(Σ n_i) Π g_i[n_i]. With G the product of the disks' series and r[n] = G[n+1]/G[n]
its ratios, the total is a birth-death chain, P(n+1)/P(n) = r[n] F(n+1)/F(n), and splitting the total (see
`markov/merging.py`) gives the law of each disk's own number. A saturated disk always has the same number present: it
enters as a constant.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from qtheory.arrivals import Closed
from qtheory.engine import Disk
from qtheory.markov.birth_death import stationary
from qtheory.markov.merging import Group, merge_all, split_all
from qtheory.solve.steady_state import DiskState

OUT_OF_REACH = 1e-80
"""Totals whose probability is below this fraction of the largest are left out."""
DIRECTLY = 1 << 11
"""Longest law that is added to another term by term."""


@dataclass(frozen=True, eq=False)
class Population:
    """Numbers present: `pmf` of the total; `ratios` r of unsaturated disks; `constant` for the others."""

    pmf: NDArray[np.float64]
    constant: int
    ratios: NDArray[np.float64]
    disks: tuple[Disk, ...]
    root: Group | None
    kinds: tuple[int, ...]

    def split(self, weights: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """Σ_n weights[n] P(n_i = k | n), k = 0..most, for each disk."""
        if not weights.any():
            return [np.zeros(disk.most + 1) for disk in self.disks]
        weights = np.where(weights < OUT_OF_REACH * weights.max(), 0.0, weights)
        found = {} if self.root is None else split_all(self.root, weights[self.constant :])
        kinds = iter(self.kinds)
        laws = []
        for disk in self.disks:
            law = np.zeros(disk.most + 1)
            if disk.saturated:
                law[-1] = weights.sum()
            else:
                part = found[next(kinds)]
                law[: len(part)] = part
            laws.append(law)
        return laws

    @property
    def rounding(self) -> float:
        """Relative rounding error: a unit for each operation on the way to the furthest probability that counts."""
        counting = int(np.count_nonzero(self.pmf > 1e-17 * self.pmf.max()))
        depth = 0 if self.root is None else self.root.depth
        operations = 16.0 + 4.0 * counting + 32.0 * depth * np.sqrt(len(self.pmf))
        if self.root is not None and not self.root.concave:
            # Logarithms lose as many units as they are large.
            operations += 8.0 * depth * float(np.abs(np.cumsum(np.log(self.ratios))).max())
        return float(2.0**-52 * operations)


def population(
    disks: tuple[Disk, ...],
    series: Sequence[NDArray[np.float64]],
    factor: NDArray[np.float64],
    reach: int | None = None,
) -> Population:
    """Numbers present when disk i's series has the ratios `series[i]` and F(n+1)/F(n) = factor[n − constant].

    `series` holds one entry for each disk that is not saturated; `factor` as many as the total can grow. `reach` is the
    largest total to keep; None: what can matter. Raises ValueError as `merge_all`.
    """
    constant = sum(disk.most for disk in disks if disk.saturated)
    if not series:
        pmf = np.zeros(constant + 1)
        pmf[constant] = 1.0
        return Population(pmf, constant, np.zeros(0), disks, None, ())
    reach = _reach(series, factor) if reach is None else min(reach, len(factor))
    # Rounded up, to be found again when another queue length asks for a little more.
    quarter = max(1, 2 ** (reach.bit_length() - 3))
    root, kinds = _merged(tuple(s.tobytes() for s in series), -(-reach // quarter) * quarter)
    ratios = root.ratios[:reach]
    free = stationary(ratios, 1.0 / factor[: len(ratios)])
    return Population(np.concatenate([np.zeros(constant), free]), constant, ratios, disks, root, kinds)


@lru_cache(maxsize=4)
def _merged(series: tuple[bytes, ...], most: int) -> tuple[Group, tuple[int, ...]]:
    """The disks merged, for totals up to `most`: the same for all queue lengths that a search asks about."""
    # Copied, for kernels are compiled anew for arrays that cannot be written.
    root, kinds = merge_all([np.frombuffer(s).copy() for s in series], most)
    return root, tuple(kinds)


def _reach(series: Sequence[NDArray[np.float64]], factor: NDArray[np.float64]) -> int:
    """Largest total that can matter, from (n+1) r[n] <= ρ = Σ_i max_k k r_i[k−1].

    For (n+1) G[n+1] = Σ_i Σ_k k g_i[k] G_{−i}[n+1−k], and k g_i[k] = k r_i[k−1] g_i[k−1].
    """
    bound = sum(float(np.max(np.arange(1, len(s) + 1) * s)) for s in series)
    height = np.cumsum(np.log(bound * factor / np.arange(1, len(factor) + 1)))
    peak = int(np.argmax(height))
    beyond = np.flatnonzero(height[peak:] < max(height[peak], 0.0) + np.log(OUT_OF_REACH))
    return len(factor) if len(beyond) == 0 else peak + int(beyond[0]) + 1


def independent_total(laws: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Law of the sum of independent numbers: equal ones by doubling, different ones in a balanced tree.

    Long laws are added by fast Fourier transforms, to an absolute error of 1e-15.

    >>> independent_total([np.array([0.5, 0.5])] * 3)
    array([0.125, 0.375, 0.375, 0.125])
    """
    level = []
    for key, copies in Counter(law.tobytes() for law in laws).items():
        power, total = np.frombuffer(key), np.ones(1)
        while copies:
            if copies % 2:
                total = _added(total, power)
            copies //= 2
            if copies:
                power = _added(power, power)
        level.append(total)
    while len(level) > 1:
        pairs = [_added(a, b) for a, b in zip(level[::2], level[1::2], strict=False)]
        level = pairs + level[2 * len(pairs) :]
    return level[0]


def _added(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    if min(len(a), len(b)) <= DIRECTLY:
        return np.asarray(np.convolve(a, b))
    from scipy.signal import fftconvolve

    return np.asarray(np.maximum(fftconvolve(a, b), 0.0))


def disk_state(
    disk: Disk,
    accepting: NDArray[np.float64],
    refused: NDArray[np.float64],
    waiting: NDArray[np.float64],
    throughput: float,
) -> DiskState:
    """One disk's quantities from the law of its number, parted by whether the engine accepts or refuses then.

    `waiting[k]` is the mean fraction of its k requests that wait, times P(n_i = k).
    """
    law = accepting + refused
    present = np.arange(disk.most + 1)
    lost = not isinstance(disk.arrivals, Closed)
    mean = float(law @ present)
    return DiskState(
        throughput=throughput,
        blocking=float(law[-1] + refused[:-1].sum()) if lost else 0.0,
        mean_wait=float(waiting @ present) / throughput,
        mean_response=mean / throughput,
        mean_in_system=mean,
        pmf=law,
        mean_guest_wait=disk.always_in_guest / throughput,
    )


def responding(disk: Disk, state: DiskState, wait: float, service: float, *, refused: bool) -> DiskState:
    """The disk's state with the mean wait that its requests are known to have, and their mean service.

    A guest that thinks, and is not `refused`, gets its throughput from that by Little's law: what is known of its
    response is closer than what is known of the number present where both are approximate.
    """
    response, throughput = wait + service, state.throughput
    if isinstance(disk.arrivals, Closed) and not disk.saturated and not refused:
        throughput = disk.arrivals.outstanding / (disk.arrivals.think_time + response)
    return replace(
        state, throughput=throughput, mean_wait=wait, mean_response=response, mean_in_system=throughput * response
    )


def total_blocking(disks: Sequence[Disk], states: Sequence[DiskState]) -> float:
    """Fraction of all arrivals refused: an open disk offers its rate, a closed one only what it completes."""
    offered = lost = 0.0
    for disk, state in zip(disks, states, strict=True):
        if not isinstance(disk.arrivals, Closed):
            offered += disk.arrivals.rate
            lost += disk.arrivals.rate * state.blocking
        else:
            offered += state.throughput
    return lost / offered
