"""The letters a language is written with, where an installed package lists them.

The lists are gflanguages' (extra `sample`), after CLDR's exemplar characters. Without the package, or for a
language it does not know, there are none, and what needs them is null. Letters and marks only: no digits, no
punctuation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

import regex
import unicodedata2

from vocabkit.core.errors import ConfigError
from vocabkit.core.languages import resolve_code
from vocabkit.core.scripts import INHERITED, script_of

# gflanguages writes Korean's script as CLDR does, FLORES as Hangul.
_SCRIPTS = {"Hang": "Kore"}
# CLDR speaks of Filipino.
_NAMES = {"tgl": "fil"}
_DOTTED_CIRCLE = "◌"
_ITEM = regex.compile(r"\{([^}]+)\}|(\X)")


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
