"""Whether the command line still does the same, to the byte: `python -m tests.house.same_bytes [--write]`.

Runs every verb on the built-in sample, and compares what it writes, prints and says of mistakes with
tests/golden/same_bytes.txt. `--write` rewrites that file: do so only where a change is meant, and look at
the differences first. The outputs stay in build/same-bytes/work.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.house.same_bytes_digests import (
    Item,
    describe_machine,
    digest_folder,
    read_item,
)
from tests.house.same_bytes_lanes import ROOT, prepare_process, run_steps
from tests.house.same_bytes_steps import UNDONE, Step, list_steps, write_inputs

GOLDEN = ROOT / "tests" / "golden" / "same_bytes.txt"
HEAD = """\
# What every verb writes and prints on the built-in sample, in digests: `make same-bytes` compares with it.
# Rewritten by `python -m tests.house.same_bytes --write`. A line: step/file, digest, and where results may
# differ between processors: how many numbers, their sum, and their L2 norm.
"""
MACHINE = "# machine "


@dataclass(frozen=True, slots=True)
class Golden:
    """A list of items, and the machine it was made on."""

    machine: str
    items: Mapping[str, Item]

    def to_text(self) -> str:
        """The file's text."""
        lines = [f"{path} {self.items[path]}" for path in sorted(self.items)]
        return f"{HEAD}{MACHINE}{self.machine}\n" + "\n".join(lines) + "\n"

    @classmethod
    def from_text(cls, text: str) -> Golden:
        """Read what `to_text` wrote."""
        machine, items = "", {}
        for line in text.splitlines():
            if line.startswith(MACHINE):
                machine = line.removeprefix(MACHINE)
            elif line and not line.startswith("#"):
                path, said = line.split(" ", 1)
                items[path] = read_item(said)
        return cls(machine, items)


def list_differences(golden: Golden, found: Golden) -> list[tuple[str, str]]:
    """What differs, as kind and path: missing, new or changed."""
    same_machine = golden.machine == found.machine
    differences = []
    for path in sorted({*golden.items, *found.items}):
        before, after = golden.items.get(path), found.items.get(path)
        if after is None:
            differences.append(("missing", path))
        elif before is None:
            differences.append(("new", path))
        elif not before.agrees(after, same_machine):
            differences.append(("changed", path))
    return differences


def run_all(folder: Path) -> tuple[Golden, list[str]]:
    """Run every step in a fresh folder; return what was found, and what went otherwise than expected."""
    work, logs = folder / "work", folder / "logs"
    shutil.rmtree(folder, ignore_errors=True)
    work.mkdir(parents=True)
    logs.mkdir()
    # A cache of its own: what an earlier tree compiled or measured must not be taken for this one's.
    prepare_process(folder / "cache")
    write_inputs(work)
    steps = list_steps()
    failures = []
    for step, code, seconds in run_steps(steps, work, logs):
        if os.environ.get("SAME_BYTES_TIMES"):
            print(f"{seconds:7.1f} s  {step.name}", flush=True)
        if code != step.code:
            failures.append(f"{step.name}: exit code {code} instead of {step.code}: {logs}/{step.name}.err")
    failures += [] if failures else _check_undone(work)
    return Golden(describe_machine(), _collect(steps, work, logs)), failures


def _collect(steps: Sequence[Step], work: Path, logs: Path) -> dict[str, Item]:
    """The files that steps wrote, and what they printed."""
    exact = {step.name for step in steps if step.exact}
    names = {work: "<WORK>", ROOT: "<ROOT>", Path(sys.prefix): "<ENVIRONMENT>"}
    items = digest_folder(work, names, exact | {"inputs"})
    streams = {f"{step.name}.{kind}" for step in steps if step.exact for kind in ("out", "err", "in")}
    printed = digest_folder(logs, names, streams)
    for path, item in printed.items():
        step, _, kind = path.rpartition(".")
        if kind != "in":
            items[f"{step}/<std{kind}>"] = item
    return items


def _check_undone(work: Path) -> list[str]:
    """Which undone folders are not their originals, file by file."""
    wrong = []
    for undone, original in UNDONE.items():
        first, second = (
            {
                path.relative_to(work / name): path.read_bytes()
                for path in (work / name).rglob("*")
                if path.is_file()
            }
            for name in (undone, original)
        )
        if first != second:
            differ = sorted(str(path) for path in {*first, *second} if first.get(path) != second.get(path))
            wrong.append(f"{undone}: not {original} again: {', '.join(differ)}")
    return wrong


def _report(differences: Sequence[tuple[str, str]], golden: Golden, found: Golden, work: Path) -> None:
    for kind, path in differences:
        step, _, name = path.partition("/")
        place = work / path
        if name.startswith("<std"):
            place = work.parent / "logs" / f"{step}.{name[4:-1]}"
        print(f"{kind:8} {step:22} {name or step:50} {place}")
        if kind == "changed":
            print(f"{'':8} was {golden.items[path]}; is {found.items[path]}")
    if golden.machine != found.machine:
        print(f"another machine: golden {golden.machine}; this one {found.machine}")
        print("items with numbers were held to agree within a thousandth, all others to be equal")


def main(words: Sequence[str] | None = None) -> int:
    """Run, compare, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="rewrite the golden file")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "same-bytes")
    given = parser.parse_args(words)
    start = time.perf_counter()
    found, failures = run_all(given.folder.resolve())
    for failure in failures:
        print(f"failed: {failure}")
    golden = Golden.from_text(GOLDEN.read_text("utf-8")) if GOLDEN.is_file() else Golden("", {})
    differences = list_differences(golden, found)
    if golden.items:
        _report(differences, golden, found, given.folder.resolve() / "work")
    print(
        f"{len(found.items):,} items in {time.perf_counter() - start:.0f} s: "
        f"{len(differences)} differ, {len(failures)} failed"
    )
    if given.write and not failures:
        GOLDEN.write_text(found.to_text(), encoding="utf-8")
        print(f"wrote {GOLDEN}")
        return 0
    return 1 if differences or failures else 0


if __name__ == "__main__":
    sys.exit(main())
