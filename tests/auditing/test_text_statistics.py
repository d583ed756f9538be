from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from icu4py.breakers import WordBreaker

from vocabkit.auditing import text_statistics
from vocabkit.auditing.parallel_text import _text_from_lines, text_from_counts
from vocabkit.auditing.text_statistics import (
    TextStatistics,
    _attribute_scripts,
    _measure_language,
    _trim_folder,
    list_scripts,
    measure_text,
)
from vocabkit.core.errors import CorpusError
from vocabkit.core.text import script_names
from vocabkit.corpus.word_counts import WordCounts, split_words

# Everything that joins or keeps apart: marks, joiners, conjuncts, jamo, flags, prepended signs, line ends.
_TRICKY = (
    "ab1٣ \t\u00a0\u3000\x0b,.é\u0301\u0300\u0915\u094d\u0937\u093f\u200d\u200c\u1100\u1161\u11a8\uac00\uac01"
    "\U0001f1e9\U0001f1ea\U0001f469\U0001f466\u0600\r\n\u0e33\u064b\u0644\u30fc\u3042\u4e2d\u0b3e\U00010d4a"
)


def _same(a: TextStatistics, b: TextStatistics) -> bool:
    def plain(found: TextStatistics) -> list[object]:
        values = [getattr(found, name) for name in TextStatistics.__slots__]
        return [v.tolist() if isinstance(v, np.ndarray) else v for v in values]

    return plain(a) == plain(b)


@given(st.lists(st.text(_TRICKY)))
def test_every_count_against_a_slow_one(lines: list[str]) -> None:
    found = _measure_language("hin_Deva", lines)
    assert len(found) == len(lines)
    assert found.bytes.tolist() == [len(line.encode()) for line in lines]
    assert found.characters.tolist() == [len(line) for line in lines]
    assert found.graphemes.tolist() == [len(regex.findall(r"\X", line)) for line in lines]
    assert found.white_space_words.tolist() == [len(split_words(line)) for line in lines]
    assert found.words is not None
    words = [
        [s for s in WordBreaker(line, "hin") if any(c.isalnum() or c == "\U00010d4a" for c in s)]
        for line in lines
    ]
    assert found.words.tolist() == [len(row) for row in words]
    types = Counter(word for row in words for word in row)
    assert dict(zip(found.word_types, found.word_type_counts.tolist(), strict=True)) == types
    assert found.characters_seen == Counter("".join(lines))
    assert sum(found.scripts.values()) == found.total("characters")
    assert sum(found.script_words.values()) == found.total("white_space_words")


@given(st.lists(st.text("ab яж9,\u0301"), min_size=1))
def test_words_by_their_main_script(lines: list[str]) -> None:
    slow: Counter[str] = Counter()
    for line in lines:
        for word in split_words(line):
            # The acute is a Latin mark in text of Latin script; Cyrl comes before Latn.
            latin = sum(c in "ab\u0301" for c in word)
            cyrillic = sum(c in "яж" for c in word)
            slow["Latn" if latin > cyrillic else "Cyrl" if cyrillic else "Zyyy"] += 1
    assert _measure_language("eng_Latn", lines).script_words == slow


def test_shared_marks_count_for_the_language_s_script() -> None:
    def name(character: str, code: str) -> str:
        return script_names()[int(_attribute_scripts(list_scripts(code))[ord(character)])]

    assert name("\u064b", "arb_Arab") == "Arab"
    assert name("\u064b", "eng_Latn") == "Zinh"
    assert name("\u0301", "yor_Latn") == "Latn"
    # Hiragana and Katakana share the length mark, and both write Japanese.
    assert name("ー", "jpn_Jpan") == "Zyyy"
    # A danda is punctuation, whoever uses it; a Devanagari digit and a tsheg are of their scripts.
    assert [name(c, "hin_Deva") for c in "।१,"] == ["Zyyy", "Deva", "Zyyy"]
    assert name("་", "bod_Tibt") == "Tibt"
    assert list_scripts("jpn_Jpan") == {"Hani", "Hira", "Kana"}
    assert list_scripts("kor_Hang") == {"Hang", "Hani"}
    assert list_scripts("zho_Hant") == {"Hani"}


def test_traps_of_the_denominators() -> None:
    found = _measure_language("hin_Deva", ["क्षि", "e\u0301", "\u0301x", "", "가", "각", "👩‍👦", "\r"])
    assert found.graphemes.tolist() == [1, 1, 2, 0, 1, 1, 1, 1]
    assert found.characters.tolist() == [4, 2, 2, 0, 1, 1, 3, 1]
    assert found.bytes.tolist() == [12, 3, 3, 0, 3, 3, 11, 1]


@pytest.mark.parametrize(
    "joined",
    ["\u0600a", "\u1100\u1161", "\uac00\u1161", "\uac00\u11a8", "🇩🇪", "\r\n", "ก\u0e33", "a\u200d"],
)
def test_characters_that_join_their_neighbour(joined: str) -> None:
    assert _measure_language("eng_Latn", [joined]).graphemes.tolist() == [1]


def test_unsupported_words_are_none_and_syllables_say_so() -> None:
    lana = _measure_language("nod_Lana", ["ᨾᩮᩬᩥᨦ ᨾᩮᩬᩥᨦ"])
    assert lana.words is None
    assert lana.word_types == ()
    assert "Lana" in (lana.words_note or "")
    assert lana.total("white_space_words") == 2
    with pytest.raises(ValueError, match="Lana"):
        lana.total("words")
    assert "syllables" in (_measure_language("bod_Tibt", ["བོད་"]).words_note or "")


@settings(max_examples=25)
@given(st.lists(st.text("ab1 ক্ষ中å"), min_size=1))
def test_words_with_counts_say_what_the_lines_say(lines: list[str]) -> None:
    counts = WordCounts.from_texts({"ben_Beng": [*lines, "x"]})
    text = text_from_counts(counts)
    assert text.weights is not None
    rows, weights = text.languages["ben_Beng"], text.weights["ben_Beng"]
    by_word = _measure_language("ben_Beng", rows, weights)
    by_line = _measure_language("ben_Beng", [*lines, "x"])
    for name in ("white_space_words", "words"):
        assert by_word.total(name) == by_line.total(name)
    assert by_word.script_words == by_line.script_words
    assert by_word.word_types == by_line.word_types
    assert by_word.word_type_counts.tolist() == by_line.word_type_counts.tolist()
    spaces = by_line.characters_seen.get(" ", 0)
    assert by_word.total("characters") == by_line.total("characters") - spaces
    assert by_word.characters_seen == {c: n for c, n in by_line.characters_seen.items() if c != " "}


def test_the_cache_gives_back_the_same_and_survives_damage(tmp_path: Path) -> None:
    text = _text_from_lines({"hin_Deva": ["क्षि 12", "", "x"], "nod_Lana": ["ᨾᩮ"], "a": ["\x00 b"]})
    first = measure_text(text, cache=tmp_path)
    files = sorted(tmp_path.glob("*.npz"))
    assert len(files) == 3
    stamps = [file.read_bytes() for file in files]
    again = measure_text(text, cache=tmp_path)
    assert list(again) == list(first) == list(text.languages)
    assert all(_same(first[code], again[code]) for code in first)
    for file in files:
        file.write_bytes(b"not an archive")
    mended = measure_text(text, cache=tmp_path)
    assert all(_same(first[code], mended[code]) for code in first)
    assert [file.read_bytes() for file in files] == stamps
    # Another text, or the same words weighted, is another entry.
    measure_text(text_from_counts(WordCounts.from_texts({"a": ["\x00 b"]})), cache=tmp_path)
    assert len(list(tmp_path.glob("*.npz"))) == 4


def test_a_cache_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    text = _text_from_lines({"eng_Latn": ["a b"]})
    assert measure_text(text, cache=blocked)["eng_Latn"].total("words") == 2


def test_the_cache_forgets_what_was_longest_unused(tmp_path: Path) -> None:
    import os

    for age in range(4):
        path = tmp_path / f"{age}.npz"
        path.write_bytes(b"x" * 100)
        os.utime(path, (1000 - age, 1000 - age))
    _trim_folder(tmp_path, 250)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.npz", "1.npz"]
    (tmp_path / "old.json").write_bytes(b"x" * 40)
    os.utime(tmp_path / "old.json", (1, 1))
    _trim_folder(tmp_path, 220)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.npz", "1.npz"]


def test_the_same_for_any_number_of_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_statistics, "_POOL_CHARACTERS", 0)
    text = _text_from_lines({"eng_Latn": ["a b"], "tha_Thai": ["ฉันไป"], "yor_Latn": ["ọmọ́"]})
    one = measure_text(text, workers=1, cache=tmp_path / "one")
    two = measure_text(text, workers=2, cache=tmp_path / "two")
    assert all(_same(one[code], two[code]) for code in one)
    names = [sorted(p.name for p in (tmp_path / n).iterdir()) for n in ("one", "two")]
    assert names[0] == names[1]


def test_blocks_do_not_change_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["a b", "", " ", "é\u0301 中", "\u0301x y z", "१२"] * 7
    weights = np.arange(len(lines))
    whole = _measure_language("hin_Deva", lines, weights)
    monkeypatch.setattr(text_statistics, "BLOCK_CHARACTERS", 4)
    assert _same(whole, _measure_language("hin_Deva", lines, weights))


def test_a_lone_surrogate_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="eng_Latn: line 2: lone surrogate"):
        _measure_language("eng_Latn", ["a", "\udc80"])


def test_a_very_long_line() -> None:
    line = "ก็ word " * (5 << 17)
    found = _measure_language("tha_Thai", [line, "x"])
    assert found.graphemes[0] == 7 * (5 << 17)
    assert found.white_space_words.tolist() == [2 * (5 << 17), 1]
