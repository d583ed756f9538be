"""A small real corpus in the panel's 40 languages, written offline from installed packages.

    DIR/text/<code>.txt              a corpus for `count`: at most `TEXT_BYTES` a language, no line twice
    DIR/aligned/messages/<code>.txt  line i says the same in every language of the folder (Django messages)
    DIR/aligned/names/<code>.txt     the same with CLDR names, in all 40 languages
    DIR/manifest.json                sources, versions, licences, lines and bytes per language

No aligned line is in `text/`, so the aligned sets can serve as development sets. The sample checks that a
pipeline runs; it is too small, and too much of it names, to judge a vocabulary by.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import reduce
from importlib.metadata import version
from pathlib import Path

from vocabkit.core.progress import Progress, Silent
from vocabkit.core.provenance import output_folder, write_manifest
from vocabkit.corpus.sample_texts import (
    PACKAGES,
    TAGS,
    check_packages,
    read_declaration,
    read_messages,
    read_names,
)

TEXT_BYTES = 20_000
SMALL_BYTES = 10_000
_MESSAGE_BYTES = 10_000  # before names have had their turn
_ALIGNED_LINES = 100
_MIN_MESSAGES = 250  # a language with fewer would empty the intersection


@dataclass(frozen=True, slots=True)
class SampleRow:
    """The text of one language: lines, UTF-8 bytes, and the bytes by package."""

    language: str
    lines: int
    size: int
    packages: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class AlignedSet:
    """A set of parallel lines: the folder below DIR, its languages, and the lines each has."""

    folder: str
    languages: tuple[str, ...]
    lines: int


@dataclass(frozen=True, slots=True)
class SampleReport:
    """What `write_sample` wrote. `small` names the languages with under `SMALL_BYTES` of text."""

    folder: Path
    rows: tuple[SampleRow, ...]
    aligned: tuple[AlignedSet, ...]

    @property
    def small(self) -> tuple[str, ...]:
        """The codes of the languages with under `SMALL_BYTES` of text, in panel order."""
        return tuple(row.language for row in self.rows if row.size < SMALL_BYTES)


def write_sample(
    folder: str | Path, *, force: bool = False, progress: Progress | None = None
) -> SampleReport:
    """Write the sample into `folder`. The same package versions give the same bytes.

    Raises `MissingExtra` when a package of the extra `sample` is not installed, and `OutputError` when
    `folder` is not empty and `force` is not set.
    """
    check_packages()
    started = time.perf_counter()
    progress = progress or Silent()
    with output_folder(folder, force=force) as temporary:
        progress.start("reading packages", len(TAGS), "languages")
        names: dict[str, dict[str, str]] = {}
        messages: dict[str, dict[str, str]] = {}
        for code in TAGS:
            names[code], messages[code] = read_names(code), read_messages(code)
            progress.advance(1)
        progress.finish()
        chosen = {
            "messages": _align({c: m for c, m in messages.items() if len(m) >= _MIN_MESSAGES}, 2),
            "names": _align(names, 1),
        }
        aligned = tuple(_write_aligned(temporary, name, tables) for name, tables in chosen.items())
        english = set(names["eng_Latn"].values())
        rows = []
        for code in TAGS:
            held_out = {line for tables in chosen.values() for line in tables.get(code, ())}
            held_out |= english if code != "eng_Latn" else set()
            rows.append(_write_text(temporary, code, messages[code], names[code], held_out))
        report = SampleReport(Path(folder), tuple(rows), aligned)
        write_manifest(
            temporary,
            inputs={package: version(package) for package in PACKAGES},
            seconds={"sample": time.perf_counter() - started},
            details={
                "sources": {
                    package: {"text": text, "licence": licence, "version": version(package)}
                    for package, (text, licence) in PACKAGES.items()
                },
                "languages": [asdict(row) for row in rows],
                "aligned": [asdict(found) for found in aligned],
                "small": list(report.small),
                "purpose": "a check that a pipeline runs, not of the quality of its vocabularies",
            },
        )
    return report


def _align(tables: Mapping[str, Mapping[str, str]], min_words: int) -> dict[str, list[str]]:
    """Return, per language, the lines of the same keys: those every language has, a fixed few of them."""
    english = tables["eng_Latn"]
    shared = reduce(set.intersection, (set(table) for table in tables.values()))
    keys = _shuffle(key for key in shared if len(english[key].split()) >= min_words)
    kept: list[str] = []
    seen: set[str] = set()
    for key in keys:
        if english[key] not in seen and len(kept) < _ALIGNED_LINES:
            kept.append(key)
            seen.add(english[key])
    return {code: [table[key] for key in kept] for code, table in tables.items()}


def _write_aligned(folder: Path, name: str, tables: Mapping[str, list[str]]) -> AlignedSet:
    place = folder / "aligned" / name
    place.mkdir(parents=True)
    for code, lines in tables.items():
        _write_lines(place / f"{code}.txt", lines)
    return AlignedSet(f"aligned/{name}", tuple(tables), len(tables["eng_Latn"]))


def _write_text(
    folder: Path,
    code: str,
    messages: Mapping[str, str],
    names: Mapping[str, str],
    held_out: set[str],
) -> SampleRow:
    """Write one language's text: the Declaration, then messages and names in turn up to the limit."""
    place = folder / "text"
    place.mkdir(exist_ok=True)
    some = [messages[key] for key in _shuffle(messages)]
    parts = (
        ("gflanguages", read_declaration(code), TEXT_BYTES),
        ("django", some, _MESSAGE_BYTES),
        ("babel", [names[key] for key in _shuffle(names)], TEXT_BYTES),
        ("django", some, TEXT_BYTES),
    )
    taken: dict[str, str] = {}
    sizes = dict.fromkeys(PACKAGES, 0)
    for package, lines, part_limit in parts:
        part_size = 0
        for line in lines:
            size = len(line.encode()) + 1
            room = min(TEXT_BYTES - sum(sizes.values()), part_limit - part_size)
            if line not in taken and line not in held_out and size <= room:
                taken[line] = package
                sizes[package] += size
                part_size += size
    _write_lines(place / f"{code}.txt", taken)
    return SampleRow(code, len(taken), sum(sizes.values()), sizes)


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


def _shuffle(keys: Iterable[str]) -> list[str]:
    """Return the keys in an order that mixes their kinds and depends on nothing but each key."""
    return sorted(keys, key=lambda key: hashlib.blake2b(key.encode(), digest_size=8).digest())
