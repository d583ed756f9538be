"""Writes what is generated from the command line, so that neither can drift from it.

    python tools/cli_reference.py            docs/cli-reference.md and settings.md, tests/golden/cli_options.txt
    python tools/cli_reference.py --check    writes nothing; exits 1 when a file is out of date

It reads the commands and the configurations themselves; how they are explained stands in their sources.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

ROOT = Path(__file__).resolve().parents[1]
HEADER = """# Command reference

Generated from `--help` by `make reference`; a test keeps it true.
"""
SETTINGS = """# Every key

What `--set` takes, by kind of configuration: the value where a preset says nothing, the type and the meaning.
`vocabkit presets keys PRESET` prints the same with the preset's own values, and completion offers the keys.
Generated from the source by `make reference`; a test keeps it true.
"""


def walk_commands() -> Iterator[tuple[str, Any]]:
    """Every command as its words (`vocabkit presets list`) and the context that parses it."""
    sys.path.insert(0, str(ROOT))
    from cli import app

    yield from _walk("vocabkit", typer.main.get_command(app), None)


def _walk(name: str, command: Any, parent: Any) -> Iterator[tuple[str, Any]]:
    settings = {"terminal_width": 100, **command.context_settings}
    context = command.context_class(command, info_name=name, parent=parent, **settings)
    yield context.command_path, context
    for inner_name, inner in getattr(command, "commands", {}).items():
        yield from _walk(inner_name, inner, context)


def help_text(context: Any) -> str:
    """What `--help` prints, at a fixed width and with no colours."""
    text: str = context.get_help()
    return "\n".join(line.rstrip() for line in text.splitlines()).strip()


def render_reference() -> str:
    """The whole page: one section a command, in the order of the help."""
    sections = [f"## {words}\n\n```text\n{help_text(context)}\n```\n" for words, context in walk_commands()]
    return "\n".join([HEADER, *sections])


def render_settings() -> str:
    """The page of every key: a section a kind of configuration, the keys of all fits told once."""
    sys.path.insert(0, str(ROOT))
    from cli.output import format_markdown
    from vocabkit.configurations.settings import CONFIGURATIONS
    from vocabkit.core.config import Config, list_keys
    from vocabkit.pretraining.run_config import RunConfig

    sections, told = [SETTINGS], list_keys(CONFIGURATIONS["shared"])
    kinds: dict[str, type[Config]] = {**CONFIGURATIONS, "A run of `vocabkit pretrain`": RunConfig}
    for name, model in kinds.items():
        keys = list_keys(model)
        extends = name != "shared" and {key.key for key in told} <= {key.key for key in keys}
        beside = "The keys of shared, and these.\n\n" if extends else ""
        rows = [
            {
                "key": f"`{key.key}`",
                "default": key.default and f"`{key.default}`",
                "type": key.type,
                "meaning": key.meaning,
            }
            for key in keys
            if not (extends and key in told)
        ]
        sections.append(f"## {name}\n\n{beside}{format_markdown(rows)}")
    return "\n".join(sections)


def render_options() -> str:
    """One line an option or argument of every command: adding one is a decision, seen in review."""
    lines = []
    for words, context in walk_commands():
        for parameter in context.command.params:
            names = " ".join([*parameter.opts, *parameter.secondary_opts])
            kind = "argument" if parameter.param_type_name == "argument" else "option"
            lines.append(f"{words}: {kind} {names}")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the files, or with `--check` say which of them are out of date."""
    # The width of the help follows the terminal unless it is set.
    os.environ["COLUMNS"] = "100"
    files = {
        ROOT / "docs" / "cli-reference.md": render_reference(),
        ROOT / "docs" / "settings.md": render_settings(),
        ROOT / "tests" / "golden" / "cli_options.txt": render_options(),
    }
    stale = [
        path for path, text in files.items() if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is out of date: run make reference")
        return 1 if stale else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[path], encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
