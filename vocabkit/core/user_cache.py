"""Where on this system a user's cache is: what is in it can be made again, and may vanish at any time."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def find_user_cache(name: str) -> Path:
    """Return the folder of vocabkit's cache called `name`; it need not exist.

    `XDG_CACHE_HOME` moves all of them, on every system.
    """
    given = os.environ.get("XDG_CACHE_HOME")
    return (Path(given) if given else _system_cache()) / "vocabkit" / name


def _system_cache() -> Path:
    home = Path.home()
    if sys.platform == "darwin":
        return home / "Library" / "Caches"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    return home / ".cache"
