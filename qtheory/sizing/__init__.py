"""Optimal queue length against disk count.

The queue length Q is the one knob behind both questions: throughput bounds it from below, the drain from above.

    sweep.py         the engine solved at given queue lengths, or numbers of disks
    optimum.py       the smallest queue length that meets the limits, by bisection
    sensitivity.py   how it moves as its inputs do
    closed_forms.py  what a queue length must be, in closed form, where there is one
    integer_rule.py  one rule in whole numbers, for a block layer
    handover.py      who gets a freed slot, and what of the slots that leaves each disk
    rules.py         the rules that are deployed
    shrinking.py     how long a new queue length takes to have its effect
    curve.py         the optimum against the number of disks, beside them
    host_budget.py   the AIO slots of a host, divided among its engines
    iothreads.py     which disks on which iothread
    batching.py      how many requests in one system call
"""

from qtheory.sizing.batching import BatchCosts, OptimalBatch, batch_throughput, optimal_batch
from qtheory.sizing.curve import SizingCurve, sizing_curve
from qtheory.sizing.host_budget import HostBudget, host_budget
from qtheory.sizing.integer_rule import integer_rule
from qtheory.sizing.iothreads import IothreadAssignment, assign_iothreads
from qtheory.sizing.optimum import OptimalQueueLength, optimal_queue_length
from qtheory.sizing.shrinking import relaxation_time, shrink_time
from qtheory.sizing.sweep import OperatingPoint, disk_count_sweep, queue_length_sweep, with_disks

__all__ = [
    "BatchCosts",
    "HostBudget",
    "IothreadAssignment",
    "OperatingPoint",
    "OptimalBatch",
    "OptimalQueueLength",
    "SizingCurve",
    "assign_iothreads",
    "batch_throughput",
    "disk_count_sweep",
    "host_budget",
    "integer_rule",
    "optimal_batch",
    "optimal_queue_length",
    "queue_length_sweep",
    "relaxation_time",
    "shrink_time",
    "sizing_curve",
    "with_disks",
]
