import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocabkit.auditing.composition import (
    SCRIPT_GROUPS,
    _pool_groups,
    _scripts_of_prefix,
    attribute_token,
)
from vocabkit.core.text import COMMON, INHERITED, UNKNOWN, script_of


@pytest.mark.parametrize(
    ("token", "script", "kind"),
    [
        ("hello", "Latn", "text"),
        (" при", "Cyrl", "text"),
        ("1990", None, "digits"),
        ("١٢", None, "digits"),  # script Arab, yet no Arabic word
        ("१", None, "digits"),
        ("।", None, "punctuation"),
        ("۔", None, "punctuation"),
        ("+", None, "symbols"),
        ("(+1)", None, "digits"),
        (" ", None, "space"),
        ("\u2581", None, "space"),
        ("\u0301", None, "common"),  # an accent of many scripts
        ("\u1cd0", None, "common"),  # a Vedic tone of several
        ("日本の", "Hani", "text"),
        ("한字", "Hang", "text"),
        ("aж", "Latn", "mixed"),
        ("жжa", "Cyrl", "mixed"),
        ("का", "Deva", "text"),
        ("ሰላም", "Ethi", "text"),
    ],
)
def test_text(token: str, script: str | None, kind: str) -> None:
    found = attribute_token(token.encode())
    assert (found.script, found.kind) == (script, kind)


@pytest.mark.parametrize(
    ("token", "script"),
    [
        (b"\xe0\xa4", "Deva"),
        (b" \xe0\xa4", "Deva"),
        (b"\xe0", None),  # Devanagari, Bengali, … Thai, Lao
        (b"\xa4\xb0", None),
        (b"\x95\xe0\xa4\xb0", "Deva"),
        ("ሰ".encode() + b"\xe1\x88", "Ethi"),
        ("ж".encode() + b"\xe1\x88", "Cyrl"),
        (b"\xe4\xb8", "Hani"),
        (b"\xc0\xaf", None),
        (b"\xff", None),
        (b"\xe2\x80", None),
    ],
)
def test_partial(token: bytes, script: str | None) -> None:
    found = attribute_token(token)
    assert (found.script, found.kind) == (script, "partial")
    assert (found.reason is None) == (script is not None)


@pytest.mark.parametrize("prefix", [b"\xe0", b"\xe1\x88", b"\xe0\xa4", b"\xf0\x9e\xa4", b"\xc3", b"\xd8"])
def test_scripts_of_a_prefix_are_those_of_all_its_characters(prefix: bytes) -> None:
    """Slow oracle: encode every character and look whether it starts so."""
    found = {
        script_of(chr(code))
        for code in range(0x110000)
        if not 0xD800 <= code < 0xE000 and chr(code).encode().startswith(prefix)
    }
    assert _scripts_of_prefix(prefix) == found - {COMMON, INHERITED, UNKNOWN}


@given(st.binary(max_size=8))
def test_any_bytes_have_a_kind(data: bytes) -> None:
    found = attribute_token(data)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        assert found.kind == "partial"
    else:
        assert found.kind != "partial"
        if not any(unicodedata.category(c)[0] in "LMC" for c in text):
            assert found.script is None


def test_groups_do_not_overlap() -> None:
    assert _pool_groups({"Deva": 1, "Thai": 2, "Tibt": 4}) == {"Brahmic": 7}
    assert _pool_groups({"Hang": 1, "Kana": 2, "Grek": 4}) == {"other": 7}
    listed = [script for scripts in SCRIPT_GROUPS.values() for script in scripts]
    assert len(listed) == len(set(listed))
