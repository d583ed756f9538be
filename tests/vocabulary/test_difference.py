"""What `compare_vocabularies` reports."""

from __future__ import annotations

from vocabkit.corpus.normalization import load_normalizer
from vocabkit.vocabulary.vocabulary import (
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
    assert found.moved == ("ab", "b")
    assert found.rescored == (("ab", -3.0, -3.5),)
    assert found.to_rows() == [
        {"script": "Deva", "added": 2, "removed": 0, "moved": 0},
        {"script": "Latn", "added": 0, "removed": 0, "moved": 2},
        {"script": "Cyrl", "added": 0, "removed": 1, "moved": 0},
        {"script": "Zyyy", "added": 1, "removed": 0, "moved": 0},
    ]
    listed = [tuple(row.values()) for row in found.to_rows(pieces=True)]
    assert listed[2:6] == [
        ("added", "।", "Zyyy", None, 10),
        ("removed", "я", "Cyrl", 8, None),
        ("moved", "ab", "Latn", 7, 6),
        ("moved", "b", "Latn", 6, 7),
    ]


def test_nothing_changed() -> None:
    found = compare_vocabularies(make({"a": -1.0}), make({"a": -1.0}))
    assert found.to_rows() == found.to_rows(pieces=True) == []
    assert not found.rescored


def test_bytes_have_no_script() -> None:
    found = compare_vocabularies(make({"a": -1.0}), make({"a": -1.0}, byte_fallback=True))
    assert len(found.added) == 256
    assert {row["script"]: row["added"] for row in found.to_rows()} == {None: 256, "Latn": 0}
    assert len(found.moved) == 1
