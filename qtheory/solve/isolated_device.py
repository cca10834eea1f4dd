"""A device whose service is not exponential, by exponential service of other rates (Marie 1979).

Let requests come to the device at the rate ν(k) when k are there. By itself it is a ν(k)/PH/c station, whose number has
a law p (`phase_type.py`), and exponential service at the rates

    μ(k) = ν(k − 1) p(k − 1) / p(k)

has the same law. ν comes from the network around the device, which is solved with the rates μ; iterate until they
agree. Laws that are not of few phases are fitted first (`laws/fitting/`).

A device by itself sees Poisson arrivals. Where its disk's buffer is often full that is not so: the next request is
accepted when one has completed, so what comes is as regular or as bursty as what leaves. In heavy traffic a queue feels
the sum of both variabilities, the scv c_a² of the times between arrivals and the c_s² of service; so the deviation of
ln μ from exponential service is enlarged by the factor 1 + (c_a² − 1)/(c_s² − 1), with

    c_a² − 1 = φ (c_d² − 1),    c_d² = u² c_s² + (1 − u²) c_a²    (Whitt 1983),

u the utilization, φ = 1 − (1 − P(full))², as if requests came through a server that is idle while the buffer is full.
For c_s² > 1, where the deviation grows more slowly than c_s², the addition is divided by c_s²: a rule of thumb, as is
the whole of this paragraph, kept because it was measured to be better.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from qtheory.arrivals import Poisson
from qtheory.engine import Device, Disk, Engine
from qtheory.laws import Exponential, Law
from qtheory.laws.fitting import PhaseTypeFit, fit_phase_type
from qtheory.solve import phase_type
from qtheory.solve.phase_type import PhaseChain

Floats = NDArray[np.float64]
LEAST = 1e-20
"""Numbers whose probability is below this fraction of the largest say nothing about rates."""
RARE = 1e-200


def general(device: Device) -> bool:
    """Whether its service is not exponential."""
    return device.service is not None and not isinstance(device.service, Exponential)


def refusal(device: Device, most: int) -> str | None:
    """Why the device is not solved by itself with up to `most` requests, or None."""
    return phase_type.refusal(_alone(device, most)) if general(device) else None


def fit(device: Device, most: int) -> PhaseTypeFit:
    """The law that stands for its service."""
    assert device.service is not None
    assert device.servers is not None
    return _fit(device.service, min(device.servers, most))


def isolated(device: Device, rates: Floats, law: Floats, most: int) -> tuple[PhaseChain, Floats]:
    """The device by itself and its rates μ, as many as there are in `rates`.

    `rates` are those with which the network was solved, and `law` is what it found for the number at the device, at
    most `most`.
    """
    known = np.flatnonzero(law[: most + 1] > LEAST * law.max())
    first, last = int(known[0]), int(known[-1])
    between = rates[first:last] * law[first + 1 : last + 1] / law[first:last]
    coming = between[np.clip(np.arange(most) - first, 0, last - first - 1)]
    chain = PhaseChain.unsolved(_alone(device, most), None, lambda *_: most)
    chain = chain.solved([np.full(len(at), rate) for at, rate in zip(chain.accepting, coming, strict=True)])
    pmf = chain.pmf[1:]
    known = np.flatnonzero(pmf > RARE)
    found = chain.finishing[1:] / np.maximum(pmf, RARE)
    return chain, found[np.clip(np.arange(len(rates)), known[0], known[-1])]


def enlarged(device: Device, chain: PhaseChain, rates: Floats, full: float, throughput: float) -> Floats:
    """Rates of a device whose disk has a full buffer with probability `full`; see above."""
    law = device.service
    assert law is not None
    returning = 1.0 - (1.0 - full) ** 2
    busy = min(throughput / device.capacity, 1.0) ** 2
    factor = 1.0 + returning * busy / (1.0 - returning * (1.0 - busy)) / max(law.scv, 1.0)
    if law.scv < chain.law.scv < 1.0:
        # So few phases are not as regular.
        factor *= (1.0 - law.scv) / (1.0 - chain.law.scv)
    exponential = device.rates(len(rates))
    return np.asarray(exponential * (rates / exponential) ** factor)


@lru_cache(maxsize=64)
def _alone(device: Device, most: int) -> Engine:
    law = fit(device, most).law
    return Engine([Disk(Poisson(1.0 / law.mean), buffer=most)], Device(device.servers, law))


@lru_cache(maxsize=32)
def _fit(law: Law, servers: int) -> PhaseTypeFit:
    return fit_phase_type(law, servers=servers)
