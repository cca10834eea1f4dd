"""The compiled reader of fields gives what the slow one gives, on plain, unusual and malformed rows alike."""

import itertools
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from qtheory.traces import TraceError
from qtheory.traces import file as file_module
from qtheory.traces.fields import as_text, fields
from qtheory.traces.file import TraceFile

COLUMNS = {"a": "decimal", "b": "text", "c": "whole", "d": None, "e": "decimal"}

digits = st.text("0123456789", max_size=20)
number = st.one_of(
    digits,
    st.builds("{}.{}".format, digits, digits),
    st.builds("{}.{}000000".format, digits, digits),
    st.builds("{}.{}e{}".format, digits, digits, st.integers(-40, 40)),
    st.floats(0, allow_infinity=False).map(repr),
    st.text("0123456789.eE+- x", max_size=12),
    st.sampled_from(
        [
            "nan",
            "inf",
            "-1",
            "+1",
            ".5",
            "5.",
            "1e400",
            "9007199254740993",
            "1455592813.123456000",
            "9223372036.854775808",
            "0x10",
            "1_000",
            "1e",
            "٣",
        ]
    ),
)
name = st.one_of(
    st.sampled_from(["vda", "vdb", "", "hm_0"]),
    st.text(max_size=3),
    st.text("ab", max_size=17),
    st.text("ab", min_size=60, max_size=70),
)
row = st.tuples(number, name, number, name, number)


def slowly(path, separator, skip, skip_bad_rows):
    file = TraceFile(path, skip_bad_rows=skip_bad_rows)
    frames = [
        as_text(file, rows.filter(pl.col("line") > skip), COLUMNS, separator) for rows in file.rows() if len(rows) > 0
    ]
    return file, pl.concat(frames)


def outcome(read):
    """What was read and counted, or the error."""
    try:
        file, frame = read()
    except TraceError as error:
        return str(error), None
    return file.warnings, frame.with_columns(pl.col(pl.Enum).cast(pl.String))


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(row, min_size=1, max_size=8),
    st.sampled_from([",", " ", ";"]),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.integers(0, 2),
    st.booleans(),
)
@example([("1", "a", "2", "b", "3")] * 3, " ", "\n", True, 1, False)
@example([("1.5e-3", "a", "", "", "")], ",", "\r\n", False, 0, True)
@example([("9007199254740993.0", "é", "-3", '"', "7")] * 2, ",", "\n", True, 0, True)
def test_the_compiled_reader_gives_what_the_slow_one_gives(tmp_path, rows, separator, end, closed, skip, skip_bad):
    path = tmp_path / "t"
    text = end.join(separator.join(fields) for fields in rows)
    path.write_text(text + end * closed or "x", encoding="utf-8", newline="")

    def fast():
        file = TraceFile(path, skip_bad_rows=skip_bad)
        frames = list(fields(file, COLUMNS, separator, skip=skip))
        empty = as_text(file, pl.DataFrame({"line": [], "row": []}, {"line": pl.Int64, "row": pl.String}), COLUMNS, ",")
        return file, pl.concat([f.with_columns(pl.col(pl.Enum).cast(pl.String)) for f in frames] or [empty])

    told, frame = outcome(fast)
    told_slowly, frame_slowly = outcome(lambda: slowly(path, separator, skip, skip_bad))
    assert told == told_slowly
    if frame is None:
        assert frame_slowly is None
    else:
        assert_frame_equal(frame, frame_slowly, check_exact=True)


@pytest.mark.parametrize("least", [1, 7, 8, 9, 40, 1000])
def test_rows_are_the_same_however_the_file_is_cut_into_blocks(tmp_path, monkeypatch, least):
    monkeypatch.setattr(file_module, "BLOCK", least)
    rows = [f"{i}.5,{'a' * (i % 20)},{10**i},,1e{i}" for i in range(19)] + ["1,b,2,,3", ",,,,", f"1,{'c' * 300},4,,5"]
    for last, end in itertools.product(rows, ["", "\n"]):
        text = "\n".join([*rows, last])
        path = Path(tmp_path, "t")
        path.write_text(text + end)
        whole = [line.split(",") for line in text.split("\n")]
        frame = pl.concat(f.with_columns(pl.col("b").cast(pl.String)) for f in fields(TraceFile(path), COLUMNS))
        assert frame["line"].to_list() == list(range(1, len(whole) + 1))
        for column, name, kind in ((0, "a", float), (1, "b", str), (2, "c", int), (4, "e", float)):
            assert frame[name].to_list() == [kind(x[column]) if x[column] or kind is str else None for x in whole]


def test_a_file_of_empty_lines_has_only_bad_rows(tmp_path, monkeypatch):
    path = Path(tmp_path, "t")
    for least in (1, 2, 100):
        monkeypatch.setattr(file_module, "BLOCK", least)
        for text in ("\n", "\n\n\n", "\r\n\n", ",,,,\n\n"):
            path.write_bytes(text.encode())
            file = TraceFile(path, skip_bad_rows=True)
            frames = list(fields(file, COLUMNS))
            assert sum(map(len, frames)) == text.count(",,,,\n")
            assert file.skipped == text.count("\n") - text.count(",,,,\n")


@pytest.mark.parametrize("separator", [",", " "])
def test_garbled_rows_are_refused_among_plain_ones(tmp_path, separator):
    rows = [separator.join(["0.5", "vda", str(i), "x", ".5"]).encode() for i in range(9)]
    rows[4] = rows[4].replace(b"vda", b"v\xffa")
    path = Path(tmp_path, "t")
    path.write_bytes(b"\n".join(rows) + b"\n")
    with pytest.raises(TraceError, match=r"t:5: not UTF-8 text: '0.5.v\ufffda.4"):
        list(fields(TraceFile(path), COLUMNS, separator))
    file = TraceFile(path, skip_bad_rows=True)
    (frame,) = fields(file, COLUMNS, separator)
    assert frame["c"].to_list() == [0, 1, 2, 3, 5, 6, 7, 8]
    assert frame["line"].to_list() == [1, 2, 3, 4, 6, 7, 8, 9]
    assert file.warnings == ("1 bad row skipped: not UTF-8 text (first at line 5)",)


def test_more_texts_than_the_table_holds_are_read_all_the_same(tmp_path, monkeypatch):
    from qtheory.traces import plain

    names = [f"disk{i}" for i in range(3 * plain.SLOTS)]
    path = Path(tmp_path, "t")
    path.write_text("".join(f"{i},{name}\n" for i, name in enumerate(names)))
    (frame,) = fields(TraceFile(path), {"a": "whole", "b": "text"})
    assert frame["b"].to_list() == names
    assert frame["a"].to_list() == list(range(len(names)))
