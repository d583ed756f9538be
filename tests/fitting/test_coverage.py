"""Coverage against SentencePiece's own choice of characters, and per language by hand."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st
from sentencepiece import sentencepiece_model_pb2

from tests.fitting.tables import span_table
from vocabkit.core.errors import ConfigError
from vocabkit.fitting.lexicon import count_characters, cover_characters, select_characters


def sentencepiece_alphabet(counts: Mapping[str, int], coverage: float) -> set[str]:
    """Train SentencePiece's character model on counted rows: its pieces are the covered characters."""
    output = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(f"{span}\t{count}".encode() for span, count in counts.items()),
        model_writer=output,
        input_format="tsv",
        model_type="char",
        vocab_size=5_000,
        hard_vocab_limit=False,
        character_coverage=coverage,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        bos_id=-1,
        eos_id=-1,
        unk_id=0,
        minloglevel=3,
    )
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(output.getvalue())
    return {piece.piece for piece in proto.pieces[1:]}


def alphabet(counts: Mapping[str, int], coverage: float) -> set[str]:
    keep = select_characters(count_characters(span_table(counts)), coverage)
    return {chr(p) for p in np.flatnonzero(keep)}


COVERAGES = [0.98, 0.99, 0.999, 0.9995, 0.9999, 0.999999]


@given(
    st.dictionaries(
        st.characters(min_codepoint=0x61, max_codepoint=0x250),
        st.one_of(st.integers(1, 20), st.sampled_from([1, 10, 1000, 10**5, 10**8])),
        min_size=2,
        max_size=60,
    ),
    st.sampled_from(COVERAGES),
)
def test_equals_sentencepiece(letters: dict[str, int], coverage: float) -> None:
    counts = {f"▁{letter}": count for letter, count in letters.items()}
    assert alphabet(counts, coverage) == sentencepiece_alphabet(counts, coverage)


def test_the_rule_is_in_32_bits() -> None:
    # Taken before b: 9,999,500,000 of 10,000,000,000 minus 200: below 0.99995 in 64 bits, equal in 32.
    counts = {"▁": 1, "a": 9_999_499_800, "b": 400_000, "c": 100_200}
    assert 9_999_499_801 / 10_000_000_001 < 0.99995
    assert alphabet(counts, 0.99995) == {"▁", "a"} == sentencepiece_alphabet(counts, 0.99995) | {"▁"}


def test_full_coverage_is_full_where_sentencepiece_cuts() -> None:
    counts = {"▁": 10**9, "a": 10**9, "b": 2, "c": 1}
    assert alphabet(counts, 1.0) == set("▁abc")
    assert sentencepiece_alphabet(counts, 1.0) == set("▁a")


def test_the_word_mark_is_kept_and_reserved_characters_are_not() -> None:
    counts = {"▁": 1, "a": 10_000, "\u2585": 5_000, "b": 1}
    assert alphabet(counts, 0.99) == {"▁", "a"}


TABLES = {
    "big": span_table({"▁a": 99_990, "b": 10}),
    "small": span_table({"▁c": 40, "d": 10, "\u2585": 1}),
}
NATURAL = {"big": 1.0, "small": 1.0}


def test_global_coverage_cuts_the_small_language() -> None:
    found = cover_characters(TABLES, NATURAL, scope="global", character=0.9995)
    assert list(found.required) == ["▁", "a"]
    assert [(row.language, row.character, row.count) for row in found.cut] == [
        ("big", "b", 10),
        ("small", "c", 40),
        ("small", "d", 10),
        ("small", "\u2585", 1),
    ]
    assert found.cut_share["small"] == pytest.approx(51 / 91)
    assert found.alphabets == {"big": 2, "small": 1}


def test_weights_count_in_a_global_coverage() -> None:
    found = cover_characters(TABLES, {"big": 1.0, "small": 100.0}, scope="global", character=0.9995)
    assert {"c", "d"} <= set(found.required)
    assert found.required["c"] == 4_000


def test_coverage_per_language_keeps_the_union() -> None:
    found = cover_characters(TABLES, NATURAL, scope="language", character=0.9995)
    assert set(found.required) == set("▁acd")
    assert [(row.language, row.character) for row in found.cut] == [
        ("big", "b"),
        ("small", "\u2585"),
    ]
    assert found.covered[ord("c")]
    assert not found.covered[ord("b")]
    every = cover_characters(TABLES, NATURAL, scope="language", character=1.0)
    assert [row.character for row in every.cut] == ["\u2585"]


@pytest.mark.parametrize("value", [0.0, -1.0, 1.5])
def test_out_of_range(value: float) -> None:
    with pytest.raises(ConfigError, match=r"coverage\.character"):
        cover_characters(TABLES, NATURAL, scope="global", character=value)
