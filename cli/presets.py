"""`vocabkit presets`: the configurations that ship with the package."""

import difflib
import shlex
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .completion import complete_presets
from .options import Force, Format
from .output import show_note, show_rows

if TYPE_CHECKING:
    from vocabkit.core.config import Config

app = typer.Typer(no_args_is_help=True, help="List, show, explain and copy the shipped configurations.")

Name = Annotated[
    str,
    typer.Argument(metavar="NAME", help="A preset, as shared-250k.", autocompletion=complete_presets),
]
_WIDTH = 100


@app.command("list")
def list_all(format: Format = "table") -> None:
    """List the shipped configurations.

    Example: vocabkit presets list
    """
    from vocabkit.core.config import list_presets

    show_rows([{"name": p.name, "title": p.title} for p in list_presets()], format, "presets")


@app.command("show")
def show(name: Name) -> None:
    """Show a configuration, with its comments.

    Example: vocabkit presets show shared-250k
    """
    sys.stdout.write(_read(name))


@app.command("keys")
def keys(
    name: Annotated[
        str,
        typer.Argument(metavar="PRESET", help="A preset, or a TOML file.", autocompletion=complete_presets),
    ],
    part: Annotated[
        str | None, typer.Argument(metavar="PART", help="Only the keys that have this in them, as trainer.")
    ] = None,
    format: Format = "table",
) -> None:
    """List every key that --set takes, with its value and its meaning.

    Values are the preset's own; those it does not name are the defaults.

    Example: vocabkit presets keys balanced-250k trainer
    """
    from vocabkit.core.config import list_keys
    from vocabkit.core.errors import ConfigError

    config = read_preset(name)
    known = list_keys(type(config), config)
    found = [key for key in known if part is None or part in key.key]
    if not found:
        names = {word for key in known for word in (key.key, *key.key.split("."))}
        near = difflib.get_close_matches(part or "", sorted(names), n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        what = f"{name}: no key has {part!r} in it{meant}"
        hint = f"vocabkit presets keys {shlex.quote(name)} {shlex.quote(near[0]) if near else ''}"
        raise ConfigError(what, hint.rstrip())
    if format != "table":
        show_rows(found, format, "keys")
        return
    table = found[0].key.partition(".")[0]
    for key in found:
        if key.key.partition(".")[0] != table:
            table = key.key.partition(".")[0]
            sys.stdout.write("\n")
        value = f"{key.key} = {key.default}" if key.default is not None else f"{key.key}, not set"
        meaning = textwrap.fill(key.meaning, _WIDTH, initial_indent="    ", subsequent_indent="    ")
        sys.stdout.write(f"{value:40}  {key.type}\n{meaning}\n")


@app.command("copy")
def copy(
    name: Name,
    path: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Where to; NAME.toml here by default.")
    ] = None,
    force: Force = False,
) -> None:
    """Copy a configuration to a file of your own, to edit and fit with.

    Example: vocabkit presets copy balanced-250k mine.toml
    """
    from vocabkit.core.errors import OutputError
    from vocabkit.core.folders import write_text

    target = path or Path(f"{Path(name).stem}.toml")
    if target.exists() and not force:
        raise OutputError(f"{target} exists", "pass --force to replace it, or name another file")
    write_text(target, _read(name))
    show_note(f"wrote {target}")


def _read(name: str) -> str:
    """The text of a preset by its whole name, its last part, or the path of a file."""
    return _find(name).read_text(encoding="utf-8")


def _find(name: str) -> Path:
    from vocabkit.core.config import find_preset, list_presets

    found = [p.path for p in list_presets() if name in {p.name, p.name.rpartition("/")[2]}]
    return found[0] if found else find_preset(name)


def read_preset(name: str) -> "Config":
    """Return the configuration of a preset of any kind, by its name or its file.

    Raises `ConfigError`, also for a panel, which is a list of languages and has no keys to set.
    """
    from vocabkit.configurations.settings import read_configuration
    from vocabkit.core.config import read_preset_tables
    from vocabkit.core.errors import ConfigError
    from vocabkit.pretraining import run_config

    path = _find(name)
    tables = read_preset_tables(path)
    if isinstance(tables.get("languages"), list):
        what = f"{name}: a panel is a list of languages, and has no keys to set"
        raise ConfigError(what, f"vocabkit presets show {shlex.quote(name)}")
    return run_config.read_preset(path) if "pretrain" in tables else read_configuration(path)
