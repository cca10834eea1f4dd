"""Totals under a service law more regular than so many servers' phases can follow: interpolated in its scv.

A law of m phases has an scv of at least 1/m (Aldous and Shepp, 1987), and the chain of c servers C(c+m−1, m−1) states a
level: no room for regular laws. But with the arrival rates Λ(n) given, all that the law decides about the total is the
mean rate ν(n) at which requests complete while n are present, as P(n) ν(n) = P(n−1) Λ(n−1); and up to an scv of 1,
ln ν(n) is close to a polynomial in the scv. Its nodes are the phase-type law that was fitted, Erlang laws of fewer
phases (`phase_type.py`), and, before more servers than afford a law of many phases, a constant (`slotted.py`), unless
requests come too soon after completions for that: there ν(n) is close to min(n, c) for all laws, and the other nodes
do. At last Little's law is imposed on the servers, as in `slotted.py`. `validation/service_laws.py` has the errors,
`validation/closed_guests.py` those of guests that think little or much.
"""

from __future__ import annotations

import math
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from qtheory.engine import Device, Engine
from qtheory.laws import Erlang, Law
from qtheory.markov.merging import arrival_rates
from qtheory.solve.phase_type import PhaseChain
from qtheory.solve.product_form import station_population
from qtheory.solve.slotted import UnbalancedError, balanced, completion_rates

Floats = NDArray[np.float64]
FEW = 2
"""Servers up to which the law that is fitted, of 12 phases, makes a constant as a node superfluous."""
ORDERS, ORDERS_FEW = (1, 2), (1, 3, 6)
"""Phases of the Erlang laws; and before few servers."""
APART = 0.08
"""Nodes closer than this to the fitted law are left out."""
MOST_SERVERS = 128
"""Beyond this a slot has too much in it to be followed."""
LEAST_STEP = 1e-3
"""A step in scv smaller than this is not worth taking."""
LEAST = 1e-200
"""Probabilities below this may have lost their digits."""


def refusal(engine: Engine, law: Law, fitted: Law) -> str | None:
    """Why there is nothing to be said about the step from the fitted law to `law`, or None."""
    if law.scv >= 1.0 or abs(fitted.scv - law.scv) < LEAST_STEP:
        return "the fitted law is as regular"
    if any(disk.saturated for disk in engine.disks):
        return "a saturated disk completes and submits at once"
    servers = min(engine.devices[0].servers or 1, engine.queue_length or engine.most, engine.most)
    return f"{servers} servers, more than {MOST_SERVERS}" if servers > MOST_SERVERS else None


def factors(engine: Engine, law: Law, fitted: Law, chain: PhaseChain, followed: bool) -> Floats:
    """What the probability of each total is multiplied by.

    `chain` is that of `engine`, which has the fitted law. The polynomial is of chains in which disks split a total as
    under exponential service, also where their split is `followed` in `chain`. Raises UnbalancedError where Little's
    law cannot be imposed.
    """
    servers, mean = chain.servers, law.mean

    def like(service: Law) -> PhaseChain:
        device = Device(servers=engine.devices[0].servers, service=service.phase_type())
        return PhaseChain.of(Engine(engine.disks, device, engine.queue_length, engine.hold, engine.shares))

    rates = {fitted.scv: _completion_rates(like(fitted) if followed else chain) * mean}
    busy = np.minimum(np.arange(1, engine.most + 1), servers)
    for k in ORDERS if servers > FEW else ORDERS_FEW:
        if abs(1.0 / k - fitted.scv) >= APART:
            rates[1.0 / k] = _completion_rates(like(Erlang(phases=k, mean=mean))) * mean if k > 1 else busy
    if servers > FEW:
        exponential = station_population(engine.disks, busy / mean)
        arrivals = arrival_rates(exponential.ratios)[:-1] * mean
        with suppress(UnbalancedError):
            rates[0.0] = completion_rates(arrivals, servers, exponential.pmf)
    top = min(len(chain.levels) - 1, *(len(found) for found in rates.values()))
    step = -np.log(rates[fitted.scv][:top])
    for node, found in rates.items():
        weight = math.prod((law.scv - other) / (node - other) for other in rates if other != node)
        step += weight * np.log(found[:top])
    height = np.concatenate([[0.0], -np.cumsum(step), np.zeros(len(chain.levels) - 1 - top)])
    height[top + 1 :] = height[top]
    before = chain.pmf
    likely = before > LEAST
    after = np.where(likely, before * np.exp(height - height[likely].max()), 0.0)
    after /= after.sum()
    accepted = np.append(np.where(likely[:-1], chain.finishing[1:] / np.maximum(before[:-1], LEAST), 0.0), 0.0) * mean
    after = balanced(after, accepted, np.minimum(np.arange(len(after)), servers))
    return after / np.maximum(before, LEAST)


def _completion_rates(chain: PhaseChain) -> Floats:
    """Completions a second with 1, 2, ... present."""
    pmf = chain.pmf[1:]
    without = np.minimum(np.arange(1, len(pmf) + 1), chain.servers) / chain.law.mean
    return np.where(pmf > LEAST, chain.finishing[1:] / np.maximum(pmf, LEAST), without)
