"""Which files hold text, told by their names: kind, compression, and the text that only comes along.

Nothing is opened here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

Kind = Literal["text", "jsonl", "parquet"]
Compression = Literal["none", "gzip", "zstd"]

SUFFIXES: Mapping[str, tuple[Kind, Compression]] = {
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
    (
        "readme", "license", "licence", "notice", "copying", "authors", "changelog", "sources",
        "manifest",
    )
)  # fmt: skip
EXPECTED = (
    "a corpus is a folder with one file or sub-folder per language (yor_Latn.txt, yor_Latn.jsonl.zst, "
    "yor_Latn/part-0.parquet) or a TOML file with [languages]; files end in " + ", ".join(SUFFIXES)
)


@dataclass(frozen=True, slots=True)
class Source:
    """One file of one language. `path` is local or an fsspec URL; `size` is in (compressed) bytes."""

    language: str
    path: str
    kind: Kind
    compression: Compression
    size: int


def match_suffix(name: str) -> tuple[str, Kind, Compression] | None:
    """Return the stem, kind and compression of a data file's name, or None where it is not data."""
    if name.startswith("."):
        return None
    for suffix, (kind, compression) in SUFFIXES.items():
        if name.lower().endswith(suffix):
            stem = name[: -len(suffix)]
            return (stem, kind, compression) if stem.lower() not in _COMPANIONS else None
    return None


def make_source(path: str, size: int) -> Source | None:
    """Return the source behind a path, its language still open (`""`); None where it is not data."""
    matched = match_suffix(PurePosixPath(path.replace("\\", "/")).name)
    return matched and Source("", path, matched[1], matched[2], size)
