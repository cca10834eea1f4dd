"""How many of n requests belong to which disk: products of log-concave power series, without overflow or cancellation.

Every product form here has the shape

    P(n_1, ..., n_N) ∝ F(n_1 + ... + n_N) · g_1[n_1] ··· g_N[n_N],

so it needs the coefficients G[n] = Σ_{n_1+...+n_N = n} Π g_i[n_i] and, back down, the law of each n_i given n. The
coefficients span thousands of orders of magnitude, so nobody ever forms them. A group of disks is represented by its
*ratios* r[n] = G[n+1] / G[n], and all its work is done with ratios:

* merge: C[n] = Σ_k A[k] B[n−k]. When A and B are log-concave (ratios never rise) the terms rise to one peak and fall
  away from it, and the peak moves by 0 or 1 as n grows by 1. So march along with the peak, add terms outwards, each
  from its neighbour by one ratio, until they are negligible; C[n+1]/C[n] is the step of the peak times the quotient
  of the two sums.
* split: given the law of the number n in a merged group, the numbers in its two parts have the conditional law
  A[k] B[n−k] / C[n], which is the same terms again. From the root down this gives every disk's own law.

All terms are positive: the relative error of each result is a few units in the last place times the number of terms
across a peak. Products of log-concave series are log-concave (Karlin 1968, chapter 8), so the property survives.
Cost for n up to M: O(M^1.5), against O(M²) for plain convolution, and no FFT, whose error is absolute.

A measured rate curve with a dip makes a series that is not log-concave and may have several peaks. Then every term is
added, each from the logarithms of the coefficients, at O(M²).

For disks with arrival rate λ(k) when k are present, g[k] = Π_{j<k} λ(j) / k!, and (n+1) · r[n] is the total arrival
rate given that n are present.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

NEGLIGIBLE = 1e-30
"""Terms below this fraction of their peak are left out, so a probability of 1e-12 keeps 18 digits."""

MOST_MERGED = 1 << 19
"""Largest total of several disks that is merged: some ten seconds."""


def arrival_rates(ratios: NDArray[np.float64]) -> NDArray[np.float64]:
    """Total arrival rate (n+1) · r[n] of disks with n = 0, 1, ... present, 0 when no more fit.

    >>> arrival_rates(np.array([2.0, 0.5]))
    array([2., 1., 0.])
    """
    return np.append(ratios * np.arange(1, len(ratios) + 1), 0.0)


@dataclass(frozen=True, eq=False)
class Group:
    """Some disks taken together: the ratios of their series, and the two groups it was merged from.

    `kind` numbers the distinct disk a leaf stands for; `alike` says that both parts hold only copies of one disk;
    `concave` that the ratios never rise.
    """

    ratios: NDArray[np.float64]
    left: Group | None = None
    right: Group | None = None
    kind: int = -1
    alike: bool = False
    depth: int = field(init=False)
    concave: bool = field(init=False)

    def __post_init__(self) -> None:
        if self.left is None or self.right is None:
            depth, concave = 0, bool(np.all(np.diff(self.ratios) <= 0))
        else:
            depth = 1 + max(self.left.depth, self.right.depth)
            concave = self.left.concave and self.right.concave
        object.__setattr__(self, "depth", depth)
        object.__setattr__(self, "concave", concave)


def merge_all(series: Sequence[NDArray[np.float64]], most: int) -> tuple[Group, list[int]]:
    """Merge the series of all disks, given as ratios, for totals up to `most`.

    Returns the root group and, for each disk, the kind that `split_all` will report it under. Equal disks are merged
    by doubling, different ones in a balanced tree. Raises ValueError where several have a total above `MOST_MERGED`.
    """
    total = min(sum(map(len, series)), most)
    if len(series) > 1 and total > MOST_MERGED:
        raise ValueError(
            f"engine must have at most {MOST_MERGED} requests present to be solved; its {len(series)} disks "
            f"have up to {total}: give them smaller buffers, or simulate it"
        )
    keys = [s.tobytes() for s in series]
    copies = Counter(keys)
    kinds = {key: kind for kind, key in enumerate(copies)}
    return _merged(tuple(copies.items()), most), [kinds[key] for key in keys]


@lru_cache(maxsize=4)
def _merged(copies: tuple[tuple[bytes, int], ...], most: int) -> Group:
    """The series given as bytes, each so many times, merged: the same for every queue length, so it is kept."""
    level = [_power(Group(np.frombuffer(key).copy(), kind=kind), n, most) for kind, (key, n) in enumerate(copies)]
    while len(level) > 1:
        pairs = [merge(a, b, most) for a, b in zip(level[::2], level[1::2], strict=False)]
        level = pairs + level[2 * len(pairs) :]
    return level[0]


def merge(a: Group, b: Group, most: int, *, alike: bool = False) -> Group:
    """Merge two groups for totals up to `most`."""
    if a.concave and b.concave:
        # Rounding may leave a rise in the last digits; concavity is a theorem here, so restore it.
        ratios = np.minimum.accumulate(_merge(a.ratios, b.ratios, most, NEGLIGIBLE))
    else:
        ratios = _merge_any(_logarithms(a.ratios), _logarithms(b.ratios), most)
    return Group(ratios, a, b, alike=alike)


def split_all(root: Group, law: NDArray[np.float64]) -> dict[int, NDArray[np.float64]]:
    """Law of the number present of each kind of disk, given the law (or any weights) of the total.

    `law[n]` is the weight of a total of n, 0 <= n <= the number of the root's ratios. Linear in `law`, so weights that
    are not probabilities give Σ_n law[n] · P(n_i = k | n).
    """
    laws: dict[int, NDArray[np.float64]] = {}
    todo = [(root, law)]
    while todo:
        group, weights = todo.pop()
        if group.left is None or group.right is None:
            laws[group.kind] = weights
            continue
        a, b = group.left, group.right
        if a.concave and b.concave:
            of_a, of_b = _split(a.ratios, b.ratios, weights, NEGLIGIBLE)
        else:
            of_a, of_b = _split_any(_logarithms(a.ratios), _logarithms(b.ratios), weights)
        todo.append((a, of_a))
        if not group.alike:
            todo.append((b, of_b))
    return laws


def _power(leaf: Group, copies: int, most: int) -> Group:
    """Group of equal disks, by halving; both halves hold the same kind, so going down one of them is enough."""
    made: dict[int, Group] = {1: leaf}

    def power(n: int) -> Group:
        if n not in made:
            made[n] = merge(power(n // 2), power(n - n // 2), most, alike=True)
        return made[n]

    return power(copies)


def _logarithms(ratios: NDArray[np.float64]) -> NDArray[np.float64]:
    """log G[0..], with G[0] = 1, summed in extended precision: each is right to half a unit in its last place."""
    logs = np.log(ratios.astype(np.longdouble))
    return np.concatenate([[0.0], np.cumsum(logs).astype(float)])


@njit(cache=True)
def _step(a, b, n, peak):  # type: ignore[no-untyped-def]
    """Largest term of C[n] over that of C[n−1], and where it is: as many of A as before, or one more."""
    step_a = a[peak] if peak < len(a) else 0.0
    step_b = b[n - 1 - peak] if n - 1 - peak < len(b) else 0.0
    return (step_a, peak + 1) if step_a > step_b else (step_b, peak)


@njit(cache=True)
def _around_peak(a, b, inverse_a, inverse_b, n, peak, negligible, terms):  # type: ignore[no-untyped-def]
    """Terms A[k] B[n−k] over the largest of them, from the first to the last that count; and their sum."""
    terms[peak] = total = term = 1.0
    last = peak
    while last < len(a) and last < n and term >= negligible:
        term *= a[last] * inverse_b[n - last - 1]
        last += 1
        terms[last] = term
        total += term
    term = 1.0
    first = peak
    while first > 0 and n - first < len(b) and term >= negligible:
        term *= b[n - first] * inverse_a[first - 1]
        first -= 1
        terms[first] = term
        total += term
    return first, last, total


@njit(cache=True)
def _merge(a, b, most, negligible):  # type: ignore[no-untyped-def]
    """Ratios of the product of two log-concave series."""
    size = min(len(a) + len(b), most)
    inverse_a, inverse_b = 1.0 / a, 1.0 / b
    terms = np.empty(min(len(a), size) + 1)
    ratios = np.empty(size)
    peak = 0
    previous = 1.0
    for n in range(1, size + 1):
        step, peak = _step(a, b, n, peak)
        _, _, total = _around_peak(a, b, inverse_a, inverse_b, n, peak, negligible, terms)
        ratios[n - 1] = step * (total / previous)
        previous = total
    return ratios


@njit(cache=True)
def _split(a, b, weights, negligible):  # type: ignore[no-untyped-def]
    """Weights of the numbers in the two parts of a log-concave product, given weights of their sum."""
    inverse_a, inverse_b = 1.0 / a, 1.0 / b
    of_a = np.zeros(min(len(a) + 1, len(weights)))
    of_b = np.zeros(min(len(b) + 1, len(weights)))
    terms = np.empty(len(of_a))
    peak = 0
    for n in range(len(weights)):
        if n > 0:
            _, peak = _step(a, b, n, peak)
        if weights[n] == 0.0:
            continue
        first, last, total = _around_peak(a, b, inverse_a, inverse_b, n, peak, negligible, terms)
        scale = weights[n] / total
        for k in range(first, last + 1):
            of_a[k] += scale * terms[k]
            of_b[n - k] += scale * terms[k]
    return of_a, of_b


@njit(cache=True)
def _all_terms(a, b, n, terms):  # type: ignore[no-untyped-def]
    """Terms A[k] B[n−k] over the largest of them, from logarithms; which there are, their sum, and the largest."""
    first, last = max(0, n - len(b) + 1), min(n, len(a) - 1)
    peak = -np.inf
    for k in range(first, last + 1):
        peak = max(peak, a[k] + b[n - k])
    total = 0.0
    for k in range(first, last + 1):
        terms[k] = np.exp(a[k] + b[n - k] - peak)
        total += terms[k]
    return first, last, total, peak


@njit(cache=True)
def _merge_any(a, b, most):  # type: ignore[no-untyped-def]
    """Ratios of the product of any two positive series, given as logarithms."""
    size = min(len(a) + len(b) - 2, most)
    terms = np.empty(len(a))
    ratios = np.empty(size)
    previous_peak, previous_total = 0.0, 1.0
    for n in range(1, size + 1):
        _, _, total, peak = _all_terms(a, b, n, terms)
        ratios[n - 1] = np.exp(peak - previous_peak) * (total / previous_total)
        previous_peak, previous_total = peak, total
    return ratios


@njit(cache=True)
def _split_any(a, b, weights):  # type: ignore[no-untyped-def]
    """Weights of the numbers in the two parts of any product, given weights of their sum."""
    of_a = np.zeros(min(len(a), len(weights)))
    of_b = np.zeros(min(len(b), len(weights)))
    terms = np.empty(len(a))
    for n in range(len(weights)):
        if weights[n] == 0.0:
            continue
        first, last, total, _ = _all_terms(a, b, n, terms)
        scale = weights[n] / total
        for k in range(first, last + 1):
            of_a[k] += scale * terms[k]
            of_b[n - k] += scale * terms[k]
    return of_a, of_b
