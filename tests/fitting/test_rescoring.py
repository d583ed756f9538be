"""Scores of given pieces, against EM by listing every segmentation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.fitting.lexica import (
    COVERED,
    choose_pieces,
    draw_rows,
    expect_by_enumeration,
    make_lexicon,
    make_table,
)
from vocabkit.core.errors import FitError
from vocabkit.corpus.compilation import open_workers
from vocabkit.fitting.blocks import estimate_scores
from vocabkit.fitting.lexicon import build_lexicon

ROWS = {row: count for row, count in draw_rows(2, 40).items() if len(row) < 10}


def pieces_of(rows: dict[str, int], step: int = 4) -> list[str]:
    lexicon = make_lexicon(rows)
    return [*sorted({c for row in rows for c in row}), *choose_pieces(lexicon, step)]


@pytest.mark.parametrize("iterations", [1, 3])
def test_equals_em_by_enumeration(iterations: int) -> None:
    pieces = pieces_of(ROWS)
    with open_workers(2) as workers:
        found = estimate_scores(make_lexicon(ROWS, workers), pieces, workers, iterations=iterations)
    counts = dict.fromkeys(pieces, 1.0)
    for _ in range(iterations):
        raised = {p: max(c, 0.5) for p, c in counts.items()}
        total = sum(raised.values())
        scores = {p: math.log(c / total) for p, c in raised.items()}
        counts, likelihood = expect_by_enumeration(ROWS, scores)
    assert found.count == pytest.approx([counts[p] for p in pieces], rel=1e-9, abs=1e-12)
    assert found.log_likelihood == pytest.approx(likelihood)
    raised = {p: max(c, 0.5) for p, c in counts.items()}
    assert found.total == pytest.approx(sum(raised.values()))
    expected = [math.log(raised[p] / found.total) for p in pieces]
    assert found.scores == pytest.approx(expected, abs=1e-3)
    assert len(np.unique(found.scores)) == len(pieces)


def test_more_passes_never_lose_likelihood_and_threads_change_nothing() -> None:
    pieces = pieces_of(ROWS)
    with open_workers(1) as one, open_workers(3) as three:
        lexicon = make_lexicon(ROWS, one)
        runs = [estimate_scores(lexicon, pieces, one, iterations=n) for n in (1, 2, 3, 6)]
        same = estimate_scores(lexicon, pieces, three, iterations=6, memory=100)
    gains = np.diff([run.log_likelihood for run in runs])
    assert (gains > -1e-9).all()
    assert gains[0] > 0
    assert same.scores.tobytes() == runs[-1].scores.tobytes()


def test_weights_move_the_counts() -> None:
    tables = {"aaa_Latn": make_table({"▁ab": 10}), "bbb_Latn": make_table({"▁ba": 10})}
    pieces = ["a", "b", "▁", "▁a", "▁b"]
    with open_workers(1) as workers:
        lexicon = build_lexicon(tables, COVERED, workers)
        even = estimate_scores(lexicon, pieces, workers)
        tilted = estimate_scores(lexicon, pieces, workers, weights={"aaa_Latn": 3.0, "bbb_Latn": 1.0})
    assert even.count[3] == pytest.approx(even.count[4])
    assert tilted.count[3] > 2.5 * tilted.count[4]


def test_a_start_saves_passes() -> None:
    pieces = pieces_of(ROWS)
    with open_workers(1) as workers:
        lexicon = make_lexicon(ROWS, workers)
        settled = estimate_scores(lexicon, pieces, workers, iterations=20)
        started = estimate_scores(lexicon, pieces, workers, iterations=1, start=settled.count)
    assert started.log_likelihood >= settled.log_likelihood - 1e-6


def test_pieces_that_no_text_reaches_are_named() -> None:
    rows = {"▁ab": 100, "▁abab": 1}
    pieces = ["▁", "a", "b", "▁ab", "abab", "zz"]
    with open_workers(1) as workers:
        found = estimate_scores(make_lexicon(rows, workers), pieces, workers)
    # "abab" is expected once and beats a·b·a·b; "zz" cannot be written with these characters.
    assert found.unreachable.tolist() == []
    assert found.count[5] == 0.0
    frequent = {"ab": 10_000, "cd": 10_000, "abcd": 1}
    with open_workers(1) as workers:
        found = estimate_scores(
            make_lexicon(frequent, workers), ["a", "b", "c", "d", "ab", "cd", "abcd"], workers
        )
    assert found.unreachable.tolist() == [6]


def test_every_character_needs_a_piece() -> None:
    with open_workers(1) as workers:
        lexicon = make_lexicon({"ab": 1}, workers)
        with pytest.raises(FitError, match="'b'"):
            estimate_scores(lexicon, ["a"], workers)
        with pytest.raises(ValueError, match="iterations"):
            estimate_scores(lexicon, ["a", "b"], workers, iterations=0)
