"""The letters a language is written with, where an installed package lists them, and code-switched lines.

The lists are gflanguages' (extra `sample`), after CLDR's exemplar characters. Without the package, or for a
language it does not know, there are none, and what needs them is null. Letters and marks only: no digits, no
punctuation.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from itertools import accumulate
from typing import Any

import regex
import unicodedata2

from vocabkit.audit.parallel_text import AuditText
from vocabkit.audit.segmentation import find_support, segment_blocks
from vocabkit.core.errors import ConfigError
from vocabkit.core.languages import resolve_code
from vocabkit.core.scripts import INHERITED, script_of

# gflanguages writes Korean's script as CLDR does, FLORES as Hangul.
_SCRIPTS = {"Hang": "Kore"}
# CLDR speaks of Filipino.
_NAMES = {"tgl": "fil"}
_DOTTED_CIRCLE = "◌"
_ITEM = regex.compile(r"\{([^}]+)\}|(\X)")
_GRAPHEME = regex.compile(r"\X")


@dataclass(frozen=True, slots=True)
class Exemplars:
    """A language's letters: `base` those of its alphabet, `other` those it borrows, `marks` combining ones.

    A letter may be several characters, such as `ẹ́` or `gb`.
    """

    base: frozenset[str]
    other: frozenset[str]
    marks: frozenset[str]

    def spell_out(self) -> frozenset[str]:
        """Return every character of every letter and mark, composed, decomposed and in either case."""
        texts = {
            case
            for text in (*self.base, *self.other, *self.marks)
            for case in (text, text.lower(), text.upper())
        }
        forms = {unicodedata2.normalize(form, text) for text in texts for form in ("NFC", "NFD")}
        return frozenset(character for form in forms for character in form)


def load_exemplars(code: str) -> frozenset[str] | None:
    """Return the letters of a language's alphabet, or None where no installed package lists them.

    Vowel signs and other marks of a script of their own, as Devanagari's, count as letters; accents do not.
    """
    found = find_exemplars(code)
    if found is None:
        return None
    return found.base | {mark for mark in found.marks if script_of(mark[0]) != INHERITED}


def aligned_halves(
    text: AuditText, a: str, b: str, seed: int = 0, *, limit: int | None = 200
) -> list[tuple[str, str, str]]:
    """Return code-switched lines of two languages with their halves: (first + second, first, second).

    `first` is language `a`'s line up to the word boundary nearest its middle, `second` the aligned line of `b`
    from there on, with the white space before it if there is any. At most `limit` lines, drawn with `seed`, in
    the text's order; lines that cannot be cut in either language are left out. Raises `ConfigError` where the
    two are not aligned.
    """
    for code in (a, b):
        if code not in text.aligned_languages:
            raise ConfigError(
                f"{code}: not aligned with other languages ({text.alignment.note})",
                f"aligned are {', '.join(text.aligned_languages) or 'none'}",
            )
    lines = range(text.alignment.lines or 0)
    # Drawn before looking at the text: the same lines for every pair of languages.
    if limit is not None and limit < len(lines):
        chosen = sorted(random.Random(seed).sample(lines, limit))
    else:
        chosen = list(lines)
    halves = []
    for row in chosen:
        before, after = text.languages[a][row], text.languages[b][row]
        cuts = find_middle(before, a), find_middle(after, b)
        if cuts[0] is not None and cuts[1] is not None:
            first, second = before[: cuts[0]], after[cuts[1] :]
            halves.append((first + second, first, second))
    return halves


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


@cache
def find_exemplars(code: str) -> Exemplars | None:
    """Return a language's letters and marks by its code (`yor_Latn`), None where they are not listed."""
    name, _, script = code.partition("_")
    candidates = []
    for key, entry in _load_languages().items():
        if entry.script == _SCRIPTS.get(script, script) and entry.exemplar_chars.base:
            language = str(entry.language)
            if language in (name, _NAMES.get(name)) or (
                len(language) == 2 and _means(language, code)
            ):
                candidates.append((len(key), key))
    if not candidates:
        return None
    # Variants of a country have longer keys: `yo_Latn_BJ`.
    listed = _load_languages()[min(candidates)[1]].exemplar_chars
    return Exemplars(_parse(listed.base), _parse(listed.auxiliary), _parse(listed.marks))


def _parse(text: str) -> frozenset[str]:
    """Read CLDR's notation: single letters run on, several characters of one letter stand in braces."""
    # Apart first: a mark whose dotted circle is taken away would join the space before it.
    parts = text.replace(_DOTTED_CIRCLE, "").split()
    items = {group or single for part in parts for group, single in _ITEM.findall(part)}
    return frozenset(item for item in items if regex.search(r"[\p{L}\p{M}]", item))


def _means(short: str, code: str) -> bool:
    try:
        return resolve_code(short, (code,)) == code
    except ConfigError:
        return False


@cache
def _load_languages() -> Mapping[str, Any]:
    if find_spec("gflanguages") is None:
        return {}
    import gflanguages

    found: Mapping[str, Any] = gflanguages.LoadLanguages()
    return found
