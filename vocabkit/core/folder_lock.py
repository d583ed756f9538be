"""One process at a time in a folder: a lock on the folder itself, gone with the process that held it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vocabkit.core.errors import OutputError

__all__ = ["hold_folder"]


@contextmanager
def hold_folder(folder: Path, target: Path, doing: str) -> Iterator[None]:
    """While the block runs no other process can hold `folder`, which must exist.

    Raises OutputError where one does, naming `target` and what is `doing` to it, as "preparing". Where the
    system or the file system has no such locks nothing is held: the next best is none.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            # Other numbers are those of file systems without locks.
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise OutputError(
                    f"{target}: another process is {doing} it", "wait for it, or choose another -o"
                ) from error
        yield
    finally:
        os.close(handle)
