import re
from pathlib import Path

import pytest

from vocabkit.auditing.figures import Warned
from vocabkit.auditing.parallel_text import _text_from_lines, text_from_counts
from vocabkit.auditing.text_quality import _find_mojibake, _is_zawgyi, _stray_finder, _warn_of_text
from vocabkit.auditing.text_statistics import measure_text
from vocabkit.core.languages import Language, Panel
from vocabkit.corpus.word_counts import WordCounts

_UNICODE = "ကျွန်တော် ကျောင်းသွားသည်။ နေကောင်းလား။"
_ZAWGYI = "ကၽြန္ေတာ္ ေက်ာင္းသြားသည္။ ေနေကာင္းလား။"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def _warn(folder: Path, panel: Panel | None = None, **lines: list[str]) -> dict[tuple[str, str], Warned]:
    text = _text_from_lines(lines)
    found = _warn_of_text(text, measure_text(text, cache=folder), panel)
    return {(warned.language, warned.check): warned for warned in found}


def test_zawgyi_is_told_from_unicode(folder: Path) -> None:
    assert _is_zawgyi(_ZAWGYI)
    assert not _is_zawgyi(_UNICODE)
    assert not _is_zawgyi("no Burmese at all")
    # One of three signs misplaced is Zawgyi, one of five a slip.
    assert _is_zawgyi("ေက နေ ကြေး")
    assert not _is_zawgyi("ေက နေ ကြေး ပြော ဗုဒ္ဓ")
    # Stacked consonants and a vowel after a medial are Unicode's order.
    assert not _is_zawgyi("ဗုဒ္ဓ မြန်မာ ပြော ကြေး သတ္တဝါ")
    found = _warn(folder, mya_Mymr=[_ZAWGYI] * 3 + [_UNICODE, "2020", ""], shn_Mymr=[_UNICODE])
    assert list(found) == [("mya_Mymr", "zawgyi")]
    warned = found["mya_Mymr", "zawgyi"]
    assert (warned.count, warned.total, warned.share) == (3, 4, 0.75)
    assert warned.examples


def test_letters_of_another_script_within_words(folder: Path) -> None:
    fine = ["Fox News and the μ symbol — “The” α particle"] * 20
    damaged = [f"Àwọn ϙmϙ ẹgbé{i} rẹ\u0335 òmὺgò kan" for i in range(20)]
    found = _warn(folder, eng_Latn=fine, yor_Latn=damaged)
    assert ("eng_Latn", "stray_letters") not in found
    warned = found["yor_Latn", "stray_letters"]
    assert (warned.count, warned.total) == (60, 120)
    assert warned.examples[0] in ("ϙmϙ", "òmὺgò", "rẹ\u0335")


def test_what_counts_as_a_stray_letter() -> None:
    def stray(line: str, *scripts: str) -> list[str]:
        find = _stray_finder(set(line), frozenset(scripts))
        return find(line) if find else []

    assert stray("дa нет сеt", "Cyrl") == ["дa", "сеt"]
    # Abbreviations and whole foreign stems take native endings; foreign words stand alone.
    assert stray("BBCда TVда PINкод fox-ны webы iPhoneы e the", "Cyrl") == []
    assert stray("d´Police ´ Inrupt`ê `quoted` o'clock", "Latn") == ["d´Police", "Inrupt`ê"]
    assert stray("હતi મારo", "Gujr") == ["હતi", "મારo"]
    # Scripts that run on, and those whose particles follow any word, always touch foreign letters.
    assert stray("我a你 的o", "Hani") == []
    assert stray("AP통신a", "Hang", "Hani") == []
    assert stray("plain ASCII", "Latn") == []


def test_few_strays_are_noise(folder: Path) -> None:
    check = ("rus_Cyrl", "stray_letters")
    assert check not in _warn(folder, rus_Cyrl=["дa"] * 9 + ["да"] * 90)
    assert check in _warn(folder, rus_Cyrl=["дa"] * 10 + ["да"] * 90)
    assert check not in _warn(folder, rus_Cyrl=["дa"] * 10 + ["да " * 100] * 101)


def test_the_share_of_unexpected_script(folder: Path) -> None:
    panel = Panel(
        "test",
        (
            Language("srp_Cyrl", "Serbian", "", "", "", ("Cyrl", "Latn"), "", False),
            Language("xx", "Unknown", "", "", "", ("Latn",), "", False),
        ),
    )
    serbian = ["добро jутро"] * 9 + ["abc 123, !"] * 9
    found = _warn(folder, panel, srp_Cyrl=serbian, rus_Cyrl=["добро утро"] * 9, xx=["добро"])
    warned = found["srp_Cyrl", "unexpected_script"]
    assert (warned.count, warned.total) == (9 + 27, 90 + 27)
    assert "Latn 30.8%" in warned.note
    assert "panel" in warned.note
    assert warned.examples == ("abc", "jутро")
    # A code that names no script is judged by the panel.
    assert found["xx", "unexpected_script"].share == 1.0
    assert ("rus_Cyrl", "unexpected_script") not in found
    without = _warn(folder, srp_Cyrl=serbian)["srp_Cyrl", "unexpected_script"]
    assert "panel" not in without.note
    assert _warn(folder, xx=["добро"]) == {}


# What is said in one script with the names of another.
_NAMES = {
    "zho_Hant": [
        "馬其頓總統 Gjorge Ivanov 反對是次改名公投，表明他將棄票。",
        "委員會 (Welsh Parliament, MWP) 這一建議",
    ],
    "lao_Laoo": ["ປະທານະທິບໍ່ດີມາເຊໂດນີ ທ່ານ Gjorge Ivanov, ເຊິ່ງເປັນຜູ້ຄັດຄ້ານ", "ກຸ່ມຈາກ MWP ເປັນ Muppet"],
    "kor_Kore": ["대통령 Donald Trump은 FBI와 CNN에 말했다", "어제 NATO 회의가 열렸다"],
    "rus_Cyrl": ["Компания Google купила Fitbit у Reuters", "выход из ЕС — Brexit"],
    "amh_Ethi": ["የBBC ዘጋቢ Ronaldo ን አነጋገረ", "ዛሬ CNN ዘገበ"],
}
_ENGLISH = "the committee was split over whether the name should be changed at all"


def _clean(code: str) -> list[str]:
    """A text with names in Latin letters, a tenth of it or so."""
    native = [re.sub("[A-Za-z]+", "", line) for line in _NAMES[code]]
    return [f"{line} {i}" for i in range(10) for line in [*native * 6, *_NAMES[code]]]


def test_names_in_latin_letters_are_no_other_script(folder: Path) -> None:
    found = _warn(folder, None, **{code: _clean(code) for code in _NAMES})
    assert {code for code, check in found if check == "unexpected_script"} == set()


@pytest.mark.parametrize("code", sorted(_NAMES))
def test_running_text_in_another_script_is_caught(code: str, folder: Path) -> None:
    mixed = [line if i % 6 else f"{_ENGLISH} {i}" for i, line in enumerate(_clean(code))]
    warned = _warn(folder, None, **{code: mixed})[code, "unexpected_script"]
    assert "Latn" in warned.note
    # A whole text of names, or in capitals, is none in the language all the same.
    shouted = _warn(folder, None, **{code: [f"{_ENGLISH.upper()} {i}" for i in range(20)]})
    assert shouted[code, "unexpected_script"].share == 1.0


def test_letters_of_another_script_within_words_are_no_names(folder: Path) -> None:
    typed = [f"добpо jутpо Aлисa {i}" for i in range(20)]
    assert ("srp_Cyrl", "unexpected_script") in _warn(folder, srp_Cyrl=typed)


def test_a_han_letter_says_more_than_a_latin_one(folder: Path) -> None:
    # 60 lower-case Latin letters: 5.7 % of the letters, and beside 1,000 Han letters 2.1 % of the text.
    han = "馬其頓總統反對是次改名公投表明他將棄票之事"[:20]
    lines = [f"{han} {'abcdef' if i % 5 == 0 else ''}" for i in range(50)]
    assert ("zho_Hant", "unexpected_script") not in _warn(folder, zho_Hant=lines)
    # In an English text it is the other way round: 3 % Han letters are 8 % of what is said.
    english = [f"{_ENGLISH} {'馬其' if i % 2 == 0 else ''} {i}" for i in range(50)]
    warned = _warn(folder, eng_Latn=[f"{line} 馬" for line in english])["eng_Latn", "unexpected_script"]
    assert (warned.share or 0) < 0.05


def test_duplicate_and_blank_lines(folder: Path) -> None:
    lines = [f"line {i}" for i in range(90)] + ["same"] * 11 + ["", ""]
    warned = _warn(folder, eng_Latn=lines)["eng_Latn", "duplicate_lines"]
    assert (warned.count, warned.total, warned.examples) == (10, 101, ("same",))
    assert _warn(folder, eng_Latn=[*lines[1:-3], "", ""]) == {}
    text = _text_from_lines({"eng_Latn": ["a", "b"], "yor_Latn": ["", "b"]}, aligned="yes")
    found = _warn_of_text(text, measure_text(text, cache=folder))
    assert [(w.language, w.check, w.count, w.total) for w in found] == [("yor_Latn", "blank_lines", 1, 2)]


def test_characters_that_are_no_text(folder: Path) -> None:
    line = "a\ue000b \U0001fffe \u0378 lost\ufffd \x84\x07 \ufeff tab\tok \u200d"
    found = _warn(folder, eng_Latn=[line, "x"])
    assert {check: warned.count for (_, check), warned in found.items()} == {
        "private_use": 1,
        "unassigned": 2,
        "replacement_characters": 1,
        "control_characters": 3,
    }
    assert all(warned.total == len(line) + 1 for warned in found.values())
    assert found["eng_Latn", "control_characters"].examples[0] == "\\u0007"
    # Assigned in Unicode 16, so unknown to Python 3.11's own tables.
    assert _warn(folder, wol_Gara=["\U00010d4a"]) == {}


def test_mojibake(folder: Path) -> None:
    original = "Ça été «naïve» — São Tomé"
    broken = original.encode().decode("cp1252", "replace")
    assert _find_mojibake(original) == []
    assert _find_mojibake("Ã ÂÂ voilà… naïve”") == []
    assert _find_mojibake(broken)[-1] == "TomÃ©"
    assert ("fra_Latn", "mojibake") in _warn(folder, fra_Latn=[broken] * 10)
    assert _warn(folder, fra_Latn=[f"{original} {i}" for i in range(50)]) == {}


def test_words_with_counts_are_weighted(folder: Path) -> None:
    lines = ["дa да да"] * 12 + ["bad\ufffd"]
    by_line = _warn(folder, rus_Cyrl=lines)
    text = text_from_counts(WordCounts.from_texts({"rus_Cyrl": lines}))
    by_word = _warn_of_text(text, measure_text(text, cache=folder))
    assert [(w.check, w.count) for w in by_word] == [
        (check, warned.count) for (_, check), warned in by_line.items() if check != "duplicate_lines"
    ]
    assert by_word[0].check == "stray_letters"
    assert (by_word[0].count, by_word[0].total) == (12, 37)
