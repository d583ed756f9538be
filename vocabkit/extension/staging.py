"""A folder in the making that a killed run can take up again, and that appears whole or not at all.

Unlike `core.provenance.output_folder`, whose work is gone with the process, files finished under the
same key are kept for the next run: a checkpoint's shards may be many gigabytes. An error removes the
folder; only a kill or Ctrl-C leaves it, hidden beside the output.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vocabkit.core.errors import OutputError
from vocabkit.core.folder_lock import hold_folder
from vocabkit.core.provenance import check_inputs, check_output, name_full_disk, publish_folder

__all__ = ["check_places", "check_space", "duplicate_file", "finished_file", "open_staging"]

_KEY = ".extension-key"


@contextmanager
def open_staging(target: Path, key: str, *, force: bool) -> Iterator[Path]:
    """Yield the folder to fill, which becomes `target` when the block ends well.

    What an interrupted run of the same `key` finished is in it. Raises OutputError when `target` may not
    be written, or another process is writing it.
    """
    check_output(target, force=force)
    work = _partial(target)
    try:
        work.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise OutputError(
            f"{target}: a folder above it is a file", "choose another folder with -o"
        ) from error
    with hold_folder(work, target, "writing"):
        mark = work / _KEY
        if not mark.is_file() or mark.read_text(encoding="utf-8") != key:
            _empty(work)
            mark.write_text(key, encoding="utf-8")
        try:
            with name_full_disk(target):
                yield work
            mark.unlink()
            publish_folder(work, target)
        except Exception:
            shutil.rmtree(work, ignore_errors=True)
            raise


def check_places(target: Path, *inputs: Path | None) -> None:
    """Raise OutputError when writing `target` would change or replace one of the inputs.

    An output within the model's folder would become part of the model, and one that is the folder or
    holds it would take its place.
    """
    given = [item for item in inputs if item is not None]
    check_inputs(target, given)
    for item in given:
        real = item.resolve()
        if real.is_dir() and real in target.resolve().parents:
            raise OutputError(
                f"{target}: lies within {item}, which is not to change", "choose another -o"
            )


def _partial(target: Path) -> Path:
    return target.parent / f".{target.name}.partial"


def _empty(work: Path) -> None:
    for item in work.iterdir():
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item)
        else:
            item.unlink()


@contextmanager
def finished_file(path: Path) -> Iterator[Path | None]:
    """Yield where to write a file that gets its name when the block ends well; None where it is done."""
    if path.exists():
        yield None
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    yield part
    part.rename(path)


def duplicate_file(source: Path, target: Path, *, link: bool) -> str:
    """Put a file's bytes in another place; how: `linked`, `reflinked` or `copied`.

    A hard link is made only where asked for: an edit in place would change both files. A symbolic link
    is followed. A reflink shares blocks until one is written to, where the file system can.
    """
    with finished_file(target) as part:
        if part is None:  # by the run before this one, in the same way
            return "linked" if target.samefile(source) else "copied"
        part.unlink(missing_ok=True)
        real = source.resolve()
        if link:
            with suppress(OSError):  # another file system, or none that links
                os.link(real, part)
                return "linked"
        if _reflink(real, part):
            return "reflinked"
        shutil.copyfile(real, part)
    return "copied"


def _reflink(source: Path, target: Path) -> bool:
    try:
        import fcntl
    except ImportError:
        return False
    ficlone = 0x40049409
    with source.open("rb") as old, target.open("wb") as new:
        try:
            fcntl.ioctl(new.fileno(), ficlone, old.fileno())
        except OSError:
            return False
    return True


def _measure(work: Path) -> int:
    """Bytes in a folder that are not also elsewhere, as hard links are."""
    stats = [path.lstat() for path in work.rglob("*") if path.is_file()] if work.is_dir() else []
    return sum(stat.st_size for stat in stats if stat.st_nlink == 1)


def check_space(target: Path, needed: int, free: int | None = None) -> None:
    """Raise OutputError unless the disk has room. `free` is that of the disk unless given, bytes.

    What a killed run left beside `target` is room too: it is used again, or removed.
    """
    place = target
    while not place.exists():
        place = place.parent
    room = (shutil.disk_usage(place).free if free is None else free) + _measure(_partial(target))
    if needed > room:
        raise OutputError(
            f"{target}: needs {needed / 1e9:.2f} GB, and the disk has {room / 1e9:.2f} GB free",
            "free some space, choose another -o, or --link what does not change",
        )
