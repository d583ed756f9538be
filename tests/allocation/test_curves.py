"""Curves of real fits of small grammars: nested, measured where they say, and the same from the cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.fitting.lexica import COVERED, draw_rows, make_table
from vocabkit.allocation.curves import KEPT, Curve, CurveOptions, _trace_curve, trace_curves
from vocabkit.core.errors import FitError
from vocabkit.corpus.compilation import open_workers
from vocabkit.fitting.lexicon import build_lexicon, count_characters
from vocabkit.fitting.substrings import find_substrings
from vocabkit.fitting.unigram import fit_unigram

TRAIN = make_table(draw_rows(1, 900, letters="abcdefgh"))
HELD_OUT = make_table(draw_rows(1, 300, letters="abcdefgh"))


def trace(cap: int = 100_000, **named: object) -> Curve:
    with open_workers(2) as workers:
        options = CurveOptions(cap=cap, **named)  # type: ignore[arg-type]
        return _trace_curve("aaa_Latn", TRAIN, HELD_OUT, COVERED, workers, options)


@pytest.fixture(scope="module")
def curve() -> Curve:
    return trace()


def test_characters_come_first_and_no_piece_twice(curve: Curve) -> None:
    assert all(len(piece) == 1 for piece in curve.pieces[: curve.alphabet])
    assert all(len(piece) > 1 for piece in curve.pieces[curve.alphabet :])
    assert len(set(curve.pieces)) == len(curve) == sum(n for _, n in curve.tiers)
    assert {chr(c) for c in TRAIN.text} == set(curve.pieces[: curve.alphabet])
    assert len(curve.count) == len(curve)
    assert curve.data_limited
    assert f"supports {len(curve):_} pieces" in curve.note


def test_points_lie_between_the_alphabet_and_the_end(curve: Curve) -> None:
    assert curve.size[0] == curve.alphabet
    assert curve.size[-1] == len(curve)
    assert (np.diff(curve.size) > 0).all()
    assert curve.tokens[0] == pytest.approx(1.0)
    assert curve.tokens[-1] < 0.5
    assert curve.likelihood[-1] > curve.likelihood[0]
    assert curve.measured == "held_out"
    letters = float((HELD_OUT.count * np.diff(HELD_OUT.offsets)).sum())
    assert curve.characters == letters
    assert curve.uncovered == 0.0


@pytest.mark.parametrize("size", [60, 120, 200])
def test_close_to_a_fit_of_that_size(curve: Curve, size: int) -> None:
    with open_workers(2) as workers:
        lexicon = build_lexicon({"aaa_Latn": TRAIN}, COVERED, workers)
        judge = build_lexicon({"aaa_Latn": HELD_OUT}, COVERED, workers, alphabet=lexicon.alphabet)
        found = find_substrings(lexicon, workers)
        end = fit_unigram(lexicon, found, size, workers, held_out=judge).path[-1]
    assert end.tokens is not None
    assert curve.tokens_at(size) == pytest.approx(end.tokens, rel=0.05)
    assert curve.likelihood_at(size) == pytest.approx(end.held_out, rel=0.03)


def test_evidence_comes_in_tiers(curve: Curve) -> None:
    assert [floor for floor, _ in curve.tiers] == [5, 3, 2]
    occurrences: dict[str, int] = {}
    for row, count in draw_rows(1, 900, letters="abcdefgh").items():
        for piece in {row[i:j] for i in range(len(row)) for j in range(i + 1, len(row) + 1)}:
            occurrences[piece] = occurrences.get(piece, 0) + count * sum(
                row.startswith(piece, i) for i in range(len(row))
            )
    start = curve.alphabet
    stop = 0
    for floor, size in curve.tiers:
        stop += size
        found = [occurrences[p] for p in curve.pieces[start:stop]]
        assert found
        assert min(found) == floor
        start = stop


def test_a_cap_stops_the_curve_without_calling_the_text_short() -> None:
    capped = trace(cap=150)
    assert len(capped) == 150
    assert not capped.data_limited
    assert capped.note == ""
    assert capped.tiers == ((5, 150),)


def test_without_held_out_text_the_training_text_is_named() -> None:
    with open_workers(1) as workers:
        options = CurveOptions(cap=150)
        for measured in (None, make_table({"ξ": 4})):
            curve = _trace_curve("aaa_Latn", TRAIN, measured, COVERED, workers, options)
            assert curve.measured == "train"
            assert "flatters" in curve.note


def test_uncovered_characters_are_counted() -> None:
    covered = COVERED.copy()
    covered[ord("h")] = False
    with open_workers(1) as workers:
        curve = _trace_curve("aaa_Latn", TRAIN, HELD_OUT, covered, workers, CurveOptions(cap=150))
    lost = int(count_characters(HELD_OUT)[ord("h")])
    assert curve.uncovered == lost
    assert "h" not in "".join(curve.pieces)


def same(one: Curve, other: Curve) -> bool:
    return one.pieces == other.pieces and all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("count", "size", "likelihood", "tokens", "measured", "tiers", "alphabet",
                     "characters", "uncovered", "data_limited")
    )  # fmt: skip


def test_cached_curves_are_the_same_and_few(tmp_path: Path) -> None:
    train = {code: make_table(draw_rows(k, 200)) for k, code in enumerate(("bbb_Latn", "aaa_Latn"))}
    measured = {"aaa_Latn": make_table(draw_rows(8, 60))}
    covered = dict.fromkeys(train, COVERED)
    first = trace_curves(train, measured, covered, CurveOptions(cap=90), cache=tmp_path, threads=2)
    assert list(first) == ["aaa_Latn", "bbb_Latn"]
    assert [first[code].measured for code in first] == ["held_out", "train"]
    (path,) = tmp_path.glob("aaa_Latn-*.npz")
    written = path.stat().st_mtime_ns
    again = trace_curves(train, measured, covered, CurveOptions(cap=90), cache=tmp_path)
    assert path.stat().st_mtime_ns == written
    alone = trace_curves(train, measured, covered, CurveOptions(cap=90), threads=1)
    for code in first:
        assert same(first[code], again[code])
        assert same(first[code], alone[code])
    path.write_bytes(b"damaged")
    mended = trace_curves(train, measured, covered, CurveOptions(cap=90), cache=tmp_path)
    assert same(mended["aaa_Latn"], first["aaa_Latn"])
    for cap in range(80, 80 + KEPT + 1):
        trace_curves(train, measured, covered, CurveOptions(cap=cap), cache=tmp_path)
    assert len(list(tmp_path.glob("aaa_Latn-*.npz"))) == KEPT


def test_a_language_without_a_covered_character_is_named() -> None:
    nothing = np.zeros(len(COVERED), np.bool_)
    with pytest.raises(FitError, match="bbb_Latn: no text is left"):
        trace_curves(
            {"aaa_Latn": TRAIN, "bbb_Latn": HELD_OUT},
            {},
            {"aaa_Latn": COVERED, "bbb_Latn": nothing},
            CurveOptions(cap=50),
        )
