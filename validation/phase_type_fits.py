"""What a fitted phase-type law does to a queue's answer: python -m validation.phase_type_fits [LAW ...]

Grid: one disk, c servers, room for a blocking between 1e-3 and 2e-2 where the line gets no longer than 1000, so that
the chain is exact and all error is the fit's. The fit is `fit_phase_type(law, servers=c)`, what a user gets by default.
For each cell the errors against a simulation of the law itself, with the half-width in brackets, and below an scv of 1
those of `extrapolated`. Up to four servers, fits of fewer phases are looked at as well. The largest error for each unit
of distance, half-widths taken off, is what `qtheory.laws.fitting.fit.MEASURED` states; the script exits with status 1
when a new run exceeds it. It takes eight minutes.
"""

from __future__ import annotations

import itertools
import math
import sys
from typing import NamedTuple

import qtheory as qt
from qtheory.laws.fitting import extrapolated, fit_phase_type
from qtheory.laws.fitting.fit import MEASURED
from qtheory.result import Estimate

SERVERS = (1, 4, 16, 64)
UTILIZATIONS = (0.7, 0.95)
FEWER = (2, 3, 4)
REQUESTS, TRIAL = 20_000_000, 200_000
MOST_BLOCKING, LEAST_WAIT = 0.02, 1e-3
LONGEST = 1000
PROBABILITY = 0.99


def laws() -> dict[str, qt.Law]:
    """The laws, scaled to the mean 1."""
    found = {
        "lognormal 0.25": qt.Lognormal(mean=1.0, scv=0.25),
        "lognormal 2": qt.Lognormal(mean=1.0, scv=2.0),
        "lognormal 9": qt.Lognormal(mean=1.0, scv=9.0),
        "Weibull, shape 0.5": qt.Weibull(mean=1.0, scv=5.0),
        "Weibull, shape 2": qt.Weibull(mean=1.0, scv=4.0 / math.pi - 1.0),
        "deterministic": qt.Deterministic(1.0),
        "Pareto 1.2, 5 decades": qt.BoundedPareto(shape=1.2, low=1.0, high=1e5),
        "Pareto 1.5, 4 decades": qt.BoundedPareto(shape=1.5, low=1.0, high=1e4),
        "Pareto 1.8, 3 decades": qt.BoundedPareto(shape=1.8, low=1.0, high=1e3),
        "gamma 0.5": qt.Gamma(mean=1.0, scv=0.5),
        "gamma 4": qt.Gamma(mean=1.0, scv=4.0),
        "hit or miss": qt.Mixture([qt.Lognormal(mean=0.1, scv=0.1), qt.Lognormal(mean=5.0, scv=0.1)], [0.9, 0.1]),
        "hit or miss, exactly": qt.Mixture([qt.Deterministic(0.1), qt.Deterministic(5.0)], [0.9, 0.1]),
        "bundled trace": qt.Empirical(qt.bundled_trace().response),
    }
    return {name: qt.Scaled(law, 1.0 / law.mean) for name, law in found.items()}


def engine(law: qt.Law, servers: int, utilization: float, buffer: int) -> qt.Engine:
    """One disk before so many servers."""
    disk = qt.Disk(qt.Poisson(utilization * servers / law.mean), buffer=buffer)
    return qt.Engine([disk], device=qt.Device(servers=servers, service=law))


class Cell(NamedTuple):
    """Blocking, mean wait and 99 % response quantile as simulated, and the buffer."""

    buffer: int
    blocking: Estimate
    mean_wait: Estimate
    response_quantile: Estimate


def simulated(name: str, law: qt.Law, servers: int, utilization: float) -> Cell | None:
    """A cell with a buffer that blocks seldom; None when that is too long a line."""
    room = 0
    while qt.simulate(engine(law, servers, utilization, servers + room), TRIAL, seed=3).blocking.value >= MOST_BLOCKING:
        room = max(room + 1, int(room * 1.5))
        if room > LONGEST:
            return None
    run = qt.simulate(engine(law, servers, utilization, servers + room), REQUESTS, seed=7)
    return Cell(servers + room, run.blocking, run.mean_wait, run.response_quantile(PROBABILITY))


def main(chosen: list[str]) -> None:
    """Run the grid, print the errors and the largest for each unit of distance."""
    worst = dict.fromkeys(MEASURED, 0.0)
    print(f"{'law':22} {'c':>2} {'rho':>4} {'K':>4} m distance method       " + "".join(f"{q:>24}" for q in MEASURED))
    for (name, law), c in itertools.product(laws().items(), SERVERS):
        if chosen and name not in chosen:
            continue
        best = fit_phase_type(law, servers=c)
        fewer = [fit_phase_type(law, m, servers=c) for m in FEWER if c <= 4 and m < len(best.law.alpha)]
        cells = {rho: simulated(name, law, c, rho) for rho in UTILIZATIONS}
        for (rho, cell), fit in itertools.product(cells.items(), [best, *fewer]):
            if cell is None:
                continue
            state = qt.solve(engine(fit.law, c, rho, cell.buffer), "phase_type")
            shown = []
            for quantity in MEASURED:
                truth = getattr(cell, quantity)
                answer = getattr(state, quantity)
                answer = answer(PROBABILITY) if quantity.endswith("quantile") else answer
                if truth.value < LEAST_WAIT:
                    shown.append(f"{'-':>24}")
                    continue
                error, noise = answer / truth.value - 1.0, truth.half_width / truth.value
                excess = max(abs(error) - noise, 0.0)
                worst[quantity] = max(worst[quantity], excess / fit.distance if fit.distance > 1e-6 else 0.0)
                extra = ""
                if fit is best and law.scv < 1.0 and not quantity.endswith("quantile"):
                    extra = f"{_extrapolated(quantity, law, c, rho, cell.buffer) / truth.value - 1.0:+.1%}"
                shown.append(f"{error:+8.1%} {f'({noise:.1%})':>7} {extra:>7}")
            phases = len(fit.law.alpha)
            print(
                f"{name:22} {c:2} {rho:4} {cell.buffer:4} {phases:2} {fit.distance:.4f} {fit.method:13}"
                + "".join(shown),
                flush=True,
            )
    print("largest for each unit of distance: " + ", ".join(f"{name} {x:.1f}" for name, x in worst.items()))
    over = [name for name, x in worst.items() if x > MEASURED[name]]
    if over:
        print(f"exceeds what the package states: {', '.join(over)}", file=sys.stderr)
        sys.exit(1)


def _extrapolated(quantity: str, law: qt.Law, servers: int, rho: float, buffer: int) -> float:
    def answer(erlang: qt.PhaseType) -> float:
        return float(getattr(qt.solve(engine(erlang, servers, rho, buffer), "phase_type"), quantity))

    return extrapolated(answer, law, servers=servers)


if __name__ == "__main__":
    main(sys.argv[1:])
