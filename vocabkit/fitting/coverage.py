"""Character coverage: which characters a vocabulary must hold, and which are cut, by language.

SentencePiece's rule, to the bit: characters by falling count, then code point, are taken until the share
already taken, as a 32-bit float, reaches the coverage (checked before each one; 64 bits differ on about one
alphabet in thirty). U+2581, the word mark, counts as a character. Three departures: the word mark is never
cut; characters no trainer row can hold (white space, NUL, U+2585) always are; and a coverage of 1 cuts
nothing, where the 32-bit rule still drops characters rarer than 6e-8 of the text.

A global rule drops the letters of languages with little text; `scope="language"` applies the rule to each
language's own counts and keeps the union. What is cut is listed, never silent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from vocabkit.core.errors import ConfigError
from vocabkit.corpus.spans import SpanTable

Scope = Literal["global", "language"]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

WORD_MARK = "\u2581"
RESERVED = "\0\t\n\r \u2585"
"""Never pieces: SentencePiece splits rows at white space and marks unknown characters with U+2585."""

_CODE_POINTS = 0x110000
_BLOCK = 1 << 18


@dataclass(frozen=True, slots=True)
class CutCharacter:
    """A character of a language that the vocabulary does not hold; `share` is of the language's characters."""

    language: str
    character: str
    count: int
    share: float


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
    tables: Mapping[str, SpanTable],
    weights: Mapping[str, float],
    *,
    scope: Scope,
    character: float,
) -> Coverage:
    """Decide the alphabet of span tables. Raises `ConfigError` unless 0 < `character` <= 1.

    With scope `global` the rule sees Σ weight · count over the languages; with `language`, each one's own
    counts, where weights do not matter.
    """
    if not 0.0 < character <= 1.0:
        raise ConfigError(
            f"coverage.character = {character}: must be above 0 and at most 1",
            "--set coverage.character=0.9995",
        )
    counts = {code: count_characters(tables[code]) for code in sorted(tables)}
    pooled = np.zeros(_CODE_POINTS)
    for code, table in counts.items():
        pooled += weights[code] * table
    if scope == "global":
        keep = select_characters(pooled, character)
    else:
        keep = np.zeros(_CODE_POINTS, np.bool_)
        for table in counts.values():
            keep |= select_characters(table, character)
    points = np.flatnonzero(keep)
    points = points[np.lexsort((points, -pooled[points]))]
    required = {chr(p): float(pooled[p]) for p in points.tolist()}

    cut = []
    for code, table in counts.items():
        lost = np.flatnonzero((table > 0) & ~keep)
        total = table.sum()
        for point in lost[np.lexsort((lost, -table[lost]))].tolist():
            count = int(table[point])
            cut.append(CutCharacter(code, chr(point), count, count / total))
    alphabets = {code: int(((table > 0) & keep).sum()) for code, table in counts.items()}
    return Coverage(scope, character, required, alphabets, tuple(cut))


def select_characters(counts: FloatArray, character: float) -> BoolArray:
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


def count_characters(table: SpanTable) -> FloatArray:
    """Return occurrences by code point, exact below 2⁵³."""
    counts = np.zeros(_CODE_POINTS)
    for start in range(0, len(table.count), _BLOCK):
        bounds = table.offsets[start : start + _BLOCK + 1]
        occurrences = np.repeat(table.count[start : start + _BLOCK], np.diff(bounds))
        part = np.bincount(table.text[bounds[0] : bounds[-1]], weights=occurrences)
        counts[: len(part)] += part
    return counts
