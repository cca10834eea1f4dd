"""Drain of separate devices: the slowest of the disks' own drains.

Given the numbers n_i at the devices the disks drain independently, each a pure death chain with F_{i,k}(t) = P(disk i
is done by t from k). Where the disks are independent in steady state,

    P(T <= t) = Π_i Σ_k P(n_i = k) F_{i,k}(t).

Where they are tied by their total, with product form Π w_i(n_i) given Σ n_i = m,

    P(T <= t) = Σ_m P(m) · C_t[m] / C[m],

C and C_t the coefficients of Π_i Σ_k w_i(k) x^k and of Π_i Σ_k w_i(k) F_{i,k}(t) x^k: the same merging of series as in
the steady state. Mean and variance are integrals of P(T > t).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import quad_vec

from qtheory.drain.drain_law import DrainTime
from qtheory.drain.shared_device import taken
from qtheory.engine import Engine
from qtheory.markov.merging import merge_all
from qtheory.markov.pure_death import PureDeath, done_by
from qtheory.solve import saturated_line, separate_devices
from qtheory.solve.population import independent_total
from qtheory.solve.separate_devices import Station, parallel_population, stations

Done: TypeAlias = Callable[[float], NDArray[np.float64]]
"""P(done by t [s]) from 0, 1, ... requests."""
ROUNDING = 1e-12
INTEGRATION = 1e-9


def refusal(engine: Engine) -> str | None:
    """Why the drain of separate devices is not known for `engine`, or None."""
    if engine.hold != "ring" and saturated_line.refusal(engine) is None:
        return "requests wait in the engine for a slot, and where they go decides the drain"
    reason = separate_devices.refusal(engine)
    return reason if saturated_line.refusal(engine) is not None else None


def drain(engine: Engine, present: tuple[int, ...] | None) -> DrainTime:
    """Drain of an engine with separate devices, or one that its caps make so."""
    members = stations(engine)
    if present is not None:
        laws = [np.eye(1, n + 1, n)[0] for n in present]
        return _independent(engine, members, laws, ROUNDING)
    sf = survival(engine)
    if saturated_line.refusal(engine) is None:
        total = np.eye(1, (engine.queue_length or 0) + 1, engine.queue_length or 0)[0]
        rates = [device.rates(disk.most) for disk, device in zip(engine.disks, engine.devices, strict=True)]
        assert sf is not None
        return integrated("tied_devices", sf, longest(rates, total), total, ROUNDING)
    number = parallel_population(engine)
    if sf is not None:
        most = longest([member.rates for member in members], number.pmf)
        return integrated("tied_devices", sf, most, number.pmf, ROUNDING + number.rounding)
    return _independent(engine, members, number.split(number.pmf), ROUNDING + number.rounding)


def _independent(
    engine: Engine, members: Sequence[Station], laws: Sequence[NDArray[np.float64]], error: float
) -> DrainTime:
    """Drain of disks whose numbers `laws` are independent."""
    if engine.hold == "ring":
        laws = [taken(law, member.slots) for law, member in zip(laws, members, strict=True)]
    rates = [_extended(member, len(law) - 1) for law, member in zip(laws, members, strict=True)]
    # Equal disks have the same law: raise it to their number.
    keys = [(law.tobytes(), rate.tobytes()) for law, rate in zip(laws, rates, strict=True)]
    copies = Counter(keys)
    first = {key: i for i, key in reversed(list(enumerate(keys)))}
    survivals = [(copies[key], PureDeath(laws[i], rates[i]).sf()) for key, i in first.items()]
    total = independent_total(laws)

    def sf(t: float) -> float:
        return slowest([(n, survival(t)) for n, survival in survivals])

    upper = sum(PureDeath(laws[i], rates[i]).mean * copies[key] for key, i in first.items())
    return integrated("independent_devices", sf, upper, total, error)


def slowest(left: Sequence[tuple[int, float]]) -> float:
    """P(the slowest of independent drains is not done), of n drains each that are not with these probabilities.

    >>> slowest([(2, 0.5), (1, 0.0)])
    0.75
    """
    if any(alive >= 1.0 for _, alive in left):
        return 1.0
    return -math.expm1(sum(n * math.log1p(-alive) for n, alive in left))


def survival(engine: Engine) -> Callable[[float], float] | None:
    """P(T > t) of disks that are tied by their total, None where they are independent."""
    if saturated_line.refusal(engine) is None:
        slots = engine.queue_length
        assert slots is not None
        rates = [device.rates(disk.most) for disk, device in zip(engine.disks, engine.devices, strict=True)]
        series = saturated_line.line_series(engine, [disk.most for disk in engine.disks])
        return tied(series, _of_rates(rates), np.eye(1, slots + 1, slots)[0])
    if engine.most < sum(disk.most for disk in engine.disks):
        members = stations(engine)
        series = [member.disk.arrival_rates() / member.rates for member in members]
        return tied(series, _of_rates([member.rates for member in members]), parallel_population(engine).pmf)
    return None


def exponential(rates: NDArray[np.float64]) -> Done:
    """P(done by t) from each number with these completion rates; the last t is asked again and again."""
    return lru_cache(maxsize=1)(lambda t: done_by(t, rates))


def _of_rates(rates: Sequence[NDArray[np.float64]]) -> list[Done]:
    """The same for each disk, one function for equal ones."""
    kinds = {rate.tobytes(): exponential(rate) for rate in rates}
    return [kinds[rate.tobytes()] for rate in rates]


def tied(
    series: Sequence[NDArray[np.float64]], done: Sequence[Done], total: NDArray[np.float64]
) -> Callable[[float], float]:
    """P(T > t) of disks with the product form of `series` given their total, whose law is `total`."""
    most = len(total) - 1
    height = np.cumsum(np.log(merge_all(series, most)[0].ratios[:most]))

    def sf(t: float) -> float:
        if t <= 0.0:
            return float(total[1:].sum())
        laws = {by: by(t) for by in dict.fromkeys(done)}
        reduced = []
        for ratio, by in zip(series, done, strict=True):
            law = laws[by]
            positive = int(np.argmin(law)) if law.min() == 0.0 else len(law)
            reduced.append(ratio[: positive - 1] * law[1:positive] / law[: positive - 1])
        lower = np.cumsum(np.log(merge_all(reduced, most)[0].ratios[:most]))
        chance = np.zeros(most)
        chance[: len(lower)] = np.exp(lower - height[: len(lower)])
        return float(total[1:] @ (1.0 - chance))

    return sf


def longest(rates: Sequence[NDArray[np.float64]], total: NDArray[np.float64]) -> float:
    """Upper bound of the mean drain: all that is present, one after another at the slowest rate."""
    return max(float(1.0 / rate.min()) for rate in rates) * float(np.arange(len(total)) @ total)


def _extended(member: Station, most: int) -> NDArray[np.float64]:
    """Completion rates with 1..most present; a given population may exceed what the guest can have."""
    return member.device.rates(member.slots)[np.minimum(np.arange(most), member.slots - 1)]


def integrated(
    method: str, sf: Callable[[float], float], scale: float, total: NDArray[np.float64], error: float
) -> DrainTime:
    """Assemble a result; `scale` is an upper bound of the mean, for the integration's first guess."""
    # Not from far beyond: a late time takes long to ask about.
    end = max(scale / len(total), 1e-300)
    while sf(end) > 1e-16:
        end *= 2.0

    def moments(x: float) -> NDArray[np.float64]:
        """Of E[T] and E[T²], in units of `end`."""
        return np.array([1.0, 2.0 * x]) * sf(end * x)

    # A quadrature that does not reach its goal says so by its error, which is reported.
    parts, rough = quad_vec(moments, 0.0, 1.0, epsabs=1e-300, epsrel=INTEGRATION, norm="max")[:2]
    mean, second = end * float(parts[0]), end**2 * float(parts[1])
    mean_error, second_error = end * float(rough), end**2 * float(rough)
    variance = second - mean**2
    return DrainTime(
        method=method,
        exact=True,
        error_bounds={
            "mean": error + (mean_error / mean if mean > 0 else 0.0),
            "variance": error + ((second_error + 2 * mean * mean_error) / variance if variance > 0 else 0.0),
            "sf": error,
        },
        mean=mean,
        variance=variance,
        population_pmf=total,
        _sf=sf,
    )
