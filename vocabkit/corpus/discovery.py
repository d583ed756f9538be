"""The two forms of a corpus on disk, read into names and sources: a folder, and a TOML file of globs.

Names are left as written: `sources` resolves them to languages and decides what is missing.
"""

from __future__ import annotations

import difflib
import glob
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vocabkit.core.errors import CorpusError
from vocabkit.corpus.files import EXPECTED, SUFFIXES, Source, make_source, match_suffix
from vocabkit.corpus.streams import find_file_system

_KEYS = ("name", "document", "field", "languages")


@dataclass(slots=True)
class Findings:
    """What a folder or a TOML file names: sources by the name as written, and what was passed over."""

    name: str
    by_name: dict[str, list[Source]]
    ignored: list[str]
    document: str | None = None
    field: str | None = None


def find_in_folder(root: Path) -> Findings:
    """Return the data files of a corpus folder by language name, in sorted order."""
    findings = Findings(root.name or str(root), {}, [])
    for entry in sorted(root.iterdir()):
        if entry.is_dir() and not entry.name.startswith("."):
            group = _read_subfolder(entry, findings.ignored)
            if group:
                findings.by_name.setdefault(entry.name, []).extend(group)
            else:
                findings.ignored.append(f"{entry}/: no data files")
        else:
            source = _local_source(entry, findings.ignored)
            matched = match_suffix(entry.name)
            if source and matched:
                findings.by_name.setdefault(matched[0], []).append(source)
    if not findings.by_name:
        shown = ", ".join(sorted(p.name + "/" * p.is_dir() for p in root.iterdir())[:12])
        raise CorpusError(f"{root}: no language found; it holds {shown or 'nothing'}", EXPECTED)
    return findings


def find_in_toml(path: Path) -> Findings:
    """Return the files a corpus TOML names. Raises `CorpusError` for bad TOML, keys, globs or suffixes."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CorpusError(f"{path}: not valid TOML: {error}") from error
    for key in data:
        if key not in _KEYS:
            near = difflib.get_close_matches(key, _KEYS, n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise CorpusError(f"{path}: unknown key {key!r}{meant}", f"keys are {', '.join(_KEYS)}")
    table = data.get("languages")
    if not isinstance(table, dict) or not table:
        raise CorpusError(
            f"{path}: no [languages] table", 'write [languages] and yor_Latn = "yo/*.txt"'
        )
    findings = Findings(
        _string(data, "name", path) or path.stem,
        {},
        [],
        _string(data, "document", path),
        _string(data, "field", path),
    )
    for name, value in table.items():
        patterns = [value] if isinstance(value, str) else value
        if not isinstance(patterns, list) or not all(isinstance(p, str) for p in patterns):
            raise CorpusError(f"{path}: languages.{name} is neither a glob nor a list of globs")
        group = {s.path: s for p in patterns for s in _expand(p, path, name, findings.ignored)}
        # A language whose globs match nothing stays listed: `open_corpus` names it as missing.
        findings.by_name[name] = [group[key] for key in sorted(group)]
    return findings


def _string(data: dict[str, Any], key: str, path: Path) -> str | None:
    value = data.get(key)
    if value is not None and not isinstance(value, str):
        raise CorpusError(f"{path}: {key} = {value!r} is not a string")
    return value


def _read_subfolder(folder: Path, ignored: list[str]) -> list[Source]:
    sources = []
    for path in sorted(folder.rglob("*")):
        if not path.is_dir():
            source = _local_source(path, ignored)
            sources += [source] if source else []
    return sources


def _local_source(path: Path, ignored: list[str]) -> Source | None:
    if path.name.startswith("."):
        ignored.append(f"{path}: hidden")
        return None
    try:
        source = make_source(str(path), path.stat().st_size)
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read: {error.strerror}") from error
    if source is None:
        ignored.append(f"{path}: not a data file")
    return source


def _expand(pattern: str, toml: Path, name: str, ignored: list[str]) -> list[Source]:
    """Return the sources one glob names; a path without wildcards must exist and be a data file."""
    if "://" in pattern and not pattern.startswith("file://"):
        file_system, inner = find_file_system(pattern)
        wild = any(mark in inner for mark in "*?[")
        try:
            found = sorted(file_system.glob(inner)) if wild else [inner]
            files = [p for p in found if not wild or not file_system.isdir(p)]
            pairs = [
                (str(file_system.unstrip_protocol(p)), int(file_system.size(p))) for p in files
            ]
        except (OSError, TypeError) as error:
            raise CorpusError(f"{toml}: languages.{name}: {pattern}: {error}") from error
    else:
        inner = pattern.removeprefix("file://")
        literal = toml.parent / inner
        wild = glob.has_magic(inner) and not literal.exists()
        # Path.glob takes no absolute pattern and matches hidden files.
        joined = inner if Path(inner).is_absolute() else f"{glob.escape(str(toml.parent))}/{inner}"
        matches = glob.glob(joined, recursive=True) if wild else []  # noqa: PTH207
        paths = [Path(match) for match in sorted(matches)] if wild else [literal]
        if not wild and not literal.is_file():
            raise CorpusError(f"{toml}: languages.{name}: {pattern}: no such file")
        pairs = [(str(p), p.stat().st_size) for p in paths if p.is_file()]
    sources = []
    for path, size in pairs:
        source = make_source(path, size)
        if source is not None:
            sources.append(source)
        elif wild:
            ignored.append(f"{path}: not a data file")
        else:
            raise CorpusError(
                f"{toml}: languages.{name}: {pattern}: not a kind of file that can be read",
                f"files end in {', '.join(SUFFIXES)}",
            )
    return sources
