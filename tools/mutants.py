"""Say how many small wrongs in the code the quick tests find: `make mutants`, or `tools/mutants.py --count 20`.

A mutant is one operator of vocabkit/ turned into its neighbour: `<` into `<=`, `+` into `-`, `and` into `or`.
The tests of its stage run on a copy of the tree, then, if those pass, all quick tests. A mutant that no test
fails on is a survivor: a gap in the tests, or code that does not matter.
"""

from __future__ import annotations

import argparse
import ast
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Operator → how it is spelled, and its neighbour.
OPERATORS: dict[type[ast.AST], tuple[str, str]] = {
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.In: ("in", "not in"), ast.NotIn: ("not in", "in"),
    ast.Is: ("is", "is not"), ast.IsNot: ("is not", "is"), ast.Add: ("+", "-"), ast.Sub: ("-", "+"),
    ast.Mult: ("*", "//"), ast.Div: ("/", "*"), ast.FloorDiv: ("//", "*"), ast.And: ("and", "or"),
    ast.Or: ("or", "and"),
}  # fmt: skip
# What a test needs at most; the slowest stage takes a quarter of it.
PATIENCE = 900


@dataclass(frozen=True)
class Mutant:
    """One change: the bytes `start` to `stop` of a file become `after`."""

    path: Path
    line: int
    start: int
    stop: int
    before: str
    after: str

    def describe(self) -> str:
        """Return where it is and what it turns into what."""
        return f"{self.path}:{self.line}: {self.before} → {self.after}"


def find_mutants(path: Path) -> Iterator[Mutant]:
    """Yield every mutant of a file."""
    source = (ROOT / path).read_bytes()
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    def place(line: int, column: int) -> int:
        return starts[line - 1] + column

    def between(left: ast.expr, operator: type[ast.AST], right: ast.expr) -> Iterator[Mutant]:
        first = place(left.end_lineno or 0, left.end_col_offset or 0)
        gap = source[first : place(right.lineno, right.col_offset)].decode()
        spelled, after = OPERATORS[operator]
        at = gap.find(spelled)
        if at >= 0 and "#" not in gap:
            begin = first + len(gap[:at].encode())
            yield Mutant(path, right.lineno, begin, begin + len(spelled), spelled, after)

    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            for left, operator, right in zip(
                [node.left, *node.comparators], node.ops, node.comparators, strict=False
            ):
                yield from between(left, type(operator), right)
        elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS and not _is_text(node):
            yield from between(node.left, type(node.op), node.right)
        elif isinstance(node, ast.BoolOp):
            for left, right in zip(node.values, node.values[1:], strict=False):
                yield from between(left, type(node.op), right)


def _is_text(node: ast.BinOp) -> bool:
    parts = (node.left, node.right)
    return any(
        isinstance(p, ast.JoinedStr) or (isinstance(p, ast.Constant) and isinstance(p.value, str))
        for p in parts
    )


def is_killed(mutant: Mutant, tree: Path) -> bool:
    """Return whether the tests of its stage, or else any quick test, fail on a copy of the tree with it."""
    target = tree / mutant.path
    whole = target.read_bytes()
    target.write_bytes(whole[: mutant.start] + mutant.after.encode() + whole[mutant.stop :])
    try:
        stage = tree / "tests" / mutant.path.parts[1]
        own = [str(stage)] if stage.is_dir() else []
        return (bool(own) and _fails(tree, own)) or _fails(tree, ["tests"])
    finally:
        target.write_bytes(whole)


def _fails(tree: Path, what: list[str]) -> bool:
    options = ["-x", "-q", "-p", "no:cacheprovider", "--numprocesses", "2", "-m", "not slow and not network"]
    command = [sys.executable, "-m", "pytest", *options, *what]
    try:
        return (
            subprocess.run(command, cwd=tree, capture_output=True, timeout=PATIENCE, check=False).returncode
            != 0
        )
    except subprocess.TimeoutExpired:  # a loop without end is found out too
        return True


def main() -> int:
    """Sample, run, print a line a mutant and the share killed; exit 1 below `--least`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--least", type=float, default=0.92, help="the share that must be killed")
    parser.add_argument("modules", nargs="*", help="files of vocabkit/ to sample; all by default")
    given = parser.parse_args()
    paths = [Path(name) for name in given.modules] or [
        p.relative_to(ROOT) for p in (ROOT / "vocabkit").rglob("*.py")
    ]
    found = [mutant for path in sorted(paths) for mutant in find_mutants(path)]
    chosen = random.Random(given.seed).sample(found, min(given.count, len(found)))
    survivors = []
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        listed = subprocess.run(
            ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        for name in listed.splitlines():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, tree / name)
        # Tests that fail anyway would kill every mutant; those of Ctrl-C fail where it is ignored (nohup).
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if _fails(tree, ["tests"]):
            sys.exit("error: the quick tests fail without any mutant\nhint: make test")
        for number, mutant in enumerate(chosen, 1):
            killed = is_killed(mutant, tree)
            survivors += [] if killed else [mutant]
            said = "killed" if killed else "SURVIVED"
            sys.stdout.write(f"{number}/{len(chosen)} {said}: {mutant.describe()}\n")
            sys.stdout.flush()
    share = 1 - len(survivors) / max(len(chosen), 1)
    sys.stdout.write(f"{share:.1%} of {len(chosen)} mutants killed, of {len(found):,} there are\n")
    return int(share < given.least)


if __name__ == "__main__":
    sys.exit(main())
