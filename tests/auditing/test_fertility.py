from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from vocabkit.auditing.metrics import measure_fertility, rank_worst
from vocabkit.corpus.word_counts import WordCounts


class ByCharacter:
    """A real, if plain, tokenizer: one token a character."""

    size = 0x110000

    def encode_batch(self, texts: Sequence[str]) -> list[npt.NDArray[np.int32]]:
        return [np.array([ord(c) for c in text], dtype=np.int32) for text in texts]


def test_ratios_are_of_sums_and_null_without_text() -> None:
    counts = WordCounts.from_texts({"eng_Latn": ["a bbb bbb", "a"], "yor_Latn": []})
    rows = measure_fertility(ByCharacter(), counts)  # type: ignore[arg-type]
    assert [row.language for row in rows] == ["eng_Latn", "yor_Latn"]
    assert (rows[0].words, rows[0].characters, rows[0].tokens) == (4, 8, 8)
    assert rows[0].tokens_per_word == pytest.approx(2.0)
    assert rows[0].characters_per_token == pytest.approx(1.0)
    assert rows[1].tokens_per_word is None
    assert rows[1].characters_per_token is None
    assert [row.language for row in rank_worst(rows)] == ["eng_Latn"]


def test_worst_first_and_limited() -> None:
    counts = WordCounts.from_texts({"a": ["xx"], "b": ["xxxx"], "c": ["xxxx"], "d": ["x"]})
    rows = measure_fertility(ByCharacter(), counts)  # type: ignore[arg-type]
    assert [row.language for row in rank_worst(rows, limit=3)] == ["b", "c", "a"]
