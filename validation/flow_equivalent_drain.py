"""How far the drain of `drain.flow_equivalent` is from simulation: python -m validation.flow_equivalent_drain

Grid: N equal Poisson disks, each with its own device of c exponential servers, behind one FIFO line for Q slots, the
rest left in the rings. Mean, median and 99 % quantile of the drain; exits with status 1 when one of them is further off
than MEASURED states, half-widths added. Half a minute.
"""

from __future__ import annotations

import itertools
import sys

import qtheory as qt
from qtheory.drain.flow_equivalent import MEASURED

DISKS = (2, 8)
BUFFERS = (8, 32)
SERVERS = (1, 4)
UTILIZATIONS = (0.5, 0.9, 1.3)
SLOTS_PER_SERVER = (0.5, 1.0, 2.0)
PROBABILITIES = (0.5, 0.99)
REQUESTS = 400_000


def main() -> None:
    """Run the grid and print the errors."""
    worst = 0.0
    print("  N   K  c   rho    Q     mean      50%      99%")
    for n, k, c, rho, share in itertools.product(DISKS, BUFFERS, SERVERS, UTILIZATIONS, SLOTS_PER_SERVER):
        q = max(1, round(share * n * c))
        if q >= n * k:
            continue
        device = qt.Device(servers=c, service=qt.Exponential(mean=1.0))
        disk = qt.Disk(qt.Poisson(rho * c), buffer=k, device=device)
        engine = qt.Engine([disk] * n, queue_length=q, hold="ring")
        answer, run = qt.drain_time(engine), qt.simulate(engine, REQUESTS, seed=1).drain
        pairs = [(answer.mean, run.mean), *((answer.quantile(p), run.quantile(p)) for p in PROBABILITIES)]
        errors = [value / truth.value - 1.0 for value, truth in pairs]
        worst = max(
            worst, *(abs(e) + truth.half_width / truth.value for e, (_, truth) in zip(errors, pairs, strict=True))
        )
        print(f"{n:3} {k:3} {c:2} {rho:5.2f} {q:4} " + " ".join(f"{e:+8.2%}" for e in errors), flush=True)
    print(f"worst, with half-width: {worst:.1%}; the package states {MEASURED:.0%}")
    sys.exit(worst > MEASURED)


if __name__ == "__main__":
    main()
