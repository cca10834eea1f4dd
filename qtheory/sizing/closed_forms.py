"""What a queue length must be, in closed form; `validation/sizing.py` measures each against the numeric optimum.

**One line before saturated devices of one server each.** With K requests a disk, n_i of them at its device has the law
of N independent variables with weights p(n) ∝ y^n K!/(K − n)!, given that they add up to Q (`solve/saturated_line.py`).
A device idles while n_i = 0, so the loss is ε when P(n_i = 0 | Σ = Q) = ε. Choose y so that p(0) = ε, and let m, v and
κ be the first three cumulants of p. By the local central limit theorem with its Edgeworth term,

    P(0 | Q) = p(0) · [1 + (1 − m²/v − κm/v²)/(2N) + o(1/N)],    so    Q = N m + v/(2m) − m/2 − κ/(2v).

As K → ∞, p is geometric, m = (1 − ε)/ε, and this is exactly Q = (N − 1)(1 − ε)/ε: linear in N, with slope 19 for 5 %.
A finite K bends it: as K → ∞ with ε√K fixed, p is a normal law cut off at 0 and the slope √K (t + ε√K), where t solves
φ(t)/Φ(t) = ε√K: about √(2K/π) where ε is √(2/(πK)), more for a smaller loss (`derivations/linear_law.py`).

Service that is not exponential, of scv c_s², is taken to its scale. Near saturation the number at a device moves like
Brownian motion, reflected where it idles, whose variance grows with c_s² t: in numbers and times c_s² as large it is
that of exponential service (Harrison and Reiman 1981). Beyond the 1 − ε in service a disk has Q/N − (1 − ε) waiting at
its device, out of K − 1; so both are divided by c_s², the Q of exponential service found, and taken back:

    Q(K, c_s²) = N (1 − ε) + c_s² [Q(1 + (K − 1)/c_s², 1) − N (1 − ε)].

**A share of its own.** A disk keeps its c servers busy with c slots, if slots were free at once. A slot is held for the
turnaround δ longer than the device works, which takes X δ more (Little's law): c + X δ, the bandwidth-delay product.

**Below saturation**, with more servers than slots, slots are servers: Q = a + β(α) √(a z) for a delay probability α and
arrivals of peakedness z (`stations/square_root.py`). N disks together need β √(N a) of margin, apart N β √a.

**The drain bounds Q from above.** Q requests on c servers of exponential service drain in the time of Q − c completions
at rate c/S and then the longest of c services. Up to c, exactly P(T <= t) = (1 − e^{−t/S})^Q. Beyond, by cumulants

    κ_1 = (Q − c) S/c + S Σ 1/j,   κ_2 = (Q − c) S²/c² + S² Σ 1/j²,   κ_3 = 2(Q − c) S³/c³ + 2 S³ Σ 1/j³,    j <= c,

and Cornish and Fisher's (1938) expansion of the quantile to the first order in the skewness.

>>> round(one_line(disks=16, requests=256, loss=0.05), 2), round(one_line(disks=16, requests=None, loss=0.05), 2)
(186.52, 285.0)
>>> own_share(servers=4, throughput=180.0, turnaround=0.002)
4.36
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtri

from qtheory import arguments
from qtheory.arguments import count, nonnegative, positive

ENDLESS = 1e6
"""Waiting requests of a disk beyond which there is no end to them."""

LEAST_WAITING = 7.0
"""Waiting requests of a disk, on the scale of exponential service, up to which more variability was simulated."""


def one_line(*, disks: int, requests: int | None, loss: float, scv: float = 1.0) -> float:
    """Q for a loss of `loss`, one FIFO line before saturated devices of one server; a real number to round up.

    `requests` is what each disk keeps outstanding (K); None: without end. `scv` is that of the service times, 1 if
    they are exponential; otherwise the answer is approximate (`validation/sizing_by_simulation.py`), and not given for
    a few requests of very irregular service. ValueError for arguments out of range.
    """
    n, epsilon = count("disks", disks), arguments.probability("loss", loss)
    variability = positive("scv", scv)
    if requests is not None:
        requests = count("requests", requests)
    if requests is not None and variability > max(1.0, (requests - 1) / LEAST_WAITING):
        raise ValueError(
            f"scv must be at most 1, or a {LEAST_WAITING:g}th of requests - 1 = {requests - 1}, not {scv!r}: so few "
            "requests do not see so much variability"
        )
    if n == 1:
        return 1.0
    served = n * (1.0 - epsilon)
    waiting = None if requests is None else (requests - 1) / variability
    found = variability * _exponential(n, waiting, epsilon) + (1.0 - variability) * served
    return max(found, 1.0) if requests is None else min(max(found, 1.0), float(n * requests))


def _exponential(n: int, waiting: float | None, epsilon: float) -> float:
    """Q for exponential service and 1 + `waiting` requests a disk, not necessarily whole."""
    if waiting is None:
        return (n - 1) * (1.0 - epsilon) / epsilon
    k = 1.0 + min(waiting, ENDLESS)
    present = np.arange(math.floor(k) + 1)
    weights = np.concatenate([[0.0], np.cumsum(np.log1p(-present[:-1] / k))])

    def law(tilt: float) -> NDArray[np.float64]:
        height = weights + tilt * present
        terms = np.exp(height - height.max())
        return np.asarray(terms / terms.sum())

    def excess(tilt: float) -> float:
        height = weights + tilt * present
        peak = height.max()
        return float(-peak - math.log(np.exp(height - peak).sum()) - math.log(epsilon))

    edge = 2.0 - math.log(epsilon) - math.log1p(-epsilon) + math.log(k)
    p = law(float(brentq(excess, -edge, edge, xtol=1e-14)))
    m = float(p @ present)
    v = float(p @ (present - m) ** 2)
    skew = float(p @ (present - m) ** 3)
    return n * m + v / (2.0 * m) - m / 2.0 - skew / (2.0 * v)


def own_share(*, servers: int, throughput: float, turnaround: float = 0.0) -> float:
    """Slots that keep `servers` busy at `throughput` [1/s] when each is held `turnaround` [s] longer: c + X δ."""
    return count("servers", servers) + positive("throughput", throughput) * nonnegative("turnaround", turnaround)


def drain_limited(*, servers: int, service_mean: float, budget: float, probability: float = 0.99) -> int:
    """Largest Q in flight that drains within `budget` [s] with `probability`, on `servers` of exponential service.

    0 when not even one request does.

    Examples
    --------
    >>> drain_limited(servers=8, service_mean=1e-3, budget=0.02)
    108
    """
    c, mean, t = count("servers", servers), positive("service_mean", service_mean), positive("budget", budget)
    p = arguments.probability("probability", probability)
    alone = math.log1p(-math.exp(-t / mean))
    parallel = math.floor(min(math.log(p) / alone, c + 1.0)) if alone < 0.0 else c + 1
    if parallel < c:
        return parallel
    z = float(ndtri(p))
    services = np.arange(1, c + 1)

    def quantile(beyond: float) -> float:
        first = beyond / c + float((1.0 / services).sum())
        second = beyond / c**2 + float((1.0 / services**2).sum())
        third = 2.0 * beyond / c**3 + 2.0 * float((1.0 / services**3).sum())
        skewness = third / second**1.5
        return float(mean * (first + math.sqrt(second) * (z + (z * z - 1.0) * skewness / 6.0)))

    if quantile(0.0) >= t:
        return c
    most = c * t / mean
    return c + math.floor(brentq(lambda k: quantile(k) - t, 0.0, most) if quantile(most) > t else most)
