"""Warming: compiling the trainer's kernels before they are needed, as a step of its own that a user can see.

About half a minute the first time on a machine, a second once they are in the cache. Fits nothing of use.
"""

from __future__ import annotations

import numpy as np

from vocabkit.core.progress import Progress, Silent
from vocabkit.corpus.spans import SpanTable, hash_spans
from vocabkit.fitting.compilation import Workers
from vocabkit.fitting.lexicon import build_lexicon
from vocabkit.fitting.substrings import find_substrings
from vocabkit.fitting.unigram import UnigramOptions, fit_unigram


def warm_kernels(workers: Workers, progress: Progress | None = None) -> None:
    """Compile, or load from the cache, every kernel of a fit, by fitting seven words."""
    report = progress or Silent()
    report.start("compiling the trainer (kept for next time)")
    words = [
        "▁abab",
        "▁abc",
        "▁cab",
        "abcabc",
        "bcab",
        "▁cc\u0301.",
        "abcabcabcabcabcabcabcabcabcabc",
    ]
    text = np.frombuffer("".join(words).encode("utf-32-le"), "<u4").astype(np.uint32)
    offsets = np.concatenate(([0], np.cumsum([len(word) for word in words]))).astype(np.int64)
    count = np.full(len(words), 9, np.int64)
    table = SpanTable(text, offsets, count, count, hash_spans(text, offsets))
    lexicon = build_lexicon({"a": table, "b": table}, np.ones(0x110000, np.bool_), workers)
    substrings = find_substrings(lexicon, workers)
    options = UnigramOptions(floors=(2,), overshoot=1.0)
    weights = {"a": 1.0, "b": 2.0}
    # Kept pieces go through the trie, and seeds alone are laid out by their runs.
    for keep, deny in ((["ab"], ["bca"]), ([], [])):
        fit_unigram(
            lexicon, substrings, 9, workers, weights=weights, options=options, keep=keep, deny=deny
        )
    report.finish()
