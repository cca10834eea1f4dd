"""Drains of large devices after a schedule: the fluid limit against the exact chain, and where only it can answer."""

from __future__ import annotations

import numpy as np
import pytest

import qtheory as qt
from qtheory.drain import fluid

H2 = qt.Hyperexponential.balanced(mean=1e-3, scv=2.0)
LIMITS = ([(-4e-3, 40), (-2e-3, 6)], [(-4e-3, 8), (-1e-3, 24)], [(-2e-3, 0)], [(-0.02, 8)])


def engine(guest, law, servers=16, buffer=48, disks=1):
    return qt.Engine([qt.Disk(guest, buffer=buffer)] * disks, qt.Device(servers, law))


@pytest.mark.parametrize("steps", LIMITS)
@pytest.mark.parametrize("guest", [qt.Poisson(14.4e3), qt.Poisson(19.2e3), qt.Closed(48)], ids=["0.9", "1.2", "full"])
@pytest.mark.parametrize("law", [qt.Exponential(1e-3), H2], ids=["exponential", "H2"])
def test_against_the_chain(law, guest, steps):
    schedule = qt.DepthSchedule(steps)
    chain, found = qt.drain_time(engine(guest, law), schedule), fluid.drain(engine(guest, law), schedule)
    assert chain.exact
    assert found.mean == pytest.approx(chain.mean, rel=fluid.MEASURED["mean"])
    assert found.quantile(0.99) == pytest.approx(chain.quantile(0.99), rel=fluid.MEASURED["quantile"])
    assert found.population_pmf.sum() == pytest.approx(1.0, abs=1e-9)


def test_the_moments_of_what_is_taken():
    """A normal law with the corners of max and min, against numbers drawn from it."""
    rng = np.random.default_rng(1)
    limit, mean, cov = 20.0, np.array([24.0, 17.0]), np.array([[9.0, 3.0], [3.0, 4.0]])
    n, y = rng.multivariate_normal(mean, cov, 400_000).T
    n = np.maximum(n, y)  # which it practically always is
    p = np.maximum(y, np.minimum(n, limit))
    state = np.array([[24.0], [17.0], [9.0], [4.0], [3.0], [1.0]])
    _, centre, _, variance, covariance, _ = fluid.begun_anew(state, limit)[:, 0]
    assert centre == pytest.approx(p.mean(), rel=0.003)
    assert variance == pytest.approx(p.var(), rel=0.05)
    assert covariance == pytest.approx(np.cov(n, p)[0, 1], rel=0.05)
    assert fluid.busy(state, limit, 18)[0] == pytest.approx(np.minimum(p, 18.0).mean(), rel=0.003)


def test_an_engine_too_large_for_the_chain():
    """Overloaded buffers are full, and empty at the device's rate: 64 disks of 256 on 64 servers."""
    large = engine(qt.Poisson(1.2e3), qt.Exponential(1e-3), 64, 256, 64)
    found = qt.drain_time(large, qt.DepthSchedule([(-0.05, 32)]))
    assert (found.method, found.exact) == ("fluid", False)
    assert found.warnings
    natural = qt.drain_time(large)
    assert found.mean == pytest.approx(natural.mean - 0.05, rel=2e-3)
    with pytest.raises(ValueError, match=r"too much to follow|states, more than"):
        qt.drain_time(engine(qt.Poisson(9e3), H2, 8, 4096, 4), qt.DepthSchedule([(-1.0, 4)]))
