"""The characters of many lines at once, as arrays: what each line holds and which script each character is of.

Works on code points, a block of lines at a time. Knows nothing of words as ICU finds them (see `segmentation`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import regex
import unicodedata2

from vocabkit.core.scripts import COMMON, INHERITED, script_names, script_table
from vocabkit.corpus.white_space import DELIMITERS

Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

BLOCK_CHARACTERS = 1 << 20
_CODE_POINTS = 0x110000
# Scripts that stand for several, or for a way of writing one (ISO 15924), as Unicode's tables know them.
_PARTS = {
    "Jpan": ("Hani", "Hira", "Kana"),
    "Hrkt": ("Hira", "Kana"),
    "Kore": ("Hang", "Hani"),
    "Hang": ("Hang", "Hani"),
    "Hans": ("Hani",),
    "Hant": ("Hani",),
}
_JOINING = regex.compile(
    r"[\p{GCB=Extend}\p{GCB=SpacingMark}\p{GCB=Prepend}\p{GCB=ZWJ}\p{GCB=L}\p{GCB=V}\p{GCB=T}"
    r"\p{GCB=Regional_Indicator}\p{GCB=CR}\p{GCB=LF}]"
)
_GRAPHEME = regex.compile(r"\X")


def list_scripts(language: str) -> frozenset[str]:
    """Return the scripts a language's code announces: `srp_Cyrl` Cyrl, `jpn_Jpan` Hani, Hira and Kana."""
    tag = language.partition("_")[2]
    return frozenset(_PARTS.get(tag, (tag,) if tag else ()))


@dataclass(frozen=True, slots=True)
class Block:
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


def cut_blocks(lines: Sequence[str]) -> Iterator[Block]:
    """Yield the lines in blocks of about `BLOCK_CHARACTERS`.

    Raises `UnicodeEncodeError` at a lone surrogate.
    """
    start, size = 0, 0
    for index, line in enumerate(lines):
        size += len(line)
        if size >= BLOCK_CHARACTERS or index == len(lines) - 1:
            part = lines[start : index + 1]
            points = np.frombuffer("".join(part).encode("utf-32-le"), np.uint32)
            ends = np.cumsum(np.fromiter(map(len, part), np.int64, len(part)))
            starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
            yield Block(start, index + 1, points, starts, ends)
            start, size = index + 1, 0


def count_bytes(block: Block) -> Int64Array:
    """Return the bytes of each line in UTF-8."""
    points = block.points
    return block.sum_lines(
        1 + (points > 0x7F).astype(np.uint8) + (points > 0x7FF) + (points > 0xFFFF)
    )


def count_digits(block: Block) -> Int64Array:
    """Return the decimal digits (category Nd) of each line, of whatever script."""
    return block.sum_lines(_select(block, _is_digit))


def count_graphemes(block: Block, lines: Sequence[str]) -> Int64Array:
    """Return the extended grapheme clusters of each line; `lines` are those of the whole text.

    Where no character of a line can join another, each is a cluster: the others alone are segmented.
    """
    counts = block.ends - block.starts
    for row in np.flatnonzero(block.sum_lines(_select(block, _joins))).tolist():
        counts[row] = len(_GRAPHEME.findall(lines[block.start + row]))
    return counts


def find_words(block: Block) -> tuple[BoolArray, BoolArray]:
    """Return which characters belong to a white-space word and which of them begin one."""
    inside = ~_delimiter_table()[block.points]
    begins = inside.copy()
    begins[1:] &= ~inside[:-1]
    firsts = block.starts[block.starts < block.ends]
    begins[firsts] = inside[firsts]
    return inside, begins


@cache
def attribute_scripts(scripts: frozenset[str]) -> npt.NDArray[np.uint8]:
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


def main_scripts(block: Block, table: npt.NDArray[np.uint8]) -> tuple[Int64Array, Int64Array]:
    """Return each white-space word's main script (index in `script_names`) and its line in the block.

    The script of most of its characters, Common and Inherited aside; of equals the first in `script_names`;
    Common where there is no other.
    """
    inside, begins = find_words(block)
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


def _select(block: Block, wanted: Callable[[int], bool]) -> BoolArray:
    """Return which characters are wanted, asking once for each code point of the block."""
    table = np.zeros(_CODE_POINTS, np.bool_)
    seen = np.flatnonzero(np.bincount(block.points)).tolist()
    table[[point for point in seen if wanted(point)]] = True
    chosen: BoolArray = table[block.points]
    return chosen


@cache
def _is_digit(point: int) -> bool:
    return bool(unicodedata2.category(chr(point)) == "Nd")


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
