"""Optimal queue length against disk count.

The queue length Q is the one knob behind both questions: throughput bounds it from below, the drain from above.

    sweep.py         the engine solved at given queue lengths, or numbers of disks
    optimum.py       the smallest queue length that meets the limits, by bisection
"""

from qtheory.sizing.optimum import OptimalQueueLength, optimal_queue_length
from qtheory.sizing.sweep import OperatingPoint, disk_count_sweep, queue_length_sweep, with_disks

__all__ = [
    "OperatingPoint",
    "OptimalQueueLength",
    "disk_count_sweep",
    "optimal_queue_length",
    "queue_length_sweep",
    "with_disks",
]
