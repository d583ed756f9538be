"""Warnings about a language's text, to be read before its figures: bad text is no tokenizer's fault.

Each warning has a share, a count, examples and the threshold it passed. Nothing is mended here, and a text
without warnings may still be poor: only what shows without knowing the language is looked for.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import regex
import unicodedata2

from vocabkit.auditing.encoding import Switched
from vocabkit.auditing.figures import Warned
from vocabkit.auditing.parallel_text import AuditText
from vocabkit.auditing.text_statistics import (
    TextStatistics,
    find_cache,
    find_support,
    list_scripts,
    load_values,
    name_segmenter,
    save_values,
    segment_blocks,
)
from vocabkit.core.folders import package_versions
from vocabkit.core.languages import Panel, find_codes
from vocabkit.core.text import COMMON, INHERITED, UNKNOWN, script_of, show_token
from vocabkit.corpus.word_counts import split_words

# --- Exemplars -------------------------------------------------------------------------------------
# The letters a language is written with, where an installed package lists them: gflanguages (extra `sample`),
# after CLDR's exemplar characters. Without the package, or for a language it does not know, there are none, and
# what needs them is null. Letters and marks only: no digits, no punctuation.

# gflanguages writes Korean's script as CLDR does, FLORES as Hangul.
_SCRIPTS = {"Hang": "Kore"}
# CLDR speaks of Filipino.
_NAMES = {"tgl": "fil"}
_DOTTED_CIRCLE = "◌"
_ITEM = regex.compile(r"\{([^}]+)\}|(\X)")


@cache
def _load_exemplars(code: str) -> frozenset[str] | None:
    """Return the letters of a language's alphabet by its code (`yor_Latn`), None where they are not listed.

    A letter may be several characters, such as `ẹ́` or `gb`. Vowel signs and other marks of a script of their
    own, as Devanagari's, count as letters; accents do not.
    """
    name, _, script = code.partition("_")
    candidates = []
    for key, entry in _load_languages().items():
        if entry.script == _SCRIPTS.get(script, script) and entry.exemplar_chars.base:
            language = str(entry.language)
            if language in (name, _NAMES.get(name)) or (len(language) == 2 and _means(language, code)):
                candidates.append((len(key), key))
    if not candidates:
        return None
    # Variants of a country have longer keys: `yo_Latn_BJ`.
    listed = _load_languages()[min(candidates)[1]].exemplar_chars
    marks = {mark for mark in _parse(listed.marks) if script_of(mark[0]) != INHERITED}
    return _parse(listed.base) | marks


def _parse(text: str) -> frozenset[str]:
    """Read CLDR's notation: single letters run on, several characters of one letter stand in braces."""
    # Apart first: a mark whose dotted circle is taken away would join the space before it.
    parts = text.replace(_DOTTED_CIRCLE, "").split()
    items = {group or single for part in parts for group, single in _ITEM.findall(part)}
    return frozenset(item for item in items if regex.search(r"[\p{L}\p{M}]", item))


def _means(short: str, code: str) -> bool:
    return code in find_codes(short, (code,))


@cache
def _load_languages() -> Mapping[str, Any]:
    if find_spec("gflanguages") is None:
        return {}
    import gflanguages

    found: Mapping[str, Any] = gflanguages.LoadLanguages()
    return found


# --- Switching -------------------------------------------------------------------------------------
# Code-switched lines: the first half of a line in one language, the second of the aligned line in another. A
# line is cut at the word boundary nearest its middle, in each language by itself, so that the middles of a text
# serve every pair of its languages.

_GRAPHEME = regex.compile(r"\X")


def _draw_rows(lines: int, seed: int, limit: int) -> list[int]:
    """Draw at most `limit` of so many lines, in order. No text is looked at: the same for every language."""
    if limit >= lines:
        return list(range(lines))
    return sorted(random.Random(seed).sample(range(lines), limit))


def _join_halves(
    before: Sequence[str], cuts: Sequence[int | None], after: Sequence[str], others: Sequence[int | None]
) -> Switched:
    """Join lines up to their cuts with aligned lines from theirs on; both halves stand beside the whole."""
    return [
        (line[:cut] + other[place:], line[:cut], other[place:])
        for line, cut, other, place in zip(before, cuts, after, others, strict=True)
        if cut is not None and place is not None
    ]


def _find_middles(lines: Sequence[str], language: str) -> list[int | None]:
    """Return `_find_middle` of each line."""
    return [_find_middle(line, language) for line in lines]


def _find_middle(line: str, language: str) -> int | None:
    """Return where to cut a line in two: the word boundary nearest its middle, else the grapheme boundary.

    Before white space, never after it, and never at an end; None where no such place is.
    """
    cuts: list[int] = []
    if find_support(language)[0]:
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


# --- Text damage -----------------------------------------------------------------------------------
# Text that is not what it says: signs of wrong encodings and of fonts that drew other letters, each told in one
# line or word, by rules of the script, without a dictionary.

# Scripts written without spaces, or whose words take endings straight after a foreign name.
_RUNNING = frozenset({"Hang", "Hani", "Hira", "Kana", "Khmr", "Lana", "Laoo", "Mymr", "Tibt", "Thai"})
# Of these one is typed for another: Aлиса with a Latin A. Other scripts set affixes beside a name: የBBC.
_ALIKE = frozenset({"Cyrl", "Grek", "Latn"})
# Burmese stores the vowel sign U+1031 after its consonant and any medial, though it is drawn before it; Zawgyi
# stores it as drawn. And U+1039 stacks the consonant that follows; in Zawgyi it kills a vowel, at the end.
_AS_DRAWN = regex.compile(r"(?<![\p{Lo}\u1037\u1039\u103B-\u103E\u105E-\u1060\u1082])\u1031|\u1039(?!\p{Lo})")
_BURMESE_SIGNS = regex.compile(r"[\u1031\u1039]")
# Overlays are for symbols; letters with a stroke have code points of their own.
_OVERLAYS = frozenset(map(chr, range(0x334, 0x339)))


def _is_zawgyi(line: str) -> bool:
    """Return whether a line of Burmese is in Zawgyi order: above a quarter of its ordered signs are misplaced.

    Of 1,994 lines known to be Zawgyi 98.6 % are told, of 21,994 in Unicode 0.01 %.
    """
    return len(_AS_DRAWN.findall(line)) * 4 > len(_BURMESE_SIGNS.findall(line)) > 0


def _find_mojibake(line: str) -> list[str]:
    """Return the words of a line that are UTF-8 read as Windows-1252: `Ã©` for `é`."""
    found = []
    if not line.isascii() and _mojibake_pattern().search(line):
        for word in split_words(line):
            with suppress(UnicodeError):
                if not word.isascii() and len(b"".join(map(_encode_western, word)).decode()) < len(word):
                    found.append(word)
    return found


@cache
def _mojibake_pattern() -> regex.Pattern[str]:
    """Return what the first two bytes of any UTF-8 sequence above ASCII look like in Windows-1252."""
    seconds = [bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in range(0x80, 0xC0)]
    return regex.compile("[\u00c2-\u00f4]" + _join(seconds))


def _stray_finder(characters: Iterable[str], scripts: frozenset[str]) -> Callable[[str], list[str]] | None:
    """Return a function that lists the words of a line with a stray letter in them, or None if none can be.

    A stray letter is one or two letters of another script right beside a letter of the expected `scripts` (more
    are a foreign stem with a native ending, capitals an abbreviation); a stroke laid over a letter; or a symbol
    such as a free-standing accent between two letters. `characters` are those the text holds.
    """
    seen = sorted(set(characters))
    own = [c for c in seen if script_of(c) in scripts and unicodedata2.category(c)[0] == "L"]
    foreign = [c for c in seen if _is_foreign(c, scripts)] if own and not scripts & _RUNNING else []
    letters = [c for c in foreign if unicodedata2.category(c) in ("Ll", "Lo")]
    overlays = [c for c in seen if c in _OVERLAYS]
    symbols = [c for c in seen if unicodedata2.category(c) == "Sk"]
    patterns = []
    if letters:
        few = rf"(?<!{_join(foreign)}\p{{M}}*)(?:{_join(letters)}\p{{M}}*){{1,2}}(?!{_join(foreign)})"
        patterns += [rf"(?<={_join(own)}\p{{M}}*){few}", rf"{few}(?={_join(own)})"]
    if overlays:
        patterns.append(rf"(?<=\p{{L}}\p{{M}}*){_join(overlays)}")
    if symbols:
        patterns.append(rf"(?<=\p{{L}}\p{{M}}*){_join(symbols)}(?=\p{{L}})")
    if not patterns:
        return None
    rare = regex.compile(_join([*letters, *overlays, *symbols]))
    stray = regex.compile("|".join(patterns), regex.V1)

    def find(line: str) -> list[str]:
        if not rare.search(line):
            return []
        return [word for word in split_words(line) if rare.search(word) and stray.search(word)]

    return find


def _is_foreign(character: str, scripts: frozenset[str]) -> bool:
    """Return whether a character is a letter of a script that is none of `scripts`."""
    own = script_of(character) in {*scripts, COMMON, INHERITED, UNKNOWN}
    return not own and bool(unicodedata2.category(character)[0] == "L")


def _join(characters: Iterable[str]) -> str:
    return "[" + "".join(map(regex.escape, characters)) + "]"


@cache
def _encode_western(character: str) -> bytes:
    """Return a character's byte in Windows-1252, in Latin-1 where that leaves a gap. Raises `UnicodeError`."""
    try:
        return character.encode("cp1252")
    except UnicodeEncodeError:
        return character.encode("latin-1")


# --- Text quality ----------------------------------------------------------------------------------

ZAWGYI_LINES = 0.01
STRAY_WORDS = 0.001
UNEXPECTED_TEXT = 0.03
"""The share of a text, names aside, in another script. NTREX's clean languages reach 0.3 %, monolingual text
of 90 languages 0.7 %, NTREX's Serbian 9.0 %; one English line in fifteen is above 4 %."""
_FOREIGN_TEXT = 0.2
"""The share in another script that is too much even for names. NTREX's clean languages reach 9.4 % (Lao)."""
_WORTH = {"Hani": 2.8, "Hang": 2.1, "Hira": 1.7, "Kana": 1.7, "Ethi": 1.5}
"""Letters of an alphabet that one of these says as much as: NTREX's English letters ÷ the language's own. Of a
Chinese text with 17.5 % Latin letters 7.1 % is in Latin script: a Han letter is a word or half of one."""
DUPLICATE_LINES = 0.01
MOJIBAKE_WORDS = 0.0001
_FEWEST = 10
"""Strays, mojibake and duplicates below this number are noise whatever their share."""
_EXAMPLES = 5
_EXAMPLE_CHARACTERS = 80


class _Language(NamedTuple):
    """One language's rows with the occurrences of each, its statistics and the scripts it should be in."""

    code: str
    rows: Sequence[str]
    weights: Sequence[int]
    statistics: TextStatistics
    scripts: frozenset[str]
    aligned: bool
    panel_scripts: frozenset[str]


def _warn_of_text(
    text: AuditText, statistics: Mapping[str, TextStatistics], panel: Panel | None = None
) -> list[Warned]:
    """Return the warnings about every language's text, in the text's order.

    The script a language's code names is the one expected, all of them where the code names none but the
    `panel` does.
    """
    found: list[Warned] = []
    for code, rows in text.languages.items():
        known = panel.find(code) if panel else None
        listed = frozenset(known.scripts) if known else frozenset()
        weights = [1] * len(rows) if text.weights is None else text.weights[code].tolist()
        scripts, aligned = list_scripts(code) or listed, code in text.aligned_languages
        language = _Language(code, rows, weights, statistics[code], scripts, aligned, listed)
        found += [warned for check in _CHECKS for warned in check(language)]
    return found


def _check_zawgyi(language: _Language) -> Iterator[Warned]:
    if "Mymr" not in language.statistics.scripts:
        return
    rows = [
        (row, count)
        for row, count in zip(language.rows, language.weights, strict=True)
        if any("\u1000" <= character <= "\u109f" for character in row)
    ]
    hits = [(row, count) for row, count in rows if _is_zawgyi(row)]
    total, count = sum(count for _, count in rows), sum(count for _, count in hits)
    if total and count / total >= ZAWGYI_LINES:
        yield _warn(
            language, "zawgyi", count, total, hits,
            "lines in Burmese script are encoded for the Zawgyi font, not in Unicode: convert them; "
            f"warned from {ZAWGYI_LINES:.0%}",
        )  # fmt: skip


def _check_words(language: _Language) -> Iterator[Warned]:
    stray = _stray_finder(language.statistics.characters_seen, language.scripts)
    for check, find, least, note in (
        ("mojibake", _find_mojibake, MOJIBAKE_WORDS,
         f"words are UTF-8 that was read as Windows-1252 (Ã© for é); warned from {MOJIBAKE_WORDS:.2%}"),
        ("stray_letters", stray, STRAY_WORDS,
         "words hold letters of another script, strokes laid over letters, or symbols between letters, "
         f"as text made for an old font does; warned from {STRAY_WORDS:.1%}"),
    ):  # fmt: skip
        hits = Counter[str]()
        for row, count in zip(language.rows, language.weights, strict=True):
            for word in find(row) if find else ():
                hits[word] += count
        total, number = language.statistics.total("white_space_words"), hits.total()
        if number >= _FEWEST and number / total >= least:
            note = f"{note} and {_FEWEST}"
            yield _warn(language, check, number, total, hits.most_common(), note)


def _check_scripts(language: _Language) -> Iterator[Warned]:
    if not language.scripts:
        return
    neutral = {COMMON, INHERITED, UNKNOWN}
    letters = {name: count for name, count in language.statistics.scripts.items() if name not in neutral}
    other = {name: count for name, count in letters.items() if name not in language.scripts}
    worth, foreign = (sum(_WORTH.get(n, 1.0) * count for n, count in some.items()) for some in (letters, other))
    if not worth or foreign / worth < UNEXPECTED_TEXT:
        return
    running = (foreign - _weigh_names(language)) / worth
    if running < UNEXPECTED_TEXT and foreign / worth < _FOREIGN_TEXT:
        return
    total, count = sum(letters.values()), sum(other.values())
    ranked = sorted(other, key=lambda name: (-other[name], name))
    main = ranked[0]
    also = f" ({main} is one of the panel's scripts for it)" * (main in language.panel_scripts)
    shares = ", ".join(f"{name} {other[name] / total:.1%}" for name in ranked[:3])
    counted = zip(language.statistics.word_types, language.statistics.word_type_counts.tolist(), strict=True)
    examples = _rank((word, number) for word, number in counted if main in map(script_of, word))
    yield _warn(
        language, "unexpected_script", count, total, examples,
        f"letters are not in {' or '.join(sorted(language.scripts))}: {shares}{also}. By what letters of each "
        f"script say, that is {foreign / worth:.1%} of the text, and {running:.1%} without names; "
        f"warned from {_FOREIGN_TEXT:.0%}, without names from {UNEXPECTED_TEXT:.0%}",
    )  # fmt: skip


def _weigh_names(language: _Language) -> float:
    """Return the worth of names and abbreviations in another script: runs of its letters with a capital.

    In NTREX's clean languages of other scripts at least 93 % of the Latin letters are in such runs, in the
    Serbian that is partly typed in Latin letters 12 %. Between scripts whose letters look alike a run right
    beside a letter of the text's own is no name but a mixture.
    """
    seen = language.statistics.characters_seen
    foreign = [c for c in seen if _is_foreign(c, language.scripts)]
    own = [c for c in seen if script_of(c) in language.scripts and unicodedata2.category(c)[0] == "L"]
    if not any(unicodedata2.category(c) in ("Lu", "Lt") for c in foreign):
        return 0.0
    run = rf"{_join(foreign)}(?:{_join(foreign)}|\p{{M}})*"
    if own and language.scripts & _ALIKE:
        run = rf"(?<!{_join(own)}\p{{M}}*){run}(?!{_join(own)}|{_join(foreign)}|\p{{M}})"
    find, values = regex.compile(run), {c: _WORTH.get(script_of(c), 1.0) for c in foreign}
    found = 0.0
    for row, count in zip(language.rows, language.weights, strict=True):
        for name in find.findall(row):
            if any(unicodedata2.category(c) in ("Lu", "Lt") for c in name):
                found += count * sum(values.get(c, 0.0) for c in name)
    return found


def _check_duplicates(language: _Language) -> Iterator[Warned]:
    if language.statistics.weights is not None:
        return  # words, each once
    counts = Counter(row for row in language.rows if row.strip())
    total, count = counts.total(), counts.total() - len(counts)
    if count >= _FEWEST and count / total >= DUPLICATE_LINES:
        repeated = [(row, number) for row, number in counts.most_common() if number > 1]
        yield _warn(
            language, "duplicate_lines", count, total, repeated,
            "lines repeat an earlier one; they are kept, since lines keep their place; "
            f"warned from {DUPLICATE_LINES:.0%} and {_FEWEST}",
        )  # fmt: skip


def _check_blank_lines(language: _Language) -> Iterator[Warned]:
    blank = sum(not row.strip() for row in language.rows)
    if blank and language.aligned:
        yield _warn(
            language, "blank_lines", blank, len(language.rows), [],
            "aligned lines are blank here and not elsewhere, which makes the language look cheap",
        )  # fmt: skip


def _check_characters(language: _Language) -> Iterator[Warned]:
    seen = language.statistics.characters_seen
    total = sum(seen.values())
    for check, (wanted, note) in _CHARACTERS.items():
        hits = _rank((character, count) for character, count in seen.items() if wanted(character))
        if hits:
            count = sum(count for _, count in hits)
            yield _warn(language, check, count, total, hits, note + "; warned from 1")


def _rank(counted: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """Return texts with their counts, the most frequent first."""
    return sorted(counted, key=lambda item: (-item[1], item[0]))


def _is_control(character: str) -> bool:
    return character == "\ufeff" or (unicodedata2.category(character) == "Cc" and character not in "\t\n\r")


_CHARACTERS: Mapping[str, tuple[Callable[[str], bool], str]] = {
    "private_use": (
        lambda character: unicodedata2.category(character) == "Co",
        "characters mean something only in some font",
    ),
    "unassigned": (
        lambda character: unicodedata2.category(character) == "Cn",
        f"characters that Unicode {unicodedata2.unidata_version} lacks",
    ),
    "replacement_characters": (
        lambda character: character == "\ufffd",
        "characters were lost when the text was decoded",
    ),
    "control_characters": (
        _is_control,
        "control characters or byte order marks are inside lines (U+0080 to U+009F: mostly quotes and "
        "dashes of Windows-1252)",
    ),
}
_CHECKS: tuple[Callable[[_Language], Iterator[Warned]], ...] = (
    _check_zawgyi, _check_words, _check_scripts, _check_duplicates, _check_blank_lines, _check_characters,
)  # fmt: skip


def _warn(
    language: _Language, check: str, count: int, total: int, examples: Sequence[tuple[str, int]], note: str
) -> Warned:
    shown = (text[:_EXAMPLE_CHARACTERS].encode() for text, _ in examples[:_EXAMPLES])
    share = count / total if total else None
    return Warned(language.code, check, share, count, total, note, tuple(map(show_token, shown)))


# --- Text facts ------------------------------------------------------------------------------------
# What an audit needs of a text besides its statistics: letters, middles of lines, warnings; kept like those.
# All of it depends on the text alone (and on the packages that know languages), so that it is found once. What
# a file in the cache says is taken only where it fits the text; else it is found anew.

SWITCHED = 60
"""Code-switched lines of a language: the 95 % interval of their cost over their halves' is then 0.1 % of it
on either side in ntrex's median language, and 0.6 % in the worst."""
_FORMAT = 2
_TABLES = ("vocabkit", "unicodedata2", "fonttools", "regex", "gflanguages")
_Middles = Mapping[str, Sequence[int | None]]


@dataclass(frozen=True, slots=True, eq=False)
class TextFacts:
    """A text's letters by language (None without a list), code-switched lines by language, and warnings.

    `switched` are lines of the reference and the other language; none of the reference itself.
    """

    exemplars: Mapping[str, frozenset[str] | None]
    switched: Mapping[str, Switched]
    warnings: tuple[Warned, ...]


def find_facts(
    text: AuditText,
    statistics: Mapping[str, TextStatistics],
    *,
    panel: Panel | None,
    reference: str,
    seed: int,
    pool: Executor,
    cache: Path | None = None,
) -> TextFacts:
    """Return the facts of a text; those not in `cache` (default: the user's) are found in `pool`, and kept."""
    rows = _draw_rows(text.alignment.lines or 0, seed, SWITCHED)
    lines = {code: [text.languages[code][row] for row in rows] for code in text.aligned_languages}
    path = find_cache(cache) / f"{_key(text, panel, seed)}.json"
    facts = _read(text, rows, load_values(path))
    if facts is None:
        letters = pool.submit(_list_exemplars, tuple(text.languages))
        cuts = {code: pool.submit(_find_middles, part, code) for code, part in lines.items()}
        values: dict[str, Any] = {
            "warnings": [asdict(one) for one in _warn_of_text(text, statistics, panel)],
            "exemplars": letters.result(),
            "middles": {code: job.result() for code, job in cuts.items()},
        }
        save_values(path, values)
        facts = _read(text, rows, values)
    assert facts is not None
    exemplars, middles, warned = facts
    # Lines of the reference and every other aligned language.
    switched = {
        code: _join_halves(lines[reference], middles[reference], lines[code], middles[code])
        for code in lines
        if reference in lines and code != reference
    }
    return TextFacts(exemplars, switched, warned)


_Facts = tuple[dict[str, frozenset[str] | None], _Middles, tuple[Warned, ...]]


def _read(text: AuditText, rows: Sequence[int], values: object) -> _Facts | None:
    """Return the facts that values of a file are, or None where they are not this text's facts."""
    try:
        assert isinstance(values, dict)
        letters, middles = values["exemplars"], values["middles"]
        exemplars = {c: None if letters[c] is None else frozenset(letters[c]) for c in text.languages}
        kept = {code: middles[code] for code in text.aligned_languages}
        warned = tuple(Warned(**{**item, "examples": tuple(item["examples"])}) for item in values["warnings"])
        fits = all(len(cuts) == len(rows) and {*map(type, cuts)} <= {int, type(None)} for cuts in kept.values())
    except (AssertionError, KeyError, TypeError):
        return None
    return (exemplars, kept, warned) if fits else None


def _list_exemplars(codes: Sequence[str]) -> dict[str, list[str] | None]:
    found = {code: _load_exemplars(code) for code in codes}
    return {code: None if letters is None else sorted(letters) for code, letters in found.items()}


def _key(text: AuditText, panel: Panel | None, seed: int) -> str:
    """Return what the facts depend on, as a digest: the text, what the panel says of it, tables and rules."""
    known = {code: panel.find(code) for code in text.languages} if panel else {}
    scripts = {code: language.scripts for code, language in known.items() if language}
    drawn = f"{seed} {SWITCHED}"
    stamp = f"{_FORMAT} {text.fingerprint} {sorted(text.languages)} {scripts} {drawn} {_name_tables()}"
    return hashlib.blake2b(stamp.encode(), digest_size=16).hexdigest()


def _name_tables() -> str:
    return f"{name_segmenter()} {package_versions(_TABLES)}"
