"""What `compare_vocabularies` reports."""

from __future__ import annotations

from vocabkit.corpus.normalization import load_normalizer
from vocabkit.vocabulary.vocabulary import (
    Moved,
    Rescored,
    Vocabulary,
    assemble_vocabulary,
    compare_vocabularies,
)


def make(scores: dict[str, float], **settings: int) -> Vocabulary:
    normalizer = load_normalizer("identity")
    return assemble_vocabulary(scores, list(scores.values()), "unigram", normalizer, **settings)  # type: ignore[arg-type]


def test_each_kind_of_change() -> None:
    a = make({"a": -1.0, "b": -2.0, "ab": -3.0, "я": -4.0})
    b = make({"a": -1.0, "ab": -3.5, "b": -2.0, "क": -5.0, "ख": -6.0, "।": -7.0})
    found = compare_vocabularies(a, b)
    assert found.added == ("क", "ख", "।")
    assert found.removed == ("я",)
    assert found.moved == (Moved("ab", 7, 6), Moved("b", 6, 7))
    assert found.rescored == (Rescored("ab", -3.0, -3.5),)
    assert found.added_by_script == {"Deva": 2, "Zyyy": 1}
    assert found.removed_by_script == {"Cyrl": 1}
    assert not found.is_empty


def test_nothing_changed() -> None:
    assert compare_vocabularies(make({"a": -1.0}), make({"a": -1.0})).is_empty


def test_bytes_have_no_script() -> None:
    found = compare_vocabularies(make({"a": -1.0}), make({"a": -1.0}, byte_fallback=True))
    assert len(found.added) == 256
    assert found.added_by_script == {}
    assert len(found.moved) == 1
