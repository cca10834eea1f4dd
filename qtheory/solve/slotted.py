"""Totals under a constant service time, seen once every service time.

Whoever is in service at a time t is gone a service time later, and nobody else is: with n present at t, c servers and
the service time as the unit,

    n(t + 1) = (n(t) − c)^+ + A,

where A is what is accepted meanwhile (Crommelin, 1932). Without a limit A is Poisson, and that is exact. Where buffers
fill, A depends on how many are present in between, so on when those in service leave. Given n(t) their b = min(n, c)
residual service times are taken as independent, with the distribution function

    g(s) = s + τ s (1 − s),    τ = ν(n)/b − 1,

which is uniform, but for a tilt that gives completions the rate ν(n) at the start: the rate that the balance of the
totals asks for, ν(n) p(n) = Λ(n−1) p(n−1). A full buffer has been filling, so its requests are older than others. The
number that has left by s has mean b g and variance b g (1 − g); its path is taken as b g(s) + z √(b g (1 − g)) with the
same z throughout, at three values of z (Gauss and Hermite). As ν follows from the chain, it is iterated.

Then Little's law is imposed on the servers: p(n) is multiplied by 1 + θ (1 − Λ(n)/max Λ), with θ such that what is
accepted in a service time is the mean number of busy servers. `validation/phase_type_fits.py` has the errors.

The paths are of fluid: they know that so many have left, but not at which moment the last of them did. Where arrivals
follow departures within moments, from guests that hardly think or at a buffer that is never below full for long, that
moment is all that decides how many are present, and the law comes out wrong by orders of magnitude. It shows in
Little's law before that is imposed: a law which misses it by more than SOUND is refused.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csc_array, eye_array
from scipy.sparse.linalg import splu

Floats = NDArray[np.float64]
PART = 1e-12
"""Totals whose probability under exponential service is below this fraction of the largest are not looked at."""
RELIABLE = 1e-11
"""The same for what is found; beyond it the completion rates are taken as constant."""
STEPS, FEW_STEPS = 16, 6
"""That a service time is divided into, at least; and where arrivals change little from one total to the next."""
SMOOTH = 0.05
"""Changes that are little: part of the largest rate."""
LIKELY = 1e-4
"""Totals whose changes count: part of the largest probability."""
CLOSE, SAME = 1e-4, 1e-5
"""Changes of τ: at which the rounds end, in the mean; and from which on a total is looked at again."""
MOST_ROUNDS = 30
PATHS = np.array([-math.sqrt(3.0), 0.0, math.sqrt(3.0)])
CHANCES = np.array([1.0, 4.0, 1.0]) / 6.0
TAIL = 1e-13
MOST_TERMS, MOST_ARRIVALS = 200, 100
"""Of the series for a step, and in one."""
SOUND = 0.01
"""Part of the busy servers by which the law may miss Little's, before that is imposed."""
MOST_SHIFT = 9.0
"""Largest correction 1 + θ, and the inverse of the smallest."""
MET = 5e-4
"""Part of the busy servers by which a law may miss Little's when that is imposed: where next to nobody is refused there
is nothing to correct, and interpolation alone is off by up to 2e-4."""


class UnbalancedError(ValueError):
    """The numbers present are out of balance; the text says by how much."""


def completion_rates(accepting: Floats, servers: int, exponential: Floats) -> Floats:
    """Completions a service time with 1, 2, ... present; `accepting` has the arrivals with 0, 1, ... present.

    `exponential`, the law of the totals under exponential service, says which of them matter. Raises UnbalancedError
    where a slot is too long to say what happens in it.

    Examples
    --------
    M/D/1 at a load of 1/2, with room for many: P(0) = 1/2, P(1) = (√e − 1)/2.

    >>> nu = completion_rates(np.full(40, 0.5), 1, 0.5 ** np.arange(41.0))
    >>> bool(abs(0.5 / nu[0] - (math.sqrt(math.e) - 1.0)) < 1e-6)
    True
    """
    top = len(accepting)
    used = np.flatnonzero(exponential > PART * exponential.max())
    low, high = int(used[0]), int(used[-1])
    n = np.arange(low, high + 1)
    busy = np.minimum(n, servers)
    arrivals = np.append(accepting[low:high], 0.0)
    most = float(arrivals.max())
    if most > MOST_ARRIVALS * STEPS:
        raise UnbalancedError(f"up to {most:.3g} requests come in a service time, too many for its steps")
    longest = math.ceil(most + 8.0 * math.sqrt(most) + 10.0)
    likely = exponential[low:high] > LIKELY * exponential.max()
    smooth = float(np.abs(np.diff(arrivals))[likely].max()) < SMOOTH * most
    steps = FEW_STEPS if smooth else max(STEPS, servers // 2)
    accepted = np.empty((len(n), longest + 1))
    stale = np.ones(len(n), dtype=bool)
    tilt = np.zeros(len(n))
    for _ in range(MOST_ROUNDS):
        _accepted(accepted, stale, arrivals, busy, tilt, steps, PATHS, CHANCES)
        law = _stationary(accepted, busy)
        rates = np.append(0.0, arrivals[:-1] * law[:-1] / law[1:])
        wanted = np.where(law > RELIABLE * law.max(), rates / np.maximum(busy, 1) - 1.0, 0.0)
        wanted = np.clip(np.where(n > low, wanted, 0.0), -1.0, 1.0)
        stale = np.abs(wanted - tilt) > SAME
        if float(np.abs(wanted - tilt) @ law) < CLOSE:
            break
        tilt = np.where(stale, wanted, tilt)
    else:
        raise UnbalancedError(f"what the balance of the totals asks for has not settled in {MOST_ROUNDS} rounds")
    _check(law, arrivals, busy, SOUND)
    law = balanced(law, arrivals, busy)
    good = np.flatnonzero(law > RELIABLE * law.max())
    first, last = int(good[0]), int(good[-1])
    found = np.minimum(np.arange(1, top + 1), servers).astype(float)
    found[low + first : low + last] = arrivals[first:last] * law[first:last] / law[first + 1 : last + 1]
    found[low + last :] = found[low + last - 1] if last > first else found[low + last :]
    return found


def balanced(law: Floats, arrivals: Floats, busy: Floats) -> Floats:
    """The law with Little's law imposed on the servers; `arrivals` and `busy` servers in service times.

    Raises UnbalancedError where no correction within MOST_SHIFT does.
    """
    refused = 1.0 - arrivals / arrivals.max()
    excess, slope = float(law @ (arrivals - busy)), float((law * refused) @ (arrivals - busy))
    shift = -excess / slope if slope < 0.0 else 0.0
    found = law * (1.0 + min(max(shift, 1.0 / MOST_SHIFT - 1.0), MOST_SHIFT - 1.0) * refused)
    found /= found.sum()
    _check(found, arrivals, busy, MET)
    return np.asarray(found)


def _check(law: Floats, arrivals: Floats, busy: Floats, most: float) -> None:
    """Raise UnbalancedError where what is accepted is not what is completed, but for a part `most`."""
    accepted, completed = float(law @ arrivals), float(law @ busy)
    if not abs(accepted - completed) <= most * completed:
        raise UnbalancedError(
            f"the numbers present break Little's law: {accepted:.5g} requests are accepted in a service time, and "
            f"{completed:.5g} completed; qt.simulate covers the engine"
        )


def _stationary(accepted: Floats, busy: NDArray[np.int64]) -> Floats:
    """The law of the totals at the starts of slots; what would leave the totals looked at ends at the last of them."""
    size, width = accepted.shape
    start = np.repeat(np.arange(size), width)
    end = np.clip((np.arange(size) - busy)[:, None] + np.arange(width), 0, size - 1).ravel()
    moves = csc_array((accepted.ravel(), (end, start)), shape=(size, size))
    # the probability of one of them is set to 1, its equation left out
    one = int(np.argmax(np.bincount(end, accepted.ravel())))
    others = np.delete(np.arange(size), one)
    equations = eye_array(size, format="csc") - moves
    law = np.ones(size)
    law[others] = splu(csc_array(equations[others][:, others])).solve(-equations[others][:, [one]].toarray().ravel())
    law = np.maximum(law, 1e-300)
    return np.asarray(law / law.sum())


@njit(cache=True)
def _accepted(
    found: Any, stale: Any, arrivals: Any, busy: Any, tilt: Any, steps: int, paths: Any, chances: Any
) -> None:  # pragma: no cover
    """P(so many accepted in a slot), a row for each number at its start; those that are stale."""
    size, longest = found.shape[0], found.shape[1] - 1
    most = arrivals.max()
    rate, part, law = np.zeros(longest + 1), np.zeros(longest + 1), np.zeros(longest + 1)
    for n in np.flatnonzero(stale):
        b = float(busy[n])
        found[n] = 0.0
        for path in range(len(paths)):
            law[:] = 0.0
            law[0] = 1.0
            for step in range(steps):
                s = (step + 0.5) / steps
                g = s + tilt[n] * s * (1.0 - s)
                left = n - b * g - paths[path] * math.sqrt(max(b * g * (1.0 - g), 0.0))
                # So many may have come by the end of the step.
                end = min(int(most * (step + 1) / steps + 8.0 * math.sqrt(most * (step + 1) / steps)) + 10, longest) + 1
                for k in range(end):
                    x = min(max(left + k, 0.0), size - 1.0)
                    j = min(int(x), size - 2)
                    rate[k] = (arrivals[j] + (x - j) * (arrivals[j + 1] - arrivals[j])) / steps
                _grow(law[:end], rate[:end], part[:end])
            for k in range(longest + 1):
                found[n, k] += chances[path] * law[k]


@njit(cache=True)
def _grow(law: Any, rate: Any, part: Any) -> None:  # pragma: no cover
    """Law of a count that grows at these rates, in place, a unit of time later, by uniformization; spoils `rate`."""
    fastest = rate.max()
    if fastest == 0.0:
        return
    chance = rate
    chance /= fastest
    weight = math.exp(-fastest)
    covered, terms = weight, 0
    part[:] = law
    law *= weight
    while covered < 1.0 - TAIL and terms < MOST_TERMS:
        terms += 1
        weight *= fastest / terms
        covered += weight
        for k in range(len(part) - 1, -1, -1):
            part[k] *= 1.0 - chance[k]
            if k > 0:
                part[k] += part[k - 1] * chance[k - 1]
            law[k] += weight * part[k]
