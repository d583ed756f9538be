import json
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocabkit.auditing.parallel_text import (
    AuditText,
    _correlate_lengths,
    _text_from_lines,
    fingerprint_lines,
    read_audit_text,
    text_from_counts,
)
from vocabkit.core.errors import ConfigError, CorpusError
from vocabkit.corpus.reading import zstd
from vocabkit.corpus.sources import open_corpus
from vocabkit.corpus.word_counts import WordCounts


def _sentences(count: int, *, seed: int = 0) -> list[str]:
    lengths = random.Random(seed)
    return [f"{i} " + "ab " * lengths.randint(1, 40) for i in range(count)]


def _translate(lines: list[str], *, noise: int = 3) -> list[str]:
    extra = random.Random(1)
    return [line.replace("ab", "ощу") + "ы" * extra.randint(0, noise) for line in lines]


def _write(root: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (root / f"{name}.txt").write_bytes(text.encode())
    return root


def _read(root: Path, **options: object) -> AuditText:
    return read_audit_text(open_corpus(root), **options)  # type: ignore[arg-type]


def test_blank_and_duplicate_lines_keep_their_place(tmp_path: Path) -> None:
    _write(tmp_path, eng_Latn="a\n\nb\nb\n", yor_Latn="c\nd\n \nd\n")
    text = _read(tmp_path, aligned="yes")
    assert text.languages == {"eng_Latn": ("a", "", "b", "b"), "yor_Latn": ("c", "d", " ", "d")}
    assert (text.alignment.aligned, text.alignment.lines) == (True, 4)


def test_blank_lines_at_the_end_do_not_break_the_alignment(tmp_path: Path) -> None:
    _write(tmp_path, eng_Latn="a\nb\nc\n", deu_Latn="a\nb\nc\n\n\n", yor_Latn="a\nb\n\n")
    text = _read(tmp_path, aligned="yes")
    assert text.aligned_languages == ("deu_Latn", "eng_Latn", "yor_Latn")
    assert [len(lines) for lines in text.languages.values()] == [3, 3, 3]
    assert text.languages["yor_Latn"] == ("a", "b", "")


def test_equal_counts_are_aligned_from_a_hundred_lines() -> None:
    lines = _sentences(100)
    text = _text_from_lines({"eng_Latn": lines, "rus_Cyrl": _translate(lines)})
    assert text.alignment.aligned
    assert text.alignment.lines == 100
    few = _text_from_lines({"eng_Latn": lines[:99], "rus_Cyrl": _translate(lines[:99])})
    assert not few.alignment.aligned
    assert few.alignment.lines is None
    assert "--aligned yes" in few.alignment.note


def test_lines_that_do_not_correspond_are_found_though_their_number_fits() -> None:
    lines = _sentences(300)
    shuffled = random.Random(2).sample(lines, len(lines))
    texts = {
        "eng_Latn": lines,
        "rus_Cyrl": _translate(lines),
        "ukr_Cyrl": _translate(lines, noise=9),
        "deu_Latn": shuffled,
        "yor_Latn": [*lines[1:], lines[0]],
    }
    text = _text_from_lines(texts)
    assert text.aligned_languages == ("eng_Latn", "rus_Cyrl", "ukr_Cyrl")
    assert set(text.alignment.excluded) == {"deu_Latn", "yor_Latn"}
    assert "deu_Latn" in text.alignment.note
    assert len(text.languages["deu_Latn"]) == 300
    # A third of the lines in place is not enough.
    partly = _text_from_lines(texts | {"yor_Latn": lines[:100] + shuffled[100:]})
    assert "yor_Latn" in partly.alignment.excluded
    pair = _text_from_lines({"eng_Latn": lines, "deu_Latn": shuffled})
    assert not pair.alignment.aligned
    # Who says that they are aligned is believed.
    assert _text_from_lines(texts, aligned="yes").alignment.excluded == {}
    assert _text_from_lines(texts, aligned="no").aligned_languages == ()


def test_correlation_is_that_of_numpy_against_the_mean_of_the_others() -> None:
    import numpy as np

    lines = _sentences(50)
    texts = {"a": lines, "b": _translate(lines), "c": _sentences(50, seed=9), "d": ["x"] * 50}
    table = np.array([[np.log1p(len(line)) for line in rows] for rows in texts.values()])
    scores = (table - table.mean(axis=1, keepdims=True))[:3]
    scores /= scores.std(axis=1, keepdims=True)
    found = _correlate_lengths(texts)
    for index, code in enumerate("abc"):
        others = np.delete(scores, index, axis=0).mean(axis=0)
        assert found[code] == pytest.approx(np.corrcoef(scores[index], others)[0, 1], abs=1e-9)
    assert found["d"] == 1.0


def test_a_language_with_another_number_of_lines_is_left_out_and_named() -> None:
    lines = _sentences(120)
    text = _text_from_lines(
        {"eng_Latn": lines, "deu_Latn": lines, "fra_Latn": lines[:-1], "yor_Latn": ["one line"]}
    )
    assert text.aligned_languages == ("deu_Latn", "eng_Latn")
    assert text.alignment.excluded["fra_Latn"] == "119 lines, not 120"
    assert "yor_Latn" in text.alignment.note
    assert text.languages["yor_Latn"] == ("one line",)


def test_a_limit_does_not_make_unequal_texts_equal(tmp_path: Path) -> None:
    lines = _sentences(150)
    _write(tmp_path, eng_Latn="\n".join(lines), yor_Latn="\n".join(lines[:140]))
    text = _read(tmp_path, limit=10)
    assert [len(rows) for rows in text.languages.values()] == [10, 10]
    assert not text.alignment.aligned
    _write(tmp_path, yor_Latn="\n".join(_translate(lines)) + "\n\n")
    text = _read(tmp_path, limit=50)
    assert (text.alignment.aligned, text.alignment.lines) == (True, 50)
    assert [len(rows) for rows in text.languages.values()] == [50, 50]


def test_a_damaged_language_is_a_failure_and_the_others_are_read(tmp_path: Path) -> None:
    _write(tmp_path, eng_Latn="a\nb\n", fra_Latn="\n \n")
    (tmp_path / "yor_Latn.txt").write_bytes(b"good\nbad \xff line\n")
    data = zstd.compress(b"some text\n" * 1000)
    (tmp_path / "hau_Latn.txt.zst").write_bytes(data[:-7])
    text = _read(tmp_path)
    assert list(text.languages) == ["eng_Latn"]
    assert sorted(text.failures) == ["fra_Latn", "hau_Latn", "yor_Latn"]
    assert "yor_Latn.txt:2" in text.failures["yor_Latn"]
    assert "truncated" in text.failures["hau_Latn"]
    assert "no line with text" in text.failures["fra_Latn"]


def test_no_readable_language_is_an_error(tmp_path: Path) -> None:
    _write(tmp_path, fra_Latn="\n\n")
    (tmp_path / "yor_Latn.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(CorpusError, match="no language has text") as caught:
        _read(tmp_path)
    assert "yor_Latn.txt" in str(caught.value)
    with pytest.raises(CorpusError):
        _text_from_lines({})


def test_records_without_text_lose_their_place(tmp_path: Path) -> None:
    lines = _sentences(120)
    for code, dropped in (("eng_Latn", None), ("deu_Latn", None), ("yor_Latn", 5)):
        records = [{"text": None if i == dropped else line} for i, line in enumerate(lines)]
        records += [{"text": "one more"}] if dropped is not None else []
        (tmp_path / f"{code}.jsonl").write_text("\n".join(map(json.dumps, records)))
    text = _read(tmp_path)
    # As many as the others, but moved up by one behind the empty record.
    assert len(text.languages["yor_Latn"]) == len(text.languages["eng_Latn"])
    assert text.aligned_languages == ("deu_Latn", "eng_Latn")
    assert "place" in text.alignment.excluded["yor_Latn"]


def test_lone_surrogates_have_a_clear_outcome(tmp_path: Path) -> None:
    text = _text_from_lines({"eng_Latn": ["fine", "b\ud800d"], "yor_Latn": ["ọ"]})
    assert list(text.languages) == ["yor_Latn"]
    assert text.failures["eng_Latn"].startswith("line 2: lone surrogate")
    (tmp_path / "eng_Latn.jsonl").write_text('{"text": "b\\ud800d"}\n')
    read = _read(tmp_path)
    assert read.languages["eng_Latn"] == ("b\ufffdd",)
    assert read.repairs["eng_Latn"] == {"surrogate": 1}


@pytest.mark.parametrize("size", [5 << 20, 17 << 20])
def test_a_very_long_line_stays_one_line(tmp_path: Path, size: int) -> None:
    long = ("word " * (size // 5))[:size] + "é"
    _write(tmp_path, eng_Latn=f"first\n{long}\nlast\n")
    assert _read(tmp_path).languages["eng_Latn"] == ("first", long, "last")


def test_disagreeing_counts_cannot_be_told_to_be_aligned() -> None:
    with pytest.raises(CorpusError, match="not aligned") as caught:
        _text_from_lines({"eng_Latn": ["a", "b"], "yor_Latn": ["a"]}, aligned="yes")
    assert "--aligned" in str(caught.value.hint)
    with pytest.raises(ConfigError):
        _text_from_lines({"eng_Latn": ["a"]}, aligned="perhaps")  # type: ignore[arg-type]


def test_a_limit_is_at_least_one_line(tmp_path: Path) -> None:
    _write(tmp_path, eng_Latn="a")
    with pytest.raises(ConfigError):
        _read(tmp_path, limit=0)


def test_rows_from_counts_are_words_with_their_occurrences() -> None:
    counts = WordCounts.from_texts({"eng_Latn": ["b a b"], "yor_Latn": []})
    text = text_from_counts(counts)
    assert text.languages == {"eng_Latn": ("a", "b")}
    assert text.weights is not None
    assert text.weights["eng_Latn"].tolist() == [1, 2]
    assert not text.alignment.aligned
    assert "train" in text.failures["yor_Latn"]
    with pytest.raises(CorpusError):
        text_from_counts(counts, "held_out")


def test_the_fingerprint_tells_lines_weights_and_alignment_apart() -> None:
    counts = WordCounts.from_texts({"eng_Latn": ["b a b"]})
    found = {
        fingerprint_lines({"x": ("ab", "c")}),
        fingerprint_lines({"x": ("a", "bc")}),
        fingerprint_lines({"x": ("ab",), "y": ("c",)}),
        fingerprint_lines({"x": ("ab", "c", "")}),
        text_from_counts(counts).fingerprint,
        _text_from_lines({"eng_Latn": ["a", "b"]}).fingerprint,
        _text_from_lines({"eng_Latn": ["a"], "yor_Latn": ["b"]}, aligned="yes").fingerprint,
        _text_from_lines({"eng_Latn": ["a"], "yor_Latn": ["b"]}, aligned="no").fingerprint,
    }
    assert len(found) == 8
    assert _text_from_lines({"b": ["x"], "a": ["y"]}).fingerprint == (
        _text_from_lines({"a": ["y"], "b": ["x"]}).fingerprint
    )


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0\ufeff")),
        min_size=1,
    )
)
def test_lines_come_back_as_they_were_written(lines: list[str]) -> None:
    lines = [*lines, "end"]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "eng_Latn.txt").write_bytes("\n".join(lines).encode())
        assert _read(Path(folder)).languages["eng_Latn"] == tuple(lines)
