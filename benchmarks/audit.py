"""Audit tokenizers on `ntrex` (122 languages × 1,997 lines, 48 MB): text, tokenizers, resamples.

Usage: python benchmarks/audit.py TOKENIZER...   (a .model, tiktoken ranks, a tokenizer.json).
Bars on two cores: text statistics, with what else is kept of a text, 20 s once; a .model or ranks 8 s
without integrity and 20 s with, a tokenizer.json 40 and 60 s; 2 GB; 1,000 resamples of 122 languages and 8
tokenizers 2 s.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from measure import HEADER, corpora, machine, measure

LANGUAGES, LINES, TOKENIZERS, RESAMPLES = 122, 1_997, 8, 1_000


def main() -> None:
    """Print a Markdown row for each step."""
    given = _read_arguments()
    if given.step:
        _STEPS[given.step]()
        return
    print(machine())
    print(HEADER)
    again = [sys.executable, __file__, "--step"]
    with tempfile.TemporaryDirectory() as folder:
        # Where the statistics of a text are kept: this run's own, so that the first measures them.
        os.environ["XDG_CACHE_HOME"] = folder
        for name in ("text statistics", "text statistics, kept"):
            _show(name, [*again, "text"])
        for tokenizer in given.tokenizers:
            command = [sys.executable, "-m", "vocabkit", "audit", tokenizer, "-q", "--force"]
            command += ["--corpus", str(corpora() / "ntrex"), "-o", f"{folder}/report"]
            name = "/".join(Path(tokenizer).parts[-2:])
            _show(f"{name}, without integrity", [*command, "--no-integrity"])
            _show(f"{name}, with integrity", command)
    print(measure([*again, "resamples"]).output)


def measure_statistics() -> None:
    """Read the text and find all that an audit keeps of it, or find it kept."""
    from vocabkit.auditing.parallel_text import read_audit_text
    from vocabkit.auditing.text_quality import find_facts
    from vocabkit.auditing.text_statistics import measure_text
    from vocabkit.core.languages import load_panel
    from vocabkit.corpus.shard_map import open_executor
    from vocabkit.corpus.sources import open_corpus

    text = read_audit_text(open_corpus(corpora() / "ntrex"))
    panel = load_panel("panels/panel-40")
    start = time.perf_counter()
    statistics = measure_text(text)
    with ExitStack() as stack:
        pool = open_executor(None, len(text.languages), stack)
        find_facts(text, statistics, panel=panel, reference="eng_Latn", seed=0, pool=pool)
    print(f"{time.perf_counter() - start:.1f} s without reading")


def time_resamples() -> None:
    """Draw resamples, and from them the premium of every language and its mean and bottom decile."""
    import numpy as np

    from vocabkit.auditing.figures import bound, divide, draw_resampling
    from vocabkit.auditing.metrics import bottom_decile, mean

    chance = np.random.default_rng(0)
    shape = (TOKENIZERS, LINES, LANGUAGES)
    tokens = chance.integers(5, 200, size=shape, dtype=np.int32)
    start = time.perf_counter()
    drawn = draw_resampling(LINES, RESAMPLES, 0)
    assert drawn is not None
    for tokenizer in tokens:
        sums = drawn.sum_rows(tokenizer)
        premium = divide(sums, sums[:, :1])
        for samples in (*premium.T, mean(premium), bottom_decile(premium)):
            bound(samples)
    seconds = time.perf_counter() - start
    size = f"{RESAMPLES:,} resamples × {LANGUAGES} languages × {TOKENIZERS} tokenizers"
    print(f"{size} × {LINES:,} lines: {seconds:.2f} s")


def _show(name: str, command: list[str]) -> None:
    measured = measure(command)
    print(measured.row(name), flush=True)


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tokenizers", nargs="*", metavar="TOKENIZER")
    parser.add_argument("--step", choices=["text", "resamples"], help=argparse.SUPPRESS)
    return parser.parse_args()


_STEPS = {"text": measure_statistics, "resamples": time_resamples}

if __name__ == "__main__":
    main()
