"""One mutation after another through a reader: what it raised, where it wrote, what it allocated."""

from __future__ import annotations

import random
import resource
import shutil
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fuzz.readers import READERS, quietly
from vocabkit.core.errors import VocabkitError

ALLOWED = 1 << 30
"""Bytes that reading a file of a few kilobytes may add to the address space."""


@contextmanager
def limited_memory() -> Iterator[None]:
    """Let this process take no more than `ALLOWED` beyond what it has: more is a MemoryError, or an abort."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else None
    if pages is None:  # no such account on this system: mutations are tried without it
        yield
        return
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ALLOWED, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def run_trials(name: str, root: Path, count: int, first: int = 0) -> list[str]:
    """Damage a reader's files `count` times, seeds `first` and on, and return a line for each that went wrong.

    Right is to read the file or to raise a VocabkitError, to write nothing outside the folder of the trial, and
    to take no more than a gigabyte.
    """
    reader = READERS[name]
    root.mkdir(parents=True, exist_ok=True)
    whole = root / "whole" / "given"
    whole.parent.mkdir()
    reader.make(whole)
    work = root / "work"
    # Once undamaged: what a first call loads is not the mutation's, and a reader that refuses all is no reader.
    shutil.copytree(whole, work / "in" / "given")
    quietly(reader.read, work / "in" / "given")
    shutil.rmtree(work)
    wrong = []
    with limited_memory():
        for seed in range(first, first + count):
            said = _try(name, whole, work, seed)
            if said is not None:
                wrong.append(said)
            left = [
                path.name
                for path in (*root.iterdir(), *work.iterdir())
                if path.name not in ("whole", "work", "in")
            ]
            if left:
                wrong.append(f"{name} {seed}: wrote {', '.join(left)} outside its folder")
            shutil.rmtree(work)
    return wrong


def _try(name: str, whole: Path, work: Path, seed: int) -> str | None:
    given = work / "in" / "given"
    shutil.copytree(whole, given)
    chance = random.Random(f"{name} {seed}")
    said = READERS[name].mutate(given, chance)
    try:
        quietly(READERS[name].read, given)
    except VocabkitError as error:
        told = error.message.strip() and (error.hint or "").strip()
        return None if told else f"{name} {seed}: {said}: no message or no hint: {error.message!r:.120}"
    except BaseException as error:  # a panic of a library in Rust is no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if "/vocabkit/" in frame.filename]
        place = f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else "elsewhere"
        return f"{name} {seed}: {said}: {type(error).__name__} at {place}: {str(error)[:120]!r}"
    return None
