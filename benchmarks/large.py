"""Fit five times the text of `mono`: every span again four times with two letters of noise at its end.

`python benchmarks/large.py COUNTS [--memory 1_000_000_000]`. Bar: 250,000 pieces in 8 GB.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Iterator, Mapping

import numpy as np
from measure import machine

from vocabkit.corpus.compilation import open_workers
from vocabkit.corpus.spans import SpanTable, derive_spans
from vocabkit.corpus.word_counts import WordCounts
from vocabkit.fitting.lexicon import build_lexicon, cover_characters
from vocabkit.fitting.substrings import find_substrings
from vocabkit.fitting.unigram import UnigramOptions, fit_unigram

COPIES = 5
NOISE = 2


def add_noise(table: SpanTable, copy: int) -> SpanTable:
    """Return the spans with two characters appended, drawn from the same table by a fixed generator."""
    draw = np.random.default_rng(copy)
    lengths = np.diff(table.offsets) + NOISE
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    text = np.empty(int(offsets[-1]), np.uint32)
    body = np.ones(len(text), np.bool_)
    for back in range(1, NOISE + 1):
        body[offsets[1:] - back] = False
    text[body] = table.text
    letters = table.text[table.text != 0x2581]
    text[~body] = draw.choice(letters, NOISE * len(table))
    # The key is that of the table without noise: a lexicon does not look at it.
    return SpanTable(text, offsets, table.count, table.documents, table.key)


class Noisy(Mapping[str, SpanTable]):
    """The tables and their noisy copies, made when asked for."""

    def __init__(self, tables: Mapping[str, SpanTable]) -> None:
        self._tables = tables

    def __getitem__(self, code: str) -> SpanTable:
        name, _, copy = code.partition("-")
        table = self._tables[name]
        return add_noise(table, int(copy)) if copy else table

    def __iter__(self) -> Iterator[str]:
        yield from self._tables
        yield from (f"{code}-{copy}" for copy in range(1, COPIES) for code in self._tables)

    def __len__(self) -> int:
        return COPIES * len(self._tables)


def main() -> None:
    """Print seconds by step and the peak of resident memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("counts")
    parser.add_argument("--memory", type=int, default=1_000_000_000)
    parser.add_argument("--size", type=int, default=250_000)
    given = parser.parse_args()
    print(machine())
    start = time.perf_counter()
    spans = derive_spans(WordCounts.load(given.counts)).languages
    covered = cover_characters(spans, dict.fromkeys(spans, 1.0), scope="global", character=0.9995).covered
    tables = Noisy(spans)
    with open_workers() as workers:
        lexicon = build_lexicon(tables, covered, workers)
        _report("lexicon", start)
        print(f"{len(lexicon):,} rows, {lexicon.characters:,} characters")
        substrings = find_substrings(lexicon, workers)
        _report("closed substrings", start)
        fitted = fit_unigram(
            lexicon, substrings, given.size, workers, options=UnigramOptions(memory=given.memory)
        )
    _report("fit", start)
    print(f"{len(fitted.pieces):,} pieces from {fitted.seeds:,} seeds")


def _report(step: str, start: float) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"{step}: {time.perf_counter() - start:.0f} s, peak {peak / 1e9:.2f} GB", flush=True)


if __name__ == "__main__":
    main()
