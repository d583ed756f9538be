"""What a verb reads and leaves on disk: JSON, folders that appear whole or not at all, and their manifests.

Three kinds of folder in the making: `output_folder` is gone with its process, `open_staging` (extend) and
`corpus.shard_map.open_work` (count, prepare) keep what is finished for the next run, one process at a time.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from vocabkit.core.errors import CheckpointError, OutputError, VocabkitError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a disk, a share of it, or a limit on a file's size says when there is no more room."""


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file that is whole whenever it is there, in place of one that may be there."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8", newline="\n")
        if path.exists():  # what is new in a folder is flushed with it
            flush_path(temporary)
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


def read_toml(path: Path, error: type[VocabkitError], hint: str) -> dict[str, Any]:
    """Return the tables of a TOML file. Raises `error`, naming the file and what is wrong with it."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as found:
        raise error(f"{path}: {(found.strerror or 'cannot be read').lower()}", hint) from found
    except (ValueError, RecursionError) as found:
        raise error(f"{path}: not valid TOML: {found}", hint) from found


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

_ADDRESS = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+):/+")


def find_address(path: str | Path) -> str | None:
    """Return the address that a path is, with the slashes that `Path` takes out; None for a path of this disk.

    >>> find_address(Path("s3://bucket/folder"))
    's3://bucket/folder'
    """
    text = str(path)
    found = _ADDRESS.match(text)
    if found is None or found[1].lower() == "file":
        return None
    # One slash is all that `Path` leaves; a folder here may be called `s3:` all the same.
    if "://" not in text and Path(text).exists():
        return None
    return f"{found[1].lower()}://{text[found.end() :]}"


_KINDS = {
    stat.S_ISREG: "a file", stat.S_ISCHR: "a device", stat.S_ISBLK: "a device", stat.S_ISFIFO: "a pipe",
    stat.S_ISSOCK: "a socket",
}  # fmt: skip


def check_output(
    target: Path, inputs: Iterable[str | Path | None] = (), *, force: bool, known: Collection[str] = ()
) -> None:
    """Raise `OutputError` unless `target` may be written and is apart from what it is made from.

    It may where it is absent or an empty folder. `force` also allows a folder that vocabkit wrote, as its
    manifest says or because it holds nothing but `known` names. A link to a folder is that folder. What a
    killed run took off its name is put back first. An address such as s3://bucket/out is no folder.
    """
    if url := find_address(target):
        # It would be a folder here called `s3:`, lost with the machine.
        raise OutputError(
            f"{url}: only `count` and `prepare` write to an address",
            f"choose a folder here with -o, and copy it: aws s3 cp --recursive DIR {shlex.quote(url)}",
        )
    place = _resolve(target)
    _restore_old(place)
    check_inputs(target, inputs)
    if not place.is_dir():
        return
    here = Path.cwd().resolve()
    if force and (place == here or place in here.parents):
        raise OutputError(f"{target}: will not replace the folder you are in", "choose another -o")
    names = {path.name for path in place.iterdir()}
    if names and not force:
        raise OutputError(
            f"{target}: exists and is not empty", "pass --force to replace it, or choose another -o"
        )
    if names - {*known} and not _is_ours(place):
        raise OutputError(
            f"{target}: was not written by vocabkit, and --force replaces nothing else",
            f"choose another -o, or empty it yourself: rm -r {shlex.quote(str(target))}",
        )


def check_inputs(target: Path, inputs: Iterable[str | Path | None]) -> None:
    """Raise `OutputError` where the output is one of the inputs, holds one, or lies within one.

    It would take the place of what it is made from, or be read as a part of it the next time.
    """
    place = _resolve(target)
    for item in inputs:
        if item is None:
            continue
        source = Path(item).resolve()
        if _is_within(source, place):
            raise OutputError(f"{target}: would replace {item}, from which it is made", "choose another -o")
        if source.is_dir() and _is_within(place, source):
            raise OutputError(f"{target}: lies within {item}, which is not to change", "choose another -o")


def _resolve(target: Path) -> Path:
    """Return where the folder really is. Raises `OutputError` for what is no folder, and cannot become one."""
    what = None
    try:
        mode = target.stat().st_mode
        what = next((name for test, name in _KINDS.items() if test(mode)), None)
    except FileNotFoundError:
        if target.is_symlink():
            what = "a link to nothing"
    except NotADirectoryError as error:
        hint = "choose another folder with -o"
        raise OutputError(f"{target}: a folder above it is a file", hint) from error
    if what is not None:
        raise OutputError(f"{target}: is {what}, not a folder", "choose another folder with -o")
    return target.resolve()


def _is_within(inner: Path, outer: Path) -> bool:
    """Whether one real path is another or below it, under whatever name the file system has for it."""
    if inner == outer or outer in inner.parents:
        return True
    try:
        found = outer.stat()
    except OSError:
        return False
    for place in (inner, *inner.parents):
        with suppress(OSError):
            if os.path.samestat(place.stat(), found):
                return True
    return False


def _is_ours(folder: Path) -> bool:
    """Whether vocabkit wrote a folder: its manifest says so, or the schema of another file."""
    for path in sorted(folder.glob("*.json")):
        with suppress(OSError), path.open("rb") as file:
            head = file.read(1 << 12)
            if b'"schema": "vocabkit.' in head:
                return True
            if path.name == "manifest.json":
                with suppress(ValueError, RecursionError, LookupError, TypeError):
                    if "vocabkit" in json.loads(head + file.read())["versions"]:
                        return True
    return False


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
# Beside an output NAME stand, hidden, `.NAME.tmp-…` (being written), `.NAME.old-…` (taken off its name where
# two folders cannot be exchanged) and what a killed run left to the next. Whoever uses one holds a lock on it,
# so one that can be locked is a dead process's.

_LEFT = r"\.(?:(?:tmp|old|scratch)-[0-9a-z]+|counting|preparing|partial)"
_EXCHANGE = 2  # RENAME_EXCHANGE of Linux, RENAME_SWAP of macOS


@contextmanager
def output_folder(path: str | Path, *, force: bool = False, known: Collection[str] = ()) -> Iterator[Path]:
    """Yield a temporary folder that becomes `path` when the block ends well, and is removed when it does not.

    Raises `OutputError` as `check_output` does before any work is done, and where `path` was written by
    another process meanwhile. A folder replaced under `force` stays untouched until its successor is complete.
    """
    target = Path(path)
    check_output(target, force=force, known=known)
    with made_parents(target), _fresh_folder(_resolve(target), "tmp") as temporary, name_full_disk(target):
        seen = identify_folder(target)
        yield temporary
        publish_folder(temporary, target, seen)


@contextmanager
def scratch_folder(beside: Path | None = None) -> Iterator[Path]:
    """Yield a folder for what is not kept, in the system's place for such or hidden beside a path.

    It is gone afterwards; so are those of the kind that killed processes left.
    """
    base = beside.resolve() if beside is not None else Path(tempfile.gettempdir()) / "vocabkit"
    _collect(base, r"\.scratch-[0-9a-z]+")
    with _fresh_folder(base, "scratch") as folder:
        yield folder


@contextmanager
def _fresh_folder(base: Path, kind: str) -> Iterator[Path]:
    """Yield a new folder `.NAME.KIND-…` beside `base`, held; remove what has that name afterwards."""
    folder = base.with_name(f".{base.name}.{kind}-{os.urandom(4).hex()}")
    folder.mkdir(mode=0o700 if kind == "scratch" else 0o777)
    try:
        with hold_folder(folder, base, "writing", create=True):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def made_parents(target: Path) -> Iterator[None]:
    """Make the folders above an output; those that were not there are gone again when the block fails."""
    made = [place for place in target.parents if not place.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        hint = "choose another folder with -o"
        raise OutputError(f"{target}: a folder above it is a file", hint) from error
    try:
        yield
    except BaseException:
        for place in made:
            with suppress(OSError):  # it holds something by now
                place.rmdir()
        raise


def identify_folder(target: Path) -> tuple[int, int] | None:
    """Return what tells a folder from one put in its place; None where there is none, or nothing in it."""
    try:
        found = target.stat()
        return (found.st_dev, found.st_ino) if any(target.iterdir()) else None
    except OSError:
        return None


def publish_folder(temporary: Path, target: Path, seen: tuple[int, int] | None) -> None:
    """Put a finished folder in the place of the output, which `identify_folder` gave `seen` of.

    Its files are on the disk before it has the name. There is no moment at which the name is gone: two folders
    are exchanged where the system can; elsewhere a kill in between is mended by `check_output` at the next
    start. Raises `OutputError` where the output is not what was seen, and leaves it then.
    """
    place = _resolve(target)
    _flush_tree(temporary)
    changed = OutputError(
        f"{target}: another process wrote it meanwhile", "keep what is there, or run again with another -o"
    )
    if identify_folder(place) != seen:
        raise changed
    if seen is None:
        try:
            temporary.rename(place)  # over an empty folder, but over nothing else
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            raise changed from error
    elif _exchange(temporary, place):
        if identify_folder(temporary) != seen:
            _exchange(temporary, place)
            raise changed
        shutil.rmtree(temporary, ignore_errors=True)
    else:
        _replace(temporary, place)
    with suppress(OSError):
        flush_path(place.parent)
    _collect(place, _LEFT)


def _replace(temporary: Path, place: Path) -> None:
    """Put a folder in the place of another in two steps, where the system cannot in one."""
    old = place.with_name(f".{place.name}.old-{os.urandom(4).hex()}")
    with hold_folder(place, place, "writing"):
        place.rename(old)
        try:
            temporary.rename(place)
        except OSError:
            old.rename(place)
            raise
    shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders' names at once; return whether this system and file system can."""
    import ctypes

    try:
        libc = ctypes.CDLL(None, use_errno=True)
        names = (os.fsencode(one), os.fsencode(other))
        if sys.platform == "darwin":
            return bool(libc.renamex_np(*names, _EXCHANGE) == 0)
        here = -100  # AT_FDCWD
        return bool(libc.renameat2(here, names[0], here, names[1], _EXCHANGE) == 0)
    except (AttributeError, OSError, TypeError):  # an older libc, or Windows
        return False


def _restore_old(place: Path) -> None:
    """Give a folder its name back where a run was killed after taking it off, before the next had it."""
    if place.exists() or not place.parent.is_dir():
        return
    for old in sorted(place.parent.glob(f"{glob.escape(f'.{place.name}.old-')}*")):
        handle = _lock(old)
        if handle is not None:
            with suppress(OSError):
                old.rename(place)
            os.close(handle)
            return


def _collect(place: Path, names: str) -> None:
    """Remove what dead processes left beside an output, of the names that match."""
    pattern = re.compile(re.escape(f".{place.name}") + names)
    for item in sorted(place.parent.iterdir()):
        if pattern.fullmatch(item.name):
            handle = _lock(item)
            if handle is not None:
                shutil.rmtree(item, ignore_errors=True)
                os.close(handle)


def flush_path(path: Path) -> None:
    """Force a file, or the names in a folder, to disk.

    A file that a library made its owner's alone, as safetensors does, gets the rights that the umask gives.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        found = os.fstat(handle)
        # One of several links is somebody's file too.
        if stat.S_IMODE(found.st_mode) == 0o600 and stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
            mask = os.umask(0o077)
            os.umask(mask)
            path.chmod(0o666 & ~mask)
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EROFS):  # no such thing on this file system
            raise
    finally:
        os.close(handle)


def _flush_tree(folder: Path) -> None:
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root, name)
            if not path.is_symlink():
                flush_path(path)
        with suppress(PermissionError):  # Windows opens no folders
            flush_path(Path(root))


@contextmanager
def name_full_disk(target: Path) -> Iterator[None]:
    """Turn a full disk inside the block into an `OutputError` that names the output.

    A failed write does not say which file it was; only the caller knows what was being made. One that does, of
    a file elsewhere such as a cache, is left to say so.
    """
    try:
        yield
    except Exception as error:
        if not is_full(error) or not _is_beside(getattr(error, "filename", None), target):
            raise
        what = error.strerror if isinstance(error, OSError) and error.strerror else os.strerror(errno.ENOSPC)
        raise OutputError(f"{target}: {what}", "free some space, or choose another folder with -o") from error


def is_full(error: Exception) -> bool:
    """Whether an exception, of whatever library, is about a disk without room."""
    if isinstance(error, VocabkitError):
        return False
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _FULL
    # DuckDB and safetensors hand the system's words on; NumPy has words of its own.
    said = (*map(os.strerror, _FULL), "Not enough free space", " requested and ", "max_temp_directory_size")
    return any(text in str(error) for text in said)


def _is_beside(name: object, target: Path) -> bool:
    """Whether a failed file is of an output's, or is not known."""
    if not isinstance(name, str | bytes):
        return True
    return target.resolve().parent in Path(os.fsdecode(name)).resolve().parents


# --- Folders that a killed run leaves to the next --------------------------------------------------


@contextmanager
def hold_folder(folder: Path, target: Path, doing: str, *, create: bool = False) -> Iterator[None]:
    """While the block runs no other process can hold `folder`, which must exist, or is made with `create`.

    A killed process lets it go. Raises `OutputError` where another one holds it, naming `target` and what is
    `doing` to it, as "preparing". Where the system or the file system has no such locks nothing is held: the
    next best is none.
    """
    handle = None
    while handle is None:
        if create:
            folder.mkdir(exist_ok=True)
        try:
            handle = _open_folder(folder)
        except FileNotFoundError:
            if create:  # removed by the run that held it
                continue
            raise
        if handle is None:
            break
        if _try_lock(handle) is False:
            os.close(handle)
            hint = "wait for it, or choose another -o"
            raise OutputError(f"{target}: another process is {doing} it", hint)
        if create and not _is_named(handle, folder):
            os.close(handle)
            handle = None
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _open_folder(folder: Path) -> int | None:
    """Return a handle of a folder, to be locked; None on a system without."""
    return None if sys.platform == "win32" else os.open(folder, os.O_RDONLY | os.O_DIRECTORY)


def _try_lock(handle: int) -> bool | None:
    """Lock an open folder; return False where another process has, None where there are no locks."""
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        return None
    except OSError as error:
        # Other numbers are those of file systems without locks.
        return False if error.errno in (errno.EWOULDBLOCK, errno.EACCES) else None
    return True


def _is_named(handle: int, folder: Path) -> bool:
    """Whether an open folder still has its name: the run that held it before may have removed it."""
    try:
        return os.path.samestat(os.fstat(handle), folder.stat())
    except OSError:
        return False


def _lock(folder: Path) -> int | None:
    """Return a lock on a folder that a dead process left; None where one lives, or it cannot be told."""
    try:
        handle = _open_folder(folder)
    except OSError:
        return None
    if handle is not None and not _try_lock(handle):
        os.close(handle)
        return None
    return handle


@contextmanager
def keep_folder(work: Path, target: Path, doing: str, mark: str, key: str) -> Iterator[Path]:
    """Yield the folder `work`, made and held: what a run of the same `key` left is in it, of another nothing.

    The key is in the file `mark` there. Raises `OutputError` as `hold_folder` does.
    """
    with hold_folder(work, target, doing, create=True):
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
    place = target.resolve()
    return place.with_name(f".{place.name}.partial")


@contextmanager
def open_staging(target: Path, key: str, *, force: bool) -> Iterator[Path]:
    """Yield the folder to fill, hidden beside `target`, which it becomes when the block ends well.

    What an interrupted run of the same `key` finished is in it: a checkpoint's shards may be many gigabytes.
    An error removes the folder; only a kill or Ctrl-C leaves it. Raises `OutputError` when `target` may not
    be written, or another process is writing it.
    """
    check_output(target, force=force)
    work, mark = _partial(target), ".extension-key"
    with made_parents(target), keep_folder(work, target, "writing", mark, key):
        check_output(target, force=force)  # the run that held it before may have finished
        seen = identify_folder(target)
        try:
            with name_full_disk(target):
                yield work
                (work / mark).unlink()
                publish_folder(work, target, seen)
        except Exception:
            shutil.rmtree(work, ignore_errors=True)
            raise


# --- Manifests -------------------------------------------------------------------------------------

BACKENDS = (
    "vocabkit", "numpy", "duckdb", "sentencepiece", "tokenizers", "numba", "regex", "unicodedata2",
    "fonttools", "icu4py", "jinja2", "tiktoken", "pandas", "pydantic", "typer", "rich", "backports.zstd",
    "fsspec", "gflanguages", "babel", "django", "torch", "transformers", "fastokens",
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
