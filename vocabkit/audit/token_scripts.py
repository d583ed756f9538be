"""Which script a token's bytes belong to, and what kind of token they make; bytes may end inside a character.

Letters and marks decide the script; digits, punctuation and symbols are kinds of their own before any script
(an Arabic-Indic digit is of script Arab and tells nothing of Arabic words). A token that is not whole UTF-8 is
attributed by its whole characters, else by the scripts that its first bytes can still become.
"""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Literal

import numpy as np
import unicodedata2

from vocabkit.core.scripts import COMMON, INHERITED, UNKNOWN, script_names, script_of, script_table

TokenKind = Literal[
    "text", "mixed", "digits", "punctuation", "symbols", "space", "common", "partial"
]
SPACE_MARK = "\u2581"

_BRAHMIC = (
    "Ahom Bali Batk Beng Bhks Brah Bugi Buhd Cakm Cham Deva Diak Dogr Gong Gonm Gran Gujr Gukh "
    "Guru Hano Java Kali Kawi Khmr Khoj Knda Kthi Lana Laoo Lepc Limb Mahj Maka Marc Mlym Modi "
    "Mtei Mult Mymr Nand Newa Orya Phag Rjng Saur Shrd Sidd Sind Sinh Soyo Sund Sylo Tagb Takr "
    "Tale Talu Taml Tavt Telu Tglg Thai Tibt Tirh Tutg Zanb"
)
SCRIPT_GROUPS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "Latin": frozenset({"Latn"}),
        "Cyrillic": frozenset({"Cyrl"}),
        "Arabic": frozenset({"Arab"}),
        "Brahmic": frozenset(_BRAHMIC.split()),
        "Ethiopic": frozenset({"Ethi"}),
        "Han": frozenset({"Hani"}),
    }
)
"""The study's groups of scripts; every other script is in `other`, kana and Hangul too."""

# Scripts that one writing system uses together: Japanese, Korean, Chinese with bopomofo.
_TOGETHER = (
    frozenset({"Hani", "Hira", "Kana"}),
    frozenset({"Hani", "Hang"}),
    frozenset({"Hani", "Bopo"}),
)
_NO_SCRIPT = frozenset({COMMON, INHERITED, UNKNOWN})
# Least code point that a lead byte of so many continuation bytes may stand for: shorter forms are invalid.
_LEAST = {1: 0x80, 2: 0x800, 3: 0x10000}


@dataclass(frozen=True, slots=True)
class Attribution:
    """A token's script (None for none, or where several could be meant), kind, and why a partial has none."""

    script: str | None
    kind: TokenKind
    reason: str | None = None


def group_of(script: str) -> str:
    """Return the script group of an ISO 15924 code, `other` outside the named ones."""
    return next((name for name, scripts in SCRIPT_GROUPS.items() if script in scripts), "other")


def attribute_token(data: bytes) -> Attribution:
    """Return the script and kind of a token's bytes; `▁` counts as a space."""
    if data.isascii():
        text = data.decode("ascii")
        return Attribution("Latn", "text") if any(map(str.isalpha, text)) else _without_script(text)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return _attribute_partial(data)
    scripts = _letter_scripts(text)
    if not scripts:
        return _without_script(text)
    kind: TokenKind = "text"
    if len(scripts) > 1 and not any(scripts.keys() <= together for together in _TOGETHER):
        kind = "mixed"
    return Attribution(_main(scripts), kind)


def _main(scripts: Mapping[str, int]) -> str:
    """The script of most letters; on a tie the first in the text, since counters keep their order."""
    return max(scripts, key=scripts.__getitem__)


def _letter_scripts(text: str) -> Counter[str]:
    found = Counter(script for script in map(_letter_script, text) if script is not None)
    if not found:
        extended = [_extended_script(character) for character in text]
        found = Counter(script for script in extended if script is not None)
    return found


@cache
def _letter_script(character: str) -> str | None:
    """The script of a letter or mark; None for all else, and where the letter is of no one script."""
    if unicodedata2.category(character)[0] not in "LM":
        return None
    script = script_of(character)
    return None if script in _NO_SCRIPT else script


@cache
def _extended_script(character: str) -> str | None:
    """The script of a common or inherited letter or mark that only one script uses."""
    from fontTools.unicodedata import script_extension

    if unicodedata2.category(character)[0] not in "LM":
        return None
    scripts = set(script_extension(character)) - _NO_SCRIPT
    return scripts.pop() if len(scripts) == 1 else None


def _without_script(text: str) -> Attribution:
    categories = {
        unicodedata2.category(character)[0]
        for character in text
        if character != SPACE_MARK and not character.isspace()
    }
    order: tuple[tuple[str, TokenKind], ...] = (
        ("N", "digits"), ("S", "symbols"), ("P", "punctuation"),
    )  # fmt: skip
    for letter, kind in order:
        if letter in categories:
            return Attribution(None, kind)
    return Attribution(None, "common" if categories else "space")


def _attribute_partial(data: bytes) -> Attribution:
    rest = data.lstrip(bytes(range(0x80, 0xC0)))
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        text = decoder.decode(rest)
    except UnicodeDecodeError:
        return Attribution(None, "partial", "bytes that no UTF-8 text has")
    scripts = _letter_scripts(text)
    if scripts:
        return Attribution(_main(scripts), "partial")
    prefix = decoder.getstate()[0]
    if not prefix:
        return Attribution(None, "partial", "continuation bytes only")
    reachable = scripts_of_prefix(prefix)
    if len(reachable) == 1:
        return Attribution(next(iter(reachable)), "partial")
    reason = "a lead of several scripts" if reachable else "a lead of characters of no one script"
    return Attribution(None, "partial", reason)


@cache
def scripts_of_prefix(prefix: bytes) -> frozenset[str]:
    """Return the scripts of the characters whose UTF-8 starts so, Common, Inherited and unassigned aside."""
    lead = prefix[0]
    length = 1 if lead < 0xE0 else 2 if lead < 0xF0 else 3
    value = lead & (0x3F >> length)
    for byte in prefix[1:]:
        value = value << 6 | byte & 0x3F
    missing = 6 * (length - len(prefix) + 1)
    start, stop = max(value << missing, _LEAST[length]), min((value + 1) << missing, 0x110000)
    names = script_names()
    found = {names[int(index)] for index in np.unique(script_table()[start:stop])}
    return frozenset(found - _NO_SCRIPT)
