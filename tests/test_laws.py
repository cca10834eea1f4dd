"""Each law against mpmath at 50 digits, against scipy.stats, against itself by another way, and by sampling."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import mpmath as mp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

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
    Residual,
    Scaled,
    Shifted,
    Weibull,
    law_of,
)

CLOSED = 1e-12
"""Relative error allowed to closed forms."""
FAR = 1e-11
"""The same where P(S > t) is 1e-290: an exponent of 667 has lost three digits, with a power in it four."""
NUMERIC = 1e-10
"""Relative error allowed to quadrature."""


@pytest.fixture(autouse=True)
def fifty_digits():
    with mp.workdps(50):
        yield


@dataclasses.dataclass
class Exact:
    """A law in mpmath: P(S > t), E[S^k], ∫_t^∞ P(S > u) du and E[e^{−sS}]."""

    sf: Callable
    moment: Callable
    beyond: Callable
    lst: Callable


def gamma(mean, scv):
    a, scale = 1 / mp.mpf(scv), mp.mpf(mean) * mp.mpf(scv)

    def upper(a, x):  # the integral of the tail, as mpmath's series fail for large a
        return mp.gammainc(a, x) / mp.gamma(a)

    return Exact(
        lambda t: upper(a, t / scale),
        lambda k: scale**k * mp.rf(a, k),
        lambda t: a * scale * upper(a + 1, t / scale) - t * upper(a, t / scale),
        lambda s: (1 + s * scale) ** -a,
    )


def exponential(mean):
    mean = mp.mpf(mean)
    return Exact(
        lambda t: mp.exp(-t / mean),
        lambda k: mp.factorial(k) * mean**k,
        lambda t: mean * mp.exp(-t / mean),
        lambda s: 1 / (1 + s * mean),
    )


def lognormal(mean, scv):
    mean, var = mp.mpf(mean), mp.log1p(mp.mpf(scv))
    sigma = mp.sqrt(var)

    def above(x):
        return mp.erfc(x / mp.sqrt(2)) / 2

    def lst(s):
        """On the contour through the saddle point, where nothing oscillates (Asmussen et al. 2016)."""
        w = mp.lambertw(s * mean * mp.exp(-var / 2) * var)
        step = sigma / 16  # the trapezoidal rule is right to more than 30 digits on such an integrand
        grid = [step * i for i in range(-16 * 13, 16 * 13 + 1)]
        integral = step * mp.fsum(mp.exp(-(w * (mp.exp(u) - u) + u * u / 2) / var) for u in grid)
        return mp.exp(-w * w / 2 / var) * integral / (sigma * mp.sqrt(2 * mp.pi))

    return Exact(
        lambda t: above(mp.log(t / mean) / sigma + sigma / 2),
        lambda k: mean**k * (1 + mp.mpf(scv)) ** (mp.mpf(k) * (k - 1) / 2),
        lambda t: mean * above(mp.log(t / mean) / sigma - sigma / 2) - t * above(mp.log(t / mean) / sigma + sigma / 2),
        lst,
    )


def weibull(mean, scv):
    def excess(x):
        return mp.loggamma(1 + 2 * x) - 2 * mp.loggamma(1 + x) - mp.log1p(mp.mpf(scv))

    low, high = mp.mpf("0.001"), mp.mpf(20)
    for _ in range(190):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) < 0 else (low, middle)
    a, scale = 1 / low, mean / mp.gamma(1 + low)
    known = {
        1: lambda z: 1 / (1 + z),
        2: lambda z: 1 - mp.sqrt(mp.pi) / 2 * z * mp.exp(z * z / 4) * mp.erfc(z / 2),
        0.5: lambda z: mp.sqrt(mp.pi / z) / 2 * mp.exp(1 / z / 4) * mp.erfc(1 / mp.sqrt(z) / 2),
    }

    def on_a_ray(z):
        """The trapezoidal rule in log t on the ray where nothing oscillates, or the real axis where there is none."""
        turn = mp.arg(z) if a <= 1 else 0
        step, low = (mp.mpf(1) / 5, -60 / a) if a <= 1 else (mp.mpf(1) / 90, -70 / a - mp.log1p(abs(z)))
        grid = [low + step * i - 1j * turn for i in range(int((6 / a - low) / step))]
        return step * mp.fsum(a * mp.exp(a * x - mp.exp(a * x) - z * mp.exp(x)) for x in grid)

    lst = next((f for shape, f in known.items() if abs(a - shape) < 1e-14), on_a_ray)
    return Exact(
        lambda t: mp.exp(-((t / scale) ** a)),
        lambda k: scale**k * mp.gamma(1 + k / a),
        lambda t: scale / a * mp.gammainc(1 / a, (t / scale) ** a),
        lambda s: lst(s * scale),
    )


def bounded_pareto(a, low, high):
    a, low, high = mp.mpf(a), mp.mpf(low), mp.mpf(high)
    least = (low / high) ** a

    def primitive(u):
        return low**a * (mp.log(u) if a == 1 else u ** (1 - a) / (1 - a)) - least * u

    def beyond(t):
        start = max(t, low)
        return max(low - t, 0) + (primitive(high) - primitive(start)) / (1 - least)

    def moment(k):
        return (
            a * low**a / (1 - least) * (mp.log(high / low) if k == a else (high ** (k - a) - low ** (k - a)) / (k - a))
        )

    return Exact(
        lambda t: 1 if t <= low else 0 if t >= high else ((low / t) ** a - least) / (1 - least),
        moment,
        beyond,
        lambda s: a * (low * s) ** a * mp.gammainc(-a, s * low, s * high) / (1 - least),
    )


def normalized(shares):
    """Shares that sum to 1 to the last digit, not only to that of a float."""
    shares = [mp.mpf(x) for x in shares]
    return [x / mp.fsum(shares) for x in shares]


def hyperexponential(law):
    pairs = list(zip(normalized(law.probabilities), map(mp.mpf, law.means), strict=True))
    return Exact(
        lambda t: mp.fsum(p * mp.exp(-t / m) for p, m in pairs),
        lambda k: mp.factorial(k) * mp.fsum(p * m**k for p, m in pairs),
        lambda t: mp.fsum(p * m * mp.exp(-t / m) for p, m in pairs),
        lambda s: mp.fsum(p / (1 + s * m) for p, m in pairs),
    )


def phase_type(law):
    alpha, T = mp.matrix([normalized(law.alpha)]), mp.matrix(law.T.tolist())
    n = len(law.alpha)
    ones, eye = mp.ones(n, 1), mp.eye(n)

    def power(t):
        """e^{Tt} with digits to spare for the cancellation."""
        with mp.workdps(120):
            x = T * t
            squarings = max(0, int(mp.ceil(mp.log(mp.mnorm(x, 1) + 1, 2)))) + 3
            x, term, total = x / 2**squarings, eye, eye
            for k in range(1, 60):
                term = term * x / k
                total = total + term
            for _ in range(squarings):
                total = total * total
            return total

    return Exact(
        lambda t: (alpha * power(t) * ones)[0],
        lambda k: mp.factorial(k) * (alpha * ((-T) ** -1) ** k * ones)[0],
        lambda t: (alpha * power(t) * (-T) ** -1 * ones)[0],
        lambda s: (alpha * (s * eye - T) ** -1 * (-T * ones))[0],
    )


def histogram(law):
    edges = [mp.mpf(x) for x in law.edges]
    bins = list(zip(edges, edges[1:], normalized(law.counts), strict=False))

    def above(t, n):
        """E[(S − t)_+^n]."""
        return mp.fsum(
            p * (max(b - t, 0) ** (n + 1) - max(a - t, 0) ** (n + 1)) / (n + 1) / (b - a) for a, b, p in bins
        )

    return Exact(
        lambda t: mp.fsum(p * min(max(b - t, 0), b - a) / (b - a) for a, b, p in bins),
        lambda k: above(mp.mpf(0), k),
        lambda t: above(t, 1),
        lambda s: mp.fsum(p * (mp.exp(-s * a) - mp.exp(-s * b)) / s / (b - a) for a, b, p in bins),
    )


STIFF = PhaseType([0.3, 0.6, 0.1], [[-1e8, 9e7, 1e5], [1.0, -50.0, 3.0], [0.0, 0.5, -0.75]])
CYCLE = PhaseType([1.0, 0.0], [[-1e6, 1e6], [1e6, -1e6 - 1.0]])
H3 = Hyperexponential([0.5, 0.3, 0.2], [1e-4, 1.0, 1e4])
BINS = Histogram([0.0, 1e-4, 2e-4, 5e-4, 1e-3, 1e-2], [10, 400, 300, 0, 7])

CASES: dict[str, tuple[Law, Callable[[], Exact]]] = {
    "exponential": (Exponential(mean=1e-9), lambda: exponential(1e-9)),
    "erlang": (Erlang(phases=4, mean=2.5e-4), lambda: gamma(2.5e-4, 0.25)),
    "erlang 100": (Erlang(phases=100, mean=1e9), lambda: gamma(1e9, mp.mpf(1) / 100)),
    "gamma .01": (Gamma(mean=1e-9, scv=0.01), lambda: gamma(1e-9, 0.01)),
    "gamma 3": (Gamma(mean=1.0, scv=3.0), lambda: gamma(1.0, 3.0)),
    "gamma 100": (Gamma(mean=1e9, scv=100.0), lambda: gamma(1e9, 100.0)),
    "hyper": (H3, lambda: hyperexponential(H3)),
    "hyper 100": (
        Hyperexponential.balanced(1e-3, 100.0),
        lambda: hyperexponential(Hyperexponential.balanced(1e-3, 100.0)),
    ),
    "coxian": (
        Coxian([5.0, 0.1, 2.0], [0.3, 0.9]),
        lambda: phase_type(PhaseType([1, 0, 0], [[-5, 1.5, 0], [0, -0.1, 0.09], [0, 0, -2]])),
    ),
    "stiff": (STIFF, lambda: phase_type(STIFF)),
    "cycle": (CYCLE, lambda: phase_type(CYCLE)),
    "lognormal .01": (Lognormal(mean=1e9, scv=0.01), lambda: lognormal(1e9, 0.01)),
    "lognormal 2": (Lognormal(mean=4e-4, scv=2.0), lambda: lognormal(4e-4, 2.0)),
    "lognormal 100": (Lognormal(mean=1e-9, scv=100.0), lambda: lognormal(1e-9, 100.0)),
    "weibull .01": (Weibull(mean=1e-9, scv=0.01), lambda: weibull(1e-9, 0.01)),
    "weibull rayleigh": (Weibull(mean=1.0, scv=4 / math.pi - 1), lambda: weibull(1.0, 4 / math.pi - 1)),
    "weibull 5": (Weibull(mean=1.0, scv=5.0), lambda: weibull(1.0, 5.0)),
    "weibull 100": (Weibull(mean=1e9, scv=100.0), lambda: weibull(1e9, 100.0)),
    "pareto": (BoundedPareto(shape=1.5, low=1e-4, high=10.0), lambda: bounded_pareto(1.5, 1e-4, 10.0)),
    "pareto whole": (BoundedPareto(shape=1.0, low=1.0, high=1e9), lambda: bounded_pareto(1.0, 1.0, 1e9)),
    "histogram": (BINS, lambda: histogram(BINS)),
}
LEVELS = [1e-12, 1e-6, 0.01, 0.3, 0.5, 0.8, 0.99, 1 - 1e-6, 1 - 1e-12]
exactly = pytest.mark.parametrize("name", CASES)


def relative(found, exact):
    """Relative error, 0 where both are 0."""
    found = mp.mpmathify(np.asarray(found).item())
    return float(abs(found - exact) / abs(exact)) if exact != 0 else float(abs(found))


def far(law, tail):
    """A time where P(S > t) is about `tail`."""
    low, high = law.mean, law.mean * 1e60
    for _ in range(200):
        middle = math.sqrt(low) * math.sqrt(high)
        low, high = (middle, high) if law.sf(middle) > tail else (low, middle)
    return low


@exactly
def test_moments(name):
    law, exact = CASES[name][0], CASES[name][1]()
    for k in range(1, 6):
        assert relative(law.moment(k), exact.moment(k)) < CLOSED, k
    assert relative(law.mean, exact.moment(1)) < CLOSED
    variance = exact.moment(2) - exact.moment(1) ** 2
    assert relative(law.scv * law.mean**2, variance) < CLOSED


@exactly
def test_both_tails(name):
    """At nine quantiles, and far out where P(S > t) is 1e-290."""
    law, exact = CASES[name][0], CASES[name][1]()
    t = [float(x) for x in law.quantile(LEVELS) if x > 0.0]
    with mp.workdps(120):
        for x in t:
            below = 1 - exact.sf(mp.mpf(x))
            assert relative(law.cdf(x), below) < CLOSED, x
        for x in t:
            assert relative(law.sf(x), exact.sf(mp.mpf(x))) < CLOSED, x
        if math.isinf(law.support[1]):
            x = far(law, 1e-290)
            assert 1e-295 < exact.sf(mp.mpf(x)) < 1e-280
            assert relative(law.sf(x), exact.sf(mp.mpf(x))) < FAR


@exactly
def test_quantile(name):
    """P(S <= t) at the quantile is p: relatively to both tails, up to the rounding of the quantile itself."""
    law, exact = CASES[name][0], CASES[name][1]()
    for p in LEVELS:
        t = mp.mpf(float(law.quantile(p)))
        if t < 1e-300:  # below the floats: gamma with scv 100 has its 1e-12 quantile there
            assert 1 - exact.sf(mp.mpf(1e-300)) > p
            continue
        with mp.workdps(120):
            low, high = exact.sf(t * (1 + CLOSED)), exact.sf(t * (1 - CLOSED))
        assert low * (1 - CLOSED) <= 1 - mp.mpf(p) <= high * (1 + CLOSED), p
    low, high = law.support
    assert (float(law.quantile(0.0)), float(law.quantile(1.0))) == (low, high)


@exactly
def test_transform(name):
    """Real s relatively; complex s relatively to E[e^{−Re(s) S}]."""
    law, exact = CASES[name][0], CASES[name][1]()
    bound = NUMERIC if type(law) in (Lognormal, Weibull, BoundedPareto) else CLOSED
    points = np.array([1e-6, 0.1, 1.0, 10.0, 300.0, 0.3 + 7j, 2 - 30j, 1j]) / law.mean
    for s, found in zip(points, law.lst(points), strict=True):
        near = mp.mpc(s) if s.imag else mp.mpf(s.real)
        reference = exact.lst(near)
        size = abs(exact.lst(mp.mpf(s.real))) if s.real else 1
        if size > 1e-290:
            assert abs(complex(found) - reference) / size < bound, s
            if not s.imag:
                assert relative(law.lst(s.real), reference) < bound, s
    assert law.lst(0.0) == pytest.approx(1.0, rel=1e-13)


@exactly
def test_residual(name):
    """E[R^k] = E[S^{k+1}]/((k+1) E[S]), E[e^{−sR}] = (1 − E[e^{−sS}])/(s E[S]), and the integral of the tail."""
    law, exact = CASES[name][0], CASES[name][1]()
    left = law.residual()
    mean = exact.moment(1)
    t = [float(x) for x in law.quantile([0.01, 0.5, 0.99, 1 - 1e-9])]
    if math.isinf(law.support[1]):
        t.append(far(law, 1e-280))
    for x in t:
        with mp.workdps(120):  # the exact expressions cancel in the tails
            reference = exact.beyond(mp.mpf(x)) / mean
        assert relative(left.sf(x), reference) < NUMERIC, x
        if x > 1e-30 * law.mean:
            with mp.workdps(120):
                assert relative(left.cdf(x / 1e3), 1 - exact.beyond(mp.mpf(x / 1e3)) / mean) < NUMERIC, x
    for k in range(1, 4):
        assert relative(left.moment(k), exact.moment(k + 1) / mean / (k + 1)) < CLOSED
    for s in np.array([1e-9, 1e-3, 1.0, 50.0, 1e4, 0.5 + 6j]) / law.mean:
        s = s if s.imag else s.real
        with mp.workdps(80):
            s_exact = mp.mpc(s) if isinstance(s, complex) else mp.mpf(s)
            reference = (1 - exact.lst(s_exact)) / (s_exact * mean)
        assert abs(complex(left.lst(s)) - reference) / abs(reference) < NUMERIC, s


@pytest.mark.parametrize("name", ["erlang", "gamma 3", "hyper 100", "coxian", "stiff", "histogram", "exponential"])
def test_what_follows_from_the_tail_is_the_closed_form(name):
    """The derivations of law.py, on laws that have closed forms of their own."""
    law = CASES[name][0]
    tail_is_right = Bare(law)
    tail_is_right.rounding = 0.0
    s = np.array([0.0, 1e-5, 0.1, 1.0, 20.0, 1e3, 1e5]) / law.mean
    assert tail_is_right.lst(s) == pytest.approx(law.lst(s), rel=NUMERIC)
    s = np.array([1j, 1 + 20j, 3000j]) / law.mean
    assert tail_is_right.lst(s) == pytest.approx(law.lst(s), rel=NUMERIC, abs=1e-12)
    p = np.array([1e-12, 0.1, 0.5, 0.9, 1 - 1e-12])
    assert tail_is_right.quantile(p) == pytest.approx(law.quantile(p), rel=CLOSED)
    left, closed = Residual(tail_is_right), law.residual()
    t = law.quantile([0.001, 0.5, 0.999, 1 - 1e-14])
    assert left.sf(t) == pytest.approx(closed.sf(t), rel=NUMERIC)
    assert left.cdf(t) == pytest.approx(closed.cdf(t), rel=NUMERIC)
    assert Residual(left).sf(t) == pytest.approx(closed.residual().sf(t), rel=NUMERIC)
    assert left.quantile(p) == pytest.approx(closed.quantile(p), rel=NUMERIC)
    assert (left.mean, left.scv) == pytest.approx((closed.mean, closed.scv), rel=CLOSED)


class Bare(Law):
    """A law that lends the tails and moments of another."""

    def __init__(self, law):
        self.law = law
        self.sf, self.cdf, self.moment, self.sample = law.sf, law.cdf, law.moment, law.sample

    sf = moment = sample = None  # set above


@pytest.mark.parametrize(
    "law", [Deterministic(3.0), Empirical([1.0, 2.5, 2.5, 7.0]), Empirical([0.0, 0.0, 1.0]), BINS], ids=repr
)
def test_what_follows_from_a_tail_with_jumps(law):
    bare = Bare(law)
    s = np.array([0.0, 0.01, 1.0, 3.0, 2j]) / law.mean
    assert bare.lst(s) == pytest.approx(law.lst(s), rel=NUMERIC)
    p = np.array([0.1, 0.7, 0.99])
    assert bare.quantile(p) == pytest.approx(law.quantile(p), rel=CLOSED)
    t = np.linspace(0.0, 0.99, 7) * law.support[1]
    assert Residual(bare).sf(t) == pytest.approx(law.residual().sf(t), rel=NUMERIC)


def test_nested_residual():
    """P(R_n > t) = E[(S − t)_+^n] / E[S^n], for n = 1, 2, 3, of a Weibull law with the shape 1/2."""
    law = Weibull(mean=1.0, scv=5.0)
    exact = weibull(1.0, 5.0)
    nested = law
    for n in range(1, 4):
        nested = nested.residual()
        for t in (0.01, 1.0, 20.0, 2000.0):
            tail = mp.quad(
                lambda x, t=t, n=n: n * (x - t) ** (n - 1) * exact.sf(x), [t, *(t + 4.0 ** np.arange(0, 10)), mp.inf]
            )
            assert relative(nested.sf(t), tail / exact.moment(n)) < NUMERIC, (n, t)
        assert relative(nested.moment(2), 2 * exact.moment(n + 2) / exact.moment(n) / (n + 1) / (n + 2)) < CLOSED


SCIPY: dict[str, tuple[Law, object]] = {
    "exponential": (Exponential(2e-3), scipy.stats.expon(scale=2e-3)),
    "erlang": (Erlang(3, 6.0), scipy.stats.erlang(3, scale=2.0)),
    "gamma": (Gamma(1.0, 0.4), scipy.stats.gamma(2.5, scale=0.4)),
    "lognormal": (Lognormal(3.0, 2.0), scipy.stats.lognorm(math.sqrt(math.log(3)), scale=3 / math.sqrt(3))),
    "weibull": (Weibull(2.0, 5.0), scipy.stats.weibull_min(0.5, scale=1.0)),
    "pareto": (BoundedPareto(1.3, 2.0, 50.0), scipy.stats.truncpareto(1.3, 25.0, scale=2.0)),
    "histogram": (BINS, scipy.stats.rv_histogram((BINS.counts, BINS.edges), density=False)),
    "scaled": (Scaled(Gamma(1.0, 0.4), 7.0), scipy.stats.gamma(2.5, scale=2.8)),
    "shifted": (Shifted(Gamma(1.0, 0.4), 7.0), scipy.stats.gamma(2.5, loc=7.0, scale=0.4)),
}


@pytest.mark.parametrize("name", SCIPY)
def test_against_scipy(name):
    law, other = SCIPY[name]
    t = np.linspace(-1.0, 6.0, 50) * law.mean
    assert law.sf(t) == pytest.approx(other.sf(t), rel=1e-9, abs=1e-14)
    assert law.cdf(t) == pytest.approx(other.cdf(t), rel=1e-9, abs=1e-14)
    p = np.linspace(0.01, 0.99, 21)
    assert law.quantile(p) == pytest.approx(other.ppf(p), rel=1e-9)
    assert [law.moment(k) for k in (1, 2, 3, 4)] == pytest.approx([other.moment(k) for k in (1, 2, 3, 4)], rel=1e-7)
    assert (law.mean, law.scv) == pytest.approx((other.mean(), other.var() / other.mean() ** 2), rel=1e-9)


SAMPLED = {
    **{name: law for name, (law, _) in CASES.items() if name != "cycle"},
    "mixture": Mixture([Erlang(4, 1.0), Lognormal(5.0, 3.0)], [3, 1]),
    "scaled": Scaled(Weibull(1.0, 0.3), 4.0),
    "shifted": Shifted(H3, 2.0),
    "scipy": law_of(scipy.stats.invgauss(0.5)),
    "residual of lognormal": Lognormal(1.0, 2.0).residual(),
    "residual of weibull": Weibull(1.0, 50.0).residual(),
    "residual of histogram": BINS.residual(),
    "residual of a residual": Gamma(1.0, 3.0).residual().residual(),
    "residual of erlang": Erlang(5, 1.0).residual(),
    "residual of samples": Empirical([1.0, 4.0, 4.0]).residual(),
}


@pytest.mark.parametrize("name", SAMPLED)
def test_sampling(name):
    """Kolmogorov and Smirnov's test at the level 1e-3 on 20 000 values, with a fixed seed."""
    law = SAMPLED[name]
    drawn = law.sample(np.random.default_rng(20), 20_000)
    assert drawn.shape == (20_000,)
    assert drawn.dtype == np.float64
    assert scipy.stats.kstest(drawn, law.cdf).pvalue > 1e-3


def test_sampling_of_atoms():
    """Frequencies within 4 standard errors; a sample of 0 stays one."""
    law = Empirical([0.0, 1.0, 5.0], weights=[1, 2, 7])
    drawn = law.sample(np.random.default_rng(3), 40_000)
    found = np.array([(drawn == x).mean() for x in law.samples])
    assert found.sum() == 1.0
    assert np.all(abs(found - law.weights) < 4 * np.sqrt(law.weights * (1 - law.weights) / 40_000))
    assert Deterministic(2.0).sample(np.random.default_rng(1), 3).tolist() == [2.0, 2.0, 2.0]
    assert all(len(law.sample(np.random.default_rng(1), 0)) == 0 for law in SAMPLED.values())


def test_phase_type_walks_only_where_it_can():
    """No draw lands on a move of rate 0, whatever the rounding of the shares."""
    law = PhaseType([0.0, 1.0, 0.0], [[-3.0, 0.1, 0.2], [0.0, -1.0, 0.7], [0.0, 0.0, -2.0]])
    drawn = law.sample(np.random.default_rng(4), 50_000)
    assert drawn.mean() == pytest.approx(1.0 + 0.7 / 2.0, abs=4 * law.mean * math.sqrt(law.scv / 50_000))


# --- each way to write the same law -----------------------------------------------------------------------------------

SAME = {
    "exponential": Exponential(2.0),
    "erlang": Erlang(3, 2.0),
    "hyper": Hyperexponential.balanced(2.0, 9.0),
    "coxian": Coxian([1.0, 2.0], [0.5]),
    "scaled": Scaled(Erlang(2, 3.0), 0.1),
    "mixture": Mixture([Exponential(1.0), Scaled(Erlang(3, 1.0), 5.0)], [1, 3]),
}


@pytest.mark.parametrize("name", SAME)
def test_phase_type_of_a_law_is_the_law(name):
    law = SAME[name]
    phases = law.phase_type()
    assert isinstance(phases, PhaseType)
    t = law.mean * np.array([1e-6, 0.1, 1.0, 5.0, 30.0])
    assert phases.sf(t) == pytest.approx(law.sf(t), rel=CLOSED)
    assert phases.cdf(t) == pytest.approx(law.cdf(t), rel=CLOSED)
    assert phases.residual().sf(t) == pytest.approx(law.residual().sf(t), rel=CLOSED)
    assert [phases.moment(k) for k in (1, 2, 3)] == pytest.approx([law.moment(k) for k in (1, 2, 3)], rel=CLOSED)
    assert (phases.mean, phases.scv) == pytest.approx((law.mean, law.scv), rel=1e-11)
    s = np.array([0.1, 3.0, 1 + 2j])
    assert phases.lst(s) == pytest.approx(law.lst(s), rel=CLOSED)


@pytest.mark.parametrize(
    "law", [Lognormal(1.0, 2.0), Deterministic(1.0), Shifted(Exponential(1.0), 1.0), Mixture([BINS], [1])]
)
def test_laws_without_phases_say_so(law):
    with pytest.raises(TypeError, match="is not of phase type"):
        law.phase_type()


def test_closed_residuals():
    assert Exponential(3.0).residual() == Exponential(3.0)
    assert Deterministic(4.0).residual() == Histogram([0.0, 4.0], [1.0])
    assert Empirical([1.0, 4.0, 4.0]).residual() == Histogram([0.0, 1.0, 4.0], [3.0, 6.0])
    assert isinstance(Coxian([1.0, 2.0], [0.5]).residual(), PhaseType)
    shifted = Shifted(Gamma(1.0, 3.0), 2.0)
    t = np.linspace(0.0, 30.0, 20)
    assert shifted.residual().sf(t) == pytest.approx(Residual(Bare(shifted)).sf(t), rel=1e-9)
    with mp.workdps(30):
        assert relative(shifted.residual().mean, mp.mpf(shifted.moment(2)) / (2 * shifted.mean)) < CLOSED


def test_hyperexponential_from_moments():
    law = Hyperexponential.balanced(3.0, 40.0)
    again = Hyperexponential.from_moments(*(law.moment(k) for k in (1, 2, 3)))
    assert np.sort(again.means) == pytest.approx(np.sort(law.means), rel=1e-11)
    assert law.probabilities * law.means == pytest.approx([1.5, 1.5])
    assert (law.mean, law.scv) == pytest.approx((3.0, 40.0), rel=CLOSED)
    assert Hyperexponential.balanced(2.0, 1.0).scv == pytest.approx(1.0)


@given(st.floats(1.01, 100.0), st.floats(1.001, 50.0), st.floats(1e-9, 1e9))
def test_hyperexponential_matches_any_feasible_moments(scv, above, m1):
    m2 = (1 + scv) * m1**2
    m3 = above * 1.5 * m2**2 / m1
    law = Hyperexponential.from_moments(m1, m2, m3)
    assert [law.moment(k) for k in (1, 2, 3)] == pytest.approx([m1, m2, m3], rel=1e-9)


def test_erlang_is_gamma():
    t = np.linspace(0.01, 20.0, 40)
    assert Erlang(5, 3.0).sf(t) == pytest.approx(Gamma(3.0, 0.2).sf(t), rel=CLOSED)
    assert Weibull(3.0, 1.0).sf(t) == pytest.approx(Exponential(3.0).sf(t), rel=CLOSED)


@pytest.mark.parametrize("scv", [1e-4, 0.01, 0.2, 1.0, 30.0, 1e4])
def test_weibull_shape(scv):
    law = Weibull(mean=7.0, scv=scv)
    x = 1 / mp.mpf(law.shape)
    assert relative(scv, mp.gamma(1 + 2 * x) / mp.gamma(1 + x) ** 2 - 1) < CLOSED
    assert law.moment(1) == pytest.approx(7.0, rel=CLOSED)


# --- properties -------------------------------------------------------------------------------------------------------

means = st.floats(1e-9, 1e9)
scvs = st.floats(0.01, 100.0)
simple = st.one_of(
    st.builds(Exponential, means),
    st.builds(Deterministic, means),
    st.builds(Erlang, st.integers(1, 30), means),
    st.builds(Gamma, means, scvs),
    st.builds(Lognormal, means, scvs),
    st.builds(Weibull, means, scvs),
    st.builds(Hyperexponential.balanced, means, st.floats(1.0, 100.0)),
    st.builds(lambda a, low, x: BoundedPareto(a, low, low * x), st.floats(0.1, 5.0), means, st.floats(1.5, 1e6)),
    st.builds(lambda x, unit: Empirical(np.array(x) * unit), st.lists(st.floats(0.1, 9.0), min_size=1), means),
)
laws = st.recursive(
    simple,
    lambda inner: st.one_of(
        st.builds(Scaled, inner, st.floats(1e-3, 1e3)),
        st.builds(lambda law, x: Shifted(law, x * law.mean), inner, st.floats(0.0, 10.0)),
        st.builds(
            lambda a, b, w: Mixture([a, Scaled(b, a.mean / b.mean)], [w, 1.0]), inner, inner, st.floats(0.1, 9.0)
        ),
    ),
    max_leaves=3,
)


@settings(deadline=None, max_examples=60)
@given(laws, st.lists(st.floats(1e-6, 1 - 1e-6), min_size=1, max_size=4))
def test_quantile_inverts(law, p):
    """The smallest t with P(S <= t) >= p: reached there, not before, up to rounding."""
    p = np.array(p)
    t = law.quantile(p)
    p, t = p[t > 1e-290], t[t > 1e-290]  # gamma laws of large scv have quantiles that no float holds
    assert np.all(law.cdf(t * (1 + 1e-9)) >= p * (1 - 1e-9))
    assert np.all(law.cdf(t * (1 - 1e-9)) <= p * (1 + 1e-9))


@settings(deadline=None, max_examples=60)
@given(laws, st.floats(0.0, 20.0), st.floats(0.0, 20.0))
def test_tail_falls_from_one_and_is_what_the_cdf_leaves(law, a, b):
    t = np.sort([a, b]) * law.mean
    survival = law.sf(t)
    assert survival[0] >= survival[1]
    assert law.sf(-law.mean) == pytest.approx(1.0, rel=1e-14)
    assert law.cdf(-law.mean) == 0.0
    assert np.all((survival >= 0.0) & (survival <= 1.0))
    assert survival + law.cdf(t) == pytest.approx([1.0, 1.0], abs=1e-12)


@settings(deadline=None, max_examples=50)
@given(laws, st.floats(1e-3, 30.0))
def test_transform_at_zero_and_its_slope(law, x):
    """1 at s = 0; slope −E[S] there, with the curvature E[S²]; falling in s; above e^{−s E[S]} by convexity."""
    assert float(law.lst(0.0)) == pytest.approx(1.0, rel=1e-12)
    s = 1e-4 / law.mean / (1.0 + law.scv)
    expected = 1.0 - s * law.mean + s**2 * law.moment(2) / 2.0
    assert float(law.lst(s)) == pytest.approx(expected, abs=s**3 * law.moment(3) / 6.0 + 1e-12)
    s = x / law.mean
    assert float(law.lst(s)) <= 1.0
    assert float(law.lst(s)) >= math.exp(-x) * (1 - 1e-9)
    assert complex(law.lst(complex(s, 0.0))) == pytest.approx(float(law.lst(s)), rel=1e-9)


@settings(deadline=None, max_examples=30)
@given(simple, simple, st.floats(0.05, 0.95), st.floats(0.1, 10.0))
def test_mixtures_are_linear_and_units_are_units(a, b, w, factor):
    b = Scaled(b, a.mean / b.mean)
    mixed = Mixture([a, b], [w, 1 - w])
    t, s = a.mean * np.array([0.2, 0.97, 4.0]), np.array([0.5, 2 + 1j]) / a.mean
    assert mixed.sf(t) == pytest.approx(w * a.sf(t) + (1 - w) * b.sf(t), rel=1e-12, abs=1e-300)
    assert mixed.lst(s) == pytest.approx(w * a.lst(s) + (1 - w) * b.lst(s), rel=1e-12)
    assert mixed.moment(3) == pytest.approx(w * a.moment(3) + (1 - w) * b.moment(3), rel=1e-12)
    variance = mixed.moment(2) - mixed.mean**2
    assert mixed.scv == pytest.approx(variance / mixed.mean**2, rel=1e-9, abs=1e-12)
    assert mixed.residual().mean == pytest.approx(mixed.moment(2) / 2 / mixed.mean, rel=1e-12)
    scaled, shifted = Scaled(a, factor), Shifted(a, factor * a.mean)
    assert scaled.sf(factor * t) == pytest.approx(a.sf(t), rel=1e-9, abs=1e-300)
    assert scaled.lst(s / factor) == pytest.approx(a.lst(s), rel=1e-9)
    assert (scaled.mean, scaled.scv) == pytest.approx((factor * a.mean, a.scv), rel=1e-12)
    assert shifted.mean == pytest.approx((1 + factor) * a.mean, rel=1e-12)
    assert shifted.scv * shifted.mean**2 == pytest.approx(a.scv * a.mean**2, rel=1e-12)
    second = shifted.moment(2) - shifted.mean**2
    assert shifted.scv == pytest.approx(second / shifted.mean**2, abs=1e-12 * (1 + shifted.scv))


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=12).filter(any),
    st.floats(-1.0, 6.0),
    st.integers(1, 999),
)
def test_empirical_by_counting(samples, t, level):
    law = Empirical(samples)
    n = len(samples)
    assert law.sf(t) == pytest.approx(sum(x > t for x in samples) / n)
    assert law.cdf(t) == pytest.approx(sum(x <= t for x in samples) / n)
    p = level / 1000
    wanted = sorted(samples)[math.ceil(p * n * (1 - 1e-12)) - 1]
    assert law.quantile(p) == wanted
    assert (law.mean, law.moment(3)) == pytest.approx((sum(samples) / n, sum(x**3 for x in samples) / n))
    assert law.scv == pytest.approx(np.var(samples) / np.mean(samples) ** 2, abs=1e-12)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 6), st.integers(0, 2**31), st.floats(0.0, 8.0))
def test_phase_type_tails_with_rates_over_eight_decades(n, seed, decades):
    """Against e^{Tt} in 60 digits."""
    rng = np.random.default_rng(seed)
    between = 10.0 ** rng.uniform(-decades / 2, decades / 2, (n, n)) * (rng.random((n, n)) < 0.7)
    np.fill_diagonal(between, 0.0)
    T = between - np.diag(between.sum(axis=1) + 10.0 ** rng.uniform(-decades / 2, decades / 2, n))
    law = PhaseType(rng.dirichlet(np.ones(n)), T)
    exact = phase_type(law)
    assert relative(law.mean, exact.moment(1)) < CLOSED
    for t in law.mean * np.array([1e-7, 0.3, 1.0, 20.0]):
        reference = exact.sf(mp.mpf(t))
        assert relative(law.sf(t), reference) < CLOSED
        assert relative(law.cdf(t), 1 - reference) < CLOSED
    s = 3.0 / law.mean
    assert relative(law.lst(s), exact.lst(mp.mpf(s))) < CLOSED


# --- values, shapes, refusals -----------------------------------------------------------------------------------------

EVERY = {**SAMPLED, "deterministic": Deterministic(2.0), "empirical": Empirical([1.0, 2.0, 2.0])}


@pytest.mark.parametrize("name", EVERY)
def test_shapes_and_values(name):
    law = EVERY[name]
    assert isinstance(law, Law)
    for f, x in ((law.sf, 0.7 * law.mean), (law.cdf, 0.7 * law.mean), (law.quantile, 0.3), (law.lst, 0.7 / law.mean)):
        assert np.shape(f(x)) == ()
        grid = np.full((2, 3), x)
        assert np.shape(f(grid)) == (2, 3)
        assert np.allclose(f(grid), f(x), rtol=1e-14, atol=0.0)
        assert np.shape(f([])) == (0,)
    assert np.iscomplexobj(law.lst(1j))
    assert not np.iscomplexobj(law.lst(1))
    assert (float(law.sf(np.inf)), float(law.cdf(np.inf))) == (0.0, pytest.approx(1.0, rel=1e-14))
    assert (float(law.sf(1e308)), float(law.sf(0.0)) <= 1.0) == (0.0, True)
    assert hash(law) == hash(dataclasses.replace(law)) if not isinstance(law, Coxian) else True
    with pytest.raises(dataclasses.FrozenInstanceError):
        law.mean = 3.0


def test_equal_laws_are_equal():
    assert Empirical([2.0, 1.0, 2.0]) == Empirical([1.0, 2.0], weights=[1, 2])
    assert Empirical([1.0, 2.0]) != Empirical([1.0, 3.0])
    assert hash(Histogram([0, 1, 2], [2, 2])) == hash(Histogram([-0.0, 1, 2], [7, 7]))
    assert Mixture([Exponential(1.0), BINS], [1, 1]) == Mixture((Exponential(1.0), BINS), [0.5, 0.5])
    assert PhaseType([1.0], [[-2.0]]) != Exponential(0.5)
    assert law_of(scipy.stats.gamma(2.0)) == law_of(scipy.stats.gamma(2.0)) != law_of(scipy.stats.gamma(3.0))
    assert len({Coxian([1.0, 2.0], [0.5]), Coxian([1.0, 2.0], [0.5]), Scaled(BINS, 2.0), Scaled(BINS, 2.0)}) == 2
    with pytest.raises(ValueError, match="read-only"):
        BINS.edges[0] = 5.0
    given_edges = np.array([0.0, 1.0])
    law = Histogram(given_edges, [1.0])
    given_edges[1] = 9.0
    assert law.edges[1] == 1.0


def test_scipy_laws():
    frozen = scipy.stats.invgauss(0.5)
    law = law_of(frozen)
    assert law_of(law) is law
    assert (law.mean, law.scv) == pytest.approx((0.5, 0.5), rel=1e-9)
    s = np.array([1e-3, 1.0, 40.0, 1 + 3j])
    known = np.exp((1 - np.sqrt(1 + 2 * 0.25 * s)) / 0.5)  # mean μ = 0.5, shape 1: exp((1 − √(1 + 2μ²s))/μ)
    assert law.lst(s) == pytest.approx(known, rel=NUMERIC)
    assert law.residual().mean == pytest.approx(law.moment(2) / 2 / law.mean, rel=1e-9)
    uniform = law_of(scipy.stats.uniform(1.0, 2.0))
    assert uniform.lst(0.7) == pytest.approx((math.exp(-0.7) - math.exp(-2.1)) / 1.4, rel=NUMERIC)
    assert float(uniform.quantile(1.0)) == 3.0
    half_normal = law_of(scipy.stats.halfnorm())
    t = np.array([0.1, 1.0, 5.0])
    exact = scipy.stats.norm.pdf(t) - t * scipy.stats.norm.sf(t)
    assert half_normal.residual().sf(t) == pytest.approx(exact / scipy.stats.norm.pdf(0.0), rel=1e-8)
    assert Mixture([scipy.stats.expon(), Exponential(3.0)], [1, 1]).mean == 2.0
    assert Scaled(scipy.stats.expon(), 2.0).mean == 2.0


def test_a_law_of_ones_own_may_be_rough():
    """A tail written as 1 − cdf is noise beyond 1e-16: what follows is right absolutely."""

    class Careless(Law):
        def sf(self, t):
            return 1.0 - (1.0 - np.exp(-np.maximum(t, 0.0)))

        def moment(self, k):
            return float(math.factorial(k))

        def sample(self, rng, size):
            return rng.exponential(size=size)

    law = Careless()
    s = np.array([0.01, 1.0, 100.0, 3j])
    assert law.lst(s) == pytest.approx(1 / (1 + s), abs=1e-12)
    assert law.residual().sf([0.5, 3.0]) == pytest.approx(np.exp([-0.5, -3.0]), abs=1e-12)
    assert law.quantile(0.5) == pytest.approx(math.log(2.0), rel=1e-12)


REFUSED: dict[str, tuple[type[Exception], str, Callable[[], object]]] = {
    "mean": (ValueError, "mean must be a positive finite number, not 0", lambda: Lognormal(0, 1.0)),
    "scv": (ValueError, "scv must be a positive finite number, not -1", lambda: Gamma(1.0, -1)),
    "nan": (ValueError, "scv must be a number, not NaN", lambda: Weibull(1.0, math.nan)),
    "text": (TypeError, "mean must be a number", lambda: Erlang(2, "1")),
    "phases": (ValueError, "phases must be a whole number >= 1, not 2.5", lambda: Erlang(2.5, 1.0)),
    "weibull scv": (ValueError, "scv must lie between 1e-4 and 1e4", lambda: Weibull(1.0, 1e5)),
    "value": (ValueError, "value must be a positive finite number, not inf", lambda: Deterministic(math.inf)),
    "pareto": (ValueError, "high must exceed low = 2.0, not be 2.0", lambda: BoundedPareto(1.0, 2.0, 2.0)),
    "pareto shape": (ValueError, "shape must be a positive", lambda: BoundedPareto(0.0, 1.0, 2.0)),
    "balanced": (ValueError, "scv must be at least 1", lambda: Hyperexponential.balanced(1.0, 0.5)),
    "m2": (ValueError, r"m2 must exceed 2 m1² = 2.0 .* not 2.0", lambda: Hyperexponential.from_moments(1.0, 2.0, 6.0)),
    "m3": (
        ValueError,
        r"m3 must exceed 1.5 m2²/m1 = 13.5 .* not 13.5",
        lambda: Hyperexponential.from_moments(1.0, 3.0, 13.5),
    ),
    "sum": (ValueError, "probabilities must sum to 1, not 0.9", lambda: Hyperexponential([0.5, 0.4], [1.0, 2.0])),
    "lengths": (ValueError, "means must have one value for each of the 2", lambda: Hyperexponential([0.5, 0.5], [1.0])),
    "zero mean": (ValueError, r"means\[1\] must be a positive", lambda: Hyperexponential([0.5, 0.5], [1.0, 0.0])),
    "coxian": (ValueError, r"continues\[0\] must be above 0", lambda: Coxian([1.0, 2.0], [0.0])),
    "coxian 1.5": (ValueError, r"continues\[0\] must be above 0 and at most 1", lambda: Coxian([1.0, 2.0], [1.5])),
    "coxian length": (ValueError, "continues must have a value after each of the 2", lambda: Coxian([1.0, 2.0], [])),
    "coxian rate": (ValueError, r"rates\[1\] must be a positive", lambda: Coxian([1.0, 0.0], [0.5])),
    "alpha": (ValueError, "alpha must sum to 1, not 0.5", lambda: PhaseType([0.5], [[-1.0]])),
    "negative alpha": (ValueError, r"alpha\[1\] must be", lambda: PhaseType([1.5, -0.5], np.diag([-1.0, -1.0]))),
    "shape of T": (ValueError, "T must have a row and a column for each of the 1", lambda: PhaseType([1.0], [1.0])),
    "diagonal": (ValueError, r"T\[0\]\[0\] must be negative, not 1.0", lambda: PhaseType([1.0], [[1.0]])),
    "off": (ValueError, r"T\[0\] must not be negative off", lambda: PhaseType([1, 0], [[-1, -0.1], [0, -1]])),
    "rows": (ValueError, r"T\[0\] must have a sum of at most 0", lambda: PhaseType([1, 0], [[-1, 1.1], [0, -1]])),
    "trap": (ValueError, "phase 1 does not", lambda: PhaseType([1, 0, 0], [[-1, 0, 0], [0, -1, 1], [0, 1, -1]])),
    "T": (ValueError, "T must be finite", lambda: PhaseType([1.0], [[-math.inf]])),
    "samples": (ValueError, r"samples\[1\] must be a finite number >= 0, not nan", lambda: Empirical([1.0, math.nan])),
    "negative": (ValueError, r"samples\[0\] must be a finite number >= 0, not -1", lambda: Empirical([-1.0])),
    "none": (ValueError, "samples must be at least one number", lambda: Empirical([])),
    "words": (ValueError, "samples must be numbers in one row", lambda: Empirical(["a"])),
    "zeros": (ValueError, "mean of the samples must be a positive", lambda: Empirical([0.0, 0.0])),
    "weights": (ValueError, "weights must have 2 values, not 1", lambda: Empirical([1.0, 2.0], weights=[1.0])),
    "no weight": (ValueError, "weights must have a positive finite sum", lambda: Empirical([1.0], weights=[0.0])),
    "edges": (ValueError, r"edges must rise: edges\[2\] = 1.0 comes after 1.0", lambda: Histogram([0, 1, 1], [1, 1])),
    "open": (ValueError, r"edges\[1\] must be a finite number >= 0, not inf", lambda: Histogram([0, math.inf], [1])),
    "one edge": (ValueError, "edges must be at least two", lambda: Histogram([1.0], [])),
    "counts": (ValueError, r"counts\[0\] must be a finite number >= 0", lambda: Histogram([0, 1], [-1])),
    "empty": (ValueError, "counts must have a positive finite sum, not 0.0", lambda: Histogram([0, 1], [0])),
    "mixture": (TypeError, "must be a law such as .* or a frozen", lambda: Mixture([3.0], [1.0])),
    "no laws": (ValueError, "weights", lambda: Mixture([], [])),
    "mixed": (ValueError, "weights must have 1 values, not 2", lambda: Mixture([Exponential(1.0)], [1, 2])),
    "factor": (ValueError, "factor must be a positive", lambda: Scaled(Exponential(1.0), 0.0)),
    "by": (ValueError, "by must be a finite number >= 0, not -1", lambda: Shifted(Exponential(1.0), -1)),
    "moment": (ValueError, "k must be a whole number >= 1, not 0", lambda: Exponential(1.0).moment(0)),
    "class": (TypeError, "must be a law", lambda: law_of(Exponential)),
    "normal": (ValueError, "the law norm must not be negative", lambda: law_of(scipy.stats.norm())),
    "pareto tail": (ValueError, "the law pareto must have a finite mean", lambda: law_of(scipy.stats.pareto(1.5))),
    "cauchy": (ValueError, "the law halfcauchy must have a finite", lambda: law_of(scipy.stats.halfcauchy())),
    "discrete": (TypeError, "frozen continuous", lambda: law_of(scipy.stats.poisson(2.0))),
    "not frozen": (TypeError, "frozen continuous", lambda: law_of(scipy.stats.gamma)),
    "abstract": (TypeError, "abstract", lambda: Law()),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    error, words, make = REFUSED[name]
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize("name", EVERY)
def test_bad_arguments_are_refused(name):
    law = EVERY[name]
    for bad in (-0.1, 1.1, math.nan, [0.5, 2.0]):
        with pytest.raises(ValueError, match="p must lie between 0 and 1"):
            law.quantile(bad)
    for f in (law.sf, law.cdf):
        with pytest.raises(ValueError, match="t must be a time"):
            f([1.0, math.nan])
    for bad in (-1.0, -1 + 2j, math.nan, math.inf):
        with pytest.raises(ValueError, match="s must be finite with a real part >= 0"):
            law.lst(bad)
    with pytest.raises(ValueError, match="k must be a whole number"):
        law.moment(1.5)
