"""Summaries: every figure against plain Python, however the trace is cut into blocks; table, words and picture."""

import itertools
import json
import math
import re
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtheory.traces import OPERATIONS, Trace, bundled_trace
from qtheory.traces.picture import figure
from qtheory.traces.statistics import sizes, times
from qtheory.traces.statistics.streams import nanoseconds, streams
from qtheory.traces.summary import SummaryTally, summarize
from qtheory.traces.trace import Block

NANO = 10**9
LAGS = (1, 2, 5, 10, 20, 50, 100)
WINDOWS = [m * 10**k for k in range(3, 18) for m in (1, 2)]


def random_trace(n=2000, seed=1, service=True):
    rng = np.random.default_rng(seed)
    response = rng.lognormal(-7, 1, n)
    return Trace(
        arrival=np.concatenate(([0.0], np.cumsum(rng.exponential(3e-3, n - 1)))),
        disk=np.arange(n) % 3,
        disks=["nvme0", "nvme2", "nvme10"],
        op=rng.integers(0, 5, n),
        offset=rng.integers(-1, 1 << 40, n),
        size=rng.choice([-1, 0, 512, 4096, 65536], n),
        response=response,
        service=response / 3 if service else None,
    )


def flat_trace(arrival, **more):
    """One disk, and nothing else to tell."""
    flat = np.zeros(len(arrival), int)
    return Trace(
        **({"arrival": arrival, "disk": flat, "disks": ["a"], "op": flat, "offset": flat, "size": flat} | more)
    )


# ------------------------------------------------------------------------------------------------- the slow twin


def plain_moments(values):
    mean = sum(values) / len(values)
    return mean, sum((v - mean) ** 2 for v in values) / len(values)


def plain_dispersion(clock, span, resolution):
    found = []
    for width in WINDOWS:
        windows = span // width
        if windows < 20 or width < resolution:
            continue
        counts = Counter(t // width for t in clock if t < windows * width)
        total = sum(counts.values())
        if total:
            mean = Fraction(total, windows)
            squares = sum((c - mean) ** 2 for c in counts.values()) + (windows - len(counts)) * mean**2
            found.append((width / NANO, float(squares / windows / mean)))
    return found


def plain_quantile(values, p):
    return sorted(values)[math.ceil(Fraction(str(p)) * len(values)) - 1]


def plain_outstanding(clock, response):
    """Time until the last completion, and the largest number as every arrival sees it [ns]."""
    ends = [a + r for a, r in zip(clock, response, strict=True)]
    most = max(sum(a <= now < end for a, end in zip(clock, ends, strict=True)) for now in clock)
    observed = max(ends) - clock[0]
    return observed, most


def plain_figures(trace, members):
    """The figures again, in plain Python."""
    whole = [round((float(t) - float(trace.arrival[0])) * 1e9) for t in trace.arrival]
    resolution = math.gcd(*(b - a for a, b in itertools.pairwise(whole)))
    clock = [whole[i] for i in members]
    gaps = [b - a for a, b in itertools.pairwise(clock)]
    mean, variance = plain_moments(gaps) if gaps else (None, None)
    sized = [int(trace.size[i]) for i in members if trace.size[i] >= 0]
    ops = Counter(OPERATIONS[trace.op[i]] for i in members)
    figures = {
        "requests": len(members),
        "rate": (len(trace) - 1) / (whole[-1] / 1e9) * len(members) / len(trace) if whole[-1] else None,
        "interarrival_mean": mean / 1e9 if gaps else None,
        "interarrival_scv": variance / mean**2 if len(gaps) > 1 and mean else None,
        "autocorrelation": [
            (lag, sum((a - mean) * (b - mean) for a, b in zip(gaps, gaps[lag:], strict=False)) / len(gaps) / variance)
            for lag in LAGS
            if len(gaps) - lag >= 20 and variance
        ],
        "dispersion": plain_dispersion(clock, whole[-1], resolution),
        "read_share": ops["read"] / len(members),
        "op_shares": [(op, ops[op] / len(members)) for op in OPERATIONS if ops[op]],
        "size_mean": sum(sized) / len(sized) if sized else None,
        "size_p50": plain_quantile(sized, 0.5) if sized else None,
        "size_p99": plain_quantile(sized, 0.99) if sized else None,
        "size_mix": sorted(
            ((size, count / len(sized)) for size, count in Counter(sized).items()), key=lambda x: (-x[1], x[0])
        )[:5],
        "mean_outstanding": None,
        "max_outstanding": None,
    }
    for kind in ("response", "service"):
        recorded = getattr(trace, kind)
        if recorded is None:
            figures |= {f"{kind}_{name}": None for name in ("mean", "scv", "p50", "p90", "p99", "p999", "max")}
            continue
        values = [float(recorded[i]) for i in members]
        mean, variance = plain_moments(values)
        figures[f"{kind}_mean"], figures[f"{kind}_max"] = mean, max(values)
        figures[f"{kind}_scv"] = variance / mean**2 if len(values) > 1 and mean else None
        for name, p in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)):
            figures[f"{kind}_{name}"] = plain_quantile(values, p)
        if kind == "response":
            observed, figures["max_outstanding"] = plain_outstanding(clock, [round(v * 1e9) for v in values])
            figures["mean_outstanding"] = sum(values) / (observed / 1e9) if observed else None
    return figures


def assert_same(row, figures, rel=1e-9):
    for name, value in figures.items():
        found = getattr(row, name)
        if value is None:
            assert found is None, name
        elif isinstance(value, list):
            assert [key for key, _ in found] == [key for key, _ in value], name
            assert [x for _, x in found] == pytest.approx([x for _, x in value], rel=rel, abs=1e-8), name
        elif re.search("_p[59]", name) and isinstance(value, float):
            assert found == pytest.approx(value, rel=times.QUANTILE_ERROR, abs=1e-9), name
        else:
            assert found == pytest.approx(value, rel=rel, abs=1e-12), name


def test_summary_figures_against_plain_python():
    trace = random_trace(3000)
    summary = trace.summary()
    assert summary.exact
    assert summary.error_bound == 0.0
    assert summary.error_bounds["response_quantile"] == 1 / 2048
    assert "sizes are over the requests that have one" in summary.warnings[0]
    assert_same(summary.total, plain_figures(trace, range(3000)))
    for d, row in enumerate(summary.disks):
        assert_same(row, plain_figures(trace, range(d, 3000, 3)))
    assert sum(row.rate for row in summary.disks) == pytest.approx(summary.total.rate)
    json.dumps(summary.to_dict(), allow_nan=False)


TICKS = st.sampled_from([1, 1000, 300_000, 10**6, 10**9])
COLUMNS = st.tuples(
    st.integers(0, 40),  # ticks since the one before
    st.integers(0, 3),  # disk
    st.integers(0, 4),  # op
    st.sampled_from([-1, 0, 512, 4096, 1 << 40]),
    st.sampled_from([0.0, 1e-9, 1e-6, 0.0013, 0.2, 7.0]),  # response
)


@settings(deadline=None, max_examples=80)
@given(
    rows=st.lists(COLUMNS, min_size=1, max_size=150),
    tick=TICKS,
    cuts=st.lists(st.integers(0, 150), max_size=6),
    timed=st.booleans(),
)
def test_any_trace_in_any_blocks(rows, tick, cuts, timed):
    gaps, disk, op, size, response = map(np.array, zip(*rows, strict=True))
    _, first, disk = np.unique(disk, return_index=True, return_inverse=True)
    disk = np.argsort(np.argsort(first))[disk]  # numbered as they appear
    names = [f"d{i}" for i in range(len(first))]
    arrival = (np.cumsum(gaps) - gaps[0]) * tick / 1e9
    trace = Trace(
        arrival=arrival, disk=disk, disks=names, op=op, offset=size, size=size,
        response=response if timed else None, service=response / 2 if timed else None,
    )  # fmt: skip
    whole = summarize(trace)
    assert_same(whole.total, plain_figures(trace, range(len(trace))))
    for d, row in enumerate(whole.disks):
        assert_same(row, plain_figures(trace, np.flatnonzero(disk == d).tolist()))
    compare(in_blocks(trace, sorted([0, *cuts, 150])).to_dict(), whole.to_dict())


def in_blocks(trace, cuts):
    tally = SummaryTally()
    block = Block(trace.arrival, trace.disk, trace.op, trace.offset, trace.size, trace.response, trace.service)
    for begin, end in itertools.pairwise(cuts):
        tally.add(block.take(slice(begin, end)))
    return tally.summary(trace.disks)


def compare(a, b):
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            compare(a[key], b[key])
    elif isinstance(a, list):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            compare(x, y)
    elif isinstance(a, float):
        assert a == pytest.approx(b, rel=1e-9, abs=1e-9)
    else:
        assert a == b


def test_blocks_of_a_long_trace_give_the_same_figures():
    rng = np.random.default_rng(2)
    n = 150_000
    trace = Trace(
        arrival=np.cumsum(rng.gamma(0.3, 1e-3, n)) - 1e-6,
        disk=np.sort(rng.integers(0, 20, n)) * 2 + rng.integers(0, 2, n),
        disks=[f"d{i}" for i in range(40)],
        op=rng.integers(0, 2, n),
        offset=np.zeros(n, int),
        size=512 * rng.geometric(0.1, n),
        response=rng.pareto(1.5, n) * 1e-3,
    )
    compare(in_blocks(trace, [*range(0, n, 17_001), n]).to_dict(), summarize(trace).to_dict())


# ------------------------------------------------------------------------------------------------ single figures


def test_summary_of_regular_arrivals():
    n = 40_001
    total = flat_trace(np.arange(n) / 1000, response=np.full(n, 0.004)).summary().total
    assert total.rate == pytest.approx(1000.0, rel=1e-12)
    assert total.interarrival_scv == 0.0
    assert total.autocorrelation == ()
    assert [window for window, _ in total.dispersion] == [1e-3, 2e-3, 1e-2, 2e-2, 0.1, 0.2, 1.0, 2.0]
    assert {index for _, index in total.dispersion} == {0.0}
    assert total.hurst is None
    assert total.max_outstanding == 4  # the fifth comes as the first goes
    assert total.response_scv == 0.0
    assert total.response_p50 == total.response_p999 == total.response_max == 0.004


def test_summary_of_a_single_request_says_nothing_it_does_not_know():
    one = Trace(arrival=[3.0], disk=[0], disks=["[red]a"], op=[4], offset=[-1], size=[-1])
    summary = one.summary()
    total = summary.total
    assert (
        total.rate is total.interarrival_scv is total.size_mean is total.response_mean is total.max_outstanding is None
    )
    assert total.dispersion == total.size_mix == total.autocorrelation == summary.rate_over_time == ()
    assert summary.clock_resolution is summary.outstanding_over_time is summary.response_times() is None
    assert "[red]a" in str(summary)
    assert "Too few arrivals to tell whether they are Poisson." in str(summary)
    with pytest.raises(ValueError, match="all: the trace is too short to tell its peakedness"):
        total.peakedness(None)


def test_variability_survives_any_scale():
    """Gaps of an hour with a nanosecond of jitter, and one huge gap before many tiny ones."""
    rng = np.random.default_rng(3)
    jitter = rng.integers(0, 2, 1000)
    clock = np.concatenate(([0], np.cumsum(100 * NANO + jitter)))  # 10⁵ s: a double still tells nanoseconds
    total = flat_trace(clock / 1e9).summary().total
    gaps = np.diff(nanoseconds(clock / 1e9)).tolist()
    mean, variance = plain_moments([Fraction(g) for g in gaps])
    assert total.interarrival_scv == pytest.approx(float(variance / mean**2), rel=1e-9)
    gaps = [3600 * NANO, *rng.integers(900, 1100, 30_000).tolist()]
    total = flat_trace(np.concatenate(([0], np.cumsum(gaps))) / 1e9).summary().total
    mean, variance = plain_moments([Fraction(g) for g in gaps])
    assert total.interarrival_scv == pytest.approx(float(variance / mean**2), rel=1e-9)


def test_the_clock_and_what_it_hides():
    seconds = flat_trace(np.repeat(np.arange(0.0, 400.0), 3)).summary()
    assert seconds.clock_resolution == 1.0
    assert "multiples of 1 s" in seconds.warnings[0]
    assert [window for window, _ in seconds.total.dispersion] == [1.0, 2.0, 10.0]
    micro = flat_trace(np.cumsum(np.random.default_rng(1).integers(0, 99, 1000)) * 1e-6 * 3).summary()
    assert micro.clock_resolution == 3e-6
    assert micro.warnings == ()
    assert flat_trace([0.0, 0.0]).summary().clock_resolution is None


def test_rate_and_outstanding_over_time_add_up():
    rng = np.random.default_rng(5)
    n = 50_000
    arrival = np.cumsum(rng.exponential(1e-3, n))
    response = rng.exponential(0.3, n)
    summary = flat_trace(arrival, response=response).summary()
    clock, ends = arrival - arrival[0], arrival - arrival[0] + response
    bins = len(summary.rate_over_time)
    assert 400 <= bins <= 1000
    edges = summary.bin_width * np.arange(bins + 1)
    counts = np.histogram(clock, edges)[0] - (clock[-1] == edges[-1])
    assert summary.rate_over_time == pytest.approx(counts / summary.bin_width)
    assert summary.disk_rates("a") == summary.rate_over_time
    area = [np.minimum(ends, hi) - np.maximum(clock, lo) for lo, hi in itertools.pairwise(edges)]
    means = [np.maximum(x, 0.0).sum() / summary.bin_width for x in area]
    assert summary.outstanding_over_time == pytest.approx(means, rel=1e-5)  # times in whole nanoseconds
    with pytest.raises(ValueError, match="disk must be among a, not 'b'"):
        summary.disk_rates("b")


def test_recorded_times_are_a_law():
    trace = random_trace(5000)
    law = trace.summary().response_times()
    assert law.counts.sum() == 5000
    assert len(law.edges) == len(law.counts) + 1
    assert law.quantile([0.0, 1.0]) == pytest.approx([trace.response.min(), trace.response.max()], rel=1 / 2048)
    at = np.quantile(trace.response, [0.1, 0.5, 0.99])
    assert law.sf(at) == pytest.approx([0.9, 0.5, 0.01], abs=2e-3)
    assert law.sf([-1.0, 0.0, 1e9]).tolist() == [1.0, 1.0, 0.0]
    one = trace.summary().service_times("nvme2")
    assert one.mean == pytest.approx(trace.service[trace.disk == 1].mean())
    assert flat_trace([0.0, 1.0], response=[0.0, 0.0]).summary().total.response_p99 == 0.0


def test_many_sizes_are_coarsened_with_a_word(monkeypatch):
    monkeypatch.setattr(sizes, "MOST_ENTRIES", 3000)
    n = 20_000
    size = np.random.default_rng(1).integers(0, 1 << 40, n)
    trace = flat_trace(np.arange(n) * 1e-3, size=size)
    summary = summarize(trace)
    bits = next(b for b in range(10, 0, -1) if len(np.unique(rounded_down(size, b))) <= 3000)
    assert f"rounded down to {bits} leading bits" in summary.warnings[0]
    assert summary.error_bounds["size_quantile"] == 2.0 ** (1 - bits)
    assert summary.total.size_mean == pytest.approx(size.mean(), rel=1e-12)
    assert summary.total.size_p50 == rounded_down(np.sort(size)[[n // 2 - 1]], bits)[0]
    compare(in_blocks(trace, [0, 777, 5000, n]).to_dict(), summary.to_dict())


def rounded_down(size, bits):
    drop = np.maximum(np.ceil(np.log2(np.maximum(size, 1) + 0.5)).astype(int) - bits, 0)
    return size >> drop << drop


def test_as_many_sizes_as_there_are_below_the_limit():
    size = np.arange(100_000) * 3 + 1
    total = flat_trace(np.arange(100_000) * 1e-3, size=size).summary().total
    assert (total.size_p50, total.size_p99) == (size[49_999], size[98_999])


def test_streams_are_laid_out_disk_by_disk():
    rng = np.random.default_rng(1)
    clock, disk = np.sort(rng.integers(0, 100, 50)), rng.integers(0, 7, 50)
    laid = streams(clock, disk, 9)
    assert laid.clock[:50].tolist() == clock.tolist()
    for d in range(9):
        part = slice(laid.bounds[d + 1], laid.bounds[d + 2])
        assert laid.clock[part].tolist() == clock[disk == d].tolist()
        assert clock[laid.order[part.start - 50 : part.stop - 50]].tolist() == clock[disk == d].tolist()


# ------------------------------------------------------------------------------------------------------ refusals


def test_what_a_tally_refuses():
    zero = np.zeros(2, int)
    block = Block(np.array([0.0, 1.0]), zero, zero, zero, zero, None, None)
    tally = SummaryTally()
    with pytest.raises(ValueError, match="at least one request"):
        tally.summary([])
    tally.add(block)
    with pytest.raises(ValueError, match="disks must have 1 names, one for each, not 2"):
        tally.summary(["a", "b"])
    with pytest.raises(ValueError, match="arrivals in order"):
        tally.add(block)
    with pytest.raises(ValueError, match="all have response times, or none"):
        tally.add(block._replace(arrival=np.array([2.0, 3.0]), response=np.ones(2)))


# ------------------------------------------------------------------------------------------------ words and picture


def test_the_table_has_a_row_for_each_disk_and_all():
    text = str(random_trace(service=False).summary())
    lines = text.splitlines()
    assert [line.split()[0] for line in lines if re.match("nvme|all ", line)] == ["nvme0", "nvme2", "nvme10", "all"]
    assert "commonest sizes: " in text
    assert "warning: " in text
    rows = [line for line in lines if re.match("nvme|all |disk|─", line)]
    assert max(map(len, rows)) < 160
    assert "response" not in str(flat_trace([0.0, 1.0]).summary())


def poisson_trace(rng, rate=1000.0, n=60_000, **more):
    return flat_trace(np.cumsum(rng.exponential(1 / rate, n)), **more)


def words(trace, service=None):
    return " ".join(summarize(trace, service).verdict)


def test_the_verdict_tells_poisson_from_bursts_regularity_and_trend():
    rng = np.random.default_rng(11)
    service = times.RecordedTimes(np.array([0.009, 0.011]), np.array([1]), 0.01, 0.0, 0.009, 0.011)
    calm = words(poisson_trace(rng), service)
    assert calm.startswith("Poisson arrivals are tenable at all time scales from 1 ms to 2 s")
    assert "load varies as under Poisson" in calm
    assert "not constant" not in calm
    batches = flat_trace(np.repeat(np.cumsum(rng.exponential(0.01, 6000)), 5))
    found = words(batches, service)
    assert "not tenable from 1 ms on" in found
    assert "bursty" in found
    assert "too short" in found
    regular = flat_trace(np.cumsum(rng.gamma(20.0, 1e-3 / 20, 60_000)))
    found = words(regular, service)
    assert "more regular" in found
    assert "longer than needed" in found
    rising = flat_trace(np.cumsum(rng.exponential(1e-3, 60_000) * np.linspace(1.0, 0.6, 60_000)))
    assert "The rate is not constant" in words(rising)
    slow = flat_trace(np.cumsum(np.repeat(rng.choice([0.95, 1.05], 60), 1000) * rng.exponential(1e-3, 60_000)))
    assert re.search(r"not tenable from \S+ m?s on; they are from 1 ms to", words(slow))


def test_the_verdict_knows_a_closed_loop():
    ends = np.cumsum(np.random.default_rng(1).integers(1, 2000, 2000)) * 1e-6
    arrival = np.concatenate((np.zeros(8), ends[:-8]))  # eight outstanding always
    assert "a looks closed-loop" in words(flat_trace(arrival, response=ends - arrival))
    open_loop = poisson_trace(np.random.default_rng(2), response=np.full(60_000, 0.01))
    assert "closed-loop" not in words(open_loop)


def test_the_recorded_service_times_tell_the_peakedness():
    rng = np.random.default_rng(4)
    trace = poisson_trace(rng, service=rng.exponential(0.01, 60_000))
    summary = trace.summary()
    z = summary.total.peakedness(summary.service_times())
    assert z == pytest.approx(1.0, abs=0.05)
    assert f"peakedness {z:.3g}" in " ".join(summary.verdict)
    long = words(poisson_trace(rng, service=np.full(60_000, 500.0)))
    assert "the trace cannot tell" in long


def test_the_picture_leaves_out_what_there_is_not():
    titles = [ax.get_title() for ax in figure(bundled_trace().summary()).axes]
    assert [title.split()[0].rstrip(",;") for title in titles[:5]] == [
        "Rate",
        "Index",
        "Outstanding",
        "Recorded",
        "Sizes",
    ]
    assert "correlation" in titles[5]
    one = Trace(arrival=[3.0], disk=[0], disks=["a"], op=[4], offset=[-1], size=[-1])
    assert figure(one.summary()).axes == []
    assert len(figure(flat_trace([0.0, 1.0, 1.5]).summary()).axes) == 2
