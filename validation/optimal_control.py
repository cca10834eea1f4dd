"""Are smarter policies than one request at a time necessary? python -m validation.optimal_control

Exponential service of 10 ms on c servers, one disk of Poisson requests at utilization ρ, a drain of at most D with
probability 99 %. For each cell the fewest requests that must be turned away before a stop at a known time, and how many
more each simple policy turns away; then what a stop costs that comes without memory, once a second in the mean. Exits
with status 1 when the better of step and ramp turns away more than SIMPLE over the optimum. Under a minute.
"""

from __future__ import annotations

import itertools
import sys

import qtheory as qt

SERVERS = (1, 8, 32)
UTILIZATIONS = (0.7, 0.9, 1.2)
BUDGETS = (0.06, 0.1)
BUFFER = 128
STOP_RATE = 1.0
SIMPLE = 0.05


def main() -> None:
    """Run the grid and print what each policy costs."""
    names = ("stop accepting", "one at a time", "step", "ramp")
    print("  c  rho   D ms   optimum  two limits " + " ".join(f"{name:>15}" for name in names) + "   random stop")
    worst = 0.0
    for c, rho, budget in itertools.product(SERVERS, UTILIZATIONS, BUDGETS):
        disk = qt.Disk(qt.Poisson(rho * c * 100.0), buffer=BUFFER)
        engine = qt.Engine([disk], qt.Device(servers=c, service=qt.Exponential(mean=0.01)))
        best = qt.optimal_limits(engine, drain_budget=budget)
        if not best.policies:
            print(f"{c:3} {rho:4} {budget * 1e3:6.0f}   nothing is needed")
            continue
        cells = [
            f"{best.policies[name].refused / best.refused - 1.0:+15.0%}" if name in best.policies else f"{'-':>15}"
            for name in names
        ]
        simple = min(policy.refused for name, policy in best.policies.items() if name in ("step", "ramp"))
        worst = max(worst, simple / best.refused - 1.0)
        try:
            limit, policy = qt.random_stop_limit(engine, drain_budget=budget, stop_rate=STOP_RATE)
            random = f"{policy.refused:8.1f} (q = {limit})"
        except ValueError:
            random = "       none"
        print(
            f"{c:3} {rho:4} {budget * 1e3:6.0f} {best.refused:9.2f} {best.two_limits:11.1%} {' '.join(cells)} {random}",
            flush=True,
        )
    print(f"the better of step and ramp, at worst: {worst:+.1%}")
    sys.exit(worst > SIMPLE)


if __name__ == "__main__":
    main()
