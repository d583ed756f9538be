"""Count `mono` (90 languages, 569 MB) with the command line. Bar: 25 s on two cores, 3 GB peak."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from measure import HEADER, corpora, machine, measure


def main() -> None:
    """Print one Markdown row; keep the counts where the first argument says."""
    corpus = corpora() / "mono"
    keep = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory() as folder:
        output = keep or Path(folder) / "counts"
        shutil.rmtree(output, ignore_errors=True)
        command = [sys.executable, "-m", "vocabkit", "count", str(corpus), "-o", str(output), "-q"]
        print(machine())
        print(HEADER)
        print(measure(command).row("count mono"))


if __name__ == "__main__":
    main()
