"""Rows that are fields between separators, as typed columns.

Polars' own CSV reader drops or pads some malformed rows without a word. So the plain rows are parsed by a compiled
kernel (`qtheory.traces.plain`), and the ones that it does not take, be they unusual or malformed, as text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Literal

from qtheory.traces.file import TraceFile

if TYPE_CHECKING:
    import polars as pl

    from qtheory.traces.plain import Columns, Texts

Kind = Literal["whole", "decimal", "text"]
WHAT = {"whole": "a whole number", "decimal": "a number"}


def fields(
    file: TraceFile, columns: Mapping[str, Kind | None], separator: str = ",", *, skip: int = 0
) -> Iterator[pl.DataFrame]:
    """Frames of `line` and the columns, from all lines after the first `skip`.

    `columns` names the fields of a row in order and what they hold: "whole" (Int64), "decimal" (Float64), "text"
    (String or Enum), None (not read). An empty number is null, an empty text is "". The separator " " stands for any
    blanks and tabs between fields. Rows with another number of fields, or with something else where a number belongs,
    are refused.
    """
    from qtheory.traces.plain import no_texts

    texts = no_texts(list(columns.values()).count("text"))
    for numbers, text, _ in file.blocks():
        at = 0
        while numbers and numbers[0] <= skip:
            at = text.index(b"\n", at) + 1
            numbers = numbers[1:]
        if numbers:
            yield _columns(file, numbers, text, at, columns, separator, texts)


def _columns(
    file: TraceFile,
    numbers: range,
    text: bytearray,
    at: int,
    columns: Mapping[str, Kind | None],
    separator: str,
    texts: Texts,
) -> pl.DataFrame:
    """The columns of the rows with these line numbers, of which the first starts at byte `at` of `text`."""
    import polars as pl

    from qtheory.traces import plain

    kinds = {None: plain.UNREAD, "whole": plain.WHOLE, "decimal": plain.DECIMAL, "text": plain.TEXT}
    parsed = plain.parse(text, at, len(numbers), separator, [kinds[kind] for kind in columns.values()], texts)
    line = pl.int_range(numbers.start, numbers.stop, eager=True)
    odd = parsed.start >= 0
    if not odd.any():
        return _frame(line, columns, parsed, texts)
    rows = [text[start : text.index(b"\n", start) + 1] for start in parsed.start[odd].tolist()]
    unusual = as_text(file, file.lines(line.filter(odd), b"".join(rows)), columns, separator)
    rest = _frame(line.filter(~odd), columns, parsed.only(~odd), texts).with_columns(pl.col(pl.Enum).cast(pl.String))
    return pl.concat([rest, unusual]).sort("line")


def _frame(line: pl.Series, columns: Mapping[str, Kind | None], parsed: Columns, texts: Texts) -> pl.DataFrame:
    """Plain rows as a frame."""
    import polars as pl

    from qtheory.traces.plain import NO_WHOLE

    whole, decimal, text = iter(parsed.whole), iter(parsed.decimal), iter(enumerate(parsed.text))
    kept = [line.alias("line")]
    for name, kind in columns.items():
        if kind == "text":
            column, numbers = next(text)
            names = texts.names(column)
            kept.append(pl.Series(name, names, pl.Enum(names)).gather(pl.Series(numbers)))
        elif kind is not None:
            values = pl.Series(name, next(whole if kind == "whole" else decimal))
            empty = values == NO_WHOLE if kind == "whole" else values.is_nan()
            kept.append(values.set(empty, None) if empty.any() else values)
    return pl.DataFrame(kept)


def as_text(file: TraceFile, rows: pl.DataFrame, columns: Mapping[str, Kind | None], separator: str) -> pl.DataFrame:
    """The columns of these rows (`line`, `row`), whatever they hold."""
    import polars as pl

    row = pl.col("row")
    if separator == " ":
        row = row.str.strip_chars(" \t").str.replace_all(r"[ \t]+", " ")
    wrong_width = f"the row must have {len(columns)} fields"
    rows = file.sift(rows, {wrong_width: row.str.count_matches(separator, literal=True) == len(columns) - 1})
    parts = row.str.split_exact(separator, len(columns) - 1).struct.rename_fields(list(columns))
    texts = rows.select("line", parts.alias("parts")).unnest("parts")
    kept, rules = [pl.col("line")], {}
    for name, kind in columns.items():
        if kind == "text":
            kept.append(pl.col(name))
        elif kind is not None:
            number = pl.col(name).cast(pl.Int64 if kind == "whole" else pl.Float64, strict=False)
            kept.append(number)
            rules[f"{name} must be {WHAT[kind]}"] = (pl.col(name) == "") | number.is_not_null()
    return file.sift(texts, rules).select(kept)
