"""M/PH/c and M/PH/c/K against exponential, single-server and published values."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qtheory as qt
from qtheory import stations

H2 = qt.Hyperexponential.balanced(mean=1.0, scv=4.0)
NAMES = ("throughput", "blocking", "delay_probability", "mean_wait", "mean_response", "mean_in_system", "mean_in_queue",
         "utilization")  # fmt: skip


def same(a, b, rel):
    for name in NAMES:
        assert getattr(a, name) == pytest.approx(getattr(b, name), rel=rel, abs=1e-13), name
    for p in (0.5, 0.99):
        assert a.wait_quantile(p) == pytest.approx(b.wait_quantile(p), rel=1e-7, abs=1e-12)
        assert a.response_quantile(p) == pytest.approx(b.response_quantile(p), rel=1e-7)


@pytest.mark.parametrize(("servers", "rate"), [(1, 0.7), (4, 3.6), (32, 31.0)])
def test_exponential_service_gives_mmc(servers, rate):
    same(
        stations.mphc(arrival_rate=rate, service=qt.Exponential(1.0), servers=servers),
        stations.mmc(arrival_rate=rate, service_rate=1.0, servers=servers),
        1e-9,
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(0, 12), st.floats(0.2, 8.0))
def test_exponential_service_gives_mmck(servers, more, rate):
    same(
        stations.mphck(arrival_rate=rate, service=qt.Exponential(1.0), servers=servers, capacity=servers + more),
        stations.mmck(arrival_rate=rate, service_rate=1.0, servers=servers, capacity=servers + more),
        1e-9,
    )


@pytest.mark.parametrize("law", [H2, qt.Erlang(phases=4, mean=1.0)], ids=["H2", "E4"])
def test_one_server_gives_mg1(law):
    a, b = stations.mphc(arrival_rate=0.8, service=law, servers=1), stations.mg1(arrival_rate=0.8, service=law)
    assert a.mean_wait == pytest.approx(0.8 * law.moment(2) / (2 * 0.2), rel=1e-10)
    assert a.wait_quantile(0.99) == pytest.approx(b.wait_quantile(0.99), rel=1e-6)


def test_no_line_is_insensitive():
    found = stations.mphck(arrival_rate=7.0, service=H2, servers=8, capacity=8)
    assert found.blocking == pytest.approx(stations.erlang_b(servers=8, load=7.0), rel=1e-11)
    assert found.mean_wait == 0.0


def test_published_values():
    # exact values with which other packages were compared
    found = stations.mphck(arrival_rate=4.0, service=H2, servers=5, capacity=12)
    assert found.mean_response == pytest.approx(1.35870, abs=5e-6)
    assert found.blocking == pytest.approx(0.05013, abs=5e-6)
    for servers, wait in ((16, 0.18944), (64, 0.0067216)):
        found = stations.mphc(arrival_rate=0.8 * servers, service=H2, servers=servers)
        assert found.mean_wait == pytest.approx(wait, rel=3e-5)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="1"):
        stations.mphc(arrival_rate=4.0, service=H2, servers=4)
    with pytest.raises(TypeError, match="Lognormal is not of phase type"):
        stations.mphc(arrival_rate=1.0, service=qt.Lognormal(mean=1.0, scv=2.0), servers=4)
    with pytest.raises(ValueError, match=r"mphck cannot be solved: .* states"):
        stations.mphck(arrival_rate=1.0, service=qt.Erlang(phases=20, mean=1.0), servers=64, capacity=70)
