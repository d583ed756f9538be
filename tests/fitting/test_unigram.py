"""The trainer, against the same in plain Python, and the properties of what it returns."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fitting.lexica import COVERED, draw_rows, make_lexicon, make_table
from vocabkit.core.errors import FitError
from vocabkit.core.progress import Silent
from vocabkit.corpus.compilation import _cache_folder, open_workers
from vocabkit.corpus.spans import derive_spans
from vocabkit.corpus.word_counts import WordCounts
from vocabkit.fitting import reference
from vocabkit.fitting.lexicon import build_lexicon
from vocabkit.fitting.substrings import find_substrings
from vocabkit.fitting.unigram import (
    Frozen,
    UnigramFit,
    UnigramOptions,
    _digamma,
    fit_unigram,
    warm_kernels,
)

ONE_FLOOR = UnigramOptions(floors=(2,))


def fit(
    rows: dict[str, int],
    size: int,
    *,
    threads: int = 2,
    options: UnigramOptions = ONE_FLOOR,
    **named: Any,
) -> UnigramFit:
    with open_workers(threads) as workers:
        lexicon = make_lexicon(rows, workers)
        found = find_substrings(lexicon, workers)
        return fit_unigram(lexicon, found, size, workers, options=options, **named)


@pytest.mark.parametrize(("seed", "size", "sparse"), [(0, 60, True), (1, 120, True), (2, 90, False)])
def test_equals_the_reference(seed: int, size: int, sparse: bool) -> None:
    rows = draw_rows(seed, 150)
    fitted = fit(rows, size, options=UnigramOptions(floors=(2,), sparse=sparse))
    expected = reference._fit_unigram(rows, size, sparse=sparse)
    assert fitted.pieces == expected.pieces
    assert fitted.scores == pytest.approx(expected.scores, rel=0, abs=1e-6)
    assert len(fitted.path) == len(expected.path)
    for ours, (count, likelihood) in zip(fitted.path, expected.path, strict=True):
        assert ours.size == count
        assert ours.training == pytest.approx(likelihood, rel=1e-9)


def test_same_bytes_for_any_threads_row_order_and_memory() -> None:
    rows = draw_rows(3, 1_500)
    shuffled = list(rows.items())
    random.Random(1).shuffle(shuffled)
    first = fit(rows, 400, threads=1)
    for other in (
        fit(rows, 400, threads=2),
        fit(dict(shuffled), 400, threads=5),
        fit(rows, 400, options=UnigramOptions(floors=(2,), memory=20_000)),
    ):
        assert other.pieces == first.pieces
        assert other.scores.tobytes() == first.scores.tobytes()
        assert other.path == first.path


def test_result_is_exact_distinct_and_holds_every_character() -> None:
    rows = draw_rows(4, 800)
    fitted = fit(rows, 300)
    assert len(fitted.pieces) == len(set(fitted.pieces)) == 300
    assert {c for row in rows for c in row} <= set(fitted.pieces)
    assert len(np.unique(fitted.scores)) == 300
    assert (np.diff(fitted.scores) < 0).all()
    assert fitted.path[-1].size == 300
    assert [p.size for p in fitted.path] == sorted((p.size for p in fitted.path), reverse=True)


@pytest.mark.parametrize("seed", range(4))
def test_every_piece_beats_its_own_splits(seed: int) -> None:
    fitted = fit(draw_rows(seed, 400, letters="ab"), 60 + 20 * seed)
    scores = dict(zip(fitted.pieces, map(float, fitted.scores), strict=True))
    beaten = [p for p in scores if len(p) > 1 and reference._split_best(p, scores) >= scores[p]]
    assert beaten == []
    assert fitted.unreachable == ()


def test_counts_equal_text() -> None:
    """A fit of merged counts is a fit of the text, bit for bit, where no run is cut."""
    words = [row.strip("▁") for row in draw_rows(0, 150) if len(row) < 20] + ["a,b"] * 9
    lines = [" ".join(random.Random(k).choices(words, k=9)) for k in range(90)]
    spans = derive_spans(WordCounts.from_texts({"eng_Latn": lines}))
    parts = WordCounts.from_texts({"eng_Latn": lines[:25]}) + WordCounts.from_texts({"eng_Latn": lines[25:]})
    table = spans.languages["eng_Latn"]
    rows = dict(zip(table.strings(), table.count.tolist(), strict=True))
    merged = derive_spans(parts).languages
    with open_workers(2) as workers:
        lexicon = build_lexicon(merged, COVERED, workers)
        one = fit_unigram(lexicon, find_substrings(lexicon, workers), 60, workers, options=ONE_FLOOR)
    assert one.scores.tobytes() == fit(rows, 60).scores.tobytes()
    text: dict[str, int] = {}
    for line in lines:
        for word in line.split():
            for row in (f"▁{word}",) if "," not in word else ("▁a", ",", "b"):
                text[row] = text.get(row, 0) + 1
    assert one.pieces == reference._fit_unigram(text, 60).pieces


class TestLists:
    def test_kept_pieces_stay_and_denied_ones_do_not_come(self) -> None:
        rows = draw_rows(5, 600)
        plain = fit(rows, 150)
        denied = [p for p in plain.pieces if len(p) > 1][:5]
        rare = next(iter(sorted(rows)))[:4] + "ab"
        changed = fit(rows, 150, keep=[rare], deny=denied)
        assert rare in changed.pieces
        assert not set(denied) & set(changed.pieces)
        assert len(changed.pieces) == 150

    @pytest.mark.parametrize(
        ("lists", "match"),
        [
            ({"keep": ["ax"]}, "'x' is not a covered character"),
            ({"keep": ["a▁"]}, "anywhere but in front"),
            ({"keep": ["a" * 17]}, "has 17 characters"),
            ({"deny": ["a"]}, "it is a covered character"),
            ({"deny": ["ab"], "keep": ["ab"]}, "also to be kept"),
        ],
    )
    def test_impossible_lists_are_errors(self, lists: dict[str, Any], match: str) -> None:
        with pytest.raises(FitError, match=match):
            fit(draw_rows(0, 100), 50, **lists)


class TestFrozen:
    def test_base_pieces_keep_their_scores_and_are_never_new(self) -> None:
        rows = draw_rows(6, 800)
        base = fit(rows, 80)
        frozen = Frozen(base.pieces, base.scores.tolist(), base.total)
        more = fit(rows, 70, frozen=frozen)
        assert len(more.pieces) == 70
        assert not set(more.pieces) & set(base.pieces)
        assert more.total == base.total
        # On one scale: the new pieces are rarer than the total they are measured by.
        assert (more.scores < 0).all()
        # The two together describe the text better than the base alone.
        assert more.path[-1].training > base.path[-1].training

    def test_scores_follow_the_scale_of_the_base(self) -> None:
        rows = draw_rows(6, 800)
        base = fit(rows, 80)
        one = fit(rows, 70, frozen=Frozen(base.pieces, base.scores.tolist(), base.total))
        expected = _digamma(one.count) - _digamma(np.array([one.total]))
        assert one.scores == pytest.approx(expected, abs=0.2)


class TestSizes:
    def test_too_small_for_the_characters(self) -> None:
        with pytest.raises(FitError, match="3 pieces cannot hold the"):
            fit(draw_rows(0, 50), 3)

    def test_more_than_the_text_supports_says_how_many_it_does(self) -> None:
        with pytest.raises(FitError, match="this text supports"):
            fit({"ab": 3, "abc": 2}, 40)

    def test_the_floor_falls_only_where_the_size_needs_it(self) -> None:
        rows = draw_rows(7, 700)
        floors = UnigramOptions(floors=(5, 3, 2))
        assert fit(rows, 40, options=floors).floor == 5
        assert fit(rows, 500, options=floors).floor < 5

    def test_ranks_are_the_order_of_the_path(self) -> None:
        rows = draw_rows(5, 400)
        fitted = fit(rows, 150, path_to=10)
        assert fitted.rank is not None
        worth = dict(zip(fitted.pieces, fitted.rank.tolist(), strict=True))
        letters = {c for row in rows for c in row}
        assert {worth[c] for c in letters} == set(range(len(letters)))
        assert {p.size for p in fitted.path} >= {150, 112, 84}
        # What a fit of the size on the path keeps is nearly what ranks before it.
        best = {piece for piece, rank in worth.items() if rank < 84}
        assert len(best & set(fit(rows, 84).pieces)) > 60

    def test_fewer_pieces_than_asked_for_where_allowed(self) -> None:
        rows = draw_rows(6, 60)
        with pytest.raises(FitError) as caught:
            fit(rows, 5_000)
        fitted = fit(rows, 5_000, allow_fewer=True)
        assert len(fitted.pieces) == len(set(fitted.pieces)) == len(fitted.scores)
        assert 0.9 * caught.value.reached < len(fitted.pieces) <= caught.value.reached  # type: ignore[attr-defined]

    def test_held_out_path_goes_on_below_the_size(self) -> None:
        rows = draw_rows(8, 900)
        with open_workers(2) as workers:
            lexicon = make_lexicon(dict(list(rows.items())[::2]), workers)
            other = build_lexicon(
                {"eng_Latn": make_table(dict(list(rows.items())[1::2]))},
                COVERED, workers, alphabet=lexicon.alphabet,
            )  # fmt: skip
            found = find_substrings(lexicon, workers)
            fitted = fit_unigram(lexicon, found, 200, workers, options=ONE_FLOOR, held_out=other, path_to=40)
            plain = fit_unigram(lexicon, found, 200, workers, options=ONE_FLOOR)
        assert fitted.pieces == plain.pieces
        assert fitted.path[-1].size <= 40
        scores = dict(zip(fitted.pieces, map(float, fitted.scores), strict=True))
        weight = dict(zip(other.strings(), map(float, other.count), strict=True))
        _, likelihood = reference._expect_counts(weight, scores)
        characters = sum(len(row) * w for row, w in weight.items())
        final = next(p for p in fitted.path if p.size == 200)
        assert final.held_out == pytest.approx(likelihood / characters, rel=1e-6)
        assert None not in [p.held_out for p in fitted.path]
        assert None not in [p.tokens for p in fitted.path]
        assert fitted.rank is not None
        assert sorted(fitted.rank.tolist()) == list(range(200))


def test_weights_change_what_is_fitted_and_one_gives_the_counts() -> None:
    tables = {
        "deu_Latn": make_table(draw_rows(1, 300)),
        "eng_Latn": make_table(draw_rows(2, 300, "xyz")),
    }
    with open_workers(2) as workers:
        lexicon = build_lexicon(tables, COVERED, workers)
        found = find_substrings(lexicon, workers)

        def share(weights: dict[str, float] | None) -> float:
            fitted = fit_unigram(lexicon, found, 150, workers, weights=weights, options=ONE_FLOOR)
            return sum(bool(set(p) & set("xyz")) for p in fitted.pieces) / 150

        assert share({"deu_Latn": 1.0, "eng_Latn": 1.0}) == share(None)
        assert share({"deu_Latn": 1.0, "eng_Latn": 8.0}) > share(None)


def test_digamma_equals_the_reference() -> None:
    x = np.array([1e-3, 0.5, 1.0, 2.5, 6.999, 7.0, 50.0, 1e9])
    assert _digamma(x) == pytest.approx([reference._digamma(v) for v in x.tolist()], rel=1e-12)
    assert reference._digamma(1.0) == pytest.approx(-0.5772156649015329, rel=1e-12)


def test_warming_runs_every_kernel_once_and_says_so() -> None:
    class Seen(Silent):
        labels: tuple[str, ...] = ()

        def start(self, label: str, total: int | None = None, unit: str = "") -> None:
            self.labels += (label,)

    seen = Seen()
    with open_workers(2) as workers:
        warm_kernels(workers, seen)
    assert seen.labels == ("compiling the trainer (kept for next time)",)


def test_kernels_are_cached_where_numba_cache_dir_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    _cache_folder.cache_clear()
    try:
        folder = _cache_folder()
        assert folder is not None
        assert folder.parent == tmp_path
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
        (tmp_path / "file").write_text("in the way")
        _cache_folder.cache_clear()
        assert _cache_folder() is None
    finally:
        _cache_folder.cache_clear()
