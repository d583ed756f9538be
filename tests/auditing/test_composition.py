import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocabkit.auditing.composition import (
    _measure_renyi,
    compare_shares,
    describe_vocabulary,
    measure_composition,
    measure_usage,
)
from vocabkit.core.arrays import Int32Array
from vocabkit.vocabulary.adapters import Tokenizer
from vocabkit.vocabulary.vocabulary import Kind

PIECES: list[tuple[bytes | None, Kind]] = [
    (None, Kind.CONTROL),
    (None, Kind.UNKNOWN),
    (b"\xff", Kind.BYTE),
    (b" the", Kind.NORMAL),
    (b"dog", Kind.NORMAL),
    ("при".encode(), Kind.NORMAL),
    ("का".encode(), Kind.NORMAL),
    (b"\xe0\xa4", Kind.NORMAL),
    (b"\x95\x96", Kind.NORMAL),
    (b"12", Kind.NORMAL),
    ("aж".encode(), Kind.USER),
    (None, Kind.UNUSED),
]


class Table:
    """Only what a vocabulary's description reads: ids with bytes and kinds."""

    name = "table"
    size = len(PIECES)
    kinds = tuple(kind for _, kind in PIECES)

    def token_bytes(self, index: int) -> bytes | None:
        return PIECES[index][0]


def table() -> Tokenizer:
    return Table()  # type: ignore[return-value]


def test_every_id_is_counted_once() -> None:
    found = describe_vocabulary(table())
    assert found.scripts == {"Cyrl": 1, "Deva": 2, "Latn": 3}
    assert found.groups == {"Brahmic": 2, "Cyrillic": 1, "Latin": 3}
    assert found.kinds == {
        "byte": 1, "control": 1, "digits": 1, "mixed": 1, "partial": 2, "text": 4, "unknown": 1, "unused": 1,
    }  # fmt: skip
    assert sum(found.kinds.values()) == found.size == 12
    assert found.unattributed == {"continuation bytes only": 1}
    assert found.emitted.sum() == 9
    assert sorted(found.bytes.tolist()) == [2, 2, 2, 3, 3, 4, 6, 6]
    assert sorted(found.characters.tolist()) == [2, 2, 2, 3, 3, 4]


def test_figures_without_a_corpus() -> None:
    figures = measure_composition("t", describe_vocabulary(table()), width=10)
    found = {(f.metric, f.name): f for f in figures}
    assert found["vocabulary_share", "Latn"].value == pytest.approx(0.5)
    assert found["vocabulary_share", "Brahmic"].value == pytest.approx(1 / 3)
    assert found["pieces", "Deva"].value == 2
    assert found["embedding_parameters", "all"].value == 120
    assert found["mixed_pieces", "all"].value == pytest.approx(1 / 8)
    assert found["partial_pieces", "all"].value == pytest.approx(2 / 8)
    assert found["piece_bytes.mean", "all"].value == pytest.approx(28 / 8)
    assert found["piece_characters.max", "all"].value == 4
    # Of six whole pieces three have two letters, two three, and one four: counted above by hand.
    lengths = {name: f.value for (metric, name), f in found.items() if metric == "pieces_of_length"}
    assert lengths == {
        **dict.fromkeys(map(str, range(1, 16)), 0.0), "16 or more": 0.0, "2": 3 / 6, "3": 2 / 6, "4": 1 / 6,
    }  # fmt: skip


def test_under_allocation_is_share_over_share() -> None:
    characters = {"Latn": 60, "Deva": 20, "Cyrl": 10, "Ethi": 10, "Zyyy": 500, "Zinh": 9}
    figures = compare_shares("t", describe_vocabulary(table()), characters, {"Latn": 9, "Deva": 1})
    found = {(f.metric, f.name): f for f in figures}
    assert found["allocation_characters", "Latn"].value == pytest.approx((3 / 6) / (60 / 100))
    assert found["allocation_characters", "Deva"].value == pytest.approx((2 / 6) / (20 / 100))
    assert found["allocation_characters", "Latn"].note is None
    assert found["allocation_characters", "Ethi"].value == 0.0
    assert "under-allocated" in (found["allocation_characters", "Ethi"].note or "")
    assert found["allocation_words", "Brahmic"].value == pytest.approx((2 / 6) / (1 / 10))
    absent = found["allocation_words", "Cyrl"]
    assert absent.value is None
    assert absent.note == "not in this corpus"
    assert not any(f.name in ("Zyyy", "Zinh") for f in figures)


def test_no_script_at_all_is_none() -> None:
    figures = compare_shares("t", describe_vocabulary(table()), {"Zyyy": 5}, {})
    assert {f.value for f in figures if f.metric.startswith("allocation")} == {None}


def test_unused_ids_pool_the_languages() -> None:
    def counts(
        pairs: dict[int, int],
    ) -> tuple[Int32Array, np.ndarray[tuple[int], np.dtype[np.int64]]]:
        return np.array(list(pairs), dtype=np.int32), np.array(list(pairs.values()), dtype=np.int64)

    figures = measure_usage("t", describe_vocabulary(table()), [counts({3: 5, 1: 7}), counts({3: 1, 4: 2})])
    found = {f.metric: f for f in figures}
    assert found["unused_ids"].value == pytest.approx(7 / 9)
    assert found["unused_ids"].n == 9
    assert found["renyi_2.5.observed"].n == 3
    empty = measure_usage("t", describe_vocabulary(table()), [])
    assert all(figure.value is None for figure in empty)


@given(st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=60), st.sampled_from([2.0, 2.5, 3.0]))
def test_renyi_is_its_formula(tokens: list[str], order: float) -> None:
    """The published definition, from tokens, in Python floats; V defaults to the types seen."""
    counts = Counter(tokens)
    found = _measure_renyi(np.array(list(counts.values())), order, len(counts))
    if len(counts) < 2:
        assert found is None
        return
    total = sum((count / len(tokens)) ** order for count in counts.values())
    expected = 1 / (1 - order) * math.log2(total) / math.log2(len(counts))
    assert found == pytest.approx(expected, rel=1e-12)


def test_renyi_of_equal_shares_is_one() -> None:
    assert _measure_renyi(np.array([4, 4, 4, 4, 0]), 2.5, 4) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("counts", "order", "value"),
    [
        ([2, 1, 1], 3.0, 0.8448376235696801),
        ([2, 1, 1], 2.5, 0.867843120839936),
        ([40, 25, 10, 3, 1], 2.5, 0.5830107693763157),
    ],
)
def test_renyi_is_what_tokenization_scorer_prints(counts: list[int], order: float, value: float) -> None:
    """Values of tokenization-scorer 1.1.8 on a line with so many tokens of each type."""
    assert _measure_renyi(np.array(counts), order, len(counts)) == pytest.approx(value, rel=1e-12)
