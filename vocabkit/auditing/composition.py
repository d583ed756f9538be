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
from typing import Literal, NamedTuple

import numpy as np
import unicodedata2

from vocabkit.auditing.figures import Figures
from vocabkit.core.arrays import BoolArray, Int32Array, Int64Array
from vocabkit.core.text import COMMON, INHERITED, UNKNOWN, script_names, script_of, script_table
from vocabkit.vocabulary.adapters import Tokenizer
from vocabkit.vocabulary.vocabulary import Kind

# --- Token scripts ---------------------------------------------------------------------------------
# Which script a token's bytes belong to, and what kind of token they make; bytes may end inside a character.
# Letters and marks decide the script; digits, punctuation and symbols are kinds of their own before any script
# (an Arabic-Indic digit is of script Arab and tells nothing of Arabic words). A token that is not whole UTF-8
# is attributed by its whole characters, else by the scripts that its first bytes can still become.

TokenKind = Literal["text", "mixed", "digits", "punctuation", "symbols", "space", "common", "partial"]
SPACE_MARK = "\u2581"

_BRAHMIC = (
    "Ahom Bali Batk Beng Bhks Brah Bugi Buhd Cakm Cham Deva Diak Dogr Gong Gonm Gran Gujr Gukh "
    "Guru Hano Java Kali Kawi Khmr Khoj Knda Kthi Lana Laoo Lepc Limb Mahj Maka Marc Mlym Modi "
    "Mtei Mult Mymr Nand Newa Orya Phag Rjng Saur Shrd Sidd Sind Sinh Soyo Sund Sylo Tagb Takr "
    "Tale Talu Taml Tavt Telu Tglg Thai Tibt Tirh Tutg Zanb"
)
_GROUPED = {
    "Latin": "Latn", "Cyrillic": "Cyrl", "Arabic": "Arab", "Brahmic": _BRAHMIC, "Ethiopic": "Ethi",
    "Han": "Hani",
}  # fmt: skip
SCRIPT_GROUPS = {name: frozenset(scripts.split()) for name, scripts in _GROUPED.items()}
"""The study's groups of scripts; every other script is in `other`, kana and Hangul too."""

# Scripts that one writing system uses together: Japanese, Korean, Chinese with bopomofo.
_TOGETHER = (frozenset({"Hani", "Hira", "Kana"}), frozenset({"Hani", "Hang"}), frozenset({"Hani", "Bopo"}))
_WITHOUT_SCRIPT = frozenset({COMMON, INHERITED, UNKNOWN})
# Least code point that a lead byte of so many continuation bytes may stand for: shorter forms are invalid.
_LEAST = {1: 0x80, 2: 0x800, 3: 0x10000}


class Attribution(NamedTuple):
    """A token's script (None for none, or where several could be meant), kind, and why a partial has none."""

    script: str | None
    kind: TokenKind
    reason: str | None = None


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
    return Attribution(max(scripts, key=scripts.__getitem__), kind)


def _letter_scripts(text: str) -> Counter[str]:
    """Return the letters of each script: of those that tie, `max` takes the first in the text."""
    found = Counter(filter(None, map(_letter_script, text)))
    return found or Counter(filter(None, map(_extended_script, text)))


@cache
def _letter_script(character: str) -> str | None:
    """Return the script of a letter or mark; None for all else, and where the letter is of no one script."""
    script = script_of(character) if unicodedata2.category(character)[0] in "LM" else COMMON
    return None if script in _WITHOUT_SCRIPT else script


@cache
def _extended_script(character: str) -> str | None:
    """Return the script of a common or inherited letter or mark that only one script uses."""
    from fontTools.unicodedata import script_extension

    if unicodedata2.category(character)[0] not in "LM":
        return None
    scripts = set(script_extension(character)) - _WITHOUT_SCRIPT
    return scripts.pop() if len(scripts) == 1 else None


def _without_script(text: str) -> Attribution:
    categories = {unicodedata2.category(c)[0] for c in text if c != SPACE_MARK and not c.isspace()}
    order: Mapping[str, TokenKind] = {"N": "digits", "S": "symbols", "P": "punctuation"}
    for letter, kind in order.items():
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
        return Attribution(max(scripts, key=scripts.__getitem__), "partial")
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
LONG = 16
"""Characters from which pieces are counted together: of 250,000 of ours one in a hundred is as long."""
_EMITTED = (Kind.NORMAL, Kind.USER, Kind.BYTE)


@dataclass(frozen=True, slots=True, eq=False)
class Composition:
    """Every id of a vocabulary sorted by script and kind.

    `scripts` and `groups` count the pieces attributed to one; `kinds` counts all ids: the kinds of
    `attribute_token` for pieces of text, else the kind of id. `unattributed` are the partial tokens without a
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
    scripts, kinds, unattributed = Counter[str](), Counter[str](), Counter[str]()
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
    emitted = np.array([kind in _EMITTED for kind in tokenizer.kinds], dtype=np.bool_)
    by_script, by_kind, without = (dict(sorted(n.items())) for n in (scripts, kinds, unattributed))
    lengths = (np.array(found, dtype=np.int64) for found in (sizes, characters))
    return Composition(tokenizer.size, by_script, _pool_groups(scripts), by_kind, without, emitted, *lengths)


def measure_composition(tokenizer: str, composition: Composition, *, width: int) -> Figures:
    """Return the figures of a vocabulary that need no corpus; `width` is that of an embedding row."""
    size, scripted = composition.size, sum(composition.scripts.values())
    figures = Figures(tokenizer, "vocabulary")
    for name, count in (*composition.scripts.items(), *composition.groups.items()):
        figures.add(name, "pieces", float(count), "pieces", "count", n=scripted)
        _add_share(figures, name, "vocabulary_share", count, scripted)
    for metric, table in (
        ("pieces_of_kind", composition.kinds),
        ("pieces_unattributed", composition.unattributed),
        ("vocabulary_size", {"all": size}),
    ):
        for name, count in table.items():
            figures.add(name, metric, float(count), "pieces", "count", n=size)
    for name in ("mixed", "partial"):
        count = composition.kinds.get(name, 0)
        _add_share(figures, "all", f"{name}_pieces", count, len(composition.bytes))
    for metric, unit, values in (
        ("piece_bytes", "bytes a piece", composition.bytes),
        ("piece_characters", "characters a piece", composition.characters),
    ):
        for how, compute in (("mean", np.mean), ("median", np.median), ("max", np.max)):
            value = float(compute(values)) if len(values) else None
            figures.add("all", f"{metric}.{how}", value, unit, f"{how} of pieces", n=len(values))
    for length in range(1, LONG + 1):
        is_long = composition.characters >= LONG if length == LONG else composition.characters == length
        name, n = f"{length} or more" if length == LONG else str(length), len(composition.characters)
        share = int(is_long.sum()) / n if n else None
        figures.add(name, "pieces_of_length", share, "share of pieces", "share of whole pieces", n=n)
    note, rows = f"width {width}; twice as many when the output is not tied", float(size * width)
    figures.add("all", "embedding_parameters", rows, "parameters", "ids × width", n=size, note=note)
    return figures


def compare_shares(
    tokenizer: str, composition: Composition, characters: Mapping[str, int], words: Mapping[str, int]
) -> Figures:
    """Return each script's and group's share of the vocabulary over its share of the corpus.

    `characters` and `words` are the corpus by ISO 15924 code; codes without a script are left out.
    """
    figures = Figures(tokenizer, "vocabulary")
    for unit, corpus in (("characters", characters), ("words", words)):
        by_script = {name: n for name, n in corpus.items() if name not in _WITHOUT_SCRIPT}
        for pieces, text in ((composition.scripts, by_script), (composition.groups, _pool_groups(by_script))):
            total_pieces, total_text = sum(pieces.values()), sum(text.values())
            for name in sorted(pieces.keys() | text.keys()):
                seen = text.get(name, 0)
                share = _add_share(figures, name, f"corpus_share_{unit}", seen, total_text)
                value, note = None, None if share else "not in this corpus"
                if share and total_pieces:
                    value = pieces.get(name, 0) / total_pieces / share
                    note = f"under-allocated: below {UNDER:g}" if value < UNDER else None
                how = f"share of pieces ÷ share of corpus {unit}"
                figures.add(name, f"allocation_{unit}", value, "ratio", how, n=seen, note=note)
    return figures


def measure_usage(
    tokenizer: str, composition: Composition, counts: Iterable[tuple[Int32Array, Int64Array]]
) -> Figures:
    """Return ids unused on the corpus and Rényi efficiency, from (ids, occurrences) of each language."""
    used = np.zeros(composition.size, dtype=np.int64)
    for ids, occurrences in counts:
        np.add.at(used, ids, occurrences)
    total, emitted = int(used.sum()), int(composition.emitted.sum())
    unused = int((composition.emitted & (used == 0)).sum())
    figures = Figures(tokenizer, "vocabulary")
    figures.add(
        "all", "unused_ids", unused / emitted if total and emitted else None, "share",
        "share of the ids that text can be encoded to", n=emitted,
        note=f"of {total} tokens of this corpus: a larger one leaves fewer unused",
    )  # fmt: skip
    for order in ORDERS:
        for suffix, against, phrase in (
            ("", emitted, "ids that text can be encoded to"),
            (".observed", int((used > 0).sum()), "ids seen"),
        ):
            figures.add(
                "all", f"renyi_{order:g}{suffix}", _measure_renyi(used, order, against), "0–1",
                f"Rényi entropy of all languages' tokens ÷ log₂ of the {phrase}", n=against,
                note="reported, not ranked: vocabularies of other sizes do not compare",
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
    """Return the sums of the named groups of scripts, and of all others as `other`."""
    group_of = {script: name for name, group in SCRIPT_GROUPS.items() for script in group}
    pooled: Counter[str] = Counter()
    for script, count in scripts.items():
        pooled[group_of.get(script, "other")] += count
    return dict(sorted(pooled.items()))


def _add_share(figures: Figures, name: str, metric: str, count: int, total: int) -> float | None:
    """Add a count's share of a total, and return it; None where the total is 0."""
    share = count / total if total else None
    figures.add(name, metric, share, "share", "share of sums", n=total)
    return share
