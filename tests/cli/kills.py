"""Runs a command in a child process and kills it at a chosen change to the disk: `python -m tests.cli.kills`.

Points are changes to files that Python makes (open to write, rename, make, remove), counted by an audit hook,
so that a kill falls between two steps and never depends on a clock. Children are forked from a process that
has everything imported: a command then costs what it does and not its start.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

CHANGES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "shutil.rmtree", "ctypes.call_function")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
PATIENCE = 5.0
"""Seconds after which no process of a killed command may live."""


def run_command(words: list[str], at: int = 0) -> tuple[int, list[str], str]:
    """Run a command in a session of its own; kill it before change number `at`.

    Return its exit code (negative: the signal that ended it), the changes by kind, and its session.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        made: list[str] = []
        root = str(Path.cwd())

        def watch(event: str, arguments: tuple[Any, ...]) -> None:
            if event == "open":
                path, flags = arguments[0], arguments[2]
                changes = isinstance(path, str) and bool((flags or 0) & WRITES) and "cache" not in path
            else:
                changes = event in CHANGES
            if changes and (event != "open" or Path(arguments[0]).absolute().is_relative_to(root)):
                made.append(event)
                if len(made) == at:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.argv = ["vocabkit", *words]
        sys.addaudithook(watch)
        code = 101
        try:
            from cli.main import app

            app(words)
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            os.write(write, " ".join(made).encode()[-60_000:])
            os._exit(code)
    os.close(write)
    _, status = os.waitpid(child, 0)
    changes = os.read(read, 1 << 16).decode().split()
    os.close(read)
    return os.waitstatus_to_exitcode(status), changes, str(child)


def run_here(words: list[str]) -> None:
    """Run a command in this process: what it loads and compiles its children have, 2.5 s for a fit of 0.2."""
    from cli.main import app

    sys.argv = ["vocabkit", *words]
    with Path("log").open("w", encoding="utf-8") as log, redirect_stdout(log):
        try:
            app(words)
        except SystemExit as end:
            if end.code:
                raise RuntimeError(f"{words}: {end.code}") from end


def find_orphans(session: str) -> list[str]:
    """The processes of a session that still live after `PATIENCE`."""
    end = time.monotonic() + PATIENCE
    while True:
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            try:
                fields = (place / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[3] == session and fields[0] != "Z":
                found.append(place.name)
        if not found or time.monotonic() > end:
            return found
        time.sleep(0.05)


def digest_folder(folder: Path) -> dict[str, str] | None:
    """What a folder holds, but for what two equal runs differ in: times, and the words of the command."""
    if folder.is_file():
        return {"": hashlib.md5(folder.read_bytes(), usedforsecurity=False).hexdigest()}
    if not folder.is_dir():
        return None
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            if path.suffix in (".json", ".jsonl"):
                data = "\n".join(
                    json.dumps(_drop_times(json.loads(line)), sort_keys=True)
                    for line in ([data.decode()] if path.suffix == ".json" else data.decode().splitlines())
                ).encode()
            found[path.relative_to(folder).as_posix()] = hashlib.md5(data, usedforsecurity=False).hexdigest()
    # What is derived from counts may be there or not, and a log is of what happened.
    happened = ("spans/", "log.jsonl", "curve.svg")
    return {name: digest for name, digest in found.items() if not name.startswith(happened)}


def _drop_times(value: Any) -> Any:
    # A digest is of what else is compared here, times among it.
    volatile = ("seconds", "created", "command", "git_commit", "outputs", "digest", "digests")
    if isinstance(value, dict):
        return {key: _drop_times(item) for key, item in value.items() if key not in volatile}
    return [_drop_times(item) for item in value] if isinstance(value, list) else value


def choose_points(changes: list[str], wanted: int) -> list[int]:
    """So many points among the changes, from 1: half about the last renames, where an output is named."""
    named = [at for at, kind in enumerate(changes, 1) if kind in ("os.rename", "ctypes.call_function")]
    about = sorted({min(at + after, len(changes)) for at in named for after in (0, 1)})[-wanted // 2 :]
    rest = [1 + index * len(changes) // wanted for index in range(wanted)]
    return sorted({*about, *rest[: wanted - len(about)], len(changes)})


def try_points(words: list[str], output: str, wanted: int, before: str | None, goes_on: bool) -> list[str]:
    """Kill a command at `wanted` points; return what is wrong. `before` is a copy of what the output held.

    An output that `goes_on` is a folder that the next run takes up, as one of `pretrain`.
    """
    target = Path(output)
    # The same bytes, and the start of a process saved.
    again_words = [
        {"2": "1"}.get(word, word) if words[at - 1] == "--workers" else word for at, word in enumerate(words)
    ]

    def reset() -> None:
        for path in (*Path().glob(f"{output}*"), *Path().glob(f".{output}*")):
            if path.is_file():
                path.unlink()
            elif path.name != before:
                shutil.rmtree(path)
        if before is not None:
            shutil.copytree(before, target)

    reset()
    code, changes, _ = run_command(words)
    if code != 0:
        return [f"not killed: exit code {code}: {Path('log').read_text()}"]
    whole, old = digest_folder(target), before and digest_folder(Path(before))
    wrong = []
    for point in choose_points(changes, wanted):
        where = f"killed before change {point} of {len(changes)} ({changes[point - 1]})"
        reset()
        code, _, session = run_command(words, at=point)
        if code not in (-signal.SIGKILL, 0):
            wrong.append(f"{where}: exit code {code}: {Path('log').read_text()}")
        if orphans := find_orphans(session):
            wrong.append(f"{where}: processes {orphans} live on")
        left = digest_folder(target)
        if left not in (whole, old) and not goes_on:
            wrong.append(f"{where}: left half an output: {left}")
        done = left is not None and left == whole and before is None and not goes_on
        code, *_ = run_command([*again_words, "--force"] if done else again_words)
        if code != 0:
            wrong.append(f"{where}: again: exit code {code}: {Path('log').read_text()}")
        again = digest_folder(target) or {}
        if again != (whole or {}):
            names = sorted(k for k in {*again, *(whole or {})} if again.get(k) != (whole or {}).get(k))
            wrong.append(f"{where}: again: not equal: {names}")
        if hidden := [path.name for path in Path().glob(".*")]:
            wrong.append(f"{where}: again: {hidden} stay")
    return wrong


if __name__ == "__main__":
    task = json.loads(sys.argv[1])
    os.chdir(task["folder"])
    for name in task["imports"]:
        __import__(name)
    for step in task["steps"]:
        if step[0] == "model":
            from vocabkit.extension.sample_checkpoint import write_sample_checkpoint

            write_sample_checkpoint("model", step[1], width=8, layers=1)
        else:
            run_here(step)
    print(
        json.dumps(try_points(task["words"], task["output"], task["points"], task["before"], task["goes_on"]))
    )
