"""Forward–backward and Viterbi, against listing every segmentation and against logarithms."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fitting.lexica import (
    choose_pieces,
    draw_rows,
    expect_by_enumeration,
    make_lattice,
    make_lexicon,
    segmentations,
)
from vocabkit.core.arrays import Float64Array
from vocabkit.corpus.compilation import open_workers
from vocabkit.fitting import reference
from vocabkit.fitting.lattice import _sum_partitions, count_best, expect_counts
from vocabkit.fitting.lexicon import Lexicon


def draw_scores(lexicon: Lexicon, pieces: list[str], seed: int, low: float = -12.0) -> Float64Array:
    draw = np.random.default_rng(seed)
    scores = draw.uniform(low, -1.0, 1 + len(lexicon.alphabet) + len(pieces))
    scores[0] = -np.inf
    return scores


def widths(lexicon: Lexicon, pieces: list[str]) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.array([0, *(1 for _ in lexicon.alphabet), *map(len, pieces)], np.uint8)


def names(lexicon: Lexicon, pieces: list[str]) -> list[str]:
    return [*(chr(int(p)) for p in lexicon.alphabet), *pieces]


def run(
    rows: dict[str, int],
    pieces: list[str],
    scores: Float64Array,
    threads: int = 2,
    memory: int | None = None,
) -> tuple[dict[str, float], float, Float64Array]:
    lexicon = make_lexicon(rows)
    with open_workers(threads) as workers:
        lattice = make_lattice(lexicon, pieces, workers, memory)
        count, likelihood = expect_counts(lattice, lexicon.weigh(), scores, widths(lexicon, pieces), workers)
    named = dict(zip(names(lexicon, pieces), count[1:].tolist(), strict=True))
    return named, likelihood, count


ROWS = st.dictionaries(st.text("abc", min_size=1, max_size=9), st.integers(1, 99), min_size=1, max_size=8)


@given(ROWS, st.integers(0, 99))
def test_equals_enumeration(rows: dict[str, int], seed: int) -> None:
    lexicon = make_lexicon(rows)
    pieces = choose_pieces(lexicon, 2)
    scores = draw_scores(lexicon, pieces, seed)
    counts, likelihood, _ = run(rows, pieces, scores)
    named = dict(zip(names(lexicon, pieces), scores[1:].tolist(), strict=True))
    expected, whole = expect_by_enumeration({r: float(c) for r, c in rows.items()}, named)
    assert likelihood == pytest.approx(whole, rel=1e-11)
    for piece, value in expected.items():
        assert counts[piece] == pytest.approx(value, rel=1e-10, abs=1e-12)


def test_equals_the_reference_on_short_and_long_rows() -> None:
    rows = draw_rows(8, 300)
    assert max(map(len, rows)) > 24
    lexicon = make_lexicon(rows)
    pieces = choose_pieces(lexicon, 5)
    scores = draw_scores(lexicon, pieces, 1)
    counts, likelihood, _ = run(rows, pieces, scores)
    named = dict(zip(names(lexicon, pieces), scores[1:].tolist(), strict=True))
    expected, whole = reference._expect_counts({r: float(c) for r, c in rows.items()}, named)
    assert likelihood == pytest.approx(whole, rel=1e-11)
    for piece, value in expected.items():
        assert counts[piece] == pytest.approx(value, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("score", [-1.0, -20.0, -36.0])
def test_long_rows_and_rarest_characters_do_not_underflow(score: float) -> None:
    draw = random.Random(0)
    rows = {"".join(draw.choices("abcdef", k=1_000)): 3, "a" * 1_000: 2, "b" * 24: 5, "c" * 25: 1}
    lexicon = make_lexicon(rows)
    pieces = ["aa", "abc", "abcdefabcdefabcd"]
    scores = np.full(1 + 6 + 3, score)
    scores[0] = -np.inf
    scores[-3] = -0.5
    counts, likelihood, _ = run(rows, pieces, scores)
    named = dict(zip(names(lexicon, pieces), scores[1:].tolist(), strict=True))
    expected, whole = reference._expect_counts({r: float(c) for r, c in rows.items()}, named)
    assert likelihood == pytest.approx(whole, rel=1e-11)
    characters = sum(counts[p] * len(p) for p in counts)
    assert characters == pytest.approx(sum(len(r) * c for r, c in rows.items()), rel=1e-12)
    for piece, value in expected.items():
        assert counts[piece] == pytest.approx(value, rel=1e-9, abs=1e-9)


def test_same_bytes_for_any_threads_and_memory() -> None:
    rows = draw_rows(9, 3_000)
    lexicon = make_lexicon(rows)
    pieces = choose_pieces(lexicon, 1)
    scores = draw_scores(lexicon, pieces, 2)
    first = run(rows, pieces, scores, 1)
    for threads, memory in ((2, None), (5, None), (2, 0)):
        other = run(rows, pieces, scores, threads, memory)
        assert other[2].tobytes() == first[2].tobytes()
        assert other[1] == first[1]


def test_a_row_without_probability_is_an_error_not_a_loss() -> None:
    lexicon = make_lexicon({"ab": 1})
    scores = np.array([-np.inf, 0.0, -np.inf])
    with open_workers(1) as workers, pytest.raises(RuntimeError, match="no probability"):
        expect_counts(
            make_lattice(lexicon, [], workers),
            lexicon.weigh(),
            scores,
            widths(lexicon, []),
            workers,
        )


def test_best_segmentation_equals_enumeration() -> None:
    rows = {r: c for r, c in draw_rows(10, 200).items() if len(r) <= 12}
    lexicon = make_lexicon(rows)
    pieces = choose_pieces(lexicon, 3)
    scores = draw_scores(lexicon, pieces, 3)
    named = dict(zip(names(lexicon, pieces), scores[1:].tolist(), strict=True))
    expected = dict.fromkeys(named, 0.0)
    for row, count in rows.items():
        for part in max(segmentations(row, named), key=lambda parts: math.fsum(named[p] for p in parts)):
            expected[part] += count
    with open_workers(2) as workers:
        used = count_best(make_lattice(lexicon, pieces, workers), lexicon.weigh(), scores, workers)
    assert dict(zip(names(lexicon, pieces), used[1:].tolist(), strict=True)) == expected


@pytest.mark.parametrize("size", [3, 400_000, 1_100_000])
def test_partitions_are_added_in_order(size: int) -> None:
    def work(partition: int, out: Float64Array) -> tuple[float, float]:
        out[partition % 3] += 0.1 * partition
        return 1e16 if partition == 0 else 1.0, 0.0

    results = []
    for threads in (1, 4):
        with open_workers(threads) as workers:
            results.append(_sum_partitions(work, 10, size, 10 * size, workers))
    assert results[0][0].tobytes() == results[1][0].tobytes()
    assert results[0][1:] == results[1][1:]
    assert results[0][0][1] == pytest.approx(0.1 * (1 + 4 + 7))
