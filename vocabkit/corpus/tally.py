"""Tally: the running counts of one shard, in bounded memory.

Counting is two C-level `Counter.update` calls a batch (occurrences, and the set of each document's words for
document frequency): about 0.08 s per MB of Latin text on one core, a third of that for scripts with long words.
"""

from __future__ import annotations

import hashlib
import sys
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import chain, islice

import numpy as np

from vocabkit.corpus.white_space import split_all
from vocabkit.corpus.word_counts import RUN_LIMIT, LanguageCounts, Totals, WordTable, cut_long_runs

_ENTRY = 2 * 104
"""Bytes of two dict entries and two small-int counts; the string itself is measured."""


class Tally:
    """Counts of documents by split; `size` estimates the bytes held, so that a caller may flush."""

    def __init__(self, held_out: float) -> None:
        """Hold out this share of documents, chosen by a hash of their text."""
        self._threshold = int(held_out * 2**64)
        self._words = (Counter[str](), Counter[str]())
        self._documents = (Counter[str](), Counter[str]())
        self._rest_words = (Counter[str](), Counter[str]())
        self._rest_documents = (Counter[str](), Counter[str]())
        self._totals = [Totals(), Totals()]

    @property
    def totals(self) -> tuple[Totals, Totals]:
        """Totals of train and held-out so far; kept across `clear`."""
        return self._totals[0], self._totals[1]

    def add(self, documents: Sequence[str]) -> None:
        """Count a batch of documents."""
        if not self._threshold:
            self._add(0, documents)
            return
        held = [
            int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
            < self._threshold
            for text in documents
        ]
        for split in (0, 1):
            wanted = bool(split)
            self._add(split, [t for t, h in zip(documents, held, strict=True) if h == wanted])

    def _add(self, split: int, texts: Sequence[str]) -> None:
        # What can be measured on the batch as one string is: a call per document costs as much as
        # splitting it where documents are lines.
        joined = "".join(texts)
        words = split_all(texts, joined)
        cut = 0
        for index, text in enumerate(texts):
            # Only a document longer than the limit can hold a run longer than it.
            if len(text) > RUN_LIMIT and max(map(len, words[index]), default=0) > RUN_LIMIT:
                words[index], rest, runs = cut_long_runs(words[index])
                self._rest_words[split].update(rest)
                self._rest_documents[split].update(set(rest))
                cut += runs
        self._words[split].update(chain.from_iterable(words))
        self._documents[split].update(chain.from_iterable(map(set, words)))
        self._totals[split] += Totals(
            documents=len(texts),
            lines=joined.count("\n") + len(texts),
            words=sum(map(len, words)),
            characters=len(joined),
            bytes=len(joined.encode()),
            cut_runs=cut,
        )

    @property
    def size(self) -> int:
        """Estimated bytes held: entries, and strings at the mean size of the 500 newest."""
        total = 0
        for counter in (*self._words, *self._rest_words):
            newest = list(islice(reversed(counter), 500))
            if newest:
                mean = sum(map(sys.getsizeof, newest)) / len(newest)
                total += int(len(counter) * (mean + _ENTRY))
        return total

    def clear(self) -> None:
        """Forget the words, keep the totals."""
        for counters in (self._words, self._documents, self._rest_words, self._rest_documents):
            for counter in counters:
                counter.clear()

    def table(self, split: int) -> WordTable:
        """Return the words of a split (0 train, 1 held-out) so far, sorted."""
        words = self._words[split]
        initial = _table(words, self._documents[split], False)
        rest = self._rest_words[split]
        if not rest:
            return initial
        # Continuations are few: each is put in its place, after the same text as a word.
        later = _table(rest, self._rest_documents[split], True)
        place = [bisect_right(initial.words, text) for text in later.words]
        merged: list[str] = []
        start = 0
        for position, text in zip(place, later.words, strict=True):
            merged += initial.words[start:position]
            merged.append(text)
            start = position
        merged += initial.words[start:]
        return WordTable(
            merged,
            np.insert(initial.continuation, place, later.continuation),
            np.insert(initial.count, place, later.count),
            np.insert(initial.documents, place, later.documents),
        )

    def counts(self, language: str) -> LanguageCounts:
        """Return everything counted, as one language's counts."""
        tables = [self.table(0), self.table(1)]
        characters = count_characters(tables)
        return LanguageCounts(language, tables[0], tables[1], characters, *self.totals)


def _table(words: Counter[str], documents: Counter[str], continuation: bool) -> WordTable:
    order = sorted(words)
    size = len(order)
    return WordTable(
        order,
        np.full(size, continuation, dtype=np.bool_),
        np.fromiter(map(words.__getitem__, order), np.int64, size),
        np.fromiter(map(documents.__getitem__, order), np.int64, size),
    )


def count_characters(tables: Sequence[WordTable]) -> dict[str, int]:
    """Return occurrences of each character inside the words of the tables, by code point."""
    total = np.zeros(0x110000, dtype=np.int64)
    for table in tables:
        # Blocks bound the expansion to about 40 MB whatever the table's size.
        for start in range(0, len(table), 200_000):
            words = table.words[start : start + 200_000]
            lengths = np.fromiter(map(len, words), np.int64, len(words))
            code = np.frombuffer("".join(words).encode("utf-32-le"), dtype=np.uint32)
            weight = np.repeat(table.count[start : start + 200_000], lengths)
            # float64 sums are exact below 2^53 within a block; the running total is an integer.
            total += np.bincount(code, weights=weight, minlength=0x110000).astype(np.int64)
    found = np.flatnonzero(total)
    return {chr(code): int(total[code]) for code in found}
