import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from icu4py.breakers import WordBreaker

from vocabkit.auditing import text_statistics
from vocabkit.auditing.text_statistics import _count_types, find_support, segment_blocks

_LETTERS = "ab1 ,.'\r\n\u0301\u0915\u094d\u0e01\u0e32\u4e2d\U0001f600\u200d-_"


def list_words(lines: list[str], language: str) -> list[str]:
    found = [part for block, _ in segment_blocks(lines, language) for part in block]
    return [part for part in found if text_statistics._is_word(part)]


def count_words(lines: list[str], language: str) -> list[int]:
    words, _, _ = _count_types(language, lines, None)
    assert words is not None
    counted: list[int] = words.tolist()
    return counted


def test_words_where_no_space_is_written() -> None:
    # The counts of native readers: Thai "I go to school", Chinese "I love Beijing", Lao, Khmer, Burmese.
    assert list(list_words(["ฉันไปโรงเรียน"], "tha_Thai")) == ["ฉัน", "ไป", "โรงเรียน"]
    assert list(list_words(["我爱北京。"], "zho_Hans")) == ["我", "爱", "北京"]
    assert count_words(["ខ្ញុំទៅសាលារៀន"], "khm_Khmr") == [3]


def test_numbers_contractions_and_punctuation() -> None:
    lines = ["Don't pay 3,000.50 - now!", "", "…!?", "½ x_y"]
    assert count_words(lines, "eng_Latn") == [4, 0, 0, 2]


def test_letters_younger_than_python_s_tables_are_letters() -> None:
    # U+10D4A, a letter of Garay, was assigned in Unicode 16; Python 3.11 knows 14.
    assert count_words(["\U00010d4a\U00010d4b x"], "wol_Gara")[0] >= 2
    assert not text_statistics._is_word("\u0301")


def test_what_segments_are_is_said_per_language() -> None:
    assert find_support("eng_Latn") == (True, None)
    for code in ("bod_Tibt", "dzo_Tibt"):
        assert "syllables" in (find_support(code)[1] or "")
    assert not find_support("nod_Lana")[0]
    assert _count_types("nod_Lana", ["ᨾᩮᩬᩥᨦ"], None)[:2] == (None, ())
    assert "low confidence" in (find_support("shn_Mymr")[1] or "")
    assert count_words(["བོད་སྐད་"], "bod_Tibt") == [2]


def test_the_segmenter_is_named_with_its_versions() -> None:
    assert text_statistics.name_segmenter().startswith("ICU ")


@given(st.lists(st.text(_LETTERS)))
def test_lines_together_are_segmented_as_each_alone(lines: list[str]) -> None:
    alone = [sum(any(c.isalnum() for c in segment) for segment in WordBreaker(line, "eng")) for line in lines]
    assert count_words(lines, "eng_Latn") == alone


@given(st.lists(st.text("ab1 ,\u0e01\u0e32"), min_size=1))
def test_types_count_what_is_listed(lines: list[str]) -> None:
    listed = list(list_words(lines, "tha_Thai"))
    words, types, counts = _count_types("tha_Thai", lines, None)
    assert words is not None
    assert words.tolist() == count_words(lines, "tha_Thai")
    assert list(types) == sorted(set(listed))
    assert counts.tolist() == [listed.count(word) for word in types]
    weights = np.arange(1, len(lines) + 1)
    _, types, counts = _count_types("tha_Thai", lines, weights)
    repeated = [line for line, weight in zip(lines, weights, strict=True) for _ in range(weight)]
    again = list(list_words(repeated, "tha_Thai"))
    assert counts.tolist() == [again.count(word) for word in types]


def test_blocks_do_not_change_the_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["one two", "", "three", "four five six"] * 5
    whole = _count_types("eng_Latn", lines, None)
    monkeypatch.setattr(text_statistics, "_BLOCK", 9)
    parts = _count_types("eng_Latn", lines, None)
    assert parts[0] is not None
    assert whole[0] is not None
    assert parts[0].tolist() == whole[0].tolist() == [2, 0, 1, 3] * 5
    assert parts[1] == whole[1]
    assert parts[2].tolist() == whole[2].tolist()


def test_the_first_text_of_a_process_is_cut_as_later_ones_are() -> None:
    """ICU by itself cuts this text otherwise before it has met Japanese."""
    program = (
        "from vocabkit.auditing.text_statistics import segment_blocks\n"
        "line = ['aーあ']\n"
        "texts = (line, ['あ漢'], line)\n"
        "first, _, later = ([part for part, _ in segment_blocks(t, 'hin_Deva')] for t in texts)\n"
        "assert first == later, (first, later)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
