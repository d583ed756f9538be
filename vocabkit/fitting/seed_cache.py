"""The lexicon and closed substrings of a counts folder, kept beside the counts: refits only re-rank them.

Both depend on the text, the normaliser, the digit rule and the covered characters, and on no language weight.
They are large (about 10 bytes a character of distinct spans), so only the newest few are kept.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vocabkit.fitting.lexicon import Lexicon
from vocabkit.fitting.substrings import Substrings

KEPT = 2
"""How many are kept: one with a global alphabet and one with an alphabet per language."""
_FORMAT = 2
_LEXICON = ("alphabet", "text", "offsets", "shared", "chunks", "partitions", "count", "documents")
_SUBSTRINGS = ("order", "begin", "stop", "length", "evidence", "documents")


def load_or_build(
    folder: Path | None, key: str, build: Callable[[], tuple[Lexicon, Substrings]]
) -> tuple[Lexicon, Substrings, bool]:
    """Return the lexicon and substrings stored under `key`, or build and store them; and whether they were.

    `folder` None, or one that cannot be written, means no cache. A damaged file is built and written again.
    """
    if folder is None:
        return (*build(), False)
    path = folder / f"{key}-{_FORMAT}.npz"
    stored = _load(path)
    if stored is not None:
        os.utime(path)
        return (*stored, True)
    lexicon, substrings = build()
    _save(path, lexicon, substrings)
    return lexicon, substrings, False


def _save(path: Path, lexicon: Lexicon, substrings: Substrings) -> None:
    arrays = {f"lexicon.{name}": getattr(lexicon, name) for name in _LEXICON}
    arrays |= {f"substrings.{name}": getattr(substrings, name) for name in _SUBSTRINGS}
    arrays["limits"] = np.array([substrings.longest, substrings.floor], dtype=np.int64)
    for code, (rows, count) in lexicon.pairs.items():
        arrays[f"rows.{code}"], arrays[f"count.{code}"] = rows, count
    temporary = path.with_name(f".{path.name}.{os.getpid()}.npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(temporary, **arrays)
        temporary.replace(path)
        old = sorted(path.parent.glob("[!.]*.npz"), key=lambda file: file.stat().st_mtime_ns)
        for file in old[:-KEPT]:
            file.unlink(missing_ok=True)
    except OSError:
        # A cache that does not fit on the disk is no reason to stop.
        temporary.unlink(missing_ok=True)


def _load(path: Path) -> tuple[Lexicon, Substrings] | None:
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            found = {name: data[name] for name in data.files}
        longest, floor = found["limits"].tolist()
        codes = [name.removeprefix("rows.") for name in found if name.startswith("rows.")]
        pairs = {code: (found[f"rows.{code}"], found[f"count.{code}"]) for code in codes}
        lexicon = Lexicon(**{name: found[f"lexicon.{name}"] for name in _LEXICON}, pairs=pairs)
        substrings = Substrings(
            **{name: found[f"substrings.{name}"] for name in _SUBSTRINGS},
            longest=longest,
            floor=floor,
        )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return lexicon, substrings
