"""What a queue does with a service law too regular for few phases: extrapolated from Erlang laws of more variability.

A law of m phases has an scv of at least 1/m (Aldous and Shepp 1987), and the chain of c servers has C(c+m−1, m−1)
states a level: no room for a deterministic law. But up to an scv of 1 a queue's means and probabilities are close to a
polynomial in the scv. So the quantity is computed for Erlang laws, of scv 1/k, and the polynomial through these values
is taken at the scv of the law (Richardson's extrapolation). `validation/phase_type_fits.py` has the errors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from qtheory.arguments import count, sequence
from qtheory.laws.fitting.distance import affordable
from qtheory.laws.gamma import Erlang
from qtheory.laws.law import Law
from qtheory.laws.phase_type import PhaseType

MOST = 16


def extrapolated(
    quantity: Callable[[PhaseType], float], law: Law, *, servers: int = 1, orders: Sequence[int] | None = None
) -> float:
    """`quantity` of a law of scv at most 1, from its values for Erlang laws of the same mean.

    Parameters
    ----------
    quantity : function of a PhaseType
        A mean or a probability, such as `lambda law: qt.solve(engine_with(law)).blocking`. Quantiles are not smooth
        enough where they are close to those of the law itself.
    law : Law
        Service law; only its mean and scv matter. ValueError for an scv above 1.
    servers : int
        Decides the orders, up to three that a chain of so many servers affords.
    orders : sequence of int, optional
        Numbers of phases of the Erlang laws, all different; chosen by default.

    Examples
    --------
    The mean wait behind one server is linear in the scv, so it comes out exactly.

    >>> from qtheory.laws import Deterministic
    >>> wait = lambda law: 0.8 / (1 - 0.8) * law.residual().mean
    >>> round(extrapolated(wait, Deterministic(1.0)), 9)
    2.0
    """
    if law.scv > 1.0:
        raise ValueError(f"law must have an scv of at most 1, not {law.scv}")
    if orders is None:
        k = min(MOST, affordable(count("servers", servers)), math.ceil(2.0 / max(law.scv, 1e-9)))
        orders = sorted({math.ceil(k / 4), math.ceil(k / 2), k})
    ks = [count(f"orders[{i}]", k) for i, k in enumerate(sequence("orders", orders))]
    if len(set(ks)) < len(ks) or not ks:
        raise ValueError(f"orders must be different numbers of phases, at least one, not {list(orders)}")
    nodes = np.array([1.0 / k for k in ks])
    values = [quantity(Erlang(k, law.mean).phase_type()) for k in ks]
    weights = [math.prod((law.scv - b) / (a - b) for b in nodes if b != a) for a in nodes]
    return float(np.dot(weights, values))
