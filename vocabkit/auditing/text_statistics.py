"""What a text is before any tokenizer sees it: per line its bytes, characters, graphemes and words.

All of the raw text, so that tokenizers that normalise and those that do not have the same denominators.
Measured once per text and kept on disk. Reads no tokenizer, and passes no judgement (see `text_quality`).
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import regex
import unicodedata2

from vocabkit.auditing.parallel_text import SURROGATE, AuditText, find_surrogate, fingerprint_lines
from vocabkit.core.arrays import BoolArray, Int32Array, Int64Array, UInt8Array, load_arrays
from vocabkit.core.errors import CorpusError, MissingExtra
from vocabkit.core.folders import find_user_cache
from vocabkit.core.progress import Progress, Silent
from vocabkit.core.text import COMMON, INHERITED, script_names, script_table
from vocabkit.corpus.shard_map import open_executor
from vocabkit.corpus.word_counts import DELIMITERS

# --- Line characters -------------------------------------------------------------------------------
# The characters of many lines at once, as arrays: what each line holds and which script each character is of.
# Works on code points, a block of lines at a time.

BLOCK_CHARACTERS = 1 << 20
_CODE_POINTS = 0x110000
# Scripts that stand for several, or for a way of writing one (ISO 15924), as Unicode's tables know them.
_PARTS = {
    "Jpan": ("Hani", "Hira", "Kana"), "Hrkt": ("Hira", "Kana"), "Kore": ("Hang", "Hani"),
    "Hang": ("Hang", "Hani"), "Hans": ("Hani",), "Hant": ("Hani",),
}  # fmt: skip
_JOINING = regex.compile(
    r"[\p{GCB=Extend}\p{GCB=SpacingMark}\p{GCB=Prepend}\p{GCB=ZWJ}\p{GCB=L}\p{GCB=V}\p{GCB=T}"
    r"\p{GCB=Regional_Indicator}\p{GCB=CR}\p{GCB=LF}]"
)
_GRAPHEME = regex.compile(r"\X")


def cut_ranges(lines: Sequence[str], characters: int, most: int = sys.maxsize) -> Iterator[tuple[int, int]]:
    """Yield ranges of lines, each as soon as it has so many characters, or `most` lines."""
    start, size = 0, 0
    for stop, line in enumerate(lines, 1):
        size += len(line)
        if size >= characters or stop - start >= most or stop == len(lines):
            yield start, stop
            start, size = stop, 0


def list_scripts(language: str) -> frozenset[str]:
    """Return the scripts a language's code announces: `srp_Cyrl` Cyrl, `jpn_Jpan` Hani, Hira and Kana."""
    tag = language.partition("_")[2]
    return frozenset(_PARTS.get(tag, (tag,) if tag else ()))


@dataclass(frozen=True, slots=True)
class _Block:
    """Lines `start` to `stop` as code points; `starts` and `ends` are where each lies among them."""

    start: int
    stop: int
    points: npt.NDArray[np.uint32]
    starts: Int64Array
    ends: Int64Array

    def sum_lines(self, values: npt.NDArray[np.generic]) -> Int64Array:
        """Return the sum over each line of one value a character."""
        totals = np.zeros(len(values) + 1, np.int64)
        np.cumsum(values, dtype=np.int64, out=totals[1:])
        summed: Int64Array = totals[self.ends] - totals[self.starts]
        return summed

    def owners(self) -> Int64Array:
        """Return, for each character, the line it is in, counted from the block's first."""
        return np.repeat(np.arange(self.stop - self.start), self.ends - self.starts)


def _cut_blocks(lines: Sequence[str]) -> Iterator[_Block]:
    """Yield blocks of about `BLOCK_CHARACTERS`. Raises `UnicodeEncodeError` at a lone surrogate."""
    for start, stop in cut_ranges(lines, BLOCK_CHARACTERS):
        part = lines[start:stop]
        points = np.frombuffer("".join(part).encode("utf-32-le"), np.uint32)
        ends = np.cumsum(np.fromiter(map(len, part), np.int64, len(part)))
        yield _Block(start, stop, points, np.concatenate([np.zeros(1, np.int64), ends[:-1]]), ends)


def _count_graphemes(block: _Block, lines: Sequence[str]) -> Int64Array:
    """Return the extended grapheme clusters of each line; `lines` are those of the whole text.

    Where no character of a line can join another, each is a cluster: the others alone are segmented.
    """
    counts = block.ends - block.starts
    # Each code point of the block is asked about once.
    table = np.zeros(_CODE_POINTS, np.bool_)
    seen = np.flatnonzero(np.bincount(block.points)).tolist()
    table[[point for point in seen if _joins(point)]] = True
    for row in np.flatnonzero(block.sum_lines(table[block.points])).tolist():
        counts[row] = len(_GRAPHEME.findall(lines[block.start + row]))
    return counts


def _find_words(block: _Block) -> tuple[BoolArray, BoolArray]:
    """Return which characters belong to a white-space word and which of them begin one."""
    inside = ~_delimiter_table()[block.points]
    begins = inside.copy()
    begins[1:] &= ~inside[:-1]
    firsts = block.starts[block.starts < block.ends]
    begins[firsts] = inside[firsts]
    return inside, begins


@cache
def _attribute_scripts(scripts: frozenset[str]) -> UInt8Array:
    """Return, by code point, the script it counts for in text of `scripts`, as an index in `script_names`.

    That is Unicode's Script; but a letter or mark that is Common or Inherited counts for the one of `scripts`
    that Script_Extensions names, if it is exactly one: an Arabic vowel mark in Arabic, an accent in Yoruba.
    Digits, punctuation and symbols of no script stay Common.
    """
    table = script_table().copy()
    names = script_names()
    for point, extensions in _shared_letters():
        common = extensions & scripts
        if len(common) == 1:
            table[point] = names.index(next(iter(common)))
    table.setflags(write=False)
    return table


def _main_scripts(block: _Block, table: UInt8Array) -> tuple[Int64Array, Int64Array]:
    """Return each white-space word's main script (index in `script_names`) and its line in the block.

    The script of most of its characters, Common and Inherited aside; of equals the first in `script_names`;
    Common where there is no other.
    """
    inside, begins = _find_words(block)
    owners = block.owners()[begins]
    names = script_names()
    scripts = table[block.points]
    counted = inside & (scripts != names.index(COMMON)) & (scripts != names.index(INHERITED))
    present = np.unique(scripts[counted]).astype(np.int64)
    if not len(present):
        return np.full(len(owners), names.index(COMMON), np.int64), owners
    column = np.searchsorted(present, scripts[counted])
    word = (np.cumsum(begins) - 1)[counted]
    shape = (len(owners), len(present))
    votes = np.bincount(word * shape[1] + column, minlength=shape[0] * shape[1]).reshape(shape)
    main = present[votes.argmax(axis=1)]
    main[votes.sum(axis=1) == 0] = names.index(COMMON)
    return main, owners


@cache
def _joins(point: int) -> bool:
    return _JOINING.match(chr(point)) is not None


@cache
def _delimiter_table() -> BoolArray:
    table = np.zeros(_CODE_POINTS, np.bool_)
    table[[ord(delimiter) for delimiter in DELIMITERS]] = True
    return table


@cache
def _shared_letters() -> tuple[tuple[int, frozenset[str]], ...]:
    """Return the letters and marks of Script Common or Inherited with the scripts they are used in."""
    from fontTools.unicodedata import script_extension

    names = script_names()
    table = script_table()
    shared = np.flatnonzero((table == names.index(COMMON)) | (table == names.index(INHERITED)))
    return tuple(
        (point, frozenset(script_extension(chr(point))))
        for point in shared.tolist()
        if unicodedata2.category(chr(point))[0] in "LM"
    )


# --- Segmentation ----------------------------------------------------------------------------------
# Words as ICU finds them, so that a word means something where no space is written.
#
# ICU's boundaries are rules for most scripts and dictionaries for Thai, Lao, Khmer, Burmese, Chinese and
# Japanese. Against hand-segmented text of those its *number* of words is 0.98 to 1.10 of the true one, though
# its places are worse (F1 0.71 to 0.81). A word is a segment with a letter or number in it. Not morphemes, and
# not what a tokenizer splits at.

_SYLLABLES = frozenset({"bod", "dzo"})
_UNSUPPORTED_SCRIPTS = frozenset({"Lana"})
_LOW_CONFIDENCE = {"shn": "ICU reads Shan with its Burmese dictionary: low confidence"}
_BLOCK = 1 << 18
_OF_EVERY_DICTIONARY = "中あア한กກកက"


def find_support(language: str) -> tuple[bool, str | None]:
    """Return whether ICU's segments mean something in a language (`tha_Thai`), and what to say of them."""
    name, _, script = language.partition("_")
    if script in _UNSUPPORTED_SCRIPTS:
        return False, f"ICU cannot find words in script {script}"
    if name in _SYLLABLES or script == "Tibt":
        return True, "syllables, not words: ICU breaks Tibetan script at each tsheg"
    return True, _LOW_CONFIDENCE.get(name)


@cache
def name_segmenter() -> str:
    """Return the segmenter with its versions, for the record. Raises `MissingExtra`."""
    icu4py = _load()
    return f"ICU {icu4py.icu_version} word boundaries (icu4py {version('icu4py')})"


def segment_blocks(lines: Sequence[str], language: str) -> Iterator[tuple[list[str], Int64Array]]:
    """Yield segments, white space and punctuation too, and the line each belongs to, block by block.

    Lines are handed to ICU together, which is several times faster, with a line feed between them: always a
    boundary. Raises `MissingExtra` where icu4py is not installed.
    """
    _load()
    from icu4py.breakers import WordBreaker

    locale = language.partition("_")[0]
    # ICU keeps several bytes for each character.
    for start, stop in cut_ranges(lines, _BLOCK):
        part = list(WordBreaker("\n".join(lines[start:stop]), locale))
        sizes = np.fromiter(map(len, part), np.int64, len(part))
        # Where each line ends in the block, its line feed counted to it.
        ends = np.cumsum(np.fromiter((len(line) + 1 for line in lines[start:stop]), np.int64))
        yield part, start + np.searchsorted(ends, np.cumsum(sizes) - sizes, side="right")


def _count_types(
    language: str, lines: Sequence[str], weights: Int64Array | None
) -> tuple[Int32Array | None, tuple[str, ...], Int64Array]:
    """Return the ICU words of each line, and the types of words, sorted, with their occurrences.

    Occurrences are sums of the lines' `weights`, where given. None and no types for an unsupported script.
    """
    if not find_support(language)[0]:
        return None, (), np.zeros(0, np.int64)
    words = np.zeros(len(lines), np.int32)
    # A new segment gets the next number; looked up in C, which halves the time of a Python loop.
    numbers: defaultdict[str, int] = defaultdict()
    numbers.default_factory = numbers.__len__
    counts = np.zeros(0, np.int64)
    kept = np.zeros(0, np.bool_)
    for segments, owners in segment_blocks(lines, language):
        known = len(numbers)
        number = np.fromiter(map(numbers.__getitem__, segments), np.int64, len(segments))
        new = list(numbers)[known:]
        kept = np.concatenate([kept, np.fromiter(map(_is_word, new), np.bool_, len(new))])
        heavy = None if weights is None else weights[owners]
        added = np.bincount(number, heavy, len(numbers)).astype(np.int64)
        added[:known] += counts
        counts = added
        words += np.bincount(owners[kept[number]], minlength=len(lines)).astype(np.int32)
    order = sorted(segment for segment, index in numbers.items() if kept[index])
    chosen = np.fromiter((numbers[segment] for segment in order), np.int64, len(order))
    return words, tuple(order), counts[chosen] if len(order) else np.zeros(0, np.int64)


def join_types(words: Sequence[str]) -> str:
    """Return words as one text, a line each: ICU's words hold no line feed."""
    return "\n".join(words)


def split_types(joined: str) -> list[str]:
    """Return the words that `join_types` joined."""
    return joined.split("\n") if joined else []


def _is_word(segment: str) -> bool:
    """Return whether a segment holds a letter or a number, by Unicode 18's categories."""
    return segment.isalpha() or any(map(_is_letter_or_number, segment))


@cache
def _is_letter_or_number(character: str) -> bool:
    # Python 3.11 knows the categories of Unicode 14: letters of younger scripts are unassigned to it.
    return unicodedata2.category(character)[0] in "LN"


@cache
def _load():  # type: ignore[no-untyped-def]
    try:
        import icu4py
    except ImportError as error:
        what = "word boundaries need icu4py, which is not installed"
        raise MissingExtra(what, "pip install icu4py") from error
    from icu4py.breakers import WordBreaker

    # ICU opens a dictionary when its script first comes up, and until then cuts the long vowel mark, which is
    # of no script, by other rules: a text would be cut otherwise after another. So all are opened at once.
    list(WordBreaker(_OF_EVERY_DICTIONARY, "en"))
    return icu4py


# --- Statistics cache ------------------------------------------------------------------------------
# What was measured of a text, kept in the user's cache folder and named by what it was measured from. A cache
# that cannot be read or written is no reason to stop: the text is measured again.

LIMIT_BYTES = 1 << 30
"""What the cache may hold; the files longest unused go first."""


def find_cache(given: Path | None = None) -> Path:
    """Return the folder given, or else where measurements are kept on this system."""
    return given or find_user_cache("statistics")


def _load_arrays(path: Path) -> dict[str, npt.NDArray[Any]] | None:
    """Return the arrays of a file, or None where it is absent or damaged."""
    arrays = load_arrays(path)
    if arrays is not None:
        with suppress(OSError):
            os.utime(path)
    return arrays


def _save_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write arrays under a temporary name and rename; does nothing where the folder cannot be written."""
    _write(path, lambda temporary: np.savez(temporary, allow_pickle=False, **arrays))


def load_values(path: Path) -> object:
    """Return what a JSON file holds, or None where it is absent or damaged."""
    try:
        found: object = json.loads(path.read_text(encoding="utf-8"))
        os.utime(path)
    except (OSError, ValueError, RecursionError):
        return None
    return found


def save_values(path: Path, values: object) -> None:
    """Write JSON as `_save_arrays` writes arrays."""
    written = json.dumps(values, ensure_ascii=False)
    _write(path, lambda temporary: temporary.write_text(written, encoding="utf-8"))


def _write(path: Path, write: Callable[[Path], object]) -> None:
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()


def _trim_folder(folder: Path, limit: int = LIMIT_BYTES) -> None:
    """Remove the files longest unused until no more than `limit` bytes are left."""
    try:
        paths = (path for path in folder.iterdir() if path.suffix in (".npz", ".json"))
        files = [(path.stat(), path) for path in paths if not path.name.startswith(".")]
    except OSError:
        return
    left = sum(status.st_size for status, _ in files)
    for status, path in sorted(files, key=lambda item: (item[0].st_mtime_ns, item[1])):
        if left <= limit:
            break
        left -= status.st_size
        with suppress(OSError):
            path.unlink()


# --- Text statistics -------------------------------------------------------------------------------

_FORMAT = 4
_TABLES = ("unicodedata2", "fonttools", "regex", "icu4py")
_PER_LINE = ("bytes", "characters", "graphemes", "white_space_words")
_TABULATED = ("scripts", "script_words", "characters_seen")
_POOL_CHARACTERS = 12_000_000
"""Text above which worker processes, which take a second to start, pay: three seconds of one process's work."""


@dataclass(frozen=True, slots=True, eq=False)
class TextStatistics:
    """One language's text. Arrays hold one number a line; from counts a line is a word, `weights` its count.

    `words` are ICU's words, None where ICU cannot find them; `words_note` says so, or what they are instead.
    `scripts` counts characters by ISO 15924 code (Zyyy and Zinh apart), `script_words` white-space words by
    main script, `characters_seen` each character, `word_type_counts` the occurrences of each of `word_types`
    (ICU words, sorted); all four weighted.
    """

    language: str
    bytes: Int32Array
    characters: Int32Array
    graphemes: Int32Array
    words: Int32Array | None
    white_space_words: Int32Array
    words_note: str | None
    scripts: Mapping[str, int]
    script_words: Mapping[str, int]
    characters_seen: Mapping[str, int]
    word_types: tuple[str, ...]
    word_type_counts: Int64Array
    weights: Int64Array | None

    def __len__(self) -> int:
        """Return the number of lines."""
        return len(self.characters)

    def total(self, name: str) -> int:
        """Return the weighted sum of a per-line array, by its name. Raises `ValueError` for words not found."""
        values = getattr(self, name)
        if values is None:
            raise ValueError(f"{self.language}: {self.words_note}")
        return int(values.sum(dtype=np.int64) if self.weights is None else values @ self.weights)


def measure_text(
    text: AuditText,
    *,
    workers: int | None = None,
    cache: Path | None = None,
    kept: Mapping[str, TextStatistics] | None = None,
    progress: Progress | None = None,
) -> Mapping[str, TextStatistics]:
    """Return the statistics of every language of a text, in its order.

    Each language is kept in `cache` (default: the user's cache folder) by its content and the versions of the
    Unicode tables; `kept` is what `load_statistics` found there. The result is the same for any number of
    `workers` (default: one a core). Raises `CorpusError` for a lone surrogate, naming language and line;
    `MissingExtra` where icu4py is absent.
    """
    folder = find_cache(cache)
    found = dict(load_statistics(text, cache=cache) if kept is None else kept)
    report = progress or Silent()
    report.start("measuring text", len(text.languages), "languages")
    report.advance(len(found))
    sizes = {code: sum(map(len, lines)) for code, lines in text.languages.items() if code not in found}
    missing = sorted(sizes, key=lambda code: (-sizes[code], code))
    if missing:
        wanted = workers if sum(sizes.values()) >= _POOL_CHARACTERS else 1
        with ExitStack() as stack:
            pool = open_executor(wanted, len(missing), stack)
            jobs: dict[str, Future[TextStatistics]] = {
                code: pool.submit(_measure_language, code, text.languages[code], _weights(text, code))
                for code in missing
            }
            for code, job in jobs.items():
                found[code] = job.result()
                _save_arrays(_path(folder, text, code), _pack(found[code]))
                report.advance(1)
        _trim_folder(folder)
    report.finish()
    return {code: found[code] for code in text.languages}


def load_statistics(text: AuditText, *, cache: Path | None = None) -> dict[str, TextStatistics]:
    """Return the statistics of those languages of a text that are in `cache` (default: the user's)."""
    folder = find_cache(cache)
    found = {}
    for code in text.languages:
        arrays = _load_arrays(_path(folder, text, code))
        if arrays is not None:
            found[code] = _unpack(code, arrays, _weights(text, code))
    return found


def _measure_language(language: str, lines: Sequence[str], weights: Int64Array | None = None) -> TextStatistics:
    """Return the statistics of one language's lines. Raises as `measure_text` does."""
    size = len(lines)
    per_line = {name: np.zeros(size, np.int32) for name in _PER_LINE}
    seen = np.zeros(_CODE_POINTS, np.int64)
    script_words = np.zeros(256, np.int64)
    table = _attribute_scripts(list_scripts(language))
    try:
        for block in _cut_blocks(lines):
            rows = slice(block.start, block.stop)
            heavy = None if weights is None else weights[rows]
            per_line["characters"][rows] = block.ends - block.starts
            sizes = 1 + (block.points > 0x7F).astype(np.uint8)
            sizes += (block.points > 0x7FF) + (block.points > 0xFFFF).astype(np.uint8)
            per_line["bytes"][rows] = block.sum_lines(sizes)
            per_line["graphemes"][rows] = _count_graphemes(block, lines)
            per_line["white_space_words"][rows] = block.sum_lines(_find_words(block)[1])
            seen += _tally(block.points, None if heavy is None else heavy[block.owners()], len(seen))
            main, owners = _main_scripts(block, table)
            script_words += _tally(main, None if heavy is None else heavy[owners], 256)
    except UnicodeEncodeError as error:
        what = f"{language}: line {find_surrogate(lines)}: {SURROGATE}"
        hint = "read the text with `read_audit_text`, or decode it with errors='replace'"
        raise CorpusError(what, hint) from error
    points = np.flatnonzero(seen)
    characters = {chr(point): int(seen[point]) for point in points.tolist()}
    words, types, type_counts = _count_types(language, lines, weights)
    names = script_names()

    def by_name(counts: Int64Array) -> dict[str, int]:
        return {names[index]: int(counts[index]) for index in np.flatnonzero(counts).tolist()}

    scripts, note = by_name(_tally(table[points], seen[points], 256)), find_support(language)[1]
    return TextStatistics(
        language, words=words, words_note=note, scripts=scripts, script_words=by_name(script_words),
        characters_seen=characters, word_types=types, word_type_counts=type_counts, weights=weights, **per_line,
    )  # fmt: skip


def _tally(values: npt.NDArray[Any], heavy: Int64Array | None, size: int) -> Int64Array:
    """Return how often each value below `size` occurs, or the sum of its weights (exact below 2**53)."""
    return np.bincount(values, weights=heavy, minlength=size).astype(np.int64)


def _weights(text: AuditText, code: str) -> Int64Array | None:
    return None if text.weights is None else text.weights[code]


def _path(folder: Path, text: AuditText, code: str) -> Path:
    """Return a language's file, named by what its statistics depend on: its rows, the tables, this format."""
    weights = None if text.weights is None else {code: text.weights[code]}
    content = fingerprint_lines({code: text.languages[code]}, weights)
    stamp = f"{_FORMAT} {code} {content} {_name_tables()}"
    return folder / f"{hashlib.blake2b(stamp.encode(), digest_size=16).hexdigest()}.npz"


@cache
def _name_tables() -> str:
    return " ".join([name_segmenter(), *map(version, _TABLES)])


def _pack(found: TextStatistics) -> dict[str, npt.NDArray[Any]]:
    names = (*_PER_LINE, "word_type_counts", *(("words",) if found.words is not None else ()))
    arrays: dict[str, npt.NDArray[Any]] = {name: getattr(found, name) for name in names}
    arrays["word_types"] = _bytes(join_types(found.word_types))
    arrays["tables"] = _bytes(json.dumps({name: getattr(found, name) for name in _TABULATED}))
    return arrays


def _unpack(
    language: str, arrays: Mapping[str, npt.NDArray[Any]], weights: Int64Array | None
) -> TextStatistics:
    rest: dict[str, Any] = {name: arrays[name] for name in (*_PER_LINE, "word_type_counts")}
    rest |= json.loads(arrays["tables"].tobytes())
    types, note = tuple(split_types(arrays["word_types"].tobytes().decode())), find_support(language)[1]
    words = arrays.get("words")
    return TextStatistics(language, words=words, words_note=note, word_types=types, weights=weights, **rest)


def _bytes(text: str) -> UInt8Array:
    return np.frombuffer(text.encode(), np.uint8)
