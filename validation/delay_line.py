"""How far the flow-equivalent station is from simulation: python -m validation.flow_equivalent

Grid: N equal Poisson disks, each with its own device of c exponential servers, behind one FIFO line for Q slots. The
largest relative errors over the grid, half-widths added, are what `qtheory.solve.flow_equivalent.MEASURED` states; the
script exits with status 1 when a new run exceeds them. Quantiles are those at 99 %. Under two minutes.
"""

from __future__ import annotations

import itertools
import sys

from qtheory.solve.flow_equivalent import MEASURED

import qtheory as qt

DISKS = (2, 4, 16)
BUFFERS = (4, 32)
SERVERS = (1, 4)
UTILIZATIONS = (0.5, 0.9, 1.3)
SLOTS_PER_SERVER = (0.5, 1.0, 2.0)
REQUESTS = 1_000_000
LEAST_BLOCKING = 1e-3
PROBABILITY = 0.99


def main() -> None:
    """Run the grid, print the errors and the worst of each quantity."""
    worst = dict.fromkeys(MEASURED, 0.0)
    print("  N   K  c   rho    Q " + " ".join(f"{name[:16]:>16}" for name in MEASURED))
    for n, k, c, rho, share in itertools.product(DISKS, BUFFERS, SERVERS, UTILIZATIONS, SLOTS_PER_SERVER):
        q = max(1, round(share * n * c))
        if q >= n * k:
            continue
        device = qt.Device(servers=c, service=qt.Exponential(mean=1.0))
        disk = qt.Disk(qt.Poisson(rho * c), buffer=k, device=device)
        engine = qt.Engine([disk] * n, queue_length=q, hold="ring")
        state, run = qt.solve(engine, "flow_equivalent"), qt.simulate(engine, REQUESTS, seed=1)
        cells = []
        for name in MEASURED:
            answer, truth = getattr(state, name), getattr(run, name)
            if name.endswith("quantile"):
                answer, truth = answer(PROBABILITY), truth(PROBABILITY)
            if truth.value == 0.0 or (name == "blocking" and truth.value < LEAST_BLOCKING):
                cells.append(f"{'-':>16}")
                continue
            error = answer / truth.value - 1.0
            worst[name] = max(worst[name], abs(error) + truth.half_width / truth.value)
            cells.append(f"{error:+16.2%}")
        print(f"{n:3} {k:3} {c:2} {rho:5.2f} {q:4} " + " ".join(cells), flush=True)
    print("worst, with half-width " + " ".join(f"{name} {error:.1%}" for name, error in worst.items()))
    over = [name for name, error in worst.items() if error > MEASURED[name]]
    if over:
        print(f"exceeds what the package states: {', '.join(over)}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
