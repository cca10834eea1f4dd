"""The law of a drain from its transform: against 40 digits, uniformization, closed forms, and what laws must obey."""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import gammaincc

import qtheory as qt
from qtheory.drain import phase_type
from qtheory.drain.phase_type import Death
from qtheory.markov.laplace import ERROR, FromTransform
from qtheory.solve.phase_type import solved_chain

H2 = qt.Hyperexponential.balanced(mean=0.5, scv=4.0)
WILD = qt.Hyperexponential.balanced(mean=0.5, scv=100.0)
E3 = qt.Erlang(phases=3, mean=0.5)
E20 = qt.Erlang(phases=20, mean=0.5)
COXIAN = qt.PhaseType([1.0, 0.0], [[-4.0, 1.5], [0.0, -0.7]])
RECURRENT = qt.PhaseType([1.0, 0.0], [[-4.0, 1.5], [0.5, -0.7]])


def death(law, servers, buffer, load, population=None):
    device = qt.Device(servers=servers, service=law)
    engine = qt.Engine([qt.Disk(qt.Poisson(load * servers / law.mean), buffer=buffer)], device)
    chain = solved_chain(engine)[0]
    return Death(chain, chain.levels if population is None else phase_type.given(chain.levels, population))


def both(law, servers, buffer, load, population=None):
    """The same drain by ticks and by its transform."""
    ticks, inverted = (death(law, servers, buffer, load, population) for _ in range(2))
    ticks.by_ticks, inverted.by_ticks = True, False
    return ticks, inverted


@pytest.mark.parametrize("t", [1e-3, 0.1, 0.5, 0.99, 1.0, 1.01, 2.0, 10.0, 1e4])
@pytest.mark.parametrize("stages", [1, 2, 7, 300, 20_000])
def test_sums_of_exponentials(stages, t):
    law = FromTransform(lambda s: (1.0 + s / stages) ** -stages, mean=1.0, slowest=float(stages))
    assert law.sf(t) == pytest.approx(float(gammaincc(stages, stages * t)), abs=ERROR)


def test_two_scales_in_one_law():
    """A millionth part is a million times slower."""
    law = FromTransform(lambda s: (1.0 - 1e-6) / (1.0 + s) + 1e-6 / (1.0 + 1e6 * s), mean=2.0, slowest=1e-6)
    for t in (0.01, 1.0, 10.0, 30.0, 1e3, 1e6, 1e7):
        exact = (1.0 - 1e-6) * math.exp(-t) + 1e-6 * math.exp(-1e-6 * t)
        assert law.sf(t) == pytest.approx(exact, abs=ERROR)


def test_forty_digits():
    """Two Coxian servers, up to four present: the exponential of the whole generator."""
    ticks, inverted = both(COXIAN, 2, 4, 0.9)
    chain, levels = inverted.chain, inverted.levels
    at = np.cumsum([0, *(len(level) for level in levels[1:])])
    with mp.workdps(40):
        q = mp.zeros(int(at[-1]))
        for m in range(1, len(levels)):
            within, down = chain.internals[min(m, 2)].toarray(), inverted._down(m).toarray()
            for i in range(len(levels[m])):
                for j, rate in enumerate(within[i]):
                    q[int(at[m - 1]) + i, int(at[m - 1]) + j] += mp.mpf(rate)
                for j, rate in enumerate(down[i]) if m > 1 else ():
                    q[int(at[m - 1]) + i, int(at[m - 2]) + j] += mp.mpf(rate)
                q[int(at[m - 1]) + i, int(at[m - 1]) + i] -= mp.mpf(float(within[i].sum() + down[i].sum()))
        start = mp.matrix([[mp.mpf(float(x)) for x in np.concatenate(levels[1:])]])
        for t in (0.5, 8.0):
            exact = float(mp.fsum(start * mp.expm(q * mp.mpf(t))))
            assert inverted.sf(t) == pytest.approx(exact, abs=ERROR)
            assert ticks.sf(t) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("law", [H2, WILD, E3, COXIAN], ids=["H2", "WILD", "E3", "Coxian"])
@pytest.mark.parametrize(("servers", "buffer"), [(1, 200), (3, 60), (8, 8), (8, 5)])
@pytest.mark.parametrize("load", [0.05, 0.9, 1.5])
def test_ticks_and_transform_agree(law, servers, buffer, load):
    ticks, inverted = both(law, servers, buffer, load)
    mean = ticks.raw_moments[0]
    for t in mean * np.array([0.0, 1e-3, 0.1, 0.5, 0.999, 1.0, 1.7, 3.0, 9.0]):
        assert inverted.sf(t) == pytest.approx(ticks.sf(t), abs=ERROR)


@pytest.mark.parametrize("law", [E20, H2], ids=["E20", "H2"])
def test_the_drain_of_a_long_line(law):
    servers = 1 if law is E20 else 8
    ticks, inverted = both(law, servers, 400, 2.0, population=400)
    mean, deviation = ticks.raw_moments[0], math.sqrt(ticks.moments[1])
    for z in (-5.0, -1.0, 0.0, 1.0, 2.5, 6.0):
        t = mean + z * deviation
        assert inverted.sf(t) == pytest.approx(ticks.sf(t), abs=ERROR)


def test_the_way_is_chosen_by_the_work(monkeypatch):
    small = death(H2, 3, 60, 0.9)
    assert small.by_ticks
    assert small.warnings == ()
    monkeypatch.setattr(phase_type, "MOST_WORK", 1.0)
    assert not death(H2, 3, 60, 0.9).by_ticks
    assert death(RECURRENT, 3, 60, 0.9).by_ticks
    engine = qt.Engine([qt.Disk(qt.Poisson(5.4), buffer=60)], qt.Device(servers=3, service=H2))
    drain = qt.drain_time(engine)
    assert drain.warnings == (phase_type.ABSOLUTE,)
    assert drain.exact
    monkeypatch.undo()
    expected = qt.drain_time(engine)
    assert drain.quantile(0.99) == pytest.approx(expected.quantile(0.99), rel=1e-9)
    assert 1e-3 < expected.sf(rare := expected.quantile(0.998)) < 0.01
    assert drain.sf(rare) == pytest.approx(expected.sf(rare), rel=drain.error_bounds["sf"])


@settings(max_examples=10, deadline=None)
@given(
    law=st.sampled_from([H2, WILD, E3, COXIAN]),
    servers=st.integers(1, 4),
    buffer=st.integers(1, 24),
    load=st.floats(0.01, 3.0),
    times=st.lists(st.floats(0.0, 50.0), min_size=2, max_size=6),
)
def test_what_a_law_must_obey(law, servers, buffer, load, times):
    """P(T > t) falls from at most 1 to at least 0, and is larger when more are there at first."""
    _, inverted = both(law, servers, buffer, load)
    left = [inverted.sf(t) for t in sorted(times)]
    assert all(b <= a + 2.0 * ERROR for a, b in zip([1.0, *left], [*left, 0.0], strict=True))
    chances = []
    for n in (buffer // 2, buffer):
        level = np.zeros(len(inverted.levels[n]))
        level[0] = 1.0  # all that are served in their first phase, so that more are the same and others
        start = [np.zeros(len(x)) for x in inverted.levels[:n]]
        more = Death(inverted.chain, [*start, level])
        more.by_ticks = False
        chances.append([more.sf(t) for t in times] if n else [0.0] * len(times))
    assert all(fewer <= more + 2.0 * ERROR for fewer, more in zip(*chances, strict=True))
