"""The compiled part of `qtheory.traces.fields`: rows whose fields are plain, straight from bytes to numbers.

Plain are digits for a whole number (at most 18), digits with at most one point and an exponent for a decimal (a
mantissa below 2^53, but for zeros at its end, and a power of ten to ±22, so that one operation on two exact numbers
rounds right; Clinger, 1990), and printable ASCII for a text. An empty field is plain too. A row with anything else is
left to the reader of unusual rows, which gives the same values more slowly (`tests/test_fields.py` compares the two).

The different texts of a column are numbered in a hash table (open addressing, FNV-1a), which lives as long as the file
is read. A text that finds it full is not plain.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

UNREAD, WHOLE, DECIMAL, TEXT = range(4)
NO_WHOLE = int(np.iinfo(np.int64).min)
"""Stands for an empty whole number. An empty decimal is NaN, which no digits make."""
POWERS = 10.0 ** np.arange(23)
MANTISSA = 1 << 53
MOST_DIGITS = 18
SLOTS = 1 << 13
LONGEST_TEXT = 64
LINE_END, RETURN, BLANK, TAB, QUOTE, PLUS, MINUS, POINT, ZERO, E, SMALL_E = (ord(x) for x in '\n\r \t"+-.0Ee')


class Texts(NamedTuple):
    """The different texts that each TEXT column has had, in the order in which they appeared."""

    slots: NDArray[np.int64]  # (columns, SLOTS): 1 + the number of a text, 0: free
    letters: NDArray[np.uint8]  # (columns, texts, LONGEST_TEXT)
    length: NDArray[np.int64]  # (columns, texts)
    known: NDArray[np.int64]  # (columns,)

    def names(self, column: int) -> list[str]:
        """The texts of one column."""
        letters, length = self.letters[column], self.length[column]
        return [letters[i, : length[i]].tobytes().decode("ascii") for i in range(self.known[column])]


def no_texts(columns: int) -> Texts:
    """Empty tables."""
    return Texts(
        np.zeros((columns, SLOTS), np.int64),
        np.zeros((columns, SLOTS // 2, LONGEST_TEXT), np.uint8),
        np.zeros((columns, SLOTS // 2), np.int64),
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


def parse(block: bytes, at: int, separator: str, kinds: list[int], texts: Texts) -> Columns:
    """The rows of `block` from byte `at` on; the block must end with a line end."""
    data = np.frombuffer(block, np.uint8)
    rows = int(np.count_nonzero(data[at:] == LINE_END))
    columns = Columns(
        np.empty((kinds.count(WHOLE), rows), np.int64),
        np.empty((kinds.count(DECIMAL), rows), np.float64),
        np.empty((kinds.count(TEXT), rows), np.uint32),
        np.empty(rows, np.int64),
    )
    shelf = [kinds[:c].count(kind) for c, kind in enumerate(kinds)]
    _parse(data, at, ord(separator), np.array(kinds), np.array(shelf), columns, texts)
    return columns


@njit(nogil=True, cache=True)
def _parse(data: Any, at: int, separator: int, kinds: Any, shelf: Any, columns: Columns, texts: Texts) -> None:
    whole, decimal, text, start = columns
    blanks = separator == BLANK
    last = len(kinds) - 1
    for row in range(len(start)):
        begin = at
        plain = True
        if blanks:
            while data[at] == BLANK or data[at] == TAB:
                at += 1
        for c in range(len(kinds)):
            kind, field = kinds[c], at
            if kind == WHOLE:
                at, plain = _whole(data, at, whole, shelf[c], row)
            elif kind == DECIMAL:
                at, plain = _decimal(data, at, decimal, shelf[c], row)
            else:
                letter = data[at]
                hashed = np.uint64(14695981039346656037)
                while letter != separator and letter != LINE_END and letter != RETURN:
                    if letter < BLANK or letter >= 127 or letter == QUOTE:
                        plain = False
                    hashed = (hashed ^ np.uint64(letter)) * np.uint64(1099511628211)
                    at += 1
                    letter = data[at]
                if plain and kind == TEXT:
                    number = _number(data, field, at, hashed, shelf[c], texts)
                    plain = number >= 0
                    text[shelf[c], row] = number
            if blanks:
                plain = plain and at > field and (c == last or data[at] == BLANK or data[at] == TAB)
                while data[at] == BLANK or data[at] == TAB:
                    at += 1
            elif c < last:
                plain = plain and data[at] == separator
                at += 1
            if not plain:
                break
        if plain and data[at] == RETURN:
            at += 1
        if plain and data[at] == LINE_END:
            start[row] = -1
        else:
            start[row] = begin
            at = begin
            while data[at] != LINE_END:
                at += 1
        at += 1


@njit(nogil=True, cache=True, inline="always")
def _whole(data: Any, at: int, whole: Any, shelf: int, row: int) -> tuple[int, bool]:
    """Digits as a whole number; where they end, and whether they were not too many."""
    first = at
    value: Any = np.int64(0)
    digit = np.uint8(data[at] - np.uint8(ZERO))
    while digit <= 9:
        value = value * 10 + digit
        at += 1
        digit = np.uint8(data[at] - np.uint8(ZERO))
    whole[shelf, row] = value if at > first else NO_WHOLE
    return at, at - first <= MOST_DIGITS


@njit(nogil=True, cache=True, inline="always")
def _decimal(data: Any, at: int, decimal: Any, shelf: int, row: int) -> tuple[int, bool]:
    """Digits, a point, digits, an exponent as a number; where they end, and whether it is exact."""
    first = at
    value: Any = np.int64(0)
    digit = np.uint8(data[at] - np.uint8(ZERO))
    while digit <= 9:
        value = value * 10 + digit
        at += 1
        digit = np.uint8(data[at] - np.uint8(ZERO))
    digits = at - first
    plain = True
    power = 0
    if data[at] == POINT:
        at += 1
        point = at
        digit = np.uint8(data[at] - np.uint8(ZERO))
        while digit <= 9:
            value = value * 10 + digit
            at += 1
            digit = np.uint8(data[at] - np.uint8(ZERO))
        power = point - at
        plain = digits > 0 and power < 0
        digits -= power
    if data[at] == E or data[at] == SMALL_E:
        at += 1
        sign = 1
        if data[at] == MINUS or data[at] == PLUS:
            sign = -1 if data[at] == MINUS else 1
            at += 1
        begin = at
        exponent: Any = 0
        digit = np.uint8(data[at] - np.uint8(ZERO))
        while digit <= 9 and at - begin < 4:
            exponent = exponent * 10 + digit
            at += 1
            digit = np.uint8(data[at] - np.uint8(ZERO))
        plain = plain and digits > 0 and at > begin
        power += sign * exponent
    if digits > MOST_DIGITS + 1 or value < 0:
        return at, False
    while value >= MANTISSA and power < 0 and value % 10 == 0:
        value //= 10
        power += 1
    if value >= MANTISSA or power < -22 or power > 22:
        return at, False
    if power < 0:
        decimal[shelf, row] = value / POWERS[-power]
    elif digits:
        decimal[shelf, row] = value * POWERS[power]
    else:
        decimal[shelf, row] = np.nan
    return at, plain


@njit(nogil=True, cache=True, inline="always")
def _number(data: Any, first: int, end: int, hashed: Any, column: int, texts: Texts) -> Any:
    """The text's number, a new one for a new text; −1 where there is no room for it."""
    length = end - first
    place = np.int64((hashed ^ (hashed >> np.uint64(32))) & np.uint64(SLOTS - 1))
    while True:
        number = texts.slots[column, place] - 1
        if number < 0:
            number = texts.known[column]
            if number >= texts.length.shape[1] or length > LONGEST_TEXT:
                return -1
            texts.known[column] = number + 1
            texts.slots[column, place] = number + 1
            texts.length[column, number] = length
            texts.letters[column, number, :length] = data[first:end]
            return number
        if texts.length[column, number] == length:
            same = True
            for i in range(length):
                if texts.letters[column, number, i] != data[first + i]:
                    same = False
                    break
            if same:
                return number
        place = (place + 1) & (SLOTS - 1)
