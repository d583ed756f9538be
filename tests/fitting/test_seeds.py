"""Seeds against the closed substrings of the reference, ranked by hand."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from tests.fitting.tables import make_rows, pool, seed, span_table
from vocabkit.fitting.reference import _find_closed
from vocabkit.fitting.sentencepiece_engine import Rows

WORDS = {"▁abab": 3, "▁ab": 2, "bab": 1, "▁cabab": 1, "▁": 4}


def found(
    rows: Rows, min_count: int = 2, min_documents: int = 1, max_length: int = 16
) -> list[tuple[str, int, int]]:
    seeds = seed(rows, 10**6, min_count=min_count, min_documents=min_documents, max_length=max_length)
    return list(zip(seeds.pieces, seeds.weight.tolist(), seeds.count.tolist(), strict=True))


def test_by_hand() -> None:
    # "ab" occurs 11 times, "bab" 5, "abab" 4, "▁ab" 5, "▁abab" 3. "ba" only inside "bab", "aba" only
    # inside "abab", "▁aba" only inside "▁abab": not closed.
    assert found(make_rows(WORDS)) == [
        ("ab", 11, 11),
        ("abab", 4, 4),
        ("bab", 5, 5),
        ("▁ab", 5, 5),
        ("▁abab", 3, 3),
    ]


def test_a_whole_row_is_a_seed() -> None:
    assert "▁international" in seed(make_rows({"▁international": 2, "▁internationally": 9}), 99).pieces


def test_length_limit_is_closed_too() -> None:
    # The only closed substring is the row; of its parts of 16 characters none is closed.
    assert found(make_rows({"abcdefghijklmnopq": 5})) == []
    assert found(make_rows({"abcdefghijklmnop": 5})) == [("abcdefghijklmnop", 5, 5)]
    assert found(make_rows({"abcdefgh": 5, "abcd": 1}), max_length=4) == [("abcd", 6, 6)]


def test_size_keeps_the_best_and_says_how_many_there_were() -> None:
    rows = make_rows(WORDS)
    seeds = seed(rows, 2)
    assert len(seeds) == 2
    assert seeds.found == len(found(rows))
    assert seeds.pieces == [piece for piece, _, _ in found(rows)][:2]


def test_document_floor() -> None:
    # "an" occurs twice in a row of one document: at most two documents, as far as rows can tell.
    rows = make_rows({"▁banana": 9, "▁ban": 9}, {"▁banana": 1, "▁ban": 3})
    assert {p for p, _, _ in found(rows, min_documents=4)} == {"an", "▁ban"}
    assert {p for p, _, _ in found(rows, min_documents=5)} == {"an"}
    assert {p for p, _, _ in found(rows, min_documents=6)} == set()


def test_weights_rank_and_counts_filter() -> None:
    tables = {"a": span_table({"xy": 100, "zz": 1}), "b": span_table({"pq": 2})}
    rows = pool(tables, {"a": 0.01, "b": 8.0}, total=1000)
    seeds = seed(rows, 10)
    # 100 · 0.01 against 2 · 8: the rarer one ranks first; "zz" is met once, so it is no seed.
    assert seeds.pieces == ["pq", "xy"]
    assert seeds.count.tolist() == [2, 100]


def test_no_rows_long_enough() -> None:
    assert found(make_rows({"a": 3, "▁": 2})) == []


spans = st.dictionaries(
    st.builds(
        lambda mark, text: mark + text,
        st.sampled_from(["", "▁"]),
        st.text("ab\u0301é", min_size=1, max_size=9),
    ),
    st.integers(1, 4),
    min_size=1,
    max_size=12,
)


@given(spans, st.integers(1, 4), st.integers(2, 6))
def test_equals_brute_force(spans: Mapping[str, int], min_count: int, longest: int) -> None:
    closed = _find_closed(spans, longest, min_count)
    expected = [(piece, count, count) for piece, count in closed.items()]
    expected.sort(key=lambda p: (-p[1] * len(p[0]), len(p[0]), p[0]))
    assert found(make_rows(spans), min_count, max_length=longest) == expected
