"""Published trace formats with a request a row: units, names, bad rows, and which reader takes which file."""

import bz2
import gzip
import lzma
import re
from pathlib import Path

import numpy as np
import pytest
from fuzz import mutated
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qtheory.traces import OPERATIONS, READERS, TraceError, bundled_trace, file, read_trace

DATA = Path(__file__).parents[2] / "shared" / "data"
QUIET = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

# Numbers of our own making. Beside each file what it says, worked out by hand:
# arrival since the first [s], disk, op, offset [B], size [B], response [s]; and the clock time of the first arrival.
SAMPLES = {
    "msr": (
        "128166400000000000,web,0,Read,1048576,4096,21300\n"
        "128166400000000001,web,1,Write,8192,16384,4750\n"
        "128166400030000001,db 2,0,write,0,512,10000000\n",
        [
            (0.0, "web_0", "read", 1048576, 4096, 0.00213),
            (0.0000001, "web_1", "write", 8192, 16384, 0.000475),
            (3.0000001, "db 2_0", "write", 0, 512, 1.0),
        ],
        1172166400.0,  # 128166400000000000 / 10^7 − 11644473600: 2007-02-22 17:46:40 UTC
    ),
    "spc": (
        "0,4096,2048,w,0.000000\n1,81920,512,R,0.013250\n0,10,1536,r,1.5\n",
        [
            (0.0, "asu0", "write", 2097152, 2048, None),
            (0.01325, "asu1", "read", 41943040, 512, None),
            (1.5, "asu0", "read", 5120, 1536, None),
        ],
        0.0,
    ),
    "ssdsim": (
        "125000 0 4096 8 0\n310500\t2   81920 16 1\n2000125001 10 0 1 1 \n",
        [
            (0.0, "unit0", "write", 2097152, 4096, None),
            (0.0001855, "unit2", "read", 41943040, 8192, None),
            (2.000000001, "unit10", "read", 0, 512, None),
        ],
        0.000125,
    ),
    "systor17": (
        "Timestamp,Response,IOType,LUN,Offset,Size\n"
        "1456100000.000250000,0.000500000,R,0,1048576,4096\n"
        "1456100000.000251000,0.002250000,W,4,81920,16384\n"
        "1456100002.000250000,1.000000000,,0,512,8192\n",
        [
            (0.0, "lun0", "read", 1048576, 4096, 0.0005),
            (0.000001, "lun4", "write", 81920, 16384, 0.00225),
            (2.0, "lun0", "other", 512, 8192, 1.0),
        ],
        1456100000.00025,
    ),
    "alibaba": (
        "17,W,1048576,4096,1577900000000000\n204,R,81920,16384,1577900000000750\n17,r,0,512,1577900060000000\n",
        [
            (0.0, "device17", "write", 1048576, 4096, None),
            (0.00075, "device204", "read", 81920, 16384, None),
            (60.0, "device17", "read", 0, 512, None),
        ],
        1577900000.0,
    ),
    "tencent": (
        "1538400000,4096,8,0,1017\n1538400000,81920,16,1,1204\n1538400007,0,1,1,1017\n",
        [
            (0.0, "volume1017", "read", 2097152, 4096, None),
            (0.0, "volume1204", "write", 41943040, 8192, None),
            (7.0, "volume1017", "write", 0, 512, None),
        ],
        1538400000.0,
    ),
    "cloudphysics": (
        "version,time,op,size,lbn\n"
        "1,900100,2a,4096,4096\n1,900100,28,16384,81920\n1,900103,35,0,0\n2,900104,8A,512,1\n1,900104,42,512,1\n"
        "1,900105,12,36,0\n",
        [
            (0.0, "disk0", "write", 2097152, 4096, None),
            (0.0, "disk0", "read", 41943040, 16384, None),
            (3.0, "disk0", "flush", 0, 0, None),
            (4.0, "disk0", "write", 512, 512, None),
            (4.0, "disk0", "discard", 512, 512, None),
            (5.0, "disk0", "other", 0, 36, None),
        ],
        900100.0,
    ),
}
HEADERS = {
    "systor17": "Timestamp,Response,IOType,LUN,Offset,Size",
    "alibaba": "device_id,opcode,offset,length,timestamp",
    "cloudphysics": "version,time,op,size,lbn",
}
SECONDS = "arrivals are recorded in whole seconds: shorter times between them are not known"
ALWAYS = {"tencent": (SECONDS,), "cloudphysics": (SECONDS,)}  # warned of in every file
QEMU = "1@10.000000:virtio_blk_handle_read vdev 0xa req 0xb sector 8 nsectors 16\n"

formats = pytest.mark.parametrize("format", SAMPLES)


def rows_of(trace):
    """What the trace holds, a tuple for each request."""
    response = [None] * len(trace) if trace.response is None else trace.response.tolist()
    names = [trace.disks[i] for i in trace.disk]
    ops = [OPERATIONS[i] for i in trace.op]
    return list(
        zip(trace.arrival.tolist(), names, ops, trace.offset.tolist(), trace.size.tolist(), response, strict=True)
    )


def skipped(trace):
    return sum(int(found[1]) for found in (re.match(r"(\d+) bad row", w) for w in trace.warnings) if found)


def left_out(trace):
    return sum(int(found[1]) for found in (re.match(r"(\d+) request.* left out", w) for w in trace.warnings) if found)


@formats
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_a_file_means_what_the_text_says(tmp_path, format, pack):
    text, rows, origin = SAMPLES[format]
    path = tmp_path / "no_suffix"
    for content in (text, text.replace("\n", "\r\n"), "\ufeff" + text):
        path.write_bytes(pack(content.encode()))
        for trace in (read_trace(path), read_trace(path, format)):
            assert rows_of(trace) == rows
            assert trace.origin == pytest.approx(origin, rel=1e-15, abs=1e-12)
            assert trace.warnings == ALWAYS.get(format, ())
            assert all(comment.startswith("assumed: ") for comment in trace.comments)
            assert len(trace.comments) == 1 or format in ("alibaba", "tencent")
    trace.write(tmp_path / "own.csv")
    assert rows_of(read_trace(tmp_path / "own.csv")) == rows


def test_the_assumptions_are_said(tmp_path):
    said = {}
    for format, (text, _, _) in SAMPLES.items():
        (tmp_path / "t").write_text(text)
        (said[format],) = read_trace(tmp_path / "t").comments
    assert said == {
        "msr": "assumed: time stamps are Windows file times (100 ns since 1601-01-01 UTC), response times count 100 ns",
        "spc": "assumed: blocks are 512 bytes",
        "ssdsim": "assumed: time is in nanoseconds, sectors are 512 bytes",
        "systor17": "assumed: time stamps are Unix time, exact to a microsecond",
        "alibaba": "assumed: time stamps are microseconds of Unix time",
        "tencent": "assumed: sectors are 512 bytes",
        "cloudphysics": "assumed: time is in whole seconds, blocks are 512 bytes, all rows are of one disk",
    }


@pytest.mark.parametrize("format", HEADERS)
def test_a_header_is_there_or_not(tmp_path, format):
    text, rows, _ = SAMPLES[format]
    body = text.removeprefix(HEADERS[format] + "\n")
    path = tmp_path / "t"
    for content in (body, f"{HEADERS[format]}\n{body}"):
        path.write_text(content)
        assert rows_of(read_trace(path, format)) == rows
    path.write_text(body + HEADERS[format] + "\n")  # a second file behind the first
    with pytest.raises(TraceError, match=rf"t:{len(rows) + 1}: \w+ must be a.* number: '{HEADERS[format]}'"):
        read_trace(path, format)
    path.write_text(HEADERS[format] + "\n")
    with pytest.raises(TraceError, match="t: there are no requests in it"):
        read_trace(path)


@formats
def test_line_numbers_and_disks_hold_across_blocks(tmp_path, monkeypatch, format):
    text, rows, _ = SAMPLES[format]
    header = text.startswith(HEADERS.get(format, "-"))
    body = text.splitlines()[header:]
    monkeypatch.setattr(file, "BLOCK", 100)
    path = tmp_path / "t"
    path.write_text("\n".join([*text.splitlines(), *body * 20, "oops", *body, ""]))
    with pytest.raises(TraceError, match=rf"t:{header + 21 * len(rows) + 1}: the row must have \d fields: 'oops'$"):
        read_trace(path)
    trace = read_trace(path, skip_bad_rows=True)
    assert len(trace) == 22 * len(rows)
    assert skipped(trace) == 1
    again = sorted(rows_of(trace), key=repr)
    assert again == sorted(rows * 22, key=repr)
    assert f"{21 * len(rows) - sum(row[0] == rows[-1][0] for row in rows) * 21} records out of order" in "".join(
        trace.warnings
    )


# ---------------------------------------------------------------------------------------------------- which reader


def samples(tmp_path):
    """A file in each format of which there is one here."""
    bundled_trace().select(stop=0.1).write(tmp_path / "own.csv")
    bundled_trace().select(stop=0.1).write(tmp_path / "own.parquet")
    found = {name: text.encode() for name, (text, _, _) in SAMPLES.items()}
    found |= {"qtheory": (tmp_path / "own.csv").read_bytes(), "parquet": (tmp_path / "own.parquet").read_bytes()}
    return found | {"qemu": QEMU.encode()}


def takers(head):
    return [name for name, reader in READERS.items() if reader.sniff(head)]


def test_each_file_has_one_reader(tmp_path):
    for name, content in samples(tmp_path).items():
        assert takers(content) == [name]
        assert takers(b"\n" + content) in ([], ["qemu"])


@formats
@QUIET
@given(data=st.data())
def test_no_line_is_in_two_formats(format, data):
    reader = READERS[format]
    lines = [st.just(HEADERS[format].encode())] if format in HEADERS else []
    lines += [st.from_regex(reader.ROW, fullmatch=True)] if hasattr(reader, "ROW") else []
    assert lines
    line = data.draw(st.one_of(lines))
    assert takers(line) == [format]
    assert takers(line + b"\r\nanything") == [format]


@formats
@pytest.mark.parametrize("other", SAMPLES)
def test_a_format_that_is_named_wrongly_is_refused(tmp_path, format, other):
    path = tmp_path / "t"
    path.write_text(SAMPLES[format][0])
    if other != format:
        with pytest.raises(TraceError, match="t:1: "):
            read_trace(path, other)


# --------------------------------------------------------------------------------------------------------- bad rows

WORDS = {
    "msr": "Read or Write",
    "spc": "R or W",
    "ssdsim": "1 (read) or 0 (write)",
    "systor17": "R, W or empty",
    "alibaba": "R or W",
    "tencent": "0 (read) or 1 (write)",
    "cloudphysics": "a SCSI operation code in hexadecimal",
}
FIELDS = {
    "msr": "arrival host disk op offset size response",
    "spc": "disk offset size op arrival",
    "ssdsim": "arrival disk offset size op",
    "systor17": "arrival response op disk offset size",
    "alibaba": "disk op offset size arrival",
    "tencent": "arrival offset size op disk",
    "cloudphysics": "version arrival op size offset",
}
DECIMAL = {("spc", "arrival"), ("systor17", "arrival"), ("systor17", "response")}
SECTORS = {
    ("spc", "offset"),
    ("ssdsim", "offset"),
    ("ssdsim", "size"),
    ("tencent", "offset"),
    ("tencent", "size"),
    ("cloudphysics", "offset"),
}
BEYOND = "must be below 4e+09 s, or its unit is wrong"
LATE = {  # just too late
    "msr": "156444736000000000",
    "spc": "4e9",
    "ssdsim": "4000000000000000000",
    "alibaba": "4000000000000000",
    "tencent": "4000000000",
    "cloudphysics": "4000000000",
}


def bad_fields():
    """Each field of each format spoiled in each way, with what must be said of it."""
    for format, names in FIELDS.items():
        for i, name in enumerate(names.split()):
            number = "a number" if (format, name) in DECIMAL else "a whole number"
            if name == "op":
                for bad in ("Trim", "2.0", "-1", "é", " ", *([""] if format not in ("systor17", "ssdsim") else [])):
                    if (format, bad) != ("ssdsim", " "):
                        yield format, i, bad, f"op must be {WORDS[format]}"
                continue
            if name == "host":
                yield format, i, "", "host is empty"
                yield format, i, 'we"b', "disk's name must not hold commas, quotes or line ends"
                continue
            for bad in ("x", "4k", "0x10", "1 ", "1e", "١"):
                if format != "ssdsim" or " " not in bad:
                    yield format, i, bad, f"{name} must be {number}"
            if (format, name) not in DECIMAL:
                for bad in ("1.5", "nan", "inf", "1e3", "99999999999999999999"):
                    yield format, i, bad, f"{name} must be a whole number"
                yield format, i, "-5", f"{name} must not be negative"
                if format != "ssdsim":
                    yield format, i, "", f"{name} is empty"
            if (format, name) in SECTORS:
                yield format, i, str(2**52), f"{name} must be below 2^52 sectors"
            if name == "arrival" and format in LATE:
                yield format, i, LATE[format], f"arrival {BEYOND}"
    yield "msr", 0, "116444735999999999", "arrival must be a Windows file time after 1970"
    for bad in ("4000000000.0", "-1", "nan", "inf", "1e400"):
        yield "systor17", 0, bad, "arrival must be a Unix time in seconds"
    yield "systor17", 0, "", "arrival is empty"
    for format, i, name in (("spc", 4, "arrival"), ("systor17", 1, "response")):
        yield format, i, "-0.5", f"{name} must not be negative"
        yield format, i, "nan", f"{name} must be finite"
        yield format, i, "inf", f"{name} must be finite"
    yield "spc", 4, "", "arrival is empty"
    yield "systor17", 1, "4e9", f"response {BEYOND}"
    yield "msr", 6, "40000000000000000", f"response {BEYOND}"
    for bad in ("0", "3"):
        yield "cloudphysics", 0, bad, "version must be 1 or 2"
    yield "cloudphysics", 2, "100", f"op must be {WORDS['cloudphysics']}"


BAD = list(bad_fields())


@pytest.mark.parametrize(("format", "i", "bad", "wrong"), BAD, ids=[f"{b[0]}-{b[1]}-{b[2]}" for b in BAD])
def test_bad_fields_are_refused_with_their_place_or_skipped_with_their_count(tmp_path, format, i, bad, wrong):
    header = [HEADERS[format]] if format in HEADERS else []
    good = SAMPLES[format][0].splitlines()[bool(header) and format != "alibaba"]
    separator = " " if format == "ssdsim" else ","
    fields = good.split(separator)
    row = separator.join([*fields[:i], bad, *fields[i + 1 :]])
    path = tmp_path / "t"
    path.write_text("\n".join([*header, good, row, good, row, ""]))
    line = len(header) + 2
    with pytest.raises(TraceError) as refused:
        read_trace(path, format)
    assert str(refused.value) == f"{path}:{line}: {wrong}: {row!r}"
    trace = read_trace(path, format, skip_bad_rows=True)
    assert len(trace) == 2
    assert trace.warnings == (f"2 bad rows skipped: {wrong} (first at line {line})", *ALWAYS.get(format, ()))


@formats
def test_rows_of_another_width_blank_and_garbled_rows(tmp_path, format):
    text, rows, _ = SAMPLES[format]
    good = text.splitlines()[-1].rstrip()
    separator = " " if format == "ssdsim" else ","
    path = tmp_path / "t"
    width = f"the row must have {len(FIELDS[format].split())} fields"
    first = len(text.splitlines()) + 1
    for bad, wrong in (
        (b"", width),
        (b" ", width),
        (good.rsplit(separator, 1)[0].encode(), width),
        (good.encode() + separator.encode() + b"7", width),
        (good.encode()[:-1] + b"\xff", "not UTF-8 text"),
    ):
        path.write_bytes(text.encode() + bad + b"\n" + good.encode() + b"\n")
        with pytest.raises(TraceError) as refused:
            read_trace(path)
        assert str(refused.value) == f"{path}:{first}: {wrong}: {bad.decode(errors='replace')!r}"
        trace = read_trace(path, skip_bad_rows=True)
        assert len(trace) == len(rows) + 1
        assert f"1 bad row skipped: {wrong} (first at line {first})" in trace.warnings


@formats
def test_a_blank_first_row_is_a_bad_row(tmp_path, format):
    text, rows, _ = SAMPLES[format]
    body = text.removeprefix(HEADERS.get(format, "-") + "\n")
    path = tmp_path / "t"
    path.write_text(f"\n{body}")
    with pytest.raises(TraceError, match=r"t:1: the row must have \d fields: ''"):
        read_trace(path, format)
    trace = read_trace(path, format, skip_bad_rows=True)
    assert (len(trace), skipped(trace)) == (len(rows), 1)


def test_spc_rows_may_have_more_fields_all_as_many(tmp_path):
    text, rows, _ = SAMPLES["spc"]
    path = tmp_path / "t"
    path.write_text("".join(f"{row},x,7\n" for row in text.splitlines()))
    assert rows_of(read_trace(path)) == rows
    path.write_text(f"{text}0,1,512,r,2.0,x\n")
    with pytest.raises(TraceError, match=r"t:4: the row must have 5 fields: '0,1,512,r,2\.0,x'"):
        read_trace(path)


def test_systor_requests_without_response_are_left_out_and_counted(tmp_path):
    text, rows, _ = SAMPLES["systor17"]
    path = tmp_path / "t"
    path.write_text(text + "1456100003.000000000,,,0,512,8192\n1456100004.000000000,,R,0,512,8192\n")
    trace = read_trace(path)
    assert rows_of(trace) == rows
    assert trace.warnings == ("2 requests without a response time, left out",)
    path.write_text("1456100003.000000000,,,0,512,8192\n")
    with pytest.raises(TraceError, match="t: there are no requests in it; 1 request without a response time, left out"):
        read_trace(path)


@QUIET
@given(st.lists(st.integers(0, 4 * 10**15 - 1), min_size=1, max_size=20))
def test_systor_microseconds_are_exact(tmp_path, stamps):
    path = tmp_path / "t"
    path.write_text("".join(f"{s // 10**6}.{s % 10**6:06d}000,0.000001000,R,0,0,512\n" for s in stamps))
    reader = READERS["systor17"]
    (frame,) = reader.records(file.TraceFile(path))
    assert reader.TICKS_PER_SECOND == 10**6
    assert frame["arrival"].to_list() == stamps


def test_records_out_of_order_are_sorted_and_counted(tmp_path):
    for format, (text, rows, _) in SAMPLES.items():
        header = text.startswith(HEADERS.get(format, "-"))
        lines = text.splitlines()
        path = tmp_path / "t"
        path.write_text("\n".join([*lines[:header], *lines[:header:-1], lines[header], ""]))
        trace = read_trace(path)
        assert sorted(rows_of(trace), key=repr) == sorted(rows, key=repr)
        assert (np.diff(trace.arrival) >= 0).all()
        (late,) = (w for w in trace.warnings if w.endswith(" out of order, sorted by arrival"))
        stamps = [row[0] for row in rows][::-1]
        assert int(late.split()[0]) == sum(stamp < max(stamps[: i + 1]) for i, stamp in enumerate(stamps))


# ---------------------------------------------------------------------------------------------------------- fuzzing


LETTERS = "0123456789.,-e\nRWnaif "


def check(path, data, format, named, skip):
    """Reading gives a trace in which every row is accounted for, or one line that says why not."""
    path.write_bytes(data)
    try:
        trace = read_trace(path, format if named else None, skip_bad_rows=skip)
    except TraceError as refused:
        wrong = str(refused)
    else:
        wrong = None
    if wrong is not None:
        assert wrong.startswith(str(path))
        assert "\n" not in wrong
        return
    lines = data.decode("utf-8-sig", "replace").replace("\r\n", "\n").removesuffix("\n").split("\n")
    lines = lines[lines[0] == HEADERS.get(format) :]
    assert len(trace) + skipped(trace) + left_out(trace) == len(lines)
    assert skip or not skipped(trace)
    assert np.isfinite(trace.arrival).all()
    assert (trace.offset >= 0).all()
    assert (trace.size >= 0).all()
    assert trace.response is None or (np.isfinite(trace.response).all() and (trace.response >= 0).all())


@formats
@QUIET
@given(data=st.data(), named=st.booleans(), skip=st.booleans())
def test_mutated_files_add_up(tmp_path, format, data, named, skip):
    check(tmp_path / "t", data.draw(mutated(SAMPLES[format][0].encode(), LETTERS)), format, named, skip)


@formats
@QUIET
@given(data=st.binary(max_size=300))
def test_any_bytes_are_refused_or_add_up(tmp_path, format, data):
    check(tmp_path / "t", data, format, named=True, skip=True)


@formats
@QUIET
@given(data=st.data())
def test_any_rows_of_fields_add_up(tmp_path, format, data):
    field = st.one_of(
        st.integers(-2, 2**65).map(str),
        st.floats().map(str),
        st.sampled_from(["R", "w", "Read", "1", "0", "2a", "", "128166400000000000", "1538400000"]),
        st.text("0123456789.e-+nafi RW\"'\0é", max_size=5),
    )
    width = len(FIELDS[format].split())
    rows = data.draw(st.lists(st.lists(field, min_size=width, max_size=width), min_size=1, max_size=5))
    separator = " " if format == "ssdsim" else ","
    check(tmp_path / "t", "".join(f"{separator.join(row)}\n" for row in rows).encode(), format, True, True)


# ------------------------------------------------------------------------------------------------ the real files

real = pytest.mark.skipif(not DATA.exists(), reason="outside data are not there")


@real
@pytest.mark.parametrize(
    ("name", "rows", "span", "disks", "reads"),
    [  # counted in the files with awk, sort and uniq
        ("formats/msr_hm_0.csv", 1000, (128166386567849604 - 128166385295514663) / 1e7, 1, 508),
        ("formats/systor17.csv.gz", 999, 2.447767, 1, 826),
        ("formats/tencent_cbs.csv", 500, 1.0, 109, 238),
        ("formats/cloudphysics.csv", 499, 151.0, 1, 0),
        ("spc/financial1_head_ssdsim.ascii", 10000, 259.601203125, 22, 4077),
        ("spc/wsrch-small.trace", 24783, 60.066625 - 0.011413, 6, 24779),
    ],
)
def test_real_files(name, rows, span, disks, reads):
    trace = read_trace(DATA / name)
    assert len(trace) == rows
    assert skipped(trace) == left_out(trace) == 0
    assert trace.span == pytest.approx(span, abs=1e-9)
    assert len(trace.disks) == disks
    assert int((trace.op == 0).sum()) == reads


@real
def test_real_responses():
    msr = read_trace(DATA / "formats/msr_hm_0.csv")
    assert (msr.disks, msr.origin) == (("hm_0",), pytest.approx(1172164929.5514663, rel=1e-16))
    assert [msr.response[0], msr.response[-1]] == [0.0002833, 0.0003499]
    assert msr.response.mean() == pytest.approx(0.0009894975, rel=1e-12)  # awk: 9894975 ticks over 1000 rows
    systor = read_trace(DATA / "formats/systor17.csv.gz")
    assert systor.response.mean() == pytest.approx(3.858071 / 999, rel=1e-12)  # awk: sum of the column


@real
@pytest.mark.parametrize(
    ("name", "mean", "scv"),
    [  # as data/README.md rounds them
        ("spc/financial1_head_ssdsim.ascii", "25.96", "10.3"),
        ("spc/wsrch-small.trace", "2.42", "1.8"),
    ],
)
def test_real_interarrival_times(name, mean, scv):
    between = np.diff(read_trace(DATA / name).arrival)
    assert f"{between.mean() * 1e3:.2f}" == mean
    assert f"{between.var() / between.mean() ** 2:.1f}" == scv
