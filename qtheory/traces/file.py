"""A trace file while it is read: what is in it, and what becomes of its bad rows.

A reader asks a `TraceFile` for `rows()`: polars frames with the columns `line` (counted from 1, decompressed) and
`row` (its text), a block of lines at a time, so that the text is never in memory as a whole; or, where rows are
fields between separators, `qtheory.traces.fields` for typed columns. gzip, bzip2, xz and, from Python 3.14, zstd are
told by their first bytes and unpacked on the way.

The reader then states the rules that rows must keep. `sift` drops those that do not, which means: the first one
raises `TraceError`, naming file, line, rule and row; or, with `skip_bad_rows`, each is counted under the rule it
broke, and the counts become warnings of the trace. Only rows can be skipped. A file that is damaged as a whole
(cut short, not text, another format) is always refused. A row that is refused is read again for the message, so that
readers need not carry the text along.
"""

from __future__ import annotations

import bz2
import gzip
import importlib
import lzma
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from os import PathLike
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import polars as pl

HEAD = 1 << 16  # bytes, enough to tell any format
BLOCK = 1 << 24  # bytes of text parsed at once: large enough for polars to be fast
SPARE = 8  # bytes behind a block: a line end that was missing, and seven that its parser may look at
PIECE = 1 << 18  # bytes read at once: small enough for the processor's cache
SHOWN = 120  # characters of a bad row in its error


class TraceError(ValueError):
    """A trace file cannot be used; its one line says which file, where in it, and what is wrong.

    >>> raise TraceError.at("guest.csv", "size must not be negative", 17, "0.5,disk0,read,0,-1,")
    Traceback (most recent call last):
        ...
    qtheory.traces.file.TraceError: guest.csv:17: size must not be negative: '0.5,disk0,read,0,-1,'
    """

    @classmethod
    def at(cls, path: str, wrong: str, line: int | None = None, row: str | None = None) -> TraceError:
        """Error for `path`, at `line` and showing `row` where they are known."""
        place = path if line is None else f"{path}:{line}"
        if row is None:
            return cls(f"{place}: {wrong}")
        shown = row if len(row) <= SHOWN else row[:SHOWN] + "…"
        return cls(f"{place}: {wrong}: {shown!r}")


class Lines(NamedTuple):
    """Whole lines with their `numbers`: the first `end` bytes of `text`, of which the last is a line end.

    Some bytes to spare follow. The text is good until the next lines are asked for.
    """

    numbers: range
    text: bytearray
    end: int


class TraceFile:
    """One file being read; `path` as the user gave it, `skip_bad_rows` as documented in `read_trace`.

    Raises TraceError when the file is missing, a directory, unreadable or empty.
    """

    def __init__(self, path: str | PathLike[str], *, skip_bad_rows: bool = False) -> None:
        self.path = os.fspath(path)
        self.skip_bad_rows = skip_bad_rows
        self.comments: list[str] = []  # what the file or its reader says about the trace as a whole
        self.text_of: Callable[[int], str | None] = self._text_of  # the text of a line, for errors
        self.position = 0  # bytes of the packed file read so far
        self.origin = 0.0  # s, what the file says that its time 0 is on a clock outside it
        self._skipped: dict[str, tuple[int, int]] = {}  # by broken rule: how many rows, and the first one's line
        self._notes: list[str] = []
        if not self.head:
            raise self.error("the file is empty")

    @cached_property
    def head(self) -> bytes:
        """The first bytes of the content, unpacked: what readers tell their format by."""
        head = b""
        for piece in self._pieces(HEAD):
            head += piece
            if len(head) >= HEAD:
                break
        return head

    @property
    def skipped(self) -> int:
        """How many bad rows were skipped so far."""
        return sum(count for count, _ in self._skipped.values())

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user must be told: rows skipped, and what readers noted with `warn`."""
        skipped = sorted((line, count, wrong) for wrong, (count, line) in self._skipped.items())
        rows = [_counted(n, "bad row", f"skipped: {wrong} (first at line {line})") for line, n, wrong in skipped]
        return (*rows, *self._notes)

    def assume(self, what: str) -> None:
        """Say in the comments what the file leaves open and the reader took for granted."""
        self.comments.append(f"assumed: {what}")

    def warn(self, note: str) -> None:
        """Add a sentence to the warnings, once."""
        if note not in self._notes:
            self._notes.append(note)

    def warn_of(self, count: int, noun: str, what: str) -> None:
        """Add "3 NOUNs WHAT" to the warnings, if there are any."""
        if count > 0:
            self.warn(_counted(count, noun, what))

    def error(self, wrong: str, line: int | None = None, row: str | None = None) -> TraceError:
        """The error to raise for this file."""
        return TraceError.at(self.path, wrong, line, row)

    def refuse(self, wrong: str, line: int, count: int = 1) -> None:
        """Raise for a bad row; or count it (with others that broke the same rule later on) when they are skipped."""
        if not self.skip_bad_rows:
            raise self.error(wrong, line, self.text_of(line))
        before, first = self._skipped.get(wrong, (0, line))
        self._skipped[wrong] = (before + count, min(first, line))

    def sift(self, rows: pl.DataFrame, rules: Mapping[str, pl.Expr]) -> pl.DataFrame:
        """The rows that keep all rules; the others are refused, each for the first rule that it breaks.

        `rules` maps what is wrong with a row that breaks the rule to the condition that good rows meet (null counts
        as broken). `rows` has the column `line`.
        """
        import polars as pl

        kept = [condition.fill_null(False) for condition in rules.values()]
        good = rows.select(good=pl.all_horizontal(kept))["good"]
        if good.all():
            return rows
        broken = pl.coalesce(pl.when(~keeps).then(pl.lit(wrong)) for wrong, keeps in zip(rules, kept, strict=True))
        bad = rows.select("line", wrong=broken).filter(~good)
        if not self.skip_bad_rows:
            line, wrong = bad.row(0)
            self.refuse(wrong, line)
        for (wrong,), group in bad.group_by(["wrong"]):
            self.refuse(str(wrong), int(group["line"][0]), len(group))
        return rows.filter(good)

    def rows(self) -> Iterator[pl.DataFrame]:
        """All lines, a frame of `line` and `row` at a time; lines that are not UTF-8 are refused."""
        import polars as pl

        for numbers, text, end in self.blocks():
            yield self.lines(pl.int_range(numbers.start, numbers.stop, eager=True), text[:end])

    def heading(self, mark: bytes) -> Iterator[bytes]:
        """The lines from the first on, up to and with the first after it that does not start with `mark`."""
        for numbers, text, end in self.blocks(HEAD):
            for number, line in zip(numbers, text[:end].split(b"\n"), strict=False):
                yield bytes(line.removesuffix(b"\r"))
                if number > 1 and not line.startswith(mark):
                    return

    def lines(self, line: pl.Series, block: bytes | bytearray) -> pl.DataFrame:
        """The lines of a block as `rows` has them; `line` has their numbers."""
        import polars as pl

        try:
            text, garbled = block.decode("utf-8-sig" if line[0] == 1 else "utf-8"), False
        except UnicodeDecodeError:
            text, garbled = block.decode("utf-8", "replace"), True
        row = pl.Series([text.replace("\r\n", "\n").removesuffix("\n")]).str.split("\n").explode()
        frame = pl.DataFrame({"line": line, "row": row})
        if garbled:
            frame = self.sift(frame, {"not UTF-8 text": ~pl.col("row").str.contains("\ufffd", literal=True)})
        return frame

    def content(self) -> bytes:
        """The whole content, unpacked."""
        return b"".join(self._pieces(PIECE))

    @property
    def packed(self) -> bool:
        """Whether the content has to be unpacked."""
        with open(self.path, "rb") as file:
            return self._unpacked(file) is not file

    def text(self) -> str:
        """The whole content as text."""
        try:
            return self.content().decode("utf-8-sig")
        except UnicodeDecodeError:
            raise self.error("not UTF-8 text") from None

    def blocks(self, least: int | None = None) -> Iterator[Lines]:
        """The whole content, at least `least` bytes at a time (BLOCK by default) but for the last."""
        least = BLOCK if least is None else least
        text = bytearray(least + PIECE + SPARE)
        first, count, size = 1, 0, 0
        for piece in self._pieces(min(PIECE, least)):
            if size + len(piece) + SPARE > len(text):  # a long line
                text.extend(bytes(len(text)))
            text[size : size + len(piece)] = piece
            size += len(piece)
            count += line_ends(piece)
            if size >= least and b"\n" in piece:
                end = text.rindex(b"\n", 0, size) + 1
                yield Lines(range(first, first + count), text, end)
                first, count = first + count, 0
                text[: size - end] = text[end:size]
                size -= end
        if size > 0:
            if text[size - 1] != ord("\n"):
                self.warn("the last line has no line end: the file may have been cut short")
                text[size : size + 1] = b"\n"
                size, count = size + 1, count + 1
            yield Lines(range(first, first + count), text, size)

    def _text_of(self, line: int) -> str | None:
        """The text of one line, read again."""
        for numbers, text, end in TraceFile(self.path).blocks():
            if line in numbers:
                row = text[:end].split(b"\n")[line - numbers.start].removesuffix(b"\r").decode("utf-8", "replace")
                return row.removeprefix("\ufeff") if line == 1 else row
        return None

    def _pieces(self, most: int) -> Iterator[bytes]:
        """The unpacked content, piece by piece of at most `most` bytes."""
        line = 1
        try:
            with open(self.path, "rb") as packed:
                stream = self._unpacked(packed)
                while piece := stream.read1(most):
                    line += line_ends(piece) if stream is not packed else 0
                    self.position = packed.tell()
                    yield piece
        except TraceError:
            raise
        except FileNotFoundError:
            raise self.error("no such file") from None
        except IsADirectoryError:
            raise self.error("is a directory, not a trace file") from None
        except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as broken:
            raise self.error(f"the compressed data are cut short or damaged ({broken})", line) from None
        except (OSError, ValueError) as broken:  # also bzip2's errors, and names that no file can have
            raise self.error(f"cannot be read ({broken})") from None

    def _unpacked(self, packed: IO[bytes]) -> Any:
        """`packed`, through the decompressor that its first bytes ask for."""
        openers: dict[bytes, Callable[[IO[bytes]], object]] = {
            b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
            b"BZh": bz2.BZ2File,
            b"\xfd7zXZ\x00": lzma.LZMAFile,
            b"\x28\xb5\x2f\xfd": self._zstd,
        }
        magic = packed.read(6)
        packed.seek(0)
        return next((opener(packed) for start, opener in openers.items() if magic.startswith(start)), packed)

    def _zstd(self, packed: IO[bytes]) -> object:
        try:
            zstd = importlib.import_module("compression.zstd")
        except ImportError:
            raise self.error("zstd needs Python 3.14: unpack the file first, or use gzip, bzip2 or xz") from None
        return zstd.ZstdFile(packed)


def line_ends(text: bytes) -> int:
    """How many there are; `bytes.count` takes ten times as long."""
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) == ord("\n")))


def _counted(count: int, noun: str, what: str) -> str:
    return f"{count} {noun}{'s' * (count > 1)} {what}"
