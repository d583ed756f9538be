"""Warnings about a language's text, to be read before its figures: bad text is no tokenizer's fault.

Each warning has a share, a count, examples and the threshold it passed. Nothing is mended here, and a text
without warnings may still be poor: only what shows without knowing the language is looked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import unicodedata2

from vocabkit.audit.figures import Warned
from vocabkit.audit.line_characters import list_scripts
from vocabkit.audit.parallel_text import AuditText
from vocabkit.audit.text_damage import find_mojibake, is_zawgyi, stray_finder
from vocabkit.audit.text_statistics import TextStatistics
from vocabkit.core.languages import Panel
from vocabkit.core.render import show_token
from vocabkit.core.scripts import COMMON, INHERITED, UNKNOWN, script_of

ZAWGYI_LINES = 0.01
STRAY_WORDS = 0.001
UNEXPECTED_LETTERS = 0.05
DUPLICATE_LINES = 0.01
MOJIBAKE_WORDS = 0.0001
_FEWEST = 10
"""Strays, mojibake and duplicates below this number are noise whatever their share."""
_EXAMPLES = 5
_EXAMPLE_CHARACTERS = 80


@dataclass(frozen=True, slots=True)
class _Language:
    """One language's rows with the occurrences of each, its statistics and the scripts it should be in."""

    code: str
    rows: Sequence[str]
    weights: Sequence[int]
    statistics: TextStatistics
    scripts: frozenset[str]
    aligned: bool
    panel_scripts: frozenset[str]


def warn_of_text(
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
        aligned = code in text.aligned_languages
        language = _Language(
            code, rows, weights, statistics[code], list_scripts(code) or listed, aligned, listed
        )
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
    hits = [(row, count) for row, count in rows if is_zawgyi(row)]
    total, count = sum(count for _, count in rows), sum(count for _, count in hits)
    if total and count / total >= ZAWGYI_LINES:
        yield _warn(
            language, "zawgyi", count, total, hits,
            "lines in Burmese script are encoded for the Zawgyi font, not in Unicode: convert them; "
            f"warned from {ZAWGYI_LINES:.0%}",
        )  # fmt: skip


def _check_mojibake(language: _Language) -> Iterator[Warned]:
    hits = Counter[str]()
    for row, count in zip(language.rows, language.weights, strict=True):
        for word in find_mojibake(row):
            hits[word] += count
    total = language.statistics.total("white_space_words")
    if hits.total() >= _FEWEST and hits.total() / total >= MOJIBAKE_WORDS:
        yield _warn(
            language, "mojibake", hits.total(), total, hits.most_common(),
            "words are UTF-8 that was read as Windows-1252 (Ã© for é); "
            f"warned from {MOJIBAKE_WORDS:.2%} and {_FEWEST}",
        )  # fmt: skip


def _check_stray_letters(language: _Language) -> Iterator[Warned]:
    find = stray_finder(language.statistics.characters_seen, language.scripts)
    if find is None:
        return
    hits = Counter[str]()
    for row, count in zip(language.rows, language.weights, strict=True):
        for word in find(row):
            hits[word] += count
    total = language.statistics.total("white_space_words")
    if hits.total() >= _FEWEST and hits.total() / total >= STRAY_WORDS:
        yield _warn(
            language, "stray_letters", hits.total(), total, hits.most_common(),
            "words hold letters of another script, strokes laid over letters, or symbols between letters, "
            f"as text made for an old font does; warned from {STRAY_WORDS:.1%} and {_FEWEST}",
        )  # fmt: skip


def _check_scripts(language: _Language) -> Iterator[Warned]:
    if not language.scripts:
        return
    neutral = {COMMON, INHERITED, UNKNOWN}
    letters = {
        name: count for name, count in language.statistics.scripts.items() if name not in neutral
    }
    other = {name: count for name, count in letters.items() if name not in language.scripts}
    total, count = sum(letters.values()), sum(other.values())
    if not total or count / total < UNEXPECTED_LETTERS:
        return
    ranked = sorted(other, key=lambda name: (-other[name], name))
    main = ranked[0]
    also = f" ({main} is one of the panel's scripts for it)" * (main in language.panel_scripts)
    shares = ", ".join(f"{name} {other[name] / total:.1%}" for name in ranked[:3])
    counts = language.statistics.word_type_counts.tolist()
    examples = sorted(
        (
            (word, number)
            for word, number in zip(language.statistics.word_types, counts, strict=True)
            if any(script_of(character) == main for character in word)
        ),
        key=lambda item: (-item[1], item[0]),
    )
    yield _warn(
        language, "unexpected_script", count, total, examples,
        f"letters are not in {' or '.join(sorted(language.scripts))}: {shares}{also}; "
        f"warned from {UNEXPECTED_LETTERS:.0%}",
    )  # fmt: skip


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
        hits = sorted(
            ((character, count) for character, count in seen.items() if wanted(character)),
            key=lambda item: (-item[1], item[0]),
        )
        if hits:
            count = sum(count for _, count in hits)
            yield _warn(language, check, count, total, hits, note + "; warned from 1")


def _is_unassigned(character: str) -> bool:
    return bool(unicodedata2.category(character) == "Cn")


def _is_private(character: str) -> bool:
    return bool(unicodedata2.category(character) == "Co")


def _is_control(character: str) -> bool:
    return character == "\ufeff" or (
        unicodedata2.category(character) == "Cc" and character not in "\t\n\r"
    )


_CHARACTERS: Mapping[str, tuple[Callable[[str], bool], str]] = {
    "private_use": (_is_private, "characters mean something only in some font"),
    "unassigned": (_is_unassigned, f"characters that Unicode {unicodedata2.unidata_version} lacks"),
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
    _check_zawgyi,
    _check_mojibake,
    _check_stray_letters,
    _check_scripts,
    _check_duplicates,
    _check_blank_lines,
    _check_characters,
)


def _warn(
    language: _Language,
    check: str,
    count: int,
    total: int,
    examples: Sequence[tuple[str, int]],
    note: str,
) -> Warned:
    shown = tuple(_show(example) for example, _ in examples[:_EXAMPLES])
    return Warned(language.code, check, count / total if total else None, count, total, note, shown)


def _show(example: str) -> str:
    return show_token(example[:_EXAMPLE_CHARACTERS].encode())
