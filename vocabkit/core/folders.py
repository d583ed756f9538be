"""What a verb reads and leaves on disk: JSON, folders that appear whole or not at all, and their manifests.

Three kinds of folder in the making: `output_folder` is gone with its process, `open_staging` (extend) and
`corpus.shard_map.open_work` (count, prepare) keep what is finished for the next run, one process at a time.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from vocabkit.core.errors import CheckpointError, OutputError, VocabkitError


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file that is whole whenever it is there, in place of one that may be there."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8", newline="\n")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: object, *, indent: int | None = 1) -> None:
    """Write JSON and a line end, as `write_text` does; characters stand for themselves."""
    write_text(path, json.dumps(content, ensure_ascii=False, indent=indent) + "\n")


def read_json(
    path: Path, error: type[VocabkitError] = CheckpointError, hint: str = "copy the file again"
) -> dict[str, Any]:
    """Return the JSON object a file holds. Raises `error`, naming the file and what is wrong with it."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = json.loads(text)
        if "\\u" in text:  # half a character, as "\ud800", can be read and never be written
            json.dumps(content, ensure_ascii=False).encode()
    except OSError as found:
        raise error(f"{path}: {found.strerror}", hint) from found
    except (ValueError, RecursionError) as found:  # a number of 5,000 digits, or lists 1,000 deep, are too much
        raise error(f"{path}: not JSON: {found}", hint) from found
    if not isinstance(content, dict):
        raise error(f"{path}: holds no object", hint)
    return content


def fingerprint_file(path: str | Path) -> str:
    """Return the BLAKE2b-160 digest of a file's bytes, in hex."""
    digest = hashlib.blake2b(digest_size=20)
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


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
    """Put a file's bytes in another place; return how: `linked`, `reflinked` or `copied`.

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


# --- Whether an output may be written --------------------------------------------------------------


def check_output(target: Path, *, force: bool) -> None:
    """Raise `OutputError` unless `target` may be written: absent, an empty folder, or `force` is set."""
    if target.is_file():
        raise OutputError(f"{target}: is a file, not a folder", "choose another folder with -o")
    if target.is_dir() and any(target.iterdir()) and not force:
        raise OutputError(
            f"{target}: exists and is not empty", "pass --force to replace it, or choose another -o"
        )
    if force and target.is_dir():
        here = Path.cwd().resolve()
        if target.resolve() == here or target.resolve() in here.parents:
            raise OutputError(f"{target}: will not replace the folder you are in", "choose another -o")


def check_inputs(target: Path, inputs: Iterable[str | Path]) -> None:
    """Raise `OutputError` where the output would take the place of what it is made from, under `force`."""
    place = target.resolve()
    for item in inputs:
        source = Path(item).resolve()
        if place == source or place in source.parents:
            raise OutputError(f"{target}: would replace {item}, from which it is made", "choose another -o")


def check_places(target: Path, *inputs: Path | None) -> None:
    """Raise `OutputError` when writing `target` would change or replace one of the inputs.

    An output within the model's folder would become part of the model, and one that is the folder or
    holds it would take its place.
    """
    given = [item for item in inputs if item is not None]
    check_inputs(target, given)
    for item in given:
        real = item.resolve()
        if real.is_dir() and real in target.resolve().parents:
            raise OutputError(f"{target}: lies within {item}, which is not to change", "choose another -o")


def check_space(target: Path, needed: int, free: int | None = None) -> None:
    """Raise `OutputError` unless the disk has room. `free` is that of the disk unless given, bytes.

    What a killed run left beside `target` is room too: it is used again, or removed. A file with another
    name elsewhere, as hard links have, takes none.
    """
    place = target
    while not place.exists():
        place = place.parent
    room = shutil.disk_usage(place).free if free is None else free
    stats = [path.lstat() for path in _partial(target).rglob("*") if path.is_file()]
    room += sum(stat.st_size for stat in stats if stat.st_nlink == 1)
    if needed > room:
        raise OutputError(
            f"{target}: needs {needed / 1e9:.2f} GB, and the disk has {room / 1e9:.2f} GB free",
            "free some space, choose another -o, or --link what does not change",
        )


# --- Folders that appear whole ---------------------------------------------------------------------


@contextmanager
def output_folder(path: str | Path, *, force: bool = False) -> Iterator[Path]:
    """Yield a temporary folder that becomes `path` when the block ends well, and is removed when it does not.

    Raises `OutputError` when `path` is a file, or a non-empty folder and `force` is not set, before any
    work is done. A folder replaced under `force` stays untouched until its successor is complete.
    """
    target = Path(path)
    check_output(target, force=force)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".{target.name}.tmp-{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        with name_full_disk(target):
            yield temporary
            publish_folder(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def publish_folder(temporary: Path, target: Path) -> None:
    """Put a finished folder in the place of `target`, keeping the old one until the rename succeeds."""
    old = target.parent / f".{target.name}.old-{os.getpid()}"
    if target.exists():
        target.rename(old)
    try:
        temporary.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def name_full_disk(target: Path) -> Iterator[None]:
    """Turn a full disk inside the block into an `OutputError` that names the output.

    A failed write does not say which file it was; only the caller knows what was being made.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OutputError(
            f"{target}: {error.strerror}", "free some space, or choose another folder with -o"
        ) from error


# --- Folders that a killed run leaves to the next --------------------------------------------------


@contextmanager
def hold_folder(folder: Path, target: Path, doing: str) -> Iterator[None]:
    """While the block runs no other process can hold `folder`, which must exist; a killed one lets it go.

    Raises `OutputError` where one does, naming `target` and what is `doing` to it, as "preparing". Where the
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


@contextmanager
def keep_folder(work: Path, target: Path, doing: str, mark: str, key: str) -> Iterator[Path]:
    """Yield the existing folder `work`, held: what a run of the same `key` left is in it, of another nothing.

    The key is in the file `mark` there. Raises `OutputError` as `hold_folder` does.
    """
    with hold_folder(work, target, doing):
        marker = work / mark
        if not marker.is_file() or marker.read_text(encoding="utf-8") != key:
            for item in work.iterdir():
                if item.is_dir() and not item.is_symlink():
                    shutil.rmtree(item)
                else:
                    item.unlink()
            marker.write_text(key, encoding="utf-8")
        yield work


def _partial(target: Path) -> Path:
    return target.parent / f".{target.name}.partial"


@contextmanager
def open_staging(target: Path, key: str, *, force: bool) -> Iterator[Path]:
    """Yield the folder to fill, hidden beside `target`, which it becomes when the block ends well.

    What an interrupted run of the same `key` finished is in it: a checkpoint's shards may be many gigabytes.
    An error removes the folder; only a kill or Ctrl-C leaves it. Raises `OutputError` when `target` may not
    be written, or another process is writing it.
    """
    check_output(target, force=force)
    work = _partial(target)
    try:
        work.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise OutputError(f"{target}: a folder above it is a file", "choose another folder with -o") from error
    mark = ".extension-key"
    with keep_folder(work, target, "writing", mark, key):
        try:
            with name_full_disk(target):
                yield work
            (work / mark).unlink()
            publish_folder(work, target)
        except Exception:
            shutil.rmtree(work, ignore_errors=True)
            raise


# --- Manifests -------------------------------------------------------------------------------------

BACKENDS = (
    "vocabkit", "numpy", "duckdb", "sentencepiece", "tokenizers", "numba", "regex", "unicodedata2",
    "fonttools", "icu4py", "jinja2", "tiktoken", "pandas", "pydantic", "typer", "rich", "backports.zstd",
    "fsspec", "gflanguages", "babel", "django", "torch", "transformers",
)  # fmt: skip
MANIFEST_SCHEMA = 1


def package_versions(names: Iterable[str] = BACKENDS) -> dict[str, str | None]:
    """Return the installed version of each package, None where it is not installed. Imports none of them."""
    found: dict[str, str | None] = dict.fromkeys(names)
    for name in found:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


@dataclass(frozen=True, slots=True)
class Manifest:
    """How an output folder came to be. Written as `manifest.json` beside the data."""

    command: list[str]
    config: Mapping[str, Any]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    seconds: Mapping[str, float]
    details: Mapping[str, Any]
    seed: int | None = None
    versions: Mapping[str, str | None] = field(default_factory=package_versions)
    python: str = platform.python_version()
    platform: str = platform.platform()
    git_commit: str | None = None
    created: str = ""
    schema: int = MANIFEST_SCHEMA


def write_manifest(
    folder: Path,
    *,
    config: Mapping[str, Any] | None = None,
    inputs: Mapping[str, str] | None = None,
    seconds: Mapping[str, float] | None = None,
    details: Mapping[str, Any] | None = None,
    seed: int | None = None,
) -> Manifest:
    """Write `manifest.json` into a folder whose data files are complete, and return what it says.

    `inputs` maps a name to a fingerprint; outputs are fingerprinted here. `seconds` and `created` are
    the only fields that differ between two equal runs.
    """
    outputs = {
        path.relative_to(folder).as_posix(): fingerprint_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }
    manifest = Manifest(
        command=[Path(sys.argv[0]).name, *sys.argv[1:]], config=dict(config or {}), inputs=dict(inputs or {}),
        outputs=outputs, seconds={name: round(value, 3) for name, value in (seconds or {}).items()},
        details=dict(details or {}), seed=seed, git_commit=_git_commit(),
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )  # fmt: skip
    write_json(folder / "manifest.json", asdict(manifest))
    return manifest


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """Return the manifest of a folder as plain data; an empty dict where there is none."""
    path = Path(folder) / "manifest.json"
    return read_json(path, OutputError, "make the folder again") if path.is_file() else {}


def _git_commit() -> str | None:
    """Return the commit of the checkout this package runs from, marked `-dirty` if changed; None in a wheel."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        run = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.strip() or None


class Clock:
    """Wall seconds by phase, as manifests want them: `seconds["count"]`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._start = self._last = time.perf_counter()

    @property
    def elapsed(self) -> float:
        """Seconds since the clock was made."""
        return time.perf_counter() - self._start

    def lap(self, name: str) -> None:
        """Add the seconds since the last lap, or since the start, to a phase."""
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Add the seconds of the block to a phase; what fails is not booked."""
        self._last = time.perf_counter()
        yield
        self.lap(name)


# --- User cache ------------------------------------------------------------------------------------


def find_user_cache(name: str) -> Path:
    """Return the folder of vocabkit's cache called `name`; it need not exist, and may vanish at any time.

    `XDG_CACHE_HOME` moves all of them, on every system.
    """
    if given := os.environ.get("XDG_CACHE_HOME"):
        return Path(given) / "vocabkit" / name
    home = Path.home()
    base = home / ".cache"
    if sys.platform == "darwin":
        base = home / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    return base / "vocabkit" / name
