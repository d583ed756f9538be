"""Every command explains itself, and what is written about commands is what they are."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference = _load("cli_reference")
COMMANDS: list[tuple[str, Any]] = [(words, context.command) for words, context in reference.walk_commands()]
# The verbs: everything but the groups.
LEAVES = [(words, command) for words, command in COMMANDS if not hasattr(command, "commands")]


def verb(item: tuple[str, Any]) -> str:
    return item[0]


@pytest.mark.parametrize("item", LEAVES, ids=verb)
def test_help_begins_with_a_verb_and_ends_with_an_example(item: tuple[str, Any]) -> None:
    words, command = item
    lines = command.help.strip().splitlines()
    assert re.fullmatch(r"[A-Z][a-z]+ .*\.", lines[0]), lines[0]
    assert len(lines[0]) <= 66, "the list of commands would cut this sentence"
    assert lines[-1].strip().startswith(f"Example: {words}")


@pytest.mark.parametrize("item", COMMANDS, ids=verb)
def test_every_option_is_explained(item: tuple[str, Any]) -> None:
    for parameter in item[1].params:
        assert parameter.help, f"{item[0]} {parameter.name}"


@pytest.mark.parametrize("item", LEAVES, ids=verb)
def test_every_verb_has_a_page(item: tuple[str, Any]) -> None:
    name = item[0].split()[1]
    page = ROOT / "docs" / f"{name}.md"
    assert page.is_file()
    assert f"vocabkit {name}" in page.read_text(encoding="utf-8")


def test_every_page_is_in_the_navigation_and_back() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = set(re.findall(r"[\w-]+\.md", text))
    assert listed == {path.name for path in (ROOT / "docs").glob("*.md")}


def test_the_reference_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    written = (ROOT / "docs" / "cli-reference.md").read_text(encoding="utf-8")
    assert written == reference.render_reference(), "run make reference"


def test_no_option_was_added_or_lost_unseen() -> None:
    written = (ROOT / "tests" / "golden" / "cli_options.txt").read_text(encoding="utf-8")
    assert written == reference.render_options(), "run make reference, and look at the difference"


def test_one_name_means_one_thing() -> None:
    # -o writes a folder, -f chooses a format, -q silences: nowhere anything else.
    letters = {"-o": "--output", "-f": "--format", "-q": "--quiet", "-h": "--help"}
    for words, command in COMMANDS:
        for parameter in command.params:
            for short in set(parameter.opts) & set(letters):
                assert letters[short] in parameter.opts, words
