"""SentencePiece's charsmap as a pipeline of `tokenizers` normalizers that gives the same text.

`tokenizers` has a step of its own for such a charsmap, `Precompiled`, but it is not what
SentencePiece does:

- it walks graphemes, and in one shorter than six bytes takes the *shortest* rule that fits its
  start and drops the rest (o + U+0323 + U+0301 becomes ọ: the acute is lost; ² + U+0301 becomes 2);
- in a longer grapheme it goes character by character, so a rule of several characters never fires
  (half-width ｶ + ﾞ is not joined).

SentencePiece walks the text from the left and takes the longest rule at each place. Its rules are,
in effect, a map of single characters followed by canonical composition, except that composition
only ever happens inside one rule. So the pipeline is

    fence    a separator after every character that has a rule, so that `Precompiled` meets it alone
    map      `Precompiled` with the rules of one character; a wall goes where composition must not
             reach across: instead of deleted characters, and beside those in no longer rule
    guard    a wall between two marks that NFC would reorder or compose but no rule joins
    compose  NFC, which now does exactly what the rules of several characters do
    tidy     drop the walls, and SentencePiece's removal of extra spaces

`_Composition` checks on the rules themselves that this holds (each rule of several characters, each
pair NFC composes, each single character) and raises rather than let a tokenizer be written that
differs. Left out: the dummy prefix and the pieces (see `vocabulary`).
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from math import prod
from typing import Any, NoReturn

import unicodedata2
from tokenizers import Regex, normalizers

from vocabkit.core.errors import TokenizerError
from vocabkit.corpus.normalization import compile_charsmap, decompile

# --- Patterns --------------------------------------------------------------------------------------
# Characters as regular expressions that Oniguruma (`tokenizers`) and JavaScript's `u` flag read alike.


def _escape(text: str) -> str:
    """Return the text as a pattern that matches it and nothing else."""
    return "".join(f"\\{char}" if char in r"\^$.|?*+()[]{}-&" else char for char in text)


def match_any(texts: Iterable[str]) -> str:
    """Return a pattern that takes the longest of some texts, as a tree: thousands cost what a few do."""
    tree: dict[str, Any] = {}
    for text in sorted(texts):
        node = tree
        for char in text:
            node = node.setdefault(char, {})
        node[""] = {}

    def write(node: Mapping[str, Any]) -> str:
        branches = [_escape(char) + write(after) for char, after in node.items() if char]
        if not branches:
            return ""
        bare = len(branches) == 1 and "" not in node
        return branches[0] if bare else f"(?:{'|'.join(branches)}){'?' * ('' in node)}"

    return write(tree)


def _char_class(chars: Iterable[str]) -> str:
    """Return `[a-cx]`: the characters as ranges, in order."""
    codes = sorted(map(ord, chars))
    parts: list[str] = []
    start = previous = codes[0]
    for code in [*codes[1:], sys.maxunicode + 2]:
        if code != previous + 1:
            parts.append(_escape(chr(start)))
            if previous > start:
                parts.append(("-" if previous > start + 1 else "") + _escape(chr(previous)))
            start = code
        previous = code
    return f"[{''.join(parts)}]"


# --- Unicode facts ---------------------------------------------------------------------------------
# What NFC knows of characters: combining classes, composed characters, and NFC as `tokenizers` computes it.


def _compose(texts: Iterable[str]) -> dict[str, str]:
    """Return each text and its NFC as `tokenizers` does it, with tables older than SentencePiece's."""
    listed = list(texts)
    form = normalizers.NFC()
    if not listed or any("\n" in text for text in listed):
        return {text: form.normalize_str(text) for text in listed}
    # One call for all: a line feed neither composes nor moves.
    return dict(zip(listed, form.normalize_str("\n".join(listed)).split("\n"), strict=True))


@cache
def _characters() -> tuple[str, ...]:
    """Return the code points that normal forms know: nothing from U+30000 on has a class or a decomposition."""
    codes = (*range(0x0A), *range(0x0B, 0xD800), *range(0xE000, 0x30000))
    return tuple(map(chr, codes))


@cache
def _combining_classes() -> dict[str, int]:
    """Return characters with a combining class above 0, and the class."""
    table = {char: unicodedata2.combining(char) for char in _characters()}
    return {char: number for char, number in table.items() if number}


@cache
def _last_classes() -> dict[str, int]:
    """Return the class of the mark a character ends in, for marks and for composed characters."""
    classes = _combining_classes()
    table = dict(classes)
    for char in _characters():
        if unicodedata2.decomposition(char):
            number = classes.get(unicodedata2.normalize("NFD", char)[-1], 0)
            if number:
                table[char] = number
    return table


@cache
def _primary_composites() -> frozenset[tuple[str, str]]:
    """Return the pairs NFC composes, Hangul left out."""
    pairs = set()
    for char in _characters():
        fields = unicodedata2.decomposition(char).split()
        if len(fields) == 2 and not fields[0].startswith("<"):
            first, second = (chr(int(field, 16)) for field in fields)
            if unicodedata2.normalize("NFC", first + second) == char:
                pairs.add((first, second))
    return frozenset(pairs)


# --- Composition -----------------------------------------------------------------------------------
# The rules of several characters of a charsmap as canonical composition, guarded where NFC does more. One
# class, built from the rules and checked against them; `build_steps` puts what it yields in order.

_MOST_LITERAL_STEPS = 64
_JAMO_AFTER_JAMO = tuple(map(chr, (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))))


class _Composition:
    """The rules of several characters, restated over text whose characters are already mapped one by one."""

    def __init__(self, single: Mapping[str, str], several: Mapping[str, str], fence: str, wall: str) -> None:
        self.single, self.fence, self.wall = single, fence, wall
        starts = {key[0] for key in several}
        # A rule that says what its characters' own rules say adds nothing (U+00A8 + U+0301 in NFKC).
        kept = {key for key in several if self._mapped(key) != several[key] or not starts.isdisjoint(key[1:])}
        needed = {key: value for key, value in several.items() if key in kept}
        self.first = {key[0] for key in needed}
        self.later = {char for key in needed for char in key[1:]}
        self.joined = {self._mapped(key): value for key, value in needed.items()}
        self.mapped_first = {self.single.get(char, char) for char in self.first}
        self.mapped_later = {self.single.get(char, char) for char in self.later}
        # ſ + U+0307 is a rule of NFKC as s + U+0307 is, but ſ + U+0301 is none.
        self.divided: set[str] = set()
        self._check_restatement(needed)
        by_nfc = _compose(self.joined)
        self.unknown_to_nfc: dict[str, str] = {}
        for key, value in self.joined.items():
            composed = by_nfc[key]
            if composed != value:
                if composed != key and self.joined.get(composed) != value:
                    _refuse(f"NFC makes {composed!r} of {key!r}, which is no rule for {value!r}")
                self.unknown_to_nfc[composed] = value
        self._check_single_characters()

    def _mapped(self, text: str) -> str:
        return "".join(self.single.get(char, char) for char in text)

    def _check_restatement(self, several: Mapping[str, str]) -> None:
        wide = [c for c in self.first | self.later if len(self.single.get(c, c)) != 1]
        if wide:
            _refuse(f"U+{ord(min(wide)):04X} is part of a longer rule and maps to several characters")
        continuations = Counter(self.single.get(char, char) for char in self.later)
        # A mapped sequence must be a rule for *every* way to write it: count the ways instead of listing them.
        written: Counter[tuple[str, str]] = Counter()
        tails: defaultdict[str, set[str]] = defaultdict(set)
        for key, value in several.items():
            mapped = self._mapped(key)
            written[key[0], mapped[1:]] += 1
            tails[mapped[0]].add(mapped[1:])
            if self.joined[mapped] != value:
                _refuse(f"two rules that read {mapped!r} character by character differ")
        for char in sorted(self.first):
            for tail in sorted(tails[self.single.get(char, char)]):
                count = written[char, tail]
                if not count:
                    self._divide(char, tail, {end for start, end in written if start == char})
                elif count != prod(continuations[other] for other in tail):
                    _refuse(f"{char + tail!r} is a rule for some ways to write it and not for others")

    def _divide(self, char: str, tail: str, own: set[str]) -> None:
        """Note where `char` + `tail`, no rule though it reads like one, must be kept from composing."""
        cut = max((size for size in range(1, len(tail)) if tail[:size] in own), default=0)
        if any(other.startswith(tail[: cut + 1]) for other in own):
            _refuse(f"{char + tail!r} is no rule, and its beginning is part of another")
        spellings = [_char_class(c for c in self.later if self._mapped(c) == part) for part in tail[: cut + 1]]
        self.divided.add(f"(?<={_escape(char)}{''.join(spellings[:cut])})(?={spellings[cut]})")

    def _check_single_characters(self) -> None:
        outputs = {char for char in _characters() if char not in self.single}
        outputs |= {char for value in self.single.values() for char in value}
        outputs |= {char for value in self.joined.values() for char in value}
        changed = sorted(char for char, text in _compose(outputs).items() if char != text)
        if changed:
            _refuse(f"NFC changes U+{ord(changed[0]):04X}, which the rules leave as it is")

    def charwise_rules(self) -> dict[str, str]:
        """What `map` does: the rules of one character, with walls where composition must not reach across."""
        rules: dict[str, str] = {}
        candidates = set(self.single) | self.mapped_first | self.mapped_later
        values = {char: self.single.get(char, char) for char in candidates}
        composed = _compose({value for value in values.values() if len(value) > 1})
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
        """Return a pattern of no width that finds each place where NFC would do more than the rules."""
        mark, marked = _char_class(_combining_classes()), _char_class(_last_classes())
        places = "|".join([*_unsettled_marks(), *self._ends_out_of_order()])
        strays = self._stray_compositions()
        befores: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        for before, second in strays:
            befores[before[1:], second].add(before[0])
        guards = [f"(?={mark})(?<={marked})(?:{places})"]
        guards += [
            f"(?<={_char_class(firsts)}{_escape(middle)})(?={_escape(second)})"
            for (middle, second), firsts in sorted(befores.items(), key=lambda item: item[0])
        ]
        guards += self._loose_jamo()
        # Nine places in ten fail this first test, which makes the pattern thirty times faster.
        seconds = {*_combining_classes(), *(second for _, second in strays), *_JAMO_AFTER_JAMO}
        pattern = f"(?={_char_class(seconds)})(?:{'|'.join(guards)})"
        inside = self._inside_rules({before[-1] + second for before, second in strays})
        return f"{pattern}(?!{'|'.join(inside)})" if inside else pattern

    def _inside_rules(self, stray_pairs: set[str]) -> list[str]:
        """The places inside a rule, where nothing is guarded; grouped by what the first character may be."""
        classes, ends = _combining_classes(), _last_classes()
        heads: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        for key in self.joined:
            for cut in range(1, len(key)):
                before, after = key[cut - 1], key[cut]
                marks = before in ends and after in classes
                if marks or before + after in stray_pairs:
                    heads[key[1:cut], key[cut:]].add(key[0])
        return [
            f"(?<={_char_class(firsts)}{_escape(middle)})(?={_escape(rest)})"
            for (middle, rest), firsts in sorted(heads.items(), key=lambda item: item[0])
        ]

    def _ends_out_of_order(self) -> list[str]:
        """After a rule whose marks NFC sorts, no mark may follow in the same breath: it would be sorted too."""
        classes = _combining_classes()
        heads: defaultdict[str, set[str]] = defaultdict(set)
        for key in self.joined:
            decomposed = "".join(unicodedata2.normalize("NFD", char) for char in key)
            numbers = [classes.get(char, 0) for char in decomposed]
            if any(first > second > 0 for first, second in pairwise(numbers)):
                heads[key[1:]].add(key[0])
        return [f"(?<={_char_class(heads[tail])}{_escape(tail)})" for tail in sorted(heads)]

    def _stray_compositions(self) -> list[tuple[str, str]]:
        """Neighbours that NFC composes and no rule does: (text before, character after)."""
        spellings: defaultdict[str, list[str]] = defaultdict(list)
        for key, value in self.joined.items():
            spellings[value].append(key)
        pairs = sorted(_primary_composites())
        by_nfc = _compose(first + second for first, second in pairs)
        return [
            (text, second)
            for first, second in pairs
            if len(by_nfc[first + second]) == 1
            for text in [first, *spellings[first]]
            if text + second not in self.joined
        ]

    def _loose_jamo(self) -> list[str]:
        """What keeps NFC from composing jamo that no rule joins: nmt_nfkc has L + V + T, not LV + T."""
        pairs = [chr(first) + chr(vowel) for first in range(0x1100, 0x1113) for vowel in range(0x1161, 0x1176)]
        trailing = [chr(code) for code in range(0x11A8, 0x11C3)]
        syllables = _compose(pairs)
        families = {
            "(?<=[\u1100-\u1112])(?=[\u1161-\u1175])": pairs,
            "(?<=[\u1161-\u1175])(?=[\u11a8-\u11c2])": [a + b for a in pairs for b in trailing],
            "(?<=[\uac00-\ud7a3])(?=[\u11a8-\u11c2])": [syllables[a] + b for a in pairs for b in trailing],
        }
        guards = []
        for guard, texts in families.items():
            present = sum(text in self.joined for text in texts)
            if not present:
                guards.append(guard)
            elif present != len(texts):
                _refuse(f"the rules compose {present} of {len(texts)} sequences of Hangul jamo")
        return guards

    def literal_steps(self, alphabet: frozenset[str]) -> list[normalizers.Normalizer]:
        """Return one step for each rule NFC does not know, longest first."""
        keys = sorted(self.unknown_to_nfc, key=lambda key: (-len(key), key))
        keys = [key for key in keys if alphabet & set(key + self.unknown_to_nfc[key])]
        if len(keys) > _MOST_LITERAL_STEPS:
            _refuse(f"{len(keys)} rules of several characters are not canonical composition")
        return [normalizers.Replace(key, self.unknown_to_nfc[key]) for key in keys]


def _unsettled_marks() -> list[str]:
    """Pairs of combining marks, by class, that NFC reorders or composes across."""
    classes = _combining_classes()
    seconds = {second for _, second in _primary_composites() if second in classes}
    by_class: defaultdict[int, set[str]] = defaultdict(set)
    for char, number in classes.items():
        by_class[number].add(char)
    places: list[str] = []
    below: set[str] = set()
    for number in sorted(by_class):
        above = {char for char, other in _last_classes().items() if other > number}
        if above:  # NFC sorts marks by class
            places.append(f"(?<={_char_class(above)})(?={_char_class(by_class[number])})")
        composing = by_class[number] & seconds
        if composing and below:  # NFC composes past a mark of a lower class
            places.append(f"(?<={_char_class(below)})(?={_char_class(composing)})")
        below |= by_class[number]
    return places


def _refuse(reason: str) -> NoReturn:
    """Raise the TokenizerError of a charsmap that has no exact form."""
    hint = "use tokenizer.model, or fit with the normaliser nmt_nfkc, nfkc, nfc or identity"
    raise TokenizerError(f"this charsmap cannot be written to tokenizer.json exactly: {reason}", hint)


# --- The pipeline ----------------------------------------------------------------------------------

# Two characters that a text does not hold: noncharacters, four bytes long so that no mark can make a
# short grapheme of them. Typed all the same, they are dropped. A charsmap that deletes U+0001 and
# U+0002 (nmt_nfkc does) lends those instead, and then no text at all is treated differently.
_NONCHARACTERS = ("\U0001fffe", "\U0002fffe")
_CONTROLS = ("\x01", "\x02")
# Lent to user-defined symbols where a charsmap deletes no controls.
_SPARE = tuple(chr((plane << 16) | end) for plane in range(3, 17) for end in (0xFFFE, 0xFFFF))
_OTHER_RULE = "use tokenizer.model, or a normaliser that leaves the symbol as it is"


def build_steps(
    charsmap: bytes, remove_extra_spaces: bool = True, alphabet: Iterable[str] = (), symbols: Iterable[str] = ()
) -> list[normalizers.Normalizer]:
    """Return the `tokenizers` normalizers that do what SentencePiece does with a compiled charsmap.

    `alphabet` names the characters a vocabulary holds. Compositions that `tokenizers`' NFC is too old to know
    (25 in four scripts of Unicode 13 and 16) cost a step each and are written only for characters in it;
    without one they matter to byte fallback alone. `symbols` are the user-defined ones, which no rule touches.
    Raises TokenizerError when the rules cannot be expressed exactly.
    """
    shield = _shield_symbols(charsmap, frozenset(symbols), remove_extra_spaces)
    if not shield.charsmap:
        return [*shield.before, *shield.after, *_tidy_steps("", remove_extra_spaces)]
    steps, composition = _steps_of_rules(shield.charsmap)
    middle = [*shield.before, *steps]
    if composition is None:
        return [*middle, *shield.after, *_tidy_steps("", remove_extra_spaces)]
    middle += composition.literal_steps(frozenset(alphabet))
    return [*middle, *shield.after, *_tidy_steps(composition.wall, remove_extra_spaces)]


def _lend_controls(rules: Mapping[str, str]) -> tuple[str, str] | None:
    return _CONTROLS if all(rules.get(char) == "" for char in _CONTROLS) else None


@lru_cache(maxsize=8)
def _steps_of_rules(charsmap: bytes) -> tuple[tuple[normalizers.Normalizer, ...], _Composition | None]:
    """The steps up to composition: the same for every vocabulary of one normaliser (1.3 s of work)."""
    rules = decompile(charsmap)
    controls = _lend_controls(rules)
    fence, wall = controls or _NONCHARACTERS
    single = {key: value for key, value in rules.items() if len(key) == 1}
    several = {key: value for key, value in rules.items() if len(key) > 1}
    composition = _Composition(single, several, fence, wall) if several else None
    mapped = composition.charwise_rules() if composition else {**single, fence: ""}
    # Controls stand alone as they are, but for the carriage return of \r\n; longer characters need no fence.
    fenced = sorted(c for c in mapped if c != fence and len(c.encode()) <= 3 and (c >= " " or c == "\r"))
    steps: list[normalizers.Normalizer] = []
    if controls:
        steps.append(normalizers.Replace(fence, wall))
    if fenced:
        steps.append(normalizers.Replace(Regex(f"(?<={_char_class(fenced)})"), fence))
    if composition is None:
        return (*steps, _precompiled(mapped if fenced else single)), None
    if composition.divided:
        pattern = "|".join(sorted(composition.divided))
        steps.insert(0, normalizers.Replace(Regex(pattern), wall))
    steps.append(_precompiled(mapped))
    steps.append(normalizers.Replace(Regex(composition.guard_pattern()), wall))
    return (*steps, normalizers.NFC()), composition


def _tidy_steps(wall: str, remove_extra_spaces: bool) -> list[normalizers.Normalizer]:
    if not remove_extra_spaces:
        return [normalizers.Replace(wall, "")] if wall else []
    # SentencePiece strips U+0020 alone at the start, and at the end also a U+2581 that stood in the text.
    either = f"[ {wall}]" if wall else " "
    at_end = f"[ \u2581{wall}]"
    parts = [rf"(?<![\s\S]){either}+", rf"(?<= ){either}+", f"{wall}+" * bool(wall), rf"{at_end}+(?![\s\S])"]
    return [normalizers.Replace(Regex(f"(?={at_end})(?:{'|'.join(filter(None, parts))})"), "")]


def _precompiled(rules: Mapping[str, str]) -> normalizers.Normalizer:
    return normalizers.Precompiled(compile_charsmap(rules))


# --- User-defined symbols --------------------------------------------------------------------------
# SentencePiece looks for them in the text as typed, the longest at each place, before it asks the charsmap:
# a newline stays one though nmt_nfkc has a rule for it, `<SEP>` keeps its capitals under a rule that folds
# them. The same by steps:
#
# - a symbol of one character: the rules that begin with it can never fire, and are left out;
# - a longer one that a rule would change: another character stands for it while the rules are at work;
# - a longer one that a rule could begin in and leave (`<sep>` before U+0338, which makes ≯ of > ): a wall.


@dataclass(frozen=True, slots=True)
class _Shield:
    """The rules that are left, and the steps that come before and after them."""

    charsmap: bytes
    before: tuple[normalizers.Normalizer, ...] = ()
    after: tuple[normalizers.Normalizer, ...] = ()


def _shield_symbols(charsmap: bytes, symbols: frozenset[str], remove_extra_spaces: bool) -> _Shield:
    """Keep symbols from the rules. Raises TokenizerError where that cannot be done exactly."""
    longer = sorted((one for one in symbols if len(one) > 1), key=lambda one: (-len(one), one))
    spaced = next((symbol for symbol in longer if " " in symbol), None) if remove_extra_spaces else None
    if spaced is not None:
        # It never matches, since spaces are U+2581 by then, but it keeps its own spaces from being removed.
        _refuse_symbol(spaced, "it holds a space", "write U+2581 for a space in a symbol")
    if not charsmap or not symbols:
        return _Shield(charsmap)
    rules = decompile(charsmap)
    ends = {key[at:] for key in rules for at in range(1, len(key))}
    kept = {key: value for key, value in rules.items() if key[0] not in symbols}
    standing, walled = _sort_symbols(longer, kept)
    _check_alone(standing, walled, longer, ends)
    controls = _lend_controls(rules)
    pool = [c for c in sorted(rules) if rules[c] == "" and c < " "] if controls else [*_SPARE]
    spare, *pool = [char for char in pool if char not in (*_CONTROLS, *_NONCHARACTERS)]
    held = {*pool, spare, *(controls or _NONCHARACTERS)}.intersection("".join(symbols))
    if held and (standing or walled):
        _refuse_symbol(next(one for one in symbols if held & {*one}), "it holds a character that is lent here")
    if len(standing) > len(pool):
        _refuse_symbol(standing[len(pool)], f"the charsmap changes it, and {len(pool)} others", _OTHER_RULE)
    before: list[normalizers.Normalizer] = []
    pairs = list(zip(standing, pool, strict=False))
    if pairs:
        # What is typed of the characters lent is what it was: deleted, or unknown.
        before.append(normalizers.Replace(Regex(_char_class(char for _, char in pairs)), spare))
        before += [normalizers.Replace(symbol, char) for symbol, char in pairs]
        kept = {key: value for key, value in kept.items() if key not in {char for _, char in pairs}}
    if walled:
        seconds = {key[at] for key in kept for at in range(1, len(key))}
        _, wall = controls or _NONCHARACTERS
        guard = f"(?={_char_class(seconds)})(?<={'|'.join(map(_escape, walled))})"
        before.append(normalizers.Replace(Regex(guard), wall))
    after = [normalizers.Replace(char, symbol) for symbol, char in pairs]
    same = len(kept) == len(rules)
    return _Shield(charsmap if same else compile_charsmap(kept), tuple(before), tuple(after))


def _sort_symbols(longer: Sequence[str], rules: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return the symbols that rules would change, and those that a rule could begin in and leave."""
    heads = {key[:at] for key in rules for at in range(1, len(key))}
    longest = max(map(len, rules), default=0)
    starts = {symbol[:at] for symbol in longer for at in range(1, len(symbol))}
    ends = {symbol[at:] for symbol in longer for at in range(1, len(symbol))}
    standing, walled = [], []
    for symbol in longer:
        size = range(len(symbol))
        inner = any(symbol[at : at + length] in rules for at in size for length in range(1, longest + 1))
        leaves = any(symbol[at:] in heads for at in size)
        overlaps = not starts.isdisjoint(symbol[at:] for at in size[1:])
        overlaps = overlaps or not ends.isdisjoint(symbol[:at] for at in size[1:])
        if inner or (leaves and overlaps):
            standing.append(symbol)
        elif leaves:
            walled.append(symbol)
    return standing, walled


def _check_alone(
    standing: Sequence[str], walled: Sequence[str], longer: Sequence[str], ends: frozenset[str] | set[str]
) -> None:
    """Refuse symbols whose place depends on what stands before: another symbol, or a rule's first character."""
    later = {end[0] for end in ends}
    for symbol in (*standing, *walled):
        if symbol[0] in later:
            _refuse_symbol(symbol, "a rule can join its first character to the one before", _OTHER_RULE)
    for symbol in standing:
        sizes = range(1, len(symbol))
        for other in longer:
            meet = any(other.endswith(symbol[:n]) or other.startswith(symbol[-n:]) for n in sizes)
            run = len({*symbol, *other}) == 1  # of one character: the longest first is the leftmost first
            apart = other in standing and (run or not meet) if symbol in other else not meet
            if other != symbol and not apart:
                _refuse_symbol(symbol, f"the charsmap changes it, and it overlaps {other!r}", _OTHER_RULE)


def _refuse_symbol(symbol: str, reason: str, hint: str = "use tokenizer.model") -> NoReturn:
    """Raise the TokenizerError of a symbol that has no exact form."""
    raise TokenizerError(f"tokenizer.json cannot hold the user-defined symbol {symbol!r}: {reason}", hint)
