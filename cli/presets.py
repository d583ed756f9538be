"""`vocabkit presets`: the configurations that ship with the package."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from .options import Force, Format
from .output import show_note, show_rows

app = typer.Typer(no_args_is_help=True, help="List, show and copy the shipped configurations.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="A preset, as shared-250k.")]


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
    from vocabkit.core.config import find_preset, list_presets

    found = [p.path for p in list_presets() if name in {p.name, p.name.rpartition("/")[2]}]
    return (found[0] if found else find_preset(name)).read_text(encoding="utf-8")
