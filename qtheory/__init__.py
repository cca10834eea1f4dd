"""qtheory: queueing theory for virtual machine monitors and storage stacks.

Describe an engine (`Disk`, `Device`, `Engine`), then ask: `solve` for its steady state, `drain_time` for how long a
stop waits, `simulate` for the trace-driven check of both. The package reads in that order, top to bottom.
"""

from qtheory import engines
from qtheory.arrivals import Closed, Poisson
from qtheory.drain import DepthLimit, drain_time
from qtheory.engine import Device, Disk, Engine
from qtheory.laws import Exponential
from qtheory.result import Estimate
from qtheory.simulate import simulate
from qtheory.sizing import disk_count_sweep, queue_length_sweep
from qtheory.solve import solve
from qtheory.traces import Trace, TraceError, TraceStream, bundled_trace, read_trace, scan_trace
from qtheory.traces.measurement import LatencyHistogram, Measurement, read_measurement

__all__ = [
    "Closed",
    "DepthLimit",
    "Device",
    "Disk",
    "Engine",
    "Estimate",
    "Exponential",
    "LatencyHistogram",
    "Measurement",
    "Poisson",
    "Trace",
    "TraceError",
    "TraceStream",
    "bundled_trace",
    "disk_count_sweep",
    "drain_time",
    "engines",
    "queue_length_sweep",
    "read_measurement",
    "read_trace",
    "scan_trace",
    "simulate",
    "solve",
]
