import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocabkit.audit.exemplars import aligned_halves, find_exemplars, find_middle, load_exemplars
from vocabkit.audit.parallel_text import text_from_lines
from vocabkit.core.errors import ConfigError


def _load(code: str) -> frozenset[str]:
    pytest.importorskip("gflanguages")
    found = load_exemplars(code)
    assert found is not None
    return found


def test_letters_of_an_alphabet() -> None:
    yoruba = _load("yor_Latn")
    assert {"ẹ", "ọ", "ṣ", "gb", "ẹ́", "A"} <= yoruba
    assert not {"q", "ß", "1", ".", "{", "◌"} & yoruba
    assert {"क", "ा", "्"} <= _load("hin_Deva")
    assert len(_load("zho_Hans")) > 1500
    assert all(
        unicodedata.category(c)[0] in "LM" for c in "".join(_load("arb_Arab")) if c.isprintable()
    )


def test_codes_are_matched_to_the_package_s_names() -> None:
    assert "ө" in _load("khk_Cyrl")
    assert "ñ" in _load("tgl_Latn")
    assert "か" in _load("jpn_Jpan")
    assert "가" in _load("kor_Hang")
    assert load_exemplars("srp_Latn") != load_exemplars("srp_Cyrl")


def test_an_unknown_language_has_no_letters_rather_than_none_of_them() -> None:
    assert load_exemplars("xxx_Latn") is None
    assert find_exemplars("eng_Ethi") is None


def test_every_form_of_a_letter_is_spelt_out() -> None:
    pytest.importorskip("gflanguages")
    found = find_exemplars("yor_Latn")
    assert found is not None
    assert {"ẹ", "e", "\u0323", "\u0301", "Ẹ", "z"} <= found.spell_out()
    assert "ß" not in found.spell_out()


def test_lines_are_cut_at_words() -> None:
    assert find_middle("one two three", "eng_Latn") == 7
    assert find_middle("我爱北京", "zho_Hans") == 2
    # A syllable of Tai Tham is not known to be a word; a grapheme is never cut.
    assert find_middle("क्षिक्षि", "und_Lana") == 4
    assert find_middle("extraordinary", "eng_Latn") in (6, 7)
    for line in ("", " ", "a", "  a ", "e\u0301"):
        assert find_middle(line, "eng_Latn") is None


def test_code_switched_lines_join_aligned_halves() -> None:
    text = text_from_lines(
        {"eng_Latn": ["one two three four", "", "a b"], "zho_Hans": ["我爱北京", "我", "你好吗？"]},
        aligned="yes",
    )
    assert aligned_halves(text, "eng_Latn", "zho_Hans") == [
        ("one two北京", "one two", "北京"),
        ("a吗？", "a", "吗？"),
    ]
    assert aligned_halves(text, "zho_Hans", "eng_Latn")[0] == (
        "我爱 three four",
        "我爱",
        " three four",
    )


def test_the_sample_of_lines_is_the_same_for_every_pair() -> None:
    lines = [f"number {i} is it" for i in range(500)]
    text = text_from_lines({"eng_Latn": lines, "deu_Latn": lines, "fra_Latn": lines}, aligned="yes")
    one = aligned_halves(text, "eng_Latn", "deu_Latn", 3)
    assert len(one) == 200
    assert one == aligned_halves(text, "eng_Latn", "fra_Latn", 3)
    assert one != aligned_halves(text, "eng_Latn", "fra_Latn", 4)
    assert one == sorted(one, key=lambda row: int(row[0].split()[1]))
    assert len(aligned_halves(text, "eng_Latn", "deu_Latn", limit=None)) == 500


def test_text_that_is_not_aligned_has_no_halves() -> None:
    text = text_from_lines({"eng_Latn": ["a b"], "yor_Latn": ["c d", "e f"]})
    with pytest.raises(ConfigError, match="eng_Latn: not aligned"):
        aligned_halves(text, "eng_Latn", "yor_Latn")


@given(st.text("ab .\u0301\u0e01\u0e32\u4e2d\u200d"))
def test_both_halves_hold_text_and_no_space_is_lost(line: str) -> None:
    cut = find_middle(line, "tha_Thai")
    if cut is not None:
        assert line[:cut].strip()
        assert line[cut:].strip()
        assert not line[cut - 1].isspace()
