"""What EM learns from: times seen exactly, within a bin, or only to be longer than something, each with a weight."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory.laws.arrays import floats
from qtheory.laws.empirical import Empirical
from qtheory.laws.fitting.distance import Target
from qtheory.laws.histogram import Histogram
from qtheory.laws.law import Law

Floats = NDArray[np.float64]

MANY = 5000
"""More exact times than this are gathered in bins, each of which stands at its mean."""
BINS_PER_OCTAVE = 32


class Observations(NamedTuple):
    """Each time is `low` where `high` is the same, else above `low` and at most `high`, perhaps inf; in seconds."""

    low: Floats
    high: Floats
    weight: Floats

    @classmethod
    def of(
        cls,
        data: Law | ArrayLike,
        weights: ArrayLike | None = None,
        censored: ArrayLike | None = None,
        many: int = MANY,
    ) -> Observations:
        """Samples, some perhaps censored; a histogram's bins; or bins that any other law fills."""
        if isinstance(data, Law):
            if weights is not None or censored is not None:
                raise ValueError("weights and censored must be left out with a law, which has its own weights")
            if isinstance(data, Empirical):
                return cls.of(data.samples, data.weights, many=many)
            edges = data.edges if isinstance(data, Histogram) else _edges(data)
            share = data.counts if isinstance(data, Histogram) else -np.diff(data.sf(edges))
            kept = share > 0.0
            return cls(edges[:-1][kept], edges[1:][kept], share[kept])
        times = floats("samples", data)
        weight = np.ones(len(times)) if weights is None else floats("weights", weights)
        cut = np.zeros(len(times), dtype=bool) if censored is None else np.array(censored)
        for name, array in (("weights", weight), ("censored", cut)):
            if array.shape != times.shape:
                raise ValueError(f"{name} must have a value for each of the {len(times)} samples, not {array.size}")
        if cut.dtype != bool:
            raise ValueError(f"censored must be true or false for each sample, not of type {cut.dtype}")
        if not (seen := ~cut & (weight > 0.0) & (times > 0.0)).any():
            raise ValueError("samples must have a positive one that is not censored and has a weight")
        smallest = times[seen].min()
        parts = []
        for chosen, open_end in ((~cut, False), (cut, True)):
            t, w = _gathered(times[chosen & (weight > 0.0)], weight[chosen & (weight > 0.0)], many)
            if open_end:
                t, w = t[t > 0.0], w[t > 0.0]  # longer than nothing says nothing
                parts.append((t, np.full(len(t), math.inf), w))
            else:
                parts.append(
                    (np.where(t > 0.0, t, 0.0), np.where(t > 0.0, t, smallest), w)
                )  # 0: below the clock's tick
        return cls(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    @property
    def centre(self) -> Floats:
        """A time within each, for a start; where it is open, its low end."""
        return np.where(np.isfinite(self.high), (self.low + np.minimum(self.high, 1e300)) / 2.0, self.low)


def _gathered(times: Floats, weights: Floats, many: int) -> tuple[Floats, Floats]:
    """Equal times together; many, in bins on a logarithmic scale."""
    value, index = np.unique(times, return_inverse=True)
    if len(value) <= many:
        return value, np.bincount(index, weights, len(value)).astype(np.float64)
    place = np.full(len(times), -(1 << 20))
    place[times > 0.0] = np.floor(np.log2(times[times > 0.0]) * BINS_PER_OCTAVE)
    _, index = np.unique(place, return_inverse=True)
    total = np.bincount(index, weights)
    return (np.bincount(index, weights * times) / total).astype(np.float64), total.astype(np.float64)


def _edges(law: Law) -> Floats:
    """From 0 through the times at which fits to a law are compared, halved, to its end."""
    times = Target.of(law).times
    inner = np.unique(np.concatenate([times, times * 2.0**0.125]))
    low, high = law.support
    return np.unique(np.concatenate([[0.0], inner[(inner > low) & (inner < high)], [high]]))
