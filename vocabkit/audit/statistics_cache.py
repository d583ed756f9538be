"""Arrays of measured text kept in the user's cache folder, named by what they were measured from.

A cache that cannot be read or written is no reason to stop: the text is measured again. Knows nothing of what
it keeps.
"""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

LIMIT_BYTES = 1 << 30
"""What the cache may hold; the files longest unused go first."""


def default_folder() -> Path:
    """Return where statistics are kept unless told otherwise: the user's cache folder on this system."""
    home = Path.home()
    if sys.platform == "darwin":
        base = home / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "vocabkit" / "statistics"


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
    temporary = path.with_name(f".{path.name}.{os.getpid()}.npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(temporary, allow_pickle=False, **arrays)
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()


def trim_folder(folder: Path, limit: int = LIMIT_BYTES) -> None:
    """Remove the files longest unused until no more than `limit` bytes are left."""
    try:
        files = [(path.stat(), path) for path in folder.glob("[!.]*.npz")]
    except OSError:
        return
    left = sum(status.st_size for status, _ in files)
    for status, path in sorted(files, key=lambda item: (item[0].st_mtime_ns, item[1])):
        if left <= limit:
            break
        left -= status.st_size
        with suppress(OSError):
            path.unlink()
