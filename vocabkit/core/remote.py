"""Files behind addresses such as s3://bucket/folder: found, read over a connection that may break, and written.

Everything goes through fsspec, whose file systems are packages of their own (extras `s3`, `gcs`, `hf`). What is
read is asked for exactly, or in order where a server gives no ranges; a lost connection is taken up again where
it broke. A folder is written here first and sent when it is whole, its index last: it is there, or it is not.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from vocabkit.core.errors import CorpusError, MissingExtra, OutputError, VocabkitError, first_line
from vocabkit.core.folders import find_user_cache, hold_folder

# Protocol → the extra that installs its file system.
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "hf": "hf"}
_TRIES = 5
_PATIENCE = 0.5
"""Seconds before the second try, doubled each time: 7.5 in all. s3fs and botocore have tries of their own."""
_AHEAD = 8 << 20
"""Bytes asked for at once where a file is read in order."""
# What tells an object from its successor, the surest first.
_STAMPS = (
    "ETag", "etag", "blob_id", "md5Hash", "generation", "Content-MD5", "content_md5", "LastModified",
    "Last-Modified", "last_modified", "updated", "mtime", "created",
)  # fmt: skip
_WEB = ("http://", "https://")
_FILES = (".txt", ".jsonl", ".parquet", ".gz", ".zst")
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
_SENDING = ".vocabkit-sending"


def open_file_system(url: str) -> tuple[Any, str]:
    """Return the file system behind a URL and the path in it. Raises `MissingExtra`, `CorpusError`."""
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise MissingExtra(f"{url}: reading URLs needs fsspec", "pip install fsspec") from error
    try:
        file_system, inner = url_to_fs(url)
    except ImportError as error:  # s3fs, gcsfs, … are packages of their own
        extra = _EXTRAS.get(url.partition("://")[0])
        hint = f"pip install 'vocabkit[{extra}]'" if extra else "install the package the message names"
        raise MissingExtra(f"{url}: {error}", hint) from error
    except ValueError as error:
        raise CorpusError(f"{url}: {error}", "a URL such as s3://bucket/folder/*.jsonl") from error
    return file_system, str(inner)


@dataclass(frozen=True, slots=True)
class Found:
    """A file behind a URL: its size in bytes, None where a server does not say; the stamp changes with it."""

    url: str
    size: int | None
    stamp: str


def find_files(url: str) -> list[Found]:
    """Return the files that a URL names, sorted: those that a glob matches, those in a folder, or the one.

    Raises `CorpusError` for an address where nothing is, or that may not be read, and `MissingExtra`.
    """
    file_system, inner = open_file_system(url)
    try:
        # Listings are remembered by the process, and files may be new since.
        file_system.invalidate_cache()
        if any(mark in inner for mark in "*?["):
            entries = file_system.glob(inner, detail=True)
        elif url.startswith(_WEB) and url.lower().endswith(_FILES):
            # To list what is below, the file would be fetched and read for links.
            entries = {inner: file_system.info(inner)}
        else:
            entries = file_system.find(inner, detail=True) or {inner: file_system.info(inner)}
        return sorted(
            (
                _describe(file_system, path, entry)
                for path, entry in entries.items()
                if entry.get("type", "file") == "file"
            ),
            key=lambda found: found.url,
        )
    except VocabkitError:
        raise
    except FileNotFoundError as error:
        raise CorpusError(f"{url}: nothing is there", "see that the address is right") from error
    except Exception as error:
        hint = "see that the address is right, and that you may read it"
        raise CorpusError(f"{url}: {first_line(error) or type(error).__name__}", hint) from error


def _describe(file_system: Any, path: str, entry: Mapping[str, Any]) -> Found:
    if entry.get("size") is None:  # a listing of links says nothing of sizes
        entry = file_system.info(path)
    size = entry.get("size")
    return Found(str(file_system.unstrip_protocol(path)), None if size is None else int(size), _stamp(entry))


def _stamp(entry: Mapping[str, Any]) -> str:
    """Return what an entry of a listing says that changes with the object, or nothing."""
    found = next((entry[name] for name in _STAMPS if entry.get(name)), "")
    # A listing and a single answer may differ in the quotes of an ETag.
    return found.isoformat() if isinstance(found, datetime) else str(found).strip('"')


def serves_ranges(url: str) -> bool:
    """Whether parts of a file can be asked for. A web server may send all of it, whatever is asked."""
    if not url.startswith(_WEB):
        return True
    file_system, inner = open_file_system(url)
    try:
        with file_system.open(inner, "rb", block_size=1, cache_type="none") as file:
            file.seek(1)
            return len(file.read(1)) == 1
    except Exception:
        return False


# --- Reading ---------------------------------------------------------------------------------------


class RemoteFile(io.RawIOBase):
    """A file behind a URL, open for reading. A connection that is lost is opened anew at the same place.

    In order (`streamed`) it is read ahead, from a web server as it comes; otherwise exactly what is asked for.
    Raises `CorpusError` when tries are used up, or the file is another by then.
    """

    def __init__(self, url: str, size: int | None, stamp: str, *, streamed: bool) -> None:
        super().__init__()
        self._url, self._size, self._stamp, self._streamed = url, size, stamp, streamed
        self._place = self._at = 0  # of the next byte, here and in the file below
        self._file: Any = None

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True: from a server without ranges what lies before is read and thrown away."""
        return True

    def tell(self) -> int:
        """Return the place of the next byte."""
        return self._place

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place, from the start, from here or from the end."""
        self._place = (0, self._place, self._size or 0)[whence] + offset
        return self._place

    def read(self, size: int | None = -1) -> bytes:
        """Return so many bytes, fewer only at the end."""
        wanted = -1 if size is None or size < 0 else size
        if self._size is not None:
            left = max(0, self._size - self._place)
            wanted = left if wanted < 0 else min(wanted, left)
        parts: list[bytes] = []
        while wanted:
            read = partial(self._read_some, wanted)
            data = _try_again(self._url, f"after {self._place:,} bytes", read, self._let_go)
            if not data:
                break
            parts.append(data)
            self._place += len(data)
            wanted -= len(data) if wanted > 0 else 0
        return b"".join(parts)

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer; return how many bytes it took."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Let the connection go."""
        self._let_go()
        super().close()

    def _read_some(self, wanted: int) -> bytes:
        if self._file is not None and self._at != self._place:
            if self._streamed:
                self._let_go()
            else:
                self._file.seek(self._place)
        if self._file is None:
            self._open()
        data: bytes = self._file.read(wanted)
        if not data and self._size is not None:
            raise ConnectionError(f"ended before its {self._size:,} bytes")
        self._at = self._place + len(data)
        return data

    def _open(self) -> None:
        file_system, inner = open_file_system(self._url)
        if self._place and self._stamp and _stamp(file_system.info(inner)) != self._stamp:
            raise CorpusError(f"{self._url}: has changed while it was read", "run the same command again")
        if not self._streamed:
            # DuckDB asks for exact ranges; a cache only repeats them: 855 MB fetched for a file of 127.
            self._file = file_system.open(inner, "rb", cache_type="none")
            self._file.seek(self._place)
        elif self._url.startswith(_WEB) and not (self._place and serves_ranges(self._url)):
            # As it comes, which every web server can; what was read before is read again.
            self._file, left = file_system.open(inner, "rb", block_size=0), self._place
            while left and (data := self._file.read(min(left, _AHEAD))):
                left -= len(data)
        else:
            self._file = file_system.open(inner, "rb", block_size=_AHEAD)
            self._file.seek(self._place)

    def _let_go(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(Exception):
                file.close()


Value = TypeVar("Value")


def _try_again(url: str, when: str, act: Callable[[], Value], recover: Callable[[], None]) -> Value:
    """Return what `act` does, tried several times. Raises `CorpusError` where nothing helps."""
    for number in range(_TRIES):
        try:
            return act()
        except (VocabkitError, MemoryError):
            raise
        except (FileNotFoundError, PermissionError) as error:
            recover()
            what = "is gone" if isinstance(error, FileNotFoundError) else "may not be read or written"
            raise CorpusError(
                f"{url}: {what} ({first_line(error)})", "see what is there, and your rights"
            ) from error
        except Exception as error:  # each file system has errors of its own for a lost connection
            recover()
            said = first_line(error) or type(error).__name__
            if "range requests" in str(error):
                hint = "fetch the file, and name it here"
                raise CorpusError(f"{url}: the server gives no parts of a file", hint) from error
            if number + 1 == _TRIES:
                raise CorpusError(
                    f"{url}: the connection was lost {when}, and {_TRIES - 1} more tries failed: {said}",
                    "run the same command again: what is finished is kept",
                ) from error
            time.sleep(_PATIENCE * 2**number)
    raise AssertionError("the last try returns or raises")


def make_file_system(url: str, size: int, stamp: str) -> tuple[Any, list[VocabkitError]]:
    """Return a file system that holds one remote file, for DuckDB, and where its errors can be found.

    It asks for exact ranges, and answers itself what need not be asked: the size, and a time of change, which
    not all file systems have and by which DuckDB knows a footer that it has read.
    """
    from fsspec import AbstractFileSystem

    failures: list[VocabkitError] = []

    class Exact:
        """A file for each thread: DuckDB reads ahead in several, each going to a place and reading there."""

        def __init__(self) -> None:
            self._own, self._opened = threading.local(), list[RemoteFile]()

        def _file(self) -> RemoteFile:
            if not hasattr(self._own, "file"):
                self._own.file = RemoteFile(url, size, stamp, streamed=False)
                self._opened.append(self._own.file)
            return cast(RemoteFile, self._own.file)

        def seek(self, offset: int, whence: int = 0) -> int:
            return self._file().seek(offset, whence)

        def tell(self) -> int:
            return self._file().tell()

        def read(self, wanted: int = -1) -> bytes:
            try:
                return self._file().read(wanted)
            except VocabkitError as error:  # DuckDB makes a text of it
                failures.append(error)
                raise

        def close(self) -> None:
            for file in self._opened:
                file.close()

    class OneFile(AbstractFileSystem):  # type: ignore[misc]
        protocol = url.partition("://")[0]
        cachable = False

        def open(self, path: str, mode: str = "rb", **_: Any) -> Exact:
            return Exact()

        def info(self, path: str, **_: Any) -> dict[str, Any]:
            return {"name": url, "size": size, "type": "file"}

        def glob(self, path: str, **_: Any) -> list[str]:
            return [url]

        def exists(self, path: str, **_: Any) -> bool:
            return True

        def modified(self, path: str) -> datetime:
            return _LONG_AGO

    return OneFile(), failures


# --- Writing ---------------------------------------------------------------------------------------


@contextmanager
def remote_folder(url: str, key: str, index: str, *, force: bool) -> Iterator[Path]:
    """Yield a path of this disk for a folder that is sent to `url` when the block ends well, and removed then.

    The folder is there already where only the sending failed before and the `key`, which says all that decides
    its content, is the same. The file `index` goes last. Raises `OutputError` where the address may not be
    written, or holds what is not to be replaced.
    """
    _check_address(url, index, force=force)
    place = find_user_cache("outputs") / hashlib.blake2b(url.encode(), digest_size=8).hexdigest()
    place.mkdir(parents=True, exist_ok=True)
    with hold_folder(place, Path(url), "writing"):
        folder, note = place / "folder", place / "key.json"
        wanted = json.dumps([url, key])
        if folder.exists() and not (note.is_file() and note.read_text(encoding="utf-8") == wanted):
            shutil.rmtree(folder)
        note.write_text(wanted, encoding="utf-8")
        try:
            yield folder
        except BaseException:
            if [*place.iterdir()] == [note]:  # nothing was finished
                shutil.rmtree(place, ignore_errors=True)
            raise
        try:
            _send_folder(folder, url, index)
        except VocabkitError as error:
            raise OutputError(
                f"{error.message}; the finished folder is kept in {folder}",
                "give the same command again, and it is sent without being made anew",
            ) from error
        shutil.rmtree(place, ignore_errors=True)


def _check_address(url: str, index: str, *, force: bool) -> None:
    """Raise `OutputError` unless nothing is at an address, or under `force` a folder that vocabkit wrote."""
    file_system, inner = open_file_system(url)
    if url.startswith(_WEB):
        raise OutputError(f"{url}: a web server is not written to", "choose another -o, as s3://bucket/folder")
    try:
        file_system.invalidate_cache()
        held = {path.removeprefix(inner).lstrip("/") for path in file_system.find(inner)}
    except FileNotFoundError:
        held = set()
    except Exception as error:
        hint = "see that the address is right, and that you may write there"
        raise OutputError(f"{url}: {first_line(error) or type(error).__name__}", hint) from error
    if not held or (_SENDING in held and index not in held):
        return
    if not force:
        raise OutputError(f"{url}: exists and is not empty", "pass --force to replace it, or choose another -o")
    if index not in held:
        raise OutputError(
            f"{url}: was not written by vocabkit, and --force replaces nothing else", "choose another -o"
        )


def _send_folder(folder: Path, url: str, index: str) -> None:
    """Send a folder's files to an address, the index last. Raises `CorpusError` when tries are used up."""
    file_system, inner = open_file_system(url)

    def do(name: str, act: Callable[[], object]) -> None:
        _try_again(f"{url}/{name}", "while it was sent", act, lambda: None)

    listed: list[str] = _try_again(url, "while it was listed", partial(file_system.find, inner), lambda: None)
    before = {path.removeprefix(inner).lstrip("/") for path in listed}
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    # From here on there is no folder, until its index is there.
    do(_SENDING, lambda: file_system.pipe_file(f"{inner}/{_SENDING}", b""))
    for name in sorted(before - {_SENDING}, key=lambda name: name != index):
        do(name, partial(file_system.rm_file, f"{inner}/{name}"))
    for name in sorted(names, key=lambda name: name == index):
        do(name, partial(file_system.put_file, str(folder / name), f"{inner}/{name}"))
    do(_SENDING, lambda: file_system.rm_file(f"{inner}/{_SENDING}"))
