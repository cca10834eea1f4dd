"""Markov-modulated Poisson processes: Poisson arrivals whose rate is set by a Markov chain in the background.

Phase i brings requests at rate r_i and changes by a generator R, whatever arrives: D1 = diag(r), D0 = R − D1 (Heffes &
Lucantoni 1986; Fischer & Meier-Hellstern 1993). Two phases, one of them silent, are an interrupted Poisson process
(Kuczura 1973). With two phases the correlation of the rate decays as e^{−t/τ}, 1/τ the sum of the two switching rates,
and the counts have

    I(t) = 1 + a (1 − (1 − e^{−t/τ}) τ/t),     a = 2 τ Var(rate) / E(rate).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from qtheory.arguments import nonnegative, positive, sequence
from qtheory.arrivals.map import MAP


def MMPP(rates: Sequence[float], generator: ArrayLike) -> MAP:
    """Poisson arrivals at `rates[i]` [1/s] while the chain with this generator [1/s] is in phase i.

    Raises ValueError when a rate is negative, when all are 0, and when the generator is not one.

    Examples
    --------
    >>> process = MMPP(rates=[10.0, 1.0, 0.0], generator=[[-1, 1, 0], [0, -1, 1], [1, 0, -1]])
    >>> round(process.rate, 12)
    3.6666666666...
    """
    each = np.array([nonnegative(f"rates[{i}]", r) for i, r in enumerate(sequence("rates", rates))])
    moves = np.asarray(generator, dtype=float)
    if moves.shape != (len(each), len(each)):
        raise ValueError(f"generator must have a row and a column for each of the {len(each)} rates, not the shape "
                         f"{moves.shape}")  # fmt: skip
    if not each.any():
        raise ValueError(f"rates must not all be 0: {rates!r}")
    return MAP(moves - np.diag(each), np.diag(each))


def mmpp2(rates: tuple[float, float], stays: tuple[float, float]) -> MAP:
    """Two phases with arrival `rates` [1/s], which last exponential times of means `stays` [s].

    Examples
    --------
    >>> mmpp2(rates=(30.0, 10.0), stays=(1.0, 3.0)).rate
    15.0
    """
    if len(sequence("rates", rates)) != 2 or len(sequence("stays", stays)) != 2:
        raise ValueError(f"rates and stays must have two values each, not {rates!r} and {stays!r}")
    out = [1.0 / positive(f"stays[{i}]", stay) for i, stay in enumerate(stays)]
    return MMPP(rates, [[-out[0], out[0]], [out[1], -out[1]]])


def IPP(rate: float, on: float, off: float) -> MAP:
    """Interrupted Poisson process: arrivals at `rate` [1/s] for times of mean `on` [s], none for times of mean `off`.

    Examples
    --------
    >>> IPP(rate=100.0, on=0.1, off=0.9).rate
    10.0
    """
    return mmpp2((positive("rate", rate), 0.0), (positive("on", on), positive("off", off)))
