"""Closed substrings, against counting every substring, and the lexicon they are found in."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fitting.lexica import COVERED, draw_rows, make_lexicon, make_table
from vocabkit.core.errors import FitError
from vocabkit.corpus.compilation import open_workers
from vocabkit.fitting.lexicon import CHUNK, PARTITIONS, SHORT, Lexicon, build_lexicon
from vocabkit.fitting.reference import _find_closed
from vocabkit.fitting.substrings import Substrings, find_substrings, weigh_substrings

ROWS = st.dictionaries(
    st.text("▁ab", min_size=1, max_size=30).map(lambda s: s[0] + s[1:].replace("▁", "c")),
    st.integers(1, 9),
    min_size=1,
    max_size=12,
)


def listed(lexicon: Lexicon, found: Substrings) -> list[tuple[str, int]]:
    letters = ["", *(chr(int(p)) for p in lexicon.alphabet)]
    return [
        ("".join(letters[c] for c in lexicon.text[e - n + 1 : e + 1]), int(count))
        for e, n, count in zip(found.last.tolist(), found.length.tolist(), found.evidence, strict=True)
    ]


@given(ROWS, st.integers(2, 6), st.integers(1, 4))
def test_equals_counting_every_substring(rows: dict[str, int], longest: int, floor: int) -> None:
    lexicon = make_lexicon(rows)
    with open_workers(2) as workers:
        found = find_substrings(lexicon, workers, longest=longest, floor=floor)
    assert listed(lexicon, found) == list(_find_closed(rows, longest, floor).items())


def test_the_last_length_is_closed_too() -> None:
    # Every 16-character stretch of a 20-character row is part of a 17-character one that occurs as often.
    lexicon = make_lexicon({"abcdefghijklmnopqrst": 7})
    with open_workers(1) as workers:
        assert listed(lexicon, find_substrings(lexicon, workers, longest=16)) == []
        assert listed(lexicon, find_substrings(lexicon, workers, longest=18)) == []
    lexicon = make_lexicon({"abcdefghijklmnop": 7})
    with open_workers(1) as workers:
        assert listed(lexicon, find_substrings(lexicon, workers)) == [("abcdefghijklmnop", 7)]


def test_weights_are_summed_like_counts() -> None:
    rows = draw_rows(1)
    lexicon = make_lexicon(rows)
    with open_workers(2) as workers:
        found = find_substrings(lexicon, workers)
        same = weigh_substrings(lexicon, found, lexicon.count.astype(np.float64), workers)
        assert np.array_equal(same, found.evidence)
        draw = np.random.default_rng(0).random(len(lexicon))
        mass = weigh_substrings(lexicon, found, draw, workers)
    weight = dict(zip(lexicon.strings(), draw.tolist(), strict=True))
    for (piece, _), value in list(zip(listed(lexicon, found), mass, strict=True))[::7]:
        ends = sum(w * sum(row.startswith(piece, i) for i in range(len(row))) for row, w in weight.items())
        assert value == pytest.approx(ends, rel=1e-12)


def test_same_for_any_threads_and_row_order() -> None:
    rows = draw_rows(2, 2_000)
    shuffled = list(rows.items())
    random.Random(0).shuffle(shuffled)
    results: list[tuple[np.ndarray[Any, Any], ...]] = []
    for given_rows, threads in ((rows, 1), (rows, 2), (dict(shuffled), 5)):
        with open_workers(threads) as workers:
            lexicon = make_lexicon(given_rows, workers)
            found = find_substrings(lexicon, workers)
        results.append((lexicon.text, lexicon.count, found.last, found.length, found.evidence))
    for other in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_documents_are_an_upper_bound_of_the_rows() -> None:
    lexicon = make_lexicon({"ab": 5, "abc": 2})
    with open_workers(1) as workers:
        found = find_substrings(lexicon, workers, documents=True)
    assert dict(zip([p for p, _ in listed(lexicon, found)], found.documents.tolist(), strict=True)) == {
        "ab": 5,
        "abc": 2,
    }


class TestLexicon:
    def test_holds_each_row_once_with_its_count(self) -> None:
        rows = draw_rows(3, 500)
        tables = {
            "deu_Latn": make_table(rows),
            "eng_Latn": make_table(dict(list(rows.items())[::2])),
        }
        with open_workers(2) as workers:
            lexicon = build_lexicon(tables, COVERED, workers)
        expected = {row: count * (1 + (k % 2 == 0)) for k, (row, count) in enumerate(rows.items())}
        assert dict(zip(lexicon.strings(), lexicon.count.tolist(), strict=True)) == expected

    def test_is_cut_at_uncovered_characters(self) -> None:
        covered = COVERED.copy()
        covered[ord("x")] = False
        with open_workers(1) as workers:
            lexicon = build_lexicon({"eng_Latn": make_table({"▁abxcd": 3, "x": 2, "cd": 1})}, covered, workers)
        assert dict(zip(lexicon.strings(), lexicon.count.tolist(), strict=True)) == {
            "cd": 4,
            "▁ab": 3,
        }

    def test_nothing_left_is_an_error(self) -> None:
        with open_workers(1) as workers, pytest.raises(FitError, match="no text is left"):
            build_lexicon({"eng_Latn": make_table({"ab": 1})}, ~COVERED, workers)

    def test_shared_prefixes_are_right_and_never_cross_a_chunk(self) -> None:
        lexicon = make_lexicon(draw_rows(4, 4_000))
        strings = lexicon.strings()
        starts = set(lexicon.chunks.tolist())
        assert len(starts) > 2
        for k, row in enumerate(strings):
            shared = int(lexicon.shared[k])
            assert shared == 0 or (row[:shared] == strings[k - 1][:shared] and shared < len(row))
            assert shared == 0 or len(row) <= SHORT
            assert not (k in starts and shared)
        sizes = np.diff(lexicon.offsets[lexicon.chunks])
        assert sizes.max() <= CHUNK + 100
        assert len(lexicon.partitions) == PARTITIONS + 1
        assert lexicon.partitions[-1] == len(lexicon.chunks) - 1

    def test_weights_keep_the_total(self) -> None:
        tables = {"deu_Latn": make_table({"ab": 90, "ac": 10}), "eng_Latn": make_table({"ab": 10})}
        with open_workers(1) as workers:
            lexicon = build_lexicon(tables, COVERED, workers)
        assert lexicon.weigh({"deu_Latn": 1.0, "eng_Latn": 1.0}).tolist() == [100.0, 10.0]
        weighed = lexicon.weigh({"deu_Latn": 1.0, "eng_Latn": 4.0})
        assert weighed.sum() == pytest.approx(110.0)
        assert weighed[0] / weighed[1] == pytest.approx(13.0)


def test_a_mark_between_two_scripts_ends_the_pieces_that_begin_before_it() -> None:
    rows = {"▁aً.b": 1, "▁aً.": 6, "aً": 2, "ً.": 3, "▁aً.؛.": 4}
    # The first row is no span (a letter after a full stop is cut off); the others are.
    del rows["▁aً.b"]
    lexicon = make_lexicon(rows)
    with open_workers(1) as workers:
        found = listed(lexicon, find_substrings(lexicon, workers))
    assert found == list(_find_closed(rows).items())
    assert ("▁aً", 10) in found
    assert ("ً.", 13) in found
    assert not any("aً." in piece for piece, _ in found)
