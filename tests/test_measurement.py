"""Latency histograms: bounds against the times themselves, fio's bins against its arithmetic; real and bad files."""

import gzip
import itertools
import json
import math
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtheory.traces.file import TraceError
from qtheory.traces.measurement import LatencyHistogram, Measurement, read_measurement

FIO = Path(__file__).resolve().parents[2] / "shared" / "data" / "fio" / "fio_json_selected.tar.xz"
PROBABILITIES = (0.001, 0.07, 0.29, 0.5, 0.9, 0.99, 0.999)


def write(folder, content, name="run.json"):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def quantile(times, p):
    """The smallest time that at least the fraction p keeps to, by counting."""
    ordered = sorted(times)
    return next(t for i, t in enumerate(ordered, 1) if i / len(ordered) >= p)


def assert_bounds_hold(law, times):
    for p in PROBABILITIES:
        low, high = law.quantile_bounds(p)
        assert low <= quantile(times, p) <= high
    low, high = law.mean_bounds()
    assert low * (1 - 1e-6) <= np.mean(times) <= high * (1 + 1e-6)


def moments(times):
    stddev = float(np.std(times, ddof=1)) if len(times) > 1 else 0.0
    return {"mean": float(np.mean(times)), "stddev": stddev, "minimum": float(min(times)), "maximum": float(max(times))}


def of_times(times, edges, **known):
    counts = [sum(a <= t < b for t in times) for a, b in itertools.pairwise(edges)]
    return LatencyHistogram(disk="a", op="read", quantity="response", edges=edges, counts=counts, **known)


# ------------------------------------------------------------------------------------------------- LatencyHistogram

TIMES = st.lists(st.floats(0.0, 10.0), min_size=1, max_size=60)
EDGES = [0.0, 1e-6, 0.25, 1.0, 4.0, math.inf]


@given(TIMES, st.booleans())
def test_bounds_hold_for_the_times_that_were_counted(times, known):
    assert_bounds_hold(of_times(times, EDGES, **(moments(times) if known else {})), times)


@given(TIMES, TIMES)
def test_merged_histograms_are_those_of_all_times(some, more):
    merged = of_times(some, EDGES, **moments(some)).merge(of_times(more, EDGES, **moments(more)))
    whole = of_times(some + more, EDGES, **moments(some + more))
    assert merged.counts.tolist() == whole.counts.tolist()
    for name in ("mean", "stddev", "minimum", "maximum"):
        assert getattr(merged, name) == pytest.approx(getattr(whole, name), rel=1e-9, abs=1e-9)


def test_what_differs_is_not_merged():
    a = of_times([0.5, 2.0], EDGES, mean=1.25)
    b = LatencyHistogram(disk="b", op="write", quantity="response", edges=EDGES, counts=[0, 0, 1, 0, 0], misplaced=2)
    both = a.merge(b)
    assert (both.disk, both.op, both.mean, both.misplaced) == ("all", "mixed", None, 2)
    with pytest.raises(ValueError, match="other must have the same edges"):
        a.merge(of_times([0.5], [0.0, 1.0]))
    other = LatencyHistogram(disk="b", op="write", quantity="completion", edges=EDGES, counts=[1, 0, 0, 0, 0])
    with pytest.raises(ValueError, match="other must measure the same quantity, 'response', not 'completion'"):
        a.merge(other)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"edges": [0.0]}, "edges must be >= 0 and rising"),
        ({"edges": [0.0, 2.0, 1.0]}, "edges must be >= 0 and rising"),
        ({"edges": [0.0, math.nan, 1.0]}, "edges must be >= 0 and rising"),
        ({"edges": [-1.0, 0.0, 1.0]}, "edges must be >= 0 and rising"),
        ({"edges": [0.0, 1.0, 1e300]}, "edges must be at most"),
        ({"counts": [1, 2, 3]}, "counts must have a bin between two edges each: 2, not 3"),
        ({"counts": [1, -2]}, r"counts\[1\] must be a whole number >= 0, not -2"),
        ({"counts": [0, 0]}, "counts must have between 1 and 2\\^53 requests in all, not 0"),
        ({"counts": [0, 2**60]}, "counts must have between 1 and"),
        ({"mean": math.nan}, "mean must be a number, not NaN"),
        ({"mean": 0.2}, "mean must lie where the bins have it, from 0.5 to 1.5 s, not 0.2"),
        ({"minimum": 1.5}, "minimum must lie where the bins have it, from 0 to 1 s, not 1.5"),
        ({"maximum": 0.5}, "maximum must lie where the bins have it, from 1 to 2 s, not 0.5"),
        ({"stddev": 1e200}, "stddev must be at most"),
    ],
)
def test_impossible_histograms_are_refused(change, wrong):
    good = {"disk": "a", "op": "read", "quantity": "response", "edges": [0.0, 1.0, 2.0], "counts": [1, 1]}
    LatencyHistogram(**good)
    with pytest.raises(ValueError, match=wrong):
        LatencyHistogram(**good | change)


def test_probabilities_are_checked_and_arrays_are_read_only():
    law = of_times([0.5], EDGES)
    with pytest.raises(ValueError, match="p must lie strictly between 0 and 1"):
        law.quantile_bounds(1.0)
    with pytest.raises(ValueError, match="read-only"):
        law.counts[0] = 3
    with pytest.raises(ValueError, match="nothing was measured"):
        Measurement(method="m", exact=True, error_bounds={}, source="s", histograms=(), throughput={})


# -------------------------------------------------------------------------------------------------------------- fio


def bin_number(time):
    """fio's plat_val_to_idx, on the bits of a whole number of ticks."""
    msb = max(time.bit_length() - 1, 0)
    if msb <= 6:
        return time
    return (msb - 6 + 1) * 64 + ((time >> (msb - 6)) & 63)


def bin_value(number):
    """fio's plat_idx_to_val."""
    if number < 128:
        return number
    shift = number // 64 - 1
    return int((1 << (shift + 6)) + (number % 64 + 0.5) * (1 << shift))


def fine(times, last, numbered=False):
    bins: dict[str, int] = {}
    for time in times:
        key = min(bin_number(time), last)
        key = str(key if numbered else bin_value(key))
        bins[key] = bins.get(key, 0) + 1
    return bins


def stat(times, **more):
    found = {"min": min(times), "max": max(times), "mean": round(float(np.mean(times)), 6)}
    return found | {"stddev": float(np.std(times, ddof=1)) if len(times) > 1 else 0.0} | more


def job(**parts):
    return {"jobname": "j", "error": 0, **parts}


def fio(*jobs):
    return {"fio version": "fio-3.33", "jobs": list(jobs)}


NANOSECONDS = st.lists(
    st.one_of(st.integers(0, 300), st.integers(0, 10**7), st.integers(0, 2 * 10**10)), min_size=1, max_size=40
)


@given(NANOSECONDS)
@settings(deadline=None)
def test_fine_bins_of_fio_3(tmp_path_factory, times):
    folder = tmp_path_factory.mktemp("fio")
    lat = stat(times, N=len(times), bins=fine(times, 29 * 64 - 1))
    path = write(folder, fio(job(read={"total_ios": len(times), "iops": 7.5, "lat_ns": lat, "clat_ns": lat})))
    measured = read_measurement(path)
    (law,) = measured.histograms
    assert (law.disk, law.op, law.quantity, law.requests) == ("j", "read", "response", len(times))
    assert measured.exact
    assert measured.throughput == {"j": {"read": 7.5}}
    assert_bounds_hold(law, [t / 1e9 for t in times])
    for time in times:  # the bin itself, not only its sums
        i = int(np.searchsorted(law.edges, time / 1e9, side="right")) - 1
        assert i == min(bin_number(time), 29 * 64 - 1)


@pytest.mark.parametrize("numbered", [True, False])
def test_fine_bins_of_fio_2_are_in_microseconds(tmp_path, numbered):
    times = [0, 5, 63, 64, 127, 128, 129, 1000, 123456, 9_000_000]
    bins = fine(times, 19 * 64 - 1, numbered)
    if numbered:
        bins |= {"0": 1, "7": 0, "FIO_IO_U_PLAT_BITS": 6, "FIO_IO_U_PLAT_VAL": 64, "FIO_IO_U_PLAT_NR": 1216}
    write_ = {"total_ios": len(times), "iops": 1, "lat": stat(times), "clat": stat(times, bins=bins)}
    measured = read_measurement(write(tmp_path, {"fio version": "fio-2.21", "jobs": [job(write=write_)]}))
    response, completion = measured.histograms
    assert (response.quantity, completion.quantity) == ("response", "completion")
    assert len(completion.counts) == 1216
    assert "whole microseconds (fio 2)" in str(measured)
    assert response.mean == pytest.approx(np.mean(times) / 1e6)
    assert_bounds_hold(completion, [t / 1e6 for t in times])
    assert completion.quantile_bounds(0.9) == (bin_value(bin_number(123456)) / 1e6 - 0.000512, 0.123904)


COARSE = {
    "latency_ns": [2, 4, 10, 20, 50, 100, 250, 500, 750, 1000],
    "latency_us": [2, 4, 10, 20, 50, 100, 250, 500, 750, 1000],
    "latency_ms": [2, 4, 10, 20, 50, 100, 250, 500, 750, 1000, 2000, ">=2000"],
}


def coarse(counts, digits):
    """The shares as fio's stat_calc_lat and its JSON print them."""
    total, counts, found = sum(counts), iter(counts), {}
    for key, labels in COARSE.items():
        shares = []
        for _ in labels:
            n = next(counts)
            shares.append(round(max(100 * n / total, 0.01) if n else 0.0, digits))
        found[key] = dict(zip(map(str, labels), shares, strict=True))
    return found


COUNTS = st.lists(
    st.one_of(st.just(0), st.integers(0, 40), st.integers(0, 10**6), st.integers(0, 10**9)), min_size=32, max_size=32
)


@given(COUNTS.filter(any), st.sampled_from([2, 6]))
@settings(deadline=None, max_examples=200)
def test_coarse_bins_are_as_far_off_as_they_say(tmp_path_factory, counts, digits):
    total = sum(counts)
    read = {"total_ios": total, "iops": 1, "clat_ns": {"min": 0, "max": 0, "mean": 0, "stddev": 0, "N": 0}}
    lat = {"lat_ns": {"min": 0, "max": 3e9, "mean": 1e3, "stddev": 0, "N": total}}
    clat = {"clat_ns": {"N": total}}
    path = write(tmp_path_factory.mktemp("fio"), fio(job(read=read | lat | clat, **coarse(counts, digits))))
    measured = read_measurement(path)
    _, law = measured.histograms
    assert (law.op, law.quantity, law.requests) == ("read", "completion", total)
    below, truth = np.cumsum(law.counts), np.cumsum(counts)
    assert np.all(np.abs(below - truth) <= law.misplaced)
    assert np.array_equal(law.counts > 0, np.array(counts) > 0)
    assert measured.exact == (law.misplaced == 0)
    for n, true in zip(law.counts.tolist(), counts, strict=True):
        assert abs(n - true) <= measured.error_bounds.get("counts", 0.0) * true
    for p in PROBABILITIES:
        i = int(np.searchsorted(truth / total, p))
        low, high = law.quantile_bounds(p)
        assert low <= law.edges[i] < law.edges[i + 1] <= high


def test_coarse_bins_are_of_all_directions_and_their_moments_pooled(tmp_path):
    reads, writes = [30_000, 70_000, 70_001], [60_000, 3_000_000_000]
    counts = [0] * 32
    for key, i in (("us", 4), ("us", 5), ("us", 5), ("us", 5), ("ms", 11)):
        counts[{"us": 10, "ms": 20}[key] + i] += 1
    parts = {
        op: {"total_ios": len(t), "iops": len(t), "lat_ns": stat(t, N=len(t)), "clat_ns": stat(t, N=len(t))}
        for op, t in (("read", reads), ("write", writes))
    }
    measured = read_measurement(write(tmp_path, fio(job(**parts, **coarse(counts, 6)))))
    assert [(law.op, law.quantity) for law in measured.histograms] == [
        ("read", "response"),
        ("write", "response"),
        ("mixed", "completion"),
    ]
    law = measured.histograms[2]
    assert law.edges[11:16].tolist() == pytest.approx([2e-6, 4e-6, 1e-5, 2e-5, 5e-5])
    assert (law.edges[0], law.edges[-2], law.edges[-1]) == (0.0, 2.0, math.inf)
    together = [t / 1e9 for t in reads + writes]
    for name, value in moments(together).items():
        assert getattr(law, name) == pytest.approx(value)
    assert_bounds_hold(law, together)
    assert measured.exact


def test_jobs_of_one_name_are_together_and_flushes_are_completions(tmp_path):
    def clone(times):
        lat = stat(times, N=len(times), bins=fine(times, 1855))
        return job(
            read={"total_ios": len(times), "iops": 10.0, "lat_ns": lat},
            trim={"total_ios": 0, "lat_ns": stat([0], N=0)},
            sync={"total_ios": 2, "lat_ns": stat([5, 9], N=2, bins=fine([5], 1855))},
        )

    text = "fio: a warning {1}\n" + json.dumps(fio(clone([100, 3000]), clone([70, 80, 90])))
    path = tmp_path / "run.json.gz"
    path.write_bytes(gzip.compress(text.encode()))
    measured = read_measurement(path)
    read, flush = measured.histograms
    assert_bounds_hold(read, [t / 1e9 for t in (100, 3000, 70, 80, 90)])
    assert measured.throughput == {"j": {"read": 20.0}}
    assert (flush.op, flush.quantity, flush.requests, flush.mean) == ("flush", "completion", 2, None)
    assert measured.warnings[0] == "j flush: the bins have 1 requests and the moments 2: moments left out"
    shown = str(measured)
    assert "2 entries of 1 jobs" in shown
    assert re.search(r"^j +read +response +5 +20 +6\.68e-07 ", shown, re.MULTILINE)
    assert json.loads(json.dumps(measured.to_dict(), allow_nan=False))["histograms"][0]["maximum"] == 3e-6


def one(**lat):
    return job(read={"total_ios": 2, "iops": 1.0, "lat_ns": {"min": 5, "max": 9, "mean": 7.0, "N": 2} | lat})


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        ("{", "not fio JSON"),
        ("[" * 100_000, "not fio JSON"),
        ('{"jobs": [' + "1" * 5000, "not fio JSON"),
        ({"jobs": []}, "no 'jobs' in it"),
        (fio(3), "jobs[0]: job must be a JSON object, not 3"),
        (fio(one() | {"jobname": "a\nb"}), "jobs[0]: jobname must be a text of one line, not 'a"),
        (fio(one()) | {"fio version": math.nan}, "fio version must be a text of one line, not nan"),
        (fio(job()), "no latencies: no job has timed a request"),
        (fio(one(), one() | {"error": 5}), "jobs[1]: it failed with error 5"),
        (fio(one(mean=math.nan)), "jobs[0]: read mean must be a number, not NaN"),
        (fio(one(min=-1)), "jobs[0]: read min must be a finite number >= 0, not -1"),
        (fio(one(mean=None)), "jobs[0]: read mean must be a number, not None"),
        (fio(one(mean=11.0)), "jobs[0]: mean must lie where the bins have it"),
        (fio(one(bins={"5": 1, "9": -1})), "jobs[0]: bins['9'] must be a whole number >= 0, not -1"),
        (fio(one(bins={"5": 1, "128": 1})), "jobs[0]: bins must have keys of fio's bins, not '128'"),
        (fio(one(bins={"5": 1, "40": 1})), "jobs[0]: maximum must lie where the bins have it"),
        (fio(one(bins=[1])), "jobs[0]: bins must be a JSON object, not [1]"),
        (fio(job(read={"total_ios": 10**400})), "jobs[0]: read total_ios must be a number that a float can hold"),
        (fio(one() | {"read": {"total_ios": 2, "iops": math.inf}}), "jobs[0]: read iops must be a finite number"),
    ],
)
def test_bad_fio_results_are_refused(tmp_path, content, wrong):
    path = write(tmp_path, content)
    with pytest.raises(TraceError, match=re.escape(f"{path}: {wrong}")) as caught:
        read_measurement(path, "fio")
    assert "\n" not in str(caught.value)


def test_shares_that_do_not_add_up_are_refused(tmp_path):
    read = {"total_ios": 1000, "iops": 1.0, "clat_ns": {"min": 5, "max": 9, "mean": 7.0, "N": 1000}}
    for shares, wrong in (
        ({"10": 60.0, "20": 30.0}, "latency shares must add up to all 1000 requests, not to 90 %"),
        ({"10": 101.0}, "latency_ns['10'] must be at most 100 %, not 101.0"),
        ({"x": 100.0}, "latency_ns must have keys such as '50' and '>=2000', not 'x'"),
    ):
        path = write(tmp_path, fio(job(read=read, latency_ns=shares)))
        with pytest.raises(TraceError, match=re.escape(f"{path}: jobs[0]: {wrong}")):
            read_measurement(path)


@pytest.mark.skipif(not FIO.exists(), reason="outside data are not there")
def test_real_fio_results_hold_fios_own_percentiles(tmp_path):
    with tarfile.open(FIO) as archive:
        archive.extractall(tmp_path, filter="data")
    paths = sorted(tmp_path.glob("*/*.json"))
    assert len(paths) == 282
    for path in paths:
        measured = read_measurement(path)
        response, completion = measured.histograms
        recorded = json.loads(path.read_text())["jobs"][0][response.op]
        assert completion.requests == response.requests == recorded["total_ios"]
        assert measured.throughput == {response.disk: {response.op: recorded["iops"]}}
        assert completion.misplaced <= 4e-4 * completion.requests
        percentiles = recorded["clat_ns"]["percentile"]
        percentiles.pop("0.00", None)  # fills up the list in fio 3.1
        for percent, value in percentiles.items():
            low, high = completion.quantile_bounds(float(percent) / 100)
            # fio gives the middle of a bin at most 1/64 wide
            assert low * (1 - 1 / 64) <= value / 1e9 <= high * (1 + 1 / 64)


# ------------------------------------------------------------------------------------------------------- blockstats

# Written by QEMU 7.2.22: -blockdev, and 60 reads and a flush of its own.
REAL = """{"return": [{"device": "", "parent": {"stats": {"rd_operations": 0}}, "node-name": "",
 "qdev": "/machine/peripheral/q0/virtio-backend", "stats": {"unmap_operations": 0, "flush_total_time_ns": 2354,
 "wr_total_time_ns": 0, "failed_wr_operations": 0, "failed_rd_operations": 0, "timed_stats": [], "account_failed": true,
 "failed_flush_operations": 0, "rd_total_time_ns": 5738626, "flush_operations": 1, "wr_operations": 0,
 "wr_latency_histogram": {"bins": [0, 0, 0, 0, 0, 0, 0],
  "boundaries": [10000, 50000, 100000, 500000, 1000000, 10000000]}, "unmap_total_time_ns": 0, "rd_operations": 60,
 "rd_latency_histogram": {"bins": [0, 29, 11, 18, 1, 1, 0],
  "boundaries": [10000, 50000, 100000, 500000, 1000000, 10000000]},
 "flush_latency_histogram": {"bins": [1, 0, 0, 0, 0, 0, 0],
  "boundaries": [10000, 50000, 100000, 500000, 1000000, 10000000]}}}], "id": "libvirt-12"}"""


def drive(device="vda", **stats):
    return {"device": device, "stats": stats}


def test_a_real_answer(tmp_path):
    measured = read_measurement(write(tmp_path, REAL))
    read, flush = measured.histograms
    assert (read.disk, read.op, read.quantity) == ("/machine/peripheral/q0/virtio-backend", "read", "response")
    assert read.counts.tolist() == [0, 29, 11, 18, 1, 1, 0]
    assert read.edges.tolist() == [0.0, 1e-5, 5e-5, 1e-4, 5e-4, 1e-3, 1e-2, math.inf]
    assert read.mean == pytest.approx(5738626e-9 / 60, rel=1e-12)
    assert [read.quantile_bounds(p) for p in (29 / 60, 0.5, 0.99)] == [(1e-5, 5e-5), (5e-5, 1e-4), (1e-3, 1e-2)]
    assert (flush.op, flush.mean, measured.throughput, measured.warnings) == ("flush", pytest.approx(2.354e-6), {}, ())


@given(
    st.lists(st.integers(1, 10**9), unique=True, max_size=8).map(sorted),
    st.lists(st.integers(0, 2 * 10**9), min_size=1, max_size=40),
)
@settings(deadline=None)
def test_block_statistics_hold_the_times_they_counted(tmp_path_factory, boundaries, times):
    bins = [0] * (len(boundaries) + 1)
    for time in times:
        bins[sum(b <= time for b in boundaries)] += 1
    law = {"boundaries": boundaries, "bins": bins}
    stats = drive(wr_operations=len(times), wr_total_time_ns=sum(times), wr_latency_histogram=law)
    (found,) = read_measurement(write(tmp_path_factory.mktemp("qemu"), [stats])).histograms
    assert found.mean == pytest.approx(sum(times) / len(times) / 1e9)
    assert found.counts.tolist() == bins
    assert_bounds_hold(found, [t / 1e9 for t in times])


def test_drives_without_histogram_failed_requests_and_histograms_set_later(tmp_path):
    law = {"boundaries": [1000], "bins": [3, 1]}
    plain = drive("a", rd_operations=4, rd_total_time_ns=8000, unmap_operations=2, unmap_total_time_ns=10)
    failed = drive("b", rd_operations=3, failed_rd_operations=1, rd_total_time_ns=8000, rd_latency_histogram=law)
    unaccounted = drive("c", **failed["stats"], account_failed=False)
    later = drive("d", rd_operations=9, rd_total_time_ns=9000, rd_latency_histogram=law)
    idle = drive("e", rd_operations=0)
    measured = read_measurement(write(tmp_path, [plain, failed, unaccounted, later, idle]))
    a, discard, b, c, d = measured.histograms
    assert (a.requests, a.mean, a.quantile_bounds(0.5), a.edges.tolist()) == (4, 2e-6, (0.0, math.inf), [0.0, math.inf])
    assert (discard.op, discard.requests) == ("discard", 2)
    assert (b.requests, b.mean) == (4, 2e-6)
    assert (c.requests, c.mean, d.requests, d.mean) == (4, None, 4, None)
    assert d.mean_bounds() == (pytest.approx(0.25e-6), math.inf)
    assert measured.warnings == (
        "c read: the histogram has 4 requests and the counters 3, with a mean of 2.66667e-06 s: "
        "set later, or failed requests",
        "d read: the histogram has 4 requests and the counters 9, with a mean of 1e-06 s: "
        "set later, or failed requests",
    )
    assert "drive 4 has completed no request and is left out" in measured.comments
    assert "0 … inf" in str(measured)


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        ("no", "not JSON of query-blockstats"),
        ({"return": {}}, "no list of drives in it"),
        ([drive(rd_operations=0)], "no drive has completed a request"),
        ([3], "drive 0: drive must be a JSON object, not 3"),
        ([{"device": "a"}], "drive 0: stats must be a JSON object, not None"),
        ([drive(rd_operations=-1)], "drive 0: rd_operations must be a whole number >= 0, not -1"),
        ([drive(rd_operations=1, rd_total_time_ns=math.nan)], "drive 0: rd_total_time_ns must be a number, not NaN"),
        ([drive("a", rd_operations=1)] * 2, "histograms must be different ones, not two of 'a' read response"),
    ],
)
def test_bad_block_statistics_are_refused(tmp_path, content, wrong):
    path = write(tmp_path, content)
    with pytest.raises(TraceError, match=re.escape(f"{path}: {wrong}")):
        read_measurement(path, "blockstats")


@pytest.mark.parametrize(
    ("boundaries", "bins", "wrong"),
    [
        ([5, 5], [1, 1, 1], "edges must be >= 0 and rising"),
        ([9, 5], [1, 1, 1], "edges must be >= 0 and rising"),
        ([0, 5], [1, 1, 1], "edges must be >= 0 and rising"),
        ([5, math.nan], [1, 1, 1], "rd_latency_histogram.boundaries[1] must be a number, not NaN"),
        ([5, 9], [1, 2], "rd_latency_histogram must have one bin more than boundaries, not 2 and 2"),
        ([5, 9], [1, -1, 3], "rd_latency_histogram.bins[1] must be a whole number >= 0, not -1"),
        ([5, 9], [1, 0.5, 3], "rd_latency_histogram.bins[1] must be a whole number >= 0, not 0.5"),
        ([5, 9], None, "rd_latency_histogram.bins must be a list or a tuple, not None"),
        ([5, 9], [0, 0, 3], "mean must lie where the bins have it"),
    ],
)
def test_bad_histograms_of_qemu_are_refused(tmp_path, boundaries, bins, wrong):
    law = {"boundaries": boundaries, "bins": bins}
    path = write(tmp_path, [drive(rd_operations=3, rd_total_time_ns=12, rd_latency_histogram=law)])
    with pytest.raises(TraceError, match=re.escape(f"{path}: drive 0: {wrong}")):
        read_measurement(path)


# ------------------------------------------------------------------------------------------------------- any content


def test_other_content_is_refused(tmp_path):
    path = write(tmp_path, '{"a": 1}')
    with pytest.raises(TraceError, match=r"in none of the known formats \(fio, blockstats\)"):
        read_measurement(path)
    with pytest.raises(ValueError, match="format must be one of 'fio', 'blockstats', not 'x'"):
        read_measurement(path, "x")
    with pytest.raises(TraceError, match="no such file"):
        read_measurement(tmp_path / "none")


NUMBERS = st.one_of(
    st.integers(), st.floats(), st.sampled_from([0, -1, 1, 1e308, 5e-324, 2**53, 2**64, 10**400, math.nan, math.inf])
)
ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
GOOD = [
    fio(one(), one() | {"jobname": "k", "sync": {"total_ios": 1, "lat_ns": {"N": 1, "mean": 3, "bins": {"3": 1}}}}),
    fio(one(bins={"5": 1, "9": 1})),
    fio(
        job(
            read={"total_ios": 9000, "iops": 3, "clat_ns": {"min": 5, "max": 9, "mean": 7, "stddev": 1, "N": 9000}},
            write={"total_ios": 9000, "iops": 3, "clat_ns": {"min": 5, "max": 9, "mean": 7, "stddev": 1, "N": 9000}},
            latency_ns={"4": 0, "10": 99.98, "20": 0.01},
            latency_us={"2": 0.01},
        )
    ),
    json.loads(REAL),
]


def places(value, path=()):
    """Every place in a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def changed(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(value[path[0]], path[1:], new)
    return copy


@st.composite
def mutations(draw):
    value = draw(st.sampled_from(GOOD))
    for _ in range(draw(st.integers(1, 3))):
        value = changed(value, draw(st.sampled_from(list(places(value)))), draw(NUMBERS | ANYTHING))
    return value


def read_or_refused(path, format):
    try:
        measured = read_measurement(path, format)
    except TraceError as refused:
        text = str(refused)
        assert text.startswith(f"{path}: ")
        assert len(text.splitlines()) == 1
        return
    for law in measured.histograms:
        assert law.requests > 0
        for low, high in (law.mean_bounds(), law.quantile_bounds(0.5), law.quantile_bounds(0.999)):
            assert 0.0 <= low <= high
    assert all(0.0 <= rate < math.inf for rates in measured.throughput.values() for rate in rates.values())
    json.dumps(measured.to_dict(), allow_nan=False)
    for law in measured.histograms:
        recorded = (law.mean, law.stddev, law.minimum, law.maximum)
        assert all(0.0 <= value < math.inf for value in recorded if value is not None)


@given(mutations(), st.sampled_from([None, "fio", "blockstats"]))
@settings(deadline=None, max_examples=400)
def test_changed_files_are_read_or_refused(tmp_path_factory, value, format):
    read_or_refused(write(tmp_path_factory.mktemp("fuzz"), value), format)


@given(
    ANYTHING.map(json.dumps) | st.text(min_size=1).map(lambda text: text.encode("utf-8", "replace").decode()),
    st.sampled_from([None, "fio", "blockstats"]),
)
@settings(deadline=None)
def test_any_content_is_read_or_refused(tmp_path_factory, text, format):
    path = tmp_path_factory.mktemp("fuzz") / "any.json"
    path.write_bytes(text.encode() or b"0")
    read_or_refused(path, format)


@given(st.sampled_from(GOOD), st.integers(1, 2000), st.binary(max_size=4))
@settings(deadline=None)
def test_cut_and_scratched_files_are_read_or_refused(tmp_path_factory, value, at, scratch):
    text = json.dumps(value).encode()
    at %= len(text)
    for content in (text[: at + 1], text[:at] + scratch + text[at + len(scratch) :]):
        path = tmp_path_factory.mktemp("fuzz") / "cut.json"
        path.write_bytes(content)
        read_or_refused(path, None)
