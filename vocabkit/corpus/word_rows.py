"""Words in a hash table of compiled code: where `count` adds them up and `prepare` looks them up.

A word is the bytes between two places of a text, and a table of them two arrays: rows of 64 bytes, one line of
the processor's cache, and the bytes of all words one after another. A row holds a hash with the word's length,
its first 16 bytes, where all of them are, and four numbers: so most words cost one look at memory, which is
most of what a word costs (7 to 9 ms a MB of English; with an array for each, 20). Equality is of bytes, not of
hashes. A kernel that finds the table full comes back, and goes on where it was once the table is larger.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vocabkit.core.arrays import BoolArray, Int32Array, Int64Array, UInt8Array
from vocabkit.corpus.compilation import compile

UInt64Array = npt.NDArray[np.uint64]
Key = tuple[np.uint64, np.uint64, np.uint64]
"""A word's hash with its length, and its first 16 bytes, zeros behind a shorter one."""

_U = np.uint64
_ROW = 8
"""Numbers in a row: hash and length, first bytes (two), place, and what the table is for (four)."""
_LINE = 64
_LEAST_ROWS = 1 << 12
_MANY_ROWS = 1 << 18
_LEAST_BYTES = 1 << 18
_BATCH = 512
"""Words looked for together: the processor then fetches their rows from memory at the same time."""
_SPAN = 1 << 16
"""Bytes of text after which a batch ends, so that the room its words may need is known."""
_PAD = 16
"""Bytes behind texts and words, so that eight can be read anywhere."""
_LENGTH = 12
"""Bits of a row's first number that are the word's length: a longer one is not for a table."""
_MAX_BYTES = (1 << _LENGTH) - 1


class Texts(NamedTuple):
    """Texts in UTF-8 with a byte between them, and where each ends. `data` has room behind the last."""

    data: UInt8Array
    ends: Int64Array


def join_texts(texts: Sequence[str]) -> Texts:
    """Put texts into one array. Raises `UnicodeEncodeError` for a lone surrogate."""
    encoded = [*map(str.encode, texts), bytes(_PAD)]
    ends = np.cumsum(np.fromiter(map(len, encoded), np.int64, len(texts)) + 1) - 1
    return Texts(np.frombuffer(b"\0".join(encoded), np.uint8), ends)


def read_places(data: UInt8Array, places: Int64Array) -> list[str]:
    """Return the texts at `places` of UTF-8, int64[n, 2]: where each begins and ends."""
    # One string that is split: a list of places in Python takes ten times as long.
    out = np.empty(int((places[:, 1] - places[:, 0]).sum()) + len(places), np.uint8)
    _gather(data, places, out)
    found = out[:-1].tobytes().decode().split("\0") if len(places) else []
    if len(found) > len(places):  # NUL is in some
        return [data[start:stop].tobytes().decode() for start, stop in places.tolist()]
    return found


@compile
def _gather(data: UInt8Array, places: Int64Array, out: UInt8Array) -> None:
    filled = 0
    for index in range(len(places)):
        for at in range(places[index, 0], places[index, 1]):
            out[filled] = data[at]
            filled += 1
        out[filled] = 0
        filled += 1


# --- Rows ------------------------------------------------------------------------------------------


@compile
def _load(data: UInt8Array, at: int) -> np.uint64:
    """Return eight bytes as a number, the first the lowest. The compiler makes one load of it."""
    place = _U(at)
    found = _U(0)
    for index in range(8):
        found |= _U(data[place + _U(index)]) << _U(8 * index)
    return found


@compile
def _hash(data: UInt8Array, start: int, size: int) -> Key:
    """Return what a word is looked up by."""
    first, second = _load(data, start), _load(data, start + 8)
    if size < 8:
        first &= (_U(1) << _U(8 * size)) - _U(1)
        second = _U(0)
    elif size < 16:
        second &= (_U(1) << _U(8 * (size - 8))) - _U(1)
    mixed = (first ^ (second << _U(23)) ^ (second >> _U(41))) * _U(0x9E3779B97F4A7C15)
    mixed ^= mixed >> _U(29)
    mixed = (mixed ^ second) * _U(0xC2B2AE3D27D4EB4F)
    at = 16
    while at < size:
        part = _load(data, start + at)
        if size - at < 8:
            part &= (_U(1) << _U(8 * (size - at))) - _U(1)
        mixed ^= mixed >> _U(31)
        mixed = (mixed ^ part) * _U(0x94D049BB133111EB)
        at += 8
    mixed ^= mixed >> _U(32)
    mixed *= _U(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> _U(30)
    return ((mixed >> _U(_LENGTH)) << _U(_LENGTH)) | _U(size), first, second


@compile
def _find(rows: UInt64Array, words: UInt8Array, data: UInt8Array, start: int, size: int, key: Key) -> np.uint64:
    """Return where the row of a word is, or the empty one where it would be."""
    mask = _U(len(rows) // _ROW - 1)
    slot = (key[0] >> _U(_LENGTH)) & mask
    while True:
        at = slot * _U(_ROW)
        if rows[at] == _U(0):
            return at
        if rows[at] == key[0] and rows[at + _U(1)] == key[1] and rows[at + _U(2)] == key[2]:
            place = rows[at + _U(3)]
            index = _U(16)
            while index < _U(size) and words[place + index] == data[_U(start) + index]:
                index += _U(1)
            if index >= _U(size):
                return at
        slot = (slot + _U(1)) & mask


@compile
def _put(
    rows: UInt64Array, words: UInt8Array, used: int, at: np.uint64, data: UInt8Array, start: int, size: int,
    key: Key,
) -> None:  # fmt: skip
    """Fill an empty row, and put the word's bytes behind those `used`."""
    rows[at], rows[at + _U(1)], rows[at + _U(2)], rows[at + _U(3)] = key[0], key[1], key[2], _U(used)
    for index in range(size):
        words[used + index] = data[start + index]


@compile
def _move_rows(old: UInt64Array, new: UInt64Array) -> None:
    """Put every row into a larger table."""
    mask = _U(len(new) // _ROW - 1)
    for index in range(0, len(old), _ROW):
        if old[index]:
            slot = (old[index] >> _U(_LENGTH)) & mask
            while new[slot * _U(_ROW)]:
                slot = (slot + _U(1)) & mask
            for column in range(_ROW):
                new[slot * _U(_ROW) + _U(column)] = old[index + column]


class _Table:
    """Rows and the words' bytes, and how much of both is in use: `entries` and `used`."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all words."""
        self.rows = _make_rows(_LEAST_ROWS)
        self.words: UInt8Array = np.zeros(_LEAST_BYTES, np.uint8)
        self.entries = self.used = 0

    def _take(self, state: Int64Array) -> None:
        """Take over from a kernel how much is in use."""
        self.entries, self.used = map(int, state[2:4])

    def make_room(self) -> None:
        """See to it that another batch of words has a place."""
        if not self._has_rows:
            count = len(self.rows) // _ROW
            # Moving rows costs as much as finding them: few times while memory is no matter.
            larger = _make_rows(count * (4 if count < _MANY_ROWS else 2))
            _move_rows(self.rows, larger)
            self.rows = larger
        if self.used + _ROOM > len(self.words):
            larger_words = np.zeros(2 * len(self.words), np.uint8)
            larger_words[: self.used] = self.words[: self.used]
            self.words = larger_words

    @property
    def _has_rows(self) -> bool:
        return _has_rows(self.entries, len(self.rows))


_ROOM = _SPAN + _MAX_BYTES + _PAD + 1


@compile
def _has_rows(entries: int, size: int) -> bool:
    """Whether a table of so many numbers is at most five eighths full after another batch."""
    return 8 * (entries + _BATCH) <= 5 * (size // _ROW)


def _make_rows(count: int) -> UInt64Array:
    """Return so many empty rows, each in one line of the cache."""
    whole = np.zeros(_ROW * (count + 1), np.uint64)
    skipped = -whole.ctypes.data % _LINE // 8
    return whole[skipped : skipped + _ROW * count]


# --- Places where a text is cut --------------------------------------------------------------------

_ORDINARY, _WHITE, _MAYBE = 0, 1, 2
# What a byte may begin: nothing of interest, a delimiter, or a character of several bytes that may be one.
_KINDS: UInt8Array = np.zeros(256, np.uint8)
_KINDS[[0x09, 0x0A, 0x0C, 0x0D, 0x20]] = _WHITE
_KINDS[[0xC2, 0xE1, 0xE2, 0xE3]] = _MAYBE


@compile
def _delimiter(data: UInt8Array, at: int) -> int:
    """Return the code point of the delimiter of `word_counts` that begins at a byte of a kind, else 0."""
    place = _U(at)
    byte = data[place]
    if _KINDS[byte] == _WHITE:
        return int(byte)
    second, third = data[place + _U(1)], data[place + _U(2)]
    if byte == 0xC2:
        return 0xA0 if second == 0xA0 else 0
    if byte == 0xE1:
        return 0x1680 if second == 0x9A and third == 0x80 else 0
    if byte == 0xE3:
        return 0x3000 if second == 0x80 and third == 0x80 else 0
    if second == 0x80 and (0x80 <= third <= 0x8A or third == 0xA8 or third == 0xA9 or third == 0xAF):
        return 0x2000 + int(third) - 0x80
    return 0x205F if second == 0x81 and third == 0x9F else 0


@compile
def _count_characters(data: UInt8Array, start: int, stop: int) -> int:
    """Return the characters of a text: its bytes but for those that continue one."""
    found = 0
    for byte in data[start:stop]:
        found += (byte & 0xC0) != 0x80
    return found


# --- Counting --------------------------------------------------------------------------------------
# A row's numbers here: of each split occurrences and documents, 32 bits each, and the last document seen.

_HALF = 32
_MAX_WORDS = 1 << 31
"""Words after which a table must be emptied: it holds no larger counts."""


class LongRun(NamedTuple):
    """A run of more characters than a word may have: whether held out, and the number of its document."""

    text: str
    held_out: bool
    document: int


class CountTable(_Table):
    """Words with their occurrences and documents in each of two splits.

    `counted` is how many occurrences it holds. See `is_large`.
    """

    def __init__(self, longest: int) -> None:
        """Leave runs of more characters aside."""
        super().__init__()
        self._longest = longest

    def add(
        self, texts: Texts, held_out: BoolArray, characters: Int64Array
    ) -> tuple[Int64Array, list[LongRun]]:
        """Count documents; return the words of each split, int64[2], and the runs left aside.

        Adds the delimiters met, but for the space, to `characters` by code point.
        """
        state = np.array([0, 0, self.entries, self.used, self._documents, 0, 0], np.int64)
        words = np.zeros(2, np.int64)
        long = np.zeros((len(texts.data) // self._longest + 1, 3), np.int64)
        while not _count_words(
            texts.data, texts.ends, held_out, state, self.rows, self.words, characters, words,
            self._longest, long,
        ):  # fmt: skip
            self._take(state)
            self.make_room()
        self._take(state)
        self._documents += len(texts.ends)
        self.counted += int(words.sum())
        runs = [
            LongRun(texts.data[start:stop].tobytes().decode(), bool(held_out[document]), document)
            for start, stop, document in long[: int(state[5])].tolist()
        ]
        return words, runs

    def clear(self) -> None:
        """Forget all words and documents."""
        super().clear()
        self._documents = self.counted = 0

    def is_large(self, limit: int, cost: int) -> bool:
        """Whether it must be emptied: its words, with `cost` bytes for each, take more than `limit`."""
        return self.counted > _MAX_WORDS or self.used + cost * self.entries > limit

    def list_entries(self, most: int) -> Iterator[tuple[list[str], Int64Array]]:
        """Yield all words, at most so many at once, with their numbers, int64[words, 4].

        Those are occurrences and documents of the first split, and of the second.
        """
        places, numbers = np.zeros((most, 2), np.int64), np.zeros((most, 4), np.int64)
        first = 0
        while first < len(self.rows):
            first, found = _list_rows(self.rows, first, places, numbers)
            if found:
                yield read_places(self.words, places[:found]), numbers[:found]

    def add_characters(self, characters: Int64Array) -> None:
        """Add the characters of all words to `characters`, by code point."""
        _add_characters(self.rows, self.words, characters)


@compile
def _count_words(
    data: UInt8Array, ends: Int64Array, held_out: BoolArray, state: Int64Array, rows: UInt64Array,
    table_words: UInt8Array, characters: Int64Array, words: Int64Array, longest: int, long: npt.NDArray[Any],
) -> bool:  # fmt: skip
    """Count from where `state` says; whether all is counted, or else the table has no room for a batch."""
    document, position, entries, used, serial, many, _ = state
    starts = np.empty(_BATCH, np.int64)
    sizes = np.empty(_BATCH, np.int64)
    owners = np.empty(_BATCH, np.int64)
    keys = np.empty((_BATCH, 3), np.uint64)
    mask = _U(len(rows) // _ROW - 1)
    warm = _U(0)
    while document < len(ends) and _has_rows(entries, len(rows)) and used + _ROOM <= len(table_words):
        number, begun = 0, position
        while number < _BATCH and position - begun < _SPAN and document < len(ends):
            start, stop, found = position, ends[document], 0
            while position < stop:
                if _KINDS[data[_U(position)]]:
                    found = _delimiter(data, position)
                    if found:
                        break
                position += 1
            size = position - start
            if size > 0:
                words[int(held_out[document])] += 1
                if size > longest and _count_characters(data, start, position) > longest:
                    long[many, 0], long[many, 1], long[many, 2] = start, position, document
                    many += 1
                else:
                    starts[number], sizes[number], owners[number] = start, size, document
                    key = _hash(data, start, size)
                    keys[number, 0], keys[number, 1], keys[number, 2] = key
                    number += 1
            if position == stop:
                document += 1
                position += 1
            else:
                if found != 32:
                    characters[found] += 1
                position += 1 if found < 0x80 else 2 if found < 0x800 else 3
        for index in range(number):
            # So that the row is on its way when it is needed.
            warm ^= rows[((keys[index, 0] >> _U(_LENGTH)) & mask) * _U(_ROW)]
        for index in range(number):
            start, size, owner = starts[index], sizes[index], owners[index]
            key = (keys[index, 0], keys[index, 1], keys[index, 2])
            at = _find(rows, table_words, data, start, size, key)
            if rows[at] == _U(0):
                _put(rows, table_words, used, at, data, start, size, key)
                used += size
                entries += 1
            column = at + _U(4) + _U(held_out[owner])
            rows[column] += _U(1)
            seen = _U(serial + owner + 1)
            if rows[at + _U(6)] != seen:
                rows[at + _U(6)] = seen
                rows[column] += _U(1) << _U(_HALF)
    state[0], state[1], state[2], state[3], state[5] = document, position, entries, used, many
    state[6] = np.int64(warm & _U(1))  # so that the compiler keeps the looks
    return bool(document >= len(ends))


@compile
def _list_rows(
    rows: UInt64Array, first: int, places: npt.NDArray[Any], numbers: npt.NDArray[Any]
) -> tuple[int, int]:
    """Fill in the words of the rows from `first` on; return where to go on, and how many there are."""
    found = 0
    while first < len(rows) and found < len(places):
        if rows[first]:
            size = np.int64(rows[first] & _U(_MAX_BYTES))
            place = np.int64(rows[first + 3])
            places[found, 0], places[found, 1] = place, place + size
            for split in range(2):
                both = rows[first + 4 + split]
                numbers[found, 2 * split] = np.int64(both & _U(0xFFFFFFFF))
                numbers[found, 2 * split + 1] = np.int64(both >> _U(_HALF))
            found += 1
        first += _ROW
    return first, found


@compile
def _add_characters(rows: UInt64Array, words: UInt8Array, characters: Int64Array) -> None:
    """Add the characters of every word, as often as it occurs."""
    for first in range(0, len(rows), _ROW):
        if rows[first] == _U(0):
            continue
        times = np.int64((rows[first + 4] & _U(0xFFFFFFFF)) + (rows[first + 5] & _U(0xFFFFFFFF)))
        at = np.int64(rows[first + 3])
        stop = at + np.int64(rows[first] & _U(_MAX_BYTES))
        while at < stop:
            byte = np.int64(words[at])
            if byte < 0x80:
                characters[byte] += times
                at += 1
            elif byte < 0xE0:
                characters[(byte & 0x1F) << 6 | (np.int64(words[at + 1]) & 0x3F)] += times
                at += 2
            elif byte < 0xF0:
                low = (np.int64(words[at + 1]) & 0x3F) << 6 | (np.int64(words[at + 2]) & 0x3F)
                characters[(byte & 0x0F) << 12 | low] += times
                at += 3
            else:
                low = (np.int64(words[at + 2]) & 0x3F) << 6 | (np.int64(words[at + 3]) & 0x3F)
                high = (byte & 0x07) << 18 | (np.int64(words[at + 1]) & 0x3F) << 12
                characters[high | low] += times
                at += 4


# --- Looking up ------------------------------------------------------------------------------------
# A row's fifth number here is the word's own: words are numbered as they come.


class LookUp(NamedTuple):
    """The words of some texts: their numbers in a row, int64, and how many each text has, int64[texts].

    `fresh` are where the words met for the first time are, int64[n, 2], numbered on from those before;
    `passing` where those are that are not kept, of numbers -1, -2 and so on.
    """

    numbers: Int64Array
    counts: Int64Array
    fresh: Int64Array
    passing: Int64Array


class NumberTable(_Table):
    """Words by number. `longest`: a word of more characters is not kept; `mean`: see `look_up`."""

    def __init__(self, longest: int, mean: int) -> None:
        super().__init__()
        self._longest, self._mean = longest, mean

    def look_up(self, texts: Texts, *, before: bool, newlines: bool) -> LookUp:
        """Return the words of texts, cut at spaces, with `newlines` at line feeds as well.

        With `before`, a text is cut before each single space that stands between characters that are not white
        (to Python), and the space is its word's. A text is one word where its words have more than `mean`
        characters, cuts included, and with `before` where it holds NUL. No word is empty.
        """
        counts = np.zeros(len(texts.ends), np.int64)
        _count_parts(texts.data, texts.ends, before, newlines, self._mean, counts)
        numbers = np.empty(int(counts.sum()), np.int64)
        fresh, passing = (np.empty((len(numbers), 2), np.int64) for _ in range(2))
        state = np.array([0, 0, self.entries, self.used, 0, 0, 0], np.int64)
        known = self.entries
        while not _look_up(
            texts.data, texts.ends, before, newlines, self._longest, state, self.rows, self.words, counts,
            numbers, fresh, passing,
        ):  # fmt: skip
            self._take(state)
            self.make_room()
        self._take(state)
        found, passed = map(int, state[4:6])
        return LookUp(numbers[:found], counts, fresh[: self.entries - known], passing[:passed])


@compile
def _is_white(data: UInt8Array, at: int) -> bool:
    """Whether the character that begins at a byte is white space to Python."""
    byte = data[_U(at)]
    if byte < 0x80:
        return bool(byte == 32 or 9 <= byte <= 13 or 28 <= byte <= 31)
    if byte == 0xC2 and data[_U(at + 1)] == 0x85:
        return True
    return _KINDS[byte] == _MAYBE and _delimiter(data, at) != 0


@compile
def _is_cut(data: UInt8Array, at: int, start: int, stop: int) -> bool:
    """Whether a text from `start` to `stop` is cut before the space at a byte."""
    if at == start or at + 1 == stop or _is_white(data, at + 1):
        return False
    before = at - 1
    while data[before] & 0xC0 == 0x80:
        before -= 1
    return not _is_white(data, before)


@compile
def _count_parts(
    data: UInt8Array, ends: Int64Array, before: bool, newlines: bool, mean: int, counts: Int64Array
) -> None:
    """Write how many parts each text is cut into, empty ones counted."""
    start = 0
    for text in range(len(ends)):
        stop, cuts = ends[text], 0
        for at in range(start, stop):
            byte = data[at]
            if byte == 32 or (byte == 10 and newlines):
                cuts += not before or _is_cut(data, at, start, stop)
            elif byte == 0 and before:
                cuts = -(1 << 40)
        size = _count_characters(data, start, stop) + (cuts if before else 0)
        counts[text] = cuts + 1 if cuts > 0 and size <= mean * (cuts + 1) else 1
        start = stop + 1


@compile
def _look_up(
    data: UInt8Array, ends: Int64Array, before: bool, newlines: bool, longest: int, state: Int64Array,
    rows: UInt64Array, words: UInt8Array, counts: Int64Array, numbers: Int64Array, fresh: npt.NDArray[Any],
    passing: npt.NDArray[Any],
) -> bool:  # fmt: skip
    """Look up from where `state` says; whether all is done, or else the table has no room for a batch.

    `counts` comes with the parts of each text, and leaves with those that are words.
    """
    text, position, entries, used, found, passed, new = state
    starts = np.empty(_BATCH, np.int64)
    sizes = np.empty(_BATCH, np.int64)
    keys = np.empty((_BATCH, 3), np.uint64)
    mask = _U(len(rows) // _ROW - 1)
    warm = _U(0)
    while text < len(ends) and _has_rows(entries, len(rows)) and used + _ROOM <= len(words):
        number, begun = 0, position
        while number < _BATCH and position - begun < _SPAN and text < len(ends):
            start, stop = position, ends[text]
            first = 0 if text == 0 else ends[text - 1] + 1
            if position == first and counts[text] > 1:
                # From here on the words are counted, below zero: the text is cut.
                counts[text] = -1
            if counts[text] < 0:
                position += before
                while position < stop:
                    byte = data[position]
                    is_space = byte == 32 or (byte == 10 and newlines)
                    if is_space and (not before or _is_cut(data, position, first, stop)):
                        break
                    position += 1
            else:
                position = stop
            size = position - start
            if size > 0:
                starts[number], sizes[number] = start, size
                keys[number, 1] = 1
                if size > longest and _count_characters(data, start, position) > longest:
                    keys[number, 0] = 0
                else:
                    key = _hash(data, start, size)
                    keys[number, 0], keys[number, 1], keys[number, 2] = key
                number += 1
                if counts[text] < 0:
                    counts[text] -= 1
            if position >= stop:
                counts[text] = -1 - counts[text] if counts[text] < 0 else int(size > 0)
                text += 1
                position = stop + 1
            elif not before:
                position += 1
        for index in range(number):
            # So that the row is on its way when it is needed.
            warm ^= rows[((keys[index, 0] >> _U(_LENGTH)) & mask) * _U(_ROW)]
        for index in range(number):
            start, size = starts[index], sizes[index]
            key = (keys[index, 0], keys[index, 1], keys[index, 2])
            if key[0] == _U(0):
                passing[passed, 0], passing[passed, 1] = start, start + size
                passed += 1
                numbers[found] = -passed
            else:
                at = _find(rows, words, data, start, size, key)
                if rows[at] == _U(0):
                    _put(rows, words, used, at, data, start, size, key)
                    rows[at + _U(4)] = _U(entries)
                    fresh[new, 0], fresh[new, 1] = start, start + size
                    new += 1
                    used += size
                    entries += 1
                numbers[found] = np.int64(rows[at + _U(4)])
            found += 1
    state[0], state[1], state[2], state[3] = text, position, entries, used
    state[4], state[5], state[6] = found, passed, new + np.int64(warm & _U(1)) * 0
    return bool(text >= len(ends))


@compile
def sum_lengths(numbers: Int64Array, counts: Int64Array, lengths: Int64Array, sums: Int64Array) -> None:
    """Write the sum of the lengths of each text's words."""
    place = 0
    for text in range(len(counts)):
        total = 0
        for _ in range(counts[text]):
            total += lengths[numbers[place]]
            place += 1
        sums[text] = total


@compile
def copy_ids(
    numbers: Int64Array, starts: Int64Array, lengths: Int64Array, ids: Int32Array, out: Int32Array
) -> None:
    """Write the ids of words one after another."""
    filled = 0
    for index in range(len(numbers)):
        number = numbers[index]
        start = starts[number]
        for at in range(start, start + lengths[number]):
            out[filled] = ids[at]
            filled += 1


# --- Documents -------------------------------------------------------------------------------------

_SINES = np.array([int(abs(math.sin(step + 1)) * 2**32) for step in range(64)], np.uint32)
_TURNS = np.array([7, 12, 17, 22, 5, 9, 14, 20, 4, 11, 16, 23, 6, 10, 15, 21], np.uint32)
_BLOCK = 64


def choose_held_out(texts: Texts, share: float) -> BoolArray:
    """Return which texts are held out, bool[n]: the last eight bytes of a text's MD5 decide (RFC 1321).

    So equal texts are on one side in every corpus, whatever counts or prepares them.
    """
    held_out = np.zeros(len(texts.ends), np.bool_)
    threshold = int(share * 2**64)
    if threshold:
        _hold_out(texts.data, texts.ends, _U(threshold), held_out)
    return held_out


def measure_texts(texts: Texts, held_out: BoolArray) -> Int64Array:
    """Return what each of two splits holds, int64[2, 4]: documents, lines, characters and bytes."""
    totals = np.zeros((2, 4), np.int64)
    _measure(texts.data, texts.ends, held_out, totals)
    return totals


@compile
def _measure(data: UInt8Array, ends: Int64Array, held_out: BoolArray, totals: Int64Array) -> None:
    start = 0
    for document in range(len(ends)):
        stop, split = ends[document], int(held_out[document])
        lines = 1
        for byte in data[start:stop]:
            lines += byte == 10
        totals[split, 0] += 1
        totals[split, 1] += lines
        totals[split, 2] += _count_characters(data, start, stop)
        totals[split, 3] += stop - start
        start = stop + 1


@compile
def _hold_out(data: UInt8Array, ends: Int64Array, threshold: np.uint64, held_out: BoolArray) -> None:
    state = np.empty(4, np.uint32)
    tail = np.empty(2 * _BLOCK, np.uint8)
    start = 0
    for document in range(len(ends)):
        stop = ends[document]
        size = stop - start
        state[0], state[1] = np.uint32(0x67452301), np.uint32(0xEFCDAB89)
        state[2], state[3] = np.uint32(0x98BADCFE), np.uint32(0x10325476)
        while stop - start >= _BLOCK:
            _digest(state, data, start)
            start += _BLOCK
        tail[:] = 0
        for index in range(stop - start):
            tail[index] = data[start + index]
        tail[stop - start] = 0x80
        last = _BLOCK if stop - start < _BLOCK - 8 else 2 * _BLOCK
        for index in range(8):
            tail[last - 8 + index] = np.uint8((_U(8 * size) >> _U(8 * index)) & _U(0xFF))
        for at in range(0, last, _BLOCK):
            _digest(state, tail, at)
        held_out[document] = (_U(state[3]) << _U(32) | _U(state[2])) < threshold
        start = stop + 1


@compile
def _digest(state: npt.NDArray[np.uint32], data: UInt8Array, at: int) -> None:
    """Take a block of 64 bytes into an MD5's state."""
    a, b, c, d = state[0], state[1], state[2], state[3]
    for step in range(64):
        if step < 16:
            mixed, part = (b & c) | (~b & d), step
        elif step < 32:
            mixed, part = (d & b) | (~d & c), (5 * step + 1) & 15
        elif step < 48:
            mixed, part = b ^ c ^ d, (3 * step + 5) & 15
        else:
            mixed, part = c ^ (b | ~d), (7 * step) & 15
        taken = np.uint32(_load(data, at + 4 * part) & _U(0xFFFFFFFF))
        turned = np.uint32(a + mixed + _SINES[step] + taken)
        turn = _TURNS[4 * (step >> 4) + (step & 3)]
        a, d, c = d, c, b
        b = np.uint32(b + ((turned << turn) | (turned >> (np.uint32(32) - turn))))
    state[0] += a
    state[1] += b
    state[2] += c
    state[3] += d
