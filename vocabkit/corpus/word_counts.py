"""WordCounts: what a corpus says, counted once; every later stage starts here and never re-reads text.

Per language two tables of raw whitespace-delimited words (train, and a held-out share of documents), a
character table that is never truncated, and totals. Raw means before any normalisation: normalising a word
at a time equals normalising the line (0 of 506,330 lines differ under nmt_nfkc), so one count serves every
normaliser. Nothing here reads text (see `counting`) or knows the files (`counts_folder`, which
imports these types and is therefore imported where it is used).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

RUN_LIMIT = 1_000
"""Longest run of characters kept whole; a longer one is cut at a grapheme and its parts are continuations."""
SPLITS = ("train", "held_out")


@dataclass(frozen=True, slots=True)
class Totals:
    """What one split of one language holds, before any truncation.

    `cut_runs` counts runs longer than `RUN_LIMIT` characters; `discarded` the occurrences of words dropped
    by a minimum count.
    """

    documents: int = 0
    lines: int = 0
    words: int = 0
    characters: int = 0
    bytes: int = 0
    cut_runs: int = 0
    discarded: int = 0

    def __add__(self, other: Totals) -> Totals:
        """Return the sum, field by field."""
        return Totals(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True, slots=True, eq=False)
class WordTable:
    """Words of one split: sorted by (word, continuation), with occurrences and document frequency.

    `continuation` marks the later parts of a cut run, which do not follow white space.
    """

    words: Sequence[str]
    continuation: BoolArray
    count: Int64Array
    documents: Int64Array

    def __len__(self) -> int:
        return len(self.words)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, WordTable)
            and list(self.words) == list(other.words)
            and all(
                np.array_equal(getattr(self, name), getattr(other, name))
                for name in ("continuation", "count", "documents")
            )
        )

    __hash__ = None  # type: ignore[assignment]

    def rows(self) -> Iterator[tuple[tuple[str, bool], tuple[int, int]]]:
        """Yield ((word, continuation), (count, documents)) in table order."""
        keys = zip(self.words, self.continuation.tolist(), strict=True)
        return zip(
            keys, zip(self.count.tolist(), self.documents.tolist(), strict=True), strict=True
        )

    @classmethod
    def from_rows(cls, rows: Mapping[tuple[str, bool], tuple[int, int]]) -> WordTable:
        """Build a table from a mapping, in any order."""
        order = sorted(rows)
        return cls(
            [word for word, _ in order],
            np.array([flag for _, flag in order], dtype=np.bool_),
            np.array([rows[key][0] for key in order], dtype=np.int64),
            np.array([rows[key][1] for key in order], dtype=np.int64),
        )

    def __add__(self, other: WordTable) -> WordTable:
        """Return the table of both corpora together; exact, associative and commutative."""
        merged = dict(self.rows())
        for key, (count, documents) in other.rows():
            before = merged.get(key, (0, 0))
            merged[key] = (before[0] + count, before[1] + documents)
        return WordTable.from_rows(merged)


@dataclass(frozen=True, slots=True)
class LanguageCounts:
    """One language's counts: the two word tables, the characters of both, and the totals of each split."""

    language: str
    train: WordTable
    held_out: WordTable
    characters: Mapping[str, int]
    totals: Totals
    held_out_totals: Totals

    def __add__(self, other: LanguageCounts) -> LanguageCounts:
        """Return the counts of both corpora together."""
        characters = Counter(self.characters)
        characters.update(other.characters)
        return LanguageCounts(
            self.language,
            self.train + other.train,
            self.held_out + other.held_out,
            dict(sorted(characters.items())),
            self.totals + other.totals,
            self.held_out_totals + other.held_out_totals,
        )

    def split(self, name: str) -> WordTable:
        """Return the table called `train` or `held_out`."""
        return {"train": self.train, "held_out": self.held_out}[name]


@dataclass(frozen=True, slots=True)
class WordCounts:
    """Counts of a corpus by language code. `folder` is where they were loaded from, None in memory."""

    languages: Mapping[str, LanguageCounts]
    folder: Path | None = None

    @property
    def totals(self) -> dict[str, Totals]:
        """Train totals by language; reads no table."""
        return {code: self.totals_of(code)[0] for code in self.languages}

    def totals_of(self, code: str) -> tuple[Totals, Totals]:
        """Return one language's totals, train and held out, without reading its tables."""
        if self.folder is not None:
            from vocabkit.corpus.counts_folder import read_totals

            return read_totals(self.folder, code)
        return self.languages[code].totals, self.languages[code].held_out_totals

    @property
    def fingerprint(self) -> str:
        """Digest of the content: equal counts, however made, have equal fingerprints."""
        from vocabkit.corpus.counts_folder import fingerprint_all

        return fingerprint_all(self)

    def __add__(self, other: WordCounts) -> WordCounts:
        """Return the counts of both corpora together, in memory. For large folders use `merge_counts`."""
        merged = dict(self.languages)
        for code, counts in other.languages.items():
            merged[code] = merged[code] + counts if code in merged else counts
        return WordCounts({code: merged[code] for code in sorted(merged)})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WordCounts) and dict(self.languages) == dict(other.languages)

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def from_texts(cls, texts: Mapping[str, Iterable[str]], *, held_out: float = 0.0) -> WordCounts:
        """Count documents given in memory: language code → documents."""
        from vocabkit.corpus.tally import Tally

        languages = {}
        for code in sorted(texts):
            with Tally(held_out) as tally:
                tally.add(list(texts[code]))
                languages[code] = tally.counts(code)
        return cls(languages)

    @classmethod
    def load(cls, folder: str | Path) -> WordCounts:
        """Open a counts folder; tables are read when a language is asked for. Raises `CountsError`."""
        from vocabkit.corpus.counts_folder import open_folder

        return open_folder(Path(folder))

    def save(self, folder: Path) -> None:
        """Write every language's tables into an existing, empty folder."""
        from vocabkit.corpus.counts_folder import save_all

        save_all(self, folder)
