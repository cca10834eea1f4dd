"""How long a new queue length takes to have its effect.

**Shrinking waits.** While more than Q are in flight nothing is submitted, so with n in flight what is left is served
like a drain that stops at Q: a pure death chain from n down to Q with the device's rates μ(j),

    E[T | n] = Σ_{Q<j<=n} 1/μ(j),    with c servers   S [(n − max(Q, c))^+ / c + H_{min(n, c)} − H_{min(Q, c)}],

exactly for exponential service and for a rate curve, whatever arrives meanwhile. Where Q stays above the servers that
is a sum of n − Q equal exponentials: S (n − Q)/c on average, its standard deviation √(n − Q) times smaller.

**Growing is immediate**, and what follows is the engine's relaxation. With one exponential device the number present
is a birth-death chain with rates λ(n), μ(min(n, Q)), and P(n, t) goes to the stationary law like e^{−t/τ}, 1/τ the gap
between 0 and the next eigenvalue of its generator, symmetric in the weights √P(n) (Keilson, 1979):

    A[n, n] = −λ(n) − μ(n),    A[n, n+1] = A[n+1, n] = √(λ(n) μ(n+1)).

With several open disks λ(n) is the mean over how n is split in steady state; test functions of n alone are some of all
test functions, so that the gap of the whole chain is at most this one (Rayleigh), and τ at least this one. Saturated
disks always have the same number present: growing acts at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qtheory.arguments import count
from qtheory.engine import Engine

if TYPE_CHECKING:
    from qtheory.drain.drain_law import DrainTime


def shrink_time(engine: Engine, queue_length: int, *, in_flight: int | None = None) -> DrainTime:
    """Law of the time from the moment Q becomes `queue_length` until no more than that are in flight.

    Parameters
    ----------
    engine : Engine
        As it was before, with its longer queue: one line, one shared device, exponential service or a rate curve.
    queue_length : int
        The new Q.
    in_flight : int, optional
        Requests in flight at that moment; None: their stationary number.

    Raises ValueError for arguments out of range and for an engine that is not covered, which
    `qt.simulate_resizing` is for.

    Examples
    --------
    From 64 in flight to 8, on four servers of 1 ms: 56 completions at 4000 a second.

    >>> import qtheory as qt
    >>> engine = qt.Engine([qt.Disk(qt.Closed(64))], qt.Device(servers=4, service=qt.Exponential(mean=1e-3)))
    >>> time = qt.shrink_time(engine, 8)
    >>> round(time.mean, 9), round(time.quantile(0.99), 6)
    (0.014, 0.018716)
    """
    from qtheory.drain import shared_device  # the solvers load when asked
    from qtheory.drain.drain_law import DrainTime
    from qtheory.markov.pure_death import PureDeath
    from qtheory.solve.product_form import station_population, station_rates

    _check(engine)
    limit = count("queue_length", queue_length)
    rates, slots = station_rates(engine)
    if in_flight is None:
        number = station_population(engine.disks, rates)
        pmf, rounding = shared_device.taken(number.pmf, slots), number.rounding
    else:
        present = count("in_flight", in_flight, least=0)
        if present > slots:
            raise ValueError(f"in_flight must be at most {slots}, what can be submitted, not {in_flight!r}")
        pmf, rounding = np.zeros(present + 1), 0.0
        pmf[-1] = 1.0
    # what is within the limit waits for nothing
    beyond = np.append(pmf[: limit + 1].sum(), pmf[limit + 1 :])
    death = PureDeath(beyond, rates[limit : limit + len(beyond) - 1])
    error = shared_device.ROUNDING + rounding
    return DrainTime(
        method="pure_death, down to Q",
        exact=True,
        error_bounds=dict.fromkeys(("mean", "variance", "sf"), error),
        mean=death.mean,
        variance=death.variance,
        population_pmf=beyond,
        _sf=death.sf(),
    )


def relaxation_time(engine: Engine) -> float:
    """Time constant τ [s] with which the number present settles after the queue was made as long as it is.

    Exact for one disk; at least this for several open ones; 0 for saturated ones. Raises as `shrink_time`.

    Examples
    --------
    M/M/1 with endless room: 1/(√μ − √λ)².

    >>> import qtheory as qt
    >>> device = qt.Device(servers=1, service=qt.Exponential(mean=1e-3))
    >>> round(relaxation_time(qt.Engine([qt.Disk(qt.Poisson(250.0), buffer=2000)], device)), 4)
    0.004
    """
    from scipy.linalg import eigvalsh_tridiagonal

    from qtheory.markov.merging import arrival_rates
    from qtheory.solve.product_form import station_population, station_rates

    _check(engine)
    rates, _ = station_rates(engine)
    number = station_population(engine.disks, rates)
    least, most = number.constant, len(number.pmf) - 1
    if most == least:
        return 0.0
    birth = arrival_rates(number.ratios)[: most - least]
    death = rates[least:most]
    diagonal = -np.append(birth, 0.0) - np.append(0.0, death)
    gap = -eigvalsh_tridiagonal(diagonal, np.sqrt(birth * death), select="i", select_range=(most - least - 1,) * 2)[0]
    return float(1.0 / gap)


def _check(engine: Engine) -> None:
    from qtheory.drain import shared_device

    if not isinstance(engine, Engine):
        raise TypeError(f"engine must be a qt.Engine, not {engine!r}")
    reason = shared_device.refusal(engine)
    if reason is not None:
        raise ValueError(f"this engine is not covered: {reason}; qt.simulate_resizing covers it")
