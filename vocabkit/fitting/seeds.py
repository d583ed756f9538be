"""Seeds: the substrings a unigram fit starts from, weighted by counts.

A seed is a closed substring of 2 to `max_length` characters inside one row that SentencePiece's rules allow
as a piece: no allowed extension by one character, to the left or to the right, occurs exactly as often. The
others can be left out because wherever they occur a longer seed does too; keeping them is what makes an EM
collapse (on 300,000 word types 4.8 million substrings are frequent, 0.55 million closed, and the top 200,000
of the former end at 36,612 pieces instead of 50,000). A whole row is closed by itself. Finds candidates
only; trains nothing.

Level-wise: a substring of length L is a pair of substrings of length L − 1 that overlap, both frequent. Each
level gives the pairs consecutive numbers, in code point order, so equal numbers mean equal strings: there is
no hash to collide. One level beyond `max_length` is computed to close the last one.
Cost: 17 sorts, of ever fewer positions; about 60 bytes of memory per character of distinct rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vocabkit.core.progress import Progress
from vocabkit.corpus.spans import piece_ends
from vocabkit.fitting.coverage import WORD_MARK
from vocabkit.fitting.rows import Int64Array, Rows, decode_rows

Int32Array = npt.NDArray[np.int32]

MAX_LENGTH = 16


@dataclass(frozen=True, slots=True)
class Seeds:
    """Seeds by falling weight × length, then length, then code points.

    `weight` is on the scale of the rows' weights, which is what a trainer needs beside characters counted
    from the same rows; `count` is raw occurrences. `found` is how many there were before the size limit.
    """

    pieces: list[str]
    weight: Int64Array
    count: Int64Array
    found: int

    def __len__(self) -> int:
        return len(self.pieces)


@dataclass(frozen=True, slots=True)
class _Level:
    first: Int64Array
    count: Int64Array
    weight: Int64Array


def find_seeds(
    rows: Rows,
    size: int,
    *,
    min_count: int = 2,
    min_documents: int = 1,
    max_length: int = MAX_LENGTH,
    progress: Progress | None = None,
) -> Seeds:
    """Return the best `size` closed substrings of the rows.

    `min_count` is a floor on raw occurrences, whatever the weights. `min_documents` is a floor on the
    summed document frequency of the rows a substring occurs in: an upper bound of its own document
    frequency (two words of one document count twice), so it never drops a piece it should keep.
    """
    if progress:
        progress.start("seeds", max_length + 1, "levels")
    search = _Search(rows, min_count, min_documents)
    levels: list[tuple[int, _Level]] = []
    for length in range(2, max_length + 2):
        level, open_before = search.extend(length)
        if levels:
            before = levels[-1][1]
            closed = ~open_before
            levels[-1] = (
                length - 1,
                _Level(before.first[closed], before.count[closed], before.weight[closed]),
            )
        if progress:
            progress.advance(1)
        if not len(level.first):
            break
        levels.append((length, level))
    if levels and levels[-1][0] > max_length:
        levels.pop()
    if progress:
        progress.finish()
    return _rank(rows, levels, size)


class _Search:
    """The state between two levels: which frequent substring of the current length starts where."""

    def __init__(self, rows: Rows, min_count: int, min_documents: int) -> None:
        self.rows = rows
        self.min_count = min_count
        self.min_documents = min_documents
        lengths = np.diff(rows.offsets)
        self.ends = piece_ends(rows.text, rows.offsets)
        self.row_of = np.repeat(np.arange(len(rows), dtype=np.int32), lengths)
        # Numbers of single characters are their code points: already in order, all of them frequent
        # enough to be looked at. The word mark inside a row is no part of any substring.
        self.name: Int32Array = np.append(rows.text.astype(np.int32), np.int32(-1))
        inside = np.ones(len(rows.text), np.bool_)
        inside[rows.offsets[:-1]] = False
        self.name[:-1][inside & (rows.text == ord(WORD_MARK))] = -1
        self.names = 0x110000
        self.places: Int64Array = np.flatnonzero(self.name >= 0)

    def extend(self, length: int) -> tuple[_Level, npt.NDArray[np.bool_]]:
        """Go one character longer; return the frequent substrings and which shorter ones are not closed."""
        rows, name = self.rows, self.name
        places = self.places
        inside = places + length <= self.ends[places]
        places = places[inside]
        places = places[name[places + 1] >= 0]
        pair = name[places].astype(np.int64) * self.names + name[places + 1]
        order = np.argsort(pair, kind="stable")
        pair, places = pair[order], places[order]
        new = np.ones(len(pair), np.bool_)
        np.not_equal(pair[1:], pair[:-1], out=new[1:])
        starts = np.flatnonzero(new)
        owner = self.row_of[places]
        if not len(starts):
            empty = np.zeros(0, np.int64)
            self.places = empty
            return _Level(empty, empty, empty), np.zeros(self.names, np.bool_)
        count = np.add.reduceat(rows.count[owner], starts)
        frequent = count >= self.min_count
        if self.min_documents > 1:
            # Places are in text order within a group, so a row that holds the substring twice is adjacent.
            again = np.zeros(len(owner), np.bool_)
            again[1:] = (owner[1:] == owner[:-1]) & ~new[1:]
            documents = np.where(again, 0, rows.documents[owner])
            frequent &= np.add.reduceat(documents, starts) >= self.min_documents
        weight = np.add.reduceat(rows.weight[owner], starts)[frequent]
        first = places[starts[frequent]]
        count = count[frequent]

        longest = np.zeros(self.names, np.int64)
        np.maximum.at(longest, name[first], count)
        np.maximum.at(longest, name[first + 1], count)
        not_closed = self._counts_before == longest if length > 2 else np.zeros(0, np.bool_)

        number = np.where(frequent, np.cumsum(frequent) - 1, -1).astype(np.int32)
        named = np.repeat(number, np.diff(np.append(starts, len(places))))
        self.name = np.full(len(name), -1, np.int32)
        self.name[places] = named
        self.names = max(len(first), 1)
        self.places = np.sort(places[named >= 0])
        self._counts_before = count
        return _Level(first, count, weight), not_closed

    _counts_before: Int64Array


def _rank(rows: Rows, levels: list[tuple[int, _Level]], size: int) -> Seeds:
    if not levels:
        empty = np.zeros(0, np.int64)
        return Seeds([], empty, empty, 0)
    first = np.concatenate([level.first for _, level in levels])
    count = np.concatenate([level.count for _, level in levels])
    weight = np.concatenate([level.weight for _, level in levels])
    length = np.repeat([length for length, _ in levels], [len(level.first) for _, level in levels])
    # Levels are in order of length, and within one in code point order: a stable sort keeps both as ties.
    best = np.argsort(-(weight * length), kind="stable")[:size]
    ends = np.cumsum(length[best])
    offsets = np.append(0, ends).astype(np.int64)
    source = np.repeat(first[best] - offsets[:-1], length[best]) + np.arange(offsets[-1])
    pieces = list(decode_rows(rows.text[source], offsets))
    return Seeds(pieces, weight[best], count[best], len(first))
