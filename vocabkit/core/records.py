"""What the JSON of our folders says, believed only when it is right: sealed, typed, and naming nothing outside.

A file of a folder may come from anyone, or be cut and flipped on its way. So each is read in one place: a seal
(a digest of the content, within it) tells what was changed, types are held field by field, and a name that
the file gives can only be one below the folder that holds it.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict, Union, get_args, get_origin, get_type_hints

from vocabkit.core.errors import OutputError, VocabkitError
from vocabkit.core.folders import fingerprint_file, read_json, write_json
from vocabkit.core.languages import CODE

_SEAL = "digest"
_MOST = 2**63 - 1
_SHOWN = 60

# --- Seals -----------------------------------------------------------------------------------------
# BLAKE2b-160 of the content in one spelling, so that a file laid out anew is the same.


def seal(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content with a digest of itself; one that it had is made anew."""
    rest = {name: value for name, value in content.items() if name != _SEAL}
    return {**rest, _SEAL: _digest(rest)}


def _digest(content: Mapping[str, Any]) -> str:
    spelt = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(spelt.encode(), digest_size=20).hexdigest()


def is_sealed(content: Mapping[str, Any]) -> bool:
    """Return whether content has a seal at all; files of earlier versions have none."""
    return _SEAL in content


def break_seal(content: Mapping[str, Any], place: str, error: type[VocabkitError], hint: str) -> dict[str, Any]:
    """Return the content without its seal. Raises `error` where it has none, or was changed since."""
    rest = dict(content)
    if rest.pop(_SEAL, None) != _digest(rest):
        raise error(f"{place}: was changed since it was written: its digest is another", hint)
    return rest


def write_sealed(path: Path, content: Mapping[str, Any], *, indent: int | None = 1) -> None:
    """Write an object and its seal, as `write_json` does."""
    write_json(path, seal(content), indent=indent)


def read_sealed(path: Path, error: type[VocabkitError], hint: str, schema: int) -> dict[str, Any]:
    """Return what `write_sealed` wrote. Raises `error` for another schema, and for a file that was changed."""
    content = read_json(path, error, hint)
    if content.get("schema") != schema:
        raise error(f"{path}: schema {show(content.get('schema'))}: this version reads {schema}", hint)
    return break_seal(content, str(path), error, hint)


def check_digest(path: Path, digest: str, error: type[VocabkitError], hint: str) -> None:
    """Raise `error` unless a file is there with the bytes whose digest this is."""
    try:
        found = fingerprint_file(path)
    except FileNotFoundError as wrong:
        raise error(f"{path}: is missing", hint) from wrong
    except OSError as wrong:
        raise error(f"{path}: {wrong.strerror}", hint) from wrong
    if found != digest:
        raise error(f"{path}: was changed since it was written: its digest is another", hint)


# --- Names -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Rule:
    """What a text must be besides a text; `says` ends the sentence "expected …"."""

    pattern: re.Pattern[str]
    says: str


_PART = r"(?!\.\.?(?:/|$))[^/\\:\x00-\x1f\x7f]+"
Name = Annotated[str, _Rule(re.compile(f"{_PART}(?:/{_PART})*"), "a plain name within the folder")]
"""A file that a file names: `a.json` or `part/a.json`, never `..`, a root or a drive."""
Code = Annotated[str, _Rule(CODE, "a language code such as yor_Latn")]
Digest = Annotated[str, _Rule(re.compile("[0-9a-f]{40}"), "a digest of 40 hexadecimal digits")]

_SIGNED = "signed"
Signed = Annotated[int, _SIGNED]
"""A whole number that may be below 0, where `int` is one that may not."""

# --- Types -----------------------------------------------------------------------------------------


def parse_record(kind: Any, content: object, place: str | Path, error: type[VocabkitError], hint: str) -> Any:
    """Return content of a file as a type: a dataclass, or any hint that its fields may have.

    Numbers are whole and count from 0 where a field is `int`; a dataclass's fields must all be there but for
    those with a default, and no other; a TypedDict's must be there, beside others. Raises `error` naming the
    file (`place`), the field and what it should be.

    >>> parse_record(list[int], [1, -2], "a.json", VocabkitError, "copy it again")
    Traceback (most recent call last):
    vocabkit.core.errors.VocabkitError: a.json: [1] is -2, expected a whole number of at least 0
    """
    try:
        return _parse(kind, content, "")
    except _Mismatch as found:
        raise error(f"{place}: {found}", hint) from None


def show(value: object) -> str:
    """Return a value of a file as an error says it: short, and in ASCII."""
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


class _Mismatch(Exception):
    """Which field of a record is not what it should be."""


def _refuse(field: str, value: object, wanted: str) -> _Mismatch:
    return _Mismatch(f"{field or 'what it holds'} is {show(value)}, expected {wanted}")


_PLAIN: Mapping[Any, tuple[tuple[type, ...], str]] = {
    str: ((str,), "text"),
    bool: ((bool,), "true or false"),
    int: ((int,), "a whole number of at least 0"),
    float: ((int, float), "a number"),
    type(None): ((type(None),), "null"),
}


def _parse(kind: Any, value: Any, field: str) -> Any:
    if kind is Any:
        return value
    if kind in _PLAIN:
        return _parse_plain(kind, value, field)
    origin, given = get_origin(kind), get_args(kind)
    if kind == Signed:
        if type(value) is not int or abs(value) > _MOST:
            raise _refuse(field, value, "a whole number")
        return value
    if origin is Annotated:
        text = _parse(given[0], value, field)
        if not given[1].pattern.fullmatch(text):
            raise _refuse(field, text, given[1].says)
        return text
    if origin is NotRequired:
        return _parse(given[0], value, field)
    if origin is Literal:
        if not any(value == item and type(value) is type(item) for item in given):
            raise _refuse(field, value, f"one of {', '.join(map(str, given))}")
        return value
    if origin in (Union, types.UnionType):
        return _parse_any_of(given, value, field)
    if is_dataclass(kind):
        return _parse_fields(kind, value, field)
    if hasattr(kind, "__required_keys__"):
        return _parse_open(kind, value, field)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _parse_mapping(given, value, field)
    if isinstance(origin, type) and issubclass(origin, Sequence):
        if not isinstance(value, list):
            raise _refuse(field, value, "a list")
        found = [_parse(given[0], item, f"{field}[{place}]") for place, item in enumerate(value)]
        return tuple(found) if origin is tuple else found
    raise TypeError(f"{kind} is no type of a record")


def _parse_plain(kind: Any, value: Any, field: str) -> Any:
    accepted, says = _PLAIN[kind]
    right = isinstance(value, accepted) and (kind is bool or not isinstance(value, bool))
    if kind is int:
        right = right and 0 <= value <= _MOST
    elif kind is float:
        right = right and math.isfinite(value)
    elif kind is str and right:
        right = not any("\ud800" <= sign <= "\udfff" for sign in value)
    if not right:
        raise _refuse(field, value, says)
    return value


def _parse_any_of(kinds: Sequence[Any], value: Any, field: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    wrong = None
    for kind in kinds:
        if kind is not type(None):
            try:
                return _parse(kind, value, field)
            except _Mismatch as found:
                wrong = found
    assert wrong is not None
    raise wrong


def _parse_mapping(given: tuple[Any, ...], value: Any, field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _refuse(field, value, "an object")
    found = {}
    for name, item in value.items():
        _parse(given[0], name, f"a key of {field}" if field else "a key")
        found[name] = _parse(given[1], item, _join(field, name))
    return found


@cache
def _list_hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _parse_fields(kind: Any, value: Any, field: str) -> Any:
    if not isinstance(value, dict):
        raise _refuse(field, value, "an object")
    known = {item.name: item for item in fields(kind)}
    for name in value:
        if name not in known:
            raise _Mismatch(f"{field or 'it'} has {show(name)}, which is no field of it")
    hints = _list_hints(kind)
    found = {}
    for name, item in known.items():
        if name in value:
            found[name] = _parse(hints[name], value[name], _join(field, name))
        elif item.default is MISSING and item.default_factory is MISSING:
            raise _Mismatch(f"{field or 'it'} lacks {name}")
    return kind(**found)


def _parse_open(kind: Any, value: Any, field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _refuse(field, value, "an object")
    hints = _list_hints(kind)
    for name, hint in hints.items():
        if name not in value and get_origin(hint) is not NotRequired:
            raise _Mismatch(f"{field or 'it'} lacks {name}")
    held = {name: hint for name, hint in hints.items() if name in value}
    return value | {name: _parse(hint, value[name], _join(field, name)) for name, hint in held.items()}


def _join(field: str, name: str) -> str:
    plain = name.isascii() and name.isprintable()
    return f"{field}.{name if plain else show(name)}".removeprefix(".")


# --- Manifests -------------------------------------------------------------------------------------


class _Details(TypedDict):
    warnings: NotRequired[list[str] | None]
    baseline: NotRequired[str]


class _Manifest(TypedDict):
    """What is read again of the `Manifest` that `write_manifest` writes."""

    config: NotRequired[dict[str, Any]]
    inputs: NotRequired[dict[str, str]]
    outputs: NotRequired[dict[str, str]]
    seconds: NotRequired[dict[str, float]]
    details: NotRequired[_Details]


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """Return the manifest of a folder as plain data; an empty dict where there is none. Raises OutputError."""
    path, hint = Path(folder) / "manifest.json", "make the folder again"
    if not path.is_file():
        return {}
    found: dict[str, Any] = parse_record(_Manifest, read_json(path, OutputError, hint), path, OutputError, hint)
    return found
