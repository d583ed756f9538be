"""Small lexicons made in-process, and the brute force that checks what is computed over them."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np

from vocabkit.corpus.compilation import Workers, open_workers
from vocabkit.corpus.spans import SpanTable, hash_spans
from vocabkit.fitting.lattice import Lattice, Trie, build_trie
from vocabkit.fitting.lexicon import Lexicon, build_lexicon, join_strings

COVERED = np.ones(0x110000, np.bool_)


def make_table(rows: Mapping[str, int]) -> SpanTable:
    """Return a span table of the rows, in the order given."""
    text = np.frombuffer("".join(rows).encode("utf-32-le"), "<u4").astype(np.uint32)
    offsets = np.concatenate(([0], np.cumsum([len(row) for row in rows]))).astype(np.int64)
    count = np.array(list(rows.values()), np.int64)
    return SpanTable(text, offsets, count, np.minimum(count, 3), hash_spans(text, offsets))


def make_lexicon(rows: Mapping[str, int], workers: Workers | None = None) -> Lexicon:
    """Return the lexicon of one language's rows."""
    if workers is not None:
        return build_lexicon({"eng_Latn": make_table(rows)}, COVERED, workers)
    with open_workers(2) as opened:
        return build_lexicon({"eng_Latn": make_table(rows)}, COVERED, opened)


def draw_rows(seed: int, size: int = 300, letters: str = "abcdeé") -> dict[str, int]:
    """Return words of a small grammar (prefix, stems, suffix) with skewed counts; some rows are long."""
    draw = random.Random(seed)
    stems = ["".join(draw.choices(letters, k=draw.randint(1, 4))) for _ in range(30)]
    rows: Counter[str] = Counter()
    for k in range(size):
        word = "".join(draw.choices(stems, k=draw.randint(1, 3) if k % 20 else 14))
        rows[("▁" if draw.random() < 0.8 else "") + word] += int(200 / (k + 1)) + draw.randint(1, 4)
    return dict(rows)


def segmentations(row: str, scores: Mapping[str, float]) -> Iterator[list[str]]:
    """Yield every way to write `row` with the pieces."""
    for cuts in itertools.product((False, True), repeat=len(row) - 1):
        bounds = [0, *(i + 1 for i, cut in enumerate(cuts) if cut), len(row)]
        parts = [row[a:b] for a, b in itertools.pairwise(bounds)]
        if all(part in scores for part in parts):
            yield parts


def expect_by_enumeration(
    rows: Mapping[str, float], scores: Mapping[str, float]
) -> tuple[dict[str, float], float]:
    """Return expected counts and log likelihood by listing all segmentations."""
    counts = dict.fromkeys(scores, 0.0)
    likelihood = 0.0
    for row, weight in rows.items():
        ways = [(parts, math.exp(sum(scores[p] for p in parts))) for parts in segmentations(row, scores)]
        whole = sum(mass for _, mass in ways)
        likelihood += weight * math.log(whole)
        for parts, mass in ways:
            for part in parts:
                counts[part] += weight * mass / whole
    return counts, likelihood


def make_trie(lexicon: Lexicon, pieces: list[str]) -> Trie:
    """Return the trie of the pieces, whose ids follow those of the characters."""
    code = {chr(int(p)): i for i, p in enumerate(lexicon.alphabet, start=1)}
    text = np.array([0] + [c for p in pieces for c in (*(code[x] for x in p), 0)], np.int32)
    return build_trie(join_strings(text), len(code) + 1)


def make_lattice(lexicon: Lexicon, pieces: list[str], workers: Workers, memory: int | None = None) -> Lattice:
    """Return the lattice of the pieces."""
    return Lattice(lexicon, make_trie(lexicon, pieces), 16, workers, memory)


def choose_pieces(lexicon: Lexicon, step: int) -> list[str]:
    """Return every `step`-th substring of 2 to 6 characters."""
    found = {
        row[i:j]
        for row in lexicon.strings()
        for i in range(len(row))
        for j in range(i + 2, min(len(row), i + 6) + 1)
    }
    return sorted(found)[::step]
