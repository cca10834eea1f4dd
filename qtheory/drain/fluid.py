"""Drain of a large shared device whose depth limit changes before the stop: fluid limit with a normal correction.

As in `depth_schedule.py` p requests are taken and n present, and under the limit q, D(t) being those completed so far
and y = p(0) − D what would be left of those taken at first, were none taken since,

    p = max(y, min(n, q)),     dn = Λ(n) − μ min(p, c),     dy = −μ min(p, c):

while p > q requests only leave, and then p = min(n, q). For large systems n and y follow these equations closely, and
their deviations are normal (Kurtz, 1970, 1971). The means and covariances are those of a normal law all along (the
Gaussian closure of Rothkopf and Oren, 1979, as in Massey and Pender, 2013), so that the corners of min and max are
rounded off as the spread of the law says: with a = min(q, c),

    E min(p, c) = E min(n, a) + E (y − a)^+ − E (y − c)^+,
    Cov(n, min(p, c)) = Var n · P(n < a) + Cov(n, y) P(a < y < c),    and for y likewise,

by Stein's lemma. Servers that are followed at once complete with the dispersion of renewals, the scv of the service,
not 1. Of what is in service when nothing follows, the long services are left: so the shares ξ of the phases of the busy
servers are followed as well, with S the sub-generator, s its exits, α where a service begins, and σ the rate of
beginnings for each busy server,

    dξ = ξ S + σ α − (σ − ξ s) ξ,     μ = ξ s.

The stationary number at the first step is not normal: the equations are solved from NODES numbers that stand for it,
each with its phases and without a spread, and the laws at the stop are mixed. From there the drain is exact
(`drain/phase_type.py`) for that law of p, the phases of the busy servers independent with the shares ξ.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from scipy.special import gammaln, ndtr, xlogy

from qtheory.drain.drain_law import DrainTime
from qtheory.drain.phase_type import Death
from qtheory.drain.throttle import DepthSchedule
from qtheory.engine import Engine
from qtheory.markov.merging import arrival_rates
from qtheory.solve import phase_type
from qtheory.solve.phase_type import PhaseChain, solved_chain
from qtheory.solve.product_form import station_population, station_rates

Floats = NDArray[np.float64]
NODES = 24
LEAST_SERVERS = 16
TOLERANCE = 1e-6
SMALL = 1e-9
"""Variance that stands for none."""
LEAST_TAKEN = 2.0
"""Mean number taken at the stop below which the system is no longer large, and the errors were seen to grow."""
MEASURED = {"mean": 0.02, "variance": math.inf, "sf": math.inf, "quantile": 0.035}
"""Largest relative errors, quantile at 99 %, half-widths added, over the cells of `validation/fluid.py`."""
MOST_SERVERS = 32
REGION = f"one disk of 96, 16 to {MOST_SERVERS} servers, utilization 0.8 to 1.3 or saturated, scv 1/2 to 2"
FEW = f"fewer than {LEAST_TAKEN:g} requests are left at the stop in the mean: too few for a fluid limit"
NOT_EXACT = f"the chain is too large: by a fluid limit with a normal correction, measured for {REGION}"


def refusal(engine: Engine) -> str | None:
    """Why this method cannot answer for `engine`, or None."""
    saturated = [disk.saturated for disk in engine.disks]
    if engine.streams:
        return f"the arrivals of disks[{engine.streams[0].disks[0]}] are not Poisson"
    if engine.hold == "refuse":
        return "it refuses at Q"
    if any(saturated) and not all(saturated):
        return f"disks[{saturated.index(True)}] is saturated and disks[{saturated.index(False)}] is not"
    if (engine.devices[0].servers or 0) < LEAST_SERVERS:
        return f"it has fewer than {LEAST_SERVERS} servers"
    return phase_type.refusal(engine)


def drain(engine: Engine, schedule: DepthSchedule) -> DrainTime:
    """Drain of an engine that this method covers, stopped at time 0 of the schedule."""
    chain = solved_chain(engine)[0]
    pmfs, shares = at_stop(engine, chain, schedule)
    c = chain.servers
    of_phases = [np.array([multinomial(chain.counts.states(busy), xi) for xi in shares]) for busy in range(c + 1)]
    death = Death(chain, [pmf @ of_phases[min(p, c)] for p, pmf in enumerate(pmfs.T)])
    mean, variance = death.moments
    few = float(pmfs.sum(axis=0) @ np.arange(pmfs.shape[1])) < LEAST_TAKEN
    measured = not few and c <= MOST_SERVERS and (len(engine.disks) == 1 or engine.disks[0].saturated)
    return DrainTime(
        method="fluid",
        exact=False,
        error_bounds=MEASURED if measured else dict.fromkeys(MEASURED, math.inf),
        warnings=(NOT_EXACT, *([FEW] if few else []), *death.warnings),
        mean=mean,
        variance=variance,
        population_pmf=pmfs.sum(axis=0),
        _sf=death.sf,
    )


def at_stop(engine: Engine, chain: PhaseChain, schedule: DepthSchedule) -> tuple[Floats, Floats]:
    """P(node, number taken at the stop), and for each node the shares of the phases of the busy servers."""
    most, c, law = engine.most, chain.servers, chain.law
    slots = chain.slots if engine.hold == "ring" else most
    births = None
    if not engine.disks[0].saturated:
        ratios = station_population(engine.disks, station_rates(engine)[0], most).ratios
        births = np.append(arrival_rates(ratios)[:most], 0.0)
    points, chances = np.polynomial.hermite_e.hermegauss(9)
    chances = chances / chances.sum()
    exits = chain.counts.exit

    def moving(limit: float, state: Floats) -> Floats:
        n, y, var_n, var_y, cov = state[:5]
        xi = state[5:]
        sd_n, sd_y = (np.sqrt(np.maximum(v, SMALL)) for v in (var_n, var_y))
        a = min(limit, float(c))
        free, falling = ndtr((a - n) / sd_n), ndtr((c - y) / sd_y) - ndtr((a - y) / sd_y)
        followed = np.clip(1.0 - free - falling, 0.0, 1.0)
        serving = busy(state, limit, c)
        each = exits @ xi
        rate = serving * each
        with_n, with_y = (var_n * free + cov * falling) * each, (cov * free + var_y * falling) * each
        noise = rate * (1.0 + (law.scv - 1.0) * followed)
        coming, slope = np.zeros(NODES), np.zeros(NODES)
        if births is not None:
            rates = np.interp(n + sd_n * points[:, None], np.arange(most + 1), births)
            coming, slope = chances @ rates, chances @ (rates * points[:, None]) / sd_n
        begun = each * followed + coming * free / np.maximum(serving, SMALL)
        phases = law.T.T @ xi + begun * law.alpha[:, None] - (begun - each) * xi
        moments = [
            coming - rate,
            -rate,
            coming + noise + 2.0 * (slope * var_n - with_n),
            noise - 2.0 * with_y,
            noise + slope * cov - with_y - with_n,
        ]
        if births is None:  # whoever finishes comes again
            moments[0] = moments[2] = moments[4] = np.zeros(NODES)
        return np.array([*moments, *phases])

    state, weights = at_first(chain, slots)
    steps = schedule.steps
    limit = float(slots)
    for (start, given), end in zip(steps, [*(t for t, _ in steps[1:]), 0.0], strict=True):
        state = begun_anew(state, limit)
        before = busy(state, limit, c)
        limit = float(slots if given is None else min(given, slots))
        after = np.maximum(busy(state, limit, c), SMALL)
        state[5:] += np.maximum(after - before, 0.0) / after * (law.alpha[:, None] - state[5:])
        if end > start:
            found = solve_ivp(
                lambda _, x, limit=limit: moving(limit, x.reshape(-1, NODES)).ravel(), (0.0, end - start),
                state.ravel(), method="LSODA", rtol=TOLERANCE, atol=TOLERANCE,
            )  # fmt: skip
            state = found.y[:, -1].reshape(-1, NODES)
    n, y, var_n, var_y, _ = state[:5]
    numbers = np.arange(most + 1)[:, None] + 0.5
    inside = numbers < limit
    spread = np.sqrt(np.maximum(np.where(inside, var_n, var_y), SMALL))
    cdf = ndtr((numbers - np.where(inside, n, y)) / spread)
    cdf[-1] = 1.0
    shares = np.maximum(state[5:], 0.0).T
    return np.maximum(np.diff(cdf, axis=0, prepend=0.0), 0.0).T * weights[:, None], shares / shares.sum(1)[:, None]


def at_first(chain: PhaseChain, slots: int) -> tuple[Floats, Floats]:
    """Where the equations begin, for numbers that stand for the stationary law, and their probabilities."""
    below = np.cumsum(chain.pmf)
    at, weights = np.polynomial.legendre.leggauss(NODES)
    first = np.searchsorted(below / below[-1], (at + 1.0) / 2.0)
    phases = np.zeros((len(chain.law.alpha), NODES))
    for i, n in enumerate(first.tolist()):
        # none is busy: any, they are of no account
        found = chain.levels[n] @ chain.counts.states(min(n, chain.servers)) if n else chain.law.alpha
        phases[:, i] = found / found.sum()
    nothing = np.zeros(NODES)
    return np.array([first, np.minimum(first, slots), nothing, nothing, nothing, *phases]), weights / 2.0


def begun_anew(state: Floats, limit: float) -> Floats:
    """The moments when y becomes what is taken."""
    n, y, var_n, var_y, cov = state[:5]
    sd_n, sd_y = (np.sqrt(np.maximum(v, SMALL)) for v in (var_n, var_y))
    mean = n - excess(n, sd_n, limit) + excess(y, sd_y, limit)
    square = n**2 + var_n - excess_square(n, sd_n, limit) + excess_square(y, sd_y, limit)
    with_n = var_n * ndtr((limit - n) / sd_n) + cov * ndtr((y - limit) / sd_y)
    return np.array([n, mean, var_n, np.maximum(square - mean**2, 0.0), with_n, *state[5:]])


def busy(state: Floats, limit: float, servers: int) -> Floats:
    """E min(p, c) under the limit."""
    n, y, var_n, var_y = state[:4]
    sd_n, sd_y = (np.sqrt(np.maximum(v, SMALL)) for v in (var_n, var_y))
    a = min(limit, float(servers))
    serving = n - excess(n, sd_n, a) + excess(y, sd_y, a) - excess(y, sd_y, float(servers))
    return np.asarray(np.maximum(serving, 0.0))


def excess(mean: Floats, sd: Floats, level: float) -> Floats:
    """E (X − level)^+ of a normal X."""
    z = (mean - level) / sd
    return np.asarray((mean - level) * ndtr(z) + sd * np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi))


def excess_square(mean: Floats, sd: Floats, level: float) -> Floats:
    """E (X² − level²)^+ of a normal X that is not negative: E ((X − level)^+)² + 2 level E (X − level)^+."""
    z = (mean - level) / sd
    density = np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    square = ((mean - level) ** 2 + sd**2) * ndtr(z) + (mean - level) * sd * density
    return np.asarray(square + 2.0 * level * excess(mean, sd, level))


def multinomial(counts: NDArray[np.int64], shares: Floats) -> Floats:
    """Probabilities of the counts, one in each row, of independent things with these shares."""
    logs = gammaln(counts.sum(axis=1) + 1.0) - gammaln(counts + 1.0).sum(axis=1)
    return np.asarray(np.exp(logs + xlogy(counts, shares).sum(axis=1)))
