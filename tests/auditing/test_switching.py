from hypothesis import given
from hypothesis import strategies as st

from vocabkit.auditing.parallel_text import AuditText, _text_from_lines
from vocabkit.auditing.text_quality import (
    _draw_rows,
    _find_middle,
    _find_middles,
    _join_halves,
)


def aligned_halves(
    text: AuditText, a: str, b: str, seed: int = 0, *, limit: int = 200
) -> list[tuple[str, str, str]]:
    rows = _draw_rows(text.alignment.lines or 0, seed, limit)
    one, two = ([text.languages[code][row] for row in rows] for code in (a, b))
    return list(_join_halves(one, _find_middles(one, a), two, _find_middles(two, b)))


def test_lines_are_cut_at_words() -> None:
    assert _find_middle("one two three", "eng_Latn") == 7
    assert _find_middle("我爱北京", "zho_Hans") == 2
    # A syllable of Tai Tham is not known to be a word; a grapheme is never cut.
    assert _find_middle("क्षिक्षि", "und_Lana") == 4
    assert _find_middle("extraordinary", "eng_Latn") in (6, 7)
    for line in ("", " ", "a", "  a ", "e\u0301"):
        assert _find_middle(line, "eng_Latn") is None


def test_code_switched_lines_joinaligned_halves() -> None:
    text = _text_from_lines(
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
    text = _text_from_lines({"eng_Latn": lines, "deu_Latn": lines, "fra_Latn": lines}, aligned="yes")
    one = aligned_halves(text, "eng_Latn", "deu_Latn", 3)
    assert len(one) == 200
    assert one == aligned_halves(text, "eng_Latn", "fra_Latn", 3)
    assert one != aligned_halves(text, "eng_Latn", "fra_Latn", 4)
    assert one == sorted(one, key=lambda row: int(row[0].split()[1]))
    assert len(aligned_halves(text, "eng_Latn", "deu_Latn", limit=900)) == 500


@given(st.text("ab .\u0301\u0e01\u0e32\u4e2d\u200d"))
def test_both_halves_hold_text_and_no_space_is_lost(line: str) -> None:
    cut = _find_middle(line, "tha_Thai")
    if cut is not None:
        assert line[:cut].strip()
        assert line[cut:].strip()
        assert not line[cut - 1].isspace()
