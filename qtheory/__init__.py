"""qtheory: queueing theory for virtual machine monitors and storage stacks.

Describe an engine (`Disk`, `Device`, `Engine`), then ask: `solve` for its steady state, `drain_time` for how long a
stop waits, `simulate` for the trace-driven check of both. The package reads in that order, top to bottom.
"""

from qtheory import engines, stations
from qtheory.arrivals import IPP, MAP, MMPP, Closed, Marked, Poisson, fit_map, mmpp2
from qtheory.drain import DepthLimit, DepthSchedule, FinishInTime, RateLimit, drain_time
from qtheory.drain.bounds import DrainBound, drain_bound
from qtheory.drain.finish_in_time import finish_in_time
from qtheory.drain.frontier import DrainFrontier, drain_frontier
from qtheory.drain.latency_bounds import LatencyBounds, histogram_bounds, little_bounds
from qtheory.drain.optimal_control import OptimalLimits, optimal_limits, random_stop_limit
from qtheory.engine import Device, Disk, Engine
from qtheory.fit import fit_engine
from qtheory.fit.depth_sweep import fit_depth_sweep, fit_fio
from qtheory.laws import (
    BoundedPareto,
    Coxian,
    Deterministic,
    Empirical,
    Erlang,
    Exponential,
    Gamma,
    Histogram,
    Hyperexponential,
    Law,
    Lognormal,
    Mixture,
    PhaseType,
    Scaled,
    Shifted,
    Weibull,
    law_of,
)
from qtheory.laws.fitting import fit_phase_type
from qtheory.result import Estimate
from qtheory.shares import Weights
from qtheory.simulate import controllers, simulate, simulate_stops
from qtheory.simulate.resizing import Change, simulate_resizing
from qtheory.sizing import (
    assign_iothreads,
    disk_count_sweep,
    host_budget,
    optimal_queue_length,
    queue_length_sweep,
    shrink_time,
    sizing_curve,
)
from qtheory.solve import solve
from qtheory.sweep import Sweep, sweep
from qtheory.switchover import Precopy, SwitchoverPlan, plan_switchover
from qtheory.traces import Trace, TraceError, TraceStream, bundled_trace, read_trace, scan_trace
from qtheory.traces.measurement import LatencyHistogram, Measurement, read_measurement

__all__ = [
    "IPP",
    "MAP",
    "MMPP",
    "BoundedPareto",
    "Change",
    "Closed",
    "Coxian",
    "DepthLimit",
    "DepthSchedule",
    "Deterministic",
    "Device",
    "Disk",
    "DrainBound",
    "DrainFrontier",
    "Empirical",
    "Engine",
    "Erlang",
    "Estimate",
    "Exponential",
    "FinishInTime",
    "Gamma",
    "Histogram",
    "Hyperexponential",
    "LatencyBounds",
    "LatencyHistogram",
    "Law",
    "Lognormal",
    "Marked",
    "Measurement",
    "Mixture",
    "OptimalLimits",
    "PhaseType",
    "Poisson",
    "Precopy",
    "RateLimit",
    "Scaled",
    "Shifted",
    "Sweep",
    "SwitchoverPlan",
    "Trace",
    "TraceError",
    "TraceStream",
    "Weibull",
    "Weights",
    "assign_iothreads",
    "bundled_trace",
    "controllers",
    "disk_count_sweep",
    "drain_bound",
    "drain_frontier",
    "drain_time",
    "engines",
    "finish_in_time",
    "fit_depth_sweep",
    "fit_engine",
    "fit_fio",
    "fit_map",
    "fit_phase_type",
    "histogram_bounds",
    "host_budget",
    "law_of",
    "little_bounds",
    "mmpp2",
    "optimal_limits",
    "optimal_queue_length",
    "plan_switchover",
    "queue_length_sweep",
    "random_stop_limit",
    "read_measurement",
    "read_trace",
    "scan_trace",
    "shrink_time",
    "simulate",
    "simulate_resizing",
    "simulate_stops",
    "sizing_curve",
    "solve",
    "stations",
    "sweep",
]
