"""Words as ICU finds them, so that a word means something where no space is written.

ICU's boundaries are rules for most scripts and dictionaries for Thai, Lao, Khmer, Burmese, Chinese and
Japanese. Against hand-segmented text of those its *number* of words is 0.98 to 1.10 of the true one, though its
places are worse (F1 0.71 to 0.81). A word is a segment with a letter or number in it. Not morphemes, and not
what a tokenizer splits at.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import unicodedata2

from vocabkit.core.errors import MissingExtra

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
Unit = Literal["words", "syllables"]

_SYLLABLES = frozenset({"bod", "dzo"})
_UNSUPPORTED_SCRIPTS = frozenset({"Lana"})
_LOW_CONFIDENCE = {"shn": "ICU reads Shan with its Burmese dictionary: low confidence"}
_BLOCK = 1 << 18
_OF_EVERY_DICTIONARY = "中あア한กກកက"


@dataclass(frozen=True, slots=True)
class Support:
    """What ICU's segments are in a language: its words, syllables, or None where they mean nothing."""

    unit: Unit | None
    note: str | None


def find_support(language: str) -> Support:
    """Return what ICU's segments are in a language, by its code (`tha_Thai`)."""
    name, _, script = language.partition("_")
    if script in _UNSUPPORTED_SCRIPTS:
        return Support(None, f"ICU cannot find words in script {script}")
    if name in _SYLLABLES or script == "Tibt":
        return Support("syllables", "syllables, not words: ICU breaks Tibetan script at each tsheg")
    return Support("words", _LOW_CONFIDENCE.get(name))


@cache
def name_segmenter() -> str:
    """Return the segmenter with its versions, for the record. Raises `MissingExtra`."""
    icu4py = _load()
    from importlib.metadata import version

    return f"ICU {icu4py.icu_version} word boundaries (icu4py {version('icu4py')})"


def segment_blocks(lines: Sequence[str], language: str) -> Iterator[tuple[list[str], Int64Array]]:
    """Yield segments, white space and punctuation too, and the line each belongs to, block by block.

    Lines are handed to ICU together, which is several times faster, with a line feed between them: always a
    boundary. Raises `MissingExtra` where icu4py is not installed.
    """
    _load()
    from icu4py.breakers import WordBreaker

    locale = language.partition("_")[0]
    for start, stop in _cut_blocks(lines):
        part = list(WordBreaker("\n".join(lines[start:stop]), locale))
        sizes = np.fromiter(map(len, part), np.int64, len(part))
        # Where each line ends in the block, its line feed counted to it.
        ends = np.cumsum(np.fromiter((len(line) + 1 for line in lines[start:stop]), np.int64))
        yield part, start + np.searchsorted(ends, np.cumsum(sizes) - sizes, side="right")


def count_words(lines: Sequence[str], language: str) -> Int32Array:
    """Return the ICU words of each line (syllables in Tibetan).

    Raises `ValueError` for a script without support, where 0 would be wrong: ask `find_support` first.
    """
    _check(language)
    counts = np.zeros(len(lines), np.int32)
    for segments, owners in segment_blocks(lines, language):
        kept = np.fromiter(map(is_word, segments), np.bool_, len(segments))
        counts += np.bincount(owners[kept], minlength=len(lines)).astype(np.int32)
    return counts


def list_words(lines: Sequence[str], language: str) -> Iterator[str]:
    """Yield the ICU words of the lines in order. Raises as `count_words` does."""
    _check(language)
    for segments, _ in segment_blocks(lines, language):
        yield from filter(is_word, segments)


def count_types(
    language: str, lines: Sequence[str], weights: Int64Array | None
) -> tuple[Int32Array | None, tuple[str, ...], Int64Array]:
    """Return the ICU words of each line, and the types of words, sorted, with their occurrences.

    Occurrences are sums of the lines' `weights`, where given. None and no types for an unsupported script.
    """
    if find_support(language).unit is None:
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
        kept = np.concatenate([kept, np.fromiter(map(is_word, new), np.bool_, len(new))])
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


def is_word(segment: str) -> bool:
    """Return whether a segment holds a letter or a number, by Unicode 18's categories."""
    return segment.isalpha() or any(map(_is_letter_or_number, segment))


@cache
def _is_letter_or_number(character: str) -> bool:
    # Python 3.11 knows the categories of Unicode 14: letters of younger scripts are unassigned to it.
    return unicodedata2.category(character)[0] in "LN"


def _check(language: str) -> None:
    support = find_support(language)
    if support.unit is None:
        raise ValueError(f"{language}: {support.note}")


def _cut_blocks(lines: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield ranges of lines of about `_BLOCK` characters: ICU keeps several bytes for each."""
    start, size = 0, 0
    for index, line in enumerate(lines):
        size += len(line) + 1
        if size >= _BLOCK:
            yield start, index + 1
            start, size = index + 1, 0
    if start < len(lines):
        yield start, len(lines)


@cache
def _load():  # type: ignore[no-untyped-def]
    try:
        import icu4py
    except ImportError as error:
        raise MissingExtra(
            "word boundaries need icu4py, which is not installed", "pip install icu4py"
        ) from error
    from icu4py.breakers import WordBreaker

    # ICU opens a dictionary when its script first comes up, and until then cuts the long vowel mark, which is
    # of no script, by other rules: a text would be cut otherwise after another. So all are opened at once.
    list(WordBreaker(_OF_EVERY_DICTIONARY, "en"))
    return icu4py
