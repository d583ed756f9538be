"""What was run, from what, with what: fingerprints, manifests, folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
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
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from vocabkit.core.errors import OutputError

BACKENDS = (
    "vocabkit", "numpy", "duckdb", "sentencepiece", "tokenizers", "numba", "regex", "unicodedata2",
    "fonttools", "icu4py", "jinja2", "tiktoken", "pandas", "pydantic", "typer", "rich", "zstandard", "fsspec",
    "gflanguages", "babel", "django", "torch", "transformers",
)  # fmt: skip
MANIFEST_SCHEMA = 1


def package_versions(names: Iterable[str] = BACKENDS) -> dict[str, str | None]:
    """Return the installed version of each package, None where it is not installed. Imports none of them."""
    found: dict[str, str | None] = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def fingerprint_file(path: str | Path) -> str:
    """Return the BLAKE2b-160 digest of a file's bytes, in hex."""
    digest = hashlib.blake2b(digest_size=20)
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


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
        command=[Path(sys.argv[0]).name, *sys.argv[1:]],
        config=dict(config or {}),
        inputs=dict(inputs or {}),
        outputs=outputs,
        seconds={name: round(value, 3) for name, value in (seconds or {}).items()},
        details=dict(details or {}),
        seed=seed,
        git_commit=_git_commit(),
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
    text = json.dumps(asdict(manifest), ensure_ascii=False, indent=1)
    (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")
    return manifest


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """Return the manifest of a folder as plain data; an empty dict where there is none."""
    path = Path(folder) / "manifest.json"
    if not path.is_file():
        return {}
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return data


@contextlib.contextmanager
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


@contextlib.contextmanager
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
            raise OutputError(
                f"{target}: will not replace the folder you are in", "choose another -o"
            )


def check_inputs(target: Path, inputs: Iterable[str | Path]) -> None:
    """Raise `OutputError` where the output would take the place of what it is made from, under `force`."""
    place = target.resolve()
    for item in inputs:
        source = Path(item).resolve()
        if place == source or place in source.parents:
            raise OutputError(
                f"{target}: would replace {item}, from which it is made",
                "choose another -o",
            )


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
