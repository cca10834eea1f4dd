"""The front door: a law, or samples, in; a phase-type law of few phases out, with how far it is off.

A law that is of phase type already comes back unchanged, unless it has more phases than allowed. Otherwise, for each
number of phases, all that apply are tried:

* `two_moments`, `three_moments` (`moments.py`): enough where the law is near the form they assume;
* `tail_fit` (`tail.py`): more variable than exponential;
* `closest` (`closest.py`): looks for the least distance itself, and mostly finds it;
* `em` (`em.py`): only where none of these is near enough, as it takes longer;

and the one of least distance (`distance.py`) is taken. All have the exact mean. Without a number of phases it is the
smallest with a distance below NEAR, up to what the servers afford; and where none of these is as regular as the law,
the Erlang law of the most phases (`erlang`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from numpy.typing import ArrayLike

from qtheory.arguments import count
from qtheory.laws.empirical import Empirical
from qtheory.laws.fitting.closest import closest_to
from qtheory.laws.fitting.distance import Target, affordable, kolmogorov_smirnov
from qtheory.laws.fitting.em import em
from qtheory.laws.fitting.moments import three_moments, two_moments
from qtheory.laws.fitting.tail import tail_fit
from qtheory.laws.gamma import Erlang
from qtheory.laws.law import Law
from qtheory.laws.phase_type import PhaseType
from qtheory.laws.scipy_law import law_of
from qtheory.result import Result

NEAR = 0.001
"""A distance that queues hardly feel."""
MEASURED = {"blocking": 70.0, "mean_wait": 10.0, "response_quantile": 50.0}
"""Largest relative error of a queue for each unit of distance, over validation/phase_type_fits.py, whose cells are
simulated to about 1 %: smaller errors are not tested."""
LEVELS = (0.5, 0.9, 0.99, 0.999)


class Compared(NamedTuple):
    """A figure of the law, and the same of the fit."""

    target: float
    fitted: float

    @property
    def error(self) -> float:
        """fitted / target − 1."""
        return self.fitted / self.target - 1.0


@dataclass(frozen=True, kw_only=True)
class PhaseTypeFit(Result):
    """A fitted phase-type law and how well it matches.

    Attributes
    ----------
    law : PhaseType
        The fitted law; its mean is that of the target.
    distance : float
        That of the residual laws, by which the fit was chosen; see `distance.py`.
    moments : tuple of Compared
        E[S^k] [s^k] for k = 1, 2, 3.
    kolmogorov_smirnov : float
        Largest difference of the distribution functions.
    quantiles : level to Compared
        50, 90, 99 and 99.9 % [s].

    `error_bounds` has the largest relative errors of a queue's blocking, mean wait and 99 % response quantile, as
    measured for such a distance; `method` says which fit it is.
    """

    law: PhaseType
    distance: float
    moments: tuple[Compared, ...]
    kolmogorov_smirnov: float
    quantiles: Mapping[float, Compared] = field(repr=False)


def fit_phase_type(law: Law | ArrayLike, phases: int | None = None, servers: int | None = None) -> PhaseTypeFit:
    """Fit a phase-type law to a service-time law or to samples [s].

    Parameters
    ----------
    law : Law or array-like
        A law, a frozen scipy.stats distribution, or samples, none negative.
    phases : int, optional
        Most phases; by default the fewest that come near enough, of at most 12.
    servers : int, optional
        Servers that the law is meant for. More of them afford fewer phases, and feel the scv less. By default one.

    Raises ValueError for arguments out of range, TypeError for what is neither a law nor numbers.

    Examples
    --------
    >>> from qtheory.laws import Lognormal
    >>> fit = fit_phase_type(Lognormal(mean=400e-6, scv=2.0), servers=4)
    >>> len(fit.law.alpha), fit.method, fit.distance < NEAR, abs(fit.moments[0].error) < 1e-12
    (4, 'closest', True, True)
    """
    target_law = _law(law)
    c = 1 if servers is None else count("servers", servers)
    most = affordable(c) if phases is None else count("phases", phases)
    try:
        same = target_law.phase_type()
    except TypeError:
        same = None
    if same is not None and (phases is servers is None or len(same.alpha) <= most):
        return _report("unchanged", target_law, same, 0.0)
    target = Target.of(target_law)
    if phases is None and target.scv * most < 1.0:
        # no law of so few phases is as regular, and an Erlang law is the most regular of them (Aldous, Shepp 1987)
        erlang = Erlang(phases=most, mean=target.mean).phase_type()
        return _report("erlang", target_law, erlang, target.distance(erlang, c))
    best = (math.inf, "", same)
    # many phases may end in a poor local minimum: what fewer of them reach counts as well
    for m in range(1, most + 1) if phases is None else sorted({min(phases, few) for few in (6, 10, phases)}):
        for method, fitted in _candidates(target_law, target, m, c):
            distance = target.distance(fitted, c)
            if distance < best[0]:
                best = distance, method, fitted
        if best[0] <= NEAR and phases is None:
            break
    if best[0] > NEAR:
        fitted = em(target_law, phases=most).law
        fitted = PhaseType(fitted.alpha, fitted.T * (fitted.mean / target.mean))
        if (distance := target.distance(fitted, c)) < best[0]:
            best = distance, "em", fitted
    distance, method, found = best
    assert found is not None  # `closest` always answers
    return _report(method, target_law, found, distance)


def _law(law: object) -> Law:
    """A law as it is, samples as an Empirical one."""
    return law_of(law, "law") if isinstance(law, Law) or hasattr(law, "dist") else Empirical(law)  # type: ignore[arg-type]


def _candidates(law: Law, target: Target, phases: int, servers: int) -> Iterator[tuple[str, PhaseType]]:
    """What applies, with at most so many phases."""
    yield "closest", closest_to(target, phases, servers)
    if phases >= 2 and target.scv > 1.0:
        with suppress(ValueError):  # the hazard rate rises
            yield "tail_fit", tail_fit(law, phases).phase_type()
    if target.scv > 0.0:
        with suppress(ValueError):  # it takes more phases
            yield "two_moments", two_moments(target.mean, target.scv, most=phases)
            yield "three_moments", three_moments(*(law.moment(k) for k in (1, 2, 3)), most=phases)


def _report(method: str, law: Law, fitted: PhaseType, distance: float) -> PhaseTypeFit:
    exact = method == "unchanged"
    quantiles = {
        p: Compared(float(target), float(found))
        for p, target, found in zip(LEVELS, law.quantile(LEVELS), fitted.quantile(LEVELS), strict=True)
    }
    warnings = []
    if distance > NEAR:
        hint = ": below an scv of 1 see also `extrapolated`" if law.scv < 1.0 else ""
        warnings.append(f"{len(fitted.alpha)} phases come no nearer than {distance:.3g}{hint}")
    if abs(tail := quantiles[0.99].error) > 0.1:
        warnings.append(f"the 99 % quantile of the law itself is off by {tail:+.0%}")
    return PhaseTypeFit(
        method=method,
        exact=exact,
        error_bounds={name: factor * distance for name, factor in MEASURED.items()},
        warnings=tuple(warnings),
        law=fitted,
        distance=distance,
        moments=tuple(Compared(law.moment(k), fitted.moment(k)) for k in (1, 2, 3)),
        kolmogorov_smirnov=0.0 if exact else kolmogorov_smirnov(law, fitted),
        quantiles=quantiles,
    )
