"""Who gets a freed slot: what disks that always have requests waiting get of T slots, by the way slots change hands.

A request of disk i holds its slot for S_i in the mean; n_i slots are disk i's, and it completes X_i = E[n_i]/S_i. Not
the S_i decide the X_i, but how a freed slot is handed on.

**By routing.** A slot freed by disk i goes to disk j with probability P_ij, whatever else happens. Then each slot
wanders by itself, a semi-Markov process that stays with disk i for a service and moves by P: no slot sees another. With
v = v P, Σ v = 1, a slot is disk i's with probability v_i S_i / Σ v_j S_j, whatever the law of the service (renewal
theorem), the n_i are multinomial, and

    X_i = T v_i / Σ_j v_j S_j.

* To a waiting disk at random, or down one line of disks that are alike: P_ij = 1/N, so all complete the same,
  T / Σ S_j, and nearly all slots are the slow disk's. To a waiting request at random: by what waits of each disk. Down
  one line of requests: v_i in proportion to K_i − E[n_i], what waits of it were there one slot less (the product form
  of `solve/saturated_line.py`, which is exact).
* **Back to who freed it with probability p, else by u: P = p I + (1 − p) 1uᵀ has v = u whatever p < 1.** A leak,
  however small, balances completions in the end, not slots. For exponential services the mean split settles at the
  rate of a slot's own chain: of two disks P_12/S_1 + P_21/S_2.
* p = 1: every v is stationary. The split stays as it began, and X_i = n_i(0)/S_i.
* The disks hold as many slots each where P_12/S_1 = P_21/S_2: where slots leak per unit of time, not per completion.

**To the next that completes.** A disk takes slots when it completes (its thread is awake then), and a freed slot is
left lying with probability ε, for whoever completes next. Slots go from i to j at rate ε X_i X_j / (X − 1/S_i), the one
that lies not completing itself, and back with X − 1/S_j: nearly as many, whatever the split. It hardly drifts (a
martingale but for one part in n, as in Moran's model of two alleles, 1958), it spreads: the variance of n_i grows by
nearly 2 ε X_i (X − X_i)/X per unit of time.

**In batches.** Freed slots lie idle until there are B, then each goes by u. Completions are as u again, and by Little's
law X_i = u_i (T − E[idle]) / Σ u_j S_j with 0 <= idle < B.

**Idle slots by turnaround.** If a slot is held δ longer than its service, Little's law says how long:
Σ X_i (S_i + δ) = T.

Published for Linux's shared tags (T = 64, services of 1 ms and 100 ms, no shares): 29 859/s and 318/s. Any routing that
leaks alike gives 634/s each, and settles there in 2 ms / (1 − p): after 10 s, unless p > 0.9998. So tags were not
handed on by who waits. A split that stays, or one that hardly drifts, gives the published rates from a start near one
half; so do equal shares, and the rates do not tell these apart. Nor do they say why 2.3 tags are idle; a turnaround of
78 µs, the same for both disks, would do, and makes the split 32.2 to 31.8.

>>> services, half = [1e-3, 0.1], [0.5, 0.5]
>>> throughputs(64, services, returning(0.0, half)), throughputs(64, services, returning(0.99, half))
(array([633.66336634, 633.66336634]), array([633.66336634, 633.66336634]))
>>> round(relaxation(services, returning(0.99, half)), 3)  # seconds to settle
0.198
>>> delta = turnaround(64, services, [29859.0, 318.0])
>>> round(delta * 1e6, 1), [round(x * (s + delta), 1) for x, s in zip([29859.0, 318.0], services)]
(77.6, [32.2, 31.8])
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory.arguments import count, nonnegative, positive, probability, sequence
from qtheory.laws.arrays import probabilities
from qtheory.markov.gth import gth

MOST_STATES = 3000


def throughputs(slots: int, service_means: Sequence[float], routing: ArrayLike) -> NDArray[np.float64]:
    """Completions [1/s] of each disk when a slot freed by disk i goes to disk j with probability routing[i, j].

    Raises ValueError where slots of some disk cannot reach another's: the split then stays as it began.
    """
    services, moves = _checked(service_means, routing)
    try:
        visits = gth(moves) if len(moves) > 1 else np.ones(1)
    except ValueError:
        raise ValueError(f"routing must let slots of every disk reach every other's, not {moves.tolist()}") from None
    return count("slots", slots) * visits / float(visits @ services)


def relaxation(service_means: Sequence[float], routing: ArrayLike) -> float:
    """Time [s] in which the mean split's distance from its limit falls by e, for exponential services; inf: it stays.

    >>> relaxation([1e-3, 0.1], [[1.0, 0.0], [0.0, 1.0]])
    inf
    """
    services, moves = _checked(service_means, routing)
    rates = np.sort(-np.linalg.eigvals((moves - np.eye(len(moves))) / services[:, None]).real)
    slowest = float(rates[1]) if len(rates) > 1 else np.inf
    return 1.0 / slowest if slowest > 1e-12 * rates[-1] else np.inf


def returning(stay: float, turn: Sequence[float]) -> NDArray[np.float64]:
    """Routing of slots that go back to the disk that freed them with probability `stay`, else to j with `turn[j]`."""
    if nonnegative("stay", stay) > 1.0:
        raise ValueError(f"stay must be at most 1, not {stay!r}")
    others = probabilities("turn", turn)
    return np.asarray(stay * np.eye(len(others)) + (1.0 - stay) * others)


def wandering(held: Sequence[float], service_means: Sequence[float], left: float) -> tuple[float, float]:
    """How fast the first disk's slots grow in mean and in variance [1/s], a part `left` going to the next to complete.

    >>> drift, growth = wandering([32, 32], [1e-3, 0.1], 0.01)
    >>> round(drift, 3), round(growth, 2)
    (-0.1, 6.44)
    """
    services = _means(service_means)
    numbers = [nonnegative(f"held[{i}]", n) for i, n in enumerate(sequence("held", held))]
    if len(numbers) != len(services):
        raise ValueError(f"held must have one number for each of the {len(services)} disks, not {len(numbers)}")
    if sum(numbers) < 2.0:
        raise ValueError(f"held must be at least two slots together, not {list(held)}")
    rates = np.array(numbers) / services
    others = rates.sum() - 1.0 / services  # completions while a slot of disk i lies
    moved = probability("left", left) * rates[0] * rates[1:]
    away, back = float((moved / others[0]).sum()), float((moved / others[1:]).sum())
    return back - away, back + away


def in_batches(slots: int, service_means: Sequence[float], batch: int) -> tuple[NDArray[np.float64], float]:
    """Completions [1/s] of two disks, and idle slots in the mean, when freed slots wait for `batch` of them.

    Each is then either disk's with probability 1/2; services are exponential. From the chain of (free slots, slots of
    the first disk). Raises ValueError for other than two disks, or a chain of more than MOST_STATES states.

    >>> rates, idle = in_batches(64, [1e-3, 0.1], batch=8)
    >>> rates.round(1), round(idle, 2)
    (array([586.4, 586.4]), 4.78)
    """
    services, (t, b) = _means(service_means), (count("slots", slots), count("batch", batch))
    if len(services) != 2 or b > t or (t + 1) * b > MOST_STATES:
        raise ValueError(f"service_means must be of two disks, slots >= batch and few, not {services}, {t} and {b}")
    half = np.array([1.0])
    for _ in range(b):
        half = np.convolve(half, [0.5, 0.5])
    states = [(free, n) for free in range(b) for n in range(t - free + 1)]
    number = {state: i for i, state in enumerate(states)}
    rates = np.zeros((len(states), len(states)))
    for (free, n), at in number.items():
        for gone, rate in ((1, n / services[0]), (0, (t - free - n) / services[1])):
            if rate == 0.0:
                continue
            if free + 1 < b:
                rates[at, number[free + 1, n - gone]] += rate
            else:
                for k, p in enumerate(half):
                    rates[at, number[0, n - gone + k]] += rate * p
    law = gth(rates)
    idle = float(law @ [free for free, _ in states])
    first = float(law @ [n for _, n in states])
    return np.array([first / services[0], (t - idle - first) / services[1]]), idle


def turnaround(slots: int, service_means: Sequence[float], completions: Sequence[float]) -> float:
    """How long [s] a slot is held beyond its service, the same for all disks, if all slots are always held."""
    services = _means(service_means)
    rates = [positive(f"completions[{i}]", x) for i, x in enumerate(sequence("completions", completions))]
    if len(rates) != len(services):
        raise ValueError(f"completions must have one rate for each of the {len(services)} disks, not {len(rates)}")
    busy = sum(x * s for x, s in zip(rates, services, strict=True))
    if busy > count("slots", slots):
        raise ValueError(f"completions must need no more than the {slots} slots, not {busy:.4g}")
    return float((slots - busy) / sum(rates))


def _means(service_means: Sequence[float]) -> NDArray[np.float64]:
    return np.array(
        [positive(f"service_means[{i}]", s) for i, s in enumerate(sequence("service_means", service_means))]
    )


def _checked(service_means: Sequence[float], routing: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    services, moves = _means(service_means), np.asarray(routing, dtype=float)
    if moves.shape != (len(services),) * 2 or not len(services):
        raise ValueError(f"routing must be a square with a row for each of the {len(services)} disks, not {routing!r}")
    return services, np.array([probabilities(f"routing[{i}]", row) for i, row in enumerate(moves)])
