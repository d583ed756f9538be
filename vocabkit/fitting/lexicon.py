"""Lexicon: the distinct rows of all languages in code point order, ready for the trainer's loops.

A row is a span, or a part of one between characters the vocabulary does not cover. Neighbouring rows share
prefixes, and everything that depends on a prefix alone is computed once: on 90 languages that leaves about half
the positions. Rows longer than `SHORT` share nothing: they are processed on a scale of their own.
Rows are the same whatever the weights of the languages, and so is all that is derived from them; `weigh`
gives the weights of the rows. Chooses no characters and finds no pieces.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from vocabkit.core.arrays import BoolArray, Float64Array, Int32Array, Int64Array, UInt8Array
from vocabkit.core.errors import ConfigError, FitError
from vocabkit.corpus.compilation import Workers, compile
from vocabkit.corpus.spans import SpanTable

# --- Coverage --------------------------------------------------------------------------------------
# Which characters a vocabulary must hold, and which are cut, by language.
#
# SentencePiece's rule, to the bit: characters by falling count, then code point, are taken until the share
# already taken, as a 32-bit float, reaches the coverage (checked before each one; 64 bits differ on about one
# alphabet in thirty). U+2581, the word mark, counts as a character. Three departures: the word mark is never
# cut; characters no trainer row can hold (white space, NUL, U+2585) always are; and a coverage of 1 cuts
# nothing, where the 32-bit rule still drops characters rarer than 6e-8 of the text.
#
# A global rule drops the letters of languages with little text; `scope="language"` applies the rule to each
# language's own counts and keeps the union. What is cut is listed, never silent; a cut letter is *needed* where
# the language loses its own spelling with it, by the same rule at `NEEDED` and met `TWICE`. Lao at (a)'s global
# coverage loses one character in eight.

Scope = Literal["global", "language"]

WORD_MARK = "\u2581"
RESERVED = "\0\t\n\r \u2585"
"""Never pieces: SentencePiece splits rows at white space and marks unknown characters with U+2585."""

NEEDED = 0.99999
"""The share of a language's own characters that its letters make up; the rest is foreign or mistyped."""
TWICE = 2
"""How often a letter must be met: what is met once cannot be told from a slip."""

_CODE_POINTS = 0x110000
_BLOCK = 1 << 18


@dataclass(frozen=True, slots=True)
class CutCharacter:
    """A character of a language that the vocabulary does not hold; `share` is of the language's characters.

    `needed` says that it is one of the language's letters, not a foreign or mistyped character.
    """

    language: str
    character: str
    count: int
    share: float
    needed: bool


@dataclass(frozen=True, slots=True)
class Coverage:
    """The covered alphabet and what fell outside it.

    `required` maps each covered character to its weighted count, by falling count, then code point;
    `alphabets` gives each language's number of distinct covered characters. `cut` is sorted by language,
    then falling count. Counts are of normalised text and include the word mark.
    """

    scope: Scope
    character: float
    required: Mapping[str, float]
    alphabets: Mapping[str, int]
    cut: tuple[CutCharacter, ...]

    @property
    def covered(self) -> BoolArray:
        """Whether each code point is covered, by code point."""
        table = np.zeros(_CODE_POINTS, np.bool_)
        table[[ord(character) for character in self.required]] = True
        return table

    @property
    def cut_share(self) -> dict[str, float]:
        """The share of each language's characters that is cut; languages that lose nothing have 0.0."""
        shares = dict.fromkeys(self.alphabets, 0.0)
        for row in self.cut:
            shares[row.language] += row.share
        return shares


def cover_characters(
    tables: Mapping[str, SpanTable], weights: Mapping[str, float], *, scope: Scope, character: float
) -> Coverage:
    """Decide the alphabet of span tables. Raises `ConfigError` unless 0 < `character` <= 1.

    With scope `global` the rule sees Σ weight · count over the languages; with `language`, each one's own
    counts, where weights do not matter.
    """
    if not 0.0 < character <= 1.0:
        problem = f"coverage.character = {character}: must be above 0 and at most 1"
        raise ConfigError(problem, "--set coverage.character=0.9995")
    counts = {code: count_characters(tables[code]) for code in sorted(tables)}
    pooled = np.zeros(_CODE_POINTS)
    for code, table in counts.items():
        pooled += weights[code] * table
    keep = np.zeros(_CODE_POINTS, np.bool_)
    for table in [pooled] if scope == "global" else counts.values():
        keep |= select_characters(table, character)
    points = np.flatnonzero(keep)
    points = points[np.lexsort((points, -pooled[points]))]
    required = {chr(p): float(pooled[p]) for p in points.tolist()}
    cut = [row for code, table in counts.items() for row in find_cut(code, table, keep)]
    alphabets = {code: int(((table > 0) & keep).sum()) for code, table in counts.items()}
    return Coverage(scope, character, required, alphabets, tuple(cut))


def find_cut(language: str, counts: Float64Array, covered: BoolArray) -> list[CutCharacter]:
    """Return the characters of a language that are not covered, by falling count; both are by code point."""
    lost = np.flatnonzero((counts > 0) & ~covered)
    if not len(lost):
        return []
    needed, total = select_characters(counts, NEEDED) & (counts >= TWICE), counts.sum()
    found = []
    for point in lost[np.lexsort((lost, -counts[lost]))].tolist():
        count = int(counts[point])
        found.append(CutCharacter(language, chr(point), count, count / total, bool(needed[point])))
    return found


def select_characters(counts: Float64Array, character: float) -> BoolArray:
    """Apply the rule to one alphabet: counts by code point in, whether each is covered out."""
    counts = counts.copy()
    counts[[ord(c) for c in RESERVED]] = 0
    points = np.flatnonzero(counts > 0)
    points = points[np.lexsort((points, -counts[points]))]
    taken = np.cumsum(counts[points])
    keep = np.zeros(len(counts), np.bool_)
    if len(points):
        share = ((taken - counts[points]) / taken[-1]).astype(np.float32)
        reached = share >= np.float32(character)
        keep[points[: int(reached.argmax()) if reached.any() else len(points)]] = True
        if character == 1.0:
            keep[points] = True
        keep[ord(WORD_MARK)] = counts[ord(WORD_MARK)] > 0
    return keep


def count_characters(table: SpanTable) -> Float64Array:
    """Return occurrences by code point, exact below 2⁵³."""
    counts = np.zeros(_CODE_POINTS)
    for start in range(0, len(table.count), _BLOCK):
        bounds = table.offsets[start : start + _BLOCK + 1]
        occurrences = np.repeat(table.count[start : start + _BLOCK], np.diff(bounds))
        part = np.bincount(table.text[bounds[0] : bounds[-1]], weights=occurrences)
        counts[: len(part)] += part
    return counts


class Strings(NamedTuple):
    """Strings of character codes one after another, a 0 before the first and behind each.

    String i is `text[offsets[i] : offsets[i + 1] - 1]`.
    """

    text: Int32Array
    offsets: Int64Array

    @property
    def lengths(self) -> Int64Array:
        """The number of characters of each."""
        return np.diff(self.offsets) - 1


def join_strings(*parts: Int32Array) -> Strings:
    """Return the strings of texts that each begin with a 0 and end every string with one."""
    text = np.concatenate((np.zeros(1, np.int32), *(part[1:] for part in parts)))
    return Strings(text, np.flatnonzero(text == 0) + 1)


def decode_strings(alphabet: npt.NDArray[np.uint32], text: Int32Array) -> list[str]:
    """Return the strings of a text that begins with a 0 and ends every string with one."""
    points = np.concatenate((np.array([0], np.uint32), alphabet))[text[1:]]
    return points.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass").split("\0")[:-1]


# --- Sorting ---------------------------------------------------------------------------------------
# Positions of a text sorted by the characters that follow them, or that precede them.
#
# Positions are grouped by their first character, then refined a packed key of several characters at a time;
# each group is sorted by one thread, so the outcome is the same for any number of threads. Beside the order
# it gives how many characters neighbours share. Equal strings end up adjacent; nothing is hashed.

EQUAL = 255
"""Marks a position whose whole string equals the one before it."""
FAR = 250
"""The most shared characters that are told apart."""
_PENDING = 254
_SMALL = 24
_BATCH = 1 << 16


def sort_positions(
    text: Int32Array, items: Int32Array, characters: int, workers: Workers, *, step: int, depth: int,
    evidence: npt.NDArray[Any] | None = None, floor: int = 0,
) -> tuple[UInt8Array, Int64Array]:  # fmt: skip
    """Sort `items` in place by the string read from each in direction `step`, up to `depth` characters.

    `characters` is the largest code. Returns, per item, how many characters it shares with the item before
    it (at most `depth` and `FAR`, or `EQUAL`), and where each first character's group starts. A group whose
    `evidence`, indexed by position, sums to less than `floor` is left unsorted.
    """
    starts = np.zeros(characters + 2, np.int64)
    grouped = np.empty_like(items)
    _group(text, items, starts, grouped)
    items[:] = grouped
    del grouped
    shared = np.zeros(len(items), np.uint8)
    given = evidence if evidence is not None else np.zeros(0, np.int32)
    bits = max(int(characters).bit_length(), 1)
    job = _Sorting(text, items, shared, given, step, bits, depth, floor)
    workers.map(lambda group: _refine(job, starts, *group), batch_groups(starts))
    return shared, starts


class _Sorting(NamedTuple):
    """What `sort_positions` was asked for; `bits` is the width of a code in a packed key."""

    text: Int32Array
    items: Int32Array
    shared: UInt8Array
    evidence: npt.NDArray[Any]
    step: int
    bits: int
    depth: int
    floor: int


def batch_groups(starts: Int64Array, batch: int = _BATCH) -> list[tuple[int, int]]:
    """Return ranges of neighbouring groups for one task each, the largest task first."""
    ranges, first = [], 0
    for group in range(1, len(starts)):
        if starts[group] - starts[first] >= batch or group == len(starts) - 1:
            ranges.append((first, group))
            first = group
    return sorted(ranges, key=lambda r: (int(starts[r[0]] - starts[r[1]]), r))


@compile
def _group(text: Int32Array, items: Int32Array, starts: Int64Array, out: Int32Array) -> None:
    for i in range(len(items)):
        starts[text[items[i]] + 1] += 1
    for code in range(1, len(starts)):
        starts[code] += starts[code - 1]
    place = starts.copy()
    for i in range(len(items)):
        code = text[items[i]]
        out[place[code]] = items[i]
        place[code] += 1


@compile
def _refine(job: _Sorting, starts: Int64Array, first: int, stop: int) -> None:
    shared = job.shared
    per_key = 63 // job.bits
    widest = 0
    for group in range(first, stop):
        widest = max(widest, starts[group + 1] - starts[group])
    keys = np.empty(widest, np.int64)
    for group in range(first, stop):
        lo, hi = starts[group], starts[group + 1]
        for i in range(lo + 1, hi):
            shared[i] = _PENDING
        done = 1
        pending = hi - lo > 1
        while pending:
            pending = False
            i = lo
            while i < hi:
                j = i + 1
                while j < hi and shared[j] == _PENDING:
                    j += 1
                if j - i > 1 and _refine_run(job, keys, i, j, lo, done, per_key):
                    pending = True
                i = j
            done += per_key


@compile
def _refine_run(job: _Sorting, keys: Int64Array, lo: int, hi: int, base: int, done: int, per_key: int) -> bool:
    """Sort items[lo:hi], equal in `done` characters, by the next `per_key`; return whether some are pending."""
    text, items, shared, evidence, step, bits, depth, floor = job
    settled = done >= depth
    if not settled and hi - lo < floor:
        total = 0
        for i in range(lo, hi):
            total += evidence[items[i]]
        settled = total < floor
    if settled:
        for i in range(lo + 1, hi):
            shared[i] = min(done, depth, FAR)
        return False
    for i in range(lo, hi):
        key = np.int64(0)
        place = items[i] + step * done
        for _ in range(per_key):
            code = np.int64(text[place])
            key = (key << bits) | code
            if code != 0:
                place += step
        keys[i - base] = key
    _sort_pairs(keys, items, lo - base, hi - base, base)
    again = False
    last = (np.int64(1) << bits) - 1
    for i in range(lo + 1, hi):
        key = keys[i - base]
        if key == keys[i - base - 1]:
            if key & last == 0:
                shared[i] = EQUAL
            else:
                shared[i] = _PENDING
                again = True
        else:
            difference = key ^ keys[i - base - 1]
            same = per_key
            while difference != 0:
                difference >>= bits
                same -= 1
            shared[i] = min(done + same, depth, FAR)
    return again


@compile
def _sort_pairs(keys: Int64Array, items: Int32Array, lo: int, hi: int, base: int) -> None:
    """Sort keys[lo:hi], and items[base + lo : base + hi] with them: three-way quicksort."""
    stack = np.empty(256, np.int64)
    depth = 0
    while True:
        while hi - lo > _SMALL:
            middle = (lo + hi) >> 1
            a, b, c = keys[lo], keys[middle], keys[hi - 1]
            pivot = max(min(a, b), min(max(a, b), c))
            left, at, right = lo, lo, hi
            while at < right:
                key = keys[at]
                if key < pivot:
                    item = items[base + at]
                    keys[at] = keys[left]
                    items[base + at] = items[base + left]
                    keys[left] = key
                    items[base + left] = item
                    left += 1
                    at += 1
                elif key > pivot:
                    right -= 1
                    item = items[base + at]
                    keys[at] = keys[right]
                    items[base + at] = items[base + right]
                    keys[right] = key
                    items[base + right] = item
                else:
                    at += 1
            # The longer side waits, so the stack stays below two entries a halving.
            if left - lo > hi - right:
                stack[depth], stack[depth + 1] = lo, left
                lo = right
            else:
                stack[depth], stack[depth + 1] = right, hi
                hi = left
            depth += 2
        for i in range(lo + 1, hi):
            key, item = keys[i], items[base + i]
            j = i
            while j > lo and keys[j - 1] > key:
                keys[j] = keys[j - 1]
                items[base + j] = items[base + j - 1]
                j -= 1
            keys[j] = key
            items[base + j] = item
        if depth == 0:
            return
        depth -= 2
        lo, hi = stack[depth], stack[depth + 1]


# --- Lexicon ---------------------------------------------------------------------------------------

SHORT = 24
"""Longest row that shares prefixes: its probability stays above 1e-300 (see `lattice`)."""
CHUNK = 8_192
"""Characters worked on at a time: two buffers of as many numbers stay in a core's own cache."""
PARTITIONS = 64
"""Parts of the work, the same for any number of threads: their results are added in order."""


class SortedRows(NamedTuple):
    """Strings that share prefixes: see `Lexicon`, whose arrays these are."""

    text: Int32Array
    offsets: Int64Array
    shared: UInt8Array
    chunks: Int64Array


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

    def weigh(self, weights: Mapping[str, float] | None = None) -> Float64Array:
        """Return Σ weight · count of each row (weights default to 1), scaled to keep the total of the counts.

        The scale matters (pieces expected less than half a time are dropped), so it is that of the text.
        """
        if weights is None or all(weights[code] == 1.0 for code in self.pairs):
            return self.count.astype(np.float64)
        total = np.zeros(len(self))
        for code in sorted(self.pairs):
            rows, count = self.pairs[code]
            np.add.at(total, rows, weights[code] * count)
        total *= float(self.count.sum()) / float(total.sum())
        return total

    def count_characters(self, row_weight: Float64Array | Int64Array) -> float:
        """Return Σ weight · characters of the rows."""
        return float((row_weight * (np.diff(self.offsets) - 1)).sum())

    def strings(self) -> list[str]:
        """Return the rows as text, in order."""
        return decode_strings(self.alphabet, self.text)

    @property
    def codes(self) -> dict[str, int]:
        """The code of each character, in order."""
        return {chr(point): code for code, point in enumerate(self.alphabet.tolist(), start=1)}

    @property
    def rows(self) -> SortedRows:
        """What the trainer's loops read of it."""
        return SortedRows(self.text, self.offsets, self.shared, self.chunks)

    @property
    def row_bounds(self) -> list[int]:
        """The rows at which partitions begin, and the number of rows."""
        return [int(row) for row in self.chunks[self.partitions]]


def encode_strings(lexicon: Lexicon, strings: Iterable[str]) -> Strings:
    """Return those of the strings that the lexicon's characters can write, as codes."""
    codes = lexicon.codes
    out = [0]
    for string in strings:
        if all(c in codes for c in string):
            out += [*(codes[c] for c in string), 0]
    return join_strings(np.array(out, np.int32))


def build_lexicon(
    tables: Mapping[str, SpanTable], covered: BoolArray, workers: Workers, *,
    alphabet: npt.NDArray[np.uint32] | None = None,
) -> Lexicon:  # fmt: skip
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
    coded = np.zeros(0x110000, np.int32)
    coded[alphabet] = np.arange(1, len(alphabet) + 1, dtype=np.int32)
    text = np.zeros(size, np.int32)
    # One language's table is held at a time.
    parts = []
    at = 1
    for code in codes:
        table = tables[code]
        found, owner = _cut(table.text, table.offsets, coded, text, at)
        parts.append((found, table.count[owner], table.documents[owner]))
        at += len(table.text) + len(table)
    bounds = np.cumsum([0, *(len(found) for found, _, _ in parts)])
    if not bounds[-1]:
        raise FitError("no text is left to fit", "look at coverage.character and the languages fitted")
    starts, count, documents = map(np.concatenate, zip(*parts, strict=True))
    del parts, table, found, owner
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


def sort_strings(
    alphabet: npt.NDArray[np.uint32], strings: Strings, workers: Workers
) -> tuple[Lexicon, Int64Array]:
    """Make a lexicon of strings, the pieces themselves; return it with the row of each."""
    starts = strings.offsets[:-1].astype(np.int32)
    group, shared, laid = _sort_rows(strings.text.copy(), starts, len(alphabet), workers)
    ones = np.ones(len(shared), np.int64)
    return _lay_out(alphabet, laid, shared, ones, ones, {}), group.astype(np.int64)


def _lay_out(
    alphabet: npt.NDArray[np.uint32], laid: Strings, shared: UInt8Array, count: Int64Array,
    documents: Int64Array, pairs: Mapping[str, tuple[Int32Array, Int64Array]],
) -> Lexicon:  # fmt: skip
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
    points: npt.NDArray[np.uint32], offsets: Int64Array, coded: Int32Array, text: Int32Array, first: int
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
    starts, owner = np.empty(rows, np.int32), np.empty(rows, np.int32)
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
) -> tuple[Int32Array, UInt8Array, Strings]:
    """Sort rows, the short ones first, and lay the distinct ones out; `text` is destroyed.

    Returns the place of each row among the distinct ones, how much each of these shares with the one before
    it, and these themselves.
    """
    long = _are_long(text, starts)
    chosen = [starts[~long], starts[long]]
    # `agreed` is of the sorted rows, equal ones included.
    agreed = [sort_positions(text, rows, characters, workers, step=1, depth=2**31 - 1)[0] for rows in chosen]
    new = [shared != EQUAL for shared in agreed]
    for first in new:
        first[:1] = True
    distinct = np.concatenate([rows[kept] for rows, kept in zip(chosen, new, strict=True)])
    shared = np.concatenate((agreed[0][new[0]], np.zeros(int(new[1].sum()), np.uint8)))
    shared[:1] = 0
    laid = Strings(*_copy_rows(text, distinct))
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
