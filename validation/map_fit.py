"""Waits under a fitted MAP against those of the recorded arrivals: python -m validation.map_fit

Traces: Financial1, WebSearch, hplajw and flashnet of the outside data (left out when absent) and the bundled guest.
Mean wait and 99 % wait at two sets of trial queues, 1, 4 and 16 exponential servers at utilizations 0.3, 0.5, 0.8, and
2 deterministic or 8 hyperexponential (scv 4) servers at 0.4 and 0.7, of

* the trace replayed by the simulator, averaged over `SEEDS` draws of the service times. Its 95 % interval is by block
  bootstrap: gaps resampled in `BLOCKS` blocks drawn with replacement and replayed, `REPLICATES` times;
* `fit_map(trace)`: exact for exponential service, otherwise by a long sample;
* Poisson arrivals at the same rate.

`fit_map` is fitted to the exponential queues of the same trace, by replays and resamplings of its own. So the rows
"whole" say how well a process of 64 phases can imitate a trace, not how well it foretells; the other service laws
("other") are not fitted to. The rows "held out" are fitted to every other one of `BLOCKS` blocks, in a row, and
compared with the rest, which are neighbours of what was fitted and not a new recording; and the method itself was made
with these five traces in view. "half_inside" is whether the wait behind the fitted arrivals themselves, replayed, is
inside the interval: what a perfect imitation would score. Cases of one trace lean on each other: a burst that fills 16
servers is the same burst for one. Differences count as absolute ones: "closer" means
|MAP − trace| <= |Poisson − trace|.

Some five minutes of processor time. Writes validation/results/map_fit.csv, all waits in mean times between arrivals.
"""

from __future__ import annotations

import csv
import itertools
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import qtheory as qt
from qtheory.arrivals import fit_map
from qtheory.arrivals.first_come import waits
from qtheory.arrivals.fit import resampled
from qtheory.arrivals.trial_queue import Case, exact

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
RESULTS = Path(__file__).parent / "results" / "map_fit.csv"
FITTED = tuple(itertools.product((1, 4, 16), (0.3, 0.5, 0.8), ("exponential",)))
OTHER = (
    *itertools.product((2,), (0.4, 0.7), ("deterministic",)),
    *itertools.product((8,), (0.4, 0.7), ("hyperexponential",)),
)
LAWS = {
    "exponential": lambda mean: qt.Exponential(mean=mean),
    "deterministic": lambda mean: qt.Deterministic(mean),
    "hyperexponential": lambda mean: qt.Hyperexponential.balanced(mean=mean, scv=4.0),
}
CASES = FITTED + OTHER
SEEDS = 5
SAMPLED = 1_000_000
BLOCKS = 20
REPLICATES = 100
BUFFER = 1 << 20
COLUMNS = (
    "trace", "part", "servers", "utilization", "service", "quantity", "replayed", "low", "high", "map", "poisson",
    "fitted_half", "inside", "closer", "half_inside",
)  # fmt: skip


def arrivals() -> Iterator[tuple[str, np.ndarray]]:
    """Name and arrival times [s] of each trace that is there."""
    import polars as pl

    if DATA.exists():
        for name, file in (("financial1", "financial1_head_ssdsim.ascii"), ("websearch", "wsrch-small.trace")):
            yield name, qt.read_trace(DATA / "spc" / file).arrival
        yield "hplajw", np.sort(pl.read_csv(DATA / "hplajw" / "hplajw_1992_2disks.csv.gz")["t_enqueue_s"].to_numpy())
        requests = pl.read_csv(DATA / "flashnet" / "flashnet_tencent_nvme.rw_60_40.490.trace.gz", has_header=False)
        yield "flashnet", np.sort(requests.to_numpy()[:, 5]) * 1e-3  # submission as measured [ms]
    yield "bundled", qt.bundled_trace().arrival


def trace_of(times: np.ndarray) -> qt.Trace:
    """Arrival times as a trace of one disk."""
    none = np.zeros(len(times), dtype=np.int64)
    return qt.Trace(arrival=times - times[0], disk=none, disks=["all"], op=none, offset=none, size=none)


def simulated(times: np.ndarray | None, seed: int) -> np.ndarray:
    """(mean wait, 99 % wait) in each case, of these arrivals at rate 1, or Poisson ones; the buffer is never full."""
    found = []
    for servers, utilization, law in CASES:
        device = qt.Device(servers=servers, service=LAWS[law](servers * utilization))
        engine = qt.Engine(disks=[qt.Disk(qt.Poisson(1.0), buffer=BUFFER)], device=device)
        if times is None:
            run = qt.simulate(engine, SAMPLED, seed)
        else:
            run = qt.simulate(engine, seed=seed, trace=trace_of(times), service="drawn")
        if run.blocking.value > 0.0:
            raise RuntimeError(f"a buffer of {BUFFER} was full: enlarge it")
        found.append((run.mean_wait.value, run.wait_quantile(0.99).value))
    return np.array(found)


def waited(arrival: np.ndarray, rng: np.random.Generator, cases: tuple[tuple[int, float, str], ...]) -> np.ndarray:
    """The same by the bare recursion, quicker for short runs."""
    found, last = [], len(arrival) * 99 // 100
    for servers, utilization, law in cases:
        wait = waits(arrival, LAWS[law](servers * utilization).sample(rng, len(arrival)), servers)
        found.append((wait.mean(), np.partition(wait, last)[last]))
    return np.array(found)


def interval(times: np.ndarray) -> np.ndarray:
    """2.5 % and 97.5 % points over the replicates, shape (2, cases, 2), for arrivals at rate 1."""
    rng = np.random.default_rng(1)
    found = [waited(np.cumsum(gaps), rng, CASES) for gaps in resampled(np.diff(times), rng, REPLICATES)]
    return np.quantile(found, [0.025, 0.975], axis=0)


def alternate(times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every other block of gaps put in a row, and the rest."""
    parts = np.array_split(np.diff(times), BLOCKS)
    even, odd = (np.concatenate([[0.0], np.cumsum(np.concatenate(parts[k::2]))]) for k in (0, 1))
    return even, odd


def at_rate_1(times: np.ndarray) -> np.ndarray:
    """From 0 on, with mean gap 1."""
    return np.asarray((times - times[0]) * ((len(times) - 1) / (times[-1] - times[0])))


def rows(
    name: str, part: str, fitted: np.ndarray, told: np.ndarray, poisson: np.ndarray
) -> Iterator[dict[str, object]]:
    """Compare the process fitted to arrivals `fitted` with the arrivals `told`."""
    began = time.process_time()
    fit = fit_map(fitted)
    spent = time.process_time() - began
    print(f"{name}, {part}: {len(fitted)} arrivals, order {fit.process.order}, {spent:.0f} s, {fit.method}")
    for warning in fit.warnings:
        print(f"    {warning}")
    told, fitted = at_rate_1(told), at_rate_1(fitted)
    replayed = np.mean([simulated(told, seed) for seed in range(SEEDS)], axis=0)
    itself = np.mean([simulated(fitted, seed) for seed in range(SEEDS)], axis=0)
    low, high = interval(told)
    sample = fit.process.scaled(fit.process.rate).sample(np.random.default_rng(2), SAMPLED)
    imitated = np.concatenate(
        [
            exact(fit.process, tuple(Case(servers, utilization) for servers, utilization, _ in FITTED)),
            waited(sample, np.random.default_rng(3), OTHER),
        ]
    )
    for case, (servers, utilization, law) in enumerate(CASES):
        for at, quantity in enumerate(("mean_wait", "wait_99")):
            a, b, c, d = (x[case, at] for x in (replayed, imitated, poisson, itself))
            values = [f"{x:.4g}" for x in (a, low[case, at], high[case, at], b, c, d)]
            checks = [int(low[case, at] <= x <= high[case, at]) for x in (b, d)]
            closer = int(abs(b - a) <= abs(c - a))
            line = (name, part, servers, utilization, law, quantity, *values, checks[0], closer, checks[1])
            yield dict(zip(COLUMNS, line, strict=True))


def summary(table: list[dict[str, object]]) -> None:
    """How often inside and closer, and how far off."""
    print(f"{'':38}inside  closer  |log2(MAP/trace)| median, worst   Poisson's")
    for part, kind in itertools.product(("whole", "held out"), ("fitted to", "other")):
        chosen = [
            row for row in table if row["part"] == part and (row["service"] == "exponential") == (kind == "fitted to")
        ]
        for name, quantity in itertools.product(
            dict.fromkeys(str(r["trace"]) for r in chosen), ("mean_wait", "wait_99")
        ):
            of = [row for row in chosen if (row["trace"], row["quantity"]) == (name, quantity)]
            off = {
                kind: sorted(
                    abs(math.log2(float(str(row[kind])) / float(str(row["replayed"]))))
                    for row in of
                    if float(str(row["replayed"])) > 0.0 and float(str(row[kind])) > 0.0
                )
                for kind in ("map", "poisson")
            }
            inside, closer = (sum(int(str(row[key])) for row in of) for key in ("inside", "closer"))
            print(
                f"{part:9}{kind:10}{name:11}{quantity:11}{inside:3}/{len(of)}   {closer}/{len(of)}"
                + "".join(f"   {np.median(x):9.2f}, {x[-1]:.2f}" for x in off.values())
            )
        inside, closer, half = (
            sum(int(str(row[key])) for row in chosen) for key in ("inside", "closer", "half_inside")
        )
        print(
            f"{part}, {kind}: inside {inside}, closer {closer}, the fitted arrivals themselves inside {half}, of "
            f"{len(chosen)}"
        )


def main() -> None:
    """Run all, write the table, print the summary."""
    poisson = simulated(None, seed=4)
    table: list[dict[str, object]] = []
    for name, times in arrivals():
        table += rows(name, "whole", times, times, poisson)
        table += rows(name, "held out", *alternate(times), poisson)
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(table)
    summary(table)


if __name__ == "__main__":
    main()
