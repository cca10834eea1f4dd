"""The theory, derived: each file states one result, derives it with sympy, checks it, and writes its page of the paper.

`python -m derivations` runs all of them, in this order. `derivation.py` says what one consists of, `page.py` how it is
shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module

from derivations.derivation import Derivation

NAMES = (
    # Disks that share one device
    "product_form",
    "blocking",
    "equal_disks",
    "waiting_guests",
    # A device for each disk
    "separate_devices",
    "saturated_line",
    "linear_law",
    # How long the queue must be
    "peakedness",
    "square_root_law",
    "bandwidth_delay",
    # Service that is not exponential
    "general_service",
    # How long a drain takes
    "kiefer_wolfowitz_drain",
    "drain_exponential",
    "drain_infinite_servers",
    "drain_single_server",
    "drain_phase_type",
    "drain_residual_services",
    "drain_constant_service",
    "drain_bounds",
    "drain_latency_bound",
    # Limits, and what they do to it
    "drain_depth_limit",
    "limit_lead",
    "fluid_limit",
    "feasible_disks",
    "drain_rate_limit",
    # When the stop comes, and how to approach it
    "precopy_rounds",
    "optimal_admission",
    "hindsight_bound",
)
"""Files of this directory, in the order in which their results build on each other."""


def load(names: Iterable[str] = NAMES) -> Iterator[Derivation]:
    """The derivations of these files; the work of deriving is done here, by importing them."""
    for name in names:
        derivation: Derivation = import_module(f"derivations.{name}").DERIVATION
        yield derivation
