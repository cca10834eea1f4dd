"""Chains over levels against the whole generator, solved densely or with 40 digits."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qtheory as qt
from qtheory.markov.gth import gth
from qtheory.markov.level_chain import stationary
from qtheory.markov.phase_counts import PhaseCounts, _places


def null_vector(rates):
    """Stationary law with 40 digits, by Gaussian elimination."""
    n = len(rates)
    with mpmath.workdps(40):
        q = mpmath.matrix(rates.tolist())
        for i in range(n):
            q[i, i] = 0
            q[i, i] = -mpmath.fsum(q[i, j] for j in range(n))
        a = q.T
        for j in range(n):
            a[n - 1, j] = 1
        b = mpmath.zeros(n, 1)
        b[n - 1] = 1
        return np.array([float(x) for x in mpmath.lu_solve(a, b)])


@given(st.integers(1, 7), st.integers(0, 2**32 - 1), st.floats(0, 12))
@settings(max_examples=50)
def test_gth_against_forty_digits(n, seed, decades):
    rng = np.random.default_rng(seed)
    rates = 10.0 ** rng.uniform(-decades, decades, (n, n)) * (rng.random((n, n)) < 0.7)
    rates += np.diag(np.full(n - 1, 1e-3), 1) + np.diag(np.full(n - 1, 1e-3), -1)  # one class
    expected = null_vector(rates) if n > 1 else np.ones(1)
    assert gth(rates) == pytest.approx(expected, rel=1e-13)


def test_gth_does_not_overflow_and_refuses_a_chain_that_falls_apart():
    n = 400
    rates = np.diag(np.full(n - 1, 8.0), 1) + np.diag(np.full(n - 1, 1.0), -1)
    law = gth(rates)
    assert np.isfinite(law).all()
    assert law[-1] == pytest.approx(7 / 8, rel=1e-12)
    assert law[0] == pytest.approx(7 / 8 * 8.0 ** -(n - 1), rel=1e-9)
    with pytest.raises(ValueError, match="from state 2 to an earlier one"):
        gth(np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))


@pytest.mark.parametrize("phases", [1, 2, 3, 4])
@pytest.mark.parametrize("busy", [0, 1, 2, 6])
def test_states_are_counted_once_and_found_where_they_stand(phases, busy):
    counts = PhaseCounts(np.full(phases, 1 / phases), -np.eye(phases))
    states = counts.states(busy)
    assert len(states) == counts.size(busy) == len({tuple(state) for state in states.tolist()})
    assert (states.sum(axis=1) == busy).all()
    assert np.array_equal(_places(states), np.arange(len(states)))


def random_law(phases, rng):
    alpha = rng.dirichlet(np.ones(phases))
    T = rng.uniform(0, 2, (phases, phases)) * (rng.random((phases, phases)) < 0.7)
    exits = rng.uniform(0.1, 3, phases)
    np.fill_diagonal(T, 0.0)
    return qt.PhaseType(alpha, T - np.diag(T.sum(axis=1) + exits))


@pytest.mark.parametrize("phases", [1, 2, 3])
def test_counts_keep_every_rate_of_the_servers_one_by_one(phases):
    rng = np.random.default_rng(phases)
    law = random_law(phases, rng)
    counts = PhaseCounts(law.alpha, law.T)
    exit = -law.T.sum(axis=1)
    for busy in (1, 2, 5):
        states = counts.states(busy)
        rows = {tuple(state): i for i, state in enumerate(states.tolist())}
        fewer = {tuple(state): i for i, state in enumerate(counts.states(busy - 1).tolist())}
        internal, finish = np.zeros((len(states), len(states))), np.zeros((len(states), len(fewer)))
        for i, state in enumerate(states.tolist()):
            for a in range(phases):
                if state[a] == 0:
                    continue
                left = list(state)
                left[a] -= 1
                finish[i, fewer[tuple(left)]] += state[a] * exit[a]
                for b in range(phases):
                    if a != b and law.T[a, b] > 0:
                        moved = list(left)
                        moved[b] += 1
                        internal[i, rows[tuple(moved)]] += state[a] * law.T[a, b]
        assert counts.internal(busy).toarray() == pytest.approx(internal, rel=1e-14)
        assert counts.finish(busy).toarray() == pytest.approx(finish, rel=1e-14)
        assert counts.start(busy - 1).sum(axis=1) == pytest.approx(1.0, rel=1e-14)
        left = internal.sum(axis=1) + finish.sum(axis=1)
        assert counts.leaving(busy) == pytest.approx(left, rel=1e-13)


def whole_generator(counts, servers, up):
    """M(n)/PH/c with arrival rates up[n] as one matrix."""
    top = len(up)
    sizes = [counts.size(min(n, servers)) for n in range(top + 1)]
    at = np.concatenate([[0], np.cumsum(sizes)])
    rates = np.zeros((at[-1], at[-1]))

    def block(n, m):
        return rates[at[n] : at[n + 1], at[m] : at[m + 1]]

    for n in range(top + 1):
        busy = min(n, servers)
        block(n, n)[:] += counts.internal(busy).toarray()
        if n < top:
            block(n, n + 1)[:] += up[n] * (counts.start(n).toarray() if n < servers else np.eye(sizes[n]))
        if n > 0:
            block(n, n - 1)[:] += (counts.finish(busy) if n <= servers else counts.succeed(busy)).toarray()
    return rates, at


@pytest.mark.parametrize("seed", range(8))
def test_levels_against_the_whole_generator(seed):
    rng = np.random.default_rng(seed)
    phases, servers = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    top = servers + int(rng.integers(0, 12))
    law = random_law(phases, rng)
    up = np.repeat(rng.uniform(0.2, 3 * servers, 3), 5)[:top]
    counts = PhaseCounts(law.alpha, law.T)
    rates, at = whole_generator(counts, servers, up)
    expected = null_vector(rates)
    same = np.array(
        [next(m for m in range(n + 1) if np.all(up[m:n] == up[n - 1])) + 1 if n else 0 for n in range(top + 1)]
    )
    found = stationary(
        0,
        top,
        lambda n: up[n] * (counts.start(n) if n < servers else np.eye(counts.size(servers))),
        lambda n: counts.internal(min(n, servers)),
        lambda n: counts.finish(n) if n <= servers else counts.succeed(servers),
        lambda n: max(int(same[n]), servers + 1) if n > servers else n,
    )
    assert np.concatenate(found) == pytest.approx(expected, rel=1e-12)
    assert len(at) == top + 2


def test_a_long_line_is_geometric_and_does_not_over_or_underflow():
    one = np.array([[1.0]])
    for load in (0.5, 0.999, 2.0):
        levels = stationary(0, 5000, lambda n, x=load: x * one, lambda n: 0 * one, lambda n: one, lambda n: min(n, 1))
        law = np.array([float(level[0]) for level in levels])
        assert law.sum() == pytest.approx(1.0, rel=1e-12)
        expected = (1 - load) / (1 - load**5001) if load < 1 else (1 - 1 / load) / (1 - load**-5001.0) * load**-5000.0
        assert law[0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("utilization", [0.8, 1.02, 1.6])
def test_low_levels_that_are_hardly_ever_seen_may_be_left_out(utilization):
    """Servers of two phases, arrivals that falter near the top: as with every level, and 0 below."""
    service = qt.Hyperexponential.balanced(mean=1.0, scv=4.0).phase_type()
    counts, servers, top = PhaseCounts(service.alpha, service.T), 3, 900
    rates = utilization * servers * np.minimum(1.0, (top - np.arange(top)) / 300)

    def up(n):
        return rates[n] * counts.start(n).toarray() if n < servers else np.full(counts.size(servers), rates[n])

    def down(n):
        return counts.finish(n) if n <= servers else counts.succeed(servers)

    def found(**how):
        return stationary(0, top, up, lambda n: counts.internal(min(n, servers)), down, lambda n: n, **how)

    whole, cut = found(), found(negligible=1e-40)
    assert [len(level) for level in whole] == [len(level) for level in cut]
    assert np.concatenate(cut) == pytest.approx(np.concatenate(whole), rel=1e-11, abs=1e-38)
    assert (cut[0].sum() > 0.0) == (utilization < 1.1)


def test_a_given_number_may_be_one_that_is_hardly_ever_present():
    """An overloaded engine drains 10 requests, which it has with a probability below 1e-40, as one that often does."""
    device = qt.Device(servers=2, service=qt.Erlang(phases=2, mean=1.0))
    often, rarely = (qt.Engine([qt.Disk(qt.Poisson(rate), buffer=30)] * 10, device) for rate in (0.2, 0.4))
    assert qt.solve(often).in_system_pmf[10] > 1e-3
    assert qt.solve(rarely).in_system_pmf[10] == 0.0
    drain = qt.drain_time(rarely, population=10)
    assert drain.mean == pytest.approx(qt.drain_time(often, population=10).mean, rel=0.03)
