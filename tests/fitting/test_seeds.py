"""Seeds against a brute-force reading of the definition."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from tests.fitting.tables import EVERYTHING, make_rows, reorder_rows, span_table
from vocabkit.core.scripts import script_of
from vocabkit.fitting.rows import Rows, pool_rows
from vocabkit.fitting.seeds import find_seeds

WORDS = {"▁abab": 3, "▁ab": 2, "bab": 1, "▁cabab": 1, "▁": 4}


def crosses_after_mark(piece: str) -> bool:
    """Whether a piece holds a letter, marks, and then another script: SentencePiece forbids it."""
    script = ""
    for before, character in itertools.pairwise(piece.removeprefix("▁")):
        found = script_of(before)
        script = script if found == "Zinh" else found
        here = script_of(character)
        if found == "Zinh" and script and here not in ("Zinh", script):
            return True
    return False


def brute_force(
    rows: Rows, min_count: int, min_documents: int, longest: int
) -> list[tuple[str, int, int]]:
    """Every substring, counted; closed ones kept; (piece, weight, count) in rank order."""
    count: Counter[str] = Counter()
    weight: Counter[str] = Counter()
    documents: Counter[str] = Counter()
    wider: defaultdict[str, set[str]] = defaultdict(set)
    columns = (rows.count.tolist(), rows.weight.tolist(), rows.documents.tolist())
    for row, c, w, d in zip(rows.strings(), *columns, strict=True):
        seen = set()
        for start in range(len(row)):
            for stop in range(start + 2, len(row) + 1):
                piece = row[start:stop]
                if "▁" in row[max(start, 1) : stop] or crosses_after_mark(piece):
                    continue
                count[piece] += c
                weight[piece] += w
                seen.add(piece)
                if start > 0 and "▁" not in row[max(start - 1, 1) : stop]:
                    wider[piece].add(row[start - 1 : stop])
                if stop < len(row) and row[stop] != "▁":
                    wider[piece].add(row[start : stop + 1])
                wider[piece] = {other for other in wider[piece] if not crosses_after_mark(other)}
        for piece in seen:
            documents[piece] += d
    kept = [
        piece
        for piece, n in count.items()
        if 2 <= len(piece) <= longest
        and n >= min_count
        and documents[piece] >= min_documents
        and all(count[longer] < n for longer in wider[piece])
    ]
    kept.sort(key=lambda p: (-weight[p] * len(p), len(p), [ord(c) for c in p]))
    return [(piece, weight[piece], count[piece]) for piece in kept]


def found(
    rows: Rows, min_count: int = 2, min_documents: int = 1, max_length: int = 16
) -> list[tuple[str, int, int]]:
    seeds = find_seeds(
        rows, 10**6, min_count=min_count, min_documents=min_documents, max_length=max_length
    )
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
    assert (
        "▁international"
        in find_seeds(make_rows({"▁international": 2, "▁internationally": 9}), 99).pieces
    )


def test_length_limit_is_closed_too() -> None:
    # The only closed substring is the row; of its parts of 16 characters none is closed.
    assert found(make_rows({"abcdefghijklmnopq": 5})) == []
    assert found(make_rows({"abcdefghijklmnop": 5})) == [("abcdefghijklmnop", 5, 5)]
    assert found(make_rows({"abcdefgh": 5, "abcd": 1}), max_length=4) == [("abcd", 6, 6)]


def test_size_keeps_the_best_and_says_how_many_there_were() -> None:
    rows = make_rows(WORDS)
    seeds = find_seeds(rows, 2)
    assert len(seeds) == 2
    assert seeds.found == len(found(rows))
    assert seeds.pieces == [piece for piece, _, _ in found(rows)][:2]


def test_document_floor_counts_a_row_once() -> None:
    # "an" twice in one row of one document is one document.
    rows = make_rows({"▁banana": 9, "▁ban": 9}, {"▁banana": 1, "▁ban": 3})
    assert {p for p, _, _ in found(rows, min_documents=4)} == {"an", "▁ban"}
    assert {p for p, _, _ in found(rows, min_documents=5)} == set()


def test_weights_rank_and_counts_filter() -> None:
    tables = {"a": span_table({"xy": 100, "zz": 1}), "b": span_table({"pq": 2})}
    rows = pool_rows(tables, {"a": 0.01, "b": 8.0}, EVERYTHING, total=1000)
    seeds = find_seeds(rows, 10)
    # 100 · 0.01 against 2 · 8: the rarer one ranks first; "zz" is met once, so it is no seed.
    assert seeds.pieces == ["pq", "xy"]
    assert seeds.count.tolist() == [2, 100]


def test_no_rows_long_enough() -> None:
    assert found(make_rows({"a": 3, "▁": 2})) == []


spans = st.dictionaries(
    st.builds(
        lambda mark, text: mark + text,
        st.sampled_from(["", "▁"]),
        st.text("ab\u0301字𐐷", min_size=1, max_size=9),
    ),
    st.integers(1, 4),
    min_size=1,
    max_size=12,
)


@given(spans, st.integers(1, 4), st.integers(1, 3), st.integers(2, 6))
def test_equals_brute_force(
    spans: Mapping[str, int], min_count: int, min_documents: int, longest: int
) -> None:
    rows = make_rows(spans, {span: min(n, 2) for span, n in spans.items()})
    expected = brute_force(rows, min_count, min_documents, longest)
    assert found(rows, min_count, min_documents, longest) == expected


@given(spans, st.randoms())
def test_order_of_rows_does_not_matter(spans: Mapping[str, int], random: object) -> None:
    rows = make_rows(spans)
    order = list(range(len(rows)))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert found(rows) == found(reorder_rows(rows, order))
