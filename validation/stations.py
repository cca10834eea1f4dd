"""How far the approximations of `qtheory.stations` are from exact values: python -m validation.stations

Exact: M/D/c by `mdc`; M/E_2/c, M/H_2/c and the same with room for K as Markov chains in (number present, how many of
the busy servers are in phase 1), solved level by level here. Writes results/stations.csv, prints the largest errors,
and exits with status 1 when one exceeds what the package states in `mgc.MEASURED` and `mgck.MEASURED`. Under a minute.
"""

from __future__ import annotations

import csv
import itertools
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qtheory import stations
from qtheory.laws import Deterministic, Erlang, Hyperexponential, Law
from qtheory.stations.mgc import MEASURED as MEASURED_OPEN
from qtheory.stations.mgc import MEASURED_DELAY, SCV_LIMITS
from qtheory.stations.mgck import MEASURED as MEASURED_LIMITED

SERVERS = (2, 4, 8, 16, 32)
LOADS = (0.5, 0.7, 0.8, 0.9, 0.95)
LAWS: dict[str, Law] = {
    "D": Deterministic(1.0),
    "E2": Erlang(phases=2, mean=1.0),
    "H2(2)": Hyperexponential.balanced(mean=1.0, scv=2.0),
    "H2(4)": Hyperexponential.balanced(mean=1.0, scv=4.0),
    "H2(9)": Hyperexponential.balanced(mean=1.0, scv=9.0),
}
ROOM_SERVERS = (2, 5, 16, 32)
ROOM_LOADS = (0.5, 0.8, 0.95, 1.2)
PLACES = (1, 5, 20)
LEAST_BLOCKING = 1e-4
QUANTILES = (0.5, 0.9, 0.99)
Floats = NDArray[np.float64]


def chain(law: Law, lam: float, c: int, top: int) -> list[Floats]:
    """π_0, ..., π_top: P(n present, i of the busy servers in phase 1), for a law with two phases.

    Censoring from the top: level n sees those above it only through R_{n+1}, π_{n+1} = π_n R_{n+1}.
    """
    phases = law.phase_type()
    alpha, t, leave = phases.alpha, phases.T, -phases.T.sum(axis=1)

    def blocks(n: int) -> tuple[Floats, Floats, Floats]:
        """Rates up, down and within level n, without the diagonal."""
        m = min(n, c)
        up = np.zeros((m + 1, min(n + 1, c) + 1))
        down = np.zeros((m + 1, min(max(n - 1, 0), c) + 1))
        within = np.zeros((m + 1, m + 1))
        for i in range(m + 1):
            if n < c:
                up[i, i + 1] += lam * alpha[0]
                up[i, i] += lam * alpha[1]
            else:
                up[i, i] += lam
            for count, rate_out, loss in ((i, leave[0], 1), (m - i, leave[1], 0)):
                if n == 0 or count == 0:
                    continue
                if n > c:  # the head of the line takes the server
                    down[i, i - loss + 1] += count * rate_out * alpha[0] if i - loss + 1 <= m else 0.0
                    down[i, i - loss] += count * rate_out * alpha[1]
                else:
                    down[i, i - loss] += count * rate_out
            if i > 0:
                within[i, i - 1] += i * t[0, 1]
            if i < m:
                within[i, i + 1] += (m - i) * t[1, 0]
        return up, down, within

    ratios: list[Floats] = []
    seen = np.zeros((min(top, c) + 1, min(top, c) + 1))
    for n in range(top, 0, -1):
        up, down, within = blocks(n)
        out = within.sum(axis=1) + down.sum(axis=1) + (up.sum(axis=1) if n < top else 0.0)
        local = np.diag(out) - within - seen
        below_up, _, _ = blocks(n - 1)
        ratio = np.linalg.solve(local.T, below_up.T).T
        ratios.append(ratio)
        seen = ratio @ down
    law_by_level = [np.ones(1)]
    for ratio in reversed(ratios):
        law_by_level.append(law_by_level[-1] @ ratio)
    total = sum(float(level.sum()) for level in law_by_level)
    return [level / total for level in law_by_level]


def exact(law: Law, lam: float, c: int, capacity: int | None) -> dict[str, float]:
    """Mean wait, delay probability and blocking."""
    if isinstance(law, Deterministic):
        s = stations.mdc(arrival_rate=lam, service=law.value, servers=c)
        return {"mean_wait": s.mean_wait, "delay_probability": s.delay_probability} | {
            f"wait_quantile {p}": s.wait_quantile(p) for p in QUANTILES
        }
    top = capacity or c + int(60.0 * (1.0 + law.scv) / 2.0 / (1.0 - lam / c))
    pmf = np.array([level.sum() for level in chain(law, lam, c, top)])
    n = np.arange(top + 1)
    lost = pmf[-1] if capacity else 0.0
    throughput = lam * (1.0 - lost)
    found = {
        "mean_wait": float(np.maximum(n - c, 0) @ pmf) / throughput,
        "delay_probability": float(pmf[c : top if capacity else None].sum()) / (1.0 - lost),
    }
    return found | ({"blocking": float(lost)} if capacity else {})


def main() -> None:
    """Measure, write, print and compare with what is stated."""
    rows: list[dict[str, object]] = []
    for (kind, law), c, rho in itertools.product(LAWS.items(), SERVERS, LOADS):
        truth = exact(law, rho * c, c, None)
        for name, s in stations.mgc_side_by_side(arrival_rate=rho * c, service=law, servers=c).items():
            for quantity, value in truth.items():
                word, _, p = quantity.partition(" ")
                answer = getattr(s, word)(float(p)) if p else getattr(s, word)
                if value > 0.0:
                    rows.append(_row("mgc", name, kind, c, rho, "", quantity, value, answer))
    for (kind, law), c, rho, places in itertools.product(LAWS.items(), ROOM_SERVERS, ROOM_LOADS, PLACES):
        if isinstance(law, Deterministic):
            continue
        truth = exact(law, rho * c, c, c + places)
        found = stations.mgck_side_by_side(arrival_rate=rho * c, service=law, servers=c, capacity=c + places)
        for name, s in found.items():
            for quantity, value in truth.items():
                if quantity != "blocking" or value > LEAST_BLOCKING:
                    rows.append(_row("mgck", name, kind, c, rho, places, quantity, value, getattr(s, quantity)))
    path = Path(__file__).parent / "results" / "stations.csv"
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    worst: dict[tuple[str, str, str], list[float]] = {}
    for row in rows:
        if (quantity := str(row["quantity"])) not in ("mean_wait", "delay_probability", "blocking"):
            continue
        key = (str(row["station"]), str(row["approximation"]), quantity)
        found = worst.setdefault(key, [0.0] * len(SCV_LIMITS))
        for i, limit in enumerate(SCV_LIMITS):
            if LAWS[str(row["service"])].scv <= limit * (1.0 + 1e-9):
                found[i] = max(found[i], abs(float(str(row["error"]))))
    over = []
    print(f"largest relative error, scv up to: {' '.join(f'{limit:8g}' for limit in SCV_LIMITS)}")
    for (station, name, quantity), errors in sorted(worst.items()):
        print(f"{station:5}{name:14}{quantity:18}" + " ".join(f"{error:8.2%}" for error in errors))
        if station == "mgck":
            stated = MEASURED_LIMITED[name][quantity]
        else:
            stated = MEASURED_DELAY if quantity == "delay_probability" else MEASURED_OPEN[name]
        if any(error > bound for error, bound in zip(errors, stated, strict=True)):
            over.append(f"{station} {name} {quantity}")
    if over:
        print(f"exceeds what the package states: {', '.join(over)}", file=sys.stderr)
        sys.exit(1)


def _row(
    station: str, name: str, kind: str, c: int, rho: float, places: object, quantity: str, value: float, answer: float
) -> dict[str, object]:
    return {
        "station": station, "approximation": name, "service": kind, "servers": c, "load": rho, "places": places,
        "quantity": quantity, "exact": f"{value:.10g}", "found": f"{answer:.10g}",
        "error": f"{answer / value - 1.0:.6f}",
    }  # fmt: skip


if __name__ == "__main__":
    main()
