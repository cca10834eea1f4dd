"""Devices from depth sweeps: known truth recovered, intervals that cover, runs that cannot be believed."""

import json
import tarfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_cli import run

import qtheory as qt
from qtheory.fit.depth_sweep import _concave
from qtheory.traces.fio import Run, runs

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "fio"
POWERS = (1, 2, 4, 8, 16, 32, 64, 128)


def smooth(depth):
    """A rate that saturates gently, 12 000 a second."""
    return depth / (1e-3 * np.sqrt(1.0 + (depth / 12.0) ** 2))


def noisy(copies, spread, seed, rate=smooth):
    rng = np.random.default_rng(seed)
    depths = [n for n in POWERS for _ in range(copies)]
    return depths, [rate(n) * np.exp(spread * rng.standard_normal()) for n in depths]


# --------------------------------------------------------------------------------------------------------- the curve

sweeps = st.lists(st.tuples(st.integers(1, 300), st.floats(1.0, 1e6)), min_size=1, max_size=8, unique_by=lambda p: p[0])


@settings(max_examples=60)
@given(sweeps)
@example([(298, 1.0), (299, 31.0)])
def test_what_was_measured_is_kept(points):
    """At measured depths, in any order; between them within the measured; level beyond."""
    fit = qt.fit_depth_sweep(*zip(*points, strict=True))
    points = sorted(points)
    for depth, rate in points:
        assert fit.device.rates(depth)[-1] == pytest.approx(rate, rel=1e-9)
    curve = np.array(fit.device.curve)
    for (n, x), (m, y) in pairwise(points):
        between = curve[n - 1 : m]
        assert between.min() >= min(x, y) * (1.0 - 1e-9)
        assert between.max() <= max(x, y) * (1.0 + 1e-9)
    assert len(curve) == points[-1][0]
    if all(y >= x for (_, x), (_, y) in pairwise(points)):
        assert np.all(np.diff(curve) >= -1e-9 * curve[:-1])


@settings(max_examples=40)
@given(st.integers(1, 40), st.floats(1e-6, 1.0), st.integers(1, 20))
def test_equal_servers_are_recovered(servers, mean, further):
    """Without noise, from every depth: the curve, the servers, the mean, the knee."""
    depths = range(1, servers + further + 1)
    device = qt.Device(servers=servers, service=qt.Exponential(mean=mean))
    fit = qt.fit_depth_sweep(list(depths), device.rates(servers + further).tolist())
    np.testing.assert_allclose(fit.device.curve, device.rates(servers + further), rtol=1e-9)
    assert fit.servers == servers
    assert fit.service_mean == pytest.approx(mean, rel=1e-9)
    assert fit.misfit < 1e-9
    assert (fit.latency, fit.saturation) == (pytest.approx(mean), pytest.approx(servers / mean))
    assert fit.knee == pytest.approx(servers)


def test_a_concave_curve_is_its_own_regression():
    depths = np.array(POWERS, dtype=float)
    rates = np.minimum(depths, 20.0)
    fitted, kinks = _concave(depths, rates)
    np.testing.assert_allclose(fitted, rates, rtol=1e-9)
    assert kinks == 2  # at 16 and 32, around 20
    dip = _concave(depths, np.where(depths == 64.0, 10.0, rates))[0]
    assert np.all(np.diff(dip) >= -1e-12)
    assert np.all(np.diff(np.diff(dip) / np.diff(depths)) <= 1e-12)


def test_turnaround():
    """Requests that wait 1 ms outside the device are outstanding that much longer than their latency."""
    depths = [1, 2, 4, 8]
    rates = [n / (0.020 + 0.001) for n in depths]
    assert qt.fit_depth_sweep(depths, rates, latencies=[0.020] * 4).turnaround == pytest.approx(0.001)


# --------------------------------------------------------------------------------------------------------- uncertainty


def test_intervals_cover_the_truth():
    """The rate at five depths and a ratio of two, of 60 sweeps: 95 % of the 360, give or take what chance allows.

    The six of a sweep hang together: a standard error of 2 %. 100 resamples of few runs cover a little less.
    """

    def ask(device):
        return np.array([*(device.curve[n - 1] for n in (1, 4, 16, 64, 128)), device.curve[15] / device.curve[63]])

    truth = ask(qt.fit_depth_sweep(POWERS, [smooth(n) for n in POWERS]).device)
    covered = []
    for seed in range(60):
        fit = qt.fit_depth_sweep(*noisy(*((2, 0.03) if seed % 2 else (4, 0.10)), seed))
        low, high = np.quantile([ask(device) for device in fit.resampled(100, seed=seed)], [0.025, 0.975], axis=0)
        covered.append((low <= truth) & (truth <= high))
    assert 0.90 <= np.mean(covered) <= 0.98


def test_the_spread_is_found():
    assert qt.fit_depth_sweep(*noisy(8, 0.05, 1)).spread == pytest.approx(0.05, rel=0.2)
    # Quiet shallow runs beside noisy deep ones keep their own.
    depths, rates = noisy(8, 1.0, 2, rate=lambda n: 1e3)
    calm = [x ** (0.001 if n < 16 else 0.1) for n, x in zip(depths, rates, strict=True)]
    fit = qt.fit_depth_sweep(depths, calm)
    shallow, deep = (fit.uncertainty(lambda device, n=n: device.curve[n - 1], 50) for n in (2, 64))
    assert (shallow.high / shallow.low - 1.0) * 30.0 < deep.high / deep.low - 1.0


def test_what_tells_the_spread():
    """Replicates before standard errors before the shape; standard errors are taken as they are."""
    depths, rates = noisy(1, 0.05, 3, rate=lambda n: min(n, 8) * 1e3)
    assert qt.fit_depth_sweep(depths, rates).spread_from == "shape"
    errors = [0.01 * rate for rate in rates]
    fit = qt.fit_depth_sweep(depths, rates, standard_errors=errors)
    assert (fit.spread_from, fit.spread) == ("standard errors", pytest.approx(0.01))
    width = fit.uncertainty(lambda device: device.curve[0], 400)
    assert np.log(width.high / width.low) == pytest.approx(2 * 1.96 * 0.01, rel=0.15)
    again = qt.fit_depth_sweep(depths * 2, rates * 2, standard_errors=errors * 2)
    assert again.spread_from == "replicates"


def test_nothing_tells_the_spread():
    fit = qt.fit_depth_sweep(POWERS, [smooth(n) for n in POWERS])
    assert fit.spread is None
    assert any("nothing tells the spread" in warning for warning in fit.warnings)
    with pytest.raises(ValueError, match="the runs must tell their spread"):
        fit.uncertainty(lambda device: device.capacity)


@pytest.mark.parametrize(("answer", "error"), [(float("nan"), ValueError), (None, TypeError)])
def test_an_answer_must_be_a_number(answer, error):
    """Such as the queue length where none is feasible."""
    fit = qt.fit_depth_sweep([1, 1, 2, 2, 4, 4], [100.0, 101.0, 190.0, 193.0, 310.0, 305.0])
    with pytest.raises(error, match="what the question answers must be a number"):
        fit.uncertainty(lambda device: answer, 10)


def test_a_queue_length_with_its_interval():
    """A ratio of two rates is told to √(2/3) = 0.8 %: the interval is between one and four times that to each side."""
    fit = qt.fit_depth_sweep(*noisy(3, 0.01, 4))

    def shortest(device, loss=0.05):
        return qt.optimal_queue_length(qt.Engine([qt.Disk(qt.Closed(32))] * 4, device), max_throughput_loss=loss).lower

    answer = fit.uncertainty(shortest, 30)
    assert answer == fit.uncertainty(shortest, 30)  # the same seed
    truth = qt.Device(curve=smooth(np.arange(1, 129)).tolist())
    assert answer.low <= shortest(truth) <= answer.high
    own = fit.device
    assert shortest(own, 0.05 + 4 * 0.008) <= answer.low < shortest(own, 0.05 + 0.008)
    assert shortest(own, 0.05 - 0.008) < answer.high <= shortest(own, 0.05 - 4 * 0.008)


# ------------------------------------------------------------------------------------------------- warnings, refusals


def test_warnings():
    def warned(*arguments):
        return " ".join(qt.fit_depth_sweep(*arguments).warnings)

    assert "still rises at the deepest depth, 8, by 100.0% from 4" in warned([1, 2, 4, 8], [1.0, 2.0, 4.0, 8.0])
    assert "lower bounds" in warned([1, 2, 4, 8], [1.0, 2.0, 4.0, 8.0])
    assert "rises" not in warned([1, 2, 4, 8], [1.0, 2.0, 2.0, 2.0])
    assert "falls from 4/s at depth 4 to 3/s at 8" in warned([1, 2, 4, 8], [1.0, 2.0, 4.0, 3.0])
    assert "one depth does not tell" in warned([4], [1.0])
    assert "curves without one depth are off by" in warned([1, 8, 64], [1.0, 1.0, 30.0])
    little = warned([1, 2, 4], [100.0, 200.0, 300.0], [0.010, 0.010, 0.010])
    assert "run 2 had 300/s × 0.01 s = 3 in flight, 75% of its depth 4" in little
    assert "run 1" not in little


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], []), "depths must have at least one value"),
        (([1, 2], [1.0]), "throughputs must have one value for each of the 2 depths, not 1"),
        (([0], [1.0]), "depths.0. must be a whole number >= 1, not 0"),
        (([1], [0.0]), "throughputs.0. must be a positive finite number, not 0"),
        (([1], [1.0], [1.0, 2.0]), "latencies must have one value for each of the 1 depths, not 2"),
        (([1], [1.0], None, [-1.0]), "standard_errors.0. must be a positive finite number, not -1"),
        (([8], [100.0], [0.01]), "depths.0. must be what the run kept in flight, by Little's law, not 100/s × 0.01 s"),
        (([1], [300.0], [0.01]), "= 3 in flight, 300% of its depth 1"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        qt.fit_depth_sweep(*arguments)


# ----------------------------------------------------------------------------------------------------------------- fio


def written(folder, name, iodepth, numjobs, *, rate, latency):
    part = {"iops": rate, "lat_ns": {"mean": latency * 1e9}, "iops_mean": rate / numjobs, "iops_stddev": rate / 50.0,
            "iops_samples": 100}  # fmt: skip
    options = {"iodepth": str(iodepth), "numjobs": str(numjobs), "group_reporting": "1"}
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"jobs": [{"job options": options, "read": part}]}))
    return path


def test_fio_runs_at_one_depth(tmp_path):
    paths = [
        written(tmp_path, "a", 4, 2, rate=800.0, latency=0.01),
        written(tmp_path, "b", 8, 1, rate=790.0, latency=0.01),
    ]
    assert runs(paths) == [Run(8, 800.0, 0.01, pytest.approx(3.2)), Run(8, 790.0, 0.01, pytest.approx(1.58))]
    fit = qt.fit_fio(paths)
    assert fit.depths == (8,)
    assert fit.throughputs[0] == pytest.approx(np.sqrt(800.0 * 790.0))
    assert fit.spread_from == "standard errors"  # two runs alone are too few
    with pytest.raises(ValueError, match="depth 8 is measured twice"):
        qt.Device.from_fio(paths)


def test_size_shows_the_interval(tmp_path):
    paths = [
        written(tmp_path, f"{n}-{copy}", n, 1, rate=rate, latency=n / rate)
        for n in (1, 4, 16, 64)
        for copy, rate in enumerate(smooth(n) * np.array([0.98, 1.02]))
    ]
    options = [option for path in paths for option in ("--fio", str(path))]
    done = run("size", "--disk", "outstanding=32,count=4", *options, "--max-loss", "0.05", "--json")
    shown = json.loads(done.stdout)
    low, high = shown["lower 95%"]
    assert low < shown["lower"] < high
    engine = qt.Engine([qt.Disk(qt.Closed(32))] * 4, qt.fit_fio(paths).device, hold="ring")
    assert shown["lower"] == qt.optimal_queue_length(engine, max_throughput_loss=0.05).lower


@pytest.mark.skipif(not DATA.exists(), reason="outside data is not there")
def test_a_real_array_of_disks(tmp_path):
    """Eight disks as RAID 5: R_1 of 9.4 ms, quiet while shallow, unsure beyond the knee; Little's law holds."""
    with tarfile.open(DATA / "fio_json_selected.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    fit = qt.fit_fio(sorted((tmp_path / "8x2TBRAID5MDADM").glob("randread-*.json")))
    assert fit.depths == tuple(2**i for i in range(13))
    assert fit.latency == pytest.approx(9.42e-3, rel=1e-3)
    assert 0.0 < fit.turnaround < 1e-4
    assert not any("of its depth" in warning for warning in fit.warnings)
    shallow, deep = (fit.uncertainty(lambda device, n=n: device.curve[n - 1], 40) for n in (8, 256))
    assert shallow.high / shallow.low < 1.03
    assert deep.high / deep.low > 1.1
