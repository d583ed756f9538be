"""Trace the curves of the panel's languages from counts of `mono`, and hold five of them to fits of one size.

`python benchmarks/curves.py COUNTS [--languages …] [--cap 12_500]`. Bars: all 40 languages in 90 s on two
cores; within 2 % of fits made at three sizes in five languages. Kept spans are used, kept curves not.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from measure import machine

from vocabkit.allocation.curves import CurveOptions, trace_curves
from vocabkit.core.languages import load_panel
from vocabkit.corpus.compilation import open_workers
from vocabkit.corpus.spans import derive_spans
from vocabkit.corpus.word_counts import WordCounts
from vocabkit.fitting.lexicon import build_lexicon, count_characters, select_characters
from vocabkit.fitting.substrings import find_substrings
from vocabkit.fitting.unigram import fit_unigram, warm_kernels

HELD = ("sin_Sinh", "tgk_Cyrl", "yor_Latn", "ces_Latn", "mya_Mymr")
SHARES = (0.06, 0.25, 0.9)
COVERAGE = 0.99999


def main() -> None:
    """Print the seconds by step, then a table of curves against fits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("counts", type=Path)
    parser.add_argument("--languages", default="")
    parser.add_argument("--cap", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only-time", action="store_true")
    given = parser.parse_args()
    codes = given.languages.split(",") if given.languages else list(load_panel("panel-40").codes)
    print(machine())
    counts = WordCounts.load(given.counts)
    with open_workers(given.threads) as workers:
        warm_kernels(workers)
    start = time.perf_counter()
    train = derive_spans(counts, languages=codes, workers=given.threads).languages
    held_out = derive_spans(counts, languages=codes, split="held_out", workers=given.threads).languages
    spans = time.perf_counter()
    covered = {code: select_characters(count_characters(train[code]), COVERAGE) for code in codes}
    characters = time.perf_counter()
    before = time.process_time()
    options = CurveOptions(cap=given.cap)
    curves = trace_curves(train, held_out, covered, options, threads=given.threads)
    end = time.perf_counter()
    spent = time.process_time() - before
    print(
        f"{len(codes)} curves to {given.cap:_}: spans {spans - start:.1f} s, "
        f"characters {characters - spans:.1f} s, curves {end - characters:.1f} s ({spent:.1f} CPU-s)"
    )
    if given.only_time:
        return
    print("\n| language | size | tokens per character, fit | curve | log likelihood, fit | curve |")
    print("| --- | --- | --- | --- | --- | --- |")
    worst = 0.0
    with open_workers(given.threads) as workers:
        for code in (code for code in HELD if code in curves):
            curve = curves[code]
            lexicon = build_lexicon({code: train[code]}, covered[code], workers)
            judge = build_lexicon({code: held_out[code]}, covered[code], workers, alphabet=lexicon.alphabet)
            found = find_substrings(lexicon, workers)
            for size in (int(share * len(curve)) for share in SHARES):
                fit = fit_unigram(lexicon, found, size, workers, held_out=judge, allow_fewer=True).path[-1]
                assert fit.tokens is not None
                assert fit.held_out is not None
                tokens = curve.tokens_at(fit.size) / fit.tokens - 1
                value = curve.likelihood_at(fit.size) / fit.held_out - 1
                worst = max(worst, *np.abs((tokens, value)))
                print(
                    f"| {code} | {fit.size:,} | {fit.tokens:.4f} | {tokens:+.2%} "
                    f"| {fit.held_out:.4f} | {value:+.2%} |"
                )
    print(f"\nfurthest: {worst:.2%}")


if __name__ == "__main__":
    main()
