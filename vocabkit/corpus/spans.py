"""Spans: what a trainer may build pieces inside of, derived from WordCounts by normaliser and piece rules.

A span is the longest stretch of normalised text that SentencePiece's rules allow one piece to cover: no
white space inside, no change of Unicode script (Hiragana and Katakana count as Han, inherited marks as what
they follow, digits and punctuation are Common), and, if asked, single digits or groups of three. Where a
mark stands between two scripts a piece may begin with the mark and go on, so the span is not cut
(`piece_ends`). A span that follows white space begins with U+2581; the others are continuations, so "iPhone用"
is ▁iPhone + 用. All work is on flat arrays of code points: 7.2 million words take seconds. Nothing here
chooses pieces.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import unicodedata2

from vocabkit.core.arrays import BoolArray, Int64Array, UInt8Array, list_ranges, load_arrays, save_arrays
from vocabkit.core.errors import ConfigError, CountsError
from vocabkit.core.progress import Progress, Silent
from vocabkit.core.results import LoadedMapping
from vocabkit.core.text import INHERITED, script_names, script_table
from vocabkit.corpus.normalization import Normalizer, active_characters, charsmap_for, load_normalizer
from vocabkit.corpus.shard_map import open_executor
from vocabkit.corpus.word_counts import (
    DELIMITERS,
    SPLITS,
    WordCounts,
    WordTable,
    load_language,
)

WORD_START = 0x2581
"""Code point of ▁, which begins every word-initial span."""
_SPACE = chr(WORD_START)
DIGIT_RULES = ("sentencepiece", "single", "groups")

CodePoints = npt.NDArray[np.uint32]
_ANY = np.uint8(255)


@dataclass(frozen=True, slots=True, eq=False)
class SpanTable:
    """Distinct spans of one language: flat code points, offsets (n + 1), occurrences, document frequency.

    Rows are in order of `key`, a 64-bit hash of the span that is the same in every language and run.
    `documents` is an upper bound where several words of a document share a span.
    """

    text: CodePoints
    offsets: Int64Array
    count: Int64Array
    documents: Int64Array
    key: npt.NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.count)

    def strings(self) -> list[str]:
        """Return the spans as text, in table order."""
        text = self.text.astype("<u4").tobytes().decode("utf-32-le")
        bounds = self.offsets.tolist()
        return [text[a:b] for a, b in itertools.pairwise(bounds)]


@dataclass(frozen=True, slots=True)
class Spans:
    """The spans of each language, with the rules they were derived by.

    `mismatches` holds, per language, the raw words on which the rule and its charsmap disagree; `symbols`, how
    often each user-defined symbol was met. No span holds one.
    """

    normalizer: Normalizer
    digits: str
    languages: Mapping[str, SpanTable]
    mismatches: Mapping[str, Sequence[str]]
    symbols: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def _build_spans(
    words: WordTable, normalizer: Normalizer, digits: str = "sentencepiece", symbols: Sequence[str] = ()
) -> tuple[SpanTable, list[str], dict[str, int]]:
    """Derive one language's spans; also return the raw words that rule and charsmap normalise differently.

    The third is how often each of `symbols` occurs, as typed or as the normaliser makes it.
    """
    met = dict.fromkeys(symbols, 0)
    alone = ahead = np.zeros(len(words), dtype=np.bool_)
    if symbols:
        cut = _cut_at_symbols(words.words, ~words.continuation, words.count, met)
        alone, ahead = cut.alone, cut.ahead
        words = WordTable(cut.texts, ~cut.initial, words.count[cut.owners], words.documents[cut.owners])
    flat, lengths = _flatten(words.words)
    starts = np.concatenate(([0], np.cumsum(lengths)))
    active = np.zeros(len(words), dtype=np.bool_)
    if len(flat):
        active = np.logical_or.reduceat(active_characters(normalizer)[flat], starts[:-1]) & ~alone
    changed = np.flatnonzero(active)
    raw = [words.words[i] for i in changed.tolist()]
    normal = normalizer.normalize_words(raw)
    differing: list[str] = []
    if normalizer.name in ("nfc", "nfkc"):
        by_charsmap = normalizer.apply_charsmap(raw)
        differing = [r for r, a, b in zip(raw, normal, by_charsmap, strict=True) if a != b]
    rows = np.flatnonzero(~active)
    texts, owners, initial = _split_at_spaces(normal, changed, words.continuation)
    if symbols:
        cut = _cut_at_symbols(texts, initial, words.count[owners], met)
        # What is normalised to a space before a symbol is a ▁ alone, and so is what a word began with.
        pairs = zip(changed.tolist(), normal, strict=True)
        begins = ~words.continuation
        left = [row for row, n in pairs if ahead[row] and (n.endswith(" ") or (begins[row] and not n))]
        texts = [*cut.texts, *[_SPACE] * len(left)]
        owners = np.concatenate((owners[cut.owners], np.array(left, dtype=np.int64)))
        initial = np.concatenate((cut.initial, np.zeros(len(left), dtype=np.bool_)))
    more, more_lengths = _flatten(texts)
    keep = np.repeat(~active, lengths)
    joined = np.concatenate((flat[keep], more))
    joined_lengths = np.concatenate((lengths[rows], more_lengths))
    owner = np.concatenate((rows, owners))
    word_initial = np.concatenate((~words.continuation[rows], initial))
    text, offsets = _prefix(joined, joined_lengths, word_initial)
    cuts = _span_starts(text, offsets, digits)
    return _group(text, cuts, offsets, words.count[owner], words.documents[owner]), differing, met


class _Cut(NamedTuple):
    """Parts of texts, by row: the text they are of, whether they start a word, whether a symbol comes next.

    `alone` are those that are but the ▁ of the space before a symbol.
    """

    texts: list[str]
    owners: Int64Array
    initial: BoolArray
    ahead: BoolArray
    alone: BoolArray


def _cut_at_symbols(texts: Sequence[str], initial: BoolArray, count: Int64Array, met: dict[str, int]) -> _Cut:
    """Cut texts at the symbols in `met`, the longest at each place, and add up there how often they occur.

    A symbol that follows white space leaves ▁ alone before it; what comes after a symbol is a continuation.
    """
    pattern = re.compile("|".join(map(re.escape, sorted(met, key=len, reverse=True))))
    rows: list[tuple[str, int, bool, bool, bool]] = []
    for row, (text, first) in enumerate(zip(texts, initial.tolist(), strict=True)):
        start = 0
        for match in pattern.finditer(text):
            met[match.group()] += int(count[row])
            part, begins = text[start : match.start()], first and not start
            if part or begins:
                rows.append((part or _SPACE, row, begins and bool(part), True, not part))
            start = match.end()
        if text[start:]:
            rows.append((text[start:], row, first and not start, False, False))
    flags = (np.array([line[place] for line in rows], dtype=np.bool_) for place in (2, 3, 4))
    return _Cut([line[0] for line in rows], np.array([line[1] for line in rows], dtype=np.int64), *flags)


def _flatten(words: Sequence[str]) -> tuple[CodePoints, Int64Array]:
    lengths = np.fromiter(map(len, words), np.int64, len(words))
    data = "".join(words).encode("utf-32-le", "surrogatepass")
    return np.frombuffer(data, dtype="<u4").astype(np.uint32, copy=False), lengths


def _split_at_spaces(
    normal: Sequence[str], changed: Int64Array, continuation: BoolArray
) -> tuple[list[str], Int64Array, BoolArray]:
    """Split normalised words where the normaliser put spaces; a part after a space starts a word."""
    texts: list[str] = []
    owners: list[int] = []
    initial: list[bool] = []
    for text, row in zip(normal, changed.tolist(), strict=True):
        follows_space = not continuation[row]
        for index, part in enumerate(text.split(" ")):
            if part:
                texts.append(part)
                owners.append(row)
                initial.append(follows_space or index > 0)
    return texts, np.array(owners, dtype=np.int64), np.array(initial, dtype=np.bool_)


def _prefix(flat: CodePoints, lengths: Int64Array, initial: BoolArray) -> tuple[CodePoints, Int64Array]:
    """Put ▁ before every word-initial row; return the flat text and its offsets."""
    offsets = np.concatenate(([0], np.cumsum(lengths + initial)))
    text = np.full(int(offsets[-1]), WORD_START, dtype=np.uint32)
    body = np.ones(len(text), dtype=np.bool_)
    body[offsets[:-1][initial]] = False
    text[body] = flat
    return text, offsets


def _span_starts(text: CodePoints, offsets: Int64Array, digits: str) -> BoolArray:
    """Return, per code point, whether a span starts there. `offsets` are the rows of the flat text."""
    starts = _row_starts(text, offsets)
    change, marks = _script_changes(text, starts)
    # After a mark no cut: a piece that begins with the mark may go on into the other script.
    starts |= change & ~marks
    if digits != "sentencepiece":
        starts |= _digit_starts(text, starts, digits)
    return starts


def piece_ends(text: CodePoints, offsets: Int64Array) -> Int64Array:
    """Return, per code point, the end (exclusive) of the longest piece that SentencePiece lets start there.

    It is the end of the row, except where a mark stands between two scripts ("aً." in one span): a piece that
    begins before the marks ends with them, one that begins with a mark may go on.
    """
    size = len(text)
    starts = _row_starts(text, offsets)
    change, marks = _script_changes(text, starts)
    change &= marks
    ends = np.repeat(offsets[1:], np.diff(offsets)).astype(np.int64)
    if not change.any():
        return ends
    position = np.arange(size, dtype=np.int64)
    # The nearest change after each place, or the row's end where that comes first.
    at = np.where(change, position, size)
    following = np.append(np.minimum.accumulate(at[::-1])[::-1][1:], size)
    nearest = np.minimum(following, ends)
    inherited = _piece_scripts()[text] == script_names().index(INHERITED)
    last = np.maximum.accumulate(np.where(inherited, -1, position))
    before = np.minimum(nearest, size) - 1
    skips = inherited & (nearest < ends) & (last[before] < position)
    beyond = np.append(nearest, size)[np.minimum(nearest, size)]
    found: Int64Array = np.where(skips, np.minimum(beyond, ends), nearest)
    return found


def _row_starts(text: CodePoints, offsets: Int64Array) -> BoolArray:
    starts: BoolArray = text == WORD_START
    starts[offsets[:-1][np.diff(offsets) > 0]] = True
    return starts


def _script_changes(text: CodePoints, starts: BoolArray) -> tuple[BoolArray, BoolArray]:
    """Return where the script is another than the character before has, and where that one is a mark."""
    script = _piece_scripts()[text]
    # ▁ takes the script of what follows: it never makes a boundary with the character after it.
    script[text == WORD_START] = _ANY
    inherited = script == script_names().index(INHERITED)
    # Half the memory traffic of 64 bits, and this is most of the time a language takes.
    width = np.int32 if len(text) < 2**31 else np.int64
    position: npt.NDArray[Any] = np.arange(len(text), dtype=width)
    zero = position.dtype.type(0)
    row_start = np.maximum.accumulate(np.where(starts, position, zero)) if len(text) else position
    last = np.maximum.accumulate(np.where(inherited, zero, position)) if len(text) else position
    script = np.where(inherited, np.where(last >= row_start, script[last], _ANY), script)
    previous = np.concatenate(([_ANY], script[:-1]))
    change = (script != previous) & (script != _ANY) & (previous != _ANY) & ~starts
    return change, np.concatenate(([False], inherited[:-1]))


def _digit_starts(text: CodePoints, starts: BoolArray, digits: str) -> BoolArray:
    is_digit = _digits()[text]
    behind = np.concatenate(([False], is_digit[:-1]))
    if digits == "single":
        # A digit stands alone, also after ▁: "▁3" is ▁ + 3, as SentencePiece's split_digits has it.
        return is_digit | (behind & ~starts)
    edge = is_digit != behind
    position = np.arange(len(text), dtype=np.int64)
    run = position - np.maximum.accumulate(np.where(edge | starts, position, 0))
    word_start = np.concatenate(([False], (text == WORD_START)[:-1]))
    found: BoolArray = (edge | (is_digit & (run % 3 == 0))) & ~word_start
    return found


@cache
def _piece_scripts() -> UInt8Array:
    """Scripts as SentencePiece's piece rules read them: Hiragana, Katakana and U+30FC are Han."""
    names = script_names()
    table = script_table().copy()
    han = names.index("Hani")
    for name in ("Hira", "Kana"):
        table[table == names.index(name)] = han
    table[0x30FC] = han
    return table


@cache
def _digits() -> BoolArray:
    return np.array([unicodedata2.category(chr(code)) == "Nd" for code in range(0x110000)])


def _group(
    text: CodePoints, starts: BoolArray, offsets: Int64Array, count: Int64Array, documents: Int64Array
) -> SpanTable:
    """Add up equal spans. Hashes find them; their code points are then compared, so equality is exact."""
    begin = np.flatnonzero(starts)
    bounds = np.concatenate((begin, [len(text)])).astype(np.int64)
    owner = np.searchsorted(offsets, begin, side="right") - 1
    key = hash_spans(text, bounds)
    order = np.argsort(key, kind="stable")
    sorted_key = key[order]
    first = np.ones(len(order), dtype=np.bool_)
    first[1:] = sorted_key[1:] != sorted_key[:-1]
    group = np.cumsum(first) - 1
    lead = order[first]
    _check_equal(text, bounds, order[~first], lead[group[~first]])
    total = np.zeros(len(lead), dtype=np.int64)
    seen = np.zeros(len(lead), dtype=np.int64)
    np.add.at(total, group, count[owner[order]])
    np.add.at(seen, group, documents[owner[order]])
    size = np.diff(bounds)[lead]
    source = list_ranges(bounds[lead], size)
    return SpanTable(text[source], np.concatenate(([0], np.cumsum(size))), total, seen, sorted_key[first])


def hash_spans(text: CodePoints, bounds: Int64Array) -> npt.NDArray[np.uint64]:
    """Return a 64-bit hash of each span: a sum of mixed (code point, place) pairs."""
    if len(bounds) < 2:
        return np.zeros(0, dtype=np.uint64)
    length = np.diff(bounds)
    place = np.arange(len(text), dtype=np.uint64) - np.repeat(bounds[:-1], length).astype(np.uint64)
    mixed = (text.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= (place + np.uint64(1)) * np.uint64(0xC2B2AE3D27D4EB4F)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed ^= mixed >> np.uint64(shift)
        mixed *= np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return np.add.reduceat(mixed, bounds[:-1]).astype(np.uint64)


def _check_equal(text: CodePoints, bounds: Int64Array, order: Int64Array, lead: Int64Array) -> None:
    length = np.diff(bounds)
    size = length[order]
    here, there = (list_ranges(bounds[at], size) for at in (order, lead))
    if not np.array_equal(size, length[lead]) or not np.array_equal(text[here], text[there]):
        # 64 bits over 10^7 spans collide once in about 400,000 corpora.
        raise RuntimeError("two different spans have the same 64-bit hash; please report this corpus")


# --- Span cache ------------------------------------------------------------------------------------
# Spans of a whole counts folder, derived once per normaliser and digit rule and kept beside the counts.

_FORMAT = 1
_COLUMNS = ("text", "offsets", "count", "documents", "key")
_MET = "symbols"
_POOL_BYTES = 32 << 20
"""Text above which worker processes pay for their start (0.5 s each)."""


def derive_spans(
    counts: WordCounts,
    rule: str | Normalizer = "nmt_nfkc",
    digits: str = "sentencepiece",
    *,
    languages: Sequence[str] | None = None,
    split: str = "train",
    symbols: Sequence[str] = (),
    workers: int = 1,
    progress: Progress | None = None,
) -> Spans:
    """Return the spans of the languages (default: all) under a normaliser and digit rule, cut at `symbols`.

    `rule` is one of ours by name, or the normaliser of another's vocabulary, which is applied by its charsmap.
    From a folder, each language is derived once and cached in `spans/`, and its table is read at each access;
    a folder that cannot be written is used without a cache, with all tables in memory. More than one of
    `workers` are spawned processes. Raises `CountsError` for a language that was not counted.
    """
    if digits not in DIGIT_RULES:
        raise ConfigError(
            f"vocabulary.digits = {digits!r}: expected one of {', '.join(DIGIT_RULES)}",
            "--set vocabulary.digits=sentencepiece",
        )
    normalizer = load_normalizer(rule) if isinstance(rule, str) else rule
    codes = tuple(languages) if languages is not None else tuple(counts.languages)
    for code in codes:
        if code not in counts.languages:
            raise CountsError(
                f"{code}: not in the counts ({counts.folder or 'in memory'}), which hold "
                f"{', '.join(sorted(counts.languages)) or 'no language'}",
                "count text of that language, or leave it out with --languages",
            )
    report = progress or Silent()
    report.start("deriving spans", len(codes), "languages")
    held: dict[str, SpanTable] = {}
    mismatches: dict[str, tuple[str, ...]] = {}
    symbols = tuple(sorted(symbols))
    met: dict[str, dict[str, int]] = {}
    name = rule if isinstance(rule, str) else f"charsmap-{_digest(rule.charsmap)}"
    cache = _cache_folder(counts, name, digits, split, symbols)

    def place(code: str) -> Path | None:
        return cache and cache / f"{code}.npz"

    with ExitStack() as stack:
        missing = [code for code in codes if (path := place(code)) and not path.is_file()]
        size = sum(counts.totals_of(code)[0].bytes for code in missing)
        in_pool = min(workers, len(missing)) > 1 and size >= _POOL_BYTES
        if in_pool and counts.folder is not None and cache is not None:
            pool = open_executor(workers, len(missing), stack)
            jobs = [
                pool.submit(_derive_into, counts.folder, code, normalizer, digits, split, symbols, cache)
                for code in sorted(codes, key=lambda code: (-counts.totals_of(code)[0].bytes, code))
            ]
            for job in jobs:
                job.result()
                report.advance(1)
        for code in codes:
            loaded = _load_extras(place(code), symbols)
            if loaded is None:
                words = counts.languages[code].split(split)
                table, differing, found = _build_spans(words, normalizer, digits, symbols)
                if not _save(place(code), table, differing, found):
                    held[code] = table
            else:
                differing, found = loaded
            if differing:
                mismatches[code] = tuple(differing)
            if symbols:
                met[code] = found | _count_white_space(counts, code, split, symbols)
            if not in_pool:
                report.advance(1)
    report.finish()
    grown = charsmap_for(normalizer, [word for code in sorted(mismatches) for word in mismatches[code]])

    def load(code: str) -> SpanTable:
        if code in held:
            return held[code]
        path = place(code)
        columns = path and load_arrays(path, _COLUMNS)
        if not columns:  # damaged since
            return _build_spans(counts.languages[code].split(split), normalizer, digits, symbols)[0]
        return SpanTable(**columns)

    return Spans(grown, digits, LoadedMapping(codes, load), mismatches, met if symbols else {})


def _count_white_space(counts: WordCounts, code: str, split: str, symbols: Sequence[str]) -> dict[str, int]:
    """Return how often symbols occur that part words: line ends by the totals, others in both splits."""
    found = {}
    for symbol in sorted(set(symbols).intersection(DELIMITERS)):
        if symbol == "\n":
            totals = counts.totals_of(code)[SPLITS.index(split)]
            found[symbol] = totals.lines - totals.documents
        else:
            found[symbol] = counts.languages[code].characters.get(symbol, 0)
    return found


def count_mismatches(spans: Spans) -> dict[str, int]:
    """Return, per language, how many raw words rule and charsmap still normalise differently."""
    left = {}
    for code, words in spans.mismatches.items():
        rule, charsmap = spans.normalizer.normalize_words(words), spans.normalizer.apply_charsmap(words)
        left[code] = sum(a != b for a, b in zip(rule, charsmap, strict=True))
    return left


def _derive_into(
    folder: Path,
    code: str,
    normalizer: Normalizer,
    digits: str,
    split: str,
    symbols: Sequence[str],
    cache: Path,
) -> None:
    path = cache / f"{code}.npz"
    if _load_extras(path, symbols) is None:
        table = load_language(folder, code).split(split)
        _save(path, *_build_spans(table, normalizer, digits, symbols))


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=6).hexdigest()


def _cache_folder(
    counts: WordCounts, rule: str, digits: str, split: str, symbols: Sequence[str]
) -> Path | None:
    if counts.folder is None:
        return None
    # What a span is depends on these packages' tables; another version derives again.
    tables = ("unicodedata2", "sentencepiece", "fonttools")
    stamp = f"{_FORMAT} {counts.fingerprint} " + " ".join(version(name) for name in tables)
    stamp += repr(symbols) if symbols else ""
    folder = counts.folder / "spans" / f"{rule}-{digits}-{split}-{_digest(stamp.encode())}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


def _save(path: Path | None, table: SpanTable, mismatches: Sequence[str], met: Mapping[str, int]) -> bool:
    words = np.frombuffer("\n".join(mismatches).encode(), dtype=np.uint8)
    columns = {name: getattr(table, name) for name in _COLUMNS}
    if met:
        columns[_MET] = np.array([met[symbol] for symbol in sorted(met)], dtype=np.int64)
    return path is not None and save_arrays(path, {"mismatches": words, **columns})


def _load_extras(path: Path | None, symbols: Sequence[str]) -> tuple[list[str], dict[str, int]] | None:
    found = path and load_arrays(path, ["mismatches", *[_MET] * bool(symbols)])
    if not found:
        return None
    words: str = found["mismatches"].tobytes().decode()
    met = dict(zip(symbols, found[_MET].tolist(), strict=True)) if symbols else {}
    return words.split("\n") if words else [], met
