"""Hyperexponential law with the tail of a law, phase by phase from the far end (Feldmann and Whitt 1998).

Where t is large only the slowest phase is left: its probability and rate follow from P(S > t) at two points c₁ and
b c₁. It is taken away, the next follows from c₂ and b c₂ with c₂ < c₁/b, and so on; the last phase has the rest of the
probability, and here also of the mean, which is so exact. All this needs a decreasing hazard rate, or nearly so:
lognormal laws of scv above 1, Weibull laws of shape below 1, Pareto's.

The points are equally far apart on a logarithmic scale, between those that the residual law passes with probability 0.9
and 0.02: what a queue feels of a law lies there.
"""

from __future__ import annotations

import math

import numpy as np

from qtheory.arguments import count
from qtheory.laws.hyperexponential import Hyperexponential
from qtheory.laws.law import Law

BODY, END = 0.1, 0.98
"""Levels of the residual law between which the points lie."""


def tail_fit(law: Law, phases: int) -> Hyperexponential:
    """Hyperexponential law of `phases` >= 2 phases with the mean of `law`, and its P(S > t) at 2·phases − 2 points.

    Raises ValueError when the recursion leaves a phase nothing: the hazard rate of `law` does not decrease enough.

    Examples
    --------
    >>> from qtheory.laws import Weibull
    >>> law = Weibull(mean=1e-3, scv=5.0)
    >>> fitted = tail_fit(law, 4)
    >>> abs(fitted.mean / law.mean - 1.0) < 1e-12, round(float(fitted.sf(5e-3) / law.sf(5e-3)), 1)
    (True, 1.0)
    """
    phases = count("phases", phases, least=2)
    low, high = law.residual().quantile([BODY, END])
    at = np.geomspace(high, low, phases)
    apart = math.sqrt(at[0] / at[1])
    p, means = np.zeros(phases), np.ones(phases)

    def left(t: float) -> float:
        return float(law.sf(t) - p @ np.exp(-t / means))

    for i, t in enumerate(at[:-1]):
        near, far = left(t), left(t * apart)
        if not near > far > 0.0:
            raise _refused(law)
        mean = (apart - 1.0) * t / math.log(near / far)
        p[i], means[i] = near * math.exp(t / mean), mean
    p[-1] = 1.0 - p.sum()
    means[-1] = (law.mean - p[:-1] @ means[:-1]) / p[-1] if p[-1] > 0.0 else 0.0
    if means[-1] <= 0.0:
        raise _refused(law)
    return Hyperexponential(p, means)


def _refused(law: Law) -> ValueError:
    return ValueError(f"law must have a hazard rate that decreases over its body to be fitted so, not {law!r}"[:300])
