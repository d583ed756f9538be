"""Code-switched lines: the first half of a line in one language, the second of the aligned line in another.

A line is cut at the word boundary nearest its middle, in each language by itself, so that the middles of a
text serve every pair of its languages. What such lines cost is `metrics`'s.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import accumulate

import regex

from vocabkit.audit.parallel_text import AuditText
from vocabkit.audit.segmentation import find_support, segment_blocks
from vocabkit.core.errors import ConfigError

Halves = list[tuple[str, str, str]]
_GRAPHEME = regex.compile(r"\X")


def aligned_halves(
    text: AuditText, a: str, b: str, seed: int = 0, *, limit: int | None = 200
) -> Halves:
    """Return code-switched lines of two languages with their halves: (first + second, first, second).

    `first` is language `a`'s line up to its middle, `second` the aligned line of `b` from its middle on, with
    the white space before it if there is any. At most `limit` lines, drawn with `seed`, in the text's order;
    lines that cannot be cut in either language are left out. Raises `ConfigError` where the two are not
    aligned.
    """
    for code in (a, b):
        if code not in text.aligned_languages:
            raise ConfigError(
                f"{code}: not aligned with other languages ({text.alignment.note})",
                f"aligned are {', '.join(text.aligned_languages) or 'none'}",
            )
    rows = draw_rows(text.alignment.lines or 0, seed, limit)
    before, after = ([text.languages[code][row] for row in rows] for code in (a, b))
    return join_halves(before, find_middles(before, a), after, find_middles(after, b))


def draw_rows(lines: int, seed: int, limit: int | None) -> list[int]:
    """Draw at most `limit` of so many lines, in order. No text is looked at: the same for every language."""
    if limit is None or limit >= lines:
        return list(range(lines))
    return sorted(random.Random(seed).sample(range(lines), limit))


def join_halves(
    before: Sequence[str],
    cuts: Sequence[int | None],
    after: Sequence[str],
    others: Sequence[int | None],
) -> Halves:
    """Join lines up to their cuts with aligned lines from theirs on; both halves stand beside the whole."""
    halves = []
    for line, cut, other, place in zip(before, cuts, after, others, strict=True):
        if cut is not None and place is not None:
            first, second = line[:cut], other[place:]
            halves.append((first + second, first, second))
    return halves


def find_middles(lines: Sequence[str], language: str) -> list[int | None]:
    """Return `find_middle` of each line."""
    return [find_middle(line, language) for line in lines]


def find_middle(line: str, language: str) -> int | None:
    """Return where to cut a line in two: the word boundary nearest its middle, else the grapheme boundary.

    Before white space, never after it, and never at an end; None where no such place is.
    """
    cuts: list[int] = []
    if find_support(language).unit is not None:
        segments = [part for block, _ in segment_blocks([line], language) for part in block]
        cuts = _list_cuts(line, segments)
    cuts = cuts or _list_cuts(line, _GRAPHEME.findall(line))
    return min(cuts, key=lambda cut: (abs(2 * cut - len(line)), cut), default=None)


def _list_cuts(line: str, parts: Sequence[str]) -> list[int]:
    """Return the boundaries between parts at which both halves hold text and the first ends in no space."""
    return [
        cut
        for cut in accumulate(map(len, parts))
        if not line[cut - 1].isspace() and line[:cut].strip() and line[cut:].strip()
    ]
