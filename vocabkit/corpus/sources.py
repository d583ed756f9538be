"""Which files hold which language: a corpus folder, or a TOML file of globs, resolved to sources.

A folder holds one file or one sub-folder per language, named by its code (`yo`, `yor` or `yor_Latn`).
A TOML file holds `[languages]` with a glob or a list of them per code, and may set `name`, `document`
and `field`. Files are found and measured here, never opened: `reading` does that.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast, get_args

from vocabkit.core.errors import ConfigError, CorpusError
from vocabkit.core.languages import CODE, Panel, known_codes, resolve_code
from vocabkit.corpus.discovery import Findings, find_in_folder, find_in_toml
from vocabkit.corpus.files import EXPECTED, Source

__all__ = ["Corpus", "Document", "Source", "open_corpus"]

Document = Literal["line", "blank-line", "file"]


@dataclass(frozen=True, slots=True)
class Corpus:
    """The sources of every language, in a fixed order, and how their text becomes documents.

    `ignored` lists what was found and not taken, as `path: reason`; `missing` the languages that were
    asked for and have no data, empty unless that was allowed.
    """

    name: str
    sources: Mapping[str, tuple[Source, ...]]
    document: Document = "line"
    field: str = "text"
    ignored: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def languages(self) -> tuple[str, ...]:
        """The codes of the languages that have data, sorted."""
        return tuple(sorted(self.sources))

    @property
    def size(self) -> int:
        """The bytes of all sources together, as they are stored."""
        return sum(source.size for group in self.sources.values() for source in group)

    def to_toml(self, comment: str) -> str:
        """A corpus file, opened by a comment of one line, that names the same sources by absolute paths."""

        def text(value: str) -> str:
            return json.dumps(value, ensure_ascii=False)

        lines = [f"# {comment}", f"document = {text(self.document)}", f"field = {text(self.field)}"]
        lines += ["", "[languages]"]
        for code in self.languages:
            paths = [
                source.path if "://" in source.path else str(Path(source.path).absolute())
                for source in self.sources[code]
            ]
            lines.append(f"{code} = [{', '.join(map(text, paths))}]")
        return "\n".join(lines) + "\n"


def open_corpus(
    path: str | Path,
    *,
    languages: Sequence[str] | None = None,
    panel: Panel | None = None,
    document: str | None = None,
    field: str | None = None,
    allow_missing: bool = False,
) -> Corpus:
    """Find the sources of a corpus folder or TOML file.

    `languages`, or else the `panel`, are the languages asked for; without either every language found is
    taken. `document` (`line`, `blank-line`, `file`) and `field` override the TOML file's; the defaults
    are `line` and `text`. Raises `CorpusError` when nothing is recognised, a name is unknown or ambiguous,
    or a language asked for has no data and `allow_missing` is not set.
    """
    root = Path(path)
    if root.is_dir():
        findings = find_in_folder(root)
    elif root.is_file() and root.suffix == ".toml":
        findings = find_in_toml(root)
    elif root.exists():
        raise CorpusError(f"{root}: is neither a folder nor a TOML file; {EXPECTED}")
    else:
        raise CorpusError(f"{root}: no such corpus", EXPECTED)
    preferred = set(panel.codes if panel else ()) | {
        c for c in languages or () if CODE.fullmatch(c)
    }
    found = _group_by_code(findings, preferred, root)
    wanted = _resolve_wanted(languages, panel, found)
    sources, empty = _drop_empty(found, wanted)
    missing = [code for code in wanted or sorted(found) if code not in sources]
    if missing and not allow_missing:
        named = [f"{code} (its files are empty)" if found.get(code) else code for code in missing]
        raise CorpusError(
            f"{root}: no data for {', '.join(named)}",
            f"found {_shorten(sorted(sources)) or 'none of them'}; add the files or pass --allow-missing",
        )
    if not sources:
        raise CorpusError(f"{root}: no language has data", EXPECTED)
    chosen = document or findings.document or "line"
    if chosen not in get_args(Document):
        raise CorpusError(
            f"{root}: document = {chosen!r} is none of {', '.join(get_args(Document))}"
        )
    return Corpus(
        name=findings.name,
        sources={code: tuple(sources[code]) for code in sorted(sources)},
        document=cast(Document, chosen),
        field=field or findings.field or "text",
        ignored=(*findings.ignored, *(f"{s.path}: empty" for code in empty for s in found[code])),
        missing=tuple(missing),
    )


def _find_inner(findings: Findings) -> Path | None:
    """Return the folder that holds most files named by a language, the one nearest the root of several."""
    folders = Counter(
        Path(source.path).parent
        for group in findings.by_name.values()
        for source in group
        if _names_language(source.path)
    )
    return min(folders, key=lambda f: (-folders[f], len(f.parts), f), default=None)


def _group_by_code(findings: Findings, preferred: set[str], root: Path) -> dict[str, list[Source]]:
    grouped: dict[str, list[Source]] = {}
    for name, group in findings.by_name.items():
        try:
            code = _resolve_name(name, preferred)
        except ConfigError as error:
            # A folder of corpora, such as `sample` writes, given in place of one of them.
            inner = _find_inner(findings)
            hint = f"did you mean {inner}?" if inner not in (None, root) else error.hint
            raise CorpusError(f"{root}: {error.message}", hint) from error
        grouped.setdefault(code, []).extend(replace(source, language=code) for source in group)
    return grouped


def _names_language(path: str) -> bool:
    return CODE.fullmatch(Path(path).name.split(".")[0]) is not None


def _resolve_name(name: str, preferred: set[str]) -> str:
    if CODE.fullmatch(name):
        return name
    with suppress(ConfigError):
        return resolve_code(name, preferred)
    return resolve_code(name, {*known_codes(), *preferred})


def _resolve_wanted(
    languages: Sequence[str] | None, panel: Panel | None, found: Mapping[str, object]
) -> list[str] | None:
    if languages is None:
        return list(panel.codes) if panel else None
    wanted = []
    for text in languages:
        # What is there decides what a short code means, then the panel, then the shipped panel.
        candidates = (
            set(found)
            if _matches(text, found)
            else {*known_codes(), *(panel.codes if panel else ())}
        )
        code = text if CODE.fullmatch(text) else resolve_code(text, candidates)
        if code not in wanted:
            wanted.append(code)
    return wanted


def _drop_empty(
    found: Mapping[str, list[Source]], wanted: Sequence[str] | None
) -> tuple[dict[str, list[Source]], list[str]]:
    """Split the wanted languages into those with a byte of data and those whose files are all empty."""
    kept = [code for code in found if wanted is None or code in wanted]
    empty = [code for code in kept if not any(source.size for source in found[code])]
    return {code: found[code] for code in kept if code not in empty}, empty


def _shorten(names: Sequence[str], limit: int = 12) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _matches(text: str, codes: Iterable[str]) -> bool:
    """True when a short code means at least one of these codes."""
    try:
        resolve_code(text, codes)
    except ConfigError as error:
        return "ambiguous" in error.message
    return True
