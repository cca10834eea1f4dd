"""Traces: what is written reads back, what is bad is refused with its place, and figures match plain arithmetic."""

import bz2
import gzip
import json
import lzma
import math
import re
import sys
import tarfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from fuzz import mutated, read_or_refuse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qtheory.traces import READERS, Trace, TraceError, bundled_trace, file, read_trace
from qtheory.traces.fio import depth_sweep

FIO = Path(__file__).parent.parent.parent / "shared" / "data" / "fio" / "fio_json_selected.tar.xz"
SAMPLE = Path(__file__).parent.parent / "validation" / "qemu" / "sample-7.2.log"
HEADER = "arrival,disk,op,offset,size,response"
GOOD = f"""# qtheory-trace 1
# host: here
{HEADER}
0.000000,vda,read,1048576,4096,0.000213
0.000087,vdb,flush,,,0.001920
0.000100,vda,write,0,512,0.000100
"""


def csv(tmp_path, *rows, header=HEADER):
    path = tmp_path / "guest.csv"
    path.write_text("\n".join(["# qtheory-trace 1", header, *rows, ""]))
    return path


def same(a, b):
    for name in ("arrival", "disk", "op", "offset", "size", "response", "service"):
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None and y is None) or (x.dtype == y.dtype and np.array_equal(x, y)), name
    assert a.disks == b.disks
    assert a.comments == b.comments


def random_trace(n=2000, seed=1, service=True):
    rng = np.random.default_rng(seed)
    arrival = np.concatenate(([0.0], np.cumsum(rng.exponential(3e-3, n - 1))))
    response = rng.lognormal(-7, 1, n)
    return Trace(
        arrival=arrival,
        disk=np.arange(n) % 3,
        disks=["nvme0", "nvme2", "nvme10"],
        op=rng.integers(0, 5, n),
        offset=rng.integers(-1, 1 << 40, n),
        size=rng.choice([-1, 0, 512, 4096, 65536], n),
        response=response,
        service=response / 3 if service else None,
        comments=["host: a, b", ""],
    )


# ------------------------------------------------------------------------------------------ the project's own format


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
@pytest.mark.parametrize("service", [True, False])
def test_a_written_trace_reads_back_the_same(tmp_path, suffix, service):
    trace = random_trace(service=service)
    path = tmp_path / f"guest{suffix}"
    trace.write(path)
    again = read_trace(path)
    same(trace, again)
    assert again.source == str(path)
    assert again.warnings == ()
    first = path.read_bytes()
    again.write(path)
    assert path.read_bytes() == first


@given(
    st.lists(st.floats(0, 4e9, exclude_max=True), min_size=1, max_size=20),
    st.text(st.characters(exclude_characters=',"\r\n', exclude_categories=["Cs"]), min_size=1),
)
def test_all_numbers_and_names_survive_the_text(tmp_path_factory, times, name):
    arrival = np.sort(times) - min(times)
    flat = np.zeros(len(times), int)
    trace = Trace(arrival=arrival, disk=flat, disks=[name], op=flat, offset=flat, size=flat, response=times)
    path = tmp_path_factory.mktemp("t") / "t.csv"
    trace.write(path)
    same(trace, read_trace(path))


def test_the_documented_file_means_what_the_text_says(tmp_path):
    path = tmp_path / "no_suffix"
    for pack in (bytes, gzip.compress, bz2.compress, lzma.compress):
        path.write_bytes(pack(GOOD.encode()))
        trace = read_trace(path)
        assert trace.arrival.tolist() == [0.0, 0.000087, 0.0001]
        assert [trace.disks[i] for i in trace.disk] == ["vda", "vdb", "vda"]
        assert trace.op.tolist() == [0, 2, 1]
        assert trace.offset.tolist() == [1048576, -1, 0]
        assert trace.size.tolist() == [4096, -1, 512]
        assert trace.response.tolist() == [0.000213, 0.00192, 0.0001]
        assert trace.service is None
        assert trace.comments == ("host: here",)


def test_line_ends_of_windows_a_byte_order_mark_and_columns_in_any_order(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes("\ufeff# qtheory-trace 1\r\ndisk,arrival\r\nä,5\r\nb,7.5\r\n".encode())
    trace = read_trace(path)
    assert trace.disks == ("b", "ä")
    assert trace.arrival.tolist() == [0.0, 2.5]
    assert trace.op.tolist() == [4, 4]
    assert trace.response is None
    assert trace.warnings == ()


def test_a_comment_is_one_line(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"# qtheory-trace 1\n#a\rb\n#\n#  c\narrival,disk\n0,a\n")
    assert read_trace(path).comments == ("a b", "", " c")


def test_zstd_needs_a_newer_python(tmp_path):
    path = tmp_path / "t.csv.zst"
    path.write_bytes(b"\x28\xb5\x2f\xfd rest")
    with pytest.raises(TraceError, match=re.escape(str(path)) if sys.version_info >= (3, 14) else "Python 3.14"):
        read_trace(path)


def test_records_out_of_order_are_sorted_and_counted(tmp_path):
    path = csv(tmp_path, "1.0,b,read,,,", "0.5,a,write,,,", "0.5,b,read,,,", "2.0,a,read,,,")
    trace = read_trace(path)
    assert trace.arrival.tolist() == [0.0, 0.0, 0.5, 1.5]
    assert [trace.disks[i] for i in trace.disk] == ["a", "b", "b", "a"]
    assert trace.warnings == ("2 records out of order, sorted by arrival",)


def test_a_cut_last_line_is_told(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(GOOD.removesuffix("00\n"))
    assert read_trace(path).warnings == ("the last line has no line end: the file may have been cut short",)


def test_line_numbers_hold_across_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(file, "BLOCK", 100)
    rows = [f"{i / 1000},vd{'ab'[i % 2]},read,,," for i in range(200)]
    assert len(read_trace(csv(tmp_path, *rows))) == 200
    rows[150] = "oops"
    with pytest.raises(TraceError, match=r"guest.csv:153: the row must have 6 fields: 'oops'$"):
        read_trace(csv(tmp_path, *rows))
    trace = read_trace(csv(tmp_path, *rows), skip_bad_rows=True)
    assert len(trace) == 199
    assert trace.warnings == ("1 bad row skipped: the row must have 6 fields (first at line 153)",)


# ------------------------------------------------------------------------------------------------------ bad input

BAD_ROWS = [
    ("0.2,vda,read,0,512", "the row must have 6 fields"),
    ("0.2,vda,read,0,512,0.1,7", "the row must have 6 fields"),
    ("", "the row must have 6 fields"),
    ("soon,vda,read,0,512,0.1", "arrival must be a number"),
    (" 0.2,vda,read,0,512,0.1", "arrival must be a number"),
    (",vda,read,0,512,0.1", "arrival is empty"),
    ("-0.2,vda,read,0,512,0.1", "arrival must not be negative"),
    ("nan,vda,read,0,512,0.1", "arrival must be finite"),
    ("inf,vda,read,0,512,0.1", "arrival must be finite"),
    ("1721976657700,vda,read,0,512,0.1", "arrival must be below 4e+09 s, or its unit is wrong"),
    ("0.2,,read,0,512,0.1", "disk is empty"),
    ('0.2,"vda",read,0,512,0.1', "disk's name must not hold commas, quotes or line ends"),
    ("0.2,vda,Read,0,512,0.1", "op must be one of read, write, flush, discard, other"),
    ("0.2,vda,read,0x10,512,0.1", "offset must be a whole number"),
    ("0.2,vda,read,-512,512,0.1", "offset must not be negative"),
    ("0.2,vda,read,0,4k,0.1", "size must be a whole number"),
    ("0.2,vda,read,0,99999999999999999999,0.1", "size must be a whole number"),
    ("0.2,vda,read,0,-1,0.1", "size must not be negative"),
    ("0.2,vda,read,0,512,slow", "response must be a number"),
    ("0.2,vda,read,0,512,-0.1", "response must not be negative"),
    ("0.2,vda,read,0,512,nan", "response must be finite"),
    ("0.2,vda,read,0,512,1e400", "response must be finite"),
    ("0.2,vda,read,0,512,", "response is not recorded here, but in other rows: it must be in all or in none"),
]


@pytest.mark.parametrize(("row", "wrong"), BAD_ROWS)
def test_bad_rows_are_refused_with_their_place_or_skipped_with_their_count(tmp_path, row, wrong):
    good = "0.1,vda,read,0,512,0.1"
    path = csv(tmp_path, good, row, good, row, good)
    with pytest.raises(TraceError) as refused:
        read_trace(path)
    assert str(refused.value) == f"{path}:4: {wrong}: {row!r}"
    trace = read_trace(path, skip_bad_rows=True)
    assert len(trace) == 3
    assert trace.warnings == (f"2 bad rows skipped: {wrong} (first at line 4)",)
    if not row.endswith(","):  # a response missing everywhere is fine
        with pytest.raises(TraceError, match="no requests in it; 2 bad rows skipped"):
            read_trace(csv(tmp_path, row, row), skip_bad_rows=True)


def test_a_bad_row_is_shown_cut(tmp_path):
    with pytest.raises(TraceError, match=r"guest.csv:3: .*: 'x{120}…'$"):
        read_trace(csv(tmp_path, "x" * 5000))


def test_bytes_that_are_not_text_are_bad_rows(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(GOOD.encode() + b"0.2,vd\xff,read,0,512,0.1\n0.3,vda,read,0,512,0.1\n")
    with pytest.raises(TraceError, match=r"t.csv:7: not UTF-8 text: '0.2,vd\ufffd,"):
        read_trace(path)
    trace = read_trace(path, skip_bad_rows=True)
    assert len(trace) == 4
    assert trace.warnings == ("1 bad row skipped: not UTF-8 text (first at line 7)",)


@pytest.mark.parametrize(
    ("content", "format", "wrong"),
    [
        (b"", None, "t: the file is empty"),
        (gzip.compress(b"", mtime=0), None, "t: the file is empty"),
        (b"time,what\n1,2\n", None, "t:1: the content is in none of the known formats (qtheory, parquet, qemu"),
        (bytes(range(256)), None, "t:1: the content is in none of the known formats"),
        (bytes(range(256)), "qtheory", "t:1: the first line must be '# qtheory-trace 1'"),
        (b"\xff\xfe", "qtheory", "t:1: the first line must be '# qtheory-trace 1'"),
        (b"arrival,disk\n0,a\n", "qtheory", "t:1: the first line must be '# qtheory-trace 1': 'arrival,disk'"),
        (b"# qtheory-trace 2\n", None, "t:1: version '2' of the format is not known, only 1"),
        (b"# qtheory-trace 1\n", None, "t: the file ends before the header that names the columns"),
        (b"# qtheory-trace 1\n# a\narrival,op\n", None, "t:3: the header lacks the column 'disk': 'arrival,op'"),
        (b"# qtheory-trace 1\narrival,disk,latency\n", None, "t:2: the header has an unknown column 'latency'"),
        (b"# qtheory-trace 1\narrival,disk,disk\n", None, "t:2: the header has the column 'disk' twice"),
        (b"# qtheory-trace 1\narrival,disk\n", None, "t: there are no requests in it"),
        (GOOD.encode(), "parquet", "t: not a Parquet file"),
        (GOOD.encode(), "qemu", "t: there are no virtio_blk_handle_read, _handle_write and _rw_complete events in it"),
        (b"PAR1" + bytes(40) + b"PAR1", None, "t: the Parquet data are cut short or damaged"),
        (b"BZh9 no", None, "t: cannot be read (Invalid data stream)"),
    ],
)
@pytest.mark.parametrize("skip", [True, False])
def test_files_that_are_no_trace_are_refused(tmp_path, content, format, wrong, skip):
    path = tmp_path / "t"
    path.write_bytes(content)
    with pytest.raises(TraceError) as refused:
        read_trace(path, format, skip_bad_rows=skip)
    assert str(refused.value).startswith(f"{tmp_path}/{wrong}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_packed_files_cut_short_are_refused(tmp_path, pack):
    rng = np.random.default_rng(3)
    rows = "".join(f"{t:.9f},vda,read,,,\n" for t in np.sort(rng.random(20000)))
    whole = pack(f"# qtheory-trace 1\n{HEADER}\n{rows}".encode())
    path = tmp_path / "t.csv.packed"
    path.write_bytes(whole)
    assert len(read_trace(path)) == 20000
    for kept in (len(whole) - 1, len(whole) // 2, 20):
        path.write_bytes(whole[:kept])
        with pytest.raises(TraceError, match="the compressed data are cut short or damaged"):
            read_trace(path, skip_bad_rows=True)


def test_files_that_cannot_be_opened(tmp_path):
    with pytest.raises(TraceError, match=r"nowhere.csv: no such file"):
        read_trace(tmp_path / "nowhere.csv")
    with pytest.raises(TraceError, match="is a directory"):
        read_trace(tmp_path)
    with pytest.raises(TraceError, match="cannot be read"):
        read_trace("nul\0")
    with pytest.raises(ValueError, match=r"format must be one of 'qtheory', 'parquet', 'qemu', .*, not 'floppy'"):
        read_trace(csv(tmp_path, "0,a,,,,"), "floppy")


@pytest.mark.parametrize(
    ("columns", "wrong"),
    [
        ({"arrival": [0.0]}, ": the column 'disk' is missing"),
        ({"arrival": ["0"], "disk": ["a"]}, ": the column 'arrival' must hold numbers, not String"),
        ({"arrival": [0.0], "disk": ["a"], "size": [1.5]}, ": the column 'size' must hold whole numbers, not Float64"),
        ({"arrival": [0.0], "disk": ["a"], "x": [1]}, ": unknown column 'x'"),
        ({"arrival": [0.0, None], "disk": ["a", "b"]}, ":2: arrival is empty: ',b'"),
        ({"arrival": [0.0, math.nan], "disk": ["a", "b"]}, ":2: arrival must be finite"),
        ({"arrival": [0.0, 1.0], "disk": ["a", None]}, ":2: disk is empty"),
        ({"arrival": [0.0], "disk": ["a"], "op": ["R"]}, ":1: op must be one of"),
        ({"arrival": [0.0], "disk": [["a"]]}, ""),
        ({"arrival": [0.0], "disk": ["a"], "size": pl.Series([2**64 - 1], dtype=pl.UInt64)}, ": the Parquet data"),
    ],
)
def test_bad_parquet(tmp_path, columns, wrong):
    path = tmp_path / "t.parquet"
    pl.DataFrame(columns).write_parquet(path)
    with pytest.raises(TraceError) as refused:
        read_trace(path)
    assert str(refused.value).startswith(f"{path}{wrong}")


def test_a_damaged_number_in_parquet_is_found(tmp_path):
    path = tmp_path / "t.parquet"
    trace = random_trace(20)
    trace.write(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    with pytest.raises(TraceError, match=r"t.parquet: the Parquet data are damaged \(the checksum differs\)"):
        read_trace(path)
    path.write_bytes(gzip.compress(whole))
    same(read_trace(path), trace)


def test_parquet_of_another_program(tmp_path):
    path = tmp_path / "t.parquet"
    pl.DataFrame({"arrival": [3, 4], "disk": ["b", "a"], "op": ["read", None]}).write_parquet(path)
    trace = read_trace(path)
    assert trace.arrival.tolist() == [0.0, 1.0]
    assert trace.disks == ("a", "b")
    assert trace.op.tolist() == [0, 4]


# ---------------------------------------------------------------------------------------------------------- fuzzing

QUIET = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
QEMU = """1@10.000000:virtio_blk_handle_read vdev 0xa req 0xb sector 8 nsectors 16
1@10.000100:virtio_blk_handle_write vdev 0xc req 0xd sector 16 nsectors 8
2025-07-24T10:00:00.000001Z virtio_blk_rw_complete vdev 0xc req 0xd ret 0
1@10.000250:virtio_blk_rw_complete vdev 0xa req 0xb ret 0
"""


def skipped(trace):
    return sum(int(found[1]) for found in (re.match(r"(\d+) bad row", w) for w in trace.warnings) if found)


@QUIET
@given(st.binary(max_size=400), st.sampled_from([None, *READERS]))
def test_random_bytes_are_refused(tmp_path, data, format):
    read_or_refuse(tmp_path / "t", data, format)


@QUIET
@given(st.lists(st.text('01.,-eainfrdw\r"# \0é'), max_size=8).map("\n".join))
def test_random_rows_add_up(tmp_path, body):
    trace = read_or_refuse(tmp_path / "t", f"# qtheory-trace 1\narrival,disk\n{body}".encode())
    if trace is not None:
        rows = body.replace("\r\n", "\n").removesuffix("\n").split("\n")
        assert len(trace) + skipped(trace) == len(rows)
        assert np.isfinite(trace.arrival).all()


@QUIET
@given(mutated(GOOD.encode()), st.booleans())
def test_mutated_text_adds_up(tmp_path, data, skip):
    trace = read_or_refuse(tmp_path / "t", data, skip=skip)
    if trace is not None:
        lines = data.decode("utf-8-sig", "replace").replace("\r\n", "\n").removesuffix("\n").split("\n")
        heading = next(i for i, line in enumerate(lines) if not line.startswith("#"))
        garbled = sum("\ufffd" in comment for comment in lines[1:heading])
        assert len(trace) + skipped(trace) == len(lines) - heading - 1 + garbled
        assert skip or not skipped(trace)
        str(trace.summary())


@QUIET
@given(mutated(gzip.compress(GOOD.encode(), mtime=0)))
def test_mutated_gzip_is_refused_or_means_the_same(tmp_path, data):
    trace = read_or_refuse(tmp_path / "t", data, skip=False)
    assert trace is None or len(trace) == 3


@QUIET
@given(mutated(QEMU.encode()))
def test_mutated_logs_are_read_or_refused(tmp_path, data):
    trace = read_or_refuse(tmp_path / "t", data)
    assert trace is None or 1 <= len(trace) <= 8


@QUIET
@given(data=st.data())
def test_mutated_parquet_is_read_or_refused(tmp_path, data):
    whole = tmp_path / "whole.parquet"
    if not whole.exists():
        random_trace(20).write(whole)
    trace = read_or_refuse(tmp_path / "t.parquet", data.draw(mutated(whole.read_bytes())))
    if trace is not None:
        assert np.array_equal(trace.arrival, random_trace(20).arrival)


# ------------------------------------------------------------------------------------------------------------- QEMU


def log(tmp_path, *lines):
    path = tmp_path / "trace.log"
    path.write_text("\n".join([*lines, ""]))
    return path


OLD = [
    "warning: TCG doesn't support requested feature",
    "7@1721976657.000000:virtio_blk_handle_read vdev 0xa1 req 0x1 sector 2048 nsectors 8",
    "7@1721976657.000001:virtqueue_pop vq 0x1 elem 0x1 in_num 2 out_num 1",
    "7@1721976657.000010:virtio_blk_handle_write vdev 0xb2 req 0x2 sector 0 nsectors 1",
    "7@1721976657.000200:virtio_blk_rw_complete vdev 0xa1 req 0x1 ret 0",
    "7@1721976657.000300:virtio_blk_handle_read vdev 0xb2 req 0x1 sector 4 nsectors 16",
    "7@1721976657.000350:virtio_blk_rw_complete vdev 0xb2 req 0x1 ret -5",
    "8@1721976657.000410:virtio_blk_rw_complete vdev 0xb2 req 0x2 ret 0",
]


def dated(line):
    """The line as QEMU 10.1 writes it."""
    return re.sub(r"^\d@1721976657\.(\d+):", r"2024-07-26T06:50:57.\1Z ", line)


@pytest.mark.parametrize("lines", [OLD, [dated(line) for line in OLD]])
def test_qemu_logs_of_both_formats_and_recycled_pointers(tmp_path, lines):
    trace = read_trace(log(tmp_path, *lines))
    assert trace.arrival.tolist() == [0.0, 0.00001, 0.0003]
    assert trace.response.tolist() == [0.0002, 0.0004, 0.00005]
    assert trace.disks == ("disk0", "disk1")
    assert trace.disk.tolist() == [0, 1, 1]
    assert trace.op.tolist() == [0, 1, 0]
    assert trace.offset.tolist() == [2048 * 512, 0, 4 * 512]
    assert trace.size.tolist() == [8 * 512, 512, 16 * 512]
    assert trace.comments == ("disk0: vdev 0xa1", "disk1: vdev 0xb2")
    assert trace.warnings == ("1 request failed (ret is not 0), kept",)


def test_qemu_events_without_partner_are_counted(tmp_path):
    trace = read_trace(log(
        tmp_path,
        "7@1.000000:virtio_blk_rw_complete vdev 0xa req 0x9 ret 0",
        "7@1.000000:virtio_blk_handle_read vdev 0xa req 0x1 sector 0 nsectors 8",
        "7@1.000010:virtio_blk_handle_read vdev 0xa req 0x1 sector 8 nsectors 8",
        "7@1.000015:virtio_blk_rw_complete vdev 0xa req 0x1 ret 0",
        "7@1.000020:virtio_blk_rw_complete vdev 0xa req 0x1 ret 0",
        "7@1.000030:virtio_blk_handle_read vdev 0xa req 0x1 sector 0 nsectors 8",
        "7@1.000030:virtio_blk_handle_read vdev 0xa req 0x2 sector 0 nsectors 8",
    ))  # fmt: skip
    assert trace.response.tolist() == [0.000015, 0.00001]
    assert trace.warnings == (
        "2 requests without a completion in the log, left out",
        "1 completion without a request in the log, left out",
        "1 request under a pointer still in flight: paired oldest first, with uncertain response times",
    )


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("virtio_blk_rw_complete vdev 0xa req 0x1 ret 0", "malformed trace event (without time stamp?)"),
        ("7@1.0001:virtio_blk_rw_complete vdev 0xa req 0x1 ret 0", "malformed trace event (without time stamp?)"),
        ("7@1.000100:virtio_blk_handle_read vdev 0xa req", "malformed trace event (without time stamp?)"),
        ("2025-13-24T10:00:00.000001Z virtio_blk_rw_complete vdev 0xa req 0x1 ret 0", "no such date or time"),
        ("7@1.000100:virtio_blk_handle_read vdev 0xa req 0x3 ret 0", "the arguments are another event's"),
        ("7@1.000100:virtio_blk_handle_read vdev 0xa req 0x3 sector 9999999999999999999 nsectors 8", "sector and nsec"),
        ("7@0.999999:virtio_blk_rw_complete vdev 0xa req 0x1 ret 0", "the completion is stamped before its request"),
    ],
)
def test_bad_qemu_events_are_refused_or_skipped(tmp_path, line, wrong):
    path = log(
        tmp_path,
        "7@1.000000:virtio_blk_handle_read vdev 0xa req 0x1 sector 0 nsectors 8",
        "7@1.000000:virtio_blk_handle_read vdev 0xa req 0x2 sector 0 nsectors 8",
        "7@1.000050:virtio_blk_rw_complete vdev 0xa req 0x2 ret 0",
        line,
    )
    with pytest.raises(TraceError) as refused:
        read_trace(path)
    assert str(refused.value).startswith(f"{path}:4: {wrong}")
    assert repr(line) in str(refused.value)
    trace = read_trace(path, skip_bad_rows=True)
    assert len(trace) == 1
    assert trace.warnings[0].startswith(f"1 bad row skipped: {wrong}")


def test_a_real_qemu_log():
    if not SAMPLE.exists():
        pytest.skip("needs validation/qemu, which is in the repository only")
    trace = read_trace(SAMPLE)
    lines = SAMPLE.read_text().splitlines()
    assert len(trace) == sum("virtio_blk_handle_" in line for line in lines)
    assert trace.warnings == ()
    first = re.fullmatch(
        r"\d+@([\d.]+):virtio_blk_handle_(\w+) vdev (\w+) req (\w+) sector (\d+) nsectors (\d+)", lines[0]
    )
    ended = next(line for line in lines if "rw_complete" in line and f"req {first[4]} " in line)
    assert trace.response[0] == pytest.approx(float(ended.split("@")[1].split(":")[0]) - float(first[1]), abs=1e-6)
    assert (trace.offset[0], trace.size[0]) == (512 * int(first[5]), 512 * int(first[6]))


def test_the_bundled_trace():
    trace = bundled_trace()
    assert len(trace.disks) == 4
    assert trace.response is not None
    assert trace.warnings == ()


# -------------------------------------------------------------------------------------------------------------- fio


def run(tmp_path, name, jobs, **top):
    path = tmp_path / name
    path.write_text(json.dumps({"fio version": "fio-3.33", **top, "jobs": jobs}))
    return path


def entry(read, write=0.0, name="job", **options):
    return {"jobname": name, "error": 0, "job options": options, "read": {"iops": read}, "write": {"iops": write}}


def test_depths_and_rates_of_fio_runs(tmp_path):
    grouped = run(tmp_path, "grouped", [entry(700.0, 300.0, iodepth="8", numjobs="4", group_reporting="1")])
    apart = run(tmp_path, "apart", [entry(10.0, iodepth="2", numjobs="3")] * 3)
    two = run(
        tmp_path,
        "two",
        [entry(10.0, name="a", iodepth="3"), entry(0, 5.0, name="b")],
        **{"global options": {"iodepth": "9"}},
    )
    sync = run(tmp_path, "sync", [entry(50.0, ioengine="psync", iodepth="32", numjobs="5")])
    sync.write_text("note: both iodepth >= 1 and synchronous I/O engine are selected {1}\n" + sync.read_text())
    assert depth_sweep([grouped, apart, two, sync]) == ([5, 6, 12, 32], [50.0, 30.0, 15.0, 1000.0])


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        ("fio: failed", "not fio JSON"),
        ("{", "not fio JSON"),
        ("[1]", "no 'jobs' in it"),
        ('{"jobs": []}', "no 'jobs' in it"),
        ('{"jobs": [3]}', "jobs[0]: "),
        ('{"jobs": [{"read": {"iops": 5}}]}', "jobs[0]: it has no options, so its depth is unknown"),
        (json.dumps({"jobs": [entry(0.0, iodepth="4")]}), "no I/O"),
        (json.dumps({"jobs": [entry(math.nan, iodepth="4")]}), "jobs[0]: read iops must be a finite number"),
        (json.dumps({"jobs": [entry(1.0, iodepth="0")]}), "jobs[0]: iodepth and numjobs must be at least 1"),
        (json.dumps({"jobs": [entry(1.0, iodepth="x")]}), "jobs[0]: invalid literal"),
        (json.dumps({"jobs": [entry(1.0, iodepth="1") | {"error": 5}]}), "jobs[0]: it failed with error 5"),
        (json.dumps({"jobs": [entry(1.0)], "global options": [1]}), "jobs[0]: "),
    ],
)
def test_bad_fio_results_are_refused(tmp_path, content, wrong):
    path = tmp_path / "run.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=re.escape(f"{path}: {wrong}")):
        depth_sweep([path])


def test_fio_runs_that_do_not_make_a_sweep(tmp_path):
    a = run(tmp_path, "a", [entry(10.0, iodepth="4")])
    b = run(tmp_path, "b", [entry(10.0, iodepth="2", numjobs="2")])
    with pytest.raises(ValueError, match=re.escape(f"{b}: depth 4 is measured twice, also in {a}")):
        depth_sweep([a, b])
    with pytest.raises(ValueError, match="paths must have at least one"):
        depth_sweep([])
    with pytest.raises(ValueError, match="no such file"):
        depth_sweep([tmp_path / "c"])


@pytest.mark.skipif(not FIO.exists(), reason="outside data are not there")
@pytest.mark.parametrize(
    ("device", "jobs", "depths", "rates"),
    [  # read in the files by eye; the table of the data's README rounds the same numbers
        ("SB-RKT4P-2TB_4096", "1", [1, 2, 8], {1: 14059.140237, 2: 26047.94751, 8: 47716.193097, 64: 246533.597145}),
        ("8x2TBRAID5MDADM", "1", [1, 2], {1: 106.131564, 2: 203.066156, 16: 845.66318, 32: 1140.324004}),
        ("8x2TBRAID5MDADM", "16", [16, 32], {16: 837.350702, 32: 1123.859929, 256: 1325.012333}),
    ],
)
def test_real_fio_results(tmp_path, device, jobs, depths, rates):
    with tarfile.open(FIO) as archive:
        archive.extractall(tmp_path, filter="data")
    found, throughput = depth_sweep(sorted(tmp_path.glob(f"{device}/randread-*-{jobs}.json")))
    assert set(depths) <= set(found)
    measured = dict(zip(found, throughput, strict=True))
    assert {depth: measured[depth] for depth in rates} == rates


# ---------------------------------------------------------------------------------------------------- Trace, summary


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"arrival": []}, "arrival must have at least one request"),
        ({"arrival": [0.0, 2.0, 1.0]}, "arrival must be in order"),
        ({"arrival": [0.0, 1.0, math.nan]}, r"arrival\[2\] must be a time"),
        ({"response": [0.0, -1.0, 1.0]}, r"response\[1\] must be a time"),
        ({"response": [0.0]}, "response must have one value for each request"),
        ({"disk": [0, 2, 1]}, r"disk\[1\] must be from 0 to 1, not 2"),
        ({"disk": [0, 0, 0]}, r"disks\[1\] \('b'\) must have at least one request"),
        ({"disks": ["a", "a"]}, "disks must have different names"),
        ({"disks": ["a", "b,c"]}, r"disks\[1\] must be a name without commas"),
        ({"op": [0, 1, 5]}, r"op\[2\] must be from 0 to 4, not 5"),
        ({"size": [1, 2, 2.5]}, "size must hold whole numbers"),
        ({"offset": [1, -2, 2]}, r"offset\[1\] must be from -1"),
        ({"comments": ["a\nb"]}, r"comments\[0\] must be one line"),
    ],
)
def test_a_trace_refuses_what_does_not_fit(change, wrong):
    arguments = {"arrival": [0.0, 1.0, 2.0], "disk": [0, 1, 0], "disks": ["a", "b"], "op": [0, 1, 2]}
    arguments |= {"offset": [0, 0, 0], "size": [1, 1, 1]}
    Trace(**arguments)
    with pytest.raises(ValueError, match=wrong):
        Trace(**arguments | change)


def test_select_cuts_and_keeps_the_clock():
    trace = random_trace()
    part = trace.select(disks=["nvme10", "nvme0"], start=1.0, stop=2.0)
    chosen = [i for i in range(len(trace)) if i % 3 != 1 and 1.0 <= trace.arrival[i] < 2.0]
    assert part.arrival.tolist() == trace.arrival[chosen].tolist()
    assert part.disks == ("nvme0", "nvme10")
    assert [part.disks[i] for i in part.disk] == [trace.disks[trace.disk[i]] for i in chosen]
    assert part.service.tolist() == trace.service[chosen].tolist()
    with pytest.raises(ValueError, match="disks must be among nvme0, nvme2, nvme10, not 'sda'"):
        trace.select(disks="sda")
    with pytest.raises(ValueError, match="no request"):
        trace.select(start=1e6)
    with pytest.raises(ValueError, match=r"path must end in \.csv"):
        trace.write("trace.txt")
    with pytest.raises(ValueError, match="read-only"):
        trace.arrival[0] = 1.0
