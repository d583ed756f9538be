"""Which files hold which language: a corpus folder, or a TOML file of globs, resolved to sources.

A folder holds one file or one sub-folder per language, named by its code (`yo`, `yor` or `yor_Latn`).
A TOML file holds `[languages]` with a glob or a list of them per code, and may set `name`, `document`
and `field`. One data file is a corpus of one language, and so is a folder of any files whose language is said.
Files are found and measured here, never opened: `reading` does that.
"""

from __future__ import annotations

import difflib
import glob
import json
import os
import re
import shlex
import stat
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal, TypedDict, cast, get_args

from vocabkit.core.errors import ConfigError, CorpusError, shorten_names
from vocabkit.core.folders import find_address, fingerprint_file, read_toml
from vocabkit.core.languages import CODE, Panel, find_codes, list_known, resolve_codes
from vocabkit.core.remote import Found, RemoteFile, find_files, serves_ranges

FileKind = Literal["text", "jsonl", "parquet"]
Compression = Literal["none", "gzip", "zstd"]
Document = Literal["line", "blank-line", "file"]

SUFFIXES: Mapping[str, tuple[FileKind, Compression]] = {
    ".txt": ("text", "none"),
    ".txt.gz": ("text", "gzip"),
    ".txt.zst": ("text", "zstd"),
    ".jsonl": ("jsonl", "none"),
    ".jsonl.gz": ("jsonl", "gzip"),
    ".jsonl.zst": ("jsonl", "zstd"),
    ".parquet": ("parquet", "none"),
}
# Text that comes with a corpus and is not part of it, whatever its suffix.
_COMPANIONS = frozenset(
    ("readme", "license", "licence", "notice", "copying", "authors", "changelog", "sources", "manifest")
)
EXPECTED = (
    "a corpus is a folder with one file or sub-folder per language (yor_Latn.txt, yor_Latn.jsonl.zst, "
    "yor_Latn/part-0.parquet), one such file, or a TOML file with [languages]; files end in "
    + ", ".join(SUFFIXES)
)


class Reading(TypedDict, total=False):
    """How a corpus is read, in the words of the options that every verb with a corpus has; None says nothing.

    `document` is what a document is in a text file, `field` what holds the text of a record, `language` the one
    language of a file or a folder.
    """

    document: str | None
    field: str | None
    language: str | None


@dataclass(frozen=True, slots=True)
class Source:
    """One file of one language, or a part. `path` is local or an fsspec URL; `size` is the file's, as stored.

    A part is of the stored bytes from `start` up to `stop`, which is None where the file is whole. `stamp` is
    what tells a remote file from one put in its place, and its `size` 1 where the server does not say.
    """

    language: str
    path: str
    kind: FileKind
    compression: Compression
    size: int
    start: int = 0
    stop: int | None = None
    stamp: str = ""

    @property
    def span(self) -> int:
        """Stored bytes of the part, of a whole file its size."""
        return (self.size if self.stop is None else self.stop) - self.start


PART_BYTES = 256 << 20
"""Stored bytes above which a file is several tasks: a quarter of a minute each. Never by the number of workers,
which would then be seen in rows that `prepare` packs."""


def cut_source(source: Source, document: Document) -> list[Source]:
    """Return a file as parts of about equal size, all within `PART_BYTES`, or as it is where it cannot be cut.

    What a part holds is for its reader to say: whole documents, or the rows of its share. Compressed text is
    read from its start; a text file that is one document is read by one.
    """
    count = -(-source.size // PART_BYTES)
    if count <= 1 or source.compression != "none" or (source.kind == "text" and document == "file"):
        return [source]
    if source.kind != "parquet" and not serves_ranges(source.path):
        return [source]
    bounds = [source.size * number // count for number in range(count + 1)]
    return [replace(source, start=start, stop=stop) for start, stop in pairwise(bounds)]


def _match_suffix(name: str) -> tuple[str, FileKind, Compression] | None:
    """Return the stem, kind and compression of a data file's name, or None where it is not data."""
    if name.startswith("."):
        return None
    for suffix, (kind, compression) in SUFFIXES.items():
        if name.lower().endswith(suffix):
            stem = name[: -len(suffix)]
            return (stem, kind, compression) if stem.lower() not in _COMPANIONS else None
    return None


def _make_source(found: Found) -> Source | None:
    """Return the source that a file is, its language still open (`""`); None where it is not data."""
    matched = _match_suffix(PurePosixPath(found.url.replace("\\", "/")).name)
    size = 1 if found.size is None else found.size
    return matched and Source("", found.url, matched[1], matched[2], size, stamp=found.stamp)


@dataclass(frozen=True, slots=True)
class Corpus:
    """The sources of every language, in a fixed order, and how their text becomes documents.

    `ignored` lists what was found and not taken, as `path: reason`; `missing` the languages that were
    asked for and have no data, empty unless that was allowed; `root` is the folder of a corpus that is one.
    """

    name: str
    sources: Mapping[str, tuple[Source, ...]]
    document: Document = "line"
    field: str = "text"
    ignored: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    root: Path | None = None

    @property
    def places(self) -> list[str | Path]:
        """What on this disk an output must stay apart from: the files, and the corpus folder with all in it."""
        files = (source.path for group in self.sources.values() for source in group)
        return [*([self.root] if self.root else []), *(path for path in files if "://" not in path)]

    @property
    def languages(self) -> tuple[str, ...]:
        """The codes of the languages that have data, sorted."""
        return tuple(sorted(self.sources))

    @property
    def size(self) -> int:
        """The bytes of all sources together, as they are stored."""
        return sum(source.size for group in self.sources.values() for source in group)

    @property
    def uncut(self) -> tuple[str, ...]:
        """A sentence on large files that cannot be cut into tasks, and what to do; mostly none."""
        found = [source for group in self.sources.values() for source in group if source.size > PART_BYTES]
        found = [source for source in found if source.compression != "none"]
        if not found:
            return ()
        tool, suffix = ("gzip", ".txt.gz") if found[0].compression == "gzip" else ("zstd", ".txt.zst")
        suffix = suffix.replace("txt", found[0].kind if found[0].kind == "jsonl" else "txt")
        command = (
            f"{tool} -dc FILE | split -C 1G --additional-suffix={suffix} --filter='{tool} > $FILE' - part-"
        )
        names = shorten_names([source.path for source in found], 3)
        return (f"{names}: compressed text is read from its start, so one task a file; to cut one: {command}",)

    def to_toml(self, comment: str) -> str:
        """A corpus file, opened by a comment of one line, that names the same sources by absolute paths."""

        def text(value: str) -> str:
            return json.dumps(value, ensure_ascii=False)

        lines = [
            f"# {comment}",
            f"document = {text(self.document)}",
            f"field = {text(self.field)}",
            "",
            "[languages]",
        ]
        for code in self.languages:
            paths = [
                source.path if "://" in source.path else str(Path(source.path).absolute())
                for source in self.sources[code]
            ]
            lines.append(f"{code} = [{', '.join(map(text, paths))}]")
        return "\n".join(lines) + "\n"


def open_corpus(
    path: str | Path | Corpus,
    *,
    languages: Sequence[str] | None = None,
    panel: Panel | None = None,
    document: str | None = None,
    field: str | None = None,
    language: str | None = None,
    allow_missing: bool = False,
) -> Corpus:
    """Find the sources of a corpus folder, a TOML file, or one data file.

    `languages`, or else the `panel`, are the languages asked for; without either every language found is
    taken. `document` (`line`, `blank-line`, `file`) and `field` override the TOML file's; the defaults
    are `line` and `text`. With `language`, all of a file or a folder is of that language, whatever its names.
    A `Corpus` comes back as it is. Raises `CorpusError` when nothing is recognised, a name is unknown or
    ambiguous, or a language asked for has no data and `allow_missing` is not set; `ConfigError` where two of
    these contradict each other.
    """
    if isinstance(path, Corpus):
        if any(given is not None for given in (document, field, language, languages, panel)):
            raise ConfigError(
                "document, field, language, languages and panel say what to open, and this is open already",
                "give them to open_corpus, with the path",
            )
        return path
    root = Path(path)
    place = find_address(root) or root
    if isinstance(place, str) and (secret := _PASSWORD.match(place)):
        raise CorpusError(
            f"{secret[1]}***@…: an address with a password, and manifests keep the address of what was read",
            "give it as the file system takes it (AWS_PROFILE, hf auth login), or fetch the files first",
        )
    found_files = _find_elsewhere(place)
    preferred = set(panel.codes if panel else ()) | {c for c in languages or () if CODE.fullmatch(c)}
    if language is not None:
        if languages is not None:
            raise ConfigError(
                "--languages picks from the languages of a corpus, and --language says that it has only one",
                f"--language {shlex.quote(language)}",
            )
        (code,) = resolve_codes([language], panel.codes if panel else (), beyond=True)
        findings = _find_one(root, code) if found_files is None else _name_languages(place, found_files, code)
        panel = None
    elif found_files is not None:
        findings = _name_languages(place, found_files)
    elif root.is_dir():
        findings = _find_in_folder(root)
    elif root.is_file() and root.suffix == ".toml":
        findings = _find_in_toml(root)
    elif root.exists():
        findings = _find_file(root)
    else:
        raise CorpusError(f"{place}: no such corpus", EXPECTED)
    found = _group_by_code(findings, preferred, place)
    wanted = _resolve_wanted(languages, panel, found)
    kept = [code for code in found if wanted is None or code in wanted]
    empty = [code for code in kept if not any(source.size for source in found[code])]
    sources = {code: tuple(found[code]) for code in sorted(kept) if code not in empty}
    missing = [code for code in wanted or sorted(found) if code not in sources]
    if missing and not allow_missing:
        named = [f"{code} (its files are empty)" if found.get(code) else code for code in missing]
        raise CorpusError(
            f"{place}: no data for {', '.join(named)}",
            f"found {shorten_names([*sources], 12) or 'none of them'}; add the files or pass --allow-missing",
        )
    if not sources:
        raise CorpusError(f"{place}: no language has data", EXPECTED)
    chosen = document or findings.document or "line"
    if chosen not in get_args(Document):
        raise CorpusError(
            f"{place}: document = {chosen!r} is none of {', '.join(get_args(Document))}", "--document line"
        )
    return Corpus(
        name=findings.name,
        sources=sources,
        document=cast(Document, chosen),
        field=field or findings.field or "text",
        ignored=(*findings.ignored, *(f"{s.path}: empty" for code in empty for s in found[code])),
        missing=tuple(missing),
        root=root if root.is_dir() else None,
    )


def _find_inner(findings: _Findings) -> Path | None:
    """Return the folder that holds most files named by a language, the one nearest the root of several."""
    folders = Counter(
        Path(source.path).parent
        for group in findings.by_name.values()
        for source in group
        if CODE.fullmatch(Path(source.path).name.split(".")[0])
    )
    return min(folders, key=lambda f: (-folders[f], len(f.parts), f), default=None)


def _group_by_code(findings: _Findings, preferred: set[str], root: str | Path) -> dict[str, list[Source]]:
    grouped: dict[str, list[Source]] = {}
    try:
        # The panel and what is asked for decide first. A full code is what it says.
        names = [name for name in findings.by_name if not CODE.fullmatch(name)]
        of = dict(zip(names, resolve_codes(names, preferred, beyond=True), strict=True))
    except ConfigError as error:
        # A folder of corpora, such as `sample` writes, given in place of one of them.
        inner = _find_inner(findings)
        meant = inner and (find_address(inner) or inner)
        hint = f"did you mean {meant}?" if meant not in (None, root) else error.hint
        if Path(root).is_file() and Path(root).suffix != ".toml":
            hint = "--language yor  # or whichever language the file is in"
        raise CorpusError(f"{root}: {error.message}", hint) from error
    for name, group in findings.by_name.items():
        code = of.get(name, name)
        grouped.setdefault(code, []).extend(replace(source, language=code) for source in group)
    return grouped


def _resolve_wanted(
    languages: Sequence[str] | None, panel: Panel | None, found: Mapping[str, object]
) -> list[str] | None:
    if languages is None:
        return list(panel.codes) if panel else None
    # What is there decides what a name means, then the panel.
    return [*dict.fromkeys(resolve_codes(languages, found, panel.codes if panel else (), beyond=True))]


# --- What there is ---------------------------------------------------------------------------------
# The two forms of a corpus, a folder and a TOML file of globs, read into names as written and their sources.

_KEYS = ("name", "document", "field", "languages")


@dataclass(slots=True)
class _Findings:
    """What a folder or a TOML file names: sources by the name as written, and what was passed over."""

    name: str
    by_name: dict[str, list[Source]]
    ignored: list[str]
    document: str | None = None
    field: str | None = None


def _find_in_folder(root: Path) -> _Findings:
    """Return the data files of a corpus folder by language name, in sorted order."""
    findings = _Findings(root.name or str(root), {}, [])
    for entry in sorted(root.iterdir()):
        if entry.is_dir() and not entry.name.startswith("."):
            sources = [_local_source(path, findings.ignored) for path in _list_files(entry)]
            if group := [source for source in sources if source]:
                findings.by_name.setdefault(entry.name, []).extend(group)
            else:
                findings.ignored.append(f"{entry}/: no data files")
        else:
            found = _local_source(entry, findings.ignored)
            if found and (matched := _match_suffix(entry.name)):
                findings.by_name.setdefault(matched[0], []).append(found)
    if not findings.by_name:
        shown = ", ".join(sorted(p.name + "/" * p.is_dir() for p in root.iterdir())[:12])
        raise CorpusError(f"{root}: no language found; it holds {shown or 'nothing'}", EXPECTED)
    return findings


def _find_elsewhere(place: str | Path) -> list[Found] | None:
    """Return the files behind an address, or that a glob of this disk matches; None for a path."""
    if isinstance(place, str):
        return find_files(place)
    if not glob.has_magic(str(place)) or place.exists():
        return None
    paths = [Path(path) for path in sorted(glob.glob(str(place), recursive=True))]  # noqa: PTH207
    files = [Found(str(path), path.stat().st_size, "") for path in paths if path.is_file()]
    if not files:
        raise CorpusError(f"{place}: matches no file", EXPECTED)
    return files


def _name_languages(place: str | Path, files: Sequence[Found], code: str | None = None) -> _Findings:
    """Sort files below a folder, or a glob's fixed part, by what comes first: a folder, or a file's stem.

    All are of the language `code` where it is given.
    """
    root = _WILD.split(str(place))[0]
    root = root.rpartition("/")[0] if root != str(place) else root
    findings = _Findings(PurePosixPath(root).name or root, {}, [])
    # By depth: a file system may spell the protocol and the host of what it finds in its own way.
    depth = len(_split_address(root))
    for item in files:
        parts = _split_address(item.url)
        source, matched = _make_source(item), _match_suffix(parts[-1])
        name = parts[depth] if len(parts) > depth + 1 else matched[0] if matched else ""
        if source is None or name.startswith("."):
            findings.ignored.append(f"{item.url}: not a data file")
        else:
            findings.by_name.setdefault(code or name, []).append(source)
    if not findings.by_name:
        shown = shorten_names([item.url for item in files], 6)
        raise CorpusError(f"{place}: no language found; it holds {shown or 'nothing'}", EXPECTED)
    return findings


_WILD = re.compile(r"[*?\[]")
_PASSWORD = re.compile(r"([a-z0-9+.-]+://[^/@:]*:)[^/@]*@")


def _split_address(url: str) -> tuple[str, ...]:
    """Return the parts of a path or an address, without its protocol."""
    return PurePosixPath((url.partition("://")[2] or url).lstrip("/")).parts


def _find_file(path: Path) -> _Findings:
    """Return one data file by the language that its name says."""
    if (source := _local_source(path, [])) is None or (matched := _match_suffix(path.name)) is None:
        raise _not_data(path)
    return _Findings(matched[0], {matched[0]: [source]}, [])


def _find_one(path: Path, code: str) -> _Findings:
    """Return a data file, or all of a folder, as one language's. Raises `CorpusError` for one of several."""
    findings = _Findings(path.name or str(path), {}, [])
    if path.is_dir():
        if others := [c for c in _list_named(path) if c != code]:
            raise CorpusError(
                f"{path}: --language says that all of it is {code}, and it has {shorten_names(others)}",
                f"--languages {shlex.quote(code)}  # takes this language from a corpus of several",
            )
        found = [source for file in _list_files(path) if (source := _local_source(file, findings.ignored))]
        if not found:
            raise CorpusError(f"{path}: no data files", EXPECTED)
        findings.by_name[code] = found
    elif path.suffix == ".toml" and path.is_file():
        what = f"{path}: says itself which language each file is, and --language says it again"
        raise CorpusError(what, "leave --language out, or name the file of text")
    elif path.exists():
        source = _local_source(path, [])
        if source is None:
            raise _not_data(path)
        findings.by_name[code] = [source]
    else:
        raise CorpusError(f"{path}: no such corpus", EXPECTED)
    return findings


def _list_named(folder: Path) -> list[str]:
    """The codes that a corpus folder's entries are surely named by, sorted."""
    names = [matched[0] if (matched := _match_suffix(entry.name)) else entry.name for entry in folder.iterdir()]
    full = {name for name in names if CODE.fullmatch(name)}
    # One file called `run` or `min` is no Rundi: short names count where there are several.
    short = [name for name in names if re.fullmatch("[a-z]{2,3}", name)]
    codes = {code for name in short for code in find_codes(name, list_known())[:1]}
    return sorted(full | (codes if len(codes) > 1 else set()))


def _not_data(path: Path) -> CorpusError:
    """What is said of a file that no reader is for."""
    if not path.is_file():
        what = f"{path}: not a regular file, so not text that can be read twice"
        return CorpusError(what, "write its text to a file first, and name that")
    # JSON is a record a line to this reader, or it is one text with brackets in it.
    ending, said = (
        (".jsonl", "a JSON object a line") if path.suffix == ".json" else (".txt", "a document a line")
    )
    copy = f"{path.name.removesuffix('.json')}{ending}"
    return CorpusError(
        f"{path}: not a kind of file that can be read; files end in {', '.join(SUFFIXES)}",
        f"cp {shlex.quote(str(path))} {shlex.quote(copy)}  # where it holds text, {said}",
    )


def _find_in_toml(path: Path) -> _Findings:
    """Return the files a corpus TOML names. Raises `CorpusError` for bad TOML, keys, globs or suffixes."""
    data = read_toml(path, CorpusError, 'a corpus is written so: [languages] and yor_Latn = "yo/*.txt"')
    for key in data:
        if key not in _KEYS:
            near = difflib.get_close_matches(key, _KEYS, n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise CorpusError(f"{path}: unknown key {key!r}{meant}", f"keys are {', '.join(_KEYS)}")
    table = data.get("languages")
    if not isinstance(table, dict) or not table:
        raise CorpusError(f"{path}: no [languages] table", 'write [languages] and yor_Latn = "yo/*.txt"')
    for key in _KEYS[:3]:
        if not isinstance(data.get(key, ""), str):
            raise CorpusError(
                f"{path}: {key} = {data[key]!r} is not a string", f'write it in quotes: {key} = "{data[key]}"'
            )
    findings = _Findings(data.get("name") or path.stem, {}, [], data.get("document"), data.get("field"))
    for name, value in table.items():
        patterns = [value] if isinstance(value, str) else value
        if not isinstance(patterns, list) or not all(isinstance(p, str) for p in patterns):
            raise CorpusError(
                f"{path}: languages.{name} is neither a glob nor a list of globs",
                f'for example: {name} = "texts/{name}*.txt"',
            )
        group = {s.path: s for p in patterns for s in _expand(p, path, name, findings.ignored)}
        # A language whose globs match nothing stays listed: `open_corpus` names it as missing.
        findings.by_name[name] = [group[key] for key in sorted(group)]
    return findings


def _list_files(folder: Path) -> list[Path]:
    """Return all that is under a folder and is no folder, sorted; one that may not be read is an error."""

    def refuse(error: OSError) -> None:
        # Passed over, a whole language would be missing without a word.
        raise CorpusError(
            f"{error.filename}: cannot be read: {error.strerror}", f"ls -ld {shlex.quote(str(error.filename))}"
        ) from error

    walked = os.walk(folder, onerror=refuse)
    return sorted(Path(root) / name for root, _, names in walked for name in names)


def _local_source(path: Path, ignored: list[str]) -> Source | None:
    if path.name.startswith("."):
        ignored.append(f"{path}: hidden")
        return None
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        what = f"{path}: a file name that is not UTF-8"
        raise CorpusError(what, "rename the file, or move it out of the corpus") from error
    try:
        found = path.stat()
        source = _make_source(Found(str(path), found.st_size, ""))
    except OSError as error:
        what = f"{path}: cannot be read: {error.strerror}"
        raise CorpusError(what, f"ls -l {shlex.quote(str(path))}") from error
    if source is None:
        ignored.append(f"{path}: not a data file")
    elif not stat.S_ISREG(found.st_mode):
        # A pipe would be waited for without end, and a device never ends.
        what = f"{path}: not a regular file, so not text that can be read twice"
        raise CorpusError(what, "copy its text to a file in its place, or move it out of the corpus")
    return source


def _expand(pattern: str, toml: Path, name: str, ignored: list[str]) -> list[Source]:
    """Return the sources one glob names; a path without wildcards must exist and be a data file."""
    if "://" in pattern and not pattern.startswith("file://"):
        wild = _WILD.search(pattern) is not None
        try:
            found = find_files(pattern)
        except CorpusError as error:
            raise CorpusError(f"{toml}: languages.{name}: {error.message}", error.hint) from error
    else:
        inner = pattern.removeprefix("file://")
        literal = toml.parent / inner
        wild = glob.has_magic(inner) and not literal.exists()
        # Path.glob takes no absolute pattern and matches hidden files.
        joined = inner if Path(inner).is_absolute() else f"{glob.escape(str(toml.parent))}/{inner}"
        matches = glob.glob(joined, recursive=True) if wild else []  # noqa: PTH207
        paths = [Path(match) for match in sorted(matches)] if wild else [literal]
        if not wild and not literal.is_file():
            what = "not a regular file" if literal.exists() else "no such file"
            raise CorpusError(
                f"{toml}: languages.{name}: {pattern}: {what}", f"ls -l {shlex.quote(str(literal))}"
            )
        found = [Found(str(p), p.stat().st_size, "") for p in paths if p.is_file()]
    sources = []
    for item in found:
        if source := _make_source(item):
            sources.append(source)
        elif wild:
            ignored.append(f"{item.url}: not a data file")
        else:
            raise CorpusError(
                f"{toml}: languages.{name}: {pattern}: not a kind of file that can be read",
                f"files end in {', '.join(SUFFIXES)}",
            )
    return sources


def find_text(path: str | Path) -> Source:
    """Return a file of text that is no corpus: of no language, and plain where its name does not say otherwise.

    Raises `CorpusError` for what is no regular file, or not there.
    """
    file = Path(path)
    if file.is_dir():
        raise CorpusError(f"{file}: a folder, where a file of text is wanted", "name one of the files in it")
    return _local_source(file, []) or Source("", str(file), "text", "none", file.stat().st_size)


def fingerprint_source(source: Source) -> str:
    """Return the digest of a local file, or of a remote one its address, size and what changes with it."""
    if "://" in source.path:
        return f"{source.path} {source.size} {source.stamp}".rstrip()
    return fingerprint_file(source.path)


def open_binary(source: Source) -> BinaryIO:
    """Open the bytes of a file, local or remote, to be read in order. Raises what the opening raises."""
    if "://" not in source.path:
        return Path(source.path).open("rb")
    size = None if source.size == 1 else source.size
    return cast(BinaryIO, RemoteFile(source.path, size, source.stamp, streamed=True))
