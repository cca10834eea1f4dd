"""Disks whose requests follow different service laws at one shared device, behind one line.

With unlimited room and Poisson arrivals the disk of each request is drawn independently of the others', and all follow
one law, the mixture weighted by the arrival rates. With finite buffers they do not: while servers are held by slow
requests the fast disks fill their buffers, and who is in the line tells how long that has been. Taking the mixture, or
the product form for who is in the line, misses by half where means differ 100 times. So who waits is followed together
with who is served (`mixed_chain.py`), by kinds of equal disks.

Where the line is too long for that, all requests are given the mixture, weighted by what is accepted of each disk: that
is right while buffers are hardly ever full. More kinds than the states allow are pooled into sides, those of similar
mean service times together; the law of a side is then the mixture weighted by what is accepted of each kind, which is
found by repetition. Laws that are not of phase type, or of more phases than so many servers afford, are replaced by
fits, as in `fitted_service.py`; the service of a request itself follows its own law.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations, pairwise
from math import comb

import numpy as np
from numpy.typing import NDArray

from qtheory.arrivals import Poisson
from qtheory.engine import Engine
from qtheory.laws import Law, Mixture
from qtheory.laws.fitting import PhaseTypeFit, fit_phase_type
from qtheory.laws.fitting.moments import two_moments
from qtheory.solve import fitted_service, phase_type
from qtheory.solve.fitted_service import of_fit, told
from qtheory.solve.mixed_chain import Kind, MixedChain, Part, Side
from qtheory.solve.phase_type import reach
from qtheory.solve.population import disk_state, responding, total_blocking
from qtheory.solve.sojourn import WaitThenService
from qtheory.solve.steady_state import DiskState, SteadyState

Floats = NDArray[np.float64]
MOST_STATES = 600_000
MOST_SIZE = 200
"""Largest number of states of the servers' phases."""
MOST_WORK = 2e9
"""Of an exact solution for total and phases: cubes of the numbers of states, added over the levels."""
MOST_SIDES = 3
MOST_PHASES = 12
"""Of all sides together."""
MOST_FITTED = 4
"""Phases of a fit."""
KEPT = 0.4
"""Of the line that `reach` keeps, where levels fade to 1e-40; here 1e-16 will do."""
SETTLED = 1e-3
"""Change of the throughputs at which the laws of sides are left as they are."""
PASSES = 4
ROUNDING = 1e-9
POOLED = (
    "the disks have more laws than are followed one by one: those of similar means are pooled, and share their part as "
    "if they had one law"
)
MEASURED = {
    "parted": {
        "throughput": 0.012,
        "blocking": 0.019,
        "mean_wait": 0.032,
        "mean_response": 0.023,
        "mean_in_system": 0.017,
        "mean_in_flight": 0.017,
        "utilization": 0.004,
        "wait_quantile": 0.156,
        "response_quantile": 0.064,
        "disks.blocking": 0.038,
        "disks.mean_wait": 0.051,
        "drain.mean": 0.034,
        "drain.quantile": 0.093,
        "drain.sf": 0.082,
    },
    "pooled": {
        "throughput": 0.156,
        "blocking": 1.047,
        "mean_wait": 0.478,
        "mean_response": 0.109,
        "mean_in_system": 0.075,
        "mean_in_flight": 0.075,
        "utilization": 0.027,
        "wait_quantile": 0.302,
        "response_quantile": 0.135,
        "disks.blocking": 2.152,
        "disks.mean_wait": 0.552,
        "drain.mean": 0.134,
        "drain.quantile": 0.259,
        "drain.sf": 0.906,
    },
}
"""Largest relative error over the cells of `validation/mixed_service.py`, half-widths included where those are below
2 % (pooled: 5 %); by whether each law is followed by itself, less what is due to fits, or laws of similar means are
pooled. 2 to 16 Poisson disks with buffers of 1 to 32, 1 to 32 servers, utilization 0.3 to 1.2, means up to 100 times
apart, scv 0.1 to 10."""


def refusal(engine: Engine) -> str | None:
    """Why this method cannot answer for `engine`, or None."""
    if not engine.shared:
        return "each disk has its own device"
    if engine.caps is not None:
        return "the slots are divided by caps"
    if engine.one_law:
        return "all disks have the same service law"
    for i, disk in enumerate(engine.disks):
        if disk.bursty:
            return f"the arrivals of disks[{i}] are not Poisson"
        if disk.saturated:
            return f"disks[{i}] is saturated"
        if disk.guest_waits:
            return f"disks[{i}] makes its guest wait for room in the buffer"
    if _plan(engine) is None:
        return fitted_service.refusal(mixture_engine(engine, _offered(engine)))
    return None


def kinds_of(engine: Engine) -> list[Kind]:
    """The kinds of disks, in the order in which they first appear."""
    found: dict[tuple[object, ...], list[int]] = {}
    for i, (disk, law) in enumerate(zip(engine.disks, engine.laws, strict=True)):
        found.setdefault((disk.arrivals, disk.most, law), []).append(i)
    kinds = []
    for members in found.values():
        law = engine.laws[members[0]]
        assert law is not None
        kinds.append(Kind(tuple(members), engine.disks[members[0]], law))
    return kinds


def solve(engine: Engine) -> SteadyState:
    """Solve an engine with one shared device, one FIFO line and disks whose service laws differ."""
    if not followed(engine):
        return _solve_mixture(engine)
    mixed = Mixed.of(engine)
    pmf, parts = mixed.chain.pmf, mixed.parts()
    of_disk = {i: part for part in parts for i in part.kind.members}
    disks = tuple(_disk_state(of_disk[i], engine.hold == "refuse") for i in range(len(engine.disks)))
    throughput = sum(part.throughput for part in parts)
    wait = sum(part.throughput * part.wait for part in parts) / throughput
    service = sum(part.throughput * part.kind.law.mean for part in parts) / throughput
    mean, slots = throughput * (wait + service), min(engine.queue_length or engine.most, engine.most)
    bounds, warnings = bounds_of(mixed)
    bounds = {name: bound for name, bound in bounds.items() if not name.startswith("drain.")}
    return SteadyState(
        method="mixed_service",
        exact=False,
        error_bounds=bounds,
        warnings=warnings,
        throughput=throughput,
        blocking=total_blocking(engine.disks, disks),
        mean_wait=wait,
        mean_response=wait + service,
        mean_in_system=mean,
        mean_in_flight=mean - float(np.maximum(np.arange(len(pmf)) - slots, 0) @ pmf),
        utilization=throughput * service / (engine.devices[0].servers or 1),
        in_system_pmf=pmf,
        disks=disks,
        _sojourns=tuple((p.throughput / throughput, WaitThenService(p.waits, p.kind.law)) for p in parts),
    )


def followed(engine: Engine) -> bool:
    """Whether the line is short enough to follow who is in it; otherwise all requests are given the mixture."""
    return _plan(engine) is not None


def _offered(engine: Engine) -> Floats:
    return np.array([float(disk.arrival_rates()[0]) for disk in engine.disks])


def mixture_engine(engine: Engine, flows: Floats) -> Engine:
    """The engine with the mixture of its disks' laws for all requests, weighted by `flows`."""
    weights: dict[Law, float] = {}
    for law, flow in zip(engine.laws, flows.tolist(), strict=True):
        assert law is not None
        weights[law] = weights.get(law, 0.0) + flow
    return fitted_service.with_law(engine, Mixture(list(weights), list(weights.values())))


def settled_mixture(engine: Engine) -> tuple[Engine, SteadyState]:
    """The same, weighted by what is accepted of each disk, and its steady state."""
    flows = _offered(engine)
    for _ in range(PASSES):
        same = mixture_engine(engine, flows)
        state = (fitted_service if phase_type.refusal(same) else phase_type).solve(same)
        before, flows = flows, np.array([disk.throughput for disk in state.disks])
        if np.abs(flows / before - 1.0).max() < SETTLED:
            break
    return same, state


def _solve_mixture(engine: Engine) -> SteadyState:
    """All requests wait as under the mixture, and are served by their own law."""
    _, state = settled_mixture(engine)
    assert not isinstance(state._sojourns, str)
    disks, weights = [], dict.fromkeys(engine.laws, 0.0)
    for disk, found, law in zip(engine.disks, state.disks, engine.laws, strict=True):
        assert law is not None
        disks.append(responding(disk, found, found.mean_wait, law.mean, refused=engine.hold == "refuse"))
        weights[law] += found.throughput / state.throughput
    return replace(
        state,
        method="mixed_service",
        exact=False,
        error_bounds=dict.fromkeys(state.error_bounds, math.inf),
        warnings=(*state.warnings, MIXTURE),
        disks=tuple(disks),
        _sojourns=tuple(
            (share * weight, WaitThenService(wait, law))
            for weight, wait in state._sojourns
            for law, share in weights.items()
            if law is not None
        ),
    )


def _disk_state(part: Part, refused: bool) -> DiskState:
    """One of the kind's disks."""
    throughput = part.throughput / len(part.kind.members)
    state = disk_state(part.kind.disk, part.accepting, part.full, np.zeros(len(part.full)), throughput)
    return responding(part.kind.disk, state, part.wait, part.kind.law.mean, refused=refused)


MIXTURE = (
    "the line is too long to follow who is in it: all requests wait as if their laws were drawn independently, as they "
    "are while buffers are never full"
)


@dataclass(frozen=True, eq=False)
class Mixed:
    """The chain of an engine, the kinds in each of its sides, and the fits in place of the sides' laws."""

    engine: Engine
    groups: tuple[tuple[Kind, ...], ...]
    laws: tuple[Law, ...]
    """Of the sides."""
    fits: tuple[PhaseTypeFit, ...]
    chain: MixedChain

    @classmethod
    @lru_cache(maxsize=2)
    def of(cls, engine: Engine) -> Mixed:
        """Solve an engine that is not refused."""
        plan = _plan(engine)
        assert plan is not None
        groups, phases, servers, top = plan
        flows = {kind: len(kind.members) * float(kind.disk.arrival_rates()[0]) for group in groups for kind in group}
        for _ in range(PASSES):
            laws = tuple(_mixture(group, [flows[kind] for kind in group]) for group in groups)
            fits = _fits(laws, [sum(flows[kind] for kind in group) for group in groups], phases, servers)
            sides = [Side(group, fit.law, top) for group, fit in zip(groups, fits, strict=True)]
            mixed = cls(engine, groups, laws, fits, MixedChain(sides, servers, top))
            if all(len(group) == 1 for group in groups):
                break
            before, flows = flows, {part.kind: part.throughput for part in mixed.parts()}
            if max(abs(flows[kind] / before[kind] - 1.0) for kind in flows) < SETTLED:
                break
        return mixed

    @property
    def region(self) -> str:
        """The errors that apply, in the words of MEASURED."""
        return "parted" if all(len(group) == 1 for group in self.groups) else "pooled"

    def parts(self) -> list[Part]:
        """Each kind of disks."""
        return self.chain.parts(refused=self.engine.hold == "refuse" and self.chain.top == self.engine.queue_length)


def _plan(engine: Engine) -> tuple[tuple[tuple[Kind, ...], ...], int, int, int] | None:
    """The kinds of each side, phases of all, servers and largest total; None where the states are too many."""
    kinds = kinds_of(engine)
    servers = min(engine.devices[0].servers or 1, engine.queue_length or engine.most, engine.most)
    top = _top(engine, kinds, servers)
    wanted = sum(min(_phases_of(kind.law), 2) for kind in kinds)
    for sides in range(min(MOST_SIDES, len(kinds)), 1, -1):
        groups = _grouped(kinds, sides)
        room = [sum(kind.disk.most * len(kind.members) for kind in group) for group in groups]
        phases = _phases(sides, room, servers, top)
        if phases >= min(wanted, sides + 1) or (sides == 2 and phases >= 2):
            return groups, phases, servers, top
    return None


def _grouped(kinds: Sequence[Kind], sides: int) -> tuple[tuple[Kind, ...], ...]:
    """So many groups of kinds whose mean service times differ least: the least squares of their logarithms."""
    order = sorted(kinds, key=lambda kind: kind.law.mean)
    logs = np.log([kind.law.mean for kind in order])

    def spread(ends: Sequence[int]) -> float:
        return sum(float(np.var(logs[i:j])) * (j - i) for i, j in pairwise(ends))

    splits = ((0, *inner, len(order)) for inner in combinations(range(1, len(order)), sides - 1))
    best = min(splits, key=spread)
    return tuple(tuple(order[i:j]) for i, j in pairwise(best))


def _phases(sides: int, room: Sequence[int], servers: int, top: int) -> int:
    """Most phases that the sides can have together; 0 where even one each has too many states."""
    line = max(top - servers, 0)
    ways = np.ones(1)
    for most in room:
        ways = np.convolve(ways, np.ones(min(most, line) + 1))[: line + 1]
    best = 0
    for phases in range(sides, MOST_PHASES + 1):
        sizes = [comb(n + phases - 1, phases - 1) for n in range(servers + 1)]
        states = sum(sizes[:-1]) + sizes[-1] * float(ways.sum())
        work = sum(float(size) ** 3 for size in sizes) + float(sizes[-1]) ** 3 * line
        if sizes[-1] <= MOST_SIZE and states <= MOST_STATES and work <= MOST_WORK:
            best = phases
    return best


def _mixture(kinds: Sequence[Kind], weights: Sequence[float]) -> Law:
    """The law of several kinds' requests."""
    return kinds[0].law if len(kinds) == 1 else Mixture([kind.law for kind in kinds], weights)


def _top(engine: Engine, kinds: Sequence[Kind], servers: int) -> int:
    """Largest total that can matter."""
    rates = [len(kind.members) * float(kind.disk.arrival_rates().max()) for kind in kinds]
    law = _mixture(kinds, rates)
    furthest = reach(sum(rates), two_moments(law.mean, max(law.scv, 0.1)), servers)
    if furthest is None:
        return engine.most
    return min(engine.most, servers + math.ceil(KEPT * (furthest - servers)))


def _fits(laws: Sequence[Law], flows: Sequence[float], phases: int, servers: int) -> tuple[PhaseTypeFit, ...]:
    """Phase-type laws of the sides, of so many phases in all: given one by one to whose variability weighs most."""
    wanted = [_phases_of(law) for law in laws]
    weight = [flow * law.mean * (abs(law.scv - 1.0) + 1e-9) for flow, law in zip(flows, laws, strict=True)]
    given = [1] * len(laws)
    for _ in range(phases - len(laws)):
        open_ = [g for g in range(len(laws)) if given[g] < wanted[g]]
        if not open_:
            break
        given[max(open_, key=lambda g: weight[g] / given[g] ** 2)] += 1
    return tuple(_fit(law, n, servers) for law, n in zip(laws, given, strict=True))


def _phases_of(law: Law) -> int:
    """Phases that the law has, or could do with."""
    try:
        return len(law.phase_type().alpha)
    except TypeError:
        return MOST_FITTED


@lru_cache(maxsize=64)
def _fit(law: Law, phases: int, servers: int) -> PhaseTypeFit:
    return fit_phase_type(law, phases=phases, servers=servers)


def of_fits(mixed: Mixed, quantity: str) -> float:
    """What the fits in place of laws add to the error bound of a quantity: that of the worst of them."""
    kind = "response_quantile" if quantity.startswith("drain") else quantity
    return max(of_fit(fit, kind) for fit in mixed.fits)


def bounds_of(mixed: Mixed) -> tuple[dict[str, float], tuple[str, ...]]:
    """Error bounds, as measured, with what the fits add; and what to warn of. A drain's are those named so."""
    replaced = [fit for fit in mixed.fits if not fit.exact]
    warnings = tuple(told(fit) for fit in replaced)
    if mixed.region == "pooled":
        warnings = (POOLED, *warnings)
    measured = MEASURED[mixed.region]
    if not _within_grid(mixed.engine):
        return dict.fromkeys(measured, math.inf), warnings
    return {name: bound + of_fits(mixed, name) for name, bound in measured.items()}, warnings


def _within_grid(engine: Engine) -> bool:
    """Whether `engine` is as those on which MEASURED was measured."""
    kinds, device = kinds_of(engine), engine.devices[0]
    servers = device.servers or 1
    means = [kind.law.mean for kind in kinds]
    return (
        all(isinstance(disk.arrivals, Poisson) for disk in engine.disks)
        and len(engine.disks) <= 16
        and max(disk.buffer for disk in engine.disks) <= 32
        and servers <= 32
        and servers <= (engine.queue_length or servers)
        and engine.hold != "refuse"
        and 0.3 <= engine.offered_load / servers <= 1.2 * (1.0 + ROUNDING)
        and max(means) <= 100.0 * (1.0 + ROUNDING) * min(means)
        and all(0.1 * (1.0 - ROUNDING) <= kind.law.scv <= 10.0 * (1.0 + ROUNDING) for kind in kinds)
    )
