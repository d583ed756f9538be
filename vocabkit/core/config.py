"""TOML → frozen models: shipped presets, `--set` overrides, did-you-mean, and the resolved file written back.

YAML is refused on purpose: it reads `[en, no, sv]` as `['en', False, 'sv']` and `3e-4` as text.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import json
import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from shlex import quote
from textwrap import dedent
from typing import Annotated, Any, Literal, TypeGuard, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

from vocabkit.core.errors import ConfigError
from vocabkit.core.folders import read_toml


class Config(BaseModel):
    """Base of every configuration table: frozen, and a misspelt key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)

    @field_validator("*", mode="before")
    @classmethod
    def _split_list(cls, value: object, info: ValidationInfo) -> object:
        """Take `yor,ibo` where a list is wanted: brackets and quotes are what a shell eats."""
        wanted = cls.model_fields[info.field_name or ""].annotation
        kinds = {get_origin(kind) for kind in (wanted, *get_args(wanted))}
        if isinstance(value, str) and kinds & {tuple, list}:
            return [part.strip() for part in value.split(",") if part.strip()]
        return value


Model = TypeVar("Model", bound=Config)
Settings = Sequence[str] | Mapping[str, Any]
"""What is laid over a configuration: `key=value` texts, or nested tables."""


def load_config(model: type[Model], path: str | Path, overrides: Settings = ()) -> Model:
    """Read a TOML file, lay overrides over it, and validate.

    Raises `ConfigError` naming the file or override, the key and the value.
    """
    source = Path(path)
    return validate(model, lay_over(read_preset_tables(source), overrides), str(source), overrides)


def read_preset_tables(path: Path) -> dict[str, Any]:
    """Return what a configuration's file says, unchecked. Raises `ConfigError`."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such file", "vocabkit presets list")
    return read_toml(path, ConfigError, "vocabkit presets show NAME shows a whole one")


def lay_over(data: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Return the tables with settings laid over them, the later over the earlier.

    A text such as `vocabulary.size=64_000` or `languages.include=["yor_Latn"]` is read as TOML, a bare word as
    text; {"vocabulary": {"size": 64_000}} says the same. Raises `ConfigError`.
    """
    if isinstance(settings, Mapping):
        return _merge(data, settings)
    merged = dict(data)
    for text in [settings] if isinstance(settings, str) else settings:
        merged = _merge(merged, _parse_override(text))
    return merged


def _parse_override(text: str) -> dict[str, Any]:
    """Read one `key=value` as a TOML line; a value that is no TOML is taken as text. Raises `ConfigError`."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {text}: expected KEY=VALUE", "--set vocabulary.size=4_000")
    try:
        return tomllib.loads(f"{key.strip()} = {value.strip()}")
    except (ValueError, RecursionError) as error:
        try:
            return tomllib.loads(f"{key.strip()} = {json.dumps(value.strip(), ensure_ascii=False)}")
        except (ValueError, RecursionError):
            raise ConfigError(
                f"--set {text}: cannot be read as TOML: {error}",
                "quote a text: --set 'normalization.name=\"nfkc\"'",
            ) from error


def validate(model: type[Model], data: Mapping[str, Any], source: str, settings: Settings = ()) -> Model:
    """Build the model from plain data. Raises `ConfigError` naming the key, the value and near keys.

    What is wrong is the setting of that key among `settings` where there is one, else it is in `source`.
    """
    typed = () if isinstance(settings, Mapping) else [settings] if isinstance(settings, str) else settings
    given = {str(text).partition("=")[0].strip(): str(text) for text in typed}
    try:
        return model.model_validate(dict(data))
    except ValidationError as error:
        lines: list[str] = []
        ours: list[str] = []
        hint = "see its keys: vocabkit presets keys NAME"
        for problem in error.errors():
            place = ".".join(str(part) for part in problem["loc"])
            # The last one counts. A check of a whole table tells of the keys in it.
            set_by = [
                text
                for key, text in given.items()
                if f"{place}.".startswith(f"{key}.") or key.startswith(f"{place}.")
            ]
            if problem["type"] == "extra_forbidden":
                known = _keys(model)
                near = difflib.get_close_matches(place, known, n=1, cutoff=0.5)
                if not near:
                    leaf = {key.rsplit(".", 1)[-1]: key for key in known}
                    match = difflib.get_close_matches(place.rsplit(".", 1)[-1], list(leaf), n=1)
                    near = [leaf[match[0]]] if match else []
                lines.append(f"unknown key {place}" + (f" (did you mean {near[0]}?)" if near else ""))
                hint = f"keys are: {', '.join(known)}" if not near else hint
            else:
                message = problem["msg"].removeprefix("Value error, ")
                if problem["type"] == "tuple_type":
                    message = "a list is needed"
                    listed = json.dumps([problem["input"]], default=str, ensure_ascii=False)
                    hint = f"--set {quote(f'{place}={listed}')}"
                # A whole table as "the value" says nothing: the message of such a check names its keys.
                table = isinstance(problem["input"], Mapping)
                value = "" if table else f" = {problem['input']!r}"
                lines.append(f"{place or 'configuration'}{value}: {message[0].lower()}{message[1:]}")
            if set_by:
                ours.append(f"--set {set_by[-1]}: {lines.pop()}")
        said = [f"{source}: " + "; ".join(lines)] if lines else []
        raise ConfigError("; ".join([*ours, *said]), hint) from error


def dump_toml(config: Config, header: str = "") -> str:
    """Return the resolved configuration as TOML that `load_config` reads back to an equal model.

    A value of None is left out: TOML has no null, and absence already means it.
    """
    lines = [f"# {line}" for line in header.splitlines()]
    _dump_table(config.model_dump(mode="json"), "", lines)
    return "\n".join(lines).strip() + "\n"


def _dump_table(table: Mapping[str, Any], name: str, lines: list[str]) -> None:
    scalars = {k: v for k, v in table.items() if not isinstance(v, Mapping) and v is not None}
    if name:
        lines += ["", f"[{name}]"]
    lines += [f"{_key(key)} = {_toml(value)}" for key, value in scalars.items()]
    for key, value in table.items():
        if isinstance(value, Mapping):
            _dump_table(value, f"{name}.{_key(key)}" if name else _key(key), lines)


def _key(key: str) -> str:
    plain = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if plain else json.dumps(key)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # JSON's escapes are TOML's, except that TOML also forbids a raw U+007F.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(k)} = {_toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, float):
        return repr(value)
    return f"{value:_}" if isinstance(value, int) else json.dumps(value)


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[key] = _merge(below, value) if both else value  # type: ignore[arg-type]
    return merged


def _keys(model: type[BaseModel]) -> list[str]:
    return [key for key, _, _ in _walk(model)]


def _walk(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel], str]]:
    """Yield every key that can be set, with the table that has it and its name there."""
    for name, info in model.model_fields.items():
        kinds = [kind for kind in (info.annotation, *get_args(info.annotation)) if isinstance(kind, type)]
        table = next((kind for kind in kinds if issubclass(kind, BaseModel)), None)
        if table is not None and get_origin(info.annotation) is not tuple:
            yield from _walk(table, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", model, name


# --- What a key means ------------------------------------------------------------------------------
# It stands in the source, under the key: `presets keys`, completion and docs/settings.md are made of it.


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a configuration: its value by default, as TOML (None: not set), its type and its meaning."""

    key: str
    default: str | None
    type: str
    meaning: str


def list_keys(model: type[Config], config: Config | None = None) -> list[Key]:
    """Return every key of a kind of configuration, in the order of its tables; defaults are `config`'s."""
    found = []
    for key, table, name in _walk(model):
        info, place = table.model_fields[name], config
        for part in key.split(".")[:-1]:
            place = getattr(place, part, None)
        value = info.get_default(call_default_factory=True) if place is None else getattr(place, name)
        plain = None if info.is_required() else TypeAdapter(Any).dump_python(value, mode="json")
        default = None if plain is None else "{}" if plain == {} else _toml(plain)
        meaning = _read_meanings(table).get(name, "")
        row = next((kind for kind in get_args(info.annotation) if _is_table(kind)), None)
        found.append(Key(key, default, _describe_type(info), meaning))
        if row is not None:
            found += [replace(one, key=f"{key}[].{one.key}") for one in list_keys(row)]
    return found


def _is_table(kind: object) -> TypeGuard[type[Config]]:
    return isinstance(kind, type) and issubclass(kind, Config)


@cache
def _read_meanings(model: type[BaseModel]) -> Mapping[str, str]:
    """The texts under a table's keys. Pydantic can keep them, and reads each class's source: 0.9 s a start."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if not _is_table(base) or base is Config:
            continue
        (tree,) = ast.parse(dedent(inspect.getsource(base))).body
        body = getattr(tree, "body", [])
        for item, below in pairwise(body):
            text = (
                below.value.value
                if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
                else 0
            )
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and isinstance(text, str):
                found[item.target.id] = " ".join(text.split())
    return found


_SLIP = 1 << 53
"""A limit that only a slip of the keyboard reaches: it is no part of what a key means."""
_PLAIN: Mapping[object, str] = {int: "integer", float: "number", str: "text", bool: "true or false"}


def _describe_type(info: FieldInfo) -> str:
    """What a key takes, in words: its type, and the least and the most."""
    wanted, limits = info.annotation, list(info.metadata)
    parts = [part for part in get_args(wanted) if part is not type(None)]
    if type(None) in get_args(wanted) and len(parts) == 1:
        wanted = parts[0]
    if get_origin(wanted) is Annotated:
        wanted, *more = get_args(wanted)
        limits += [inner for item in more for inner in (item, *getattr(item, "metadata", ()))]
    kinds = [kind for kind in get_args(wanted) if kind is not Ellipsis]
    if get_origin(wanted) is Literal:
        return " | ".join(map(str, kinds))
    if get_origin(wanted) is tuple and _is_table(kinds[0]):
        return "list of tables"
    if get_origin(wanted) in (tuple, list):
        return f"list of {_plural(kinds[0])}" if Ellipsis in get_args(wanted) else f"{len(kinds)} numbers"
    if kinds:
        return f"table of {_plural(kinds[-1])}"
    told = [_PLAIN.get(wanted, "text")]
    for name, sign in (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤")):
        limit = next((getattr(item, name) for item in limits if getattr(item, name, None) is not None), None)
        if limit is not None and abs(limit) < _SLIP:
            told.append(f"{sign} {limit:_}" if isinstance(limit, int) else f"{sign} {limit:g}")
    return " ".join(told[:2]) + "".join(f", {limit}" for limit in told[2:])


def _plural(kind: object) -> str:
    plain = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    return f"{_PLAIN.get(plain, 'text')}s"


# --- Presets ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Preset:
    """A shipped configuration: `kind/stem`, its file, and the first line of its opening comment."""

    name: str
    path: Path
    title: str


def _presets_folder() -> Path:
    # In a wheel the presets are `vocabkit/configs`; an editable install and a checkout keep them at
    # the repository root, where importlib.resources does not see them.
    inside = Path(str(files("vocabkit"))) / "configs"
    return inside if inside.is_dir() else Path(__file__).resolve().parents[2] / "configs"


def list_presets() -> list[Preset]:
    """Return every shipped preset, sorted by name."""
    root = _presets_folder()
    found = []
    for path in sorted(root.rglob("*.toml")):
        first = path.read_text(encoding="utf-8").split("\n", 1)[0]
        name = path.relative_to(root).with_suffix("").as_posix()
        found.append(Preset(name, path, first.lstrip("# ").rstrip()))
    return found


def find_preset(name: str | Path, kind: str | None = None) -> Path:
    """Return the file behind a preset's name or a path.

    `kind` is the folder searched first for a bare name: `fit` finds `shared-250k` in `configs/fit/`.
    Raises `ConfigError`, with near names, when there is none.
    """
    text = str(name)
    path = Path(text)
    if path.suffix in {".yaml", ".yml", ".json"} and path.exists():
        raise ConfigError(
            f"{text}: configurations are TOML, not {path.suffix[1:].upper()}",
            "start from a shipped one: vocabkit presets list",
        )
    if path.suffix == ".toml":
        if path.is_file():
            return path
        raise ConfigError(f"{text}: no such file", "vocabkit presets list")
    if path.is_dir() and (path / "config.toml").is_file():
        return path / "config.toml"
    presets = list_presets()
    wanted = {text} | ({f"{kind}/{text}"} if kind else set())
    for preset in presets:
        if preset.name in wanted:
            return preset.path
    names = [p.name for p in presets if kind is None or p.name.startswith(f"{kind}/")]
    names += [n.split("/", 1)[1] for n in names]
    near = difflib.get_close_matches(text, names, n=3)
    did_you_mean = f"; did you mean {' or '.join(near)}?" if near else ""
    raise ConfigError(f"{text}: no such preset or file{did_you_mean}", "vocabkit presets list")


# --- Settings given in words -----------------------------------------------------------------------

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse_size(size: str | int) -> int:
    """Return bytes from `2GB`, `500M` or `1_000_000`; units are powers of 1024. Raises `ConfigError`."""
    match = re.fullmatch(r"([\d_.]+)\s*([KMGT]?)(?:I?B)?", str(size).strip().upper())
    try:
        found = int(float(match[1]) * _UNITS[match[2]]) if match else None
    except ValueError:
        found = None
    if found is None:
        raise ConfigError(f"{size!r} is no size such as 2GB or 500MB", "for example: 2GB")
    if found < 1:
        raise ConfigError(f"{size!r} leaves no memory at all", "for example: 2GB")
    return found


def parse_share(said: object, most: float = 1.0) -> float:
    """Return the share that `2%`, `2 %` or `0.02` says, of no more than `most`.

    Raises `ValueError`, which configurations report with their key; above 1 without the sign too: 5 would be
    500 %, and allow anything.

    >>> parse_share("2 %")
    0.02
    """
    text = str(said).strip()
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = math.nan
    if 1 < share < math.inf and not text.endswith("%"):
        raise ValueError(f"{text} is {share:.0%} as a share; {text}%?")
    if not 0 <= share <= most or share == math.inf:
        raise ValueError(f"{said!r} is no share: give one such as 2% or 0.02")
    return share


def list_settings(*tables: Mapping[str, object]) -> list[str]:
    """Return nested tables of settings as `key=value` lines, as `--set` takes them; None is left out.

    Raises `ConfigError` for a value that no TOML file could hold.
    """
    lines: list[str] = []
    for table in tables:
        for key, value in table.items():
            if isinstance(value, Mapping):
                inner = list_settings(value)
                lines += [f"{_key(key)}.{line}" for line in inner]
            elif value is not None:
                plain = str(value) if isinstance(value, Path) else value
                try:
                    # A number of numpy's is one of Python's to a reader.
                    text = json.dumps(plain, ensure_ascii=False, default=lambda item: item.item())
                except (AttributeError, TypeError, ValueError) as error:
                    kind = type(value).__name__
                    raise ConfigError(
                        f"{key}: a {kind} is no setting", "save it, and give the folder's path"
                    ) from error
                lines.append(f"{key}={text}")
    return lines
