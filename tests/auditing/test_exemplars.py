import unicodedata

import pytest

from vocabkit.auditing.text_quality import _load_exemplars


def _load(code: str) -> frozenset[str]:
    pytest.importorskip("gflanguages")
    found = _load_exemplars(code)
    assert found is not None
    return found


def test_letters_of_an_alphabet() -> None:
    yoruba = _load("yor_Latn")
    assert {"ẹ", "ọ", "ṣ", "gb", "ẹ́", "A"} <= yoruba
    assert not {"q", "ß", "1", ".", "{", "◌"} & yoruba
    assert {"क", "ा", "्"} <= _load("hin_Deva")
    assert len(_load("zho_Hans")) > 1500
    assert all(unicodedata.category(c)[0] in "LM" for c in "".join(_load("arb_Arab")) if c.isprintable())


def test_codes_are_matched_to_the_package_s_names() -> None:
    assert "ө" in _load("khk_Cyrl")
    assert "ñ" in _load("tgl_Latn")
    assert "か" in _load("jpn_Jpan")
    assert "가" in _load("kor_Hang")
    assert _load_exemplars("srp_Latn") != _load_exemplars("srp_Cyrl")


def test_an_unknown_language_has_no_letters_rather_than_none_of_them() -> None:
    assert _load_exemplars("xxx_Latn") is None
    assert _load_exemplars("eng_Ethi") is None


@pytest.mark.parametrize("code", ["tha_Thai", "lao_Laoo", "khm_Khmr", "hin_Deva", "arb_Arab"])
def test_no_letter_holds_a_space_or_the_circle_that_marks_are_shown_on(code: str) -> None:
    for letter in _load(code):
        assert letter
        assert not any(character.isspace() or character == "◌" for character in letter)
