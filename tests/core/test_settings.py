"""Settings in words: sizes, lists of codes, and tables as `--set` takes them."""

import pytest

from vocabkit.core.config import list_settings, parse_size
from vocabkit.core.errors import ConfigError
from vocabkit.core.languages import split_codes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2GB", 2 << 30),
        ("2gb", 2 << 30),
        ("500 MB", 500 << 20),
        ("1.5G", 3 << 29),
        ("8GiB", 8 << 30),
        ("1_000_000", 1_000_000),
        (str(2 << 30), 2 << 30),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "two", "-1GB", "0", "1PB", "1.2.3G", "2GB!"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ConfigError, match=r"size|memory"):
        parse_size(text)


def test_codes_are_split_and_stripped() -> None:
    assert split_codes("yor, ibo_Latn,") == ["yor", "ibo_Latn"]
    assert split_codes(None) is None
    assert split_codes(["yor", " ibo_Latn"]) == ["yor", "ibo_Latn"]


def test_tables_become_the_lines_that_set_takes() -> None:
    tables = {"vocabulary": {"size": 64_000, "byte_fallback": True}, "languages": {"quota": {"eng_Latn": 0.5}}}
    assert list_settings(tables, {"base": None, "preset": "tok-ẹ/"}) == [
        "vocabulary.size=64000",
        "vocabulary.byte_fallback=true",
        "languages.quota.eng_Latn=0.5",
        'preset="tok-ẹ/"',
    ]
