"""Curves kept beside the counts: another budget or method needs no fit.

A curve depends on one language's text, the text it is measured on, the covered characters and the options: on
no other language.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path

import numpy as np

from vocabkit.allocation.curves import Curve, CurveOptions
from vocabkit.corpus.spans import SpanTable
from vocabkit.fitting.lexicon import BoolArray

KEPT = 4
"""How many curves of one language are kept."""
_FORMAT = 1
_ARRAYS = ("count", "size", "likelihood", "tokens")
_DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


def curve_key(
    train: SpanTable,
    measured: SpanTable | None,
    covered: BoolArray,
    options: CurveOptions,
    kind: str,
) -> str:
    """Return a digest of all that a curve depends on."""
    digest = hashlib.blake2b(digest_size=10)
    for table in (train, measured):
        if table is not None:
            # Spans have a content hash each; with the counts it stands for the whole table.
            digest.update(f"table {len(table)}".encode())
            digest.update(table.key.tobytes())
            digest.update(table.count.tobytes())
    if options.min_documents > 1:
        digest.update(train.documents.tobytes())
    digest.update(np.packbits(covered).tobytes())
    # Memory changes no result.
    limits = [getattr(options, name) for name in options.__slots__ if name != "memory"]
    digest.update(repr((limits, kind, _FORMAT)).encode())
    return digest.hexdigest()


def load_curve(folder: Path | None, language: str, key: str) -> Curve | None:
    """Return the curve kept under `key`, None where there is none or its file is damaged."""
    path = _path(folder, language, key)
    if path is None or not path.is_file():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            found = {name: data[name] for name in data.files}
        alphabet, limited, *tiers = found["numbers"].tolist()
        characters, uncovered = found["amounts"].tolist()
        return Curve(
            language=language,
            alphabet=alphabet,
            pieces=tuple(found["pieces"].tobytes().decode().split("\n")),
            **{name: found[name] for name in _ARRAYS},
            measured=found["kind"].tobytes().decode(),
            characters=characters,
            uncovered=uncovered,
            tiers=tuple(zip(tiers[::2], tiers[1::2], strict=True)),
            data_limited=bool(limited),
        )
    except _DAMAGED:
        return None


def save_curve(folder: Path | None, key: str, curve: Curve) -> None:
    """Keep a curve; a folder that cannot be written is no reason to stop."""
    path = _path(folder, curve.language, key)
    if path is None:
        return
    numbers = [curve.alphabet, int(curve.data_limited), *(n for tier in curve.tiers for n in tier)]
    temporary = path.with_name(f".{path.name}.{os.getpid()}.npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(
            temporary,
            pieces=np.frombuffer("\n".join(curve.pieces).encode(), np.uint8),
            kind=np.frombuffer(curve.measured.encode(), np.uint8),
            numbers=np.array(numbers, np.int64),
            amounts=np.array([curve.characters, curve.uncovered]),
            **{name: getattr(curve, name) for name in _ARRAYS},
        )
        temporary.replace(path)
        kept = sorted(
            path.parent.glob(f"{curve.language}-*.npz"), key=lambda file: file.stat().st_mtime_ns
        )
        for file in kept[:-KEPT]:
            file.unlink(missing_ok=True)
    except OSError:
        temporary.unlink(missing_ok=True)


def _path(folder: Path | None, language: str, key: str) -> Path | None:
    return None if folder is None else folder / f"{language}-{key}.npz"
