"""How far the quantiles of `solve.saturated_line` are from simulation: python -m validation.saturated_line

Grid: N equal disks of K requests each, always all outstanding, each on its own device of c exponential servers, behind
one FIFO line for Q slots. Means are exact there; the quantiles are not. Exits with status 1 when a quantile is further
off than QUANTILE_ERROR states, half-widths added. Under a minute.
"""

from __future__ import annotations

import itertools
import sys

import qtheory as qt
from qtheory.solve.saturated_line import QUANTILE_ERROR

DISKS = (2, 4, 16)
REQUESTS_EACH = (2, 4, 32)
SERVERS = (1, 4)
SUBMITTED = (0.25, 0.5, 0.9)
PROBABILITIES = (0.5, 0.99)
REQUESTS = 1_000_000


def main() -> None:
    """Run the grid and print the errors."""
    worst = 0.0
    print("  N  K  c    Q  wait 50%  wait 99%  resp 50%  resp 99%")
    for n, k, c, share in itertools.product(DISKS, REQUESTS_EACH, SERVERS, SUBMITTED):
        q = max(1, int(share * n * k))
        device = qt.Device(servers=c, service=qt.Exponential(mean=1.0))
        disk = qt.Disk(qt.Closed(outstanding=k), buffer=k, device=device)
        engine = qt.Engine([disk] * n, queue_length=q, hold="ring")
        state, run = qt.solve(engine, "saturated_line"), qt.simulate(engine, REQUESTS, seed=1)
        cells = []
        for name, p in itertools.product(("wait_quantile", "response_quantile"), PROBABILITIES):
            answer, truth = getattr(state, name)(p), getattr(run, name)(p)
            error = answer / truth.value - 1.0
            worst = max(worst, abs(error) + truth.half_width / truth.value)
            cells.append(f"{error:+9.2%}")
        print(f"{n:3} {k:2} {c:2} {q:4} " + " ".join(cells), flush=True)
    print(f"worst, with half-width: {worst:.1%}; the package states {QUANTILE_ERROR:.0%}")
    sys.exit(worst > QUANTILE_ERROR)


if __name__ == "__main__":
    main()
