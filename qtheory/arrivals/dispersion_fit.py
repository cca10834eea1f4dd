"""A Markov-modulated Poisson process from an index of dispersion alone, where no more of the arrivals is known.

A superposition of interrupted Poisson processes has (see `mmpp.py`; Andersen & Nielsen 1998)

    I(w) = 1 + Σ a_i φ(w/τ_i),     φ(x) = 1 − (1 − e^{−x})/x,     a_i >= 0,

linear in the strengths a_i once the time scales τ_i are a grid: nonnegative least squares (Lawson & Hanson 1974) on the
relative errors of I finds them. The grid is coarsened until few enough are left. I below 1 is out of reach.

I(w) leaves open how rare the bursts are. All parts get the same share of time on, p: part i then has the mean rate
√(a_i λ p / (2 τ_i (1 − p))), so that p is bounded by the sum of these being the rate λ of all. The default is that
bound or, where it is more, a half: the mildest bursts. What is left of λ is Poisson.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtheory.arguments import count, positive, probability
from qtheory.arrivals.map import MAP
from qtheory.arrivals.mmpp import IPP

Floats = NDArray[np.float64]

MOST_PARTS = 6
STEPS_PER_DECADE = 8
REGULAR = 0.9
"""An index below this is not taken for a Poisson process's noise."""


def fit_dispersion(
    windows: ArrayLike, dispersion: ArrayLike, rate: float, *, parts: int = 4, on: float | None = None
) -> MAP:
    """Superpose interrupted Poisson processes so that I(w) is `dispersion` at `windows` [s]; the rate [1/s] is exact.

    Parameters
    ----------
    windows, dispersion : array-like
        Rising window lengths [s] and the index of dispersion at each, as in a trace's summary.
    rate : float
        Arrivals per second.
    parts : int
        Most processes superposed, 1 to 6: the order is 2 to the power of their number.
    on : float, optional
        Share of time that each part is on; by default the largest possible, at most 1/2. A smaller one makes the same I
        from rarer and stronger bursts, and longer waits.

    Raises ValueError when windows do not rise from above 0, when the index is below 0.9 somewhere (more regular than
    Poisson: no such process is), and when `on` is too large for it.

    Examples
    --------
    >>> known = IPP(rate=100.0, on=0.1, off=0.9).superposed(IPP(rate=20.0, on=2.0, off=2.0))
    >>> w = np.geomspace(1e-3, 1e3, 25)
    >>> fit = fit_dispersion(w, known.dispersion(w), known.rate)
    >>> round(fit.rate, 9), bool(np.abs(fit.dispersion(w) / known.dispersion(w) - 1).max() < 0.02)
    (20.0, True)
    """
    t, index = np.asarray(windows, dtype=float), np.asarray(dispersion, dtype=float)
    rate, parts = positive("rate", rate), count("parts", parts)
    if parts > MOST_PARTS:
        raise ValueError(f"parts must be at most {MOST_PARTS}, not {parts}")
    if t.ndim != 1 or len(t) < 2 or not (t[0] > 0.0 and np.all(np.diff(t) > 0.0) and np.isfinite(t[-1])):
        raise ValueError(f"windows must be two or more times that rise from above 0, not {windows!r}")
    if index.shape != t.shape or not np.all(np.isfinite(index)):
        raise ValueError(f"dispersion must have a finite number for each window, not {dispersion!r}")
    if index.min() < REGULAR:
        at = int(index.argmin())
        raise ValueError(
            f"dispersion[{at}] must be at least {REGULAR}, not {index[at]}: a superposition of interrupted Poisson "
            "processes is never more regular than Poisson"
        )
    scales, strengths = _parts(t, np.maximum(index, 1.0), parts)
    each = np.sqrt(strengths * rate / (2.0 * scales))  # mean rates for p = 1/2
    bound = 1.0 / (1.0 + (float(each.sum()) / rate) ** 2)
    share = min(bound, 0.5) if on is None else probability("on", on)
    if share > bound:
        raise ValueError(f"on must be at most {bound:.4g} for this dispersion and rate, not {on!r}")
    each *= math.sqrt(share / (1.0 - share))
    rest = rate - float(each.sum())
    processes = [
        IPP(mean / share, scale / (1.0 - share), scale / share) for mean, scale in zip(each, scales, strict=True)
    ]
    if not processes or rest > 1e-12 * rate:
        processes.append(MAP([[-rest]], [[rest]]))
    whole = processes[0].superposed(*processes[1:])
    return whole.scaled(whole.rate / rate)


def _parts(t: Floats, index: Floats, parts: int) -> tuple[Floats, Floats]:
    """Time scales [s] and strengths a_i > 0, at most `parts` of them."""
    from scipy.optimize import nnls

    scales = np.geomspace(t[0] / 10.0, t[-1], math.ceil(STEPS_PER_DECADE * math.log10(10.0 * t[-1] / t[0])) + 1)
    while True:
        x = t[:, None] / scales
        found, _ = nnls((1.0 + np.expm1(-x) / x) / index[:, None], (index - 1.0) / index)
        scales, strengths = scales[found > 0.0], found[found > 0.0]
        if len(scales) <= parts:
            return scales, strengths
        # The nearest two become one, at the geometric mean of their scales by strength.
        k = int(np.diff(np.log(scales)).argmin())
        pair = slice(k, k + 2)
        joined = math.exp(float(np.average(np.log(scales[pair]), weights=strengths[pair])))
        scales = np.concatenate([scales[:k], [joined], scales[k + 2 :]])
