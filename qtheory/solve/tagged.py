"""One tagged request followed through a processor-sharing device behind Q slots: the kernel behind response quantiles.

State: u requests ahead in the line for a slot and n present in all, or, once the tagged request has a slot, n alone.
With d(n) the total completion rate and b(n) the total arrival rate with n present,

    in the line:  n → n+1 at b(n);   u → u−1, n → n−1 at d(Q), from u = 0 into a slot,
    in a slot:    n → n+1 at b(n);   leaves at d(n)/min(n, Q);   n → n−1 at d(n)(1 − 1/min(n, Q)).

The arrival rate is taken to depend on the total only: exact for one disk, and for several whose buffers are never full.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


def staying(
    found: NDArray[np.float64],
    slots: int,
    birth: NDArray[np.float64],
    death: NDArray[np.float64],
    clock: float,
    tail: float,
) -> NDArray[np.float64]:
    """Probability that the tagged request is still present after 0, 1, 2, ... ticks, until below `tail`."""
    top = len(death)
    line = np.zeros((max(len(found) - slots, 0) + 1, top + 1))
    served = np.zeros(top + 1)
    for others, mass in enumerate(found):
        if others < slots:
            served[others + 1] += mass
        else:
            line[others - slots, others + 1] += mass
    births = np.zeros(top + 1)
    # The topmost level takes no arrivals: it lies where the chain's mass is below `tail`, or the buffers end there.
    births[1:top] = birth[1:top] / clock
    deaths = np.concatenate([[0.0], death / clock])
    return np.asarray(_staying(line, served, slots, births, deaths, tail))


@njit(cache=True)
def _staying(line, served, slots, birth, death, tail):  # type: ignore[no-untyped-def]
    ahead, levels = line.shape
    kept = [line.sum() + served.sum()]
    while kept[-1] > tail:
        next_served = np.zeros(levels)
        for n in range(1, levels):
            mass = served[n]
            if mass == 0.0:
                continue
            sharing = min(n, slots)
            next_served[n] += mass * (1.0 - birth[n] - death[n])
            if n + 1 < levels:
                next_served[n + 1] += mass * birth[n]
            next_served[n - 1] += mass * death[n] * (1.0 - 1.0 / sharing)
        next_line = np.zeros((ahead, levels))
        waiting = 0.0
        for u in range(ahead):
            for n in range(slots + 1 + u, levels):
                mass = line[u, n]
                if mass == 0.0:
                    continue
                waiting += mass
                next_line[u, n] += mass * (1.0 - birth[n] - death[n])
                if n + 1 < levels:
                    next_line[u, n + 1] += mass * birth[n]
                if u == 0:
                    next_served[n - 1] += mass * death[n]
                else:
                    next_line[u - 1, n - 1] += mass * death[n]
        # An empty line stays empty: it need not be walked again.
        if waiting == 0.0:
            ahead = 0
        line, served = next_line, next_served
        kept.append(line.sum() + served.sum() if ahead > 0 else served.sum())
    return np.array(kept)
