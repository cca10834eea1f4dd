"""Markovian arrival processes against 40-digit arithmetic, closed forms, brute force and their own samples."""

import math

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtheory.arrivals import IPP, MAP, MMPP, mmpp2
from qtheory.laws import Deterministic, Exponential, Hyperexponential

# Rates over six decades, arrivals with and without a change of phase, and a phase that brings none.
STIFF = MAP(
    [[-1010.0, 1.0, 9.0], [0.0, -0.012, 0.002], [1e-3, 0.0, -0.101]],
    [[990.0, 10.0, 0.0], [0.01, 0.0, 0.0], [0.0, 0.1, 0.0]],
)
MODULATED = MMPP(rates=[50.0, 5.0, 0.0], generator=[[-2.0, 1.5, 0.5], [0.1, -0.3, 0.2], [0.0, 0.5, -0.5]])
POISSON = MAP([[-3.0]], [[3.0]])


def variance_in_40_digits(process, t):
    """λt + 2 π D1 B(t) from e^{At} of the augmented matrix A = [[Q, d, 0], [0, 0, 1], [0, 0, 0]], whose corner is B."""
    with mp.workdps(60):
        n = process.order
        D0, D1 = mp.matrix(process.D0.tolist()), mp.matrix(process.D1.tolist())
        for i in range(n):
            D0[i, i] = -sum(D0[i, j] for j in range(n) if j != i) - sum(D1[i, j] for j in range(n))
        Q = D0 + D1
        system, right = Q.T.copy(), mp.zeros(n, 1)
        for j in range(n):
            system[n - 1, j] = 1
        right[n - 1] = 1
        pi = mp.lu_solve(system, right).T
        arriving = pi * D1
        rate = sum(arriving)
        surplus = D1 * mp.ones(n, 1) - rate * mp.ones(n, 1)
        t = mp.mpf(t)
        if t * max(-Q[i, i] for i in range(n)) < 1e7:
            augmented = mp.zeros(n + 2)
            augmented[:n, :n] = Q
            augmented[:n, n] = surplus
            augmented[n, n + 1] = 1
            corner = mp.expm(augmented * t)[:n, n + 1]
        else:  # e^{Qt} is 1π to all digits
            inverse = (mp.ones(n, 1) * pi - Q) ** -1
            x = inverse * surplus
            corner = t * x - inverse * x
        return float(rate * t + 2 * (arriving * corner)[0])


@pytest.mark.parametrize(
    "process", [STIFF, MODULATED, POISSON, IPP(100.0, 0.1, 0.9)], ids=["stiff", "mmpp", "poisson", "ipp"]
)
@pytest.mark.parametrize("gaps", [1e-9, 1e-6, 1e-3, 0.5, 1.0, 30.0, 1e3, 1e5, 1e9])
def test_variance_of_counts_in_40_digits(process, gaps):
    t = gaps / process.rate
    assert float(process.variance(t)) == pytest.approx(variance_in_40_digits(process, t), rel=1e-11)


def test_dispersion_of_two_phases_is_the_closed_form():
    high, low, up, down = 30.0, 10.0, 1.0, 3.0
    process = mmpp2(rates=(high, low), stays=(up, down))
    tau = 1.0 / (1.0 / up + 1.0 / down)
    strength = 2.0 * tau * (up * down / (up + down) ** 2) * (high - low) ** 2 / process.rate
    t = np.geomspace(1e-3, 1e6, 40)
    expected = 1.0 + strength * (1.0 + np.expm1(-t / tau) * tau / t)
    np.testing.assert_allclose(process.dispersion(t), expected, rtol=1e-12)
    assert process.limiting_dispersion == pytest.approx(1.0 + strength, rel=1e-12)
    # Far below, what differs from 1 is small: it is compared itself.
    t = np.array([1e-9, 1e-6])
    np.testing.assert_allclose(
        process.variance(t) / (process.rate * t) - 1.0, strength * t / tau / 2.0, rtol=1e-5, atol=4e-16
    )


def test_dispersion_of_a_regular_process_falls_to_its_scv():
    """A renewal process of Erlang-4 gaps: I tends to the scv of the gaps, a quarter."""
    clock = np.full(4, 8.0)
    D0, D1 = np.diag(-clock) + np.diag(clock[:3], 1), np.zeros((4, 4))
    D1[3, 0] = 8.0
    process = MAP(D0, D1)
    assert process.rate == pytest.approx(2.0, rel=1e-14)
    assert process.scv == pytest.approx(0.25, rel=1e-13)
    assert process.autocorrelation(1) == pytest.approx(0.0, abs=1e-14)
    assert process.limiting_dispersion == pytest.approx(0.25, rel=1e-12)
    assert float(process.dispersion(1e6)) == pytest.approx(0.25, rel=1e-5)


@pytest.mark.parametrize("process", [STIFF, MODULATED], ids=["stiff", "mmpp"])
def test_times_between_arrivals_by_matrix_inversion(process):
    n, inverse = process.order, np.linalg.inv(-process.D0)
    embedded = inverse @ process.D1
    values, vectors = np.linalg.eig(embedded.T)
    start = np.real(vectors[:, np.abs(values - 1.0).argmin()])
    start /= start.sum()
    ones = np.ones(n)
    mean, second = start @ inverse @ ones, 2.0 * start @ inverse @ inverse @ ones
    assert process.rate == pytest.approx(1.0 / mean, rel=1e-9)
    assert process.interarrival.mean == pytest.approx(mean, rel=1e-9)
    assert process.scv == pytest.approx(second / mean**2 - 1.0, rel=1e-9)
    for lag in (1, 2, 7):
        product = start @ inverse @ np.linalg.matrix_power(embedded, lag) @ inverse @ ones
        expected = (product - mean**2) / (second - mean**2)
        assert process.autocorrelation(lag) == pytest.approx(expected, rel=1e-7, abs=1e-12)


def test_counts_of_a_sample():
    """Variance of the counts in windows, within 4 standard errors, which come from 50 parts of them."""
    times = MODULATED.sample(np.random.default_rng(1), 400_000)
    assert len(times) / times[-1] == pytest.approx(
        MODULATED.rate, rel=4.0 * math.sqrt(MODULATED.limiting_dispersion / 4e5)
    )
    for window in (0.01, 0.3, 2.0):
        at = (times / window).astype(np.int64)
        counts = np.bincount(at[at < times[-1] // window])
        expected = float(MODULATED.variance(window))
        parts = np.array([((part - MODULATED.rate * window) ** 2).mean() for part in np.array_split(counts, 50)])
        error = parts.std(ddof=1) / math.sqrt(50)
        assert abs(parts.mean() - expected) < 4.0 * error
        assert error < 0.1 * expected


def test_sampled_gaps_have_their_moments_and_correlation():
    """Within 4 standard errors, from 50 parts of the sample."""
    gaps = np.diff(MODULATED.sample(np.random.default_rng(2), 1_000_001)).reshape(50, -1) * MODULATED.rate
    mean, scv = 1.0, MODULATED.scv
    squares = (gaps**2).mean(axis=1)
    products = (gaps[:, 1:] * gaps[:, :-1]).mean(axis=1)
    for parts, expected in ((squares, 1.0 + scv), (products, mean + MODULATED.autocorrelation(1) * scv)):
        assert abs(parts.mean() - expected) < 4.0 * parts.std(ddof=1) / math.sqrt(50)


def test_blocks_continue_each_other():
    whole = MODULATED.sample(np.random.default_rng(3), 3000)
    stream = MODULATED.arrival_stream(np.random.default_rng(3), block=1000)
    np.testing.assert_array_equal(np.concatenate([next(stream) for _ in range(3)]), whole)
    assert np.all(np.diff(whole) >= 0.0)


def test_the_phase_at_time_zero_is_stationary():
    """IPP on a tenth of the time: the first arrival is exponential then, within 4 standard errors of a share."""
    process, rng = IPP(rate=1000.0, on=1.0, off=9.0), np.random.default_rng(4)
    early = np.mean([process.sample(rng, 1)[0] < 0.01 for _ in range(4000)])
    at_once = 0.1 * (1.0 - math.exp(-10.0))  # on at 0; off turns on within 10 ms with probability 0.1 %
    assert abs(early - at_once - 0.9 * 0.001) < 4.0 * math.sqrt(0.1 * 0.9 / 4000)


def test_superposition_adds_rates_and_variances():
    t = np.geomspace(1e-4, 1e4, 30)
    whole = MODULATED.superposed(STIFF, POISSON)
    parts = (MODULATED, STIFF, POISSON)
    assert whole.order == 9
    assert whole.rate == pytest.approx(sum(p.rate for p in parts), rel=1e-12)
    np.testing.assert_allclose(whole.variance(t), sum(p.variance(t) for p in parts), rtol=1e-10)


def test_thinning_and_scaling():
    t = np.geomspace(1e-4, 1e4, 30)
    thin = MODULATED.thinned(0.3)
    assert thin.rate == pytest.approx(0.3 * MODULATED.rate, rel=1e-13)
    np.testing.assert_allclose(thin.dispersion(t), 1.0 + 0.3 * (MODULATED.dispersion(t) - 1.0), rtol=1e-11)
    assert MODULATED.thinned(1.0) == MODULATED
    slow = MODULATED.scaled(4.0)
    assert slow.rate == pytest.approx(MODULATED.rate / 4.0, rel=1e-13)
    np.testing.assert_allclose(slow.variance(4.0 * t), MODULATED.variance(t), rtol=1e-11)
    assert slow.scv == pytest.approx(MODULATED.scv, rel=1e-12)


@pytest.mark.parametrize(
    "process",
    [POISSON, MMPP(rates=[3.0, 3.0], generator=[[-1.0, 1.0], [5.0, -5.0]])],
    ids=["order 1", "equal rates"],
)
def test_poisson_limits(process):
    t = np.geomspace(1e-9, 1e9, 19)
    assert process.rate == pytest.approx(3.0, rel=1e-14)
    assert process.scv == pytest.approx(1.0, rel=1e-12)
    assert process.autocorrelation(1) == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_allclose(process.dispersion(t), 1.0, rtol=1e-12)
    assert process.peakedness(Hyperexponential.balanced(mean=0.2, scv=4.0)) == pytest.approx(1.0, rel=1e-10)


@pytest.mark.parametrize("process", [STIFF, MODULATED, IPP(100.0, 0.1, 0.9)], ids=["stiff", "mmpp", "ipp"])
@pytest.mark.parametrize("load", [0.01, 1.0, 100.0])
def test_peakedness_for_exponential_service(process, load):
    """z = 1 + π D1 (μI − Q)⁻¹ d / λ: the Laplace transform of the covariance."""
    mean = load / process.rate
    surplus = process.D1.sum(axis=1) - process.rate
    system = np.eye(process.order) / mean - process.D0 - process.D1
    excess = float(process.phases @ process.D1 @ np.linalg.solve(system, surplus)) / process.rate
    assert process.peakedness(Exponential(mean=mean)) - 1.0 == pytest.approx(excess, rel=1e-3)


def test_peakedness_for_constant_service_is_the_dispersion():
    for service in (0.01, 1.0):
        expected = float(MODULATED.dispersion(service))
        assert MODULATED.peakedness(Deterministic(service)) - 1.0 == pytest.approx(expected - 1.0, rel=1e-3)


def test_arrays_are_read_only_and_compared_by_value():
    again = MAP(MODULATED.D0.copy(), MODULATED.D1.copy())
    assert again == MODULATED
    assert hash(again) == hash(MODULATED)
    assert again != STIFF
    with pytest.raises(ValueError, match="read-only"):
        MODULATED.D0[0, 0] = 1.0


@pytest.mark.parametrize(
    ("D0", "D1", "message"),
    [
        ([[-1.0, -1.0], [1.0, -1.0]], [[2.0, 0.0], [0.0, 0.0]], r"D0\[0\]\[1\] must be a rate >= 0, not -1.0"),
        ([[-1.0, 1.0], [1.0, 0.0]], [[0.0, 0.0], [-1.0, 0.0]], r"D1\[1\]\[0\] must be a rate >= 0, not -1.0"),
        ([[-1.0, 1.0], [1.0, -1.0]], [[0.5, 0.0], [0.0, 0.0]], r"D0\[0\]\[0\] must be minus the sum"),
        ([[-1.0, 1.0], [1.0, -1.0]], [[0.0, 0.0], [0.0, 0.0]], "D1 must have a rate above 0"),
        ([[-2.0, 1.0], [0.0, -1.0]], [[1.0, 0.0], [0.0, 1.0]], "phase 1 does not reach phase 0"),
        ([[-1.0, 0.0], [1.0, -2.0]], [[1.0, 0.0], [0.0, 1.0]], "phase 1 is not reached from phase 0"),
        ([[-1.0, 1.0]], [[1.0]], r"D0 must be a square matrix, not of shape \(1, 2\)"),
        ([[-1.0]], [[0.5, 0.5], [0.5, 0.5]], r"D1 must have the shape of D0"),
        ([[math.nan]], [[1.0]], r"D0\[0\]\[0\] must be finite"),
        ([["fast"]], [[1.0]], "D0 must be a square matrix of rates"),
    ],
)
def test_refusals(D0, D1, message):
    with pytest.raises(ValueError, match=message):
        MAP(D0, D1)


def test_refused_arguments():
    with pytest.raises(ValueError, match="t must be a finite time >= 0"):
        POISSON.variance(-1.0)
    with pytest.raises(ValueError, match="t must be a finite time >= 0"):
        POISSON.dispersion([1.0, math.nan])
    for p in (0.0, 1.5):
        with pytest.raises(ValueError, match="p must be a probability above 0"):
            POISSON.thinned(p)
    with pytest.raises(ValueError, match="factor must be a positive"):
        POISSON.scaled(0.0)
    with pytest.raises(ValueError, match="lag must be a whole number >= 1"):
        POISSON.autocorrelation(0)
    with pytest.raises(ValueError, match=r"rates\[1\] must be a finite number >= 0"):
        MMPP([1.0, -1.0], [[-1.0, 1.0], [1.0, -1.0]])
    with pytest.raises(ValueError, match="generator must have a row and a column for each of the 2 rates"):
        MMPP([1.0, 2.0], [[0.0]])
    with pytest.raises(ValueError, match="rates must not all be 0"):
        MMPP([0.0, 0.0], [[-1.0, 1.0], [1.0, -1.0]])
    with pytest.raises(ValueError, match=r"stays\[0\] must be a positive"):
        mmpp2((1.0, 2.0), (0.0, 1.0))


@st.composite
def processes(draw):
    """Random processes with rates over eight decades; a ring keeps every phase within reach."""
    n = draw(st.integers(1, 5))
    rates = st.one_of(st.just(0.0), st.floats(-4.0, 4.0).map(lambda x: 10.0**x))
    moves = np.array(draw(st.lists(st.lists(rates, min_size=n, max_size=n), min_size=2 * n, max_size=2 * n)))
    silent, arriving = moves[:n], moves[n:]
    for i in range(n):
        arriving[i, (i + 1) % n] += draw(st.floats(-2.0, 2.0).map(lambda x: 10.0**x))
    np.fill_diagonal(silent, 0.0)
    return MAP(silent - np.diag((silent + arriving).sum(axis=1)), arriving)


@settings(max_examples=80, deadline=None)
@given(processes())
def test_properties_of_random_processes(process):
    flow = process.phases @ (process.D0 + process.D1)
    np.testing.assert_allclose(flow, 0.0, atol=1e-13 * -np.diag(process.D0).min())
    assert process.phases.sum() == pytest.approx(1.0, rel=1e-14)
    assert process.interarrival.mean == pytest.approx(1.0 / process.rate, rel=1e-8)
    assert float(process.interarrival.lst(0.0)) == pytest.approx(1.0, rel=1e-12)
    t = np.concatenate([[0.0], np.geomspace(1e-9, 1e9, 19) / process.rate])
    index = process.dispersion(t)
    assert index[0] == 1.0
    assert index[1] == pytest.approx(1.0, abs=1e-4)
    assert np.all(index > 0.0)
    assert float(index[-1]) == pytest.approx(process.limiting_dispersion, rel=1e-2)
    assert -1.0 <= process.autocorrelation(1) <= 1.0
