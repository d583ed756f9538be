"""What was measured of a text, kept in the user's cache folder and named by what it was measured from.

A cache that cannot be read or written is no reason to stop: the text is measured again. Knows nothing of what
it keeps.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vocabkit.core.user_cache import find_user_cache

LIMIT_BYTES = 1 << 30
"""What the cache may hold; the files longest unused go first."""


def find_cache(given: Path | None = None) -> Path:
    """Return the folder given, or else where measurements are kept on this system."""
    return given or find_user_cache("statistics")


def load_arrays(path: Path) -> dict[str, npt.NDArray[Any]] | None:
    """Return the arrays of a file, or None where it is absent or damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            arrays = {name: data[name] for name in data.files}
        os.utime(path)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return arrays


def save_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write arrays under a temporary name and rename; does nothing where the folder cannot be written."""
    _write(path, lambda temporary: np.savez(temporary, allow_pickle=False, **arrays))


def load_values(path: Path) -> object:
    """Return what a JSON file holds, or None where it is absent or damaged."""
    try:
        found: object = json.loads(path.read_text(encoding="utf-8"))
        os.utime(path)
    except (OSError, ValueError, RecursionError):
        return None
    return found


def save_values(path: Path, values: object) -> None:
    """Write JSON as `save_arrays` writes arrays."""
    written = json.dumps(values, ensure_ascii=False)
    _write(path, lambda temporary: temporary.write_text(written, encoding="utf-8"))


def _write(path: Path, write: Callable[[Path], object]) -> None:
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()


def trim_folder(folder: Path, limit: int = LIMIT_BYTES) -> None:
    """Remove the files longest unused until no more than `limit` bytes are left."""
    try:
        files = [
            (path.stat(), path)
            for pattern in ("*.npz", "*.json")
            for path in folder.glob(pattern)
            if not path.name.startswith(".")
        ]
    except OSError:
        return
    left = sum(status.st_size for status, _ in files)
    for status, path in sorted(files, key=lambda item: (item[0].st_mtime_ns, item[1])):
        if left <= limit:
            break
        left -= status.st_size
        with suppress(OSError):
            path.unlink()
