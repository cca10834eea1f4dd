"""Fits of phase-type laws: moments against their targets, likelihoods against scipy, distances against mpmath."""

from __future__ import annotations

import itertools
import math

import mpmath as mp
import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from qtheory.laws import (
    BoundedPareto,
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
    Weibull,
)
from qtheory.laws.fitting import closest, em, extrapolated, fit_phase_type, tail_fit, three_moments, two_moments
from qtheory.laws.fitting.closest import survival
from qtheory.laws.fitting.distance import MOST_STATES, Target, affordable, kolmogorov_smirnov
from qtheory.laws.fitting.exponentials import exponentials
from qtheory.laws.fitting.fit import NEAR
from qtheory.laws.fitting.observations import Observations

EXACT = 1e-10
"""Relative error allowed to moments that a fit is to have."""


def moments(law: Law) -> list[float]:
    return [law.moment(k) for k in (1, 2, 3)]


# --- moments


@given(st.floats(1e-9, 1e6), st.floats(0.011, 1e4))
def test_two_moments(mean: float, scv: float) -> None:
    law = two_moments(mean, scv)
    assert law.mean == pytest.approx(mean, rel=EXACT)
    assert law.scv == pytest.approx(scv, rel=EXACT)
    assert len(law.alpha) == (max(2, math.ceil(1.0 / scv - 1e-12)) if scv != 1.0 else 1)


@pytest.mark.parametrize("scv", [1.0 / k for k in (1, 2, 3, 7, 49, 100)])
def test_two_moments_of_erlang_laws(scv: float) -> None:
    law = two_moments(2.0, scv)
    assert len(law.alpha) == round(1.0 / scv)
    np.testing.assert_allclose(law.alpha, np.eye(len(law.alpha))[0], atol=1e-6)  # a root of a rounded zero
    assert law.scv == pytest.approx(scv, rel=EXACT)


def bounds(scv: float) -> tuple[float, float]:
    """E[S³]/E[S]³ of two phases, least and largest (Telek and Heindl 2002)."""
    if scv > 1.0:
        return 1.5 * (1.0 + scv) ** 2, math.inf
    return 3.0 * (3.0 * scv - 1.0 + math.sqrt(2.0) * (1.0 - scv) ** 1.5), 6.0 * scv


@given(st.floats(0.5, 100.0), st.floats(0.001, 0.999), st.floats(1e-6, 1e3))
def test_two_phases_within_their_bounds(scv: float, part: float, mean: float) -> None:
    assume(abs(scv - 1.0) > 1e-3 and scv > 0.501)
    low, high = bounds(scv)
    third = low + part * (high - low) if scv < 1.0 else low / part
    law = three_moments(mean, (1.0 + scv) * mean**2, third * mean**3)
    assert len(law.alpha) == 2
    np.testing.assert_allclose(moments(law), [mean, (1.0 + scv) * mean**2, third * mean**3], rtol=EXACT)


@settings(max_examples=40)
@given(st.floats(0.51, 50.0), st.floats(1e-3, 0.3))
def test_more_phases_beyond_their_bounds(scv: float, beyond: float) -> None:
    assume(abs(scv - 1.0) > 1e-3)
    low, high = bounds(scv)
    n2 = 1.0 + scv
    for third in (low - beyond * (low - n2 * n2), high * (1.0 + beyond)):
        if math.isinf(third):
            continue
        law = three_moments(1.0, n2, third)
        assert len(law.alpha) > 2
        np.testing.assert_allclose(moments(law), [1.0, n2, third], rtol=EXACT)


@settings(max_examples=30)
@given(st.floats(0.02, 20.0), st.floats(1.03, 50.0))
def test_three_moments_of_any_law(scv: float, ratio: float) -> None:
    """Whatever has m2 > m1² and m1 m3 > m2², not too near, is reached (Johnson and Taaffe 1989)."""
    wanted = [1.0, 1.0 + scv, ratio * (1.0 + scv) ** 2]
    law = three_moments(*wanted)
    np.testing.assert_allclose(moments(law), wanted, rtol=EXACT)
    assert scv >= (1.0 - EXACT) / len(law.alpha)


@pytest.mark.parametrize("phases", [1, 2, 3, 8])
def test_three_moments_find_an_erlang_law(phases: int) -> None:
    law = three_moments(*moments(Erlang(phases, 3e-4)))
    assert len(law.alpha) == phases
    np.testing.assert_allclose(moments(law), moments(Erlang(phases, 3e-4)), rtol=EXACT)


def test_three_moments_find_a_coxian_law() -> None:
    law = PhaseType([1.0, 0.0, 0.0], [[-2.0, 2.0, 0.0], [0.0, -1.0, 0.4], [0.0, 0.0, -3.0]])
    fitted = three_moments(*moments(law))
    assert len(fitted.alpha) <= 3
    np.testing.assert_allclose(moments(fitted), moments(law), rtol=EXACT)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: two_moments(-1.0, 2.0), "mean"),
        (lambda: two_moments(1.0, math.nan), "scv"),
        (lambda: two_moments(1.0, 0.2, most=4), r"scv must be at least 1/most = 0.25"),
        (lambda: two_moments(1.0, 3.0, most=1), "most must be at least 2"),
        (lambda: three_moments(1.0, 1.0, 2.0), r"m2 must exceed m1²"),
        (lambda: three_moments(1.0, 3.0, 9.0), r"m3 must exceed m2²/m1 = 9"),
        (lambda: three_moments(1.0, 1.001, 1.0031), "200 phases"),
        (lambda: tail_fit(Deterministic(1.0), 3), "hazard rate"),
        (lambda: tail_fit(Lognormal(1.0, 4.0), 1), "phases"),
        (lambda: closest(Exponential(1.0), 0), "phases"),
        (lambda: closest(Exponential(1.0), 2, servers=0), "servers"),
        (lambda: em([], phases=2), "samples"),
        (lambda: em([0.0, 0.0], phases=2), "samples"),
        (lambda: em([1.0, -1.0], phases=2), r"samples\[1\]"),
        (lambda: em([1.0, 2.0], weights=[1.0], phases=2), "weights"),
        (lambda: em([1.0, 2.0], censored=[0, 1], phases=2), "censored"),
        (lambda: em([1.0, 2.0], censored=[True, True], phases=2), "censored"),
        (lambda: em(Exponential(1.0), weights=[1.0], phases=2), "left out"),
        (lambda: em([1.0], phases=2, structure="Cox"), "structure"),
        (lambda: extrapolated(lambda law: 1.0, Lognormal(1.0, 2.0)), "scv of at most 1"),
        (lambda: extrapolated(lambda law: 1.0, Deterministic(1.0), orders=[2, 2]), "orders"),
        (lambda: fit_phase_type([1.0, math.nan]), r"samples\[1\]"),
        (lambda: fit_phase_type(Deterministic(1.0), phases=0), "phases"),
        (lambda: fit_phase_type(Deterministic(1.0), servers=1.5), "servers"),  # type: ignore[arg-type]
    ],
)
def test_refusals(call, said) -> None:
    with pytest.raises(ValueError, match=said):
        call()


# --- the tail


@pytest.mark.parametrize("law", [Lognormal(2e-3, 9.0), Weibull(mean=1.0, scv=5.0), Gamma(mean=1.0, scv=4.0)])
def test_tail_fit_passes_through_its_points(law: Law) -> None:
    fitted = tail_fit(law, 4)
    assert fitted.mean == pytest.approx(law.mean, rel=EXACT)
    low, high = law.residual().quantile([0.1, 0.98])
    at = np.geomspace(high, low, 4)
    apart = math.sqrt(at[0] / at[1])
    # The later phases are taken away before, and are nearly 0 at the earlier points: that much is left there.
    for i, t in enumerate(at[:-1]):
        for x in (t, t * apart):
            later = fitted.probabilities[i + 1 :] @ np.exp(-x / fitted.means[i + 1 :])
            assert float(fitted.sf(x)) - later == pytest.approx(float(law.sf(x)), rel=1e-9)


def test_tail_fit_gives_a_hyperexponential_law_back() -> None:
    law = Hyperexponential([0.95, 0.05], [0.1, 20.0])
    fitted = tail_fit(law, 2)
    np.testing.assert_allclose(np.sort(fitted.means), np.sort(law.means), rtol=1e-3)


# --- the closest


def test_exponentials_against_mpmath() -> None:
    T = np.array([[-2.0, 1.5, 0.0], [0.3, -40.0, 9.0], [0.0, 0.0, -0.1]])
    times = np.array([0.0, 1e-9, 0.02, 1.0, 33.0, 4000.0])
    found = exponentials(T * times[:, None, None])
    with mp.workdps(40):
        for t, E in zip(times, found, strict=True):
            exact = mp.expm(mp.matrix(T.tolist()) * mp.mpf(t))
            np.testing.assert_allclose(E, np.array(exact.tolist(), dtype=float), rtol=1e-10, atol=1e-14)


def test_survival_is_the_exponential_of_a_matrix() -> None:
    T = np.array([[-1e-3, 1e-3, 0.0], [0.0, -5.0, 5.0], [0.0, 0.0, -700.0]])
    found = survival(T, 0.01, 60)
    with mp.workdps(40):
        for i in (0, 3, 4, 17, 40, 59):
            t = mp.mpf(0.01) * mp.mpf(2) ** (mp.mpf(i) / 4)
            exact = mp.expm(mp.matrix(T.tolist()) * t) * mp.matrix([1, 1, 1])
            np.testing.assert_allclose(found[i], [float(x) for x in exact], rtol=1e-9, atol=1e-300)


@pytest.mark.parametrize("phases", [1, 2, 3, 5])
@pytest.mark.parametrize("law", [Lognormal(1e-4, 2.0), Lognormal(1.0, 0.1), Deterministic(5.0), Weibull(1.0, 8.0)])
def test_closest_keeps_the_mean(law: Law, phases: int) -> None:
    fitted = closest(law, phases)
    assert fitted.mean == pytest.approx(law.mean, rel=EXACT)
    assert len(fitted.alpha) <= phases


@pytest.mark.parametrize(
    "law",
    [
        Hyperexponential([0.9, 0.1], [0.2, 8.2]),
        Mixture([Exponential(0.3), Erlang(2, 4.0)], [0.7, 0.3]),
        Erlang(3, 1.0),
    ],
)
def test_closest_finds_a_law_of_its_own_kind(law: Law) -> None:
    assert Target.of(law).distance(closest(law, 3)) < 5e-4


def test_more_phases_come_nearer() -> None:
    law = Lognormal(1.0, 9.0)
    target = Target.of(law)
    distances = [target.distance(closest(law, m)) for m in (1, 2, 3, 4, 5)]
    assert all(b < a / 1.5 for a, b in itertools.pairwise(distances))


# --- EM


@pytest.fixture(scope="module")
def mixed() -> np.ndarray:
    """3000 times: 70 % of an Erlang law of 3 phases and mean 0.1, 30 % exponential of mean 2."""
    rng = np.random.default_rng(5)
    return np.where(rng.random(3000) < 0.7, rng.gamma(3.0, 0.1 / 3.0, 3000), rng.exponential(2.0, 3000))


def test_em_recovers_a_hyper_erlang_law(mixed: np.ndarray) -> None:
    found = em(mixed, phases=4)
    assert sorted(found.law.alpha[found.law.alpha > 0.0].tolist()) == pytest.approx([0.3, 0.7], abs=4 * 0.0084)
    assert len(found.law.alpha) == 4
    assert found.law.mean == pytest.approx(mixed.mean(), rel=EXACT)
    # 4 standard errors of the mean of either branch: 0.1/√(3·2100) and 2/√900, a little more as they overlap
    steps = np.sort(-1.0 / np.diag(found.law.T))
    np.testing.assert_allclose(steps[:3], 0.1 / 3.0, atol=4 * 1.2 * 0.1 / 3.0 / math.sqrt(6300.0))
    assert steps[3] == pytest.approx(2.0, abs=4 * 1.2 * 2.0 / 30.0)


@pytest.mark.parametrize("structure", ["hyper-Erlang", "general"])
def test_likelihood_never_falls(mixed: np.ndarray, structure: str) -> None:
    short = mixed[:80]
    cut = np.minimum(short, 1.0)
    counts, edges = np.histogram(short, np.geomspace(1e-3, 50.0, 30))
    for data, censored in ((short, None), (cut, short > 1.0), (Histogram(edges, counts), None)):
        history = em(data, censored=censored, phases=2, structure=structure).log_likelihood
        assert len(history) > 1
        assert np.diff(history).min() > -1e-12


@pytest.mark.parametrize("structure", ["hyper-Erlang", "general"])
def test_reported_likelihood_is_that_of_the_law(mixed: np.ndarray, structure: str) -> None:
    """Density by a difference of the distribution function; bins and censored times as such."""
    short = mixed[:60]
    found = em(short, phases=3, structure=structure)
    h = 1e-5 * short
    density = (found.law.cdf(short + h) - found.law.cdf(short - h)) / (2.0 * h)
    assert found.log_likelihood[-1] == pytest.approx(np.log(density).mean(), abs=1e-6)
    bins = Histogram(np.array([0.0, 0.05, 0.2, 1.0, 10.0]), [10.0, 20.0, 15.0, 15.0])
    found = em(bins, phases=3, structure=structure)
    assert found.log_likelihood[-1] == pytest.approx(bins.counts @ np.log(-np.diff(found.law.sf(bins.edges))), abs=1e-6)
    found = em(np.minimum(short, 1.0), censored=short > 1.0, phases=3, structure=structure)
    seen = short <= 1.0
    density = (found.law.cdf((short + h)[seen]) - found.law.cdf((short - h)[seen])) / (2.0 * h[seen])
    total = np.log(density).sum() + np.count_nonzero(~seen) * math.log(float(found.law.sf(1.0)))
    assert found.log_likelihood[-1] == pytest.approx(total / len(short), abs=1e-6)


@pytest.mark.parametrize("structure", ["hyper-Erlang", "general"])
def test_weights_are_repetitions(mixed: np.ndarray, structure: str) -> None:
    few, often = mixed[:40], np.arange(40) % 4
    weighted = em(few, weights=often, phases=3, structure=structure)
    repeated = em(np.repeat(few, often), phases=3, structure=structure)
    np.testing.assert_allclose(weighted.law.T, repeated.law.T, rtol=1e-6)
    assert weighted.log_likelihood[-1] == pytest.approx(repeated.log_likelihood[-1], rel=1e-9)


def test_censored_exponential_is_the_known_estimate() -> None:
    """Time seen in all over completions seen (Epstein and Sobel 1953)."""
    times, cut = np.array([0.2, 0.5, 1.0, 1.0, 0.7, 1.0]), np.array([False, False, True, True, False, True])
    for structure in ("hyper-Erlang", "general"):
        assert em(times, censored=cut, phases=1, structure=structure).law.mean == pytest.approx(4.4 / 3.0, rel=1e-3)


def test_censored_and_binned_against_scipy(mixed: np.ndarray) -> None:
    """The maximum for two exponential branches, found by scipy from the likelihood itself."""
    data = mixed[:400]
    cut = data > 1.5
    times = np.minimum(data, 1.5)
    counts, edges = np.histogram(data, np.geomspace(1e-3, 40.0, 25))
    bins = Histogram(edges, counts)

    def sf(x: np.ndarray, t: np.ndarray) -> np.ndarray:
        p, a, b = 1.0 / (1.0 + math.exp(-x[0])), math.exp(x[1]), math.exp(x[2])
        return np.asarray(p * np.exp(-t / a) + (1.0 - p) * np.exp(-t / b))

    def density(x: np.ndarray, t: np.ndarray) -> np.ndarray:
        p, a, b = 1.0 / (1.0 + math.exp(-x[0])), math.exp(x[1]), math.exp(x[2])
        return np.asarray(p / a * np.exp(-t / a) + (1.0 - p) / b * np.exp(-t / b))

    def censored(x: np.ndarray) -> float:
        return -float(np.log(density(x, times[~cut])).sum() + np.log(sf(x, times[cut])).sum()) / len(data)

    def binned(x: np.ndarray) -> float:
        kept = bins.counts > 0.0
        return -float(bins.counts[kept] @ np.log(-np.diff(sf(x, edges))[kept]))

    start = np.array([1.0, math.log(0.1), math.log(2.0)])
    options = {"xatol": 1e-9, "fatol": 1e-13, "maxiter": 5000}
    for negative, fitted in (
        (censored, em(times, censored=cut, phases=2, structure="general")),
        (binned, em(bins, phases=2, structure="general")),
    ):
        best = scipy.optimize.minimize(negative, start, method="Nelder-Mead", options=options)
        assert fitted.log_likelihood[-1] > -best.fun - 1e-5  # a general law may do better, never worse


def test_many_samples_are_gathered_without_moving_the_mean() -> None:
    rng = np.random.default_rng(2)
    times = rng.lognormal(0.0, 1.5, 20_000)
    seen = Observations.of(times)
    assert len(seen.low) < 1000
    assert seen.weight.sum() == pytest.approx(20_000.0)
    assert seen.weight @ seen.low == pytest.approx(times.sum(), rel=1e-12)
    assert em(times, phases=3).law.mean == pytest.approx(times.mean(), rel=EXACT)


def test_zeros_are_below_the_smallest() -> None:
    seen = Observations.of([0.0, 2.0, 1.0])
    assert seen.low.tolist() == [0.0, 1.0, 2.0]
    assert seen.high.tolist() == [1.0, 1.0, 2.0]
    assert em([0.0, 2.0, 1.0], phases=2).law.mean > 0.0


def test_em_is_deterministic(mixed: np.ndarray) -> None:
    assert em(mixed[:200], phases=4).law == em(mixed[:200], phases=4).law


# --- distances


def test_kolmogorov_smirnov_against_mpmath() -> None:
    """Exponential and Erlang of 2 phases, both of mean 1: the difference t → (1 + 2t) e^{−2t} − e^{−t}."""
    with mp.workdps(40):

        def gap(t: mp.mpf) -> mp.mpf:
            return (1 + 2 * t) * mp.exp(-2 * t) - mp.exp(-t)

        exact = max(abs(gap(mp.findroot(lambda t: mp.diff(gap, t), start))) for start in (0.2, 2.0))
    assert kolmogorov_smirnov(Exponential(1.0), Erlang(2, 1.0)) == pytest.approx(float(exact), abs=1e-5)


def test_kolmogorov_smirnov_at_jumps() -> None:
    gap = kolmogorov_smirnov(Deterministic(1.0), Exponential(1.0))
    assert gap == pytest.approx(1.0 - math.exp(-1.0), rel=1e-9)
    gap = kolmogorov_smirnov(Empirical([1.0, 2.0]), Exponential(1.0))
    assert gap == pytest.approx(1.0 - math.exp(-1.0), rel=1e-9)


@pytest.mark.parametrize("servers", [1, 10])
def test_distance_against_mpmath(servers: int) -> None:
    """Of a deterministic law 1 from an exponential: (1 − t)⁺ against e^{−t}, and an scv of 0 against 1."""
    target = Target.of(Deterministic(1.0))
    with mp.workdps(40):
        squares = [(max(1 - mp.mpf(t), 0) - mp.exp(-mp.mpf(t))) ** 2 for t in target.times]
        exact = mp.sqrt(mp.fsum(squares) / len(squares) + (mp.mpf(1) / (2 * servers)) ** 2)
    assert target.distance(Exponential(1.0).phase_type(), servers) == pytest.approx(float(exact), rel=1e-12)
    assert target.times[0] == 1.0 / 200.0
    np.testing.assert_allclose(target.times[4:] / target.times[:-4], 2.0, rtol=1e-12)
    assert Target.of(Lognormal(1.0, 9.0)).residual[-1] < 0.0005


def test_affordable_phases() -> None:
    assert [affordable(c) for c in (1, 4, 16, 64, 1000)] == [12, 7, 3, 2, 2]
    for c in (2, 5, 8, 12, 22):
        m = affordable(c)
        assert math.comb(c + m - 1, m - 1) <= MOST_STATES
        assert m == 12 or math.comb(c + m, m) > MOST_STATES


# --- the front door

HIT_OR_MISS = Mixture([Lognormal(0.1, 0.1), Lognormal(5.0, 0.1)], [0.9, 0.1])
RECORDED = [
    (Lognormal(1e-3, 0.25), 4, 0.002),
    (Lognormal(1e-3, 2.0), 1, 0.001),
    (Lognormal(1e-3, 2.0), 16, 0.003),
    (Lognormal(1e-3, 9.0), 4, 0.001),
    (Lognormal(1e-3, 9.0), 16, 0.005),
    (Lognormal(1e-3, 9.0), 64, 0.016),
    (Weibull(mean=1e-3, scv=5.0), 4, 0.001),
    (Weibull(mean=1e-3, scv=4.0 / math.pi - 1.0), 4, 0.0012),
    (Gamma(mean=1.0, scv=4.0), 4, 0.001),
    (Gamma(mean=1.0, scv=0.5), 64, 1e-9),
    (BoundedPareto(1.5, 1e-4, 1.0), 4, 0.0065),
    (HIT_OR_MISS, 16, 0.024),
    (Deterministic(1.0), 16, 0.056),
]


@pytest.mark.parametrize(("law", "servers", "recorded"), RECORDED)
def test_fits_stay_within_their_recorded_distance(law: Law, servers: int, recorded: float) -> None:
    fit = fit_phase_type(law, servers=servers)
    assert fit.distance <= recorded
    assert not fit.exact
    assert abs(fit.moments[0].error) < EXACT
    assert len(fit.law.alpha) <= affordable(servers)
    assert fit.distance == pytest.approx(Target.of(law).distance(fit.law, servers), rel=1e-9)
    assert (fit.distance > NEAR) == any("no nearer" in warning for warning in fit.warnings)
    assert fit.error_bound > 0.0
    assert fit.kolmogorov_smirnov == kolmogorov_smirnov(law, fit.law)
    for p, pair in fit.quantiles.items():
        assert pair == pytest.approx((float(law.quantile(p)), float(fit.law.quantile(p))), rel=1e-6)


@pytest.mark.parametrize(
    "law", [Exponential(2.0), Erlang(3, 1.0), Hyperexponential([0.5, 0.5], [1.0, 9.0]), two_moments(1.0, 0.3)]
)
def test_phase_type_laws_come_back_unchanged(law: Law) -> None:
    fit = fit_phase_type(law)
    assert fit.law == law.phase_type()
    assert fit.exact
    assert fit.method == "unchanged"
    assert fit.distance == 0.0
    assert fit.error_bound == 0.0
    assert fit.warnings == ()


def test_too_many_phases_are_reduced() -> None:
    fit = fit_phase_type(Erlang(30, 1.0), servers=16)
    assert len(fit.law.alpha) == 3
    assert not fit.exact
    assert fit_phase_type(Erlang(30, 1.0)).exact
    assert abs(fit.moments[0].error) < EXACT


def test_more_phases_than_needed_do_no_harm() -> None:
    law = Lognormal(1.0, 1e4)  # here the search for 25 phases ends in a poor minimum
    assert fit_phase_type(law, phases=25).distance <= Target.of(law).distance(closest(law, 10)) < 0.01


def test_samples_and_scipy_laws() -> None:
    times = np.random.default_rng(3).lognormal(-7.0, 1.0, 500)
    fit = fit_phase_type(times, servers=16)
    assert fit.law.mean == pytest.approx(times.mean(), rel=EXACT)
    assert fit == fit_phase_type(Empirical(times), servers=16)
    assert fit_phase_type(scipy.stats.lognorm(0.8), phases=4).distance < 0.004


def test_a_report_is_plain() -> None:
    report = fit_phase_type(Lognormal(1.0, 2.0), phases=2).to_dict()
    assert report["method"]
    assert len(report["moments"]) == 3
    assert report["error_bound"] > 0.0


# --- extrapolation


@settings(max_examples=20)
@given(st.floats(0.1, 0.9))
def test_extrapolation_of_a_polynomial_is_exact(scv: float) -> None:
    found = extrapolated(lambda law: 3.0 + law.scv - 2.0 * law.scv**2, Gamma(1.0, scv), orders=[1, 2, 4])
    assert found == pytest.approx(3.0 + scv - 2.0 * scv**2, rel=1e-10)


def test_extrapolation_of_a_loss_queue() -> None:
    """Behind one server with one place in the line: an exact value for deterministic service.

    M/D/1 with 2 in the system: with ρ = 0.7, P(no arrival in a service) = e^{−ρ} decides the embedded chain.
    """
    import qtheory as qt

    rho = 0.7

    def blocking(law: PhaseType) -> float:
        disk = qt.Disk(qt.Poisson(rho), buffer=2)
        return qt.solve(qt.Engine([disk], device=qt.Device(servers=1, service=law)), "phase_type").blocking

    empty = math.exp(-rho)  # a departure leaves 0 with this probability, else 1: from 0 and from 1 alike
    exact = 1.0 - 1.0 / (empty + rho)
    assert extrapolated(blocking, Deterministic(1.0)) == pytest.approx(exact, rel=2e-3)
    assert blocking(Erlang(16, 1.0).phase_type()) > exact * 1.01
