"""Fuzz the readers at length: `python -m tests.fuzz [--count 20000] [--first 0] [READER …]`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.fuzz.readers import READERS
from tests.fuzz.trials import run_trials


def main() -> int:
    """Run the trials, print what went wrong, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("readers", nargs="*", metavar="READER", help=f"of {', '.join(READERS)}; all by default")
    parser.add_argument("--count", type=int, default=20_000, help="mutations a reader")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    given = parser.parse_args()
    total = 0
    for name in given.readers or READERS:
        with tempfile.TemporaryDirectory() as folder:
            wrong = run_trials(name, Path(folder) / "fuzz", given.count, given.first)
        total += len(wrong)
        sys.stdout.write(f"{name}: {given.count} mutations, {len(wrong)} wrong\n")
        kinds = Counter(line.partition(": ")[2].rpartition(": ")[2] for line in wrong)
        sys.stdout.writelines(f"  {line}\n" for line in wrong[:20])
        sys.stdout.write(f"  {len(kinds)} messages\n" if kinds else "")
        sys.stdout.flush()
    return int(total > 0)


if __name__ == "__main__":
    sys.exit(main())
