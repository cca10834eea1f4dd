"""What `solve` returns: the steady state of an engine, with the same names the simulator uses."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qtheory.arguments import probability
from qtheory.result import Result
from qtheory.solve.sojourn import Sojourn, quantile

QUANTITIES = (
    "throughput",
    "blocking",
    "mean_wait",
    "mean_guest_wait",
    "mean_response",
    "mean_in_system",
    "mean_in_flight",
    "utilization",
)
"""What an error bound is given for."""


@dataclass(frozen=True)
class DiskState:
    """One disk in steady state.

    Attributes
    ----------
    throughput : float
        Accepted requests [1/s].
    blocking : float
        Fraction of its arrivals refused; 0 for a guest that waits.
    mean_wait, mean_response : float
        From acceptance to start of service, and to completion, of accepted requests [s].
    mean_in_system : float
        Mean number of its requests in the system.
    pmf : ndarray, shape (most + 1,)
        pmf[k] = P(k of its requests are in the system). Where an open guest waits for room, pmf[-1] is the probability
        that a request has to.
    mean_guest_wait : float
        From arrival to acceptance, in the guest [s].
    """

    throughput: float
    blocking: float
    mean_wait: float
    mean_response: float
    mean_in_system: float
    pmf: NDArray[np.float64] = field(repr=False)
    mean_guest_wait: float = 0.0


@dataclass(frozen=True, kw_only=True)
class SteadyState(Result):
    """The engine in steady state; SI units.

    The error bounds of an exact result hold in relative terms down to probabilities of 1e-25 (and waits of 1e-25 mean
    service times); what is smaller, or reported as 0, is right in absolute terms only.

    Attributes
    ----------
    throughput : float
        Accepted requests over all disks [1/s].
    blocking : float
        Fraction of all arrivals refused.
    mean_wait, mean_response : float
        From acceptance to start of service, and to completion [s]. For a device given by a rate curve the wait is
        the wait for one of the Q slots only.
    mean_guest_wait : float
        From arrival to acceptance, in guests that wait for room in their buffer [s].
    mean_in_system, mean_in_flight : float
        Mean number accepted and not completed; of these, submitted to the device(s).
    utilization : float
        Mean fraction of busy servers; for a rate curve, throughput over the curve's largest rate.
    in_system_pmf : ndarray, shape (M + 1,)
        P(n requests in the system).
    disks : tuple of DiskState
        One for each disk, in the engine's order.
    passed_over : tuple of str
        Methods that `solve` would rather have taken, each with the reason why it does not cover the engine.
    """

    throughput: float
    blocking: float
    mean_wait: float
    mean_guest_wait: float = field(init=False)
    mean_response: float
    mean_in_system: float
    mean_in_flight: float
    utilization: float
    in_system_pmf: NDArray[np.float64] = field(repr=False)
    disks: tuple[DiskState, ...] = field(repr=False)
    passed_over: tuple[str, ...] = field(default=(), repr=False, compare=False)
    _sojourns: tuple[tuple[float, Sojourn], ...] | str = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        waiting = sum(disk.throughput * disk.mean_guest_wait for disk in self.disks)
        object.__setattr__(self, "mean_guest_wait", waiting / self.throughput)

    @property
    def delay_probability(self) -> float:
        """P(wait > 0), over accepted requests of all disks; ValueError where the law of the wait is not known."""
        return sum(weight * law.sf("wait", 0.0) for weight, law in self._laws("delay_probability"))

    def wait_survival(self, t: float) -> float:
        """P(wait > t) [t in s], over accepted requests of all disks."""
        return sum(weight * law.sf("wait", t) for weight, law in self._laws("wait_survival"))

    def wait_quantile(self, p: float) -> float:
        """Time t [s] with P(wait <= t) >= p, over accepted requests of all disks; 0 < p < 1."""
        return quantile(self._laws("wait_quantile"), "wait", probability("p", p))

    def response_quantile(self, p: float) -> float:
        """Time t [s] with P(response <= t) >= p, over accepted requests of all disks; 0 < p < 1."""
        return quantile(self._laws("response_quantile"), "response", probability("p", p))

    def _laws(self, asked: str) -> tuple[tuple[float, Sojourn], ...]:
        if isinstance(self._sojourns, str):
            raise ValueError(f"{asked} is not available from method {self.method!r}: {self._sojourns}")
        return self._sojourns
