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

`composition` checks on the rules themselves that this holds (each rule of several characters, each
pair NFC composes, each single character) and raises rather than let a tokenizer be written that
differs. Left out: the dummy prefix and the pieces (see `huggingface_format`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from tokenizers import Regex, normalizers

from vocabkit.corpus.normalization import compile_charsmap, decompile
from vocabkit.vocabulary.composition import Composition
from vocabkit.vocabulary.patterns import char_class

# Two characters that a text does not hold: noncharacters, four bytes long so that no mark can make a
# short grapheme of them. Typed all the same, they are dropped. A charsmap that deletes U+0001 and
# U+0002 (nmt_nfkc does) lends those instead, and then no text at all is treated differently.
_NONCHARACTERS = ("\U0001fffe", "\U0002fffe")
_CONTROLS = ("\x01", "\x02")


def build_steps(
    charsmap: bytes, remove_extra_spaces: bool = True, alphabet: Iterable[str] = ()
) -> list[normalizers.Normalizer]:
    """The `tokenizers` normalizers that do what SentencePiece does with a compiled charsmap.

    `alphabet` names the characters a vocabulary holds. Compositions that `tokenizers`' NFC is too
    old to know (25 in four scripts of Unicode 13 and 16) cost a step each and are written only for
    characters in it; without one they matter to byte fallback alone.

    Raises TokenizerError when the rules cannot be expressed exactly.
    """
    if not charsmap:
        return _tidy_steps("", remove_extra_spaces)
    steps, composition = _steps_of_rules(charsmap)
    if composition is None:
        return [*steps, *_tidy_steps("", remove_extra_spaces)]
    literal = composition.literal_steps(frozenset(alphabet))
    return [*steps, *literal, *_tidy_steps(composition.wall, remove_extra_spaces)]


@lru_cache(maxsize=8)
def _steps_of_rules(
    charsmap: bytes,
) -> tuple[tuple[normalizers.Normalizer, ...], Composition | None]:
    """The steps up to composition: the same for every vocabulary of one normaliser (1.3 s of work)."""
    rules = decompile(charsmap)
    deletes_controls = all(rules.get(char) == "" for char in _CONTROLS)
    fence, wall = _CONTROLS if deletes_controls else _NONCHARACTERS
    single = {key: value for key, value in rules.items() if len(key) == 1}
    several = {key: value for key, value in rules.items() if len(key) > 1}
    # Controls stand alone as they are, but for the carriage return of \r\n; longer characters need
    # no fence.
    fenced = sorted(c for c in single if len(c.encode()) <= 3 and (c >= " " or c == "\r"))
    steps: list[normalizers.Normalizer] = []
    if deletes_controls:
        steps.append(normalizers.Replace(fence, wall))
    if fenced:
        steps.append(normalizers.Replace(Regex(f"(?<={char_class(fenced)})"), fence))
    if not several:
        return (*steps, _precompiled({**single, fence: ""} if fenced else single)), None
    composition = Composition(single, several, fence, wall)
    if composition.divided:
        pattern = "|".join(sorted(composition.divided))
        steps.insert(0, normalizers.Replace(Regex(pattern), wall))
    steps.append(_precompiled(composition.charwise_rules()))
    steps.append(normalizers.Replace(Regex(composition.guard_pattern()), wall))
    return (*steps, normalizers.NFC()), composition


def _tidy_steps(wall: str, remove_extra_spaces: bool) -> list[normalizers.Normalizer]:
    if not remove_extra_spaces:
        return [normalizers.Replace(wall, "")] if wall else []
    # SentencePiece strips U+0020 alone at the start, and at the end also a U+2581 that stood in the text.
    either = f"[ {wall}]" if wall else " "
    at_end = f"[ \u2581{wall}]"
    parts = [
        rf"(?<![\s\S]){either}+",
        rf"(?<= ){either}+",
        *([f"{wall}+"] if wall else []),
        rf"{at_end}+(?![\s\S])",
    ]
    return [normalizers.Replace(Regex(f"(?={at_end})(?:{'|'.join(parts)})"), "")]


def _precompiled(rules: Mapping[str, str]) -> normalizers.Normalizer:
    return normalizers.Precompiled(compile_charsmap(rules))
