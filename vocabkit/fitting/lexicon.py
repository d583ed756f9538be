"""Lexicon: the distinct rows of all languages in code point order, ready for the trainer's loops.

A row is a span, or a part of one between characters the vocabulary does not cover. Neighbouring rows share
prefixes, and everything that depends on a prefix alone is computed once: on 90 languages that leaves about half
the positions. Rows longer than `SHORT` share nothing: they are processed on a scale of their own.
Rows are the same whatever the weights of the languages, and so is all that is derived from them; `weigh`
gives the weights of the rows. Chooses no characters and finds no pieces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vocabkit.core.errors import FitError
from vocabkit.corpus.spans import SpanTable
from vocabkit.fitting.compilation import Workers, compile
from vocabkit.fitting.sorting import EQUAL, Int32Array, Int64Array, UInt8Array, sort_positions

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

SHORT = 24
"""Longest row that shares prefixes: its probability stays above 1e-300 (see `expectation`)."""
CHUNK = 8_192
"""Characters worked on at a time: two buffers of as many numbers stay in a core's own cache."""
PARTITIONS = 64
"""Parts of the work, the same for any number of threads: their results are added in order."""


@dataclass(frozen=True, slots=True, eq=False)
class Lexicon:
    """Rows of character codes. Code c is `alphabet[c - 1]`; 0 ends a row and stands before the first.

    Row i is `text[offsets[i] : offsets[i + 1] - 1]`. Its first `shared[i]` characters are those of row i − 1.
    `chunks` are row numbers at which nothing is shared, `partitions` numbers of chunks. `count` and
    `documents` are raw sums over the languages; `pairs` maps a language to (row, count) arrays.
    """

    alphabet: npt.NDArray[np.uint32]
    text: Int32Array
    offsets: Int64Array
    shared: UInt8Array
    chunks: Int64Array
    partitions: Int64Array
    count: Int64Array
    documents: Int64Array
    pairs: Mapping[str, tuple[Int32Array, Int64Array]]

    def __len__(self) -> int:
        return len(self.shared)

    @property
    def characters(self) -> int:
        """Characters of the distinct rows."""
        return len(self.text) - 1 - len(self)

    def weigh(self, weights: Mapping[str, float] | None = None) -> FloatArray:
        """Return Σ weight · count of each row (weights default to 1), scaled to keep the total of the counts.

        The scale matters (pieces expected less than half a time are dropped), so it is that of the text.
        """
        if weights is None or all(weights[code] == 1.0 for code in self.pairs):
            return self.count.astype(np.float64)
        total = np.zeros(len(self))
        for code in sorted(self.pairs):
            rows, count = self.pairs[code]
            np.add.at(total, rows, weights[code] * count)
        result: FloatArray = total * (float(self.count.sum()) / float(total.sum()))
        return result

    def strings(self) -> list[str]:
        """Return the rows as text, in order."""
        return decode_strings(self.alphabet, self.text[1:])


def decode_strings(alphabet: npt.NDArray[np.uint32], codes: Int32Array) -> list[str]:
    """Return the strings of codes that are each followed by a 0."""
    points = np.concatenate((np.array([0], np.uint32), alphabet))[codes]
    return points.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass").split("\0")[:-1]


def build_lexicon(
    tables: Mapping[str, SpanTable],
    covered: BoolArray,
    workers: Workers,
    *,
    alphabet: npt.NDArray[np.uint32] | None = None,
) -> Lexicon:
    """Pool the languages' spans, cut at characters outside the vocabulary.

    `covered` is indexed by code point. `alphabet` is that of another lexicon whose pieces are to be found in
    this one; by default the covered characters that occur. Raises `FitError` when nothing is left.
    """
    codes = sorted(tables)
    size, used = 1, np.zeros(0x110000, np.bool_)
    for code in codes:
        table = tables[code]
        size += len(table.text) + len(table)
        used[table.text] = True
    if size >= 2**31:
        raise FitError(
            f"{size - 1:_} characters of distinct spans: at most {2**31 - 2:_} fit in one vocabulary",
            "raise the minimum count when merging counts, or fit fewer languages",
        )
    if alphabet is None:
        alphabet = np.flatnonzero(used & covered).astype(np.uint32)
    text, starts, bounds, count, documents = _pool(tables, codes, alphabet, size)
    if not len(starts):
        raise FitError(
            "no text is left to fit", "look at coverage.character and the languages fitted"
        )
    group, shared, laid = _sort_rows(text, starts, len(alphabet), workers)
    del text, starts
    total = np.zeros(len(shared), np.int64)
    np.add.at(total, group, count)
    seen = np.zeros(len(shared), np.int64)
    np.add.at(seen, group, documents)
    pairs = {
        code: (group[bounds[k] : bounds[k + 1]], count[bounds[k] : bounds[k + 1]])
        for k, code in enumerate(codes)
    }
    return _lay_out(alphabet, laid, shared, total, seen, pairs)


def _pool(
    tables: Mapping[str, SpanTable],
    codes: Sequence[str],
    alphabet: npt.NDArray[np.uint32],
    size: int,
) -> tuple[Int32Array, Int32Array, list[int], Int64Array, Int64Array]:
    """Return all rows' codes in one array, their starts, each language's share of them, counts and documents.

    One language's table is held at a time.
    """
    coded = np.zeros(0x110000, np.int32)
    coded[alphabet] = np.arange(1, len(alphabet) + 1, dtype=np.int32)
    text = np.zeros(size, np.int32)
    starts, counts, seen = [], [], []
    bounds = [0]
    at = 1
    for code in codes:
        table = tables[code]
        found, owner = _cut(table.text, table.offsets, coded, text, at)
        at += len(table.text) + len(table)
        starts.append(found)
        counts.append(table.count[owner])
        seen.append(table.documents[owner])
        bounds.append(bounds[-1] + len(owner))
    empty = np.zeros(0, np.int64)
    return (
        text,
        np.concatenate([np.zeros(0, np.int32), *starts]),
        bounds,
        np.concatenate([empty, *counts]),
        np.concatenate([empty, *seen]),
    )


def build_strings(
    alphabet: npt.NDArray[np.uint32], text: Int32Array, workers: Workers
) -> tuple[Lexicon, Int64Array]:
    """Make a lexicon of strings, each followed by a 0 in `text`, which begins with a 0.

    Returns it with the row of each string. Used for the pieces themselves.
    """
    ends = np.flatnonzero(text == 0)
    starts = (ends[:-1] + 1).astype(np.int32)
    group, shared, laid = _sort_rows(text.copy(), starts, len(alphabet), workers)
    ones = np.ones(len(shared), np.int64)
    return _lay_out(alphabet, laid, shared, ones, ones, {}), group.astype(np.int64)


def _lay_out(
    alphabet: npt.NDArray[np.uint32],
    laid: tuple[Int32Array, Int64Array],
    shared: UInt8Array,
    count: Int64Array,
    documents: Int64Array,
    pairs: Mapping[str, tuple[Int32Array, Int64Array]],
) -> Lexicon:
    text, offsets = laid
    chunks = _cut_chunks(offsets, shared)
    # Partitions hold about as many positions of their own each; boundaries fall between chunks.
    own = np.concatenate(([0], np.cumsum(np.diff(offsets) - shared)))[chunks]
    wanted = np.linspace(0, own[-1], PARTITIONS + 1)
    partitions = np.searchsorted(own, wanted[:-1], side="left")
    partitions = np.append(partitions, len(chunks) - 1).astype(np.int64)
    return Lexicon(alphabet, text, offsets, shared, chunks, partitions, count, documents, pairs)


@compile
def _cut(
    points: npt.NDArray[np.uint32],
    offsets: Int64Array,
    coded: Int32Array,
    text: Int32Array,
    first: int,
) -> tuple[Int32Array, Int32Array]:
    """Write one table's codes into `text` from `first`, a 0 after each span; return row starts and owners."""
    rows = 0
    at = first
    for span in range(len(offsets) - 1):
        before = np.int32(0)
        for i in range(offsets[span], offsets[span + 1]):
            code = coded[points[i]]
            text[at] = code
            at += 1
            if code != 0 and before == 0:
                rows += 1
            before = code
        at += 1
    starts = np.empty(rows, np.int32)
    owner = np.empty(rows, np.int32)
    at = first
    row = 0
    for span in range(len(offsets) - 1):
        before = np.int32(0)
        for _ in range(offsets[span], offsets[span + 1]):
            if text[at] != 0 and before == 0:
                starts[row] = at
                owner[row] = span
                row += 1
            before = text[at]
            at += 1
        at += 1
    return starts, owner


def _sort_rows(
    text: Int32Array, starts: Int32Array, characters: int, workers: Workers
) -> tuple[Int32Array, UInt8Array, tuple[Int32Array, Int64Array]]:
    """Sort rows, the short ones first, and lay the distinct ones out; `text` is destroyed.

    Returns the place of each row among the distinct ones, how much each of these shares with the one before
    it, and their text with its offsets.
    """
    long = _are_long(text, starts)
    chosen = [starts[~long], starts[long]]
    # `agreed` is of the sorted rows, equal ones included.
    agreed = [
        sort_positions(text, rows, characters, workers, step=1, depth=2**31 - 1)[0]
        for rows in chosen
    ]
    new = [shared != EQUAL for shared in agreed]
    for first in new:
        first[:1] = True
    distinct = np.concatenate([rows[kept] for rows, kept in zip(chosen, new, strict=True)])
    shared = np.concatenate((agreed[0][new[0]], np.zeros(int(new[1].sum()), np.uint8)))
    shared[:1] = 0
    laid = _copy_rows(text, distinct)
    # The text has been copied: a row's place can be written over its first character.
    text[np.concatenate(chosen)] = np.cumsum(np.concatenate(new), dtype=np.int32) - np.int32(1)
    return text[starts], shared, laid


@compile
def _are_long(text: Int32Array, starts: Int32Array) -> BoolArray:
    long = np.zeros(len(starts), np.bool_)
    for i in range(len(starts)):
        length = 0
        while length <= SHORT and text[starts[i] + length] != 0:
            length += 1
        long[i] = length > SHORT
    return long


@compile
def _copy_rows(text: Int32Array, starts: Int32Array) -> tuple[Int32Array, Int64Array]:
    size = 1
    for i in range(len(starts)):
        at = starts[i]
        while text[at] != 0:
            at += 1
        size += at - starts[i] + 1
    out = np.zeros(size, np.int32)
    offsets = np.empty(len(starts) + 1, np.int64)
    place = 1
    for i in range(len(starts)):
        offsets[i] = place
        at = starts[i]
        while text[at] != 0:
            out[place] = text[at]
            at += 1
            place += 1
        place += 1
    offsets[len(starts)] = place
    return out, offsets


@compile
def _cut_chunks(offsets: Int64Array, shared: UInt8Array) -> Int64Array:
    """Cut rows into chunks of about `CHUNK` characters and clear `shared` at their first rows."""
    chunks = [np.int64(0)]
    begin = np.int64(1)
    for row in range(len(shared)):
        if row > chunks[-1] and offsets[row + 1] - begin > CHUNK:
            chunks.append(np.int64(row))
            begin = offsets[row]
        if row == chunks[-1]:
            shared[row] = 0
    chunks.append(np.int64(len(shared)))
    return np.array(chunks)
