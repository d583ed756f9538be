"""What is read from JSON files of a folder: sealed, typed, and naming nothing outside of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocabkit.core.errors import CorpusError
from vocabkit.core.records import Code, Digest, Name, check_digest, parse_record, read_sealed, write_sealed

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@dataclass(frozen=True)
class Closed:
    count: int
    kind: Literal["a", "b"] | None = None


class Open(TypedDict):
    names: list[Name]
    closed: NotRequired[Mapping[Code, Closed]]


def parse(kind: Any, content: object) -> Any:
    return parse_record(kind, content, "x.json", CorpusError, "copy it again")


def test_what_fits_is_returned_as_it_was_asked_for() -> None:
    assert parse(Closed, {"count": 3}) == Closed(3)
    found = parse(Open, {"names": ["a", "b/c.d"], "closed": {"yor_Latn": {"count": 1, "kind": "a"}}, "more": 1})
    assert found == {"names": ["a", "b/c.d"], "closed": {"yor_Latn": Closed(1, "a")}, "more": 1}
    assert parse(float, 2) == 2
    assert parse(tuple[int, ...], [1, 2]) == (1, 2)
    assert parse(str | None, None) is None


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        (Closed, {"count": True}, "x.json: count is True, expected a whole number of at least 0"),
        (Closed, {"count": -1}, "count is -1, expected a whole number"),
        (Closed, {"count": 1.5}, "count is 1.5, expected a whole number"),
        (Closed, {"count": 2**63}, "expected a whole number"),
        (Closed, {}, "it lacks count"),
        (Closed, {"count": 1, "kind": "c"}, "kind is 'c', expected one of a, b"),
        (Closed, {"count": 1, "cuont": 1}, "it has 'cuont', which is no field of it"),
        (Closed, [], "what it holds is [], expected an object"),
        (Open, {"names": "a"}, "names is 'a', expected a list"),
        (Open, {"names": [1]}, "names[0] is 1, expected text"),
        (Open, {"names": [], "closed": {"yor_Latn": 1}}, "closed.yor_Latn is 1, expected an object"),
        (
            Open,
            {"names": [], "closed": {"../../X": {}}},
            "a key of closed is '../../X', expected a language code",
        ),
        (float, float("inf"), "expected a number"),
        (str, "\ud800", "expected text"),
        (Digest, "g" * 40, "expected a digest"),
    ],
)
def test_what_does_not_fit_names_the_file_the_field_and_the_value(
    kind: Any, content: object, message: str
) -> None:
    with pytest.raises(CorpusError) as caught:
        parse(kind, content)
    assert message in caught.value.message
    assert caught.value.message.startswith("x.json: ")


@given(JSON)
def test_any_content_is_taken_or_refused(content: object) -> None:
    for kind in (Closed, Open, Mapping[Code, int], list[Name]):
        with suppress(CorpusError):
            parse(kind, content)


@given(
    st.lists(st.sampled_from(["..", ".", "/", "\\", "a", "b.c", "~", "C:", "\n", "\0", "é", " "]), max_size=5)
)
def test_a_name_stays_within_its_folder(parts: list[str]) -> None:
    """Held against the file system's own reading of the path."""
    name = "".join(parts)
    try:
        parse(Name, name)
    except CorpusError:
        return
    root = Path("/top/folder")
    assert (root / name).resolve().is_relative_to(root)
    assert (root / name).resolve() != root
    assert not any(sign in name for sign in "\\:\n\0")


@pytest.mark.parametrize(
    "name", ["..", "../x", "a/../../x", "/etc/passwd", "a//b", "./a", "a/.", "", "C:x", "a\\b"]
)
def test_a_path_is_no_name(name: str) -> None:
    with pytest.raises(CorpusError, match="expected a plain name within the folder"):
        parse(Name, name)


def test_a_seal_knows_any_change_but_that_of_the_layout(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    content = {"schema": 1, "name": "é", "numbers": [1, 2.5, None], "inner": {"b": 1, "a": True}}
    write_sealed(path, content)
    assert read_sealed(path, CorpusError, "again", 1) == content
    sealed = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(dict(reversed(sealed.items())), indent=4), encoding="utf-8")
    assert read_sealed(path, CorpusError, "again", 1) == content
    for change in ({"numbers": [1, 2.5, 0]}, {"more": 1}, {"inner": {"b": 1, "a": 1.0}}, {"digest": "0" * 40}):
        path.write_text(json.dumps(sealed | change), encoding="utf-8")
        with pytest.raises(CorpusError, match=r"x\.json: was changed since it was written"):
            read_sealed(path, CorpusError, "again", 1)
    del sealed["digest"]
    path.write_text(json.dumps(sealed), encoding="utf-8")
    with pytest.raises(CorpusError, match="was changed"):
        read_sealed(path, CorpusError, "again", 1)
    with pytest.raises(CorpusError, match="schema 1: this version reads 2"):
        read_sealed(path, CorpusError, "again", 2)


@pytest.mark.parametrize("text", ['{"a": "\\ud800"}', '{"\\udfff": 1}', "9" * 5_000, "[" * 100_000, "{", "[1]"])
def test_json_that_no_program_should_have_written_is_an_error_with_a_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    with pytest.raises(CorpusError, match=r"x\.json: "):
        read_sealed(tmp_path / "x.json", CorpusError, "again", 1)


def test_a_digest_is_of_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    check_digest(path, _digest(b"abc"), CorpusError, "again")
    for data in (b"abd", b"ab", b"abcd"):
        path.write_bytes(data)
        with pytest.raises(CorpusError, match="was changed"):
            check_digest(path, _digest(b"abc"), CorpusError, "again")
    path.unlink()
    with pytest.raises(CorpusError, match=r"x: is missing"):
        check_digest(path, _digest(b"abc"), CorpusError, "again")


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=20).hexdigest()
