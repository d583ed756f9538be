"""What one tokenizer makes of one language: tokens line by line, words, letters, graphemes. Runs in a process.

Ids are counted and let go, never kept in order. What the counts mean is told in `metrics`.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vocabkit.audit.grapheme_cuts import cut_graphemes
from vocabkit.audit.opened_tokenizers import Opening, Pieces, reuse_tokenizer
from vocabkit.audit.segmentation import split_types
from vocabkit.core.errors import VocabkitError
from vocabkit.vocabulary.tokenizers import Tokenizer

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Switched = Sequence[tuple[str, str, str]]

OPENING = "("
"""What a word of an unspaced language is encoded after, since a space never stands before it."""
_LINES, _CHARACTERS = 2_000, 1_000_000
_EMPTY = np.zeros(0, dtype=np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """What one tokenizer makes of one language; arrays by line are int32[lines], in the text's order.

    `unknown`, `fallback` and `partial` count unknown tokens, byte pieces, and other tokens that are not whole
    UTF-8; `unknown_characters` what was lost in unknown tokens. `ids` and `counts` are the ids used and their
    occurrences, weighted where rows have weights. `word_tokens` int32[types] are the tokens of each word type
    in the middle of a line. `uncovered` are the characters asked about that are not encoded whole.
    `cut_graphemes` of `seen_graphemes` have a token boundary inside, by line of a sample of lines whose tokens
    spell the line. `switched` and `halves` are the tokens of code-switched lines, and of their two parts alone.
    """

    language: str
    tokens: Int32Array
    unknown: Int32Array
    fallback: Int32Array
    partial: Int32Array
    unknown_characters: Int32Array
    ids: Int32Array
    counts: Int64Array
    word_tokens: Int32Array
    uncovered: frozenset[str]
    cut_graphemes: Int32Array
    seen_graphemes: Int32Array
    switched: Int32Array
    halves: Int32Array
    failure: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A language to encode and all that is asked about it; `weights` are the rows' where they are words.

    `word_types` are ICU's words, a line each: a million of them one by one take a second to send.
    """

    opening: Opening
    language: str
    lines: tuple[str, ...]
    weights: Int64Array | None
    word_types: str
    unspaced: bool
    characters: tuple[str, ...]
    switched: Switched


def encode_language(job: Job) -> Encoded:
    """Do one job: a language and a tokenizer. A failure of the tokenizer on the text becomes a value."""
    if multiprocessing.parent_process() is not None:
        # One language a process: threads of the tokenizers library would only fight over the cores.
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
    pieces = reuse_tokenizer(job.opening)
    try:
        return _encode(pieces, job)
    except VocabkitError as error:
        return _fail(job.language, error.message)


def _fail(language: str, reason: str) -> Encoded:
    none, no_counts = _EMPTY, np.zeros(0, dtype=np.int64)
    return Encoded(
        language, none, none, none, none, none, none, no_counts, none, frozenset(),
        none, none, none, none, reason,
    )  # fmt: skip


def _encode(pieces: Pieces, job: Job) -> Encoded:
    tokenizer = pieces.tokenizer
    prefix = "" if job.weights is None else tokenizer.word_prefix
    lines: Sequence[str] = [prefix + line for line in job.lines] if prefix else job.lines
    used = np.zeros(tokenizer.size, dtype=np.int64)
    parts: list[list[Int32Array]] = []
    has_unknown = bool(pieces.unknown.any())
    for start, stop in _cut(lines):
        ids, lengths = tokenizer.encode_flat(lines[start:stop])
        weights = None
        if job.weights is not None:
            weights = np.repeat(job.weights[start:stop], lengths)
        used += _count(ids, weights, tokenizer.size)
        marks = (pieces.unknown[ids], pieces.byte[ids], pieces.are_partial(ids))
        # Where there is no unknown token, what has no piece may be dropped without a trace: always asked then.
        gone = np.zeros(stop - start, dtype=np.int32)
        if not has_unknown or marks[0].any():
            gone[:] = tokenizer.unknown_characters(lines[start:stop], (ids, lengths))
        sums = (_sum_lines(mark, lengths) for mark in marks)
        parts.append([lengths.astype(np.int32), *sums, gone])
    tokens, unknown, fallback, partial, lost = (
        np.concatenate([_EMPTY, *(part[column] for part in parts)]) for column in range(5)
    )
    seen = np.flatnonzero(used).astype(np.int32)
    cut, graphemes = cut_graphemes(tokenizer, job.lines)
    switched, halves = _count_switched(tokenizer, job.switched)
    return Encoded(
        job.language,
        tokens,
        unknown,
        fallback,
        partial,
        lost,
        seen,
        used[seen],
        _count_words(tokenizer, split_types(job.word_types), unspaced=job.unspaced),
        _find_uncovered(pieces, job.characters),
        cut,
        graphemes,
        switched,
        halves,
    )


def _cut(lines: Sequence[str]) -> Iterable[tuple[int, int]]:
    """Ranges of lines that are few and short enough to be encoded at once."""
    start, size = 0, 0
    for place, line in enumerate(lines):
        size += len(line)
        if size >= _CHARACTERS or place + 1 - start >= _LINES:
            yield start, place + 1
            start, size = place + 1, 0
    if start < len(lines):
        yield start, len(lines)


def _count(ids: Int32Array, weights: Int64Array | None, size: int) -> Int64Array:
    """Occurrences by id; exact, since bincount's own weights are doubles only below 2⁵³ in all."""
    if weights is None:
        return np.bincount(ids, minlength=size).astype(np.int64)
    return np.bincount(ids, weights=weights, minlength=size).astype(np.int64)


def _sum_lines(marks: BoolArray, lengths: Int64Array) -> Int32Array:
    sums = np.concatenate([[0], np.cumsum(marks, dtype=np.int64)])
    ends = np.cumsum(lengths)
    return np.asarray(sums[ends] - sums[ends - lengths], dtype=np.int32)


def _count_words(tokenizer: Tokenizer, words: Sequence[str], *, unspaced: bool) -> Int32Array:
    """Tokens of each word as in the middle of a line: after a space, or, unspaced, after a bracket."""
    before = tokenizer.word_prefix + (OPENING if unspaced else "")
    alone = int(tokenizer.count_tokens([before])[0]) if unspaced else 0
    parts = [_EMPTY]
    for start, stop in _cut(words):
        lengths = tokenizer.count_tokens([before + word for word in words[start:stop]])
        # A bracket that joins its word would leave none; a word is at least one token.
        parts.append(np.maximum(lengths - alone, 1 if unspaced else 0).astype(np.int32))
    return np.concatenate(parts)


def _find_uncovered(pieces: Pieces, characters: Sequence[str]) -> frozenset[str]:
    """The characters that alone, after a space, need an unknown token, byte pieces or parts of UTF-8."""
    if not characters:
        return frozenset()
    prefix = pieces.tokenizer.word_prefix
    ids, lengths = pieces.tokenizer.encode_flat([prefix + character for character in characters])
    lost = _sum_lines(pieces.unknown[ids] | pieces.byte[ids] | pieces.are_partial(ids), lengths)
    return frozenset(c for c, count in zip(characters, lost.tolist(), strict=True) if count)


def _count_switched(tokenizer: Tokenizer, lines: Switched) -> tuple[Int32Array, Int32Array]:
    if not lines:
        return _EMPTY, _EMPTY
    whole, first, second = (
        tokenizer.count_tokens([line[place] for line in lines]).astype(np.int32)
        for place in range(3)
    )
    return whole, first + second
