"""Drains under phase-type service against the whole generator, against exponential service, and against simulation."""

import numpy as np
import pytest
from scipy.linalg import expm

import qtheory as qt
from qtheory.drain import phase_type
from qtheory.markov.gth import gth
from qtheory.markov.phase_counts import PhaseCounts

H2 = qt.Hyperexponential.balanced(mean=0.5, scv=4.0)
E3 = qt.Erlang(phases=3, mean=0.5)
COXIAN = qt.PhaseType([1.0, 0.0], [[-4.0, 1.5], [0.0, -0.7]])


def one_disk(law, servers, buffer, rate, queue_length=None, hold="engine"):
    device = qt.Device(servers=servers, service=law)
    return qt.Engine([qt.Disk(qt.Poisson(rate), buffer=buffer)], device, queue_length, hold)


def brute_force(law, servers, buffer, rate, taken=None):
    """Law of the drain from the generator over (number present, phase counts), all in one dense matrix."""
    law = law.phase_type()
    counts = PhaseCounts(law.alpha, law.T)
    sizes = [counts.size(min(n, servers)) for n in range(buffer + 1)]
    at = np.concatenate([[0], np.cumsum(sizes)])
    inside, arrivals = np.zeros((at[-1], at[-1])), np.zeros((at[-1], at[-1]))
    for n in range(buffer + 1):
        here = slice(at[n], at[n + 1])
        inside[here, here] += counts.internal(min(n, servers)).toarray()
        if n > 0:
            down = counts.finish(n) if n <= servers else counts.succeed(servers)
            inside[here, at[n - 1] : at[n]] += down.toarray()
        if n < buffer:
            arrivals[here, at[n + 1] : at[n + 2]] += rate * (
                counts.start(n).toarray() if n < servers else np.eye(sizes[n])
            )
    pi = gth(inside + arrivals)
    if taken is not None:
        for n in range(taken + 1, buffer + 1):
            pi[at[taken] : at[taken + 1]] += pi[at[n] : at[n + 1]]
            pi[at[n] : at[n + 1]] = 0.0
    q = inside - np.diag(inside.sum(axis=1))
    q[0] = 0.0  # empty: the drain is over
    rest = q[1:, 1:]
    mean = pi[1:] @ np.linalg.solve(-rest, np.ones(len(rest)))
    square = 2 * pi[1:] @ np.linalg.solve(rest @ rest, np.ones(len(rest)))
    return mean, square - mean**2, lambda t: float(pi[1:] @ expm(rest * t).sum(axis=1))


@pytest.mark.parametrize("law", [H2, E3, COXIAN], ids=["H2", "E3", "Coxian"])
@pytest.mark.parametrize(
    ("servers", "buffer", "queue_length"), [(1, 6, None), (3, 9, None), (4, 3, None), (2, 8, 4), (4, 8, 2)]
)
def test_a_drain_against_the_whole_generator(law, servers, buffer, queue_length):
    rate = 0.9 * servers / law.mean
    busy = min(servers, queue_length or servers)
    for hold in ("engine", "ring") if queue_length else ("engine",):
        taken = min(queue_length, buffer) if hold == "ring" else None
        mean, variance, sf = brute_force(law, busy, buffer, rate, taken)
        drain = qt.drain_time(one_disk(law, servers, buffer, rate, queue_length, hold))
        assert (drain.method, drain.exact) == ("phase_type", True)
        assert drain.mean == pytest.approx(mean, rel=1e-10)
        assert drain.variance == pytest.approx(variance, rel=1e-9)
        for t in (0.0, 0.1, 1.0, 4.0):
            assert drain.sf(t) == pytest.approx(sf(t), rel=1e-9, abs=1e-14)
        assert drain.sf(drain.quantile(0.99)) == pytest.approx(0.01, rel=1e-9)


@pytest.mark.parametrize("hold", ["engine", "ring"])
@pytest.mark.parametrize("throttle", [None, qt.DepthLimit(3)])
def test_exponential_service_gives_the_pure_death_drain(hold, throttle):
    disks = [qt.Disk(qt.Poisson(1.0), buffer=4), qt.Disk(qt.Poisson(3.0), buffer=7), qt.Disk(qt.Closed(5, 0.5))]
    engine = qt.Engine(disks, qt.Device(servers=4, service=qt.Exponential(mean=1.0)), 6, hold)
    expected = qt.drain_time(engine, throttle)
    found = phase_type.drain(engine, throttle, None)
    assert expected.method == "pure_death"
    assert found.mean == pytest.approx(expected.mean, rel=1e-6)  # sweeps for different disks end at 1e-8
    assert found.variance == pytest.approx(expected.variance, rel=1e-6)
    assert found.quantile(0.99) == pytest.approx(expected.quantile(0.99), rel=1e-6)


def test_one_at_a_time_is_what_is_left_of_one_service():
    engine = qt.Engine([qt.Disk(qt.Closed(8, 0.0))] * 2, qt.Device(servers=4, service=H2))
    drain = qt.drain_time(engine, qt.DepthLimit(1))
    residual = H2.residual()
    assert drain.mean == pytest.approx(residual.mean, rel=1e-11)
    assert drain.quantile(0.9) == pytest.approx(float(residual.quantile(0.9)), rel=1e-10)


def test_a_population_is_drained_from_the_phases_it_has():
    engine = one_disk(H2, 2, 12, 3.0)
    drains = [qt.drain_time(engine, population=n) for n in range(13)]
    means = [drain.mean for drain in drains]
    assert means[0] == 0.0
    assert means == sorted(means)
    weights = qt.solve(engine).in_system_pmf
    assert weights @ means == pytest.approx(qt.drain_time(engine).mean, rel=1e-11)


@pytest.mark.parametrize("engine", [
    qt.Engine([qt.Disk(qt.Poisson(1.8), buffer=16), qt.Disk(qt.Poisson(5.4), buffer=4)], qt.Device(4, H2)),
    qt.Engine([qt.Disk(qt.Poisson(1.8), buffer=6)] * 4, qt.Device(4, E3), 6, "ring"),
], ids=["different", "equal"])  # fmt: skip
def test_approximate_drains_against_simulation(engine):
    drain = qt.drain_time(engine)
    assert not drain.exact
    run = qt.simulate(engine, 400_000, seed=1).drain
    for p in (0.5, 0.9, 0.99):
        q = run.quantile(p)
        # the approximation is within 1 %, and the interval three half-widths
        assert abs(drain.quantile(p) - q.value) <= 0.01 * q.value + 3 * q.half_width
    assert abs(drain.mean - run.mean.value) <= 0.01 * run.mean.value + 3 * run.mean.half_width


def test_other_laws_are_drained_with_the_numbers_of_a_fit_that_is_named():
    engine = one_disk(qt.Lognormal(mean=0.5, scv=2.0), 4, 24, 6.4)
    drain = qt.drain_time(engine)
    assert (drain.method, drain.exact) == ("residual_services", False)
    assert "the service law is replaced by" in drain.warnings[-1]
    assert 0.0 < drain.error_bounds["mean"] < 0.1
    run = qt.simulate(engine, 400_000, seed=2).drain
    # within 2 % and three half-widths
    assert abs(drain.mean - run.mean.value) <= 0.02 * run.mean.value + 3 * run.mean.half_width
    q = run.quantile(0.99)
    assert abs(drain.quantile(0.99) - q.value) <= 0.02 * q.value + 3 * q.half_width


def test_what_no_chain_covers_is_refused():
    own = [qt.Disk(qt.Poisson(1.0), buffer=40, device=qt.Device(1, H2))] * 4
    with pytest.raises(ValueError, match="phase type: each disk has its own device"):
        qt.drain_time(qt.Engine(own, queue_length=3))
    with pytest.raises(ValueError, match="population must be a number that the engine has at times, not 12"):
        phase_type.drain(one_disk(H2, 4, 8, 3.0), None, (12,))
