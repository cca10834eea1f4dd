"""Square-root staffing: many servers, c = a + β √a (Halfin and Whitt 1981).

As the load a grows with β fixed, the delay probability of M/M/c tends to a limit between 0 and 1,

    C → h(β) = 1 / (1 + β Φ(β)/φ(β)),     β > 0,

Φ and φ the normal law and density. So the margin above the load grows as its square root only: the price of sharing.
With arrivals of peakedness z the margin is √z times as large (`arrivals.peakedness`), and then a heuristic.

>>> round(halfin_whitt(1.0), 6)
0.223361
>>> round(square_root_staffing(load=100.0, delay_probability=0.2), 3)      # exactly 110.994
110.615
"""

from __future__ import annotations

import math

from qtheory.arguments import positive, probability


def halfin_whitt(margin: float) -> float:
    """The limit of the delay probability for β = `margin` > 0; ValueError otherwise."""
    beta = positive("margin", margin)
    return 1.0 / (1.0 + beta * _normal_over_density(beta))


def square_root_staffing(*, load: float, delay_probability: float, peakedness: float = 1.0) -> float:
    """Servers a + β √(a z) for a delay probability, offered load a [erlangs] and peakedness z; a real number.

    `servers_for_delay` is the exact answer for z = 1. ValueError for arguments out of range.
    """
    from scipy.optimize import brentq

    load, z = positive("load", load), positive("peakedness", peakedness)
    target = probability("delay_probability", delay_probability)

    def excess(beta: float) -> float:
        return math.log(halfin_whitt(beta)) - math.log(target)

    low, high = 1.0, 1.0
    while excess(low) < 0.0:
        low /= 2.0
    while excess(high) > 0.0:
        high *= 2.0
    beta = low if low == high else float(brentq(excess, low, high, xtol=1e-300, rtol=1e-14))
    return load + beta * math.sqrt(load * z)


def _normal_over_density(beta: float) -> float:
    """Φ(β)/φ(β), up to where it leaves the range of floats."""
    if beta > 37.0:
        raise ValueError(f"margin must be at most 37: beyond it the delay probability is below 1e-300, not {beta}")
    return math.erfc(-beta / math.sqrt(2.0)) / 2.0 * math.sqrt(2.0 * math.pi) * math.exp(beta * beta / 2.0)
