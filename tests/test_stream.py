"""Traces that stay in their file: the same requests, figures and replays as when they are read whole."""

import contextlib
import gzip
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import qtheory as qt
from qtheory.traces import Trace, TraceError, file, read_trace, records, scan_trace
from qtheory.traces.trace import joined

OPS = ["read", "write", "flush"]


def write(path, arrival, disk, op, service=None):
    lines = ["# qtheory-trace 1", "# origin: 1700000000.5", "# by hand", "arrival,disk,op,size,response,service"]
    service = [0.001] * len(arrival) if service is None else service
    for i, (t, d, o, s) in enumerate(zip(arrival, disk, op, service, strict=True)):
        lines.append(f"{t!r},sd{d},{OPS[o]},{512 * (i % 3)},{2 * s!r},{s!r}")
    path.write_text("\n".join([*lines, ""]))
    return path


def random_file(path, n=3000, disks=5, seed=1, late=0):
    rng = np.random.default_rng(seed)
    arrival = np.cumsum(rng.exponential(1e-3, n)).round(6)
    order = np.arange(n)
    for i in rng.choice(n - 20, late, replace=False):
        order[i], order[i + 5] = order[i + 5], order[i]
    disk = rng.integers(0, disks, n) ** 2 % 11
    return write(path, arrival[order].tolist(), disk, rng.integers(0, 3, n), rng.exponential(5e-4, n).tolist())


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(file, "BLOCK", 2000)
    monkeypatch.setattr(records, "HELD", 64)


def whole(stream):
    """All blocks of a stream as one, its disks counted in the order of the names."""
    block = joined(list(stream))
    names = stream.survey.names
    return block._replace(disk=np.array([stream.disks.index(name) for name in names])[block.disk])


def same(stream, trace):
    block = whole(stream)
    assert stream.disks == trace.disks
    for name in block._fields:
        x, y = getattr(block, name), getattr(trace, name)
        assert (x is None and y is None) or np.array_equal(x, y), name
    survey = stream.survey
    assert len(stream) == len(trace)
    assert (survey.origin, tuple(survey.comments), survey.warnings) == (trace.origin, trace.comments, trace.warnings)
    assert stream.rates == pytest.approx(trace.rates, rel=1e-12)
    assert stream.has_service == (trace.service is not None)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("late", [0, 40])
def test_a_stream_has_the_requests_of_the_trace(tmp_path, late):
    path = random_file(tmp_path / "t.csv", late=late)
    trace = read_trace(path)
    assert trace.origin == pytest.approx(1700000000.5, abs=0.01)
    assert bool(trace.warnings) == bool(late)
    same(scan_trace(path), trace)
    packed = tmp_path / "t.csv.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    same(scan_trace(packed), read_trace(packed))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_a_stream_writes_what_the_trace_writes(tmp_path, suffix):
    path = random_file(tmp_path / "t.csv")
    scan_trace(path).write(tmp_path / f"stream{suffix}")
    read_trace(path).write(tmp_path / f"trace{suffix}")
    a, b = read_trace(tmp_path / f"stream{suffix}"), read_trace(tmp_path / f"trace{suffix}")
    for name in a.block._fields:
        assert np.array_equal(getattr(a, name), getattr(b, name)), name
    assert (a.disks, a.comments, a.origin) == (b.disks, b.comments, b.origin)
    if suffix != ".parquet":
        assert (tmp_path / f"stream{suffix}").read_bytes() == (tmp_path / f"trace{suffix}").read_bytes()
    same(scan_trace(tmp_path / f"stream{suffix}"), a)


SELECTIONS = [
    {"disks": "sd4"},
    {"disks": ["sd9", "sd0"], "operations": ("read", "flush")},
    {"start": 0.5, "stop": 1.25},
    {"operations": "write", "start": 2.9},
]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("selection", SELECTIONS)
def test_selecting_from_a_stream_is_selecting_from_the_trace(tmp_path, selection):
    path = random_file(tmp_path / "t.csv")
    chosen = read_trace(path).select(**selection)
    same(scan_trace(path, **selection), chosen)
    if "operations" in selection:
        asked = selection["operations"]
        names = {asked} if isinstance(asked, str) else set(asked)
        assert {qt.traces.OPERATIONS[i] for i in chosen.op} == names
    assert chosen.arrival.min() >= selection.get("start", 0.0)
    assert chosen.arrival.max() < selection.get("stop", 9.0)


def test_what_cannot_be_selected_is_named(tmp_path):
    path = random_file(tmp_path / "t.csv", n=100)
    trace = read_trace(path)
    with pytest.raises(ValueError, match=r"operations must be one of 'read', 'write', .*, not 'reed'"):
        trace.select(operations="reed")
    with pytest.raises(ValueError, match=r"stop must be later than start=2.0, not 1.0"):
        scan_trace(path, start=2.0, stop=1.0)
    with pytest.raises(ValueError, match=r"no request is selected by start=100.0"):
        trace.select(start=100.0)
    with pytest.raises(TraceError, match=r"t.csv: no request is selected by disks=\('sd77',\)"):
        len(scan_trace(path, disks="sd77"))


@pytest.mark.usefixtures("small_blocks")
def test_a_record_too_late_for_a_stream_is_refused_and_read_whole(tmp_path):
    arrival = np.arange(1.0, 2001.0).tolist()
    path = write(tmp_path / "t.csv", [*arrival, 0.5], [0] * 2001, [0] * 2001)
    with pytest.raises(TraceError, match="out of order by more than 64 others"):
        len(scan_trace(path))
    assert read_trace(path).arrival[:2].tolist() == [0.0, 0.5]


@pytest.mark.usefixtures("small_blocks")
def test_bad_rows_are_met_as_when_read_whole(tmp_path):
    path = random_file(tmp_path / "t.csv")
    lines = path.read_text().splitlines()
    lines[1500] = "1.5,sd1,read,512,,0.001"
    lines[2500] = "oops"
    path.write_text("\n".join([*lines, ""]))
    with pytest.raises(TraceError) as streamed:
        len(scan_trace(path))
    with pytest.raises(TraceError) as read:
        read_trace(path)
    assert str(streamed.value) == str(read.value)
    assert ":1501: response is not recorded here, but in other rows" in str(read.value)
    same(scan_trace(path, skip_bad_rows=True), read_trace(path, skip_bad_rows=True))


@pytest.mark.usefixtures("small_blocks")
def test_a_time_recorded_only_later_is_a_bad_row(tmp_path):
    rows = [f"{i / 1000},a,{'' if i < 500 else 0.1}" for i in range(1000)]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["# qtheory-trace 1", "arrival,disk,response", *rows, ""]))
    with pytest.raises(TraceError, match=r"t.csv:503: response is recorded here, but not in the rows before"):
        read_trace(path)
    assert len(scan_trace(path, skip_bad_rows=True)) == 500


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("service", ["recorded", "drawn"])
@pytest.mark.parametrize("queue_length", [None, 3])
def test_replaying_a_stream_is_replaying_the_trace(tmp_path, service, queue_length):
    path = random_file(tmp_path / "t.csv", n=5000)
    trace, stream = read_trace(path), scan_trace(path)
    disks = [qt.Disk(qt.Poisson(1.0), buffer=8)] * len(trace.disks)
    engine = qt.Engine(disks, qt.Device(servers=2, service=qt.Exponential(mean=8e-4)), queue_length, hold="ring")
    asked = {"seed": 3, "service": service, "speedup": 1.5, "requests": 4000}
    assert qt.simulate(engine, trace=stream, **asked).to_dict() == qt.simulate(engine, trace=trace, **asked).to_dict()


def test_progress_is_shown_and_changes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("qtheory.progress.PATIENCE", 0.0)
    path = random_file(tmp_path / "t.csv")
    assert len(scan_trace(path, progress=True)) == 3000
    assert len(scan_trace(path)) == 3000


# ----------------------------------------------------------------------------------- merging, scaling


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 50), min_size=1, max_size=20), st.integers(1, 3), st.sampled_from([0.0, 7.5]))
def test_merging_the_parts_of_a_trace_gives_the_trace(times, parts, origin):
    arrival = np.sort(np.array(times, dtype=float)) / 10
    n = len(arrival)
    trace = Trace(
        arrival=arrival - arrival[0],
        disk=np.arange(n) % min(n, 3),
        disks=["a", "b", "c"][: min(n, 3)],
        op=np.arange(n) % 3,
        offset=np.arange(n),
        size=np.arange(n),
        origin=origin,
    )
    bounds = [*np.linspace(0, trace.span, parts, endpoint=False), math.inf]
    pieces = []
    for start, stop in itertools.pairwise(sorted(set(bounds))):
        with contextlib.suppress(ValueError):  # a part without requests
            pieces.append(trace.select(start=start, stop=stop))
    merged = pieces[0].merged(*pieces[1:])
    assert np.array_equal(merged.arrival, trace.arrival)
    assert np.array_equal(merged.offset, trace.offset)
    assert [merged.disks[i] for i in merged.disk] == [trace.disks[i] for i in trace.disk]


def test_merged_traces_stand_on_one_clock(tmp_path):
    early = write(tmp_path / "a.csv", [0.0, 1.0], [1, 1], [0, 0])
    late = write(tmp_path / "b.csv", [0.0, 0.25], [2, 1], [0, 0])
    late.write_text(late.read_text().replace("1700000000.5", "1700000001.0"))
    both = read_trace(late).merged(read_trace(early))
    assert both.arrival.tolist() == [0.0, 0.5, 0.75, 1.0]
    assert [both.disks[i] for i in both.disk] == ["sd1", "sd2", "sd1", "sd1"]
    assert both.origin == 1700000000.5
    assert both.comments == ("by hand", "by hand")
    bare = Path(tmp_path, "c.csv")
    bare.write_text("# qtheory-trace 1\narrival,disk\n0,a\n")
    with pytest.raises(ValueError, match=r"others must all have an origin or none: .*c.csv has none"):
        both.merged(read_trace(bare))


def test_scaling_stretches_arrivals_only():
    trace = qt.bundled_trace()
    twice = trace.scaled(0.5)
    assert twice.rates == pytest.approx(2 * trace.rates, rel=1e-12)
    assert np.array_equal(twice.response, trace.response)
    with pytest.raises(ValueError, match=r"factor must be .*, not 0"):
        trace.scaled(0)
