"""What one tokenizer makes of one language: tokens line by line, words, letters, graphemes. Runs in a process.

Ids are counted and let go, never kept in order. What the counts mean is told in `metrics`.
"""

from __future__ import annotations

import multiprocessing
import os
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt
import regex

from vocabkit.core.errors import VocabkitError
from vocabkit.vocabulary.tokenizers import Tokenizer, open_tokenizer
from vocabkit.vocabulary.vocabulary import Kind

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Switched = Sequence[tuple[str, str, str]]

SAMPLE = 60
"""Lines of a language looked at for cut graphemes: 60 of ntrex hold some 7,000 graphemes."""
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


@dataclass(frozen=True, slots=True)
class Opening:
    """How to open a tokenizer: its path, and the name of its pre-tokenising pattern where the file has none.

    `fingerprint` tells a file from what was at its path before: a process keeps the last tokenizer open.
    """

    path: str
    pattern: str | None = None
    fingerprint: str = ""

    def open(self) -> Tokenizer:
        """Open it. Raises TokenizerError."""
        return open_tokenizer(self.path, self.pattern)


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A language to encode and all that is asked about it; `weights` are the rows' where they are words."""

    opening: Opening
    language: str
    lines: tuple[str, ...]
    weights: Int64Array | None
    word_types: tuple[str, ...]
    unspaced: bool
    characters: tuple[str, ...]
    switched: Switched


_CODES = {kind: code for code, kind in enumerate(Kind)}


class Pieces:
    """An open tokenizer with what each id is: its kind, and whether it is part of a character only."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Look at the kinds; bytes are looked at as ids turn up: most of a large vocabulary never does."""
        self.tokenizer = tokenizer
        kinds = np.array([_CODES[kind] for kind in tokenizer.kinds], dtype=np.uint8)
        self.unknown = kinds == _CODES[Kind.UNKNOWN]
        self.byte = kinds == _CODES[Kind.BYTE]
        self._text = (kinds == _CODES[Kind.NORMAL]) | (kinds == _CODES[Kind.USER])
        self._partial = np.zeros(len(kinds), dtype=np.bool_)
        self._seen = np.zeros(len(kinds), dtype=np.bool_)

    def are_partial(self, ids: Int32Array) -> BoolArray:
        """Return which ids are pieces of text, but no whole UTF-8."""
        fresh = np.unique(ids[~self._seen[ids]])
        self._seen[fresh] = True
        for index in fresh[self._text[fresh]].tolist():
            self._partial[index] = not _is_whole(self.tokenizer.token_bytes(index) or b"")
        return self._partial[ids]


_opened: dict[Opening, Pieces] = {}


def reuse_tokenizer(opening: Opening) -> Pieces:
    """Return the tokenizer this process has open, else open it. Raises TokenizerError."""
    if opening not in _opened:
        _opened.clear()
        _opened[opening] = Pieces(opening.open())
    return _opened[opening]


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
    for start, stop in _cut(lines):
        ids, lengths = tokenizer.encode_flat(lines[start:stop])
        weights = None
        if job.weights is not None:
            weights = np.repeat(job.weights[start:stop], lengths)
        used += _count(ids, weights, tokenizer.size)
        marks = (pieces.unknown[ids], pieces.byte[ids], pieces.are_partial(ids))
        parts.append([lengths.astype(np.int32), *(_sum_lines(mark, lengths) for mark in marks)])
    tokens, unknown, fallback, partial = (
        np.concatenate([_EMPTY, *(part[column] for part in parts)]) for column in range(4)
    )
    seen = np.flatnonzero(used).astype(np.int32)
    cut, graphemes = _cut_graphemes(tokenizer, job.lines)
    switched, halves = _count_switched(tokenizer, job.switched)
    return Encoded(
        job.language,
        tokens,
        unknown,
        fallback,
        partial,
        _count_lost(tokenizer, lines, unknown, bool(pieces.unknown.any())),
        seen,
        used[seen],
        _count_words(tokenizer, job.word_types, unspaced=job.unspaced),
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


def _is_whole(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _count_lost(
    tokenizer: Tokenizer, lines: Sequence[str], unknown: Int32Array, has_unknown: bool
) -> Int32Array:
    """Characters lost by line; asked only of lines with an unknown token, or where there is no such token."""
    lost = np.zeros(len(lines), dtype=np.int32)
    places = np.flatnonzero(unknown) if has_unknown else np.arange(len(lines))
    if len(places):
        lost[places] = tokenizer.unknown_characters([lines[place] for place in places.tolist()])
    return lost


def _count_words(tokenizer: Tokenizer, words: Sequence[str], *, unspaced: bool) -> Int32Array:
    """Tokens of each word as in the middle of a line: after a space, or, unspaced, after a bracket."""
    before = tokenizer.word_prefix + (OPENING if unspaced else "")
    alone = len(tokenizer.encode_batch([before])[0]) if unspaced else 0
    parts = [_EMPTY]
    for start, stop in _cut(words):
        lengths = tokenizer.encode_flat([before + word for word in words[start:stop]])[1]
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


def _cut_graphemes(tokenizer: Tokenizer, lines: Sequence[str]) -> tuple[Int32Array, Int32Array]:
    """Graphemes with a token boundary inside, and all, of each sampled line that its tokens spell."""
    places = sorted({int(place) for place in np.linspace(0, len(lines) - 1, SAMPLE)})
    sample = (
        [lines[place] for place in places if 0 < len(lines[place]) <= _CHARACTERS] if lines else []
    )
    found = tokenizer.encode_batch(sample)
    used = np.unique(np.concatenate([_EMPTY, *found])).tolist()
    # Asked once for each id, not for each token: a sample repeats its ids a hundred times.
    pieces = {index: tokenizer.token_bytes(index) for index in used}
    cut, seen = [], []
    for line, ids in zip(sample, found, strict=True):
        parts = [pieces[index] for index in ids.tolist()]
        if None in parts:
            continue
        aligned = _align_tokens(tokenizer, line, [part or b"" for part in parts])
        if aligned is not None:
            text, boundaries = aligned
            ends = _grapheme_ends(text)
            inner = boundaries.difference(ends)
            cut.append(len({bisect_left(ends, place) for place in inner}))
            seen.append(len(ends))
    return np.array(cut, dtype=np.int32), np.array(seen, dtype=np.int32)


def _align_tokens(
    tokenizer: Tokenizer, line: str, parts: Sequence[bytes]
) -> tuple[str, set[int]] | None:
    """The line, normalised if need be, and where tokens end in it, in bytes; None if they do not spell it."""
    spelled = b"".join(parts)
    text = next((form for form in _forms(tokenizer, line) if spelled.endswith(form.encode())), None)
    if text is None:
        return None
    before = len(spelled) - len(text.encode())
    # What the tokens have in front is the space that encoding puts there.
    if spelled[:before].strip(b" "):
        return None
    size = len(spelled) - before
    ends = (end - before for end in accumulate(map(len, parts)))
    return text, {end for end in ends if 0 < end < size}


def _forms(tokenizer: Tokenizer, line: str) -> Iterable[str]:
    yield line
    normalized = tokenizer.normalize(line)
    if normalized:
        yield normalized


def _grapheme_ends(text: str) -> Sequence[int]:
    """Where each grapheme ends, in bytes."""
    if text.isascii() and "\r" not in text:
        return range(1, len(text) + 1)
    return list(accumulate(map(len, map(str.encode, regex.findall(r"\X", text)))))


def _count_switched(tokenizer: Tokenizer, lines: Switched) -> tuple[Int32Array, Int32Array]:
    if not lines:
        return _EMPTY, _EMPTY
    whole, first, second = (
        tokenizer.encode_flat([line[place] for line in lines])[1].astype(np.int32)
        for place in range(3)
    )
    return whole, first + second
