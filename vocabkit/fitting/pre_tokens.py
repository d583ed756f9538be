"""Pre-tokens: what a byte-level tokenizer's pattern makes of the counted words, with counts per language.

Words are split in batches, a space before each that follows white space, as in a line: patterns look at
what follows a space, never across a word. White space itself is not in WordCounts and so not counted: runs
of spaces, tabs, line ends, and which word began a line. A first word is counted like any other, after
a space; a tab or a no-break space counts as one.

(White space that SentencePiece deletes, U+0085 and vertical tab, may stand in a word; several patterns
applied in turn can take it together with the next word's space.)

Splitting is done by `regex`, whose reading of these patterns is that of tokenizers' Oniguruma; spawned
processes take a language each, and the outcome does not depend on how many.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import regex

from vocabkit.core.arrays import Float64Array, Int32Array, Int64Array, UInt8Array, list_ranges
from vocabkit.core.errors import ConfigError, FitError
from vocabkit.core.progress import Progress, Silent
from vocabkit.corpus.shard_map import open_executor
from vocabkit.corpus.word_counts import LanguageCounts, WordCounts, WordTable, load_language
from vocabkit.fitting.bpe import SymbolRows
from vocabkit.vocabulary.adapters import BYTE_ALPHABET
from vocabkit.vocabulary.tokenizers import GGUF_NAMES, PATTERNS

WHITESPACE = (r" ?\S+|\s+(?!\S)|\s+",)
"""Nothing but words, as SentencePiece splits: digits and punctuation join the letters beside them."""
_SPACE = regex.compile(r"\s")
_BATCH = 20_000


class LanguagePreTokens(NamedTuple):
    """One language's pre-tokens: rows of the table, how often each occurs in train and in held-out text."""

    rows: Int32Array
    train: Int64Array
    held_out: Int64Array


@dataclass(frozen=True, slots=True, eq=False)
class PreTokens:
    """Distinct pre-tokens of all languages: row r is the UTF-8 `text[offsets[r]:offsets[r + 1]]`."""

    patterns: tuple[str, ...]
    text: UInt8Array
    offsets: Int64Array
    languages: Mapping[str, LanguagePreTokens]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def row(self, index: int) -> bytes:
        """The bytes of one row."""
        return self.text[self.offsets[index] : self.offsets[index + 1]].tobytes()


def find_patterns(name: str) -> tuple[str, ...]:
    """The patterns a name stands for, applied one after another. Raises ConfigError listing the names."""
    if name == "whitespace":
        return WHITESPACE
    found = PATTERNS.get(GGUF_NAMES.get(name, name))
    if found is None:
        names = ", ".join(sorted({"whitespace", *PATTERNS, *GGUF_NAMES}))
        raise ConfigError(f"pre_tokens.pattern = {name!r}: no such pattern", f"one of: {names}")
    return found


def count_pre_tokens(
    counts: WordCounts, patterns: Sequence[str], languages: Sequence[str], *, workers: int = 1,
    progress: Progress | None = None,
) -> PreTokens:  # fmt: skip
    """Split the words of both splits of the languages, in this order, into pre-tokens.

    More than one of `workers` are spawned processes; they serve counts in a folder only.
    """
    report = progress or Silent()
    report.start("splitting words", len(languages), "languages")
    table: dict[bytes, int] = {}
    found: dict[str, LanguagePreTokens] = {}
    with ExitStack() as stack:
        tasks = len(languages) if counts.folder is not None else 1
        pool = open_executor(workers, tasks, stack)
        if counts.folder is not None and workers > 1 and tasks > 1:
            # The largest first, so that none is left to run alone at the end.
            order = sorted(languages, key=lambda code: (-counts.totals_of(code)[0].bytes, code))
            jobs = {code: pool.submit(_split_folder, counts.folder, code, tuple(patterns)) for code in order}
            parts: Iterator[tuple[str, _Part]] = ((code, jobs.pop(code).result()) for code in order)
        else:
            parts = ((c, _split_language(counts.languages[c], patterns)) for c in languages)
        for code, (joined, train, held_out) in parts:
            pieces = joined.split(b"\n") if joined else []
            enter = table.setdefault
            rows = np.fromiter((enter(p, len(table)) for p in pieces), np.int32, len(pieces))
            found[code] = LanguagePreTokens(rows, train, held_out)
            report.advance(1)
    report.finish()
    offsets = np.concatenate(([0], np.cumsum(np.fromiter(map(len, table), np.int64, len(table)))))
    text = np.frombuffer(b"".join(table), np.uint8)
    return PreTokens(tuple(patterns), text, offsets, {code: found[code] for code in languages})


_Part = tuple[bytes, Int64Array, Int64Array]


def _split_folder(folder: Path, code: str, patterns: tuple[str, ...]) -> _Part:
    return _split_language(load_language(folder, code), patterns)


def _split_language(counts: LanguageCounts, patterns: Sequence[str]) -> _Part:
    """The distinct pre-tokens of one language, joined by line feeds, with their counts in each split."""
    compiled = [regex.compile(pattern) for pattern in patterns]
    table: dict[str, int] = {}
    parts = []
    for words in (counts.train, counts.held_out):
        rows: list[Int32Array] = []
        amounts: list[Int64Array] = []
        for text, starts, count in _join_words(words):
            pieces = _split(text, compiled)
            enter = table.setdefault
            rows.append(np.fromiter((enter(p, len(table)) for p in pieces), np.int32, len(pieces)))
            ends = np.cumsum(np.fromiter(map(len, pieces), np.int64, len(pieces)))
            # A piece belongs to the word its last character is in: only the first may be the space before.
            amounts.append(count[np.searchsorted(starts, ends - 1, side="right") - 1])
        parts.append((rows, amounts))
    sums = []
    for rows, amounts in parts:
        total = np.zeros(len(table), np.int64)
        for places, amount in zip(rows, amounts, strict=True):
            np.add.at(total, places, amount)
        sums.append(total)
    return "\n".join(table).encode(), sums[0], sums[1]


def _join_words(words: WordTable) -> Iterator[tuple[str, Int64Array, Int64Array]]:
    """Words joined as in a line, where each begins, and its count; continuations each alone.

    Alone as well are words with white space that does not delimit words (U+000B, U+0085): a pattern's run of
    white space would go on into the space before the next word.
    """
    for first in range(0, len(words), _BATCH):
        stop = min(first + _BATCH, len(words))
        listed = list(islice(words.words, first, stop))
        count, inside = words.count[first:stop], words.continuation[first:stop]
        alone = inside
        if _SPACE.search("".join(listed)):
            alone = inside | np.array([_SPACE.search(word) is not None for word in listed])
        if alone.any():
            for place in np.flatnonzero(alone):
                text = listed[place] if inside[place] else " " + listed[place]
                yield text, np.zeros(1, np.int64), count[place : place + 1]
            listed = [word for word, apart in zip(listed, alone, strict=True) if not apart]
            count = count[~alone]
        if listed:
            lengths = np.fromiter(map(len, listed), np.int64, len(listed)) + 1
            yield " " + " ".join(listed), np.cumsum(lengths) - lengths, count


def _split(text: str, compiled: Iterable[regex.Pattern[str]]) -> list[str]:
    """Split a text by each pattern in turn; what a pattern does not match is a piece too."""
    pieces = [text]
    for pattern in compiled:
        pieces = [part for piece in pieces for part in _split_once(piece, pattern)]
    return pieces


def _split_once(text: str, pattern: regex.Pattern[str]) -> list[str]:
    found: list[str] = pattern.findall(text)
    if sum(map(len, found)) == len(text):
        return [part for part in found if part]
    parts = []
    done = 0
    for match in pattern.finditer(text):
        start, stop = match.span()
        if start > done:
            parts.append(text[done:start])
        if stop > start:
            parts.append(text[start:stop])
        done = stop
    return [*parts, text[done:]] if done < len(text) else parts


# --- Byte rows -------------------------------------------------------------------------------------
# Rows the merge engine takes: bytes as ids, languages pooled by weight or kept apart.
#
# Weights become integers once, after summing over languages, at the largest power of two that leaves the sum of
# all pairs inside 62 bits (at most 2²⁰): the same sum whatever the order, and no rounding of consequence. Raw
# counts stay beside them, since a weight must not turn one occurrence into evidence.

_MOST = 2**62
_SCALE = 20

BYTE_ORDER = tuple(BYTE_ALPHABET[letter] for letter in sorted(BYTE_ALPHABET))
"""The bytes in the order of their ids in a new vocabulary: that of the letters that stand for them."""


def byte_symbols(pre_tokens: PreTokens, first: int) -> Int32Array:
    """The id of every byte of the table, byte ids counting up from `first`."""
    ids = np.zeros(256, np.int32)
    ids[np.frombuffer(b"".join(BYTE_ORDER), np.uint8)] = np.arange(first, first + 256)
    return ids[pre_tokens.text]


def pool_languages(
    pre_tokens: PreTokens, symbols: Int32Array, offsets: Int64Array, weights: Mapping[str, float]
) -> SymbolRows:
    """Every row once: raw counts and weighted ones summed over languages. Raises FitError on overflow.

    `offsets` may go on beyond the table's rows; those others count nothing.
    """
    raw = np.zeros(len(offsets) - 1, np.int64)
    exact = np.zeros(len(offsets) - 1, np.float64)
    for code, own in pre_tokens.languages.items():
        # Rows of one language are distinct.
        raw[own.rows] += own.train
        exact[own.rows] += weights[code] * own.train
    natural = all(value == 1.0 for value in weights.values())
    weight = raw if natural else scale_counts(exact, np.diff(offsets))
    check_sum(raw, np.diff(offsets))
    return SymbolRows(symbols, offsets, raw, weight, np.zeros(len(raw), np.int32), np.zeros_like(raw))


def scale_counts(exact: Float64Array, lengths: Int64Array) -> Int64Array:
    """Weighted counts as integers, to the largest power of two at which all pairs together stay exact."""
    total = max(float(exact @ lengths), 1.0)
    scale = 2.0 ** min(_SCALE, int(np.floor(np.log2(_MOST / total))) - 1)
    return np.rint(exact * scale).astype(np.int64)


def check_sum(raw: Int64Array, lengths: Int64Array) -> None:
    """Raise FitError where all pairs together could exceed 62 bits."""
    total = float(raw.astype(np.float64) @ lengths)
    if total >= _MOST:
        raise FitError(
            f"{total:.3g} symbols of text are more than 64-bit counts hold (4.6e18)",
            "count a sample of the text: vocabkit count CORPUS --share 0.1 -o DIR",
        )


class Parted(NamedTuple):
    """Rows with a group a language. `first[g]` is where group g's own rows begin, `used[g]` which they are."""

    rows: SymbolRows
    first: tuple[int, ...]
    used: tuple[Int64Array, ...]


def part_languages(
    pre_tokens: PreTokens, symbols: Int32Array, offsets: Int64Array,
    development: Mapping[str, tuple[Int32Array, Int64Array]] | None = None,
) -> Parted:  # fmt: skip
    """A group a language, in the order of the table; watched is its held-out text, or `development`.

    `development` gives other rows of `symbols` to watch instead, and their counts, by language.
    """
    parts: list[tuple[Int32Array, Int64Array, Int64Array, Int64Array, Int32Array]] = []
    first, used = [0], []
    for group, (code, own) in enumerate(pre_tokens.languages.items()):
        held = own.held_out if development is None else np.zeros_like(own.held_out)
        kept = np.flatnonzero((own.train > 0) | (held > 0))
        chosen, train, watched = own.rows[kept], own.train[kept], held[kept]
        used.append(kept)
        if development is not None:
            others, counts = development[code]
            chosen = np.concatenate([chosen, others])
            train = np.concatenate([train, np.zeros_like(counts)])
            watched = np.concatenate([watched, counts])
        lengths = np.diff(offsets)[chosen]
        ids = symbols[list_ranges(offsets[chosen], lengths)]
        parts.append((ids, lengths, train, watched, np.full(len(chosen), group, np.int32)))
        first.append(first[-1] + len(chosen))
    ids, lengths, train, watched, groups = (np.concatenate(column) for column in zip(*parts, strict=True))
    check_sum(train, lengths)
    rows = SymbolRows(ids, np.concatenate(([0], np.cumsum(lengths))), train, train, groups, watched)
    return Parted(rows, tuple(first[:-1]), tuple(used))
