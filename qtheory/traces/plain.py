"""The compiled part of `qtheory.traces.fields`: rows whose fields are plain, straight from bytes to numbers.

Plain are digits for a whole number (at most 18), digits with at most one point and an exponent for a decimal (a
mantissa below 2^53, but for zeros at its end, and a power of ten to ±22, so that one operation on two exact numbers
rounds right; Clinger, 1990), and printable ASCII for a text. An empty field is plain too. A row with anything else is
left to the reader of unusual rows, which gives the same values more slowly (`tests/test_fields.py` compares the two).

Digits and letters are looked at eight at a time, as one 64-bit word: a mark in the highest bit of each byte that ends
the field tells how many belong to it, without a branch for each (Mycroft, 1987). So up to seven bytes behind the last
row are read, though never used, and must be there.

Nothing here allocates, which `_nrt=False` says: else numba counts references at each row (`qtheory.simulate.compiled`).

The different texts of a column are numbered in a hash table (open addressing, multiplicative hashing; Knuth, 1973),
which lives as long as the file is read. A text that finds it full is not plain.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numba.cpython.unsafe.numbers import trailing_zeros
from numpy.typing import NDArray

from qtheory.simulate.compiled import inlined

UNREAD, WHOLE, DECIMAL, TEXT = range(4)
NO_WHOLE = int(np.iinfo(np.int64).min)
"""Stands for an empty whole number. An empty decimal is NaN, which no digits make."""
MOST_DIGITS = 18
MANTISSA = 1 << 53
POWERS = 10.0 ** np.arange(23)
SLOTS = 1 << 13
MOST_TEXTS = SLOTS // 2
LONGEST_TEXT = 8  # words, of which the last has a zero byte at its end
LINE_END, RETURN, BLANK, TAB, QUOTE, PLUS, MINUS, POINT, ZERO, E, SMALL_E = (ord(x) for x in '\n\r \t"+-.0Ee')

# Words of eight bytes, unsigned like the numbers they are reckoned with: mixed with signed ones they become floats.
ONE = np.uint64(1)
EACH = np.uint64(0x0101010101010101)
HIGHEST = np.uint64(0x8080808080808080)
LOWEST = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)
TENS = np.array([10**n for n in range(9)], np.uint64)
MIXER = np.uint64(0x9E3779B97F4A7C15)
HASH_SHIFT = np.uint64(64 - (SLOTS - 1).bit_length())


class Texts(NamedTuple):
    """The different texts that each TEXT column has had, in the order in which they appeared."""

    slots: NDArray[np.int64]  # (columns, SLOTS): 1 + the number of a text, 0: free
    letters: NDArray[np.uint64]  # (columns, texts, LONGEST_TEXT), eight to a word, the first one lowest
    known: NDArray[np.int64]  # (columns,)

    def names(self, column: int) -> list[str]:
        """The texts of one column."""
        letters = self.letters[column, : self.known[column]].astype("<u8").tobytes()
        size = 8 * LONGEST_TEXT
        rows = [letters[i : i + size] for i in range(0, len(letters), size)]
        return [row[: row.index(0)].decode("ascii") for row in rows]


def no_texts(columns: int) -> Texts:
    """Empty tables."""
    return Texts(
        np.zeros((columns, SLOTS), np.int64),
        np.zeros((columns, MOST_TEXTS + 1, LONGEST_TEXT), np.uint64),
        np.zeros(columns, np.int64),
    )


class Columns(NamedTuple):
    """Parsed rows; the c-th field is row `shelf[c]` of the array of its kind."""

    whole: NDArray[np.int64]
    decimal: NDArray[np.float64]
    text: NDArray[np.uint32]
    start: NDArray[np.int64]
    """Where a row that is not plain starts; −1 for a plain one."""

    def only(self, which: NDArray[np.bool_]) -> Columns:
        """Some of the rows."""
        return Columns(self.whole[:, which], self.decimal[:, which], self.text[:, which], self.start[which])


def parse(text: bytearray, at: int, rows: int, separator: str, kinds: list[int], texts: Texts) -> Columns:
    """The `rows` rows of `text` from byte `at` on, behind whose last line end seven bytes must follow."""
    columns = Columns(
        np.empty((kinds.count(WHOLE), rows), np.int64),
        np.empty((kinds.count(DECIMAL), rows), np.float64),
        np.empty((kinds.count(TEXT), rows), np.uint32),
        np.empty(rows, np.int64),
    )
    shelf = [kinds[:c].count(kind) for c, kind in enumerate(kinds)]
    _parse(np.frombuffer(text, np.uint8), at, ord(separator), np.array(kinds), np.array(shelf), columns, texts)
    return columns


@njit(nogil=True, cache=True, _nrt=False)  # type: ignore[call-overload]
def _parse(data: Any, at: Any, separator: int, kinds: Any, shelf: Any, columns: Columns, texts: Texts) -> None:
    whole, decimal, text, start = columns
    at = np.uint64(at)  # unsigned, so that numba does not look for places counted from the end
    blanks = separator == BLANK
    separators = EACH * np.uint64(separator)
    last = len(kinds) - 1
    for row in range(len(start)):
        begin = at
        plain = True
        if blanks:
            while data[at] == BLANK or data[at] == TAB:
                at += ONE
        for c in range(len(kinds)):
            kind, field = kinds[c], at
            if kind == WHOLE:
                value, at = _digits(data, at, np.uint64(0))
                whole[shelf[c], row] = np.int64(value) if at > field else NO_WHOLE
                plain = at - field <= MOST_DIGITS
            elif kind == DECIMAL:
                at, plain = _decimal(data, at, decimal, shelf[c], row)
            elif kind == TEXT:
                at, number = _text(data, at, separators, shelf[c], texts)
                plain = number >= 0
                text[shelf[c], row] = number
            else:
                more = np.uint64(8)
                while more == 8:
                    more = _until(_ends_text(_eight(data, at), separators))
                    at += more
            if blanks:
                plain = plain and at > field and (c == last or data[at] == BLANK or data[at] == TAB)
                while data[at] == BLANK or data[at] == TAB:
                    at += ONE
            elif c < last:
                plain = plain and data[at] == separator
                at += ONE
            if not plain:
                break
        if plain and data[at] == RETURN:
            at += ONE
        if plain and data[at] == LINE_END:
            start[row] = -1
        else:
            start[row] = begin
            at = begin
            while data[at] != LINE_END:
                at += ONE
        at += ONE


@inlined
def _eight(data: Any, at: Any) -> Any:
    """The eight bytes from `at` on, the first one lowest: compiled to a single load."""
    word = np.uint64(0)
    for i in range(8):
        word |= np.uint64(data[at + np.uint64(i)]) << np.uint64(8 * i)
    return word


@inlined
def _until(marks: Any) -> Any:
    """How many bytes come before the first one whose highest bit is set; 8 if there is none."""
    return trailing_zeros(marks) >> np.uint64(3)  # type: ignore[call-arg]


@inlined
def _digits(data: Any, at: Any, value: Any) -> Any:
    """`value` with the digits from `at` on appended, modulo 2^64, and where they end.

    Eight at a time: neighbours become numbers to 99, these to 9999, these to 99999999 (Mula, 2014; Lemire, 2018).
    """
    more = np.uint64(8)
    while more == 8:
        word = _eight(data, at) ^ (EACH * np.uint64(ZERO))  # digits become 0 to 9
        more = _until((word + EACH * np.uint64(0x76) | word) & HIGHEST)
        if more > 0:
            word <<= np.uint64(8) * (np.uint64(8) - more)  # zeros in front
            word = word * np.uint64(10) + (word >> np.uint64(8))
            word = (
                (word & np.uint64(0xFF000000FF)) * np.uint64(0xF424000000064)
                + ((word >> np.uint64(16)) & np.uint64(0xFF000000FF)) * np.uint64(0x271000000001)
            ) >> np.uint64(32)
            value = value * TENS[more] + word
            at += more
    return value, at


@inlined
def _decimal(data: Any, at: Any, decimal: Any, shelf: int, row: int) -> Any:
    """Digits, a point, digits, an exponent as a number; where they end, and whether it is exact."""
    first = at
    value, at = _digits(data, at, np.uint64(0))
    digits = np.int64(at - first)
    plain: Any = True
    power: Any = 0
    if data[at] == POINT:
        point = at + ONE
        value, at = _digits(data, point, value)
        power = -np.int64(at - point)
        plain = digits > 0 and power < 0
        digits -= power
    if data[at] == E or data[at] == SMALL_E:
        at += ONE
        sign = 1
        if data[at] == MINUS or data[at] == PLUS:
            sign = -1 if data[at] == MINUS else 1
            at += ONE
        begin = at
        exponent, at = _digits(data, at, np.uint64(0))
        plain = plain and digits > 0 and at > begin and at - begin <= 4
        power += sign * np.int64(exponent)
    if digits > MOST_DIGITS + 1:
        return at, False
    while value >= MANTISSA and power < 0 and value % np.uint64(10) == 0:
        value //= np.uint64(10)
        power += 1
    if value >= MANTISSA or power < -22 or power > 22:
        return at, False
    mantissa = np.float64(np.int64(value))
    if power < 0:
        decimal[shelf, row] = mantissa / POWERS[-power]
    elif digits:
        decimal[shelf, row] = mantissa * POWERS[power]
    else:
        decimal[shelf, row] = np.nan
    return at, plain


@inlined
def _ends_text(word: Any, separators: Any) -> Any:
    """The highest bit of every byte that a plain text does not hold, as far as the first of them."""
    parts, quotes = word ^ separators, word ^ (EACH * np.uint64(QUOTE))
    return (
        ((parts - EACH) & ~parts)
        | ((quotes - EACH) & ~quotes)
        | ((word - EACH * np.uint64(BLANK)) & ~word)
        | (word + EACH)
        | word
    ) & HIGHEST


@inlined
def _text(data: Any, at: Any, separators: Any, column: int, texts: Texts) -> Any:
    """Where the text from `at` on ends, and its number, a new one for a new text; −1 where there is no room for it.

    It is written behind the known ones, and stays there if it is new.
    """
    known = texts.known[column]
    hashed, length, more = np.uint64(0), 0, np.uint64(8)
    while more == 8:
        eight = _eight(data, at)
        more = _until(_ends_text(eight, separators))
        eight &= LOWEST[more]
        if length < LONGEST_TEXT:
            texts.letters[column, known, length] = eight
        hashed = (hashed ^ eight) * MIXER
        length += 1
        at += more
    if length > LONGEST_TEXT:
        return at, -1
    place = hashed >> HASH_SHIFT
    while texts.slots[column, place] > 0:
        number = texts.slots[column, place] - 1
        same = 0
        while same < length and texts.letters[column, number, same] == texts.letters[column, known, same]:
            same += 1
        if same == length:
            return at, number
        place = (place + ONE) & np.uint64(SLOTS - 1)
    if known == MOST_TEXTS:
        return at, -1
    texts.known[column] = known + 1
    texts.slots[column, place] = known + 1
    return at, known
