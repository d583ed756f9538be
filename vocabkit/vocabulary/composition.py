"""The rules of several characters of a charsmap as canonical composition, guarded where NFC does more.

One class, built from the rules and checked against them; `charsmap_pipeline` puts what it yields in
order. The Unicode facts it rests on are in `unicode_facts`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from itertools import pairwise
from math import prod
from typing import NoReturn

import unicodedata2
from tokenizers import normalizers

from vocabkit.core.errors import TokenizerError
from vocabkit.vocabulary.patterns import char_class, escape
from vocabkit.vocabulary.unicode_facts import (
    characters,
    combining_classes,
    compose,
    last_classes,
    primary_composites,
)

_MOST_LITERAL_STEPS = 64
_JAMO_AFTER_JAMO = tuple(map(chr, (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))))


class Composition:
    """The rules of several characters, restated over text whose characters are already mapped one by one."""

    def __init__(
        self, single: Mapping[str, str], several: Mapping[str, str], fence: str, wall: str
    ) -> None:
        self.single, self.fence, self.wall = single, fence, wall
        starts = {key[0] for key in several}
        # A rule that says what its characters' own rules say adds nothing (U+00A8 + U+0301 in NFKC).
        needed = {
            key: value
            for key, value in several.items()
            if self._mapped(key) != value or not starts.isdisjoint(key[1:])
        }
        self.first = {key[0] for key in needed}
        self.later = {char for key in needed for char in key[1:]}
        self.joined = {self._mapped(key): value for key, value in needed.items()}
        self.mapped_first = {self.single.get(char, char) for char in self.first}
        self.mapped_later = {self.single.get(char, char) for char in self.later}
        # ſ + U+0307 is a rule of NFKC as s + U+0307 is, but ſ + U+0301 is none.
        self.divided: set[str] = set()
        self._check_restatement(needed)
        by_nfc = compose(self.joined)
        self.unknown_to_nfc: dict[str, str] = {}
        for key, value in self.joined.items():
            composed = by_nfc[key]
            if composed != value:
                if composed != key and self.joined.get(composed) != value:
                    refuse(f"NFC makes {composed!r} of {key!r}, which is no rule for {value!r}")
                self.unknown_to_nfc[composed] = value
        self._check_single_characters()

    def _mapped(self, text: str) -> str:
        return "".join(self.single.get(char, char) for char in text)

    def _check_restatement(self, several: Mapping[str, str]) -> None:
        wide = [c for c in self.first | self.later if len(self.single.get(c, c)) != 1]
        if wide:
            refuse(
                f"U+{ord(min(wide)):04X} is part of a longer rule and maps to several characters"
            )
        continuations = Counter(self.single.get(char, char) for char in self.later)
        # A mapped sequence must be a rule for *every* way to write it: count the ways instead of listing them.
        written: Counter[tuple[str, str]] = Counter()
        tails: defaultdict[str, set[str]] = defaultdict(set)
        for key, value in several.items():
            mapped = self._mapped(key)
            written[key[0], mapped[1:]] += 1
            tails[mapped[0]].add(mapped[1:])
            if self.joined[mapped] != value:
                refuse(f"two rules that read {mapped!r} character by character differ")
        for char in sorted(self.first):
            for tail in sorted(tails[self.single.get(char, char)]):
                count = written[char, tail]
                if not count:
                    self._divide(char, tail, {end for start, end in written if start == char})
                elif count != prod(continuations[other] for other in tail):
                    refuse(
                        f"{char + tail!r} is a rule for some ways to write it and not for others"
                    )

    def _divide(self, char: str, tail: str, own: set[str]) -> None:
        """Note where `char` + `tail`, no rule though it reads like one, must be kept from composing."""
        cut = max((size for size in range(1, len(tail)) if tail[:size] in own), default=0)
        if any(other.startswith(tail[: cut + 1]) for other in own):
            refuse(f"{char + tail!r} is no rule, and its beginning is part of another")
        spellings = [
            char_class(c for c in self.later if self._mapped(c) == part) for part in tail[: cut + 1]
        ]
        self.divided.add(f"(?<={escape(char)}{''.join(spellings[:cut])})(?={spellings[cut]})")

    def _check_single_characters(self) -> None:
        outputs = {char for char in characters() if char not in self.single}
        outputs |= {char for value in self.single.values() for char in value}
        outputs |= {char for value in self.joined.values() for char in value}
        changed = sorted(char for char, text in compose(outputs).items() if char != text)
        if changed:
            refuse(f"NFC changes U+{ord(changed[0]):04X}, which the rules leave as it is")

    def charwise_rules(self) -> dict[str, str]:
        """What `map` does: the rules of one character, with walls where composition must not reach across."""
        rules: dict[str, str] = {}
        candidates = set(self.single) | self.mapped_first | self.mapped_later
        values = {char: self.single.get(char, char) for char in candidates}
        composed = compose({value for value in values.values() if len(value) > 1})
        for char, value in values.items():
            text = value
            if len(text) > 1 and composed[text] != text:
                text = self.wall.join(text)
            before = value[:1] in self.mapped_later and char not in self.later
            after = value[-1:] in self.mapped_first and char not in self.first
            text = self.wall * before + text + self.wall * after
            if text != char:
                rules[char] = text or self.wall
        rules[self.fence] = ""
        return rules

    def guard_pattern(self) -> str:
        """A pattern of no width that finds each place where NFC would do more than the rules."""
        mark, marked = char_class(combining_classes()), char_class(last_classes())
        places = "|".join([*_unsettled_marks(), *self._ends_out_of_order()])
        strays = self._stray_compositions()
        befores: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        for before, second in strays:
            befores[before[1:], second].add(before[0])
        guards = [f"(?={mark})(?<={marked})(?:{places})"]
        guards += [
            f"(?<={char_class(firsts)}{escape(middle)})(?={escape(second)})"
            for (middle, second), firsts in sorted(befores.items(), key=lambda item: item[0])
        ]
        guards += self._loose_jamo()
        # Nine places in ten fail this first test, which makes the pattern thirty times faster.
        seconds = {*combining_classes(), *(second for _, second in strays), *_JAMO_AFTER_JAMO}
        pattern = f"(?={char_class(seconds)})(?:{'|'.join(guards)})"
        inside = self._inside_rules({before[-1] + second for before, second in strays})
        return f"{pattern}(?!{'|'.join(inside)})" if inside else pattern

    def _inside_rules(self, stray_pairs: set[str]) -> list[str]:
        """The places inside a rule, where nothing is guarded; grouped by what the first character may be."""
        classes, ends = combining_classes(), last_classes()
        heads: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        for key in self.joined:
            for cut in range(1, len(key)):
                before, after = key[cut - 1], key[cut]
                marks = before in ends and after in classes
                if marks or before + after in stray_pairs:
                    heads[key[1:cut], key[cut:]].add(key[0])
        return [
            f"(?<={char_class(firsts)}{escape(middle)})(?={escape(rest)})"
            for (middle, rest), firsts in sorted(heads.items(), key=lambda item: item[0])
        ]

    def _ends_out_of_order(self) -> list[str]:
        """After a rule whose marks NFC sorts, no mark may follow in the same breath: it would be sorted too."""
        classes = combining_classes()
        heads: defaultdict[str, set[str]] = defaultdict(set)
        for key in self.joined:
            decomposed = "".join(unicodedata2.normalize("NFD", char) for char in key)
            numbers = [classes.get(char, 0) for char in decomposed]
            if any(first > second > 0 for first, second in pairwise(numbers)):
                heads[key[1:]].add(key[0])
        return [f"(?<={char_class(heads[tail])}{escape(tail)})" for tail in sorted(heads)]

    def _stray_compositions(self) -> list[tuple[str, str]]:
        """Neighbours that NFC composes and no rule does: (text before, character after)."""
        spellings: defaultdict[str, list[str]] = defaultdict(list)
        for key, value in self.joined.items():
            spellings[value].append(key)
        pairs = sorted(primary_composites())
        by_nfc = compose(first + second for first, second in pairs)
        return [
            (text, second)
            for first, second in pairs
            if len(by_nfc[first + second]) == 1
            for text in [first, *spellings[first]]
            if text + second not in self.joined
        ]

    def _loose_jamo(self) -> list[str]:
        """What keeps NFC from composing jamo that no rule joins: nmt_nfkc has L + V + T, not LV + T."""
        pairs = [
            chr(first) + chr(vowel)
            for first in range(0x1100, 0x1113)
            for vowel in range(0x1161, 0x1176)
        ]
        trailing = [chr(code) for code in range(0x11A8, 0x11C3)]
        syllables = compose(pairs)
        families = {
            "(?<=[\u1100-\u1112])(?=[\u1161-\u1175])": pairs,
            "(?<=[\u1161-\u1175])(?=[\u11a8-\u11c2])": [a + b for a in pairs for b in trailing],
            "(?<=[\uac00-\ud7a3])(?=[\u11a8-\u11c2])": [
                syllables[a] + b for a in pairs for b in trailing
            ],
        }
        guards = []
        for guard, texts in families.items():
            present = sum(text in self.joined for text in texts)
            if not present:
                guards.append(guard)
            elif present != len(texts):
                refuse(f"the rules compose {present} of {len(texts)} sequences of Hangul jamo")
        return guards

    def literal_steps(self, alphabet: frozenset[str]) -> list[normalizers.Normalizer]:
        """One step for each rule NFC does not know, longest first."""
        keys = sorted(self.unknown_to_nfc, key=lambda key: (-len(key), key))
        keys = [key for key in keys if alphabet & set(key + self.unknown_to_nfc[key])]
        if len(keys) > _MOST_LITERAL_STEPS:
            refuse(f"{len(keys)} rules of several characters are not canonical composition")
        return [normalizers.Replace(key, self.unknown_to_nfc[key]) for key in keys]


def _unsettled_marks() -> list[str]:
    """Pairs of combining marks, by class, that NFC reorders or composes across."""
    classes = combining_classes()
    seconds = {second for _, second in primary_composites() if second in classes}
    by_class: defaultdict[int, set[str]] = defaultdict(set)
    for char, number in classes.items():
        by_class[number].add(char)
    places: list[str] = []
    below: set[str] = set()
    for number in sorted(by_class):
        above = {char for char, other in last_classes().items() if other > number}
        if above:  # NFC sorts marks by class
            places.append(f"(?<={char_class(above)})(?={char_class(by_class[number])})")
        composing = by_class[number] & seconds
        if composing and below:  # NFC composes past a mark of a lower class
            places.append(f"(?<={char_class(below)})(?={char_class(composing)})")
        below |= by_class[number]
    return places


def refuse(reason: str) -> NoReturn:
    """Raise the TokenizerError of a charsmap that has no exact form."""
    raise TokenizerError(
        f"this charsmap cannot be written to tokenizer.json exactly: {reason}",
        hint="use tokenizer.model, or fit with the normaliser nmt_nfkc, nfkc, nfc or identity",
    )
