"""From a measured depth sweep to a device: its rate curve, what it tells of the device, and how sure the answers are.

The curve goes through the geometric mean of the runs at each depth, and between depths by monotone cubics (Fritsch and
Carlson 1980) of log rate against log depth; below the shallowest depth in proportion, beyond the deepest level. No
shape is forced on it. With each depth left out in turn, on 114 sweeps of real devices, such a curve comes nearer to
what was measured there (off by 1.4 % in the median) than straight lines do, on logarithmic axes (1.8 %) or linear ones
(2.9 %), and nearer than the same through a monotone (1.9 %) or a monotone concave regression (2.0 %): dips are often
real, and disks that reorder their requests are convex. A tenth of the depths is off by a fifth and more with any curve
(`validation/fio_sizing.py`).

By what factor a run is off the device's true rate is told by, in this order,

    replicates        the runs at one depth, and at the nearest ones until they are enough, about their mean
    standard errors   as given for each run
    shape             the runs about a monotone concave regression: Σ b_j min(n, n_j), b >= 0, by least squares

and the uncertainty is a bootstrap: each run is moved by factors drawn anew from these, widened for the degrees of
freedom that the fit took, and by √(d/χ²_d) for what d degrees of freedom leave unknown of the spread. A concave
regression with D kinks among n runs leaves n − D (Meyer and Woodroofe 2000). It tells nothing when all runs lie on it.

What it tells, without a model: a device that answers alone in R_1 and gives at most X_max needs at least X_max R_1
requests to do so (Little's law), the knee. The nearest device of c equal servers has the rate min(n, c)/S. What fio
keeps outstanding is longer outstanding than its latencies say, by the turnaround n/X − R: Little's law again.

>>> fit = fit_depth_sweep([1, 2, 4, 8, 16, 32], [1000.0, 2000.0, 4000.0, 8000.0, 8000.0, 8000.0])
>>> fit.servers, round(fit.service_mean, 9), round(fit.saturation, 6), round(fit.knee, 9)
(8, 0.001, 8000.0, 8.0)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qtheory.arguments import count, positive, sequence
from qtheory.engine import Device
from qtheory.fit.answer import Answer
from qtheory.result import Result

Floats = NDArray[np.float64]
Spread = Literal["replicates", "standard errors", "shape"]

NEAR, FAR = 0.1, 0.5
"""By which throughput × latency may miss the depth: beyond the first a warning, beyond the second a refusal."""
RISING = 0.02
"""Growth of the rate by the last step, for each doubling of the depth, from which on it is called rising."""
UNSURE = 0.1
FREEDOM, ENOUGH = 3, 6
"""Fewest degrees of freedom that tell a spread, and how many stay near a depth rather than ask further ones."""


class Noise(NamedTuple):
    """What a run may be off by."""

    logs: tuple[float, ...]
    """Of the factors, each as likely."""
    freedom: int | None
    """Degrees of freedom that tell the spread; None: it is known."""


@dataclass(frozen=True, kw_only=True)
class FittedDevice(Result):
    """A device fitted to a depth sweep; SI units.

    Attributes
    ----------
    device : Device
        The rate curve up to the deepest depth.
    depths, throughputs : tuple
        The different depths, rising, and the mean throughput [1/s] of the runs at each.
    saturation : float
        The highest of these.
    latency : float
        Time of a request alone [s], R_1; of one of the fewest together, where the sweep does not begin at one.
    knee : float
        Fewest requests in flight that could saturate the device, saturation × latency.
    servers, service_mean : int, float
        The nearest device of equal servers, by least squares of log rates; `misfit` is the root mean square that is
        left, a fraction.
    turnaround : float or None
        Median time [s] for which a request was outstanding beyond its latency; None without latencies.
    spread : float or None
        Standard deviation of a run about the device's rate, a fraction, root mean square over the depths; None where
        nothing tells it.
    spread_from : "replicates", "standard errors" or "shape"
        What told it.

    `error_bounds["throughput"]` is how far curves without one depth are off what was measured there, root mean square
    over the inner depths: about what to expect within a gap twice as wide as the sweep's. `inf` for fewer than three.
    """

    device: Device
    depths: tuple[int, ...]
    throughputs: tuple[float, ...]
    saturation: float
    latency: float
    knee: float
    servers: int
    service_mean: float
    misfit: float
    turnaround: float | None
    spread: float | None
    spread_from: Spread
    _runs: tuple[tuple[int, float], ...] = field(repr=False, compare=False)
    _noise: tuple[Noise, ...] = field(repr=False, compare=False)

    def resampled(self, number: int = 100, seed: int = 1) -> Iterator[Device]:
        """Devices refitted to the runs, each moved by a factor drawn anew."""
        rng = np.random.default_rng(count("seed", seed, least=0))
        depths = np.asarray(self.depths, dtype=float)
        _, copies = np.unique([depth for depth, _ in self._runs], return_counts=True)
        for _ in range(count("number", number)):
            moved = []
            for noise, runs in zip(self._noise, copies, strict=True):
                widened = 1.0 if noise.freedom is None else math.sqrt(noise.freedom / rng.chisquare(noise.freedom))
                moved.append(widened * float(rng.choice(noise.logs, runs).mean()))
            yield Device(curve=_curve(depths, np.asarray(self.throughputs) * np.exp(moved)))

    def uncertainty(self, question: Callable[[Device], float], resamples: int = 100, seed: int = 1) -> Answer:
        """The answer to a question about the device, or an engine on it, with the interval over refitted devices.

        The interval holds what the runs' spread leaves open, not what happens between depths or beyond the deepest. On
        made-up sweeps of two to six runs a depth it covered a rate 90 to 95 % of the time; a highest rate, which noise
        only raises, three quarters of it.

        Parameters
        ----------
        question : function of a Device
            Such as `lambda device: qt.optimal_queue_length(qt.Engine(disks, device, hold="ring"),
            max_throughput_loss=0.05).lower`.
        resamples : int
            Refitted devices that are asked.
        seed : int
            The same seed gives the same devices.

        Raises ValueError when nothing tells the spread: runs are then to be repeated.
        """
        if self.spread is None:
            raise ValueError(
                "the runs must tell their spread, which these do not: one run at each depth, on a monotone concave "
                "curve. Repeat runs at the same depth, or give their standard errors"
            )
        return Answer.over(question(self.device), [question(device) for device in self.resampled(resamples, seed)])

    def __str__(self) -> str:
        spread = "not told by the runs" if self.spread is None else f"{self.spread:.2%} a run ({self.spread_from})"
        lines = [
            f"depths {self.depths[0]} to {self.depths[-1]}, {len(self._runs)} runs",
            f"saturation {self.saturation:.6g}/s, latency {self.latency:.4g} s, knee {self.knee:.3g}",
            f"nearest servers: {self.servers} of {self.service_mean:.4g} s, off by {self.misfit:.1%}",
            f"spread {spread}",
        ]
        if self.turnaround is not None:
            lines.append(f"turnaround {self.turnaround:.3g} s")
        return "\n".join([*lines, *(f"warning: {warning}" for warning in self.warnings)])


def fit_depth_sweep(
    depths: Sequence[int],
    throughputs: Sequence[float],
    latencies: Sequence[float] | None = None,
    standard_errors: Sequence[float] | None = None,
) -> FittedDevice:
    """Fit a device to runs that each kept a number of requests in flight; any order, any number of runs at a depth.

    Parameters
    ----------
    depths : sequence of int
        Requests kept in flight by each run.
    throughputs : sequence of float
        Completions [1/s] of each.
    latencies : sequence of float, optional
        Mean response time [s] of each, to check the depths by: a run must have had throughput × latency in flight.
    standard_errors : sequence of float, optional
        Of each throughput [1/s]. Taken only where no depth has several runs: those tell more.

    Raises
    ------
    ValueError
        When lengths differ, a value is out of range, or a run's throughput × latency is not even half near its depth.

    Examples
    --------
    >>> import qtheory as qt
    >>> runs = [(1, 100.0), (1, 104.0), (4, 370.0), (4, 362.0), (16, 620.0), (16, 640.0), (64, 655.0), (64, 641.0)]
    >>> fit = fit_depth_sweep(*zip(*runs))
    >>> disk = qt.Disk(qt.Closed(outstanding=32))
    >>> q = lambda device: qt.optimal_queue_length(qt.Engine([disk] * 4, device), max_throughput_loss=0.05).lower
    >>> answer = fit.uncertainty(q)
    >>> answer.low < answer.value < answer.high
    True
    """
    ns = [count(f"depths[{i}]", n) for i, n in enumerate(sequence("depths", depths))]
    if not ns:
        raise ValueError("depths must have at least one value")
    rates = _each("throughputs", throughputs, len(ns))
    warnings: list[str] = []
    turnaround = None
    if latencies is not None:
        times = _each("latencies", latencies, len(ns))
        warnings.extend(_little(ns, rates, times))
        turnaround = float(np.median([n / x - r for n, x, r in zip(ns, rates, times, strict=True)]))
    errors = None if standard_errors is None else _each("standard_errors", standard_errors, len(ns))
    runs = sorted(zip(ns, rates, errors or rates, strict=True))
    pairs = tuple((n, x) for n, x, _ in runs)
    at, means = _means([n for n, _ in pairs], np.log([x for _, x in pairs]))
    noise, source = _noise(pairs, None if errors is None else [e / x for _, x, e in runs])
    spread = math.sqrt(float(np.mean([np.mean(np.square(one.logs)) for one in noise]))) if noise else None
    servers, service_mean, misfit = _servers(at, means)
    left_out = _left_out(at, means)
    warnings.extend(_doubts(at, means, spread, left_out))
    return FittedDevice(
        method="monotone cubics through the mean rates, log against log",
        exact=False,
        error_bounds={"throughput": left_out},
        warnings=tuple(warnings),
        device=Device(curve=_curve(at, means)),
        depths=tuple(at.astype(int).tolist()),
        throughputs=tuple(means.tolist()),
        saturation=float(means.max()),
        latency=float(at[0] / means[0]),
        knee=float(means.max() * at[0] / means[0]),
        servers=servers,
        service_mean=service_mean,
        misfit=misfit,
        turnaround=turnaround,
        spread=spread,
        spread_from=source,
        _runs=pairs,
        _noise=noise,
    )


def fit_fio(paths: str | PathLike[str] | Sequence[str | PathLike[str]]) -> FittedDevice:
    """Fit a device to fio JSON results: one run each, its depth iodepth × jobs, reads and writes together.

    Depths that jobs divide otherwise, 4 × 8 and 8 × 4, are runs at one depth. Raises ValueError as `fit_depth_sweep`,
    and naming the file when it is not fio JSON or has no I/O.
    """
    from qtheory.traces.fio import runs  # reads files: not needed by those who do not

    found = runs([paths] if isinstance(paths, (str, PathLike)) else paths)
    latencies = [run.latency for run in found]
    errors = [run.standard_error for run in found]
    return fit_depth_sweep(
        [run.depth for run in found],
        [run.throughput for run in found],
        None if None in latencies else latencies,  # type: ignore[arg-type]  # none is None
        None if None in errors else errors,  # type: ignore[arg-type]
    )


def _each(name: str, values: Sequence[float], number: int) -> list[float]:
    if len(sequence(name, values)) != number:
        raise ValueError(f"{name} must have one value for each of the {number} depths, not {len(values)}")
    return [positive(f"{name}[{i}]", x) for i, x in enumerate(values)]


def _means(depths: Sequence[int], logs: Floats) -> tuple[Floats, Floats]:
    """The different depths, rising, and the geometric mean of the rates at each, of which the logarithms are given."""
    different, which = np.unique(depths, return_inverse=True)
    return different.astype(float), np.exp(np.bincount(which, logs) / np.bincount(which))


def _curve(depths: Floats, rates: Floats) -> tuple[float, ...]:
    """Rates with 1, 2, ..., the deepest depth in flight."""
    from scipy.interpolate import PchipInterpolator

    n = np.arange(1.0, depths[-1] + 1.0)
    if len(depths) == 1:
        return tuple((rates[0] * n / depths[0]).tolist())
    inner = np.exp(PchipInterpolator(np.log(depths), np.log(rates))(np.log(np.maximum(n, depths[0]))))
    return tuple(np.where(n < depths[0], rates[0] * n / depths[0], inner).tolist())


def _noise(
    runs: Sequence[tuple[int, float]], relative_errors: Sequence[float] | None
) -> tuple[tuple[Noise, ...], Spread]:
    """What the runs at each depth may be off by, and what told it; empty where nothing does."""
    depths, which, number = np.unique([n for n, _ in runs], return_inverse=True, return_counts=True)
    logs = np.log([x for _, x in runs])
    if len(runs) - len(depths) >= FREEDOM:
        own = number[which]
        off = (logs - (np.bincount(which, logs) / number)[which]) * np.sqrt(own / np.maximum(own - 1.0, 1.0))
        return tuple(_near(depth, which, off) for depth in range(len(depths))), "replicates"
    if relative_errors is not None:
        errors = np.sqrt(np.bincount(which, np.square(relative_errors)) / number)
        return tuple(Noise(tuple((error * _normal_points()).tolist()), None) for error in errors), "standard errors"
    fitted, kinks = _concave(np.array([n for n, _ in runs], dtype=float), np.exp(logs))
    freedom = len(runs) - kinks
    off = logs - np.log(fitted)
    if freedom < FREEDOM or float(np.abs(off).max()) < 1e-9:
        return (), "shape"
    return (Noise(tuple((off * math.sqrt(len(runs) / freedom)).tolist()), freedom),) * len(depths), "shape"


def _near(depth: int, which: NDArray[np.int64], off: Floats) -> Noise:
    """From depths that have several runs: this one, and its neighbours on both sides until they are enough."""
    number = np.bincount(which)
    for reach in range(len(number)):
        chosen = (np.abs(which - depth) <= reach) & (number[which] > 1)
        freedom = int(np.count_nonzero(chosen)) - len(np.unique(which[chosen]))
        if freedom >= ENOUGH:
            break
    return Noise(tuple(off[chosen].tolist()), freedom)


def _normal_points() -> Floats:
    """Points of equal probability that stand for a normal law, of variance 1."""
    from scipy.special import ndtri

    z = ndtri((np.arange(101) + 0.5) / 101)
    points: Floats = z / z.std()
    return points


def _concave(depths: Floats, rates: Floats) -> tuple[Floats, int]:
    """Monotone concave regression through the origin, by relative errors, at the depths; and its number of kinks."""
    from scipy.optimize import nnls

    bends = np.minimum.outer(depths, depths)
    weights, _ = nnls(bends / rates[:, None], np.ones(len(rates)))
    return bends @ weights, int(np.count_nonzero(weights * depths > 1e-9 * rates.max()))


def _servers(depths: Floats, rates: Floats) -> tuple[int, float, float]:
    """The nearest min(n, c)/S: c, S, and the root mean square of what is left of the logarithms."""
    c = np.arange(1, int(depths[-1]) + 1)
    off = np.log(np.minimum.outer(depths, c)) - np.log(rates)[:, None]
    spread = off.std(axis=0)
    best = int(np.argmin(spread > spread.min() + 1e-12))
    return int(c[best]), float(np.exp(off[:, best].mean())), float(spread[best])


def _left_out(depths: Floats, rates: Floats) -> float:
    """Root mean square of log rates at inner depths against curves without them."""
    inner = range(1, len(depths) - 1)
    if not inner:
        return math.inf
    off = []
    for i in inner:
        curve = _curve(np.delete(depths, i), np.delete(rates, i))
        off.append(math.log(curve[int(depths[i]) - 1] / rates[i]))
    return float(np.sqrt(np.mean(np.square(off))))


def _little(depths: Sequence[int], rates: Sequence[float], times: Sequence[float]) -> Iterator[str]:
    """Warnings of runs whose throughput × latency is not their depth."""
    for i, (n, x, r) in enumerate(zip(depths, rates, times, strict=True)):
        ratio = x * r / n
        words = f"{x:.6g}/s × {r:.4g} s = {x * r:.4g} in flight, {ratio:.0%} of its depth {n}"
        if not FAR <= ratio <= 1.0 / FAR:
            raise ValueError(f"depths[{i}] must be what the run kept in flight, by Little's law, not {words}")
        if abs(ratio - 1.0) > NEAR:
            yield f"run {i} had {words}: the rest was outside the device, or not all of the run was measured"


def _doubts(depths: Floats, rates: Floats, spread: float | None, left_out: float) -> Iterator[str]:
    """Warnings."""
    if len(depths) > 1:
        growth = math.log(rates[-1] / rates[-2]) / math.log2(depths[-1] / depths[-2])
        if growth > max(RISING, 2.0 * (spread or 0.0)):
            yield (
                f"the rate still rises at the deepest depth, {depths[-1]:.0f}, by {rates[-1] / rates[-2] - 1.0:.1%} "
                f"from {depths[-2]:.0f}: "
                "it is taken to stay there, so that losses, and queue lengths that keep them small, are lower bounds"
            )
    else:
        yield "one depth does not tell how the rate depends on it: it is taken to be in proportion up to there"
    peak = int(np.argmax(rates))
    low = peak + int(np.argmin(rates[peak:]))
    if rates[low] < rates[peak] * (1.0 - max(RISING, 2.0 * (spread or 0.0))):
        yield (
            f"the rate falls from {rates[peak]:.6g}/s at depth {depths[peak]:.0f} to {rates[low]:.6g}/s at "
            f"{depths[low]:.0f}: more in flight does harm, and losses against no limit are against that"
        )
    if UNSURE < left_out < math.inf:
        yield (
            f"curves without one depth are off by {left_out:.0%} there: measure more depths near the knee for the "
            "rates between"
        )
    if spread is None:
        yield "nothing tells the spread of the runs: repeat some at the same depth"
