import unicodedata

import regex
from hypothesis import given
from hypothesis import strategies as st

from vocabkit.core.text import cut_run, piece_script, script_of, script_table, show_token


def test_scripts() -> None:
    assert [script_of(c) for c in "aяक用カ1\u0301"] == [
        "Latn", "Cyrl", "Deva", "Hani", "Kana", "Zyyy", "Zinh",
    ]  # fmt: skip
    assert len(script_table()) == 0x110000
    assert piece_script("▁१२.") == "Deva"
    assert piece_script("▁12.") == "Zyyy"
    assert piece_script("abя") == "Latn"


@given(st.text(alphabet="ae\u0301\u0323 \u200d👩👧한ᄀ", min_size=0, max_size=200), st.integers(1, 40))
def test_cut_run_loses_nothing_and_breaks_no_cluster(run: str, limit: int) -> None:
    parts = cut_run(run, limit)
    assert "".join(parts) == run
    assert all(len(part) <= limit for part in parts)
    starts = {m.start() for m in regex.finditer(r"\X", run)} | {len(run)}
    longest = max((len(m.group()) for m in regex.finditer(r"\X", run)), default=0)
    if longest <= limit:
        end = 0
        for part in parts[:-1]:
            end += len(part)
            assert end in starts


def test_show_token() -> None:
    assert show_token(b"a\n\x00") == "a\\n\\u0000"
    assert show_token("a\u200cb".encode()) == "a\\u200cb"
    assert show_token(b"\xe1\x80") == "\\xe1\\x80"
    assert show_token("שלום".encode()) == "\u2068שלום\u2069"
    assert show_token("\u0301x".encode()) == "\u25cc\u0301x"
    assert show_token(b"\\x") == "\\\\x"


@given(st.binary())
def test_what_is_shown_cannot_disturb_a_terminal(token: bytes) -> None:
    shown = show_token(token, isolate=False)
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") for c in shown)
