"""Normalisers: how raw text becomes the text a vocabulary is fitted on, and the charsmap a .model carries.

Four rules. `nmt_nfkc` is SentencePiece's default, applied by SentencePiece's own longest-prefix charsmap: it
turns ZWNJ into a space and splits Thai SARA AM, and it never reorders marks. `nfkc` and `nfc` are Unicode's
normal forms, applied with unicodedata2; a charsmap cannot reorder marks, so a .model carries the nearest one,
grown by the mark sequences met in the text (`charsmap_for`), and what still differs is counted. `identity`
changes nothing. Under every rule the delimiters of WordCounts (`word_counts.DELIMITERS`) are spaces.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
import sentencepiece
import unicodedata2
from sentencepiece import sentencepiece_model_pb2

from vocabkit.core.arrays import BoolArray
from vocabkit.core.errors import ConfigError
from vocabkit.corpus.word_counts import DELIMITERS

_SPACE_RULES = {character: " " for character in DELIMITERS if character != " "}
_TO_SPACE = str.maketrans(_SPACE_RULES)
RULES = ("nmt_nfkc", "nfkc", "nfc", "identity")


@dataclass(frozen=True, slots=True)
class Normalizer:
    """A named rule and the charsmap (SentencePiece's compiled form) that a .model will carry for it."""

    name: str
    charsmap: bytes

    @property
    def rules(self) -> Mapping[str, str]:
        """The charsmap's rules, key → value, the longest key at a position winning."""
        return decompile(self.charsmap)

    def normalize(self, text: str) -> str:
        """Normalise text by the rule itself. Spaces are neither collapsed nor stripped."""
        return self.normalize_words([text])[0]

    def normalize_words(self, words: Sequence[str]) -> list[str]:
        """Normalise many texts by the rule itself: unicodedata2 for `nfc` and `nfkc`, else the charsmap."""
        # WordCounts has split at white space already; only text given directly still holds any.
        if self.name in ("nfc", "nfkc"):
            form = self.name.upper()
            return [unicodedata2.normalize(form, word).translate(_TO_SPACE) for word in words]
        if self.name == "identity":
            return [word.translate(_TO_SPACE) for word in words]
        return self.apply_charsmap(words)

    def apply_charsmap(self, words: Sequence[str]) -> list[str]:
        """Normalise many texts as the .model will: by its charsmap, longest prefix first."""
        if not self.charsmap:
            return list(words)
        processor = _open(self.charsmap)
        return [str(processor.normalize(word)) for word in words]


@cache
def load_normalizer(name: str) -> Normalizer:
    """Return the normaliser of one of `RULES`. Raises `ConfigError` for another name."""
    if name == "nmt_nfkc":
        return Normalizer(name, _charsmap(sentencepiece.SentencePieceNormalizer(rule_name=name)))
    if name in RULES:
        rules = {} if name == "identity" else dict(_composition_rules(name.upper()))
        return Normalizer(name, compile_charsmap(rules | _SPACE_RULES))
    raise ConfigError(
        f"normalization.rule = {name!r}: expected one of {', '.join(RULES)}",
        "vocabkit presets show fit/balanced-250k",
    )


def charsmap_for(normalizer: Normalizer, words: Iterable[str]) -> Normalizer:
    """Return the normaliser with a charsmap grown by the sequences in `words`.

    `words` are the raw words on which rule and charsmap disagree. Each combining sequence of theirs (a base
    and its marks, in the order typed) becomes a rule.
    """
    form = normalizer.name.upper()
    found = {sequence for word in words for sequence in _combining_sequences(word)}
    mapped = {sequence: unicodedata2.normalize(form, sequence) for sequence in found}
    extra = {sequence: normal for sequence, normal in mapped.items() if normal != sequence}
    if not extra:
        return normalizer
    return Normalizer(normalizer.name, compile_charsmap(dict(normalizer.rules) | extra))


def _combining_sequences(text: str) -> Iterator[str]:
    """Yield each base character with the non-starters that follow it, where there are any."""
    start = 0
    for index, character in enumerate(text):
        if unicodedata2.combining(character) == 0 and index > start:
            if index - start > 1:
                yield text[start:index]
            start = index
    if len(text) - start > 1:
        yield text[start:]


@lru_cache(maxsize=4)  # 0.4 s for nmt_nfkc's 225,276 rules
def decompile(charsmap: bytes) -> Mapping[str, str]:
    """Return the rules of a compiled charsmap."""
    return dict(_open(charsmap).decompile()) if charsmap else {}


def compile_charsmap(rules: Mapping[str, str]) -> bytes:
    """Compile rules into the form a .model carries; no rules give the empty charsmap."""
    changed = {key: value for key, value in rules.items() if key != value}
    if not changed:
        return b""
    # SentencePiece reports the size of what it compiles on stderr; that is nobody's result.
    sentencepiece.set_min_log_level(2)
    return _charsmap(sentencepiece.SentencePieceNormalizer(norm_map=sorted(changed.items())))


@cache
def active_characters(normalizer: Normalizer) -> BoolArray:
    """Return, by code point, whether a character can make a word differ from its normal form.

    A word without any is its own normal form, which spares the normaliser nine words in ten. Characters that
    only begin a longer sequence (the `o` of o + U+0301) are not listed: the mark after them is.
    """
    active = np.zeros(0x110000, dtype=np.bool_)
    rules = normalizer.rules
    for key, value in rules.items():
        if len(key) == 1 and key != value:
            active[ord(key)] = True
        for character in key[1:]:
            active[ord(character)] = True
    if normalizer.name in ("nfc", "nfkc"):
        active |= [unicodedata2.combining(chr(code)) > 0 for code in range(0x110000)]
    active.setflags(write=False)
    return active


def _composition_rules(form: str) -> Iterator[tuple[str, str]]:
    """Yield every character and canonical sequence that the normal form changes, with the form."""
    for code in itertools.chain(range(0xD800), range(0xE000, 0x110000)):
        character = chr(code)
        normal = unicodedata2.normalize(form, character)
        if normal != character:
            yield character, normal
        decomposed = unicodedata2.normalize("NFD", character)
        if len(decomposed) > 1:
            target = unicodedata2.normalize(form, decomposed)
            for sequence in _spellings(decomposed):
                if unicodedata2.normalize(form, sequence) == target != sequence:
                    yield sequence, target


def _spellings(decomposed: str) -> Iterator[str]:
    """Yield the ways to type a decomposed character: marks in any order, leading ones composed or not."""
    base, marks = decomposed[0], decomposed[1:]
    orders = itertools.permutations(marks) if len(marks) <= 3 else [tuple(marks)]
    for order in orders:
        typed = base + "".join(order)
        yield typed
        for cut in range(2, len(typed)):
            head = unicodedata2.normalize("NFC", typed[:cut])
            if len(head) < cut:
                yield head + typed[cut:]


def _charsmap(processor: sentencepiece.SentencePieceNormalizer) -> bytes:
    spec = sentencepiece_model_pb2.NormalizerSpec()
    spec.ParseFromString(processor.serialized_normalizer_spec())
    return bytes(spec.precompiled_charsmap)


@cache
def _open(charsmap: bytes) -> sentencepiece.SentencePieceNormalizer:
    spec = sentencepiece_model_pb2.NormalizerSpec(
        name="user_defined", precompiled_charsmap=charsmap,
        add_dummy_prefix=False, remove_extra_whitespaces=False, escape_whitespaces=False,
    )  # fmt: skip
    return sentencepiece.SentencePieceNormalizer(normalizer_spec=spec)
