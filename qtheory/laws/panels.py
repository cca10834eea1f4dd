"""A nonnegative function in pieces, each a polynomial, so that its integrals are sums.

What a law has no closed form for are integrals of its survival function F̄ or its cdf F: the mean residual life
∫_t^∞ F̄(u) du, or the transform ∫ e^{−st} F̄(t) dt. So the function is cut into panels until a polynomial of degree 15
follows it on each to rounding, and until it varies by no more than a factor of DROP on each: then sums of panels are
right relatively, out to where the function is 1e-290. The polynomial is the Legendre series through 16 Gauss nodes,
and a panel is halved while the last two coefficients of its series are too large (Trefethen, Approximation Theory and
Approximation Practice, 2013, chapters 17 and 19).

The transform of a panel [m − h, m + h] is exact for the polynomial, however fast e^{−st} oscillates (Filon 1928;
Bakhvalov and Vasil'eva 1968): ∫ e^{−st} P_n((t − m)/h) dt = 2h e^{−sm} (−1)^n i_n(sh), with i_n the modified spherical
Bessel function. Where |s| h is small, Gauss's rule does the same for less; where it is huge, the ends are all.

>>> panels = Panels(lambda t: np.exp(-t), np.array([0.0, 1e-20, 1.0, 2.0, 4.0]))
>>> exact = np.exp(-1.5) - np.exp(-4.0)
>>> bool(abs(panels.beyond(np.array(1.5)) / exact - 1) < 1e-14)
True
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DEGREE = 16
NODES, WEIGHTS = legendre.leggauss(DEGREE)
# Legendre coefficients from the values at the nodes
TO_SERIES = legendre.legvander(NODES, DEGREE - 1) * WEIGHTS[:, None] * (np.arange(DEGREE) + 0.5)

TOLERANCE = 4e-12
"""Largest last coefficient of a panel's series; what is left out falls off geometrically from there."""
DROP = 16.0
NOTHING = 1e-300
"""Where a function counts as zero."""
SLOW, FAST = 4.0, 1e8
"""|s| h below which Gauss's rule integrates e^{−st} on a panel, and above which only the panel's ends count."""
MOST = 50_000
"""Panels; a function that needs more has no business here."""


class Panels:
    """A function in panels between `edges`, halved where need be.

    The function takes and returns arrays of any shape. A panel that starts at 0 is taken as it is: it must not matter.
    `rounding` is the function's absolute error, which no polynomial can follow.
    """

    def __init__(self, function: Callable[[Floats], Floats], edges: Floats, rounding: float = 0.0) -> None:
        a, b = edges[:-1], edges[1:]
        found: list[tuple[Floats, ...]] = []
        panels = 0
        while len(a):
            middle, half = (a + b) / 2.0, (b - a) / 2.0
            values = function(middle[:, None] + half[:, None] * NODES)
            series = values @ TO_SERIES
            top = np.abs(values).max(axis=1)
            least = values.min(axis=1)
            nodes = 1e-15 * b / half * (top - least)  # they are rounded, which shows where the function is steep
            smooth = np.abs(series[:, -2:]).max(axis=1) <= TOLERANCE * top + nodes + rounding
            even = least * DROP + rounding >= top
            done = (smooth & even) | (top <= NOTHING) | (a == 0.0) | (half <= 1e-14 * b)
            found.append((a[done], b[done], series[done]))
            panels += len(a)
            if panels > MOST:
                raise ArithmeticError(f"the survival function is too rough to integrate: more than {MOST} panels")
            split = ~done
            a, b = np.concatenate([a[split], middle[split]]), np.concatenate([middle[split], b[split]])
        self.left, self.right, self.series = (np.concatenate(column) for column in zip(*found, strict=True))
        order = np.argsort(self.left)
        self.left, self.right, self.series = self.left[order], self.right[order], self.series[order]
        self._middle, self._half = (self.left + self.right) / 2.0, (self.right - self.left) / 2.0
        # integrals from the left end of the panel, and over all panels before and after each
        self._integral = legendre.legint(self.series.T, lbnd=-1) * self._half
        whole = 2.0 * self._half * self.series[:, 0]
        self._before = np.concatenate([[0.0], np.cumsum(whole)])
        self._after = np.concatenate([np.cumsum(whole[::-1])[::-1], [0.0]])
        self._rest = legendre.legint(self.series.T, lbnd=1) * -self._half

    @property
    def total(self) -> float:
        """Integral over all panels."""
        return float(self._after[0])

    def before(self, t: Floats) -> Floats:
        """Integral from the first edge to t."""
        row, x = self._locate(t)
        return np.asarray(self._before[row] + legendre.legval(x, self._integral[:, row], tensor=False)).clip(
            0.0, self.total
        )

    def beyond(self, t: Floats) -> Floats:
        """Integral from t to the last edge."""
        row, x = self._locate(t)
        rest = np.asarray(self._after[row + 1] + legendre.legval(x, self._rest[:, row], tensor=False))
        return np.where(t < self.right[-1], rest.clip(0.0, self.total), 0.0)

    def _locate(self, t: Floats) -> tuple[NDArray[np.intp], Floats]:
        """The panel that holds t, and where in it, from −1 to 1; beyond the ends, its end."""
        row = np.clip(np.searchsorted(self.left, t, side="right") - 1, 0, len(self.left) - 1)
        return row, np.clip((t.clip(self.left[row], self.right[row]) - self._middle[row]) / self._half[row], -1.0, 1.0)

    def transform(self, s: NDArray[Any], start: float = 0.0) -> NDArray[Any]:
        """∫ e^{−st} f(t) dt over the panels from the edge `start` on, Re s >= 0, for each s of an array."""
        use = self.left >= start
        panels = self.left[use], self._middle[use], self._half[use], self.series[use]
        out = np.empty(s.shape, dtype=s.dtype)
        for index, x in np.ndenumerate(s):
            out[index] = _transform(x, *panels)
        return out


def _transform(s: Any, left: Floats, middle: Floats, half: Floats, series: Floats) -> Any:
    """∫ e^{−st} f(t) dt for one s."""
    from scipy.special import ive

    alive = np.real(s) * left < 745.0
    left, middle, half, series = left[alive], middle[alive], half[alive], series[alive]
    order, z = np.arange(DEGREE), s * half
    slow, fast = np.abs(z) <= SLOW, np.abs(z) > FAST
    kernel = np.exp(-z[slow][:, None] * NODES) * WEIGHTS @ legendre.legvander(NODES, DEGREE - 1)
    total = np.sum(half[slow] * np.exp(-s * middle[slow]) * (kernel * series[slow]).sum(axis=1))
    between = ~slow & ~fast
    if between.any():
        z = z[between][:, None]
        kernel = (-1.0) ** order * np.sqrt(2.0 * np.pi / z) * ive(order + 0.5, z)  # times e^{−Re z}
        scale = half[between] * np.exp(-s * middle[between] + np.real(z[:, 0]))
        total = total + np.sum(scale * (kernel * series[between]).sum(axis=1))
    if fast.any():
        at_left, at_right = series[fast] @ (-1.0) ** order, series[fast].sum(axis=1)
        right = middle[fast] + half[fast]
        total = total + np.sum(at_left * np.exp(-s * left[fast]) - at_right * np.exp(-s * right)) / s
    return total
