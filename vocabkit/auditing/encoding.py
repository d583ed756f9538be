"""One pass of each tokenizer over each language, in processes.

One pool serves all tokenizers, by language, so that a process opens one tokenizer at a time; results do not
depend on how many processes there are. Ids are counted and let go, never kept in order.
"""

from __future__ import annotations

import multiprocessing
import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future, as_completed
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import numpy as np
import regex

from vocabkit.auditing.parallel_text import AuditText
from vocabkit.auditing.text_statistics import TextStatistics, cut_ranges, join_types, split_types
from vocabkit.core.arrays import BoolArray, Int32Array, Int64Array
from vocabkit.core.errors import ConfigError, TokenizerError, VocabkitError
from vocabkit.core.folders import fingerprint_file
from vocabkit.core.progress import Progress, Silent
from vocabkit.vocabulary.adapters import Tokenizer
from vocabkit.vocabulary.tokenizers import find_file, open_route, open_tokenizer
from vocabkit.vocabulary.vocabulary import Kind

# --- Opened tokenizers -----------------------------------------------------------------------------
# Tokenizers as a process has them open: the last one, since its jobs come tokenizer by tokenizer.


@dataclass(frozen=True, slots=True)
class Opening:
    """How to open a tokenizer: its path, and the name of its pre-tokenising pattern where the file has none.

    `route` is the language whose view of a vocabulary with blocks it is. `fingerprint` tells a file from what
    was at its path before: a process keeps the last tokenizer open.
    """

    path: str
    pattern: str | None = None
    route: str | None = None
    fingerprint: str = ""

    @classmethod
    def of(cls, path: str | Path, pattern: str | None = None, route: str | None = None) -> Opening:
        """Return how to open a path, by what its file holds now. Raises TokenizerError for a bare folder."""
        file = find_file(path)
        return cls(str(path), pattern, route, fingerprint_file(file) if file.is_file() else "")

    def open(self) -> Tokenizer:
        """Open it. Raises TokenizerError."""
        if self.route is not None:
            return open_route(self.path, self.route)
        return open_tokenizer(self.path, self.pattern)


class Pieces:
    """An open tokenizer with what each id is: its kind, and whether it is part of a character only."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Look at the kinds; bytes are looked at as ids turn up: most of a large vocabulary never does."""
        self.tokenizer = tokenizer
        self.unknown, self.byte, self._text = (
            np.array([kind is wanted for kind in tokenizer.kinds], dtype=np.bool_)
            for wanted in (Kind.UNKNOWN, Kind.BYTE, Kind.NORMAL)
        )
        # The pieces of other styles are text themselves: none is part of a character.
        self._in_parts = tokenizer.style == "byte-level"
        self._partial, self._seen = np.zeros((2, len(self.byte)), dtype=np.bool_)

    def are_partial(self, ids: Int32Array) -> BoolArray:
        """Return which ids are pieces of text, but no whole UTF-8."""
        if not self._in_parts:
            return np.zeros(len(ids), dtype=np.bool_)
        fresh = np.unique(ids[~self._seen[ids]])
        self._seen[fresh] = True
        for index in fresh[self._text[fresh]].tolist():
            data = self.tokenizer.token_bytes(index) or b""
            self._partial[index] = data.decode("utf-8", "ignore").encode() != data
        return self._partial[ids]


_opened: dict[Opening, Pieces] = {}


def reuse_tokenizer(opening: Opening) -> Pieces:
    """Return the tokenizer this process has open, else open it. Raises TokenizerError."""
    if opening not in _opened:
        _opened.clear()
        _opened[opening] = Pieces(opening.open())
    return _opened[opening]


# --- Grapheme cuts ---------------------------------------------------------------------------------
# Graphemes with a token boundary inside, on a sample of a language's lines. Only lines that their tokens spell,
# as they are or normalised, tell where a token ends.

SAMPLE = 60
"""Lines of a language looked at for cut graphemes: 60 of ntrex hold some 7,000 graphemes."""
LONGEST = 1_000_000
"""Characters above which a line is left out of the sample."""


def _cut_graphemes(tokenizer: Tokenizer, lines: Sequence[str]) -> tuple[Int32Array, Int32Array]:
    """Return graphemes with a token boundary inside, and all, of each sampled line that its tokens spell."""
    places = sorted({int(place) for place in np.linspace(0, len(lines) - 1, SAMPLE)})
    sample = [lines[place] for place in places if 0 < len(lines[place]) <= LONGEST] if lines else []
    found = tokenizer.encode_batch(sample)
    used = np.unique(np.concatenate([np.zeros(0, np.int32), *found])).tolist()
    # Asked once for each id, not for each token: a sample repeats its ids a hundred times.
    pieces = {index: tokenizer.token_bytes(index) for index in used}
    cut, seen = [], []
    for line, ids in zip(sample, found, strict=True):
        parts = [pieces[index] for index in ids.tolist()]
        aligned = None if None in parts else _align_tokens(tokenizer, line, [part or b"" for part in parts])
        if aligned is not None:
            text, boundaries = aligned
            ends = _grapheme_ends(text)
            inner = boundaries.difference(ends)
            cut.append(len({bisect_left(ends, place) for place in inner}))
            seen.append(len(ends))
    return np.array(cut, dtype=np.int32), np.array(seen, dtype=np.int32)


def _align_tokens(tokenizer: Tokenizer, line: str, parts: Sequence[bytes]) -> tuple[str, set[int]] | None:
    """The line, normalised if need be, and where tokens end in it, in bytes; None if they do not spell it."""
    spelled, text = b"".join(parts), line
    if not spelled.endswith(text.encode()):
        text = tokenizer.settle(line) or line
        # A space behind the last word is one that encoding puts there.
        spelled = spelled if spelled.endswith(text.encode()) else spelled.removesuffix(b" ")
        if not text or not spelled.endswith(text.encode()):
            return None
    before = len(spelled) - len(text.encode())
    # What the tokens have in front is the space that encoding puts there.
    if spelled[:before].strip(b" "):
        return None
    size = len(spelled) - before
    ends = (end - before for end in accumulate(map(len, parts)))
    return text, {end for end in ends if 0 < end < size}


def _grapheme_ends(text: str) -> Sequence[int]:
    """Return where each grapheme ends, in bytes."""
    if text.isascii() and "\r" not in text:
        return range(1, len(text) + 1)
    return list(accumulate(map(len, map(str.encode, regex.findall(r"\X", text)))))


# --- Tokenizer names -------------------------------------------------------------------------------

GENERIC = frozenset({"assets", "data", "model", "models", "resources", "tok", "tokenizer"})
"""Names that tell nothing apart: they are given with their parent's."""


def name_tokenizers(paths: Sequence[str | Path]) -> tuple[str, ...]:
    """Return a short, distinct name for each path: its last part, with as many parents as tell it apart.

    A file called `tokenizer.model` or `tokenizer.json` goes by its folder's name first. The same path twice
    gets numbers.
    """
    parts = []
    for path in paths:
        full = Path(path).absolute()
        stem = [*full.parts[1:-1], full.stem if full.is_file() else full.name]
        if full.is_file() and full.stem == "tokenizer" and len(stem) > 1:
            stem = [*stem[:-2], stem[-2]]
        parts.append(stem)
    names: list[str] = []
    for place, own in enumerate(parts):
        others = [other for index, other in enumerate(parts) if index != place and other != own]
        depth = 2 if own[-1].lower() in GENERIC and len(own) > 1 else 1
        while depth < len(own) and any(other[-depth:] == own[-depth:] for other in others):
            depth += 1
        name = "/".join(own[-depth:])
        same = sum(used == name or used.startswith(f"{name} (") for used in names)
        names.append(f"{name} ({same + 1})" if same else name)
    return tuple(names)


def open_several(
    tokenizers: Sequence[str | Path | Tokenizer], route: str | None = None, pattern: str | None = None
) -> dict[str, Tokenizer]:
    """Return tokenizers by short, distinct names: paths are opened, and what is open stays as it is.

    Of several, a route is taken by those with blocks. Raises TokenizerError, also where none has the route, and
    ConfigError for a route or a pattern of what is open.
    """
    if not tokenizers:
        raise ConfigError("no tokenizer is named", "vocabkit show TOKENIZER 'some text'")
    names = name_tokenizers([one if isinstance(one, str | Path) else one.name for one in tokenizers])
    opened, missed = dict[str, Tokenizer](), list[TokenizerError]()
    for name, one in zip(names, tokenizers, strict=True):
        if not isinstance(one, str | Path):
            if route is not None or pattern is not None:
                said = "route" if pattern is None else "pattern"
                what = f"a {said} is chosen when a tokenizer is opened"
                raise ConfigError(what, f"open_tokenizer(path, {said}=…)")
            opened[name] = one
            continue
        try:
            opened[name] = Opening(str(one), pattern, route).open()
        except TokenizerError as error:
            if route is None or len(tokenizers) == 1:
                raise
            missed.append(error)
            opened[name] = Opening(str(one), pattern).open()
    if missed and len(missed) == len(opened):
        raise missed[-1]
    return opened


def find_fixed(fixed: str | None, names: Sequence[str], paths: Sequence[str | Path]) -> int:
    """Return the place of the tokenizer of this name or path, the first for None. Raises ConfigError."""
    if fixed is None:
        return 0
    for place, (name, path) in enumerate(zip(names, paths, strict=True)):
        if fixed == name or Path(fixed) == Path(path):
            return place
    what = f"fixed tokenizer {fixed!r} is none of those audited: {', '.join(names)}"
    raise ConfigError(what, "audit it too: its cost of the reference language is needed")


# --- Language encoding -----------------------------------------------------------------------------
# What one tokenizer makes of one language: tokens line by line, words, letters, graphemes. Runs in a process.

Switched = Sequence[tuple[str, str, str]]

OPENING = "("
"""What a word of an unspaced language is encoded after, since a space never stands before it."""
# Lines few and short enough to be encoded at once.
_LINES, _CHARACTERS = 2_000, 1_000_000
_EMPTY = np.zeros(0, dtype=np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """What one tokenizer makes of one language; arrays by line are int32[lines], in the text's order.

    `unknown`, `fallback` and `partial` count unknown tokens, byte pieces, and other tokens that are not whole
    UTF-8; `unknown_characters` what was lost in unknown tokens. `lost` names the characters to blame for it,
    which are lost alone too, and how often each is lost. `ids` and `counts` are the ids used and their
    occurrences. Both are weighted where rows have weights. `word_tokens` int32[types] are the tokens of each
    word type in the middle of a line. `uncovered` are the characters asked about that are not encoded whole.
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
    lost: Mapping[str, int] = field(default_factory=dict)


class _Job(NamedTuple):
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


def _encode_language(job: _Job) -> Encoded:
    """Do one job: a language and a tokenizer. A failure of the tokenizer on the text becomes a value."""
    if multiprocessing.parent_process() is not None:
        # One language a process: threads of the tokenizers library would only fight over the cores.
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
    pieces = reuse_tokenizer(job.opening)
    try:
        return _encode(pieces, job)
    except VocabkitError as error:
        none, no_counts = _EMPTY, np.zeros(0, dtype=np.int64)
        return Encoded(
            job.language, none, none, none, none, none, none, no_counts, none, frozenset(), none, none, none,
            none, error.message,
        )  # fmt: skip


def _encode(pieces: Pieces, job: _Job) -> Encoded:
    tokenizer = pieces.tokenizer
    prefix = "" if job.weights is None else tokenizer.word_prefix
    lines: Sequence[str] = [prefix + line for line in job.lines] if prefix else job.lines
    used = np.zeros(tokenizer.size, dtype=np.int64)
    parts: list[list[Int32Array]] = []
    has_unknown, blamed = bool(pieces.unknown.any()), Counter[str]()
    for start, stop in cut_ranges(lines, _CHARACTERS, _LINES):
        ids, lengths = tokenizer.encode_flat(lines[start:stop])
        # Exact with weights too, since bincount's own are doubles, below 2⁵³ in all.
        heavy = None if job.weights is None else np.repeat(job.weights[start:stop], lengths)
        used += np.bincount(ids, heavy, tokenizer.size).astype(np.int64)
        marks = (pieces.unknown[ids], pieces.byte[ids], pieces.are_partial(ids))
        # Where there is no unknown token, what has no piece may be dropped without a trace: always asked then.
        gone = np.zeros(stop - start, dtype=np.int32)
        if not has_unknown or marks[0].any():
            names = tokenizer.lost_characters(lines[start:stop], (ids, lengths))
            gone[:] = list(map(len, names))
            for place in np.flatnonzero(gone).tolist():
                weight = 1 if job.weights is None else int(job.weights[start + place])
                for character in names[place]:
                    blamed[character] += weight
        sums = (_sum_lines(mark, lengths) for mark in marks)
        parts.append([lengths.astype(np.int32), *sums, gone])
    tokens, unknown, fallback, partial, lost = (
        np.concatenate([_EMPTY, *(part[column] for part in parts)]) for column in range(5)
    )
    seen = np.flatnonzero(used).astype(np.int32)
    words = _count_words(tokenizer, split_types(job.word_types), unspaced=job.unspaced)
    uncovered, cut = _find_uncovered(pieces, job.characters), _cut_graphemes(tokenizer, job.lines)
    of_lines = (tokens, unknown, fallback, partial, lost)
    switched = _count_switched(tokenizer, job.switched)
    # WordPiece loses a whole word for one character: those that it knows are not to blame.
    alone = [tokenizer.word_prefix + character for character in blamed]
    to_blame = [c for c, n in zip(blamed, tokenizer.unknown_characters(alone), strict=True) if n]
    named = {character: blamed[character] for character in to_blame}
    return Encoded(job.language, *of_lines, seen, used[seen], words, uncovered, *cut, *switched, lost=named)


def _sum_lines(marks: BoolArray, lengths: Int64Array) -> Int32Array:
    sums = np.concatenate([[0], np.cumsum(marks, dtype=np.int64)])
    ends = np.cumsum(lengths)
    return np.asarray(sums[ends] - sums[ends - lengths], dtype=np.int32)


def _count_words(tokenizer: Tokenizer, words: Sequence[str], *, unspaced: bool) -> Int32Array:
    """Return tokens of each word as in the middle of a line: after a space, or, unspaced, after a bracket."""
    before = tokenizer.word_prefix + (OPENING if unspaced else "")
    alone = int(tokenizer.count_tokens([before])[0]) if unspaced else 0
    parts = [_EMPTY]
    for start, stop in cut_ranges(words, _CHARACTERS, _LINES):
        lengths = tokenizer.count_tokens([before + word for word in words[start:stop]])
        # A bracket that joins its word would leave none; a word is at least one token.
        parts.append(np.maximum(lengths - alone, 1 if unspaced else 0).astype(np.int32))
    return np.concatenate(parts)


def _find_uncovered(pieces: Pieces, characters: Sequence[str]) -> frozenset[str]:
    """Return the characters that alone, after a space, need an unknown token, byte pieces or parts of UTF-8."""
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
        tokenizer.count_tokens([line[place] for line in lines]).astype(np.int32) for place in range(3)
    )
    return whole, first + second


# --- Encoding --------------------------------------------------------------------------------------

UNSPACED = 2.0
"""ICU words per white-space word from which a language's words are taken to stand without spaces."""
INLINE = 2_000_000
"""Characters times tokenizers up to which starting processes (1 s each) costs more than it saves."""


def start_encoding(
    opening: Opening,
    text: AuditText,
    statistics: Mapping[str, TextStatistics],
    *,
    exemplars: Mapping[str, Iterable[str]] | None = None,
    switched: Mapping[str, Switched] | None = None,
    pool: Executor,
) -> dict[str, Future[Encoded]]:
    """Submit every language of a text to be encoded by a tokenizer; return the jobs in the text's order.

    `exemplars` are further characters to look for coverage of, `switched` lines of two languages with their
    parts. A language that the tokenizer fails on has a `failure`.
    """
    codes = [code for code in text.languages if code in statistics]
    futures = {}
    # The largest first, so that no long one is left for the end.
    for code in sorted(codes, key=lambda code: (-_size(statistics[code]), code)):
        item = statistics[code]
        wanted = {*item.characters_seen, *(exemplars or {}).get(code, ())}
        weights = None if text.weights is None else text.weights[code]
        words, spaceless = join_types(item.word_types), is_unspaced(item)
        letters = tuple(sorted(character for character in wanted if not character.isspace()))
        lines, mixed = text.languages[code], (switched or {}).get(code, ())
        job = _Job(opening, code, lines, weights, words, spaceless, letters, mixed)
        futures[code] = pool.submit(_encode_language, job)
    return {code: futures[code] for code in codes}


def finish_encoding(
    started: Sequence[Mapping[str, Future[Encoded]]],
    statistics: Mapping[str, TextStatistics],
    progress: Progress | None = None,
) -> list[dict[str, Encoded]]:
    """Wait for what `start_encoding` submitted. Raises TokenizerError if a tokenizer does not open."""
    report = progress or Silent()
    codes = {future: code for futures in started for code, future in futures.items()}
    sizes = {code: _size(item) for code, item in statistics.items()}
    report.start("encoding", sum(sizes[code] for code in codes.values()), "characters")
    try:
        for future in as_completed(codes):
            future.result()
            report.advance(sizes[codes[future]])
    finally:
        for future in codes:
            future.cancel()
    report.finish()
    return [{code: job.result() for code, job in futures.items()} for futures in started]


def _size(statistics: TextStatistics) -> int:
    return int(statistics.characters.sum())


def is_unspaced(statistics: TextStatistics) -> bool:
    """Return whether a language's words mostly stand without spaces between them, from its two word counts."""
    words = statistics.words
    return words is not None and int(words.sum()) > UNSPACED * int(statistics.white_space_words.sum())


# --- Sentences -------------------------------------------------------------------------------------
# A few lines of each language with what every tokenizer makes of them, for a reader to look at.

_SHOWN = 5
"""Sentences of a language; fewer where there are more than some hundred languages times tokenizers."""
_MOST_SHOWN = 400
_FIT = (40, 170)
"""Characters of the reference language's line, so that a sentence is one and fits a telephone."""


def choose_lines(text: AuditText, reference: str, tokenizers: int) -> dict[str, tuple[int, ...]]:
    """Return the lines of each language to show: the same of all aligned languages, evenly over the text."""
    if text.weights is not None or not text.languages:
        return {}
    aligned = [code for code in text.aligned_languages if code in text.languages]
    most = max(1, min(_SHOWN, _MOST_SHOWN // max(1, tokenizers * len(text.languages))))
    chosen: dict[str, tuple[int, ...]] = {}
    if aligned:
        head = text.languages[reference if reference in aligned else aligned[0]]
        there = [n for n in range(len(head)) if all(text.languages[code][n].strip() for code in aligned)]
        chosen = dict.fromkeys(aligned, _spread([n for n in there if _fits(head[n])] or there, most))
    for code, lines in text.languages.items():
        if code not in chosen:
            there = [n for n, line in enumerate(lines) if line.strip()]
            chosen[code] = _spread([n for n in there if _fits(lines[n])] or there, most)
    return chosen


def _fits(line: str) -> bool:
    return _FIT[0] <= len(line) <= _FIT[1]


def _spread(places: Sequence[int], most: int) -> tuple[int, ...]:
    count = min(most, len(places))
    return tuple(places[(2 * n + 1) * len(places) // (2 * count)] for n in range(count))


Split = tuple[str | tuple[int, ...], ...]
"""The tokens of a line, as in `figures.Sentence`."""


def split_lines(opening: Opening, lines: Sequence[str]) -> list[Split]:
    """Return the tokens of each line, cut to what a reader looks at; none of a line that cannot be encoded."""
    pieces = reuse_tokenizer(opening)
    found: list[Split] = []
    for line in lines:
        try:
            (ids,) = pieces.tokenizer.encode_batch([line])
        except VocabkitError:
            found.append(())
            continue
        found.append(tuple(_show_piece(pieces, index) for index in ids.tolist()))
    return found


def _show_piece(pieces: Pieces, index: int) -> str | tuple[int, ...]:
    data = None if pieces.unknown[index] else pieces.tokenizer.token_bytes(index)
    if data is None:
        return ()
    text = data.decode("utf-8", "ignore")
    return text if text.encode() == data and text else tuple(data)
