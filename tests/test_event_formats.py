"""Readers of block-layer events and fio's logs: what each format means, by hand, and what is refused."""

import gzip
import itertools
import random
import re
import shutil
import subprocess

import numpy as np
import pytest
from fuzz import mutated, read_or_refuse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qtheory.traces import READERS, TraceError, biosnoop, blkparse, completed, file, read_trace, scan_trace

BLKPARSE = """\
  8,0    1        1     0.000000000  1071  A   W 2048 + 8 <- (8,1) 0
  8,0    1        2     0.000000100  1071  Q   W 2048 + 8 [fio]
  8,0    1        3     0.000000200  1071  G   W 2048 + 8 [fio]
  8,0    1        4     0.000000250  1071  P   N [fio]
  8,0    1        5     0.000001100  1072  Q  WS 2056 + 16 [a ] + 8 [b]
  8,0    1        6     0.000001200  1072  M  WS 2056 + 16 [a ] + 8 [b]
  8,0    1        7     0.000002100   212  D   W 2048 + 24 [kworker/1:1H]
259,12   0        1     0.000002200   300  Q  RA 0 + 256 [(null)]
259,12   0        2     0.000002300   300  X  RA 0 / 128 [(null)]
259,12   0        3     0.000002400   300  D  RA 0 + 128 [(null)]
259,12   0        4     0.000002600   300  D  RA 128 + 128 [(null)]
  8,0    0        1     0.000003100     0  C   W 2048 + 24 [0]
259,12   0        5     0.000005000     0  C  RA 128 + 128 [0]
259,12   0        6     0.000007200     0  C  RA 0 + 128 [0]
  8,0    1        8     0.000010000 34004  Q FWS [sync]
  8,0    1        9     0.000010100 34004  G FWS [sync]
  8,0    1       10     0.000011000 31088  D  FN [kworker/0:2H]
  8,0    1       11     0.000014000     0  C  FN 0 [0]
  8,0    1       12     0.000014100     0  C  WS 0 [0]
  8,0    1       13     0.000015000    77  Q  DS 4096 + 64 [fstrim]
  8,0    1       14     0.000016000    77  D  DS 4096 + 64 [fstrim]
  8,0    1       15     0.000018000    77  C  DS 4096 + 64 (   18000) [0]
  8,0    1       16     0.000019000    78  m   N cfq78S / served: vt=12 [x]
  8,0    1       17     0.000020000    78  D   R 36 (12 01 00 ..) [multipathd]
  8,0    1       18     0.000021000     0  C   R (12 01 00 ..) [0]
  8,0    1       19     0.000022000    78  U   N [fio] 1
CPU0 (sda):
 Reads Queued:           1,      128KiB	 Writes Queued:           4,       44KiB
 Read depth:             2        	 Write depth:             1
 IO unplugs:             1        	 Timer unplugs:           0

Throughput (R/W): 0KiB/s / 0KiB/s
Events (sda): 26 entries
Skips: 0 forward (0 -   0.0%)
"""
LATENCY = """\
0, 500000, 0, 4096, 61440, 0
2, 1000000, 1, 8192, 0, 0
2, 2500000, 2, 4096, 4096, 1
5, 1000, 0, 512, 1024, 0
"""
IOLOG = """\
fio version 3 iolog
22 /dev/vda add
123 /dev/vda open
150 /dev/vda read 61440 4096
400 /dev/vdb write 0 512
400 /dev/vda trim 8192 4096
900 /dev/vda sync 61440 0
950 /dev/vdb datasync 0 0
3523 /dev/vda close
"""
IOLOG2 = """\
fio version 2 iolog
/dev/vda add
/dev/vda open
/dev/vda read 0 4096
/dev/vda wait 1500 0
/dev/vda write 4096 4096
/dev/vda wait 50 0
/dev/vda sync 0 0
/dev/vda close
"""
BIOSNOOP = """\
TIME(s)     COMM           PID     DISK      T SECTOR     BYTES  QUE(ms) LAT(ms)
0.000000    kworker/u72:1  13379   nvme0n1   W 2048       4096      0.10    0.50
0.000300    a b 7 sda R 1  22177   sdb       R 16         512       0.00    0.20
0.002000    jbd2/sdb-8     615     sdb       FF 0          0          0.25    1.00
"""
PLAIN_BIOSNOOP = """\
TIME(s)     COMM           PID     DISK      T SECTOR     BYTES  P LAT(ms)
0.000000    xfsaild/md0    456     xvdb      W 8          1048576S    0.40
0.001000    xfsaild/md0    456     xvdb      R 0          4096   ?    0.25
"""
BPFTRACE = """\
Attached 4 probes
TIME(ms)     DISK ID        COMM             PID    LAT(ms)
             MAJOR MINOR
611          259   0        ba sh            4179        10
612          8     16       cksum            4179         0
"""
OTHERS = {
    "qtheory": b"# qtheory-trace 1\narrival,disk\n0,vda\n",
    "qemu": b"1@10.000000:virtio_blk_handle_read vdev 0xa req 0xb sector 8 nsectors 16\n",
    "parquet": b"PAR1....PAR1",
    "msr": b"128166372003061629,hm,0,Read,383496192,32768,1331\n",
    "spc": b"0,303567,3584,W,0.026214\n",
    "ssdsim": b"26214000 1 303567 7 0\n",
    "systor17": b"Timestamp,Response,IOType,LUN,Offset,Size\n1456095145.133076000,0.000806000,R,0,8192,4096\n",
    "tencent": b"1538323200,12910952,128,0,1063\n",
    "alibaba": b"419,W,8792731648,16384,1577808144360767\n",
    "cloudphysics": b"version,time,op,size,lbn\n1,5633898,2a,512,42932745\n",
}  # numbers as in the documents of these formats
SAMPLES = {
    "blkparse": [BLKPARSE],
    "fio-latency": [LATENCY],
    "fio-iolog": [IOLOG, IOLOG2],
    "biosnoop": [BIOSNOOP, PLAIN_BIOSNOOP, BPFTRACE],
}
MINE = [(name, sample) for name, samples in SAMPLES.items() for sample in samples]


def write(tmp_path, text, name="t"):
    path = tmp_path / name
    path.write_text(text)
    return path


def skipped(trace):
    return sum(int(found[1]) for found in (re.match(r"(\d+) bad row", w) for w in trace.warnings) if found)


def disks(trace):
    return [trace.disks[i] for i in trace.disk]


def counts(trace):
    """Of a blkparse trace: how many rows of each kind."""
    line = next(comment for comment in trace.comments if comment.startswith("rows: "))
    return {kind: int(count) for count, kind in (part.split(" ") for part in line.removeprefix("rows: ").split(", "))}


# ------------------------------------------------------------------------------------------------------- all of them


def test_each_reader_knows_its_own_samples_and_no_others():
    for name in SAMPLES:
        for other, sample in [*((n, s.encode()) for n, s in MINE), *OTHERS.items()]:
            assert READERS[name].sniff(sample) == (name == other), (name, other)
    for name, reader in READERS.items():
        for other, sample in MINE:
            assert reader.sniff(sample.encode()) == (name == other), (name, other)


@pytest.mark.parametrize(("name", "sample"), MINE)
def test_packed_named_or_found_with_windows_line_ends_and_streamed_means_the_same(tmp_path, name, sample):
    plain = read_trace(write(tmp_path, sample))
    path = tmp_path / "other"
    path.write_bytes(gzip.compress(sample.replace("\n", "\r\n").encode()))
    streamed = list(scan_trace(path))
    for trace in (read_trace(path), read_trace(path, name)):
        for column in ("arrival", "disk", "op", "offset", "size", "response", "service"):
            assert np.array_equal(getattr(trace, column), getattr(plain, column)), column
        assert trace.disks == plain.disks
        assert trace.comments == plain.comments
        assert trace.warnings == plain.warnings == ()
    assert np.concatenate([block.arrival for block in streamed]).tolist() == plain.arrival.tolist()


@pytest.mark.parametrize(("name", "sample"), MINE)
def test_small_blocks_mean_the_same(tmp_path, name, sample, monkeypatch):
    plain = read_trace(write(tmp_path, sample), name)
    # blkparse: all kinds of events are in the first of two blocks, which decides; others: a row or two in a block
    monkeypatch.setattr(file, "BLOCK", 1000 if name == "blkparse" else 60)
    cut = read_trace(write(tmp_path, sample), name)
    for column in ("arrival", "disk", "op", "offset", "size", "response", "service"):
        assert np.array_equal(getattr(cut, column), getattr(plain, column)), column


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("content", [b"nothing of it\n", bytes(range(256)), b"\n", b"\xff\xfe"])
@pytest.mark.parametrize("skip", [True, False])
def test_files_of_another_kind_are_refused(tmp_path, name, content, skip):
    path = tmp_path / "t"
    path.write_bytes(content)
    with pytest.raises(TraceError, match=re.escape(str(path))) as refused:
        read_trace(path, name, skip_bad_rows=skip)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("name", "sample"), MINE)
def test_bytes_that_are_not_text_are_bad_rows(tmp_path, name, sample):
    path = tmp_path / "t"
    good = len(read_trace(write(tmp_path, sample)))
    lines = sample.encode().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], b"\xff\xfe\n", *lines[3:]]))
    with pytest.raises(TraceError, match=r"t:4: not UTF-8 text: '"):
        read_trace(path)
    trace = read_trace(path, skip_bad_rows=True)
    assert len(trace) == good
    assert trace.warnings == ("1 bad row skipped: not UTF-8 text (first at line 4)",)


def test_records_out_of_order_are_sorted_and_counted(tmp_path):
    lines = IOLOG.splitlines(keepends=True)
    trace = read_trace(write(tmp_path, "".join([*lines[:3], *reversed(lines[3:])])))
    plain = read_trace(write(tmp_path, IOLOG))
    assert trace.arrival.tolist() == plain.arrival.tolist()
    assert trace.warnings == ("4 records out of order, sorted by arrival",)


# ---------------------------------------------------------------------------------------------------------- blkparse


def test_blkparse_merges_splits_flushes_and_what_is_passed_over(tmp_path):
    trace = read_trace(write(tmp_path, BLKPARSE))
    assert np.rint((trace.arrival + trace.origin) * 1e9).tolist() == [100, 1100, 2200, 10000, 15000]
    assert disks(trace) == ["8:0", "8:0", "259:12", "8:0", "8:0"]
    assert trace.op.tolist() == [1, 1, 0, 2, 3]
    assert trace.offset.tolist() == [2048 * 512, 2056 * 512, 0, -1, 4096 * 512]
    assert trace.size.tolist() == [4096, 8192, 131072, -1, 32768]
    assert trace.response.tolist() == [3.0e-6, 2.0e-6, 5.0e-6, 4.0e-6, 3.0e-6]
    assert trace.service.tolist() == [1.0e-6, 1.0e-6, 4.8e-6, 3.0e-6, 2.0e-6]
    assert trace.warnings == ()
    assert sum(counts(trace).values()) == len(BLKPARSE.splitlines())
    used = {"Q": 5, "D": 5, "C": 6, "X": 1}
    assert counts(trace) == used | {"A": 1, "G": 2, "M": 1, "P": 1, "U": 1, "m": 1, "command": 2, "summary": 8}


def events(*rows):
    """Lines of one device from `time action rest`."""
    return "".join(
        f"  8,0    1 {i:8d} {float(time):15.9f}   100  {action:>2} {rest}\n"
        for i, (time, action, rest) in enumerate(row.split(" ", 2) for row in rows)
    )


def test_blkparse_with_fewer_events(tmp_path):
    full = [f"{time} {kind} R 0 + 8 [0]" for time, kind in ((0.1, "Q"), (0.2, "D"), (0.5, "C"))]
    full += [f"{time} {kind} R 8 + 8 [0]" for time, kind in ((0.6, "Q"), (0.7, "D"), (0.9, "C"))]

    def only(letters):
        return read_trace(write(tmp_path, events(*(row for row in full if row[4] in letters))))

    def assumed(trace):
        return [comment for comment in trace.comments if comment.startswith("assumed")]

    def close(found, wanted):
        assert found == pytest.approx(wanted, abs=1e-12)

    for letters, origin, response, service in [
        ("QDC", 0.1, [0.4, 0.3], [0.3, 0.2]),
        ("QC", 0.1, [0.4, 0.3], None),
        ("QD", 0.1, None, None),
        ("Q", 0.1, None, None),
        ("DC", 0.2, [0.3, 0.2], [0.3, 0.2]),
        ("D", 0.2, None, None),
        ("C", 0.5, None, None),
    ]:
        trace = only(letters)
        close(trace.origin, origin)
        close(trace.arrival, [0, {"Q": 0.5, "D": 0.5, "C": 0.4}[letters[0]]])
        assert trace.offset.tolist() == [0, 4096]
        for found, wanted in ((trace.response, response), (trace.service, service)):
            assert (found is None) == (wanted is None)
            if wanted is not None:
                close(found, wanted)
        assert trace.warnings == ()
        earlier = {"D": "issued (D)", "C": "completed (C)"}.get(letters[0])
        wanted = f"assumed: requests arrive when they are {earlier}: the earlier events are not in the log"
        assert assumed(trace) == ([] if earlier is None else [wanted])


def test_blkparse_requeues_partial_completions_and_places_used_again(tmp_path):
    trace = read_trace(write(tmp_path, events(
        "1 Q W 0 + 8 [a]", "2 D W 0 + 8 [a]", "3 R W 0 + 8 [0]", "4 D W 0 + 8 [a]", "7 C W 0 + 8 [0]",
        "11 Q W 0 + 16 [a]", "12 D W 0 + 16 [a]", "13 C W 0 + 4 [0]", "15 C W 4 + 12 [-5]",
        "20 Q R 8 + 8 [a]", "21 Q R 8 + 8 [a]", "22 D R 8 + 8 [a]", "23 D R 8 + 8 [a]", "24 C R 8 + 8 [0]",
        "29 C R 8 + 8 [0]",
    )))  # fmt: skip
    assert (trace.arrival + trace.origin).tolist() == [1, 11, 20, 21]
    assert trace.response.tolist() == [6, 4, 4, 8]
    assert trace.service.tolist() == [3, 3, 2, 6]
    assert trace.warnings == (
        "1 completion failed (error is not 0), kept",
        "1 request at a place still in flight: paired oldest first, with uncertain response times",
    )


def test_blkparse_a_split_beyond_2_to_the_32(tmp_path):
    far = 3 * 2**32 - 64
    trace = read_trace(write(tmp_path, events(
        f"1 Q R {far} + 128 [a]", f"2 X R {far} / 0 [a]", f"3 D R {far + 64} + 64 [a]", f"4 D R {far} + 64 [a]",
        f"5 C R {far} + 64 [0]", f"6 C R {far + 64} + 64 [0]",
    )))  # fmt: skip
    assert (trace.offset.tolist(), trace.size.tolist()) == ([far * 512], [65536])
    assert (trace.response.tolist(), trace.service.tolist()) == ([5], [3])


def test_blkparse_flushes(tmp_path):
    def flushes(*rows):
        trace = read_trace(write(tmp_path, events(*rows)))
        return (trace.arrival + trace.origin).tolist(), trace.response.tolist(), trace.warnings

    two = ["1 Q FWS [a]", "2 D FN [k]", "3 Q FWS [b]", "5 C FN 0 [0]"]
    two += ["6 D FN [k]", "7 C WS 0 [0]", "9 C FN 0 [0]", "9.5 C WS 0 [0]"]
    assert flushes(*two) == ([1, 3], [4, 6], ())
    assert flushes("1 Q FWS [a]", "2 Q FWS [b]", "5 C FWS 0 [0]", "9 C FWS 8 [0]") == ([1, 2], [4, 7], ())
    assert flushes("1 Q FWS [a]", "2 Q FWS [b]", "5 C FN 0 [0]", "5.1 C WS 0 [0]") == ([1, 2], [4, 3], ())
    assert flushes("1 D FN [a]", "5 C FN 0 [0]", "5.1 C WS 0 [0]") == ([1], [4], ())
    written = ["1 Q FWFS 8 + 8 [a]", "2 D FN [k]", "3 C FN 0 [0]", "4 D WS 8 + 8 [k]", "6 C WS 8 + 8 [0]"]
    written += ["7 D FN [k]", "8 C FN 0 [0]", "8.1 C WS 8 [0]"]
    assert flushes(*written) == ([1], [5], ())
    alone = read_trace(write(tmp_path, events("1 C FN 0 [0]", "2 C WS 8 + 8 [0]")))
    assert len(alone) == 1
    assert alone.warnings == ("1 completion of no sectors left out: flushes and ends of writes cannot be told apart",)


def test_blkparse_counts_what_has_no_partner(tmp_path):
    trace = read_trace(write(tmp_path, events(
        "1 D R 0 + 8 [a]", "1 C R 0 + 8 [0]", "2 Q R 8 + 8 [a]", "3 Q R 16 + 8 [a]", "4 D R 8 + 8 [a]",
        "5 C R 8 + 8 [0]", "6 C R 16 + 8 [0]", "7 Q R 24 + 8 [a]",
    )))  # fmt: skip
    assert (trace.arrival + trace.origin).tolist() == [2]
    assert trace.warnings == (
        "2 requests without a completion in the log, left out",
        "2 completions without a request in the log, left out",
    )
    issued = events("2 Q R 8 + 8 [a]", "4 D R 8 + 8 [a]", "5 C R 8 + 8 [0]").replace(" 8,0 ", "253,0 ")
    passed_on = read_trace(write(tmp_path, issued + events("2 Q R 8 + 8 [a]", "5 C R 8 + 8 [0]")))
    assert passed_on.response.tolist() == [3, 3]
    assert passed_on.service is None


def test_blkparse_against_a_model_that_knows_the_answer(tmp_path):
    """Requests next to each other are merged, issued together or in two parts, and complete in any order."""
    rng = random.Random(7)
    lines, expected, clock, sector = [], [], 0, 0
    for _ in range(300):
        clock += rng.randrange(1, 5000)
        sector += 1000
        op = rng.choice("RWD")
        sizes = [rng.choice((8, 16, 64)) for _ in range(rng.randrange(1, 5))]
        at, queued = sector, []
        for size in rng.sample(sizes, len(sizes)):
            queued.append((clock + len(queued), at, size))
            at += size
        ends = sorted({at, rng.randrange(sector + 1, at + 1)})
        issue, done = clock + 100, {}
        start = sector
        for i, end in enumerate(ends):
            finish = issue + rng.randrange(1, 20000)
            done[start, end] = (issue + i, finish)
            start = end
        lines += [(t, "Q", op, s, n) for t, s, n in queued]
        lines += [(issued, "D", op, s, e - s) for (s, e), (issued, _) in done.items()]
        lines += [(finish, "C", op, s, e - s) for (s, e), (_, finish) in done.items()]
        for t, s, n in queued:
            parts = [times for (a, b), times in done.items() if a < s + n and s < b]
            last = max(finish for _, finish in parts)
            expected.append((t, s * 512, n * 512, "RWD".index(op), last - t, last - min(issued for issued, _ in parts)))
    text = events(*(f"{t / 1e9:.9f} {a} {op} {s} + {n} [{0 if a == 'C' else 'x'}]" for t, a, op, s, n in sorted(lines)))
    trace = read_trace(write(tmp_path, text))
    nanos = [np.rint(1e9 * column).astype(int).tolist() for column in (trace.response, trace.service)]
    arrival = np.rint((trace.arrival + trace.origin) * 1e9).astype(int).tolist()
    op = [(0, 1, 3).index(code) for code in trace.op]
    found = list(zip(arrival, trace.offset.tolist(), trace.size.tolist(), op, *nanos, strict=True))
    assert sorted(found) == sorted(expected)
    assert arrival == sorted(arrival)
    assert trace.warnings == ()


GOOD_EVENT = "  8,0    1        2     0.000000100  1071  Q   W 2048 + 8 [fio]"


@pytest.mark.parametrize(
    ("row", "wrong"),
    [
        ("oops", "not an event of blkparse, nor a line of its summary"),
        ("  8    1        2     0.000000100  1071  Q   W 2048 + 8 [fio]", "not an event of blkparse"),
        ("  8,0    1     0.000000100  1071  Q   W 2048 + 8 [fio]", "not an event of blkparse"),
        ("  8,0    1        2     0.0000001  1071  Q   W 2048 + 8 [fio]", "not an event of blkparse"),
        ("  8,0    1        2     nan  1071  Q   W 2048 + 8 [fio]", "not an event of blkparse"),
        ("  8,0    1        2     -1.000000100  1071  Q   W 2048 + 8 [fio]", "not an event of blkparse"),
        ("  8,0    1        2     9999999999.000000100  1071  Q   W 2048 + 8 [fio]", "time must be below 4e+09 s"),
        ("  8,0    1        2     0.000000100  1071  Z   W 2048 + 8 [fio]", "action must be one of Q, D, C, R, X, G,"),
        ("  8,0    1        2     0.000000100  1071  Q   V 2048 + 8 [fio]", "the letters must tell R, W, D, F or N"),
        ("  8,0    1        2     0.000000100  1071  Q   W 2048 / 8 [fio]", "Q, D, C and R need 'sector + sectors"),
        ("  8,0    1        2     0.000000100  1071  X   W 2048 + 8 [fio]", "Q, D, C and R need 'sector + sectors"),
        ("  8,0    1        2     0.000000100  1071  Q   W 2048 + [fio]", "Q, D, C and R need 'sector + sectors"),
        ("  8,0    1        2     0.000000100  1071  Q   W 2048 + -8 [fio]", "Q, D, C and R need 'sector + sectors"),
        ("  8,0    1        2     0.000000100  1071  Q   W 20x48 + 8 [fio]", "Q, D, C and R need 'sector + sectors"),
        ("  8,0    1        2     0.000000100  1071  Q   W 2048 + 8", "Q, D, C and R need 'sector + sectors"),
        ("  8,0    1        2     0.000000100  1071  Q   W", "Q, D, C and R need 'sector + sectors"),
        ("  8,0    1        2     0.000000100  1071  Q   W 9007199254740992 + 8 [fio]", "sector and sectors must be"),
        ("  8,0    1        2     0.000000100  1071  Q   W 99999999999999999999 + 8 [fio]", "sector and sectors must"),
        ("  8,0    1        3     0.000000050     0  C   W 2048 + 8 [0]", "the completion is stamped before its requ"),
    ],
)
def test_blkparse_bad_rows(tmp_path, row, wrong):
    good = events("1 Q R 8 + 8 [a]", "2 D R 8 + 8 [a]", "5 C R 8 + 8 [0]")
    before = f"{GOOD_EVENT}\n{GOOD_EVENT.replace('Q', 'D')}\n"
    path = write(tmp_path, f"{before}{row}\n{good}")
    with pytest.raises(TraceError) as refused:
        read_trace(path)
    assert str(refused.value).startswith(f"{path}:3: {wrong}")
    assert repr(row) in str(refused.value)
    trace = read_trace(path, skip_bad_rows=True)
    assert len(trace) == 1
    assert trace.warnings[0].startswith(f"1 bad row skipped: {wrong}")
    assert sum(counts(trace).values()) + ("stamped" not in wrong) == 6


def test_blkparse_operations():
    import polars as pl

    sized = ["R", "RA", "RSM", "W", "WS", "WFS", "FWFS", "D", "DS"]
    found = pl.DataFrame({"letters": [*sized, "FWS", "FN", "WS", "N", "FF"], "size": [8] * 9 + [0] * 5})
    ops = found.select(blkparse.operation(pl.col("letters"), pl.col("size"))).to_series().to_list()
    assert ops == [*["read"] * 3, *["write"] * 4, *["discard"] * 2, *["flush"] * 3, "other", "flush"]


# ------------------------------------------------------------------------------------------------------- fio-latency


def test_fio_latency(tmp_path):
    trace = read_trace(write(tmp_path, LATENCY, "job a_lat.3.log"))
    # completions at the end of the milliseconds 0, 2, 2 and 5
    assert (trace.arrival + trace.origin).tolist() == pytest.approx([0.0005, 0.0005, 0.002, 0.005999], abs=1e-15)
    assert disks(trace) == ["job a.3"] * 4
    assert trace.op.tolist() == [0, 3, 1, 0]
    assert trace.offset.tolist() == [61440, 4096, 0, 1024]
    assert trace.size.tolist() == [4096, 4096, 8192, 512]
    assert trace.response.tolist() == pytest.approx([0.0005, 0.0025, 0.001, 0.000001], rel=1e-15)
    assert trace.service is None
    assert trace.warnings == ()
    assert trace.comments == (
        "assumed: latencies are nanoseconds, as fio 3 writes them (fio 2: microseconds)",
        "assumed: time stamps are cut to whole milliseconds: arrivals are known to a millisecond only",
    )


@pytest.mark.parametrize(
    ("rows", "offset", "arrival"),
    [
        (["7, 2000000, 0, 4096", "9, 2000000, 0, 4096"], [-1, -1], [0.006, 0.008]),
        (["7, 2000000, 0, 4096, 0", "9, 2000000, 0, 4096, 1"], [-1, -1], [0.006, 0.008]),
        (["7, 2000000, 0, 4096, 0x2004", "9, 2000000, 0, 4096, 0x0000"], [-1, -1], [0.006, 0.008]),
        (["7, 2000000, 0, 4096, 0", "9, 2000000, 0, 4096, 8192"], [0, 8192], [0.006, 0.008]),
        (["7, 2000000, 0, 4096, 0, 0", "9, 2000000, 0, 4096, 8192, 0x2004"], [0, 8192], [0.006, 0.008]),
        (["7, 2000000, 0, 4096, 0, 5100000", "9, 2000000, 0, 4096, 1, 7300000"], [-1, -1], [0.0051, 0.0073]),
        (["7, 2000000, 0, 4096, 1, 0, 5100000", "9, 2000000, 0, 4096, 8192, 0, 7300000"], [1, 8192], [0.0051, 0.0073]),
        (["7, 2000000, 0, 4096, 1, 0, 0", "9, 2000000, 0, 4096, 8192, 0, 0"], [1, 8192], [0.006, 0.008]),
        (["1700000000007, 2000000, 0, 4096", "1700000000009, 2000000, 0, 4096"], [-1, -1], [1.7e9 + 0.006] * 2),
    ],
)
def test_fio_latency_layouts(tmp_path, rows, offset, arrival):
    trace = read_trace(write(tmp_path, "\n".join([*rows, ""])))
    assert trace.disks == ("fio",)
    assert trace.offset.tolist() == offset
    assert trace.origin == pytest.approx(arrival[0], rel=1e-15)
    assert trace.arrival.tolist() == pytest.approx([0, 0.002 if arrival[0] != 0.0051 else 0.0022], abs=1e-15)
    assert trace.response.tolist() == [0.002, 0.002]


def test_fio_latency_says_what_the_name_and_the_values_suggest(tmp_path):
    assert read_trace(write(tmp_path, LATENCY, "x_clat.log")).comments[0].startswith("assumed: completion latencies (c")
    assert read_trace(write(tmp_path, LATENCY, "x_clat.log.gz")).disks == ("x",)
    assert read_trace(write(tmp_path, LATENCY, "a,b_lat.log")).disks == ("fio",)
    for kind in ("slat", "bw", "iops"):
        with pytest.raises(TraceError, match=f"fio's {kind} log, by its name"):
            read_trace(write(tmp_path, LATENCY, f"x_{kind}.1.log"))
    old = read_trace(write(tmp_path, "1, 85, 0, 4096\n2, 112, 1, 4096\n3, 90000, 1, 4096\n"))
    assert old.warnings == (
        "half of the first latencies are below 1000 ns: are they microseconds, as fio 2 wrote them?",
    )


@pytest.mark.parametrize(
    ("row", "wrong"),
    [
        ("3, 1000, 0, 4096, 8192", "the row must have 6 fields"),
        ("3, 1000, 0, 4096, 8192, 0, 7", "the row must have 6 fields"),
        ("3,1000,0,4096,8192,0", "the row must have 6 fields"),
        ("", "the row must have 6 fields"),
        (", 1000, 0, 4096, 8192, 0", "time is empty"),
        ("soon, 1000, 0, 4096, 8192, 0", "time must be a whole number"),
        ("-3, 1000, 0, 4096, 8192, 0", "time must not be negative"),
        ("9999999999999, 1000, 0, 4096, 8192, 0", "time must be below 4e+09 s, or its unit is not ms"),
        ("3, nan, 0, 4096, 8192, 0", "latency must be a whole number"),
        ("3, , 0, 4096, 8192, 0", "latency is empty"),
        ("3, -1, 0, 4096, 8192, 0", "latency must be from 0 to 4e+09 s"),
        ("3, 9000000000000000000, 0, 4096, 8192, 0", "latency must be from 0 to 4e+09 s"),
        ("3, 4000001, 0, 4096, 8192, 0", "latency is longer than the time since the log's start: its unit may not be"),
        ("3, 1000, 3, 4096, 8192, 0", "direction must be 0 (read), 1 (write) or 2 (trim)"),
        ("3, 1000, R, 4096, 8192, 0", "direction must be a whole number"),
        ("3, 1000, 0, 0, 0, 0", "block size is 0: an average over time (log_avg_msec), not a request"),
        ("3, 1000, 0, -1, 8192, 0", "block size must not be negative"),
        ("3, 1000, 0, 4k, 8192, 0", "block size must be a whole number"),
        ("3, 1000, 0, 4096, -8192, 0", "offset must not be negative"),
        ("3, 1000, 0, 4096, 99999999999999999999, 0", "offset must be a whole number"),
    ],
)
def test_fio_latency_bad_rows(tmp_path, row, wrong):
    lines = LATENCY.splitlines()
    path = write(tmp_path, "\n".join([*lines[:2], row, *lines[2:], row, ""]))
    check_bad_row(path, "fio-latency", row, wrong, good=4)


def check_bad_row(path, name, row, wrong, good, line=3):
    """The row at `line`, which also stands at the end, is refused, or skipped twice."""
    with pytest.raises(TraceError) as refused:
        read_trace(path, name)
    assert str(refused.value).startswith(f"{path}:{line}: {wrong}")
    assert str(refused.value).endswith(f": {row!r}")
    trace = read_trace(path, name, skip_bad_rows=True)
    assert len(trace) == good
    assert trace.warnings[0].startswith(f"2 bad rows skipped: {wrong}")
    assert f"(first at line {line})" in trace.warnings[0]
    assert skipped(trace) == 2


# --------------------------------------------------------------------------------------------------------- fio-iolog


def test_fio_iolog_of_both_versions(tmp_path):
    trace = read_trace(write(tmp_path, IOLOG))
    assert trace.origin == 150e-6
    assert trace.arrival.tolist() == [0, 250e-6, 250e-6, 750e-6, 800e-6]
    assert disks(trace) == ["/dev/vda", "/dev/vdb", "/dev/vda", "/dev/vda", "/dev/vdb"]
    assert trace.op.tolist() == [0, 1, 3, 2, 2]
    assert trace.offset.tolist() == [61440, 0, 8192, -1, -1]
    assert trace.size.tolist() == [4096, 512, 4096, -1, -1]
    assert trace.response is trace.service is None
    assert trace.comments == ("passed over: 3 rows of add, open, close",)
    old = read_trace(write(tmp_path, IOLOG2))
    assert old.arrival.tolist() == [0, 1500e-6, 1550e-6]
    assert old.op.tolist() == [0, 1, 2]
    assert old.offset.tolist() == [0, 4096, -1]


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        ("fio version 4 iolog\n", ":1: version 4 of fio's iolog is not known, only 2 and 3"),
        (IOLOG2.replace("wait", "read"), ": a version 2 log without a 'wait' tells no times"),
        (IOLOG + IOLOG, ":10: a second log begins here (fio appends to a log), and with it the clock: part them"),
        (IOLOG2 + "/dev/vda wait 3900000000000000 0\n" * 2, ": the waits add up to more than 4e+09 s"),
        ("fio version 3 iolog\n5 /dev/vda open\n", ": there are no requests in it"),
    ],
)
@pytest.mark.parametrize("skip", [True, False])
def test_fio_iologs_that_tell_nothing(tmp_path, content, wrong, skip):
    path = write(tmp_path, content)
    with pytest.raises(TraceError) as refused:
        read_trace(path, skip_bad_rows=skip)
    assert str(refused.value).startswith(f"{path}{wrong}")


@pytest.mark.parametrize(
    ("row", "wrong"),
    [
        ("", "the row must be TIME FILE ACTION [OFFSET LENGTH]"),
        ("200 /dev/vda", "the row must be TIME FILE ACTION [OFFSET LENGTH]"),
        ("/dev/vda read 0 4096", "the row must be TIME FILE ACTION [OFFSET LENGTH]"),
        ("200 /dev/vda read 0", "the row must be TIME FILE ACTION [OFFSET LENGTH]"),
        ("200 /dev/vda read 0 4096 7", "the row must be TIME FILE ACTION [OFFSET LENGTH]"),
        ("-200 /dev/vda read 0 4096", "the row must be TIME FILE ACTION [OFFSET LENGTH]"),
        ("nan /dev/vda read 0 4096", "the row must be TIME FILE ACTION [OFFSET LENGTH]"),
        ("200 /dev/vda read 0 -4096", "the row must be TIME FILE ACTION [OFFSET LENGTH]"),
        ("200 /dev/vda read", "add, open, close have no offset and length, other actions have"),
        ("200 /dev/vda open 0 4096", "add, open, close have no offset and length, other actions have"),
        ("200 /dev/vda wait 0 4096", "action must be one of add, open, close, read, write, trim, sync, datasync, sync"),
        ("200 /dev/vda Read 0 4096", "action must be one of"),
        ("4000000000000000 /dev/vda read 0 4096", "time must be below 4e+09 s"),
        ("99999999999999999999 /dev/vda read 0 4096", "time must be below 4e+09 s"),
        ("200 /dev/vda read 9999999999999999999 4096", "offset must be below 2^63"),
        ("200 /dev/vda read 0 9999999999999999999", "length must be below 2^63"),
        ("200 a,b read 0 4096", "disk's name must not hold commas, quotes or line ends"),
    ],
)
def test_fio_iolog_bad_rows(tmp_path, row, wrong):
    lines = IOLOG.splitlines()
    path = write(tmp_path, "\n".join([*lines[:2], row, *lines[2:], row, ""]))
    check_bad_row(path, "fio-iolog", row, wrong, good=5)


@pytest.mark.skipif(shutil.which("fio") is None, reason="fio is not installed")
def test_fio_itself(tmp_path):
    """A run of fio: both of its logs show the same requests, and as many as it says."""
    options = ["--name=j", f"--filename={tmp_path}/data", "--size=1m", "--bs=4k", "--rw=randrw", "--ioengine=psync"]
    options += [
        "--number_ios=60",
        f"--write_iolog={tmp_path}/io.log",
        f"--write_lat_log={tmp_path}/j",
        "--log_offset=1",
    ]
    run = subprocess.run(["fio", *options], cwd=tmp_path, capture_output=True, check=False)
    if run.returncode:
        pytest.skip("fio does not run here")
    issued, done = read_trace(tmp_path / "io.log"), read_trace(tmp_path / "j_lat.1.log")
    assert len(issued) == len(done) == 60
    assert sorted(issued.offset.tolist()) == sorted(done.offset.tolist())
    assert (issued.op == 0).sum() == (done.op == 0).sum()
    assert done.disks == ("j.1",)
    # one at a time: each request arrives after the one before has completed
    assert done.response.sum() <= issued.arrival[-1] + done.response.max()


# ---------------------------------------------------------------------------------------------------------- biosnoop


def test_biosnoop_with_and_without_queued_times(tmp_path):
    trace = read_trace(write(tmp_path, BIOSNOOP))
    assert (trace.arrival + trace.origin).tolist() == pytest.approx([-0.0006, 0.0001, 0.00075], abs=1e-9)
    assert disks(trace) == ["nvme0n1", "sdb", "sdb"]
    assert trace.op.tolist() == [1, 0, 2]
    assert trace.offset.tolist() == [2048 * 512, 16 * 512, -1]
    assert trace.size.tolist() == [4096, 512, -1]
    assert trace.response.tolist() == pytest.approx([0.0006, 0.0002, 0.00125], abs=1e-15)
    assert trace.service.tolist() == pytest.approx([0.0005, 0.0002, 0.001], abs=1e-15)
    plain = read_trace(write(tmp_path, PLAIN_BIOSNOOP))
    assert plain.arrival.tolist() == pytest.approx([0, 0.00115], abs=1e-9)
    assert plain.size.tolist() == [1048576, 4096]
    assert plain.response.tolist() == pytest.approx([0.0004, 0.00025], abs=1e-15)
    assert plain.service is None
    assert plain.comments == (
        "assumed: sectors are 512 bytes",
        "assumed: requests arrive when they are issued to the disk: the time in the queue (-Q) is not recorded",
    )


@pytest.mark.parametrize(
    ("header", "row", "disk"),
    [
        ("TIME(ms)     COMM             PID    LAT(ms)", "611          a b 5            4179        10", "disk"),
        ("TIME(ms)     DISK             COMM             PID    LAT(ms)", "611 nvme0n1 a b 5 4179 10", "nvme0n1"),
        ("TIME(ms)     DISK ID        COMM   PID    LAT(ms)\n    MAJOR MINOR", "611 259 0 a b 5 4179 10", "259:0"),
    ],
)
def test_biosnoop_of_bpftrace(tmp_path, header, row, disk):
    trace = read_trace(write(tmp_path, f"Attaching 4 probes...\n{header}\n{row}\n\n{row.replace('611', '620')}\n"))
    assert trace.origin == pytest.approx(0.601, abs=1e-9)
    assert trace.arrival.tolist() == [0, 0.009]
    assert trace.response.tolist() == [0.01, 0.01]
    assert trace.disks == (disk,)
    assert trace.op.tolist() == [4, 4]
    assert trace.size.tolist() == [-1, -1]


def test_biosnoop_counts_what_it_lost_itself(tmp_path):
    trace = read_trace(write(tmp_path, BIOSNOOP + "Possibly lost 7 samples\nlost 5 events on CPU #3\n"))
    assert len(trace) == 3
    assert trace.warnings == ("12 samples lost by biosnoop itself",)
    with pytest.raises(TraceError, match=r"there is no header 'TIME\(s\) COMM"):
        read_trace(write(tmp_path, BIOSNOOP.replace("TIME(s)  ", "TIMESTAMP")), "biosnoop")


@pytest.mark.parametrize(
    ("row", "wrong"),
    [
        ("0.1 fio 7 sdb W 2048 4096 0.50", "the row must be 'TIME(s) COMM PID DISK T SECTOR BYTES QUE(ms) LAT(ms)'"),
        ("0.1 fio 7 W 2048 4096 0.10 0.50", "the row must be"),
        ("0.1 fio sdb W 2048 4096 0.10 0.50", "the row must be"),
        ("fio 7 sdb W 2048 4096 0.10 0.50", "the row must be"),
        ("soon fio 7 sdb W 2048 4096 0.10 0.50", "the row must be"),
        ("0.1 fio 7 sdb W x 4096 0.10 0.50", "the row must be"),
        ("0.1 fio 7 sdb W 2048 -4096 0.10 0.50", "the row must be"),
        ("0.1 fio 7 sdb W 2048 4096 0.10 nan", "the row must be"),
        ("0.1 fio 7 sdb W 2048 4096 0.10 inf", "the row must be"),
        ("0.1 fio 7 sdb w 2048 4096 0.10 0.50", "the row must be"),
        ("-0.1 fio 7 sdb W 2048 4096 0.10 0.50", "TIME must be from 0 to 4e+09 s"),
        ("4000000000 fio 7 sdb W 2048 4096 0.10 0.50", "TIME must be from 0 to 4e+09 s"),
        ("0.1 fio 7 sdb W 2048 4096 0.10 -0.50", "LAT must be from 0 to half an hour"),
        ("0.1 fio 7 sdb W 2048 4096 0.10 1800000.1", "LAT must be from 0 to half an hour"),
        ("0.1 fio 7 sdb W 2048 4096 -1.000 0.50", "QUE is -1: not known"),
        ("0.1 fio 7 sdb W 2048 4096 -0.5 0.50", "QUE must be from 0 to half an hour"),
        ("0.1 fio 7 sdb V 2048 4096 0.10 0.50", "T must tell R, W, D, F or N"),
        ("0.1 fio 7 sdb W -1 4096 0.10 0.50", "SECTOR must be from 0 to 4503599627370496"),
        ("0.1 fio 7 sdb W 9999999999999999999 4096 0.10 0.50", "SECTOR must be from 0 to 4503599627370496"),
        ("0.1 fio 7 sdb W 2048 9999999999999999999 0.10 0.50", "BYTES must be below 2^63"),
        ("0.1 fio 7 a,b W 2048 4096 0.10 0.50", "disk's name must not hold commas, quotes or line ends"),
    ],
)
def test_biosnoop_bad_rows(tmp_path, row, wrong):
    lines = BIOSNOOP.splitlines()
    path = write(tmp_path, "\n".join([*lines[:2], row, *lines[2:], row, ""]))
    check_bad_row(path, "biosnoop", row, wrong, good=3)


def test_biosnoop_latencies_are_read_from_the_right():
    assert biosnoop.sniff(BIOSNOOP.encode())
    assert not biosnoop.sniff(b"TIME(s) COMM PID\n")


# ------------------------------------------------------------------------------------------------- order of arrival


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 200)), min_size=1, max_size=60),
    st.lists(st.integers(0, 60), max_size=6),
    st.integers(1, 20),
)
def test_rows_by_completion_come_out_by_arrival(requests, cuts, most):
    import polars as pl

    requests = sorted((sum(g for g, _ in requests[: i + 1]), took) for i, (_, took) in enumerate(requests))
    rows = sorted((end, end - took, i) for i, (end, took) in enumerate(requests))
    frame = pl.DataFrame(
        {
            "arrival": [a for _, a, _ in rows],
            "response": [float(e - a) for e, a, _ in rows],
            "id": [i for *_, i in rows],
        }
    )
    edges = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    frames = [frame[a:b] for a, b in itertools.pairwise(edges)]
    held = completed.HELD
    try:
        completed.HELD = most
        out = list(completed.by_arrival(frames, 1))
    finally:
        completed.HELD = held
    assert sorted(i for f in out for i in f["id"]) == list(range(len(rows)))
    assert all(f["arrival"].is_sorted() for f in out)
    assert len(out[-1]) <= most or len(out) == 1
    roomy = pl.concat(completed.by_arrival(frames, 1))["arrival"].to_list()
    longest = [max(f["response"], default=0) for f in frames]
    if all(a >= b for a, b in itertools.pairwise(longest)):  # no surprise later: no row is late
        assert roomy == sorted(roomy)


# ---------------------------------------------------------------------------------------------------------- fuzzing

LETTERS = "0123456789.,-+/[] \neQDCRWFNX"
QUIET = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def rows_of(data):
    return data.decode("utf-8-sig", "replace").replace("\r\n", "\n").removesuffix("\n").split("\n")


def numbers(trace, what):
    """The counts in the comments and warnings that match."""
    return sum(int(found[1]) for said in (*trace.comments, *trace.warnings) if (found := re.search(what, said)))


def check_sound(trace):
    for column in (trace.arrival, trace.response, trace.service):
        assert column is None or (np.isfinite(column).all() and (column >= 0).all())
    assert (trace.offset >= -1).all()
    assert (trace.size >= -1).all()
    str(trace.summary())


@QUIET
@given(st.binary(max_size=400), st.sampled_from(list(SAMPLES)), st.booleans())
def test_random_bytes_are_refused_or_read(tmp_path, data, name, skip):
    read_or_refuse(tmp_path / "t", data, name, skip)


@QUIET
@given(mutated(LATENCY.encode(), LETTERS), st.booleans())
def test_mutated_fio_latency_adds_up(tmp_path, data, skip):
    trace = read_or_refuse(tmp_path / "t", data, "fio-latency", skip)
    if trace is not None:
        assert len(trace) + skipped(trace) == len(rows_of(data))
        check_sound(trace)


@QUIET
@given(mutated(IOLOG.encode(), LETTERS), st.booleans())
def test_mutated_fio_iolog_adds_up(tmp_path, data, skip):
    trace = read_or_refuse(tmp_path / "t", data, "fio-iolog", skip)
    if trace is not None:
        assert len(trace) + skipped(trace) + numbers(trace, r"passed over: (\d+)") == len(rows_of(data)) - 1
        check_sound(trace)


@QUIET
@given(mutated(IOLOG2.encode(), LETTERS), st.booleans())
def test_mutated_fio_iolog_2_is_sound(tmp_path, data, skip):
    trace = read_or_refuse(tmp_path / "t", data, "fio-iolog", skip)
    if trace is not None:
        check_sound(trace)


@QUIET
@given(mutated(BIOSNOOP.encode(), LETTERS), st.booleans())
def test_mutated_biosnoop_adds_up(tmp_path, data, skip):
    trace = read_or_refuse(tmp_path / "t", data, "biosnoop", skip)
    if trace is not None:
        lines = rows_of(data)
        header = next(i for i, line in enumerate(lines) if biosnoop.HEADER.search(line))
        blank = sum(line.strip() == "" for line in lines[header + 1 :])
        garbled = sum("\ufffd" in line for line in lines[: header + 1])
        assert len(trace) + skipped(trace) == len(lines) - header - 1 - blank + garbled
        check_sound(trace)


@QUIET
@given(mutated(BLKPARSE.encode(), LETTERS), st.booleans())
def test_mutated_blkparse_adds_up(tmp_path, data, skip):
    trace = read_or_refuse(tmp_path / "t", data, "blkparse", skip)
    if trace is not None:
        backwards = numbers(trace, r"(\d+) bad rows? skipped: the completion is stamped")
        kinds = counts(trace)
        assert sum(kinds.values()) + skipped(trace) - backwards == len(rows_of(data))
        left = numbers(trace, r"^(\d+) requests? without a completion") + numbers(
            trace, r"^(\d+) requests? completed w"
        )
        if not any("earlier events" in comment for comment in trace.comments):
            assert len(trace) + left + backwards == kinds["Q"]
        check_sound(trace)
