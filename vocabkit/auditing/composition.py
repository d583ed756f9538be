"""What a vocabulary holds: pieces by script and kind, their lengths, and what the corpus makes of them.

Script under-allocation is a script's share of the pieces over its share of the corpus; below 0.5 it is flagged.
Both shares are of what has a script: digits, punctuation, bytes and special tokens are in neither.
"""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Literal

import numpy as np
import unicodedata2

from vocabkit.auditing.figures import Figure
from vocabkit.core.arrays import BoolArray, Int32Array, Int64Array
from vocabkit.core.text import COMMON, INHERITED, UNKNOWN, script_names, script_of, script_table
from vocabkit.vocabulary.adapters import Tokenizer
from vocabkit.vocabulary.vocabulary import Kind

# --- Token scripts ---------------------------------------------------------------------------------
# Which script a token's bytes belong to, and what kind of token they make; bytes may end inside a character.
#
# Letters and marks decide the script; digits, punctuation and symbols are kinds of their own before any
# script
# (an Arabic-Indic digit is of script Arab and tells nothing of Arabic words). A token that is not whole UTF-8
# is
# attributed by its whole characters, else by the scripts that its first bytes can still become.


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
_WITHOUT_SCRIPT = frozenset({COMMON, INHERITED, UNKNOWN})
# Least code point that a lead byte of so many continuation bytes may stand for: shorter forms are invalid.
_LEAST = {1: 0x80, 2: 0x800, 3: 0x10000}


@dataclass(frozen=True, slots=True)
class Attribution:
    """A token's script (None for none, or where several could be meant), kind, and why a partial has none."""

    script: str | None
    kind: TokenKind
    reason: str | None = None


def _group_of(script: str) -> str:
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
    return None if script in _WITHOUT_SCRIPT else script


@cache
def _extended_script(character: str) -> str | None:
    """The script of a common or inherited letter or mark that only one script uses."""
    from fontTools.unicodedata import script_extension

    if unicodedata2.category(character)[0] not in "LM":
        return None
    scripts = set(script_extension(character)) - _WITHOUT_SCRIPT
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
    reachable = _scripts_of_prefix(prefix)
    if len(reachable) == 1:
        return Attribution(next(iter(reachable)), "partial")
    reason = "a lead of several scripts" if reachable else "a lead of characters of no one script"
    return Attribution(None, "partial", reason)


@cache
def _scripts_of_prefix(prefix: bytes) -> frozenset[str]:
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
    return frozenset(found - _WITHOUT_SCRIPT)


# --- Composition -----------------------------------------------------------------------------------

UNDER = 0.5
"""Below this share of its share a script is under-allocated."""
ORDERS = (2.5, 3.0)
"""Rényi orders: 2.5 in Zouhar et al. 2023, 3 the default of their program."""
_EMITTED = (Kind.NORMAL, Kind.USER, Kind.BYTE)
_NO_SCRIPT = (COMMON, INHERITED, UNKNOWN)


@dataclass(frozen=True, slots=True, eq=False)
class Composition:
    """Every id of a vocabulary sorted by script and kind.

    `scripts` and `groups` count the pieces attributed to one; `kinds` counts all ids: the kinds of
    `token_scripts` for pieces of text, else the kind of id. `unattributed` are the partial tokens without a
    script, by reason. `emitted` bool[size] marks the ids that text can be encoded to (unknown aside); `bytes`
    and `characters` int64 are the lengths of the pieces of text, characters of those that are whole UTF-8.
    """

    size: int
    scripts: Mapping[str, int]
    groups: Mapping[str, int]
    kinds: Mapping[str, int]
    unattributed: Mapping[str, int]
    emitted: BoolArray
    bytes: Int64Array
    characters: Int64Array


def describe_vocabulary(tokenizer: Tokenizer) -> Composition:
    """Sort every id of a tokenizer by script and kind."""
    scripts: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    unattributed: Counter[str] = Counter()
    sizes, characters = [], []
    for index, kind in enumerate(tokenizer.kinds):
        if kind not in (Kind.NORMAL, Kind.USER):
            kinds[kind.value] += 1
            continue
        data = tokenizer.token_bytes(index) or b""
        found = attribute_token(data)
        kinds[found.kind] += 1
        sizes.append(len(data))
        if found.kind != "partial":
            characters.append(len(data.decode("utf-8")))
        if found.script is not None:
            scripts[found.script] += 1
        elif found.reason is not None:
            unattributed[found.reason] += 1
    return Composition(
        tokenizer.size,
        dict(sorted(scripts.items())),
        _pool_groups(scripts),
        dict(sorted(kinds.items())),
        dict(sorted(unattributed.items())),
        np.array([kind in _EMITTED for kind in tokenizer.kinds], dtype=np.bool_),
        np.array(sizes, dtype=np.int64),
        np.array(characters, dtype=np.int64),
    )


def measure_composition(tokenizer: str, composition: Composition, *, width: int) -> list[Figure]:
    """Return the figures of a vocabulary that need no corpus; `width` is that of an embedding row."""
    size, scripted = composition.size, sum(composition.scripts.values())
    figures = []
    for table in (composition.scripts, composition.groups):
        for name, count in table.items():
            figures.append(_count(tokenizer, name, "pieces", count, scripted))
            share = _ratio(count, scripted)
            figures.append(_share(tokenizer, name, "vocabulary_share", share, scripted))
    for name, count in composition.kinds.items():
        figures.append(_count(tokenizer, name, "pieces_of_kind", count, size))
    for name, count in composition.unattributed.items():
        figures.append(_count(tokenizer, name, "pieces_unattributed", count, size))
    figures.append(_count(tokenizer, "all", "vocabulary_size", size, size))
    pieces = len(composition.bytes)
    for name in ("mixed", "partial"):
        share = _ratio(composition.kinds.get(name, 0), pieces)
        figures.append(_share(tokenizer, "all", f"{name}_pieces", share, pieces))
    for metric, unit, values in (
        ("piece_bytes", "bytes a piece", composition.bytes),
        ("piece_characters", "characters a piece", composition.characters),
    ):
        for how, value in (
            ("mean", float(values.mean()) if len(values) else None),
            ("median", float(np.median(values)) if len(values) else None),
            ("max", float(values.max()) if len(values) else None),
        ):
            figures.append(
                Figure(
                    tokenizer, "vocabulary", "all", f"{metric}.{how}", value, unit, f"{how} of pieces",
                    n=len(values),
                )
            )  # fmt: skip
    figures.append(
        Figure(
            tokenizer, "vocabulary", "all", "embedding_parameters", float(size * width), "parameters",
            "ids × width", n=size, note=f"width {width}; twice as many when the output is not tied",
        )
    )  # fmt: skip
    return figures


def compare_shares(
    tokenizer: str,
    composition: Composition,
    characters: Mapping[str, int],
    words: Mapping[str, int],
) -> list[Figure]:
    """Return each script's and group's share of the vocabulary over its share of the corpus.

    `characters` and `words` are the corpus by ISO 15924 code; codes without a script are left out.
    """
    figures = []
    for unit, corpus in (("characters", characters), ("words", words)):
        by_script = {name: count for name, count in corpus.items() if name not in _NO_SCRIPT}
        pairs = (
            (composition.scripts, by_script),
            (composition.groups, _pool_groups(by_script)),
        )
        for pieces, text in pairs:
            total_pieces, total_text = sum(pieces.values()), sum(text.values())
            for name in sorted(pieces.keys() | text.keys()):
                mine, seen = pieces.get(name, 0), text.get(name, 0)
                share = _ratio(seen, total_text)
                figures.append(_share(tokenizer, name, f"corpus_share_{unit}", share, total_text))
                have = _ratio(mine, total_pieces)
                value = have / share if have is not None and share else None
                figures.append(
                    Figure(
                        tokenizer, "vocabulary", name, f"allocation_{unit}", value, "ratio",
                        f"share of pieces ÷ share of corpus {unit}", n=seen,
                        note=_judge(value, share),
                    )
                )  # fmt: skip
    return figures


def measure_usage(
    tokenizer: str,
    composition: Composition,
    counts: Iterable[tuple[Int32Array, Int64Array]],
) -> list[Figure]:
    """Return ids unused on the corpus and Rényi efficiency, from (ids, occurrences) of each language."""
    used = np.zeros(composition.size, dtype=np.int64)
    for ids, occurrences in counts:
        np.add.at(used, ids, occurrences)
    total = int(used.sum())
    emitted = int(composition.emitted.sum())
    unused = int((composition.emitted & (used == 0)).sum())
    note = f"of {total} tokens of this corpus: a larger one leaves fewer unused"
    figures = [
        Figure(
            tokenizer, "vocabulary", "all", "unused_ids", _ratio(unused, emitted) if total else None,
            "share", "share of the ids that text can be encoded to", n=emitted, note=note,
        )
    ]  # fmt: skip
    for order in ORDERS:
        for suffix, against, phrase in (
            ("", emitted, "ids that text can be encoded to"),
            (".observed", int((used > 0).sum()), "ids seen"),
        ):
            figures.append(
                Figure(
                    tokenizer, "vocabulary", "all", f"renyi_{order:g}{suffix}",
                    _measure_renyi(used, order, against), "0–1",
                    f"Rényi entropy of all languages' tokens ÷ log₂ of the {phrase}", n=against,
                    note="reported, not ranked: vocabularies of other sizes do not compare",
                )
            )  # fmt: skip
    return figures


def _measure_renyi(counts: Int64Array, order: float, vocabulary: int) -> float | None:
    """Return Rényi efficiency, log₂(Σpᵃ) ÷ (1 − a) ÷ log₂V (Zouhar et al. 2023); None without spread.

    With V the ids seen it is what tokenization-scorer returns by default.
    """
    seen = np.sort(counts[counts > 0])
    if not len(seen) or vocabulary < 2:
        return None
    shares = seen / float(seen.sum())
    entropy = float(np.log2(np.sum(shares**order))) / (1.0 - order)
    return entropy / float(np.log2(vocabulary))


def _pool_groups(scripts: Mapping[str, int]) -> dict[str, int]:
    pooled: Counter[str] = Counter()
    for script, count in scripts.items():
        pooled[_group_of(script)] += count
    return dict(sorted(pooled.items()))


def _judge(value: float | None, corpus_share: float | None) -> str | None:
    if value is None:
        return None if corpus_share else "not in this corpus"
    return f"under-allocated: below {UNDER:g}" if value < UNDER else None


def _ratio(count: int, total: int) -> float | None:
    return count / total if total else None


def _count(tokenizer: str, name: str, metric: str, count: int, total: int) -> Figure:
    return Figure(tokenizer, "vocabulary", name, metric, float(count), "pieces", "count", n=total)


def _share(tokenizer: str, name: str, metric: str, value: float | None, total: int) -> Figure:
    return Figure(tokenizer, "vocabulary", name, metric, value, "share", "share of sums", n=total)
